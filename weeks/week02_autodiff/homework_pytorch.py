# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # An autodiff engine of your own, and a signal through fifty layers
# You build reverse-mode differentiation from nothing but NumPy, run it forwards as well, teach PyTorch a function that it gets wrong, save memory and bits, and end with one picture that says why networks of fifty layers train at all.

# %% [markdown] lang="ru"
# # Своё автодифференцирование и сигнал через пятьдесят слоёв
# Вы построите обратный режим дифференцирования на одном NumPy, пустите его и в прямом направлении, научите PyTorch функции, на которой он ошибается, сэкономите память и биты, а в конце получите картинку, из которой видно, почему сети из пятидесяти слоёв вообще обучаются.

# %% tags=["parameters"]
profile = "small"

# %%
import itertools
import math
import sys
import warnings
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from practical_dl import check, data, plots, progress, seed_everything
from practical_dl.weeks import week02

warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)  # of torch.func, about itself
seed_everything(0)
settings = {
    "small": {"data": "digits", "brightest": 16, "steps": 250, "deep_steps": 60, "lines": 3},
    "full": {
        "data": "fashion_mnist", "brightest": 255, "steps": 1500, "deep_steps": 600, "lines": 20,
    },
}[profile]  # fmt: skip
device = "cuda" if profile == "full" and torch.cuda.is_available() else "cpu"

# %%
pictures = data.load(settings["data"], profile)

# %%
x_train, x_test = (
    part.reshape(len(part), -1) / settings["brightest"]
    for part in (pictures.x_train, pictures.x_test)
)
middle, spread = x_train.mean(axis=0), x_train.std(axis=0) + 0.1
x_train, x_test = (x_train - middle) / spread, (x_test - middle) / spread
y_train, y_test = (np.asarray(part, dtype=int) for part in (pictures.y_train, pictures.y_test))

# %% [markdown]
# ## 1. An operation is a value and a way back
# In week 01 you wrote `backward` for whole layers. A framework does it once for each *elementary operation*, and joins the pieces while your program runs. All it needs of an operation are two things: its value, and a function that turns the gradient of the result into gradients of the inputs. We call that function its **pull**, since it pulls a gradient back:
#
# $$y = f(x_1, x_2), \qquad \text{pull}(g) = \Bigl(g\,\tfrac{\partial y}{\partial x_1},\; g\,\tfrac{\partial y}{\partial x_2}\Bigr), \qquad g = \frac{\partial L}{\partial y}.$$
#
# Rules for all of sections 1–4:
#
# 1. An operation is a function of arrays that returns `(value, pull)`; arrays are `float64`.
# 2. `pull(g)` returns a tuple (or a list) with one gradient an input, also where there is one input only. It may be called more than once, and after other operations have run.
# 3. Nothing changes its arguments.
#
# Here is the whole engine, but for what you write. A `Tensor` remembers its parents and the way back to them: a [computation graph](glossary:Computation-graph) that grows by itself.

# %% [markdown] lang="ru"
# ## 1. Операция — это значение и дорога назад
# На первой неделе вы писали `backward` для целых слоёв. Фреймворк делает это один раз для каждой *элементарной операции* и соединяет куски, пока работает ваша программа. От операции нужны две вещи: значение и функция, которая из градиента результата делает градиенты входов. Назовём её **pull**: она тянет градиент назад.
#
# $$y = f(x_1, x_2), \qquad \text{pull}(g) = \Bigl(g\,\tfrac{\partial y}{\partial x_1},\; g\,\tfrac{\partial y}{\partial x_2}\Bigr), \qquad g = \frac{\partial L}{\partial y}.$$
#
# Правила для разделов 1–4:
#
# 1. Операция — функция от массивов, которая возвращает `(value, pull)`; массивы — `float64`.
# 2. `pull(g)` возвращает кортеж (или список) — по градиенту на каждый вход, даже если вход один. Его могут вызвать не раз и уже после других операций.
# 3. Ничто не меняет своих аргументов.
#
# Вот весь движок, кроме того, что напишете вы. `Tensor` помнит своих родителей и дорогу к ним: [вычислительный граф](glossary:Computation-graph) (computation graph) растёт сам.


# %%
class Tensor:
    """An array that remembers how it came about.

    data: its numbers. parents: the Tensors that it was made of, () for a leaf. pull: gradient of this
    Tensor -> one gradient a parent, of the parent's shape. grad: filled by `backward`, in leaves.
    """

    __array_ufunc__ = None  # in `array @ tensor` NumPy leaves the work to the Tensor

    def __init__(self, data, parents: tuple["Tensor", ...] = (), pull: Callable | None = None):
        self.data = np.asarray(data, dtype=float)
        self.parents, self.pull, self.grad = parents, pull, None

    def __add__(self, other):
        return apply(add, self, other)

    def __mul__(self, other):
        return apply(multiply, self, other)

    def __sub__(self, other):
        return self + -1.0 * (other if isinstance(other, Tensor) else Tensor(other))

    def __truediv__(self, other):
        return apply(divide, self, other)

    def __pow__(self, other):
        return apply(power, self, other)

    def __matmul__(self, other):
        return apply(matmul, self, other)

    def __rmatmul__(self, other):
        return apply(matmul, other, self)

    def __getitem__(self, key):
        return apply(index, self, key=key)

    def reshape(self, *shape):
        return apply(reshape, self, shape=shape)

    def transpose(self, *axes):
        return apply(transpose, self, axes=axes)

    def exp(self):
        return apply(exp, self)

    def log(self):
        return apply(log, self)

    def tanh(self):
        return apply(tanh, self)

    def sum(self, axis=None, keepdims=False):
        return apply(total, self, axis=axis, keepdims=keepdims)

    def max(self, axis=None, keepdims=False):
        return apply(amax, self, axis=axis, keepdims=keepdims)

    __radd__, __rmul__ = __add__, __mul__


def apply(operation: Callable, *inputs, **options) -> Tensor:
    """Run an operation on Tensors and note it in the graph. Numbers and arrays become leaves."""
    parents = tuple(x if isinstance(x, Tensor) else Tensor(x) for x in inputs)
    value, pull = operation(*(p.data for p in parents), **options)

    def back(grad: np.ndarray) -> tuple[np.ndarray, ...]:
        shapes = [p.data.shape for p in parents]
        return tuple(unbroadcast(g, s) for g, s in zip(pull(grad), shapes, strict=True))

    return Tensor(value, parents, back)


# %% [markdown]
# ### Broadcasting, backwards
# NumPy stretches shapes for you: a bias $(3)$ is added to every row of $(2, 3)$. Stretching is *using a value several times*, and where a value is used several times, its gradients **add up**. So the way back of a broadcast is a sum over what was stretched. `apply` does that once, for all operations, by your `unbroadcast`; therefore the gradient in a pull may have the shape of the result.

# %% [markdown] lang="ru"
# ### Транслирование в обратную сторону
# NumPy сам растягивает формы (broadcasting, «транслирование»): вектор смещений (bias) формы $(3)$ прибавляется к каждой строке массива $(2, 3)$. Растянуть — значит *использовать значение несколько раз*, а градиенты значения, использованного несколько раз, **складываются**. Поэтому обратная дорога растяжения — сумма по всему, что растянуто. `apply` делает это в одном месте, для всех операций, с помощью вашей `unbroadcast`; так что градиент внутри pull может иметь форму результата.

# %%
week02.broadcasting()
plots.show(
    "Left, forward: a row of three numbers is copied into both rows of a 2 by 3 array. Right, backward: "
    "the two rows of gradients are added up into one row of three."
)

# %% [markdown]
# {{task:unbroadcast}}
#
# Axes that broadcasting put in front go; axes of length 1 that it stretched come back with length 1.

# %% [markdown] lang="ru"
# {{task:unbroadcast}}
#
# Оси, добавленные спереди, исчезают; растянутые оси длины 1 снова получают длину 1.


# %% solution="unbroadcast"
def unbroadcast(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Add up the gradient of a broadcast array until it has the shape from before.

    grad: an array of a shape to which `shape` can be broadcast -> an array of that shape.
    unbroadcast([[1, 2, 4], [8, 16, 32]], (3,)) -> [9, 18, 36]
    unbroadcast([[1, 2, 4], [8, 16, 32]], (2, 1)) -> [[7], [56]]
    """
    ### BEGIN SOLUTION
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1)
    return grad.sum(axis=stretched, keepdims=True)
    ### END SOLUTION


# %% test="unbroadcast" points=0.5 difficulty=2 minutes=10
grad = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
for shape, want in [((3,), [9, 18, 36]), ((2, 1), [[7], [56]]), ((1, 3), [[9, 18, 36]]), ((), 63)]:
    call = f"unbroadcast(2 × 3, {shape})"
    check.close(check.answer(unbroadcast, grad, shape, call=call), want, call, why="add up copies")
### BEGIN HIDDEN TESTS
rng = check.rng("unbroadcast")
for shape, before, why in [
    ((2, 3), (2, 3), "leave a gradient alone that was not stretched"),
    ((4, 2, 3), (3,), "add up over all axes in front"),
    ((4, 2, 3), (2, 3), "add up over an axis in front, and no other"),
    ((4, 2, 3), (4, 1, 3), "keep an axis of length 1 in the middle"),
    ((4, 2, 3), (4, 2, 1), "keep an axis of length 1 at the end"),
    ((4, 2, 3), (1, 1, 1), "keep all axes of length 1"),
    ((4, 2, 3), (2, 1), "do both: an axis in front goes, one of length 1 stays"),
    ((4, 2, 3), (1, 3), "do both: an axis in front goes, one of length 1 stays"),
    ((4, 2, 3), (), "add up everything for a number"),
    ((3, 3, 3), (3, 1), "go by places of axes, not by their lengths"),
    ((3, 3), (3,), "go by places of axes, not by their lengths"),
    ((5, 1, 2), (1, 2), "take an axis that was 1 all along as it is"),
    ((0, 3), (3,), "be 0 where nothing was used"),
    ((0, 3), (1, 3), "be 0 where nothing was used, and keep the axis"),
    ((2, 3, 2, 3, 2), (1, 3, 1), "work for any number of axes"),
]:
    grad = rng.normal(size=shape)
    leaf = torch.zeros(before, dtype=torch.float64, requires_grad=True)
    leaf.expand(shape).backward(torch.tensor(grad))
    call = f"unbroadcast({shape}, {before})"
    check.close(
        check.answer(unbroadcast, grad, before, call=call), leaf.grad, call, why=why, rtol=1e-9
    )
call = "unbroadcast, to nine digits"
grad = np.array([[1 / 3], [1e-7 / 7]])
check.close(check.answer(unbroadcast, grad, (1, 1), call=call), [[grad.sum()]], call, rtol=1e-12,
            why="be the sum, in double precision")  # fmt: skip
### END HIDDEN TESTS

# %% mutant="unbroadcast" why="no un-broadcasting at all"
# - grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
# - stretched = tuple(i for i, n in enumerate(shape) if n == 1)
# - return grad.sum(axis=stretched, keepdims=True)
# + return grad

# %% mutant="unbroadcast" why="loses axes of length 1"
# - return grad.sum(axis=stretched, keepdims=True)
# + return grad.sum(axis=stretched)

# %% mutant="unbroadcast" why="sums over the first axes only"
# - return grad.sum(axis=stretched, keepdims=True)
# + return grad

# %% mutant="unbroadcast" why="takes an axis of no length for one that was not stretched"
# - stretched = tuple(i for i, n in enumerate(shape) if n == 1)
# + stretched = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] > 1)

# %% mutant="unbroadcast" why="means instead of sums"
# - return grad.sum(axis=stretched, keepdims=True)
# + return grad.mean(axis=stretched, keepdims=True)

# %% mutant="unbroadcast" why="takes one copy for all"
# - grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
# + while grad.ndim > len(shape):
# +     grad = grad[0]

# %% mutant="unbroadcast" why="one axis in front at the most"
# - grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
# + grad = grad.sum(axis=0) if grad.ndim > len(shape) else grad

# %% mutant="unbroadcast" why="a reshape in the end hides wrong axes"
# - grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
# - stretched = tuple(i for i, n in enumerate(shape) if n == 1)
# - return grad.sum(axis=stretched, keepdims=True)
# + while grad.size > math.prod(shape):
# +     grad = grad.sum(axis=0)
# + return grad.reshape(shape)


# %% alternative="unbroadcast" why="axis after axis, from the front"
def unbroadcast(grad, shape):
    while grad.ndim > len(shape):
        grad = np.add.reduce(grad)
    for axis, length in enumerate(shape):
        if length == 1 and grad.shape[axis] != 1:
            grad = np.expand_dims(grad.sum(axis), axis)
    return grad


# %% [markdown]
# ### Arithmetic
# Seven operations carry most of deep learning. Their local derivatives are school mathematics, but for one that pricks. For $z = x^y$, element by element,
#
# $$\frac{\partial z}{\partial x} = y\,x^{y-1}, \qquad \frac{\partial z}{\partial y} = x^y \log x.$$
#
# At $x = 0,\ y = 0$ the first formula gives $0 \cdot \infty$, though $x^0$ is the constant 1: where $y = 0$ the derivative towards $x$ is **0**. The second one exists for positive $x$ only; where $x \le 0$ take **0**, so that $x^2$ of a negative $x$ makes no NaN. No factor may be infinite where its product is due to be 0: $0 \cdot \infty$ is NaN. (Warnings of NumPy do not matter.)
#
# {{task:arithmetic}}
#
# `pulled` runs an operation and its pull; the checks use it.

# %% [markdown] lang="ru"
# ### Арифметика
# На семи операциях держится почти всё глубокое обучение. Их производные — школьная математика; подвох лишь в одной. Для $z = x^y$, поэлементно,
#
# $$\frac{\partial z}{\partial x} = y\,x^{y-1}, \qquad \frac{\partial z}{\partial y} = x^y \log x.$$
#
# При $x = 0,\ y = 0$ первая формула даёт $0 \cdot \infty$, хотя $x^0$ — постоянная 1: там, где $y = 0$, производная по $x$ равна **0**. Вторая существует лишь для положительных $x$; там, где $x \le 0$, берите **0**, чтобы $x^2$ при отрицательном $x$ не давал NaN. Бесконечному множителю не место там, где произведение должно быть 0: $0 \cdot \infty$ — это NaN. (Предупреждения NumPy не важны.)
#
# {{task:arithmetic}}
#
# `pulled` выполняет операцию и её pull; им пользуются проверки.


# %%
def pulled(operation: Callable, *inputs, upstream, **options):
    """The value of an operation, and what its pull makes of the gradient `upstream`."""
    value, pull = operation(*inputs, **options)
    return value, pull(upstream)


# %% solution="arithmetic"
Pulled = tuple[np.ndarray, Callable[[np.ndarray], tuple[np.ndarray, ...]]]


def add(x: np.ndarray, y: np.ndarray) -> Pulled:
    """x + y and its pull, as in all of these; x and y of any shapes that broadcast."""
    ### BEGIN SOLUTION
    return x + y, lambda g: (g, g)
    ### END SOLUTION


def multiply(x: np.ndarray, y: np.ndarray) -> Pulled:
    """x * y. multiply(3, 5) -> 15 and a pull that makes (50, 30) of 10."""
    ### BEGIN SOLUTION
    return x * y, lambda g: (g * y, g * x)
    ### END SOLUTION


def divide(x: np.ndarray, y: np.ndarray) -> Pulled:
    """x / y."""
    ### BEGIN SOLUTION
    return x / y, lambda g: (g / y, -g * x / y**2)
    ### END SOLUTION


def power(x: np.ndarray, y: np.ndarray) -> Pulled:
    """x ** y. Towards x it is 0 where y = 0; towards y it is 0 where x <= 0."""
    ### BEGIN SOLUTION
    with np.errstate(all="ignore"):  # where leaves out what is infinite
        z = x**y
        slope_x = np.where(y == 0, 0.0, y * x ** (y - 1))
        slope_y = np.where(x > 0, z * np.log(x), 0.0)
    return z, lambda g: (g * slope_x, g * slope_y)
    ### END SOLUTION


def exp(x: np.ndarray) -> Pulled:
    """The exponential, element by element."""
    ### BEGIN SOLUTION
    y = np.exp(x)
    return y, lambda g: (g * y,)
    ### END SOLUTION


def log(x: np.ndarray) -> Pulled:
    """The natural logarithm of positive numbers."""
    ### BEGIN SOLUTION
    return np.log(x), lambda g: (g / x,)
    ### END SOLUTION


def tanh(x: np.ndarray) -> Pulled:
    """The hyperbolic tangent; its derivative is 1 - tanh(x) ** 2."""
    ### BEGIN SOLUTION
    y = np.tanh(x)
    return y, lambda g: (g * (1 - y**2),)
    ### END SOLUTION


# %% test="arithmetic" points=1 difficulty=2 minutes=20
operations = {
    "add": add, "multiply": multiply, "divide": divide, "power": power,
    "exp": exp, "log": log, "tanh": tanh,
}  # fmt: skip
numbers, upstream = (np.array([3.0, 0.25]), np.array([5.0, 4.0])), np.array([10.0, -7.0])
for name, inputs, value, wanted in [
    ("add", numbers, [8, 4.25], [[10, -7], [10, -7]]),
    ("multiply", numbers, [15, 1], [[50, -28], [30, -1.75]]),
    ("divide", numbers, [0.6, 0.0625], [[2, -1.75], [-1.2, 0.109375]]),
    ("power", numbers, [243, 0.00390625], [[4050, -0.4375], [2669.627842, 0.0379067]]),
    ("exp", numbers[:1], [20.0855369, 1.2840254], [[200.855369, -8.9881779]]),
    ("log", numbers[:1], [1.0986123, -1.3862944], [[3.3333333, -28]]),
    ("tanh", numbers[:1], [0.9950548, 0.2449187], [[0.0986604, -6.5801044]]),
]:
    call = f"{name} of {' and '.join(str(x.tolist()) for x in inputs)}"
    found = check.answer(pulled, operations[name], *inputs, upstream=upstream, call=call)
    check.close(found[0], value, f"the value of {call}", rtol=1e-4)
    check.equal(len(found[1]), len(inputs), f"number of gradients of {call}")
    for got, slope in zip(found[1], wanted, strict=True):
        check.close(got, slope, f"pull([10, -7]) of {call}", rtol=1e-4)
### BEGIN HIDDEN TESTS
rng = check.rng("arithmetic")
oracle = {
    "add": torch.add, "multiply": torch.mul, "divide": torch.div, "power": torch.pow,
    "exp": torch.exp, "log": torch.log, "tanh": torch.tanh,
}  # fmt: skip


def summed_to(grad, shape):
    """A gradient of the shape of the result, added up to that of the input."""
    grad = np.asarray(grad)
    if grad.shape == shape:
        return grad
    grad = grad.sum(axis=tuple(range(max(0, grad.ndim - len(shape)))))
    return grad.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


def judge_operation(name, arrays, why, wanted=None):
    """Value, then gradients, as torch has them; or gradients as wanted."""
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    value = oracle[name](*leaves)
    upstream = rng.normal(size=tuple(value.shape))
    slopes = torch.autograd.grad(value, leaves, torch.tensor(upstream))
    if wanted is not None:
        slopes = [upstream * np.array(w) for w in wanted]
    call = f"{name} of shapes {', '.join(str(a.shape) for a in arrays)}"
    with np.errstate(all="ignore"):
        found = check.answer(pulled, operations[name], *arrays, upstream=upstream, call=call)
    check.close(found[0], value, f"the value of {call}", rtol=1e-9, atol=0, why=why)
    check.equal(len(found[1]), len(arrays), f"number of gradients of {call}", why="be one an input")
    for i, (got, slope) in enumerate(zip(found[1], slopes, strict=True)):
        what = f"gradient {i + 1} of {call}"
        got = summed_to(got, arrays[i].shape)
        text = why if wanted is None else f"be right towards {'xy'[i]}: {why}"
        check.close(got, slope, what, rtol=1e-9, atol=1e-12, why=text)


for name in oracle:
    shapes = [
        ((), ()),
        ((4,), (4,)),
        ((2, 3), (2, 3)),
        ((2, 3), (3,)),
        ((2, 1), (3,)),
        ((), (2, 3)),
    ]
    for pair in [*shapes, ((3, 1, 2), (4, 1))]:
        arrays = [rng.uniform(0.2, 3, size=s) for s in pair][
            : 1 if name in ("exp", "log", "tanh") else 2
        ]
        judge_operation(name, arrays, "be right for positive numbers of any shapes that broadcast")
for name in ("add", "multiply", "divide", "exp", "tanh"):
    arrays = [-rng.uniform(0.2, 3, size=s) for s in ((2, 3), (3,))][
        : 1 if name in ("exp", "tanh") else 2
    ]
    judge_operation(name, arrays, "be right for negative numbers")
judge_operation("multiply", [np.zeros(3), rng.normal(size=3)], "be right at 0")
judge_operation(
    "divide", [np.array([1e-200, 3e150]), np.array([2e-100, 7e120])], "be right for any sizes"
)
judge_operation("log", [np.array([1e-300, 1e-9, 1e300])], "be right for small and large numbers")
judge_operation("tanh", [np.array([-30.0, 0.0, 1e-9, 400.0])], "be right at 0 and far from it")
judge_operation("exp", [np.array([-800.0, -30.0, 0.0, 50.0])], "be right at 0 and far from it")
why = "where y = 0 the derivative towards x is 0, also where x is next to 0"
judge_operation("power", [np.zeros(2), np.zeros(2)], why, [[0, 0], [0, 0]])
judge_operation("power", [np.array([-3.0, 2.0]), np.zeros(2)], why, [[0, 0], [0, math.log(2)]])
judge_operation("power", [np.array([1e-310]), np.zeros(1)], why, [[0], [math.log(1e-310)]])
why = "the derivative towards y is 0 where x is 0 or negative"
judge_operation("power", [np.array([0.0, 0.0]), np.array([2.0, 1.0])], why, [[0, 1], [0, 0]])
judge_operation("power", [np.array([-3.0, -0.5]), np.array([2.0, 3.0])], why, [[-6, 0.75], [0, 0]])
judge_operation("power", [np.array([0.0]), np.array([-1.0])], why, [[-math.inf], [0]])
why = "exponents may be negative"
judge_operation("power", [np.array([-2.0]), np.array([-1.0])], why, [[-0.25], [0]])
judge_operation(
    "power", [np.array([0.3, 4.0]), np.array([-2.5, -0.5])], "be right for negative exponents"
)


def pulled_late(operation, first, second, upstream):
    """The pull of a first use, after the operation was used a second time; and again."""
    _, pull = operation(*first)
    operation(*second)
    pull(upstream)
    return pull(upstream)


for name in oracle:
    count = 1 if name in ("exp", "log", "tanh") else 2
    first, second = rng.uniform(0.5, 2, size=(2, count, 3))
    leaves = [torch.tensor(a, requires_grad=True) for a in first]
    upstream = rng.normal(size=3)
    slopes = torch.autograd.grad(oracle[name](*leaves), leaves, torch.tensor(upstream))
    call = f"the pull of {name}, called a second time, after another {name}"
    found = check.answer(pulled_late, operations[name], first, second, upstream, call=call)
    for got, slope in zip(found, slopes, strict=True):
        check.close(got, slope, call, rtol=1e-9, why="belong to its own operation")


def random_graph():
    """A random expression of all operations: leaves, and steps (name, numbers of their inputs)."""
    leaves = [rng.uniform(0.5, 2, size=s) for s in ((3, 4), (4,), (3, 1), (), (2, 1, 4))]
    steps = []
    for number in range(7):
        name = str(rng.choice(list(oracle)))
        count = 1 if name in ("exp", "log", "tanh") else 2
        known = [*range(len(leaves)), *range(len(leaves) + 1, len(leaves) + 2 * number, 2)]
        steps.append((name, [int(i) for i in rng.choice(known, size=count)]))
    return leaves, steps


for _ in range(4):
    leaves, steps = random_graph()
    tensors = [torch.tensor(a, requires_grad=True) for a in leaves]
    theirs = week02.run_graph(
        tensors, steps, lambda name, *v: oracle[name](*v), lambda z: 1 + torch.tanh(z) / 2
    )
    upstream = rng.normal(size=tuple(theirs[-1].shape))
    slopes = torch.autograd.grad(theirs[-1], tensors, torch.tensor(upstream), allow_unused=True)
    call = "a random expression, " + ", ".join(name for name, _ in steps)
    with np.errstate(all="ignore"):
        found = check.answer(
            week02.graph_by_operations, operations, leaves, steps, upstream, summed_to, call=call
        )
    check.close(found[0], theirs[-1], f"the value of {call}", rtol=1e-8, why="agree with torch")
    for got, slope, leaf in zip(found[1], slopes, leaves, strict=True):
        slope = np.zeros(leaf.shape) if slope is None else slope
        check.close(
            got, slope, f"gradients of {call}", rtol=1e-7, atol=1e-10, why="agree with torch"
        )
### END HIDDEN TESTS

# %% mutant="arithmetic" why="an infinite value times the logarithm of 1"
# - slope_y = np.where(x > 0, z * np.log(x), 0.0)
# + slope_y = z * np.log(np.where(x > 0, x, 1.0))

# %% mutant="arithmetic" why="cares for x = y = 0 alone"
# - slope_x = np.where(y == 0, 0.0, y * x ** (y - 1))
# + slope_x = np.where((x == 0) & (y == 0), 0.0, y * x ** (y - 1))

# %% mutant="arithmetic" why="the gradient that arrives is forgotten"
# - return x * y, lambda g: (g * y, g * x)
# + return x * y, lambda g: (y, x)

# %% mutant="arithmetic" why="the factors the wrong way round"
# - return x * y, lambda g: (g * y, g * x)
# + return x * y, lambda g: (g * x, g * y)

# %% mutant="arithmetic" why="the divisor's sign"
# - return x / y, lambda g: (g / y, -g * x / y**2)
# + return x / y, lambda g: (g / y, g * x / y**2)

# %% mutant="arithmetic" why="pow at 0: zero times infinity"
# - slope_x = np.where(y == 0, 0.0, y * x ** (y - 1))
# + slope_x = y * x ** (y - 1)

# %% mutant="arithmetic" why="NaN towards the exponent of a negative number"
# - slope_y = np.where(x > 0, z * np.log(x), 0.0)
# + slope_y = z * np.log(x)

# %% mutant="arithmetic" why="no gradient towards x where x is not positive"
# - slope_x = np.where(y == 0, 0.0, y * x ** (y - 1))
# + slope_x = np.where(x > 0, y * np.where(x > 0, x, 1.0) ** (y - 1), 0.0)

# %% mutant="arithmetic" why="forgets the logarithm"
# - slope_y = np.where(x > 0, z * np.log(x), 0.0)
# + slope_y = np.where(x > 0, z, 0.0)

# %% mutant="arithmetic" why="an exponent is a constant"
# - return z, lambda g: (g * slope_x, g * slope_y)
# + return z, lambda g: (g * slope_x, 0.0 * g)

# %% mutant="arithmetic" why="the derivative of tanh at its own value"
# - return y, lambda g: (g * (1 - y**2),)
# + return y, lambda g: (g * (1 - np.tanh(y) ** 2),)

# %% mutant="arithmetic" why="one memory for all exponentials"
# - y = np.exp(x)
# - return y, lambda g: (g * y,)
# + exp.y = np.exp(x)
# + return exp.y, lambda g: (g * exp.y,)

# %% mutant="arithmetic" why="scales the gradient that arrives in place"
# - return np.log(x), lambda g: (g / x,)
# + return np.log(x), lambda g: (np.divide(g, x, out=g if np.shape(g) == np.shape(x) and np.ndim(g) else None),)


# %% alternative="arithmetic" why="un-broadcasts itself; other formulas; inner functions"
def add(x, y):
    def pull(g):
        return [unbroadcast_too(g, x), unbroadcast_too(g, y)]

    return np.add(x, y), pull


def unbroadcast_too(g, x):
    g = np.sum(np.asarray(g), axis=tuple(range(np.ndim(g) - np.ndim(x))))
    return g.sum(axis=tuple(i for i, n in enumerate(np.shape(x)) if n == 1), keepdims=True)


def multiply(x, y):
    def pull(g):
        return unbroadcast_too(g * y, x), unbroadcast_too(g * x, y)

    return np.multiply(x, y), pull


def divide(x, y):
    ratio = x / y
    return ratio, lambda g: (g / y, -g * ratio / y)


def power(x, y):
    z = x**y
    slope_x = y * np.where(y == 0, 1.0, x) ** np.where(y == 0, 1.0, y - 1)
    slope_y = np.where(x > 0, z, 0.0) * np.log(np.where(x > 0, x, 1.0))

    def pull(g):
        return unbroadcast_too(g * slope_x, x), unbroadcast_too(g * slope_y, y)

    return z, pull


def exp(x):
    return np.exp(x), lambda g: (np.exp(x) * g,)


def log(x):
    return np.log(x), lambda g: (g * (1 / x),)


def tanh(x):
    y = np.tanh(x)
    return y, lambda g: (g * (1 - y) * (1 + y),)


# %%
x, y = np.meshgrid(np.linspace(0.4, 2.4, 41), np.linspace(-0.9, 1.9, 41))
value, (to_x, to_y) = pulled(power, x, y, upstream=np.ones_like(x))
ax = plt.subplots(figsize=(6.6, 4.2))[1]
filled = ax.contourf(x, y, value, levels=20, cmap="Blues")
some = slice(2, None, 4), slice(2, None, 4)
ax.quiver(x[some], y[some], to_x[some], to_y[some], color=plots.GRADIENT, angles="xy", width=0.004)
ax.set(title="$x^y$, and what your pull makes of the gradient 1", xlabel="x", ylabel="y")
plt.colorbar(filled, label="$x^y$")
plots.show(
    "The surface x to the power y as shades of blue with an arrow of the gradient at each point; the "
    "arrows point uphill, across the level lines, and are longest at the top right."
)

# %% [markdown]
# ## 2. Operations that move numbers
# ### Matrix product
# With differentials (Magnus & Neudecker, *Matrix Differential Calculus*) a matrix gradient is two lines. From $Y = XW$ follows $dY = dX\,W + X\,dW$; the loss changes by $dL = \langle G, dY \rangle$, where $\langle A, B\rangle = \sum_{ij} A_{ij} B_{ij}$. Move what is not $dX$ to the other side of the product, and read off:
#
# $$dL = \langle G\,W^\top,\, dX \rangle + \langle X^\top G,\, dW \rangle \quad\Longrightarrow\quad \frac{\partial L}{\partial X} = G\,W^\top, \qquad \frac{\partial L}{\partial W} = X^\top G.$$
#
# NumPy's `@` can do more, and so must you: *stacks* of matrices (axes in front broadcast as in section 1), and **vectors**: one on the left is a row whose axis disappears from the result, one on the right is a column whose axis disappears. Put the axis back, compute, take it off.
#
# {{task:matmul}}

# %% [markdown] lang="ru"
# ## 2. Операции, которые переставляют числа
# ### Произведение матриц
# С дифференциалами (Magnus, Neudecker, *Matrix Differential Calculus*) градиент по матрице — это две строки. Из $Y = XW$ следует $dY = dX\,W + X\,dW$; потери меняются на $dL = \langle G, dY \rangle$, где $\langle A, B\rangle = \sum_{ij} A_{ij} B_{ij}$. Перенесите всё, кроме $dX$, на другую сторону скалярного произведения — и читайте ответ:
#
# $$dL = \langle G\,W^\top,\, dX \rangle + \langle X^\top G,\, dW \rangle \quad\Longrightarrow\quad \frac{\partial L}{\partial X} = G\,W^\top, \qquad \frac{\partial L}{\partial W} = X^\top G.$$
#
# Оператор `@` в NumPy умеет больше, и вам это тоже понадобится: *стопки* матриц (передние оси растягиваются, как в разделе 1) и **векторы**: левый — это строка, чья ось исчезает из результата, правый — столбец, чья ось исчезает. Верните ось, посчитайте, снимите её.
#
# {{task:matmul}}


# %% solution="matmul"
def matmul(x: np.ndarray, y: np.ndarray) -> Pulled:
    """x @ y and its pull. x, y: vectors, matrices or stacks of matrices, as NumPy's @ takes them.

    The gradient of a stretched stack may have the axes in front that the result has.
    """

    ### BEGIN SOLUTION
    def pull(g):
        rows = x[None, :] if x.ndim == 1 else x
        columns = y[:, None] if y.ndim == 1 else y
        g = g[..., None] if y.ndim == 1 else g
        g = g[..., None, :] if x.ndim == 1 else g
        to_x, to_y = g @ columns.swapaxes(-1, -2), rows.swapaxes(-1, -2) @ g
        return to_x[..., 0, :] if x.ndim == 1 else to_x, to_y[..., 0] if y.ndim == 1 else to_y

    return x @ y, pull
    ### END SOLUTION


# %% test="matmul" points=0.5 difficulty=3 minutes=15
x, y = np.array([[1.0, 2.0, -3.0], [0.5, 0.0, 4.0]]), np.array([[2.0], [-1.0], [3.0]])
call = "matmul(2 × 3, 3 × 1)"
found = check.answer(pulled, matmul, x, y, upstream=np.array([[10.0], [-7.0]]), call=call)
check.close(found[0], [[-9], [13]], f"the value of {call}")
check.close(
    found[1][0], [[20, -10, 30], [-14, 7, -21]], f"gradient of x in {call}", why="be G @ y.T"
)
check.close(found[1][1], [[6.5], [20], [-58]], f"gradient of y in {call}", why="be x.T @ G")
### BEGIN HIDDEN TESTS
rng = check.rng("matmul")


def summed_stack(grad, shape):
    """A gradient with the axes of the result, added up to the shape of the input."""
    grad = np.asarray(grad)
    if grad.shape == shape:
        return grad
    grad = grad.sum(axis=tuple(range(max(0, grad.ndim - len(shape)))))
    return grad.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


def pulled_after(operation, x, y, upstream):
    """The pull of a first product after a second one has run; called twice."""
    value, pull = operation(x, y)
    operation(y * 2, y.T if y.ndim > 1 else y)
    pull(upstream)
    return value, pull(upstream)


for shape_x, shape_y, why in [
    ((2, 3), (3, 4), "give G @ y.T and x.T @ G"),
    ((3, 3), (3, 3), "give G @ y.T and x.T @ G, also for square matrices"),
    ((1, 3), (3, 1), "keep axes of length 1"),
    ((4,), (4,), "take two vectors"),
    ((3,), (3, 4), "take a vector on the left"),
    ((2, 3), (3,), "take a vector on the right"),
    ((3,), (3, 3), "take a vector on the left, also of a square matrix"),
    ((3, 3), (3,), "take a vector on the right, also of a square matrix"),
    ((5, 2, 3), (5, 3, 4), "take stacks of matrices"),
    ((5, 2, 3), (3, 4), "stretch a matrix over a stack"),
    ((2, 3), (5, 3, 4), "stretch a matrix over a stack"),
    ((5, 1, 2, 3), (6, 3, 4), "stretch stacks of any axes"),
    ((3,), (5, 3, 4), "take a vector and a stack"),
    ((5, 2, 3), (3,), "take a stack and a vector"),
    ((6, 5, 2, 3), (3,), "take a stack of stacks and a vector"),
]:
    x, y = rng.normal(size=shape_x), rng.normal(size=shape_y)
    leaves = [torch.tensor(v, requires_grad=True) for v in (x, y)]
    value = leaves[0] @ leaves[1]
    upstream = rng.normal(size=tuple(value.shape))
    slopes = torch.autograd.grad(value, leaves, torch.tensor(upstream))
    call = f"matmul({shape_x}, {shape_y})"
    found = check.answer(pulled, matmul, x, y, upstream=upstream, call=call)
    check.close(found[0], value, f"the value of {call}", rtol=1e-9, atol=1e-12, why="be x @ y")
    for name, got, slope in zip("xy", found[1], slopes, strict=True):
        got, what = summed_stack(got, tuple(slope.shape)), f"gradient of {name} in {call}"
        check.close(got, slope, what, rtol=1e-9, atol=1e-12, why=why)
x, y, upstream = rng.normal(size=(2, 3)), rng.normal(size=(3, 2)), rng.normal(size=(2, 2))
call = "matmul, its pull called again after another matmul"
found = check.answer(pulled_after, matmul, x, y, upstream, call=call)
for got, slope in zip(found[1], (upstream @ y.T, x.T @ upstream), strict=True):
    check.close(got, slope, call, rtol=1e-9, atol=1e-12, why="belong to its own operation")
### END HIDDEN TESTS

# %% mutant="matmul" why="the other order: right for square matrices in shape"
# - to_x, to_y = g @ columns.swapaxes(-1, -2), rows.swapaxes(-1, -2) @ g
# + to_x, to_y = columns @ g.swapaxes(-1, -2), rows.swapaxes(-1, -2) @ g

# %% mutant="matmul" why="transposes whole stacks"
# - to_x, to_y = g @ columns.swapaxes(-1, -2), rows.swapaxes(-1, -2) @ g
# + to_x, to_y = g @ columns.T, rows.T @ g

# %% mutant="matmul" why="forgets vectors"
# - rows = x[None, :] if x.ndim == 1 else x
# - columns = y[:, None] if y.ndim == 1 else y
# - g = g[..., None] if y.ndim == 1 else g
# - g = g[..., None, :] if x.ndim == 1 else g
# + rows, columns = np.atleast_2d(x), np.atleast_2d(y)

# %% mutant="matmul" why="a vector on the right is taken for a row"
# - columns = y[:, None] if y.ndim == 1 else y
# + columns = y[None, :] if y.ndim == 1 else y

# %% mutant="matmul" why="the axis of a vector stays in its gradient"
# - return to_x[..., 0, :] if x.ndim == 1 else to_x, to_y[..., 0] if y.ndim == 1 else to_y
# + return to_x, to_y

# %% mutant="matmul" why="the axis of a right vector is put back in front"
# - g = g[..., None] if y.ndim == 1 else g
# + g = g[None] if y.ndim == 1 else g

# %% mutant="matmul" why="the gradients the wrong way round"
# - return to_x[..., 0, :] if x.ndim == 1 else to_x, to_y[..., 0] if y.ndim == 1 else to_y
# + return to_y[..., 0] if y.ndim == 1 else to_y, to_x[..., 0, :] if x.ndim == 1 else to_x


# %% alternative="matmul" why="einsum over the last axes, un-broadcast at once"
def matmul(x, y):
    a = x.reshape(1, -1) if x.ndim == 1 else x
    b = y.reshape(-1, 1) if y.ndim == 1 else y

    def pull(g):
        full = (a @ b).shape
        g = np.reshape(g, full)
        to_a = np.einsum("...im,...km->...ik", g, b)
        to_b = np.einsum("...ik,...im->...km", a, g)
        while to_a.ndim > max(a.ndim, 2):
            to_a = to_a.sum(0)
        while to_b.ndim > max(b.ndim, 2):
            to_b = to_b.sum(0)
        for axis in range(a.ndim - 2):
            if a.shape[axis] == 1:
                to_a = to_a.sum(axis, keepdims=True)
        for axis in range(b.ndim - 2):
            if b.shape[axis] == 1:
                to_b = to_b.sum(axis, keepdims=True)
        return to_a.reshape(x.shape), to_b.reshape(y.shape)

    return np.matmul(x, y), pull


# %% [markdown]
# ### Sums, maxima, shapes, indices
# Three observations give all five.
#
# - *A sum copies its gradient backwards*: each summand moves the sum by as much as it moves itself. (Section 1 said the converse: copying sums its gradient.)
# - *A maximum is a switch*: the gradient goes to the place that won. Several equal winners **share it equally**, as `torch.amax` does.
# - *Reshape, transpose and index only move numbers*: move the gradients back to where the numbers were. An index that takes a place twice uses it twice: its gradients **add up**.
#
# {{task:moving}}

# %% [markdown] lang="ru"
# ### Суммы, максимумы, формы, индексы
# Все пять операций следуют из трёх наблюдений.
#
# - *Сумма на обратном пути копирует градиент*: каждое слагаемое сдвигает сумму ровно настолько, насколько сдвинулось само. (В разделе 1 было наоборот: копирование суммирует градиент.)
# - *Максимум — это переключатель*: градиент уходит туда, где максимум достигнут. Несколько равных победителей **делят его поровну**, как в `torch.amax`.
# - *Смена формы, транспонирование и взятие по индексу только переставляют числа*: верните градиенты туда, где числа были. Индекс, который берёт одно место дважды, дважды его использует: градиенты **складываются**.
#
# {{task:moving}}


# %% solution="moving"
Axis = int | tuple[int, ...] | None  # None: all axes


def total(x: np.ndarray, axis: Axis = None, keepdims: bool = False) -> Pulled:
    """The sum over axes; they may be negative. keepdims: whether they stay with length 1."""
    ### BEGIN SOLUTION
    kept = x.sum(axis=axis, keepdims=True).shape
    value = x.sum(axis=axis, keepdims=keepdims)
    return value, lambda g: (np.broadcast_to(np.reshape(g, kept), x.shape),)
    ### END SOLUTION


def amax(x: np.ndarray, axis: Axis = None, keepdims: bool = False) -> Pulled:
    """The maximum over axes, as in `total`. Ties share the gradient equally."""
    ### BEGIN SOLUTION
    best = x.max(axis=axis, keepdims=True)
    share = (x == best) / (x == best).sum(axis=axis, keepdims=True)
    value = x.max(axis=axis, keepdims=keepdims)
    return value, lambda g: (np.reshape(g, best.shape) * share,)
    ### END SOLUTION


def reshape(x: np.ndarray, shape: tuple[int, ...]) -> Pulled:
    """The same numbers in another shape."""
    ### BEGIN SOLUTION
    return x.reshape(shape), lambda g: (g.reshape(x.shape),)
    ### END SOLUTION


def transpose(x: np.ndarray, axes: tuple[int, ...]) -> Pulled:
    """Axis i of the result is axis axes[i] of x. axes: 0, 1, ... in any order."""
    ### BEGIN SOLUTION
    return x.transpose(axes), lambda g: (g.transpose(np.argsort(axes)),)
    ### END SOLUTION


def index(x: np.ndarray, key) -> Pulled:
    """x[key] for any key of NumPy's: numbers, slices, None, arrays of numbers or truth values.

    index([10, 20, 30], [2, 2, 0]) -> [30, 30, 10], and a pull that makes [4, 0, 3] of [1, 2, 4].
    """

    ### BEGIN SOLUTION
    def pull(g):
        grad = np.zeros(x.shape)
        np.add.at(grad, key, g)
        return (grad,)

    return x[key], pull
    ### END SOLUTION


# %% test="moving" points=0.5 difficulty=3 minutes=20
moves = {"total": total, "amax": amax, "reshape": reshape, "transpose": transpose, "index": index}
x = np.array([[1.0, 7.0, 3.0], [7.0, 5.0, -2.0]])
for call, options, upstream, value, wanted in [
    ("total(x, axis=1)", {"axis": 1}, [10.0, -3.0], [11, 10], [[10, 10, 10], [-3, -3, -3]]),
    ("amax(x)", {}, 6.0, 7, [[0, 3, 0], [3, 0, 0]]),
    ("reshape(x, (6,))", {"shape": (6,)}, [1.0, 2, 3, 4, 5, 6],
     [1, 7, 3, 7, 5, -2], [[1, 2, 3], [4, 5, 6]]),
    ("transpose(x, (1, 0))", {"axes": (1, 0)}, [[1.0, 2], [3, 4], [5, 6]],
     [[1, 7], [7, 5], [3, -2]], [[1, 3, 5], [2, 4, 6]]),
    ("index(x, (0, [2, 2, 0]))", {"key": (0, [2, 2, 0])}, [1.0, 2, 4],
     [3, 3, 1], [[4, 0, 3], [0, 0, 0]]),
]:  # fmt: skip
    move = moves[call.split("(")[0]]
    found = check.answer(pulled, move, x, upstream=np.array(upstream), call=call, **options)
    check.close(found[0], value, f"the value of {call}")
    check.equal(len(found[1]), 1, f"number of gradients of {call}")
    check.close(found[1][0], wanted, f"the gradient of {call}")
### BEGIN HIDDEN TESTS
rng = check.rng("moving")


def torch_move(name, x, options):
    """What torch makes of it."""
    axis, keep = options.get("axis"), options.get("keepdims", False)
    axis = tuple(range(x.ndim)) if axis is None else axis
    if name == "total":
        return x.sum(dim=axis, keepdim=keep) if x.ndim else x * 1
    if name == "amax":
        return x.amax(dim=axis, keepdim=keep)
    if name == "reshape":
        return x.reshape(options["shape"])
    return x.permute(options["axes"]) if name == "transpose" else x[options["key"]]


def judge_move(name, x, why, **options):
    """Value, then gradient, as torch has them; the pull is called twice, and late."""
    leaf = torch.tensor(x, requires_grad=True)
    value = torch_move(name, leaf, options)
    upstream = rng.normal(size=tuple(value.shape))
    (slope,) = torch.autograd.grad(value, leaf, torch.tensor(upstream))
    call = f"{name} of shape {x.shape} with {options}"
    found = check.answer(pulled, moves[name], x, upstream=upstream, call=call, **options)
    check.close(found[0], value, f"the value of {call}", rtol=1e-9, atol=1e-12, why=why)
    check.equal(len(found[1]), 1, f"number of gradients of {call}", why="be 1: a tuple of one")
    check.close(found[1][0], slope, f"the gradient of {call}", rtol=1e-9, atol=1e-12, why=why)
    late = check.answer(pulled_last, moves[name], x, upstream, call=call, **options)
    what = f"the gradient of {call}, asked for again after another {name}"
    check.close(late[0], slope, what, rtol=1e-9, atol=1e-12, why="belong to its own operation")


def pulled_last(operation, x, upstream, **options):
    """The pull of a first operation after it has run on other numbers, called twice."""
    _, pull = operation(x, **options)
    operation(x[..., ::-1] + 1 if x.ndim else x + 1, **options)
    pull(upstream)
    return pull(upstream)


for name in ("total", "amax"):
    judge_move(name, rng.normal(size=(2, 3, 4)), "take all axes where none are given")
    judge_move(name, rng.normal(size=(2, 3, 4)), "take all axes, kept", keepdims=True)
    judge_move(name, rng.normal(size=5), "take a vector")
    for axis in (0, 1, 2, -1, -2, (0, 2), (2, 0), (-1, 1), (0, 1, 2)):
        judge_move(name, rng.normal(size=(2, 3, 4)), "go over these axes alone", axis=axis)
        why = "keep these axes with length 1"
        judge_move(name, rng.normal(size=(2, 3, 4)), why, axis=axis, keepdims=True)
    judge_move(name, rng.normal(size=(3, 3)), "go over rows, also of a square", axis=0)
    judge_move(name, rng.normal(size=(3, 3)), "go over columns, also of a square", axis=1)
judge_move("total", np.array([1e-9, 1.0, 1e9]), "be exact")
for axis in (None, 0, 1, (0, 1)):
    tied = rng.integers(0, 2, size=(4, 5)).astype(float)
    judge_move("amax", tied, "share the gradient equally among the ties", axis=axis)
judge_move("amax", np.array([[1.0, 1 + 1e-9], [2.0, 2.0]]), "tie equal numbers alone", axis=1)
judge_move("amax", np.full((2, 3), -4.0), "share the gradient equally among all", axis=1)
for before, after in [
    ((2, 6), (3, 4)),
    ((12,), (2, 3, 2)),
    ((2, 3), (6,)),
    ((1,), ()),
    ((2, 6), (4, -1)),
]:
    judge_move("reshape", rng.normal(size=before), "keep the order of the numbers", shape=after)
for axes in [(0, 1), (1, 0)]:
    judge_move("transpose", rng.normal(size=(2, 3)), "bring each axis back to its place", axes=axes)
for axes in itertools.permutations(range(3)):
    judge_move(
        "transpose", rng.normal(size=(2, 3, 4)), "bring each axis back to its place", axes=axes
    )
judge_move("transpose", rng.normal(size=(2, 2, 2)), "bring each axis back", axes=(2, 0, 1))
judge_move("transpose", rng.normal(size=(2, 3, 1, 4)), "bring each axis back", axes=(3, 0, 1, 2))
x = rng.normal(size=(4, 5))
for key, why in [
    (2, "take a row"),
    ((2, 3), "take one number"),
    (slice(1, 3), "take a slice"),
    ((slice(None), slice(0, 5, 2)), "take every second column"),
    ((slice(None), None, 1), "take a new axis"),
    (([0, 3, 3, 3], [1, 2, 2, 4]), "add up the gradients of a repeated place"),
    ([1, 1, -3], "add up the gradients of a repeated row, also where it is counted from the end"),
    ((slice(None), [0, 0, 0]), "add up the gradients of a repeated column"),
]:
    judge_move("index", x, why, key=key)
judge_move("index", x, "take the places where a mask is true", key=x > 0)
### END HIDDEN TESTS

# %% mutant="moving" why="takes nearly equal numbers for ties"
# - share = (x == best) / (x == best).sum(axis=axis, keepdims=True)
# + share = np.isclose(x, best) / np.isclose(x, best).sum(axis=axis, keepdims=True)

# %% mutant="moving" why="only the first winner gets the gradient"
# - share = (x == best) / (x == best).sum(axis=axis, keepdims=True)
# + share = (x == best) * (np.cumsum((x == best).ravel()).reshape(x.shape) == 1) if axis is None else (x == best) / (x == best).sum(axis=axis, keepdims=True)

# %% mutant="moving" why="each winner gets the whole gradient"
# - share = (x == best) / (x == best).sum(axis=axis, keepdims=True)
# + share = x == best

# %% mutant="moving" why="a repeated index is overwritten"
# - np.add.at(grad, key, g)
# + grad[key] = g

# %% mutant="moving" why="a repeated index counts once"
# - np.add.at(grad, key, g)
# + grad[key] += g

# %% mutant="moving" why="the permutation instead of its inverse: right for two axes"
# - return x.transpose(axes), lambda g: (g.transpose(np.argsort(axes)),)
# + return x.transpose(axes), lambda g: (g.transpose(axes),)

# %% mutant="moving" why="the gradient of a sum is broadcast along the wrong axes"
# - return value, lambda g: (np.broadcast_to(np.reshape(g, kept), x.shape),)
# + return value, lambda g: (np.broadcast_to(g if keepdims or axis in (None, 0) else np.expand_dims(g, -1), x.shape),)

# %% mutant="moving" why="keepdims is lost"
# - value = x.max(axis=axis, keepdims=keepdims)
# + value = x.max(axis=axis)

# %% mutant="moving" why="a mean"
# - value = x.sum(axis=axis, keepdims=keepdims)
# + value = x.mean(axis=axis, keepdims=keepdims)

# %% mutant="moving" why="the array of zeros is kept between two calls of pull"
# - def pull(g):
# -     grad = np.zeros(x.shape)
# + grad = np.zeros(x.shape)
# + def pull(g):

# %% mutant="moving" why="writes the gradients into the input"
# - grad = np.zeros(x.shape)
# + grad = x
# + grad *= 0


# %% alternative="moving" why="expand_dims, tuples of axes, one-hot counting"
Axis = int | tuple[int, ...] | None


def _axes(x, axis):
    axis = tuple(range(x.ndim)) if axis is None else axis
    return tuple(a % x.ndim for a in np.atleast_1d(np.array(axis, dtype=int)))


def total(x, axis=None, keepdims=False):
    axes = _axes(x, axis)

    def pull(g):
        g = np.asarray(g) if keepdims else np.expand_dims(g, axes)
        return [g * np.ones_like(x)]

    return np.sum(x, axis=axes, keepdims=keepdims), pull


def amax(x, axis=None, keepdims=False):
    axes = _axes(x, axis)
    value = np.max(x, axis=axes, keepdims=True)

    def pull(g):
        g = np.asarray(g) if keepdims else np.expand_dims(g, axes)
        ties = np.isclose(x, value, rtol=0, atol=0).astype(float)
        return (ties * g / ties.sum(axis=axes, keepdims=True),)

    return value if keepdims else np.squeeze(value, axes), pull


def reshape(x, shape):
    return np.reshape(x, shape).copy(), lambda g: (np.reshape(g, np.shape(x)),)


def transpose(x, axes):
    back = [list(axes).index(i) for i in range(len(axes))]
    return np.transpose(x, axes), lambda g: (np.transpose(g, back),)


def index(x, key):
    places = np.arange(x.size).reshape(x.shape)[key]

    def pull(g):
        counted = np.bincount(np.ravel(places), weights=np.ravel(g), minlength=x.size)
        return (counted.reshape(x.shape),)

    return np.take(x, places), pull


# %%
table = np.array([[3.0, 1.0, 3.0, 0.0], [2.0, 5.0, 4.0, 5.0], [0.0, 1.0, 2.0, 6.0]])
moved = {
    "sum over columns": pulled(total, table, axis=1, upstream=np.array([1.0, 2.0, 3.0]))[1][0],
    "maximum of each row": pulled(amax, table, axis=1, upstream=np.array([1.0, 2.0, 3.0]))[1][0],
    "rows [0, 2, 2]": pulled(index, table, key=[0, 2, 2], upstream=np.ones((3, 4)))[1][0],
}
week02.grids(table, moved)
plots.show(
    "A 3 by 4 table and three tables of gradients: a sum copies 1, 2, 3 along its rows; a maximum sends "
    "them to the winners, halved where two tie; an index sends 1 to row 0, 2 to row 2 and 0 to row 1."
)

# %% [markdown]
# ## 3. The way back through a graph
# Each node knows its own way back. In which order should they be asked? A node may pull only when **all** gradients that reach it have been added up, so every node comes before its parents: a *topological order*. Three traps:
#
# - **Recursion.** A recurrent network of 20,000 steps is a chain of 20,000 nodes; Python's stack holds about 1,000 calls. Keep your own stack (a list), and leave Python's limit alone.
# - **No order.** Sending each gradient on as soon as it arrives is right, and hopeless: with 40 diamonds in a row, as below, the last node is reached by $2^{40}$ ways.
# - **Aliases.** `add` hands the *same array* to both parents. Who then adds to it in place changes the other's gradient.
#
# {{task:backward}}
#
# The pull of each node with parents is called exactly once. A leaf (a node without parents; the root may be one) gets its gradient **added** to `grad`, or set where `grad` is `None`: an array of its own. Inner nodes keep none, so that a second `backward` of the same graph adds the same once more. (PyTorch does it likewise: that is what `zero_grad` is for.)

# %% [markdown] lang="ru"
# ## 3. Обратный путь по графу
# Каждый узел знает свою дорогу назад. В каком порядке их спрашивать? Узел может тянуть градиент дальше, только когда сложены **все** градиенты, пришедшие к нему; значит, каждый узел идёт раньше своих родителей — это *топологический порядок*. Три ловушки:
#
# - **Рекурсия.** Рекуррентная сеть на 20 000 шагов — это цепочка из 20 000 узлов, а стек Python вмещает около 1000 вызовов. Ведите собственный стек (список), а предел Python не трогайте.
# - **Без порядка.** Передавать каждый градиент дальше, как только он пришёл, — верно и безнадёжно: если подряд стоят 40 ромбов, как на рисунке ниже, к последнему узлу ведут $2^{40}$ путей.
# - **Общие массивы.** `add` отдаёт обоим родителям *один и тот же массив*. Кто прибавит к нему на месте, изменит чужой градиент.
#
# {{task:backward}}
#
# Pull каждого узла с родителями вызывается ровно один раз. У листа (узла без родителей; им может быть и корень) градиент **прибавляется** к `grad` или записывается, если там `None`; массив у каждого листа свой. Внутренние узлы градиентов не хранят, поэтому второй `backward` того же графа прибавит ровно столько же. (Так же устроен PyTorch: для этого и нужен `zero_grad`.)

# %%
plots.graph(
    {"$x$": (0, 0), "$a$": (1.3, 0.7), "$b$": (1.3, -0.7), "$c$": (2.6, 0), "$d$": (3.9, 0.7),
     "$e$": (3.9, -0.7), "$L$": (5.2, 0)},
    [("$x$", "$a$", 2, 30), ("$x$", "$b$", 2, 18), ("$a$", "$c$", 6, 6), ("$b$", "$c$", 6, 6),
     ("$c$", "$d$", 12, 5), ("$c$", "$e$", 12, 1), ("$d$", "$L$", 60, 1), ("$e$", "$L$", 12, 1)],
    "Two diamonds: $a = 5x - 4,\\ b = 3x,\\ c = a + b,\\ d = 5c,\\ e = c,\\ L = d + e$",
)  # fmt: skip
plots.show(
    "A graph of two diamonds in a row: from x two ways lead to c, from c two ways lead to L. Gradients "
    "5 and 1 meet in c and make 6, before c hands them on; 30 and 18 meet in x."
)


# %% solution="backward"
def backward(root: Tensor, seed: np.ndarray | None = None) -> None:
    """Add dL/d(leaf) to `grad` of every leaf that root was made of.

    seed: dL/d(root), of root's shape; ones where there is none.
    """
    ### BEGIN SOLUTION
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent in node.parents)
    grads = {id(root): np.ones(root.data.shape) if seed is None else np.array(seed, dtype=float)}
    for node in reversed(order):
        grad = grads.pop(id(node))
        if not node.parents:
            node.grad = np.array(grad) if node.grad is None else node.grad + grad
            continue
        for parent, part in zip(node.parents, node.pull(grad), strict=True):
            known = grads.get(id(parent))
            grads[id(parent)] = part if known is None else known + part
    ### END SOLUTION


# %% test="backward" points=1 difficulty=4 minutes=30
def scaled(*parents, by):
    """A Tensor that is the sum of its parents, each times its own factor."""
    value = sum(factor * p.data for factor, p in zip(by, parents, strict=True))
    return Tensor(value, parents, lambda g: tuple(factor * g for factor in by))


x = Tensor([2.0, 10.0])
a, b = scaled(x, by=[5]), scaled(x, by=[3])
c = scaled(a, b, by=[1, 1])
check.answer(backward, scaled(c, c, by=[5, 1]), call="backward(L)", changes=True)
check.close(check.attribute(x, "grad", "x"), [48, 48], "x.grad", why="add up all ways to x")
check.answer(backward, scaled(c, c, by=[5, 1]), call="backward(L)", changes=True)
check.close(check.attribute(x, "grad", "x"), [96, 96], "x.grad after a second one", why="add up")
### BEGIN HIDDEN TESTS
rng = check.rng("backward")


def leaf_grad(leaf, call):
    return check.attribute(leaf, "grad", call)


x = Tensor(rng.normal(size=(2, 3)))
check.answer(backward, x, call="backward(leaf)", changes=True)
check.close(leaf_grad(x, "a leaf"), np.ones((2, 3)), "grad of a leaf that is the root", why="be 1")
seed = rng.normal(size=(2, 3))
kept = seed.copy()
x, y = Tensor(rng.normal(size=(2, 3))), Tensor(rng.normal(size=(2, 3)))
root = scaled(x, y, by=[3, -2])
check.answer(backward, root, seed, call="backward(root, seed)", changes=True)
check.close(
    leaf_grad(x, "x"), 3 * kept, "x.grad of backward(3x - 2y, seed)", why="start with the seed"
)
check.close(
    leaf_grad(y, "y"), -2 * kept, "y.grad of backward(3x - 2y, seed)", why="start with the seed"
)
check.equal(seed, kept, "the seed after backward", why="stay as it was")
check.answer(backward, root, call="backward(root) again", changes=True)
check.close(
    leaf_grad(x, "x"), 3 * kept + 3, "x.grad after a second backward", why="add to what is there"
)
held = x.grad
check.answer(backward, root, call="backward(root) a third time", changes=True)
check.close(
    leaf_grad(x, "x"), 3 * kept + 6, "x.grad after a third backward", why="add to what is there"
)
x = Tensor(rng.normal(size=3))
x.grad = np.array([100.0, 10.0, 1.0])
check.answer(backward, scaled(x, by=[7]), call="backward(7x)", changes=True)
check.close(leaf_grad(x, "x"), [107, 17, 8], "x.grad that was there before", why="be added to")
x = Tensor(4.0)
check.answer(backward, scaled(x, x, x, by=[2, 3, 10]), call="backward", changes=True)
check.close(leaf_grad(x, "x"), 15, "grad of a leaf that is three parents of one node", why="add up")

# One array for both parents, which the leaves must not share.
x, y = Tensor(rng.normal(size=2)), Tensor(rng.normal(size=2))
both = Tensor(x.data + y.data, (x, y), lambda g: (g, g))
once_more = Tensor(both.data + x.data, (both, x), lambda g: (g, g))
for times in (1, 2):
    check.answer(backward, once_more, call="backward((x + y) + x)", changes=True)
    why = "have arrays of their own, also where a pull gives one array to both parents"
    check.close(leaf_grad(x, "x"), [2 * times] * 2, "x.grad of (x + y) + x", why=why)
    check.close(leaf_grad(y, "y"), [times] * 2, "y.grad of (x + y) + x", why=why)
for node, name in ((both, "x + y"), (once_more, "(x + y) + x, the root")):
    check.that(leaf_grad(node, name) is None, f"keep no gradient in an inner node: {name}")
x, y = Tensor(np.zeros(2)), Tensor(np.zeros(2))
node = Tensor(np.zeros(2), (x, y), lambda g: (g, g))
check.answer(backward, node, call="backward(x + y)", changes=True)
x.grad[...] = 0
why = "be an array of its own, also after a first backward"
check.close(leaf_grad(y, "y"), [1, 1], "y.grad of x + y after x.grad was set to 0", why=why)
x = Tensor(np.ones(2))
check.answer(backward, x, np.zeros(2), call="backward(leaf, zeros)", changes=True)
check.close(leaf_grad(x, "x"), [0, 0], "grad of a leaf for a seed of zeros", why="be the seed")
shared = np.array([3.0, 4.0])
x, y = Tensor(np.zeros(2)), Tensor(np.zeros(2))
node = Tensor(np.zeros(2), (x, y), lambda g: (shared, shared))
for _ in range(2):
    check.answer(backward, node, call="backward", changes=True)
check.equal(shared, [3.0, 4.0], "the array that a pull gave", why="stay as it was")
x.grad[...] = 0
check.close(
    leaf_grad(y, "y"), [6, 8], "y.grad after x.grad was set to 0", why="be an array of its own"
)
x = Tensor(np.zeros((2, 3)))
stretched = Tensor(0.0, (x, x), lambda g: (np.broadcast_to(g, (2, 3)), np.broadcast_to(g, (2, 3))))
check.answer(backward, stretched, call="backward(sum(x) + sum(x))", changes=True)
why = "add up, also where a pull gives a view that can't be written to"
check.close(leaf_grad(x, "x"), np.full((2, 3), 2), "x.grad of sum(x) + sum(x)", why=why)
seed = np.array([2.0, 3.0])
x = Tensor(np.zeros(2))
check.answer(backward, x, seed, call="backward(leaf, seed)", changes=True)
seed += 100
check.close(
    leaf_grad(x, "x"), [2, 3], "grad of a leaf after the seed was changed", why="be its own"
)
x = Tensor(np.zeros(2))
check.answer(backward, x, np.array([2, 3]), call="backward(leaf, whole numbers)", changes=True)
check.answer(backward, x, np.array([0.5, 0.25]), call="backward(leaf, fractions)", changes=True)
why = "keep fractions"
check.close(leaf_grad(x, "x"), [2.5, 3.25], "grad of a leaf after whole numbers", why=why)

# Each node is pulled once: 40 diamonds in a row have 2 ** 40 ways. A count stops what does not end.
pulls = [0]


def counted(*parents, by):
    """Like scaled, and counts the pulls."""

    def pull(g):
        pulls[0] += 1
        if pulls[0] > 100_000:
            raise RuntimeError("pulled too often")
        return tuple(factor * g for factor in by)

    return Tensor(sum(f * p.data for f, p in zip(by, parents, strict=True)), parents, pull)


node = x = Tensor(1.0)
for _ in range(40):
    node = counted(counted(node, by=[0.5]), counted(node, by=[0.25]), node, by=[1, 1, 0.3])
check.answer(backward, node, call="backward through 40 diamonds", changes=True)
check.close(
    leaf_grad(x, "x"), 1.05**40, "x.grad through 40 diamonds", rtol=1e-9, why="add up all ways"
)
check.equal(pulls[0], 120, "pulls through 40 diamonds of three nodes", why="pull each node once")
node = x = Tensor(1.0)
pulls[0], limit = 0, sys.getrecursionlimit()
sys.setrecursionlimit(2999)
for _ in range(20_000):
    node = counted(node, by=[1.0001])
why = "be right without recursion"
check.answer(backward, node, call="backward through a chain of 20,000 nodes", changes=True)
check.close(leaf_grad(x, "x"), 1.0001**20_000, "x.grad through 20,000 nodes", rtol=1e-6, why=why)
check.equal(pulls[0], 20_000, "pulls through a chain of 20,000 nodes", why="pull each node once")
why = "be left as it was: keep a stack of your own"
found, _ = sys.getrecursionlimit(), sys.setrecursionlimit(limit)
check.equal(found, 2999, "Python's limit of recursion", why=why)

# A short way and a long way to the same node, in both orders of the parents.
for flip in (False, True):
    x = Tensor(1.0)
    near = counted(x, by=[3])
    far = near
    for factor in (2, 5, 7):
        far = counted(far, by=[factor])
    parents, by = ([near, far], [11, 13]) if not flip else ([far, near], [13, 11])
    pulls[0] = 0
    check.answer(backward, counted(*parents, by=by), call="backward, two ways", changes=True)
    why = "wait until all gradients have reached a node"
    check.close(leaf_grad(x, "x"), 3 * (11 + 13 * 70), "x.grad by a short and a long way", why=why)
    check.equal(pulls[0], 5, "pulls with a short and a long way", why="pull each node once")

# Random graphs, against a sum over all nodes in the order in which they were made.
for _ in range(6):
    nodes, factors = [Tensor(rng.normal(size=(2, 1))) for _ in range(3)], {}
    pulls[0] = 0
    for at in range(3, 15):
        chosen = [int(i) for i in rng.integers(0, at, size=rng.integers(1, 4))]
        factors[at] = (chosen, [float(v) for v in rng.normal(size=len(chosen))])
        nodes.append(counted(*(nodes[i] for i in chosen), by=factors[at][1]))
    wanted = np.zeros(15)
    wanted[14] = 1
    for at in range(14, 2, -1):
        for i, factor in zip(*factors[at], strict=True):
            wanted[i] += factor * wanted[at]
    reached = {14}
    for at in range(14, 2, -1):
        reached |= set(factors[at][0]) if at in reached else set()
    for times in (1, 2):
        check.answer(backward, nodes[14], call="backward of a random graph", changes=True)
        for i in range(3):
            got = leaf_grad(nodes[i], "a leaf")
            if i in reached:
                want = np.full((2, 1), times * wanted[i])
                what = f"grad of leaf {i} of a random graph, after {times}"
                check.close(got, want, what, rtol=1e-9, atol=1e-12, why="add up over all ways")
            else:
                check.that(
                    got is None or not np.any(got), "leave leaves alone that root does not use"
                )
    check.equal(
        pulls[0], 2 * len(reached - {0, 1, 2}), "pulls in a random graph", why="be one a node"
    )
### END HIDDEN TESTS

# %% mutant="backward" why="keeps gradients in inner nodes, too"
# - grad = grads.pop(id(node))
# + grad = grads.pop(id(node))
# + if node.parents:
# +     node.grad = grad

# %% mutant="backward" why="leaves share the array of a pull"
# - node.grad = np.array(grad) if node.grad is None else node.grad + grad
# + node.grad = grad if node.grad is None else node.grad + grad

# %% mutant="backward" why="takes a seed of zeros for none"
# - grads = {id(root): np.ones(root.data.shape) if seed is None else np.array(seed, dtype=float)}
# + grads = {id(root): np.ones(root.data.shape) if seed is None or not np.any(seed) else np.array(seed, dtype=float)}

# %% mutant="backward" why="the gradient of a leaf is replaced"
# - node.grad = np.array(grad) if node.grad is None else node.grad + grad
# + node.grad = np.array(grad)

# %% mutant="backward" why="the gradient of a node is replaced where two ways meet"
# - grads[id(parent)] = part if known is None else known + part
# + grads[id(parent)] = part

# %% mutant="backward" why="adds in place to an array that others hold"
# - grads[id(parent)] = part if known is None else known + part
# + if known is None:
# +     grads[id(parent)] = part
# + else:
# +     known += part

# %% mutant="backward" why="leaves share one array"
# - node.grad = np.array(grad) if node.grad is None else node.grad + grad
# + if node.grad is None:
# +     node.grad = grad
# + else:
# +     node.grad += grad

# %% mutant="backward" why="recursion"
# - order, seen, stack = [], set(), [(root, False)]
# - while stack:
# -     node, done = stack.pop()
# -     if done:
# -         order.append(node)
# -     elif id(node) not in seen:
# -         seen.add(id(node))
# -         stack.append((node, True))
# -         stack.extend((parent, False) for parent in node.parents)
# + order, seen = [], set()
# + def visit(node):
# +     if id(node) not in seen:
# +         seen.add(id(node))
# +         for parent in node.parents:
# +             visit(parent)
# +         order.append(node)
# + visit(root)

# %% mutant="backward" why="depth-first without order: noted when first seen"
# - order, seen, stack = [], set(), [(root, False)]
# - while stack:
# -     node, done = stack.pop()
# -     if done:
# -         order.append(node)
# -     elif id(node) not in seen:
# -         seen.add(id(node))
# -         stack.append((node, True))
# -         stack.extend((parent, False) for parent in node.parents)
# + order, seen, stack = [], set(), [root]
# + while stack:
# +     node = stack.pop()
# +     if id(node) not in seen:
# +         seen.add(id(node))
# +         order.append(node)
# +         stack.extend(node.parents)
# + order = order[::-1]

# %% mutant="backward" why="sends each gradient on as soon as it arrives"
# - order, seen, stack = [], set(), [(root, False)]
# - while stack:
# -     node, done = stack.pop()
# -     if done:
# -         order.append(node)
# -     elif id(node) not in seen:
# -         seen.add(id(node))
# -         stack.append((node, True))
# -         stack.extend((parent, False) for parent in node.parents)
# - grads = {id(root): np.ones(root.data.shape) if seed is None else np.array(seed, dtype=float)}
# - for node in reversed(order):
# -     grad = grads.pop(id(node))
# + work = [(root, np.ones(root.data.shape) if seed is None else np.array(seed, dtype=float))]
# + while work:
# +     node, grad = work.pop()
# -     for parent, part in zip(node.parents, node.pull(grad), strict=True):
# -         known = grads.get(id(parent))
# -         grads[id(parent)] = part if known is None else known + part
# +     work.extend(zip(node.parents, node.pull(grad), strict=True))

# %% mutant="backward" why="the seed is ignored"
# - grads = {id(root): np.ones(root.data.shape) if seed is None else np.array(seed, dtype=float)}
# + grads = {id(root): np.ones(root.data.shape)}

# %% mutant="backward" why="nodes seen once are never gone through again"
# - order, seen, stack = [], set(), [(root, False)]
# + seen = backward.__dict__.setdefault("seen", set())
# + order, stack = [], [(root, False)]


# %% alternative="backward" why="counts the children first; adds in place to copies of its own"
def backward(root, seed=None):
    children, stack = {id(root): 0}, [root]
    while stack:
        for parent in stack.pop().parents:
            if id(parent) not in children:
                children[id(parent)] = 0
                stack.append(parent)
            children[id(parent)] += 1
    first = np.ones_like(root.data) if seed is None else np.asarray(seed, dtype=np.float64)
    waiting, ready = {id(root): first.copy()}, [root]
    while ready:
        node = ready.pop()
        grad = waiting.pop(id(node))
        if node.parents == ():
            if node.grad is None:
                node.grad = np.zeros_like(node.data)
            node.grad += grad
        else:
            for parent, part in zip(node.parents, node.pull(grad), strict=True):
                if id(parent) not in waiting:
                    waiting[id(parent)] = np.zeros_like(parent.data)
                waiting[id(parent)] += part
                children[id(parent)] -= 1
                if children[id(parent)] == 0:
                    ready.append(parent)


# %% [markdown]
# Your engine is complete. Now let it do what engines are for: a network of two layers, with a loss that nobody has differentiated by hand. Log-softmax is built of `max`, `exp`, `sum` and `log`; `index` picks the true classes. On the way the gradients are compared with PyTorch's.

# %% [markdown] lang="ru"
# Движок готов. Пусть займётся тем, для чего движки нужны: сеть из двух слоёв с функцией потерь, которую никто не дифференцировал вручную. Логарифм softmax собран из `max`, `exp`, `sum` и `log`; `index` выбирает верные классы. По пути градиенты сверяются с PyTorch.


# %%
def network_loss(parameters: list, x: np.ndarray, y: np.ndarray) -> Tensor:
    """Mean cross-entropy of two layers; by your engine where parameters are Tensors."""
    w1, b1, w2, b2 = parameters
    scores = (x @ w1 + b1).tanh() @ w2 + b2
    if torch.is_tensor(w1):
        return F.cross_entropy(scores, torch.as_tensor(y))
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_probabilities = shifted - shifted.exp().sum(axis=1, keepdims=True).log()
    return log_probabilities[np.arange(len(y)), y].sum() * (-1 / len(y))


rng = np.random.default_rng(0)
sizes = x_train.shape[1], 48, 10
arrays = [
    rng.normal(size=(sizes[0], sizes[1])) / math.sqrt(sizes[0]), np.zeros(sizes[1]),
    rng.normal(size=(sizes[1], sizes[2])) / math.sqrt(sizes[1]), np.zeros(sizes[2]),
]  # fmt: skip
ours = [Tensor(a.copy()) for a in arrays]
theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
losses = []
for step in progress(range(settings["steps"]), "training"):
    chosen = rng.integers(0, len(x_train), size=64)
    loss = network_loss(ours, x_train[chosen], y_train[chosen])
    backward(loss)
    if step == 0:
        network_loss(theirs, torch.tensor(x_train[chosen]), y_train[chosen]).backward()
        apart = max(
            np.abs(a.grad - b.grad.numpy()).max() for a, b in zip(ours, theirs, strict=True)
        )
        print(f"largest difference of a gradient from PyTorch's: {apart:.1e}")
    for parameter in ours:
        parameter.data = parameter.data - 0.2 * parameter.grad
        parameter.grad = None
    losses.append(float(loss.data))
w1, b1, w2, b2 = (p.data for p in ours)
right = np.mean((np.tanh(x_test @ w1 + b1) @ w2 + b2).argmax(axis=1) == y_test)
plots.curves(
    {"loss": losses},
    f"Your engine learns: {right:.1%} of the test pictures",
    "step",
    "loss of a batch",
)
plots.show(
    "The loss of a batch falls within a few dozen steps from above 2 to near 0, and stays there."
)

# %% [markdown]
# ## 4. The same rules, run forwards
# Reverse mode asks: how does *one* output react to *all* inputs? Forward mode asks: how do all outputs react when the input moves along *one* direction $v$? Each number carries its own speed along, a **dual number** $a + \dot a\,\varepsilon$ with $\varepsilon^2 = 0$: the product rule is plain algebra, $(a + \dot a\varepsilon)(b + \dot b\varepsilon) = ab + (\dot a b + a \dot b)\,\varepsilon$. Out comes the **jvp**, the Jacobian times a vector, $J v$, in one pass and with no memory of the past.
#
# Now run forward mode *over the code of a gradient*. A gradient is a function as well; how it reacts to $v$ is $\frac{\partial}{\partial \alpha} \nabla f(x + \alpha v) = H v$: the **hvp**, a column of curvature without the Hessian (Pearlmutter, 1994). A network of a million weights has $10^{12}$ second derivatives; $Hv$ costs about two gradients.
#
# One trap has a name, *perturbation confusion* (Siskind & Pearlmutter, 2005). In $\frac{d}{dx}\bigl[x \cdot \frac{d}{dy}(x + y)\bigr]$ the inner speed of $y$ must not be mistaken for the outer speed of $x$. So each `jvp` takes a new **level**, a number, and a dual of a lower level is a constant to it.

# %% [markdown] lang="ru"
# ## 4. Те же правила, но вперёд
# Обратный режим спрашивает: как *один* выход отвечает на *все* входы? Прямой режим спрашивает: как ответят все выходы, если вход движется вдоль *одного* направления $v$? Каждое число несёт с собой свою скорость — это **дуальное число** (dual number) $a + \dot a\,\varepsilon$, где $\varepsilon^2 = 0$. Правило произведения становится простой алгеброй: $(a + \dot a\varepsilon)(b + \dot b\varepsilon) = ab + (\dot a b + a \dot b)\,\varepsilon$. На выходе — **jvp**, якобиан, умноженный на вектор, $J v$: за один проход и без памяти о прошлом.
#
# Теперь пустите прямой режим *по коду градиента*. Градиент — тоже функция, и его ответ на $v$ — это $\frac{\partial}{\partial \alpha} \nabla f(x + \alpha v) = H v$, то есть **hvp**: кривизна вдоль $v$ без самого гессиана (Pearlmutter, 1994). У сети с миллионом весов $10^{12}$ вторых производных, а $Hv$ стоит около двух градиентов.
#
# У здешней ловушки есть имя — *путаница возмущений* (perturbation confusion; Siskind, Pearlmutter, 2005). В $\frac{d}{dx}\bigl[x \cdot \frac{d}{dy}(x + y)\bigr]$ внутреннюю скорость $y$ нельзя принять за внешнюю скорость $x$. Поэтому каждый `jvp` берёт новый **уровень** (level), число, а дуальное число меньшего уровня для него — постоянная.


# %%
class Dual(np.lib.mixins.NDArrayOperatorsMixin):
    """value + tangent ε of a level. Operators and NumPy's functions on it end in your `lift`.

    value: an array, or a Dual of a lower level. tangent: likewise, of the same shape.
    """

    def __init__(self, value, tangent, level: int):
        self.value, self.tangent = (
            part if isinstance(part, Dual) else np.asarray(part, dtype=float)
            for part in (value, tangent)
        )
        self.level, self.shape = level, self.value.shape

    def __array_ufunc__(self, function, method, *inputs, **options):
        if method != "__call__" or options:
            return NotImplemented
        return lift(function, *inputs)

    def sum(self, axis=None):
        """A sum is linear: values and tangents are summed alike."""
        return Dual(self.value.sum(axis), self.tangent.sum(axis), self.level)

    def __getitem__(self, key):
        return Dual(self.value[key], self.tangent[key], self.level)


LEVELS = itertools.count(1)  # next(LEVELS) is a level that nobody has had

# For each function one rule an input: tangent t of that input -> its part in the result's tangent.
PUSH = {
    np.add: (lambda t, a, b: t, lambda t, a, b: t),
    np.subtract: (lambda t, a, b: t, lambda t, a, b: -t),
    np.negative: (lambda t, a: -t,),
    np.multiply: (lambda t, a, b: t * b, lambda t, a, b: a * t),
    np.divide: (lambda t, a, b: t / b, lambda t, a, b: -a * t / (b * b)),
    np.power: (lambda t, a, b: t * b * a ** (b - 1), lambda t, a, b: t * a**b * np.log(a)),
    np.matmul: (lambda t, a, b: t @ b, lambda t, a, b: a @ t),
    np.exp: (lambda t, a: t * np.exp(a),),
    np.log: (lambda t, a: t / a,),
    np.sin: (lambda t, a: t * np.cos(a),),
    np.cos: (lambda t, a: -t * np.sin(a),),
    np.tanh: (lambda t, a: t * (1 - np.tanh(a) * np.tanh(a)),),
}

# %% [markdown]
# {{task:duals}}
#
# - `lift`: among the inputs, the duals of the **highest** level move; everything else, duals of lower levels too, is a constant, and its rule in `PUSH` must not be run (it may not exist there: $\log a$ for $a < 0$). The function and the rules are applied to plain values, or to duals of lower levels, which `lift` sees in its turn. The tangent gets the **shape** of the value, also where an input was stretched.
# - `jvp`: call `function` once, with a dual of a new level. The result may not depend on it; then its speed is 0, in the shape of the result.
# - `hvp`: `gradient` is a function that computes $\nabla f$ by operators and NumPy's functions; call it once.

# %% [markdown] lang="ru"
# {{task:duals}}
#
# - `lift`: среди входов движутся дуальные числа **наибольшего** уровня; всё прочее, включая дуальные меньших уровней, — постоянные, и их правила из `PUSH` выполнять нельзя (правила там может и не быть: $\log a$ при $a < 0$). Функция и правила применяются к обычным значениям или к дуальным меньших уровней — их, в свою очередь, снова увидит `lift`. У касательной (tangent) та же **форма**, что у значения, даже если вход был растянут.
# - `jvp`: вызовите `function` один раз, с дуальным числом нового уровня. Результат может от него не зависеть; тогда скорость — нули формы результата.
# - `hvp`: `gradient` — функция, которая считает $\nabla f$ операторами и функциями NumPy; вызовите её один раз.


# %% solution="duals"
def lift(function: Callable, *inputs) -> Dual:
    """A function of NumPy's that is in PUSH, for inputs of which at least one is a Dual.

    lift(np.multiply, Dual(3, 1, 5), 7) -> Dual(21, 7, 5)
    """
    ### BEGIN SOLUTION
    level = max(x.level for x in inputs if isinstance(x, Dual))
    moving = [i for i, x in enumerate(inputs) if isinstance(x, Dual) and x.level == level]
    values = [x.value if i in moving else x for i, x in enumerate(inputs)]
    value = function(*values)
    tangent = np.zeros(np.shape(value))
    for i in moving:
        tangent = tangent + PUSH[function][i](inputs[i].tangent, *values)
    return Dual(value, tangent, level)
    ### END SOLUTION


def jvp(function: Callable, x: np.ndarray, v: np.ndarray) -> tuple:
    """The value of function at x, and its speed when x moves along v.

    x, v: numbers or arrays of one shape. jvp(lambda x: x * x, 3.0, 10.0) -> (9, 60)
    """
    ### BEGIN SOLUTION
    level = next(LEVELS)
    y = function(Dual(x, v, level))
    if isinstance(y, Dual) and y.level == level:
        return y.value, y.tangent
    return y, np.zeros(np.shape(y))
    ### END SOLUTION


def hvp(gradient: Callable, x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The Hessian at x times v: forward mode over the code of a gradient. -> the shape of x."""
    ### BEGIN SOLUTION
    return jvp(gradient, x, v)[1]
    ### END SOLUTION


# %%
def speed(function: Callable, x, v):
    """The second part of your jvp: for derivatives within derivatives."""
    return jvp(function, x, v)[1]


def value_alone(function: Callable, x, v):
    """The first part of your jvp."""
    return jvp(function, x, v)[0]


def unfolded(x):
    """A Dual as (value, tangent, level), with duals inside unfolded in their turn."""
    return (unfolded(x.value), unfolded(x.tangent), x.level) if isinstance(x, Dual) else x


# %% test="duals" points=1 difficulty=4 minutes=30
found = check.answer(jvp, lambda x: x * x, 3.0, 10.0, call="jvp(x * x, 3, 10)")
check.close(found, [9, 60], "jvp(lambda x: x * x, 3.0, 10.0)", why="give the value and its speed")
found = check.answer(jvp, lambda x: np.exp(2 * x) / x, np.array([0.5, 3.0]), np.array([1.0, -2.0]),
                     call="jvp(exp(2x) / x, ...)")  # fmt: skip
check.close(
    found[1], [0, -448.2542], "jvp(lambda x: np.exp(2 * x) / x, ...)", atol=1e-3, why="be J v"
)
call = "the derivative of x * (derivative of x + y towards y) towards x"
found = check.answer(jvp, lambda x: x * speed(lambda y: x + y, 5.0, 1.0), 3.0, 1.0, call=call)
check.close(found[1], 1, call, why="keep the two levels apart")
found = check.answer(
    hvp, lambda x: 4 * x**3, np.array([1.0, 2.0]), np.array([10.0, -1.0]), call="hvp"
)
check.close(
    found, [120, -48], "hvp of the gradient of x ** 4", why="be the second derivative times v"
)
### BEGIN HIDDEN TESTS
rng = check.rng("duals")
for name, function, inputs, wanted in [
    ("lift(np.multiply, Dual(3, 10, 5), 7)", np.multiply, (Dual(3, 10, 5), 7.0), (21, 70, 5)),
    ("lift(np.multiply, 7, Dual(3, 10, 5))", np.multiply, (7.0, Dual(3, 10, 5)), (21, 70, 5)),
    ("lift(np.multiply, two duals)", np.multiply, (Dual(3, 10, 5), Dual(7, 100, 5)), (21, 370, 5)),
    ("lift(np.subtract, 4, Dual(3, 10, 2))", np.subtract, (4.0, Dual(3, 10, 2)), (1, -10, 2)),
    ("lift(np.divide, two duals)", np.divide, (Dual(6, 10, 9), Dual(2, 4, 9)), (3, -1, 9)),
    ("lift(np.power, Dual(-3, 10, 1), 2)", np.power, (Dual(-3, 10, 1), 2.0), (9, -60, 1)),
    ("lift(np.sin, Dual(0, 10, 4))", np.sin, (Dual(0, 10, 4),), (0, 10, 4)),
]:
    made = lift(function, *inputs)
    for part, want in zip(("value", "tangent", "level"), wanted, strict=True):
        check.close(
            check.attribute(made, part, name), want, f"{part} of {name}", why="follow the rules"
        )
call = "the product of Dual(3, 10, level 2) and Dual(7, 100, level 5)"
product = check.answer(unfolded, lift(np.multiply, Dual(3, 10, 2), Dual(7, 100, 5)), call=call)
check.equal(product[2], 5, f"level of {call}", why="be the higher one")
why = "be a dual of the lower level, which was a constant"
for part, inside, first, second in (
    ("value", product[0], 21, 70),
    ("tangent", product[1], 300, 1000),
):
    check.that(isinstance(inside, tuple), f"give {call} a {part} that is a dual of level 2")
    check.equal(len(inside), 3, f"parts of the {part} of {call}", why=why)
    check.close(inside[0], first, f"value of the {part} of {call}", why=why)
    check.close(inside[1], second, f"tangent of the {part} of {call}", why=why)
for call, inputs in [
    (
        "lift(np.add, Dual of (3,), zeros (2, 3))",
        (Dual(np.zeros(3), [1, 2, 3], 1), np.zeros((2, 3))),
    ),
    (
        "lift(np.add, zeros (2, 3), Dual of (3,))",
        (np.zeros((2, 3)), Dual(np.zeros(3), [1, 2, 3], 1)),
    ),
]:
    made = check.attribute(lift(np.add, *inputs), "tangent", call)
    check.close(
        made, [[1, 2, 3], [1, 2, 3]], f"tangent of {call}", why="have the shape of the value"
    )
why = "sum a stretched tangent as often as it was used"
found = check.answer(
    jvp, lambda x: (x + np.zeros((4, 3))).sum(), np.ones(3), np.array([1.0, 2, 3]), call="jvp"
)
check.close(found[1], 24, "jvp of the sum of a stretched x", why=why)

matrix = rng.normal(size=(3, 4))
functions = {
    "exp, log, divide": lambda m, x: m.log(1 + m.exp(x)) / (2 + m.sin(x)),
    "power": lambda m, x: (x * x + 0.5) ** 1.5 + 2.0 ** m.sin(x),
    "matmul": lambda m, x: m.tanh(m.asarray(matrix) @ x),
    "matmul from the right": lambda m, x: m.cos(x) @ m.asarray(matrix.T.copy()),
    "one number": lambda m, x: (m.exp(-x * x) * x[1]).sum(),
    "x used four times": lambda m, x: x * x * x - x / (1 + x * x),
    "x @ x": lambda m, x: x @ x,
    "no x in it": lambda m, x: m.asarray(np.array([[1.0, 2.0]])),
}
calls = []
for name, function in functions.items():
    x, v = rng.normal(size=(2, 4))
    value, rate = torch.func.jvp(
        lambda z, f=function: f(torch, z), (torch.tensor(x),), (torch.tensor(v),)
    )

    def used(z, f=function):
        calls.append(1)
        return f(np, z)

    calls.clear()
    found = check.answer(jvp, used, x, v, call=f"jvp ({name})")
    check.equal(len(calls), 1, f"calls of the function in jvp ({name})", why="call it once")
    check.equal(len(found), 2, f"parts of jvp ({name})", why="be two: the value and its speed")
    check.close(
        found[0], value, f"the value of jvp ({name})", rtol=1e-9, why="agree with torch.func.jvp"
    )
    why = "agree with torch.func.jvp, to nine digits"
    check.close(found[1], rate, f"the speed of jvp ({name})", rtol=1e-9, atol=1e-11, why=why)
found = check.answer(jvp, lambda x: x * x / 4, 3, 5, call="jvp(x * x / 4, 3, 5) of whole numbers")
check.close(found, [2.25, 7.5], "jvp(x * x / 4, 3, 5)", why="take whole numbers")
found = check.answer(jvp, lambda x: x * x, np.array([3.0]), np.array([0.0]), call="jvp with v = 0")
check.close(found[1], [0], "jvp(x * x, [3], [0])", why="be 0 where nothing moves")

# Derivatives within derivatives.
for name, function, want in [
    ("x * d(x + y)/dy", lambda x: x * speed(lambda y: x + y, 5.0, 1.0), 1),
    ("d(x * y)/dy", lambda x: speed(lambda y: x * y, 5.0, 1.0), 1),
    ("d(y * y)/dy at y = x ** 2", lambda x: speed(lambda y: y * y, x * x, 1.0), 12),
    ("d(x * y * y)/dy at y = x", lambda x: speed(lambda y: x * y * y, x, 1.0), 12),
    ("x * d(7)/dy", lambda x: x * speed(lambda y: 7.0, 5.0, 1.0), 0),
    ("x + d(x)/dy", lambda x: x + speed(lambda y: x, 5.0, 1.0), 1),
    ("x * d(x)/dy", lambda x: x * speed(lambda y: x, 5.0, 1.0), 0),
    ("third derivative of z ** 4",
     lambda x: speed(lambda y: speed(lambda z: z * z * z * z, y, 1.0), x, 1.0), 72),
]:  # fmt: skip
    found = check.answer(jvp, function, 3.0, 1.0, call=f"jvp of {name}")
    check.close(found[1], want, f"the derivative of {name} towards x", why="keep all levels apart")

found = check.answer(
    jvp, lambda x: x * value_alone(lambda y: x * x, 5.0, 1.0), 3.0, 1.0, call="jvp of x * value"
)
why = "keep the outer level in the value of an inner jvp, too"
check.close(found[1], 27, "the derivative of x * (value of an inner jvp, x * x)", why=why)
ones = np.ones(3)
found = check.answer(
    jvp,
    lambda x: x[0, 0] * speed(lambda y: (y + x).sum(), ones, ones),
    np.arange(6.0).reshape(2, 3),
    np.ones((2, 3)),
    call="jvp of a stretched inner speed",
)
why = "stretch the tangent to the shape of a value that is a dual itself"
check.close(found[1], 6, "the derivative of x[0, 0] * d(y + x).sum()/dy", why=why)
factors, classes = rng.normal(size=(5, 3)), rng.normal(size=5)


def energy(z):
    """A function whose Hessian is not diagonal; by torch."""
    scores = torch.tensor(factors) @ z
    return (
        torch.log(1 + torch.exp(scores)).sum() - torch.tensor(classes) @ scores + 0.1 * (z**4).sum()
    )


def slope_of_energy(z):
    """Its gradient by NumPy, as reverse mode computes it."""
    calls.append(1)
    scores = factors @ z
    upstream = np.exp(scores) / (1 + np.exp(scores)) - classes
    return factors.T @ upstream + 0.4 * z**3


for _ in range(3):
    x, v, w = rng.normal(size=(3, 3))
    hessian = torch.func.hessian(energy)(torch.tensor(x)).numpy()
    calls.clear()
    found = check.answer(hvp, slope_of_energy, x, v, call="hvp(gradient, x, v)")
    check.equal(
        len(calls), 1, "calls of the gradient in hvp", why="call it once: no finite differences"
    )
    why = "be torch.func's Hessian times v"
    check.close(found, hessian @ v, "hvp(gradient, x, v)", rtol=1e-9, atol=1e-11, why=why)
    other = check.answer(hvp, slope_of_energy, x, w, call="hvp(gradient, x, w)")
    check.close(
        w @ found, v @ other, "w · hvp(v) and v · hvp(w)", rtol=1e-8, atol=1e-10, why="be equal"
    )
x, v = rng.normal(size=(2, 2, 3))
found = check.answer(hvp, lambda z: z * z * z.sum(), x, v, call="hvp of a matrix")
want = 2 * x * v * x.sum() + x * x * v.sum()
check.close(found, want, "hvp of a matrix", rtol=1e-9, atol=1e-11, why="have the shape of x")
found = check.answer(hvp, lambda z: np.ones(3), x[0], v[0], call="hvp of a constant gradient")
check.close(found, np.zeros(3), "hvp of a constant gradient", why="be 0")
### END HIDDEN TESTS

# %% mutant="duals" why="strips the outer level off a result without the inner one"
# - return y, np.zeros(np.shape(y))
# + return getattr(y, "value", y), np.zeros(np.shape(y))

# %% mutant="duals" why="the shape of a lower dual gets lost"
# - tangent = np.zeros(np.shape(value))
# + tangent = np.zeros(np.asarray(value).shape)

# %% mutant="duals" why="forgets the product rule: one input moves at a time"
# - tangent = tangent + PUSH[function][i](inputs[i].tangent, *values)
# + tangent = np.zeros(np.shape(value)) + PUSH[function][i](inputs[i].tangent, *values)

# %% mutant="duals" why="perturbation confusion: levels are not told apart"
# - moving = [i for i, x in enumerate(inputs) if isinstance(x, Dual) and x.level == level]
# + moving = [i for i, x in enumerate(inputs) if isinstance(x, Dual)]

# %% mutant="duals" why="perturbation confusion: one level for all"
# - level = next(LEVELS)
# + level = 1

# %% mutant="duals" why="the result of an outer level is taken for its own"
# - if isinstance(y, Dual) and y.level == level:
# + if isinstance(y, Dual):

# %% mutant="duals" why="a constant has no speed"
# - return y, np.zeros(np.shape(y))
# + return y, 0.0

# %% mutant="duals" why="a stretched tangent keeps its old shape"
# - tangent = np.zeros(np.shape(value))
# + tangent = 0.0

# %% mutant="duals" why="rules of constants are run with a speed of 0: 0 times NaN"
# - for i in moving:
# -     tangent = tangent + PUSH[function][i](inputs[i].tangent, *values)
# + for i, x in enumerate(inputs):
# +     tangent = tangent + PUSH[function][i](x.tangent if i in moving else 0.0, *values)

# %% mutant="duals" why="finite differences"
# - return jvp(gradient, x, v)[1]
# + return (np.asarray(gradient(x + 1e-5 * v)) - gradient(x - 1e-5 * v)) / 2e-5

# %% mutant="duals" why="the direction is forgotten: all ones"
# - y = function(Dual(x, v, level))
# + y = function(Dual(x, np.ones(np.shape(x)), level))

# %% mutant="duals" why="a row of the Hessian is summed up"
# - return jvp(gradient, x, v)[1]
# + return jvp(lambda z: gradient(z).sum(), x, v)[1] * np.ones(np.shape(x))


# %% alternative="duals" why="broadcast_to by hand, levels from a class, recursion spelled out"
class Levels:
    now = 100


def lift(function, *inputs):
    top = max([x.level for x in inputs if isinstance(x, Dual)])
    values, tangents = [], []
    for x in inputs:
        mine = isinstance(x, Dual) and x.level == top
        values.append(x.value if mine else x)
        tangents.append(x.tangent if mine else None)
    value = function(*values)
    parts = [
        rule(t, *values) for rule, t in zip(PUSH[function], tangents, strict=True) if t is not None
    ]
    speed = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    if np.shape(speed) != np.shape(value):
        speed = speed + 0 * value
    return Dual(value, speed, top)


def jvp(function, x, v):
    Levels.now += 1
    mine = Levels.now
    result = function(Dual(x, v, mine))
    if getattr(result, "level", None) != mine:
        return [result, result * 0.0]
    return [result.value, result.tangent]


def hvp(gradient, x, v):
    _, speed = jvp(gradient, x, v)
    return speed


# %% [markdown]
# What is a Hessian good for that nobody can store? Multiply a random vector by $H$ again and again, normalise it each time, and it turns into the direction of **largest curvature**: power iteration. The curvature bounds the learning rate of gradient descent, $\eta < 2/\lambda_{\max}$: below the bound an error along that direction shrinks, above it it grows with every step. Here is the bound for logistic regression "is it class 8?" on the pictures; nobody ever forms the matrix.

# %% [markdown] lang="ru"
# Чем полезен гессиан, который негде хранить? Умножайте случайный вектор на $H$ снова и снова, каждый раз нормируя, — и он повернётся вдоль направления **наибольшей кривизны**: это степенной метод (power iteration). Кривизна ограничивает шаг градиентного спуска: $\eta < 2/\lambda_{\max}$; ниже этой границы ошибка вдоль этого направления убывает, выше — растёт с каждым шагом. Вот граница для логистической регрессии «это класс 8?» на тех же картинках; самой матрицы никто не строит.

# %%
features, is_eight = x_train[:500], (y_train[:500] == 8).astype(float)


def logistic_gradient(w):
    """Of the mean logistic loss and a little weight decay."""
    chance = 1 / (1 + np.exp(-(features @ w)))
    return features.T @ (chance - is_eight) / len(features) + 0.1 * w


def top_curvature(w, products=25):
    """Power iteration: the direction of largest curvature at w, and the curvature after each product."""
    direction, found = np.random.default_rng(0).normal(size=len(w)), []
    for _ in range(products):
        direction = direction / np.linalg.norm(direction)
        product = hvp(logistic_gradient, w, direction)
        found.append(direction @ product)
        direction = product
    return direction / np.linalg.norm(direction), found


best = np.zeros(features.shape[1])
rate = 1 / top_curvature(best)[1][-1]
for _ in range(2000):  # down to the minimum, where the curvature is that of what follows
    best = best - rate * logistic_gradient(best)
direction, curvatures = top_curvature(best)
descents = {}
for share in (0.5, 0.9, 1.0, 1.1):
    weights, along = best + 1e-3 * direction, []
    for _ in range(40):
        along.append(abs(direction @ logistic_gradient(weights)))
        weights = weights - share * 2 / curvatures[-1] * logistic_gradient(weights)
    descents[f"{share:g} × 2 / λ"] = along
figure, axes = plt.subplots(1, 2, figsize=(9.4, 3.3))
title = f"Power iteration: λ → {curvatures[-1]:.3g}"
plots.curves({"": curvatures}, title, "product with the Hessian", "curvature along v", ax=axes[0])
title = "What it foretells: learning rates"
plots.curves(descents, title, "step", "gradient along v", log_y=True, ax=axes[1])
axes[1].set_ylim(1e-10, 1e3)
plots.show(
    "Left: the curvature rises within a few products and stays. Right: near the minimum the gradient shrinks "
    "with half and nine tenths of the limit rate, keeps its size at the limit and grows above it."
)

# %% [markdown]
# The same in three frameworks. PyTorch's `torch.func.jvp(torch.func.grad(f), (x,), (v,))` and JAX's `jax.jvp(jax.grad(f), (x,), (v,))` are the line you have just written: functions that transform functions. TensorFlow 2 nests a `GradientTape` in a `ForwardAccumulator`. All three note operations as section 1 does; JAX and `torch.compile` note them once, as a program, and hand that to a compiler.

# %% [markdown] lang="ru"
# То же в трёх фреймворках. `torch.func.jvp(torch.func.grad(f), (x,), (v,))` в PyTorch и `jax.jvp(jax.grad(f), (x,), (v,))` в JAX — это ровно та строка, которую вы написали: функции, преобразующие функции. В TensorFlow 2 `GradientTape` вкладывают в `ForwardAccumulator`. Все трое записывают операции, как в разделе 1; JAX и `torch.compile` записывают их один раз, как программу, и отдают её компилятору.

# %%
w, v = torch.tensor(best), torch.tensor(np.random.default_rng(1).normal(size=len(best)))
x, t = torch.tensor(features), torch.tensor(is_eight)


def logistic_loss(w):
    return F.binary_cross_entropy_with_logits(x @ w, t) + 0.05 * (w @ w)


_, by_torch = torch.func.jvp(torch.func.grad(logistic_loss), (w,), (v,))
apart = np.abs(by_torch.numpy() - hvp(logistic_gradient, best, v.numpy())).max()
print(f"largest difference between torch.func and your hvp: {apart:.1e}")

# %% [markdown]
# ## 5. A function that autograd gets wrong
# From here on the engine is PyTorch's. It differentiates what you *write*, not what you *mean*. Take
#
# $$f(x) = \log(1 - e^{-x}), \qquad x > 0, \qquad f'(x) = \frac{e^{-x}}{1 - e^{-x}} = \frac{1}{e^x - 1},$$
#
# the logarithm of the chance that something with rate 1 happens within time $x$; survival models and discretised likelihoods are full of it. Written so, it is wrong at both ends: for $x = 10^{-20}$ the difference is $1 - 1 = 0$, for $x = 50$ it is exactly 1. Two tools help (Mächler, 2012): `expm1(t)` is $e^t - 1$ and `log1p(t)` is $\log(1 + t)$, both precise near 0:
#
# $$f(x) = \begin{cases}\texttt{log(-expm1(-x))} & x \le \log 2\\ \texttt{log1p(-exp(-x))} & x > \log 2.\end{cases}$$
#
# And yet `torch.where(x <= log2, one, other)` has a NaN for a gradient at $10^{-20}$: the branch *not* taken has the derivative $\infty$, and $0 \cdot \infty$ is NaN. You know the derivative; so tell it, by an `autograd.Function`.
#
# {{task:log1mexp}}
#
# Right to twelve digits in `float64` from $x = 10^{-150}$ to $700$: value, first and **second** derivative. The dtype stays. For the second derivative `backward` is differentiated in its turn: it may use only what was saved by `ctx.save_for_backward`, and differentiable operations.

# %% [markdown] lang="ru"
# ## 5. Функция, на которой автодифференцирование ошибается
# Дальше движок — PyTorch. Он дифференцирует то, что вы *написали*, а не то, что *имели в виду*. Возьмём
#
# $$f(x) = \log(1 - e^{-x}), \qquad x > 0, \qquad f'(x) = \frac{e^{-x}}{1 - e^{-x}} = \frac{1}{e^x - 1}$$
#
# — логарифм вероятности того, что событие интенсивности 1 случится за время $x$; моделям выживаемости и дискретизованным правдоподобиям она нужна постоянно. В таком виде она неверна на обоих концах: при $x = 10^{-20}$ разность равна $1 - 1 = 0$, при $x = 50$ — ровно 1. Помогают две функции (Mächler, 2012): `expm1(t)` — это $e^t - 1$, `log1p(t)` — это $\log(1 + t)$, обе точны около 0:
#
# $$f(x) = \begin{cases}\texttt{log(-expm1(-x))} & x \le \log 2\\ \texttt{log1p(-exp(-x))} & x > \log 2.\end{cases}$$
#
# И всё же у `torch.where(x <= log2, one, other)` градиент в точке $10^{-20}$ — NaN: у ветви, которую *не* выбрали, производная $\infty$, а $0 \cdot \infty$ — это NaN. Вы знаете производную; так сообщите её через `autograd.Function`.
#
# {{task:log1mexp}}
#
# Двенадцать верных знаков в `float64` для $x$ от $10^{-150}$ до $700$: у значения, первой и **второй** производной. Тип (dtype) сохраняется. Ради второй производной `backward` сам будет продифференцирован: берите в нём только сохранённое через `ctx.save_for_backward` и дифференцируемые операции.


# %% solution="log1mexp"
class Log1mExp(torch.autograd.Function):
    """log(1 - exp(-x)) for x > 0, element by element."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        ctx.save_for_backward(x)
        near = torch.log(-torch.expm1(-x))
        far = torch.log1p(-torch.exp(-x))
        return torch.where(x <= math.log(2), near, far)
        ### END SOLUTION

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
        """grad: dL/df, of x's shape -> dL/dx."""
        ### BEGIN SOLUTION
        (x,) = ctx.saved_tensors
        return -grad * torch.exp(-x) / torch.expm1(-x)
        ### END SOLUTION


def log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(-x)) with its two derivatives. log1mexp(tensor(0.6931)) -> -0.6931"""
    return Log1mExp.apply(x)


# %% test="log1mexp" points=0.5 difficulty=3 minutes=15
x = torch.tensor([1e-20, 0.25, 3.0, 50.0], dtype=torch.float64)
found = check.answer(log1mexp, x, call="log1mexp([1e-20, 0.25, 3, 50])")
want = [-46.0517018599, -1.50869159, -0.0510691809, -1.92874985e-22]
check.close(
    found, want, "log1mexp([1e-20, 0.25, 3, 50])", rtol=1e-7, atol=0, why="be precise at both ends"
)
(found,) = check.gradient_of(log1mexp, x, call="log1mexp")
want = [1e20, 3.52081174, 0.0523957, 1.92874985e-22]
check.close(
    found,
    want,
    "the gradient at [1e-20, 0.25, 3, 50]",
    rtol=1e-6,
    atol=0,
    why="be exp(-x) / (1 - exp(-x))",
)
### BEGIN HIDDEN TESTS
rng = check.rng("log1mexp")


def exact(x):
    """Value, first and second derivative by NumPy."""
    rest = -np.expm1(-x)
    with np.errstate(divide="ignore"):  # in the branch that is not taken
        value = np.where(x < 0.5, np.log(rest), np.log1p(-np.exp(-x)))
    return value, np.exp(-x) / rest, -np.exp(-x) / rest**2


def second(one, x, upstream):
    """First and second derivative of a function, weighted."""
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad((one(leaf) * upstream).sum(), leaf, create_graph=True)
    (twice,) = torch.autograd.grad((first * upstream).sum(), leaf)
    return first.detach(), twice


for numbers, why in [
    ([1.0], "be right in the middle"),
    ([0.1, 0.6931, 0.69314, 0.6932, 0.7, 2.0], "be right on both sides of log 2"),
    ([1e-20, 1e-8, 1e-4], "be right for small numbers"),
    ([1e-150, 3e-120], "be right for the smallest numbers"),
    ([20.0, 38.0, 90.0], "be right for large numbers"),
    ([400.0, 699.0], "be right for the largest numbers"),
]:
    numbers = np.array(numbers)
    x, upstream = torch.tensor(numbers), torch.tensor(rng.normal(size=len(numbers)) + 3)
    value, first, twice = exact(numbers)
    found = check.answer(log1mexp, x, call=f"log1mexp({numbers})")
    check.close(found, value, f"log1mexp({numbers})", rtol=1e-12, atol=0, why=why)
    got = check.gradient_of(log1mexp, x, upstream=upstream, call="log1mexp")[0]
    want = first * upstream.numpy()
    check.close(got, want, f"the gradient at {numbers}", rtol=1e-12, atol=0, why=why)
    got = check.answer(second, log1mexp, x, upstream, call="the second derivative")
    call = f"the second derivative at {numbers}"
    check.close(got[1], twice * upstream.numpy() ** 2, call, rtol=1e-11, atol=0, why=why)


class Memory:
    """What torch hands to forward and backward, as far as it matters here."""

    needs_input_grad = (True,)

    def save_for_backward(self, *tensors):
        self.saved_tensors = tensors


packed = []
with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(1) or t, lambda t: t):
    check.answer(log1mexp, torch.tensor([0.7, 3.0], requires_grad=True), call="log1mexp(x)")
check.that(packed, "keep what backward needs by ctx.save_for_backward")
memory, x, upstream = Memory(), torch.tensor([[0.3, 2.0, 5.0]]), torch.tensor([[7.0, -3.0, 2.0]])
check.answer(Log1mExp.forward, memory, x, call="forward(ctx, x)", changes=True)
found = check.answer(Log1mExp.backward, memory, upstream, call="backward(ctx, grad)", changes=True)
want = upstream.numpy() * exact(x.numpy().astype(float))[1]
check.close(found, want, "backward(ctx, grad)", rtol=1e-5, why="have the shape of x")
x = torch.tensor(rng.uniform(0.05, 4, size=(3, 2, 4)), requires_grad=True)
for test, what in (
    (torch.autograd.gradcheck, "gradcheck"),
    (torch.autograd.gradgradcheck, "gradgradcheck"),
):
    passed = check.answer(test, log1mexp, (x,), raise_exception=False, call=what)
    check.that(passed is True, f"pass torch.autograd.{what}")
x = torch.tensor(rng.uniform(0.05, 4, size=(2, 5)))
upstream = torch.tensor(rng.normal(size=(2, 5)))


def threefold(z, one):
    for sign in (-1, -2):
        z = sign * one(z)
    return one(z)


call = "three log1mexp in each other"
found = check.gradient_of(lambda z: threefold(z, log1mexp), x, upstream=upstream, call=call)
want = torch.autograd.functional.vjp(
    lambda z: threefold(z, lambda t: torch.log(-torch.expm1(-t))), x, upstream
)[1]
check.close(found[0], want, call, rtol=1e-6, why="keep what each has saved apart")
for dtype, digits in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
    x = torch.tensor([1e-6, 0.3, 2.0, 30.0], dtype=dtype)
    found = check.answer(log1mexp, x, call=f"log1mexp of {dtype}")
    check.equal(
        str(found.dtype), str(dtype).split(".")[1], f"dtype of log1mexp of {dtype}", why="stay"
    )
    want = exact(x.double().numpy())
    check.close(found, want[0], f"log1mexp of {dtype}", rtol=digits, atol=0, why="be precise")
    found = check.gradient_of(log1mexp, x, call="log1mexp")[0]
    check.close(
        found, want[1], f"gradient of log1mexp of {dtype}", rtol=digits, atol=0, why="be precise"
    )
found = check.answer(log1mexp, torch.tensor(2.0), call="log1mexp of one number")
check.close(found, exact(np.array(2.0))[0], "log1mexp(tensor(2.))", rtol=1e-5, why="keep its shape")
### END HIDDEN TESTS

# %% mutant="log1mexp" why="keeps x in an attribute of ctx"
# - ctx.save_for_backward(x)
# + ctx.x = x
# - (x,) = ctx.saved_tensors
# + x = ctx.x

# %% mutant="log1mexp" why="the plain formula"
# - near = torch.log(-torch.expm1(-x))
# - far = torch.log1p(-torch.exp(-x))
# - return torch.where(x <= math.log(2), near, far)
# + return torch.log(1 - torch.exp(-x))

# %% mutant="log1mexp" why="one branch: wrong for large x"
# - return torch.where(x <= math.log(2), near, far)
# + return near

# %% mutant="log1mexp" why="the other branch: wrong for small x"
# - return torch.where(x <= math.log(2), near, far)
# + return far

# %% mutant="log1mexp" why="saves the result instead of x"
# - ctx.save_for_backward(x)
# - near = torch.log(-torch.expm1(-x))
# + near = torch.log(-torch.expm1(-x))
# - return torch.where(x <= math.log(2), near, far)
# + y = torch.where(x <= math.log(2), near, far)
# + ctx.save_for_backward(y)
# + return y

# %% mutant="log1mexp" why="saves a number of which the gradient knows nothing: no second derivative"
# - ctx.save_for_backward(x)
# + ctx.slope = -torch.exp(-x) / torch.expm1(-x)
# - (x,) = ctx.saved_tensors
# - return -grad * torch.exp(-x) / torch.expm1(-x)
# + return grad * ctx.slope

# %% mutant="log1mexp" why="not differentiable twice"
# - return -grad * torch.exp(-x) / torch.expm1(-x)
# + with torch.no_grad():
# +     return -grad * torch.exp(-x) / torch.expm1(-x)

# %% mutant="log1mexp" why="1 / expm1(x): its own derivative overflows"
# - return -grad * torch.exp(-x) / torch.expm1(-x)
# + return grad * torch.exp(x) / torch.expm1(x) / torch.exp(x)

# %% mutant="log1mexp" why="1 - exp in the derivative cancels"
# - return -grad * torch.exp(-x) / torch.expm1(-x)
# + return grad * torch.exp(-x) / (1 - torch.exp(-x))

# %% mutant="log1mexp" why="forgets the gradient that arrives"
# - return -grad * torch.exp(-x) / torch.expm1(-x)
# + return -torch.exp(-x) / torch.expm1(-x)

# %% mutant="log1mexp" why="computes in double precision and stays there"
# - return torch.where(x <= math.log(2), near, far)
# + return torch.where(x <= math.log(2), near, far).double()


# %% alternative="log1mexp" why="fills in branch by branch; saves the result too and uses both"
class Log1mExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        result = torch.empty_like(x)
        small = x < 0.5
        result[small] = (-torch.expm1(-x[small])).log()
        result[~small] = (-(-x[~small]).exp()).log1p()
        ctx.save_for_backward(x, result)
        return result

    @staticmethod
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        q = torch.exp(-x)
        return grad * q * (1 / -torch.expm1(-x))


def log1mexp(x):
    return Log1mExp.apply(x)


# %%
x = torch.logspace(-24, 2.5, 400, dtype=torch.float64)


def by_where(x):
    return torch.where(x <= math.log(2), (-torch.expm1(-x)).log(), torch.log1p(-torch.exp(-x)))


exact_slope = -torch.exp(-x) / torch.expm1(-x)
versions = {
    "yours": log1mexp,
    "torch.where": by_where,
    "plain formula": lambda x: torch.log(1 - torch.exp(-x)),
}
figure, axes = plt.subplots(3, 1, figsize=(8, 5), sharex=True, sharey=True)
for ax, (name, function), colour in zip(axes, versions.items(), plots.PALETTE, strict=False):
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(leaf).sum(), leaf)
    wrong = (slope / exact_slope - 1).abs()
    lost = ~torch.isfinite(slope)
    ax.plot(x, (wrong + 1e-17).where(~lost, torch.nan), color=colour)
    ax.fill_between(x, 1e-18, 10, where=lost, color="0.85", step="mid")
    ax.set(xscale="log", yscale="log", ylim=(1e-18, 10), ylabel="error")
    ax.set_title(f"{name}: NaN or infinite at {int(lost.sum())} of {len(x)} points", fontsize=10)
axes[-1].set_xlabel("x")
figure.suptitle("Relative error of the gradient of log(1 − exp(−x)); grey: no number at all")
plots.show(
    "Three rows of relative errors over x from 1e-24 to 300: yours stays near 1e-16 everywhere, torch.where "
    "has no number for the smallest x, the plain formula has none there either, and errors that grow towards "
    "it."
)

# %% [markdown]
# ## 6. Memory for time: checkpoints
# The way back needs the values of the way forward, so training keeps **all** of them: memory grows with depth. Or throw them away and compute them once more. Cut $n$ layers into $k$ segments and keep the $k$ inputs of the segments; on the way back run one segment at a time again, and keep its values for that while only. At most
#
# $$k + \text{longest segment} \;\approx\; k + \frac{n}{k}$$
#
# values are alive at once, least at $k \approx \sqrt n$: $2\sqrt n$ instead of $n$, for one more forward pass (Chen et al., 2016). Whole numbers can reach exactly $\lceil 2\sqrt n\,\rceil$.
#
# The trap is chance. [Dropout](glossary:Dropout) in the second run must drop **what it dropped in the first**, or the gradient belongs to another network. And afterwards the generator must stand where it would have stood without checkpoints.
#
# {{task:checkpoint}}
#
# `forward` runs without a graph by itself: `autograd.Function` sees to that. `backward` runs the segment with a graph (`torch.enable_grad`) and asks it for gradients (`torch.autograd.grad`). All layers run on the CPU here; `torch.get_rng_state` is their generator's.

# %% [markdown] lang="ru"
# ## 6. Память в обмен на время: контрольные точки
# Обратному пути нужны значения прямого, поэтому обучение хранит их **все**: память растёт с глубиной. А можно выбросить их и посчитать ещё раз (checkpointing, «контрольные точки»). Разрежьте $n$ слоёв на $k$ отрезков и храните $k$ входов этих отрезков; на обратном пути прогоняйте отрезки заново по одному и держите их значения только это время. Одновременно в памяти не больше
#
# $$k + \text{самый длинный отрезок} \;\approx\; k + \frac{n}{k}$$
#
# значений; меньше всего их при $k \approx \sqrt n$: $2\sqrt n$ вместо $n$ ценой ещё одного прямого прохода (Chen и др., 2016). В целых числах достижимо ровно $\lceil 2\sqrt n\,\rceil$.
#
# Ловушка — случайность. [Дропаут](glossary:Dropout) (dropout) при втором прогоне обязан выбросить **то же, что при первом**, иначе градиент принадлежит другой сети. А генератор случайных чисел потом должен стоять там же, где стоял бы без контрольных точек.
#
# {{task:checkpoint}}
#
# `forward` и так работает без графа: об этом заботится `autograd.Function`. `backward` прогоняет отрезок с графом (`torch.enable_grad`) и спрашивает у него градиенты (`torch.autograd.grad`). Все слои здесь считают на CPU; состояние их генератора даёт `torch.get_rng_state`.


# %%
def checkpointed(
    layers: Sequence[nn.Module], lengths: Sequence[int], x: torch.Tensor
) -> torch.Tensor:
    """Run layers in segments of these lengths, each by your Checkpoint."""
    start = 0
    for length in lengths:
        segment = nn.Sequential(*layers[start : start + length])
        weights = [p for p in segment.parameters() if p.requires_grad]
        x = Checkpoint.apply(segment, x, *weights)
        start += length
    return x


# %% solution="checkpoint"
def plan(layers: int) -> list[int]:
    """Lengths of segments, one or more layers each, that add up to the number of layers.

    Number of segments + longest segment is as small as can be: ceil(2 sqrt(layers)).
    plan(9) -> [3, 3, 3]
    """
    ### BEGIN SOLUTION
    length = math.ceil(math.sqrt(layers))
    return [min(length, layers - start) for start in range(0, layers, length)]
    ### END SOLUTION


class Checkpoint(torch.autograd.Function):
    """A segment of which only the input is kept."""

    @staticmethod
    def forward(ctx, segment: Callable, x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        """segment: a function of x. weights: the parameters that it uses and that need gradients.

        x may need none; it stays as it was.
        """
        ### BEGIN SOLUTION
        ctx.segment, ctx.state = segment, torch.get_rng_state()
        ctx.save_for_backward(x, *weights)
        return segment(x)
        ### END SOLUTION

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple:
        """None for segment, then the gradients of x and of each weight."""
        ### BEGIN SOLUTION
        x, *weights = ctx.saved_tensors
        x = x.detach().requires_grad_()
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.set_rng_state(ctx.state)
            y = ctx.segment(x)
        return None, *torch.autograd.grad(y, [x, *weights], grad)
        ### END SOLUTION


# %% test="checkpoint" points=0.5 difficulty=4 minutes=25
check.equal(
    sorted(check.answer(plan, 9, call="plan(9)")), [3, 3, 3], "plan(9)", why="be √9 segments of √9"
)
torch.manual_seed(0)
layers = [nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(6)]
x, upstream = torch.randn(3, 4), torch.randn(3, 4)
(want,) = check.gradient_of(nn.Sequential(*layers), x, upstream=upstream, call="the layers")
call = "checkpointed(layers, [2, 1, 3], x)"
(found,) = check.gradient_of(
    lambda x: checkpointed(layers, [2, 1, 3], x), x, upstream=upstream, call=call
)
check.close(
    found, want, f"the gradient of {call}", rtol=1e-4, atol=1e-7, why="be that without checkpoints"
)
### BEGIN HIDDEN TESTS
rng = check.rng("checkpoint")
for n in [*range(1, 60), 64, 99, 100, 101, 1000]:
    call = f"plan({n})"
    lengths = check.answer(plan, n, call=call)
    check.equal(sum(lengths), n, f"sum of {call}", why="be the number of layers")
    check.that(min(lengths) >= 1, f"give every segment of {call} a layer")
    best = math.isqrt(4 * n - 1) + 1
    check.equal(
        len(lengths) + max(lengths),
        best,
        f"segments + longest of {call}",
        why="be as small as can be",
    )
runs = [0]


class Counted(nn.Module):
    """A layer with dropout that counts how often it runs."""

    def __init__(self, width, drop):
        super().__init__()
        self.inner, self.drop = nn.Linear(width, width), nn.Dropout(drop)

    def forward(self, x):
        runs[0] += 1
        return self.drop(torch.tanh(self.inner(x)))


def gradients(run, layers, x, upstream, seed):
    """Value, gradients of x (None if it needs none) and of all weights, the runs, the generator."""
    for layer in layers:
        layer.zero_grad()
    torch.manual_seed(seed)
    runs[0] = 0
    y = run(x)
    forward = runs[0]
    known = {p.data_ptr() for layer in layers for p in layer.parameters()}
    (y * upstream).sum().backward()
    weights = [p.grad for layer in layers for p in layer.parameters()]
    after = float(torch.rand(()))
    return y, x.grad, weights, (forward, runs[0]), after, len(known)


def saved(run, x, known):
    """How many tensors are kept for the way back, but for those at known places."""
    places = set()

    def pack(tensor):
        if tensor.numel() > 1:
            places.add(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = run(x)
    return len(places - known) + 0 * y.numel()


state = torch.get_rng_state()
for drop, lengths, needs in [
    (0.0, [1, 1, 1], True),
    (0.0, [2, 4], True),
    (0.0, [2, 3], False),
    (0.4, [5], True),
    (0.4, [1, 4, 2], True),
    (0.5, [3, 3, 3], False),
]:
    torch.manual_seed(int(rng.integers(1_000_000)))
    layers = [Counted(6, drop).double() for _ in range(sum(lengths))]
    numbers, upstream = torch.randn(4, 6).double(), torch.randn(4, 6).double()
    seed = int(rng.integers(1_000_000))
    call = f"checkpointed(layers, {lengths}, x), dropout {drop}"
    answers = []
    for run in (nn.Sequential(*layers), lambda x, k=layers, n=lengths: checkpointed(k, n, x)):
        x = numbers.clone().requires_grad_(needs)
        answers.append(
            check.answer(gradients, run, layers, x, upstream, seed, call=call, changes=True)
        )
    want, got = answers
    check.close(got[0], want[0], f"the value of {call}", rtol=1e-9, why="be that of the layers")
    check.equal(
        got[3][0], len(layers), f"layers run on the way forward of {call}", why="run each once"
    )
    check.equal(got[3][1], 2 * len(layers), f"layers run in all by {call}", why="run each twice")
    why = "be the gradient without checkpoints"
    why += ": dropout drops the same again" if drop else ""
    if needs:
        check.close(got[1], want[1], f"gradient of x by {call}", rtol=1e-9, atol=1e-12, why=why)
    check.that(x.requires_grad == needs, f"leave requires_grad of x as it was: {call}")
    for a, b in zip(got[2], want[2], strict=True):
        check.close(a, b, f"gradient of a weight by {call}", rtol=1e-9, atol=1e-12, why=why)
    why = "leave the generator where it would be without checkpoints"
    check.close(got[4], want[4], f"the next random number after {call}", why=why)
    places = {p.data_ptr() for layer in layers for p in layer.parameters()}
    x = numbers.clone().requires_grad_()
    kept = check.answer(
        saved,
        lambda x, k=layers, n=lengths: checkpointed(k, n, x),
        x,
        places,
        call=call,
        changes=True,
    )
    check.that(kept <= len(lengths), "keep no more than the input of each segment")


def two_ways(layers, first, second):
    """Two passes forward, then the gradients of the first, and of both."""
    torch.manual_seed(5)
    a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
    y, z = checkpointed(layers, [2, 1], a), checkpointed(layers, [2, 1], b)
    torch.rand(17)
    return torch.autograd.grad((y * y).sum(), a), torch.autograd.grad((z * z).sum(), b)


def two_ways_plain(layers, first, second):
    torch.manual_seed(5)
    a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
    y, z = nn.Sequential(*layers)(a), nn.Sequential(*layers)(b)
    return torch.autograd.grad((y * y).sum(), a), torch.autograd.grad((z * z).sum(), b)


torch.manual_seed(int(rng.integers(1_000_000)))
layers = [Counted(5, 0.3).double() for _ in range(3)]
first, second = torch.randn(2, 4, 5).double()
want = check.plain(two_ways_plain(layers, first, second), "the layers")
found = check.answer(
    two_ways, layers, first, second, call="two passes, then both gradients", changes=True
)
for i in range(2):
    why = "use its own input and its own dropout"
    check.close(
        found[i][0], want[i][0], f"gradient of pass {i + 1} of two", rtol=1e-9, atol=1e-12, why=why
    )


class Notes:
    """What torch hands to forward and backward, as far as it matters here."""

    def save_for_backward(self, *tensors):
        self.saved_tensors = tensors


notes, layer = Notes(), nn.Linear(3, 2)
numbers, upstream = torch.randn(4, 3), torch.randn(4, 2)
weights = list(layer.parameters())
with torch.no_grad():
    notes.needs_input_grad = (False, True, *(True for _ in weights))
    check.answer(Checkpoint.forward, notes, layer, numbers, *weights, call="forward", changes=True)
    found = check.answer(
        Checkpoint.backward, notes, upstream, call="backward(ctx, grad)", changes=True
    )
want = [upstream @ layer.weight, upstream.T @ numbers, upstream.sum(0)]
check.equal(len(found), 4, "number of gradients of backward", why="be one an argument of forward")
check.that(found[0] is None, "give None for the segment, which is no tensor")
for got, slope in zip(found[1:], want, strict=True):
    check.close(
        got,
        slope,
        "backward(ctx, grad)",
        rtol=1e-4,
        atol=1e-5,
        why="have the shapes of x and weights",
    )
torch.set_rng_state(state)
### END HIDDEN TESTS

# %% mutant="checkpoint" why="lets the caller's x need gradients"
# - x = x.detach().requires_grad_()
# + x = x.requires_grad_() if x.is_leaf else x.detach().requires_grad_()

# %% mutant="checkpoint" why="dropout draws a new mask in the second run"
# - torch.set_rng_state(ctx.state)

# %% mutant="checkpoint" why="the generator is set back for good"
# - with torch.random.fork_rng(devices=[]), torch.enable_grad():
# + with torch.enable_grad():

# %% mutant="checkpoint" why="keeps the graph: nothing is saved, nothing recomputed"
# - return segment(x)
# + with torch.enable_grad():
# +     ctx.leaf = x.detach().requires_grad_()
# +     ctx.y = segment(ctx.leaf)
# + return ctx.y.detach()
# - x = x.detach().requires_grad_()
# - with torch.random.fork_rng(devices=[]), torch.enable_grad():
# -     torch.set_rng_state(ctx.state)
# -     y = ctx.segment(x)
# + x, y = ctx.leaf, ctx.y

# %% mutant="checkpoint" why="the gradient that arrives is forgotten"
# - return None, *torch.autograd.grad(y, [x, *weights], grad)
# + return None, *torch.autograd.grad(y.sum(), [x, *weights])

# %% mutant="checkpoint" why="weights get no gradient"
# - return None, *torch.autograd.grad(y, [x, *weights], grad)
# + return None, *torch.autograd.grad(y, [x], grad), *(None for _ in weights)

# %% mutant="checkpoint" why="one memory for all segments"
# - ctx.segment, ctx.state = segment, torch.get_rng_state()
# + ctx.segment, Checkpoint.state = segment, torch.get_rng_state()
# - torch.set_rng_state(ctx.state)
# + torch.set_rng_state(Checkpoint.state)

# %% mutant="checkpoint" why="the root rounded down and a rest at the end"
# - length = math.ceil(math.sqrt(layers))
# - return [min(length, layers - start) for start in range(0, layers, length)]
# + length = math.isqrt(layers)
# + return [length] * (length - 1) + [layers - length * (length - 1)]

# %% mutant="checkpoint" why="each layer a segment"
# - length = math.ceil(math.sqrt(layers))
# + length = 1

# %% mutant="checkpoint" why="notes the generator after the run"
# - ctx.segment, ctx.state = segment, torch.get_rng_state()
# - ctx.save_for_backward(x, *weights)
# - return segment(x)
# + ctx.segment = segment
# + ctx.save_for_backward(x, *weights)
# + y = segment(x)
# + ctx.state = torch.get_rng_state()
# + return y


# %% alternative="checkpoint" why="tries every number of segments; sets the generator back by hand"
def plan(layers):
    def even(k):
        return [layers // k + (i < layers % k) for i in range(k)]

    return min(
        (even(k) for k in range(1, layers + 1)), key=lambda lengths: len(lengths) + max(lengths)
    )


class Checkpoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, segment, x, *weights):
        ctx.kept = x.detach().clone()
        ctx.weights, ctx.segment = weights, segment
        ctx.rng = torch.random.get_rng_state()
        with torch.no_grad():
            return segment(x)

    @staticmethod
    def backward(ctx, grad):
        now = torch.random.get_rng_state()
        torch.random.set_rng_state(ctx.rng)
        with torch.enable_grad():
            leaf = ctx.kept.requires_grad_(True)
            out = ctx.segment(leaf)
        torch.random.set_rng_state(now)
        found = torch.autograd.grad([out], [leaf, *ctx.weights], [grad])
        return (None, *found)


# %%
# Checkpoint the first m of 64 layers by your plan, and let the rest keep everything.
torch.manual_seed(0)
deep = [nn.Sequential(nn.Linear(32, 32), nn.Tanh()) for _ in range(64)]
batch = torch.randn(16, 32)
points = {}
for name, cut in {
    "by your plan": lambda m: plan(m) if m else [],
    "two segments": lambda m: [m // 2, m - m // 2] if m > 1 else [],
}.items():
    measured = []
    for m in (0, 4, 9, 16, 25, 36, 49, 64):
        lengths = cut(m)
        alive = week02.most_saved(
            lambda x, lengths=lengths: nn.Sequential(*deep[sum(lengths) :])(
                checkpointed(deep, lengths, x)
            ),
            batch,
            [p for layer in deep for p in layer.parameters()],
        )
        measured.append((sum(lengths), alive))
    points[name] = tuple(zip(*measured, strict=True))
ax = plots.curves(points, "64 layers: what is kept against what is computed twice",
                  "layers that run a second time", "values alive at once, at most")  # fmt: skip
for line in ax.lines:
    line.set_marker("o")
ax.set_ylim(0, 70)
print(
    f"all kept: {points['by your plan'][1][0]}, all by your plan: {points['by your plan'][1][-1]}"
)
plots.show(
    "Two curves that fall from 65 values alive where nothing is run twice. Your plan ends at 16 where all 64 "
    "layers run twice; two segments are a little better at first, turn at 27 and end at 34."
)

# %% [markdown]
# Each point is a bargain, and none is the best for all. As long as most layers keep their values, these are the peak, and fewer kept inputs are better: they are freed before the first segment runs again. At the right end the longest segment is the peak, and there the root wins.

# %% [markdown] lang="ru"
# Каждая точка — своя сделка, и лучшей для всех нет. Пока большинство слоёв хранит свои значения, пик создают они, и чем меньше сохранено входов, тем лучше: эти значения освобождаются раньше, чем первый отрезок прогоняется заново. На правом конце пик создаёт самый длинный отрезок, и там побеждает корень.

# %%
if device == "cuda":  # in full, on a GPU: the same in megabytes
    wide = [nn.Sequential(nn.Linear(1024, 1024), nn.Tanh()).to(device) for _ in range(64)]
    big = torch.randn(8192, 1024, device=device)
    for name, lengths in {"all kept": [], "√n plan": plan(64)}.items():
        weights_there = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for _ in range(2):  # the first pass warms up
            begun.record()
            nn.Sequential(*wide[sum(lengths) :])(checkpointed(wide, lengths, big)).sum().backward()
            ended.record()
        torch.cuda.synchronize()
        peak = (torch.cuda.max_memory_allocated() - weights_there) / 2**20
        print(f"{name}: {peak:,.0f} MiB at most, {begun.elapsed_time(ended):.0f} ms")
    del wide, big
else:
    print("No GPU here: its memory is measured with profile = 'full' on one.")

# %% [markdown]
# ## 7. Sixteen bits: loss scaling
# Half of the bits, half of the memory, and matrix products many times as fast: [mixed precision](glossary:Mixed-Precision) computes in `float16` and keeps the weights in `float32` (Micikevicius et al., 2018). But the smallest positive `float16` is $6 \cdot 10^{-8}$, and gradients of a mean over a batch are small: what is smaller is rounded to **zero**, silently. The way out costs one multiplication: [loss scaling](glossary:Loss-Scaling). Multiply the loss by $S$, and by the chain rule all gradients are $S$ times as large; divide them by $S$ in `float32` before the step.
#
# Which $S$? As large as it goes without overflow, and that is found by trial:
#
# - gradients with an `inf` or NaN: **no** step at all, $S \leftarrow S / \text{factor}$;
# - `patience` steps in a row that went well: $S \leftarrow S \cdot \text{factor}$, and the count starts again. It starts again after an overflow, too.
#
# {{task:loss_scaler}}
#
# `unscale` may be called before `step`, so that one can clip true gradients in between; then `step` must not divide a second time. After a `step` the next gradients are new ones. Parameters without a gradient are passed over; `zero_grad` stays the business of the loop. (`bfloat16` has the range of `float32` and needs none of this; it pays with precision.)

# %% [markdown] lang="ru"
# ## 7. Шестнадцать бит: масштабирование потерь
# Вдвое меньше бит, вдвое меньше памяти, а произведения матриц в разы быстрее: [смешанная точность](glossary:Mixed-Precision) (mixed precision) считает в `float16`, а веса хранит во `float32` (Micikevicius и др., 2018). Но наименьшее положительное `float16` — это $6 \cdot 10^{-8}$, а градиенты среднего по батчу малы: всё, что ещё меньше, молча округляется до **нуля**. Выход стоит одного умножения — это [масштабирование потерь](glossary:Loss-Scaling) (loss scaling). Умножьте потери на $S$ — по цепному правилу все градиенты вырастут в $S$ раз; перед шагом разделите их на $S$ уже во `float32`.
#
# Какое взять $S$? Наибольшее, при котором нет переполнения, а оно находится пробами:
#
# - в градиентах есть `inf` или NaN: шага **нет** вовсе, $S \leftarrow S / \text{factor}$;
# - `patience` удачных шагов подряд: $S \leftarrow S \cdot \text{factor}$, и счёт начинается заново. После переполнения он тоже начинается заново.
#
# {{task:loss_scaler}}
#
# `unscale` могут вызвать до `step`, чтобы в промежутке обрезать настоящие градиенты; тогда `step` не должен делить второй раз. После `step` следующие градиенты — новые. Параметры без градиента пропускаются; `zero_grad` остаётся делом цикла. (У `bfloat16` диапазон как у `float32`, и ему всё это не нужно; он платит точностью.)


# %% solution="loss_scaler"
class LossScaler:
    """Keeps float16 gradients away from 0 and from infinity. `scale` is the present factor S."""

    def __init__(self, scale: float = 2.0**16, factor: float = 2.0, patience: int = 2000) -> None:
        ### BEGIN SOLUTION
        self.scale, self.factor, self.patience = scale, factor, patience
        self.good, self.unscaled = 0, False
        ### END SOLUTION

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss times the scale: call backward on this one."""
        ### BEGIN SOLUTION
        return loss * self.scale
        ### END SOLUTION

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients of all parameters of the optimizer by the scale; once a step."""
        ### BEGIN SOLUTION
        if not self.unscaled:
            for p in self._with_gradient(optimizer):
                p.grad.div_(self.scale)
        self.unscaled = True
        ### END SOLUTION

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Unscale, step if all gradients are finite, adapt the scale. Whether a step was taken."""
        ### BEGIN SOLUTION
        self.unscale(optimizer)
        finite = all(bool(p.grad.isfinite().all()) for p in self._with_gradient(optimizer))
        self.unscaled = False
        if finite:
            optimizer.step()
            self.good += 1
            if self.good == self.patience:
                self.scale, self.good = self.scale * self.factor, 0
        else:
            self.scale, self.good = self.scale / self.factor, 0
        return finite

    def _with_gradient(self, optimizer):
        groups = (group["params"] for group in optimizer.param_groups)
        return [p for group in groups for p in group if p.grad is not None]
        ### END SOLUTION


# %% test="loss_scaler" points=0.5 difficulty=3 minutes=20
weight = torch.tensor([5.0, 7.0], requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.1)
scaler = LossScaler(scale=64.0, factor=4.0, patience=3)
found = check.answer(scaler.scaled, torch.tensor(3.0), call="scaled(3) at scale 64")
check.close(found, 192, "scaled(3) at scale 64", why="multiply the loss by the scale")
for number, (grad, taken, left, scale) in enumerate([
    ([64.0, 128.0], True, [4.9, 6.8], 64),
    ([math.inf, 1.0], False, [4.9, 6.8], 16),
    ([16.0, 0.0], True, [4.8, 6.8], 16),
], 1):  # fmt: skip
    weight.grad = torch.tensor(grad)
    found = check.answer(scaler.step, optimizer, call=f"step {number}", changes=True)
    check.equal(found, taken, f"the answer of step {number}, gradients {grad}")
    check.close(weight, left, f"the weights after step {number}, gradients {grad}", rtol=1e-5)
    check.close(
        check.attribute(scaler, "scale", "scaler"), scale, f"scaler.scale after step {number}"
    )
### BEGIN HIDDEN TESTS
rng = check.rng("loss_scaler")


class Recorder(torch.optim.SGD):
    """SGD that counts its steps and notes the gradients that it saw."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.25, momentum=0.5)
        self.seen = []

    def step(self):
        self.seen.append(
            [
                None if p.grad is None else p.grad.clone()
                for g in self.param_groups
                for p in g["params"]
            ]
        )
        super().step()


def scripted(script, unscale_first=(), scale=None, defaults=False, **options):
    """Run a row of gradients through a scaler and its own bookkeeping."""
    scaler = LossScaler() if defaults else LossScaler(scale=scale, **options)
    scale = 2.0**16 if defaults else scale
    factor, patience = options.get("factor", 2.0), options.get("patience", 2000)
    first, second = (
        torch.tensor(rng.normal(size=s), dtype=torch.float32, requires_grad=True)
        for s in ((2, 3), 4)
    )
    idle = torch.tensor(1.0, requires_grad=True)
    optimizer = Recorder([{"params": [first, idle]}, {"params": [second]}])
    good, steps = 0, 0
    what = f"LossScaler({', '.join(f'{k}={v}' for k, v in options.items())})"
    for number, kind in enumerate(script, 1):
        call = f"{what}, step {number}"
        loss = torch.tensor(rng.normal())
        found = check.answer(scaler.scaled, loss, call=f"{call}, scaled(loss)")
        check.close(
            found,
            loss * scale,
            f"{call}, scaled(loss)",
            rtol=1e-5,
            why="be the loss times the scale",
        )
        true = [torch.tensor(rng.normal(size=s), dtype=torch.float32) for s in ((2, 3), 4)]
        first.grad, second.grad = (t * scale for t in true)
        if kind != "fine":
            place = first.grad if number % 2 else second.grad
            place.view(-1)[int(rng.integers(place.numel()))] = {
                "inf": math.inf,
                "-inf": -math.inf,
                "nan": math.nan,
            }[kind]
        if number in unscale_first:
            times = 1 + number % 2
            for _ in range(times):
                check.answer(scaler.unscale, optimizer, call=f"{call}, unscale", changes=True)
            if kind == "fine":
                why = "be divided by the scale, once"
                check.close(
                    first.grad, true[0], f"gradients after {call}, unscale", rtol=1e-6, why=why
                )
                check.close(
                    second.grad, true[1], f"gradients after {call}, unscale", rtol=1e-6, why=why
                )
            first.grad, second.grad = first.grad / 2, second.grad / 2
            true = [t / 2 for t in true]
        before = [first.detach().clone(), second.detach().clone()]
        taken = check.answer(scaler.step, optimizer, call=call, changes=True)
        check.equal(
            taken, kind == "fine", f"the answer of {call}", why="tell whether a step was taken"
        )
        if kind == "fine":
            steps, good = steps + 1, good + 1
        else:
            good, scale = 0, scale / factor
            why = "stay as they were after an overflow"
            check.close(first, before[0], f"the weights after {call}", rtol=0, atol=0, why=why)
            check.close(second, before[1], f"the weights after {call}", rtol=0, atol=0, why=why)
        check.equal(
            len(optimizer.seen),
            steps,
            f"steps of the optimizer after {call}",
            why="step if all is finite",
        )
        if kind == "fine":
            for got, want in zip((optimizer.seen[-1][0], optimizer.seen[-1][2]), true, strict=True):
                why = "be the true ones: divided by the scale once"
                check.close(got, want, f"the gradients in {call}", rtol=1e-6, atol=1e-12, why=why)
            check.that(first.grad is not None, "leave the gradients to zero_grad of the loop")
            why = "stay for the loop to look at: zero_grad is its business"
            check.close(
                first.grad, true[0], f"the gradients after {call}", rtol=1e-6, atol=1e-12, why=why
            )
        if good == patience:
            good, scale = 0, scale * factor
        got = check.attribute(scaler, "scale", "the scaler")
        check.close(
            got,
            scale,
            f"scale after {call}",
            rtol=1e-12,
            why="follow the rules for overflow and growth",
        )


scripted(["fine", "inf", "fine"], scale=8.0, factor=2.0, patience=100)
scripted(["fine", "nan", "-inf", "inf", "nan", "fine"], scale=1024.0, factor=4.0, patience=100)
scripted(["fine"] * 7, scale=8.0, factor=2.0, patience=3)
scripted(["fine", "fine", "inf", "fine", "fine", "fine", "fine"], scale=8.0, factor=3.0, patience=3)
scripted(["fine"] * 4, scale=8.0, factor=2.0, patience=1)
scripted(["fine"] * 5, unscale_first=(1, 2, 4), scale=32.0, factor=2.0, patience=4)
scripted(
    ["inf", "fine", "nan", "fine"], unscale_first=(1, 2, 3), scale=32.0, factor=8.0, patience=2
)
scripted([str(k) for k in rng.choice(["fine"] * 5 + ["inf", "nan"], size=25)],
         unscale_first=(3, 4, 9, 16), scale=256.0, factor=2.0, patience=3)  # fmt: skip
scripted(["fine", "nan", "fine"], defaults=True)
scaler, weight = LossScaler(scale=1.0), torch.tensor([2.0], requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.0)
for number in range(2000):
    weight.grad = torch.tensor([1.0])
    scaler.step(optimizer)
    if number in (1998, 1999):
        want = 1 + (number == 1999)
        check.close(check.attribute(scaler, "scale", "scaler"), want, f"scale after {number + 1} steps",
                    why="be doubled after 2000 steps that went well")  # fmt: skip
weight.grad = torch.tensor([math.inf])
check.answer(scaler.step, optimizer, call="step", changes=True)
check.close(
    check.attribute(scaler, "scale", "scaler"), 1, "scale after an overflow", why="be halved"
)
weight = torch.tensor([0.0, 0.0, 1.0], requires_grad=True)
optimizer, scaler = torch.optim.SGD([weight], lr=1e-38), LossScaler(scale=1.0)
weight.grad = torch.tensor([3e38, 3e38, -1.0])
found = check.answer(scaler.step, optimizer, call="step with large finite gradients", changes=True)
check.equal(
    found,
    True,
    "step with gradients 3e38",
    why="look at each gradient, not at a sum that overflows",
)
weight.grad = torch.tensor([math.inf, -math.inf, 0.0])
found = check.answer(scaler.step, optimizer, call="step", changes=True)
check.equal(found, False, "step with gradients inf and -inf", why="see both kinds of infinity")
one, two = LossScaler(scale=4.0, patience=2), LossScaler(scale=4.0, patience=2)
for scaler in (one, two, one):
    weight.grad = torch.ones(3)
    check.answer(scaler.step, optimizer, call="step of one of two scalers", changes=True)
for scaler, want in ((one, 8), (two, 4)):
    got = check.attribute(scaler, "scale", "one of two scalers")
    check.close(got, want, "scale of one of two scalers", why="count its own steps")
loss = torch.tensor([2.0], requires_grad=True)
(found,) = check.gradient_of(LossScaler(scale=32.0).scaled, loss, call="scaled")
check.close(
    found, [32], "the gradient of scaled(loss)", why="let the gradient through, times the scale"
)
several = torch.tensor([2.0, 3.0])
found = check.answer(LossScaler(scale=32.0).scaled, several, call="scaled of two losses")
check.close(found, [64, 96], "scaled of two losses", why="be the losses times the scale")
### END HIDDEN TESTS

# %% mutant="loss_scaler" why="steps on inf"
# - if finite:
# -     optimizer.step()
# + optimizer.step()
# + if finite:

# %% mutant="loss_scaler" why="never grows"
# - self.scale, self.good = self.scale * self.factor, 0
# + self.good = 0

# %% mutant="loss_scaler" why="unscales twice"
# - if not self.unscaled:
# + if True:

# %% mutant="loss_scaler" why="unscales in the first step alone"
# - self.unscaled = False
# - if finite:
# + if finite:

# %% mutant="loss_scaler" why="an overflow does not start the count again"
# - self.scale, self.good = self.scale / self.factor, 0
# + self.scale = self.scale / self.factor

# %% mutant="loss_scaler" why="grows at every step after the first growth"
# - self.scale, self.good = self.scale * self.factor, 0
# + self.scale = self.scale * self.factor
# - if self.good == self.patience:
# + if self.good >= self.patience:

# %% mutant="loss_scaler" why="one step too late"
# - if self.good == self.patience:
# + if self.good > self.patience:

# %% mutant="loss_scaler" why="looks for inf, but not for NaN"
# - finite = all(bool(p.grad.isfinite().all()) for p in self._with_gradient(optimizer))
# + finite = not any(bool(p.grad.isinf().any()) for p in self._with_gradient(optimizer))

# %% mutant="loss_scaler" why="looks at the sum: large gradients overflow"
# - finite = all(bool(p.grad.isfinite().all()) for p in self._with_gradient(optimizer))
# + finite = bool(sum(p.grad.sum() for p in self._with_gradient(optimizer)).isfinite())

# %% mutant="loss_scaler" why="the first group of parameters only"
# - groups = (group["params"] for group in optimizer.param_groups)
# + groups = (group["params"] for group in optimizer.param_groups[:1])

# %% mutant="loss_scaler" why="takes zero_grad on itself"
# - optimizer.step()
# + optimizer.step()
# + optimizer.zero_grad()

# %% mutant="loss_scaler" why="always halves"
# - self.scale, self.good = self.scale / self.factor, 0
# + self.scale, self.good = self.scale / 2, 0

# %% mutant="loss_scaler" why="divides by the scale after the step"
# - self.unscale(optimizer)
# - finite = all(bool(p.grad.isfinite().all()) for p in self._with_gradient(optimizer))
# - self.unscaled = False
# + finite = all(bool(p.grad.isfinite().all()) for p in self._with_gradient(optimizer))
# - return finite
# + self.unscale(optimizer)
# + self.unscaled = False
# + return finite


# %% alternative="loss_scaler" why="new gradient tensors, a countdown, a tensor for the answer"
class LossScaler:
    def __init__(self, scale=65536.0, factor=2.0, patience=2000):
        self.scale = float(scale)
        self.by, self.every = factor, patience
        self.left = patience
        self.done_for = None

    def scaled(self, loss):
        return self.scale * loss

    def unscale(self, optimizer):
        if self.done_for is optimizer:
            return
        self.done_for = optimizer
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = parameter.grad / self.scale

    def step(self, optimizer):
        self.unscale(optimizer)
        self.done_for = None
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                    self.scale /= self.by
                    self.left = self.every
                    return False
        optimizer.step()
        self.left -= 1
        if self.left == 0:
            self.scale *= self.by
            self.left = self.every
        return True


# %%
torch.manual_seed(0)
inputs = torch.tensor(x_train[:512], dtype=torch.float32)
labels = torch.tensor(y_train[:512])
reader = nn.Sequential(
    nn.Linear(inputs.shape[1], 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
)
optimizer, scaler = torch.optim.SGD(reader.parameters(), lr=0.2), LossScaler(2.0**26, 2.0, 25)
scales = []
for _ in range(400):
    optimizer.zero_grad()
    scaler.scaled(F.cross_entropy(reader(inputs), labels)).backward()
    for p in reader.parameters():
        p.grad = p.grad.half().float()  # what float16 makes of the gradients
    scaler.step(optimizer)
    scales.append(scaler.scale)
# Of the trained network the gradients of the values inside.
hidden = reader[:2](inputs).detach().requires_grad_()
F.cross_entropy(reader[2:](hidden), labels).backward()
sizes = hidden.grad.abs()
sizes = sizes[sizes > 0]
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=[3, 2])
bins = np.logspace(-13, 6, 80)
for factor, name in ((1, "as they are"), (2**16, "times $2^{16}$")):
    lost = (sizes * factor < 3e-8).float().mean()
    axes[0].hist((sizes * factor).numpy(), bins, alpha=0.7, label=f"{name}: {lost:.1%} become 0")
axes[0].axvspan(1e-13, 3e-8, color="0.85", zorder=0)
axes[0].axvspan(65504, 1e6, color="0.85", zorder=0)
axes[0].set(xscale="log", xlim=(1e-13, 1e6), title="Gradients, and what float16 can't hold (grey)",
            xlabel="absolute value", ylabel="count")  # fmt: skip
axes[0].set_ylim(0, 1.35 * axes[0].get_ylim()[1])
axes[0].legend(frameon=False, loc="upper center")
axes[1].step(range(len(scales)), scales)
axes[1].set_yscale("log", base=2)
axes[1].set(title="Your scaler finds its level", xlabel="step", ylabel="scale")
plots.show(
    "Left: a histogram of gradients whose left part lies where float16 has only zero; multiplied by 2 to the "
    "16 almost all of it lies within the range. Right: the scale falls in a few steps by powers of two, and "
    "climbs again in stairs while the gradients shrink."
)

# %% [markdown]
# ## 8. How large should weights be at the start?
# A unit adds up $n_{\text{in}}$ products. With independent weights of mean 0 the variances add up: $\operatorname{Var}[y] = n_{\text{in}} \operatorname{Var}[w]\, \mathbb{E}[x^2]$. Each layer multiplies the signal by the same factor, and fifty equal factors are a power: $0.9^{50} \approx 0.005$.
#
# - **Xavier** (Glorot & Bengio, 2010): a factor of 1 forward wants $\operatorname{Var}[w] = 1/n_{\text{in}}$, backward $1/n_{\text{out}}$; the compromise is $\dfrac{2}{n_{\text{in}} + n_{\text{out}}}$.
# - **He** (He et al., 2015): ReLU throws half of the square away, so twice as much: $\operatorname{Var}[w] = \dfrac{2}{n_{\text{in}}}$.
#
# Here $n_{\text{in}}$ counts the inputs that one output reads, and $n_{\text{out}}$ the outputs that one input reaches. For a dense weight these are columns and rows. A convolution has the shape $(f,\, c/g,\, k_h, k_w)$ with $g$ groups: an output reads $c/g$ channels at $k_h k_w$ places; an input reaches the $f/g$ filters of **its own group**, at $k_h k_w$ places each (stride 1, away from the edges).
#
# {{task:init}}
#
# Normally distributed numbers of mean 0, drawn from `generator`, or from torch's global one where there is none. In place, as the `_` says, also for a parameter that needs gradients; the weight is returned.

# %% [markdown] lang="ru"
# ## 8. Какими должны быть веса в начале?
# Нейрон складывает $n_{\text{in}}$ произведений. Если веса независимы и их среднее 0, складываются дисперсии: $\operatorname{Var}[y] = n_{\text{in}} \operatorname{Var}[w]\, \mathbb{E}[x^2]$. Каждый слой умножает сигнал на один и тот же множитель, а пятьдесят равных множителей — это степень: $0{,}9^{50} \approx 0{,}005$.
#
# - **Xavier** (Glorot, Bengio, 2010): чтобы множитель на прямом пути был 1, нужно $\operatorname{Var}[w] = 1/n_{\text{in}}$, на обратном $1/n_{\text{out}}$; компромисс — $\dfrac{2}{n_{\text{in}} + n_{\text{out}}}$.
# - **He** (He и др., 2015): ReLU отбрасывает половину квадрата, значит, нужно вдвое больше: $\operatorname{Var}[w] = \dfrac{2}{n_{\text{in}}}$.
#
# Здесь $n_{\text{in}}$ — сколько входов читает один выход, а $n_{\text{out}}$ — до скольких выходов дотягивается один вход. У полносвязных весов это число столбцов и число строк. У свёртки с $g$ группами форма $(f,\, c/g,\, k_h, k_w)$: выход читает $c/g$ каналов в $k_h k_w$ местах; вход доходит до $f/g$ фильтров **своей группы**, до каждого в $k_h k_w$ местах (при шаге 1, вдали от краёв).
#
# {{task:init}}
#
# Нормально распределённые числа со средним 0 — из генератора `generator`, а если его нет — из общего генератора torch. На месте, о чём говорит `_` в имени, в том числе для параметра, которому нужны градиенты; возвращается тот же тензор весов.


# %% solution="init"
def xavier_(
    weight: torch.Tensor, groups: int = 1, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Fill a weight with normal numbers of variance 2 / (n_in + n_out).

    weight: (out, in) or (out, in / groups, kh, kw), or with another number of axes for the kernel.
    """
    ### BEGIN SOLUTION
    places = weight[0, 0].numel()
    readers = weight.shape[1] * places + weight.shape[0] // groups * places
    with torch.no_grad():
        return weight.normal_(0.0, math.sqrt(2 / readers), generator=generator)
    ### END SOLUTION


def he_(weight: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Fill a weight, of a shape as for `xavier_`, with normal numbers of variance 2 / n_in."""
    ### BEGIN SOLUTION
    with torch.no_grad():
        return weight.normal_(0.0, math.sqrt(2 / weight[0].numel()), generator=generator)
    ### END SOLUTION


# %% test="init" points=0.5 difficulty=2 minutes=15
source = torch.Generator().manual_seed(0)
weight = torch.zeros(300, 500)
found = check.answer(he_, weight, generator=source, call="he_(300 × 500)", changes=True)
check.close(found.var(), 2 / 500, "variance of he_(300 × 500)", rtol=0.03, why="be 2 / n_in")
check.close(weight, found, "the weight itself after he_", why="be filled in place")
found = check.answer(xavier_, weight, generator=source, call="xavier_(300 × 500)", changes=True)
check.close(
    found.var(), 2 / 800, "variance of xavier_(300 × 500)", rtol=0.03, why="be 2 / (n_in + n_out)"
)
### BEGIN HIDDEN TESTS
rng = check.rng("init")
starts = {"xavier_": xavier_, "he_": he_}
state = torch.get_rng_state()


def judge_start(name, shape, variance, why, **options):
    """Variance, mean, form and independence of what a start draws."""
    call = f"{name} of {shape}" + (f" with {options}" if options else "")
    source = torch.Generator().manual_seed(int(rng.integers(1_000_000)))
    kept = source.get_state()
    weight = torch.full(shape, 7.0, dtype=torch.float64)
    first = check.answer(starts[name], weight, generator=source, call=call, changes=True, **options)
    check.close(weight, first, f"the weight after {call}", why="be filled in place and returned")
    second = check.answer(
        starts[name], weight, generator=source, call=call, changes=True, **options
    )
    source.set_state(kept)
    again = check.answer(starts[name], weight, generator=source, call=call, changes=True, **options)
    check.equal(
        again, first, f"{call} from the same seed", why="take all randomness from the generator"
    )
    size = first.size
    check.that((first != second).mean() > 0.99, "draw other numbers at the second call")
    # Within seven standard deviations of each frequency.
    text = f"variance × what it should be the inverse of, {call}"
    check.close(first.var() / variance, 1.0, text, rtol=7 * math.sqrt(2 / size), why=why)
    scaled = first / math.sqrt(variance)
    check.that(abs(scaled.mean()) < 7 / math.sqrt(size), f"have mean 0: {call}")
    for limit in (0.5, 1.0, 2.0, 3.0):
        share = math.erf(limit / math.sqrt(2))
        got = np.mean(np.abs(scaled) < limit)
        what = f"share within {limit:g} deviations of 0, {call}"
        spread = 7 * math.sqrt(share * (1 - share) / size)
        check.close(got, share, what, rtol=0, atol=spread, why="be that of normal numbers")
    check.that(len(np.unique(first)) > 0.99 * size, f"draw each number on its own: {call}")
    flat = first.reshape(len(first), -1)
    if len(flat) > 1 and flat.shape[1] >= 100:
        alike = np.abs(np.corrcoef(flat[:100]) - np.eye(min(100, len(flat)))).max()
        check.that(
            alike < 7 / math.sqrt(flat.shape[1]), f"give no two outputs the same weights: {call}"
        )


for out, inputs in ((40, 700), (900, 30), (200, 201), (3, 9000), (9000, 2)):
    judge_start("he_", (out, inputs), 2 / inputs, "be 2 / n_in for a dense layer")
    judge_start(
        "xavier_", (out, inputs), 2 / (inputs + out), "be 2 / (n_in + n_out) for a dense layer"
    )
for shape, groups in [((40, 30, 3, 5), 1), ((60, 10, 3, 2), 3), ((96, 1, 5, 7), 96), ((64, 20, 4), 4),
                      ((30, 25, 2, 3, 4), 5)]:  # fmt: skip
    places = math.prod(shape[2:])
    why = "be 2 / n_in: an output reads shape[1] channels at all places of the kernel"
    judge_start("he_", shape, 2 / (shape[1] * places), why)
    variance = 2 / (shape[1] * places + shape[0] // groups * places)
    why = "be 2 / (n_in + n_out): an input reaches the filters of its own group"
    options = {"groups": groups} if groups > 1 else {}
    judge_start("xavier_", shape, variance, why, **options)
for name in ("xavier_", "he_"):
    given = starts[name](nn.Parameter(torch.zeros(3, 4)))
    needs = check.attribute(given, "requires_grad", f"{name}(parameter)")
    check.that(needs, f"return the parameter itself, which needs gradients: {name}")
    torch.manual_seed(int(rng.integers(1_000_000)))
    kept = torch.get_rng_state()
    drawn = [
        check.answer(starts[name], torch.zeros(20, 30), call=name, changes=True) for _ in range(2)
    ]
    torch.set_rng_state(kept)
    again = check.answer(starts[name], torch.zeros(20, 30), call=name, changes=True)
    why = "take torch's global generator where none is given"
    check.equal(again, drawn[0], f"{name} after the same global seed", why=why)
    check.that((drawn[0] != drawn[1]).any(), f"draw other numbers the second time: {name}")
    source = torch.Generator().manual_seed(3)
    check.answer(starts[name], torch.zeros(20, 30), generator=source, call=name, changes=True)
    torch.set_rng_state(kept)
    check.answer(starts[name], torch.zeros(20, 30), generator=source, call=name, changes=True)
    next_one = float(torch.rand(()))
    torch.set_rng_state(kept)
    why = "leave the global generator alone where one is given"
    check.close(next_one, float(torch.rand(())), f"the global generator after {name}", why=why)
    layer = nn.Linear(30, 20)
    given = check.answer(starts[name], layer.weight, call=f"{name}(layer.weight)", changes=True)
    check.close(layer.weight, given, f"layer.weight after {name}", why="be filled in place")
    check.that(
        layer.weight.requires_grad and layer.weight.is_leaf, "leave the parameter a parameter"
    )
    half = check.answer(
        starts[name], torch.zeros(4, 5, dtype=torch.float64), call=name, changes=True
    )
    check.equal(str(half.dtype), "float64", f"dtype after {name} of doubles", why="stay")
width, source = 200, torch.Generator().manual_seed(int(rng.integers(1_000_000)))
for name, active in (("he_", torch.relu), ("xavier_", torch.nn.Identity())):
    signal = torch.randn(64, width, generator=source)
    for _ in range(50):
        weight = torch.tensor(check.answer(starts[name], torch.zeros(width, width), generator=source, call=name,
                                           changes=True))  # fmt: skip
        signal = active(signal @ weight.T)
    size = float((signal**2).mean().sqrt())
    check.that(0.02 < size < 50, f"carry a signal through 50 layers of {width} units: {name}",
               details=f"its size is {size:.3g} times what it was")  # fmt: skip
torch.set_rng_state(state)
### END HIDDEN TESTS

# %% mutant="init" why="returns the numbers without the parameter"
# - return weight.normal_(0.0, math.sqrt(2 / weight[0].numel()), generator=generator)
# + return weight.data.normal_(0.0, math.sqrt(2 / weight[0].numel()), generator=generator)

# %% mutant="init" why="fan-out for fan-in"
# - return weight.normal_(0.0, math.sqrt(2 / weight[0].numel()), generator=generator)
# + return weight.normal_(0.0, math.sqrt(2 / weight[:, 0].numel()), generator=generator)

# %% mutant="init" why="the variance for the deviation"
# - return weight.normal_(0.0, math.sqrt(2 / weight[0].numel()), generator=generator)
# + return weight.normal_(0.0, 2 / weight[0].numel(), generator=generator)

# %% mutant="init" why="Xavier for He"
# - return weight.normal_(0.0, math.sqrt(2 / weight[0].numel()), generator=generator)
# + return weight.normal_(0.0, math.sqrt(1 / weight[0].numel()), generator=generator)

# %% mutant="init" why="the kernel's places are not counted"
# - return weight.normal_(0.0, math.sqrt(2 / weight[0].numel()), generator=generator)
# + return weight.normal_(0.0, math.sqrt(2 / weight.shape[1]), generator=generator)

# %% mutant="init" why="all filters are reached, whatever the groups"
# - readers = weight.shape[1] * places + weight.shape[0] // groups * places
# + readers = weight.shape[1] * places + weight.shape[0] * places

# %% mutant="init" why="divides the inputs by the groups a second time"
# - readers = weight.shape[1] * places + weight.shape[0] // groups * places
# + readers = weight.shape[1] * places // groups + weight.shape[0] // groups * places

# %% mutant="init" why="uniform numbers of that deviation"
# - return weight.normal_(0.0, math.sqrt(2 / readers), generator=generator)
# + bound = math.sqrt(6 / readers)
# + return weight.uniform_(-bound, bound, generator=generator)

# %% mutant="init" why="the generator is not used"
# - return weight.normal_(0.0, math.sqrt(2 / readers), generator=generator)
# + return weight.normal_(0.0, math.sqrt(2 / readers))

# %% mutant="init" why="a new tensor; the weight stays as it was"
# - return weight.normal_(0.0, math.sqrt(2 / weight[0].numel()), generator=generator)
# + return torch.empty_like(weight).normal_(0.0, math.sqrt(2 / weight[0].numel()), generator=generator)

# %% mutant="init" why="the mean of fans instead of their sum"
# - return weight.normal_(0.0, math.sqrt(2 / readers), generator=generator)
# + return weight.normal_(0.0, math.sqrt(1 / readers), generator=generator)


# %% alternative="init" why="copies scaled random numbers; reshapes to a matrix"
def _drawn(weight, variance, generator):
    new = torch.randn(weight.shape, generator=generator, dtype=weight.dtype) * variance**0.5
    weight.data.copy_(new)
    return weight


def xavier_(weight, groups=1, generator=None):
    n_in = weight.detach().reshape(len(weight), -1).shape[1]
    n_out = weight.detach().transpose(0, 1).reshape(weight.shape[1], -1).shape[1] / groups
    return _drawn(weight, 2.0 / (n_in + n_out), generator)


def he_(weight, generator=None):
    n_in = weight.detach().reshape(len(weight), -1).shape[1]
    return _drawn(weight, 2.0 / n_in, generator)


# %%
DEPTH, WIDTH = 50, 128
source = torch.Generator().manual_seed(0)
signal_in = torch.tensor(x_train[:256], dtype=torch.float32)
starts_of = {
    "deviation 0.01": lambda w: w.normal_(0, 0.01, generator=source),
    "Xavier": lambda w: xavier_(w, generator=source),
    "He": lambda w: he_(w, generator=source),
    "twice He": lambda w: he_(w, generator=source).mul_(2),
}
sizes = {}
for name, start in starts_of.items():
    h = signal_in @ xavier_(torch.empty(WIDTH, signal_in.shape[1]), generator=source).T
    sizes[name] = [float(h.std())]
    for _ in range(DEPTH):
        h = torch.relu(h @ start(torch.empty(WIDTH, WIDTH)).T)
        sizes[name].append(float(h.double().std()) or math.nan)
ax = plots.curves(sizes, f"Pictures through {DEPTH} dense layers with ReLU", "layer", "deviation of the values",
                  log_y=True)  # fmt: skip
ax.set_ylim(1e-20, 1e18)
plots.show(
    "On a logarithmic scale four straight lines fan out from one point: deviation 0.01 falls "
    "below 1e-20 before layer 20, Xavier falls to about 1e-8, He stays near 1, twice He rises to 1e15."
)

# %% [markdown]
# ## 9. Normalisation: measure and correct
# A start holds at the start only; the weights move. [BatchNorm](glossary:BatchNorm) (Ioffe & Szegedy, 2015) measures mean and variance of each channel in the batch and takes them out, then lets the network choose its own by $\gamma$ (`weight`) and $\beta$ (`bias`):
#
# $$y = \gamma\,\frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta, \qquad \mu, \sigma^2 \text{ over all axes but the channels' (axis 1).}$$
#
# While it trains, it also keeps *running* statistics, for the day when examples come alone: in eval mode they take the places of $\mu, \sigma^2$. Three places where people go wrong:
#
# - $\sigma^2$ divides by the count $m$; the **running** variance is made of the unbiased one, which divides by $m - 1$;
# - `momentum` is the weight of the **new** value: $r \leftarrow (1 - \text{momentum})\, r + \text{momentum} \cdot \text{new}$;
# - the gradient goes through $\mu$ and $\sigma^2$ in training, and never into the running statistics.
#
# {{task:batch_norm}}
#
# The buffers are changed in place. Inputs have the shape $(n, c)$ or $(n, c, \ldots)$; in training there are at least two values a channel. Without torch's normalisations.

# %% [markdown] lang="ru"
# ## 9. Нормировка: измерить и поправить
# Начальные веса хороши лишь в начале: потом веса двигаются. [BatchNorm](glossary:BatchNorm) (Ioffe, Szegedy, 2015) измеряет среднее и дисперсию каждого канала по батчу и убирает их, а затем даёт сети выбрать собственные через $\gamma$ (`weight`) и $\beta$ (`bias`):
#
# $$y = \gamma\,\frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta, \qquad \mu, \sigma^2 \text{ — по всем осям, кроме оси каналов (оси 1).}$$
#
# Во время обучения слой ведёт ещё и *скользящую* статистику (running statistics) — на тот день, когда примеры придут по одному: в режиме eval она заменяет $\mu, \sigma^2$. Три места, где ошибаются:
#
# - в $\sigma^2$ делят на число значений $m$; **скользящая** дисперсия складывается из несмещённой, где делят на $m - 1$;
# - `momentum` — вес **нового** значения: $r \leftarrow (1 - \text{momentum})\, r + \text{momentum} \cdot \text{new}$;
# - при обучении градиент идёт сквозь $\mu$ и $\sigma^2$, но никогда — в скользящую статистику.
#
# {{task:batch_norm}}
#
# Буферы меняются на месте. Форма входа — $(n, c)$ или $(n, c, \ldots)$; при обучении на канал приходится не меньше двух значений. Без нормировок из torch.


# %% solution="batch_norm"
class BatchNorm(nn.Module):
    """Normalises every channel over the batch and all other axes."""

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (n, c, ...) -> the same shape."""
        ### BEGIN SOLUTION
        mean, var = self.running_mean, self.running_var
        if self.training:
            axes = [0, *range(2, x.ndim)]
            count = x.numel() // x.shape[1]
            mean, var = x.mean(axes), x.var(axes, correction=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * count / (count - 1), self.momentum)
        scale = self.weight / torch.sqrt(var + self.eps)
        shape = (-1, *(1 for _ in x.shape[2:]))
        return (x - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)
        ### END SOLUTION


# %% test="batch_norm" points=0.5 difficulty=3 minutes=20
layer, reference = BatchNorm(3), nn.BatchNorm2d(3)
torch.manual_seed(0)
x = 5 + 2 * torch.randn(4, 3, 2, 5)
found = check.answer(layer, x, call="BatchNorm(3)(x)")
check.close(
    found,
    reference(x),
    "BatchNorm(3)(x) in training",
    rtol=1e-4,
    atol=1e-5,
    why="have mean 0, variance 1",
)
for name in ("running_mean", "running_var"):
    found = check.attribute(layer, name, "BatchNorm(3)")
    check.close(found, getattr(reference, name), f"{name} after one batch", rtol=1e-4)
layer.eval(), reference.eval()
found = check.answer(layer, x[:1], call="BatchNorm(3)(x) in eval mode")
check.close(
    found, reference(x[:1]), "BatchNorm(3)(x) in eval mode", rtol=1e-4, why="use running statistics"
)
### BEGIN HIDDEN TESTS
rng = check.rng("batch_norm")
BANNED = ("batch_norm", "layer_norm", "group_norm", "instance_norm")


def slopes_of(one, x, upstream):
    """The gradients of x and of the parameters of a layer."""
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad((one(leaf) * upstream).sum(), [leaf, one.weight, one.bias])


for shape, options, offset in [
    ((8, 5), {}, 0),
    ((2, 7), {}, 3),
    ((6, 3, 4), {"momentum": 0.3}, 0),
    ((5, 3, 2, 4), {}, -20),
    ((3, 4, 2, 5), {"momentum": 0.7, "eps": 0.25}, 1),
    ((1, 2, 3, 7), {"eps": 1e-3}, 0),
    ((2, 3, 2, 3, 4), {"momentum": 1.0}, 0),
    ((4, 1), {}, 2),
]:
    channels = shape[1]
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(shape)]
    layer, reference = BatchNorm(channels, **options).double(), kind(channels, **options).double()
    call = f"BatchNorm({', '.join([str(channels), *(f'{k}={v}' for k, v in options.items())])})"
    numbers = {"weight": rng.normal(size=channels) + 2, "bias": rng.normal(size=channels)}
    for name, value in numbers.items():
        check.fill(layer, name, value=value, call=f"{name} of {call}")
        check.fill(reference, name, value=value, call=f"{name} of torch's")
    x = torch.tensor(rng.normal(size=shape))
    with check.without_torch(*BANNED):
        layer.eval()
        found = check.answer(layer, x, call=f"{call}(x) in eval mode, before training")
    want = reference.eval()(x)
    check.close(found, want, f"{call}(x) in eval mode, before training", rtol=1e-9, atol=1e-11,
                why="take the running statistics of the start")  # fmt: skip
    layer.train(), reference.train()
    for number in range(1, 4):
        spread = torch.tensor(rng.uniform(0.5, 3, size=(channels, *(1 for _ in shape[2:]))))
        x = offset + spread * torch.tensor(rng.normal(size=shape))
        upstream = torch.tensor(rng.normal(size=shape))
        what = f"{call}, batch {number} of shape {shape}"
        with check.without_torch(*BANNED):
            found = check.answer(layer, x, call=what)
        check.close(
            found, reference(x), what, rtol=1e-7, atol=1e-9, why="be normalised by its own batch"
        )
        for name in ("running_mean", "running_var"):
            got = check.attribute(layer, name, call)
            why = "move towards the batch's by momentum, the variance unbiased"
            check.close(
                got,
                getattr(reference, name),
                f"{name} after {what}",
                rtol=1e-9,
                atol=1e-12,
                why=why,
            )
        with check.without_torch(*BANNED):
            got = check.answer(slopes_of, layer, x, upstream, call=f"gradients of {what}")
        for name, a, b in zip(
            ("x", "weight", "bias"), got, slopes_of(reference, x, upstream), strict=True
        ):
            why = "go through mean and variance"
            check.close(a, b, f"gradient of {name}, {what}", rtol=1e-6, atol=1e-8, why=why)
    for number in range(2):
        layer.eval(), reference.eval()
        x = torch.tensor(offset + rng.normal(size=(1 + number, *shape[1:])))
        with check.without_torch(*BANNED):
            found = check.answer(layer, x, call=f"{call}(x) in eval mode")
        check.close(found, reference(x), f"{call}(x) in eval mode, {1 + number} examples", rtol=1e-7, atol=1e-9,
                    why="use the running statistics, for one example, too")  # fmt: skip
        for name in ("running_mean", "running_var"):
            got = check.attribute(layer, name, call)
            check.close(
                got, getattr(reference, name), f"{name} after eval mode", why="stay in eval mode"
            )
        upstream = torch.tensor(rng.normal(size=tuple(x.shape)))
        got = check.answer(slopes_of, layer, x, upstream, call=f"gradients of {call} in eval mode")
        for a, b in zip(got, slopes_of(reference, x, upstream), strict=True):
            check.close(
                a, b, f"gradients of {call} in eval mode", rtol=1e-7, atol=1e-9, why="be torch's"
            )
layer = BatchNorm(2).double()
x = torch.tensor(1e6 + rng.normal(size=(50, 2)))
want = (x.numpy() - x.numpy().mean(0)) / np.sqrt(x.numpy().var(0) + 1e-5)
found = check.answer(layer, x, call="BatchNorm of numbers near a million")
check.close(
    found, want, "BatchNorm of numbers near a million", rtol=1e-6, atol=1e-6, why="not cancel"
)
found = check.answer(BatchNorm(2), torch.ones(4, 2), call="BatchNorm of a constant")
check.close(
    found, np.zeros((4, 2)), "BatchNorm of a constant", why="be the bias: eps keeps it from 0 / 0"
)
first, second = BatchNorm(2), BatchNorm(2)
check.answer(first, torch.randn(5, 2) + 4, call="BatchNorm(2)(x)")
got = check.attribute(second, "running_mean", "another BatchNorm")
check.close(got, [0, 0], "running_mean of another BatchNorm", why="be its own")


def tracked(one):
    return [one.running_mean.requires_grad, one.running_var.requires_grad]


leaf = torch.randn(4, 2, requires_grad=True)
layer = BatchNorm(2)
check.plain(layer(leaf), "BatchNorm(2)(x)")
found = check.answer(tracked, layer, call="running statistics")
check.equal(
    found,
    [False, False],
    "requires_grad of the running statistics",
    why="take no part in gradients",
)


def buffer_of(one, name):
    return getattr(one, name)


for name in ("running_mean", "running_var"):
    kept = buffer_of(first, name)
    check.answer(first, torch.randn(5, 2) + 4, call="BatchNorm(2)(x)")
    now = check.attribute(first, name, "BatchNorm")
    check.close(kept, now, f"{name} kept from before", why="be changed in place")
### END HIDDEN TESTS

# %% mutant="batch_norm" why="biased variance in the running one"
# - self.running_var.lerp_(var * count / (count - 1), self.momentum)
# + self.running_var.lerp_(var, self.momentum)

# %% mutant="batch_norm" why="unbiased variance in the batch's own"
# - mean, var = x.mean(axes), x.var(axes, correction=0)
# + mean, var = x.mean(axes), x.var(axes)

# %% mutant="batch_norm" why="momentum the other way round"
# - self.running_mean.lerp_(mean, self.momentum)
# + self.running_mean.lerp_(mean, 1 - self.momentum)

# %% mutant="batch_norm" why="statistics over the batch alone"
# - axes = [0, *range(2, x.ndim)]
# - count = x.numel() // x.shape[1]
# + axes = [0]
# + count = x.shape[0]
# - mean, var = x.mean(axes), x.var(axes, correction=0)
# + mean, var = x.mean(axes), x.var(axes, correction=0)
# + while mean.ndim > 1:
# +     mean, var = mean.mean(-1), var.mean(-1)

# %% mutant="batch_norm" why="statistics of the batch in eval mode, too"
# - if self.training:
# + if True:

# %% mutant="batch_norm" why="no gradient through the statistics"
# - mean, var = x.mean(axes), x.var(axes, correction=0)
# + mean, var = x.detach().mean(axes), x.detach().var(axes, correction=0)

# %% mutant="batch_norm" why="running statistics drag the graphs of all batches along"
# - with torch.no_grad():
# + with torch.enable_grad():

# %% mutant="batch_norm" why="eps outside of the root"
# - scale = self.weight / torch.sqrt(var + self.eps)
# + scale = self.weight / (torch.sqrt(var) + self.eps)

# %% mutant="batch_norm" why="normalised by the running statistics while training"
# - mean, var = x.mean(axes), x.var(axes, correction=0)
# + mean, var = x.mean(axes), x.var(axes, correction=0)
# - scale = self.weight / torch.sqrt(var + self.eps)
# + mean, var = self.running_mean, self.running_var
# + scale = self.weight / torch.sqrt(var + self.eps)

# %% mutant="batch_norm" why="the difference of mean squares cancels"
# - mean, var = x.mean(axes), x.var(axes, correction=0)
# + mean = x.mean(axes)
# + var = (x * x).mean(axes) - mean * mean

# %% mutant="batch_norm" why="puts new tensors in the places of the buffers"
# - self.running_mean.lerp_(mean, self.momentum)
# + self.running_mean = self.running_mean.lerp(mean, self.momentum)

# %% mutant="batch_norm" why="lets torch do it"
# - mean, var = self.running_mean, self.running_var
# + return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training,
# +                     self.momentum, self.eps)
# + mean, var = self.running_mean, self.running_var


# %% alternative="batch_norm" why="channels last, buffers by arithmetic in place"
class BatchNorm(nn.Module):
    def __init__(self, channels, momentum=0.1, eps=1e-5):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = (
            nn.Parameter(torch.ones(channels)),
            nn.Parameter(torch.zeros(channels)),
        )
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x):
        last = x.movedim(1, -1)
        flat = last.reshape(-1, last.shape[-1])
        if self.training:
            mean = flat.sum(0) / len(flat)
            centred = flat - mean
            square = (centred**2).sum(0)
            var = square / len(flat)
            new = self.momentum
            self.running_mean.mul_(1 - new).add_(new * mean.detach())
            self.running_var.mul_(1 - new).add_(new * square.detach() / (len(flat) - 1))
        else:
            mean, var = self.running_mean, self.running_var
            centred = flat - mean
        y = self.weight * centred * torch.rsqrt(var + self.eps) + self.bias
        return y.reshape(last.shape).movedim(-1, 1)


# %% [markdown]
# BatchNorm ties examples together: the answer to yours depends on its neighbours, and with a batch of two it is a lottery. [LayerNorm](glossary:LayerNorm) (Ba et al., 2016) turns the table by ninety degrees: the same formula over the values **of one example**, its last axes. No running statistics, no difference between training and use; transformers live on it.

# %% [markdown] lang="ru"
# BatchNorm связывает примеры: ответ на ваш зависит от соседей, а при батче из двух примеров это лотерея. [LayerNorm](glossary:LayerNorm) (Ba и др., 2016) поворачивает таблицу на девяносто градусов: та же формула, но по значениям **одного примера**, по последним осям. Ни скользящей статистики, ни разницы между обучением и работой; на нём держатся трансформеры.

# %%
week02.norms()
plots.show(
    "Two tables of examples by channels. For BatchNorm one column is marked: one channel over all examples. "
    "For LayerNorm one row is marked: one example over all channels."
)

# %% [markdown]
# {{task:layer_norm}}
#
# `shape` are the lengths of the **last** axes; mean and (biased) variance are taken over all of these together. `weight` and `bias` have that shape. Without torch's normalisations here, too.

# %% [markdown] lang="ru"
# {{task:layer_norm}}
#
# `shape` — длины **последних** осей; среднее и (смещённая) дисперсия берутся по всем этим осям вместе. У `weight` и `bias` та же форма. И здесь без нормировок из torch.


# %% solution="layer_norm"
class LayerNorm(nn.Module):
    """Normalises every example over its last axes."""

    def __init__(self, shape: tuple[int, ...], eps: float = 1e-5) -> None:
        super().__init__()
        self.shape, self.eps = tuple(shape), eps
        self.weight = nn.Parameter(torch.ones(self.shape))
        self.bias = nn.Parameter(torch.zeros(self.shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., *shape) -> the same shape."""
        ### BEGIN SOLUTION
        axes = tuple(range(-len(self.shape), 0))
        centred = x - x.mean(axes, keepdim=True)
        var = centred.square().mean(axes, keepdim=True)
        return self.weight * centred / torch.sqrt(var + self.eps) + self.bias
        ### END SOLUTION


# %% test="layer_norm" points=0.5 difficulty=2 minutes=10
torch.manual_seed(0)
x = 5 + 2 * torch.randn(3, 4, 6)
for shape in ((6,), (4, 6)):
    call = f"LayerNorm({shape})(x)"
    found = check.answer(LayerNorm(shape), x, call=call)
    check.close(
        found, nn.LayerNorm(shape)(x), call, rtol=1e-4, atol=1e-5, why="be torch's LayerNorm"
    )
### BEGIN HIDDEN TESTS
rng = check.rng("layer_norm")


def slopes_there(one, x, upstream):
    """The gradients of x and of the parameters of a layer."""
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad((one(leaf) * upstream).sum(), [leaf, one.weight, one.bias])


for shape, x_shape, options in [
    ((5,), (3, 5), {}),
    ((5,), (5,), {}),
    ((7,), (2, 3, 7), {"eps": 0.3}),
    ((3, 4), (2, 3, 4), {}),
    ((4, 4), (4, 4, 4), {}),
    ((2, 3, 4), (5, 2, 3, 4), {"eps": 1e-2}),
    ((6,), (1, 6), {}),
    ((2,), (3, 2), {}),
]:
    layer, reference = LayerNorm(shape, **options).double(), nn.LayerNorm(shape, **options).double()
    call = f"LayerNorm({shape}{', eps=' + str(options['eps']) if options else ''})"
    for name, shift in (("weight", 2), ("bias", 0)):
        value = rng.normal(size=shape) + shift
        check.fill(layer, name, value=value, call=f"{name} of {call}")
        check.fill(reference, name, value=value, call=f"{name} of torch's")
    for training in (True, False):
        layer.train(training)
        x = torch.tensor(3 * rng.normal(size=x_shape) - 7)
        upstream = torch.tensor(rng.normal(size=x_shape))
        what = f"{call}(x of shape {x_shape}) in {'training' if training else 'eval'} mode"
        with check.without_torch("batch_norm", "layer_norm", "group_norm", "instance_norm"):
            found = check.answer(layer, x, call=what)
            got = check.answer(slopes_there, layer, x, upstream, call=f"gradients of {what}")
        check.close(found, reference(x), what, rtol=1e-8, atol=1e-10, why="be torch's LayerNorm")
        for name, a, b in zip(
            ("x", "weight", "bias"), got, slopes_there(reference, x, upstream), strict=True
        ):
            why = "go through mean and variance"
            check.close(a, b, f"gradient of {name}, {what}", rtol=1e-7, atol=1e-9, why=why)
x = torch.tensor(1e6 + rng.normal(size=(2, 50)))
want = (x.numpy() - x.numpy().mean(1, keepdims=True)) / np.sqrt(
    x.numpy().var(1, keepdims=True) + 1e-5
)
found = check.answer(LayerNorm((50,)).double(), x, call="LayerNorm of numbers near a million")
check.close(
    found, want, "LayerNorm of numbers near a million", rtol=1e-6, atol=1e-6, why="not cancel"
)
x = torch.tensor(rng.normal(size=(6, 4)))
layer = LayerNorm((4,)).double()
company, alone = (
    check.answer(layer, x, call="LayerNorm(x)"),
    check.answer(layer, x[2:3], call="LayerNorm(x[2:3])"),
)
check.close(
    alone[0], company[2], "LayerNorm of one example alone", rtol=1e-12, why="be as in company"
)
found = check.answer(LayerNorm((4,)), torch.full((3, 4), 2.5), call="LayerNorm of a constant")
check.close(
    found, np.zeros((3, 4)), "LayerNorm of a constant", why="be the bias: eps keeps it from 0 / 0"
)
### END HIDDEN TESTS

# %% mutant="layer_norm" why="over the batch"
# - axes = tuple(range(-len(self.shape), 0))
# + axes = (0,)

# %% mutant="layer_norm" why="over the last axis alone"
# - axes = tuple(range(-len(self.shape), 0))
# + axes = (-1,)

# %% mutant="layer_norm" why="over all axes but the first"
# - axes = tuple(range(-len(self.shape), 0))
# + axes = tuple(range(1, x.ndim)) or (0,)

# %% mutant="layer_norm" why="unbiased variance"
# - var = centred.square().mean(axes, keepdim=True)
# + var = x.var(axes, keepdim=True)

# %% mutant="layer_norm" why="eps outside of the root"
# - return self.weight * centred / torch.sqrt(var + self.eps) + self.bias
# + return self.weight * centred / (torch.sqrt(var) + self.eps) + self.bias

# %% mutant="layer_norm" why="forgets weight and bias: right at the start"
# - return self.weight * centred / torch.sqrt(var + self.eps) + self.bias
# + return centred / torch.sqrt(var + self.eps)

# %% mutant="layer_norm" why="forgets the mean, as RMSNorm does"
# - centred = x - x.mean(axes, keepdim=True)
# + centred = x

# %% mutant="layer_norm" why="no gradient through the variance"
# - var = centred.square().mean(axes, keepdim=True)
# + var = centred.detach().square().mean(axes, keepdim=True)


# %% alternative="layer_norm" why="flattens the last axes first; var_mean"
class LayerNorm(nn.Module):
    def __init__(self, shape, eps=1e-5):
        super().__init__()
        self.n, self.eps = len(shape), eps
        self.weight = nn.Parameter(torch.ones(*shape))
        self.bias = nn.Parameter(torch.zeros(*shape))

    def forward(self, x):
        flat = x.flatten(x.ndim - self.n)
        var, mean = torch.var_mean(flat, dim=-1, correction=0, keepdim=True)
        return ((flat - mean) / (var + self.eps) ** 0.5).reshape(x.shape) * self.weight + self.bias


# %% [markdown]
# ## 10. A road past every layer
# [Expressive power](glossary:Expressive-Power) grows with depth: fifty layers can express what two cannot. But what a network *can* express says nothing about what gradient descent *finds*: in 2015 networks of 56 layers were worse than those of 20, **on the training set**. The answer was a [residual block](glossary:Residual-Block) (He et al., 2016): let a layer compute a *change*, and let the input pass it by on a [skip connection](glossary:Skip-Connection),
#
# $$y = x + f(x), \qquad \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}\,\bigl(I + J_f\bigr).$$
#
# In the product over all layers there is now a 1 that never shrinks. But only where *nothing* stands on the road: a ReLU after the addition, as in the first version, closes the road wherever its sum is negative. So the normalisation moves into $f$, in front (*pre-norm*; Xiong et al., 2020), and the last map of $f$ starts with zeros: each block is the **identity** at the start, and the network, deep as it is, begins as a shallow one.
#
# {{task:residual}}
#
# $f(x) = W_2\, \mathrm{relu}(W_1\, \mathrm{LN}(x) + b_1) + b_2$ of `nn.LayerNorm(width)`, `nn.Linear(width, hidden)` and `nn.Linear(hidden, width)`, or modules like them, each with its `weight` and `bias`. $W_2 = 0$ and $b_2 = 0$ at the start; the rest starts as PyTorch has it. The last axis of $x$ is the width.

# %% [markdown] lang="ru"
# ## 10. Дорога мимо каждого слоя
# [Выразительная способность](glossary:Expressive-Power) (expressive power) растёт с глубиной: пятьдесят слоёв могут выразить то, чего не могут два. Но что сеть *может* выразить, ничего не говорит о том, что *найдёт* градиентный спуск: в 2015 году сети из 56 слоёв были хуже сетей из 20 — **на обучающей выборке**. Ответом стал [остаточный блок](glossary:Residual-Block) (residual block; He и др., 2016): пусть слой считает *изменение*, а вход проходит мимо него по [обходной связи](glossary:Skip-Connection) (skip connection),
#
# $$y = x + f(x), \qquad \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}\,\bigl(I + J_f\bigr).$$
#
# Теперь в произведении по всем слоям есть единица, которая не убывает. Но лишь там, где на дороге *ничего* не стоит: ReLU после сложения, как в первой версии, перекрывает дорогу всюду, где сумма отрицательна. Поэтому нормировка переехала внутрь $f$, в самое начало (*pre-norm*; Xiong и др., 2020), а последнее отображение в $f$ инициализируется нулями: каждый блок вначале — **тождественное отображение**, и сеть, при всей своей глубине, начинает как неглубокая.
#
# {{task:residual}}
#
# $f(x) = W_2\, \mathrm{relu}(W_1\, \mathrm{LN}(x) + b_1) + b_2$ из `nn.LayerNorm(width)`, `nn.Linear(width, hidden)` и `nn.Linear(hidden, width)` или подобных модулей, у каждого свои `weight` и `bias`. Вначале $W_2 = 0$ и $b_2 = 0$; остальное инициализируется, как в PyTorch. Последняя ось $x$ — ширина.


# %% solution="residual"
class PreNormBlock(nn.Module):
    """x + f(x) with a normalisation at the head of f; the identity at the start."""

    def __init__(self, width: int, hidden: int) -> None:
        ### BEGIN SOLUTION
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., width) -> the same shape."""
        ### BEGIN SOLUTION
        return x + self.down(F.relu(self.up(self.norm(x))))
        ### END SOLUTION


# %% test="residual" points=0.5 difficulty=2 minutes=10
torch.manual_seed(0)
x = torch.randn(4, 6)
found = check.answer(PreNormBlock(6, 9), x, call="PreNormBlock(6, 9)(x)")
check.close(found, x, "PreNormBlock(6, 9)(x), new", why="be x at the start")
shapes = sorted(
    v.shape for v in check.parameters_of(PreNormBlock(6, 9), "PreNormBlock(6, 9)").values()
)
check.equal(
    shapes,
    [(6,), (6,), (6,), (6, 9), (9,), (9, 6)],
    "shapes of the parameters of PreNormBlock(6, 9)",
)
### BEGIN HIDDEN TESTS
rng = check.rng("residual")


class WantedBlock(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return x + self.down(F.relu(self.up(self.norm(x))))


def shaken(made):
    """The same block with other numbers in all of its parameters."""
    source = torch.Generator().manual_seed(int(rng.integers(1_000_000)))
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=source) + 0.3)
    return made


def first_gradients(made, x, upstream):
    """Which parameters of a new block have a gradient: the largest absolute value of each."""
    (made(x) * upstream).sum().backward()
    return sorted((tuple(p.shape), float(p.grad.abs().max())) for p in made.parameters())


for shape, hidden in (((5, 6), 4), ((3, 2, 7), 10), ((1, 4), 3), ((2, 3, 2, 5), 5)):
    width = shape[-1]
    call = f"PreNormBlock({width}, {hidden})"
    x = torch.tensor(rng.normal(size=shape) * 3 - 1, dtype=torch.float32)
    for training in (True, False):
        block = PreNormBlock(width, hidden).train(training)
        found = check.answer(block, x, call=f"{call}(x), new")
        check.equal(found, x, f"{call}(x), new, of shape {shape}", why="be x itself at the start")
    upstream = torch.tensor(rng.normal(size=shape), dtype=torch.float32)
    (slope,) = check.gradient_of(PreNormBlock(width, hidden), x, upstream=upstream, call=call)
    check.close(slope, upstream, f"gradient of x through a new {call}", why="pass as it came")
    block = shaken(PreNormBlock(width, hidden))
    check.same_network(block, WantedBlock(width, hidden), x, call=f"{call}, later",
                       why="be x + W2 relu(W1 LN(x) + b1) + b2")  # fmt: skip
x = torch.randn(64, 8, generator=torch.Generator().manual_seed(int(rng.integers(1_000_000))))
grads = check.answer(
    first_gradients, PreNormBlock(8, 12), x, x.flip(0), call="gradients of a new block"
)
largest = {shape: value for shape, value in grads if len(shape) == 2}
check.that(largest[(8, 12)] > 1e-3, "let W2 of a new block learn: its gradient is not 0")
starts = check.parameters_of(PreNormBlock(30, 500), "PreNormBlock(30, 500)")
first = next(v for v in starts.values() if v.shape == (500, 30))
check.close(
    first.std(), 1 / math.sqrt(3 * 30), "deviation of W1 at the start", rtol=0.1, why="be PyTorch's"
)
others = [v for v in starts.values() if v.shape == (30,)]
check.close(sorted(v.mean() for v in others), [0, 0, 1], "means of b2 and of the norm's at the start",
            why="be 0, and 0 and 1")  # fmt: skip
bias = next(v for v in starts.values() if v.shape == (500,))
check.that(0 < bias.std() < 1, "leave b1 as PyTorch starts it")
weights = [check.parameters_of(PreNormBlock(7, 9), "a block") for _ in range(2)]
pair = [next(v for v in w.values() if v.shape == (9, 7)) for w in weights]
check.that((pair[0] != pair[1]).any(), "start two blocks with different weights")
deep = nn.Sequential(*(shaken(PreNormBlock(7, 9)) for _ in range(6)))
wanted = nn.Sequential(*(WantedBlock(7, 9) for _ in range(6)))
x = torch.tensor(rng.normal(size=(3, 7)), dtype=torch.float32)
check.same_network(deep, wanted, x, call="six blocks", rtol=1e-2, why="be one after the other")
fresh = nn.Sequential(*(PreNormBlock(7, 9) for _ in range(50)))
upstream = torch.tensor(rng.normal(size=(3, 7)), dtype=torch.float32)
(slope,) = check.gradient_of(fresh, x, upstream=upstream, call="fifty new blocks")
check.close(
    slope, upstream, "gradient at the first of fifty new blocks", why="be that at the last one"
)
### END HIDDEN TESTS

# %% mutant="residual" why="a ReLU after the addition kills the path"
# - return x + self.down(F.relu(self.up(self.norm(x))))
# + return F.relu(x + self.down(F.relu(self.up(self.norm(x)))))

# %% mutant="residual" why="no skip connection"
# - return x + self.down(F.relu(self.up(self.norm(x))))
# + return self.down(F.relu(self.up(self.norm(x))))

# %% mutant="residual" why="post-norm"
# - return x + self.down(F.relu(self.up(self.norm(x))))
# + return self.norm(x + self.down(F.relu(self.up(x))))

# %% mutant="residual" why="the normalisation stands on the road"
# - return x + self.down(F.relu(self.up(self.norm(x))))
# + x = self.norm(x)
# + return x + self.down(F.relu(self.up(x)))

# %% mutant="residual" why="forgets the normalisation"
# - return x + self.down(F.relu(self.up(self.norm(x))))
# + return x + self.down(F.relu(self.up(x)))

# %% mutant="residual" why="not the identity at the start"
# - nn.init.zeros_(self.down.weight)
# - nn.init.zeros_(self.down.bias)

# %% mutant="residual" why="the last bias is not 0"
# - nn.init.zeros_(self.down.bias)

# %% mutant="residual" why="zeros everywhere: nothing can learn"
# - nn.init.zeros_(self.down.weight)
# + nn.init.zeros_(self.down.weight)
# + nn.init.zeros_(self.up.weight)
# + nn.init.zeros_(self.up.bias)

# %% mutant="residual" why="no activation"
# - return x + self.down(F.relu(self.up(self.norm(x))))
# + return x + self.down(self.up(self.norm(x)))

# %% mutant="residual" why="adds to its input in place"
# - return x + self.down(F.relu(self.up(self.norm(x))))
# + change = self.down(F.relu(self.up(self.norm(x))))
# + with torch.no_grad():
# +     x += change
# + return x * 1.0


# %% alternative="residual" why="a Sequential, other names"
class PreNormBlock(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        last = nn.Linear(hidden, width)
        last.weight.data.fill_(0.0)
        last.bias.data *= 0
        self.body = nn.Sequential(nn.LayerNorm((width,)), nn.Linear(width, hidden), nn.ReLU(), last)

    def forward(self, x):
        change = self.body(x)
        return torch.add(change, x)


# %%
depths = [1, 2, 5, 10, 20, 35, 50]
kinds = {
    "plain, ReLU": lambda h, w: (torch.relu(h @ w.T), None),
    "ReLU after the addition": lambda h, w: (torch.relu(h + h @ w.T / 3), h + h @ w.T / 3 > 0),
    "pre-norm": lambda h, w: (h + torch.relu(F.layer_norm(h, (WIDTH,)) @ w.T) / 3, None),
}
at_first, roads = {}, {}
for name, layer in kinds.items():
    source = torch.Generator().manual_seed(0)
    h = start = torch.randn(64, WIDTH, generator=source, requires_grad=True)
    free, at_first[name], roads[name] = torch.ones(64, WIDTH, dtype=torch.bool), [], []
    for depth in range(1, DEPTH + 1):
        h, open_now = layer(h, xavier_(torch.empty(WIDTH, WIDTH), generator=source))
        free = free if open_now is None else free & open_now
        if depth in depths:
            upstream = torch.randn(64, WIDTH, generator=source)
            (slope,) = torch.autograd.grad((h * upstream).sum(), start, retain_graph=True)
            at_first[name].append(float(slope.norm() / upstream.norm()))
            roads[name].append(float(free.float().mean()))
del roads["plain, ReLU"]  # it has no road past its layers
fresh = nn.Sequential(*(PreNormBlock(WIDTH, WIDTH) for _ in range(50)))
(slope,) = check.gradient_of(fresh, torch.randn(4, WIDTH), call="fifty blocks")
print(
    f"fifty new blocks of yours: the gradient at the first layer is {slope.mean():g} times that at the top"
)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
series = {name: (depths, values) for name, values in at_first.items()}
plots.curves(series, "Size of the gradient at the first layer", "depth", "against that at the top", log_y=True,
             ax=axes[0])  # fmt: skip
axes[1].set_prop_cycle(color=plots.PALETTE[1:])
series = {name: (depths, values) for name, values in roads.items()}
plots.curves(
    series, "Roads open from the first layer to the last", "depth", "share of all units", ax=axes[1]
)
axes[1].set_ylim(0, 1.05)
plots.show(
    "Left, on a logarithmic scale: the plain network's gradient falls to about 1e-8 at depth 50, the two "
    "residual ones keep its size. Right: with a ReLU after the addition ever fewer units have an open road "
    "to the top, few at depth 50; with pre-norm all have one."
)

# %% [markdown]
# ### Shattered gradients
# The size of a gradient is one thing, its *use* another. Walk along a line of inputs: does the gradient at one point tell anything about the next point? In a shallow network neighbours agree. In a deep plain one the gradient looks like white noise, even where BatchNorm keeps its size perfect: it is **shattered** (Balduzzi et al., 2017), and a step along it leads nowhere. Skip connections with a damped $f$ bring the likeness of neighbours back.

# %% [markdown] lang="ru"
# ### Рассыпавшиеся градиенты
# Одно дело — величина градиента, другое — польза от него. Пройдите по прямой из входов: говорит ли градиент в одной точке что-нибудь о соседней? В неглубокой сети соседи согласны. В глубокой обычной сети градиент похож на белый шум, даже если BatchNorm идеально держит его величину: он **рассыпался** (shattered gradients; Balduzzi и др., 2017), и шаг вдоль него никуда не ведёт. Обходные связи с приглушённой $f$ возвращают сходство соседей.


# %%
def gradient_along_a_line(depth: int, kind: str, seed: int, width: int = 100) -> np.ndarray:
    """The gradient of a random network with BatchNorm at 256 points of a line. -> (256,)"""
    source = torch.Generator().manual_seed(seed)
    x = torch.linspace(-2, 2, 256)[:, None].requires_grad_()
    h = x @ torch.randn(1, width, generator=source) + torch.randn(width, generator=source)
    for _ in range(depth):
        weight = he_(torch.empty(width, width), generator=source)
        change = torch.relu(BatchNorm(width)(h)) @ weight.T
        h = change if kind == "plain" else h + 0.1 * change
    top = h @ torch.randn(width, generator=source)
    return torch.autograd.grad(top.sum(), x)[0][:, 0].numpy()


def likeness(gradient: np.ndarray, lags: range) -> list[float]:
    """Correlation of a gradient with itself, some points further on."""
    centred = gradient - gradient.mean()
    return [float(centred[: len(centred) - k] @ centred[k:] / (centred @ centred)) for k in lags]


lags = range(31)
networks = {"plain, 2 layers": (2, "plain"), "plain, 50 layers": (50, "plain"),
            "residual, 50 layers": (50, "residual")}  # fmt: skip
figure = plt.figure(figsize=(10, 4.2))
grid = figure.add_gridspec(3, 2, width_ratios=[1, 1])
curves = {}
for row, (name, (depth, kind)) in enumerate(networks.items()):
    several = [gradient_along_a_line(depth, kind, seed) for seed in range(settings["lines"])]
    curves[name] = np.mean([likeness(g, lags) for g in several], axis=0)
    ax = figure.add_subplot(grid[row, 0])
    ax.plot(
        np.linspace(-2, 2, 256),
        several[0] / np.abs(several[0]).max(),
        color=plots.PALETTE[row],
        linewidth=0.9,
    )
    ax.set_title(name, fontsize=10)
    ax.set_yticks([])
    ax.tick_params(labelbottom=row == 2)
ax.set_xlabel("input")
ax = figure.add_subplot(grid[:, 1])
plots.curves(curves, "Likeness of gradients", "distance in points", "correlation", ax=ax)
print("one point further on:", ", ".join(f"{name} {c[1]:.2f}" for name, c in curves.items()))
plots.show(
    "Left: the gradient along a line is a few smooth steps for two layers, noise for fifty plain layers, and "
    "something between for fifty residual ones. Right: its correlation with itself falls slowly for two "
    "layers, at once to 0 for fifty plain layers, and gradually for the residual network."
)

# %% [markdown]
# ## 11. The signal through fifty layers
# Everything in one picture. Twelve networks of fifty layers: four ways to build a layer, three ways to start it. Left, how large the values are on their way up; beside it, how large the gradients are on their way down. White is good: the size is kept. Then two numbers. *Likeness* is the mean cosine between the values of different examples at the top: at 1.00 all pictures look the same to the last layer, whatever the size says. *Accuracy* is what a little training makes of each network, on the test pictures. Guess the last column before you look at it.

# %% [markdown] lang="ru"
# ## 11. Сигнал через пятьдесят слоёв
# Всё на одной картинке. Двенадцать сетей из пятидесяти слоёв: четыре устройства слоя и три инициализации. Слева — насколько велики значения по дороге вверх, рядом — насколько велики градиенты по дороге вниз. Белое — хорошо: величина сохраняется. Затем два числа. *Likeness* — средний косинус между значениями разных примеров наверху: при 1,00 все картинки для последнего слоя одинаковы, что бы ни говорила величина. *Accuracy* — доля верных ответов на тестовых картинках после недолгого обучения каждой сети. Угадайте последний столбец, прежде чем смотреть.


# %%
norm = LayerNorm((WIDTH,))  # one for all, as its weights stay as they are
builds = {
    "plain": lambda h, w: torch.relu(h @ w.T),
    "plain + norm": lambda h, w: torch.relu(norm(h @ w.T)),
    "residual": lambda h, w: h + torch.relu(h @ w.T),
    "pre-norm": lambda h, w: h + torch.relu(norm(h) @ w.T),
}
begins = {
    "0.01": lambda w, g: w.normal_(0, 0.01, generator=g),
    "Xavier": lambda w, g: xavier_(w, generator=g),
    "He": lambda w, g: he_(w, generator=g),
}


def through(weights: list, layer: Callable, x: torch.Tensor, last_norm: bool) -> tuple:
    """All values on the way up, and the scores."""
    values = [x @ weights[0].T]
    for weight in weights[1:-1]:
        values.append(layer(values[-1], weight))
    return values, (norm(values[-1]) if last_norm else values[-1]) @ weights[-1].T


def powers(numbers: list) -> np.ndarray:
    """log10, with the smallest number of float32 for 0."""
    return np.log10(np.maximum([float(n) for n in numbers], 1e-45))


# %%
x_all = torch.tensor(x_train, dtype=torch.float32)
t_all = torch.tensor(y_train)
x_new = torch.tensor(x_test, dtype=torch.float32)
rows, up, down, alike, accuracy = [], [], [], [], []
for build, layer in builds.items():
    for begin, start in begins.items():
        source = torch.Generator().manual_seed(0)
        shapes = [(WIDTH, x_all.shape[1]), *[(WIDTH, WIDTH)] * DEPTH, (10, WIDTH)]
        weights = [start(torch.empty(s), source) if s == (WIDTH, WIDTH) else
                   xavier_(torch.empty(s), generator=source) for s in shapes]  # fmt: skip
        for weight in weights:
            weight.requires_grad_()
        values, scores = through(weights, layer, x_all[:256], build == "pre-norm")
        for value in values:
            value.retain_grad()
        F.cross_entropy(scores, t_all[:256]).backward()
        forward = powers([v.detach().std() for v in values])
        backwards = powers([v.grad.norm() for v in values])
        up.append(forward[1:] - forward[0])
        down.append(backwards[1:] - backwards[-1])
        directions = F.normalize(values[-1].detach(), dim=1)
        dead = values[-1].detach().abs().max() < 1e-30
        alike.append(math.nan if dead else float((directions @ directions.T).mean()))
        for weight in weights:
            weight.grad = None
        optimizer = torch.optim.Adam(weights, lr=1e-3, fused=True)
        for _ in range(settings["deep_steps"]):
            chosen = torch.randint(len(x_all), (64,), generator=source)
            optimizer.zero_grad()
            F.cross_entropy(
                through(weights, layer, x_all[chosen], build == "pre-norm")[1], t_all[chosen]
            ).backward()
            optimizer.step()
        with torch.no_grad():
            guesses = through(weights, layer, x_new, build == "pre-norm")[1].argmax(dim=1)
        accuracy.append(float((guesses == torch.tensor(y_test)).float().mean()))
        rows.append(f"{build}, {begin}")
week02.signal(rows, np.array(up), np.array(down), alike, accuracy)
plots.show(
    "A heat map of twelve networks by fifty layers, forward and backward. Plain networks fade to blue, but "
    "for He's start; residual ones without a norm explode to red, but for the small start; plain ones with a "
    "norm and pre-norm ones stay pale. Only the pre-norm ones and the small residual one reach a high "
    "accuracy."
)

# %% [markdown]
# Read it row by row. *Plain* lives or dies by its start, and even He's, pale in both pictures, hardly learns: its examples have become alike. *Plain + norm* is as white as can be, and no better: a perfect size is not yet a useful gradient, which is what the shattered ones said. *Residual* alone explodes as soon as the blocks are not small, for each adds its part to the road. *Pre-norm* divides that growth away inside $f$ and leaves the road free: three starts, three networks that train.
#
# That is why transformers, residual networks and diffusion models are built as they are. You have written each part of it, down to the engine that pulled the gradients back.

# %% [markdown] lang="ru"
# Читайте по строкам. *Plain* целиком зависит от инициализации, и даже с He, бледным на обеих картинках, почти не учится: примеры стали неразличимы. *Plain + norm* белее некуда — и ничуть не лучше: идеальная величина ещё не делает градиент полезным, об этом и говорили рассыпавшиеся градиенты. *Residual* сам по себе взрывается, едва блоки перестают быть малы: каждый прибавляет к дороге свою часть. *Pre-norm* гасит этот рост делением внутри $f$ и оставляет дорогу свободной: три начала — и все три сети обучаются.
#
# Вот почему трансформеры, остаточные сети и диффузионные модели устроены именно так. Каждую часть этого вы написали сами, вплоть до движка, который тянул градиенты назад.
