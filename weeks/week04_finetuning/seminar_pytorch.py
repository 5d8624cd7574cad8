# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Transfer learning: a network that has already seen a million photographs
# You have ninety photographs of each flower, too few to learn to see from. Somebody else's network has learned to see from 1.3 million others. You borrow its eyes: first as they are, then retrained a little, and you measure at every step what that is worth. On the way you lock layers that must not move, bring a network through fog without a single label, and let a function of yours say which labels to look at again.

# %% [markdown] lang="ru"
# # Перенос обучения: сеть, которая уже видела миллион фотографий
# У вас по девяносто фотографий каждого цветка: научиться по ним видеть нельзя. Чужая сеть научилась видеть на 1,3 миллиона других. Вы одолжите у неё зрение — сначала как есть, потом слегка доучите — и на каждом шаге измерите, что это даёт. По дороге вы запрёте слои, которые не должны двигаться, проведёте сеть сквозь туман без единой метки и напишете функцию, которая скажет, в какие метки стоит всмотреться ещё раз.

# %% tags=["parameters"]
profile = "small"

# %%
import copy
import functools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import nn

from practical_dl import check, data, models, plots, progress, seed_everything
from practical_dl.data import flowers5
from practical_dl.weeks import week04

seed_everything(0)
settings = {
    "small": {"sizes": [2, 5, 15, 60], "repeats": 3, "steps": 40, "side": 96},
    "full": {"sizes": [1, 2, 5, 10, 20, 40, 60], "repeats": 10, "steps": 200, "side": 224},
}[profile]

# %% [markdown]
# ## 1. Somebody else's eyes
# **The photographs**: five kinds of flowers, 90 of each for training, 10 for a test at the end; another 20 of each are withheld for the exam. They come from TensorFlow's `flower_photos`, taken by people on Flickr (CC BY 2.0; `flowers5.ids` names each photograph). The archive is known to hold wrong labels; nobody says which. At the end you make a list of your own.

# %% [markdown] lang="ru"
# ## 1. Чужое зрение
# **Фотографии**: пять видов цветов, по 90 для обучения и по 10 для итоговой проверки; ещё по 20 отложены для экзамена. Они взяты из набора `flower_photos` от TensorFlow, а сняли их пользователи Flickr (CC BY 2.0; `flowers5.ids` называет каждую фотографию). Известно, что в этом архиве есть неверные метки; какие — не скажет никто. В конце вы составите свой список.

# %%
dataset = data.load("flowers5", profile)

# %%
pictures, labels, classes = dataset.x_train, dataset.y_train, dataset.classes
y_all = torch.from_numpy(labels)
shown = np.stack([np.flatnonzero(labels == c)[:3] for c in range(5)], axis=1).ravel()
plots.images(pictures[shown], [*classes, *[""] * 10], columns=5, size=1.3)
plots.show("Three rows of photographs of a daisy, a dandelion, a rose, a sunflower and a tulip.")

# %% [markdown]
# **The network**: EfficientNet-Lite0 (Tan & Le, 2019; the Lite variant of its authors), trained on ImageNet: 1.3 million photographs of 1,000 classes. This is [pretraining](glossary:Pretraining). Using what it has learned for another task is [transfer learning](glossary:Transfer-learning).
#
# We cut off its last layer, the [head](glossary:Head), which knows 1,000 names that we don't need. What remains is the [backbone](glossary:Backbone): a stem, 16 blocks, a top. It turns a photograph into 1,280 numbers. Here it is as a plain sequence of named parts, so that you can cut it anywhere.

# %% [markdown] lang="ru"
# **Сеть**: EfficientNet-Lite0 (Tan, Le, 2019; вариант Lite тех же авторов), обученная на ImageNet: 1,3 миллиона фотографий, 1000 классов. Это [предобучение](glossary:Pretraining) (pretraining). Когда выученное используют для другой задачи, говорят о [переносе обучения](glossary:Transfer-learning) (transfer learning).
#
# Мы отрежем последний слой — [голову](glossary:Head) (head): она знает 1000 названий, которые нам не нужны. Останется [основа](glossary:Backbone) (backbone): начало (stem), 16 блоков и верх (top). Она превращает фотографию в 1280 чисел. Здесь она записана простой последовательностью именованных частей, чтобы её можно было разрезать в любом месте.

# %%
pretrained = models.load("efficientnet_lite0")


# %%
def backbone(quiet: bool = True) -> nn.Sequential:
    """The pretrained parts in order: stem, block0 ... block15, top, pool. (n, 3, h, w) -> (n, 1280)."""
    net = models.load("efficientnet_lite0", quiet=quiet)
    parts = OrderedDict(stem=nn.Sequential(net.conv_stem, net.bn0, net.act0))
    parts |= {f"block{i}": block for i, block in enumerate(net.blocks)}
    parts["top"] = nn.Sequential(net.conv_head, net.bn1, net.act1)
    parts["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(parts).eval()


def as_input(photographs: np.ndarray) -> torch.Tensor:
    """uint8 (n, h, w, 3) -> float32 in [0, 1], (n, 3, h, w)."""
    return torch.from_numpy(np.ascontiguousarray(photographs)).permute(0, 3, 1, 2).float() / 255


def prepare(x: torch.Tensor) -> torch.Tensor:
    """[0, 1] -> what this backbone was trained on: (rgb - 127) / 128."""
    return (255 * x - 127) / 128


body = backbone()
x = prepare(as_input(pictures[:1]))
with torch.no_grad():
    for name, part in body.named_children():
        x = part(x)
        numbers = sum(p.numel() for p in part.parameters())
        print(f"{name:8} {tuple(x.shape)!s:20} {numbers:8,} parameters")

# %% [markdown]
# **Embed.** What the backbone says of a photograph is its **embedding**. Four things go wrong here again and again: the network stays in training mode (then dropout makes it random, and batch norm mixes the photographs of a batch); a graph is kept of thousands of activations; the last, smaller batch gets lost; and afterwards the network is in another mode than before, because somebody was tidy in the wrong way.
#
# {{task:embed}}
#
# Afterwards each *part* of the model has the mode it had before: some parts may have been in eval mode while the whole was in training mode. Call the model itself and not a copy, which doubles the memory, and under `torch.no_grad()`: a graph that is cut off afterwards has been built first. And other layers can be trained on what you return, which `torch.inference_mode` forbids.

# %% [markdown] lang="ru"
# **Эмбеддинги.** То, что основа говорит о фотографии, называется **эмбеддингом** (embedding). Здесь снова и снова ломаются четыре вещи: сеть остаётся в режиме обучения (тогда dropout делает её случайной, а батч-нормализация смешивает фотографии батча); копится граф из тысяч активаций; теряется последний, меньший батч; а после вызова сеть оказывается не в том режиме, в каком была, потому что кто-то прибрался не так.
#
# {{task:embed}}
#
# После вызова каждая *часть* модели в том режиме, в каком была: часть могла стоять в режиме проверки, пока целое — в режиме обучения. Вызывайте саму модель, а не копию (копия удваивает память), и внутри `torch.no_grad()`: граф, который отрезают потом, сначала всё-таки построили. И на том, что вы вернёте, можно обучать другие слои: `torch.inference_mode` этого не даёт.


# %% solution="embed"
def embed(model: nn.Module, x: torch.Tensor, batch_size: int = 64) -> torch.Tensor:
    """What the model gives for the rows of x, in their order, in eval mode, batch by batch.

    x: (n, ...), n >= 1; no batch is larger than batch_size, the last may be smaller. -> (n, ...),
    without a graph; layers can be trained on it. The model is left as it was, each part in its mode.
    """
    ### BEGIN SOLUTION
    modes = {part: part.training for part in model.modules()}
    model.eval()
    with torch.no_grad():
        rows = torch.cat([model(batch) for batch in x.split(batch_size)])
    for part, mode in modes.items():
        part.training = mode
    return rows
    ### END SOLUTION


# %% test="embed" points=1 difficulty=2 minutes=10
class Spy(nn.Module):
    """Batch norm, dropout, a linear layer; writes down batches, modes and whether a graph is kept."""

    def __init__(self, inputs: int = 3) -> None:
        super().__init__()
        self.norm, self.drop, self.last = nn.BatchNorm1d(inputs), nn.Dropout(0.5), nn.Linear(inputs, 2)
        self.norm.running_mean.fill_(0.7)
        self.sizes, self.modes, self.graphs = [], [], []

    def forward(self, x):
        self.sizes.append(len(x))
        self.modes += [part.training for part in self.modules()]
        self.graphs.append(torch.is_grad_enabled())
        return self.last(self.drop(self.norm(x)))


torch.manual_seed(0)
spy = Spy()
rows = torch.arange(24.0).view(8, 3)
z = (rows - 0.7) / (1 + spy.norm.eps) ** 0.5
want = (z @ spy.last.weight.T + spy.last.bias).detach()
found = embed(spy, rows, batch_size=3)
check.close(found, want, "embed(spy, rows, batch_size=3)", why="be in eval mode, row by row", rtol=1e-4)
check.equal(spy.sizes, [3, 3, 2], "sizes of the batches of 8 rows by 3", why="lose none")
graph = check.attribute(found, "requires_grad", "embed(spy, rows)")
check.that(not graph and not any(spy.graphs), "keep no graph")
check.that(spy.training and spy.norm.training, "put the model back into training mode")
### BEGIN HIDDEN TESTS
rng = check.rng("embed")


def judge_embed(n, inputs, why, training=(True, True, True), dtype=torch.float32, **options):
    """Against one row at a time, in plain arithmetic."""
    torch.manual_seed(int(rng.integers(1_000_000)))
    spy = Spy(inputs).to(dtype)
    spy.norm.running_mean.normal_()
    spy.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(n, inputs, dtype=dtype)
    z = (x - spy.norm.running_mean) / (spy.norm.running_var + spy.norm.eps).sqrt()
    want = (z @ spy.last.weight.T + spy.last.bias).detach().numpy()
    parts = (spy, spy.norm, spy.drop)
    for part, mode in zip(parts, training, strict=True):
        part.training = mode
    before = check.parameters_of(spy, "model")
    spy.last.bias.requires_grad_(False)
    call = f"embed(model, x of {n} rows{''.join(f', {k}={v}' for k, v in options.items())})"
    found = check.answer(embed, spy, x, call=call, **options)
    check.close(found, want, call, rtol=1e-3, atol=1e-4, why=why)
    check.equal(str(check.array(found, call).dtype), str(dtype).split(".")[1], f"the dtype of {call}", why="be that of x")
    size = options.get("batch_size", 64)
    check.equal(sum(spy.sizes), n, f"rows that the model saw in {call}", why="be each row once")
    check.that(max(spy.sizes) <= size, "hand no batch to the model that is larger than batch_size")
    check.that(len(spy.sizes) == -(-n // size), "use batches of batch_size, and not smaller ones")
    check.that(not any(spy.modes), "have the model and all its parts in eval mode")
    check.that(not any(spy.graphs), "compute without a graph")
    modes = tuple(part.training for part in parts)
    check.equal(modes, training, "modes of the model and two of its parts afterwards", why="be as before")
    for name, value in check.parameters_of(spy, "model").items():
        check.equal(value, before[name], f"{name} of the model afterwards", why="be as before")
    asked = [p.requires_grad for p in spy.parameters()]
    check.equal(asked, [True, True, True, False], "requires_grad of the model's parameters afterwards", why="be as before")


judge_embed(6, 4, "have the rows in their order", batch_size=2)
judge_embed(7, 3, "have the rows of a smaller last batch", batch_size=5)
judge_embed(5, 2, "be the same in one batch", batch_size=9)
judge_embed(3, 4, "be the same one by one", batch_size=1)
judge_embed(70, 3, "be the same in batches of 64, where no size is given")
judge_embed(4, 3, "be the same for a model in eval mode", (False, False, False), batch_size=3)
judge_embed(4, 3, "be the same for a model with a part in eval mode", (True, False, True), batch_size=3)
judge_embed(1, 5, "be right for a single row", (False, True, False), batch_size=4)
judge_embed(5, 3, "have the precision of x", dtype=torch.float64, batch_size=2)
maps = torch.from_numpy(rng.normal(size=(5, 2, 4, 6)).astype(np.float32))
conv = nn.Conv2d(2, 3, 1)
want = conv(maps).detach().numpy()
found = check.answer(embed, conv, maps, call="embed(conv, maps)", batch_size=2)
check.close(found, want, "embed(conv, maps)", rtol=1e-4, atol=1e-5, why="work for maps, too")
nested = nn.Sequential(nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5))))
nested[0][1][0].eval()
was = [part.training for part in nested.modules()]
check.answer(embed, nested, rows, call="embed of parts within parts", batch_size=4)
modes = [part.training for part in nested.modules()]
check.equal(modes, was, "modes of parts within parts, afterwards", why="be as before, however deep")


class Below(nn.Module):
    """What embed gives, for a layer above it."""

    def forward(self, x):
        return embed(Spy(), x, batch_size=4)


probe = nn.Sequential(Below(), nn.Linear(2, 1))
try:
    probe(rows).sum().backward()
    trained = probe[1].weight.grad is not None
except RuntimeError:
    trained = False
check.that(trained, "give what a layer can be trained on: torch.no_grad, not inference_mode")
graph = check.attribute(embed(Spy(), rows), "requires_grad", "embed(model, x)")
check.that(not graph, "return no graph")
### END HIDDEN TESTS

# %% mutant="embed" why="stays in training mode"
# - model.eval()
# + model.train()

# %% mutant="embed" why="always ends in training mode"
# - for part, mode in modes.items():
# -     part.training = mode
# + model.train()

# %% mutant="embed" why="restores the mode of the whole for all of its parts"
# - for part, mode in modes.items():
# -     part.training = mode
# + model.train(modes[model])

# %% mutant="embed" why="keeps the modes of the direct parts alone"
# - for part, mode in modes.items():
# -     part.training = mode
# + for part in [model, *model.children()]:
# +     part.train(modes[part])

# %% mutant="embed" why="leaves all parameters frozen"
# - model.eval()
# + model.eval().requires_grad_(False)

# %% mutant="embed" why="ends in eval mode"
# - for part, mode in modes.items():
# -     part.training = mode
# + pass

# %% mutant="embed" why="loses the last batch"
# - rows = torch.cat([model(batch) for batch in x.split(batch_size)])
# + whole = max(len(x) // batch_size, 1) * batch_size
# + rows = torch.cat([model(batch) for batch in x[:whole].split(batch_size)])

# %% mutant="embed" why="keeps the graph"
# - with torch.no_grad():
# + with torch.enable_grad():

# %% mutant="embed" why="cuts the graph off only at the end"
# - with torch.no_grad():
# + with torch.enable_grad():
# - return rows
# + return rows.detach()

# %% mutant="embed" why="inference mode: nothing can be trained on it"
# - with torch.no_grad():
# + with torch.inference_mode():

# %% mutant="embed" why="all in one batch"
# - rows = torch.cat([model(batch) for batch in x.split(batch_size)])
# + rows = model(x)

# %% mutant="embed" why="a batch of 32 where nothing is said"
# - modes = {part: part.training for part in model.modules()}
# + modes = {part: part.training for part in model.modules()}
# + batch_size = 32 if batch_size is embed.__defaults__[0] else batch_size

# %% mutant="embed" why="always single precision"
# - return rows
# + return rows.float()


# %% alternative="embed" why="a loop over the places, into one tensor"
def embed(model, x, batch_size=64):
    was = [(m, m.training) for m in model.modules()]
    for m, _ in was:
        m.training = False
    out = []
    with torch.no_grad():
        for start in range(0, len(x), batch_size):
            out.extend(model(x[start : start + batch_size]))
    for m, mode in was:
        m.training = mode
    return torch.stack(out)


# %% alternative="embed" why="a decorator, and train() for each part"
@torch.no_grad()
def embed(model, x, batch_size=64):
    modules = list(model.modules())
    training = [m for m in modules if m.training]
    model.eval()
    chunks = torch.split(x, batch_size, dim=0)
    rows = torch.vstack(list(map(model, chunks))) if x.ndim == 2 else torch.cat(list(map(model, chunks)))
    for m in training:
        m.training = True
    return rows.detach()


# %% [markdown]
# Does it see flowers? Take a photograph and look for the most similar ones: by their pixels, and by their embeddings. The backbone was never told what a daisy is as opposed to a dandelion *here*; yet photographs of one kind lie close together. (The embeddings are computed once and kept: everything below runs on them in seconds.)

# %% [markdown] lang="ru"
# Видит ли она цветы? Возьмём фотографию и найдём самые похожие: по пикселям и по эмбеддингам. Никто не говорил основе, чем *здесь* ромашка отличается от одуванчика, и всё же фотографии одного вида лежат рядом. (Эмбеддинги считаются один раз и хранятся: всё дальнейшее работает на них за секунды.)


# %%
@functools.cache  # after a repair of embed, run this cell again
def embedded(cut: str, part: str = "train") -> torch.Tensor:
    """What the backbone before its part `cut` gives for the photographs: (n, ...)."""
    names = [name for name, _ in body.named_children()]
    x = prepare(as_input(pictures if part == "train" else dataset.x_test))
    return embed(body[: names.index(cut)], x)


@functools.cache
def embeddings(part: str = "train") -> torch.Tensor:
    """The end of the backbone, from what is kept of its middle: (n, 1280)."""
    return embed(body[-3:], embedded("block15", part))


# %% tags=["training"]
start = time.perf_counter()
x_all = embeddings()
print(f"{tuple(x_all.shape)} numbers in {time.perf_counter() - start:.1f} s")
ways = {"pixels": as_input(pictures).flatten(1), "embedding": x_all}
nearest = {}
for name, vectors in ways.items():
    unit = F.normalize(vectors - vectors.mean(dim=0))
    likeness = (unit @ unit.T).fill_diagonal_(-1)
    nearest[name] = likeness.argsort(dim=1, descending=True)[:, :6].numpy()
    share = (labels[nearest[name][:, 0]] == labels).mean()
    print(f"the nearest neighbour by {name} is of the same kind: {share:.0%}")
queries = [np.flatnonzero(labels == c)[4] for c in (0, 3, 4)]
week04.neighbours(pictures, queries, {n: index[queries] for n, index in nearest.items()})
plots.show(
    "Three photographs, each with its six nearest neighbours: by pixels any flowers of similar colour "
    "and brightness, by embedding mostly flowers of the same kind."
)

# %% [markdown]
# ## 2. A linear probe
# The cheapest transfer: leave the backbone alone and train one layer on its embeddings, a **linear probe**. Embeddings have 1,280 numbers of quite different size, so each is standardised first, by the mean and deviation *of the training rows alone*: what stands in front of a test photograph must not know the others. (The variance $\sigma^2$ is the mean of the squares, with $1/n$.) Then softmax regression with weight decay:
#
# $$\min_{W, b}\; \frac1n \sum_i -\log \operatorname{softmax}(W z_i + b)_{y_i} + \frac{\lambda}{2} \lVert W \rVert^2, \qquad z = \frac{x - \mu_\text{train}}{\sigma_\text{train}}.$$
#
# {{task:linear_probe}}
#
# The problem is convex: there is one answer, and any road to it will do. `torch.optim.LBFGS` with `line_search_fn="strong_wolfe"` finds it in one `step`; plain gradient descent needs some patience. The bias has no decay.

# %% [markdown] lang="ru"
# ## 2. Линейная проба
# Самый дешёвый перенос: основу не трогать и обучить на её эмбеддингах один слой — **линейную пробу** (linear probe). В эмбеддинге 1280 чисел очень разного размера, поэтому каждое сначала стандартизуют: средним и отклонением *только обучающих строк*; то, что стоит перед тестовой фотографией, не должно знать остальных. (Дисперсия $\sigma^2$ — среднее квадратов, с $1/n$.) Затем softmax-регрессия с затуханием весов (weight decay):
#
# $$\min_{W, b}\; \frac1n \sum_i -\log \operatorname{softmax}(W z_i + b)_{y_i} + \frac{\lambda}{2} \lVert W \rVert^2, \qquad z = \frac{x - \mu_\text{train}}{\sigma_\text{train}}.$$
#
# {{task:linear_probe}}
#
# Задача выпуклая: ответ один, и годится любой путь к нему. `torch.optim.LBFGS` с `line_search_fn="strong_wolfe"` находит его за один `step`; обычному градиентному спуску нужно терпение. У сдвига затухания нет.


# %% solution="linear_probe"
def linear_probe(
    x: torch.Tensor, y: torch.Tensor, x_new: torch.Tensor, decay: float = 0.03
) -> torch.Tensor:
    """Probabilities of softmax regression, trained on x and y, for other rows.

    x: (n, d) floats; y: (n,), class numbers 0 ... k-1, k > 2, each there; x_new: (m, d) -> (m, k), without
    a graph, each row sums to 1. decay: lambda. A feature that is the same in all of x counts
    nothing, whatever it is in x_new, and also where rounding makes its deviation not quite 0.
    The arguments stay as they are; probabilities right to 0.01.
    """
    ### BEGIN SOLUTION
    mean, deviation = x.mean(dim=0), x.std(dim=0, correction=0)
    deviation = torch.where(x.amax(dim=0) > x.amin(dim=0), deviation, 1)
    z, z_new = (x - mean) / deviation, (x_new - mean) / deviation
    k = int(y.max()) + 1
    weight = torch.zeros(x.shape[1], k, dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(k, dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(z @ weight + bias, y) + decay / 2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return (z_new @ weight + bias).softmax(dim=1).detach()
    ### END SOLUTION


# %% test="linear_probe" points=1 difficulty=3 minutes=20
def by_sklearn(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, decay: float) -> np.ndarray:
    """The same by scikit-learn, whose C is 1 / (n lambda)."""
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation[x.max(axis=0) == x.min(axis=0)] = 1
    model = LogisticRegression(C=1 / (len(x) * decay), max_iter=1000, tol=1e-5)
    model.fit((x - mean) / deviation, y)
    return model.predict_proba((x_new - mean) / deviation)


random = np.random.default_rng(0)
y_few = np.arange(40) % 3
x_few = random.normal(size=(40, 4)) + np.eye(4)[y_few] * [2.0, 40.0, 0.1, 1.0]
x_few[:, 1] *= 30
x_new = x_few[::4] * 1.3 + 0.2
found = linear_probe(*map(torch.from_numpy, (x_few, y_few, x_new)), decay=0.2)
want = by_sklearn(x_few, y_few, x_new, 0.2)
check.close(found, want, "linear_probe(x, y, x_new, decay=0.2)", rtol=0, atol=0.01)
### BEGIN HIDDEN TESTS
rng = check.rng("linear_probe")


def judge_probe(n, d, k, m, why, dtype=torch.float64, edge=None, same=None, **options):
    """Against scikit-learn, on rows whose features have different sizes and places."""
    y = rng.permutation(np.arange(n) % k)
    x = rng.normal(size=(n, d)) + 2.0 * rng.normal(size=(k, d))[y]
    place, size = rng.uniform(-5, 5, size=d), 10.0 ** rng.uniform(-1, 2, size=d)
    x_new = rng.normal(size=(m, d)) * 1.5 + 0.7
    x, x_new = x * size + place, x_new * size + place
    if edge == "constant":
        x[:, 1] = 3.5
    if same is not None:
        x[:, 1], x_new[:, 1] = same, same + 1000.0
    if edge == "tiny":
        x[:, 1], x_new[:, 1] = ((rows[:, 1] - place[1]) / size[1] * 1e-4 for rows in (x, x_new))
    if edge == "imbalanced":
        y = np.r_[np.zeros(n - 2 * (k - 1), int), np.repeat(np.arange(1, k), 2)]
        x += 2.0 * size * rng.normal(size=(k, d))[y]
    want = by_sklearn(x, y, x_new, options.get("decay", 0.03))
    given = [torch.from_numpy(x).to(dtype), torch.from_numpy(y), torch.from_numpy(x_new).to(dtype)]
    call = f"linear_probe of {n} rows in {k} classes{''.join(f', {o}={v}' for o, v in options.items())}"
    found = check.answer(linear_probe, *given, call=call, **options)
    check.close(found, want, call, rtol=0, atol=0.012, why=why)
    check.close(found.sum(axis=1), np.ones(m), f"sums of the rows of {call}", rtol=1e-4, why="be 1")


judge_probe(30, 5, 3, 7, "be the probabilities at the minimum", decay=0.1)
judge_probe(40, 5, 4, 9, "have a column for each class", decay=0.05)
judge_probe(35, 4, 3, 6, "shrink the weights by decay", decay=1.0)
judge_probe(35, 4, 3, 6, "shrink the weights by decay, little where it is small", decay=0.004)
judge_probe(45, 4, 3, 6, "have a decay of 0.03 where none is given")
judge_probe(24, 4, 3, 1, "standardise a single new row by the training rows", decay=0.1)
judge_probe(24, 60, 3, 8, "be right where features outnumber rows", decay=0.1)
judge_probe(40, 3, 4, 8, "leave the bias without decay", edge="imbalanced", decay=0.5)
judge_probe(30, 4, 3, 5, "be finite where a feature never varies", edge="constant", decay=0.1)
why = "ignore a feature that never varies, also where it does in the new rows"
judge_probe(42, 4, 3, 5, why, same=0.1, decay=0.1)
judge_probe(46, 4, 3, 5, why, same=1234.567, decay=0.1)
judge_probe(30, 4, 3, 5, "standardise a feature of tiny numbers like any other", edge="tiny", decay=0.1)
judge_probe(30, 4, 3, 5, "work in single precision", dtype=torch.float32, decay=0.1)
given = [torch.from_numpy(a) for a in (x_few, y_few, x_new)]
one = check.answer(linear_probe, *given, call="linear_probe(x, y, x_new)")
alone = check.answer(linear_probe, *given[:2], given[2][:1], call="linear_probe(x, y, x_new[:1])")
check.close(alone, one[:1], "a row of x_new alone", rtol=0, atol=0.005, why="be what it is in company")
graph = check.attribute(linear_probe(*given), "requires_grad", "linear_probe(x, y, x_new)")
check.that(not graph, "return no graph")
### END HIDDEN TESTS

# %% mutant="linear_probe" why="standardises by all rows, the new ones, too"
# - mean, deviation = x.mean(dim=0), x.std(dim=0, correction=0)
# + both = torch.cat([x, x_new])
# + mean, deviation = both.mean(dim=0), both.std(dim=0, correction=0)

# %% mutant="linear_probe" why="standardises new rows by themselves"
# - z, z_new = (x - mean) / deviation, (x_new - mean) / deviation
# + z, z_new = (x - mean) / deviation, (x_new - x_new.mean(dim=0)) / deviation

# %% mutant="linear_probe" why="does not standardise"
# - z, z_new = (x - mean) / deviation, (x_new - mean) / deviation
# + z, z_new = x - mean, x_new - mean

# %% mutant="linear_probe" why="one deviation for all features"
# - deviation = torch.where(x.amax(dim=0) > x.amin(dim=0), deviation, 1)
# + deviation = x.std()

# %% mutant="linear_probe" why="no decay"
# - value = F.cross_entropy(z @ weight + bias, y) + decay / 2 * weight.square().sum()
# + value = F.cross_entropy(z @ weight + bias, y)

# %% mutant="linear_probe" why="twice the decay"
# - value = F.cross_entropy(z @ weight + bias, y) + decay / 2 * weight.square().sum()
# + value = F.cross_entropy(z @ weight + bias, y) + decay * weight.square().sum()

# %% mutant="linear_probe" why="decay of the bias, too"
# - value = F.cross_entropy(z @ weight + bias, y) + decay / 2 * weight.square().sum()
# + value = F.cross_entropy(z @ weight + bias, y) + decay / 2 * (weight.square().sum() + bias.square().sum())

# %% mutant="linear_probe" why="the sum of the losses in place of their mean"
# - value = F.cross_entropy(z @ weight + bias, y) + decay / 2 * weight.square().sum()
# + value = F.cross_entropy(z @ weight + bias, y, reduction="sum") + decay / 2 * weight.square().sum()

# %% mutant="linear_probe" why="stops after a few steps"
# - optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")
# + optimizer = torch.optim.LBFGS([weight, bias], max_iter=3, line_search_fn="strong_wolfe")

# %% mutant="linear_probe" why="logits"
# - return (z_new @ weight + bias).softmax(dim=1).detach()
# + return (z_new @ weight + bias).detach()

# %% mutant="linear_probe" why="divides by a deviation of zero"
# - deviation = torch.where(x.amax(dim=0) > x.amin(dim=0), deviation, 1)
# + pass

# %% mutant="linear_probe" why="a deviation of exactly 0, which rounding defeats"
# - deviation = torch.where(x.amax(dim=0) > x.amin(dim=0), deviation, 1)
# + deviation = torch.where((x - mean).square().mean(dim=0) > 0, (x - mean).square().mean(dim=0).sqrt(), 1)

# %% mutant="linear_probe" why="a little more than the deviation"
# - deviation = torch.where(x.amax(dim=0) > x.amin(dim=0), deviation, 1)
# + deviation = deviation + 1e-8

# %% mutant="linear_probe" why="the epsilon of batch norm under the root"
# - deviation = torch.where(x.amax(dim=0) > x.amin(dim=0), deviation, 1)
# + deviation = torch.where(x.amax(dim=0) > x.amin(dim=0), (deviation.square() + 1e-5).sqrt(), 1)

# %% mutant="linear_probe" why="always ten times the decay of its default"
# - k = int(y.max()) + 1
# + k = int(y.max()) + 1
# + decay = 0.3 if decay is linear_probe.__defaults__[0] else decay


# %% alternative="linear_probe" why="scikit-learn"
def linear_probe(x, y, x_new, decay=0.03):
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x.numpy())
    model = LogisticRegression(C=1 / (len(x) * decay), max_iter=5000)
    model.fit(scaler.transform(x.numpy()), y.numpy())
    return torch.from_numpy(model.predict_proba(scaler.transform(x_new.numpy())))


# %% alternative="linear_probe" why="Adam, in double precision, with its own layer"
def linear_probe(x, y, x_new, decay=0.03):
    x, x_new = x.double(), x_new.double()
    mu, sd = x.mean(0), torch.where((x == x[0]).all(0), 1, x.std(0, unbiased=False))
    layer = nn.Linear(x.shape[1], len(y.unique())).double()
    nn.init.zeros_(layer.weight)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500)
    for _ in range(1500):
        loss = F.cross_entropy(layer((x - mu) / sd), y) + decay / 2 * (layer.weight**2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    with torch.no_grad():
        return layer((x_new - mu) / sd).softmax(1)


# %% [markdown]
# The first 300 photographs teach, the last 150 ask. The same probe on pixels, shrunk to 8 × 8, shows what the embedding is worth.

# %% [markdown] lang="ru"
# Первые 300 фотографий учат, последние 150 проверяют. Та же проба на пикселях, уменьшенных до 8 × 8, показывает, что даёт эмбеддинг.

# %% tags=["training"]
small_pixels = F.adaptive_avg_pool2d(as_input(pictures), 8).flatten(1)
figure, axes = plt.subplots(1, 2, figsize=(9.5, 4))
for ax, (name, rows) in zip(axes, {"pixels": small_pixels, "embedding": embeddings()}.items(), strict=True):
    guess = linear_probe(rows[:300], y_all[:300], rows[300:]).argmax(dim=1)
    accuracy = (guess == y_all[300:]).float().mean().item()
    matrix = np.zeros((5, 5), dtype=int)
    np.add.at(matrix, (labels[300:], guess.numpy()), 1)
    plots.confusion(matrix, classes, f"{name}: {accuracy:.1%}", ax=ax)
    ax.tick_params(axis="x", rotation=40)
plots.show(
    "Two confusion matrices of five kinds of flowers: of pixels mistakes are everywhere, of embeddings "
    "most lie between roses and tulips."
)

# %% [markdown]
# ## 3. How many photographs does it need?
# A single number hides what matters when you plan to collect data: how fast it grows. A **learning curve** shows accuracy against the number of training examples. It is easy to draw a wrong one. Every point must be measured on *the same* test examples, which no training has seen. Subsets should be *nested*: the 5 are among the 15, so a step of the curve is the worth of the added ones and not of other luck. And a curve by one draw is an anecdote: repeat it, each time with subsets of its own.
#
# {{task:learning_curve}}

# %% [markdown] lang="ru"
# ## 3. Сколько фотографий нужно?
# Одно число скрывает то, что важно, когда вы решаете, собирать ли данные: как быстро оно растёт. **Кривая обучения** (learning curve) показывает точность в зависимости от числа обучающих примеров. Её легко нарисовать неправильно. Каждую точку надо измерять на *одних и тех же* тестовых примерах, которых не видело ни одно обучение. Подмножества должны быть *вложенными*: 5 лежат среди 15, тогда шаг кривой — это вклад добавленных примеров, а не другая удача. И кривая по одному розыгрышу — единичный случай, он ничего не доказывает: повторите её, каждый раз со своими подмножествами.
#
# {{task:learning_curve}}


# %% solution="learning_curve"
def learning_curve(
    score: Callable[[np.ndarray, np.ndarray], float],
    y: np.ndarray,
    sizes: list[int],
    held_out: int,
    repeats: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Scores for growing training sets: (repeats, len(sizes)), in the order of sizes.

    score(train, test) takes two arrays of indices into y. test: held_out examples of each class of y,
    drawn once, the same for all calls. train: n of each class, none of test, for each n of sizes;
    within a repeat the smaller sets are part of the larger ones; each repeat draws anew. All random
    numbers come from rng. Raises ValueError where a class has too few examples.
    """
    ### BEGIN SOLUTION
    members = [rng.permutation(np.flatnonzero(y == c)) for c in np.unique(y)]
    if min(map(len, members)) < held_out + max(sizes):
        raise ValueError("a class has too few examples")
    test = np.concatenate([m[:held_out] for m in members])
    scores = np.empty((repeats, len(sizes)))
    for repeat in range(repeats):
        orders = [rng.permutation(m[held_out:]) for m in members]
        for i, n in enumerate(sizes):
            scores[repeat, i] = score(np.concatenate([order[:n] for order in orders]), test)
    return scores
    ### END SOLUTION


# %% test="learning_curve" points=1 difficulty=3 minutes=20
def watched(y: np.ndarray, *arguments, seed: int | None = 0, rng=None) -> tuple[np.ndarray, list]:
    """Numbers of the calls as learning_curve orders them, and the sets of each; a score is a quarter of the number of its call."""
    calls, masks = [], []

    def score(train, test):
        calls.append((np.array(train).tolist(), np.array(test).tolist()))
        masks.extend(np.array(which).dtype == bool for which in (train, test))
        return 0.25 * (len(calls) - 1)

    rng = rng or np.random.default_rng(seed)
    call = f"learning_curve(score, y, {', '.join(map(str, arguments))}, rng)"
    found = check.answer(learning_curve, score, y, *arguments, rng, call=call)
    check.that(not any(masks), "hand indices into y to score, not masks of True and False")
    repeats = arguments[2]
    check.equal(np.shape(found), (repeats, len(arguments[0])), f"the shape of {call}")
    check.equal(
        sorted(np.ravel(found)), [0.25 * i for i in range(found.size)], f"the values of {call}",
        why="be each score once, as score gave it",
    )  # fmt: skip
    return 4 * found, calls


kinds = np.array([2, 0, 1, 1, 0, 2, 0, 1, 2, 2, 0, 1, 0, 1, 2])
found, calls = watched(kinds, [1, 3], 2, 2)
check.that(len({tuple(sorted(test)) for _, test in calls}) == 1, "have the same test in every call")
check.that(not any(set(a) & set(b) for a, b in calls), "train on nothing of the test")
for row in found.astype(int):
    small, large = (calls[i][0] for i in row)
    check.that(set(small) < set(large), "have the smaller set within the larger one")
    check.equal(sorted(kinds[large]), [0] * 3 + [1] * 3 + [2] * 3, "classes of a set of 3 each")
### BEGIN HIDDEN TESTS
rng = check.rng("learning_curve")


def judge_curve(y, sizes, held_out, repeats, why):
    """All that a curve has to hold, for these sizes; returns the sets by repeat and size, and the test."""
    found, calls = watched(y, sizes, held_out, repeats, rng=np.random.default_rng(int(rng.integers(10**6))))
    which, tests = found.astype(int), [sorted(test) for _, test in calls]
    check.that(all(test == tests[0] for test in tests), f"have the same test in every call ({why})")
    groups = [y[test].tolist() for test in tests[:1]] + [y[train].tolist() for train, _ in calls]
    wanted = dict.fromkeys(np.unique(y).tolist(), held_out)
    check.equal({c: groups[0].count(c) for c in wanted}, wanted, "classes of the test", why=why)
    for repeat in which:
        for n, i in zip(sizes, repeat, strict=True):
            train, test = calls[i]
            check.equal(len(set(train)), len(train), "different examples of a training set", why="be all")
            check.that(not set(train) & set(test), "train on nothing of the test")
            wanted = dict.fromkeys(np.unique(y).tolist(), n)
            counts = {c: y[train].tolist().count(c) for c in wanted}
            check.equal(counts, wanted, f"classes of a training set for the size {n}", why=why)
        order = sorted(zip(sizes, repeat, strict=True))
        for (_, a), (_, b) in pairwise(order):
            check.that(set(calls[a][0]) <= set(calls[b][0]), "have smaller sets within larger ones")
    return [[set(calls[i][0]) for i in row] for row in which], set(tests[0])


y = rng.permutation(np.repeat([0, 1, 2, 3], [9, 14, 11, 10]))
judge_curve(y, [1, 2, 5], 3, 3, "be as many of each class, whatever their sizes")
judge_curve(y, [5, 1, 3], 2, 2, "be in the order of sizes, which need not grow")
judge_curve(y, [2, 6], 3, 1, "use a class up where it just suffices")
judge_curve(np.array([7, 7, 3, 3, 7, 3, 7, 3, 7, 3]), [1, 2], 2, 2, "hold for any class numbers")
many = rng.permutation(np.repeat([0, 1], 60))
sets, test = judge_curve(many, [20, 30], 20, 6, "be as many of each class")
check.equal(len({frozenset(s[0]) for s in sets}), 6, "different subsets in six repeats", why="be six")
check.that(len(set.union(*(s[0] for s in sets)) | test) > 100, "draw subsets from all that is not in the test")
_, other = judge_curve(many, [20, 30], 20, 2, "be as many of each class")
check.that(test != other, "draw another test from another generator")
check.that(len(test & other) < 38, "draw the test at random")
check.that(max(abs(np.sort(list(test)) - np.arange(40))) > 2, "draw the test at random, not the first ones")
state = np.random.get_state()[1].copy()
one, two = (watched(many, [3, 5], 4, 2, seed=7)[1] for _ in range(2))
check.that(one == two, "give equal sets for equal generators")
check.that(bool((np.random.get_state()[1] == state).all()), "take all random numbers from rng")
shared = np.random.default_rng(3)
one, two = (watched(many, [3, 5], 4, 2, rng=shared)[1] for _ in range(2))
check.that(one != two, "draw other sets from the same generator at the next call")
states = []
for repeats in (1, 3):
    own = np.random.default_rng(5)
    watched(many, [3, 5], 4, repeats, rng=own)
    states.append((own.bit_generator.state, own.bit_generator.seed_seq.n_children_spawned))
check.that(states[0] != states[1], "take the random numbers of each repeat from rng")
for arguments in ([[2, 7], 3, 2], [[7, 2], 3, 2], [[1], 9, 1]):
    call = f"learning_curve with sizes {arguments[0]} and {arguments[1]} held out of 9"
    check.raises(
        ValueError, lambda a=arguments: learning_curve(lambda *_: 0.0, y, *a, np.random.default_rng(0)),
        call, why="refuse more than a class has",
    )  # fmt: skip
### END HIDDEN TESTS

# %% mutant="learning_curve" why="trains on the test, too"
# - orders = [rng.permutation(m[held_out:]) for m in members]
# + orders = [rng.permutation(m) for m in members]

# %% mutant="learning_curve" why="another test in each repeat"
# - for repeat in range(repeats):
# + for repeat in range(repeats):
# +     members = [rng.permutation(m) for m in members]
# +     test = np.concatenate([m[:held_out] for m in members])

# %% mutant="learning_curve" why="subsets are not nested"
# - scores[repeat, i] = score(np.concatenate([order[:n] for order in orders]), test)
# + scores[repeat, i] = score(np.concatenate([rng.permutation(o)[:n] for o in orders]), test)

# %% mutant="learning_curve" why="the same subsets in each repeat"
# - orders = [rng.permutation(m[held_out:]) for m in members]
# + orders = [m[held_out:] for m in members]

# %% mutant="learning_curve" why="classes as they come"
# - for i, n in enumerate(sizes):
# + pool = rng.permutation(np.concatenate(orders))
# + for i, n in enumerate(sizes):
# +     orders = [pool[: n * len(members)]]
# +     n = n * len(members)

# %% mutant="learning_curve" why="a generator of its own"
# - members = [rng.permutation(np.flatnonzero(y == c)) for c in np.unique(y)]
# + rng = np.random.default_rng(0)
# + members = [rng.permutation(np.flatnonzero(y == c)) for c in np.unique(y)]

# %% mutant="learning_curve" why="always the first ones for the test"
# - members = [rng.permutation(np.flatnonzero(y == c)) for c in np.unique(y)]
# + members = [np.flatnonzero(y == c) for c in np.unique(y)]

# %% mutant="learning_curve" why="classes counted from 0"
# - members = [rng.permutation(np.flatnonzero(y == c)) for c in np.unique(y)]
# + members = [rng.permutation(np.flatnonzero(y == c)) for c in range(len(np.unique(y)))]

# %% mutant="learning_curve" why="sizes sorted"
# - scores = np.empty((repeats, len(sizes)))
# + scores = np.empty((repeats, len(sizes)))
# + sizes = sorted(sizes)

# %% mutant="learning_curve" why="n in all, not of each class"
# - scores[repeat, i] = score(np.concatenate([order[:n] for order in orders]), test)
# + scores[repeat, i] = score(np.concatenate([o[: max(1, n // len(orders))] for o in orders]), test)

# %% mutant="learning_curve" why="looks at the last size, not at the largest"
# - if min(map(len, members)) < held_out + max(sizes):
# + if min(map(len, members)) < held_out + sizes[-1]:

# %% mutant="learning_curve" why="whole numbers for scores"
# - scores = np.empty((repeats, len(sizes)))
# + scores = np.full((repeats, len(sizes)), 0)

# %% mutant="learning_curve" why="repeats seeded by their number"
# - orders = [rng.permutation(m[held_out:]) for m in members]
# + orders = [np.random.default_rng(repeat).permutation(m[held_out:]) for m in members]

# %% mutant="learning_curve" why="masks in place of indices"
# - scores[repeat, i] = score(np.concatenate([order[:n] for order in orders]), test)
# + train = np.concatenate([order[:n] for order in orders])
# + scores[repeat, i] = score(np.isin(np.arange(len(y)), train), np.isin(np.arange(len(y)), test))

# %% mutant="learning_curve" why="never refuses"
# - if min(map(len, members)) < held_out + max(sizes):
# -     raise ValueError("a class has too few examples")
# + pass


# %% alternative="learning_curve" why="keys to sort by, a list of lists"
def learning_curve(score, y, sizes, held_out, repeats, rng):
    classes_, counts = np.unique(y, return_counts=True)
    if counts.min() - held_out < max(sizes):
        raise ValueError

    def ranked(free):
        key = rng.random(len(y))
        return {c: sorted(np.flatnonzero((y == c) & free), key=lambda i: key[i]) for c in classes_}

    test = np.array([i for c, r in ranked(np.ones(len(y), bool)).items() for i in r[:held_out]])
    free = ~np.isin(np.arange(len(y)), test)
    rows = []
    for _ in range(repeats):
        order = ranked(free)
        rows.append([score(np.sort([i for c in classes_ for i in order[c][:n]]), test) for n in sizes])
    return np.array(rows)


# %% [markdown]
# The curve of the probe, by embedding and by pixels. (The band goes from the worst to the best repeat.)

# %% [markdown] lang="ru"
# Кривая пробы, по эмбеддингам и по пикселям. (Полоса — от худшего повтора до лучшего.)


# %%
def of_rows(rows: torch.Tensor) -> Callable[[np.ndarray, np.ndarray], float]:
    """The accuracy of a probe on these rows, as learning_curve wants it."""

    def score(train: np.ndarray, test: np.ndarray) -> float:
        guess = linear_probe(rows[train], y_all[train], rows[test]).argmax(dim=1)
        return (guess == y_all[test]).float().mean().item()

    return score


# %% tags=["training"]
sizes, repeats = settings["sizes"], settings["repeats"]
curves = {}
ax = plt.subplots(figsize=(7, 3.8))[1]
for colour, (name, rows) in zip(
    plots.PALETTE, {"embedding": embeddings(), "pixels": small_pixels}.items(), strict=False
):
    curves[name] = learning_curve(of_rows(rows), labels, sizes, 30, repeats, np.random.default_rng(0))
    week04.band(ax, sizes, curves[name], name, colour)
    print(f"{name:9}", "  ".join(f"{n}: {a:.2f}" for n, a in zip(sizes, curves[name].mean(0), strict=True)))
ax.set(xscale="log", title="A linear probe", xlabel="photographs of each class", ylabel="accuracy", ylim=(0.15, 1))
ax.set_xticks(sizes, map(str, sizes))
ax.minorticks_off()
ax.legend(frameon=False)
plots.show(
    "Accuracy of a probe on 150 photographs against the number of training photographs: on embeddings "
    "it rises steeply to above 0.8, on pixels slowly to less than half."
)

# %% [markdown]
# ## 4. Freeze, and mean it
# Next step: train a part of the backbone, too, [fine-tuning](glossary:Finetuning). The early parts know edges and colours, which flowers have as well; they stay as they are. "Frozen" is more than `requires_grad_(False)`: a batch norm in training mode still moves its running statistics, and it answers by the statistics of the batch, so the photographs of a batch change each other. `model.train()`, which every training loop calls, switches that on again.
#
# {{task:freeze}}
#
# `model` is a sequence of named parts. All parts *before* the one named `until` are frozen: no gradients (what has piled up in `.grad` goes, too: an optimiser would still use it), and eval mode for good, even after `model.train()`. The rest of the model stays as it is. Hint: `model.train()` calls `train` of each part, and an attribute of an object comes before the method of its class.

# %% [markdown] lang="ru"
# ## 4. Заморозить по-настоящему
# Следующий шаг — доучить и часть основы: [дообучение](glossary:Finetuning) (fine-tuning). Первые части знают границы и цвета, которые есть и у цветов; они останутся как есть. «Заморозить» — это больше, чем `requires_grad_(False)`: батч-нормализация в режиме обучения всё равно двигает скользящие статистики и отвечает по статистикам батча, так что фотографии батча влияют друг на друга. А `model.train()`, который вызывает любой цикл обучения, включает это снова.
#
# {{task:freeze}}
#
# `model` — последовательность именованных частей. Все части *до* той, что названа `until`, замораживаются: без градиентов (накопленное в `.grad` тоже убирается: оптимизатор им бы воспользовался) и навсегда в режиме проверки, даже после `model.train()`. Остальное в модели не меняется. Подсказка: `model.train()` вызывает `train` у каждой части, а атрибут объекта важнее метода его класса.


# %%
def tower(seed: int = 0, width: int = 3) -> nn.Sequential:
    """Four parts with batch norm and dropout inside of them, in float64."""
    torch.manual_seed(seed)

    def part(a, b):
        return nn.Sequential(nn.Linear(a, b), nn.Sequential(nn.BatchNorm1d(b), nn.Dropout(0.4)), nn.ReLU())

    sizes = {"low": (4, width), "middle": (width, 6), "high": (6, 5)}
    parts = OrderedDict((name, part(*size)) for name, size in sizes.items())
    return nn.Sequential(parts | {"head": nn.Linear(5, 3)}).double()


# %% solution="freeze"
def freeze(model: nn.Sequential, until: str) -> nn.Sequential:
    """Freeze the named parts of the model that come before the part `until`; return the model.

    Frozen: its parameters have requires_grad False and no .grad; it is in eval mode, and stays so
    after model.train(): what it gives and all its numbers are those of eval mode. Works in place.
    Raises ValueError where model has no part of that name.
    """
    ### BEGIN SOLUTION
    names = [name for name, _ in model.named_children()]
    if until not in names:
        raise ValueError(f"no part {until!r}")
    for name in names[: names.index(until)]:
        part = model.get_submodule(name).eval()
        part.train = lambda *_, part=part: part
        for parameter in part.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
    return model
    ### END SOLUTION


# %% test="freeze" points=1 difficulty=3 minutes=20
def train_some(model: nn.Sequential, steps: int = 3, seed: int = 0) -> None:
    """Steps of SGD with weight decay, over all parameters, as a training loop does it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5, weight_decay=0.1)
    torch.manual_seed(seed)
    optimizer.step()  # by what lies in .grad, if anything does
    for _ in range(steps):
        model.train()
        loss = model(torch.randn(8, 4, dtype=torch.float64)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


model = tower()
train_some(model)
before = check.parameters_of(model, "model")
freeze(model, "high")
train_some(model)
for name, value in check.parameters_of(model, "model").items():
    moved = bool((value != before[name]).any())
    frozen = name.startswith(("low", "middle"))
    what = "as it was: it is frozen" if frozen else "trained: it is not frozen"
    check.that(moved != frozen, f"have {name} {what}, after freeze(model, 'high') and three steps")
check.raises(ValueError, lambda: freeze(tower(), "top"), 'freeze(model, "top")', why="refuse: no such part")
### BEGIN HIDDEN TESTS
rng = check.rng("freeze")
names = ["low", "middle", "high", "head"]
for until in rng.permutation(names):
    seed, width = int(rng.integers(10**6)), int(rng.integers(4, 9))
    model = tower(seed, width)
    train_some(model, seed=seed)  # there are gradients now, and statistics that are not 0 and 1
    before = check.parameters_of(model, "model")
    call = f"freeze(model, {str(until)!r})"
    model.marker = seed
    found = freeze(model, str(until))
    check.equal(check.attribute(found, "marker", call), seed, f"an attribute of {call}", why="be the model's: return the model itself")
    for name, value in check.parameters_of(model, "model").items():
        check.equal(value, before[name], f"{name} right after {call}", why="be what it was")
    kept = names[: names.index(until)]
    for name, parameter in model.named_parameters():
        frozen = name.split(".")[0] in kept
        check.equal(parameter.requires_grad, not frozen, f"requires_grad of {name} after {call}", why="be False for frozen ones only")
        check.equal(
            parameter.grad is None, frozen, f"whether {name}.grad is None after {call}",
            why="be so for frozen ones, and only for them",
        )  # fmt: skip
    for name in names:
        if name not in kept:
            modes = [part.training for part in model.get_submodule(name).modules()]
            check.that(all(modes), f"leave {name} in training mode, where it was ({call})")
    check.that(model.training, f"leave the model in training mode, where it was ({call})")
    model.train()
    model.train()
    x = torch.from_numpy(rng.normal(size=(6, 4)))
    reference = tower(seed, width)
    reference.load_state_dict({k: torch.from_numpy(v) for k, v in before.items()})
    for name, part in reference.named_children():
        part.train(name not in kept)
    random = int(rng.integers(10**6))
    torch.manual_seed(random)
    want = reference(x).detach()
    torch.manual_seed(random)
    check.close(model(x).detach(), want, f"model(x) in training mode after {call}", why="be that of frozen parts in eval mode, the others in training mode")  # fmt: skip
    for part in reference.children():
        part.eval()
    check.close(model.eval()(x).detach(), reference(x).detach(), f"model(x) in eval mode after {call}", why="be what it was")
    model.train()
    check.that(model.training and model.head.training, f"leave the other parts trainable ({call})")
    before = check.parameters_of(model, "model")
    train_some(model, steps=4, seed=seed + 1)
    for name, value in check.parameters_of(model, "model").items():
        if name.split(".")[0] in kept:
            check.equal(value, before[name], f"{name} after four steps of training, {call}", why="be bit by bit what it was")  # fmt: skip
        else:
            check.that(bool((value != before[name]).any()), f"let {name} move in training ({call})")
model = tower(1)
model.low.requires_grad_(False)
model.head.bias.requires_grad_(False)
model.high.eval()
freeze(model, "middle")
check.that(not model.head.bias.requires_grad, "leave a parameter that was frozen before as it is")
check.that(not model.high.training, "leave the mode of the other parts as it is")
one, two = tower(2), tower(3)
freeze(one, "head")
two.train()
check.that(two.low[1][0].training, "freeze this model, and no other one")
model = nn.Sequential(OrderedDict(low=nn.Linear(4, 7), drop=nn.Dropout(0.5), pool=nn.ReLU(), head=nn.Linear(7, 3)))
freeze(model, "pool")
model.train()
asked = [p.requires_grad for p in model.parameters()]
check.equal(asked, [False, False, True, True], 'requires_grad after freeze(model, "pool"), a part without parameters', why="end at this part")  # fmt: skip
ones = torch.ones(5, 4)
check.equal(model(ones).detach(), model(ones).detach(), 'two answers after freeze(model, "pool"), with dropout before it', why="be equal: parts without parameters are frozen, too")  # fmt: skip
model = nn.Sequential(OrderedDict(high2=nn.Linear(4, 6), high=nn.Linear(6, 3)))
freeze(model, "high")
asked = [p.requires_grad for p in model.parameters()]
check.equal(asked, [False, False, True, True], 'requires_grad of the parts high2, high after freeze(model, "high")', why="go by whole names")  # fmt: skip
check.raises(ValueError, lambda: freeze(tower(), "low.1"), "freeze(model, 'low.1')", why="refuse: it names no part of the sequence")  # fmt: skip
model = tower()
check.raises(ValueError, lambda: freeze(model, ""), "freeze(model, '')", why="refuse: no such part")
check.that(all(p.requires_grad for p in model.parameters()), "freeze nothing where it refuses")
### END HIDDEN TESTS

# %% mutant="freeze" why="batch norm still moves after model.train()"
# - part.train = lambda *_, part=part: part
# + pass

# %% mutant="freeze" why="only no gradients"
# - part = model.get_submodule(name).eval()
# - part.train = lambda *_, part=part: part
# + part = model.get_submodule(name)

# %% mutant="freeze" why="leaves old gradients for the optimiser"
# - parameter.grad = None
# + pass

# %% mutant="freeze" why="freezes the part itself, too"
# - for name in names[: names.index(until)]:
# + for name in names[: names.index(until) + 1]:

# %% mutant="freeze" why="freezes the rest"
# - for name in names[: names.index(until)]:
# + for name in names[names.index(until) :]:

# %% mutant="freeze" why="no running statistics: the batch is still used"
# - part.train = lambda *_, part=part: part
# + for layer in part.modules():
# +     if isinstance(layer, nn.BatchNorm1d):
# +         layer.momentum = 0.0

# %% mutant="freeze" why="parameters still want gradients"
# - parameter.requires_grad_(False)
# + pass

# %% mutant="freeze" why="locks the mode of the whole model"
# - return model
# + model.train = lambda mode=True: model
# + return model

# %% mutant="freeze" why="locks batch norm, not dropout"
# - part.train = lambda *_, part=part: part
# + for layer in part.modules():
# +     if isinstance(layer, nn.BatchNorm1d):
# +         layer.train = lambda mode=True, layer=layer: layer

# %% mutant="freeze" why="an unknown name freezes everything"
# - if until not in names:
# -     raise ValueError(f"no part {until!r}")
# + names.append(until)

# %% mutant="freeze" why="makes the rest trainable, whatever it was"
# - return model
# + for name in names[names.index(until) :]:
# +     model.get_submodule(name).requires_grad_(True)
# + return model

# %% mutant="freeze" why="a part without parameters is never reached"
# - for name in names[: names.index(until)]:
# + reached = len(list(model.get_submodule(until).parameters())) > 0
# + for name in names[: names.index(until)] if reached else names:

# %% mutant="freeze" why="passes over parts without parameters"
# - for name in names[: names.index(until)]:
# + for name in [n for n in names[: names.index(until)] if list(model.get_submodule(n).parameters())]:

# %% mutant="freeze" why="the beginning of a name is enough"
# - for name in names[: names.index(until)]:
# + for name in names[: [n.startswith(until) for n in names].index(True)]:

# %% mutant="freeze" why="puts the rest into eval mode"
# - return model
# + return model.eval()

# %% alternative="freeze" why="a hook that puts the part into eval mode before each call"
def freeze(model, until):
    children = dict(model.named_children())
    if until not in children:
        raise ValueError(until)
    for name, child in children.items():
        if name == until:
            break
        child.requires_grad_(False)
        child.zero_grad(set_to_none=True)
        child.eval()
        child.register_forward_pre_hook(lambda module, given: [m.eval() for m in module.modules()] and None)
    return model


# %% alternative="freeze" why="another class for the frozen parts"
def freeze(model, until):
    names = [name for name, _ in model.named_children()]
    if until not in names:
        raise ValueError(f"{until} is not one of {names}")
    for part in list(model.children())[: names.index(until)]:
        for parameter in part.parameters():
            parameter.requires_grad, parameter.grad = False, None
        part.eval()
        kind = type(part)
        part.__class__ = type(f"Frozen{kind.__name__}", (kind,), {"train": lambda self, mode=True: self})
    return model


# %% [markdown]
# **What the trap costs.** A new head on the backbone, trained for three epochs on 20 photographs of each kind. Twice all parameters but the head's have `requires_grad_(False)`; once the backbone is frozen by you.

# %% [markdown] lang="ru"
# **Чего стоит ловушка.** Новая голова на основе, три эпохи на 20 фотографиях каждого вида. В обоих случаях у всех параметров, кроме головы, `requires_grad_(False)`; во втором основу ещё и заморозили вы.

# %% tags=["training"]
side = settings["side"]
tiny = F.interpolate(prepare(as_input(pictures)), side, mode="bilinear", antialias=True)
chosen = torch.from_numpy(np.concatenate([np.flatnonzero(labels[:300] == c)[:20] for c in range(5)]))
asked = torch.arange(300, 400)
found = {}
for name in ("only requires_grad_(False)", "your freeze"):
    model = nn.Sequential(OrderedDict(backbone().named_children()) | {"head": nn.Linear(1280, 5)})
    nn.init.zeros_(model.head.weight)
    model[:-1].requires_grad_(False)
    if name == "your freeze":
        freeze(model, "head")
    optimizer = torch.optim.Adam(model.head.parameters(), lr=3e-3)
    torch.manual_seed(0)
    for _ in range(3):
        model.train()
        for batch in chosen[torch.randperm(100)].split(20):
            loss = F.cross_entropy(model(tiny[batch]), y_all[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    guess = embed(model, tiny[asked]).argmax(dim=1)
    found[name] = (guess == y_all[asked]).float().mean().item()
ax = plt.subplots(figsize=(7, 1.9))[1]
ax.barh(list(found), list(found.values()), color=plots.PALETTE[1::-1])
ax.invert_yaxis()
ax.bar_label(ax.containers[0], fmt="{:.0%}", padding=3)
ax.set(title="Accuracy of the same head after the same steps", xlim=(0, 1))
plots.show("Two bars: the head on a backbone that is only half frozen is far worse than on a frozen one.")

# %% [markdown]
# ## 5. Small steps below, large ones above
# What is close to the photograph is general and needs little change; what is close to the answer is special and needs much; the head starts from nothing. So each part gets a learning rate of its own (Howard & Ruder, 2018: *discriminative fine-tuning*): the last part takes $\eta$, and each part below it $\gamma$ times the rate of the one above,
#
# $$\eta_j = \eta\, \gamma^{\,J - j}, \qquad j = 1, \dots, J.$$
#
# And weight decay belongs to matrices and filters; pulling the scale of a normalisation or a bias towards 0 only hurts.
#
# {{task:parameter_groups}}

# %% [markdown] lang="ru"
# ## 5. Внизу шаги маленькие, наверху большие
# То, что близко к фотографии, — общее, и менять его почти не нужно; то, что близко к ответу, — особенное, и менять его нужно сильно; а голова начинает с нуля. Поэтому у каждой части свой шаг обучения (Howard, Ruder, 2018: *discriminative fine-tuning*): у последней части он $\eta$, а у каждой ниже — шаг той, что над ней, умноженный на $\gamma$:
#
# $$\eta_j = \eta\, \gamma^{\,J - j}, \qquad j = 1, \dots, J.$$
#
# А затухание весов — для матриц и фильтров; тянуть к нулю масштаб нормализации или сдвиг только вредно.
#
# {{task:parameter_groups}}


# %% solution="parameter_groups"
def parameter_groups(
    model: nn.Module, lr: float, gamma: float = 0.5, weight_decay: float = 0.01
) -> list[dict]:
    """Groups for torch's optimisers: dictionaries with params, lr and weight_decay.

    The J parts (named_children, in order) that have trainable parameters have the rates
    lr * gamma ** (J - j): the last lr. Parameters of one axis (norms, biases) or none have weight
    decay 0, the others weight_decay. Each trainable parameter is in exactly one group; what two parts
    share belongs to the first, and the second counts among the J even if it has nothing else. All
    parameters are in parts, none in the model itself. No group is empty; parameters with requires_grad False are in none.
    """
    ### BEGIN SOLUTION
    parts = [part for part in model.children() if any(p.requires_grad for p in part.parameters())]
    groups, seen = [], set()
    for j, part in enumerate(parts, 1):
        new = [p for p in part.parameters() if p.requires_grad and p not in seen]
        seen.update(new)
        rate = lr * gamma ** (len(parts) - j)
        for decay, params in (
            (weight_decay, [p for p in new if p.ndim > 1]),
            (0.0, [p for p in new if p.ndim <= 1]),
        ):
            if params:
                groups.append({"params": params, "lr": rate, "weight_decay": decay})
    return groups
    ### END SOLUTION


# %% test="parameter_groups" points=1 difficulty=2 minutes=15
def settings_of(model: nn.Module, call: str, *rates: float, **options: float) -> dict[str, tuple]:
    """(rate, weight decay) of each parameter by name, as the groups have them."""
    kept = [p.detach().clone() for p in model.parameters()]
    groups = parameter_groups(model, *rates, **options)
    for i, p in enumerate(model.parameters()):
        check.equal(p, kept[i], f"a parameter of the model after {call}", why="be what it was")
        p.data = torch.full_like(p.data, 1000.0 + i)  # by this the groups' parameters are known
    found, names = {}, [name for name, _ in model.named_parameters()]
    for group in check.plain(groups, call):
        check.equal(sorted(group), ["lr", "params", "weight_decay"], f"keys of a group of {call}", why="be these")
        check.that(len(group["params"]) > 0, f"have no empty group in {call}")
        for p in group["params"]:
            i = int(np.ravel(p)[0]) - 1000
            check.that(i in range(len(names)), f"have the model's own parameters in {call}")
            check.that(names[i] not in found, f"have {names[i]} in one group of {call}, and only once")
            found[names[i]] = (group["lr"], group["weight_decay"])
    for p, value in zip(model.parameters(), kept, strict=True):
        p.data.copy_(value)
    return found


model = tower()
call = "parameter_groups(model, lr=0.8, gamma=0.25, weight_decay=0.1)"
options = {"lr": 0.8, "gamma": 0.25, "weight_decay": 0.1}
found = settings_of(model, call, **options)
check.equal(sorted(found), sorted(n for n, _ in model.named_parameters()), f"parameters of {call}", why="be all")
rates = [found[f"{name}.weight"][0] for name in ("low.0", "middle.0", "high.0", "head")]
check.close(rates, [0.0125, 0.05, 0.2, 0.8], "rates of the four parts", why="be largest at the head")
check.close(found["low.0.weight"][1], 0.1, "weight decay of a matrix", why="be what is given")
check.close(found["low.0.bias"][1], 0.0, "weight decay of a bias", why="be none")
### BEGIN HIDDEN TESTS
rng = check.rng("parameter_groups")


def judge_groups(model, want, why, lr, **options):
    """want: by name of each trainable parameter, the power of gamma and whether it decays."""
    call = f"parameter_groups(model, {lr:.3g}{''.join(f', {k}={v:.3g}' for k, v in options.items())})"
    state = check.parameters_of(model, "model")
    asked = [p.requires_grad for p in model.parameters()]
    found = settings_of(model, call, lr, **options)
    check.equal(sorted(found), sorted(want), f"parameters of {call}", why=why)
    gamma, decay = options.get("gamma", 0.5), options.get("weight_decay", 0.01)
    for name, (power, decays) in want.items():
        check.close(found[name][0], lr * gamma**power, f"rate of {name} in {call}", why=why)
        check.close(found[name][1], decay if decays else 0.0, f"weight decay of {name} in {call}", why=why)
    check.equal([p.requires_grad for p in model.parameters()], asked, "requires_grad afterwards", why="be as before")
    for name, value in check.parameters_of(model, "model").items():
        check.equal(value, state[name], f"{name} afterwards", why="be what it was")


def powers(model, parts, but=()):
    """The expected settings where these parts count."""
    return {
        name: (len(parts) - 1 - parts.index(name.split(".")[0]), p.ndim > 1)
        for name, p in model.named_parameters()
        if name.split(".")[0] in parts and name not in but
    }


names = ["low", "middle", "high", "head"]
lr, gamma, decay = rng.uniform(0.001, 0.1), rng.uniform(0.2, 0.9), rng.uniform(0.001, 0.1)
model = tower()
judge_groups(model, powers(model, names), "hold for the defaults", lr)
judge_groups(model, powers(model, names), "hold for another gamma", lr, gamma=gamma)
judge_groups(model, powers(model, names), "hold for another decay", lr, weight_decay=decay)
judge_groups(model, powers(model, names), "hold for rates that grow downwards", lr, gamma=1.5)
model.low.requires_grad_(False)
judge_groups(model, powers(model, names[1:]), "leave out frozen parts", lr, gamma=gamma, weight_decay=decay)
model.high.requires_grad_(False)
why = "count only parts that have trainable parameters"
judge_groups(model, powers(model, ["middle", "head"]), why, lr, gamma=gamma)
model = tower()
model.middle[0].bias.requires_grad_(False)
judge_groups(model, powers(model, names, ["middle.0.bias"]), "leave out a frozen parameter", lr, gamma=gamma)
model = nn.Sequential(
    OrderedDict(a=nn.Conv2d(3, 4, 3), act=nn.ReLU(), norm=nn.BatchNorm2d(4), pool=nn.Flatten(), end=nn.Linear(4, 2, bias=False))
)
want = {"a.weight": (2, True), "a.bias": (2, False), "norm.weight": (1, False), "norm.bias": (1, False), "end.weight": (0, True)}
judge_groups(model, want, "count no part without parameters", lr, gamma=gamma, weight_decay=decay)
model = nn.Sequential(OrderedDict(a=nn.Linear(3, 3), b=nn.Linear(3, 3), c=nn.Linear(3, 2)))
model.b.weight = model.a.weight
want = {"a.weight": (2, True), "a.bias": (2, False), "b.bias": (1, False), "c.weight": (0, True), "c.bias": (0, False)}
judge_groups(model, want, "have a shared parameter once, with the first part", lr, gamma=gamma)
model.b.bias = model.a.bias
want = {"a.weight": (2, True), "a.bias": (2, False), "c.weight": (0, True), "c.bias": (0, False)}
judge_groups(model, want, "count a part, too, that shares all it has", lr, gamma=gamma)
model = nn.Sequential(OrderedDict(a=nn.Linear(3, 5), b=nn.Linear(5, 1), c=nn.Linear(1, 2)))
judge_groups(model, powers(model, ["a", "b", "c"]), "take a matrix of one row for a matrix", lr, gamma=gamma)
model.b.weight.requires_grad_(False)
judge_groups(model, powers(model, ["a", "b", "c"], ["b.weight"]), "count a part whose bias alone is trainable", lr, gamma=gamma)
model = nn.Sequential(OrderedDict(a=nn.BatchNorm1d(4), b=nn.BatchNorm1d(4), c=nn.Linear(4, 2)))
judge_groups(model, powers(model, ["a", "b", "c"]), "take equal numbers for two parameters, not for one", lr, gamma=gamma)
model = nn.Module()
model.scale = nn.ParameterDict({"one": nn.Parameter(torch.tensor(2.0))})
model.cube = nn.ParameterList([nn.Parameter(torch.zeros(2, 3, 4))])
want = {"scale.one": (1, False), "cube.0": (0, True)}
judge_groups(model, want, "go by the number of axes", lr, gamma=gamma, weight_decay=decay)
### END HIDDEN TESTS

# %% mutant="parameter_groups" why="the head is slowest"
# - rate = lr * gamma ** (len(parts) - j)
# + rate = lr * gamma ** (j - 1)

# %% mutant="parameter_groups" why="off by one: the head has gamma times the rate"
# - rate = lr * gamma ** (len(parts) - j)
# + rate = lr * gamma ** (len(parts) - j + 1)

# %% mutant="parameter_groups" why="rates fall by equal steps"
# - rate = lr * gamma ** (len(parts) - j)
# + rate = lr * j / len(parts)

# %% mutant="parameter_groups" why="a shared parameter twice"
# - new = [p for p in part.parameters() if p.requires_grad and p not in seen]
# + new = [p for p in part.parameters() if p.requires_grad]

# %% mutant="parameter_groups" why="frozen ones, too"
# - new = [p for p in part.parameters() if p.requires_grad and p not in seen]
# + new = [p for p in part.parameters() if p not in seen]

# %% mutant="parameter_groups" why="counts frozen parts"
# - parts = [part for part in model.children() if any(p.requires_grad for p in part.parameters())]
# + parts = list(model.children())

# %% mutant="parameter_groups" why="counts parts without trainable parameters"
# - parts = [part for part in model.children() if any(p.requires_grad for p in part.parameters())]
# + parts = [part for part in model.children() if any(True for p in part.parameters())]

# %% mutant="parameter_groups" why="decay for norms, none for biases only"
# - (weight_decay, [p for p in new if p.ndim > 1]),
# - (0.0, [p for p in new if p.ndim <= 1]),
# + (weight_decay, [p for n, p in part.named_parameters() if p in set(new) and "bias" not in n]),
# + (0.0, [p for n, p in part.named_parameters() if p in set(new) and "bias" in n]),

# %% mutant="parameter_groups" why="matrices only, filters left without decay"
# - (weight_decay, [p for p in new if p.ndim > 1]),
# - (0.0, [p for p in new if p.ndim <= 1]),
# + (weight_decay, [p for p in new if p.ndim == 2]),
# + (0.0, [p for p in new if p.ndim != 2]),

# %% mutant="parameter_groups" why="empty groups"
# - if params:
# + if True:

# %% mutant="parameter_groups" why="copies, which no step of the optimiser moves"
# - groups.append({"params": params, "lr": rate, "weight_decay": decay})
# + params = [p.detach().clone() for p in params]
# + groups.append({"params": params, "lr": rate, "weight_decay": decay})

# %% mutant="parameter_groups" why="a part counts by its first parameter"
# - parts = [part for part in model.children() if any(p.requires_grad for p in part.parameters())]
# + parts = [part for part in model.children() if [p.requires_grad for p in part.parameters()][:1] == [True]]

# %% mutant="parameter_groups" why="a part that shares all it has is not counted"
# - parts = [part for part in model.children() if any(p.requires_grad for p in part.parameters())]
# + own = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
# + parts = [part for name, part in model.named_children() if name in own]

# %% mutant="parameter_groups" why="equal values are taken for shared"
# - new = [p for p in part.parameters() if p.requires_grad and p not in seen]
# + equal = functools.partial(lambda p: any(p.shape == q.shape and torch.equal(p, q) for q in seen))
# + new = [p for p in part.parameters() if p.requires_grad and not equal(p)]

# %% mutant="parameter_groups" why="axes of length 1 don't count"
# - (weight_decay, [p for p in new if p.ndim > 1]),
# - (0.0, [p for p in new if p.ndim <= 1]),
# + (weight_decay, [p for p in new if p.squeeze().ndim > 1]),
# + (0.0, [p for p in new if p.squeeze().ndim <= 1]),

# %% mutant="parameter_groups" why="decay for everything"
# - (0.0, [p for p in new if p.ndim <= 1]),
# + (weight_decay, [p for p in new if p.ndim <= 1]),


# %% alternative="parameter_groups" why="one group for each parameter, from the head down"
def parameter_groups(model, lr, gamma=0.5, weight_decay=0.01):
    owner = {}
    for name, parameter in model.named_parameters():  # a shared one comes once, with the first part
        if parameter.requires_grad:
            owner[parameter] = name.split(".")[0]
    parts = [n for n, c in model.named_children() if any(p.requires_grad for p in c.parameters())]
    rate = {part: lr * gamma**power for power, part in enumerate(reversed(parts))}
    return [
        {"params": [p], "lr": rate[part], "weight_decay": weight_decay * (p.dim() >= 2)}
        for p, part in reversed(owner.items())
    ]


# %% tags=["training"]
tail = nn.Sequential(OrderedDict(list(backbone().named_children())[12:]) | {"head": nn.Linear(1280, 5)})
groups = parameter_groups(tail, lr=3e-3, gamma=0.5, weight_decay=0.01)
names = {p: name for name, p in tail.named_parameters()}
rates = {}
for group in groups:
    rates |= {names[p].split(".")[0]: group["lr"] for p in group["params"]}
rates = {name: rates[name] for name, _ in tail.named_children() if name in rates}
ax = plt.subplots(figsize=(7, 2.6))[1]
ax.barh(list(rates), list(rates.values()), color=plots.PALETTE[0])
ax.set(xscale="log", title="The learning rate of each part", xlabel="rate")
plots.show("Bars that halve from part to part: the head has the largest rate, block11 the smallest.")
decaying = sum(p.numel() for g in groups for p in g["params"] if g["weight_decay"])
print(f"{decaying / sum(p.numel() for p in tail.parameters()):.1%} of the numbers decay: matrices and filters")

# %% [markdown]
# ## 6. Stop in time, and keep the best
# With few photographs the training loss falls to nothing, and the validation loss turns round long before. **Early stopping** waits `patience` epochs for a better one, then gives up and goes back to the best. Two mistakes are classics: `best = model.state_dict()` keeps *references* to the weights, which go on changing; and patience that is off by one.
#
# {{task:fit}}

# %% [markdown] lang="ru"
# ## 6. Остановиться вовремя и оставить лучшее
# Когда фотографий мало, функция потерь на обучении падает до нуля, а на валидации разворачивается гораздо раньше. **Ранняя остановка** (early stopping) ждёт улучшения `patience` эпох, затем сдаётся и возвращается к лучшему. Есть две классические ошибки: `best = model.state_dict()` хранит *ссылки* на веса, которые меняются дальше, и терпение, которое больше или меньше на единицу.
#
# {{task:fit}}


# %% solution="fit"
def fit(
    model: nn.Module,
    train_epoch: Callable[[nn.Module], object],
    validate: Callable[[nn.Module], float],
    max_epochs: int = 50,
    patience: int = 5,
) -> list[float]:
    """Train with early stopping; then the model has the state of its best epoch. -> all losses.

    In each epoch train_epoch(model) is called, then validate(model), once, which gives the loss: a
    number, or a tensor of one number. It ends after max_epochs, or as soon as `patience` epochs in
    a row were not better than the best.
    Better is strictly less (the first of equal ones counts); NaN is never better. The state is all that
    is in state_dict, parameters and buffers; where no epoch was better than infinity, the last stays.
    """
    ### BEGIN SOLUTION
    best, state, waited, losses = float("inf"), None, 0, []
    while len(losses) < max_epochs and waited < patience:
        train_epoch(model)
        losses.append(float(validate(model)))
        waited += 1
        if losses[-1] < best:
            best, state, waited = losses[-1], copy.deepcopy(model.state_dict()), 0
    if state is not None:
        model.load_state_dict(state)
    return losses
    ### END SOLUTION


# %% test="fit" points=1 difficulty=2 minutes=15
def scripted(script: list[float], **options: int) -> tuple[list, list[str], dict[str, list]]:
    """fit on losses that are known before: what it returns and calls, and what the model then holds.

    In epoch e all parameters and buffers of the model are filled with e.
    """
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    calls, nan = [], float("nan")

    def train_epoch(model):
        calls.append("train")
        with torch.no_grad():
            for value in model.state_dict().values():
                value.fill_(calls.count("train"))

    def validate(model):
        calls.append("validate")
        epoch = calls.count("validate")
        return script[epoch - 1] if epoch <= len(script) else nan

    losses = check.plain(fit(model, train_epoch, validate, **options), "fit(...)")
    state = check.parameters_of(model, "model")
    epochs = {name: np.unique(value).tolist() for name, value in state.items()}
    return losses, calls, epochs


def judge_fit(script: list[float], ran: int, best: int, why: str, **options: int) -> None:
    """The epochs that ran, and that from which the model's state is."""
    call = f"fit with losses {script}{''.join(f', {k}={v}' for k, v in options.items())}"
    losses, calls, epochs = check.plain(scripted(script, **options), call)
    check.equal(calls, ["train", "validate"] * ran, f"calls of {call}", why=why)
    same = np.array_equal(np.array(losses, float), script[:ran], equal_nan=True)
    check.that(same, f"return the loss of each epoch ({call})")
    for name, found in epochs.items():
        check.equal(found, [best], f"epoch whose {name} the model has after {call}", why=why)


judge_fit([3.0, 2.0, 2.5, 2.6, 1.0], 4, 2, "stop after two epochs that are not better", patience=2)
judge_fit([3.0, 2.0, 2.5], 3, 2, "restore the best also where max_epochs ends it", max_epochs=3)
### BEGIN HIDDEN TESTS
nan, infinity = float("nan"), float("inf")
judge_fit([5.0, 4.0, 3.0, 2.0], 4, 4, "go on while it gets better", max_epochs=4, patience=1)
judge_fit([5.0, 6.0, 1.0], 2, 1, "stop at once with a patience of 1", patience=1)
judge_fit([5.0, 6.0, 4.0, 7.0, 3.0, 8.0, 9.0, 1.0], 7, 5, "begin to wait anew after a better one", patience=2)
judge_fit([5.0, 6.0, 5.5, 4.5, 9.0, 9.0, 9.0, 1.0], 7, 4, "wait for the best, not for the last", patience=3)
judge_fit([5.0, 9.0, 8.0, 7.0, 6.0, 1.0], 5, 1, "not take better than the last for better than the best", patience=4)
judge_fit([3.0, 3.0, 3.0, 1.0], 3, 1, "not take an equal loss for a better one", patience=2)
judge_fit([3.0, 2.0, 4.0, 2.0, 1.0], 4, 2, "keep the first of equal ones", patience=2)
judge_fit([nan, 3.0, nan, nan, 1.0], 4, 2, "never take NaN for better, and be better than NaN", patience=2)
judge_fit([2.0, nan, nan, 1.0], 3, 1, "count NaN as not better", patience=2)
judge_fit([nan, nan, nan], 2, 2, "keep the last state where nothing was better", patience=2)
judge_fit([infinity, infinity, 1.0], 2, 2, "take infinity for not better", patience=2)
judge_fit([3e9, 2e9, 2.5e9], 3, 2, "take any number for better than none", max_epochs=3, patience=2)
judge_fit([1.0, 0.99998, 0.99996, 0.99994], 4, 4, "take less for better, however little", max_epochs=4, patience=2)
judge_fit([-1.0, -3.0, -2.0, -2.5], 4, 2, "work for losses below zero", patience=2, max_epochs=4)
judge_fit([0.5, 0.0, 0.1, 0.2, 0.3], 4, 2, "take a loss of zero for the best", patience=2)
judge_fit([4.0, 3.0, 5.0, 6.0, 7.0, 8.0, 9.0, 1.0], 7, 2, "have a patience of 5 where none is given")
judge_fit([100.0 - i for i in range(60)], 50, 50, "have at most 50 epochs where nothing is given")
judge_fit([2.0, 1.0], 1, 1, "run one epoch where no more may", max_epochs=1)
judge_fit([4.0, 3.0, 5.0, 1.0], 3, 2, "end with max_epochs before patience does", max_epochs=3, patience=3)
losses = check.plain(scripted([2.0, 1.0, 3.0], max_epochs=3), "fit(...)")[0]
check.that(type(losses) is list and all(type(loss) is float for loss in losses), "return a list of floats")
model = nn.Linear(1, 1)
weight, steps = model.weight, iter([2.0, 1.0, 5.0])
told = fit(model, lambda m: None, lambda m: torch.tensor(next(steps)), max_epochs=3)
check.close(check.array(told, "fit(...)"), [2.0, 1.0, 5.0], "losses that were given as tensors", why="be numbers")
check.that(model.weight is weight, "put the state into the model's own parameters")
seen = []
fit(model, seen.append, lambda m: seen.append(m) or 1.0, max_epochs=2)
check.that(all(one is model for one in seen), "hand the model itself to both functions")
### END HIDDEN TESTS

# %% mutant="fit" why="references in place of a copy"
# - best, state, waited = losses[-1], copy.deepcopy(model.state_dict()), 0
# + best, state, waited = losses[-1], model.state_dict(), 0

# %% mutant="fit" why="a shallow copy"
# - best, state, waited = losses[-1], copy.deepcopy(model.state_dict()), 0
# + best, state, waited = losses[-1], dict(model.state_dict()), 0

# %% mutant="fit" why="patience off by one"
# - while len(losses) < max_epochs and waited < patience:
# + while len(losses) < max_epochs and waited <= patience:

# %% mutant="fit" why="never restores"
# - if state is not None:
# -     model.load_state_dict(state)
# + pass

# %% mutant="fit" why="restores only when it stopped early"
# - if state is not None:
# + if state is not None and waited >= patience:

# %% mutant="fit" why="an equal loss is better"
# - if losses[-1] < best:
# + if losses[-1] <= best:

# %% mutant="fit" why="better than the last, not than the best"
# - if losses[-1] < best:
# + if len(losses) < 2 or losses[-1] < losses[-2]:

# %% mutant="fit" why="never begins to wait anew"
# - best, state, waited = losses[-1], copy.deepcopy(model.state_dict()), 0
# + best, state, waited = losses[-1], copy.deepcopy(model.state_dict()), waited - 1

# %% mutant="fit" why="NaN counts as better"
# - if losses[-1] < best:
# + if not losses[-1] >= best:

# %% mutant="fit" why="a large number in place of infinity"
# - best, state, waited, losses = float("inf"), None, 0, []
# + best, state, waited, losses = 1e9, None, 0, []

# %% mutant="fit" why="better by at least 0.0001"
# - if losses[-1] < best:
# + if losses[-1] < best - 1e-4:

# %% mutant="fit" why="only parameters, no buffers"
# - best, state, waited = losses[-1], copy.deepcopy(model.state_dict()), 0
# + best, waited = losses[-1], 0
# + state = {n: p.detach().clone() for n, p in model.named_parameters()}
# - model.load_state_dict(state)
# + model.load_state_dict(state, strict=False)

# %% mutant="fit" why="validates before it trains"
# - train_epoch(model)
# - losses.append(float(validate(model)))
# + losses.append(float(validate(model)))
# + train_epoch(model)

# %% mutant="fit" why="restores the state before training where nothing was better"
# - best, state, waited, losses = float("inf"), None, 0, []
# + best, state, waited, losses = float("inf"), copy.deepcopy(model.state_dict()), 0, []


# %% alternative="fit" why="for and break, clones of the tensors"
def fit(model, train_epoch, validate, max_epochs=50, patience=5):
    history, best_epoch, kept = [], -1, {}
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = float(validate(model))
        history.append(loss)
        if loss < min([history[best_epoch]] if best_epoch >= 0 else [np.inf]):
            best_epoch = epoch
            kept = {name: value.detach().clone() for name, value in model.state_dict().items()}
        if epoch - max(best_epoch, -1) >= patience:
            break
    if kept:
        with torch.no_grad():
            for name, value in model.state_dict().items():
                value.copy_(kept[name])
    return history


# %% [markdown]
# All three together: the last block, the top and a new head learn from 15 photographs of each kind; everything below is frozen, so its answers are computed once and kept. The batch norms of what is trained stay in eval mode, too: 32 photographs are too few to re-estimate what a million have shown.

# %% [markdown] lang="ru"
# Всё вместе: последний блок, верх и новая голова учатся на 15 фотографиях каждого вида; всё, что ниже, заморожено, поэтому его ответы считаются один раз и хранятся. Батч-нормализации обучаемых частей тоже стоят в режиме проверки: 32 фотографий мало, чтобы заново оценить то, что показал миллион.


# %%
def new_tail(cut: str = "block15", classes: int = 5) -> nn.Sequential:
    """The backbone from a part on, with a new head that starts at zero and still knows nothing."""
    parts = list(backbone().named_children())
    first = [name for name, _ in parts].index(cut)
    tail = nn.Sequential(OrderedDict([*parts[first:], ("drop", nn.Dropout(0.2)), ("head", nn.Linear(1280, classes))]))
    nn.init.zeros_(tail.head.weight)
    nn.init.zeros_(tail.head.bias)
    return tail


def still_norms(model: nn.Module) -> None:
    """Training mode, but for batch norms."""
    model.train()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()


def run_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor,
    penalty: Callable[[nn.Module], torch.Tensor] | None = None, steps: int | None = None,
) -> None:  # fmt: skip
    """An epoch of batches of 32, or as many steps as are given; penalty is added to the loss."""
    still_norms(model)
    batches = [b for _ in range(steps or 1) for b in torch.randperm(len(x)).split(32)][:steps]
    for batch in batches:
        loss = F.cross_entropy(model(x[batch]), y[batch])
        if penalty is not None:
            loss = loss + penalty(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def loss_and_accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Of a model in eval mode."""
    logits = embed(model, x)
    return F.cross_entropy(logits, y).item(), (logits.argmax(dim=1) == y).float().mean().item()


# %% tags=["training"]
maps = embedded("block15")  # frozen below: never computed again
few = torch.from_numpy(np.concatenate([np.flatnonzero(labels[:300] == c)[:15] for c in range(5)]))
torch.manual_seed(0)
model = new_tail()
optimizer = torch.optim.AdamW(parameter_groups(model, lr=3e-3, gamma=0.3))
training, accuracies = [], []


def one_epoch(model: nn.Module) -> None:
    run_epoch(model, optimizer, maps[few], y_all[few])
    training.append(loss_and_accuracy(model, maps[few], y_all[few])[0])


def validation_loss(model: nn.Module) -> float:
    loss, accuracy = loss_and_accuracy(model, maps[300:], y_all[300:])
    accuracies.append(accuracy)
    return loss


losses = fit(model, one_epoch, validation_loss, max_epochs=12, patience=3)
epochs, best = range(1, len(losses) + 1), int(np.argmin(losses)) + 1
ax = plots.curves(
    {"training": (epochs, training), "validation": (epochs, losses)},
    "Fine-tuning on 75 photographs", "epoch", "loss",
)  # fmt: skip
ax.axvline(best, color="0.5", ls=":")
ax.text(best + 0.1, 0.9 * max(losses), "the best epoch,\nwhich is kept", color="0.3", va="top")
print(f"best epoch {best}: validation accuracy {accuracies[best - 1]:.1%}")
plots.show(
    "Training loss falls to almost zero; validation loss falls, turns round and rises; the epoch where "
    "it is lowest is marked."
)

# %% [markdown]
# ## 7. Don't forget where you came from
# Freezing is all or nothing. A softer way holds the weights on a leash: pull each weight not towards 0, as weight decay does, but towards its value at the **start** of fine-tuning, since that is where a million photographs have put it. New weights, such as the head's, have no past; they get plain decay. This is L²-SP (Li, Grandvalet & Davoine, 2018), with $w^0$ the start:
#
# $$\Omega = \frac{\alpha}{2} \sum_{w \text{ old}} \lVert w - w^0 \rVert^2 + \frac{\beta}{2} \sum_{w \text{ new}} \lVert w \rVert^2.$$
#
# {{task:l2_sp}}

# %% [markdown] lang="ru"
# ## 7. Не забывать, откуда пришли
# Заморозка — всё или ничего. Мягкий способ — держать веса на поводке: тянуть каждый вес не к нулю, как затухание, а к значению в **начале** дообучения, ведь туда его поставил миллион фотографий. У новых весов, например у головы, прошлого нет: им достаётся обычное затухание. Это L²-SP (Li, Grandvalet, Davoine, 2018), где $w^0$ — начало:
#
# $$\Omega = \frac{\alpha}{2} \sum_{w \text{ old}} \lVert w - w^0 \rVert^2 + \frac{\beta}{2} \sum_{w \text{ new}} \lVert w \rVert^2.$$
#
# {{task:l2_sp}}


# %% solution="l2_sp"
def l2_sp(
    model: nn.Module, start: dict[str, torch.Tensor], alpha: float = 0.1, beta: float = 0.01
) -> torch.Tensor:
    """The penalty, a scalar with a graph to the model's parameters (named_parameters).

    All parameters count, frozen ones, too. The gradient is right also where w is at its start.

    start: tensors by name, such as a copy of an old state_dict. A parameter is old where start has a
    tensor of its name *and* its shape, else new. What else stands in start counts nothing.
    """
    ### BEGIN SOLUTION
    total = 0.0
    for name, w in model.named_parameters():
        if name in start and start[name].shape == w.shape:
            total = total + alpha / 2 * (w - start[name]).square().sum()
        else:
            total = total + beta / 2 * w.square().sum()
    return total
    ### END SOLUTION


# %% test="l2_sp" points=0.5 difficulty=2 minutes=10
model = nn.Sequential(OrderedDict(body=nn.Linear(1, 2, bias=False), head=nn.Linear(2, 1, bias=False)))
model.body.weight.data = torch.tensor([[3.0], [1.0]])
model.head.weight.data = torch.tensor([[0.6, -0.8]])
start = {"body.weight": torch.tensor([[1.0], [4.0]])}
found = l2_sp(model, start, alpha=0.4, beta=3.0)
check.close(found, 0.2 * (4 + 9) + 1.5 * 1.0, "l2_sp(model, start, alpha=0.4, beta=3)")
graph = check.attribute(found, "requires_grad", "l2_sp(model, start, alpha=0.4, beta=3)")
check.that(graph, "return a scalar with a graph, by which the penalty can be trained")
### BEGIN HIDDEN TESTS
rng = check.rng("l2_sp")


def judge_l2(start, old, why, frozen=(), **options):
    """Value and gradients, in plain arithmetic. old: the names of parameters that have a past."""
    alpha, beta = options.get("alpha", 0.1), options.get("beta", 0.01)
    model = tower(int(rng.integers(10**6)))
    for p in model.parameters():
        p.data.normal_()
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    values = check.parameters_of(model, "model")
    call = f"l2_sp(model, start{''.join(f', {k}={v:.3g}' for k, v in options.items())})"
    want, slopes = 0.0, {}
    for name, _ in model.named_parameters():
        move = values[name] - start[name].numpy() if name in old else values[name]
        want += (alpha if name in old else beta) / 2 * float((move**2).sum())
        slopes[name] = (alpha if name in old else beta) * move * (name not in frozen)
    with check.unchanged(call, start=start):
        found = l2_sp(model, start, **options)
    check.close(found, want, call, rtol=1e-6, why=why)
    found.backward()
    for name, p in model.named_parameters():
        gradient = np.zeros(p.shape) if p.grad is None else p.grad
        check.close(gradient, slopes[name], f"the gradient of {name} in {call}", rtol=1e-6, atol=1e-12, why=why)
    for name, value in check.parameters_of(model, "model").items():
        check.equal(value, values[name], f"{name} afterwards", why="be what it was")


everything = {k: v.detach().clone() for k, v in tower(5).state_dict().items()}
for value in everything.values():
    value.copy_(torch.from_numpy(rng.uniform(1, 3, size=value.shape)))
names = [name for name, _ in tower().named_parameters()]
alpha, beta = rng.uniform(0.5, 2), rng.uniform(3, 5)
judge_l2(everything, names, "pull all towards the start; buffers count nothing", alpha=alpha, beta=beta)
judge_l2({}, [], "pull new weights towards 0", alpha=alpha, beta=beta)
old = [name for name in names if not name.startswith("head")]
body_only = {k: v for k, v in everything.items() if not k.startswith("head")}
judge_l2(body_only, old, "pull the body to its start, the head to 0", alpha=alpha, beta=beta)
judge_l2(body_only, old, "have alpha 0.1 where none is given", beta=beta)
judge_l2(body_only, old, "have beta 0.01 where none is given", alpha=alpha)
judge_l2(body_only, old, "do so with both defaults")
other = everything | {"head.weight": torch.ones(7, 5).double(), "head.bias": torch.ones(1).double(), "old_head.weight": torch.ones(3, 5).double()}
judge_l2(other, old, "take a parameter of another shape for new", alpha=alpha, beta=beta)
turned = everything | {"head.weight": everything["head.weight"].T.contiguous()}
but = [name for name in names if name != "head.weight"]
judge_l2(turned, but, "take a parameter of as many numbers in another shape for new", alpha=alpha, beta=beta)
judge_l2(body_only, old, "count frozen parameters, too", ("low.0.weight", "head.bias"), alpha=alpha, beta=beta)
model, reference = tower(8), {k: v.clone() for k, v in tower(8).state_dict().items()}
l2_sp(model, reference, 1.0, 0.0).backward()
for name, p in model.named_parameters():
    gradient = np.zeros(p.shape) if p.grad is None else p.grad
    check.close(gradient, np.zeros(p.shape), f"the gradient of {name} at the start", atol=1e-12, why="be 0 there")
one = check.array(l2_sp(model, reference, 1.0, 0.0), "l2_sp(model, its own state, 1, 0)")
check.close(one, 0.0, "l2_sp(model, its own state, 1, 0)", why="be 0 at the start")
with torch.no_grad():
    for p in model.parameters():
        p += 2.0
want = 2.0 * sum(p.numel() for p in model.parameters())
again = l2_sp(model, reference, 1.0, 0.0)
check.close(again, want, "the same after each weight has moved by 2", why="remember the start that is given, not the first call")
### END HIDDEN TESTS

# %% mutant="l2_sp" why="starts from the current weights"
# - total = total + alpha / 2 * (w - start[name]).square().sum()
# + total = total + alpha / 2 * (w - w.detach()).square().sum()

# %% mutant="l2_sp" why="plain weight decay"
# - total = total + alpha / 2 * (w - start[name]).square().sum()
# + total = total + alpha / 2 * w.square().sum()

# %% mutant="l2_sp" why="twice the strength"
# - total = total + alpha / 2 * (w - start[name]).square().sum()
# + total = total + alpha * (w - start[name]).square().sum()

# %% mutant="l2_sp" why="new weights are free"
# - total = total + beta / 2 * w.square().sum()
# + total = total + 0 * w.sum()

# %% mutant="l2_sp" why="distances in place of their squares"
# - total = total + alpha / 2 * (w - start[name]).square().sum()
# + total = total + alpha / 2 * (w - start[name]).norm()

# %% mutant="l2_sp" why="means in place of sums"
# - total = total + alpha / 2 * (w - start[name]).square().sum()
# + total = total + alpha / 2 * (w - start[name]).square().mean()

# %% mutant="l2_sp" why="another shape that broadcasts counts as old"
# - if name in start and start[name].shape == w.shape:
# + if name in start and start[name].shape[1:] == w.shape[1:] and len(start[name]) in (1, len(w)):

# %% mutant="l2_sp" why="cuts the graph"
# - return total
# + return total.detach() + 0 * sum(p.sum() for p in model.parameters())

# %% mutant="l2_sp" why="alpha for the head, beta for the body"
# - total = 0.0
# + total, alpha, beta = 0.0, beta, alpha

# %% mutant="l2_sp" why="a root that is squared: no slope at the start"
# - total = total + alpha / 2 * (w - start[name]).square().sum()
# + total = total + alpha / 2 * (w - start[name]).square().sum().sqrt() ** 2

# %% mutant="l2_sp" why="as many numbers, in another shape"
# - if name in start and start[name].shape == w.shape:
# -     total = total + alpha / 2 * (w - start[name]).square().sum()
# + if name in start and start[name].numel() == w.numel():
# +     total = total + alpha / 2 * (w - start[name].view_as(w)).square().sum()

# %% mutant="l2_sp" why="leaves out frozen parameters"
# - for name, w in model.named_parameters():
# + for name, w in [(name, w) for name, w in model.named_parameters() if w.requires_grad]:


# %% alternative="l2_sp" why="two generator sums, norms squared"
def l2_sp(model, start, alpha=0.1, beta=0.01):
    new = {n: p for n, p in model.named_parameters()}
    old = {n: new.pop(n) for n in list(new) if n in start and start[n].size() == new[n].size()}
    near = sum(torch.sum((p - start[n].data.to(p.dtype)) ** 2) for n, p in old.items())
    return alpha * near / 2 + beta * sum((p * p).sum() for p in new.values()) / 2


# %% [markdown]
# The last block, the top and a new head learn from 5 photographs of each kind, on leashes of different length. Distance is how far all old weights have moved, $\lVert w - w^0 \rVert$.

# %% [markdown] lang="ru"
# Последний блок, верх и новая голова учатся на 5 фотографиях каждого вида, на поводках разной длины. Расстояние показывает, как далеко ушли все старые веса, $\lVert w - w^0 \rVert$.

# %% tags=["training"]
five = torch.from_numpy(np.concatenate([np.flatnonzero(labels[:300] == c)[:5] for c in range(5)]))
maps, distances, accuracies = embedded("block15"), {}, {}
for alpha in (0.0, 0.01, 0.1, 1.0):
    torch.manual_seed(0)
    model = new_tail()
    start = {k: v.clone() for k, v in model.state_dict().items() if not k.startswith("head")}
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=3e-3, gamma=0.3, weight_decay=0.0))
    leash = functools.partial(l2_sp, start=start, alpha=alpha, beta=0.0)
    run_epoch(model, optimizer, maps[five], y_all[five], penalty=leash, steps=15)
    with torch.no_grad():
        distances[f"{alpha:g}"] = l2_sp(model, start, 2.0, 0.0).sqrt().item()
    accuracies[f"{alpha:g}"] = loss_and_accuracy(model, maps[300:], y_all[300:])[1]
figure, axes = plt.subplots(1, 2, figsize=(9, 2.6))
for ax, values, title in zip(axes, (distances, accuracies), ("Distance from the start", "Validation accuracy"), strict=True):
    ax.bar(list(values), list(values.values()), color=plots.PALETTE[0])
    ax.bar_label(ax.containers[0], fmt="{:.2f}", padding=2)
    ax.set(title=title, xlabel="alpha", ylim=(0, 1.2 * max(values.values())))
plots.show("Bars over alpha: the distance from the start shrinks as alpha grows; the accuracy changes little.")

# %% [markdown]
# ## 8. Into the fog
# A network that was trained on clear days is used on foggy ones: [distributional shift](glossary:Distributional-Shift). The flowers are the same, but the statistics inside of the network are not: its batch norms subtract the mean of clear days. Often it is enough to tell them the new ones. No label is needed, no gradient, no weight changes (Li et al., 2016: AdaBN): show the network batches from the new world and let each batch norm take their statistics.
#
# {{task:adapt_batchnorm}}
#
# Each running mean and variance becomes the plain average of the statistics of the batches, as torch computes them for each batch in training mode (the variance unbiased), with nothing left of the old ones (`num_batches_tracked`, the counter, may be anything). Only batch norms are in training mode meanwhile: dropout would change what the later ones see. Afterwards everything but the running statistics is as before, each part's mode and momentum, too.

# %% [markdown] lang="ru"
# ## 8. В туман
# Сеть, которая училась в ясные дни, работает в туман: это [сдвиг распределения](glossary:Distributional-Shift) (distributional shift). Цветы те же, а статистики внутри сети другие: её батч-нормализации вычитают среднее ясных дней. Часто достаточно сообщить им новое. Не нужны ни метки, ни градиенты, ни один вес не меняется (Li и др., 2016: AdaBN): покажите сети батчи из нового мира, и пусть каждая батч-нормализация возьмёт их статистики.
#
# {{task:adapt_batchnorm}}
#
# Каждое скользящее среднее и каждая дисперсия становятся простым средним статистик батчей, какими torch считает их для каждого батча в режиме обучения (дисперсия несмещённая); от старых не остаётся ничего (счётчик `num_batches_tracked` может быть любым). В режиме обучения при этом стоят только батч-нормализации: dropout изменил бы то, что видят следующие. После этого всё, кроме скользящих статистик, как было, включая режим и momentum каждой части.


# %% solution="adapt_batchnorm"
def adapt_batchnorm(model: nn.Module, batches: Iterable[torch.Tensor]) -> nn.Module:
    """Give all batch norms of the model (1d, 2d, 3d) the statistics of new data; return the model.

    batches: inputs of the model, at least one; they are gone through once. Works in place, without
    gradients.
    """
    ### BEGIN SOLUTION
    modes = {part: part.training for part in model.modules()}
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    norms = {part: part.momentum for part in modes if isinstance(part, kinds)}
    for part in modes:
        part.training = part in norms
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for part, mode in modes.items():
        part.training = mode
    for norm, momentum in norms.items():
        norm.momentum = momentum
    return model
    ### END SOLUTION


# %% test="adapt_batchnorm" points=0.5 difficulty=3 minutes=15
model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5))
model[0].running_mean.fill_(9.0)
first, second = torch.tensor([[1.0, 4.0], [3.0, 0.0]]), torch.tensor([[5.0, 1.0], [9.0, 2.0], [7.0, 3.0]])
model.marker = 8
found = adapt_batchnorm(model, [first, second])
check.equal(check.attribute(found, "marker", "adapt_batchnorm(model, batches)"), 8, "an attribute of what it returns", why="be the model's")
check.close(model[0].running_mean, [4.5, 2.0], "the running mean after two batches", why="be their average")
check.close(model[0].running_var, [3.0, 4.5], "the running variance after two batches", why="be their average")
check.that(model.training and model[1].training, "leave the model in the mode it had")
### BEGIN HIDDEN TESTS
rng = check.rng("adapt_batchnorm")


class Deep(nn.Module):
    """A convolution, batch norms of three kinds, dropout between them, one of them without scale."""

    def __init__(self):
        super().__init__()
        self.conv, self.first = nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3, momentum=0.3)
        self.drop, self.line = nn.Dropout(0.5), nn.Linear(3, 4)
        self.second, self.volume = nn.BatchNorm1d(4, affine=False, momentum=None), nn.BatchNorm3d(4)
        self.double()

    def forward(self, x):
        x = F.relu(self.first(self.conv(x)))
        x = self.second(self.line(self.drop(x).mean(dim=(2, 3))))
        return self.volume(x[:, :, None, None, None].tanh())


def judge_adapt(count, why, modes=None, generator=False):
    """Against the statistics of each batch, worked out layer by layer."""
    torch.manual_seed(int(rng.integers(10**6)))
    model = Deep()
    norms = [model.first, model.second, model.volume]
    for norm in norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(2, 3)
        norm.num_batches_tracked.fill_(11)
        for p in norm.parameters():
            p.data.uniform_(0.5, 2)
    for part in (model, model.drop, model.line, model.first, model.second):
        part.training = bool(rng.integers(2)) if modes is None else modes
    parts = list(model.modules())
    before, was = [part.training for part in parts], check.parameters_of(model, "model")
    batches = [2 * torch.randn(int(rng.integers(5, 9)), 2, 4, 5, dtype=torch.float64) + 1 for _ in range(count)]

    def normal(x, axes, norm):
        """Statistics of a batch, and what comes out of the layer."""
        mean, var = x.mean(axes, keepdims=True), x.var(axes, correction=0, keepdims=True)
        rows = x.numel() // x.shape[1]
        y = (x - mean) / (var + norm.eps).sqrt()
        if norm.affine:
            shape = [1, -1] + [1] * (x.ndim - 2)
            y = y * norm.weight.view(shape) + norm.bias.view(shape)
        return y, mean.flatten(), var.flatten() * rows / (rows - 1)

    seen = [[], [], []]
    with torch.no_grad():
        for x in batches:
            x, *stats = normal(model.conv(x), (0, 2, 3), model.first)
            seen[0].append(stats)
            x, *stats = normal(model.line(F.relu(x).mean(dim=(2, 3))), (0,), model.second)
            seen[1].append(stats)
            _, *stats = normal(x[:, :, None, None, None].tanh(), (0, 2, 3, 4), model.volume)
            seen[2].append(stats)
    want = [[torch.stack(s).mean(0).numpy() for s in zip(*of_norm, strict=True)] for of_norm in seen]
    call = f"adapt_batchnorm(model, {count} batches)"
    kept = [batch.clone() for batch in batches]
    graph = []
    hook = model.conv.register_forward_hook(lambda m, i, o: graph.append(o.requires_grad))
    model.marker = count
    found = adapt_batchnorm(model, iter(batches) if generator else batches)
    hook.remove()
    check.equal(check.attribute(found, "marker", call), count, f"an attribute of {call}", why="be the model's: return the model itself")
    check.that(not any(graph), "compute without gradients")
    check.that(len(graph) == count, "show the model each batch once")
    check.that(all(map(torch.equal, batches, kept)), "leave the batches as they were")
    for norm, (mean, var), name in zip(norms, want, ("first", "second", "third"), strict=True):
        check.close(norm.running_mean, mean, f"running mean of the {name} batch norm after {call}", rtol=1e-6, atol=1e-9, why=why)
        check.close(norm.running_var, var, f"running variance of the {name} batch norm after {call}", rtol=1e-6, atol=1e-9, why=why)
    check.equal([part.training for part in parts], before, "modes of all parts afterwards", why="be as before")
    check.equal([norm.momentum for norm in norms], [0.3, None, 0.1], "momenta afterwards", why="be as before")
    for name, value in check.parameters_of(model, "model").items():
        if "running" not in name and "num_batches" not in name:
            check.equal(value, was[name], f"{name} afterwards", why="be what it was: no weight changes")
    check.that(all(p.grad is None and p.requires_grad for p in model.parameters()), "leave gradients alone")


judge_adapt(1, "be those of the one batch, without anything of the old ones", modes=True)
judge_adapt(1, "be those of the one batch, also for a model in eval mode", modes=False)
judge_adapt(3, "be the average over the batches, which weigh alike", modes=False)
judge_adapt(4, "be the average over the batches, which weigh alike", modes=True)
judge_adapt(3, "hold for parts in different modes")
judge_adapt(2, "hold for batches from a generator", generator=True)
model = nn.Sequential(nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)), nn.Dropout(0.5)).double()
x = torch.from_numpy(rng.normal(size=(4, 2, 5, 6)))
want = model[0][0](x).detach().mean(dim=(0, 2, 3)).numpy()
adapt_batchnorm(model, [x])
check.close(model[0][1].running_mean, want, "running mean of a batch norm in a part of a part", rtol=1e-6, atol=1e-9, why="be that of the batch, however deep it is")
check.that(
    not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules()),
    "leave no hook behind that runs at every later call",
)
### END HIDDEN TESTS

# %% mutant="adapt_batchnorm" why="a mixture of old and new"
# - norm.reset_running_stats()
# - norm.momentum = None  # a plain average over the batches
# + pass

# %% mutant="adapt_batchnorm" why="average begins with the old statistics"
# - norm.reset_running_stats()
# + pass

# %% mutant="adapt_batchnorm" why="the last batches weigh most"
# - norm.momentum = None  # a plain average over the batches
# + norm.momentum = 0.5

# %% mutant="adapt_batchnorm" why="only the last batch"
# - norm.momentum = None  # a plain average over the batches
# + norm.momentum = 1.0

# %% mutant="adapt_batchnorm" why="the whole model in training mode: dropout"
# - part.training = part in norms
# + part.training = True

# %% mutant="adapt_batchnorm" why="in eval mode nothing happens"
# - part.training = part in norms
# + part.training = False

# %% mutant="adapt_batchnorm" why="leaves the model in eval mode"
# - part.training = mode
# + part.training = False

# %% mutant="adapt_batchnorm" why="momentum stays changed"
# - norm.momentum = momentum
# + pass

# %% mutant="adapt_batchnorm" why="only 2d"
# - kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# + kinds = (nn.BatchNorm2d,)

# %% mutant="adapt_batchnorm" why="scale and shift are reset, too"
# - norm.reset_running_stats()
# + norm.reset_parameters()

# %% mutant="adapt_batchnorm" why="direct parts alone"
# - norms = {part: part.momentum for part in modes if isinstance(part, kinds)}
# + norms = {part: part.momentum for part in model.children() if isinstance(part, kinds)}

# %% mutant="adapt_batchnorm" why="leaves its hooks"
# - for norm in norms:
# -     norm.reset_running_stats()
# + for norm in norms:
# +     norm.register_forward_pre_hook(lambda *_: None)
# +     norm.reset_running_stats()

# %% mutant="adapt_batchnorm" why="keeps graphs"
# - with torch.no_grad():
# + with torch.enable_grad():

# %% mutant="adapt_batchnorm" why="the first batch twice"
# - for batch in batches:
# -     model(batch)
# + for i, batch in enumerate(batches):
# +     model(batch)
# +     if i == 0:
# +         model(batch)


# %% alternative="adapt_batchnorm" why="keeps each batch's statistics with momentum 1, averages them"
def adapt_batchnorm(model, batches):
    was = [(m, m.training, getattr(m, "momentum", None)) for m in model.modules()]
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    model.eval()
    sums = [[0.0, 0.0] for _ in norms]
    count = 0
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        for x in batches:
            model(x)
            count += 1
            for total, norm in zip(sums, norms, strict=True):
                total[0] = total[0] + norm.running_mean
                total[1] = total[1] + norm.running_var
        for (mean, var), norm in zip(sums, norms, strict=True):
            norm.running_mean.copy_(mean / count)
            norm.running_var.copy_(var / count)
    for m, mode, momentum in was:
        m.training = mode
        if m in norms:
            m.momentum = momentum
    return model


# %% [markdown]
# A fair comparison adapts on both sides: the probe is trained on the backbone with the statistics of *clear flowers* (not of ImageNet), then fog comes. Orange: the network stays as it is. Blue: you adapt it to the foggy photographs, whose labels are never read.

# %% [markdown] lang="ru"
# Честное сравнение адаптирует с обеих сторон: проба обучена на основе со статистиками *ясных цветов* (а не ImageNet), потом приходит туман. Оранжевая линия — сеть как есть, синяя — вы адаптировали её к туманным фотографиям; их меток никто не читал.


# %%
def fog(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Prepared photographs behind a bright grey veil."""
    return (1 - strength) * x + 0.8 * strength


# %% tags=["training"]
clear, later = tiny[:200], tiny[300:]
strengths = [0.0, 0.6, 0.9]
at_home = adapt_batchnorm(backbone(), clear.split(50))
taught = embed(at_home, clear)
scores = {"adapted": [], "as it is": []}
for strength in strengths:
    foggy = fog(later, strength)
    for name, net in {"adapted": adapt_batchnorm(copy.deepcopy(at_home), foggy.split(50)), "as it is": at_home}.items():
        guess = linear_probe(taught, y_all[:200], embed(net, foggy), decay=0.1).argmax(dim=1)
        scores[name].append((guess == y_all[300:]).float().mean().item())
for name, values in scores.items():
    print(f"{name:9}", "  ".join(f"fog {s:g}: {v:.2f}" for s, v in zip(strengths, values, strict=True)))
figure = plt.figure(figsize=(10, 3.4))
left, right = figure.subfigures(1, 2, width_ratios=[1.2, 1])
ax = plots.curves(
    {name: (strengths, values) for name, values in scores.items()},
    "Accuracy in fog", "strength of the fog", "accuracy", ax=left.subplots(),
)  # fmt: skip
ax.set_ylim(0, 1)
for i, cell in enumerate(right.subplots(2, 3).flat):
    veil = fog(later[(3, 5)[i // 3]], strengths[i % 3])
    cell.imshow((veil * 0.5 + 0.5).clip(0, 1).permute(1, 2, 0))
    cell.axis("off")
    if i < 3:
        cell.set_title(f"fog {strengths[i]:g}", fontsize=9)
plots.show(
    "Accuracy against the strength of fog: the network as it is falls towards chance, the adapted one "
    "stays almost level. Beside it two photographs that fade into grey."
)

# %% [markdown]
# It is no magic. The statistics must be of a *mixture* like the one at home: a batch of roses alone would have its "roseness" subtracted. Fog hides little, it mostly shifts and shrinks; against noise, which destroys, adaptation helps less.
#
# ## 9. Which labels are wrong?
# Look at what a classifier, trained on the *other* photographs, thinks of a label. Two traps. Probabilities must be **out-of-fold**: who has learned a wrong label by heart finds it right. And classes differ in how sure a classifier is of them, so one threshold for all would suspect the hard class. Confident learning (Northcutt, Jiang & Chuang, 2021) takes for each class the mean confidence of those that carry its label:
#
# $$t_c = \frac{1}{\lvert \{i : y_i = c\} \rvert} \sum_{i : y_i = c} \hat p_i(c), \qquad \hat c_i = \operatorname*{arg\,max}_{c \,:\, \hat p_i(c) \ge t_c} \hat p_i(c).$$
#
# An example is suspicious if there is such a $\hat c_i$ and it is not $y_i$. The most suspicious has the smallest $\hat p_i(y_i) - \hat p_i(\hat c_i)$. Where two are equal, take either first.
#
# {{task:suspicious_labels}}

# %% [markdown] lang="ru"
# Волшебства тут нет. Статистики должны относиться к такой же *смеси*, как дома: из батча одних роз вычли бы то, что делает розу розой. Туман прячет мало, он в основном сдвигает и сжимает; против шума, который разрушает, адаптация помогает хуже.
#
# ## 9. Какие метки неверны?
# Спросите о метке классификатор, обученный на *других* фотографиях. Здесь две ловушки. Вероятности должны быть **получены на отложенных блоках** (out-of-fold): кто выучил неверную метку наизусть, тот считает её верной. И в разных классах классификатор уверен по-разному, так что единый порог заподозрил бы трудный класс. Confident learning (Northcutt, Jiang, Chuang, 2021) берёт для каждого класса среднюю уверенность на примерах с этой меткой:
#
# $$t_c = \frac{1}{\lvert \{i : y_i = c\} \rvert} \sum_{i : y_i = c} \hat p_i(c), \qquad \hat c_i = \operatorname*{arg\,max}_{c \,:\, \hat p_i(c) \ge t_c} \hat p_i(c).$$
#
# Пример подозрителен, если такой класс $\hat c_i$ есть и это не $y_i$. Самый подозрительный — тот, у которого меньше всего $\hat p_i(y_i) - \hat p_i(\hat c_i)$. При равенстве порядок любой.
#
# {{task:suspicious_labels}}


# %% solution="suspicious_labels"
def suspicious_labels(
    predict: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    folds: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the suspicious examples, the most suspicious first, and the class that each looks like.

    x: (n, ...), y: (n,) labels 0 ... k-1, each at least `folds` times. predict(x_train, y_train, x_new)
    -> probabilities (m, k). It is called once for each fold, with all that is not in the fold, so
    each example is judged once, by a model that has not seen it. Folds are drawn by rng; the
    examples of each class are spread over them evenly (counts differ by at most 1).
    """
    ### BEGIN SOLUTION
    labels, fold = y.numpy(), np.empty(len(y), dtype=int)
    for c in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == c))
        fold[members] = np.arange(len(members)) % folds
    p = np.empty((len(y), labels.max() + 1))
    for f in range(folds):
        train, new = (torch.from_numpy(np.flatnonzero(which)) for which in (fold != f, fold == f))
        p[new] = predict(x[train], y[train], x[new]).numpy()
    threshold = np.array([p[labels == c, c].mean() for c in range(p.shape[1])])
    sure = np.where(p >= threshold, p, -1)
    looks = sure.argmax(axis=1)
    index = np.flatnonzero((sure.max(axis=1) >= 0) & (looks != labels))
    margin = p[index, labels[index]] - p[index, looks[index]]
    index = index[np.argsort(margin, kind="stable")]
    return index, looks[index]
    ### END SOLUTION


# %% test="suspicious_labels" points=1 difficulty=4 minutes=30
class Oracle:
    """A predict that knows each example's probabilities, and its label by heart if it has seen it."""

    def __init__(self, table: np.ndarray, y: np.ndarray) -> None:
        self.table, self.y, self.folds = torch.from_numpy(table), y, []

    def __call__(self, x_train, y_train, x_new):
        train, new = ([int(v) for v in x.flatten()] for x in (x_train, x_new))
        check.equal([int(v) for v in y_train], self.y[train].tolist(), "labels that predict was given", why="be those of its rows")
        self.folds.append(new)
        p = self.table[new].clone()
        for row, i in enumerate(new):
            if i in set(train):
                p[row] = F.one_hot(torch.tensor(self.y[i]), p.shape[1])
        return p


def by_definition(table: np.ndarray, y: np.ndarray) -> tuple[list[int], list[int]]:
    """The formulas above, one example at a time."""
    k = table.shape[1]
    t = [np.mean([table[i, c] for i in range(len(y)) if y[i] == c]) for c in range(k)]
    found = []
    for i in range(len(y)):
        sure = [(table[i, c], c) for c in range(k) if table[i, c] >= t[c]]
        if sure and max(sure)[1] != y[i]:
            p, c = max(sure)
            found.append((table[i, y[i]] - p, i, c))
    return [i for _, i, _ in sorted(found)], [c for _, _, c in sorted(found)]


def judge_labels(table: np.ndarray, y: np.ndarray, folds: int, seed: int, why: str) -> list[list[int]]:
    """Against the definition; returns the folds, sorted."""
    oracle = Oracle(table, y)
    x = torch.arange(len(y), dtype=torch.float64).view(-1, 1)
    call = f"suspicious_labels of {len(y)} examples in {table.shape[1]} classes, {folds} folds"
    given = check.answer(
        suspicious_labels, oracle, x, torch.from_numpy(y), folds, np.random.default_rng(seed), call=call
    )
    judged = sorted(i for fold in oracle.folds for i in fold)
    check.equal(judged, list(range(len(y))), f"examples that were judged in {call}", why="be each one once")
    check.equal(len(oracle.folds), folds, f"calls of predict in {call}", why="be one for each fold")
    for c in np.unique(y):
        counts = [int((y[fold] == c).sum()) for fold in oracle.folds]
        check.that(max(counts) - min(counts) <= 1, "spread each class evenly over the folds")
    check.that(isinstance(given, tuple | list) and len(given) == 2, "return two arrays: indices and classes")
    index, looks = by_definition(table, y)
    check.equal([int(i) for i in given[0]], index, f"indices of {call}", why=why)
    check.equal([int(c) for c in given[1]], looks, f"classes of {call}", why=why)
    return sorted(sorted(fold) for fold in oracle.folds)


y_small = np.array([0, 1, 0, 1, 0, 1])
table = np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.05, 0.95], [0.8, 0.2], [0.95, 0.05]])
judge_labels(table, y_small, 2, 0, "be those whose other class reaches its threshold, the clearest first")
### BEGIN HIDDEN TESTS
rng = check.rng("suspicious_labels")


def drawn(n: int, k: int, sharp: float, counts: list[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities around labels, some of them wrong; no two margins alike."""
    truth = np.arange(n) % k if counts is None else np.repeat(np.arange(k), counts)
    truth = rng.permutation(truth)
    table = rng.dirichlet(np.ones(k), size=len(truth)) + sharp * np.eye(k)[truth] * rng.uniform(0.2, 1, size=(len(truth), 1))
    y = truth.copy()
    wrong = rng.choice(len(y), size=len(y) // 6, replace=False)
    y[wrong] = rng.permutation(y[wrong])
    return table / table.sum(axis=1, keepdims=True), y


judge_labels(*drawn(30, 3, 1.0), 3, 0, "be those of the definition")
judge_labels(*drawn(47, 4, 0.7), 5, 1, "be those of the definition")
judge_labels(*drawn(0, 3, 1.0, [40, 12, 9]), 4, 2, "have a threshold for each class, however many it has")
table, y = drawn(40, 4, 1.0)
table[y == 2] = 0.55 * table[y == 2] + 0.45 / 4  # a hard class: nobody is sure of it
judge_labels(table, y, 4, 3, "not suspect a class because it is hard")
table, y = drawn(36, 3, 0.3)
judge_labels(table, y, 3, 4, "suspect nobody where no class reaches its threshold")
table = np.array([[0.75, 0.25], [0.75, 0.25], [0.75, 0.25], [0.25, 0.75]])
judge_labels(table, np.array([0, 0, 1, 1]), 2, 9, "count a class that just reaches its threshold")
table = np.array(
    [[0.98, 0.01, 0.01]] * 3
    + [[0.1, 0.5, 0.4], [0.4, 0.44, 0.16], [0.4, 0.46, 0.14], [0.42, 0.4, 0.18], [0.4, 0.38, 0.22]]
)
y = np.array([0, 0, 0, 0, 1, 1, 2, 2])
judge_labels(table, y, 2, 10, "take the likeliest of the classes that reach their thresholds, not the one farthest above")
table[4:6] = [0.2, 0.64, 0.16], [0.2, 0.66, 0.14]
table, y = np.vstack([table, [0.6, 0.05, 0.35]]), np.append(y, 1)
judge_labels(table, y, 2, 11, "be in the order of the margins to the classes that reach their thresholds")
certain = np.eye(3)[np.arange(12) % 3] * 0.9 + 0.1 / 3
judge_labels(certain, np.arange(12) % 3, 3, 5, "be none where all is well")
table, y = drawn(60, 3, 1.0)
one, two, other = (judge_labels(table, y, 4, seed, "be those of the definition") for seed in (6, 6, 7))
check.that(one == two, "draw equal folds from equal generators")
check.that(one != other, "draw other folds from another generator")
x = torch.arange(60.0).view(-1, 1)
shared, folds = np.random.default_rng(8), []
for _ in range(2):
    oracle = Oracle(table, y)
    suspicious_labels(oracle, x, torch.from_numpy(y), 4, shared)
    folds.append(sorted(sorted(fold) for fold in oracle.folds))
check.that(folds[0] != folds[1], "draw other folds from the same generator at the next call")
check.that(one != sorted(sorted(range(i, 60, 4)) for i in range(4)), "draw folds at random")
### END HIDDEN TESTS

# %% mutant="suspicious_labels" why="in-fold probabilities"
# - p[new] = predict(x[train], y[train], x[new]).numpy()
# + p[new] = predict(x, y, x[new]).numpy()

# %% mutant="suspicious_labels" why="one threshold for all classes"
# - threshold = np.array([p[labels == c, c].mean() for c in range(p.shape[1])])
# + threshold = np.full(p.shape[1], p[np.arange(len(y)), labels].mean())

# %% mutant="suspicious_labels" why="the mean over all examples, not over those of the class"
# - threshold = np.array([p[labels == c, c].mean() for c in range(p.shape[1])])
# + threshold = p.mean(axis=0)

# %% mutant="suspicious_labels" why="no threshold: every mistake is suspicious"
# - sure = np.where(p >= threshold, p, -1)
# + sure = p

# %% mutant="suspicious_labels" why="least suspicious first"
# - index = index[np.argsort(margin, kind="stable")]
# + index = index[np.argsort(-margin, kind="stable")]

# %% mutant="suspicious_labels" why="in the order of the data"
# - index = index[np.argsort(margin, kind="stable")]
# + pass

# %% mutant="suspicious_labels" why="sorted by the label's probability alone"
# - margin = p[index, labels[index]] - p[index, looks[index]]
# + margin = p[index, labels[index]]

# %% mutant="suspicious_labels" why="sorted by the other class's probability alone"
# - margin = p[index, labels[index]] - p[index, looks[index]]
# + margin = -p[index, looks[index]]

# %% mutant="suspicious_labels" why="the class that is farthest above its threshold"
# - looks = sure.argmax(axis=1)
# + looks = np.where(p >= threshold, p - threshold, -1).argmax(axis=1)

# %% mutant="suspicious_labels" why="margins to the likeliest class of all"
# - margin = p[index, labels[index]] - p[index, looks[index]]
# + margin = p[index, labels[index]] - p[index].max(axis=1)

# %% mutant="suspicious_labels" why="folds in the order of the data"
# - members = rng.permutation(np.flatnonzero(labels == c))
# + members = np.flatnonzero(labels == c)

# %% mutant="suspicious_labels" why="folds that don't look at classes"
# - for c in np.unique(labels):
# -     members = rng.permutation(np.flatnonzero(labels == c))
# -     fold[members] = np.arange(len(members)) % folds
# + fold[rng.permutation(len(y))] = np.arange(len(y)) % folds

# %% mutant="suspicious_labels" why="the classes that the labels say"
# - return index, looks[index]
# + return index, labels[index]

# %% mutant="suspicious_labels" why="the likeliest class, whether or not it reaches its threshold"
# - looks = sure.argmax(axis=1)
# + looks = p.argmax(axis=1)

# %% mutant="suspicious_labels" why="a generator of its own"
# - labels, fold = y.numpy(), np.empty(len(y), dtype=int)
# + labels, fold, rng = y.numpy(), np.empty(len(y), dtype=int), np.random.default_rng(0)


# %% alternative="suspicious_labels" why="scikit-learn's folds, a loop over the examples, lists"
def suspicious_labels(predict, x, y, folds, rng):
    order = torch.from_numpy(rng.permutation(len(y)))
    x_, y_ = x[order], y[order]
    part = torch.zeros(len(y), dtype=torch.long)
    for c in y_.unique():
        part[y_ == c] = torch.arange(int((y_ == c).sum())) % folds
    k = int(y.max()) + 1
    p = torch.zeros(len(y), k, dtype=torch.float64)
    for f in range(folds):
        p[order[part == f]] = torch.as_tensor(predict(x_[part != f], y_[part != f], x_[part == f])).double()
    t = torch.stack([p[y == c, c].mean() for c in range(k)])
    found = []
    for i in range(len(y)):
        above = [c for c in range(k) if p[i, c] >= t[c]]
        if above:
            best = max(above, key=lambda c: float(p[i, c]))
            if best != int(y[i]):
                found.append((float(p[i, y[i]] - p[i, best]), i, best))
    found.sort()
    return [i for _, i, _ in found], [c for *_, c in found]


# %% [markdown]
# **First a case with known answers.** Forty labels are spoilt on purpose; how many of the first names on the list are among them? Chance would find one in eleven.

# %% [markdown] lang="ru"
# **Сначала случай, где ответ известен.** Сорок меток нарочно испорчены; сколько из первых в списке — из их числа? Наугад был бы верен один из одиннадцати.

# %% tags=["training"]
random = np.random.default_rng(0)
spoilt = random.choice(450, size=40, replace=False)
y_spoilt = labels.copy()
y_spoilt[spoilt] = (labels[spoilt] + random.integers(1, 5, size=40)) % 5
index, looks = suspicious_labels(
    functools.partial(linear_probe, decay=0.1), embeddings(), torch.from_numpy(y_spoilt), 5, np.random.default_rng(0)
)
hits = np.isin(index, spoilt)
precision = hits.cumsum() / np.arange(1, len(hits) + 1)
for k in (10, 20, len(index)):
    print(f"of the first {k} named, {precision[k - 1]:.0%} were spoilt; {hits[:k].sum() / 40:.0%} of the spoilt ones are found")
print(f"to their true class: {np.mean(np.array(looks)[hits] == labels[np.array(index)[hits]]):.0%} of those that are found")
ax = plots.curves({"precision": (range(1, len(hits) + 1), precision)}, "Precision among the first k", "k", "share that was spoilt")
ax.axhline(40 / 450, color="0.5", ls=":")
ax.text(len(hits), 40 / 450 + 0.02, "chance", ha="right", color="0.4")
ax.set_ylim(0, 1.05)
plots.show("Precision at k begins near 1 and falls slowly, far above chance, as the list gets longer.")

# %% [markdown]
# ## 10. The exam: a head of yours
# {{task:network}}
#
# Hand in this notebook and `model.safetensors`. The grader builds your network from its code, loads the weights, and shows it the 100 withheld photographs, each twice, a little shifted, mirrored or brightened. `Transfer` below keeps the frozen part of the backbone *outside* of the file: it comes from the installed package, in the exam as here, so the file holds only what you trained (4 MB for the last block, half of it as `float16`).
#
# Allowed: the pretrained backbone, any part of it to be trained, any head. Not allowed: the withheld photographs or their originals. In the exam there are only imports, functions, classes and constants, the cell of `network`, and the weights.

# %% [markdown] lang="ru"
# ## 10. Экзамен: ваша голова
# {{task:network}}
#
# Сдайте эту тетрадь и `model.safetensors`. Программа соберёт вашу сеть по коду, загрузит веса и покажет 100 отложенных фотографий, каждую дважды, чуть сдвинутую, отражённую или осветлённую. `Transfer` ниже держит замороженную часть основы *вне* файла: она берётся из установленного пакета, на экзамене так же, как здесь, поэтому в файле только то, что обучили вы (4 МБ для последнего блока, вдвое меньше в `float16`).
#
# Можно использовать предобученную основу, обучать любую её часть и ставить любую голову. Нельзя использовать отложенные фотографии и их оригиналы. На экзамене есть только импорты, функции, классы и константы, ячейка `network` и веса.


# %%
class Transfer(nn.Module):
    """Photographs in [0, 1] -> logits: a frozen part of the backbone, then a tail that is trained."""

    def __init__(self, tail: nn.Sequential, cut: str) -> None:
        super().__init__()
        names = [name for name, _ in backbone().named_children()]
        # In a list, it is no part of this module: not in its weights, its gradients or its modes.
        self.frozen = [backbone()[: names.index(cut)].requires_grad_(False)]
        self.tail = tail

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            maps = self.frozen[0].to(x.device)(prepare(x))
        return self.tail(maps)


project = week04.project(profile)
milestones = ", ".join(f"{m:.0%}" for m in week04.SCALE.accuracies[profile])
print(f"an accuracy of more than {milestones}: a quarter of a point each")


# %% solution="network"
def network() -> nn.Module:
    """A new, untrained network: float32 photographs in [0, 1], (n, 3, side, side), -> logits (n, 5).

    side: 128 in `small`, 224 in `full`. What is in its state_dict is handed in, below 30 MB.
    """
    ### BEGIN SOLUTION
    return Transfer(new_tail("block15"), "block15")
    ### END SOLUTION


# %% [markdown]
# **Your training.** The cell below is a start, and trains by your `parameter_groups` and `fit`. Change it: other cuts, rates, leashes, augmentation (with `torchvision.transforms.v2` or [albumentations](glossary:albumentations); then the frozen part has to run again), a search of two rates ([optuna](glossary:optuna)). Choose by validation photographs alone.

# %% [markdown] lang="ru"
# **Ваше обучение.** Ячейка ниже — начало, она обучает вашими `parameter_groups` и `fit`. Меняйте её: другие разрезы, шаги, поводки, аугментация (`torchvision.transforms.v2` или [albumentations](glossary:albumentations); тогда замороженную часть придётся считать снова), поиск двух шагов обучения ([optuna](glossary:optuna)). Выбирайте только по валидационным фотографиям.

# %% tags=["training"]
start = time.perf_counter()
torch.manual_seed(0)
trained = network()
train_set, valid_set = torch.arange(390), torch.arange(390, 450)
maps = embedded("block15")  # what the frozen part gives: change it with the cut
optimizer = torch.optim.AdamW(parameter_groups(trained.tail, lr=3e-3, gamma=0.3, weight_decay=0.05))
losses = fit(
    trained.tail,
    lambda tail: run_epoch(tail, optimizer, maps[train_set], y_all[train_set]),
    lambda tail: loss_and_accuracy(tail, maps[valid_set], y_all[valid_set])[0],
    max_epochs={"small": 6, "full": 40}[profile],
    patience=3,
)
accuracy = loss_and_accuracy(trained.tail, maps[valid_set], y_all[valid_set])[1]
print(f"{time.perf_counter() - start:.0f} s, {len(losses)} epochs, validation accuracy {accuracy:.1%}")
path = project.save(trained, half=True)
print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {sum(p.numel() for p in trained.parameters()):,} numbers")

# %% test="network" points=1 difficulty=3 minutes=45 exam=true
project = week04.project(profile)
project.check(project.build(network), check.rng("network"))


def untrained(function: Callable[[], nn.Module]) -> torch.Tensor:
    """What a new network says of one photograph; equal code gives equal numbers."""
    torch.manual_seed(0)
    side = week04.SIDE[profile]
    picture = torch.linspace(0, 1, 3 * side**2).view(1, 3, side, side)
    return project.build(function)(picture).detach()


check.stands_alone(network, "network", untrained)
trained = project.load(project.build(network), "model.safetensors")
project.check(trained, check.rng("network"))
### BEGIN HIDDEN TESTS
check.hand_in("network", project.predict(trained, check.private("network")["pictures"]))
### END HIDDEN TESTS

# %% mutant="network" why="an empty tail: the head is forgotten"
# - return Transfer(new_tail("block15"), "block15")
# + return Transfer(new_tail("block15")[:-1], "block15")

# %% mutant="network" why="another cut than in training"
# - return Transfer(new_tail("block15"), "block15")
# + return Transfer(new_tail("block14"), "block14")

# %% mutant="network" why="six classes"
# - return Transfer(new_tail("block15"), "block15")
# + return Transfer(new_tail("block15", classes=6), "block15")

# %% mutant="network" why="expects pixels from 0 to 255"
# - return Transfer(new_tail("block15"), "block15")
# + class Bytes(Transfer):
# +     def forward(self, x):
# +         return super().forward(x / 255)
# + return Bytes(new_tail("block15"), "block15")


# %% alternative="network" why="the parts in a class of its own"
def network():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            whole = backbone()
            self.body = [whole[:16]]
            self.tail = nn.Sequential(OrderedDict([*list(whole.named_children())[16:], ("drop", nn.Dropout(0.3)), ("head", nn.Linear(1280, 5))]))
            nn.init.zeros_(self.tail.head.weight)
            nn.init.zeros_(self.tail.head.bias)

        def forward(self, x):
            return self.tail(self.body[0](prepare(x)))

    return Mine()


# %% [markdown]
# **The public test photographs**: look when your choices are made. They are 50, so the standard error of an accuracy near 85 % is 5 %.

# %% [markdown] lang="ru"
# **Открытые тестовые фотографии**: смотрите, когда выбор сделан. Их 50, так что у точности около 85 % стандартная ошибка 5 %.

# %% tags=["training"]
trained = project.load(network())
on_test = project.accuracy(trained, dataset.x_test, dataset.y_test)
print(week04.SCALE.table(on_test, profile))

# %% [markdown]
# ## 11. The report: four improvements
# {{task:report}}
#
# Try four changes of the training above, one at a time, all else equal. Half a page:
#
# 1. **Table.** For each change the validation accuracy before and after, and how many runs (seeds or subsets) stand behind it.
# 2. **Intervals.** What spread is there between runs, or what interval does the number of photographs give? Which changes are larger than that?
# 3. **One that did not help**, and why, in your opinion.
#
# 60 validation photographs at 85 % have a standard error of 4.6 %. Cross-validation over all 450 gives a smaller one.

# %% [markdown] lang="ru"
# ## 11. Отчёт: четыре улучшения
# {{task:report}}
#
# Попробуйте четыре изменения обучения, по одному, при прочих равных. Полстраницы:
#
# 1. **Таблица.** Для каждого изменения — точность на валидации до и после и сколько запусков (зёрен или подмножеств) за этим стоит.
# 2. **Интервалы.** Каков разброс между запусками или какой интервал даёт число фотографий? Какие изменения больше него?
# 3. **Одно, которое не помогло**, и почему, на ваш взгляд.
#
# У 60 валидационных фотографий при 85 % стандартная ошибка 4,6 %. Кросс-валидация по всем 450 даёт меньшую.

# %% [markdown] answer="report" points=1 difficulty=2 minutes=45
# (A sample. Its numbers show the form; they were not measured.)
#
# Five-fold cross-validation over 450 photographs, three seeds each; in brackets the range over seeds. Start: 84.1 % (83.6–84.7).
#
# | change | after | difference |
# |---|---|---|
# | cut at block13 in place of block15 | 84.4 % (83.8–85.1) | +0.3 |
# | mirrored photographs, too | 85.3 % (84.9–85.8) | +1.2 |
# | 160 px in place of 128 | 86.9 % (86.4–87.3) | +2.8 |
# | L²-SP, alpha 0.1 | 84.2 % (83.9–84.4) | +0.1 |
#
# Between seeds the spread is about 1 %; the standard error by 450 photographs is 1.7 %, but the same photographs are compared, so paired: of 450, mirrored ones repair 14 and spoil 9, which chance does often; 160 px repair 25 and spoil 12 (p = 0.05). Only the last is larger than chance. L²-SP did not help: in six epochs at these rates the weights hardly leave their start, so there is nothing to hold back.

# %% [markdown] rubric="report"
# - [table] 0.5 points: four changes, one at a time, each with accuracy before and after and the number of runs. Half for two or three changes, or where several things changed at once.
# - [intervals] 0.25 points: a spread or an interval, with the way it was found, and a sentence on which changes exceed it.
# - [negative] 0.25 points: one change that did not help, with a cause that fits the numbers.
#
# A good answer stands in the answer cell. A weak one (0 to 0.25): "I tried a larger rate, more epochs, augmentation and another head, and got 88 %": no numbers before, no spread.

# %% [markdown] rubric="report" lang="ru"
# - [table] 0,5 балла: четыре изменения, по одному, у каждого точность до и после и число запусков. Половина — за два-три изменения или если сразу менялось несколько вещей.
# - [intervals] 0,25 балла: разброс или интервал, как он получен, и фраза о том, какие изменения его превышают.
# - [negative] 0,25 балла: одно изменение, которое не помогло, с причиной, которая подходит к числам.
#
# Хороший ответ стоит в ячейке ответа. Слабый (0–0,25): «Пробовал больший шаг, больше эпох, аугментацию и другую голову, получилось 88 %»: нет чисел до изменения, нет разброса.

# %% [markdown]
# ## 12. What it was worth, and whom to doubt
# Everything in one picture: a small network from scratch, the probe, the fine-tuned last block, each on the same nested subsets; and the photographs of this data set, nothing planted now, whose labels your function doubts. Look at each with your own eyes: the function names what does *not fit*, and that may be a wrong label, two flowers in one photograph, or an honest but strange picture.

# %% [markdown] lang="ru"
# ## 12. Что это дало и в ком сомневаться
# Всё на одной картинке: маленькая сеть с нуля, проба, дообученный последний блок — на одних и тех же вложенных подмножествах; и фотографии этого набора, теперь без подстроенных ошибок, в метках которых сомневается ваша функция. Посмотрите на каждую своими глазами: функция называет то, что *не сходится*, а это может быть неверная метка, два цветка на одной фотографии или честный, но странный снимок.


# %%
@functools.cache
def tiny_photographs() -> torch.Tensor:
    """All training photographs, 32 x 32, from -1 to 1."""
    return F.adaptive_avg_pool2d(2 * as_input(pictures) - 1, 32)


def from_scratch(train: np.ndarray, test: np.ndarray) -> float:
    """A small network of convolutions on photographs of 32 x 32, with random weights to begin with."""
    small = tiny_photographs()
    torch.manual_seed(0)
    layers, channels = [], [3, 12, 24, 48]
    for a, b in pairwise(channels):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    train = torch.from_numpy(train)
    for _ in range(2 * settings["steps"]):
        batch = train[torch.randint(len(train), (min(32, len(train)),))]
        x = torch.where(torch.rand(len(batch), 1, 1, 1) < 0.5, small[batch].flip(3), small[batch])
        model.train()
        loss = F.cross_entropy(model(x), y_all[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss_and_accuracy(model.eval(), small[test], y_all[test])[1]


def fine_tuned(train: np.ndarray, test: np.ndarray) -> float:
    """The last block, the top and a new head, a fixed number of steps."""
    maps, train = embedded("block15"), torch.from_numpy(train)
    torch.manual_seed(0)
    model = new_tail()
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=3e-3, gamma=0.3))
    steps = settings["steps"] if len(train) > 32 else settings["steps"] // 2
    run_epoch(model, optimizer, maps[train], y_all[train], steps=steps)
    return loss_and_accuracy(model, maps[test], y_all[test])[1]


# %% tags=["training"]
ways = {"fine-tuned": fine_tuned, "linear probe": of_rows(embeddings()), "from scratch": from_scratch}
sizes, repeats = settings["sizes"], settings["repeats"]
curves = {
    name: learning_curve(way, labels, sizes, 30, repeats, np.random.default_rng(0))
    for name, way in progress(ways.items(), "curves")
}
for name, scores in curves.items():
    print(f"{name:12}", "  ".join(f"{n}: {a:.2f}" for n, a in zip(sizes, scores.mean(axis=0), strict=True)))
index, looks = suspicious_labels(
    functools.partial(linear_probe, decay=0.1), embeddings(), y_all, 5, np.random.default_rng(1)
)
index, looks = np.array(index)[:12], np.array(looks)[:12]
numbers = flowers5.ids("train")
for i, c in zip(index, looks, strict=True):
    print(f"flickr.com/photo.gne?id={numbers[i]:12} label {classes[labels[i]]:10} looks like {classes[c]}")
titles = [f"{classes[labels[i]]}?\nrather {classes[c]}" for i, c in zip(index, looks, strict=True)]
week04.finale(sizes, curves, pictures[index], titles)
plots.show(
    "Above, accuracy against photographs of each class: fine-tuned and probe rise from about a half to "
    "above 0.8, the network from scratch begins lower and ends far below. Below, twelve photographs with their "
    "label and the class that they look like."
)

# %% [markdown]
# **The curves.** Fine-tuning is not always the better probe: where photographs are fewest its gain is largest, and with sixty of each kind the probe, which costs a second, has caught up. From scratch, the same photographs buy far less; it would take many more of them to pay for what a million others have taught.
#
# **The list.** Did you look? When we did, one photograph of the list was a bouquet in which the kind of its label is the minority, one a yellow flower that may be no dandelion at all, and the others were labelled rightly, but taken against the light, from too near or too far. With planted mistakes the head of the list was nearly all mistakes; where few are wrong, it is mostly hard cases. The list is one of questions, not of verdicts: who deletes what is on it unseen, deletes what the network most needs to learn.

# %% [markdown] lang="ru"
# **Кривые.** Дообучение не всегда лучше пробы: выигрыш больше всего там, где фотографий меньше всего, а при шестидесяти каждого вида проба, которая стоит секунду, его догоняет. С нуля те же фотографии дают гораздо меньше: чтобы заменить то, чему сеть научил миллион чужих, их понадобилось бы намного больше.
#
# **Список.** Посмотрели? Когда смотрели мы, одна фотография из списка оказалась букетом, где вид из метки — в меньшинстве, одна — жёлтым цветком, который, возможно, вовсе не одуванчик, а остальные были подписаны верно, но сняты против света, слишком близко или слишком издалека. С подстроенными ошибками начало списка почти целиком состояло из ошибок; там, где неверного мало, в нём в основном трудные случаи. Это список вопросов, а не приговоров: кто удаляет всё из него не глядя, удаляет то, чему сети важнее всего научиться.

# %% [markdown]
# ## What you now hold
# - A backbone that somebody else has paid for, cut where you like, and embeddings that are computed once.
# - A curve that says what more photographs would bring, with an honest test and a band.
# - Layers that are frozen in earnest, rates that grow towards the head, a training that stops and goes back, a leash, and a network that finds its way in fog without labels.
# - A list of labels to doubt in any data set of yours, beginning with the next one you download.

# %% [markdown] lang="ru"
# ## Что теперь у вас в руках
# - Основа, за которую заплатил кто-то другой и которую можно разрезать где угодно, и эмбеддинги, посчитанные один раз.
# - Кривая, которая говорит, что дадут ещё фотографии, с честным тестом и полосой.
# - Слои, замороженные всерьёз, шаги, растущие к голове, обучение, которое останавливается и возвращается, поводок и сеть, которая без меток находит дорогу в тумане.
# - Список меток, в которых стоит усомниться, — для любого вашего набора данных, начиная со следующего, который вы скачаете.

# %% [markdown]
# **Sources**
# - M. Tan, Q. Le. [EfficientNet](https://arxiv.org/abs/1905.11946). ICML 2019.
# - J. Yosinski et al. [How transferable are features in deep neural networks?](https://arxiv.org/abs/1411.1792) NeurIPS 2014.
# - J. Howard, S. Ruder. [Universal language model fine-tuning](https://arxiv.org/abs/1801.06146). ACL 2018, section 3.2.
# - X. Li, Y. Grandvalet, F. Davoine. [Explicit inductive bias for transfer learning](https://arxiv.org/abs/1802.01483). ICML 2018.
# - Y. Li et al. [Revisiting batch normalization for practical domain adaptation](https://arxiv.org/abs/1603.04779). 2016.
# - C. Northcutt, L. Jiang, I. Chuang. [Confident learning](https://arxiv.org/abs/1911.00068). JAIR 2021.

# %% [markdown] lang="ru"
# **Источники**
# - M. Tan, Q. Le. [EfficientNet](https://arxiv.org/abs/1905.11946). ICML 2019.
# - J. Yosinski и др. [How transferable are features in deep neural networks?](https://arxiv.org/abs/1411.1792) NeurIPS 2014.
# - J. Howard, S. Ruder. [Universal language model fine-tuning](https://arxiv.org/abs/1801.06146). ACL 2018, раздел 3.2.
# - X. Li, Y. Grandvalet, F. Davoine. [Explicit inductive bias for transfer learning](https://arxiv.org/abs/1802.01483). ICML 2018.
# - Y. Li и др. [Revisiting batch normalization for practical domain adaptation](https://arxiv.org/abs/1603.04779). 2016.
# - C. Northcutt, L. Jiang, I. Chuang. [Confident learning](https://arxiv.org/abs/1911.00068). JAIR 2021.
