# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Gradient descent and its descendants
# You will write a classifier, then the optimisers that train almost every network today: SGD, momentum, Nesterov, Adagrad, RMSProp, Adam. Each is two to six lines long. The difference between them is what they **remember** about past gradients.
#
# Every optimiser is checked step by step: after each step your parameters must be where the formula puts them. In all tasks arguments stay as they were, and you compute in `float64`, as NumPy does by default; data and weights may come as whole numbers (`int64`) in sections 1 and 2. At the end you compare all of them on one plot: which learning rates work, and how wide the working range is.

# %% [markdown] lang="ru"
# # Градиентный спуск и его потомки
# Вы напишете классификатор, а затем методы оптимизации, которыми сегодня обучают почти все сети: SGD, импульс, метод Нестерова, Adagrad, RMSProp, Adam. В каждом от двух до шести строк. Различаются они тем, что **помнят** о прошлых градиентах.
#
# Каждый метод проверяется по шагам: после каждого шага параметры должны оказаться там, куда их ставит формула. Во всех заданиях аргументы не меняются, а считаете вы в `float64`, как NumPy по умолчанию; в разделах 1 и 2 данные и веса могут быть и целыми числами (`int64`). В конце все методы встретятся на одном графике: какие шаги обучения годятся и насколько широк рабочий диапазон.

# %% tags=["parameters"]
profile = "small"

# %%
from collections.abc import Callable, Iterator

import matplotlib.pyplot as plt
import numpy as np

from practical_dl import check, data, plots, progress, seed_everything

settings = {
    "small": {"points": 400, "epochs": 20, "rates": 16, "pictures": "digits"},
    "full": {"points": 8000, "epochs": 5, "rates": 31, "pictures": "mnist"},
}[profile]

# %% [markdown]
# ## 1. A problem that a line can't solve
# A disc of one class inside a ring of the other, stretched and turned. The classes overlap, so nobody can classify without mistakes. Labels are $-1$ and $+1$: this makes the formulas shorter.

# %% [markdown] lang="ru"
# ## 1. Задача, с которой прямая не справится
# Круг одного класса внутри кольца другого; всё вместе растянуто и повёрнуто. Классы перекрываются, так что без ошибок не обойтись никому. Метки — $-1$ и $+1$: так формулы короче.


# %%
def rings(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A noisy disc (+1) in a noisy ring (-1). -> points (n, 2), labels (n,)."""
    y = rng.choice([-1.0, 1.0], size=n)
    radius = np.where(y > 0, 0.7, 2.0) + 0.4 * rng.normal(size=n)
    angle = rng.uniform(0, 2 * np.pi, size=n)
    circle = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return circle @ np.array([[1.3, 0.6], [0.0, 0.8]]) + np.array([1.0, -0.5]), y


x_train, y_train = rings(settings["points"], seed_everything(0))
x_test, y_test = rings(1000, seed_everything(1))

figure, ax = plt.subplots(figsize=(5.5, 4))
for label, marker in [(-1, "o"), (1, "^")]:
    ax.scatter(
        *x_train[:400][y_train[:400] == label].T, s=14, marker=marker, label=f"$y = {label:+d}$"
    )
ax.set(title=f"400 of {len(x_train)} generated training points", xlabel="$x_0$", ylabel="$x_1$")
ax.legend(frameon=False)
plots.show("Two classes on the plane: a disc of one class inside a slanted oval ring of the other")

# %% [markdown]
# ### Feature expansion
# A linear model answers $\operatorname{sign}(w \cdot x)$: its border is a line. Give it the squares and the product as extra [features](glossary:Feature-map), and the border becomes a conic section: an ellipse, a parabola or a hyperbola. The model stays linear in $w$, so everything about its training stays simple.
#
# $$\phi(x) = (x_0,\; x_1,\; x_0^2,\; x_1^2,\; x_0 x_1,\; 1)$$
#
# The last feature is always 1; its weight is the intercept.
#
# {{task:expand}}

# %% [markdown] lang="ru"
# ### Расширение признаков
# Линейная модель отвечает $\operatorname{sign}(w \cdot x)$: её граница — прямая. Добавьте [признаки](glossary:Feature-map) (features) — квадраты и произведение, — и граница станет коникой: эллипсом, параболой или гиперболой. По $w$ модель остаётся линейной, поэтому обучать её по-прежнему просто.
#
# $$\phi(x) = (x_0,\; x_1,\; x_0^2,\; x_1^2,\; x_0 x_1,\; 1)$$
#
# Последний признак всегда равен 1; его вес — свободный член.
#
# {{task:expand}}


# %% solution="expand"
def expand(x: np.ndarray) -> np.ndarray:
    """Quadratic features x0, x1, x0^2, x1^2, x0 x1, 1 of every point.

    x: (n, 2), at least one point -> (n, 6).
    Example: expand(np.array([[2, 3]])) is [[2, 3, 4, 9, 6, 1]].
    """
    ### BEGIN SOLUTION
    a, b = x[:, 0], x[:, 1]
    return np.stack([a, b, a**2, b**2, a * b, np.ones_like(a)], axis=1)
    ### END SOLUTION


# %% test="expand" points=0.5 difficulty=1 minutes=5
call = "expand([[2, 3], [-1, 0.5]])"
check.close(
    check.answer(expand, np.array([[2.0, 3.0], [-1.0, 0.5]]), call=call),
    [[2, 3, 4, 9, 6, 1], [-1, 0.5, 1, 0.25, -0.5, 1]],
    call,
    why="have the columns x0, x1, x0^2, x1^2, x0 x1, 1",
)
### BEGIN HIDDEN TESTS
rng = check.rng("expand")
for n in (1, 2, int(rng.integers(5, 12))):
    x, call = rng.normal(size=(n, 2)), f"expand(x) of {n} points"
    slow = [[a, b, a * a, b * b, a * b, 1.0] for a, b in x]
    got = check.answer(expand, x, call=call)
    check.close(got, slow, call, why="give each row its own point's features")
far, call = np.array([[1e60, -3e-4], [-2e5, 1e70]]), "expand of points far out"
slow = [[a, b, a * a, b * b, a * b, 1.0] for a, b in far]
got = check.answer(expand, far, call=call)
check.close(got, slow, call, atol=0, why="have the columns x0, x1, x0^2, x1^2, x0 x1, 1")
call = "expand of whole numbers"
got = check.answer(expand, np.array([[2, 3], [-7, 0]]), call=call)
slow = [[2, 3, 4, 9, 6, 1], [-7, 0, 49, 0, 0, 1]]
check.close(got, slow, call, why="have the columns x0, x1, x0^2, x1^2, x0 x1, 1")
call = "expand([[1/3, 1/7]]), to nine digits"
got = check.answer(expand, np.array([[1 / 3, 1 / 7]]), call=call)
check.close(
    got,
    [[1 / 3, 1 / 7, 1 / 9, 1 / 49, 1 / 21, 1]],
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
call = "expand of a transposed array"
x = np.array([[2.0, 3.0], [-1.0, 0.5], [4.0, -7.0]], order="F")
slow = [[a, b, a * a, b * b, a * b, 1.0] for a, b in x]
got = check.answer(expand, x, call=call)
check.close(got, slow, call, why="be the same, however x lies in memory")
kept = expand(x)
expand(-3 * x)
check.close(kept, slow, "expand(x), kept", why="stay as it was at the next call")
### END HIDDEN TESTS

# %% mutant="expand" why="swaps the two squares"
# - return np.stack([a, b, a**2, b**2, a * b, np.ones_like(a)], axis=1)
# + return np.stack([a, b, b**2, a**2, a * b, np.ones_like(a)], axis=1)

# %% mutant="expand" why="forgets the constant feature"
# - return np.stack([a, b, a**2, b**2, a * b, np.ones_like(a)], axis=1)
# + return np.stack([a, b, a**2, b**2, a * b], axis=1)

# %% mutant="expand" why="features in rows"
# - return np.stack([a, b, a**2, b**2, a * b, np.ones_like(a)], axis=1)
# + return np.stack([a, b, a**2, b**2, a * b, np.ones_like(a)])

# %% mutant="expand" why="squares in place"
# - a, b = x[:, 0], x[:, 1]
# - return np.stack([a, b, a**2, b**2, a * b, np.ones_like(a)], axis=1)
# + a, b = x[:, 0].copy(), x[:, 1].copy()
# + x *= x
# + return np.stack([a, b, x[:, 0], x[:, 1], a * b, np.ones_like(a)], axis=1)

# %% mutant="expand" why="single precision"
# - return np.stack([a, b, a**2, b**2, a * b, np.ones_like(a)], axis=1)
# + return np.stack([a, b, a**2, b**2, a * b, np.ones_like(a)], axis=1).astype(np.float32)

# %% mutant="expand" why="reads x in the order of memory"
# - a, b = x[:, 0], x[:, 1]
# + a, b = x.ravel(order="K").reshape(-1, 2).T

# %% mutant="expand" why="one array for all answers"
# - return np.stack([a, b, a**2, b**2, a * b, np.ones_like(a)], axis=1)
# + made = expand.__dict__.setdefault(len(x), np.ones((len(x), 6)))
# + made[...] = np.stack([a, b, a**2, b**2, a * b, np.ones_like(a)], axis=1)
# + return made


# %% alternative="expand" why="concatenation"
def expand(x):
    return np.hstack([x, x**2, x[:, :1] * x[:, 1:], np.ones((len(x), 1))])


# %% alternative="expand" why="a list of lists"
def expand(x):
    return np.array([[a, b, a**2, b**2, a * b, 1.0] for a, b in x])


# %%
grid = np.stack(np.meshgrid(np.linspace(-3, 5, 81), np.linspace(-3.5, 2.5, 61)), axis=-1)
features = expand(grid.reshape(-1, 2)).T.reshape(6, *grid.shape[:2])
figure, axes = plt.subplots(2, 3, figsize=(8, 4.4), sharex=True, sharey=True)
names = ["x_0", "x_1", "x_0^2", "x_1^2", "x_0 x_1", "1"]
for ax, feature, name in zip(axes.flat, features, names, strict=True):
    ax.contourf(grid[..., 0], grid[..., 1], feature, levels=15, cmap="PuOr", vmin=-12, vmax=12)
    ax.scatter(*x_train[:400].T, c=y_train[:400], s=2, cmap="gray", vmin=-1, vmax=1.5)
    ax.set_title(f"feature ${name}$", fontsize=10)
    ax.grid(False)
figure.supxlabel("$x_0$", fontsize=10)
figure.supylabel("$x_1$", fontsize=10)
plots.show("Six features as maps of the plane: two slopes, two valleys, a saddle, a constant")

# %% [markdown]
# ## 2. Logistic regression
# [Logistic regression](glossary:Logistic-regression) turns the score $w \cdot x$ into a probability with the sigmoid $\sigma(z) = 1/(1 + e^{-z})$. With labels $\pm 1$ the probability of the true label is $\sigma(m)$, where $m = y\, w \cdot x$ is the **margin**: positive if the answer is right, large if it is confident. The loss is the mean of $-\log \sigma(m)$, plus an L2 penalty:
#
# $$L(w) = \frac1n \sum_{i=1}^n \log\left(1 + e^{-m_i}\right) + \frac{\lambda}{2} \|w\|^2, \qquad m_i = y_i\, w \cdot x_i$$
#
# Typed as it stands, $e^{-m}$ overflows for $m < -709$. `np.logaddexp(a, b)` computes $\log(e^a + e^b)$ safely. In the checks NumPy's warnings of an overflow or an invalid value count as errors. The penalty covers all of $w$, the intercept too.
#
# {{task:logistic_loss}}

# %% [markdown] lang="ru"
# ## 2. Логистическая регрессия
# [Логистическая регрессия](glossary:Logistic-regression) (logistic regression) превращает оценку $w \cdot x$ в вероятность с помощью сигмоиды $\sigma(z) = 1/(1 + e^{-z})$. При метках $\pm 1$ вероятность верной метки равна $\sigma(m)$, где $m = y\, w \cdot x$ — **отступ** (margin): он положителен, если ответ верен, и велик, если ответ уверенный. Потери — среднее от $-\log \sigma(m)$ плюс штраф L2:
#
# $$L(w) = \frac1n \sum_{i=1}^n \log\left(1 + e^{-m_i}\right) + \frac{\lambda}{2} \|w\|^2, \qquad m_i = y_i\, w \cdot x_i$$
#
# Если набрать формулу как есть, при $m < -709$ экспонента $e^{-m}$ переполнится. `np.logaddexp(a, b)` безопасно вычисляет $\log(e^a + e^b)$. В проверках предупреждения NumPy о переполнении или недопустимом значении считаются ошибками. Штраф берётся со всего $w$, включая свободный член.
#
# {{task:logistic_loss}}


# %% solution="logistic_loss"
def logistic_loss(w: np.ndarray, x: np.ndarray, y: np.ndarray, l2: float = 0.0) -> float:
    """Mean logistic loss plus l2 / 2 times the squared norm of w; never overflows.

    w: (d,), x: (n, d), y: (n,) of -1 and +1 -> a number.
    Example: w = 0 gives log 2 for any data: a coin's answer.
    """
    ### BEGIN SOLUTION
    margin = y * (x @ w)
    return np.mean(np.logaddexp(0.0, -margin)) + l2 / 2 * (w @ w)
    ### END SOLUTION


# %% test="logistic_loss" points=0.5 difficulty=1 minutes=10
x, y = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0]]), np.array([1.0, -1.0, -1.0])
call = "logistic_loss([0, 0], x, y)"
loss = check.answer(logistic_loss, np.zeros(2), x, y, call=call)
check.close(loss, np.log(2), call, why="be log 2: w = 0 is a coin")
call, margins = "logistic_loss([1, 0], x, y)", np.array([1, -3, 0])
loss = check.answer(logistic_loss, np.array([1.0, 0.0]), x, y, call=call)
check.close(
    loss, np.log1p(np.exp(-margins)).mean(), call, why="be a mean; the margins are 1, -3, 0"
)
call = "logistic_loss([1, 0], x, y, l2=0.6)"
penalised = check.answer(logistic_loss, np.array([1.0, 0.0]), x, y, l2=0.6, call=call)
check.close(penalised - loss, 0.3, call, why="be larger by l2 / 2 times the squared norm of w")
call = "logistic_loss([1e4, 0], x, y)"
with np.errstate(over="raise", invalid="raise"):
    loss = check.answer(logistic_loss, np.array([1e4, 0.0]), x, y, call=call)
check.close(
    loss, (3e4 + np.log(2)) / 3, call, why="be almost -m for a large -m; here m is 1e4, -3e4, 0"
)
### BEGIN HIDDEN TESTS
rng = check.rng("logistic_loss")
for n, d in [(1, 1), (int(rng.integers(4, 9)), 3)]:
    w, x, y = rng.normal(size=d), rng.normal(size=(n, d)), rng.choice([-1.0, 1.0], size=n)
    slow = sum(np.log(1 + np.exp(-y[i] * sum(w * x[i]))) for i in range(n)) / n
    call = "logistic_loss(w, x, y)"
    loss = check.answer(logistic_loss, w, x, y, call=call)
    check.equal(np.shape(loss), (), f"shape of {call}", why="be one number")
    check.close(loss, slow, call, why="be the mean over examples, without a penalty")
    for l2 in rng.uniform(0.5, 2.0, size=2):
        want, call = slow + l2 / 2 * sum(w**2), f"logistic_loss(w, x, y, {l2:.2f})"
        loss = check.answer(logistic_loss, w, x, y, l2, call=call)
        check.close(loss, want, call, why="add l2 / 2 times the sum of the squares of w")
w, x, y = np.array([2, -1, 3]), np.array([[1, 2, 0], [0, 3, -1]]), np.array([-1, 1])
call = "logistic_loss of whole numbers"
loss = check.answer(logistic_loss, w, x, y, 0.5, call=call)
check.close(loss, np.log1p(np.exp([0, 6])).mean() + 3.5, call, why="be the same formula")
call = "logistic_loss([1e8], [[1e-8]], [1]), l2 left out"
loss = check.answer(logistic_loss, np.array([1e8]), np.array([[1e-8]]), np.ones(1), call=call)
check.close(loss, np.log1p(np.exp(-1)), call, why="have no penalty at all: l2 is 0 unless told")
w, x, y = np.array([1 / 3, 1 / 7]), np.array([[1.0, 1.0], [2.0, -1.0]]), np.array([-1.0, 1.0])
call, exact = "logistic_loss, to nine digits", np.log1p(np.exp([10 / 21, -11 / 21])).mean()
loss = check.answer(logistic_loss, w, x, y, call=call)
check.close(loss, exact, call, rtol=1e-9, atol=0, why="be right to nine digits: compute in float64")
with np.errstate(over="raise", invalid="raise"):
    for size in (1e4, 1e300):
        x, y = np.array([[size], [size]]), np.array([1.0, -1.0])
        call = f"logistic_loss at margins {size:.0e} and -{size:.0e}"
        loss = check.answer(logistic_loss, np.ones(1), x, y, call=call)
        check.close(loss, size / 2, call, why="be finite: 0 for the one, the size of the other")
w, y = np.array([0.5, -0.25]), np.array([1, -1, 1])
x = np.array([[1.0, 3.0], [2.0, -1.0], [0.5, 1.0]])
call, margins = "logistic_loss of labels that are whole numbers", np.array([-0.25, -1.25, 0.0])
loss = check.answer(logistic_loss, w, x, y, call=call)
check.close(loss, np.log1p(np.exp(-margins)).mean(), call, why="keep the margins' fractions")
call, x = "logistic_loss of repeated examples", np.array([[1.0], [1.0], [1.0], [-2.0]])
loss = check.answer(logistic_loss, np.ones(1), x, np.ones(4), call=call)
exact = (3 * np.log1p(np.exp(-1)) + np.log1p(np.exp(2))) / 4
check.close(loss, exact, call, why="count every example, equal ones too")
why = "be the same formula, cut off nowhere"
for margin in (-10.5, -12.0, 10.5, 14.5, 20.5):
    call = f"logistic_loss at the margin {margin:g}"
    loss = check.answer(logistic_loss, np.ones(1), np.array([[margin]]), np.ones(1), call=call)
    exact = np.log1p(np.exp(-abs(margin))) + max(0.0, -margin)
    check.close(loss, exact, call, rtol=1e-6 if margin > 0 else 1e-9, atol=0, why=why)
### END HIDDEN TESTS

# %% mutant="logistic_loss" why="the formula as it stands: overflows"
# - return np.mean(np.logaddexp(0.0, -margin)) + l2 / 2 * (w @ w)
# + return np.mean(np.log(1 + np.exp(-margin))) + l2 / 2 * (w @ w)

# %% mutant="logistic_loss" why="the wrong sign of the margin"
# - return np.mean(np.logaddexp(0.0, -margin)) + l2 / 2 * (w @ w)
# + return np.mean(np.logaddexp(0.0, margin)) + l2 / 2 * (w @ w)

# %% mutant="logistic_loss" why="a sum in place of the mean"
# - return np.mean(np.logaddexp(0.0, -margin)) + l2 / 2 * (w @ w)
# + return np.sum(np.logaddexp(0.0, -margin)) + l2 / 2 * (w @ w)

# %% mutant="logistic_loss" why="the penalty without its half"
# - return np.mean(np.logaddexp(0.0, -margin)) + l2 / 2 * (w @ w)
# + return np.mean(np.logaddexp(0.0, -margin)) + l2 * (w @ w)

# %% mutant="logistic_loss" why="the intercept goes without a penalty"
# - return np.mean(np.logaddexp(0.0, -margin)) + l2 / 2 * (w @ w)
# + return np.mean(np.logaddexp(0.0, -margin)) + l2 / 2 * (w[:-1] @ w[:-1])

# %% mutant="logistic_loss" why="single precision"
# - margin = y * (x @ w)
# + margin = (y * (x @ w)).astype(np.float32)

# %% mutant="logistic_loss" why="cuts margins off instead of computing them safely"
# - margin = y * (x @ w)
# + margin = np.clip(y * (x @ w), -700, 700)

# %% mutant="logistic_loss" why="margins of the kind of the labels: fractions are cut off"
# - margin = y * (x @ w)
# + margin = (y * (x @ w)).astype(y.dtype)

# %% mutant="logistic_loss" why="equal margins count once"
# - margin = y * (x @ w)
# + margin = np.unique(y * (x @ w))

# %% mutant="logistic_loss" why="-m already below -10"
# - return np.mean(np.logaddexp(0.0, -margin)) + l2 / 2 * (w @ w)
# + each = np.where(margin < -10, -margin, np.logaddexp(0.0, -margin))
# + return np.mean(each) + l2 / 2 * (w @ w)

# %% mutant="logistic_loss" why="0 for sure answers"
# - return np.mean(np.logaddexp(0.0, -margin)) + l2 / 2 * (w @ w)
# + each = np.where(margin > 14, 0.0, np.logaddexp(0.0, -margin))
# + return np.mean(each) + l2 / 2 * (w @ w)


# %% alternative="logistic_loss" why="log1p of an exponential that never grows"
def logistic_loss(w, x, y, l2=0.0):
    margin = y * (x @ w)
    losses = np.maximum(-margin, 0) + np.log1p(np.exp(-np.abs(margin)))
    return losses.mean() + 0.5 * l2 * np.sum(w**2)


# %%
margins = np.linspace(-1000, 50, 211)
with np.errstate(over="ignore"):
    naive = np.log(1 + np.exp(-margins))
one = np.ones((1, 1))
stable = [logistic_loss(np.array([m]), one, np.ones(1)) for m in margins]
near = np.linspace(-4, 4, 161)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
series = {
    "logistic loss": (near, [logistic_loss(np.array([m]), one, np.ones(1)) for m in near]),
    "a mistake counts 1": (near, (near < 0).astype(float)),
}
title = "The loss pays for confident mistakes"
plots.curves(series, title, "margin $m$", "loss of one example", ax=axes[0])
axes[1].plot(margins, stable, label="yours")
axes[1].plot(margins, naive, "--", label="log(1 + exp(-m)) as it stands")
axes[1].axvspan(-1000, -709.8, color="0.9")
axes[1].text(-990, 120, "exp overflows:\nthe loss is inf", fontsize=9)
axes[1].set(title="Far out", xlabel="margin $m$", ylabel="loss of one example")
axes[1].legend(frameon=False)
plots.show("The logistic loss against the margin; typed naively it is infinite below margin -709")

# %% [markdown]
# ### Its gradient
# The derivative of $\log(1 + e^{-m})$ is $-\sigma(-m)$: the probability that the model gives to the *wrong* label. So each example pulls $w$ towards $y_i x_i$ as strongly as the model is wrong about it:
#
# $$\nabla L(w) = -\frac1n \sum_{i=1}^n \sigma(-m_i)\, y_i\, x_i + \lambda w$$
#
# The sigmoid must not overflow either: a warning counts as an error here, too. A hint: $\log \sigma(z) = -\log(1 + e^{-z})$, and that you can do already.
#
# {{task:logistic_gradient}}

# %% [markdown] lang="ru"
# ### Её градиент
# Производная $\log(1 + e^{-m})$ равна $-\sigma(-m)$: это вероятность, которую модель даёт *неверной* метке. Значит, каждый пример тянет $w$ в сторону $y_i x_i$ настолько сильно, насколько модель на нём неправа:
#
# $$\nabla L(w) = -\frac1n \sum_{i=1}^n \sigma(-m_i)\, y_i\, x_i + \lambda w$$
#
# Сигмоида тоже не должна переполняться: предупреждение и здесь считается ошибкой. Подсказка: $\log \sigma(z) = -\log(1 + e^{-z})$, а это вы уже умеете.
#
# {{task:logistic_gradient}}


# %% solution="logistic_gradient"
def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)) for every element, without overflow. Any shape."""
    ### BEGIN SOLUTION
    return np.exp(-np.logaddexp(0.0, -z))
    ### END SOLUTION


def logistic_gradient(w: np.ndarray, x: np.ndarray, y: np.ndarray, l2: float = 0.0) -> np.ndarray:
    """The gradient of logistic_loss with respect to w.

    w: (d,), x: (n, d), y: (n,) of -1 and +1 -> (d,).
    Example: w = [0], x = [[4]], y = [1] gives [-2]: half of -4.
    """
    ### BEGIN SOLUTION
    wrong = sigmoid(-y * (x @ w))
    return l2 * w - x.T @ (wrong * y) / len(y)
    ### END SOLUTION


# %% test="logistic_gradient" points=0.5 difficulty=2 minutes=15
call = "sigmoid([0, log 3, -1e4, 1e4])"
with np.errstate(over="raise", invalid="raise"):
    s = check.answer(sigmoid, np.array([0.0, np.log(3), -1e4, 1e4]), call=call)
check.close(s, [0.5, 0.75, 0, 1], call, why="be 1 / (1 + exp(-z))")
w, x, y = (
    np.array([0.5, -1.0]),
    np.array([[4.0, 1.0], [2.0, 3.0], [-1.0, 2.0]]),
    np.array([-1, 1, 1]),
)
for l2 in (0.0, 0.3):
    call = f"logistic_gradient([0.5, -1], x, y, {l2})"
    check.gradient(
        lambda w, l2=l2: np.logaddexp(0, -y * (x @ w)).mean() + l2 / 2 * (w @ w),
        w,
        check.answer(logistic_gradient, w, x, y, l2, call=call),
        call,
        why="be the measured gradient of the loss",
    )
### BEGIN HIDDEN TESTS
rng = check.rng("logistic_gradient")
for shape in [(), (5,), (2, 3)]:
    z, call = rng.normal(size=shape), f"sigmoid(z) of shape {shape}"
    got = check.answer(sigmoid, z, call=call)
    check.close(got, np.exp(z) / (1 + np.exp(z)), call, why="be 1 / (1 + exp(-z))")
call = "sigmoid of whole numbers"
got = check.answer(sigmoid, np.array([-2, 0, 1, 3]), call=call)
check.close(got, 1 / (1 + np.exp([2, 0, -1, -3])), call, why="be 1 / (1 + exp(-z))")
call = "sigmoid([-1e300, 1e300])"
with np.errstate(over="raise", invalid="raise"):
    got = check.answer(sigmoid, np.array([-1e300, 1e300]), call=call)
check.close(got, [0, 1], call, why="not overflow")


def slow(w, x, y, l2=0.0):
    pulls = [-y[i] * x[i] / (1 + np.exp(y[i] * sum(w * x[i]))) for i in range(len(x))]
    return sum(pulls) / len(x) + l2 * w


for n, d in [(1, 2), (int(rng.integers(4, 9)), 3)]:
    w, x, y = rng.normal(size=d), rng.normal(size=(n, d)), rng.choice([-1.0, 1.0], size=n)
    call = "logistic_gradient(w, x, y)"
    got = check.answer(logistic_gradient, w, x, y, call=call)
    why = "be the mean of -sigmoid(-m) y x, without a penalty"
    check.close(got, slow(w, x, y), call, why=why)
    for l2 in rng.uniform(0.5, 2.0, size=2):
        call = f"logistic_gradient(w, x, y, l2={l2:.2f})"
        got = check.answer(logistic_gradient, w, x, y, l2=l2, call=call)
        check.close(got, slow(w, x, y, l2), call, why="add l2 times w, all of it")
w, x, y = np.array([2, -1, 3]), np.array([[1, 2, 0], [0, 3, -1]]), np.array([-1, 1])
call = "logistic_gradient of whole numbers"
got = check.answer(logistic_gradient, w, x, y, 0.5, call=call)
check.close(got, slow(w, x, y, 0.5), call, why="be the same formula")
call = "logistic_gradient([1e8], [[1e-8]], [1]), l2 left out"
got = check.answer(logistic_gradient, np.array([1e8]), np.array([[1e-8]]), np.ones(1), call=call)
why = "have no penalty at all: l2 is 0 unless told"
check.close(got, [-1e-8 / (1 + np.e)], call, atol=0, why=why)
with np.errstate(over="raise", invalid="raise"):
    call = "logistic_gradient at margins 1e4 and -2e4"
    x, y = np.array([[1e4], [2e4]]), np.array([1.0, -1.0])
    got = check.answer(logistic_gradient, np.ones(1), x, y, call=call)
    why = "pull with 0 where a right answer is sure, with all strength where a wrong one is"
    check.close(got, [1e4], call, why=why)
call, z = "sigmoid([1/3, -1/7]), to nine digits", np.array([1 / 3, -1 / 7])
got = check.answer(sigmoid, z, call=call)
check.close(
    got,
    1 / (1 + np.exp(-z)),
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
w, x, y = z, np.array([[1.0, 3.0], [2.0, -1.0], [-2.0, 1.0]]), np.array([1.0, -1.0, 1.0])
call = "logistic_gradient, to nine digits"
got = check.answer(logistic_gradient, w, x, y, 1 / 3, call=call)
check.close(
    got,
    slow(w, x, y, 1 / 3),
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
call, z = "sigmoid([-40, -25, -21])", np.array([-40.0, -25.0, -21.0])
got = check.answer(sigmoid, z, call=call)
exact, why = np.exp(z) / (1 + np.exp(z)), "be 1 / (1 + exp(-z)) far out, too: no cut of z"
check.close(got, exact, call, rtol=0, atol=1e-15, why=why)
call, x = "logistic_gradient of repeated examples", np.array([[2.0, 1.0]] * 3 + [[1.0, -1.0]])
w, y = np.array([0.5, -1.0]), np.array([1.0, 1.0, 1.0, -1.0])
got = check.answer(logistic_gradient, w, x, y, call=call)
check.close(got, slow(w, x, y), call, why="be a mean over all examples, equal ones too")
### END HIDDEN TESTS

# %% mutant="logistic_gradient" why="gradient ascent: the sign is lost"
# - return l2 * w - x.T @ (wrong * y) / len(y)
# + return l2 * w + x.T @ (wrong * y) / len(y)

# %% mutant="logistic_gradient" why="weighs by the probability of the right label"
# - wrong = sigmoid(-y * (x @ w))
# + wrong = sigmoid(y * (x @ w))

# %% mutant="logistic_gradient" why="a sum in place of the mean"
# - return l2 * w - x.T @ (wrong * y) / len(y)
# + return l2 * w - x.T @ (wrong * y)

# %% mutant="logistic_gradient" why="forgets the penalty"
# - return l2 * w - x.T @ (wrong * y) / len(y)
# + return -x.T @ (wrong * y) / len(y)

# %% mutant="logistic_gradient" why="the penalty in place: changes w"
# - return l2 * w - x.T @ (wrong * y) / len(y)
# + w *= l2
# + return w - x.T @ (wrong * y) / len(y)

# %% mutant="logistic_gradient" why="a sigmoid that gives inf / inf"
# - return np.exp(-np.logaddexp(0.0, -z))
# + return np.exp(z) / (1 + np.exp(z))

# %% mutant="logistic_gradient" why="a sigmoid that writes into an array of z's kind: whole numbers give 0"
# - return np.exp(-np.logaddexp(0.0, -z))
# + result = np.empty_like(z)
# + result[...] = np.exp(-np.logaddexp(0.0, -z))
# + return result

# %% mutant="logistic_gradient" why="a sigmoid of single precision"
# - return np.exp(-np.logaddexp(0.0, -z))
# + return np.exp(-np.logaddexp(0.0, -z)).astype(np.float32)

# %% mutant="logistic_gradient" why="labels 0 and 1 in a formula for -1 and +1"
# - wrong = sigmoid(-y * (x @ w))
# - return l2 * w - x.T @ (wrong * y) / len(y)
# + return l2 * w + x.T @ (sigmoid(x @ w) - y) / len(y)

# %% mutant="logistic_gradient" why="cuts the sigmoid's argument at 20"
# - return np.exp(-np.logaddexp(0.0, -z))
# + return np.exp(-np.logaddexp(0.0, -np.clip(z, -20, 20)))

# %% mutant="logistic_gradient" why="cuts the sigmoid's argument at 30"
# - return np.exp(-np.logaddexp(0.0, -z))
# + return np.exp(-np.logaddexp(0.0, -np.clip(z, -30, 30)))

# %% mutant="logistic_gradient" why="divides by the number of different examples"
# - return l2 * w - x.T @ (wrong * y) / len(y)
# + return l2 * w - x.T @ (wrong * y) / len(np.unique(x, axis=0))


# %% alternative="logistic_gradient" why="through probabilities and labels 0, 1"
def sigmoid(z):
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + small), small / (1 + small))


def logistic_gradient(w, x, y, l2=0.0):
    return np.mean((sigmoid(x @ w) - (y + 1) / 2)[:, None] * x, axis=0) + l2 * w


# %% [markdown]
# Loss and gradient are all it takes. The loop below is gradient descent in its plainest form; the two models differ only in their features.

# %% [markdown] lang="ru"
# Потерь и градиента достаточно для обучения. Цикл ниже — градиентный спуск в самом простом виде; две модели различаются только признаками.


# %%
def plain(x: np.ndarray) -> np.ndarray:
    """The point itself and a constant: (n, 2) -> (n, 3)."""
    return np.column_stack([x, np.ones(len(x))])


figure, axes = plt.subplots(1, 2, figsize=(10, 4.2))
for ax, features, name in [(axes[0], plain, "3 features"), (axes[1], expand, "6 features")]:
    w = np.zeros(features(x_train).shape[1])
    for _ in range(1000):
        w = w - 0.1 * logistic_gradient(w, features(x_train), y_train)
    right = np.mean(np.sign(features(x_test) @ w) == y_test)
    title, some = f"{name}: test accuracy {right:.1%}", slice(400)

    def answer(points, w=w, features=features):
        return sigmoid(features(points) @ w)

    plots.decision_regions(answer, x_train[some], y_train[some], title, ax=ax)
    ax.set(xlabel="$x_0$", ylabel="$x_1$")
plots.show("With linear features the border is a line that misses; with squares it is an ellipse")

# %% [markdown]
# ## 3. One form for all optimisers
# Every optimiser below is a function that makes **one step**:
#
# `w, state = step(w, gradient, state, lr, ...)`
#
# - `gradient` is a function: `gradient(w)` is the gradient at `w`. Call it once in a step; the array that it returns may be somebody's own, so it stays as it was, too.
# - `state` is what the optimiser remembers, zeros at first. Return the new one; SGD returns what it got.
# - Parameters are floats of any shape, all operations are elementwise, **inputs stay as they were**: write `w = w - ...`, not `w -= ...`, which changes the caller's array.
#
# `descend` makes many steps and keeps the path. `ravine` is the test ground: 25 times steeper across than along, so its [condition number](glossary:Condition-number) is 25.

# %% [markdown] lang="ru"
# ## 3. Одна форма для всех методов
# Каждый метод ниже — функция, которая делает **один шаг**:
#
# `w, state = step(w, gradient, state, lr, ...)`
#
# - `gradient` — функция: `gradient(w)` — градиент в точке `w`. За шаг вызывайте её один раз; массив, который она вернула, может быть нужен и другим, поэтому он тоже не меняется.
# - `state` — то, что метод помнит; сначала нули. Верните новое состояние; SGD возвращает то, что получил.
# - Параметры — вещественные числа в массиве любой формы, все действия поэлементные, **входы не меняются**: пишите `w = w - ...`, а не `w -= ...`, иначе изменится массив вызывающего кода.
#
# `descend` делает много шагов и хранит путь. `ravine` («овраг») — полигон: поперёк он в 25 раз круче, чем вдоль, то есть его [число обусловленности](glossary:Condition-number) (condition number) равно 25.


# %%
Gradient = Callable[[np.ndarray], np.ndarray]
STEEPNESS = np.array([1.0, 25.0])
START = np.array([-4.0, 1.0])


def descend(step, w, gradient, state, lr: float, steps: int, **options) -> np.ndarray:
    """Make `steps` steps. -> the path (steps + 1, *w.shape), its first point the start."""
    path = [w]
    with np.errstate(over="ignore", invalid="ignore"):  # a path may run off to infinity
        for _ in range(steps):
            w, state = step(w, gradient, state, lr, **options)
            path.append(w)
    return np.array(path)


def ravine(w: np.ndarray) -> np.ndarray:
    """(w0^2 + 25 w1^2) / 2. w: (..., 2) -> (...)."""
    return w**2 @ STEEPNESS / 2


def ravine_gradient(w: np.ndarray) -> np.ndarray:
    return STEEPNESS * w


def draw_path(ax, f, path, title: str, box=(-5, 5, -2, 2), goal=(0, 0), color="C0") -> None:
    """Draw a path on the contours of f. f: (..., 2) -> (...). box: (left, right, low, high)."""
    grid = np.stack(np.meshgrid(np.linspace(*box[:2], 121), np.linspace(*box[2:], 121)), -1)
    height = np.log10(f(grid) + 1e-2)
    ax.contourf(grid[..., 0], grid[..., 1], height, levels=14, cmap="Greys_r", alpha=0.55)
    ax.plot(path[:, 0], path[:, 1], "o-", markersize=2.5, linewidth=1, color=color)
    ax.plot(*goal, "*", color="white", markeredgecolor="black", markersize=11)
    ax.set(xlim=box[:2], ylim=box[2:], xlabel="$w_0$", ylabel="$w_1$")
    ax.set_title(title, fontsize=10)
    ax.grid(False)


# %% [markdown]
# ### Stochastic gradient descent
# [SGD](glossary:Stochastic-gradient-descent) goes back to [Robbins and Monro, 1951](https://doi.org/10.1214/aoms/1177729586): a noisy gradient will do, as long as it is right on average.
#
# $$w \leftarrow w - \eta\, g, \qquad g = \nabla L_B(w) \text{ on a random minibatch } B$$
#
# $\eta$ is the learning rate `lr`. Each epoch shuffles the examples anew and cuts the order into [minibatches](glossary:Minibatch); the last one may be smaller. Draw only from the `rng` you are given: then a run can be repeated.
#
# {{task:sgd}}

# %% [markdown] lang="ru"
# ### Стохастический градиентный спуск
# [SGD](glossary:Stochastic-gradient-descent) восходит к [Роббинсу и Монро, 1951](https://doi.org/10.1214/aoms/1177729586): годится и зашумлённый градиент, лишь бы в среднем он был верен.
#
# $$w \leftarrow w - \eta\, g, \qquad g = \nabla L_B(w) \text{ на случайном минибатче } B$$
#
# $\eta$ — шаг обучения (learning rate), `lr`. В начале каждой эпохи примеры перемешивают заново и режут на [минибатчи](glossary:Minibatch) (minibatch); последний может быть меньше. Случайные числа берите только из данного `rng`: тогда запуск можно повторить.
#
# {{task:sgd}}


# %% solution="sgd"
def minibatches(n: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """One epoch: the indices 0 ... n - 1 in random order, `size` at a time.

    n and size are at least 1. Example: minibatches(5, 2, rng) may give [3, 0], [4, 1], [2].
    """
    ### BEGIN SOLUTION
    order = rng.permutation(n)
    for start in range(0, n, size):
        yield order[start : start + size]
    ### END SOLUTION


def sgd(w: np.ndarray, gradient: Gradient, state, lr: float) -> tuple:
    """One step of gradient descent; the state comes back as it was.

    Example: w = [1], gradient [4], lr = 0.1 gives [0.6].
    """
    ### BEGIN SOLUTION
    return w - lr * gradient(w), state
    ### END SOLUTION


# %% test="sgd" points=0.5 difficulty=1 minutes=10
call = "sgd([1, -2], gradient, (), lr=0.1)"
w, state = check.answer(sgd, np.array([1.0, -2.0]), lambda w: 4 * w, (), lr=0.1, call=call)
check.close(w, [0.6, -1.2], call, why="move to w - lr * gradient(w)")
check.equal(state, (), f"the state after {call}", why="be the state that was given")
call = "minibatches(10, 4, rng)"
batches = check.answer(lambda: [*minibatches(10, 4, check.rng("sgd"))], call=call)
batches = [np.array(batch) for batch in batches]
check.equal([len(batch) for batch in batches], [4, 4, 2], "the sizes of minibatches(10, 4, rng)")
check.equal(sorted(np.concatenate(batches).tolist()), list(range(10)), "all its indices, sorted")
### BEGIN HIDDEN TESTS
rng = check.rng("sgd")


def epoch(n, size, source):
    """The minibatches of one epoch as arrays."""
    call = f"minibatches({n}, {size}, rng)"
    given = check.answer(lambda: [*minibatches(n, size, source)], call=call)
    full, rest = divmod(n, size)
    sizes = [len(batch) for batch in given]
    why = "be `size`, but for the last, which may be smaller"
    check.equal(sizes, [size] * full + [rest] * (rest > 0), f"the sizes of {call}", why=why)
    kinds = {np.array(batch).dtype.kind for batch in given}
    check.that(kinds <= {"i", "u"}, f"give whole numbers, which can be indices ({call})")
    order = np.concatenate(given)
    check.equal(np.sort(order), np.arange(n), f"{call}, sorted", why="be each index once")
    return given, order


epoch(6, 2, rng)
epoch(3, 5, rng)
epoch(4, 1, rng)
n, size, seed = int(rng.integers(40, 60)), int(rng.integers(3, 8)), int(rng.integers(1_000_000))
source = np.random.default_rng(seed)
first, second = epoch(n, size, source)[1], epoch(n, size, source)[1]
for order in (first, second):
    check.that(not np.array_equal(order, np.arange(n)), "give an epoch in random order")
check.that(not np.array_equal(first, second), "give every epoch another order")
again = epoch(n, size, np.random.default_rng(seed))[1]
check.equal(
    again, first, "an epoch repeated with an equal rng", why="draw from the given rng alone"
)
other = epoch(n, size, np.random.default_rng(seed + 1))[1]
check.that(not np.array_equal(other, first), "draw from the given rng: another seed, another order")
trials = 1500
together = sum(
    any({0, 1} <= set(np.array(b).tolist()) for b in epoch(6, 2, rng)[0]) for _ in range(trials)
)
check.close(
    together / trials, 0.2, "how often 0 and 1 of six examples share a minibatch of 2", rtol=0,
    atol=7 * np.sqrt(0.2 * 0.8 / trials), why="be a fifth, as for any two: shuffle the examples",
)  # fmt: skip

calls = []


def pull(point):
    calls.append(point)
    return 4 * point - 1


for state in ((), ("kept",), {"t": 3}):
    for shape in ((3,), (2, 3), ()):
        start, lr, call = (
            rng.normal(size=shape),
            rng.uniform(0.05, 0.4),
            "sgd(w, gradient, state, lr)",
        )
        calls.clear()
        w, after = check.answer(sgd, start, pull, state, lr, call=call)
        check.equal(len(calls), 1, f"how often {call} asks for a gradient", why="be once a step")
        check.close(w, start - lr * (4 * start - 1), call, why="move to w - lr * gradient(w)")
        check.equal(after, state, f"the state after {call}", why="be the state that was given")
matrix = rng.normal(size=(3, 3))
matrix = matrix @ matrix.T + np.eye(3)
goal, w0, lr = rng.normal(size=3), rng.normal(size=3), 0.5 / np.trace(matrix)
w = w0
for t in range(1, 16):
    call = f"sgd, step {t}: w"
    w, _ = check.answer(sgd, w, lambda point: matrix @ (point - goal), (), lr, call=call)
    slow = goal + np.linalg.matrix_power(np.eye(3) - lr * matrix, t) @ (w0 - goal)
    why = "have on a quadratic (1 - lr A)^t of its first error left"
    check.close(w, slow, call, why=why)
call = "sgd([1/3], gradient, (), 1/7), to nine digits"
w, _ = check.answer(sgd, np.array([1 / 3]), lambda point: point**2, (), 1 / 7, call=call)
check.close(
    w, [1 / 3 - 1 / 63], call, rtol=1e-9, atol=0, why="be right to nine digits: compute in float64"
)
orders, whys = [], "be a quarter: every order is as likely as another"
for _ in range(trials):
    orders.append(epoch(4, 1, rng)[1])
orders = np.array(orders)
for number in range(4):
    for place in range(4):
        check.close(
            np.mean(orders[:, place] == number), 0.25,
            f"how often {number} of four is in place {place}", rtol=0,
            atol=7 * np.sqrt(0.25 * 0.75 / trials), why=whys,
        )  # fmt: skip
lasts = np.array([epoch(5, 2, rng)[1][-1] for _ in range(trials)])
for number in range(5):
    check.close(
        np.mean(lasts == number), 0.2, f"how often {number} of five is left for the smaller batch",
        rtol=0, atol=7 * np.sqrt(0.2 * 0.8 / trials), why="be a fifth, as for any other",
    )  # fmt: skip

lent, call = np.array([3.0, -2.0]), "the array that gradient(w) gave to sgd"
step = "sgd(w, gradient, ...)"
check.answer(sgd, np.ones(2), lambda point: lent, (), 0.1, call=step)
check.equal(lent, [3.0, -2.0], call, why="stay as it was: it may be somebody's own")
### END HIDDEN TESTS

# %% mutant="sgd" why="climbs"
# - return w - lr * gradient(w), state
# + return w + lr * gradient(w), state

# %% mutant="sgd" why="changes the caller's array"
# - return w - lr * gradient(w), state
# + w -= lr * gradient(w)
# + return w, state

# %% mutant="sgd" why="asks for the gradient twice"
# - return w - lr * gradient(w), state
# + return w - lr * (gradient(w) + gradient(w)) / 2, state

# %% mutant="sgd" why="an empty state, whatever was given"
# - return w - lr * gradient(w), state
# + return w - lr * gradient(w), ()

# %% mutant="sgd" why="does not shuffle"
# - order = rng.permutation(n)
# + order = np.arange(n)

# %% mutant="sgd" why="turns the order instead of shuffling it"
# - order = rng.permutation(n)
# + order = np.roll(np.arange(n), rng.integers(n))

# %% mutant="sgd" why="draws from NumPy's global generator"
# - order = rng.permutation(n)
# + order = np.random.permutation(n)

# %% mutant="sgd" why="a generator of its own"
# - order = rng.permutation(n)
# + order = np.random.default_rng(n).permutation(n)

# %% mutant="sgd" why="draws with replacement"
# - order = rng.permutation(n)
# + order = rng.integers(n, size=n)

# %% mutant="sgd" why="indices that are no whole numbers"
# - order = rng.permutation(n)
# + order = rng.permutation(1.0 * np.arange(n))

# %% mutant="sgd" why="drops the last, smaller minibatch"
# - for start in range(0, n, size):
# + for start in range(0, n - size + 1, size):

# %% mutant="sgd" why="shuffles the minibatches, not the examples"
# - order = rng.permutation(n)
# - for start in range(0, n, size):
# -     yield order[start : start + size]
# + for start in rng.permutation(np.arange(0, n, size)):
# +     yield np.arange(n)[start : start + size]

# %% mutant="sgd" why="example 0 always comes first"
# - order = rng.permutation(n)
# + order = np.append(0, 1 + rng.permutation(n - 1))

# %% mutant="sgd" why="the last example always comes last"
# - order = rng.permutation(n)
# + order = np.append(rng.permutation(n - 1), n - 1)

# %% mutant="sgd" why="the smaller batch is always made of the last examples"
# - order = rng.permutation(n)
# + order = np.append(rng.permutation(n - n % size), np.arange(n - n % size, n))

# %% mutant="sgd" why="cyclic orders only: nothing stays in its place"
# - order = rng.permutation(n)
# + order = np.arange(n)
# + for i in range(n - 1, 0, -1):
# +     j = rng.integers(i)
# +     order[i], order[j] = order[j], order[i]

# %% mutant="sgd" why="scales the array that gradient(w) gave"
# - return w - lr * gradient(w), state
# + g = gradient(w)
# + g *= lr
# + return w - g, state


# %% alternative="sgd" why="a list of minibatches"
def minibatches(n, size, rng):
    order = np.arange(n)
    rng.shuffle(order)
    return np.split(order, range(size, n, size))


def sgd(w, gradient, state, lr):
    return np.subtract(w, np.multiply(lr, gradient(w))), state


# %% alternative="sgd" why="minibatches as lists of numbers"
def minibatches(n, size, rng):
    order = rng.permutation(n).tolist()
    while order:
        yield order[:size]
        order = order[size:]


def sgd(w, gradient, state, lr):
    g = gradient(w)
    return w - g * lr, state


# %% [markdown]
# How large may $\eta$ be? On a quadratic each step multiplies the error along an axis of curvature $h$ by $1 - \eta h$. It shrinks only if $|1 - \eta h| < 1$, that is $\eta < 2/h$. The steepest axis sets the limit, here $2/25 = 0.08$, and the flattest axis then has to crawl at that rate. The third picture is just past the limit.

# %% [markdown] lang="ru"
# Насколько большим может быть $\eta$? На квадратичной функции каждый шаг умножает ошибку вдоль оси с кривизной $h$ на $1 - \eta h$. Она убывает, только если $|1 - \eta h| < 1$, то есть $\eta < 2/h$. Предел задаёт самая крутая ось, здесь $2/25 = 0{,}08$, а самой пологой приходится ползти с тем же шагом. На третьей картинке предел чуть превышен.

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), sharey=True)
for ax, lr, name in zip(axes, [0.01, 0.076, 0.082], ["crawls", "zigzags", "diverges"], strict=True):
    path = descend(sgd, START, ravine_gradient, (), lr, steps=40)
    draw_path(ax, ravine, path, f"lr = {lr} {name}: loss {ravine(path[-1]):.2g}")
plots.show("SGD on the ravine: a small rate crawls, a larger one zigzags, one past 0.08 diverges")

# %% [markdown]
# Now the noise. The same learning rate and the same number of epochs, three minibatch sizes: small ones make many steps an epoch and never settle, the full batch is smooth and slow.

# %% [markdown] lang="ru"
# Теперь шум. Шаг обучения и число эпох те же, а размеров минибатча три: с маленькими шагов за эпоху много, но путь так и не успокаивается; полный набор даёт гладкий и медленный спуск.

# %%
rows, labels, series = expand(x_train[:400]), y_train[:400], {}
for size in [1, 16, 400]:
    rng, w, losses = seed_everything(0), np.zeros(6), []
    for _ in range(10):
        for batch in minibatches(400, size, rng):
            w, _ = sgd(w, lambda w, b=batch: logistic_gradient(w, rows[b], labels[b]), (), 0.05)
            losses.append(logistic_loss(w, rows, labels))
    series[f"batch of {size}"] = (np.arange(1, len(losses) + 1) * size / 400, losses)
ax = plots.curves(series, "Learning rate 0.05, three minibatch sizes", "epochs", "training loss")
ax.set_ylim(0.1, 0.8)
plots.show(
    "Loss by epoch: batches of 1 fall fast and jitter, 16 is smoother, the full batch is slow"
)

# %% [markdown]
# ### Momentum
# A heavy ball does not turn at every bump. [Momentum](glossary:Momentum) ([Polyak, 1964](https://doi.org/10.1016/0041-5553%2864%2990137-5)) keeps a velocity $v$, a decaying sum of gradients:
#
# $$v \leftarrow \beta v + g, \qquad w \leftarrow w - \eta v$$
#
# Across the ravine the gradients alternate and cancel. Along it they add up, to $1/(1-\beta)$ times a single one: 10 times for $\beta = 0.9$.
#
# This is the form of `torch.optim.SGD(momentum=...)`. Sutskever et al. put $\eta$ inside: $v \leftarrow \beta v - \eta g$, $w \leftarrow w + v$. The paths are equal while $\eta$ is constant, and differ once it changes.
#
# {{task:momentum}}

# %% [markdown] lang="ru"
# ### Импульс
# Тяжёлый шар не сворачивает на каждой кочке. [Импульс](glossary:Momentum) (momentum; [Поляк, 1964](https://doi.org/10.1016/0041-5553%2864%2990137-5)) хранит скорость $v$ — затухающую сумму градиентов:
#
# $$v \leftarrow \beta v + g, \qquad w \leftarrow w - \eta v$$
#
# Поперёк оврага градиенты чередуются и гасят друг друга. Вдоль они складываются, и сумма в $1/(1-\beta)$ раз больше одного градиента: при $\beta = 0{,}9$ — в 10 раз.
#
# Такова форма `torch.optim.SGD(momentum=...)`. У Суцкевера и соавторов $\eta$ стоит внутри: $v \leftarrow \beta v - \eta g$, $w \leftarrow w + v$. Пока $\eta$ постоянен, пути совпадают; когда он меняется — расходятся.
#
# {{task:momentum}}


# %% solution="momentum"
def momentum(
    w: np.ndarray, gradient: Gradient, v: np.ndarray, lr: float, beta: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """One step with momentum. w, v: any one shape -> the new (w, v).

    Example: w = [1], gradient [4], v = [2], lr = 0.1, beta = 0.8 gives ([0.44], [5.6]).
    """
    ### BEGIN SOLUTION
    v = beta * v + gradient(w)
    return w - lr * v, v
    ### END SOLUTION


# %% test="momentum" points=0.5 difficulty=1 minutes=10
w, v, call = (
    np.array([1.0, -2.0]),
    np.array([2.0, 0.5]),
    "momentum(w, gradient, v, lr=0.1, beta=0.8)",
)
w, v = check.answer(momentum, w, lambda w: np.array([4.0, 1.0]), v, lr=0.1, beta=0.8, call=call)
check.close(v, [5.6, 1.4], f"the new v of {call}", why="be beta v + g")
check.close(w, [0.44, -2.14], f"the new w of {call}", why="be w - lr v, with the new v")
### BEGIN HIDDEN TESTS
import torch


def slope_of_4(point):
    return np.full(np.shape(point), 4.0)


call = "momentum([1], gradient, [-2], 0.1, 0.8)"
for _ in range(2):
    w, v = check.answer(momentum, np.ones(1), slope_of_4, np.array([-2.0]), 0.1, 0.8, call=call)
    why = "start from the v that is given, of either sign, and from no other"
    check.close(v, [2.4], f"the new v of {call}", why=why)
    check.close(w, [0.76], f"the new w of {call}", why="be w - lr v, with the new v")
call = "momentum(w, gradient, v, 0.1, 0.8), a gradient that depends on w"
w, v = check.answer(momentum, np.ones(1), lambda p: 1.0 * p, np.array([2.0]), 0.1, 0.8, call=call)
check.close(v, [2.6], f"the new v of {call}", why="take the gradient at w itself")
call = "momentum(w, gradient, v, lr), beta left out"
w, v = check.answer(momentum, np.ones(1), slope_of_4, np.array([2.0]), 0.1, call=call)
check.close(v, [5.8], f"the new v of {call}", why="take 0.9 for beta")
check.close(w, [0.42], f"the new w of {call}", why="take 0.9 for beta")
rng = check.rng("momentum")
scale, shift = rng.uniform(0.5, 3.0, (3, 2)), rng.normal(size=(3, 2))
calls = []


def field(point):
    calls.append(point)
    return scale * point + np.sin(point + shift)


# One step from any state, as its arguments say; nothing is left over from other steps.
for beta in (0.0, rng.uniform(0.6, 0.95)):
    w, v, lr = rng.normal(size=(3, 2)), rng.normal(size=(3, 2)), rng.uniform(0.02, 0.2)
    velocity = beta * v + field(w)
    call = f"momentum(w, gradient, v, lr, {beta:.2f})"
    calls.clear()
    new_w, new_v = check.answer(momentum, w, field, v, lr, beta, call=call)
    why = "be once a step: asked again, a minibatch gradient might differ"
    check.equal(len(calls), 1, f"how often {call} asks for a gradient", why=why)
    check.close(new_v, velocity, f"the new v of {call}", why="be beta v + g")
    check.close(new_w, w - lr * velocity, f"the new w of {call}", why="be w - lr v")
w, v, beta = rng.normal(size=(3, 2)), np.zeros((3, 2)), rng.uniform(0.6, 0.95)
parameter = torch.tensor(w)
optimiser = torch.optim.SGD([parameter], lr=0.1, momentum=beta)
other_w, other_v = np.ones(4), np.zeros(4)
for t in range(1, 16):
    lr, call = rng.uniform(0.02, 0.2), f"momentum, step {t}: w"
    parameter.grad = torch.tensor(field(w))
    optimiser.param_groups[0]["lr"] = lr
    optimiser.step()
    w, v = check.answer(momentum, w, field, v, lr, beta, call=call)
    why = "go the way of torch's SGD(momentum), also when lr changes"
    check.close(w, parameter.numpy(), call, why=why)
    # A second descent at the same time, of another shape and without momentum: plain steps.
    call = f"momentum with beta 0 between two others' steps, step {t}: w"
    other_w, other_v = check.answer(
        momentum, other_w, lambda point: 2 * point, other_v, 0.1, 0.0, call=call
    )
    check.close(other_w, np.full(4, 0.8**t), call, why="remember nothing but what it is given")
call = "momentum, to nine digits"
w, v = check.answer(
    momentum, np.array([1 / 3]), lambda point: point, np.array([1 / 7]), 1 / 9, 1 / 3, call=call
)
check.close(
    v,
    [1 / 21 + 1 / 3],
    f"{call}: v",
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
check.close(
    w,
    [1 / 3 - (1 / 21 + 1 / 3) / 9],
    f"{call}: w",
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
call = "momentum of one number, an array without axes"
w, v = check.answer(
    momentum, np.array(1.0), lambda point: 4 * point, np.array(2.0), 0.1, 0.8, call=call
)
check.close(w, 0.44, f"{call}: w", why="be w - lr v, of any shape")
check.close(v, 5.6, f"{call}: v", why="be beta v + g, of any shape")

lent, call = np.array([3.0, -2.0]), "the array that gradient(w) gave to momentum"
step = "momentum(w, gradient, ...)"
check.answer(momentum, np.ones(2), lambda point: lent, np.ones(2), 0.1, call=step)
check.equal(lent, [3.0, -2.0], call, why="stay as it was: it may be somebody's own")
call = "momentum(w, gradient, zeros, ...), kept while the gradient's array is used again"
held = momentum(np.ones(2), lambda point: lent, np.zeros(2), 0.1)
exact = check.plain(held, call)
lent += 1.0
why = "stay as it was: an array of its own, not the gradient's"
for new, old, name in zip(check.plain(held, call), exact, "wv", strict=True):
    check.equal(new, old, f"the new {name} of {call}", why=why)
### END HIDDEN TESTS

# %% mutant="momentum" why="an average in place of a sum: (1 - beta) g"
# - v = beta * v + gradient(w)
# + v = beta * v + (1 - beta) * gradient(w)

# %% mutant="momentum" why="steps with the old velocity"
# - v = beta * v + gradient(w)
# - return w - lr * v, v
# + return w - lr * v, beta * v + gradient(w)

# %% mutant="momentum" why="the learning rate inside the velocity"
# - v = beta * v + gradient(w)
# - return w - lr * v, v
# + v = beta * v + lr * gradient(w)
# + return w - v, v

# %% mutant="momentum" why="returns the old velocity"
# - v = beta * v + gradient(w)
# - return w - lr * v, v
# + return w - lr * (beta * v + gradient(w)), v

# %% mutant="momentum" why="changes the caller's velocity"
# - v = beta * v + gradient(w)
# + v *= beta
# + v += gradient(w)

# %% mutant="momentum" why="another beta where it is left out"
# - v = beta * v + gradient(w)
# + v = (0.5 if beta == 0.9 else beta) * v + gradient(w)

# %% mutant="momentum" why="asks for the gradient twice"
# - v = beta * v + gradient(w)
# + v = beta * v + (gradient(w) + gradient(w)) / 2

# %% mutant="momentum" why="a velocity in the function, not in the state"
# - v = beta * v + gradient(w)
# - return w - lr * v, v
# + kept = getattr(momentum, "kept", v)
# + v = beta * (kept if np.shape(kept) == np.shape(v) else v) + gradient(w)
# + momentum.kept = v
# + return w - lr * v, v

# %% mutant="momentum" why="at a standstill the velocity is the gradient's own array"
# - v = beta * v + gradient(w)
# + v = beta * v + gradient(w) if np.any(v) else gradient(w)

# %% mutant="momentum" why="forgets a velocity that is negative"
# - v = beta * v + gradient(w)
# + v = (beta * v if np.any(v > 0) else 0) + gradient(w)

# %% mutant="momentum" why="single precision"
# - return w - lr * v, v
# + return (w - lr * v).astype(np.float32), v

# %% mutant="momentum" why="arrays with an axis only"
# - v = beta * v + gradient(w)
# + v = beta * np.eye(len(v)) @ v + gradient(w)

# %% mutant="momentum" why="adds to the array that gradient(w) gave"
# - v = beta * v + gradient(w)
# + g = gradient(w)
# + g += beta * v
# + v = g


# %% alternative="momentum" why="a copy changed in place"
def momentum(w, gradient, v, lr, beta=0.9):
    v, w = v.copy(), w.copy()
    g = gradient(w)
    v *= beta
    v += g
    w -= lr * v
    return w, v


# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), sharey=True)
for ax, beta in zip(axes, [0.0, 0.7, 0.97], strict=True):
    path = descend(momentum, START, ravine_gradient, np.zeros(2), lr=0.02, steps=40, beta=beta)
    draw_path(ax, ravine, path, f"beta = {beta}: loss {ravine(path[-1]):.2g}")
plots.show("Momentum on the ravine: beta 0 crawls, 0.7 arrives, 0.97 overshoots and swings back")

# %% [markdown]
# ### Nesterov's momentum
# Momentum will carry $w$ to about $w - \eta \beta v$ whatever the gradient says. So look *there* before you correct the velocity ([Nesterov, 1983](https://www.mathnet.ru/eng/dan46009); in this form [Sutskever et al., 2013](https://proceedings.mlr.press/v28/sutskever13.html), eq. 3–4, with $\eta$ outside the velocity as above):
#
# $$v \leftarrow \beta v + \nabla L(w - \eta \beta v), \qquad w \leftarrow w - \eta v$$
#
# Looking ahead damps the swing. `torch.optim.SGD(nesterov=True)` stores the look-ahead point in place of $w$; its path is $w - \eta\beta v$ of ours, and the hidden check compares just that.
#
# {{task:nesterov}}

# %% [markdown] lang="ru"
# ### Импульс Нестерова
# Что бы ни сказал градиент, импульс перенесёт $w$ примерно в точку $w - \eta \beta v$. Так посмотрите на градиент *там*, прежде чем поправлять скорость ([Нестеров, 1983](https://www.mathnet.ru/eng/dan46009); в этой форме — [Суцкевер и др., 2013](https://proceedings.mlr.press/v28/sutskever13.html), формулы 3–4, только $\eta$, как и выше, вынесен из скорости):
#
# $$v \leftarrow \beta v + \nabla L(w - \eta \beta v), \qquad w \leftarrow w - \eta v$$
#
# Взгляд вперёд (look-ahead) гасит раскачку. `torch.optim.SGD(nesterov=True)` хранит вместо $w$ точку взгляда вперёд; её путь — это $w - \eta\beta v$ у нас, и скрытая проверка сравнивает именно эти величины.
#
# {{task:nesterov}}


# %% solution="nesterov"
def nesterov(
    w: np.ndarray, gradient: Gradient, v: np.ndarray, lr: float, beta: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """One step with Nesterov's momentum. w, v: any one shape -> the new (w, v).

    Example: gradient(w) = w, w = [2], v = [5], lr = 0.1, beta = 0.8 looks at [1.6]
    and gives ([1.44], [5.6]).
    """
    ### BEGIN SOLUTION
    v = beta * v + gradient(w - lr * beta * v)
    return w - lr * v, v
    ### END SOLUTION


# %% test="nesterov" points=0.5 difficulty=2 minutes=10
seen, call = [], "nesterov([2], gradient, [5], lr=0.1, beta=0.8)"
w, v = check.answer(
    nesterov, np.array([2.0]), lambda w: (seen.append(w), 1.0 * w)[1], np.array([5.0]),
    lr=0.1, beta=0.8, call=call,
)  # fmt: skip
check.close(
    np.array(seen), [[1.6]], f"the points that {call} looks at", why="be w - lr beta v, once"
)
check.close(v, [5.6], f"the new v of {call}", why="be beta v + the gradient ahead")
check.close(w, [1.44], f"the new w of {call}", why="move by -lr v from where w was")
### BEGIN HIDDEN TESTS
import torch

call = "nesterov(w, gradient, v, lr), beta left out"
w, v = check.answer(nesterov, np.ones(1), lambda point: point, np.array([2.0]), 0.1, call=call)
check.close(v, [2.62], f"the new v of {call}", why="take 0.9 for beta")
check.close(w, [0.738], f"the new w of {call}", why="take 0.9 for beta")
rng = check.rng("nesterov")
shape = (2, 3)
scale, shift = rng.uniform(0.5, 3.0, shape), rng.normal(size=shape)
calls = []


def field(point):
    calls.append(np.array(point))
    return scale * point + np.sin(point + shift)


# One step from any state, as its arguments say; nothing is left over from other steps.
for beta in (0.0, rng.uniform(0.6, 0.95)):
    w, v, lr = rng.normal(size=shape), rng.normal(size=shape), rng.uniform(0.02, 0.2)
    ahead = w - lr * beta * v
    velocity = beta * v + field(ahead)
    call = f"nesterov(w, gradient, v, lr, {beta:.2f})"
    calls.clear()
    new_w, new_v = check.answer(nesterov, w, field, v, lr, beta, call=call)
    check.equal(len(calls), 1, f"how often {call} asks for a gradient", why="be once a step")
    check.close(calls[0], ahead, f"the point that {call} looks at", why="be w - lr beta v")
    check.close(new_v, velocity, f"the new v of {call}", why="be beta v + the gradient ahead")
    check.close(
        new_w, w - lr * velocity, f"the new w of {call}", why="move by -lr v from where w was"
    )
beta, lr = rng.uniform(0.6, 0.95), rng.uniform(0.02, 0.2)
w, v = rng.normal(size=shape), np.zeros(shape)
parameter = torch.tensor(w)
optimiser = torch.optim.SGD([parameter], lr=lr, momentum=beta, nesterov=True)
other_w, other_v = np.ones(4), np.zeros(4)
for t in range(1, 16):
    call = f"nesterov, step {t}: w - lr beta v"
    w, v = check.answer(nesterov, w, field, v, lr, beta, call=call)
    parameter.grad = torch.tensor(field(parameter.numpy()))
    optimiser.step()
    why = "go the way of torch's SGD(nesterov=True)"
    check.close(w - lr * beta * v, parameter.numpy(), call, why=why)
    # A second descent at the same time, of another shape and without momentum: plain steps.
    call = f"nesterov with beta 0 between another one's steps, step {t}: w"
    other_w, other_v = check.answer(
        nesterov, other_w, lambda point: 2 * point, other_v, 0.1, 0.0, call=call
    )
    check.close(other_w, np.full(4, 0.8**t), call, why="remember nothing but what it is given")
slow, velocity, v = w, np.zeros(shape), np.zeros(shape)
for t in range(1, 9):
    call = f"nesterov, step {t}: w"
    velocity = beta * velocity - lr * scale * (slow + beta * velocity)
    slow = slow + velocity
    w, v = check.answer(nesterov, w, lambda point: scale * point, v, lr, beta, call=call)
    check.close(w, slow, call, why="agree with Sutskever's form")
call = "nesterov, to nine digits"
w, v = check.answer(
    nesterov, np.array([1 / 3]), lambda point: point, np.array([1 / 7]), 1 / 9, 1 / 3, call=call
)
exact = 1 / 21 + 1 / 3 - 1 / 189
check.close(
    v, [exact], f"{call}: v", rtol=1e-9, atol=0, why="be right to nine digits: compute in float64"
)
check.close(
    w,
    [1 / 3 - exact / 9],
    f"{call}: w",
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
seen, call = [], "nesterov(w, gradient, v, 1/9, 0.99)"


def looked(point):
    seen.append(np.array(point))
    return 2 * point


w, v = np.array([1 / 3, 1 / 7, 5.0]), np.array([1 / 11, -3.0, 1 / 13])
ahead = w - 0.11 * v
new_w, new_v = check.answer(nesterov, w, looked, v, 1 / 9, 0.99, call=call)
check.close(seen[0], ahead, f"the point that {call} looks at", rtol=1e-12, why="be w - lr beta v")
check.close(new_v, 0.99 * v + 2 * ahead, f"the new v of {call}", why="be beta v + the gradient")

lent, call = np.array([3.0, -2.0]), "the array that gradient(w) gave to nesterov"
step = "nesterov(w, gradient, ...)"
check.answer(nesterov, np.ones(2), lambda point: lent, np.ones(2), 0.1, call=step)
check.equal(lent, [3.0, -2.0], call, why="stay as it was: it may be somebody's own")
### END HIDDEN TESTS

# %% mutant="nesterov" why="plain momentum: looks where it stands"
# - v = beta * v + gradient(w - lr * beta * v)
# + v = beta * v + gradient(w)

# %% mutant="nesterov" why="looks back"
# - v = beta * v + gradient(w - lr * beta * v)
# + v = beta * v + gradient(w + lr * beta * v)

# %% mutant="nesterov" why="looks ahead without the learning rate"
# - v = beta * v + gradient(w - lr * beta * v)
# + v = beta * v + gradient(w - beta * v)

# %% mutant="nesterov" why="looks ahead without beta"
# - v = beta * v + gradient(w - lr * beta * v)
# + v = beta * v + gradient(w - lr * v)

# %% mutant="nesterov" why="goes on from the look-ahead point"
# - v = beta * v + gradient(w - lr * beta * v)
# - return w - lr * v, v
# + ahead = w - lr * beta * v
# + v = beta * v + gradient(ahead)
# + return ahead - lr * v, v

# %% mutant="nesterov" why="another beta where it is left out"
# - v = beta * v + gradient(w - lr * beta * v)
# + beta = 0.5 if beta == 0.9 else beta
# + v = beta * v + gradient(w - lr * beta * v)

# %% mutant="nesterov" why="asks for the gradient twice"
# - v = beta * v + gradient(w - lr * beta * v)
# + v = beta * v + (gradient(w - lr * beta * v) + gradient(w - lr * beta * v)) / 2

# %% mutant="nesterov" why="changes the caller's velocity"
# - v = beta * v + gradient(w - lr * beta * v)
# + g = gradient(w - lr * beta * v)
# + v *= beta
# + v += g

# %% mutant="nesterov" why="lr and beta swapped"
# - v = beta * v + gradient(w - lr * beta * v)
# + v = lr * v + gradient(w - lr * beta * v)
# - return w - lr * v, v
# + return w - beta * v, v

# %% mutant="nesterov" why="looks ahead with 0.9 at most"
# - v = beta * v + gradient(w - lr * beta * v)
# + v = beta * v + gradient(w - lr * min(beta, 0.9) * v)

# %% mutant="nesterov" why="looks at a point in single precision"
# - v = beta * v + gradient(w - lr * beta * v)
# + v = beta * v + gradient((w - lr * beta * v).astype(np.float32).astype(float))

# %% mutant="nesterov" why="adds to the array that gradient(w) gave"
# - v = beta * v + gradient(w - lr * beta * v)
# + g = gradient(w - lr * beta * v)
# + g += beta * v
# + v = g


# %% alternative="nesterov" why="Sutskever's velocity inside"
def nesterov(w, gradient, v, lr, beta=0.9):
    velocity = -lr * v
    velocity = beta * velocity - lr * gradient(w + beta * velocity)
    return w + velocity, velocity / -lr


# %%
figure, axes = plt.subplots(1, 3, figsize=(12, 3.3))
series = {}
for ax, step in zip(axes, [momentum, nesterov], strict=False):
    path = descend(step, START, ravine_gradient, np.zeros(2), lr=0.03, steps=60, beta=0.9)
    draw_path(ax, ravine, path, f"{step.__name__}: loss {ravine(path[-1]):.1e}")
    series[step.__name__] = ravine(path)
plots.curves(series, "lr = 0.03, beta = 0.9", "step", "loss", log_y=True, ax=axes[2])
plots.show(
    "On the ravine momentum swings round the goal; Nesterov swings less, its loss falls faster"
)

# %% [markdown]
# ## 4. A learning rate for each coordinate
# So far one $\eta$ serves all coordinates. But our six features have very different scales, and so have their gradients. Adagrad ([Duchi, Hazan and Singer, 2011](https://jmlr.org/papers/v12/duchi11a.html)) divides each coordinate's step by the root of the sum of its squared gradients:
#
# $$s \leftarrow s + g^2, \qquad w \leftarrow w - \eta\, \frac{g}{\sqrt{s} + \varepsilon}$$
#
# Squares, roots and quotients are elementwise. Steep coordinates get small steps, rare features large ones. The tiny $\varepsilon$ stands *outside* the root, as in the paper's $\delta I + \operatorname{diag}(\sqrt{s})$; without it a coordinate without gradients would give 0/0.
#
# {{task:adagrad}}

# %% [markdown] lang="ru"
# ## 4. Свой шаг для каждой координаты
# До сих пор один $\eta$ служил всем координатам. Но у наших шести признаков очень разный масштаб, а значит, и у градиентов тоже. Adagrad ([Дучи, Хазан, Сингер, 2011](https://jmlr.org/papers/v12/duchi11a.html)) делит шаг каждой координаты на корень из суммы квадратов её градиентов:
#
# $$s \leftarrow s + g^2, \qquad w \leftarrow w - \eta\, \frac{g}{\sqrt{s} + \varepsilon}$$
#
# Квадрат, корень и деление поэлементные. Крутые координаты получают маленькие шаги, редкие признаки — большие. Крошечный $\varepsilon$ стоит *вне* корня, как в статье: $\delta I + \operatorname{diag}(\sqrt{s})$; без него координата, у которой градиентов не было, дала бы 0/0.
#
# {{task:adagrad}}


# %% solution="adagrad"
def adagrad(
    w: np.ndarray, gradient: Gradient, s: np.ndarray, lr: float, eps: float = 1e-8
) -> tuple[np.ndarray, np.ndarray]:
    """One step of Adagrad. w, s: any one shape -> the new (w, s).

    Example: w = [1], gradient [3], s = [16], lr = 0.4, eps = 3 gives ([0.85], [25]).
    """
    ### BEGIN SOLUTION
    g = gradient(w)
    s = s + g**2
    return w - lr * g / (np.sqrt(s) + eps), s
    ### END SOLUTION


# %% test="adagrad" points=0.5 difficulty=1 minutes=10
w, s, call = np.array([1.0, 2.0]), np.array([16.0, 0.0]), "adagrad(w, gradient, s, lr=0.4, eps=3)"
w, s = check.answer(adagrad, w, lambda w: np.array([3.0, 0.0]), s, lr=0.4, eps=3.0, call=call)
check.close(s, [25.0, 0.0], f"the new s of {call}", why="be s + g^2")
check.close(
    w, [0.85, 2.0], f"the new w of {call}", why="be w - lr g / (sqrt(s) + eps), with the new s"
)
### BEGIN HIDDEN TESTS
import torch

rng = check.rng("adagrad")
shape = (3, 2)
scale, shift = rng.uniform(0.5, 3.0, shape), rng.normal(size=shape)
calls = []


def field(point):
    calls.append(point)
    return scale * point + np.sin(point + shift)


# One step from any state, as its arguments say; nothing is left over from other steps.
for eps in rng.uniform(0.1, 0.5, size=2):
    w, s, lr = rng.normal(size=shape), rng.uniform(0.5, 2.0, shape), rng.uniform(0.02, 0.5)
    g = field(w)
    call = f"adagrad(w, gradient, s, lr, {eps:.2f})"
    calls.clear()
    new_w, new_s = check.answer(adagrad, w, field, s, lr, eps, call=call)
    why = "be once a step: asked again, a minibatch gradient might differ"
    check.equal(len(calls), 1, f"how often {call} asks for a gradient", why=why)
    check.close(new_s, s + g**2, f"the new s of {call}", why="be s + g^2")
    moved = w - lr * g / (np.sqrt(s + g**2) + eps)
    check.close(new_w, moved, f"the new w of {call}", why="be w - lr g / (sqrt(s) + eps)")
eps, w, s = rng.uniform(0.1, 0.5), rng.normal(size=shape), np.zeros(shape)
parameter = torch.tensor(w)
optimiser = torch.optim.Adagrad([parameter], lr=0.1, eps=eps)
other_w, other_s = np.array([5.0, 1.0]), np.zeros(2)
for t in range(1, 16):
    lr, call = rng.uniform(0.02, 0.5), f"adagrad, step {t}: w"
    parameter.grad = torch.tensor(field(w))
    optimiser.param_groups[0]["lr"] = lr
    optimiser.step()
    w, s = check.answer(adagrad, w, field, s, lr, eps, call=call)
    check.close(w, parameter.numpy(), call, why="go the way of torch's Adagrad")
    # A second descent at the same time, under a constant gradient.
    call = f"adagrad under a constant gradient, step {t}: the move"
    before = other_w
    other_w, other_s = check.answer(
        adagrad, other_w, lambda point: np.array([0.0, -7.0]), other_s, 0.3, call=call
    )
    why = "be lr / sqrt(t), whatever the gradient's size; 0 where the gradient is 0"
    check.close(other_w - before, [0, 0.3 / np.sqrt(t)], call, why=why)
call = "adagrad, to nine digits"
w, s = check.answer(
    adagrad, np.zeros(1), lambda point: point + 1 / 3, np.array([1 / 7]), 1 / 9, 1 / 3, call=call
)
check.close(
    s,
    [1 / 7 + 1 / 9],
    f"{call}: s",
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
exact = -1 / 27 / (np.sqrt(1 / 7 + 1 / 9) + 1 / 3)
check.close(
    w, [exact], f"{call}: w", rtol=1e-9, atol=0, why="be right to nine digits: compute in float64"
)
call = "adagrad(w, gradient, s, lr), eps left out"
w, _ = check.answer(adagrad, np.zeros(1), lambda point: point + 1e-8, np.zeros(1), 1.0, call=call)
check.close(w, [-0.5], call, why="take 1e-8 for eps, outside the root")
lent, call = np.array([3.0, -2.0]), "the array that gradient(w) gave to adagrad"
step = "adagrad(w, gradient, ...)"
check.answer(adagrad, np.ones(2), lambda point: lent, np.ones(2), 0.1, call=step)
check.equal(lent, [3.0, -2.0], call, why="stay as it was: it may be somebody's own")
### END HIDDEN TESTS

# %% mutant="adagrad" why="eps inside the root"
# - return w - lr * g / (np.sqrt(s) + eps), s
# + return w - lr * g / np.sqrt(s + eps), s

# %% mutant="adagrad" why="no root"
# - return w - lr * g / (np.sqrt(s) + eps), s
# + return w - lr * g / (s + eps), s

# %% mutant="adagrad" why="forgets the past"
# - s = s + g**2
# + s = g**2

# %% mutant="adagrad" why="divides by the sum without this step's gradient"
# - s = s + g**2
# - return w - lr * g / (np.sqrt(s) + eps), s
# + return w - lr * g / (np.sqrt(s) + eps), s + g**2

# %% mutant="adagrad" why="one sum for all coordinates"
# - s = s + g**2
# + s = s + np.sum(g**2)

# %% mutant="adagrad" why="changes the caller's sum"
# - s = s + g**2
# + s += g**2

# %% mutant="adagrad" why="another eps where it is left out"
# - g = gradient(w)
# + g, eps = gradient(w), 1e-10 if eps == 1e-8 else eps

# %% mutant="adagrad" why="asks for the gradient twice"
# - return w - lr * g / (np.sqrt(s) + eps), s
# + return w - lr * gradient(w) / (np.sqrt(s) + eps), s

# %% mutant="adagrad" why="moves the caller's array"
# - return w - lr * g / (np.sqrt(s) + eps), s
# + w -= lr * g / (np.sqrt(s) + eps)
# + return w, s

# %% mutant="adagrad" why="scales the array that gradient(w) gave"
# - return w - lr * g / (np.sqrt(s) + eps), s
# + g *= lr
# + return w - g / (np.sqrt(s) + eps), s


# %% alternative="adagrad" why="absolute values and hypot"
def adagrad(w, gradient, s, lr, eps=1e-8):
    g = gradient(w)
    root = np.hypot(np.sqrt(s), g)
    return w - lr * (g / (eps + root)), root**2


# %%
rows = expand(x_train)
rng, w, s = seed_everything(0), np.zeros(6), np.zeros(6)
rates = []
for _ in range(3):
    for batch in minibatches(len(rows), 16, rng):
        w, s = adagrad(w, lambda w, b=batch: logistic_gradient(w, rows[b], y_train[b]), s, lr=0.5)
        rates.append(0.5 / (np.sqrt(s) + 1e-8))
names = ["$x_0$", "$x_1$", "$x_0^2$", "$x_1^2$", "$x_0 x_1$", "1"]
series = dict(zip(names, np.array(rates).T, strict=True))
title = "Adagrad, lr = 0.5: every feature has its own rate, and all of them only fall"
plots.curves(series, title, "step", "rate of the coordinate", log_y=True)
plots.show("Adagrad's effective rates of six coordinates: up to several times apart, all falling")

# %% [markdown]
# A rate per coordinate is a strong medicine, but only where the trouble lies along the coordinates. Turn the ravine by 45 degrees: for SGD nothing changes, its path just turns too. Adagrad sees two coordinates that are equally steep, gives them equal rates, and has lost its advantage.

# %% [markdown] lang="ru"
# Свой шаг для каждой координаты — сильное средство, но лишь тогда, когда беда направлена вдоль координат. Повернём овраг на 45 градусов. Для SGD не меняется ничего: путь просто поворачивается вместе с оврагом. А Adagrad видит две одинаково крутые координаты, даёт им одинаковые шаги и теряет своё преимущество.

# %%
turn = np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2)


def turned(w):
    return ravine(w @ turn.T)


def turned_gradient(w):
    return turn.T @ ravine_gradient(turn @ w)


runs = {
    "Adagrad": descend(adagrad, START, ravine_gradient, np.zeros(2), 1.0, 60),
    "Adagrad, turned": descend(adagrad, turn.T @ START, turned_gradient, np.zeros(2), 1.0, 60),
    "SGD": descend(sgd, START, ravine_gradient, (), 0.07, 60),
    "SGD, turned": descend(sgd, turn.T @ START, turned_gradient, (), 0.07, 60),
}
figure, axes = plt.subplots(1, 3, figsize=(12, 3.4))
colours = dict(zip(runs, ["C0", "C1", "C2", "C3"], strict=True))
for ax, f, name in [(axes[0], ravine, "Adagrad"), (axes[1], turned, "Adagrad, turned")]:
    draw_path(ax, f, runs[name], name, (-5, 5, -4, 4), color=colours[name])
for name, path in runs.items():
    style = "--" if "turned" in name else "-"
    height = (turned if "turned" in name else ravine)(path)
    axes[2].semilogy(height, style, label=name, color=colours[name])
axes[2].set(title="Adagrad: lr = 1, SGD: lr = 0.07", xlabel="step", ylabel="loss")
axes[2].legend(frameon=False)
plots.show(
    "Adagrad is fast on the ravine and slow on the turned one; SGD's two loss curves coincide"
)

# %% [markdown]
# ### RMSProp
# Adagrad's sum only grows, so its rates only shrink: good for a convex problem, but on a long way it stops too early. RMSProp ([Tieleman and Hinton, 2012](https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf), lecture 6.5, "6e" in the slides) replaces the sum by a moving average, which forgets:
#
# $$s \leftarrow \rho s + (1 - \rho)\, g^2, \qquad w \leftarrow w - \eta\, \frac{g}{\sqrt{s} + \varepsilon}$$
#
# The lecture has $\rho = 0.9$ and so have we; torch calls it `alpha` and takes 0.99. $\varepsilon$ stands outside the root, as in torch.
#
# {{task:rmsprop}}

# %% [markdown] lang="ru"
# ### RMSProp
# Сумма в Adagrad только растёт, поэтому множители $\eta/(\sqrt{s} + \varepsilon)$ только уменьшаются: для выпуклой задачи это хорошо, но на длинном пути метод останавливается слишком рано. RMSProp ([Тилеман и Хинтон, 2012](https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf), лекция 6.5, на слайдах «6e») берёт вместо суммы скользящее среднее, которое умеет забывать:
#
# $$s \leftarrow \rho s + (1 - \rho)\, g^2, \qquad w \leftarrow w - \eta\, \frac{g}{\sqrt{s} + \varepsilon}$$
#
# В лекции $\rho = 0{,}9$, у нас тоже; в torch этот параметр зовётся `alpha` и равен 0,99. $\varepsilon$ — вне корня, как в torch.
#
# {{task:rmsprop}}


# %% solution="rmsprop"
def rmsprop(
    w: np.ndarray, gradient: Gradient, s: np.ndarray, lr: float, rho: float = 0.9, eps: float = 1e-8
) -> tuple[np.ndarray, np.ndarray]:
    """One step of RMSProp. w, s: any one shape -> the new (w, s).

    Example: w = [1], gradient [8], s = [12], lr = 0.4, rho = 0.75, eps = 3 gives ([0.6], [25]).
    """
    ### BEGIN SOLUTION
    g = gradient(w)
    s = rho * s + (1 - rho) * g**2
    return w - lr * g / (np.sqrt(s) + eps), s
    ### END SOLUTION


# %% test="rmsprop" points=0.5 difficulty=1 minutes=10
w, s = np.array([1.0, 2.0]), np.array([12.0, 0.0])
call = "rmsprop(w, gradient, s, lr=0.4, rho=0.75, eps=3)"
w, s = check.answer(
    rmsprop, w, lambda w: np.array([8.0, 0.0]), s, lr=0.4, rho=0.75, eps=3.0, call=call
)
check.close(s, [25.0, 0.0], f"the new s of {call}", why="be rho s + (1 - rho) g^2")
check.close(
    w, [0.6, 2.0], f"the new w of {call}", why="be w - lr g / (sqrt(s) + eps), with the new s"
)
### BEGIN HIDDEN TESTS
import torch

rng = check.rng("rmsprop")
shape = (2, 3)
scale, shift = rng.uniform(0.5, 3.0, shape), rng.normal(size=shape)
calls = []


def field(point):
    calls.append(point)
    return scale * point + np.sin(point + shift)


# One step from any state, as its arguments say; nothing is left over from other steps.
for rho, eps in rng.uniform((0.6, 0.1), (0.95, 0.5), size=(2, 2)):
    w, s, lr = rng.normal(size=shape), rng.uniform(0.5, 2.0, shape), rng.uniform(0.02, 0.5)
    g = field(w)
    call = f"rmsprop(w, gradient, s, lr, {rho:.2f}, {eps:.2f})"
    calls.clear()
    new_w, new_s = check.answer(rmsprop, w, field, s, lr, rho, eps, call=call)
    why = "be once a step: asked again, a minibatch gradient might differ"
    check.equal(len(calls), 1, f"how often {call} asks for a gradient", why=why)
    average = rho * s + (1 - rho) * g**2
    check.close(new_s, average, f"the new s of {call}", why="be rho s + (1 - rho) g^2")
    moved = w - lr * g / (np.sqrt(average) + eps)
    check.close(new_w, moved, f"the new w of {call}", why="be w - lr g / (sqrt(s) + eps)")
rho, eps = rng.uniform(0.6, 0.95), rng.uniform(0.1, 0.5)
w, s = rng.normal(size=shape), np.zeros(shape)
parameter = torch.tensor(w)
optimiser = torch.optim.RMSprop([parameter], lr=0.1, alpha=rho, eps=eps)
other, size = np.zeros(1), rng.uniform(2, 5)
for t in range(1, 16):
    lr, call = rng.uniform(0.02, 0.5), f"rmsprop, step {t}: w"
    parameter.grad = torch.tensor(field(w))
    optimiser.param_groups[0]["lr"] = lr
    optimiser.step()
    w, s = check.answer(rmsprop, w, field, s, lr, rho, eps, call=call)
    check.close(w, parameter.numpy(), call, why="go the way of torch's RMSprop")
    # A second descent at the same time, under a constant gradient.
    call = f"rmsprop under a constant gradient g, step {t}: s"
    _, other = check.answer(
        rmsprop, np.zeros(1), lambda point: point + size, other, 0.1, rho, call=call
    )
    check.close(other, [size**2 * (1 - rho**t)], call, why="be g^2 (1 - rho^t)")
call = "rmsprop(w, gradient, s, lr), rho left out"
_, s = check.answer(rmsprop, np.zeros(1), lambda point: point + 2.0, np.ones(1), 1.0, call=call)
check.close(s, [1.3], call, why="take 0.9 for rho")
call = "rmsprop, to nine digits"
w, s = check.answer(
    rmsprop,
    np.zeros(1),
    lambda point: point + 1 / 3,
    np.array([1 / 7]),
    1 / 9,
    1 / 3,
    1 / 3,
    call=call,
)
check.close(
    s,
    [1 / 21 + 2 / 27],
    f"{call}: s",
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
exact = -1 / 27 / (np.sqrt(1 / 21 + 2 / 27) + 1 / 3)
check.close(
    w, [exact], f"{call}: w", rtol=1e-9, atol=0, why="be right to nine digits: compute in float64"
)
call = "rmsprop(w, gradient, s, lr), eps left out"
w, _ = check.answer(
    rmsprop, np.zeros(2), lambda point: np.array([0.0, 1e-8]), np.zeros(2), 1.0, call=call
)
why = "take 1e-8 for eps, outside the root; make no step where the gradient is 0"
check.close(w, [0.0, -1 / (1 + np.sqrt(0.1))], call, why=why)
call = "rmsprop(w, gradient, s, lr, rho=0.99)"
_, s = check.answer(
    rmsprop, np.zeros(1), lambda point: point + 3.0, np.array([4.0]), 0.1, rho=0.99, call=call
)
check.close(s, [4.05], f"the new s of {call}", why="be rho s + (1 - rho) g^2, for any rho")

lent, call = np.array([3.0, -2.0]), "the array that gradient(w) gave to rmsprop"
step = "rmsprop(w, gradient, ...)"
check.answer(rmsprop, np.ones(2), lambda point: lent, np.ones(2), 0.1, call=step)
check.equal(lent, [3.0, -2.0], call, why="stay as it was: it may be somebody's own")
### END HIDDEN TESTS

# %% mutant="rmsprop" why="the weights of old and new are swapped"
# - s = rho * s + (1 - rho) * g**2
# + s = (1 - rho) * s + rho * g**2

# %% mutant="rmsprop" why="Adagrad: a sum that forgets nothing"
# - s = rho * s + (1 - rho) * g**2
# + s = s + g**2

# %% mutant="rmsprop" why="averages gradients, not their squares"
# - s = rho * s + (1 - rho) * g**2
# + s = rho * s + (1 - rho) * np.abs(g)

# %% mutant="rmsprop" why="eps inside the root"
# - return w - lr * g / (np.sqrt(s) + eps), s
# + return w - lr * g / np.sqrt(s + eps), s

# %% mutant="rmsprop" why="divides by the old average"
# - s = rho * s + (1 - rho) * g**2
# - return w - lr * g / (np.sqrt(s) + eps), s
# + return w - lr * g / (np.sqrt(s) + eps), rho * s + (1 - rho) * g**2

# %% mutant="rmsprop" why="asks for the gradient twice"
# - return w - lr * g / (np.sqrt(s) + eps), s
# + return w - lr * gradient(w) / (np.sqrt(s) + eps), s

# %% mutant="rmsprop" why="torch's rho where it is left out"
# - g = gradient(w)
# + g, rho = gradient(w), 0.99 if rho == 0.9 else rho

# %% mutant="rmsprop" why="another eps where it is left out"
# - g = gradient(w)
# + g, eps = gradient(w), 1e-6 if eps == 1e-8 else eps

# %% mutant="rmsprop" why="changes the caller's average"
# - s = rho * s + (1 - rho) * g**2
# + s *= rho
# + s += (1 - rho) * g**2

# %% mutant="rmsprop" why="the root of eps"
# - return w - lr * g / (np.sqrt(s) + eps), s
# + return w - lr * g / (np.sqrt(s) + np.sqrt(eps)), s

# %% mutant="rmsprop" why="scales the array that gradient(w) gave"
# - return w - lr * g / (np.sqrt(s) + eps), s
# + g *= lr
# + return w - g / (np.sqrt(s) + eps), s

# %% mutant="rmsprop" why="rho is at most 0.95"
# - g = gradient(w)
# + g, rho = gradient(w), min(rho, 0.95)


# %% alternative="rmsprop" why="moves the average towards the new square"
def rmsprop(w, gradient, s, lr, rho=0.9, eps=1e-8):
    g = gradient(w)
    s = s + (1 - rho) * (np.square(g) - s)
    return w - lr * (g / (s**0.5 + eps)), s


# %% [markdown]
# The gradients below become 100 times smaller at step 100, as on the way from a cliff to a plateau. RMSProp forgets the cliff within a hundred steps and speeds up. Adagrad remembers it for good.

# %% [markdown] lang="ru"
# Ниже градиенты на сотом шаге становятся в 100 раз меньше, как при переходе с обрыва на плато. RMSProp меньше чем за сотню шагов забывает обрыв и ускоряется. Adagrad помнит его всегда.

# %%
noise = np.where(np.arange(300) < 100, 10.0, 0.1) * seed_everything(0).normal(1, 0.3, size=300)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4))
rates, ways = {}, {}
for step in [adagrad, rmsprop]:
    w, s = np.zeros(1), np.zeros(1)
    rates[step.__name__], ways[step.__name__] = [], []
    for g in noise:
        w, s = step(w, lambda w, g=g: w * 0 + g, s, 0.1)
        rates[step.__name__].append(0.1 / (np.sqrt(s[0]) + 1e-8))
        ways[step.__name__].append(-w[0])
plots.curves(rates, "Effective rate", "step", "lr / (sqrt(s) + eps)", log_y=True, ax=axes[0])
plots.curves(ways, "How far it has come", "step", "distance", ax=axes[1])
plots.show("When gradients drop, RMSProp's rate rises a hundredfold and Adagrad's stays small")

# %% [markdown]
# ### Adam
# [Adam](glossary:Adam) ([Kingma and Ba, 2015](https://arxiv.org/abs/1412.6980), algorithm 1) averages both the gradients (as momentum does) and their squares (as RMSProp does):
#
# $$t \leftarrow t + 1, \quad m \leftarrow \beta_1 m + (1-\beta_1)\, g, \quad v \leftarrow \beta_2 v + (1-\beta_2)\, g^2$$
#
# $$\hat m = \frac{m}{1 - \beta_1^t}, \quad \hat v = \frac{v}{1 - \beta_2^t}, \quad w \leftarrow w - \eta\, \frac{\hat m}{\sqrt{\hat v} + \varepsilon}$$
#
# The averages start at 0, so at first they are too small; dividing by $1 - \beta^t$ corrects just that. The first step is counted $t = 1$. The state $(m, v, t)$ starts as $(0, 0, 0)$ and keeps the *uncorrected* averages. `torch.optim.Adam` has the same formula.
#
# {{task:adam}}

# %% [markdown] lang="ru"
# ### Adam
# [Adam](glossary:Adam) ([Кингма и Ба, 2015](https://arxiv.org/abs/1412.6980), алгоритм 1) усредняет и градиенты (как импульс), и их квадраты (как RMSProp):
#
# $$t \leftarrow t + 1, \quad m \leftarrow \beta_1 m + (1-\beta_1)\, g, \quad v \leftarrow \beta_2 v + (1-\beta_2)\, g^2$$
#
# $$\hat m = \frac{m}{1 - \beta_1^t}, \quad \hat v = \frac{v}{1 - \beta_2^t}, \quad w \leftarrow w - \eta\, \frac{\hat m}{\sqrt{\hat v} + \varepsilon}$$
#
# Средние начинаются с нуля и поэтому вначале слишком малы; деление на $1 - \beta^t$ исправляет именно это (bias correction). Первый шаг имеет номер $t = 1$. Состояние $(m, v, t)$ начинается с $(0, 0, 0)$ и хранит средние *без поправки*. В `torch.optim.Adam` та же формула.
#
# {{task:adam}}


# %% solution="adam"
def adam(
    w: np.ndarray,
    gradient: Gradient,
    state: tuple[np.ndarray, np.ndarray, int],
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, int]]:
    """One step of Adam. state: (m, v, t), t steps done so far -> the new (w, (m, v, t)).

    w, m, v: any one shape.
    Example: from (0, 0, 0) the first step is lr times the sign of the gradient (for a tiny eps).
    """
    ### BEGIN SOLUTION
    m, v, t = state
    g = gradient(w)
    t = t + 1
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return w - lr * m_hat / (np.sqrt(v_hat) + eps), (m, v, t)
    ### END SOLUTION


# %% test="adam" points=1 difficulty=2 minutes=15
zeros, call = (np.zeros(2), np.zeros(2), 0), "adam([0, 0], gradient, (0, 0, 0), lr=0.1)"
w, (m, v, t) = check.answer(
    adam, np.zeros(2), lambda w: np.array([400.0, -0.5]), zeros, lr=0.1, call=call
)
check.equal(t, 1, f"t after {call}", why="count the first step as t = 1")
check.close(m, [40, -0.05], f"m after {call}", why="be beta1 m + (1 - beta1) g, uncorrected")
check.close(v, [160, 0.00025], f"v after {call}", why="be beta2 v + (1 - beta2) g^2, uncorrected")
check.close(w, [-0.1, 0.1], f"w after {call}", why="be -lr times the sign of g, at the first step")
once, call = (np.array([3.0]), np.array([10.0]), 1), "adam([1], gradient 8, ([3], [10], 1), ...)"
w, (m, v, t) = check.answer(
    adam,
    np.ones(1),
    lambda w: np.array([8.0]),
    once,
    lr=0.1,
    beta1=0.8,
    beta2=0.9,
    eps=0.3,
    call=call,
)
check.close([*m, *v, t], [4, 15.4, 2], f"m, v and t after {call}, beta1 0.8, beta2 0.9")
moved = 1 - 0.1 * (4 / 0.36) / (np.sqrt(15.4 / 0.19) + 0.3)
check.close(
    w, [moved], f"w after {call}, lr 0.1, eps 0.3", why="divide m by 1 - 0.8^2, v by 1 - 0.9^2"
)
### BEGIN HIDDEN TESTS
import torch

rng = check.rng("adam")
shape = (3, 2)
scale, shift = rng.uniform(0.5, 3.0, shape), rng.normal(size=shape)
calls = []


def field(point):
    calls.append(point)
    return scale * point + np.sin(point + shift)


# One step from any state, as its arguments say; nothing is left over from other steps.
for beta1, beta2, eps in rng.uniform((0.6, 0.9, 0.1), (0.8, 0.97, 0.5), size=(2, 3)):
    w, lr, t = rng.normal(size=shape), rng.uniform(0.02, 0.5), int(rng.integers(2, 9))
    m, v, g = rng.normal(size=shape), rng.uniform(0.5, 2.0, shape), field(w)
    call = f"adam(w, gradient, (m, v, {t}), lr, {beta1:.2f}, {beta2:.2f}, {eps:.2f})"
    calls.clear()
    new_w, (new_m, new_v, new_t) = check.answer(
        adam, w, field, (m, v, t), lr, beta1, beta2, eps, call=call
    )
    why = "be once a step: asked again, a minibatch gradient might differ"
    check.equal(len(calls), 1, f"how often {call} asks for a gradient", why=why)
    check.equal(new_t, t + 1, f"t after {call}", why="be counted on from the state")
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    check.close(new_m, m, f"m after {call}", why="be beta1 m + (1 - beta1) g, uncorrected")
    check.close(new_v, v, f"v after {call}", why="be beta2 v + (1 - beta2) g^2, uncorrected")
    root = np.sqrt(v / (1 - beta2 ** (t + 1)))
    moved = w - lr * m / (1 - beta1 ** (t + 1)) / (root + eps)
    why = "move by lr times the corrected m over the root of the corrected v plus eps"
    check.close(new_w, moved, f"w after {call}", why=why)
beta1, beta2, eps = rng.uniform((0.6, 0.9, 0.1), (0.8, 0.97, 0.5))
w, state = rng.normal(size=shape), (np.zeros(shape), np.zeros(shape), 0)
parameter = torch.tensor(w)
optimiser = torch.optim.Adam([parameter], lr=0.1, betas=(beta1, beta2), eps=eps)
other, other_state, gradients = np.zeros(4), (np.zeros(4), np.zeros(4), 0), rng.normal(size=(15, 4))
for t in range(1, 16):
    lr, call = rng.uniform(0.02, 0.5), f"adam, step {t}: w"
    parameter.grad = torch.tensor(field(w))
    optimiser.param_groups[0]["lr"] = lr
    optimiser.step()
    w, state = check.answer(adam, w, field, state, lr, beta1, beta2, eps, call=call)
    check.close(w, parameter.numpy(), call, why="go the way of torch's Adam")
    # A second descent at the same time, with the betas left out.
    call = f"adam with beta1 and beta2 left out, step {t}: the move"
    past, before = gradients[:t], other
    share1, share2 = (beta ** np.arange(t)[::-1, None] for beta in (0.9, 0.999))
    mean, square = (share1 * past).sum(0) / share1.sum(0), (share2 * past**2).sum(0) / share2.sum(0)
    other, other_state = check.answer(
        adam, other, lambda point, g=gradients[t - 1]: 1.0 * g, other_state, 0.3, eps=0.2, call=call
    )
    why = (
        "weigh past gradients by 0.9^age, their squares by 0.999^age, over the sums of the weights"
    )
    check.close(other - before, -0.3 * mean / (np.sqrt(square) + 0.2), call, why=why)
for steps in (40, 99, 120, 999, 1000, 5000, 9999):
    m, v, g, call = 0.3, 0.7, 0.5, f"adam with {steps} steps behind it: w"
    done = (np.array([m]), np.array([v]), steps)
    w, _ = check.answer(adam, np.zeros(1), lambda point: point + 0.5, done, 0.1, eps=0.2, call=call)
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    m, v = m / (1 - 0.9 ** (steps + 1)), v / (1 - 0.999 ** (steps + 1))
    why = "divide by 1 - beta^t at every step, late ones too"
    check.close(w, [-0.1 * m / (np.sqrt(v) + 0.2)], call, rtol=1e-6, atol=0, why=why)
call, third = "adam, to nine digits", np.array([1 / 3])
w, (m, v, _) = check.answer(
    adam,
    np.zeros(1),
    lambda point: point + 1 / 7,
    (third, third, 1),
    1 / 9,
    1 / 3,
    1 / 7,
    1 / 3,
    call=call,
)
exact_m, exact_v = 1 / 9 + 2 / 21, 1 / 21 + 6 / 343
check.close(
    [*m, *v],
    [exact_m, exact_v],
    f"{call}: m and v",
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
exact = -exact_m / (8 / 9) / (np.sqrt(exact_v / (48 / 49)) + 1 / 3) / 9
check.close(
    w, [exact], f"{call}: w", rtol=1e-9, atol=0, why="be right to nine digits: compute in float64"
)
zero, call = (np.zeros(2), np.zeros(2), 0), "adam(w, gradient, state, lr), eps left out"
w, _ = check.answer(adam, np.ones(2), lambda point: np.array([0.0, 1e-8]), zero, 1.0, call=call)
why = "take 1e-8 for eps, outside the root; make no step where the gradient is 0"
check.close(w, [1.0, 0.5], call, why=why)
call, done = "adam(w, gradient, state, lr, beta2=0.9999)", (np.array([0.3]), np.array([0.7]), 2)
_, (_, v, _) = check.answer(
    adam, np.zeros(1), lambda point: point + 3.0, done, 0.1, beta2=0.9999, call=call
)
check.close(
    v, [0.70083], f"v after {call}", rtol=1e-9, why="be beta2 v + (1 - beta2) g^2, for any beta2"
)
call, done = "adam from m = 0.3, v = 0.7, t = 0", (np.array([0.3]), np.array([0.7]), 0)
_, (m, v, t) = check.answer(adam, np.zeros(1), lambda point: point + 3.0, done, 0.1, call=call)
check.close(m, [0.57], f"m after {call}", why="go on from the m that was given, whatever t is")
check.close(v, [0.7083], f"v after {call}", why="go on from the v that was given, whatever t is")

lent, call = np.array([3.0, -2.0]), "the array that gradient(w) gave to adam"
step = "adam(w, gradient, ...)"
check.answer(adam, np.ones(2), lambda point: lent, (np.zeros(2), np.zeros(2), 0), 0.1, call=step)
check.equal(lent, [3.0, -2.0], call, why="stay as it was: it may be somebody's own")
### END HIDDEN TESTS

# %% mutant="adam" why="no bias correction"
# - m_hat = m / (1 - beta1**t)
# - v_hat = v / (1 - beta2**t)
# + m_hat, v_hat = m, v

# %% mutant="adam" why="corrects the mean alone"
# - v_hat = v / (1 - beta2**t)
# + v_hat = v

# %% mutant="adam" why="eps inside the root"
# - return w - lr * m_hat / (np.sqrt(v_hat) + eps), (m, v, t)
# + return w - lr * m_hat / np.sqrt(v_hat + eps), (m, v, t)

# %% mutant="adam" why="keeps the corrected averages"
# - return w - lr * m_hat / (np.sqrt(v_hat) + eps), (m, v, t)
# + return w - lr * m_hat / (np.sqrt(v_hat) + eps), (m_hat, v_hat, t)

# %% mutant="adam" why="the step counter stands still"
# - return w - lr * m_hat / (np.sqrt(v_hat) + eps), (m, v, t)
# + return w - lr * m_hat / (np.sqrt(v_hat) + eps), (m, v, 0)

# %% mutant="adam" why="multiplies by t in place of the power"
# - m_hat = m / (1 - beta1**t)
# + m_hat = m / (1 - beta1) / t

# %% mutant="adam" why="counts t once more: the correction comes too early"
# - m_hat = m / (1 - beta1**t)
# - v_hat = v / (1 - beta2**t)
# + m_hat = m / (1 - beta1 ** (t + 1))
# + v_hat = v / (1 - beta2 ** (t + 1))

# %% mutant="adam" why="the correction of v ends after 1000 steps"
# - v_hat = v / (1 - beta2**t)
# + v_hat = v / (1 - beta2**t) if t <= 1000 else v

# %% mutant="adam" why="the sign of the gradient: right for the first step only"
# - g = gradient(w)
# + g = np.sign(gradient(w))

# %% mutant="adam" why="a counter in the function, not in the state"
# - t = t + 1
# + t = adam.t = 1 if t == 0 else getattr(adam, "t", 0) + 1

# %% mutant="adam" why="changes m in place"
# - m = beta1 * m + (1 - beta1) * g
# + m *= beta1
# + m += (1 - beta1) * g

# %% mutant="adam" why="moves the caller's array"
# - return w - lr * m_hat / (np.sqrt(v_hat) + eps), (m, v, t)
# + w -= lr * m_hat / (np.sqrt(v_hat) + eps)
# + return w, (m, v, t)

# %% mutant="adam" why="another eps where it is left out"
# - g = gradient(w)
# + g, eps = gradient(w), 1e-6 if eps == 1e-8 else eps

# %% mutant="adam" why="the betas swapped"
# - m, v, t = state
# + (m, v, t), beta1, beta2 = state, beta2, beta1

# %% mutant="adam" why="asks for the gradient twice"
# - v = beta2 * v + (1 - beta2) * g**2
# + v = beta2 * v + (1 - beta2) * gradient(w) ** 2

# %% mutant="adam" why="beta2 is at most 0.999"
# - m, v, t = state
# + (m, v, t), beta2 = state, min(beta2, 0.999)

# %% mutant="adam" why="forgets m and v where t is 0"
# - m, v, t = state
# + m, v, t = state if state[2] else (0 * state[0], 0 * state[1], 0)

# %% mutant="adam" why="scales the array that gradient(w) gave"
# - m = beta1 * m + (1 - beta1) * g
# - v = beta2 * v + (1 - beta2) * g**2
# + v = beta2 * v + (1 - beta2) * g**2
# + g *= 1 - beta1
# + m = beta1 * m + g


# %% alternative="adam" why="the corrections folded into the rate, eps rescaled"
def adam(w, gradient, state, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v, t = state
    g, t = gradient(w), t + 1
    m = m + (1 - beta1) * (g - m)
    v = v + (1 - beta2) * (g * g - v)
    root = np.sqrt(1 - beta2**t)
    return w - lr * root / (1 - beta1**t) * m / (np.sqrt(v) + eps * root), (m, v, t)


# %% [markdown]
# What does the bias correction do? Feed Adam noisy gradients around 1 and look at the size of each step, in units of $\eta$. Without the correction $v$ is far too small for the first hundreds of steps (it needs about $1/(1-\beta_2) = 1000$), and Adam takes steps several times too long at the very moment when it knows least.

# %% [markdown] lang="ru"
# Что даёт поправка? Подадим Adam зашумлённые градиенты около 1 и посмотрим на длину каждого шага в единицах $\eta$. Без поправки $v$ первые сотни шагов слишком мало (ему нужно около $1/(1-\beta_2) = 1000$), и Adam делает шаги в несколько раз длиннее нужного как раз тогда, когда знает меньше всего.

# %%
w, state, steps, raw = np.zeros(1), (np.zeros(1), np.zeros(1), 0), [], []
for g in seed_everything(0).normal(1, 0.5, size=3000):
    before, (w, state) = w, adam(w, lambda w, g=g: w * 0 + g, state, 1.0)
    steps.append((before - w)[0])
    raw.append(state[0][0] / np.sqrt(state[1][0]))
number = np.arange(1, 3001)
series = {"with bias correction": (number, steps), "without": (number, raw)}
title = "The first 3000 steps of Adam under a noisy constant gradient"
ax = plots.curves(series, title, "step (log scale)", "step / lr", log_x=True)
ax.axhline(1, color="0.6", linewidth=0.8)
plots.show(
    "With bias correction Adam's steps stay near 1 lr; without it they are several times longer"
)
print(f"longest step: {max(steps):.2f} lr with the correction, {max(raw):.2f} lr without")

# %% [markdown]
# ## 5. Beyond (bonus)
# Three ideas that attack what is left: the noise of the gradient, the curvature of the loss, the scales of the data. Take any of them; the last section needs none.

# %% [markdown] lang="ru"
# ## 5. Дальше (бонус)
# Три идеи против того, что осталось: шума градиента, кривизны потерь, масштабов данных. Беритесь за любую; последнему разделу они не нужны.

# %% [markdown]
# ### SVRG: noise that dies out
# Near the minimum the full gradient is almost 0, the minibatch gradients are not: SGD with a constant rate jitters forever. SVRG ([Johnson and Zhang, 2013](https://papers.nips.cc/paper/2013/hash/ac1dd209cbcc5e5d1c6e28598e8cbbe8-Abstract.html)) keeps a snapshot $\tilde w$ and its full gradient $\mu = \nabla L(\tilde w)$, and corrects each random minibatch $B$ by the error that the same minibatch makes at the snapshot:
#
# $$g = \nabla L_B(w) - \nabla L_B(\tilde w) + \mu, \qquad w \leftarrow w - \eta g$$
#
# On average the first correction cancels the second, so $g$ is unbiased. And as $w$ and $\tilde w$ near the minimum, its [variance falls](glossary:Variance-reduction) to 0. One epoch: take the snapshot, then step through the minibatches; the last point is the next snapshot (option I of the paper).
#
# {{task:svrg}}

# %% [markdown] lang="ru"
# ### SVRG: шум, который затухает
# Вблизи минимума полный градиент почти равен 0, а градиенты минибатчей — нет: SGD с постоянным шагом так и дрожит. SVRG ([Джонсон и Чжан, 2013](https://papers.nips.cc/paper/2013/hash/ac1dd209cbcc5e5d1c6e28598e8cbbe8-Abstract.html)) хранит снимок $\tilde w$ и полный градиент в нём $\mu = \nabla L(\tilde w)$ и поправляет каждый случайный минибатч $B$ на ошибку, которую тот же минибатч делает на снимке:
#
# $$g = \nabla L_B(w) - \nabla L_B(\tilde w) + \mu, \qquad w \leftarrow w - \eta g$$
#
# В среднем поправки взаимно уничтожаются, так что $g$ — несмещённая оценка. А когда $w$ и $\tilde w$ подходят к минимуму, её [дисперсия падает](glossary:Variance-reduction) до 0. Одна эпоха: сделать снимок, затем пройти по минибатчам; последняя точка — следующий снимок (вариант I статьи).
#
# {{task:svrg}}


# %% solution="svrg"
def svrg_estimate(gradient, w, snapshot, full, batch) -> np.ndarray:
    """The corrected gradient of a minibatch.

    gradient(w, batch): the mean gradient over the examples `batch`, in an array that stays as it
    was. w, snapshot, full: (d,),
    full = the gradient over all examples at the snapshot -> (d,).
    """
    ### BEGIN SOLUTION
    return gradient(w, batch) - gradient(snapshot, batch) + full
    ### END SOLUTION


def svrg(w, gradient, batches, lr: float) -> np.ndarray:
    """One epoch: a snapshot at w, then a step for each of `batches`. -> the last w.

    gradient(w, batch): as above; `batch = slice(None)` means all examples; ask for it once. batches:
    a list of arrays of indices.
    """
    ### BEGIN SOLUTION
    snapshot, full = w, gradient(w, slice(None))
    for batch in batches:
        w = w - lr * svrg_estimate(gradient, w, snapshot, full, batch)
    return w
    ### END SOLUTION


# %% test="svrg" points=1 bonus=true difficulty=3 minutes=20
a, b = np.array([[1.0], [3.0]]), np.array([2.0, 0.0])


def example_gradient(point, batch):
    return a[batch].T @ (a[batch] @ point - b[batch]) / len(b[batch])


call = "svrg_estimate at w = 1, snapshot 0.5, full -1, example 1"
g = check.answer(
    svrg_estimate,
    example_gradient,
    np.ones(1),
    np.array([0.5]),
    np.array([-1.0]),
    np.array([1]),
    call=call,
)
check.close(g, [3.5], call, why="be 9 - 4.5 + (-1)")
call, batches = "svrg from 0, two steps, lr = 0.1", [np.array([0]), np.array([1])]
w = check.answer(svrg, np.zeros(1), example_gradient, batches, 0.1, call=call)
check.close(w, [0.11], call, why="make steps of 0.1 and 0.01: the estimates are -1 and -0.1")
### BEGIN HIDDEN TESTS
rng = check.rng("svrg")
n, d = 12, 3
a, b = rng.normal(size=(n, d)), rng.normal(size=n)
w, snapshot = rng.normal(size=(2, d))
full = example_gradient(snapshot, slice(None))
call = "svrg_estimate(gradient, w, snapshot, full, batch)"
for batch in (np.array([3]), np.array([0, 5, 7]), slice(None)):
    got = check.answer(svrg_estimate, example_gradient, w, snapshot, full, batch, call=call)
    want = example_gradient(w, batch) - example_gradient(snapshot, batch) + full
    check.close(got, want, call, why="be g_B(w) - g_B(snapshot) + full")


def estimates(point):
    singles = [np.array([i]) for i in range(n)]
    return np.array(
        [
            check.answer(svrg_estimate, example_gradient, point, snapshot, full, batch, call=call)
            for batch in singles
        ]
    )


mean, whole = estimates(w).mean(0), example_gradient(w, slice(None))
why = "be unbiased: on average the full gradient at w"
check.close(mean, whole, "the mean of svrg_estimate over all examples", why=why)
near = snapshot + 0.01 * (w - snapshot)
plain_noise = np.array([example_gradient(near, np.array([i])) for i in range(n)]).var(0).sum()
check.that(
    estimates(near).var(0).sum() < 0.1 * plain_noise,
    "have near the snapshot a much smaller variance than the plain gradient",
)
asked = []


def logged(point, batch):
    asked.append(batch)
    return example_gradient(point, batch)


for start, lr in (
    (rng.normal(size=d), 0.1),
    (rng.normal(size=d), 0.03),
):  # two epochs: two snapshots
    batches, call = np.split(rng.permutation(n), 4), "svrg(w, gradient, batches, lr)"
    asked.clear()
    got = check.answer(svrg, start, logged, batches, lr, call=call)
    wholes = sum(isinstance(batch, slice) for batch in asked)
    check.equal(wholes, 1, f"how often {call} asks for the full gradient", why="be once an epoch")
    parts = len(asked) - wholes
    why = "be twice a step: at w and at the snapshot"
    check.equal(parts, 8, f"how often {call} asks for the gradients of 4 batches", why=why)
    slow, mu = start, a.T @ (a @ start - b) / n
    for batch in batches:
        part, target = a[batch], b[batch]
        change = part.T @ (part @ (slow - start)) / len(target)
        slow = slow - lr * (change + mu)
    why = "make steps w - lr (g_B(w) - g_B(snapshot) + full), each from where the last one ended"
    check.close(got, slow, call, why=why)
call = "svrg of no batches"
check.close(
    check.answer(svrg, start, example_gradient, [], 0.1, call=call), start, call, why="stay"
)
a, b, call = np.array([[1.0], [1 / 3]]), np.array([1 / 7, 1.0]), "svrg, to nine digits"
got = check.answer(
    svrg, np.zeros(1), example_gradient, [np.array([0]), np.array([1])], 1 / 9, call=call
)
mu = -(1 / 7 + 1 / 3) / 2
exact = -mu / 9 - (-mu / 81 + mu) / 9
check.close(
    got, [exact], call, rtol=1e-9, atol=0, why="be right to nine digits: compute in float64"
)
a, b = rng.normal(size=(8, 2)), rng.normal(size=8)
plans = {
    "whose last batch is smaller": [[0, 1, 2], [3, 4, 5], [6, 7]],
    "with an example twice in a batch": [[1, 1, 4], [5, 2, 5]],
    "of nine batches": [[0, 1], [2], [3, 4], [5], [6, 7], [1], [2, 5], [7], [0, 3]],
}
for what, plan in plans.items():
    call, start = f"svrg of an epoch {what}", rng.normal(size=2)
    batches = [np.array(indices) for indices in plan]
    slow, mu = start, a.T @ (a @ start - b) / 8
    for batch in batches:
        slow = slow - 0.1 * (a[batch].T @ (a[batch] @ (slow - start)) / len(batch) + mu)
    got = check.answer(svrg, start, example_gradient, batches, 0.1, call=call)
    why = "make a step of the same kind for every batch, with all that is in it"
    check.close(got, slow, call, why=why)
lent = []


def lending(point, batch):
    """The gradient, in an array that is kept to be looked at afterwards."""
    made = example_gradient(point, batch)
    lent.append((made, made.copy()))
    return made


call, batches = "the arrays that gradient(w, batch) gave to svrg", [np.array([0, 1]), np.array([2])]
check.answer(svrg, np.ones(2), lending, batches, 0.1, call="svrg(w, gradient, batches, lr)")
check.answer(
    svrg_estimate, lending, np.ones(2), np.zeros(2), np.ones(2), batches[0], call="svrg_estimate"
)
for made, before in lent:
    check.equal(made, before, call, why="stay as they were: they may be somebody's own")
### END HIDDEN TESTS

# %% mutant="svrg" why="plain SGD"
# - return gradient(w, batch) - gradient(snapshot, batch) + full
# + return gradient(w, batch)

# %% mutant="svrg" why="the correction has the wrong sign"
# - return gradient(w, batch) - gradient(snapshot, batch) + full
# + return gradient(w, batch) + gradient(snapshot, batch) - full

# %% mutant="svrg" why="the snapshot moves along"
# - w = w - lr * svrg_estimate(gradient, w, snapshot, full, batch)
# + w = w - lr * svrg_estimate(gradient, w, w, full, batch)

# %% mutant="svrg" why="a new full gradient at every step"
# - w = w - lr * svrg_estimate(gradient, w, snapshot, full, batch)
# + w = w - lr * svrg_estimate(gradient, w, w, gradient(w, slice(None)), batch)

# %% mutant="svrg" why="changes the caller's array, and the snapshot with it"
# - w = w - lr * svrg_estimate(gradient, w, snapshot, full, batch)
# + w -= lr * svrg_estimate(gradient, w, snapshot, full, batch)

# %% mutant="svrg" why="forgets the full gradient: the estimate is biased"
# - return gradient(w, batch) - gradient(snapshot, batch) + full
# + return gradient(w, batch) - gradient(snapshot, batch)

# %% mutant="svrg" why="asks twice for a minibatch at w"
# - return gradient(w, batch) - gradient(snapshot, batch) + full
# + gradient(w, batch)
# + return gradient(w, batch) - gradient(snapshot, batch) + full

# %% mutant="svrg" why="one snapshot for all epochs"
# - snapshot, full = w, gradient(w, slice(None))
# + snapshot, full = svrg.kept = getattr(svrg, "kept", (w, gradient(w, slice(None))))

# %% mutant="svrg" why="every step from the snapshot"
# - w = w - lr * svrg_estimate(gradient, w, snapshot, full, batch)
# + w = snapshot - lr * svrg_estimate(gradient, w, snapshot, full, batch)

# %% mutant="svrg" why="a smaller last batch makes no step"
# - for batch in batches:
# + for batch in (one for one in batches if len(one) == len(batches[0])):

# %% mutant="svrg" why="an example that is in a batch twice counts once"
# - for batch in batches:
# + for batch in map(np.unique, batches):

# %% mutant="svrg" why="four steps, then no more"
# - for batch in batches:
# + for batch in batches[:4]:

# %% mutant="svrg" why="a new snapshot after five steps"
# - for batch in batches:
# + for number, batch in enumerate(batches):
# +     if number == 5:
# +         snapshot, full = w, gradient(w, slice(None))

# %% mutant="svrg" why="adds to the array that gradient gave"
# - return gradient(w, batch) - gradient(snapshot, batch) + full
# + g = gradient(w, batch)
# + g -= gradient(snapshot, batch)
# + g += full
# + return g


# %% alternative="svrg" why="the correction computed on its own"
def svrg_estimate(gradient, w, snapshot, full, batch):
    correction = full - gradient(snapshot, batch)
    return correction + gradient(w, batch)


def svrg(w, gradient, batches, lr):
    snapshot, w = w.copy(), w.copy()
    full = gradient(snapshot, slice(None))
    for batch in batches:
        w -= lr * (gradient(w, batch) - gradient(snapshot, batch) + full)
    return w


# %% alternative="svrg" why="batches by their numbers"
def svrg_estimate(gradient, w, snapshot, full, batch):
    return gradient(w, batch) - gradient(snapshot, batch) + full


def svrg(w, gradient, batches, lr):
    snapshot = w.copy()
    full = gradient(snapshot, slice(None))
    for i in range(len(batches)):
        w = w - lr * svrg_estimate(gradient, w, snapshot, full, batches[i])
    return w


# %% [markdown]
# Both runs below use the same rate and the same kind of minibatches. An epoch of SVRG costs three times an epoch of SGD in gradients; so SGD gets three times as many epochs.

# %% [markdown] lang="ru"
# У обоих запусков ниже один и тот же шаг и одинаковые размеры минибатчей. По числу градиентов эпоха SVRG обходится втрое дороже эпохи SGD, поэтому SGD получает втрое больше эпох.


# %%
def on_examples(x: np.ndarray, y: np.ndarray, l2: float):
    """The gradient of the logistic loss as a function of w and of the examples to take."""
    return lambda w, batch: logistic_gradient(w, x[batch], y[batch], l2)


def noise(estimate, n: int) -> float:
    """The total variance of a gradient estimate over all single examples 0 ... n - 1."""
    return np.array([estimate(np.array([i])) for i in range(n)]).var(axis=0).sum()


# %%
slope = on_examples(expand(x_train[:400]), y_train[:400], 0.01)
rng, w, z, lr = seed_everything(0), np.zeros(6), np.zeros(6), 0.1
norms, noises = {"SGD": [], "SVRG": []}, {"SGD": [], "SVRG": []}
for _ in progress(range(30), "epochs of SVRG"):
    snapshot, full = z, slope(z, slice(None))
    z = svrg(z, slope, list(minibatches(400, 8, rng)), lr)
    norms["SVRG"].append(np.linalg.norm(slope(z, slice(None))))
    point = z, snapshot, full
    noises["SVRG"].append(noise(lambda i, point=point: svrg_estimate(slope, *point, i), 400))
    for _ in range(3):
        for batch in minibatches(400, 8, rng):
            w, _ = sgd(w, lambda w, b=batch: slope(w, b), (), lr)
        norms["SGD"].append(np.linalg.norm(slope(w, slice(None))))
        noises["SGD"].append(noise(lambda i, w=w: slope(w, i), 400))

figure, axes = plt.subplots(1, 2, figsize=(10, 3.5))
cost = {"SGD": np.arange(1, 91), "SVRG": 3 * np.arange(1, 31)}
titles = ["The norm of the full gradient", "The variance of the estimate"]
for ax, values, title in zip(axes, [norms, noises], titles, strict=True):
    series = {name: (cost[name], values[name]) for name in values}
    plots.curves(series, title, "gradients computed, in epochs of SGD", "", log_y=True, ax=ax)
plots.show("SGD's gradient norm and variance level off; SVRG's fall by orders of magnitude")

# %% [markdown]
# ### Newton: use the curvature
# Gradient descent crawls because one rate has to suit every curvature. [Newton's method](glossary:Newtons-method) divides by the curvature itself, the Hessian $H$ (for logistic regression this method is also known as iteratively reweighted least squares, IRLS). With $p = \sigma(Xw)$:
#
# $$H = \frac1n X^\top \operatorname{diag}\big(p (1-p)\big) X + \lambda I, \qquad w \leftarrow w - \eta\, (H + \delta I)^{-1} \nabla L(w)$$
#
# $\eta = 1$ and $\delta = 0$ make the pure method. Damping $\delta$ makes steps shorter where $H$ is nearly singular. Solve the system, don't invert the matrix. This task uses your `sigmoid` from section 2.
#
# For logistic regression $H$ without the penalty is also the Fisher information, the mean of $\nabla\ell\, \nabla\ell^\top$ under the model's own labels. So this step is the **natural gradient** ([Amari, 1998](https://doi.org/10.1162/089976698300017746)) as well.
#
# {{task:newton}}

# %% [markdown] lang="ru"
# ### Ньютон: в дело идёт кривизна
# Градиентный спуск ползёт, потому что один шаг обучения должен подойти всем кривизнам. [Метод Ньютона](glossary:Newtons-method) (Newton's method) делит на саму кривизну — гессиан $H$ (для логистической регрессии этот метод известен и как взвешенный МНК с итеративным пересчётом весов, IRLS). Пусть $p = \sigma(Xw)$:
#
# $$H = \frac1n X^\top \operatorname{diag}\big(p (1-p)\big) X + \lambda I, \qquad w \leftarrow w - \eta\, (H + \delta I)^{-1} \nabla L(w)$$
#
# При $\eta = 1$, $\delta = 0$ это метод в чистом виде. Демпфирование (damping) $\delta$ укорачивает шаги там, где $H$ почти вырожден. Решайте систему, а не обращайте матрицу. Этому заданию нужна ваша `sigmoid` из раздела 2.
#
# У логистической регрессии $H$ без штрафа — это ещё и информация Фишера: среднее $\nabla\ell\, \nabla\ell^\top$ по меткам, которые порождает сама модель. Поэтому тот же шаг — это и **натуральный градиент** (natural gradient; [Амари, 1998](https://doi.org/10.1162/089976698300017746)).
#
# {{task:newton}}


# %% solution="newton"
def logistic_hessian(w: np.ndarray, x: np.ndarray, l2: float = 0.0) -> np.ndarray:
    """The Hessian of logistic_loss; it does not depend on the labels.

    w: (d,), x: (n, d) -> (d, d).
    Example: w = [0], x = [[4]] gives [[4]]: a quarter of 16.
    """
    ### BEGIN SOLUTION
    p = sigmoid(x @ w)
    return x.T @ (x * (p * (1 - p))[:, None]) / len(x) + l2 * np.eye(len(w))
    ### END SOLUTION


def newton(w, gradient: Gradient, state, lr: float, hessian, damping: float = 0.0) -> tuple:
    """One damped Newton step; the state comes back as it was.

    w: (d,); hessian(w): (d, d), a new array at each call.
    Example: w = [3], gradient [8], hessian [[4]], lr = 0.5 gives [2]; with damping = 12, [2.75].
    """
    ### BEGIN SOLUTION
    matrix = hessian(w) + damping * np.eye(len(w))
    return w - lr * np.linalg.solve(matrix, gradient(w)), state
    ### END SOLUTION


# %% test="newton" points=1 bonus=true difficulty=3 minutes=20
x, call = np.array([[4.0, 1.0], [0.0, 2.0]]), "logistic_hessian([0, 0], [[4, 1], [0, 2]])"
h = check.answer(logistic_hessian, np.zeros(2), x, call=call)
check.close(
    h, [[2, 0.5], [0.5, 0.625]], call, why="be x^T x / 2 / 4: a mean; a coin has p (1 - p) = 1/4"
)


def slope(point):
    return np.array([8.0, -1.0])


def curvature(point):
    return np.array([[2.0, 1.0], [1.0, 3.0]])


call = "newton([3, 1], ...), gradient [8, -1], Hessian [[2, 1], [1, 3]], lr = 0.1"
w, _ = check.answer(newton, np.array([3.0, 1.0]), slope, (), 0.1, curvature, call=call)
check.close(w, [2.5, 1.2], call, why="move by -0.1 times [5, -2], the solution of H d = g")
w, _ = check.answer(newton, np.array([3.0, 1.0]), slope, (), 0.1, curvature, damping=1.0, call=call)
check.close(
    w,
    [2.7, 1.1],
    f"{call}, damping = 1",
    why="move by -0.1 times [3, -1]: H has 1 more on its diagonal",
)
### BEGIN HIDDEN TESTS
rng = check.rng("newton")
n, d = int(rng.integers(15, 25)), 3
start, x, y = rng.normal(size=d), rng.normal(size=(n, d)), rng.choice([-1.0, 1.0], size=n)


def slow_hessian(point, x):
    """A sum of outer products."""
    scores = [sum(row * point) for row in x]
    weights = [1 / (1 + np.exp(-z)) / (1 + np.exp(z)) for z in scores]
    return sum(c * np.outer(row, row) for c, row in zip(weights, x, strict=True)) / len(x)


call, why = "logistic_hessian(w, x)", "be the mean of p (1 - p) x x^T"
h = check.answer(logistic_hessian, start, x, call=call)
check.close(h, slow_hessian(start, x), call, why=why)
for l2 in rng.uniform(0.5, 2.0, size=2):
    call = f"logistic_hessian(w, x, {l2:.2f})"
    h = check.answer(logistic_hessian, start, x, l2, call=call)
    check.close(
        h, slow_hessian(start, x) + l2 * np.eye(d), call, why="have l2 more on the diagonal"
    )
call, whole = "logistic_hessian of whole numbers", np.array([[1, 2], [0, -1], [3, 1]])
h = check.answer(logistic_hessian, np.array([1, -1]), whole, call=call)
check.close(h, slow_hessian(np.array([1, -1]), whole), call, why=why)
with np.errstate(over="raise", invalid="raise"):
    call = "logistic_hessian at scores 1e4 and -1e4"
    h = check.answer(logistic_hessian, np.ones(1), np.array([[1e4], [-1e4]]), call=call)
    check.close(h, [[0.0]], call, why="be flat where the model is sure, without overflow")
matrix = rng.normal(size=(d, d))
matrix = matrix @ matrix.T + np.eye(d)
goal, asked = rng.normal(size=d), []


def pull(point):
    asked.append("gradient")
    return matrix @ (point - goal)


def bend(point):
    return matrix.copy()


for state in (("kept",), {"t": 3}):
    call = "newton(w, gradient, state, 1, hessian) on a quadratic"
    asked.clear()
    w, after = check.answer(newton, start, pull, state, 1.0, bend, call=call)
    check.equal(len(asked), 1, f"how often {call} asks for a gradient", why="be once a step")
    check.close(w, goal, call, why="reach the minimum in one step")
    check.equal(after, state, f"the state after {call}", why="be the state that was given")
call = "newton on a nearly flat quadratic, damping left out"
flat, _ = check.answer(
    newton,
    start,
    lambda point: 1e-9 * (point - goal),
    (),
    1.0,
    lambda point: 1e-9 * np.eye(d),
    call=call,
)
check.close(flat, goal, call, why="have no damping at all: it is 0 unless told")
call = "logistic_hessian([0], [[1e-5]]), l2 left out"
h = check.answer(logistic_hessian, np.zeros(1), np.array([[1e-5]]), call=call)
check.close(h, [[1e-10 / 4]], call, atol=0, why="have no penalty at all: l2 is 0 unless told")
values, vectors = np.linalg.eigh(matrix)
for lr, damping in zip(rng.uniform(0.2, 0.8, size=2), rng.uniform(0.5, 2.0, size=2), strict=True):
    call = f"newton(w, gradient, (), {lr:.2f}, hessian)"
    w, _ = check.answer(newton, start, pull, (), lr, bend, call=call)
    check.close(
        w, start - lr * (start - goal), call, why="take a part lr of the way to the minimum"
    )
    call = f"newton(w, gradient, (), {lr:.2f}, hessian, {damping:.2f})"
    w, _ = check.answer(newton, start, pull, (), lr, bend, damping, call=call)
    shrink = vectors @ np.diag(values / (values + damping)) @ vectors.T
    why = "shrink the error along an axis of curvature h by lr h / (h + damping)"
    check.close(w, start - lr * shrink @ (start - goal), call, why=why)
small = 0.3 * start
weight = 1 / (2 + np.exp(x @ small) + np.exp(-(x @ small)))
miss = (y + 1) / 2 - 1 / (1 + np.exp(-(x @ small)))
irls = np.linalg.lstsq(
    np.sqrt(weight)[:, None] * x, np.sqrt(weight) * (x @ small + miss / weight), rcond=None
)[0]
call = "newton with logistic_hessian"
w, _ = check.answer(
    newton,
    small,
    lambda point: -x.T @ miss / n,
    (),
    1.0,
    lambda point: logistic_hessian(point, x),
    call=call,
)
check.close(w, irls, call, why="be one round of reweighted least squares")
x, call = np.array([[1 / 3, 1 / 7]]), "logistic_hessian, to nine digits"
h = check.answer(logistic_hessian, np.ones(2), x, 1 / 9, call=call)
check.close(
    h,
    slow_hessian(np.ones(2), x) + np.eye(2) / 9,
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
call = "newton, to nine digits"
w, _ = check.answer(
    newton, np.zeros(1), lambda point: point + 1 / 3, (), 1 / 7, lambda point: np.array([[1 / 9]]), 1 / 3,
    call=call,
)  # fmt: skip
check.close(
    w,
    [-1 / 21 / (4 / 9)],
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
call, x = "logistic_hessian of repeated examples", np.array([[2.0, 1.0]] * 3 + [[1.0, -1.0]])
h = check.answer(logistic_hessian, np.array([0.5, -1.0]), x, call=call)
check.close(
    h, slow_hessian(np.array([0.5, -1.0]), x), call, why="be a mean over all, equal ones too"
)
for values, what in (([1.0, 1e-8], "one nearly flat axis"), ([2.0, -1.0], "a saddle")):
    call, diagonal = f"newton on a quadratic with {what}", np.array(values)
    w, _ = check.answer(
        newton,
        np.array([3.0, -2.0]),
        lambda point, h=diagonal: h * (point - 1),
        (),
        1.0,
        lambda point, h=diagonal: np.diag(h),
        call=call,
    )
    check.close(w, [1.0, 1.0], call, why="solve H d = g as it stands, whatever its eigenvalues")

lent, call = np.array([3.0, -2.0]), "the array that gradient(w) gave to newton"
step = "newton(w, gradient, ...)"
check.answer(
    newton, np.ones(2), lambda point: lent, (), 0.1, lambda point: 2 * np.eye(2), call=step
)
check.equal(lent, [3.0, -2.0], call, why="stay as it was: it may be somebody's own")
### END HIDDEN TESTS

# %% mutant="newton" why="weighs by p in place of p (1 - p)"
# - return x.T @ (x * (p * (1 - p))[:, None]) / len(x) + l2 * np.eye(len(w))
# + return x.T @ (x * p[:, None]) / len(x) + l2 * np.eye(len(w))

# %% mutant="newton" why="a sum in place of the mean"
# - return x.T @ (x * (p * (1 - p))[:, None]) / len(x) + l2 * np.eye(len(w))
# + return x.T @ (x * (p * (1 - p))[:, None]) + l2 * np.eye(len(w))

# %% mutant="newton" why="the penalty everywhere, not on the diagonal"
# - return x.T @ (x * (p * (1 - p))[:, None]) / len(x) + l2 * np.eye(len(w))
# + return x.T @ (x * (p * (1 - p))[:, None]) / len(x) + l2

# %% mutant="newton" why="damps every entry, not the diagonal"
# - matrix = hessian(w) + damping * np.eye(len(w))
# + matrix = hessian(w) + damping

# %% mutant="newton" why="multiplies by the Hessian"
# - return w - lr * np.linalg.solve(matrix, gradient(w)), state
# + return w - lr * matrix @ gradient(w), state

# %% mutant="newton" why="divides by the diagonal alone"
# - return w - lr * np.linalg.solve(matrix, gradient(w)), state
# + return w - lr * gradient(w) / np.diag(matrix), state

# %% mutant="newton" why="an empty state, whatever was given"
# - return w - lr * np.linalg.solve(matrix, gradient(w)), state
# + return w - lr * np.linalg.solve(matrix, gradient(w)), ()

# %% mutant="newton" why="ignores lr"
# - return w - lr * np.linalg.solve(matrix, gradient(w)), state
# + return w - np.linalg.solve(matrix, gradient(w)), state

# %% mutant="newton" why="moves the caller's array"
# - return w - lr * np.linalg.solve(matrix, gradient(w)), state
# + w -= lr * np.linalg.solve(matrix, gradient(w))
# + return w, state

# %% mutant="newton" why="single precision"
# - p = sigmoid(x @ w)
# + p = sigmoid(x @ w).astype(np.float32)

# %% mutant="newton" why="equal examples count once"
# - p = sigmoid(x @ w)
# + x = np.unique(x, axis=0)
# + p = sigmoid(x @ w)

# %% mutant="newton" why="a pseudoinverse that leaves flat axes out"
# - return w - lr * np.linalg.solve(matrix, gradient(w)), state
# + return w - lr * np.linalg.pinv(matrix, rcond=1e-6) @ gradient(w), state

# %% mutant="newton" why="takes the eigenvalues for positive"
# - return w - lr * np.linalg.solve(matrix, gradient(w)), state
# + values, axes = np.linalg.eigh(matrix)
# + return w - lr * axes @ (axes.T @ gradient(w) / np.abs(values)), state

# %% mutant="newton" why="puts the step into the array that gradient(w) gave"
# - return w - lr * np.linalg.solve(matrix, gradient(w)), state
# + g = gradient(w)
# + g[...] = np.linalg.solve(matrix, g)
# + return w - lr * g, state


# %% alternative="newton" why="a sum of outer products, the inverse matrix"
def logistic_hessian(w, x, l2=0.0):
    z = np.abs(x @ w)
    weight = np.exp(-z) / (1 + np.exp(-z)) ** 2
    return np.einsum("n,ni,nj->ij", weight, x, x) / len(x) + np.diag(np.full(len(w), l2))


def newton(w, gradient, state, lr, hessian, damping=0.0):
    return w - lr * np.linalg.inv(hessian(w) + np.diag(np.full(len(w), damping))) @ gradient(
        w
    ), state


# %% alternative="newton" why="adds the damping to the matrix that it was given"
def logistic_hessian(w, x, l2=0.0):
    p = sigmoid(x @ w)
    return x.T @ np.diag(p * (1 - p)) @ x / len(x) + l2 * np.eye(len(w))


def newton(w, gradient, state, lr, hessian, damping=0.0):
    h = hessian(w)
    h[np.diag_indices(len(w))] += damping
    return w - lr * np.linalg.solve(h, gradient(w)), state


# %%
rows, labels, l2 = expand(x_train[:400]), y_train[:400], 1e-3


def slope(w):
    return logistic_gradient(w, rows, labels, l2)


def curvature(w):
    return logistic_hessian(w, rows, l2)


steepest = np.linalg.eigvalsh(rows.T @ rows).max() / len(rows) / 4 + l2
near, far = np.zeros(6), np.full(6, -1.5)
paths = {
    "gradient descent, lr = 1.8/L": descend(sgd, near, slope, (), 1.8 / steepest, 200),
    "Newton": descend(newton, near, slope, (), 1, 9, hessian=curvature),
    "Newton from a bad start": descend(newton, far, slope, (), 1, 4, hessian=curvature),
    "the same, damping 0.1": descend(
        newton, far, slope, (), 1, 200, hessian=curvature, damping=0.1
    ),
}
losses = {
    k: np.array([logistic_loss(w, rows, labels, l2) for w in path]) for k, path in paths.items()
}
best = losses["Newton"].min()
series = {k: (np.arange(1, len(v) + 1), np.maximum(v - best, 1e-15)) for k, v in losses.items()}
title, x_label = "Loss above its minimum", "point of the path (log scale)"
ax = plots.curves(series, title, x_label, "loss - minimum", log_x=True, log_y=True)
ax.set_yticks(10.0 ** np.arange(-15, 4, 3))
plots.show(
    "Newton reaches machine precision in few steps; from a bad start it jumps off unless damped"
)

# %% [markdown]
# Close to the minimum Newton doubles the number of right digits with every step. Far from it the pure method can jump off: where the model is sure of everything, $H$ is nearly 0. Damping saves it there, and slows it down at the end; in practice you let $\delta$ fall on the way.

# %% [markdown] lang="ru"
# Вблизи минимума метод Ньютона с каждым шагом удваивает число верных цифр. Вдали от него метод в чистом виде может улететь: там, где модель во всём уверена, $H$ почти нулевой. Демпфирование его спасает, но замедляет в конце; на практике $\delta$ по пути уменьшают.

# %% [markdown]
# Is the Hessian really the Fisher information? Let the model draw labels for our points many times, and average the outer products of the gradients.

# %% [markdown] lang="ru"
# Действительно ли гессиан равен информации Фишера? Пусть модель много раз сама разыграет метки наших точек, а мы усредним внешние произведения градиентов.

# %%
rows, rng = expand(x_train[:400]), seed_everything(0)
w = np.array([0.3, -0.2, -0.4, 0.1, 0.2, 0.5])
hessian = logistic_hessian(w, rows)
fisher = np.zeros((6, 6))
for _ in range(1000):
    drawn = np.where(rng.random(len(rows)) < sigmoid(rows @ w), 1.0, -1.0)
    each = (-drawn * sigmoid(-drawn * (rows @ w)))[:, None] * rows
    fisher += each.T @ each / len(rows) / 1000
top = np.abs(hessian).max()
figure, axes = plt.subplots(1, 2, figsize=(7.5, 3.2))
for ax, matrix, name in zip(
    axes, [hessian, fisher], ["Hessian", "Fisher information"], strict=True
):
    image = ax.imshow(matrix, cmap="RdBu_r", vmin=-top, vmax=top)
    ax.set(title=name, xlabel="feature", ylabel="feature")
    ax.grid(False)
figure.colorbar(image, ax=axes)
plots.show("Two six by six matrices, the Hessian and the sampled Fisher information, look the same")
print(f"largest difference: {np.abs(fisher - hessian).max() / top:.2%} of the largest entry")

# %% [markdown]
# ### PCA: know the scales of the data
# The curvature of the loss comes from the covariance of the features. [PCA](glossary:Principal-component-analysis) finds its axes. Centre the data and take the singular value decomposition $X - \bar x = U \Sigma V^\top$: the rows of $V^\top$ are the components, and $\sigma_k^2/(n-1)$ is the variance along the $k$-th. A component is defined up to its sign; here its entry largest in absolute value is positive, as in scikit-learn.
#
# The first component alone needs no SVD. Multiply a vector by the covariance matrix and normalise, again and again: the direction of the largest eigenvalue wins. That is **power iteration**, gradient ascent of $v^\top C v$ on the unit sphere with an infinite rate.
#
# {{task:pca}}

# %% [markdown] lang="ru"
# ### PCA: узнать масштабы данных
# Кривизна потерь происходит из ковариации признаков. [Метод главных компонент](glossary:Principal-component-analysis) (PCA) находит её оси. Центрируйте данные и возьмите сингулярное разложение (SVD) $X - \bar x = U \Sigma V^\top$: строки $V^\top$ — компоненты, а $\sigma_k^2/(n-1)$ — дисперсия вдоль $k$-й из них. Компонента определена с точностью до знака; у нас её наибольшее по модулю число положительно, как в scikit-learn.
#
# Для одной лишь первой компоненты SVD не нужно. Умножайте вектор на матрицу ковариации и нормируйте, снова и снова: победит направление наибольшего собственного значения. Это **степенной метод** (power iteration) — градиентный подъём $v^\top C v$ по единичной сфере с бесконечным шагом.
#
# {{task:pca}}


# %% solution="pca"
def pca(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first k principal components and the variances along them, largest first.

    x: (n, d) -> components (k, d) of length 1, each with its largest entry (in absolute value)
    positive; variances (k,), with n - 1 in the denominator.
    """
    ### BEGIN SOLUTION
    _, sigma, rows = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    peaks = rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]
    rows = rows * np.sign(peaks)[:, None]
    return rows[:k], sigma[:k] ** 2 / (len(x) - 1)
    ### END SOLUTION


def power_iteration(matrix: np.ndarray, v: np.ndarray, steps: int) -> np.ndarray:
    """Multiply v by the matrix and scale it to length 1, `steps` times.

    matrix: (d, d), not always symmetric; v: (d,); steps: at least 1 -> (d,).
    Example: [[2, 1], [0, 1]], v = [1, 2], one step: [4, 2] / sqrt(20).
    """
    ### BEGIN SOLUTION
    for _ in range(steps):
        v = matrix @ v
        v = v / np.linalg.norm(v)
    return v
    ### END SOLUTION


# %% test="pca" points=1 bonus=true difficulty=2 minutes=20
points, call = np.array([[6.4, -2.3], [1.6, 1.3], [4.6, 0.3], [3.4, -1.3]]), "pca of four points"
components, variances = check.answer(pca, points, 2, call=call)
check.close(
    components,
    [[0.8, -0.6], [0.6, 0.8]],
    f"the components of {call}",
    why="point along the main axes, each of length 1 and with its largest entry positive",
)
check.close(variances, [6, 2 / 3], f"the variances of {call}", why="have n - 1 below")
matrix, call = np.array([[2.0, 1.0], [0.0, 1.0]]), "power_iteration([[2, 1], [0, 1]], [1, 2], 2)"
v = check.answer(power_iteration, matrix, np.array([1.0, 2.0]), 2, call=call)
check.close(v, np.array([10, 2]) / np.sqrt(104), call, why="go along [4, 2], then [10, 2]")
### BEGIN HIDDEN TESTS
rng = check.rng("pca")
for n, d, k in [(int(rng.integers(20, 40)), 4, 3), (5, 8, 2), (30, 3, 3), (9, 4, 1)]:
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    x = rng.normal(size=(n, d)) * 3.0 ** np.arange(d) @ turn + 5 * rng.normal(size=d)
    call = f"pca(x, {k})"
    components, variances = check.answer(pca, x, k, call=call)
    shape = f"the shape of the components of {call}"
    check.equal(np.shape(components), (k, d), shape, why="be a row for each component")
    centred = x - sum(x) / n
    covariance = sum(np.outer(row, row) for row in centred) / (n - 1)
    values, vectors = np.linalg.eigh(covariance)
    why = "be the largest eigenvalues of the covariance matrix, the largest first"
    check.close(variances, values[::-1][:k], f"the variances of {call}", why=why)
    for i, component in enumerate(components):
        what = f"component {i} of {call}"
        check.close(np.linalg.norm(component), 1.0, f"the length of {what}", why="be 1")
        why = "be up to its sign an eigenvector of the covariance matrix"
        check.close(abs(component @ vectors[:, -1 - i]), 1.0, what, why=why)
        check.that(
            max(component, key=abs) > 0, f"have its largest entry positive, by size ({what})"
        )
whole, call = np.array([[3, 1], [-2, 4], [0, -5]]), "pca of whole numbers"
components, variances = check.answer(pca, whole, 1, call=call)
value, vector = (part[..., -1] for part in np.linalg.eigh(np.cov(whole, rowvar=False)))
check.close(variances, [value], f"the variances of {call}", why="have n - 1 below")
check.close(abs(components[0] @ vector), 1.0, f"the components of {call}", why="be an eigenvector")
# A matrix of any kind: not symmetric, with negative numbers.
matrix, v = rng.normal(size=(3, 3)) + 2 * np.diag([1.0, -2.0, 1.0]), rng.normal(size=3)
for steps in (1, 2, 5):
    slow, call = np.linalg.matrix_power(matrix, steps) @ v, f"power_iteration(matrix, v, {steps})"
    why = "be the matrix to that power times v, scaled to length 1"
    got = check.answer(power_iteration, matrix, v, steps, call=call)
    check.close(got, slow / np.linalg.norm(slow), call, rtol=1e-4, atol=1e-6, why=why)
call = "power_iteration of whole numbers"
got = check.answer(power_iteration, np.array([[2, 1], [0, 1]]), np.array([1, 2]), 1, call=call)
check.close(got, np.array([4, 2]) / np.sqrt(20), call, why="be scaled to length 1")
close, call = np.diag([1.0, 0.99]), "power_iteration of a matrix that turns v slowly, 200 steps"
got = check.answer(power_iteration, close, np.ones(2), 200, call=call)
slow = np.array([1.0, 0.99**200])
check.close(got, slow / np.linalg.norm(slow), call, why="make as many steps as it was told")
with np.errstate(over="raise", invalid="raise"):
    call = "power_iteration of a large matrix, 100 steps"
    got = check.answer(power_iteration, 1e6 * np.diag([1.0, 0.2]), np.ones(2), 100, call=call)
    check.close(
        got, [1.0, 0.0], call, why="scale at every step, which keeps numbers from overflowing"
    )
call, third = "power_iteration, to nine digits", np.array([1 / 3, 1 / 7])
got = check.answer(power_iteration, np.diag([1.0, 3.0]), third, 1, call=call)
exact = np.array([7, 9]) / np.sqrt(130)
check.close(got, exact, call, rtol=1e-9, atol=0, why="be right to nine digits: compute in float64")
call = "pca, to nine digits"
components, variances = check.answer(pca, np.array([[0.0, 0.0], [2 / 3, 1 / 3]]), 1, call=call)
check.close(
    components,
    np.array([[2, 1]]) / np.sqrt(5),
    f"{call}: components",
    rtol=1e-9,
    why="be right to nine digits: compute in float64",
)
check.close(
    variances,
    [5 / 18],
    f"{call}: variances",
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
repeated, call = np.array([[3.0, 1.0]] * 3 + [[-2.0, 4.0], [0.0, -5.0]]), "pca of repeated points"
components, variances = check.answer(pca, repeated, 2, call=call)
values = np.linalg.eigvalsh(np.cov(repeated, rowvar=False))[::-1]
check.close(variances, values, f"the variances of {call}", why="count every point, equal ones too")
far, call = repeated + 1e6, "pca of points around 1e6"
components, variances = check.answer(pca, far, 2, call=call)
check.close(
    variances, values, f"the variances of {call}", rtol=1e-6, why="not change when all points move"
)
thin = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1e-4], [0.0, -1e-4]])
call = "pca of a thin cloud"
components, variances = check.answer(pca, thin, 2, call=call)
check.close(
    variances, [2 / 3, 2e-8 / 3], f"the variances of {call}", rtol=1e-6, atol=0,
    why="be exact, a small one too",
)  # fmt: skip
one, call = np.array([[1.0], [4.0], [-2.0], [3.0]]), "pca of points with one coordinate"
components, variances = check.answer(pca, one, 1, call=call)
check.close(components, [[1.0]], f"the components of {call}", why="be the one axis there is")
check.close(variances, [7.0], f"the variances of {call}", why="have n - 1 below")
# Axes and variances of this cloud are known: orthogonal columns of mean 0, stretched and turned.
axes, call = np.linalg.qr(rng.normal(size=(3, 3)))[0], "pca of a nearly round cloud"
cloud = rng.normal(size=(200, 3))
cloud = np.linalg.qr(cloud - cloud.mean(axis=0))[0]
stretch = np.array([1.04, 1.02, 1.0])
components, variances = check.answer(pca, cloud * stretch * 10 @ axes, 3, call=call)
why = "be right where two variances are close"
check.close(
    variances, 100 * stretch**2 / 199, f"the variances of {call}", rtol=1e-6, atol=0, why=why
)
turned = components * np.sign((components * axes).sum(axis=1))[:, None]
check.close(turned, axes, f"the components of {call}, up to sign", rtol=0, atol=1e-5, why=why)
for steps, sign in ((40, 1.0), (41, -1.0)):
    call = f"power_iteration of [[-3, 0], [0, 1]], {steps} steps"
    got = check.answer(power_iteration, np.diag([-3.0, 1.0]), np.ones(2), steps, call=call)
    check.close(got, [sign, 0.0], call, why="change its sign at every step: the matrix does that")
### END HIDDEN TESTS

# %% mutant="pca" why="forgets to centre"
# - _, sigma, rows = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
# + _, sigma, rows = np.linalg.svd(x, full_matrices=False)

# %% mutant="pca" why="takes columns of V^T for its rows"
# - return rows[:k], sigma[:k] ** 2 / (len(x) - 1)
# + return rows[:, :k].T, sigma[:k] ** 2 / (len(x) - 1)

# %% mutant="pca" why="singular values for variances"
# - return rows[:k], sigma[:k] ** 2 / (len(x) - 1)
# + return rows[:k], sigma[:k]

# %% mutant="pca" why="leaves the sign to chance"
# - rows = rows * np.sign(peaks)[:, None]
# + rows = rows * 1

# %% mutant="pca" why="makes the first entry positive"
# - rows = rows * np.sign(peaks)[:, None]
# + rows = rows * np.sign(rows[:, :1])

# %% mutant="pca" why="scales once, at the end"
# - v = matrix @ v
# - v = v / np.linalg.norm(v)
# + v = matrix @ v
# - return v
# + return v / np.linalg.norm(v)

# %% mutant="pca" why="centres in place"
# - _, sigma, rows = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
# + x -= x.mean(axis=0)
# + _, sigma, rows = np.linalg.svd(x, full_matrices=False)

# %% mutant="pca" why="a row times the matrix: the transpose"
# - v = matrix @ v
# + v = v @ matrix

# %% mutant="pca" why="n in the place of n - 1"
# - return rows[:k], sigma[:k] ** 2 / (len(x) - 1)
# + return rows[:k], sigma[:k] ** 2 / len(x)

# %% mutant="pca" why="stops where little changes"
# - v = matrix @ v
# - v = v / np.linalg.norm(v)
# + before, v = v, matrix @ v
# + v = v / np.linalg.norm(v)
# + if np.allclose(v, before, rtol=1e-2):
# +     break

# %% mutant="pca" why="makes the largest entry of v positive"
# - return v
# + return v * np.sign(v[np.abs(v).argmax()])

# %% mutant="pca" why="equal points count once"
# - _, sigma, rows = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
# + x = np.unique(x, axis=0)
# + _, sigma, rows = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)

# %% mutant="pca" why="the mean is taken off the products, which cancels far from 0"
# - _, sigma, rows = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
# + products = x.T @ x - len(x) * np.outer(x.mean(axis=0), x.mean(axis=0))
# + _, sigma, rows = np.linalg.svd(products, full_matrices=False)
# + sigma = np.sqrt(sigma)

# %% mutant="pca" why="small variances are 0"
# - return rows[:k], sigma[:k] ** 2 / (len(x) - 1)
# + sigma = np.where(sigma < 1e-3 * sigma[0], 0, sigma)
# + return rows[:k], sigma[:k] ** 2 / (len(x) - 1)

# %% mutant="pca" why="no points with one coordinate"
# - _, sigma, rows = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
# + values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
# + sigma, rows = np.sqrt(np.maximum(values[::-1], 0) * (len(x) - 1)), vectors.T[::-1]

# %% mutant="pca" why="power steps, too few where two variances are close"
# - _, sigma, rows = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
# + sigma, rows, rest = np.zeros(k), np.zeros((k, x.shape[1])), x - x.mean(axis=0)
# + for i in range(k):
# +     rows[i] = power_iteration(rest.T @ rest, np.ones(x.shape[1]), 100)
# +     sigma[i] = np.linalg.norm(rest @ rows[i])
# +     rest = rest - np.outer(rest @ rows[i], rows[i])

# %% mutant="pca" why="takes the sign of a negative eigenvalue off"
# - v = matrix @ v
# - v = v / np.linalg.norm(v)
# + before, v = v / np.linalg.norm(v), matrix @ v
# + v = v / np.linalg.norm(v)
# + v = -v if np.allclose(v, -before) else v


# %% alternative="pca" why="eigenvectors of the covariance matrix"
def pca(x, k):
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(x, rowvar=False)))
    rows = vectors.T[::-1][:k]
    signs = [np.sign(max(row, key=abs)) for row in rows]
    return rows * np.array(signs)[:, None], values[::-1][:k]


def power_iteration(matrix, v, steps):
    for _ in range(steps):
        v = np.dot(matrix, v)
        v = v / np.sqrt(np.sum(v**2))
    return v


# %% alternative="pca" why="v scaled before the loop as well"
def pca(x, k):
    _, s, vt = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    vt = vt[:k]
    largest = np.abs(vt).argmax(axis=1)
    vt = vt * np.sign(vt[np.arange(len(vt)), largest])[:, None]
    return vt, s[:k] ** 2 / (len(x) - 1)


def power_iteration(matrix, v, steps):
    v = v / np.linalg.norm(v)
    for _ in range(steps):
        v = matrix @ v
        v = v / np.linalg.norm(v)
    return v


# %%
pictures = data.load(settings["pictures"], profile)
flat = pictures.x_train.reshape(len(pictures.x_train), -1)[:5000] / 1.0
digits = pictures.y_train[:5000]
components, variances = pca(flat, 2)
share = variances / flat.var(axis=0, ddof=1).sum()
shadow = (flat - flat.mean(axis=0)) @ components.T
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=[1.4, 1])
dots = axes[0].scatter(*shadow.T, c=digits, cmap="tab10", vmin=-0.5, vmax=9.5, s=8)
figure.colorbar(dots, ax=axes[0], ticks=range(10), label="digit")
axes[0].set(title=f"{pictures.name}: {share.sum():.0%} of the variance in two numbers")
axes[0].set(xlabel=f"component 1: {share[0]:.0%}", ylabel=f"component 2: {share[1]:.0%}")
covariance, v, gaps = np.cov(flat, rowvar=False), seed_everything(0).normal(size=flat.shape[1]), []
for _ in range(60):
    v = power_iteration(covariance, v, 1)
    gaps.append(max(1 - abs(v @ components[0]), 1e-16))
title = "Power iteration finds component 1"
plots.curves({"": gaps}, title, "step", "1 - |cosine| to component 1", log_y=True, ax=axes[1])
plots.show(
    "Digits in the plane of two principal components; power iteration converging to the first"
)

# %% [markdown]
# Now use the scales. Tell two digits apart by logistic regression with plain gradient descent, each time with the rate $1/L$, where $L = \lambda_{\max}/4$ bounds the curvature. On the raw pixels it crawls. On coordinates along the components, each divided by its standard deviation (whitening), the same descent is quick: Adagrad and Adam do a part of this work on the fly.

# %% [markdown] lang="ru"
# Теперь воспользуемся масштабами. Отличим две цифры логистической регрессией с простым градиентным спуском; шаг каждый раз $1/L$, где $L = \lambda_{\max}/4$ — оценка кривизны сверху. На пикселях спуск ползёт. Перейдём к координатам вдоль компонент и каждую поделим на её стандартное отклонение (whitening, «отбеливание») — тот же спуск быстр; часть этой работы Adagrad и Adam делают на ходу.

# %%
chosen = np.isin(digits, [3, 8])
sides = np.where(digits[chosen] == 3, 1.0, -1.0)
axis, spread = pca(flat[chosen], 20)
centred = flat[chosen] - flat[chosen].mean(axis=0)
inputs = {"raw pixels": flat[chosen], "20 whitened components": centred @ axis.T / np.sqrt(spread)}
series = {}
for name, z in inputs.items():
    z = np.column_stack([z, np.ones(len(z))])
    curvature = np.linalg.eigvalsh(z.T @ z / len(z)).max() / 4
    slope, w = lambda w, z=z: logistic_gradient(w, z, sides), np.zeros(z.shape[1])
    path = descend(sgd, w, slope, (), 1 / curvature, 100)
    series[name] = [logistic_loss(w, z, sides) for w in path]
ax = plots.curves(series, "A 3 or an 8? Gradient descent, lr = 1/L", "step", "training loss")
ax.set_ylim(0, 0.75)
plots.show("Gradient descent on whitened components falls much faster than on raw pixels")

# %% [markdown]
# ## 6. Which learning rate?
# The question you will meet in every project. Below, each optimiser trains your classifier from the same start with the same minibatches, for a whole range of rates. A good optimiser has not only a deep valley but a **wide** one: then a rough guess will do.
#
# Give the same sweep more epochs and all valleys widen: the choice matters most when the budget of steps is tight. The lower pictures show the same six on Beale's function, a curved valley with steep walls. Each has the best rate of its own small sweep.

# %% [markdown] lang="ru"
# ## 6. Какой шаг обучения взять?
# Этот вопрос встретится вам в каждом проекте. Ниже каждый метод обучает ваш классификатор из одной и той же точки на одних и тех же минибатчах, для целого диапазона шагов. У хорошего метода долина не только глубокая, но и **широкая**: тогда хватит грубой догадки.
#
# Дайте тому же перебору больше эпох, и все долины станут шире: выбор важнее всего, когда шагов мало. Внизу те же шесть методов на функции Била — изогнутой долине с крутыми стенами. У каждого лучший шаг из собственного небольшого перебора.


# %%
def fresh(w: np.ndarray) -> dict:
    """Every optimiser with its first state."""
    zero = np.zeros_like(w)
    return {
        "SGD": (sgd, ()),
        "momentum": (momentum, zero),
        "Nesterov": (nesterov, zero),
        "Adagrad": (adagrad, zero),
        "RMSProp": (rmsprop, zero),
        "Adam": (adam, (zero, zero, 0)),
    }


def beale(w: np.ndarray) -> np.ndarray:
    """Beale's function, minimum 0 at (3, 0.5). w: (..., 2) -> (...)."""
    a, b = w[..., 0], w[..., 1]
    return (1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2


def beale_gradient(w: np.ndarray) -> np.ndarray:
    a, b = w
    powers = b ** np.arange(1, 4)
    gaps = np.array([1.5, 2.25, 2.625]) - a + a * powers
    return 2 * np.array([gaps @ (powers - 1), gaps @ (a * np.arange(1, 4) * b ** np.arange(3))])


def train(step, state, lr: float, epochs: int) -> float:
    """Train the expanded classifier with minibatches of 32. -> the training loss."""
    rows, rng, w = expand(x_train), np.random.default_rng(0), np.zeros(6)
    for _ in range(epochs):
        for batch in minibatches(len(rows), 32, rng):

            def gradient(w, batch=batch):
                return logistic_gradient(w, rows[batch], y_train[batch])

            w, state = step(w, gradient, state, lr)
    return logistic_loss(w, rows, y_train)


# %%
MARGIN = 0.1  # a learning rate is good if the loss ends this close to the best of all


def best_path(name: str, start: np.ndarray) -> np.ndarray:
    """The best of 17 paths of 150 steps on Beale's function, one for each learning rate."""
    step, state = fresh(start)[name]
    rates = np.geomspace(1e-4, 1, 17)
    paths = [descend(step, start, beale_gradient, state, lr, 150) for lr in rates]
    return min(paths, key=lambda path: np.nan_to_num(beale(path[-1]), nan=np.inf))


def draw_race(rates: np.ndarray, sweep: dict, paths: dict) -> None:
    """sweep: the final losses of every optimiser, one a rate. paths: on Beale's function."""
    figure, names = plt.figure(figsize=(11, 9)), list(sweep)
    layout = [["sweep", "sweep", "width"], names[:3], names[3:]]
    axes = figure.subplot_mosaic(layout, height_ratios=[1.6, 1, 1])
    limit = MARGIN + min(losses.min() for losses in sweep.values())
    axes["sweep"].axhspan(0, limit, color="0.92")
    series = {name: (rates, np.minimum(losses, 1)) for name, losses in sweep.items()}
    title = "Final training loss (cut off at 1)"
    plots.curves(series, title, "learning rate", "loss", log_x=True, ax=axes["sweep"])
    decades = [np.sum(sweep[name] < limit) * np.log10(rates[1] / rates[0]) for name in names]
    axes["width"].barh(names, decades, color=[f"C{i}" for i in range(6)])
    axes["width"].invert_yaxis()
    axes["width"].set(title="Width of the valley", xlabel=f"decades within {MARGIN} of the best")
    for i, name in enumerate(names):
        path, box = paths[name], (-0.5, 4.5, -2, 2)
        title = f"{name}: loss {beale(path[-1]):.1e}"
        draw_path(axes[name], beale, path, title, box, goal=(3, 0.5), color=f"C{i}")


# %%
rates, start = np.geomspace(1e-4, 10, settings["rates"]), np.array([1.0, 1.4])
sweep, paths = {}, {}
for name, (step, state) in progress(fresh(np.zeros(6)).items(), "optimisers"):
    losses = [train(step, state, lr, settings["epochs"]) for lr in rates]
    sweep[name] = np.nan_to_num(losses, nan=np.inf)
    paths[name] = best_path(name, start)

draw_race(rates, sweep, paths)
plots.show("Final loss by learning rate for six optimisers, the widths of the valleys, six paths")
limit = MARGIN + min(losses.min() for losses in sweep.values())
print(f"{'optimiser':10} {'best loss':>9} {'at lr':>8}   good lr")
for name, losses in sweep.items():
    good = rates[losses < limit]
    span = f"{good.min():.2g} ... {good.max():.2g}" if len(good) else "none"
    print(f"{name:10} {losses.min():9.3f} {rates[losses.argmin()]:8.2g}   {span}")

# %% [markdown]
# **What to take along.** Sweep the learning rate on a log scale before anything else. Momentum moves the valley to smaller rates: compare two optimisers each at *its own* best rate, never at a shared one. Adaptive methods care less about the scales of the features. In RMSProp and Adam the rate has a meaning of its own: about how far a step goes along each coordinate.
#
# Your network from [backprop](backprop.ipynb) takes plain SGD steps. Give it one of these: only its training loop changes.

# %% [markdown] lang="ru"
# **Что взять с собой.** Прежде всего переберите шаг обучения по логарифмической шкале. Импульс сдвигает долину к меньшим шагам, поэтому сравнивайте методы каждый при *его* лучшем шаге, а не при общем. Адаптивным методам не так важен масштаб признаков. В RMSProp и Adam шаг обучения имеет собственный смысл: примерно настолько параметры сдвигаются за шаг по каждой координате.
#
# Ваша сеть из [backprop](backprop.ipynb) делает шаги простого SGD. Дайте ей один из этих методов: изменится только цикл обучения.
