# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Why did the network say so? And can you trust the answer?
# A network looks at a photograph and says "daisy". Which pixels made it say so? You write six methods that answer, each of which draws a map that looks like an answer, and then you judge them by what can be measured and not by their looks. Some lose to a rule that never saw the network. On the way the same gradients break the network, by a change that nobody sees, and at the end they paint: a photograph, your own if you like, in the style of a painting.
#
# Nine tasks, 8 points. The rules, once for all of them:
#
# - pictures are tensors of floats $(n, c, h, w)$, and `target` holds a class number for each; a network gives logits $(n, k)$, each picture by itself;
# - results have the dtype of the pictures; they may carry a graph or not;
# - your functions leave their arguments as they were, and the network, too: parts, modes (don't choose train or eval yourself), hooks, `requires_grad`, and whatever was in the `.grad` of its parameters. Its parameters may be frozen, or not. Call it as `model(x)`.
#
# The checks that you see are public ones: passing them is no promise of full marks.

# %% [markdown] lang="ru"
# # Почему сеть так ответила? И можно ли верить объяснению?
# Сеть смотрит на фотографию и говорит: «ромашка». Из-за каких пикселей? Вы напишете шесть методов, которые отвечают на этот вопрос, и каждый рисует карту, похожую на ответ. А потом вы будете судить о них не по виду, а по тому, что можно измерить. Некоторые проиграют правилу, которое сети и не видело. По дороге те же градиенты сломают сеть изменением, которого никто не заметит, а в конце займутся живописью: фотография, хоть ваша собственная, в стиле картины.
#
# Девять задач, 8 баллов. Правила, общие для всех:
#
# - картинки — тензоры вещественных чисел $(n, c, h, w)$, в `target` номер класса для каждой; сеть даёт логиты $(n, k)$, каждую картинку она рассматривает отдельно;
# - dtype результата такой же, как у картинок; есть ли у результата граф, неважно;
# - ваши функции не меняют ни аргументы, ни сеть: её части, режимы (не выбирайте train или eval сами), хуки, `requires_grad` и то, что лежало в `.grad` её параметров. Параметры бывают и замороженными, и нет. Вызывайте сеть как `model(x)`.
#
# Видимые вам проверки — открытая часть: пройти их ещё не значит получить полный балл.

# %% tags=["parameters"]
profile = "small"

# %%
import copy
import time
from collections.abc import Callable, Sequence
from functools import cache, partial

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import comb
from scipy.stats import spearmanr
from sklearn.datasets import load_sample_image
from torch import nn
from torchvision.transforms.functional import gaussian_blur

from practical_dl import check, data, models, plots, progress, seed_everything
from practical_dl.models.efficientnet_lite0 import class_names
from practical_dl.weeks import week05

seed_everything(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
settings = {
    "small": {"side": 128, "judged": 2, "samples": 8, "steps": 16, "attacked": 12, "style": 100},
    "full": {"side": 224, "judged": 20, "samples": 50, "steps": 64, "attacked": 60, "style": 400},
}[profile]

# %% [markdown]
# **The network** is EfficientNet-Lite0, trained on ImageNet. It wants colours from $-1$ to $1$; we put that into a layer of our own, so that all of this notebook works with pictures from 0 to 1. **The photographs** are daisies (CC BY 2.0, by people on Flickr): a class that ImageNet knows.

# %% [markdown] lang="ru"
# **Сеть** — EfficientNet-Lite0, обученная на ImageNet. Ей нужны цвета от $-1$ до $1$; мы спрячем это в собственный слой, и во всём ноутбуке картинки будут от 0 до 1. **Фотографии** — ромашки (CC BY 2.0, авторы — пользователи Flickr): этот класс в ImageNet есть.

# %%
flowers = data.load("flowers5", profile)

# %%
pretrained = models.load("efficientnet_lite0")


# %%
class FromPixels(nn.Module):
    """A network that takes pictures from 0 to 1."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net((255 * x - 127) / 128)


def as_tensor(pictures: np.ndarray) -> torch.Tensor:
    """uint8 (n, h, w, 3) -> float32 from 0 to 1, (n, 3, h, w)."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().to(device).float() / 255


def shown(x: torch.Tensor) -> np.ndarray:
    """(n, 3, h, w) -> (n, h, w, 3), to draw."""
    return x.detach().cpu().permute(0, 2, 3, 1).numpy()


network = FromPixels(pretrained).to(device).eval().requires_grad_(False)
network.to(memory_format=torch.channels_last)  # the same numbers, in a faster order
names = class_names()
DAISY = names.index("daisy")
daisies = as_tensor(flowers.x_test[flowers.y_test == 0])
with torch.no_grad():
    sure = network(daisies).softmax(1)[:, DAISY]
daisies, sure = daisies[sure > 0.5], sure[sure > 0.5]
daisy = torch.full((len(daisies),), DAISY, device=device)
print(f"{len(daisies)} of 10 daisies are seen as daisies")
plots.images(shown(daisies), [f"daisy {p:.1%}" for p in sure], columns=5, size=1.5)
plots.show("Photographs of daisies, each with the probability that the network gives to daisy.")

# %% [markdown]
# ## 1. Saliency: which pixel would change the answer?
# The simplest question: if a pixel changed a little, by how much would the logit $f_t$ of class $t$ change? That is the gradient with respect to the picture. A pixel has three colours; the map keeps the largest absolute value among them (Simonyan et al., 2013):
#
# $$M(x)_{ij} = \max_c \left| \frac{\partial f_t(x)}{\partial x_{c i j}} \right|.$$
#
# Such maps are full of speckle, since the gradient of a ReLU network jumps from one linear piece to the next. **SmoothGrad** (Smilkov et al., 2017) looks at many noisy copies of the picture and takes the mean of their **maps**, not of their gradients: opposite signs would cancel.
#
# $$\hat M(x) = \frac1m \sum_{k=1}^m M(x + \varepsilon_k), \qquad \varepsilon_k \sim \mathcal N(0, s^2), \quad s = \sigma\,(\max x - \min x).$$
#
# The range $\max x - \min x$ is that of each picture, all of its colours together. Each copy of each picture has noise of its own, and it is not clipped. The network is asked about just $m$ copies of each picture, and about nothing else.
#
# {{task:saliency}}

# %% [markdown] lang="ru"
# ## 1. Карта значимости: какой пиксель изменил бы ответ?
# Самый простой вопрос: если чуть изменить пиксель, насколько изменится логит $f_t$ класса $t$? Это градиент по картинке. Цветов у пикселя три; в карту (saliency map) идёт наибольшее из трёх абсолютных значений (Simonyan et al., 2013):
#
# $$M(x)_{ij} = \max_c \left| \frac{\partial f_t(x)}{\partial x_{c i j}} \right|.$$
#
# Такие карты полны крапинок: градиент сети с ReLU прыгает от одного линейного куска к другому. **SmoothGrad** (Smilkov et al., 2017) смотрит на много зашумлённых копий картинки и усредняет их **карты**, а не градиенты: противоположные знаки сократились бы.
#
# $$\hat M(x) = \frac1m \sum_{k=1}^m M(x + \varepsilon_k), \qquad \varepsilon_k \sim \mathcal N(0, s^2), \quad s = \sigma\,(\max x - \min x).$$
#
# Размах $\max x - \min x$ у каждой картинки свой, по всем её цветам сразу. У каждой копии каждой картинки шум собственный, и обрезать его не нужно. Сеть спрашивают ровно про $m$ копий каждой картинки и больше ни про что.
#
# {{task:saliency}}


# %% solution="saliency"
def saliency(model: Callable, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The largest absolute slope of the target's logit among a pixel's colours.

    x: (n, c, h, w), target: (n,) class numbers -> (n, h, w).
    """
    ### BEGIN SOLUTION
    x = x.detach().clone().requires_grad_()
    scores = model(x).gather(1, target[:, None])
    (slopes,) = torch.autograd.grad(scores.sum(), x)
    return slopes.abs().amax(dim=1)
    ### END SOLUTION


def smooth_grad(
    model: Callable,
    x: torch.Tensor,
    target: torch.Tensor,
    samples: int = 16,
    sigma: float = 0.15,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """The mean of `saliency` over noisy copies of each picture. (n, c, h, w) -> (n, h, w).

    sigma: deviation of the noise as a share of each picture's range. generator: where all noise is
    from, on the CPU wherever the pictures are; None is torch's own.
    """
    ### BEGIN SOLUTION
    axes = (1, 2, 3)
    spread = sigma * (x.amax(dim=axes, keepdim=True) - x.amin(dim=axes, keepdim=True))
    total = torch.zeros_like(x[:, 0])
    for _ in range(samples):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        total += saliency(model, x + spread * noise, target)
    return total / samples
    ### END SOLUTION


# %% test="saliency" points=1 difficulty=2 minutes=20
weight = torch.tensor([[1.0, -7.0, 3.0, 4.0, 0.5, -6.0], [2.0, 2.5, -9.0, 1.5, 3.5, 0.25]])
linear = nn.Sequential(nn.Flatten(), nn.Linear(6, 2)).requires_grad_(False)
linear[1].weight.copy_(weight)
picture = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).reshape(1, 2, 1, 3)
check.close(
    saliency(linear, picture.clone(), torch.tensor([0])),
    [[[4.0, 7.0, 6.0]]],
    "saliency of a linear network, class 0",
    why="be the largest absolute weight among a pixel's colours",
)
check.close(
    smooth_grad(linear, picture.clone(), torch.tensor([1]), samples=3),
    [[[2.0, 3.5, 9.0]]],
    "smooth_grad of a linear network, class 1",
    why="be the saliency itself, since noise does not change the slopes of a linear network",
)
### BEGIN HIDDEN TESTS
rng = check.rng("saliency")


def slope_maps(model, x, target):
    """Saliency of each picture alone, by autograd."""
    maps = []
    for one, t in zip(torch.as_tensor(x), target, strict=True):
        one = one.clone()[None].requires_grad_()
        (slope,) = torch.autograd.grad(model(one)[0, int(t)], one)
        maps.append(slope[0].abs().max(0).values)
    return torch.stack(maps).numpy()


model = week05.tiny_network(rng, 3, 4)
for shape, why in [
    ((1, 3, 7, 9), "take the slopes of the target's logit"),
    ((4, 3, 8, 6), "treat each picture by itself, with its own target"),
]:
    x = torch.from_numpy(rng.uniform(0, 1, shape))
    target = torch.from_numpy(rng.permutation(4)[: len(x)])
    want = slope_maps(model, x, target)
    call = f"saliency(model, x {shape}, target)"
    got = week05.asked(saliency, model, x, target, call=call)
    check.that(got.dtype == np.float64, f"{call}: have the dtype of x")
    check.close(got, want, call, rtol=1e-8, atol=1e-12, why=why)
call = "saliency(a frozen model, x, target)"
model.requires_grad_(False)
got = week05.asked(saliency, model, x, target, call=call)
check.close(got, want, call, rtol=1e-8, atol=1e-12, why="need no gradients of the parameters")
model.requires_grad_(True)
model.features[0].weight.grad = torch.ones_like(model.features[0].weight)
call = "saliency(model, x, target) where a parameter has a gradient"
got = week05.asked(saliency, model, x, target, call=call)
check.close(got, want, call, rtol=1e-8, atol=1e-12, why="not depend on what lies there")
model.top.train()
call = "saliency(model, x, target) with a part in train mode"
week05.asked(saliency, model, x, target, call=call)
model.eval()
leaf = x.clone().requires_grad_()
saliency(model, leaf, target)
check.that(leaf.grad is None, "saliency(model, x, target): leave x.grad as it was")
got = check.answer(saliency, model.float(), x.float(), target, call="saliency of float32 pictures")
check.that(got.dtype == np.float32, "saliency(model, x, target): have the dtype of x")
model.double()

x = torch.from_numpy(rng.uniform(0, 1, (3, 3, 7, 8)))
target = torch.tensor([2, 0, 3])
fixed = nn.Sequential(nn.Flatten(), nn.Linear(168, 4)).double()
call = "smooth_grad(a linear model, three pictures, their targets)"
got = week05.asked(smooth_grad, fixed, x, target, call=call)
why = "be the saliency of each picture, whatever the noise"
check.close(got, slope_maps(fixed, x, target), call, rtol=1e-8, why=why)

big = rng.uniform(0.3, 0.8, (1, 3, 31, 24))
big.flat[5], big.flat[2000] = 0.2, 0.95  # the range is 0.75
big = torch.from_numpy(big)
target = torch.tensor([1])
for options, count, sigma in [
    ({}, 16, 0.15),
    ({"samples": 9}, 9, 0.15),
    ({"sigma": 0.4}, 16, 0.4),
    ({"samples": 1, "sigma": 0.05}, 1, 0.05),
]:
    watched = copy.deepcopy(model)
    seen = week05.watch(watched)
    call = f"smooth_grad(model, x, target{''.join(f', {k}={v}' for k, v in options.items())})"
    generator = torch.Generator().manual_seed(int(rng.integers(10**6)))
    got = week05.asked(smooth_grad, watched, big, target, call=call, generator=generator, **options)
    copies = np.concatenate(seen) if seen else np.zeros((0, *big.shape[1:]))
    why = "ask about just so many copies of the picture, and about nothing else"
    check.equal(len(copies), count, f"copies that the network sees in {call}", why=why)
    noise = (copies - big.numpy()) / (0.75 * sigma)
    room = 7 / np.sqrt(noise.size)
    changed = bool((noise != 0).any((1, 2, 3)).all())
    check.that(changed, f"{call}: have noise in every copy that the network sees")
    check.that(abs(noise.mean()) < room * noise.std(), f"{call}: have noise with the mean 0")
    fourth = (noise**4).mean() / (noise**2).mean() ** 2
    check.that(abs(fourth - 3) < 10 * room, f"{call}: have normal noise, not clipped")
    check.that(
        abs(noise.std() - 1) < room, f"{call}: have noise of sigma times the picture's range"
    )
    if count > 1:
        pairs = (noise[1:] * noise[:-1]).mean()
        check.that(abs(pairs) < 2 * room, f"{call}: have other noise for each copy")
    colours = (noise[:, 0] * noise[:, 1]).mean()
    check.that(abs(colours) < 2.5 * room, f"{call}: have other noise for each colour")
    want = slope_maps(model, copies, [1] * count).mean(0, keepdims=True)
    why = "be the mean of the maps of the noisy copies"
    check.close(got, want, call, rtol=1e-8, atol=1e-12, why=why)

two = torch.cat([big, 50 + 9 * big])
watched = copy.deepcopy(model)
seen = week05.watch(watched)
smooth_grad(watched, two, torch.tensor([1, 2]), samples=3)
copies = np.concatenate([np.asarray(s) for s in seen])
first = copies.mean((1, 2, 3)) < 25
call = "smooth_grad(model, two pictures of other ranges, target, samples=3)"
counts, why = (int(first.sum()), int((~first).sum())), "make three copies of each picture"
check.equal(counts, (3, 3), f"copies of each in {call}", why=why)
noise = [copies[first] - big.numpy(), copies[~first] - 50 - 9 * big.numpy()]
sizes = [n.std() for n in noise]
check.close(sizes, [0.15 * 0.75, 9 * 0.15 * 0.75], call, rtol=0.06, why="use each picture's range")
crossed = [abs(np.mean(a * b)) for a in noise[0] for b in noise[1]]
room = 7 * sizes[0] * sizes[1] / np.sqrt(noise[0][0].size)
check.that(max(crossed) < room, f"{call}: have other noise for each picture")
flat = torch.full((1, 3, 6, 7), 0.4, dtype=torch.float64)
call = "smooth_grad(model, a picture of one colour, target)"
got = week05.asked(smooth_grad, model, flat, target, call=call)
check.close(got, slope_maps(model, flat, [1]), call, rtol=1e-8, why="have no noise without a range")

with torch.random.fork_rng(devices=[]):
    generator = torch.Generator().manual_seed(3)
    state = torch.get_rng_state()
    call = "smooth_grad(model, x, target, generator=g)"
    draws = [
        check.answer(smooth_grad, model, big, target, call=call, samples=2, generator=generator)
        for _ in range(2)
    ]
    again = check.answer(
        smooth_grad, model, big, target, call=call, samples=2, generator=generator.manual_seed(3)
    )
    check.close(again, draws[0], f"{call}, g seeded alike", why="draw all noise from the generator")
    check.that(not np.allclose(*draws), f"{call}, twice: go on with the generator")
    same = bool((torch.get_rng_state() == state).all())
    check.that(same, f"{call}: leave torch's own generator alone")
    call = "smooth_grad(model, x, target), without a generator"
    torch.manual_seed(5)
    draws = [check.answer(smooth_grad, model, big, target, call=call, samples=2) for _ in range(2)]
    torch.manual_seed(5)
    again = check.answer(smooth_grad, model, big, target, call=call, samples=2)
    check.close(again, draws[0], call, why="draw from torch's own generator")
    check.that(not np.allclose(*draws), f"{call}, twice: have other noise")
got = check.answer(smooth_grad, model.float(), x.float(), torch.tensor([2, 0, 3]), call=call)
check.that(got.dtype == np.float32, "smooth_grad(model, x, target): have the dtype of x")
### END HIDDEN TESTS

# %% mutant="saliency" why="the mean of the colours"
# - return slopes.abs().amax(dim=1)
# + return slopes.abs().mean(dim=1)

# %% mutant="saliency" why="forgets the absolute value"
# - return slopes.abs().amax(dim=1)
# + return slopes.amax(dim=1)

# %% mutant="saliency" why="slopes of the probability"
# - scores = model(x).gather(1, target[:, None])
# + scores = model(x).softmax(1).gather(1, target[:, None])

# %% mutant="saliency" why="the largest logit in place of the target's"
# - scores = model(x).gather(1, target[:, None])
# + scores = model(x).amax(1)

# %% mutant="saliency" why="leaves gradients in the parameters"
# - (slopes,) = torch.autograd.grad(scores.sum(), x)
# + scores.sum().backward()
# + slopes = x.grad

# %% mutant="saliency" why="the target of the first picture for all"
# - scores = model(x).gather(1, target[:, None])
# + scores = model(x)[:, target[0]]

# %% mutant="saliency" why="the mean over the batch"
# - (slopes,) = torch.autograd.grad(scores.sum(), x)
# + (slopes,) = torch.autograd.grad(scores.mean(), x)

# %% mutant="saliency" why="puts the network into eval mode, and leaves it so"
# - scores = model(x).gather(1, target[:, None])
# + scores = model.eval()(x).gather(1, target[:, None])

# %% mutant="saliency" why="works on x itself"
# - x = x.detach().clone().requires_grad_()
# + x = x.requires_grad_()

# %% mutant="saliency" why="the map of the mean gradient"
# - total = torch.zeros_like(x[:, 0])
# + total = torch.zeros_like(x)
# - total += saliency(model, x + spread * noise, target)
# + noisy = (x + spread * noise).detach().requires_grad_()
# + total += torch.autograd.grad(model(noisy).gather(1, target[:, None]).sum(), noisy)[0]
# - return total / samples
# + return (total / samples).abs().amax(1)

# %% mutant="saliency" why="the range of the whole batch"
# - spread = sigma * (x.amax(dim=axes, keepdim=True) - x.amin(dim=axes, keepdim=True))
# + spread = sigma * (x.max() - x.min())

# %% mutant="saliency" why="noise of sigma, whatever the range"
# - spread = sigma * (x.amax(dim=axes, keepdim=True) - x.amin(dim=axes, keepdim=True))
# + spread = sigma

# %% mutant="saliency" why="clips the noisy pictures"
# - total += saliency(model, x + spread * noise, target)
# + total += saliency(model, (x + spread * noise).clamp(0, 1), target)

# %% mutant="saliency" why="one noise for all pictures of the batch"
# - noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
# + noise = torch.randn(x.shape[1:], generator=generator, dtype=x.dtype).to(x.device)

# %% mutant="saliency" why="uniform noise of the same deviation"
# - noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
# + noise = 12**0.5 * (torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5)

# %% mutant="saliency" why="always the same noise"
# - axes = (1, 2, 3)
# + axes = (1, 2, 3)
# + generator = torch.Generator().manual_seed(0)

# %% mutant="saliency" why="asks about the picture without noise, too"
# - return total / samples
# + return (total + saliency(model, x, target)) / (samples + 1)


# %% alternative="saliency" why="all copies at once; backward to the picture alone"
def saliency(model, x, target):
    leaf = x.detach().clone()
    leaf.requires_grad = True
    model(leaf)[torch.arange(len(leaf)), target].sum().backward(inputs=[leaf])
    return leaf.grad.abs().max(1)[0]


def smooth_grad(model, x, target, samples=16, sigma=0.15, generator=None):
    flat = x.flatten(1)
    spread = sigma * (flat.max(1)[0] - flat.min(1)[0]).repeat_interleave(samples)
    many = x.repeat_interleave(samples, 0)
    noise = torch.randn(many.shape, generator=generator, dtype=x.dtype)
    many = many + spread[:, None, None, None] * noise
    maps = saliency(model, many, target.repeat_interleave(samples))
    return maps.reshape(len(x), samples, *maps.shape[1:]).mean(1)


# %%
few, few_targets = daisies[:3], daisy[:3]  # used to the end of the notebook
columns = {"saliency": saliency(network, few, few_targets)}
for m in (4, 16):
    generator = torch.Generator().manual_seed(0)
    columns[f"SmoothGrad, {m} copies"] = smooth_grad(
        network, few, few_targets, m, generator=generator
    )
columns = {name: maps.cpu().numpy() for name, maps in columns.items()}
week05.rows(shown(few), columns, "More copies, less speckle")
plots.show(
    "Three daisies. The saliency maps are speckled; the more noisy copies are averaged, the more "
    "the bright places come together on the flower."
)

# %% [markdown]
# ## 2. Integrated gradients: pay out the whole difference
# A slope says what a *small* change does. Where the network is sure, nothing small changes its mind, and the gradient is nearly zero just where the evidence is strongest: it **saturates**. Section 8 shows it. Sundararajan et al. (2017) walk from a **baseline** $x'$, a picture without the thing, to $x$ and add up the slopes on the way:
#
# $$\mathrm{IG}_i = (x_i - x'_i) \int_0^1 \frac{\partial f_t}{\partial x_i}\bigl(x' + \alpha (x - x')\bigr)\, d\alpha, \qquad \sum_i \mathrm{IG}_i = f_t(x) - f_t(x').$$
#
# The second equation is **completeness**: the pixels share out the whole difference, no more and no less. Take the integral by the midpoint rule, at $\alpha_k = (k + \tfrac12)/m$ for $k = 0, \dots, m - 1$.
#
# {{task:integrated_gradients}}

# %% [markdown] lang="ru"
# ## 2. Интегрированные градиенты: разделить всю разницу
# Наклон говорит, что сделает *малое* изменение. Если сеть уверена, малым её не переубедить, и градиент почти нулевой как раз там, где доводы сильнее всего: он **насыщается**. Раздел 8 это покажет. Sundararajan et al. (2017) идут к $x$ от **точки отсчёта** (baseline) $x'$ — картинки, на которой предмета нет, — и складывают наклоны по дороге:
#
# $$\mathrm{IG}_i = (x_i - x'_i) \int_0^1 \frac{\partial f_t}{\partial x_i}\bigl(x' + \alpha (x - x')\bigr)\, d\alpha, \qquad \sum_i \mathrm{IG}_i = f_t(x) - f_t(x').$$
#
# Второе равенство — **полнота** (completeness): пиксели делят между собой всю разницу, не больше и не меньше. Интеграл берите по правилу средних точек: $\alpha_k = (k + \tfrac12)/m$, где $k = 0, \dots, m - 1$.
#
# {{task:integrated_gradients}}


# %% solution="integrated_gradients"
def integrated_gradients(
    model: Callable,
    x: torch.Tensor,
    target: torch.Tensor,
    baseline: torch.Tensor | None = None,
    steps: int = 32,
) -> torch.Tensor:
    """What each number of x adds to the target's logit. x: (n, c, h, w) -> the same shape, signed.

    baseline: a tensor of x's dtype that broadcasts to x; None is black, 0 everywhere. steps: m of
    the rule.
    """
    ### BEGIN SOLUTION
    start = torch.zeros_like(x) if baseline is None else baseline
    total = torch.zeros_like(x)
    for k in range(steps):
        between = (start + (k + 0.5) / steps * (x - start)).detach().requires_grad_()
        scores = model(between).gather(1, target[:, None])
        total += torch.autograd.grad(scores.sum(), between)[0]
    return (x - start) * total / steps
    ### END SOLUTION


# %% test="integrated_gradients" points=1 difficulty=2 minutes=15
def squares(x: torch.Tensor) -> torch.Tensor:
    """Two logits: 3 a ** 2 + b, and a * b."""
    a, b = x.flatten(1).T
    return torch.stack([3 * a**2 + b, a * b], dim=1)


picture = torch.tensor([[[[0.7, 0.3]]]])
check.close(
    integrated_gradients(squares, picture.clone(), torch.tensor([0]), steps=3),
    [[[[1.47, 0.3]]]],
    "integrated_gradients of 3 a ** 2 + b, at a = 0.7, b = 0.3",
    why="share out the logit: 3 a ** 2 to a, b to b",
)
check.close(
    integrated_gradients(squares, picture.clone(), torch.tensor([1]), torch.tensor(0.2), steps=5),
    [[[[0.125, 0.045]]]],
    "integrated_gradients of a * b, from the baseline 0.2",
    why="walk from the baseline to x, and add up to f(x) - f(baseline)",
)
### BEGIN HIDDEN TESTS
rng = check.rng("integrated_gradients")


def integral(model, x, target, start, steps):
    """The midpoint rule for each picture alone."""
    made = []
    start = torch.as_tensor(start, dtype=x.dtype).broadcast_to(x.shape)
    for one, zero, t in zip(x, start, target, strict=True):
        slopes = []
        for k in range(steps):
            at = (zero + (k + 0.5) / steps * (one - zero))[None].clone().requires_grad_()
            slopes.append(torch.autograd.grad(model(at)[0, int(t)], at)[0][0])
        made.append((one - zero) * torch.stack(slopes).mean(0))
    return torch.stack(made).detach().numpy()


def judge_ig(model, x, target, why, said="", **options):
    want = integral(model, x, target, options.get("baseline", 0.0), options.get("steps", 32))
    call = f"integrated_gradients(model, x {tuple(x.shape)}, target{said})"
    got = week05.asked(integrated_gradients, model, x, target, call=call, **options)
    check.that(got.dtype == np.float64, f"{call}: have the dtype of x")
    check.close(got, want, call, rtol=1e-7, atol=1e-11, why=why)


model = week05.tiny_network(rng, 3, 4)
one = torch.from_numpy(rng.uniform(0, 1, (1, 3, 7, 8)))
three = torch.from_numpy(rng.uniform(-1, 2, (3, 3, 8, 6)))
target = torch.tensor([2, 0, 3])
judge_ig(model, one, target[:1], "take 32 midpoints from black to x")
judge_ig(model, one, target[:1], "take as many midpoints", ", steps=7", steps=7)
judge_ig(model, one, target[:1], "take the one midpoint", ", steps=1", steps=1)
judge_ig(model, three, target, "treat each picture by itself", ", steps=5", steps=5)
for shape, name in [
    ((), "a number"),
    ((3, 1, 1), "a colour"),
    ((1, 3, 8, 6), "one picture"),
    ((3, 3, 8, 6), "a picture for each"),
]:
    start = torch.from_numpy(rng.uniform(0.2, 1, shape))
    why = "walk from the baseline, broadcast to all pictures"
    said = f", baseline={name}, steps=4"
    judge_ig(model, three, target, why, said, baseline=start, steps=4)
model.requires_grad_(False)
judge_ig(model, one, target[:1], "need no gradients of the parameters", ", steps=2", steps=2)
model.requires_grad_(True)
model.top[1].weight.grad = torch.ones_like(model.top[1].weight)
judge_ig(model, three, target, "not depend on what lies in .grad", ", steps=2", steps=2)
model.features.train()
call = "integrated_gradients(model, x, target) with a part in train mode"
week05.asked(integrated_gradients, model, three, target, call=call, steps=2)
model.eval()
call = "integrated_gradients(model, x, target, baseline=x)"
got = week05.asked(integrated_gradients, model, three, target, call=call, baseline=three)
check.close(got, np.zeros(three.shape), call, why="give nothing to a picture that is the baseline")


def smooth(x):
    """Logits without kinks: completeness holds to the rule's error."""
    flat = x.flatten(1)
    return torch.stack([torch.tanh(flat.sum(1)), (flat**3).sum(1), torch.exp(flat.mean(1))], 1)


call = "integrated_gradients(a smooth network, x, target, baseline, steps=200)"
x, target = torch.from_numpy(rng.uniform(0, 1, (2, 2, 2, 3))), torch.tensor([1, 2])
start = torch.from_numpy(rng.uniform(0, 1, (2, 2, 2, 3)))
got = check.answer(integrated_gradients, smooth, x, target, start, 200, call=call)
change = (smooth(x) - smooth(start))[[0, 1], target]
why = "add up to f(x) - f(baseline)"
check.close(got.sum((1, 2, 3)), change, call, rtol=1e-3, atol=1e-4, why=why)
judge_ig(smooth, x, target, "take 32 midpoints where nothing else is said")
leaf = x.clone().requires_grad_()
integrated_gradients(smooth, leaf, target, steps=2)
check.that(leaf.grad is None, "integrated_gradients(model, x, target): leave x.grad as it was")
got = check.answer(integrated_gradients, smooth, x.float(), target, call=call)
check.that(got.dtype == np.float32, "integrated_gradients(model, x, target): have x's dtype")
### END HIDDEN TESTS

# %% mutant="integrated_gradients" why="forgets the factor x - baseline"
# - return (x - start) * total / steps
# + return total / steps

# %% mutant="integrated_gradients" why="the factor x, whatever the baseline"
# - return (x - start) * total / steps
# + return x * total / steps

# %% mutant="integrated_gradients" why="left ends in place of midpoints"
# - between = (start + (k + 0.5) / steps * (x - start)).detach().requires_grad_()
# + between = (start + k / steps * (x - start)).detach().requires_grad_()

# %% mutant="integrated_gradients" why="right ends in place of midpoints"
# - between = (start + (k + 0.5) / steps * (x - start)).detach().requires_grad_()
# + between = (start + (k + 1) / steps * (x - start)).detach().requires_grad_()

# %% mutant="integrated_gradients" why="scales x and forgets the baseline on the way"
# - between = (start + (k + 0.5) / steps * (x - start)).detach().requires_grad_()
# + between = ((k + 0.5) / steps * x).detach().requires_grad_()

# %% mutant="integrated_gradients" why="the sum in place of the mean"
# - return (x - start) * total / steps
# + return (x - start) * total

# %% mutant="integrated_gradients" why="the mean over the batch"
# - total += torch.autograd.grad(scores.sum(), between)[0]
# + total += torch.autograd.grad(scores.mean(), between)[0]

# %% mutant="integrated_gradients" why="mixes the pictures of the batch"
# - return (x - start) * total / steps
# + return (x - start) * total.mean(0, keepdim=True) / steps

# %% mutant="integrated_gradients" why="absolute values"
# - return (x - start) * total / steps
# + return ((x - start) * total / steps).abs()

# %% mutant="integrated_gradients" why="leaves gradients in the parameters"
# - total += torch.autograd.grad(scores.sum(), between)[0]
# + scores.sum().backward()
# + total += between.grad

# %% mutant="integrated_gradients" why="always float32"
# - return (x - start) * total / steps
# + return ((x - start) * total / steps).float()

# %% mutant="integrated_gradients" why="puts the network into eval mode, and leaves it so"
# - total = torch.zeros_like(x)
# + total = torch.zeros_like(x)
# + if hasattr(model, "eval"):
# +     model.eval()

# %% mutant="integrated_gradients" why="white in place of black"
# - start = torch.zeros_like(x) if baseline is None else baseline
# + start = torch.ones_like(x) if baseline is None else baseline

# %% mutant="integrated_gradients" why="from x to the baseline: the sign is turned"
# - return (x - start) * total / steps
# + return (start - x) * total / steps


# %% alternative="integrated_gradients" why="all points of the path in one batch"
def integrated_gradients(model, x, target, baseline=None, steps=32):
    start = (x.new_zeros(()) if baseline is None else baseline).broadcast_to(x.shape)
    alpha = torch.linspace(0.5 / steps, 1 - 0.5 / steps, steps, dtype=x.dtype, device=x.device)
    path = torch.lerp(start[None], x[None], alpha.view(-1, 1, 1, 1, 1)).detach()
    path.requires_grad_(True)
    rows = model(path.flatten(0, 1)).unflatten(0, (steps, len(x)))
    scores = torch.einsum("snk,nk->", rows, F.one_hot(target, rows.shape[-1]).to(rows))
    (slopes,) = torch.autograd.grad(scores, path)
    return (x - start) * slopes.mean(0)


# %% [markdown]
# How many steps does it take? Completeness answers without knowing the truth: the error is what is missing from the sum. Compare your midpoints with the left and the right ends of the same steps. Both axes are logarithmic, so a straight line is a power of the number of steps.

# %% [markdown] lang="ru"
# Сколько нужно шагов? Полнота отвечает, даже не зная истины: ошибка — то, чего недостаёт в сумме. Сравните свои средние точки с левыми и правыми концами тех же шагов. Обе оси логарифмические: прямая означает степень числа шагов.

# %%
fill = gaussian_blur(daisies, 31, 12.0)  # colours without a flower; used to the end of the notebook


def incompleteness(model, x, start, target, steps: int, shift: float) -> float:
    """The share of f(x) - f(start) that is missing from the sum. shift: moves the midpoints.

    When x and start move together, x - start stays, and so every point of the path moves alike.
    """
    moved = shift / steps * (x - start)
    total = integrated_gradients(model, x + moved, target, start + moved, steps).sum()
    with torch.no_grad():
        change = (model(x) - model(start)).gather(1, target[:, None]).sum()
    return ((total - change) / change).abs().item()


def smooth_example(x: torch.Tensor) -> torch.Tensor:
    """A function without kinks, to compare with."""
    return torch.exp(3 * x.flatten(1).mean(1, keepdim=True))


one = torch.linspace(0.1, 0.9, 9, dtype=torch.float64).reshape(1, 1, 3, 3)
cases = {
    "a smooth function": (smooth_example, one, 0 * one, torch.tensor([0]), [2, 4, 8, 16, 32, 64]),
    "the network": (network, daisies[:1], fill[:1], daisy[:1], [2, 8, 32]),
}
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
for ax, (name, (*case, numbers)) in zip(axes, cases.items(), strict=True):
    drawn = {}
    for rule, shift in {"midpoints": 0.0, "left ends": -0.5, "right ends": 0.5}.items():
        values = [incompleteness(*case, m, shift) for m in numbers]
        drawn[rule] = (numbers, values)
        print(
            f"{name}, {rule}:",
            *(f"{m} steps {v:.2%}" for m, v in zip(numbers, values, strict=True)),
        )
    title = f"What is missing: {name}"
    plots.curves(drawn, title, "steps", "share of the difference", log_x=True, log_y=True, ax=ax)
    ax.minorticks_off()
    ax.set_xticks(numbers, [str(m) for m in numbers])
axes[1].set_ylim(0.01, 1.5)
plots.show(
    "The completeness error against the number of steps. For a smooth function midpoints win, with "
    "twice the slope of the ends; for the network the three rules wander down together."
)

# %% [markdown]
# For a smooth function the midpoints' error falls with the square of the number of steps. A network of ReLUs has thousands of kinks on the way, and no rule helps much: only more steps do. So print the missing share with every such map.

# %% [markdown] lang="ru"
# Для гладкой функции ошибка средних точек падает как квадрат числа шагов. У сети из ReLU на этом пути тысячи изломов, и правило почти не помогает, помогает лишь больше шагов. Поэтому рядом с каждой такой картой печатайте, какой доли недостаёт.

# %% [markdown]
# ## 3. Guided backpropagation: sharp, and why that is no proof
# On its way back a gradient passes ReLU where the *input* was positive. **[Guided backpropagation](glossary:Interpretation-Guided-Backpropagation)** (Springenberg et al., 2015) also drops what is negative in the *gradient itself*, at every ReLU: whatever lowers the score is struck out.
#
# $$\text{ReLU, backward:}\quad g_{\text{in}} = g_{\text{out}} \cdot [x > 0], \qquad \text{guided:}\quad g_{\text{in}} = g_{\text{out}} \cdot [x > 0] \cdot [g_{\text{out}} > 0].$$
#
# You change no layer for that. A **hook** is a function that torch calls when something passes a module; `module.register_full_backward_hook(f)` calls `f(module, grad_input, grad_output)` on the way back and takes what `f` returns (a tuple) in place of `grad_input`. Put one on every `nn.ReLU` and `nn.ReLU6` in the network, and take yours off again **also when the network raises an error**: a forgotten hook falsifies every gradient of the notebook from there on. Hooks of others stay. No activation of the network works in place.
#
# {{task:guided_backprop}}

# %% [markdown] lang="ru"
# ## 3. Guided backpropagation: чётко, и почему это не доказательство
# На обратном пути градиент проходит через ReLU там, где был положителен *вход*. **[Управляемое обратное распространение](glossary:Interpretation-Guided-Backpropagation)** (guided backpropagation; Springenberg et al., 2015) на каждом ReLU отбрасывает ещё и отрицательное в *самом градиенте*: всё, что снижает оценку, вычёркивается.
#
# $$\text{ReLU, обратный проход:}\quad g_{\text{in}} = g_{\text{out}} \cdot [x > 0], \qquad \text{guided:}\quad g_{\text{in}} = g_{\text{out}} \cdot [x > 0] \cdot [g_{\text{out}} > 0].$$
#
# Слои для этого менять не нужно. **Хук** (hook) — функция, которую torch вызывает, когда через модуль что-то проходит; `module.register_full_backward_hook(f)` вызывает на обратном пути `f(module, grad_input, grad_output)` и берёт то, что вернула `f` (кортеж), вместо `grad_input`. Поставьте по хуку на каждый `nn.ReLU` и `nn.ReLU6` сети и снимите свои хуки, **даже если сеть вызвала ошибку**: забытый хук исказит все градиенты в ноутбуке после него. Чужие хуки остаются. Активации сети не работают на месте (`inplace`).
#
# {{task:guided_backprop}}


# %% solution="guided_backprop"
def guided_backprop(model: nn.Module, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The guided gradient of the target's logit. x: (n, c, h, w) -> the same shape, signed.

    Guided at all nn.ReLU and nn.ReLU6 of the model, however deep they lie in it.
    """
    ### BEGIN SOLUTION
    x = x.detach().clone().requires_grad_()
    kinds = (nn.ReLU, nn.ReLU6)
    hooks = [
        part.register_full_backward_hook(lambda _, found, __: (found[0].clamp(min=0),))
        for part in model.modules()
        if isinstance(part, kinds)
    ]
    try:
        scores = model(x).gather(1, target[:, None])
        return torch.autograd.grad(scores.sum(), x)[0]
    finally:
        for hook in hooks:
            hook.remove()
    ### END SOLUTION


# %% test="guided_backprop" points=0.5 difficulty=3 minutes=15
deep = nn.Sequential(nn.Flatten(), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).requires_grad_(
    False
)
deep[1].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0], [-5.0, 0.5]]))
deep[1].bias.zero_()
deep[3].weight.copy_(torch.tensor([[7.0, -1.0, 10.0]]))
picture = torch.tensor([[[[3.0, 1.0]]]])  # the three units see 1, 13 and -14.5
check.close(
    guided_backprop(deep, picture.clone(), torch.tensor([0])),
    [[[[7.0, -14.0]]]],
    "guided_backprop of a network with three hidden units",
    why="let only the first unit pass: the second one's gradient is negative, the third sleeps",
)
leaf = picture.clone().requires_grad_()
deep(leaf).sum().backward()
check.close(
    leaf.grad, [[[[4.0, -18.0]]]], "the ordinary gradient afterwards", why="take your hooks off"
)
### BEGIN HIDDEN TESTS
rng = check.rng("guided_backprop")


class GuidedByHand(torch.autograd.Function):
    """ReLU up to a top, guided on the way back."""

    @staticmethod
    def forward(ctx, x, top):
        ctx.save_for_backward((x > 0) & (x < top))
        return x.clamp(0, top)

    @staticmethod
    def backward(ctx, grad):
        return grad * (grad > 0) * ctx.saved_tensors[0], None


class GuidedPart(nn.Module):
    def __init__(self, top):
        super().__init__()
        self.top = top

    def forward(self, x):
        return GuidedByHand.apply(x, self.top)


def guided_copy(part):
    """The network again, with other ReLUs."""
    if isinstance(part, nn.ReLU | nn.ReLU6):
        return GuidedPart(6.0 if isinstance(part, nn.ReLU6) else torch.inf)
    if isinstance(part, nn.Sequential):
        return nn.Sequential(*(guided_copy(p) for p in part))
    return part


for six, scale, shape, why in [
    (False, 1, (1, 3, 7, 8), "drop negative gradients at every ReLU"),
    (True, 12, (1, 3, 8, 6), "do the same at ReLU6, which is flat above 6, too"),
    (False, 3, (4, 3, 6, 7), "treat each picture by itself, with its own target"),
]:
    model = week05.tiny_network(rng, 3, 4, six)
    x = torch.from_numpy(scale * rng.normal(0.5, 1, shape))
    target = torch.from_numpy(rng.permutation(4)[: len(x)])
    leaf = x.clone().requires_grad_()
    score = guided_copy(model)(leaf).gather(1, target[:, None]).sum()
    (want,) = torch.autograd.grad(score, leaf)
    call = f"guided_backprop(model, x {shape}, target){', with ReLU6' * six}"
    got = week05.asked(guided_backprop, model, x, target, call=call)
    check.that(got.dtype == np.float64, f"{call}: have the dtype of x")
    check.close(got, want, call, rtol=1e-7, atol=1e-11, why=why)
    model.requires_grad_(False)
    frozen = f"{call}, a frozen model"
    got = week05.asked(guided_backprop, model, x, target, call=frozen)
    check.close(got, want, frozen, rtol=1e-7, atol=1e-11, why="need no parameters' gradients")
    model.requires_grad_(True)
    model.features[0].weight.grad = torch.ones_like(model.features[0].weight)
    again = f"{call}, where a parameter has a gradient"
    got = week05.asked(guided_backprop, model, x, target, call=again)
    check.close(got, want, again, rtol=1e-7, atol=1e-11, why="not depend on what lies there")
call = "guided_backprop(model, x, target) with a hook of somebody else"
model.features[1].register_forward_hook(lambda *_: None)
model.top[0].register_full_backward_hook(lambda *_: None)
got = week05.asked(guided_backprop, model, x, target, call=call)
check.close(got, want, call, rtol=1e-7, atol=1e-11, why="not be disturbed by it")
model.features[3].train()
week05.asked(guided_backprop, model, x, target, call="guided_backprop with a part in train mode")
model.eval()


class Breaks(nn.Module):
    def forward(self, x):
        raise ArithmeticError("this layer breaks")


broken = nn.Sequential(*model, Breaks())
before = week05.traces(broken)
call = "guided_backprop(a network that raises an error, x, target)"
check.raises(
    ArithmeticError,
    lambda: guided_backprop(broken, x, target),
    call,
    why="let the network's error through",
)
check.that(week05.traces(broken) == before, f"{call}: take the hooks off")
shared = nn.ReLU()
twice = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), shared, nn.Linear(5, 4), shared)
twice = nn.Sequential(twice, nn.Linear(4, 3)).double()
x, target = torch.from_numpy(rng.normal(size=(2, 1, 2, 3))), torch.tensor([2, 1])
leaf = x.clone().requires_grad_()
score = guided_copy(twice)(leaf).gather(1, target[:, None]).sum()
(want,) = torch.autograd.grad(score, leaf)
call = "guided_backprop(a network that uses one nn.ReLU twice, x, target)"
got = week05.asked(guided_backprop, twice, x, target, call=call)
check.close(got, want, call, rtol=1e-7, atol=1e-11, why="guide at both places")
got = check.answer(guided_backprop, twice.float(), x.float(), target, call="guided_backprop")
check.that(got.dtype == np.float32, "guided_backprop(model, x, target): have the dtype of x")


class Around(nn.Module):
    """A part of a class of its own, with a ReLU or another part inside."""

    def __init__(self, before, act):
        super().__init__()
        self.before, self.act = before, act

    def forward(self, x):
        return x + self.act(self.before(x))


def surrounded(act):
    inner = Around(nn.Conv2d(3, 3, 1), act)
    layers = nn.Conv2d(3, 3, 2), Around(nn.Conv2d(3, 3, 1), inner), nn.Conv2d(3, 4, 2)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()


others = nn.Sequential(nn.Conv2d(3, 4, 2), nn.AvgPool2d(2), nn.Conv2d(4, 5, 1), nn.SiLU())
others = nn.Sequential(others, nn.Conv2d(5, 5, 1), nn.LeakyReLU(0.2), nn.Conv2d(5, 4, 1))
others = nn.Sequential(*others, nn.ReLU(), nn.Flatten(), nn.Linear(24, 6), nn.Linear(6, 4))
own, by_hand = surrounded(nn.ReLU()), surrounded(GuidedPart(torch.inf))
x, target = torch.from_numpy(rng.normal(size=(2, 3, 6, 8))), torch.tensor([3, 1])
for net, made, name, why in [
    (own, by_hand, "parts of classes of its own", "find every ReLU, however deep it lies"),
    (others.double(), None, "pools and other activations", "guide at ReLU and ReLU6, nowhere else"),
]:
    for value in net.parameters():
        value.data = torch.from_numpy(rng.normal(0, 0.5, tuple(value.shape)))
    if made is not None:
        made.load_state_dict(net.state_dict())
    leaf = x.clone().requires_grad_()
    score = (made or guided_copy(net))(leaf).gather(1, target[:, None]).sum()
    (want,) = torch.autograd.grad(score, leaf)
    call = f"guided_backprop(a network with {name}, x, target)"
    got = week05.asked(guided_backprop, net, x, target, call=call)
    check.close(got, want, call, rtol=1e-7, atol=1e-11, why=why)
### END HIDDEN TESTS

# %% mutant="guided_backprop" why="leaves the hooks on"
# - hook.remove()
# + pass

# %% mutant="guided_backprop" why="hooks stay on after an error"
# - try:
# -     scores = model(x).gather(1, target[:, None])
# -     return torch.autograd.grad(scores.sum(), x)[0]
# - finally:
# -     for hook in hooks:
# -         hook.remove()
# + scores = model(x).gather(1, target[:, None])
# + slopes = torch.autograd.grad(scores.sum(), x)[0]
# + for hook in hooks:
# +     hook.remove()
# + return slopes

# %% mutant="guided_backprop" why="masks by the forward pass only: the ordinary gradient"
# - part.register_full_backward_hook(lambda _, found, __: (found[0].clamp(min=0),))
# + part.register_full_backward_hook(lambda _, found, __: None)

# %% mutant="guided_backprop" why="masks by the gradient only (a deconvolutional network)"
# - part.register_full_backward_hook(lambda _, found, __: (found[0].clamp(min=0),))
# + part.register_full_backward_hook(lambda _, __, given: (given[0].clamp(min=0),))

# %% mutant="guided_backprop" why="forgets ReLU6"
# - kinds = (nn.ReLU, nn.ReLU6)
# + kinds = (nn.ReLU,)

# %% mutant="guided_backprop" why="looks at the outermost parts only"
# - for part in model.modules()
# + for part in model.children()

# %% mutant="guided_backprop" why="guides at every activation"
# - kinds = (nn.ReLU, nn.ReLU6)
# + kinds = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU)

# %% mutant="guided_backprop" why="guides at pools, too"
# - kinds = (nn.ReLU, nn.ReLU6)
# + kinds = (nn.ReLU, nn.ReLU6, nn.AvgPool2d)

# %% mutant="guided_backprop" why="looks inside of nn.Sequential only"
# - for part in model.modules()
# + for whole in model.modules()
# + if type(whole) is nn.Sequential
# + for part in whole

# %% mutant="guided_backprop" why="always float32"
# - return torch.autograd.grad(scores.sum(), x)[0]
# + return torch.autograd.grad(scores.sum(), x)[0].float()

# %% mutant="guided_backprop" why="clears the parameters' gradients"
# - return torch.autograd.grad(scores.sum(), x)[0]
# + model.zero_grad()
# + return torch.autograd.grad(scores.sum(), x)[0]

# %% mutant="guided_backprop" why="the absolute value in place of the positive part"
# - part.register_full_backward_hook(lambda _, found, __: (found[0].clamp(min=0),))
# + part.register_full_backward_hook(lambda _, found, __: (found[0].abs(),))

# %% mutant="guided_backprop" why="also cuts the picture's own gradient"
# - return torch.autograd.grad(scores.sum(), x)[0]
# + return torch.autograd.grad(scores.sum(), x)[0].clamp(min=0)

# %% mutant="guided_backprop" why="takes off everybody's hooks"
# - hook.remove()
# + hook.remove()
# + for part in model.modules():
# +     part._backward_hooks.clear()

# %% mutant="guided_backprop" why="leaves gradients in the parameters"
# - return torch.autograd.grad(scores.sum(), x)[0]
# + scores.sum().backward()
# + return x.grad

# %% mutant="guided_backprop" why="the target of the first picture for all"
# - scores = model(x).gather(1, target[:, None])
# + scores = model(x)[:, target[0]]


# %% alternative="guided_backprop" why="hooks on the outputs, by forward hooks"
def guided_backprop(model, x, target):
    def guide(module, inputs, output):
        output.register_hook(lambda gradient: gradient * (gradient > 0))

    handles = []
    for part in model.modules():
        if isinstance(part, (nn.ReLU, nn.ReLU6)):
            handles.append(part.register_forward_hook(guide))
    try:
        leaf = x.detach().clone().requires_grad_()
        picked = model(leaf)[range(len(x)), target]
        (slopes,) = torch.autograd.grad(picked, leaf, torch.ones_like(picked))
    finally:
        for handle in handles:
            handle.remove()
    return slopes


# %% alternative="guided_backprop" why="the hooks on a copy of the network"
def guided_backprop(model, x, target):
    model = copy.deepcopy(model).requires_grad_(False)
    for part in model.modules():
        if isinstance(part, nn.ReLU | nn.ReLU6):
            part.register_full_backward_hook(lambda m, found, given: (F.relu(found[0]),))
    x = x.detach().requires_grad_(True) * 1
    x.retain_grad()
    model(x).gather(1, target[:, None]).sum().backward()
    return x.grad


# %% [markdown]
# Maps like these look as if the network had looked closely. So ask the question of Adebayo et al. (2018): what does the same method draw for a network that knows nothing? Ours has the very same weights, but **shuffled** within each layer.

# %% [markdown] lang="ru"
# По таким картам кажется, что сеть внимательно всматривалась. Зададим вопрос из статьи Adebayo et al. (2018): что тот же метод нарисует для сети, которая ничего не знает? У нашей те же самые веса, только **перемешанные** внутри каждого слоя.

# %%
# Weights, biases, and scales and shifts of the normalisations; their running means stay. `shuffled`
# is used to the end of the notebook.
shuffled, generator = copy.deepcopy(network), torch.Generator().manual_seed(0)
for value in shuffled.parameters():
    order = torch.randperm(value.numel(), generator=generator).to(device)
    value.copy_(value.flatten()[order].view_as(value))
with torch.no_grad():
    says = shuffled(few).softmax(1).max(1)
print("the shuffled network says:", *(f"{names[i]} ({p:.0%})" for p, i in zip(*says, strict=True)))
nets = {"": network, ", shuffled": shuffled}
columns = {f"saliency{which}": saliency(net, few, few_targets) for which, net in nets.items()}
for which, net in nets.items():
    columns[f"guided{which}"] = guided_backprop(net, few, few_targets).abs().amax(1)
columns = {name: maps.cpu().numpy() for name, maps in columns.items()}
week05.rows(shown(few), columns, "The same method asks a network that knows nothing")
plots.show(
    "Three daisies with saliency and guided maps. The maps of the shuffled network are scattered "
    "bright dots; some of its guided ones still gather near the flower."
)

# %% [markdown]
# The shuffled network has no idea what a daisy is, and still its maps are not blank; some of the guided ones even gather near the flower. In plain stacks of convolutions and ReLU, such as VGG, Adebayo et al. found it far worse: guided maps hardly change when the weights become random, since they restore edges of the picture. This week's seminar shows it on our network: if only its upper layers forget, the guided maps do not notice at all, while the gradients change at once. Nor do they depend on the class that you ask about. So it is not enough to look: section 8 measures it.
#
# ## 4. Grad-CAM: where, coarsely, but for this class
# The last feature maps still know *where*, and already know *what*. Grad-CAM (Selvaraju et al., 2017) asks how much each map $A^k$ of a layer counts for class $t$: the **mean** of the logit's gradient over the map's places. Then it adds up the maps by these weights and keeps what speaks *for* the class:
#
# $$\alpha_k = \frac{1}{ab} \sum_{i, j} \frac{\partial f_t}{\partial A^k_{ij}}, \qquad L = \mathrm{ReLU}\Bigl(\sum_k \alpha_k A^k\Bigr).$$
#
# After ReLU $L$ is brought to the picture's size by bilinear interpolation: `F.interpolate(..., mode="bilinear", align_corners=False)`. No further scaling. The layer is given as a module of the network, whose output is $(n, k, a, b)$; no activation works in place. Take your hooks off again, also when the network raises an error.
#
# {{task:grad_cam}}

# %% [markdown] lang="ru"
# Перемешанная сеть не знает, что такое ромашка, но карты у неё не пустые, а некоторые guided-карты даже собираются у цветка. Для простых цепочек из свёрток и ReLU, таких как VGG, в статье Adebayo et al. всё гораздо хуже: guided-карты почти не меняются, когда веса становятся случайными, потому что восстанавливают контуры на картинке. Семинар этой недели показывает это и на нашей сети: если забывают лишь верхние слои, guided-карты вообще этого не замечают, а градиенты меняются сразу. Не зависят они и от того, про какой класс спросить. Значит, мало посмотреть: в разделе 8 мы это измерим.
#
# ## 4. Grad-CAM: грубо, зато где и для какого класса
# Последние карты признаков ещё помнят, *где*, и уже знают, *что*. Grad-CAM (Selvaraju et al., 2017) спрашивает, насколько важна для класса $t$ каждая карта $A^k$ слоя: это **среднее** градиента логита по местам карты. Затем карты складывают с этими весами и оставляют то, что говорит *за* класс:
#
# $$\alpha_k = \frac{1}{ab} \sum_{i, j} \frac{\partial f_t}{\partial A^k_{ij}}, \qquad L = \mathrm{ReLU}\Bigl(\sum_k \alpha_k A^k\Bigr).$$
#
# После ReLU карту $L$ растягивают до размера картинки билинейной интерполяцией: `F.interpolate(..., mode="bilinear", align_corners=False)`. Больше никак не масштабируют. Слой задан модулем сети, его выход имеет форму $(n, k, a, b)$; активации не работают на месте. Снимите свои хуки, даже если сеть вызвала ошибку.
#
# {{task:grad_cam}}


# %% solution="grad_cam"
def grad_cam(
    model: nn.Module, layer: nn.Module, x: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """Where a layer sees evidence for the target. x: (n, c, h, w) -> (n, h, w), nowhere negative.

    layer: a part of the model; the call takes its own hooks off again.
    """
    ### BEGIN SOLUTION
    kept = []
    hook = layer.register_forward_hook(lambda _, __, output: kept.append(output))
    try:
        scores = model(x.detach().clone().requires_grad_()).gather(1, target[:, None])
    finally:
        hook.remove()
    (maps,) = kept
    (slopes,) = torch.autograd.grad(scores.sum(), maps)
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    evidence = F.relu((weights * maps).sum(dim=1, keepdim=True))
    size = x.shape[2:]
    return F.interpolate(evidence, size, mode="bilinear", align_corners=False)[:, 0].detach()
    ### END SOLUTION


# %% test="grad_cam" points=1 difficulty=3 minutes=20
parts = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
parts.requires_grad_(False)
parts[3].weight.copy_(torch.tensor([[6.0, -9.0], [3.0, 12.0]]))
picture = torch.tensor([[[[1.0, 4.0, 2.0]], [[0.5, 3.0, 1.0]]]])
check.close(
    grad_cam(parts, parts[0], picture.clone(), torch.tensor([0])),
    [[[0.5, 0.0, 1.0]]],
    "grad_cam of a network that takes the means of two maps and weighs them by 6 and -9",
    why="be ReLU of the weighted sum of the maps, divided by the number of places",
)
check.close(
    grad_cam(parts, parts[0], picture.clone(), torch.tensor([1])),
    [[[3.0, 16.0, 6.0]]],
    "the same for the other class, with weights 3 and 12",
    why="use the target's own gradients",
)
### BEGIN HIDDEN TESTS
rng = check.rng("grad_cam")


def cam_by_hand(before, after, x, target):
    """Grad-CAM of after(before(x)) for each picture alone, enlarged by numbers of its own."""
    made = []
    for one, t in zip(x, target, strict=True):
        maps = before(one[None]).detach().requires_grad_()
        (slope,) = torch.autograd.grad(after(maps)[0, int(t)], maps)
        ways = slope.sum((2, 3), keepdim=True) / slope[0, 0].numel()
        evidence = (ways * maps.detach()).sum(1).clamp(min=0)[0].numpy()
        made.append(enlarged(enlarged(evidence, x.shape[2]).T, x.shape[3]).T)
    return np.stack(made)


def enlarged(rows, size):
    """Linear interpolation between the rows' centres: (a, b) -> (size, b)."""
    at = np.clip((np.arange(size) + 0.5) * len(rows) / size - 0.5, 0, len(rows) - 1)
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, len(rows) - 1), (at - low)[:, None]
    return (1 - share) * rows[low] + share * rows[high]


for six, shape, why in [
    (False, (1, 3, 9, 7), "weigh the layer's maps by the means of their gradients"),
    (True, (4, 3, 8, 10), "treat each picture by itself, with its own target"),
    (False, (2, 3, 7, 12), "use nothing of a call before"),
]:
    model = week05.tiny_network(rng, 3, 4, six)
    x = torch.from_numpy(rng.normal(0.5, 2, shape))
    target = torch.from_numpy(rng.permutation(4)[: len(x)])
    first, rest = model.features[0], nn.Sequential(*model.features[1:], model.top)
    inner = nn.Sequential(model.features, model.top[0], model.top[1])
    for layer, before, after, name in [
        (model.features, model.features, model.top, "the last layer but a few"),
        (first, first, rest, "the first layer"),
        (model.top[1], inner, nn.Sequential(*model.top[2:]), "a layer inside"),
    ]:
        want = cam_by_hand(before, after, x, target)
        call = f"grad_cam(model, {name}, x {shape}, target)"
        got = week05.asked(grad_cam, model, layer, x, target, call=call)
        check.that(got.dtype == np.float64, f"{call}: have the dtype of x")
        check.close(got, want, call, rtol=1e-7, atol=1e-11, why=why)
    model.requires_grad_(False)
    call = f"grad_cam(a frozen model, a layer inside, x {shape}, target)"
    got = week05.asked(grad_cam, model, layer, x, target, call=call)
    check.close(got, want, call, rtol=1e-7, atol=1e-11, why="need no parameters' gradients")
    model.requires_grad_(True)
model.top[1].weight.grad = torch.ones_like(model.top[1].weight)
layer.register_forward_hook(lambda *_: None)
call = "grad_cam(model, a layer with somebody's hook and gradient, x, target)"
got = week05.asked(grad_cam, model, layer, x, target, call=call)
check.close(got, want, call, rtol=1e-7, atol=1e-11, why="not be disturbed by it")
model.features[3].train()
week05.asked(grad_cam, model, layer, x, target, call="grad_cam with a part in train mode")
model.eval()


class Fails(nn.Module):
    def forward(self, x):
        raise ArithmeticError("this layer fails")


failing = nn.Sequential(*model, Fails())
before = week05.traces(failing)
call = "grad_cam(a network that raises an error, layer, x, target)"
check.raises(
    ArithmeticError,
    lambda: grad_cam(failing, failing[0], x, target),
    call,
    why="let the network's error through",
)
check.that(week05.traces(failing) == before, f"{call}: take the hooks off")


class Shortcut(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


residual = nn.Sequential(Shortcut(nn.Conv2d(3, 3, 1), nn.Tanh()), nn.Conv2d(3, 2, 2), nn.ReLU())
residual = nn.Sequential(*residual, nn.Flatten(), nn.Linear(24, 4)).double()
for value in residual.parameters():
    value.data = torch.from_numpy(rng.normal(size=tuple(value.shape)))
x, target = torch.from_numpy(rng.uniform(0, 1, (2, 3, 4, 5))), torch.tensor([3, 1])
want = cam_by_hand(residual[0], residual[1:], x, target)
call = "grad_cam(a network, its residual block, x, target)"
got = week05.asked(grad_cam, residual, residual[0], x, target, call=call)
check.close(got, want, call, rtol=1e-7, atol=1e-11, why="take what the whole layer gives")


class NoEvidence(nn.Module):
    def forward(self, x):
        return -x.abs().mean((2, 3))


against = nn.Sequential(nn.Identity(), NoEvidence())
call = "grad_cam(a network that nothing speaks for, its first layer, x, target)"
x = torch.from_numpy(rng.uniform(1, 2, (2, 3, 4, 6)))
got = week05.asked(grad_cam, against, against[0], x, torch.tensor([2, 0]), call=call)
check.close(got, np.zeros((2, 4, 6)), call, why="be zero where all speaks against the class")
leaf = x.clone().requires_grad_()
grad_cam(against, against[0], leaf, torch.tensor([2, 0]))
check.that(leaf.grad is None, "grad_cam(model, layer, x, target): leave x.grad as it was")
y = x[:, :, :3, :4].float()
call = "grad_cam(model, layer, float32 pictures, target)"
got = check.answer(grad_cam, parts, parts[0], y[:, :2], torch.tensor([1, 0]), call=call)
check.that(got.dtype == np.float32, f"{call}: have the dtype of x")
### END HIDDEN TESTS

# %% mutant="grad_cam" why="sums of the gradients in place of means"
# - weights = slopes.mean(dim=(2, 3), keepdim=True)
# + weights = slopes.sum(dim=(2, 3), keepdim=True)

# %% mutant="grad_cam" why="no ReLU at the end"
# - evidence = F.relu((weights * maps).sum(dim=1, keepdim=True))
# + evidence = (weights * maps).sum(dim=1, keepdim=True)

# %% mutant="grad_cam" why="ReLU of each map before the sum"
# - evidence = F.relu((weights * maps).sum(dim=1, keepdim=True))
# + evidence = F.relu(weights * maps).sum(dim=1, keepdim=True)

# %% mutant="grad_cam" why="the gradient of each place, not the mean"
# - weights = slopes.mean(dim=(2, 3), keepdim=True)
# + weights = slopes

# %% mutant="grad_cam" why="the mean over the maps in place of the sum"
# - evidence = F.relu((weights * maps).sum(dim=1, keepdim=True))
# + evidence = F.relu((weights * maps).mean(dim=1, keepdim=True))

# %% mutant="grad_cam" why="hooks a part of the layer, not the layer"
# - hook = layer.register_forward_hook(lambda _, __, output: kept.append(output))
# + inner = [p for p in layer.modules()][-1]
# + hook = inner.register_forward_hook(lambda _, __, output: kept.append(output))

# %% mutant="grad_cam" why="the layer's input in place of its output"
# - hook = layer.register_forward_hook(lambda _, __, output: kept.append(output))
# + hook = layer.register_forward_hook(lambda _, given, output: kept.append(given[0]))

# %% mutant="grad_cam" why="leaves the hook on"
# - hook.remove()
# + pass

# %% mutant="grad_cam" why="the hook stays on after an error"
# - try:
# -     scores = model(x.detach().clone().requires_grad_()).gather(1, target[:, None])
# - finally:
# -     hook.remove()
# + scores = model(x.detach().clone().requires_grad_()).gather(1, target[:, None])
# + hook.remove()

# %% mutant="grad_cam" why="always float32"
# - (maps,) = kept
# + maps = kept[0]
# + x = x.float()
# - return F.interpolate(evidence, size, mode="bilinear", align_corners=False)[:, 0].detach()
# + made = F.interpolate(evidence, size, mode="bilinear", align_corners=False)[:, 0].detach()
# + return made.float()

# %% mutant="grad_cam" why="ReLU after the enlarging"
# - evidence = F.relu((weights * maps).sum(dim=1, keepdim=True))
# - size = x.shape[2:]
# - return F.interpolate(evidence, size, mode="bilinear", align_corners=False)[:, 0].detach()
# + evidence = (weights * maps).sum(dim=1, keepdim=True)
# + return F.interpolate(evidence, x.shape[2:], mode="bilinear").relu()[:, 0].detach()

# %% mutant="grad_cam" why="corners aligned"
# - return F.interpolate(evidence, size, mode="bilinear", align_corners=False)[:, 0].detach()
# + return F.interpolate(evidence, size, mode="bilinear", align_corners=True)[:, 0].detach()

# %% mutant="grad_cam" why="nearest place in place of bilinear"
# - return F.interpolate(evidence, size, mode="bilinear", align_corners=False)[:, 0].detach()
# + return F.interpolate(evidence, size)[:, 0].detach()

# %% mutant="grad_cam" why="weights averaged over the batch"
# - weights = slopes.mean(dim=(2, 3), keepdim=True)
# + weights = slopes.mean(dim=(0, 2, 3), keepdim=True)

# %% mutant="grad_cam" why="scales the map to 1"
# - size = x.shape[2:]
# + size, evidence = x.shape[2:], evidence / evidence.amax().clamp(min=1e-12)

# %% mutant="grad_cam" why="slopes of the probability"
# - scores = model(x.detach().clone().requires_grad_()).gather(1, target[:, None])
# + scores = model(x.detach().clone().requires_grad_()).softmax(1).gather(1, target[:, None])


# %% alternative="grad_cam" why="a backward hook on the output, and einsum"
def grad_cam(model, layer, x, target):
    found = {}

    def keep(module, given, output):
        found["maps"] = output.detach()
        output.register_hook(lambda slopes: found.update(slopes=slopes.detach()))

    handle = layer.register_forward_hook(keep)
    leaf = x.detach().clone().requires_grad_(True)
    try:
        rows = model(leaf)
        rows[torch.arange(len(x)), target].sum().backward(inputs=[leaf])
    finally:
        handle.remove()
    weights = found["slopes"].flatten(2).mean(-1)
    cam = torch.einsum("nk,nkab->nab", weights, found["maps"]).clamp(min=0)
    return F.interpolate(cam.unsqueeze(1), tuple(x.shape[-2:]), mode="bilinear").squeeze(1)


# %% [markdown]
# Unlike the maps before, this one tells classes apart. Put a flower and a temple side by side (the network takes pictures of any size) and ask for one, then for the other. In the lower row: the layer matters. Far up the maps are coarse and know the class; far down they are fine and know edges.

# %% [markdown] lang="ru"
# В отличие от прежних карт эта различает классы. Поставьте рядом цветок и храм (сеть принимает картинки любого размера) и спросите сначала про одно, потом про другое. В нижнем ряду видно, что важен и слой: в верхних слоях карты грубые и знают класс, в нижних — мелкие и знают контуры.

# %%
temple = as_tensor(week05.square(load_sample_image("china.jpg"), settings["side"])[None])
both = torch.cat([daisies[1:2], temple], dim=3)
both = F.interpolate(both, scale_factor=2, mode="bilinear", align_corners=False)
with torch.no_grad():
    says = network(both)[0].softmax(0).topk(3)
print(
    "the network says:", *(f"{names[int(i)]} {p:.0%}" for p, i in zip(*says, strict=True)), sep="  "
)
body = network.net
cases = [("daisy", body.act1, "top"), ("bell cote", body.act1, "top")]
cases += [("bell cote", body.blocks[10], "block 10"), ("bell cote", body.blocks[2], "block 2")]
figure, axes = plt.subplots(2, 2, figsize=(10, 5.4))
for ax, (name, layer, where) in zip(axes.flat, cases, strict=True):
    label = torch.tensor([names.index(name)], device=device)
    heat = grad_cam(network, layer, both, label)[0].cpu().numpy()
    week05.overlaid(ax, shown(both)[0], heat, f"{name}: {where}")
plots.show(
    "A daisy and a temple side by side, with Grad-CAM laid over them: for daisy, for bell cote, and "
    "for bell cote in two lower layers, where the maps are finer."
)

# %% [markdown]
# ## 5. Shapley values: the only fair division
# Forget gradients. Cut the picture into patches, the **players**, and cover some of them: a coalition $S$ of uncovered patches reaches the logit $v(S)$. What is a patch worth? That depends on who is there already. Shapley (1953) takes the mean of its contribution over all orders in which the players could arrive:
#
# $$\begin{aligned} \varphi_i &= \sum_{S \not\ni i} \frac{|S|!\,(n - |S| - 1)!}{n!}\,\bigl[v(S \cup \{i\}) - v(S)\bigr] \\ &= \frac1n \sum_{S \not\ni i} \binom{n-1}{|S|}^{-1} \bigl[v(S \cup \{i\}) - v(S)\bigr]. \end{aligned}$$
#
# It is the only division that is **efficient** ($\sum_i \varphi_i = v(\text{all}) - v(\varnothing)$), **symmetric** (equal players get the same), **linear** in $v$, and gives nothing to a **dummy** who never changes anything. The price: $2^n$ coalitions. A game is a function `value`: a boolean array $(m, n)$, a row for each coalition, gives an array of $m$ numbers, floats or whole ones. The array is the game's own: don't change it.
#
# {{task:shapley}}

# %% [markdown] lang="ru"
# ## 5. Вектор Шепли: единственный справедливый делёж
# Забудем о градиентах. Разрежем картинку на квадраты — **игроков** — и часть закроем: коалиция $S$ открытых квадратов даёт логит $v(S)$. Сколько стоит один квадрат? Зависит от того, кто уже пришёл. Игроки могут приходить в разном порядке; Шепли (Shapley, 1953) усредняет вклад игрока по всем порядкам:
#
# $$\begin{aligned} \varphi_i &= \sum_{S \not\ni i} \frac{|S|!\,(n - |S| - 1)!}{n!}\,\bigl[v(S \cup \{i\}) - v(S)\bigr] \\ &= \frac1n \sum_{S \not\ni i} \binom{n-1}{|S|}^{-1} \bigl[v(S \cup \{i\}) - v(S)\bigr]. \end{aligned}$$
#
# Только такой делёж **эффективен** ($\sum_i \varphi_i = v(\text{все}) - v(\varnothing)$), **симметричен** (одинаковым поровну), **линеен** по $v$ и ничего не даёт **болвану** (dummy) — игроку, который никогда ничего не меняет. Цена — $2^n$ коалиций. Игра задана функцией `value`: по булеву массиву $(m, n)$, строка на коалицию, она даёт массив из $m$ чисел, вещественных или целых. Этот массив принадлежит игре: не меняйте его.
#
# {{task:shapley}}

# %%
Game = Callable[[np.ndarray], np.ndarray]


def coalitions(players: int) -> np.ndarray:
    """All coalitions: (2 ** players, players), bool. Player i is in row r where r has the bit i."""
    return (np.arange(2**players)[:, None] >> np.arange(players)) % 2 == 1


print(coalitions(3).astype(int))


# %% solution="shapley"
def shapley(value: Game, players: int) -> np.ndarray:
    """The exact Shapley value of every player, 1 to 12 of them -> (players,), float64.

    value: (m, players) bool -> (m,); it may be asked as often as you like.
    """
    ### BEGIN SOLUTION
    every = coalitions(players)
    worth = np.asarray(value(every), float)
    shares = np.zeros(players)
    for i in range(players):
        without = np.flatnonzero(~every[:, i])
        weight = 1 / (players * comb(players - 1, every[without].sum(axis=1)))
        shares[i] = weight @ (worth[without + 2**i] - worth[without])
    return shares
    ### END SOLUTION


# %% test="shapley" points=1 difficulty=3 minutes=20
def gloves(z: np.ndarray) -> np.ndarray:
    """Player 0 has a left glove, players 1 and 2 have a right one each; a pair is worth 12."""
    return 12 * (z[:, 0] & (z[:, 1] | z[:, 2]))


check.close(
    shapley(gloves, 3),
    [8.0, 2.0, 2.0],
    "shapley of the glove game",
    why="be the mean over all orders",
)
check.close(
    shapley(lambda z: 5 + 3 * z[:, 0] - 7 * z[:, 1], 2),
    [3.0, -7.0],
    "shapley of v = 5 + 3 a - 7 b",
    why="share out v(all) - v(nobody)",
)
### BEGIN HIDDEN TESTS
rng = check.rng("shapley")


def table_game(worth):
    """A game by the list of its values, row r as in `coalitions`."""
    players = int(np.log2(len(worth)))
    return lambda z: worth[np.asarray(z).astype(int) @ 2 ** np.arange(players)]


def orders(worth, players):
    """Shapley values by all orders in which players arrive."""
    from itertools import permutations

    shares, count = np.zeros(players), 0
    for order in permutations(range(players)):
        there = 0
        for i in order:
            shares[i] += worth[there + 2**i] - worth[there]
            there += 2**i
        count += 1
    return shares / count


for players, why in [
    (1, "give all to the only player"),
    (2, "take the mean of both orders"),
    (3, "take the mean over all orders"),
    (5, "take the mean over all orders"),
    (4, "use nothing of a call before"),
]:
    worth = rng.normal(size=2**players)
    call = f"shapley(a random game, {players})"
    got = check.answer(shapley, table_game(worth), players, call=call)
    check.close(got, orders(worth, players), call, rtol=1e-8, atol=1e-10, why=why)
other = rng.normal(size=16)


class Stored:
    """A game that tells only booleans from numbers, and keeps the arrays that it gives."""

    def __init__(self, numbers):
        self.numbers, self.given = numbers, []

    def worth(self, z):
        return np.where(~z[:, 0], 2 + z @ self.numbers, z @ self.numbers**2 - 1)

    def __call__(self, z):
        values = self.worth(z)
        self.given.append((values, values.copy()))
        return values

    def untouched(self):
        return all(np.array_equal(now, then) for now, then in self.given)


stored = Stored(rng.normal(2, 1, 4))
call = "shapley(a game that asks ~z, 4)"
got = check.answer(shapley, stored, 4, call=call)
want = orders(stored.worth(coalitions(4)), 4)
check.close(got, want, call, rtol=1e-8, atol=1e-10, why="ask with boolean arrays")
check.that(stored.untouched(), f"{call}: leave the game's arrays as they were")
call = "shapley(a sum of two games, 4)"
got = check.answer(shapley, table_game(3 * worth - other), 4, call=call)
want = 3 * orders(worth, 4) - orders(other, 4)
check.close(got, want, call, rtol=1e-8, atol=1e-10, why="be linear in the game")
whole = rng.integers(-9, 10, 32)
call = "shapley(a game of whole numbers, 5)"
got = check.answer(shapley, table_game(whole), 5, call=call)
check.close(got, orders(whole, 5), call, rtol=1e-8, atol=1e-10, why="keep fractions of the shares")
call = "shapley(a game of bytes, 3)"
few_bytes = rng.integers(0, 256, 8).astype(np.uint8)
got = check.answer(shapley, table_game(few_bytes), 3, call=call)
want = orders(few_bytes.astype(float), 3)
check.close(got, want, call, rtol=1e-8, atol=1e-10, why="let differences be negative")
call = "shapley(a game with a dummy, 5)"
dummy = rng.normal(size=32).reshape(2, 2, 2, 2, 2)
dummy[:, :, 1] = dummy[:, :, 0]  # the axis of player 2
got = check.answer(shapley, table_game(dummy.ravel()), 5, call=call)
check.close(got[2], 0.0, call, atol=1e-10, why="give nothing to a player who changes nothing")
a, pairs = rng.normal(size=11), np.triu(rng.normal(size=(11, 11)), 1)


def pair_game(z):
    z = np.asarray(z, float)
    return 4.5 + z @ a + np.einsum("mi,ij,mj->m", z, pairs, z)


call = "shapley(a game of single players and pairs, 11)"
got = check.answer(shapley, pair_game, 11, call=call)
want = a + (pairs.sum(0) + pairs.sum(1)) / 2
check.close(got, want, call, rtol=1e-7, atol=1e-9, why="halve what a pair gains")
check.close(got.sum(), a.sum() + pairs.sum(), call, why="add up to v(all) - v(nobody)")
### END HIDDEN TESTS

# %% mutant="shapley" why="the weight of |S| off by one"
# - weight = 1 / (players * comb(players - 1, every[without].sum(axis=1)))
# + weight = 1 / (players * comb(players - 1, every[without + 2**i].sum(axis=1)))

# %% mutant="shapley" why="all coalitions weigh the same (Banzhaf)"
# - weight = 1 / (players * comb(players - 1, every[without].sum(axis=1)))
# + weight = np.full(len(without), 1 / len(without))

# %% mutant="shapley" why="binomials of n in place of n - 1"
# - weight = 1 / (players * comb(players - 1, every[without].sum(axis=1)))
# + weight = 1 / (players * comb(players, every[without].sum(axis=1)))

# %% mutant="shapley" why="the last one to come takes it all"
# - shares[i] = weight @ (worth[without + 2**i] - worth[without])
# + shares[i] = worth[-1] - worth[-1 - 2**i]

# %% mutant="shapley" why="what a player gains alone"
# - shares[i] = weight @ (worth[without + 2**i] - worth[without])
# + shares[i] = worth[2**i] - worth[0]

# %% mutant="shapley" why="nobody is worth nothing"
# - worth = np.asarray(value(every), float)
# + worth = np.asarray(value(every), float)
# + worth[0] = 0

# %% mutant="shapley" why="bytes overflow"
# - worth = np.asarray(value(every), float)
# + worth = np.asarray(value(every))

# %% mutant="shapley" why="asks with whole numbers in place of booleans"
# - worth = np.asarray(value(every), float)
# + worth = np.asarray(value(every.astype(int)), float)

# %% mutant="shapley" why="takes v(nobody) off the game's own array"
# - worth = np.asarray(value(every), float)
# + worth = np.asarray(value(every))
# + if worth.dtype == float:
# +     worth -= worth[0]
# + worth = worth.astype(float)

# %% mutant="shapley" why="whole shares"
# - shares = np.zeros(players)
# + shares = np.zeros(players, np.asarray(value(every)).dtype)

# %% mutant="shapley" why="players in the opposite order"
# - return shares
# + return shares[::-1].copy()

# %% mutant="shapley" why="the sign is turned"
# - shares[i] = weight @ (worth[without + 2**i] - worth[without])
# + shares[i] = weight @ (worth[without] - worth[without + 2**i])


# %% alternative="shapley" why="a loop over sets, one question a coalition"
def shapley(value, players):
    from itertools import combinations
    from math import factorial

    @cache
    def v(inside):
        z = np.zeros((1, players), bool)
        z[0, list(inside)] = True
        return float(value(z)[0])

    n, shares = players, []
    for i in range(n):
        others, share = [j for j in range(n) if j != i], 0.0
        for size in range(n):
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            for s in combinations(others, size):
                share += weight * (v(tuple(sorted((*s, i)))) - v(s))
        shares.append(share)
    return np.array(shares)


# %% [markdown]
# Now the daisy, cut into $3 \times 3$ patches: 512 pictures, once through the network. Covered patches show the blurred photograph. Beside the division among nine: what a patch adds alone, and what is lost without it. There every patch comes first, or every patch last, which no order allows: these two don't add up.

# %% [markdown] lang="ru"
# Теперь ромашка, разрезанная на $3 \times 3$ квадрата: 512 картинок, по разу через сеть. Закрытый квадрат показывает размытую фотографию. Рядом с дележом на девятерых — что квадрат даёт в одиночку и что теряется без него: там каждый игрок берётся первым (или каждый последним), и сумма не сходится.


# %%
def patch_masks(z: np.ndarray, grid: int, size: Sequence[int]) -> torch.Tensor:
    """What coalitions of grid x grid patches uncover: (m, grid ** 2) -> (m, 1, h, w), bool."""
    rows, columns = (torch.arange(n) * grid // n for n in size)
    player = (rows[:, None] * grid + columns).flatten()
    return torch.from_numpy(z)[:, player].reshape(len(z), 1, *size).to(device)


def patch_game(
    model: nn.Module, x: torch.Tensor, cover: torch.Tensor, target: int, grid: int
) -> Game:
    """The game of a picture (3, h, w): the target's logit where a coalition's patches are uncovered."""

    @torch.no_grad()
    def value(z: np.ndarray) -> np.ndarray:
        logits = [
            model(torch.where(mask, x, cover))[:, target]
            for mask in patch_masks(z, grid, x.shape[1:]).split(16)
        ]
        return torch.cat(logits).double().cpu().numpy()

    return value


# %%
@cache
def worth_of_patches() -> np.ndarray:
    """The logit of daisy for all 512 coalitions of the first photograph."""
    return patch_game(network, daisies[0], fill[0], DAISY, grid=3)(coalitions(9))


def known_game(z: np.ndarray) -> np.ndarray:
    """The same game, by looking up what the network has said."""
    return worth_of_patches()[z.astype(int) @ 2 ** np.arange(9)]


worth = worth_of_patches()
divisions = {
    "alone": worth[2 ** np.arange(9)] - worth[0],
    "without it": worth[-1] - worth[-1 - 2 ** np.arange(9)],
    "Shapley": shapley(known_game, 9),
}
figure, axes = plt.subplots(1, 4, figsize=(10.5, 3))
axes[0].imshow(shown(daisies)[0])
axes[0].set_title(f"the difference to share: {worth[-1] - worth[0]:.1f}", fontsize=10)
limit = max(np.abs(d).max() for d in divisions.values())
for ax, (name, d) in zip(axes[1:], divisions.items(), strict=True):
    ax.imshow(d.reshape(3, 3), cmap="RdBu_r", vmin=-limit, vmax=limit)
    for (i, j), number in np.ndenumerate(d.reshape(3, 3)):
        ax.text(
            j,
            i,
            f"{number:.1f}",
            ha="center",
            va="center",
            color="white" if abs(number) > 0.6 * limit else "black",
        )
    ax.set_title(f"{name}: sum {d.sum():.1f}", fontsize=10)
for ax in axes:
    ax.axis("off")
plots.show(
    "A daisy and three divisions of its logit among nine patches, with their sums; only the Shapley "
    "values add up to the difference."
)

# %% [markdown]
# ## 6. KernelSHAP: the same by regression
# Beyond a dozen players $2^n$ is too much. Lundberg & Lee (2017) found that the Shapley values are also the solution of a weighted linear regression: find numbers $\varphi_i$ such that $v(\varnothing) + \sum_{i \in S} \varphi_i$ comes near $v(S)$ for all coalitions but the two ends, with the weights
#
# $$\pi(S) = \frac{n - 1}{\binom{n}{|S|}\,|S|\,(n - |S|)}, \qquad \text{under the constraint}\quad \sum_i \varphi_i = v(\text{all}) - v(\varnothing).$$
#
# At the ends $\pi$ is infinite: this is what the constraint is for. The easiest way to keep it: put $\varphi_n = v(\text{all}) - v(\varnothing) - \sum_{i<n} \varphi_i$ into the regression, and $n - 1$ unknowns remain.
#
# A regression can do with a **sample**. Draw coalitions with probabilities proportional to $\pi(S)$ (a size $s$ from 1 to $n - 1$ in proportion to $1/(s(n-s))$, then one of that size, each equally likely), with replacement, and let each that was drawn weigh the same. Ask `value` about all that you drew, repeated ones too, in one call; about the two ends besides, in other calls, as often as you like. If the sample is too small for one solution, any will do that adds up. For one player there is nothing to draw.
#
# {{task:kernel_shap}}

# %% [markdown] lang="ru"
# ## 6. KernelSHAP: то же самое регрессией
# Когда игроков больше дюжины, $2^n$ — слишком много. Lundberg, Lee (2017) заметили, что вектор Шепли — ещё и решение взвешенной линейной регрессии: найти такие $\varphi_i$, чтобы $v(\varnothing) + \sum_{i \in S} \varphi_i$ было близко к $v(S)$ для всех коалиций, кроме двух крайних, с весами
#
# $$\pi(S) = \frac{n - 1}{\binom{n}{|S|}\,|S|\,(n - |S|)} \qquad \text{и условием}\quad \sum_i \varphi_i = v(\text{все}) - v(\varnothing).$$
#
# На краях $\pi$ бесконечно — для этого и нужно условие. Проще всего его соблюсти, подставив в регрессию $\varphi_n = v(\text{все}) - v(\varnothing) - \sum_{i<n} \varphi_i$: останется $n - 1$ неизвестное.
#
# Регрессии хватит и **выборки**. Тяните коалиции с вероятностями, пропорциональными $\pi(S)$ (сначала размер $s$ от 1 до $n - 1$ пропорционально $1/(s(n-s))$, затем любую коалицию этого размера, все равновероятны), с возвращением; все вытянутые весят одинаково. Спросите `value` обо всех вытянутых, и о повторных тоже, одним вызовом; о двух крайних — отдельными вызовами, сколько угодно раз. Если выборка слишком мала и решений много, годится любое с верной суммой. Если игрок один, тянуть нечего.
#
# {{task:kernel_shap}}


# %% solution="kernel_shap"
def kernel_shap(
    value: Game,
    players: int,
    samples: int | None = None,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Shapley values by weighted regression -> (players,), float64.

    samples: how many coalitions to draw; None takes each of the 2 ** players - 2 once, with its
    weight. rng: where all that is drawn is from; None is a new `np.random.default_rng()`.
    """
    ### BEGIN SOLUTION
    empty, full = np.asarray(value(np.array([[False] * players, [True] * players])), float)
    if players == 1:
        return np.array([full - empty])
    if samples is None:
        z = coalitions(players)[1:-1]
        size = z.sum(axis=1)
        weight = (players - 1) / (comb(players, size) * size * (players - size))
    else:
        rng = np.random.default_rng() if rng is None else rng
        sizes = np.arange(1, players)
        chance = 1 / (sizes * (players - sizes))
        size = rng.choice(sizes, samples, p=chance / chance.sum())
        z = rng.random((samples, players)).argsort(axis=1).argsort(axis=1) < size[:, None]
        weight = np.ones(samples)
    last = z[:, -1].astype(float)
    gained = np.asarray(value(z), float) - empty - last * (full - empty)
    root = np.sqrt(weight)[:, None]
    shares = np.linalg.lstsq(root * (z[:, :-1] - last[:, None]), root[:, 0] * gained, rcond=None)[0]
    return np.append(shares, full - empty - shares.sum())
    ### END SOLUTION


# %% test="kernel_shap" points=1 difficulty=4 minutes=35
def sweets(z: np.ndarray) -> np.ndarray:
    """Three players: 4, 1 and 2 of their own, and 9 more if the first two come together."""
    return 5 + 4 * z[:, 0] + z[:, 1] + 2 * z[:, 2] + 9 * (z[:, 0] & z[:, 1])


check.close(
    kernel_shap(sweets, 3),
    [8.5, 5.5, 2.0],
    "kernel_shap of all coalitions",
    why="be the Shapley values",
)
check.close(
    kernel_shap(sweets, 3, samples=60, rng=np.random.default_rng(1)).sum(),
    16.0,
    "kernel_shap(value, 3, samples=60).sum()",
    why="add up to v(all) - v(nobody), however the sample falls out",
)
### BEGIN HIDDEN TESTS
rng = check.rng("kernel_shap")


def listed_game(worth, asked=None):
    """A game by the list of its values; it notes what it is asked about."""
    players = int(np.log2(len(worth)))

    def value(z):
        z = np.asarray(z)
        if asked is not None:
            asked.append(z.astype(bool))
        return worth[z.astype(int) @ 2 ** np.arange(players)]

    return value


def by_orders(worth, players):
    """Shapley values, coalition by coalition."""
    from math import factorial

    shares = np.zeros(players)
    for r in range(2**players):
        for i in range(players):
            if not r >> i & 1:
                s = r.bit_count()
                weight = factorial(s) * factorial(players - s - 1) / factorial(players)
                shares[i] += weight * (worth[r + 2**i] - worth[r])
    return shares


def least_squares(z, gain, total):
    """Numbers with the sum total whose sums over the rows of z come nearest to gain: by Lagrange."""
    z = z.astype(float)
    n = z.shape[1]
    matrix = np.zeros((n + 1, n + 1))
    matrix[:n, :n] = 2 * z.T @ z
    matrix[:n, n] = matrix[n, :n] = 1
    return np.linalg.solve(matrix, [*(2 * z.T @ gain), total])[:n]


for players, why in [
    (1, "give all to the only player"),
    (2, "be the Shapley values"),
    (3, "be the Shapley values"),
    (5, "be the Shapley values, with the kernel's weights"),
    (6, "use nothing of a call before"),
]:
    worth = 3 + rng.normal(size=2**players)
    call = f"kernel_shap(a random game, {players})"
    got = check.answer(kernel_shap, listed_game(worth), players, call=call)
    check.close(got, by_orders(worth, players), call, rtol=1e-6, atol=1e-8, why=why)
few_bytes = rng.integers(0, 256, 16).astype(np.uint8)
call = "kernel_shap(a game of bytes, 4)"
got = check.answer(kernel_shap, listed_game(few_bytes), 4, call=call)
want = by_orders(few_bytes.astype(float), 4)
check.close(got, want, call, rtol=1e-6, atol=1e-8, why="let differences be negative")
call = "kernel_shap(a game for one, 1, samples=5)"
only = np.array([4.0, 1.5])
got = check.answer(kernel_shap, listed_game(only), 1, call=call, samples=5)
check.close(got, [-2.5], call, why="give all to the only player")
for players, samples in [(4, 70), (6, 90), (2, 9)]:
    worth, asked = 3 + rng.normal(size=2**players), []
    seed = int(rng.integers(10**6))
    call = f"kernel_shap(a random game, {players}, samples={samples}, rng)"
    got = check.answer(
        kernel_shap,
        listed_game(worth, asked),
        players,
        samples,
        np.random.default_rng(seed),
        call=call,
    )
    total = worth[-1] - worth[0]
    check.close(got.sum(), total, call, rtol=1e-8, atol=1e-9, why="add up to v(all) - v(nobody)")
    z = np.concatenate(asked)
    z = z[(z.sum(1) > 0) & (z.sum(1) < players)]
    why = "ask about all that was drawn, without the two ends"
    check.equal(len(z), samples, f"coalitions that {call} asks about", why=why)
    inner = [len(rows) for rows in asked if ((rows.sum(1) > 0) & (rows.sum(1) < players)).any()]
    why = "be one call for all that was drawn, without the two ends"
    check.equal(inner, [samples], f"calls of value by {call}", why=why)
    gain = listed_game(worth)(z) - worth[0]
    why = "be the regression on what was drawn, each with the same weight"
    check.close(got, least_squares(z, gain, total), call, rtol=1e-6, atol=1e-7, why=why)
n, m, asked = 5, 9000, []
worth = rng.normal(size=32)
call = f"kernel_shap(a random game, 5, samples={m}, rng)"
generator = np.random.default_rng(int(rng.integers(10**6)))
check.answer(kernel_shap, listed_game(worth, asked), n, m, generator, call=call)
z = np.concatenate(asked)
z = z[(z.sum(1) > 0) & (z.sum(1) < n)]
count = np.bincount(z.sum(1), minlength=n)[1:n]
chance = np.array([0.3, 0.2, 0.2, 0.3])
room = 7 * np.sqrt(m * chance * (1 - chance))
sentence = "draw the sizes s in proportion to 1 / (s (n - s))"
check.that((abs(count - m * chance) < room).all(), f"{call}: {sentence}")
rows = np.bincount(z @ 2 ** np.arange(n), minlength=32)[1:-1]
chance = (chance / [5, 10, 10, 5])[coalitions(5)[1:-1].sum(1) - 1]
room = 7 * np.sqrt(m * chance * (1 - chance))
check.that((abs(rows - m * chance) < room).all(), f"{call}: draw each of a size equally often")
generator, sizes, mirrored = np.random.default_rng(int(rng.integers(10**6))), [], 0
call = "kernel_shap(a random game, 5, samples=4, rng), 300 times"
for _ in range(300):
    asked = []
    check.answer(kernel_shap, listed_game(worth, asked), 5, 4, generator, call=call)
    z = np.concatenate(asked)
    z = z[(z.sum(1) > 0) & (z.sum(1) < n)]
    sizes.append(np.isin(z.sum(1), (1, 4)).sum())
    mirrored += int((z[1] == ~z[0]).all())
spread = ((np.array(sizes) - 2.4) ** 2).mean()  # the variance of a binomial: 0.96 +- 0.069
check.that(0.47 < spread < 1.45, f"{call}: draw each coalition by itself, whatever came before")
check.that(mirrored < 40, f"{call}: draw each coalition by itself, not in pairs")
for samples in (1, 2, 3):
    call = f"kernel_shap(a random game, 6, samples={samples}).sum()"
    some = 3 + rng.normal(size=64)
    got = check.answer(kernel_shap, listed_game(some), 6, samples, generator, call=call)
    why = "add up to v(all) - v(nobody) from a sample too small, too"
    check.close(got.sum(), some[-1] - some[0], call, rtol=1e-6, atol=1e-8, why=why)


class Stored:
    """A game that tells only booleans from numbers, and keeps the arrays that it gives."""

    def __init__(self, numbers):
        self.numbers, self.given = numbers, []

    def worth(self, z):
        return np.where(~z[:, 0], 2 + z @ self.numbers, z @ self.numbers**2 - 1)

    def __call__(self, z):
        values = self.worth(z)
        self.given.append((values, values.copy()))
        return values

    def untouched(self):
        return all(np.array_equal(now, then) for now, then in self.given)


for options in ({}, {"samples": 12}):
    stored = Stored(rng.normal(2, 1, 4))
    call = f"kernel_shap(a game that asks ~z, 4{', samples=12' * bool(options)})"
    got = check.answer(kernel_shap, stored, 4, call=call, **options)
    total = float(np.diff(stored.worth(np.array([[False] * 4, [True] * 4])))[0])
    why = "ask with boolean arrays"
    check.close(got.sum(), total, call, rtol=1e-7, atol=1e-9, why=why)
    if not options:
        want = by_orders(stored.worth(coalitions(4)), 4)
        check.close(got, want, call, rtol=1e-6, atol=1e-8, why=why)
    check.that(stored.untouched(), f"{call}: leave the game's arrays as they were")
single, call = rng.normal(size=7), "kernel_shap(a game without teamwork, 7, samples=200)"
got = check.answer(kernel_shap, lambda z: np.asarray(z) @ single - 2, 7, 200, call=call)
check.close(got, single, call, rtol=1e-6, atol=1e-8, why="be exact, whatever was drawn")
call = "kernel_shap(value, 5, 40, rng)"
generator = np.random.default_rng(4)
game = listed_game(worth)
draws = [check.answer(kernel_shap, game, 5, 40, generator, call=call) for _ in range(2)]
again = check.answer(kernel_shap, game, 5, 40, np.random.default_rng(4), call=call)
check.close(again, draws[0], f"{call}, rng seeded alike", why="draw from rng alone")
check.that(not np.allclose(*draws), f"{call}, twice: go on with rng")
draws = [check.answer(kernel_shap, game, 5, 40, call=call) for _ in range(2)]
check.that(not np.allclose(*draws), "kernel_shap(value, 5, 40), twice: draw anew")
### END HIDDEN TESTS

# %% mutant="kernel_shap" why="all coalitions weigh the same"
# - weight = (players - 1) / (comb(players, size) * size * (players - size))
# + weight = np.ones(len(z))

# %% mutant="kernel_shap" why="the weight without the binomial"
# - weight = (players - 1) / (comb(players, size) * size * (players - size))
# + weight = (players - 1) / (size * (players - size))

# %% mutant="kernel_shap" why="weights squared: no root"
# - root = np.sqrt(weight)[:, None]
# + root = weight[:, None]

# %% mutant="kernel_shap" why="drawn by the kernel, and weighed by it again"
# - weight = np.ones(samples)
# + weight = 1 / (comb(players, size) * size * (players - size))

# %% mutant="kernel_shap" why="sizes drawn evenly"
# - chance = 1 / (sizes * (players - sizes))
# + chance = 1.0 + 0 * sizes

# %% mutant="kernel_shap" why="sizes drawn with the binomial: the kernel of one coalition"
# - chance = 1 / (sizes * (players - sizes))
# + chance = 1 / (sizes * (players - sizes) * comb(players, sizes))

# %% mutant="kernel_shap" why="ignores the constraint"
# - last = z[:, -1].astype(float)
# - gained = np.asarray(value(z), float) - empty - last * (full - empty)
# - root = np.sqrt(weight)[:, None]
# - shares = np.linalg.lstsq(root * (z[:, :-1] - last[:, None]), root[:, 0] * gained, rcond=None)[0]
# - return np.append(shares, full - empty - shares.sum())
# + gained = np.asarray(value(z), float) - empty
# + root = np.sqrt(weight)[:, None]
# + return np.linalg.lstsq(root * z, root[:, 0] * gained, rcond=None)[0]

# %% mutant="kernel_shap" why="nobody is worth nothing"
# - empty, full = np.asarray(value(np.array([[False] * players, [True] * players])), float)
# + empty, full = np.asarray(value(np.array([[False] * players, [True] * players])), float)
# + empty = 0.0

# %% mutant="kernel_shap" why="asks with whole numbers in place of booleans"
# - gained = np.asarray(value(z), float) - empty - last * (full - empty)
# + gained = np.asarray(value(z.astype(int)), float) - empty - last * (full - empty)

# %% mutant="kernel_shap" why="changes the game's own array"
# - gained = np.asarray(value(z), float) - empty - last * (full - empty)
# + gained = np.asarray(value(z))
# + gained = gained if gained.dtype == float else gained.astype(float)
# + gained -= empty
# + gained = gained - last * (full - empty)

# %% mutant="kernel_shap" why="draws a coalition and its complement in turn"
# - weight = np.ones(samples)
# + z[1::2] = ~z[::2][: len(z[1::2])]
# + weight = np.ones(samples)

# %% mutant="kernel_shap" why="asks about one coalition at a time"
# - gained = np.asarray(value(z), float) - empty - last * (full - empty)
# + answers = [float(value(row[None])[0]) for row in z]
# + gained = np.array(answers) - empty - last * (full - empty)

# %% mutant="kernel_shap" why="always the same sample"
# - rng = np.random.default_rng() if rng is None else rng
# + rng = np.random.default_rng(0)

# %% mutant="kernel_shap" why="the last player keeps what is left of v(all)"
# - return np.append(shares, full - empty - shares.sum())
# + return np.append(shares, full - shares.sum())

# %% mutant="kernel_shap" why="the same coalition of each size: the first players"
# - z = rng.random((samples, players)).argsort(axis=1).argsort(axis=1) < size[:, None]
# + z = np.arange(players) < size[:, None]

# %% mutant="kernel_shap" why="the sign is turned"
# - return np.append(shares, full - empty - shares.sum())
# + return -np.append(shares, full - empty - shares.sum())


# %% alternative="kernel_shap" why="the constraint by a Lagrange multiplier"
def kernel_shap(value, players, samples=None, rng=None):
    empty = float(value(np.zeros((1, players), dtype=bool))[0])
    full = float(value(np.ones((1, players), dtype=bool))[0])
    if players == 1:
        return np.array([full - empty])
    if samples is None:
        z = np.array([row for row in coalitions(players) if 0 < row.sum() < players])
        w = np.array([1 / (comb(players, s) * s * (players - s)) for s in z.sum(1)])
    else:
        rng = rng or np.random.default_rng()
        p = np.array([1 / (s * (players - s)) for s in range(1, players)])
        z = np.zeros((samples, players), dtype=bool)
        for row in z:
            s = 1 + rng.choice(players - 1, p=p / p.sum())
            row[rng.choice(players, size=s, replace=False)] = True
        w = np.ones(samples)
    y = np.asarray(value(z), dtype=float) - empty
    a = np.block([[z.T @ (w[:, None] * z), np.ones((players, 1))], [np.ones((1, players)), 0]])
    return np.linalg.lstsq(a, np.append(z.T @ (w * y), full - empty), rcond=None)[0][:players]


# %% [markdown]
# All 510 coalitions give the exact values. How much worse is a sample? An average of $m$ draws errs by about $m^{-1/2}$: on logarithmic axes a line with the slope $-\tfrac12$. The game is the daisy's, looked up in what the network has said already.

# %% [markdown] lang="ru"
# Все 510 коалиций дают точный ответ. Насколько хуже выборка? Среднее по $m$ наблюдениям имеет ошибку порядка $m^{-1/2}$: в логарифмических осях это прямая с наклоном $-\tfrac12$. Игра — та же ромашка; ответы сети уже записаны.

# %%
exact = shapley(known_game, 9)
print(f"all coalitions: largest difference {np.abs(kernel_shap(known_game, 9) - exact).max():.1e}")
numbers, rng = np.array([32, 64, 128, 256, 512, 1024, 2048, 4096]), np.random.default_rng(0)
errors = [
    np.sqrt(np.mean([(kernel_shap(known_game, 9, int(m), rng) - exact) ** 2 for _ in range(40)]))
    for m in numbers
]
slope, level = np.polyfit(np.log(numbers), np.log(errors), 1)
ax = plots.curves(
    {
        "KernelSHAP, 40 repeats": (numbers, errors),
        f"fitted, slope {slope:.2f}": (numbers, np.exp(level) * numbers**slope),
    },
    "Nine patches: the error of sampled Shapley values",
    "coalitions drawn",
    "root mean squared error",
    log_x=True,
    log_y=True,
)
ax.lines[0].set(marker="o", linestyle="none")
ax.lines[1].set(linestyle="--")
ax.legend(frameon=False)
print(
    f"error {errors[0]:.2f} after {numbers[0]}, {errors[-1]:.3f} after {numbers[-1]}: slope {slope:.2f}"
)
plots.show("The error of KernelSHAP against the number of coalitions falls along a straight line.")

# %% [markdown]
# ## 7. The same gradient as a weapon
# The gradient with respect to the picture shows how to change the answer. Whoever follows it makes an **[adversarial attack](glossary:Adversarial-Attack)**: a change that no eye notices, and another answer. The attacker may move each number of the picture by at most $\epsilon$, and pixels stay from 0 to 1. With $\ell$ the cross-entropy of the class $y$ (finite however far apart the logits are), FGSM (Goodfellow et al., 2014) takes one step of full length:
#
# $$x' = \mathrm{clip}_{[0, 1]}\bigl(x + \epsilon\,\mathrm{sign}\,\nabla_x\,\ell(f(x), y)\bigr).$$
#
# PGD (Madry et al., 2018) takes many small ones, and after each projects onto what is allowed: the box of radius $\epsilon$ around the **original** $x$, and $[0, 1]$:
#
# $$x_{j+1} = \mathrm{clip}_{[0,1]}\bigl(\mathrm{clip}_{[x - \epsilon,\; x + \epsilon]}(x_j + a\,\mathrm{sign}\,\nabla\ell(f(x_j), y))\bigr).$$
#
# It starts at $x$; with a generator, at a uniformly random point of the box, clipped to $[0, 1]$. The step $a$ is $2.5\,\epsilon / \text{steps}$ unless it is given. **Targeted** means that $y$ is the class that the attacker *wants*: go down the loss, not up. The sign of 0 is 0.
#
# {{task:attacks}}

# %% [markdown] lang="ru"
# ## 7. Тот же градиент как оружие
# Градиент по картинке показывает, как изменить ответ. Кто пойдёт по нему, устроит **[состязательную атаку](glossary:Adversarial-Attack)** (adversarial attack): изменение глазу не заметно, а ответ другой. Каждое число картинки атакующий может сдвинуть не больше чем на $\epsilon$, и пиксели остаются от 0 до 1. Пусть $\ell$ — кросс-энтропия класса $y$ (конечная, как бы далеко ни разошлись логиты). FGSM (Goodfellow et al., 2014) делает один шаг полной длины:
#
# $$x' = \mathrm{clip}_{[0, 1]}\bigl(x + \epsilon\,\mathrm{sign}\,\nabla_x\,\ell(f(x), y)\bigr).$$
#
# PGD (Madry et al., 2018) делает много мелких шагов и после каждого проецирует на разрешённое множество: куб радиуса $\epsilon$ вокруг **исходного** $x$ и отрезок $[0, 1]$:
#
# $$x_{j+1} = \mathrm{clip}_{[0,1]}\bigl(\mathrm{clip}_{[x - \epsilon,\; x + \epsilon]}(x_j + a\,\mathrm{sign}\,\nabla\ell(f(x_j), y))\bigr).$$
#
# Начало — в $x$, а если дан генератор, то в случайной точке куба (равномерно), обрезанной до $[0, 1]$. Шаг $a$ равен $2.5\,\epsilon / \text{steps}$, если не задан. **Целевая** атака (targeted): $y$ — класс, которого атакующий *хочет* добиться, поэтому по функции потерь идут вниз, а не вверх. Знак нуля — нуль.
#
# {{task:attacks}}


# %% solution="attacks"
def fgsm(
    model: Callable, x: torch.Tensor, y: torch.Tensor, eps: float, targeted: bool = False
) -> torch.Tensor:
    """One step of length eps up the loss of y, or down if targeted. (n, c, h, w) -> the same."""
    ### BEGIN SOLUTION
    leaf = x.detach().clone().requires_grad_()
    loss = F.cross_entropy(model(leaf), y, reduction="sum")
    (slopes,) = torch.autograd.grad(loss, leaf)
    direction = -slopes.sign() if targeted else slopes.sign()
    return (x + eps * direction).clamp(0, 1)
    ### END SOLUTION


def pgd(
    model: Callable,
    x: torch.Tensor,
    y: torch.Tensor,
    eps: float,
    step: float | None = None,
    steps: int = 10,
    targeted: bool = False,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Steps along the sign of the gradient, each projected. (n, c, h, w) -> the same.

    step: None is 2.5 * eps / steps. generator: for the random start, on the CPU wherever the
    pictures are; None starts at x.
    """
    ### BEGIN SOLUTION
    step = 2.5 * eps / steps if step is None else step
    moved = x.detach().clone()
    if generator is not None:
        noise = torch.rand(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        moved = (x + eps * (2 * noise - 1)).clamp(0, 1)
    for _ in range(steps):
        leaf = moved.detach().requires_grad_()
        loss = F.cross_entropy(model(leaf), y, reduction="sum")
        (slopes,) = torch.autograd.grad(loss, leaf)
        direction = -slopes.sign() if targeted else slopes.sign()
        moved = moved + step * direction
        moved = torch.minimum(torch.maximum(moved, x - eps), x + eps).clamp(0, 1)
    return moved
    ### END SOLUTION


# %% test="attacks" points=1 difficulty=3 minutes=25
pixels = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False)).requires_grad_(False)
pixels[1].weight.copy_(torch.tensor([[1.0, -2.0, 0.0], [3.0, -5.0, 0.0]]))
picture = torch.tensor([[[[0.5, 0.05, 0.7]]]])
check.close(
    fgsm(pixels, picture.clone(), torch.tensor([0]), 0.1),
    [[[[0.6, 0.0, 0.7]]]],
    "fgsm(a linear network, x, class 0, eps=0.1)",
    why="step eps towards class 1, stay above 0, and leave alone what does not matter",
)
check.close(
    pgd(pixels, picture.clone(), torch.tensor([1]), 0.1, step=0.04, steps=3),
    [[[[0.4, 0.15, 0.7]]]],
    "pgd(a linear network, x, class 1, eps=0.1, step=0.04, steps=3)",
    why="take three steps and go no further than eps from x",
)
### BEGIN HIDDEN TESTS
rng = check.rng("attacks")


def loss_signs(model, x, y):
    """The signs of the loss's slopes, for each picture alone."""
    signs = []
    for one, label in zip(x, y, strict=True):
        leaf = one[None].clone().requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(model(leaf), label[None]), leaf)
        signs.append(slope[0].sign())
    return torch.stack(signs)


def attacked_by_hand(model, x, y, eps, step, steps, way=1.0, start=None):
    moved = x if start is None else torch.as_tensor(start)
    for _ in range(steps):
        moved = moved + way * step * loss_signs(model, moved, y)
        moved = x + (moved - x).clamp(-eps, eps)
        moved = moved.clamp(0, 1)
    return moved


def judge_attack(name, model, x, y, eps, length, count, why, said="", way=1.0, **options):
    want = attacked_by_hand(model, x, y, eps, length, count, way)
    call = f"{name}(model, x {tuple(x.shape)}, y, {eps}{said})"
    if name == "fgsm":
        got = week05.asked(fgsm, model, x, y, eps, call=call, **options)
    else:
        got = week05.asked(pgd, model, x, y, eps, call=call, **options)
    check.that(got.dtype == np.float64, f"{call}: have the dtype of x")
    check.that(got.min() >= 0 and got.max() <= 1, f"{call}: stay from 0 to 1")
    check.close(got, want, call, rtol=1e-7, atol=1e-9, why=why)


for six, shape in [(False, (1, 3, 7, 9)), (True, (4, 3, 8, 6)), (False, (2, 3, 6, 7))]:
    model = week05.tiny_network(rng, 3, 4, six)
    x = torch.from_numpy(rng.uniform(0.05, 0.95, shape))
    x[0, 0, 0, :3], x[-1, 2, 1, :3] = 0.0, 1.0
    y = torch.from_numpy(rng.permutation(4)[: len(x)])
    why = "go up the loss of each picture by eps, and stay from 0 to 1"
    judge_attack("fgsm", model, x, y, 0.03, 0.03, 1, why)
    judge_attack("fgsm", model, x, y, 0.4, 0.4, 1, "stay from 0 to 1 with a large eps, too")
    why = "go down the loss of the class that is wanted"
    judge_attack("fgsm", model, x, y, 0.03, 0.03, 1, why, ", targeted=True", -1.0, targeted=True)
    why = "take 10 steps of a quarter of eps where nothing else is said"
    judge_attack("pgd", model, x, y, 0.04, 0.01, 10, why)
    why = "take steps of 2.5 * eps / steps where no step is given"
    judge_attack("pgd", model, x, y, 0.04, 0.02, 5, why, ", steps=5", steps=5)
    why = "project onto the box around the original x"
    said = ", step=0.05, steps=4"
    judge_attack("pgd", model, x, y, 0.08, 0.05, 4, why, said, step=0.05, steps=4)
    why = "go down the loss of the class that is wanted"
    said = ", steps=3, targeted=True"
    options = {"steps": 3, "targeted": True}
    judge_attack("pgd", model, x, y, 0.06, 0.05, 3, why, said, -1.0, **options)
judge_attack("pgd", model, x, y, 0.1, 0.0, 3, "stay at x", ", step=0.0, steps=3", step=0.0, steps=3)
model.requires_grad_(False)
judge_attack("fgsm", model, x, y, 0.03, 0.03, 1, "need no parameters' gradients")
judge_attack("pgd", model, x, y, 0.04, 0.01, 10, "need no parameters' gradients")
model.requires_grad_(True)
model.top[1].weight.grad = torch.ones_like(model.top[1].weight)
judge_attack("fgsm", model, x, y, 0.03, 0.03, 1, "not depend on what lies in .grad")
judge_attack("pgd", model, x, y, 0.04, 0.01, 10, "not depend on what lies in .grad")
model.features[3].train()
week05.asked(fgsm, model, x, y, 0.1, call="fgsm with a part in train mode")
week05.asked(pgd, model, x, y, 0.1, call="pgd with a part in train mode")
model.eval()

x = torch.from_numpy(rng.uniform(0.3, 0.7, (2, 3, 20, 31)))
x[:, :, 0], x[:, :, 1] = 0.05, 0.95
watched = copy.deepcopy(model)
seen = week05.watch(watched)
call = "pgd(model, x, y, 0.2, steps=3, generator=g)"
generator = torch.Generator().manual_seed(int(rng.integers(10**6)))
got = week05.asked(pgd, watched, x, y, 0.2, call=call, steps=3, generator=generator)
check.that(len(seen) > 0, f"{call}: call model(x)")
start = seen[0]
inside = (np.abs(start - x.numpy()) <= 0.2 + 1e-9).all() and start.min() >= 0 and start.max() <= 1
check.that(bool(inside), f"{call}: start in the box, from 0 to 1")
noise = (start - x.numpy())[:, :, 2:].ravel() / 0.2
room = 7 / np.sqrt(noise.size)
check.that(abs(noise.mean()) < room, f"{call}: start to both sides of x alike")
check.that(
    abs((noise**2).mean() - 1 / 3) < room * 0.3 and abs((noise**4).mean() - 0.2) < room * 0.27,
    f"{call}: start anywhere in the box, each point equally likely",
)
first, second = (start - x.numpy())[:, :, 2:].reshape(2, -1) / 0.2
check.that(abs((first * second).mean()) < room, f"{call}: start at another place for each picture")
want = attacked_by_hand(model, x, y, 0.2, 2.5 * 0.2 / 3, 3, start=start)
why = "go on from the start, and project onto the box around x"
check.close(got, want, call, rtol=1e-7, atol=1e-9, why=why)
state = torch.get_rng_state()
generator = torch.Generator().manual_seed(8)
call = "pgd(model, x, y, 0.2, step=0.0, steps=1, generator=g)"
options = {"step": 0.0, "steps": 1, "generator": generator}
draws = [check.answer(pgd, model, x, y, 0.2, call=call, **options) for _ in range(2)]
generator.manual_seed(8)
again = check.answer(pgd, model, x, y, 0.2, call=call, **options)
check.close(again, draws[0], f"{call}, g seeded alike", why="draw from the generator")
check.that(not np.allclose(*draws), f"{call}, twice: go on with the generator")
same = bool((torch.get_rng_state() == state).all())
check.that(same, f"{call}: leave torch's own generator alone")
call = "pgd(model, x, y, 0.2, step=0.0, steps=1, targeted=True, generator=g)"
got = check.answer(pgd, model, x, y, 0.2, call=call, targeted=True, **options)
check.that(not np.allclose(got, x.numpy()), f"{call}: start at a random point, too")
far = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double()
far[1].weight.data = torch.from_numpy(rng.normal(size=(3, 12)))
far[1].bias.data = torch.tensor([9000.0, 3000.0, 0.0], dtype=torch.float64)
z = torch.from_numpy(rng.uniform(0.3, 0.7, (2, 1, 3, 4)))
for name, label in [("fgsm", 2), ("pgd", 1)]:
    wrong = torch.full((2,), label)
    want = z + 0.1 * (far[1].weight[0] - far[1].weight[label]).detach().sign().view(1, 1, 3, 4)
    call = f"{name}(a network whose logits are thousands apart, x, y, 0.1)"
    got = check.answer(fgsm if name == "fgsm" else pgd, far, z, wrong, 0.1, call=call)
    check.close(got, want, call, rtol=1e-7, atol=1e-9, why="have a loss and slopes there, too")
leaf = x.clone().requires_grad_()
fgsm(model, leaf, y, 0.1)
check.that(leaf.grad is None, "fgsm(model, x, y, eps): leave x.grad as it was")
pgd(model, leaf, y, 0.1)
check.that(leaf.grad is None, "pgd(model, x, y, eps): leave x.grad as it was")
single = model.float()
got = check.answer(fgsm, single, x.float(), y, 0.1, call="fgsm(model, float32 pictures)")
check.that(got.dtype == np.float32, "fgsm(model, x, y, eps): have the dtype of x")
got = check.answer(pgd, single, x.float(), y, 0.1, call="pgd(model, float32 pictures)")
check.that(got.dtype == np.float32, "pgd(model, x, y, eps): have the dtype of x")
### END HIDDEN TESTS

# %% mutant="attacks" why="fgsm leaves the range of pixels"
# - return (x + eps * direction).clamp(0, 1)
# + return x + eps * direction

# %% mutant="attacks" why="fgsm follows the gradient, not its sign"
# - loss = F.cross_entropy(model(leaf), y, reduction="sum")
# - (slopes,) = torch.autograd.grad(loss, leaf)
# - direction = -slopes.sign() if targeted else slopes.sign()
# - return (x + eps * direction).clamp(0, 1)
# + loss = F.cross_entropy(model(leaf), y, reduction="sum")
# + (slopes,) = torch.autograd.grad(loss, leaf)
# + return (x + (-eps if targeted else eps) * slopes).clamp(0, 1)

# %% mutant="attacks" why="fgsm forgets that an attack may be targeted"
# - direction = -slopes.sign() if targeted else slopes.sign()
# - return (x + eps * direction).clamp(0, 1)
# + return (x + eps * slopes.sign()).clamp(0, 1)

# %% mutant="attacks" why="pgd forgets that an attack may be targeted"
# - moved = moved + step * direction
# + moved = moved + step * slopes.sign()

# %% mutant="attacks" why="pgd does not project onto the box"
# - moved = torch.minimum(torch.maximum(moved, x - eps), x + eps).clamp(0, 1)
# + moved = moved.clamp(0, 1)

# %% mutant="attacks" why="pgd projects around the point before"
# - moved = moved + step * direction
# - moved = torch.minimum(torch.maximum(moved, x - eps), x + eps).clamp(0, 1)
# + before = moved
# + moved = moved + step * direction
# + moved = torch.minimum(torch.maximum(moved, before - eps), before + eps).clamp(0, 1)

# %% mutant="attacks" why="pgd leaves the range of pixels"
# - moved = torch.minimum(torch.maximum(moved, x - eps), x + eps).clamp(0, 1)
# + moved = torch.minimum(torch.maximum(moved, x - eps), x + eps)

# %% mutant="attacks" why="pgd projects at the end only"
# - moved = torch.minimum(torch.maximum(moved, x - eps), x + eps).clamp(0, 1)
# + moved = moved.clamp(0, 1)
# - return moved
# + return torch.minimum(torch.maximum(moved, x - eps), x + eps).clamp(0, 1)

# %% mutant="attacks" why="pgd ignores the generator"
# - if generator is not None:
# + if False:

# %% mutant="attacks" why="starts at corners of half the box"
# - moved = (x + eps * (2 * noise - 1)).clamp(0, 1)
# + moved = (x + eps * noise).clamp(0, 1)

# %% mutant="attacks" why="projects onto the box around the random start"
# - for _ in range(steps):
# + x = moved
# + for _ in range(steps):

# %% mutant="attacks" why="a targeted attack starts at x, generator or not"
# - if generator is not None:
# + if generator is not None and not targeted:

# %% mutant="attacks" why="the logarithm of a softmax that is 0"
# - loss = F.cross_entropy(model(leaf), y, reduction="sum")
# - (slopes,) = torch.autograd.grad(loss, leaf)
# - direction = -slopes.sign() if targeted else slopes.sign()
# - return (x + eps * direction).clamp(0, 1)
# + loss = -model(leaf).softmax(1).log().gather(1, y[:, None]).sum()
# + (slopes,) = torch.autograd.grad(loss, leaf)
# + direction = -slopes.sign() if targeted else slopes.sign()
# + return (x + eps * direction).clamp(0, 1)

# %% mutant="attacks" why="always float32"
# - return moved
# + return moved.float()

# %% mutant="attacks" why="a step of 0 is taken for none"
# - step = 2.5 * eps / steps if step is None else step
# + step = step or 2.5 * eps / steps

# %% mutant="attacks" why="the step is eps / steps"
# - step = 2.5 * eps / steps if step is None else step
# + step = eps / steps if step is None else step

# %% mutant="attacks" why="the gradient at x again and again"
# - leaf = moved.detach().requires_grad_()
# + leaf = x.detach().clone().requires_grad_()


# %% alternative="attacks" why="log-softmax and einsum; np.clip's way of projecting the change"
def fgsm(model, x, y, eps, targeted=False):
    return pgd(model, x, y, eps, step=eps, steps=1, targeted=targeted)


def pgd(model, x, y, eps, step=None, steps=10, targeted=False, generator=None):
    if step is None:
        step = eps * 2.5 / steps
    delta = torch.zeros_like(x)
    if generator is not None:
        delta.uniform_(-eps, eps, generator=generator)
        delta = (x + delta).clamp(0, 1) - x
    sign = 1 if targeted else -1
    for _ in range(steps):
        here = (x + delta).detach().requires_grad_(True)
        chance = F.log_softmax(model(here), dim=1)[torch.arange(len(y)), y]
        slopes = torch.autograd.grad(sign * chance, here, torch.ones_like(chance))[0]
        delta = torch.clamp(delta + step * torch.sign(slopes), -eps, eps)
        delta = torch.clamp(x + delta, 0, 1) - x
    return (x + delta).detach()


# %%
eps = 2 / 255
wanted = names.index("strawberry")
generator = torch.Generator().manual_seed(0)
bad = pgd(
    network,
    few[:1],
    torch.tensor([wanted], device=device),
    eps,
    steps=20,
    targeted=True,
    generator=generator,
)
with torch.no_grad():
    before, after = network(few[:1]).softmax(1)[0], network(bad).softmax(1)[0]
maps = [saliency(network, x, few_targets[:1])[0].cpu().numpy() for x in (few[:1], bad)]
figure, axes = plt.subplots(1, 5, figsize=(11, 2.8))
pictures = [
    (shown(few)[0], f"{names[int(before.argmax())]} {before.max():.1%}"),
    (0.5 + shown(bad - few[:1])[0] / (2 * eps), "the change, enlarged"),
    (shown(bad)[0], f"{names[int(after.argmax())]} {after.max():.1%}"),
]
for ax, (picture, title) in zip(axes, pictures, strict=False):
    ax.imshow(np.clip(picture, 0, 1))
    ax.set_title(title, fontsize=10)
for ax, heat, title in zip(axes[3:], maps, ["saliency before", "saliency after"], strict=True):
    ax.imshow(week05.scaled(heat), cmap="magma")
    ax.set_title(title, fontsize=10)
for ax in axes:
    ax.axis("off")
plots.show(
    "A daisy; a change that is noise to the eye; the sum of both, which looks the same and is "
    "taken for a strawberry; and the saliency maps for daisy before and after."
)

# %% [markdown]
# No number of the picture moved by more than 2 of 255. How much is needed? One step against several, on daisies that were right before:

# %% [markdown] lang="ru"
# Ни одно число картинки не сдвинулось больше чем на 2 из 255. А сколько нужно? Один шаг против нескольких — на ромашках, которые сеть узнавала:

# %%
sizes = np.array([0.25, 0.5, 1.0, 2.0])
right = as_tensor(flowers.x_train[flowers.y_train == 0][: 2 * settings["attacked"]])
with torch.no_grad():
    right = right[network(right).argmax(1) == DAISY][: settings["attacked"]]
labels = torch.full((len(right),), DAISY, device=device)
survived: dict[str, list[float]] = {"FGSM": [], "PGD, 5 steps": []}
for size in sizes:
    for name, attack in {"FGSM": fgsm, "PGD, 5 steps": partial(pgd, steps=5)}.items():
        moved = attack(network, right, labels, float(size) / 255)
        with torch.no_grad():
            survived[name].append((network(moved).argmax(1) == DAISY).float().mean().item())
drawn = {name: ([0, *sizes], [1, *values]) for name, values in survived.items()}
ax = plots.curves(
    drawn, "How much change a daisy survives", "eps, in steps of 1/255", "still right"
)
ax.set_ylim(-0.03, 1.05)
for name, values in survived.items():
    print(name, *(f"{s:g}/255: {v:.0%}" for s, v in zip(sizes, values, strict=True)), sep="   ")
plots.show("Accuracy falls with the size of the change, faster for PGD than for one step of FGSM.")

# %% [markdown]
# ## 8. How to be wrong about a network
# A map always looks like an explanation. Three ways to be fooled; the first two are in the next figure, the third in the table further down:
#
# 1. **Saturation.** Walk from the blurred photograph to the sharp one. The probability rises steeply on the way and then stays; where you stand at the end, its slope is nearly 0. "The gradient is small here" does not mean "this does not matter".
# 2. **Baselines.** What equals the baseline gets nothing, by the factor $x - x'$. Before a white baseline white petals cannot count, however much the network needs them.
# 3. **A map that looks right.** A glow in the middle of a photograph is always plausible, also when a shuffled network drew it. Whether a map depends on the network at all has to be measured.

# %% [markdown] lang="ru"
# ## 8. Как обмануться насчёт сети
# Карта всегда похожа на объяснение. Вот три способа обмануться; первые два — на следующем рисунке, третий — в таблице ниже:
#
# 1. **Насыщение.** Пройдём от размытой фотографии к резкой. Вероятность круто поднимается по дороге и дальше стоит; в конце пути её наклон почти нулевой. «Градиент здесь мал» не значит «это не важно».
# 2. **Точка отсчёта.** То, что с ней совпадает, не получит ничего — из-за множителя $x - x'$. На белом фоне отсчёта белые лепестки не в счёт, как бы они ни были нужны сети.
# 3. **Карта, похожая на правду.** Пятно света посреди фотографии правдоподобно всегда, даже если его нарисовала перемешанная сеть. Зависит ли карта от сети вообще, нужно измерять.

# %%
alphas = torch.linspace(0, 1, 41, device=device)
with torch.no_grad():
    way = torch.cat([torch.lerp(fill[:1], daisies[:1], a) for a in alphas])
    risen = network(way).softmax(1)[:, DAISY].cpu().numpy()
starts = {"black": torch.zeros(()), "white": torch.ones(()), "blurred": fill[:1]}
figure, axes = plt.subplots(1, 5, figsize=(12.5, 2.7), width_ratios=[1.7, 1, 1, 1, 1])
axes[0].plot(alphas.cpu(), risen)
axes[0].set(
    title="1. Saturation", xlabel="from blurred (0) to sharp (1)", ylabel="probability of daisy"
)
axes[1].imshow(shown(daisies)[0])
axes[1].set_title("2. Baselines", fontsize=10)
for ax, (name, start) in zip(axes[2:], starts.items(), strict=True):
    parts = integrated_gradients(
        network, daisies[:1], daisy[:1], start.to(device), settings["steps"]
    )
    ax.imshow(week05.scaled(parts.sum(1)[0].cpu().numpy()), cmap="magma")
    ax.set_title(f"from {name}", fontsize=10)
for ax in axes[1:]:
    ax.axis("off")
slopes = np.diff(risen) * 40
print(f"steepest slope on the way {slopes.max():.1f}, at the end {abs(slopes[-1]):.4f}")
plots.show(
    "The probability of daisy rises on the way from a blurred to a sharp photograph and then stays "
    "flat; integrated gradients from a black, a white and a blurred baseline light up other parts."
)

# %% [markdown]
# ### Deletion and insertion
# A map is an order of pixels by importance, and an order can be tested (Petsiuk et al., 2018). **Deletion**: replace the most important pixels first; if the map is right, the probability falls early. **Insertion**: begin with the replacement and bring the most important ones back first; it should rise early.
#
# At step $k$ of `steps` (from 0 to `steps`) the $\lfloor k\,h\,w / \text{steps} \rfloor$ pixels with the highest scores are exchanged (rounded down exactly: count in whole numbers), all colours of a pixel together; of equal scores the first in reading order comes first. At each step note the target's probability (softmax).
#
# {{task:perturbation_curve}}

# %% [markdown] lang="ru"
# ### Удаление и вставка
# Карта — это порядок пикселей по важности, а порядок можно проверить (Petsiuk et al., 2018). **Удаление** (deletion): заменяем сначала самые важные пиксели; если карта верна, вероятность быстро упадёт. **Вставка** (insertion): начинаем с замены целиком и возвращаем сначала самые важные; вероятность должна быстро вырасти.
#
# На шаге $k$ из `steps` (от 0 до `steps`) обменены $\lfloor k\,h\,w / \text{steps} \rfloor$ пикселей с самыми высокими оценками (округление вниз точное: считайте в целых числах), все цвета пикселя вместе; из равных первым идёт первый в порядке чтения. На каждом шаге запоминаем вероятность класса (softmax).
#
# {{task:perturbation_curve}}


# %% solution="perturbation_curve"
def perturbation_curve(
    model: Callable,
    x: torch.Tensor,
    scores: torch.Tensor,
    target: int,
    fill: torch.Tensor,
    steps: int = 16,
    insert: bool = False,
) -> torch.Tensor:
    """The target's probability while pixels are exchanged, the highest scores first -> (steps + 1,).

    x: one picture (c, h, w), scores: (h, w), fill: what pixels are replaced with, (c, h, w).
    insert: begin with fill and bring the pixels of x; else begin with x and bring those of fill.
    """
    ### BEGIN SOLUTION
    start, end = (fill, x) if insert else (x, fill)
    order = scores.flatten().argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    rank = rank.reshape(scores.shape)
    chances = []
    with torch.no_grad():
        for k in range(steps + 1):
            mixed = torch.where(rank < k * len(order) // steps, end, start)
            chances.append(model(mixed[None]).softmax(1)[0, target])
    return torch.stack(chances)
    ### END SOLUTION


# %% test="perturbation_curve" points=0.5 difficulty=2 minutes=15
def brightness(x: torch.Tensor) -> torch.Tensor:
    """Two logits: the sum of a picture, and 0."""
    total = x.flatten(1).sum(1)
    return torch.stack([total, torch.zeros_like(total)], 1)


picture, ranks = torch.tensor([[[1.0, 2.0, 4.0]]]), torch.tensor([[0.3, 0.9, 0.5]])
check.close(
    perturbation_curve(brightness, picture, ranks, 0, torch.zeros(1, 1, 3), steps=3),
    torch.sigmoid(torch.tensor([7.0, 5.0, 1.0, 0.0])),
    "perturbation_curve of a network that adds up the pixels 1, 2, 4, with scores 0.3, 0.9, 0.5",
    why="remove 2, then 4, then 1",
)
check.close(
    perturbation_curve(brightness, picture, ranks, 0, torch.zeros(1, 1, 3), steps=3, insert=True),
    torch.sigmoid(torch.tensor([0.0, 2.0, 6.0, 7.0])),
    "the same with insert=True",
    why="begin with fill, and bring 2, then 4, then 1",
)
### BEGIN HIDDEN TESTS
rng = check.rng("perturbation_curve")


def curve_by_hand(model, x, scores, target, fill, steps, insert):
    """Pixel by pixel."""
    _, h, w = x.shape
    places = sorted(np.ndindex(h, w), key=lambda p: -scores[p].item())
    chances = []
    for k in range(steps + 1):
        mixed = (fill if insert else x).clone()
        for i, j in places[: k * h * w // steps]:
            mixed[:, i, j] = (x if insert else fill)[:, i, j]
        logits = model(mixed[None])[0].detach().numpy()
        powers = np.exp(logits - logits.max())
        chances.append(powers[target] / powers.sum())
    return np.array(chances)


def judge_curve(model, x, scores, target, why, said="", **options):
    fill = torch.from_numpy(rng.uniform(size=x.shape))
    steps, insert = options.get("steps", 16), options.get("insert", False)
    want = curve_by_hand(model, x, scores, target, fill, steps, insert)
    call = f"perturbation_curve(model, x {tuple(x.shape)}, scores, {target}, fill{said})"
    got = week05.asked(perturbation_curve, model, x, scores, target, fill, call=call, **options)
    check.that(got.dtype == np.float64, f"{call}: have the dtype of x")
    check.equal(got.shape, want.shape, f"{call}: the shape", why="have a number for each step")
    ends = "have the target's softmax probability before and after all is exchanged"
    check.close(got[[0, -1]], want[[0, -1]], f"{call}: both ends", rtol=1e-7, atol=1e-10, why=ends)
    check.close(got, want, call, rtol=1e-7, atol=1e-10, why=why)


model = week05.tiny_network(rng, 3, 4)
for (h, w), target in [((7, 6), 2), ((6, 9), 0), ((8, 7), 3)]:
    x = torch.from_numpy(3 * rng.normal(size=(3, h, w)))
    scores = torch.from_numpy(rng.normal(size=(h, w)))
    why = "exchange the highest scores first"
    judge_curve(model, x, scores, target, why, f", steps={w}", steps=w)
    why = "take 16 steps where nothing else is said, pixels rounded down"
    judge_curve(model, x, scores, target, why)
    why = "bring the highest scores first, in 16 steps"
    judge_curve(model, x, scores, target, why, ", insert=True", insert=True)
    why = "exchange k h w / steps pixels, rounded down"
    judge_curve(model, x, scores, target, why, ", steps=5", steps=5)
    why, said = "exchange k h w / steps pixels, rounded down", ", steps=11, insert=True"
    judge_curve(model, x, scores, target, why, said, steps=11, insert=True)
    judge_curve(model, x, scores, target, "have both ends", ", steps=1", steps=1)
for h, w, steps in [(7, 9, 3), (5, 6, 6), (5, 6, 11), (5, 6, 22), (5, 6, 38), (6, 8, 23)]:
    y = torch.from_numpy(3 * rng.normal(size=(3, h, w)))
    order = torch.from_numpy(rng.normal(size=(h, w)))
    why = "round k h w / steps down exactly"
    judge_curve(model, y, order, 1, why, f", steps={steps}", steps=steps)
colours = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
colours = colours.double().requires_grad_(False)
y = torch.from_numpy(rng.normal(size=(3, 2, 3)))
order = torch.from_numpy(rng.normal(size=(2, 3)))
judge_curve(colours, y, order, 2, "take more steps than pixels, too", ", steps=10", steps=10)
model.features.train()
call = "perturbation_curve with a part in train mode"
week05.asked(perturbation_curve, model, x, scores, 1, x.flip(2), call=call, steps=3)
model.eval()
kind = check.kind_of(perturbation_curve(model, x, scores, 1, x.flip(2), steps=2))
check.equal(kind, "tensor", "what perturbation_curve gives", why="be a tensor")
ties = torch.from_numpy(rng.integers(0, 3, (8, 7)).astype(float))
judge_curve(model, x, ties, 1, "take the first of equal scores first", ", steps=9", steps=9)
flat = torch.zeros(8, 7, dtype=torch.float64)
judge_curve(model, x, flat, 1, "go in reading order where all is equal", ", steps=4", steps=4)
judge_curve(model, x, -scores.abs(), 1, "take negative scores by their order, not their size")
single = torch.from_numpy(rng.normal(size=(8, 7)).astype(np.float32))
judge_curve(model, x, single, 1, "take scores of float32, too")
model.features[0].weight.grad = torch.ones_like(model.features[0].weight)
judge_curve(model, x, scores, 1, "leave gradients of parameters alone")
model.requires_grad_(False)
judge_curve(model, x, scores, 1, "do with a frozen network, too")


def huge(x):
    """Logits that overflow where they are not made smaller first."""
    return 1000 + 300 * x.mean((2, 3))


judge_huge = torch.from_numpy(rng.uniform(size=(3, 5, 4)))
want_scores = torch.from_numpy(rng.normal(size=(5, 4)))
hidden = torch.from_numpy(rng.uniform(size=(3, 5, 4)))
call = "perturbation_curve(a network with logits near 1000, x, scores, 2, fill)"
got = check.answer(perturbation_curve, huge, judge_huge, want_scores, 2, hidden, call=call)
want = curve_by_hand(huge, judge_huge, want_scores, 2, hidden, 16, False)
check.close(
    got, want, call, rtol=1e-6, atol=1e-12, why="be probabilities, however large the logits"
)
### END HIDDEN TESTS

# %% mutant="perturbation_curve" why="the lowest scores first"
# - order = scores.flatten().argsort(descending=True, stable=True)
# + order = scores.flatten().argsort(stable=True)

# %% mutant="perturbation_curve" why="the order in place of the ranks"
# - rank[order] = torch.arange(len(order), device=order.device)
# + rank = order

# %% mutant="perturbation_curve" why="insertion and deletion exchanged"
# - start, end = (fill, x) if insert else (x, fill)
# + start, end = (x, fill) if insert else (fill, x)

# %% mutant="perturbation_curve" why="insertion ignored"
# - start, end = (fill, x) if insert else (x, fill)
# + start, end = x, fill

# %% mutant="perturbation_curve" why="the logit in place of the probability"
# - chances.append(model(mixed[None]).softmax(1)[0, target])
# + chances.append(model(mixed[None])[0, target])

# %% mutant="perturbation_curve" why="the highest probability in place of the target's"
# - chances.append(model(mixed[None]).softmax(1)[0, target])
# + chances.append(model(mixed[None]).softmax(1)[0].max())

# %% mutant="perturbation_curve" why="one pixel too many"
# - mixed = torch.where(rank < k * len(order) // steps, end, start)
# + mixed = torch.where(rank <= k * len(order) // steps, end, start)

# %% mutant="perturbation_curve" why="the last step is missing"
# - for k in range(steps + 1):
# + for k in [*range(steps), steps - 1]:

# %% mutant="perturbation_curve" why="equal steps of rounded size: the rest is never exchanged"
# - mixed = torch.where(rank < k * len(order) // steps, end, start)
# + mixed = torch.where(rank < k * (len(order) // steps), end, start)

# %% mutant="perturbation_curve" why="rounds a float product down"
# - mixed = torch.where(rank < k * len(order) // steps, end, start)
# + mixed = torch.where(rank < int(k / steps * x.shape[1] * x.shape[2]), end, start)

# %% mutant="perturbation_curve" why="float32 from a list"
# - return torch.stack(chances)
# + return torch.tensor([float(c) for c in chances])

# %% mutant="perturbation_curve" why="no more steps than pixels"
# - for k in range(steps + 1):
# + steps = min(steps, len(order))
# + for k in range(steps + 1):

# %% mutant="perturbation_curve" why="puts the network into eval mode, and leaves it so"
# - chances = []
# + chances = []
# + if hasattr(model, "eval"):
# +     model.eval()

# %% mutant="perturbation_curve" why="black in place of fill"
# - start, end = (fill, x) if insert else (x, fill)
# + start, end = (fill * 0, x) if insert else (x, fill * 0)

# %% mutant="perturbation_curve" why="orders by size, sign lost"
# - order = scores.flatten().argsort(descending=True, stable=True)
# + order = scores.abs().flatten().argsort(descending=True, stable=True)

# %% mutant="perturbation_curve" why="softmax without care for large logits"
# - chances.append(model(mixed[None]).softmax(1)[0, target])
# + powers = model(mixed[None])[0].exp()
# + chances.append(powers[target] / powers.sum())


# %% alternative="perturbation_curve" why="NumPy's order; pictures changed in place, in one batch"
def perturbation_curve(model, x, scores, target, fill, steps=16, insert=False):
    start, end = (fill, x) if insert else (x, fill)
    order = np.argsort(-scores.detach().cpu().numpy().ravel(), kind="stable")
    n, c = len(order), len(x)
    batch = start.reshape(1, c, -1).repeat(steps + 1, 1, 1)
    for k in range(1, steps + 1):
        places = torch.as_tensor(order[: int(np.floor(k * n / steps))])
        batch[k][:, places] = end.reshape(c, -1)[:, places]
    with torch.no_grad():
        return F.softmax(model(batch.reshape(-1, *x.shape)), dim=-1)[:, target]


# %% [markdown]
# ### The league table
# Six methods, judged on photographs by what can be measured:
#
# - **completeness**: the share of the difference that is missing from the sum (only where a method claims to share it out);
# - **shuffled**: rank correlation (Spearman) of the map with the map for the shuffled network. Near 0 is good: the map depends on the network. But here all layers are shuffled at once, and this is a mild test;
# - **deletion** and **insertion**: the mean height of the curves, low and high are good;
# - **pictures**: how many the network had to look at, and how long it took.
#
# Two controls know nothing of the network: a **random** order, and the **centre** first, because photographers put flowers there. A method that does not beat the centre has explained nothing.

# %% [markdown] lang="ru"
# ### Турнирная таблица
# Шесть методов на фотографиях; судим по тому, что можно измерить:
#
# - **completeness**: какой доли разницы недостаёт в сумме (только если метод обещает её разделить);
# - **shuffled**: ранговая корреляция (Спирмена) с картой для перемешанной сети. Около нуля — хорошо: карта зависит от сети. Но здесь перемешаны сразу все слои, и это мягкая проверка;
# - **deletion** и **insertion**: средняя высота кривых; хорошо, когда удаление низкое, а вставка высокая;
# - **pictures**: сколько картинок посмотрела сеть и сколько времени это заняло.
#
# Два контроля о сети не знают ничего: **случайный** порядок и порядок **от центра**, потому что цветы фотографы ставят в центр. Метод, который не лучше центра, ничего не объяснил.

# %%
Explained = tuple[torch.Tensor, float | None]  # a map (h, w), and the sum of what was shared out


def by_patches(model: nn.Module, x: torch.Tensor, cover: torch.Tensor, grid: int = 4) -> Explained:
    """KernelSHAP among grid x grid patches, as a map."""
    game = patch_game(model, x[0], cover[0], DAISY, grid)
    shares = kernel_shap(game, grid**2, 12 * settings["samples"], np.random.default_rng(0))
    masks = patch_masks(np.eye(grid**2, dtype=bool), grid, x.shape[2:])[:, 0]
    return torch.einsum(
        "p,phw->hw", torch.tensor(shares, device=device), masks.double()
    ), shares.sum()


def by_path(model: nn.Module, x: torch.Tensor, cover: torch.Tensor) -> Explained:
    parts = integrated_gradients(model, x, daisy[:1], cover, settings["steps"])
    return parts.sum(1)[0], parts.sum().item()


def noisy(model: nn.Module, x: torch.Tensor, cover: torch.Tensor) -> Explained:
    generator = torch.Generator().manual_seed(0)
    return smooth_grad(model, x, daisy[:1], settings["samples"], generator=generator)[0], None


methods: dict[str, Callable[[nn.Module, torch.Tensor, torch.Tensor], Explained]] = {
    "saliency": lambda model, x, cover: (saliency(model, x, daisy[:1])[0], None),
    "SmoothGrad": noisy,
    "integrated gradients": by_path,
    "guided backprop": lambda model, x, cover: (
        guided_backprop(model, x, daisy[:1]).abs().amax(1)[0],
        None,
    ),
    "Grad-CAM": lambda model, x, cover: (
        grad_cam(model, model.net.act1, x, daisy[:1])[0],
        None,
    ),
    "KernelSHAP": by_patches,
}


def heights(x: torch.Tensor, cover: torch.Tensor, scores: torch.Tensor) -> list[float]:
    """The mean heights of the deletion and the insertion curve, by trapezoids."""
    curves = [
        perturbation_curve(network, x, scores, DAISY, cover, 8, insert) for insert in (False, True)
    ]
    return [((c[1:] + c[:-1]) / 2).mean().item() for c in curves]


# %%
def written(numbers: np.ndarray) -> list[str]:
    """A row of the table."""
    missing, alike, low, high, looked, seconds = numbers
    forms = [
        f"{missing:.1%}",
        f"{alike:.2f}",
        f"{low:.2f}",
        f"{high:.2f}",
        f"{looked:.0f}",
        f"{seconds:.2f} s",
    ]
    return ["–" if np.isnan(n) else form for n, form in zip(numbers, forms, strict=True)]


# %%
judged, covers = daisies[: settings["judged"]], fill[: settings["judged"]]
counted: list[int] = []
network.register_forward_pre_hook(lambda _, given: counted.append(len(given[0])))
with torch.no_grad():
    gains = (network(judged) - network(covers))[:, DAISY]
rows: dict[str, list[list[float]]] = {name: [] for name in [*methods, "random", "centre"]}
maps, controls = {}, {}
h, w = judged.shape[2:]
middle = -torch.hypot(torch.arange(h)[:, None] - h / 2 + 0.5, torch.arange(w) - w / 2 + 0.5)
generator = torch.Generator().manual_seed(0)
for i in progress(range(len(judged)), "photographs"):
    x, cover = judged[i : i + 1], covers[i : i + 1]
    for name, method in methods.items():
        counted.clear()
        start = time.perf_counter()
        scores, total = method(network, x, cover)
        seconds, looked = time.perf_counter() - start, sum(counted)
        control = method(shuffled, x, cover)[0]
        alike = spearmanr(scores.abs().cpu().flatten(), control.abs().cpu().flatten())[0]
        missing = np.nan if total is None else abs(total - gains[i].item()) / abs(gains[i].item())
        rows[name].append([missing, alike, *heights(x[0], cover[0], scores), looked, seconds])
        if i == 0:
            maps[name], controls[name] = scores.cpu().numpy(), control.cpu().numpy()
    chance = torch.rand(h, w, generator=generator)
    for name, scores in {"random": chance, "centre": middle}.items():
        unknown = [np.nan] * 2
        rows[name].append([*unknown, *heights(x[0], cover[0], scores.to(device)), *unknown])
table = {name: np.mean(values, axis=0) for name, values in rows.items()}
columns = [
    "completeness\nerror",
    "like the\nshuffled",
    "deletion\n(low)",
    "insertion\n(high)",
    "pictures\nlooked at",
    "time",
]
values = np.stack(list(table.values()))
best = [
    int(np.nanargmin(np.abs(values[:, 0]))),
    int(np.nanargmin(np.abs(values[:, 1]))),
    int(values[:, 2].argmin()),
    int(values[:, 3].argmax()),
    *[int(np.nanargmin(values[:, k])) for k in (4, 5)],
]
cells = [written(table[name]) for name in methods]
cells += [[f"control: {name}", *written(table[name])] for name in ("random", "centre")]
title = f"Six methods on {len(judged)} photographs (bold: the best of a column)"
week05.league(maps, controls, columns, cells, best, title)
for name, numbers in table.items():
    print(f"{name:21}", *(f"{text:>8}" for text in written(numbers)))
plots.show(
    "A table of six methods with their maps for the network and for the shuffled network, and their "
    "completeness, likeness to the shuffled map, deletion, insertion, cost; the numbers are printed "
    "above."
)
network._forward_pre_hooks.clear()

# %% [markdown]
# Read the table slowly. Only two methods promise to share out the difference, and only they can be held to it: KernelSHAP keeps to it by its constraint, integrated gradients as far as the few steps go. The maps for the shuffled network stand beside the real ones: where they look alike, the picture explains itself and not the network. Watch the controls: where the centre does as well as a method, the curves have said nothing about that method. And a few photographs of one class are a small jury: in `full` there are more.
#
# ## 9. The same gradient as a brush
# One thing is left: to change the picture by its gradient until the *features* are as we like. Gatys et al. (2015) found what a style is to a network: which features appear **together**, no matter where. For feature maps $A$ of a layer that is the Gram matrix
#
# $$G_{kl} = \frac{1}{h w} \sum_{i, j} A^k_{ij} A^l_{ij}.$$
#
# The sum over all places forgets where. Division by their number makes pictures of different sizes comparable. The **style loss** compares the Gram matrices $G$ of a picture with those of the painting, $\hat G$, relative to their size, since layers differ by orders of magnitude; it is the mean over the layers:
#
# $$\mathcal L_{\text{style}} = \frac1L \sum_{\ell=1}^{L} \frac{\sum (G_\ell - \hat G_\ell)^2}{\sum \hat G_\ell^2},$$
#
# where the sums run over all numbers of the arrays. Then `transfer` goes down any loss of a picture, and what it changes are **pixels, not weights**. After it they are from 0 to 1. `torch.optim.LBFGS` needs far fewer steps here than Adam; clamp after each step (`with torch.no_grad(): x.clamp_(0, 1)`). With the usual 100 steps, a mean squared distance to a picture 0.4 away has to fall below a tenth of what it was; `steps=0` gives `start` back. The networks that `loss` uses stay as they were, too: take `torch.autograd.grad` or `backward(inputs=[x])`.
#
# {{task:style}}

# %% [markdown] lang="ru"
# Читайте таблицу не спеша. Разделить разницу обещают только два метода, и только с них это можно спросить: KernelSHAP соблюдает это благодаря условию, интегрированные градиенты — насколько хватает немногих шагов. Карты для перемешанной сети стоят рядом с настоящими: где они похожи, картинка объясняет саму себя, а не сеть. Следите за контролями: если порядок от центра не хуже метода, кривые ничего об этом методе не сказали. И несколько фотографий одного класса — маленькое жюри: в `full` их больше.
#
# ## 9. Тот же градиент как кисть
# Осталось одно: менять картинку по её градиенту, пока её *признаки* не станут такими, как нам нравится. Gatys et al. (2015) нашли, что такое для сети стиль: какие признаки появляются **вместе**, неважно где. Для карт признаков $A$ одного слоя это матрица Грама
#
# $$G_{kl} = \frac{1}{h w} \sum_{i, j} A^k_{ij} A^l_{ij}.$$
#
# Сумма по всем местам забывает, где что было. Благодаря делению на их число можно сравнивать картинки разных размеров. **Потери стиля** (style loss) сравнивают матрицы Грама картинки $G$ с матрицами образца $\hat G$ — относительно их величины, потому что слои различаются на порядки; по слоям берётся среднее:
#
# $$\mathcal L_{\text{style}} = \frac1L \sum_{\ell=1}^{L} \frac{\sum (G_\ell - \hat G_\ell)^2}{\sum \hat G_\ell^2},$$
#
# где суммы берутся по всем числам массивов. А `transfer` спускается по любой функции потерь от картинки, и меняет она **пиксели, а не веса**. В результате они от 0 до 1. Для `torch.optim.LBFGS` здесь нужно гораздо меньше шагов, чем для Adam; после каждого шага обрезайте (`with torch.no_grad(): x.clamp_(0, 1)`). За обычные 100 шагов средний квадрат расстояния до картинки, отстоящей на 0,4, должен упасть ниже десятой доли начального; `steps=0` возвращает `start`. Сети, которыми пользуется `loss`, тоже остаются прежними: берите `torch.autograd.grad` или `backward(inputs=[x])`.
#
# {{task:style}}


# %% solution="style"
def gram(features: torch.Tensor) -> torch.Tensor:
    """Which features appear together, for each picture. (n, c, h, w) -> (n, c, c)."""
    ### BEGIN SOLUTION
    flat = features.flatten(2)
    return flat @ flat.mT / flat.shape[-1]
    ### END SOLUTION


def style_loss(features: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
    """How far the Gram matrices are from those that are wanted: one number, with its graph.

    features: of each layer (n, c, h, w), wanted: of each layer the Gram matrices, (n, c, c).
    """
    ### BEGIN SOLUTION
    errors = [
        ((gram(a) - g) ** 2).sum() / (g**2).sum() for a, g in zip(features, wanted, strict=True)
    ]
    return torch.stack(errors).mean()
    ### END SOLUTION


def transfer(
    loss: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor, steps: int = 100
) -> torch.Tensor:
    """A picture of less loss. start: from 0 to 1, (n, c, h, w) -> the same shape, from 0 to 1.

    loss: picture -> one number. steps: of the optimiser, which begins at start.
    """
    ### BEGIN SOLUTION
    x = start.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    optimizer = torch.optim.LBFGS([x], max_iter=1)

    def closure() -> torch.Tensor:
        value = loss(x)
        (x.grad,) = torch.autograd.grad(value, x)
        return value

    for _ in range(steps):
        optimizer.step(closure)
        with torch.no_grad():
            x.clamp_(0, 1)
    return x.detach()
    ### END SOLUTION


# %% test="style" points=1 difficulty=3 minutes=30
maps_of_two = torch.tensor([[[[1.0, 2.0, 0.0]], [[3.0, -1.0, 4.0]]]])
check.close(
    gram(maps_of_two.clone()),
    [[[5 / 3, 1 / 3], [1 / 3, 26 / 3]]],
    "gram of two maps of three places",
    why="be the products of maps, averaged over the places",
)
check.close(
    style_loss([maps_of_two], [torch.tensor([[[2.0, 0.0], [0.0, 8.0]]])]),
    7 / 9 / 68,
    "style_loss of one layer",
    why="be the squared error, relative to what is wanted",
)
check.close(
    transfer(lambda x: (x - 0.3).abs().pow(2).sum(), torch.full((1, 3, 2, 4), 0.6)),
    np.full((1, 3, 2, 4), 0.3),
    "transfer with the least loss at 0.3",
    atol=0.05,
    why="go down the loss",
)
### BEGIN HIDDEN TESTS
rng = check.rng("style")
for shape, why in [
    ((1, 2, 3, 5), "average the products over the places"),
    ((3, 4, 5, 2), "keep the pictures apart"),
    ((2, 5, 1, 1), "do with a single place"),
]:
    a = rng.normal(size=shape)
    want = np.einsum("nkij,nlij->nkl", a, a) / (shape[2] * shape[3])
    call = f"gram(features {shape})"
    got = check.answer(gram, torch.from_numpy(a), call=call)
    check.close(got, want, call, rtol=1e-8, atol=1e-10, why=why)
a = torch.from_numpy(rng.normal(size=(1, 3, 4, 5)))
upstream = rng.normal(size=(1, 3, 3))
(slope,) = check.gradient_of(gram, a, call="gram(features)", upstream=upstream)
both = upstream + upstream.transpose(0, 2, 1)
want = np.einsum("nkl,nlij->nkij", both, a.numpy()) / 20
check.close(slope, want, "the gradient of gram(features)", rtol=1e-7, why="pass gradients on")
got = check.answer(gram, a.float(), call="gram(features of float32)")
check.that(got.dtype == np.float32, "gram(features): have their dtype")


def style_by_hand(features, wanted):
    errors = []
    for a, g in zip(features, wanted, strict=True):
        a, g = a.detach().numpy(), g.numpy()
        made = np.einsum("nkij,nlij->nkl", a, a) / (a.shape[2] * a.shape[3])
        errors.append(((made - g) ** 2).sum() / (g**2).sum())
    return np.mean(errors)


shapes = [(1, 3, 5, 4), (1, 2, 7, 3), (1, 6, 2, 4)]
features = [
    torch.from_numpy(s * rng.normal(size=d)) for s, d in zip((1, 9, 0.1), shapes, strict=True)
]
wanted = [torch.from_numpy(rng.normal(size=(1, d[1], d[1]))) for d in shapes]
for number, why in [(1, "be relative to what is wanted"), (3, "be the mean over the layers")]:
    call = f"style_loss of {number} layer{'s' * (number > 1)}"
    given = features[:number], wanted[:number]
    got = check.answer(style_loss, *given, call=call)
    check.close(got, style_by_hand(*given), call, rtol=1e-7, why=why)
call = "style_loss of three layers in tuples"
got = check.answer(style_loss, tuple(features), tuple(wanted), call=call)
check.close(got, style_by_hand(features, wanted), call, rtol=1e-7, why="take any sequence")
call = "style_loss of two layers, two pictures"
pair = [
    torch.from_numpy(rng.normal(size=(2, 3, 4, 5))),
    torch.from_numpy(rng.normal(size=(2, 2, 3, 2))),
]
aims = [torch.from_numpy(rng.normal(size=(2, c, c))) for c in (3, 2)]
got = check.answer(style_loss, pair, aims, call=call)
check.close(got, style_by_hand(pair, aims), call, rtol=1e-7, why="sum over all numbers of a layer")
call = "the gradient of style_loss"
(slope,) = check.gradient_of(lambda a: style_loss([a], wanted[:1]), features[0], call=call)
check.gradient(
    lambda a: style_by_hand([torch.from_numpy(a)], wanted[:1]), features[0].numpy(), slope, call
)

whole = rng.uniform(0, 1, (1, 3, 6, 5))
whole.flat[:4] = [0.0, 1.0, 1.0, 0.0]
start = torch.from_numpy(whole)
aim = (start + torch.from_numpy(rng.choice([-0.4, 0.4], whole.shape))).clamp(0.05, 0.95)


def distance(x):
    return ((x - aim) ** 2).mean()


first = float(distance(start))
call = "transfer(the mean squared distance to a picture, start)"
got = check.answer(transfer, distance, start, call=call)
check.equal(got.shape, whole.shape, f"{call}: the shape", why="have the shape of start")
check.that(got.min() >= 0 and got.max() <= 1, f"{call}: stay from 0 to 1")
check.that(float(distance(torch.from_numpy(got))) < 0.1 * first, f"{call}: go down the loss")
outside = (start + 3).clamp(2, 4)
call = "transfer(the distance to what no pixel can be, start)"
got = check.answer(transfer, lambda x: ((x - outside) ** 2).mean(), start, call=call)
check.that(got.min() >= 0 and got.max() <= 1, f"{call}: stay from 0 to 1")
check.that(got.mean() > 0.8, f"{call}: go as far as pixels can")
call = "transfer(a loss that is the same for all pictures, start, steps=3)"
got = check.answer(transfer, lambda x: 0 * x.sum() + 2, start, call=call, steps=3)
check.close(got, whole, call, atol=0.02, why="begin at start")
model = week05.tiny_network(rng, 3, 4)
layer = model.features[0]
goal = layer(aim).detach()
model.top[1].weight.grad = torch.ones_like(model.top[1].weight)


def painted(x):
    return 0.05 * ((layer(x) - goal) ** 2).mean() + distance(x)


before = [week05.traces(model), check.parameters_of(model, "model")]
call = "transfer(a loss by the features of a network, start, steps=30)"
got = check.answer(transfer, painted, start, call=call, steps=30)
check.that(week05.traces(model) == before[0], f"{call}: leave the network's gradients alone")
for name, value in check.parameters_of(model, "model").items():
    check.equal(value, before[1][name], f"{name} after {call}", why="change pixels, not weights")
once, often = (painted(v).item() for v in (start, torch.from_numpy(got)))
check.that(often < once, f"{call}: go down the loss")
check.that(got.min() >= 0 and got.max() <= 1, f"{call}: stay from 0 to 1")
wide = torch.from_numpy(rng.uniform(0.05, 0.95, (2, 3, 24, 32)))
near = torch.where(wide < 0.5, wide + 0.4, wide - 0.4)


def distances(x):
    return ((x - near) ** 2).mean()


call = "transfer(the mean squared distance to two larger pictures, start)"
got = torch.from_numpy(check.answer(transfer, distances, wide, call=call))
check.that(distances(got).item() < 0.016, f"{call}: go down to a tenth of the loss, any size")
each = ((got - near) ** 2).mean((1, 2, 3))
check.that(each.max().item() < 0.032, f"{call}: change each picture by itself")
counts = []


def valley(x):
    """Rosenbrock's chain: a long way down."""
    counts.append(0)
    v = x.flatten()
    return (100 * (v[1:] - v[:-1] ** 2) ** 2 + (1 - v[:-1]) ** 2).sum()


chain, asked_for, found = torch.full((1, 1, 2, 4), 0.1, dtype=torch.float64), [], []
for steps in (0, 1, 10, 100):
    counts.clear()
    call = f"transfer(a loss with a long way down, start, steps={steps})"
    found.append(check.answer(transfer, valley, chain, call=call, steps=steps))
    asked_for.append(len(counts))
    if steps == 0:
        check.close(found[0], chain, call, why="give start back")
got = check.answer(transfer, valley, chain, call="transfer(a loss with a long way down, start)")
why = "take 100 steps where nothing else is said"
check.close(got, found[3], "transfer(a loss with a long way down, start)", rtol=1e-9, why=why)
check.that(bool((found[1] != chain.numpy()).any()), "transfer(…, steps=1): take the step")
call = "transfer(a loss with a long way down, start, steps) for 1, 10, 100 steps"
check.that(
    asked_for[1] < asked_for[2] < asked_for[3], f"{call}: take as many steps as are asked for"
)
single = start.float().transpose(2, 3)
call = "transfer(loss, a float32 picture that is turned, steps=5)"
got = check.answer(transfer, lambda x: (x**2).mean(), single, call=call, steps=5)
check.equal(got.shape, tuple(single.shape), f"{call}: the shape", why="have the shape of start")
check.that(got.dtype == np.float32, f"{call}: have the dtype of start")
### END HIDDEN TESTS

# %% mutant="style" why="forgets to divide by the number of places"
# - return flat @ flat.mT / flat.shape[-1]
# + return flat @ flat.mT

# %% mutant="style" why="divides by the number of features, too"
# - return flat @ flat.mT / flat.shape[-1]
# + return flat @ flat.mT / flat.shape[-1] / flat.shape[1]

# %% mutant="style" why="takes the mean off: a covariance"
# - flat = features.flatten(2)
# + flat = features.flatten(2) - features.flatten(2).mean(2, keepdim=True)

# %% mutant="style" why="mixes the pictures of a batch"
# - return flat @ flat.mT / flat.shape[-1]
# + return (flat @ flat.mT / flat.shape[-1]).mean(0, keepdim=True).expand(len(flat), -1, -1)

# %% mutant="style" why="detaches the features"
# - flat = features.flatten(2)
# + flat = features.detach().flatten(2)

# %% mutant="style" why="not relative to what is wanted"
# - ((gram(a) - g) ** 2).sum() / (g**2).sum() for a, g in zip(features, wanted, strict=True)
# + ((gram(a) - g) ** 2).sum() for a, g in zip(features, wanted, strict=True)

# %% mutant="style" why="the sum over the layers"
# - return torch.stack(errors).mean()
# + return torch.stack(errors).sum()

# %% mutant="style" why="the first layer only"
# - return torch.stack(errors).mean()
# + return errors[0]

# %% mutant="style" why="relative to the picture's own matrix"
# - ((gram(a) - g) ** 2).sum() / (g**2).sum() for a, g in zip(features, wanted, strict=True)
# + ((gram(a) - g) ** 2).sum() / (gram(a) ** 2).sum() for a, g in zip(features, wanted, strict=True)

# %% mutant="style" why="pixels leave the range"
# - with torch.no_grad():
# -     x.clamp_(0, 1)
# + pass

# %% mutant="style" why="changes the picture that it was given"
# - x = start.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
# + x = start.detach().contiguous().requires_grad_()

# %% mutant="style" why="begins with noise"
# - x = start.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
# + x = torch.rand_like(start).requires_grad_()

# %% mutant="style" why="gradients reach the network's weights"
# - (x.grad,) = torch.autograd.grad(value, x)
# + optimizer.zero_grad()
# + value.backward()

# %% mutant="style" why="goes up the loss"
# - value = loss(x)
# + value = -loss(x)

# %% mutant="style" why="always 100 steps"
# - for _ in range(steps):
# + for _ in range(100):

# %% mutant="style" why="at most 10 steps"
# - for _ in range(steps):
# + for _ in range(min(10, steps)):

# %% mutant="style" why="a new optimiser in each step"
# - optimizer.step(closure)
# + optimizer = torch.optim.LBFGS([x], max_iter=1)
# + optimizer.step(closure)

# %% mutant="style" why="a single step"
# - for _ in range(steps):
# + for _ in range(1):
# +     optimizer = torch.optim.SGD([x], lr=0.01)


# %% alternative="style" why="loops and einsum; Adam, clamped inside of the loss"
def gram(features):
    return torch.einsum("ncij,ndij->ncd", features, features) / features[0, 0].numel()


def style_loss(features, wanted):
    total = 0.0
    for a, g in zip(features, wanted, strict=True):
        total = total + (gram(a) - g).square().sum() / g.square().sum()
    return total / len(wanted)


def transfer(loss, start, steps=100):
    x = start.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(x).backward(inputs=[x])
        optimizer.step()
        x.data = x.data.clamp(0, 1)
    return x.detach()


# %% alternative="style" why="LBFGS in one call, and clamped where the loss is asked"
def gram(features):
    n, c, h, w = features.shape
    flat = features.reshape(n, c, h * w)
    return torch.bmm(flat, flat.transpose(1, 2)).div(h * w)


def style_loss(features, wanted):
    return sum(
        ((gram(a) - g) ** 2).sum() / (g**2).sum() for a, g in zip(features, wanted, strict=True)
    ) / len(features)


def transfer(loss, start, steps=100):
    x = start.detach().clone().contiguous()
    x.requires_grad_(True)
    optimizer = torch.optim.LBFGS([x], max_iter=steps, line_search_fn="strong_wolfe")

    def closure():
        value = loss(x)
        x.grad = torch.autograd.grad(value, [x])[0]
        return value

    optimizer.step(closure)
    return x.detach().clamp(0, 1)


# %% [markdown]
# **Your photograph, if you like**: put a JPEG or PNG of any size beside the notebook and name it here; its middle square is taken, and what is transparent becomes white. Ours is scikit-learn's `china.jpg`. The paintings are in the public domain. First, ask the network why it says what it says about *your* picture.

# %% [markdown] lang="ru"
# **Ваша фотография, если хотите**: положите рядом с ноутбуком JPEG или PNG любого размера и назовите его здесь; возьмётся средний квадрат, прозрачное станет белым. Наша — `china.jpg` из scikit-learn. Картины — общественное достояние. Для начала спросите сеть, почему она так говорит о *вашей* картинке.

# %%
paintings = data.load("paintings", profile)

# %%
own: str | None = None  # "me.jpg"
painting = 1  # of the four

side = settings["side"]
given = week05.photo(own, side) if own else week05.square(load_sample_image("china.jpg"), side)
content, style = (
    as_tensor(given[None]),
    as_tensor(week05.square(paintings.x_train[painting], side)[None]),
)
with torch.no_grad():
    top = network(content)[0].softmax(0).topk(3)
figure, axes = plt.subplots(1, 4, figsize=(10.5, 3))
axes[0].imshow(given)
axes[0].set_title("the photograph", fontsize=10)
axes[0].axis("off")
for ax, chance, label in zip(axes[1:], top.values, top.indices, strict=True):
    heat = grad_cam(network, network.net.act1, content, label[None])[0].cpu().numpy()
    week05.overlaid(ax, given, heat, f"{names[int(label)]} {chance:.0%}")
plots.show("A photograph, and Grad-CAM of the network's three likeliest classes laid over it.")

# %% [markdown]
# The loss has three parts: the style of five layers of the network (where channels are many: the wide activations inside of the blocks), the **content** (features of block 2 stay near those of the photograph, or nothing would be recognised), and the **total variation**, the mean squared difference of neighbouring pixels, which forbids speckle.

# %% [markdown] lang="ru"
# В функции потерь три слагаемых: стиль пяти слоёв сети (там, где каналов много, — широкие активации внутри блоков), **содержание** (признаки блока 2 остаются близки к признакам фотографии, иначе ничего не узнать) и **полная вариация** (total variation), средний квадрат разности соседних пикселей: она не даёт появиться крапинкам.


# %%
def look(x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Activations for the style, and features for the content, of pictures (n, 3, h, w)."""
    net = network.net
    x = net.act0(net.bn0(net.conv_stem((255 * x - 127) / 128)))
    activations = [x]
    for i, block in enumerate(net.blocks[:6]):
        if i in (1, 2, 3, 5):
            activations.append(block.act0(block.bn0(block.expand_conv(x))))
        x = block(x)
        if i == 2:
            features = x
    return activations, features


def painter(photograph: torch.Tensor, painting: torch.Tensor) -> Callable:
    """The loss of a picture that shows the photograph in the style of the painting."""
    with torch.no_grad():
        wanted, kept = [gram(a) for a in look(painting)[0]], look(photograph)[1]

    def loss(x: torch.Tensor) -> torch.Tensor:
        activations, features = look(x)
        rough = (x.diff(dim=2) ** 2).mean() + (x.diff(dim=3) ** 2).mean()
        away = ((features - kept) ** 2).mean() / (kept**2).mean()
        return 30 * style_loss(activations, wanted) + 0.7 * away + 5 * rough

    return loss


loss = painter(content, style)
moments = np.array([0, 1, 3, 6, 12, 25, 50, 100]) * settings["style"] // 100
frames, x = [], content
for more in np.diff(moments, prepend=0):
    x = transfer(loss, x, int(more)) if more else x
    frames.append(x)
with torch.no_grad():
    losses = [loss(frame).item() for frame in frames]
print("loss:", *(f"{value:.2f}" for value in losses))
titles = [f"{m} steps, loss {value:.2f}" for m, value in zip(moments, losses, strict=True)]
what = paintings.y_train[painting]
week05.strip([shown(f)[0] for f in frames], titles, shown(style)[0], what)
plots.show(
    "Eight frames: a photograph takes on, step by step, the colours and brushstrokes of a painting, "
    "which stands beside them."
)

# %% [markdown]
# You have asked a network why in six ways, seen which answers fail a test, broken it with a change that no eye sees, and made it paint. In `full` the same code runs at 224 pixels with more photographs, samples and steps. What you take along: **a map is a claim, and a claim needs a test that it could fail.** Completeness, a shuffled network and a control that knows nothing cost ten lines each.

# %% [markdown] lang="ru"
# Вы шестью способами спросили сеть «почему», увидели, как часть ответов не выдержала проверки, сломали её изменением, невидимым глазу, и заставили рисовать. В `full` тот же код работает на 224 пикселях, и фотографий, выборок и шагов больше. Возьмите с собой вот что: **карта — это утверждение, а утверждению нужна проверка, которую оно могло бы не пройти.** Полнота, перемешанная сеть и контроль, который ничего не знает, — по десять строк каждый.
