# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Gradient descent and its descendants
# You will write a classifier, then the optimisers that train almost every network today: SGD, momentum, Nesterov, Adagrad, RMSProp, Adam. Each is two to six lines long. The difference between them is what they **remember** about past gradients.
#
# Every optimiser is checked step by step: after each step your parameters must be where the formula puts them. At the end you compare all of them on one plot: which learning rates work, and how wide the working range is.

# %% [markdown] lang="ru"
# # Градиентный спуск и его потомки
# Вы напишете классификатор, а затем методы оптимизации, которыми сегодня обучают почти все сети: SGD, импульс, метод Нестерова, Adagrad, RMSProp, Adam. В каждом от двух до шести строк. Различаются они тем, что **помнят** о прошлых градиентах.
#
# Каждый метод проверяется по шагам: после каждого шага параметры должны оказаться там, куда их ставит формула. В конце все методы встретятся на одном графике: какие шаги обучения годятся и насколько широк рабочий диапазон.

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

    x: (n, 2) -> (n, 6).
    Example: expand([[2, 3]]) is [[2, 3, 4, 9, 6, 1]].
    """
    ### BEGIN SOLUTION
    a, b = x[:, 0], x[:, 1]
    return np.stack([a, b, a**2, b**2, a * b, np.ones_like(a)], axis=1)
    ### END SOLUTION


# %% test="expand" points=0.5 difficulty=1 minutes=5
check.close(
    expand(np.array([[2.0, 3.0], [-1.0, 0.5]])),
    [[2, 3, 4, 9, 6, 1], [-1, 0.5, 1, 0.25, -0.5, 1]],
    "expand([[2, 3], [-1, 0.5]])",
    why="the columns are x0, x1, x0^2, x1^2, x0 x1, 1",
)
### BEGIN HIDDEN TESTS
rng = check.rng("expand")
for n in (1, 2, int(rng.integers(5, 12))):
    x = rng.normal(size=(n, 2))
    kept = x.copy()
    slow = [[a, b, a * a, b * b, a * b, 1.0] for a, b in x]
    check.close(
        expand(x), slow, f"expand(x) of {n} points", why="each row has its point's features"
    )
    check.equal(x, kept, "x after expand(x)", why="the input stays as it was")
check.equal(expand(np.zeros((0, 2))).shape, (0, 6), "the shape of expand(no points)")
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


# %% alternative="expand" why="concatenation"
def expand(x):
    return np.hstack([x, x**2, x[:, :1] * x[:, 1:], np.ones((len(x), 1))])


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
# Typed as it stands, $e^{-m}$ overflows for $m < -709$. `np.logaddexp(a, b)` computes $\log(e^a + e^b)$ safely. The penalty covers all of $w$, the intercept too.
#
# {{task:logistic_loss}}

# %% [markdown] lang="ru"
# ## 2. Логистическая регрессия
# [Логистическая регрессия](glossary:Logistic-regression) (logistic regression) превращает оценку $w \cdot x$ в вероятность с помощью сигмоиды $\sigma(z) = 1/(1 + e^{-z})$. При метках $\pm 1$ вероятность верной метки равна $\sigma(m)$, где $m = y\, w \cdot x$ — **отступ** (margin): он положителен, если ответ верен, и велик, если ответ уверенный. Потери — среднее от $-\log \sigma(m)$ плюс штраф L2:
#
# $$L(w) = \frac1n \sum_{i=1}^n \log\left(1 + e^{-m_i}\right) + \frac{\lambda}{2} \|w\|^2, \qquad m_i = y_i\, w \cdot x_i$$
#
# Если набрать формулу как есть, при $m < -709$ экспонента $e^{-m}$ переполнится. `np.logaddexp(a, b)` безопасно вычисляет $\log(e^a + e^b)$. Штраф берётся со всего $w$, включая свободный член.
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
loss = logistic_loss(np.zeros(2), x, y)
check.close(loss, np.log(2), "logistic_loss(0, x, y)", why="w = 0 is a coin")
loss, mean = logistic_loss(np.array([1.0, 0.0]), x[:2], y[:2]), np.log1p(np.exp([-1, 3])).mean()
check.close(loss, mean, "logistic_loss([1, 0], x, y)", why="a mean; the margins are 1 and -3")
with np.errstate(over="raise", invalid="raise"):
    loss = logistic_loss(np.array([1e4, 0.0]), x[1:2], y[1:2])
check.close(loss, 3e4, "logistic_loss at margin -30000", why="for large -m the loss is almost -m")
### BEGIN HIDDEN TESTS
rng = check.rng("logistic_loss")
for n, d in [(1, 1), (int(rng.integers(4, 9)), 3)]:
    w, x, y = rng.normal(size=d), rng.normal(size=(n, d)), rng.choice([-1.0, 1.0], size=n)
    l2 = rng.uniform(0.5, 2.0)
    kept = w.copy(), x.copy(), y.copy()
    slow = sum(np.log(1 + np.exp(-y[i] * sum(w * x[i]))) for i in range(n)) / n
    check.close(
        logistic_loss(w, x, y), slow, "logistic_loss(w, x, y)", why="it is the mean over examples"
    )
    check.close(
        logistic_loss(w, x, y, l2),
        slow + l2 / 2 * sum(w**2),
        "logistic_loss(w, x, y, l2)",
        why="the penalty is l2 / 2 times the sum of the squares of w",
    )
    check.that(
        all(np.array_equal(a, b) for a, b in zip(kept, (w, x, y), strict=True)),
        "logistic_loss changes one of its inputs in place",
    )
with np.errstate(over="raise", invalid="raise"):
    x, y = np.array([[1e4], [1e4]]), np.array([1.0, -1.0])
    check.close(logistic_loss(np.ones(1), x, y), 5e3, "the loss at margins 1e4 and -1e4")
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
# The sigmoid must not overflow either. A hint: $\log \sigma(z) = -\log(1 + e^{-z})$, and that you can do already.
#
# {{task:logistic_gradient}}

# %% [markdown] lang="ru"
# ### Её градиент
# Производная $\log(1 + e^{-m})$ равна $-\sigma(-m)$: это вероятность, которую модель даёт *неверной* метке. Значит, каждый пример тянет $w$ в сторону $y_i x_i$ настолько сильно, насколько модель на нём неправа:
#
# $$\nabla L(w) = -\frac1n \sum_{i=1}^n \sigma(-m_i)\, y_i\, x_i + \lambda w$$
#
# Сигмоида тоже не должна переполняться. Подсказка: $\log \sigma(z) = -\log(1 + e^{-z})$, а это вы уже умеете.
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
with np.errstate(over="raise", invalid="raise"):
    s = sigmoid(np.array([0.0, np.log(3), -1e4, 1e4]))
check.close(s, [0.5, 0.75, 0, 1], "sigmoid([0, log 3, -1e4, 1e4])", why="it is 1 / (1 + exp(-z))")
g = logistic_gradient(np.zeros(1), np.array([[4.0]]), np.ones(1))
check.close(g, [-2.0], "logistic_gradient([0], [[4]], [1])", why="a coin is half wrong about it")
### BEGIN HIDDEN TESTS
rng = check.rng("logistic_gradient")
for n, d in [(1, 2), (int(rng.integers(4, 9)), 3)]:
    w, x, y = rng.normal(size=d), rng.normal(size=(n, d)), rng.choice([-1.0, 1.0], size=n)
    l2 = rng.uniform(0.5, 2.0)
    kept = w.copy(), x.copy(), y.copy()

    def slow(w, l2=0.0, x=x, y=y, n=n):
        return sum(np.log(1 + np.exp(-y[i] * sum(w * x[i]))) for i in range(n)) / n + l2 / 2 * sum(
            w**2
        )

    check.gradient(slow, w, logistic_gradient(w, x, y), "logistic_gradient(w, x, y)")
    check.gradient(
        lambda w, l2=l2, slow=slow: slow(w, l2),
        w,
        logistic_gradient(w, x, y, l2),
        "logistic_gradient(w, x, y, l2)",
    )
    check.that(
        all(np.array_equal(a, b) for a, b in zip(kept, (w, x, y), strict=True)),
        "logistic_gradient changes one of its inputs in place",
    )
with np.errstate(over="raise", invalid="raise"):
    check.close(
        logistic_gradient(np.ones(1), np.array([[1e4], [2e4]]), np.array([1.0, -1.0])),
        [1e4],
        "logistic_gradient at margins 1e4 and -2e4",
        why="a sure right answer pulls with 0, a sure mistake with all its strength",
    )
z = rng.normal(size=(2, 3))
check.close(sigmoid(z), np.exp(z) / (1 + np.exp(z)), "sigmoid(z) of a matrix")
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

# %% mutant="logistic_gradient" why="a sigmoid that gives inf / inf"
# - return np.exp(-np.logaddexp(0.0, -z))
# + return np.exp(z) / (1 + np.exp(z))

# %% mutant="logistic_gradient" why="labels 0 and 1 in a formula for -1 and +1"
# - wrong = sigmoid(-y * (x @ w))
# - return l2 * w - x.T @ (wrong * y) / len(y)
# + return l2 * w + x.T @ (sigmoid(x @ w) - y) / len(y)


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
# - `gradient` is a function: `gradient(w)` is the gradient at `w`. Call it once in a step.
# - `state` is what the optimiser remembers, zeros at first. Return the new one; SGD returns what it got.
# - Parameters may have any shape, all operations are elementwise, **inputs stay as they were**: write `w = w - ...`, not `w -= ...`, which changes the caller's array.
#
# `descend` makes many steps and keeps the path. `ravine` is the test ground: 25 times steeper across than along, so its [condition number](glossary:Condition-number) is 25.

# %% [markdown] lang="ru"
# ## 3. Одна форма для всех методов
# Каждый метод ниже — функция, которая делает **один шаг**:
#
# `w, state = step(w, gradient, state, lr, ...)`
#
# - `gradient` — функция: `gradient(w)` — градиент в точке `w`. За шаг вызывайте её один раз.
# - `state` — то, что метод помнит; сначала нули. Верните новое состояние; SGD возвращает то, что получил.
# - Параметры могут быть любой формы, все действия поэлементные, **входы не меняются**: пишите `w = w - ...`, а не `w -= ...`, иначе изменится массив вызывающего.
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

    Example: minibatches(5, 2, rng) may give [3, 0], [4, 1], [2].
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
start = np.array([1.0, -2.0])
w, state = sgd(start, lambda w: 4 * w, (), lr=0.1)
check.close(w, [0.6, -1.2], "sgd([1, -2], gradient, (), lr=0.1)", why="w - lr * gradient(w)")
check.equal(state, (), "the state after sgd", why="SGD returns the state that it got")
check.equal(start, np.array([1.0, -2.0]), "w after sgd(w, ...)", why="the inputs stay as they were")
batches = list(minibatches(10, 4, check.rng("sgd")))
check.equal([len(b) for b in batches], [4, 4, 2], "the sizes of minibatches(10, 4, rng)")
### BEGIN HIDDEN TESTS
rng = check.rng("sgd")
n, size = int(rng.integers(40, 60)), int(rng.integers(3, 8))
first, second = (np.concatenate(list(minibatches(n, size, rng))) for _ in range(2))
for order in (first, second):
    check.equal(
        np.sort(order), np.arange(n), "one epoch, sorted", why="each index comes exactly once"
    )
    check.that(not np.array_equal(order, np.arange(n)), "an epoch comes in random order")
check.that(not np.array_equal(first, second), "every epoch has another order")
again = [np.concatenate(list(minibatches(n, size, np.random.default_rng(7)))) for _ in range(2)]
check.equal(*again, "an epoch repeated with an equal rng", why="it draws from the given rng alone")
check.equal(len(list(minibatches(6, 2, rng))), 3, "the number of minibatches(6, 2, rng)")
together = sum(any({0, 1} <= set(map(int, b)) for b in minibatches(6, 2, rng)) for _ in range(600))
check.that(abs(together / 600 - 0.2) < 0.1, "any two examples may meet in a minibatch")
matrix = rng.normal(size=(3, 3))
matrix = matrix @ matrix.T + np.eye(3)
goal, w0, lr = rng.normal(size=3), rng.normal(size=3), 0.5 / np.trace(matrix)
w = w0
for t in range(1, 16):
    w, state = sgd(w, lambda w: matrix @ (w - goal), (), lr)
    slow = goal + np.linalg.matrix_power(np.eye(3) - lr * matrix, t) @ (w0 - goal)
    check.close(
        w, slow, f"sgd, step {t}: w", why="on a quadratic the error is (1 - lr A)^t times its start"
    )
### END HIDDEN TESTS

# %% mutant="sgd" why="climbs"
# - return w - lr * gradient(w), state
# + return w + lr * gradient(w), state

# %% mutant="sgd" why="changes the caller's array"
# - return w - lr * gradient(w), state
# + w -= lr * gradient(w)
# + return w, state

# %% mutant="sgd" why="does not shuffle"
# - order = rng.permutation(n)
# + order = np.arange(n)

# %% mutant="sgd" why="draws from NumPy's global generator"
# - order = rng.permutation(n)
# + order = np.random.permutation(n)

# %% mutant="sgd" why="draws with replacement"
# - order = rng.permutation(n)
# + order = rng.integers(n, size=n)

# %% mutant="sgd" why="drops the last, smaller minibatch"
# - for start in range(0, n, size):
# + for start in range(0, n - size + 1, size):

# %% mutant="sgd" why="shuffles the minibatches, not the examples"
# - order = rng.permutation(n)
# - for start in range(0, n, size):
# -     yield order[start : start + size]
# + for start in rng.permutation(np.arange(0, n, size)):
# +     yield np.arange(n)[start : start + size]


# %% alternative="sgd" why="a list of minibatches"
def minibatches(n, size, rng):
    order = np.arange(n)
    rng.shuffle(order)
    return np.split(order, range(size, n, size))


def sgd(w, gradient, state, lr):
    return np.subtract(w, np.multiply(lr, gradient(w))), state


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
# Теперь шум. Один и тот же шаг обучения и столько же эпох, три размера минибатча: с маленькими шагов за эпоху много, но путь так и не успокаивается; полный набор даёт гладкий и медленный спуск.

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
# Поперёк оврага градиенты чередуются и гасят друг друга. Вдоль они складываются и дают в $1/(1-\beta)$ раз больше одного: при $\beta = 0{,}9$ — в 10 раз.
#
# Такова форма `torch.optim.SGD(momentum=...)`. У Суцкевера и соавторов $\eta$ стоит внутри: $v \leftarrow \beta v - \eta g$, $w \leftarrow w + v$. Пока $\eta$ постоянен, пути совпадают; когда он меняется — расходятся.
#
# {{task:momentum}}


# %% solution="momentum"
def momentum(
    w: np.ndarray, gradient: Gradient, v: np.ndarray, lr: float, beta: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """One step with momentum. w, v: any one shape -> the new (w, v).

    Example: w = [1], gradient [4], v = [2], lr = 0.1, beta = 0.5 gives ([0.5], [5]).
    """
    ### BEGIN SOLUTION
    v = beta * v + gradient(w)
    return w - lr * v, v
    ### END SOLUTION


# %% test="momentum" points=0.5 difficulty=1 minutes=10
w, v = np.array([1.0, -2.0]), np.array([2.0, 0.0])
w, v = momentum(w, lambda w: np.array([4.0, 1.0]), v, lr=0.1, beta=0.5)
check.close(v, [5.0, 1.0], "the new v of momentum(w, gradient, v, ...)", why="v is beta v + g")
check.close(w, [0.5, -2.1], "the new w of momentum(w, gradient, v, ...)", why="w moves by -lr v")
### BEGIN HIDDEN TESTS
import torch

rng = check.rng("momentum")
shape = (3, 2)
scale, shift = rng.uniform(0.5, 3.0, shape), rng.normal(size=shape)
beta = rng.uniform(0.6, 0.95)
w, v = rng.normal(size=shape), np.zeros(shape)
parameter = torch.tensor(w)
optimiser = torch.optim.SGD([parameter], lr=0.1, momentum=beta)
calls = []


def field(w):
    calls.append(w)
    return scale * w + np.sin(w + shift)


for t in range(1, 16):
    lr = rng.uniform(0.02, 0.2)
    old = w.copy(), v.copy()
    new = momentum(w, field, v, lr, beta)
    check.equal(w, old[0], "w after momentum(w, ...)", why="the inputs stay as they were")
    check.equal(
        v, old[1], "v after momentum(w, gradient, v, ...)", why="the inputs stay as they were"
    )
    parameter.grad = torch.tensor(scale * w + np.sin(w + shift))
    optimiser.param_groups[0]["lr"] = lr
    optimiser.step()
    w, v = new
    check.close(
        w,
        parameter.numpy(),
        f"momentum, step {t}: w",
        why="it goes the way of torch's SGD(momentum), also when lr changes",
    )
check.equal(
    len(calls),
    15,
    "how often momentum asks for a gradient in 15 steps",
    why="once a step: asked again, a minibatch gradient might differ",
)
before, w, v = w, *momentum(w, lambda w: scale * w, np.zeros(shape), 0.1, beta)
for t in range(2, 9):
    slow = w - 0.1 * scale * w + beta * (w - before)
    before, (w, v) = w, momentum(w, lambda w: scale * w, v, 0.1, beta)
    check.close(
        w, slow, f"momentum, step {t}: w", why="Polyak: w - lr g + beta (w - the w before it)"
    )
check.close(
    momentum(np.ones(1), lambda w: w, np.ones(1), 1.0)[0],
    [-0.9],
    "momentum with its own beta",
    why="beta is 0.9 unless told",
)
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
# Looking ahead damps the swing. `torch.optim.SGD(nesterov=True)` stores the look-ahead point in place of $w$; its path is $w - \eta\beta v$ of ours, and your test compares just that.
#
# {{task:nesterov}}

# %% [markdown] lang="ru"
# ### Импульс Нестерова
# Что бы ни сказал градиент, импульс перенесёт $w$ примерно в точку $w - \eta \beta v$. Так посмотрите на градиент *там*, прежде чем поправлять скорость ([Нестеров, 1983](https://www.mathnet.ru/eng/dan46009); в этой форме — [Суцкевер и др., 2013](https://proceedings.mlr.press/v28/sutskever13.html), формулы 3–4, только $\eta$, как и выше, вынесен из скорости):
#
# $$v \leftarrow \beta v + \nabla L(w - \eta \beta v), \qquad w \leftarrow w - \eta v$$
#
# Взгляд вперёд (look-ahead) гасит раскачку. `torch.optim.SGD(nesterov=True)` хранит вместо $w$ точку взгляда вперёд; её путь — это $w - \eta\beta v$ у нас, и проверка сравнивает именно их.
#
# {{task:nesterov}}


# %% solution="nesterov"
def nesterov(
    w: np.ndarray, gradient: Gradient, v: np.ndarray, lr: float, beta: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """One step with Nesterov's momentum. w, v: any one shape -> the new (w, v).

    Example: gradient(w) = w, w = [2], v = [2], lr = 0.5, beta = 0.5 looks at [1.5]
    and gives ([0.75], [2.5]).
    """
    ### BEGIN SOLUTION
    v = beta * v + gradient(w - lr * beta * v)
    return w - lr * v, v
    ### END SOLUTION


# %% test="nesterov" points=0.5 difficulty=2 minutes=10
seen = []
w, v = np.array([2.0]), np.array([2.0])
w, v = nesterov(w, lambda w: (seen.append(w), 1.0 * w)[1], v, lr=0.5, beta=0.5)
check.close(np.array(seen), [[1.5]], "the points that nesterov looks at", why="w - lr beta v, once")
check.close(v, [2.5], "the new v of nesterov([2], ...)", why="v is beta v + the gradient ahead")
check.close(w, [0.75], "the new w of nesterov([2], ...)", why="w moves by -lr v from where it was")
### BEGIN HIDDEN TESTS
import torch

rng = check.rng("nesterov")
shape = (2, 3)
scale, shift = rng.uniform(0.5, 3.0, shape), rng.normal(size=shape)
beta, lr = rng.uniform(0.6, 0.95), rng.uniform(0.02, 0.2)
w, v = rng.normal(size=shape), np.zeros(shape)
parameter = torch.tensor(w)
optimiser = torch.optim.SGD([parameter], lr=lr, momentum=beta, nesterov=True)
for t in range(1, 16):
    old = w.copy(), v.copy()
    new = nesterov(w, lambda w: scale * w + np.sin(w + shift), v, lr, beta)
    check.equal(w, old[0], "w after nesterov(w, ...)", why="the inputs stay as they were")
    check.equal(
        v, old[1], "v after nesterov(w, gradient, v, ...)", why="the inputs stay as they were"
    )
    w, v = new
    ahead = parameter.numpy()
    parameter.grad = torch.tensor(scale * ahead + np.sin(ahead + shift))
    optimiser.step()
    check.close(
        w - lr * beta * v,
        parameter.numpy(),
        f"nesterov, step {t}: w - lr beta v",
        why="it goes the way of torch's SGD(nesterov=True)",
    )
velocity, w, v = np.zeros(shape), w, np.zeros(shape)
slow = w
for t in range(1, 9):
    velocity = beta * velocity - lr * scale * (slow + beta * velocity)
    slow = slow + velocity
    w, v = nesterov(w, lambda w: scale * w, v, lr, beta)
    check.close(w, slow, f"nesterov, step {t}: w", why="it agrees with Sutskever's form")
check.close(
    nesterov(np.ones(1), lambda w: w, np.ones(1), 1.0)[0],
    [0.0],
    "nesterov with its own beta",
    why="beta is 0.9 unless told",
)
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

    Example: w = [1], gradient [3], s = [16], lr = 0.5, eps = 1 gives ([0.75], [25]).
    """
    ### BEGIN SOLUTION
    g = gradient(w)
    s = s + g**2
    return w - lr * g / (np.sqrt(s) + eps), s
    ### END SOLUTION


# %% test="adagrad" points=0.5 difficulty=1 minutes=10
w, s = np.array([1.0, 2.0]), np.array([16.0, 0.0])
w, s = adagrad(w, lambda w: np.array([3.0, 0.0]), s, lr=0.5, eps=1.0)
check.close(s, [25.0, 0.0], "the new s of adagrad(w, gradient, s, ...)", why="this g^2 counts too")
check.close(w, [0.75, 2.0], "the new w of adagrad", why="w moves by -lr g / (sqrt(s) + eps)")
### BEGIN HIDDEN TESTS
import torch

rng = check.rng("adagrad")
shape = (3, 2)
scale, shift = rng.uniform(0.5, 3.0, shape), rng.normal(size=shape)
eps = rng.uniform(0.1, 0.5)
w, s = rng.normal(size=shape), np.zeros(shape)
parameter = torch.tensor(w)
optimiser = torch.optim.Adagrad([parameter], lr=0.1, eps=eps)
calls = []


def field(w):
    calls.append(w)
    return scale * w + np.sin(w + shift)


for t in range(1, 16):
    lr = rng.uniform(0.02, 0.5)
    old = w.copy(), s.copy()
    new = adagrad(w, field, s, lr, eps)
    check.equal(w, old[0], "w after adagrad(w, ...)", why="the inputs stay as they were")
    check.equal(
        s, old[1], "s after adagrad(w, gradient, s, ...)", why="the inputs stay as they were"
    )
    parameter.grad = torch.tensor(scale * w + np.sin(w + shift))
    optimiser.param_groups[0]["lr"] = lr
    optimiser.step()
    w, s = new
    check.close(
        w, parameter.numpy(), f"adagrad, step {t}: w", why="it goes the way of torch's Adagrad"
    )
check.equal(
    len(calls),
    15,
    "how often adagrad asks for a gradient in 15 steps",
    why="once a step: asked again, a minibatch gradient might differ",
)
w, s = np.array([5.0, 1.0]), np.zeros(2)
for t in range(1, 9):
    before, (w, s) = w, adagrad(w, lambda w: np.array([0.0, -7.0]), s, 0.3)
    check.close(
        w - before,
        [0, 0.3 / np.sqrt(t)],
        f"adagrad under a constant gradient, step {t}: the move",
        why="it is lr / sqrt(t), whatever the gradient's size; 0 where the gradient is 0",
    )
check.close(
    adagrad(np.zeros(1), lambda w: w + 1e-8, np.zeros(1), 1.0)[0],
    [-0.5],
    "adagrad with its own eps",
    why="eps is 1e-8 unless told",
)
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
draw_path(axes[0], ravine, runs["Adagrad"], "Adagrad on the ravine", (-5, 5, -4, 4))
draw_path(axes[1], turned, runs["Adagrad, turned"], "The ravine turned", (-5, 5, -4, 4))
for name, path in runs.items():
    style = "--" if "turned" in name else "-"
    axes[2].semilogy((turned if "turned" in name else ravine)(path), style, label=name)
axes[2].set(title="Adagrad: lr = 1, SGD: lr = 0.07", xlabel="step", ylabel="loss")
axes[2].legend(frameon=False)
plots.show(
    "Adagrad is fast on the ravine and slow on the turned one; SGD's two loss curves coincide"
)

# %% [markdown]
# ### RMSProp
# Adagrad's sum only grows, so its steps only shrink: good for a convex problem, but on a long way it stops too early. RMSProp ([Tieleman and Hinton, 2012](https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf), lecture 6.5, "6e" in the slides) replaces the sum by a moving average, which forgets:
#
# $$s \leftarrow \rho s + (1 - \rho)\, g^2, \qquad w \leftarrow w - \eta\, \frac{g}{\sqrt{s} + \varepsilon}$$
#
# The lecture has $\rho = 0.9$ and so have we; torch calls it `alpha` and takes 0.99. $\varepsilon$ stands outside the root, as in torch.
#
# {{task:rmsprop}}

# %% [markdown] lang="ru"
# ### RMSProp
# Сумма в Adagrad только растёт, поэтому шаги только уменьшаются: для выпуклой задачи это хорошо, но на длинном пути метод останавливается слишком рано. RMSProp ([Тилеман и Хинтон, 2012](https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf), лекция 6.5, на слайдах «6e») берёт вместо суммы скользящее среднее, которое умеет забывать:
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

    Example: w = [1], gradient [4], s = [2], lr = 0.4, rho = 0.5, eps = 1 gives ([0.6], [9]).
    """
    ### BEGIN SOLUTION
    g = gradient(w)
    s = rho * s + (1 - rho) * g**2
    return w - lr * g / (np.sqrt(s) + eps), s
    ### END SOLUTION


# %% test="rmsprop" points=0.5 difficulty=1 minutes=10
w, s = np.array([1.0, 2.0]), np.array([2.0, 0.0])
w, s = rmsprop(w, lambda w: np.array([4.0, 0.0]), s, lr=0.4, rho=0.5, eps=1.0)
check.close(s, [9.0, 0.0], "the new s of rmsprop", why="s is rho s + (1 - rho) g^2")
check.close(w, [0.6, 2.0], "the new w of rmsprop", why="w moves by -lr g / (sqrt(s) + eps)")
### BEGIN HIDDEN TESTS
import torch

rng = check.rng("rmsprop")
shape = (2, 3)
scale, shift = rng.uniform(0.5, 3.0, shape), rng.normal(size=shape)
rho, eps = rng.uniform(0.6, 0.95), rng.uniform(0.1, 0.5)
w, s = rng.normal(size=shape), np.zeros(shape)
parameter = torch.tensor(w)
optimiser = torch.optim.RMSprop([parameter], lr=0.1, alpha=rho, eps=eps)
calls = []


def field(w):
    calls.append(w)
    return scale * w + np.sin(w + shift)


for t in range(1, 16):
    lr = rng.uniform(0.02, 0.5)
    old = w.copy(), s.copy()
    new = rmsprop(w, field, s, lr, rho, eps)
    check.equal(w, old[0], "w after rmsprop(w, ...)", why="the inputs stay as they were")
    check.equal(
        s, old[1], "s after rmsprop(w, gradient, s, ...)", why="the inputs stay as they were"
    )
    parameter.grad = torch.tensor(scale * w + np.sin(w + shift))
    optimiser.param_groups[0]["lr"] = lr
    optimiser.step()
    w, s = new
    check.close(
        w, parameter.numpy(), f"rmsprop, step {t}: w", why="it goes the way of torch's RMSprop"
    )
check.equal(
    len(calls),
    15,
    "how often rmsprop asks for a gradient in 15 steps",
    why="once a step: asked again, a minibatch gradient might differ",
)
s, size = np.zeros(1), rng.uniform(2, 5)
for t in range(1, 9):
    s = rmsprop(np.zeros(1), lambda w: w + size, s, 0.1, rho)[1]
    check.close(
        s,
        [size**2 * (1 - rho**t)],
        f"rmsprop under a constant gradient g, step {t}: s",
        why="it is g^2 (1 - rho^t)",
    )
w, s = rmsprop(np.zeros(2), lambda w: np.array([0.0, 1e-8]), np.zeros(2), 1.0)
check.close(
    s, [0.0, 1e-17], "rmsprop with its own rho: s", atol=1e-22, why="rho is 0.9 unless told"
)
check.close(
    w,
    [0.0, -1 / (1 + np.sqrt(0.1))],
    "rmsprop with its own eps: w",
    why="eps is 1e-8 unless told; no step where the gradient is 0",
)
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
# Средние начинаются с нуля и поэтому вначале слишком малы; деление на $1 - \beta^t$ исправляет именно это (bias correction). Первый шаг имеет номер $t = 1$. Состояние $(m, v, t)$ начинается с $(0, 0, 0)$ и хранит *неисправленные* средние. В `torch.optim.Adam` та же формула.
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
zero = np.zeros(2)
w, (m, v, t) = adam(zero, lambda w: np.array([400.0, -0.5]), (zero, zero, 0), lr=0.1)
check.equal(t, 1, "t after the first step of adam", why="the first step has t = 1")
check.close(m, [40, -0.05], "m after the first step", why="uncorrected: beta1 m + (1 - beta1) g")
check.close(
    v, [160, 0.00025], "v after the first step", why="uncorrected: beta2 v + (1 - beta2) g^2"
)
check.close(w, [-0.1, 0.1], "the first step of adam from 0", why="it is -lr times the sign of g")
### BEGIN HIDDEN TESTS
import torch

still = adam(np.ones(2), lambda w: np.array([0.0, 1e-8]), (zero, zero, 0), 1.0)[0]
check.close(
    still,
    [1.0, 0.5],
    "adam with its own eps",
    why="eps is 1e-8 unless told, outside the root; no step where the gradient is 0",
)
rng = check.rng("adam")
shape = (3, 2)
scale, shift = rng.uniform(0.5, 3.0, shape), rng.normal(size=shape)
beta1, beta2, eps = rng.uniform(0.6, 0.8), rng.uniform(0.9, 0.97), rng.uniform(0.1, 0.5)
w, state = rng.normal(size=shape), (np.zeros(shape), np.zeros(shape), 0)
parameter = torch.tensor(w)
optimiser = torch.optim.Adam([parameter], lr=0.1, betas=(beta1, beta2), eps=eps)
calls = []


def field(w):
    calls.append(w)
    return scale * w + np.sin(w + shift)


for t in range(1, 21):
    lr = rng.uniform(0.02, 0.5)
    old = w.copy(), state[0].copy(), state[1].copy()
    new = adam(w, field, state, lr, beta1, beta2, eps)
    check.equal(w, old[0], "w after adam(w, ...)", why="the inputs stay as they were")
    check.equal(
        state[0],
        old[1],
        "m after adam(w, gradient, (m, v, t), ...)",
        why="the inputs stay as they were",
    )
    check.equal(
        state[1],
        old[2],
        "v after adam(w, gradient, (m, v, t), ...)",
        why="the inputs stay as they were",
    )
    parameter.grad = torch.tensor(scale * w + np.sin(w + shift))
    optimiser.param_groups[0]["lr"] = lr
    optimiser.step()
    w, state = new
    check.close(w, parameter.numpy(), f"adam, step {t}: w", why="it goes the way of torch's Adam")
w, state, gradients = np.zeros(2), (np.zeros(2), np.zeros(2), 0), rng.normal(size=(9, 2))
for t in range(1, 9):
    past = gradients[:t]
    share1 = 0.9 ** np.arange(t)[::-1, None]
    share2 = 0.999 ** np.arange(t)[::-1, None]
    mean = (share1 * past).sum(0) / share1.sum(0)
    square = (share2 * past**2).sum(0) / share2.sum(0)
    before, (w, state) = w, adam(w, lambda w, g=gradients[t - 1]: g, state, 0.3)
    check.close(
        w - before,
        -0.3 * mean / (np.sqrt(square) + 1e-8),
        f"adam with its own betas, step {t}: the move",
        why="the corrected averages weigh past gradients by beta^age and divide by the weights",
    )
check.equal(
    len(calls),
    20,
    "how often adam asks for a gradient in 20 steps",
    why="once a step: asked again, a minibatch gradient might differ",
)
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

    gradient(w, batch): the mean gradient over the examples `batch`. w, snapshot, full: (d,),
    full = the gradient over all examples at the snapshot -> (d,).
    """
    ### BEGIN SOLUTION
    return gradient(w, batch) - gradient(snapshot, batch) + full
    ### END SOLUTION


def svrg(w, gradient, batches, lr: float) -> np.ndarray:
    """One epoch: a snapshot at w, then a step for each of `batches`. -> the last w.

    gradient(w, batch): as above; `batch = slice(None)` means all examples.
    """
    ### BEGIN SOLUTION
    snapshot, full = w, gradient(w, slice(None))
    for batch in batches:
        w = w - lr * svrg_estimate(gradient, w, snapshot, full, batch)
    return w
    ### END SOLUTION


# %% test="svrg" points=1 bonus=true difficulty=3 minutes=20
a, b = np.array([[1.0], [3.0]]), np.array([2.0, 0.0])


def example_gradient(w, batch):
    return a[batch].T @ (a[batch] @ w - b[batch]) / len(b[batch])


g = svrg_estimate(example_gradient, np.ones(1), np.zeros(1), np.array([-1.0]), np.array([1]))
check.close(g, [8.0], "svrg_estimate at w = 1, snapshot 0, full -1", why="it is 9 - 0 + (-1)")
w = svrg(np.zeros(1), example_gradient, [np.array([0])], 0.5)
check.close(w, [0.5], "svrg of one step", why="at the snapshot the estimate is the full gradient")
### BEGIN HIDDEN TESTS
rng = check.rng("svrg")
n, d = 12, 3
a, b = rng.normal(size=(n, d)), rng.normal(size=n)
w, snapshot = rng.normal(size=(2, d))
full = example_gradient(snapshot, slice(None))
estimates = np.array(
    [svrg_estimate(example_gradient, w, snapshot, full, np.array([i])) for i in range(n)]
)
check.close(
    estimates.mean(0),
    example_gradient(w, slice(None)),
    "the mean of svrg_estimate over all examples",
    why="the estimate is unbiased: on average the full gradient at w",
)
near = snapshot + 0.01 * (w - snapshot)
plain_noise = np.array([example_gradient(near, np.array([i])) for i in range(n)]).var(0).sum()
noise = (
    np.array(
        [svrg_estimate(example_gradient, near, snapshot, full, np.array([i])) for i in range(n)]
    )
    .var(0)
    .sum()
)
check.that(
    noise < 0.1 * plain_noise,
    "near the snapshot the estimate has a much smaller variance than the plain gradient",
)
asked = []


def logged(w, batch):
    asked.append(batch)
    return example_gradient(w, batch)


start, lr = rng.normal(size=d), 0.1
kept = start.copy()
batches = np.split(rng.permutation(n), 4)
got = svrg(start, logged, iter(batches), lr)
check.equal(start, kept, "w after svrg(w, ...)", why="the input stays as it was")
check.equal(
    sum(isinstance(batch, slice) for batch in asked),
    1,
    "how often svrg asks for the full gradient",
    why="once an epoch",
)
slow, mu = start, a.T @ (a @ start - b) / n
for batch in batches:
    part, target = a[batch], b[batch]
    change = part.T @ (part @ (slow - start)) / len(target)
    slow = slow - lr * (change + mu)
check.close(
    got,
    slow,
    "svrg(w, gradient, batches, lr)",
    why="every step is w - lr (g_B(w) - g_B(snapshot) + full)",
)
check.close(svrg(start, example_gradient, [], lr), start, "svrg of no batches")
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


# %% [markdown]
# Both runs below use the same minibatches and the same rate. An epoch of SVRG costs three times an epoch of SGD in gradients; the axis counts that.

# %% [markdown] lang="ru"
# Оба запуска ниже берут одни и те же минибатчи и один и тот же шаг. По числу градиентов эпоха SVRG стоит втрое дороже эпохи SGD; ось это учитывает.


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
for _ in progress(range(30), "epochs"):
    snapshot, full, batches = z, slope(z, slice(None)), list(minibatches(400, 8, rng))
    z = svrg(z, slope, batches, lr)
    for batch in batches:
        w, _ = sgd(w, lambda w, b=batch: slope(w, b), (), lr)
    norms["SGD"].append(np.linalg.norm(slope(w, slice(None))))
    norms["SVRG"].append(np.linalg.norm(slope(z, slice(None))))
    noises["SGD"].append(noise(lambda i, w=w: slope(w, i), 400))
    point = z, snapshot, full
    noises["SVRG"].append(noise(lambda i, point=point: svrg_estimate(slope, *point, i), 400))

figure, axes = plt.subplots(1, 2, figsize=(10, 3.5))
cost = {"SGD": np.arange(1, 31), "SVRG": 3 * np.arange(1, 31)}
titles = ["The norm of the full gradient", "The variance of the estimate"]
for ax, values, title in zip(axes, [norms, noises], titles, strict=True):
    series = {name: (cost[name], values[name]) for name in values}
    plots.curves(series, title, "gradients computed, in epochs of SGD", "", log_y=True, ax=ax)
plots.show("SGD's gradient norm and variance level off; SVRG's fall by orders of magnitude")

# %% [markdown]
# ### Newton: use the curvature
# Gradient descent crawls because one rate has to suit every curvature. [Newton's method](glossary:Newtons-method) divides by the curvature itself, the Hessian $H$ (for logistic regression also called iteratively reweighted least squares, IRLS). With $p = \sigma(Xw)$:
#
# $$H = \frac1n X^\top \operatorname{diag}\big(p (1-p)\big) X + \lambda I, \qquad w \leftarrow w - \eta\, (H + \delta I)^{-1} \nabla L(w)$$
#
# $\eta = 1$ and $\delta = 0$ make the pure method. Damping $\delta$ makes steps shorter where $H$ is nearly singular. Solve the system, don't invert the matrix.
#
# For logistic regression $H$ without the penalty is also the Fisher information, the mean of $\nabla\ell\, \nabla\ell^\top$ under the model's own labels. So this step is the **natural gradient** ([Amari, 1998](https://doi.org/10.1162/089976698300017746)) as well.
#
# {{task:newton}}

# %% [markdown] lang="ru"
# ### Ньютон: в дело идёт кривизна
# Градиентный спуск ползёт, потому что один шаг обучения должен подойти всем кривизнам. [Метод Ньютона](glossary:Newtons-method) (Newton's method) делит на саму кривизну — гессиан $H$ (для логистической регрессии он же — взвешенный МНК с итеративным пересчётом весов, IRLS). Пусть $p = \sigma(Xw)$:
#
# $$H = \frac1n X^\top \operatorname{diag}\big(p (1-p)\big) X + \lambda I, \qquad w \leftarrow w - \eta\, (H + \delta I)^{-1} \nabla L(w)$$
#
# При $\eta = 1$, $\delta = 0$ это метод в чистом виде. Демпфирование (damping) $\delta$ укорачивает шаги там, где $H$ почти вырожден. Решайте систему, а не обращайте матрицу.
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

    w: (d,); hessian(w): (d, d).
    Example: w = [3], gradient [8], hessian [[4]], lr = 1 gives [1]; with damping = 4, [2].
    """
    ### BEGIN SOLUTION
    matrix = hessian(w) + damping * np.eye(len(w))
    return w - lr * np.linalg.solve(matrix, gradient(w)), state
    ### END SOLUTION


# %% test="newton" points=1 bonus=true difficulty=3 minutes=20
h = logistic_hessian(np.zeros(1), np.array([[4.0], [0.0]]))
check.close(
    h, [[2.0]], "logistic_hessian([0], [[4], [0]])", why="a mean; a coin has p (1 - p) = 1/4"
)
eight, four = lambda w: np.array([8.0]), lambda w: np.array([[4.0]])
w, _ = newton(np.array([3.0]), eight, (), 1.0, four)
check.close(w, [1.0], "newton([3], ...), gradient 8, Hessian 4", why="it is 3 - 8 / 4")
w, _ = newton(np.array([3.0]), eight, (), 1.0, four, damping=4.0)
check.close(w, [2.0], "newton([3], ...), gradient 8, Hessian 4, damping 4", why="it is 3 - 8 / 8")
### BEGIN HIDDEN TESTS
rng = check.rng("newton")
n, d = int(rng.integers(15, 25)), 3
w, x, y = rng.normal(size=d), rng.normal(size=(n, d)), rng.choice([-1.0, 1.0], size=n)
l2 = rng.uniform(0.5, 2.0)
kept = w.copy(), x.copy()


def slow_gradient(w, l2=0.0):
    return (
        np.mean([-y[i] * x[i] / (1 + np.exp(y[i] * sum(w * x[i]))) for i in range(n)], axis=0)
        + l2 * w
    )


for penalty in (0.0, l2):
    got = logistic_hessian(w, x, penalty)
    check.equal(got.shape, (d, d), "the shape of logistic_hessian(w, x, l2)")
    for k in range(d):
        check.gradient(
            lambda w, k=k, p=penalty: slow_gradient(w, p)[k],
            w,
            got[k],
            f"row {k} of logistic_hessian(w, x, l2)",
            why="it is the gradient of the gradient",
        )
with np.errstate(over="raise", invalid="raise"):
    check.close(
        logistic_hessian(np.ones(1), np.array([[1e4], [-1e4]])),
        [[0.0]],
        "logistic_hessian at scores 1e4 and -1e4",
        why="where the model is sure the loss is flat",
    )
matrix = rng.normal(size=(d, d))
matrix = matrix @ matrix.T + np.eye(d)
goal, lr, damping = rng.normal(size=d), rng.uniform(0.2, 0.8), rng.uniform(0.5, 2.0)
got, state = newton(w, lambda w: matrix @ (w - goal), ("kept",), 1.0, lambda w: matrix)
check.close(got, goal, "newton on a quadratic with lr=1", why="one step reaches the minimum")
check.equal(state, ("kept",), "the state after newton", why="newton returns the state that it got")
got, _ = newton(w, lambda w: matrix @ (w - goal), (), lr, lambda w: matrix, damping)
values, vectors = np.linalg.eigh(matrix)
shrink = vectors @ np.diag(values / (values + damping)) @ vectors.T
check.close(
    got,
    w - lr * shrink @ (w - goal),
    "newton with lr and damping",
    why="along an axis of curvature h the error shrinks by lr h / (h + damping)",
)
small = 0.3 * w
weight = 1 / (2 + np.exp(x @ small) + np.exp(-(x @ small)))
response = x @ small + ((y + 1) / 2 - 1 / (1 + np.exp(-(x @ small)))) / weight
irls = np.linalg.lstsq(np.sqrt(weight)[:, None] * x, np.sqrt(weight) * response, rcond=None)[0]
got, _ = newton(small, slow_gradient, (), 1.0, lambda w: logistic_hessian(w, x))
check.close(
    got, irls, "newton with logistic_hessian", why="it is one round of reweighted least squares"
)
check.that(
    np.array_equal(w, kept[0]) and np.array_equal(x, kept[1]), "an input was changed in place"
)
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


# %% alternative="newton" why="a sum of outer products, the inverse matrix"
def logistic_hessian(w, x, l2=0.0):
    z = np.abs(x @ w)
    weight = np.exp(-z) / (1 + np.exp(-z)) ** 2
    return np.einsum("n,ni,nj->ij", weight, x, x) / len(x) + np.diag(np.full(len(w), l2))


def newton(w, gradient, state, lr, hessian, damping=0.0):
    return w - lr * np.linalg.inv(hessian(w) + np.diag(np.full(len(w), damping))) @ gradient(
        w
    ), state


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
plots.curves(series, title, x_label, "loss - minimum", log_x=True, log_y=True)
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

    matrix: (d, d), v: (d,) -> (d,).
    Example: [[2, 0], [0, 1]], v = [1, 1], one step: [2, 1] / sqrt(5).
    """
    ### BEGIN SOLUTION
    for _ in range(steps):
        v = matrix @ v
        v = v / np.linalg.norm(v)
    return v
    ### END SOLUTION


# %% test="pca" points=1 bonus=true difficulty=2 minutes=20
components, variances = pca(np.array([[6.0, -2.0], [2.0, 1.0], [4.0, -0.5]]), 1)
check.close(components, [[0.8, -0.6]], "the component of points on a line along (4, -3)")
check.close(variances, [6.25], "the variance along the line", why="it has n - 1 below")
v = power_iteration(np.diag([2.0, 1.0]), np.ones(2), 1)
check.close(v, np.array([2, 1]) / np.sqrt(5), "power_iteration(diag(2, 1), [1, 1], 1)")
### BEGIN HIDDEN TESTS
rng = check.rng("pca")
for n, d, k in [(int(rng.integers(20, 40)), 4, 3), (5, 8, 2), (30, 3, 3)]:
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    x = rng.normal(size=(n, d)) * 3.0 ** np.arange(d) @ turn + 5 * rng.normal(size=d)
    kept = x.copy()
    components, variances = pca(x, k)
    check.equal(x, kept, "x after pca(x, k)", why="the input stays as it was")
    centred = x - sum(x) / n
    covariance = sum(np.outer(row, row) for row in centred) / (n - 1)
    values, vectors = np.linalg.eigh(covariance)
    check.close(
        variances,
        values[::-1][:k],
        "the variances of pca(x, k)",
        why="they are the largest eigenvalues of the covariance matrix, the largest first",
    )
    check.equal(np.shape(components), (k, d), "the shape of the components of pca(x, k)")
    for i in range(k):
        check.close(
            abs(components[i] @ vectors[:, -1 - i]),
            1.0,
            f"component {i} of pca(x, k)",
            why="up to its sign it is the eigenvector of the covariance matrix",
        )
        check.close(np.linalg.norm(components[i]), 1.0, f"the length of component {i} of pca(x, k)")
        largest = max(components[i], key=abs)
        check.that(
            largest > 0, f"the entry of component {i} with the largest absolute value is positive"
        )
matrix, v = covariance, rng.normal(size=3)
kept = v.copy()
for steps in (1, 2, 5):
    slow = np.linalg.matrix_power(matrix, steps) @ v
    check.close(
        power_iteration(matrix, v, steps),
        slow / np.linalg.norm(slow),
        f"power_iteration of {steps} steps",
        why="it is the matrix to that power times v, scaled to length 1",
    )
check.close(power_iteration(matrix, v, 0), kept, "power_iteration of no steps")
check.equal(v, kept, "v after power_iteration(matrix, v, steps)", why="the input stays as it was")
with np.errstate(over="raise", invalid="raise"):
    check.close(
        power_iteration(1e6 * np.diag([1.0, 0.2]), np.ones(2), 100),
        [1.0, 0.0],
        "power_iteration of a large matrix, 100 steps",
        why="scaling at every step keeps the numbers from overflowing",
    )
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


# %% alternative="pca" why="eigenvectors of the covariance matrix"
def pca(x, k):
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
    rows = vectors.T[::-1][:k]
    signs = [np.sign(max(row, key=abs)) for row in rows]
    return rows * np.array(signs)[:, None], values[::-1][:k]


def power_iteration(matrix, v, steps):
    for _ in range(steps):
        v = np.dot(matrix, v)
        v = v / np.sqrt(np.sum(v**2))
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
# Теперь воспользуемся масштабами. Отличим две цифры логистической регрессией с простым градиентным спуском; шаг каждый раз $1/L$, где $L = \lambda_{\max}/4$ — оценка кривизны сверху. На пикселях спуск ползёт. В координатах вдоль компонент, делённых каждая на своё стандартное отклонение (whitening, «отбеливание»), тот же спуск быстр; часть этой работы Adagrad и Adam делают на ходу.

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
plots.curves(series, "A 3 or an 8? Gradient descent, lr = 1/L", "step", "training loss", log_y=True)
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
# Дайте тому же перебору больше эпох, и все долины станут шире: выбор важнее всего, когда шагов мало. Внизу те же шестеро на функции Била — изогнутой долине с крутыми стенами. У каждого лучший шаг из собственного небольшого перебора.


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
# **What to take along.** Sweep the learning rate on a log scale before anything else. Momentum moves the valley to smaller rates: compare two optimisers each at *its own* best rate, never at a shared one. Adaptive methods care less about the scales of the features, and their rate has a meaning of its own: the length of a step.
#
# Your network from [backprop](backprop.ipynb) takes plain SGD steps. Give it one of these: only its training loop changes.

# %% [markdown] lang="ru"
# **Что взять с собой.** Прежде всего переберите шаг обучения по логарифмической шкале. Импульс сдвигает долину к меньшим шагам, поэтому сравнивайте методы каждый при *его* лучшем шаге, а не при общем. Адаптивным методам не так важен масштаб признаков, а их шаг обучения имеет собственный смысл: это длина шага по каждой координате.
#
# Ваша сеть из [backprop](backprop.ipynb) делает шаги простого SGD. Дайте ей один из этих методов: изменится только цикл обучения.
