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
# $$L = \bigl(\max(0,\; w x + b) - t\bigr)^2, \qquad x = 2;\; w = 1{,}5;\; b = -1;\; t = 0{,}5.$$
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
# Left of the minimum rounding rules, right of it what Taylor's formula leaves out: for the central quotient the third derivative. With $\varepsilon = 10^{-5}$ about ten digits are right, plenty to tell a correct gradient from a wrong one. Why not train with it, then? It takes two forward passes *for each parameter*; backpropagation takes one backward pass for all. You will time both in section 8.

# %% [markdown] lang="ru"
# Левее минимума правит округление, правее — то, что отбросила формула Тейлора: для двусторонней разности — третья производная. При $\varepsilon = 10^{-5}$ верны около десяти знаков: с запасом хватит, чтобы отличить верный градиент от ошибочного. Почему тогда не обучать прямо так? Нужны два прямых прохода *на каждый параметр*; обратному распространению хватает одного обратного прохода на все. В разделе 8 вы засечёте время и того, и другого.

# %% [markdown]
# ## 3. A layer: one local rule
# A network is a chain of [layers](glossary:Layer), and a layer needs to know only itself. The rules, once and for all:
#
# 1. A batch is a matrix: one row an example, $n$ rows.
# 2. `forward(x)` returns the output and remembers what `backward` needs.
# 3. `backward(grad_output)` receives $\partial L/\partial\,\text{output}$, writes the gradients of its parameters into `self.grads` and **returns** $\partial L/\partial\,\text{input}$. A gradient has the shape of the thing it belongs to.
# 4. $L$ is the **mean** over the batch. The factor $1/n$ stands in the loss and nowhere else; layers sum over the batch.
# 5. No function changes its arguments; only the training loop of section 9 does, which moves the parameters of its model.
# 6. Compute in `float64`, as NumPy does by default; whole numbers may come in, as `int64`.
#
# The checks that you see are public ones: passing them is no promise of full marks.

# %% [markdown] lang="ru"
# ## 3. Слой: одно локальное правило
# Сеть — цепочка [слоёв](glossary:Layer) (layers), и каждому слою достаточно знать только себя. Правила, раз и навсегда:
#
# 1. Батч — матрица: строка на пример, всего $n$ строк.
# 2. `forward(x)` возвращает выход и запоминает то, что понадобится в `backward`.
# 3. `backward(grad_output)` получает $\partial L/\partial\,\text{выход}$, записывает градиенты своих параметров в `self.grads` и **возвращает** $\partial L/\partial\,\text{вход}$. Форма градиента — та же, что у самой величины.
# 4. $L$ — **среднее** по батчу. Множитель $1/n$ стоит в функции потерь и больше нигде; слои по батчу суммируют.
# 5. Ни одна функция не меняет своих аргументов; исключение — цикл обучения из раздела 9: он сдвигает параметры своей модели.
# 6. Считайте в `float64`, как NumPy по умолчанию; на вход могут прийти и целые числа типа `int64`.
#
# Видимые вам проверки — открытая часть: пройти их ещё не значит получить полный балл.

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

        ReLU().forward(np.array([[-1, 2]])) -> [[0, 2]]
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
given = np.array([[-1.0, 7.0, 0.0], [0.3, -3.0, 4.0]])
upstream = np.array([[10.0, -20.0, 30.0], [-40.0, 50.0, 60.0]])
output = check.answer(layer.forward, given, call="forward(x)")
check.close(output, [[0, 7, 0], [0.3, 0, 4]], "forward(x)", why="give max(0, x)")
check.close(
    check.answer(layer.backward, upstream, call="backward(grad_output)"),
    [[0, -20, 0], [-40, 0, 60]],
    "backward(grad_output)",
    why="pass the gradient where x > 0, whatever its own sign, and stop it elsewhere",
)
### BEGIN HIDDEN TESTS
rng = check.rng("relu")
# What a draw may miss: numbers of any size.
wide = np.array([-1e300, 1e300, -1e-9, 1e-9, 1e4])
layer = ReLU()
check.close(
    check.answer(layer.forward, wide, call="forward of large and small numbers"),
    [0, 1e300, 0, 1e-9, 1e4],
    "forward of large and small numbers",
    atol=0,
    why="give x itself wherever x > 0",
)
check.close(
    check.answer(layer.backward, np.full(5, 1e300), call="backward of large and small numbers"),
    [0, 1e300, 0, 1e300, 1e300],
    "backward of large and small numbers",
    why="pass the gradient wherever x > 0, as it came",
)
whole = np.array([[3, -2, 0, 5]])
check.close(
    check.answer(ReLU().forward, whole, call="forward of whole numbers"),
    [[3, 0, 0, 5]],
    "forward of whole numbers",
    why="give max(0, x)",
)
layer = ReLU()
for training in (True, False):
    layer.train(training)
    mode = "in training mode" if training else "in eval mode"
    for shape in [(6,), (1, 1), (4, 7), (4, 7), (3, 2, 5)]:  # one layer for all
        given, upstream = 3 * rng.normal(size=shape), rng.normal(size=shape)
        passes = np.array([v > 0 for v in given.ravel()]).reshape(shape)
        check.close(
            check.answer(layer.forward, given, call=f"forward(x) {mode}"),
            given * passes,
            f"forward(x) {mode}",
            why="give max(0, x)",
        )
        check.close(
            check.answer(layer.backward, upstream, call=f"backward(grad_output) {mode}"),
            upstream * passes,
            f"backward(grad_output) {mode}",
            why="give grad_output where the x of the last forward is positive, 0 elsewhere",
        )
given, ones = rng.choice([-1.0, 1.0], size=(5, 6)), np.ones((5, 6))
layer = ReLU()
held = layer.forward(given)
layer.forward(-given)
check.close(held, given * (given > 0), "forward(x), kept", why="stay as it was at the next forward")
first, second = ReLU(), ReLU()
first.forward(given)
second.forward(-given)
for layer, own in zip((first, second), (given, -given), strict=True):
    check.close(
        check.answer(layer.backward, ones, call="backward of one of two layers"),
        own > 0,
        "backward of one of two layers",
        why="belong to the layer's own input: each layer has its own memory",
    )
tiny, call = np.array([1e-300, -1e-300, 2e-13]), "forward of numbers next to 0"
layer = ReLU()
output = check.answer(layer.forward, tiny, call=call)
check.close(output, [1e-300, 0, 2e-13], call, atol=0, why="give x itself wherever x > 0")
call = "backward after numbers next to 0"
passed = check.answer(layer.backward, np.array([3.0, 4.0, 7.0]), call=call)
check.close(passed, [3, 0, 7], call, why="pass the gradient wherever x > 0, however small")
layer, halves = ReLU(), np.array([[0.25, 0.5, -1.75, 2.5]])
check.answer(layer.forward, whole, call="forward of whole numbers")
call = "backward after a forward of whole numbers"
passed = check.answer(layer.backward, halves, call=call)
check.close(passed, [[0.25, 0, 0, 2.5]], call, why="pass the gradient as it came, fractions too")
call = "a second backward after one forward"
passed = check.answer(layer.backward, -3 * halves, call=call)
check.close(passed, [[-0.75, 0, 0, -7.5]], call, why="use the x of the last forward still")
held = layer.backward(halves)
layer.backward(5 * halves)
call = "backward(grad_output), kept"
check.close(held, [[0.25, 0, 0, 2.5]], call, why="stay as it was at the next backward")
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

# %% mutant="relu" why="clips at 6"
# - return np.where(self.open, x, 0.0)
# + return np.clip(x, 0.0, 6.0)

# %% mutant="relu" why="all layers share one memory"
# - self.open = x > 0
# + ReLU.open = self.open = x > 0
# - return grad_output * self.open
# + return grad_output * ReLU.open

# %% mutant="relu" why="closed for tiny inputs"
# - self.open = x > 0
# + self.open = x > 1e-6

# %% mutant="relu" why="in eval mode every gradient passes"
# - return grad_output * self.open
# + return grad_output * self.open if self.training else grad_output

# %% mutant="relu" why="a gradient of the kind of x: fractions are cut off after whole numbers"
# - self.open = x > 0
# + self.open, self.kind = x > 0, x.dtype
# - return grad_output * self.open
# + return (grad_output * self.open).astype(self.kind)

# %% mutant="relu" why="one array for the gradients of all backwards"
# - return grad_output * self.open
# + if np.shape(getattr(self, "buffer", None)) != grad_output.shape:
# +     self.buffer = np.zeros(grad_output.shape)
# + self.buffer[...] = grad_output * self.open
# + return self.buffer

# %% mutant="relu" why="backward works once for each forward"
# - return grad_output * self.open
# + passed, self.open = grad_output * self.open, True
# + return passed

# %% mutant="relu" why="closed for inputs next to 0"
# - self.open = x > 0
# + self.open = x > 1e-12


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
        """params: weight (inputs, outputs), normal, variance 2 / inputs; bias (outputs,), zeros."""
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
params = check.attribute(layer, "params", "Dense(2, 3, rng)")
shapes = {name: np.shape(array) for name, array in params.items()}
check.equal(shapes, {"weight": (2, 3), "bias": (3,)}, "the shapes in Dense(2, 3, rng).params")
check.close(params["bias"], np.zeros(3), "Dense(2, 3, rng).params['bias']")
kinds = {name: str(array.dtype) for name, array in params.items()}
check.equal(
    kinds, {"weight": "float64", "bias": "float64"}, "the dtypes in Dense(2, 3, rng).params"
)
check.fill(layer, "params", "weight", value=[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], call="the weight")
check.fill(layer, "params", "bias", value=[0.5, 0.25, -0.75], call="the bias")
call = "forward([[1, 10], [2, -3]])"
output = check.answer(layer.forward, np.array([[1.0, 10.0], [2.0, -3.0]]), call=call)
check.close(output, [[41.5, 52.25, 62.25], [-9.5, -10.75, -12.75]], call, why="give x W + b")
call = "backward([[1, 0, 2], [3, -1, 4]])"
grad_input = check.answer(layer.backward, np.array([[1.0, 0.0, 2.0], [3.0, -1.0, 4.0]]), call=call)
check.close(grad_input, [[7, 16], [13, 31]], call, why="return the gradient of the input")
grads = check.attribute(layer, "grads", "the layer")
check.equal(sorted(grads), ["bias", "weight"], "the names in grads after it")
check.close(grads["weight"], [[7, -2, 10], [1, 3, 8]], "grads['weight'] after it")
check.close(grads["bias"], [4, -1, 6], "grads['bias'] after it")
### BEGIN HIDDEN TESTS
rng = check.rng("dense")


def agree(layer, given, upstream, what):
    """Both passes, compared with sums written out."""
    kept = check.attribute(layer, "params", what)
    weight, bias = kept["weight"], kept["bias"]
    forward, backward = f"{what}.forward(x)", f"{what}.backward(grad_output)"
    sums = [[sum(row * weight[:, j]) + bias[j] for j in range(len(bias))] for row in given]
    output = check.answer(layer.forward, given, call=forward)
    check.close(output, sums, forward, why="give x W + b")
    grad_input = check.answer(layer.backward, upstream, call=backward)
    sums = [[sum(row * weight[a]) for a in range(len(weight))] for row in upstream]
    why = "return dL/dx: for each input a sum over the outputs"
    check.close(grad_input, sums, backward, why=why)
    grads = check.attribute(layer, "grads", what)
    sums = sum(np.outer(x, g) for x, g in zip(given, upstream, strict=True))
    why = "be a sum over the batch, no mean, and of the last backward alone"
    check.close(grads["weight"], sums, f"{what}.grads['weight']", why=why)
    check.close(grads["bias"], sum(upstream), f"{what}.grads['bias']", why=why)
    after = check.attribute(layer, "params", what)
    for name, array in kept.items():
        check.equal(
            after[name], array, f"{what}.params['{name}']", why="stay as it was: SGD moves it"
        )


for n_rows, n_in, n_out in [(1, 1, 1), (4, 3, 2), (3, 3, 3), tuple(rng.integers(2, 7, size=3))]:
    layer = Dense(n_in, n_out, rng)
    check.fill(layer, "params", "bias", value=rng.normal(size=n_out), call="the bias")
    # The later passes show whether something of the first one is still in there.
    for rows, training in ((n_rows, True), (n_rows, True), (n_rows + 2, True), (n_rows, False)):
        layer.train(training)
        given, upstream = rng.normal(size=(rows, n_in)), rng.normal(size=(rows, n_out))
        agree(layer, given, upstream, "Dense" if training else "Dense in eval mode")
agree(Dense(2, 3, rng), np.array([[3, -2]]), np.array([[1, 0, -4]]), "Dense of whole numbers")
layer, given = Dense(3, 2, rng), rng.normal(size=(4, 3))
held = layer.forward(given)
exact = check.plain(held, "Dense.forward(x)")
layer.forward(-given)
check.close(held, exact, "Dense.forward(x), kept", why="stay as it was at the next forward")
layer, what = Dense(2, 3, rng), "the params of a Dense after another one was made"
before = check.attribute(layer, "params", "Dense(2, 3, rng)")
Dense(3, 1, rng)
after = check.attribute(layer, "params", "Dense(2, 3, rng)")
for name, array in before.items():
    why = "stay as they were: each layer has params of its own"
    check.equal(after[name], array, f"['{name}'] in {what}", why=why)
first, second = Dense(3, 2, rng), Dense(3, 2, rng)
given, upstream = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 4, 2))
for layer, batch in ((first, given[0]), (second, given[1])):
    layer.forward(batch)
for layer, slope in ((first, upstream[0]), (second, upstream[1])):
    layer.backward(slope)
for i, layer in enumerate((first, second)):
    check.close(
        check.attribute(layer, "grads", "one of two layers")["weight"],
        given[i].T @ upstream[i],
        "grads['weight'] of one of two layers",
        why="belong to the layer's own input: each layer has its own memory",
    )
seed = int(rng.integers(1_000_000))
for n_in, n_out in ((400, 150), (30, 2000), (2, 9000), (800, 40)):
    call, source = f"Dense({n_in}, {n_out}, rng)", np.random.default_rng(seed)
    drawn = [check.attribute(Dense(n_in, n_out, source), "params", call) for _ in range(2)]
    weight, size = drawn[0]["weight"], n_in * n_out
    check.equal(drawn[0]["bias"], np.zeros(n_out), f"params['bias'] of {call}", why="start with 0")
    # Within seven standard deviations of each frequency.
    check.close(
        weight.var() * n_in, 2.0, f"variance of the weights × inputs of {call}",
        rtol=7 * np.sqrt(2 / size), why="be 2: the variance of the weights is 2 / inputs",
    )  # fmt: skip
    scaled = weight / np.sqrt(2 / n_in)
    check.that(len(np.unique(weight)) > size / 2, "draw every weight on its own, not one for many")
    check.that(abs(scaled.mean()) < 7 / np.sqrt(size), "start with weights of mean 0")
    for limit in (0.5, 1.0, 2.0, 3.0):
        share = math.erf(limit / math.sqrt(2))
        check.close(
            np.mean(np.abs(scaled) < limit), share,
            f"share of the weights within {limit:g} deviations of 0",
            rtol=0, atol=7 * math.sqrt(share * (1 - share) / size), why="be that of normal numbers",
        )  # fmt: skip
    check.that(
        abs(np.corrcoef(weight.ravel(), drawn[1]["weight"].ravel())[0, 1]) < 7 / np.sqrt(size),
        "give two layers made with one generator different weights",
    )
    again = Dense(n_in, n_out, np.random.default_rng(seed))
    check.equal(
        check.attribute(again, "params", call)["weight"], weight, f"{call} from the same seed again",
        why="take all randomness from rng",
    )  # fmt: skip
    other = check.attribute(Dense(n_in, n_out, np.random.default_rng(seed + 1)), "params", call)
    check.that((other["weight"] != weight).any(), "take all randomness from rng")
layer, call = Dense(2, 3, rng), "Dense, to nine digits"
given, upstream = np.array([[1 / 3, 1 / 7]]), np.array([[1 / 3, 1 / 7, 1 / 9]])
weight = check.attribute(layer, "params", "Dense(2, 3, rng)")["weight"]
output = check.answer(layer.forward, given, call=call)
check.close(
    output,
    given @ weight,
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
grad_input = check.answer(layer.backward, upstream, call=call)
check.close(
    grad_input,
    upstream @ weight.T,
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
layer, call = Dense(2, 3, rng), "Dense, backward after whole numbers"
check.answer(layer.forward, np.array([[3, -2], [1, 4]]), call="Dense, forward of whole numbers")
check.answer(layer.backward, np.array([[0.5, 0.25, -1.75], [0.5, 1.5, 0.125]]), call=call)
grads = check.attribute(layer, "grads", "Dense")
why = "be X^T G and the sum over the batch, with their fractions"
exact = [[2.0, 2.25, -5.125], [1.0, 5.5, 4.0]]
check.close(grads["weight"], exact, "grads['weight'] after whole numbers", why=why)
check.close(grads["bias"], [1, 1.75, -1.625], "grads['bias'] after whole numbers", why=why)
layer, why = Dense(2, 3, rng), "be right to nine digits: compute in float64"
given, upstream = np.array([[1 / 3, 1 / 7]]), np.array([[1 / 3, 1 / 7, 1 / 9]])
check.answer(layer.forward, given, call="Dense.forward(x)")
check.answer(layer.backward, upstream, call="Dense.backward(grad_output)")
grads = check.attribute(layer, "grads", "Dense")
for name, exact in (("weight", given.T @ upstream), ("bias", upstream[0])):
    call = f"grads['{name}'], to nine digits"
    check.close(grads[name], exact, call, rtol=1e-9, atol=0, why=why)


def shift(tables, by):
    """A step like one of SGD: arrays that are changed in place."""
    for table in tables:
        table += by


# Steps of SGD move the arrays of parameters(), which are taken here before all passes.
layer, given, call = Dense(5, 4, rng), rng.normal(size=(3, 5)), "Dense, forward after a step"
kept = check.attribute(layer, "params", "Dense")
arrays = layer.parameters()
for step in (1, 2, 3):
    check.answer(layer.forward, given, call="Dense.forward(x)")
    moved = {2: kept["weight"] + 0.25 * step, 1: kept["bias"] + 0.25 * step}
    shift(arrays, 0.25)
    output = check.answer(layer.forward, given, call=call)
    exact = given @ moved[2] + moved[1]
    check.close(output, exact, call, why="use the parameters as they are now, moved in place")
    back = check.answer(layer.backward, output, call="Dense, backward after a step")
    exact = output @ moved[2].T
    why = "use the weights as they are now, moved in place"
    check.close(back, exact, "Dense, backward after a step", why=why)
call = "Dense(400, 150, rng)"
weight = check.attribute(Dense(400, 150, rng), "params", call)["weight"]
for lines, length, what in ((weight.T, 400, "columns"), (weight, 150, "rows")):
    alike = np.abs(np.corrcoef(lines) - np.eye(len(lines))).max()
    check.that(alike < 7 / math.sqrt(length), f"draw every weight on its own: no two {what} alike")
    powers = (lines**2).mean(axis=1) * 400 / 2
    check.close(
        powers.std() * math.sqrt(length / 2), 1.0, f"spread of the lengths of the {what} of {call}",
        rtol=0, atol=7 / math.sqrt(len(lines)), why="be that of normal numbers, drawn one by one",
    )  # fmt: skip
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

# %% mutant="dense" why="uniform weights of the right variance"
# - self.params["weight"] = deviation * rng.normal(size=(inputs, outputs))
# + self.params["weight"] = deviation * rng.uniform(-(3**0.5), 3**0.5, size=(inputs, outputs))

# %% mutant="dense" why="one row of weights for all inputs"
# - self.params["weight"] = deviation * rng.normal(size=(inputs, outputs))
# + self.params["weight"] = deviation * np.tile(rng.normal(size=outputs), (inputs, 1))

# %% mutant="dense" why="whole numbers for a bias: no step can change it"
# - self.params["bias"] = np.zeros(outputs)
# + self.params["bias"] = np.zeros(outputs, dtype=int)

# %% mutant="dense" why="all layers share one memory"
# - self.x = x
# + Dense.x = x
# - self.grads["weight"] = self.x.T @ grad_output
# + self.grads["weight"] = Dense.x.T @ grad_output

# %% mutant="dense" why="all layers share one table of parameters"
# - deviation = np.sqrt(2.0 / inputs)
# + Dense.store = getattr(Dense, "store", {})
# + self.params, deviation = Dense.store, np.sqrt(2.0 / inputs)

# %% mutant="dense" why="scales the gradient that arrives in place"
# - self.grads["weight"] = self.x.T @ grad_output
# + grad_output *= 2
# + self.grads["weight"] = self.x.T @ grad_output

# %% mutant="dense" why="gradients of the kind of x: fractions are cut off after whole numbers"
# - self.grads["weight"] = self.x.T @ grad_output
# + self.grads["weight"] = (self.x.T @ grad_output).astype(self.x.dtype)

# %% mutant="dense" why="a gradient in single precision"
# - self.grads["weight"] = self.x.T @ grad_output
# + self.grads["weight"] = (self.x.T @ grad_output).astype(np.float32)

# %% mutant="dense" why="the bias's gradient in single precision"
# - self.grads["bias"] = grad_output.sum(axis=0)
# + self.grads["bias"] = grad_output.sum(axis=0, dtype=np.float32)

# %% mutant="dense" why="counts the bias as an input"
# - deviation = np.sqrt(2.0 / inputs)
# + deviation = np.sqrt(2.0 / (inputs + 1))

# %% mutant="dense" why="a cautious start for few inputs"
# - deviation = np.sqrt(2.0 / inputs)
# + deviation = np.sqrt(2.0 / max(inputs, 20))

# %% mutant="dense" why="a bold start for many inputs"
# - deviation = np.sqrt(2.0 / inputs)
# + deviation = np.sqrt(2.0 / min(inputs, 500))

# %% mutant="dense" why="puts copies in the place of its parameters"
# - self.x = x
# + self.x, self.params = x, {name: array.copy() for name, array in self.params.items()}

# %% mutant="dense" why="multiplies with the weights of the first forward"
# - self.x = x
# - return x @ self.params["weight"] + self.params["bias"]
# + self.x, self.first = x, getattr(self, "first", self.params["weight"].copy())
# + return x @ self.first + self.params["bias"]

# %% mutant="dense" why="half of the columns are the others with a minus"
# - self.params["weight"] = deviation * rng.normal(size=(inputs, outputs))
# + half = deviation * rng.normal(size=(inputs, (outputs + 1) // 2))
# + self.params["weight"] = np.concatenate([half, -half], axis=1)[:, :outputs].copy()

# %% mutant="dense" why="columns of one length"
# - self.params["weight"] = deviation * rng.normal(size=(inputs, outputs))
# + drawn = rng.normal(size=(inputs, outputs))
# + self.params["weight"] = np.sqrt(2) * drawn / np.linalg.norm(drawn, axis=0)


# %% alternative="dense" why="bias before weight, einsum"
class Dense(Layer):
    def __init__(self, inputs, outputs, rng):
        super().__init__()
        self.params = {
            "bias": np.zeros((outputs,)),
            "weight": rng.normal(0.0, (2 / inputs) ** 0.5, (inputs, outputs)),
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
figure, axes = plt.subplots(1, 6, figsize=(11, 3.4), width_ratios=[m.shape[1] for m in shown.values()])
for ax, (name, matrix) in zip(axes, shown.items(), strict=True):
    ax.imshow(matrix, cmap="RdBu_r", vmin=-4, vmax=4)
    ax.set_title(f"{name}\n{matrix.shape[0]}×{matrix.shape[1]}")
    ax.set_ylim(8.5, -0.5)  # one scale for all: a number is as large everywhere
    ax.axis("off")
measured = check.numerical_gradient(lambda z: np.sum(layer.forward(z) * upstream), batch)
print(f"largest error of dL/dX against central differences: {abs(grad_input - measured).max():.1e}")
plots.show(
    "Six small matrices of a dense layer as heat maps on one scale; each gradient has the shape of "
    "its own matrix."
)

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
# A new mask $m$ at each `forward` in training; `backward` uses the mask of the last `forward`. In eval mode (`self.training` is False) the layer changes nothing. A backward pass belongs to the last forward pass: a mode that was changed in between does not concern it.

# %% [markdown] lang="ru"
# ## 6. Дропаут: учиться, когда части не хватает
# [Дропаут](glossary:Dropout) (dropout; Srivastava и др., 2014) во время обучения обнуляет каждое значение с вероятностью $p$, чтобы ни один нейрон не полагался на какой-то один другой. Оставшееся сразу делят на $1 - p$ (раздел 10 статьи): среднее не меняется, и при работе готовой сети делать ничего не нужно:
#
# $$m_{ij} = \begin{cases} 0 & \text{с вероятностью } p \\ \frac{1}{1-p} & \text{иначе} \end{cases}
# \qquad y = m \odot x, \qquad \frac{\partial L}{\partial x} = m \odot \frac{\partial L}{\partial y}.$$
#
# Здесь, как и в PyTorch, $p$ — доля *выброшенных* значений; в статье это доля оставленных.
#
# {{task:dropout}}
#
# В режиме обучения — новая маска $m$ при каждом `forward`; `backward` берёт маску последнего `forward`. В режиме оценки (eval mode, `self.training` равно False) слой ничего не меняет. Обратный проход принадлежит последнему прямому: режим, который сменили между ними, его не касается.


# %% solution="dropout"
class Dropout(Layer):
    """Inverted dropout: zero with probability p, the rest divided by 1 - p."""

    def __init__(self, p: float, rng: np.random.Generator) -> None:
        """p: 0 <= p < 1. rng: where the masks come from."""
        super().__init__()
        self.p, self.rng = p, rng

    def forward(self, x: np.ndarray) -> np.ndarray:
        """x: any shape -> the same shape. In eval mode: x itself.

        Dropout(0.5, rng).forward(np.array([1, 1, 1, 1])) -> for example [0, 2, 2, 0]
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
layer = Dropout(0.6, np.random.default_rng(0))
threes = np.full((40, 50), 3)
output = check.answer(layer.forward, threes, call="Dropout(0.6, rng).forward(x)")
check.close(
    output, np.where(output == 0, 0, 7.5), "Dropout(0.6, rng).forward(x)",
    why="make every 3 either 0 or 3 / (1 - 0.6), which is 7.5",
)  # fmt: skip
check.that((output == 0).any() and (output != 0).any(), "drop some values and keep some")
grad_input = check.answer(layer.backward, 2 * threes, call="backward(grad_output)")
check.close(grad_input, 2 * output, "backward(grad_output)", why="use the mask of the last forward")
layer.eval()
output = check.answer(layer.forward, threes, call="forward(x) in eval mode")
check.close(output, threes, "forward(x) in eval mode", why="drop nothing")
### BEGIN HIDDEN TESTS
rng = check.rng("dropout")
seed = int(rng.integers(1_000_000))

for p in (rng.uniform(0.15, 0.4), 0.85):
    what = f"Dropout({p:.2f}, rng).forward(x)"
    layer = Dropout(p, np.random.default_rng(seed))
    given = rng.uniform(0.5, 2.0, size=(60, 50, 70)) * rng.choice([-1.0, 1.0], size=(60, 50, 70))
    upstream = rng.normal(size=given.shape)
    mask = check.answer(layer.forward, given, call=what) / given
    dropped = mask == 0
    check.close(
        mask, np.where(dropped, 0.0, 1 / (1 - p)), what,
        why="divide what is kept by 1 - p",
    )  # fmt: skip
    for axis in range(3):
        shares = dropped.mean(axis=axis)
        alike = np.isin(shares, [0.0, 1.0]).mean()
        check.that(alike < 0.1, "draw for every element on its own, not for rows or columns")
    deviation = math.sqrt(p * (1 - p) / given.size)
    check.close(
        dropped.mean(), p, f"share of zeros in {what}", rtol=0, atol=7 * deviation, why="be p"
    )
    check.close(
        check.answer(layer.backward, upstream, call="backward(grad_output)"),
        upstream * mask,
        "backward(grad_output)",
        why="be the mask of the last forward times grad_output",
    )
    again = check.answer(layer.forward, given[0], call=what) / given[0]
    check.that((again != mask[0]).any(), "draw a new mask at every forward in training")
    check.close(
        check.answer(layer.backward, upstream[0], call="backward after a second forward"),
        upstream[0] * again,
        "backward after a second forward",
        why="use the mask of the last forward, which had another shape",
    )
    # One value at a time, where no share can be kept exactly.
    ones = np.ones((1, 1))
    single = np.mean([check.answer(layer.forward, ones, call=what) == 0 for _ in range(1000)])
    check.close(
        single, p, f"share of zeros in 1000 calls for one value, p = {p:.2f}",
        rtol=0, atol=7 * math.sqrt(p * (1 - p) / 1000), why="be p: each value has a draw of its own",
    )  # fmt: skip
    twin, other = (
        check.answer(Dropout(p, np.random.default_rng(number)).forward, given, call=what) / given
        for number in (seed, seed + 1)
    )
    check.equal(twin, mask, "the mask of a layer with the same seed", why="come from rng alone")
    check.that((other != mask).any(), "take the mask from rng: another seed, another mask")

# After a ReLU many inputs are 0. The mask is there, too.
layer, seen = Dropout(0.5, np.random.default_rng(seed)), np.zeros((30, 40))
given = check.answer(layer.forward, seen, call="forward of zeros")
check.equal(given, seen, "forward of zeros", why="be zeros")
passed = check.answer(layer.backward, np.ones((30, 40)), call="backward after forward of zeros")
check.close(
    passed, np.where(passed == 0, 0.0, 2.0), "backward after forward of zeros",
    why="use the mask, whatever x is",
)  # fmt: skip
check.close(
    np.mean(passed == 0), 0.5, "share of zeros in backward after forward of zeros",
    rtol=0, atol=7 * 0.5 / math.sqrt(1200), why="be p, whatever x is",
)  # fmt: skip

given, upstream = rng.uniform(0.5, 2.0, size=(20, 30)), rng.normal(size=(20, 30))
seeds, call = {0.3: 1, 0.7: 2}, "forward of one of two layers"
alone = [
    check.answer(Dropout(p, np.random.default_rng(seeds[p])).forward, given, call=call) / given
    for p in seeds
]
first, second = Dropout(0.3, np.random.default_rng(1)), Dropout(0.7, np.random.default_rng(2))
masks = [check.answer(layer.forward, given, call=call) / given for layer in (first, second)]
for layer, mask, expected in zip((first, second), masks, alone, strict=True):
    check.close(mask, expected, call, why="use the layer's own p and rng")
    check.close(
        check.answer(layer.backward, upstream, call="backward of one of two layers"),
        upstream * mask,
        "backward of one of two layers",
        why="use the layer's own mask: each layer has its own memory",
    )

layer = first
mask = check.answer(layer.forward, given, call="forward in training mode") / given
layer.eval()
check.close(
    check.answer(layer.backward, upstream, call="backward after eval()"),
    upstream * mask,
    "backward after eval()",
    why="use the mask of the last forward, which was in training mode",
)
check.equal(
    check.answer(layer.forward, given, call="forward in eval mode"),
    given,
    "forward in eval mode",
    why="drop nothing",
)
for mode in ("eval mode", "training mode again"):
    check.equal(
        check.answer(layer.backward, upstream, call=f"backward in {mode}"),
        upstream,
        f"backward in {mode}",
        why="pass the gradient unchanged, as the last forward was in eval mode",
    )
    layer.train()
mask = check.answer(layer.forward, given, call="forward after train()") / given
check.that((mask == 0).any(), "drop again after train()")
other = rng.normal(size=(3, 2, 4))
check.close(
    check.answer(Dropout(0.0, rng).forward, other, call="Dropout(0, rng).forward(x)"),
    other,
    "Dropout(0, rng).forward(x)",
    why="drop nothing for p = 0",
)
given, call = 1 / np.arange(3.0, 103.0), "Dropout(0.3, rng), to nine digits"
layer = Dropout(0.3, rng)
output = check.answer(layer.forward, given, call=call)
exact = np.where(output == 0, 0, given / 0.7)
check.close(
    output, exact, call, rtol=1e-9, atol=0, why="be right to nine digits: compute in float64"
)
check.close(
    check.answer(layer.backward, given, call=call),
    exact,
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
layer, call = Dropout(0.0, rng), "backward of Dropout(0, rng)"
check.answer(layer.forward, other, call="Dropout(0, rng).forward(x)")
passed = check.answer(layer.backward, 2 * other, call=call)
check.close(passed, 2 * other, call, why="pass the gradient unchanged for p = 0")
many = np.full((100, 120), 3.0)
source, call = np.random.default_rng(seed), "forward of two layers with one rng"
layers = Dropout(0.3, source), Dropout(0.3, source)
one, two = (check.answer(layer.forward, many, call=call) == 0 for layer in layers)
check.that((one != two).any(), "draw on from rng itself: two layers with one rng, two masks")
layer, call = Dropout(0.3, rng), "Dropout(0.3, rng).forward(x)"
masks = [check.answer(layer.forward, many, call=call) == 0 for _ in range(4)]
check.that(
    all((a != b).any() for i, a in enumerate(masks) for b in masks[:i]),
    "draw a new mask at every forward in training, each of four",
)
mask = masks[0]
groups = {
    "the even columns": mask[:, ::2], "the odd columns": mask[:, 1::2],
    "the left half": mask[:, :60], "the right half": mask[:, 60:],
    "the even rows": mask[::2], "the odd rows": mask[1::2],
    "the upper half": mask[:50], "the lower half": mask[50:],
}  # fmt: skip
for what, group in groups.items():
    check.close(
        group.mean(), 0.3, f"share of zeros in {what} for p = 0.3", rtol=0,
        atol=7 * math.sqrt(0.21 / group.size), why="be p everywhere",
    )  # fmt: skip
couples = {
    "two forwards in turn": (masks[0], masks[1]),
    "the next two forwards": (masks[2], masks[3]),
    "neighbours in a row": (mask[:, ::2], mask[:, 1::2]),
    "the left and the right half": (mask[:, :60], mask[:, 60:]),
    "a row and its mirror image": (mask[:, :60], mask[:, :59:-1]),
    "neighbours in a column": (mask[::2], mask[1::2]),
    "the upper and the lower half": (mask[:50], mask[50:]),
    "a column and its mirror image": (mask[:50], mask[:49:-1]),
}
for what, (one, two) in couples.items():
    check.close(
        np.mean(one & two), 0.09, f"how often both are 0 for p = 0.3: {what}", rtol=0,
        atol=7 * math.sqrt(0.09 * 0.91 / one.size), why="be p * p: every value has its own draw",
    )  # fmt: skip
for p in (0.04, 0.95):
    call = f"Dropout({p}, rng).forward(x)"
    output = check.answer(Dropout(p, rng).forward, many, call=call)
    check.close(
        np.mean(output == 0), p, f"share of zeros in {call}", rtol=0,
        atol=7 * math.sqrt(p * (1 - p) / many.size), why="be p, a small or a large one too",
    )  # fmt: skip
    exact = np.where(output == 0, 0.0, 3 / (1 - p))
    check.close(output, exact, call, why="divide what is kept by 1 - p")
for value in (-100.0, 100.0, 1e-6):
    call = f"forward of values {value:g}"
    output = check.answer(Dropout(0.3, rng).forward, np.full((40, 50), value), call=call)
    check.close(
        np.mean(output == 0), 0.3, f"share of zeros in {call}, p = 0.3", rtol=0,
        atol=7 * math.sqrt(0.21 / 2000), why="be p, whatever x is",
    )  # fmt: skip
layer = Dropout(0.3, rng)
kept = layer.forward(many)
exact = check.plain(kept, "forward(x)").copy()
layer.forward(2 * many)
check.close(kept, exact, "forward(x), kept", why="stay as it was at the next forward")
source = np.random.default_rng(seed)
layer = Dropout(0.3, source)
layer.eval()
check.answer(layer.forward, many, call="forward in eval mode")
check.equal(
    source.random(3), np.random.default_rng(seed).random(3), "rng after forward in eval mode",
    why="be where it was: nothing is drawn in eval mode",
)  # fmt: skip
layer, call = Dropout(0.3, rng), "a second backward after one forward"
mask = check.answer(layer.forward, many, call="Dropout(0.3, rng).forward(x)") / 3
check.answer(layer.backward, many, call="backward(grad_output)")
passed = check.answer(layer.backward, 2 * many, call=call)
check.close(passed, 6 * mask, call, why="use the mask of the last forward still")
layer, call = Dropout(0.3, rng), "backward after a forward of whole numbers"
whole = np.full((30, 40), 3)
mask = check.answer(layer.forward, whole, call="forward of whole numbers") / 3
passed = check.answer(layer.backward, 0.25 * whole, call=call)
check.close(passed, 0.75 * mask, call, why="keep the fractions of the gradient")
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
# + self.mask = (self.rng.random((1, *x.shape[1:])) >= self.p) / (1 - self.p) * np.ones(x.shape)

# %% mutant="dropout" why="whole rows at once"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + self.mask = (self.rng.random((len(x), *x.ndim * [1])[: x.ndim]) >= self.p) / (1 - self.p)

# %% mutant="dropout" why="drops a share of exactly p, not each value with probability p"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + self.mask = (self.rng.permutation(x.size) >= round(self.p * x.size)) / (1 - self.p)
# + self.mask = self.mask.reshape(x.shape)

# %% mutant="dropout" why="backward in eval mode uses an old mask"
# - self.mask = 1.0
# - return x
# + return x

# %% mutant="dropout" why="backward looks at the mode of now, not at the last forward"
# - return grad_output * self.mask
# + return grad_output * self.mask if self.training else grad_output

# %% mutant="dropout" why="reads the mask off the output, where an input of 0 looks dropped"
# - return x * self.mask
# + self.mask = (x * self.mask != 0) / (1 - self.p)
# + return x * self.mask

# %% mutant="dropout" why="all layers share one mask"
# - return x * self.mask
# + Dropout.last = self.mask
# + return x * self.mask
# - return grad_output * self.mask
# + return grad_output * (Dropout.last if np.ndim(self.mask) else 1.0)

# %% mutant="dropout" why="whole numbers stay whole"
# - return x * self.mask
# + return (x * self.mask).astype(x.dtype)

# %% mutant="dropout" why="masks its argument in place"
# - return x * self.mask
# + x[...] = x * self.mask
# + return x

# %% mutant="dropout" why="NumPy's global generator instead of rng"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + self.mask = (np.random.random(x.shape) >= self.p) / (1 - self.p)

# %% mutant="dropout" why="a generator of its own instead of rng"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + self.own = getattr(self, "own", np.random.default_rng(0))
# + self.mask = (self.own.random(x.shape) >= self.p) / (1 - self.p)

# %% mutant="dropout" why="drops in eval mode too"
# - if not self.training:
# + if self.p == 0:

# %% mutant="dropout" why="forgets the mask on the way back"
# - return grad_output * self.mask
# + return grad_output

# %% mutant="dropout" why="p = 0 sets no mask"
# - if not self.training:
# -     self.mask = 1.0
# -     return x
# + if self.p == 0:
# +     return x
# + if not self.training:
# +     self.mask = 1.0
# +     return x

# %% mutant="dropout" why="a copy of the generator: two layers drop the same"
# - self.p, self.rng = p, rng
# + self.p, self.rng = p, np.random.default_rng()
# + self.rng.bit_generator.state = rng.bit_generator.state

# %% mutant="dropout" why="every second mask is the old one"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + self.turn = not getattr(self, "turn", False)
# + if self.turn or np.shape(self.mask) != x.shape or x.size == 1:
# +     self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)

# %% mutant="dropout" why="neighbours share a draw"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + half = self.rng.random((*x.shape[:-1], (x.shape[-1] + 1) // 2))
# + self.mask = (np.repeat(half, 2, axis=-1)[..., : x.shape[-1]] >= self.p) / (1 - self.p)

# %% mutant="dropout" why="both halves of a row share their draws"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + half = self.rng.random((*x.shape[:-1], (x.shape[-1] + 1) // 2))
# + half = np.concatenate([half, half], axis=-1)
# + self.mask = (half[..., : x.shape[-1]] >= self.p) / (1 - self.p)

# %% mutant="dropout" why="a row's draws are those of its mirror image"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + draws, middle = self.rng.random(x.shape), x.shape[-1] // 2
# + draws = np.where(np.arange(x.shape[-1]) < middle, draws, draws[..., ::-1])
# + self.mask = (draws >= self.p) / (1 - self.p)

# %% mutant="dropout" why="rows share their draws in twos"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + half = self.rng.random(((len(x) + 1) // 2, *x.shape[1:]))
# + self.mask = (np.repeat(half, 2, axis=0)[: len(x)] >= self.p) / (1 - self.p)

# %% mutant="dropout" why="drops more in even columns than in odd ones"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + share = self.p + 0.1 * (-1.0) ** np.arange(x.shape[-1]) * (x.shape[-1] % 2 == 0)
# + self.mask = (self.rng.random(x.shape) >= np.clip(share, 0, 0.99)) / (1 - self.p)

# %% mutant="dropout" why="takes a small p for 0"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + drop = self.p if self.p >= 0.05 else 0.0
# + self.mask = (self.rng.random(x.shape) >= drop) / (1 - drop)

# %% mutant="dropout" why="p is at most 0.9"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + drop = min(self.p, 0.9)
# + self.mask = (self.rng.random(x.shape) >= drop) / (1 - drop)

# %% mutant="dropout" why="never drops what is far below 0"
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + kept = (self.rng.random(x.shape) >= self.p) | (x < -3)
# + self.mask = kept / (1 - self.p)

# %% mutant="dropout" why="one array for the outputs of all forwards"
# - return x * self.mask
# + if np.shape(getattr(self, "buffer", None)) != x.shape:
# +     self.buffer = np.zeros(x.shape)
# + self.buffer[...] = x * self.mask
# + return self.buffer

# %% mutant="dropout" why="draws in eval mode too"
# - if not self.training:
# + draws = self.rng.random(x.shape)
# + if not self.training:
# - self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
# + self.mask = (draws >= self.p) / (1 - self.p)

# %% mutant="dropout" why="backward works once for each forward"
# - return grad_output * self.mask
# + passed, self.mask = grad_output * self.mask, 1.0
# + return passed

# %% mutant="dropout" why="a gradient of the kind of x: fractions are cut off after whole numbers"
# - return x * self.mask
# + self.kind = x.dtype
# + return x * self.mask
# - return grad_output * self.mask
# + return (grad_output * self.mask).astype(getattr(self, "kind", float))


# %% alternative="dropout" why="binomial coins"
class Dropout(Layer):
    def __init__(self, p, rng):
        super().__init__()
        self.p, self.rng = p, rng

    def forward(self, x):
        keep = 1 - self.p
        coins = (
            self.rng.binomial(1, keep, size=x.shape) if self.training else np.full(x.shape, keep)
        )
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

        forward(np.zeros((1, 2)), np.array([1])) -> log 2. Finite for logits up to 1e300.
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
call = "forward(log [[1, 2, 1], [3, 1, 4]], [1, 0])"
value = check.answer(loss.forward, logits, labels, call=call)
check.close(
    value, -(np.log(2 / 4) + np.log(3 / 8)) / 2, call, why="be the mean of -log p of labels"
)
grad = check.answer(loss.backward, call="backward()")
measured = check.numerical_gradient(
    lambda z: check.array(SoftmaxCrossEntropy().forward(z, labels), call), logits
)
check.close(grad, measured, "backward()", atol=1e-6, why="agree with the measured gradient")
call = "forward([[1000, 0]], [1])"
value = check.answer(loss.forward, np.array([[1000.0, 0.0]]), np.array([1]), call=call)
check.close(value, 1000.0, call, why="be exact: no overflow, no logarithm of a rounded probability")
### BEGIN HIDDEN TESTS
rng = check.rng("softmax_cross_entropy")


def slow_loss(logits, labels):
    """An oracle row by row, with Python's own numbers."""
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        top = max(row)
        losses.append(top + math.log(sum(math.exp(v - top) for v in row)) - row[label])
    return sum(losses) / len(losses)


def slow_gradient(logits, labels):
    """(p - one-hot) / n, as well row by row."""
    rows = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        parts = [math.exp(v - max(row)) for v in row]
        rows.append([part / sum(parts) - (j == label) for j, part in enumerate(parts)])
    return np.array(rows) / len(rows)


loss = SoftmaxCrossEntropy()  # one for all
kinds = [(1, 2, int), (4, 4, np.int32), (4, 4, int), (7, 3, np.uint8), (7, 3, int), (5, 11, int)]
for n_rows, classes, kind in kinds:
    logits = rng.normal(scale=2.0, size=(n_rows, classes))
    labels = rng.integers(classes, size=n_rows).astype(kind)
    value = check.answer(loss.forward, logits, labels, call="forward(logits, labels)")
    check.equal(np.shape(value), (), "shape of forward(logits, labels)", why="be one number")
    check.close(
        value, slow_loss(logits, labels), "forward(logits, labels)",
        why="be the mean over the batch of -log p of the true classes",
    )  # fmt: skip
    kept = logits.copy(), labels.copy()
    grad = check.answer(loss.backward, call="backward()")
    check.equal(logits, kept[0], "logits after backward()", why="stay as they were")
    check.equal(labels, kept[1], "labels after backward()", why="stay as they were")
    check.close(
        grad, slow_gradient(logits, labels), "backward()", atol=1e-12,
        why="be (p - one-hot) / n for the last forward",
    )  # fmt: skip
    again = check.answer(loss.backward, call="backward() once more")
    check.close(
        again, grad, "backward() once more", why="be the gradient of the last forward still"
    )
    # Every row gets a shift of its own.
    shift = rng.uniform(-50, 50, size=(n_rows, 1))
    shifted = check.answer(loss.forward, logits + shift, labels, call="forward(logits + c, labels)")
    check.close(
        shifted, value, "forward(logits + c, labels)",
        why="not change when a constant is added to all logits of an example",
    )  # fmt: skip
whole, labels = np.array([[3, 1, -2], [0, 4, 1]]), np.array([1, 0])  # nobody is of class 2
check.close(
    check.answer(loss.forward, whole, labels, call="forward of whole logits"),
    slow_loss(whole, labels),
    "forward of whole logits",
    why="be the mean over the batch of -log p of the true classes",
)
check.close(
    check.answer(loss.backward, call="backward after whole logits"),
    slow_gradient(whole, labels),
    "backward after whole logits",
    why="be (p - one-hot) / n for the last forward",
)
for scale in (1e3, 1e4, -1e4, 1e6, 1e300):
    size = f"{abs(scale):.0e}"
    logits = scale * np.array([[1.0, 0.0, -0.5], [0.2, 0.1, 0.9]]) + rng.normal(size=(2, 3))
    for labels in (np.array([0, 2]), np.array([2, 1])):
        loss = SoftmaxCrossEntropy()
        check.close(
            check.answer(loss.forward, logits, labels, call=f"forward of logits near {size}"),
            slow_loss(logits, labels),
            f"forward of logits near {size}",
            why="be finite and exact, also for a class with probability 0",
        )
        winner = np.eye(3)[logits.argmax(axis=1)]
        check.close(
            check.answer(loss.backward, call=f"backward of logits near {size}"),
            (winner - np.eye(3)[labels]) / 2,
            f"backward of logits near {size}",
            atol=1e-6,
            why="be (p - one-hot) / n, without NaN",
        )
losses = SoftmaxCrossEntropy(), SoftmaxCrossEntropy()
batches = [rng.normal(size=(4, 3)) for _ in losses]
labels = [np.array([0, 2, 1, 1]), np.array([2, 1, 0, 1])]
for loss, logits, truth in zip(losses, batches, labels, strict=True):
    loss.forward(logits, truth)
for loss, logits, truth in zip(losses, batches, labels, strict=True):
    check.close(
        check.answer(loss.backward, call="backward() of one of two losses"),
        slow_gradient(logits, truth),
        "backward() of one of two losses",
        why="belong to the loss's own forward: each has its own memory",
    )
loss, call = SoftmaxCrossEntropy(), "forward and backward, to nine digits"
logits, labels = np.array([[1 / 3, 1 / 7, 2.0]]), np.array([1])
value = check.answer(loss.forward, logits, labels, call=call)
check.close(
    value,
    slow_loss(logits, labels),
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
grad = check.answer(loss.backward, call=call)
check.close(
    grad,
    slow_gradient(logits, labels),
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
loss, logits = SoftmaxCrossEntropy(), rng.normal(size=(4, 3))
labels = np.array([0, 2, 1, 1])
loss.forward(logits, labels)
held = loss.backward()
loss.forward(-logits, labels)
loss.backward()
why = "stay as it was at the next backward"
check.close(held, slow_gradient(logits, labels), "backward(), kept", why=why)
loss, logits, call = SoftmaxCrossEntropy(), np.array([[0.0, -15.0]]), "forward([[0, -15]], [0])"
value = check.answer(loss.forward, logits, np.array([0]), call=call)
why = "be exact where the loss is small, too: nothing is added to the logarithm"
check.close(value, math.log1p(math.exp(-15)), call, rtol=1e-6, atol=0, why=why)
logits, call = np.array([[0.0, -25.0]]), "backward() after logits [[0, -25]]"
check.answer(loss.forward, logits, np.array([0]), call="forward([[0, -25]], [0])")
grad = check.answer(loss.backward, call=call)
exact = math.exp(-25) / (1 + math.exp(-25))
why = "be p of the wrong class, however small it is"
check.close(grad[:, 1], [exact], call, rtol=1e-6, atol=0, why=why)
logits, labels = rng.normal(size=(3, 200)), np.array([199, 150, 7])
value = check.answer(loss.forward, logits, labels, call="forward of 200 classes")
check.close(
    value, slow_loss(logits, labels), "forward of 200 classes", why="look at every class"
)
grad = check.answer(loss.backward, call="backward() of 200 classes")
check.close(
    grad, slow_gradient(logits, labels), "backward() of 200 classes", why="be (p - one-hot) / n"
)
### END HIDDEN TESTS

# %% mutant="softmax_cross_entropy" why="overflows: no shift"
# - shifted = logits - logits.max(axis=1, keepdims=True)
# + shifted = logits

# %% mutant="softmax_cross_entropy" why="no shift, but long numbers: they overflow later"
# - shifted = logits - logits.max(axis=1, keepdims=True)
# + shifted = logits.astype(np.longdouble)

# %% mutant="softmax_cross_entropy" why="shifts by the largest logit of the whole batch: a far lower row underflows"
# - shifted = logits - logits.max(axis=1, keepdims=True)
# + shifted = logits - logits.max()

# %% mutant="softmax_cross_entropy" why="shifts its argument in place"
# - shifted = logits - logits.max(axis=1, keepdims=True)
# + logits[...] = logits - logits.max(axis=1, keepdims=True)
# + shifted = logits

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

# %% mutant="softmax_cross_entropy" why="all losses share one memory"
# - self.p, self.labels = np.exp(log_p), labels
# + self.p, self.labels = np.exp(log_p), labels
# + SoftmaxCrossEntropy.last = self.p, labels
# - one_hot = np.eye(self.p.shape[1])[self.labels]
# + self.p, self.labels = SoftmaxCrossEntropy.last
# + one_hot = np.eye(self.p.shape[1])[self.labels]

# %% mutant="softmax_cross_entropy" why="a second backward subtracts once more"
# - return (self.p - one_hot) / len(self.labels)
# + self.p -= one_hot
# + return self.p / len(self.labels)

# %% mutant="softmax_cross_entropy" why="one array for the gradients of all backwards"
# - return (self.p - one_hot) / len(self.labels)
# + if np.shape(getattr(self, "buffer", None)) != self.p.shape:
# +     self.buffer = np.zeros(self.p.shape)
# + self.buffer[...] = (self.p - one_hot) / len(self.labels)
# + return self.buffer

# %% mutant="softmax_cross_entropy" why="adds a little in the logarithm"
# - log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
# + log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True) + 1e-9)

# %% mutant="softmax_cross_entropy" why="clips the probability in backward"
# - return (self.p - one_hot) / len(self.labels)
# + return (np.clip(self.p, 1e-9, 1.0) - one_hot) / len(self.labels)

# %% mutant="softmax_cross_entropy" why="labels in one byte with a sign"
# - self.p, self.labels = np.exp(log_p), labels
# + self.p, self.labels = np.exp(log_p), labels.astype(np.int8)


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
# `parameters()` and `gradients()` give lists in the same order, first layer first; they hold the layers' own arrays, not copies. `train(mode)` reaches every layer, whatever mode it is in. All of it holds for a stack inside a stack, too.

# %% [markdown] lang="ru"
# ## 8. Sequential: слои подряд
# Цепное правило для стопки слоёв: вперёд — от первого к последнему, назад — от последнего к первому, и каждый слой передаёт градиент своего входа предыдущему. `Sequential` — сам тоже `Layer`, поэтому стопки можно вкладывать.
#
# {{task:sequential}}
#
# `parameters()` и `gradients()` возвращают списки в одном порядке, начиная с первого слоя; в них сами массивы слоёв, а не копии. `train(mode)` доходит до каждого слоя, в каком бы режиме тот ни был. Всё это верно и для стопки внутри стопки.


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
        self.grads = {"shift": grad_output.sum(axis=0), "slope": slope}  # in whatever order
        return grad_output * self.params["slope"]


class RollSquare(Layer):
    """Each column moves one to the right and is squared; no parameters."""

    def forward(self, x):
        self.rolled = np.roll(x, 1, axis=1)
        return self.rolled**2

    def backward(self, grad_output):
        return np.roll(2 * self.rolled * grad_output, -1, axis=1)


layers = [Line([2.0, 5.0], [1.0, 0.0]), RollSquare(), Line([3.0, 1.0], [0.0, 0.0])]
net = Sequential(*layers)
check.close(
    check.answer(net.forward, np.array([[1.0, 2.0]]), call="forward([[1, 2]])"),
    [[300, 9]],
    "forward([[1, 2]])",
    why="go through all layers: they give [3, 10], then [100, 9], then [300, 9]",
)
check.close(
    check.answer(net.backward, np.ones((1, 2)), call="backward([[1, 1]])"),
    [[12, 300]],
    "backward([[1, 1]])",
    why="go back through all layers: the gradient is [3, 1], then [6, 60], then [12, 300]",
)
arrays = check.answer(net.parameters, call="parameters()")
check.close(
    arrays, [[2, 5], [1, 0], [3, 1], [0, 0]], "parameters()", why="list the first layer first"
)
arrays = check.answer(net.gradients, call="gradients()")
wanted = [[6, 120], [6, 60], [100, 9], [1, 1]]
check.close(arrays, wanted, "gradients()", why="stand in the order of parameters()")
net.eval()
check.that(not any(layer.training for layer in layers), "reach every layer with eval()")
### BEGIN HIDDEN TESTS
import copy

rng = check.rng("sequential")
given = rng.normal(size=(2, 3))
empty, call = Sequential(), "Sequential() without layers"
check.equal(check.answer(empty.forward, given, call=call), given, call, why="change nothing")
check.equal(check.answer(empty.backward, given, call=call), given, call, why="change nothing")
check.equal(check.answer(empty.parameters, call=call), [], f"{call}: parameters()", why="be empty")
check.equal(check.answer(empty.gradients, call=call), [], f"{call}: gradients()", why="be empty")


def by_hand(layers, x, grad_output):
    """Output, gradient of the input, parameters and gradients, on a copy of the layers."""
    layers = copy.deepcopy(layers)
    for layer in layers:
        x = layer.forward(x)
    for layer in reversed(layers):
        grad_output = layer.backward(grad_output)
    names = [(layer, name) for layer in layers for name in layer.params]
    params = [layer.params[name] for layer, name in names]
    return x, grad_output, params, [layer.grads[name] for layer, name in names]


def agree(stack, layers, what):
    """Both passes and both lists, twice, with the layers run one after another."""
    for rows in (2, 3):
        given, upstream = rng.uniform(0.2, 0.9, size=(rows, 3)), rng.uniform(0.5, 1.5, (rows, 3))
        output, grad_input, params, grads = by_hand(layers, given, upstream)
        call = f"{what}.forward(x)"
        got = check.answer(stack.forward, given, call=call)
        check.close(got, output, call, why="hand each layer the output of the one before")
        call = f"{what}.backward(grad_output)"
        got = check.answer(stack.backward, upstream, call=call)
        why = "hand each layer the gradient that the one after it returned"
        check.close(got, grad_input, call, why=why)
        for method, wanted in (("parameters", params), ("gradients", grads)):
            call = f"{what}.{method}()"
            got = check.answer(getattr(stack, method), call=call)
            check.equal(
                len(got), len(wanted), f"len of {call}", why="be one array for each parameter"
            )
            for number, (one, array) in enumerate(zip(got, wanted, strict=True)):
                why = (
                    "list the layers' own, first layer first, a layer's in the order of its params"
                )
                check.close(one, array, f"array {number} of {call}", why=why)


def lines(count):
    """Layers to stack, with parameters and without."""
    pairs = [
        (Line(rng.uniform(0.3, 0.7, 3), rng.uniform(0.2, 0.5, 3)), RollSquare())
        for _ in range(count)
    ]
    return [layer for pair in pairs for layer in pair]


def own_arrays(stack, layers, what):
    """Lists whose arrays change with those of the layers."""
    agree(stack, layers, what)
    for method, kind in (("parameters", "params"), ("gradients", "grads")):
        held = getattr(stack, method)()
        for layer in layers:
            for array in getattr(layer, kind).values():
                array += 1.0
        wanted = [getattr(layer, kind)[name] for layer in layers for name in layer.params]
        call = f"{what}.{method}() after the layers' arrays have changed"
        check.close(held, wanted, call, why="hold the layers' own arrays, not copies")
    layers[0].params["slope"] = rng.uniform(0.3, 0.7, 3)  # a new array in the old one's place
    agree(stack, layers, what)


def modes(stack, layers, what):
    """train and eval, from whatever modes the layers are in."""
    for mode in (False, True, False):
        stack.train(mode)
        check.equal(
            [layer.training for layer in layers], [mode] * len(layers), f"modes after train({mode})",
            why="reach every layer",
        )  # fmt: skip
        own = check.attribute(stack, "training", what)
        check.equal(own, mode, f"{what}.training after train({mode})", why="be the mode")
    stack.train()
    check.that(all(layer.training for layer in layers), "switch training on by train() alone")
    layers[0].eval()
    stack.train()
    check.that(
        layers[0].training, "reach every layer, also one that is in another mode than the stack"
    )
    stack.eval()
    check.that(not any(layer.training for layer in layers), "reach every layer with eval()")


layers = lines(1)
agree(Sequential(*layers), layers, "Sequential")
layers = lines(3)
net = Sequential(*layers)
agree(net, layers, "Sequential")
modes(net, layers, "Sequential")
agree(net, layers, "Sequential in eval mode")
own_arrays(net, layers, "Sequential")
for depth in (2, 4):
    layers = lines(depth)
    inner = Sequential(*layers[2:], Sequential())
    net = Sequential(*layers[:2], Sequential(inner))
    agree(net, layers, "a stack in a stack")
    modes(net, layers, "a stack in a stack")
    own = check.attribute(inner, "training", "the inner stack")
    check.equal(own, False, "the inner stack's training after eval()", why="be the mode")
    own_arrays(net, layers, "a stack in a stack")
layers, others = lines(2), lines(2)
net, other = Sequential(*layers), Sequential(*others)
given, upstream = rng.uniform(0.2, 0.9, size=(2, 2, 3)), rng.uniform(0.5, 1.5, size=(2, 2, 3))
net.forward(given[0])
other.forward(given[1])
check.close(
    check.answer(net.backward, upstream[0], call="backward of one of two stacks"),
    by_hand(layers, given[0], upstream[0])[1],
    "backward of one of two stacks",
    why="go through the stack's own layers",
)
layers, call = [Line([1 / 3], [1 / 7])], "Sequential, to nine digits"
net, one = Sequential(*layers), np.array([[1 / 9]])
output = check.answer(net.forward, one, call=call)
check.close(
    output,
    [[1 / 27 + 1 / 7]],
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
grad_input = check.answer(net.backward, one, call=call)
check.close(
    grad_input,
    [[1 / 27]],
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
lists = [*check.answer(net.parameters, call=call), *check.answer(net.gradients, call=call)]
check.close(
    lists,
    [[1 / 3], [1 / 7], [1 / 81], [1 / 9]],
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
class Affine(Layer):
    """x @ weight + bias, the bias first; counts its passes: a layer to test with."""

    def __init__(self, weight, bias) -> None:
        super().__init__()
        self.params = {"bias": np.array(bias), "weight": np.array(weight)}
        self.forwards = self.backwards = 0

    def forward(self, x):
        self.x, self.forwards = x, self.forwards + 1
        return x @ self.params["weight"] + self.params["bias"]

    def backward(self, grad_output):
        self.backwards += 1
        self.grads = {"weight": self.x.T @ grad_output, "bias": grad_output.sum(axis=0)}
        return grad_output @ self.params["weight"].T


class Shell(Layer):
    """Another kind of layer with a layer inside, which it speaks for."""

    def __init__(self, part) -> None:
        super().__init__()
        self.part = part

    def forward(self, x):
        return self.part.forward(x)

    def backward(self, grad_output):
        return self.part.backward(grad_output)

    def parameters(self):
        return self.part.parameters()

    def gradients(self):
        return self.part.gradients()

    def train(self, mode=True):
        super().train(mode)
        self.part.train(mode)


def affine():
    """A layer with a matrix and a row."""
    return Affine(rng.uniform(0.1, 0.4, size=(3, 3)), rng.uniform(0.2, 0.5, size=3))


layers = [lines(1)[0], affine(), RollSquare(), affine(), lines(1)[0]]
agree(Sequential(*layers), layers, "Sequential of matrices and rows")
layers = [Line([0.5, 0.5, 0.5], [0.25, 0.25, 0.25]) for _ in range(3)]
agree(Sequential(*layers), layers, "Sequential of layers with equal numbers")
layers = [affine(), affine()]
net, given = Sequential(*layers), rng.normal(size=(2, 3))
for mode in (True, False):
    net.train(mode)
    for layer in layers:
        layer.forwards = layer.backwards = 0
    check.answer(net.forward, given, call="forward(x)", changes=True)
    check.answer(net.backward, given, call="backward(g)", changes=True)
    for kind in ("forwards", "backwards"):
        counts = [getattr(layer, kind) for layer in layers]
        call = f"{kind} of each layer in forward and backward of the stack"
        check.equal(counts, [1, 1], call, why="be one: another would draw other dropout masks")
layers = lines(2)
inner = Sequential(*layers[2:])
net, call = Sequential(*layers[:2], inner), "modes of the inner layers after train() of the outer"
net.train()
layers[3].eval()  # the inner stack itself is in training mode
net.train()
found = [layer.training for layer in layers]
check.equal(found, 4 * [True], call, why="be the mode, also inside a stack that is in it already")
layers = [*lines(1), affine()]
shells = [Shell(layer) for layer in layers]
net, what = Sequential(*shells), "layers of another kind with layers inside"
agree(net, layers, f"Sequential of {what}")
net.eval()
found = [layer.training for layer in layers]
check.equal(found, 3 * [False], f"modes in {what} after eval()", why="be told by layer.train")
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

# %% mutant="sequential" why="gradients in the order in which a layer happens to write them"
# - return [array for layer in self.layers for array in layer.gradients()]
# + return [g for l in self.layers for g in (l.grads.values() if l.grads else l.gradients())]

# %% mutant="sequential" why="copies: updates would be lost"
# - return [array for layer in self.layers for array in layer.parameters()]
# + return [array.copy() for layer in self.layers for array in layer.parameters()]

# %% mutant="sequential" why="gradients are copies"
# - return [array for layer in self.layers for array in layer.gradients()]
# + return [array.copy() for layer in self.layers for array in layer.gradients()]

# %% mutant="sequential" why="reads params, which a nested stack does not have"
# - return [array for layer in self.layers for array in layer.parameters()]
# + return [array for layer in self.layers for array in layer.params.values()]

# %% mutant="sequential" why="the layers are not told of the mode"
# - for layer in self.layers:
# -     layer.train(mode)
# + pass

# %% mutant="sequential" why="tells the layers of the mode only when its own changes"
# - self.training = mode
# - for layer in self.layers:
# + changes, self.training = self.training != mode, mode
# + for layer in self.layers if changes else ():

# %% mutant="sequential" why="sets the attribute, which does not reach what is inside a layer"
# - layer.train(mode)
# + layer.training = mode

# %% mutant="sequential" why="can switch off, but never on again"
# - layer.train(mode)
# + layer.eval()

# %% mutant="sequential" why="forgets its own mode"
# - self.training = mode
# - for layer in self.layers:
# + for layer in self.layers:

# %% mutant="sequential" why="all matrices before all rows"
# - return [array for layer in self.layers for array in layer.parameters()]
# + found = [array for layer in self.layers for array in layer.parameters()]
# + return sorted(found, key=lambda array: -array.ndim)
# - return [array for layer in self.layers for array in layer.gradients()]
# + found = [array for layer in self.layers for array in layer.gradients()]
# + return sorted(found, key=lambda array: -array.ndim)

# %% mutant="sequential" why="equal arrays are listed once"
# - return [array for layer in self.layers for array in layer.parameters()]
# + found = []
# + for array in (array for layer in self.layers for array in layer.parameters()):
# +     if not any(np.array_equal(array, other) for other in found):
# +         found.append(array)
# + return found

# %% mutant="sequential" why="backward goes forward once more"
# - for layer in self.layers:
# -     x = layer.forward(x)
# - return x
# + self.x = x
# + for layer in self.layers:
# +     x = layer.forward(x)
# + return x
# - for layer in reversed(self.layers):
# + self.forward(self.x)
# + for layer in reversed(self.layers):

# %% mutant="sequential" why="every layer goes forward twice"
# - x = layer.forward(x)
# + layer.forward(x)
# + x = layer.forward(x)

# %% mutant="sequential" why="does not tell a layer that is in the mode itself"
# - for layer in self.layers:
# -     layer.train(mode)
# + for layer in self.layers:
# +     if layer.training != mode:
# +         layer.train(mode)

# %% mutant="sequential" why="sets the attribute of all but stacks"
# - layer.train(mode)
# + layer.train(mode) if isinstance(layer, Sequential) else setattr(layer, "training", mode)

# %% mutant="sequential" why="asks stacks only for their parameters, and reads those of others"
# - return [array for layer in self.layers for array in layer.parameters()]
# + stacks = [type(layer) is Sequential for layer in self.layers]
# + pairs = zip(self.layers, stacks, strict=True)
# + return [a for l, s in pairs for a in (l.parameters() if s else l.params.values())]


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
# Теперь главная сверка: целая сеть на батче цифр, каждый параметр сдвинут в обе стороны — против одного обратного прохода. И та же сеть с ошибкой в одном слое, чтобы знать, как выглядит неверный градиент: вовсе не нелепым. Многие его числа верны — градиенты слоя, который стоит после ошибки; об остальных вам скажет только проверка.

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
    "sqrt(1/d)": math.sqrt(1 / width),
    "sqrt(2/d), He": math.sqrt(2 / width),
    "1.5 sqrt(2/d)": 1.5 * math.sqrt(2 / width),
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
for ax in axes:
    ax.set_yticks(10.0 ** np.arange(-30, 11, 10))
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
# In each epoch: one random order from `rng`; batches in its order; the last one may be smaller. For each batch: one forward pass, whose loss goes into the list, and one backward pass (a second forward would draw other dropout masks). Update the arrays of `model.parameters()` in place. The model is in training mode meanwhile and in eval mode afterwards: `model.train()` and `model.eval()` reach its layers.

# %% [markdown] lang="ru"
# ## 9. Обучение
# [Стохастический градиентный спуск](glossary:Stochastic-gradient-descent) (stochastic gradient descent, SGD): возьмите [минибатч](glossary:Minibatch) (minibatch), пройдите вперёд, пройдите назад, сдвиньте каждый параметр немного против его градиента, $\theta \leftarrow \theta - \eta\, \partial L / \partial \theta$. За одну [эпоху](glossary:Epoch) (epoch) каждый пример показывают один раз, в новом случайном порядке.
#
# {{task:train}}
#
# В каждой эпохе: один случайный порядок из `rng`; батчи идут в этом порядке; последний может быть меньше. На каждый батч — один прямой проход, потери которого попадают в список, и один обратный (второй прямой проход взял бы другие маски дропаута). Меняйте массивы из `model.parameters()` на месте. Во время обучения модель в режиме обучения, после него — в режиме оценки: до её слоёв доходят `model.train()` и `model.eval()`.


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
    """x @ weight + bias; writes down what it is shown, and the mode of a part inside."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.params = {"weight": np.zeros(inputs), "bias": np.zeros(1)}
        self.batches, self.modes, self.part = [], [], Layer()

    def train(self, mode=True):
        super().train(mode)
        self.part.train(mode)

    def forward(self, x):
        self.x = x
        self.batches.append(x[:, 0].tolist())
        self.modes.append(self.part.training)
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
model, call = LinearModel(1), "train(model, loss, x, y, epochs=200, ...)"
options = {"batch_size": 4, "lr": 0.3, "rng": np.random.default_rng(0)}
history = check.answer(
    train, model, SquaredError(), x_line, 2 * x_line[:, 0] - 1, epochs=200, call=call, **options
)
check.equal(len(history), 600, "len(history) of 200 epochs of 10 examples in batches of 4")
check.close(model.params["weight"], [2], "weight fitted to y = 2x - 1", atol=0.01)
check.close(model.params["bias"], [-1], "bias fitted to y = 2x - 1", atol=0.01)
### BEGIN HIDDEN TESTS
rng = check.rng("train")
call = "train(model, loss, x, y, ...)"


def trained(x, y, source, epochs, batch_size, lr):
    """A new model after train, and the losses."""
    model = LinearModel(x.shape[1])
    model.eval()
    options = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "rng": source}
    return model, check.answer(train, model, SquaredError(), x, y, call=call, **options)


sizes_tried = [(20, 4, 2), (23, 5, 3), (9, 4, 2), (9, 40, 4), (6, 1, 2), (15, 7, 0)]
for n_examples, batch_size, epochs in sizes_tried:
    x_all = np.column_stack([np.arange(n_examples), rng.normal(size=(n_examples, 2))])
    x_all[:, 0] = (1 + x_all[:, 0]) / n_examples  # tells the examples apart
    # Among the gradients there are long ones: a step is as long as they say.
    y_all = rng.normal(size=n_examples) * (100.0 if n_examples == 23 else 1.0)
    seed, lr = int(rng.integers(1_000_000)), rng.uniform(0.01, 0.1)
    source = np.random.default_rng(seed)
    model = LinearModel(3)
    weight, bias = model.params["weight"], model.params["bias"]
    model.eval()
    options = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "rng": source}
    history = check.answer(train, model, SquaredError(), x_all, y_all, call=call, **options)
    full, rest = divmod(n_examples, batch_size)
    sizes = ([batch_size] * full + [rest] * (rest > 0)) * epochs
    check.equal(
        len(model.batches), len(sizes), "number of forward passes of the model",
        why="be one for each batch: epochs * ceil(N / batch_size)",
    )  # fmt: skip
    check.equal(
        [len(batch) for batch in model.batches], sizes, "sizes of the batches",
        why="be batch_size, but for the last of an epoch, which may be smaller",
    )  # fmt: skip
    seen = np.array([key for batch in model.batches for key in batch]).reshape(epochs, n_examples)
    check.equal(
        np.sort(seen, axis=1), np.tile(x_all[:, 0], (epochs, 1)), "examples seen in each epoch",
        why="be all examples, each once",
    )  # fmt: skip
    check.that(
        all(model.modes), "have the model in training mode, with all its parts (model.train)"
    )
    check.that(
        not model.part.training, "leave the model in eval mode, with all its parts (model.eval)"
    )
    check.that(
        model.params["weight"] is weight and model.params["bias"] is bias,
        "change the parameters in place, not put new arrays in their place",
    )
    # Replay the steps: the same batches, in plain arithmetic.
    theta, expected = np.zeros(4), []
    for batch in model.batches:
        rows = [int(np.flatnonzero(x_all[:, 0] == key)[0]) for key in batch]
        inputs = np.column_stack([x_all[rows], np.ones(len(rows))])
        residual = inputs @ theta - y_all[rows]
        expected.append(np.mean(residual**2))
        theta = theta - lr * 2 * inputs.T @ residual / len(rows)
    check.close(
        np.concatenate([weight, bias]), theta, "parameters after train",
        why="move by -lr * gradient at every batch, a smaller one too, with the labels of its rows",
    )  # fmt: skip
    check.equal(
        len(history), len(sizes), "len of the returned history", why="be one for each batch"
    )
    check.close(
        history, np.array(expected).tolist(), "the returned history",
        why="hold the loss of each batch, computed before its step",
    )  # fmt: skip
    what = "the returned history, to nine digits"
    why = "be right to nine digits: compute in float64"
    check.close(history, np.array(expected).tolist(), what, rtol=1e-9, atol=1e-12, why=why)
    if n_examples == 23:
        orders = [x_all[:, 0].tolist(), *seen.tolist()]
        different = all(a != b for i, a in enumerate(orders) for b in orders[:i])
        check.that(different, "take a new random order in every epoch")
        again = trained(x_all, y_all, np.random.default_rng(seed), epochs, batch_size, lr)[0]
        check.that(again.batches == model.batches, "give the same batches for the same rng")
        other = trained(x_all, y_all, np.random.default_rng(seed + 1), epochs, batch_size, lr)[0]
        check.that(other.batches != model.batches, "draw from rng: another seed, other batches")
        later = trained(x_all, y_all, source, epochs, batch_size, lr)[0]
        check.that(later.batches != model.batches, "draw on from rng: a second call, other batches")
four, zeros = np.arange(4.0)[:, None], np.zeros(4)
model, history = trained(four, zeros, rng, 1500, 2, 0.1)
check.equal(len(history), 3000, "len of the history where the loss is 0", why="count all batches")
pairs = [set(batch) for batch in model.batches]
together = np.mean([{0.0, 1.0} in pairs[i : i + 2] for i in range(0, 3000, 2)])
check.close(
    together, 1 / 3, "how often examples 0 and 1 of four share a batch of 2", rtol=0,
    atol=7 * math.sqrt(2 / 9 / 1500), why="be a third: shuffle the examples, not the batches",
)  # fmt: skip
firsts = [pairs[i] for i in range(0, 3000, 2)]
for number in range(4):
    check.close(
        np.mean([number in first for first in firsts]), 1 / 2,
        f"how often example {number} of four is in the first batch of 2", rtol=0,
        atol=7 * math.sqrt(1 / 4 / 1500), why="be a half: every order is as likely as another",
    )  # fmt: skip
alike = np.mean([a == b or not a & b for a, b in pairwise(firsts)])
check.close(
    alike, 1 / 3, "how often two epochs in turn share their batches, 2 of four", rtol=0,
    atol=7 * math.sqrt(2 / 9 / 1499), why="be a third: a new order that knows nothing of the last",
)  # fmt: skip


class Shell(Layer):
    """A model with the linear one inside; keeps what each backward pass has made."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.inner, self.made = LinearModel(inputs), []

    def train(self, mode=True):
        super().train(mode)
        self.inner.train(mode)

    def forward(self, x):
        return self.inner.forward(x)

    def backward(self, grad_output):
        grad_input = self.inner.backward(grad_output)
        self.made.append([array.copy() for array in self.inner.gradients()])
        return grad_input

    def parameters(self):
        return self.inner.parameters()

    def gradients(self):
        return self.inner.gradients()


x_all, y_all = rng.normal(size=(7, 2)), rng.normal(size=7)
seed, options = int(rng.integers(1_000_000)), {"epochs": 2, "batch_size": 3, "lr": 0.05}
plain = trained(x_all, y_all, np.random.default_rng(seed), 2, 3, 0.05)[0]
model, call = Shell(2), "train(model, ...) of a model with a layer inside"
options["rng"] = np.random.default_rng(seed)
check.answer(train, model, SquaredError(), x_all, y_all, call=call, **options)
check.close(
    model.inner.params["weight"], plain.params["weight"], "the weight in a model of another kind",
    why="move, too: model.parameters() and model.gradients() say what there is",
)  # fmt: skip
check.that(
    not model.inner.part.training,
    "leave the model in eval mode, also one that was in training mode before",
)
check.equal(len(model.made), 6, "number of backward passes", why="be one for each batch")
why = "be as backward made them: only parameters are changed in place"
for found, made in zip(model.gradients(), model.made[-1], strict=True):
    check.close(found, made, "the model's gradients after train", why=why)
model, call = LinearModel(2), "train(model, ..., epochs=0)"
options["epochs"] = 0
history = check.answer(train, model, SquaredError(), x_all, y_all, call=call, **options)
check.equal(history, [], call, why="be an empty list")
check.that(not model.part.training, "leave the model in eval mode after 0 epochs, too")
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

# %% mutant="train" why="turns the order instead of shuffling it"
# - order = rng.permutation(len(x))
# + order = np.roll(np.arange(len(x)), rng.integers(len(x)))

# %% mutant="train" why="shuffles x and forgets y"
# - history.append(loss.forward(model.forward(x[batch]), y[batch]))
# + history.append(loss.forward(model.forward(x[batch]), y[start : start + batch_size]))

# %% mutant="train" why="shuffles the data in place"
# - batch = order[start : start + batch_size]
# + x[:], y[:], order = x[order], y[order], np.arange(len(x))
# + batch = order[start : start + batch_size]

# %% mutant="train" why="drops the last smaller batch"
# - for start in range(0, len(x), batch_size):
# + for start in range(0, len(x) - batch_size + 1, batch_size):

# %% mutant="train" why="draws batches with replacement"
# - batch = order[start : start + batch_size]
# + batch = rng.integers(len(x), size=len(order[start : start + batch_size]))

# %% mutant="train" why="a generator of its own"
# - history = []
# + history, rng = [], np.random.default_rng(0)

# %% mutant="train" why="new arrays: the model never learns"
# - parameter -= lr * gradient
# + parameter = parameter - lr * gradient

# %% mutant="train" why="divides by the batch size once more"
# - parameter -= lr * gradient
# + parameter -= lr * gradient / len(batch)

# %% mutant="train" why="a smaller step for the smaller last batch"
# - parameter -= lr * gradient
# + parameter -= lr * gradient * len(batch) / min(batch_size, len(x))

# %% mutant="train" why="clips long gradients"
# - parameter -= lr * gradient
# + parameter -= lr * np.clip(gradient, -5, 5)

# %% mutant="train" why="stops where the loss is 0"
# - history.append(loss.forward(model.forward(x[batch]), y[batch]))
# + history.append(loss.forward(model.forward(x[batch]), y[batch]))
# + if history[-1] == 0:
# +     break

# %% mutant="train" why="sets the attribute, which does not reach the layers inside"
# - model.train()
# - for _ in range(epochs):
# + model.training = True
# + for _ in range(epochs):

# %% mutant="train" why="stays in training mode"
# - model.eval()
# + pass

# %% mutant="train" why="a second forward for the step: dropout would draw another mask"
# - model.backward(loss.backward())
# + loss.forward(model.forward(x[batch]), y[batch])
# + model.backward(loss.backward())

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

# %% mutant="train" why="moves model.params, which a stack does not have"
# - for parameter, gradient in zip(model.parameters(), model.gradients(), strict=True):
# -     parameter -= lr * gradient
# + for name in model.params:
# +     model.params[name] -= lr * model.grads[name]

# %% mutant="train" why="puts back the mode of before"
# - history = []
# + history, before = [], model.training
# - model.eval()
# + model.train(before)

# %% mutant="train" why="two backward passes for each batch"
# - model.backward(loss.backward())
# + model.backward(loss.backward())
# + model.backward(loss.backward())

# %% mutant="train" why="example 0 always comes first"
# - order = rng.permutation(len(x))
# + order = np.append(0, 1 + rng.permutation(len(x) - 1))

# %% mutant="train" why="every second epoch goes back through the order of the one before"
# - history = []
# + history, order = [], None
# - order = rng.permutation(len(x))
# + order = rng.permutation(len(x)) if _ % 2 == 0 else order[::-1]

# %% mutant="train" why="every second epoch turns the order of the one before"
# - history = []
# + history, order = [], None
# - order = rng.permutation(len(x))
# + order = rng.permutation(len(x)) if _ % 2 == 0 else np.roll(order, 1)

# %% mutant="train" why="scales the model's gradients in place"
# - parameter -= lr * gradient
# + gradient *= lr
# + parameter -= gradient

# %% mutant="train" why="0 epochs: back before eval mode is set"
# - history = []
# + history = []
# + if epochs == 0:
# +     return history


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
    losses[f"lr = {lr:g}"] = (range(1, 16), np.reshape(steps, (15, -1)).mean(axis=1))
    hidden = net.layers[1].forward(net.layers[0].forward(x_few))
    dead = (hidden == 0).all(axis=0)
    print(f"lr = {lr:g}: {dead.sum()} of 32 hidden units are 0 for every example")
ax = plots.curves(losses, "Too small, right, too large", "epoch", "mean loss of the epoch", log_y=True)
ax.axhline(math.log(10), color="0.5", linestyle=":")
ax.text(15, math.log(10) * 0.9, "guessing: log 10", ha="right", va="top", color="0.4")
plots.show(
    "Training loss over 15 epochs: with a small learning rate it hardly falls, with the right one "
    "it falls steadily, with a large one it jumps and then stays at the loss of guessing."
)

# %% [markdown]
# Too small: the loss creeps. Too large: one of the first steps throws the hidden units so far that their input is negative for every example. ReLU then passes no gradient (section 4), so they never come back: they are *dead*, and the network can only guess.

# %% [markdown] lang="ru"
# Слишком маленький шаг обучения — потери еле ползут. Слишком большой — один из первых шагов отбрасывает скрытые нейроны так далеко, что их вход отрицателен для каждого примера. Тогда ReLU не пропускает градиент (раздел 4), и нейроны уже не возвращаются: они *мертвы* (dead ReLU), и сети остаётся только угадывать.

# %% [markdown]
# ## 10. A network of any depth
# Put it together: a [multilayer perceptron](glossary:Multilayer-perceptron) (MLP) is Dense, ReLU, Dropout again and again, and a last Dense that gives the logits. After the last layer comes nothing: ReLU would cut off negative logits, and dropout would delete classes.
#
# {{task:mlp}}
#
# `mlp([64, 32, 16, 10], rng)` is a network for 64 inputs, two hidden layers and 10 classes; weights and masks come from `rng`. This task is built of all those before it, and needs them all: the check then trains your network, with your layers and your loop, on data that it splits itself, and wants 95 % of the held-out digits (profile `full`: 97.5 % of MNIST's official test set).

# %% [markdown] lang="ru"
# ## 10. Сеть любой глубины
# Соберите всё вместе: [многослойный перцептрон](glossary:Multilayer-perceptron) (multilayer perceptron, MLP) — это Dense, ReLU, Dropout снова и снова, а в конце Dense, который даёт логиты. После него не идёт ничего: ReLU отрезал бы отрицательные логиты, а дропаут вычёркивал бы классы.
#
# {{task:mlp}}
#
# `mlp([64, 32, 16, 10], rng)` — сеть с 64 входами, двумя скрытыми слоями и 10 классами; веса и маски берутся из `rng`. Это задание собрано из всех предыдущих, и нужны они все: проверка затем обучает вашу сеть — с вашими слоями и вашим циклом — на данных, которые делит сама, и ждёт 95 % верных ответов на отложенных цифрах (в профиле `full` — 97,5 % на официальной тестовой части MNIST).


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
sizes, call = [5, 7, 4, 3], "mlp([5, 7, 4, 3], rng)"
with check.unchanged(call, sizes=sizes):
    model = mlp(sizes, np.random.default_rng(0))
check.equal(
    sorted(array.shape for array in check.answer(model.parameters, call=f"{call}.parameters()")),
    sorted([(5, 7), (7,), (7, 4), (4,), (4, 3), (3,)]),
    f"shapes of {call}.parameters(), sorted",
)
training = check.attribute(model, "training", call)
check.equal(training, True, f"{call}.training", why="be in training mode")
### BEGIN HIDDEN TESTS
rng = check.rng("mlp")


def parts(network):
    """Weights and biases, first layer first, whichever of the two a layer keeps first."""
    held = network.parameters()
    return [[one for one in held if np.ndim(one) == kind] for kind in (2, 1)]


def put(network, weights, biases):
    """Write weights and biases into a network."""
    for held, numbers in zip(parts(network), (weights, biases), strict=True):
        for one, value in zip(held, numbers, strict=True):
            one[...] = value


for sizes in ([4, 3], [3, 6, 2], [2, 9, 8, 7, 6, 5], [3, 6, 6, 6, 2]):
    for p in (0.0, 0.6):
        call = f"mlp({sizes}, rng, {p:g})"
        with check.unchanged(call, sizes=sizes):
            model = mlp(sizes, rng, p)
        check.equal(
            check.attribute(model, "training", call), True, f"{call}.training",
            why="be in training mode",
        )  # fmt: skip
        weights = [rng.normal(size=pair) for pair in pairwise(sizes)]
        biases = [rng.normal(size=size) for size in sizes[1:]]
        shapes = [[array.shape for array in kind] for kind in (weights, biases)]
        found = [[array.shape for array in kind] for kind in check.plain(parts(model), call)]
        check.equal(
            found, shapes, f"shapes of {call}.parameters()", why="be those of its Dense layers"
        )
        put(model, weights, biases)
        written = check.plain(parts(model), call)[0]
        check.that(
            all(np.array_equal(one, two) for one, two in zip(written, weights, strict=True)),
            f"have a Dense of its own for every layer, those of equal sizes too ({call})",
        )
        model.eval()
        given, upstream = rng.normal(size=(30, sizes[0])), rng.normal(size=(30, sizes[-1]))
        expected, back, masks = given, upstream, []
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            expected = expected @ weight + bias
            masks.append(expected > 0)
            expected = expected * masks[-1]
        expected = expected @ weights[-1] + biases[-1]
        forward = f"{call}.forward(x) in eval mode"
        output = check.answer(model.forward, given, call=forward)
        why = "have a ReLU after every Dense but the last"
        check.close(output, expected, forward, why=why)
        for weight, mask in zip(weights[:0:-1], masks[::-1], strict=True):
            back = back @ weight.T * mask
        backward = f"{call}.backward(g) in eval mode"
        grad_input = check.answer(model.backward, upstream, call=backward)
        why = "go back through all layers: each layer is an object of its own"
        check.close(grad_input, back @ weights[0].T, backward, why=why)
# Weights of 1 and of the identity make the masks visible in the output.
for hidden_layers in (1, 2):
    for p in (0.3, 0.55, 0.8):
        call = f"mlp(sizes, rng, dropout={p}) in training mode"
        model = mlp([3] + [40] * (hidden_layers + 1), rng, dropout=p)
        put(model, [np.ones((3, 40)), *hidden_layers * [np.eye(40)]], (hidden_layers + 1) * [0.0])
        output = check.answer(model.forward, np.ones((500, 3)), call=call)
        dropped, left = output == 0, (1 - p) ** hidden_layers
        check.close(
            dropped.mean(), 1 - left, f"share of zeros in {call}", rtol=0,
            atol=7 * math.sqrt(left * (1 - left) / 20000),
            why="show dropout after every hidden layer, once, with the p that was given",
        )  # fmt: skip
        check.close(
            output[~dropped], np.full((~dropped).sum(), 3 / left), f"outputs that are left of {call}",
            why="show dropout on hidden layers only, not on inputs or logits",
        )  # fmt: skip
call = "mlp([60, 200, 300, 100], rng)"
weights, biases = check.plain(parts(mlp([60, 200, 300, 100], rng)), call)
for weight, inputs in zip(weights, (60, 200, 300), strict=True):
    check.close(
        weight.var() * inputs, 2.0, f"variance of weights × inputs in {call}", rtol=0,
        atol=14 * math.sqrt(2 / weight.size), why="be 2, as Dense starts",
    )  # fmt: skip
check.that(not any(bias.any() for bias in biases), "start with biases of 0, as Dense does")
given, seed = rng.normal(size=(50, 3)), int(rng.integers(1_000_000))
quiet = mlp([3, 40, 40], rng)
call = "mlp(sizes, rng).forward(x) in training mode, twice"
outputs = [check.answer(quiet.forward, given, call=call) for _ in range(2)]
check.close(outputs[1], outputs[0], call, why="drop nothing without a third argument")


def drawn(source):
    """The weights of a network, and an output in training mode, which shows the masks."""
    model, call = mlp([3, 8, 8, 8], source, 0.5), "mlp(sizes, rng, 0.5)"
    weights = check.plain(parts(model), call)[0]
    put(model, [np.ones((3, 8)), np.eye(8), np.eye(8)], [0.0, 0.0, 0.0])
    return weights, check.answer(model.forward, np.ones((50, 3)), call=f"{call} in training mode")


source = np.random.default_rng(seed)
one, next_one, other = drawn(source), drawn(source), drawn(np.random.default_rng(seed + 1))
again = drawn(np.random.default_rng(seed))
check.equal(again[0][0], one[0][0], "weights from the same seed again", why="come from rng alone")
check.equal(again[1], one[1], "dropout from the same seed again", why="come from rng alone")
check.that((one[0][1] != one[0][2]).any(), "give two layers of one network different weights")
for second, what in ((next_one, "a second network of one rng"), (other, "another seed")):
    check.that((second[0][0] != one[0][0]).any(), f"draw weights from rng: others for {what}")
    check.that((second[1] != one[1]).any(), f"draw masks from rng: others for {what}")
# Hidden layers of one width, all ReLUs open: the output tells which units no mask has dropped.
call, scale = "mlp([3, 9, 9, 9, 9], rng, 0.4)", 1 / 0.6
model = mlp([3, 9, 9, 9, 9], rng, 0.4)
put(model, [np.ones((3, 9)), np.eye(9), np.eye(9), np.eye(9)], [0.0, 1.0, 1.0, 0.0])
output = check.answer(model.forward, np.ones((40, 3)), call=f"{call}.forward(ones)")
kept = np.isclose(output, scale * (scale * (3 * scale + 1) + 1))
backward = f"{call}.backward in training mode"
passed = check.answer(model.backward, np.ones((40, 9)), call=backward)
why = "multiply by the masks of that forward: every layer is an object of its own"
check.close(passed, np.tile(scale**3 * kept.sum(axis=1), (3, 1)).T, backward, why=why)
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
    logits = check.answer(model.forward, x_all[held], call="model.forward(held-out digits)")
    right += [np.mean(logits.argmax(axis=1) == y_all[held])]
print(f"accuracy on held-out digits: {np.mean(right):.2%}")
check.that(np.mean(right) >= wanted, f"read at least {wanted:.1%} of unseen digits")

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

# %% mutant="mlp" why="one Dense object for all layers of one size"
# - layers = []
# + layers, seen = [], {}
# - layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(dropout, rng)]
# + dense = seen.setdefault((inputs, outputs), Dense(inputs, outputs, rng))
# + layers += [dense, ReLU(), Dropout(dropout, rng)]

# %% mutant="mlp" why="one ReLU object for all layers: it remembers only the last input"
# - layers = []
# + layers, relu = [], ReLU()
# - layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(dropout, rng)]
# + layers += [Dense(inputs, outputs, rng), relu, Dropout(dropout, rng)]

# %% mutant="mlp" why="a generator of its own, without a seed"
# - layers = []
# + layers, rng = [], np.random.default_rng()

# %% mutant="mlp" why="a generator of its own, with a seed"
# - layers = []
# + layers, rng = [], np.random.default_rng(0)

# %% mutant="mlp" why="masks from a generator of its own"
# - layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(dropout, rng)]
# + layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(dropout, np.random.default_rng(0))]

# %% mutant="mlp" why="takes the sizes out of the caller's list"
# - *hidden, classes = sizes
# + classes = sizes.pop()
# + hidden = list(sizes)

# %% mutant="mlp" why="in eval mode from the start"
# - return Sequential(*layers, Dense(hidden[-1], classes, rng))
# + model = Sequential(*layers, Dense(hidden[-1], classes, rng))
# + model.eval()
# + return model

# %% mutant="mlp" why="one ReLU for all layers of a width"
# - layers = []
# + layers, kept = [], {}
# - layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(dropout, rng)]
# + relu = kept.setdefault(outputs, ReLU())
# + layers += [Dense(inputs, outputs, rng), relu, Dropout(dropout, rng)]

# %% mutant="mlp" why="one dropout for all layers of a width"
# - layers = []
# + layers, kept = [], {}
# - layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(dropout, rng)]
# + drop = kept.setdefault(outputs, Dropout(dropout, rng))
# + layers += [Dense(inputs, outputs, rng), ReLU(), drop]

# %% mutant="mlp" why="one Dense for all layers of one shape"
# - layers = []
# + layers, kept = [], {}
# - layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(dropout, rng)]
# + dense = kept.setdefault((inputs, outputs), Dense(inputs, outputs, rng))
# + layers += [dense, ReLU(), Dropout(dropout, rng)]

# %% mutant="mlp" why="p is at most 0.6"
# - layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(dropout, rng)]
# + layers += [Dense(inputs, outputs, rng), ReLU(), Dropout(min(dropout, 0.6), rng)]


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
    layers = f"{len(hidden)} hidden layer{'' if len(hidden) == 1 else 's'}"
    title = f"{layers}: {accuracy(net, x_toy, y_toy):.0%}"
    plots.decision_regions(
        lambda z, net=net: 1 / (1 + np.exp(net.forward(z) @ [1.0, -1.0])), x_toy, y_toy, title, ax=ax
    )
plots.show(
    "Two spirals and the regions of networks with 0 to 3 hidden layers: a straight border at "
    "first, then borders that wind with the spirals."
)

# %% [markdown]
# ## 11. Your network reads digits
# The last training, epoch by epoch, on the data set's own split; for the last epochs the learning rate is ten times smaller. Until then both errors may jump: at this rate one unlucky step can spoil many answers, which the epochs after it mend; with the smaller one the curves calm down. Then look closer than at one number: where does it err, how sure is it when it errs, and what did the first weights learn to look at?

# %% [markdown] lang="ru"
# ## 11. Ваша сеть читает цифры
# Последнее обучение, эпоха за эпохой, на собственном разбиении набора данных; в последних эпохах шаг обучения вдесятеро меньше. До них обе ошибки могут скакать: при таком шаге одно неудачное обновление может испортить много ответов, и их исправляют лишь следующие эпохи; с меньшим шагом кривые успокаиваются. А затем не ограничивайтесь одним числом и присмотритесь: где сеть ошибается, насколько она при этом уверена и на что научились смотреть первые веса?

# %%
rng = np.random.default_rng(0)
x_learn, x_held = as_rows(digits.x_train), as_rows(digits.x_test)
net = mlp([x_learn.shape[1], *settings["hidden"], 10], rng, settings["dropout"])
weight = next(array for array in net.parameters() if array.ndim == 2)  # of the first layer
start = weight.copy()
curve = {"training": [], "held out": []}
options = {"epochs": 1, "batch_size": settings["batch_size"], "rng": rng}
for lr in progress(settings["rates"], "epochs"):
    train(net, SoftmaxCrossEntropy(), x_learn, digits.y_train, lr=lr, **options)
    curve["training"].append(1 - accuracy(net, x_learn, digits.y_train))
    curve["held out"].append(1 - accuracy(net, x_held, digits.y_test))
print(f"errors: training {curve['training'][-1]:.2%}, held out {curve['held out'][-1]:.2%}")
change = weight - start
week01.classifier(curve, net.forward(x_held), digits.y_test, digits.x_test, change)
plots.show(
    "Error curves of training and held-out digits that fall over the epochs, with jumps until the "
    "rate gets smaller, a confusion matrix "
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
# - Масштаб начальных весов и шаг обучения решают, научится ли сеть вообще. Методы лучше простого SGD — в тетради [adaptive_sgd](adaptive_sgd.ipynb).

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
