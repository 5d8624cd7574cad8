# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A network that decides
# In the seminar four numbers were found by trying. Now the policy is a network with thousands of them, and one formula from 1992 says how to change them all: make likelier what turned out well. The formula is right on average and wild in every single case; half of this notebook is about taming it, and about seeing from the curves what is wrong when it does not learn. At the end your agent balances a stick, and the exam replays its actions in a world that you cannot reach.

# %% [markdown] lang="ru"
# # Сеть, которая решает
# На семинаре пробами нашли четыре числа. Теперь политика — сеть, в которой их тысячи, и одна формула 1992 года говорит, как менять их все: делай вероятнее то, что обернулось хорошо. В среднем формула верна, а в каждом отдельном случае — необузданна; половина ноутбука о том, как её укротить и как по кривым увидеть, что не так, когда ничего не учится. В конце ваш агент удержит шест, а экзамен повторит его действия в мире, до которого вам не дотянуться.

# %% tags=["parameters"]
profile = "small"

# %%
import os
from collections.abc import Callable
from functools import cache

import gymnasium
import numpy as np
import torch
from torch import nn

from practical_dl import check, plots, seed_everything
from practical_dl.weeks import week13

seed_everything(0)
settings = {
    "small": {"updates": 40, "seeds": 5, "batch": 16, "draws": 400},
    "full": {"updates": 300, "seeds": 10, "batch": 32, "draws": 5000},
}[profile]
BALANCER = week13.BALANCER

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Each task but the exam can be solved without the others. Functions leave their arguments as they were, but where the statement says what they change; results have the dtype of the numbers that come in.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Каждое задание, кроме экзамена, можно решить без остальных. Функции не меняют своих аргументов, если в условии не сказано, что они меняют; у результатов тот же dtype, что у поданных чисел.

# %% [markdown]
# ## 1. To decide by chance
# A [policy](glossary:policy) of a network: it sees the state and gives a logit for each action; the chances are their softmax. It acts by chance because one who never tries anything else learns nothing, and because a chance has a gradient and a choice has none. Three small functions:
# - `sample_actions` draws an action for each row, with the generator that it is given, else with torch's own.
# - `log_probs`: the logarithm of the chance of the actions that were taken, with a gradient to the logits.
# - `entropies` $-\sum_a p_a \ln p_a$ of each row, with a gradient: how undecided the policy is, from 0 to $\ln A$.
#
# A logit of $-\infty$ forbids an action: its chance is 0, and it adds nothing to the entropy nor to any gradient, which stays finite. Logits may be as large as thousands.
#
# {{task:policy}}

# %% [markdown] lang="ru"
# ## 1. Решать случайно
# [Политика](glossary:policy) (policy), заданная сетью: сеть видит состояние и выдаёт логит для каждого действия; вероятности — их softmax. Действует она случайно, потому что кто никогда не пробует другого, ничему не учится, и потому, что у вероятности есть градиент, а у выбора нет. Три маленькие функции:
# - `sample_actions` берёт случайное действие для каждой строки — переданным генератором, а без него генератором самого torch.
# - `log_probs`: логарифм вероятности совершённых действий, с градиентом по логитам.
# - `entropies`: $-\sum_a p_a \ln p_a$ для каждой строки, с градиентом, — насколько политика не уверена, от 0 до $\ln A$.
#
# Логит $-\infty$ запрещает действие: его вероятность 0, и ни к энтропии, ни к градиенту оно ничего не добавляет; градиент остаётся конечным. Логиты бывают и порядка тысяч.
#
# {{task:policy}}


# %% solution="policy"
def sample_actions(logits: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """An action for each row. logits: (n, A) -> whole numbers (n,)."""
    ### BEGIN SOLUTION
    chances = logits.detach().softmax(1)
    return torch.multinomial(chances, 1, generator=generator)[:, 0]
    ### END SOLUTION


def log_probs(logits: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Of each row's action the logarithm of its chance. logits: (n, A), actions: (n,) -> (n,)."""
    ### BEGIN SOLUTION
    return logits.log_softmax(1).gather(1, actions[:, None])[:, 0]
    ### END SOLUTION


def entropies(logits: torch.Tensor) -> torch.Tensor:
    """The entropy of each row's chances, in nats. logits: (n, A) -> (n,)."""
    ### BEGIN SOLUTION
    logs = logits.log_softmax(1)
    possible = logs > -torch.inf
    return -(logs.exp() * logs.where(possible, torch.zeros_like(logs))).sum(1)
    ### END SOLUTION


# %% test="policy" points=0.75 difficulty=2 minutes=20
logits = torch.tensor([[1.0, 3.0, -2.0], [0.5, 0.5, 4.0]])
check.close(check.answer(log_probs, logits, torch.tensor([1, 0]), call="log_probs(logits, [1, 0])"), [-0.1328452, -3.5586413], "log_probs(logits, [1, 0])", rtol=1e-5)
check.close(check.answer(entropies, logits, call="entropies(logits)"), [0.3993433, 0.2579837], "entropies(logits)", rtol=1e-5)
call = "sample_actions of 2000 rows [0, ln 3]"
drawn = check.answer(sample_actions, torch.tensor([[0.0, 1.0986123]]).repeat(2000, 1), torch.Generator().manual_seed(1), call=call)
check.that(1350 < drawn.sum() < 1650, f"{call}: action 1 comes three times in four")
### BEGIN HIDDEN TESTS
rng = check.rng("policy")


def drawn_by(rows, seed, call):
    return check.answer(sample_actions, rows, torch.Generator().manual_seed(seed), call=call)


for ways in (2, 3, 5):
    rows = torch.from_numpy(rng.normal(size=(4, ways)) * 2)
    chances = np.exp(rows.numpy()) / np.exp(rows.numpy()).sum(1, keepdims=True)
    actions = torch.from_numpy(rng.integers(ways, size=4))
    call = f"log_probs of 4 rows with {ways} actions"
    check.close(check.answer(log_probs, rows, actions, call=call), np.log(chances[range(4), actions.numpy()]), call, rtol=1e-7, why="be the logarithm of the chance of the action taken")
    (slope,) = check.gradient_of(log_probs, rows, actions, call=call)
    check.close(slope, np.eye(ways)[actions.numpy()] - chances, f"the gradient of {call}", rtol=1e-7, atol=1e-10, why="be 1 at the action, less the chances")
    call = f"entropies of 4 rows with {ways} actions"
    found = check.answer(entropies, rows, call=call)
    check.close(found, -(chances * np.log(chances)).sum(1), call, rtol=1e-7, why="be in nats, for each row")
    want = -chances * (np.log(chances) - (chances * np.log(chances)).sum(1, keepdims=True))
    (slope,) = check.gradient_of(entropies, rows, call=call)
    check.close(slope, want, f"the gradient of {call}", rtol=1e-6, atol=1e-9, why="reach the logits")
    for name, answer in (("log_probs", check.answer(log_probs, rows.float(), actions, call="log_probs in float32")), ("entropies", check.answer(entropies, rows.float(), call="entropies in float32"))):
        check.that(answer.dtype == np.float32, f"{name} of float32 logits: keep the dtype")
    many = rows.repeat(1500, 1)
    call = f"sample_actions of 4 rows with {ways} actions, 1500 times"
    found = drawn_by(many, int(rng.integers(10**6)), call)
    check.equal(found.shape, (6000,), f"the shape of {call}", why="be one number for each row")
    for i in range(4):
        shares = np.bincount(found[i::4].astype(int), minlength=ways) / 1500
        check.close(shares, chances[i], f"how often each action comes in row {i} of {call}", rtol=0, atol=7 * 0.5 / 1500**0.5, why="be the softmax of the row")
    again = drawn_by(many, 5, call)
    check.equal(drawn_by(many, 5, call), again, f"{call} from the same generator", why="be the same")
    check.that(bool((drawn_by(many, 6, call) != again).any()), f"{call}: another generator draws others")
rows = torch.from_numpy(rng.normal(size=(300, 3)))
source, state = torch.Generator().manual_seed(3), torch.get_rng_state()
call = "a second sample_actions(logits, generator)"
one, other = (check.plain(sample_actions(rows, source), call) for _ in range(2))
check.that(bool((one != other).any()), f"{call}: draw others than the first")
check.that(torch.equal(state, torch.get_rng_state()), "sample_actions(logits, generator): leave torch's own generator alone")
torch.manual_seed(4)
call = "sample_actions(logits) without a generator"
first, second = check.answer(sample_actions, rows, call=call), check.answer(sample_actions, rows, call=call)
torch.manual_seed(4)
check.equal(check.answer(sample_actions, rows, call=call), first, f"{call}, after the same seed", why="be the same")
check.that(bool((second != first).any()), f"{call}: draw others each time")
rows = torch.tensor([[0.3, -torch.inf, 1.1], [-torch.inf, 0.2, -torch.inf]], dtype=torch.float64)
call = "sample_actions where actions are forbidden"
found = drawn_by(rows.repeat(300, 1), 9, call)
check.that(bool((found[::2] != 1).all() and (found[1::2] == 1).all()), f"{call}: never take one of them")
p = float(np.exp(0.3) / (np.exp(0.3) + np.exp(1.1)))
call = "entropies where actions are forbidden"
check.close(check.answer(entropies, rows, call=call), [-p * np.log(p) - (1 - p) * np.log(1 - p), 0.0], call, rtol=1e-7, atol=1e-12, why="count what is possible")
call = "log_probs where actions are forbidden"
check.close(check.answer(log_probs, rows, torch.tensor([0, 1]), call=call), [np.log(p), 0.0], call, rtol=1e-7, atol=1e-12, why="count what is possible")
rows = torch.tensor([[4000.0, 3999.0], [-5000.0, 2000.0]], dtype=torch.float64)
call = "log_probs of logits of thousands"
check.close(check.answer(log_probs, rows, torch.tensor([1, 0]), call=call), [-1.3132617, -7000.0], call, rtol=1e-5, why="be finite and right")
check.close(check.answer(entropies, rows, call="entropies of logits of thousands"), [0.5822031, 0.0], "entropies of logits of thousands", rtol=1e-4, atol=1e-6, why="be finite and right")
check.equal(drawn_by(rows[1:].repeat(50, 1), 2, "sample_actions of logits of thousands"), np.ones(50), "sample_actions of logits of thousands", why="be the likely one")
rows = torch.tensor([[0.3, -torch.inf, 1.1, -0.4], [-torch.inf, 0.2, -torch.inf, -torch.inf]], dtype=torch.float64)
left = np.array([0, 2, 3])
p = np.exp([0.3, 1.1, -0.4]) / np.exp([0.3, 1.1, -0.4]).sum()
want = np.zeros((2, 4))
want[0, left] = -p * (np.log(p) - (p * np.log(p)).sum())
call = "the gradient of entropies where actions are forbidden"
(slope,) = check.gradient_of(entropies, rows, call=call)
check.close(slope, want, call, rtol=1e-7, atol=1e-12, why="be finite, and 0 for what is forbidden")
want[0, left], call = -p, "the gradient of log_probs where actions are forbidden"
want[0, 2] += 1
(slope,) = check.gradient_of(log_probs, rows, torch.tensor([2, 1]), call=call)
check.close(slope, want, call, rtol=1e-7, atol=1e-12, why="be finite, and 0 for what is forbidden")
call = "log_probs and entropies of logits 0 and -12"
rows = torch.tensor([[0.0, -12.0]], dtype=torch.float64)
rare = 1 / (1 + np.exp(12))
check.close(check.answer(log_probs, rows, torch.tensor([1]), call=call), [np.log(rare)], call, rtol=1e-9, why="be exact for what is rare, too")
check.close(check.answer(entropies, rows, call=call), [-rare * np.log(rare) - (1 - rare) * np.log1p(-rare)], call, rtol=1e-9, why="be exact for what is rare, too")
for kind in (torch.float32, torch.float64):
    call = f"sample_actions of {kind} logits"
    found = check.answer(sample_actions, torch.zeros(4, 3, dtype=kind), torch.Generator().manual_seed(1), call=call)
    check.that(np.issubdtype(found.dtype, np.integer), f"{call}: be whole numbers, of a dtype for them")
### END HIDDEN TESTS

# %% mutant="policy" why="always the likeliest"
# - return torch.multinomial(chances, 1, generator=generator)[:, 0]
# + return chances.argmax(1)

# %% mutant="policy" why="ignores the generator"
# - return torch.multinomial(chances, 1, generator=generator)[:, 0]
# + return torch.multinomial(chances, 1)[:, 0]

# %% mutant="policy" why="a fixed seed"
# - return torch.multinomial(chances, 1, generator=generator)[:, 0]
# + return torch.multinomial(chances, 1, generator=generator or torch.Generator().manual_seed(0))[:, 0]

# %% mutant="policy" why="one number for all rows"
# - return torch.multinomial(chances, 1, generator=generator)[:, 0]
# + u = torch.rand(1, generator=generator).to(chances)
# + return (chances.cumsum(1) < u).sum(1).clamp(max=chances.shape[1] - 1)

# %% mutant="policy" why="chances of the first row"
# - chances = logits.detach().softmax(1)
# + chances = logits.detach()[:1].softmax(1).expand(len(logits), -1)

# %% mutant="policy" why="a column in place of numbers"
# - return torch.multinomial(chances, 1, generator=generator)[:, 0]
# + return torch.multinomial(chances, 1, generator=generator)

# %% mutant="policy" why="the chance, not its logarithm"
# - return logits.log_softmax(1).gather(1, actions[:, None])[:, 0]
# + return logits.softmax(1).gather(1, actions[:, None])[:, 0]

# %% mutant="policy" why="the logit itself"
# - return logits.log_softmax(1).gather(1, actions[:, None])[:, 0]
# + return logits.gather(1, actions[:, None])[:, 0]

# %% mutant="policy" why="the logarithm of a softmax that is 0"
# - return logits.log_softmax(1).gather(1, actions[:, None])[:, 0]
# + return logits.softmax(1).log().gather(1, actions[:, None])[:, 0]

# %% mutant="policy" why="softmax over the rows"
# - return logits.log_softmax(1).gather(1, actions[:, None])[:, 0]
# + return logits.log_softmax(0).gather(1, actions[:, None])[:, 0]

# %% mutant="policy" why="no gradient"
# - return logits.log_softmax(1).gather(1, actions[:, None])[:, 0]
# + return logits.detach().log_softmax(1).gather(1, actions[:, None])[:, 0]

# %% mutant="policy" why="0 times minus infinity"
# - return -(logs.exp() * logs.where(possible, torch.zeros_like(logs))).sum(1)
# + return -(logs.exp() * logs).sum(1)

# %% mutant="policy" why="in bits"
# - return -(logs.exp() * logs.where(possible, torch.zeros_like(logs))).sum(1)
# + return -(logs.exp() * logs.where(possible, torch.zeros_like(logs))).sum(1) / np.log(2)

# %% mutant="policy" why="the mean over actions"
# - return -(logs.exp() * logs.where(possible, torch.zeros_like(logs))).sum(1)
# + return -(logs.exp() * logs.where(possible, torch.zeros_like(logs))).mean(1)

# %% mutant="policy" why="negative entropy"
# - return -(logs.exp() * logs.where(possible, torch.zeros_like(logs))).sum(1)
# + return (logs.exp() * logs.where(possible, torch.zeros_like(logs))).sum(1)

# %% mutant="policy" why="a gradient through the logarithms alone"
# - return -(logs.exp() * logs.where(possible, torch.zeros_like(logs))).sum(1)
# + return -(logs.exp().detach() * logs.where(possible, torch.zeros_like(logs))).sum(1)

# %% mutant="policy" why="the entropy mended, its gradient not"
# - return -(logs.exp() * logs.where(possible, torch.zeros_like(logs))).sum(1)
# + return -(logs.exp() * logs).where(possible, torch.zeros_like(logs)).sum(1)

# %% mutant="policy" why="nan_to_num: the gradient is NaN"
# - return -(logs.exp() * logs.where(possible, torch.zeros_like(logs))).sum(1)
# + return -(logs.exp() * logs).nan_to_num().sum(1)

# %% mutant="policy" why="actions as real numbers"
# - return torch.multinomial(chances, 1, generator=generator)[:, 0]
# + return torch.multinomial(chances, 1, generator=generator)[:, 0].to(logits.dtype)

# %% mutant="policy" why="adds something to the chance of what is rare"
# - return logits.log_softmax(1).gather(1, actions[:, None])[:, 0]
# + return (logits.softmax(1) + 1e-8).log().gather(1, actions[:, None])[:, 0]


# %% alternative="policy" why="noise of Gumbel, and cross entropies"
def sample_actions(logits, generator=None):
    u = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    return (logits.detach().double() - torch.log(-torch.log(u))).argmax(dim=1)


def log_probs(logits, actions):
    return -nn.functional.cross_entropy(logits, actions, reduction="none")


def entropies(logits):
    return torch.distributions.Categorical(logits=logits).entropy()


# %% [markdown]
# The entropy over the logit of one of two actions: undecided in the middle, decided at both ends. And a cart with a stick, driven by an untrained policy: it falls within a second.

# %% [markdown] lang="ru"
# Энтропия в зависимости от логита одного из двух действий: в середине — нерешительность, по краям — уверенность. И тележка с шестом, которой правит необученная политика: шест падает меньше чем за секунду.

# %%
line = torch.linspace(-6, 6, 121)
both = torch.stack([torch.zeros_like(line), line], 1)
plots.curves({"entropy": (line, entropies(both)), "chance of action 1": (line, log_probs(both, torch.ones(121).long()).exp())}, "Undecided in the middle", "logit of action 1 less that of action 0", "nats, or chance")
plots.show("Over the difference of two logits: the chance of the second action rises like an S, the entropy is a bell with its top of about 0.69 in the middle.")

# %% [markdown]
# ## 2. What an action led to
# What came before an action is not its merit. So each step is judged by its **return**, the rewards from there on, each step later [discounted](glossary:reward-discount) once more:
#
# $$G_t = r_t + \gamma\, r_{t+1} + \gamma^2 r_{t+2} + \dots$$
#
# up to the end of its own episode. The episodes stand one after the other in one array; `ends` is true at the last step of each. The last one may be cut off: then what is there counts.
#
# {{task:discounted_returns}}

# %% [markdown] lang="ru"
# ## 2. К чему привело действие
# То, что было до действия, — не его заслуга. Поэтому каждый шаг оценивают по **отдаче** (return): наградам начиная с него, причём каждый следующий шаг ещё раз [дисконтируется](glossary:reward-discount):
#
# $$G_t = r_t + \gamma\, r_{t+1} + \gamma^2 r_{t+2} + \dots$$
#
# до конца своего эпизода. Эпизоды стоят в одном массиве друг за другом; `ends` истинно на последнем шаге каждого. Последний может быть оборван: тогда считается то, что есть.
#
# {{task:discounted_returns}}


# %% solution="discounted_returns"
def discounted_returns(rewards: np.ndarray, ends: np.ndarray, discount: float = 0.99) -> np.ndarray:
    """The return of each step, float64. rewards: (T,), whole or real. ends: bools (T,). -> (T,)"""
    ### BEGIN SOLUTION
    returns, after = np.zeros(len(rewards)), 0.0
    for t in range(len(rewards) - 1, -1, -1):
        after = rewards[t] + (0.0 if ends[t] else discount * after)
        returns[t] = after
    return returns
    ### END SOLUTION


# %% test="discounted_returns" points=0.75 difficulty=1 minutes=10
call = "discounted_returns([1, 2, 3, -4, 5], ends after the third, 0.5)"
found = check.answer(discounted_returns, np.array([1.0, 2.0, 3.0, -4.0, 5.0]), np.array([False, False, True, False, False]), 0.5, call=call)
check.close(found, [2.75, 3.5, 3.0, -1.5, 5.0], call)
### BEGIN HIDDEN TESTS
rng = check.rng("discounted_returns")


def slowly(rewards, ends, discount):
    """The sum of each step to the end of its episode."""
    want = []
    for t in range(len(rewards)):
        last = next((i for i in range(t, len(rewards)) if ends[i]), len(rewards) - 1)
        want.append(sum(discount ** (i - t) * rewards[i] for i in range(t, last + 1)))
    return want


for T, stops, discount, why in [
    (6, (), 0.9, "be discounted once more for each step"),
    (6, (5,), 0.9, "be discounted once more for each step"),
    (9, (3, 8), 0.8, "end with the episode"),
    (9, (0, 1, 6), 0.7, "count an episode that was cut off, and those of one step"),
    (7, (2,), 1.0, "be plain sums at discount 1"),
    (7, (4,), 0.0, "be the rewards at discount 0"),
    (1, (0,), 0.9, "be right for one step"),
]:
    rewards, ends = rng.normal(size=T), np.isin(np.arange(T), stops)
    call = f"discounted_returns of {T} steps, ends at {list(stops)}, discount {discount}"
    check.close(check.answer(discounted_returns, rewards, ends, discount, call=call), slowly(rewards, ends, discount), call, rtol=1e-9, atol=1e-12, why=why)
rewards, ends = rng.normal(size=400), np.arange(400) % 150 == 149
call = "discounted_returns of 400 steps with the default"
check.close(check.answer(discounted_returns, rewards, ends, call=call), slowly(rewards, ends, 0.99), call, rtol=1e-8, atol=1e-9, why="take 0.99")
call = "discounted_returns of 1200 steps at discount 0.5"
check.close(check.answer(discounted_returns, np.ones(1200), np.zeros(1200, bool), 0.5, call=call), 2 - 0.5 ** np.arange(1199.0, -1, -1), call, rtol=1e-9, why="bear long episodes")
call = "discounted_returns of whole rewards"
found = check.answer(discounted_returns, np.array([1, 1, 3]), np.array([False, False, True]), 0.7, call=call)
check.close(found, [3.17, 3.1, 3.0], call, rtol=1e-9, why="not round")
call = "discounted_returns of float32 rewards"
found = check.answer(discounted_returns, np.array([0.1, 0.2], dtype=np.float32), np.array([False, True]), 0.3, call=call)
check.that(found.dtype == np.float64, f"{call}: be float64")
### END HIDDEN TESTS

# %% mutant="discounted_returns" why="goes over the borders of episodes"
# - after = rewards[t] + (0.0 if ends[t] else discount * after)
# + after = rewards[t] + discount * after

# %% mutant="discounted_returns" why="the end one step late"
# - after = rewards[t] + (0.0 if ends[t] else discount * after)
# - returns[t] = after
# + after = rewards[t] + discount * after
# + returns[t] = after
# + after = 0.0 if ends[t] else after

# %% mutant="discounted_returns" why="all of the episode at each step"
# - return returns
# + starts = np.concatenate([[0], np.flatnonzero(ends)[:-1] + 1]) if ends.any() else np.array([0])
# + return returns[starts[np.searchsorted(starts, np.arange(len(rewards)), side="right") - 1]]

# %% mutant="discounted_returns" why="discounts the reward itself"
# - after = rewards[t] + (0.0 if ends[t] else discount * after)
# + after = discount * (rewards[t] + (0.0 if ends[t] else after))

# %% mutant="discounted_returns" why="counts what came before"
# - for t in range(len(rewards) - 1, -1, -1):
# + for t in range(len(rewards)):

# %% mutant="discounted_returns" why="no discount"
# - after = rewards[t] + (0.0 if ends[t] else discount * after)
# + after = rewards[t] + (0.0 if ends[t] else after)

# %% mutant="discounted_returns" why="another discount by default"
# - def discounted_returns(rewards: np.ndarray, ends: np.ndarray, discount: float = 0.99) -> np.ndarray:
# + def discounted_returns(rewards: np.ndarray, ends: np.ndarray, discount: float = 0.95) -> np.ndarray:

# %% mutant="discounted_returns" why="whole numbers stay whole"
# - returns, after = np.zeros(len(rewards)), 0.0
# + returns, after = np.zeros_like(rewards), 0.0

# %% mutant="discounted_returns" why="an episode that was cut off counts for nothing"
# - return returns
# + last = np.flatnonzero(ends)
# + returns[(last[-1] + 1 if len(last) else 0) :] = 0
# + return returns

# %% mutant="discounted_returns" why="powers from the start of the array"
# - return returns
# + powers = discount ** np.arange(len(rewards))
# + return np.array([(rewards[t:] * powers[t:])[: int(np.argmax(ends[t:])) + 1 if ends[t:].any() else None].sum() for t in range(len(rewards))])


# %% alternative="discounted_returns" why="a triangle of powers, episode by episode"
def discounted_returns(rewards, ends, discount=0.99):
    parts, start = [], 0
    for stop in [*(np.flatnonzero(ends) + 1), len(rewards)]:
        part = np.asarray(rewards[start:stop], dtype=float)
        gaps = np.arange(len(part))[None] - np.arange(len(part))[:, None]
        parts.append(np.triu(float(discount) ** np.maximum(gaps, 0)) @ part)
        start = stop
    return np.concatenate(parts)


# %% [markdown]
# A reward of 1 for each step that the stick stands, three episodes one after the other: the return says how much is still to come, and sees about $1 / (1 - \gamma)$ steps ahead.

# %% [markdown] lang="ru"
# Награда 1 за каждый шаг, пока шест стоит; три эпизода подряд. Отдача говорит, сколько ещё впереди, и видит примерно на $1 / (1 - \gamma)$ шагов вперёд.

# %%
steps, stops = 200, np.isin(np.arange(200), [49, 59, 199])
series = {f"discount {d}": discounted_returns(np.ones(steps), stops, d) for d in (1.0, 0.99, 0.9)}
plots.curves(series, "What is still to come", "step", "return")
plots.show("Returns over 200 steps of three episodes: without a discount they fall as straight lines to the end of each episode; with 0.9 they are flat at ten until shortly before the end.")

# %% [markdown]
# ## 3. Likelier what turned out well
# We want to climb the mean return $J = \mathbb E\, G$, but no gradient goes through the world. **REINFORCE** ([Williams, 1992](https://doi.org/10.1007/BF00992696)) needs none: $\nabla J = \mathbb E \sum_t G_t \, \nabla \log \pi(a_t \mid s_t)$. And since $\mathbb E\, \nabla \log \pi = 0$, anything may be taken off $G_t$ that does not depend on the action, such as a guess $V(s_t)$ of the return, the **baseline**: the mean stays, the variance falls. The loss is the negative of it all, over $n$ steps:
#
# $$L = -\frac1n \sum_t \bigl(G_t - V(s_t)\bigr) \log \pi(a_t \mid s_t)\; -\; w \cdot \frac1n \sum_t H_t .$$
#
# The entropies $H_t$ (last term) keep the policy from deciding too early. Mind the gradients: **this** loss teaches the policy alone, so neither $G$ nor $V$ gets any. `value_loss` teaches the guess: its mean squared error, and no gradient to the returns.
#
# {{task:losses}}

# %% [markdown] lang="ru"
# ## 3. Вероятнее то, что обернулось хорошо
# Мы хотим поднять среднюю отдачу $J = \mathbb E\, G$, но сквозь мир градиент не проходит. **REINFORCE** ([Williams, 1992](https://doi.org/10.1007/BF00992696)) он и не нужен: $\nabla J = \mathbb E \sum_t G_t \, \nabla \log \pi(a_t \mid s_t)$. А так как $\mathbb E\, \nabla \log \pi = 0$, из $G_t$ можно вычесть что угодно, не зависящее от действия, — например, догадку об отдаче $V(s_t)$, **базу** (baseline): среднее останется, а дисперсия упадёт. Ошибка (loss) — всё это со знаком минус, по $n$ шагам:
#
# $$L = -\frac1n \sum_t \bigl(G_t - V(s_t)\bigr) \log \pi(a_t \mid s_t)\; -\; w \cdot \frac1n \sum_t H_t .$$
#
# Энтропии $H_t$ в последнем слагаемом не дают политики решить всё слишком рано. Осторожно с градиентами: **эта** ошибка учит только политику, поэтому ни $G$, ни $V$ градиента не получают. Догадку учит `value_loss`: средний квадрат её промаха, без градиента к отдачам.
#
# {{task:losses}}


# %% solution="losses"
def policy_loss(
    logs: torch.Tensor,
    returns: torch.Tensor,
    values: torch.Tensor | None = None,
    entropy: torch.Tensor | None = None,
    weight: float = 0.01,
) -> torch.Tensor:
    """The loss of the policy, a scalar. All (n,): log-probabilities of the actions taken, returns, guesses
    of the returns (none: nothing is taken off), entropies (none: the last term is left out)."""
    ### BEGIN SOLUTION
    worth = returns.detach()
    if values is not None:
        worth = worth - values.detach()
    loss = -(worth * logs).mean()
    return loss if entropy is None else loss - weight * entropy.mean()
    ### END SOLUTION


def value_loss(values: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
    """The mean squared error of the guesses (n,), a scalar."""
    ### BEGIN SOLUTION
    return (values - returns.detach()).square().mean()
    ### END SOLUTION


# %% test="losses" points=1.25 difficulty=3 minutes=25
logs, returns = torch.tensor([-0.5, -1.5, -0.2]), torch.tensor([3.0, 1.0, -4.0])
values, entropy = torch.tensor([2.5, -1.0, -3.0]), torch.tensor([0.6, 0.3, 0.5])
for call, arguments, want in (
    ("policy_loss(logs, returns)", (), 0.7333333),
    ("policy_loss(logs, returns, values)", (values,), 1.0166667),
    ("policy_loss(logs, returns, values, entropy)", (values, entropy), 1.012),
    ("policy_loss(logs, returns, None, entropy, 0.3)", (None, entropy, 0.3), 0.5933333),
):
    check.close(check.answer(policy_loss, logs, returns, *arguments, call=call), want, call, rtol=1e-5)
check.close(check.answer(value_loss, values, returns, call="value_loss(values, returns)"), 1.75, "value_loss(values, returns)", rtol=1e-5)
### BEGIN HIDDEN TESTS
rng = check.rng("losses")


def numbers(n):
    return [torch.from_numpy(rng.normal(size=n)) for _ in range(4)]


for n in (1, 3, 6):
    logs, returns, values, entropy = numbers(n)
    l, g, v, h = (t.numpy() for t in (logs, returns, values, entropy))
    for said, arguments, worth, weight in (
        ("", (), g, 0.0),
        (", values", (values,), g - v, 0.0),
        (", None, entropy", (None, entropy), g, 0.01),
        (", values, entropy", (values, entropy), g - v, 0.01),
        (", values, entropy, 0.4", (values, entropy, 0.4), g - v, 0.4),
        (", values, None, 0.4", (values, None, 0.4), g - v, 0.0),
        (", values, entropy, 0", (values, entropy, 0.0), g - v, 0.0),
    ):
        call = f"policy_loss(logs, returns{said}) of {n} steps"
        found = check.answer(policy_loss, logs, returns, *arguments, call=call)
        check.equal(np.shape(found), (), f"the shape of {call}", why="be a scalar")
        check.close(found, -np.mean(worth * l) - weight * np.mean(h), call, rtol=1e-8, atol=1e-12, why="be small where what turned out well is likely")
    call = f"policy_loss(logs, returns, values, entropy) of {n} steps"
    slopes = check.gradient_of(policy_loss, logs, returns, values, entropy, call=call)
    for name, slope, want, why in (
        ("logs", slopes[0], -(g - v) / n, "be the surplus, with a minus"),
        ("returns", slopes[1], np.zeros(n), "be 0: returns are what they are"),
        ("values", slopes[2], np.zeros(n), "be 0: this loss teaches the policy alone"),
        ("entropy", slopes[3], np.full(n, -0.01 / n), "pull the entropy up"),
    ):
        check.close(slope, want, f"the gradient of {call} for {name}", rtol=1e-8, atol=1e-12, why=why)
    call = f"value_loss(values, returns) of {n} steps"
    check.close(check.answer(value_loss, values, returns, call=call), np.mean((v - g) ** 2), call, rtol=1e-8, why="be the mean squared error")
    to_values, to_returns = check.gradient_of(value_loss, values, returns, call=call)
    check.close(to_values, 2 * (v - g) / n, f"the gradient of {call} for values", rtol=1e-8, atol=1e-12, why="pull the guess to the return")
    check.close(to_returns, np.zeros(n), f"the gradient of {call} for returns", atol=1e-12, why="be 0: returns are what they are")
# Two arms: actions as often as they are likely, so the mean of the gradients is exact.
for _ in range(2):
    total, ones = 20, int(rng.integers(3, 17))
    p, pay = ones / total, rng.normal(size=2) + 9
    taken = torch.tensor([1] * ones + [0] * (total - ones))
    got = torch.from_numpy(pay)[taken]
    for said, base in (("", None), (" less a constant", torch.full((total,), 7.5, dtype=torch.float64))):

        def through(logits, taken=taken, got=got, base=base):
            return policy_loss(logits.log_softmax(0)[taken], got, base)

        call = f"the loss{said} on two arms that pay {pay[0]:.2f} and {pay[1]:.2f}"
        (slope,) = check.gradient_of(through, torch.tensor([0.0, float(np.log(p / (1 - p)))], dtype=torch.float64), call=call)
        rise = p * (1 - p) * (pay[1] - pay[0])
        check.close(slope, [rise, -rise], f"the gradient of {call} for the logits", rtol=1e-8, why="climb the mean pay, with and without a baseline")
logs, returns, values, entropy = (t.float() for t in numbers(4))
for name, found in (("policy_loss", check.answer(policy_loss, logs, returns, values, entropy, call="policy_loss in float32")), ("value_loss", check.answer(value_loss, values, returns, call="value_loss in float32"))):
    check.that(found.dtype == np.float32, f"{name} of float32 numbers: keep the dtype")
for said, with_entropy in (("logs, returns", ()), ("logs, returns, None, entropy", (entropy.double(),))):
    logs, returns = torch.from_numpy(rng.normal(size=4)), torch.from_numpy(rng.normal(size=4))
    call = f"policy_loss({said})"
    slopes = check.gradient_of(lambda x, y, rest=with_entropy: policy_loss(x, y, None, *rest), logs, returns, call=call)
    check.close(slopes[0], -returns / 4, f"the gradient of {call} for logs", rtol=1e-8, why="be the return, with a minus")
    check.close(slopes[1], np.zeros(4), f"the gradient of {call} for returns", atol=1e-12, why="be 0 without a guess, too")
### END HIDDEN TESTS

# %% mutant="losses" why="climbs down"
# - loss = -(worth * logs).mean()
# + loss = (worth * logs).mean()

# %% mutant="losses" why="a sum in place of a mean"
# - loss = -(worth * logs).mean()
# + loss = -(worth * logs).sum()

# %% mutant="losses" why="the guess is added"
# - worth = worth - values.detach()
# + worth = worth + values.detach()

# %% mutant="losses" why="the policy's loss teaches the guess"
# - worth = worth - values.detach()
# + worth = worth - values

# %% mutant="losses" why="a product of means"
# - loss = -(worth * logs).mean()
# + loss = -worth.mean() * logs.mean()

# %% mutant="losses" why="worth is brought to mean 0 and deviation 1"
# - loss = -(worth * logs).mean()
# + worth = (worth - worth.mean()) / (worth.std(correction=0) + 1e-8)
# + loss = -(worth * logs).mean()

# %% mutant="losses" why="the chance in place of its logarithm"
# - loss = -(worth * logs).mean()
# + loss = -(worth * logs.exp()).mean()

# %% mutant="losses" why="decided is better"
# - return loss if entropy is None else loss - weight * entropy.mean()
# + return loss if entropy is None else loss + weight * entropy.mean()

# %% mutant="losses" why="its own weight"
# - return loss if entropy is None else loss - weight * entropy.mean()
# + return loss if entropy is None else loss - 0.01 * entropy.mean()

# %% mutant="losses" why="another weight by default"
# - weight: float = 0.01,
# + weight: float = 0.1,

# %% mutant="losses" why="entropies are counted together"
# - return loss if entropy is None else loss - weight * entropy.mean()
# + return loss if entropy is None else loss - weight * entropy.sum()

# %% mutant="losses" why="an entropy without a gradient"
# - return loss if entropy is None else loss - weight * entropy.mean()
# + return loss if entropy is None else loss - weight * entropy.detach().mean()

# %% mutant="losses" why="half the squared error"
# - return (values - returns.detach()).square().mean()
# + return 0.5 * (values - returns.detach()).square().mean()

# %% mutant="losses" why="the absolute error"
# - return (values - returns.detach()).square().mean()
# + return (values - returns.detach()).abs().mean()

# %% mutant="losses" why="returns get a gradient"
# - return (values - returns.detach()).square().mean()
# + return (values - returns).square().mean()

# %% mutant="losses" why="the guess gets none"
# - return (values - returns.detach()).square().mean()
# + return (values.detach() - returns).square().mean()

# %% mutant="losses" why="returns get a gradient where there is no guess"
# - worth = returns.detach()
# + worth = returns if values is None else returns.detach()


# %% alternative="losses" why="dot products"
def policy_loss(logs, returns, values=None, entropy=None, weight=0.01):
    surplus = (returns if values is None else returns - values).clone().detach()
    n = len(logs)
    total = -torch.dot(surplus, logs) / n
    if entropy is not None:
        total = total - weight * torch.sum(entropy) / n
    return total


def value_loss(values, returns):
    return nn.functional.mse_loss(values, returns.clone().detach())


# %% [markdown]
# What is a baseline worth? Three arms that pay 10, 11 and 12, eight pulls for one estimate, many estimates of the same gradient. All three ways agree on the mean, which is exact here (dashed); look how far the single estimates are from it. A guess need not be the best one, only near: what hurts is to take 10 for a reward where 12 is the most there is.

# %% [markdown] lang="ru"
# Чего стоит база? Три автомата, которые платят 10, 11 и 12; восемь попыток на одну оценку, много оценок одного и того же градиента. В среднем все три способа согласны с точным значением (пунктир); посмотрите, как далеко от него отдельные оценки. Догадке не обязательно быть лучшей, хватает близкой: вредно принимать 10 за успех там, где больше 12 не бывает.

# %%
arm_logits, pay = torch.tensor([0.2, 0.0, -0.2], dtype=torch.float64), torch.tensor([10.0, 11.0, 12.0], dtype=torch.float64)
chances = arm_logits.softmax(0)
true_slope = -(chances * (pay - chances @ pay))
source = torch.Generator().manual_seed(0)
estimates = {"none": [], "12 for all": [], "the mean pay": []}
for _ in range(settings["draws"]):
    pulled = sample_actions(arm_logits.expand(8, 3), source)
    noise = torch.randn(8, generator=source, dtype=torch.float64)
    for name, guess in zip(estimates, (None, 12.0, float(chances @ pay)), strict=True):
        leaf = arm_logits.clone().requires_grad_()
        base = None if guess is None else torch.full((8,), guess, dtype=torch.float64)
        policy_loss(log_probs(leaf.expand(8, 3), pulled), pay[pulled] + 0.3 * noise, base).backward()
        estimates[name].append(float(leaf.grad[2]))
week13.violins(estimates, float(true_slope[2]))
plots.show("Violins of estimates of one gradient with no baseline, a constant and the mean pay: all lie around the same dashed line; the first is many times wider than the last.")
for name, found in estimates.items():
    print(f"baseline {name:12} mean {np.mean(found):+.3f} (true {float(true_slope[2]):+.3f}), deviation {np.std(found):.3f}")

# %% [markdown]
# ## 4. One step, and how it went
# A policy that does not learn gives no error message. So an update of both networks also says how it went. `update` computes the loss $L + \tfrac12 L_V$, takes one step of the optimizer, which has the parameters of both, leaves their modes (train or eval) alone, and gives plain numbers from **before** the step:
# - `"entropy"`: the mean entropy of the policy;
# - `"gradient"`: the norm of the gradient of all the policy's parameters together;
# - `"explained"`: $1 - \operatorname{Var}(G - V) / \operatorname{Var}(G)$, how much of the returns the critic knew: 1 is all, 0 no more than a constant, below 0 worse than that. Where all returns are equal, such as those of a single step, it is 0.
#
# {{task:update}}

# %% [markdown] lang="ru"
# ## 4. Один шаг — и как он прошёл
# Политика, которая не учится, сообщений об ошибках не выдаёт. Поэтому обновление обеих сетей ещё и рассказывает, как оно прошло. `update` вычисляет ошибку $L + \tfrac12 L_V$, делает один шаг оптимизатора, у которого есть параметры обеих сетей, не трогает их режимов (train или eval) и возвращает простые числа, какими они были **до** шага:
# - `"entropy"`: средняя энтропия политики;
# - `"gradient"`: норма градиента по всем параметрам политики вместе;
# - `"explained"`: $1 - \operatorname{Var}(G - V) / \operatorname{Var}(G)$ — какую долю отдач критик знал заранее: 1 — всё, 0 — не больше, чем константа, меньше 0 — хуже константы. Если все отдачи равны — например, шаг всего один, — это 0.
#
# {{task:update}}


# %% solution="update"
def update(
    policy: nn.Module,
    critic: nn.Module,
    optimizer: torch.optim.Optimizer,
    states: torch.Tensor,
    actions: torch.Tensor,
    returns: torch.Tensor,
    weight: float = 0.01,
) -> dict[str, float]:
    """One step on n transitions. policy: (n, d) -> logits (n, A). critic: (n, d) -> (n, 1). returns: (n,).

    weight: of the entropy. Earlier gradients do not count.
    """
    ### BEGIN SOLUTION
    logits, values = policy(states), critic(states)[:, 0]
    logs = logits.log_softmax(1)
    entropy = -(logs.exp() * logs).sum(1).mean()
    taken = logs.gather(1, actions[:, None])[:, 0]
    loss = -((returns - values.detach()) * taken).mean() - weight * entropy
    loss = loss + 0.5 * (values - returns).square().mean()
    optimizer.zero_grad()
    loss.backward()
    told = {"entropy": float(entropy.detach())}
    slopes = [p.grad for p in policy.parameters() if p.grad is not None]
    told["gradient"] = float(torch.cat([g.flatten() for g in slopes]).norm())
    spread = float(returns.var(correction=0))
    left = float((returns - values.detach()).var(correction=0))
    equal = bool((returns == returns[0]).all())
    told["explained"] = 0.0 if equal else 1 - left / spread
    optimizer.step()
    return told
    ### END SOLUTION


# %% test="update" points=0.75 difficulty=3 minutes=25
policy, critic = nn.Linear(2, 2).double(), nn.Linear(2, 1).double()
week13.fill(policy, [[0.3, -0.2], [0.1, 0.4]], [0.0, 0.5]), week13.fill(critic, [[1.0, -1.0]], [0.25])
states, actions = torch.tensor([[1.0, 2.0], [-1.0, 0.5], [0.5, -1.0]]).double(), torch.tensor([0, 1, 1])
optimizer = torch.optim.SGD([*policy.parameters(), *critic.parameters()], 0.1)
call = "update(policy, critic, SGD of rate 0.1, states, actions, [2, -1, 3])"
told = check.answer(update, policy, critic, optimizer, states, actions, torch.tensor([2.0, -1.0, 3.0]).double(), call=call, changes=True)
check.close([told["entropy"], told["gradient"], told["explained"]], [0.5818089, 2.6964334, np.float64(0.6346154)], call, rtol=1e-5)
after = week13.numbers(critic)
check.close(after["weight"], [[1.1041667, -0.8541667]], f"the critic's weights after {call}", rtol=1e-5)
### BEGIN HIDDEN TESTS
rng = check.rng("update")


def pair(d, ways, seed):
    """Two networks, the same for the same seed; the critic has a layer of its own."""
    torch.manual_seed(seed)
    policy = nn.Sequential(nn.Linear(d, 4), nn.Tanh(), nn.Linear(4, ways)).double()
    return policy, nn.Sequential(nn.Linear(d, 3), nn.Tanh(), nn.Linear(3, 1)).double()


def step_of(d, ways, n, weight, seed, rates=0.05, kind=torch.optim.SGD, stale=False):
    """What is said and all parameters after one step, by the definition."""
    from torch.distributions import Categorical

    policy, critic = pair(d, ways, seed)
    optimizer = kind([*policy.parameters(), *critic.parameters()], rates)
    chosen = Categorical(logits=policy(states))
    values = critic(states).flatten()
    loss = -torch.sum(chosen.log_prob(actions) * (returns - values).detach()) / n
    loss = loss - weight * chosen.entropy().sum() / n + 0.5 * torch.sum((values - returns) ** 2) / n
    loss.backward()
    norm = sum(float((p.grad**2).sum()) for p in policy.parameters()) ** 0.5
    gap = (returns - values).detach().numpy()
    told = {"entropy": float(chosen.entropy().mean().detach()), "gradient": norm}
    told["explained"] = 1 - np.var(gap) / np.var(returns.numpy())
    optimizer.step()
    return told, week13.numbers(policy) | {f"critic.{k}": v for k, v in week13.numbers(critic).items()}


for d, ways, n, weight, kind in (
    (3, 2, 7, None, torch.optim.SGD),
    (2, 4, 5, 0.5, torch.optim.SGD),
    (4, 3, 9, 0.0, torch.optim.SGD),
    (3, 2, 6, 0.2, torch.optim.Adam),
):
    seed = int(rng.integers(10**6))
    states, returns = torch.from_numpy(rng.normal(size=(n, d))), torch.from_numpy(rng.normal(size=n) * (0.2 if n == 5 else 3) + 2)
    actions = torch.from_numpy(rng.integers(ways, size=n))
    want, numbers_after = step_of(d, ways, n, 0.01 if weight is None else weight, seed, kind=kind)
    policy, critic = pair(d, ways, seed)
    for p in (*policy.parameters(), *critic.parameters()):
        p.grad = torch.full_like(p, 7.0)  # left from before
    optimizer = kind([*policy.parameters(), *critic.parameters()], 0.05)
    options = () if weight is None else (weight,)
    call = f"update of {n} steps with {ways} actions, " + ("the default weight" if weight is None else f"weight {weight}")
    kept = [t.clone() for t in (states, actions, returns)]
    told = check.plain(update(policy, critic, optimizer, states, actions, returns, *options), call)
    check.that(all(torch.equal(a, b) for a, b in zip(kept, (states, actions, returns), strict=True)), f"{call}: leave states, actions and returns as they were")
    check.equal(sorted(told), sorted(want), f"what {call} tells of", why="be these three")
    for name, value in want.items():
        check.close(told[name], value, f'"{name}" of {call}', rtol=1e-6, why="be that of before the step, of the policy's gradients from this step alone")
    found = week13.numbers(policy) | {f"critic.{k}": v for k, v in week13.numbers(critic).items()}
    for name, value in numbers_after.items():
        who = "critic" if name.startswith("critic.") else "policy"
        check.close(found[name], value, f"the {who}'s numbers after {call}", rtol=1e-6, atol=1e-9, why="be one step of the optimizer on both losses")
for n, same in ((9, 2.5), (9, 0.1), (7, -1 / 3), (1, 0.7)):
    returns = torch.full((n,), same, dtype=torch.float64)
    states, actions = torch.from_numpy(rng.normal(size=(n, 3))), torch.from_numpy(rng.integers(2, size=n))
    policy, critic = pair(3, 2, 11)
    optimizer = torch.optim.SGD([*policy.parameters(), *critic.parameters()], 0.05)
    call = f"update of {n} steps where all returns are {same:.3g}"
    told = check.plain(update(policy, critic, optimizer, states, actions, returns), call)
    check.close(told["explained"], 0.0, f'"explained" of {call}', why="be 0")
states, actions = torch.from_numpy(rng.normal(size=(8, 3))), torch.from_numpy(rng.integers(2, size=8))
for size in (1e-6, 1e5):
    returns = size * torch.from_numpy(rng.normal(size=8))
    want, _ = step_of(3, 2, 8, 0.01, 5)
    policy, critic = pair(3, 2, 5)
    policy.eval(), critic[0].eval()
    optimizer = torch.optim.SGD([*policy.parameters(), *critic.parameters()], 1e-9)
    call = f"update where returns are about {size:g}"
    told = check.plain(update(policy, critic, optimizer, states, actions, returns), call)
    check.that(all(isinstance(value, float | np.floating) for value in told.values()), f"{call}: tell plain numbers, no tensors")
    for name in ("explained", "entropy", "gradient"):
        check.close(told[name], want[name], f'"{name}" of {call}', rtol=1e-5, why="be right however small or large returns are, below 0, too")
    modes = [m.training for m in (policy, policy[0], critic, critic[0])]
    check.equal(modes, [False, False, True, False], f"the modes of the networks after {call}", why="be as they were: train or eval is up to others")
### END HIDDEN TESTS

# %% mutant="update" why="no step"
# - optimizer.step()

# %% mutant="update" why="gradients pile up"
# - optimizer.zero_grad()

# %% mutant="update" why="the critic does not learn"
# - loss = loss + 0.5 * (values - returns).square().mean()

# %% mutant="update" why="the whole squared error"
# - loss = loss + 0.5 * (values - returns).square().mean()
# + loss = loss + (values - returns).square().mean()

# %% mutant="update" why="the policy's loss reaches the critic"
# - loss = -((returns - values.detach()) * taken).mean() - weight * entropy
# + loss = -((returns - values) * taken).mean() - weight * entropy

# %% mutant="update" why="each with each: a column against a row"
# - logits, values = policy(states), critic(states)[:, 0]
# + logits, values = policy(states), critic(states)

# %% mutant="update" why="no baseline"
# - loss = -((returns - values.detach()) * taken).mean() - weight * entropy
# + loss = -(returns * taken).mean() - weight * entropy

# %% mutant="update" why="entropy pushed down"
# - loss = -((returns - values.detach()) * taken).mean() - weight * entropy
# + loss = -((returns - values.detach()) * taken).mean() + weight * entropy

# %% mutant="update" why="the entropy after the step"
# - optimizer.step()
# + optimizer.step()
# + logs = policy(states).log_softmax(1)
# + told["entropy"] = float(-(logs.exp() * logs).sum(1).mean().detach())

# %% mutant="update" why="the norm of the critic's gradient, too"
# - slopes = [p.grad for p in policy.parameters() if p.grad is not None]
# + slopes = [p.grad for p in (*policy.parameters(), *critic.parameters())]

# %% mutant="update" why="the sum of the norms"
# - told["gradient"] = float(torch.cat([g.flatten() for g in slopes]).norm())
# + told["gradient"] = float(sum(g.norm() for g in slopes))

# %% mutant="update" why="explained by the squared error: a shift counts"
# - left = float((returns - values.detach()).var(correction=0))
# + left = float((returns - values.detach()).square().mean())

# %% mutant="update" why="divides by 0"
# - told["explained"] = 0.0 if equal else 1 - left / spread
# + told["explained"] = 1 - left / (spread + 1e-8)

# %% mutant="update" why="another weight by default"
# - weight: float = 0.01,
# + weight: float = 0.0,

# %% mutant="update" why="clips the gradient"
# - optimizer.step()
# + nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
# + optimizer.step()

# %% mutant="update" why="equal returns by their variance: rounding is taken for spread"
# - equal = bool((returns == returns[0]).all())
# + equal = spread == 0

# %% mutant="update" why="small returns are taken for equal ones"
# - equal = bool((returns == returns[0]).all())
# + equal = spread < 1e-6

# %% mutant="update" why="never below 0"
# - told["explained"] = 0.0 if equal else 1 - left / spread
# + told["explained"] = 0.0 if equal else max(0.0, 1 - left / spread)

# %% mutant="update" why="the variance of a single step"
# - equal = bool((returns == returns[0]).all())
# + equal = bool(returns.var() == 0)

# %% mutant="update" why="the networks are put into eval mode"
# - logits, values = policy(states), critic(states)[:, 0]
# + policy.eval(), critic.eval()
# + logits, values = policy(states), critic(states)[:, 0]

# %% mutant="update" why="the networks are put into train mode"
# - logits, values = policy(states), critic(states)[:, 0]
# + policy.train(), critic.train()
# + logits, values = policy(states), critic(states)[:, 0]

# %% mutant="update" why="tells a tensor, with its graph"
# - told = {"entropy": float(entropy.detach())}
# + told = {"entropy": entropy}


# %% alternative="update" why="torch's distributions"
def update(policy, critic, optimizer, states, actions, returns, weight=0.01):
    chosen = torch.distributions.Categorical(logits=policy(states))
    guess = critic(states).squeeze(-1)
    surplus = (returns - guess).detach()
    entropy = chosen.entropy().mean()
    loss = -(chosen.log_prob(actions) * surplus).mean() - weight * entropy
    loss = loss + nn.functional.mse_loss(guess, returns) / 2
    for parameter in (*policy.parameters(), *critic.parameters()):
        parameter.grad = None
    loss.backward()
    norm = sum(p.grad.square().sum() for p in policy.parameters()).sqrt().item()
    optimizer.step()
    known = returns.numpy()
    explained = 0.0 if np.ptp(known) == 0 else 1 - np.var(surplus.numpy()) / np.var(known)
    return {"entropy": entropy.item(), "gradient": norm, "explained": float(explained)}


# %% [markdown]
# Now it learns. Sixteen carts side by side, each until its stick falls; one update; again. `train` is given: it is ten lines around what you have written.

# %% [markdown] lang="ru"
# Теперь оно учится. Шестнадцать тележек рядом, каждая — пока не упадёт шест; одно обновление; и снова. `train` дан: это десять строк вокруг того, что написали вы.


# %%
def small_network(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, outputs))


def episodes(policy: nn.Module, world: gymnasium.vector.VectorEnv, source: torch.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(states (carts, T, 4), actions (carts, T), which steps were before the end (carts, T)), an episode of each cart."""
    seen, _ = world.reset(seed=int(torch.randint(2**31, (1,), generator=source)))
    running, rows = np.ones(world.num_envs, bool), []
    while running.any():
        with torch.no_grad():
            chosen = sample_actions(policy(torch.from_numpy(seen)), source).numpy()
        rows.append((seen.copy(), chosen, running.copy()))
        seen, _, fallen, late, _ = world.step(chosen)
        running &= ~(fallen | late)
    return tuple(np.stack(part, 1) for part in zip(*rows, strict=True))


def train(policy: nn.Module, seed: int, updates: int, step: Callable | None = None, across: bool = False, weight: float = 0.01) -> dict[str, list[float]]:
    """Train a policy, and tell of each update. across: a planted bug, returns go over the borders of episodes."""
    torch.manual_seed(seed)
    source, critic = torch.Generator().manual_seed(seed), small_network(1)
    optimizer = torch.optim.Adam([*policy.parameters(), *critic.parameters()], 0.02)
    world = gymnasium.make_vec("CartPole-v1", settings["batch"], vectorization_mode="vector_entry_point")
    story = {"steps": [], "entropy": [], "explained": []}
    for _ in range(updates):
        states, actions, inside = episodes(policy, world, source)
        ends = np.concatenate([np.arange(n) == n - 1 for n in inside.sum(1)])
        returns = discounted_returns(np.ones(len(ends)), np.zeros_like(ends) if across else ends) / 10
        told = (step or update)(
            policy, critic, optimizer, torch.from_numpy(states[inside]), torch.from_numpy(actions[inside]), torch.from_numpy(returns).float(), weight
        )
        story["steps"].append(float(inside.sum(1).mean()))
        for name in ("entropy", "explained"):
            story[name].append(told[name])
    return story


@cache
def learned(seed: int) -> dict[str, list[float]]:
    torch.manual_seed(seed)
    return train(small_network(2), seed, settings["updates"])


runs = np.array([learned(seed)["steps"] for seed in range(settings["seeds"])])
week13.bands({"REINFORCE with a critic": runs}, "Five seeds", "updates of 16 episodes", "steps for which the stick stands")
plots.show("Steps for which the stick stands over updates, five seeds as thin lines and their interquartile mean in bold: from 20 to several hundred, with setbacks.")
print("last ten updates, each seed:", ", ".join(f"{run[-10:].mean():.0f}" for run in runs))

# %% [markdown]
# ### What is wrong, doctor?
# The same training with planted mistakes. Before you read on: which row is which? The return alone does not say. The entropy that does not move, that falls to 0 at once, the critic that explains nothing: these are symptoms.

# %% [markdown] lang="ru"
# ### Что с ней, доктор?
# То же обучение с подложенными ошибками. Прежде чем читать дальше: где какая? По одной отдаче не понять. Энтропия, которая не движется, которая сразу падает до нуля, критик, который ничего не объясняет, — вот симптомы.


# %%
def downhill(policy: nn.Module, critic: nn.Module, optimizer: torch.optim.Optimizer, states, actions, returns, weight) -> dict[str, float]:
    return update(policy, critic, optimizer, states, actions, -returns, weight)


def no_critic(policy: nn.Module, critic: nn.Module, optimizer: torch.optim.Optimizer, states, actions, returns, weight) -> dict[str, float]:
    return update(policy, lambda x: 0 * critic(x), optimizer, states, actions, returns, weight)


def foreign_actions(policy: nn.Module, critic: nn.Module, optimizer: torch.optim.Optimizer, states, actions, returns, weight) -> dict[str, float]:
    return update(policy, critic, optimizer, states, actions.roll(1), returns, weight)


bugs = {
    "no bug": {},
    "sign turned round": {"step": downhill},
    "actions one step off": {"step": foreign_actions},
    "returns over the borders": {"across": True},
    "no baseline": {"step": no_critic},
    "entropy weight 5": {"weight": 5.0},
}
sheet = {}
for name, options in bugs.items():
    torch.manual_seed(0)
    sheet[name] = train(small_network(2), 0, settings["updates"] * 5 // 8, **options)
week13.sheet(sheet)
plots.show("A sheet with a row for each planted bug and three columns: steps, entropy and explained variance over updates. Without a bug steps rise, entropy falls and the critic explains most; each bug has a picture of its own.")
for name, story in sheet.items():
    print(f"{name:25} steps {np.mean(story['steps'][-5:]):5.0f}   entropy {np.mean(story['entropy'][-5:]):.2f}   explained {np.mean(story['explained'][-5:]):+.2f}")

# %% [markdown]
# ## 5. The exam: hold the stick
# Train an agent that holds it, and hand in its weights. `balancer()` gives a new, untrained network: observations $(n, 4)$ to logits $(n, 2)$; the larger logit is the action, without chance. The next cell trains it and saves `reinforce.safetensors`, at most 1 MB.
#
# The exam starts from private places. Your network says its actions there, step after step; **only the actions are handed in**, and the examiner plays them again in a world of its own. An episode goes on until the stick falls, the cart leaves, an action is missing or no action at all (neither 0 nor 1), or 500 steps are over. The mean number of steps counts: more than 50 gives 0.5 points, more than 100 and more than 195 each 0.5 more (`full`: 100, 195, 450). For comparison: one and the same action for ever 9 steps, chance 22, four numbers by chance as weights, the best of ten such tries, 66, 383 and 402 in three runs (luck is a method, too, for four numbers); REINFORCE as above, 40 updates, three seeds: 410, 500 and 500.
#
# - How many updates are worth their time, and which network of yours is kept, is up to you: returns of the last updates jump.
# - In the exam there are your imports, functions, classes and constants, the cell of `balancer` and the file; no files are opened.
#
# {{task:balancer}}

# %% [markdown] lang="ru"
# ## 5. Экзамен: удержать шест
# Обучите агента, который его держит, и сдайте его веса. `balancer()` даёт новую, необученную сеть: наблюдения $(n, 4)$ в логиты $(n, 2)$; действие — больший логит, без случайности. Следующая ячейка обучает её и сохраняет `reinforce.safetensors`, не больше 1 МБ.
#
# Экзамен начинается с закрытых положений. Ваша сеть говорит там, шаг за шагом, свои действия; **сдаются только действия**, и экзаменатор повторяет их в собственном мире. Эпизод длится, пока не упал шест, не уехала тележка, есть следующее действие и это действие (0 или 1) и пока не прошло 500 шагов. Считается среднее число шагов: больше 50 — 0,5 балла, больше 100 и больше 195 — ещё по 0,5 (`full`: 100, 195, 450). Для сравнения: всё время одно и то же действие — 9 шагов, случай — 22, четыре случайных числа в роли весов, лучшие из десяти попыток, — 66, 383 и 402 в трёх сериях (для четырёх чисел везение — тоже метод); REINFORCE, как выше, 40 обновлений, три запуска: 410, 500 и 500.
#
# - Сколько обновлений стоят своего времени и какую из сетей оставить, решаете вы: отдачи последних обновлений скачут.
# - На экзамене есть ваши импорты, функции, классы и константы, ячейка `balancer` и файл; никаких открытых файлов.
#
# {{task:balancer}}


# %% solution="balancer"
def balancer() -> nn.Module:
    """A new, untrained network: observations (n, 4) -> logits (n, 2)."""
    ### BEGIN SOLUTION
    return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
    ### END SOLUTION


# %% tags=["training"]
seed_everything(0)
trained = BALANCER.build(balancer).train()
story = train(trained, 0, settings["updates"])
print(f"steps in the last ten updates: {np.mean(story['steps'][-10:]):.0f}")
print(f"saved: {BALANCER.save(trained).name}")

# %% test="balancer" points=1.5 difficulty=3 minutes=40 exam=true
BALANCER.check(BALANCER.build(balancer), check.rng("balancer"))


def undecided(make):
    """What a new agent says of three observations; equal code gives equal numbers."""
    torch.manual_seed(0)
    model = BALANCER.build(make)
    with torch.no_grad():
        return model(torch.arange(12.0).reshape(3, 4))


check.stands_alone(balancer, "balancer", undecided)
loaded = BALANCER.load(BALANCER.build(balancer))
BALANCER.check(loaded, check.rng("balancer"))
### BEGIN HIDDEN TESTS
actions, _ = BALANCER.play(loaded, check.private("balancer")["seeds"])
check.hand_in("balancer", actions)
### END HIDDEN TESTS

# %% mutant="balancer" why="another width than it was trained with"
# - return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
# + return nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))

# %% mutant="balancer" why="the actions changed round"
# - return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
# + class Turned(nn.Sequential):
# +     def forward(self, x):
# +         return -super().forward(x)
# +
# + return Turned(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))

# %% mutant="balancer" why="does not see the angle's speed"
# - return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
# + class Half(nn.Sequential):
# +     def forward(self, x):
# +         return super().forward(x * torch.tensor([1.0, 1.0, 1.0, 0.0]))
# +
# + return Half(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))

# %% mutant="balancer" why="three actions"
# - return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
# + return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 3))

# %% mutant="balancer" why="chance in eval mode, too"
# - return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
# + class Wavering(nn.Sequential):
# +     def forward(self, x):
# +         return super().forward(x) + torch.randn(len(x), 2)
# +
# + return Wavering(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))

# %% mutant="balancer" why="normalised by the batch"
# - return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
# + class Relative(nn.Sequential):
# +     def forward(self, x):
# +         return super().forward(x - x.mean(0))
# +
# + return Relative(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))


# %% alternative="balancer" why="a class of its own"
class Balances(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("0", nn.Linear(4, 64))
        self.add_module("2", nn.Linear(64, 2))

    def forward(self, x):
        return getattr(self, "2")(torch.tanh(getattr(self, "0")(x)))


def balancer():
    return Balances()


# %% tags=["training"]
trained = BALANCER.load(balancer())
_, public = BALANCER.play(trained, range(40))
print(week13.reached(float(public.mean()), profile, week13.BALANCE_SCALE), "\n(from public places)")

# %% [markdown]
# Look at it: an episode of your agent, beside the same start with a network that has learned nothing.

# %% [markdown] lang="ru"
# Посмотрите: эпизод вашего агента и тот же старт у сети, которая ничему не училась.

# %% tags=["training"]
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pictures without a screen
film = {}
for name, model in (("untrained", BALANCER.build(balancer)), ("trained", BALANCER.load(balancer()))):
    world = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    seen, _ = world.reset(seed=5)
    frames, over = [], False
    for step in range(140):
        if step % 20 == 0:
            frames.append(world.render()[150:330, 200:400])
        if not over:
            seen, _, fallen, late, _ = world.step(int(BALANCER.act(model, seen[None])[0]))
            over = fallen or late
    film[name] = frames
week13.films(film, [f"step {20 * i}" for i in range(7)])
plots.show("Two film strips of a cart with a stick: untrained, the stick lies after twenty steps; trained, it stands in all frames.")

# %% [markdown]
# **What to take along.** The gradient of a mean of something that cannot be differentiated is a mean of log-probabilities. A baseline is free and is worth more than any optimizer. And a curve of returns alone is no diagnosis: write down the entropy and what the critic explains, from the first day on. What is still missing: a judgement before the episode is over, and steps that are not too large. That is what A2C and PPO bring; choose one of the two notebooks.

# %% [markdown] lang="ru"
# **Что запомнить.** Градиент среднего от того, что нельзя дифференцировать, — среднее логарифмов вероятностей. База бесплатна и стоит больше любого оптимизатора. А одна кривая отдач — не диагноз: с первого же дня записывайте энтропию и то, сколько объясняет критик. Чего ещё не хватает: суждения до конца эпизода и шагов, которые не слишком велики. Это приносят A2C и PPO; выберите один из двух ноутбуков.

# %% [markdown]
# **Sources**
# - R. Williams. [Simple statistical gradient-following algorithms](https://doi.org/10.1007/BF00992696). Machine Learning, 1992.
# - R. Sutton, A. Barto. [Reinforcement Learning](http://incompleteideas.net/book/the-book-2nd.html), 2018: chapter 13.
# - J. Achiam. [Spinning Up in Deep RL](https://spinningup.openai.com/en/latest/spinningup/rl_intro3.html), 2018: part 3.
# - R. Agarwal et al. [Deep RL at the edge of the statistical precipice](https://arxiv.org/abs/2108.13264). 2021: the interquartile mean.

# %% [markdown] lang="ru"
# **Источники**
# - R. Williams. [Simple statistical gradient-following algorithms](https://doi.org/10.1007/BF00992696). Machine Learning, 1992.
# - R. Sutton, A. Barto. [Reinforcement Learning](http://incompleteideas.net/book/the-book-2nd.html), 2018: глава 13.
# - J. Achiam. [Spinning Up in Deep RL](https://spinningup.openai.com/en/latest/spinningup/rl_intro3.html), 2018: часть 3.
# - R. Agarwal и др. [Deep RL at the edge of the statistical precipice](https://arxiv.org/abs/2108.13264). 2021: межквартильное среднее.
