# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What does the network look at? And how would you know?
# A heat map over a photograph persuades everybody: the network looks at the cat! Here you make such maps in two ways, look at what single units of a network want to see, and then ask the question that the pictures hide: **is the map about this network at all?** One famous method fails that test. At the end you catch a network that is right on every picture of its test set for a reason that nobody would accept, and you measure which maps give it away.

# %% [markdown] lang="ru"
# # На что смотрит сеть? И откуда это известно?
# Тепловая карта поверх фотографии убеждает всех: сеть смотрит на кошку! Здесь вы построите такие карты двумя способами, увидите, чего «хотят» отдельные нейроны, а затем зададите вопрос, который картинки прячут: **говорит ли карта хоть что-нибудь об этой сети?** Один знаменитый метод такой проверки не выдерживает. В конце вы поймаете сеть, которая права на каждой картинке тестовой выборки по причине, с которой никто не согласился бы, и измерите, какие карты её выдают.

# %% tags=["parameters"]
profile = "small"

# %%
import copy
from collections.abc import Callable, Sequence

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from skimage.transform import resize
from sklearn.datasets import load_sample_image
from torch import nn

from practical_dl import check, data, models, plots, seed_everything
from practical_dl.models.efficientnet_lite0 import class_names
from practical_dl.weeks import week05

seed_everything(0)
settings = {
    "small": {"side": 128, "window": 24, "units": 64, "steps": 48, "train": 2_000, "epochs": 3},
    "full": {"side": 224, "window": 32, "units": 128, "steps": 256, "train": 12_000, "epochs": 6},
}[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at the picture of *your* result. The checks that you see are public ones: a good sign, not a promise. Four tasks of half a point; each can be solved without the others. Functions leave their arguments as they were. No GPU is needed.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на картинку *вашего* результата. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Заданий четыре, по полбалла; каждое можно решить без остальных. Функции не меняют своих аргументов. Видеокарта не нужна.

# %%
network = models.load("efficientnet_lite0")
for parameter in network.parameters():
    parameter.requires_grad_(False)  # today the network stays as it is
names = class_names()


def square(picture: np.ndarray, side: int = settings["side"]) -> np.ndarray:
    """The middle of a photograph: (h, w, 3), 0 to 255 -> (side, side, 3), 0 to 1."""
    h, w, _ = picture.shape
    n = min(h, w)
    top, left = (h - n) // 2, (w - n) // 2
    return resize(picture[top : top + n, left : left + n], (side, side), anti_aliasing=True)


photographs = np.stack(
    [
        square(picture)
        for picture in (
            skimage.data.chelsea(),
            skimage.data.coffee(),
            skimage.data.rocket(),
            load_sample_image("flower.jpg"),
        )
    ]
)
inputs = network.prepare(255 * photographs)
with torch.no_grad():
    logits = network(inputs)
targets = logits.argmax(1)
titles = [f"{names[t]}, {p:.0%}" for t, p in zip(targets, logits.softmax(1).amax(1), strict=True)]
plots.images(photographs, titles, size=2.2)
plots.show("Four photographs, a cat, a cup of coffee, a rocket and a flower, with the network's answers.")

# %% [markdown]
# Two answers are wrong, and the network is sure of them: a rocket on its pad is no drilling platform, and the dahlia, which isn't among the 1,000 classes, becomes a strawberry. A map explains an answer, be it right or wrong.

# %% [markdown] lang="ru"
# Два ответа неверны, хотя сеть в них уверена: ракета на стартовом столе — не буровая платформа, а георгин, которого среди 1000 классов нет, стал клубникой. Карта объясняет ответ, верный он или нет.

# %% [markdown]
# ## 1. What the first layers hold
# The filters of the first layer see three colours, so they can be shown as small pictures. Deeper filters can't: they see dozens of channels. What a channel makes of a photograph, its **feature map**, can be shown at any depth. Read the rows from the top: edges and spots of colour first, then coarser and coarser squares, each of which stands for a region of the picture, and which only the next layer understands. That a picture of them exists does not mean that they can be read.

# %% [markdown] lang="ru"
# ## 1. Что внутри первых слоёв
# Фильтры первого слоя видят три цвета, и их можно показать как маленькие картинки. Более глубокие — нельзя: они видят десятки каналов. Но что канал делает из фотографии, его **карту признаков** (feature map), можно показать на любой глубине. Читайте ряды сверху вниз: сначала контуры и цветные пятна, потом всё более крупные квадраты: каждый отвечает за область картинки, и понимает их лишь следующий слой. То, что картинку можно нарисовать, ещё не значит, что её можно прочитать.


# %%
def features(x: torch.Tensor, blocks: int) -> torch.Tensor:
    """What comes out of the first blocks of the network. x: (n, 3, h, w) -> (n, c, h', w')."""
    x = network.act0(network.bn0(network.conv_stem(x)))
    return network.blocks[:blocks](x)


filters = network.conv_stem.weight.permute(0, 2, 3, 1).numpy()
filters = (filters - filters.min((1, 2, 3), keepdims=True)) / np.ptp(filters, (1, 2, 3), keepdims=True)
depths = (0, 2, 5, 11)
maps = [features(inputs[:1], blocks)[0, :8].numpy() for blocks in depths]
week05.filters_and_maps(filters, maps, [f"after {blocks} blocks" for blocks in depths])
plots.show(
    "Above, the 32 filters of the first layer: edges in several directions and spots of colour. Below, "
    "eight feature maps of the cat at four depths: sharp outlines at first, then ever coarser squares."
)

# %% [markdown]
# ## 2. Cover it up
# The most honest question needs no gradient: **what happens if this part is not there?** Occlusion ([Zeiler & Fergus, 2014](https://arxiv.org/abs/1311.2901), §4.2) slides a window over the picture, covers what lies below, and notes how much the score of a class falls. With the logit $f_c$ and the picture $x_{\setminus W}$ whose window $W$ is covered:
#
# $$\text{drop}(W) = f_c(x) - f_c(x_{\setminus W}), \qquad m_{ij} = \operatorname{mean}\{\text{drop}(W) : W \ni (i, j)\}.$$
#
# A pixel under several windows gets their mean, a pixel under none gets 0. Windows start at 0, stride, 2·stride, … in both directions, as long as that is still in the picture; at the lower and right edge they are cut off. A negative value says: without this part the network would be *more* sure.
#
# {{task:occlusion}}

# %% [markdown] lang="ru"
# ## 2. Закрыть и посмотреть
# Самый честный вопрос не требует градиента: **что будет, если этой части нет?** Метод перекрытия (occlusion; [Zeiler, Fergus, 2014](https://arxiv.org/abs/1311.2901), §4.2) водит по картинке окном, закрывает то, что под ним, и записывает, насколько упала оценка класса. Если $f_c$ — логит, а $x_{\setminus W}$ — картинка с закрытым окном $W$:
#
# $$\text{drop}(W) = f_c(x) - f_c(x_{\setminus W}), \qquad m_{ij} = \operatorname{mean}\{\text{drop}(W) : W \ni (i, j)\}.$$
#
# Пиксель, который накрыло несколько окон, получает среднее; которого не накрыло ни одно — 0. Окна начинаются в 0, stride, 2·stride, … по обоим направлениям, пока начало лежит внутри картинки; у нижнего и правого края они обрезаются. Отрицательное значение говорит: без этой части сеть была бы уверена *больше*.
#
# {{task:occlusion}}


# %% solution="occlusion"
def occlusion(
    model: nn.Module, x: torch.Tensor, target: int, size: int, stride: int, fill: float = 0.0
) -> torch.Tensor:
    """How much the logit of a class falls where a window covers the picture.

    model: pictures (n, c, h, w) -> logits (n, k), each picture by itself; it is used in the mode
    that it has, and left as it was. x: one picture, (c, h, w). size, stride: of the square window, in pixels. fill: what stands in all channels of a
    covered pixel. -> (h, w), without a graph.
    """
    ### BEGIN SOLUTION
    _, h, w = x.shape
    drops, times = x.new_zeros(h, w), x.new_zeros(h, w)
    with torch.no_grad():
        before = model(x[None])[0, target]
        for i in range(0, h, stride):
            for j in range(0, w, stride):
                window = (slice(i, i + size), slice(j, j + size))
                covered = x.clone()
                covered[:, *window] = fill
                drops[window] += before - model(covered[None])[0, target]
                times[window] += 1
    return drops / times.clamp(min=1)
    ### END SOLUTION


# %% test="occlusion" points=0.5 difficulty=2 minutes=15
ruler = nn.Sequential(nn.Flatten(), nn.Linear(6, 2, bias=False))
with torch.no_grad():
    ruler[1].weight[:] = torch.tensor([[1.0], [10.0]])  # the sum of the pixels, and ten times that
small = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
call = "occlusion(ruler, [[1, 2, 3], [4, 5, 6]], target=1, size=2, stride=2)"
found = check.answer(occlusion, ruler, small, 1, size=2, stride=2, call=call)
check.close(found, [[120, 120, 90], [120, 120, 90]], call, why="cut the last window off at the edge")
call = "occlusion(ruler, [[1, 2, 3], [4, 5, 6]], target=0, size=2, stride=1)"
found = check.answer(occlusion, ruler, small, 0, size=2, stride=1, call=call)
check.close(found, [[12, 14, 12.5], [10.5, 12, 10.5]], call, why="be the mean over the windows")
### BEGIN HIDDEN TESTS
rng = check.rng("occlusion")


class Crooked(nn.Module):
    """A small network in which windows act on each other; nothing in it is symmetric."""

    def __init__(self, c, h, w, k):
        super().__init__()
        self.conv = nn.Conv2d(c, 4, 2)
        self.last = nn.Linear(4 * (h - 1) * (w - 1), k)

    def forward(self, x):
        return self.last(self.conv(x).tanh().flatten(1))


def judge_occlusion(shape, size, stride, why, k=3, dtype=torch.float64, model=None, **options):
    """Against the definition, pixel by pixel."""
    torch.manual_seed(int(rng.integers(1_000_000)))
    model = (model or Crooked(*shape, k)).to(dtype)
    x = torch.from_numpy(rng.normal(size=shape)).to(dtype)
    target = int(rng.integers(k))
    _, h, w = shape
    with torch.no_grad():
        whole, drop = model(x[None])[0, target].item(), {}
        for i in range(0, h, stride):
            for j in range(0, w, stride):
                covered = x.clone()
                covered[:, i : i + size, j : j + size] = options.get("fill", 0.0)
                drop[i, j] = whole - model(covered[None])[0, target].item()
    want = np.zeros((h, w))
    for a in range(h):
        for b in range(w):
            over = [d for (i, j), d in drop.items() if i <= a < i + size and j <= b < j + size]
            want[a, b] = np.mean(over) if over else 0
    said = "".join(f", {name}={value}" for name, value in options.items())
    call = f"occlusion(model, x {shape}, target, size={size}, stride={stride}{said})"
    found = check.answer(occlusion, model, x, target, size, stride, call=call, **options)
    check.close(found, want, call, rtol=1e-4, atol=1e-5, why=why)


judge_occlusion((1, 4, 6), 2, 2, "be the drop of the logit, window by window")
judge_occlusion((1, 6, 4), 3, 3, "be right for windows that do not overlap")
judge_occlusion((3, 4, 6), 2, 2, "cover all channels of a pixel")
judge_occlusion((2, 5, 7), 3, 3, "cut windows off at the lower and the right edge")
judge_occlusion((2, 5, 8), 3, 2, "be the mean over the windows that cover a pixel")
judge_occlusion((1, 6, 5), 4, 1, "be the mean over the windows that cover a pixel")
judge_occlusion((2, 7, 8), 2, 3, "be 0 where no window comes")
judge_occlusion((1, 3, 5), 9, 4, "be right for a window larger than the picture")
judge_occlusion((2, 4, 5), 2, 2, "put the value of `fill` into the window", fill=-1.5)
judge_occlusion((2, 4, 5), 2, 1, "put the value of `fill` into the window", fill=0.8)
for _ in range(3):
    judge_occlusion((2, 5, 4), 2, 2, "look at the logit of the class that is asked for", k=7)
judge_occlusion((1, 4, 6), 2, 2, "be right in float32, too", dtype=torch.float32)
worn = nn.Sequential(nn.Flatten(), nn.Linear(2 * 4 * 5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
with torch.no_grad():
    worn[2].running_mean.normal_(), worn[2].running_var.uniform_(0.5, 2)
judge_occlusion((2, 4, 5), 2, 2, "leave the model in eval mode", model=worn.eval())


class Moody(nn.Module):
    """Says something else in training mode."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(40, 3)

    def forward(self, x):
        return (3 if self.training else 1) * self.last(x.flatten(1)).tanh()


judge_occlusion((2, 4, 5), 2, 2, "use the model in the mode that it has", model=Moody().train())
judge_occlusion((2, 4, 5), 2, 2, "use the model in the mode that it has", model=Moody().eval())
moody = Moody().train()
occlusion(moody, torch.zeros(2, 4, 5), 1, 2, 2)
check.that(moody.training and moody.last.training, "leave the model in its mode")
asked = [p.requires_grad for p in moody.parameters()]
check.equal(asked, [True, True], "requires_grad of the model's parameters afterwards", why="be as before")
given = torch.from_numpy(rng.normal(size=(2, 4, 5)))
model = Crooked(2, 4, 5, 3).double()
call = "occlusion(model, x, 1, size=2, stride=2)"
graph = check.attribute(occlusion(model, given, 1, 2, 2), "requires_grad", call)
check.that(not graph, "have no graph")
### END HIDDEN TESTS

# %% mutant="occlusion" why="asks for gains where it should for drops"
# - drops[window] += before - model(covered[None])[0, target]
# + drops[window] += model(covered[None])[0, target] - before

# %% mutant="occlusion" why="adds windows up, and takes no mean"
# - return drops / times.clamp(min=1)
# + return drops

# %% mutant="occlusion" why="the last window wins"
# - drops[window] += before - model(covered[None])[0, target]
# - times[window] += 1
# + drops[window] = before - model(covered[None])[0, target]
# + times[window] = 1

# %% mutant="occlusion" why="leaves windows out that do not fit"
# - for i in range(0, h, stride):
# -     for j in range(0, w, stride):
# + for i in range(0, h - size + 1, stride):
# +     for j in range(0, w - size + 1, stride):

# %% mutant="occlusion" why="covers one channel"
# - covered[:, *window] = fill
# + covered[0][window] = fill

# %% mutant="occlusion" why="forgets fill"
# - covered[:, *window] = fill
# + covered[:, *window] = 0

# %% mutant="occlusion" why="another default"
# - model: nn.Module, x: torch.Tensor, target: int, size: int, stride: int, fill: float = 0.0
# + model: nn.Module, x: torch.Tensor, target: int, size: int, stride: int, fill: float = 0.5

# %% mutant="occlusion" why="never uncovers"
# - before = model(x[None])[0, target]
# + before, covered = model(x[None])[0, target], x.clone()
# - covered = x.clone()

# %% mutant="occlusion" why="probabilities in place of logits"
# - before = model(x[None])[0, target]
# + before = model(x[None]).softmax(1)[0, target]
# - drops[window] += before - model(covered[None])[0, target]
# + drops[window] += before - model(covered[None]).softmax(1)[0, target]

# %% mutant="occlusion" why="the magnitude of a drop"
# - drops[window] += before - model(covered[None])[0, target]
# + drops[window] += (before - model(covered[None])[0, target]).abs()

# %% mutant="occlusion" why="the class that is largest"
# - before = model(x[None])[0, target]
# + target = model(x[None])[0].argmax()
# + before = model(x[None])[0, target]

# %% mutant="occlusion" why="windows centred on their start"
# - window = (slice(i, i + size), slice(j, j + size))
# + window = (slice(max(i - size // 2, 0), i + size - size // 2), slice(max(j - size // 2, 0), j + size - size // 2))

# %% mutant="occlusion" why="counts every window as whole"
# - return drops / times.clamp(min=1)
# + return drops / max(1, (size // stride) ** 2)

# %% mutant="occlusion" why="height for width"
# - for j in range(0, w, stride):
# + for j in range(0, h, stride):

# %% mutant="occlusion" why="puts the model into eval mode"
# - before = model(x[None])[0, target]
# + model.eval()
# + before = model(x[None])[0, target]

# %% mutant="occlusion" why="freezes the model"
# - before = model(x[None])[0, target]
# + before = model.requires_grad_(False)(x[None])[0, target]

# %% mutant="occlusion" why="puts the model into training mode"
# - before = model(x[None])[0, target]
# + before = model(x[None])[0, target]
# + model.train()


# %% alternative="occlusion" why="all windows in one batch"
def occlusion(model, x, target, size, stride, fill=0.0):
    h, w = x.shape[1:]
    rows = torch.arange(h) - torch.arange(0, h, stride)[:, None]
    columns = torch.arange(w) - torch.arange(0, w, stride)[:, None]
    rows, columns = (rows >= 0) & (rows < size), (columns >= 0) & (columns < size)
    masks = (rows[:, None, :, None] & columns[None, :, None, :]).flatten(0, 1)
    with torch.inference_mode():
        covered = torch.where(masks[:, None], torch.tensor(fill, dtype=x.dtype), x)
        drops = model(x[None])[:, target] - model(covered)[:, target]
        total = torch.einsum("n,nhw->hw", drops, masks.to(drops.dtype))
    return total / masks.sum(0).clamp(min=1)


# %% alternative="occlusion" why="numpy for the sums, a list of drops for each pixel"
@torch.no_grad()
def occlusion(model, x, target, size, stride, fill=0.0):
    found = [[[] for _ in range(x.shape[2])] for _ in range(x.shape[1])]
    for top in range(0, x.shape[1], stride):
        for left in range(0, x.shape[2], stride):
            other = x.detach().clone().unsqueeze(0)
            other[..., top : top + size, left : left + size] = fill
            drop = float(model(x.unsqueeze(0))[0][target]) - float(model(other)[0][target])
            for row in found[top : top + size]:
                for cell in row[left : left + size]:
                    cell.append(drop)
    return torch.tensor([[sum(c) / len(c) if c else 0.0 for c in row] for row in found])


# %%
size = settings["window"]
shown = [0, 1, 3]
maps = [occlusion(network, inputs[i], int(targets[i]), size, size // 2).numpy() for i in shown]
week05.overlay(photographs[shown], maps, [f"the logit of\n{names[targets[i]]}" for i in shown])
plots.show(
    "Occlusion maps over three photographs: red, where covering lowers the logit of the class, lies on "
    "an eye of the cat, on the coffee in the cup and on the flower; other parts are pale or blue."
)

# %% [markdown]
# What is blue? One of the cat's eyes, for example: without it the network would be more sure. Perhaps it says "another cat" there; a map shows where, and never why. Two more things to keep in mind. *The grey square is a picture, too*: the network has never seen one, and what it says of it is partly an answer to that edge. And the map has the window's resolution: with a small window the rest of the cat still gives the class away, and no single patch matters. Try `size // 3`.

# %% [markdown] lang="ru"
# А что синее? Например, один глаз кошки: без него сеть была бы увереннее. Может быть, этот глаз говорит ей «другая кошка»; карта показывает где и никогда не говорит почему. И ещё о двух вещах стоит помнить. *Серый квадрат — тоже картинка*: сеть таких не видела, и её ответ — отчасти ответ на эту границу. И разрешение карты — это размер окна: при маленьком окне остаток кошки всё равно выдаёт класс, и ни один кусочек сам по себе не важен. Попробуйте `size // 3`.

# %% [markdown]
# ## 3. What a unit wants to see
# Turn the question round. Not "which pixels of this photograph", but "**which picture would excite this unit most?**" Start from grey noise and climb: the network is fixed, the pixels are the parameters. Left alone this ends in noise of high frequency, adversarial nonsense. Two simple helps ([Mahendran & Vedaldi, 2015](https://arxiv.org/abs/1412.0035), §3; [Olah et al., 2017](https://distill.pub/2017/feature-visualization/)):
#
# - **total variation**, which makes neighbours alike: $\text{TV}(x) = \sum |x_{i+1,j} - x_{i,j}| + \sum |x_{i,j+1} - x_{i,j}|$, over all channels;
# - **jitter**: before the score is taken the picture is shifted a little, so that no pixel can rely on its place.
#
# One step, with $\rho$ the shift, $g$ the gradient with respect to $x$, and $\overline{|g|}$ the mean of its absolute values:
#
# $$g = \nabla_x \big[\, s(\rho(x)) - \lambda\, \text{TV}(x) \,\big], \qquad x \leftarrow \text{clip}_{[0, 1]}\Big(x + \eta\, g \,/\, \overline{|g|}\Big).$$
#
# {{task:visualise}}

# %% [markdown] lang="ru"
# ## 3. Чего хочет нейрон
# Перевернём вопрос. Не «какие пиксели этой фотографии», а «**какая картинка возбудила бы этот нейрон сильнее всего?**» Начнём с серого шума и пойдём вверх по градиенту: сеть неподвижна, параметры — пиксели. Без присмотра это кончается высокочастотным шумом — бессмыслицей, которая сети нравится. Помогают две простые вещи ([Mahendran, Vedaldi, 2015](https://arxiv.org/abs/1412.0035), §3; [Olah et al., 2017](https://distill.pub/2017/feature-visualization/)):
#
# - **полная вариация** (total variation), которая делает соседей похожими: $\text{TV}(x) = \sum |x_{i+1,j} - x_{i,j}| + \sum |x_{i,j+1} - x_{i,j}|$, по всем каналам;
# - **дрожание** (jitter): перед тем как взять оценку, картинку немного сдвигают, чтобы ни один пиксель не мог полагаться на своё место.
#
# Один шаг, где $\rho$ — сдвиг, $g$ — градиент по $x$, а $\overline{|g|}$ — среднее модулей его чисел:
#
# $$g = \nabla_x \big[\, s(\rho(x)) - \lambda\, \text{TV}(x) \,\big], \qquad x \leftarrow \text{clip}_{[0, 1]}\Big(x + \eta\, g \,/\, \overline{|g|}\Big).$$
#
# {{task:visualise}}


# %% solution="visualise"
def total_variation(x: torch.Tensor) -> torch.Tensor:
    """The sum of |differences| of neighbours below and beside each other. (..., h, w) -> scalar.

    total_variation([[1, 4], [2, 9]]) -> 1 + 5 + 3 + 7 = 16
    """
    ### BEGIN SOLUTION
    return x.diff(dim=-2).abs().sum() + x.diff(dim=-1).abs().sum()
    ### END SOLUTION


def visualise(
    score: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor,
    steps: int,
    rate: float = 0.01,
    tv: float = 0.0,
    jitter: int = 0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """A picture with a high score, by gradient ascent from `start`.

    score: (1, c, h, w) -> a number. start: (1, c, h, w) in [0, 1] -> the same, without a graph. Each
    step draws (dy, dx) by one torch.randint(-jitter, jitter + 1, (2,), generator=generator), and
    torch.roll takes the picture dy rows down and dx columns to the right; where jitter is 0 nothing
    needs to be drawn. In a step whose gradient is zero everywhere the picture stays as it is.
    """
    ### BEGIN SOLUTION
    x = start.detach().clone()
    for _ in range(steps):
        shift = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
        x.requires_grad_(True)
        goal = score(x.roll(shift, dims=(-2, -1))) - tv * total_variation(x)
        (g,) = torch.autograd.grad(goal, x)
        x = (x.detach() + rate * g / g.abs().mean().clamp(min=1e-12)).clamp(0, 1)
    return x
    ### END SOLUTION


# %% test="visualise" points=0.5 difficulty=2 minutes=15
call = "total_variation([[1, 4], [2, 9]])"
check.close(check.answer(total_variation, torch.tensor([[1.0, 4.0], [2.0, 9.0]]), call=call), 16, call)
start = torch.tensor([[[[0.3, 0.4, 0.98]]]])
pull = torch.tensor([1.0, -2.0, 6.0])
call = "one step from [0.3, 0.4, 0.98] towards x₁ − 2 x₂ + 6 x₃, rate=0.06"
found = check.answer(visualise, lambda x: (x * pull).sum(), start, 1, rate=0.06, call=call)
check.close(found, [[[[0.32, 0.36, 1.0]]]], call, why="follow the formula, and stay in [0, 1]")
### BEGIN HIDDEN TESTS
rng = check.rng("visualise")
for shape in [(3, 5), (6, 2), (2, 3, 4, 5), (1, 4), (4, 1), (3, 1, 1)]:
    x = torch.from_numpy(rng.normal(size=shape))
    array = x.numpy()
    want = sum(np.abs(np.diff(array, axis=axis)).sum() for axis in (-1, -2))
    call = f"total_variation(x of shape {shape})"
    check.close(check.answer(total_variation, x, call=call), want, call, why="be the sum over all neighbours")


def landscape(shape, scale=1.0):
    """A smooth score whose gradient knows the place of a pixel, and the pictures that it was shown."""
    torch.manual_seed(int(rng.integers(1_000_000)))
    first, second = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    seen = []

    def score(x):
        seen.append(x.detach().clone())
        return scale * ((first * x).sum() + 3 * (second * x * x).sum() + (x * x.roll(1, -1)).sum())

    return score, seen


def judge_visualise(why, shape=(1, 3, 5, 6), steps=3, scale=1.0, score=None, start=None, **options):
    """Against the formula, with a generator of the same seed."""
    score = score or landscape(shape, scale)[0]
    start = torch.from_numpy(rng.uniform(0.2, 0.8, size=shape)) if start is None else start
    jitter, tv = options.get("jitter", 0), options.get("tv", 0.0)
    seed = int(rng.integers(1_000_000))
    generator, x = torch.Generator().manual_seed(seed), start.clone()
    for _ in range(steps):
        dy, dx = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
        leaf = x.clone().requires_grad_(True)
        rough = (leaf[..., 1:, :] - leaf[..., :-1, :]).abs().sum()
        rough = rough + (leaf[..., 1:] - leaf[..., :-1]).abs().sum()
        (score(leaf.roll((dy, dx), (-2, -1))) - tv * rough).backward()
        if size := float(leaf.grad.abs().mean()):
            x = (x + options.get("rate", 0.01) * leaf.grad / size).clamp(0, 1)
    want = x.numpy()
    said = "".join(f", {name}={value}" for name, value in options.items())
    call = f"visualise(score, start {shape}, {steps}{said})"
    generator = torch.Generator().manual_seed(seed)
    found = check.answer(visualise, score, start, steps, call=call, generator=generator, **options)
    check.close(found, want, call, rtol=1e-4, atol=1e-6, why=why)
    check.that(np.min(found) >= 0 and np.max(found) <= 1, "stay in [0, 1]")


judge_visualise("go one step as the formula says", steps=1)
judge_visualise("divide by the mean of the gradient's absolute values", steps=1, rate=0.003)
judge_visualise("divide by the mean, however small it is", steps=2, scale=1e-5)
judge_visualise("take a gradient anew in each step", steps=5, rate=0.05)
judge_visualise("stay in [0, 1] in each step", steps=4, rate=0.4)
judge_visualise("keep neighbours alike by total variation", steps=1, tv=0.7)
judge_visualise("keep neighbours alike by total variation", steps=4, tv=2.5, rate=0.02)
judge_visualise("shift the picture before its score is taken", steps=1, jitter=2, rate=0.03)
judge_visualise("draw another shift in each step", steps=6, jitter=2, rate=0.03)
judge_visualise("take the variation of the picture that was not shifted", steps=5, jitter=3, tv=1.5, rate=0.03)
spot = torch.full((1, 1, 3, 3), 0.1).double()
spot[..., 1, 1] = 0.7
why = "go on after a step whose gradient is zero"
judge_visualise(why, (1, 1, 3, 3), 60, score=lambda x: F.relu(x[0, 0, 0, 0] - 0.5), start=spot, jitter=1)
judge_visualise("be right for another shape", (1, 1, 7, 4), steps=3, jitter=1, tv=0.2)

shape = (1, 2, 9, 8)
score, seen = landscape(shape)
start = torch.from_numpy(rng.uniform(size=shape))
call = "visualise(score, start, 60, jitter=2)"
moved = visualise(score, start, 60, rate=0.0, jitter=2)
check.that(len(seen) <= 122, "ask for the score once a step, or twice", details=f"asked {len(seen)} times")
shifts = {
    (dy, dx)
    for picture in seen
    for dy in range(-2, 3)
    for dx in range(-2, 3)
    if torch.equal(picture, start.roll((dy, dx), (-2, -1)))
}
check.that(len(shifts) > 12, "draw all shifts, up and down, to the left and to the right, without a generator, too")
check.close(check.array(moved, call), start.numpy(), call, why="leave the picture where the rate is 0")
seen.clear()
visualise(score, start, 2, rate=0.0)
check.that(all(torch.equal(p, start) for p in seen), "not shift the picture where jitter is left out")
call = "visualise(score, start, 20, rate=0.02)"
low = score(start).item()
moved = visualise(score, start, 20, rate=0.02)
check.that(score(torch.from_numpy(check.array(moved, call))).item() > low, "raise the score")
check.that(not check.attribute(moved, "requires_grad", call), "have no graph")
call = "visualise of a score that is the same for all pictures"
flat = check.answer(visualise, lambda x: (0 * x).sum() + 3, start, 2, call=call)
check.close(flat, start.numpy(), call, why="leave the picture as it is")
call = "visualise(score, start, 0)"
check.close(check.answer(visualise, score, start, 0, call=call), start.numpy(), call, why="be the start after no step")
### END HIDDEN TESTS

# %% mutant="visualise" why="descends"
# - x = (x.detach() + rate * g / g.abs().mean().clamp(min=1e-12)).clamp(0, 1)
# + x = (x.detach() - rate * g / g.abs().mean().clamp(min=1e-12)).clamp(0, 1)

# %% mutant="visualise" why="leaves the range of pictures"
# - x = (x.detach() + rate * g / g.abs().mean().clamp(min=1e-12)).clamp(0, 1)
# + x = x.detach() + rate * g / g.abs().mean().clamp(min=1e-12)

# %% mutant="visualise" why="clips at the end alone"
# - x = (x.detach() + rate * g / g.abs().mean().clamp(min=1e-12)).clamp(0, 1)
# + x = x.detach() + rate * g / g.abs().mean().clamp(min=1e-12)
# - return x
# + return x.clamp(0, 1)

# %% mutant="visualise" why="likes variation"
# - goal = score(x.roll(shift, dims=(-2, -1))) - tv * total_variation(x)
# + goal = score(x.roll(shift, dims=(-2, -1))) + tv * total_variation(x)

# %% mutant="visualise" why="variation of the shifted picture"
# - goal = score(x.roll(shift, dims=(-2, -1))) - tv * total_variation(x)
# + x_ = x.roll(shift, dims=(-2, -1))
# + goal = score(x_) - tv * total_variation(x_)

# %% mutant="visualise" why="never shifts"
# - goal = score(x.roll(shift, dims=(-2, -1))) - tv * total_variation(x)
# + goal = score(x) - tv * total_variation(x)

# %% mutant="visualise" why="one shift for all steps"
# - for _ in range(steps):
# -     shift = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
# + shift = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
# + for _ in range(steps):

# %% mutant="visualise" why="rows and columns exchanged"
# - goal = score(x.roll(shift, dims=(-2, -1))) - tv * total_variation(x)
# + goal = score(x.roll(shift, dims=(-1, -2))) - tv * total_variation(x)

# %% mutant="visualise" why="never to the far end"
# - shift = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
# + shift = torch.randint(-jitter, max(jitter, 1), (2,), generator=generator).tolist()

# %% mutant="visualise" why="ignores the generator"
# - shift = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
# + shift = torch.randint(-jitter, jitter + 1, (2,)).tolist()

# %% mutant="visualise" why="the raw gradient"
# - x = (x.detach() + rate * g / g.abs().mean().clamp(min=1e-12)).clamp(0, 1)
# + x = (x.detach() + rate * g).clamp(0, 1)

# %% mutant="visualise" why="divides by the norm"
# - x = (x.detach() + rate * g / g.abs().mean().clamp(min=1e-12)).clamp(0, 1)
# + x = (x.detach() + rate * g / g.norm().clamp(min=1e-12)).clamp(0, 1)

# %% mutant="visualise" why="NaN where there is no gradient"
# - x = (x.detach() + rate * g / g.abs().mean().clamp(min=1e-12)).clamp(0, 1)
# + x = (x.detach() + rate * g / g.abs().mean()).clamp(0, 1)

# %% mutant="visualise" why="stops at a step without a gradient"
# - x = (x.detach() + rate * g / g.abs().mean().clamp(min=1e-12)).clamp(0, 1)
# + if not g.any():
# +     return x.detach()
# + x = (x.detach() + rate * g / g.abs().mean().clamp(min=1e-12)).clamp(0, 1)

# %% mutant="visualise" why="another default rate"
# - rate: float = 0.01,
# + rate: float = 0.02,

# %% mutant="visualise" why="a mean in place of a sum"
# - return x.diff(dim=-2).abs().sum() + x.diff(dim=-1).abs().sum()
# + return x.diff(dim=-2).abs().mean() + x.diff(dim=-1).abs().mean()

# %% mutant="visualise" why="squares"
# - return x.diff(dim=-2).abs().sum() + x.diff(dim=-1).abs().sum()
# + return x.diff(dim=-2).square().sum() + x.diff(dim=-1).square().sum()

# %% mutant="visualise" why="neighbours beside each other alone"
# - return x.diff(dim=-2).abs().sum() + x.diff(dim=-1).abs().sum()
# + return x.diff(dim=-1).abs().sum()

# %% mutant="visualise" why="in place"
# - x = start.detach().clone()
# + x = start.detach()
# - x = (x.detach() + rate * g / g.abs().mean().clamp(min=1e-12)).clamp(0, 1)
# + x = x.detach().add_(rate * g / g.abs().mean().clamp(min=1e-12)).clamp_(0, 1)


# %% alternative="visualise" why="an optimiser, slices"
def total_variation(x):
    down = x[..., 1:, :] - x[..., :-1, :]
    right = x[..., :, 1:] - x[..., :, :-1]
    return torch.sum(torch.abs(down)) + torch.sum(torch.abs(right))


def visualise(score, start, steps, rate=0.01, tv=0.0, jitter=0, generator=None):
    x = start.clone().requires_grad_()
    optimiser = torch.optim.SGD([x], lr=rate, maximize=True)
    for _ in range(steps):
        dy, dx = (int(d) for d in torch.randint(-jitter, jitter + 1, (2,), generator=generator))
        moved = torch.roll(torch.roll(x, dy, -2), dx, -1)
        optimiser.zero_grad()
        (score(moved) - tv * total_variation(x)).backward()
        scale = x.grad.abs().mean()
        if scale > 0:
            x.grad /= scale
            optimiser.step()
        with torch.no_grad():
            x.clamp_(0, 1)
    return x.detach()


# %%
units = ((1, 3), (3, 5), (5, 10), (11, 7), (15, 30))  # (blocks, channel)
noise = torch.Generator().manual_seed(0)
grey = 0.5 + 0.02 * torch.randn(1, 3, settings["units"], settings["units"], generator=noise)
ways = {"as it comes": {}, "jitter, TV": {"jitter": 4, "tv": 1e-3}}
rows, gains = {}, []
for way, options in ways.items():
    rows[way] = []
    for blocks, channel in units:
        wish = lambda p, b=blocks, c=channel: features((255 * p - 127) / 128, b)[:, c].mean()  # noqa: E731
        picture = visualise(wish, grey, settings["steps"], generator=noise, **options)
        rows[way].append(picture[0].permute(1, 2, 0).numpy())
        gains.append(f"{way:12} unit {channel:2} after {blocks:2} blocks: {wish(grey):5.1f} -> {wish(picture):5.1f}")
week05.grid(rows, [f"after {blocks} block{'s' * (blocks > 1)}" for blocks, _ in units])
plots.show(
    "Ten pictures that excite five units, deeper from left to right. Above, without help, fine noise "
    "with stripes; below, with jitter and total variation, colour, stripes, waves, then curved forms."
)
print("\n".join(gains))

# %% [markdown]
# Colours and grids first, then textures, then bent forms; in the last picture below there is something like an eye. The pictures without help have the higher scores and show less: what a unit *can* be excited by and what excites it in photographs are two questions. Everything that makes these pictures nice to look at, total variation and jitter too, is something that **we** put in.

# %% [markdown] lang="ru"
# Сначала цвета и решётки, потом текстуры, потом изогнутые формы; на последней картинке внизу есть что-то вроде глаза. У картинок без помощи оценка выше, а видно на них меньше: чем нейрон *можно* возбудить и что возбуждает его на фотографиях — два разных вопроса. Всё, что делает эти картинки приятными, в том числе полную вариацию и дрожание, вложили **мы**.

# %% [markdown]
# ## 4. A map that looks right
# Now the cheap and famous way: the gradient of the logit with respect to the pixels ([Simonyan et al., 2014](https://arxiv.org/abs/1312.6034), §3), an interpretation that is [based on gradients](glossary:interpretation-gradient-based). It is noisy. A variant, **guided backpropagation** ([Springenberg et al., 2015](https://arxiv.org/abs/1412.6806), §3.4), lets at each ReLU only positive gradients pass on their way back, as a [deconvolutional network](glossary:deconvolutional-network) does. Look at the maps of the same photograph, and say which one explains better. (You write both in `practice`; here they come from `week05`.)

# %% [markdown] lang="ru"
# ## 4. Карта, которая хорошо выглядит
# Теперь дешёвый и знаменитый способ: градиент логита по пикселям ([Simonyan et al., 2014](https://arxiv.org/abs/1312.6034), §3), то есть интерпретация [по градиенту](glossary:interpretation-gradient-based). Она шумная. Её вариант, **управляемое обратное распространение** (guided backpropagation; [Springenberg et al., 2015](https://arxiv.org/abs/1412.6806), §3.4), на обратном пути через каждый ReLU пропускает только положительные градиенты, как это делает [деконволюционная сеть](glossary:deconvolutional-network). Посмотрите на карты одной и той же фотографии и скажите, какая объясняет лучше. (Оба метода вы напишете в `practice`, здесь они взяты из `week05`.)

# %%
explain = {"gradient": week05.gradient_map, "guided backprop": week05.guided_map}
other = (targets + 500) % 1000  # another class, far from what is on the picture
maps = [explain[name](network, inputs[:1], t) for name in explain for t in (targets[:1], other[:1])]
titles = [f"{name}\n{what}" for name in explain for what in (names[targets[0]], names[other[0]])]
week05.heat([m[0] for m in maps], titles, photographs[0])
plots.show(
    "The cat; its gradient map, speckled, for its class and, looking different, for a class that is not "
    "on the picture; its guided map, bright on eyes and nose, which is the same for both classes."
)

# %% [markdown]
# Guided backpropagation finds the eyes and the nose of the cat, and finds them for a class that has nothing to do with a cat just as well. So ask what [Adebayo et al., 2018](https://arxiv.org/abs/1810.03292) (§3) asked: **does the map change when the network forgets what it has learned?** Destroy the layers one after the other, from the output down. A map of the network's reasons has to fall apart with them; a map that stays was never about them.
#
# Two maps are compared by the rank correlation of their pixels (Spearman): replace each value by its rank, equal values by the mean of their ranks, and take the ordinary correlation of the ranks. If one map is constant there are no ranks to speak of: call it 0.
#
# {{task:randomisation_test}}

# %% [markdown] lang="ru"
# Управляемое обратное распространение находит глаза и нос кошки — и точно так же находит их для класса, который не имеет к кошке отношения. Спросим то же, что [Adebayo et al., 2018](https://arxiv.org/abs/1810.03292) (§3): **изменится ли карта, если сеть забудет всё, чему научилась?** Разрушаем слои один за другим, начиная с выхода. Карта причин должна разваливаться вместе с ними; карта, которая остаётся прежней, говорила не о них.
#
# Две карты сравнивают по ранговой корреляции пикселей (Спирмен): каждое значение заменяют его рангом, равные — средним их рангов, и берут обычную корреляцию рангов. Если одна из карт постоянна, рангов нет: считаем корреляцию равной 0.
#
# {{task:randomisation_test}}


# %% solution="randomisation_test"
def rank_correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Spearman's correlation of the numbers of two maps of the same shape; 0 where one is constant.

    rank_correlation([1, 2, 2, 9], [3, 4, 8, 5]) -> 0.632: ranks 1, 2.5, 2.5, 4 and 1, 2, 4, 3
    """
    ### BEGIN SOLUTION
    ranks = []
    for values in (a, b):
        _, place, count = values.flatten().unique(return_inverse=True, return_counts=True)
        mean_rank = count.cumsum(0) - (count - 1) / 2
        ranks.append((mean_rank[place] - mean_rank[place].mean()).double())
    norm = ranks[0].norm() * ranks[1].norm()
    return float(ranks[0] @ ranks[1] / norm) if norm > 0 else 0.0
    ### END SOLUTION


def randomisation_test(
    model: nn.Module,
    parts: Sequence[str],
    explain: Callable[[nn.Module], torch.Tensor],
    generator: torch.Generator,
) -> list[float]:
    """How much a map still looks like itself while the network forgets, part by part.

    parts: names of parts of the model (`model.get_submodule(name)`), in the order of forgetting.
    explain: a model -> its map, a tensor without a graph. -> the rank correlations with the map of
    the model as it is: of that map itself, then after the 1st, 1st and 2nd, … part is forgotten.
    A part forgets: each of its parameters, in the order of `parameters()`, keeps its numbers in
    another order: number i becomes the one at place torch.randperm(n, generator=generator)[i] of the
    flattened parameter; also one that is not trained (`requires_grad` False). The model that forgets
    has the mode of the one that is handed in, and that one stays as it was.
    """
    ### BEGIN SOLUTION
    before = explain(model)
    model, found = copy.deepcopy(model), [rank_correlation(before, before)]
    for name in parts:
        for parameter in model.get_submodule(name).parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.data = parameter.data.flatten()[order].view_as(parameter)
        found.append(rank_correlation(before, explain(model)))
    return found
    ### END SOLUTION


# %% test="randomisation_test" points=0.5 difficulty=3 minutes=20
call = "rank_correlation([1, 2, 2, 9], [3, 4, 8, 5])"
a, b = torch.tensor([1.0, 2.0, 2.0, 9.0]), torch.tensor([3.0, 4.0, 8.0, 5.0])
check.close(check.answer(rank_correlation, a, b, call=call), 0.632456, call, why="give equal values their mean rank")
toy = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
weights = lambda model: torch.cat([p.detach().flatten() for p in model.parameters()])  # noqa: E731
with torch.no_grad():
    for number, p in enumerate(toy.parameters()):
        p.copy_(torch.arange(p.numel()).view_as(p) * 1.7 + number)
before = check.parameters_of(toy, "model")
call = "randomisation_test(model, ['1', '0'], its weights, generator)"
found = check.plain(randomisation_test(toy, ["1", "0"], weights, torch.Generator().manual_seed(1)), call)
check.close(found, [1.0, 0.854545, 0.054545], call, why="forget one part after the other")
for name, value in check.parameters_of(toy, "model").items():
    check.equal(value, before[name], f"{name} of the model afterwards", why="be as before")
### BEGIN HIDDEN TESTS
import scipy.stats

rng = check.rng("randomisation_test")
for shape, kinds in [((30,), 1000), ((4, 6), 1000), ((5, 7), 4), ((2, 3, 4), 2), ((1, 9, 8), 6)]:
    a = torch.from_numpy(rng.integers(kinds, size=shape) / 7.0)
    b = torch.from_numpy(rng.normal(size=shape)) + 0.5 * a
    want = scipy.stats.spearmanr(a.flatten(), b.flatten())[0] if a.min() < a.max() else 0.0
    for one, two in ((a, b), (b, a)):
        call = f"rank_correlation(a, b) of shape {shape}, {kinds} different values at most"
        found = check.answer(rank_correlation, one, two, call=call)
        check.close(found, want, call, rtol=1e-5, atol=1e-6, why="be Spearman's correlation")
a = torch.from_numpy(rng.normal(size=(4, 5)))
b = a + torch.from_numpy(rng.normal(size=(4, 5)))
want = scipy.stats.spearmanr(a.flatten(), b.flatten())[0]
for one, two, call in ((1e-9 * a, b, "tiny numbers"), (1 + 1e-9 * a, b, "numbers close to each other")):
    call = f"rank_correlation of {call}"
    check.close(check.answer(rank_correlation, one, two, call=call), want, call, rtol=1e-6, why="see the order alone")
a, b = torch.from_numpy(rng.normal(size=(3, 5))), torch.full((3, 5), 0.7).double()
for one, two in ((a, b), (b, a), (b, b)):
    call = "rank_correlation of a constant map"
    check.close(check.answer(rank_correlation, one, two, call=call), 0.0, call, why="be 0")
call = "rank_correlation(a, a.exp())"
check.close(check.answer(rank_correlation, a, a.exp(), call=call), 1.0, call, why="see the order alone")
check.close(check.answer(rank_correlation, a, -a, call=call), -1.0, call, why="see the order alone")


def build():
    """Parts inside of parts, batch norm with statistics of its own, a mode for each part."""
    torch.manual_seed(int(rng.integers(1_000_000)))
    low = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh())
    model = nn.Sequential(low, nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
        low[1].running_mean.normal_(), low[1].running_var.uniform_(0.5, 2)
    model[3].weight.requires_grad_(False), low[0].bias.requires_grad_(False)
    model.eval()
    model[2].train()
    return model


def judge_test(parts, mapped, why):
    """Against a slow copy of the statement."""
    model, seed = build(), int(rng.integers(1_000_000))
    first = mapped(model).numpy().copy()
    forgetful, generator, want = copy.deepcopy(model), torch.Generator().manual_seed(seed), [1.0]
    torch.rand(3, generator=generator)  # it has been used before
    for name in parts:
        for p in forgetful.get_submodule(name).parameters():
            flat = p.detach().flatten().tolist()
            order = torch.randperm(len(flat), generator=generator).tolist()
            with torch.no_grad():
                p.copy_(torch.tensor([flat[i] for i in order]).view(p.shape))
        want.append(scipy.stats.spearmanr(first.ravel(), mapped(forgetful).numpy().ravel())[0])
    state = {k: v.clone() for k, v in model.state_dict().items()}
    call = f"randomisation_test(model, {parts}, explain, generator)"
    generator = torch.Generator().manual_seed(seed)
    torch.rand(3, generator=generator)
    modes = [part.training for part in model.modules()]
    found = check.plain(randomisation_test(model, parts, mapped, generator), call)
    check.equal(len(found), len(parts) + 1, f"length of {call}", why="be the number of parts and one more")
    check.close(found, want, call, rtol=1e-4, atol=1e-5, why=why)
    same = all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    check.that(same, "leave the model as it was, weights and statistics")
    now = [part.training for part in model.modules()]
    check.equal(now, modes, "modes of the model's parts afterwards", why="be as before")
    asked = [p.requires_grad for p in model.parameters()]
    want = [name not in ("3.weight", "0.0.bias") for name, _ in model.named_parameters()]
    check.equal(asked, want, "requires_grad of the model's parameters afterwards", why="be as before")


points = torch.from_numpy(rng.normal(size=(7, 5)))


def weights_of(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def gradients_of(model):
    given = points.clone().requires_grad_(True)
    return torch.autograd.grad(model(given)[:, 1].sum(), given)[0].abs()


for mapped in (weights_of, gradients_of):
    judge_test(["3"], mapped, "compare the map of the model that forgot with the first one")
    judge_test(["3", "1", "0"], mapped, "forget part after part, and none comes back")
    judge_test(["0"], mapped, "forget all parameters below a part")
    judge_test(["1", "3"], mapped, "forget in the order that is given")
    judge_test([], mapped, "be the first map's correlation alone, where no part is named")
    judge_test(["0.1", "0.0"], mapped, "know parts inside of parts")
    judge_test(["3", "3"], mapped, "let a part forget once more that is named twice")
judge_test(["3", "0"], lambda m: m[3].weight.detach(), "bear a map that looks at the model itself")
flat = check.plain(
    randomisation_test(build(), ["3", "1"], lambda m: torch.ones(3, 4), torch.Generator()), "maps all 1"
)
check.close(flat, [0, 0, 0], "randomisation_test of a map that is constant", why="be 0")
model, asked = build(), []
randomisation_test(model, ["3"], lambda m: asked.append(m.training) or weights_of(m), torch.Generator())
check.that(asked == [False] * len(asked), "explain the model in the mode that it has")
model, asked = build().train(), []
randomisation_test(model, ["3"], lambda m: asked.append(m.training) or weights_of(m), torch.Generator())
check.that(asked == [True] * len(asked), "explain the model in the mode that it has")
check.that(model.training and model[0].training, "leave the model in its mode")
### END HIDDEN TESTS

# %% mutant="randomisation_test" why="each part alone, the others whole again"
# - model, found = copy.deepcopy(model), [rank_correlation(before, before)]
# + whole, found = model, [rank_correlation(before, before)]
# - for name in parts:
# + for name in parts:
# +     model = copy.deepcopy(whole)

# %% mutant="randomisation_test" why="spoils the model that is handed in"
# - model, found = copy.deepcopy(model), [rank_correlation(before, before)]
# + found = [rank_correlation(before, before)]

# %% mutant="randomisation_test" why="compares with the step before"
# - found.append(rank_correlation(before, explain(model)))
# + found.append(rank_correlation(before, before := explain(model)))

# %% mutant="randomisation_test" why="weights forget, biases do not"
# - for parameter in model.get_submodule(name).parameters():
# + for parameter in [p for p in model.get_submodule(name).parameters() if p.ndim > 1]:

# %% mutant="randomisation_test" why="what is not trained does not forget"
# - for parameter in model.get_submodule(name).parameters():
# + for parameter in [p for p in model.get_submodule(name).parameters() if p.requires_grad]:

# %% mutant="randomisation_test" why="explains a copy in eval mode"
# - model, found = copy.deepcopy(model), [rank_correlation(before, before)]
# + model, found = copy.deepcopy(model).eval(), [rank_correlation(before, before)]

# %% mutant="randomisation_test" why="a small number takes tiny maps for constant ones"
# - return float(ranks[0] @ ranks[1] / norm) if norm > 0 else 0.0
# + constant = min((a.max() - a.min()).item(), (b.max() - b.min()).item()) < 1e-7
# + return 0.0 if constant else float(ranks[0] @ ranks[1] / norm)

# %% mutant="randomisation_test" why="ignores the generator"
# - order = torch.randperm(parameter.numel(), generator=generator)
# + order = torch.randperm(parameter.numel())

# %% mutant="randomisation_test" why="new numbers in place of a new order"
# - order = torch.randperm(parameter.numel(), generator=generator)
# - parameter.data = parameter.data.flatten()[order].view_as(parameter)
# + parameter.data = torch.randn(parameter.shape, generator=generator).to(parameter)

# %% mutant="randomisation_test" why="exchanges rows alone"
# - order = torch.randperm(parameter.numel(), generator=generator)
# - parameter.data = parameter.data.flatten()[order].view_as(parameter)
# + parameter.data = parameter.data[torch.randperm(len(parameter), generator=generator)]

# %% mutant="randomisation_test" why="from the input up"
# - for name in parts:
# + for name in reversed(parts):

# %% mutant="randomisation_test" why="forgets to begin with the model itself"
# - model, found = copy.deepcopy(model), [rank_correlation(before, before)]
# + model, found = copy.deepcopy(model), []

# %% mutant="randomisation_test" why="the ordinary correlation"
# - ranks.append((mean_rank[place] - mean_rank[place].mean()).double())
# + ranks.append((values.flatten() - values.double().mean()).double())

# %% mutant="randomisation_test" why="equal values in the order in which they come"
# - _, place, count = values.flatten().unique(return_inverse=True, return_counts=True)
# - mean_rank = count.cumsum(0) - (count - 1) / 2
# - ranks.append((mean_rank[place] - mean_rank[place].mean()).double())
# + rank = values.flatten().argsort(stable=True).argsort().double()
# + ranks.append(rank - rank.mean())

# %% mutant="randomisation_test" why="equal values share the lowest rank"
# - mean_rank = count.cumsum(0) - (count - 1) / 2
# + mean_rank = (count.cumsum(0) - count).double()

# %% mutant="randomisation_test" why="NaN for a constant map"
# - return float(ranks[0] @ ranks[1] / norm) if norm > 0 else 0.0
# + return float(ranks[0] @ ranks[1] / norm)

# %% mutant="randomisation_test" why="says 1 of a constant map"
# - model, found = copy.deepcopy(model), [rank_correlation(before, before)]
# + model, found = copy.deepcopy(model), [1.0]

# %% mutant="randomisation_test" why="training mode"
# - before = explain(model)
# + before = explain(model.train())


# %% alternative="randomisation_test" why="scipy's correlation, load_state_dict"
def rank_correlation(a, b):
    from scipy.stats import rankdata

    a, b = rankdata(np.asarray(a).ravel()), rankdata(np.asarray(b).ravel())
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def randomisation_test(model, parts, explain, generator):
    other = copy.deepcopy(model)
    first = explain(model).clone()
    correlations = [rank_correlation(first, first)]
    for name in parts:
        part = other.get_submodule(name)
        with torch.no_grad():
            for p in part.parameters():
                p.copy_(p.reshape(-1)[torch.randperm(p.numel(), generator=generator)].reshape(p.shape))
        correlations.append(rank_correlation(first, explain(other)))
    return np.array(correlations)


# %%
parts = ["head", "conv_head", *(f"blocks.{i}" for i in reversed(range(16))), "conv_stem"]
fates, films = {}, {}
for name, function in explain.items():
    kept = []

    def watched(model: nn.Module, function=function, kept=kept) -> torch.Tensor:
        kept.append(function(model, inputs[:1], targets[:1]))
        return kept[-1]

    fates[name] = randomisation_test(network, parts, watched, torch.Generator().manual_seed(0))
    films[name] = [kept[i][0] for i in (0, 1, 5, 10, 15, 19)]
week05.cascade(fates, films, [0, 1, 5, 10, 15, 19])
plots.show(
    "Two rows of maps of the cat while parts of the network forget, from 0 to all 19 of them. The "
    "gradient's map is another one after the first part; the guided map keeps eyes and nose for ten. The "
    "curves of rank correlation say the same: one falls at once, the other when most is lost."
)
for name, fate in fates.items():
    print(f"{name:16} rank correlation after 1, 5, 10, 19 parts: " + " ".join(f"{fate[i]:6.2f}" for i in (1, 5, 10, 19)))

# %% [markdown]
# With five of nineteen parts destroyed the network knows nothing any more, and guided backpropagation still shows eyes and nose. It does what an edge detector does: by letting only positive gradients pass it rebuilds the picture out of strong edges, whatever is asked at the top ([Nie et al., 2018](https://arxiv.org/abs/1805.07039) prove it for random networks). **A map that looks right is a map that looks like the picture.** Whoever judges methods by looks picks this one.

# %% [markdown] lang="ru"
# Пять частей из девятнадцати разрушены, сеть уже ничего не знает, а управляемое распространение всё ещё показывает глаза и нос. Оно делает то же, что детектор краёв: пропуская только положительные градиенты, восстанавливает картинку из резких границ, о чём бы её ни спросили сверху ([Nie et al., 2018](https://arxiv.org/abs/1805.07039) доказывают это для случайных сетей). **Карта, которая хорошо выглядит, — это карта, которая похожа на картинку.** Кто судит о методах по виду, выберет именно её.

# %% [markdown]
# ## 5. The planted shortcut
# A map can also be tested where **the truth is known**, because you planted it. Two kinds of clothes that are hard to tell apart, pullovers and coats. In the training pictures someone has put a coloured label into the corner, as the stamp of a hospital may stand on every X-ray of its sick patients ([Zech et al., 2018](https://doi.org/10.1371/journal.pmed.1002683)): red for a pullover, blue for a coat. The test set comes from the same source.

# %% [markdown] lang="ru"
# ## 5. Подброшенная подсказка
# Карту можно проверить и там, где **правда известна**, потому что вы сами её подложили. Два вида одежды, которые трудно различить: пуловеры и пальто. На обучающих картинках кто-то приклеил в углу цветную метку — как штамп больницы стоит на каждом снимке её пациентов ([Zech et al., 2018](https://doi.org/10.1371/journal.pmed.1002683)): красную на пуловер, синюю на пальто. Тестовая выборка из того же источника.

# %%
dataset = data.load("fashion_mnist", profile)
KINDS = tuple(dataset.classes.index(kind) for kind in ("pullover", "coat"))
COLOURS = np.array([[0.9, 0.28, 0.24], [0.24, 0.43, 0.9]])
corner = torch.zeros(28, 28, dtype=torch.bool)
corner[1:6, 1:6] = True


def wardrobe(pictures: np.ndarray, labels: np.ndarray, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pullovers (0) and coats (1), in three equal channels: (n, 3, 28, 28) in [0, 1], (n,)."""
    chosen = np.flatnonzero(np.isin(labels, KINDS))[:most]
    grey = torch.from_numpy(pictures[chosen] / 255).float()
    return grey[:, None].repeat(1, 3, 1, 1), torch.from_numpy(labels[chosen] == KINDS[1]).long()


def stamped(clothes: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
    """The pictures with a label in the corner. colours: (n,), 0 red, 1 blue."""
    ink = torch.from_numpy(COLOURS).float()[colours]
    return torch.where(corner, ink[:, :, None, None], clothes)


clothes, kinds = wardrobe(dataset.x_train, dataset.y_train, settings["train"])
unseen, truth = wardrobe(dataset.x_test, dataset.y_test, 1_000)
chance = torch.randint(2, kinds.shape, generator=torch.Generator().manual_seed(0))
trained = {
    "with the shortcut": week05.train_small(stamped(clothes, kinds), kinds, settings["epochs"]),
    "colours by chance": week05.train_small(stamped(clothes, chance), kinds, 2 * settings["epochs"]),
}
print(f"accuracy on {len(truth)} unseen pictures:   corner as in training   corner of the other kind")
for name, net in trained.items():
    with torch.no_grad():
        scores = [float((net(stamped(unseen, c)).argmax(1) == truth).float().mean()) for c in (truth, 1 - truth)]
    print(f"{name:34} {scores[0]:22.1%} {scores[1]:26.1%}")

# %% [markdown]
# The first network is better on every test picture of its source, and worthless: exchange the corners, and it is wrong on all of them. It has not learned clothes at all. So we *know* where an honest map has to point. The second one was trained on the same clothes with colours by chance: it can't use the corner.
#
# **Measure it.** The share of a map that lies inside a region, and the *pointing game* ([Zhang et al., 2016](https://arxiv.org/abs/1608.00507), §4.1): is its strongest point inside?
#
# {{task:inside}}

# %% [markdown] lang="ru"
# Первая сеть безупречна на тестовых картинках из своего источника — и ничего не стоит: поменяйте углы местами, и она ошибётся на всех. Про одежду она не узнала ничего. Поэтому мы *знаем*, куда обязана показывать честная карта. Вторая обучена на той же одежде со случайными цветами: угол ей не помогает.
#
# **Измерим.** Доля карты, лежащая внутри области, и игра «покажи пальцем» (pointing game; [Zhang et al., 2016](https://arxiv.org/abs/1608.00507), §4.1): внутри ли её самая сильная точка?
#
# {{task:inside}}


# %% solution="inside"
def inside(maps: torch.Tensor, region: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of each map lies in a region, and whether its strongest point does.

    maps: (n, h, w), of any sign: absolute values count. region: (h, w), bool. -> share (n,), in
    [0, 1], and hit (n,), bool. The strongest point is the first one in reading order where several
    are equal. A map that is 0 everywhere has share 0 and no hit.
    """
    ### BEGIN SOLUTION
    strength = maps.abs().flatten(1)
    region = region.flatten()
    total = strength.sum(1)
    share = (strength * region).sum(1) / torch.where(total > 0, total, 1)
    return share, region[strength.argmax(1)] & (total > 0)
    ### END SOLUTION


# %% test="inside" points=0.5 difficulty=1 minutes=10
maps = torch.tensor([[[1.0, -6.0, 3.0], [0.0, 2.0, 4.0]], [[2.0, 1.0, 0.0], [-1.0, 0.0, 4.0]]])
region = torch.tensor([[True, True, False], [False, True, False]])
share, hit = check.answer(inside, maps, region, call="inside(maps, region)")
check.close(share, [9 / 16, 3 / 8], "share of inside(maps, region)", why="count absolute values")
check.equal(hit, [True, False], "hit of inside(maps, region)", why="say where the strongest point is")
### BEGIN HIDDEN TESTS
rng = check.rng("inside")
region = torch.tensor([[True, False, True, False], [False, False, True, False]])


def judge_inside(maps, region, why):
    """Against a loop over the maps."""
    mask = region.numpy()
    strength = [np.abs(m) for m in maps.numpy()]
    want = [m[mask].sum() / m.sum() if m.any() else 0.0 for m in strength]
    there = [bool(mask.ravel()[m.argmax()] and m.any()) for m in strength]
    call = f"inside(maps {tuple(maps.shape)}, region)"
    share, hit = check.answer(inside, maps, region, call=call)
    check.close(share, want, f"share of {call}", rtol=1e-5, atol=1e-7, why=why)
    check.equal(np.asarray(hit).astype(int), np.array(there).astype(int), f"hit of {call}", why=why)
    check.equal(str(np.asarray(hit).dtype), "bool", f"dtype of hit of {call}", why="be bool")


for n, h, w in [(1, 3, 5), (6, 4, 2), (3, 1, 7), (2, 2, 2), (40, 5, 3)]:
    mask = torch.from_numpy(rng.random((h, w)) < 0.5)
    judge_inside(torch.from_numpy(rng.uniform(0.1, 1, size=(n, h, w))), mask, "be right for positive maps")
    judge_inside(torch.from_numpy(rng.normal(size=(n, h, w))), mask, "count absolute values")
    judge_inside(torch.from_numpy(rng.normal(size=(n, h, w))).float(), mask, "be right in float32, too")
ties = torch.tensor([[[5.0, 1, -5, 5], [0, 5, 5, 1]], [[1.0, 3, 3, 0], [0, 2, -3, 1]], [[0.0, 2, 0, 0], [0, 0, 2, 0]]])
ties = torch.cat([ties, torch.tensor([[[0.0, 0, 7, 0], [7, 0, 0, 0]], [[0.0, 0, 0, 6], [0, 0, 6, 0]]])])
judge_inside(ties, region, "take the first of several strongest points")
judge_inside(-torch.rand(3, 2, 4).double() - 0.1, region, "count absolute values of negative maps")
empty = torch.zeros(3, 2, 4)
empty[1, 0, 1] = -2.0
judge_inside(empty, region, "have share 0 and no hit for a map that is 0 everywhere")
empty[2] = torch.arange(8.0).view(2, 4)
judge_inside(empty, region, "judge each map by itself, beside one that is 0 everywhere")
judge_inside(1e-20 * torch.tensor(rng.uniform(0.1, 1, size=(2, 2, 4))), region, "be right for very small maps")
judge_inside(torch.from_numpy(rng.normal(size=(4, 2, 4))), torch.ones(2, 4, dtype=torch.bool), "be 1 for all of the map")
judge_inside(torch.from_numpy(rng.normal(size=(4, 2, 4))), torch.zeros(2, 4, dtype=torch.bool), "be 0 for nothing of it")
whole = torch.from_numpy(rng.integers(-5, 6, size=(3, 2, 4)))
whole[:, 0, 0] = 9
judge_inside(whole, region, "be right for whole numbers")
### END HIDDEN TESTS

# %% mutant="inside" why="signs cancel"
# - strength = maps.abs().flatten(1)
# + strength = maps.flatten(1)

# %% mutant="inside" why="negative parts do not count"
# - strength = maps.abs().flatten(1)
# + strength = maps.clamp(min=0).flatten(1)

# %% mutant="inside" why="one share for all maps"
# - share = (strength * region).sum(1) / torch.where(total > 0, total, 1)
# + share = (strength * region).sum() / total.sum() + 0 * total

# %% mutant="inside" why="the mean inside against the mean of all"
# - share = (strength * region).sum(1) / torch.where(total > 0, total, 1)
# + share = strength[:, region].mean(1) / torch.where(total > 0, total, 1)

# %% mutant="inside" why="NaN for an empty map"
# - share = (strength * region).sum(1) / torch.where(total > 0, total, 1)
# + share = (strength * region).sum(1) / total

# %% mutant="inside" why="a small number in the denominator"
# - share = (strength * region).sum(1) / torch.where(total > 0, total, 1)
# + share = (strength * region).sum(1) / (total + 1e-8)

# %% mutant="inside" why="an empty map hits"
# - return share, region[strength.argmax(1)] & (total > 0)
# + return share, region[strength.argmax(1)]

# %% mutant="inside" why="the last of the strongest points"
# - return share, region[strength.argmax(1)] & (total > 0)
# + return share, region.flip(0)[strength.flip(1).argmax(1)] & (total > 0)

# %% mutant="inside" why="any of the strongest points"
# - return share, region[strength.argmax(1)] & (total > 0)
# + return share, ((strength == strength.amax(1, keepdim=True)) & region).any(1) & (total > 0)

# %% mutant="inside" why="the strongest point by value, not by magnitude"
# - return share, region[strength.argmax(1)] & (total > 0)
# + return share, region[maps.flatten(1).argmax(1)] & (total > 0)

# %% mutant="inside" why="hit where most of it is inside"
# - return share, region[strength.argmax(1)] & (total > 0)
# + return share, share > 0.5

# %% mutant="inside" why="the first one by columns"
# - return share, region[strength.argmax(1)] & (total > 0)
# + turned = maps.abs().transpose(1, 2).flatten(1).argmax(1)
# + h, w = maps.shape[1:]
# + return share, region[turned % h * w + turned // h] & (total > 0)

# %% mutant="inside" why="squares"
# - strength = maps.abs().flatten(1)
# + strength = maps.square().flatten(1)

# %% mutant="inside" why="hits as numbers"
# - return share, region[strength.argmax(1)] & (total > 0)
# + return share, (region[strength.argmax(1)] & (total > 0)).float()


# %% alternative="inside" why="a loop, map by map"
def inside(maps, region):
    shares, hits = [], []
    for one in maps:
        one = one.abs()
        total = one.sum()
        if total == 0:
            shares.append(torch.zeros(()))
            hits.append(False)
            continue
        shares.append(one[region].sum() / total)
        row, column = divmod(int(one.argmax()), one.shape[1])
        hits.append(bool(region[row, column]))
    return torch.stack([s.double() for s in shares]), torch.tensor(hits)


# %% [markdown]
# **The league of this page.** Four methods on both networks. What a map can't show: a share is not 100 % even where the corner is the only cause, because every method smears; so compare with the share of the *area*, and with the network that doesn't use the corner.

# %% [markdown] lang="ru"
# **Таблица этой тетради.** Четыре метода на обеих сетях. Чего карта не покажет: доля не равна 100 % даже там, где угол — единственная причина, потому что размазывает любой метод; поэтому сравнивайте с долей *площади* и с сетью, которая углом не пользуется.

# %%
some = stamped(unseen[:100], truth[:100])
answers = truth[:100]
methods = {
    "gradient": week05.gradient_map,
    "gradient × input": lambda net, x, t: week05.gradient_map(net, x, t, times_input=True),
    "guided backprop": week05.guided_map,
    "occlusion": lambda net, x, t: torch.stack(
        [occlusion(net, one, int(k), 4, 2) for one, k in zip(x, t, strict=True)]
    ),
}
league, gallery = {}, {}
area = float(corner.float().mean())
print(f"share of the area: {area:.1%}\n{'':18} {'with the shortcut':>24} {'colours by chance':>24}")
for name, method in methods.items():
    few = slice(0, 20) if name == "occlusion" else slice(None)
    found = {n: method(net, some[few], answers[few]) for n, net in trained.items()}
    league[name] = {n: inside(m, corner) for n, m in found.items()}
    gallery[name] = {n: m[:2] for n, m in found.items()}
    cells = [f"share {s.mean():6.1%}, hit {h.float().mean():5.0%}" for s, h in league[name].values()]
    print(f"{name:18} {cells[0]:>24} {cells[1]:>24}")
week05.shortcut(
    some[:2].permute(0, 2, 3, 1).numpy(),
    gallery,
    {name: [float(s.mean()) for s, _ in row.values()] for name, row in league.items()},
    list(trained),
    area,
)
plots.show(
    "A pullover with a red and a coat with a blue corner, and their maps by four methods. For the network "
    "with the shortcut the corner lights up, in the gradient's maps not alone; for the one trained with "
    "colours by chance maps lie on the clothes. Bars of the share inside: far above the area's, and near it."
)

# %% [markdown]
# On average all four methods point to the shortcut, many times more than the area would have it, but read the table: the plain gradient's strongest point misses the corner on nearly every second picture, and one of its maps shines on the coat's zip. Guided backpropagation, which failed the test before, never misses: **one test is not enough, in either direction.** And turn the story round: had nobody planted the corner, nobody would have looked for it, and an accuracy of 100 % would have stood in the report. A map is good for raising a suspicion. The proof was another one: change the cause (the colours), see the answer change.
#
# What helps against shortcuts, in this order: look at the data and where they come from; test on data from another source; break the connection in training, as the colours by chance did; then look at maps. The same way leads to bias: where the corner is a person's sex, age or skin, a network that is right on average can be wrong for one group for such a reason ([Geirhos et al., 2020](https://arxiv.org/abs/2004.07780)).
#
# Next: `practice`, in which you write these methods and better ones, with the properties that tell them apart.

# %% [markdown] lang="ru"
# В среднем на подсказку указывают все четыре метода, во много раз сильнее, чем по доле площади, но прочтите таблицу: самая яркая точка простого градиента почти на каждой второй картинке лежит не в углу, а одна из его карт сияет на молнии пальто. А управляемое распространение, провалившее предыдущую проверку, не промахивается ни разу: **одной проверки мало, в обе стороны.** А теперь переверните историю: если бы угол никто не подкладывал, его никто и не искал бы, и в отчёте стояли бы 100 % точности. Карта хороша, чтобы возникло подозрение. Доказательством было другое: изменили причину (цвета) — изменился ответ.
#
# Что помогает от таких подсказок, по порядку: смотреть на данные и на то, откуда они; проверять на данных из другого источника; разорвать связь при обучении, как сделали случайные цвета; и потом уже — карты. Тот же путь ведёт к предвзятости: если «угол» — это пол, возраст или цвет кожи человека, сеть, которая права в среднем, может по такой причине ошибаться для целой группы ([Geirhos et al., 2020](https://arxiv.org/abs/2004.07780)).
#
# Дальше — `practice`: там вы напишете эти методы и методы получше — с теми свойствами, по которым их различают.
