# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Convolutions from the inside, and what is built of them
# First you write the operations that a convolutional network is made of, forward and backward, and see what each does to a real picture. Then parts that help deep networks learn: residual blocks, mixup, label smoothing. Then two whole systems on microscope pictures: a U-Net that finds the nuclei of cells, and a detector of white blood cells, with its boxes, its duplicates removed and its average precision measured.
#
# Thirteen tasks, all for bonus points. The checks that you see are public ones: passing them is no promise of full marks. Where a docstring does not say otherwise, your functions leave their arguments as they were, return arrays of their own, and compute in float64 if they get float64 or whole numbers.

# %% [markdown] lang="ru"
# # Свёртка изнутри и то, что из неё строят
# Сначала вы напишете операции, из которых сделана свёрточная сеть, — прямой и обратный проход — и посмотрите, что каждая делает с настоящей картинкой. Затем то, что помогает глубоким сетям учиться: остаточные блоки, mixup, сглаживание меток. Затем две целые системы на снимках с микроскопа: U-Net, которая находит ядра клеток, и детектор лейкоцитов, белых клеток крови, — с рамками, удалением дубликатов и измеренной средней точностью.
#
# Тринадцать задач, все на бонусные баллы. Видимые вам проверки — открытая часть: пройти их ещё не значит получить полный балл. Если в описании функции не сказано иначе, она не меняет свои аргументы, возвращает собственные массивы и считает в float64, когда получила float64 или целые числа.

# %% tags=["parameters"]
profile = "small"

# %%
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

from practical_dl import check, data, plots, progress, seed_everything
from practical_dl.weeks import week03

device = "cuda" if torch.cuda.is_available() else "cpu"
if profile == "small":
    torch.set_num_threads(1)  # networks so small lose more by sharing the work than they gain
settings = {
    "small": {
        "scale": 2,  # pictures of nuclei are made smaller by this factor
        "channels": (8, 16, 32),
        "crop": 64,
        "steps": 180,
        "rate": 0.02,
        "cells": 120,  # pictures of blood that the detector learns from
    },
    "full": {
        "scale": 1,
        "channels": (32, 64, 128, 256),
        "crop": 128,
        "steps": 3000,
        "rate": 0.005,
        "cells": 292,
    },
}[profile]

# %% [markdown]
# ## 1. Convolution: one tap at a time
# Pictures are arrays $(n, c, h, w)$: pictures, channels, rows, columns; of floats or of whole numbers, such as bytes; so may weights, biases and gradients be. Pixels are finite. In sections 1–3 you write in NumPy (SciPy will do, too), and torch is the judge. What a network calls [convolution](glossary:Convolution) lays a kernel of $k_h \times k_w$ weights on every place of the picture and adds up the products. Read it by **taps**: kernel position $(i, j)$ meets, for all outputs at once, a shifted and thinned copy of the picture,
#
# $$y_{f}[a, b] = \beta_f + \sum_{i, j} \sum_{c}\; w_{f c}[i, j]\; x_{c}\bigl[a\,s_h + i\,d_h,\; b\,s_w + j\,d_w\bigr],$$
#
# with [stride](glossary:Stride) $s$, the step between outputs, and [dilation](glossary:Dilation) $d$, the distance of the taps (notation of Dumoulin & Visin, 2016). $x$ has been padded with $p$ zeros on each side. So many outputs fit:
#
# $$o = \left\lfloor \frac{\text{size} + 2p - d\,(k - 1) - 1}{s} \right\rfloor + 1.$$
#
# Four helpers do the index work. Every pair is (rows, columns).

# %% [markdown] lang="ru"
# ## 1. Свёртка: отвод за отводом
# Картинки — массивы $(n, c, h, w)$: картинки, каналы, строки, столбцы; числа в них вещественные или целые, например байты; такими же бывают веса, сдвиги и градиенты. Бесконечных пикселей нет. В разделах 1–3 вы пишете на NumPy (можно и SciPy), а torch — судья. То, что в сетях называют [свёрткой](glossary:Convolution) (convolution), прикладывает ядро из $k_h \times k_w$ весов к каждому месту картинки и складывает произведения. Читайте её по **отводам** (taps, слово из цифровых фильтров): позиция ядра $(i, j)$ встречает сразу для всех выходов сдвинутую и прореженную копию картинки,
#
# $$y_{f}[a, b] = \beta_f + \sum_{i, j} \sum_{c}\; w_{f c}[i, j]\; x_{c}\bigl[a\,s_h + i\,d_h,\; b\,s_w + j\,d_w\bigr],$$
#
# где [шаг](glossary:Stride) (stride) $s$ — расстояние между соседними выходами, а [дилатация](glossary:Dilation) (dilation, «расширение» ядра) $d$ — расстояние между отводами (обозначения Dumoulin, Visin, 2016). Перед этим $x$ дополнен $p$ нулями с каждой стороны (padding). Выходов помещается столько:
#
# $$o = \left\lfloor \frac{\text{size} + 2p - d\,(k - 1) - 1}{s} \right\rfloor + 1.$$
#
# Работу с индексами берут на себя четыре вспомогательные функции. Каждая пара чисел — (строки, столбцы).

# %%
Pair = tuple[int, int]


def output_size(size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    """Rows and columns of the output."""
    each = zip(size, kernel, stride, padding, dilation, strict=True)
    rows, columns = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in each)
    return rows, columns


def pad(x: np.ndarray, padding: Pair, value: float = 0.0) -> np.ndarray:
    """Put p rows and columns of a value around every picture. (..., h, w) -> a larger copy, floats."""
    sides = [(0, 0)] * (x.ndim - 2) + [(p, p) for p in padding]
    return np.pad(x.astype(float), sides, constant_values=value)


def crop(x: np.ndarray, padding: Pair) -> np.ndarray:
    """Take the padding off again. A view."""
    (h, w), (p, q) = x.shape[-2:], padding
    return x[..., p : h - p, q : w - q]


def tap(
    x: np.ndarray, i: int, j: int, size: Pair, stride: Pair, dilation: Pair = (1, 1)
) -> np.ndarray:
    """What kernel position (i, j) meets, for all outputs. (..., h, w) -> (..., *size).

    A view into x, padded already: writing to it writes to x.
    """
    top, left = i * dilation[0], j * dilation[1]
    rows = slice(top, top + (size[0] - 1) * stride[0] + 1, stride[0])
    columns = slice(left, left + (size[1] - 1) * stride[1] + 1, stride[1])
    return x[..., rows, columns]


# %%
cases = {
    "plain 3 × 3": ((1, 1), (0, 0), (1, 1)),
    "padding (1, 1)": ((1, 1), (1, 1), (1, 1)),
    "stride (2, 3)": ((2, 3), (0, 0), (1, 1)),
    "dilation (1, 2)": ((1, 1), (0, 0), (1, 2)),
}
figure, axes = plt.subplots(1, 4, figsize=(11, 3.4))
for ax, (name, (stride, padding, dilation)) in zip(axes, cases.items(), strict=True):
    canvas = pad(np.full((7, 8), 0.2), padding)
    size = output_size((7, 8), (3, 3), stride, padding, dilation)
    tap(canvas, 1, 2, size, stride, dilation)[...] = 0.5  # all pixels that one tap meets
    for i, j in np.ndindex(3, 3):
        tap(canvas, i, j, size, stride, dilation)[0, 0] = 0.9  # the taps of the first output
    ax.imshow(canvas, cmap="Blues", vmin=0, vmax=1)
    ax.set_xticks(np.arange(canvas.shape[1] + 1) - 0.5, [])
    ax.set_yticks(np.arange(canvas.shape[0] + 1) - 0.5, [])
    ax.grid(color="white", alpha=1)
    ax.tick_params(length=0)
    ax.set_title(f"{name}\noutput {size[0]} × {size[1]}", fontsize=10)
figure.suptitle("Dark: the nine taps of the first output. Middle: all that tap (1, 2) meets")
plots.show(
    "Four grids of pixels: the nine taps of the first output, and the pixels that one tap meets "
    "for all outputs, for a plain, a padded, a strided and a dilated kernel"
)

# %% [markdown]
# ### Forward
# So a convolution is $k_h k_w$ matrix products, one a tap, added up: `tap` gives the pixels, `np.einsum` mixes the channels. With $g$ **groups** the channels are cut into $g$ equal runs that don't see each other: run number $r$ of the outputs reads run number $r$ of the inputs, and the weight has the shape $(f, c/g, k_h, k_w)$. Reshape to $(n, g, c/g, h, w)$ and the groups become one more index.
#
# {{task:conv2d}}

# %% [markdown] lang="ru"
# ### Прямой проход
# Значит, свёртка — это $k_h k_w$ матричных произведений, по одному на отвод, и их сумма: `tap` даёт пиксели, `np.einsum` смешивает каналы. При $g$ **группах** (groups) каналы разрезаны на $g$ равных отрезков, которые друг друга не видят: отрезок выходов номер $r$ читает отрезок входов номер $r$, а веса имеют форму $(f, c/g, k_h, k_w)$. Измените форму на $(n, g, c/g, h, w)$ — и группы станут ещё одним индексом.
#
# {{task:conv2d}}


# %% solution="conv2d"
def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """Convolution as networks have it: the kernel is not flipped.

    x: (n, c, h, w), weight: (f, c / groups, kh, kw), bias: (f,) -> (n, f, oh, ow).
    Example: x = [[1, 2, 3], [4, 5, 6], [7, 8, 9]], weight = [[1, 2], [0, -1]], bias = [0]:
    the first output is 1 * 1 + 2 * 2 + 0 * 4 - 1 * 5 = 0, all are [[0, 2], [6, 8]].
    """
    ### BEGIN SOLUTION
    n, c, *size = x.shape
    f, _, *kernel = weight.shape
    size = output_size(size, kernel, stride, padding, dilation)
    x = pad(x, padding)
    x = x.reshape(n, groups, c // groups, *x.shape[2:])
    weight = weight.reshape(groups, f // groups, c // groups, *kernel)
    y = np.zeros((n, groups, f // groups, *size))
    for i, j in np.ndindex(*kernel):
        met = tap(x, i, j, size, stride, dilation)
        y += np.einsum("ngchw,gfc->ngfhw", met, weight[..., i, j])
    return y.reshape(n, f, *size) + bias[:, None, None]
    ### END SOLUTION


# %% [markdown]
# The hidden checks draw cases with different numbers for rows and columns. While your function runs in them, torch's functions raise an error, and it may start no threads.

# %% [markdown] lang="ru"
# Скрытые проверки берут случаи, где числа для строк и столбцов разные. Пока в них работает ваша функция, функции torch вызывают ошибку, а запускать потоки нельзя.


# %%
def conv_case(rng: np.random.Generator, kernel=None, stride=None, padding=None, dilation=None):
    """A random case of conv2d: x, weight, bias and the settings by name."""

    def pair(low: int, high: int) -> Pair:
        return int(rng.integers(low, high)), int(rng.integers(low, high))

    kernel, stride = kernel or pair(1, 4), stride or pair(1, 4)
    padding, dilation = padding or pair(0, 3), dilation or pair(1, 3)
    groups, a, b = (int(v) for v in rng.integers(1, 4, 3))
    least = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    x = rng.normal(size=(2, groups * a, least[0] + rng.integers(2, 7), least[1] + rng.integers(7)))
    weight, bias = rng.normal(size=(groups * b, a, *kernel)), rng.normal(size=groups * b)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return x, weight, bias, options


# %% test="conv2d" points=1 bonus=true difficulty=3 minutes=25
x, weight = np.arange(1.0, 10).reshape(1, 1, 3, 3), np.array([[[[1.0, 2.0], [0.0, -1.0]]]])
check.close(
    conv2d(x.copy(), weight.copy(), np.zeros(1)),
    [[[[0, 2], [6, 8]]]],
    "conv2d of the docstring's example",
    why="add up kernel times window, the kernel as it is, not flipped",
)
check.close(
    conv2d(x.copy(), weight.copy(), np.array([100.0])),
    [[[[100, 102], [106, 108]]]],
    "conv2d(x, weight, [100])",
    why="add the bias to every output",
)
check.close(
    conv2d(x, weight, np.array([100.0]), stride=(2, 1), padding=(1, 0)),
    [[[[98, 97], [106, 108]]]],
    "conv2d(x, weight, [100], stride=(2, 1), padding=(1, 0))",
    why="put a row of zeros above and below, then take every second row",
)
### BEGIN HIDDEN TESTS
rng = check.rng("conv2d")


def judge_conv2d(x, weight, bias, call, why, **options):
    """conv2d gives what torch's does, which is asked first."""
    doubles = (torch.tensor(v, dtype=torch.float64) for v in (x, weight, bias))
    want = F.conv2d(*doubles, **options)
    with check.without_torch():
        got = check.answer(conv2d, x, weight, bias, call=call, **options)
    week03.close(got, want, call, why)


for x_shape, weight_shape, options, why in [
    ((1, 1, 5, 7), (1, 1, 2, 3), {}, "add up kernel times window at every place, then the bias"),
    ((1, 3, 5, 6), (1, 3, 3, 2), {}, "add up over the input's channels"),
    ((1, 2, 5, 6), (4, 2, 2, 3), {}, "give each filter an output channel and its own bias"),
    ((3, 2, 4, 5), (1, 2, 2, 3), {}, "treat each picture of the batch by itself"),
    ((1, 1, 8, 9), (1, 1, 2, 3), {"stride": (2, 3)}, "go on by the stride: (rows, columns)"),
    ((1, 1, 4, 5), (1, 1, 3, 2), {"padding": (2, 1)}, "add padding zeros on each side"),
    ((1, 2, 4, 5), (2, 2, 3, 5), {"padding": (1, 2)}, "leave x alone where y has its size"),
    ((1, 1, 8, 9), (1, 1, 3, 2), {"dilation": (2, 3)}, "keep the taps a dilation apart"),
    ((1, 4, 4, 5), (6, 2, 2, 3), {"groups": 2}, "let a run of outputs read its run of inputs"),
    ((1, 3, 5, 4), (6, 1, 2, 3), {"groups": 3}, "give each channel two outputs of its own"),
    (
        (1, 5, 8, 9),
        (5, 1, 3, 2),
        {"groups": 5, "dilation": (2, 3)},
        "keep the taps a dilation apart in each of many groups",
    ),
]:
    x, weight = rng.normal(size=x_shape), rng.normal(size=weight_shape)
    bias = rng.normal(size=len(weight))
    call = f"conv2d(x, weight, bias) of shapes {x_shape} and {weight_shape}, {options}"
    judge_conv2d(x, weight, bias, call, why, **options)
photo, weight = rng.integers(0, 256, (1, 2, 4, 5), np.uint8), rng.normal(size=(3, 2, 2, 3))
bias = rng.normal(size=3)
judge_conv2d(photo, weight, bias, "conv2d(bytes, weight, bias)", "keep the fractions of the answer")
large = 2**27 + 1 + np.arange(40).reshape(1, 2, 4, 5)
why = "take whole numbers as they are, however large"
judge_conv2d(large, weight, bias, "conv2d(large whole numbers, weight, bias)", why)
whole, byte = np.arange(-18, 18).reshape(3, 2, 2, 3), np.arange(220, 256, dtype=np.uint8)
why = "keep the fractions of picture and bias, also where weights are whole numbers"
judge_conv2d(photo / 7, whole, bias, "conv2d(x, whole weight, bias)", why)
byte = byte.reshape(3, 2, 2, 3)
judge_conv2d(photo / 7, byte, bias, "conv2d(x, bytes, bias)", "take weights of bytes as they are")
few = np.array([250, 3, 131], np.uint8)
judge_conv2d(photo / 7, weight, few, "conv2d(x, weight, bytes)", "take a bias of bytes as it is")
why = "not overflow where all are bytes"
judge_conv2d(photo // 2 + 120, byte, few, "conv2d(bytes, bytes, bytes)", why)
fixed = [((3, 2), (2, 1), (1, 0), (1, 3)), ((2, 3), (1, 3), (0, 2), (2, 1)), ((1, 1),) * 4]
for case in [*fixed, *[(None,) * 4] * 9]:
    x, weight, bias, options = conv_case(rng, *case)
    call = f"conv2d(x, weight, bias) with {options}"
    judge_conv2d(
        x, weight, bias, call, "do all of this together, as torch's conv2d does", **options
    )
first = conv2d(x, weight, bias, **options)
want = check.array(conv2d(x, weight, bias, **options), call)
conv2d(x + 1, weight, bias, **options)
check.close(first, want, f"{call}, looked at after a second call", why="be an array of its own")
free = all(v.flags.writeable for v in (x, weight, bias))
check.that(free, "leave the arguments of conv2d as they were, free to be written to")
for part in (x, weight, bias):
    part += 1
    doubles = (torch.tensor(v, dtype=torch.float64) for v in (x, weight, bias))
    want = F.conv2d(*doubles, **options)
    what = f"{call}, called again after its arguments changed"
    again = check.array(conv2d(x, weight, bias, **options), what)
    why = "look at the numbers in its arguments, not at which arrays they are"
    week03.close(again, want, what, why)
### END HIDDEN TESTS

# %% mutant="conv2d" why="large whole numbers in single precision"
# - x = pad(x, padding)
# + x = pad(x.astype(np.float32) if x.dtype.kind in "iu" else x, padding)

# %% mutant="conv2d" why="a bias of whole numbers where the weights are"
# - return y.reshape(n, f, *size) + bias[:, None, None]
# + return y.reshape(n, f, *size) + bias.astype(weight.dtype)[:, None, None]

# %% mutant="conv2d" why="weights of bytes get signs"
# - weight = weight.reshape(groups, f // groups, c // groups, *kernel)
# + weight = weight.astype(np.int8) if weight.dtype == np.uint8 else weight
# + weight = weight.reshape(groups, f // groups, c // groups, *kernel)

# %% mutant="conv2d" why="locks its argument"
# - n, c, *size = x.shape
# + x.flags.writeable = False
# + n, c, *size = x.shape

# %% mutant="conv2d" why="flips the kernel, as mathematics does"
# - met = tap(x, i, j, size, stride, dilation)
# - y += np.einsum("ngchw,gfc->ngfhw", met, weight[..., i, j])
# + met = tap(x, i, j, size, stride, dilation)
# + y += np.einsum("ngchw,gfc->ngfhw", met, weight[..., ::-1, ::-1][..., i, j])

# %% mutant="conv2d" why="swaps the strides of rows and columns"
# - met = tap(x, i, j, size, stride, dilation)
# + met = tap(x, i, j, size, stride[::-1], dilation)

# %% mutant="conv2d" why="computes the size without the dilation"
# - size = output_size(size, kernel, stride, padding, dilation)
# + size = output_size(size, kernel, stride, padding, (1, 1))

# %% mutant="conv2d" why="forgets the bias"
# - return y.reshape(n, f, *size) + bias[:, None, None]
# + return y.reshape(n, f, *size)

# %% mutant="conv2d" why="deals the outputs out to the groups in turn"
# - return y.reshape(n, f, *size) + bias[:, None, None]
# + return y.swapaxes(1, 2).reshape(n, f, *size) + bias[:, None, None]

# %% mutant="conv2d" why="takes the last tap for all"
# - y += np.einsum("ngchw,gfc->ngfhw", met, weight[..., i, j])
# + y = np.einsum("ngchw,gfc->ngfhw", met, weight[..., i, j])

# %% mutant="conv2d" why="whole numbers for a picture of bytes"
# - n, c, *size = x.shape
# + n, c, *size = x.shape
# + kind = x.dtype
# - return y.reshape(n, f, *size) + bias[:, None, None]
# + return (y.reshape(n, f, *size) + bias[:, None, None]).astype(kind)

# %% mutant="conv2d" why="lets torch do it, in another thread"
# - n, c, *size = x.shape
# + from concurrent.futures import ThreadPoolExecutor
# +
# + def work():
# +     tensors = [torch.tensor(v, dtype=torch.float64) for v in (x, weight, bias)]
# +     return F.conv2d(*tensors, stride, padding, dilation, groups).numpy()
# +
# + with ThreadPoolExecutor(1) as pool:
# +     return pool.submit(work).result()
# + n, c, *size = x.shape

# %% mutant="conv2d" why="one array for all answers of a size"
# - y = np.zeros((n, groups, f // groups, *size))
# + shape = n, groups, f // groups, *size
# + y = conv2d.__dict__.setdefault(str(shape), np.zeros(shape))
# + y[...] = bias.reshape(groups, -1, 1, 1)
# - return y.reshape(n, f, *size) + bias[:, None, None]
# + return y.reshape(n, f, *size)

# %% mutant="conv2d" why="swaps the padding of rows and columns"
# - x = pad(x, padding)
# + x = pad(x, padding[::-1])

# %% mutant="conv2d" why="the first filter's bias for all"
# - return y.reshape(n, f, *size) + bias[:, None, None]
# + return y.reshape(n, f, *size) + bias[0]


# %% alternative="conv2d" why="im2col: all windows as columns of a matrix, then one product a group"
def conv2d(x, weight, bias, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    (kh, kw), (dh, dw) = weight.shape[2:], dilation
    x = np.pad(1.0 * x, [(0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2])
    reach = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1], ::dh, ::dw]
    n, _, oh, ow = windows.shape[:4]
    outputs = []
    for part, kernel in zip(np.split(windows, groups, 1), np.split(weight, groups), strict=True):
        columns = part.transpose(0, 2, 3, 1, 4, 5).reshape(n, oh * ow, kernel[0].size)
        outputs.append((columns @ kernel.reshape(len(kernel), -1).T).swapaxes(1, 2))
    return np.concatenate(outputs, 1).reshape(n, -1, oh, ow) + bias[None, :, None, None]


# %%
nuclei = data.load("nuclei", profile)
cell = nuclei.x_train[15][None, None, 60:220, 60:220] / 255

# %%
kernels = {
    "vertical edges": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "blur": np.full((3, 3), 1 / 9),
    "blur, dilation 6": np.full((3, 3), 1 / 9),
    "horizontal edges, stride 4": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
}
figure, axes = plt.subplots(1, 5, figsize=(12, 2.9))
axes[0].imshow(cell[0, 0])
axes[0].set_title(f"a picture, {cell.shape[2]} × {cell.shape[3]}", fontsize=10)
for ax, (name, kernel) in zip(axes[1:], kernels.items(), strict=True):
    step, apart = 4 if "stride" in name else 1, 6 if "dilation" in name else 1
    options = {"stride": (step, step), "dilation": (apart, apart), "padding": (apart, apart)}
    y = conv2d(cell, np.array(kernel, float)[None, None], np.zeros(1), **options)[0, 0]
    ax.imshow(y)
    ax.set_title(f"{name}\n{y.shape[0]} × {y.shape[1]}", fontsize=10)
for ax in axes:
    ax.axis("off")
plots.show(
    "Nuclei of cells and four filtered versions: vertical edges, a blur, a dilated blur that "
    "leaves ghosts, and a small picture of the horizontal edges"
)

# %% [markdown]
# ### Backward
# Where a value is used many times its gradients add up. Weight $w[i, j]$ meets `tap(x, i, j)` in every output, so its gradient is the sum of output gradient times tap, over pictures and places. And what an output took from a pixel by a tap, the gradient returns **by the same tap**: write it into `tap(grad_x, i, j)`, a view, and the sum is done where windows overlap.
#
# $$\frac{\partial L}{\partial w_{fc}[i,j]} = \sum_{n, a, b} G_f[a, b]\; x_c[a s + i d,\, b s + j d],$$
#
# $$\frac{\partial L}{\partial x_c}\Big[a s + i d,\, b s + j d\Big] \mathrel{+}= \sum_f G_f[a, b]\; w_{fc}[i, j].$$
#
# The gradient of the padding goes nowhere: cut it off.
#
# {{task:conv2d_backward}}

# %% [markdown] lang="ru"
# ### Обратный проход
# Если значение использовано много раз, его градиенты складываются. Вес $w[i, j]$ встречает `tap(x, i, j)` в каждом выходе, поэтому его градиент — сумма произведений градиента выхода на отвод по всем картинкам и местам. А то, что выход взял у пикселя через отвод, градиент возвращает **через тот же отвод**: пишите в `tap(grad_x, i, j)` — это представление (view), и там, где окна перекрываются, сумма получится сама.
#
# $$\frac{\partial L}{\partial w_{fc}[i,j]} = \sum_{n, a, b} G_f[a, b]\; x_c[a s + i d,\, b s + j d],$$
#
# $$\frac{\partial L}{\partial x_c}\Big[a s + i d,\, b s + j d\Big] \mathrel{+}= \sum_f G_f[a, b]\; w_{fc}[i, j].$$
#
# Градиент дополнения никому не нужен: отрежьте его.
#
# {{task:conv2d_backward}}


# %% solution="conv2d_backward"
def conv2d_backward(
    grad: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of a loss with respect to x, weight and bias of conv2d.

    grad: (n, f, oh, ow), the gradient of the output -> shapes of x, weight and bias.
    """
    ### BEGIN SOLUTION
    (n, f, *size), (_, c, *_) = grad.shape, x.shape
    padded = pad(x, padding)
    taken = padded.reshape(n, groups, c // groups, *padded.shape[2:])
    grad_taken = np.zeros_like(taken)
    grouped = weight.astype(float).reshape(groups, f // groups, *weight.shape[1:])
    grad_weight = np.zeros_like(grouped)
    out = grad.astype(float).reshape(n, groups, f // groups, *size)
    for i, j in np.ndindex(*weight.shape[2:]):
        met = tap(taken, i, j, size, stride, dilation)
        grad_weight[..., i, j] = np.einsum("ngfhw,ngchw->gfc", out, met)
        back = tap(grad_taken, i, j, size, stride, dilation)
        back += np.einsum("ngfhw,gfc->ngchw", out, grouped[..., i, j])
    grad_x = crop(grad_taken.reshape(padded.shape), padding)
    return grad_x, grad_weight.reshape(weight.shape), grad.sum(axis=(0, 2, 3))
    ### END SOLUTION


# %% test="conv2d_backward" points=1 bonus=true difficulty=4 minutes=35
x, weight = np.arange(1.0, 10).reshape(1, 1, 3, 3), np.array([[[[1.0, 2.0], [0.0, -1.0]]]])
grad_x, grad_weight, grad_bias = conv2d_backward(np.array([[[[1.0, 10], [0, 0]]]]), x, weight)
check.close(
    grad_x,
    [[[[1, 12, 20], [0, -1, -10], [0, 0, 0]]]],
    "grad_x of conv2d_backward",
    why="come back through the kernel from each output; where windows overlap, add up",
)
check.close(
    grad_weight,
    [[[[21, 32], [54, 65]]]],
    "grad_weight of conv2d_backward",
    why="be, for weight [i, j], the sum of output gradient times the pixel that it met",
)
check.close(grad_bias, [11], "grad_bias of conv2d_backward", why="be the sum over all outputs")
### BEGIN HIDDEN TESTS
rng = check.rng("conv2d_backward")


def judge_conv2d_backward(x, weight, call, why, grad=None, scale=1.0, **options):
    """conv2d_backward gives what torch's autograd does, which is asked first."""
    bias = rng.normal(size=len(weight))
    leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (x, weight, bias)]
    y = F.conv2d(*leaves, **options)
    grad = rng.normal(size=tuple(y.shape)) / scale if grad is None else grad
    wanted = torch.autograd.grad(y, leaves, torch.tensor(grad, dtype=torch.float64))
    with check.without_torch():
        found = check.answer(conv2d_backward, grad, x, weight, call=call, **options)
    three = isinstance(found, tuple | list) and len(found) == 3
    check.that(three, "return three gradients: of x, weight and bias")
    for name, got, want in zip(("grad_x", "grad_weight", "grad_bias"), found, wanted, strict=True):
        name = f"{name} of {call}"
        got = check.array(got, name) if scale == 1 else check.array(got, name) * scale
        week03.close(got, want * scale, name, why)


for x_shape, weight_shape, options, why in [
    ((1, 1, 2, 3), (1, 1, 2, 3), {}, "come from a single output"),
    ((1, 1, 5, 7), (1, 1, 2, 3), {}, "add up over all outputs"),
    ((1, 3, 4, 6), (1, 3, 3, 2), {}, "hold for each of the input's channels"),
    ((1, 2, 4, 6), (4, 2, 2, 3), {}, "hold for each filter, and add up in x"),
    ((3, 2, 4, 5), (1, 2, 2, 3), {}, "add up over the pictures for weight and bias, not for x"),
    ((1, 1, 8, 9), (1, 1, 2, 3), {"stride": (2, 3)}, "go by the stride: (rows, columns)"),
    ((1, 1, 4, 5), (1, 1, 3, 2), {"padding": (2, 1)}, "be those of x without its padding"),
    ((1, 1, 8, 9), (1, 1, 3, 2), {"dilation": (2, 3)}, "take taps that are a dilation apart"),
    ((1, 4, 4, 5), (6, 2, 2, 3), {"groups": 2}, "stay within the runs of the groups"),
    ((1, 1, 3, 4), (1, 1, 2, 3), {"padding": (4, 5)}, "be those of x, however wide its padding"),
]:
    x, weight = rng.normal(size=x_shape), rng.normal(size=weight_shape)
    call = f"conv2d_backward(grad, x, weight) of shapes {x_shape} and {weight_shape}, {options}"
    judge_conv2d_backward(x, weight, call, why, **options)
photo, weight = rng.integers(0, 256, (1, 2, 4, 5), np.uint8), rng.normal(size=(3, 2, 2, 3))
photo[0, :, 1, 2] = 0
call = "conv2d_backward(grad, bytes, weight)"
judge_conv2d_backward(photo, weight, call, "keep the fractions of the gradients")
large = 2**27 + 1 + np.arange(40).reshape(1, 2, 4, 5)
call, why = "conv2d_backward(grad, large whole numbers, weight)", "take whole numbers as they are"
judge_conv2d_backward(large, weight, call, why)
whole = np.arange(-18, 18).reshape(3, 2, 2, 3)
call, why = "conv2d_backward(grad, x, whole weight)", "keep fractions, also of whole weights"
judge_conv2d_backward(photo / 7, whole, call, why)
byte = np.arange(220, 256, dtype=np.uint8).reshape(3, 2, 2, 3)
call, why = "conv2d_backward(grad, x, bytes)", "take weights of bytes as they are"
judge_conv2d_backward(photo / 7, byte, call, why)
steps = np.arange(200, 227, dtype=np.uint8).reshape(1, 3, 3, 3)
call, why = (
    "conv2d_backward(bytes, x, weight)",
    "take whole gradients as they are: their sum is larger",
)
judge_conv2d_backward(photo / 7, weight, call, why, grad=steps)
why = "not overflow where all are bytes"
judge_conv2d_backward(photo, byte, "conv2d_backward(bytes, bytes, bytes)", why, grad=steps)
call, why = "conv2d_backward(tiny grad, x, weight)", "pass on gradients however small"
judge_conv2d_backward(photo / 7, weight, call, why, scale=1e14)
fixed = [((3, 2), (2, 1), (1, 0), (1, 3)), ((2, 3), (1, 3), (0, 2), (2, 1)), ((1, 1),) * 4]
for case in [*fixed, *[(None,) * 4] * 7]:
    x, weight, _, options = conv_case(rng, *case)
    call = f"conv2d_backward(grad, x, weight) with {options}"
    why = "do all of this together, as torch's autograd does"
    judge_conv2d_backward(x, weight, call, why, **options)
grad = np.ones((2, 4, 3, 5))
x, weight = rng.normal(size=(2, 3, 4, 6)), rng.normal(size=(4, 3, 2, 2))
first_x, first_weight, first_bias = conv2d_backward(grad, x, weight)
wanted = check.plain(conv2d_backward(grad, x, weight), "conv2d_backward(grad, x, weight)")
conv2d_backward(2 * grad, x + 1, weight)
for first, want in zip([first_x, first_weight, first_bias], wanted, strict=True):
    call = "conv2d_backward(grad, x, weight), looked at after a second call"
    check.close(first, want, call, why="be arrays of its own")
### END HIDDEN TESTS

# %% mutant="conv2d_backward" why="a whole weight's gradient is cut"
# - return grad_x, grad_weight.reshape(weight.shape), grad.sum(axis=(0, 2, 3))
# + return grad_x, grad_weight.reshape(weight.shape).astype(weight.dtype), grad.sum(axis=(0, 2, 3))

# %% mutant="conv2d_backward" why="sums of bytes are bytes"
# - return grad_x, grad_weight.reshape(weight.shape), grad.sum(axis=(0, 2, 3))
# + grad_bias = grad.sum(axis=(0, 2, 3), dtype=grad.dtype)
# + return grad_x, grad_weight.reshape(weight.shape), grad_bias

# %% mutant="conv2d_backward" why="overlapping windows overwrite each other"
# - back += np.einsum("ngfhw,gfc->ngchw", out, grouped[..., i, j])
# + back[...] = np.einsum("ngfhw,gfc->ngchw", out, grouped[..., i, j])

# %% mutant="conv2d_backward" why="returns the gradient of the padding, too"
# - grad_x = crop(grad_taken.reshape(padded.shape), padding)
# + grad_x = grad_taken.reshape(padded.shape)

# %% mutant="conv2d_backward" why="the mean over the batch"
# - return grad_x, grad_weight.reshape(weight.shape), grad.sum(axis=(0, 2, 3))
# + return grad_x, grad_weight.reshape(weight.shape) / n, grad.sum(axis=(0, 2, 3)) / n

# %% mutant="conv2d_backward" why="ignores the dilation on the way back"
# - back = tap(grad_taken, i, j, size, stride, dilation)
# + back = tap(grad_taken, i, j, size, stride)

# %% mutant="conv2d_backward" why="flips the kernel on the way back"
# - back += np.einsum("ngfhw,gfc->ngchw", out, grouped[..., i, j])
# + back += np.einsum("ngfhw,gfc->ngchw", out, grouped[..., -1 - i, -1 - j])

# %% mutant="conv2d_backward" why="multiplies the weight in place"
# - grad_x = crop(grad_taken.reshape(padded.shape), padding)
# + grad_x = crop(grad_taken.reshape(padded.shape), padding)
# + grad *= 1.5

# %% mutant="conv2d_backward" why="whole numbers for a picture of bytes"
# - grad_x = crop(grad_taken.reshape(padded.shape), padding)
# + grad_x = crop(grad_taken.reshape(padded.shape), padding).astype(x.dtype)

# %% mutant="conv2d_backward" why="the bias's gradient of the first picture alone"
# - return grad_x, grad_weight.reshape(weight.shape), grad.sum(axis=(0, 2, 3))
# + return grad_x, grad_weight.reshape(weight.shape), grad[0].sum(axis=(1, 2))

# %% mutant="conv2d_backward" why="keeps the sums of the call before"
# - grad_weight = np.zeros_like(grouped)
# + grad_weight = conv2d_backward.__dict__.setdefault(str(grouped.shape), np.zeros_like(grouped))


# %% alternative="conv2d_backward" why="a slow loop over the outputs"
def conv2d_backward(grad, x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    (p, q), (h, w) = padding, x.shape[2:]
    x = np.pad(1.0 * x, [(0, 0), (0, 0), (p, p), (q, q)])
    grad, grad_x, grad_weight = 1.0 * grad, np.zeros_like(x), np.zeros(weight.shape)
    _, a, kh, kw = weight.shape
    per_group = len(weight) // groups
    for f, i, j in np.ndindex(grad.shape[1:]):
        first = f // per_group * a
        rows = slice(i * stride[0], i * stride[0] + dilation[0] * (kh - 1) + 1, dilation[0])
        columns = slice(j * stride[1], j * stride[1] + dilation[1] * (kw - 1) + 1, dilation[1])
        window = (slice(None), slice(first, first + a), rows, columns)
        g = grad[:, f, i, j][:, None, None, None]
        grad_weight[f] += (g * x[window]).sum(0)
        grad_x[window] += g * weight[f]
    return grad_x[:, :, p : p + h, q : q + w], grad_weight, grad.sum((0, 2, 3))


# %% [markdown]
# A gradient is for learning. Somebody has filtered a picture of noise with a kernel of $5 \times 5$ that you don't know. Start with zeros, compare, go down your gradient: the kernel comes out.

# %% [markdown] lang="ru"
# Градиент нужен, чтобы учиться. Кто-то применил к картинке из шума ядро $5 \times 5$, которое вам неизвестно. Начните с нулей, сравнивайте и идите вниз по своему градиенту: ядро проявится.

# %%
rng = seed_everything(3)
secret = np.outer(np.hanning(7)[1:-1], np.gradient(np.hanning(7))[1:-1])[None, None]
picture = rng.normal(size=(1, 1, 24, 24))
target = F.conv2d(torch.tensor(picture), torch.tensor(secret)).numpy()
learned, losses, moments = np.zeros((1, 1, 5, 5)), [], []
for step in range(61):
    error = F.conv2d(torch.tensor(picture), torch.tensor(learned)).numpy() - target
    losses.append((error**2).mean())
    if step in (0, 3, 10, 60):
        moments.append((step, learned))
    learned = learned - 0.1 * conv2d_backward(2 * error / error.size, picture, learned)[1]
figure, axes = plt.subplots(1, 6, figsize=(12, 2.6), width_ratios=[1.6, 1, 1, 1, 1, 1])
title = "Mean squared error"
plots.curves({"": losses}, title, "step", "loss", log_y=True, ax=axes[0])
shown = [*((f"after {step} steps", w) for step, w in moments), ("the secret kernel", secret)]
for ax, (name, w) in zip(axes[1:], shown, strict=True):
    ax.imshow(w[0, 0], cmap="RdBu_r", vmin=-0.5, vmax=0.5)
    ax.set_title(name, fontsize=10)
    ax.axis("off")
plots.show("The loss falls and the learned kernel becomes equal to the secret kernel")

# %% [markdown]
# ## 2. Pooling
# [Pooling](glossary:Pooling) slides a window over each channel and keeps one number: the largest or the mean. It has no weights. In max pooling the padding must never win, so it is $-\infty$; in average pooling it is zero, and it is a question of taste whether those zeros count in the mean (torch: `count_include_pad`).
#
# Backward, the maximum passes its gradient to the winner alone. If several pixels of a window are equally large, one is the winner: the first in reading order, as in torch. Padding is at most half of the kernel, so that every window holds a pixel.
#
# {{task:pooling}}

# %% [markdown] lang="ru"
# ## 2. Пулинг
# [Пулинг](glossary:Pooling) (pooling) ведёт окно по каждому каналу и оставляет одно число: наибольшее или среднее. Весов у него нет. В пулинге по максимуму дополнение не должно побеждать никогда, поэтому оно равно $-\infty$; в усредняющем оно нулевое, а считать ли эти нули в среднем — дело вкуса (в torch — `count_include_pad`).
#
# На обратном пути максимум отдаёт свой градиент одному лишь победителю. Если в окне несколько одинаково больших пикселей, победитель всё равно один: первый в порядке чтения, как в torch. Дополнение не больше половины ядра, поэтому в каждом окне есть хотя бы один пиксель.
#
# {{task:pooling}}


# %% solution="pooling"
def max_pool2d(x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair) -> np.ndarray:
    """The largest number of every window. x: (n, c, h, w) -> (n, c, oh, ow)."""
    ### BEGIN SOLUTION
    size = output_size(x.shape[2:], kernel, stride, padding, (1, 1))
    x = pad(x, padding, -np.inf)
    return np.max([tap(x, i, j, size, stride) for i, j in np.ndindex(*kernel)], axis=0)
    ### END SOLUTION


def max_pool2d_backward(
    grad: np.ndarray, x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair
) -> np.ndarray:
    """The gradient with respect to x. grad: (n, c, oh, ow) of the output -> (n, c, h, w)."""
    ### BEGIN SOLUTION
    size, x = grad.shape[2:], pad(x, padding, -np.inf)
    places = list(np.ndindex(*kernel))
    winner = np.argmax([tap(x, i, j, size, stride) for i, j in places], axis=0)
    grad_x = np.zeros_like(x)
    for k, (i, j) in enumerate(places):
        back = tap(grad_x, i, j, size, stride)
        back += grad * (winner == k)
    return crop(grad_x, padding)
    ### END SOLUTION


def avg_pool2d(
    x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair, count_include_pad: bool = True
) -> np.ndarray:
    """The mean of every window. x: (n, c, h, w) -> (n, c, oh, ow).

    count_include_pad: padded zeros count in the mean; else only the picture's own pixels do.
    """
    ### BEGIN SOLUTION
    size = output_size(x.shape[2:], kernel, stride, padding, (1, 1))
    count = pad(np.ones(x.shape[2:]), padding, float(count_include_pad))
    total, pixels = (
        sum(tap(a, i, j, size, stride) for i, j in np.ndindex(*kernel))
        for a in (pad(x, padding), count)
    )
    return total / pixels
    ### END SOLUTION


# %% test="pooling" points=0.5 bonus=true difficulty=3 minutes=25
x = np.array([[[[1.0, 5, 2], [4, 5, 0], [3, -1, -6]]]])
check.close(
    max_pool2d(x.copy(), (2, 2), (1, 1), (0, 0)),
    [[[[5, 5], [5, 5]]]],
    "max_pool2d(x, 2 x 2, stride 1)",
    why="take the largest pixel of each window",
)
check.close(
    max_pool2d(x - 10, (2, 2), (2, 2), (1, 1)),
    [[[[-9, -5], [-6, -5]]]],
    "max_pool2d(x - 10, 2 x 2, stride 2, padding 1)",
    why="never let the padding win, also among negative pixels",
)
grad = np.array([[[[1.0, 10], [100, 1000]]]])
check.close(
    max_pool2d_backward(grad, x.copy(), (2, 2), (1, 1), (0, 0)),
    [[[[0, 11, 0], [0, 1100, 0], [0, 0, 0]]]],
    "max_pool2d_backward(grad, x, 2 x 2, stride 1)",
    why="give the whole gradient to the first of the largest pixels in the window",
)
check.close(
    avg_pool2d(x.copy(), (2, 2), (2, 2), (1, 1)),
    [[[[0.25, 1.75], [1.75, -0.5]]]],
    "avg_pool2d(x, 2 x 2, stride 2, padding 1)",
    why="divide by four pixels in every window, zeros of the padding among them",
)
check.close(
    avg_pool2d(x, (2, 2), (2, 2), (1, 1), count_include_pad=False),
    [[[[1, 3.5], [3.5, -0.5]]]],
    "the same with count_include_pad=False",
    why="divide by the picture's own pixels alone",
)
### BEGIN HIDDEN TESTS
rng = check.rng("pooling")


def judge_max(x, kernel, stride, padding, why):
    call = f"max_pool2d(x, {kernel}, {stride}, {padding}), x of shape {x.shape}"
    want = F.max_pool2d(torch.tensor(x, dtype=torch.float64), kernel, stride, padding)
    with check.without_torch():
        got = check.answer(max_pool2d, x, kernel, stride, padding, call=call)
    week03.close(got, want, call, why)


def judge_back(x, kernel, stride, padding, why, bytes_back=False):
    call = f"max_pool2d_backward(grad, x, {kernel}, {stride}, {padding}), x of shape {x.shape}"
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = F.max_pool2d(leaf, kernel, stride, padding)
    grad = rng.normal(size=tuple(y.shape))
    if bytes_back:
        call, grad = f"{call}, grad of bytes", np.full(y.shape, 201, np.uint8)
    (want,) = torch.autograd.grad(y, leaf, torch.tensor(grad, dtype=torch.float64))
    with check.without_torch():
        got = check.answer(max_pool2d_backward, grad, x, kernel, stride, padding, call=call)
    week03.close(got, want, call, why)


def judge_mean(x, kernel, stride, padding, why, **options):
    call = f"avg_pool2d(x, {kernel}, {stride}, {padding}), {options}, x of shape {x.shape}"
    want = F.avg_pool2d(torch.tensor(x, dtype=torch.float64), kernel, stride, padding, **options)
    with check.without_torch():
        got = check.answer(avg_pool2d, x, kernel, stride, padding, call=call, **options)
    week03.close(got, want, call, why)


def below_zero(*shape):
    """Numbers between -1 and 0, no two alike."""
    return -rng.permutation(np.arange(1.0, 1 + np.prod(shape))).reshape(shape) / np.prod(shape)


plain = (1, 1, 5, 6), (2, 3), (3, 3), (0, 0)
channels = (2, 3, 5, 6), (2, 3), (3, 3), (0, 0)
overlap = (1, 1, 5, 7), (3, 2), (1, 1), (0, 0)
strides = (1, 1, 5, 8), (2, 2), (1, 3), (0, 0)
padded = (1, 1, 4, 6), (2, 4), (2, 4), (1, 2)
for (shape, *knobs), why in [
    (plain, "take the largest pixel of each window"),
    (channels, "treat each channel of each picture by itself"),
    (overlap, "look at windows that overlap, too"),
    (strides, "go on by the stride: (rows, columns)"),
    (padded, "never let the padding win"),
]:
    judge_max(below_zero(*shape), *knobs, why)
for (shape, *knobs), why in [
    (plain, "give each window's gradient to its largest pixel"),
    (channels, "find a winner in each channel of each picture"),
    (overlap, "add up where windows share a winner"),
    (strides, "go on by the stride: (rows, columns)"),
    (padded, "cut the padding off on all sides"),
]:
    judge_back(below_zero(*shape), *knobs, why)
for (shape, *knobs), why in [
    (plain, "take the mean of each window"),
    (channels, "treat each channel of each picture by itself"),
    (overlap, "look at windows that overlap, too"),
    (strides, "go on by the stride: (rows, columns)"),
]:
    judge_mean(below_zero(*shape), *knobs, why)
(shape, *knobs), x = padded, below_zero(*padded[0])
judge_mean(x, *knobs, "count the padding where nothing else is said")
judge_mean(x, *knobs, "count the padding", count_include_pad=True)
judge_mean(x, *knobs, "count the picture's own pixels alone", count_include_pad=False)
black = np.array([[[[0.0, 2], [4, 6]]]])
why = "count a pixel of the picture, whatever its value"
judge_mean(black, (2, 2), (2, 2), (1, 1), why, count_include_pad=False)
judge_max(
    black - 1e30, (2, 2), (2, 2), (1, 1), "never let the padding win, however small the pixels"
)
judge_back(
    1e30 * below_zero(*padded[0]),
    *padded[1:],
    "never let the padding win, however small the pixels",
)
wide, why = below_zero(1, 1, 7, 9), "count the picture's own pixels alone, also in a large window"
judge_mean(wide, (5, 6), (2, 3), (2, 3), why, count_include_pad=False)
tie = np.full((1, 2, 4, 6), -3.0)
judge_back(tie, (2, 3), (2, 3), (0, 0), "give a tie to the first pixel in reading order")
dark, why = np.maximum(rng.normal(size=(2, 2, 5, 7)) - 0.6, 0), "let a pixel of the picture win, if it is 0, too"
judge_back(np.zeros((1, 1, 2, 2)), (2, 2), (2, 2), (1, 1), why)
judge_back(dark, (3, 2), (2, 1), (1, 1), why)
near = 0.5 + 3e-12 * np.arange(24.0).reshape(1, 1, 4, 6)
judge_back(
    near, (2, 3), (2, 3), (0, 0), "let the larger pixel win, by however little: that is no tie"
)
photo = rng.integers(1, 256, (1, 2, 5, 6), np.uint8)
knobs = (3, 2), (2, 2), (1, 1)
call = "max_pool2d(bytes, ...)"
want = F.max_pool2d(torch.tensor(photo, dtype=torch.float64), *knobs)
found = check.answer(max_pool2d, photo, *knobs, call=call)
check.close(found, want, call, why="take whole numbers as they are")
judge_back(photo, *knobs, "keep the fractions of the gradient, also for whole pixels")
judge_mean(photo, *knobs, "keep the fractions of the mean, also for whole pixels")
judge_back(
    below_zero(*overlap[0]), *overlap[1:], "take whole gradients as they are", bytes_back=True
)
why = "take whole numbers as they are, however large"
large = 2**27 + 1 + rng.permutation(np.arange(24)).reshape(1, 1, 4, 6)
judge_max(large, (2, 3), (2, 3), (0, 0), why)
judge_back(large, (2, 3), (2, 3), (0, 0), why)
judge_mean(large, (2, 3), (2, 3), (0, 0), why)
for _ in range(8):
    kernel, stride = (tuple(int(v) for v in rng.integers(1, 5, 2)) for _ in range(2))
    padding = tuple(int(rng.integers(0, v // 2 + 1)) for v in kernel)
    # Whole numbers: many ties. Far below zero: a padding of zeros would win.
    x = rng.integers(-9, -4, size=(2, 3, *(int(v) + 3 for v in rng.integers(2, 6, 2)))) * 1.0
    knobs = kernel, stride, padding
    judge_max(x, *knobs, "do all of this together, as torch does")
    judge_back(x, *knobs, "do all of this together, as torch's autograd does")
    for yes in (True, False):
        why = "do all of this together, as torch does"
        judge_mean(x, *knobs, why, count_include_pad=yes)
for kernel in [(2, 3), (1, 1)]:
    x = below_zero(2, 3, 4, 6)
    knobs = kernel, kernel, (0, 0)
    grad = rng.normal(size=(2, 3, 4 // kernel[0], 6 // kernel[1]))
    for name, pool in {
        "max_pool2d": lambda x, knobs=knobs: max_pool2d(x, *knobs),
        "max_pool2d_backward": lambda x, knobs=knobs, grad=grad: max_pool2d_backward(
            grad, x, *knobs
        ),
        "avg_pool2d": lambda x, knobs=knobs: avg_pool2d(x, *knobs),
    }.items():
        first, want = pool(x), check.array(pool(x), name)
        pool(x[..., ::-1] / 2)
        x -= 1
        grad -= 1
        call = (
            f"{name} with kernel {kernel}, looked at after its arguments changed and a second call"
        )
        check.close(first, want, call, why="be an array of its own")
### END HIDDEN TESTS

# %% mutant="pooling" why="pads with zeros: they beat negative pixels"
# - x = pad(x, padding, -np.inf)
# - return np.max([tap(x, i, j, size, stride) for i, j in np.ndindex(*kernel)], axis=0)
# + x = pad(x, padding)
# + return np.max([tap(x, i, j, size, stride) for i, j in np.ndindex(*kernel)], axis=0)

# %% mutant="pooling" why="a padding of -10000, which wins against smaller pixels"
# - size, x = grad.shape[2:], pad(x, padding, -np.inf)
# + size, x = grad.shape[2:], pad(x, padding, -1e4)

# %% mutant="pooling" why="pixels compared in single precision"
# - winner = np.argmax([tap(x, i, j, size, stride) for i, j in places], axis=0)
# + winner = np.argmax([tap(x.astype("f"), i, j, size, stride) for i, j in places], axis=0)

# %% mutant="pooling" why="every largest pixel of a tie gets the gradient"
# - winner = np.argmax([tap(x, i, j, size, stride) for i, j in places], axis=0)
# + taps = np.array([tap(x, i, j, size, stride) for i, j in places])
# - back += grad * (winner == k)
# + back += grad * (taps[k] == taps.max(axis=0))

# %% mutant="pooling" why="a pixel that wins twice keeps one gradient"
# - back += grad * (winner == k)
# + back[winner == k] = grad[winner == k]

# %% mutant="pooling" why="always counts the padding"
# - count = pad(np.ones(x.shape[2:]), padding, float(count_include_pad))
# + count = pad(np.ones(x.shape[2:]), padding, 1.0)

# %% mutant="pooling" why="never counts the padding"
# - count = pad(np.ones(x.shape[2:]), padding, float(count_include_pad))
# + count = pad(np.ones(x.shape[2:]), padding)

# %% mutant="pooling" why="a tie goes to the last pixel"
# - winner = np.argmax([tap(x, i, j, size, stride) for i, j in places], axis=0)
# + winner = len(places) - 1 - np.argmax(
# +     [tap(x, i, j, size, stride) for i, j in places[::-1]], axis=0
# + )

# %% mutant="pooling" why="nearly equal pixels count as a tie"
# - winner = np.argmax([tap(x, i, j, size, stride) for i, j in places], axis=0)
# + taps = np.array([tap(x, i, j, size, stride) for i, j in places])
# + winner = np.argmax(np.isclose(taps, taps.max(axis=0)), axis=0)

# %% mutant="pooling" why="whole means of a picture of bytes"
# - return total / pixels
# + return (total / pixels).astype(x.dtype)

# %% mutant="pooling" why="one winner for all channels"
# - winner = np.argmax([tap(x, i, j, size, stride) for i, j in places], axis=0)
# + winner = np.argmax([tap(x, i, j, size, stride) for i, j in places], axis=0)
# + winner = winner[:, :1]

# %% mutant="pooling" why="swaps the strides of the mean"
# - sum(tap(a, i, j, size, stride) for i, j in np.ndindex(*kernel))
# + sum(tap(a, i, j, size, stride[::-1]) for i, j in np.ndindex(*kernel))


# %% alternative="pooling" why="windows by sliding_window_view and np.add.at"
def _windows(x, kernel, stride):
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    return windows[:, :, :: stride[0], :: stride[1]]


def max_pool2d(x, kernel, stride, padding):
    return _windows(pad(x, padding, -np.inf), kernel, stride).max(axis=(4, 5))


def max_pool2d_backward(grad, x, kernel, stride, padding):
    x = pad(x, padding, -np.inf)
    windows = _windows(x, kernel, stride)
    best = windows.reshape(*windows.shape[:4], -1).argmax(-1)
    n, c, a, b = np.indices(best.shape)
    grad_x = np.zeros_like(x)
    rows, columns = a * stride[0] + best // kernel[1], b * stride[1] + best % kernel[1]
    np.add.at(grad_x, (n, c, rows, columns), grad)
    return crop(grad_x, padding)


def avg_pool2d(x, kernel, stride, padding, count_include_pad=True):
    if count_include_pad:
        return _windows(pad(x, padding), kernel, stride).mean(axis=(4, 5))
    return np.nanmean(_windows(pad(x, padding, np.nan), kernel, stride), axis=(4, 5))


# %%
window = (8, 8), (8, 8), (0, 0)
largest, mean = max_pool2d(cell, *window), avg_pool2d(cell, *window)
winners = max_pool2d_backward(np.ones_like(largest), cell, *window)
shown = {
    "a picture": cell,
    "max pooling, 8 × 8": largest,
    "average pooling, 8 × 8": mean,
    "the winners' pixels get all the gradient": winners,
}
figure, axes = plt.subplots(1, 4, figsize=(11.5, 3.1))
for ax, (name, picture) in zip(axes, shown.items(), strict=True):
    scale = {} if picture is winners else {"vmin": 0, "vmax": cell.max()}
    ax.imshow(picture[0, 0], interpolation="nearest", **scale)
    ax.set_title(name, fontsize=10)
    ax.axis("off")
plots.show(
    "A picture of nuclei, its max and average pooled versions, and the scattered single pixels, "
    "one a window, to which max pooling returns the gradient"
)

# %% [markdown]
# ## 3. Transposed convolution
# A convolution with stride makes pictures smaller; who makes them larger again? Convolution is linear, $y = A x$, and its backward pass multiplies by $A^\top$: it turns a small array into a large one. Used forward, that is the [transposed convolution](glossary:Transposed-convolution) (the "deconvolution" of older papers; it doesn't undo anything). Every input pixel stamps the kernel, times its value, onto the output, at a distance of $s$ from its neighbour. It is the **adjoint** of a convolution with the same numbers:
#
# $$\langle \mathrm{conv}(y),\, x \rangle = \langle y,\, \mathrm{convT}(x) \rangle, \qquad o = (\text{size} - 1)\, s - 2p + k + p_{\text{out}}.$$
#
# Several sizes of $y$ give the same size of $\mathrm{conv}(y)$. `output_padding` says which one is meant: so many rows and columns more, at the bottom and on the right alone.
#
# {{task:conv_transpose2d}}

# %% [markdown] lang="ru"
# ## 3. Транспонированная свёртка
# Свёртка с шагом уменьшает картинки; кто их снова увеличит? Свёртка линейна, $y = A x$, и её обратный проход умножает на $A^\top$: превращает малый массив в большой. Если применить его как прямой, получится [транспонированная свёртка](glossary:Transposed-convolution) (transposed convolution; в старых статьях «деконволюция», хотя ничего она не обращает). Каждый входной пиксель ставит на выход оттиск ядра, умноженного на его значение, на расстоянии $s$ от соседнего. Это **сопряжённый** оператор к свёртке с теми же числами:
#
# $$\langle \mathrm{conv}(y),\, x \rangle = \langle y,\, \mathrm{convT}(x) \rangle, \qquad o = (\text{size} - 1)\, s - 2p + k + p_{\text{out}}.$$
#
# Несколько размеров $y$ дают один и тот же размер $\mathrm{conv}(y)$. Какой из них имеется в виду, говорит `output_padding`: столько строк и столбцов добавить, только снизу и справа.
#
# {{task:conv_transpose2d}}


# %% solution="conv_transpose2d"
def conv_transpose2d(
    x: np.ndarray,
    weight: np.ndarray,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    output_padding: Pair = (0, 0),
) -> np.ndarray:
    """The adjoint of the convolution with the same weight, stride and padding.

    x: (n, f, h, w), weight: (f, c, kh, kw) -> (n, c, oh, ow). output_padding < stride.
    Example: x = [[1, 2]], weight = [[1, 10, 100]], stride (1, 2): [[1, 10, 102, 20, 200]].
    """
    ### BEGIN SOLUTION
    (n, _, *size), (_, c, *kernel) = x.shape, weight.shape
    full = [(m - 1) * s + k for m, s, k in zip(size, stride, kernel, strict=True)]
    ends = [m - p + more for m, p, more in zip(full, padding, output_padding, strict=True)]
    y = np.zeros((n, c, *np.add(full, output_padding)))
    for i, j in np.ndindex(*kernel):
        stamp = tap(y, i, j, size, stride)
        stamp += np.einsum("nfhw,fc->nchw", 1.0 * x, weight[..., i, j])
    return y[:, :, padding[0] : ends[0], padding[1] : ends[1]]
    ### END SOLUTION


# %% test="conv_transpose2d" points=1 bonus=true difficulty=3 minutes=25
x, weight = np.array([[[[1.0, 2.0]]]]), np.array([[[[1.0, 10.0, 100.0]]]])
check.close(
    conv_transpose2d(x.copy(), weight.copy(), (1, 2)),
    [[[[1, 10, 102, 20, 200]]]],
    "conv_transpose2d of the docstring's example",
    why="stamp the kernel twice, two pixels apart, and add up where the stamps overlap",
)
check.close(
    conv_transpose2d(x, weight, (1, 2), (0, 1), (0, 1)),
    [[[[10, 102, 20, 200]]]],
    "the same with padding (0, 1) and output_padding (0, 1)",
    why="cut the padding off on both sides, and give one column more on the right",
)
### BEGIN HIDDEN TESTS
rng = check.rng("conv_transpose2d")


def judge_transposed(x, weight, call, why, **options):
    """conv_transpose2d gives what torch's does, which is asked first."""
    doubles = (torch.tensor(v, dtype=torch.float64) for v in (x, weight))
    want = F.conv_transpose2d(*doubles, **options)
    with check.without_torch():
        got = check.answer(conv_transpose2d, x, weight, call=call, **options)
    week03.close(got, want, call, why)


for x_shape, weight_shape, options, why in [
    ((1, 1, 1, 1), (1, 1, 2, 3), {}, "stamp the kernel as it is, times the pixel"),
    ((1, 1, 3, 4), (1, 1, 2, 3), {}, "add up where the stamps overlap"),
    ((1, 1, 3, 4), (1, 1, 2, 3), {"stride": (2, 3)}, "put stamp beside stamp"),
    ((1, 1, 3, 4), (1, 1, 2, 2), {"stride": (3, 1)}, "go on by the stride: (rows, columns)"),
    ((1, 1, 3, 4), (1, 1, 4, 4), {"stride": (2, 2)}, "go on by the stride, less than a kernel"),
    ((1, 3, 3, 4), (3, 1, 2, 3), {}, "add up over the input's channels"),
    ((1, 2, 3, 4), (2, 4, 3, 2), {}, "give each output channel a kernel of its own"),
    ((3, 2, 2, 4), (2, 1, 2, 3), {}, "treat each picture of the batch by itself"),
    ((1, 1, 4, 5), (1, 1, 4, 3), {"padding": (1, 2)}, "cut the padding off on each side"),
    (
        (1, 1, 6, 5),
        (1, 1, 2, 1),
        {"stride": (2, 3), "padding": (3, 2)},
        "cut the padding off, however wide",
    ),
    ((1, 1, 3, 4), (1, 1, 1, 2), {"stride": (4, 5)}, "leave zeros between stamps that lie apart"),
    (
        (1, 1, 3, 4),
        (1, 1, 4, 5),
        {"stride": (2, 3), "output_padding": (1, 2)},
        "give so many rows and columns more at the bottom and on the right",
    ),
    (
        (1, 1, 3, 4),
        (1, 1, 4, 5),
        {"stride": (2, 3), "padding": (2, 1), "output_padding": (1, 2)},
        "keep what the kernel puts into the rows and columns of output_padding",
    ),
]:
    x, weight = rng.normal(size=x_shape), rng.normal(size=weight_shape)
    call = f"conv_transpose2d(x, weight) of shapes {x_shape} and {weight_shape}, {options}"
    judge_transposed(x, weight, call, why, **options)
photo, weight = rng.integers(0, 256, (1, 2, 3, 4), np.uint8), rng.normal(size=(2, 3, 2, 3))
judge_transposed(
    photo, weight, "conv_transpose2d(bytes, weight)", "keep the fractions of the answer"
)
large = 2**27 + 1 + np.arange(24).reshape(1, 2, 3, 4)
why = "take whole numbers as they are, however large"
judge_transposed(large, weight, "conv_transpose2d(large whole numbers, weight)", why)
whole = np.arange(-18, 18).reshape(2, 3, 2, 3)
why = "keep the fractions of the answer, also for whole weights"
judge_transposed(photo / 7, whole, "conv_transpose2d(x, whole weight)", why)
byte, why = (
    np.arange(220, 256, dtype=np.uint8).reshape(2, 3, 2, 3),
    "take weights of bytes as they are",
)
judge_transposed(photo / 7, byte, "conv_transpose2d(x, bytes)", why)
why = "not overflow where both are bytes"
judge_transposed(photo // 2 + 120, byte, "conv_transpose2d(bytes, bytes)", why)
for _ in range(8):
    kernel, stride = (tuple(int(v) for v in rng.integers(2, 5, 2)) for _ in range(2))
    options = {
        "stride": stride,
        "padding": tuple(int(v) for v in rng.integers(0, 2, 2)),
        "output_padding": tuple(int(rng.integers(0, s)) for s in stride),
    }
    f, c, h, w = (int(v) for v in rng.integers(2, 5, 4))
    x, weight = rng.normal(size=(2, f, h, w)), rng.normal(size=(f, c, *kernel))
    call = f"conv_transpose2d(x, weight) with kernel {kernel}, {options}"
    judge_transposed(x, weight, call, "do all of this together, as torch does", **options)
first = conv_transpose2d(x, weight, **options)
want = check.array(conv_transpose2d(x, weight, **options), call)
conv_transpose2d(x + 1, weight, **options)
check.close(first, want, f"{call}, looked at after a second call", why="be an array of its own")
### END HIDDEN TESTS

# %% mutant="conv_transpose2d" why="products of bytes overflow"
# - stamp += np.einsum("nfhw,fc->nchw", 1.0 * x, weight[..., i, j])
# + stamp += np.einsum("nfhw,fc->nchw", x, weight[..., i, j])

# %% mutant="conv_transpose2d" why="whole numbers where the weights are"
# - return y[:, :, padding[0] : ends[0], padding[1] : ends[1]]
# + return y[:, :, padding[0] : ends[0], padding[1] : ends[1]].astype(weight.dtype)

# %% mutant="conv_transpose2d" why="stamps overwrite each other"
# - stamp += np.einsum("nfhw,fc->nchw", 1.0 * x, weight[..., i, j])
# + stamp[...] = np.einsum("nfhw,fc->nchw", x, weight[..., i, j])

# %% mutant="conv_transpose2d" why="output_padding at the top and on the left"
# - return y[:, :, padding[0] : ends[0], padding[1] : ends[1]]
# + y = y[:, :, padding[0] : ends[0], padding[1] : ends[1]]
# + return np.roll(y, output_padding, axis=(2, 3))

# %% mutant="conv_transpose2d" why="pads where it should cut off"
# - return y[:, :, padding[0] : ends[0], padding[1] : ends[1]]
# + return pad(y, padding)

# %% mutant="conv_transpose2d" why="flips the kernel"
# - stamp += np.einsum("nfhw,fc->nchw", 1.0 * x, weight[..., i, j])
# + stamp += np.einsum("nfhw,fc->nchw", x, weight[..., -1 - i, -1 - j])

# %% mutant="conv_transpose2d" why="output_padding as zeros: loses what the kernel puts there"
# - ends = [m - p + more for m, p, more in zip(full, padding, output_padding, strict=True)]
# + ends = [m - p for m, p in zip(full, padding, strict=True)]
# - return y[:, :, padding[0] : ends[0], padding[1] : ends[1]]
# + y = y[:, :, padding[0] : ends[0], padding[1] : ends[1]]
# + return np.pad(y, [(0, 0), (0, 0), (0, output_padding[0]), (0, output_padding[1])])

# %% mutant="conv_transpose2d" why="where stamps don't overlap, repeats pixels"
# - return y[:, :, padding[0] : ends[0], padding[1] : ends[1]]
# + if tuple(kernel) == tuple(stride):
# +     pixels = x.repeat(kernel[0], 2).repeat(kernel[1], 3)
# +     y = np.einsum("nfhw,fc->nchw", pixels, weight.mean(axis=(2, 3)))
# + return y[:, :, padding[0] : ends[0], padding[1] : ends[1]]

# %% mutant="conv_transpose2d" why="whole numbers for a picture of bytes"
# - return y[:, :, padding[0] : ends[0], padding[1] : ends[1]]
# + return y[:, :, padding[0] : ends[0], padding[1] : ends[1]].astype(x.dtype)

# %% mutant="conv_transpose2d" why="a stride of 2 where none is given"
# - (n, _, *size), (_, c, *kernel) = x.shape, weight.shape
# + stride = (2, 2) if stride is conv_transpose2d.__defaults__[0] else stride
# + (n, _, *size), (_, c, *kernel) = x.shape, weight.shape


# %% alternative="conv_transpose2d" why="zeros between the pixels, then a convolution, kernel flipped"
def conv_transpose2d(x, weight, stride=(1, 1), padding=(0, 0), output_padding=(0, 0)):
    n, f, h, w = x.shape
    kh, kw = weight.shape[2:]
    sparse = np.zeros((n, f, (h - 1) * stride[0] + 1, (w - 1) * stride[1] + 1))
    sparse[:, :, :: stride[0], :: stride[1]] = x
    (a, b), (p, q) = output_padding, padding
    sparse = np.pad(sparse, [(0, 0), (0, 0), (kh - 1, kh - 1 + a), (kw - 1, kw - 1 + b)])
    windows = np.lib.stride_tricks.sliding_window_view(sparse, (kh, kw), axis=(2, 3))
    y = np.einsum("nfhwij,fcij->nchw", windows, weight[..., ::-1, ::-1])
    return y[:, :, p : y.shape[2] - p, q : y.shape[3] - q]


# %% [markdown]
# Where the stride does not divide the kernel, some output pixels get more stamps than others. Even a constant input with a constant kernel comes out as a **checkerboard** (Odena et al., 2016): generated pictures show it as a fine texture. With a kernel of 4 and a stride of 2 every pixel gets equally many stamps, but of different weights: random ones, as before training, bring the pattern back, and the network must learn it away. Repeat the pixels, then use an ordinary convolution, and there is no pattern, but for a darker border where the kernel meets padding.

# %% [markdown] lang="ru"
# Если шаг не делит размер ядра, одним выходным пикселям достаётся больше оттисков, чем другим. Даже постоянный вход с постоянным ядром превращается в **шахматную доску** (checkerboard; Odena и др., 2016): на сгенерированных картинках она видна как мелкая текстура. При ядре 4 и шаге 2 всем пикселям достаётся оттисков поровну, но с разными весами: со случайными, как до обучения, узор возвращается, и сети приходится от него отучаться. А если повторить пиксели и применить обычную свёртку, узора нет — только тёмная кайма там, где ядро задевает дополнение.

# %%
rng, flat = np.random.default_rng(0), np.ones((1, 1, 9, 9))
figure, axes = plt.subplots(2, 3, figsize=(9, 6))
for row, name in enumerate(["constant", "random"]):
    for ax, (k, how) in zip(
        axes[row],
        [(3, "kernel 3, stride 2"), (4, "kernel 4, stride 2"), (3, "pixels repeated, kernel 3")],
        strict=True,
    ):
        kernel = np.ones((1, 1, k, k)) if row == 0 else rng.uniform(0, 1, size=(1, 1, k, k))
        if "repeated" in how:
            y = conv_transpose2d(flat.repeat(2, 2).repeat(2, 3), kernel, (1, 1), (1, 1))
        else:
            y = conv_transpose2d(flat, kernel, (2, 2), (1, 1))
        drawn = ax.imshow(y[0, 0] / kernel.mean(), vmin=0, vmax=1.3 * y.max() / kernel.mean())
        figure.colorbar(drawn, ax=ax, shrink=0.8)
        ax.set_title(f"{how}\n{name} weights", fontsize=10)
        ax.axis("off")
plots.show(
    "A constant picture enlarged in three ways: a checkerboard with kernel 3 and stride 2, with "
    "kernel 4 and stride 2 for random weights alone, and an even surface with a darker border for "
    "repeated pixels"
)

# %% [markdown]
# ## 4. How far does a network see?
# The [receptive field](glossary:Receptive-field) of an output is the part of the picture that can change it. Go through the layers and keep two numbers: the size $r$ and the jump $j$, the distance in the picture between neighbouring positions of this layer. Start with $r = j = 1$; a layer with kernel $k$, stride $s$, dilation $d$ adds $k - 1$ taps, each $d$ jumps away (Araujo, Norris & Sim, 2019):
#
# $$r \leftarrow r + (k - 1)\, d\, j, \qquad j \leftarrow j\, s.$$
#
# A formula can be wrong, so measure: the gradient of one output with respect to the picture is zero wherever the network can't see.
#
# {{task:receptive_field}}

# %% [markdown] lang="ru"
# ## 4. Как далеко видит сеть?
# [Рецептивное поле](glossary:Receptive-field) (receptive field) выхода — та часть картинки, которая может его изменить. Пройдите по слоям, храня два числа: размер $r$ и прыжок $j$ — расстояние на картинке между соседними позициями этого слоя. Вначале $r = j = 1$; слой с ядром $k$, шагом $s$ и дилатацией $d$ добавляет $k - 1$ отводов, каждый через $d$ прыжков (Araujo, Norris, Sim, 2019):
#
# $$r \leftarrow r + (k - 1)\, d\, j, \qquad j \leftarrow j\, s.$$
#
# Формула может быть неверна, поэтому измерьте: градиент одного выхода по картинке равен нулю везде, где сеть не видит.
#
# {{task:receptive_field}}


# %% solution="receptive_field"
def receptive_field(layers: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    """Size and jump of a stack of layers, along one axis.

    layers: (kernel, stride, dilation) of each, the first one first; no layers: (1, 1).
    Example: [(3, 2, 1), (3, 1, 1)] gives (7, 2).
    """
    ### BEGIN SOLUTION
    size, jump = 1, 1
    for kernel, stride, dilation in layers:
        size += (kernel - 1) * dilation * jump
        jump *= stride
    return size, jump
    ### END SOLUTION


def input_gradient(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The gradient of the central outputs with respect to the pictures.

    The central outputs are those at row oh // 2, column ow // 2; take their sum over all
    channels and pictures. The network is taken as it is and stays so: its mode, its parameters and
    their own gradients. x: (n, c, h, w) -> (n, c, h, w) of x's dtype.
    """
    ### BEGIN SOLUTION
    x = x.detach().requires_grad_()
    y = network(x)
    central = y[:, :, y.shape[2] // 2, y.shape[3] // 2]
    return torch.autograd.grad(central.sum(), x)[0]
    ### END SOLUTION


# %% test="receptive_field" points=0.5 bonus=true difficulty=2 minutes=20
check.equal(
    receptive_field([(3, 2, 1), (3, 1, 1)]),
    (7, 2),
    "receptive_field([(3, 2, 1), (3, 1, 1)])",
    why="see 3 pixels, then two more taps at a distance of 2",
)
check.equal(
    receptive_field([(2, 3, 1), (4, 5, 2)]),
    (20, 15),
    "receptive_field([(2, 3, 1), (4, 5, 2)])",
    why="see 2 pixels, then three more taps, each 2 jumps of 3 away",
)
network = nn.Conv2d(1, 1, 3, padding=1, bias=False).double()
x = torch.zeros(1, 1, 5, 6, dtype=torch.float64)
found = check.answer(input_gradient, network, x, call="input_gradient(network, x)")
check.close(
    found[0, 0, 1:4, 2:5],
    network.weight[0, 0],
    "input_gradient of one convolution, 5 x 6 outputs",
    why="be the kernel around row 2 and column 3",
)
### BEGIN HIDDEN TESTS
rng = check.rng("receptive_field")


def judge_field(layers, why):
    """The size and the jump, by the pixels that lie behind two neighbouring outputs."""
    reached = [{0}, {1}]
    for k, s, d in reversed(layers):
        reached = [{i * s + t * d for i in places for t in range(k)} for places in reached]
    want = max(reached[0]) - min(reached[0]) + 1, min(reached[1]) - min(reached[0])
    found = check.answer(receptive_field, layers, call=f"receptive_field({layers})")
    check.equal(found, want, f"receptive_field({layers})", why=why)
    call = f"the kinds in receptive_field({layers})"
    check.equal([check.kind_of(n) for n in found], ["int", "int"], call, why="be whole numbers")
    return want


def judge_gradient(network, x, call, why):
    """The gradient, which autograd is asked for first."""
    leaf = x.detach().clone().requires_grad_()
    y = network(leaf)
    (want,) = torch.autograd.grad(y[:, :, y.shape[2] // 2, y.shape[3] // 2].sum(), leaf)
    call = f"input_gradient(network, x) of {call}"
    found = check.answer(input_gradient, network, x, call=call)
    week03.close(found, want, call, why)
    return found


judge_field([], "say that a pixel sees itself: (1, 1)")
judge_field([(4, 1, 1)], "see as many pixels as the kernel has")
judge_field([(3, 1, 1), (4, 1, 1)], "add the gaps between the taps of each layer")
judge_field([(3, 1, 4)], "put the taps a dilation apart")
judge_field([(4, 3, 1)], "jump by the stride, and see no more than the layer's own taps")
judge_field([(1, 3, 1), (1, 2, 1)], "multiply the jumps")
judge_field([(1, 5, 3), (2, 4, 2)], "hold for any stride and dilation, also where the kernel is 1")
judge_field([(1, 2, 1), (3, 1, 1), (1, 3, 1), (4, 1, 1)], "count in jumps of the layers before")
stacks = [[(3, 1, 2), (2, 3, 1), (5, 1, 1)], [(1, 2, 3), (4, 2, 1), (3, 1, 3)]]
stacks += [[tuple(int(v) for v in rng.integers(1, 4, 3)) for _ in range(3)] for _ in range(4)]
for layers in stacks:
    side, jump = judge_field(layers, "see the pixels that lie behind two neighbouring outputs")
    # No weight and no slope is zero, therefore the gradient is seen wherever there is a way.
    network = nn.Sequential(*[nn.Conv2d(2, 2, k, s, dilation=d) for k, s, d in layers]).double()
    for parameter in network.parameters():
        parameter.data = parameter.data.abs() + 0.1
    rows = side + 3 * jump + int(rng.integers(0, 4))
    x = torch.tensor(rng.normal(size=(2, 2, rows, rows + 2 * jump)))
    why = "belong to the outputs at row oh // 2 and column ow // 2, all channels and pictures"
    found = judge_gradient(network, x, f"a network of {layers}", why)
    seen = np.flatnonzero(np.abs(found[0]).sum(axis=(0, 2)))
    rows = f"the measured rows of {layers}"
    check.equal(seen.max() - seen.min() + 1, side, rows, why="be as many as the formula says")


network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 1, 3, padding=1))
x = torch.tensor(rng.normal(size=(4, 1, 5, 6)))
why = "be that at the x that is given, each picture by itself"
judge_gradient(network.double(), x, "a network with ReLU", why)
network.float()
call = "input_gradient(network, x) in float32"
found = check.answer(input_gradient, network, x.float(), call=call)
check.equal(str(np.asarray(found).dtype), "float32", f"dtype of {call}", why="be that of x")
kinds = {str(p.dtype) for p in network.parameters()}
check.equal(kinds, {"torch.float32"}, "the network's dtype after input_gradient", why="stay as it was")


class Moody(nn.Module):
    """Twice the input in training mode, three times in eval mode."""

    def forward(self, x):
        return x * (2 if self.training else 3)


network = nn.Sequential(nn.Conv2d(1, 2, (3, 2)), Moody(), nn.Conv2d(2, 3, 2)).double()
network[2].weight.requires_grad_(False)
filled = list(network.parameters())[:2]
for parameter in filled:
    parameter.grad = torch.full_like(parameter, 7.0)
why = "be that of a sum, however many pictures there are"
judge_gradient(network, torch.tensor(rng.normal(size=(17, 1, 7, 8))), "17 pictures", why)
x = torch.tensor(rng.normal(size=(3, 1, 7, 8)))
for training in (True, False):
    network.train(training)
    why = "look at the network in the mode that it is in"
    judge_gradient(network, x, f"a network in {'training' if training else 'eval'} mode", why)
    modes = {part.training for part in network.modules()}
    what = "the modes of the network and its parts after input_gradient"
    check.equal(modes, {training}, what, why="stay as they were")
network.train()
network[0].eval()
judge_gradient(network, x, "a network with a part in eval mode", "leave each part in its own mode")
check.equal([part.training for part in network], [False, True, True], what, why="stay as they were")
check.that(
    all(p.grad is not None and bool((p.grad == 7).all()) for p in filled)
    and all(p.grad is None for p in list(network.parameters())[2:]),
    "leave, in input_gradient, the gradients of the network's parameters as they were",
)
check.that(
    [p.requires_grad for p in network.parameters()] == [True, True, False, True],
    "leave, in input_gradient, the network's parameters free to learn, or not, as they were",
)
for asked in (False, True):
    x.requires_grad_(asked)
    x.grad = torch.full_like(x, 5.0) if asked else None
    what = "x that asks for a gradient" if asked else "x that asks for no gradient"
    judge_gradient(network, x, what, "be the gradient alone")
    same = x.requires_grad is asked
    same = same and (x.grad is not None and bool((x.grad == 5).all()) if asked else x.grad is None)
    check.that(same, "leave the x of input_gradient as it was, its own gradient too")
### END HIDDEN TESTS

# %% mutant="receptive_field" why="the gradient at zeros"
# - x = x.detach().requires_grad_()
# + x = torch.zeros_like(x).requires_grad_()

# %% mutant="receptive_field" why="the mean over the pictures"
# - return torch.autograd.grad(central.sum(), x)[0]
# + return torch.autograd.grad(central.sum(), x)[0].mean(0, keepdim=True).expand_as(x).clone()

# %% mutant="receptive_field" why="the network in float64 for good"
# - x = x.detach().requires_grad_()
# - y = network(x)
# + x = x.detach().double().requires_grad_()
# + y = network.double()(x)

# %% mutant="receptive_field" why="wipes the parameters' own gradients"
# - return torch.autograd.grad(central.sum(), x)[0]
# + central.sum().backward()
# + network.zero_grad()
# + return x.grad

# %% mutant="receptive_field" why="adds the kernels, whatever the stride"
# - size += (kernel - 1) * dilation * jump
# + size += (kernel - 1) * dilation

# %% mutant="receptive_field" why="counts a layer's own stride for its own taps"
# - size += (kernel - 1) * dilation * jump
# - jump *= stride
# + jump *= stride
# + size += (kernel - 1) * dilation * jump

# %% mutant="receptive_field" why="adds kernels in place of their gaps"
# - size += (kernel - 1) * dilation * jump
# + size += kernel * dilation * jump

# %% mutant="receptive_field" why="the gradient of all outputs"
# - return torch.autograd.grad(central.sum(), x)[0]
# + return torch.autograd.grad(y.sum(), x)[0]

# %% mutant="receptive_field" why="fills the gradients of the parameters"
# - return torch.autograd.grad(central.sum(), x)[0]
# + central.sum().backward()
# + return x.grad

# %% mutant="receptive_field" why="leaves a mark on x"
# - x = x.detach().requires_grad_()
# + x = x.requires_grad_()

# %% mutant="receptive_field" why="sizes as floats"
# - size, jump = 1, 1
# + size, jump = 1.0, 1.0

# %% mutant="receptive_field" why="looks at the network in eval mode"
# - y = network(x)
# + before = network.training
# + y = network.eval()(x)
# + network.train(before)

# %% mutant="receptive_field" why="leaves the network in eval mode"
# - y = network(x)
# + y = network(x)
# + network.eval()

# %% mutant="receptive_field" why="single precision"
# - return torch.autograd.grad(central.sum(), x)[0]
# + return torch.autograd.grad(central.sum(), x)[0].float()

# %% mutant="receptive_field" why="the first picture alone"
# - return torch.autograd.grad(central.sum(), x)[0]
# + return torch.autograd.grad(central[0].sum(), x)[0]

# %% mutant="receptive_field" why="the gradient written into x"
# - x = x.detach().requires_grad_()
# + given, x = x, x.detach().clone().requires_grad_()
# - return torch.autograd.grad(central.sum(), x)[0]
# + given.data.copy_(torch.autograd.grad(central.sum(), x)[0])
# + return given.data


# %% alternative="receptive_field" why="the dilated kernel's size; a vector-Jacobian product"
def receptive_field(layers):
    size = 1
    for i, (kernel, _, dilation) in enumerate(layers):
        before = int(np.prod([stride for _, stride, _ in layers[:i]], dtype=int))
        size += (dilation * (kernel - 1)) * before
    return size, int(np.prod([stride for _, stride, _ in layers], dtype=int))


def input_gradient(network, x):
    y, back = torch.func.vjp(network, x)
    ones = torch.zeros_like(y)
    ones[:, :, y.shape[2] // 2, y.shape[3] // 2] = 1
    return back(ones)[0]


# %% [markdown]
# Theory says where the gradient *can* be. How much of it is there? The border of the field is reached by one path, the middle by very many: the **effective** receptive field is a soft blob that grows like the square root of the depth, far smaller than the square (Luo et al., 2016). Random weights are enough to see it. Dilation is a way out, but leaves a grid: some pixels have many more paths than their neighbours.

# %% [markdown] lang="ru"
# Теория говорит, где градиент *может* быть. А сколько его там? До края поля ведёт один путь, до середины — очень много: **эффективное** рецептивное поле — размытое пятно, которое растёт как корень из глубины и намного меньше квадрата (Luo и др., 2016). Чтобы это увидеть, хватит случайных весов. Дилатация — один из способов это исправить, но она оставляет решётку: к одним пикселям ведёт гораздо больше путей, чем к соседним.

# %%
seed_everything(0)
stacks = {
    "4 layers of 3 × 3": [(3, 1, 1)] * 4,
    "8 layers": [(3, 1, 1)] * 8,
    "16 layers": [(3, 1, 1)] * 16,
    "4 layers, dilation 1, 2, 4, 8": [(3, 1, d) for d in (1, 2, 4, 8)],
}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.4))
for ax, (name, layers) in zip(axes, stacks.items(), strict=True):
    parts = []
    for i, (k, s, d) in enumerate(layers):
        conv = nn.Conv2d(8 if i else 1, 8, k, s, padding=d * (k // 2), dilation=d)
        nn.init.kaiming_normal_(conv.weight)
        parts += [conv, nn.ReLU()]
    gradient = input_gradient(nn.Sequential(*parts[:-1]), torch.randn(24, 1, 41, 41))
    ax.imshow(gradient.abs().mean(dim=(0, 1)), cmap="magma")
    size, _ = receptive_field(layers)
    corner = 20 - size // 2 - 0.5
    ax.add_patch(plt.Rectangle((corner, corner), size, size, fill=False, ec="white", lw=1.5))
    ax.set_title(f"{name}\nformula: {size} × {size}", fontsize=10)
    ax.axis("off")
figure.suptitle("White: the receptive field by formula. Bright: where the gradient is")
plots.show(
    "Measured gradients of a central output: for 4, 8 and 16 layers soft blobs, smaller and smaller "
    "against the squares that the formula gives; for dilated layers nearly the whole square, as a grid"
)

# %% [markdown]
# ## 5. Less certain targets
# From here on you write in torch, and it does the gradients. Cross-entropy with a one-hot target is never content: the loss keeps falling as the right [logit](glossary:Logit) grows without end. [Label smoothing](glossary:Label-smoothing) (Szegedy et al., 2016) asks for a little less. With $K$ classes,
#
# $$q = (1 - \varepsilon)\; \text{onehot}(y) + \frac{\varepsilon}{K}, \qquad L = -\frac1n \sum_{i} \sum_k q_{ik} \log p_{ik}, \quad p = \mathrm{softmax}(z).$$
#
# Mind the share $\varepsilon / K$ that the right class gets, too. This $L$ takes any distribution $q$ as its target; the next task needs that.
#
# {{task:soft_targets}}

# %% [markdown] lang="ru"
# ## 5. Менее уверенные метки
# С этого места вы пишете на torch, и градиенты считает он. С one-hot-меткой перекрёстную энтропию всегда можно уменьшить ещё: она убывает, пока верный [логит](glossary:Logit) растёт до бесконечности. [Сглаживание меток](glossary:Label-smoothing) (label smoothing; Szegedy и др., 2016) просит чуть меньше. При $K$ классах
#
# $$q = (1 - \varepsilon)\; \text{onehot}(y) + \frac{\varepsilon}{K}, \qquad L = -\frac1n \sum_{i} \sum_k q_{ik} \log p_{ik}, \quad p = \mathrm{softmax}(z).$$
#
# Заметьте: долю $\varepsilon / K$ получает и верный класс. Такая $L$ принимает в качестве метки любое распределение $q$; это понадобится в следующей задаче.
#
# {{task:soft_targets}}


# %% solution="soft_targets"
def smooth_labels(labels: torch.Tensor, classes: int, epsilon: float) -> torch.Tensor:
    """Smoothed one-hot targets. labels: (n,) of class numbers -> (n, classes) of float32.

    Example: smooth_labels([1], 4, 0.2) is [[0.05, 0.85, 0.05, 0.05]].
    """
    ### BEGIN SOLUTION
    return (1 - epsilon) * F.one_hot(labels, classes).float() + epsilon / classes
    ### END SOLUTION


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy with distributions as targets; large logits don't overflow.

    logits: (n, k), targets: (n, k), rows that add up to 1, of the same dtype -> a scalar of it, with
    a gradient by the logits.
    """
    ### BEGIN SOLUTION
    return -(targets * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
    ### END SOLUTION


# %% test="soft_targets" points=0.5 bonus=true difficulty=1 minutes=10
check.close(
    smooth_labels(torch.tensor([1, 0]), 4, 0.2),
    [[0.05, 0.85, 0.05, 0.05], [0.85, 0.05, 0.05, 0.05]],
    "smooth_labels([1, 0], 4, 0.2)",
    why="share epsilon out to all classes alike, the right one among them",
)
logits = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]]).log()
targets = torch.tensor([[0.0, 0.0, 1.0], [0.4, 0.6, 0.0]])
check.close(
    soft_cross_entropy(logits, targets),
    -(np.log(0.7) + 0.4 * np.log(0.5) + 0.6 * np.log(0.25)) / 2,
    "soft_cross_entropy of two examples",
    why="be -sum q log p for each, then the mean over the two",
)
### BEGIN HIDDEN TESTS
rng = check.rng("soft_targets")
labels = torch.tensor([2, 0, 2, 1])
call = "smooth_labels([2, 0, 2, 1], 5, epsilon)"
for epsilon, why in [
    (0.0, "be one-hot where epsilon is 0, also for a class that no label names"),
    (1.0, "be the same for all classes where epsilon is 1"),
    (0.3, "share epsilon out to all classes alike, the right one among them"),
    (float(rng.uniform(0.05, 0.6)), "share epsilon out to all classes alike"),
]:
    found = check.answer(smooth_labels, labels, 5, epsilon, call=call)
    want = np.eye(5)[[2, 0, 2, 1]] * (1 - epsilon) + epsilon / 5
    check.close(found, want, call, atol=1e-6, why=why)
    check.equal(str(found.dtype), "float32", f"the dtype of {call}", why="be float32")
single = torch.tensor([[0.3, -1.2, 2.0, 0.5]], dtype=torch.float64)
several = torch.tensor(3 * rng.normal(size=(5, 4)))
classes = torch.tensor([3, 1, 1, 0, 2])
hot, soft = (torch.tensor(v) for v in (np.eye(4), rng.dirichlet(np.ones(4), 5)))
for logits, targets, what, why in [
    (single, hot[1:2], "one example, one-hot target", "be -log p of the target's class"),
    (single, soft[:1], "one example, any target", "be -sum q log p over all classes, and no less"),
    (several, hot[classes], "five examples, one-hot targets", "be the mean over the examples"),
    (several, soft, "five examples, any targets", "take any distributions as targets"),
]:
    call = f"soft_cross_entropy(logits, targets) of {what}"
    want = F.cross_entropy(logits, targets)
    found = check.answer(soft_cross_entropy, logits, targets, call=call)
    week03.close(found, want, call, why)
    (want,) = check.gradient_of(F.cross_entropy, logits, target=targets, call=call)
    (found,) = check.gradient_of(soft_cross_entropy, logits, targets=targets, call=call)
    call = f"the gradient by the logits of {call}"
    check.close(found, want, call, rtol=1e-6, atol=1e-9, why="be p - q, as of the mean")
far = torch.tensor([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]])
targets = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
call = "soft_cross_entropy of logits as large as 10000"
found = check.answer(soft_cross_entropy, far, targets, call=call)
check.close(found, (5e3 + np.log(3)) / 2, call, why="be right for large logits, too: not overflow")
(found,) = check.gradient_of(soft_cross_entropy, far, targets=targets, call=call)
want = [[0.25, -0.25, 0], [-1 / 3, 1 / 6, 1 / 6]]
why = "be right for large logits, too: not overflow"
check.close(found, want, f"the gradient of {call}", atol=1e-6, why=why)
small = torch.tensor([[0.9995, 0.0005, 0.0], [2e-5, 0.5, 0.49998]], dtype=torch.float64)
logits = torch.tensor([[-3.0, 8.0, 0.5], [9.0, -1.0, 0.25]], dtype=torch.float64)
call, why = "soft_cross_entropy of targets near 0", "count each target, however small"
want = F.cross_entropy(logits, small)
found = check.answer(soft_cross_entropy, logits, small, call=call)
check.close(found, want, call, rtol=1e-9, atol=1e-9, why=why)
first = smooth_labels(labels, 5, 0.3)
first += 1
call = "smooth_labels called again, after its first answer was changed"
found = check.answer(smooth_labels, labels, 5, 0.3, call=call)
check.close(
    found, np.eye(5)[[2, 0, 2, 1]] * 0.7 + 0.06, call, atol=1e-6, why="be a tensor of its own"
)
### END HIDDEN TESTS

# %% mutant="soft_targets" why="the same tensor for equal labels"
# - return (1 - epsilon) * F.one_hot(labels, classes).float() + epsilon / classes
# + made = (1 - epsilon) * F.one_hot(labels, classes).float() + epsilon / classes
# + key = str((labels.tolist(), classes, epsilon))
# + return smooth_labels.__dict__.setdefault(key, made)

# %% mutant="soft_targets" why="shares epsilon out to the other classes alone"
# - return (1 - epsilon) * F.one_hot(labels, classes).float() + epsilon / classes
# + hot = F.one_hot(labels, classes).float()
# + return (1 - epsilon) * hot + epsilon / (classes - 1) * (1 - hot)

# %% mutant="soft_targets" why="the logarithm of a softmax: overflows"
# - return -(targets * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
# + return -(targets * logits.softmax(dim=1).log()).sum(dim=1).mean()

# %% mutant="soft_targets" why="the mean over classes, too"
# - return -(targets * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
# + return -(targets * F.log_softmax(logits, dim=1)).mean()

# %% mutant="soft_targets" why="the softmax over the batch"
# - return -(targets * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
# + return -(targets * F.log_softmax(logits, dim=0)).sum(dim=1).mean()

# %% mutant="soft_targets" why="makes a hard label of the target again"
# - return -(targets * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
# + return F.cross_entropy(logits, targets.argmax(dim=1))

# %% mutant="soft_targets" why="the divergence: without the target's own entropy"
# - return -(targets * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
# + return F.kl_div(F.log_softmax(logits, dim=1), targets, reduction="batchmean")

# %% mutant="soft_targets" why="the sum over the batch"
# - return -(targets * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
# + return -(targets * F.log_softmax(logits, dim=1)).sum(dim=1).sum()

# %% mutant="soft_targets" why="single precision"
# - return -(targets * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
# + return -(targets * F.log_softmax(logits.float(), dim=1)).sum(dim=1).mean()

# %% mutant="soft_targets" why="half of the gradient"
# - return -(targets * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
# + return -(targets * F.log_softmax((logits + logits.detach()) / 2, dim=1)).sum(dim=1).mean()

# %% mutant="soft_targets" why="as many classes as the labels show"
# - return (1 - epsilon) * F.one_hot(labels, classes).float() + epsilon / classes
# + hot = F.pad(F.one_hot(labels), (0, classes))[:, :classes]
# + return (1 - epsilon) * hot + epsilon / F.one_hot(labels).shape[1]


# %% alternative="soft_targets" why="filled row by row; log-sum-exp by hand"
def smooth_labels(labels, classes, epsilon):
    targets = torch.full((len(labels), classes), epsilon / classes)
    targets[torch.arange(len(labels)), labels] += 1 - epsilon
    return targets


def soft_cross_entropy(logits, targets):
    return (torch.logsumexp(logits, dim=1) - (targets * logits).sum(dim=1)).mean()


# %%
gaps = torch.linspace(-2, 12, 141)
series = {}
for epsilon in (0.0, 0.05, 0.1, 0.3):
    target = smooth_labels(torch.tensor([0]), 10, epsilon)
    row = [float(soft_cross_entropy(F.pad(gap.view(1, 1), (0, 9)), target)) for gap in gaps]
    series[f"ε = {epsilon:g}"] = (gaps, row)
ax = plots.curves(
    series, "Loss of one example, 10 classes", "logit of the right class (the others are 0)", "loss"
)
for colour, (name, (_, row)) in zip(plots.PALETTE[1:], list(series.items())[1:], strict=False):
    best = int(np.argmin(row))
    ax.plot(gaps[best], row[best], "o", color=colour)
    print(f"{name}: best logit {gaps[best]:.1f}, there the probability is the target's")
plots.show(
    "Without smoothing the loss falls for ever as the right logit grows; with smoothing each "
    "curve has a minimum, the earlier the larger epsilon"
)

# %% [markdown]
# ### Mixup
# [Mixup](glossary:Mixup) (Zhang et al., 2018) trains on mixtures: each example with a partner from the same batch, pictures and targets in the same shares.
#
# $$\tilde x = \lambda x_i + (1 - \lambda)\, x_j, \qquad \tilde y = \lambda y_i + (1 - \lambda)\, y_j, \qquad \lambda \sim \mathrm{Beta}(\alpha, \alpha)$$
#
# The authors' code draws one $\lambda$ a batch and the partners by one random permutation; so do you. A small $\alpha$ gives mostly shares near 0 and 1, $\alpha = 1$ all shares alike, $\alpha = 0$ stands for no mixing.
#
# {{task:mixup}}

# %% [markdown] lang="ru"
# ### Mixup
# [Mixup](glossary:Mixup) (Zhang и др., 2018) обучает на смесях: каждый пример смешивают с партнёром из того же батча, картинки и метки — в одних и тех же долях.
#
# $$\tilde x = \lambda x_i + (1 - \lambda)\, x_j, \qquad \tilde y = \lambda y_i + (1 - \lambda)\, y_j, \qquad \lambda \sim \mathrm{Beta}(\alpha, \alpha)$$
#
# Код авторов берёт одно $\lambda$ на батч, а партнёров — одной случайной перестановкой; сделайте так же. При малом $\alpha$ доли чаще всего близки к 0 и 1, при $\alpha = 1$ все доли равновероятны, а $\alpha = 0$ означает «не смешивать».
#
# {{task:mixup}}


# %% solution="mixup"
def mixup(
    x: torch.Tensor, targets: torch.Tensor, alpha: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix every example of a batch with a partner: one share and one random permutation.

    x: (n, ...), targets: (n, k), both of floats, alpha >= 0, rng: draws the share and the permutation
    -> mixed x and mixed targets in the same shapes; where alpha is 0, x and targets themselves will do.
    """
    ### BEGIN SOLUTION
    share = rng.beta(alpha, alpha) if alpha > 0 else 1.0
    other = rng.permutation(len(x))
    return share * x + (1 - share) * x[other], share * targets + (1 - share) * targets[other]
    ### END SOLUTION


# %% test="mixup" points=0.5 bonus=true difficulty=2 minutes=15
x, targets = torch.rand(6, 3, 4), torch.eye(6)
call = "mixup(x, targets, 1, rng)"
mixed, soft = check.answer(mixup, x, targets, 1.0, np.random.default_rng(0), call=call)
check.close(soft.sum(axis=1), np.ones(6), "mixed targets", why="still add up to 1 in each row")
check.close(
    mixed,
    np.einsum("ij,jkl->ikl", soft, x),
    call,
    atol=1e-5,
    why="mix pictures and targets with the same partners in the same shares",
)
### BEGIN HIDDEN TESTS
from itertools import permutations

from scipy import stats

rng = check.rng("mixup")
call = "mixup(x, targets, alpha, rng)"


def mix(x, targets, alpha, generator):
    """The mixed batch and its targets, as arrays."""
    found = check.answer(mixup, x, targets, alpha, generator, call=call)
    check.that(isinstance(found, tuple | list) and len(found) == 2, "return mixed x and targets")
    return found


# What one batch shows: with one-hot targets the mixed ones tell partners and shares.
for shape in [(5,), (5, 3), (5, 2, 3, 4)]:
    for alpha in (0.4, 1.0, 5.0):
        x, eye = torch.tensor(rng.normal(size=shape)), torch.eye(5, dtype=torch.float64)
        mixed, soft = mix(x, eye, alpha, rng)
        check.equal(mixed.shape, shape, f"the shape of mixed x, {shape} before", why="stay")
        others = (1 - soft.diagonal())[soft.diagonal() < 1 - 1e-5]  # the rest are their own
        check.close(
            others,
            np.full(len(others), others[0] if len(others) else 0),
            "the shares of one batch",
            rtol=1e-3,
            atol=1e-5,
            why="be one share for the whole batch",
        )
        given = soft.sum(axis=0), soft.sum(axis=1)
        why = "take a permutation for partners: each is the partner of one"
        check.close(given, np.ones((2, 5)), f"sums of {call}", rtol=1e-4, why=why)
        why = "mix pictures and targets with the same partners in the same shares"
        week03.close(mixed, np.tensordot(soft, x.numpy(), 1), call, why)
rows = torch.tensor(rng.dirichlet(np.ones(3), 4), dtype=torch.float32)
_, soft = mix(torch.eye(4), rows, 1.0, rng)
check.close(soft.sum(axis=1), np.ones(4), f"{call}, soft targets", why="still add up to 1")
for alpha, n, why in [(0.0, 5, "mix nothing where alpha is 0"), (1.0, 1, "leave a single one")]:
    x, eye = torch.tensor(rng.normal(size=(n, 2))), torch.eye(n)
    mixed, soft = mix(x, eye, alpha, rng)
    check.close(mixed, x, f"mixup of {n}, alpha = {alpha:g}", why=why)
    check.close(soft, eye, f"the targets of mixup of {n}, alpha = {alpha:g}", why=why)
found = [mix(torch.eye(5), torch.eye(5), 0.01, rng)[1] for _ in range(60)]
mixed = any(abs(soft - np.eye(5)).max() > 0.01 for soft in found)
check.that(mixed, "mix for a small alpha, too: half of the time with a share near 0")
x, eye = torch.tensor(rng.normal(size=(30, 2))), torch.eye(30)
torch.rand(1), np.random.rand()
state, torchs = np.random.get_state()[1].copy(), torch.get_rng_state()
generator = np.random.default_rng(7)
(first, _), (second, _) = (mix(x, eye, 1.0, generator) for _ in range(2))
again, _ = mix(x, eye, 1.0, np.random.default_rng(7))
check.close(again, first, "mixup with an equal generator", why="draw all from rng")
check.that(not np.allclose(first, second), "draw others from the same rng the next time")
same = np.array_equal(state, np.random.get_state()[1]) and torch.equal(
    torchs, torch.get_rng_state()
)
check.that(same, "leave NumPy's and torch's own generators as they were")
x = torch.tensor(rng.normal(size=(12, 2)))
last = [mix(x, torch.eye(12), 1.0, rng)[1].diagonal()[-1] > 1 - 1e-6 for _ in range(40)]
check.that(not all(last), "let each example of a large batch find another one as its partner")
# What many batches show. Seven standard deviations: by chance once in 10 ** 11.
n, x, eye = 4, torch.arange(4.0)[:, None], torch.eye(4, dtype=torch.float64)
for alpha, draws in [(0.4, 2000), (1.0, 2000), (4.0, 2000), (80.0, 600)]:
    with check.unchanged(call, x=x, targets=eye):
        pairs = [mixup(x, eye, alpha, rng) for _ in range(draws)]
    soft = np.array([targets for _, targets in check.plain(pairs, call)])
    own = soft.diagonal(axis1=1, axis2=2)
    alone = own > 1 - 1e-6
    shares = own.min(axis=1)[~alone.all(axis=1)]
    what, count = f"shares of {draws} batches, alpha = {alpha:g}", len(shares)
    spread = (shares - 0.5) ** 2
    moment = stats.beta(alpha, alpha).expect(lambda v: (v - 0.5) ** 4)
    variance = stats.beta(alpha, alpha).var()
    width = 7 * ((moment - variance**2) / count) ** 0.5
    check.that(
        abs(spread.mean() - variance) < width,
        "draw shares that spread as those of Beta(alpha, alpha) do",
        details=f"{what}: variance {spread.mean():.4f}, expected {variance:.4f}",
    )
    check.that(
        abs(shares.mean() - 0.5) < 7 * (variance / count) ** 0.5,
        "draw shares whose mean is one half",
        details=f"{what}: mean {shares.mean():.4f}",
    )
    result = stats.kstest(shares, stats.beta(alpha, alpha).cdf)
    check.that(
        result.pvalue > 1e-11,
        "draw the shares from Beta(alpha, alpha)",
        details=f"{what}: Kolmogorov–Smirnov distance {result.statistic:.3f}",
    )
    partners = np.where(alone, np.arange(n), (soft - np.eye(n) * own[:, None]).argmax(axis=2))
    width = 7 * (draws / 24 * 23 / 24) ** 0.5
    counts = [(partners == order).all(axis=1).sum() for order in permutations(range(n))]
    check.that(
        all(abs(found - draws / 24) < width for found in counts),
        "take for partners one of all permutations, each as likely as the others",
        details=f"of {draws} batches of 4, the permutations came {min(counts)} to {max(counts)} times",
    )
### END HIDDEN TESTS

# %% mutant="mixup" why="shares that are a little skewed"
# - share = rng.beta(alpha, alpha) if alpha > 0 else 1.0
# + share = rng.beta(alpha, 1.1 * alpha) if alpha > 0 else 1.0

# %% mutant="mixup" why="mixes the pictures alone"
# - return share * x + (1 - share) * x[other], share * targets + (1 - share) * targets[other]
# + return share * x + (1 - share) * x[other], targets

# %% mutant="mixup" why="a uniform share, whatever alpha"
# - share = rng.beta(alpha, alpha) if alpha > 0 else 1.0
# + share = rng.uniform() if alpha > 0 else 1.0

# %% mutant="mixup" why="a share for each example"
# - return share * x + (1 - share) * x[other], share * targets + (1 - share) * targets[other]
# + share = torch.tensor(rng.beta(alpha or 1, alpha or 1, len(x)) if alpha else np.ones(len(x)))
# + share = share.float()
# + a, b = share.view(-1, *[1] * (x.ndim - 1)), share[:, None]
# + return a * x + (1 - a) * x[other], b * targets + (1 - b) * targets[other]

# %% mutant="mixup" why="the partner is always the neighbour"
# - other = rng.permutation(len(x))
# + other = np.roll(np.arange(len(x)), 1)

# %% mutant="mixup" why="other partners for the targets"
# - return share * x + (1 - share) * x[other], share * targets + (1 - share) * targets[other]
# + again = rng.permutation(len(x))
# + return share * x + (1 - share) * x[other], share * targets + (1 - share) * targets[again]

# %% mutant="mixup" why="partners drawn with replacement"
# - other = rng.permutation(len(x))
# + other = rng.integers(0, len(x), len(x))

# %% mutant="mixup" why="random numbers from somewhere else"
# - other = rng.permutation(len(x))
# + other = np.random.permutation(len(x))

# %% mutant="mixup" why="always keeps the larger share for itself"
# - share = rng.beta(alpha, alpha) if alpha > 0 else 1.0
# + share = rng.beta(alpha, alpha) if alpha > 0 else 1.0
# + share = max(share, 1 - share)

# %% mutant="mixup" why="half of alpha"
# - share = rng.beta(alpha, alpha) if alpha > 0 else 1.0
# + share = rng.beta(alpha / 2, alpha / 2) if alpha > 0 else 1.0

# %% mutant="mixup" why="the root of alpha"
# - share = rng.beta(alpha, alpha) if alpha > 0 else 1.0
# + share = rng.beta(alpha**0.5, alpha**0.5) if alpha > 0 else 1.0

# %% mutant="mixup" why="the same partners in each batch"
# - other = rng.permutation(len(x))
# + other = np.random.default_rng(0).permutation(len(x))

# %% mutant="mixup" why="starts from the generator's state anew each time"
# - share = rng.beta(alpha, alpha) if alpha > 0 else 1.0
# + from copy import deepcopy
# +
# + rng = deepcopy(rng)
# + share = rng.beta(alpha, alpha) if alpha > 0 else 1.0

# %% mutant="mixup" why="partners by a turn of the batch"
# - other = rng.permutation(len(x))
# + other = np.roll(np.arange(len(x)), rng.integers(len(x)))

# %% mutant="mixup" why="mixes in place"
# - return share * x + (1 - share) * x[other], share * targets + (1 - share) * targets[other]
# + soft = share * targets + (1 - share) * targets[other]
# + return x.copy_(share * x + (1 - share) * x[other]), soft


# %% alternative="mixup" why="linear interpolation of the shuffled batch"
def mixup(x, targets, alpha, rng):
    other = torch.as_tensor(rng.permutation(len(x)))
    share = 1.0 if alpha == 0 else float(rng.beta(alpha, alpha))
    return torch.lerp(x[other], x, share), torch.lerp(targets[other], targets, share)


# %% alternative="mixup" why="gives its arguments back where nothing is mixed"
def mixup(x, targets, alpha, rng):
    if alpha == 0:
        return x, targets
    share, other = float(rng.beta(alpha, alpha)), rng.permutation(len(x)).tolist()
    x, targets = (
        x + (1 - share) * (x[other] - x),
        targets + (1 - share) * (targets[other] - targets),
    )
    return [x, targets]


# %% [markdown]
# The pictures are single blood cells of three kinds, cut out of microscope pictures (BCCD): red cells, white cells and platelets. Below, six cells and the same six mixed with their partners; the bars are the soft targets.

# %% [markdown] lang="ru"
# Картинки — отдельные клетки крови трёх видов, вырезанные из снимков с микроскопа (BCCD): эритроциты, лейкоциты и тромбоциты. Ниже шесть клеток и они же, смешанные с партнёрами; столбики — мягкие метки.

# %%
blood = data.load("bccd", profile)


def cut_out(
    pictures: np.ndarray, boxes: Sequence[np.ndarray], side: int, most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cells as small pictures: (n, 3, side, side) in [0, 1] and classes (n,).

    At most `most` cells of each class, the nearest pixel for each of the new ones.
    """
    cells, classes, counts = [], [], [0, 0, 0]
    grid = (np.arange(side) + 0.5) / side
    for picture, rows in zip(pictures, boxes, strict=True):
        for x0, y0, x1, y1, kind in rows:
            if counts[kind] < most:
                counts[kind] += 1
                down, across = (
                    (y0 + grid * (y1 - y0)).astype(int),
                    (x0 + grid * (x1 - x0)).astype(int),
                )
                down, across = down.clip(0, len(picture) - 1), across.clip(0, picture.shape[1] - 1)
                cells.append(picture[down[:, None], across])
                classes.append(kind)
    return torch.tensor(np.array(cells)).permute(0, 3, 1, 2) / 255, torch.tensor(classes)


# %%
cells, kinds = cut_out(blood.x_train[:200], blood.y_train[:200], 48, 60)
rng = seed_everything(1)
some = [int(rng.choice(np.flatnonzero(kinds == k))) for k in (1, 0, 2, 0, 1, 2)]
targets = F.one_hot(kinds[some], 3).float()
mixed, soft = mixup(cells[some], targets, 1.0, rng)
figure, axes = plt.subplots(3, 6, figsize=(10, 5), height_ratios=[1, 1, 0.6])
for i in range(6):
    for ax, picture in zip(axes[:2, i], (cells[some][i], mixed[i]), strict=True):
        ax.imshow(picture.permute(1, 2, 0))
        ax.axis("off")
    axes[0, i].set_title(blood.classes[kinds[some][i]], fontsize=10)
    axes[2, i].bar(["R", "W", "P"], soft[i], color=plots.PALETTE[:3])
    axes[2, i].set_ylim(0, 1)
axes[2, 0].set_ylabel("target")
figure.suptitle("Blood cells (above), each mixed with a partner, and the mixed targets")
plots.show(
    "Six blood cells, the same six each mixed with another one, and bar charts of the mixed "
    "targets over red cell, white cell and platelet"
)

# %% [markdown]
# ## 6. A residual block
# Stack more layers, and from some depth on even the *training* loss gets worse. He et al. (2016) let a block learn what to **add** to its input, and gave the input a free way past it: a [residual connection](glossary:Residual-connection).
#
# $$y = \mathrm{ReLU}\bigl(F(x) + \text{shortcut}(x)\bigr), \qquad F = \mathrm{BN}_2 \circ \mathrm{conv}_2 \circ \mathrm{ReLU} \circ \mathrm{BN}_1 \circ \mathrm{conv}_1$$
#
# Both convolutions are $3 \times 3$ with padding 1 and no bias (the normalisation has one); the first has the stride. Mind the order: the last ReLU comes *after* the sum. The shortcut does nothing, where it can. Where the number of channels or the size changes, it is a $1 \times 1$ convolution with that stride and without bias, and a BatchNorm of its own.
#
# {{task:basic_block}}
#
# So that a check can give your block its weights, use the names `conv1`, `bn1`, `conv2`, `bn2`, and `shortcut[0]`, `shortcut[1]` for the convolution and the normalisation of the shortcut.

# %% [markdown] lang="ru"
# ## 6. Остаточный блок
# Добавляйте слои — и с некоторой глубины становятся хуже даже потери на *обучении*. He и др. (2016) предложили блоку учить то, что нужно **прибавить** ко входу, а входу дали свободный путь в обход: [остаточную связь](glossary:Residual-connection) (residual connection).
#
# $$y = \mathrm{ReLU}\bigl(F(x) + \text{shortcut}(x)\bigr), \qquad F = \mathrm{BN}_2 \circ \mathrm{conv}_2 \circ \mathrm{ReLU} \circ \mathrm{BN}_1 \circ \mathrm{conv}_1$$
#
# Обе свёртки — $3 \times 3$, дополнение 1, без смещения (оно есть у нормализации); шаг — у первой. Следите за порядком: последний ReLU стоит *после* суммы. Обходной путь (shortcut) там, где можно, не делает ничего. Там, где меняется число каналов или размер, это свёртка $1 \times 1$ с тем же шагом, без смещения, и собственный BatchNorm.
#
# {{task:basic_block}}
#
# Чтобы проверка могла задать веса вашего блока, используйте имена `conv1`, `bn1`, `conv2`, `bn2`, а свёртка и нормализация обходного пути пусть будут `shortcut[0]` и `shortcut[1]`.


# %% solution="basic_block"
class BasicBlock(nn.Module):
    """The basic block of ResNet-18 and ResNet-34.

    (n, inputs, h, w) -> (n, outputs, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        ### BEGIN SOLUTION
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            project = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm2d(outputs))
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))
        ### END SOLUTION


# %% test="basic_block" points=1 bonus=true difficulty=2 minutes=20
block = BasicBlock(3, 3)
x = torch.rand(2, 3, 5, 6) - 0.5
state = check.parameters_of(block, "BasicBlock(3, 3)")
state["bn2.weight"] = np.zeros(3)
block.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
check.close(
    block(x),
    F.relu(x),
    "BasicBlock(3, 3) with bn2.weight = 0",
    why="let the input pass by, since F(x) is 0, and have ReLU come last",
)
found = check.answer(BasicBlock(3, 8, stride=2).forward, x, call="BasicBlock(3, 8, stride=2)(x)")
check.equal(found.shape, (2, 8, 3, 3), "the shape of BasicBlock(3, 8, stride=2)(x), x 5 x 6")
### BEGIN HIDDEN TESTS
rng = check.rng("basic_block")


class ReferenceBlock(nn.Module):
    """The block. at: after which half of F the shortcut is computed, which makes no difference."""

    def __init__(self, inputs: int, outputs: int, stride: int, at: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut, self.at = nn.Sequential(), at
        if stride != 1 or inputs != outputs:
            project = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm2d(outputs))

    def forward(self, x):
        past = self.shortcut(x) if self.at == 0 else None
        y = F.relu(self.bn1(self.conv1(x)))
        past = self.shortcut(x) if self.at == 1 else past
        y = self.bn2(self.conv2(y))
        return F.relu(y + (self.shortcut(x) if self.at == 2 else past))


def judge_block(inputs, outputs, why, *given, far=1.0):
    """The names, then the answers with random weights, in float64: rounding is no matter then."""
    (stride,) = given or (1,)
    call = f"BasicBlock{(inputs, outputs, *given)}" + (" of large pictures" if far > 1 else "")
    ours = BasicBlock(inputs, outputs, *given)
    want = ReferenceBlock(inputs, outputs, stride).state_dict()
    state = check.parameters_of(ours, call)
    names = "name its layers conv1, bn1, conv2, bn2, and shortcut.0, shortcut.1 of a projection"
    check.equal(sorted(state), sorted(want), f"the names in {call}", why=f"{names}, without biases")
    shapes = {name: value.shape for name, value in state.items()}
    wanted = {name: tuple(value.shape) for name, value in want.items()}
    check.equal(shapes, wanted, f"the shapes of the weights of {call}", why=why)
    drawn = {}
    for name, value in state.items():
        low, high = (-1, 1) if value.ndim == 4 or "bias" in name else (0.5, 4)
        numbers = rng.uniform(low, high, value.shape) if value.dtype.kind == "f" else value
        drawn[name] = torch.tensor(numbers)
    ours.double().load_state_dict(drawn)
    x = torch.tensor(far * rng.normal(size=(3, inputs, 7, 6)))
    with check.unchanged(f"{call}(x)", x=x):
        ours(x)
    close = {"rtol": 1e-9, "atol": 1e-9}
    for at in (2, 0, 1):
        try:
            reference = ReferenceBlock(inputs, outputs, stride, at).double()
            check.same_network(ours, reference, x, call=call, why=why, **close)
            return
        except check.CheckFailed as error:
            if at == 1 or not error.details.startswith("layer"):
                raise
        except RuntimeError as error:
            learns = "does not require grad" not in str(error)
            check.that(learns, "let all weights of BasicBlock learn, the projection's, too")
            raise


judge_block(4, 4, "add its input, as it is, to F(x), and then take ReLU", 1)
judge_block(3, 3, "have no stride where none is given")
judge_block(3, 5, "project the input by 1 x 1 where the channels change")
judge_block(4, 4, "have the stride in conv1, and project the input where the size changes", 2)
judge_block(5, 18, "be the same block for any number of channels")
judge_block(5, 5, "pass on answers of any size", 1, far=100.0)
for inputs, outputs, stride in [(2, 6, 3), (6, 2, 1), (3, 4, 2)]:
    judge_block(inputs, outputs, "do all of this together", stride)
one, other = BasicBlock(2, 3), BasicBlock(2, 3)
weights_of = [check.parameters_of(block, "BasicBlock(2, 3)") for block in (one, other)]
check.that(
    all(
        not np.array_equal(weights_of[0][n], weights_of[1][n]) for n in weights_of[0] if "conv" in n
    ),
    "give each BasicBlock weights of its own, drawn at random",
)
### END HIDDEN TESTS

# %% mutant="basic_block" why="answers cut off at 60"
# - return F.relu(y + self.shortcut(x))
# + return F.relu(y + self.shortcut(x)).clamp(max=60)

# %% mutant="basic_block" why="the projection does not learn"
# - self.shortcut = nn.Sequential(project, nn.BatchNorm2d(outputs))
# + project.weight.requires_grad_(False)
# + self.shortcut = nn.Sequential(project, nn.BatchNorm2d(outputs))

# %% mutant="basic_block" why="the last ReLU before the sum"
# - return F.relu(y + self.shortcut(x))
# + return F.relu(y) + self.shortcut(x)

# %% mutant="basic_block" why="no shortcut at all"
# - return F.relu(y + self.shortcut(x))
# + return F.relu(y)

# %% mutant="basic_block" why="projects only where the channels change"
# - if stride != 1 or inputs != outputs:
# + if inputs != outputs:

# %% mutant="basic_block" why="always projects"
# - if stride != 1 or inputs != outputs:
# + if stride != 0 or inputs != outputs:

# %% mutant="basic_block" why="one normalisation for both places"
# - y = self.bn2(self.conv2(y))
# + y = self.bn1(self.conv2(y))

# %% mutant="basic_block" why="ReLU in place, on its own input"
# - return F.relu(y + self.shortcut(x))
# + return F.relu(y + self.shortcut(x.relu_()))

# %% mutant="basic_block" why="the stride in the second convolution"
# - self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
# + self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
# - self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
# + self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)

# %% mutant="basic_block" why="no gradient through the shortcut"
# - return F.relu(y + self.shortcut(x))
# + return F.relu(y + self.shortcut(x).detach())

# %% mutant="basic_block" why="dropout between the convolutions"
# - y = self.bn2(self.conv2(y))
# + y = self.bn2(self.conv2(F.dropout(y, 0.1, self.training)))

# %% mutant="basic_block" why="another sum in eval mode"
# - return F.relu(y + self.shortcut(x))
# + return F.relu(y + self.shortcut(x) * (1 if self.training else 0.5))

# %% mutant="basic_block" why="normalises by the batch in eval mode, too"
# - self.bn1 = nn.BatchNorm2d(outputs)
# + self.bn1 = nn.BatchNorm2d(outputs, track_running_stats=False)

# %% mutant="basic_block" why="a stride of 2 where none is given and channels change"
# - super().__init__()
# + super().__init__()
# + stride = 2 if inputs != outputs and stride == 1 else stride

# %% mutant="basic_block" why="one layer for all blocks of a size"
# - self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
# + shared = BasicBlock.__dict__.get(f"layer{outputs}")
# + self.conv2 = shared or nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
# + setattr(BasicBlock, f"layer{outputs}", self.conv2)


# %% alternative="basic_block" why="nn.Identity and modules in a chain"
class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        same = inputs == outputs and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(outputs),
            )
        )
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding="same", bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)

    def forward(self, x):
        branch = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(branch.add(self.shortcut(x)))


# %% alternative="basic_block" why="the shortcut first"
class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.shortcut = None
        if inputs != outputs or stride > 1:
            self.shortcut = nn.ModuleList(
                [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
            )
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        y = x
        if self.shortcut is not None:
            y = self.shortcut[1](self.shortcut[0](x))
        return (y + self.bn2(self.conv2(self.bn1(self.conv1(x)).clamp(min=0)))).relu()


# %% [markdown]
# Why it helps: follow the gradient. Thirty layers are fifteen blocks, with shortcuts or without, the same weights at the start. Left: the norm of the gradient at the input of each block, before training. Without shortcuts it is a straight line on the logarithmic axis: every block multiplies by about the same factor (with BatchNorm it is larger than 1, see Yang et al., 2019; without, it may as well be smaller), so depth means explosion or extinction. With shortcuts the gradient has a way past the layers, with only the ReLU after each sum on it: it grows, too, but several times less, and ever more slowly; the cell prints both ratios. Right: both learn to tell three kinds of blood cells apart.

# %% [markdown] lang="ru"
# Почему это помогает: проследите за градиентом. Тридцать слоёв — это пятнадцать блоков, с обходными путями или без, начальные веса одинаковы. Слева — норма градиента на входе каждого блока до обучения. Без обходных путей на логарифмической оси получается прямая: каждый блок умножает примерно на одно и то же число (с BatchNorm оно больше 1, см. Yang и др., 2019; без него может быть и меньше), так что глубина означает взрыв или затухание. С обходными путями у градиента есть дорога мимо слоёв, где его меняет только ReLU после каждой суммы: он тоже растёт, но в несколько раз меньше и всё медленнее; оба отношения напечатаны. Справа обе сети учатся различать три вида клеток крови.


# %%
def thirty_layers(shortcuts: bool) -> nn.Sequential:
    """A convolution, 15 blocks of two layers and a linear classifier of 3 classes."""
    torch.manual_seed(0)
    blocks = [BasicBlock(8, 8) for _ in range(15)]
    if not shortcuts:
        blocks = [
            nn.Sequential(b.conv1, b.bn1, nn.ReLU(), b.conv2, b.bn2, nn.ReLU()) for b in blocks
        ]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *blocks, head).to(device)


def gradient_norms(network: nn.Sequential, x: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """The norm of the loss's gradient at the input of each block."""
    states = [network[0](x)]
    for block in network[1:]:
        states.append(block(states[-1]))
    loss = F.cross_entropy(states[-1], labels)
    return [float(g.norm()) for g in torch.autograd.grad(loss, states[:-2])]


# %%
cells, kinds = (v.to(device) for v in cut_out(blood.x_train, blood.y_train, 16, 150))
cells, norms, losses = (cells - cells.mean()) / cells.std(), {}, {}
for name, shortcuts in {"with shortcuts": True, "without": False}.items():
    network, rng = thirty_layers(shortcuts), seed_everything(0)
    norms[name] = (np.arange(1, 16), gradient_norms(network, cells[:100], kinds[:100]))
    optimiser, losses[name] = torch.optim.SGD(network.parameters(), 0.03, momentum=0.9), []
    for _ in progress(range(45), name):
        batch = torch.as_tensor(rng.choice(len(cells), 32, replace=False), device=device)
        loss = F.cross_entropy(network(cells[batch]), kinds[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses[name].append(float(loss.detach()))
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
title = "Before training: gradient through 15 blocks"
plots.curves(norms, title, "block (1 is nearest to the picture)", "norm", log_y=True, ax=axes[0])
smoothed = {name: np.convolve(values, np.ones(8) / 8, "valid") for name, values in losses.items()}
plots.curves(smoothed, "Training on blood cells", "step", "loss, mean of 8 steps", ax=axes[1])
for name, (_, values) in norms.items():
    print(f"{name}: gradient at block 1 / at block 15 = {values[0] / values[-1]:.3g}")
plots.show(
    "Through 15 blocks without shortcuts the gradient's norm grows along a straight line on a "
    "logarithmic axis, with them it levels off; the network with shortcuts trains faster"
)

# %% [markdown]
# ## 7. Which pixels? Dice and IoU
# Now every pixel gets an answer: nucleus or not. On average nuclei cover less than a tenth of a picture, so "nothing anywhere" is right for more than nine pixels in ten; the share of right pixels says little. Compare the *sets* of pixels, predicted $A$ and true $B$:
#
# $$\mathrm{IoU} = \frac{|A \cap B|}{|A \cup B|}, \qquad \mathrm{Dice} = \frac{2\,|A \cap B|}{|A| + |B|}.$$
#
# [Intersection over union](glossary:Intersection-over-union) is for people, and for masks of yes and no. For training, put probabilities $p = \sigma(z)$ in the place of the set $A$, and the [Dice coefficient](glossary:Dice-coefficient) becomes a loss with a gradient (the idea of Milletari et al., 2016, who square the terms below):
#
# $$L = 1 - \frac{2 \sum p\, t + s}{\sum p + \sum t + s}.$$
#
# Both are computed for each picture, over all its pixels; then take the mean over pictures. The small $s$ makes an empty picture with an empty answer a success, and not $0/0$; two empty masks have an IoU of 1.
#
# {{task:dice}}

# %% [markdown] lang="ru"
# ## 7. Какие пиксели? Dice и IoU
# Теперь ответ получает каждый пиксель: ядро или нет. Ядра занимают в среднем меньше десятой доли картинки, так что ответ «нигде ничего» верен больше чем для девяти пикселей из десяти; доля верных пикселей мало о чём говорит. Сравнивайте *множества* пикселей, предсказанное $A$ и истинное $B$:
#
# $$\mathrm{IoU} = \frac{|A \cap B|}{|A \cup B|}, \qquad \mathrm{Dice} = \frac{2\,|A \cap B|}{|A| + |B|}.$$
#
# [Отношение пересечения к объединению](glossary:Intersection-over-union) (intersection over union, IoU) — для людей и для бинарных масок. Для обучения поставьте на место множества $A$ вероятности $p = \sigma(z)$, и [коэффициент Дайса](glossary:Dice-coefficient) (Dice) превратится в потери с градиентом (идея Milletari и др., 2016; у них слагаемые внизу в квадрате):
#
# $$L = 1 - \frac{2 \sum p\, t + s}{\sum p + \sum t + s}.$$
#
# Обе величины считаются для каждой картинки по всем её пикселям; затем берётся среднее по картинкам. Благодаря малому $s$ пустой ответ на пустую картинку — успех, а не $0/0$; IoU двух пустых масок равен 1.
#
# {{task:dice}}


# %% solution="dice"
def dice_loss(logits: torch.Tensor, target: torch.Tensor, smooth: float = 1.0) -> torch.Tensor:
    """Soft Dice loss: of each picture, then the mean.

    logits: (n, 1, h, w), target: (n, 1, h, w) of 0.0 and 1.0 -> a scalar with a gradient.
    """
    ### BEGIN SOLUTION
    p, pixels = logits.sigmoid(), (1, 2, 3)
    both = (p * target).sum(dim=pixels)
    total = p.sum(dim=pixels) + target.sum(dim=pixels)
    return 1 - ((2 * both + smooth) / (total + smooth)).mean()
    ### END SOLUTION


def mask_iou(predicted: torch.Tensor, target: torch.Tensor) -> float:
    """Intersection over union of each picture's masks, then the mean. Two empty masks: 1.

    predicted, target: (n, 1, h, w) of bool -> a number.
    Example: masks of 3 and 2 pixels with 1 in common: 1 / 4.
    """
    ### BEGIN SOLUTION
    pixels = (1, 2, 3)
    both = (predicted & target).sum(dim=pixels)
    either = (predicted | target).sum(dim=pixels)
    return float(torch.where(either > 0, both / either, 1.0).mean())
    ### END SOLUTION


# %% test="dice" points=0.5 bonus=true difficulty=2 minutes=15
logits = torch.tensor([[[[0.0, 0.0, np.log(3.0), 0.0]]]])
target = torch.tensor([[[[1.0, 1, 0, 0]]]])
check.close(
    dice_loss(logits, target),
    1 - (2 * 1 + 1) / (2.25 + 2 + 1),
    "dice_loss([0, 0, log 3, 0], [1, 1, 0, 0])",
    why="have 2 * 1 + s above, 2.25 + 2 + s below, for probabilities 1/2, 1/2, 3/4, 1/2 and s = 1",
)
a, b = torch.tensor([[[[1, 1, 1, 0]]]]).bool(), torch.tensor([[[[0, 0, 1, 1]]]]).bool()
why = "divide the pixels in both by the pixels in either"
check.close(mask_iou(a, b), 1 / 4, "mask_iou([1, 1, 1, 0], [0, 0, 1, 1])", why=why)
check.close(mask_iou(a & ~a, a & ~a), 1.0, "mask_iou of two empty masks", why="be 1")
### BEGIN HIDDEN TESTS
rng = check.rng("dice")


def judge_dice(logits, target, call, why, *smooth):
    """dice_loss and its gradient by the logits, first by the formula, picture by picture."""

    def wanted(logits):
        s = smooth[0] if smooth else 1.0
        pairs = [(z.sigmoid(), t) for z, t in zip(logits, target, strict=True)]
        parts = [(2 * (p * t).sum() + s) / (p.sum() + t.sum() + s) for p, t in pairs]
        return 1 - sum(parts) / len(parts)

    found = check.answer(dice_loss, logits, target, *smooth, call=call)
    week03.close(found, wanted(logits), call, why)
    (want,) = check.gradient_of(wanted, logits, call=call)
    (found,) = check.gradient_of(lambda z: dice_loss(z, target, *smooth), logits, call=call)
    check.close(
        found, want, f"the gradient of {call}", rtol=1e-6, atol=1e-9, why="be that of the loss"
    )


def judge_iou(a, b, call, why):
    sets = [[set(np.flatnonzero(m.numpy())) for m in pair] for pair in zip(a, b, strict=True)]
    want = np.mean([len(p & q) / len(p | q) if p | q else 1.0 for p, q in sets])
    check.close(check.answer(mask_iou, a, b, call=call), want, call, rtol=1e-4, atol=1e-4, why=why)


def pictures(n, h, w, share):
    return torch.tensor(1.0 * (rng.uniform(size=(n, 1, h, w)) < share))


logits = torch.tensor(2 * rng.normal(size=(3, 1, 4, 7)))
target = pictures(3, 4, 7, 0.3)
target[:, :, 1, 2], target[:, :, 2, 5] = 1, 0
call = "dice_loss(logits, target)"
why = "be 1 - (2 * sum pt + s) / (sum p + sum t + s) over all pixels of a picture, s = 1"
judge_dice(logits[:1], target[:1], f"{call} of one picture", why)
why = "use the smooth that is given, above and below"
judge_dice(logits[:1], target[:1], "dice_loss(logits, target, smooth=0.3)", why, 0.3)
judge_dice(logits[1:2], target[1:2], "dice_loss(logits, target, smooth=5)", why, 5.0)
tiny, why = target[1:2] * 0, "use the smooth that is given, however small"
judge_dice(logits[1:2] - 9, tiny, "dice_loss(logits, no pixel, smooth=1e-5)", why, 1e-5)
why = "be the mean over pictures of each one's loss"
judge_dice(logits, target, f"{call} of three pictures", why)
far = torch.full((2, 1, 2, 3), 60.0)
empty = torch.zeros_like(far)
found = check.answer(dice_loss, -far, empty, call=call)
check.close(found, 0.0, f"{call}: nothing answered, nothing there", atol=1e-6, why="be a success")
found = check.answer(dice_loss, far, empty, call=call)
check.close(
    found, 6 / 7, f"{call}: all of 6 pixels answered, nothing there", why="be 1 - s / (6 + s)"
)
for n, h, w in [(2, 3, 5), (4, 6, int(rng.integers(2, 6))), (11, 3, 4)]:
    logits = torch.tensor(2 * rng.normal(size=(n, 1, h, w)))
    smooth = float(rng.uniform(0.1, 3))
    why = "do all of this together"
    judge_dice(logits, pictures(n, h, w, 0.4), f"{call} of {n} pictures", why, smooth)
a, b = pictures(3, 4, 7, 0.5) > 0, pictures(3, 4, 7, 0.4) > 0
a[:, :, 1, 2], b[:, :, 1, 2], b[0, :, 2] = True, True, False
call = "mask_iou(predicted, target)"
judge_iou(
    a[:1], b[:1], f"{call} of one picture", "divide the pixels in both by the pixels in either"
)
judge_iou(a, b, f"{call} of three pictures", "be the mean over pictures of each one's IoU")
judge_iou(a, ~a, f"{call} without a common pixel", "be 0")
judge_iou(a, a, f"{call} of equal masks", "be 1")
none = torch.zeros_like(a)
judge_iou(none, none, f"{call} of empty masks", "be 1 for two empty masks")
judge_iou(a, none, f"{call} with an empty target", "be 0 where only one mask is empty")
judge_iou(none, a, f"{call} with an empty answer", "be 0 where only one mask is empty")
one = none.clone()
one[:, :, 1, 2] = True
judge_iou(one, none, f"{call} of a single pixel and an empty mask", "be 0")
a[1] = b[1] = False
judge_iou(a, b, f"{call}, one picture of three empty", "count a picture with two empty masks as 1")
### END HIDDEN TESTS

# %% mutant="dice" why="takes the logits for probabilities"
# - p, pixels = logits.sigmoid(), (1, 2, 3)
# + p, pixels = logits, (1, 2, 3)

# %% mutant="dice" why="makes hard masks of the probabilities: no gradient"
# - p, pixels = logits.sigmoid(), (1, 2, 3)
# + p, pixels = (logits > 0).to(target.dtype) + 0 * logits, (1, 2, 3)

# %% mutant="dice" why="forgets the factor 2: that is neither Dice nor IoU"
# - return 1 - ((2 * both + smooth) / (total + smooth)).mean()
# + return 1 - ((both + smooth) / (total + smooth)).mean()

# %% mutant="dice" why="one sum over the whole batch"
# - p, pixels = logits.sigmoid(), (1, 2, 3)
# + p, pixels = logits.sigmoid(), (0, 1, 2, 3)

# %% mutant="dice" why="0 / 0 for two empty masks"
# - return float(torch.where(either > 0, both / either, 1.0).mean())
# + return float((both / either).mean())

# %% mutant="dice" why="Dice in place of IoU"
# - either = (predicted | target).sum(dim=pixels)
# + either = (predicted.sum(dim=pixels) + target.sum(dim=pixels)) / 2

# %% mutant="dice" why="the intersection in place of the prediction"
# - either = (predicted | target).sum(dim=pixels)
# + either = (predicted | target).sum(dim=pixels)
# + predicted &= target

# %% mutant="dice" why="no gradient below the line"
# - total = p.sum(dim=pixels) + target.sum(dim=pixels)
# + total = p.detach().sum(dim=pixels) + target.sum(dim=pixels)

# %% mutant="dice" why="smooth above alone"
# - return 1 - ((2 * both + smooth) / (total + smooth)).mean()
# + return 1 - ((2 * both + smooth) / (total + 1)).mean()

# %% mutant="dice" why="1 where either mask is empty"
# - return float(torch.where(either > 0, both / either, 1.0).mean())
# + full = predicted.sum(dim=pixels) * target.sum(dim=pixels) > 0
# + return float(torch.where(full, both / either, 1.0).mean())

# %% mutant="dice" why="pictures without a mask left out of the mean"
# - return float(torch.where(either > 0, both / either, 1.0).mean())
# + some = either > 0
# + return float((both / either)[some].mean()) if some.any() else 1.0


# %% alternative="dice" why="flattened pictures"
def dice_loss(logits, target, smooth=1.0):
    p, t = torch.sigmoid(logits).flatten(1), target.flatten(1)
    return (1 - (2 * (p * t).sum(1) + smooth) / (p.sum(1) + t.sum(1) + smooth)).mean()


def mask_iou(predicted, target):
    ious = []
    for p, t in zip(predicted, target, strict=True):
        either = int((p | t).sum())
        ious.append(int((p & t).sum()) / either if either else 1.0)
    return sum(ious) / len(ious)


# %%
rows, columns = np.mgrid[-32:32, -16:48]
disc = torch.tensor(np.hypot(rows, columns) < 14)[None, None]
shifts = range(33)
moved = [disc.roll(k, dims=3) for k in shifts]
series = {
    "share of wrong pixels": [float((m != disc).float().mean()) for m in moved],
    "1 − IoU": [1 - mask_iou(m, disc) for m in moved],
    "Dice loss": [float(dice_loss(40.0 * m - 20, 1.0 * disc)) for m in moved],
}
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), width_ratios=[1, 1, 2])
for ax, k in zip(axes[:2], (6, 18), strict=True):
    ax.imshow(torch.stack([disc, moved[k], disc], -1)[0, 0].float() * 0.9)
    ax.set_title(f"shifted by {k} pixels\nmagenta: true, green: moved", fontsize=10)
    ax.axis("off")
plots.curves(series, "A disc of radius 14 in 64 × 64 pixels", "shift, pixels", "loss", ax=axes[2])
plots.show(
    "Two overlapping discs; as one moves away the Dice loss and 1 - IoU rise to 1, while the share "
    "of wrong pixels stays below a third"
)

# %% [markdown]
# ## 8. U-Net
# A network for pixels must know *what* (a wide view, so small maps) and *where* (every pixel, so large ones). The [U-Net](glossary:U-Net) (Ronneberger, Fischer & Brox, 2015) goes down by pooling and up again by transposed convolutions, and at every level hands the map of the way down over to the way up, next to its channels.
#
# With channels $(c_1, \dots, c_m)$, largest map first:
#
# - down: `double_conv` to $c_1$, max pooling by 2, `double_conv` to $c_2$, …, `double_conv` to $c_m$;
# - up, from $c_{l+1}$ to $c_l$: a transposed convolution $2 \times 2$ with stride 2 to $c_l$ channels; concatenate it, in either order, with the map of $c_l$ channels of the way down; `double_conv` from $2 c_l$ to $c_l$;
# - at the end a $1 \times 1$ convolution from $c_1$ to one channel of logits (no sigmoid: the losses have it).
#
# Unlike in the article the convolutions are padded, so sizes match, and normalised. Height and width are divisible by $2^{m-1}$.
#
# {{task:unet}}

# %% [markdown] lang="ru"
# ## 8. U-Net
# Сети, которая отвечает для каждого пикселя, нужно знать, *что* (широкий обзор, то есть малые карты) и *где* (каждый пиксель, то есть большие). [U-Net](glossary:U-Net) (Ronneberger, Fischer, Brox, 2015) спускается вниз пулингом, поднимается обратно транспонированными свёртками и на каждом уровне передаёт карту с пути вниз на путь вверх, рядом с его каналами.
#
# При каналах $(c_1, \dots, c_m)$, начиная с самой большой карты:
#
# - вниз: `double_conv` до $c_1$, пулинг по максимуму в 2 раза, `double_conv` до $c_2$, …, `double_conv` до $c_m$;
# - вверх, от $c_{l+1}$ к $c_l$: транспонированная свёртка $2 \times 2$ с шагом 2 до $c_l$ каналов; конкатенация, в любом порядке, с картой из $c_l$ каналов с пути вниз; `double_conv` от $2 c_l$ до $c_l$;
# - в конце свёртка $1 \times 1$ от $c_1$ к одному каналу логитов (без сигмоиды: она есть в потерях).
#
# В отличие от статьи свёртки с дополнением, так что размеры совпадают, и с нормализацией. Высота и ширина делятся на $2^{m-1}$.
#
# {{task:unet}}


# %%
def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Twice: a 3 × 3 convolution that keeps the size, BatchNorm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def prepare(
    pictures: np.ndarray, masks: np.ndarray, scale: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures with mean 0 and variance 1, and masks of 0 and 1, smaller by a factor.

    (n, h, w) each -> (n, 1, h / scale, w / scale) each.
    """
    x = F.avg_pool2d(torch.tensor(pictures, dtype=torch.float32)[:, None], scale)
    y = F.avg_pool2d(torch.tensor(masks > 0, dtype=torch.float32)[:, None], scale)
    mean, deviation = x.mean(dim=(1, 2, 3), keepdim=True), x.std(dim=(1, 2, 3), keepdim=True)
    return (x - mean) / deviation, (y >= 0.5).float()


def fit(
    network: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    loss: Callable,
    steps: int,
    side: int,
    rate: float = 0.02,
) -> list[float]:
    """Train on random crops, flipped and turned, with Adam. -> the losses."""
    rng = np.random.default_rng(0)
    optimiser, losses = torch.optim.Adam(network.parameters(), rate), []
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: min(1, 2.02 - 2 * k / steps))
    network.train()
    for _ in progress(range(steps), "training"):
        batch = torch.as_tensor(rng.choice(len(x), 8, replace=False), device=x.device)
        top, left = rng.integers(0, x.shape[2] - side + 1, 2)
        pair = torch.cat([x, y], 1)[batch][:, :, top : top + side, left : left + side]
        pair = pair.rot90(int(rng.integers(4)), (2, 3)).flip(2 + int(rng.integers(2)))
        value = loss(network(pair[:, :1]), pair[:, 1:])
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(value.detach()))
    return losses


def probabilities(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The network's answers in evaluation mode, a few pictures at a time. -> shape of x."""
    network.eval()
    with torch.no_grad():
        return torch.cat([network(part).sigmoid() for part in x.split(10)])


# %% solution="unet"
class UNet(nn.Module):
    """(n, 1, h, w) -> logits (n, 1, h, w). channels: of each level, the largest map first."""

    def __init__(self, channels: Sequence[int] = (8, 16, 32)):
        super().__init__()
        ### BEGIN SOLUTION
        pairs = list(pairwise(channels))
        self.first = double_conv(1, channels[0])
        self.down = nn.ModuleList(double_conv(a, b) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
        self.merge = nn.ModuleList(double_conv(2 * a, a) for a, _ in pairs)
        self.head = nn.Conv2d(channels[0], 1, 1)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        x, kept = self.first(x), []
        for down in self.down:
            kept.append(x)
            x = down(F.max_pool2d(x, 2))
        for up, merge in reversed(list(zip(self.up, self.merge, strict=True))):
            x = merge(torch.cat([kept.pop(), up(x)], dim=1))
        return self.head(x)
        ### END SOLUTION


# %% [markdown]
# The check that you see counts weights. The hidden one gives your network random weights and compares it with another one of these layers, whatever yours are called: its answers, its gradients, what its normalisations have noted, in training and in eval mode. So nothing but these layers may act. The real nuclei come right after.

# %% [markdown] lang="ru"
# Видимая проверка считает веса. Скрытая даёт вашей сети случайные веса и сравнивает её с другой сетью из таких же слоёв, как бы ваши ни назывались: ответы, градиенты и то, что запомнили нормализации, в режимах обучения и проверки. Значит, кроме этих слоёв, ничто действовать не должно. Настоящие ядра — сразу после этого.

# %% test="unet" points=1 bonus=true difficulty=3 minutes=30
found = check.answer(UNet().forward, torch.rand(2, 1, 16, 24), call="UNet()(x)")
check.equal(found.shape, (2, 1, 16, 24), "the shape of UNet()(x)", why="stay")
state = check.parameters_of(UNet((2, 3)), "UNet((2, 3))")
count = sum(value.size for name, value in state.items() if name.endswith(("weight", "bias")))
check.equal(
    count,
    sum(p.numel() for pair in [(1, 2), (2, 3), (4, 2)] for p in double_conv(*pair).parameters())
    + (3 * 2 * 4 + 2)
    + (2 + 1),
    "the number of weights of UNet((2, 3))",
    why="have three double convolutions, one transposed convolution, the last convolution",
)
### BEGIN HIDDEN TESTS
rng = check.rng("unet")


class ReferenceUNet(nn.Module):
    """The network. across: whether the map of the way down comes first where maps are joined."""

    def __init__(self, channels: Sequence[int], across: bool = True) -> None:
        super().__init__()
        pairs, self.across = list(pairwise(channels)), across
        self.down = nn.ModuleList(double_conv(a, b) for a, b in [(1, channels[0]), *pairs])
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
        self.join = nn.ModuleList(double_conv(2 * a, a) for a, _ in pairs)
        self.last = nn.Conv2d(channels[0], 1, 1)

    def forward(self, x):
        maps = [self.down[0](x)]
        for down in self.down[1:]:
            maps.append(down(F.max_pool2d(maps[-1], 2)))
        x = maps.pop()
        for up, join in zip(reversed(self.up), reversed(self.join), strict=True):
            parts = [maps.pop(), up(x)]
            x = join(torch.cat(parts if self.across else parts[::-1], dim=1))
        return self.last(x)


def judge_unet(network, channels, call, why, n=3, wide=0):
    """Random weights, so that nothing hangs on how they start; either order of joining is right."""
    state = {}
    for name, value in check.parameters_of(network, call).items():
        low = 0.2 if value.ndim < 2 and "bias" not in name else -1
        drawn = rng.uniform(low, 1, value.shape)
        state[name] = torch.tensor(drawn if value.dtype.kind == "f" else value)
    network.double().load_state_dict(state)  # float64: rounding is no matter then
    h, w = (int(v) * 2 ** (len(channels) - 1) for v in (3, rng.choice([2, 4])))
    close = {"rtol": 1e-9, "atol": 1e-9}
    x, failures = torch.tensor(rng.normal(size=(n, 1, h, wide or w))), []
    with check.unchanged(f"{call}(x)", x=x):
        network(x)
    for across in (True, False):
        try:
            reference = ReferenceUNet(channels, across).double()
            check.same_network(network, reference, x, call=call, why=why, **close)
            return
        except check.CheckFailed as error:
            failures.append(error)
    raise failures[0]


for channels, why in [
    ((3,), "be a double convolution and the last one where there is one level"),
    ((3, 5), "pool by the maximum, come up by a transposed convolution, and join both maps"),
    ((2, 5, 4), "hand over at each level its own map, as it leaves the double convolution"),
    (tuple(int(v) for v in rng.integers(1, 7, 4)), "do so for any number of levels"),
]:
    call = f"UNet({channels})"
    listed = list(channels)
    with check.unchanged(call, channels=listed):
        network = UNet(listed)
    judge_unet(network, channels, call, why)
why = "do so for any number of levels, also for many"
judge_unet(UNet((2, 1, 2, 1, 2, 1)), (2, 1, 2, 1, 2, 1), "UNet of six levels", why)
why = "take all pictures of a batch together, however many"
judge_unet(UNet((2, 3)), (2, 3), "UNet((2, 3)), 11 pictures", why, n=11)
why = "take pictures of any width"
judge_unet(UNet((2, 3)), (2, 3), "UNet((2, 3)) of a wide picture", why, n=2, wide=78)
judge_unet(UNet(), (8, 16, 32), "UNet()", "have 8, 16 and 32 channels where none are given")
one, other = UNet((2, 3)), UNet((2, 3))
states = [check.parameters_of(network, "UNet((2, 3))") for network in (one, other)]
check.that(
    all(not np.array_equal(states[0][n], v) for n, v in states[1].items() if v.ndim == 4),
    "give each UNet weights of its own, drawn at random",
)
judge_unet(one, (2, 3), "UNet((2, 3))", "work beside another one of its kind")
check.that(
    all(
        np.array_equal(v, states[1][n])
        for n, v in check.parameters_of(other, "UNet((2, 3))").items()
    ),
    "leave another UNet as it was",
)
### END HIDDEN TESTS

# %% mutant="unet" why="the map of the way down twice: nothing comes from below"
# - x = merge(torch.cat([kept.pop(), up(x)], dim=1))
# + across = kept.pop()
# + x = merge(torch.cat([across, across], dim=1))

# %% mutant="unet" why="mean pooling"
# - x = down(F.max_pool2d(x, 2))
# + x = down(F.avg_pool2d(x, 2))

# %% mutant="unet" why="no connection across: the upper map twice"
# - x = merge(torch.cat([kept.pop(), up(x)], dim=1))
# + across = up(x)
# + x = merge(torch.cat([across, across], dim=1))

# %% mutant="unet" why="adds the maps in place of concatenating"
# - self.merge = nn.ModuleList(double_conv(2 * a, a) for a, _ in pairs)
# + self.merge = nn.ModuleList(double_conv(a, a) for a, _ in pairs)
# - x = merge(torch.cat([kept.pop(), up(x)], dim=1))
# + x = merge(kept.pop() + up(x))

# %% mutant="unet" why="a sigmoid at the end"
# - return self.head(x)
# + return self.head(x).sigmoid()

# %% mutant="unet" why="only one convolution on the way up"
# - self.merge = nn.ModuleList(double_conv(2 * a, a) for a, _ in pairs)
# + self.merge = nn.ModuleList(nn.Conv2d(2 * a, a, 3, padding=1) for a, _ in pairs)

# %% mutant="unet" why="the gradient can't go across"
# - kept.append(x)
# + kept.append(0 * x)

# %% mutant="unet" why="pools before it keeps, then enlarges again: the fine map is lost"
# - kept.append(x)
# - x = down(F.max_pool2d(x, 2))
# + small = F.max_pool2d(x, 2)
# + kept.append(F.interpolate(small, scale_factor=2))
# + x = down(small)

# %% mutant="unet" why="enlarges bilinearly, then a convolution"
# - self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
# + grow, side = nn.Upsample(scale_factor=2, mode="bilinear"), nn.ZeroPad2d((0, 1, 0, 1))
# + self.up = nn.ModuleList(nn.Sequential(grow, side, nn.Conv2d(b, a, 2)) for a, b in pairs)

# %% mutant="unet" why="dropout on the lowest level"
# - for up, merge in reversed(list(zip(self.up, self.merge, strict=True))):
# + x = F.dropout(x, 0.5, self.training)
# + for up, merge in reversed(list(zip(self.up, self.merge, strict=True))):

# %% mutant="unet" why="half the logits in eval mode"
# - return self.head(x)
# + return self.head(x) * (1 if self.training else 0.5)

# %% mutant="unet" why="normalises the pictures once more"
# - x, kept = self.first(x), []
# + x, kept = self.first((x - x.mean()) / x.std()), []

# %% mutant="unet" why="pools and enlarges once more on the lowest level"
# - for up, merge in reversed(list(zip(self.up, self.merge, strict=True))):
# + x = F.interpolate(F.max_pool2d(x, 2, ceil_mode=True), size=x.shape[2:])
# + for up, merge in reversed(list(zip(self.up, self.merge, strict=True))):

# %% mutant="unet" why="no gradient across"
# - x = merge(torch.cat([kept.pop(), up(x)], dim=1))
# + x = merge(torch.cat([kept.pop().detach(), up(x)], dim=1))

# %% mutant="unet" why="the mode of its layers stays"
# - def forward(self, x: torch.Tensor) -> torch.Tensor:
# + def train(self, mode: bool = True) -> nn.Module:
# +     self.training = mode
# +     return self
# +
# + def forward(self, x: torch.Tensor) -> torch.Tensor:

# %% mutant="unet" why="one last layer for all networks"
# - self.head = nn.Conv2d(channels[0], 1, 1)
# + self.head = UNet.__dict__.get(f"head{channels[0]}") or nn.Conv2d(channels[0], 1, 1)
# + setattr(UNet, f"head{channels[0]}", self.head)

# %% mutant="unet" why="takes the channels out of the list that it is given"
# - self.head = nn.Conv2d(channels[0], 1, 1)
# + self.head = nn.Conv2d(channels[0], 1, 1)
# + while len(channels) > 1 and isinstance(channels, list):
# +     channels.pop()


# %% alternative="unet" why="recursive: a level holds the level below it"
class UNet(nn.Module):
    def __init__(self, channels=(8, 16, 32), inputs=1, top=True):
        super().__init__()
        a, *rest = channels
        self.enter = double_conv(inputs, a)
        if rest:
            self.below = UNet(rest, a, False)
            self.rise = nn.ConvTranspose2d(rest[0], a, kernel_size=2, stride=2)
            self.leave = double_conv(2 * a, a)
        self.head = nn.Conv2d(a, 1, kernel_size=1) if top else nn.Identity()

    def forward(self, x):
        x = self.enter(x)
        if hasattr(self, "below"):
            deep = self.below(nn.functional.max_pool2d(x, kernel_size=2))
            x = self.leave(torch.cat((self.rise(deep), x), 1))
        return self.head(x)


# %% [markdown]
# Train it: Dice plus cross-entropy, which tells each pixel apart where the Dice loss is flat. The goal is an IoU of 0.8 on the held-out pictures. To know what that is worth, a threshold on the brightness, the best one for the training pictures, competes.

# %% [markdown] lang="ru"
# Обучите её: Dice плюс перекрёстная энтропия, которая различает отдельные пиксели там, где Dice почти не меняется. Цель — IoU 0,8 на отложенных картинках. Чтобы понять, чего это стоит, с ней состязается порог по яркости — лучший для обучающих картинок.


# %%
def segmentation_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return dice_loss(logits, target) + F.binary_cross_entropy_with_logits(logits, target)


@cache
def trained_unet() -> tuple[nn.Module, list[float]]:
    """Your network, trained once, and its losses."""
    torch.manual_seed(0)
    network = UNet(settings["channels"]).to(device)
    x, y = prepare(nuclei.x_train, nuclei.y_train, settings["scale"])
    x, y = x.to(device), y.to(device)
    plan = settings["steps"], settings["crop"], settings["rate"]
    return network, fit(network, x, y, segmentation_loss, *plan)


# %%
network, losses = trained_unet()
x_val, y_val = prepare(nuclei.x_test, nuclei.y_test, settings["scale"])
answers = probabilities(network, x_val.to(device)).cpu()
x, y = prepare(nuclei.x_train, nuclei.y_train, settings["scale"])
level = max(np.arange(0, 4, 0.1), key=lambda v: mask_iou(x > v, y > 0))
each = [mask_iou(answers[i : i + 1] > 0.5, y_val[i : i + 1] > 0) for i in range(len(x_val))]
print(
    f"best threshold: IoU {mask_iou(x_val > level, y_val > 0):.3f} on {len(x_val)} held-out pictures"
)
print(f"your U-Net:     IoU {np.mean(each):.3f}, goal 0.8")
figure, axes = plt.subplots(2, 5, figsize=(12, 5))
axes[0, 0].plot(losses)
axes[0, 0].set(title="Training loss", xlabel="step")
axes[1, 0].hist(each, bins=np.linspace(0, 1, 21))
axes[1, 0].set(title=f"Held-out IoU, mean {np.mean(each):.2f}", xlabel="IoU of a picture")
order = np.argsort(each)
for column, i in enumerate(order[[0, len(each) // 4, len(each) // 2, -1]], 1):
    axes[0, column].imshow(nuclei.x_test[i])
    mistakes = np.stack([answers[i, 0] > 0.5, y_val[i, 0] > 0, y_val[i, 0] > 0], -1) * 1.0
    axes[1, column].imshow(mistakes)
    axes[0, column].set_title(f"IoU {each[i]:.2f}", fontsize=10)
    axes[1, column].set_title("red: too much, cyan: missed", fontsize=9)
    axes[0, column].axis("off")
    axes[1, column].axis("off")
plots.show(
    "The falling loss, the histogram of IoU over held-out pictures, and four pictures from the "
    "worst to the best with the pixels that the network adds or misses"
)

# %% [markdown]
# ## 9. Boxes
# A detector answers with boxes: $(x_0, y_0, x_1, y_1)$ in pixels, each with a score. It looks at thousands of places, and a cell is found by all boxes that lie about right. [Non-maximum suppression](glossary:Non-maximum-suppression) (NMS) keeps one: take the box with the highest score, drop all that overlap it too much, go on with the best one left. The measure of overlap is again [IoU](glossary:Intersection-over-union), now of areas.
#
# The rules, as in `torchvision.ops.nms`: a box goes if its IoU with a **kept** one is *larger* than the threshold; equal is allowed. A box that was dropped drops nobody. Scores are floats or whole numbers of any sign, up to $2^{53}$ in size. Of equal ones that with the smaller index comes first.
#
# {{task:nms}}

# %% [markdown] lang="ru"
# ## 9. Рамки
# Детектор отвечает рамками $(x_0, y_0, x_1, y_1)$ в пикселях, у каждой своя оценка. Он смотрит на тысячи мест, и клетку находят все рамки, которые лежат примерно правильно. [Подавление немаксимумов](glossary:Non-maximum-suppression) (non-maximum suppression, NMS) оставляет одну: возьмите рамку с наибольшей оценкой, выбросьте все, которые слишком сильно с ней перекрываются, и продолжайте с лучшей из оставшихся. Мера перекрытия — снова [IoU](glossary:Intersection-over-union), теперь для площадей.
#
# Правила те же, что в `torchvision.ops.nms`: рамка выбывает, если её IoU с **оставленной** *больше* порога; равенство допустимо. Выброшенная рамка никого не выбрасывает. Оценки бывают вещественными и целыми, любого знака, по модулю до $2^{53}$. Из равных первой идёт та, у которой индекс меньше.
#
# {{task:nms}}


# %% solution="nms"
def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of every box of a with every box of b; 0 where both have no area.

    a: (n, 4), b: (m, 4) of x0, y0, x1, y1, floats or whole numbers; n and m may be 0 -> (n, m).
    Example: [0, 0, 2, 2] with [1, 0, 3, 1]: 1 / (4 + 2 - 1).
    """
    ### BEGIN SOLUTION
    a, b = a.astype(float), b.astype(float)
    low = np.maximum(a[:, None, :2], b[:, :2])
    high = np.minimum(a[:, None, 2:], b[:, 2:])
    both = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    either = areas[0][:, None] + areas[1] - both
    return both / np.where(either > 0, either, 1)
    ### END SOLUTION


def nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the boxes to keep, the highest score first.

    boxes: (n, 4), scores: (n,); n may be 0 -> (k,) of integers, also for k = 0.
    """
    ### BEGIN SOLUTION
    left, kept = np.argsort(-scores.astype(float), kind="stable"), []
    while len(left):
        kept.append(left[0])
        left = left[box_iou(boxes[left[:1]], boxes[left])[0] <= threshold]
        left = left[left != kept[-1]]
    return np.array(kept, dtype=int)
    ### END SOLUTION


# %% test="nms" points=1 bonus=true difficulty=3 minutes=30
a = np.array([[0.0, 0, 2, 2], [5, 5, 6, 9]])
b = np.array([[1.0, 0, 3, 1], [0, 0, 2, 2], [2, 0, 4, 2]])
check.close(
    box_iou(a, b),
    [[0.2, 1, 0], [0, 0, 0]],
    "box_iou(a, b)",
    why="divide the common area by that of both together; a touch has none",
)
row = np.array([[0.0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10], [30, 0, 40, 10]])
found = check.answer(nms, row, np.array([0.9, 0.8, 0.7, 0.95]), 0.5, call="nms(row, scores, 0.5)")
check.equal(
    np.asarray(found),
    [3, 0, 2],
    "nms of three boxes in a row and one apart, threshold 0.5",
    why="drop the middle one, which then can't drop the one behind it",
)
### BEGIN HIDDEN TESTS
rng = check.rng("nms")


def overlap(p, q):
    """IoU of two boxes, number by number."""
    across, down = min(p[2], q[2]) - max(p[0], q[0]), min(p[3], q[3]) - max(p[1], q[1])
    both = max(across, 0.0) * max(down, 0.0)
    either = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - both
    return both / either if either else 0.0


def judge_box_iou(a, b, call, why):
    want = np.reshape([overlap(p, q) for p in a.tolist() for q in b.tolist()], (len(a), len(b)))
    call = f"box_iou(a, b) of {call}"
    with np.errstate(all="ignore"):
        found = check.answer(box_iou, a, b, call=call)
    week03.close(found, want, call, why)


def judge_nms(boxes, scores, threshold, call, why):
    stay = []
    for i in sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i)):
        if all(overlap(boxes[i], boxes[k]) <= threshold for k in stay):
            stay.append(i)
    boxes, scores = np.reshape(boxes, (-1, 4)), np.array(scores)
    call = f"nms of {call}, threshold {threshold:.3g}"
    found = check.answer(nms, boxes, scores, threshold, call=call)
    check.equal(np.asarray(found), np.array(stay), call, why=why)
    kinds = {check.kind_of(i) for i in found}
    whole = found.dtype.kind in "iu" if isinstance(found, np.ndarray) else kinds <= {"int"}
    check.that(whole, "return integers, by which nms picks boxes, also where there is none")


def some_boxes(n, side=9.0):
    corners = rng.uniform(0, side, size=(n, 2))
    return np.hstack([corners, corners + rng.uniform(0.5, 6, size=(n, 2))])


big, small, aside = (
    np.array([[0.0, 0, 8, 6]]),
    np.array([[1.0, 2, 4, 7]]),
    np.array([[8.0, 6, 9, 9]]),
)
judge_box_iou(big, small, "two boxes", "divide the common area by that of both together")
judge_box_iou(big, np.array([[2.0, 1, 5, 4]]), "a box in a box", "divide by both together")
judge_box_iou(big, aside, "boxes that touch in a corner", "be 0 where nothing is common")
far = 1e4 + np.array([[0.0, 0, 5, 3], [20, 0, 24, 8], [0, 30, 9, 33], [40, 50, 43, 51]])
judge_box_iou(far, far, "boxes far apart", "see no area in a product of two negative sides")
judge_box_iou(small / 5000, big / 5000, "small boxes", "hang on ratios alone")
points = np.array([[1.0, 1, 1, 1], [0, 0, 3, 2], [2, 1, 2, 1]])
judge_box_iou(points, points, "boxes without area", "be 0 where both have no area")
judge_box_iou(some_boxes(3), some_boxes(5), "shapes (3, 4) and (5, 4)", "compare each with each")
whole = np.array([[0, 0, 2, 3], [1, 1, 4, 3], [5, 5, 7, 6]])
judge_box_iou(whole, whole[:2], "whole numbers", "be a fraction also of whole numbers")
why = "hold for whole numbers whose areas are large"
vast = 25000 * np.array([[0, 0, 2, 3], [1, 1, 4, 3]], np.int32)
judge_box_iou(vast, vast[::-1], "large boxes of int32", why)
byte = np.array([[0, 0, 100, 200], [201, 190, 255, 255], [3, 9, 250, 240]], np.uint8)
judge_box_iou(byte, byte[:2], "boxes of bytes", "hold for bytes: no number wraps around")
judge_box_iou(small / 5e6, big / 5e6, "tiny boxes", "hang on ratios alone")
judge_box_iou(points[:0], points, "no boxes and three", "have the shape (0, 3)")
judge_box_iou(points, points[:0], "three boxes and none", "have the shape (3, 0)")
for n, m in [(1, 1), (7, 4), (int(rng.integers(20, 40)), 9)]:
    judge_box_iou(some_boxes(n), some_boxes(m), f"{n} boxes and {m}", "do all of this together")
apart = [[0.0, 0, 1, 1], [5, 5, 6, 6], [9, 9, 12, 11]]
judge_nms(apart, [0.3, 0.7, 0.5], 0.5, "boxes apart", "keep them all, by falling score")
judge_nms(apart, [-3.0, -1.0, -2.0], 0.5, "negative scores", "take scores of any size")
judge_nms(apart, [-3e9, -1e9, -2e9], 0.5, "very low scores", "take scores of any size")
twice = [[0.0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 11]]
judge_nms(
    twice, [0.3, 0.7, 0.5], 0.5, "two boxes on one place", "keep the one with the higher score"
)
chain = [[0.0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10], [9, 0, 19, 10]]
why = "compare with kept boxes alone: a dropped one drops nobody"
judge_nms(chain, [0.9, 0.8, 0.7, 0.6], 0.5, "boxes in a row", why)
for threshold in (0.1, 0.3, 0.6, 1.0):
    why = "drop what overlaps a kept box by more than the threshold that is given"
    judge_nms(chain, [0.6, 0.9, 0.7, 0.8], threshold, "boxes in a row", why)
half = [[0.0, 0, 2, 1], [0, 0, 1, 1]]
judge_nms(half, [1.0, 2.0], 0.5, "an IoU of 0.5", "keep a box whose IoU equals the threshold")
why = "drop a box whose IoU is larger than the threshold, by however little"
judge_nms(half, [1.0, 2.0], 0.5 - 1e-9, "an IoU just above", why)
judge_nms(half, [1.0, 2.0], 0.0, "a threshold of 0", "drop all that overlap at all, and no more")
why = "take the smaller index first of equal scores"
judge_nms(twice, [0.5, 0.5, 0.5], 0.5, "equal scores", why)
judge_nms(apart * 40, [2, 1, 2] * 40, 1.0, "many equal scores", why)
why = "take the higher score first, by however little: that is no tie"
judge_nms(twice, [0.5, 0.5 + 1e-9, 0.2], 0.5, "nearly equal scores", why)
judge_nms([], [], 0.5, "no boxes", "be empty")
why = "take scores that are whole numbers, also those without a sign"
judge_nms(twice, np.array([3, 7, 0], np.uint8), 0.5, "scores of bytes", why)
flat = [[1.0, 1, 1, 1], [1, 1, 1, 1], [5, 5, 8, 5]]
why = "keep boxes without area, equal ones, too: their IoU is 0"
judge_nms(flat, [0.3, 0.5, 0.4], 0.5, "boxes without area", why)
many = [[3.0 * i, 0, 3 * i + 2, 1] for i in range(400)]
judge_nms(many, list(range(400)), 0.5, "400 boxes apart", "keep all, however many")
judge_nms([[0, 0, 3, 2], [1, 0, 4, 2]], [1, 2], 0.4, "whole numbers", "take fractions of areas")
for n in (1, 7, int(rng.integers(20, 40))):
    boxes = some_boxes(n)
    equal = np.hstack([boxes[:, :2].round(), boxes[:, 2:].round() + 1])  # equal boxes and overlaps
    for threshold in (0.0, float(rng.uniform(0.1, 0.6)), 0.5, 1.0):
        why = "do all of this together"
        judge_nms(boxes.tolist(), rng.uniform(size=n).tolist(), threshold, f"{n} boxes", why)
        scores = (rng.integers(0, 6, n) / 6).tolist()
        judge_nms(equal.tolist(), scores, threshold, f"{n} boxes, some alike", why)
### END HIDDEN TESTS

# %% mutant="nms" why="areas of whole numbers overflow"
# - a, b = a.astype(float), b.astype(float)
# + a, b = np.asarray(a), np.asarray(b)
# - areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
# + areas = [(v[:, 2] - v[:, 0]) * (v[:, 3] - v[:, 1]) for v in (a, b)]

# %% mutant="nms" why="sides of bytes wrap around"
# - a, b = a.astype(float), b.astype(float)
# + a, b = np.asarray(a), np.asarray(b)

# %% mutant="nms" why="scores without a sign wrap around"
# - left, kept = np.argsort(-scores.astype(float), kind="stable"), []
# + left, kept = np.argsort(-scores, kind="stable"), []

# %% mutant="nms" why="at most 300 boxes"
# - return np.array(kept, dtype=int)
# + return np.array(kept[:300], dtype=int)

# %% mutant="nms" why="two negative sides make an overlap"
# - both = (high - low).clip(0).prod(axis=2)
# + both = (high - low).prod(axis=2).clip(0)

# %% mutant="nms" why="counts the overlap twice in the union"
# - either = areas[0][:, None] + areas[1] - both
# + either = areas[0][:, None] + areas[1]

# %% mutant="nms" why="equal to the threshold is too much already"
# - left = left[box_iou(boxes[left[:1]], boxes[left])[0] <= threshold]
# + left = left[box_iou(boxes[left[:1]], boxes[left])[0] < threshold]

# %% mutant="nms" why="starts with the lowest score"
# - left, kept = np.argsort(-scores.astype(float), kind="stable"), []
# + left, kept = np.argsort(scores, kind="stable"), []

# %% mutant="nms" why="the larger index first among equal scores"
# - left, kept = np.argsort(-scores.astype(float), kind="stable"), []
# + left, kept = np.argsort(scores, kind="stable")[::-1], []

# %% mutant="nms" why="dropped boxes drop others, too"
# - left, kept = np.argsort(-scores.astype(float), kind="stable"), []
# - while len(left):
# -     kept.append(left[0])
# -     left = left[box_iou(boxes[left[:1]], boxes[left])[0] <= threshold]
# -     left = left[left != kept[-1]]
# - return np.array(kept, dtype=int)
# + order = np.argsort(-scores, kind="stable")
# + ious = np.triu(box_iou(boxes[order], boxes[order]), 1)
# + return order[(ious <= threshold).all(axis=0)]

# %% mutant="nms" why="pixels counted from edge to edge: one more on each side"
# - both = (high - low).clip(0).prod(axis=2)
# - areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
# + both = (high - low + 1).clip(0).prod(axis=2)
# + areas = [(boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1) for boxes in (a, b)]

# %% mutant="nms" why="floats where no box is left to pick"
# - return np.array(kept, dtype=int)
# + return np.array(kept)

# %% mutant="nms" why="nearly equal to the threshold is allowed"
# - left = left[box_iou(boxes[left[:1]], boxes[left])[0] <= threshold]
# + left = left[box_iou(boxes[left[:1]], boxes[left])[0] <= threshold + 1e-6]

# %% mutant="nms" why="nearly equal scores count as equal"
# - left, kept = np.argsort(-scores.astype(float), kind="stable"), []
# + left, kept = np.argsort(-np.round(scores, 6), kind="stable"), []

# %% mutant="nms" why="an overlap of whole numbers is cut"
# - a, b = a.astype(float), b.astype(float)
# + kind, a, b = a.dtype, a.astype(float), b.astype(float)
# - return both / np.where(either > 0, either, 1)
# + return (both / np.where(either > 0, either, 1)).astype(kind)

# %% mutant="nms" why="single precision"
# - return both / np.where(either > 0, either, 1)
# + return (both / np.where(either > 0, either, 1)).astype(np.float32)


# %% alternative="nms" why="plain loops"
def box_iou(a, b):
    out = np.zeros((len(a), len(b)))
    for i, (x0, y0, x1, y1) in enumerate(a.tolist()):
        for j, (u0, v0, u1, v1) in enumerate(b.tolist()):
            both = max(min(x1, u1) - max(x0, u0), 0) * max(min(y1, v1) - max(y0, v0), 0)
            either = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - both
            out[i, j] = both / either if either > 0 else 0
    return out


def nms(boxes, scores, threshold):
    ious, kept = box_iou(boxes, boxes), []
    for i in sorted(range(len(boxes)), key=lambda i: -float(scores[i])):
        if all(ious[i, k] <= threshold for k in kept):
            kept.append(i)
    return kept


# %% [markdown]
# Here is a detector of white blood cells without any training. Their nuclei are violet: more blue than green. Lay a grid of [anchor boxes](glossary:Anchor-box) over the picture, three sizes in three shapes every 16 pixels, and give each the score *violet inside minus violet around it*. Thousands of boxes; the best 200 sit on top of each other.

# %% [markdown] lang="ru"
# Вот детектор лейкоцитов, который ничему не обучался. Их ядра фиолетовые: синего больше, чем зелёного. Наложите на картинку сетку [якорных рамок](glossary:Anchor-box) (anchor boxes) — три размера, три формы, через каждые 16 пикселей — и дайте каждой оценку *фиолетовое внутри минус фиолетовое вокруг*. Рамок тысячи; лучшие 200 сидят друг на друге.


# %%
CELL = 8  # pixels a side: the map of violet is coarse


def violet(pictures: np.ndarray) -> np.ndarray:
    """How violet each place is. (n, 480, 640, 3) of bytes -> (n, 60, 80)."""
    coarse = pictures[:, CELL // 2 :: CELL, CELL // 2 :: CELL].astype(float)
    difference = coarse[..., 2] - coarse[..., 1]
    return difference - np.median(difference, axis=(1, 2), keepdims=True)


def anchor_grid() -> np.ndarray:
    """Anchor boxes of three sizes and three shapes, every 16 pixels. -> (n, 4)."""
    x, y, size, shape = np.meshgrid(
        np.arange(0, 641, 16), np.arange(0, 481, 16), [96, 144, 208], [0.75, 1, 1.33], indexing="ij"
    )
    half = np.stack([size * shape**0.5, size / shape**0.5], -1).reshape(-1, 2) / 2
    centre = np.stack([x, y], -1).reshape(-1, 2)
    return np.hstack([centre - half, centre + half])


def sums(heat: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the places in every box, from one table of sums. (n, 4) -> (n,), (n,)."""
    table = np.pad(heat.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    x0, y0, x1, y1 = np.clip(np.round(boxes / CELL).astype(int), 0, [80, 60, 80, 60]).T
    inside = table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]
    return inside, (x1 - x0) * (y1 - y0)


def candidates(
    heat: np.ndarray, boxes: np.ndarray, most: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes with the highest scores, and the scores."""
    margin = (boxes[:, 2:] - boxes[:, :2]) / 4
    inner, count = sums(heat, boxes)
    outer, larger = sums(heat, np.hstack([boxes[:, :2] - margin, boxes[:, 2:] + margin]))
    scores = inner / np.maximum(count, 1) - (outer - inner) / np.maximum(larger - count, 1)
    scores[count < 20] = -np.inf  # hardly in the picture
    best = np.argsort(-scores, kind="stable")[:most]
    return boxes[best], scores[best]


def white_cells(rows: np.ndarray) -> np.ndarray:
    """The boxes of the white cells among the annotated ones. (k, 5) -> (m, 4)."""
    return rows[rows[:, 4] == 1, :4].astype(float)


def outline(ax: plt.Axes, boxes: np.ndarray, colour: str, **options) -> None:
    """Draw boxes."""
    for x0, y0, x1, y1 in boxes:
        ax.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, **options))


# %%
i = 7
heat = violet(blood.x_test[i : i + 1])[0]
boxes, scores = candidates(heat, anchor_grid())
kept = nms(boxes, scores, 0.3)
figure, axes = plt.subplots(1, 3, figsize=(12, 3.3))
axes[0].imshow(heat, cmap="Purples", vmin=0)
axes[0].set_title("how violet it is")
axes[1].imshow(blood.x_test[i])
outline(axes[1], boxes, "black", lw=0.4)
axes[1].set_title(f"the best {len(boxes)} of {len(anchor_grid())} anchors")
axes[2].imshow(blood.x_test[i])
outline(axes[2], boxes[kept], "black", lw=2)
outline(axes[2], white_cells(blood.y_test[i]), "yellow", lw=2, ls="--")
axes[2].set_title(f"after NMS: {len(kept)} left; yellow: truth")
for ax in axes:
    ax.axis("off")
plots.show(
    "A map of violet with two bright cells, two hundred overlapping boxes on them, and the three "
    "boxes that suppression keeps, beside the two true ones"
)

# %% [markdown]
# ### Encoding a box
# Anchors come in nine shapes, cells in any. So a detector doesn't predict a box but how to *change the anchor* (Girshick et al., 2014; Ren et al., 2015). With centre $(x, y)$, width $w$ and height $h$ of the box, and $x_a, y_a, w_a, h_a$ of its anchor:
#
# $$t_x = \frac{x - x_a}{w_a}, \quad t_y = \frac{y - y_a}{h_a}, \quad t_w = \log \frac{w}{w_a}, \quad t_h = \log \frac{h}{h_a}.$$
#
# These numbers don't depend on the size of the picture or of the cell, and are near 0 for a good anchor: easy to learn. The logarithm keeps sizes positive on the way back.
#
# {{task:box_codes}}

# %% [markdown] lang="ru"
# ### Кодирование рамки
# Якорные рамки бывают девяти видов, клетки — любые. Поэтому детектор предсказывает не рамку, а то, как *изменить якорь* (Girshick и др., 2014; Ren и др., 2015). Если $(x, y)$, $w$, $h$ — центр, ширина и высота рамки, а $x_a, y_a, w_a, h_a$ — её якоря, то
#
# $$t_x = \frac{x - x_a}{w_a}, \quad t_y = \frac{y - y_a}{h_a}, \quad t_w = \log \frac{w}{w_a}, \quad t_h = \log \frac{h}{h_a}.$$
#
# Эти числа не зависят от размеров картинки и клетки, а для хорошего якоря близки к 0: их легко выучить. Логарифм следит за тем, чтобы на обратном пути размеры оставались положительными.
#
# {{task:box_codes}}


# %% solution="box_codes"
def encode(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The codes tx, ty, tw, th of boxes against their anchors.

    boxes, anchors: (n, 4) of x0, y0, x1, y1, floats or whole numbers -> (n, 4) of floats.
    Example: [2, 0, 6, 2] against [0, 0, 4, 8]: [0.5, -0.375, 0, -log 4].
    """
    ### BEGIN SOLUTION
    size, anchor = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    moved = boxes.astype(float) - anchors
    shift = (moved[:, :2] + moved[:, 2:]) / 2
    return np.hstack([shift / anchor, np.log(size / anchor)])
    ### END SOLUTION


def decode(codes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The boxes that codes stand for. codes, anchors: (n, 4) -> (n, 4) of x0, y0, x1, y1, floats."""
    ### BEGIN SOLUTION
    codes, anchor = codes.astype(float), anchors[:, 2:] - anchors[:, :2]
    centre = anchors[:, :2] + (0.5 + codes[:, :2]) * anchor
    half = anchor * np.exp(codes[:, 2:]) / 2
    return np.hstack([centre - half, centre + half])
    ### END SOLUTION


# %% test="box_codes" points=0.5 bonus=true difficulty=2 minutes=15
box, anchor = np.array([[2.0, 0, 6, 2]]), np.array([[0.0, 0, 4, 8]])
check.close(
    encode(box, anchor),
    [[0.5, -0.375, 0, -np.log(4)]],
    "encode([2, 0, 6, 2], [0, 0, 4, 8])",
    why="give the shift of the centre in widths and heights of the anchor, then log ratios of sizes",
)
check.close(
    decode(np.array([[0.5, -0.375, 0, -np.log(4)]]), anchor),
    box,
    "decode of these codes",
    why="take back what encode has done",
)
### BEGIN HIDDEN TESTS
rng = check.rng("box_codes")


def codes_of(boxes, anchors):
    """The codes, number by number."""
    rows = []
    for (x0, y0, x1, y1), (a0, b0, a1, b1) in zip(boxes.tolist(), anchors.tolist(), strict=True):
        w, h = a1 - a0, b1 - b0
        shift = (x0 + x1 - a0 - a1) / 2 / w, (y0 + y1 - b0 - b1) / 2 / h
        rows.append([*shift, np.log((x1 - x0) / w), np.log((y1 - y0) / h)])
    return np.array(rows)


def judge_encode(boxes, anchors, call, why):
    call = f"encode(boxes, anchors) of {call}"
    found = check.answer(encode, boxes, anchors, call=call)
    week03.close(found, codes_of(boxes, anchors), call, why)


def judge_decode(boxes, codes, anchors, call, why, tight=False):
    call = f"decode(codes, anchors) of {call}"
    found = check.answer(decode, codes, anchors, call=call)
    exact = {"rtol": 1e-7, "atol": 1e-7} if tight else {}
    check.close(found, boxes, call, why=why, **exact)
    week03.close(found, boxes, call, why)


wide, high = np.array([[3.0, 5, 13, 9]]), np.array([[3.0, 5, 8, 25]])
for anchor, shape in [(wide, "a wide anchor"), (high, "a high anchor")]:
    for change, what, why in [
        ([0, 0, 0, 0], "the anchor itself", "be zeros for the anchor"),
        ([3, 0, 3, 0], "a shift to the right", "measure tx in widths of the anchor"),
        ([0, 3, 0, 3], "a shift downwards", "measure ty in heights of the anchor"),
        ([-2, 0, 2, 0], "another width", "take the log of the ratio of the widths"),
        ([0, -1, 0, 1], "another height", "take the log of the ratio of the heights"),
        ([0, 0, 4, 7], "a corner moved", "measure from centre to centre"),
    ]:
        judge_encode(anchor + change, anchor, f"{what}, {shape}", why)
    for codes, what, why in [
        ([0, 0, 0, 0], "zeros", "give the anchor for zeros"),
        ([0.3, 0, 0, 0], "tx alone", "shift by widths of the anchor"),
        ([0, 0.3, 0, 0], "ty alone", "shift by heights of the anchor"),
        ([0, 0, 0.7, 0], "tw alone", "scale the width around the centre"),
        ([0, 0, 0, -0.7], "th alone", "scale the height around the centre"),
        ([0, 0, 6, -9], "a long, flat box", "hold for codes of any size"),
    ]:
        ((x0, y0, x1, y1),) = anchor
        (tx, ty, tw, th), w, h = codes, x1 - x0, y1 - y0
        x, y = (x0 + x1) / 2 + tx * w, (y0 + y1) / 2 + ty * h
        w, h = w * np.exp(tw) / 2, h * np.exp(th) / 2
        box, codes = np.array([[x - w, y - h, x + w, y + h]]), np.array([codes], dtype=float)
        judge_decode(box, codes, anchor, f"{what}, {shape}", why, tight=max(codes[0]) > 1)
boxes, anchors = np.array([[0, 0, 3, 5], [2, 1, 9, 4]]), np.array([[1, 0, 5, 4], [0, 0, 4, 7]])
judge_encode(boxes, anchors, "whole numbers", "keep the fractions, also of whole numbers")
codes = codes_of(boxes, anchors)
judge_decode(boxes, codes, anchors, "anchors of whole numbers", "keep the fractions of the codes")
shifted = anchors + np.array([[0.25, 0.5, 0.25, 0.5], [-0.5, 0.75, -0.5, 0.75]])
codes = codes_of(shifted, anchors)
judge_decode(
    shifted, codes, anchors, "anchors of whole numbers", "have corners between whole numbers"
)
far = np.array([[900.0, -700, 904, -620]])
judge_encode(far, wide / 9, "a large box far away", "hold for boxes of any size, anywhere")
byte = np.array([[200, 150, 250, 255], [3, 7, 9, 250]], np.uint8)
bytes_too = np.array([[210, 130, 255, 200], [40, 2, 60, 209]], np.uint8)
codes, why = codes_of(byte, bytes_too), "hold for bytes: no number wraps around"
judge_encode(byte, bytes_too, "boxes of bytes", why)
judge_decode(byte, codes, bytes_too, "anchors of bytes", why)
exact = np.array([[1, 0, 2, -1], [0, -2, -1, 1]])
w, h = (anchors[:, 2:] - anchors[:, :2]).T
x, y = anchors[:, 0] + (0.5 + exact[:, 0]) * w, anchors[:, 1] + (0.5 + exact[:, 1]) * h
w, h = w * np.exp(1.0 * exact[:, 2]) / 2, h * np.exp(1.0 * exact[:, 3]) / 2
turned = np.stack([x - w, y - h, x + w, y + h], axis=1)
judge_decode(turned, exact, anchors, "codes of whole numbers", "keep the fractions of the boxes")
tiny, tiny_anchors = boxes / 50, anchors / 50
codes, why = codes_of(tiny, tiny_anchors), "be the same at another scale, below one pixel, too"
judge_encode(tiny, tiny_anchors, "boxes smaller than a pixel", why)
judge_decode(tiny, codes, tiny_anchors, "anchors smaller than a pixel", why)
for n in (1, int(rng.integers(5, 12))):
    boxes, anchors = (
        np.hstack([c, c + rng.uniform(2, 30, size=(n, 2))])
        for c in rng.uniform(-20, 50, size=(2, n, 2))
    )
    codes = codes_of(boxes, anchors)
    judge_encode(boxes, anchors, f"{n} boxes", "take each box against its own anchor")
    judge_decode(boxes, codes, anchors, f"{n} boxes", "give the boxes back")
    why = "be the same at another scale and place"
    judge_encode(3 * boxes + 7, 3 * anchors + 7, f"{n} boxes, three times as large", why)
    codes = rng.normal(size=(n, 4))
    call = "decode(codes, anchors) of random codes"
    there = check.answer(decode, codes, anchors, call=call)
    check.that((there[:, 2:] > there[:, :2]).all(), "decode any codes to boxes of positive size")
    judge_encode(there, anchors, "what decode gave", "take back what decode has done")
    check.close(
        codes_of(there, anchors), codes, call, rtol=1e-7, atol=1e-8, why="stand for its codes"
    )
### END HIDDEN TESTS

# %% mutant="box_codes" why="divides the shift by the size of the box"
# - return np.hstack([shift / anchor, np.log(size / anchor)])
# + return np.hstack([shift / size, np.log(size / anchor)])

# %% mutant="box_codes" why="sums of bytes wrap around"
# - shift = (moved[:, :2] + moved[:, 2:]) / 2
# + shift = (boxes[:, :2] + boxes[:, 2:]) / 2 - (anchors[:, :2] + anchors[:, 2:]) / 2

# %% mutant="box_codes" why="boxes of whole codes are cut"
# - codes, anchor = codes.astype(float), anchors[:, 2:] - anchors[:, :2]
# + anchor = anchors[:, 2:] - anchors[:, :2]
# - return np.hstack([centre - half, centre + half])
# + return np.hstack([centre - half, centre + half]).astype(codes.dtype)

# %% mutant="box_codes" why="corners in place of centres"
# - shift = (moved[:, :2] + moved[:, 2:]) / 2
# + shift = moved[:, :2]
# - centre = anchors[:, :2] + (0.5 + codes[:, :2]) * anchor
# + centre = anchors[:, :2] + codes[:, :2] * anchor + anchor * np.exp(codes[:, 2:]) / 2

# %% mutant="box_codes" why="sizes without the logarithm"
# - return np.hstack([shift / anchor, np.log(size / anchor)])
# + return np.hstack([shift / anchor, size / anchor])
# - half = anchor * np.exp(codes[:, 2:]) / 2
# + half = anchor * codes[:, 2:] / 2

# %% mutant="box_codes" why="forgets that a half goes to each side"
# - half = anchor * np.exp(codes[:, 2:]) / 2
# + half = anchor * np.exp(codes[:, 2:])

# %% mutant="box_codes" why="moves the anchor in place"
# - codes, anchor = codes.astype(float), anchors[:, 2:] - anchors[:, :2]
# - centre = anchors[:, :2] + (0.5 + codes[:, :2]) * anchor
# + codes, anchor = codes.astype(float), anchors[:, 2:] - anchors[:, :2]
# + anchors[:, :2] += (0.5 + codes[:, :2]) * anchor
# + centre = anchors[:, :2].copy()

# %% mutant="box_codes" why="codes of whole boxes are cut"
# - return np.hstack([shift / anchor, np.log(size / anchor)])
# + return np.hstack([shift / anchor, np.log(size / anchor)]).astype(boxes.dtype)

# %% mutant="box_codes" why="boxes of whole anchors are cut"
# - return np.hstack([centre - half, centre + half])
# + return np.hstack([centre - half, centre + half]).astype(anchors.dtype)

# %% mutant="box_codes" why="shifts in units of the anchor's longer side"
# - return np.hstack([shift / anchor, np.log(size / anchor)])
# + return np.hstack([shift / anchor.max(axis=1, keepdims=True), np.log(size / anchor)])

# %% mutant="box_codes" why="limits how much a box may grow"
# - half = anchor * np.exp(codes[:, 2:]) / 2
# + half = anchor * np.exp(codes[:, 2:].clip(max=4.135)) / 2

# %% mutant="box_codes" why="single precision"
# - return np.hstack([centre - half, centre + half])
# + return np.hstack([centre - half, centre + half]).astype(np.float32)


# %% alternative="box_codes" why="column by column"
def _centred(boxes):
    x0, y0, x1, y1 = boxes.T.astype(float)
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0


def encode(boxes, anchors):
    x, y, w, h = _centred(boxes)
    xa, ya, wa, ha = _centred(anchors)
    return np.stack([(x - xa) / wa, (y - ya) / ha, np.log(w) - np.log(wa), np.log(h / ha)], 1)


def decode(codes, anchors):
    xa, ya, wa, ha = _centred(anchors)
    tx, ty, tw, th = codes.T
    x, y, w, h = xa + wa * tx, ya + ha * ty, wa * np.exp(1.0 * tw), ha * np.exp(1.0 * th)
    return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)


# %% [markdown]
# Now the detector learns, the way R-CNN did: **box regression**. Take the candidates on training pictures that overlap a white cell by an IoU above 0.4. What the detector sees is the map of violet in and around the box, as $12 \times 12$ numbers; what it should say is the code of the true box against the candidate. One linear regression with an L2 penalty, and each candidate can correct itself.

# %% [markdown] lang="ru"
# Теперь детектор учится — так, как учился R-CNN: **регрессия рамок** (box regression). Возьмите кандидатов на обучающих картинках, у которых IoU с лейкоцитом больше 0,4. Детектор видит карту фиолетового внутри рамки и вокруг неё, $12 \times 12$ чисел; сказать он должен код истинной рамки относительно кандидата. Одна линейная регрессия с L2-штрафом — и каждый кандидат умеет поправлять себя.


# %%
def views(heat: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The map in each box and a quarter around it, 12 × 12 places, and a 1. (n, 4) -> (n, 145)."""
    size = boxes[:, 2:] - boxes[:, :2]
    places = boxes[:, None, :2] + size[:, None] * np.linspace(-0.25, 1.25, 12)[:, None]
    columns, rows = np.moveaxis(np.round(places / CELL).astype(int) + 40, 2, 0)
    seen = np.pad(heat, 40)[rows[:, :, None], columns[:, None, :]]
    return np.column_stack([seen.reshape(len(boxes), -1), np.ones(len(boxes))])


@cache
def box_regression() -> np.ndarray:
    """Weights of the linear regression from views to codes: (145, 4)."""
    seen, wanted = [], []
    pictures, truth = blood.x_train[: settings["cells"]], blood.y_train[: settings["cells"]]
    for heat, rows in zip(violet(pictures), truth, strict=True):
        boxes, _ = candidates(heat, anchor_grid())
        ious = box_iou(boxes, white_cells(rows)) if (rows[:, 4] == 1).any() else np.zeros((200, 1))
        near = ious.max(axis=1) > 0.4
        if near.any():
            seen.append(views(heat, boxes[near]))
            wanted.append(encode(white_cells(rows)[ious[near].argmax(axis=1)], boxes[near]))
    x, y = np.vstack(seen), np.vstack(wanted)
    return np.linalg.solve(x.T @ x + 1e4 * np.eye(x.shape[1]), x.T @ y)


# %%
weights = box_regression()
figure, axes = plt.subplots(1, 4, figsize=(12, 2.6))
for ax, i in zip(axes, (7, 19, 40, 51), strict=True):
    heat = violet(blood.x_test[i : i + 1])[0]
    boxes, scores = candidates(heat, anchor_grid())
    best = boxes[nms(boxes, scores, 0.3)[:1]]
    better = decode(views(heat, best) @ weights, best)
    truth = white_cells(blood.y_test[i])
    ax.imshow(blood.x_test[i])
    outline(ax, best, "black", lw=1.5)
    outline(ax, better, "cyan", lw=2)
    outline(ax, truth, "yellow", lw=2, ls="--")
    before, after = (box_iou(b, truth).max() for b in (best, better))
    ax.set_title(f"IoU {before:.2f} → {after:.2f}", fontsize=10)
    ax.axis("off")
figure.suptitle("Held-out pictures. Black: the anchor. Cyan: corrected. Yellow: truth")
plots.show(
    "Four held-out pictures of blood: the best anchor, its corrected box, and the true box of the "
    "white cell, which the corrected one fits better"
)

# %% [markdown]
# ## 10. Average precision
# How good is a detector, whatever the threshold on its score? First decide which boxes are right. Scores are again floats or whole numbers of any sign, up to $2^{53}$ in size. Go through the boxes of a picture from the highest score down. Each points at the true box that it overlaps **most** (of equal ones, the first); it is a hit if that IoU is at least the threshold and the true box is not taken yet. A second box on the same cell is a mistake, a false positive (the rule of PASCAL VOC, Everingham et al., 2010).
#
# Then put the boxes of *all* pictures in one list by score. After the first $k$ of them, [precision](glossary:Precision) $p_k$ is the share of hits among these $k$, and [recall](glossary:Recall) $r_k$ is the share of all $P$ true boxes that they have hit ($r_0 = 0$). [Average precision](glossary:Average-precision) is the area under that curve, made never to rise: at each recall count the best precision at this or a larger recall,
#
# $$\mathrm{AP} = \sum_{k} (r_k - r_{k-1})\, \max_{m \ge k} p_m.$$
#
# This is VOC's definition since 2010 ("all points"). Without the maximum, $\sum_k (r_k - r_{k-1})\, p_k$, it is the one of scikit-learn where no scores are equal: scikit-learn takes equal scores together, here they keep their order.
#
# {{task:average_precision}}

# %% [markdown] lang="ru"
# ## 10. Средняя точность
# Насколько хорош детектор, каков бы ни был порог для его оценок? Сначала решите, какие рамки верны. Оценки снова вещественные или целые, любого знака, по модулю до $2^{53}$. Пройдите по рамкам картинки от наибольшей оценки вниз. Каждая указывает на ту истинную рамку, с которой перекрывается **сильнее всего** (из одинаковых — на первую); это попадание, если их IoU не меньше порога и истинная рамка ещё не занята. Вторая рамка на той же клетке — ошибка, ложное срабатывание (правило PASCAL VOC; Everingham и др., 2010).
#
# Затем соберите рамки *всех* картинок в один список по убыванию оценки. После первых $k$ рамок [точность](glossary:Precision) (precision) $p_k$ — доля попаданий среди этих $k$, а [полнота](glossary:Recall) (recall) $r_k$ — доля найденных ими среди всех $P$ истинных рамок ($r_0 = 0$). [Средняя точность](glossary:Average-precision) (average precision, AP) — площадь под этой кривой, сделанной невозрастающей: при каждой полноте берут лучшую точность при этой или большей полноте,
#
# $$\mathrm{AP} = \sum_{k} (r_k - r_{k-1})\, \max_{m \ge k} p_m.$$
#
# Так AP определена в VOC с 2010 года («по всем точкам»). Без максимума, $\sum_k (r_k - r_{k-1})\, p_k$, получается определение scikit-learn — если равных оценок нет: scikit-learn берёт равные оценки вместе, а здесь они сохраняют свой порядок.
#
# {{task:average_precision}}


# %% solution="average_precision"
def match(ious: np.ndarray, scores: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Which boxes of one picture are hits, in the order in which they were given.

    ious: (n, m) of n found and m true boxes, scores: (n,) -> (n,) of bool. n and m may be 0.
    """
    ### BEGIN SOLUTION
    hits, taken = np.zeros(len(scores), dtype=bool), set()
    if ious.size:
        for i in np.argsort(-scores.astype(float), kind="stable"):
            best = int(ious[i].argmax())
            if ious[i, best] >= threshold and best not in taken:
                hits[i] = True
                taken.add(best)
    return hits
    ### END SOLUTION


def average_precision(
    scores: np.ndarray, hits: np.ndarray, positives: int, interpolate: bool = True
) -> float:
    """Average precision of a list of found boxes.

    scores: (n,), hits: (n,) of bool, positives: number of true boxes, > 0 -> a number; 0 for n = 0.
    interpolate: VOC's definition, else the sum without the maximum. Equal scores keep their order.
    Example: miss, hit, hit by falling score, 4 true boxes: (2/3 + 2/3) / 4, else (1/2 + 2/3) / 4.
    """
    ### BEGIN SOLUTION
    hits = hits[np.argsort(-scores.astype(float), kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    if interpolate:
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(precision[hits].sum() / positives)
    ### END SOLUTION


# %% test="average_precision" points=1 bonus=true difficulty=3 minutes=30
ious = np.array([[0.6, 0.0], [0.8, 0.55], [0.1, 0.5]])
check.equal(
    match(ious, np.array([0.7, 0.9, 0.4])),
    [False, True, True],
    "match(ious, [0.7, 0.9, 0.4])",
    why="give true box 0 to the second box, whose score is highest: the first comes too late",
)
scores, hits = np.array([0.2, 0.9, 0.5]), np.array([True, False, True])
what = "average_precision of miss, hit, hit of 4"
why = "take, for each hit, the best precision at this or a larger recall"
check.close(average_precision(scores, hits, 4), 1 / 3, what, why=why)
what = "the same with interpolate=False"
check.close(
    average_precision(scores, hits, 4, interpolate=False),
    7 / 24,
    what,
    why="take the precision at each hit",
)
### BEGIN HIDDEN TESTS
rng = check.rng("average_precision")


def judge_match(ious, scores, call, why, *threshold):
    ious, scores = np.array(ious, dtype=float), np.array(scores)
    free, want = [True] * ious.shape[1], np.zeros(len(ious), dtype=bool)
    for i in sorted(range(len(ious)), key=lambda i: (-float(scores[i]), i)):
        j = max(range(len(free)), key=lambda j: (ious[i, j], -j), default=None)
        if j is not None and ious[i, j] >= (threshold[0] if threshold else 0.5) and free[j]:
            free[j], want[i] = False, True
    call = f"match of {call}"
    found = check.answer(match, ious, scores, *threshold, call=call)
    check.equal(np.asarray(found), want, call, why=why)
    if isinstance(found, list):
        found = np.array(found, dtype=bool if all(type(v) is bool for v in found) else float)
    check.equal(
        found.dtype.kind, "b", f"the kind of {call}", why="be bool, by which boxes are picked"
    )


def judge_area(scores, hits, positives, call, why):
    """Both definitions, number by number."""
    scores, hits = np.array(scores), np.array(hits, dtype=bool)
    order = sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i))
    found = [sum(hits[order[: k + 1]]) for k in range(len(order))]
    precision = [n / (k + 1) for k, n in enumerate(found)]
    best = [max(precision[k:]) for k in range(len(order))]
    for heights, options in [
        (best, {}),
        (precision, {"interpolate": False}),
        (best, {"interpolate": True}),
    ]:
        want = sum(h for h, i in zip(heights, order, strict=True) if hits[i]) / positives
        what = f"average_precision of {call}, {options}"
        got = check.answer(average_precision, scores, hits, positives, call=what, **options)
        check.close(got, want, what, why=why)


judge_match([[0.7], [0.2]], [0.5, 0.4], "a hit and a miss", "be a hit from the threshold on")
judge_match(
    [[0.4], [0.7]], [0.9, 0.8], "a miss before a hit", "leave a true box to others after a miss"
)
judge_match([[0.45], [0.55]], [0.9, 0.8], "no threshold given", "take 0.5 where none is given")
judge_match([[0.35], [0.25]], [0.9, 0.8], "threshold 0.3", "use the threshold that is given", 0.3)
judge_match([[0.65], [0.75]], [0.9, 0.8], "threshold 0.7", "use the threshold that is given", 0.7)
judge_match(
    [[0.5], [0.2]], [0.9, 0.8], "an IoU of 0.5", "be a hit where the IoU equals the threshold"
)
why = "be no hit below the threshold, by however little"
judge_match([[0.5 - 1e-9], [0.2]], [0.9, 0.8], "an IoU just below 0.5", why)
why = "go by falling score, and answer in the order given"
judge_match([[0.6, 0.1], [0.8, 0.1], [0.1, 0.9]], [0.4, 0.9, 0.6], "three boxes", why)
why = "count a second box on a true box as a mistake"
judge_match([[0.9, 0.0], [0.8, 0.0]], [0.9, 0.8], "a duplicate", why)
why = "look at the best true box alone: where it is taken, the second best is no way out"
judge_match([[0.9, 0.6], [0.8, 0.7]], [0.9, 0.8], "two boxes on one true box", why)
why = "point at the first of true boxes that are overlapped alike"
judge_match([[0.6, 0.6], [0.2, 0.8], [0.7, 0.1]], [0.9, 0.8, 0.7], "equal IoU", why)
why = "point at the first of true boxes that are overlapped alike, also where it is taken"
judge_match([[0.6, 0.6], [0.7, 0.7]], [0.9, 0.8], "equal IoU, one box taken", why)
why = "use a threshold of 0 as any other"
judge_match([[0.3], [0.2]], [0.9, 0.8], "threshold 0", why, 0.0)
why = "be a hit where the IoU equals the threshold, also where both are 0"
judge_match([[0.0], [0.2]], [0.9, 0.8], "an IoU of 0, threshold 0", why, 0.0)
why = "take scores that are whole numbers, also those without a sign"
judge_match([[0.9], [0.8], [0.7]], np.array([3, 7, 0], np.uint8), "scores of bytes", why)
why = "take scores of any size"
judge_match([[0.9], [0.8]], [-3e9, -2e9], "very low scores", why)
why = "point at the larger IoU, by however little: that is no tie"
judge_match([[0.6, 0.6 + 1e-9], [0.2, 0.8]], [0.9, 0.8], "nearly equal IoU", why)
why = "keep the order of equal scores"
judge_match([[0.9], [0.8]], [-2.0, -2.0], "two boxes with one score", why)
many = [[0.9 if i // 3 == j else 0.1 for j in range(33)] for i in range(99)]
judge_match(many, [2, 1, 2] * 33, "many equal scores", why)
why = "take the higher score first, by however little: that is no tie"
judge_match([[0.9], [0.8]], [0.3, 0.3 + 1e-9], "nearly equal scores", why)
judge_match(np.zeros((3, 0)), [0.5, 0.3, 0.4], "no true boxes", "be no hits where nothing is true")
judge_match(np.zeros((0, 2)), np.zeros(0), "no found boxes", "be empty where nothing is found")
for n, m in [(1, 1), (8, 3), (int(rng.integers(10, 20)), 6)]:
    for threshold in ((), (0.3,), (0.6,)):
        ious = rng.integers(0, 11, size=(n, m)) / 10  # with values equal to the threshold
        call = f"{n} found and {m} true boxes, threshold {(*threshold, 'left out')[0]}"
        judge_match(ious, rng.integers(0, 7, n) / 7, call, "do all of this together", *threshold)

yes, no = True, False
judge_area([0.5], [yes], 1, "one hit of 1", "be 1 where all is found")
judge_area([0.5], [yes], 3, "one hit of 3", "count a true box that nobody found as 0")
judge_area([0.9, 0.8], [no, yes], 1, "a miss, then a hit", "take the precision at the hit")
judge_area([0.2, 0.9, 0.6], [yes, no, yes], 2, "boxes in any order", "go by falling score")
judge_area([-3.0, -1.0, -2.0], [yes, no, yes], 2, "negative scores", "take scores of any size")
call = "hit, miss, miss, hit, hit of 6"
why = "take, where it interpolates, the best precision at this or a larger recall, else its own"
judge_area([0.9, 0.8, 0.7, 0.6, 0.5], [yes, no, no, yes, yes], 6, call, why)
judge_area(
    [1, 1], [yes, no], 1, "a hit and a miss with one score", "keep the order of equal scores"
)
judge_area(
    [1, 2, 1] * 40, [no, yes, yes] * 40, 99, "many equal scores", "keep the order of equal scores"
)
judge_area([-3e9, -1e9, -2e9], [yes, no, yes], 2, "very low scores", "take scores of any size")
why = "take scores that are whole numbers, also those without a sign"
judge_area(np.array([3, 7, 0], np.uint8), [no, yes, yes], 2, "scores of bytes", why)
why = "take all points of the curve, however many there are"
judge_area(np.arange(180.0), [yes, no, yes, yes, no, yes] * 30, 130, "180 boxes", why)
why = "take the higher score first, by however little: that is no tie"
judge_area([0.5, 0.5 + 1e-9], [no, yes], 1, "nearly equal scores", why)
judge_area(np.zeros(2), [no, no], 3, "misses alone", "be 0 where nothing is hit")
judge_area(np.zeros(0), [], 3, "no boxes", "be 0 where nothing is found")
for n in (2, 7, int(rng.integers(20, 40))):
    hits = rng.uniform(size=n) < 0.5
    hits[rng.integers(n)] = True
    positives = int(hits.sum()) + int(rng.integers(0, 4))
    scores = rng.permutation(n) / n - 0.3
    for values in (scores, np.round(scores, 1)):
        judge_area(values, hits, positives, f"{n} boxes", "do all of this together")
### END HIDDEN TESTS

# %% mutant="average_precision" why="scores without a sign wrap around"
# - hits = hits[np.argsort(-scores.astype(float), kind="stable")]
# + hits = hits[np.argsort(-scores, kind="stable")]

# %% mutant="average_precision" why="a threshold of 0 counts as left out"
# - if ious[i, best] >= threshold and best not in taken:
# + if ious[i, best] >= (threshold or 0.5) and best not in taken:

# %% mutant="average_precision" why="of equal IoUs a free one"
# - best = int(ious[i].argmax())
# + top = np.flatnonzero(ious[i] == ious[i].max())
# + best = int(next((j for j in top if j not in taken), top[0]))

# %% mutant="average_precision" why="a duplicate counts as another hit"
# - taken.add(best)
# + taken.add(-1)

# %% mutant="average_precision" why="goes through the boxes in the order given"
# - for i in np.argsort(-scores.astype(float), kind="stable"):
# + for i in range(len(scores)):

# %% mutant="average_precision" why="takes the best of the free true boxes (the rule of COCO)"
# - best = int(ious[i].argmax())
# + best = int(np.where([j in taken for j in range(ious.shape[1])], -1, ious[i]).argmax())

# %% mutant="average_precision" why="recall of what was found: misses cost nothing"
# - return float(precision[hits].sum() / positives)
# + return float(precision[hits].sum() / max(hits.sum(), 1))

# %% mutant="average_precision" why="the mean precision of all ranks"
# - return float(precision[hits].sum() / positives)
# + return float(precision.sum() / positives)

# %% mutant="average_precision" why="the maximum from the wrong side"
# - precision = np.maximum.accumulate(precision[::-1])[::-1]
# + precision = np.maximum.accumulate(precision)

# %% mutant="average_precision" why="never interpolates"
# - if interpolate:
# + if not scores.size:

# %% mutant="average_precision" why="an IoU equal to the threshold is no hit"
# - if ious[i, best] >= threshold and best not in taken:
# + if ious[i, best] > threshold and best not in taken:

# %% mutant="average_precision" why="hits as numbers, which pick boxes 0 and 1"
# - hits, taken = np.zeros(len(scores), dtype=bool), set()
# + hits, taken = np.zeros(len(scores), dtype=int), set()

# %% mutant="average_precision" why="always a threshold of one half"
# - if ious[i, best] >= threshold and best not in taken:
# + if ious[i, best] >= 0.5 and best not in taken:

# %% mutant="average_precision" why="nearly the threshold is a hit"
# - if ious[i, best] >= threshold and best not in taken:
# + if ious[i, best] >= threshold - 1e-6 and best not in taken:

# %% mutant="average_precision" why="nearly equal scores count as equal"
# - hits = hits[np.argsort(-scores.astype(float), kind="stable")]
# + hits = hits[np.argsort(-np.round(scores, 6), kind="stable")]

# %% mutant="average_precision" why="crosses out a true box in the table that it was given"
# - taken.add(best)
# + taken.add(best)
# + ious[:, best] = -1

# %% mutant="average_precision" why="a miss takes its true box"
# - if ious[i, best] >= threshold and best not in taken:
# -     hits[i] = True
# -     taken.add(best)
# + hits[i] = ious[i, best] >= threshold and best not in taken
# + taken.add(best)


# %% alternative="average_precision" why="a loop over the list; areas of rectangles"
def match(ious, scores, threshold=0.5):
    hits, free = [False] * len(scores), np.ones(ious.shape[1], dtype=bool)
    for i in sorted(range(len(scores)), key=lambda i: -float(scores[i])):
        if not len(free):
            break
        j = np.argmax(ious[i])
        hits[i] = bool(free[j] and not ious[i][j] < threshold)
        free[j] = free[j] and not hits[i]
    return np.array(hits, dtype=bool)


def average_precision(scores, hits, positives, interpolate=True):
    ranked = [bool(hits[i]) for i in sorted(range(len(scores)), key=lambda i: -float(scores[i]))]
    recall = [0.0] + [sum(ranked[: k + 1]) / positives for k in range(len(ranked))]
    precision = [sum(ranked[: k + 1]) / (k + 1) for k in range(len(ranked))]
    area = 0.0
    for k in range(len(ranked)):
        height = max(precision[k:]) if interpolate else precision[k]
        area += (recall[k + 1] - recall[k]) * height
    return area


# %% [markdown]
# Everything together, on the held-out pictures. Three detectors of white cells: the best anchors as they are, after NMS, and corrected before NMS. Duplicates ruin the precision of the first; the second leaves one box a cell, but often too bad a one, and too bad a box is a miss; the third is a detector.
#
# Below: your U-Net's answer on nuclei, cut into connected pieces, each with its box. Pieces have a score too, their mean probability, so their average precision can be measured in the same way.

# %% [markdown] lang="ru"
# Всё вместе, на отложенных картинках. Три детектора лейкоцитов: лучшие якоря как есть, после NMS и исправленные до NMS. Точность первого губят дубликаты; второй оставляет по рамке на клетку, но часто слишком плохую, а слишком плохая рамка — промах; третий — настоящий детектор.
#
# Ниже: ответ вашей U-Net на ядрах, разрезанный на связные куски, у каждого своя рамка. У кусков тоже есть оценка — их средняя вероятность, — так что и их среднюю точность можно измерить тем же способом.


# %%
def detect(heat: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """White cells in a picture: boxes (n, 4) and scores (n,)."""
    boxes, scores = candidates(heat, anchor_grid())
    if how == "corrected, NMS":
        boxes = decode(views(heat, boxes) @ box_regression(), boxes)
    kept = np.arange(len(boxes)) if how == "anchors" else nms(boxes, scores, 0.3)
    return boxes[kept], scores[kept]


def pieces(probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Connected pieces of a mask: numbered (h, w), their boxes (n, 4) and mean probabilities."""
    numbered, count = ndimage.label(probability > 0.5)
    slices = ndimage.find_objects(numbered)
    boxes = [[s[1].start, s[0].start, s[1].stop, s[0].stop] for s in slices]
    scores = ndimage.mean(probability, numbered, range(1, count + 1))
    return numbered, np.reshape(boxes, (-1, 4)).astype(float), np.reshape(scores, -1)


def frames(mask: np.ndarray) -> np.ndarray:
    """The boxes of the instances of a mask. (h, w) -> (n, 4)."""
    found = [s for s in ndimage.find_objects(mask) if s]
    return np.array([[s[1].start, s[0].start, s[1].stop, s[0].stop] for s in found], float)


def collect(found: Sequence, truth: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """Scores and hits of the boxes of all pictures, and the number of true boxes."""
    pairs = list(zip(found, truth, strict=True))
    hits = [match(box_iou(boxes, true), scores) for (boxes, scores), true in pairs]
    scores = np.concatenate([scores for _, scores in found])
    return scores, np.concatenate(hits), sum(map(len, truth))


@cache
def results() -> tuple[dict[str, tuple[np.ndarray, np.ndarray, int]], list]:
    """Scores, hits and number of true boxes of four detectors; the pieces of the nuclei."""
    heats, truth = violet(blood.x_test), [white_cells(rows) for rows in blood.y_test]
    found = {
        how: collect([detect(heat, how) for heat in heats], truth)
        for how in ("anchors", "anchors, NMS", "corrected, NMS")
    }
    x, _ = prepare(nuclei.x_test, nuclei.y_test, settings["scale"])
    cut = [pieces(p[0]) for p in probabilities(trained_unet()[0], x.to(device)).cpu().numpy()]
    boxes = [(boxes * settings["scale"], scores) for _, boxes, scores in cut]
    found["nuclei, U-Net"] = collect(boxes, [frames(mask) for mask in nuclei.y_test])
    return found, cut


# %%
found, cut = results()
print(f"{'detector':15} {'AP':>5}  {'boxes':>6}  found")
for name, (scores, hits, positives) in found.items():
    area = average_precision(scores, hits, positives)
    print(f"{name:15} {area:5.3f}  {len(hits):6}  {hits.sum()} of {positives}")
cells = []
for i in (7, 14):
    boxes, _ = detect(violet(blood.x_test[i : i + 1])[0], "corrected, NMS")
    truth = white_cells(blood.y_test[i])
    cells.append((blood.x_test[i], boxes, truth))
tissue = [
    (nuclei.x_test[i], cut[i][0], cut[i][1] * settings["scale"], frames(nuclei.y_test[i]))
    for i in (1, 22)
]
week03.found_cells(cells, tissue, found)
plots.show(
    "Blood cells and nuclei with the boxes that the detectors found, beside the true ones, and the "
    "curves of precision against recall: suppression and correction of boxes raise them"
)

# %% [markdown]
# **What to take along.** Convolution, its gradient and its transpose are the same taps, read in other directions. Measure what a formula promises, as you did with the receptive field. A number says little without its definition: an AP hangs on what counts as a hit, and above on duplicates most of all. And before a large network, try what simple parts can do: your detector is a grid, a linear regression and NMS.
#
# Where nuclei touch, one piece covers several: the U-Net's answer has no borders between them. Ronneberger et al. gave those pixels a larger weight in the loss; it would be your next step.

# %% [markdown] lang="ru"
# **Что запомнить.** Свёртка, её градиент и транспонированная свёртка — одни и те же отводы, прочитанные в разных направлениях. Измеряйте то, что обещает формула, как вы сделали с рецептивным полем. Число без определения мало что значит: AP зависит от того, что считать попаданием, а выше — сильнее всего от дубликатов. И прежде чем брать большую сеть, проверьте, на что способны простые части: ваш детектор — это сетка, линейная регрессия и NMS.
#
# Там, где ядра соприкасаются, один кусок накрывает несколько: в ответе U-Net между ними нет границ. Ronneberger и соавторы дали таким пикселям больший вес в функции потерь; это был бы ваш следующий шаг.

# %% [markdown]
# **Sources**
# - V. Dumoulin, F. Visin. [A guide to convolution arithmetic for deep learning](https://arxiv.org/abs/1603.07285). 2016.
# - A. Odena, V. Dumoulin, C. Olah. [Deconvolution and checkerboard artifacts](https://distill.pub/2016/deconv-checkerboard/). Distill 2016.
# - A. Araujo, W. Norris, J. Sim. [Computing receptive fields of convolutional neural networks](https://distill.pub/2019/computing-receptive-fields/). Distill 2019. W. Luo et al. [Understanding the effective receptive field](https://arxiv.org/abs/1701.04128). NeurIPS 2016.
# - C. Szegedy et al. [Rethinking the Inception architecture](https://arxiv.org/abs/1512.00567) (label smoothing, section 7). CVPR 2016. H. Zhang et al. [mixup](https://arxiv.org/abs/1710.09412). ICLR 2018.
# - K. He et al. [Deep residual learning for image recognition](https://arxiv.org/abs/1512.03385). CVPR 2016. G. Yang et al. [A mean field theory of batch normalization](https://arxiv.org/abs/1902.08129). ICLR 2019.
# - O. Ronneberger, P. Fischer, T. Brox. [U-Net](https://arxiv.org/abs/1505.04597). MICCAI 2015. F. Milletari, N. Navab, S.-A. Ahmadi. [V-Net](https://arxiv.org/abs/1606.04797) (the Dice loss). 3DV 2016.
# - R. Girshick et al. [Rich feature hierarchies](https://arxiv.org/abs/1311.2524) (R-CNN; codes of boxes in appendix C). CVPR 2014. S. Ren et al. [Faster R-CNN](https://arxiv.org/abs/1506.01497). NeurIPS 2015.
# - M. Everingham et al. [The PASCAL Visual Object Classes challenge](https://doi.org/10.1007/s11263-009-0275-4). IJCV 2010; [a retrospective](https://doi.org/10.1007/s11263-014-0733-5) (the area under all points). IJCV 2015.

# %% [markdown] lang="ru"
# **Источники**
# - V. Dumoulin, F. Visin. [A guide to convolution arithmetic for deep learning](https://arxiv.org/abs/1603.07285). 2016.
# - A. Odena, V. Dumoulin, C. Olah. [Deconvolution and checkerboard artifacts](https://distill.pub/2016/deconv-checkerboard/). Distill 2016.
# - A. Araujo, W. Norris, J. Sim. [Computing receptive fields of convolutional neural networks](https://distill.pub/2019/computing-receptive-fields/). Distill 2019. W. Luo и др. [Understanding the effective receptive field](https://arxiv.org/abs/1701.04128). NeurIPS 2016.
# - C. Szegedy и др. [Rethinking the Inception architecture](https://arxiv.org/abs/1512.00567) (сглаживание меток, раздел 7). CVPR 2016. H. Zhang и др. [mixup](https://arxiv.org/abs/1710.09412). ICLR 2018.
# - K. He и др. [Deep residual learning for image recognition](https://arxiv.org/abs/1512.03385). CVPR 2016. G. Yang и др. [A mean field theory of batch normalization](https://arxiv.org/abs/1902.08129). ICLR 2019.
# - O. Ronneberger, P. Fischer, T. Brox. [U-Net](https://arxiv.org/abs/1505.04597). MICCAI 2015. F. Milletari, N. Navab, S.-A. Ahmadi. [V-Net](https://arxiv.org/abs/1606.04797) (потери Дайса). 3DV 2016.
# - R. Girshick и др. [Rich feature hierarchies](https://arxiv.org/abs/1311.2524) (R-CNN; коды рамок — в приложении C). CVPR 2014. S. Ren и др. [Faster R-CNN](https://arxiv.org/abs/1506.01497). NeurIPS 2015.
# - M. Everingham и др. [The PASCAL Visual Object Classes challenge](https://doi.org/10.1007/s11263-009-0275-4). IJCV 2010; [a retrospective](https://doi.org/10.1007/s11263-014-0733-5) (площадь по всем точкам). IJCV 2015.
