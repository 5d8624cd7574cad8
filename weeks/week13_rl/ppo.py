# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # PPO, piece by piece
# Proximal policy optimisation ([Schulman et al., 2017](https://arxiv.org/abs/1707.06347)) trains robots, players of games and, since ChatGPT, language models. Its formula fits on a line. That it works hangs on a dozen parts around the formula, each of which can be wrong without an error message: the agent just learns worse. You build the parts one by one, find planted mistakes with five tiny environments, and let an agent swing up a pendulum whose motor is too weak to lift it.

# %% [markdown] lang="ru"
# # PPO по частям
# Проксимальная оптимизация политики (proximal policy optimisation; [Schulman и др., 2017](https://arxiv.org/abs/1707.06347)) учит роботов, игроков, а со времён ChatGPT — и языковые модели. Формула её занимает одну строку. Но работает она благодаря дюжине частей вокруг формулы, и в каждой можно ошибиться так, что никакого сообщения не будет: агент просто учится хуже. Вы соберёте эти части одну за другой, найдёте подложенные ошибки с помощью пяти крошечных сред и научите агента раскачивать маятник, который мотору напрямую не поднять.

# %% tags=["parameters"]
profile = "small"

# %%
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import nn

from practical_dl import check, plots, seed_everything
from practical_dl.weeks import week13

seed_everything(0)
torch.set_num_threads(1)  # networks this small are slower on several cores
settings = {
    "small": {"envs": 16, "steps": 128, "iterations": 40, "trial": 28, "gamma": 0.9, "rate": 3e-3},
    "full": {"envs": 32, "steps": 256, "iterations": 120, "trial": 40, "gamma": 0.99, "rate": 1e-3},
}[profile]
world = week13.SWING[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Each task can be solved without the others; the training at the end needs them all. Functions leave their arguments as they were. Shapes: $T$ steps of $n$ environments are $(T, n)$; actions have $k$ numbers. This notebook and `a2c-optional` are a choice: the better of the two counts.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Каждое задание можно решить без остальных; обучению в конце нужны все. Функции не меняют своих аргументов. Размеры: $T$ шагов $n$ сред — это $(T, n)$; в действии $k$ чисел. Этот ноутбук и `a2c-optional` — на выбор: засчитывается лучший из двух.

# %% [markdown]
# The pendulum first, as it hangs when nobody has learned anything: an episode has 200 steps, each costs the squared angle from the top and a little for speed and torque. An episode that does nothing, and one of torques by chance:

# %% [markdown] lang="ru"
# Сначала сам маятник, пока никто ничему не научился: в эпизоде 200 шагов, за каждый платят квадратом угла от верхней точки и немного — за скорость и усилие. Эпизод, в котором ничего не делают, и эпизод случайных усилий:

# %%
chance = np.random.default_rng(0)
for name, act in {
    "nothing done": lambda seen: np.zeros((len(seen), world.actions), np.float32),
    "by chance": lambda seen: chance.uniform(-2, 2, (len(seen), world.actions)).astype(np.float32),
}.items():
    _, returns = week13.episodes(world, act, seeds=range(20))
    print(f"{name:12}: mean return of 20 episodes {returns.mean():7.1f}, from {returns.min():.0f} to {returns.max():.0f}")
plots.images(week13.film(world, act, seed=3), columns=10, size=1.1)
plots.show("Ten pictures of one episode with torques by chance: the pendulum swings about and never stays up.")

# %% [markdown]
# ## 1. What was seen
# PPO goes round in a circle: play $T$ steps in $n$ environments with the present policy, learn from them for a few epochs, throw them away. So there is a memory of one round. Two traps lie in it. Many environments write each observation into the *same* array, so who keeps the array and no copy has $T$ times the last step. And neighbouring steps resemble each other: minibatches have to be drawn over **all** $T \cdot n$ steps, and what belongs to a step has to stay together.
#
# - `Rollout.add(**step)` keeps one step: arrays or tensors $(n, \dots)$ by name. `stacked()` gives tensors $(T, n, \dots)$ by name, in the order in which they came, of the dtype in which they came.
# - `minibatches(data, size, generator)` is **one epoch**: dictionaries of tensors $(\text{size}, \dots)$ with the same names. Each of the $T \cdot n$ steps comes exactly once, in an order by chance that only `generator` decides (torch's own is left alone); the last minibatch may be smaller. The tensors need not lie in one piece in memory.
#
# {{task:rollout}}

# %% [markdown] lang="ru"
# ## 1. Что увидено
# PPO ходит по кругу: сыграть $T$ шагов в $n$ средах с нынешней политикой, несколько эпох на них поучиться и выбросить. Значит, нужна память на один круг. В ней две ловушки. Многие среды пишут каждое наблюдение в *один и тот же* массив, и кто хранит массив, а не копию, у того $T$ раз последний шаг. И соседние шаги похожи: минибатчи надо набирать изо **всех** $T \cdot n$ шагов, причём то, что относится к одному шагу, должно остаться вместе.
#
# - `Rollout.add(**step)` запоминает один шаг: массивы или тензоры $(n, \dots)$ по именам. `stacked()` отдаёт тензоры $(T, n, \dots)$ по именам — в том порядке и с тем dtype, в каком они пришли.
# - `minibatches(data, size, generator)` — **одна эпоха**: словари тензоров $(\text{size}, \dots)$ с теми же именами. Каждый из $T \cdot n$ шагов встречается ровно один раз, в случайном порядке, который определяет только `generator` (собственный генератор torch остаётся как был); последний минибатч может быть меньше. Тензоры не обязаны лежать в памяти одним куском.
#
# {{task:rollout}}


# %% solution="rollout"
class Rollout:
    """The memory of one round."""

    def __init__(self) -> None:
        ### BEGIN SOLUTION
        self.steps: list[dict[str, torch.Tensor]] = []
        ### END SOLUTION

    def add(self, **step: np.ndarray | torch.Tensor) -> None:
        """Keep one step of n environments: arrays or tensors (n, ...) by name."""
        ### BEGIN SOLUTION
        self.steps.append({name: torch.as_tensor(value).clone() for name, value in step.items()})
        ### END SOLUTION

    def stacked(self) -> dict[str, torch.Tensor]:
        """All steps so far: tensors (T, n, ...) by name."""
        ### BEGIN SOLUTION
        names = self.steps[0]
        return {name: torch.stack([step[name] for step in self.steps]) for name in names}
        ### END SOLUTION


def minibatches(
    data: dict[str, torch.Tensor], size: int, generator: torch.Generator
) -> Iterator[dict[str, torch.Tensor]]:
    """One epoch of tensors (T, n, ...): minibatches (size, ...), each step once."""
    ### BEGIN SOLUTION
    flat = {name: value.flatten(0, 1) for name, value in data.items()}
    total = len(next(iter(flat.values())))
    order = torch.randperm(total, generator=generator)
    for start in range(0, total, size):
        some = order[start : start + size]
        yield {name: value[some] for name, value in flat.items()}
    ### END SOLUTION


# %% test="rollout" points=1.5 difficulty=2 minutes=25
rollout, seen = Rollout(), np.zeros((3, 2), dtype=np.float32)
for t in range(4):
    seen[...] = np.array([[t, 10], [t, 20], [t, 30]])  # the same array each time
    check.answer(rollout.add, seen=seen, reward=torch.tensor([0.5, 1.5, 2.5]) * t, call="rollout.add(seen=..., reward=...)")
kept = check.answer(rollout.stacked, call="rollout.stacked()")
check.equal(kept["seen"].shape, (4, 3, 2), 'rollout.stacked()["seen"].shape')
check.equal(kept["seen"][1, 2].tolist(), [1.0, 30.0], 'rollout.stacked()["seen"][1, 2]', why="be what the array held at that step")
check.equal(kept["reward"][3].tolist(), [1.5, 4.5, 7.5], 'rollout.stacked()["reward"][3]')
data = {"seen": torch.arange(12).reshape(4, 3), "twice": 2.0 * torch.arange(12).reshape(4, 3)}
call = "minibatches(data, 5, generator) of 4 steps of 3 environments"
found = check.answer(minibatches, data, 5, torch.Generator().manual_seed(0), call=call)
check.equal([len(batch["seen"]) for batch in found], [5, 5, 2], f"the sizes of {call}")
check.equal(sorted(int(i) for batch in found for i in batch["seen"]), list(range(12)), call, why="give each step once")
check.that(all((2 * batch["seen"] == batch["twice"]).all() for batch in found), "keep together what belongs to a step")
### BEGIN HIDDEN TESTS
rng = check.rng("rollout")
for steps, n, shape in ((5, 3, (2,)), (1, 4, ()), (3, 1, (2, 4)), (2, 2, ())):
    rows = {"a": rng.normal(size=(steps, n, *shape)), "b": rng.integers(0, 9, size=(steps, n)), "c": rng.random((steps, n, 3)) < 0.5}
    rows["a"] = rows["a"].astype(np.float32)
    first, second = Rollout(), Rollout()
    scratch = np.zeros_like(rows["a"][0])
    for t in range(steps):
        scratch[...] = rows["a"][t]
        changed = torch.from_numpy(rows["b"][t].copy())
        call = "rollout.add(a=array, b=tensor, c=array)"
        check.answer(first.add, a=scratch, b=changed, c=rows["c"][t], call=call)
        changed += 100
        check.answer(second.add, z=rows["b"][t] + 7, call="rollout.add(z=array) of another one")
    call = f"rollout.stacked() of {steps} steps of {n} environments"
    found = check.answer(first.stacked, call=call)
    check.equal(sorted(found), ["a", "b", "c"], f"the names in {call}", why="be those that were added")
    check.that(isinstance(found, dict), f"{call}: be a dictionary")
    for name, why in (("a", "be what an array held when it was added, in the order of the steps"), ("b", "be what a tensor held when it was added"), ("c", "keep all dimensions")):
        check.equal(found[name], rows[name], f'{call}: "{name}"', why=why)
        check.that(found[name].dtype == rows[name].dtype, f'{call}: "{name}" has the dtype in which it was added')
    other = check.answer(second.stacked, call="rollout.stacked() of another rollout")
    check.equal(sorted(other), ["z"], "the names in another rollout", why="know nothing of the first one")
    check.equal(other["z"], rows["b"] + 7, "rollout.stacked() of another rollout", why="know nothing of the first one")

    def kinds(kept=first):
        """Of what kind each of the values is."""
        return [check.kind_of(value) for value in kept.stacked().values()]

    check.equal(check.answer(kinds, call=call), ["tensor"] * 3, f"the kinds of values in {call}", why="hold tensors")
    again = check.answer(first.add, **{name: value[0] for name, value in rows.items()}, call="rollout.add after rollout.stacked")
    check.equal(len(check.answer(first.stacked, call="rollout.stacked() again")["a"]), steps + 1, "the steps of rollout.stacked() after one more", why="hold what has been added since")
for steps, n, size in ((4, 3, 5), (5, 2, 2), (3, 3, 20), (1, 7, 3), (6, 1, 1), (4, 2, 8)):
    ids = torch.arange(steps * n).reshape(steps, n)
    data = {"id": ids, "pair": torch.stack([ids * 3, ids + 0], 2).double(), "flag": ids % 2 == 0}
    call = f"minibatches(data, {size}, generator) of {steps} steps of {n} environments"
    generator = torch.Generator().manual_seed(int(rng.integers(1_000_000)))
    found = check.answer(minibatches, data, size, generator, call=call)
    want = [size] * (steps * n // size) + [steps * n % size] * (steps * n % size > 0)
    check.equal([len(batch["id"]) for batch in found], want, f"the sizes of {call}", why="let only the last one be smaller")
    check.equal(sorted(i for batch in found for i in batch["id"].tolist()), list(range(steps * n)), call, why="give each step exactly once")
    for batch in found:
        check.equal(sorted(batch), ["flag", "id", "pair"], f"the names in {call}", why="be those of the data")
        check.equal(batch["pair"], np.stack([batch["id"] * 3, batch["id"]], 1).astype(float), call, why="keep together what belongs to a step, whatever its shape")
        check.equal(batch["flag"], batch["id"] % 2 == 0, call, why="keep together what belongs to a step, whatever its dtype")


def orders(epochs, seed, salt=0):
    """The steps of some epochs, one after the other, from one generator; 3 steps of 2 environments."""
    torch.manual_seed(salt)
    np.random.seed(salt)
    generator, told = torch.Generator().manual_seed(seed), []
    for _ in range(epochs):
        batches = check.answer(minibatches, {"id": torch.arange(6).reshape(3, 2)}, 2, generator, call="minibatches(data, 2, generator)")
        told.append([i for batch in batches for i in batch["id"].tolist()])
    return told


seed = int(rng.integers(1_000_000))
call = "minibatches(data, 2, generator)"
check.equal(orders(9, seed, 1), orders(9, seed, 2), call, why="give the same order for the same generator, whatever else is random")
check.that(orders(9, seed, 1) != orders(9, seed + 1, 1), f"{call}: give another order for another generator")
many = orders(1200, seed)
check.that(any(one != many[0] for one in many[:9]), f"{call}: give another order in the next epoch")
pairs = {}
for one in many:
    pairs[frozenset(one[:2])] = pairs.get(frozenset(one[:2]), 0) + 1
check.that(len(pairs) == 15 and max(pairs.values()) < 80 + 7 * 8.7 and min(pairs.values()) > 80 - 7 * 8.7, f"{call}: let any two steps meet in a minibatch, of one environment or of several")
spread = np.bincount([one[0] for one in many], minlength=6)
check.that(spread.max() < 200 + 7 * 13 and spread.min() > 200 - 7 * 13, f"{call}: let each step come first as often as any other")
rollout = Rollout()
rows = {"a": rng.normal(size=(3, 2, 2)), "b": torch.from_numpy(rng.normal(size=(3, 2))), "c": rng.normal(size=(3, 2)).astype(np.float16)}
for t in range(3):
    check.answer(rollout.add, **{name: value[t] for name, value in rows.items()}, call="rollout.add of float64 and float16")
found = check.answer(rollout.stacked, call="rollout.stacked() of float64 and float16")
for name, dtype in (("a", np.float64), ("b", np.float64), ("c", np.float16)):
    check.that(found[name].dtype == dtype, f'rollout.stacked(): "{name}" has the dtype in which it was added, {np.dtype(dtype)}')
ids = torch.arange(15).reshape(3, 5).T  # of 5 steps of 3 environments, not in one piece
data = {"id": ids, "image": ids[..., None, None] * torch.tensor([[1, 2, 3], [4, 5, 6]])}
torch.manual_seed(3)
state, call = torch.get_rng_state(), "minibatches(data, 4, generator) of transposed data with images"
found = check.answer(minibatches, data, 4, torch.Generator().manual_seed(1), call=call)
for batch in found:
    check.equal(batch["image"], batch["id"][:, None, None] * np.array([[1, 2, 3], [4, 5, 6]]), call, why="keep the shape of what belongs to a step")
check.equal(sorted(i for batch in found for i in batch["id"].tolist()), list(range(15)), call, why="give each step exactly once")
check.that(torch.equal(state, torch.get_rng_state()), f"{call}: leave torch's own generator alone")
### END HIDDEN TESTS

# %% mutant="rollout" why="keeps the array and no copy"
# - self.steps.append({name: torch.as_tensor(value).clone() for name, value in step.items()})
# + self.steps.append({name: torch.as_tensor(value) for name, value in step.items()})

# %% mutant="rollout" why="copies arrays, but keeps tensors themselves"
# - self.steps.append({name: torch.as_tensor(value).clone() for name, value in step.items()})
# + self.steps.append({name: value if isinstance(value, torch.Tensor) else torch.tensor(value) for name, value in step.items()})

# %% mutant="rollout" why="one memory for all"
# - self.steps: list[dict[str, torch.Tensor]] = []
# + self.steps = Rollout.__dict__.get("shared", [])
# + Rollout.shared = self.steps

# %% mutant="rollout" why="environments before steps"
# - return {name: torch.stack([step[name] for step in self.steps]) for name in names}
# + return {name: torch.stack([step[name] for step in self.steps], 1) for name in names}

# %% mutant="rollout" why="the newest step first"
# - return {name: torch.stack([step[name] for step in self.steps]) for name in names}
# + return {name: torch.stack([step[name] for step in self.steps[::-1]]) for name in names}

# %% mutant="rollout" why="all numbers become float32"
# - self.steps.append({name: torch.as_tensor(value).clone() for name, value in step.items()})
# + self.steps.append({name: torch.as_tensor(value).float().clone() for name, value in step.items()})

# %% mutant="rollout" why="loses the last minibatch"
# - for start in range(0, total, size):
# + for start in range(0, total - size + 1, size):

# %% mutant="rollout" why="no order by chance"
# - order = torch.randperm(total, generator=generator)
# + order = torch.arange(total)

# %% mutant="rollout" why="the generator is ignored"
# - order = torch.randperm(total, generator=generator)
# + order = torch.randperm(total)

# %% mutant="rollout" why="the same order in each epoch"
# - order = torch.randperm(total, generator=generator)
# + order = torch.randperm(total, generator=torch.Generator().manual_seed(generator.initial_seed()))

# %% mutant="rollout" why="draws with replacement"
# - order = torch.randperm(total, generator=generator)
# + order = torch.randint(total, (total,), generator=generator)

# %% mutant="rollout" why="each name is shuffled by itself"
# - some = order[start : start + size]
# - yield {name: value[some] for name, value in flat.items()}
# + yield {name: value[torch.randperm(total, generator=generator)[start : start + size]] for name, value in flat.items()}

# %% mutant="rollout" why="cuts between the steps, each minibatch in order"
# - order = torch.randperm(total, generator=generator)
# + runs = torch.arange(total).split(size)
# + order = torch.cat([runs[i] for i in torch.randperm(len(runs), generator=generator)])

# %% mutant="rollout" why="all dimensions become one"
# - flat = {name: value.flatten(0, 1) for name, value in data.items()}
# + flat = {name: value.flatten() for name, value in data.items()}

# %% mutant="rollout" why="shuffles steps, environments stay side by side"
# - order = torch.randperm(total, generator=generator)
# + n = next(iter(data.values())).shape[1]
# + order = torch.arange(total).reshape(-1, n)[torch.randperm(total // n, generator=generator)].flatten()

# %% mutant="rollout" why="features in a row"
# - flat = {name: value.flatten(0, 1) for name, value in data.items()}
# + flat = {name: value.reshape(value.shape[0] * value.shape[1], -1).squeeze(1) for name, value in data.items()}

# %% mutant="rollout" why="a view, for tensors in one piece alone"
# - flat = {name: value.flatten(0, 1) for name, value in data.items()}
# + flat = {name: value.view(-1, *value.shape[2:]) for name, value in data.items()}

# %% mutant="rollout" why="float64 becomes float32"
# - self.steps.append({name: torch.as_tensor(value).clone() for name, value in step.items()})
# + kept = {name: torch.as_tensor(value).clone() for name, value in step.items()}
# + self.steps.append({name: v.float() if v.dtype == torch.float64 else v for name, v in kept.items()})

# %% mutant="rollout" why="seeds torch's own generator, too"
# - order = torch.randperm(total, generator=generator)
# + torch.manual_seed(0)
# + order = torch.randperm(total, generator=generator)


# %% alternative="rollout" why="a list for each name, a permutation that is cut"
class Rollout:
    def __init__(self):
        self.kept = {}

    def add(self, **step):
        for name, value in step.items():
            copy = value.detach().numpy().copy() if isinstance(value, torch.Tensor) else np.array(value)
            self.kept.setdefault(name, []).append(copy)

    def stacked(self):
        return {name: torch.from_numpy(np.array(rows)) for name, rows in self.kept.items()}


def minibatches(data, size, generator):
    steps, n = next(iter(data.values())).shape[:2]
    order = torch.rand(steps * n, generator=generator, dtype=torch.float64).argsort()
    return [{name: value[part // n, part % n] for name, value in data.items()} for part in order.split(size)]


# %% [markdown]
# Your minibatches of one epoch: 8 environments, 64 steps, minibatches of 64. Each colour is spread over all.

# %% [markdown] lang="ru"
# Ваши минибатчи одной эпохи: 8 сред, 64 шага, минибатчи по 64. Каждый цвет рассыпан повсюду.

# %%
places = {"place": torch.arange(64 * 8).reshape(64, 8)}
numbers = np.zeros(64 * 8)
for i, batch in enumerate(minibatches(places, 64, torch.Generator().manual_seed(0))):
    numbers[batch["place"].numpy()] = i
week13.shuffled(numbers.reshape(64, 8).T)
plots.show("A map of 8 environments and 64 steps in eight colours, one a minibatch: the colours are mixed evenly, without rows or columns.")

# %% [markdown]
# ## 2. How good was that?
# The [advantage](glossary:advantage) of an action is how much better it went than the value function expected. One step says it with a small variance and the value function's own mistakes; the sum of all rewards says it without these, and with a large variance. [GAE](glossary:gae) ([Schulman et al., 2016](https://arxiv.org/abs/1506.02438), eq. 16) has a knob between the two:
#
# $$\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t), \qquad A_t = \sum_{l \ge 0} (\gamma \lambda)^l\, \delta_{t+l}.$$
#
# What happens at an end is where most bugs live. Where an episode **terminates**, nothing comes after: $V(s_{t+1})$ is 0, and the sum stops. Where it is **truncated** by the clock ([truncation](glossary:truncation)), life would have gone on: $V$ of the observation that was reached counts in $\delta_t$, and only the sum stops, since the next row is another episode ([Pardo et al., 2018](https://arxiv.org/abs/1712.00378)). Where both flags are set, it terminated.

# %% [markdown] lang="ru"
# ## 2. Насколько это было хорошо?
# [Преимущество](glossary:advantage) (advantage) действия — насколько вышло лучше, чем ожидала функция ценности. Один шаг говорит о нём с малой дисперсией, но с ошибками самой функции ценности; сумма всех наград — без них, зато с большой дисперсией. У [GAE](glossary:gae) ([Schulman и др., 2016](https://arxiv.org/abs/1506.02438), формула 16) есть ручка между ними:
#
# $$\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t), \qquad A_t = \sum_{l \ge 0} (\gamma \lambda)^l\, \delta_{t+l}.$$
#
# Больше всего ошибок живёт там, где эпизод кончается. Если он **завершился** (terminated), дальше ничего нет: $V(s_{t+1})$ равно 0, и сумма обрывается. Если его **оборвали** часы ([truncation](glossary:truncation)), жизнь продолжалась бы: в $\delta_t$ входит $V$ достигнутого наблюдения, обрывается только сумма, ведь следующая строка — другой эпизод ([Pardo и др., 2018](https://arxiv.org/abs/1712.00378)). Если подняты оба флага, эпизод завершился.

# %% [markdown]
# `gae` takes `rewards`, `values` $V(s_t)$, `reached` $V(s_{t+1})$ of the observation that was really reached (not of the one after a reset), and the two flags, bool; all $(T, n)$. It gives the advantages and the value function's targets $A_t + V(s_t)$. After the last row the sum stops, too. The results have the dtype of `values`.
#
# {{task:gae}}

# %% [markdown] lang="ru"
# `gae` получает `rewards`, `values` — $V(s_t)$, `reached` — $V(s_{t+1})$ наблюдения, которого действительно достигли (а не того, что после сброса), и два флага bool; всё $(T, n)$. Возвращает преимущества и цели для функции ценности $A_t + V(s_t)$. После последней строки сумма тоже обрывается. У результатов dtype `values`.
#
# {{task:gae}}


# %% solution="gae"
def gae(
    rewards: torch.Tensor,
    values: torch.Tensor,
    reached: torch.Tensor,
    terminated: torch.Tensor,
    truncated: torch.Tensor,
    gamma: float = 0.99,
    lam: float = 0.95,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages (T, n), and targets for the values (T, n). All arguments (T, n), flags bool."""
    ### BEGIN SOLUTION
    after = torch.where(terminated, torch.zeros_like(reached), reached)
    errors = rewards + gamma * after - values
    ended = terminated | truncated
    advantages, last = torch.zeros_like(values), torch.zeros_like(values[0])
    for t in reversed(range(len(values))):
        last = errors[t] + gamma * lam * torch.where(ended[t], torch.zeros_like(last), last)
        advantages[t] = last
    return advantages, advantages + values
    ### END SOLUTION


# %% test="gae" points=1.5 difficulty=3 minutes=30
rewards, values, reached = (torch.tensor([row]).T for row in ([1.0, 2.0, 3.0, 4.0], [0.5, 0.7, 0.9, 1.1], [0.7, 0.9, 2.5, 1.3]))
none = torch.zeros(4, 1, dtype=torch.bool)
third = torch.tensor([[False], [False], [True], [False]])
for terminated, truncated, want, name in (
    (none, none, [3.331254, 4.891675, 6.1815, 4.07], "no end"),
    (none, third, [2.960375, 4.0675, 4.35, 4.07], "truncated at the third step"),
    (third, none, [2.50475, 3.055, 2.1, 4.07], "terminated at the third step"),
):
    call = f"gae, {name}"
    found = check.answer(gae, rewards, values, reached, terminated, truncated, 0.9, 0.5, call=call)
    check.close(found[0], np.array([want]).T, f"the advantages of {call}")
    check.close(found[1], np.array([want]).T + values.numpy(), f"the targets of {call}")
### BEGIN HIDDEN TESTS
rng = check.rng("gae")


def long_way(rewards, values, reached, terminated, truncated, gamma, lam):
    """The sum of the definition, term by term."""
    steps, n = rewards.shape
    found = np.zeros((steps, n))
    for t in range(steps):
        for i in range(n):
            weight = 1.0
            for later in range(t, steps):
                after = 0.0 if terminated[later, i] else reached[later, i]
                found[t, i] += weight * (rewards[later, i] + gamma * after - values[later, i])
                weight *= gamma * lam
                if terminated[later, i] or truncated[later, i]:
                    break
    return found


cases = (("without an end", 0, 0), ("with terminations", 0.3, 0), ("with truncations", 0, 0.3), ("with both kinds of ends", 0.3, 0.3))
for name, ends, cuts in cases:
    for steps, n in ((7, 3), (1, 4), (9, 1), (4, 4)):
        rewards, values, reached = (torch.from_numpy(rng.normal(size=(steps, n))) for _ in range(3))
        terminated, truncated = (torch.from_numpy(rng.random((steps, n)) < p) for p in (ends, cuts))
        gamma, lam = rng.uniform(0.3, 0.95, size=2)
        call = f"gae(..., gamma, lam) {name}, of {steps} steps of {n} environments"
        found = check.answer(gae, rewards, values, reached, terminated, truncated, gamma, lam, call=call)
        want = long_way(rewards.numpy(), values.numpy(), reached.numpy(), terminated.numpy(), truncated.numpy(), gamma, lam)
        check.equal(len(found), 2, f"len({call})", why="give advantages and targets")
        check.close(found[0], want, f"the advantages of {call}", rtol=1e-8, atol=1e-10, why="be the sum of the definition")
        check.close(found[1], want + values.numpy(), f"the targets of {call}", rtol=1e-8, atol=1e-10, why="be advantages and values together")
        check.that(found[0].dtype == np.float64 and found[1].dtype == np.float64, f"{call}: have the dtype of the values")
rewards, values, reached = (torch.from_numpy(rng.normal(size=(6, 2))) for _ in range(3))
terminated, truncated = (torch.from_numpy(rng.random((6, 2)) < 0.2) for _ in range(2))
want = long_way(rewards.numpy(), values.numpy(), reached.numpy(), terminated.numpy(), truncated.numpy(), 0.99, 0.95)
check.close(check.answer(gae, rewards, values, reached, terminated, truncated, call="gae(...) without gamma and lam")[0], want, "gae(...) without gamma and lam", rtol=1e-8, atol=1e-10, why="take 0.99 and 0.95")
short = [tensor.float() for tensor in (rewards, values, reached)]
found = check.answer(gae, *short, terminated, truncated, call="gae(...) in float32")
check.that(found[0].dtype == np.float32, "gae(...) in float32: have the dtype of the values")
check.close(found[0], want, "gae(...) in float32", rtol=1e-3, atol=1e-5, why="be the same sum")
no = torch.zeros(6, 2, dtype=torch.bool)
last = no.clone()
last[-1] = True
both = check.answer(gae, rewards, values, reached, last, last, 0.9, 0.8, call="gae where both flags are set")
check.close(both[0], long_way(rewards.numpy(), values.numpy(), reached.numpy(), last.numpy(), no.numpy(), 0.9, 0.8), "gae where both flags are set", rtol=1e-8, atol=1e-10, why="end as a termination")
found = check.answer(gae, rewards, values, torch.cat([values[1:], reached[-1:]]), last, no, 0.9, 1.0, call="gae with lam=1")
want = np.array([sum(0.9 ** (k - t) * rewards.numpy()[k] for k in range(t, 6)) for t in range(6)])
check.close(found[1], want, "the targets of gae with lam=1", rtol=1e-8, atol=1e-10, why="be the discounted rewards until the end")
found = check.answer(gae, rewards, values, reached, no, no, 0.9, 0.0, call="gae with lam=0")
check.close(found[0], rewards + 0.9 * reached - values, "gae with lam=0", rtol=1e-8, atol=1e-10, why="look one step ahead")
# The probe environments: where the values are right, there is no advantage.
one, yes = torch.ones(4, 3, dtype=torch.float64), torch.ones(4, 3, dtype=torch.bool)
call = "gae in the probe with a constant reward: episodes of one step"
found = check.answer(gae, one, one, 5 * one, yes, ~yes, 0.9, 0.8, call=call)
check.close(found[0], np.zeros((4, 3)), call, atol=1e-12, why="be 0: else a value behind the end is counted")
seen = torch.from_numpy(rng.choice([-1.0, 1.0], size=(4, 3)))
call = "the targets of gae in the probe with a reward by observation"
found = check.answer(gae, seen, 0 * seen, torch.roll(seen, 1, 0), yes, ~yes, 0.9, 0.8, call=call)
check.close(found[1], seen, call, atol=1e-12, why="be the observation's own reward: else steps or environments are mixed up")
second = torch.arange(6)[:, None].expand(6, 2) % 2 == 1
rewards = second.double()
values = 0.7 + 0.3 * rewards
call = "gae in the probe with a delayed reward, gamma 0.7"
found = check.answer(gae, rewards, values, torch.ones_like(values), second, second & ~second, 0.7, 0.9, call=call)
check.close(found[0], np.zeros((6, 2)), call, atol=1e-12, why="be 0: else the discount is wrong")
call = "gae of an endless reward of 1 that the clock cuts"
values = torch.full((5, 2), 1 / (1 - 0.9), dtype=torch.float64)
cut = torch.arange(5)[:, None].expand(5, 2) == 2
found = check.answer(gae, torch.ones_like(values), values, values, cut & ~cut, cut, 0.9, 0.8, call=call)
check.close(found[0], np.zeros((5, 2)), call, atol=1e-10, why="be 0: else the clock is taken for an end")
wide, narrow = torch.float64, torch.float32
for of_rewards, of_values in ((wide, narrow), (narrow, wide)):
    numbers = [torch.from_numpy(rng.normal(size=(3, 2))) for _ in range(3)]
    no = torch.zeros(3, 2, dtype=torch.bool)
    call = f"gae of rewards in {of_rewards} and values in {of_values}"
    found = check.answer(gae, numbers[0].to(of_rewards), *(one.to(of_values) for one in numbers[1:]), no, no, call=call)
    check.that(all(one.dtype == (np.float32 if of_values == narrow else np.float64) for one in found), f"{call}: have the dtype of the values")
rewards, values, reached = (torch.from_numpy(rng.normal(size=(4, 2))) for _ in range(3))
both = torch.tensor([[False, True], [True, False], [False, False], [False, False]])
call = "gae where both flags are set in the midst of the rows"
found = check.answer(gae, rewards, values, reached, both, both, 0.9, 0.8, call=call)[0]
check.close(found[1, 0], rewards[1, 0] - values[1, 0], f"the step of {call}", rtol=1e-9, why="end as a termination")
check.close(found[0, 1], rewards[0, 1] - values[0, 1], f"the step of {call}", rtol=1e-9, why="end as a termination")
### END HIDDEN TESTS

# %% mutant="gae" why="a truncation as a termination"
# - after = torch.where(terminated, torch.zeros_like(reached), reached)
# + after = torch.where(terminated | truncated, torch.zeros_like(reached), reached)

# %% mutant="gae" why="counts the value behind a termination"
# - after = torch.where(terminated, torch.zeros_like(reached), reached)
# + after = reached

# %% mutant="gae" why="the sum goes on behind a truncation"
# - ended = terminated | truncated
# + ended = terminated

# %% mutant="gae" why="the sum goes on behind a termination"
# - ended = terminated | truncated
# + ended = truncated

# %% mutant="gae" why="the flags of the step before"
# - last = errors[t] + gamma * lam * torch.where(ended[t], torch.zeros_like(last), last)
# + last = errors[t] + gamma * lam * torch.where(ended[t - 1], torch.zeros_like(last), last)

# %% mutant="gae" why="forgets the discount in the sum"
# - last = errors[t] + gamma * lam * torch.where(ended[t], torch.zeros_like(last), last)
# + last = errors[t] + lam * torch.where(ended[t], torch.zeros_like(last), last)

# %% mutant="gae" why="forgets the discount of the next value"
# - errors = rewards + gamma * after - values
# + errors = rewards + after - values

# %% mutant="gae" why="lambda in the error, too"
# - errors = rewards + gamma * after - values
# + errors = rewards + gamma * lam * after - values

# %% mutant="gae" why="from the beginning to the end"
# - for t in reversed(range(len(values))):
# + for t in range(len(values)):

# %% mutant="gae" why="the targets are the rewards and advantages"
# - return advantages, advantages + values
# + return advantages, advantages + rewards

# %% mutant="gae" why="the next row's value in place of the one that was reached"
# - errors = rewards + gamma * after - values
# + following = torch.cat([values[1:], reached[-1:]])
# + errors = rewards + gamma * torch.where(terminated, torch.zeros_like(following), following) - values

# %% mutant="gae" why="targets before advantages"
# - return advantages, advantages + values
# + return advantages + values, advantages

# %% mutant="gae" why="changes the values that it was given"
# - advantages, last = torch.zeros_like(values), torch.zeros_like(values[0])
# + advantages, last = values, torch.zeros_like(values[0])

# %% mutant="gae" why="the sum begins with the last value that was reached"
# - advantages, last = torch.zeros_like(values), torch.zeros_like(values[0])
# + advantages, last = torch.zeros_like(values), reached[-1]

# %% mutant="gae" why="of the dtype of the rewards"
# - advantages, last = torch.zeros_like(values), torch.zeros_like(values[0])
# + advantages, last = torch.zeros_like(rewards), torch.zeros_like(values[0])


# %% alternative="gae" why="arrays, environment by environment"
def gae(rewards, values, reached, terminated, truncated, gamma=0.99, lam=0.95):
    r, v, after, end, cut = (np.array(one) for one in (rewards, values, reached, terminated, truncated))
    advantages = np.zeros_like(v)
    for i in range(v.shape[1]):
        total = 0.0
        for t in range(len(v) - 1, -1, -1):
            if end[t, i]:
                total = r[t, i] - v[t, i]
            elif cut[t, i]:
                total = r[t, i] + gamma * after[t, i] - v[t, i]
            else:
                total = r[t, i] + gamma * after[t, i] - v[t, i] + gamma * lam * total
            advantages[t, i] = total
    advantages = torch.from_numpy(advantages).to(values.dtype)
    return advantages, advantages + values


# %% alternative="gae" why="factors in place of cases"
def gae(rewards, values, reached, terminated, truncated, gamma=0.99, lam=0.95):
    alive, on = 1 - terminated.to(values), 1 - (terminated | truncated).to(values)
    delta, rows = rewards + gamma * alive * reached - values, []
    for error, factor in zip(delta.flip(0), on.flip(0), strict=True):
        rows.append(error + (gamma * lam * factor * rows[-1] if rows else 0))
    advantages = torch.stack(rows[::-1]).to(values.dtype)
    return advantages, advantages + values


# %% [markdown]
# What does the knob do? A walk of ten steps with noisy rewards, whose true values are known, and a value function that says a quarter too little. The advantage of the first step, estimated from 4,000 walks by your `gae`: how far off is it on average (bias), and how much does it scatter (variance)?

# %% [markdown] lang="ru"
# Что делает ручка? Прогулка в десять шагов с шумными наградами, истинные ценности которой известны, и функция ценности, занижающая на четверть. Преимущество первого шага оценено вашей `gae` по 4000 прогулок: насколько оно в среднем мимо (смещение) и как сильно разбросано (дисперсия)?

# %%
noise = np.random.default_rng(0)
walk, gamma = 10, 0.95
true = np.array([sum(gamma**k for k in range(walk - t)) for t in range(walk + 1)])  # the reward is 1 on average
wrong = 0.75 * true
wrong[-1] = 0
rewards = torch.from_numpy(1 + noise.normal(0, 1, size=(walk, 4000)))
rows = torch.from_numpy(wrong)[:, None].expand(-1, 4000)
ends = torch.zeros(walk, 4000, dtype=torch.bool)
ends[-1] = True
lambdas = np.linspace(0, 1, 11)
bias, variance = np.zeros(11), np.zeros(11)
for i, lam in enumerate(lambdas):
    advantages, _ = gae(rewards, rows[:-1].clone(), rows[1:].clone(), ends, ~ends & ends, gamma, float(lam))
    first = advantages[0] + wrong[0] - true[0]  # the value that is taken off is known: no error of the estimate
    bias[i], variance[i] = first.mean() ** 2, first.var()
week13.bias_and_variance(lambdas, bias, variance)
print(f"lambda 0: bias² {bias[0]:.2f}, variance {variance[0]:.2f}; lambda 1: bias² {bias[-1]:.2f}, variance {variance[-1]:.2f}")
print(f"the sum is least at lambda {lambdas[(bias + variance).argmin()]:.1f}")
plots.show("Squared bias falls with lambda, variance rises, and their sum has its lowest point in between.")

# %% [markdown]
# ## 3. A policy for numbers
# A torque is a number, not a choice. The policy gives each of the $k$ numbers of an action its own normal distribution: a network gives the means $\mu(s)$, and $\log \sigma$ is a parameter for all observations. For PPO one number an action counts, the logarithm of the density of the **whole** action; the numbers are independent, so logarithms add up:
#
# $$\log \pi(a \mid s) = \sum_{j=1}^{k} \Bigl( -\frac{(a_j - \mu_j(s))^2}{2 \sigma_j^2} - \log \sigma_j - \tfrac12 \log 2\pi \Bigr).$$
#
# It stays finite however far away an action is: add logarithms, do not take the logarithm of a product. Forgotten, this sum is a classic: $(n, k)$ numbers broadcast without a complaint. The entropy, how widely a policy tries things out, is a sum as well: $\sum_j \bigl(\log \sigma_j + \tfrac12 \log 2\pi e\bigr)$. `draw` gives $a = \mu + \sigma \varepsilon$ with normal $\varepsilon$ that only `generator` decides, and leaves torch's own alone; no gradient goes through a drawn action.
#
# {{task:gaussian}}

# %% [markdown] lang="ru"
# ## 3. Политика для чисел
# Усилие — число, а не выбор. Политика даёт каждому из $k$ чисел действия своё нормальное распределение: средние $\mu(s)$ выдаёт сеть, а $\log \sigma$ — параметр, общий для всех наблюдений. Для PPO важно одно число на действие, логарифм плотности **всего** действия; числа независимы, поэтому логарифмы складываются:
#
# $$\log \pi(a \mid s) = \sum_{j=1}^{k} \Bigl( -\frac{(a_j - \mu_j(s))^2}{2 \sigma_j^2} - \log \sigma_j - \tfrac12 \log 2\pi \Bigr).$$
#
# Она конечна, как бы далеко ни было действие: складывайте логарифмы, а не берите логарифм произведения. Забыть эту сумму — классика: $(n, k)$ чисел безропотно растянутся до чего угодно. Энтропия — насколько широко политика пробует — тоже сумма: $\sum_j \bigl(\log \sigma_j + \tfrac12 \log 2\pi e\bigr)$. `draw` даёт $a = \mu + \sigma \varepsilon$ с нормальным $\varepsilon$, который определяет только `generator`, а собственного генератора torch не трогает; градиент через вытянутое действие не идёт.
#
# {{task:gaussian}}


# %% solution="gaussian"
def log_density(mean: torch.Tensor, log_std: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """log pi(a | s) of whole actions (n,). mean, actions: (n, k); log_std: (k,)."""
    ### BEGIN SOLUTION
    distance = (actions - mean) / log_std.exp()
    return (-(distance**2) / 2 - log_std - np.log(2 * np.pi) / 2).sum(1)
    ### END SOLUTION


def entropy_of(log_std: torch.Tensor) -> torch.Tensor:
    """The entropy of the policy, a number. log_std: (k,)."""
    ### BEGIN SOLUTION
    return (log_std + np.log(2 * np.pi * np.e) / 2).sum()
    ### END SOLUTION


def draw(mean: torch.Tensor, log_std: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Actions (n, k) by chance, without a gradient. mean: (n, k); log_std: (k,)."""
    ### BEGIN SOLUTION
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
    return (mean + log_std.exp() * noise).detach()
    ### END SOLUTION


# %% test="gaussian" points=1 difficulty=2 minutes=20
mean, log_std, actions = torch.tensor([[0.3, -1.2], [0.8, 0.4]]), torch.tensor([-0.7, 0.4]), torch.tensor([[0.5, -0.4], [-0.2, 3.0]])
call = "log_density(mean, log_std, actions) of two actions of two numbers"
check.close(check.answer(log_density, mean, log_std, actions, call=call), [-1.7627673, -5.0842357], call)
check.close(check.answer(entropy_of, log_std, call="entropy_of([-0.7, 0.4])"), 2.5378771, "entropy_of([-0.7, 0.4])")
drawn = check.answer(draw, mean, log_std, torch.Generator().manual_seed(0), call="draw(mean, log_std, generator)")
check.equal(drawn.shape, (2, 2), "draw(mean, log_std, generator).shape")
### BEGIN HIDDEN TESTS
rng = check.rng("gaussian")
for n, k in ((4, 3), (1, 2), (5, 1), (3, 3)):
    mean, actions = (torch.from_numpy(rng.normal(size=(n, k))) for _ in range(2))
    log_std = torch.from_numpy(rng.normal(size=k))
    normal = torch.distributions.Normal(mean, log_std.exp())
    call = f"log_density(mean, log_std, actions) of {n} actions of {k} numbers"
    found = check.answer(log_density, mean, log_std, actions, call=call)
    check.close(found, normal.log_prob(actions).sum(1), call, rtol=1e-8, why="be the logarithm of the density of each whole action")
    check.that(found.dtype == np.float64, f"{call}: have the dtype of the means")
    leaves = [tensor.clone().requires_grad_() for tensor in (mean, log_std, actions)]
    weights = torch.from_numpy(rng.normal(size=n))
    (torch.distributions.Normal(leaves[0], leaves[1].exp()).log_prob(leaves[2]).sum(1) * weights).sum().backward()
    grads = check.gradient_of(log_density, mean, log_std, actions, call=call, upstream=weights)
    check.close(grads[0], leaves[0].grad, f"the gradient of {call} for mean", rtol=1e-7, atol=1e-10, why="reach the means")
    check.close(grads[1], leaves[1].grad, f"the gradient of {call} for log_std", rtol=1e-7, atol=1e-10, why="reach the deviations")
    call = f"entropy_of(log_std) of {k} numbers"
    want = torch.distributions.Normal(torch.zeros(k), log_std.exp()).entropy().sum()
    check.close(check.answer(entropy_of, log_std, call=call), want, call, rtol=1e-8, why="be the entropy of the whole action")
    check.close(check.gradient_of(entropy_of, log_std, call=call)[0], np.ones(k), f"the gradient of {call}", rtol=1e-9, why="reach the deviations")
    call = f"draw(mean, log_std, generator) of {n} actions of {k} numbers"
    seed = int(rng.integers(1_000_000))
    torch.manual_seed(1)
    found = check.answer(draw, mean, log_std, torch.Generator().manual_seed(seed), call=call)
    torch.manual_seed(2)
    check.equal(found, check.answer(draw, mean, log_std, torch.Generator().manual_seed(seed), call=call), call, why="be the same for the same generator, whatever else is random")
    check.equal(found.shape, (n, k), f"{call}.shape", why="be that of the means")
    check.that(found.dtype == np.float64, f"{call}: have the dtype of the means")
    generator = torch.Generator().manual_seed(seed)
    twice = [check.answer(draw, mean, log_std, generator, call=call) for _ in range(2)]
    check.that((twice[0] != twice[1]).all(), f"{call}: be another one the next time")
    check.equal(check.kind_of(draw(mean, log_std, generator)), "tensor", f"the kind of {call}", why="be a tensor")
far = torch.tensor([[60.0, -80.0]], dtype=torch.float64)
call = "log_density of an action 60 and 80 deviations away"
check.close(check.answer(log_density, torch.zeros_like(far), torch.zeros(2).double(), far, call=call), [-5000 - np.log(2 * np.pi)], call, rtol=1e-9, why="be finite, however far away an action is")
mean, log_std = torch.tensor([[2.0, -3.0]]).repeat(20_000, 1), torch.tensor([np.log(0.5), np.log(3.0)]).float()
drawn = check.answer(draw, mean, log_std, torch.Generator().manual_seed(int(rng.integers(1_000_000))), call="draw of 20,000 actions")
for j, (centre, spread) in enumerate(((2.0, 0.5), (-3.0, 3.0))):
    check.that(abs(drawn[:, j].mean() - centre) < 7 * spread / 141, "draw actions around the means")
    check.that(abs(drawn[:, j].std() - spread) < 7 * spread / 200, "draw actions with the deviations that are asked for")
check.that(abs(np.corrcoef(drawn.T)[0, 1]) < 7 / 141, "draw the numbers of an action independently")
check.that(abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 7 / 141, "draw each action by itself")
call = "a gradient through draw(mean, log_std, generator)"
check.raises(check.CheckFailed, lambda: check.gradient_of(lambda m, s: draw(m, s, torch.Generator().manual_seed(0)), mean[:3], log_std, call=call), call, why="not be there: a drawn action is a number")
state = torch.get_rng_state()
check.answer(draw, mean[:3], log_std, torch.Generator().manual_seed(1), call="draw(mean, log_std, generator)")
check.that(torch.equal(state, torch.get_rng_state()), "draw(mean, log_std, generator): leave torch's own generator alone")
### END HIDDEN TESTS

# %% mutant="gaussian" why="no sum over the numbers of an action"
# - return (-(distance**2) / 2 - log_std - np.log(2 * np.pi) / 2).sum(1)
# + return -(distance**2) / 2 - log_std - np.log(2 * np.pi) / 2

# %% mutant="gaussian" why="a mean over the numbers of an action"
# - return (-(distance**2) / 2 - log_std - np.log(2 * np.pi) / 2).sum(1)
# + return (-(distance**2) / 2 - log_std - np.log(2 * np.pi) / 2).mean(1)

# %% mutant="gaussian" why="sums over the batch"
# - return (-(distance**2) / 2 - log_std - np.log(2 * np.pi) / 2).sum(1)
# + return (-(distance**2) / 2 - log_std - np.log(2 * np.pi) / 2).sum(0)

# %% mutant="gaussian" why="the constant once an action"
# - return (-(distance**2) / 2 - log_std - np.log(2 * np.pi) / 2).sum(1)
# + return (-(distance**2) / 2 - log_std).sum(1) - np.log(2 * np.pi) / 2

# %% mutant="gaussian" why="log_std taken for the variance's logarithm"
# - distance = (actions - mean) / log_std.exp()
# + distance = (actions - mean) / (log_std / 2).exp()

# %% mutant="gaussian" why="forgets the normalising constant"
# - return (-(distance**2) / 2 - log_std - np.log(2 * np.pi) / 2).sum(1)
# + return (-(distance**2) / 2 - np.log(2 * np.pi) / 2).sum(1)

# %% mutant="gaussian" why="the logarithm of a product of densities"
# - return (-(distance**2) / 2 - log_std - np.log(2 * np.pi) / 2).sum(1)
# + return ((-(distance**2) / 2).exp() / (log_std.exp() * np.sqrt(2 * np.pi))).prod(1).log()

# %% mutant="gaussian" why="the entropy of one number"
# - return (log_std + np.log(2 * np.pi * np.e) / 2).sum()
# + return (log_std + np.log(2 * np.pi * np.e) / 2).mean()

# %% mutant="gaussian" why="an entropy without the half"
# - return (log_std + np.log(2 * np.pi * np.e) / 2).sum()
# + return (log_std + np.log(2 * np.pi) / 2).sum()

# %% mutant="gaussian" why="no gradient to the deviations"
# - distance = (actions - mean) / log_std.exp()
# + log_std = log_std.detach()
# + distance = (actions - mean) / log_std.exp()

# %% mutant="gaussian" why="the generator is ignored"
# - noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
# + noise = torch.randn(mean.shape, dtype=mean.dtype)

# %% mutant="gaussian" why="one noise for all numbers"
# - noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
# + noise = torch.randn(len(mean), 1, generator=generator, dtype=mean.dtype)

# %% mutant="gaussian" why="one noise for all environments"
# - noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
# + noise = torch.randn(mean.shape[1:], generator=generator, dtype=mean.dtype)

# %% mutant="gaussian" why="noise of a uniform distribution's size"
# - noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
# + noise = 2 * torch.rand(mean.shape, generator=generator, dtype=mean.dtype) - 1

# %% mutant="gaussian" why="a gradient through the draw"
# - return (mean + log_std.exp() * noise).detach()
# + return mean + log_std.exp() * noise

# %% mutant="gaussian" why="draws from torch's own generator, too"
# - noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
# + torch.rand(1)
# + noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)


# %% alternative="gaussian" why="torch's distributions"
def log_density(mean, log_std, actions):
    return torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1).log_prob(actions)


def entropy_of(log_std):
    return torch.distributions.Normal(torch.zeros_like(log_std), torch.exp(log_std)).entropy().sum()


@torch.no_grad()
def draw(mean, log_std, generator):
    return torch.normal(mean, log_std.exp().expand_as(mean), generator=generator)


# %% alternative="gaussian" why="a product with ones, noise made in place"
def log_density(mean, log_std, actions):
    k = len(log_std)
    squares = torch.einsum("nk,k->n", (actions - mean) ** 2, torch.exp(-2 * log_std))
    return -0.5 * (squares + k * torch.log(torch.tensor(2 * torch.pi, dtype=mean.dtype))) - log_std.sum()


def entropy_of(log_std):
    return len(log_std) * 0.5 * (1 + float(np.log(2 * np.pi))) + log_std.sum()


def draw(mean, log_std, generator):
    with torch.no_grad():
        return torch.empty_like(mean).normal_(generator=generator) * log_std.exp() + mean


# %% [markdown]
# Two numbers an action, one wide and one narrow: your density, and 300 actions of your `draw` in it.

# %% [markdown] lang="ru"
# Два числа в действии, одно размашистое, другое осторожное: ваша плотность и 300 действий вашей `draw` поверх неё.

# %%
grid = np.linspace(-3, 3, 61)
points = torch.tensor(np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2))
centre, log_std = torch.tensor([[0.5, -0.5]], dtype=torch.float64), torch.tensor([0.0, -1.0], dtype=torch.float64)
density = log_density(centre.expand_as(points), log_std, points).exp().reshape(61, 61)
drawn = draw(centre.expand(300, 2), log_std, torch.Generator().manual_seed(0))
week13.densities(grid, density.numpy(), drawn.numpy())
print(f"the density adds up to {float(density.sum()) * 0.1**2:.3f}")
plots.show("A wide, flat hill of density over two actions, and dots that lie on it, dense in the middle.")

# %% [markdown]
# ## 4. A step that does not go too far
# Data are expensive, so PPO learns from a round for several epochs. After the first step the policy is no longer the one that played, and the ratio $r = \pi(a \mid s) / \pi_{\text{old}}(a \mid s)$ tells by how much. The objective (eq. 7) is the smaller one of two,
#
# $$L = \operatorname{mean} \min\bigl( r A,\ \operatorname{clip}(r, 1 - \epsilon, 1 + \epsilon)\, A \bigr).$$
#
# A good action ($A > 0$) that is already more probable by $\epsilon$ has no gradient any more, nor has a bad one that is already less probable by $\epsilon$. In the other direction, where a step has made things *worse*, the gradient stays: [clipping](glossary:clipped-objective) forbids greed, not repentance.
#
# - `standardised`: advantages less their mean, over their standard deviation (of $n$, not $n - 1$) plus $10^{-8}$; all $(n,)$.
# - `clipped_loss`: $-L$, a number. The ratio comes from the logarithms $(n,)$.
# - `ppo_loss`: `clipped_loss` of the advantages as they come $+\ c_v \operatorname{mean} (V - \text{target})^2 - c_e \operatorname{mean} H$, with `value_weight` $c_v$ and `entropy_weight` $c_e$; the entropy $H$ is a number, or $(n,)$.
#
# {{task:clipped_objective}}

# %% [markdown] lang="ru"
# ## 4. Шаг, который не заходит слишком далеко
# Данные дороги, поэтому PPO учится на одном круге несколько эпох. После первого же шага политика — уже не та, что играла, и отношение $r = \pi(a \mid s) / \pi_{\text{old}}(a \mid s)$ говорит, насколько. Цель (формула 7) — меньшее из двух:
#
# $$L = \operatorname{mean} \min\bigl( r A,\ \operatorname{clip}(r, 1 - \epsilon, 1 + \epsilon)\, A \bigr).$$
#
# У хорошего действия ($A > 0$), которое уже на $\epsilon$ вероятнее, градиента больше нет; нет его и у плохого, которое уже на $\epsilon$ менее вероятно. В другую сторону, где шаг сделал *хуже*, градиент остаётся: [обрезка](glossary:clipped-objective) (clipping) запрещает жадность, но не раскаяние.
#
# - `standardised`: преимущества минус их среднее, делённые на стандартное отклонение (по $n$, не $n - 1$) плюс $10^{-8}$; всё $(n,)$.
# - `clipped_loss`: $-L$, одно число. Отношение получается из логарифмов $(n,)$.
# - `ppo_loss`: `clipped_loss` от преимуществ, каковы они есть, $+\ c_v \operatorname{mean} (V - \text{target})^2 - c_e \operatorname{mean} H$, где $c_v$ — `value_weight`, $c_e$ — `entropy_weight`; энтропия $H$ — число или $(n,)$.
#
# {{task:clipped_objective}}


# %% solution="clipped_objective"
def standardised(advantages: torch.Tensor) -> torch.Tensor:
    """Advantages with mean 0 and deviation 1. (n,) -> (n,)."""
    ### BEGIN SOLUTION
    return (advantages - advantages.mean()) / (advantages.std(unbiased=False) + 1e-8)
    ### END SOLUTION


def clipped_loss(
    log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantages: torch.Tensor, clip: float = 0.2
) -> torch.Tensor:
    """Minus the clipped objective, a number. All (n,)."""
    ### BEGIN SOLUTION
    ratio = (log_prob - old_log_prob).exp()
    inside = ratio.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio * advantages, inside * advantages).mean()
    ### END SOLUTION


def ppo_loss(
    log_prob: torch.Tensor,
    old_log_prob: torch.Tensor,
    advantages: torch.Tensor,
    values: torch.Tensor,
    targets: torch.Tensor,
    entropy: torch.Tensor,
    clip: float = 0.2,
    value_weight: float = 0.5,
    entropy_weight: float = 0.0,
) -> torch.Tensor:
    """What a step of PPO makes smaller, a number. entropy: a number or (n,); the others (n,)."""
    ### BEGIN SOLUTION
    policy = clipped_loss(log_prob, old_log_prob, advantages, clip)
    mistake = ((values - targets) ** 2).mean()
    return policy + value_weight * mistake - entropy_weight * entropy.mean()
    ### END SOLUTION


# %% test="clipped_objective" points=2 difficulty=3 minutes=30
call = "standardised([1.0, 2.0, 6.0])"
check.close(check.answer(standardised, torch.tensor([1.0, 2.0, 6.0]), call=call), [-0.9258201, -0.4629100, 1.3887301], call)
ratios, advantages = torch.tensor([1.5, 0.6, 1.5, 0.6, 1.1]), torch.tensor([2.0, 3.0, -4.0, -5.0, 7.0])
old = torch.tensor([-0.3, -1.4, -2.2, 0.5, -0.9])
call = "clipped_loss(log_prob, old_log_prob, [2, 3, -4, -5, 7]) with ratios [1.5, 0.6, 1.5, 0.6, 1.1]"
check.close(check.answer(clipped_loss, old + ratios.log(), old, advantages, call=call), -(2.4 + 1.8 - 6.0 - 4.0 + 7.7) / 5, call)
call = "ppo_loss(..., clip=0.3, value_weight=0.7, entropy_weight=0.1)"
values, targets, entropy = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), torch.tensor([2.0, 2.0, 0.0, 4.5, 5.0]), torch.tensor(1.7)
found = check.answer(ppo_loss, old + ratios.log(), old, advantages, values, targets, entropy, clip=0.3, value_weight=0.7, entropy_weight=0.1, call=call)
check.close(found, -(2.6 + 1.8 - 6.0 - 3.5 + 7.7) / 5 + 0.7 * 10.25 / 5 - 0.17, call)
### BEGIN HIDDEN TESTS
rng = check.rng("clipped_objective")
for n in (5, 2, 12):
    advantages = torch.from_numpy(rng.normal(3, 2, size=n))
    call = f"standardised of {n} advantages"
    numbers = advantages.numpy()
    check.close(check.answer(standardised, advantages, call=call), (numbers - numbers.mean()) / numbers.std(), call, rtol=1e-6, why="have mean 0 and deviation 1")
check.close(check.answer(standardised, torch.tensor([4.0]), call="standardised([4.0])"), [0.0], "standardised([4.0])", why="be 0 for one advantage")
check.close(check.answer(standardised, torch.full((3,), 2.0), call="standardised([2.0, 2.0, 2.0])"), [0.0] * 3, "standardised([2.0, 2.0, 2.0])", atol=1e-3, why="be 0 where all are equal")
small = torch.tensor([1e-8, 3e-8], dtype=torch.float64)
check.close(check.answer(standardised, small, call="standardised([1e-8, 3e-8])"), [-0.5, 0.5], "standardised([1e-8, 3e-8])", rtol=1e-4, why="add 1e-8 to the deviation")


def one_by_one(ratio, advantages, clip):
    """The objective of each, and its slope by the logarithm of the new probability."""
    value, slope = np.zeros(len(ratio)), np.zeros(len(ratio))
    for i, (r, a) in enumerate(zip(ratio, advantages, strict=True)):
        too_far = (a > 0 and r > 1 + clip) or (a < 0 and r < 1 - clip)
        value[i] = (1 + clip if a > 0 else 1 - clip) * a if too_far else r * a
        slope[i] = 0.0 if too_far else r * a
    return value, slope


corners = (("good, and more probable by much", 1.7, 1.3), ("good, and less probable by much", 0.4, 1.3), ("bad, and more probable by much", 1.7, -1.3), ("bad, and less probable by much", 0.4, -1.3), ("good, and nearly as probable", 1.05, 1.3), ("bad, and nearly as probable", 0.95, -1.3))
for name, ratio, advantage in corners:
    old = torch.from_numpy(rng.normal(size=1))
    new, a = old + np.log(ratio), torch.tensor([advantage], dtype=torch.float64)
    value, slope = one_by_one([ratio], [advantage], 0.2)
    call = f"clipped_loss of an action that is {name}"
    check.close(check.answer(clipped_loss, new, old, a, call=call), -value[0], call, rtol=1e-8, why="be minus the smaller one of the two")
    grads = check.gradient_of(clipped_loss, new, old, a, call=call)
    why = "be exactly 0: the step has gone far enough" if slope[0] == 0 else "be that of the ratio: nothing is clipped on this side"
    check.close(grads[0], -slope, f"the gradient of {call}", rtol=1e-8, atol=1e-12, why=why)
for n, clip in ((7, 0.2), (1, 0.1), (40, 0.35), (13, 0.5)):
    old = torch.from_numpy(rng.normal(size=n))
    ratio = rng.choice([0.3, 0.45, 0.7, 0.85, 0.97, 1.04, 1.15, 1.3, 1.6, 2.5], size=n)
    advantages = torch.from_numpy(rng.normal(size=n))
    value, slope = one_by_one(ratio, advantages.numpy(), clip)
    new = old + torch.from_numpy(np.log(ratio))
    call = f"clipped_loss(log_prob, old_log_prob, advantages, clip={clip}) of {n} actions"
    found = check.answer(clipped_loss, new, old, advantages, clip, call=call)
    check.close(found, -value.mean(), call, rtol=1e-8, why="be minus the mean of the smaller ones")
    check.close(check.gradient_of(clipped_loss, new, old, advantages, call=call, clip=clip)[0], -slope / n, f"the gradient of {call}", rtol=1e-8, atol=1e-12, why="be 0 exactly where the smaller one is clipped")
    values, targets, spread = (torch.from_numpy(rng.normal(size=n)) for _ in range(3))
    call = f"ppo_loss(..., {clip}, 0.8, 0.03) of {n} actions"
    found = check.answer(ppo_loss, new, old, advantages, values, targets, spread, clip, 0.8, 0.03, call=call)
    want = -value.mean() + 0.8 * ((values - targets) ** 2).mean() - 0.03 * spread.mean()
    check.close(found, want, call, rtol=1e-7, why="be the three parts together")
    grads = check.gradient_of(ppo_loss, new, old, advantages, values, targets, spread, call=call, clip=clip, value_weight=0.8, entropy_weight=0.03)
    check.close(grads[0], -slope / n, f"the gradient of {call} for log_prob", rtol=1e-8, atol=1e-12, why="be that of the clipped loss")
    check.close(grads[3], 0.8 * 2 * (values - targets).numpy() / n, f"the gradient of {call} for values", rtol=1e-8, atol=1e-12, why="pull the values to their targets")
    check.close(grads[5], np.full(n, -0.03 / n), f"the gradient of {call} for entropy", rtol=1e-8, why="push the entropy up")
call = "ppo_loss(...) without clip and weights"
found = check.answer(ppo_loss, new, old, advantages, values, targets, torch.tensor(5.0, dtype=torch.float64), call=call)
check.close(found, -one_by_one(ratio, advantages.numpy(), 0.2)[0].mean() + 0.5 * ((values - targets) ** 2).mean(), call, rtol=1e-7, why="take clip 0.2, half of the squared mistake, and no entropy")
check.close(check.answer(clipped_loss, new, old, advantages, call="clipped_loss(...) without clip"), -one_by_one(ratio, advantages.numpy(), 0.2)[0].mean(), "clipped_loss(...) without clip", rtol=1e-7, why="take 0.2")
# The probe environments with an action: a policy of one number a side, and a few steps of the loss.
for name, sides in (("by action", [1.0]), ("by action and observation", [-1.0, 1.0])):
    seen = np.repeat(sides, 40)
    actions = np.tile(rng.normal(0, 0.5, size=40), len(sides))
    advantages = torch.from_numpy(-((actions - 0.5 * seen) ** 2))
    advantages = (advantages - advantages.mean()) / advantages.std()
    means = torch.zeros(len(sides), dtype=torch.float64)
    where = torch.from_numpy((seen > 0).astype(int) * (len(sides) - 1))
    old = -2 * torch.from_numpy(actions) ** 2
    call = f"ppo_loss in the probe with a reward {name}"

    def along(means, where=where, actions=actions, old=old, advantages=advantages):
        """The loss of a policy that has one mean a side and the deviation 0.5."""
        nothing = torch.zeros(len(old), dtype=torch.float64)
        return ppo_loss(-2 * (torch.from_numpy(actions) - means[where]) ** 2, old, advantages, nothing, nothing, nothing)

    for _ in range(40):
        means = means - 0.1 * torch.from_numpy(check.gradient_of(along, means, call=call)[0])
    check.that((means.numpy() * np.array(sides) > 0.05).all(), f"{call}: move each action towards the one that pays")
### END HIDDEN TESTS

# %% mutant="clipped_objective" why="a gain, to be made smaller"
# - return -torch.minimum(ratio * advantages, inside * advantages).mean()
# + return torch.minimum(ratio * advantages, inside * advantages).mean()

# %% mutant="clipped_objective" why="always clipped: no way back"
# - return -torch.minimum(ratio * advantages, inside * advantages).mean()
# + return -(inside * advantages).mean()

# %% mutant="clipped_objective" why="never clipped"
# - return -torch.minimum(ratio * advantages, inside * advantages).mean()
# + return -(ratio * advantages).mean()

# %% mutant="clipped_objective" why="the smaller ratio, whatever the sign of the advantage"
# - return -torch.minimum(ratio * advantages, inside * advantages).mean()
# + return -(torch.minimum(ratio, inside) * advantages).mean()

# %% mutant="clipped_objective" why="the larger one of the two"
# - return -torch.minimum(ratio * advantages, inside * advantages).mean()
# + return -torch.maximum(ratio * advantages, inside * advantages).mean()

# %% mutant="clipped_objective" why="the ratio upside down"
# - ratio = (log_prob - old_log_prob).exp()
# + ratio = (old_log_prob - log_prob).exp()

# %% mutant="clipped_objective" why="a difference for the ratio"
# - ratio = (log_prob - old_log_prob).exp()
# + ratio = 1 + log_prob - old_log_prob

# %% mutant="clipped_objective" why="a ratio without a gradient"
# - ratio = (log_prob - old_log_prob).exp()
# + ratio = (log_prob - old_log_prob).exp().detach() + 0 * log_prob

# %% mutant="clipped_objective" why="clipped above alone"
# - inside = ratio.clamp(1 - clip, 1 + clip)
# + inside = ratio.clamp(max=1 + clip)

# %% mutant="clipped_objective" why="clip is always 0.2"
# - inside = ratio.clamp(1 - clip, 1 + clip)
# + inside = ratio.clamp(0.8, 1.2)

# %% mutant="clipped_objective" why="ppo_loss does not hand on its clip"
# - policy = clipped_loss(log_prob, old_log_prob, advantages, clip)
# + policy = clipped_loss(log_prob, old_log_prob, advantages)

# %% mutant="clipped_objective" why="a sum over the batch"
# - return -torch.minimum(ratio * advantages, inside * advantages).mean()
# + return -torch.minimum(ratio * advantages, inside * advantages).sum()

# %% mutant="clipped_objective" why="punishes entropy"
# - return policy + value_weight * mistake - entropy_weight * entropy.mean()
# + return policy + value_weight * mistake + entropy_weight * entropy.mean()

# %% mutant="clipped_objective" why="the targets learn from the values"
# - mistake = ((values - targets) ** 2).mean()
# + mistake = ((values.detach() - targets) ** 2).mean() + 0 * values.mean()

# %% mutant="clipped_objective" why="standardises in the loss, too"
# - policy = clipped_loss(log_prob, old_log_prob, advantages, clip)
# + policy = clipped_loss(log_prob, old_log_prob, standardised(advantages), clip)

# %% mutant="clipped_objective" why="the deviation of n - 1: not a number for one"
# - return (advantages - advantages.mean()) / (advantages.std(unbiased=False) + 1e-8)
# + return (advantages - advantages.mean()) / (advantages.std() + 1e-8)

# %% mutant="clipped_objective" why="keeps the mean"
# - return (advantages - advantages.mean()) / (advantages.std(unbiased=False) + 1e-8)
# + return advantages / (advantages.std(unbiased=False) + 1e-8)


# %% alternative="clipped_objective" why="by cases"
def standardised(advantages):
    centred = advantages - advantages.mean()
    return centred / ((centred**2).mean().sqrt() + 1e-8)


def clipped_loss(log_prob, old_log_prob, advantages, clip=0.2):
    ratio = torch.exp(log_prob - old_log_prob)
    edge = torch.where(advantages > 0, torch.full_like(ratio, 1 + clip), torch.full_like(ratio, 1 - clip))
    too_far = torch.where(advantages > 0, ratio > edge, ratio < edge)
    return torch.where(too_far, edge, ratio).mul(advantages).neg().mean()


def ppo_loss(log_prob, old_log_prob, advantages, values, targets, entropy, clip=0.2, value_weight=0.5, entropy_weight=0.0):
    mistake = nn.functional.mse_loss(values, targets)
    return clipped_loss(log_prob, old_log_prob, advantages, clip=clip) + value_weight * mistake - entropy_weight * torch.mean(entropy)


# %% alternative="clipped_objective" why="as OpenAI writes it: the edge times the advantage"
def standardised(advantages):
    variance, mean = torch.var_mean(advantages, correction=0)
    return (advantages - mean) / (variance**0.5 + 1e-8)


def clipped_loss(log_prob, old_log_prob, advantages, clip=0.2):
    edges = advantages * (1 + clip * advantages.sign())
    pairs = torch.stack([(log_prob - old_log_prob).exp() * advantages, edges])
    return -pairs.amin(0).mean()


def ppo_loss(log_prob, old_log_prob, advantages, values, targets, entropy, clip=0.2, value_weight=0.5, entropy_weight=0.0):
    parts = [clipped_loss(log_prob, old_log_prob, advantages, clip), (targets - values).pow(2).mean(), entropy.mean()]
    return parts[0] + value_weight * parts[1] - entropy_weight * parts[2]


# %% [markdown]
# The two cases, drawn by your loss: the objective of one action over the ratio, and its slope by autograd. Where the slope is 0, PPO has had enough.

# %% [markdown] lang="ru"
# Оба случая, как их рисует ваша функция: цель для одного действия в зависимости от отношения и её наклон из автоматического дифференцирования. Где наклон 0, с PPO довольно.

# %%
ratio = torch.linspace(0.5, 1.5, 200, dtype=torch.float64)
panels = {}
for name, sign in (("A = 1", 1.0), ("A = −1", -1.0)):
    r = ratio.clone().requires_grad_()
    advantage = torch.tensor([sign], dtype=torch.float64)
    value = torch.stack([-clipped_loss(one.log()[None], torch.zeros(1), advantage) for one in r])
    (slope,) = torch.autograd.grad(value.sum(), r)
    panels[name] = (value.detach().numpy(), slope.numpy())
week13.clipped(ratio.numpy(), panels)
plots.show("Left, for a good action, the objective rises up to the ratio 1.2 and is flat beyond. Right, for a bad one, it is flat below 0.8 and falls above. The slope is 0 on the flat parts.")

# %% [markdown]
# ## 5. Numbers of a similar size
# A cosine is about 1, a speed up to 8, a lander's leg 0 or 1. Networks learn badly from such a mixture, and nobody knows its mean and variance beforehand, since they change with the policy. So they are counted along the way. "Implementation matters", say [Engstrom et al., 2020](https://arxiv.org/abs/2005.12729): details such as this one explain more of PPO's success than the clipping does.
#
# Two sets of numbers, of sizes $a$ and $b$ with means $\mu_a, \mu_b$ and variances $v_a, v_b$, have together, with $\Delta = \mu_b - \mu_a$,
#
# $$\mu = \mu_a + \Delta \frac{b}{a + b}, \qquad v = \frac{a\, v_a + b\, v_b}{a + b} + \Delta^2 \frac{a b}{(a + b)^2}.$$

# %% [markdown] lang="ru"
# ## 5. Числа похожей величины
# Косинус — около 1, скорость — до 8, нога посадочного модуля — 0 или 1. Сети плохо учатся на такой смеси, а её среднего и дисперсии заранее никто не знает: они меняются вместе с политикой. Поэтому их считают по ходу дела. "Implementation matters", говорят [Engstrom и др., 2020](https://arxiv.org/abs/2005.12729): такие подробности объясняют успех PPO больше, чем обрезка.
#
# У двух наборов чисел — размеров $a$ и $b$, со средними $\mu_a, \mu_b$ и дисперсиями $v_a, v_b$ — вместе, с $\Delta = \mu_b - \mu_a$,
#
# $$\mu = \mu_a + \Delta \frac{b}{a + b}, \qquad v = \frac{a\, v_a + b\, v_b}{a + b} + \Delta^2 \frac{a b}{(a + b)^2}.$$

# %% [markdown]
# - `RunningNormaliser(shape)` has `count` 0, `mean` zeros and `var` ones, of that shape. `update(x)` takes $m \ge 1$ rows $(m, *\text{shape})$; afterwards `mean` and `var` are those of **all** rows so far, as NumPy's `mean(0)` and `var(0)` give them, however the rows were cut into updates.
# - Calling it gives $(x - \text{mean}) / \sqrt{\text{var} + 10^{-8}}$, clipped to $\pm$ `clip`, 10 if nothing is said, for any $x$ $(\dots, *\text{shape})$, and changes nothing.
# - It counts in float64, whatever it is given, and it keeps the variance of numbers far from 0, such as $10^8 \pm 1$; a sum of squares would lose it.
#
# {{task:normaliser}}

# %% [markdown] lang="ru"
# - У `RunningNormaliser(shape)` вначале `count` 0, `mean` из нулей и `var` из единиц, такой же формы. `update(x)` получает $m \ge 1$ строк $(m, *\text{shape})$; после него `mean` и `var` — как у **всех** строк до сих пор, какими их дают `mean(0)` и `var(0)` из NumPy, как бы строки ни были разрезаны.
# - Вызов даёт $(x - \text{mean}) / \sqrt{\text{var} + 10^{-8}}$, обрезанное до $\pm$ `clip` (10, если не сказано иначе), для любого $x$ $(\dots, *\text{shape})$ и ничего не меняет.
# - Считает в float64, что бы ни подали, и сохраняет дисперсию чисел вдали от нуля, таких как $10^8 \pm 1$; сумма квадратов её бы потеряла.
#
# {{task:normaliser}}


# %% solution="normaliser"
class RunningNormaliser:
    """Mean and variance of all rows so far, and numbers measured by them."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        ### BEGIN SOLUTION
        self.count, self.mean, self.var = 0, np.zeros(shape), np.ones(shape)
        ### END SOLUTION

    def update(self, x: np.ndarray) -> None:
        """Count m more rows (m, *shape)."""
        ### BEGIN SOLUTION
        x = np.asarray(x, dtype=np.float64)
        total = self.count + len(x)
        share = len(x) / total
        change = x.mean(0) - self.mean
        self.var = (1 - share) * self.var + share * x.var(0) + change**2 * share * (1 - share)
        self.mean = self.mean + change * share
        self.count = total
        ### END SOLUTION

    def __call__(self, x: np.ndarray, clip: float = 10.0) -> np.ndarray:
        """Numbers (..., *shape) in deviations from the mean, at most `clip` of them."""
        ### BEGIN SOLUTION
        measured = (np.asarray(x, dtype=np.float64) - self.mean) / np.sqrt(self.var + 1e-8)
        return np.clip(measured, -clip, clip)
        ### END SOLUTION


# %% test="normaliser" points=1 difficulty=2 minutes=20
normaliser = RunningNormaliser((2,))
for rows in ([[1.0, 10.0], [3.0, 14.0]], [[8.0, 30.0]]):
    check.answer(normaliser.update, np.array(rows), call=f"normaliser.update({rows})")
check.equal(check.attribute(normaliser, "count", "normaliser"), 3, "normaliser.count")
check.close(check.attribute(normaliser, "mean", "normaliser"), [4.0, 18.0], "normaliser.mean of [1, 10], [3, 14], [8, 30]")
check.close(check.attribute(normaliser, "var", "normaliser"), [26 / 3, 224 / 3], "normaliser.var of [1, 10], [3, 14], [8, 30]")
check.close(check.answer(normaliser, np.array([7.0, 14.0]), call="normaliser([7, 14])"), [1.0190493, -0.4629100], "normaliser([7, 14])")
### BEGIN HIDDEN TESTS
rng = check.rng("normaliser")
for shape, sizes in (((3,), (4, 1, 7)), ((), (1, 1, 1, 2)), ((2, 4), (3, 5)), ((2,), (1,) * 9), ((1,), (6, 20, 2))):
    normaliser, other = RunningNormaliser(shape), RunningNormaliser((5,))
    check.equal(np.shape(check.attribute(normaliser, "mean", "normaliser")), shape, f"normaliser.mean.shape of RunningNormaliser({shape})", why="be the shape of a row")
    call = f"a new RunningNormaliser({shape}) of numbers"
    x = rng.normal(size=(2, *shape))
    check.close(check.answer(normaliser, x, call=call), x / np.sqrt(1 + 1e-8), call, rtol=1e-6, why="have mean 0 and variance 1 before anything was counted")
    parts = [rng.normal(rng.normal(), rng.uniform(0.5, 3), size=(m, *shape)) for m in sizes]
    for i, part in enumerate(parts):
        call = f"normaliser.update of {len(part)} rows {shape}, number {i + 1}"
        check.answer(normaliser.update, part, call=call)
        check.answer(other.update, rng.normal(size=(2, 5)), call="update of another normaliser")
        all_of = np.concatenate(parts[: i + 1])
        check.close(check.attribute(normaliser, "mean", "normaliser"), all_of.mean(0), f"normaliser.mean after {call}", rtol=1e-9, atol=1e-12, why="be the mean of all rows so far")
        check.close(check.attribute(normaliser, "var", "normaliser"), all_of.var(0), f"normaliser.var after {call}", rtol=1e-8, atol=1e-12, why="be the variance of all rows so far")
        check.equal(check.attribute(normaliser, "count", "normaliser"), len(all_of), f"normaliser.count after {call}", why="count rows")
    for lead in ((6,), (), (2, 3)):
        x = 2 * rng.normal(size=(*lead, *shape))
        call = f"normaliser(x) for x of shape {(*lead, *shape)}"
        for _ in range(2):
            found = check.answer(normaliser, x, call=call)
            check.close(found, np.clip((x - all_of.mean(0)) / np.sqrt(all_of.var(0) + 1e-8), -10, 10), call, rtol=1e-6, why="be in deviations from the mean, and change nothing")
normaliser = RunningNormaliser((2,))
rows = rng.normal(1, 2, size=(50, 2))
check.answer(normaliser.update, rows, call="normaliser.update(rows)")
far = np.array([[1e3, -1e3], [0.5, 40.0]])
for options, name in (({}, "normaliser(x) far out"), ({"clip": 3.0}, "normaliser(x, clip=3.0)")):
    want = np.clip((far - rows.mean(0)) / rows.std(0), -options.get("clip", 10), options.get("clip", 10))
    check.close(check.answer(normaliser, far, call=name, **options), want, name, rtol=1e-6, why="stay within the clip on both sides")
normaliser = RunningNormaliser((2,))
check.answer(normaliser.update, np.full((3, 2), 4.0), call="normaliser.update of equal rows")
found = check.answer(normaliser, np.array([4.0, 4.00005]), call="normaliser([4, 4.00005]) after rows of 4")
check.close(found, [0.0, 0.5], "normaliser([4, 4.00005]) after rows of 4", rtol=1e-3, atol=1e-9, why="add 1e-8 to the variance")
for offset in (1e8, -1e8):
    far, normaliser = offset + rng.normal(size=(60, 1)), RunningNormaliser((1,))
    for part in np.split(far, [1, 2, 20]):
        check.answer(normaliser.update, part, call="normaliser.update of numbers far from 0")
    check.close(check.attribute(normaliser, "var", "normaliser"), far.var(0), "normaliser.var of numbers far from 0", rtol=1e-4, why="not lose the variance")
for dtype in (np.float32, np.int64):
    rows = (1000 + 3 * rng.normal(size=(40, 2))).astype(dtype)
    normaliser = RunningNormaliser((2,))
    for part in np.split(rows, [1, 7]):
        check.answer(normaliser.update, part, call=f"normaliser.update of {dtype.__name__}")
    check.close(check.attribute(normaliser, "mean", "normaliser"), rows.astype(float).mean(0), f"normaliser.mean of {dtype.__name__}", rtol=1e-10, why="count in float64")
    check.close(check.attribute(normaliser, "var", "normaliser"), rows.astype(float).var(0), f"normaliser.var of {dtype.__name__}", rtol=1e-6, why="count in float64")
check.equal(np.shape(check.attribute(RunningNormaliser(), "mean", "normaliser")), (), "RunningNormaliser().mean.shape", why="be a number if no shape is named")
normaliser, rows = RunningNormaliser(), rng.normal(5, 2, size=6000) + np.repeat([0, 4, -3], 2000)
for part in np.split(rows, [500, 1500, 4000]):
    check.answer(normaliser.update, part, call="normaliser.update of 6000 numbers in four parts")
check.equal(check.attribute(normaliser, "count", "normaliser"), 6000, "normaliser.count after 6000 numbers", why="forget none")
check.close(check.attribute(normaliser, "mean", "normaliser"), rows.mean(), "normaliser.mean after 6000 numbers", rtol=1e-9, why="forget none")
check.close(check.attribute(normaliser, "var", "normaliser"), rows.var(), "normaliser.var after 6000 numbers", rtol=1e-8, why="forget none")
call, whole = "normaliser of whole numbers", np.array([3, 7, -4])
check.close(check.answer(normaliser, whole, call=call), np.clip((whole - rows.mean()) / rows.std(), -10, 10), call, rtol=1e-6, why="measure whole numbers as any other")
### END HIDDEN TESTS

# %% mutant="normaliser" why="forgets how far the means are apart"
# - self.var = (1 - share) * self.var + share * x.var(0) + change**2 * share * (1 - share)
# + self.var = (1 - share) * self.var + share * x.var(0)

# %% mutant="normaliser" why="the last batch alone"
# - share = len(x) / total
# + share = 1.0

# %% mutant="normaliser" why="a moving average"
# - share = len(x) / total
# + share = 1.0 if self.count == 0 else 0.1

# %% mutant="normaliser" why="each update counts the same"
# - self.count = total
# + self.count += 1

# %% mutant="normaliser" why="begins with one row of zeros"
# - self.count, self.mean, self.var = 0, np.zeros(shape), np.ones(shape)
# + self.count, self.mean, self.var = 1, np.zeros(shape), np.ones(shape)

# %% mutant="normaliser" why="the variance of n - 1"
# - self.var = (1 - share) * self.var + share * x.var(0) + change**2 * share * (1 - share)
# + self.var = (1 - share) * self.var + share * x.var(0, ddof=len(x) > 1) + change**2 * share * (1 - share)

# %% mutant="normaliser" why="the distance to the new mean"
# - self.var = (1 - share) * self.var + share * x.var(0) + change**2 * share * (1 - share)
# - self.mean = self.mean + change * share
# + self.mean = self.mean + change * share
# + change = x.mean(0) - self.mean
# + self.var = (1 - share) * self.var + share * x.var(0) + change**2 * share * (1 - share)

# %% mutant="normaliser" why="divides by the variance"
# - measured = (np.asarray(x, dtype=np.float64) - self.mean) / np.sqrt(self.var + 1e-8)
# + measured = (np.asarray(x, dtype=np.float64) - self.mean) / (self.var + 1e-8)

# %% mutant="normaliser" why="does not clip"
# - return np.clip(measured, -clip, clip)
# + return measured

# %% mutant="normaliser" why="clips above alone"
# - return np.clip(measured, -clip, clip)
# + return np.minimum(measured, clip)

# %% mutant="normaliser" why="counts what it is asked"
# - measured = (np.asarray(x, dtype=np.float64) - self.mean) / np.sqrt(self.var + 1e-8)
# + self.update(np.asarray(x, dtype=np.float64).reshape(-1, *np.shape(self.mean)))
# + measured = (np.asarray(x, dtype=np.float64) - self.mean) / np.sqrt(self.var + 1e-8)

# %% mutant="normaliser" why="one number for all columns"
# - change = x.mean(0) - self.mean
# + change = x.mean() - self.mean

# %% mutant="normaliser" why="the mean of the squares less the square of the mean"
# - self.var = (1 - share) * self.var + share * x.var(0) + change**2 * share * (1 - share)
# + squares = (1 - share) * (self.var + self.mean**2) + share * (x**2).mean(0)
# + self.var = squares - (self.mean + change * share) ** 2

# %% mutant="normaliser" why="forgets after a thousand"
# - self.count = total
# + self.count = min(total, 1000)

# %% mutant="normaliser" why="a whole mean for whole numbers"
# - measured = (np.asarray(x, dtype=np.float64) - self.mean) / np.sqrt(self.var + 1e-8)
# + x = np.asarray(x)
# + measured = (x - np.asarray(self.mean).astype(x.dtype)) / np.sqrt(self.var + 1e-8)


# %% alternative="normaliser" why="Welford, row by row"
class RunningNormaliser:
    def __init__(self, shape=()):
        self.count = 0
        self.mean = np.zeros(shape)
        self.squares = np.zeros(shape)

    @property
    def var(self):
        return self.squares / self.count if self.count else np.ones_like(self.squares)

    def update(self, x):
        for row in np.asarray(x).astype(np.float64):
            self.count += 1
            before = row - self.mean
            self.mean = self.mean + before / self.count
            self.squares = self.squares + before * (row - self.mean)

    def __call__(self, x, clip=10.0):
        return np.maximum(np.minimum((x - self.mean) / (self.var + 1e-8) ** 0.5, clip), -clip)


# %% alternative="normaliser" why="the sum of the squared distances, by Chan"
class RunningNormaliser:
    def __init__(self, shape=()):
        self.count, self.mean, self.var = 0, np.zeros(shape), np.ones(shape)

    def update(self, x):
        x = np.array(x, dtype=float)
        m, n = self.count, len(x)
        delta = x.mean(axis=0) - self.mean
        whole = self.var * m + ((x - x.mean(axis=0)) ** 2).sum(axis=0) + delta * delta * m * n / (m + n)
        self.mean = self.mean + delta * n / (m + n)
        self.var = whole / (m + n)
        self.count = m + n

    def __call__(self, x, clip=10.0):
        return ((x - self.mean) / np.sqrt(self.var + 1e-8)).clip(-clip, clip)


# %% [markdown]
# Observations of a pendulum under torques by chance, one at a time: your running mean and deviation of cosine and speed, and dotted what the whole set has.

# %% [markdown] lang="ru"
# Наблюдения маятника при случайных усилиях, по одному: ваши бегущие среднее и отклонение косинуса и скорости, а пунктиром — средние по всему набору.

# %%
torques = np.random.default_rng(1)
pendulum = week13.Pendulums(1, seed=1)
seen = [pendulum.step(torques.uniform(-2, 2, size=(1, 1)))[0][0, [0, 2]] for _ in range(2000)]
normaliser, means, deviations = RunningNormaliser((2,)), [], []
for one in seen:
    normaliser.update(one[None])
    means.append(normaliser.mean.copy())
    deviations.append(np.sqrt(normaliser.var))
tracks = {name: (np.array(means)[:, j], np.array(deviations)[:, j]) for j, name in enumerate(("cosine", "speed"))}
week13.running(tracks, {"cosine": float(np.mean(seen, 0)[0]), "speed": float(np.mean(seen, 0)[1])})
plots.show("Running means of cosine and speed over a logarithmic axis of samples: they wander at first and come to the dotted lines, and the band of the speed is several times wider.")

# %% [markdown]
# ## 6. When to stop
# Clipping takes the gradient away from single actions; it does not hold the policy. How far it has moved says the divergence from the old one. J. Schulman's [estimate](http://joschu.net/blog/kl-approx.html) from the old policy's own actions, with $r$ as above, is never negative, and right on average:
#
# $$\mathrm{KL}(\pi_{\text{old}} \,\Vert\, \pi) \approx \operatorname{mean} \bigl( (r - 1) - \log r \bigr).$$
#
# `watched_update` goes through at most `epochs` epochs. For each minibatch of `batches()` (called anew for each epoch) it measures first, `measure(batch)`; if that is **more than** $1.5 \cdot$ `target`, all ends at once, and this minibatch is not learned; else `learn(batch)`. It returns the list of all measurements, with the one that stopped it. Without a target nothing stops it.
#
# {{task:kl_watch}}

# %% [markdown] lang="ru"
# ## 6. Когда остановиться
# Обрезка отнимает градиент у отдельных действий; политику она не держит. Насколько та ушла, говорит дивергенция от старой. [Оценка](http://joschu.net/blog/kl-approx.html) Дж. Шульмана по действиям самой старой политики, с тем же $r$, никогда не отрицательна и в среднем верна:
#
# $$\mathrm{KL}(\pi_{\text{old}} \,\Vert\, \pi) \approx \operatorname{mean} \bigl( (r - 1) - \log r \bigr).$$
#
# `watched_update` проходит не больше `epochs` эпох. На каждом минибатче из `batches()` (вызывается заново для каждой эпохи) сначала измеряет: `measure(batch)`; если вышло **больше** $1{,}5 \cdot$ `target`, всё тут же кончается, и этот минибатч не учат; иначе `learn(batch)`. Возвращает список всех измерений — и того, что остановило. Без `target` ничто его не останавливает.
#
# {{task:kl_watch}}


# %% solution="kl_watch"
def approx_kl(log_prob: torch.Tensor, old_log_prob: torch.Tensor) -> float:
    """How far the policy has moved. log_prob, old_log_prob: (n,), of the old policy's actions."""
    ### BEGIN SOLUTION
    log_ratio = log_prob - old_log_prob
    return float((log_ratio.exp() - 1 - log_ratio).mean())
    ### END SOLUTION


def watched_update(
    batches: Callable[[], Iterable],
    measure: Callable[[object], float],
    learn: Callable[[object], None],
    epochs: int,
    target: float | None = None,
) -> list[float]:
    """Learn for some epochs, as long as the policy stays near. Returns what was measured."""
    ### BEGIN SOLUTION
    measured: list[float] = []
    for _ in range(epochs):
        for batch in batches():
            measured.append(measure(batch))
            if target is not None and measured[-1] > 1.5 * target:
                return measured
            learn(batch)
    return measured
    ### END SOLUTION


# %% test="kl_watch" points=1 difficulty=2 minutes=15
call = "approx_kl([-1.0, -0.2], [-1.4, 0.1])"
check.close(check.answer(approx_kl, torch.tensor([-1.0, -0.2]), torch.tensor([-1.4, 0.1]), call=call), 0.0663215, call, rtol=1e-4)
told, distances = [], {"a": 0.01, "b": 0.03, "c": 0.031}
call = "watched_update(batches of a, b, c with 0.01, 0.03, 0.031, ..., epochs=2, target=0.02)"
found = check.answer(watched_update, lambda: iter("abc"), lambda batch: distances[batch], told.append, 2, 0.02, call=call)
check.equal(found, [0.01, 0.03, 0.031], call)
check.equal(told, ["a", "b"], f"what was learned in {call}")
### BEGIN HIDDEN TESTS
rng = check.rng("kl_watch")
for n in (6, 1, 25):
    old, new = (torch.from_numpy(rng.normal(size=n)) for _ in range(2))
    call = f"approx_kl(log_prob, old_log_prob) of {n} actions"
    ratio = np.exp(new.numpy()) / np.exp(old.numpy())
    found = check.answer(approx_kl, new, old, call=call)
    check.close(found, (ratio - 1 - np.log(ratio)).mean(), call, rtol=1e-7, why="be the mean of (r - 1) - log r")
    check.that(isinstance(found, float), f"{call}: be a float")
same = torch.from_numpy(rng.normal(size=4))
check.close(check.answer(approx_kl, same, same, call="approx_kl of a policy that has not moved"), 0.0, "approx_kl of a policy that has not moved", atol=1e-9, why="be 0")
probabilities = np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.3, 0.1])
often = np.repeat([0, 1, 2], [200, 500, 300])
log_old, log_new = (torch.from_numpy(np.log(p)[often]) for p in probabilities)
want = float((probabilities[0] * np.log(probabilities[0] / probabilities[1])).sum())
check.close(check.answer(approx_kl, log_new, log_old, call="approx_kl over all actions of a policy"), want, "approx_kl over all actions of a policy", rtol=1e-6, why="be the divergence of the old policy from the new one")


def trial(measurements, size, epochs, target):
    """(what is returned, what was learned, at which measurement, how many epochs began)."""
    rest, events, begun = list(measurements), [], []

    def batches():
        begun.append(len(begun))
        return ((len(begun) - 1, i) for i in range(size))

    def measure(batch):
        events.append(("measured", batch))
        return rest.pop(0)

    call = f"watched_update with {size} minibatches, epochs={epochs}, target={target}"
    options = {} if target is None else {"target": target}
    given = check.answer(watched_update, batches, measure, lambda batch: events.append(("learned", batch)), epochs, call=call, **options)
    return call, given, events, len(begun)


for size, epochs, stop, target in ((3, 4, 5, 0.02), (3, 4, 0, 0.02), (2, 3, 2, 0.5), (4, 2, None, 0.02), (1, 5, 3, 0.01), (3, 2, None, None), (2, 4, 7, 0.02), (5, 3, 4, 1.0)):
    small = target if target is not None else 100.0
    measurements = list(rng.uniform(0.1, 1.45, size=size * epochs) * small)
    if stop is not None:
        measurements[stop] = 1.6 * small
        measurements[stop + 1 :] = [0.1 * small for _ in measurements[stop + 1 :]]
    call, given, events, begun = trial(measurements, size, epochs, target)
    last = size * epochs if stop is None else stop + 1
    order = [divmod(i, size) for i in range(last)]
    want = [event for i, one in enumerate(order) for event in (("measured", one), ("learned", one)) if event[0] == "measured" or i != stop]
    check.equal(given, measurements[:last], call, why="return all measurements, with the one that stopped it")
    check.equal(events, want, f"the order of events in {call}", why="measure before each minibatch, learn what is near, and stop at once")
    check.equal(begun, 1 + (last - 1) // size, f"the epochs that began in {call}", why="ask for new minibatches in each epoch")
call, given, events, _ = trial([0.75, 0.75], 1, 2, 0.5)
check.equal(len(given), 2, f"{call}, measured exactly 1.5 times the target", why="stop above it only")
call, given, events, _ = trial([0.0, 1e-9], 1, 2, 0.0)
check.equal(len(given), 2, call, why="take a target of 0 for a target")
check.equal(len(events), 3, call, why="take a target of 0 for a target")
check.equal(check.answer(watched_update, lambda: iter("ab"), lambda batch: 0.1, lambda batch: None, 0, call="watched_update of no epochs"), [], "watched_update of no epochs", why="measure nothing")
call, given, events, _ = trial([-0.9, 0.1, 0.2], 3, 1, 0.02)
check.equal(len(given), 2, f"{call}, where the first measurement is -0.9", why="stop above the limit only, not far below 0")
### END HIDDEN TESTS

# %% mutant="kl_watch" why="the plain estimate, which may be negative"
# - return float((log_ratio.exp() - 1 - log_ratio).mean())
# + return float(-log_ratio.mean())

# %% mutant="kl_watch" why="half the squared logarithm"
# - return float((log_ratio.exp() - 1 - log_ratio).mean())
# + return float((log_ratio**2).mean() / 2)

# %% mutant="kl_watch" why="the divergence the other way round"
# - log_ratio = log_prob - old_log_prob
# + log_ratio = old_log_prob - log_prob

# %% mutant="kl_watch" why="the ratio of the mean"
# - return float((log_ratio.exp() - 1 - log_ratio).mean())
# + return float(log_ratio.mean().exp() - 1 - log_ratio.mean())

# %% mutant="kl_watch" why="a sum over the actions"
# - return float((log_ratio.exp() - 1 - log_ratio).mean())
# + return float((log_ratio.exp() - 1 - log_ratio).sum())

# %% mutant="kl_watch" why="ends this epoch alone"
# - if target is not None and measured[-1] > 1.5 * target:
# -     return measured
# + if target is not None and measured[-1] > 1.5 * target:
# +     break

# %% mutant="kl_watch" why="learns first, measures then"
# - measured.append(measure(batch))
# + learn(batch)
# + measured.append(measure(batch))

# %% mutant="kl_watch" why="stops at the target"
# - if target is not None and measured[-1] > 1.5 * target:
# + if target is not None and measured[-1] > target:

# %% mutant="kl_watch" why="stops at exactly 1.5 times"
# - if target is not None and measured[-1] > 1.5 * target:
# + if target is not None and measured[-1] >= 1.5 * target:

# %% mutant="kl_watch" why="a target of 0 is none"
# - if target is not None and measured[-1] > 1.5 * target:
# + if target and measured[-1] > 1.5 * target:

# %% mutant="kl_watch" why="the same minibatches in each epoch"
# - for _ in range(epochs):
# -     for batch in batches():
# + same = list(batches())
# + for _ in range(epochs):
# +     for batch in same:

# %% mutant="kl_watch" why="looks at the mean of all measurements"
# - if target is not None and measured[-1] > 1.5 * target:
# + if target is not None and sum(measured) / len(measured) > 1.5 * target:

# %% mutant="kl_watch" why="never stops"
# - if target is not None and measured[-1] > 1.5 * target:
# + if target is not None and measured[-1] > 1e9 * target + 1e9:

# %% mutant="kl_watch" why="the size of a measurement counts"
# - if target is not None and measured[-1] > 1.5 * target:
# + if target is not None and abs(measured[-1]) > 1.5 * target:


# %% alternative="kl_watch" why="one run through all epochs"
def approx_kl(log_prob, old_log_prob):
    log_ratio = log_prob - old_log_prob
    return (torch.expm1(log_ratio) - log_ratio).mean().item()


def watched_update(batches, measure, learn, epochs, target=None):
    limit, found = float("inf") if target is None else 1.5 * target, []
    for batch in (batch for _ in range(epochs) for batch in batches()):
        distance = measure(batch)
        found = [*found, distance]
        if distance > limit:
            break
        learn(batch)
    return found


# %% alternative="kl_watch" why="NumPy, and a flag"
def approx_kl(log_prob, old_log_prob):
    r = np.exp(log_prob.detach().numpy() - old_log_prob.detach().numpy())
    return float(np.mean(r - 1 - np.log(r)))


def watched_update(batches, measure, learn, epochs, target=None):
    found, epoch, near = [], 0, True
    while near and epoch < epochs:
        for batch in batches():
            found.append(measure(batch))
            near = target is None or found[-1] <= 1.5 * target
            if not near:
                break
            learn(batch)
        epoch += 1
    return found

# %% [markdown]
# ## 7. All parts together
# The network: two small ones, for the means and for the values, and $\log \sigma$. What the normaliser has counted lies in it as well, as buffers, since the agent has to measure its observations in the exam as it did in training: **a normaliser that is not handed in with the weights is a classic, too.** Called with raw observations $(n, d)$ it gives means $(n, k)$, the actions without noise.

# %% [markdown] lang="ru"
# ## 7. Все части вместе
# Сеть: две маленьких, для средних и для ценностей, и $\log \sigma$. В ней же, как буферы, лежит всё, что насчитал нормировщик: на экзамене агент должен мерить наблюдения так же, как на тренировке. **Нормировщик, не сданный вместе с весами, — тоже классика.** Вызванная с сырыми наблюдениями $(n, d)$, она даёт средние $(n, k)$ — действия без шума.

# %%
class ActorCritic(nn.Module):
    """Means of actions, values, log_std; raw observations are measured by the buffers."""

    def __init__(self, observations: int, actions: int, width: int = 64) -> None:
        super().__init__()
        self.policy = self.small(observations, width, actions)
        self.value = self.small(observations, width, 1)
        self.log_std = nn.Parameter(torch.zeros(actions))
        self.register_buffer("mean", torch.zeros(observations))
        self.register_buffer("var", torch.ones(observations))

    @staticmethod
    def small(inputs: int, width: int, outputs: int) -> nn.Module:
        """A network of two hidden layers."""
        return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Actions without noise (n, k) for raw observations (n, d)."""
        measured = (observations - self.mean) / (self.var + 1e-8).sqrt()
        return self.policy(measured.clamp(-10, 10))


# %% [markdown]
# First the playing. `Gatherer` keeps what goes on from one round to the next, and gives a round as tensors, with advantages. Rewards are divided by the deviation of the discounted sum of rewards, which a second normaliser counts; dividing leaves their sign, and what is good, as they were.

# %% [markdown] lang="ru"
# Сначала игра. `Gatherer` хранит то, что переходит из круга в круг, и отдаёт круг тензорами, с преимуществами. Награды делятся на отклонение дисконтированной суммы наград, которое считает второй нормировщик; деление не меняет ни их знака, ни того, что хорошо.


# %%
class Gatherer:
    """Plays rounds of n environments. use: the parts by name. latest: returns of late episodes."""

    def __init__(self, env, model, use, gamma, seed, scale):
        self.env, self.model, self.use, self.gamma, self.scale = env, model, use, gamma, scale
        self.generator, self.seen, self.latest = torch.Generator().manual_seed(seed), env.reset(), []
        self.stats, self.sums = use["normaliser"](self.seen.shape[1:]), use["normaliser"](())
        self.played, self.discounted = np.zeros(len(self.seen)), np.zeros(len(self.seen))
        self.whole = np.zeros(len(self.seen), dtype=bool)

    def look(self, observations):
        """Observations as the networks see them."""
        return torch.from_numpy(self.stats(observations)).float()

    def counted(self, rewards, ended):
        """Notes returns; rewards as the networks learn from them."""
        self.played, self.discounted = self.played + rewards, self.gamma * self.discounted + rewards
        self.sums.update(self.discounted)
        late = self.played[ended & self.whole]  # of episodes seen from their beginning
        self.latest = [*self.latest, *late][-2 * len(self.seen) :]
        self.whole |= ended
        self.played, self.discounted = self.played * ~ended, self.discounted * ~ended
        return torch.from_numpy(rewards / np.sqrt(self.sums.var + 1e-8) if self.scale else rewards).float()

    @torch.no_grad()
    def round(self, steps, lam):
        """Tensors (T, n, ...) of T steps."""
        rollout, model = self.use["rollout"](), self.model
        for _ in range(steps):
            self.stats.update(self.seen)
            x = self.look(self.seen)
            mean = model.policy(x)
            action = draw(mean, model.log_std, self.generator)
            following, rewards, terminated, truncated, reached = self.env.step(action.numpy())
            row = {"seen": x, "action": action, "log_prob": log_density(mean, model.log_std, action)}
            row |= {"value": model.value(x)[:, 0], "reached": model.value(self.look(reached))[:, 0]}
            row |= {"reward": self.counted(rewards, terminated | truncated)}
            rollout.add(**row, terminated=terminated, truncated=truncated)
            self.seen = following
        data = rollout.stacked()
        given = (data.pop(name) for name in ("reward", "value", "reached", "terminated", "truncated"))
        data["advantage"], data["goal"] = self.use["gae"](*given, self.gamma, lam)
        return data


# %% [markdown]
# Then the learning. `parts` replaces parts by others: so mistakes can be planted.

# %% [markdown] lang="ru"
# Затем учёба. `parts` заменяет части другими: так можно подложить ошибку.


# %%
def ppo(env, model, iterations, steps=128, epochs=10, size=512, gamma=0.9, lam=0.95, rate=3e-3, target=None, seed=0, scale=True, watch=None, **parts):
    """Train a model; the mean return of the latest episodes after each iteration (iterations,)."""
    use = {"rollout": Rollout, "minibatches": minibatches, "gae": gae, "loss": ppo_loss, "standardised": standardised, "normaliser": RunningNormaliser} | parts
    gatherer, curve = Gatherer(env, model, use, gamma, seed, scale), []
    optimiser = torch.optim.Adam(model.parameters(), lr=rate, eps=1e-5)

    def now(batch):
        """The logarithms of the present policy."""
        return log_density(model.policy(batch["seen"]), model.log_std, batch["action"])

    @torch.no_grad()
    def measure(batch):
        return approx_kl(now(batch), batch["log_prob"])

    def learn(batch):
        values, advantages = model.value(batch["seen"])[:, 0], use["standardised"](batch["advantage"])
        loss = use["loss"](now(batch), batch["log_prob"], advantages, values, batch["goal"], entropy_of(model.log_std))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimiser.step()

    for iteration in range(iterations):
        optimiser.param_groups[0]["lr"] = rate * (1 - iteration / iterations)
        data = gatherer.round(steps, lam)

        def batches(data=data):
            return use["minibatches"](data, size, gatherer.generator)

        measured = watched_update(batches, measure, learn, epochs, target)
        if watch is not None:
            watch.append(measured)
        model.mean.copy_(torch.as_tensor(gatherer.stats.mean))
        model.var.copy_(torch.as_tensor(gatherer.stats.var))
        curve.append(float(np.mean(gatherer.latest)) if gatherer.latest else np.nan)
    return np.array(curve)


# %% [markdown]
# One training of the pendulum, or of whatever the profile's world is, from a seed:

# %% [markdown] lang="ru"
# Одно обучение маятника (или того, каков мир профиля) от начального числа:


# %%
chosen = {"steps": settings["steps"], "gamma": settings["gamma"], "rate": settings["rate"], "target": 0.02}


def trained(seed, iterations, make=lambda: ActorCritic(world.observations, world.actions), **options):
    """(model, curve) of a training from a seed."""
    torch.manual_seed(seed)
    model = make()
    return model, ppo(world.several(settings["envs"], seed), model, iterations, seed=seed, **(chosen | options))


# %% [markdown]
# ## 8. Five tiny environments
# If the pendulum does not swing up, which of eight parts is wrong? The curve does not say. Tiny [probe environments](glossary:probe-environment) do: each is solved within a second if the part is right that it asks for, and not otherwise. Episodes of one step (the third one: of two):
#
# 1. **constant reward** 1: the value is 1. Wrong? Then ends are not ends.
# 2. **reward by observation**: the value is the observation. Wrong? Then observations get to the wrong steps.
# 3. **delayed** reward, at the second step: the values are $\gamma$ and 1. Wrong? Then the discount is.
# 4. **reward by action**: the best action is 0.5. Wrong? Then it is the policy's loss.
# 5. **by both**: the best action is half the observation. Only this one is wrong? Then the policy does not see.

# %% [markdown] lang="ru"
# ## 8. Пять крошечных сред
# Если маятник не раскачался, какая из восьми частей неверна? По кривой не видно. Видно по крошечным [пробным средам](glossary:probe-environment) (probe environments): каждая решается за секунду, если верна часть, о которой она спрашивает, и не решается, если нет. Эпизоды в один шаг (в третьей — в два):
#
# 1. **постоянная награда** 1: ценность равна 1. Неверно? Значит, концы эпизодов — не концы.
# 2. **награда по наблюдению**: ценность равна наблюдению. Неверно? Значит, наблюдения попадают не к тем шагам.
# 3. **отложенная** награда, на втором шаге: ценности $\gamma$ и 1. Неверно? Значит, дело в дисконте.
# 4. **награда по действию**: лучшее действие 0,5. Неверно? Значит, дело в функции потерь политики.
# 5. **по тому и другому**: лучшее действие — половина наблюдения. Неверно только здесь? Значит, политика слепа.

# %% [markdown]
# Eight mistakes, planted into *your* parts, each tried on the five. In a cell stands the largest error of values or actions; red is above 0.1.

# %% [markdown] lang="ru"
# Восемь ошибок, подложенных в *ваши* части, и каждая испытана на всех пяти средах. В клетке — наибольшая ошибка ценностей или действий; красное — больше 0,1.

# %%
class Reference(Rollout):
    """Keeps the observations that it is given, and no copies: all are the last one."""

    def stacked(self):
        data = super().stacked()
        return data | {"seen": data["seen"][-1:].expand_as(data["seen"])}


class Blind(nn.Module):
    """Sees nothing."""

    def forward(self, x):
        return 0 * x


def mixed(data, size, generator):
    """Observations are shuffled by themselves."""
    for batch in minibatches(data, size, generator):
        yield batch | {"seen": batch["seen"][torch.randperm(len(batch["seen"]), generator=generator)]}


planted = {
    "nothing planted": {},
    "an end is no end": {"gae": lambda r, v, after, end, cut, g, l: gae(r, v, after, end & ~end, cut & ~cut, g, l)},
    "no discount": {"gae": lambda r, v, after, end, cut, g, l: gae(r, v, after, end, cut, 1.0, l)},
    "memory without copies": {"rollout": Reference},
    "observations shuffled apart": {"minibatches": mixed},
    "the loss upside down": {"loss": lambda new, old, a, *rest: ppo_loss(new, old, -a, *rest)},
    "advantages (n, 1)": {"loss": lambda new, old, a, *rest: ppo_loss(new, old, a[:, None], *rest)},
    "a blind policy": {"blind": True},
    "a truncation is an end": {"gae": lambda r, v, after, end, cut, g, l: gae(r, v, after, end | cut, cut, g, l)},
}


def probed(kind, blind=False, gamma=0.5, **parts):
    """The largest error of values or actions after a short training in a probe environment."""
    torch.manual_seed(0)
    env, model = week13.Probe(kind, 16, seed=kind), ActorCritic(1, 1, width=16)
    if blind:
        model.policy = nn.Sequential(Blind(), model.policy)
    ppo(env, model, 25, steps=8, epochs=4, size=128, gamma=gamma, rate=0.02, scale=False, **parts)
    seen, values, actions = env.truth(gamma)
    with torch.no_grad():
        x = torch.from_numpy(seen)
        x = (x - model.mean) / (model.var + 1e-8).sqrt()
        if values is not None:
            return float(np.abs(model.value(x)[:, 0].numpy() - values).max())
        return float(np.abs(model.policy(x)[:, 0].numpy() - actions).max())


errors = np.array([[probed(kind, **parts) for kind in range(1, 6)] for parts in planted.values()])
week13.diagnosis(errors, list(planted), week13.Probe.names, 0.1)
plots.show("A table of nine rows and five probe environments. The first row is right everywhere; most planted mistakes are wrong in a pattern of their own; the last row, a truncation taken for an end, is right everywhere.")

# %% [markdown]
# A row tells which part to look at. And one thing more: no probe notices the last mistake, since none of them is ever cut by a clock. A test tells only of what happens in it. What does that mistake cost where every episode is cut?
#
# ## 9. What the details are worth
# The same training of the pendulum, but each time without one part:

# %% [markdown] lang="ru"
# Строка говорит, на какую часть смотреть. И ещё одно: последнюю ошибку не замечает ни одна проба, ведь ни одну из них не обрывают часы. Проверка говорит лишь о том, что в ней происходит. Чего стоит эта ошибка там, где обрывают каждый эпизод?
#
# ## 9. Чего стоят подробности
# То же обучение маятника, но каждый раз без какой-то одной части:

# %%
class Unmeasured(RunningNormaliser):
    """Measures nothing."""

    def __call__(self, x, clip=10.0):
        return np.asarray(x)

    def update(self, x):
        """Counts nothing."""


variants = {
    "all parts": {},
    "a truncation is an end": planted["a truncation is an end"],
    "nothing is clipped": {"loss": lambda *batch: ppo_loss(*batch, clip=1e9)},
    "nothing normalised": {"normaliser": Unmeasured},
    "one epoch": {"epochs": 1},
}
trials = {}
for name, parts in variants.items():
    runs = [trained(seed, iterations=settings["trial"], **parts)[1] for seed in range(2)]
    trials[name] = runs
    print(f"{name:23}: the latest returns at the end {runs[0][-1]:6.0f} and {runs[1][-1]:6.0f}")
week13.learning(trials, settings["steps"] * settings["envs"])
plots.show("Curves of returns over environment steps: with all parts they rise to near the top; a truncation taken for an end lies close below; without normalising they rise late; without clipping, and with a single epoch, they stay near the bottom.")

# %% [markdown]
# Clipping is what makes several epochs possible, and several epochs are what makes PPO frugal: without either, so few steps are not enough. Unnormalised numbers cost time. And look at what does *not* matter much here: discounted by 0.9, an agent looks about ten steps ahead, and an episode has 200, so one step in twenty is touched by the clock at all, and the mistake that is plainly wrong can be nearly free. That is why such mistakes live on for years: on the author's problem they cost little. Two seeds are few; [Andrychowicz et al., 2021](https://arxiv.org/abs/2006.05990), trained 250,000 agents to tell which details matter where.
#
# How does clipping hold the policy? The divergence before each step of the fourth round, measured by your `approx_kl`:

# %% [markdown] lang="ru"
# Обрезка позволяет учиться несколько эпох, а несколько эпох делают PPO бережливым: без того или другого стольких шагов не хватает. Ненормированные числа стоят времени. Посмотрите и на то, что здесь *не* очень важно: с дисконтом 0,9 агент смотрит шагов на десять вперёд, а в эпизоде их 200, так что часы задевают лишь один шаг из двадцати, и грубая, казалось бы, ошибка почти ничего не стоит. Потому такие ошибки и живут годами: на задаче автора они дёшевы. Два запуска — это мало; [Andrychowicz и др., 2021](https://arxiv.org/abs/2006.05990), обучили 250 000 агентов, чтобы узнать, какие подробности где важны.
#
# Как обрезка держит политику? Дивергенция перед каждым шагом четвёртого круга, измеренная вашей `approx_kl`:

# %%
lines = {}
for name, parts in {
    "clipped": {"target": None},
    "not clipped": {"target": None} | variants["nothing is clipped"],
    "not clipped, watched": {"target": 0.02} | variants["nothing is clipped"],
}.items():
    watched = []
    trained(0, iterations=4, watch=watched, **parts)
    lines[name] = watched[-1]
    print(f"{name:21}: {len(watched[-1]):3} steps of the round, the KL ends at {watched[-1][-1]:.3f}")
week13.divergences(lines, 0.03)
plots.show("Divergence over the steps of a round, on a logarithmic axis: clipped it stays below the dotted line, not clipped it runs away by far, watched it ends early, where it crosses the line.")

# %% [markdown]
# ## 10. The exam: swing it up
# The next cell trains three agents from three seeds, takes the one whose returns were highest at the end of its **training**, and saves it as `ppo.safetensors`. Build the network in `agent()`: raw observations $(n, d)$ to actions $(n, k)$, called in eval mode. In `small` the world is `Pendulum-v1`, $d = 3$ (cosine, sine, speed), $k = 1$; in `full` it is `LunarLanderContinuous-v3`, $d = 8$, $k = 2$. Actions out of range are brought into it, as the environment does.
#
# In the exam your agent plays 80 episodes with seeds that nobody has seen, and hands in its **actions**. They are replayed elsewhere, in an environment of gymnasium's own: what your process says about rewards does not count. An action that is not finite is replayed as 0.
#
# Milestones in `small`: a mean return of more than −850 gives 0.5 points, of more than −400 and more than −300 each 0.75 more. For comparison, over 40 episodes or more: zero torque −1228, chance −1235, the best of 400 linear policies by chance −1005, this notebook's training, ten seeds, −174 to −201. In `full` they stand at −100, 50 and 150.

# %% [markdown] lang="ru"
# ## 10. Экзамен: раскачать
# Следующая ячейка обучит трёх агентов от трёх начальных чисел, возьмёт того, у кого к концу **обучения** награды были выше всех, и сохранит его как `ppo.safetensors`. Сеть постройте в `agent()`: сырые наблюдения $(n, d)$ в действия $(n, k)$, вызывается в режиме eval. В `small` мир — `Pendulum-v1`, $d = 3$ (косинус, синус, скорость), $k = 1$; в `full` — `LunarLanderContinuous-v3`, $d = 8$, $k = 2$. Действия вне границ возвращаются в них, как это делает и сама среда.
#
# На экзамене ваш агент играет 80 эпизодов с начальными числами, которых никто не видел, и сдаёт свои **действия**. Их повторяют в другом месте, в собственной среде gymnasium: что говорит о наградах ваш процесс, не важно. Действие, которое не конечно, повторяют как 0.
#
# Рубежи в `small`: средняя награда больше −850 даёт 0,5 балла, больше −400 и больше −300 — ещё по 0,75. Для сравнения, по 40 и более эпизодам: нулевое усилие −1228, случай −1235, лучшая из 400 случайных линейных политик −1005, обучение из этого ноутбука, десять запусков, — от −174 до −201. В `full` рубежи −100, 50 и 150.

# %% [markdown]
# - `ActorCritic` is a start; it can stay as it is. Settings are yours to choose, and so is another way of training, as long as the agent is a network with its weights in the file (at most 1 MB).
# - What it does for an observation depends on nothing else: no noise, no memory, no neighbours in the batch.
# - In the exam there are your imports, functions, classes and constants, the cell of `agent` and the file; no variables of other cells, no files opened.
#
# {{task:agent}}

# %% [markdown] lang="ru"
# - `ActorCritic` — начало; можно его таким и оставить. Настройки выбираете вы, и способ обучения тоже — лишь бы агент был сетью, веса которой лежат в файле (не больше 1 МБ).
# - Действие зависит только от наблюдения: ни шума, ни памяти, ни соседей по батчу.
# - На экзамене есть ваши импорты, функции, классы и константы, ячейка `agent` и файл; никаких переменных из других ячеек, никаких открытых файлов.
#
# {{task:agent}}


# %% solution="agent"
def agent() -> nn.Module:
    """A new, untrained agent: raw observations (n, d) -> actions (n, k)."""
    ### BEGIN SOLUTION
    return ActorCritic(world.observations, world.actions)
    ### END SOLUTION


# %% tags=["training"]
seed_everything(0)
runs = []
for seed in range(3):
    runs.append(trained(seed, settings["iterations"], agent))
    print(f"seed {seed}: the latest returns at the end of the training {runs[-1][1][-1]:.0f}")
best = max(runs, key=lambda run: run[1][-1])[0]
print(f"saved: {week13.SWINGERS[profile].save(best).name}")

# %% test="agent" points=2 difficulty=3 minutes=40 exam=true
contract = week13.SWINGERS[profile]
contract.check(contract.build(agent), check.rng("agent"))


def untrained(make):
    """What a new agent does; equal code gives equal numbers."""
    torch.manual_seed(0)
    with torch.no_grad():
        return contract.build(make)(torch.linspace(-1, 1, 4 * contract.world.observations).reshape(4, -1))


check.stands_alone(agent, "agent", untrained)
loaded = contract.load(contract.build(agent))
contract.check(loaded, check.rng("agent"))
### BEGIN HIDDEN TESTS
actions, _ = contract.play(loaded, check.private("agent")["seeds"])
check.hand_in("agent", actions)
### END HIDDEN TESTS

# %% mutant="agent" why="another width than it was trained with"
# - return ActorCritic(world.observations, world.actions)
# + return ActorCritic(world.observations, world.actions, width=48)

# %% mutant="agent" why="sees its observations as they are, not as it did in training"
# - return ActorCritic(world.observations, world.actions)
# + class Raw(ActorCritic):
# +     def forward(self, observations):
# +         return self.policy(-observations)
# +
# + return Raw(world.observations, world.actions)

# %% mutant="agent" why="acts with noise"
# - return ActorCritic(world.observations, world.actions)
# + class Noisy(ActorCritic):
# +     def forward(self, observations):
# +         means = super().forward(observations)
# +         return means + self.log_std.exp() * torch.randn_like(means)
# +
# + return Noisy(world.observations, world.actions)

# %% mutant="agent" why="pushes the other way"
# - return ActorCritic(world.observations, world.actions)
# + class Other(ActorCritic):
# +     def forward(self, observations):
# +         return -super().forward(observations)
# +
# + return Other(world.observations, world.actions)

# %% mutant="agent" why="gives the value in place of the action"
# - return ActorCritic(world.observations, world.actions)
# + class Value(ActorCritic):
# +     def forward(self, observations):
# +         return self.value((observations - self.mean) / (self.var + 1e-8).sqrt())
# +
# + return Value(world.observations, world.actions)

# %% mutant="agent" why="the last number alone, without its dimension"
# - return ActorCritic(world.observations, world.actions)
# + class Flat(ActorCritic):
# +     def forward(self, observations):
# +         return super().forward(observations)[:, 0]
# +
# + return Flat(world.observations, world.actions)

# %% mutant="agent" why="measures by the batch that it is given"
# - return ActorCritic(world.observations, world.actions)
# + class Batch(ActorCritic):
# +     def forward(self, observations):
# +         return super().forward(observations - observations.mean(0) + self.mean)
# +
# + return Batch(world.observations, world.actions)

# %% mutant="agent" why="forgets the speed"
# - return ActorCritic(world.observations, world.actions)
# + class Slow(ActorCritic):
# +     def forward(self, observations):
# +         return super().forward(observations * (torch.arange(observations.shape[1]) < 2))
# +
# + return Slow(world.observations, world.actions)


# %% alternative="agent" why="a class of its own around the parts, actions brought into their range"
class Swings(nn.Module):
    def __init__(self):
        super().__init__()
        inner = ActorCritic(world.observations, world.actions)
        self.policy, self.value, self.log_std = inner.policy, inner.value, inner.log_std
        self.register_buffer("mean", torch.zeros(world.observations))
        self.register_buffer("var", torch.ones(world.observations))

    def forward(self, observations):
        x = (observations - self.mean) * torch.rsqrt(self.var + 1e-8)
        return self.policy(x.clamp(-10, 10)).clamp(-2, 2)


def agent():
    return Swings()


# %% [markdown]
# How did the training go, and what would the exam pay? The median of the three and the band between the worst and the best; then 20 public episodes.

# %% [markdown] lang="ru"
# Как шло обучение и сколько дал бы экзамен? Медиана трёх и полоса от худшего до лучшего; затем 20 открытых эпизодов.

# %% tags=["training"]
loaded = week13.SWINGERS[profile].load(week13.SWINGERS[profile].build(agent))
lines = {"nothing done": -1228, "every milestone": -300} if profile == "small" else {}
week13.learning({"three seeds": [curve for _, curve in runs]}, settings["steps"] * settings["envs"], lines)
plots.show("Returns over environment steps, the median of three seeds with a narrow band: they stay near the bottom at first, then rise and flatten out near the top.")
actions, returns = week13.SWINGERS[profile].play(loaded, range(20))
print(week13.reached(float(returns.mean()), profile, week13.SWING_SCALE), "\n(on public seeds)")
again = week13.replayed(world, actions, range(20))
print(f"its actions, replayed in new environments, earn the same: {bool(np.allclose(returns, again))}")

# %% [markdown]
# And this is what it looks like, for a friend: one episode in twenty pictures. The motor is too weak to lift the pendulum, so the agent has found out by itself what children know about swings.

# %% [markdown] lang="ru"
# А вот как это выглядит — для друга: один эпизод в двадцати картинках. Мотору поднять маятник не по силам, и агент сам открыл то, что дети знают о качелях.

# %% tags=["training"]
loaded = week13.SWINGERS[profile].load(week13.SWINGERS[profile].build(agent))
shown = 60 if profile == "small" else world.limit
pictures = week13.film(world, lambda seen: week13.SWINGERS[profile].act(loaded, seen), seed=3, frames=20, steps=shown)
plots.images(pictures, columns=10, size=1.1)
plots.show("Twenty pictures of one episode: the pendulum swings one way, then the other, goes up and stands on its head.")

# %% [markdown]
# **What to take along.** PPO is a good estimate of advantages, a loss that is content with little, and a dozen details. Each part can be tested by itself, on numbers that you know; the five probes test them together, within seconds. Look at several seeds, never at one. And hand in actions, not claims: who can replay them need not believe anybody.

# %% [markdown] lang="ru"
# **Что запомнить.** PPO — это хорошая оценка преимуществ, функция потерь, которая довольствуется малым, и дюжина подробностей. Каждую часть можно проверить отдельно, на числах, которые вы знаете; пять проб за секунды проверяют их вместе. Смотрите на несколько запусков, никогда на один. И сдавайте действия, а не слова: кто может их повторить, никому не обязан верить.

# %% [markdown]
# **Sources**
# - J. Schulman et al. [Proximal policy optimization algorithms](https://arxiv.org/abs/1707.06347). 2017: eq. 7, §5.
# - J. Schulman et al. [High-dimensional continuous control using generalized advantage estimation](https://arxiv.org/abs/1506.02438). ICLR 2016: §3.
# - F. Pardo et al. [Time limits in reinforcement learning](https://arxiv.org/abs/1712.00378). ICML 2018: §3.
# - L. Engstrom et al. [Implementation matters in deep policy gradients](https://arxiv.org/abs/2005.12729). ICLR 2020. M. Andrychowicz et al. [What matters in on-policy reinforcement learning?](https://arxiv.org/abs/2006.05990). ICLR 2021: §3.
# - T. Chan, G. Golub, R. LeVeque. [Algorithms for computing the sample variance](https://doi.org/10.1080/00031305.1983.10483115). 1983: §2.
# - The probe environments are A. Jones's, in [Debugging RL, without the agonizing pain](https://andyljones.com/posts/rl-debugging.html).

# %% [markdown] lang="ru"
# **Источники**
# - J. Schulman и др. [Proximal policy optimization algorithms](https://arxiv.org/abs/1707.06347). 2017: формула 7, §5.
# - J. Schulman и др. [High-dimensional continuous control using generalized advantage estimation](https://arxiv.org/abs/1506.02438). ICLR 2016: §3.
# - F. Pardo и др. [Time limits in reinforcement learning](https://arxiv.org/abs/1712.00378). ICML 2018: §3.
# - L. Engstrom и др. [Implementation matters in deep policy gradients](https://arxiv.org/abs/2005.12729). ICLR 2020. M. Andrychowicz и др. [What matters in on-policy reinforcement learning?](https://arxiv.org/abs/2006.05990). ICLR 2021: §3.
# - T. Chan, G. Golub, R. LeVeque. [Algorithms for computing the sample variance](https://doi.org/10.1080/00031305.1983.10483115). 1983: §2.
# - Пробные среды придумал A. Jones: [Debugging RL, without the agonizing pain](https://andyljones.com/posts/rl-debugging.html).
