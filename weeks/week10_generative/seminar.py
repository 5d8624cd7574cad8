# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # How far is one distribution from another?
# A generative model is a machine that makes new examples: its samples should be distributed as the data are. So two questions come first. How far apart are two distributions? And can a model walk downhill on that distance, when all it ever sees are samples? You measure the distance in four ways and see three of them give up. You fit a mixture by EM, squeeze digits through two numbers, and in the end let two networks play against each other, five settings, three seeds each, and count who finds all eight modes.

# %% [markdown] lang="ru"
# # Как далеко одно распределение от другого?
# Порождающая модель — машина, которая делает новые примеры: её примеры должны быть распределены так же, как данные. Поэтому сначала два вопроса. Как далеки два распределения? И может ли модель спускаться по этому расстоянию, если видит только выборки? Вы измерите расстояние четырьмя способами и увидите, как три из них сдаются. Подберёте смесь EM-алгоритмом, пропустите цифры через два числа, а в конце заставите две сети играть друг против друга — пять настроек, по три запуска — и посчитаете, кто находит все восемь мод.

# %% tags=["parameters"]
profile = "small"

# %%
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from practical_dl import check, data, plots, seed_everything
from practical_dl.weeks import week10

seed_everything(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
settings = {
    "small": {"points": 600, "starts": 5, "ae_steps": 900, "gan_steps": 500, "seeds": 3},
    "full": {"points": 10_000, "starts": 50, "ae_steps": 20_000, "gan_steps": 10_000, "seeds": 10},
}[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Each task can be solved without the others. Functions leave their arguments as they were; arrays of NumPy may hold integers, too. All logarithms are natural.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Каждое задание можно решить без остальных. Функции не меняют своих аргументов; в массивах NumPy могут стоять и целые числа. Все логарифмы натуральные.

# %% [markdown]
# ## 1. Three divergences
# A model that makes examples without being told what for does [generation](glossary:generation): *unconditional*, $p(x)$, or *conditional*, $p(x \mid y)$, when it is told a class or a text. To train it is to make a divergence between data and model small. For histograms $p$ and $q$ with the same bins:
# - [Kullback–Leibler](glossary:kullback-leibler-divergence): $\mathrm{KL}(p \Vert q) = \sum_i p_i \log (p_i / q_i)$. A bin with $p_i = 0$ adds 0; one with $p_i > 0$ and $q_i = 0$ makes the sum infinite. For two normal distributions it is an integral that comes out in closed form, $\log\frac{\sigma_q}{\sigma_p} + \frac{\sigma_p^2 + (\mu_p - \mu_q)^2}{2 \sigma_q^2} - \frac12$.
# - [Jensen–Shannon](glossary:jensen-shannon-divergence): both against their middle $m = (p + q) / 2$, $\mathrm{JS} = \frac12 \mathrm{KL}(p \Vert m) + \frac12 \mathrm{KL}(q \Vert m)$.
# - [Total variation](glossary:total-variation): the largest difference of the probabilities of any event, which is $\frac12 \sum_i |p_i - q_i|$.
#
# {{task:divergences}}

# %% [markdown] lang="ru"
# ## 1. Три дивергенции
# Модель, которая делает примеры, занимается [порождением](glossary:generation) (generation): *безусловным*, $p(x)$, или *условным*, $p(x \mid y)$, если ей называют класс или текст. Обучить её — значит сделать малой дивергенцию между данными и моделью. Для гистограмм $p$ и $q$ с одними и теми же столбцами:
# - [Кульбак–Лейблер](glossary:kullback-leibler-divergence) (Kullback–Leibler): $\mathrm{KL}(p \Vert q) = \sum_i p_i \log (p_i / q_i)$. Столбец с $p_i = 0$ добавляет 0; столбец с $p_i > 0$ и $q_i = 0$ делает сумму бесконечной. Для двух нормальных распределений это интеграл, который берётся: $\log\frac{\sigma_q}{\sigma_p} + \frac{\sigma_p^2 + (\mu_p - \mu_q)^2}{2 \sigma_q^2} - \frac12$.
# - [Йенсен–Шеннон](glossary:jensen-shannon-divergence) (Jensen–Shannon): оба распределения против их середины $m = (p + q) / 2$, $\mathrm{JS} = \frac12 \mathrm{KL}(p \Vert m) + \frac12 \mathrm{KL}(q \Vert m)$.
# - [Полная вариация](glossary:total-variation) (total variation): наибольшая разность вероятностей одного и того же события; она равна $\frac12 \sum_i |p_i - q_i|$.
#
# {{task:divergences}}


# %% solution="divergences"
def kl(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) of histograms (n,) that add up to 1; infinity where q misses what p has."""
    ### BEGIN SOLUTION
    has = p > 0
    with np.errstate(divide="ignore"):
        return float((p[has] * (np.log(p[has]) - np.log(q[has]))).sum())
    ### END SOLUTION


def kl_normal(mean_p: float, std_p: float, mean_q: float, std_q: float) -> float:
    """KL of two normal distributions on the line, by their means and standard deviations."""
    ### BEGIN SOLUTION
    squares = (std_p**2 + (mean_p - mean_q) ** 2) / std_q**2
    return float(np.log(std_q / std_p) + (squares - 1) / 2)
    ### END SOLUTION


def js(p: np.ndarray, q: np.ndarray) -> float:
    """The Jensen–Shannon divergence of histograms (n,)."""
    ### BEGIN SOLUTION
    middle = (p + q) / 2
    return (kl(p, middle) + kl(q, middle)) / 2
    ### END SOLUTION


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """The total variation distance of histograms (n,)."""
    ### BEGIN SOLUTION
    return float(np.abs(p - q).sum() / 2)
    ### END SOLUTION


# %% test="divergences" points=0.3 difficulty=2 minutes=20
p, q = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.1, 0.2, 0.3, 0.4])
check.close(check.answer(kl, p, q, call="kl(p, q)"), 0.8452655, "kl(p, q)", rtol=1e-5)
check.close(check.answer(js, p, q, call="js(p, q)"), 0.2214730, "js(p, q)", rtol=1e-5)
check.close(check.answer(total_variation, p, q, call="total_variation(p, q)"), 0.5, "total_variation(p, q)")
said = "kl_normal(1, 2, 3, 5)"
check.close(check.answer(kl_normal, 1.0, 2.0, 3.0, 5.0, call=said), 0.5762907, said, rtol=1e-5)
### BEGIN HIDDEN TESTS
from scipy import integrate, spatial, stats

rng = check.rng("divergences")
for n in (2, 3, 7):
    p, q = rng.dirichlet(np.ones(n), size=2)
    call = f"kl(p, q) of {n} bins"
    check.close(check.answer(kl, p, q, call=call), stats.entropy(p, q), call, rtol=1e-9, why="weigh the logarithms by p")
    call = f"kl(q, p) of {n} bins"
    check.close(check.answer(kl, q, p, call=call), stats.entropy(q, p), call, rtol=1e-9, why="weigh by its first argument")
    call = f"js(p, q) of {n} bins"
    want = spatial.distance.jensenshannon(p, q) ** 2
    check.close(check.answer(js, p, q, call=call), want, call, rtol=1e-7, why="compare both with their middle")
    call = f"total_variation(p, q) of {n} bins"
    events = [(i >> np.arange(n)) & 1 for i in range(2**n)]
    want = max(abs(float(event @ (p - q))) for event in events)
    check.close(check.answer(total_variation, p, q, call=call), want, call, rtol=1e-9, why="be the largest difference of an event")
p, q = np.append(rng.dirichlet(np.ones(3)), 0.0), rng.dirichlet(np.ones(4))
call = "kl(p, q) where p has an empty bin"
check.close(check.answer(kl, p, q, call=call), stats.entropy(p, q), call, rtol=1e-9, why="add 0 for a bin that p does not have")
call = "kl(q, p) where p has an empty bin"
check.equal(check.answer(kl, q, p, call=call), np.inf, call, why="be infinite where the second misses a bin")
both = np.insert(p, 1, 0.0), np.insert(q, 1, 0.0)
call = "kl(p, q) where a bin is empty in both"
check.close(check.answer(kl, *both, call=call), stats.entropy(p, q), call, rtol=1e-9, why="add 0 for that bin")
call = "js(p, q) where a bin is empty in both"
want = spatial.distance.jensenshannon(*both) ** 2
check.close(check.answer(js, *both, call=call), want, call, rtol=1e-7, why="add 0 for that bin")
apart = np.array([0.3, 0.7, 0, 0, 0]), np.array([0, 0, 0.2, 0.2, 0.6])
check.close(check.answer(js, *apart, call="js of histograms that share no bin"), np.log(2), "js of histograms that share no bin", rtol=1e-9, why="be log 2")
check.close(check.answer(total_variation, *apart, call="total_variation of histograms that share no bin"), 1.0, "total_variation of histograms that share no bin", rtol=1e-9, why="be 1")
check.close(check.answer(kl, q, q, call="kl(q, q)"), 0.0, "kl(q, q)", atol=1e-12, why="be 0")
check.close(check.answer(js, q, q, call="js(q, q)"), 0.0, "js(q, q)", atol=1e-12, why="be 0")
check.close(check.answer(total_variation, q, q, call="total_variation(q, q)"), 0.0, "total_variation(q, q)", atol=1e-12, why="be 0")
tiny = np.array([1e-200, 1 - 1e-200]), np.array([1e-300, 1 - 1e-300])
call = "kl(p, q) of probabilities as small as 1e-300"
check.close(check.answer(kl, *tiny, call=call), 0.0, call, atol=1e-12, why="bear small probabilities")
for spread in (0.3, 1.0, 3.0):
    mean_p, mean_q, std_p = rng.normal(), rng.normal(), rng.uniform(0.5, 1.5)
    std_q = spread * std_p
    pair = stats.norm(mean_p, std_p), stats.norm(mean_q, std_q)
    ends = mean_p - 12 * std_p, mean_p + 12 * std_p
    want = integrate.quad(lambda x, pair=pair: pair[0].pdf(x) * (pair[0].logpdf(x) - pair[1].logpdf(x)), *ends)[0]
    call = f"kl_normal({mean_p:.2f}, {std_p:.2f}, {mean_q:.2f}, {std_q:.2f})"
    found = check.answer(kl_normal, mean_p, std_p, mean_q, std_q, call=call)
    check.close(found, want, call, rtol=1e-6, atol=1e-8, why="be the integral of p log(p / q)")
rare = np.array([1e-300, 1.0]), np.array([0.0, 1.0])
call = "kl(p, q) where q misses a bin of probability 1e-300"
check.equal(check.answer(kl, *rare, call=call), np.inf, call, why="be infinite, however rare the bin is")
whole, other = np.array([0, 1, 0]), np.array([0, 0, 1])
call = "kl([0, 1, 0], [0, 0, 1]) of integers"
check.equal(check.answer(kl, whole, other, call=call), np.inf, call, why="take integers, too")
call = "js([0, 1, 0], [0, 0, 1]) of integers"
check.close(check.answer(js, whole, other, call=call), np.log(2), call, rtol=1e-9, why="take integers, too")
call = "total_variation([0, 1, 0], [0, 0, 1]) of integers"
check.close(check.answer(total_variation, whole, other, call=call), 1.0, call, rtol=1e-9, why="take integers, too")
shares = rng.dirichlet(np.ones(3))
call = "js of a histogram of integers and one of floats"
want = spatial.distance.jensenshannon(whole, shares) ** 2
check.close(check.answer(js, whole, shares, call=call), want, call, rtol=1e-7, why="take integers, too")
call = "total_variation of a histogram of integers and one of floats"
check.close(check.answer(total_variation, whole, shares, call=call), 1 - shares[1], call, rtol=1e-7, why="take integers, too")
### END HIDDEN TESTS

# %% mutant="divergences" why="weighs by q"
# - return float((p[has] * (np.log(p[has]) - np.log(q[has]))).sum())
# + return float((q[has] * (np.log(p[has]) - np.log(q[has]))).sum())

# %% mutant="divergences" why="the sign"
# - return float((p[has] * (np.log(p[has]) - np.log(q[has]))).sum())
# + return float((p[has] * (np.log(q[has]) - np.log(p[has]))).sum())

# %% mutant="divergences" why="leaves out what q misses, so that it is never infinite"
# - has = p > 0
# + has = (p > 0) & (q > 0)

# %% mutant="divergences" why="a small number in place of 0"
# - return float((p[has] * (np.log(p[has]) - np.log(q[has]))).sum())
# + return float((p[has] * (np.log(p[has]) - np.log(q[has] + 1e-9))).sum())

# %% mutant="divergences" why="0 log 0 is not a number"
# - has = p > 0
# + has = p >= 0

# %% mutant="divergences" why="in bits"
# - return float((p[has] * (np.log(p[has]) - np.log(q[has]))).sum())
# + return float((p[has] * (np.log2(p[has]) - np.log2(q[has]))).sum())

# %% mutant="divergences" why="variances in place of deviations"
# - squares = (std_p**2 + (mean_p - mean_q) ** 2) / std_q**2
# + squares = (std_p + (mean_p - mean_q) ** 2) / std_q

# %% mutant="divergences" why="the ratio upside down"
# - return float(np.log(std_q / std_p) + (squares - 1) / 2)
# + return float(np.log(std_p / std_q) + (squares - 1) / 2)

# %% mutant="divergences" why="forgets the half"
# - return float(np.log(std_q / std_p) + (squares - 1) / 2)
# + return float(np.log(std_q / std_p) + squares / 2)

# %% mutant="divergences" why="divides by the other variance"
# - squares = (std_p**2 + (mean_p - mean_q) ** 2) / std_q**2
# + squares = (std_q**2 + (mean_p - mean_q) ** 2) / std_p**2

# %% mutant="divergences" why="the sum of two, not the mean"
# - return (kl(p, middle) + kl(q, middle)) / 2
# + return kl(p, middle) + kl(q, middle)

# %% mutant="divergences" why="the middle against them"
# - return (kl(p, middle) + kl(q, middle)) / 2
# + return (kl(middle, p) + kl(middle, q)) / 2

# %% mutant="divergences" why="symmetric KL"
# - return (kl(p, middle) + kl(q, middle)) / 2
# + return (kl(p, q) + kl(q, p)) / 2

# %% mutant="divergences" why="the distance, which is its root"
# - return (kl(p, middle) + kl(q, middle)) / 2
# + return float(np.sqrt((kl(p, middle) + kl(q, middle)) / 2))

# %% mutant="divergences" why="all differences, not half"
# - return float(np.abs(p - q).sum() / 2)
# + return float(np.abs(p - q).sum())

# %% mutant="divergences" why="the largest bin"
# - return float(np.abs(p - q).sum() / 2)
# + return float(np.abs(p - q).max())

# %% mutant="divergences" why="leaves out rare bins"
# - has = p > 0
# + has = p > 1e-6

# %% mutant="divergences" why="infinite as soon as q has an empty bin"
# - has = p > 0
# + has = p > 0
# + if (q == 0).any():
# +     return float("inf")

# %% mutant="divergences" why="the middle keeps the dtype: integers are cut"
# - middle = (p + q) / 2
# + middle = ((p + q) / 2).astype(p.dtype)


# %% alternative="divergences" why="loops, and the entropies"
def kl(p, q):
    total = 0.0
    for a, b in zip(p.tolist(), q.tolist(), strict=True):
        if a > 0:
            total += np.inf if b == 0 else a * float(np.log(a) - np.log(b))
    return total


def kl_normal(mean_p, std_p, mean_q, std_q):
    return np.log(std_q) - np.log(std_p) + std_p**2 / (2 * std_q**2) + (mean_q - mean_p) ** 2 / (2 * std_q**2) - 0.5


def entropy(p):
    return -sum(a * np.log(a) for a in p if a > 0)


def js(p, q):
    return entropy(0.5 * p + 0.5 * q) - 0.5 * entropy(p) - 0.5 * entropy(q)


def total_variation(p, q):
    return float(np.maximum(p - q, 0).sum())


# %% [markdown]
# ## 2. Moving earth
# All three compare bin with bin. Whether a wrong bin is next door or a mile away is all the same to them. The [Wasserstein distance](glossary:wasserstein-distance) asks how far earth has to be moved: $W_1$ is the least sum of mass times way that turns the heap $p$ into the heap $q$. On a line the best plan is known: whatever lies too much to the left of a place has to pass over it. With the running sums $P_i = p_1 + \dots + p_i$ and $Q_i$, and the places $x_1 < x_2 < \dots < x_n$ of the bins,
#
# $$W_1 = \sum_{i=1}^{n-1} |P_i - Q_i| \, (x_{i+1} - x_i).$$
#
# {{task:wasserstein}}

# %% [markdown] lang="ru"
# ## 2. Перевозка земли
# Все три сравнивают столбец со столбцом. Стоит ли лишний столбец рядом или за версту, им всё равно. [Расстояние Вассерштейна](glossary:wasserstein-distance) (Wasserstein distance) спрашивает, как далеко придётся везти землю: $W_1$ — наименьшая сумма «масса на путь», которая превращает кучу $p$ в кучу $q$. На прямой лучший план известен: всё, чего слева от данного места слишком много, должно через него пройти. С накопленными суммами $P_i = p_1 + \dots + p_i$ и $Q_i$ и местами столбцов $x_1 < x_2 < \dots < x_n$
#
# $$W_1 = \sum_{i=1}^{n-1} |P_i - Q_i| \, (x_{i+1} - x_i).$$
#
# {{task:wasserstein}}


# %% solution="wasserstein"
def wasserstein(p: np.ndarray, q: np.ndarray, x: np.ndarray) -> float:
    """W1 of histograms p and q (n,) whose bins stand at x (n,), which rises; n >= 1.

    wasserstein([1, 0], [0, 1], [3, 5]) -> 2
    """
    ### BEGIN SOLUTION
    return float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(x))
    ### END SOLUTION


# %% test="wasserstein" points=0.2 difficulty=2 minutes=10
p, q, x = np.array([0.5, 0.2, 0.3]), np.array([0.1, 0.3, 0.6]), np.array([-1.0, 2.0, 7.0])
said = "wasserstein([0.5, 0.2, 0.3], [0.1, 0.3, 0.6], [-1, 2, 7])"
check.close(check.answer(wasserstein, p, q, x, call=said), 2.7, said, why="move 0.4 over the first gap and 0.3 over the second")
### BEGIN HIDDEN TESTS
from scipy.optimize import linprog

rng = check.rng("wasserstein")


def cheapest(p, q, x):
    """The cost of the best plan (n, n), by linear programming: rows add up to p, columns to q."""
    n = len(x)
    rows, columns = np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))
    ways = np.abs(x[:, None] - x).ravel()
    return linprog(ways, A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([p, q]), bounds=(0, None)).fun


for n in (2, 3, 5, 6):
    p, q = rng.dirichlet(np.ones(n), size=2)
    x = np.cumsum(rng.uniform(0.2, 3, size=n)) - 4
    call = f"wasserstein(p, q, x) of {n} bins"
    check.close(check.answer(wasserstein, p, q, x, call=call), cheapest(p, q, x), call, rtol=1e-6, why="cost no more than the best plan, and no less")
    call = f"wasserstein(q, p, x) of {n} bins"
    check.close(check.answer(wasserstein, q, p, x, call=call), cheapest(p, q, x), call, rtol=1e-6, why="be the same both ways")
x = np.array([-3.0, -1.0, 0.5, 4.0, 9.0])
for i, j in ((0, 4), (3, 1), (4, 3)):
    call = f"wasserstein of all mass at {x[i]} and all mass at {x[j]}"
    check.close(check.answer(wasserstein, np.eye(5)[i], np.eye(5)[j], x, call=call), abs(x[i] - x[j]), call, why="be the way between the two")
call = "wasserstein([1], [1], [3])"
check.close(check.answer(wasserstein, np.ones(1), np.ones(1), np.array([3.0]), call=call), 0.0, call, atol=1e-12, why="be 0 for a single bin")
call = "wasserstein of bins at integers"
found = check.answer(wasserstein, np.array([0.25, 0.25, 0.5]), np.array([0.5, 0.375, 0.125]), np.array([-2, 1, 5]), call=call)
check.close(found, 2.25, call, rtol=1e-9, why="take integers, too")
call = "wasserstein of a histogram of integers and one of floats"
found = check.answer(wasserstein, np.array([1, 0, 0]), np.array([0.25, 0.25, 0.5]), np.array([0.5, 2.0, 6.0]), call=call)
check.close(found, 3.125, call, rtol=1e-9, why="take integers, too")
call = "wasserstein of two histograms of integers at integers"
found = check.answer(wasserstein, np.array([0, 1, 0]), np.array([1, 0, 0]), np.array([-4, 3, 9]), call=call)
check.close(found, 7.0, call, rtol=1e-9, why="take integers, too")
### END HIDDEN TESTS

# %% mutant="wasserstein" why="bins at equal distances"
# - return float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(x))
# + return float(np.abs(np.cumsum(p - q))[:-1].sum() * np.diff(x).mean()) if len(x) > 1 else 0.0

# %% mutant="wasserstein" why="a bin as wide as one"
# - return float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(x))
# + return float(np.abs(np.cumsum(p - q)).sum())

# %% mutant="wasserstein" why="no running sum"
# - return float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(x))
# + return float(np.abs(p - q)[:-1] @ np.diff(x))

# %% mutant="wasserstein" why="the difference of the means"
# - return float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(x))
# + return float(abs((p - q) @ x))

# %% mutant="wasserstein" why="the sums one place too late"
# - return float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(x))
# + return float(np.abs(np.cumsum(p - q))[1:] @ np.diff(x))

# %% mutant="wasserstein" why="signs cancel"
# - return float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(x))
# + return float(abs(np.cumsum(p - q)[:-1] @ np.diff(x)))

# %% mutant="wasserstein" why="half, as in total variation"
# - return float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(x))
# + return float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(x) / 2)

# %% mutant="wasserstein" why="W2: squares of the sums"
# - return float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(x))
# + return float(np.sqrt(np.cumsum(p - q)[:-1] ** 2 @ np.diff(x)))

# %% mutant="wasserstein" why="sums in the dtype of the places: cut at integers"
# - return float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(x))
# + sums = np.abs(np.cumsum(p - q)).astype(x.dtype)
# + return float(sums[:-1] @ np.diff(x))

# %% mutant="wasserstein" why="sums in the dtype of p: cut for integers"
# - return float(np.abs(np.cumsum(p - q))[:-1] @ np.diff(x))
# + sums = np.abs(np.cumsum(p - q)).astype(p.dtype)
# + return float(sums[:-1] @ np.diff(x))


# %% alternative="wasserstein" why="carries earth from heap to heap"
def wasserstein(p, q, x):
    carried, cost = 0.0, 0.0
    for i in range(len(x) - 1):
        carried = carried + p[i] - q[i]
        cost += abs(carried) * (x[i + 1] - x[i])
    return cost


# %% [markdown]
# Now push one heap away from the other and watch. On the left two heaps of width 1: as soon as they touch no more, JS and TV stand still and KL is infinite (its line ends). On the right two normal distributions, whose tails reach everywhere. **A model learns by making its distance a little smaller; where the line is flat, there is nothing to learn from.** Keep this picture for section 6.

# %% [markdown] lang="ru"
# Теперь отодвинем одну кучу от другой и посмотрим. Слева две кучи шириной 1: как только они не касаются, JS и TV стоят на месте, а KL бесконечна (её линия обрывается). Справа два нормальных распределения, хвосты которых достают повсюду. **Модель учится, делая расстояние чуть меньше; где линия плоская, учиться не на чем.** Запомните эту картинку до раздела 6.

# %%
places = np.arange(-8, 12, 0.05)
shifts = np.arange(0, 4.001, 0.1)
shapes = {
    "two heaps of width 1": lambda shift: (np.abs(places - shift) < 0.5).astype(float),
    "two normal distributions": lambda shift: np.exp(-((places - shift) ** 2) / 2),
}
measures = {"KL": kl, "JS": js, "TV": total_variation, "W1": lambda p, q: wasserstein(p, q, places)}
panels = {}
for title, shape in shapes.items():
    heaps = [shape(shift) / shape(shift).sum() for shift in shifts]
    found = {name: np.array([measure(heap, heaps[0]) for heap in heaps]) for name, measure in measures.items()}
    panels[title] = {name: (shifts, np.where(values < 4.5, values, np.nan)) for name, values in found.items()}
week10.apart(panels, "distance of the centres")
plots.show(
    "Four distances against the way between two heaps. Boxes: KL ends at once, JS and TV become flat when the boxes "
    "part, W1 rises in a straight line. Normal distributions: KL rises as a parabola, JS and TV flatten, W1 is straight."
)

# %% [markdown]
# ## 3. A mixture, and who belongs to what
# The oldest generative model: draw a component by its weight $\pi_j$, then a point from its normal distribution, here with a variance of its own for each coordinate. Data are eight small heaps on a circle. Maximum likelihood has no formula here, because nobody says which component made a point. **Expectation–maximisation** ([Dempster et al., 1977](https://doi.org/10.1111/j.2517-6161.1977.tb01600.x)) takes turns. The E step gives each point to all components, by how well they explain it:
#
# $$r_{ij} = \frac{\pi_j\, N(x_i; \mu_j, \sigma_j^2)}{\sum_l \pi_l\, N(x_i; \mu_l, \sigma_l^2)}.$$
#
# The denominator is the likelihood of the point; the mean of its logarithm says how good the mixture is. Far away all densities underflow: work with logarithms. A component of weight 0 gets nothing.
#
# {{task:e_step}}

# %% [markdown] lang="ru"
# ## 3. Смесь: кто кому принадлежит
# Самая старая порождающая модель: выбрать компоненту по её весу $\pi_j$, затем точку из её нормального распределения, здесь со своей дисперсией у каждой координаты. Данные — восемь кучек на окружности. Формулы для максимума правдоподобия здесь нет: никто не говорит, какая компонента сделала точку. **EM-алгоритм** (expectation–maximisation; [Dempster и др., 1977](https://doi.org/10.1111/j.2517-6161.1977.tb01600.x)) чередует два шага. E-шаг раздаёт каждую точку всем компонентам по тому, как хорошо они её объясняют:
#
# $$r_{ij} = \frac{\pi_j\, N(x_i; \mu_j, \sigma_j^2)}{\sum_l \pi_l\, N(x_i; \mu_l, \sigma_l^2)}.$$
#
# Знаменатель — правдоподобие точки; среднее его логарифма говорит, насколько хороша смесь. Вдали все плотности обращаются в ноль: считайте в логарифмах. Компонента с весом 0 не получает ничего.
#
# {{task:e_step}}


# %% solution="e_step"
def e_step(
    x: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray
) -> tuple[np.ndarray, float]:
    """(responsibilities (n, k), mean log-likelihood of a point).

    x: (n, d). weights: (k,), they add up to 1. means, variances: (k, d), each coordinate by itself.
    """
    ### BEGIN SOLUTION
    squares = (x[:, None] - means) ** 2 / variances
    with np.errstate(divide="ignore"):
        logs = np.log(weights) - (squares + np.log(2 * np.pi * variances)).sum(2) / 2
    largest = logs.max(1, keepdims=True)
    shares = np.exp(logs - largest)
    totals = shares.sum(1, keepdims=True)
    return shares / totals, float((np.log(totals) + largest).mean())
    ### END SOLUTION


# %% test="e_step" points=0.25 difficulty=3 minutes=20
x = np.array([[0.0, 1.0], [2.0, -1.0], [3.0, 3.0]])
mixture = np.array([0.3, 0.7]), np.array([[0.0, 0.0], [2.0, 1.0]]), np.array([[1.0, 4.0], [2.0, 0.5]])
responsibilities, likelihood = check.answer(e_step, x, *mixture, call="e_step(x, weights, means, variances)")
check.close(responsibilities[0], [0.3395175, 0.6604825], "the responsibilities of the first point", rtol=1e-5, why="be shares of weight times density")
check.close(likelihood, -4.8305858, "the mean log-likelihood", rtol=1e-5)
### BEGIN HIDDEN TESTS
from scipy import stats
from scipy.special import logsumexp

rng = check.rng("e_step")


def slow_e_step(x, weights, means, variances):
    logs = np.array([
        [np.log(weights[j]) + stats.norm.logpdf(x[i], means[j], np.sqrt(variances[j])).sum() for j in range(len(means))]
        for i in range(len(x))
    ])
    totals = logsumexp(logs, axis=1)
    return np.exp(logs - totals[:, None]), float(totals.mean())


def judge_e_step(x, mixture, call, why):
    want = slow_e_step(x, *mixture)
    found = check.answer(e_step, x, *mixture, call=call)
    check.close(found[0], want[0], f"{call}[0]", rtol=1e-8, atol=1e-10, why=why)
    check.close(found[1], want[1], f"{call}[1]", rtol=1e-6, why="be the mean logarithm of the densities")


def any_mixture(k, d):
    return rng.dirichlet(np.full(k, 5.0)), rng.normal(size=(k, d)), rng.uniform(0.3, 3, size=(k, d))


judge_e_step(rng.normal(size=(5, 1)), any_mixture(1, 1), "e_step of one component", "give all to it")
judge_e_step(rng.normal(size=(4, 3)), any_mixture(2, 3), "e_step of two components", "weigh densities")
judge_e_step(rng.normal(size=(2, 5)), any_mixture(4, 5), "e_step of four components", "weigh densities")
judge_e_step(rng.normal(size=(1, 2)), any_mixture(3, 2), "e_step of one point", "weigh densities")
weights, means, variances = any_mixture(3, 2)
judge_e_step(np.array([[80.0, -90.0], [1e3, 1e3]]), (weights, means, variances), "e_step of points far away", "bear densities of e to the minus thousands")
judge_e_step(1e3 + rng.normal(size=(6, 4)), (weights, 1e3 + rng.normal(size=(3, 4)), np.full((3, 4), 0.01)), "e_step of narrow components", "bear small variances")
judge_e_step(rng.normal(size=(6, 2)), (np.array([0.15, 0.85]), np.zeros((2, 2)), np.full((2, 2), 1.7)), "e_step of components that differ by weight alone", "have the weights in it")
judge_e_step(np.array([[1.0, 2.0]]), (np.array([0.5, 0.5]), np.zeros((2, 2)), np.array([[1.0, 4.0], [4.0, 1.0]])), "e_step of exchanged variances", "have a variance for each coordinate")
x = rng.normal(size=(4, 2))
call = "e_step with a component of weight 0"
found = check.answer(e_step, x, np.insert(weights, 1, 0.0), np.insert(means, 1, 0.3, 0), np.insert(variances, 1, 1.0, 0), call=call)
want = slow_e_step(x, weights, means, variances)
check.close(found[0], np.insert(want[0], 1, 0.0, axis=1), f"{call}[0]", rtol=1e-6, atol=1e-9, why="give it nothing")
check.close(found[1], want[1], f"{call}[1]", rtol=1e-6, why="be as without it")
call = "e_step of points that only a component of weight 0 is near"
near = 60 + rng.normal(size=(4, 2))
found = check.answer(e_step, near, np.append(weights, 0.0), np.append(means, [[60.0, 60.0]], 0), np.append(variances, [[1.0, 1.0]], 0), call=call)
want = slow_e_step(near, weights, means, variances)
check.close(found[0], np.insert(want[0], 3, 0.0, axis=1), f"{call}[0]", rtol=1e-6, atol=1e-9, why="give it nothing, even there")
check.close(found[1], want[1], f"{call}[1]", rtol=1e-6, why="be as without it")
near = rng.normal(size=(3, 2)) * [[1.0], [1.0], [300.0]]
judge_e_step(near, (weights, means, variances), "e_step of near points and a far one", "bear both at once")
judge_e_step(np.array([[2, -1], [0, 3], [-4, 1]]), (weights, means, variances), "e_step of points of integers", "take integers, too")
### END HIDDEN TESTS

# %% mutant="e_step" why="densities, not their logarithms: 0 / 0 far away"
# - largest = logs.max(1, keepdims=True)
# + largest = np.zeros((len(x), 1))

# %% mutant="e_step" why="one maximum for all points"
# - largest = logs.max(1, keepdims=True)
# + largest = np.full((len(x), 1), logs.max())

# %% mutant="e_step" why="forgets the weights"
# - logs = np.log(weights) - (squares + np.log(2 * np.pi * variances)).sum(2) / 2
# + logs = 0 * weights - (squares + np.log(2 * np.pi * variances)).sum(2) / 2

# %% mutant="e_step" why="forgets how wide a component is"
# - logs = np.log(weights) - (squares + np.log(2 * np.pi * variances)).sum(2) / 2
# + logs = np.log(weights) - (squares + np.log(2 * np.pi)).sum(2) / 2

# %% mutant="e_step" why="2 pi once, not for each coordinate"
# - logs = np.log(weights) - (squares + np.log(2 * np.pi * variances)).sum(2) / 2
# + logs = np.log(weights) - ((squares + np.log(variances)).sum(2) + np.log(2 * np.pi)) / 2

# %% mutant="e_step" why="variances as deviations"
# - squares = (x[:, None] - means) ** 2 / variances
# + squares = (x[:, None] - means) ** 2 / variances**2

# %% mutant="e_step" why="forgets the half of the exponent"
# - logs = np.log(weights) - (squares + np.log(2 * np.pi * variances)).sum(2) / 2
# + logs = np.log(weights) - (2 * squares + np.log(2 * np.pi * variances)).sum(2) / 2

# %% mutant="e_step" why="shares of points, not of components"
# - return shares / totals, float((np.log(totals) + largest).mean())
# + return shares / shares.sum(0), float((np.log(totals) + largest).mean())

# %% mutant="e_step" why="the sum over points"
# - return shares / totals, float((np.log(totals) + largest).mean())
# + return shares / totals, float((np.log(totals) + largest).sum())

# %% mutant="e_step" why="the likelihood of the best component"
# - return shares / totals, float((np.log(totals) + largest).mean())
# + return shares / totals, float(largest.mean())

# %% mutant="e_step" why="each point to one component alone"
# - return shares / totals, float((np.log(totals) + largest).mean())
# + return (logs == largest).astype(float), float((np.log(totals) + largest).mean())

# %% mutant="e_step" why="a small number beside the weights: a component of weight 0 takes what is near"
# - logs = np.log(weights) - (squares + np.log(2 * np.pi * variances)).sum(2) / 2
# + logs = np.log(weights + 1e-12) - (squares + np.log(2 * np.pi * variances)).sum(2) / 2

# %% mutant="e_step" why="the largest before the weights: 0 / 0 where only a component of weight 0 is near"
# - largest = logs.max(1, keepdims=True)
# + largest = (-(squares + np.log(2 * np.pi * variances)).sum(2) / 2).max(1, keepdims=True)

# %% mutant="e_step" why="logarithms that are cut at -700"
# - largest = logs.max(1, keepdims=True)
# + logs = np.maximum(logs, -700)
# + largest = logs.max(1, keepdims=True)


# %% alternative="e_step" why="torch's distributions, one component after the other"
def e_step(x, weights, means, variances):
    columns = []
    for weight, mean, variance in zip(weights, means, variances, strict=True):
        normal = torch.distributions.Normal(torch.tensor(mean), torch.tensor(variance).sqrt())
        columns.append(torch.tensor(weight).log() + normal.log_prob(torch.tensor(x)).sum(1))
    logs = torch.stack(columns, dim=1)
    return logs.softmax(1).numpy(), float(logs.logsumexp(1).mean())


# %% [markdown]
# The M step is weighted counting. With $n_j = \sum_i r_{ij}$, the points that belong to component $j$:
#
# $$\pi_j = \frac{n_j}{n}, \qquad \mu_j = \frac1{n_j} \sum_i r_{ij} x_i, \qquad \sigma_j^2 = \frac1{n_j} \sum_i r_{ij} (x_i - \mu_j)^2,$$
#
# squares coordinate by coordinate. Two things break it in practice. A component that sits on a single point has variance 0 and infinite density: no variance may be smaller than `floor`. And a component to which nothing belongs, $n_j = 0$: it gets weight 0, and mean and variance (above `floor`, too) of all points. Points may lie close together and far from zero.
#
# {{task:m_step}}

# %% [markdown] lang="ru"
# M-шаг — подсчёт с весами. С числом точек $n_j = \sum_i r_{ij}$, которые принадлежат компоненте $j$,
#
# $$\pi_j = \frac{n_j}{n}, \qquad \mu_j = \frac1{n_j} \sum_i r_{ij} x_i, \qquad \sigma_j^2 = \frac1{n_j} \sum_i r_{ij} (x_i - \mu_j)^2,$$
#
# квадраты — по координатам. На деле его ломают две вещи. У компоненты, севшей на одну точку, дисперсия 0 и бесконечная плотность: ни одна дисперсия не меньше `floor`. И компонента, которой не принадлежит ничего, $n_j = 0$: она получает вес 0, а среднее и дисперсию (тоже не меньше `floor`) — всех точек. Точки могут лежать тесно и далеко от нуля.
#
# {{task:m_step}}


# %% solution="m_step"
def m_step(
    x: np.ndarray, responsibilities: np.ndarray, floor: float = 1e-6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(weights (k,), means (k, d), variances (k, d)) of points (n, d) and responsibilities (n, k)."""
    ### BEGIN SOLUTION
    counts = responsibilities.sum(0)
    shares = np.where(counts > 0, responsibilities, 1.0)
    shares = shares / shares.sum(0)
    means = shares.T @ x
    variances = np.stack([shares[:, j] @ (x - means[j]) ** 2 for j in range(len(counts))])
    return counts / len(x), means, np.maximum(variances, floor)
    ### END SOLUTION


# %% test="m_step" points=0.25 difficulty=2 minutes=15
x, r = np.array([[1.0, 4.0], [3.0, 0.0], [7.0, 2.0]]), np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]])
weights, means, variances = check.answer(m_step, x, r, call="m_step(x, responsibilities)")
check.close(weights, [0.5, 0.5], "the weights", why="be shares of the points")
check.close(means, [[31 / 15, 38 / 15], [79 / 15, 22 / 15]], "the means", why="weigh the points by responsibilities")
check.close(variances[0], [2.5955556, 3.4488889], "the variances of the first component", rtol=1e-5, why="be measured from its own mean")
### BEGIN HIDDEN TESTS
rng = check.rng("m_step")


def judge_m_step(x, r, call, why, **options):
    floor = options.get("floor", 1e-6)
    means = np.stack([np.average(x, axis=0, weights=r[:, j] if r[:, j].any() else None) for j in range(r.shape[1])])
    variances = np.stack([np.average((x - means[j]) ** 2, axis=0, weights=r[:, j] if r[:, j].any() else None) for j in range(r.shape[1])])
    found = check.answer(m_step, x, r, call=call, **options)
    check.close(found[0], r.mean(0), f"{call}[0]", rtol=1e-9, atol=1e-12, why="be the shares of points")
    check.close(found[1], means, f"{call}[1]", rtol=1e-7, atol=1e-9, why=why)
    check.close(found[2], np.maximum(variances, floor), f"{call}[2]", rtol=1e-6, atol=1e-12, why=why)


judge_m_step(rng.normal(size=(5, 2)), rng.dirichlet(np.ones(3), size=5), "m_step of three components", "weigh points and squares")
judge_m_step(rng.normal(size=(4, 3)), rng.dirichlet(np.ones(2), size=4), "m_step in three dimensions", "weigh points and squares")
judge_m_step(rng.normal(size=(6, 1)), np.ones((6, 1)), "m_step of one component", "be mean and variance of all")
judge_m_step(50 + rng.normal(size=(7, 2)), rng.dirichlet(np.ones(2), size=7), "m_step far from the origin", "measure squares from the mean")
r = rng.dirichlet(np.ones(2), size=5)
judge_m_step(rng.normal(size=(5, 3)), np.insert(r, 1, 0.0, axis=1), "m_step with a component to which nothing belongs", "give it mean and variance of all points")
judge_m_step(rng.normal(size=(5, 3)), np.insert(r, [0, 2], 0.0, axis=1), "m_step with two such components", "give each mean and variance of all points")
twice = np.repeat(rng.normal(size=(1, 2)), 4, axis=0)
judge_m_step(twice, rng.dirichlet(np.ones(2), size=4), "m_step of equal points", "have no variance below 1e-6")
judge_m_step(twice, rng.dirichlet(np.ones(2), size=4), "m_step of equal points, floor=0.03", "have no variance below floor", floor=0.03)
judge_m_step(rng.normal(size=(6, 2)) * [0.1, 5.0], rng.dirichlet(np.ones(2), size=6), "m_step of points that are flat, floor=0.4", "raise only what is below the floor", floor=0.4)
judge_m_step(rng.normal(size=(5, 2)) * 1e-4, rng.dirichlet(np.ones(2), size=5), "m_step of close points, floor=0", "have the variance that there is", floor=0.0)
tiny = rng.dirichlet(np.ones(2), size=5) * [[1.0, 1e-150]]
judge_m_step(rng.normal(size=(5, 2)), tiny, "m_step with responsibilities as small as 1e-150", "belong to it all the same")
judge_m_step(1e6 + rng.normal(size=(7, 2)), rng.dirichlet(np.ones(2), size=7), "m_step of points close together and far from zero", "measure squares from the mean")
judge_m_step(twice, np.insert(rng.dirichlet(np.ones(2), size=4), 1, 0.0, axis=1), "m_step of equal points and a component to which nothing belongs, floor=0.02", "have no variance below floor there either", floor=0.02)
judge_m_step(np.array([[1, 4], [2, 0], [7, 2], [3, 3]]), rng.dirichlet(np.ones(3), size=4), "m_step of points of integers", "take integers, too")
judge_m_step(rng.normal(size=(5, 2)), np.eye(3, dtype=int)[[0, 2, 2, 0, 2]], "m_step of responsibilities that are integers", "take integers, too")
### END HIDDEN TESTS

# %% mutant="m_step" why="counts that are not divided by n"
# - return counts / len(x), means, np.maximum(variances, floor)
# + return counts, means, np.maximum(variances, floor)

# %% mutant="m_step" why="equal weights"
# - return counts / len(x), means, np.maximum(variances, floor)
# + return np.full(len(counts), 1 / len(counts)), means, np.maximum(variances, floor)

# %% mutant="m_step" why="deviations in place of variances"
# - return counts / len(x), means, np.maximum(variances, floor)
# + return counts / len(x), means, np.maximum(np.sqrt(variances), floor)

# %% mutant="m_step" why="adds the floor"
# - return counts / len(x), means, np.maximum(variances, floor)
# + return counts / len(x), means, variances + floor

# %% mutant="m_step" why="no floor"
# - return counts / len(x), means, np.maximum(variances, floor)
# + return counts / len(x), means, variances

# %% mutant="m_step" why="one variance for all coordinates"
# - return counts / len(x), means, np.maximum(variances, floor)
# + return counts / len(x), means, np.maximum(variances, floor) * 0 + np.maximum(variances, floor).mean(1, keepdims=True)

# %% mutant="m_step" why="squares from the mean of all points"
# - variances = np.stack([shares[:, j] @ (x - means[j]) ** 2 for j in range(len(counts))])
# + variances = np.stack([shares[:, j] @ (x - x.mean(0)) ** 2 for j in range(len(counts))])

# %% mutant="m_step" why="squares from zero"
# - variances = np.stack([shares[:, j] @ (x - means[j]) ** 2 for j in range(len(counts))])
# + variances = np.stack([shares[:, j] @ x ** 2 for j in range(len(counts))])

# %% mutant="m_step" why="0 / 0 for a component to which nothing belongs"
# - shares = np.where(counts > 0, responsibilities, 1.0)
# + shares = responsibilities

# %% mutant="m_step" why="such a component at the origin"
# - shares = np.where(counts > 0, responsibilities, 1.0)
# + shares = responsibilities + 0.0; counts = np.maximum(counts, 1e-300)
# - shares = shares / shares.sum(0)
# + shares = shares / counts

# %% mutant="m_step" why="the unbiased variance"
# - variances = np.stack([shares[:, j] @ (x - means[j]) ** 2 for j in range(len(counts))])
# + variances = np.stack([shares[:, j] @ (x - means[j]) ** 2 for j in range(len(counts))]) * len(x) / max(len(x) - 1, 1)

# %% mutant="m_step" why="a floor of its own by default"
# - x: np.ndarray, responsibilities: np.ndarray, floor: float = 1e-6
# + x: np.ndarray, responsibilities: np.ndarray, floor: float = 1e-3

# %% mutant="m_step" why="the mean square less the squared mean: nothing is left of it far from zero"
# - variances = np.stack([shares[:, j] @ (x - means[j]) ** 2 for j in range(len(counts))])
# + variances = shares.T @ (x * x) - means**2

# %% mutant="m_step" why="means in the dtype of the points: integers are cut"
# - means = shares.T @ x
# + means = (shares.T @ x).astype(x.dtype)

# %% mutant="m_step" why="a floor for those alone to which something belongs"
# - return counts / len(x), means, np.maximum(variances, floor)
# + return counts / len(x), means, np.where(counts[:, None] > 0, np.maximum(variances, floor), variances)

# %% mutant="m_step" why="a floor where the variance is exactly 0 alone"
# - return counts / len(x), means, np.maximum(variances, floor)
# + return counts / len(x), means, np.where(variances == 0, floor, variances)


# %% alternative="m_step" why="component by component"
def m_step(x, responsibilities, floor=1e-6):
    n, k = responsibilities.shape
    weights, means, variances = [], [], []
    for j in range(k):
        r = responsibilities[:, j]
        belongs = sum(r)
        if belongs == 0:
            r, total = np.ones(n), n
        else:
            total = belongs
        mean = sum(r[i] * x[i] for i in range(n)) / total
        weights.append(belongs / n)
        means.append(mean)
        variances.append([max(float(floor), v) for v in sum(r[i] * (x[i] - mean) ** 2 for i in range(n)) / total])
    return np.array(weights), np.array(means), np.array(variances)


# %% [markdown]
# Take turns: each pair of steps can only raise the likelihood. But from where you start decides where you end. Below are several starts, each from eight points by chance; the dashed line is the likelihood of the true mixture, which here is known.

# %% [markdown] lang="ru"
# Чередуйте: каждая пара шагов может только поднять правдоподобие. Но от начала зависит конец. Ниже несколько запусков, каждый от восьми случайных точек; пунктир — правдоподобие настоящей смеси, которое здесь известно.

# %%
draw = np.random.default_rng(0)
heaps = week10.ring(settings["points"], draw)
lines, likely, ends = {}, [], []
for start in range(settings["starts"]):
    mixture = np.full(8, 1 / 8), heaps[draw.choice(len(heaps), 8, replace=False)], np.full((8, 2), 0.1)
    history, states = [], {0: mixture}
    for step in range(1, 61):
        responsibilities, likelihood = e_step(heaps, *mixture)
        mixture = m_step(heaps, responsibilities)
        history.append(likelihood)
        states[step] = mixture
    lines[f"start {start + 1}"] = history
    likely.append(history[-1])
    ends.append(states)
truth = float(week10.log_ring(heaps).mean())
print(f"the true mixture: {truth:.3f}; after 60 steps:", ", ".join(f"{value:.3f}" for value in likely))
print("never falls:", all(np.all(np.diff(history) > -1e-9) for history in lines.values()))
ax = plots.curves(lines, "Where you start decides where you end", "step", "mean log-likelihood")
ax.axhline(truth, ls="--", color="0.3")
plots.show("Mean log-likelihood over EM's steps, a line a start: all rise, by jumps, and most stop below the dashed line of the true mixture.")
best, worst = int(np.argmax(likely)), int(np.argmin(likely))
week10.mixtures(heaps, {
    "worst start, step 1": ends[worst][1],
    "worst start, step 60": ends[worst][60],
    "best start, step 1": ends[best][1],
    "best start, step 60": ends[best][60],
})
plots.show("Eight heaps of points on a circle with the mixture's ellipses: in the worst start one ellipse lies over two or more heaps while others share one; in the best one it is nearer to an ellipse a heap.")

# %% [markdown]
# ## 4. A code of two numbers
# A mixture of normal distributions will not draw digits: pictures lie on a thin, bent sheet in 64 dimensions. An [autoencoder](glossary:autoencoder) looks for the sheet. An encoder squeezes a picture into a code of a few numbers, a decoder makes the picture again, and both learn from the error of the copy. No labels are needed. Build it of four `nn.Linear`, with one hidden layer of `width` numbers and tanh on each side; the code and the copy are sums without an activation.
#
# {{task:autoencoder}}

# %% [markdown] lang="ru"
# ## 4. Код из двух чисел
# Смесь нормальных распределений цифр не нарисует: картинки лежат на тонком изогнутом листе в пространстве из 64 измерений. [Автокодировщик](glossary:autoencoder) (autoencoder) ищет этот лист. Кодировщик сжимает картинку в код из нескольких чисел, декодировщик делает из него картинку снова, и оба учатся на ошибке копии. Метки не нужны. Постройте его из четырёх `nn.Linear`, с одним скрытым слоем из `width` чисел и tanh с каждой стороны; код и копия — суммы без функции активации.
#
# {{task:autoencoder}}


# %% solution="autoencoder"
class Autoencoder(nn.Module):
    """Copies examples of `inputs` numbers through a code of `code` numbers."""

    def __init__(self, inputs: int, code: int, width: int = 64) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.encoder = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, code))
        self.decoder = nn.Sequential(nn.Linear(code, width), nn.Tanh(), nn.Linear(width, inputs))
        ### END SOLUTION

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs) -> (n, code)."""
        ### BEGIN SOLUTION
        return self.encoder(x)
        ### END SOLUTION

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """(n, code) -> (n, inputs)."""
        ### BEGIN SOLUTION
        return self.decoder(codes)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The copy: (n, inputs) -> (n, inputs)."""
        ### BEGIN SOLUTION
        return self.decode(self.encode(x))
        ### END SOLUTION


# %% test="autoencoder" points=0.25 difficulty=1 minutes=10
torch.manual_seed(0)
tried = Autoencoder(7, 3, 5)
codes = check.answer(tried.encode, torch.randn(4, 7), call="Autoencoder(7, 3, 5).encode(x (4, 7))")
check.equal(codes.shape, (4, 3), "its shape", why="be a code for each example")
copies = check.answer(tried, torch.randn(4, 7), call="Autoencoder(7, 3, 5)(x (4, 7))")
check.equal(copies.shape, (4, 7), "its shape", why="be a copy of each example")
count = sum(value.size for value in check.parameters_of(tried, "Autoencoder(7, 3, 5)").values())
check.equal(count, 7 * 5 + 5 + 5 * 3 + 3 + 3 * 5 + 5 + 5 * 7 + 7, "its number of parameters", why="be that of four linear layers with biases")
### BEGIN HIDDEN TESTS
rng = check.rng("autoencoder")


class Reference(nn.Module):
    def __init__(self, inputs, code, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, code), nn.Linear(code, width), nn.Tanh(), nn.Linear(width, inputs))

    def forward(self, x):
        return self.layers(x)

    def encode(self, x):
        return self.layers[:3](x)


def judge_autoencoder(inputs, code, why, **options):
    torch.manual_seed(int(rng.integers(10**6)))
    call = f"Autoencoder({inputs}, {code}" + "".join(f", {name}={value}" for name, value in options.items()) + ")"
    x = torch.from_numpy(3 * rng.normal(size=(6, inputs))).float()
    made = Autoencoder(inputs, code, **options)
    theirs = Reference(inputs, code, options.get("width", 64))
    check.same_network(made, theirs, x, call=call, why=why)
    check.close(check.answer(made.encode, x, call=f"{call}.encode(x)"), theirs.eval().encode(x).detach(), f"{call}.encode(x)", rtol=1e-4, atol=1e-5, why="be what lies between encoder and decoder")
    codes = torch.from_numpy(2 * rng.normal(size=(3, code))).float()
    check.close(check.answer(made.decode, codes, call=f"{call}.decode(codes)"), theirs.layers[3:](codes).detach(), f"{call}.decode(codes)", rtol=1e-4, atol=1e-5, why="make copies of any codes")
    return made


first = judge_autoencoder(6, 2, "run linear, tanh, linear on each side", width=5)
judge_autoencoder(9, 4, "run linear, tanh, linear on each side", width=3)
judge_autoencoder(5, 1, "have 64 hidden numbers")
x = torch.from_numpy(rng.normal(size=(4, 6))).float()
before = check.answer(first, x, call="an earlier Autoencoder(6, 2, 5)")
Autoencoder(6, 2, 5)
check.close(check.answer(first, x, call="an earlier Autoencoder(6, 2, 5)"), before, "an earlier Autoencoder(6, 2, 5)", why="have weights of its own")
torch.manual_seed(int(rng.integers(10**6)))
born = [check.parameters_of(Autoencoder(6, 2, 5), "Autoencoder(6, 2, 5)") for _ in range(2)]
check.that(any((a != b).any() for a, b in zip(born[0].values(), born[1].values(), strict=True)), "draw new weights for each Autoencoder, as nn.Linear does")
call = "Autoencoder(4, 3, width=6).double()"
x = torch.from_numpy(rng.normal(size=(5, 4)))
check.same_network(Autoencoder(4, 3, width=6).double(), Reference(4, 3, 6).double(), x, call=call, why="compute in the dtype of its weights", rtol=1e-9, atol=1e-11)
### END HIDDEN TESTS

# %% mutant="autoencoder" why="tanh on the code"
# - self.encoder = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, code))
# + self.encoder = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, code), nn.Tanh())

# %% mutant="autoencoder" why="a sigmoid on the copy"
# - self.decoder = nn.Sequential(nn.Linear(code, width), nn.Tanh(), nn.Linear(width, inputs))
# + self.decoder = nn.Sequential(nn.Linear(code, width), nn.Tanh(), nn.Linear(width, inputs), nn.Sigmoid())

# %% mutant="autoencoder" why="ReLU"
# - self.encoder = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, code))
# + self.encoder = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, code))

# %% mutant="autoencoder" why="a linear decoder"
# - self.decoder = nn.Sequential(nn.Linear(code, width), nn.Tanh(), nn.Linear(width, inputs))
# + self.decoder = nn.Sequential(nn.Linear(code, width), nn.Linear(width, inputs))

# %% mutant="autoencoder" why="another width by default"
# - def __init__(self, inputs: int, code: int, width: int = 64) -> None:
# + def __init__(self, inputs: int, code: int, width: int = 32) -> None:

# %% mutant="autoencoder" why="a shortcut past the code"
# - return self.decode(self.encode(x))
# + return x + self.decode(self.encode(x))

# %% mutant="autoencoder" why="the code is detached: the encoder learns nothing"
# - return self.decode(self.encode(x))
# + return self.decode(self.encode(x).detach())

# %% mutant="autoencoder" why="codes between -1 and 1, from encode alone"
# - return self.encoder(x)
# + return self.encoder(x).tanh()

# %% mutant="autoencoder" why="forward does not pass through encode"
# - return self.encoder(x)
# + return self.encoder[:2](x)
# - return self.decode(self.encode(x))
# + return self.decoder(self.encoder(x))

# %% mutant="autoencoder" why="a seed of its own: all are born alike"
# - self.encoder = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, code))
# + torch.manual_seed(0)
# + self.encoder = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, code))

# %% mutant="autoencoder" why="codes of single precision"
# - return self.encoder(x)
# + return self.encoder(x).float()


# %% alternative="autoencoder" why="four layers by name"
class Autoencoder(nn.Module):
    def __init__(self, inputs, code, width=64):
        super().__init__()
        self.narrow, self.squeeze = nn.Linear(inputs, width), nn.Linear(width, code)
        self.widen, self.copy = nn.Linear(code, width), nn.Linear(width, inputs)

    def encode(self, x):
        return self.squeeze(torch.tanh(self.narrow(x)))

    def decode(self, codes):
        return self.copy(self.widen(codes).tanh())

    def forward(self, x):
        codes = self.encode(x)
        return self.decode(codes)


# %% [markdown]
# Train it on digits of 8 × 8 pixels, with a code of two numbers that can be drawn. The yardstick is principal component analysis with two components: the best *flat* sheet.

# %% [markdown] lang="ru"
# Обучите его на цифрах 8 × 8 с кодом из двух чисел: такой код можно нарисовать. Мерка — метод главных компонент с двумя компонентами: лучший *плоский* лист.

# %%
digits = data.load("digits", "small")
pixels = torch.tensor(digits.x_train.reshape(len(digits.x_train), -1) / 16, dtype=torch.float32, device=device)
held_out = torch.tensor(digits.x_test.reshape(len(digits.x_test), -1) / 16, dtype=torch.float32, device=device)

# %%
seed_everything(0)
model = Autoencoder(64, 2).to(device)
optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
for _ in range(settings["ae_steps"]):
    some = pixels[torch.randint(len(pixels), (256,), device=device)]
    loss = F.mse_loss(model(some), some)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
with torch.no_grad():
    mean = pixels.mean(0)
    basis = torch.linalg.svd(pixels - mean, full_matrices=False).Vh[:2]
    flat = (held_out - mean) @ basis.T @ basis + mean
    errors = {"the mean picture": mean, "two principal components": flat, "your autoencoder": model(held_out)}
    for name, copy in errors.items():
        print(f"{name:25}: squared error of a pixel {float(((copy - held_out) ** 2).mean()):.4f}")
    codes = model.encode(held_out).cpu()
    low, high = codes.quantile(0.03, dim=0), codes.quantile(0.97, dim=0)
    steps = [torch.linspace(float(a), float(b), 9) for a, b in zip(low, high, strict=True)]
    net = torch.cartesian_prod(*steps).to(device)
    decoded = model.decode(net).reshape(9, 9, 8, 8).transpose(0, 1).clamp(0, 1).cpu()
week10.codes(codes.numpy(), digits.y_test, decoded.numpy())
plots.show(
    "Left: codes of held-out digits, coloured by class, in clusters that nobody told the network of. Right: pictures "
    "decoded on a grid of codes: digits that turn into each other from place to place."
)
with torch.no_grad():
    spread = torch.distributions.MultivariateNormal(codes.mean(0), torch.cov(codes.T))
    drawn = spread.sample((24,))
    pictures = model.decode(drawn.to(device)).reshape(-1, 8, 8).clamp(0, 1).cpu()
plots.images(pictures.numpy(), title="Codes by chance", columns=12, size=0.75)
plots.show("Twenty-four pictures decoded from codes by chance: some are clear digits, others are blurred mixtures of two.")

# %% [markdown]
# It copies better than any flat sheet, and neighbours in the code look alike. But is it a generative model? It says nothing of *which* codes are likely. The last pictures are decoded from codes drawn from a normal distribution with the codes' own mean and covariance: many fall between the digits. The homework mends that: a variational autoencoder learns codes whose distribution is known.

# %% [markdown] lang="ru"
# Он копирует лучше любого плоского листа, и соседи по коду похожи. Но порождающая ли это модель? О том, *какие* коды вероятны, она не говорит. Последние картинки сделаны из кодов, взятых из нормального распределения с теми же средним и ковариацией, что у кодов: многие — между цифрами. Это исправит домашнее задание: вариационный автокодировщик учит коды, распределение которых известно.

# %% [markdown]
# ## 5. A game instead of a likelihood
# No likelihood, no copies: in a [generative adversarial network](glossary:gan) ([Goodfellow et al., 2014](https://arxiv.org/abs/1406.2661)) a [discriminator](glossary:discriminator) $D$ says how probable it is that a point is real, and a [generator](glossary:generator) $G$, which turns noise into points, learns from what $D$ says. First, what can $D$ say at best? For histograms $p$ of real points and $q$ of made ones, find the $d$ that makes the value
#
# $$V(d) = \sum_i p_i \log d_i + \sum_i q_i \log (1 - d_i)$$
#
# the largest. Each bin can be looked at by itself: set the derivative to zero. A term of probability 0 counts 0, whatever its logarithm; where both are 0, say $\frac12$.
#
# {{task:best_discriminator}}

# %% [markdown] lang="ru"
# ## 5. Игра вместо правдоподобия
# Ни правдоподобия, ни копий: в [порождающей состязательной сети](glossary:gan) (GAN; [Goodfellow и др., 2014](https://arxiv.org/abs/1406.2661)) [дискриминатор](glossary:discriminator) $D$ говорит, насколько вероятно, что точка настоящая, а [генератор](glossary:generator) $G$, который превращает шум в точки, учится на его словах. Сначала: что лучшее может сказать $D$? Для гистограмм $p$ настоящих точек и $q$ сделанных найдите $d$, при котором наибольшее значение у
#
# $$V(d) = \sum_i p_i \log d_i + \sum_i q_i \log (1 - d_i).$$
#
# Каждый столбец можно рассматривать отдельно: приравняйте производную к нулю. Слагаемое с вероятностью 0 считается за 0, каким бы ни был логарифм; где обе равны 0, скажите $\frac12$.
#
# {{task:best_discriminator}}


# %% solution="best_discriminator"
def best_discriminator(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The d (n,) with the largest value, for histograms p of real and q of made points (n,)."""
    ### BEGIN SOLUTION
    total = p + q
    return np.where(total > 0, p / np.where(total > 0, total, 1.0), 0.5)
    ### END SOLUTION


def value(d: np.ndarray, p: np.ndarray, q: np.ndarray) -> float:
    """V(d). d: (n,) from 0 to 1. It is minus infinity where d is sure and wrong."""
    ### BEGIN SOLUTION
    with np.errstate(divide="ignore"):
        return float(p[p > 0] @ np.log(d[p > 0]) + q[q > 0] @ np.log(1 - d[q > 0]))
    ### END SOLUTION


# %% test="best_discriminator" points=0.25 difficulty=2 minutes=15
p, q = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
best = check.answer(best_discriminator, p, q, call="best_discriminator(p, q)")
check.close(best[0], 0.75, "best_discriminator(p, q)[0]", why="be sure where real points are three times as frequent")
said = "value([0.9, 0.6, 0.3], p, q)"
check.close(check.answer(value, np.array([0.9, 0.6, 0.3]), p, q, call=said), -1.2506030, said, rtol=1e-5)
### BEGIN HIDDEN TESTS
rng = check.rng("best_discriminator")


def slow_value(d, p, q):
    total = 0.0
    for a, b, c in zip(d, p, q, strict=True):
        total += (b * np.log(a) if b > 0 else 0.0) + (c * np.log(1 - a) if c > 0 else 0.0)
    return total


fine = np.linspace(0.001, 0.999, 999)
for n in (2, 4, 5):
    p, q, d = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n)), rng.uniform(0.1, 0.9, size=n)
    call = f"value(d, p, q) of {n} bins"
    check.close(check.answer(value, d, p, q, call=call), slow_value(d, p, q), call, rtol=1e-9, why="weigh log d by p and log (1 - d) by q")
    call = f"best_discriminator(p, q) of {n} bins"
    found = check.answer(best_discriminator, p, q, call=call)
    tried = p[:, None] * np.log(fine) + q[:, None] * np.log(1 - fine)
    check.close(found, fine[tried.argmax(1)].clip(0.001, 0.999), call, atol=0.0011, rtol=0, why="have the largest value in each bin")
    check.close(found / (1 - found), p / q, f"d / (1 - d) of {call}", rtol=1e-8, why="be the ratio of real and made")
p, q = np.array([0.4, 0.6, 0.0, 0.0]), np.array([0.0, 0.3, 0.7, 0.0])
call = "best_discriminator(p, q) with empty bins"
found = check.answer(best_discriminator, p, q, call=call)
check.close(found[:3], [1.0, 2 / 3, 0.0], call, why="be sure where only one of the two has been")
check.close(found[3], 0.5, f"{call}, where both are 0", why="be one half")
call = "value of a d that is sure and right"
check.close(check.answer(value, np.array([1.0, 0.5, 0.0, 1.0]), p, q, call=call), 0.9 * np.log(0.5), call, rtol=1e-9, why="count 0 for terms of probability 0")
call = "value of a d that is sure and wrong"
check.equal(check.answer(value, np.array([0.0, 0.5, 0.0, 0.5]), p, q, call=call), -np.inf, call, why="be minus infinity")
call = "value of a d that is sure of made points in one bin"
check.equal(check.answer(value, np.array([0.5, 1.0, 0.0]), np.array([0.4, 0.6, 0.0]), np.array([0.7, 0.1, 0.2]), call=call), -np.inf, call, why="be minus infinity where d is 1 and made points are")
call = "value of a d that misses real points in one bin"
check.equal(check.answer(value, np.array([0.5, 1.0, 0.0]), np.array([0.4, 0.4, 0.2]), np.array([0.7, 0.0, 0.3]), call=call), -np.inf, call, why="be minus infinity where d is 0 and real points are")
rare = np.array([1e-12, 1 - 1e-12]), np.array([3e-12, 1 - 3e-12])
call = "best_discriminator(p, q) of a rare bin"
check.close(check.answer(best_discriminator, *rare, call=call), [0.25, 0.5], call, rtol=1e-7, why="be the share of real points, however rare")
whole = np.array([0, 1, 0]), np.array([0, 0, 1])
call = "best_discriminator([0, 1, 0], [0, 0, 1]) of integers"
check.close(check.answer(best_discriminator, *whole, call=call), [0.5, 1.0, 0.0], call, rtol=1e-9, why="take integers, too")
call = "value(d, [0, 1, 0], [0, 0, 1]) of integers"
check.close(check.answer(value, np.array([0.5, 0.3, 0.1]), *whole, call=call), np.log(0.3) + np.log(0.9), call, rtol=1e-9, why="take integers, too")
### END HIDDEN TESTS

# %% mutant="best_discriminator" why="real and made exchanged"
# - return np.where(total > 0, p / np.where(total > 0, total, 1.0), 0.5)
# + return np.where(total > 0, q / np.where(total > 0, total, 1.0), 0.5)

# %% mutant="best_discriminator" why="the ratio itself"
# - return np.where(total > 0, p / np.where(total > 0, total, 1.0), 0.5)
# + return np.where(total > 0, p / np.where(q > 0, q, 1.0), 0.5)

# %% mutant="best_discriminator" why="yes or no"
# - return np.where(total > 0, p / np.where(total > 0, total, 1.0), 0.5)
# + return np.where(total > 0, (p > q) * 1.0, 0.5)

# %% mutant="best_discriminator" why="0 where nobody has been"
# - return np.where(total > 0, p / np.where(total > 0, total, 1.0), 0.5)
# + return p / np.where(total > 0, total, 1.0)

# %% mutant="best_discriminator" why="a small number below"
# - return np.where(total > 0, p / np.where(total > 0, total, 1.0), 0.5)
# + return np.where(total > 0, p / (total + 1e-3), 0.5)

# %% mutant="best_discriminator" why="real twice"
# - return float(p[p > 0] @ np.log(d[p > 0]) + q[q > 0] @ np.log(1 - d[q > 0]))
# + return float(p[p > 0] @ np.log(d[p > 0]) + q[q > 0] @ np.log(d[q > 0]))

# %% mutant="best_discriminator" why="the mean of the two"
# - return float(p[p > 0] @ np.log(d[p > 0]) + q[q > 0] @ np.log(1 - d[q > 0]))
# + return float(p[p > 0] @ np.log(d[p > 0]) + q[q > 0] @ np.log(1 - d[q > 0])) / 2

# %% mutant="best_discriminator" why="a loss, not a value"
# - return float(p[p > 0] @ np.log(d[p > 0]) + q[q > 0] @ np.log(1 - d[q > 0]))
# + return -float(p[p > 0] @ np.log(d[p > 0]) + q[q > 0] @ np.log(1 - d[q > 0]))

# %% mutant="best_discriminator" why="never infinite"
# - return float(p[p > 0] @ np.log(d[p > 0]) + q[q > 0] @ np.log(1 - d[q > 0]))
# + return float(p[p > 0] @ np.log(d[p > 0] + 1e-12) + q[q > 0] @ np.log(1 - d[q > 0] + 1e-12))

# %% mutant="best_discriminator" why="0 times infinity"
# - return float(p[p > 0] @ np.log(d[p > 0]) + q[q > 0] @ np.log(1 - d[q > 0]))
# + return float(p @ np.log(d) + q @ np.log(1 - d))

# %% mutant="best_discriminator" why="rare bins count as empty"
# - return np.where(total > 0, p / np.where(total > 0, total, 1.0), 0.5)
# + return np.where(total > 1e-8, p / np.where(total > 1e-8, total, 1.0), 0.5)

# %% mutant="best_discriminator" why="in the dtype of p: integers lose the half"
# - return np.where(total > 0, p / np.where(total > 0, total, 1.0), 0.5)
# + return np.where(total > 0, p / np.where(total > 0, total, 1.0), 0.5).astype(p.dtype)

# %% mutant="best_discriminator" why="finite where it is sure of a made point"
# - return float(p[p > 0] @ np.log(d[p > 0]) + q[q > 0] @ np.log(1 - d[q > 0]))
# + return float(p[p > 0] @ np.log(d[p > 0]) + q[q > 0] @ np.log(np.maximum(1 - d[q > 0], 1e-16)))

# %% mutant="best_discriminator" why="finite where it misses a real point"
# - return float(p[p > 0] @ np.log(d[p > 0]) + q[q > 0] @ np.log(1 - d[q > 0]))
# + return float(p[p > 0] @ np.log(np.maximum(d[p > 0], 1e-16)) + q[q > 0] @ np.log(1 - d[q > 0]))


# %% alternative="best_discriminator" why="bin by bin"
def best_discriminator(p, q):
    return np.array([0.5 if a == b == 0 else 1 - b / (a + b) for a, b in zip(p, q, strict=True)])


def value(d, p, q):
    terms = [(a, x) for a, x in zip(p, d, strict=True)] + [(b, 1 - x) for b, x in zip(q, d, strict=True)]
    return float(sum(-np.inf if x == 0 else a * np.log(x) for a, x in terms if a > 0))


# %% [markdown]
# What is that best value? For any $p$ and $q$ it is $2\,\mathrm{JS}(p, q) - 2 \log 2$: a generator that plays against a perfect discriminator walks downhill on the Jensen–Shannon divergence. The cell tries it. And you have seen that line: it is flat as soon as the two do not touch.

# %% [markdown] lang="ru"
# Чему равно это лучшее значение? Для любых $p$ и $q$ это $2\,\mathrm{JS}(p, q) - 2 \log 2$: генератор, который играет против совершенного дискриминатора, спускается по дивергенции Йенсена–Шеннона. Ячейка это проверяет. А эту линию вы видели: она плоская, как только распределения не касаются.

# %%
for title, gap in (("two normal distributions", 0.0), ("two normal distributions", 2.0), ("two heaps of width 1", 3.0)):
    first, second = (shapes[title](shift) for shift in (0.0, gap))
    p, q = first / first.sum(), second / second.sum()
    top = value(best_discriminator(p, q), p, q)
    print(f"{title}, {gap} apart: best value {top:+.6f}, 2 JS - 2 log 2 = {2 * js(p, q) - 2 * np.log(2):+.6f}")

# %% [markdown]
# Now the losses as they are trained. $D$ gives logits $s$, the sigmoid of which is its probability $\sigma(s)$. It minimises its [adversarial loss](glossary:adversarial-loss), the sum of two means:
#
# $$L_D = -\operatorname{mean} \log \sigma(s_\text{real}) - \operatorname{mean} \log (1 - \sigma(s_\text{fake})).$$
#
# The generator wants the opposite. Literally, it minimises $\operatorname{mean} \log (1 - \sigma(s_\text{fake}))$, which is called *saturating*. Or, as all do in practice and as is the default here, it minimises $-\operatorname{mean} \log \sigma(s_\text{fake})$: the same wish, another slope. Logits may be as large as thousands: values and slopes stay finite.
#
# {{task:gan_losses}}

# %% [markdown] lang="ru"
# Теперь ошибки, какими их обучают. $D$ выдаёт логиты $s$; их сигмоида — его вероятность $\sigma(s)$. Он уменьшает свою [состязательную ошибку](glossary:adversarial-loss) (adversarial loss), сумму двух средних:
#
# $$L_D = -\operatorname{mean} \log \sigma(s_\text{real}) - \operatorname{mean} \log (1 - \sigma(s_\text{fake})).$$
#
# Генератор хочет обратного. Буквально он уменьшает $\operatorname{mean} \log (1 - \sigma(s_\text{fake}))$; это называется *насыщающей* ошибкой (saturating). Или, как все делают на практике и как здесь по умолчанию, он уменьшает $-\operatorname{mean} \log \sigma(s_\text{fake})$: желание то же, наклон другой. Логиты бывают и в тысячи: значения и наклоны остаются конечными.
#
# {{task:gan_losses}}


# %% solution="gan_losses"
def discriminator_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """L_D, a number. real: logits (n,) of real points; fake: logits (m,) of made ones."""
    ### BEGIN SOLUTION
    return F.softplus(-real).mean() + F.softplus(fake).mean()
    ### END SOLUTION


def generator_loss(fake: torch.Tensor, saturating: bool = False) -> torch.Tensor:
    """The generator's loss, a number. fake: logits (m,) of the points that it made."""
    ### BEGIN SOLUTION
    return -F.softplus(fake).mean() if saturating else F.softplus(-fake).mean()
    ### END SOLUTION


# %% test="gan_losses" points=0.5 difficulty=2 minutes=20
real, fake = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([-3.0, 1.0])
said = "discriminator_loss(real, fake)"
check.close(check.answer(discriminator_loss, real, fake, call=said), 1.3190134, said, rtol=1e-5)
check.close(check.answer(generator_loss, fake, call="generator_loss(fake)"), 1.6809245, "generator_loss(fake)", rtol=1e-5)
said = "generator_loss(fake, saturating=True)"
check.close(check.answer(generator_loss, fake, saturating=True, call=said), -0.6809245, said, rtol=1e-5)
### BEGIN HIDDEN TESTS
rng = check.rng("gan_losses")


def entropy_of(logits, real):
    """Binary cross-entropy by torch's own function."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def judge_losses(real, fake, kind, rtol=1e-9):
    leaves = [tensor.clone().requires_grad_() for tensor in (real, fake)]
    want = entropy_of(leaves[0], True) + entropy_of(leaves[1], False)
    slopes = torch.autograd.grad(want, leaves)
    call = f"discriminator_loss(real, fake) of {kind}"
    check.close(check.answer(discriminator_loss, real, fake, call=call), want.detach(), call, rtol=rtol, why="add the two means")
    for name, found, slope in zip(("real", "fake"), check.gradient_of(discriminator_loss, real, fake, call=call), slopes, strict=True):
        check.close(found, slope, f"the gradient of {call} for {name}", rtol=rtol, atol=1e-12, why="push real logits up and made ones down")
    for saturating in (False, True):
        leaf = fake.clone().requires_grad_()
        want = -entropy_of(leaf, False) if saturating else entropy_of(leaf, True)
        (slope,) = torch.autograd.grad(want, leaf)
        call = f"generator_loss(fake, saturating={saturating}) of {kind}"
        check.close(check.answer(generator_loss, fake, saturating=saturating, call=call), want.detach(), call, rtol=rtol, atol=1e-12, why="be the mean over made points")
        (found,) = check.gradient_of(lambda f, saturating=saturating: generator_loss(f, saturating=saturating), fake, call=call)
        check.close(found, slope, f"the gradient of {call}", rtol=rtol, atol=1e-12, why="push the logits of made points up")


judge_losses(torch.from_numpy(rng.normal(size=5)), torch.from_numpy(rng.normal(size=3)), "some logits")
judge_losses(torch.from_numpy(rng.normal(size=2)), torch.from_numpy(rng.normal(size=7)), "more made points than real ones")
judge_losses(torch.from_numpy(rng.normal(size=1)), torch.from_numpy(rng.normal(size=1)), "one point each")
judge_losses(torch.tensor([900.0, -2e3, 1.0]).double(), torch.tensor([-1500.0, 3e3]).double(), "logits of thousands")
judge_losses(torch.tensor([90.0, -70.0, 1.0]), torch.tensor([-80.0, 95.0, 40.0, -40.0]), "large logits in float32", rtol=1e-5)
fake = torch.from_numpy(rng.normal(size=4))
call = "generator_loss(fake)"
check.close(check.answer(generator_loss, fake, call=call), entropy_of(fake, True), call, rtol=1e-6, why="not be the saturating one by default")
(far,) = check.gradient_of(generator_loss, torch.tensor([-30.0, -31.0]).double(), call="generator_loss(fake) of points that D is sure of")
check.close(far, [-0.5, -0.5], "its gradient", rtol=1e-6, why="push with all its force")
### END HIDDEN TESTS

# %% mutant="gan_losses" why="real and made exchanged"
# - return F.softplus(-real).mean() + F.softplus(fake).mean()
# + return F.softplus(real).mean() + F.softplus(-fake).mean()

# %% mutant="gan_losses" why="the mean of all logits together"
# - return F.softplus(-real).mean() + F.softplus(fake).mean()
# + return 2 * torch.cat([F.softplus(-real), F.softplus(fake)]).mean()

# %% mutant="gan_losses" why="half of it"
# - return F.softplus(-real).mean() + F.softplus(fake).mean()
# + return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2

# %% mutant="gan_losses" why="sums"
# - return F.softplus(-real).mean() + F.softplus(fake).mean()
# + return F.softplus(-real).sum() + F.softplus(fake).sum()

# %% mutant="gan_losses" why="logarithms of sigmoids: infinite for large logits"
# - return F.softplus(-real).mean() + F.softplus(fake).mean()
# + return -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()

# %% mutant="gan_losses" why="a small number against infinity"
# - return F.softplus(-real).mean() + F.softplus(fake).mean()
# + return -(real.sigmoid() + 1e-8).log().mean() - (1 - fake.sigmoid() + 1e-8).log().mean()

# %% mutant="gan_losses" why="made points are detached here"
# - return F.softplus(-real).mean() + F.softplus(fake).mean()
# + return F.softplus(-real).mean() + F.softplus(fake.detach()).mean()

# %% mutant="gan_losses" why="saturating by default"
# - def generator_loss(fake: torch.Tensor, saturating: bool = False) -> torch.Tensor:
# + def generator_loss(fake: torch.Tensor, saturating: bool = True) -> torch.Tensor:

# %% mutant="gan_losses" why="never saturating"
# - return -F.softplus(fake).mean() if saturating else F.softplus(-fake).mean()
# + return F.softplus(-fake).mean()

# %% mutant="gan_losses" why="always saturating"
# - return -F.softplus(fake).mean() if saturating else F.softplus(-fake).mean()
# + return -F.softplus(fake).mean()

# %% mutant="gan_losses" why="the saturating one with a flipped sign"
# - return -F.softplus(fake).mean() if saturating else F.softplus(-fake).mean()
# + return F.softplus(fake).mean() if saturating else F.softplus(-fake).mean()

# %% mutant="gan_losses" why="log D with a flipped sign"
# - return -F.softplus(fake).mean() if saturating else F.softplus(-fake).mean()
# + return -F.softplus(fake).mean() if saturating else -F.softplus(-fake).mean()

# %% mutant="gan_losses" why="a generator's sigmoid that is cut off"
# - return -F.softplus(fake).mean() if saturating else F.softplus(-fake).mean()
# + return -F.softplus(fake).mean() if saturating else -fake.sigmoid().clamp(min=1e-7).log().mean()

# %% mutant="gan_losses" why="logits as they are, as in WGAN"
# - return -F.softplus(fake).mean() if saturating else F.softplus(-fake).mean()
# + return -fake.mean()


# %% alternative="gan_losses" why="binary cross-entropy with labels"
def discriminator_loss(real, fake):
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    return F.binary_cross_entropy_with_logits(real, ones) + F.binary_cross_entropy_with_logits(fake, zeros)


def generator_loss(fake, saturating=False):
    if saturating:
        return -F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))


# %% alternative="gan_losses" why="logsigmoid"
def discriminator_loss(real, fake):
    return -F.logsigmoid(real).sum() / len(real) - F.logsigmoid(-fake).sum() / len(fake)


def generator_loss(fake, saturating=False):
    return F.logsigmoid(-fake).mean() if saturating else -F.logsigmoid(fake).mean()


# %% [markdown]
# Why the change of slope? Look at what a made point receives. On the left of the picture stands a generator at its beginning: $D$ sees through every point. The saturating loss gives it almost no slope there, just when it needs one most.

# %% [markdown] lang="ru"
# Зачем другой наклон? Посмотрите, что получает сделанная точка. Слева на картинке — генератор в начале обучения: $D$ видит насквозь каждую точку. Насыщающая ошибка почти не даёт ему там наклона — как раз тогда, когда он нужнее всего.

# %%
logits = torch.linspace(-6, 6, 121)
slopes = {}
for name, saturating in (("not saturating (default)", False), ("saturating", True)):
    leaf = logits.clone().requires_grad_()
    each = torch.stack([generator_loss(one[None], saturating=saturating) for one in leaf])
    slopes[name] = logits, torch.autograd.grad(each.sum(), leaf)[0]
week10.pushes(slopes, "what D says of a made point (logit): fake to the left, real to the right")
plots.show(
    "The slope that a made point gets against D's logit: the default loss falls from -1 on the left to 0 on the right, "
    "the saturating one from 0 on the left to -1 on the right."
)

# %% [markdown]
# ## 6. Five ways to play
# Two small networks, eight heaps, half a thousand steps. Everybody has heard that GANs suffer from [mode collapse](glossary:mode-collapse): the generator makes a few kinds of points and leaves the others out. Do they? Count the [modes that are covered](glossary:mode-coverage), over seeds, in five settings: one that keeps the discriminator near its best, the same with the saturating loss, and three that shift the balance towards the generator. `modes` of the week's helpers counts a heap as covered when it gets at least a quarter of its share of samples, within three deviations.

# %% [markdown] lang="ru"
# ## 6. Пять способов играть
# Две маленькие сети, восемь кучек, полтысячи шагов. Все слышали, что GAN страдают [схлопыванием мод](glossary:mode-collapse) (mode collapse): генератор делает точки нескольких видов, а остальные пропускает. Правда ли? Посчитаем [покрытые моды](glossary:mode-coverage) (mode coverage) по нескольким запускам в пяти настройках: одна держит дискриминатор близко к лучшему, вторая — то же с насыщающей ошибкой, и три сдвигают равновесие в пользу генератора. Функция недели `modes` считает кучку покрытой, если в пределах трёх отклонений от неё лежит хотя бы четверть её доли точек.


# %%
def network(inputs: int, outputs: int, width: int = 128) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


def play(seed, d_steps=2, g_steps=1, saturating=False, beta1=0.5, batch=128, every=25):
    """Let two networks play. -> (samples (2000, 2), modes covered after each `every` steps)."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    generator, critic = network(4, 2).to(device), network(2, 1).to(device)
    optimisers = [torch.optim.Adam(n.parameters(), 1e-3, betas=(beta1, 0.9)) for n in (generator, critic)]
    covered = []
    for step in range(1, settings["gan_steps"] + 1):
        for turn in [1] * d_steps + [0] * g_steps:
            made = generator(torch.randn(batch, 4, device=device))
            if turn:
                real = torch.tensor(week10.ring(batch, draw), dtype=torch.float32, device=device)
                loss = discriminator_loss(critic(real)[:, 0], critic(made.detach())[:, 0])
            else:
                loss = generator_loss(critic(made)[:, 0], saturating=saturating)
            optimisers[turn].zero_grad()
            loss.backward()
            optimisers[turn].step()
        if step % every == 0:
            with torch.no_grad():
                samples = generator(torch.randn(2000, 4, device=device)).cpu().numpy()
            covered.append(week10.modes(samples)[0])
    return samples, covered


# %%
ways = {
    "two steps of D to one of G": {},
    "the same, saturating": {"saturating": True},
    "one step of each": {"d_steps": 1},
    "one of each, more momentum": {"d_steps": 1, "beta1": 0.9},
    "one of D, five of G": {"d_steps": 1, "g_steps": 5},
}
made, logs, counts = {}, {}, {}
start = time.perf_counter()
for name, way in ways.items():
    played = [play(seed, **way) for seed in range(settings["seeds"])]
    made[name], log = zip(*played, strict=True)
    logs[name] = np.array(log)
    counts[name] = [week10.modes(samples) for samples in made[name]]
    print(f"{name:28}: modes", ", ".join(f"{count}" for count, _ in counts[name]), "of 8")
print(f"{time.perf_counter() - start:.0f} s")
week10.lives(logs, every=25)
plots.show("Covered modes over steps, a panel a setting, thin lines for seeds: the first two climb to seven or eight, the others jump between none and a few.")
week10.runs({name: [samples[:400] for samples in sets[:3]] for name, sets in made.items()}, counts)
plots.show("What each setting makes after its training, three seeds a row: with two steps of D the samples lie around the circle, on the heaps; in the other rows they sit in one clump or in a streak.")

# %% [markdown]
# Read your own numbers before you believe the story. Here it is not the loss that decides, saturating or not, but the **balance**: as soon as the discriminator falls behind, the generator runs to wherever $D$ is wrong at the moment, and the next step chases it away, so the lines jump and do not settle. A discriminator that is nearly at its best gives, as section 5 says, the direction of the Jensen–Shannon divergence. This is a count after few steps, of small networks, on eight heaps: some of the runs that look lost find the heaps later, others never (`full` goes on twenty times as long). The bonus notebook of this week tries another way out, a critic for $W_1$, which may be trained as far as it goes.

# %% [markdown] lang="ru"
# Прежде чем верить рассказу, прочтите свои числа. Здесь решает не ошибка, насыщающая или нет, а **равновесие**: стоит дискриминатору отстать, и генератор бежит туда, где $D$ сейчас неправ, а следующий шаг его оттуда прогоняет — поэтому линии скачут и не успокаиваются. Дискриминатор, близкий к лучшему, даёт, как говорит раздел 5, направление дивергенции Йенсена–Шеннона. Это подсчёт после немногих шагов, для маленьких сетей, на восьми кучках: часть запусков, которые кажутся пропавшими, позже находит кучки, часть — никогда (`full` идёт в двадцать раз дольше). Дополнительный ноутбук недели пробует другой выход — критика для $W_1$, которого можно обучать до упора.

# %% [markdown]
# **What to take along.** A divergence is useful for learning where it has a slope. Likelihood needs a density, and EM finds one for mixtures, up to its start. An autoencoder finds the sheet on which data lie, but no distribution on it. A GAN has samples only, and lives from a balance. Whoever compares generative models counts over seeds.

# %% [markdown] lang="ru"
# **Что запомнить.** Дивергенция полезна для обучения там, где у неё есть наклон. Правдоподобию нужна плотность, и для смесей её находит EM — с точностью до начала. Автокодировщик находит лист, на котором лежат данные, но не распределение на нём. У GAN есть только выборки, и живёт она равновесием. Кто сравнивает порождающие модели, считает по многим запускам.

# %% [markdown]
# **Sources**
# - M. Arjovsky, S. Chintala, L. Bottou. [Wasserstein GAN](https://arxiv.org/abs/1701.07875). ICML 2017: §2, the example of section 2's left picture.
# - A. Dempster, N. Laird, D. Rubin. [Maximum likelihood from incomplete data via the EM algorithm](https://doi.org/10.1111/j.2517-6161.1977.tb01600.x). JRSS B 1977.
# - G. Hinton, R. Salakhutdinov. [Reducing the dimensionality of data with neural networks](https://doi.org/10.1126/science.1127647). Science 2006.
# - I. Goodfellow et al. [Generative adversarial nets](https://arxiv.org/abs/1406.2661). NeurIPS 2014: §4.1, proposition 1 and theorem 1.
# - M. Lucic et al. [Are GANs created equal?](https://arxiv.org/abs/1711.10337) NeurIPS 2018: why to count over seeds.

# %% [markdown] lang="ru"
# **Источники**
# - M. Arjovsky, S. Chintala, L. Bottou. [Wasserstein GAN](https://arxiv.org/abs/1701.07875). ICML 2017: §2, пример с левой картинки раздела 2.
# - A. Dempster, N. Laird, D. Rubin. [Maximum likelihood from incomplete data via the EM algorithm](https://doi.org/10.1111/j.2517-6161.1977.tb01600.x). JRSS B 1977.
# - G. Hinton, R. Salakhutdinov. [Reducing the dimensionality of data with neural networks](https://doi.org/10.1126/science.1127647). Science 2006.
# - I. Goodfellow и др. [Generative adversarial nets](https://arxiv.org/abs/1406.2661). NeurIPS 2014: §4.1, утверждение 1 и теорема 1.
# - M. Lucic и др. [Are GANs created equal?](https://arxiv.org/abs/1711.10337) NeurIPS 2018: зачем считать по многим запускам.
