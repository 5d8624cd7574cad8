# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Backpropagation: a neural network in NumPy
# You write the layers of a network by hand, forward and backward, check every gradient against a measured one, stack the layers and train them to read handwritten digits. Nothing but NumPy: at the end no line between the pixels and the answer is a mystery.

# %% [markdown] lang="ru"
# # Обратное распространение: нейронная сеть на NumPy
# Вы своими руками напишете слои сети — прямой и обратный проход, сверите каждый градиент с измеренным, соберёте слои в сеть и обучите её читать рукописные цифры. Только NumPy: в конце между пикселями и ответом не останется ни одной непонятной строки.

# %% tags=["parameters"]
profile = "small"

# %%
import math
import time
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

from practical_dl import check, data, plots, progress, seed_everything
from practical_dl.weeks import week01

seed_everything(0)
settings = {
    "small": {
        "data": "digits",  # 8 x 8 pixels with values 0..16
        "brightest": 16,
        "hidden": [64, 32],
        "dropout": 0.1,
        "batch_size": 32,
        "rates": 25 * [0.2] + 10 * [0.02],  # the learning rate of each epoch
    },
    "full": {
        "data": "mnist",  # 28 x 28 pixels with values 0..255
        "brightest": 255,
        "hidden": [256, 128],
        "dropout": 0.2,
        "batch_size": 128,
        "rates": 12 * [0.1] + 4 * [0.01],
    },
}[profile]

# %% [markdown]
# ## 1. One neuron
# Training needs one thing: how does the loss $L$ react to a small change of each parameter? Break the formula into elementary steps, a [computation graph](glossary:Computation-graph), and the [chain rule](glossary:Chain-rule) answers that step by step. Take one neuron with a squared error:
#
# $$L = \bigl(\max(0,\; w x + b) - t\bigr)^2, \qquad x = 2,\; w = 1.5,\; b = -1,\; t = 0.5.$$
#
# The forward pass computes the values from left to right. The backward pass starts with $\partial L/\partial L = 1$ and goes back: **each node multiplies the gradient that reaches it by its own local derivative**. This is [backpropagation](glossary:Backpropagation) (Rumelhart, Hinton & Williams, 1986).

# %% [markdown] lang="ru"
# ## 1. Один нейрон
# Для обучения нужно знать одно: как потери $L$ ответят на малое изменение каждого параметра. Разложите формулу на элементарные шаги — получится [вычислительный граф](glossary:Computation-graph) (computation graph), и [цепное правило](glossary:Chain-rule) (chain rule) даст ответ шаг за шагом. Возьмём один нейрон с квадратом ошибки:
#
# $$L = \bigl(\max(0,\; w x + b) - t\bigr)^2, \qquad x = 2,\; w = 1.5,\; b = -1,\; t = 0.5.$$
#
# Прямой проход считает значения слева направо. Обратный начинается с $\partial L/\partial L = 1$ и идёт назад: **каждый узел умножает пришедший к нему градиент на свою локальную производную**. Это и есть [обратное распространение](glossary:Backpropagation) (backpropagation; Румельхарт, Хинтон и Уильямс, 1986).

# %%
x, w, b, t = 2.0, 1.5, -1.0, 0.5

product = w * x  # the forward pass: every value is kept for the way back
total = product + b
active = max(0.0, total)
error = active - t
neuron_loss = error**2

d_error = 2 * error * 1.0  # the backward pass: local derivative times the gradient that arrives
d_active = 1.0 * d_error
d_total = (1.0 if total > 0 else 0.0) * d_active
d_product, d_b = 1.0 * d_total, 1.0 * d_total
d_w, d_x = x * d_product, w * d_product
print(f"L = {neuron_loss}, dL/dw = {d_w}, dL/db = {d_b}, dL/dx = {d_x}")
nudged = (max(0.0, (w + 0.001) * x + b) - t) ** 2
print(f"w + 0.001 changes L by {nudged - neuron_loss:.5f}, about 0.001 * dL/dw")

# %%
plots.graph(
    {
        "$w$": (0, 1), "$x$": (0, -1), "×": (1.2, 0), "$b$": (1.2, -1.6), "+": (2.4, 0),
        "relu": (3.6, 0), "$t$": (3.6, -1.6), "−": (4.8, 0), "$(·)^2$": (6, 0), "$L$": (7.2, 0),
    },
    [
        ("$w$", "×", w, d_w),
        ("$x$", "×", x, d_x),
        ("×", "+", product, d_product),
        ("$b$", "+", b, d_b),
        ("+", "relu", total, d_total),
        ("relu", "−", active, d_active),
        ("$t$", "−", t, -d_error),
        ("−", "$(·)^2$", error, d_error),
        ("$(·)^2$", "$L$", neuron_loss, 1.0),
    ],
    "Value of each edge (blue, above) and gradient of L with respect to it (orange, below)",
)
plots.show(
    "Computation graph of one neuron: values flow right to the loss 2.25, gradients flow back "
    "left and end as 6 at the weight, 4.5 at the input and 3 at the bias."
)

# %% [markdown]
# Read it at the node ×: the gradient 3 arrives from the right; the local derivative towards $w$ is $x = 2$, so $w$ gets $2 \cdot 3 = 6$. The node needs the value $x$ from the forward pass, hence the rule of every layer below: *remember on the way forward what you need on the way back*.
#
# One more rule. **Where a value is used twice, its gradients add up**, because a change of it reaches $L$ by both ways (Goodfellow et al., *Deep Learning*, section 6.5). It will explain every sum in this notebook: the weight of a layer is used once for each example of the batch.

# %% [markdown] lang="ru"
# Прочтите граф в узле ×: справа приходит градиент 3; локальная производная по $w$ равна $x = 2$, поэтому $w$ получает $2 \cdot 3 = 6$. Узлу нужно значение $x$ с прямого прохода — отсюда правило для всех слоёв ниже: *по пути вперёд запоминай то, что понадобится по пути назад*.
#
# И ещё одно правило. **Если значение использовано дважды, его градиенты складываются**: изменение доходит до $L$ обоими путями (Goodfellow и др., *Deep Learning*, раздел 6.5). Им объясняется каждая сумма в этой тетради: вес слоя используется по разу для каждого примера батча.

# %%
plots.graph(
    {"3": (0, 1), "$x$": (0, -0.6), "+": (1.5, 0.6), "×": (3, -0.1), "$L$": (4.3, -0.1)},
    [
        ("3", "+", 3, 2),
        ("$x$", "+", 2, 2),
        ("$x$", "×", 2, 5),
        ("+", "×", 5, 2),
        ("×", "$L$", 10, 1),
    ],
    "$L = x\\,(x + 3)$ at $x = 2$: two ways back to $x$, so $dL/dx = 2 + 5 = 7$",
)
plots.show("Computation graph in which x is used twice; its gradients 2 and 5 add up to 7.")

# %% [markdown]
# ## 2. Measure before you trust
# A derivative can be measured: nudge the input and look at the loss. The two-sided quotient is the [numerical gradient](glossary:Numerical-gradient):
#
# $$f'(x) \approx \frac{f(x + \varepsilon) - f(x - \varepsilon)}{2\varepsilon}.$$
#
# How small should $\varepsilon$ be? Taylor's formula gives an error of order $\varepsilon^2$ (one-sided: $\varepsilon$). But the difference of two close numbers loses digits: rounding adds about $10^{-16}/\varepsilon$. The sum has a minimum near $\varepsilon \approx 10^{-16/3} \approx 10^{-5}$ (Nocedal & Wright, *Numerical Optimization*, section 8.1). Look at it.

# %% [markdown] lang="ru"
# ## 2. Сначала измерить
# Производную можно измерить: чуть сдвинуть вход и посмотреть на потери. Двусторонняя разность — это [численный градиент](glossary:Numerical-gradient) (numerical gradient):
#
# $$f'(x) \approx \frac{f(x + \varepsilon) - f(x - \varepsilon)}{2\varepsilon}.$$
#
# Насколько малым брать $\varepsilon$? По формуле Тейлора ошибка порядка $\varepsilon^2$ (у односторонней — $\varepsilon$). Но разность двух близких чисел теряет знаки: округление добавляет около $10^{-16}/\varepsilon$. У суммы минимум около $\varepsilon \approx 10^{-16/3} \approx 10^{-5}$ (Nocedal, Wright, *Numerical Optimization*, раздел 8.1). Посмотрите сами.

# %%
eps = np.logspace(-13, -1, 49)
one_sided = [abs((np.exp(1 + h) - np.exp(1)) / h - np.exp(1)) for h in eps]
central = [abs(check.numerical_gradient(np.exp, np.array(1.0), h) - np.exp(1)) for h in eps]
ax = plots.curves(
    {"one-sided": (eps, one_sided), "central": (eps, central)},
    "Error of the measured derivative of exp at 1",
    "step ε",
    "absolute error",
    log_x=True,
    log_y=True,
)
ax.axvline(1e-5, color="0.5", linestyle=":")
ax.set_ylim(1e-12, 1)
ax.text(1.4e-5, 2e-12, "ε = 1e-5, used by the checks", color="0.3", fontsize=9)
print(f"smallest error: one-sided at ε = {eps[np.argmin(one_sided)]:.0e}, ", end="")
print(f"central at ε = {eps[np.argmin(central)]:.0e}")
plots.show(
    "Error against step on logarithmic axes: both curves are V-shaped; the central difference "
    "has its minimum near 1e-5, several orders below the one-sided one."
)

# %% [markdown]
# Left of the minimum rounding rules, right of it the curvature of the function. With $\varepsilon = 10^{-5}$ about ten digits are right, plenty to tell a correct gradient from a wrong one. Why not train with it, then? It takes two forward passes *for each parameter*; backpropagation takes one backward pass for all. You will time both in section 8.

# %% [markdown] lang="ru"
# Левее минимума правит округление, правее — кривизна функции. При $\varepsilon = 10^{-5}$ верны около десяти знаков: с запасом хватит, чтобы отличить верный градиент от ошибочного. Почему тогда не обучать прямо так? Нужны два прямых прохода *на каждый параметр*; обратному распространению хватает одного обратного прохода на все. В разделе 8 вы засечёте время и того, и другого.

# %% [markdown]
# ## 3. A layer: one local rule
# A network is a chain of [layers](glossary:Layer), and a layer needs to know only itself. The rules, once and for all:
#
# 1. A batch is a matrix: one row an example, $n$ rows.
# 2. `forward(x)` returns the output and remembers what `backward` needs.
# 3. `backward(grad_output)` receives $\partial L/\partial\,\text{output}$, writes the gradients of its parameters into `self.grads` and **returns** $\partial L/\partial\,\text{input}$. A gradient has the shape of the thing it belongs to.
# 4. $L$ is the **mean** over the batch. The factor $1/n$ stands in the loss and nowhere else; layers sum over the batch.
# 5. No function changes its arguments. The checks that you see are public ones: passing them is no promise of full marks.

# %% [markdown] lang="ru"
# ## 3. Слой: одно локальное правило
# Сеть — цепочка [слоёв](glossary:Layer) (layers), и каждому слою достаточно знать только себя. Правила, раз и навсегда:
#
# 1. Батч — матрица: строка на пример, всего $n$ строк.
# 2. `forward(x)` возвращает выход и запоминает то, что понадобится в `backward`.
# 3. `backward(grad_output)` получает $\partial L/\partial\,\text{выход}$, записывает градиенты своих параметров в `self.grads` и **возвращает** $\partial L/\partial\,\text{вход}$. Форма градиента — та же, что у самой величины.
# 4. $L$ — **среднее** по батчу. Множитель $1/n$ стоит в функции потерь и больше нигде; слои по батчу суммируют.
# 5. Ни одна функция не меняет своих аргументов. Видимые вам проверки — открытая часть: пройти их ещё не значит получить полный балл.

# %%
class Layer:
    """What every layer can do. Yours inherit from it and write forward and backward.

    params: parameters by name. grads: their gradients, same names and shapes.
    training: True while the network learns, False when it is used.
    """

    def __init__(self) -> None:
        self.params: dict[str, np.ndarray] = {}
        self.grads: dict[str, np.ndarray] = {}
        self.training = True

    def forward(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def parameters(self) -> list[np.ndarray]:
        return list(self.params.values())

    def gradients(self) -> list[np.ndarray]:
        return [self.grads[name] for name in self.params]

    def train(self, mode: bool = True) -> None:
        self.training = mode

    def eval(self) -> None:
        self.train(False)


# %%
week01.layer()
plots.show(
    "A layer as a box: the input enters from the left and the output leaves to the right; the "
    "gradient of the output enters from the right, the gradient of the input leaves to the left, "
    "and the gradients of the parameters stay in the layer."
)

# %% [markdown]
# ## 4. ReLU: a gate
# Without a nonlinearity a stack of layers is one linear map. [ReLU](glossary:ReLU) is the simplest one that works well:
#
# $$y = \max(0, x), \qquad \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}\cdot[x > 0].$$
#
# A gate: where the input was positive the gradient passes unchanged, elsewhere it stops. At $x = 0$ there is no derivative; like everyone, take 0.
#
# {{task:relu}}
#
# Write `forward` and `backward`.

# %% [markdown] lang="ru"
# ## 4. ReLU: вентиль
# Без нелинейности стопка слоёв — это одно линейное отображение. [ReLU](glossary:ReLU) — простейшая нелинейность, которая хорошо работает:
#
# $$y = \max(0, x), \qquad \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}\cdot[x > 0].$$
#
# Это вентиль: там, где вход был положительным, градиент проходит без изменений, в остальных местах останавливается. При $x = 0$ производной нет; берите 0, как принято.
#
# {{task:relu}}
#
# Напишите `forward` и `backward`.


# %% solution="relu"
class ReLU(Layer):
    """max(0, x), element by element."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """x: any shape -> the same shape.

        ReLU().forward([[-1, 2]]) -> [[0, 2]]
        """
        ### BEGIN SOLUTION
        self.open = x > 0
        return np.where(self.open, x, 0.0)
        ### END SOLUTION

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        """grad_output: dL/dy, the shape of the last x -> dL/dx, the same shape."""
        ### BEGIN SOLUTION
        return grad_output * self.open
        ### END SOLUTION


# %% test="relu" points=0.5 difficulty=1 minutes=5
layer = ReLU()
given = np.array([[-1.0, 2.0, 0.0], [0.5, -3.0, 4.0]])
upstream = np.array([[10.0, -20.0, 30.0], [-40.0, 50.0, 60.0]])
check.close(layer.forward(given), [[0, 2, 0], [0.5, 0, 4]], "ReLU().forward(x)")
check.close(
    layer.backward(upstream),
    [[0, -20, 0], [-40, 0, 60]],
    "backward(grad_output)",
    why="the gradient passes where x > 0, whatever its own sign, and stops elsewhere",
)
### BEGIN HIDDEN TESTS
rng = check.rng("relu")
for shape in [(1, 1), (4, 7), (3, 2, 5)]:
    # Away from the kink, where the numerical gradient has no meaning.
    given = rng.choice([-1.0, 1.0], size=shape) * rng.uniform(0.1, 2.0, size=shape)
    upstream = rng.normal(size=shape)
    kept, kept_upstream = given.copy(), upstream.copy()
    layer = ReLU()
    expected = np.array([max(0.0, v) for v in given.ravel()]).reshape(shape)
    check.close(layer.forward(given), expected, "ReLU().forward(x)", why="it is max(0, x)")
    check.equal(given, kept, "x after forward", why="forward leaves its argument as it was")
    check.gradient(
        lambda z, g=upstream: np.sum(ReLU().forward(z) * g),
        given,
        layer.backward(upstream),
        "ReLU().backward(grad_output)",
    )
    check.equal(
        upstream, kept_upstream, "grad_output after backward", why="it is left as it was"
    )
given = rng.choice([-1.0, 1.0], size=(5, 6))
first, second = ReLU(), ReLU()
first.forward(given)
second.forward(-given)
check.close(
    first.backward(np.ones((5, 6))),
    given > 0,
    "backward of one of two layers",
    why="each layer remembers its own input",
)
first.forward(-given)
check.close(
    first.backward(np.ones((5, 6))),
    given < 0,
    "backward after a second forward",
    why="backward belongs to the last forward",
)
### END HIDDEN TESTS

# %% mutant="relu" why="looks at the sign of the gradient instead of the input"
# - return grad_output * self.open
# + return np.where(grad_output > 0, grad_output, 0.0)

# %% mutant="relu" why="lets every gradient pass"
# - return grad_output * self.open
# + return grad_output

# %% mutant="relu" why="returns the mask and forgets the gradient that arrives"
# - return grad_output * self.open
# + return self.open.astype(float)

# %% mutant="relu" why="changes its argument in place"
# - return np.where(self.open, x, 0.0)
# + x[~self.open] = 0.0
# + return x

# %% mutant="relu" why="absolute value"
# - return np.where(self.open, x, 0.0)
# + return np.abs(x)

# %% mutant="relu" why="passes the gradient at 0"
# - self.open = x > 0
# + self.open = x >= 0


# %% alternative="relu" why="np.maximum, remembers the input"
class ReLU(Layer):
    def forward(self, x):
        self.x = x
        return np.maximum(x, 0)

    def backward(self, grad_output):
        gradient = np.array(grad_output, dtype=float)
        gradient[self.x <= 0] = 0
        return gradient


# %%
layer = ReLU()
line = np.linspace(-3, 3, 301)
values = layer.forward(line)
slopes = layer.backward(np.ones_like(line))
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
plots.curves({"y": (line, values)}, "your forward", "x", "max(0, x)", ax=axes[0])
axes[1].plot(line, slopes, color=plots.GRADIENT)
axes[1].set(title="your backward for grad_output = 1", xlabel="x", ylabel="gradient that passes")
axes[1].text(-1.5, 0.15, "stopped", ha="center")
axes[1].text(1.5, 1.15, "passed", ha="center")
plots.show("ReLU is 0 for negative x and x for positive; its derivative jumps from 0 to 1 at 0.")

# %% [markdown]
# ## 5. Dense: the layer that learns
# An affine map of every row: $Y = XW + b$ with $X\!: n \times d$, $W\!: d \times k$, $b\!: k$. Let $G = \partial L/\partial Y$, of shape $n \times k$.
#
# **Shapes first.** $\partial L/\partial W$ must be $d \times k$; from $X$ and $G$ only $X^\top G$ fits. $\partial L/\partial X$ must be $n \times d$; only $G\,W^\top$ fits. That is where the transposes come from:

# %% [markdown] lang="ru"
# ## 5. Полносвязный слой: тот, который учится
# Аффинное отображение каждой строки: $Y = XW + b$, где $X\!: n \times d$, $W\!: d \times k$, $b\!: k$. Пусть $G = \partial L/\partial Y$, форма $n \times k$.
#
# **Сначала формы.** $\partial L/\partial W$ обязан быть $d \times k$; из $X$ и $G$ подходит только $X^\top G$. $\partial L/\partial X$ обязан быть $n \times d$; подходит только $G\,W^\top$. Вот откуда берутся транспонирования:

# %%
week01.dense_products()
plots.show(
    "Three matrix products as rectangles of matching sides: n by d times d by k gives n by k; "
    "d by n times n by k gives d by k; n by k times k by d gives n by d."
)

# %% [markdown]
# **Then the derivation**, in indices. Since $y_{ij} = \sum_a x_{ia} w_{aj} + b_j$, the weight $w_{aj}$ is used once for every example $i$, and its gradients add up:
#
# $$\frac{\partial L}{\partial w_{aj}} = \sum_i x_{ia}\, g_{ij}, \qquad
# \frac{\partial L}{\partial b_j} = \sum_i g_{ij}, \qquad
# \frac{\partial L}{\partial x_{ia}} = \sum_j g_{ij}\, w_{aj}.$$
#
# The first is $X^\top G$, the last $G\,W^\top$. No $1/n$ here: by rule 4 it is in $G$ already.
#
# **The start.** Biases are 0. Weights are normal with variance $2/d$, $d$ the number of inputs ([He initialisation](glossary:He-initialisation); He et al., 2015, eq. 10): a sum of $d$ terms through a ReLU, which removes half of the signal's power, then keeps its size. Section 8 shows what other choices do.
#
# {{task:dense}}
#
# Write the start, `forward` and `backward`.

# %% [markdown] lang="ru"
# **Теперь вывод**, в индексах. Поскольку $y_{ij} = \sum_a x_{ia} w_{aj} + b_j$, вес $w_{aj}$ используется по разу для каждого примера $i$, и его градиенты складываются:
#
# $$\frac{\partial L}{\partial w_{aj}} = \sum_i x_{ia}\, g_{ij}, \qquad
# \frac{\partial L}{\partial b_j} = \sum_i g_{ij}, \qquad
# \frac{\partial L}{\partial x_{ia}} = \sum_j g_{ij}\, w_{aj}.$$
#
# Первое — это $X^\top G$, последнее — $G\,W^\top$. Множителя $1/n$ здесь нет: по правилу 4 он уже внутри $G$.
#
# **Начальные значения.** Смещения — нули. Веса нормальные с дисперсией $2/d$, где $d$ — число входов ([инициализация Хе](glossary:He-initialisation), He initialisation; He и др., 2015, формула 10): сумма $d$ слагаемых, пройдя через ReLU, который убирает половину мощности сигнала, сохраняет свой масштаб. Что бывает при другом выборе, покажет раздел 8.
#
# {{task:dense}}
#
# Напишите начальные значения, `forward` и `backward`.


# %% solution="dense"
class Dense(Layer):
    """Affine map of every row, x @ weight + bias."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator) -> None:
        """params: weight (inputs, outputs), variance 2 / inputs; bias (outputs,), zeros."""
        super().__init__()
        ### BEGIN SOLUTION
        deviation = np.sqrt(2.0 / inputs)
        self.params["weight"] = deviation * rng.normal(size=(inputs, outputs))
        self.params["bias"] = np.zeros(outputs)
        ### END SOLUTION

    def forward(self, x: np.ndarray) -> np.ndarray:
        """x: (n, inputs) -> (n, outputs)."""
        ### BEGIN SOLUTION
        self.x = x
        return x @ self.params["weight"] + self.params["bias"]
        ### END SOLUTION

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        """grad_output: (n, outputs) -> dL/dx, (n, inputs). Fills grads: weight and bias."""
        ### BEGIN SOLUTION
        self.grads["weight"] = self.x.T @ grad_output
        self.grads["bias"] = grad_output.sum(axis=0)
        return grad_output @ self.params["weight"].T
        ### END SOLUTION


# %% test="dense" points=1 difficulty=2 minutes=15
layer = Dense(2, 3, np.random.default_rng(0))
check.equal(layer.params["weight"].shape, (2, 3), "Dense(2, 3, rng).params['weight'].shape")
check.close(layer.params["bias"], np.zeros(3), "Dense(2, 3, rng).params['bias']")
layer.params["weight"][:] = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
layer.params["bias"][:] = [0.5, 0.0, -0.5]
check.close(layer.forward(np.array([[1.0, 10.0]])), [[41.5, 52.0, 62.5]], "forward([[1, 10]])")
check.close(
    layer.backward(np.array([[1.0, 0.0, 2.0]])),
    [[7.0, 16.0]],
    "backward([[1, 0, 2]])",
    why="it returns the gradient of the input",
)
check.close(layer.grads["weight"], [[1, 0, 2], [10, 0, 20]], "grads['weight'] after it")
check.close(layer.grads["bias"], [1, 0, 2], "grads['bias'] after it")
### BEGIN HIDDEN TESTS
rng = check.rng("dense")


def affine(x, weight, bias):
    """An oracle in plain sums."""
    rows, inputs = x.shape
    return np.array(
        [
            [sum(x[i, a] * weight[a, j] for a in range(inputs)) + bias[j] for j in range(len(bias))]
            for i in range(rows)
        ]
    )


for n_rows, n_in, n_out in [(1, 1, 1), (4, 3, 2), (3, 3, 3), tuple(rng.integers(2, 7, size=3))]:
    layer = Dense(n_in, n_out, rng)
    layer.params["bias"][:] = rng.normal(size=n_out)
    weight, bias = layer.params["weight"].copy(), layer.params["bias"].copy()
    # The second pass shows whether the gradients of the first one are still in there.
    for _ in range(2):
        given, upstream = rng.normal(size=(n_rows, n_in)), rng.normal(size=(n_rows, n_out))
        kept, kept_upstream = given.copy(), upstream.copy()
        check.close(
            layer.forward(given), affine(given, weight, bias), "Dense.forward(x)", why="it is xW + b"
        )
        grad_input = layer.backward(upstream)
        check.gradient(
            lambda z, g=upstream, w=weight, b=bias: np.sum(affine(z, w, b) * g),
            given,
            grad_input,
            "Dense.backward(grad_output)",
        )
        check.gradient(
            lambda w, g=upstream, z=given, b=bias: np.sum(affine(z, w, b) * g),
            weight,
            layer.grads["weight"],
            "grads['weight']",
            why="it agrees with central differences: a sum over the batch, of the last backward",
        )
        check.gradient(
            lambda b, g=upstream, z=given, w=weight: np.sum(affine(z, w, b) * g),
            bias,
            layer.grads["bias"],
            "grads['bias']",
            why="it agrees with central differences: a sum over the batch, of the last backward",
        )
        check.equal(given, kept, "x after forward", why="arguments are left as they were")
        check.equal(upstream, kept_upstream, "grad_output after backward", why="left as it was")
    check.equal(layer.params["weight"], weight, "params after backward", why="only SGD changes them")
seed = int(rng.integers(1_000_000))
source = np.random.default_rng(seed)
wide, again = Dense(400, 150, source), Dense(400, 150, source)
check.close(
    wide.params["weight"].var() * 400, 2.0, "variance of the weights × inputs", rtol=0.05,
    why="He: the variance is 2 / inputs",
)  # fmt: skip
check.that(abs(wide.params["weight"].mean()) < 0.003, "the weights have mean 0")
check.that(
    abs(np.corrcoef(wide.params["weight"].ravel(), again.params["weight"].ravel())[0, 1]) < 0.1,
    "two layers made with one generator get different weights",
)
check.equal(
    Dense(400, 150, np.random.default_rng(seed)).params["weight"],
    wide.params["weight"],
    "Dense made twice from the same seed",
    why="all randomness comes from rng",
)
check.equal(wide.params["bias"], np.zeros(150), "params['bias'] of a new layer")
### END HIDDEN TESTS

# %% mutant="dense" why="averages over the batch a second time"
# - self.grads["weight"] = self.x.T @ grad_output
# + self.grads["weight"] = self.x.T @ grad_output / len(self.x)

# %% mutant="dense" why="the other order: the gradient of the input comes out transposed"
# - return grad_output @ self.params["weight"].T
# + return self.params["weight"] @ grad_output.T

# %% mutant="dense" why="a transpose in both places or in none: right for square batches only"
# - self.grads["weight"] = self.x.T @ grad_output
# + self.grads["weight"] = grad_output.T @ self.x

# %% mutant="dense" why="forgets the bias"
# - return x @ self.params["weight"] + self.params["bias"]
# + return x @ self.params["weight"]

# %% mutant="dense" why="mean instead of sum in the gradient of the bias"
# - self.grads["bias"] = grad_output.sum(axis=0)
# + self.grads["bias"] = grad_output.mean(axis=0)

# %% mutant="dense" why="keeps adding to the old gradients"
# - self.grads["weight"] = self.x.T @ grad_output
# + self.grads["weight"] = self.grads.get("weight", 0.0) + self.x.T @ grad_output

# %% mutant="dense" why="starts with variance 1 / inputs"
# - deviation = np.sqrt(2.0 / inputs)
# + deviation = np.sqrt(1.0 / inputs)

# %% mutant="dense" why="scales by the number of outputs"
# - deviation = np.sqrt(2.0 / inputs)
# + deviation = np.sqrt(2.0 / outputs)

# %% mutant="dense" why="starts every layer with the same weights"
# - self.params["weight"] = deviation * rng.normal(size=(inputs, outputs))
# + self.params["weight"] = deviation * np.random.default_rng(0).normal(size=(inputs, outputs))


# %% alternative="dense" why="uniform start of the same variance, einsum"
class Dense(Layer):
    def __init__(self, inputs, outputs, rng):
        super().__init__()
        bound = np.sqrt(6 / inputs)
        self.params = {
            "weight": rng.uniform(-bound, bound, (inputs, outputs)),
            "bias": np.zeros((outputs,)),
        }

    def forward(self, x):
        self.memory = x.copy()
        return np.einsum("ia,aj->ij", x, self.params["weight"]) + self.params["bias"]

    def backward(self, grad_output):
        self.grads = {
            "weight": np.einsum("ia,ij->aj", self.memory, grad_output),
            "bias": np.ones(len(grad_output)) @ grad_output,
        }
        return np.einsum("ij,aj->ia", grad_output, self.params["weight"])


# %%
# One dense layer, one batch: what it holds after forward and backward.
rng = np.random.default_rng(1)
layer = Dense(6, 4, rng)
batch, upstream = rng.normal(size=(9, 6)), rng.normal(size=(9, 4))
output, grad_input = layer.forward(batch), layer.backward(upstream)
shown = {
    "$X$": batch,
    "$W$": layer.params["weight"],
    "$Y$": output,
    "$G=\\partial L/\\partial Y$": upstream,
    "$\\partial L/\\partial W$": layer.grads["weight"],
    "$\\partial L/\\partial X$": grad_input,
}
figure, axes = plt.subplots(1, 6, figsize=(11, 3))
for ax, (name, matrix) in zip(axes, shown.items(), strict=True):
    ax.imshow(matrix, cmap="RdBu_r", vmin=-4, vmax=4)
    ax.set(title=name, xticks=[], yticks=[], xlabel=f"{matrix.shape[0]}×{matrix.shape[1]}")
measured = check.numerical_gradient(lambda z: np.sum(layer.forward(z) * upstream), batch)
print(f"largest error of dL/dX against central differences: {abs(grad_input - measured).max():.1e}")
plots.show("Six small matrices of a dense layer as heat maps; each gradient has the shape of its own matrix.")

# %% [markdown]
# ## 6. Dropout: learning with missing parts
# [Dropout](glossary:Dropout) (Srivastava et al., 2014) zeroes each value with probability $p$ while the network trains, so that no unit can rely on one other unit. What is left is divided by $1 - p$ at once (the paper's section 10), so that the expected value stays and nothing changes at test time:
#
# $$m_{ij} = \begin{cases} 0 & \text{with probability } p \\ \frac{1}{1-p} & \text{otherwise} \end{cases}
# \qquad y = m \odot x, \qquad \frac{\partial L}{\partial x} = m \odot \frac{\partial L}{\partial y}.$$
#
# Here and in PyTorch $p$ is the share that is *dropped*; in the paper it is the share that is kept.
#
# {{task:dropout}}
#
# A new mask $m$ at each `forward` in training; `backward` uses the mask of the last `forward`. In eval mode (`self.training` is False) the layer changes nothing.

# %% [markdown] lang="ru"
# ## 6. Дропаут: учиться, когда части не хватает
# [Дропаут](glossary:Dropout) (dropout; Srivastava и др., 2014) во время обучения обнуляет каждое значение с вероятностью $p$, чтобы ни один нейрон не полагался на какой-то один другой. Оставшееся сразу делят на $1 - p$ (раздел 10 статьи): среднее не меняется, и при проверке делать ничего не нужно:
#
# $$m_{ij} = \begin{cases} 0 & \text{с вероятностью } p \\ \frac{1}{1-p} & \text{иначе} \end{cases}
# \qquad y = m \odot x, \qquad \frac{\partial L}{\partial x} = m \odot \frac{\partial L}{\partial y}.$$
#
# Здесь, как и в PyTorch, $p$ — доля *выброшенных* значений; в статье это доля оставленных.
#
# {{task:dropout}}
#
# В режиме обучения — новая маска $m$ при каждом `forward`; `backward` берёт маску последнего `forward`. В режиме проверки (eval mode, `self.training` равно False) слой ничего не меняет.


# %% solution="dropout"
class Dropout(Layer):
    """Inverted dropout: zero with probability p, the rest divided by 1 - p."""

    def __init__(self, p: float, rng: np.random.Generator) -> None:
        """p: 0 <= p < 1. rng: where the masks come from."""
        super().__init__()
        self.p, self.rng = p, rng

    def forward(self, x: np.ndarray) -> np.ndarray:
        """x: any shape -> the same shape. In eval mode: x itself.

        Dropout(0.5, rng).forward([1, 1, 1, 1]) -> for example [0, 2, 2, 0]
        """
        ### BEGIN SOLUTION
        if not self.training:
            self.mask = 1.0
            return x
        self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
        return x * self.mask
        ### END SOLUTION

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        """grad_output: the shape of the last x -> dL/dx, the same shape."""
        ### BEGIN SOLUTION
        return grad_output * self.mask
        ### END SOLUTION


# %% test="dropout" points=0.5 difficulty=2 minutes=10
layer = Dropout(0.75, np.random.default_rng(0))
given = np.ones((40, 50))
output = layer.forward(given)
check.that(set(np.unique(output)) == {0.0, 4.0}, "Dropout(0.75): every 1 becomes 0 or 4")
check.close(
    layer.backward(3 * given), 3 * output, "backward(grad_output)", why="it uses the mask of forward"
)
layer.eval()
check.close(layer.forward(given), given, "forward(x) in eval mode", why="nothing is dropped")
### BEGIN HIDDEN TESTS
rng = check.rng("dropout")
p, seed = rng.uniform(0.15, 0.4), int(rng.integers(1_000_000))
given = rng.uniform(0.5, 2.0, size=(200, 500)) * rng.choice([-1.0, 1.0], size=(200, 500))
upstream = rng.normal(size=given.shape)
kept, kept_upstream = given.copy(), upstream.copy()
layer = Dropout(p, np.random.default_rng(seed))
output = layer.forward(given)
check.equal(given, kept, "x after forward", why="forward leaves its argument as it was")
mask = output / given
dropped = mask == 0
check.close(
    mask[~dropped],
    np.full((~dropped).sum(), 1 / (1 - p)),
    "forward(x) / x where it is not 0",
    why="what is kept is divided by 1 - p",
)
check.that(
    abs(dropped.mean() - p) < 0.02,
    "the share of zeros is p",
    details=f"{dropped.mean():.1%} of the values are 0, p is {p:.1%}",
)
check.that(
    abs(mask.mean() - 1) < 0.03,
    "the mean of the mask is 1: the expected value stays",
    details=f"its mean is {mask.mean():.3f}",
)
for axis in (0, 1):
    worst = np.abs(dropped.mean(axis=axis) - p).max()
    check.that(worst < 0.3, "every element has its own draw, not each row or column")
check.close(
    layer.backward(upstream),
    upstream * mask,
    "backward(grad_output)",
    why="it is the mask of the last forward times grad_output",
)
check.equal(upstream, kept_upstream, "grad_output after backward", why="it is left as it was")
again = layer.forward(given)
check.that((again != output).any(), "every forward in training draws a new mask")
check.close(
    layer.backward(upstream),
    upstream * (again / given),
    "backward after a second forward",
    why="it belongs to the last forward",
)
check.equal(
    Dropout(p, np.random.default_rng(seed)).forward(given),
    output,
    "forward of a second layer with the same seed",
    why="all randomness comes from rng",
)
layer.eval()
check.equal(layer.forward(given), given, "forward(x) in eval mode", why="nothing is dropped")
check.equal(
    layer.backward(upstream),
    upstream,
    "backward in eval mode",
    why="forward changed nothing, so the gradient passes unchanged",
)
layer.train()
check.that((layer.forward(given) == 0).any(), "after train() the layer drops again")
other = rng.normal(size=(3, 2, 4))
check.equal(
    Dropout(0.0, rng).forward(other), other, "Dropout(0, rng).forward(x)", why="p = 0 drops nothing"
)
### END HIDDEN TESTS

# %% mutant="dropout" why="does not rescale"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + self.mask = (self.rng.random(x.shape) >= self.p) * 1.0

# %% mutant="dropout" why="takes p for the share that is kept"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + self.mask = (self.rng.random(x.shape) < self.p) / self.p

# %% mutant="dropout" why="draws another mask in backward"
# - return grad_output * self.mask
# + return grad_output * (self.rng.random(grad_output.shape) >= self.p) / (1 - self.p)

# %% mutant="dropout" why="one mask for all rows of the batch"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + self.mask = (self.rng.random(x.shape[1:]) >= self.p) / (1 - self.p)

# %% mutant="dropout" why="backward in eval mode uses an old mask"
# - self.mask = 1.0
# - return x
# + return x

# %% mutant="dropout" why="NumPy's global generator instead of rng"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + self.mask = (np.random.random(x.shape) >= self.p) / (1 - self.p)

# %% mutant="dropout" why="drops in eval mode too"
# - if not self.training:
# + if self.p == 0:

# %% mutant="dropout" why="forgets the mask on the way back"
# - return grad_output * self.mask
# + return grad_output


# %% alternative="dropout" why="binomial coins"
class Dropout(Layer):
    def __init__(self, p, rng):
        super().__init__()
        self.p, self.rng = p, rng

    def forward(self, x):
        keep = 1 - self.p
        coins = self.rng.binomial(1, keep, size=x.shape) if self.training else np.full(x.shape, keep)
        self.mask = coins / keep
        return self.mask * x

    def backward(self, grad_output):
        return self.mask * grad_output


# %% [markdown]
# Here are the pictures that your network will read at the end. One of them shows what your dropout does: in each mask other pixels are missing, the rest is brighter, and on average nothing has changed.

# %% [markdown] lang="ru"
# Вот картинки, которые ваша сеть в конце научится читать. На одной из них видно, что делает ваш дропаут: под каждой маской пропали свои пиксели, остальные стали ярче, а в среднем ничего не изменилось.

# %%
digits = data.load(settings["data"], profile)


def as_rows(images: np.ndarray) -> np.ndarray:
    """Pictures (n, h, w) -> rows (n, h * w) with values from 0 to 1."""
    return images.reshape(len(images), -1) / settings["brightest"]


# %%
layer = Dropout(0.4, np.random.default_rng(3))
picture = digits.x_train[5] / settings["brightest"]
drops = [layer.forward(picture) for _ in range(2000)]
layer.eval()
shown = {"picture": picture} | {f"mask {i + 1}": drops[i] for i in range(4)}
shown |= {"mean of 2000": np.mean(drops, axis=0), "eval mode": layer.forward(picture)}
for ax, (name, image) in zip(plt.subplots(1, 7, figsize=(10, 2))[1], shown.items(), strict=True):
    ax.imshow(image, vmin=0, vmax=1 / 0.6)  # one scale for all: what is kept is brighter
    ax.set_title(name, fontsize=10)
    ax.axis("off")
print(f"mean brightness: picture {picture.mean():.4f}, 2000 masks {np.mean(drops):.4f}")
plots.show(
    "A digit; four copies with different pixels missing and the others brighter; their mean over "
    "2000 masks, which looks like the digit; and eval mode, which equals it."
)

# %% [markdown]
# ## 7. Softmax and cross-entropy: the loss
# The last layer gives $k$ [logits](glossary:Logit) $z$ for each example, [softmax](glossary:Softmax) turns them into probabilities, and the [cross-entropy](glossary:Cross-entropy) looks at the one of the true class $y_i$:
#
# $$p_{ij} = \frac{e^{z_{ij}}}{\sum_l e^{z_{il}}}, \qquad L = -\frac1n \sum_{i=1}^n \log p_{i y_i}.$$
#
# Typed in as it stands, the formula breaks (*Deep Learning*, section 4.1): $e^{1000}$ is infinite, and $\log$ of a probability that was rounded to 0 is too.

# %% [markdown] lang="ru"
# ## 7. Softmax и перекрёстная энтропия: функция потерь
# Последний слой даёт для каждого примера $k$ [логитов](glossary:Logit) (logits) $z$, [softmax](glossary:Softmax) превращает их в вероятности, а [перекрёстная энтропия](glossary:Cross-entropy) (cross-entropy) смотрит на вероятность истинного класса $y_i$:
#
# $$p_{ij} = \frac{e^{z_{ij}}}{\sum_l e^{z_{il}}}, \qquad L = -\frac1n \sum_{i=1}^n \log p_{i y_i}.$$
#
# Набранная буквально, формула ломается (*Deep Learning*, раздел 4.1): $e^{1000}$ — бесконечность, и логарифм вероятности, округлённой до нуля, — тоже.

# %%
print("logits = scale · [2, 1, 0]   true class 2: exact, naive    true class 0: exact, naive")
for scale in [1, 10, 100, 400, 1000]:
    logits = scale * np.array([2.0, 1.0, 0.0])
    with np.errstate(all="ignore"):
        naive = -np.log(np.exp(logits) / np.exp(logits).sum()) + 0.0
    exact = math.log(1 + math.exp(-scale) + math.exp(-2 * scale)) + 2 * scale - logits
    cells = f"{exact[2]:16.4f} {naive[2]:10.4f} {exact[0]:16.4f} {naive[0]:10.4f}"
    print(f"{'scale = ' + str(scale):>26} {cells}")

# %% [markdown]
# The cure: adding a constant to all logits of an example changes no probability. Subtract the largest, $m_i = \max_j z_{ij}$, and never take the logarithm of a rounded probability:
#
# $$\log p_{ij} = (z_{ij} - m_i) - \log \sum_l e^{z_{il} - m_i}.$$
#
# Now the largest exponential is $e^0 = 1$, so the sum is at least 1 and at most $k$. The gradient of both steps together is the friendliest formula of deep learning:
#
# $$\frac{\partial L}{\partial z_{ij}} = \frac{p_{ij} - [\,j = y_i\,]}{n}.$$
#
# {{task:softmax_cross_entropy}}
#
# Derive it once on paper: $-\log p_{y} = \log\sum_l e^{z_l} - z_y$. Then write both passes.

# %% [markdown] lang="ru"
# Лекарство: если ко всем логитам примера прибавить одну константу, вероятности не изменятся. Вычтите наибольший, $m_i = \max_j z_{ij}$, и никогда не берите логарифм округлённой вероятности:
#
# $$\log p_{ij} = (z_{ij} - m_i) - \log \sum_l e^{z_{il} - m_i}.$$
#
# Теперь наибольшая экспонента — $e^0 = 1$, так что сумма не меньше 1 и не больше $k$. А градиент обоих шагов вместе — самая приятная формула глубокого обучения:
#
# $$\frac{\partial L}{\partial z_{ij}} = \frac{p_{ij} - [\,j = y_i\,]}{n}.$$
#
# {{task:softmax_cross_entropy}}
#
# Выведите её один раз на бумаге: $-\log p_{y} = \log\sum_l e^{z_l} - z_y$. Затем напишите оба прохода.


# %% solution="softmax_cross_entropy"
class SoftmaxCrossEntropy:
    """Softmax and the mean cross-entropy in one; the last node of the graph."""

    def forward(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """logits: (n, k), labels: (n,) class numbers -> the mean loss, a number.

        forward([[0, 0]], [1]) -> log 2. Finite for any finite logits.
        """
        ### BEGIN SOLUTION
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        self.p, self.labels = np.exp(log_p), labels
        return -log_p[np.arange(len(labels)), labels].mean()
        ### END SOLUTION

    def backward(self) -> np.ndarray:
        """dL/dlogits for the last forward, (n, k)."""
        ### BEGIN SOLUTION
        one_hot = np.eye(self.p.shape[1])[self.labels]
        return (self.p - one_hot) / len(self.labels)
        ### END SOLUTION


# %% test="softmax_cross_entropy" points=1 difficulty=2 minutes=15
loss = SoftmaxCrossEntropy()
logits, labels = np.log([[1.0, 2.0, 1.0], [3.0, 1.0, 4.0]]), np.array([1, 0])
check.close(
    loss.forward(logits, labels),
    -(np.log(2 / 4) + np.log(3 / 8)) / 2,
    "forward(log [[1, 2, 1], [3, 1, 4]], [1, 0])",
    why="the mean of -log p of the true classes",
)
check.gradient(lambda z: loss.forward(z, labels), logits, loss.backward(), "backward()")
check.close(
    loss.forward(np.array([[1000.0, 0.0]]), np.array([1])),
    1000.0,
    "forward([[1000, 0]], [1])",
    why="exact for large logits: no overflow, no logarithm of a rounded probability",
)
### BEGIN HIDDEN TESTS
rng = check.rng("softmax_cross_entropy")


def slow_loss(logits, labels):
    """An oracle row by row, with Python's own numbers."""
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        top = max(row)
        losses.append(top + math.log(sum(math.exp(v - top) for v in row)) - row[label])
    return sum(losses) / len(losses)


for n_rows, classes, kind in [(1, 2, int), (4, 4, np.int32), (7, 3, np.uint8), (5, 11, np.int64)]:
    logits = rng.normal(scale=2.0, size=(n_rows, classes))
    labels = rng.integers(classes, size=n_rows).astype(kind)
    kept, kept_labels = logits.copy(), labels.copy()
    loss = SoftmaxCrossEntropy()
    value = loss.forward(logits, labels)
    check.equal(np.shape(value), (), "shape of forward(logits, labels)", why="the loss is a number")
    check.close(
        value, slow_loss(logits, labels), "forward(logits, labels)", why="the mean over the batch"
    )
    grad = loss.backward()
    check.gradient(lambda z, y=labels: slow_loss(z, y), logits, grad, "backward()")
    check.close(
        grad.sum(axis=1), np.zeros(n_rows), "backward().sum(axis=1)", atol=1e-10,
        why="a shift of all logits changes nothing, so each row of the gradient sums to 0",
    )  # fmt: skip
    check.equal(logits, kept, "logits after both passes", why="arguments are left as they were")
    check.equal(labels, kept_labels, "labels after both passes", why="they are left as they were")
    check.close(loss.backward(), grad, "backward() once more", why="it can be called again")
    # Every row gets a shift of its own.
    shift = rng.uniform(-50, 50, size=(n_rows, 1))
    check.close(
        loss.forward(logits + shift, labels), value, "forward(logits + c, labels)",
        why="a constant added to all logits of an example changes nothing",
    )  # fmt: skip
for scale in (1e3, 1e4, -1e4):
    logits = scale * np.array([[1.0, 0.0, -0.5], [0.2, 0.1, 0.9]]) + rng.normal(size=(2, 3))
    for labels in (np.array([0, 2]), np.array([2, 1])):
        loss = SoftmaxCrossEntropy()
        check.close(
            loss.forward(logits, labels),
            slow_loss(logits, labels),
            "forward of logits near 1e4",
            why="the loss is finite and exact, also for a class with probability 0",
        )
        winner = np.eye(3)[logits.argmax(axis=1)]
        check.close(
            loss.backward(), (winner - np.eye(3)[labels]) / 2, "backward of logits near 1e4",
            atol=1e-6, why="it is (p - one-hot) / n, without NaN",
        )  # fmt: skip
### END HIDDEN TESTS

# %% mutant="softmax_cross_entropy" why="overflows: no shift"
# - shifted = logits - logits.max(axis=1, keepdims=True)
# + shifted = logits

# %% mutant="softmax_cross_entropy" why="shifts by the largest logit of the whole batch: a far lower row underflows"
# - shifted = logits - logits.max(axis=1, keepdims=True)
# + shifted = logits - logits.max()

# %% mutant="softmax_cross_entropy" why="logarithm of the rounded probability"
# - return -log_p[np.arange(len(labels)), labels].mean()
# + return -np.log(self.p[np.arange(len(labels)), labels]).mean()

# %% mutant="softmax_cross_entropy" why="sum instead of mean"
# - return -log_p[np.arange(len(labels)), labels].mean()
# + return -log_p[np.arange(len(labels)), labels].sum()

# %% mutant="softmax_cross_entropy" why="gradient without 1/n"
# - return (self.p - one_hot) / len(self.labels)
# + return self.p - one_hot

# %% mutant="softmax_cross_entropy" why="divides by the number of classes"
# - return (self.p - one_hot) / len(self.labels)
# + return (self.p - one_hot) / self.p.shape[1]

# %% mutant="softmax_cross_entropy" why="gradient with the wrong sign"
# - return (self.p - one_hot) / len(self.labels)
# + return (one_hot - self.p) / len(self.labels)

# %% mutant="softmax_cross_entropy" why="softmax over the batch instead of the classes"
# - shifted = logits - logits.max(axis=1, keepdims=True)
# - log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
# + shifted = logits - logits.max(axis=0, keepdims=True)
# + log_p = shifted - np.log(np.exp(shifted).sum(axis=0, keepdims=True))

# %% mutant="softmax_cross_entropy" why="clips the probability instead of shifting the logarithm"
# - return -log_p[np.arange(len(labels)), labels].mean()
# + return -np.log(np.maximum(self.p, 1e-12))[np.arange(len(labels)), labels].mean()


# %% alternative="softmax_cross_entropy" why="probabilities kept, subtraction at the labels"
class SoftmaxCrossEntropy:
    def forward(self, logits, labels):
        z = logits - np.max(logits, axis=-1, keepdims=True)
        exp = np.exp(z)
        norm = exp.sum(axis=-1)
        self.grad = exp / norm[:, None]
        rows = np.arange(logits.shape[0])
        self.grad[rows, labels] -= 1
        self.grad /= logits.shape[0]
        return float(np.mean(np.log(norm) - z[rows, labels]))

    def backward(self):
        return self.grad


# %%
# Three examples with the true class 1: unsure, right, confidently wrong.
loss = SoftmaxCrossEntropy()
examples = {"unsure": [0.5, 0.3, 0.0], "right": [0.0, 4.0, 1.0], "confidently wrong": [0, 0, 5.0]}
figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), sharey=True)
for ax, (name, logits) in zip(axes, examples.items(), strict=True):
    value = loss.forward(np.array([logits]), np.array([1]))
    grad = loss.backward()[0]
    probability = grad + np.eye(3)[1]
    ax.bar(np.arange(3) - 0.2, probability, 0.4, color=plots.VALUE, label="p")
    ax.bar(np.arange(3) + 0.2, grad, 0.4, color=plots.GRADIENT, label="gradient p − one-hot")
    ax.set(title=f"{name}: L = {value:.2f}", xticks=range(3), xlabel="class (1 is true)")
axes[1].legend(frameon=False, fontsize=9, loc="lower right")
plots.show(
    "Bars of probabilities and gradients for three examples: the gradient is negative at the true "
    "class, positive elsewhere, small for the right answer and near ±1 for the confidently wrong."
)

# %% [markdown]
# ## 8. Sequential: layers in a row
# The chain rule for a stack of layers: forward from first to last, backward from last to first, each layer hands its input gradient to the one before it. A `Sequential` is itself a `Layer`, so stacks can be nested.
#
# {{task:sequential}}
#
# `parameters()` and `gradients()` give lists in the same order, first layer first; they hold the layers' own arrays, not copies. `train(mode)` reaches every layer.

# %% [markdown] lang="ru"
# ## 8. Sequential: слои подряд
# Цепное правило для стопки слоёв: вперёд — от первого к последнему, назад — от последнего к первому, и каждый слой передаёт градиент своего входа предыдущему. `Sequential` — сам тоже `Layer`, поэтому стопки можно вкладывать.
#
# {{task:sequential}}
#
# `parameters()` и `gradients()` возвращают списки в одном порядке, начиная с первого слоя; в них сами массивы слоёв, а не копии. `train(mode)` доходит до каждого слоя.


# %% solution="sequential"
class Sequential(Layer):
    """Layers one after another, any number of them; none at all changes nothing."""

    def __init__(self, *layers: Layer) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The input of the first layer -> the output of the last."""
        ### BEGIN SOLUTION
        for layer in self.layers:
            x = layer.forward(x)
        return x
        ### END SOLUTION

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        """The gradient of the last output -> the gradient of the first input."""
        ### BEGIN SOLUTION
        for layer in reversed(self.layers):
            grad_output = layer.backward(grad_output)
        return grad_output
        ### END SOLUTION

    def parameters(self) -> list[np.ndarray]:
        """The parameters of all layers (each layer has parameters() itself)."""
        ### BEGIN SOLUTION
        return [array for layer in self.layers for array in layer.parameters()]
        ### END SOLUTION

    def gradients(self) -> list[np.ndarray]:
        """Their gradients, in the same order."""
        ### BEGIN SOLUTION
        return [array for layer in self.layers for array in layer.gradients()]
        ### END SOLUTION

    def train(self, mode: bool = True) -> None:
        """Set the mode of this layer and of all layers in it; eval() calls train(False)."""
        ### BEGIN SOLUTION
        self.training = mode
        for layer in self.layers:
            layer.train(mode)
        ### END SOLUTION


# %% test="sequential" points=1 difficulty=2 minutes=10
class Line(Layer):
    """y = slope * x + shift, a slope and a shift for each column: a layer to test with."""

    def __init__(self, slope, shift) -> None:
        super().__init__()
        self.params = {"slope": np.array(slope), "shift": np.array(shift)}

    def forward(self, x):
        self.x = x
        return self.params["slope"] * x + self.params["shift"]

    def backward(self, grad_output):
        slope = (grad_output * self.x).sum(axis=0)
        self.grads = {"slope": slope, "shift": grad_output.sum(axis=0)}
        return grad_output * self.params["slope"]


class RollSquare(Layer):
    """Each column moves one to the right and is squared; no parameters."""

    def forward(self, x):
        self.rolled = np.roll(x, 1, axis=1)
        return self.rolled**2

    def backward(self, grad_output):
        return np.roll(2 * self.rolled * grad_output, -1, axis=1)


net = Sequential(Line([2.0, 5.0], [1.0, 0.0]), RollSquare(), Line([3.0, 1.0], [0.0, 0.0]))
check.close(
    net.forward(np.ones((1, 2))),
    [[75, 9]],
    "forward([[1, 1]])",
    why="the layers give [3, 5], then [25, 9], then [75, 9]",
)
check.close(
    net.backward(np.ones((1, 2))),
    [[12, 150]],
    "backward([[1, 1]])",
    why="on the way back the gradient is [3, 1], then [6, 30], then [12, 150]",
)
check.close(net.parameters(), [[2, 5], [1, 0], [3, 1], [0, 0]], "parameters()", why="first layer first")
check.close(
    net.gradients(), [[6, 30], [6, 30], [25, 9], [1, 1]], "gradients()", why="in the order of parameters()"
)
net.eval()
check.that(not any(layer.training for layer in net.layers), "eval() reaches every layer")
### BEGIN HIDDEN TESTS
rng = check.rng("sequential")
given = rng.normal(size=(2, 3))
check.equal(Sequential().forward(given), given, "Sequential().forward(x)", why="no layer, no change")
check.equal(Sequential().backward(given), given, "Sequential().backward(g)")
check.equal(Sequential().parameters(), [], "Sequential().parameters()")
for depth in (1, 2, 5):
    layers = []
    for _ in range(depth):
        layers += [Line(rng.uniform(0.3, 0.7, 3), rng.uniform(0.2, 0.5, 3)), RollSquare()]
    inner = Sequential(*layers[2:])
    net = Sequential(*layers[:2], inner)  # a stack in a stack
    values = [layer.params[name] for layer in layers[::2] for name in ("slope", "shift")]

    def by_hand(x, numbers):
        for slope, shift in numbers.reshape(-1, 2, 3):
            x = (slope * x + shift)[:, [2, 0, 1]] ** 2
        return x

    for _ in range(2):  # the second pass must not see anything of the first
        given, upstream = rng.uniform(0.2, 0.9, size=(2, 3)), rng.uniform(0.5, 1.5, size=(2, 3))
        kept = given.copy()
        numbers = np.array(values)
        check.close(
            net.forward(given), by_hand(given, numbers), "Sequential.forward(x)",
            why="each layer takes the output of the one before it",
        )  # fmt: skip
        check.gradient(
            lambda z, v=numbers, g=upstream: np.sum(by_hand(z, v) * g),
            given,
            net.backward(upstream),
            "Sequential.backward(grad_output)",
            atol=1e-9,
        )
        check.gradient(
            lambda v, z=given, g=upstream: np.sum(by_hand(z, v) * g),
            numbers,
            net.gradients(),
            "Sequential.gradients()",
            atol=1e-9,
        )
        check.equal(given, kept, "x after both passes", why="arguments are left as they were")
    check.that(
        len(net.parameters()) == len(values)
        and all(a is b for a, b in zip(net.parameters(), values, strict=True)),
        "parameters() holds the layers' own arrays, all of them, first layer first",
    )
    for mode in (False, True, False):
        net.train(mode)
        check.that(
            all(layer.training is mode for layer in [net, inner, *layers]),
            "train(mode) sets the mode of the stack and of every layer, nested ones too",
        )
    net.train()
    check.that(
        all(layer.training is True for layer in [net, inner, *layers]),
        "train() without an argument switches training on",
    )
### END HIDDEN TESTS

# %% mutant="sequential" why="backward from first to last"
# - for layer in reversed(self.layers):
# + for layer in self.layers:

# %% mutant="sequential" why="every layer gets the first gradient instead of its own"
# - for layer in reversed(self.layers):
# -     grad_output = layer.backward(grad_output)
# - return grad_output
# + result = grad_output
# + for layer in reversed(self.layers):
# +     result = layer.backward(grad_output)
# + return result

# %% mutant="sequential" why="gradients in the opposite order of the parameters"
# - return [array for layer in self.layers for array in layer.gradients()]
# + return [array for layer in reversed(self.layers) for array in layer.gradients()]

# %% mutant="sequential" why="copies: updates would be lost"
# - return [array for layer in self.layers for array in layer.parameters()]
# + return [array.copy() for layer in self.layers for array in layer.parameters()]

# %% mutant="sequential" why="reads params, which a nested stack does not have"
# - return [array for layer in self.layers for array in layer.parameters()]
# + return [array for layer in self.layers for array in layer.params.values()]

# %% mutant="sequential" why="the layers are not told of the mode"
# - for layer in self.layers:
# -     layer.train(mode)
# + pass

# %% mutant="sequential" why="can switch off, but never on again"
# - layer.train(mode)
# + layer.eval()

# %% mutant="sequential" why="forgets its own mode"
# - self.training = mode
# - for layer in self.layers:
# + for layer in self.layers:


# %% alternative="sequential" why="loops by index, growing lists"
class Sequential(Layer):
    def __init__(self, *layers):
        super().__init__()
        self.layers = layers

    def forward(self, x):
        for i in range(len(self.layers)):
            x = self.layers[i].forward(x)
        return x

    def backward(self, grad_output):
        for i in range(len(self.layers) - 1, -1, -1):
            grad_output = self.layers[i].backward(grad_output)
        return grad_output

    def parameters(self):
        found = []
        for layer in self.layers:
            found += layer.parameters()
        return found

    def gradients(self):
        found = []
        for layer in self.layers:
            found += layer.gradients()
        return found

    def train(self, mode=True):
        super().train(mode)
        for layer in self.layers:
            layer.train() if mode else layer.eval()


# %% [markdown]
# Now the check of checks: a whole network on a batch of digits, every parameter nudged both ways, against a single backward pass. And the same network with a mistake in one layer, to know what a wrong gradient looks like: not absurd at all. Many of its numbers are right, those of the layer after the mistake; only the check tells you about the others.

# %% [markdown] lang="ru"
# Теперь главная сверка: целая сеть на батче цифр, каждый параметр сдвинут в обе стороны — против одного обратного прохода. И та же сеть с ошибкой в одном слое, чтобы знать, как выглядит неверный градиент: вовсе не нелепо. Многие его числа верны — градиенты слоя, который стоит после ошибки; об остальных вам скажет только проверка.

# %%
def both_ways(net: Layer, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All gradients of a network in a row: by backpropagation, and measured."""
    loss = SoftmaxCrossEntropy()

    def loss_with(parameter: np.ndarray, value: np.ndarray) -> float:
        kept = parameter.copy()
        parameter[...] = value
        result = loss.forward(net.forward(x), y)
        parameter[...] = kept
        return result

    start = time.perf_counter()
    loss.forward(net.forward(x), y)
    net.backward(loss.backward())
    ours, middle = np.concatenate([g.ravel() for g in net.gradients()]), time.perf_counter()
    arrays = net.parameters()
    measured = [check.numerical_gradient(lambda v, p=p: loss_with(p, v), p) for p in arrays]
    print(f"{ours.size} numbers: backpropagation {1e3 * (middle - start):.2f} ms, ", end="")
    print(f"measuring {1e3 * (time.perf_counter() - middle):.0f} ms; ", end="")
    measured = np.concatenate([m.ravel() for m in measured])
    print(f"largest difference {np.abs(ours - measured).max():.0e}")
    return ours, measured


# %%
class BrokenReLU(ReLU):
    """A mistake made on purpose: every gradient passes."""

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return grad_output


figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.8))
for ax, kind in zip(axes, [ReLU, BrokenReLU], strict=True):
    rng = np.random.default_rng(0)
    batch = as_rows(digits.x_train[:16])[:, ::3]
    net = Sequential(Dense(batch.shape[1], 12, rng), kind(), Dense(12, 10, rng))
    ours, measured = both_ways(net, batch, digits.y_train[:16])
    ax.plot(measured, ours, ".", color=plots.GRADIENT, markersize=4)
    ax.axline((0, 0), slope=1, color="0.6", linewidth=1)
    ax.set(title=f"A network with {kind.__name__}", xlabel="measured gradient")
axes[0].set_ylabel("gradient by backpropagation")
plots.show(
    "Gradients by backpropagation against measured ones: all on the diagonal for your ReLU, "
    "scattered around it for the broken one."
)

# %% [markdown]
# **Why the start matters.** Take 30 layers of Dense and ReLU and look at the size of the signal on the way forward and of the gradient on the way back. A factor a little below 1 at each layer, to the 30th power, is nothing; a little above 1, an explosion ([vanishing and exploding gradients](glossary:Vanishing-and-exploding-gradients)).

# %% [markdown] lang="ru"
# **Почему важны начальные значения.** Возьмите 30 слоёв Dense и ReLU и посмотрите на размер сигнала по пути вперёд и градиента по пути назад. Множитель чуть меньше 1 на каждом слое в 30-й степени — почти ноль, чуть больше 1 — взрыв ([исчезающие и взрывающиеся градиенты](glossary:Vanishing-and-exploding-gradients), vanishing and exploding gradients).

# %%
width, depth = 100, 30
starts = {
    "0.01": 0.01,
    "sqrt(1/n)": math.sqrt(1 / width),
    "sqrt(2/n), He": math.sqrt(2 / width),
    "1.5 sqrt(2/n)": 1.5 * math.sqrt(2 / width),
}
signals, gradient_norms = {}, {}
for name, deviation in starts.items():
    rng = np.random.default_rng(0)
    stack = []
    for _ in range(depth):
        dense = Dense(width, width, rng)
        dense.params["weight"] *= deviation / math.sqrt(2 / width)
        stack += [dense, ReLU()]
    flow, signals[name], gradient_norms[name] = rng.normal(size=(64, width)), [], []
    for layer in stack:
        flow = layer.forward(flow)
        signals[name].append(np.linalg.norm(flow))
    flow = rng.normal(size=flow.shape)
    for layer in reversed(stack):
        flow = layer.backward(flow)
        gradient_norms[name].insert(0, np.linalg.norm(flow))
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
plots.curves(
    {name: (range(1, depth + 1), v[1::2]) for name, v in signals.items()},
    "Forward: norm of the output of each layer", "layer", "norm", log_y=True, ax=axes[0],
)  # fmt: skip
plots.curves(
    {name: (range(1, depth + 1), v[::2]) for name, v in gradient_norms.items()},
    "Backward: norm of dL/dx of each layer", "layer", "norm", log_y=True, ax=axes[1],
)  # fmt: skip
axes[1].legend().remove()
axes[0].legend(title="deviation of weights", frameon=False, fontsize=8, title_fontsize=8)
plots.show(
    "Norms over 30 layers on a logarithmic axis: with He's deviation signal and gradient keep their "
    "size, with smaller deviations they vanish exponentially, with a larger one they explode."
)

# %% [markdown]
# ## 9. Training
# [Stochastic gradient descent](glossary:Stochastic-gradient-descent): take a [minibatch](glossary:Minibatch), go forward, go backward, move every parameter a little against its gradient, $\theta \leftarrow \theta - \eta\, \partial L / \partial \theta$. One [epoch](glossary:Epoch) shows every example once, in a new random order.
#
# {{task:train}}
#
# In each epoch: one permutation from `rng`; batches in its order; the last one may be smaller. Update the arrays of `model.parameters()` in place. The model is in training mode meanwhile and in eval mode afterwards.

# %% [markdown] lang="ru"
# ## 9. Обучение
# [Стохастический градиентный спуск](glossary:Stochastic-gradient-descent) (stochastic gradient descent, SGD): возьмите [минибатч](glossary:Minibatch) (minibatch), пройдите вперёд, пройдите назад, сдвиньте каждый параметр немного против его градиента, $\theta \leftarrow \theta - \eta\, \partial L / \partial \theta$. За одну [эпоху](glossary:Epoch) (epoch) каждый пример показывают один раз, в новом случайном порядке.
#
# {{task:train}}
#
# В каждой эпохе: одна перестановка из `rng`; батчи в её порядке; последний может быть меньше. Меняйте массивы из `model.parameters()` на месте. Во время обучения модель в режиме обучения, после него — в режиме проверки.


# %% solution="train"
def train(
    model: Layer,
    loss,
    x: np.ndarray,
    y: np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    rng: np.random.Generator,
) -> list[float]:
    """Minibatch SGD; changes the model's parameters in place.

    loss: has forward(output, y) and backward(). x: (N, d), y: (N,), both left as they are.
    Returns the loss of every batch before its step: epochs * ceil(N / batch_size) numbers.
    """
    ### BEGIN SOLUTION
    history = []
    model.train()
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), batch_size):
            batch = order[start : start + batch_size]
            history.append(loss.forward(model.forward(x[batch]), y[batch]))
            model.backward(loss.backward())
            for parameter, gradient in zip(model.parameters(), model.gradients(), strict=True):
                parameter -= lr * gradient
    model.eval()
    return history
    ### END SOLUTION


# %% test="train" points=0.5 difficulty=3 minutes=15
class LinearModel(Layer):
    """x @ weight + bias; writes down what it is shown."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.params = {"weight": np.zeros(inputs), "bias": np.zeros(1)}
        self.batches, self.modes = [], []

    def forward(self, x):
        self.x = x
        self.batches.append(x[:, 0].tolist())
        self.modes.append(self.training)
        return x @ self.params["weight"] + self.params["bias"]

    def backward(self, grad_output):
        self.grads = {"weight": self.x.T @ grad_output, "bias": grad_output.sum(keepdims=True)}
        return np.outer(grad_output, self.params["weight"])


class SquaredError:
    """The mean of (output - y) ** 2."""

    def forward(self, output, y):
        self.error = output - y
        return np.mean(self.error**2)

    def backward(self):
        return 2 * self.error / len(self.error)


x_line = np.arange(10.0)[:, None] / 10
model = LinearModel(1)
options = {"batch_size": 4, "lr": 0.3, "rng": np.random.default_rng(0)}
history = train(model, SquaredError(), x_line, 2 * x_line[:, 0] - 1, epochs=200, **options)
check.equal(len(history), 600, "len(history) of 200 epochs of 10 examples in batches of 4")
check.close(model.params["weight"], [2], "weight fitted to y = 2x - 1", atol=0.01)
check.close(model.params["bias"], [-1], "bias fitted to y = 2x - 1", atol=0.01)
### BEGIN HIDDEN TESTS
rng = check.rng("train")
for n_examples, batch_size, epochs in [(23, 5, 3), (20, 4, 2), (9, 40, 4), (6, 1, 2), (15, 7, 0)]:
    x_all = np.column_stack([np.arange(n_examples), rng.normal(size=(n_examples, 2))])
    x_all[:, 0] = (1 + x_all[:, 0]) / n_examples  # tells the examples apart
    y_all = rng.normal(size=n_examples)
    kept_x, kept_y = x_all.copy(), y_all.copy()
    seed, lr = int(rng.integers(1_000_000)), rng.uniform(0.01, 0.1)
    runs = []
    for _ in range(2):
        model = LinearModel(3)
        weight, bias = model.params["weight"], model.params["bias"]
        model.eval()
        history = train(
            model, SquaredError(), x_all, y_all,
            epochs=epochs, batch_size=batch_size, lr=lr, rng=np.random.default_rng(seed),
        )  # fmt: skip
        runs.append(model.batches)
    check.equal(x_all, kept_x, "x after train", why="shuffle the indices, not the data")
    check.equal(y_all, kept_y, "y after train", why="shuffle the indices, not the data")
    check.that(
        model.params["weight"] is weight and model.params["bias"] is bias,
        "the parameters are changed in place, not replaced by new arrays",
    )
    full, rest = divmod(n_examples, batch_size)
    sizes = ([batch_size] * full + [rest] * (rest > 0)) * epochs
    check.equal(
        [len(batch) for batch in model.batches], sizes, "sizes of the batches",
        why="all have batch_size examples but the last of an epoch, which may be smaller",
    )  # fmt: skip
    check.that(all(model.modes), "the model is in training mode during training")
    check.that(model.training is False, "the model is in eval mode after training")
    seen = np.array([key for batch in model.batches for key in batch]).reshape(epochs, n_examples)
    check.equal(
        np.sort(seen, axis=1), np.tile(x_all[:, 0], (epochs, 1)), "examples seen in each epoch",
        why="every example exactly once",
    )  # fmt: skip
    check.that(runs[0] == runs[1], "the same rng gives the same batches: use only rng")
    if n_examples == 23:
        orders = [x_all[:, 0].tolist(), *seen.tolist()]
        different = all(a != b for i, a in enumerate(orders) for b in orders[:i])
        check.that(different, "every epoch has a new random order")
    # Replay the steps: the same batches, in plain arithmetic.
    theta, expected = np.zeros(4), []
    for batch in model.batches:
        rows = [int(np.flatnonzero(x_all[:, 0] == key)[0]) for key in batch]
        inputs = np.column_stack([x_all[rows], np.ones(len(rows))])
        residual = inputs @ theta - y_all[rows]
        expected.append(np.mean(residual**2))
        theta = theta - lr * 2 * inputs.T @ residual / len(rows)
    check.close(
        np.array(history), np.array(expected), "the returned history",
        why="one loss a batch, computed before its step, with the labels of that batch",
    )  # fmt: skip
    check.close(
        np.concatenate([weight, bias]), theta, "parameters after train",
        why="every step is parameter -= lr * gradient",
    )  # fmt: skip
### END HIDDEN TESTS

# %% mutant="train" why="climbs: wrong sign"
# - parameter -= lr * gradient
# + parameter += lr * gradient

# %% mutant="train" why="never shuffles"
# - order = rng.permutation(len(x))
# + order = np.arange(len(x))

# %% mutant="train" why="shuffles once, before the first epoch"
# - for _ in range(epochs):
# -     order = rng.permutation(len(x))
# + order = rng.permutation(len(x))
# + for _ in range(epochs):

# %% mutant="train" why="shuffles x and forgets y"
# - history.append(loss.forward(model.forward(x[batch]), y[batch]))
# + history.append(loss.forward(model.forward(x[batch]), y[start : start + batch_size]))

# %% mutant="train" why="drops the last smaller batch"
# - for start in range(0, len(x), batch_size):
# + for start in range(0, len(x) - batch_size + 1, batch_size):

# %% mutant="train" why="draws batches with replacement"
# - batch = order[start : start + batch_size]
# + batch = rng.integers(len(x), size=len(order[start : start + batch_size]))

# %% mutant="train" why="new arrays: the model never learns"
# - parameter -= lr * gradient
# + parameter = parameter - lr * gradient

# %% mutant="train" why="divides by the batch size once more"
# - parameter -= lr * gradient
# + parameter -= lr * gradient / len(batch)

# %% mutant="train" why="stays in training mode"
# - model.eval()
# + pass

# %% mutant="train" why="takes the loss after the step"
# - history.append(loss.forward(model.forward(x[batch]), y[batch]))
# - model.backward(loss.backward())
# - for parameter, gradient in zip(model.parameters(), model.gradients(), strict=True):
# -     parameter -= lr * gradient
# + loss.forward(model.forward(x[batch]), y[batch])
# + model.backward(loss.backward())
# + for parameter, gradient in zip(model.parameters(), model.gradients(), strict=True):
# +     parameter -= lr * gradient
# + history.append(SquaredError().forward(x[batch] @ model.params["weight"] + model.params["bias"], y[batch]))


# %% alternative="train" why="shuffles an index array, splits it, np.subtract in place"
def train(model, loss, x, y, *, epochs, batch_size, lr, rng):
    index, losses = np.arange(len(x)), []
    model.train(True)
    for _ in range(epochs):
        rng.shuffle(index)
        for rows in np.split(index, range(batch_size, len(x), batch_size)):
            losses.append(float(loss.forward(model.forward(x[rows]), y[rows])))
            model.backward(loss.backward())
            for p, g in zip(model.parameters(), model.gradients(), strict=True):
                np.subtract(p, lr * g, out=p)
    model.train(False)
    return losses


# %%
# The same small network, the same data, three learning rates.
x_few, y_few = as_rows(digits.x_train[:1200]), digits.y_train[:1200]
losses = {}
for lr in [0.001, 0.3, 6.0]:
    rng = np.random.default_rng(0)
    net = Sequential(Dense(x_few.shape[1], 32, rng), ReLU(), Dense(32, 10, rng))
    steps = train(net, SoftmaxCrossEntropy(), x_few, y_few, epochs=15, batch_size=30, lr=lr, rng=rng)
    losses[f"lr = {lr:g}"] = np.reshape(steps, (15, -1)).mean(axis=1)
    hidden = net.layers[1].forward(net.layers[0].forward(x_few))
    dead = (hidden == 0).all(axis=0)
    print(f"lr = {lr:g}: {dead.sum()} of 32 hidden units are 0 for every example")
ax = plots.curves(losses, "Too small, right, too large", "epoch", "mean loss of the epoch", log_y=True)
ax.axhline(math.log(10), color="0.5", linestyle=":")
ax.text(14, math.log(10) * 1.08, "guessing: log 10", ha="right", color="0.4")
plots.show(
    "Training loss over 15 epochs: with a small learning rate it hardly falls, with the right one "
    "it falls steadily, with a large one it jumps and then stays at the loss of guessing."
)

# %% [markdown]
# Too small: the loss creeps. Too large: one of the first steps throws the hidden units so far that their input is negative for every example. ReLU then passes no gradient (section 4), so they never come back: they are *dead*, and the network can only guess.

# %% [markdown] lang="ru"
# Слишком мало — потери еле ползут. Слишком много — один из первых шагов отбрасывает скрытые нейроны так далеко, что их вход отрицателен для каждого примера. Тогда ReLU не пропускает градиент (раздел 4), и нейроны уже не возвращаются: они *мертвы* (dead ReLU), и сети остаётся только угадывать.

# %% [markdown]
# ## 10. A network of any depth
# Put it together: a [multilayer perceptron](glossary:Multilayer-perceptron) (MLP) is Dense, ReLU, Dropout again and again, and a last Dense that gives the logits. After the last layer comes nothing: ReLU would cut off negative logits, and dropout would delete classes.
#
# {{task:mlp}}
#
# `mlp([64, 32, 16, 10], rng)` is a network for 64 inputs, two hidden layers and 10 classes. The check then trains your network, with your layers and your loop, on data that it splits itself, and wants 95 % of the held-out digits (profile `full`: 97.5 % of MNIST's official test set).

# %% [markdown] lang="ru"
# ## 10. Сеть любой глубины
# Соберите всё вместе: [многослойный перцептрон](glossary:Multilayer-perceptron) (multilayer perceptron, MLP) — это Dense, ReLU, Dropout снова и снова, а в конце Dense, который даёт логиты. После него не идёт ничего: ReLU отрезал бы отрицательные логиты, а дропаут вычёркивал бы классы.
#
# {{task:mlp}}
#
# `mlp([64, 32, 16, 10], rng)` — сеть с 64 входами, двумя скрытыми слоями и 10 классами. Проверка затем обучает вашу сеть — с вашими слоями и вашим циклом — на данных, которые делит сама, и ждёт 95 % верных ответов на отложенных цифрах (в профиле `full` — 97,5 % на официальной тестовой части MNIST).


# %%
def accuracy(model: Layer, x: np.ndarray, y: np.ndarray) -> float:
    """The share of rows of x whose largest logit is that of class y; for a model in eval mode."""
    return float(np.mean(model.forward(x).argmax(axis=1) == y))


# %% solution="mlp"
def mlp(sizes: list[int], rng: np.random.Generator, dropout: float = 0.0) -> Sequential:
    """A multilayer perceptron, in training mode.

    sizes: inputs, hidden layers (any number, also none), classes. dropout: p after every hidden
    ReLU. mlp([4, 3, 2], rng) -> Dense(4, 3), ReLU, Dropout(0), Dense(3, 2).
    """
    ### BEGIN SOLUTION
    *hidden, classes = sizes
    layers = []
    for inputs, outputs in pairwise(hidden):
        layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(dropout, rng)]
    return Sequential(*layers, Dense(hidden[-1], classes, rng))
    ### END SOLUTION


# %% test="mlp" points=0.5 difficulty=2 minutes=10
model = mlp([5, 7, 4, 3], np.random.default_rng(0))
check.equal(
    [array.shape for array in model.parameters()],
    [(5, 7), (7,), (7, 4), (4,), (4, 3), (3,)],
    "shapes of mlp([5, 7, 4, 3], rng).parameters()",
)
### BEGIN HIDDEN TESTS
rng = check.rng("mlp")
for sizes in ([4, 3], [3, 6, 2], [2, 9, 8, 7, 6, 5]):
    for p in (0.0, 0.6):
        model = mlp(sizes, rng, p)
        model.eval()
        arrays = model.parameters()
        for array in arrays[1::2]:
            array[:] = rng.normal(size=array.shape)
        given = rng.normal(size=(30, sizes[0]))
        expected = given
        for i in range(0, len(arrays), 2):
            expected = expected @ arrays[i] + arrays[i + 1]
            if i + 2 < len(arrays):
                expected = np.maximum(expected, 0)
        check.equal(len(arrays), 2 * len(sizes) - 2, "number of arrays in mlp(sizes, rng)")
        check.close(
            model.forward(given), expected, "mlp(sizes, rng).forward(x) in eval mode",
            why="a ReLU after every Dense but the last",
        )  # fmt: skip
# Weights of 1 and of the identity make the masks visible in the output.
for hidden_layers in (1, 2):
    model = mlp([3] + [40] * (hidden_layers + 1), rng, 0.3)
    first, *others = model.parameters()[::2]
    first[:] = 1.0
    for array in others:
        array[:] = np.eye(40)
    output = model.forward(np.ones((500, 3)))
    dropped = output == 0
    check.that(
        abs(dropped.mean() - (1 - 0.7**hidden_layers)) < 0.05,
        "in training, dropout acts once after every hidden layer, with the p that was given",
    )
    check.close(
        output[~dropped],
        np.full((~dropped).sum(), 3 / 0.7**hidden_layers),
        "outputs that were not dropped",
        why="dropout acts on hidden layers only, not on inputs or logits",
    )
quiet = mlp([3, 40, 40], rng)
given = rng.normal(size=(5, 3))
check.close(
    quiet.forward(given), quiet.forward(given), "mlp(sizes, rng).forward(x) in training mode, twice",
    why="without a third argument nothing is dropped",
)  # fmt: skip
### END HIDDEN TESTS
rng = check.rng("mlp training")
pictures = data.load(settings["data"], profile, quiet=True)
x_all = as_rows(np.concatenate([pictures.x_train, pictures.x_test]))
y_all = np.concatenate([pictures.y_train, pictures.y_test])
if profile == "full":  # the official split
    folds, wanted = [np.arange(len(pictures.y_train), len(y_all))], 0.975
else:  # cross-validation: every digit is held out once
    folds, wanted = np.array_split(rng.permutation(len(y_all)), 3), 0.95
right = []
for held in folds:
    x_learn, y_learn = np.delete(x_all, held, axis=0), np.delete(y_all, held)
    model = mlp([x_all.shape[1], *settings["hidden"], 10], rng, settings["dropout"])
    for lr in settings["rates"]:
        options = {"epochs": 1, "batch_size": settings["batch_size"], "lr": lr, "rng": rng}
        train(model, SoftmaxCrossEntropy(), x_learn, y_learn, **options)
    right += [accuracy(model, x_all[held], y_all[held])]
print(f"accuracy on held-out digits: {np.mean(right):.2%}")
check.that(np.mean(right) >= wanted, f"the network reads at least {wanted:.1%} of unseen digits")

# %% mutant="mlp" why="no nonlinearity: a deep linear model"
# - layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(dropout, rng)]
# + layers += [Dense(inputs, outputs, rng), Dropout(dropout, rng)]

# %% mutant="mlp" why="ReLU on the logits"
# - return Sequential(*layers, Dense(hidden[-1], classes, rng))
# + return Sequential(*layers, Dense(hidden[-1], classes, rng), ReLU())

# %% mutant="mlp" why="dropout on the logits"
# - return Sequential(*layers, Dense(hidden[-1], classes, rng))
# + return Sequential(*layers, Dense(hidden[-1], classes, rng), Dropout(dropout, rng))

# %% mutant="mlp" why="dropout on the pixels"
# - return Sequential(*layers, Dense(hidden[-1], classes, rng))
# + return Sequential(Dropout(dropout, rng), *layers, Dense(hidden[-1], classes, rng))

# %% mutant="mlp" why="forgets the dropout"
# - layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(dropout, rng)]
# + layers += [Dense(inputs, outputs, rng), ReLU()]

# %% mutant="mlp" why="ignores its argument p"
# - layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(dropout, rng)]
# + layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(0.5, rng)]

# %% mutant="mlp" why="one ReLU object for all layers: it remembers only the last input"
# - layers = []
# + layers, relu = [], ReLU()
# - layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(dropout, rng)]
# + layers += [Dense(inputs, outputs, rng), relu, Dropout(dropout, rng)]


# %% alternative="mlp" why="nested stacks, dropout only where it is wanted"
def mlp(sizes, rng, dropout=0.0):
    blocks = []
    for i in range(len(sizes) - 2):
        block = [Dense(sizes[i], sizes[i + 1], rng), ReLU()]
        blocks.append(Sequential(*block, Dropout(dropout, rng)) if dropout else Sequential(*block))
    return Sequential(*blocks, Dense(sizes[-2], sizes[-1], rng))


# %% [markdown]
# **What depth buys.** Two spirals: no straight line separates them. Watch the border as hidden layers are added.

# %% [markdown] lang="ru"
# **Что даёт глубина.** Две спирали: никакая прямая их не разделит. Посмотрите, как меняется граница с добавлением скрытых слоёв.


# %%
def spirals(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two spirals with n points each: x (2n, 2), y (2n,)."""
    angle = np.sqrt(rng.uniform(0.02, 1, size=n)) * 3 * np.pi
    arm = np.stack([np.cos(angle), np.sin(angle)], axis=1) * angle[:, None] / 4
    noise = rng.normal(scale=0.08, size=(2 * n, 2))
    return np.concatenate([arm, -arm]) + noise, np.repeat([0, 1], n)


x_toy, y_toy = spirals(200, np.random.default_rng(0))
figure, axes = plt.subplots(1, 4, figsize=(12, 3.3))
for ax, hidden in zip(axes, [[], [32], [32, 32], [32, 32, 32]], strict=True):
    rng = np.random.default_rng(1)
    net = mlp([2, *hidden, 2], rng)
    train(net, SoftmaxCrossEntropy(), x_toy, y_toy, epochs=150, batch_size=32, lr=0.15, rng=rng)
    title = f"{len(hidden)} hidden layers: {accuracy(net, x_toy, y_toy):.0%}"
    plots.decision_regions(
        lambda z, net=net: 1 / (1 + np.exp(net.forward(z) @ [1.0, -1.0])), x_toy, y_toy, title, ax=ax
    )
plots.show(
    "Two spirals and the regions of networks with 0 to 3 hidden layers: a straight border at "
    "first, then borders that wind with the spirals."
)

# %% [markdown]
# ## 11. Your network reads digits
# The last training, epoch by epoch, on the data set's own split; for the last epochs the learning rate is ten times smaller, and the curves calm down. Then look closer than one number: where does it err, how sure is it when it errs, and what did the first weights learn to look at?

# %% [markdown] lang="ru"
# ## 11. Ваша сеть читает цифры
# Последнее обучение, эпоха за эпохой, на собственном разбиении набора данных; в последних эпохах шаг обучения вдесятеро меньше, и кривые успокаиваются. А затем посмотрите пристальнее, чем на одно число: где сеть ошибается, насколько она при этом уверена и на что научились смотреть первые веса?

# %%
rng = np.random.default_rng(0)
x_learn, x_held = as_rows(digits.x_train), as_rows(digits.x_test)
net = mlp([x_learn.shape[1], *settings["hidden"], 10], rng, settings["dropout"])
start = net.parameters()[0].copy()
curve = {"training": [], "held out": []}
options = {"epochs": 1, "batch_size": settings["batch_size"], "rng": rng}
for lr in progress(settings["rates"], "epochs"):
    train(net, SoftmaxCrossEntropy(), x_learn, digits.y_train, lr=lr, **options)
    curve["training"].append(1 - accuracy(net, x_learn, digits.y_train))
    curve["held out"].append(1 - accuracy(net, x_held, digits.y_test))
print(f"errors: training {curve['training'][-1]:.2%}, held out {curve['held out'][-1]:.2%}")
change = net.parameters()[0] - start
week01.classifier(curve, net.forward(x_held), digits.y_test, digits.x_test, change)
plots.show(
    "Error curves of training and held-out digits that fall over the epochs, a confusion matrix "
    "with nearly everything on its diagonal, the most confidently wrong digits, and the change of "
    "twelve units' first-layer weights as small pictures."
)

# %% [markdown]
# ## What you now hold
# - Backpropagation is the chain rule, done node by node: local derivative times the gradient that arrives; uses of one value add up.
# - A layer knows only itself; order and bookkeeping belong to `Sequential`. PyTorch does the same, and in week 02 you build that machine too.
# - A gradient without a numerical check is a guess. A loss that takes the logarithm of a rounded number breaks.
# - The scale of the start and the learning rate decide whether anything is learned at all. Better steps than plain SGD: [adaptive_sgd](adaptive_sgd.ipynb).

# %% [markdown] lang="ru"
# ## Что теперь у вас в руках
# - Обратное распространение — это цепное правило, применённое узел за узлом: локальная производная умножается на пришедший градиент, а градиенты разных использований одной величины складываются.
# - Слой знает только себя; порядок и учёт — забота `Sequential`. Так же устроен PyTorch, и на второй неделе вы построите и эту машину.
# - Градиент без численной проверки — догадка. Функция потерь, которая берёт логарифм округлённого числа, ломается.
# - Масштаб начальных весов и шаг обучения решают, научится ли сеть вообще. Шаги получше обычного SGD — в тетради [adaptive_sgd](adaptive_sgd.ipynb).

# %% [markdown]
# **Sources**
# - D. Rumelhart, G. Hinton, R. Williams. [Learning representations by back-propagating errors](https://www.nature.com/articles/323533a0). *Nature* 323, 1986.
# - I. Goodfellow, Y. Bengio, A. Courville. [Deep Learning](https://www.deeplearningbook.org/), sections 4.1 (overflow), 6.2.2.3 (softmax), 6.5 (back-propagation). MIT Press, 2016.
# - N. Srivastava et al. [Dropout: a simple way to prevent neural networks from overfitting](https://jmlr.org/papers/v15/srivastava14a.html). *JMLR* 15, 2014.
# - K. He et al. [Delving deep into rectifiers](https://arxiv.org/abs/1502.01852). ICCV 2015.
# - J. Nocedal, S. Wright. *Numerical Optimization*, 2nd edition, section 8.1. Springer, 2006.

# %% [markdown] lang="ru"
# **Источники**
# - D. Rumelhart, G. Hinton, R. Williams. [Learning representations by back-propagating errors](https://www.nature.com/articles/323533a0). *Nature* 323, 1986.
# - Я. Гудфеллоу, И. Бенджио, А. Курвилль. [Глубокое обучение](https://www.deeplearningbook.org/) (Deep Learning), разделы 4.1 (переполнение), 6.2.2.3 (softmax), 6.5 (обратное распространение). MIT Press, 2016.
# - N. Srivastava и др. [Dropout: a simple way to prevent neural networks from overfitting](https://jmlr.org/papers/v15/srivastava14a.html). *JMLR* 15, 2014.
# - K. He и др. [Delving deep into rectifiers](https://arxiv.org/abs/1502.01852). ICCV 2015.
# - J. Nocedal, S. Wright. *Numerical Optimization*, 2-е изд., раздел 8.1. Springer, 2006.
