# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Actor and critic, side by side
# An actor chooses, a critic says what to expect, and many environments play at once: that is A2C, the plain form of [Mnih et al., 2016](https://arxiv.org/abs/1602.01783). You write the four functions of which it consists, each of them short and each with a trap, find planted mistakes with five tiny environments, and train an acrobot that swings its feet over a bar.

# %% [markdown] lang="ru"
# # Актёр и критик плечом к плечу
# Актёр выбирает, критик говорит, чего ждать, а играют сразу во многих средах: это A2C, простой вид метода из статьи [Mnih и др., 2016](https://arxiv.org/abs/1602.01783). Вы напишете четыре функции, из которых он состоит, — все короткие, и в каждой ловушка, — найдёте подложенные ошибки с помощью пяти крошечных сред и обучите акробота, который забрасывает ноги выше перекладины.

# %% tags=["parameters"]
profile = "small"

# %%
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from practical_dl import check, plots, seed_everything
from practical_dl.weeks import week13

seed_everything(0)
torch.set_num_threads(1)  # networks this small are slower on several cores
settings = {
    "small": {"envs": 16, "steps": 16, "updates": 350, "trial": 350, "rate": 5e-3, "size": 0.1},
    "full": {"envs": 32, "steps": 16, "updates": 1000, "trial": 1000, "rate": 3e-3, "size": 0.1},
}[profile]
world = week13.PLAY[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Each task can be solved without the others; the training at the end needs them all. Functions leave their arguments as they were. Shapes: $T$ steps of $n$ environments are $(T, n)$. This notebook and `ppo` are a choice: the better of the two counts.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Каждое задание можно решить без остальных; обучению в конце нужны все. Функции не меняют своих аргументов. Размеры: $T$ шагов $n$ сред — это $(T, n)$. Этот ноутбук и `ppo` — на выбор: засчитывается лучший из двух.

# %% [markdown]
# ## 1. What is a step, and what is not
# gymnasium steps $n$ environments at once: `envs.step(actions)` gives observations $(n, d)$, rewards, and two flags $(n,)$. `terminated`: the episode has ended by what happened. `truncated`: the clock has cut it, and life would have gone on ([truncation](glossary:truncation)). Either way the observation given is the **last one of the old episode**. The *next* call resets that environment: its action is ignored, its reward is 0, its observation is the first one of the new episode. That row looks like all others, and is no transition. Whoever learns from it learns that ends lead to beginnings.

# %% [markdown] lang="ru"
# ## 1. Что считать шагом
# gymnasium делает шаг сразу в $n$ средах: `envs.step(actions)` даёт наблюдения $(n, d)$, награды и два флага $(n,)$. `terminated`: эпизод завершился тем, что в нём произошло. `truncated`: его оборвали часы, а жизнь продолжалась бы ([truncation](glossary:truncation)). В обоих случаях возвращается **последнее наблюдение старого эпизода**. *Следующий* вызов сбрасывает эту среду: действие не учитывается, награда 0, наблюдение — первое из нового эпизода. Эта строка выглядит как все, но переходом не является. Кто учится на ней, выучит, что концы ведут к началам.

# %% [markdown]
# `play(envs, act, seen, ended, steps)` plays `steps` steps. `act` turns observations $(n, d)$ into actions $(n,)$ and is called once a step; `seen` $(n, d)$ are the present observations, `ended` $(n,)$, bool, says whose episode ended at the step before. It returns three things:
#
# - a dictionary of arrays $(T, n, \dots)$: `seen`, `action`, `reward`, `reached` (the observation that the step gave), `terminated`, `truncated`, and `valid`, bool: which rows are transitions;
# - the observations and the flags `ended` with which the next call goes on.
#
# The environments may write into the same arrays at each step, and so may `act`, so keep copies, of the kind of numbers that came. Nobody resets them but themselves.
#
# {{task:collected}}

# %% [markdown] lang="ru"
# `play(envs, act, seen, ended, steps)` играет `steps` шагов. `act` превращает наблюдения $(n, d)$ в действия $(n,)$ и вызывается раз за шаг; `seen` $(n, d)$ — нынешние наблюдения, `ended` $(n,)$, bool, — у кого эпизод кончился шагом раньше. Возвращает она три вещи:
#
# - словарь массивов $(T, n, \dots)$: `seen`, `action`, `reward`, `reached` (наблюдение, которое дал шаг), `terminated`, `truncated` и `valid`, bool: какие строки — переходы;
# - наблюдения и флаги `ended`, с которых продолжит следующий вызов.
#
# Среды могут на каждом шаге писать в одни и те же массивы, `act` тоже, так что храните копии — с тем же видом чисел, что пришёл. Сбрасывают себя только они сами.
#
# {{task:collected}}


# %% solution="collected"
def play(
    envs, act: Callable[[np.ndarray], np.ndarray], seen: np.ndarray, ended: np.ndarray, steps: int
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Steps in n environments: arrays (T, n, ...) by name; observations and ends to go on with."""
    ### BEGIN SOLUTION
    rows = []
    for _ in range(steps):
        action = act(seen)
        reached, reward, terminated, truncated, _ = envs.step(action)
        row = {"seen": seen, "action": action, "reward": reward, "reached": reached, "terminated": terminated, "truncated": truncated, "valid": ~ended}
        rows.append({name: np.array(value) for name, value in row.items()})
        seen, ended = np.array(reached), terminated | truncated
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}, seen, ended
    ### END SOLUTION


# %% test="collected" points=1 difficulty=2 minutes=25
class Scripted:
    """Two environments that count, with ends by a script; all arrays are used again and again."""

    def __init__(self, ends, cuts):
        self.ends, self.cuts, self.t, self.heard = np.array(ends), np.array(cuts), 0, []
        n = self.ends.shape[1]
        self.made = np.zeros((n, 2)), np.zeros(n), np.zeros(n, bool), np.zeros(n, bool)

    def step(self, actions):
        """One step: what it gives depends on its number alone."""
        self.heard.append(np.array(actions).tolist())
        seen, rewards, terminated, truncated = self.made
        seen[:] = np.stack([10.0 * self.t + np.arange(len(seen)), np.arange(len(seen)) - 0.5], 1)
        rewards[:], terminated[:], truncated[:] = self.t + 0.1 * np.arange(len(seen)), self.ends[self.t], self.cuts[self.t]
        self.t += 1
        return seen, rewards, terminated, truncated, {}


def right_of_15(seen):
    """The action 1 where the first number is above 15."""
    return (seen[:, 0] > 15).astype(int)


script = Scripted([[0, 0], [1, 0], [0, 0], [0, 0]], [[0, 0], [0, 0], [0, 1], [0, 0]])
call = "play(envs, act, seen, ended, 4): the first ends at step 1, the second is cut at step 2"
data, seen, ended = check.plain(play(script, right_of_15, np.full((2, 2), -1.0), np.array([False, False]), 4), call)
check.equal(data["valid"].tolist(), [[True, True], [True, True], [False, True], [True, False]], f'"valid" of {call}')
check.equal(data["reached"][1].tolist(), [[10.0, -0.5], [11.0, 0.5]], f'"reached"[1] of {call}')
check.equal(script.heard, [[0, 0], [0, 0], [0, 0], [1, 1]], f"the actions in {call}")
check.equal([seen.tolist(), ended.tolist()], [[[30.0, -0.5], [31.0, 0.5]], [False, False]], f"what to go on with after {call}")
### BEGIN HIDDEN TESTS
rng = check.rng("collected")


class Recorded:
    """n environments with values and ends by chance; their arrays are used again and again."""

    def __init__(self, steps, n, d, share):
        self.seen, self.rewards = rng.normal(size=(steps, n, d)).astype(np.float32), rng.normal(size=(steps, n))
        self.terminated, self.truncated = rng.random((steps, n)) < share, rng.random((steps, n)) < share
        self.t, self.heard = 0, []
        self.made = self.seen[0].copy(), self.rewards[0].copy(), self.terminated[0].copy(), self.truncated[0].copy()

    def step(self, actions):
        self.heard.append(np.array(actions))
        for kept, made in zip(self.made, (self.seen, self.rewards, self.terminated, self.truncated), strict=True):
            kept[...] = made[self.t]
        self.t += 1
        return (*self.made, {})


for rounds, n, d, share in (((4, 3), 3, 2, 0.3), ((1, 1, 2), 2, 3, 0.5), ((6,), 1, 1, 0.4), ((5, 2), 4, 2, 0.0), ((3, 4), 2, 2, 1.0)):
    envs, chosen, asked = Recorded(sum(rounds), n, d, share), [], []

    def act(seen, chosen=chosen, asked=asked):
        """Notes what it was asked, and answers by chance."""
        asked.append(np.array(seen))
        chosen.append(rng.integers(0, 5, size=len(seen)))
        return chosen[-1]

    begin, first = rng.normal(size=(n, d)).astype(np.float32), rng.random(n) < 0.5
    seen, ended, t = begin, first, 0
    for number, steps in enumerate(rounds):
        call = f"play(envs, act, seen, ended, {steps}) of {n} environments, round {number + 1}"
        data, seen, ended = check.answer(play, envs, act, seen, ended, steps, call=call)
        rows = slice(t, t + steps)
        before = np.concatenate([begin[None], envs.seen])[rows]
        stopped = np.concatenate([first[None], envs.terminated | envs.truncated])
        want = {"seen": before, "action": np.array(chosen[rows]), "reward": envs.rewards[rows], "reached": envs.seen[rows], "terminated": envs.terminated[rows], "truncated": envs.truncated[rows], "valid": ~stopped[rows]}
        whys = {"valid": "be false right after an end, of either kind, and nowhere else", "reached": "be what each step gave, in copies", "seen": "be what the action was chosen for", "terminated": "be the flag as it is", "truncated": "be the flag as it is", "action": "be what was chosen", "reward": "be that of the step"}
        check.equal(sorted(data), sorted(want), f"the names in {call}", why="be those of the statement")
        for name, value in want.items():
            check.equal(data[name], value, f'"{name}" of {call}', why=whys[name])
        check.that(data["valid"].dtype == bool and data["seen"].dtype == np.float32, f"{call}: keep the kinds of numbers, and bool for valid")
        check.equal(np.array(asked[rows]), before, f"what act was asked in {call}", why="be the present observations, once a step")
        check.equal(np.array(envs.heard[rows]), np.array(chosen[rows]), f"the actions that envs got in {call}", why="be what act chose")
        t += steps
        check.equal(seen, envs.seen[t - 1], f"the observations after {call}", why="be the latest ones")
        check.equal(ended, stopped[t], f"the ends after {call}", why="be those of the last step")

envs = Recorded(6, 3, 2, 0.3)


def after_more_steps():
    """What the first round gave to go on with, after a second one."""
    _, looked, over = play(envs, lambda seen: np.zeros(len(seen), int), np.zeros((3, 2), np.float32), np.zeros(3, bool), 2)
    play(envs, lambda seen: np.zeros(len(seen), int), looked, over, 4)
    return looked, over


call = "what play gave to go on with, looked at after further steps"
kept = check.answer(after_more_steps, call=call)
check.equal(kept[0], envs.seen[1], call, why="be a copy: the environments use their arrays again")
check.equal(kept[1], envs.terminated[1] | envs.truncated[1], call, why="be a copy")
envs, answers, told = Recorded(4, 3, 2, 0.3), np.zeros((3, 2)), []
envs.seen = rng.normal(size=envs.seen.shape)
envs.made = (envs.seen[0].copy(), *envs.made[1:])


def into_the_same(seen):
    """Actions of two real numbers, written into one array again and again."""
    answers[...] = rng.normal(size=answers.shape)
    told.append(answers.copy())
    return answers


call = "play with float64 observations and an act that writes real numbers into one array"
data, _, _ = check.plain(play(envs, into_the_same, np.full((3, 2), 1 / 3), np.zeros(3, bool), 4), call)
check.equal(data["action"], np.array(told), f'"action" of {call}', why="be what was chosen at each step, in copies, of the kind that it has")
check.equal(np.array(envs.heard), np.array(told), f"the actions that envs got in {call}", why="be what act chose")
check.equal(data["reached"], envs.seen, f'"reached" of {call}', why="be what each step gave, of the kind that it has")
check.equal(data["seen"], np.concatenate([np.full((1, 3, 2), 1 / 3), envs.seen[:-1]]), f'"seen" of {call}', why="be what the action was chosen for, of the kind that it has")
### END HIDDEN TESTS

# %% mutant="collected" why="the step after an end counts"
# - row = {"seen": seen, "action": action, "reward": reward, "reached": reached, "terminated": terminated, "truncated": truncated, "valid": ~ended}
# + row = {"seen": seen, "action": action, "reward": reward, "reached": reached, "terminated": terminated, "truncated": truncated, "valid": ended | True}

# %% mutant="collected" why="the last step of an episode does not count"
# - row = {"seen": seen, "action": action, "reward": reward, "reached": reached, "terminated": terminated, "truncated": truncated, "valid": ~ended}
# + row = {"seen": seen, "action": action, "reward": reward, "reached": reached, "terminated": terminated, "truncated": truncated, "valid": ~(terminated | truncated)}

# %% mutant="collected" why="forgets how the round before ended"
# - rows = []
# + rows = []
# + ended = np.zeros_like(ended)

# %% mutant="collected" why="a truncation does not count as an end"
# - seen, ended = np.array(reached), terminated | truncated
# + seen, ended = np.array(reached), terminated.copy()

# %% mutant="collected" why="truncated is told as terminated"
# - row = {"seen": seen, "action": action, "reward": reward, "reached": reached, "terminated": terminated, "truncated": truncated, "valid": ~ended}
# + row = {"seen": seen, "action": action, "reward": reward, "reached": reached, "terminated": terminated | truncated, "truncated": truncated, "valid": ~ended}

# %% mutant="collected" why="no copies"
# - rows.append({name: np.array(value) for name, value in row.items()})
# + rows.append(row)

# %% mutant="collected" why="goes on with an array that the environments use again"
# - seen, ended = np.array(reached), terminated | truncated
# + seen, ended = reached, terminated | truncated

# %% mutant="collected" why="the observation does not move on"
# - seen, ended = np.array(reached), terminated | truncated
# + ended = terminated | truncated

# %% mutant="collected" why="once ended, never valid again"
# - seen, ended = np.array(reached), terminated | truncated
# + seen, ended = np.array(reached), ended | terminated | truncated

# %% mutant="collected" why="one end invalidates all environments"
# - seen, ended = np.array(reached), terminated | truncated
# + seen, ended = np.array(reached), np.full_like(ended, (terminated | truncated).any())

# %% mutant="collected" why="seen and reached are the same"
# - row = {"seen": seen, "action": action, "reward": reward, "reached": reached, "terminated": terminated, "truncated": truncated, "valid": ~ended}
# + row = {"seen": reached, "action": action, "reward": reward, "reached": reached, "terminated": terminated, "truncated": truncated, "valid": ~ended}

# %% mutant="collected" why="no copy of the actions"
# - rows.append({name: np.array(value) for name, value in row.items()})
# + rows.append({name: value if name == "action" else np.array(value) for name, value in row.items()})

# %% mutant="collected" why="actions are whole numbers"
# - action = act(seen)
# + action = act(seen).astype(int)

# %% mutant="collected" why="observations in float32, whatever they were"
# - rows.append({name: np.array(value) for name, value in row.items()})
# + rows.append({name: np.array(value, dtype=np.float32 if name in ("seen", "reached") else None) for name, value in row.items()})


# %% alternative="collected" why="arrays that are filled"
def play(envs, act, seen, ended, steps):
    data, n = {}, len(seen)
    for t in range(steps):
        action = np.asarray(act(seen))
        following, reward, terminated, truncated, _ = envs.step(action)
        row = (("seen", seen), ("action", action), ("reward", reward), ("reached", following), ("terminated", terminated), ("truncated", truncated), ("valid", np.logical_not(ended)))
        for name, value in row:
            value = np.asarray(value)
            data.setdefault(name, np.empty((steps, *value.shape), value.dtype))[t] = value
        seen = data["reached"][t].copy()
        ended = np.array([bool(terminated[i]) or bool(truncated[i]) for i in range(n)])
    return data, seen, ended


# %% [markdown]
# Eight carts with poles and choices by chance, cut after 25 steps; 60 rows, told by your `play`. A cross is a row that looks like a step.

# %% [markdown] lang="ru"
# Восемь тележек с шестами, случайные действия, обрыв после 25 шагов; 60 строк — какими их видит ваша `play`. Крестик — строка, которая похожа на шаг.

# %%
envs, seen = week13.vector("CartPole-v1", 8, seed=0, limit=25)
chance = np.random.default_rng(0)
data, _, _ = play(envs, lambda seen: chance.integers(2, size=len(seen)), seen, np.zeros(8, dtype=bool), 60)
week13.timeline(data["terminated"], data["truncated"], data["valid"])
print(f"{int((~data['valid']).sum())} of {data['valid'].size} rows are no transitions, with rewards {sorted(set(data['reward'][~data['valid']].tolist()))}")
plots.show("Eight rows of 60 steps: after each end, a square of one colour where a pole fell and of another where the clock cut, comes a white one with a cross, which is no transition.")

# %% [markdown]
# ## 2. How far to look
# The critic learns from targets. One step ahead, $r_t + \gamma V(s_{t+1})$, news of a reward travels one state an update. Looking $k$ steps ahead, it travels $k$ ([A3C](https://arxiv.org/abs/1602.01783), §4.2):
#
# $$G_t = \sum_{i=0}^{m-1} \gamma^i r_{t+i} + \gamma^m V(s_{t+m}).$$
#
# $m$ is $k$, or less where the episode ends before (its last step belongs to it) or the rows do. $V(s_{t+m})$ is the value of what was **reached** at that step; after a termination it is 0, after a truncation it is not.
#
# `n_step_targets` takes `rewards`, `reached` (values $V$ of what each step reached), two flags, bool, all $(T, n)$, and gives targets $(T, n)$ of the dtype of `reached`. Where both flags are set, the episode terminated. Rows that are no transitions may have any target; nobody learns from them.
#
# {{task:n_step}}

# %% [markdown] lang="ru"
# ## 2. Как далеко смотреть
# Критик учится на целях. Если смотреть на шаг вперёд, $r_t + \gamma V(s_{t+1})$, весть о награде за одно обновление проходит одно состояние. На $k$ шагов вперёд — $k$ состояний ([A3C](https://arxiv.org/abs/1602.01783), §4.2):
#
# $$G_t = \sum_{i=0}^{m-1} \gamma^i r_{t+i} + \gamma^m V(s_{t+m}).$$
#
# $m$ — это $k$ или меньше, если раньше кончается эпизод (последний шаг ещё его) или строки. $V(s_{t+m})$ — ценность того, чего этот шаг **достиг**; после завершения она 0, после обрыва — нет.
#
# `n_step_targets` получает `rewards`, `reached` (ценности $V$ того, чего достиг каждый шаг), два флага bool — всё $(T, n)$ — и возвращает цели $(T, n)$ того же dtype, что `reached`. Если подняты оба флага, эпизод завершился. У строк, которые не переходы, цель может быть любой: на них никто не учится.
#
# {{task:n_step}}


# %% solution="n_step"
def n_step_targets(
    rewards: torch.Tensor,
    reached: torch.Tensor,
    terminated: torch.Tensor,
    truncated: torch.Tensor,
    gamma: float = 0.99,
    k: int = 5,
) -> torch.Tensor:
    """Targets (T, n) that look at most k >= 1 steps ahead. All arguments (T, n), flags bool."""
    ### BEGIN SOLUTION
    behind = torch.where(terminated, torch.zeros_like(reached), reached)
    ended = terminated | truncated
    found = rewards + gamma * behind  # one step ahead
    for _ in range(k - 1):
        longer = found.clone()
        longer[:-1] = torch.where(ended[:-1], found[:-1], rewards[:-1] + gamma * found[1:])
        found = longer
    return found.to(reached.dtype)
    ### END SOLUTION


# %% test="n_step" points=1.25 difficulty=3 minutes=30
rewards, reached = torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.tensor([[10.0], [20.0], [30.0], [40.0]])
none = torch.zeros(4, 1, dtype=torch.bool)
second = torch.tensor([[False], [True], [False], [False]])
for terminated, truncated, k, want, name in (
    (none, none, 1, [9.0, 18.0, 27.0, 36.0], "no end, k=1"),
    (none, none, 3, [19.88, 27.44, 31.8, 36.0], "no end, k=3"),
    (second, none, 3, [2.6, 2.0, 31.8, 36.0], "terminated at the second step, k=3"),
    (none, second, 3, [15.4, 18.0, 31.8, 36.0], "truncated at the second step, k=3"),
):
    call = f"n_step_targets, gamma 0.8, {name}"
    found = check.answer(n_step_targets, rewards, reached, terminated, truncated, 0.8, k, call=call)
    check.close(found, np.array([want]).T, call)
### BEGIN HIDDEN TESTS
rng = check.rng("n_step")


def long_way(rewards, reached, terminated, truncated, gamma, k):
    """The definition, row by row."""
    steps, n = rewards.shape
    found = np.zeros((steps, n))
    for t in range(steps):
        for i in range(n):
            total, m = 0.0, 0
            while True:
                total += gamma**m * rewards[t + m, i]
                m += 1
                over = terminated[t + m - 1, i]
                if over or truncated[t + m - 1, i] or m == k or t + m == steps:
                    break
            found[t, i] = total + (0.0 if over else gamma**m * reached[t + m - 1, i])
    return found


cases = (("without an end", 0, 0), ("with terminations", 0.25, 0), ("with truncations", 0, 0.25), ("with both kinds of ends", 0.2, 0.2))
for name, ends, cuts in cases:
    for steps, n, k in ((8, 3, 3), (6, 2, 1), (5, 1, 4), (1, 4, 3), (4, 4, 9), (3, 2, 2)):
        rewards, reached = (torch.from_numpy(rng.normal(size=(steps, n))) for _ in range(2))
        terminated, truncated = (torch.from_numpy(rng.random((steps, n)) < p) for p in (ends, cuts))
        gamma = float(rng.uniform(0.3, 0.95))
        call = f"n_step_targets(..., gamma, {k}) {name}, of {steps} steps of {n} environments"
        found = check.answer(n_step_targets, rewards, reached, terminated, truncated, gamma, k, call=call)
        want = long_way(rewards.numpy(), reached.numpy(), terminated.numpy(), truncated.numpy(), gamma, k)
        check.close(found, want, call, rtol=1e-8, atol=1e-10, why="look k steps ahead, or to the end of the episode or of the rows")
        check.that(found.dtype == np.float64, f"{call}: have the dtype of the values")
rewards, reached = (torch.from_numpy(rng.normal(size=(9, 2))) for _ in range(2))
terminated, truncated = (torch.from_numpy(rng.random((9, 2)) < 0.1) for _ in range(2))
want = long_way(rewards.numpy(), reached.numpy(), terminated.numpy(), truncated.numpy(), 0.99, 5)
call = "n_step_targets(...) without gamma and k"
check.close(check.answer(n_step_targets, rewards, reached, terminated, truncated, call=call), want, call, rtol=1e-8, atol=1e-10, why="take 0.99 and 5")
found = check.answer(n_step_targets, rewards.double(), reached.float(), terminated, truncated, call="n_step_targets of values in float32")
check.that(found.dtype == np.float32, "n_step_targets of values in float32: have the dtype of the values")
both = torch.tensor([[False], [True], [False]])
call = "n_step_targets where both flags are set"
found = check.answer(n_step_targets, torch.ones(3, 1), torch.full((3, 1), 7.0), both, both, 0.5, 3, call=call)
check.close(found[:2], [[1.5], [1.0]], call, why="end as a termination")
# The probe environments of one and two steps, and an endless one that is cut.
yes = torch.ones(4, 3, dtype=torch.bool)
one = torch.ones(4, 3, dtype=torch.float64)
call = "n_step_targets in the probe with a constant reward: episodes of one step"
check.close(check.answer(n_step_targets, one, 5 * one, yes, ~yes, 0.9, 3, call=call), one, call, why="be 1: else a value behind the end is counted")
seen = torch.from_numpy(rng.choice([-1.0, 1.0], size=(4, 3)))
call = "n_step_targets in the probe with a reward by observation"
check.close(check.answer(n_step_targets, seen, one, yes, ~yes, 0.9, 3, call=call), seen, call, why="be the observation's own reward: else steps or environments are mixed up")
later = torch.arange(6)[:, None].expand(6, 2) % 2 == 1
call = "n_step_targets in the probe with a delayed reward, gamma 0.7"
check.close(check.answer(n_step_targets, later.double(), torch.zeros(6, 2, dtype=torch.float64), later, later & ~later, 0.7, 4, call=call), np.where(later, 1.0, 0.7), call, why="be 0.7 and 1: else the discount is wrong")
cut = torch.arange(5)[:, None].expand(5, 2) == 2
call = "n_step_targets of an endless reward of 1 that the clock cuts"
ten = torch.full((5, 2), 10.0, dtype=torch.float64)
check.close(check.answer(n_step_targets, torch.ones_like(ten), ten, cut & ~cut, cut, 0.9, 3, call=call), ten, call, why="be 10: else the clock is taken for an end")
### END HIDDEN TESTS

# %% mutant="n_step" why="always one step"
# - for _ in range(k - 1):
# + for _ in range(0):

# %% mutant="n_step" why="one step too far"
# - for _ in range(k - 1):
# + for _ in range(k):

# %% mutant="n_step" why="looks to the end, whatever k is"
# - for _ in range(k - 1):
# + for _ in range(len(rewards)):

# %% mutant="n_step" why="a truncation as a termination"
# - behind = torch.where(terminated, torch.zeros_like(reached), reached)
# + behind = torch.where(terminated | truncated, torch.zeros_like(reached), reached)

# %% mutant="n_step" why="counts the value behind a termination"
# - behind = torch.where(terminated, torch.zeros_like(reached), reached)
# + behind = reached

# %% mutant="n_step" why="goes on behind a truncation"
# - ended = terminated | truncated
# + ended = terminated

# %% mutant="n_step" why="goes on behind a termination"
# - ended = terminated | truncated
# + ended = truncated

# %% mutant="n_step" why="no discount"
# - longer[:-1] = torch.where(ended[:-1], found[:-1], rewards[:-1] + gamma * found[1:])
# + longer[:-1] = torch.where(ended[:-1], found[:-1], rewards[:-1] + found[1:])

# %% mutant="n_step" why="the last value without its discount"
# - found = rewards + gamma * behind  # one step ahead
# + found = rewards + behind

# %% mutant="n_step" why="nothing behind the last row"
# - found = rewards + gamma * behind  # one step ahead
# + found = rewards + gamma * behind
# + found[-1] = rewards[-1]

# %% mutant="n_step" why="the reward of the end counts twice"
# - longer[:-1] = torch.where(ended[:-1], found[:-1], rewards[:-1] + gamma * found[1:])
# + longer[:-1] = torch.where(ended[:-1], found[:-1] + rewards[:-1], rewards[:-1] + gamma * found[1:])


# %% alternative="n_step" why="row by row from the end, arrays"
def n_step_targets(rewards, reached, terminated, truncated, gamma=0.99, k=5):
    r, v, end, cut = (np.array(one) for one in (rewards, reached, terminated, truncated))
    found = np.zeros(r.shape)
    for i in range(r.shape[1]):
        for t in range(len(r)):
            last = t
            while last - t + 1 < k and last + 1 < len(r) and not (end[last, i] or cut[last, i]):
                last += 1
            found[t, i] = sum(gamma ** (s - t) * r[s, i] for s in range(t, last + 1))
            if not end[last, i]:
                found[t, i] += gamma ** (last - t + 1) * v[last, i]
    return torch.from_numpy(found).to(reached.dtype)


# %% [markdown]
# A corridor of 20 states, a reward of 1 at its end, and a critic that knows nothing: your targets after **one** walk, for several $k$, and dotted the true values.

# %% [markdown] lang="ru"
# Коридор из 20 состояний, награда 1 в конце и критик, который ничего не знает: ваши цели после **одного** прохода при разных $k$ и настоящие ценности.

# %%
rewards, ends = torch.zeros(20, 1), torch.zeros(20, 1, dtype=torch.bool)
rewards[-1], ends[-1] = 1.0, True
lines = {"true values": 0.9 ** np.arange(19, -1, -1.0)}
for k in (20, 10, 4, 1):
    lines[f"k = {k}"] = n_step_targets(rewards, torch.zeros(20, 1), ends, ends & ~ends, 0.9, k)[:, 0].numpy()
    print(f"k = {k:2}: {int((lines[f'k = {k}'] > 0).sum()):2} of 20 states have heard of the reward")
plots.curves(lines, "One walk through a corridor", "state", "target")
plots.show("Targets over the states of a corridor: with k 1 only the last state has one above zero, with k 10 the last ten, with k 20 all, on the curve of the true values.")

# %% [markdown]
# ## 3. All distances at once
# Which $k$ is right? [GAE](glossary:gae) ([Schulman et al., 2016](https://arxiv.org/abs/1506.02438), eq. 16) takes a mean of all, the further the less: the [advantage](glossary:advantage) of an action, how much better it went than the critic thought, is
#
# $$A_t = (1 - \lambda) \sum_{k \ge 1} \lambda^{k-1} \bigl( G_t^{(k)} - V(s_t) \bigr) = \sum_{l \ge 0} (\gamma \lambda)^l\, \delta_{t+l},$$
#
# $$\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t).$$
#
# The second form is a loop from the end. As before, $V(s_{t+1})$ is that of what was reached, 0 after a termination, and the sum stops with the episode and with the rows. At $\lambda = 0$ one believes the critic, at $\lambda = 1$ the rewards.
#
# `advantages` takes `rewards`, `values` $V(s_t)$, `reached` and two flags, bool, all $(T, n)$; it gives $(T, n)$ of the dtype of `values`. Rows that are no transitions may have any.
#
# {{task:advantage}}

# %% [markdown] lang="ru"
# ## 3. Все расстояния сразу
# Какое $k$ верно? [GAE](glossary:gae) ([Schulman и др., 2016](https://arxiv.org/abs/1506.02438), формула 16) берёт среднее всех, чем дальше, тем меньше: [преимущество](glossary:advantage) (advantage) действия — насколько вышло лучше, чем думал критик, —
#
# $$A_t = (1 - \lambda) \sum_{k \ge 1} \lambda^{k-1} \bigl( G_t^{(k)} - V(s_t) \bigr) = \sum_{l \ge 0} (\gamma \lambda)^l\, \delta_{t+l},$$
#
# $$\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t).$$
#
# Вторая запись — цикл от конца. Как и раньше, $V(s_{t+1})$ — ценность достигнутого, после завершения 0, а сумма кончается вместе с эпизодом и со строками. При $\lambda = 0$ верят критику, при $\lambda = 1$ — наградам.
#
# `advantages` получает `rewards`, `values` $V(s_t)$, `reached` и два флага bool — всё $(T, n)$ — и возвращает $(T, n)$ того же dtype, что `values`. У строк, которые не переходы, может быть что угодно.
#
# {{task:advantage}}


# %% solution="advantage"
def advantages(
    rewards: torch.Tensor,
    values: torch.Tensor,
    reached: torch.Tensor,
    terminated: torch.Tensor,
    truncated: torch.Tensor,
    gamma: float = 0.99,
    lam: float = 0.95,
) -> torch.Tensor:
    """Advantages (T, n). All arguments (T, n), flags bool."""
    ### BEGIN SOLUTION
    errors = rewards + gamma * torch.where(terminated, torch.zeros_like(reached), reached) - values
    ended = terminated | truncated
    found, last = torch.zeros_like(values), torch.zeros_like(values[0])
    for t in reversed(range(len(values))):
        last = errors[t] + gamma * lam * torch.where(ended[t], torch.zeros_like(last), last)
        found[t] = last
    return found
    ### END SOLUTION


# %% test="advantage" points=1 difficulty=3 minutes=20
rewards, values, reached = (torch.tensor([row]).T for row in ([1.0, 2.0, 3.0], [0.5, 0.7, 0.9], [0.7, 0.9, 1.1]))
none = torch.zeros(3, 1, dtype=torch.bool)
second = torch.tensor([[False], [True], [False]])
for terminated, truncated, want, name in (
    (none, none, [2.705225, 3.5005, 3.09], "no end"),
    (second, none, [1.715, 1.3, 3.09], "terminated at the second step"),
    (none, second, [2.0795, 2.11, 3.09], "truncated at the second step"),
):
    call = f"advantages, gamma 0.9, lam 0.5, {name}"
    found = check.answer(advantages, rewards, values, reached, terminated, truncated, 0.9, 0.5, call=call)
    check.close(found, np.array([want]).T, call)
### BEGIN HIDDEN TESTS
rng = check.rng("advantage")


def mixture(rewards, values, reached, terminated, truncated, gamma, lam):
    """The first form of the definition: a mean of targets that look 1, 2, ... steps ahead."""
    steps, n = rewards.shape
    found = np.zeros((steps, n))
    for t in range(steps):
        for i in range(n):
            total, weight, rest = 0.0, 1 - lam, 1.0
            for m in range(1, steps - t + 1):
                row = t + m - 1
                total += gamma ** (m - 1) * rewards[row, i]
                target = total + (0.0 if terminated[row, i] else gamma**m * reached[row, i])
                over = terminated[row, i] or truncated[row, i] or m == steps - t
                found[t, i] += (rest if over else weight) * (target - values[t, i])
                rest, weight = rest - weight, weight * lam
                if over:
                    break
    return found


cases = (("without an end", 0, 0), ("with terminations", 0.25, 0), ("with truncations", 0, 0.25), ("with both kinds of ends", 0.2, 0.2))
for name, ends, cuts in cases:
    for steps, n in ((7, 3), (1, 4), (8, 1), (4, 4)):
        terminated, truncated = (rng.random((steps, n)) < p for p in (ends, cuts))
        rewards, values, outside = (rng.normal(size=(steps, n)) for _ in range(3))
        reached = np.where(terminated | truncated | (np.arange(steps) == steps - 1)[:, None], outside, np.roll(values, -1, 0))
        given = [torch.from_numpy(one) for one in (rewards, values, reached, terminated, truncated)]
        gamma, lam = (float(one) for one in rng.uniform(0.3, 0.95, size=2))
        call = f"advantages(..., gamma, lam) {name}, of {steps} steps of {n} environments"
        found = check.answer(advantages, *given, gamma, lam, call=call)
        check.close(found, mixture(rewards, values, reached, terminated, truncated, gamma, lam), call, rtol=1e-7, atol=1e-9, why="be the mean of all distances, within the episode")
        check.that(found.dtype == np.float64, f"{call}: have the dtype of the values")
        found = check.answer(advantages, *given, gamma, 0.0, call=f"{call}, lam 0")
        check.close(found, rewards + gamma * np.where(terminated, 0, reached) - values, f"{call}, lam 0", rtol=1e-8, atol=1e-10, why="look one step ahead")
        found = check.answer(advantages, *given, gamma, 1.0, call=f"{call}, lam 1")
        check.close(found, mixture(rewards, values, reached, terminated, truncated, gamma, 1.0), f"{call}, lam 1", rtol=1e-7, atol=1e-9, why="add up the rewards until the end of the episode or of the rows")
        found = check.answer(advantages, *given, call=f"{call}, without gamma and lam")
        check.close(found, mixture(rewards, values, reached, terminated, truncated, 0.99, 0.95), f"{call}, without gamma and lam", rtol=1e-7, atol=1e-9, why="take 0.99 and 0.95")
single = [one.float() if one.dtype == torch.float64 else one for one in given]
check.that(check.answer(advantages, *single, call="advantages(...) in float32").dtype == np.float32, "advantages(...) in float32: have the dtype of the values")
free = [torch.from_numpy(rng.normal(size=(5, 2))) for _ in range(3)]
flags = [torch.from_numpy(rng.random((5, 2)) < 0.3) for _ in range(2)]
call = "advantages, lam 0, where what was reached is not the next row"
found = check.answer(advantages, *free, *flags, 0.9, 0.0, call=call)
check.close(found, free[0] + 0.9 * torch.where(flags[0], 0.0, free[2]) - free[1], call, rtol=1e-8, atol=1e-10, why="take the value of what was reached, not the next row's")
# A chain whose exact values are known by dynamic programming: what is expected has no advantage.
pay, gamma = rng.normal(size=6), 0.8
exact = np.linalg.solve(np.eye(6) - gamma * np.eye(6, k=1), pay)
rows = [torch.from_numpy(np.repeat(one[:, None], 2, 1)) for one in (pay, exact, np.append(exact[1:], 9.0))]
end = torch.zeros(6, 2, dtype=torch.bool)
end[-1] = True
for lam in (0.0, 0.6, 1.0):
    call = f"advantages along a chain with its exact values, lam {lam}"
    check.close(check.answer(advantages, *rows, end, end & ~end, gamma, lam, call=call), np.zeros((6, 2)), call, atol=1e-9, why="be 0: what is expected is no surprise")
more = rows[0].clone()
more[3] += 2.0
call = "advantages along a chain that paid 2 more at step 3, lam 1"
check.close(check.answer(advantages, more, *rows[1:], end, end & ~end, gamma, 1.0, call=call)[:, 0], [2 * 0.8**3, 2 * 0.8**2, 1.6, 2.0, 0, 0], call, atol=1e-9, why="tell those before of the surprise, discounted, and those after nothing")
cut = torch.arange(5)[:, None].expand(5, 2) == 2
ten = torch.full((5, 2), 10.0, dtype=torch.float64)
call = "advantages of an endless reward of 1 that the clock cuts"
check.close(check.answer(advantages, torch.ones_like(ten), ten, ten, cut & ~cut, cut, 0.9, 0.7, call=call), np.zeros((5, 2)), call, atol=1e-9, why="be 0: else the clock is taken for an end")
wide, narrow = torch.float64, torch.float32
for of_rewards, of_values in ((wide, narrow), (narrow, wide)):
    numbers = [torch.from_numpy(rng.normal(size=(3, 2))) for _ in range(3)]
    no = torch.zeros(3, 2, dtype=torch.bool)
    call = f"advantages of rewards in {of_rewards} and values in {of_values}"
    found = check.answer(advantages, numbers[0].to(of_rewards), *(one.to(of_values) for one in numbers[1:]), no, no, call=call)
    check.that(found.dtype == (np.float32 if of_values == narrow else np.float64), f"{call}: have the dtype of the values")
rewards, values, reached = (torch.from_numpy(rng.normal(size=(4, 2))) for _ in range(3))
both = torch.tensor([[False, True], [True, False], [False, False], [False, False]])
call = "advantages where both flags are set in the midst of the rows"
found = check.answer(advantages, rewards, values, reached, both, both, 0.9, 0.8, call=call)
check.close(found[1, 0], rewards[1, 0] - values[1, 0], f"the step of {call}", rtol=1e-9, why="end as a termination")
check.close(found[0, 1], rewards[0, 1] - values[0, 1], f"the step of {call}", rtol=1e-9, why="end as a termination")
### END HIDDEN TESTS

# %% mutant="advantage" why="a truncation as a termination"
# - errors = rewards + gamma * torch.where(terminated, torch.zeros_like(reached), reached) - values
# + errors = rewards + gamma * torch.where(terminated | truncated, torch.zeros_like(reached), reached) - values

# %% mutant="advantage" why="counts the value behind a termination"
# - errors = rewards + gamma * torch.where(terminated, torch.zeros_like(reached), reached) - values
# + errors = rewards + gamma * reached - values

# %% mutant="advantage" why="goes on behind a truncation"
# - ended = terminated | truncated
# + ended = terminated

# %% mutant="advantage" why="goes on behind a termination"
# - ended = terminated | truncated
# + ended = truncated

# %% mutant="advantage" why="forgets lambda"
# - last = errors[t] + gamma * lam * torch.where(ended[t], torch.zeros_like(last), last)
# + last = errors[t] + gamma * torch.where(ended[t], torch.zeros_like(last), last)

# %% mutant="advantage" why="forgets the discount of later errors"
# - last = errors[t] + gamma * lam * torch.where(ended[t], torch.zeros_like(last), last)
# + last = errors[t] + lam * torch.where(ended[t], torch.zeros_like(last), last)

# %% mutant="advantage" why="gives targets"
# - return found
# + return found + values

# %% mutant="advantage" why="the flags of the step before"
# - last = errors[t] + gamma * lam * torch.where(ended[t], torch.zeros_like(last), last)
# + last = errors[t] + gamma * lam * torch.where(ended[t - 1], torch.zeros_like(last), last)

# %% mutant="advantage" why="from the beginning"
# - for t in reversed(range(len(values))):
# + for t in range(len(values)):

# %% mutant="advantage" why="the next row's value"
# - errors = rewards + gamma * torch.where(terminated, torch.zeros_like(reached), reached) - values
# + following = torch.cat([values[1:], reached[-1:]])
# + errors = rewards + gamma * torch.where(terminated, torch.zeros_like(following), following) - values

# %% mutant="advantage" why="a mean that does not add up to 1"
# - last = errors[t] + gamma * lam * torch.where(ended[t], torch.zeros_like(last), last)
# + last = (1 - lam) * errors[t] + gamma * lam * torch.where(ended[t], torch.zeros_like(last), last)

# %% mutant="advantage" why="of the dtype of the rewards"
# - found, last = torch.zeros_like(values), torch.zeros_like(values[0])
# + found, last = torch.zeros_like(rewards), torch.zeros_like(values[0])

# %% mutant="advantage" why="two flags cancel each other"
# - errors = rewards + gamma * torch.where(terminated, torch.zeros_like(reached), reached) - values
# - ended = terminated | truncated
# + errors = rewards + gamma * torch.where(terminated, torch.zeros_like(reached), reached) - values
# + ended = terminated ^ truncated


# %% alternative="advantage" why="a matrix of powers for each environment"
def advantages(rewards, values, reached, terminated, truncated, gamma=0.99, lam=0.95):
    alive = 1 - terminated.to(values)
    errors = rewards + gamma * alive * reached - values
    steps = len(values)
    episode = torch.cat([torch.zeros_like(terminated[:1]), terminated | truncated])[:-1].cumsum(0)
    ahead = torch.arange(steps)[None] - torch.arange(steps)[:, None]
    weights = torch.where(ahead >= 0, (gamma * lam) ** ahead.clamp(min=0).to(values), 0.0)
    same = (episode[:, None] == episode[None]).to(errors)
    return torch.einsum("ts,tsi,si->ti", weights.to(errors), same, errors).to(values.dtype)


# %% [markdown]
# Two critics of a noisy walk of ten steps: one that knows nothing, one that is nearly right. How far off is an advantage of your function, as the root of the mean square over 2,000 walks, for each $\lambda$? The true ones are computed by dynamic programming.

# %% [markdown] lang="ru"
# Два критика шумной прогулки в десять шагов: один не знает ничего, другой почти прав. Насколько ошибается преимущество из вашей функции — корень из среднего квадрата по 2000 прогулок — при разных $\lambda$? Истинные ценности найдены динамическим программированием.

# %%
noise, gamma = np.random.default_rng(0), 0.95
exact = np.linalg.solve(np.eye(10) - gamma * np.eye(10, k=1), np.ones(10))  # a reward of 1 on average
rewards = torch.from_numpy(1 + noise.normal(0, 1, size=(10, 2000)))
ends = torch.zeros(10, 2000, dtype=torch.bool)
ends[-1] = True
lambdas, lines = np.linspace(0, 1, 11), {}
for name, critic in {"knows nothing": np.zeros(10), "is nearly right": exact + noise.normal(0, 0.3, size=10)}.items():
    rows = torch.from_numpy(critic)[:, None].expand(-1, 2000)
    behind = torch.cat([rows[1:], rows[:1] * 0])
    lines[name] = []
    for lam in lambdas:
        found = advantages(rewards, rows.clone(), behind, ends, ends & ~ends, gamma, float(lam)) + rows
        lines[name].append(float(((found - torch.from_numpy(exact)[:, None]) ** 2).mean().sqrt()))
    print(f"a critic that {name}: least error {min(lines[name]):.2f} at lambda {lambdas[int(np.argmin(lines[name]))]:.1f}")
plots.curves({name: (lambdas, values) for name, values in lines.items()}, "Whom to believe", "λ", "error")
plots.show("Errors over lambda: for the critic that knows nothing the curve falls to its lowest point near lambda 1; for the one that is nearly right it rises from a small lambda on.")

# %% [markdown]
# ## 4. What the two learn
# The actor makes actions with an advantage more probable; the critic moves towards its targets; and the entropy keeps the actor from being sure too early. With logits $(m, k)$ of a softmax policy $\pi$, over $m$ transitions:
#
# $$L = -\operatorname{mean}\bigl( \log \pi(a)\, A \bigr) + c_v \operatorname{mean} (V - G)^2 - c_e \operatorname{mean} \mathcal H(\pi),$$
#
# $$\mathcal H(\pi) = -\sum_a \pi(a) \log \pi(a).$$
#
# Advantages and targets are **numbers** here: no gradient goes through them, else the critic could please the actor. $c_v$ is `value_weight`, $c_e$ is `entropy_weight`. Logits may be as large as $\pm 1000$: the loss and its gradient stay finite.
#
# {{task:a2c_losses}}

# %% [markdown] lang="ru"
# ## 4. Чему учатся оба
# Актёр делает действия с преимуществом вероятнее; критик движется к своим целям; энтропия не даёт актёру слишком рано стать уверенным. С логитами $(m, k)$ политики $\pi$ (softmax), по $m$ переходам:
#
# $$L = -\operatorname{mean}\bigl( \log \pi(a)\, A \bigr) + c_v \operatorname{mean} (V - G)^2 - c_e \operatorname{mean} \mathcal H(\pi),$$
#
# $$\mathcal H(\pi) = -\sum_a \pi(a) \log \pi(a).$$
#
# Преимущества и цели здесь — **числа**: градиент через них не идёт, иначе критик начнёт угождать актёру. $c_v$ — `value_weight`, $c_e$ — `entropy_weight`. Логиты бывают и $\pm 1000$: функция и её градиент остаются конечными.
#
# {{task:a2c_losses}}


# %% solution="a2c_losses"
def a2c_loss(
    logits: torch.Tensor,
    actions: torch.Tensor,
    advantages: torch.Tensor,
    values: torch.Tensor,
    targets: torch.Tensor,
    value_weight: float = 0.5,
    entropy_weight: float = 0.01,
) -> torch.Tensor:
    """What actor and critic make smaller, a number. logits: (m, k); actions: int (m,); others (m,)."""
    ### BEGIN SOLUTION
    logs = logits.log_softmax(1)
    chosen = logs.gather(1, actions[:, None])[:, 0]
    actor = -(chosen * advantages.detach()).mean()
    critic = ((values - targets.detach()) ** 2).mean()
    entropy = -(logs.exp() * logs).sum(1).mean()
    return actor + value_weight * critic - entropy_weight * entropy
    ### END SOLUTION


# %% test="a2c_losses" points=0.75 difficulty=2 minutes=20
logits, actions = torch.tensor([[0.2, 1.1, -0.7], [1.5, -0.3, 0.4]]), torch.tensor([1, 2])
gains, values, targets = torch.tensor([1.3, -0.6]), torch.tensor([0.4, 2.2]), torch.tensor([1.0, 1.7])
call = "a2c_loss of two transitions with three choices"
check.close(check.answer(a2c_loss, logits, actions, gains, values, targets, call=call), -0.0134090, call, rtol=1e-3)
call = "a2c_loss(..., value_weight=0.8, entropy_weight=0.3)"
check.close(check.answer(a2c_loss, logits, actions, gains, values, targets, value_weight=0.8, entropy_weight=0.3, call=call), -0.1715398, call)
### BEGIN HIDDEN TESTS
rng = check.rng("a2c_losses")


def by_hand(logits, actions, gains, values, targets, value_weight=0.5, entropy_weight=0.01):
    """(loss, its gradients for logits and values) of arrays, transition by transition."""
    m, k = logits.shape
    total, for_logits, for_values = 0.0, np.zeros((m, k)), np.zeros(m)
    for i in range(m):
        p = np.exp(logits[i] - logits[i].max())
        p /= p.sum()
        logs = np.log(p)
        entropy = -(p * logs).sum()
        total += -logs[actions[i]] * gains[i] + value_weight * (values[i] - targets[i]) ** 2 - entropy_weight * entropy
        for_logits[i] = gains[i] * (p - (np.arange(k) == actions[i])) + entropy_weight * p * (logs + entropy)
        for_values[i] = value_weight * 2 * (values[i] - targets[i])
    return total / m, for_logits / m, for_values / m


for m, k, options in ((5, 3, {}), (1, 2, {"value_weight": 0.7}), (4, 4, {"entropy_weight": 0.2}), (6, 2, {"value_weight": 0.0, "entropy_weight": 0.0}), (3, 5, {"value_weight": 1.3, "entropy_weight": 0.5})):
    logits, gains, values, targets = rng.normal(size=(m, k)), *rng.normal(size=(3, m))
    actions = rng.integers(k, size=m)
    given = [torch.from_numpy(one) for one in (logits, actions, gains, values, targets)]
    call = f"a2c_loss of {m} transitions with {k} choices, {options or 'without weights'}"
    want = by_hand(logits, actions, gains, values, targets, **options)
    check.close(check.answer(a2c_loss, *given, call=call, **options), want[0], call, rtol=1e-8, why="be the three parts together, each a mean")
    grads = check.gradient_of(a2c_loss, *given, call=call, **options)
    check.close(grads[0], want[1], f"the gradient of {call} for logits", rtol=1e-7, atol=1e-10, why="make actions with an advantage more probable, and the policy less sure")
    check.close(grads[1], np.zeros(m), f"the gradient of {call} for advantages", atol=1e-12, why="be none: they are numbers")
    check.close(grads[2], want[2], f"the gradient of {call} for values", rtol=1e-7, atol=1e-10, why="pull the values to the targets")
    check.close(grads[3], np.zeros(m), f"the gradient of {call} for targets", atol=1e-12, why="be none: they are numbers")
large = torch.tensor([[1000.0, -1000.0, 0.0], [-1000.0, 1000.0, 1000.0]], dtype=torch.float64)
actions, gains, nothing = torch.tensor([0, 2]), torch.tensor([2.0, -1.0]).double(), torch.zeros(2).double()
call = "a2c_loss of logits of 1000"
check.close(check.answer(a2c_loss, large, actions, gains, nothing, nothing, call=call), (-np.log(2) - 0.01 * np.log(2)) / 2, call, rtol=1e-7, why="stay finite")
check.that(np.isfinite(check.gradient_of(a2c_loss, large, actions, gains, nothing, nothing, call=call)[0]).all(), f"the gradient of {call} stays finite")
call = "a2c_loss of logits of 1000 and actions of hardly any probability"
check.close(check.answer(a2c_loss, large, torch.tensor([1, 0]), gains, nothing, nothing, call=call), (2000 - np.log(2) - 0.01 * np.log(2)) / 2, call, rtol=1e-7, why="take the logarithm as it is, however small the probability")
# The probe environments with an action: logits for each observation, and a few steps of the loss.
for name, sides in (("by action", 1), ("by action and observation", 2)):
    where, actions = np.repeat(np.arange(sides), 2), torch.arange(2 * sides) % 2
    gains = torch.from_numpy(np.where((np.arange(2 * sides) % 2 == 1) == (where == sides - 1), 1.0, -1.0))
    table, nothing = torch.zeros(sides, 2, dtype=torch.float64), torch.zeros(2 * sides, dtype=torch.float64)
    call = f"a2c_loss in the probe with a reward {name}"
    for _ in range(20):
        slope = check.gradient_of(lambda t, where=where, actions=actions, gains=gains, nothing=nothing: a2c_loss(t[where], actions, gains, nothing, nothing), table, call=call)[0]
        table = table - torch.from_numpy(slope)
    best = np.array([1] if sides == 1 else [0, 1])
    check.equal(table.numpy().argmax(1), best, call, why="prefer the action that pays, for each observation")
two, none = torch.tensor([2.0, -1.0]).double(), torch.zeros(2).double()
call = "a2c_loss of logits of 1000, where the actions were as good as impossible"
found = check.answer(a2c_loss, large, torch.tensor([1, 0]), two, none, none, call=call)
check.close(found, (2 * 2000 - 2000 - np.log(2) - 0.01 * np.log(2)) / 2, call, rtol=1e-9, why="be right: nothing is cut off")
slope = check.gradient_of(a2c_loss, large, torch.tensor([1, 0]), two, none, none, call=call)[0]
check.close(slope, [[1.0, -1.0, 0.0], [0.5, -0.25, -0.25]], f"the gradient of {call}", rtol=1e-7, atol=1e-9, why="be right: nothing is cut off")
### END HIDDEN TESTS

# %% mutant="a2c_losses" why="makes good actions less probable"
# - actor = -(chosen * advantages.detach()).mean()
# + actor = (chosen * advantages.detach()).mean()

# %% mutant="a2c_losses" why="a gradient through the advantages"
# - actor = -(chosen * advantages.detach()).mean()
# + actor = -(chosen * advantages).mean()

# %% mutant="a2c_losses" why="a gradient through the targets"
# - critic = ((values - targets.detach()) ** 2).mean()
# + critic = ((values - targets) ** 2).mean()

# %% mutant="a2c_losses" why="punishes entropy"
# - return actor + value_weight * critic - entropy_weight * entropy
# + return actor + value_weight * critic + entropy_weight * entropy

# %% mutant="a2c_losses" why="probabilities for their logarithms"
# - chosen = logs.gather(1, actions[:, None])[:, 0]
# + chosen = logs.exp().gather(1, actions[:, None])[:, 0]

# %% mutant="a2c_losses" why="sums over the transitions"
# - actor = -(chosen * advantages.detach()).mean()
# + actor = -(chosen * advantages.detach()).sum()

# %% mutant="a2c_losses" why="the entropy of the chosen action alone"
# - entropy = -(logs.exp() * logs).sum(1).mean()
# + entropy = -chosen.mean()

# %% mutant="a2c_losses" why="the entropy as a mean over choices"
# - entropy = -(logs.exp() * logs).sum(1).mean()
# + entropy = -(logs.exp() * logs).mean()

# %% mutant="a2c_losses" why="softmax, then a logarithm: not finite"
# - logs = logits.log_softmax(1)
# + logs = logits.softmax(1).log()

# %% mutant="a2c_losses" why="no probability below 1e-8"
# - logs = logits.log_softmax(1)
# + logs = logits.softmax(1).clamp(min=1e-8).log()

# %% mutant="a2c_losses" why="softmax over the batch"
# - logs = logits.log_softmax(1)
# + logs = logits.log_softmax(0)

# %% mutant="a2c_losses" why="the critic's weight twice"
# - critic = ((values - targets.detach()) ** 2).mean()
# + critic = ((values - targets.detach()) ** 2).mean() / 2

# %% mutant="a2c_losses" why="each action with each advantage"
# - actor = -(chosen * advantages.detach()).mean()
# + actor = -(chosen[:, None] * advantages.detach()).mean()

# %% mutant="a2c_losses" why="no gradient to the critic"
# - critic = ((values - targets.detach()) ** 2).mean()
# + critic = ((values.detach() - targets.detach()) ** 2).mean()

# %% mutant="a2c_losses" why="chances of at least 1e-8"
# - logs = logits.log_softmax(1)
# + logs = logits.softmax(1).clamp_min(1e-8).log()

# %% mutant="a2c_losses" why="logits of at most 100"
# - logs = logits.log_softmax(1)
# + logs = logits.clamp(-100, 100).log_softmax(1)


# %% alternative="a2c_losses" why="torch's distributions and losses"
def a2c_loss(logits, actions, advantages, values, targets, value_weight=0.5, entropy_weight=0.01):
    policy = torch.distributions.Categorical(logits=logits)
    actor = (nn.functional.cross_entropy(logits, actions, reduction="none") * advantages.detach()).mean()
    return actor + value_weight * nn.functional.mse_loss(values, targets.detach()) - entropy_weight * policy.entropy().mean()


# %% alternative="a2c_losses" why="logsumexp and one-hot"
def a2c_loss(logits, actions, advantages, values, targets, value_weight=0.5, entropy_weight=0.01):
    with torch.no_grad():
        gains, goals = advantages.clone(), targets.clone()
    logs = logits - torch.logsumexp(logits, dim=1, keepdim=True)
    picked = (logs * nn.functional.one_hot(actions, logits.shape[1])).sum(dim=1)
    parts = -picked * gains + value_weight * (values - goals).square() + entropy_weight * (torch.softmax(logits, 1) * logs).sum(1)
    return parts.sum() / len(parts)


# %% [markdown]
# What is the entropy good for? A bandit with two arms that pay 1.0 and 1.1, an actor that is nearly sure of the worse one, and your loss with exact advantages: the probability of the better arm, step by step.

# %% [markdown] lang="ru"
# Зачем нужна энтропия? Бандит с двумя рычагами, которые платят 1,0 и 1,1, актёр, почти уверенный в худшем, и ваша функция потерь с точными преимуществами: вероятность лучшего рычага, шаг за шагом.

# %%
lines, arms, pay = {}, torch.tensor([0, 1]), torch.tensor([1.0, 1.1])
draws = torch.Generator().manual_seed(0)
for weight in (0.0, 0.01, 0.1):
    logits, told = torch.tensor([4.0, 0.0], requires_grad=True), []
    for _ in range(400):
        p = logits.detach().softmax(0)
        told.append(float(p[1]))
        arms = torch.multinomial(p, 64, replacement=True, generator=draws)
        gains = pay[arms] - (p * pay).sum()
        loss = a2c_loss(logits.expand(64, 2), arms, gains, torch.zeros(64), torch.zeros(64), entropy_weight=weight)
        (slope,) = torch.autograd.grad(loss, logits)
        logits = (logits - 2.0 * slope).detach().requires_grad_()
    lines[f"entropy weight {weight}"] = told
    print(f"entropy weight {weight:4}: the better arm has probability {told[-1]:.2f} at the end")
plots.curves(lines, "Two arms", "step", "probability of the better arm")
plots.show("The probability of the better arm over steps: without entropy it rises slowly, with a small weight sooner, and with a large weight it levels off below 1.")

# %% [markdown]
# ## 5. All parts together
# Two small networks and a loop around your four functions: play, look back, learn once, throw away. Rewards are multiplied by `size`, so that values are near 1; that leaves their order as it was. The critic's targets look as far as the rows go, $k = T$.

# %% [markdown] lang="ru"
# ## 5. Все части вместе
# Две маленькие сети и цикл вокруг ваших четырёх функций: сыграть, оглянуться, один раз поучиться, выбросить. Награды умножены на `size`, чтобы ценности были около 1; на их порядок это не влияет. Цели критика смотрят до конца строк, $k = T$.

# %%
class ActorCritic(nn.Module):
    """Logits of choices; beside it, values."""

    def __init__(self, observations: int, choices: int, width: int = 64) -> None:
        super().__init__()
        self.actor = self.small(observations, width, choices)
        self.critic = self.small(observations, width, 1)

    @staticmethod
    def small(inputs: int, width: int, outputs: int) -> nn.Module:
        """A network of two hidden layers."""
        return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Logits (n, k) for observations (n, d)."""
        return self.actor(observations)


# %%
def a2c(envs, seen, model, updates, steps=16, gamma=0.99, lam=0.95, rate=3e-3, entropy_weight=0.01, size=1.0, seed=0, **parts):
    """Train a model; the mean return of the latest 30 episodes after each update (updates,)."""
    use = {"play": play, "targets": n_step_targets, "advantages": advantages, "loss": a2c_loss} | parts
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    n = len(seen)
    ended, played, latest, curve = np.zeros(n, dtype=bool), np.zeros(n), [], []

    @torch.no_grad()
    def act(observations):
        """Choices by chance, as probable as the actor says."""
        p = model(torch.from_numpy(observations)).softmax(1)
        return torch.multinomial(p, 1, generator=generator)[:, 0].numpy()

    for update in range(updates):
        optimiser.param_groups[0]["lr"] = rate * (1 - update / updates)
        rows, seen, ended = use["play"](envs, act, seen, ended, steps)
        for t in range(steps):
            played = np.where(rows["valid"][t], played + rows["reward"][t], 0.0)
            over = rows["valid"][t] & (rows["terminated"][t] | rows["truncated"][t])
            latest = [*latest, *played[over]][-30:]
            played = np.where(over, 0.0, played)
        data = {name: torch.from_numpy(value) for name, value in rows.items()}
        reward = size * data["reward"].float()
        with torch.no_grad():
            values, reached = model.critic(data["seen"])[..., 0], model.critic(data["reached"])[..., 0]
            goals = use["targets"](reward, reached, data["terminated"], data["truncated"], gamma, steps)
            gains = use["advantages"](reward, values, reached, data["terminated"], data["truncated"], gamma, lam)
        some = data["valid"]
        gains = (gains[some] - gains[some].mean()) / (gains[some].std() + 1e-8)
        loss = use["loss"](model(data["seen"][some]), data["action"][some], gains, model.critic(data["seen"][some])[:, 0], goals[some], 0.5, entropy_weight)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimiser.step()
        curve.append(float(np.mean(latest)) if latest else np.nan)
    return np.array(curve)


# %% [markdown]
# ## 6. Five tiny environments
# If nothing is learned, which part is wrong? The curve does not say; tiny [probe environments](glossary:probe-environment) do. Each is solved within a second if the part that it asks for is right. Episodes of one step (the third: of two):
#
# 1. **constant reward** 1: the value is 1. Wrong? Then ends are not ends.
# 2. **reward by observation**: the value is the observation. Wrong? Then observations get to the wrong steps.
# 3. **delayed** reward, at the second step: the values are $\gamma$ and 1. Wrong? Then the discount is.
# 4. **reward by action**: the second action is the better one. Wrong? Then it is the actor's loss.
# 5. **by both**: the better action depends on the observation. Only this one is wrong? Then the actor does not see.

# %% [markdown] lang="ru"
# ## 6. Пять крошечных сред
# Если ничему не научились, какая часть неверна? По кривой не видно; видно по крошечным [пробным средам](glossary:probe-environment) (probe environments). Каждая решается за секунду, если верна часть, о которой она спрашивает. Эпизоды в один шаг (в третьей — в два):
#
# 1. **постоянная награда** 1: ценность равна 1. Неверно? Значит, концы эпизодов — не концы.
# 2. **награда по наблюдению**: ценность равна наблюдению. Неверно? Значит, наблюдения попадают не к тем шагам.
# 3. **отложенная** награда, на втором шаге: ценности $\gamma$ и 1. Неверно? Значит, дело в дисконте.
# 4. **награда по действию**: второе действие лучше. Неверно? Значит, дело в функции потерь актёра.
# 5. **по тому и другому**: лучшее действие зависит от наблюдения. Неверно только здесь? Значит, актёр слеп.

# %% [markdown]
# Eight mistakes, planted into *your* parts. In a cell stands the largest error of the values, or the largest probability of a wrong action; red is above 0.1.

# %% [markdown] lang="ru"
# Восемь ошибок, подложенных в *ваши* части. В клетке — наибольшая ошибка ценностей или наибольшая вероятность неверного действия; красное — больше 0,1.

# %%
def everything_counts(*arguments):
    """Takes the steps after ends for transitions."""
    rows, seen, ended = play(*arguments)
    return rows | {"valid": np.ones_like(rows["valid"])}, seen, ended


def late(*arguments):
    """Observations come a step late."""
    rows, seen, ended = play(*arguments)
    return rows | {"seen": np.roll(rows["seen"], 1, 0)}, seen, ended


def mixed(logits, actions, *rest):
    """Actions of other transitions."""
    return a2c_loss(logits, actions.roll(1), *rest)


class Blind(nn.Module):
    """Sees nothing."""

    def forward(self, x):
        return 0 * x


planted = {
    "nothing planted": {},
    "the step after an end counts": {"play": everything_counts},
    "an end is no end": {"targets": lambda r, v, end, cut, g, k: n_step_targets(r, v, end & ~end, cut & ~cut, g, k)},
    "no discount": {"targets": lambda r, v, end, cut, g, k: n_step_targets(r, v, end, cut, 1.0, k)},
    "observations come late": {"play": late},
    "the loss upside down": {"loss": lambda logits, a, gains, *rest: a2c_loss(logits, a, -gains, *rest)},
    "actions of others": {"loss": mixed},
    "a blind actor": {"blind": True},
    "a truncation is an end": {"targets": lambda r, v, end, cut, g, k: n_step_targets(r, v, end | cut, cut, g, k)},
}


def probed(kind, blind=False, gamma=0.5, **parts):
    """The largest error of values, or probability of a wrong action, after a short training."""
    torch.manual_seed(0)
    envs, model = week13.ProbeChoices(kind, 32, seed=kind), ActorCritic(1, 2, width=16)
    if blind:
        model.actor = nn.Sequential(Blind(), model.actor)
    a2c(envs, envs.reset()[0], model, 120, steps=8, gamma=gamma, rate=0.03, entropy_weight=0.0, **parts)
    seen, values, actions = envs.truth(gamma)
    with torch.no_grad():
        x = torch.from_numpy(seen)
        if values is not None:
            return float(np.abs(model.critic(x)[:, 0].numpy() - values).max())
        return float(1 - model(x).softmax(1).numpy()[np.arange(len(x)), actions].min())


errors = np.array([[probed(kind, **parts) for kind in range(1, 6)] for parts in planted.values()])
week13.diagnosis(errors, list(planted), week13.ProbeChoices.names, 0.1)
plots.show("A table of nine rows and five probe environments. The first row is right everywhere; most planted mistakes are wrong in a pattern of their own; the last row, a truncation taken for an end, is right everywhere.")

# %% [markdown]
# No probe notices the last one, since no clock cuts any of them: a test tells only of what happens in it. On a cart with a pole, an episode that goes well *is* cut, after 500 steps. The same training without one part each:

# %% [markdown] lang="ru"
# Последнюю не замечает ни одна проба: часы не обрывают ни одну из них, а проверка говорит лишь о том, что в ней происходит. Тележку с шестом, если дело идёт хорошо, через 500 шагов *обрывают*. То же обучение, каждый раз без одной части:

# %%
variants = {
    "all parts": {},
    "the step after an end counts": planted["the step after an end counts"],
    "a truncation is an end": planted["a truncation is an end"]
    | {"advantages": lambda r, v, after, end, cut, g, l: advantages(r, v, after, end | cut, cut, g, l)},
    "one step ahead, λ = 0": {"lam": 0.0, "targets": lambda r, v, end, cut, g, k: n_step_targets(r, v, end, cut, g, 1)},
}
trials = {name: [] for name in variants}
for name, parts in variants.items():
    for seed in range(2):
        torch.manual_seed(seed)
        envs, seen = week13.vector("CartPole-v1", 16, seed)
        trials[name].append(a2c(envs, seen, ActorCritic(4, 2), settings["trial"], seed=seed, **parts))
    print(f"{name:29}: the latest returns at the end {trials[name][0][-1]:4.0f} and {trials[name][1][-1]:4.0f}")
week13.learning(trials, 16 * 16)
plots.show("Curves of the returns of carts with poles over environment steps, for all parts and without one each.")

# %% [markdown]
# Two seeds are few, and CartPole is moody: look which differences are larger than those between two runs of the same row, and trust only these.
#
# ## 7. The exam: feet over the bar
# An acrobot is two rods in a row; only the joint between them has a motor, and the lower end has to get as far above the bar as one rod is long. Each step costs 1, and after 500 the clock cuts. The next cell trains three agents, takes the one whose returns were highest at the end of its **training**, and saves it as `a2c.safetensors`. Build the network in `player()`: raw observations $(n, d)$ to logits $(n, k)$; in eval mode, the action with the largest one is taken. The world is `Acrobot-v1`, $d = 6$, $k = 3$; `full` only trains for longer.
#
# In the exam your agent plays 80 episodes with seeds that nobody has seen and hands in its **actions**. They are replayed elsewhere, in an environment of gymnasium's own: what your process says about rewards does not count. An action that does not exist is replayed as doing nothing.

# %% [markdown] lang="ru"
# Два запуска — это мало, и CartPole капризна: посмотрите, какие различия больше, чем между двумя запусками одной строки, и верьте только им.
#
# ## 7. Экзамен: ноги выше перекладины
# Акробот — два стержня один за другим; мотор есть только в суставе между ними, а нижний конец должен подняться над перекладиной на длину стержня. Каждый шаг стоит 1, после 500 часы обрывают эпизод. Следующая ячейка обучит трёх агентов, возьмёт того, у кого к концу **обучения** награды были выше всех, и сохранит его как `a2c.safetensors`. Сеть постройте в `player()`: сырые наблюдения $(n, d)$ в логиты $(n, k)$; в режиме eval берётся действие с наибольшим. Мир — `Acrobot-v1`, $d = 6$, $k = 3$; `full` лишь учит дольше.
#
# На экзамене ваш агент играет 80 эпизодов с начальными числами, которых никто не видел, и сдаёт свои **действия**. Их повторяют в другом месте, в собственной среде gymnasium: что говорит о наградах ваш процесс, не важно. Несуществующее действие повторяют как «ничего не делать».

# %% [markdown]
# Milestones in `small`: a mean return of more than −400 and more than −200 gives 0.25 points each, of more than −120 it gives 0.5 more. For comparison: nothing done and choices by chance −500, the best of 60 linear policies by chance about −110, this notebook's training, ten seeds, −79 to −99. In `full` the last milestone is −100.
#
# - `ActorCritic` is a start; it can stay as it is. Settings and the way of training are yours, as long as the agent is a network with its weights in the file (at most 1 MB).
# - What it does for an observation depends on nothing else: no noise, no memory, no neighbours in the batch.
# - In the exam there are your imports, functions, classes and constants, the cell of `player` and the file; no variables of other cells, no files opened.
#
# {{task:player}}

# %% [markdown] lang="ru"
# Рубежи в `small`: средняя награда больше −400 и больше −200 даёт по 0,25 балла, больше −120 — ещё 0,5. Для сравнения: ничего не делать и действовать случайно — −500, лучшая из 60 случайных линейных политик — около −110, обучение из этого ноутбука, десять запусков, — от −79 до −99. В `full` последний рубеж — −100.
#
# - `ActorCritic` — начало; можно его таким и оставить. Настройки и способ обучения выбираете вы — лишь бы агент был сетью, веса которой лежат в файле (не больше 1 МБ).
# - Действие зависит только от наблюдения: ни шума, ни памяти, ни соседей по батчу.
# - На экзамене есть ваши импорты, функции, классы и константы, ячейка `player` и файл; никаких переменных из других ячеек, никаких открытых файлов.
#
# {{task:player}}


# %% solution="player"
def player() -> nn.Module:
    """A new, untrained agent: raw observations (n, d) -> logits (n, k)."""
    ### BEGIN SOLUTION
    return ActorCritic(world.observations, world.choices)
    ### END SOLUTION


# %% tags=["training"]
seed_everything(0)
runs = []
for seed in range(3):
    torch.manual_seed(seed)
    model = player()
    envs, seen = week13.vector(world.name, settings["envs"], seed)
    runs.append((model, a2c(envs, seen, model, settings["updates"], settings["steps"], rate=settings["rate"], size=settings["size"], seed=seed)))
    print(f"seed {seed}: the latest returns at the end of the training {runs[-1][1][-1]:.0f}")
best = max(runs, key=lambda run: run[1][-1])[0]
print(f"saved: {week13.PLAYERS[profile].save(best).name}")

# %% test="player" points=1 difficulty=3 minutes=30 exam=true
contract = week13.PLAYERS[profile]
contract.check(contract.build(player), check.rng("player"))


def untrained(make):
    """What a new agent says; equal code gives equal numbers."""
    torch.manual_seed(0)
    with torch.no_grad():
        return contract.build(make)(torch.linspace(-1, 1, 4 * contract.world.observations).reshape(4, -1))


check.stands_alone(player, "player", untrained)
loaded = contract.load(contract.build(player))
contract.check(loaded, check.rng("player"))
### BEGIN HIDDEN TESTS
actions, _ = contract.play(loaded, check.private("player")["seeds"])
check.hand_in("player", actions)
### END HIDDEN TESTS

# %% mutant="player" why="another width than it was trained with"
# - return ActorCritic(world.observations, world.choices)
# + return ActorCritic(world.observations, world.choices, width=48)

# %% mutant="player" why="takes the worst action"
# - return ActorCritic(world.observations, world.choices)
# + class Worst(ActorCritic):
# +     def forward(self, observations):
# +         return -super().forward(observations)
# +
# + return Worst(world.observations, world.choices)

# %% mutant="player" why="draws its actions"
# - return ActorCritic(world.observations, world.choices)
# + class Draws(ActorCritic):
# +     def forward(self, observations):
# +         return super().forward(observations) - torch.empty(len(observations), 3).exponential_().log()
# +
# + return Draws(world.observations, world.choices)

# %% mutant="player" why="gives actions in place of logits"
# - return ActorCritic(world.observations, world.choices)
# + class Chosen(ActorCritic):
# +     def forward(self, observations):
# +         return super().forward(observations).argmax(1)
# +
# + return Chosen(world.observations, world.choices)

# %% mutant="player" why="the critic's value for all actions"
# - return ActorCritic(world.observations, world.choices)
# + class Value(ActorCritic):
# +     def forward(self, observations):
# +         return self.critic(observations).expand(-1, world.choices)
# +
# + return Value(world.observations, world.choices)

# %% mutant="player" why="does not see the speeds"
# - return ActorCritic(world.observations, world.choices)
# + class Still(ActorCritic):
# +     def forward(self, observations):
# +         return super().forward(observations * (torch.arange(observations.shape[1]) < 4))
# +
# + return Still(world.observations, world.choices)

# %% mutant="player" why="logits of the mean of the batch"
# - return ActorCritic(world.observations, world.choices)
# + class Mean(ActorCritic):
# +     def forward(self, observations):
# +         return super().forward(observations - observations.mean(0))
# +
# + return Mean(world.observations, world.choices)


# %% alternative="player" why="a class of its own, probabilities' logarithms"
class Plays(nn.Module):
    def __init__(self):
        super().__init__()
        inner = ActorCritic(world.observations, world.choices)
        self.actor, self.critic = inner.actor, inner.critic

    def forward(self, observations):
        return self.actor(observations).log_softmax(-1)


def player():
    return Plays()


# %% [markdown]
# How did the training go, and what would the exam pay? The median of the three and the band between the worst and the best; then 20 public episodes.

# %% [markdown] lang="ru"
# Как шло обучение и сколько дал бы экзамен? Медиана трёх и полоса от худшего до лучшего; затем 20 открытых эпизодов.

# %% tags=["training"]
loaded = week13.PLAYERS[profile].load(week13.PLAYERS[profile].build(player))
actions, returns = week13.PLAYERS[profile].play(loaded, range(20))
print(week13.reached(float(returns.mean()), profile, week13.PLAY_SCALE), "\n(on public seeds)")
again = week13.replayed(world, actions, range(20))
print(f"its actions, replayed in new environments, earn the same: {bool(np.allclose(returns, again))}")
lines = {"nothing done": -500, "every milestone": week13.PLAY_SCALE.accuracies[profile][-1]}
week13.learning({"three seeds": [curve for _, curve in runs]}, settings["steps"] * settings["envs"], lines)
plots.show("Returns over environment steps, the median of three seeds with a band: they rise steeply from the bottom and flatten out near the top.")

# %% [markdown]
# And this is what it looks like, for a friend: one episode in twenty pictures. The motor cannot lift the feet, so the agent swings.

# %% [markdown] lang="ru"
# А вот как это выглядит — для друга: один эпизод в двадцати картинках. Мотору ноги не поднять, и агент раскачивается.

# %% tags=["training"]
loaded = week13.PLAYERS[profile].load(week13.PLAYERS[profile].build(player))
pictures = week13.film(world, lambda seen: week13.PLAYERS[profile].act(loaded, seen), seed=3, frames=20)
plots.images(pictures, columns=10, size=1.1)
plots.show("Twenty pictures of one episode: two rods hang from a bar, swing further and further, and the lower end rises above the line.")

# %% [markdown]
# **What to take along.** The rows that a vector environment gives are not all steps, and an end is not always an end. How far to look ahead is a question of whom to believe, critic or rewards. Test each part on numbers that you know, all of them on five tiny worlds, and the whole on several seeds. PPO, next door, takes more than one step from the same rows: what that needs is its topic.

# %% [markdown] lang="ru"
# **Что запомнить.** Не всё, что даёт векторная среда, — шаги, и не всякий конец — конец. Как далеко смотреть — вопрос, кому верить: критику или наградам. Проверяйте каждую часть на числах, которые вы знаете, все вместе — на пяти крошечных мирах, а целое — на нескольких запусках. PPO по соседству делает по тем же строкам больше одного шага; что для этого нужно — его тема.

# %% [markdown]
# **Sources**
# - V. Mnih et al. [Asynchronous methods for deep reinforcement learning](https://arxiv.org/abs/1602.01783). ICML 2016: §4.2.
# - J. Schulman et al. [High-dimensional continuous control using generalized advantage estimation](https://arxiv.org/abs/1506.02438). ICLR 2016: §3.
# - F. Pardo et al. [Time limits in reinforcement learning](https://arxiv.org/abs/1712.00378). ICML 2018: §3.
# - R. Sutton. [Generalization in reinforcement learning](https://papers.nips.cc/paper/1995/hash/8f1d43620bc6bb580df6e80b0dc05c48-Abstract.html). NeurIPS 1995: the acrobot.
# - The probe environments are A. Jones's, in [Debugging RL, without the agonizing pain](https://andyljones.com/posts/rl-debugging.html).

# %% [markdown] lang="ru"
# **Источники**
# - V. Mnih и др. [Asynchronous methods for deep reinforcement learning](https://arxiv.org/abs/1602.01783). ICML 2016: §4.2.
# - J. Schulman и др. [High-dimensional continuous control using generalized advantage estimation](https://arxiv.org/abs/1506.02438). ICLR 2016: §3.
# - F. Pardo и др. [Time limits in reinforcement learning](https://arxiv.org/abs/1712.00378). ICML 2018: §3.
# - R. Sutton. [Generalization in reinforcement learning](https://papers.nips.cc/paper/1995/hash/8f1d43620bc6bb580df6e80b0dc05c48-Abstract.html). NeurIPS 1995: акробот.
# - Пробные среды придумал A. Jones: [Debugging RL, without the agonizing pain](https://andyljones.com/posts/rl-debugging.html).
