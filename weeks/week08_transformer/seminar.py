# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A transformer from nothing
# A recurrent network reads word after word and carries everything in one vector. A [Transformer](glossary:transformer) ([Vaswani et al., 2017](https://arxiv.org/abs/1706.03762)) looks at all words at once, and each word asks the others for what it needs. You write its parts, one after the other: attention, heads, positions, norms, blocks; each is compared with PyTorch's own to the last digits. Then you prove, by gradients, that nothing looks into the future, put the parts together into a small GPT, and let it climb the ladder of week 07.

# %% [markdown] lang="ru"
# # Трансформер с нуля
# Рекуррентная сеть читает слово за словом и всё несёт в одном векторе. [Трансформер](glossary:transformer) (Transformer; [Vaswani et al., 2017](https://arxiv.org/abs/1706.03762)) смотрит на все слова сразу, и каждое слово спрашивает у других то, что ему нужно. Вы напишете его части одну за другой: внимание, головы, позиции, нормировки, блоки — и сравните каждую с частью PyTorch до последних цифр. Потом докажете градиентами, что никто не подглядывает в будущее, соберёте из частей маленький GPT и отправите его на лестницу недели 07.

# %% tags=["parameters"]
profile = "small"

# %%
import itertools
import math
import time
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from practical_dl import check, data, plots, seed_everything
from practical_dl.weeks import week08

seed_everything(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
settings = {
    "small": {"width": 64, "layers": 2, "heads": 4, "length": 32, "batch": 16, "rate": 2e-3, "lstm": 128, "seconds": 8, "test": 20_000, "order": 5},
    "full": {"width": 384, "layers": 6, "heads": 6, "length": 256, "batch": 64, "rate": 1e-3, "lstm": 512, "seconds": 300, "test": 100_000, "order": 6},
}[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Fourteen short tasks, 4 points together; each can be solved without the others. Functions leave their arguments as they were (of a network also its mode and the `requires_grad` of its weights) and let gradients through to all that are not whole numbers or masks, but for `influence`, `leaks` and `generate`, which give plain values. They give the dtype that they were given, float32 or float64, with its digits, and bear numbers in the ten thousands, as inputs, scores, logits or positions.
#
# Shapes are written with $n$ texts, $t$ queries, $s$ keys, $d$ numbers each, $h$ heads. A mask is boolean, and `True` means **may look**, as in `F.scaled_dot_product_attention` (older modules of PyTorch mean the opposite; half of all bugs live here).

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Заданий четырнадцать, все короткие, вместе 4 балла; каждое можно решить без остальных. Функции не меняют своих аргументов (у сети — также её режима и `requires_grad` весов) и пропускают градиент ко всем аргументам, кроме целых чисел и масок; только `influence`, `leaks` и `generate` возвращают просто значения. Функции возвращают тот же dtype, что получили, float32 или float64, и считают с его точностью, а ещё выдерживают числа в десятки тысяч — входы, произведения, логиты, позиции.
#
# В формах $n$ — число текстов, $t$ — запросов, $s$ — ключей, $d$ — чисел в каждом, $h$ — голов. Маска булева, и `True` значит **смотреть можно**, как в `F.scaled_dot_product_attention` (в более старых модулях PyTorch наоборот; здесь живёт половина всех ошибок).

# %% [markdown]
# ## 1. A soft lookup
# A dictionary compares a query with its keys and returns the value of the one that is equal. [Attention](glossary:attention) compares, too, but softly: each key gets a weight, larger if it points the query's way, and the answer is the weighted mean of the values (Vaswani et al., §3.2.1):
#
# $$\operatorname{attention}(Q, K, V) = \operatorname{softmax}\!\Big(\frac{Q K^\top}{\sqrt{d}}\Big)\, V.$$
#
# The softmax runs over the keys. Where the mask is `False` the weight is 0, and the others of the row still sum to 1. **A row that may look at nothing gives zeros**, and gradients without NaN: such rows come up wherever texts are padded. Write it without torch's `scaled_dot_product_attention`.
#
# {{task:attention}}

# %% [markdown] lang="ru"
# ## 1. Мягкий поиск
# Словарь сравнивает запрос с ключами и отдаёт значение того ключа, который равен запросу. [Внимание](glossary:attention) (attention) тоже сравнивает, но мягко: каждый ключ получает вес, тем больший, чем ближе его направление к запросу, а ответ — взвешенное среднее значений (Vaswani et al., §3.2.1):
#
# $$\operatorname{attention}(Q, K, V) = \operatorname{softmax}\!\Big(\frac{Q K^\top}{\sqrt{d}}\Big)\, V.$$
#
# Softmax берётся по ключам. Где в маске `False`, вес равен 0, а остальные веса строки по-прежнему дают в сумме 1. **Строка, которой нельзя смотреть никуда, даёт нули**, а градиенты — без NaN: такие строки появляются всюду, где тексты дополняют. Обойдитесь без `scaled_dot_product_attention` из torch.
#
# {{task:attention}}


# %% solution="attention"
def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """The weighted means of the values. q: (…, t, d), k: (…, s, d), v: (…, s, e) -> (…, t, e).

    mask: bool, of a shape that broadcasts to (…, t, s); True where a query may look at a key.
    """
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        return scores.softmax(-1) @ v
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
    return (weights * mask) @ v  # in a row that sees nothing all weights were equal
    ### END SOLUTION


# %% test="attention" points=0.5 difficulty=2 minutes=15
q, k, v = torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([[2.0, 0, 0, 0], [0, 5, 0, 0], [4, 0, 0, 7]]), torch.tensor([[1.0], [10], [100]])
for mask, size, want in [(None, "all three keys", [1, 0, 2]), (torch.tensor([True, True, False]), "the first two keys", [1, 0])]:
    e = np.exp(np.array(want, dtype=float))
    call = f"attention of a query to {size}"
    check.close(check.answer(attention, q, k, v, mask, call=call), [[e @ [1, 10, 100][: len(e)] / e.sum()]], call, why="follow the formula")
call = "attention of a query that may look at nothing"
check.close(check.answer(attention, q, k, v, torch.zeros(3, dtype=torch.bool), call=call), [[0.0]], call, why="be zero")
### BEGIN HIDDEN TESTS
rng = check.rng("attention")
banned = ["scaled_dot_product", "multi_head"]


def drawn(*shape, scale=1.0, dtype=torch.float64):
    return torch.from_numpy(scale * rng.normal(size=shape)).to(dtype)


for n, t, s, d, e in [(2, 3, 4, 5, 6), (1, 1, 1, 1, 2), (3, 4, 2, 7, 1), (1, 2, 5, 3, 4), (2, 4, 4, 4, 4)]:
    digits = 1e-9 if d == 4 else 1e-6  # of a root that is no whole number, float32's digits will do
    for dtype in (torch.float64, torch.float32):
        qkv = drawn(n, t, d, dtype=dtype), drawn(n, s, d, dtype=dtype), drawn(n, s, e, dtype=dtype)
        call = f"attention(q {(n, t, d)}, k {(n, s, d)}, v {(n, s, e)})"
        week08.same_function(attention, week08.slow_attention, *qkv, call=call, why="divide by the root of d, take the softmax over the keys", rtol=digits, banned=banned)
        mask = torch.from_numpy(rng.random((n, t, s)) < 0.6)
        mask[..., 0] = True
        call = f"attention(q, k, v, mask {(n, t, s)})"
        week08.same_function(attention, week08.slow_attention, *qkv, call=call, why="give no weight to what is masked, and 1 in all to the rest", rtol=digits, banned=banned, mask=mask)
        mask[-1, -1] = False
        mask[0, 0, 0] = False
        call = f"attention(q, k, v, mask {(n, t, s)}), where rows may look at nothing"
        week08.same_function(attention, week08.slow_attention, *qkv, call=call, why="be zero for a row that sees nothing, with finite gradients", rtol=digits, banned=banned, mask=mask)
n, t, s, d = 2, 3, 4, 6
qkv = drawn(n, 5, t, d), drawn(n, 5, s, d), drawn(n, 5, s, d + 1)
for shape in [(s,), (t, s), (t, 1), (5, 1, s), (n, 1, t, s), (n, 5, t, s)]:
    mask = torch.from_numpy(rng.random(shape) < 0.7)
    mask[..., :1] = True
    call = f"attention(q {(n, 5, t, d)}, k, v, mask {shape})"
    want = F.scaled_dot_product_attention(*qkv, attn_mask=mask.expand(n, 5, t, s))
    found = check.answer(attention, *qkv, mask, call=call)
    check.close(found, want, call, why="spread the mask over what it does not name")
turned = [drawn(d, t).T, drawn(d, s).T, drawn(d, s).T]
call = "attention of tensors without leading dimensions, whose numbers do not lie in a row"
check.close(check.answer(attention, *turned, call=call), F.scaled_dot_product_attention(*[x[None] for x in turned])[0], call, why="be the same")
large = [drawn(t, d, scale=150.0), drawn(s, d, scale=150.0), drawn(s, d)]
call = "attention whose scores are in the ten thousands"
check.close(check.answer(attention, *large, call=call), F.scaled_dot_product_attention(*[x[None] for x in large])[0], call, why="bear large scores")
mask = torch.tensor([True, False, True, True])
call = "attention whose masked key has by far the largest score"
large[1][1] = 1000 * large[0][0]
want = F.scaled_dot_product_attention(*[x[None] for x in large], attn_mask=mask)[0]
check.close(check.answer(attention, *large, mask, call=call), want, call, why="give no weight to what is masked")
for dtype in (torch.float64, torch.float32):
    low = drawn(t, 4, dtype=dtype), drawn(s, 4, dtype=dtype), drawn(s, 3, dtype=dtype)
    low[0][:, 0], low[1][:, 0] = -300.0, 300.0
    low[1][1] = 0.0
    call = f"attention whose scores are far below zero, but for a masked key, {dtype}"
    want = F.scaled_dot_product_attention(*[x[None].double() for x in low], attn_mask=mask)[0]
    far = 1e-6 if dtype == torch.float64 else 0.05  # so large scores have few digits behind the point
    check.close(check.answer(attention, *low, mask, call=call), want, call, rtol=far, atol=far, why="give no weight to what is masked, however low the others are")
### END HIDDEN TESTS

# %% mutant="attention" why="not scaled"
# - scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
# + scores = q @ k.transpose(-2, -1)

# %% mutant="attention" why="scaled by d"
# - scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
# + scores = q @ k.transpose(-2, -1) / q.shape[-1]

# %% mutant="attention" why="scaled by the root of the number of keys"
# - scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
# + scores = q @ k.transpose(-2, -1) / math.sqrt(k.shape[-2])

# %% mutant="attention" why="scaled by the root of the width of the values"
# - scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
# + scores = q @ k.transpose(-2, -1) / math.sqrt(v.shape[-1])

# %% mutant="attention" why="masked scores become 0"
# - weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
# + weights = scores.masked_fill(~mask, 0).softmax(-1)

# %% mutant="attention" why="NaN for a row that sees nothing"
# - weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
# + weights = scores.masked_fill(~mask, -math.inf).softmax(-1)

# %% mutant="attention" why="NaN in the gradient of a row that sees nothing"
# - weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
# + e = (scores - scores.masked_fill(~mask, -math.inf).amax(-1, keepdim=True)).exp() * mask
# + weights = torch.where(mask.any(-1, keepdim=True), e / e.sum(-1, keepdim=True), 0)

# %% mutant="attention" why="the mean of all values for a row that sees nothing"
# - return (weights * mask) @ v  # in a row that sees nothing all weights were equal
# + return weights @ v

# %% mutant="attention" why="masked after the softmax, not divided again"
# - weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
# + weights = scores.softmax(-1)

# %% mutant="attention" why="a mask that is not strong enough"
# - weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
# + weights = (scores - 1e4 * ~mask).softmax(-1)

# %% mutant="attention" why="a hidden score that visible ones go below"
# - weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
# + weights = scores.masked_fill(~mask, -1e4).softmax(-1)

# %% mutant="attention" why="float32 inside"
# - return scores.softmax(-1) @ v
# + return scores.float().softmax(-1).to(v.dtype) @ v

# %% mutant="attention" why="True means hidden"
# - weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
# + mask = ~mask
# + weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)

# %% mutant="attention" why="the mask is ignored"
# - if mask is None:
# + if True:

# %% mutant="attention" why="softmax over the queries"
# - return scores.softmax(-1) @ v
# + return scores.softmax(-2) @ v

# %% mutant="attention" why="an exponential that overflows"
# - return scores.softmax(-1) @ v
# + return scores.exp() / scores.exp().sum(-1, keepdim=True) @ v

# %% mutant="attention" why="no gradient for the weights"
# - return scores.softmax(-1) @ v
# + return scores.softmax(-1).detach() @ v

# %% mutant="attention" why="always float32"
# - return scores.softmax(-1) @ v
# + return (scores.softmax(-1) @ v).float()

# %% mutant="attention" why="half the value"
# - return scores.softmax(-1) @ v
# + return scores.softmax(-1) @ v / 2

# %% mutant="attention" why="torch does it"
# - return scores.softmax(-1) @ v
# + return F.scaled_dot_product_attention(q, k, v)


# %% alternative="attention" why="minus infinity, and NaN replaced"
def attention(q, k, v, mask=None):
    scores = torch.matmul(q / q.shape[-1] ** 0.5, k.mT)
    if mask is not None:
        scores = scores.masked_fill(mask.logical_not(), -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ v


# %% alternative="attention" why="einsum; a softmax by hand"
def attention(q, k, v, mask=None):
    scores = torch.einsum("...td,...sd->...ts", q, k) * q.size(-1) ** -0.5
    mask = torch.ones((), dtype=torch.bool) if mask is None else mask
    top = scores.where(mask, -torch.inf).amax(-1, keepdim=True).detach().nan_to_num(neginf=0.0)
    e = torch.exp((scores - top).where(mask, -torch.inf))
    return torch.einsum("...ts,...se->...te", e / e.sum(-1, keepdim=True).clamp(min=1e-30), v)


# %% [markdown]
# **Why the root?** A score is a sum of $d$ products. If the entries are independent with variance 1, the score's variance is $d$; divided by $\sqrt d$ it is 1 again. Without it the softmax of a wide network looks at one key from the first step on, and its gradient, $w_i(1 - w_i)$, is nearly 0. (The weights themselves are read off by giving the identity matrix as values.)

# %% [markdown] lang="ru"
# **Зачем корень?** Скалярное произведение — сумма $d$ слагаемых. Если элементы независимы и их дисперсия 1, дисперсия суммы — $d$; после деления на $\sqrt d$ она снова 1. Без деления softmax широкой сети с первого же шага смотрит на один ключ, а его градиент, $w_i(1 - w_i)$, почти нулевой. (Сами веса можно прочесть, подав в качестве значений единичную матрицу.)

# %%
widths, keys = [1, 4, 16, 64, 256, 1024], 16
largest = {"divided by √d": [], "as it is": []}
for d in widths:
    torch.manual_seed(0)
    q, k = torch.randn(2, 200, keys, d)
    for name, factor in (("divided by √d", 1.0), ("as it is", math.sqrt(d))):
        weights = attention(factor * q, k, torch.eye(keys).expand(200, -1, -1))
        largest[name].append(float(weights.amax(-1).mean()))
    print(f"d = {d:4}: the largest of {keys} weights is {largest['divided by √d'][-1]:.2f} with the root, {largest['as it is'][-1]:.2f} without")
ax = plots.curves({name: (widths, values) for name, values in largest.items()}, "How much the favourite key gets, before any training", "d", "mean of the largest weight", log_x=True)
ax.set_ylim(0, 1.05)
plots.show(
    "The largest attention weight against the width d: divided by the root of d it stays near a quarter; "
    "without the root it climbs towards 1, so that only one key is looked at."
)

# %% [markdown]
# ## 2. Who may look where
# Two reasons to hide a key. Texts of a batch have different lengths, so what stands after the end is filler that nobody should see. And a model which writes must not see what it is to predict: position $t$ looks at $s \le t$ only, [masked attention](glossary:masked-attention). With `causal=False` only the filler is hidden. The rule is the same for all rows $t$, also for those that are filler themselves (what they compute is thrown away).
#
# {{task:visible}}

# %% [markdown] lang="ru"
# ## 2. Кому куда можно смотреть
# Прятать ключи есть две причины. Тексты в батче разной длины, и то, что стоит после конца, — заполнитель, который никому видеть не надо. А модель, которая пишет, не должна видеть то, что ей предстоит угадать: позиция $t$ смотрит только на $s \le t$. Это [внимание с маской](glossary:masked-attention) (masked attention). При `causal=False` спрятан только заполнитель. Правило одно для всех строк $t$, даже для тех, что сами заполнитель (их ответ всё равно выбросят).
#
# {{task:visible}}


# %% solution="visible"
def visible(lengths: torch.Tensor, size: int, causal: bool = True) -> torch.Tensor:
    """Whether position t of text i may look at position s: bool, (n, 1, size, size) at [i, 0, t, s].

    lengths: (n,), whole numbers from 0 to size. The 1 stands for all heads.
    """
    ### BEGIN SOLUTION
    places = torch.arange(size, device=lengths.device)
    there = (places < lengths[:, None])[:, None, None, :]
    if causal:
        return there & (places <= places[:, None])
    return there.repeat(1, 1, size, 1)
    ### END SOLUTION


# %% test="visible" points=0.25 difficulty=2 minutes=10
call = "visible(torch.tensor([3, 1]), 3)"
found = check.array(check.answer(visible, torch.tensor([3, 1]), 3, call=call), call)
check.equal(found.shape, (2, 1, 3, 3), f"the shape of {call}")
check.equal(found[0, 0].astype(int).tolist(), [[1, 0, 0], [1, 1, 0], [1, 1, 1]], f"{call} of text 0", why="look at yourself and back")
check.equal(found[1, 0].astype(int).tolist(), [[1, 0, 0], [1, 0, 0], [1, 0, 0]], f"{call} of text 1", why="look at no filler")
### BEGIN HIDDEN TESTS
rng = check.rng("visible")


def by_asking(lengths, size, causal):
    rows = [[[s < m and (s <= t or not causal) for s in range(size)] for t in range(size)] for m in lengths]
    return np.array(rows, dtype=bool).reshape(len(lengths), 1, size, size)


for size in (1, 2, 5, 9):
    lengths = [size, *rng.integers(0, size + 1, size=3).tolist(), 0]
    for options, causal, why in [
        ({"causal": False}, False, "hide filler, and nothing else"),
        ({"causal": True}, True, "hide filler and what comes later"),
        ({}, True, "hide what comes later where nothing is said"),
    ]:
        call = f"visible(lengths, {size}{''.join(f', {o}={v}' for o, v in options.items())})"
        found = check.answer(visible, torch.tensor(lengths), size, **options, call=call)
        check.equal(str(np.asarray(found).dtype), "bool", f"the dtype of {call}", why="be true or false")
        check.equal(found, by_asking(lengths, size, causal), call, why=why)
call = "visible of one text"
check.equal(check.answer(visible, torch.tensor([2]), 4, call=call), by_asking([2], 4, True), call, why="give one mask")
for lengths, causal in itertools.product(([3, 1], [1, 3], [2, 2]), (True, False)):
    call = f"visible({lengths}, 3, causal={causal}), after other lengths"
    found = check.answer(visible, torch.tensor(lengths), 3, causal=causal, call=call)
    check.equal(found, by_asking(lengths, 3, causal), call, why="be made for these lengths")
### END HIDDEN TESTS

# %% mutant="visible" why="sees the next one"
# - return there & (places <= places[:, None])
# + return there & (places <= places[:, None] + 1)

# %% mutant="visible" why="does not see itself"
# - return there & (places <= places[:, None])
# + return there & (places < places[:, None])

# %% mutant="visible" why="looks forward"
# - return there & (places <= places[:, None])
# + return there & (places >= places[:, None])

# %% mutant="visible" why="hides rows that are filler, not keys"
# - there = (places < lengths[:, None])[:, None, None, :]
# + there = (places < lengths[:, None])[:, None, :, None].repeat(1, 1, 1, size)

# %% mutant="visible" why="one filler is seen"
# - there = (places < lengths[:, None])[:, None, None, :]
# + there = (places <= lengths[:, None])[:, None, None, :]

# %% mutant="visible" why="True means hidden"
# - return there & (places <= places[:, None])
# + return ~(there & (places <= places[:, None]))

# %% mutant="visible" why="not of the promised shape"
# - return there.repeat(1, 1, size, 1)
# + return there

# %% mutant="visible" why="not causal by itself"
# - def visible(lengths: torch.Tensor, size: int, causal: bool = True) -> torch.Tensor:
# + def visible(lengths: torch.Tensor, size: int, causal: bool = False) -> torch.Tensor:

# %% mutant="visible" why="keeps the mask of the first call"
# - return there & (places <= places[:, None])
# + return visible.__dict__.setdefault((len(lengths), size), there & (places <= places[:, None]))

# %% mutant="visible" why="numbers"
# - return there & (places <= places[:, None])
# + return (there & (places <= places[:, None])).float()


# %% alternative="visible" why="a loop over the texts"
def visible(lengths, size, causal=True):
    mask = torch.zeros(len(lengths), 1, size, size, dtype=torch.bool)
    for i, length in enumerate(lengths.tolist()):
        mask[i, :, :, :length] = True
    return mask.tril() if causal else mask


# %%
lengths = torch.tensor([7, 4])
week08.heat(
    {
        "reads, all 7 tokens": visible(lengths, 7, causal=False)[0, 0],
        "reads, 4 of 7": visible(lengths, 7, causal=False)[1, 0],
        "writes, all 7": visible(lengths, 7)[0, 0],
        "writes, 4 of 7": visible(lengths, 7)[1, 0],
    },
    "looks at position s", "position t", unit="1: may look",
)
plots.show(
    "Four masks: a reader of 7 tokens sees everything, one of 4 tokens only the first four columns; a "
    "writer sees a lower triangle, and with 4 tokens the triangle is cut off after the fourth column."
)

# %% [markdown]
# ## 3. Several heads
# One softmax gives one mean, but a word wants several things at once: its verb, its noun, the word before. So the $d$ numbers are cut into $h$ **runs of $d/h$ neighbours**, and each run, a *head*, attends for itself. That costs no more than one head. For all of them to be one batch of matrix products the head becomes a dimension: $(n, t, d) \to (n, h, t, d/h)$, and back. In the notation of [einops](glossary:einops), a package that many models are written with, it is `rearrange(x, "n t (h c) -> n h t c", h=heads)`: what stands in brackets is cut, the left name varying slowest.
#
# {{task:split_heads}}

# %% [markdown] lang="ru"
# ## 3. Несколько голов
# Один softmax даёт одно среднее, а слову нужно сразу многое: его глагол, его существительное, слово перед ним. Поэтому $d$ чисел режут на $h$ **отрезков по $d/h$ соседних**, и каждый отрезок — *голова* (head) — смотрит сам по себе. Стоит это не дороже одной головы. Чтобы всё осталось одним батчем матричных произведений, голова становится измерением: $(n, t, d) \to (n, h, t, d/h)$ — и обратно. В записи [einops](glossary:einops), пакета, с которым написано много моделей, это `rearrange(x, "n t (h c) -> n h t c", h=heads)`: то, что в скобках, режется, и левое имя меняется медленнее всех.
#
# {{task:split_heads}}


# %% solution="split_heads"
def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Each head's run of numbers. x: (n, t, d) -> (n, heads, t, d / heads); heads divides d."""
    ### BEGIN SOLUTION
    n, t, d = x.shape
    return x.reshape(n, t, heads, d // heads).transpose(1, 2)
    ### END SOLUTION


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    """The way back. x: (n, heads, t, c) -> (n, t, heads * c)."""
    ### BEGIN SOLUTION
    n, h, t, c = x.shape
    return x.transpose(1, 2).reshape(n, t, h * c)
    ### END SOLUTION


# %% test="split_heads" points=0.25 difficulty=2 minutes=10
x = torch.arange(12.0).reshape(1, 2, 6)
call = "split_heads(torch.arange(12.0).reshape(1, 2, 6), 3)"
found = check.answer(split_heads, x, 3, call=call)
check.close(found, [[[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [10, 11]]]], call, why="give each head a run of neighbours, for every token")
call = "merge_heads of it"
check.close(check.answer(merge_heads, torch.as_tensor(found), call=call), x, call, why="be the way back")
### BEGIN HIDDEN TESTS
rng = check.rng("split_heads")
for n, t, h, c in [(2, 3, 4, 5), (1, 5, 2, 3), (3, 1, 1, 4), (2, 4, 5, 1), (1, 7, 3, 2), (2, 3, 3, 2), (2, 4, 3, 3), (2, 2, 2, 2)]:
    x = torch.from_numpy(rng.normal(size=(n, t, h * c)))
    cut = np.array([[[[float(x[i, j, a * c + b]) for b in range(c)] for j in range(t)] for a in range(h)] for i in range(n)])
    call = f"split_heads(x {(n, t, h * c)}, {h})"
    check.close(check.answer(split_heads, x, h, call=call), cut, call, why="give each head a run of neighbours, for every token")
    call = f"merge_heads(x {(n, h, t, c)})"
    check.close(check.answer(merge_heads, torch.from_numpy(cut), call=call), x, call, why="put the runs of a token side by side")
    for dtype in (torch.float32, torch.float64):
        for name, made in (("split_heads", check.answer(split_heads, x.to(dtype), h, call="split_heads")), ("merge_heads", check.answer(merge_heads, torch.from_numpy(cut).to(dtype), call="merge_heads"))):
            check.equal(str(np.asarray(made).dtype), str(dtype).split(".")[1], f"the dtype of {name} of {dtype}", why="be what was given")
    upstream = torch.from_numpy(rng.normal(size=cut.shape))
    given = check.gradient_of(split_heads, x, call="split_heads", upstream=upstream, heads=h)[0]
    back = np.concatenate([upstream.numpy()[:, a] for a in range(h)], axis=-1)
    check.close(given, back, "the gradient through split_heads", why="go back to where the number came from")
    given = check.gradient_of(merge_heads, torch.from_numpy(cut), call="merge_heads", upstream=torch.from_numpy(back))[0]
    check.close(given, upstream, "the gradient through merge_heads", why="go back to where the number came from")
    turned = x.transpose(0, 1).contiguous().transpose(0, 1)
    call = "split_heads of a tensor whose numbers do not lie in a row"
    check.close(check.answer(split_heads, turned, h, call=call), cut, call, why="be the same")
    call = "merge_heads of a tensor whose numbers do not lie in a row"
    turned = torch.from_numpy(cut).transpose(1, 2).contiguous().transpose(1, 2)
    check.close(check.answer(merge_heads, turned, call=call), x, call, why="be the same")
check.answer(split_heads, torch.zeros(1, 2, 6), 2, call="split_heads")
x = torch.from_numpy(rng.normal(size=(1, 3, 4, 5)))
call = "merge_heads, called after a split into another number of heads"
check.close(check.answer(merge_heads, x, call=call), torch.cat([x[:, i] for i in range(3)], -1), call, why="take the number of heads from its argument")
### END HIDDEN TESTS

# %% mutant="split_heads" why="heads mixed with tokens"
# - return x.reshape(n, t, heads, d // heads).transpose(1, 2)
# + return x.reshape(n, heads, t, d // heads)

# %% mutant="split_heads" why="each head takes every h-th number"
# - return x.reshape(n, t, heads, d // heads).transpose(1, 2)
# + return x.reshape(n, t, d // heads, heads).permute(0, 3, 1, 2)

# %% mutant="split_heads" why="the head's dimension stays behind the token's"
# - return x.reshape(n, t, heads, d // heads).transpose(1, 2)
# + return x.reshape(n, t, heads, d // heads)

# %% mutant="split_heads" why="merges without turning back"
# - return x.transpose(1, 2).reshape(n, t, h * c)
# + return x.reshape(n, t, h * c)

# %% mutant="split_heads" why="merges with the heads inside"
# - return x.transpose(1, 2).reshape(n, t, h * c)
# + return x.permute(0, 2, 3, 1).reshape(n, t, h * c)

# %% mutant="split_heads" why="a view, which not every tensor has"
# - return x.transpose(1, 2).reshape(n, t, h * c)
# + return x.transpose(1, 2).view(n, t, h * c)

# %% mutant="split_heads" why="heads mixed with tokens where there are as many"
# - return x.reshape(n, t, heads, d // heads).transpose(1, 2)
# + return x.reshape(n, t, heads, d // heads).transpose(1, 2) if t != heads else x.reshape(n, heads, t, d // heads)

# %% mutant="split_heads" why="merges by the last split"
# - return x.reshape(n, t, heads, d // heads).transpose(1, 2)
# + split_heads.last = heads
# + return x.reshape(n, t, heads, d // heads).transpose(1, 2)
# - return x.transpose(1, 2).reshape(n, t, h * c)
# + return x.transpose(1, 2).reshape(n, t, split_heads.last * c)

# %% mutant="split_heads" why="heads in the reverse order"
# - return x.reshape(n, t, heads, d // heads).transpose(1, 2)
# + return x.reshape(n, t, heads, d // heads).transpose(1, 2).flip(1)


# %% alternative="split_heads" why="slices"
def split_heads(x, heads):
    return torch.stack(x.chunk(heads, dim=-1), dim=1)


def merge_heads(x):
    return torch.cat([x[:, i] for i in range(x.shape[1])], dim=-1)


# %% [markdown]
# Queries, keys and values are three linear maps of the tokens, and a fourth one mixes what the heads bring ([multi-head attention](glossary:multi-head-attention); Vaswani et al., §3.2.2). Queries come from $x$, keys and values from a *memory* $m$: the same text ($m = x$, self-attention) or another (a translator looks at the sentence it translates).
#
# $$\operatorname{multi\_head}(x, m) = \operatorname{merge}\big(\operatorname{attention}(Q, K, V)\big)\, W_o^\top + b_o,$$
# $$Q = \operatorname{split}(x W_q^\top + b_q),\quad K = \operatorname{split}(m W_k^\top + b_k),\quad V = \operatorname{split}(m W_v^\top + b_v).$$
#
# The weights lie as in `nn.MultiheadAttention`: `w_in` $(3d, d)$ holds the rows of $W_q$, then $W_k$, then $W_v$; `b_in` $(3d,)$ likewise. Here you may use your functions from above, or torch's `scaled_dot_product_attention`; only torch's multi-head functions are out.
#
# {{task:multi_head}}

# %% [markdown] lang="ru"
# Запросы, ключи и значения — три линейных отображения токенов, а четвёртое смешивает то, что принесли головы ([многоголовое внимание](glossary:multi-head-attention), multi-head attention; Vaswani et al., §3.2.2). Запросы берутся из $x$, ключи и значения — из *памяти* $m$: из того же текста ($m = x$, самовнимание) или из другого (переводчик смотрит на предложение, которое переводит).
#
# $$\operatorname{multi\_head}(x, m) = \operatorname{merge}\big(\operatorname{attention}(Q, K, V)\big)\, W_o^\top + b_o,$$
# $$Q = \operatorname{split}(x W_q^\top + b_q),\quad K = \operatorname{split}(m W_k^\top + b_k),\quad V = \operatorname{split}(m W_v^\top + b_v).$$
#
# Веса лежат, как в `nn.MultiheadAttention`: в `w_in` $(3d, d)$ сначала строки $W_q$, потом $W_k$, потом $W_v$; `b_in` $(3d,)$ — так же. Здесь можно пользоваться своими функциями или `scaled_dot_product_attention` из torch; запрещены только многоголовые функции torch.
#
# {{task:multi_head}}


# %% solution="multi_head"
def multi_head(
    x: torch.Tensor,
    memory: torch.Tensor,
    w_in: torch.Tensor,
    b_in: torch.Tensor,
    w_out: torch.Tensor,
    b_out: torch.Tensor,
    heads: int,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """What each token of x fetches from memory. x: (n, t, d), memory: (n, s, d) -> (n, t, d).

    w_in: (3 d, d), b_in: (3 d,), w_out: (d, d), b_out: (d,). mask: bool, of a shape that
    broadcasts to (n, heads, t, s); True where looking is allowed. A row that sees nothing: b_out.
    """
    ### BEGIN SOLUTION
    w_q, w_k, w_v = w_in.chunk(3)
    b_q, b_k, b_v = b_in.chunk(3)
    q = split_heads(x @ w_q.T + b_q, heads)
    k = split_heads(memory @ w_k.T + b_k, heads)
    v = split_heads(memory @ w_v.T + b_v, heads)
    return merge_heads(attention(q, k, v, mask)) @ w_out.T + b_out
    ### END SOLUTION


# %% test="multi_head" points=0.5 difficulty=3 minutes=20
torch.manual_seed(1)
theirs = nn.MultiheadAttention(6, 2, batch_first=True)
given = [p.detach() for p in (theirs.in_proj_weight, theirs.in_proj_bias, theirs.out_proj.weight, theirs.out_proj.bias)]
x, memory = torch.randn(3, 4, 6), torch.randn(3, 5, 6)
for name, source in (("x", x), ("memory", memory)):
    call = f"multi_head(x, {name}, w_in, b_in, w_out, b_out, 2)"
    found = check.answer(multi_head, x, source, *given, 2, call=call)
    check.close(found, theirs(x, source, source)[0], call, rtol=1e-4, atol=1e-5, why="be nn.MultiheadAttention's, with its weights")
### BEGIN HIDDEN TESTS
rng = check.rng("multi_head")


def by_torch(x, memory, w_in, b_in, w_out, b_out, heads, mask=None):
    n, t, d = x.shape
    if mask is not None:  # there True means hidden
        mask = ~mask.expand(n, heads, t, memory.shape[1]).reshape(n * heads, t, -1)
    x, memory = x.transpose(0, 1), memory.transpose(0, 1)
    made, _ = F.multi_head_attention_forward(
        x, memory, memory, d, heads, w_in, b_in, None, None, False, 0.0, w_out, b_out, attn_mask=mask, need_weights=False
    )
    return made.transpose(0, 1)


def weights_of(n, t, s, d, dtype=torch.float64):
    shapes = [(n, t, d), (n, s, d), (3 * d, d), (3 * d,), (d, d), (d,)]
    return [torch.from_numpy(0.8 * rng.normal(size=shape)).to(dtype) for shape in shapes]


banned = ["multi_head"]
for n, t, s, d, h in [(2, 3, 4, 6, 1), (2, 3, 5, 6, 3), (1, 1, 1, 2, 2), (3, 5, 2, 8, 2), (2, 4, 4, 4, 2)]:
    digits = 1e-9 if d // h == 4 else 1e-6  # of a root that is no whole number, float32's digits will do
    for dtype in (torch.float64, torch.float32):
        drawn_ones = weights_of(n, t, s, d, dtype)
        call = f"multi_head(x {(n, t, d)}, memory {(n, s, d)}, …, heads={h})"
        why = "be torch's, with the same weights" if h > 1 else "be torch's for one head"
        week08.same_function(multi_head, by_torch, *drawn_ones, call=call, why=why, rtol=digits, banned=banned, heads=h)
        for shape in [(t, s), (n, 1, t, s), (n, h, t, s), (h, t, s)]:
            seen = torch.from_numpy(rng.random(shape) < 0.6)
            seen[..., 0] = True
            call = f"multi_head(x {(n, t, d)}, memory {(n, s, d)}, …, heads={h}, mask {shape})"
            week08.same_function(multi_head, by_torch, *drawn_ones, call=call, why="hide what is masked", rtol=digits, banned=banned, heads=h, mask=seen)
drawn_ones = weights_of(2, 3, 4, 6)
seen = torch.ones(2, 1, 3, 4, dtype=torch.bool)
seen[1] = False
call = "multi_head, where a text may look at nothing"
found = check.answer(multi_head, *drawn_ones, 2, seen, call=call)
check.close(found[1], drawn_ones[5].expand(3, 6), call, why="be b_out for a row that sees nothing")
x, memory, w_in, b_in, w_out, b_out = weights_of(1, 2, 3, 4)
w_in[:8], b_in[:8] = torch.eye(4, dtype=torch.float64).repeat(2, 1), 0.0
x[..., 0], memory[..., 0], memory[0, 1] = -300.0, 300.0, 0.0
seen = torch.tensor([[True, False, True]] * 2)
call = "multi_head whose scores are far below zero, but for a masked key"
want = by_torch(x, memory, w_in, b_in, w_out, b_out, 1, seen)
check.close(check.answer(multi_head, x, memory, w_in, b_in, w_out, b_out, 1, seen, call=call), want, call, why="give no weight to what is masked, however low the others are")
n, t, d = 2, 5, 6
x, _, *rest = weights_of(n, t, t, d)
seen = (torch.arange(t) <= torch.arange(t)[:, None]) & (torch.arange(t) < torch.tensor([5, 3])[:, None])[:, None, None, :]
for row in range(t):
    upstream = torch.zeros(n, t, d, dtype=torch.float64)
    upstream[:, row] = torch.from_numpy(rng.normal(size=(n, d)))
    call = f"multi_head with a causal mask and padding, position {row}"
    through = check.gradient_of(lambda x: multi_head(x, x, *rest, 2, seen), x, call=call, upstream=upstream)[0]
    check.that(not through[:, row + 1 :].any(), f"depend on nothing that comes later, at position {row}")
    check.that(not through[1, max(3, row + 1) :].any() and not (row < 3 and through[1, 3:].any()), "depend on no filler")
    check.that(through[0, : row + 1].any(axis=1).all(), f"depend on all that came before, at position {row}")
### END HIDDEN TESTS

# %% mutant="multi_head" why="heads mixed with tokens in reshape"
# - q = split_heads(x @ w_q.T + b_q, heads)
# + q = (x @ w_q.T + b_q).reshape(len(x), heads, x.shape[1], -1)

# %% mutant="multi_head" why="merged without turning back"
# - return merge_heads(attention(q, k, v, mask)) @ w_out.T + b_out
# + return attention(q, k, v, mask).reshape(x.shape) @ w_out.T + b_out

# %% mutant="multi_head" why="keys of x"
# - k = split_heads(memory @ w_k.T + b_k, heads)
# + k = split_heads(x @ w_k.T + b_k, heads)

# %% mutant="multi_head" why="keys and values exchanged"
# - w_q, w_k, w_v = w_in.chunk(3)
# + w_q, w_v, w_k = w_in.chunk(3)

# %% mutant="multi_head" why="weights not turned"
# - return merge_heads(attention(q, k, v, mask)) @ w_out.T + b_out
# + return merge_heads(attention(q, k, v, mask)) @ w_out + b_out

# %% mutant="multi_head" why="no output matrix"
# - return merge_heads(attention(q, k, v, mask)) @ w_out.T + b_out
# + return merge_heads(attention(q, k, v, mask))

# %% mutant="multi_head" why="no output bias"
# - return merge_heads(attention(q, k, v, mask)) @ w_out.T + b_out
# + return merge_heads(attention(q, k, v, mask)) @ w_out.T

# %% mutant="multi_head" why="no bias of the keys and queries"
# - q = split_heads(x @ w_q.T + b_q, heads)
# + q = split_heads(x @ w_q.T, heads)

# %% mutant="multi_head" why="one head"
# - return merge_heads(attention(q, k, v, mask)) @ w_out.T + b_out
# + q, k, v = (merge_heads(part) for part in (q, k, v))
# + return attention(q, k, v, None if mask is None else mask.reshape(-1, *mask.shape[-2:])[:1]) @ w_out.T + b_out

# %% mutant="multi_head" why="the mask is forgotten"
# - return merge_heads(attention(q, k, v, mask)) @ w_out.T + b_out
# + return merge_heads(attention(q, k, v)) @ w_out.T + b_out

# %% mutant="multi_head" why="a mask of three dimensions is taken for one by text"
# - return merge_heads(attention(q, k, v, mask)) @ w_out.T + b_out
# + return merge_heads(attention(q, k, v, mask if mask is None or mask.dim() != 3 else mask[:, None])) @ w_out.T + b_out

# %% mutant="multi_head" why="a mask of three dimensions is the same for all heads"
# - return merge_heads(attention(q, k, v, mask)) @ w_out.T + b_out
# + return merge_heads(attention(q, k, v, mask if mask is None or mask.dim() != 3 else mask.any(0))) @ w_out.T + b_out

# %% mutant="multi_head" why="float32 inside"
# - return merge_heads(attention(q, k, v, mask)) @ w_out.T + b_out
# + q, k, v = q.float(), k.float(), v.float()
# + return merge_heads(attention(q, k, v, mask)).to(x.dtype) @ w_out.T + b_out

# %% mutant="multi_head" why="a hidden score that visible ones go below"
# - return merge_heads(attention(q, k, v, mask)) @ w_out.T + b_out
# + mask = torch.ones((), dtype=torch.bool) if mask is None else mask
# + scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~mask, -1e4)
# + return merge_heads(scores.softmax(-1) * mask @ v) @ w_out.T + b_out

# %% mutant="multi_head" why="scaled by the whole width"
# - return merge_heads(attention(q, k, v, mask)) @ w_out.T + b_out
# + return merge_heads(attention(q / math.sqrt(heads), k, v, mask)) @ w_out.T + b_out

# %% mutant="multi_head" why="torch does it"
# - return merge_heads(attention(q, k, v, mask)) @ w_out.T + b_out
# + return F.multi_head_attention_forward(x.transpose(0, 1), memory.transpose(0, 1), memory.transpose(0, 1), x.shape[2], heads, w_in, b_in, None, None, False, 0.0, w_out, b_out, need_weights=False)[0].transpose(0, 1)


# %% alternative="multi_head" why="torch's attention, head by head"
def multi_head(x, memory, w_in, b_in, w_out, b_out, heads, mask=None):
    n, t, d = x.shape
    c, total = d // heads, b_out
    if mask is not None:
        mask = mask.expand(n, heads, t, memory.shape[1])
    for h in range(heads):
        a, b, e = (slice(i * d + h * c, i * d + h * c + c) for i in range(3))
        q, k, v = (F.linear(z, w_in[part], b_in[part]) for z, part in ((x, a), (memory, b), (memory, e)))
        made = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, h])
        total = total + made @ w_out[:, h * c : h * c + c].T
    return total


# %% alternative="multi_head" why="one einsum each"
def multi_head(x, memory, w_in, b_in, w_out, b_out, heads, mask=None):
    d = x.shape[-1]
    parts = w_in.reshape(3, heads, d // heads, d), b_in.reshape(3, heads, 1, d // heads)
    q, k, v = (torch.einsum("ntd,hcd->nhtc", z, w) + b for z, w, b in zip((x, memory, memory), *parts, strict=True))
    scores = torch.einsum("nhtc,nhsc->nhts", q, k) / (d // heads) ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e300 if x.dtype == torch.float64 else -1e38)
    weights = scores.softmax(-1) if mask is None else scores.softmax(-1) * mask
    return torch.einsum("nhts,nhsc,ohc->nto", weights, v, w_out.reshape(d, heads, -1)) + b_out


# %% [markdown]
# **What attention can't see.** Shuffle the tokens of a sentence. What does the answer of an attention layer do?

# %% [markdown] lang="ru"
# **Чего внимание не видит.** Перемешаем токены предложения. Что станет с ответом слоя внимания?

# %%
torch.manual_seed(0)
x, order = torch.randn(1, 6, 8), torch.tensor([3, 0, 5, 1, 4, 2])
given = [torch.randn(24, 8), torch.randn(24), torch.randn(8, 8), torch.randn(8)]
straight, shuffled = (multi_head(z, z, *given, 2) for z in (x, x[:, order]))
print(f"answers of the shuffled sentence against the shuffled answers: largest difference {float((shuffled - straight[:, order]).abs().max()):.1e}")

# %% [markdown]
# Nothing but shuffle along: to attention a sentence is a **bag**. *Dog bites man* and *man bites dog* are the same. So the place of a word must be told. (And one of the four biases above can be left out without any change. Which, and why?)

# %% [markdown] lang="ru"
# Ничего, кроме такой же перестановки: для внимания предложение — **мешок**. «Кот видит пса» и «пса видит кот» для него одно и то же. Значит, место слова надо сообщить отдельно. (И ещё: одно из четырёх смещений выше можно выбросить, и ничего не изменится. Какое и почему?)

# %% [markdown]
# ## 4. Where a word stands
# **Waves.** A [positional encoding](glossary:positional-encoding) is a vector that is added to the word's. Vaswani et al. (§3.5) take waves of different lengths, as the hands of a clock with many hands: a fast one tells neighbours apart, a slow one far places. For position $p = 0, 1, \dots$ and $i = 0, 1, \dots, d/2 - 1$:
#
# $$P_{p,\,2i} = \sin\big(p \cdot 10000^{-2i/d}\big), \qquad P_{p,\,2i+1} = \cos\big(p \cdot 10000^{-2i/d}\big).$$
#
# {{task:sinusoids}}

# %% [markdown] lang="ru"
# ## 4. Где стоит слово
# **Волны.** [Позиционное кодирование](glossary:positional-encoding) (positional encoding) — вектор, который прибавляют к вектору слова. Vaswani et al. (§3.5) берут волны разной длины, как часы со многими стрелками: быстрая различает соседей, медленная — дальние места. Для позиции $p = 0, 1, \dots$ и $i = 0, 1, \dots, d/2 - 1$:
#
# $$P_{p,\,2i} = \sin\big(p \cdot 10000^{-2i/d}\big), \qquad P_{p,\,2i+1} = \cos\big(p \cdot 10000^{-2i/d}\big).$$
#
# {{task:sinusoids}}


# %% solution="sinusoids"
def sinusoids(length: int, width: int) -> torch.Tensor:
    """The waves of positions 0 to length - 1: float32, (length, width). width is even."""
    ### BEGIN SOLUTION
    places = torch.arange(length, dtype=torch.float64)[:, None]
    angles = places * 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()
    ### END SOLUTION


# %% test="sinusoids" points=0.25 difficulty=1 minutes=8
call = "sinusoids(3, 4)"
want = [[0, 1, 0, 1], [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)], [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)]]
check.close(check.answer(sinusoids, 3, 4, call=call), want, call, rtol=1e-4, atol=1e-6, why="follow the formula")
### BEGIN HIDDEN TESTS
for length, width in [(1, 2), (5, 2), (7, 6), (40, 10), (3, 16)]:
    want = np.zeros((length, width))
    for p in range(length):
        for i in range(width // 2):
            want[p, 2 * i : 2 * i + 2] = math.sin(p / 10000 ** (2 * i / width)), math.cos(p / 10000 ** (2 * i / width))
    call = f"sinusoids({length}, {width})"
    found = check.answer(sinusoids, length, width, call=call)
    check.close(found, want, call, rtol=1e-4, atol=1e-5, why="follow the formula")
    check.equal(str(np.asarray(found).dtype), "float32", f"the dtype of {call}", why="be float32")
call = "sinusoids(20_003, 4)"
angles = np.arange(20_003)[:, None] * [1, 0.01]
want = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(-1, 4)
found = check.answer(sinusoids, 20_003, 4, call=call)
check.close(found, want, call, atol=0.02, why="tell far places apart, too")  # angles of float32 will do
### END HIDDEN TESTS

# %% mutant="sinusoids" why="starts at 1"
# - places = torch.arange(length, dtype=torch.float64)[:, None]
# + places = torch.arange(1, length + 1, dtype=torch.float64)[:, None]

# %% mutant="sinusoids" why="first all sines, then all cosines"
# - return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()
# + return torch.cat([angles.sin(), angles.cos()], dim=-1).float()

# %% mutant="sinusoids" why="cosine first"
# - return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()
# + return torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(1).float()

# %% mutant="sinusoids" why="half the exponent"
# - angles = places * 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
# + angles = places * 10_000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / width)

# %% mutant="sinusoids" why="another exponent for the cosine"
# - angles = places * 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
# - return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()
# + angles = places * 10_000.0 ** (-torch.arange(width, dtype=torch.float64) / width)
# + angles[:, ::2], angles[:, 1::2] = angles[:, ::2].sin(), angles[:, 1::2].cos()
# + return angles.float()

# %% mutant="sinusoids" why="another base"
# - angles = places * 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
# + angles = places * 1_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)

# %% mutant="sinusoids" why="a table of 5000 places"
# - places = torch.arange(length, dtype=torch.float64)[:, None]
# + places = torch.arange(length, dtype=torch.float64).clamp(max=4999)[:, None]

# %% mutant="sinusoids" why="places in half precision"
# - places = torch.arange(length, dtype=torch.float64)[:, None]
# + places = torch.arange(length).half().double()[:, None]

# %% mutant="sinusoids" why="float64"
# - return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()
# + return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


# %% alternative="sinusoids" why="NumPy, two slices"
def sinusoids(length, width):
    table = np.zeros((length, width), dtype=np.float32)
    angle = np.outer(np.arange(length), np.power(10000.0, -np.arange(width // 2) * 2 / width))
    table[:, 0::2], table[:, 1::2] = np.sin(angle), np.cos(angle)
    return torch.from_numpy(table)


# %%
waves = sinusoids(60, 32)
week08.heat({"the waves": waves, "products of positions": waves @ waves.T / 16}, "number / other position", "position p", symmetric=True)
plots.show(
    "Left: sixty positions by 32 numbers, fast waves in the first columns, nearly constant ones in the last. "
    "Right: the products of all pairs of positions, bright along the diagonal and the same along each "
    "line parallel to it: they depend on the distance."
)

# %% [markdown]
# **Rotation.** What a head needs is mostly *how far*, not *where*. Rotary positions ([Su et al., 2021](https://arxiv.org/abs/2104.09864), §3.2) turn queries and keys before they are multiplied, by an angle that grows with the position. Each pair of **neighbouring** numbers $(x_{2i}, x_{2i+1})$ at position $p$ is a point of the plane, turned by $\theta = p \cdot b^{-2i/d}$:
#
# $$\begin{pmatrix} x'_{2i} \\ x'_{2i+1} \end{pmatrix} = \begin{pmatrix} \cos\theta & -\sin\theta \\ \sin\theta & \cos\theta \end{pmatrix} \begin{pmatrix} x_{2i} \\ x_{2i+1} \end{pmatrix}.$$
#
# Two points turned by $\theta_p$ and $\theta_q$ have a product that knows $p - q$ alone. A model which writes token by token keeps the old keys in a cache and turns the new one only: so `start` says at which position the first row stands.
#
# {{task:rotate}}

# %% [markdown] lang="ru"
# **Поворот.** Голове чаще нужно знать *как далеко*, а не *где*. Вращательные позиции (rotary; [Su et al., 2021](https://arxiv.org/abs/2104.09864), §3.2) поворачивают запросы и ключи перед умножением на угол, растущий с позицией. Каждая пара **соседних** чисел $(x_{2i}, x_{2i+1})$ на позиции $p$ — точка плоскости, которую поворачивают на $\theta = p \cdot b^{-2i/d}$:
#
# $$\begin{pmatrix} x'_{2i} \\ x'_{2i+1} \end{pmatrix} = \begin{pmatrix} \cos\theta & -\sin\theta \\ \sin\theta & \cos\theta \end{pmatrix} \begin{pmatrix} x_{2i} \\ x_{2i+1} \end{pmatrix}.$$
#
# Произведение двух точек, повёрнутых на $\theta_p$ и $\theta_q$, знает только $p - q$. Модель, которая пишет токен за токеном, хранит старые ключи в кэше и поворачивает лишь новый: поэтому `start` говорит, на какой позиции стоит первая строка.
#
# {{task:rotate}}


# %% solution="rotate"
def rotate(x: torch.Tensor, start: int = 0, base: float = 10_000.0) -> torch.Tensor:
    """Rotary positions. x: (…, t, d), d even; row j stands at position start + j -> (…, t, d)."""
    ### BEGIN SOLUTION
    t, d = x.shape[-2:]
    places = torch.arange(start, start + t, dtype=torch.float64, device=x.device)
    powers = torch.arange(0, d, 2, dtype=torch.float64, device=x.device) / d
    angles = places[:, None] * base**-powers
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
    ### END SOLUTION


# %% test="rotate" points=0.25 difficulty=2 minutes=12
x = torch.tensor([[1.0, 0, 0, 2], [1, 0, 0, 2]])
call = "rotate of two equal rows of four numbers"
want = [[1, 0, 0, 2], [math.cos(1), math.sin(1), -2 * math.sin(0.01), 2 * math.cos(0.01)]]
check.close(check.answer(rotate, x, call=call), want, call, rtol=1e-4, atol=1e-6, why="turn each pair by its angle")
call = "rotate(x[1:], start=1)"
check.close(check.answer(rotate, x[1:], start=1, call=call), want[1:], call, rtol=1e-4, atol=1e-6, why="begin to count at start")
call = "rotate(x[1:].double(), start=1)"
check.close(check.answer(rotate, x[1:].double(), start=1, call=call), want[1:], call, rtol=1e-9, atol=1e-9, why="have the digits of float64, so the angles need them, too")
### BEGIN HIDDEN TESTS
rng = check.rng("rotate")


def by_complex(x, start=0, base=10_000.0):
    """The same as a product of complex numbers."""
    t, d = x.shape[-2:]
    rows = []
    for j in range(t):
        angle = torch.tensor([(start + j) * base ** (-2 * i / d) for i in range(d // 2)], dtype=torch.float64)
        pairs = torch.complex(x[..., j, 0::2].double(), x[..., j, 1::2].double()) * torch.polar(torch.ones_like(angle), angle)
        rows.append(torch.view_as_real(pairs).flatten(-2))
    return torch.stack(rows, dim=-2).to(x.dtype)


for shape in [(1, 2), (3, 2), (4, 6), (2, 3, 8), (2, 3, 5, 4), (2, 3, 3, 4), (4, 4)]:
    for dtype in (torch.float64, torch.float32):
        x = torch.from_numpy(rng.normal(size=shape)).to(dtype)
        for options in ({}, {"start": 5}, {"base": 50.0}, {"start": 2, "base": 2.5}):
            call = f"rotate(x {shape}{''.join(f', {o}={v}' for o, v in options.items())})"
            why = {(): "turn each pair by its angle", ("start",): "begin to count at start", ("base",): "take the base"}.get(tuple(options), "follow the formula")
            week08.same_function(rotate, by_complex, x, call=call, why=why, rtol=1e-9, **options)
q, k = torch.from_numpy(rng.normal(size=(2, 1, 6)))
far = [float(check.answer(rotate, q, start=p + 4, call="rotate(q)")[0] @ check.answer(rotate, k, start=p, call="rotate(k)")[0]) for p in (0, 3, 11)]
check.close(far, [far[0]] * 3, "rotate(q, start=p + 4) times rotate(k, start=p)", atol=1e-4, why="depend on the distance alone")
for start, dtype, far in [(20_000, torch.float32, 0.05), (20_000, torch.float64, 1e-8), (2047, torch.float64, 1e-8), (4095, torch.float64, 1e-8)]:
    x = torch.ones(3, 6, dtype=dtype)
    call = f"rotate(torch.ones(3, 6, dtype={dtype}), start={start})"
    check.close(check.answer(rotate, x, start=start, call=call), by_complex(x, start), call, atol=far, why="turn far places by their own angles")
turned = torch.from_numpy(rng.normal(size=(6, 5))).T
call = "rotate of a tensor whose numbers do not lie in a row"
check.close(check.answer(rotate, turned, call=call), by_complex(turned), call, atol=1e-5, why="be the same")
first = check.answer(rotate, torch.ones(2, 4), call="rotate")
check.answer(rotate, torch.ones(7, 8), start=3, call="rotate")
check.close(check.answer(rotate, torch.ones(2, 4), call="rotate"), first, "rotate, called again after another size", why="be the same")
### END HIDDEN TESTS

# %% mutant="rotate" why="pairs of the two halves"
# - even, odd = x[..., 0::2], x[..., 1::2]
# - return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
# + even, odd = x[..., : d // 2], x[..., d // 2 :]
# + return torch.cat([even * cos - odd * sin, even * sin + odd * cos], dim=-1)

# %% mutant="rotate" why="right pairs, put back as halves"
# - return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
# + return torch.cat([even * cos - odd * sin, even * sin + odd * cos], dim=-1)

# %% mutant="rotate" why="turns the other way"
# - return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
# + return torch.stack([even * cos + odd * sin, odd * cos - even * sin], dim=-1).flatten(-2)

# %% mutant="rotate" why="starts at 1"
# - places = torch.arange(start, start + t, dtype=torch.float64, device=x.device)
# + places = torch.arange(start + 1, start + t + 1, dtype=torch.float64, device=x.device)

# %% mutant="rotate" why="forgets where it starts"
# - places = torch.arange(start, start + t, dtype=torch.float64, device=x.device)
# + places = torch.arange(t, dtype=torch.float64, device=x.device)

# %% mutant="rotate" why="half the exponent"
# - powers = torch.arange(0, d, 2, dtype=torch.float64, device=x.device) / d
# + powers = torch.arange(0, d // 2, dtype=torch.float64, device=x.device) / d

# %% mutant="rotate" why="always base 10000"
# - angles = places[:, None] * base**-powers
# + angles = places[:, None] * 10_000.0**-powers

# %% mutant="rotate" why="another default"
# - def rotate(x: torch.Tensor, start: int = 0, base: float = 10_000.0) -> torch.Tensor:
# + def rotate(x: torch.Tensor, start: int = 0, base: float = 1_000.0) -> torch.Tensor:

# %% mutant="rotate" why="turns along the wrong dimension: the heads"
# - t, d = x.shape[-2:]
# - places = torch.arange(start, start + t, dtype=torch.float64, device=x.device)
# + t, d = (x.shape[-3] if x.dim() > 3 else x.shape[-2]), x.shape[-1]
# + places = torch.arange(start, start + t, dtype=torch.float64, device=x.device)
# + places = places if x.dim() <= 3 else places[:, None]
# - angles = places[:, None] * base**-powers
# + angles = places[..., None] * base**-powers

# %% mutant="rotate" why="not a rotation: no minus"
# - return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
# + return torch.stack([even * cos + odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)

# %% mutant="rotate" why="a table of 2048 places, which wraps around"
# - places = torch.arange(start, start + t, dtype=torch.float64, device=x.device)
# + places = torch.arange(start, start + t, dtype=torch.float64, device=x.device) % 2048

# %% mutant="rotate" why="a table of 4096 places"
# - places = torch.arange(start, start + t, dtype=torch.float64, device=x.device)
# + places = torch.arange(start, start + t, dtype=torch.float64, device=x.device).clamp(max=4095)

# %% mutant="rotate" why="angles of float32 for float64"
# - angles = places[:, None] * base**-powers
# + angles = (places[:, None] * base**-powers).float()

# %% mutant="rotate" why="a whole base"
# - angles = places[:, None] * base**-powers
# + angles = places[:, None] * float(int(base)) ** -powers

# %% mutant="rotate" why="turns along the heads where they are as many as the places"
# - cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
# + angles = angles[:, None] if x.dim() == 4 and x.shape[1] == t else angles
# + cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)

# %% mutant="rotate" why="float64 comes out"
# - cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
# + cos, sin = angles.cos(), angles.sin()


# %% alternative="rotate" why="complex numbers"
def rotate(x, start=0, base=10_000.0):
    *lead, t, d = x.shape
    places = torch.arange(start, start + t).double()
    angles = torch.outer(places, base ** (-torch.arange(0, d, 2).double() / d))
    turned = torch.view_as_complex(x.double().reshape(*lead, t, d // 2, 2).contiguous()) * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(turned).reshape(x.shape).to(x.dtype)


# %% alternative="rotate" why="angles in the dtype of x, written into a new tensor"
def rotate(x, start=0, base=10_000.0):
    t, d = x.shape[-2:]
    places = start + torch.arange(t, dtype=x.dtype)[:, None]
    theta = places * base ** (-torch.arange(0, d, 2, dtype=x.dtype) / d)
    out = torch.empty_like(x)
    out[..., ::2] = x[..., ::2] * theta.cos() - x[..., 1::2] * theta.sin()
    out[..., 1::2] = x[..., ::2] * theta.sin() + x[..., 1::2] * theta.cos()
    return out


# %% alternative="rotate" why="a number swapped with its neighbour"
def rotate(x, start=0, base=10_000.0):
    t, d = x.shape[-2], x.shape[-1]
    out = []
    for j in range(t):
        angle = torch.tensor([(start + j) / base ** (2 * (i // 2) / d) for i in range(d)], dtype=x.dtype)
        row = x[..., j, :]
        swapped = torch.stack([-row[..., 1::2], row[..., 0::2]], -1).reshape(row.shape)
        out.append(row * angle.cos() + swapped * angle.sin())
    return torch.stack(out, -2)


# %%
torch.manual_seed(3)
q, k = torch.randn(2, 1, 16)
rows = q.expand(40, -1), k.expand(40, -1)
early, late = (rotate(rows[0], start) @ rotate(rows[1], start).T for start in (0, 1000))
week08.heat({"positions 0 to 39": early, "positions 1000 to 1039": late}, "position of the key", "position of the query", symmetric=True)
plots.show(
    "The scores of one query with one key at all pairs of positions: the colours are constant along each "
    "diagonal, and the picture a thousand positions later is the same one."
)
print(f"largest difference of the two pictures: {float((early - late).abs().max()):.1e}; norm of a key before {float(k.norm()):.4f}, after {float(rotate(k, 77).norm()):.4f}")

# %% [markdown]
# **A learned bias.** The third way is the plainest: each head adds a learned number to the score, one for each distance ([Shaw et al., 2018](https://arxiv.org/abs/1803.02155), §3.2, clip the distance; T5 adds scalars, as here). With the table $B$ of head $h$, a clip $r$, and the distance $s - p$ of key $s$ from the query at position $p = \text{start} + t$:
#
# $$\text{bias}_{h,t,s} = B_{h,\; r + \operatorname{clip}(s - p,\, -r,\, r)}.$$
#
# The table has $2r + 1$ columns: the first for everything $r$ or more to the left, the middle one for the query's own place.
#
# {{task:relative_bias}}

# %% [markdown] lang="ru"
# **Выученный сдвиг.** Третий способ — самый простой: каждая голова прибавляет к произведению выученное число, своё для каждого расстояния ([Shaw et al., 2018](https://arxiv.org/abs/1803.02155), §3.2, ограничивают расстояние; T5 прибавляет скаляры, как здесь). Пусть $B$ — таблица, $r$ — граница, а $s - p$ — расстояние ключа $s$ от запроса на позиции $p = \text{start} + t$. Для головы $h$:
#
# $$\text{bias}_{h,t,s} = B_{h,\; r + \operatorname{clip}(s - p,\, -r,\, r)}.$$
#
# В таблице $2r + 1$ столбцов: первый — для всего, что левее на $r$ и больше, средний — для собственного места запроса.
#
# {{task:relative_bias}}


# %% solution="relative_bias"
def relative_bias(table: torch.Tensor, queries: int, keys: int, start: int = 0) -> torch.Tensor:
    """What is added to the scores. table: (heads, 2 r + 1) -> (heads, queries, keys).

    Query t stands at position start + t, key s at position s.
    """
    ### BEGIN SOLUTION
    r = table.shape[1] // 2
    places = torch.arange(start, start + queries, device=table.device)[:, None]
    distance = torch.arange(keys, device=table.device) - places
    return table[:, distance.clamp(-r, r) + r]
    ### END SOLUTION


# %% test="relative_bias" points=0.25 difficulty=2 minutes=10
table = torch.tensor([[3.0, 7.0, 20.0]])
call = "relative_bias(torch.tensor([[3.0, 7.0, 20.0]]), 2, 4)"
check.close(check.answer(relative_bias, table, 2, 4, call=call), [[[7, 20, 20, 20], [3, 7, 20, 20]]], call, why="take the number of the distance, clipped")
call = "relative_bias(torch.tensor([[3.0, 7.0, 20.0]]), 1, 4, start=2)"
check.close(check.answer(relative_bias, table, 1, 4, start=2, call=call), [[[3, 3, 7, 20]]], call, why="begin to count queries at start")
### BEGIN HIDDEN TESTS
rng = check.rng("relative_bias")


def by_looking_up(table, queries, keys, start=0):
    r = table.shape[1] // 2
    return torch.stack([torch.stack([torch.stack([row[max(-r, min(r, s - t - start)) + r] for s in range(keys)]) for t in range(queries)]) for row in table])


for heads, r, queries, keys in [(1, 0, 2, 3), (2, 1, 3, 5), (3, 4, 6, 2), (2, 7, 4, 4), (4, 2, 1, 1), (2, 3, 2, 9), (3, 1, 1, 6)]:
    for dtype in (torch.float64, torch.float32):
        table = torch.from_numpy(rng.normal(size=(heads, 2 * r + 1))).to(dtype)
        for options in ({}, {"start": 3}, {"start": 1}):
            call = f"relative_bias(table {(heads, 2 * r + 1)}, {queries}, {keys}{''.join(f', {o}={v}' for o, v in options.items())})"
            why = "begin to count queries at start" if options else "take the number of the distance, clipped"
            want = by_looking_up(table, queries, keys, **options)
            check.close(check.answer(relative_bias, table, queries, keys, call=call, **options), want, call, why=why)
            week08.same_function(lambda table, **o: relative_bias(table, queries, keys, **o), lambda table, **o: by_looking_up(table, queries, keys, **o), table, call=call, why=why, **options)  # noqa: B023
### END HIDDEN TESTS

# %% mutant="relative_bias" why="the distance the other way round"
# - distance = torch.arange(keys, device=table.device) - places
# + distance = places - torch.arange(keys, device=table.device)

# %% mutant="relative_bias" why="not clipped on the left: wraps around"
# - return table[:, distance.clamp(-r, r) + r]
# + return table[:, distance.clamp(max=r) + r if -distance.min() <= 3 * r else distance.clamp(-r, r) + r]

# %% mutant="relative_bias" why="absolute distances"
# - return table[:, distance.clamp(-r, r) + r]
# + return table[:, distance.abs().clamp(max=r) + r]

# %% mutant="relative_bias" why="the middle forgotten"
# - return table[:, distance.clamp(-r, r) + r]
# + return table[:, distance.clamp(-r, r)]

# %% mutant="relative_bias" why="forgets where it starts"
# - places = torch.arange(start, start + queries, device=table.device)[:, None]
# + places = torch.arange(queries, device=table.device)[:, None]

# %% mutant="relative_bias" why="few queries stand at the end of the keys"
# - places = torch.arange(start, start + queries, device=table.device)[:, None]
# + start = start or max(keys - queries, 0) * (keys > queries + 2)
# + places = torch.arange(start, start + queries, device=table.device)[:, None]

# %% mutant="relative_bias" why="one too far"
# - distance = torch.arange(keys, device=table.device) - places
# + distance = torch.arange(keys, device=table.device) - places - 1

# %% mutant="relative_bias" why="clipped one too early"
# - return table[:, distance.clamp(-r, r) + r]
# + return table[:, distance.clamp(-r + 1, max(r - 1, -r + 1)) + r] if r else table[:, distance * 0]

# %% mutant="relative_bias" why="no gradient"
# - return table[:, distance.clamp(-r, r) + r]
# + return table.detach()[:, distance.clamp(-r, r) + r] + 0 * table.sum()

# %% mutant="relative_bias" why="the heads behind"
# - return table[:, distance.clamp(-r, r) + r]
# + return table.T[distance.clamp(-r, r) + r]


# %% alternative="relative_bias" why="one-hot rows"
def relative_bias(table, queries, keys, start=0):
    r = (table.shape[1] - 1) // 2
    where = torch.tensor([[min(max(s - t - start, -r), r) + r for s in range(keys)] for t in range(queries)])
    return torch.einsum("hk,tsk->hts", table, F.one_hot(where, 2 * r + 1).to(table.dtype))


# %%
r = 12
slopes = -torch.arange(-r, r + 1).abs() * torch.tensor([[0.1], [0.4]])  # two heads: far and near
before = torch.where(torch.arange(-r, r + 1) == -1, 4.0, 0.0)[None]  # one that wants its left neighbour
week08.heat(
    {name: b for name, b in zip(("far-sighted", "near-sighted", "the one before"), relative_bias(torch.cat([slopes, before]), 20, 20), strict=True)},
    "key s", "query t", symmetric=True,
)
plots.show(
    "Biases of three heads: two fall off from the diagonal, slowly and fast, until they stay constant at a "
    "distance of twelve; the third is a single line just below the diagonal."
)

# %% [markdown]
# All three have the same pattern, lines parallel to the diagonal. Waves hope that the network finds it in the products; rotation builds it in; the bias learns it directly and does not care what the words are. Models of today mostly rotate.
#
# ## 5. What keeps a deep network in order
# **Norms.** [LayerNorm](glossary:layernorm) (Ba et al., 2016) gives each token, for itself, mean 0 and variance 1; RMSNorm ([Zhang & Sennrich, 2019](https://arxiv.org/abs/1910.07467), §4) leaves the mean out, and nothing is missed:
#
# $$\operatorname{LN}(x) = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} \odot w + b, \qquad \sigma^2 = \frac1d \sum_i (x_i - \mu)^2,$$
# $$\operatorname{RMS}(x) = \frac{x}{\sqrt{\frac1d \sum_i x_i^2 + \varepsilon}} \odot w.$$
#
# Both work on the last dimension, and their gradients stay finite for a row of equal numbers, or of zeros. No layer or batch statistics of torch's (`layer_norm`, `rms_norm`, `batch_norm`, `group_norm`, `instance_norm`).
#
# {{task:norms}}

# %% [markdown] lang="ru"
# У всех трёх один рисунок — линии, параллельные диагонали. Волны надеются, что сеть найдёт его в произведениях; поворот встраивает его; сдвиг выучивает напрямую, и ему всё равно, какие там слова. Нынешние модели чаще всего поворачивают.
#
# ## 5. Что держит глубокую сеть в порядке
# **Нормировки.** [LayerNorm](glossary:layernorm) (Ba et al., 2016) даёт каждому токену, отдельно от других, среднее 0 и дисперсию 1; RMSNorm ([Zhang, Sennrich, 2019](https://arxiv.org/abs/1910.07467), §4) обходится без среднего, и никто не замечает потери:
#
# $$\operatorname{LN}(x) = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} \odot w + b, \qquad \sigma^2 = \frac1d \sum_i (x_i - \mu)^2,$$
# $$\operatorname{RMS}(x) = \frac{x}{\sqrt{\frac1d \sum_i x_i^2 + \varepsilon}} \odot w.$$
#
# Обе работают по последнему измерению, и их градиенты конечны и для строки из равных чисел, и для строки из нулей. Нормировками torch (`layer_norm`, `rms_norm`, `batch_norm`, `group_norm`, `instance_norm`) не пользуйтесь.
#
# {{task:norms}}


# %% solution="norms"
def layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-5
) -> torch.Tensor:
    """LayerNorm of the last dimension. x: (…, d), weight, bias: (d,) -> (…, d)."""
    ### BEGIN SOLUTION
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
    ### END SOLUTION


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """RMSNorm of the last dimension. x: (…, d), weight: (d,) -> (…, d)."""
    ### BEGIN SOLUTION
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight
    ### END SOLUTION


# %% test="norms" points=0.25 difficulty=2 minutes=10
x, weight, bias = torch.tensor([[1.0, 3.0, 8.0]]), torch.tensor([1.0, 2.0, 10.0]), torch.tensor([0.5, 0.0, 0.0])
call = "layer_norm([[1, 3, 8]], [1, 2, 10], [0.5, 0, 0])"
check.close(check.answer(layer_norm, x, weight, bias, call=call), [[-3 / math.sqrt(26 / 3) + 0.5, -2 / math.sqrt(26 / 3), 40 / math.sqrt(26 / 3)]], call, rtol=1e-4, why="follow the formula")
call = "rms_norm([[1, 3, 8]], [1, 2, 10])"
check.close(check.answer(rms_norm, x, weight, call=call), [[1 / math.sqrt(74 / 3), 6 / math.sqrt(74 / 3), 80 / math.sqrt(74 / 3)]], call, rtol=1e-4, why="follow the formula")
### BEGIN HIDDEN TESTS
rng = check.rng("norms")
banned = ["layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm"]


def rms_of_torch(x, weight, eps=1e-5):
    return F.rms_norm(x, weight.shape, weight, eps)


def layer_of_torch(x, weight, bias, eps=1e-5):
    return F.layer_norm(x, weight.shape, weight, bias, eps)


for shape in [(4,), (3, 5), (2, 3, 7), (2, 1, 2), (1, 4, 1)]:
    for dtype in (torch.float64, torch.float32):
        for size, why in [(2.0, "be torch's, with the same weights"), (3e-3, "add eps under the root")]:
            x = torch.from_numpy(size * rng.normal(size=shape) + size).to(dtype)
            weight, bias = torch.from_numpy(rng.normal(size=(2, shape[-1])) + 0.5).to(dtype)
            for options in ({}, {"eps": 0.3}):
                said = f"(x {shape} of the size {size:g}{', eps=0.3' if options else ''})"
                week08.same_function(layer_norm, layer_of_torch, x, weight, bias, call=f"layer_norm{said}", why=why, banned=banned, **options)
                week08.same_function(rms_norm, rms_of_torch, x, weight, call=f"rms_norm{said}", why=why, banned=banned, **options)
even = torch.full((2, 3), 4.0, dtype=torch.float64)
weight, bias = torch.from_numpy(rng.normal(size=(2, 3)))
week08.same_function(layer_norm, layer_of_torch, even, weight, bias, call="layer_norm of equal numbers", why="be the bias, with finite gradients", banned=banned)
week08.same_function(rms_norm, rms_of_torch, 0 * even, weight, call="rms_norm of zeros", why="be 0, with finite gradients", banned=banned)
given = [torch.from_numpy(rng.normal(size=shape) + 0.5) for shape in ((3, 6), (6,), (6,))]
week08.same_function(layer_norm, layer_of_torch, *given, call="layer_norm of float64", why="have the digits of float64", rtol=1e-9, banned=banned)
week08.same_function(rms_norm, rms_of_torch, *given[:2], call="rms_norm of float64", why="have the digits of float64", rtol=1e-9, banned=banned)
x = torch.from_numpy(20_000.0 + rng.permutation(8)).float()
weight, bias = torch.from_numpy(rng.normal(size=(2, 8)) + 0.5).float()
call = "layer_norm of numbers in the ten thousands that differ by little"
want = F.layer_norm(x.double(), (8,), weight.double(), bias.double())
check.close(check.answer(layer_norm, x, weight, bias, call=call), want, call, atol=0.03, why="find the variance of numbers far from 0, too")
call = "rms_norm of numbers in the ten thousands"
check.close(check.answer(rms_norm, x, weight, call=call), F.rms_norm(x, (8,), weight), call, rtol=1e-4, why="bear large numbers")
### END HIDDEN TESTS

# %% mutant="norms" why="eps outside of the root"
# - return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
# + return centred / (centred.square().mean(-1, keepdim=True).sqrt() + eps) * weight + bias

# %% mutant="norms" why="RMS with eps outside of the root"
# - return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight
# + return x / (x.square().mean(-1, keepdim=True).sqrt() + eps) * weight

# %% mutant="norms" why="unbiased variance"
# - return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
# + return centred / (x.var(-1, keepdim=True) + eps).sqrt() * weight + bias

# %% mutant="norms" why="over the tokens"
# - centred = x - x.mean(-1, keepdim=True)
# + centred = x - x.mean(0, keepdim=True)

# %% mutant="norms" why="over all dimensions"
# - return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight
# + return x / (x.square().mean() + eps).sqrt() * weight

# %% mutant="norms" why="the norm, not the root of the mean"
# - return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight
# + return x / (x.square().sum(-1, keepdim=True) + eps).sqrt() * weight

# %% mutant="norms" why="RMSNorm takes the mean off"
# - return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight
# + return (x - x.mean(-1, keepdim=True)) / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight

# %% mutant="norms" why="the weight is forgotten"
# - return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight
# + return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()

# %% mutant="norms" why="the bias is scaled, too"
# - return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
# + return (centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() + bias) * weight

# %% mutant="norms" why="the mean square less the squared mean"
# - return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
# + variance = (x.square().mean(-1, keepdim=True) - x.mean(-1, keepdim=True).square()).clamp(min=0)
# + return centred / (variance + eps).sqrt() * weight + bias

# %% mutant="norms" why="float32 inside"
# - return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
# + return centred / (centred.float().square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias

# %% mutant="norms" why="RMS with float32 inside"
# - return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight
# + return x / (x.float().square().mean(-1, keepdim=True) + eps).sqrt() * weight

# %% mutant="norms" why="statistics without a gradient"
# - return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias
# + return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt().detach() * weight + bias

# %% mutant="norms" why="eps is ignored"
# - return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight
# + return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight

# %% mutant="norms" why="another default"
# - def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
# + def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:

# %% mutant="norms" why="torch does it"
# - return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight
# + return F.rms_norm(x, weight.shape, weight, eps)


# %% alternative="norms" why="var and rsqrt"
def layer_norm(x, weight, bias, eps=1e-5):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return torch.addcmul(bias, (x - mean) * torch.rsqrt(variance + eps), weight)


def rms_norm(x, weight, eps=1e-5):
    mean_square = torch.einsum("...d,...d->...", x, x)[..., None] / x.shape[-1]
    return weight * (x * torch.rsqrt(mean_square + eps))


# %% [markdown]
# **Between attentions, each token thinks for itself**: a small network with one hidden layer, the same at every place. Its activation in BERT and GPT is GELU ([Hendrycks & Gimpel, 2016](https://arxiv.org/abs/1606.08415), §2): $x$ times the probability that a standard normal number lies below it, exactly
#
# $$\operatorname{gelu}(x) = x\,\Phi(x) = \frac{x}{2}\Big(1 + \operatorname{erf}\frac{x}{\sqrt2}\Big).$$
#
# Models of today mostly use SwiGLU ([Shazeer, 2020](https://arxiv.org/abs/2002.05202), §2): a **gate** (week 07) decides for each hidden unit how much of its value passes, with $\operatorname{silu}(z) = z\,\sigma(z)$:
#
# $$\operatorname{swiglu}(x) = \big(\operatorname{silu}(x W_g^\top) \odot x W_u^\top\big)\, W_d^\top.$$
#
# Without torch's `gelu` and `silu`, both.
#
# {{task:feed_forward}}

# %% [markdown] lang="ru"
# **Между вниманиями каждый токен думает сам**: маленькая сеть с одним скрытым слоем, одинаковая на всех местах. Её активация в BERT и GPT — GELU ([Hendrycks, Gimpel, 2016](https://arxiv.org/abs/1606.08415), §2): $x$, умноженное на вероятность того, что стандартное нормальное число окажется меньше $x$, — точно, без приближений:
#
# $$\operatorname{gelu}(x) = x\,\Phi(x) = \frac{x}{2}\Big(1 + \operatorname{erf}\frac{x}{\sqrt2}\Big).$$
#
# Нынешние модели чаще берут SwiGLU ([Shazeer, 2020](https://arxiv.org/abs/2002.05202), §2): **вентиль** (gate, неделя 07) решает для каждого скрытого нейрона, сколько его значения пропустить; $\operatorname{silu}(z) = z\,\sigma(z)$:
#
# $$\operatorname{swiglu}(x) = \big(\operatorname{silu}(x W_g^\top) \odot x W_u^\top\big)\, W_d^\top.$$
#
# Без `gelu` и `silu` из torch.
#
# {{task:feed_forward}}


# %% solution="feed_forward"
def gelu(x: torch.Tensor) -> torch.Tensor:
    """GELU, exact, of each number."""
    ### BEGIN SOLUTION
    return x / 2 * (1 + torch.erf(x / math.sqrt(2)))
    ### END SOLUTION


def swiglu(
    x: torch.Tensor, w_gate: torch.Tensor, w_up: torch.Tensor, w_down: torch.Tensor
) -> torch.Tensor:
    """x: (…, d), w_gate, w_up: (m, d), w_down: (d, m) -> (…, d)."""
    ### BEGIN SOLUTION
    z = x @ w_gate.T
    return (z * torch.sigmoid(z) * (x @ w_up.T)) @ w_down.T
    ### END SOLUTION


# %% test="feed_forward" points=0.25 difficulty=1 minutes=8
call = "gelu([-1, 0, 2])"
check.close(check.answer(gelu, torch.tensor([-1.0, 0.0, 2.0]), call=call), [-0.158655, 0.0, 1.954500], call, rtol=1e-4, why="follow the formula")
call = "swiglu of two numbers, with one hidden unit"
found = check.answer(swiglu, torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, -1.0]]), torch.tensor([[5.0], [-7.0]]), call=call)
check.close(found, [[5 * 3 / (1 + math.exp(-3)), -7 * 3 / (1 + math.exp(-3))]], call, rtol=1e-4, why="follow the formula")
### BEGIN HIDDEN TESTS
rng = check.rng("feed_forward")


def swiglu_of_torch(x, w_gate, w_up, w_down):
    return F.linear(F.silu(F.linear(x, w_gate)) * F.linear(x, w_up), w_down)


for dtype in (torch.float64, torch.float32):
    for shape in [(), (5,), (2, 3), (2, 1, 4)]:
        x = torch.from_numpy(np.array(2 * rng.normal(size=shape))).to(dtype)
        week08.same_function(gelu, F.gelu, x, call=f"gelu(x {shape})", why="be torch's exact one", banned=["gelu"])
    for d, m, lead in [(2, 5, (3,)), (4, 3, (2, 3)), (3, 1, ()), (1, 2, (1,))]:
        given = [torch.from_numpy(rng.normal(size=shape)).to(dtype) for shape in ((*lead, d), (m, d), (m, d), (d, m))]
        call = f"swiglu(x {(*lead, d)}, m = {m})"
        week08.same_function(swiglu, swiglu_of_torch, *given, call=call, why="gate with the first matrix, carry with the second", rtol=1e-9, banned=["silu"])
    large = torch.tensor([-1e4, -1e3, -100.0, -6.0, 0.0, 6.0, 100.0, 1e3, 1e4], dtype=dtype)
    week08.same_function(gelu, F.gelu, large, call=f"gelu of large numbers, {dtype}", why="bear large numbers, with finite gradients")
    given = [large[:, None], *torch.tensor([[[1.0]], [[0.5]], [[-3.0]]], dtype=dtype)]
    call = f"swiglu of large numbers, {dtype}"
    check.close(check.answer(swiglu, *given, call=call), swiglu_of_torch(*given), call, why="bear large numbers")
    for number in large[:, None]:  # one by one, so that no gradient hides another
        call = f"swiglu of one large number, {dtype}"
        week08.same_function(swiglu, swiglu_of_torch, number, *given[1:], call=call, why="bear large numbers, with finite gradients")
x = torch.tensor([-5.5, -5.2, -5.0, -4.7, -4.4, 4.5, 5.1], dtype=torch.float64)
call = "gelu of numbers far from 0, float64"
check.close(check.answer(gelu, x, call=call), F.gelu(x), call, rtol=1e-9, atol=1e-9, why="have the digits of float64")
x = torch.tensor([-1e4, -40.0, -6.0, 0.0, 6.0, 40.0, 1e4], dtype=torch.float64)
call = "gelu of large numbers"
check.close(check.answer(gelu, x, call=call), F.gelu(x), call, why="bear large numbers")
### END HIDDEN TESTS

# %% mutant="feed_forward" why="the approximation by tanh"
# - return x / 2 * (1 + torch.erf(x / math.sqrt(2)))
# + return x / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

# %% mutant="feed_forward" why="the approximation by a sigmoid"
# - return x / 2 * (1 + torch.erf(x / math.sqrt(2)))
# + return x * torch.sigmoid(1.702 * x)

# %% mutant="feed_forward" why="erf of x"
# - return x / 2 * (1 + torch.erf(x / math.sqrt(2)))
# + return x / 2 * (1 + torch.erf(x))

# %% mutant="feed_forward" why="gate and value exchanged"
# - z = x @ w_gate.T
# - return (z * torch.sigmoid(z) * (x @ w_up.T)) @ w_down.T
# + z = x @ w_up.T
# + return (z * torch.sigmoid(z) * (x @ w_gate.T)) @ w_down.T

# %% mutant="feed_forward" why="a plain sigmoid for the gate"
# - return (z * torch.sigmoid(z) * (x @ w_up.T)) @ w_down.T
# + return (torch.sigmoid(z) * (x @ w_up.T)) @ w_down.T

# %% mutant="feed_forward" why="a gate made by gelu"
# - return (z * torch.sigmoid(z) * (x @ w_up.T)) @ w_down.T
# + return (gelu(z) * (x @ w_up.T)) @ w_down.T

# %% mutant="feed_forward" why="no gate"
# - return (z * torch.sigmoid(z) * (x @ w_up.T)) @ w_down.T
# + return (z * torch.sigmoid(z)) @ w_down.T

# %% mutant="feed_forward" why="an exponential that overflows"
# - return (z * torch.sigmoid(z) * (x @ w_up.T)) @ w_down.T
# + return (z * (z.exp() / (1 + z.exp())) * (x @ w_up.T)) @ w_down.T

# %% mutant="feed_forward" why="an exponential whose gradient is NaN"
# - return (z * torch.sigmoid(z) * (x @ w_up.T)) @ w_down.T
# + return (z / (1 + torch.exp(-z)) * (x @ w_up.T)) @ w_down.T

# %% mutant="feed_forward" why="float32 inside"
# - return x / 2 * (1 + torch.erf(x / math.sqrt(2)))
# + return x / 2 * (1 + torch.erf(x.float() / math.sqrt(2)))

# %% mutant="feed_forward" why="a gate of float32"
# - return (z * torch.sigmoid(z) * (x @ w_up.T)) @ w_down.T
# + return (z * torch.sigmoid(z.float()) * (x @ w_up.T)) @ w_down.T

# %% mutant="feed_forward" why="torch does it"
# - return x / 2 * (1 + torch.erf(x / math.sqrt(2)))
# + return F.gelu(x)

# %% mutant="feed_forward" why="torch does half of it"
# - return (z * torch.sigmoid(z) * (x @ w_up.T)) @ w_down.T
# + return (F.silu(z) * (x @ w_up.T)) @ w_down.T


# %% alternative="feed_forward" why="torch's normal distribution; one matrix for gate and value"
def gelu(x):
    return x * torch.special.ndtr(x)


def swiglu(x, w_gate, w_up, w_down):
    gate, value = torch.einsum("...d,kd->...k", x, torch.cat([w_gate, w_up])).chunk(2, dim=-1)
    return torch.einsum("...m,dm->...d", gate * torch.exp(F.logsigmoid(gate)) * value, w_down)


# %%
line = torch.linspace(-4, 4, 200)
eye = torch.ones(1, 1)
plots.curves(
    {
        "relu": (line, line.clamp(min=0)),
        "gelu": (line, gelu(line)),
        "swiglu, all weights 1": (line, swiglu(line[:, None], eye, eye, eye)[:, 0].clamp(max=5)),
    },
    "Soft corners, and a gate that multiplies", "x", "value, cut off at 5",
)
plots.show(
    "Three activations: ReLU with its corner at zero; GELU the same but soft, slightly negative left of "
    "zero; SwiGLU with all weights one rises like a square to the right of zero."
)

# %% [markdown]
# **A block** is an attention and a feed-forward network, each with a [residual connection](glossary:residual-connection) and a norm. Where does the norm stand? Vaswani et al. normalise *after* the sum; nearly everybody since puts it *before* the part ([Xiong et al., 2020](https://arxiv.org/abs/2002.04745), Table 1), so that a straight path leads from the last layer to the first:
#
# $$\text{post: } x \leftarrow \operatorname{norm}_1(x + \operatorname{attend}(x)),\quad x \leftarrow \operatorname{norm}_2(x + \operatorname{feed}(x));$$
# $$\text{pre: } x \leftarrow x + \operatorname{attend}(\operatorname{norm}_1(x)),\quad x \leftarrow x + \operatorname{feed}(\operatorname{norm}_2(x)).$$
#
# The four parts are given as functions, so you write nothing but how they are put together.
#
# {{task:block}}

# %% [markdown] lang="ru"
# **Блок** — это внимание и сеть прямого прохода, каждое с [остаточной связью](glossary:residual-connection) (residual connection) и нормировкой. Где стоять нормировке? У Vaswani et al. она *после* сложения; почти все после них ставят её *перед* частью ([Xiong et al., 2020](https://arxiv.org/abs/2002.04745), таблица 1), чтобы от последнего слоя к первому шёл прямой путь:
#
# $$\text{post: } x \leftarrow \operatorname{norm}_1(x + \operatorname{attend}(x)),\quad x \leftarrow \operatorname{norm}_2(x + \operatorname{feed}(x));$$
# $$\text{pre: } x \leftarrow x + \operatorname{attend}(\operatorname{norm}_1(x)),\quad x \leftarrow x + \operatorname{feed}(\operatorname{norm}_2(x)).$$
#
# Четыре части даны как функции: вы пишете только то, как они соединены.
#
# {{task:block}}


# %% solution="block"
def block(
    x: torch.Tensor, attend: Callable, feed: Callable, norm1: Callable, norm2: Callable, pre: bool = True
) -> torch.Tensor:
    """A transformer's block, pre-norm or post-norm. The parts take a tensor and give one like it."""
    ### BEGIN SOLUTION
    if pre:
        x = x + attend(norm1(x))
        return x + feed(norm2(x))
    x = norm1(x + attend(x))
    return norm2(x + feed(x))
    ### END SOLUTION


# %% test="block" points=0.25 difficulty=1 minutes=8
parts = [lambda x: 10 * x, lambda x: x + 1, lambda x: x - 3, lambda x: 2 * x]
for options, want in [({}, -23.0), ({"pre": True}, -23.0), ({"pre": False}, 78.0)]:
    call = f"block(2, x → 10x, x → x + 1, x → x - 3, x → 2x{', pre=' + str(options['pre']) if options else ''})"
    check.close(check.answer(block, torch.tensor([2.0]), *parts, call=call, **options), [want], call, why="follow the formula")
### BEGIN HIDDEN TESTS
rng = check.rng("block")
for d, heads, hidden, n, t in [(6, 2, 5, 2, 3), (4, 1, 9, 1, 5), (8, 4, 3, 3, 1)]:
    for first in (True, False):
        torch.manual_seed(int(rng.integers(1_000_000)))
        whole = nn.TransformerEncoderLayer(d, heads, hidden, dropout=0.0, activation="gelu", batch_first=True, norm_first=first).double()
        for p in whole.parameters():
            nn.init.normal_(p, std=0.6)
        whole.requires_grad_(False)
        seen = torch.ones(t, t, dtype=torch.bool).tril()
        theirs = [
            lambda x: whole.self_attn(x, x, x, attn_mask=~seen, need_weights=False)[0],  # noqa: B023
            lambda x: whole.linear2(F.gelu(whole.linear1(x))),  # noqa: B023
            whole.norm1,
            whole.norm2,
        ]
        x = torch.from_numpy(rng.normal(size=(n, t, d)))
        call = f"block of nn.TransformerEncoderLayer's parts, pre={first}"
        week08.same_function(lambda x, **o: block(x, *theirs, **o), lambda x, pre: whole(x, src_mask=~seen), x, call=call, why=f"be torch's with norm_first={first}", pre=first)  # noqa: B023
        if first:
            call = "block of nn.TransformerEncoderLayer's parts, where nothing is said"
            check.close(check.answer(block, x, *theirs, call=call), whole(x, src_mask=~seen), call, why="be pre-norm")
        x = torch.from_numpy(rng.normal(size=(n, t, d)))
        check.close(check.answer(block, x, *theirs, pre=first, call="block, called again"), whole(x, src_mask=~seen), "block, called again with another x", why="be torch's, too")
for first in (True, False):
    ran = []

    def noted(name, function):
        def part(z):
            ran.append(name)  # noqa: B023
            return function(z)

        return part

    x = torch.from_numpy(rng.normal(size=(2, 3)))
    same = [noted(name, lambda z: z) for name in ("attend", "feed", "norm1", "norm2")]
    call = f"block of parts that give back what they get, pre={first}"
    check.close(check.answer(block, x, *same, pre=first, call=call), 4 * x, call, why="follow the formula")
    check.equal(sorted(ran), ["attend", "feed", "norm1", "norm2"], f"the parts that run in {call}", why="run each of the four once")
    kept = [torch.from_numpy(rng.normal(size=(2, 3))) for _ in same]
    copies = [one.clone() for one in kept]
    call = f"block of parts that give a tensor which they keep, pre={first}"
    check.answer(block, x, *[lambda z, one=one: one for one in kept], pre=first, call=call)
    check.that(all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True)), "leave as they were the tensors that the parts give")
    soft = [torch.tanh, lambda x: (x / 3).exp(), lambda x: torch.sigmoid(2 * x), lambda x: (x + 1).tanh()]
    call = f"block of parts that end in tanh, exp or a sigmoid, pre={first}"

    def in_words(x, pre):
        attend, feed, norm1, norm2 = soft  # noqa: B023
        half = x + attend(norm1(x)) if pre else norm1(x + attend(x))
        return half + feed(norm2(half)) if pre else norm2(half + feed(half))

    week08.same_function(lambda x, **o: block(x, *soft, **o), in_words, x, call=call, why="follow the formula, with its gradients", pre=first)  # noqa: B023
### END HIDDEN TESTS

# %% mutant="block" why="norms exchanged"
# - x = x + attend(norm1(x))
# - return x + feed(norm2(x))
# + x = x + attend(norm2(x))
# + return x + feed(norm1(x))

# %% mutant="block" why="no residual around the attention"
# - x = x + attend(norm1(x))
# + x = attend(norm1(x))

# %% mutant="block" why="no residual around the feed-forward part"
# - return norm2(x + feed(x))
# + return norm2(feed(x))

# %% mutant="block" why="the residual goes through the norm"
# - x = x + attend(norm1(x))
# + x = norm1(x)
# + x = x + attend(x)

# %% mutant="block" why="both parts see the same x"
# - return x + feed(norm2(x))
# + return x + feed(norm2(x - attend(norm1(x))))

# %% mutant="block" why="the parts in parallel"
# - x = x + attend(norm1(x))
# - return x + feed(norm2(x))
# + return x + attend(norm1(x)) + feed(norm2(x))

# %% mutant="block" why="feed-forward first"
# - x = x + attend(norm1(x))
# - return x + feed(norm2(x))
# + x = x + feed(norm2(x))
# + return x + attend(norm1(x))

# %% mutant="block" why="post-norm inside of the sum"
# - x = norm1(x + attend(x))
# + x = x + norm1(attend(x))

# %% mutant="block" why="always pre-norm"
# - if pre:
# + if True:

# %% mutant="block" why="post-norm by itself"
# - x: torch.Tensor, attend: Callable, feed: Callable, norm1: Callable, norm2: Callable, pre: bool = True
# + x: torch.Tensor, attend: Callable, feed: Callable, norm1: Callable, norm2: Callable, pre: bool = False

# %% mutant="block" why="the attention runs twice"
# - x = x + attend(norm1(x))
# - return x + feed(norm2(x))
# + return x + attend(norm1(x)) + feed(norm2(x + attend(norm1(x))))

# %% mutant="block" why="changes what the attention gives"
# - x = x + attend(norm1(x))
# + x = attend(norm1(x)).add_(x)

# %% mutant="block" why="changes what the feed-forward part gives"
# - return x + feed(norm2(x))
# + y = feed(norm2(x))
# + y += x
# + return y

# %% mutant="block" why="changes its argument"
# - x = x + attend(norm1(x))
# + with torch.no_grad():
# +     x.add_(attend(norm1(x)))


# %% alternative="block" why="one loop for both"
def block(x, attend, feed, norm1, norm2, pre=True):
    for part, norm in ((attend, norm1), (feed, norm2)):
        x = part(norm(x)).add(x) if pre else norm(part(x).add(x))
    return x


# %% [markdown]
# **What the place of a norm does.** A pile of blocks with PyTorch's parts and variance-keeping weights (week 02), before any training: how large is the gradient of the loss with respect to the weights of each block?

# %% [markdown] lang="ru"
# **Что меняет место нормировки.** Стопка блоков из частей PyTorch с весами, сохраняющими дисперсию (неделя 02), до всякого обучения: насколько велик градиент ошибки по весам каждого блока?


# %%
def gradients(depth: int, pre: bool, width: int = 32) -> list[float]:
    """The norm of the gradient of each block's feed-forward weights, averaged over five starts."""
    norms = np.zeros((5, depth))
    for seed in range(5):
        torch.manual_seed(seed)
        layers = [nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, batch_first=True) for _ in range(depth)]
        x, readout = torch.randn(8, 12, width), nn.Linear(width, 10)
        for one in layers:
            for p in one.parameters():
                if p.dim() > 1:
                    nn.init.xavier_normal_(p)
            attend = lambda x: one.self_attn(x, x, x, need_weights=False)[0]  # noqa: B023, E731
            x = block(x, attend, lambda x: one.linear2(F.relu(one.linear1(x))), one.norm1, one.norm2, pre)  # noqa: B023
        x = F.layer_norm(x, [width]) if pre else x
        F.cross_entropy(readout(x).flatten(0, 1), torch.randint(10, (96,))).backward()
        norms[seed] = [float(one.linear2.weight.grad.norm()) for one in layers]
    return norms.mean(0).tolist()


depth = 24
sizes = {"post-norm": gradients(depth, False), "pre-norm": gradients(depth, True)}
ax = plots.curves({name: (range(1, depth + 1), values) for name, values in sizes.items()}, f"Gradients of {depth} blocks before training", "block", "norm of the gradient")
ax.set_ylim(0, None)
plots.show(
    "The norm of the gradient against the block: with norms after the sums it rises towards the last "
    "blocks; with norms before the parts it is largest in the first blocks and falls to the end."
)
for name, values in sizes.items():
    print(f"{name}: the last block gets {values[-1] / values[0]:.1f} times the gradient of the first")

# %% [markdown]
# With norms after the sums, the blocks near the loss get the largest gradients, however deep the pile is; a step that suits the first blocks is too long for the last ones. That is why the original needed a [warmup](glossary:warmup) of the learning rate. With norms before the parts, each block adds to a growing sum, and its share, with its gradient, gets smaller with depth (Xiong et al., §3.3): it trains without.

# %% [markdown] lang="ru"
# Когда нормировка стоит после сложения, наибольшие градиенты достаются блокам у самой ошибки, сколь бы глубокой ни была стопка: шаг, годный для первых блоков, слишком длинен для последних. Поэтому исходному трансформеру нужен был [разогрев](glossary:warmup) (warmup) скорости обучения. Когда нормировка стоит впереди, каждый блок прибавляет к растущей сумме, и его доля, а с ней и градиент, с глубиной уменьшается (Xiong et al., §3.3): такая сеть учится и без разогрева.

# %% [markdown]
# ## 6. Does it look into the future?
# One wrong sign in a mask, one mean over the wrong dimension, and a model sees what it is to predict: its loss is wonderful, and what it writes is rubbish. Don't trust reading; **prove** it. The answer at $t$ does not depend on the input at $s$ exactly if the derivative is 0. For a network that maps the vectors $x$ of one text, $(t, d)$, to answers $y$, $(t, v)$, the influence of place $s$ on the answer at $t$ is the norm of a block of the Jacobian, over **all** numbers of both:
#
# $$I_{t,s} = \sqrt{\sum_{c} \sum_{k} \Big(\frac{\partial y_{t,c}}{\partial x_{s,k}}\Big)^2}.$$
#
# A *leak* is a pair $s > t$ with $I_{t,s} \ne 0$, be it ever so small. (Do not sum the answers first: derivatives of opposite signs cancel.) The network may be a function or a module; a module stays as it was: its mode, its weights, their `requires_grad` and `.grad`.
#
# {{task:leaks}}

# %% [markdown] lang="ru"
# ## 6. Подглядывает ли она в будущее?
# Один неверный знак в маске, одно среднее не по тому измерению — и модель видит то, что должна угадать: ошибка чудесная, а пишет она чепуху. Не верьте чтению кода, **докажите**. Ответ в $t$ не зависит от входа в $s$ ровно тогда, когда производная равна 0. Пусть сеть отображает векторы $x$ одного текста, $(t, d)$, в ответы $y$, $(t, v)$; тогда влияние места $s$ на ответ в $t$ — норма блока матрицы Якоби по **всем** числам с обеих сторон:
#
# $$I_{t,s} = \sqrt{\sum_{c} \sum_{k} \Big(\frac{\partial y_{t,c}}{\partial x_{s,k}}\Big)^2}.$$
#
# *Утечка* (leak) — пара $s > t$, у которой $I_{t,s} \ne 0$, сколь угодно малое. (Не складывайте ответы заранее: производные разных знаков сокращаются.) Сеть может быть функцией или модулем; модуль остаётся каким был: его режим, веса, их `requires_grad` и `.grad`.
#
# {{task:leaks}}


# %% solution="leaks"
def influence(network: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """How strongly each answer hangs on each place, at [t, s]. x: (t, d) -> (t, t).

    network: (t, d) -> (t, v), differentiable.
    """
    ### BEGIN SOLUTION
    jacobian = torch.autograd.functional.jacobian(network, x)
    return jacobian.square().sum(dim=(1, 3)).sqrt()
    ### END SOLUTION


def leaks(network: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> list[tuple[int, int]]:
    """All pairs (t, s), s > t, where the answer at t depends on place s: by t, then by s."""
    ### BEGIN SOLUTION
    found = influence(network, x).triu(1).nonzero()
    return [(int(t), int(s)) for t, s in found]
    ### END SOLUTION


# %% test="leaks" points=0.25 difficulty=3 minutes=20
paths = torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 5.0], [1.0, 4.0, 7.0]])
call = "influence of a linear network, where text place s counts paths[t, s] times"
found = check.answer(influence, lambda x: paths @ x, torch.tensor([[0.3, -1.0], [1.0, 2.0], [0.0, 1.0]]), call=call)
check.close(found, paths * math.sqrt(2), call, why="be the norm over all numbers of both places")
call = "leaks of a network in which place 1 sees place 2"
check.equal(check.answer(leaks, lambda x: paths @ x, torch.ones(3, 2), call=call), [(1, 2)], call, why="find the leak")
### BEGIN HIDDEN TESTS
rng = check.rng("leaks")
for t, d, v in [(4, 3, 5), (6, 2, 1), (1, 3, 2), (5, 1, 4)]:
    paths = torch.from_numpy(rng.normal(size=(t, t)))
    matrix = torch.from_numpy(rng.normal(size=(d, v)))
    x = torch.from_numpy(rng.normal(size=(t, d)))
    call = f"influence of a linear network, t = {t}, d = {d}, v = {v}"
    found = check.answer(influence, lambda x: paths @ x @ matrix, x, call=call)  # noqa: B023
    check.close(found, paths.abs() * matrix.norm(), call, why="be the norm over all numbers of both places")
    check.equal(str(np.asarray(found).dtype), "float64", f"the dtype of the {call}, of float64", why="be that of x")
    call = f"influence of squares, t = {t}, d = {d}, v = {v}"
    found = check.answer(influence, lambda x: paths @ x.square() @ matrix, x, call=call)  # noqa: B023
    want = [[float((2 * paths[i, j] * x[j][:, None] * matrix).norm()) for j in range(t)] for i in range(t)]
    check.close(found, want, call, why="be taken at x")
    call = f"influence of a network of tiny weights, t = {t}, d = {d}, v = {v}"
    found = check.answer(influence, lambda x: 1e-9 * paths @ x @ matrix, x, call=call)  # noqa: B023
    check.close(found, 1e-9 * paths.abs() * matrix.norm(), call, atol=1e-20, why="tell the small from nothing")
t, d = 6, 4
x = torch.from_numpy(rng.normal(size=(t, d)))
below = torch.ones(t, t).tril().double()


def with_leak(i, j, size=1.0):
    planted = below.clone()
    planted[i, j] = size
    return planted


left = torch.tensor([1.0, -1.0, 0.0, 0.0]).double()
for i, j in [(0, 1), (2, 5), (4, 5), (0, 5), (3, 4)]:
    for name, network in {
        "one leak": lambda x: with_leak(i, j) @ x,  # noqa: B023
        "one very small leak": lambda x: with_leak(i, j, 1e-15) @ x,  # noqa: B023
        "a leak that cancels in the sum of the answers": lambda x: below @ x + ((with_leak(i, j) - below) @ x)[:, :1] * left,  # noqa: B023
        "a leak that cancels in the sum of the inputs": lambda x: below @ x + ((with_leak(i, j) - below) @ x @ left)[:, None],  # noqa: B023
        "a leak of the last number alone": lambda x: below @ x + ((with_leak(i, j) - below) @ x) * torch.tensor([0, 0, 0, 1.0]),  # noqa: B023
        "a negative leak": lambda x: with_leak(i, j, -0.5) @ x.tanh(),  # noqa: B023
    }.items():
        call = f"leaks of a network with {name}, at {(i, j)}"
        check.equal(check.answer(leaks, network, x, call=call), [(i, j)], call, why="find it, and nothing else")
torch.manual_seed(int(rng.integers(1_000_000)))
inner = nn.Linear(d, d).double()


def honest(x, shift=0):
    """Attention of one head; it sees `shift` places too far."""
    z = inner(x)
    hidden = ~torch.ones(len(x), len(x), dtype=torch.bool).tril(shift)
    return (z @ z.T).masked_fill(hidden, -torch.inf).softmax(-1) @ z + x


everywhere = [(i, j) for i in range(t) for j in range(i + 1, t)]
for name, network, want in [
    ("masked attention", honest, []),
    ("a module that works on each place", inner, []),
    ("attention that sees one place too far", lambda x: honest(x, 1), [(i, i + 1) for i in range(t - 1)]),
    ("masked attention after a mean over the text", lambda x: honest(x - x.mean(0)), everywhere),
    ("a network that looks ahead only", lambda x: x.flip(0), [(i, t - 1 - i) for i in range(t // 2)]),
]:
    call = f"leaks of {name}"
    check.equal(check.answer(leaks, network, x, call=call), want, call, why="be exactly the places that are seen ahead")
check.that(all(p.grad is None for p in inner.parameters()), "leave no gradients in the weights of the network")
for mode, learns in itertools.product((True, False), (True, False)):
    module = nn.Sequential(nn.Linear(d, d), nn.Sequential(nn.Dropout(0.0), nn.Tanh())).double().train(mode).requires_grad_(learns)
    for p in module.parameters():
        p.grad = torch.ones_like(p)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    given, said = x.clone(), f"of a module in {'training' if mode else 'eval'} mode"
    check.answer(influence, module, given, call=f"influence {said}")
    check.answer(leaks, module, given, call=f"leaks {said}")
    check.that(not given.requires_grad and given.grad is None, f"leave x without gradients: influence and leaks {said}")
    check.that(all(one.training == mode for one in module.modules()), f"leave each part of the network in its mode: influence and leaks {said}")
    check.that(all(p.requires_grad == learns for p in module.parameters()), f"leave requires_grad of the weights: influence and leaks {said}")
    check.that(all(p.grad is not None and bool((p.grad == 1).all()) for p in module.parameters()), f"leave .grad of the weights: influence and leaks {said}")
    check.that(all(torch.equal(before[key], value) for key, value in module.state_dict().items()), f"leave the weights: influence and leaks {said}")
### END HIDDEN TESTS

# %% mutant="leaks" why="sums the answers first"
# - jacobian = torch.autograd.functional.jacobian(network, x)
# - return jacobian.square().sum(dim=(1, 3)).sqrt()
# + jacobian = torch.autograd.functional.jacobian(lambda x: network(x).sum(1), x)
# + return jacobian.square().sum(dim=2).sqrt()

# %% mutant="leaks" why="sums the derivatives"
# - return jacobian.square().sum(dim=(1, 3)).sqrt()
# + return jacobian.sum(dim=(1, 3)).abs()

# %% mutant="leaks" why="turned"
# - return jacobian.square().sum(dim=(1, 3)).sqrt()
# + return jacobian.square().sum(dim=(1, 3)).sqrt().T

# %% mutant="leaks" why="no root"
# - return jacobian.square().sum(dim=(1, 3)).sqrt()
# + return jacobian.square().sum(dim=(1, 3))

# %% mutant="leaks" why="the mean"
# - return jacobian.square().sum(dim=(1, 3)).sqrt()
# + return jacobian.square().mean(dim=(1, 3)).sqrt()

# %% mutant="leaks" why="looks at one position"
# - found = influence(network, x).triu(1).nonzero()
# + seen = influence(network, x).triu(1)
# + seen[1:] = 0
# + found = seen.nonzero()

# %% mutant="leaks" why="looks at the next place alone"
# - found = influence(network, x).triu(1).nonzero()
# + found = influence(network, x).triu(1).tril(1).nonzero()

# %% mutant="leaks" why="the diagonal, too"
# - found = influence(network, x).triu(1).nonzero()
# + found = influence(network, x).triu(0).nonzero()

# %% mutant="leaks" why="looks back"
# - found = influence(network, x).triu(1).nonzero()
# + found = influence(network, x).tril(-1).nonzero()

# %% mutant="leaks" why="small is taken for zero"
# - found = influence(network, x).triu(1).nonzero()
# + found = (influence(network, x).triu(1) > 1e-6).nonzero()

# %% mutant="leaks" why="gradients stay in the weights"
# - found = influence(network, x).triu(1).nonzero()
# + network(x).sum().backward()
# + found = influence(network, x).triu(1).nonzero()

# %% mutant="leaks" why="wipes the gradients of the weights"
# - jacobian = torch.autograd.functional.jacobian(network, x)
# + jacobian = torch.autograd.functional.jacobian(network, x)
# + if isinstance(network, nn.Module):
# +     network.zero_grad()

# %% mutant="leaks" why="leaves the network in eval mode"
# - jacobian = torch.autograd.functional.jacobian(network, x)
# + jacobian = torch.autograd.functional.jacobian(network.eval() if isinstance(network, nn.Module) else network, x)

# %% mutant="leaks" why="leaves the weights frozen"
# - jacobian = torch.autograd.functional.jacobian(network, x)
# + jacobian = torch.autograd.functional.jacobian(network.requires_grad_(False) if isinstance(network, nn.Module) else network, x)

# %% mutant="leaks" why="x requires gradients afterwards"
# - jacobian = torch.autograd.functional.jacobian(network, x)
# + jacobian = torch.autograd.functional.jacobian(network, x.requires_grad_())

# %% mutant="leaks" why="a threshold near the digits of float64"
# - found = influence(network, x).triu(1).nonzero()
# + found = (influence(network, x).triu(1) > 1e-12).nonzero()

# %% mutant="leaks" why="small influence is cut off"
# - return jacobian.square().sum(dim=(1, 3)).sqrt()
# + jacobian = jacobian.square().sum(dim=(1, 3)).sqrt()
# + return jacobian.where((jacobian > 1e-6) | (jacobian < 1e-10), 0.0)

# %% mutant="leaks" why="finds nothing"
# - return [(int(t), int(s)) for t, s in found]
# + return []


# %% alternative="leaks" why="one backward pass for each answer"
def influence(network, x):
    x = x.detach().clone().requires_grad_()
    y = network(x)
    rows = torch.zeros(len(x), len(x), dtype=x.dtype)
    for t in range(len(x)):
        for c in range(y.shape[1]):
            (slope,) = torch.autograd.grad(y[t, c], x, retain_graph=True, allow_unused=True)
            if slope is not None:
                rows[t] += (slope**2).sum(1)
    return rows**0.5


def leaks(network, x):
    found = influence(network, x)
    return [(t, s) for t in range(len(x)) for s in range(t + 1, len(x)) if float(found[t, s]) > 0]


# %% [markdown]
# Now the layer that all of this was for: rotary attention, SwiGLU, RMSNorm, pre-norm. Nothing in it is torch's but matrix products. Beside it stand two that leak: one whose mask is one place too wide, and one which takes off the mean over the text, not over the numbers of a token.

# %% [markdown] lang="ru"
# А вот слой, ради которого всё это было: вращательное внимание, SwiGLU, RMSNorm, нормировка впереди. От torch в нём только матричные произведения. Рядом — два дырявых: у одного маска на одно место шире, другой вычитает среднее по тексту, а не по числам токена.


# %%
class Layer(nn.Module):
    """A pre-norm block made of your parts. (n, t, width) -> the same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, hidden = heads, 8 * width // 3
        shapes = {"qkv": (3 * width, width), "out": (width, width), "gate": (hidden, width), "up": (hidden, width), "down": (width, hidden)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape) * shape[1] ** -0.5))
        self.norm1, self.norm2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))

    def mask(self, size: int) -> torch.Tensor:
        return visible(torch.tensor([size], device=self.qkv.device), size)

    def heads_of(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v = (split_heads(part, self.heads) for part in (x @ self.qkv.T).chunk(3, dim=-1))
        return rotate(q), rotate(k), v

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        return merge_heads(attention(*self.heads_of(x), self.mask(x.shape[1]))) @ self.out.T

    def feed(self, x: torch.Tensor) -> torch.Tensor:
        return swiglu(x, self.gate, self.up, self.down)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norms = (lambda x: rms_norm(x, self.norm1)), (lambda x: rms_norm(x, self.norm2))
        return block(x, self.attend, self.feed, *norms)


class OneTooFar(Layer):
    def mask(self, size: int) -> torch.Tensor:
        return torch.ones(size, size, dtype=torch.bool).tril(1)


class OverTime(Layer):
    def feed(self, x: torch.Tensor) -> torch.Tensor:
        return super().feed(x - x.mean(1, keepdim=True))


pictures = {}
for name, kind in {"yours": Layer, "mask one place too wide": OneTooFar, "mean over the text": OverTime}.items():
    torch.manual_seed(0)
    layer, x = kind(8, 2), torch.randn(14, 8)
    ahead = leaks(lambda x: layer(x[None])[0], x)  # noqa: B023
    pictures[name] = influence(lambda x: layer(x[None])[0], x)  # noqa: B023
    print(f"{name}: {len(ahead)} leaks{', the first ones ' + str(ahead[:3]) if ahead else ''}")
week08.heat(pictures, "input at place s", "answer at place t", decades=3, unit="influence, power of ten")
plots.show(
    "Three heat maps of the influence of place s on the answer at place t. Yours: everything right of the "
    "diagonal is exactly zero, a black triangle. The second has one more bright line beside the diagonal, "
    "in the third no black is left at all."
)

# %% [markdown]
# ## 7. A small GPT
# A [GPT](glossary:gpt) is a pile of such layers that reads tokens and says at each place what comes next. Three things are added: an embedding gives each token its vector; a last norm; and a linear map back to the vocabulary. The map back is **the embedding itself** ([Press & Wolf, 2017](https://arxiv.org/abs/1608.05859), §3): the logit of a token is the product of its vector with the answer's, so that one table serves twice:
#
# $$z = \operatorname{norm}\big(\text{layers}(E_{\text{ids}})\big)\, E^\top.$$
#
# The layers are handed in as modules, and know about positions already. The weights are: `tokens`, an `nn.Embedding`, normal with standard deviation **0.02**; `layers`, an `nn.ModuleList` (or `nn.Sequential`) of the very modules that were handed in, which keep their weights and mode; `norm`, an `nn.LayerNorm` with its usual start. No others.
#
# {{task:gpt}}

# %% [markdown] lang="ru"
# ## 7. Маленький GPT
# [GPT](glossary:gpt) — стопка таких слоёв, которая читает токены и на каждом месте говорит, что будет дальше. Добавить надо три вещи: эмбеддинг даёт каждому токену вектор; последняя нормировка; и линейное отображение обратно в словарь. Отображение обратно — **сам эмбеддинг** ([Press, Wolf, 2017](https://arxiv.org/abs/1608.05859), §3): логит токена — произведение его вектора на вектор ответа, так что одна таблица служит дважды:
#
# $$z = \operatorname{norm}\big(\text{layers}(E_{\text{ids}})\big)\, E^\top.$$
#
# Слои даются готовыми модулями и про позиции уже знают. Веса такие: `tokens` — `nn.Embedding`, нормальный со стандартным отклонением **0,02**; `layers` — `nn.ModuleList` (или `nn.Sequential`) из тех самых модулей, что дали, с их весами и режимом; `norm` — `nn.LayerNorm` с обычным началом. Других весов нет.
#
# {{task:gpt}}


# %% solution="gpt"
class GPT(nn.Module):
    """A language model. vocab: number of tokens. layers: modules (n, t, width) -> (n, t, width)."""

    def __init__(self, vocab: int, width: int, layers: Sequence[nn.Module]) -> None:
        ### BEGIN SOLUTION
        super().__init__()
        self.tokens = nn.Embedding(vocab, width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.layers, self.norm = nn.ModuleList(layers), nn.LayerNorm(width)
        ### END SOLUTION

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """The logits of the token after each place. ids: (n, t), token numbers -> (n, t, vocab)."""
        ### BEGIN SOLUTION
        x = self.tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) @ self.tokens.weight.T
        ### END SOLUTION


# %% test="gpt" points=0.25 difficulty=2 minutes=12
torch.manual_seed(0)
made, ids = GPT(9, 4, [nn.Linear(4, 4), nn.Tanh()]), torch.tensor([[1, 7, 3]])
call = "GPT(9, 4, [nn.Linear(4, 4), nn.Tanh()])"
named = check.parameters_of(made, call)  # a second name of the embedding does not count
named = {name: value for name, value in named.items() if name == "tokens.weight" or not np.array_equal(value, named.get("tokens.weight"))}
check.equal(sorted(named), ["layers.0.bias", "layers.0.weight", "norm.bias", "norm.weight", "tokens.weight"], f"the names of the weights of {call}", why="be those of the statement")
found = check.answer(made.forward, ids, call=f"{call}.forward(ids)")
hidden = torch.tanh(F.linear(*(torch.as_tensor(named[key]) for key in ("tokens.weight", "layers.0.weight", "layers.0.bias"))))
check.close(found, F.layer_norm(hidden, [4])[ids] @ torch.as_tensor(named["tokens.weight"]).T, f"{call}.forward(ids)", rtol=1e-4, atol=1e-6, why="follow the formula")
### BEGIN HIDDEN TESTS
rng = check.rng("gpt")


class Reference(nn.Module):
    def __init__(self, vocab, width, layers):
        super().__init__()
        self.tokens, self.norm, self.layers = nn.Embedding(vocab, width), nn.LayerNorm(width), nn.ModuleList(layers)

    def forward(self, ids):
        return F.linear(self.norm(nn.Sequential(*self.layers)(self.tokens(ids))), self.tokens.weight)


def causal_layers(width):
    """A layer that looks back, one that mixes, and a corner: none of them commutes with another."""
    first, second = nn.GRU(width, width, batch_first=True), nn.Linear(width, width)

    class Back(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = first

        def forward(self, x):
            return x + self.inner(x)[0]

    return [Back(), second, nn.Tanh()]


for vocab, width, n, t in [(11, 6, 2, 5), (5, 8, 1, 1), (30, 4, 3, 7), (7, 2, 2, 3)]:
    torch.manual_seed(int(rng.integers(1_000_000)))
    ids = torch.from_numpy(rng.integers(0, vocab, size=(n, t)))
    call = f"GPT({vocab}, {width}, layers)(ids {(n, t)})"
    week08.same_gpt(GPT, Reference, vocab, width, causal_layers, ids, call, "embed, run the layers in their order, normalise, multiply by the embedding")
week08.same_gpt(GPT, Reference, 8, 3, lambda width: [], torch.tensor([[4, 0]]), "GPT(8, 3, [])(ids)", "work without layers")
torch.manual_seed(int(rng.integers(1_000_000)))
pair = GPT(50, 64, []), GPT(50, 64, [])
tables = [check.parameters_of(one, "GPT(50, 64, [])")["tokens.weight"] for one in pair]
check.that(not np.array_equal(*tables), "draw new weights for each network")
check.that(abs(float(tables[0].mean())) < 7 * 0.02 / math.sqrt(3200), "draw the embedding around 0")
check.that(abs(float(tables[0].std()) / 0.02 - 1) < 7 / math.sqrt(6400), "draw the embedding with a standard deviation of 0.02")
check.that(abs(float((np.abs(tables[1]) > 0.02).mean()) - 0.3173) < 7 * 0.0083, "draw from a normal distribution")
for one in pair:
    check.close(check.parameters_of(one, "GPT(50, 64, [])")["norm.weight"], np.ones(64), "norm.weight of a new GPT", why="be nn.LayerNorm's start")
### END HIDDEN TESTS

# %% mutant="gpt" why="a head of its own"
# - self.layers, self.norm = nn.ModuleList(layers), nn.LayerNorm(width)
# + self.layers, self.norm = nn.ModuleList(layers), nn.LayerNorm(width)
# + self.head = nn.Linear(width, vocab, bias=False)
# - return self.norm(x) @ self.tokens.weight.T
# + return self.head(self.norm(x))

# %% mutant="gpt" why="tied by a copy: no gradient through the head"
# - return self.norm(x) @ self.tokens.weight.T
# + return self.norm(x) @ self.tokens.weight.detach().T

# %% mutant="gpt" why="no last norm"
# - return self.norm(x) @ self.tokens.weight.T
# + return (x + 0 * self.norm(x)) @ self.tokens.weight.T

# %% mutant="gpt" why="the norm before the layers"
# - for layer in self.layers:
# -     x = layer(x)
# - return self.norm(x) @ self.tokens.weight.T
# + x = self.norm(x)
# + for layer in self.layers:
# +     x = layer(x)
# + return x @ self.tokens.weight.T

# %% mutant="gpt" why="PyTorch's start of an embedding: standard deviation 1"
# - nn.init.normal_(self.tokens.weight, std=0.02)
# + pass

# %% mutant="gpt" why="uniform weights"
# - nn.init.normal_(self.tokens.weight, std=0.02)
# + nn.init.uniform_(self.tokens.weight, -0.02 * 3**0.5, 0.02 * 3**0.5)

# %% mutant="gpt" why="layers in a plain list"
# - self.layers, self.norm = nn.ModuleList(layers), nn.LayerNorm(width)
# + self.layers, self.norm = list(layers), nn.LayerNorm(width)

# %% mutant="gpt" why="starts the layers anew, too"
# - nn.init.normal_(self.tokens.weight, std=0.02)
# - self.layers, self.norm = nn.ModuleList(layers), nn.LayerNorm(width)
# + self.layers, self.norm = nn.ModuleList(layers), nn.LayerNorm(width)
# + self.apply(lambda m: nn.init.normal_(m.weight, std=0.02) if isinstance(m, nn.Linear | nn.Embedding) else m)

# %% mutant="gpt" why="copies of the layers"
# - self.layers, self.norm = nn.ModuleList(layers), nn.LayerNorm(width)
# + import copy
# + self.layers, self.norm = copy.deepcopy(nn.ModuleList(layers)), nn.LayerNorm(width)

# %% mutant="gpt" why="the layers in eval mode"
# - self.layers, self.norm = nn.ModuleList(layers), nn.LayerNorm(width)
# + self.layers, self.norm = nn.ModuleList(layers).eval(), nn.LayerNorm(width)

# %% mutant="gpt" why="the layers backwards"
# - for layer in self.layers:
# + for layer in reversed(self.layers):

# %% mutant="gpt" why="the first layer alone"
# - for layer in self.layers:
# + for layer in self.layers[:1]:

# %% mutant="gpt" why="a residual too many"
# - x = layer(x)
# + x = x + layer(x)

# %% mutant="gpt" why="probabilities"
# - return self.norm(x) @ self.tokens.weight.T
# + return (self.norm(x) @ self.tokens.weight.T).softmax(-1)

# %% mutant="gpt" why="the last place alone"
# - return self.norm(x) @ self.tokens.weight.T
# + return self.norm(x)[:, -1] @ self.tokens.weight.T

# %% mutant="gpt" why="the same start each time"
# - nn.init.normal_(self.tokens.weight, std=0.02)
# + nn.init.normal_(self.tokens.weight, std=0.02, generator=torch.Generator().manual_seed(0))


# %% alternative="gpt" why="a sequence, a linear function"
class GPT(nn.Module):
    def __init__(self, vocab, width, layers):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList([*layers])
        self.tokens = nn.Embedding.from_pretrained(torch.randn(vocab, width) / 50, freeze=False)

    def forward(self, ids):
        hidden = self.tokens.weight[ids]
        for i in range(len(self.layers)):
            hidden = self.layers[i](hidden)
        return torch.einsum("ntd,vd->ntv", self.norm(hidden), self.tokens.weight)


# %% alternative="gpt" why="a linear layer that shares the table; one sequence"
class GPT(nn.Module):
    def __init__(self, vocab, width, layers):
        super().__init__()
        self.head = nn.Linear(width, vocab, bias=False)
        self.tokens, self.layers, self.norm = nn.Embedding(vocab, width), nn.Sequential(*layers), nn.LayerNorm(width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.head.weight = self.tokens.weight

    def forward(self, ids):
        return self.head(self.norm(self.layers(self.tokens(ids))))


# %% [markdown]
# **One row, all its lessons.** A text of $t + 1$ tokens is $t$ exercises at once: at each place, guess the next one. The network reads **the first $t$ tokens** and is judged by the last $t$; the loss is the mean of $-\ln p$ over all exercises of the batch. Forget the shift, and the model learns to repeat what it sees. {{task:next_loss}}

# %% [markdown] lang="ru"
# **Одна строка — и все её уроки.** Текст из $t + 1$ токенов — это сразу $t$ упражнений: на каждом месте угадать следующий. Сеть читает **первые $t$ токенов**, судят её по последним $t$; ошибка — среднее $-\ln p$ по всем упражнениям батча. Забудете сдвиг — модель научится повторять то, что видит. {{task:next_loss}}


# %% solution="next_loss"
def next_loss(network: Callable[[torch.Tensor], torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """The mean loss of all next tokens: a scalar. ids: (n, t + 1), t >= 1.

    network: (n, t) token numbers -> (n, t, v) logits; it is called once, in the mode that it has,
    with the first t of ids.
    """
    ### BEGIN SOLUTION
    logits = network(ids[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    ### END SOLUTION


# %% test="next_loss" points=0.25 difficulty=1 minutes=8
table = torch.tensor([[0.0, math.log(3), 0.0], [math.log(5), 0.0, 0.0], [0.0, 0.0, 0.0]])
call = "next_loss(lambda ids: table[ids], torch.tensor([[0, 1, 0, 2]]))"
want = -(math.log(3 / 5) + math.log(5 / 7) + math.log(1 / 5)) / 3
check.close(check.answer(next_loss, lambda ids: table[ids], torch.tensor([[0, 1, 0, 2]]), call=call), want, call, rtol=1e-4, why="compare each answer with the token after it")
### BEGIN HIDDEN TESTS
rng = check.rng("next_loss")
for n, t, v in [(1, 1, 3), (2, 4, 5), (3, 1, 2), (4, 7, 6)]:
    logits = torch.from_numpy(2 * rng.normal(size=(n, t, v)))
    ids = torch.from_numpy(rng.integers(0, v, size=(n, t + 1)))
    was_read = []

    def network(read):
        was_read.append(read.tolist())  # noqa: B023
        return logits  # noqa: B023

    call = f"next_loss(network, ids {(n, t + 1)}), v = {v}"
    want = np.mean([[-float(logits[i, j].log_softmax(0)[ids[i, j + 1]]) for j in range(t)] for i in range(n)])
    found = check.answer(next_loss, network, ids, call=call)
    check.close(found, want, call, why="compare each answer with the token after it")
    check.equal(str(np.asarray(found).dtype), "float64", f"the dtype of {call}, of float64 logits", why="be that of the logits")
    check.equal(was_read, [ids[:, :-1].tolist()], f"what the network reads in {call}", why="be the first t tokens, once")
    slope = check.gradient_of(lambda logits: next_loss(lambda read: 2 * (logits / 2), ids), logits, call=call)[0]  # noqa: B023
    truth = logits.softmax(-1) - F.one_hot(ids[:, 1:], v)
    check.close(slope, truth / (n * t), f"the gradient through {call}", why="reach the logits")


class Doubling(nn.Module):
    """Gives twice as much in training mode."""

    def forward(self, x):
        return 2 * x if self.training else x


class Pairs(nn.Module):
    """Logits from a table, through a part that has a mode of its own."""

    def __init__(self, table):
        super().__init__()
        self.table, self.part = nn.Parameter(table), Doubling()

    def forward(self, ids):
        return self.part(self.table[ids])


table, ids = torch.from_numpy(rng.normal(size=(5, 5))), torch.from_numpy(rng.integers(0, 5, size=(3, 6)))
for mode in (True, False):
    module, call = Pairs(table).train(mode), f"next_loss of a module in {'training' if mode else 'eval'} mode"
    z = (table * (1 + mode))[ids[:, :-1]].log_softmax(-1)
    found = check.answer(next_loss, module, ids, call=call)
    check.close(found, -z.gather(2, ids[:, 1:, None]).mean(), call, why="ask the network in the mode that it has")
    check.that(all(one.training == mode for one in module.modules()), "leave each part of the network in its mode")
    check.that(all(p.requires_grad and p.grad is None for p in module.parameters()), "leave the weights of the network as they were")
    slope = check.gradient_of(lambda w: next_loss(lambda read: w[read] * (1 + mode), ids), table, call=f"{call}, seen from its weights")[0]  # noqa: B023
    truth = torch.zeros(5, 5, dtype=torch.float64)
    rows = (z.exp() - F.one_hot(ids[:, 1:], 5)) * (1 + mode) / 15
    check.close(slope, truth.index_add(0, ids[:, :-1].flatten(), rows.flatten(0, 1)), f"the gradient through {call}", why="reach the weights of the network")
huge = torch.tensor([[[1e4, -1e4, 0.0]]])
call = "next_loss of very large logits"
check.close(check.answer(next_loss, lambda ids: huge, torch.tensor([[2, 1]]), call=call), 2e4, call, why="bear large logits")
check.close(check.answer(next_loss, lambda ids: huge, torch.tensor([[2, 0]]), call=call), 0.0, call, why="bear large logits")
### END HIDDEN TESTS

# %% mutant="next_loss" why="targets not shifted"
# - return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
# + return F.cross_entropy(logits.flatten(0, 1), ids[:, :-1].flatten())

# %% mutant="next_loss" why="shifted the other way"
# - return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
# + return F.cross_entropy(logits[:, 1:].flatten(0, 1), ids[:, :-2].flatten()) if ids.shape[1] > 2 else logits.sum()

# %% mutant="next_loss" why="wraps around"
# - return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
# + return F.cross_entropy(logits.flatten(0, 1), ids[:, :-1].roll(-1, 1).flatten())

# %% mutant="next_loss" why="the sum"
# - return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
# + return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")

# %% mutant="next_loss" why="the last place alone"
# - return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
# + return F.cross_entropy(logits[:, -1], ids[:, -1])

# %% mutant="next_loss" why="reads the last token, too"
# - logits = network(ids[:, :-1])
# + logits = network(ids)[:, : ids.shape[1] - 1]

# %% mutant="next_loss" why="the mean over texts of sums"
# - return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
# + return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum") / len(ids)

# %% mutant="next_loss" why="bits"
# - return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
# + return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()) / math.log(2)

# %% mutant="next_loss" why="asks the network without gradients"
# - logits = network(ids[:, :-1])
# + with torch.no_grad():
# +     logits = network(ids[:, :-1])

# %% mutant="next_loss" why="leaves the network in eval mode"
# - logits = network(ids[:, :-1])
# + logits = (network.eval() if isinstance(network, nn.Module) else network)(ids[:, :-1])

# %% mutant="next_loss" why="a logarithm of zero"
# - return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
# + return F.nll_loss(logits.softmax(-1).log().flatten(0, 1), ids[:, 1:].flatten())

# %% mutant="next_loss" why="logits and tokens in different orders"
# - return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
# + return F.cross_entropy(logits.transpose(0, 1).flatten(0, 1), ids[:, 1:].flatten())


# %% alternative="next_loss" why="gather"
def next_loss(network, ids):
    log_p = torch.log_softmax(network(ids[:, : ids.shape[1] - 1]), dim=2)
    return -log_p.gather(2, ids[:, 1:, None]).mean()


# %% [markdown]
# **Two signs of life.** Before training no token is preferred, so the loss must be about $\ln V$; a start far above says that the weights are too large, one below that the model sees the answer. And a model that can learn at all learns **one batch by heart**. Whoever looks at these two first saves days.

# %% [markdown] lang="ru"
# **Два признака жизни.** До обучения ни один токен не лучше других, значит ошибка должна быть около $\ln V$; намного больше — слишком большие веса, меньше — модель видит ответ. А модель, которая вообще способна учиться, выучит **один батч наизусть**. Кто сначала смотрит на эти два признака, бережёт себе дни.

# %%
text = data.load("shakespeare", profile).text
alphabet = sorted(set(text))
number = {character: i for i, character in enumerate(alphabet)}
train_text, test_text = text[:1_000_000], text[-settings["test"] :]
train_ids = torch.tensor([number[c] for c in train_text])
test_ids = torch.tensor([number[c] for c in test_text])
vocab = len(alphabet)

# %%
torch.manual_seed(0)
batch = train_ids[: 4 * 33].reshape(4, 33)
small = GPT(vocab, 32, [Layer(32, 4)])
optimizer, losses = torch.optim.Adam(small.parameters(), 1e-2), []
for _ in range(150):
    loss = next_loss(small, batch)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
ax = plots.curves({"loss": losses}, "One batch, by heart", "step", "loss in nats")
ax.axhline(math.log(vocab), color="0.4", linestyle="--")
ax.text(len(losses), math.log(vocab) - 0.05, "ln V", va="top", ha="right", color="0.4")
print(f"before the first step {losses[0]:.3f}, ln {vocab} = {math.log(vocab):.3f}; after {len(losses)} steps {losses[-1]:.3f}")
plots.show("The loss on one batch begins at a dashed line at the logarithm of the vocabulary's size and falls to nearly zero.")

# %% [markdown]
# **To write**, ask for the next token, draw it, put it behind the text, and ask again. Week 07 had three knobs; here one is enough: the logits are divided by the temperature, and at temperature 0 the largest is taken, of several equal ones the first. A model of this size sees a window only: it reads **at most the last `length` tokens**. Each row of the batch goes on by itself. The network is asked in eval mode and without gradients; afterwards it and all its parts are in the mode in which they were, and torch records gradients as before. If a generator is given, all draws come from it, and torch's global one stays untouched; else from the global one. {{task:generate}}

# %% [markdown] lang="ru"
# **Чтобы писать**, спросите следующий токен, вытяните его, припишите к тексту и спросите снова. В неделе 07 было три ручки, здесь хватит одной: логиты делятся на температуру, а при температуре 0 берётся наибольший, из равных — первый. Модель такого размера видит только окно: она читает **не больше `length` последних токенов**. Каждая строка батча продолжается сама по себе. Сеть спрашивают в режиме eval и без градиентов; потом она и все её части снова в том режиме, в каком были, и режим градиентов прежний. Если дан генератор, все случайные числа берутся из него, а глобальный генератор torch не тронут; иначе — из глобального. {{task:generate}}


# %% solution="generate"
def generate(
    network: nn.Module,
    ids: torch.Tensor,
    count: int,
    length: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """The texts with `count` new tokens each. ids: (n, t), t >= 1 -> (n, t + count), whole numbers.

    network: (n, t) token numbers -> (n, t, v) logits; may be asked for at most `length` tokens.
    """
    ### BEGIN SOLUTION
    training = network.training
    network.eval()
    with torch.no_grad():
        for _ in range(count):
            logits = network(ids[:, -length:])[:, -1]
            if temperature == 0:
                new = logits.argmax(-1, keepdim=True)
            else:
                p = (logits / temperature).softmax(-1)
                new = torch.multinomial(p, 1, generator=generator)
            ids = torch.cat([ids, new], dim=1)
    network.train(training)
    return ids.clone()
    ### END SOLUTION


# %% test="generate" points=0.25 difficulty=2 minutes=15
class Next(nn.Module):
    """Says with certainty that a number comes after the one before; reads three tokens at most."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        assert ids.shape[1] <= 3, "the network was asked for more tokens than length"
        return 60.0 * F.one_hot((ids + 1) % 5, 5)


call = "generate(network that counts modulo 5, [[0, 1], [3, 3]], 4, length=3)"
check.equal(check.answer(generate, Next(), torch.tensor([[0, 1], [3, 3]]), 4, 3, call=call), np.array([[0, 1, 2, 3, 4, 0], [3, 3, 4, 0, 1, 2]]), call, why="go on from the last token of each row")
### BEGIN HIDDEN TESTS
rng = check.rng("generate")


class Mirror(nn.Module):
    """Turns signs in training mode."""

    def forward(self, x):
        return -x if self.training else x


class Table(nn.Module):
    """Logits that hang on the first and the last token that it reads; others in training mode."""

    def __init__(self, first, last):
        super().__init__()
        self.first, self.last, self.sizes, self.part = nn.Parameter(first), nn.Parameter(last), [], nn.Sequential(Mirror())

    def forward(self, ids):
        modes = [one.training for one in self.modules()]
        self.sizes.append((ids.shape[1], any(modes), torch.is_grad_enabled()))
        z = self.part(self.first[ids[:, :1]] + self.last[ids])
        return z.flip(-1) if self.training else z


def by_hand(first, last, row, count, length):
    row = list(row)
    for _ in range(count):
        z = first[row[-length:][0]] + last[row[-1]]
        row.append(int(np.argmax(z)))
    return row


for n, t, count, length, v in [(2, 3, 6, 4, 7), (1, 1, 5, 2, 4), (3, 6, 4, 3, 9), (2, 2, 0, 3, 5), (2, 1, 7, 1, 6), (3, 3, 3, 3, 300)]:
    first, last = rng.normal(size=(2, v, v))
    ids = torch.from_numpy(rng.integers(0, v, size=(n, t)))
    ids[-1, -1] = v - 1
    for mode in (True, False):
        table = Table(torch.from_numpy(first), torch.from_numpy(last)).train(mode)
        call = f"generate(network, ids {(n, t)}, {count}, {length}, temperature=0)"
        with torch.set_grad_enabled(mode):
            found = check.answer(generate, table, ids, count, length, temperature=0, call=call)
            check.equal(torch.is_grad_enabled(), mode, f"whether torch records gradients after {call}", why="be as before")
        want = np.array([by_hand(first, last, row, count, length) for row in ids.tolist()])
        check.equal(found, want, call, why="take the largest logit after the last tokens")
        check.equal(str(np.asarray(found).dtype), "int64", f"the dtype of {call}", why="be whole numbers")
        check.that(all(size <= length for size, _, _ in table.sizes), "read at most the last tokens that it may")
        check.that(not any(training for _, training, _ in table.sizes), "ask the network, with all its parts, in eval mode")
        check.that(not any(graph for _, _, graph in table.sizes), "ask the network without gradients")
        check.that(all(one.training == mode for one in table.modules()), f"leave the network and each of its parts in its mode: {call}")
    check.that(all(p.requires_grad for p in table.parameters()), "leave the weights trainable")
tied = Table(torch.zeros(4, 4), torch.tensor([[0.0, 2, 2, 1]] * 4))
call = "generate at temperature 0, where two logits are equal"
check.equal(check.answer(generate, tied, torch.tensor([[3]]), 2, 5, temperature=0.0, call=call), np.array([[3, 1, 1]]), call, why="take the first")
for level in (0, 5):
    many = torch.zeros(40, 40)
    many[:, level:] = 1.0
    call = "generate at temperature 0, where many logits are equal"
    want = np.array([[7, *[level] * 4], [0, *[level] * 4], [39, *[level] * 4]])
    check.equal(check.answer(generate, Table(torch.zeros(40, 40), many), torch.tensor([[7], [0], [39]]), 4, 5, temperature=0, call=call), want, call, why="take the first")
for dtype, temperature in itertools.product((torch.float32, torch.float64), (1.0, 0.5)):
    sure = Table(torch.zeros(3, 3, dtype=dtype), torch.tensor([-2e4, 3e4, 1e4], dtype=dtype).expand(3, 3))
    call = f"generate(network, ids, 3, 4, temperature={temperature}) where logits are in the ten thousands"
    check.equal(check.answer(generate, sure, torch.tensor([[2], [0]]), 3, 4, temperature=temperature, call=call), np.array([[2, 1, 1, 1], [0, 1, 1, 1]]), call, why="bear large logits")
p, ids = np.array([0.2, 0.7, 0.1]), torch.zeros(60, 1, dtype=torch.long)
z = torch.from_numpy(np.log(p)).float()
for options in ({}, {"temperature": 0.1}, {"temperature": 1.7}):
    coin = Table(torch.zeros(3, 3), options.get("temperature", 1.0) * z.expand(3, 3))  # so that p is the same
    source = torch.Generator().manual_seed(int(rng.integers(1_000_000)))
    call = f"generate(network, ids (60, 1), 24, 4{''.join(f', {o}={v}' for o, v in options.items())}, generator=…)"
    before = torch.random.get_rng_state()
    found = check.array(check.answer(generate, coin, ids, 24, 4, generator=source, call=call, **options), call)[:, 1:]
    check.that(torch.equal(torch.random.get_rng_state(), before), "leave torch's global generator alone")
    for place, one, other in (("token", found[:, ::2], found[:, 1::2]), ("row", found[::2], found[1::2])):
        both = np.zeros((3, 3))
        np.add.at(both, (one.ravel(), other.ravel()), 1 / one.size)
        gap = np.abs(both - np.outer(p, p)) / np.sqrt(np.outer(p, p) * (1 - np.outer(p, p)) / one.size)
        check.that(float(gap.max()) < 7, f"draw each {place} anew, with the probabilities at the temperature ({options or 'the default'})")
coin = Table(torch.zeros(3, 3), z.expand(3, 3))
call = "generate(network, ids, 24, 4, generator=…) without a temperature"
told, untold = (check.answer(generate, coin, ids, 24, 4, generator=torch.Generator().manual_seed(3), call=call, **options) for options in ({"temperature": 1.0}, {}))
check.equal(untold, told, call, why="draw as at temperature 1")
call = "generate(network, ids, 12, 4, generator=torch.Generator().manual_seed(…))"
source = torch.Generator().manual_seed(5)
first_draw = check.answer(generate, coin, ids[:4], 12, 4, generator=source, call=call)
second_draw = check.answer(generate, coin, ids[:4], 12, 4, generator=source, call=call)
again = check.answer(generate, coin, ids[:4], 12, 4, generator=torch.Generator().manual_seed(5), call=call)
check.equal(again, first_draw, call, why="be the same from the same seed")
check.that(not np.array_equal(second_draw, first_draw), "go on with the generator at the second call")
torch.manual_seed(8)
free = check.answer(generate, coin, ids[:4], 12, 4, call="generate without a generator")
other = check.answer(generate, coin, ids[:4], 12, 4, call="generate without a generator")
torch.manual_seed(8)
check.equal(check.answer(generate, coin, ids[:4], 12, 4, call="generate without a generator"), free, "generate without a generator", why="draw from torch's global one")
check.that(not np.array_equal(other, free), "draw anew at the second call")
### END HIDDEN TESTS

# %% mutant="generate" why="multiplies by the temperature"
# - p = (logits / temperature).softmax(-1)
# + p = (logits * temperature).softmax(-1)

# %% mutant="generate" why="the temperature is ignored"
# - p = (logits / temperature).softmax(-1)
# + p = logits.softmax(-1)

# %% mutant="generate" why="always the most probable one"
# - if temperature == 0:
# + if True:

# %% mutant="generate" why="reads everything"
# - logits = network(ids[:, -length:])[:, -1]
# + logits = network(ids)[:, -1]

# %% mutant="generate" why="the beginning of the text"
# - logits = network(ids[:, -length:])[:, -1]
# + logits = network(ids[:, :length])[:, -1]

# %% mutant="generate" why="one token too few"
# - logits = network(ids[:, -length:])[:, -1]
# + logits = network(ids[:, -max(length - 1, 1) :])[:, -1]

# %% mutant="generate" why="the logits of the first place"
# - logits = network(ids[:, -length:])[:, -1]
# + logits = network(ids[:, -length:])[:, 0]

# %% mutant="generate" why="stays in training mode"
# - network.eval()
# + pass

# %% mutant="generate" why="leaves the network in eval mode"
# - network.train(training)
# + pass

# %% mutant="generate" why="puts the network into training mode"
# - network.train(training)
# + network.train()

# %% mutant="generate" why="the root alone goes into eval mode"
# - network.eval()
# + network.training = False

# %% mutant="generate" why="the root alone comes back from eval mode"
# - network.train(training)
# + network.training = training

# %% mutant="generate" why="gradients stay off"
# - with torch.no_grad():
# + torch.set_grad_enabled(False)
# + if True:

# %% mutant="generate" why="gradients are on afterwards"
# - network.train(training)
# + network.train(training)
# + torch.set_grad_enabled(True)

# %% mutant="generate" why="an exponential that overflows"
# - p = (logits / temperature).softmax(-1)
# + p = (logits / temperature).exp()

# %% mutant="generate" why="of equal ones any"
# - new = logits.argmax(-1, keepdim=True)
# + new = torch.multinomial((logits / 1e-4).softmax(-1), 1)

# %% mutant="generate" why="the last of equal ones"
# - new = logits.argmax(-1, keepdim=True)
# + new = logits.shape[-1] - 1 - logits.flip(-1).argmax(-1, keepdim=True)

# %% mutant="generate" why="low temperatures are taken for 0"
# - if temperature == 0:
# + if temperature < 0.3:

# %% mutant="generate" why="whole temperatures"
# - p = (logits / temperature).softmax(-1)
# + p = (logits / max(int(temperature), 1)).softmax(-1)

# %% mutant="generate" why="the same draws for all tokens"
# - new = torch.multinomial(p, 1, generator=generator)
# + state = (generator or torch.default_generator).get_state()
# + new = torch.multinomial(p, 1, generator=generator)
# + (generator or torch.default_generator).set_state(state)

# %% mutant="generate" why="numbers of one byte"
# - return ids.clone()
# + return ids.to(torch.int8).long()

# %% mutant="generate" why="with gradients"
# - with torch.no_grad():
# + with torch.enable_grad():

# %% mutant="generate" why="the generator is ignored"
# - new = torch.multinomial(p, 1, generator=generator)
# + new = torch.multinomial(p, 1)

# %% mutant="generate" why="a seed of its own"
# - new = torch.multinomial(p, 1, generator=generator)
# + new = torch.multinomial(p, 1, generator=torch.Generator().manual_seed(ids.shape[1]))

# %% mutant="generate" why="one draw for all rows"
# - new = torch.multinomial(p, 1, generator=generator)
# + new = torch.multinomial(p[:1], 1, generator=generator).expand(len(p), 1)

# %% mutant="generate" why="the new tokens alone"
# - return ids.clone()
# + return ids[:, ids.shape[1] - count :].clone()

# %% mutant="generate" why="another default"
# - temperature: float = 1.0,
# + temperature: float = 0.8,


# %% alternative="generate" why="a list of columns, the inverse distribution function"
def generate(network, ids, count, length, temperature=1.0, generator=None):
    mode = network.training
    network.train(False)
    columns = list(ids.unbind(1))
    for _ in range(count):
        with torch.no_grad():
            z = network(torch.stack(columns[-length:], dim=1))[:, -1].double()
        if temperature == 0:
            columns.append(z.max(dim=1).indices if len(z) == 0 else torch.tensor([row.index(max(row)) for row in z.tolist()]))
            continue
        edges = torch.softmax(z / temperature, dim=1).cumsum(1)
        u = torch.rand(len(z), 1, generator=generator, dtype=torch.float64)
        columns.append((edges < u).sum(1).clamp(max=z.shape[1] - 1))
    network.train(mode)
    return torch.stack(columns, dim=1)


# %% alternative="generate" why="row by row"
def generate(network, ids, count, length, temperature=1.0, generator=None):
    was, rows = network.training, []
    network.eval()
    with torch.no_grad():
        for row in ids:
            row = row[None]
            for _ in range(count):
                z = network(row[:, -length:])[0, -1]
                if temperature == 0:
                    new = z.max(-1).indices.reshape(1, 1)
                else:
                    new = torch.distributions.Categorical(logits=z / temperature).probs.multinomial(1, generator=generator)[None]
                row = torch.cat([row, new], 1)
            rows.append(row)
    network.train(was)
    return torch.cat(rows)


# %% [markdown]
# ## 8. The ladder, continued
# Week 07 ended with counts above networks. The same text, the same split, the same ruler; week 07's Kneser–Ney model reads the million characters once, PyTorch's LSTM and your GPT get the same time, printed below. The GPT is judged in windows that overlap by half, so that it always sees at least half a window before a token.

# %% [markdown] lang="ru"
# ## 8. Лестница, продолжение
# Неделя 07 закончилась тем, что счётчики стоят выше сетей. Тот же текст, то же разбиение, та же линейка: модель Кнезера — Нея из недели 07 читает миллион символов один раз, LSTM из PyTorch и ваш GPT получают одинаковое время, оно напечатано ниже. GPT судят в окнах с перекрытием в половину, чтобы перед токеном он всегда видел хотя бы полокна.


# %%
class LSTM(nn.Module):
    """Week 07's network. (n, t) token numbers -> (n, t, v) logits."""

    def __init__(self, vocab: int, width: int) -> None:
        super().__init__()
        self.embed, self.layer, self.out = nn.Embedding(vocab, 32), nn.LSTM(32, width, batch_first=True), nn.Linear(width, vocab)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.layer(self.embed(ids))[0])


clock = time.perf_counter if device == "cuda" else time.thread_time  # not hurt by other programs


def train(model: nn.Module, length: int, batch: int, rate: float) -> tuple[nn.Module, int]:
    """Let a network read random windows of the text until the time is over. -> it, its window."""
    run = torch.compile(model) if device == "cuda" else model
    optimizer, steps = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01), 0
    generator = torch.Generator().manual_seed(0)
    end = clock() + settings["seconds"]
    while clock() < end:
        starts = torch.randint(len(train_ids) - length, (batch, 1), generator=generator)
        loss = next_loss(run, train_ids[starts + torch.arange(length + 1)].to(device))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (steps + 1) / 30)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps += 1
    size = sum(p.numel() for p in model.parameters())
    print(f"{type(model).__name__}: {size:,} numbers, {steps} steps of {batch} × {length} characters in {settings['seconds']} s")
    return model.eval(), length


@cache
def trained_lstm() -> tuple[nn.Module, int]:
    torch.manual_seed(0)
    return train(LSTM(vocab, settings["lstm"]).to(device), 64, 32, 4e-3)


@cache
def trained_gpt() -> tuple[nn.Module, int]:
    torch.manual_seed(0)
    layers = [Layer(settings["width"], settings["heads"]) for _ in range(settings["layers"])]
    return train(GPT(vocab, settings["width"], layers).to(device), settings["length"], settings["batch"], settings["rate"])


# %%
@torch.no_grad()
def bits(model: nn.Module, length: int) -> float:
    """Bits per byte of the held-out text; only the second half of each window counts."""
    rows = test_ids.unfold(0, length + 1, length // 2)
    p = [model(part[:, :-1].to(device)).log_softmax(-1).cpu() for part in rows.split(64)]
    judged = torch.cat(p).gather(2, rows[:, 1:, None])[:, length // 2 :]
    return -float(judged.double().mean()) / math.log(2)


def writes(model: nn.Module, length: int) -> str:
    """A line of what a network writes."""
    start = torch.tensor([[number[c] for c in "\n\nROMEO:\n"]], device=device)
    generator = torch.Generator(device).manual_seed(2)
    made = generate(model, start, 110, length, temperature=0.7, generator=generator)
    return "".join(alphabet[i] for i in made[0, start.shape[1] :].tolist())


# %%
ladder = {}
for n in (3, settings["order"]):
    counts, ids = week08.Counts(train_ids.numpy(), n, vocab), [number[c] for c in "\n\nROMEO:\n"]
    noise = np.random.default_rng(2)
    for _ in range(110):
        p = counts.next(np.array(ids)) ** (1 / 0.7)
        ids.append(int(noise.choice(vocab, p=p / p.sum())))
    ladder[f"Kneser–Ney {n}"] = -float(np.log2(counts.read(test_ids.numpy())).mean()), "".join(alphabet[i] for i in ids[9:])
for name, model, window in (("LSTM", *trained_lstm()), ("your GPT", *trained_gpt())):
    ladder[name] = bits(model, window), writes(model, window)
plots.ladder(ladder, f"{len(test_text):,} characters of Shakespeare that no model has read")
plots.show(
    "Bars of bits per byte, each with a line of what the model writes: Kneser–Ney of order 3 and of a "
    "higher order, an LSTM and the GPT after the same seconds."
)
best = min(ladder, key=lambda name: ladder[name][0])
print(f"the best: {best}; GPT against LSTM: {ladder['your GPT'][0]:.2f} to {ladder['LSTM'][0]:.2f} bits per byte")

# %% [markdown]
# Read the bars before you believe them. In seconds the counts still win, and an LSTM learns the first regularities sooner than a transformer: it is *built* to look at the token before, your GPT has to find out that it should. But an LSTM reads a text step by step, while all places of a transformer are computed at once, which a GPU is made for. `full` gives both a GPU's minutes and your GPT 10 million numbers: predict the order of the bars before you run it. **A better architecture is not the one that needs less computation, but the one that makes more of it.**
#
# What did the heads find? Here is where each of the trained heads of the last layer looks.

# %% [markdown] lang="ru"
# Прочтите столбцы, прежде чем им верить. За секунды счётчики всё ещё впереди, а LSTM схватывает первые закономерности раньше трансформера: она так *устроена*, что смотрит на предыдущий токен, а вашему GPT надо ещё узнать, что туда стоит смотреть. Зато LSTM читает текст шаг за шагом, а у трансформера все места вычисляются сразу — для этого и сделаны видеокарты. В `full` у обоих есть минуты видеокарты, а у вашего GPT — 10 миллионов чисел: предскажите порядок столбцов, прежде чем запускать. **Лучше не та архитектура, которой нужно меньше вычислений, а та, которая извлекает из них больше.**
#
# Что нашли головы? Вот куда смотрит каждая обученная голова последнего слоя.

# %%
gpt, phrase = trained_gpt()[0], "the king and the queen"
with torch.no_grad():
    x = gpt.tokens(torch.tensor([[number[c] for c in phrase]], device=device))
    for layer in gpt.layers[:-1]:
        x = layer(x)
    last = gpt.layers[-1]
    q, k, _ = last.heads_of(rms_norm(x, last.norm1))
    eye = torch.eye(len(phrase), device=device).expand(*q.shape[:2], -1, -1)
    looks = attention(q, k, eye, last.mask(len(phrase)))[0].cpu()
week08.heat({f"head {h + 1}": p for h, p in enumerate(looks[:4])}, "looks at", "token", labels=phrase.replace(" ", "_"), unit="weight")
plots.show(
    "Lower triangles of attention weights over the characters of a phrase, one for each head: some heads "
    "look at the character itself or the ones just before it, others spread over what has been read."
)
on_last = [float(p.diagonal(-1).mean()) for p in looks]
print("mean weight on the character just before, head by head:", "  ".join(f"{w:.2f}" for w in on_last))

# %% [markdown]
# Everything in this network you have written, and proven, yourself. Next: `homework`, where the weights of a language model that somebody else has trained go into such blocks and tell a story.

# %% [markdown] lang="ru"
# Всё в этой сети вы написали и проверили сами. Дальше — `homework`: там в такие же блоки лягут веса языковой модели, которую обучил кто-то другой, и она расскажет историю.
