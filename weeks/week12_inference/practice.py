# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # The same model, cheaper
# One language model, the storyteller of 260,000 numbers, and everything that is done to models before millions use them. You give it a memory of its past, write its weights in four bits and less, take half of them away, let a smaller one write drafts for it, put many readers into one queue, spread its training over many machines, and take it out of Python. Each step has a price. At the end a dashboard of your own measurements says what each one brought, and what it cost.

# %% [markdown] lang="ru"
# # Та же модель, но дешевле
# Одна языковая модель, рассказчик из 260 000 чисел, и всё, что делают с моделями, прежде чем ими станут пользоваться миллионы. Вы дадите ей память о прошлом, запишете её веса в четырёх битах и ещё короче, уберёте половину из них, поручите черновики модели поменьше, поставите многих читателей в одну очередь, разложите обучение по многим машинам и перенесёте модель за пределы Python. У каждого шага есть цена. В конце приборная доска из ваших собственных измерений скажет, что каждый из них дал и сколько стоил.

# %% tags=["parameters"]
profile = "small"

# %%
import copy
import math
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from practical_dl import check, data, models, plots, seed_everything
from practical_dl.models.smollm2 import tokenizer
from practical_dl.weeks import week12

seed_everything(0)
if profile == "small":
    torch.set_num_threads(1)
settings = {
    "small": {
        "texts": 32,
        "length": 160,
        "calibration": 64,
        "qat": 30,
        "distil": 120,
        "rounds": 120,
    },
    "full": {
        "texts": 128,
        "length": 256,
        "calibration": 512,
        "qat": 300,
        "distil": 1500,
        "rounds": 400,
    },
}[profile]

# %%
stories = data.load("stories260k", profile)

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Each task can be solved without the others. Functions leave their arguments as they were. No check measures a time; the notebook shows times only as ratios within one run, with their range.
#
# What is the model's quality? It learned from stories that we do not have here, so it tells two sets of its own: `calibration`, on which methods may look, and `held_out`, on which they are judged. On its own texts the whole model is the best there can be, and the logarithm of another model's perplexity exceeds its own by their KL divergence, up to the chance of the draw: a strict judge of what a change has spoilt.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Каждое задание можно решить без остальных. Функции не меняют своих аргументов. Ни одна проверка не измеряет время; сам ноутбук показывает времена только как отношения внутри одного запуска, с разбросом.
#
# Как измерить качество модели? Сказок, на которых она училась, здесь нет, поэтому она расскажет два набора своих: в `calibration` методам можно заглядывать, по `held_out` их судят. На собственных текстах исходная модель — лучшая из возможных, а логарифм перплексии другой модели больше, чем у неё, на их KL-дивергенцию (с точностью до случайности выборки): это строгий судья того, что испорчено.

# %%
model = week12.story(stories)
held_out = week12.tell(model, settings["texts"], settings["length"], seed=1)
calibration = week12.tell(model, settings["calibration"], 128, seed=2)
print(stories)
print(
    f"{held_out.numel():,} tokens to judge by, {calibration.numel():,} to look at. One of them begins:"
)
print(week12.story_text(stories, held_out[0].tolist())[:220])

# %% [markdown]
# ## 1. A memory of the past
# To write token 1,001, attention needs keys and values of the 1,000 before. They do not change, so they are kept: the [KV cache](glossary:kv-cache). The work for one more token is then that of one row and not of 1,001. On a server many requests share a batch, and each is at another place: prompts have different lengths, one request writes its 7th token while another is at its 80th. So the cache belongs to a *request*, and so does the count of its places, by which queries and keys are turned.
#
# `model(ids, cache.attend, lengths)` calls `attend(layer, q, k, v, lengths)` once in each layer. Of row $i$ only the first `lengths[i]` places are new tokens of request $i$, from 0 to all; what is behind them is padding. The rest of the request's text is in your cache.
#
# {{task:kv_cache}}

# %% [markdown] lang="ru"
# ## 1. Память о прошлом
# Чтобы написать токен 1001, вниманию нужны ключи и значения предыдущей тысячи. Они не меняются, поэтому их хранят: это [KV-кэш](glossary:kv-cache) (KV cache). Тогда работа на следующий токен — это одна строка, а не 1001. На сервере много запросов пользователей делят один батч, и каждый стоит на своём месте: промпты у них разной длины, один пишет свой 7-й токен, другой 80-й. Поэтому у каждого *запроса* свой кэш и свой счёт позиций, по которым поворачиваются векторы q и k.
#
# `model(ids, cache.attend, lengths)` вызывает `attend(layer, q, k, v, lengths)` один раз в каждом слое. В строке $i$ только первые `lengths[i]` мест — новые токены запроса $i$ (от нуля до всех); дальше — паддинг. Остальной текст запроса — в вашем кэше.
#
# {{task:kv_cache}}


# %% solution="kv_cache"
class Cache:
    """Keys and values of each layer, for requests of different lengths. Row i is request i."""

    def __init__(self, rotary: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        """rotary(x, places): x (..., t, d) turned by the places (t,) of its tokens, from 0."""
        ### BEGIN SOLUTION
        self.rotary, self.kept = rotary, {}
        ### END SOLUTION

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: Sequence[int]
    ) -> torch.Tensor:
        """Causal attention of the new tokens over their request's past and themselves.

        q: (n, heads, t, d), k, v: (n, kv_heads, t, d), none of them turned yet; each heads / kv_heads
        neighbouring heads of q share a head of k and v. lengths: n numbers from 0 to t. n is the same in each
        call, t is not; layers may come in any order. -> (n, heads, t, d), zeros in the places behind lengths.
        Scores are divided by sqrt(d). Each key is turned once, when it comes.
        """
        ### BEGIN SOLUTION
        out = torch.zeros_like(q)
        for i, new in enumerate(lengths):
            keys, values = self.kept.get((layer, i), (k[i, :, :0], v[i, :, :0]))
            past = keys.shape[1]
            places = torch.arange(past, past + new, device=q.device)
            keys = torch.cat([keys, self.rotary(k[i, :, :new], places)], 1)
            values = torch.cat([values, v[i, :, :new]], 1)
            self.kept[layer, i] = keys, values
            seen = torch.arange(past + new, device=q.device) <= places[:, None]
            turned = self.rotary(q[i, :, :new], places)
            out[i, :, :new] = F.scaled_dot_product_attention(
                turned, keys, values, attn_mask=seen, enable_gqa=True
            )
        return out
        ### END SOLUTION


# %% test="kv_cache" points=1 difficulty=4 minutes=40
torch.manual_seed(4)
q, k, v = torch.randn(1, 6, 5, 4), torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4)
want, own = week12.whole(0, q, k, v), Cache(week12.rotary)
for start, stop in ((0, 3), (3, 4), (4, 5)):
    call = f"cache.attend(0, q, k, v, [{stop - start}]) after {start} tokens"
    part = [x[:, :, start:stop] for x in (q, k, v)]
    found = check.answer(own.attend, 0, *part, [stop - start], call=call)
    check.close(
        found,
        want[:, :, start:stop],
        call,
        rtol=1e-4,
        atol=1e-5,
        why="be the rows of the whole text",
    )
### BEGIN HIDDEN TESTS
rng = check.rng("kv_cache")


def slow_attend(q, k, v, turn):
    """One request: q (heads, t, d), k, v (kv, t, d), query by query."""
    t, share = q.shape[1], len(q) // len(k)
    q, k = turn(q, torch.arange(t)), turn(k, torch.arange(t))
    out = torch.zeros_like(q)
    for h in range(len(q)):
        for j in range(t):
            weights = (k[h // share, : j + 1] @ q[h, j] / q.shape[2] ** 0.5).softmax(0)
            out[h, j] = weights @ v[h // share, : j + 1]
    return out


def other_turn(x, places):
    """No rotation, but a function of the place."""
    return x * (1.5 + torch.as_tensor(places).to(x)[..., None].cos())


def judge_cache(
    heads, kv, d, calls, why, turn=week12.rotary, layers=1, caches=1, dtype=torch.float64, pad=0
):
    """calls: for each call the new tokens of each request."""
    n, totals = len(calls[0]), np.sum(calls, 0)
    turned = 0

    def counted(x, places):
        nonlocal turned
        turned += x.numel()
        return turn(x, places)

    one, other = Cache(counted), Cache(counted)

    def attend(cache, layer, q, k, v, lengths):
        if cache:
            return other.attend(layer, q, k, v, lengths)
        return one.attend(layer, q, k, v, lengths)

    texts, right, done = {}, {}, np.zeros(n, int)
    for key in [(c, m, i) for c in range(caches) for m in range(layers) for i in range(n)]:
        shapes = [(size, int(totals[key[2]]), d) for size in (heads, kv, kv)]
        texts[key] = [torch.from_numpy(rng.normal(size=s)).to(dtype) for s in shapes]
        right[key] = slow_attend(*texts[key], turn)
    for number, lengths in enumerate(calls):
        t = max(lengths) + pad
        for c, m in [(c, m) for m in range(layers) for c in range(caches)]:
            parts = [
                torch.from_numpy(5 * rng.normal(size=(n, s, t, d))).to(dtype)
                for s in (heads, kv, kv)
            ]
            want = torch.zeros_like(parts[0])
            for i, new in enumerate(lengths):
                here = slice(done[i], done[i] + new)
                want[i, :, :new] = right[c, m, i][:, here]
                for part, text in zip(parts, texts[c, m, i], strict=True):
                    part[i, :, :new] = text[:, here]
            call = f"cache.attend({m}, q, k, v, {lengths}), call {number + 1} of {calls}"
            turned = 0
            got = check.answer(attend, c, m, *parts, list(lengths), call=call)
            check.equal(got.shape, tuple(want.shape), f"shape of {call}", why="be that of q")
            behind = np.concatenate([got[i, :, new:].ravel() for i, new in enumerate(lengths)])
            zeros = np.zeros_like(behind)
            check.close(behind, zeros, f"{call}, behind lengths", why="be zeros there")
            tolerance = 1e-8 if dtype == torch.float64 else 1e-4
            check.close(got, want, call, rtol=tolerance, atol=tolerance, why=why)
            check.that(got.dtype == want.numpy().dtype, f"{call}: keep the dtype")
            limit = parts[0].numel() + parts[1].numel()
            check.that(turned <= limit, f"{call}: turn new queries and keys alone, once")
        done += np.array(lengths)


judge_cache(3, 3, 4, [[4]], "be causal attention when a prompt is read")
judge_cache(2, 2, 4, [[3], [1], [1], [1]], "remember what came before, and where it stood")
judge_cache(2, 2, 6, [[3], [2], [4]], "let new tokens look at the past and at each other")
judge_cache(6, 2, 4, [[2], [3]], "let neighbouring heads share")
judge_cache(4, 1, 2, [[2], [1]], "let all heads share one")
judge_cache(2, 1, 4, [[150], [2]], "forget nothing of a long text")
judge_cache(2, 1, 4, [[2, 2, 2], [1, 1, 1]], "keep requests apart")
judge_cache(
    2, 1, 4, [[4, 1, 3], [1, 1, 1], [1, 1, 1]], "count the places of each request for itself"
)
judge_cache(2, 1, 4, [[2, 4], [3, 1], [1, 2]], "leave padding out of the cache", pad=2)
judge_cache(2, 1, 4, [[2, 0, 1], [0, 3, 1], [1, 1, 0]], "let requests take no part in a call")
judge_cache(4, 2, 4, [[3, 1], [1, 2]], "keep layers apart", layers=3)
judge_cache(2, 1, 4, [[3, 1], [1, 2]], "keep two caches apart", caches=2)
judge_cache(2, 1, 4, [[3, 1], [1, 2]], "use the rotary that was handed in", turn=other_turn)
judge_cache(2, 1, 4, [[3, 1], [1, 2]], "work in float32", dtype=torch.float32)
some = [[int(a) for a in row] for row in rng.integers(0, 4, size=(6, 3))]
judge_cache(6, 3, 8, [[5, 2, 3], *some], "hold all of this together", layers=2, caches=2, pad=1)
### END HIDDEN TESTS

# %% mutant="kv_cache" why="positions restart at each call"
# - places = torch.arange(past, past + new, device=q.device)
# - keys = torch.cat([keys, self.rotary(k[i, :, :new], places)], 1)
# + places = torch.arange(past, past + new, device=q.device)
# + keys = torch.cat([keys, self.rotary(k[i, :, :new], places - past)], 1)

# %% mutant="kv_cache" why="the query stands at 0"
# - turned = self.rotary(q[i, :, :new], places)
# + turned = self.rotary(q[i, :, :new], places - past)

# %% mutant="kv_cache" why="requests share a cache"
# - keys, values = self.kept.get((layer, i), (k[i, :, :0], v[i, :, :0]))
# + keys, values = self.kept.get((layer, 0), (k[i, :, :0], v[i, :, :0]))

# %% mutant="kv_cache" why="layers share a cache"
# - keys, values = self.kept.get((layer, i), (k[i, :, :0], v[i, :, :0]))
# + keys, values = self.kept.get((0, i), (k[i, :, :0], v[i, :, :0]))

# %% mutant="kv_cache" why="all caches are one"
# - self.rotary, self.kept = rotary, {}
# + self.rotary = rotary
# + self.kept = Cache.__dict__.get("all") or {}
# + Cache.all = self.kept

# %% mutant="kv_cache" why="nothing is kept"
# - self.kept[layer, i] = keys, values
# + pass

# %% mutant="kv_cache" why="a window: old keys are forgotten"
# - self.kept[layer, i] = keys, values
# + self.kept[layer, i] = keys[:, -64:], values[:, -64:]

# %% mutant="kv_cache" why="padding is kept"
# - self.kept[layer, i] = keys, values
# + self.kept[layer, i] = [torch.cat([a, b[i, :, new:]], 1) for a, b in ((keys, k), (values, v))]

# %% mutant="kv_cache" why="new tokens see each other's future"
# - seen = torch.arange(past + new, device=q.device) <= places[:, None]
# + seen = torch.ones(new, past + new, dtype=torch.bool)

# %% mutant="kv_cache" why="a mask without the past"
# - seen = torch.arange(past + new, device=q.device) <= places[:, None]
# + seen = torch.arange(past + new, device=q.device) <= (places - past)[:, None]

# %% mutant="kv_cache" why="does not see itself"
# - seen = torch.arange(past + new, device=q.device) <= places[:, None]
# + seen = torch.arange(past + new, device=q.device) <= (places - (past > 0))[:, None]

# %% mutant="kv_cache" why="places of the whole batch"
# - past = keys.shape[1]
# + past = max([a.shape[1] for (m, _), (a, _) in self.kept.items() if m == layer], default=0) if i else keys.shape[1]

# %% mutant="kv_cache" why="the past is turned again at each call"
# - keys = torch.cat([keys, self.rotary(k[i, :, :new], places)], 1)
# + keys = torch.cat([keys, k[i, :, :new]], 1)
# - self.kept[layer, i] = keys, values
# + self.kept[layer, i] = keys, values
# + keys = self.rotary(keys, torch.arange(past + new))

# %% mutant="kv_cache" why="values are turned, too"
# - values = torch.cat([values, v[i, :, :new]], 1)
# + values = torch.cat([values, self.rotary(v[i, :, :new], places)], 1)

# %% mutant="kv_cache" why="heads share in turns"
# - turned, keys, values, attn_mask=seen, enable_gqa=True
# + turned, keys.repeat(len(turned) // len(keys), 1, 1), values.repeat(len(turned) // len(keys), 1, 1), attn_mask=seen

# %% mutant="kv_cache" why="what stands in padding is left there"
# - out = torch.zeros_like(q)
# + out = q.clone()

# %% mutant="kv_cache" why="always the same rotary"
# - turned = self.rotary(q[i, :, :new], places)
# + turned = week12.rotary(q[i, :, :new], places)


# %% alternative="kv_cache" why="one array for all, places for each row, softmax by hand"
class Cache:
    def __init__(self, rotary):
        self.rotary, self.layers = rotary, {}

    def attend(self, layer, q, k, v, lengths):
        n, heads, t, d = q.shape
        kv = k.shape[1]
        keys, values, used = self.layers.get(
            layer, (k[:, :, :0], v[:, :, :0], torch.zeros(n, dtype=torch.long))
        )
        new = torch.tensor(lengths)
        places = used[:, None, None] + torch.arange(t)
        room = int((used + new).max()) - keys.shape[2]
        keys, values = (F.pad(x, (0, 0, 0, max(room, 0))) for x in (keys, values))
        turned = self.rotary(k, places)
        for i in range(n):
            keys[i, :, used[i] : used[i] + new[i]] = turned[i, :, : new[i]]
            values[i, :, used[i] : used[i] + new[i]] = v[i, :, : new[i]]
        self.layers[layer] = keys, values, used + new
        grouped = self.rotary(q, places).reshape(n, kv, heads // kv, t, d)
        scores = torch.einsum("ngstd,ngkd->ngstk", grouped, keys) / math.sqrt(d)
        hidden = torch.arange(keys.shape[2]) > places[:, :, :, None]
        weights = scores.masked_fill(hidden[:, :, None], -torch.inf).softmax(-1)
        out = torch.einsum("ngstk,ngkd->ngstd", weights, values).reshape(n, heads, t, d)
        real = torch.arange(t) < new[:, None]
        return torch.where(real[:, None, :, None], out, 0)


# %% [markdown]
# Three prompts of different lengths in one batch, then two more tokens each. Below, the work: how many vectors go through the model's linear layers for each new token of one story, with your cache and without.

# %% [markdown] lang="ru"
# Три промпта разной длины в одном батче, потом ещё по два токена. Ниже работа: сколько векторов проходит через линейные слои модели на каждый новый токен одной сказки, с вашим кэшем и без него.

# %%
lengths, past = [9, 3, 6], Cache(week12.rotary)
with torch.no_grad():
    parts = [model(held_out[:3, :9], past.attend, lengths)]
    for step in range(2):
        new = torch.stack([held_out[i, n + step] for i, n in enumerate(lengths)])[:, None]
        parts.append(model(new, past.attend, [1, 1, 1]))
    for i, n in enumerate(lengths):
        alone = model(held_out[i : i + 1, : n + 2])[0]
        ours = torch.cat([parts[0][i, :n], parts[1][i], parts[2][i]])
        print(
            f"a prompt of {n} tokens: largest difference to the whole pass {float((ours - alone).abs().max()):.1e}"
        )

# %%
past, places, work = (
    Cache(week12.rotary),
    [1, 2, 4, 8, 16, 32, 64, 128],
    {"whole text again": [], "with your cache": []},
)
with torch.no_grad():
    read = 0
    for n in places:
        past_part, new = held_out[:1, read : n - 1], held_out[:1, n - 1 : n]
        if past_part.numel():
            model(past_part, past.attend, [past_part.shape[1]])
        work["with your cache"].append(
            week12.rows_through(model, lambda x=new: model(x, past.attend, [1]))
        )
        work["whole text again"].append(
            week12.rows_through(model, lambda n=n: model(held_out[:1, :n]))
        )
        read = n
plots.curves(
    {name: (places, rows) for name, rows in work.items()},
    "Work for one more token",
    "its place",
    "vectors",
    log_x=True,
    log_y=True,
)
plots.show(
    "Vectors through linear layers for one more token against its place, on log axes: without a cache a "
    "rising straight line, with it a flat one."
)
print(
    f"at place {places[-1]}: {work['whole text again'][-1]:,} vectors without a cache, {work['with your cache'][-1]} with it"
)

# %% [markdown]
# ## 2. Fewer bits
# Generation waits for memory, said the seminar's roofline: each token reads all weights once. So weights of four bits can be eight times as fast as those of 32, where the machine unpacks them on its way. No common machine has an array of four-bit numbers, however: two of them share a byte. Whole numbers from $-8$ to $7$ are written in two's complement, so $-1$ is `1111`.
#
# {{task:pack}}

# %% [markdown] lang="ru"
# ## 2. Меньше битов
# Генерация ждёт память, сказала линия крыши на семинаре: каждый токен читает все веса один раз. Поэтому четырёхбитные веса могут быть в восемь раз быстрее 32-битных, если машина распаковывает их на ходу. Но массивов из четырёхбитных чисел у обычных машин нет: два таких числа делят один байт. Целые числа от $-8$ до $7$ записываются в дополнительном коде, поэтому $-1$ — это `1111`.
#
# {{task:pack}}


# %% solution="pack"
def pack(values: torch.Tensor) -> torch.Tensor:
    """Two numbers from -8 to 7 a byte: (..., n) of any integer dtype -> uint8 (..., ceil(n / 2)).

    Of each pair the first stands in the low four bits. Where n is odd, the last high bits are zeros.

    pack([1, -1, 2]) -> [0xF1, 0x02]
    """
    ### BEGIN SOLUTION
    bits = F.pad(values.to(torch.int64) & 15, (0, values.shape[-1] % 2))
    return (bits[..., 0::2] | bits[..., 1::2] << 4).to(torch.uint8)
    ### END SOLUTION


def unpack(packed: torch.Tensor, n: int) -> torch.Tensor:
    """The n numbers that were packed, int8 (..., n)."""
    ### BEGIN SOLUTION
    whole = packed.to(torch.int64)
    bits = torch.stack([whole & 15, whole >> 4], -1).flatten(-2)[..., :n]
    return ((bits ^ 8) - 8).to(torch.int8)
    ### END SOLUTION


# %% test="pack" points=0.75 difficulty=2 minutes=15
call = "pack(tensor([1, -1, 2]))"
found = check.answer(pack, torch.tensor([1, -1, 2]), call=call)
check.equal(found.tolist(), [0xF1, 0x02], call)
call = "unpack(tensor([0x7A, 0x0D], dtype=uint8), 3)"
found = check.answer(unpack, torch.tensor([0x7A, 0x0D], dtype=torch.uint8), 3, call=call)
check.equal(found.tolist(), [-6, 7, -3], call, why="take the low four bits first, and the sign")
### BEGIN HIDDEN TESTS
rng = check.rng("pack")


def slow_pack(row):
    """By strings of bits."""
    four = [format(v % 16, "04b") for v in row] + ["0000"] * (len(row) % 2)
    return [int(high + low, 2) for low, high in zip(four[::2], four[1::2], strict=True)]


call = "pack(tensor([-3, 2]))"
got = check.answer(pack, torch.tensor([-3, 2]), call=call)
check.equal(got.shape, (1,), f"shape of {call}", why="be a byte for two numbers")
check.equal(got.tolist(), [0x2D], call, why="keep the sign of one out of the bits of the other")
for shape, dtype in [
    ((1,), torch.int64),
    ((2,), torch.int8),
    ((9,), torch.int32),
    ((16,), torch.int64),
    ((3, 5), torch.int16),
    ((4, 6), torch.int8),
    ((2, 3, 7), torch.int64),
    ((5, 1), torch.int32),
]:
    raw = rng.integers(-8, 8, size=shape)
    values = torch.from_numpy(raw).to(dtype)
    call = f"pack({dtype} of shape {shape})"
    got = check.answer(pack, values, call=call)
    want = np.array([slow_pack(row) for row in raw.reshape(-1, shape[-1]).tolist()])
    want = want.reshape(*shape[:-1], -1).astype(np.uint8)
    check.equal(got.shape, want.shape, f"shape of {call}", why="be ceil(n / 2) bytes a row")
    check.equal(got, want, call, why="hold the first of a pair in the low bits, row by row")
    check.that(str(got.dtype) == "uint8", f"{call}: be uint8")
    call = f"unpack(packed, {shape[-1]})"
    got = check.answer(unpack, torch.from_numpy(want), shape[-1], call=call)
    check.equal(got, raw, f"{call} of shape {shape}", why="be what was packed")
    check.that(str(got.dtype) == "int8", f"{call}: be int8")
every = np.array([[low, high] for high in range(-8, 8) for low in range(-8, 8)])
got = check.answer(pack, torch.from_numpy(every), call="pack of all 256 pairs")
check.equal(
    got[:, 0].tolist(),
    [slow_pack(row)[0] for row in every.tolist()],
    "pack of all 256 pairs",
    why="hold the first in the low bits",
)
got = check.answer(unpack, torch.from_numpy(got), 2, call="unpack of all 256 bytes")
check.equal(got, every, "unpack of all 256 bytes", why="be what was packed")
for n in (7, 6):
    turned = torch.from_numpy(rng.integers(-8, 8, size=(n, 4))).T
    want, call = np.array([slow_pack(row) for row in turned.tolist()]), f"pack(x.T), x {(n, 4)}"
    got = check.answer(pack, turned, call=call)
    check.equal(got, want, call, why="go along the last axis, however the numbers lie in memory")
    columns = torch.from_numpy(want.astype(np.uint8).T.copy()).T
    got = check.answer(unpack, columns, n, call=f"unpack(p.T, {n})")
    check.equal(got, turned, f"unpack(p.T, {n})", why="be what was packed")
### END HIDDEN TESTS

# %% mutant="pack" why="the first in the high bits"
# - return (bits[..., 0::2] | bits[..., 1::2] << 4).to(torch.uint8)
# + return (bits[..., 1::2] | bits[..., 0::2] << 4).to(torch.uint8)

# %% mutant="pack" why="halves in place of pairs"
# - return (bits[..., 0::2] | bits[..., 1::2] << 4).to(torch.uint8)
# + half = bits.shape[-1] // 2
# + return (bits[..., :half] | bits[..., half:] << 4).to(torch.uint8)

# %% mutant="pack" why="the sign runs into the neighbour"
# - bits = F.pad(values.to(torch.int64) & 15, (0, values.shape[-1] % 2))
# + bits = F.pad(values.to(torch.int64), (0, values.shape[-1] % 2))

# %% mutant="pack" why="an offset in place of two's complement"
# - bits = F.pad(values.to(torch.int64) & 15, (0, values.shape[-1] % 2))
# + bits = F.pad(values.to(torch.int64) + 8, (0, values.shape[-1] % 2))

# %% mutant="pack" why="the sign is lost"
# - return ((bits ^ 8) - 8).to(torch.int8)
# + return bits.to(torch.int8)

# %% mutant="pack" why="sign and size"
# - return ((bits ^ 8) - 8).to(torch.int8)
# + return torch.where(bits > 7, 8 - bits, bits).to(torch.int8)

# %% mutant="pack" why="7 is negative"
# - return ((bits ^ 8) - 8).to(torch.int8)
# + return torch.where(bits >= 7, bits - 16, bits).to(torch.int8)

# %% mutant="pack" why="the last one of an odd row is lost"
# - bits = F.pad(values.to(torch.int64) & 15, (0, values.shape[-1] % 2))
# + bits = F.pad(values.to(torch.int64) & 15, (0, 0))[..., : max(values.shape[-1] // 2 * 2, 2)]
# + bits = F.pad(bits, (0, bits.shape[-1] % 2))

# %% mutant="pack" why="the padding stays"
# - bits = torch.stack([whole & 15, whole >> 4], -1).flatten(-2)[..., :n]
# + bits = torch.stack([whole & 15, whole >> 4], -1).flatten(-2)

# %% mutant="pack" why="all low bits, then all high ones"
# - bits = torch.stack([whole & 15, whole >> 4], -1).flatten(-2)[..., :n]
# + bits = torch.cat([whole & 15, whole >> 4], -1)[..., :n]

# %% mutant="pack" why="rows run together"
# - return (bits[..., 0::2] | bits[..., 1::2] << 4).to(torch.uint8)
# + flat = (bits[..., 0::2] | bits[..., 1::2] << 4).to(torch.uint8)
# + return flat.flatten()

# %% mutant="pack" why="asks for numbers that lie in a row"
# - return (bits[..., 0::2] | bits[..., 1::2] << 4).to(torch.uint8)
# + values.view(-1)
# + return (bits[..., 0::2] | bits[..., 1::2] << 4).to(torch.uint8)

# %% mutant="pack" why="always a byte more for what may be odd"
# - bits = F.pad(values.to(torch.int64) & 15, (0, values.shape[-1] % 2))
# + bits = F.pad(values.to(torch.int64) & 15, (0, 2 - values.shape[-1] % 2))

# %% mutant="pack" why="numbers of 64 bits: nothing is saved"
# - return (bits[..., 0::2] | bits[..., 1::2] << 4).to(torch.uint8)
# + return bits[..., 0::2] | bits[..., 1::2] << 4


# %% alternative="pack" why="remainders, in NumPy"
def pack(values):
    raw = np.mod(values.numpy().astype(int), 16)
    if raw.shape[-1] % 2:
        raw = np.concatenate([raw, np.zeros_like(raw[..., :1])], -1)
    low, high = np.moveaxis(raw.reshape(*raw.shape[:-1], -1, 2), -1, 0)
    return torch.from_numpy((low + 16 * high).astype(np.uint8))


def unpack(packed, n):
    raw = packed.numpy().astype(int)
    both = np.zeros((*raw.shape[:-1], 2 * raw.shape[-1]), dtype=np.int8)
    both[..., ::2], both[..., 1::2] = raw % 16, raw // 16
    return torch.from_numpy(np.where(both > 7, both - 16, both)[..., :n])


# %%
def bits_of(value: int) -> str:
    """The bits of a byte, in two halves."""
    return f"{value:08b}"[:4] + " " + f"{value:08b}"[4:]


some = torch.tensor([3, -3, 7, -8, -1])
print(
    f"{some.tolist()}  ->  {', '.join(map(bits_of, pack(some).tolist()))}  ->  {unpack(pack(some), 5).tolist()}"
)
weights = sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear))
print(
    f"all linear layers: {4 * weights:,} bytes in float32, {pack(torch.zeros(weights, dtype=torch.int8)).numel():,} packed, scales not counted"
)

# %% [markdown]
# **Scale and zero point.** To write real weights as whole numbers from 0 to $2^b - 1$ ([quantization](glossary:quantization)), stretch an even grid over their range. Zero must be on the grid, or every pruned or padded zero turns into noise; so the range is widened to hold it:
#
# $$l = \min(0, \min w), \quad u = \max(0, \max w), \quad s = \frac{u - l}{2^b - 1}, \quad z = \mathrm{round}(-l / s).$$
#
# A weight becomes $c = \mathrm{clip}\bigl(\mathrm{round}(w / s) + z,\ 0,\ 2^b - 1\bigr)$, and is read as $s\,(c - z)$; halves are rounded to the even neighbour, as `torch.round` does. One large weight stretches the grid for all that share it. So a matrix is cut into blocks, each with a scale of its own: the whole matrix, each row (an output channel), or groups within a row. Each block costs one more scale.
#
# {{task:grid}}

# %% [markdown] lang="ru"
# **Масштаб и нулевая точка.** Чтобы записать вещественные веса целыми числами от 0 до $2^b - 1$ ([квантование](glossary:quantization), quantization), натянем на их размах равномерную сетку. Ноль обязан лежать на сетке, иначе каждый убранный вес и каждый ноль дополнения превратятся в шум; поэтому размах расширяют до него:
#
# $$l = \min(0, \min w), \quad u = \max(0, \max w), \quad s = \frac{u - l}{2^b - 1}, \quad z = \mathrm{round}(-l / s).$$
#
# Вес превращается в $c = \mathrm{clip}\bigl(\mathrm{round}(w / s) + z,\ 0,\ 2^b - 1\bigr)$ и читается как $s\,(c - z)$; половины округляются до чётного, как в `torch.round`. Один большой вес растягивает сетку для всех, кто её делит. Поэтому матрицу режут на блоки, каждый со своим масштабом: вся матрица, каждая строка (выходной канал), группы внутри строки. Каждый блок стоит ещё одного масштаба.
#
# {{task:grid}}


# %% solution="grid"
def grid(w: torch.Tensor, bits: int, blocks: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales and zero points of the blocks of a matrix, both (r, c) and of the dtype of w.

    w: (out, in), cut into r times c blocks of equal size; blocks = (r, c) divide (out, in). A block of
    nothing but zeros has scale 1 and zero point 0.

    grid([[-1, 0.5, 2, 0.2]], 2, (1, 2)) -> ([[0.5, 0.667]], [[2, 0]])
    """
    ### BEGIN SOLUTION
    (r, c), (rows, columns) = blocks, w.shape
    parts = w.reshape(r, rows // r, c, columns // c)
    low, high = parts.amin((1, 3)).clamp(max=0), parts.amax((1, 3)).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = torch.where(scale == 0, 1, scale)
    return scale, (-low / scale).round()
    ### END SOLUTION


def spread(values: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Values of blocks (r, c), each for all weights of its block -> shape (out, in)."""
    ### BEGIN SOLUTION
    (r, c), (rows, columns) = values.shape, shape
    return values.repeat_interleave(rows // r, 0).repeat_interleave(columns // c, 1)
    ### END SOLUTION


def quantize(w: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes of all weights, uint8 (out, in). scale, zero: (r, c). bits: at most 8."""
    ### BEGIN SOLUTION
    codes = (w / spread(scale, w.shape)).round() + spread(zero, w.shape)
    return codes.clamp(0, 2**bits - 1).to(torch.uint8)
    ### END SOLUTION


def dequantize(codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
    """The weights that the codes stand for, (out, in), of the dtype of scale."""
    ### BEGIN SOLUTION
    return (codes.to(scale.dtype) - spread(zero, codes.shape)) * spread(scale, codes.shape)
    ### END SOLUTION


# %% test="grid" points=0.75 difficulty=3 minutes=25
some = torch.tensor([[-1.0, 0.5, 2.0, 0.2], [-3.4, -6.0, 1.0, 5.0]], dtype=torch.float64)
scale, zero = check.answer(grid, some, 2, (2, 2), call="grid(w, 2, (2, 2))")
check.close(
    scale,
    [[0.5, 2 / 3], [2, 5 / 3]],
    "grid(w, 2, (2, 2))[0]",
    why="be range by steps, with 0 in the range",
)
check.equal(zero, [[2.0, 0.0], [3.0, 0.0]], "grid(w, 2, (2, 2))[1]")
codes = check.answer(
    quantize,
    some,
    torch.from_numpy(scale),
    torch.from_numpy(zero),
    2,
    call="quantize(w, scale, zero, 2)",
)
check.equal(codes, [[0, 3, 3, 0], [1, 0, 1, 3]], "quantize(w, scale, zero, 2)")
call = "dequantize([[0, 3], [1, 2]], [[0.5], [3.0]], [[2.0], [1.0]])"
blocks = (torch.tensor([[0.5], [3.0]]), torch.tensor([[2.0], [1.0]]))
found = check.answer(
    dequantize, torch.tensor([[0, 3], [1, 2]], dtype=torch.uint8), *blocks, call=call
)
check.close(found, [[-1, 0.5], [0, 3]], call)
### BEGIN HIDDEN TESTS
rng = check.rng("grid")


def slow_grid(w, bits, r, c):
    """Block by block."""
    height, width = w.shape[0] // r, w.shape[1] // c
    scale, zero = np.ones((r, c)), np.zeros((r, c))
    for i in range(r):
        for j in range(c):
            block = [0.0, *w[i * height : (i + 1) * height, j * width : (j + 1) * width].ravel()]
            if max(block) > min(block):
                scale[i, j] = (max(block) - min(block)) / (2**bits - 1)
                zero[i, j] = round(-min(block) / scale[i, j])
    return scale, zero


def judge_grid(w, bits, r, c, why, near="be the code nearest to zero of each block"):
    """The scale, the zero point, the codes and what is read from them, one after the other."""
    call = f"grid(w {w.shape}, {bits}, {(r, c)})"
    want = slow_grid(w, bits, r, c)
    got = check.answer(grid, torch.from_numpy(w), bits, (r, c), call=call)
    check.close(got[0], want[0], f"{call}[0]", rtol=1e-9, atol=0, why=why)
    check.equal(got[1], want[1], f"{call}[1]", why=near)
    scale, zero = want
    call = f"quantize(w {w.shape}, scale {scale.shape}, zero, {bits})"
    codes = check.answer(quantize, *map(torch.from_numpy, (w, scale, zero)), bits, call=call)
    right, height, width = np.zeros(w.shape, np.uint8), w.shape[0] // r, w.shape[1] // c
    back = np.zeros(w.shape)
    for i, j in np.ndindex(*w.shape):
        s, z = scale[i // height, j // width], zero[i // height, j // width]
        right[i, j] = min(max(round(w[i, j] / s) + z, 0), 2**bits - 1)
        back[i, j] = s * (float(right[i, j]) - z)
    said = near if "halves" in near else "take the nearest code in range, each by its block"
    check.equal(codes, right, call, why=said)
    check.that(str(codes.dtype) == "uint8", f"{call}: be uint8")
    call = f"dequantize(codes {w.shape}, scale {scale.shape}, zero)"
    got = check.answer(dequantize, *map(torch.from_numpy, (right, scale, zero)), call=call)
    check.close(got, back, call, rtol=1e-9, atol=1e-12, why="be s (c - z)")


for bits, r, c, rows, columns, why in [
    (4, 1, 1, 3, 5, "be the range by the steps, in the precision of w"),
    (3, 4, 1, 4, 7, "have a grid for each row"),
    (8, 2, 3, 2, 12, "have a grid for each group of a row"),
    (1, 3, 2, 6, 4, "have blocks of several rows"),
    (5, 1, 4, 3, 8, "have blocks of all rows"),
]:
    w = rng.normal(size=(rows, columns)) * rng.uniform(0.1, 9)
    judge_grid(w, bits, r, c, why)
judge_grid(np.abs(rng.normal(size=(3, 6))) + 0.5, 4, 3, 1, "hold zero where all are positive")
judge_grid(-np.abs(rng.normal(size=(3, 6))) - 0.5, 4, 3, 2, "hold zero where all are negative")
flat = np.repeat([[0.7], [-2.3], [0.0], [5.0]], 6, 1)
judge_grid(flat, 4, 4, 1, "hold for constant rows, and be 1 for a row of zeros")
judge_grid(
    1e-7 * rng.normal(size=(4, 6)), 4, 4, 1, "hold for tiny weights: only zeros have scale 1"
)
halves = np.array([[-2.0, 4, 1, 3, -1, 2], [-1, 5, 1, 3, 0, 2], [-3, 3, 1, -1, 2, 0]])
judge_grid(halves, 2, 3, 1, "be the range by the steps", "round halves to the even neighbour")
w = rng.normal(size=(4, 8))
narrow = (
    torch.full((4, 2), 0.11, dtype=torch.float64),
    torch.tensor([[3.0, 1], [0, 7], [4, 2], [6, 5]], dtype=torch.float64),
)
call = "quantize(w, a narrow scale, zero, 3)"
codes = check.answer(quantize, torch.from_numpy(9 * w), *narrow, 3, call=call)
want = np.clip(np.round(9 * w / 0.11) + narrow[1].numpy().repeat(4, 1), 0, 7)
check.equal(codes, want.astype(np.uint8), call, why="clip what lies outside")
for dtype in (torch.float32, torch.float64):
    got = check.answer(grid, torch.from_numpy(w).to(dtype), 4, (4, 2), call=f"grid(w of {dtype})")
    kept = {str(one.dtype) for one in got}
    check.equal(
        kept, {str(dtype).split(".")[1]}, f"dtypes of grid(w of {dtype})", why="have that of w"
    )
    got = check.answer(
        dequantize,
        torch.zeros(4, 8, dtype=torch.uint8),
        *(one.to(dtype) for one in narrow),
        call="dequantize",
    )
    check.equal(
        str(got.dtype),
        str(dtype).split(".")[1],
        f"dtype of dequantize with scales of {dtype}",
        why="have that of scale",
    )
call = "spread([[1, 2], [3, 4]], (4, 6))"
got = check.answer(spread, torch.tensor([[1, 2], [3, 4]]), (4, 6), call=call)
check.equal(
    got, np.kron([[1, 2], [3, 4]], np.ones((2, 3), int)), call, why="repeat each value in its block"
)
### END HIDDEN TESTS

# %% mutant="grid" why="as many steps as codes"
# - scale = (high - low) / (2**bits - 1)
# + scale = (high - low) / 2**bits

# %% mutant="grid" why="zero need not be in the range"
# - low, high = parts.amin((1, 3)).clamp(max=0), parts.amax((1, 3)).clamp(min=0)
# + low, high = parts.amin((1, 3)), parts.amax((1, 3))

# %% mutant="grid" why="symmetric about 0"
# - low, high = parts.amin((1, 3)).clamp(max=0), parts.amax((1, 3)).clamp(min=0)
# + high = parts.abs().amax((1, 3))
# + low = -high

# %% mutant="grid" why="a zero point between two codes"
# - return scale, (-low / scale).round()
# + return scale, -low / scale

# %% mutant="grid" why="a zero point rounded down"
# - return scale, (-low / scale).round()
# + return scale, (-low / scale).floor()

# %% mutant="grid" why="zeros divide by zero"
# - scale = torch.where(scale == 0, 1, scale)
# + pass

# %% mutant="grid" why="one grid for all"
# - parts = w.reshape(r, rows // r, c, columns // c)
# + parts = w.reshape(1, rows, 1, columns).expand(r, rows, c, columns)

# %% mutant="grid" why="blocks in turns"
# - parts = w.reshape(r, rows // r, c, columns // c)
# + parts = w.reshape(r, rows // r, columns // c, c).transpose(2, 3)

# %% mutant="grid" why="values in turns"
# - return values.repeat_interleave(rows // r, 0).repeat_interleave(columns // c, 1)
# + return values.repeat(rows // r, columns // c)

# %% mutant="grid" why="what lies outside runs over"
# - return codes.clamp(0, 2**bits - 1).to(torch.uint8)
# + return codes.to(torch.int64).to(torch.uint8)

# %% mutant="grid" why="clips to one code more"
# - return codes.clamp(0, 2**bits - 1).to(torch.uint8)
# + return codes.clamp(0, 2**bits).to(torch.uint8)

# %% mutant="grid" why="small scales are taken for zero"
# - scale = torch.where(scale == 0, 1, scale)
# + scale = torch.where(scale < 1e-6, 1, scale)

# %% mutant="grid" why="halves are rounded after the zero point is added"
# - codes = (w / spread(scale, w.shape)).round() + spread(zero, w.shape)
# + codes = (w / spread(scale, w.shape) + spread(zero, w.shape)).round()

# %% mutant="grid" why="cuts off in place of rounding"
# - codes = (w / spread(scale, w.shape)).round() + spread(zero, w.shape)
# + codes = (w / spread(scale, w.shape) + spread(zero, w.shape)).floor()

# %% mutant="grid" why="forgets the zero point when it reads"
# - return (codes.to(scale.dtype) - spread(zero, codes.shape)) * spread(scale, codes.shape)
# + return codes.to(scale.dtype) * spread(scale, codes.shape)

# %% mutant="grid" why="bytes below zero run over"
# - return (codes.to(scale.dtype) - spread(zero, codes.shape)) * spread(scale, codes.shape)
# + return (codes - spread(zero, codes.shape).to(torch.uint8)) * spread(scale, codes.shape)


# %% alternative="grid" why="block by block, and an index for each axis"
def grid(w, bits, blocks):
    scale = torch.ones(blocks, dtype=w.dtype)
    zero = torch.zeros(blocks, dtype=w.dtype)
    for i, band in enumerate(w.chunk(blocks[0], 0)):
        for j, block in enumerate(band.chunk(blocks[1], 1)):
            low, high = (
                min(block.min(), torch.zeros((), dtype=w.dtype)),
                max(block.max(), torch.zeros((), dtype=w.dtype)),
            )
            if high > low:
                scale[i, j] = (high - low) / (2**bits - 1)
                zero[i, j] = torch.round(-low / scale[i, j])
    return scale, zero


def spread(values, shape):
    i = torch.arange(shape[0]) * values.shape[0] // shape[0]
    j = torch.arange(shape[1]) * values.shape[1] // shape[1]
    return values[i][:, j]


def quantize(w, scale, zero, bits):
    s, z = spread(scale, w.shape), spread(zero, w.shape)
    return torch.clip(torch.round(w / s) + z, 0, (1 << bits) - 1).byte()


def dequantize(codes, scale, zero):
    s, z = spread(scale, codes.shape), spread(zero, codes.shape)
    return s * codes - s * z


# %% [markdown]
# How far are the weights of one layer moved? With one grid for the whole matrix, one for each row, four for each row; a bar for each, in steps of its own grid in the worst case, and on average in the weights' deviation.

# %% [markdown] lang="ru"
# Насколько сдвинутся веса одного слоя? Одна сетка на всю матрицу, одна на строку, четыре на строку; для каждой — худший сдвиг в шагах её сетки и средний в отклонениях весов.

# %%
weight = model.blocks[0].wq.weight.detach()
bars = {}
for name, blocks in {
    "the matrix": (1, 1),
    "each row": (len(weight), 1),
    "a quarter of a row": (len(weight), 4),
}.items():
    scale, zero = grid(weight, 4, blocks)
    back = dequantize(quantize(weight, scale, zero, 4), scale, zero)
    error = back - weight
    worst = float((error / spread(scale, weight.shape)).abs().max())
    bars[name] = float(error.square().mean().sqrt() / weight.std())
    print(
        f"a grid for {name:18}: worst {worst:.3f} steps, {4 + blocks[0] * blocks[1] * 20 / weight.numel():.2f} bits a weight with scales"
    )
week12.bars(bars, "error by the deviation of the weights", "Four bits, grids of three sizes")
plots.show(
    "Bars of the mean error in four bits: it falls from one grid for the matrix to one a row to four a row."
)

# %% [markdown]
# **A model with other weights.** Rounding to nearest (RTN) changes the weights of linear layers and nothing else: activations, embeddings and norms stay as they are. Write it once for all that is to come: a copy of a model in which a function has changed the weight matrix of each `nn.Linear`. And the judge, perplexity, over all next tokens of a batch of texts:
#
# $$\mathrm{PPL} = \exp\Bigl(-\frac{1}{n (t - 1)} \sum_{i=1}^{n} \sum_{j=1}^{t-1} \log p(x_{i, j+1} \mid x_{i, 1}, \dots, x_{i, j})\Bigr).$$
#
# {{task:with_weights}}

# %% [markdown] lang="ru"
# **Модель с другими весами.** Округление до ближайшего (round to nearest, RTN) меняет веса линейных слоёв и больше ничего: активации, эмбеддинги и нормы остаются прежними. Напишите это один раз для всего, что впереди: копию модели, в которой функция изменила матрицу весов каждого `nn.Linear`. И судью — перплексию по всем следующим токенам батча текстов:
#
# $$\mathrm{PPL} = \exp\Bigl(-\frac{1}{n (t - 1)} \sum_{i=1}^{n} \sum_{j=1}^{t-1} \log p(x_{i, j+1} \mid x_{i, 1}, \dots, x_{i, j})\Bigr).$$
#
# {{task:with_weights}}


# %% solution="with_weights"
def with_weights(
    model: nn.Module, change: Callable[[str, torch.Tensor], torch.Tensor]
) -> nn.Module:
    """A copy of a model; the weight w of each nn.Linear called name in it is change(name, w).

    name: as named_modules() says it, so "" where the model itself is an nn.Linear; subclasses count, too.
    Nothing else differs (modes, what is frozen), and the model stays as it was, also where change writes into
    the tensor that it gets.
    """
    ### BEGIN SOLUTION
    made = copy.deepcopy(model)
    with torch.no_grad():
        for name, layer in made.named_modules():
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(change(name, layer.weight.detach().clone()))
    return made
    ### END SOLUTION


def perplexity(model: Callable[[torch.Tensor], torch.Tensor], ids: torch.Tensor) -> float:
    """exp of the mean cross-entropy of each next token. ids: (n, t); model(ids): logits (n, t, vocab).

    Right for logits in the thousands, too, and for next tokens whose probability is too small for a float.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        logits = model(ids)[:, :-1]
    return float(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).exp())
    ### END SOLUTION


# %% test="with_weights" points=0.5 difficulty=2 minutes=15
torch.manual_seed(7)
small = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
made, call = (
    with_weights(small, lambda name, w: w + 3),
    "with_weights(small, lambda name, w: w + 3)",
)
found, want = check.parameters_of(made, call), check.parameters_of(small, "small")
for name in want:
    shift = 3 if name.endswith("weight") else 0
    check.close(found[name], want[name] + shift, f"{name} of {call}", rtol=1e-5, atol=1e-6)
table, ids = torch.randn(6, 6).double(), torch.tensor([[1, 4, 4, 0], [5, 2, 3, 3]])
picked = [table.log_softmax(-1)[a, b] for a, b in [(1, 4), (4, 4), (4, 0), (5, 2), (2, 3), (3, 3)]]
call = "perplexity(lambda ids: table[ids], ids)"
found = check.answer(perplexity, lambda ids: table[ids], ids, call=call)
check.close(found, math.exp(-sum(picked) / 6), call, rtol=1e-6, why="be that of each next token")
### BEGIN HIDDEN TESTS
rng = check.rng("with_weights")


class Louder(nn.Linear):
    """A linear layer of another kind."""

    def forward(self, x):
        return 3 * super().forward(x)


def frozen(network):
    """The names of what does not learn."""
    return [name for name, value in network.named_parameters() if not value.requires_grad]


class Mixed(nn.Module):
    """All kinds of parts: named linear layers, an embedding, a norm, a convolution, dropout."""

    def __init__(self):
        super().__init__()
        self.table, self.norm, self.conv = nn.Embedding(7, 4), nn.LayerNorm(4), nn.Conv1d(4, 4, 1)
        self.first, self.drop = nn.Linear(4, 3), nn.Dropout(0.5)
        self.inner = nn.ModuleDict({"second": Louder(3, 5, bias=False)})

    def forward(self, ids):
        x = self.conv(self.norm(self.table(ids)).transpose(1, 2)).transpose(1, 2)
        return self.inner["second"](self.drop(self.first(x)).tanh())


for training, dtype in ((False, torch.float64), (True, torch.float32)):
    torch.manual_seed(int(rng.integers(1000)))
    ours = Mixed().to(dtype).train(training)
    if training:
        ours.first.weight.requires_grad_(False)
        ours.conv.bias.requires_grad_(False)
    before = check.parameters_of(ours, "the model")
    asked = {}

    def change(name, w, asked=asked):
        asked[name] = w.numpy(force=True).copy()
        return w.detach() * 1.7 - 0.3

    call = "with_weights(model, change)"
    made = with_weights(ours, change)
    check.equal(
        sorted(asked),
        ["first", "inner.second"],
        "the names that change gets",
        why="be all linear layers, of any kind",
    )
    for name, w in asked.items():
        check.equal(
            w,
            before[f"{name}.weight"],
            f"the weight of {name} that change gets",
            why="be the layer's",
        )
    mode = check.attribute(made, "training", call)
    check.equal(mode, training, f"whether {call} is in training mode", why="be as the model")
    check.equal(
        ours.training, training, "whether the model is in training mode", why="stay as it was"
    )
    still = check.plain(frozen(made), call)
    check.equal(still, frozen(ours), f"what is frozen in {call}", why="be what is in the model")
    found = check.parameters_of(made, call)
    check.equal(sorted(found), sorted(before), f"parameters of {call}", why="be those of the model")
    for name, value in before.items():
        linear = name in ("first.weight", "inner.second.weight")
        want = value * 1.7 - 0.3 if linear else value
        why = "be what change gave" if linear else "stay as it was"
        check.close(found[name], want, f"{name} of {call}", rtol=1e-6, atol=1e-7, why=why)
        check.that(found[name].dtype == value.dtype, f"{name} of {call}: keep its dtype")
    after = check.parameters_of(ours, "the model")
    check.that(
        all(np.array_equal(after[n], before[n]) for n in before),
        f"{call}: leave the model as it was",
    )
    if not training:
        some = torch.from_numpy(rng.integers(0, 7, size=(2, 5)))
        theirs = copy.deepcopy(ours)
        for layer in (theirs.first, theirs.inner["second"]):
            layer.weight.data = layer.weight.data * 1.7 - 0.3
        got = check.answer(made, some, call=f"{call}(ids)")
        check.close(
            got, theirs(some), f"{call}(ids)", rtol=1e-6, why="round weights alone, not activations"
        )
        check.same_network(made, theirs, some, call=call, why="learn as the model does")
    with torch.no_grad():
        for p in ours.parameters():
            p.add_(1)
    after = check.parameters_of(made, call)
    check.that(
        all(np.array_equal(after[n], found[n]) for n in found),
        f"{call}: share nothing with the model",
    )
    with torch.no_grad():
        for p in ours.parameters():
            p.sub_(1)
    before = check.parameters_of(ours, "the model")
    with_weights(ours, lambda name, w: w.zero_())
    after = check.parameters_of(ours, "the model")
    check.that(
        all(np.array_equal(after[n], before[n]) for n in before),
        "leave the model as it was where change writes into w",
    )
alone, call = nn.Linear(3, 2), "with_weights(nn.Linear(3, 2), change)"
before, asked = check.parameters_of(alone, "the layer"), []


def noted(name, w):
    asked.append(name)
    return w * 1.7 - 0.3


found = check.parameters_of(with_weights(alone, noted), call)
check.equal(asked, [""], f"the names that change gets in {call}", why="be that of the model itself")
want = before["weight"] * 1.7 - 0.3
check.close(found["weight"], want, f"weight of {call}", rtol=1e-5, why="be what change gave")
for n, t in ((1, 2), (3, 5), (4, 9)):
    table = rng.normal(size=(8, 8, 6)) * 2
    some = rng.integers(0, 6, size=(n, t))

    def own(x, table=table):
        """Logits by the token and its place."""
        return torch.from_numpy(table[x.numpy() % 8, np.arange(x.shape[1]) % 8])

    bits = 0.0
    for row in some:
        for j in range(t - 1):
            z = table[row[j] % 8, j % 8]
            bits -= z[row[j + 1]] - np.log(np.exp(z).sum())
    call = f"perplexity(model, ids {(n, t)})"
    got = check.answer(perplexity, own, torch.from_numpy(some), call=call)
    check.that(isinstance(got, float), f"{call}: be a float")
    check.close(
        got,
        np.exp(bits / (n * (t - 1))),
        call,
        rtol=1e-6,
        why="be exp of the mean over all next tokens",
    )
some = torch.from_numpy(rng.integers(0, 5, size=(2, 9)))
even = rng.normal(size=(2, 9, 5))
rare = even.copy()
rare[1, 3, some[1, 4]] -= 800
for logits, call, why in [
    (even + 3000, "perplexity(model, ids), logits near 3000", "hold for large logits"),
    (even - 3000, "perplexity(model, ids), logits near -3000", "hold for logits far below zero"),
    (rare, "perplexity(model, ids), one token very rare", "count rare tokens as they are"),
]:
    level = logits.max(-1, keepdims=True)
    log_p = logits - level - np.log(np.exp(logits - level).sum(-1, keepdims=True))
    want = np.exp(-np.take_along_axis(log_p[:, :-1], some[:, 1:, None].numpy(), -1).mean())
    got = check.answer(
        perplexity, lambda x, z=logits: torch.from_numpy(z[:, : x.shape[1]]), some, call=call
    )
    check.close(got, want, call, rtol=1e-6, why=why)
### END HIDDEN TESTS

# %% mutant="with_weights" why="changes the model itself"
# - made = copy.deepcopy(model)
# + made = model

# %% mutant="with_weights" why="a copy that shares the weights"
# - made = copy.deepcopy(model)
# + made = copy.deepcopy(model, {id(p): p for p in model.parameters()})

# %% mutant="with_weights" why="all parameters"
# - if isinstance(layer, nn.Linear):
# + if not list(layer.children()) and getattr(layer, "weight", None) is not None:

# %% mutant="with_weights" why="layers at the top alone"
# - for name, layer in made.named_modules():
# + for name, layer in made.named_children():

# %% mutant="with_weights" why="always in eval mode"
# - return made
# + return made.eval()

# %% mutant="with_weights" why="frozen"
# - return made
# + return made.requires_grad_(False)

# %% mutant="with_weights" why="biases, too"
# - layer.weight.copy_(change(name, layer.weight.detach().clone()))
# + layer.weight.copy_(change(name, layer.weight.detach().clone()))
# + if layer.bias is not None:
# +     layer.bias.copy_(change(name, layer.bias.detach().clone()))

# %% mutant="with_weights" why="activations are changed, too"
# - return made
# + for layer in [m for m in made.modules() if isinstance(m, nn.Linear)]:
# +     layer.register_forward_hook(lambda m, a, out: (out * 8).round() / 8)
# + return made

# %% mutant="with_weights" why="transposed"
# - layer.weight.copy_(change(name, layer.weight.detach().clone()))
# + layer.weight.copy_(change(name, layer.weight.detach().T.clone()).T.contiguous().view_as(layer.weight) if layer.weight.shape[0] == layer.weight.shape[1] else change(name + ".weight", layer.weight.detach().clone()))

# %% mutant="with_weights" why="the last name for all"
# - layer.weight.copy_(change(name, layer.weight.detach().clone()))
# + layer.weight.copy_(change(name.split(".")[-1], layer.weight.detach().clone()))

# %% mutant="with_weights" why="the model itself is skipped"
# - if isinstance(layer, nn.Linear):
# + if name and isinstance(layer, nn.Linear):

# %% mutant="with_weights" why="subclasses are skipped"
# - if isinstance(layer, nn.Linear):
# + if type(layer) is nn.Linear:

# %% mutant="with_weights" why="what is frozen learns again"
# - layer.weight.copy_(change(name, layer.weight.detach().clone()))
# + layer.weight = nn.Parameter(change(name, layer.weight.detach().clone()))

# %% mutant="with_weights" why="the logarithm of a softmax"
# - return float(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).exp())
# + p = logits.softmax(-1).flatten(0, 1)
# + return float(F.nll_loss(p.log(), ids[:, 1:].flatten()).exp())

# %% mutant="with_weights" why="rare tokens are capped"
# - return float(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).exp())
# + p = logits.softmax(-1).flatten(0, 1) + 1e-9
# + return float(F.nll_loss(p.log(), ids[:, 1:].flatten()).exp())

# %% mutant="with_weights" why="a softmax that overflows"
# - return float(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).exp())
# + p = logits.flatten(0, 1) - logits.flatten(0, 1).exp().sum(-1, keepdim=True).log()
# + return float(F.nll_loss(p, ids[:, 1:].flatten()).exp())

# %% mutant="with_weights" why="each token itself, not the next"
# - return float(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).exp())
# + return float(F.cross_entropy(logits.flatten(0, 1), ids[:, :-1].flatten()).exp())

# %% mutant="with_weights" why="the loss in place of the perplexity"
# - return float(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).exp())
# + return float(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))

# %% mutant="with_weights" why="the mean of the texts' perplexities"
# - return float(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).exp())
# + each = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
# + return float(each.mean(1).exp().mean())

# %% mutant="with_weights" why="a power of two"
# - return float(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).exp())
# + return float(2 ** F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))


# %% alternative="with_weights" why="a dictionary of weights, log-probabilities picked"
def with_weights(model, change):
    made = copy.deepcopy(model)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            key = f"{name}.weight".lstrip(".")
            state[key] = change(name, state[key])
    made.load_state_dict(state)
    return made


@torch.no_grad()
def perplexity(model, ids):
    p = model(ids).log_softmax(-1)[:, :-1]
    return math.exp(-p.gather(-1, ids[:, 1:, None]).mean().item())


# %% [markdown]
# Your functions together: perplexity by bits for grids of three sizes. A row of the feed-forward part's second matrix has 172 weights, so a quarter of a row is 43 of them there and 16 elsewhere.

# %% [markdown] lang="ru"
# Ваши функции вместе: перплексия в зависимости от битов для сеток трёх размеров. В строке второй матрицы полносвязной части 172 веса, поэтому четверть строки там — 43 веса, а в остальных матрицах 16.

# %%
SIZES = {"matrix": lambda w: (1, 1), "row": lambda w: (len(w), 1), "quarter": lambda w: (len(w), 4)}


def nearest(bits: int, size: str) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """A change of weights: to the nearest point of a grid."""

    def change(name: str, w: torch.Tensor) -> torch.Tensor:
        scale, zero = grid(w, bits, SIZES[size](w))
        return dequantize(quantize(w, scale, zero, bits), scale, zero)

    return change


@cache
def rtn(bits: int, size: str) -> float:
    """Perplexity of the model that is rounded to nearest."""
    return perplexity(with_weights(model, nearest(bits, size)), held_out)


def stored_bits(bits: int, size: str) -> float:
    """Bits a weight: the code, and of each block a scale of 16 bits and a zero point."""
    layers = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    blocks = sum(math.prod(SIZES[size](w)) for w in layers)
    return bits + blocks * (16 + bits) / sum(w.numel() for w in layers)


print(f"the model itself: {perplexity(model, held_out):.3f}")
print(f"{'bits':>4}" + "".join(f"{'one a ' + size:>16}" for size in SIZES))
for bits in (8, 6, 4, 3, 2):
    print(f"{bits:4}" + "".join(f"{rtn(bits, size):16.2f}" for size in SIZES))

# %% [markdown]
# ## 3. GPTQ: let the others make up for it
# Rounding to nearest makes each *weight* as right as can be. But a layer's *outputs* count. With inputs $X$ (a row for each token) the error of a row $w$ of weights that became $q$ is
#
# $$\lVert X (w - q) \rVert^2 = (w - q)^\top H\, (w - q), \qquad H = X^\top X.$$
#
# If one weight was rounded up, others that see correlated inputs can go down a little and undo most of it. GPTQ ([Frantar et al., 2022](https://arxiv.org/abs/2210.17323)) rounds one column after the other, and after each adds the best correction to all columns that are still free.

# %% [markdown] lang="ru"
# ## 3. GPTQ: остальные исправят
# При округлении до ближайшего каждый *вес* верен, насколько возможно. Но важны *выходы* слоя. При входах $X$ (строка на каждый токен) ошибка строки весов $w$, ставшей $q$, равна
#
# $$\lVert X (w - q) \rVert^2 = (w - q)^\top H\, (w - q), \qquad H = X^\top X.$$
#
# Если один вес округлили вверх, другие, чьи входы с ним связаны, могут чуть уйти вниз и исправить почти всё. GPTQ ([Frantar и др., 2022](https://arxiv.org/abs/2210.17323)) округляет столбец за столбцом и после каждого вносит наилучшую поправку во все столбцы, которые ещё свободны.

# %% [markdown]
# The correction comes from the inverse of $H$ for the free columns, and all these inverses stand in one triangle: $U$, upper, with $U^\top U = H^{-1}$ (Cholesky). For each column $j$ of $W$ in turn:
#
# $$q_j = \mathrm{snap}(w_j), \qquad e = \frac{w_j - q_j}{U_{jj}}, \qquad w_k \leftarrow w_k - U_{jk}\, e \quad (k > j).$$
#
# - **Dampening.** Inputs that always vanish make $H$ singular. So $\lambda$ is added to its diagonal first: `damp` times the diagonal's mean.
# - **Order.** With `order`, columns are rounded in that order, and $H$ is arranged likewise; the result stands in the old order. Columns that matter most (large $H_{jj}$) may go first, while there are many that can make up for them.
#
# {{task:gptq}}

# %% [markdown] lang="ru"
# Поправку даёт обратная к $H$ для свободных столбцов, и все эти обратные матрицы лежат в одном треугольнике: верхняя $U$, для которой $U^\top U = H^{-1}$ (разложение Холецкого). Для каждого столбца $j$ матрицы $W$ по очереди:
#
# $$q_j = \mathrm{snap}(w_j), \qquad e = \frac{w_j - q_j}{U_{jj}}, \qquad w_k \leftarrow w_k - U_{jk}\, e \quad (k > j).$$
#
# - **Демпфирование.** Входы, которые всегда равны нулю, делают $H$ вырожденной. Поэтому сначала к её диагонали прибавляют $\lambda$: `damp`, умноженное на среднее диагонали.
# - **Порядок.** Если задан `order`, столбцы округляются в этом порядке, и $H$ переставляется так же; результат стоит в прежнем порядке. Самые важные столбцы (с большим $H_{jj}$) можно взять первыми, пока есть кому их исправлять.
#
# {{task:gptq}}


# %% solution="gptq"
def layer_error(w: torch.Tensor, q: torch.Tensor, h: torch.Tensor) -> float:
    """The sum over rows of (w - q)^T H (w - q). w, q: (out, in), h: (in, in)."""
    ### BEGIN SOLUTION
    moved = w - q
    return float(((moved @ h) * moved).sum())
    ### END SOLUTION


def gptq(
    w: torch.Tensor,
    h: torch.Tensor,
    snap: Callable[[torch.Tensor, int], torch.Tensor],
    damp: float = 0.01,
    order: Sequence[int] | None = None,
) -> torch.Tensor:
    """Weights (out, in) that were snapped column by column, each corrected for those before it.

    w: (out, in), h: (in, in), both of one dtype, in which all is computed. snap(column, j): what column j,
    corrected, becomes, (out,); j is its number in w, with an order, too. order: a permutation of the columns;
    by default from the first to the last.
    """
    ### BEGIN SOLUTION
    order = list(range(len(h))) if order is None else [int(j) for j in order]
    h = h + damp * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype, device=h.device)
    h, left, made = h[order][:, order], w[:, order].clone(), torch.empty_like(w)
    u = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
    for i, j in enumerate(order):
        made[:, j] = snap(left[:, i], j)
        error = (left[:, i] - made[:, j]) / u[i, i]
        left[:, i:] -= error[:, None] * u[i, i:]
    return made
    ### END SOLUTION


# %% test="gptq" points=1.5 difficulty=4 minutes=40
some = torch.tensor([[0.4, 1.3, -0.8], [0.6, -1.6, 2.3]], dtype=torch.float64)
moment = torch.tensor([[4.0, 3.0, 1.0], [3.0, 5.0, 2.0], [1.0, 2.0, 3.0]], dtype=torch.float64)
call = "gptq(w, h, lambda column, j: column.round(), damp=0)"
found = check.answer(gptq, some, moment, lambda column, j: column.round(), damp=0.0, call=call)
check.close(found, [[0, 2, -1], [1, -2, 2]], call, why="make up for what was rounded before")
call = "layer_error(w, w.round(), h)"
found = check.answer(layer_error, some, some.round(), moment, call=call)
check.close(found, 3.32, call, rtol=1e-6)
### BEGIN HIDDEN TESTS
rng = check.rng("gptq")


def slow_gptq(w, h, snap, damp=0.01, order=None):
    """The free columns by least squares, anew after each: where the error is least, given those that are fixed."""
    k = len(h)
    h = h + damp * np.mean(np.diag(h)) * np.eye(k)
    order, made = list(range(k)) if order is None else list(order), np.full(w.shape, np.nan)
    for n, j in enumerate(order):
        fixed, free = order[:n], order[n:]
        best = w[:, free].copy()
        if fixed:
            best += np.linalg.solve(
                h[np.ix_(free, free)], h[np.ix_(free, fixed)] @ (w[:, fixed] - made[:, fixed]).T
            ).T
        made[:, j] = snap(torch.from_numpy(best[:, 0].copy()), j).numpy()
    return made


def judge_gptq(out, k, why, tokens=40, snap=None, dtype=torch.float64, rtol=1e-6, **options):
    """Random correlated inputs."""
    mix = rng.normal(size=(k, k))
    x = rng.normal(size=(tokens, k)) @ (mix / k**0.5 + 0.3)
    w, h = rng.normal(size=(out, k)), x.T @ x
    step = rng.uniform(0.3, 0.7, size=out)
    grid_of = torch.from_numpy(step)
    snap = snap or (lambda column, j: (column / grid_of.to(column)).round() * grid_of.to(column))
    want = slow_gptq(w, h, snap, **options)
    said = ", ".join(f"{k}={v}" for k, v in options.items())
    call = f"gptq(w {(out, k)}, h, snap{', ' if said else ''}{said})"
    ours = [torch.from_numpy(a).to(dtype) for a in (w, h)]
    got = check.answer(gptq, *ours, snap, call=call, **options)
    check.close(got, want, call, rtol=rtol, atol=rtol, why=why)
    check.that(got.dtype == ours[0].numpy().dtype, f"{call}: keep the dtype")
    return w, h, got, step


judge_gptq(5, 3, "add the best correction to the columns that are free", damp=0.0)
judge_gptq(3, 6, "have no dampening where damp is 0", damp=0.0)
judge_gptq(3, 6, "dampen by damp times the mean of the diagonal", damp=0.7)
judge_gptq(3, 6, "dampen by 0.01 unless told otherwise", tokens=2)
for out, k in ((1, 2), (5, 3), (3, 7), (4, 12)):
    judge_gptq(out, k, "add the best correction to the columns that are free")
judge_gptq(3, 8, "work with fewer tokens than columns", tokens=3, damp=0.05)
order = [int(j) for j in rng.permutation(6)]
judge_gptq(4, 6, "take the columns in the order given", order=order)
judge_gptq(4, 5, "take the columns in the order given", order=[4, 3, 2, 1, 0], damp=0.1)
judge_gptq(4, 5, "take the columns in the order given", order=[1, 2, 3, 4, 0])
judge_gptq(
    2, 5, "hand snap the number of the column", snap=lambda c, j: c.round() * (j != 2) + 0.1 * j
)
judge_gptq(
    2,
    5,
    "hand snap its number in the old order",
    snap=lambda c, j: c.round() + j,
    order=[3, 0, 4, 2, 1],
)
judge_gptq(
    3, 5, "leave columns alone that snap leaves alone", snap=lambda c, j: c if j % 2 else 0 * c
)
less = lambda column, j: 0.9 * column  # noqa: E731
judge_gptq(4, 6, "work in float32", dtype=torch.float32, rtol=1e-3, snap=less, damp=0.1)
judge_gptq(4, 6, "compute in the precision of w", rtol=1e-9, snap=less, damp=0.7)
ours = theirs = 0.0
for _ in range(6):
    w, h, got, step = judge_gptq(4, 10, "add the best correction to the columns that are free")
    near = np.round(w / step[:, None]) * step[:, None]
    ours += np.trace((w - got) @ h @ (w - got).T)
    theirs += np.trace((w - near) @ h @ (w - near).T)
check.that(ours < theirs, "have a smaller error of outputs than rounding to nearest")
dead = h.copy()
dead[3], dead[:, 3] = 0, 0
call = "gptq(w, h with an input that always vanishes, snap)"
snap = lambda column, j: column.round()  # noqa: E731
got = check.answer(gptq, torch.from_numpy(w), torch.from_numpy(dead), snap, call=call)
check.close(got, slow_gptq(w, dead, snap), call, rtol=1e-6, atol=1e-6, why="bear it by dampening")
call = "layer_error(w, q, h)"
check.close(
    check.answer(layer_error, *(torch.from_numpy(a) for a in (w, got, h)), call=call),
    sum((a - b) @ h @ (a - b) for a, b in zip(w, got, strict=True)),
    call,
    rtol=1e-8,
    why="be the sum over rows",
)
square, other, moment = (rng.normal(size=(4, 4)) for _ in range(3))
moment = moment @ moment.T
call = "layer_error(w, q, h), w (4, 4)"
got = check.answer(layer_error, *map(torch.from_numpy, (square, other, moment)), call=call)
want = sum((a - b) @ moment @ (a - b) for a, b in zip(square, other, strict=True))
check.close(got, want, call, rtol=1e-8, why="go along rows, not columns")
### END HIDDEN TESTS

# %% mutant="gptq" why="nothing is made up for"
# - left[:, i:] -= error[:, None] * u[i, i:]
# + pass

# %% mutant="gptq" why="the correction goes the wrong way"
# - left[:, i:] -= error[:, None] * u[i, i:]
# + left[:, i:] += error[:, None] * u[i, i:]

# %% mutant="gptq" why="not divided by the diagonal"
# - error = (left[:, i] - made[:, j]) / u[i, i]
# + error = left[:, i] - made[:, j]

# %% mutant="gptq" why="the error of the weight as it was"
# - error = (left[:, i] - made[:, j]) / u[i, i]
# + error = (w[:, j] - made[:, j]) / u[i, i]

# %% mutant="gptq" why="snaps the weight as it was"
# - made[:, j] = snap(left[:, i], j)
# + made[:, j] = snap(w[:, j], j)

# %% mutant="gptq" why="the lower triangle"
# - u = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
# + u = torch.linalg.cholesky(torch.linalg.inv(h)).T.flip(0, 1).contiguous()

# %% mutant="gptq" why="the triangle of H, not of its inverse"
# - u = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
# + u = torch.linalg.cholesky(h, upper=True)

# %% mutant="gptq" why="the inverse itself for its triangle"
# - u = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
# + u = torch.linalg.inv(h)

# %% mutant="gptq" why="no dampening"
# - h = h + damp * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype, device=h.device)
# + pass

# %% mutant="gptq" why="dampens by damp alone"
# - h = h + damp * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype, device=h.device)
# + h = h + damp * torch.eye(len(h), dtype=h.dtype, device=h.device)

# %% mutant="gptq" why="dampens all of H"
# - h = h + damp * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype, device=h.device)
# + h = h + damp * h.diagonal().mean()

# %% mutant="gptq" why="a default of its own"
# - damp: float = 0.01,
# + damp: float = 0.1,

# %% mutant="gptq" why="the result stands in the new order"
# - made[:, j] = snap(left[:, i], j)
# + made[:, i] = snap(left[:, i], j)
# - error = (left[:, i] - made[:, j]) / u[i, i]
# + error = (left[:, i] - made[:, i]) / u[i, i]

# %% mutant="gptq" why="H keeps its order"
# - h, left, made = h[order][:, order], w[:, order].clone(), torch.empty_like(w)
# + left, made = w[:, order].clone(), torch.empty_like(w)

# %% mutant="gptq" why="snap gets the place in the order"
# - made[:, j] = snap(left[:, i], j)
# + made[:, j] = snap(left[:, i], i)

# %% mutant="gptq" why="writes into the weights"
# - h, left, made = h[order][:, order], w[:, order].clone(), torch.empty_like(w)
# + h, left, made = h[order][:, order], w if order == sorted(order) else w[:, order], torch.empty_like(w)

# %% mutant="gptq" why="computes in float32"
# - u = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
# + u = torch.linalg.cholesky(torch.linalg.inv(h.float()), upper=True).to(h)

# %% mutant="gptq" why="the error of columns where the matrix is square"
# - moved = w - q
# + moved = (w - q).T if len(w) == len(h) else w - q

# %% mutant="gptq" why="a plain distance of the weights"
# - return float(((moved @ h) * moved).sum())
# + return float((moved * moved).sum())

# %% mutant="gptq" why="the mean over rows"
# - return float(((moved @ h) * moved).sum())
# + return float(((moved @ h) * moved).sum(1).mean())


# %% alternative="gptq" why="the inverse, from which each column is taken out"
def layer_error(w, q, h):
    return torch.trace((w - q) @ h @ (w - q).T).item()


def gptq(w, h, snap, damp=0.01, order=None):
    order = range(w.shape[1]) if order is None else order
    inverse = torch.linalg.inv(h + damp * torch.diag(h).mean() * torch.eye(len(h)).to(h))
    w, q = w.clone(), w.clone()
    for j in order:
        q[:, j] = snap(w[:, j].clone(), int(j))
        delta = (w[:, j] - q[:, j]) / inverse[j, j]
        w = w - torch.outer(delta, inverse[j])
        inverse = inverse - torch.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    return q


# %% [markdown]
# Two checks of the promise. For one real layer, the error of its outputs on texts that GPTQ did not see. Then the perplexity of whole models, against the bits that they really take, scales included: two ways of rounding, two sizes of grid. Compare at equal bits, not at equal codes: a grid of its own for each quarter of a row costs nearly a bit a weight here.

# %% [markdown] lang="ru"
# Проверим обещание дважды. Для одного настоящего слоя — ошибка его выходов на текстах, которых GPTQ не видел. Затем перплексия целых моделей в зависимости от битов, которые они действительно занимают вместе с масштабами: два способа округлять, сетки двух размеров. Сравнивайте при равных битах, а не при равных кодах: своя сетка для каждой четверти строки стоит здесь почти бит на вес.

# %%
moments = week12.second_moments(model, calibration)
unseen = week12.second_moments(model, held_out)


def to_grid(
    scale: torch.Tensor, zero: torch.Tensor, bits: int
) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """What GPTQ snaps to: each column's own grid. scale, zero: (out, in)."""

    def snap(column: torch.Tensor, j: int) -> torch.Tensor:
        codes = ((column / scale[:, j]).round() + zero[:, j]).clamp(0, 2**bits - 1)
        return (codes - zero[:, j]) * scale[:, j]

    return snap


def corrected(
    bits: int, size: str, by_weight: bool = False
) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """A change of weights: to a grid, by GPTQ; by_weight: the columns that matter most first."""

    def change(name: str, w: torch.Tensor) -> torch.Tensor:
        scale, zero = (spread(x, w.shape).double() for x in grid(w, bits, SIZES[size](w)))
        h = moments[name]
        order = h.diagonal().argsort(descending=True).tolist() if by_weight else None
        return gptq(w.double(), h, to_grid(scale, zero, bits), order=order).to(w.dtype)

    return change


@cache
def by_gptq(bits: int, size: str, by_weight: bool = False) -> float:
    """Perplexity of the model that GPTQ rounded."""
    return perplexity(with_weights(model, corrected(bits, size, by_weight)), held_out)


for name in ("blocks.0.wq", "blocks.2.w1", "blocks.4.w2"):
    w, h = model.get_submodule(name).weight.detach().double(), unseen[name]
    whole = layer_error(w, torch.zeros_like(w), h)
    found = [
        layer_error(w, change(3, "quarter")(name, w), h) / whole for change in (nearest, corrected)
    ]
    print(
        f"{name:12} in 3 bits: error of the outputs {found[0]:.3%} by RTN, {found[1]:.3%} by GPTQ"
    )

# %%
every, lines = (2, 3, 4, 6, 8), {}
for size, said in (("row", "a grid for each row"), ("quarter", "four for each row")):
    for name, found in (("RTN", rtn), ("GPTQ", by_gptq)):
        stored = [stored_bits(bits, size) for bits in every]
        lines[f"{name}, {said}"] = (stored, [found(bits, size) for bits in every])
week12.bits_picture(lines, perplexity(model, held_out))
plots.show(
    "Perplexity against bits a weight, on a log axis, for RTN and GPTQ with two sizes of grids: all four "
    "lines meet the whole model at eight bits and rise steeply below four; GPTQ lies below RTN of the same grid."
)
for bits in (4, 3, 2):
    print(
        f"{bits} bits, four grids a row: RTN {rtn(bits, 'quarter'):.2f}, GPTQ {by_gptq(bits, 'quarter'):.2f}, columns that matter first {by_gptq(bits, 'quarter', True):.2f}"
    )

# %% [markdown]
# **Does it hold for a larger one?** SmolLM2 has 134 million numbers, 500 times as many as the storyteller. Of one of its blocks six matrices, in three bits, a grid for each row: the error of their outputs on a text that GPTQ did not see, as a share of the outputs. (Its file came in four to five bits with small groups, so what is rounded here was rounded before.)

# %% [markdown] lang="ru"
# **Верно ли это для модели побольше?** В SmolLM2 134 миллиона чисел, в 500 раз больше, чем у рассказчика. Шесть матриц одного из её блоков, три бита, сетка на строку: ошибка их выходов на тексте, которого GPTQ не видел, в долях самих выходов. (В её файле веса записаны в четырёх-пяти битах мелкими группами, так что здесь округляется уже однажды округлённое.)

# %%
smol = models.load("smollm2")

# %%
pieces, block = tokenizer(), smol.model.layers[10]
texts = [
    " ".join(week12.story_text(stories, row) for row in ids[:8].tolist())
    for ids in (calibration, held_out)
]
seen, fresh = (
    week12.second_moments(smol, torch.tensor([pieces(text).input_ids[:600]]), block)
    for text in texts
)
shares = {"RTN": [], "GPTQ": []}
six = [name for name in seen if "down" not in name]  # the seventh takes as long as these
for name in six:
    w = block.get_submodule(name).weight.detach().double()
    scale, zero = grid(w, 3, (len(w), 1))
    near = dequantize(quantize(w, scale, zero, 3), scale, zero)
    wide = spread(scale, w.shape), spread(zero, w.shape)
    made = gptq(w, seen[name], to_grid(*wide, 3))
    whole = layer_error(w, torch.zeros_like(w), fresh[name])
    for way, q in zip(shares, (near, made), strict=True):
        shares[way].append(layer_error(w, q, fresh[name]) / whole)
week12.pair_bars([name.split(".")[-1] for name in six], shares, "share of the outputs")
plots.show(
    "For six matrices of a block of SmolLM2 two bars each: how much of the outputs rounding to three bits "
    "spoils on an unseen text, by RTN and by GPTQ; the second bar is shorter each time."
)

# %% [markdown]
# **If you may train: quantisation-aware training.** Rounding has the slope 0 almost everywhere, so gradients die in it. The *straight-through* trick: forward uses the rounded weight, backward pretends that nothing was rounded. Here two bits a weight learn to imitate the whole model on the calibration texts for a few steps. (In code: `w + (rounded - w).detach()`.)

# %% [markdown] lang="ru"
# **Если можно учить: обучение с учётом квантования (quantisation-aware training).** Наклон округления почти всюду равен 0, градиенты в нём гибнут. Приём *straight-through*: вперёд идёт округлённый вес, а назад — так, будто ничего не округляли. Здесь веса в два бита несколько шагов учатся подражать исходной модели на текстах `calibration`. (В коде: `w + (rounded - w).detach()`.)


# %%
class StraightThrough(nn.Module):
    """A weight, rounded on its way forward."""

    def __init__(self, change: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        return w + (self.change("", w.detach()) - w.detach())


def imitate(student: nn.Module, steps: int, rate: float) -> None:
    """Teach a model the whole model's probabilities on the calibration texts: distillation."""
    draws, optimizer = (
        torch.Generator().manual_seed(3),
        torch.optim.Adam(student.parameters(), rate),
    )
    for _ in range(steps):
        ids = calibration[torch.randint(len(calibration), (16,), generator=draws)]
        with torch.no_grad():
            want = model(ids).log_softmax(-1)
        kl = (want.exp() * (want - student(ids).log_softmax(-1))).sum(-1).mean()
        optimizer.zero_grad()
        kl.backward()
        optimizer.step()


aware = copy.deepcopy(model)
for layer in [m for m in aware.modules() if isinstance(m, nn.Linear)]:
    nn.utils.parametrize.register_parametrization(
        layer, "weight", StraightThrough(nearest(2, "quarter"))
    )
before = perplexity(aware, held_out)
imitate(aware, settings["qat"], 1e-3)
print(
    f"two bits, four grids a row: RTN {before:.1f}, GPTQ {by_gptq(2, 'quarter'):.1f}, after {settings['qat']} steps of training {perplexity(aware, held_out):.1f}; whole {perplexity(model, held_out):.2f}"
)

# %% [markdown]
# ## 4. Fewer weights
# A weight near zero can go. *Magnitude pruning* lets the smallest go; Wanda ([Sun et al., 2023](https://arxiv.org/abs/2306.11695)) multiplies each by the size of its input, $|w_{ij}|\,\lVert x_j \rVert$, since a small weight at a loud input matters. Compared are weights of the same row, as all of them add up to one output. Zeros at any place save memory only; hardware gets faster where they have a pattern: **2:4**, two of each four neighbours of a row.
#
# {{task:prune}}

# %% [markdown] lang="ru"
# ## 4. Меньше весов
# Вес около нуля можно убрать. *Прореживание по величине* (magnitude pruning) убирает наименьшие; Wanda ([Sun и др., 2023](https://arxiv.org/abs/2306.11695)) умножает каждый на размер его входа, $|w_{ij}|\,\lVert x_j \rVert$: малый вес при громком входе важен. Сравниваются веса одной строки, ведь все они складываются в один выход. Нули где попало берегут только память; железо ускоряется, когда у них есть узор: **2:4**, два из каждых четырёх соседей строки.
#
# {{task:prune}}


# %% solution="prune"
def keep_rows(w: torch.Tensor, remove: int, norms: torch.Tensor | None = None) -> torch.Tensor:
    """Which weights stay, bool (out, in): in each row all but the `remove` least important ones.

    Importance: |w|, times the norm of the column's input, norms (in,), where they are given. Of equal ones
    any may go; exactly `remove` of each row go, from 0 to in.
    """
    ### BEGIN SOLUTION
    importance = w.abs() if norms is None else w.abs() * norms
    keep = torch.ones_like(w, dtype=torch.bool)
    return keep.scatter(1, importance.argsort(1)[:, :remove], False)
    ### END SOLUTION


def keep_2_of_4(w: torch.Tensor, norms: torch.Tensor | None = None) -> torch.Tensor:
    """Which weights stay, bool (out, in): of each 4 neighbours of a row the 2 most important ones.

    in is a multiple of 4: neighbours are columns 0 to 3, 4 to 7 and so on.
    """
    ### BEGIN SOLUTION
    importance = (w.abs() if norms is None else w.abs() * norms).reshape(-1, 4)
    keep = torch.zeros_like(importance, dtype=torch.bool)
    return keep.scatter(1, importance.topk(2).indices, True).reshape(w.shape)
    ### END SOLUTION


# %% test="prune" points=0.75 difficulty=2 minutes=15
some = torch.tensor(
    [[0.3, -2.0, 0.1, 1.0, 5.0, -6.0, 7.0, -8.0], [4.0, 0.2, -0.5, 3.0, -0.1, 0.6, 0.4, -9.0]]
)
call = "keep_rows(w, 3)"
found = check.answer(keep_rows, some, 3, call=call)
check.equal(
    found,
    [[False, True, False, False, *[True] * 4], [True, False, True, True, False, True, False, True]],
    call,
)
call = "keep_2_of_4(w)"
found = check.answer(keep_2_of_4, some, call=call)
check.equal(
    found,
    [
        [False, True, False, True, False, False, True, True],
        [True, False, False, True, False, True, False, True],
    ],
    call,
)
### BEGIN HIDDEN TESTS
rng = check.rng("prune")
from itertools import combinations


def most_kept(row, count):
    """The largest sum of so many numbers of a row, by all choices."""
    return max(sum(row[list(chosen)]) for chosen in combinations(range(len(row)), count))


def judge_keep(w, remove, norms, why):
    importance = np.abs(w) * (1 if norms is None else norms)
    given = [] if norms is None else [torch.from_numpy(norms)]
    said = "" if norms is None else ", norms"
    call = f"keep_rows(w {w.shape}, {remove}{said})"
    got = check.answer(keep_rows, torch.from_numpy(w), remove, *given, call=call)
    check.that(
        got.shape == w.shape and str(got.dtype) == "bool", f"{call}: be bool, of the shape of w"
    )
    for row, kept in zip(importance, got, strict=True):
        check.equal(
            int(kept.sum()),
            len(row) - remove,
            f"the number that stays in a row of {call}",
            why="be all but remove",
        )
        want = most_kept(row, len(row) - remove)
        check.close(
            row[kept].sum(),
            want,
            f"the importance that stays in a row of {call}",
            rtol=1e-9,
            atol=1e-12,
            why=why,
        )
    if w.shape[1] % 4 == 0:
        call = f"keep_2_of_4(w {w.shape}{said})"
        got = check.answer(keep_2_of_4, torch.from_numpy(w), *given, call=call)
        check.that(
            got.shape == w.shape and str(got.dtype) == "bool", f"{call}: be bool, of the shape of w"
        )
        for i in range(len(w)):
            for j in range(0, w.shape[1], 4):
                kept, four = got[i, j : j + 4], importance[i, j : j + 4]
                check.equal(
                    int(kept.sum()),
                    2,
                    f"the number that stays of four neighbours in {call}",
                    why="be two",
                )
                want = most_kept(four, 2)
                check.close(
                    four[kept].sum(),
                    want,
                    f"the importance of two of four in {call}",
                    rtol=1e-9,
                    atol=1e-12,
                    why=why,
                )


for out, k, remove in (
    (1, 4, 1),
    (4, 4, 1),
    (3, 8, 5),
    (5, 4, 2),
    (2, 12, 7),
    (4, 7, 3),
    (2, 6, 0),
    (2, 4, 4),
    (3, 1, 0),
):
    scale = 10.0 ** rng.permutation(out)[:, None]  # rows of very different size
    w = rng.normal(size=(out, k)) * scale
    judge_keep(w, remove, None, "keep the largest of each row, whatever its sign")
    judge_keep(w, remove, rng.uniform(0.05, 4, size=k) ** 2, "weigh each column by its norm")
judge_keep(-np.abs(rng.normal(size=(3, 8))), 3, None, "keep the largest, whatever its sign")
judge_keep(np.full((2, 8), 0.7), 3, None, "keep as many where all are equal")
judge_keep(
    rng.integers(-1, 2, size=(6, 8)).astype(float), 5, None, "keep as many where many are equal"
)
judge_keep(np.zeros((3, 4)), 2, None, "keep as many where all are zeros")
near = rng.uniform(0.9, 1.1, size=(8, 8)) * rng.choice([-1.0, 1.0], size=(8, 8))
judge_keep(near, 3, 4.0 ** rng.permutation(8), "weigh columns by norms, also in a square matrix")
turned = torch.from_numpy(rng.normal(size=(8, 3))).T
got = check.answer(keep_2_of_4, turned, call="keep_2_of_4(a transposed matrix)")
check.equal(
    got.reshape(-1, 4).sum(1).tolist(),
    [2] * 6,
    "the numbers that stay of four in keep_2_of_4(a transposed matrix)",
    why="be two of each",
)
check.close(
    (turned.abs().numpy() * got).sum(),
    sum(most_kept(f, 2) for f in turned.abs().reshape(-1, 4).numpy()),
    "what stays in keep_2_of_4(a transposed matrix)",
    why="be the most important two of each four",
)
### END HIDDEN TESTS

# %% mutant="prune" why="the sign counts"
# - importance = w.abs() if norms is None else w.abs() * norms
# + importance = w if norms is None else w * norms

# %% mutant="prune" why="the smallest of the matrix, not of each row"
# - return keep.scatter(1, importance.argsort(1)[:, :remove], False)
# + return keep.flatten().scatter(0, importance.flatten().argsort()[: remove * len(w)], False).reshape(w.shape)

# %% mutant="prune" why="along columns"
# - return keep.scatter(1, importance.argsort(1)[:, :remove], False)
# + return keep.T.scatter(1, importance.T.argsort(1)[:, : min(remove, len(w))], False).T

# %% mutant="prune" why="the largest go"
# - return keep.scatter(1, importance.argsort(1)[:, :remove], False)
# + return keep.scatter(1, importance.argsort(1, descending=True)[:, :remove], False)

# %% mutant="prune" why="a threshold: equal ones all go or all stay"
# - return keep.scatter(1, importance.argsort(1)[:, :remove], False)
# + if remove == 0:
# +     return keep
# + return importance > importance.sort(1).values[:, remove - 1 : remove]

# %% mutant="prune" why="keeps as many as should go"
# - return keep.scatter(1, importance.argsort(1)[:, :remove], False)
# + return ~keep.scatter(1, importance.argsort(1)[:, remove:], False) | (w.shape[1] == 2 * remove)

# %% mutant="prune" why="norms are ignored"
# - importance = w.abs() if norms is None else w.abs() * norms
# + importance = w.abs()

# %% mutant="prune" why="norms are ignored in two of four"
# - importance = (w.abs() if norms is None else w.abs() * norms).reshape(-1, 4)
# + importance = w.abs().reshape(-1, 4)

# %% mutant="prune" why="norms of rows where the matrix is square"
# - importance = w.abs() if norms is None else w.abs() * norms
# + importance = w.abs() if norms is None else w.abs() * (norms[:, None] if len(norms) == len(w) else norms)

# %% mutant="prune" why="norms of rows where the matrix is square, in two of four"
# - importance = (w.abs() if norms is None else w.abs() * norms).reshape(-1, 4)
# + importance = (w.abs() if norms is None else w.abs() * (norms[:, None] if len(norms) == len(w) else norms)).reshape(-1, 4)

# %% mutant="prune" why="half of each row, anywhere"
# - keep = torch.zeros_like(importance, dtype=torch.bool)
# - return keep.scatter(1, importance.topk(2).indices, True).reshape(w.shape)
# + rows = importance.reshape(w.shape)
# + return torch.zeros_like(rows, dtype=torch.bool).scatter(1, rows.topk(w.shape[1] // 2).indices, True)

# %% mutant="prune" why="fours of a column"
# - importance = (w.abs() if norms is None else w.abs() * norms).reshape(-1, 4)
# + importance = (w.abs() if norms is None else w.abs() * norms).T.reshape(-1, 4)

# %% mutant="prune" why="keeps the smallest two"
# - return keep.scatter(1, importance.topk(2).indices, True).reshape(w.shape)
# + return keep.scatter(1, importance.topk(2, largest=False).indices, True).reshape(w.shape)

# %% mutant="prune" why="keeps three"
# - return keep.scatter(1, importance.topk(2).indices, True).reshape(w.shape)
# + return keep.scatter(1, importance.topk(3).indices, True).reshape(w.shape)


# %% alternative="prune" why="ranks, row by row in NumPy"
def keep_rows(w, remove, norms=None):
    score = np.abs(w.numpy()) * (1.0 if norms is None else norms.numpy())
    ranks = np.argsort(np.argsort(score, axis=1, kind="stable"), axis=1)
    return torch.from_numpy(ranks >= remove)


def keep_2_of_4(w, norms=None):
    score = np.abs(w.numpy()) * (1.0 if norms is None else norms.numpy())
    keep = np.zeros(w.shape, dtype=bool)
    for i, row in enumerate(score):
        for j in range(0, len(row), 4):
            keep[i, j + np.argsort(-row[j : j + 4])[:2]] = True
    return torch.from_numpy(keep)


# %% [markdown]
# Half of all weights removed, in three ways, with a pattern and without. The last way is a surprise: your GPTQ prunes as well. Let `snap` put zeros where the mask says so and leave the rest alone, and the free columns make up for what was taken (SparseGPT, [Frantar & Alistarh, 2023](https://arxiv.org/abs/2301.00774)). A model this small has little to spare: large ones lose far less by the same share.

# %% [markdown] lang="ru"
# Половина всех весов убрана тремя способами, с узором и без. Последний способ — сюрприз: ваш GPTQ умеет и это. Пусть `snap` ставит нули там, где велит маска, и не трогает остальное, — свободные столбцы исправят то, что убрано (SparseGPT, [Frantar, Alistarh, 2023](https://arxiv.org/abs/2301.00774)). У такой маленькой модели лишнего мало: большие от той же доли теряют куда меньше.


# %%
def pruned(
    pattern: bool, inputs: bool, makes_up: bool
) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """A change of weights: half of them removed. pattern: 2:4. makes_up: by GPTQ."""

    def change(name: str, w: torch.Tensor) -> torch.Tensor:
        norms = moments[name].diagonal().sqrt().to(w) if inputs else None
        keep = keep_2_of_4(w, norms) if pattern else keep_rows(w, w.shape[1] // 2, norms)
        if not makes_up:
            return w * keep
        return gptq(w.double(), moments[name], lambda column, j: column * keep[:, j]).to(w)

    return change


ways = {
    "magnitude": (False, False),
    "times the input (Wanda)": (True, False),
    "and GPTQ makes up": (True, True),
}
print(f"{'perplexity':26}{'half of each row':>18}{'2 of 4':>10}")
for name, (inputs, makes_up) in ways.items():
    found = [
        perplexity(with_weights(model, pruned(p, inputs, makes_up)), held_out)
        for p in (False, True)
    ]
    print(f"{name:26}{found[0]:18.1f}{found[1]:10.1f}")
print(f"{'nothing removed':26}{perplexity(model, held_out):18.1f}")

# %% [markdown]
# ## 5. A draft that is checked
# **A smaller student.** Distillation, the third way to a cheaper model: the first two layers of the storyteller learn for some seconds to imitate all five. Alone, such a student is worse, as you see. But it can write drafts.

# %% [markdown] lang="ru"
# ## 5. Черновик, который проверяют
# **Ученик поменьше.** Дистилляция (distillation) — третий путь к дешёвой модели: первые два слоя рассказчика несколько секунд учатся подражать всем пяти. Сам по себе такой ученик хуже, как видно ниже. Зато он может писать черновики.

# %%
cut = week12.first_layers(model, 2)
student = week12.first_layers(model, 2)
imitate(student, settings["distil"], 2e-3)
for name, one in (
    ("all five layers", model),
    ("the first two, as they are", cut),
    ("the first two, distilled", student),
):
    print(
        f"{name:28} perplexity {perplexity(one, held_out):9.2f}, {sum(p.numel() for p in one.parameters()):,} numbers"
    )

# %% [markdown]
# **Speculative decoding** ([Leviathan et al., 2022](https://arxiv.org/abs/2211.17192)). The large model reads five tokens for hardly more than the price of one, since it waits for its weights. So let a cheap draft propose $\gamma$ tokens, and the large model judge all of them in **one** call. Token $x$ is accepted with probability
#
# $$\min\bigl(1,\ p(x) / q(x)\bigr),$$
#
# $p$ from the large model, $q$ from the draft. At the first that is refused, draw in its place from $\max(p - q, 0)$, normalised, and stop; if all are accepted, draw one more from $p$ after the last. What was too likely in the draft is refused just as often as needed, and what was too rare is drawn from the difference: the text has *exactly* the large model's distribution, however bad the draft.
#
# {{task:speculate}}

# %% [markdown] lang="ru"
# **Спекулятивное декодирование** (speculative decoding; [Leviathan и др., 2022](https://arxiv.org/abs/2211.17192)). Пять токенов большая модель читает почти по цене одного: она ждёт свои веса. Пусть дешёвая модель предложит черновик из $\gamma$ токенов, а большая проверит их все за **один** вызов. Токен $x$ принимается с вероятностью
#
# $$\min\bigl(1,\ p(x) / q(x)\bigr),$$
#
# где $p$ — от большой модели, $q$ — от черновика. Вместо первого отвергнутого возьмите случайный токен из нормированного $\max(p - q, 0)$ и остановитесь; если приняты все, возьмите ещё один из $p$ после последнего. То, что в черновике слишком часто, отвергается ровно так часто, как надо, а то, что слишком редко, добирается из разности: у текста *в точности* распределение большой модели, как бы плох ни был черновик.
#
# {{task:speculate}}


# %% solution="speculate"
def speculate(
    target: Callable[[list[int], int], np.ndarray],
    draft: Callable[[list[int]], np.ndarray],
    ids: list[int],
    gamma: int,
    rng: np.random.Generator,
) -> list[int]:
    """The new tokens of one round, from 1 to gamma + 1, after the text ids.

    draft(ids): probabilities (vocab,) of the token after ids; asked gamma times. target(ids, count): those
    after each of the last count beginnings of ids, (count, vocab), the last row after all of ids; asked once,
    for gamma + 1 of them. gamma >= 1. All chance comes from rng.
    """
    ### BEGIN SOLUTION
    proposed, q = [], []
    for _ in range(gamma):
        q.append(draft(ids + proposed))
        proposed.append(int(rng.choice(len(q[-1]), p=q[-1])))
    p = target(ids + proposed, gamma + 1)
    for i, token in enumerate(proposed):
        if rng.random() >= p[i][token] / q[i][token]:
            gap = np.maximum(p[i] - q[i], 0)
            return [*proposed[:i], int(rng.choice(len(gap), p=gap / gap.sum()))]
    return [*proposed, int(rng.choice(len(p[-1]), p=p[-1]))]
    ### END SOLUTION


# %% test="speculate" points=1 difficulty=4 minutes=35
sure = np.eye(5)[[1, 2, 3, 4, 0]]  # after token i comes i + 1
wrong = np.eye(5)[[1, 2, 0, 4, 0]]  # the same, but for what comes after 2


def judges(table):
    """A large model of a table: the next token depends on the last alone."""
    return lambda ids, count: np.stack([table[i] for i in ids[len(ids) - count :]])


def drafts(table):
    """A draft of a table."""
    return lambda ids: table[ids[-1]]


for table, text, want, why in [
    (sure, [3, 4, 0], [1, 2, 3, 4], "accept what both say, and add a token"),
    (
        wrong,
        [3, 4, 0],
        [1, 2, 3],
        "end at the first that is refused, with a token of the large model",
    ),
]:
    call = f"speculate(target, draft, {text}, 3, rng)"
    found = check.answer(
        speculate, judges(sure), drafts(table), text, 3, np.random.default_rng(1), call=call
    )
    check.equal(found, want, call, why=why)
unsure, chance = [np.array([[0.3, 0.7]] * 2), np.array([[0.8, 0.2]] * 2)], np.random.default_rng(3)
call = "speculate with p = [0.3, 0.7], q = [0.8, 0.2], 1 token, 4000 rounds"
rounds = [
    check.plain(speculate(judges(unsure[0]), drafts(unsure[1]), [0], 1, chance), call)
    for _ in range(4000)
]
share = sum(len(new) == 2 for new in rounds) / 4000
check.close(share, 0.5, f"accepted share, {call}", rtol=0, atol=0.055, why="be that of min(1, p/q)")
share = sum(new[0] == 0 for new in rounds) / 4000
check.close(share, 0.3, f"share of token 0, {call}", rtol=0, atol=0.051, why="be p of the token")
### BEGIN HIDDEN TESTS
rng = check.rng("speculate")
from scipy.stats import chi2


def table_of(vocab, least=0.1):
    """A table of probabilities, none of them small."""
    p = least + rng.exponential(size=(vocab, vocab)) ** 2
    p = p / p.sum(1, keepdims=True)
    return (p + 0.12) / (1 + 0.12 * vocab)


def judge_counts(counts, expected, call, why):
    """Pearson's statistic, refused once in a thousand million rounds."""
    counts, expected = np.asarray(counts, float), np.asarray(expected, float)
    impossible = counts[expected == 0].sum()
    check.equal(float(impossible), 0.0, f"how often what is impossible came, {call}", why=why)
    bins = [[0.0, 0.0]]
    for one in np.argsort(expected):  # those that are expected less than ten times go together
        if bins[-1][1] >= 10:
            bins.append([0.0, 0.0])
        bins[-1][0] += counts[one]
        bins[-1][1] += expected[one]
    seen, want = np.array(bins).T
    if len(bins) > 1 and want[0] > 0:
        value = float(((seen - want) ** 2 / want).sum())
        check.that(value < chi2.isf(1e-9, len(bins) - 1), f"{call}: {why}")


class Asked:
    """A large model and a draft of tables, that note and check what they are asked for."""

    def __init__(self, p, q, gamma):
        self.p, self.q, self.gamma, self.text, self.calls = p, q, gamma, [], [0, 0]

    def begin(self, text):
        self.text, self.calls = list(text), [0, 0]

    def target(self, ids, count):
        self.calls[0] += 1
        asked, want = (len(ids), int(count)), (len(self.text) + self.gamma, self.gamma + 1)
        why = "be the text with the whole draft, and gamma + 1 places"
        check.equal(asked, want, "length and count that target is asked for", why=why)
        return judges(self.p)(ids, count)

    def draft(self, ids):
        why = "be the text and what was proposed so far"
        check.equal(
            list(ids[: len(self.text)]), self.text, "the text that draft is asked for", why=why
        )
        want = len(self.text) + self.calls[1]
        check.equal(len(ids), want, "how long the text is that draft is asked for", why=why)
        self.calls[1] += 1
        return self.q[ids[-1]].copy()


def judge_draws(p, q, gamma, why, rounds=2500):
    """The distribution of the first three tokens, and of how many come in a round."""
    vocab = len(p)
    first = int(rng.integers(vocab))
    call = f"speculate with {gamma} tokens of a draft, {rounds} rounds"
    texts, sizes, asked = np.zeros((vocab,) * 3), np.zeros(gamma + 2), Asked(p, q, gamma)
    instead, more = np.zeros(vocab), np.zeros((vocab, vocab))
    for _ in range(rounds):
        text = [first]
        while len(text) < 4:
            asked.begin(text)
            new = check.plain(speculate(asked.target, asked.draft, list(text), gamma, rng), call)
            check.equal(
                asked.calls, [1, gamma], f"calls of target and draft, {call}", why="be 1 and gamma"
            )
            fits = isinstance(new, list) and 1 <= len(new) <= gamma + 1
            check.that(fits, f"{call}: be a list of 1 to gamma + 1 tokens")
            if len(text) == 1:
                sizes[len(new)] += 1
                if len(new) == 1:
                    instead[new[0]] += 1
                if len(new) == gamma + 1:
                    more[new[-2], new[-1]] += 1
            text += new
        texts[tuple(text[1:4])] += 1
    going, expected = np.eye(vocab)[first], np.zeros(gamma + 2)
    overlap = np.minimum(p, q)
    for i in range(1, gamma + 1):
        expected[i] = (going * (1 - overlap.sum(1))).sum()
        going = going @ overlap
    expected[gamma + 1] = going.sum()
    expected[expected < 1e-12] = 0
    judge_counts(
        sizes,
        rounds * expected,
        f"tokens a round of {call}",
        "accept with min(1, p/q), one after the other",
    )
    gap = np.maximum(p[first] - q[first], 0)
    if instead.any():
        said = f"tokens in place of those that are refused, {call}"
        judge_counts(instead, instead.sum() * gap / gap.sum(), said, "come from max(p - q, 0)")
    said = f"tokens after a draft that is accepted, {call}"
    judge_counts(more.ravel(), (more.sum(1)[:, None] * p).ravel(), said, "come from p")
    joint = p[first][:, None, None] * p[:, :, None] * p[None, :, :]
    judge_counts(texts.ravel(), rounds * joint.ravel(), call, why)


p = table_of(3)
judge_draws(p, table_of(3), 2, "draw as the large model does")
judge_draws(
    p,
    0.9 * p[:, [1, 2, 0]] ** 3 / (p[:, [1, 2, 0]] ** 3).sum(1, keepdims=True) + 0.1 / 3,
    3,
    "draw as the large model does, with a bad draft, too",
    2000,
)
judge_draws(
    p,
    np.eye(3)[p.argmin(1)],
    1,
    "draw as the large model does where the draft is sure and wrong",
    1500,
)
judge_draws(p, p, 2, "accept all where both agree", 800)
half = np.array([[0, 0.3, 0.7, 0], [0.6, 0, 0, 0.4], [0, 0.8, 0, 0.2], [0.5, 0, 0.5, 0]])
judge_draws(half, np.roll(half, 1, 1), 2, "never draw what the large model excludes", 1200)
for seed in (5, 6):
    twice = []
    for _ in range(2):
        own, made = np.random.default_rng(seed), []
        for _ in range(12):
            made += check.answer(
                speculate,
                judges(p),
                drafts(p[::-1].copy()),
                [0, 1, 2],
                2,
                own,
                call="speculate(..., rng)",
            )
        twice.append(made)
    check.equal(
        twice[0],
        twice[1],
        "speculate(..., rng) with one seed, twice",
        why="take all chance from rng",
    )
### END HIDDEN TESTS

# %% mutant="speculate" why="greedy acceptance: whatever the large model likes as much"
# - if rng.random() >= p[i][token] / q[i][token]:
# + if p[i][token] < q[i][token]:

# %% mutant="speculate" why="accepts with p"
# - if rng.random() >= p[i][token] / q[i][token]:
# + if rng.random() >= p[i][token]:

# %% mutant="speculate" why="accepts the most probable token alone"
# - if rng.random() >= p[i][token] / q[i][token]:
# + if token != p[i].argmax():

# %% mutant="speculate" why="p and q exchanged"
# - if rng.random() >= p[i][token] / q[i][token]:
# + if rng.random() * p[i][token] >= q[i][token]:

# %% mutant="speculate" why="draws from p in place of what is refused"
# - gap = np.maximum(p[i] - q[i], 0)
# + gap = p[i]

# %% mutant="speculate" why="the residual the other way round"
# - gap = np.maximum(p[i] - q[i], 0)
# + gap = np.abs(p[i] - q[i])

# %% mutant="speculate" why="the most probable token in place of what is refused"
# - return [*proposed[:i], int(rng.choice(len(gap), p=gap / gap.sum()))]
# + return [*proposed[:i], int(gap.argmax())]

# %% mutant="speculate" why="residual not normalised: what is missing goes to the last token"
# - return [*proposed[:i], int(rng.choice(len(gap), p=gap / gap.sum()))]
# + return [*proposed[:i], min(int(np.searchsorted(gap.cumsum(), rng.random())), len(gap) - 1)]

# %% mutant="speculate" why="what is refused is left out"
# - return [*proposed[:i], int(rng.choice(len(gap), p=gap / gap.sum()))]
# + return proposed[:i] or [int(rng.choice(len(gap), p=gap / gap.sum()))]

# %% mutant="speculate" why="goes on after what is refused"
# - return [*proposed[:i], int(rng.choice(len(gap), p=gap / gap.sum()))]
# + proposed[i] = int(rng.choice(len(gap), p=gap / gap.sum()))

# %% mutant="speculate" why="no token more where all are accepted"
# - return [*proposed, int(rng.choice(len(p[-1]), p=p[-1]))]
# + return proposed

# %% mutant="speculate" why="the token more comes from the draft"
# - return [*proposed, int(rng.choice(len(p[-1]), p=p[-1]))]
# + last = draft(ids + proposed)
# + return [*proposed, int(rng.choice(len(last), p=last))]

# %% mutant="speculate" why="asks the large model for each token"
# - p = target(ids + proposed, gamma + 1)
# + p = [target(ids + proposed[:i], 1)[0] for i in range(gamma + 1)]

# %% mutant="speculate" why="the draft forgets what it wrote"
# - q.append(draft(ids + proposed))
# + q.append(draft(ids))

# %% mutant="speculate" why="one row late"
# - if rng.random() >= p[i][token] / q[i][token]:
# + if rng.random() >= p[i + 1][token] / q[i][token]:

# %% mutant="speculate" why="a generator of its own"
# - proposed, q = [], []
# + proposed, q, rng = [], [], np.random.default_rng()

# %% mutant="speculate" why="the draft takes the most probable token"
# - proposed.append(int(rng.choice(len(q[-1]), p=q[-1])))
# + proposed.append(int(q[-1].argmax()))

# %% mutant="speculate" why="ignores the draft"
# - return [*proposed, int(rng.choice(len(p[-1]), p=p[-1]))]
# + return [*proposed, int(rng.choice(len(p[-1]), p=p[-1]))]
# - for i, token in enumerate(proposed):
# + return [int(rng.choice(len(p[0]), p=p[0]))]
# + for i, token in enumerate(proposed):


# %% alternative="speculate" why="by cumulative sums, the length first"
def speculate(target, draft, ids, gamma, rng):
    def pick(weights):
        total = np.cumsum(weights)
        return int(np.searchsorted(total, rng.uniform(0, total[-1]), side="right"))

    text, q = list(ids), []
    for _ in range(gamma):
        q.append(np.array(draft(list(text))))
        text.append(pick(q[-1]))
    p = np.asarray(target(text, gamma + 1))
    new = text[len(ids) :]
    ratios = [p[i, x] / q[i][x] for i, x in enumerate(new)]
    refused = [u > r for u, r in zip(rng.uniform(size=gamma), ratios, strict=True)]
    n = refused.index(True) if True in refused else gamma
    final = p[n] if n == gamma else np.clip(p[n] - q[n], 0, None)
    return [*new[:n], pick(final)]


# %% [markdown]
# Is it exact? Count 4,000 first tokens with the student as a draft, and as many with a bad one, the same two layers before they learned. Pearson's $\chi^2$ against the large model's probabilities should be near the number of classes less one. Beside them a draft alone: a few tokens that the large model hardly ever writes make that number huge.

# %% [markdown] lang="ru"
# Точно ли это? Посчитаем 4000 первых токенов с учеником в роли черновика и столько же с плохим черновиком — теми же двумя слоями до обучения. $\chi^2$ Пирсона против вероятностей большой модели должно быть около числа классов без единицы. Рядом — один черновик, без проверки: горстка токенов, которых большая модель почти никогда не пишет, делает это число огромным.


# %%
def probabilities(model: nn.Module) -> Callable[[list[int], int], np.ndarray]:
    """A model as a function of a text: probabilities after its last `count` beginnings; it keeps what it said."""

    @cache
    def rows(ids: tuple[int, ...], count: int) -> np.ndarray:
        with torch.no_grad():
            p = model(torch.tensor([ids]))[0, -count:].double().softmax(-1).numpy()
        return p / p.sum(-1, keepdims=True)

    return lambda ids, count=1: rows(tuple(ids), count)


def pearson(tokens: Sequence[int], p: np.ndarray) -> tuple[float, int]:
    """The statistic and the number of classes less one; tokens expected less than five times are one class."""
    rare = len(tokens) * p < 5
    counts = np.bincount(tokens, minlength=len(p))
    seen, want = (np.append(x[~rare], x[rare].sum()) for x in (counts, len(tokens) * p))
    return float(((seen - want) ** 2 / want).sum()), len(want) - 1


prompt, exact, chance = (
    week12.story_ids(stories, "One day, the"),
    probabilities(model),
    np.random.default_rng(5),
)
for name, one in (("distilled", student), ("cut off", cut)):
    ask = probabilities(one)
    first = [
        speculate(exact, lambda ids, ask=ask: ask(ids)[0], prompt, 1, chance)[0]
        for _ in range(4000)
    ]
    value, free = pearson(first, exact(prompt)[0])
    alone, _ = pearson(chance.choice(512, size=4000, p=ask(prompt)[0]), exact(prompt)[0])
    print(
        f"draft {name:10}: chi2 {value:.0f} (its mean would be {free}, its deviation {math.sqrt(2 * free):.0f}); the draft alone {alone:,.0f}"
    )

# %% [markdown]
# How much does it save? Tokens for each call of the large model, by the length of the draft. If each token were accepted with the same probability $\alpha$, independently, it would be $(1 - \alpha^{\gamma + 1}) / (1 - \alpha)$, the dotted line. In real texts easy tokens stand together, so long drafts may do better.

# %% [markdown] lang="ru"
# Сколько это бережёт? Токены на один вызов большой модели в зависимости от длины черновика. Если бы каждый токен принимался с одной и той же вероятностью $\alpha$ независимо, вышло бы $(1 - \alpha^{\gamma + 1}) / (1 - \alpha)$ — пунктир. В настоящих текстах лёгкие токены стоят рядом, поэтому длинный черновик может дать и больше.


# %%
def tokens_a_call(draft_model: nn.Module, gamma: int, rounds: int) -> float:
    """Tokens that a call of the large model brings, at places by chance in the texts held out."""
    ask, chance, made = probabilities(draft_model), np.random.default_rng(6), 0
    for _ in range(rounds):
        row, place = chance.integers(len(held_out)), chance.integers(8, 100)
        text = held_out[row, :place].tolist()
        made += len(speculate(exact, lambda ids: ask(ids)[0], text, gamma, chance))
    return made / rounds


both = {"distilled": student, "cut off": cut}
with torch.no_grad():
    p = model(held_out)[:, 7:99].softmax(-1)
    overlaps = {n: torch.minimum(p, one(held_out)[:, 7:99].softmax(-1)) for n, one in both.items()}
shares = {name: float(overlap.sum(-1).mean()) for name, overlap in overlaps.items()}
gammas = (1, 2, 3, 5, 8)
brought = {
    n: [tokens_a_call(one, g, settings["rounds"]) for g in gammas] for n, one in both.items()
}
week12.acceptance_picture(gammas, brought, shares)
plots.show(
    "Tokens a call of the large model against the draft's length: with the distilled draft they rise and level "
    "off, with the cut-off one they stay near one; dots lie near the dotted lines of the formula."
)

# %% [markdown]
# ## 6. Many readers, one queue
# Waiting for memory has a cure: let many requests share one reading of the weights. Static batching takes some requests and lets no other in before the longest has ended. **Continuous batching** ([Orca](https://www.usenix.org/conference/osdi22/presentation/yu)) decides anew in each step. A step has room for `budget` tokens, and the memory for the caches of `slots` requests. In each step:
# 1. Every request that has read its whole prompt *writes* one token. Writers go first: nobody who writes may be held up.
# 2. What is left of the budget *reads* prompts, in order of arrival, as much of each as fits; so a long prompt is read in pieces, over several steps, and never blocks a step (chunked prefill).
# 3. A request that waits may begin when it has arrived, all before it have begun, a slot is free, and budget is left for at least one token. It holds its slot from the step in which it reads its first token through the step in which it writes its last one.
#
# {{task:schedule}}

# %% [markdown] lang="ru"
# ## 6. Много читателей, одна очередь
# От ожидания памяти есть лекарство: пусть много запросов делят одно чтение весов. Статический батч берёт несколько запросов и не впускает других, пока не кончится самый длинный. **Непрерывный батч** (continuous batching, [Orca](https://www.usenix.org/conference/osdi22/presentation/yu)) решает заново на каждом шаге. В шаге есть место для `budget` токенов, а в памяти — для кэшей `slots` запросов. На каждом шаге:
# 1. Каждый запрос, промпт которого прочитан целиком, *пишет* один токен. Пишущие идут первыми: того, кто пишет, задерживать нельзя.
# 2. На остаток бюджета *читаются* промпты в порядке прихода запросов, каждый — сколько поместится; поэтому длинный промпт читается по частям, за несколько шагов, и не занимает шаг целиком (chunked prefill).
# 3. Ждущий запрос может начать, если он пришёл, все перед ним начали, есть свободное место в памяти и в бюджете остался хотя бы один токен. Место он занимает с шага, в котором прочёл первый токен, по шаг, в котором написал последний, включительно.
#
# {{task:schedule}}


# %% solution="schedule"
def schedule(
    asked: Sequence[tuple[int, int, int]], budget: int, slots: int
) -> list[dict[int, int]]:
    """For each step from 0 to the last one that is needed: {request: its tokens in this step}.

    asked: of each request, at least one (the first step in which it may be served, tokens to read >= 1, tokens to write
    >= 1), in order of arrival; those of equal steps come in the order of the list. slots <= budget. Only
    requests with tokens stand in a step's dictionary: it is empty where there is nobody.

    schedule([(0, 5, 1), (0, 2, 2)], budget=4, slots=2) -> [{0: 4}, {0: 1, 1: 2}, {0: 1, 1: 1}, {1: 1}]
    """
    ### BEGIN SOLUTION
    unread, unwritten = [r for _, r, _ in asked], [w for _, _, w in asked]
    begun, waiting, steps = [], list(range(len(asked))), []
    while begun or waiting:
        writers = [i for i in begun if not unread[i]]
        step, left = dict.fromkeys(writers, 1), budget - len(writers)
        arrived = [i for i in waiting if asked[i][0] <= len(steps)]
        for i in [i for i in begun if unread[i]] + arrived[: slots - len(begun)]:
            if left:
                step[i] = min(left, unread[i])
                left -= step[i]
                unread[i] -= step[i]
        for i in writers:
            unwritten[i] -= 1
        begun = [i for i in (*begun, *waiting) if unwritten[i] and (i in begun or i in step)]
        waiting = [i for i in waiting if i not in step]
        steps.append(step)
    return steps
    ### END SOLUTION


# %% test="schedule" points=0.75 difficulty=4 minutes=35
for some, budget, slots, want in [
    ([(0, 5, 1), (0, 2, 2)], 4, 2, [{0: 4}, {0: 1, 1: 2}, {0: 1, 1: 1}, {1: 1}]),
    ([(2, 3, 1), (3, 1, 2)], 3, 1, [{}, {}, {0: 3}, {0: 1}, {1: 1}, {1: 1}, {1: 1}]),
]:
    call = f"schedule({some}, {budget}, {slots})"
    found = check.answer(schedule, some, budget, slots, call=call)
    check.equal(found, want, call, why="serve as the rules say")
### BEGIN HIDDEN TESTS
rng = check.rng("schedule")


def slow_schedule(asked, budget, slots):
    """Token by token: in each step every token looks for the first who may have it."""
    state = ["waits"] * len(asked)
    read, written, steps = [0] * len(asked), [0] * len(asked), []
    while any(s != "done" for s in state):
        now, step, ended = len(steps), {}, []
        for i in range(len(asked)):
            if state[i] == "writes":
                step[i] = 1
                written[i] += 1
                if written[i] == asked[i][2]:
                    ended.append(i)
        while sum(step.values()) < budget:
            for i in range(len(asked)):
                held = sum(s in ("reads", "writes", "ready") for s in state)
                first = all(s != "waits" for s in state[:i])
                if state[i] == "waits" and first and asked[i][0] <= now and held < slots:
                    state[i] = "reads"
                if state[i] == "reads":
                    step[i] = step.get(i, 0) + 1
                    read[i] += 1
                    if read[i] == asked[i][1]:
                        state[i] = "ready"
                    break
            else:
                break
        for i in range(len(asked)):
            if i in ended:
                state[i] = "done"
            elif state[i] == "ready":
                state[i] = "writes"
        steps.append(step)
    return steps


def judge_schedule(asked, budget, slots, why):
    call = f"schedule({asked}, {budget}, {slots})"
    got = check.answer(schedule, asked, budget, slots, call=call)
    check.that(
        isinstance(got, list) and all(isinstance(s, dict) for s in got),
        f"{call}: be a list of dictionaries",
    )
    totals = [sum(s.get(i, 0) for s in got) for i in range(len(asked))]
    check.equal(
        totals,
        [r + w for _, r, w in asked],
        f"tokens of each request in {call}",
        why="lose no request and no token",
    )
    check.that(
        all(n >= 1 for s in got for n in s.values()), f"{call}: name only those who get tokens"
    )
    check.that(
        max((sum(s.values()) for s in got), default=0) <= budget, f"{call}: never exceed the budget"
    )
    first = [min(n for n, s in enumerate(got) if i in s) for i in range(len(asked))]
    last = [max(n for n, s in enumerate(got) if i in s) for i in range(len(asked))]
    check.that(
        all(f >= a for f, (a, _, _) in zip(first, asked, strict=True)),
        f"{call}: serve nobody before the arrival",
    )
    busiest = max(
        sum(f <= n <= e for f, e in zip(first, last, strict=True)) for n in range(len(got))
    )
    check.that(busiest <= slots, f"{call}: hold no more than slots at once")
    check.equal(got, slow_schedule(asked, budget, slots), call, why=why)


judge_schedule([(0, 3, 2)], 8, 2, "read in one step what fits, then write a token a step")
judge_schedule([(0, 7, 1)], 3, 1, "read a long prompt in pieces")
judge_schedule([(4, 2, 1)], 3, 1, "wait for the arrival")
judge_schedule([(0, 1, 6), (0, 9, 1)], 3, 2, "let writers go first and readers have the rest")
judge_schedule([(0, 6, 1), (0, 2, 3), (0, 2, 1)], 4, 3, "begin the next where budget is left")
judge_schedule(
    [(0, 1, 5), (0, 1, 1), (0, 4, 2)], 4, 2, "take a slot when it is free, in the next step"
)
judge_schedule([(0, 1, 2), (1, 3, 1), (2, 3, 1)], 2, 2, "begin in the order of arrival")
judge_schedule([(0, 2, 2), (5, 1, 1)], 4, 2, "have empty steps where there is nobody")
judge_schedule([(1, 2, 1), (1, 2, 1), (1, 2, 1)], 6, 3, "read several prompts in a step")
judge_schedule([(0, 4, 9), (0, 4, 9), (0, 4, 9)], 3, 3, "let each that writes write in each step")
judge_schedule([(0, 30, 60), (3, 9, 40), (90, 2, 2)], 2, 2, "go on to the end")
judge_schedule(
    [(0, 2, 1), (0, 3, 4), (1, 5, 1), (1, 1, 1)],
    2,
    2,
    "serve as the rules say where budget and slots are equal",
)
for _ in range(14):
    n, slots = int(rng.integers(2, 12)), int(rng.integers(1, 6))
    budget = slots + int(rng.integers(0, 9))
    arrivals = np.sort(rng.integers(0, int(rng.integers(1, 25)), size=n))
    asked = [(int(a), int(rng.integers(1, 14)), int(rng.integers(1, 9))) for a in arrivals]
    judge_schedule(asked, budget, slots, "serve as the rules say")
### END HIDDEN TESTS

# %% mutant="schedule" why="head of the line: a prompt that does not fit blocks the step"
# - if left:
# + if left and (unread[i] <= left or left == budget):

# %% mutant="schedule" why="readers first: who writes starves"
# - step, left = dict.fromkeys(writers, 1), budget - len(writers)
# + step, left = dict.fromkeys(writers, 1), budget

# %% mutant="schedule" why="each reads as if the budget were its own"
# - left -= step[i]
# + pass

# %% mutant="schedule" why="one prompt a step"
# - left -= step[i]
# + left = 0

# %% mutant="schedule" why="static: nobody begins while somebody is there"
# - for i in [i for i in begun if unread[i]] + arrived[: slots - len(begun)]:
# + for i in [i for i in begun if unread[i]] + arrived[: 0 if begun else slots]:

# %% mutant="schedule" why="no slots"
# - for i in [i for i in begun if unread[i]] + arrived[: slots - len(begun)]:
# + for i in [i for i in begun if unread[i]] + arrived:

# %% mutant="schedule" why="one slot too few"
# - for i in [i for i in begun if unread[i]] + arrived[: slots - len(begun)]:
# + for i in [i for i in begun if unread[i]] + arrived[: max(slots - len(begun) - 1, int(not begun))]:

# %% mutant="schedule" why="the shortest prompt first"
# - arrived = [i for i in waiting if asked[i][0] <= len(steps)]
# + arrived = sorted((i for i in waiting if asked[i][0] <= len(steps)), key=lambda i: asked[i][1])

# %% mutant="schedule" why="the newest first"
# - arrived = [i for i in waiting if asked[i][0] <= len(steps)]
# + arrived = [i for i in waiting if asked[i][0] <= len(steps)][::-1]

# %% mutant="schedule" why="one step late"
# - arrived = [i for i in waiting if asked[i][0] <= len(steps)]
# + arrived = [i for i in waiting if asked[i][0] < len(steps)]

# %% mutant="schedule" why="as if all had arrived"
# - arrived = [i for i in waiting if asked[i][0] <= len(steps)]
# + arrived = list(waiting)

# %% mutant="schedule" why="new ones before those who read"
# - for i in [i for i in begun if unread[i]] + arrived[: slots - len(begun)]:
# + for i in arrived[: slots - len(begun)] + [i for i in begun if unread[i]]:

# %% mutant="schedule" why="empty steps are left out"
# - steps.append(step)
# + if step or not begun:
# +     steps += [step] if step else []
# + if not step:
# +     asked = [(a - 1, r, w) for a, r, w in asked]

# %% mutant="schedule" why="one token too few is written"
# - begun = [i for i in (*begun, *waiting) if unwritten[i] and (i in begun or i in step)]
# + begun = [i for i in (*begun, *waiting) if (unwritten[i] > 1 or unread[i]) and (i in begun or i in step)]

# %% mutant="schedule" why="a slot is free in the step of its last token"
# - for i in [i for i in begun if unread[i]] + arrived[: slots - len(begun)]:
# + going = sum(unread[i] > 0 or unwritten[i] > 1 for i in begun)
# + for i in [i for i in begun if unread[i]] + arrived[: slots - going]:


# %% alternative="schedule" why="objects and generators: each request knows what it needs"
def schedule(asked, budget, slots):
    need = {i: [r, w] for i, (_, r, w) in enumerate(asked)}
    inside, queue, plan = [], sorted(need), []
    while queue or inside:
        now, room, step = len(plan), budget, {}
        for i in inside:
            if need[i][0] == 0:
                step[i], room = 1, room - 1
        writers = set(step)
        free = slots - len(inside)
        candidates = [i for i in inside if need[i][0] > 0]
        while queue and free > 0 and asked[queue[0]][0] <= now:
            if sum(need[i][0] for i in candidates) >= room:
                break
            candidates.append(queue.pop(0))
            inside.append(candidates[-1])
            free -= 1
        for i in candidates:
            take = min(room, need[i][0])
            if take > 0:
                step[i] = take
            need[i][0] -= take
            room -= take
        for i in writers:
            need[i][1] -= 1
        inside = [i for i in inside if need[i][1] > 0]
        plan.append(step)
    return plan


# %% [markdown]
# The same requests by both rules. Look for the white in the upper picture: slots that are held by those who have long ended, and readers who wait for the slowest.

# %% [markdown] lang="ru"
# Одни и те же запросы по обоим правилам. Найдите на верхней картинке белое: места, занятые теми, кто давно закончил, и читателей, ждущих самого медленного.

# %%
some, budget, slots = week12.requests(16, 2.0, np.random.default_rng(11)), 16, 4
plans = {
    "static batches": week12.static_schedule(some, budget, slots),
    "your schedule": schedule(some, budget, slots),
}
week12.gantt(some, plans, slots)
plots.show(
    "Two charts with a row for each request: when it waits, reads and writes. In static batches groups of four "
    "begin together and wait for their longest; in the continuous one the next begins as soon as one ends."
)

# %%
rates, curves = (8, 6, 5, 4, 3, 2, 1), {"static": ([], []), "continuous": ([], [])}
for gap in rates:
    many = week12.requests(150, gap, np.random.default_rng(12))
    for name, plan in (
        ("static", week12.static_schedule(many, 32, 8)),
        ("continuous", schedule(many, 32, 8)),
    ):
        tokens, mean, slow = week12.served(many, plan)
        curves[name][0].append(tokens)
        curves[name][1].append(mean)
    if gap in (rates[0], rates[-1]):
        a, b = curves["static"], curves["continuous"]
        print(
            f"{gap} steps between requests: tokens a step {a[0][-1]:.2f} static, {b[0][-1]:.2f} continuous; mean stay {a[1][-1]:.0f} and {b[1][-1]:.0f} steps"
        )
plots.curves(
    curves, "Throughput against latency", "tokens a step", "steps from arrival to end", log_y=True
)
plots.show(
    "Mean stay against throughput for growing load: the line of static batches turns steeply upwards at a "
    "throughput that continuous batching still serves quickly."
)

# %% [markdown]
# ## 7. Many machines: five puzzles
# Models are trained on thousands of cards. What do they say to each other, and what does each hold? Here is the whole idea in five short functions; **each that is right gives a fifth of the points**.
# - **Data parallelism.** Each rank has the mean gradient over its own examples, not all equally many. `average` gives the gradient of the mean over *all* examples.
# - **Tensor parallelism.** Of $\mathrm{relu}(x W_1) W_2$ a rank holds an equal share of neighbouring columns of $W_1$ and the same rows of $W_2$. `partial` gives what rank `rank` computes; the sum over ranks is the whole.
# - **Pipeline parallelism.** A rank holds some layers, a *stage*; the batch goes through in parts, 0, 1, 2, .... `pipeline` says in which step each stage works on each part (forward only, one step each, as early as can be), and which share of all stages' steps is idle: the *bubble*.
# - **ZeRO, memory.** Mixed precision with Adam holds for each number 2 bytes of weight, 2 of gradient, and 12 of optimiser states (a copy of the weight and two moments). `zero_bytes` says what a rank holds at stage 0 (everything), 1 (states divided among ranks), 2 (gradients, too), 3 (weights, too). What is divided is padded: a share has $\lceil n / \text{ranks} \rceil$ numbers.

# %% [markdown] lang="ru"
# ## 7. Много машин: пять головоломок
# Модели учат на тысячах карт. Что они говорят друг другу и что хранит каждая? Вот вся идея в пяти коротких функциях; **каждая верная даёт пятую часть баллов**.
# - **Параллелизм по данным.** У каждой машины — средний градиент по её примерам, которых не у всех поровну. `average` даёт градиент среднего по *всем* примерам.
# - **Тензорный параллелизм.** От $\mathrm{relu}(x W_1) W_2$ машина хранит равную долю соседних столбцов $W_1$ и те же строки $W_2$. `partial` даёт то, что вычисляет машина `rank`; сумма по машинам — целое.
# - **Конвейер** (pipeline). Машина хранит несколько слоёв, *ступень*; батч идёт по ним частями: 0, 1, 2, … `pipeline` говорит, на каком шаге какая ступень работает над какой частью (только вперёд, по шагу на каждую, как можно раньше) и какая доля шагов всех ступеней проходит впустую: это *пузырь*.
# - **ZeRO, память.** Смешанная точность с Adam хранит на каждое число 2 байта веса, 2 градиента и 12 состояний оптимизатора (копия веса и два момента). `zero_bytes` говорит, что хранит машина на стадии 0 (всё), 1 (состояния поделены между машинами), 2 (и градиенты), 3 (и веса). Что поделено, то дополнено: в доле $\lceil n / \text{ranks} \rceil$ чисел.

# %% [markdown]
# - **ZeRO, a step.** SGD with momentum at stage 1: rank $r$ holds the momentum of share $r$ of the numbers and no other. All gradients are averaged (equally many examples); each rank updates its share, $m \leftarrow \beta m + g$ and $w \leftarrow w - \eta\, m$; then the shares are put together again, for all.
#
# {{task:puzzles}}

# %% [markdown] lang="ru"
# - **ZeRO, шаг.** SGD с импульсом на стадии 1: машина $r$ хранит импульс доли $r$ всех чисел и никакой другой. Все градиенты усредняются (примеров поровну); каждая машина обновляет свою долю: $m \leftarrow \beta m + g$ и $w \leftarrow w - \eta\, m$; потом доли снова складываются вместе, для всех.
#
# {{task:puzzles}}


# %% solution="puzzles"
def average(gradients: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The gradient over all examples. gradients: (ranks, n), each the mean over counts[rank] -> (n,)."""
    ### BEGIN SOLUTION
    return counts @ gradients / counts.sum()
    ### END SOLUTION


def partial(x: np.ndarray, w1: np.ndarray, w2: np.ndarray, rank: int, ranks: int) -> np.ndarray:
    """Rank's part of relu(x w1) w2. x: (n, d), w1: (d, h), w2: (h, e) -> (n, e). ranks divide h."""
    ### BEGIN SOLUTION
    size = w1.shape[1] // ranks
    mine = slice(rank * size, (rank + 1) * size)
    return np.maximum(x @ w1[:, mine], 0) @ w2[mine]
    ### END SOLUTION


def pipeline(stages: int, parts: int) -> tuple[dict[tuple[int, int], int], float]:
    """({(stage, part): its step, from 0}, share of the stages' steps that are idle)."""
    ### BEGIN SOLUTION
    steps = {(stage, part): stage + part for stage in range(stages) for part in range(parts)}
    return steps, (stages - 1) / (parts + stages - 1)
    ### END SOLUTION


def zero_bytes(n: int, ranks: int, stage: int) -> int:
    """Bytes that a rank holds for a model of n numbers at a stage of ZeRO, 0 to 3."""
    ### BEGIN SOLUTION
    share = -(-n // ranks)
    states, gradients, weights = (share if stage >= least else n for least in (1, 2, 3))
    return 12 * states + 2 * gradients + 2 * weights
    ### END SOLUTION


def zero_step(
    weights: np.ndarray, gradients: np.ndarray, momenta: list[np.ndarray], rate: float, beta: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """(the new weights (n,), the new momenta: for each rank its share's, (n / ranks,)).

    weights: (n,), gradients: (ranks, n), momenta: as the new ones. ranks divide n; shares are neighbours.
    """
    ### BEGIN SOLUTION
    mean = gradients.mean(0).reshape(len(momenta), -1)
    new = [beta * m + g for m, g in zip(momenta, mean, strict=True)]
    return weights - rate * np.concatenate(new), new
    ### END SOLUTION


# %% test="puzzles" points=0.75 difficulty=3 minutes=30
def is_average():
    call = "average([[1, 2], [5, 8]], [3, 1])"
    check.close(
        check.answer(average, np.array([[1.0, 2], [5, 8]]), np.array([3, 1]), call=call),
        [2, 3.5],
        call,
    )


def is_partial():
    x, w1 = np.array([[1.0, -2], [3, 1]]), np.array([[1.0, 2, -1, 3], [2, 1, 4, 1]])
    w2 = np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]])
    call = f"partial({x.tolist()}, {w1.tolist()}, {w2.tolist()}, 1, 2)"
    check.close(check.answer(partial, x, w1, w2, 1, 2, call=call), [[7, 8], [75, 86]], call)


def is_pipeline():
    call = "pipeline(2, 3)"
    steps, _ = check.answer(pipeline, 2, 3, call=call)
    check.equal(
        steps, {(0, 0): 0, (0, 1): 1, (0, 2): 2, (1, 0): 1, (1, 1): 2, (1, 2): 3}, f"{call}[0]"
    )
    _, idle = check.answer(pipeline, 3, 5, call="pipeline(3, 5)")
    check.close(idle, 2 / 7, "pipeline(3, 5)[1]")


def is_zero_bytes():
    check.equal(
        check.answer(zero_bytes, 10, 4, 1, call="zero_bytes(10, 4, 1)"), 76, "zero_bytes(10, 4, 1)"
    )


def is_zero_step():
    call = "zero_step([1, 2], [[1, 2], [3, 6]], [[5], [7]], 0.1, 0.5)"
    given = (
        np.array([1.0, 2.0]),
        np.array([[1.0, 2.0], [3.0, 6.0]]),
        [np.array([5.0]), np.array([7.0])],
    )
    made, momenta = check.answer(zero_step, *given, 0.1, 0.5, call=call)
    check.close(made, [0.55, 1.25], f"{call}[0]")
    check.equal([m.tolist() for m in momenta], [[4.5], [7.5]], f"{call}[1]")


def solved(puzzles, tells=True):
    """How many puzzles are right; what is wrong with the others is printed."""
    right, reasons = 0, []
    for puzzle in puzzles:
        try:
            puzzle()
            right += 1
        except Exception as error:  # the others still count
            reasons.append(error)
            found = f"{type(error).__name__}: {error}" if tells else "not right for all inputs"
            print(f"{puzzle.__name__.split('is_')[1]}: {found}")
    if not right:
        raise reasons[0]
    return right


right = solved([is_average, is_partial, is_pipeline, is_zero_bytes, is_zero_step])
check.score(right / 5, f"{right} of 5 puzzles are right.")
### BEGIN HIDDEN TESTS
rng = check.rng("puzzles")


def surely_is_average():
    """By the examples themselves."""
    is_average()
    for ranks, n in ((1, 3), (2, 4), (5, 2)):
        counts = rng.integers(1, 9, size=ranks)
        examples = [rng.normal(size=(count, n)) for count in counts]
        means = np.stack([e.mean(0) for e in examples])
        got = check.answer(average, means, counts, call="average(gradients, counts)")
        check.close(
            got,
            np.concatenate(examples).mean(0),
            "average(gradients, counts)",
            rtol=1e-9,
            atol=1e-12,
            why="be the mean over all examples",
        )


def surely_is_partial():
    """Each rank by its own hidden numbers, one by one, and all together."""
    is_partial()
    for n, d, size, ranks, e in (
        (2, 3, 2, 3, 4),
        (3, 2, 1, 5, 1),
        (1, 4, 6, 1, 3),
        (5, 1, 3, 2, 2),
    ):
        x, w1, w2 = (rng.normal(size=s) for s in ((n, d), (d, size * ranks), (size * ranks, e)))
        total = 0
        for rank in range(ranks):
            a, b = w1.copy(), w2.copy()
            out = [j for j in range(size * ranks) if j // size != rank]
            a[:, out], b[out] = np.nan, np.nan
            got = check.answer(partial, x, a, b, rank, ranks, call=f"partial(..., {rank}, {ranks})")
            want = sum(
                np.outer(np.maximum(x @ w1[:, j], 0), w2[j])
                for j in range(size * ranks)
                if j not in out
            )
            check.close(
                got,
                want,
                f"partial(..., {rank}, {ranks})",
                rtol=1e-9,
                atol=1e-12,
                why="be what its own columns and rows give",
            )
            total = total + got
        check.close(
            total,
            np.maximum(x @ w1, 0) @ w2,
            "the sum of partial(...) over ranks",
            rtol=1e-9,
            atol=1e-12,
            why="be the whole",
        )


def surely_is_pipeline():
    """By waiting: a stage takes the next part that the stage before has ended."""
    is_pipeline()
    for stages, parts in ((1, 1), (1, 4), (3, 1), (3, 5), (6, 2)):
        want = {}
        for part in range(parts):
            for stage in range(stages):
                before = [want[stage - 1, part]] if stage else []
                want[stage, part] = (
                    max([*before, *([want[stage, part - 1]] if part else [])], default=-1) + 1
                )
        steps, idle = check.answer(pipeline, stages, parts, call=f"pipeline({stages}, {parts})")
        check.equal(steps, want, f"pipeline({stages}, {parts})[0]", why="be as early as can be")
        all_steps = stages * (max(want.values()) + 1)
        check.close(
            idle,
            1 - len(want) / all_steps,
            f"pipeline({stages}, {parts})[1]",
            rtol=1e-9,
            atol=1e-12,
            why="be the idle share of all stages' steps",
        )


def surely_is_zero_bytes():
    """By laying numbers out."""
    is_zero_bytes()
    for n, ranks in ((12, 4), (13, 4), (3, 8), (1000, 7), (5, 1), (7_500_000_000, 64)):
        share = math.ceil(n / ranks)
        for stage, want in enumerate((16 * n, 4 * n + 12 * share, 2 * n + 14 * share, 16 * share)):
            got = check.answer(
                zero_bytes, n, ranks, stage, call=f"zero_bytes({n}, {ranks}, {stage})"
            )
            check.equal(
                got,
                want,
                f"zero_bytes({n}, {ranks}, {stage})",
                why="hold shares of what is divided",
            )


def surely_is_zero_step():
    """By torch's SGD, several steps."""
    is_zero_step()
    for ranks, size in ((1, 3), (2, 3), (4, 1), (3, 5)):
        n, rate, beta = ranks * size, float(rng.uniform(0.01, 0.3)), float(rng.uniform(0.3, 0.95))
        weights, momenta = rng.normal(size=n), [np.zeros(size) for _ in range(ranks)]
        theirs = nn.Parameter(torch.from_numpy(weights.copy()))
        sgd = torch.optim.SGD([theirs], rate, momentum=beta)
        for _ in range(3):
            gradients = rng.normal(size=(ranks, n))
            weights, momenta = check.answer(
                zero_step, weights, gradients, momenta, rate, beta, call="zero_step(...)"
            )
            theirs.grad = torch.from_numpy(gradients.mean(0))
            sgd.step()
            check.close(
                weights,
                theirs,
                "zero_step(...)[0]",
                rtol=1e-9,
                atol=1e-12,
                why="be SGD with momentum on the mean gradient",
            )
            check.equal(
                [m.shape for m in momenta],
                [(size,)] * ranks,
                "shapes of the momenta of zero_step(...)",
                why="be shares",
            )
            check.close(
                np.concatenate(momenta),
                sgd.state[theirs]["momentum_buffer"],
                "zero_step(...)[1]",
                rtol=1e-9,
                atol=1e-12,
                why="be those of the rank's own share",
            )


puzzles = [
    surely_is_average,
    surely_is_partial,
    surely_is_pipeline,
    surely_is_zero_bytes,
    surely_is_zero_step,
]
right = solved(puzzles, tells=False)
check.score(right / 5, f"{right} of 5 puzzles are right.")
### END HIDDEN TESTS

# %% mutant="puzzles" why="all five wrong: no point is left, so the grader can see that the checks work"
# - return counts @ gradients / counts.sum()
# + return 0 * (counts @ gradients)
# - return np.maximum(x @ w1[:, mine], 0) @ w2[mine]
# + return 0 * (np.maximum(x @ w1[:, mine], 0) @ w2[mine])
# - return steps, (stages - 1) / (parts + stages - 1)
# + return {}, -1.0
# - return 12 * states + 2 * gradients + 2 * weights
# + return 0
# - return weights - rate * np.concatenate(new), new
# + return 0 * weights, new

# %% mutant="puzzles" why="the mean of the means"
# - return counts @ gradients / counts.sum()
# + return gradients.mean(0)

# %% mutant="puzzles" why="averages sums: the counts twice"
# - return counts @ gradients / counts.sum()
# + return counts @ gradients / len(counts)

# %% mutant="puzzles" why="the sum"
# - return counts @ gradients / counts.sum()
# + return gradients.sum(0)

# %% mutant="puzzles" why="every rank-th column"
# - mine = slice(rank * size, (rank + 1) * size)
# + mine = slice(rank, None, ranks)

# %% mutant="puzzles" why="everything, divided by the ranks"
# - return np.maximum(x @ w1[:, mine], 0) @ w2[mine]
# + return np.maximum(x @ w1, 0) @ w2 / ranks

# %% mutant="puzzles" why="no relu"
# - return np.maximum(x @ w1[:, mine], 0) @ w2[mine]
# + return x @ w1[:, mine] @ w2[mine]

# %% mutant="puzzles" why="a stage waits for all parts"
# - steps = {(stage, part): stage + part for stage in range(stages) for part in range(parts)}
# + steps = {(stage, part): stage * parts + part for stage in range(stages) for part in range(parts)}

# %% mutant="puzzles" why="the bubble against the work"
# - return steps, (stages - 1) / (parts + stages - 1)
# + return steps, (stages - 1) / parts

# %% mutant="puzzles" why="keeps all states"
# - states, gradients, weights = (share if stage >= least else n for least in (1, 2, 3))
# + states, gradients, weights = n, *(share if stage >= least else n for least in (1, 2))

# %% mutant="puzzles" why="stages in another order"
# - states, gradients, weights = (share if stage >= least else n for least in (1, 2, 3))
# + states, gradients, weights = (share if stage >= least else n for least in (3, 2, 1))

# %% mutant="puzzles" why="the share is rounded down"
# - share = -(-n // ranks)
# + share = n // ranks

# %% mutant="puzzles" why="states without the copy of the weights"
# - return 12 * states + 2 * gradients + 2 * weights
# + return 8 * states + 2 * gradients + 2 * weights

# %% mutant="puzzles" why="sums gradients"
# - mean = gradients.mean(0).reshape(len(momenta), -1)
# + mean = gradients.sum(0).reshape(len(momenta), -1)

# %% mutant="puzzles" why="each rank updates by its own gradient"
# - mean = gradients.mean(0).reshape(len(momenta), -1)
# + size = len(weights) // len(momenta)
# + mean = [g[r * size : (r + 1) * size] for r, g in enumerate(gradients)]

# %% mutant="puzzles" why="every rank keeps all momenta"
# - return weights - rate * np.concatenate(new), new
# + return weights - rate * np.concatenate(new), [np.concatenate(new)] * len(new)

# %% mutant="puzzles" why="the old momentum is used"
# - return weights - rate * np.concatenate(new), new
# + return weights - rate * np.concatenate(momenta), new


# %% alternative="puzzles" why="loops"
def average(gradients, counts):
    total = np.zeros(gradients.shape[1])
    for g, c in zip(gradients, counts, strict=True):
        total += c * g
    return total / sum(counts)


def partial(x, w1, w2, rank, ranks):
    hidden = np.split(w1, ranks, axis=1)[rank]
    return np.einsum("nh,he->ne", (x @ hidden).clip(0), np.split(w2, ranks)[rank])


def pipeline(stages, parts):
    steps = {}
    for clock in range(stages + parts - 1):
        for stage in range(stages):
            if 0 <= clock - stage < parts:
                steps[stage, clock - stage] = clock
    return steps, 1 - stages * parts / (stages * (stages + parts - 1))


def zero_bytes(n, ranks, stage):
    share = (n + ranks - 1) // ranks
    return {0: 16 * n, 1: 4 * n + 12 * share, 2: 2 * n + 14 * share, 3: 16 * share}[stage]


def zero_step(weights, gradients, momenta, rate, beta):
    ranks, made, kept = len(momenta), weights.copy(), []
    size = len(weights) // ranks
    for r in range(ranks):
        own = slice(r * size, r * size + size)
        g = sum(gradients[s][own] for s in range(ranks)) / ranks
        kept.append(beta * momenta[r] + g)
        made[own] = weights[own] - rate * kept[-1]
    return made, kept


# %% [markdown]
# What the puzzles say of a model of 7.5 billion numbers on 64 cards (the example of the [ZeRO paper](https://arxiv.org/abs/1910.02054), §3): gigabytes on each card, stage by stage. And a pipeline of four stages: cut the batch into more parts, and the bubble shrinks.

# %% [markdown] lang="ru"
# Что головоломки говорят о модели на 7,5 миллиарда чисел на 64 картах (пример из [статьи о ZeRO](https://arxiv.org/abs/1910.02054), §3): гигабайты на каждой карте, стадия за стадией. И конвейер из четырёх ступеней: разрежьте батч на большее число частей, и пузырь уменьшится.

# %%
for stage, said in enumerate(
    ("all of it everywhere", "states divided", "gradients, too", "weights, too")
):
    print(
        f"ZeRO stage {stage}, {said:21} {zero_bytes(7_500_000_000, 64, stage) / 1e9:6.1f} GB a card"
    )
print(
    "bubble of 4 stages:",
    ", ".join(f"{parts} parts {pipeline(4, parts)[1]:.0%}" for parts in (1, 2, 4, 8, 32)),
)
week12.pipeline_picture(pipeline(4, 8)[0], 4, 8)
plots.show(
    "Four stages of a pipeline, step by step: numbered parts run through it as a slanted band, with empty corners."
)

# %% [markdown]
# **The same, ready-made.** `Accelerate` wraps model, optimizer and data in `prepare`: with many processes each gets its share of the batches, and gradients are averaged after `backward`, your `average` with equal counts. `DeepSpeed` is ZeRO: `"zero_optimization": {"stage": 2}` in its settings is the `stage` of your `zero_bytes`, and the update of your `zero_step` with Adam in place of momentum. It, `Megatron-LM` and PyTorch's own `FSDP` and `torch.distributed.pipelining` add what no puzzle shows: sending while computing, and surviving a card that fails.

# %% [markdown] lang="ru"
# **То же самое в готовом виде.** `Accelerate` оборачивает модель, оптимизатор и данные в `prepare`: при многих процессах каждый получает свою долю батчей, а градиенты после `backward` усредняются — это ваш `average` с равными числами примеров. `DeepSpeed` — это ZeRO: `"zero_optimization": {"stage": 2}` в его настройках — та же `stage`, что в вашей `zero_bytes`, и обновление из вашей `zero_step`, только с Adam вместо импульса. Он, `Megatron-LM` и собственные `FSDP` и `torch.distributed.pipelining` из PyTorch добавляют то, чего в головоломках не видно: пересылку во время счёта и жизнь после отказа карты.

# %% [markdown]
# ## 8. Out of Python
# A server, a phone and a browser have no PyTorch. **ONNX** is a file with the graph of operations and the weights; engines such as onnxruntime run it. The export follows one example through the model, and what it sees as a number stays one: say that the first axis, the batch, may have any size. And export the model as it *answers*, with dropout off.
#
# {{task:export_onnx}}

# %% [markdown] lang="ru"
# ## 8. Прочь из Python
# На сервере, телефоне и в браузере PyTorch нет. **ONNX** — это файл с графом операций и весами; его исполняют движки вроде onnxruntime. Экспорт проводит через модель один пример, и каждое число, которое он при этом увидит, станет константой: скажите, что первая ось, батч, может иметь любой размер. И экспортируйте модель такой, какой она *отвечает*, — с выключенным dropout.
#
# {{task:export_onnx}}


# %% solution="export_onnx"
def export_onnx(model: nn.Module, example: torch.Tensor, path: str) -> None:
    """Write a model to path as ONNX, in eval mode: input "x", output "y", for batches of any size.

    example: a batch of two or more, of numbers or of tokens (int64). The model stays as it was, and each of its
    parts keeps its mode: some may be in eval mode while the others train. (`torch.onnx.export` with
    `dynamic_shapes=({0: torch.export.Dim("batch")},)` names an axis of the first input.)
    """
    ### BEGIN SOLUTION
    modes = [(part, part.training) for part in model.modules()]
    axes = ({0: torch.export.Dim("batch")},)
    names = {"input_names": ["x"], "output_names": ["y"]}
    options = {"dynamic_shapes": axes, "dynamo": True, "verbose": False}
    torch.onnx.export(model.eval(), (example,), path, **names, **options)
    for part, training in modes:
        part.training = training
    ### END SOLUTION


# %% test="export_onnx" points=0.25 difficulty=2 minutes=10
import onnxruntime


def run_onnx(path, x):
    """The answers of a file for a batch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x.numpy(force=True)})[0]


torch.manual_seed(2)
parts = [nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Tanh(), nn.Linear(4, 2)]
small, example = nn.Sequential(*parts, nn.Dropout(0.5)), torch.randn(2, 3) * 2
small(torch.randn(50, 3) * 2 + 1)  # the batch norm has seen something
small[2].eval()  # the first dropout is off for good
small[0].weight.requires_grad_(False)
answers, given = copy.deepcopy(small).eval(), example.clone()
modes = [part.training for part in small.modules()]
with tempfile.TemporaryDirectory() as folder:
    path = f"{folder}/small.onnx"
    with week12.silent():
        export_onnx(small, example, path)
    check.equal(example, given, "the example after export_onnx", why="stay as it was")
    check.close(
        run_onnx(path, given),
        answers(given),
        "the file's answers for the example",
        rtol=1e-4,
        atol=1e-5,
        why="be the model's in eval mode",
    )
    ### BEGIN HIDDEN TESTS
    why = "leave a model that trains in training mode"
    check.equal(small.training, True, "training of the model after export_onnx", why=why)
    found = [part.training for part in small.modules()]
    why = "stay as they were, each for itself"
    check.equal(found, modes, "training of the model's parts after export_onnx", why=why)
    found = [value.requires_grad for value in small.parameters()]
    why = "stay as it was"
    check.equal(found, [False, *[True] * 5], "what is frozen after export_onnx", why=why)
    why = "be the model's in eval mode, for any batch"
    for n in (1, 5):
        x = torch.from_numpy(check.rng(f"export_onnx{n}").normal(size=(n, 3))).float()
        got, call = run_onnx(path, x), f"the file's answers for a batch of {n}"
        check.close(got, answers(x), call, rtol=1e-4, atol=1e-5, why=why)
    kept = check.parameters_of(small, "the model")
    for name, value in check.parameters_of(answers, "the model").items():
        check.equal(
            kept[name], value, f"{name} of the model after export_onnx", why="stay as it was"
        )
    reader = nn.Sequential(nn.Embedding(9, 5), nn.BatchNorm1d(4), nn.Linear(5, 3)).eval()
    reader[1].running_mean += 0.7
    ids = torch.tensor([[1, 8, 0, 3], [5, 2, 2, 7], [4, 4, 6, 1]])
    with week12.silent():
        export_onnx(reader, ids, f"{folder}/other.onnx")
    check.that(not reader.training, "leave a model that answers in eval mode")
    x = torch.from_numpy(check.rng("export_onnx").integers(0, 9, size=(5, 4)))
    call = "the answers of the file of a model that reads tokens"
    got = run_onnx(f"{folder}/other.onnx", x)
    check.close(got, reader(x), call, rtol=1e-4, atol=1e-5, why=why)
    ### END HIDDEN TESTS

# %% mutant="export_onnx" why="a batch of one size"
# - options = {"dynamic_shapes": axes, "dynamo": True, "verbose": False}
# + options = {"dynamo": True, "verbose": False}

# %% mutant="export_onnx" why="the second axis may have any size, not the batch"
# - axes = ({0: torch.export.Dim("batch")},)
# + axes = ({1: torch.export.Dim("batch")},)

# %% mutant="export_onnx" why="as it trains, not as it answers"
# - torch.onnx.export(model.eval(), (example,), path, **names, **options)
# + torch.onnx.export(copy.deepcopy(model), (example,), path, **names, **options)

# %% mutant="export_onnx" why="the model stays in eval mode"
# - part.training = training
# + pass

# %% mutant="export_onnx" why="the model goes to training mode"
# - part.training = training
# + part.training = True

# %% mutant="export_onnx" why="the mode of the whole for each part"
# - part.training = training
# + part.training = modes[0][1]

# %% mutant="export_onnx" why="tokens turn into fractions"
# - torch.onnx.export(model.eval(), (example,), path, **names, **options)
# + torch.onnx.export(model.eval(), (example.float(),), path, **names, **options)

# %% mutant="export_onnx" why="the example is changed"
# - torch.onnx.export(model.eval(), (example,), path, **names, **options)
# + torch.onnx.export(model.eval(), (example.clamp_(-1, 1),), path, **names, **options)

# %% mutant="export_onnx" why="the model is frozen"
# - torch.onnx.export(model.eval(), (example,), path, **names, **options)
# + torch.onnx.export(model.eval().requires_grad_(False), (example,), path, **names, **options)

# %% mutant="export_onnx" why="other names"
# - names = {"input_names": ["x"], "output_names": ["y"]}
# + names = {"input_names": ["input"], "output_names": ["y"]}

# %% mutant="export_onnx" why="the weights of another model"
# - axes = ({0: torch.export.Dim("batch")},)
# + axes = ({0: torch.export.Dim("batch")},)
# + model = copy.deepcopy(model)
# + [p.data.mul_(1.1) for p in model.parameters()]


# %% alternative="export_onnx" why="an exported program first"
def export_onnx(model, example, path):
    mine = copy.deepcopy(model).eval()
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.onnx.export(
        mine,
        (example,),
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=shapes,
        dynamo=True,
        verbose=False,
    )
    program.save(path)


# %% [markdown]
# The storyteller, exported by your function for texts of 48 tokens, in a batch of any size. Answers first, then the time of one batch as a ratio within this run.

# %% [markdown] lang="ru"
# Рассказчик, экспортированный вашей функцией для текстов из 48 токенов, в батче любого размера. Сначала ответы, потом время одного батча как отношение внутри этого запуска.

# %%
with tempfile.TemporaryDirectory() as folder, torch.no_grad():
    with week12.silent():
        export_onnx(model, held_out[:2, :48], f"{folder}/story.onnx")
    size = sum(file.stat().st_size for file in Path(folder).iterdir())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    engine = onnxruntime.InferenceSession(
        f"{folder}/story.onnx", options, providers=["CPUExecutionProvider"]
    )
    for n in (1, 4):
        ids = held_out[:n, :48]
        theirs = engine.run(["y"], {"x": ids.numpy()})[0]
        print(
            f"batch of {n}: largest difference of the logits {float((model(ids) - torch.from_numpy(theirs)).abs().max()):.1e}"
        )
    one = held_out[:1, :48]
    times = week12.by_turns(
        {"torch": lambda: model(one), "onnxruntime": lambda: engine.run(["y"], {"x": one.numpy()})},
        times=15,
    )
print(
    f"the file: {size:,} bytes; time of torch by that of onnxruntime: {times['torch'][0] / times['onnxruntime'][0]:.2f}"
)

# %% [markdown]
# ## 9. The dashboard
# Everything at once, against the model as it was. Stories of 240 tokens are continued by 32. *Latency*: time for one story alone. *Throughput*: tokens a second; 16 stories share a batch where that is what is measured. *Memory*: bytes of the weights as they would be stored, scales and masks included, and of the caches of all stories. *Quality*: perplexity. Times come from several runs by turns; a black line spans the least to the largest ratio. Rounded and pruned models are computed here with full matrices: without a kernel for four bits or for 2:4 they get smaller, and no faster; nothing is claimed for them. The cell needs six tasks: `kv_cache`, `grid`, `with_weights`, `gptq`, `prune`, `speculate`.

# %% [markdown] lang="ru"
# ## 9. Приборная доска
# Всё сразу, относительно модели, какой она была. Сказки из 240 токенов продолжаются на 32. *Задержка* (latency): время на одну сказку в одиночку. *Пропускная способность* (throughput): токены в секунду; 16 сказок делят батч там, где измеряется именно это. *Память* (memory): байты весов, какими их хранили бы, с масштабами и масками, и кэшей всех сказок. *Качество* (quality): перплексия. Времена взяты из нескольких запусков по очереди; чёрная черта — от наименьшего отношения до наибольшего. Округлённые и прореженные модели считаются здесь полными матрицами: без ядра для четырёх битов или для 2:4 они меньше, но не быстрее, и ничего другого здесь не утверждается. Ячейке нужны шесть заданий: `kv_cache`, `grid`, `with_weights`, `gptq`, `prune`, `speculate`.


# %%
beginnings = week12.tell(model, 16, 240, seed=4)


def write(one: nn.Module, count: int, cached: bool, length: int = 32) -> None:
    """Continue so many stories by the most probable token."""
    ids, memory = beginnings[:count], Cache(week12.rotary)
    new = ids
    with torch.no_grad():
        for _ in range(length):
            step = [new.shape[1]] * count
            logits = one(new, memory.attend, step) if cached else one(ids)
            new = logits[:, -1:].argmax(-1)
            ids = torch.cat([ids, new], 1)


def uncached(one: nn.Module) -> Callable[[list[int], int], np.ndarray]:
    """A model as a function of a text that remembers nothing."""

    def rows(ids: list[int], count: int = 1) -> np.ndarray:
        with torch.no_grad():
            p = one(torch.tensor([ids]))[0, -count:].double().softmax(-1).numpy()
        return p / p.sum(-1, keepdims=True)

    return rows


def write_speculating(one: nn.Module, small: nn.Module, gamma: int, length: int = 32) -> None:
    """Continue a story by drafts; without a cache, as the whole model without one."""
    chance, text = np.random.default_rng(1), beginnings[0].tolist()
    large, draft = uncached(one), uncached(small)
    while len(text) < beginnings.shape[1] + length:
        text += speculate(large, lambda ids: draft(ids)[0], text, gamma, chance)


four, lean = (
    with_weights(model, corrected(4, "quarter", True)),
    with_weights(model, pruned(True, True, True)),
)
runs = {
    "plain": lambda: write(model, 1, False),
    "KV cache": lambda: write(model, 1, True),
    "cache, 16 in a batch": lambda: write(model, 16, True),
    "cache, two layers distilled": lambda: write(student, 1, True),
    "drafts of 2 tokens": lambda: write_speculating(model, student, 2),
}
times = week12.by_turns(runs, times=4)
linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
numbers = {
    name: sum(p.numel() for p in one.parameters())
    for name, one in (("model", model), ("student", student))
}
rest, as_is, plain = numbers["model"] - linear, (1.0, 1.0, 1.0), times["plain"]
unknown, quality = (math.nan,) * 3, perplexity(model, held_out)


def row(
    name: str, bytes_of: float, one: nn.Module, stories_at_once: int = 1
) -> dict[str, tuple[float, float, float]]:
    """Ratios of one line of the dashboard."""
    latency = throughput = unknown
    if name in times:
        middle, low, high = (t / plain[0] for t in times[name])
        latency, throughput = (
            (middle, low, high),
            tuple(stories_at_once / t for t in (middle, high, low)),
        )
    memory, spoilt = bytes_of / (4 * numbers["model"]), perplexity(one, held_out) / quality
    return {
        "latency": latency,
        "throughput": throughput,
        "memory": (memory,) * 3,
        "quality (perplexity)": (spoilt,) * 3,
    }


whole, tokens = 4.0 * numbers["model"], beginnings.shape[1] + 32
kept = 4 * 2 * tokens * model.blocks[0].wk.weight.shape[0]  # a story's cache in one layer
two_layers = 4.0 * numbers["student"] + 2 * kept
packed = 4 * rest + stored_bits(4, "quarter") * linear / 8
halved = 4 * rest + (4 * 2 + 0.5) / 4 * linear
board = {
    "KV cache": row("KV cache", whole + 5 * kept, model),
    "cache, 16 in a batch": row("cache, 16 in a batch", whole + 16 * 5 * kept, model, 16),
    "GPTQ, 4 bits": row("four", packed, four),
    "2 of 4, GPTQ makes up": row("lean", halved, lean),
    "cache, two layers distilled": row("cache, two layers distilled", two_layers, student),
    "drafts of 2 tokens": row("drafts of 2 tokens", whole + 4 * numbers["student"], model),
}
week12.dashboard(board)
plots.show(
    "A dashboard of six optimisations with four columns of ratios to the plain model: latency, throughput, memory, "
    "perplexity. The cache lowers latency and takes memory, the batch raises throughput and takes much more; four "
    "bits and 2:4 lower memory and cost perplexity, the distilled model is faster, smaller and worse."
)
for name, ratios in board.items():
    print(
        f"{name:28}"
        + "".join(
            f"{kind} {'as before' if math.isnan(v[0]) else format(v[0], '.2f')}   "
            for kind, v in ratios.items()
        )
    )
with torch.no_grad():
    usual = model(held_out).argmax(-1)
    for name, one in (("GPTQ, 4 bits", four), ("2 of 4", lean), ("two layers", student)):
        same = float((one(held_out).argmax(-1) == usual).float().mean())
        print(f"{name:12} leaves {same:.0%} of the most probable tokens as they were")
    calls = week12.by_turns(
        {"draft": lambda: student(beginnings[:1]), "large": lambda: model(beginnings[:1])}
    )
print(
    f"a call of the draft takes {calls['draft'][0] / calls['large'][0]:.0%} of the time of a call of the large model"
)

# %% [markdown]
# Read it with care. The cache changes no answer, and drafts leave their distribution as it was; the last lines say how many of the most probable tokens the others change. The drafts here are drawn without a cache, so they compare with the plain model. A draft pays where it is much cheaper than what it saves; two layers of five are not, as the very last line says, and whether time is gained at all is what the row shows. What they save for sure is counted above: calls of the large model. Where a draft is a hundred times as small, that is the time.
#
# `full` loads a model of a billion numbers, rounds it to four bits with your functions, compiles it, and prints perplexity and time. It needs a graphics card and a download.

# %% [markdown] lang="ru"
# Читайте её осторожно. Кэш не меняет ни одного ответа, черновики не меняют их распределения; сколько самых вероятных токенов меняют остальные, говорят последние строки. Черновики здесь пишутся без кэша и сравниваются с исходной моделью без кэша. Черновик окупается, если он много дешевле того, что бережёт; два слоя из пяти — нет, как говорит самая последняя строка, а выиграно ли время, показывает ряд на доске. Точно он бережёт то, что посчитано выше: вызовы большой модели. Если черновик в сто раз меньше, это и есть время.
#
# `full` загружает модель на миллиард чисел, округляет её вашими функциями до четырёх битов, компилирует и печатает перплексию и время. Нужна видеокарта, и модель придётся скачать.

# %%
HUB_NAME = "TinyLlama/TinyLlama-1.1B-Chat-v1.0"  # Apache 2.0
if profile == "full" and torch.cuda.is_available():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    large = AutoModelForCausalLM.from_pretrained(HUB_NAME, dtype=torch.bfloat16).cuda().eval()
    text = AutoTokenizer.from_pretrained(HUB_NAME)(
        week12.story_text(stories, held_out[0].tolist()), return_tensors="pt"
    ).input_ids.cuda()
    rounded = with_weights(
        large, lambda name, w: nearest(4, "quarter")(name, w.float()).to(w.dtype)
    )
    for name, one in (("as it is", large), ("four bits", rounded)):
        print(
            f"{name}: perplexity {perplexity(lambda ids, one=one: one(ids).logits.float(), text):.2f}"
        )
    fast = torch.compile(large)
    with torch.no_grad():
        times = week12.by_turns(
            {
                "eager": lambda: large(text).logits.sum().item(),
                "compiled": lambda: fast(text).logits.sum().item(),
            },
            times=10,
        )
    print(f"compiled: {times['eager'][0] / times['compiled'][0]:.2f} times as fast")

# %% [markdown]
# **What to take along.** Keep what does not change (the cache). Share what is read (the batch). Write weights in fewer bits, and let the others make up for each. Let a cheap one propose and the dear one judge. And measure quality beside speed, always: half of the tricks of this notebook are free, the other half only look so.

# %% [markdown] lang="ru"
# **Что запомнить.** Храните то, что не меняется (кэш). Делите то, что читаете (батч). Пишите веса в меньшем числе битов, и пусть остальные исправляют каждый. Пусть дешёвая модель предлагает, а дорогая проверяет. И всегда измеряйте качество рядом со скоростью: половина приёмов этого ноутбука бесплатна, другая только кажется такой.

# %% [markdown]
# **Sources**
# - E. Frantar et al. [GPTQ](https://arxiv.org/abs/2210.17323). ICLR 2023. E. Frantar, D. Alistarh. [SparseGPT](https://arxiv.org/abs/2301.00774). ICML 2023.
# - M. Sun et al. [Wanda](https://arxiv.org/abs/2306.11695). ICLR 2024. A. Mishra et al. [Accelerating sparse deep neural networks](https://arxiv.org/abs/2104.08378). 2021 (2:4).
# - Y. Leviathan et al. [Fast inference from transformers via speculative decoding](https://arxiv.org/abs/2211.17192). ICML 2023.
# - G.-I. Yu et al. [Orca](https://www.usenix.org/conference/osdi22/presentation/yu). OSDI 2022. A. Agrawal et al. [Sarathi-Serve](https://arxiv.org/abs/2403.02310). OSDI 2024 (chunked prefill).
# - S. Rajbhandari et al. [ZeRO](https://arxiv.org/abs/1910.02054). SC 2020. Y. Huang et al. [GPipe](https://arxiv.org/abs/1811.06965). NeurIPS 2019. M. Shoeybi et al. [Megatron-LM](https://arxiv.org/abs/1909.08053). 2019.
# - B. Jacob et al. [Quantization and training of neural networks](https://arxiv.org/abs/1712.05877). CVPR 2018. G. Hinton et al. [Distilling the knowledge](https://arxiv.org/abs/1503.02531). 2015.

# %% [markdown] lang="ru"
# **Источники**
# - E. Frantar и др. [GPTQ](https://arxiv.org/abs/2210.17323). ICLR 2023. E. Frantar, D. Alistarh. [SparseGPT](https://arxiv.org/abs/2301.00774). ICML 2023.
# - M. Sun и др. [Wanda](https://arxiv.org/abs/2306.11695). ICLR 2024. A. Mishra и др. [Accelerating sparse deep neural networks](https://arxiv.org/abs/2104.08378). 2021 (2:4).
# - Y. Leviathan и др. [Fast inference from transformers via speculative decoding](https://arxiv.org/abs/2211.17192). ICML 2023.
# - G.-I. Yu и др. [Orca](https://www.usenix.org/conference/osdi22/presentation/yu). OSDI 2022. A. Agrawal и др. [Sarathi-Serve](https://arxiv.org/abs/2403.02310). OSDI 2024 (чтение по частям).
# - S. Rajbhandari и др. [ZeRO](https://arxiv.org/abs/1910.02054). SC 2020. Y. Huang и др. [GPipe](https://arxiv.org/abs/1811.06965). NeurIPS 2019. M. Shoeybi и др. [Megatron-LM](https://arxiv.org/abs/1909.08053). 2019.
# - B. Jacob и др. [Quantization and training of neural networks](https://arxiv.org/abs/1712.05877). CVPR 2018. G. Hinton и др. [Distilling the knowledge](https://arxiv.org/abs/1503.02531). 2015.
