# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Where does the time go?
# A trained network is used a million times more often than it is trained. What does one use cost, and what can be saved without changing a single answer? First you count: operations and bytes, and a picture with two straight lines says which of them your machine waits for. Then you serve requests from a queue, remove more than a third of the layers of a real network without moving its outputs, and compute attention without ever storing its matrix. All four are what inference engines are made of.

# %% [markdown] lang="ru"
# # Куда уходит время?
# Обученной сетью пользуются в миллион раз чаще, чем её обучают. Сколько стоит одно применение и что можно сберечь, не изменив ни одного ответа? Сначала вы посчитаете операции и байты, и картинка из двух прямых скажет, чего из двух ждёт ваша машина. Потом обслужите очередь запросов, уберёте у настоящей сети больше трети слоёв, не сдвинув её выходов, и вычислите внимание, ни разу не записав его матрицу. Из этих четырёх вещей состоят программы, на которых работают большие модели.

# %% tags=["parameters"]
profile = "small"

# %%
import copy
import time
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_images
from torch import nn

from practical_dl import check, models, plots, seed_everything
from practical_dl.weeks import week12

seed_everything(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
settings = {
    "small": {"matrix": 768, "copy": 16_000_000, "requests": 4_000, "side": 128, "length": 1024},
    "full": {"matrix": 8192, "copy": 1_000_000_000, "requests": 40_000, "side": 224, "length": 16_384},
}[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Each task can be solved without the others. Functions leave their arguments as they were. No check measures a time: what is counted is the same on every machine.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Каждое задание можно решить без остальных. Функции не меняют своих аргументов. Ни одна проверка не измеряет время: считается то, что на всех машинах одинаково.

# %% [markdown]
# ## 1. The roofline
# A chip computes, and it moves numbers between its memory and its arithmetic. It does both at once, so a piece of work takes at least the longer of the two (Williams et al., 2009):
#
# $$t \ge \max\!\Bigl(\frac{\text{operations}}{\text{peak}}, \frac{\text{bytes}}{\text{bandwidth}}\Bigr).$$
#
# Operations per byte are the **arithmetic intensity**; drawn against it, the bound is the [roofline](glossary:roofline): below $\text{peak} / \text{bandwidth}$ the arithmetic waits for the memory. Count three kinds of work. A multiplication is one operation and so is an addition; a sum of $k$ products counts $2k$. Bytes: every number that is read from memory or written to it counts once per array that it belongs to, `size` bytes each.
# - `matmul`: $(n, k)$ times $(k, m)$.
# - `attention` of `heads` heads with `t` queries, `s` keys and values of `d` numbers each: the two matrix products; the softmax between them is left out of the operations. Bytes: queries, keys, values and outputs; and unless `fused`, the scores are written and read again, the weights likewise.
# - `rms_norm` of $n$ rows of $d$ numbers: each number is squared, added up, multiplied by its row's factor and by its gain, four operations. The rows are read and written, the gain $(d,)$ is read once.
#
# {{task:roofline}}

# %% [markdown] lang="ru"
# ## 1. Линия крыши
# Чип считает и перевозит числа между памятью и арифметикой. Он делает то и другое одновременно, поэтому работа занимает не меньше, чем дольшее из двух (Williams и др., 2009):
#
# $$t \ge \max\!\Bigl(\frac{\text{операции}}{\text{пик}}, \frac{\text{байты}}{\text{пропускная способность}}\Bigr).$$
#
# Число операций на байт — **арифметическая интенсивность** (arithmetic intensity); в зависимости от неё эта граница называется [линией крыши](glossary:roofline) (roofline): если она ниже отношения пика к пропускной способности, арифметика ждёт память. Посчитайте три вида работы. Умножение — одна операция, сложение тоже; сумма из $k$ произведений — это $2k$. Байты: каждое число, которое читается из памяти или пишется в неё, считается один раз для каждого массива, в котором стоит, по `size` байтов.
# - `matmul`: $(n, k)$ на $(k, m)$.
# - `attention`: `heads` голов, `t` запросов, `s` ключей и значений, по `d` чисел в каждом; два матричных произведения, softmax между ними в операции не входит. Байты: запросы, ключи, значения и выходы; а если не `fused`, то ещё оценки пишутся и читаются снова, и веса тоже.
# - `rms_norm`: $n$ строк по $d$ чисел; каждое число возводится в квадрат, складывается, умножается на множитель своей строки и на свой коэффициент — четыре операции. Строки читаются и пишутся, коэффициенты $(d,)$ читаются один раз.
#
# {{task:roofline}}


# %% solution="roofline"
def matmul(n: int, k: int, m: int, size: int = 4) -> tuple[int, int]:
    """(operations, bytes) of a product of matrices (n, k) and (k, m)."""
    ### BEGIN SOLUTION
    return 2 * n * k * m, size * (n * k + k * m + n * m)
    ### END SOLUTION


def attention(
    heads: int, t: int, s: int, d: int, size: int = 4, fused: bool = False
) -> tuple[int, int]:
    """(operations, bytes) of attention."""
    ### BEGIN SOLUTION
    numbers = 2 * (t + s) * d + (0 if fused else 4 * t * s)
    return 4 * heads * t * s * d, size * heads * numbers
    ### END SOLUTION


def rms_norm(n: int, d: int, size: int = 4) -> tuple[int, int]:
    """(operations, bytes) of RMSNorm."""
    ### BEGIN SOLUTION
    return 4 * n * d, size * (2 * n * d + d)
    ### END SOLUTION


def attainable(work: tuple[int, int], peak: float, bandwidth: float) -> tuple[float, str]:
    """(the least seconds, what is waited for) of some (operations, bytes).

    peak: operations a second. bandwidth: bytes a second. What is waited for: "memory", or
    "arithmetic"; the latter where both take the same time.
    """
    ### BEGIN SOLUTION
    arithmetic, memory = work[0] / peak, work[1] / bandwidth
    return max(arithmetic, memory), "memory" if memory > arithmetic else "arithmetic"
    ### END SOLUTION


# %% test="roofline" points=0.5 difficulty=2 minutes=20
said = "matmul(3, 5, 7)"
check.equal(check.answer(matmul, 3, 5, 7, call=said), (210, 284), said, why="be (operations, bytes)")
said = "attention(3, 5, 7, 11)"
check.equal(check.answer(attention, 3, 5, 7, 11, call=said), (4620, 4848), said)
said = "rms_norm(3, 7)"
check.equal(check.answer(rms_norm, 3, 7, call=said), (84, 196), said)
said = "attainable((600, 90), 300, 10)"
found = check.answer(attainable, (600, 90), 300.0, 10.0, call=said)
check.close(found[0], 9, f"{said}[0]", why="wait for the longer of the two")
check.equal(found[1], "memory", f"{said}[1]", why="name it")
### BEGIN HIDDEN TESTS
rng = check.rng("roofline")


class Counted:
    """A number that counts what is done with it."""

    operations = 0

    def __add__(self, other):
        Counted.operations += 1
        return Counted()

    __mul__ = __add__


def counted_product(n, k, m):
    """Operations of a product of matrices, one by one; a sum begins at a number of its own."""
    Counted.operations = 0
    for _ in range(n * m):
        total = Counted()
        for _ in range(k):
            total = total + Counted() * Counted()
    return Counted.operations


for _ in range(3):
    n, k, m = (int(v) for v in rng.permutation(np.arange(2, 9))[:3])
    size = int(rng.choice([1, 2, 8]))
    arrays = [np.zeros((n, k)), np.zeros((k, m)), np.zeros((n, m))]
    want = counted_product(n, k, m), size * sum(a.size for a in arrays)
    call = f"matmul({n}, {k}, {m}, {size})"
    got = check.answer(matmul, n, k, m, size, call=call)
    check.equal(got[0], want[0], f"{call}[0]", why="count a multiplication and an addition for each term")
    check.equal(got[1], want[1], f"{call}[1]", why="move each of the three matrices once")
    got = check.answer(matmul, n, k, m, call=f"matmul({n}, {k}, {m})")
    check.equal(got[1] * size, want[1] * 4, f"matmul({n}, {k}, {m})[1]", why="have 4 bytes for a number")
    heads, t, s, d = (int(v) for v in rng.permutation(np.arange(2, 9))[:4])
    operations = heads * (counted_product(t, d, s) + counted_product(t, s, d))
    moved = heads * (t * d + s * d + s * d + t * d)
    for fused, extra in ((False, 4 * heads * t * s), (True, 0)):
        call = f"attention({heads}, {t}, {s}, {d}, {size}, fused={fused})"
        got = check.answer(attention, heads, t, s, d, size, fused=fused, call=call)
        check.equal(got[0], operations, f"{call}[0]", why="count the two products of each head")
        why = "keep scores and weights out of memory" if fused else "write and read scores and weights"
        check.equal(got[1], size * (moved + extra), f"{call}[1]", why=why)
    call = f"attention({heads}, {t}, {s}, {d})"
    got = check.answer(attention, heads, t, s, d, call=call)
    check.equal(got, (operations, 4 * (moved + 4 * heads * t * s)), call, why="be float32 and not fused")
    call = f"rms_norm({n}, {d}, {size})"
    got = check.answer(rms_norm, n, d, size, call=call)
    check.equal(got, (4 * n * d, size * (n * d + n * d + d)), call, why="read rows and gain, write rows")
    got = check.answer(rms_norm, n, d, call=f"rms_norm({n}, {d})")
    check.equal(got[1], 4 * (2 * n * d + d), f"rms_norm({n}, {d})[1]", why="have 4 bytes for a number")
for work, peak, bandwidth, want, waits in [
    ((600, 90), 3.0, 10.0, 200.0, "arithmetic"),
    ((600, 90), 3e3, 0.45, 200.0, "memory"),
    ((640, 32), 64.0, 3.2, 10.0, "arithmetic"),
    ((7, 5), 4.0, 2.0, 2.5, "memory"),
    ((9 * 10**12, 8 * 10**9), 2e12, 4e10, 4.5, "arithmetic"),
]:
    call = f"attainable({work}, {peak:g}, {bandwidth:g})"
    got = check.answer(attainable, work, peak, bandwidth, call=call)
    check.close(got[0], want, f"{call}[0]", rtol=1e-9, why="take as long as the longer of the two")
    check.equal(got[1], waits, f"{call}[1]", why="name what is waited for")
### END HIDDEN TESTS

# %% mutant="roofline" why="a multiplication and its addition are one operation"
# - return 2 * n * k * m, size * (n * k + k * m + n * m)
# + return n * k * m, size * (n * k + k * m + n * m)

# %% mutant="roofline" why="the result is not written"
# - return 2 * n * k * m, size * (n * k + k * m + n * m)
# + return 2 * n * k * m, size * (n * k + k * m)

# %% mutant="roofline" why="each term reads its two numbers"
# - return 2 * n * k * m, size * (n * k + k * m + n * m)
# + return 2 * n * k * m, size * (2 * n * k * m + n * m)

# %% mutant="roofline" why="numbers in place of bytes"
# - return 2 * n * k * m, size * (n * k + k * m + n * m)
# + return 2 * n * k * m, 4 * (n * k + k * m + n * m)

# %% mutant="roofline" why="one product of attention"
# - return 4 * heads * t * s * d, size * heads * numbers
# + return 2 * heads * t * s * d, size * heads * numbers

# %% mutant="roofline" why="scores are written and weights read, but not both"
# - numbers = 2 * (t + s) * d + (0 if fused else 4 * t * s)
# + numbers = 2 * (t + s) * d + (0 if fused else 2 * t * s)

# %% mutant="roofline" why="always fused"
# - numbers = 2 * (t + s) * d + (0 if fused else 4 * t * s)
# + numbers = 2 * (t + s) * d

# %% mutant="roofline" why="fused by default"
# - heads: int, t: int, s: int, d: int, size: int = 4, fused: bool = False
# + heads: int, t: int, s: int, d: int, size: int = 4, fused: bool = True

# %% mutant="roofline" why="outputs as long as the keys"
# - numbers = 2 * (t + s) * d + (0 if fused else 4 * t * s)
# + numbers = (t + 3 * s) * d + (0 if fused else 4 * t * s)

# %% mutant="roofline" why="memory of one head"
# - return 4 * heads * t * s * d, size * heads * numbers
# + return 4 * heads * t * s * d, size * numbers

# %% mutant="roofline" why="half precision by default"
# - def rms_norm(n: int, d: int, size: int = 4) -> tuple[int, int]:
# + def rms_norm(n: int, d: int, size: int = 2) -> tuple[int, int]:

# %% mutant="roofline" why="a gain for each row"
# - return 4 * n * d, size * (2 * n * d + d)
# + return 4 * n * d, size * (3 * n * d)

# %% mutant="roofline" why="work and memory one after the other"
# - return max(arithmetic, memory), "memory" if memory > arithmetic else "arithmetic"
# + return arithmetic + memory, "memory" if memory > arithmetic else "arithmetic"

# %% mutant="roofline" why="the faster one counts"
# - return max(arithmetic, memory), "memory" if memory > arithmetic else "arithmetic"
# + return min(arithmetic, memory), "memory" if memory > arithmetic else "arithmetic"

# %% mutant="roofline" why="says what is not waited for"
# - return max(arithmetic, memory), "memory" if memory > arithmetic else "arithmetic"
# + return max(arithmetic, memory), "memory" if memory <= arithmetic else "arithmetic"

# %% mutant="roofline" why="memory where both take the same"
# - return max(arithmetic, memory), "memory" if memory > arithmetic else "arithmetic"
# + return max(arithmetic, memory), "memory" if memory >= arithmetic else "arithmetic"

# %% mutant="roofline" why="compares the numbers, not the times"
# - return max(arithmetic, memory), "memory" if memory > arithmetic else "arithmetic"
# + return max(arithmetic, memory), "memory" if work[1] > work[0] else "arithmetic"


# %% alternative="roofline" why="sizes of arrays, by the intensity"
def matmul(n, k, m, size=4):
    return n * m * (k + k), sum(np.prod(shape) for shape in [(n, k), (k, m), (n, m)]) * size


def attention(heads, t, s, d, size=4, fused=False):
    scores, weighted = matmul(t, d, s, size), matmul(t, s, d, size)
    moved = scores[1] + weighted[1] + (-2 if fused else 2) * t * s * size
    return heads * (scores[0] + weighted[0]), heads * moved


def rms_norm(n, d, size=4):
    return n * (d + d + d + d), (n * d + n * d + d) * size


def attainable(work, peak, bandwidth):
    operations, moved = work
    if operations * bandwidth < peak * moved:
        return moved / bandwidth, "memory"
    return operations / peak, "arithmetic"


# %% [markdown]
# Now your machine. Its peak is taken from a large product of matrices, its bandwidth from adding up a long array: what real programs reach, not what a data sheet promises. Below the roof stand pieces of a language model with $d = 2048$: for 128 tokens at once, as when a prompt is read, and for **one** next token, as in generation, both after 2,048 tokens.

# %% [markdown] lang="ru"
# Теперь ваша машина. Пик возьмём из большого матричного произведения, пропускную способность — из сложения длинного массива: чего достигают настоящие программы, а не что обещает паспорт. Под крышей стоят части языковой модели с $d = 2048$: для 128 токенов сразу, как при чтении запроса, и для **одного** следующего токена, как при генерации; перед теми и другими 2048 токенов.


# %%
def seconds_of(run: Callable[[], object], times: int = 5) -> float:
    """The least seconds of several runs: what disturbs a run only makes it longer."""
    best = float("inf")
    for _ in range(times + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


side, d, past = settings["matrix"], 2048, 2048
a, b = (torch.randn(side, side, device=device) for _ in range(2))
long = torch.zeros(settings["copy"], device=device)
peak = matmul(side, side, side)[0] / seconds_of(lambda: a @ b)
bandwidth = long.nbytes / seconds_of(long.sum)
print(f"peak {peak / 1e9:.0f} billion operations a second, bandwidth {bandwidth / 1e9:.1f} GB a second")
print(f"ridge: {peak / bandwidth:.1f} operations per byte")


def pieces(tokens: int) -> dict[str, tuple[tuple[int, int], Callable[[], object]]]:
    """Work and a run of the pieces of a layer for so many tokens after `past` others."""
    x, weight = torch.randn(tokens, d, device=device), torch.randn(d, 4 * d, device=device)
    q = torch.randn(1, 16, tokens, d // 16, device=device)
    k, v = torch.randn(2, 1, 16, past, d // 16, device=device)
    gain = torch.ones(d, device=device)
    return {
        "feed-forward": (matmul(tokens, d, 4 * d), lambda: x @ weight),
        "attention": (
            attention(16, tokens, past, d // 16),
            lambda: (q @ k.transpose(2, 3)).softmax(3) @ v,
        ),
        "norm": (rms_norm(tokens, d), lambda: F.rms_norm(x, (d,), gain)),
    }


dots, rows = {}, []
for tokens in (1, 128):
    for name, (work, run) in pieces(tokens).items():
        took, (least, waits) = seconds_of(run), attainable(work, peak, bandwidth)
        dots[f"{name}, {tokens} token{'s' * (tokens > 1)}"] = (work[0] / work[1], work[0] / took)
        rows.append((name, tokens, work[0] / work[1], waits, 1e6 * least, 1e6 * took))
for name, tokens, intensity, waits, least, took in rows:
    print(
        f"{name:12} {tokens:4} tokens: {intensity:6.2f} operations per byte, waits for {waits:10} "
        f"at least {least:7.1f} µs, took {took:7.1f} µs"
    )
week12.roofline(peak, bandwidth, dots)
plots.show(
    "Operations a second against operations per byte, on log axes: a rising line of the bandwidth, a flat "
    "one of the peak. The pieces for one token stand far left, below the rising line; those for 128 tokens "
    "further right and higher."
)

# %% [markdown]
# Two things to take along. **Generation waits for memory**: for one token each weight is fetched for two operations, whatever the chip can compute. That is why fewer bytes per weight (quantisation) make it faster, why several requests at once cost hardly more than one (batching), and why a draft of several tokens is checked in the time of one. A dot far *below* its roof says that something else costs time, on small pieces mostly the call itself; a dot *above* it, that its numbers lay in the cache, a smaller and faster memory.

# %% [markdown] lang="ru"
# Запомните две вещи. **Генерация ждёт память**: ради одного токена каждый вес перевозят для двух операций, сколько бы чип ни мог посчитать. Поэтому её ускоряет меньшее число байтов на вес (квантование), поэтому несколько запросов сразу стоят почти как один (батчи), и поэтому черновик из нескольких токенов проверяют за время одного. Точка *намного ниже* своей крыши говорит, что время уходит на что-то ещё, у мелких частей чаще всего — на сам вызов; точка *выше* крыши — что числа лежали в кэше, памяти поменьше и побыстрее.

# %% [markdown]
# ## 2. A queue and its batches
# Requests arrive when they like. A server takes up to `limit` of those that wait, oldest first, and needs $a + b\,n$ seconds for a batch of $n$. While it works, others come and wait. It never waits for a batch to fill: as soon as it is free and somebody is there, it begins; who arrives at the very moment in which it begins is taken along. When is each request finished?
#
# {{task:serve}}

# %% [markdown] lang="ru"
# ## 2. Очередь и батчи
# Запросы приходят, когда хотят. Сервер берёт из ждущих не больше `limit`, самых давних, и на батч из $n$ ему нужно $a + b\,n$ секунд. Пока он работает, приходят и ждут другие. Он никогда не ждёт, пока батч наполнится: едва он свободен и кто-то есть, он начинает; кто приходит в тот самый миг, когда он начинает, попадает в батч. Когда готов каждый запрос?
#
# {{task:serve}}


# %% solution="serve"
def serve(arrivals: np.ndarray, limit: int, a: float, b: float) -> np.ndarray:
    """When each request is finished, in seconds. arrivals: rising, some may be equal, (n,) -> (n,).

    limit: the largest batch, at least 1. A batch of n takes a + b n seconds; a, b > 0. No requests, no
    times.
    """
    ### BEGIN SOLUTION
    finished, free, i = np.zeros(len(arrivals)), 0.0, 0
    if len(arrivals):
        free = float(arrivals[0])
    while i < len(arrivals):
        start = max(free, float(arrivals[i]))
        stop = min(i + limit, int(np.searchsorted(arrivals, start, side="right")))
        free = start + a + b * (stop - i)
        finished[i:stop] = free
        i = stop
    return finished
    ### END SOLUTION


def mean_inside(arrivals: np.ndarray, finished: np.ndarray) -> float:
    """How many requests are in the house, mean over the time from the first arrival to the last finish.

    A request is in the house from its arrival until it is finished. At least one request.
    """
    ### BEGIN SOLUTION
    return float(np.sum(finished - arrivals) / (np.max(finished) - np.min(arrivals)))
    ### END SOLUTION


# %% test="serve" points=0.5 difficulty=3 minutes=25
check.close(
    check.answer(serve, np.array([0.0, 0.25, 1.0]), 2, 1.0, 0.5, call="serve([0, 0.25, 1], 2, 1, 0.5)"),
    [1.5, 3.5, 3.5],
    "serve([0, 0.25, 1], 2, 1, 0.5)",
    why="begin with the first at once, then take the two that wait",
)
check.close(
    check.answer(mean_inside, np.array([1.0, 3.0]), np.array([4.0, 6.0]), call="mean_inside of two"),
    1.2,
    "mean_inside([1, 3], [4, 6])",
    why="one for four seconds, two for one",
)
### BEGIN HIDDEN TESTS
rng = check.rng("serve")


def by_events(arrivals, limit, a, b):
    """Second by second: who came, who waits, who is being served."""
    waits, served, out = list(range(len(arrivals))), [], {}
    now = None
    while waits or served:
        here = [i for i in waits if now is not None and arrivals[i] <= now]
        if not here:
            now = arrivals[waits[0]]
            continue
        batch = here[:limit]
        waits = waits[len(batch) :]
        now = now + a + b * len(batch)
        for i in batch:
            out[i] = now
    return np.array([out[i] for i in range(len(arrivals))])


def judge_serve(arrivals, limit, a, b, why):
    call = f"serve({len(arrivals)} arrivals, {limit}, {a}, {b})"
    got = check.answer(serve, np.array(arrivals), limit, a, b, call=call)
    check.close(got, by_events(arrivals, limit, a, b), call, rtol=1e-9, why=why)


def eighths(n, top):
    return np.sort(rng.integers(0, 8 * top, size=n)) / 8  # exact, with ties


judge_serve([2.5], 3, 1.25, 0.5, "begin when a request comes, not before")
judge_serve([0.0, 10.0, 30.0], 4, 1.5, 0.25, "wait for nobody while it is free")
judge_serve([0.0, 0.5, 0.75, 1.0], 1, 1.25, 0.5, "take one at a time where limit is 1")
judge_serve([0.0, 1.0, 1.0, 1.0, 1.0, 1.0], 3, 2.0, 0.25, "take no more than limit")
judge_serve([0.0, 1.0, 2.0, 3.0, 4.0, 9.0], 9, 1.5, 0.5, "take all that wait, if limit allows it")
judge_serve([0.0, 1.75, 1.75, 1.875], 9, 1.25, 0.5, "take along who arrives at that very moment")
judge_serve([4.0, 4.0, 4.0, 4.0], 3, 0.5, 1.0, "take equal ones together")
judge_serve([-3.0, -1.0, 0.5], 2, 0.25, 1.5, "take any clock, also one below 0")
for limit in (1, 2, 5, 50):
    judge_serve(eighths(60, 40), limit, 0.75, 0.375, "serve everybody, oldest first")
judge_serve(eighths(25, 400), 4, 0.75, 0.375, "serve everybody, oldest first")
judge_serve(np.sort(rng.exponential(size=40)).cumsum() / 7, 3, 0.3, 0.11, "serve everybody, oldest first")
got = check.answer(serve, np.zeros(0), 3, 1.0, 1.0, call="serve(no arrivals, 3, 1, 1)")
check.equal(len(got), 0, "len(serve(no arrivals, 3, 1, 1))", why="be empty")
got = check.answer(serve, np.array([0, 1, 7]), 2, 0.75, 0.5, call="serve(whole seconds, 2, 0.75, 0.5)")
want = by_events([0, 1, 7], 2, 0.75, 0.5)
check.close(got, want, "serve(whole seconds, 2, 0.75, 0.5)", rtol=1e-9, why="give fractions, too")


def by_steps(arrivals, finished):
    """The mean of a function that rises by 1 and falls by 1."""
    events = sorted([(t, 1) for t in arrivals] + [(t, -1) for t in finished])
    area, inside = 0.0, 0
    for (t, change), (until, _) in pairwise(events):
        inside += change
        area += inside * (until - t)
    return area / (events[-1][0] - events[0][0])


for count in (1, 2, 9, 40):
    come = np.sort(rng.uniform(-3, 20, size=count))
    go = come + rng.uniform(0.1, 9, size=count)  # not in the order of arrival
    call = f"mean_inside of {count}"
    got = check.answer(mean_inside, come, go, call=call)
    check.close(got, by_steps(come, go), call, rtol=1e-7, why="be the mean over time")
### END HIDDEN TESTS

# %% mutant="serve" why="takes whoever comes while it works"
# - stop = min(i + limit, int(np.searchsorted(arrivals, start, side="right")))
# + stop = min(i + limit, max(i + 1, int(np.searchsorted(arrivals, start + a, side="right"))))

# %% mutant="serve" why="waits until the batch is full"
# - start = max(free, float(arrivals[i]))
# + start = max(free, float(arrivals[min(i + limit, len(arrivals)) - 1]))

# %% mutant="serve" why="no limit"
# - stop = min(i + limit, int(np.searchsorted(arrivals, start, side="right")))
# + stop = int(np.searchsorted(arrivals, start, side="right"))

# %% mutant="serve" why="one more than the limit"
# - stop = min(i + limit, int(np.searchsorted(arrivals, start, side="right")))
# + stop = min(i + limit + 1, int(np.searchsorted(arrivals, start, side="right")))

# %% mutant="serve" why="who arrives at that moment waits"
# - stop = min(i + limit, int(np.searchsorted(arrivals, start, side="right")))
# + stop = min(i + limit, max(i + 1, int(np.searchsorted(arrivals, start, side="left"))))

# %% mutant="serve" why="one by one within a batch"
# - finished[i:stop] = free
# + finished[i:stop] = start + a + b * np.arange(1, stop - i + 1)

# %% mutant="serve" why="the size of a batch costs nothing"
# - free = start + a + b * (stop - i)
# + free = start + a + b

# %% mutant="serve" why="a full batch is paid for"
# - free = start + a + b * (stop - i)
# + free = start + a + b * limit

# %% mutant="serve" why="never idle"
# - start = max(free, float(arrivals[i]))
# + start = free
# - stop = min(i + limit, int(np.searchsorted(arrivals, start, side="right")))
# + stop = min(i + limit, max(i + 1, int(np.searchsorted(arrivals, start, side="right"))))

# %% mutant="serve" why="its clock begins at 0"
# - if len(arrivals):
# -     free = float(arrivals[0])
# + free = 0.0

# %% mutant="serve" why="whole seconds"
# - finished, free, i = np.zeros(len(arrivals)), 0.0, 0
# + finished, free, i = np.zeros_like(arrivals), 0.0, 0

# %% mutant="serve" why="the times that requests take"
# - return finished
# + return finished - arrivals

# %% mutant="serve" why="time from 0 on"
# - return float(np.sum(finished - arrivals) / (np.max(finished) - np.min(arrivals)))
# + return float(np.sum(finished - arrivals) / np.max(finished))

# %% mutant="serve" why="the last to come is the last to go"
# - return float(np.sum(finished - arrivals) / (np.max(finished) - np.min(arrivals)))
# + return float(np.sum(finished - arrivals) / (finished[-1] - np.min(arrivals)))

# %% mutant="serve" why="the mean stay"
# - return float(np.sum(finished - arrivals) / (np.max(finished) - np.min(arrivals)))
# + return float(np.mean(finished - arrivals))


# %% alternative="serve" why="lists that are emptied, and events"
def serve(arrivals, limit, a, b):
    queue, out, now = list(map(float, arrivals)), [], float("-inf")
    while queue:
        now = max(now, queue[0])
        n = len([t for t in queue[:limit] if t <= now])
        now += a + b * n
        out += [now] * n
        del queue[:n]
    return out


def mean_inside(arrivals, finished):
    moments = np.sort(np.concatenate([arrivals, finished]))
    middles = (moments[1:] + moments[:-1]) / 2
    inside = [((arrivals <= t) & (t < finished)).sum() for t in middles]
    return float(np.dot(inside, np.diff(moments)) / (moments[-1] - moments[0]))


# %% [markdown]
# The trade, on requests by chance (a Poisson stream): the more come, the larger the batches, the more a second is worth, and the longer everybody waits. **Little's law** (1961) needs no model at all: in any house, mean number inside = arrivals per second × mean stay. Check it on your numbers.

# %% [markdown] lang="ru"
# Сделка, на случайных запросах (поток Пуассона): чем их больше, тем крупнее батчи, тем больше успевает секунда — и тем дольше все ждут. **Закону Литтла** (Little, 1961) не нужна никакая модель: в любом доме среднее число внутри = приходящие за секунду × среднее время пребывания. Проверьте его на своих числах.

# %%
a_cost, b_cost, stream = 0.040, 0.004, np.random.default_rng(0)
loads = np.array([2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 150, 180])
served = {}
for limit in (1, 4, 16, 64):
    points = []
    for load in loads:
        arrivals = stream.exponential(1 / load, size=settings["requests"]).cumsum()
        finished = serve(arrivals, limit, a_cost, b_cost)
        stay, whole = np.asarray(finished) - arrivals, np.max(finished) - arrivals[0]
        points.append((len(arrivals) / whole, np.mean(stay), np.quantile(stay, 0.95)))
        if (limit, load) == (16, 60):
            inside = mean_inside(arrivals, finished)
            print(f"Little's law: {inside:.4f} inside = {points[-1][0]:.3f} a second x {np.mean(stay):.4f} s")
    served[limit] = points
week12.latency(served)
plots.show(
    "Mean stay against requests served a second, one line for each largest batch. Without batches the line "
    "goes up like a wall at about 20 requests a second; larger limits move the wall to the right."
)

# %% [markdown]
# ## 3. Layers that can be folded away
# After training, batch normalisation is a fixed scaling of each channel. A convolution can do that itself. With the running mean $\mu$ and variance $\sigma^2$, gain $\gamma$ and shift $\beta$ of a channel:
#
# $$\gamma\,\frac{(w * x + b) - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta = w' * x + b'.$$
#
# Find $w'$ and $b'$, and make a new convolution with them and all the options of the old one.
#
# {{task:fold}}

# %% [markdown] lang="ru"
# ## 3. Слои, которые можно свернуть
# После обучения нормализация батча — постоянный множитель и сдвиг каждого канала. Это умеет и сама свёртка. При накопленных среднем $\mu$ и дисперсии $\sigma^2$, коэффициенте $\gamma$ и сдвиге $\beta$ канала:
#
# $$\gamma\,\frac{(w * x + b) - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta = w' * x + b'.$$
#
# Найдите $w'$ и $b'$ и сделайте новую свёртку с ними и со всеми настройками прежней.
#
# {{task:fold}}


# %% solution="fold"
def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A new convolution that does what conv and then norm in eval mode do.

    It has a bias, the dtype of conv's weight, and conv's stride, padding, dilation, groups and padding
    mode. conv may have no bias, norm no gain and shift (affine=False). norm's mode is not asked: the running
    statistics count. Both stay as they were, their modes, too, and what happens to them later does not
    change the new one. Without torch's own fusion.
    """
    ### BEGIN SOLUTION
    made = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        padding_mode=conv.padding_mode,
        dtype=conv.weight.dtype,
        device=conv.weight.device,
    )
    with torch.no_grad():
        scale = (norm.running_var + norm.eps).rsqrt()
        if norm.affine:
            scale = scale * norm.weight
        bias = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
        made.weight.copy_(conv.weight * scale[:, None, None, None])
        made.bias.copy_(bias * scale + (norm.bias if norm.affine else 0))
    return made
    ### END SOLUTION


# %% test="fold" points=0.5 difficulty=3 minutes=20
conv, norm = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0)
with torch.no_grad():
    conv.weight.fill_(3.0)
    for value, new in [(norm.running_mean, 7.0), (norm.running_var, 4.0), (norm.weight, 5.0), (norm.bias, 11.0)]:
        value.fill_(new)
with check.without_torch("fuse_conv_bn"):
    folded = fold(conv, norm)
call = "fold(conv of weight 3, norm of mean 7, variance 4, gain 5, shift 11)"
made = check.parameters_of(folded, call)
check.close(made["weight"], np.full((1, 1, 1, 1), 7.5), f"{call}.weight", why="scale as conv and then norm do")
check.close(made["bias"], [-6.5], f"{call}.bias", why="give at x = 0 what conv and then norm give there")
### BEGIN HIDDEN TESTS
rng = check.rng("fold")


def pair(channels, outputs, bias=True, affine=True, eps=1e-5, dtype=torch.float64, **options):
    """A convolution and a norm with values by chance."""
    conv = nn.Conv2d(channels, outputs, **options, bias=bias, dtype=dtype)
    norm = nn.BatchNorm2d(outputs, eps=eps, affine=affine, dtype=dtype).eval()
    values = [*conv.parameters(), *norm.parameters(), norm.running_mean]
    with torch.no_grad():
        for value in values:
            value.copy_(torch.from_numpy(rng.normal(size=tuple(value.shape))))
        norm.running_var.copy_(torch.from_numpy(rng.uniform(0.2, 3, size=outputs)))
    return conv, norm


def judge_fold(why, channels=3, outputs=5, rtol=1e-9, mode=False, **options):
    options = {"kernel_size": (2, 3)} | options
    conv, norm = pair(channels, outputs, **options)
    said = ", ".join(f"{k}={v}" for k, v in options.items())
    call = f"fold(conv, norm) with {said}"
    before = {k: v.clone() for part in (conv, norm) for k, v in part.state_dict().items()}
    conv.train(mode), norm.train(mode)
    kept = [conv.training, norm.training, *(p.requires_grad for p in (*conv.parameters(), *norm.parameters()))]
    x = torch.from_numpy(rng.normal(size=(2, channels, 9, 8))).to(conv.weight.dtype)
    with torch.no_grad():
        want = norm.eval()(conv(x)).numpy()
    norm.train(mode)
    with check.without_torch("fuse_conv_bn"):
        folded = fold(conv, norm)
    kind = check.kind_of(folded)
    check.equal(kind, "Conv2d", f"the kind of {call}", why="be a convolution and nothing else")
    with torch.no_grad():
        got = check.answer(folded, x, call=f"{call}, of x")
    check.close(got, want, f"{call}, of x", rtol=rtol, atol=rtol, why=why)
    after = {k: v for part in (conv, norm) for k, v in part.state_dict().items()}
    same = all(torch.equal(before[k], after[k]) for k in before)
    now = [conv.training, norm.training, *(p.requires_grad for p in (*conv.parameters(), *norm.parameters()))]
    check.that(same, f"{call}: leave the numbers of conv and norm as they were")
    check.that(kept == now, f"{call}: leave the modes and requires_grad of conv and norm as they were")
    return conv, norm, folded, want, x


judge_fold("scale and shift each channel")
judge_fold("scale each output, whatever the kernel's sides", 3, 3, kernel_size=(2, 3))
judge_fold("scale each output, whatever the kernel's sides", 3, 3, kernel_size=3)
judge_fold("do what norm does in eval mode", mode=True)
judge_fold("do without a bias of conv", bias=False)
judge_fold("do without gain and shift of norm", affine=False)
judge_fold("do without both", bias=False, affine=False)
judge_fold("take the norm's eps", eps=0.3)
judge_fold("keep the stride", stride=(2, 3))
judge_fold("keep the padding", padding=(2, 1))
judge_fold("keep the padding", padding="same", kernel_size=3)
judge_fold("keep the dilation", dilation=(3, 2))
judge_fold("keep the padding mode", padding=1, padding_mode="reflect")
judge_fold("keep the groups", 4, 6, groups=2)
judge_fold("keep the groups", 4, 4, groups=4, bias=False)
judge_fold("have conv's dtype", dtype=torch.float32, rtol=1e-4)
conv, norm, folded, want, x = judge_fold("be the same beside another one", kernel_size=2)
judge_fold("be the same beside another one", kernel_size=2)
with torch.no_grad():
    conv.weight.mul_(3)
    norm.running_mean.add_(1)
    got = check.answer(folded, x, call="fold(conv, norm), after conv and norm have changed")
check.close(got, want, "fold(conv, norm), after conv and norm have changed", rtol=1e-9, why="be a layer of its own")
call = "fold(conv, a norm that changes nothing), after conv and norm have changed"
conv, norm = pair(3, 4, bias=False, affine=False, eps=0.0, kernel_size=(2, 3))
norm.running_mean.zero_(), norm.running_var.fill_(1.0)
with torch.no_grad():
    want = conv(x).numpy()
    folded = fold(conv, norm)
    conv.weight.zero_(), norm.running_mean.sub_(5)
    got = check.answer(folded, x, call=call)
check.close(got, want, call, rtol=1e-9, why="be a layer of its own")
call = "fold(conv, norm with affine), after norm has changed"
conv, norm = pair(3, 4, kernel_size=(2, 3))
with torch.no_grad():
    norm.running_mean.zero_(), norm.running_var.fill_(1.0 - norm.eps), norm.weight.fill_(1.0), conv.bias.zero_()
    want = norm(conv(x)).numpy()
    folded = fold(conv, norm)
    norm.bias.add_(3), conv.bias.sub_(2)
    got = check.answer(folded, x, call=call)
check.close(got, want, call, rtol=1e-9, why="be a layer of its own")
call = "fold(float32 layers)"
for name, value in check.parameters_of(fold(*pair(3, 4, kernel_size=2, dtype=torch.float32)), call).items():
    check.that(value.dtype == np.float32, f"{call}: {name} has the dtype of conv's weight")
### END HIDDEN TESTS

# %% mutant="fold" why="forgets the bias of the convolution"
# - bias = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
# + bias = -norm.running_mean

# %% mutant="fold" why="a bias that is not scaled"
# - made.bias.copy_(bias * scale + (norm.bias if norm.affine else 0))
# + made.bias.copy_(bias + (norm.bias if norm.affine else 0))

# %% mutant="fold" why="shift forgotten"
# - made.bias.copy_(bias * scale + (norm.bias if norm.affine else 0))
# + made.bias.copy_(bias * scale)

# %% mutant="fold" why="mean added"
# - bias = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
# + bias = norm.running_mean if conv.bias is None else conv.bias + norm.running_mean

# %% mutant="fold" why="divides by the variance"
# - scale = (norm.running_var + norm.eps).rsqrt()
# + scale = 1 / (norm.running_var + norm.eps)

# %% mutant="fold" why="another eps"
# - scale = (norm.running_var + norm.eps).rsqrt()
# + scale = (norm.running_var + 1e-5).rsqrt()

# %% mutant="fold" why="eps outside of the root"
# - scale = (norm.running_var + norm.eps).rsqrt()
# + scale = 1 / (norm.running_var.sqrt() + norm.eps)

# %% mutant="fold" why="scales the inputs' channels"
# - made.weight.copy_(conv.weight * scale[:, None, None, None])
# + rows = torch.arange(conv.weight.shape[1]) % len(scale)
# + made.weight.copy_(conv.weight * scale[rows][None, :, None, None])

# %% mutant="fold" why="one scale for all"
# - made.weight.copy_(conv.weight * scale[:, None, None, None])
# + made.weight.copy_(conv.weight * scale.mean())

# %% mutant="fold" why="padding forgotten"
# - conv.padding,
# + 0,

# %% mutant="fold" why="stride forgotten"
# - conv.stride,
# + 1,

# %% mutant="fold" why="dilation forgotten"
# - conv.dilation,
# + 1,

# %% mutant="fold" why="zeros outside, whatever conv does"
# - padding_mode=conv.padding_mode,
# + padding_mode="zeros",

# %% mutant="fold" why="changes the convolution itself"
# - made.weight.copy_(conv.weight * scale[:, None, None, None])
# + made.weight = conv.weight.mul_(scale[:, None, None, None]) and None or conv.weight

# %% mutant="fold" why="shares its numbers with the old layer"
# - made.bias.copy_(bias * scale + (norm.bias if norm.affine else 0))
# + made.bias.copy_(bias * scale + (norm.bias if norm.affine else 0))
# + norm.running_mean.zero_()

# %% mutant="fold" why="leaves norm in eval mode"
# - scale = (norm.running_var + norm.eps).rsqrt()
# + norm.eval()
# + norm.requires_grad_(False)
# + scale = (norm.running_var + norm.eps).rsqrt()

# %% mutant="fold" why="leaves conv in eval mode"
# - scale = (norm.running_var + norm.eps).rsqrt()
# + conv.eval()
# + scale = (norm.running_var + norm.eps).rsqrt()

# %% mutant="fold" why="scales along the last axis where it fits"
# - made.weight.copy_(conv.weight * scale[:, None, None, None])
# + made.weight.copy_(conv.weight * (scale if conv.weight.shape[-1] == len(scale) else scale[:, None, None, None]))

# %% mutant="fold" why="the statistics of a batch in train mode"
# - scale = (norm.running_var + norm.eps).rsqrt()
# + scale = (torch.ones_like(norm.running_var) if norm.training else norm.running_var + norm.eps).rsqrt()

# %% mutant="fold" why="shares the weight where nothing is to be done"
# - return made
# + if bool((scale == 1).all()):
# +     made.weight = nn.Parameter(conv.weight.data)
# + return made

# %% mutant="fold" why="always float32"
# - dtype=conv.weight.dtype,
# + dtype=torch.float32,


# %% alternative="fold" why="a deep copy whose parameters are replaced"
def fold(conv, norm):
    made = copy.deepcopy(conv)
    deviation = torch.sqrt(norm.running_var + norm.eps)
    gain = torch.ones_like(deviation) if norm.weight is None else norm.weight.detach()
    shift = torch.zeros_like(deviation) if norm.bias is None else norm.bias.detach()
    old = torch.zeros_like(deviation) if conv.bias is None else conv.bias.detach()
    made.weight = nn.Parameter(torch.einsum("o...,o->o...", conv.weight.detach(), gain / deviation))
    made.bias = nn.Parameter((old - norm.running_mean) * gain / deviation + shift)
    return made


# %% [markdown]
# On a real network: EfficientNet-Lite0 has a normalisation after each of its convolutions. Fold them all and ask both about the same photographs.

# %% [markdown] lang="ru"
# На настоящей сети: у EfficientNet-Lite0 нормализация стоит после каждой свёртки. Свернём все и спросим обе сети об одних и тех же фотографиях.


# %%
def folded_network(network: nn.Module) -> nn.Module:
    """The network, each of its convolutions with the norm after it in one layer."""
    for conv, parent, name, norm in week12.pairs(network):
        made = fold(conv, norm)
        conv.weight, conv.bias = made.weight, made.bias  # the layer stays: it may pad in its own way
        setattr(parent, name, nn.Identity())
    return network.eval()


@cache
def both_networks() -> tuple[nn.Module, nn.Module]:
    """EfficientNet-Lite0 as it was trained, and folded."""
    network = models.load("efficientnet_lite0")
    return network.to(device), folded_network(copy.deepcopy(network)).to(device)


(whole, lean), photos = both_networks(), load_sample_images().images
x = whole.prepare(np.stack([week12.square(photo, settings["side"]) for photo in photos])).to(device)
with torch.no_grad():
    before, after = whole(x), lean(x)
    ratio = week12.ratio(lambda: whole(x), lambda: lean(x), seconds_of)
print(f"largest difference of the logits: {float((before - after).abs().max()):.1e} of {float(before.abs().max()):.1f}")
for network, said in ((whole, "before"), (lean, "after")):
    layers = sum(not isinstance(m, nn.Identity) and not list(m.children()) for m in network.modules())
    print(f"{said:6}: {layers} layers, {sum(p.numel() for p in network.parameters()):,} numbers")
print(f"time before / after, median and range of 7 pairs: {ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})")

# %% [markdown]
# Where do the milliseconds go? The **profiler** answers by kinds of operations. Look at the share of normalisation before, and at what is left.

# %% [markdown] lang="ru"
# Куда уходят миллисекунды? **Профилировщик** (profiler) отвечает по видам операций. Посмотрите на долю нормализации «до» и на то, что осталось.

# %%
shares, kinds = {}, torch.profiler.supported_activities()
for name, network in zip(("as trained", "folded"), both_networks(), strict=True):
    with torch.no_grad(), week12.silent(), torch.profiler.profile(activities=kinds) as profiler:
        for _ in range(5):
            network(x)
    shares[name] = week12.by_operation(profiler, runs=5)
week12.profile(shares)
plots.show(
    "Milliseconds by kind of operation for the network as trained and folded: convolutions take most, the "
    "bar of normalisation is gone after folding, the clipping of activations stays."
)

# %% [markdown]
# ## 4. Attention without its matrix
# Attention over $s$ keys needs $s$ scores at once, it seems: the softmax divides by the sum of all. For a long text they fill the memory, and section 1 said that memory is what is waited for. [Online softmax](glossary:online-softmax) ([Milakov & Gimelshein, 2018](https://arxiv.org/abs/1805.02867); the heart of [FlashAttention](https://arxiv.org/abs/2205.14135)) reads keys and values in tiles, each once. Of all tiles so far it keeps the largest score $m$, the sum $\ell$ of $e^{\text{score} - m}$, and the sum $o$ of the values weighted likewise. When a tile brings a larger maximum $m'$, what was summed is corrected by one factor:
#
# $$\ell \leftarrow \ell\, e^{m - m'} + \sum_j e^{z_j - m'}, \qquad o \leftarrow o\, e^{m - m'} + \sum_j e^{z_j - m'} v_j, \qquad \text{result} = o / \ell.$$
#
# {{task:tiles}}

# %% [markdown] lang="ru"
# ## 4. Внимание без матрицы
# Вниманию над $s$ ключами, кажется, нужны все $s$ оценок сразу: softmax делит на сумму всех. У длинного текста они заполняют память, а именно её, как сказал раздел 1, и ждут. [Онлайновый softmax](glossary:online-softmax) ([Milakov, Gimelshein, 2018](https://arxiv.org/abs/1805.02867); сердце [FlashAttention](https://arxiv.org/abs/2205.14135)) читает ключи и значения кусками, каждый один раз. Из всех прочитанных кусков хранятся наибольшая оценка $m$, сумма $\ell$ чисел $e^{\text{оценка} - m}$ и сумма $o$ значений с теми же весами. Когда кусок приносит больший максимум $m'$, накопленное исправляет один множитель:
#
# $$\ell \leftarrow \ell\, e^{m - m'} + \sum_j e^{z_j - m'}, \qquad o \leftarrow o\, e^{m - m'} + \sum_j e^{z_j - m'} v_j, \qquad \text{результат} = o / \ell.$$
#
# {{task:tiles}}


# %% solution="tiles"
def attend_in_tiles(
    q: torch.Tensor,
    read: Callable[[int, int], tuple[torch.Tensor, torch.Tensor]],
    length: int,
    tile: int,
) -> torch.Tensor:
    """softmax(q k^T / sqrt(d)) v, with keys and values read in tiles. q: (t, d) -> (t, e), dtype of q.

    read(start, stop) gives keys (stop - start, d) and values (stop - start, e) of these places; it may write
    the next ones over them, so keep m, l and o alone from tile to tile. It is asked for each of length >= 1
    places once, from the first to the last, for tile >= 1 of them at a time, at the end for those that are
    left. Scores may be as large as thousands. Gradients reach q, keys and values.
    """
    ### BEGIN SOLUTION
    largest = torch.full((len(q), 1), -torch.inf, dtype=q.dtype, device=q.device)
    total, out = 0, 0
    for start in range(0, length, tile):
        k, v = read(start, min(start + tile, length))
        scores = q @ k.T / q.shape[1] ** 0.5
        new = torch.maximum(largest, scores.max(1, keepdim=True).values)
        weights, factor = (scores - new).exp(), (largest - new).exp()
        total = total * factor + weights.sum(1, keepdim=True)
        out = out * factor + weights @ v
        largest = new
    return out / total
    ### END SOLUTION


# %% test="tiles" points=0.5 difficulty=3 minutes=25
torch.manual_seed(3)
q, keys, values = torch.randn(3, 4).double(), torch.randn(7, 4).double(), torch.randn(7, 5).double()
asked = []


def read(start, stop):
    asked.append((start, stop))
    return keys[start:stop], values[start:stop]


call = "attend_in_tiles(q, read, 7, 3)"
found = check.answer(attend_in_tiles, q, read, 7, 3, call=call)
check.equal(asked, [(0, 3), (3, 6), (6, 7)], f"what {call} reads", why="be each place once, in order")
check.close(found, F.scaled_dot_product_attention(q, keys, values), call, rtol=1e-9)
### BEGIN HIDDEN TESTS
rng = check.rng("tiles")


def judge_tiles(t, d, e, length, tile, why, spread=1.0, dtype=torch.float64, rtol=1e-8, shift=None, offset=0.0):
    call = f"attend_in_tiles(q ({t}, {d}), read, {length}, {tile})"
    shapes = ((t, d), (length, d), (length, e))
    q, k, v = (torch.from_numpy(rng.normal(size=shape)).to(dtype) for shape in shapes)
    q, seen = q * spread, []
    if shift is not None:
        k = k + shift * q.mean(0) / q.mean(0).norm() ** 2 * torch.linspace(0, 1, length, dtype=dtype)[:, None]

    place = torch.empty(tile, d, dtype=dtype), torch.empty(tile, e, dtype=dtype)

    def reads(start, stop):
        seen.append((start, stop))
        for part, whole in zip(place, (k, v), strict=True):
            part[: stop - start] = whole[start:stop]
        return tuple(part[: stop - start] for part in place)

    if offset:
        k = k + offset * q[0] / q[0].norm() ** 2
    scores = q.double() @ k.double().T / d**0.5
    weights = (scores - scores.max(1, keepdim=True).values).exp()
    want = weights @ v.double() / weights.sum(1, keepdim=True)
    got = check.answer(attend_in_tiles, q, reads, length, tile, call=call)
    stops = [(s, min(s + tile, length)) for s in range(0, length, tile)]
    check.equal(seen, stops, f"what {call} reads", why="be each place once, in order, tile by tile")
    check.close(got, want, call, rtol=rtol, atol=rtol, why=why)
    check.that(got.dtype == q.numpy().dtype, f"{call}: have the dtype of q")


judge_tiles(2, 3, 5, 4, 4, "be attention where one tile holds all")
judge_tiles(2, 3, 5, 4, 9, "be attention where a tile is larger than all")
judge_tiles(1, 5, 3, 6, 2, "add up the tiles")
judge_tiles(4, 3, 2, 7, 3, "use a last tile that is short")
judge_tiles(3, 4, 5, 6, 1, "take tiles of one place")
judge_tiles(3, 1, 2, 1, 5, "take a single key")
judge_tiles(4, 6, 3, 29, 5, "have a maximum for each query", spread=6)
judge_tiles(2, 6, 3, 23, 4, "bear scores of thousands", spread=5e3)
judge_tiles(1, 4, 3, 24, 4, "bear scores that rise from tile to tile", shift=6e3)
judge_tiles(1, 4, 3, 24, 4, "bear scores that fall from tile to tile", shift=-6e3)
judge_tiles(1, 4, 3, 9, 2, "bear scores that are all far below 0", offset=-4e3)
judge_tiles(3, 4, 5, 11, 3, "bear scores of thousands in float32", 900, torch.float32, 1e-3)
judge_tiles(3, 4, 5, 11, 3, "be near in float32", 1, torch.float32, 1e-4)
q, k, v = (torch.from_numpy(rng.normal(size=shape)) for shape in ((3, 4), (10, 4), (10, 2)))
call = "attend_in_tiles(q, read, 10, 4)"


def through(q, k, v):
    return attend_in_tiles(q, lambda start, stop: (k[start:stop], v[start:stop]), 10, 4)


leaves = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
F.scaled_dot_product_attention(*leaves).sum().backward()
for name, got, leaf in zip("qkv", check.gradient_of(through, q, k, v, call=call), leaves, strict=True):
    check.close(got, leaf.grad, f"the gradient of {call} for {name}", rtol=1e-7, atol=1e-9, why="be attention's")
### END HIDDEN TESTS

# %% mutant="tiles" why="a softmax for each tile, then the mean"
# - return out / total
# + k, v = read(0, length)
# + return torch.stack([F.scaled_dot_product_attention(q, k[i : i + tile], v[i : i + tile]) for i in range(0, length, tile)]).mean(0)

# %% mutant="tiles" why="reads all at once"
# - k, v = read(start, min(start + tile, length))
# + k, v = (part[start : start + tile] for part in read(0, length))

# %% mutant="tiles" why="the last, short tile is left out"
# - for start in range(0, length, tile):
# + for start in range(0, max(length - tile + 1, 1), tile):

# %% mutant="tiles" why="does not correct the sum"
# - total = total * factor + weights.sum(1, keepdim=True)
# + total = total + weights.sum(1, keepdim=True)

# %% mutant="tiles" why="does not correct the values"
# - out = out * factor + weights @ v
# + out = out + weights @ v

# %% mutant="tiles" why="one maximum for all queries"
# - new = torch.maximum(largest, scores.max(1, keepdim=True).values)
# + new = torch.maximum(largest, scores.max())

# %% mutant="tiles" why="the maximum of the tile alone"
# - new = torch.maximum(largest, scores.max(1, keepdim=True).values)
# + new = scores.max(1, keepdim=True).values

# %% mutant="tiles" why="no maximum: e to the thousands"
# - new = torch.maximum(largest, scores.max(1, keepdim=True).values)
# + new = torch.zeros_like(largest)

# %% mutant="tiles" why="the factor upside down"
# - weights, factor = (scores - new).exp(), (largest - new).exp()
# + weights, factor = (scores - new).exp(), (new - largest).exp().nan_to_num(0, 0, 0)

# %% mutant="tiles" why="no scale"
# - scores = q @ k.T / q.shape[1] ** 0.5
# + scores = q @ k.T

# %% mutant="tiles" why="scales by d"
# - scores = q @ k.T / q.shape[1] ** 0.5
# + scores = q @ k.T / q.shape[1]

# %% mutant="tiles" why="scales by the values' size"
# - scores = q @ k.T / q.shape[1] ** 0.5
# + scores = q @ k.T / v.shape[1] ** 0.5

# %% mutant="tiles" why="divides at each tile"
# - out = out * factor + weights @ v
# + out = (out * factor + weights @ v) / total

# %% mutant="tiles" why="starts at a maximum of 0"
# - largest = torch.full((len(q), 1), -torch.inf, dtype=q.dtype, device=q.device)
# + largest = torch.full((len(q), 1), 0.0, dtype=q.dtype, device=q.device)

# %% mutant="tiles" why="float32 inside"
# - k, v = read(start, min(start + tile, length))
# + k, v = (part.float().to(q.dtype) for part in read(start, min(start + tile, length)))

# %% mutant="tiles" why="collects all tiles"
# - for start in range(0, length, tile):
# + kept = [read(i, min(i + tile, length)) for i in range(0, length, tile)]
# + return F.scaled_dot_product_attention(q, *(torch.cat(parts) for parts in zip(*kept)))
# + for start in range(0, length, tile):

# %% mutant="tiles" why="without gradients"
# - return out / total
# + return (out / total).detach()


# %% alternative="tiles" why="logsumexp of the tiles, joined two by two"
def attend_in_tiles(q, read, length, tile):
    mean = log_weight = None
    for start in range(0, length, tile):
        k, v = read(start, min(length, start + tile))
        z = torch.einsum("td,sd->ts", q, k) * q.shape[-1] ** -0.5
        here, log_here = z.softmax(-1) @ v, z.logsumexp(-1, keepdim=True)
        if mean is None:
            mean, log_weight = here, log_here
        else:
            share = torch.sigmoid(log_here - log_weight)
            mean, log_weight = mean + share * (here - mean), torch.logaddexp(log_weight, log_here)
    return mean


# %% [markdown]
# How much memory is saved? Count the largest array that is alive between the reads, for one head and a growing text, and ask section 1 what the roof says.

# %% [markdown] lang="ru"
# Сколько памяти это бережёт? Посчитаем самый большой массив, который живёт между чтениями, для одной головы и растущего текста, и спросим у раздела 1, что говорит крыша.

# %%
lengths, tile = 2 ** np.arange(7, int(np.log2(settings["length"])) + 1), 64
errors, memory = [], {"scores of all keys": [], f"a tile of {tile} keys": []}
for length in lengths:
    q, k, v = torch.randn(3, int(length), 64)
    made = attend_in_tiles(q, lambda i, j, k=k, v=v: (k[i:j], v[i:j]), int(length), tile)
    errors.append(float((made - F.scaled_dot_product_attention(q, k, v)).abs().max()))
    memory["scores of all keys"].append(4 * int(length) ** 2 / 1e6)
    memory[f"a tile of {tile} keys"].append(4 * int(length) * (tile + 64 + 2) / 1e6)
print("largest difference from torch's attention:", ", ".join(f"{n}: {e:.1e}" for n, e in zip(lengths, errors, strict=True)))
ax = plots.curves({n: (lengths, m) for n, m in memory.items()}, "What attention keeps", "tokens of the text", "megabytes")
ax.set_xscale("log", base=2)
ax.set_yscale("log")
plots.show(
    "Megabytes that attention keeps against the length of the text, on log axes: the line of all scores "
    "rises twice as steeply as that of tiles, and they are far apart at the end."
)

# %%
for fused in (False, True):
    work = attention(1, int(lengths[-1]), int(lengths[-1]), 64, fused=fused)
    least, waits = attainable(work, peak, bandwidth)
    print(f"fused={fused!s:5}: {work[0] / work[1]:6.1f} operations per byte, at least {1e3 * least:.2f} ms, waits for {waits}")

# %% [markdown]
# **What to take along.** Count before you optimise: operations and bytes are the same on every machine, times are not. What waits for memory gets faster by fewer bytes, not by fewer operations. In the practice of this week the same model is asked once per token and not once per text, in four bits, by a draft, and in a queue of many users.

# %% [markdown] lang="ru"
# **Что запомнить.** Сначала считайте, потом ускоряйте: операции и байты на всех машинах одни и те же, время — нет. Кто ждёт память, тому помогают меньше байтов, а не меньше операций. В практике этой недели одна и та же модель отвечает раз на токен, а не раз на текст, живёт в четырёх битах, пишет по черновику и стоит в очереди многих пользователей.

# %% [markdown]
# **Sources**
# - S. Williams, A. Waterman, D. Patterson. [Roofline: an insightful visual performance model](https://doi.org/10.1145/1498765.1498785). CACM 2009.
# - J. Little. [A proof for the queuing formula L = λW](https://doi.org/10.1287/opre.9.3.383). Operations Research 1961.
# - S. Ioffe, C. Szegedy. [Batch normalization](https://arxiv.org/abs/1502.03167). ICML 2015.
# - M. Milakov, N. Gimelshein. [Online normalizer calculation for softmax](https://arxiv.org/abs/1805.02867). 2018. T. Dao et al. [FlashAttention](https://arxiv.org/abs/2205.14135). NeurIPS 2022.

# %% [markdown] lang="ru"
# **Источники**
# - S. Williams, A. Waterman, D. Patterson. [Roofline: an insightful visual performance model](https://doi.org/10.1145/1498765.1498785). CACM 2009.
# - J. Little. [A proof for the queuing formula L = λW](https://doi.org/10.1287/opre.9.3.383). Operations Research 1961.
# - S. Ioffe, C. Szegedy. [Batch normalization](https://arxiv.org/abs/1502.03167). ICML 2015.
# - M. Milakov, N. Gimelshein. [Online normalizer calculation for softmax](https://arxiv.org/abs/1805.02867). 2018. T. Dao и др. [FlashAttention](https://arxiv.org/abs/2205.14135). NeurIPS 2022.
