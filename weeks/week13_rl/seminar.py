# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Learning by trying
# Nobody tells the right answer here. An agent acts, the world answers with a number, and often it comes much later. First you know the world and compute the best behaviour exactly; then you know nothing and learn from single steps; you ask how much trying is worth; you learn to drive from a teacher, and see why watching is not enough; and at the end a stick is balanced by a method that needs no gradients at all. Each task is checked; nothing is graded.

# %% [markdown] lang="ru"
# # Учиться, пробуя
# Здесь никто не подсказывает правильный ответ. Агент действует, мир отвечает числом — и часто намного позже. Сначала мир известен, и лучшее поведение вычисляется точно; потом не известно ничего, и учиться приходится по отдельным шагам; вы спросите, сколько стоят пробы; научитесь водить машину у учителя и увидите, почему мало смотреть; а в конце шест удержит метод, которому градиенты вообще не нужны. Каждое задание проверяется, но баллов за них нет.

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
    "small": {"seeds": 10, "episodes": 300, "bandits": 60, "pulls": 1000, "rounds": 5, "drives": 3, "updates": 12},
    "full": {"seeds": 50, "episodes": 1000, "bandits": 500, "pulls": 5000, "rounds": 10, "drives": 10, "updates": 60},
}[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Each task can be solved without the others. Functions leave their arguments as they were.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Каждое задание можно решить без остальных. Функции не меняют своих аргументов.

# %% [markdown]
# ## 1. A world that is known
# [Decision making](glossary:decision-making): an [agent](glossary:agent) sees a state $s$ of its [environment](glossary:environment), takes an action $a$, gets a reward $r$ and is in a new state $s'$, by chances $P(s' \mid s, a)$ that depend on nothing else: a Markov decision process. It wants the largest sum of rewards, each step later worth $\gamma < 1$ times as much (the [discount](glossary:reward-discount)). The value of a state is what the best behaviour gets from there, and it obeys **Bellman's equation** (1957):
#
# $$V(s) = \max_a \Bigl[ R(s, a) + \gamma \sum_{s'} P(s' \mid s, a)\, V(s') \Bigr].$$
#
# `value_iteration` starts from $V = 0$ and puts $V$ into the right-hand side, for all states at once, until in one such sweep no value has changed by more than `tolerance`. It gives the last $V$ and the actions that are best by it, the first one where several are.
#
# {{task:value_iteration}}

# %% [markdown] lang="ru"
# ## 1. Известный мир
# [Принятие решений](glossary:decision-making) (decision making): [агент](glossary:agent) (agent) видит состояние $s$ [среды](glossary:environment) (environment), совершает действие $a$, получает награду $r$ и попадает в новое состояние $s'$ с вероятностями $P(s' \mid s, a)$, которые больше ни от чего не зависят, — это марковский процесс принятия решений. Он хочет наибольшую сумму наград, причём каждый следующий шаг стоит в $\gamma < 1$ раз меньше ([дисконтирование](glossary:reward-discount), reward discount). Ценность состояния — то, что получит из него лучшее поведение, и она подчиняется **уравнению Беллмана** (Bellman, 1957):
#
# $$V(s) = \max_a \Bigl[ R(s, a) + \gamma \sum_{s'} P(s' \mid s, a)\, V(s') \Bigr].$$
#
# `value_iteration` начинает с $V = 0$ и подставляет $V$ в правую часть, для всех состояний сразу, до первого прохода, за который ни одна ценность не изменилась больше чем на `tolerance`. Она возвращает последнюю $V$ и лучшие по ней действия — первое, если их несколько.
#
# {{task:value_iteration}}


# %% solution="value_iteration"
def value_iteration(
    chances: np.ndarray, rewards: np.ndarray, discount: float, tolerance: float = 1e-8
) -> tuple[np.ndarray, np.ndarray]:
    """(values (S,), best actions (S,)) of a known world.

    chances: (S, A, S), of the states after. rewards: (S, A), expected ones. discount: from 0 to below 1.
    """
    ### BEGIN SOLUTION
    values = np.zeros(len(rewards))
    while True:
        new = (rewards + discount * chances @ values).max(1)
        change = np.abs(new - values).max()
        values = new
        if change <= tolerance:
            return values, (rewards + discount * chances @ values).argmax(1)
    ### END SOLUTION


# %% test="value_iteration" points=0 difficulty=2 minutes=15
chances = np.array([[[0.7, 0.3], [0.0, 1.0]], [[0.4, 0.6], [0.1, 0.9]]])
rewards = np.array([[-1.0, -3.0], [-2.0, -5.0]])
call = "value_iteration(chances, rewards, 0.9)"
values, actions = check.answer(value_iteration, chances, rewards, 0.9, call=call)
check.close(values, [-13.6986301, -15.0684932], f"the values of {call}", rtol=1e-6)
check.equal(actions, [0, 0], f"the actions of {call}")
### BEGIN HIDDEN TESTS
rng = check.rng("value_iteration")


def world(states, ways, shift=0.0):
    """Chances and rewards of a world by chance."""
    made = rng.dirichlet(np.full(states, 0.4), size=(states, ways))
    return made, rng.normal(size=(states, ways)) + shift


def best_values(chances, rewards, discount):
    """The values by trying rounds of improvement, exactly, in at most a hundred rounds."""
    states, actions = np.arange(len(rewards)), np.zeros(len(rewards), int)
    for _ in range(100):
        way = chances[states, actions]
        values = np.linalg.solve(np.eye(len(rewards)) - discount * way, rewards[states, actions])
        actions = (rewards + discount * chances @ values).argmax(1)
    return values, actions


for states, ways, discount, shift, why in [
    (4, 3, 0.9, 0.0, "solve Bellman's equation"),
    (5, 2, 0.8, -6.0, "be right where all rewards are negative"),
    (3, 4, 0.95, 5.0, "be right where all rewards are positive"),
    (6, 2, 0.0, 0.0, "be the next reward alone at discount 0"),
    (1, 3, 0.5, 0.0, "be right for a single state"),
    (4, 1, 0.7, 0.0, "be right for a single action"),
]:
    chances, rewards = world(states, ways, shift)
    call = f"value_iteration of {states} states and {ways} actions at discount {discount}"
    values, actions = check.answer(value_iteration, chances, rewards, discount, call=call)
    want, best = best_values(chances, rewards, discount)
    check.close(values, want, f"the values of {call}", rtol=0, atol=1e-6, why=why)
    worth = rewards + discount * chances @ want
    if ways > 1 and np.diff(np.sort(worth, 1)[:, -2:], axis=1).min() > 1e-5:  # no draw
        check.equal(actions, best, f"the actions of {call}", why="be the best by the values")
call = "value_iteration where one state never gets anything"
values, _ = check.answer(value_iteration, np.eye(2)[:, None], np.array([[0.0], [-1.5]]), 0.8, call=call)
check.close(values, [0.0, -7.5], f"the values of {call}", rtol=1e-6, why="go on until all values rest")
for options in ((0.3,), (0.02,), ()):
    tolerance = options[0] if options else 1e-8
    chances, rewards = world(4, 3)
    sweep, change = np.zeros(4), np.inf
    while change > tolerance:
        new = np.max(rewards + 0.9 * np.einsum("sat,t->sa", chances, sweep), 1)
        change, sweep = np.abs(new - sweep).max(), new
    call = f"value_iteration(chances, rewards, 0.9{f', {tolerance}' if options else ''})"
    values, _ = check.answer(value_iteration, chances, rewards, 0.9, *options, call=call)
    check.close(values, sweep, f"the values of {call}", rtol=0, atol=1e-11, why="stop when no value changes by more than the tolerance")
call = "value_iteration where all actions are alike"
_, actions = check.answer(value_iteration, np.full((2, 3, 2), 0.5), np.full((2, 3), 1.0), 0.5, call=call)
check.equal(actions, [0, 0], f"the actions of {call}", why="be the first of the best ones")
call = "value_iteration of whole rewards"
values, _ = check.answer(value_iteration, np.full((2, 2, 2), 0.5), np.array([[1, 2], [-3, 4]]), 0.75, call=call)
check.close(values, [11.0, 13.0], f"the values of {call}", rtol=1e-6, why="take whole numbers, too")
chances, rewards = np.full((2, 2, 2), 0.5), np.array([[1.0, -2.0], [0.3, 0.9]])
call = "value_iteration(chances, rewards, 0.999)"
values, _ = check.answer(value_iteration, chances, rewards, 0.999, call=call)
check.close(values, np.array([1.0, 0.9]) + 0.999 * 950, f"the values of {call}", rtol=1e-7, why="go on as long as it takes")
chances = np.eye(4)[:, None] * np.ones((1, 2, 1))  # each state is its own world: values of r / (1 - discount)
rewards = np.array([[4.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
call = "value_iteration(chances, rewards, 0.5, 1.2), where one state of four still moves"
values, _ = check.answer(value_iteration, chances, rewards, 0.5, 1.2, call=call)
check.close(values, [7.0, 0.0, 0.0, 0.0], f"the values of {call}", why="stop when no value changes by more than the tolerance")
call = "value_iteration of one state that gives 0.4, discount 0.5, tolerance 0.4"
values, _ = check.answer(value_iteration, np.ones((1, 1, 1)), np.array([[0.4]]), 0.5, 0.4, call=call)
check.close(values, [0.4], f"the values of {call}", why="compare the first sweep with V = 0")
chances, rewards = np.zeros((2, 2, 2)), np.array([[1.0, 0.0], [2.0, 2.0]])
chances[0, 0, 0] = chances[0, 1, 1] = chances[1, :, 1] = 1  # in state 0: 1 and stay, or nothing and over to where 2 is given
for tolerance, want in ((5.0, [1.0, 2.0]), (1.9, [1.8, 3.6]), (1.5, [2.88, 4.88])):
    call = f"value_iteration(chances, rewards, 0.8, {tolerance}) where the better way begins with nothing"
    values, actions = check.answer(value_iteration, chances, rewards, 0.8, tolerance, call=call)
    check.close(values, want, f"the values of {call}", why="stop when no value changes by more than the tolerance")
    best = (rewards + 0.8 * np.array([[want[0], want[1]], [want[1], want[1]]])).argmax(1)
    check.equal(actions, best, f"the actions of {call}", why="be the best by the values that are given back")
### END HIDDEN TESTS

# %% mutant="value_iteration" why="the mean of the actions"
# - new = (rewards + discount * chances @ values).max(1)
# + new = (rewards + discount * chances @ values).mean(1)

# %% mutant="value_iteration" why="the largest value after, not the expected one"
# - new = (rewards + discount * chances @ values).max(1)
# + new = (rewards + discount * np.where(chances > 0, values, -np.inf).max(2)).max(1)

# %% mutant="value_iteration" why="never below 0"
# - new = (rewards + discount * chances @ values).max(1)
# + new = np.maximum((rewards + discount * chances @ values).max(1), 0)

# %% mutant="value_iteration" why="the discount forgotten in the actions"
# - return values, (rewards + discount * chances @ values).argmax(1)
# + return values, (rewards + chances @ values).argmax(1)

# %% mutant="value_iteration" why="actions by the reward alone"
# - return values, (rewards + discount * chances @ values).argmax(1)
# + return values, rewards.argmax(1)

# %% mutant="value_iteration" why="discounts the reward, too"
# - new = (rewards + discount * chances @ values).max(1)
# + new = (discount * (rewards + chances @ values)).max(1)

# %% mutant="value_iteration" why="chances the wrong way round"
# - new = (rewards + discount * chances @ values).max(1)
# + new = (rewards + discount * np.einsum("tas,t->sa", chances, values)).max(1)

# %% mutant="value_iteration" why="stops when one value rests"
# - change = np.abs(new - values).max()
# + change = np.abs(new - values).min()

# %% mutant="value_iteration" why="growth alone counts as change"
# - change = np.abs(new - values).max()
# + change = (new - values).max()

# %% mutant="value_iteration" why="its own tolerance"
# - if change <= tolerance:
# + if change <= 1e-8:

# %% mutant="value_iteration" why="rough by default"
# - chances: np.ndarray, rewards: np.ndarray, discount: float, tolerance: float = 1e-8
# + chances: np.ndarray, rewards: np.ndarray, discount: float, tolerance: float = 1e-2

# %% mutant="value_iteration" why="the last of the best"
# - return values, (rewards + discount * chances @ values).argmax(1)
# + worth = (rewards + discount * chances @ values)[:, ::-1]
# + return values, rewards.shape[1] - 1 - worth.argmax(1)

# %% mutant="value_iteration" why="a thousand sweeps at most"
# - while True:
# + for sweeps in range(1000):
# - if change <= tolerance:
# + if change <= tolerance or sweeps == 999:

# %% mutant="value_iteration" why="looks at the mean change"
# - change = np.abs(new - values).max()
# + change = np.abs(new - values).mean()

# %% mutant="value_iteration" why="the actions by the values before the last"
# - values = new
# + old, values = values, new
# - return values, (rewards + discount * chances @ values).argmax(1)
# + return values, (rewards + discount * chances @ old).argmax(1)

# %% mutant="value_iteration" why="begins with the rewards"
# - values = np.zeros(len(rewards))
# + values = rewards.max(1).astype(float)


# %% alternative="value_iteration" why="loops over states and actions"
def value_iteration(chances, rewards, discount, tolerance=1e-8):
    states, ways = rewards.shape

    def worth(values, s):
        return [rewards[s, a] + discount * sum(chances[s, a, t] * values[t] for t in range(states)) for a in range(ways)]

    values = [0.0] * states
    while True:
        new = [max(worth(values, s)) for s in range(states)]
        change = max(abs(x - y) for x, y in zip(new, values, strict=True))
        values = new
        if change <= tolerance:
            return np.array(values), np.array([worth(values, s).index(max(worth(values, s))) for s in range(states)])


# %% [markdown]
# A frozen lake of 64 places: reward 1 at the goal (orange), nothing anywhere else, holes (black) end it; and the ice is slippery: only one time in three you go where you wanted. Look at the arrows beside holes: the best way often points *away* from where one wants to go.

# %% [markdown] lang="ru"
# Замёрзшее озеро из 64 клеток: награда 1 в цели (оранжевая), больше нигде ничего; проруби (чёрные) прерывают эпизод, а лёд скользкий: лишь в одном случае из трёх идёшь туда, куда хотел. Посмотрите на стрелки возле прорубей: лучший путь часто показывает *прочь* от того места, куда хочется попасть.

# %%
lake = gymnasium.make("FrozenLake8x8-v1", is_slippery=True)
lake_chances, lake_rewards = week13.tables(lake)
letters = np.array([[letter.decode() for letter in row] for row in lake.unwrapped.desc])

# %%
lake_values, lake_actions = value_iteration(lake_chances, lake_rewards, 0.99)
week13.lake(lake_values, lake_actions, letters)
plots.show("A grid of 8 by 8 places with values as colours, brighter towards the goal at the lower right, and an arrow in each place; beside black holes the arrows point away from the hole.")
print(f"value of the start: {lake_values[0]:.3f}")

# %% [markdown]
# ## 2. Solve, improve, repeat
# A [policy](glossary:policy) is a rule that chooses the action. What a **given** policy $\pi$ gets is no riddle: without the maximum Bellman's equation is linear, and $V = (I - \gamma P_\pi)^{-1} R_\pi$ with the rows of $P$ and $R$ that the policy takes. **Policy iteration** (Howard, 1960): compute the values of the policy exactly, then take in each state the action that is best by these values; repeat until the policy stays as it is. An action that is not better by more than $10^{-9}$ is no reason to change; among better ones the first of the best is taken.
#
# {{task:policy_iteration}}

# %% [markdown] lang="ru"
# ## 2. Решить, улучшить, повторить
# [Политика](glossary:policy) (policy) — правило, по которому выбирают действие. Что получает **данная** политика $\pi$ — не загадка: без максимума уравнение Беллмана линейно, и $V = (I - \gamma P_\pi)^{-1} R_\pi$, где взяты те строки $P$ и $R$, которые выбирает политика. **Итерация по политикам** (policy iteration; Howard, 1960): точно вычислить ценности для политики, затем в каждом состоянии взять действие, лучшее по этим ценностям; повторять, пока политика не перестанет меняться. Действие, которое лучше не больше чем на $10^{-9}$, — не повод для перемены; из лучших берётся первое.
#
# {{task:policy_iteration}}


# %% solution="policy_iteration"
def evaluate(
    chances: np.ndarray, rewards: np.ndarray, policy: np.ndarray, discount: float
) -> np.ndarray:
    """The values (S,) of a policy (S,), an action for each state, exactly."""
    ### BEGIN SOLUTION
    states = np.arange(len(rewards))
    matrix = np.eye(len(rewards)) - discount * chances[states, policy]
    return np.linalg.solve(matrix, rewards[states, policy])
    ### END SOLUTION


def policy_iteration(
    chances: np.ndarray, rewards: np.ndarray, policy: np.ndarray, discount: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """(values (S,), policy (S,), how often a policy was evaluated), from a first policy (S,) on."""
    ### BEGIN SOLUTION
    policy, rounds = np.array(policy), 0
    while True:
        values, rounds = evaluate(chances, rewards, policy, discount), rounds + 1
        worth = rewards + discount * chances @ values
        better = worth.max(1) > worth[np.arange(len(policy)), policy] + 1e-9
        if not better.any():
            return values, policy, rounds
        policy = np.where(better, worth.argmax(1), policy)
    ### END SOLUTION


# %% test="policy_iteration" points=0 difficulty=2 minutes=15
chances = np.array([[[0.7, 0.3], [0.0, 1.0]], [[0.4, 0.6], [0.1, 0.9]]])
rewards = np.array([[-1.0, -3.0], [-2.0, -5.0]])
found = check.answer(evaluate, chances, rewards, np.array([1, 0]), 0.9, call="evaluate(chances, rewards, [1, 0], 0.9)")
check.close(found, [-23.3823529, -22.6470588], "evaluate(chances, rewards, [1, 0], 0.9)", rtol=1e-6)
call = "policy_iteration(chances, rewards, [1, 1], 0.9)"
values, actions, rounds = check.answer(policy_iteration, chances, rewards, np.array([1, 1]), 0.9, call=call)
check.close(values, [-13.6986301, -15.0684932], f"the values of {call}", rtol=1e-6)
check.equal((actions.tolist(), rounds), ([0, 0], 2), f"policy and rounds of {call}")
### BEGIN HIDDEN TESTS
rng = check.rng("policy_iteration")


def worlds(states, ways):
    made = rng.dirichlet(np.full(states, 0.4), size=(states, ways))
    return made, rng.normal(size=(states, ways))


for states, ways, discount in [(4, 3, 0.9), (6, 2, 0.99), (3, 5, 0.0), (1, 2, 0.6)]:
    chances, rewards = worlds(states, ways)
    first = rng.integers(ways, size=states)
    call = f"evaluate of {states} states at discount {discount}"
    found = check.answer(evaluate, chances, rewards, first, discount, call=call)
    want = np.zeros(states)
    for _ in range(4000):  # the slow way
        want = np.array([rewards[s, first[s]] + discount * chances[s, first[s]] @ want for s in range(states)])
    check.close(found, want, call, rtol=1e-7, atol=1e-9, why="be what the policy gets, exactly")
    policy, count = first.copy(), 0
    while True:
        count += 1
        step = chances[np.arange(states), policy]
        exact = np.linalg.inv(np.eye(states) - discount * step) @ rewards[np.arange(states), policy]
        worth = np.array([[rewards[s, a] + discount * chances[s, a] @ exact for a in range(ways)] for s in range(states)])
        after = [int(np.argmax(w)) if max(w) > w[p] + 1e-9 else int(p) for w, p in zip(worth, policy, strict=True)]
        if list(policy) == after:
            break
        policy = np.array(after)
    call = f"policy_iteration of {states} states and {ways} actions at discount {discount}"
    values, actions, rounds = check.answer(policy_iteration, chances, rewards, first, discount, call=call)
    check.close(values, exact, f"the values of {call}", rtol=1e-7, atol=1e-9, why="be those of the best policy")
    check.equal(actions, policy, f"the policy of {call}", why="be the best one")
    check.equal(rounds, count, f"the rounds of {call}", why="count each evaluation once")
chances, rewards = np.full((2, 3, 2), 0.5), np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 2.0]])
call = "policy_iteration where actions are alike, from [2, 2]"
values, actions, rounds = check.answer(policy_iteration, chances, rewards, np.array([2, 2]), 0.5, call=call)
check.equal((actions.tolist(), rounds), ([2, 2], 1), f"policy and rounds of {call}", why="change nothing that is not better")
call = "policy_iteration where actions are alike, from [1, 0]"
values, actions, rounds = check.answer(policy_iteration, chances, rewards, np.array([1, 0]), 0.5, call=call)
check.equal((actions.tolist(), rounds), ([1, 1], 2), f"policy and rounds of {call}", why="take the first of the best")
chances = np.zeros((9, 2, 9))
chances[range(9), 0, range(9)] = chances[range(9), 1, [*range(1, 9), 8]] = 1  # stay, or one further
rewards = np.zeros((9, 2))
rewards[8], rewards[:8, 0] = 5.0, 0.1
call = "policy_iteration of a corridor, where the news travels one state a round"
values, actions, rounds = check.answer(policy_iteration, chances, rewards, np.zeros(9, int), 0.9, call=call)
check.equal((actions.tolist(), rounds), ([1] * 8 + [0], 9), f"policy and rounds of {call}", why="go on until the policy stays")
check.close(values, 50 * 0.9 ** np.arange(8, -1, -1), f"the values of {call}", rtol=1e-7, why="be those of the best policy")
for gain, want in ((1e-11, ([0], 1)), (1e-6, ([1], 2))):
    call = f"policy_iteration where the other action is better by {gain}"
    _, actions, rounds = check.answer(policy_iteration, np.ones((1, 2, 1)), np.array([[0.0, gain]]), np.array([0]), 0.5, call=call)
    check.equal((actions.tolist(), rounds), want, f"policy and rounds of {call}", why="change for more than 1e-9, and for no less")
### END HIDDEN TESTS

# %% mutant="policy_iteration" why="keeps the first policy"
# - policy = np.where(better, worth.argmax(1), policy)
# + return values, policy, rounds

# %% mutant="policy_iteration" why="the transposed matrix"
# - matrix = np.eye(len(rewards)) - discount * chances[states, policy]
# + matrix = np.eye(len(rewards)) - discount * chances[states, policy].T

# %% mutant="policy_iteration" why="no discount"
# - matrix = np.eye(len(rewards)) - discount * chances[states, policy]
# + matrix = np.eye(len(rewards)) * (1 + 1e-3) - chances[states, policy]

# %% mutant="policy_iteration" why="the mean over actions"
# - return np.linalg.solve(matrix, rewards[states, policy])
# + return np.linalg.solve(matrix, rewards.mean(1))

# %% mutant="policy_iteration" why="changes what is as good"
# - better = worth.max(1) > worth[np.arange(len(policy)), policy] + 1e-9
# + better = worth.argmax(1) != policy

# %% mutant="policy_iteration" why="improves one state a round"
# - policy = np.where(better, worth.argmax(1), policy)
# + policy[better.argmax()] = worth[better.argmax()].argmax()

# %% mutant="policy_iteration" why="counts from 0"
# - return values, policy, rounds
# + return values, policy, rounds - 1

# %% mutant="policy_iteration" why="changes the first policy"
# - policy, rounds = np.array(policy), 0
# + given, rounds = policy, 0
# - policy = np.where(better, worth.argmax(1), policy)
# + given[:] = policy = np.where(better, worth.argmax(1), policy)

# %% mutant="policy_iteration" why="starts from action 0"
# - policy, rounds = np.array(policy), 0
# + policy, rounds = np.zeros_like(policy), 0

# %% mutant="policy_iteration" why="changes for any rounding"
# - better = worth.max(1) > worth[np.arange(len(policy)), policy] + 1e-9
# + better = worth.max(1) > worth[np.arange(len(policy)), policy]

# %% mutant="policy_iteration" why="only for much better ones"
# - better = worth.max(1) > worth[np.arange(len(policy)), policy] + 1e-9
# + better = worth.max(1) > worth[np.arange(len(policy)), policy] + 1e-3

# %% mutant="policy_iteration" why="five rounds at most"
# - if not better.any():
# + if rounds == 5 or not better.any():


# %% alternative="policy_iteration" why="the inverse, and a search state by state"
def evaluate(chances, rewards, policy, discount):
    step = np.stack([chances[s, a] for s, a in enumerate(policy)])
    gain = np.array([rewards[s, a] for s, a in enumerate(policy)])
    return np.linalg.inv(np.eye(len(gain)) - discount * step) @ gain


def policy_iteration(chances, rewards, policy, discount):
    policy, rounds, changed = [int(a) for a in policy], 0, True
    while changed:
        values, changed, rounds = evaluate(chances, rewards, policy, discount), False, rounds + 1
        for s in range(len(policy)):
            worth = rewards[s] + discount * chances[s] @ values
            if worth.max() > worth[policy[s]] + 1e-9:
                policy[s], changed = int(worth.argmax()), True
    return values, np.array(policy), rounds


# %% [markdown]
# Which is faster? Each sweep of value iteration takes a factor of at least $\gamma$ off the error, so at $\gamma = 0.99$ it needs many; policy iteration needs a handful of rounds, but each solves a system of 64 equations.

# %% [markdown] lang="ru"
# Что быстрее? Каждый проход итерации по ценностям уменьшает ошибку не меньше чем в $1/\gamma$ раз, поэтому при $\gamma = 0{,}99$ проходов нужно много; итерации по политикам хватает нескольких раундов, но каждый решает систему из 64 уравнений.

# %%
exact, _, rounds = policy_iteration(lake_chances, lake_rewards, np.zeros(64, int), 0.99)
errors, sweep = [], np.zeros(64)
for _ in range(600):
    errors.append(np.abs(sweep - exact).max())
    sweep = (lake_rewards + 0.99 * lake_chances @ sweep).max(1)
plots.curves({"value iteration": errors}, "Largest error of a value", "sweeps", "error", log_y=True)
plots.show("The largest error of value iteration against the number of sweeps on a log axis: a line that falls evenly over hundreds of sweeps.")
print(f"policy iteration: exact after {rounds} rounds; value iteration after 600 sweeps: off by {errors[-1]:.1e}")

# %% [markdown]
# ## 3. A world that is not known
# Now only single steps are seen: in $s$ the agent did $a$, got $r$, and is in $s'$. It keeps a table $Q(s, a)$ of what an action is worth and moves one entry a bit (`rate`) towards what the step says:
#
# $$Q(s, a) \leftarrow Q(s, a) + \text{rate} \cdot \bigl(\text{target} - Q(s, a)\bigr).$$
#
# [SARSA](https://en.wikipedia.org/wiki/State%E2%80%93action%E2%80%93reward%E2%80%93state%E2%80%93action) (Rummery & Niranjan, 1994) takes the action $a'$ that really comes next: target $= r + \gamma\, Q(s', a')$. Q-learning (Watkins, 1989) takes the best one, whatever comes: $r + \gamma \max_{a'} Q(s', a')$. After the end of an episode nothing comes: the target is $r$. Both functions give a new table.
#
# {{task:learn_steps}}

# %% [markdown] lang="ru"
# ## 3. Неизвестный мир
# Теперь видны лишь отдельные шаги: в $s$ агент сделал $a$, получил $r$ и оказался в $s'$. Он ведёт таблицу $Q(s, a)$ — чего стоит действие — и немного (`rate`) сдвигает одну запись к тому, что говорит шаг:
#
# $$Q(s, a) \leftarrow Q(s, a) + \text{rate} \cdot \bigl(\text{target} - Q(s, a)\bigr).$$
#
# [SARSA](https://en.wikipedia.org/wiki/State%E2%80%93action%E2%80%93reward%E2%80%93state%E2%80%93action) (Rummery, Niranjan, 1994) берёт то действие $a'$, которое действительно будет следующим: target $= r + \gamma\, Q(s', a')$. Q-обучение (Q-learning; Watkins, 1989) берёт лучшее, что бы ни случилось дальше: $r + \gamma \max_{a'} Q(s', a')$. После конца эпизода не будет ничего: target равен $r$. Обе функции возвращают новую таблицу.
#
# {{task:learn_steps}}


# %% solution="learn_steps"
def sarsa(
    table: np.ndarray, s: int, a: int, reward: float, after: int, then: int, ended: bool,
    rate: float = 0.5, discount: float = 1.0,
) -> np.ndarray:
    """The table (S, A) after a step s, a, reward, after, and the action `then` that comes next."""
    ### BEGIN SOLUTION
    table = np.array(table, dtype=float)
    target = reward + (0.0 if ended else discount * table[after, then])
    table[s, a] += rate * (target - table[s, a])
    return table
    ### END SOLUTION


def q_learning(
    table: np.ndarray, s: int, a: int, reward: float, after: int, ended: bool,
    rate: float = 0.5, discount: float = 1.0,
) -> np.ndarray:
    """The table (S, A) after a step s, a, reward, after."""
    ### BEGIN SOLUTION
    table = np.array(table, dtype=float)
    target = reward + (0.0 if ended else discount * table[after].max())
    table[s, a] += rate * (target - table[s, a])
    return table
    ### END SOLUTION


# %% test="learn_steps" points=0 difficulty=1 minutes=10
table = np.array([[1.0, -3.0, 5.0], [-7.0, -4.0, -2.0]])
call = "sarsa(table, 0, 2, -1.0, 1, 0, False, 0.25, 0.9)"
found = check.answer(sarsa, table, 0, 2, -1.0, 1, 0, False, 0.25, 0.9, call=call)
check.close(found, [[1.0, -3.0, 1.925], [-7.0, -4.0, -2.0]], call)
call = "q_learning(table, 0, 2, -1.0, 1, False, 0.25, 0.9)"
found = check.answer(q_learning, table, 0, 2, -1.0, 1, False, 0.25, 0.9, call=call)
check.close(found, [[1.0, -3.0, 3.05], [-7.0, -4.0, -2.0]], call)
### BEGIN HIDDEN TESTS
rng = check.rng("learn_steps")
for ended in (False, True):
    for low, why in ((-9.0, "be right where all entries are negative"), (2.0, "be right where all are positive"), (-3.0, "move one entry")):
        table = rng.uniform(low, low + 6 + (low == -9.0), size=(5, 3))
        s, after = (int(i) for i in rng.permutation(5)[:2])
        a, then = (int(i) for i in rng.permutation(3)[:2])
        then = then if then != int(table[after].argmax()) else int(table[after].argmin())
        reward, rate, discount = rng.normal(), rng.uniform(0.1, 0.4), rng.uniform(0.5, 0.9)
        for name, extra, ahead in (("sarsa", (then,), table[after, then]), ("q_learning", (), max(table[after].tolist()))):
            learn = {"sarsa": sarsa, "q_learning": q_learning}[name]
            for said, options, alpha, gamma in (("rate and discount", (rate, discount), rate, discount), ("the defaults", (), 0.5, 1.0)):
                call = f"{name}(table, {s}, {a}, reward, {after}, ..., {ended}) with {said}"
                found = check.answer(learn, table, s, a, reward, after, *extra, ended, *options, call=call)
                want = table.copy()
                want[s, a] = (1 - alpha) * want[s, a] + alpha * (reward if ended else reward + gamma * ahead)
                check.close(found, want, call, rtol=1e-9, why="expect nothing after the end" if ended else why)
table = rng.uniform(1, 2, size=(2, 3))
for name, extra, ahead in (("sarsa", (1,), table[0, 1]), ("q_learning", (), max(table[0]))):
    learn = {"sarsa": sarsa, "q_learning": q_learning}[name]
    call = f"{name}(table, 0, 2, ...) that stays in state 0"
    want = table.copy()
    want[0, 2] += 0.3 * (1.5 + 0.8 * ahead - want[0, 2])
    check.close(check.answer(learn, table, 0, 2, 1.5, 0, *extra, False, 0.3, 0.8, call=call), want, call, rtol=1e-9, why="read the table as it was before the step")
for name, extra in (("sarsa", (1,)), ("q_learning", ())):
    learn = {"sarsa": sarsa, "q_learning": q_learning}[name]
    call = f"{name} of a table of whole numbers"
    found = check.answer(learn, np.zeros((2, 2), dtype=int), 0, 1, -1, 1, *extra, False, call=call)
    check.close(found, [[0.0, -0.5], [0.0, 0.0]], call, why="not round")
### END HIDDEN TESTS

# %% mutant="learn_steps" why="SARSA takes the best next action"
# - target = reward + (0.0 if ended else discount * table[after, then])
# + target = reward + (0.0 if ended else discount * table[after].max())

# %% mutant="learn_steps" why="something comes after the end"
# - target = reward + (0.0 if ended else discount * table[after].max())
# + target = reward + discount * table[after].max()

# %% mutant="learn_steps" why="SARSA, too, expects something after the end"
# - target = reward + (0.0 if ended else discount * table[after, then])
# + target = reward + discount * table[after, then]

# %% mutant="learn_steps" why="a maximum from 0"
# - target = reward + (0.0 if ended else discount * table[after].max())
# + target = reward + (0.0 if ended else discount * max(0, *table[after]))

# %% mutant="learn_steps" why="the best of the state before"
# - target = reward + (0.0 if ended else discount * table[after].max())
# + target = reward + (0.0 if ended else discount * table[s].max())

# %% mutant="learn_steps" why="the best of all states"
# - target = reward + (0.0 if ended else discount * table[after].max())
# + target = reward + (0.0 if ended else discount * table.max())

# %% mutant="learn_steps" why="the same action again"
# - target = reward + (0.0 if ended else discount * table[after, then])
# + target = reward + (0.0 if ended else discount * table[after, a])

# %% mutant="learn_steps" why="the table itself is changed"
# - table = np.array(table, dtype=float)
# - target = reward + (0.0 if ended else discount * table[after].max())
# + table = np.asarray(table, dtype=float)
# + target = reward + (0.0 if ended else discount * table[after].max())

# %% mutant="learn_steps" why="whole numbers stay whole"
# - table = np.array(table, dtype=float)
# - target = reward + (0.0 if ended else discount * table[after, then])
# + table = np.array(table)
# + target = reward + (0.0 if ended else discount * table[after, then])

# %% mutant="learn_steps" why="another rate by default"
# - table: np.ndarray, s: int, a: int, reward: float, after: int, ended: bool,
# - rate: float = 0.5, discount: float = 1.0,
# + table: np.ndarray, s: int, a: int, reward: float, after: int, ended: bool,
# + rate: float = 0.1, discount: float = 1.0,

# %% mutant="learn_steps" why="another discount by default"
# - table: np.ndarray, s: int, a: int, reward: float, after: int, then: int, ended: bool,
# - rate: float = 0.5, discount: float = 1.0,
# + table: np.ndarray, s: int, a: int, reward: float, after: int, then: int, ended: bool,
# + rate: float = 0.5, discount: float = 0.9,


# %% alternative="learn_steps" why="a weighted mean of old and new"
def mixed(table, s, a, target, rate):
    new = table.astype(float)
    new[s, a] = (1 - rate) * new[s, a] + rate * target
    return new


def sarsa(table, s, a, reward, after, then, ended, rate=0.5, discount=1.0):
    return mixed(table, s, a, reward if ended else reward + discount * table[after][then], rate)


def q_learning(table, s, a, reward, after, ended, rate=0.5, discount=1.0):
    return mixed(table, s, a, reward if ended else reward + discount * np.max(table[after]), rate)


# %% [markdown]
# Sutton and Barto's cliff: each step costs 1, a step over the edge (black) costs 100. Both learners try something by chance one time in ten. Look at the two tables' own ways, and at what it costs *while* learning.

# %% [markdown] lang="ru"
# Обрыв из книги Саттона и Барто: каждый шаг стоит 1, шаг с обрыва (чёрное) — 100. Оба ученика в одном случае из десяти действуют наугад. Посмотрите на пути, которые советуют таблицы, и на то, чего они стоят *во время* учёбы.


# %%
def walk(method: str, episodes: int, seed: int) -> tuple[np.ndarray, list[float]]:
    """(table, sum of rewards of each episode) of a learner that acts by chance one time in ten."""
    world, rng = week13.Cliff(), np.random.default_rng(seed)
    table, sums = np.zeros((48, 4)), []

    def act(s: int) -> int:
        return int(rng.integers(4)) if rng.random() < 0.1 else int(table[s].argmax())

    for _ in range(episodes):
        s, ended, total, steps = world.start, False, 0.0, 0
        a = act(s)
        while not ended and steps < 500:
            after, reward, ended = world.step(s, a)
            if method == "SARSA":
                then = act(after)
                table = sarsa(table, s, a, reward, after, then, ended)
            else:
                table = q_learning(table, s, a, reward, after, ended)
                then = act(after)
            s, a, total, steps = after, then, total + reward, steps + 1
        sums.append(total)
    return table, sums


def best_path(table: np.ndarray) -> list[int]:
    """The states on the way that the table advises, of at most 60 steps."""
    world, path = week13.Cliff(), [week13.Cliff.start]
    while path[-1] != world.goal and len(path) < 60:
        path.append(world.step(path[-1], int(table[path[-1]].argmax()))[0])
    return path


@cache
def learners() -> dict[str, list[tuple[np.ndarray, list[float]]]]:
    """What both learn, from several seeds."""
    return {
        method: [walk(method, settings["episodes"], seed) for seed in range(settings["seeds"])]
        for method in ("SARSA", "Q-learning")
    }


shown = {method: runs[0][0] for method, runs in learners().items()}
week13.cliff(shown, {method: best_path(table) for method, table in shown.items()})
plots.show("Two maps of the cliff with arrows and the advised way: Q-learning walks along the edge, SARSA makes a detour further from it.")

# %%
sums = {m: np.array([np.convolve(s, np.full(20, 0.05), "valid") for _, s in runs]) for m, runs in learners().items()}
week13.bands(sums, "Rewards while learning, mean of 20 episodes", "episode", "sum of rewards").set_ylim(-160, 0)
plots.show("Sums of rewards over episodes for both learners, thin lines for seeds and bold ones for their interquartile means: SARSA ends higher than Q-learning.")
for method, runs in sums.items():
    print(f"{method:10} last 20 episodes, interquartile mean of {len(runs)} seeds: {week13.interquartile_mean(runs)[-1]:6.1f}")

# %% [markdown]
# Q-learning finds the shortest way and falls off it now and then, since it acts by chance while it learns; SARSA counts its own clumsiness in. Neither is wrong: they answer different questions.

# %% [markdown] lang="ru"
# Q-обучение находит кратчайший путь и время от времени с него срывается, ведь пока учится, оно иногда действует наугад; SARSA учитывает собственную неловкость. Не ошибается ни один: они отвечают на разные вопросы.

# %% [markdown]
# ## 4. What trying is worth
# Ten slot machines, each with a chance of its own. Whoever always takes the best so far may stay with a bad one for ever; whoever keeps trying pays for it. Two answers:
#
# - $\varepsilon$-greedy: with chance $\varepsilon$ any arm, all alike; else the best so far. `greedy_chances` gives the chances of the arms; arms that are equally best, to the last digit, share.
# - **UCB** ([Auer et al., 2002](https://doi.org/10.1023/A:1013689704352)): optimism. Take the arm with the largest $\text{mean} + \sqrt{c \ln t / n}$, where $n$ is how often the arm was pulled and $t$ how often any was so far, the sum of all $n$; an arm that was never pulled comes before all others, the first such one first. The first of equally large ones is taken.
#
# {{task:explore}}

# %% [markdown] lang="ru"
# ## 4. Чего стоят пробы
# Десять игровых автоматов, у каждого своя вероятность выигрыша. Кто всегда дёргает лучший на сегодня, может навсегда остаться с плохим; кто всё время пробует, за это платит. Два ответа:
#
# - $\varepsilon$-жадность ($\varepsilon$-greedy): с вероятностью $\varepsilon$ — любой автомат, все одинаково; иначе лучший на сегодня. `greedy_chances` выдаёт вероятности автоматов; одинаково лучшие, с точностью до последней цифры, делят между собой.
# - **UCB** ([Auer и др., 2002](https://doi.org/10.1023/A:1013689704352)): оптимизм. Дёрнуть автомат с наибольшим $\text{mean} + \sqrt{c \ln t / n}$, где mean — его среднее, $n$ — сколько раз дёргали его, $t$ — сколько раз до сих пор любой, то есть сумма всех $n$; ни разу не опробованный идёт раньше всех прочих, из таких — первый. Из одинаково больших берётся первый.
#
# {{task:explore}}


# %% solution="explore"
def greedy_chances(values: np.ndarray, epsilon: float = 0.1) -> np.ndarray:
    """The chance of each arm (n,) by epsilon-greedy. values: (n,), the arms' means so far."""
    ### BEGIN SOLUTION
    best = values == np.max(values)
    return epsilon / len(values) + (1 - epsilon) * best / best.sum()
    ### END SOLUTION


def ucb(sums: np.ndarray, counts: np.ndarray, c: float = 2.0) -> int:
    """The arm that UCB pulls. sums, counts: (n,), rewards so far and pulls so far of each arm."""
    ### BEGIN SOLUTION
    if (counts == 0).any():
        return int(np.argmin(counts != 0))
    bonus = np.sqrt(c * np.log(counts.sum()) / counts)
    return int(np.argmax(sums / counts + bonus))
    ### END SOLUTION


# %% test="explore" points=0 difficulty=2 minutes=15
call = "greedy_chances([0.3, 0.7, 0.7, -1.0, 0.1], 0.2)"
found = check.answer(greedy_chances, np.array([0.3, 0.7, 0.7, -1.0, 0.1]), 0.2, call=call)
check.close(found, [0.04, 0.44, 0.44, 0.04, 0.04], call)
call = "ucb([6, 3, 20], [8, 4, 25])"
check.equal(check.answer(ucb, np.array([6.0, 3.0, 20.0]), np.array([8, 4, 25]), call=call), 1, call)
### BEGIN HIDDEN TESTS
rng = check.rng("explore")
for n in (1, 3, 7):
    values = rng.normal(size=n) - 5
    for said, options, epsilon in (("epsilon 0.3", (0.3,), 0.3), ("the default", (), 0.1), ("epsilon 0", (0.0,), 0.0), ("epsilon 1", (1.0,), 1.0)):
        call = f"greedy_chances of {n} arms with {said}"
        want = np.full(n, epsilon / n)
        want[values.tolist().index(max(values))] += 1 - epsilon
        check.close(check.answer(greedy_chances, values, *options, call=call), want, call, atol=1e-12, why="be the best one but for trying, and all alike then")
check.close(check.answer(greedy_chances, np.array([2, 1, 2, 2]), 0.4, call="greedy_chances([2, 1, 2, 2], 0.4)"), [0.3, 0.1, 0.3, 0.3], "greedy_chances([2, 1, 2, 2], 0.4)", why="be shared by those that are equally best")
for often, seldom, c in ((25, 4, 2.0), (40, 9, 2.0), (30, 7, 0.7), (12, 5, 5.0), (90, 2, 3.3)):
    for factor, want in ((0.95, 1), (1.05, 0)):  # the two are even where c is c * factor
        gap = (c * factor * np.log(often + seldom)) ** 0.5 * (seldom**-0.5 - often**-0.5)
        mean = float(rng.uniform(-1, 1))
        sums, counts = np.array([often * (mean + gap), seldom * mean]), np.array([often, seldom])
        for options in ((), (c,)) if c == 2 else ((c,),):
            call = f"ucb of arms pulled {often} and {seldom} times with " + (f"c {c}" if options else "the default")
            check.equal(check.answer(ucb, sums, counts, *options, call=call), want, call, why="be the largest mean and bonus together")
            call = f"ucb of arms pulled {seldom}, 1 and {often} times"
            three, pulled = np.array([sums[1], -99.0, sums[0]]), np.array([seldom, 1, often])
            even = (c * np.log(often + seldom + 1)) ** 0.5 * (seldom**-0.5 - often**-0.5)
            check.equal(check.answer(ucb, three, pulled, c, call=call), 0 if even > gap else 2, call, why="count the pulls of all arms")
for sums, counts, c, want, why in [
    ([50.0, 1.0, 0.0, 0.0], [60, 9, 0, 0], 2.0, 2, "be an arm that was never pulled, the first such one"),
    ([0.0, 9.0], [0, 9], 2.0, 0, "be an arm that was never pulled"),
    ([1.0, 0.0], [1, 0], 2.0, 1, "be an arm that was never pulled"),
    ([0.0, 0.0, 0.0], [0, 0, 0], 2.0, 0, "be the first arm at the start"),
    ([2.0, 3.0, 3.0], [4, 4, 4], 2.0, 1, "be the first of equally good ones"),
    ([9.0, 2.0], [10, 4], 0.0, 0, "be the largest mean alone at c = 0"),
    ([9.0, 2.0], [10, 4], 50.0, 1, "try what was tried seldom at a large c"),
    ([1.0, 0.0], [1, 1], 2.0, 0, "count the mean"),
    ([3, 11], [4, 16], 0.01, 0, "take whole sums"),
]:
    call = f"ucb({sums}, {counts}, {c})"
    check.equal(check.answer(ucb, np.array(sums), np.array(counts), c, call=call), want, call, why=why)
call = "greedy_chances([0.7, 0.7 - 1e-7, 0.2], 0.3)"
found = check.answer(greedy_chances, np.array([0.7, 0.7 - 1e-7, 0.2]), 0.3, call=call)
check.close(found, [0.8, 0.1, 0.1], call, why="be shared by equal ones alone, not by those that are nearly as good")
call = "ucb([0, 9, 0], [3, 10, 0], 0.0)"
check.equal(check.answer(ucb, np.array([0.0, 9.0, 0.0]), np.array([3, 10, 0]), 0.0, call=call), 2, call, why="be an arm that was never pulled, whatever c is")
for t, want in ((3.5, 1), (4.5, 0)):  # four pulls: the two arms are even where ln t is what it is for t
    gap = (2 * np.log(t)) ** 0.5 * (1 - 3**-0.5)
    call = f"ucb([3 * {gap:.4f}, 0], [3, 1])"
    check.equal(check.answer(ucb, np.array([3 * gap, 0.0]), np.array([3, 1]), call=call), want, call, why="count the pulls so far, no more and no less")
### END HIDDEN TESTS

# %% mutant="explore" why="chance leaves the best arm out"
# - return epsilon / len(values) + (1 - epsilon) * best / best.sum()
# + rest = ~best / max((~best).sum(), 1)
# + return epsilon * rest + (1 - epsilon) * best / best.sum()

# %% mutant="explore" why="the first of the best takes all"
# - best = values == np.max(values)
# + best = np.arange(len(values)) == np.argmax(values)

# %% mutant="explore" why="epsilon for being greedy"
# - return epsilon / len(values) + (1 - epsilon) * best / best.sum()
# + return (1 - epsilon) / len(values) + epsilon * best / best.sum()

# %% mutant="explore" why="its own epsilon"
# - return epsilon / len(values) + (1 - epsilon) * best / best.sum()
# + return 0.2 / len(values) + 0.8 * best / best.sum()

# %% mutant="explore" why="another epsilon by default"
# - def greedy_chances(values: np.ndarray, epsilon: float = 0.1) -> np.ndarray:
# + def greedy_chances(values: np.ndarray, epsilon: float = 0.2) -> np.ndarray:

# %% mutant="explore" why="does not add up to 1"
# - return epsilon / len(values) + (1 - epsilon) * best / best.sum()
# + return epsilon / len(values) + (1 - epsilon) * best

# %% mutant="explore" why="sums in place of means"
# - return int(np.argmax(sums / counts + bonus))
# + return int(np.argmax(sums + bonus))

# %% mutant="explore" why="the bonus is left out"
# - return int(np.argmax(sums / counts + bonus))
# + return int(np.argmax(sums / counts))

# %% mutant="explore" why="the factor outside of the root"
# - bonus = np.sqrt(c * np.log(counts.sum()) / counts)
# + bonus = c * np.sqrt(np.log(counts.sum()) / counts)

# %% mutant="explore" why="no logarithm"
# - bonus = np.sqrt(c * np.log(counts.sum()) / counts)
# + bonus = np.sqrt(c * counts.sum() / counts)

# %% mutant="explore" why="the arm's own count within the logarithm"
# - bonus = np.sqrt(c * np.log(counts.sum()) / counts)
# + bonus = np.sqrt(c * np.log(counts) / counts)

# %% mutant="explore" why="an arm that was never pulled is left alone"
# - return int(np.argmin(counts != 0))
# + counts = np.maximum(counts, 1)

# %% mutant="explore" why="the last arm that was never pulled"
# - return int(np.argmin(counts != 0))
# + return int(np.flatnonzero(counts == 0)[-1])

# %% mutant="explore" why="c is 2 whatever is asked"
# - bonus = np.sqrt(c * np.log(counts.sum()) / counts)
# + bonus = np.sqrt(2 * np.log(counts.sum()) / counts)

# %% mutant="explore" why="nearly equal arms share"
# - best = values == np.max(values)
# + best = np.isclose(values, np.max(values))

# %% mutant="explore" why="the pull that comes is counted already"
# - bonus = np.sqrt(c * np.log(counts.sum()) / counts)
# + bonus = np.sqrt(c * np.log(counts.sum() + 1) / counts)

# %% mutant="explore" why="never pulled is a tiny count: no bonus at c = 0"
# - if (counts == 0).any():
# -     return int(np.argmin(counts != 0))
# + counts = np.maximum(counts, 1e-9)


# %% alternative="explore" why="loops"
def greedy_chances(values, epsilon=0.1):
    values = [float(v) for v in values]
    ways = values.count(max(values))
    return np.array([epsilon / len(values) + ((1 - epsilon) / ways if v == max(values) else 0) for v in values])


def ucb(sums, counts, c=2.0):
    best, chosen, t = -float("inf"), 0, sum(counts.tolist())
    for arm, (s, n) in enumerate(zip(sums.tolist(), counts.tolist(), strict=True)):
        if n == 0:
            return arm
        score = s / n + (c * np.log(t) / n) ** 0.5
        if score > best:
            best, chosen = score, arm
    return chosen


# %% [markdown]
# **Regret** is what was lost against always pulling the best arm. For a fixed $\varepsilon$ it grows by the same amount at each pull for ever; UCB's grows like a logarithm. That is a statement about the long run: within a thousand pulls, who is ahead?

# %% [markdown] lang="ru"
# **Сожаление** (regret) — то, что потеряно по сравнению с тем, кто всегда дёргает лучший автомат. При постоянном $\varepsilon$ оно вечно растёт с одной скоростью, у UCB — как логарифм. Но это утверждение о долгой игре: а кто впереди на первой тысяче попыток?


# %%
def regret(choose: Callable[[np.ndarray, np.ndarray, np.random.Generator], int], seed: int) -> np.ndarray:
    """What was lost up to each pull, on ten arms with chances by chance."""
    rng = np.random.default_rng(seed)
    arms, sums, counts = rng.uniform(0.1, 0.9, 10), np.zeros(10), np.zeros(10, int)
    lost = np.zeros(settings["pulls"])
    for pull in range(settings["pulls"]):
        arm = choose(sums, counts, rng)
        sums[arm] += rng.random() < arms[arm]
        counts[arm] += 1
        lost[pull] = arms.max() - arms[arm]
    return lost.cumsum()


def by_chances(epsilon: float) -> Callable[[np.ndarray, np.ndarray, np.random.Generator], int]:
    def choose(sums: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> int:
        chances = greedy_chances(sums / np.maximum(counts, 1), epsilon)
        return int(np.searchsorted(np.cumsum(chances), rng.random() * 0.999999))

    return choose


players = {
    "greedy": by_chances(0.0),
    "epsilon 0.1": by_chances(0.1),
    "UCB, c = 2": lambda sums, counts, rng: ucb(sums, counts),
    "UCB, c = 0.2": lambda sums, counts, rng: ucb(sums, counts, 0.2),
}
lost = {name: np.array([regret(choose, seed) for seed in range(settings["bandits"])]) for name, choose in players.items()}
plots.curves({name: runs.mean(0) for name, runs in lost.items()}, "Regret, mean over games", "pulls", "lost rewards")
plots.show("Regret of four players over pulls: the greedy player's line rises steadily, epsilon-greedy's a bit slower, UCB's lines bend; UCB with a small bonus is lowest.")
for name, runs in lost.items():
    print(f"{name:13} lost {runs[:, -1].mean():6.1f} in {settings['pulls']} pulls, +- {runs[:, -1].std() / len(runs) ** 0.5:.1f}")

# %% [markdown]
# ## 5. Learning from a teacher
# Where a good driver can be watched, why not copy them? Because of [distributional shift](glossary:distributional-shift): the copy makes small mistakes, they lead to places where the teacher never was, and there it has never seen what to do. **DAgger** ([Ross et al., 2011](https://arxiv.org/abs/1011.0686), Algorithm 3.1 with $\beta_i = 0$ after the first round; [dataset aggregation](glossary:dagger)): let the *copy* drive, ask the teacher what they would have done in these places, add that to all that is known, and learn again.
#
# `dagger` gets what the teacher's own drive saw, and three functions; it gives the policies of all rounds, the first one learned from the teacher's drive alone. Each of the teacher's answers is asked for once: a teacher's time is dear.
#
# {{task:dagger}}

# %% [markdown] lang="ru"
# ## 5. Учиться у учителя
# Если можно смотреть на хорошего водителя, почему бы не повторять за ним? Из-за [сдвига распределения](glossary:distributional-shift) (distributional shift): копия слегка ошибается, ошибки приводят её туда, где учитель никогда не бывал, а что делать там, она никогда не видела. **DAgger** ([Ross и др., 2011](https://arxiv.org/abs/1011.0686), алгоритм 3.1 с $\beta_i = 0$ после первого раунда; [накопление данных](glossary:dagger), dataset aggregation): пусть едет *копия*; спросите учителя, что он сделал бы в этих местах, добавьте ответы ко всему, что известно, и учите заново.
#
# `dagger` получает то, что видел учитель в собственной поездке, и три функции; возвращает политики всех раундов, первая — выученная по одной поездке учителя. Каждый ответ учителя спрашивают один раз: его время дорого.
#
# {{task:dagger}}


# %% solution="dagger"
def dagger(
    states: np.ndarray,
    teacher: Callable[[np.ndarray], np.ndarray],
    fit: Callable[[np.ndarray, np.ndarray], Callable],
    drive: Callable[[Callable], np.ndarray],
    rounds: int,
) -> list[Callable]:
    """The rounds + 1 policies. states: (n, ...), where the teacher was.

    teacher(states) gives the teacher's actions there, (n,). fit(states, actions) learns a policy.
    drive(policy) gives the states (m, ...) to which the policy leads.
    """
    ### BEGIN SOLUTION
    actions = teacher(states)
    policies = [fit(states, actions)]
    for _ in range(rounds):
        new = drive(policies[-1])
        states, actions = np.concatenate([states, new]), np.concatenate([actions, teacher(new)])
        policies.append(fit(states, actions))
    return policies
    ### END SOLUTION


# %% test="dagger" points=0 difficulty=2 minutes=15
heard, learned_from = [], []


def told(states):
    heard.append(states[:, 0].tolist())
    return 10 * states[:, 0]


def keep(states, actions):
    learned_from.append((states[:, 0].tolist(), actions.tolist()))
    return len(states)


call = "dagger([[1], [2]], teacher, fit, drive, 2), where drive(policy) visits [[3 * policy]]"
found = dagger(np.array([[1.0], [2.0]]), told, keep, lambda size: np.array([[3.0 * size]]), 2)
check.equal(heard, [[1.0, 2.0], [6.0], [9.0]], f"what the teacher is asked in {call}")
check.equal(learned_from[-1], ([1.0, 2.0, 6.0, 9.0], [10.0, 20.0, 60.0, 90.0]), f"what {call} learns from at last")
check.equal(check.plain(found, call), [2, 3, 4], call)
### BEGIN HIDDEN TESTS
rng = check.rng("dagger")
for rounds, n, m, shape in ((0, 3, 2, ()), (1, 2, 3, (2,)), (3, 4, 2, (2, 3))):
    start = rng.normal(size=(n, *shape))
    visits = [rng.normal(size=(m + i, *shape)) for i in range(rounds)]
    asked, lessons, drivers = [], [], []

    def knows(states, asked=asked):
        asked.append(np.array(states))
        return states.reshape(len(states), -1).sum(1)

    def learn(states, actions, lessons=lessons):
        lessons.append((np.array(states), np.array(actions)))
        return 100 + len(lessons)

    def goes(policy, drivers=drivers, visits=visits):
        drivers.append(policy)
        return visits[len(drivers) - 1].copy()

    call = f"dagger of {n} states {shape} in {rounds} rounds"
    given = start.copy()
    found = check.plain(dagger(given, knows, learn, goes, rounds), call)
    check.equal(found, [101 + i for i in range(rounds + 1)], call, why="be the policies of all rounds, in order")
    check.equal(drivers, [101 + i for i in range(rounds)], f"who drives in {call}", why="be the newest policy, once a round")
    check.equal(given, start, f"the states after {call}", why="be left as they were")
    seen = [start, *visits]
    check.equal(len(asked), rounds + 1, f"how often the teacher is asked in {call}", why="be once for each drive")
    for i in range(rounds + 1):
        check.close(asked[i], seen[i], f"what the teacher is asked about drive {i} in {call}", why="be what is new, and nothing twice")
        both = np.concatenate(seen[: i + 1])
        states, actions = lessons[i]
        check.close(states, both, f"the states of lesson {i} in {call}", why="be all so far, the old ones first")
        check.close(actions, both.reshape(len(both), -1).sum(1), f"the actions of lesson {i} in {call}", why="be the teacher's")
### END HIDDEN TESTS

# %% mutant="dagger" why="forgets what was known"
# - states, actions = np.concatenate([states, new]), np.concatenate([actions, teacher(new)])
# + states, actions = new, teacher(new)

# %% mutant="dagger" why="the teacher drives for ever"
# - new = drive(policies[-1])
# + new = drive(policies[0])

# %% mutant="dagger" why="asks about everything again"
# - states, actions = np.concatenate([states, new]), np.concatenate([actions, teacher(new)])
# + states = np.concatenate([states, new])
# + actions = teacher(states)

# %% mutant="dagger" why="the last policy alone"
# - return policies
# + return policies[-1:]

# %% mutant="dagger" why="the first policy is left out"
# - return policies
# + return policies[1:]

# %% mutant="dagger" why="a round too few"
# - for _ in range(rounds):
# + for _ in range(rounds - 1):

# %% mutant="dagger" why="new ones first"
# - states, actions = np.concatenate([states, new]), np.concatenate([actions, teacher(new)])
# + states, actions = np.concatenate([new, states]), np.concatenate([teacher(new), actions])

# %% mutant="dagger" why="the newest drive beside the teacher's, the others forgotten"
# - states, actions = np.concatenate([states, new]), np.concatenate([actions, teacher(new)])
# + states, actions = np.concatenate([states[:2], new]), np.concatenate([actions[:2], teacher(new)])


# %% alternative="dagger" why="lists of parts"
def dagger(states, teacher, fit, drive, rounds):
    parts, answers, policies = [states], [teacher(states)], []
    while True:
        policies.append(fit(np.concatenate(parts), np.concatenate(answers)))
        if len(policies) > rounds:
            return policies
        parts.append(drive(policies[-1]))
        answers.append(teacher(parts[-1]))


# %% [markdown]
# A road with bends. The driver sees a small grainy picture; the teacher knows more than that, and shows on a calm day how to drive. The copy, a small network, is sent out into gusts of wind. For comparison, the same network learns from as many pictures again of the *teacher's* drives.

# %% [markdown] lang="ru"
# Извилистая дорога. Водитель видит маленькую зернистую картинку; учитель знает больше и в тихую погоду показывает, как ехать. Копию, маленькую сеть, отправляют в порывы ветра. Для сравнения та же сеть учится на стольких же картинках из новых поездок *учителя*.


# %%
def learned_driver(pictures: np.ndarray, actions: np.ndarray) -> nn.Module:
    """A network that repeats the actions for the pictures, (n, 10, 21) -> (n,)."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(210, 32), nn.Tanh(), nn.Linear(32, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    x, y = torch.tensor(pictures), torch.tensor(actions, dtype=torch.float32)
    for _ in range(300):
        chosen = torch.randint(len(x), (64,))
        loss = (network(x[chosen]) - y[chosen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def driving(network: nn.Module) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A driver that sees the pictures alone."""
    return lambda pictures, states: network(torch.tensor(pictures)).detach().numpy()


@cache
def school(seed: int, method: str) -> list[nn.Module]:
    """The networks of all rounds, by DAgger or by watching the teacher again and again."""
    roads = week13.Road(seed)
    truth = {}  # the states that belong to pictures: only the teacher may look

    def seen_by(act: Callable, wind: float = 0.0) -> np.ndarray:
        pictures, states = roads.drive(act, cars=1, steps=150, wind=wind)
        truth.update((p.tobytes(), s) for p, s in zip(pictures[:, 0], states[:, 0], strict=True))
        return pictures[:, 0]

    def teacher(pictures: np.ndarray) -> np.ndarray:
        return roads.expert(np.stack([truth[p.tobytes()] for p in pictures]))

    def watching(pictures: np.ndarray, states: np.ndarray) -> np.ndarray:
        return roads.expert(states)

    def copy_drives(network: nn.Module) -> np.ndarray:
        return seen_by(driving(network), wind=0.08)

    def teacher_drives(network: nn.Module) -> np.ndarray:
        return seen_by(watching)

    drive = copy_drives if method == "DAgger" else teacher_drives
    return dagger(seen_by(watching), teacher, learned_driver, drive, settings["rounds"])


def off_road(network: nn.Module) -> float:
    """The share of time off the road, of 20 cars in the wind."""
    _, states = week13.Road(99).drive(driving(network), cars=20, steps=150, wind=0.08)
    return float((np.abs(states[..., 0]) > week13.Road.edge).mean())


schools = {m: [school(seed, m) for seed in range(settings["drives"])] for m in ("watching the teacher", "DAgger")}
lost_ways = {m: np.array([[off_road(network) for network in networks] for networks in runs]) for m, runs in schools.items()}
week13.bands(lost_ways, "Time off the road", "rounds of 150 pictures", "share of time off the road")
plots.show("The share of time off the road over rounds: watching the teacher again and again helps little, DAgger falls towards zero.")
for method, runs in lost_ways.items():
    print(f"{method:21} off the road at first {runs[:, 0].mean():.2f}, at the end {', '.join(f'{x:.2f}' for x in runs[:, -1])}")

# %%
strips, tracks = {}, {}
for name, network in (("after watching", school(0, "DAgger")[0]), ("after DAgger", school(0, "DAgger")[-1])):
    pictures, states = week13.Road(7).drive(driving(network), cars=6, steps=150, wind=0.08)
    strips[name], tracks[name] = pictures[::25, 0], states[..., 0]
week13.road(strips, tracks)
plots.show("Left the pictures that both drivers see on their way: the first loses the road. Right distances from the middle over time: cars that only watched drift over the edges, those of DAgger stay between them.")

# %% [markdown]
# ## 6. Without gradients
# And if all one can do is to *try* parameters and see what comes out? Try points around $\theta$ in random directions, and weigh each direction by how much better one end is than the other. **Evolution strategies** ([Salimans et al., 2017](https://arxiv.org/abs/1703.03864), with mirrored directions) estimate the gradient of the smoothed function $\mathbb E\, f(\theta + \sigma \varepsilon)$:
#
# $$\hat g = \frac{1}{2 n \sigma} \sum_{i=1}^{n} \bigl( f(\theta + \sigma \varepsilon_i) - f(\theta - \sigma \varepsilon_i) \bigr)\, \varepsilon_i.$$
#
# {{task:es_gradient}}

# %% [markdown] lang="ru"
# ## 6. Без градиентов
# А если можно только *попробовать* параметры и посмотреть, что выйдет? Попробуйте точки вокруг $\theta$ в случайных направлениях и взвесьте каждое направление тем, насколько один его конец лучше другого. **Эволюционные стратегии** (evolution strategies; [Salimans и др., 2017](https://arxiv.org/abs/1703.03864), с зеркальными направлениями) оценивают градиент сглаженной функции $\mathbb E\, f(\theta + \sigma \varepsilon)$:
#
# $$\hat g = \frac{1}{2 n \sigma} \sum_{i=1}^{n} \bigl( f(\theta + \sigma \varepsilon_i) - f(\theta - \sigma \varepsilon_i) \bigr)\, \varepsilon_i.$$
#
# {{task:es_gradient}}


# %% solution="es_gradient"
def es_gradient(
    f: Callable[[np.ndarray], float], theta: np.ndarray, directions: np.ndarray, sigma: float = 0.1
) -> np.ndarray:
    """The estimate (d,) at theta (d,). directions: (n, d). f takes (d,) and is asked 2 n times."""
    ### BEGIN SOLUTION
    differences = [f(theta + sigma * e) - f(theta - sigma * e) for e in directions]
    return np.array(differences) @ directions / (2 * len(directions) * sigma)
    ### END SOLUTION


# %% test="es_gradient" points=0 difficulty=1 minutes=10
call = "es_gradient(f, [1, -2], [[3, 0], [1, 5]], 0.2), f(x) = 4 x_0 - 3 x_1 ** 3"
found = check.answer(es_gradient, lambda x: 4 * x[0] - 3 * x[1] ** 3, np.array([1.0, -2.0]), np.array([[3.0, 0.0], [1.0, 5.0]]), 0.2, call=call)
check.close(found, [-77.5, -477.5], call)
### BEGIN HIDDEN TESTS
rng = check.rng("es_gradient")


def cubic(x):
    return float((x @ np.arange(1, len(x) + 1)) ** 3 + x[0])


for n, d in ((1, 3), (4, 2), (5, 5)):
    for said, options, sigma in (("sigma 0.7", (0.7,), 0.7), ("the default", (), 0.1)):
        theta, directions = rng.normal(size=d), rng.normal(size=(n, d))
        want = np.zeros(d)
        for e in directions:
            for j in range(d):
                want[j] += (cubic(theta + sigma * e) - cubic(theta - sigma * e)) * e[j] / (2 * n * sigma)
        call = f"es_gradient of {n} directions and {d} parameters with {said}"
        check.close(check.answer(es_gradient, cubic, theta, directions, *options, call=call), want, call, rtol=1e-7, atol=1e-9, why="weigh each direction by the difference of its ends")
theta, asked_at = rng.normal(size=3), []


def noted(x):
    asked_at.append(np.array(x))
    return 7e3 + float(x.sum())


directions = 3**0.5 * np.linalg.qr(rng.normal(size=(3, 3)))[0]
call = "es_gradient of 7000 + the sum, of 3 directions at right angles"
check.close(check.answer(es_gradient, noted, theta, directions, call=call), np.ones(3), call, rtol=1e-7, why="be the gradient, whatever is added to f")
check.equal(len(asked_at), 6, f"how often f is asked in {call}", why="be twice for each direction")
call = "es_gradient at whole numbers"
found = check.answer(es_gradient, lambda x: float(x[0] * x[1]), np.array([2, 3]), np.array([[1, 0], [2, 1]]), 0.3, call=call)
check.close(found, [9.5, 4.0], call, rtol=1e-9, why="not round")
### END HIDDEN TESTS

# %% mutant="es_gradient" why="one end alone"
# - differences = [f(theta + sigma * e) - f(theta - sigma * e) for e in directions]
# + differences = [2 * f(theta + sigma * e) for e in directions]

# %% mutant="es_gradient" why="against where it is"
# - differences = [f(theta + sigma * e) - f(theta - sigma * e) for e in directions]
# + differences = [2 * (f(theta + sigma * e) - f(theta)) for e in directions]

# %% mutant="es_gradient" why="half is forgotten"
# - return np.array(differences) @ directions / (2 * len(directions) * sigma)
# + return np.array(differences) @ directions / (len(directions) * sigma)

# %% mutant="es_gradient" why="a sum in place of a mean"
# - return np.array(differences) @ directions / (2 * len(directions) * sigma)
# + return np.array(differences) @ directions / (2 * sigma)

# %% mutant="es_gradient" why="divides by sigma squared"
# - return np.array(differences) @ directions / (2 * len(directions) * sigma)
# + return np.array(differences) @ directions / (2 * len(directions) * sigma**2)

# %% mutant="es_gradient" why="sigma is not divided by"
# - return np.array(differences) @ directions / (2 * len(directions) * sigma)
# + return np.array(differences) @ directions / (2 * len(directions))

# %% mutant="es_gradient" why="downhill"
# - differences = [f(theta + sigma * e) - f(theta - sigma * e) for e in directions]
# + differences = [f(theta - sigma * e) - f(theta + sigma * e) for e in directions]

# %% mutant="es_gradient" why="only the sign of the difference"
# - return np.array(differences) @ directions / (2 * len(directions) * sigma)
# + return np.sign(differences) @ directions / (2 * len(directions) * sigma)

# %% mutant="es_gradient" why="moves theta"
# - differences = [f(theta + sigma * e) - f(theta - sigma * e) for e in directions]
# + differences = []
# + for e in directions:
# +     theta += sigma * e
# +     ahead = f(theta.copy())
# +     theta -= 2 * sigma * e
# +     differences.append(ahead - f(theta.copy()))
# +     theta += 1.5 * sigma * e

# %% mutant="es_gradient" why="another sigma by default"
# - f: Callable[[np.ndarray], float], theta: np.ndarray, directions: np.ndarray, sigma: float = 0.1
# + f: Callable[[np.ndarray], float], theta: np.ndarray, directions: np.ndarray, sigma: float = 0.2

# %% mutant="es_gradient" why="whole numbers stay whole"
# - differences = [f(theta + sigma * e) - f(theta - sigma * e) for e in directions]
# + differences = []
# + for e in directions:
# +     step = (sigma * e).astype(theta.dtype)
# +     differences.append(f(theta + step) - f(theta - step))


# %% alternative="es_gradient" why="a mean of rows"
def es_gradient(f, theta, directions, sigma=0.1):
    rows = []
    for e in np.asarray(directions, dtype=float):
        slope = (f(theta + sigma * e) - f(theta - sigma * e)) / (2 * sigma)
        rows.append(slope * e)
    return np.mean(rows, axis=0)


# %% [markdown]
# A stick on a cart, four numbers seen, two actions: push left or right. The policy is a sum of four products, so there are four parameters to find, by nothing but trying. How long a stick stands depends on chance, so both ends of a direction are tried from the same starts.

# %% [markdown] lang="ru"
# Шест на тележке: видны четыре числа, действий два — толкнуть влево или вправо. Политика — сумма четырёх произведений, так что найти надо четыре параметра, одними пробами. Сколько простоит шест, зависит от случая, поэтому оба конца направления пробуют из одних и тех же начальных положений.


# %%
def stands(theta: np.ndarray, seed: int, carts: int = 8) -> float:
    """For how many steps the stick stands, at most 500, the mean of several carts."""
    world = gymnasium.make_vec("CartPole-v1", carts, vectorization_mode="vector_entry_point")
    seen, _ = world.reset(seed=seed)
    steps, standing = np.zeros(carts), np.ones(carts, bool)
    while standing.any():
        seen, _, fallen, late, _ = world.step((seen @ theta > 0).astype(int))
        steps += standing
        standing &= ~(fallen | late)
    return float(steps.mean())


@cache
def climbed(seed: int) -> tuple[list[float], np.ndarray]:
    """(for how many steps it stands before each update, parameters at the end)."""
    rng, theta, curve = np.random.default_rng(seed), np.zeros(4), []
    for update in range(settings["updates"]):
        curve.append(stands(theta, seed=10_000 + update))
        slope = es_gradient(lambda x, s=update: stands(x, seed=s), theta, rng.normal(size=(8, 4)), 0.3)
        theta = theta + 0.3 * slope / (np.linalg.norm(slope) + 1e-9)
    return curve, theta


trials = [climbed(seed)[0] for seed in range(5)]
week13.bands({"evolution strategies": np.array(trials)}, "A stick, by trying", "updates", "steps for which it stands")
plots.show("For how many steps the stick stands over updates, five seeds as thin lines and their interquartile mean: from about ten steps to several hundred.")
print("at the end, five seeds:", ", ".join(f"{curve[-1]:.0f}" for curve in trials), "of 500")

# %%
_, theta = climbed(0)
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pictures without a screen
world = gymnasium.make("CartPole-v1", render_mode="rgb_array")
frames, titles = [], []
seen, _ = world.reset(seed=3)
for step in range(211):
    if step % 35 == 0:
        frames.append(world.render()[150:330, 200:400])
        titles.append(f"step {step}")
    seen, _, fallen, late, _ = world.step(int(seen @ theta > 0))
    if fallen or late:
        break
week13.strip(frames, titles)
plots.show("A film strip of a cart with a stick: the stick stays upright while the cart moves a little.")

# %% [markdown]
# **What to take along.** A known world is solved, not learned. From single steps one learns either what is best or what is best for somebody who still tries: these differ. Whoever learns from a teacher has to be taught where they themselves go. And where all else fails, trying in pairs is already a gradient. In the homework the policy becomes a network, and its gradient comes from a formula that needs no second end.

# %% [markdown] lang="ru"
# **Что запомнить.** Известный мир решают, а не учат. По отдельным шагам учатся либо тому, что лучше всего, либо тому, что лучше для того, кто ещё пробует: это разные вещи. Кто учится у учителя, того надо учить там, куда попадает он сам. А если ничего больше не остаётся, то пробы парами — уже градиент. В домашнем задании политикой станет сеть, а её градиент даст формула, которой второй конец не нужен.

# %% [markdown]
# **Sources**
# - R. Sutton, A. Barto. [Reinforcement Learning](http://incompleteideas.net/book/the-book-2nd.html), 2nd edition, 2018: chapters 2, 4, 6.
# - C. Watkins. Learning from delayed rewards. PhD thesis, 1989. G. Rummery, M. Niranjan. On-line Q-learning using connectionist systems. 1994.
# - P. Auer, N. Cesa-Bianchi, P. Fischer. [Finite-time analysis of the multiarmed bandit problem](https://doi.org/10.1023/A:1013689704352). 2002.
# - S. Ross, G. Gordon, D. Bagnell. [A reduction of imitation learning to no-regret online learning](https://arxiv.org/abs/1011.0686). 2011.
# - T. Salimans et al. [Evolution strategies as a scalable alternative to RL](https://arxiv.org/abs/1703.03864). 2017.

# %% [markdown] lang="ru"
# **Источники**
# - R. Sutton, A. Barto. [Reinforcement Learning](http://incompleteideas.net/book/the-book-2nd.html), 2-е издание, 2018: главы 2, 4, 6.
# - C. Watkins. Learning from delayed rewards. Диссертация, 1989. G. Rummery, M. Niranjan. On-line Q-learning using connectionist systems. 1994.
# - P. Auer, N. Cesa-Bianchi, P. Fischer. [Finite-time analysis of the multiarmed bandit problem](https://doi.org/10.1023/A:1013689704352). 2002.
# - S. Ross, G. Gordon, D. Bagnell. [A reduction of imitation learning to no-regret online learning](https://arxiv.org/abs/1011.0686). 2011.
# - T. Salimans и др. [Evolution strategies as a scalable alternative to RL](https://arxiv.org/abs/1703.03864). 2017.
