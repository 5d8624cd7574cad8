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
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from practical_dl import check, data, plots, progress, seed_everything
from practical_dl.weeks import week02

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
    part.reshape(len(part), -1) / settings["brightest"] for part in (pictures.x_train, pictures.x_test)
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
# 2. `pull(g)` returns a **tuple** with one gradient an input, also where there is one input only. It may be called more than once, and after other operations have run.
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
# 2. `pull(g)` возвращает **кортеж** — по градиенту на каждый вход, даже если вход один. Его могут вызвать не раз и уже после других операций.
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
# NumPy сам растягивает формы (broadcasting, «транслирование»): сдвиг формы $(3)$ прибавляется к каждой строке массива $(2, 3)$. Растянуть — значит *использовать значение несколько раз*, а градиенты значения, использованного несколько раз, **складываются**. Поэтому обратная дорога растяжения — сумма по всему, что растянуто. `apply` делает это в одном месте, для всех операций, с помощью вашей `unbroadcast`; так что градиент внутри pull может иметь форму результата.

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
    ((2, 3, 2, 3, 2), (1, 3, 1), "work for any number of axes"),
]:
    grad = rng.normal(size=shape)
    leaf = torch.zeros(before, dtype=torch.float64, requires_grad=True)
    leaf.expand(shape).backward(torch.tensor(grad))
    call = f"unbroadcast({shape}, {before})"
    check.close(check.answer(unbroadcast, grad, before, call=call), leaf.grad, call, why=why, rtol=1e-9)
call = "unbroadcast, to nine digits"
grad = np.array([[1 / 3], [1e-7 / 7]])
check.close(check.answer(unbroadcast, grad, (1,), call=call), [grad.sum()], call, rtol=1e-12)
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
# Seven operations carry most of deep learning. Their local derivatives are school mathematics; one has thorns. For $z = x^y$, element by element,
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
# На семи операциях держится почти всё глубокое обучение. Их производные — школьная математика; с шипами лишь одна. Для $z = x^y$, поэлементно,
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
numbers, upstream = (np.array([3.0, 0.25]), np.array([5.0, 4.0])), np.array([10.0, -7.0])
for name, operation, inputs, value, slopes in [
    ("add", add, numbers, [8, 4.25], [[10, -7], [10, -7]]),
    ("multiply", multiply, numbers, [15, 1], [[50, -28], [30, -1.75]]),
    ("divide", divide, numbers, [0.6, 0.0625], [[2, -1.75], [-1.2, 0.109375]]),
    ("power", power, numbers, [243, 0.00390625], [[4050, -0.4375], [2669.627842, 0.0379067]]),
    ("exp", exp, numbers[:1], [20.0855369, 1.2840254], [[200.855369, -8.9881779]]),
    ("log", log, numbers[:1], [1.0986123, -1.3862944], [[3.3333333, -28]]),
    ("tanh", tanh, numbers[:1], [0.9950548, 0.2449187], [[0.0986604, -6.5801044]]),
]:
    call = f"{name} of {' and '.join(str(x.tolist()) for x in inputs)}"
    found = check.answer(pulled, operation, *inputs, upstream=upstream, call=call)
    check.close(found[0], value, f"the value of {call}", rtol=1e-4)
    check.equal(len(found[1]), len(inputs), f"number of gradients of {call}")
    for got, slope in zip(found[1], slopes, strict=True):
        check.close(got, slope, f"pull([10, -7]) of {call}", rtol=1e-4)
### BEGIN HIDDEN TESTS
rng = check.rng("arithmetic")
operations = {
    "add": add, "multiply": multiply, "divide": divide, "power": power,
    "exp": exp, "log": log, "tanh": tanh,
}  # fmt: skip
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
    check.equal(len(found[1]), len(arrays), f"number of gradients of {call}")
    for i, (got, slope) in enumerate(zip(found[1], slopes, strict=True)):
        what = f"gradient {i + 1} of {call}"
        got = summed_to(got, arrays[i].shape)
        check.close(got, slope, what, rtol=1e-9, atol=1e-12, why=why)


for name in oracle:
    shapes = [((), ()), ((4,), (4,)), ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (3,)), ((), (2, 3))]
    for pair in [*shapes, ((3, 1, 2), (4, 1))]:
        arrays = [rng.uniform(0.2, 3, size=s) for s in pair][: 1 if name in ("exp", "log", "tanh") else 2]
        judge_operation(name, arrays, "be right for positive numbers of any shapes that broadcast")
for name in ("add", "multiply", "divide", "exp", "tanh"):
    arrays = [-rng.uniform(0.2, 3, size=s) for s in ((2, 3), (3,))][: 1 if name in ("exp", "tanh") else 2]
    judge_operation(name, arrays, "be right for negative numbers")
judge_operation("multiply", [np.zeros(3), rng.normal(size=3)], "be right at 0")
judge_operation("divide", [np.array([1e-200, 3e150]), np.array([2e-100, 7e120])], "be right for any sizes")
judge_operation("log", [np.array([1e-300, 1e-9, 1e300])], "be right for small and large numbers")
judge_operation("tanh", [np.array([-30.0, 0.0, 1e-9, 400.0])], "be right at 0 and far from it")
judge_operation("exp", [np.array([-800.0, -30.0, 0.0, 50.0])], "be right at 0 and far from it")
why = "be 0 towards x where y = 0"
judge_operation("power", [np.zeros(2), np.zeros(2)], why, [[0, 0], [0, 0]])
judge_operation("power", [np.array([-3.0, 2.0]), np.zeros(2)], why, [[0, 0], [0, math.log(2)]])
why = "be 0 towards y where x is 0 or negative"
judge_operation("power", [np.array([0.0, 0.0]), np.array([2.0, 1.0])], why, [[0, 1], [0, 0]])
judge_operation("power", [np.array([-3.0, -0.5]), np.array([2.0, 3.0])], why, [[-6, 0.75], [0, 0]])
why = "be right for negative exponents"
judge_operation("power", [np.array([-2.0]), np.array([-1.0])], why, [[-0.25], [0]])
judge_operation("power", [np.array([0.3, 4.0]), np.array([-2.5, -0.5])], why)


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


def run_graph(leaves, steps, operation, squash):
    """The values of a random expression; after each step its squashed copy, between 0.5 and 1.5."""
    values = list(leaves)
    for name, inputs in steps:
        values.append(operation(name, *(values[i] for i in inputs)))
        values.append(squash(values[-1]))
    return values


def graph_by_operations(leaves, steps, upstream):
    """The last value of a random expression and its gradients, by the operations under test."""
    pulls = {}

    def operation(name, *inputs):
        value, pull = operations[name](*inputs)
        pulls[len(pulls)] = pull
        return np.asarray(value)

    values = run_graph(leaves, steps, operation, lambda z: 1 + np.tanh(z) / 2)
    grads = [np.zeros(v.shape) for v in values]
    grads[-1] = upstream
    for number in reversed(range(len(steps))):
        at = len(leaves) + 2 * number
        grads[at] = grads[at] + grads[at + 1] * (1 - np.tanh(values[at]) ** 2) / 2
        inputs = steps[number][1]
        for i, grad in zip(inputs, pulls[number](grads[at]), strict=True):
            grads[i] = grads[i] + summed_to(grad, values[i].shape)
    return values[-1], grads[: len(leaves)]


for _ in range(4):
    leaves, steps = random_graph()
    tensors = [torch.tensor(a, requires_grad=True) for a in leaves]
    theirs = run_graph(tensors, steps, lambda name, *v: oracle[name](*v), lambda z: 1 + torch.tanh(z) / 2)
    upstream = rng.normal(size=tuple(theirs[-1].shape))
    slopes = torch.autograd.grad(theirs[-1], tensors, torch.tensor(upstream), allow_unused=True)
    call = "a random expression, " + ", ".join(name for name, _ in steps)
    with np.errstate(all="ignore"):
        found = check.answer(graph_by_operations, leaves, steps, upstream, call=call)
    check.close(found[0], theirs[-1], f"the value of {call}", rtol=1e-8, why="agree with torch")
    for got, slope, leaf in zip(found[1], slopes, leaves, strict=True):
        slope = np.zeros(leaf.shape) if slope is None else slope
        check.close(got, slope, f"gradients of {call}", rtol=1e-7, atol=1e-10, why="agree with torch")
### END HIDDEN TESTS

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
x, y = (part.ravel() for part in np.meshgrid(np.linspace(0.4, 2.4, 9), np.linspace(-0.9, 1.9, 9)))
value, (to_x, to_y) = pulled(power, x, y, upstream=np.ones_like(x))
ax = plt.subplots(figsize=(6.6, 4.2))[1]
filled = ax.tricontourf(x, y, value, levels=20, cmap="Blues")
ax.quiver(x, y, to_x, to_y, color=plots.GRADIENT, angles="xy", width=0.004)
ax.set(title="$x^y$, and what your pull makes of the gradient 1", xlabel="x", ylabel="y")
plt.colorbar(filled, label="$x^y$")
plots.show(
    "The surface x to the power y as shades of blue with an arrow of the gradient at each point; the "
    "arrows point uphill, across the level lines, and are longest at the top right."
)

# %% [markdown]
# ## 2. Operations that move numbers
# ### Matrix product
# With [differentials](https://en.wikipedia.org/wiki/Matrix_calculus) a matrix gradient is two lines. From $Y = XW$ follows $dY = dX\,W + X\,dW$; the loss changes by $dL = \langle G, dY \rangle$, where $\langle A, B\rangle = \sum_{ij} A_{ij} B_{ij}$. Move what is not $dX$ to the other side of the product, and read off:
#
# $$dL = \langle G\,W^\top,\, dX \rangle + \langle X^\top G,\, dW \rangle \quad\Longrightarrow\quad \frac{\partial L}{\partial X} = G\,W^\top, \qquad \frac{\partial L}{\partial W} = X^\top G.$$
#
# NumPy's `@` can do more, and so must you: *stacks* of matrices (axes in front broadcast as in section 1), and **vectors**: one on the left is a row whose axis disappears from the result, one on the right is a column whose axis disappears. Put the axis back, compute, take it off.
#
# {{task:matmul}}

# %% [markdown] lang="ru"
# ## 2. Операции, которые переставляют числа
# ### Произведение матриц
# С [дифференциалами](https://ru.wikipedia.org/wiki/Матричное_дифференцирование) градиент по матрице — это две строки. Из $Y = XW$ следует $dY = dX\,W + X\,dW$; потери меняются на $dL = \langle G, dY \rangle$, где $\langle A, B\rangle = \sum_{ij} A_{ij} B_{ij}$. Перенесите всё, кроме $dX$, на другую сторону скалярного произведения — и читайте ответ:
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
check.close(found[1][0], [[20, -10, 30], [-14, 7, -21]], f"gradient of x in {call}", why="be G @ y.T")
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
    """x[key] for any key of NumPy's: numbers, slices, arrays of numbers or of truth values.

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
x = np.array([[1.0, 7.0, 3.0], [7.0, 5.0, -2.0]])
for name, operation, options, upstream, value, slope in [
    ("total(x, axis=1)", total, {"axis": 1}, [10.0, -3.0], [11, 10], [[10, 10, 10], [-3, -3, -3]]),
    ("amax(x)", amax, {}, 6.0, 7, [[0, 3, 0], [3, 0, 0]]),
    ("reshape(x, (6,))", reshape, {"shape": (6,)}, [1.0, 2, 3, 4, 5, 6],
     [1, 7, 3, 7, 5, -2], [[1, 2, 3], [4, 5, 6]]),
    ("transpose(x, (1, 0))", transpose, {"axes": (1, 0)}, [[1.0, 2], [3, 4], [5, 6]],
     [[1, 7], [7, 5], [3, -2]], [[1, 3, 5], [2, 4, 6]]),
    ("index(x, (0, [2, 2, 0]))", index, {"key": (0, [2, 2, 0])}, [1.0, 2, 4],
     [3, 3, 1], [[4, 0, 3], [0, 0, 0]]),
]:  # fmt: skip
    found = check.answer(pulled, operation, x, upstream=np.array(upstream), call=name, **options)
    check.close(found[0], value, f"the value of {name}")
    check.equal(len(found[1]), 1, f"number of gradients of {name}")
    check.close(found[1][0], slope, f"the gradient of {name}")
### BEGIN HIDDEN TESTS
rng = check.rng("moving")
moves = {"total": total, "amax": amax, "reshape": reshape, "transpose": transpose, "index": index}


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
judge_move("amax", np.full((2, 3), -4.0), "share the gradient equally among all", axis=1)
for before, after in [((2, 6), (3, 4)), ((12,), (2, 3, 2)), ((2, 3), (6,)), ((1,), ()), ((2, 6), (4, -1))]:
    judge_move("reshape", rng.normal(size=before), "keep the order of the numbers", shape=after)
for axes in [(0, 1), (1, 0)]:
    judge_move("transpose", rng.normal(size=(2, 3)), "bring each axis back to its place", axes=axes)
for axes in itertools.permutations(range(3)):
    judge_move("transpose", rng.normal(size=(2, 3, 4)), "bring each axis back to its place", axes=axes)
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
# - **Recursion.** A recurrent network of 20,000 steps is a chain of 20,000 nodes; Python's stack holds about 1,000 calls. Keep your own stack (a list).
# - **No order.** Sending each gradient on as soon as it arrives is right, and hopeless: with 40 diamonds in a row, as below, the last node is reached by $2^{40}$ ways.
# - **Aliases.** `add` hands the *same array* to both parents. Who then adds to it in place changes the other's gradient.
#
# {{task:backward}}
#
# Each node with parents is pulled exactly once. A leaf (a node without parents) gets its gradient **added** to `grad`, or set where `grad` is `None`: an array of its own. Inner nodes keep none, so that a second `backward` of the same graph adds the same once more. (PyTorch does it likewise: that is what `zero_grad` is for.)

# %% [markdown] lang="ru"
# ## 3. Обратный путь по графу
# Каждый узел знает свою дорогу назад. В каком порядке их спрашивать? Узел может тянуть градиент дальше, только когда сложены **все** градиенты, пришедшие к нему; значит, каждый узел идёт раньше своих родителей — это *топологический порядок*. Три ловушки:
#
# - **Рекурсия.** Рекуррентная сеть на 20 000 шагов — это цепочка из 20 000 узлов, а стек Python вмещает около 1000 вызовов. Ведите собственный стек (список).
# - **Без порядка.** Передавать каждый градиент дальше, как только он пришёл, — верно и безнадёжно: если подряд стоят 40 ромбов, как на рисунке ниже, к последнему узлу ведут $2^{40}$ путей.
# - **Общие массивы.** `add` отдаёт обоим родителям *один и тот же массив*. Кто прибавит к нему на месте, изменит чужой градиент.
#
# {{task:backward}}
#
# Каждый узел с родителями тянет ровно один раз. У листа (узла без родителей) градиент **прибавляется** к `grad` или записывается, если там `None`; массив у каждого листа свой. Внутренние узлы градиентов не хранят, поэтому второй `backward` того же графа прибавит ровно столько же. (Так же устроен PyTorch: для этого и нужен `zero_grad`.)

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
check.close(leaf_grad(x, "x"), 3 * kept, "x.grad of backward(3x - 2y, seed)", why="start with the seed")
check.close(leaf_grad(y, "y"), -2 * kept, "y.grad of backward(3x - 2y, seed)", why="start with the seed")
check.equal(seed, kept, "the seed after backward", why="stay as it was")
check.answer(backward, root, call="backward(root) again", changes=True)
check.close(leaf_grad(x, "x"), 3 * kept + 3, "x.grad after a second backward", why="add to what is there")
held = x.grad
check.answer(backward, root, call="backward(root) a third time", changes=True)
check.close(leaf_grad(x, "x"), 3 * kept + 6, "x.grad after a third backward", why="add to what is there")
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
shared = np.array([3.0, 4.0])
x, y = Tensor(np.zeros(2)), Tensor(np.zeros(2))
node = Tensor(np.zeros(2), (x, y), lambda g: (shared, shared))
for _ in range(2):
    check.answer(backward, node, call="backward", changes=True)
check.equal(shared, [3.0, 4.0], "the array that a pull gave", why="stay as it was")
x.grad[...] = 0
check.close(leaf_grad(y, "y"), [6, 8], "y.grad after x.grad was set to 0", why="be an array of its own")
x = Tensor(np.zeros((2, 3)))
stretched = Tensor(0.0, (x, x), lambda g: (np.broadcast_to(g, (2, 3)), np.broadcast_to(g, (2, 3))))
check.answer(backward, stretched, call="backward(sum(x) + sum(x))", changes=True)
why = "add up, also where a pull gives a view that can't be written to"
check.close(leaf_grad(x, "x"), np.full((2, 3), 2), "x.grad of sum(x) + sum(x)", why=why)
seed = np.array([2.0, 3.0])
x = Tensor(np.zeros(2))
check.answer(backward, x, seed, call="backward(leaf, seed)", changes=True)
seed += 100
check.close(leaf_grad(x, "x"), [2, 3], "grad of a leaf after the seed was changed", why="be its own")
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
check.close(leaf_grad(x, "x"), 1.05**40, "x.grad through 40 diamonds", rtol=1e-9, why="add up all ways")
check.equal(pulls[0], 120, "pulls through 40 diamonds of three nodes", why="pull each node once")
node = x = Tensor(1.0)
pulls[0] = 0
for _ in range(20_000):
    node = counted(node, by=[1.0001])
why = "be right without recursion"
check.answer(backward, node, call="backward through a chain of 20,000 nodes", changes=True)
check.close(leaf_grad(x, "x"), 1.0001**20_000, "x.grad through 20,000 nodes", rtol=1e-6, why=why)
check.equal(pulls[0], 20_000, "pulls through a chain of 20,000 nodes", why="pull each node once")

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
                check.that(got is None or not np.any(got), "leave leaves alone that root does not use")
    check.equal(pulls[0], 2 * len(reached - {0, 1, 2}), "pulls in a random graph", why="be one a node")
### END HIDDEN TESTS

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
        apart = max(np.abs(a.grad - b.grad.numpy()).max() for a, b in zip(ours, theirs, strict=True))
        print(f"largest difference of a gradient from PyTorch's: {apart:.1e}")
    for parameter in ours:
        parameter.data = parameter.data - 0.2 * parameter.grad
        parameter.grad = None
    losses.append(float(loss.data))
w1, b1, w2, b2 = (p.data for p in ours)
right = np.mean((np.tanh(x_test @ w1 + b1) @ w2 + b2).argmax(axis=1) == y_test)
plots.curves({"loss": losses}, f"Your engine learns: {right:.1%} of the test pictures", "step", "loss of a batch")
plots.show("The loss of a batch falls within a few dozen steps from above 2 to near 0, and stays there.")

# %% [markdown]
# ## 4. The same rules, run forwards
# Reverse mode asks: how does *one* output react to *all* inputs? Forward mode asks: how do all outputs react when the input moves along *one* direction $v$? Each number carries its own speed along, a [dual number](https://en.wikipedia.org/wiki/Dual_number) $a + \dot a\,\varepsilon$ with $\varepsilon^2 = 0$: the product rule is plain algebra, $(a + \dot a\varepsilon)(b + \dot b\varepsilon) = ab + (\dot a b + a \dot b)\,\varepsilon$. Out comes the **jvp**, the Jacobian times a vector, $J v$, in one pass and with no memory of the past.
#
# Now run forward mode *over the code of a gradient*. A gradient is a function as well; how it reacts to $v$ is $\frac{\partial}{\partial \alpha} \nabla f(x + \alpha v) = H v$: the **hvp**, a column of curvature without the Hessian (Pearlmutter, 1994). A network of a million weights has $10^{12}$ second derivatives; $Hv$ costs about two gradients.
#
# One trap has a name, *perturbation confusion* (Siskind & Pearlmutter, 2005). In $\frac{d}{dx}\bigl[x \cdot \frac{d}{dy}(x + y)\bigr]$ the inner speed of $y$ must not be mistaken for the outer speed of $x$. So each `jvp` takes a new **level**, a number, and a dual of a lower level is a constant to it.

# %% [markdown] lang="ru"
# ## 4. Те же правила, но вперёд
# Обратный режим спрашивает: как *один* выход отвечает на *все* входы? Прямой режим спрашивает: как ответят все выходы, если вход движется вдоль *одного* направления $v$? Каждое число несёт с собой свою скорость — это [дуальное число](https://ru.wikipedia.org/wiki/Дуальные_числа) (dual number) $a + \dot a\,\varepsilon$, где $\varepsilon^2 = 0$. Правило произведения становится простой алгеброй: $(a + \dot a\varepsilon)(b + \dot b\varepsilon) = ab + (\dot a b + a \dot b)\,\varepsilon$. На выходе — **jvp**, якобиан, умноженный на вектор, $J v$: за один проход и без памяти о прошлом.
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
            part if isinstance(part, Dual) else np.asarray(part, dtype=float) for part in (value, tangent)
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
# - `jvp`: call `function` once, with a dual of a new level. The result may not depend on it; then its speed is 0.
# - `hvp`: `gradient` is a function that computes $\nabla f$ by operators and NumPy's functions; call it once.

# %% [markdown] lang="ru"
# {{task:duals}}
#
# - `lift`: среди входов движутся дуальные числа **наибольшего** уровня; всё прочее, включая дуальные меньших уровней, — постоянные, и их правила из `PUSH` выполнять нельзя (правила там может и не быть: $\log a$ при $a < 0$). Функция и правила применяются к обычным значениям или к дуальным меньших уровней — их, в свою очередь, снова увидит `lift`. У касательной (tangent) та же **форма**, что у значения, даже если вход был растянут.
# - `jvp`: вызовите `function` один раз, с дуальным числом нового уровня. Результат может от него не зависеть; тогда скорость равна 0.
# - `hvp`: `gradient` — функция, которая считает $\nabla f$ операторами и функциями NumPy; вызовите её один раз.


# %% solution="duals"
def lift(function: Callable, *inputs) -> Dual:
    """A function of NumPy's that is in PUSH, for inputs of which at least one is a Dual.

    lift(np.multiply, Dual(3, 1, 5), 7) -> Dual(21, 7, 5)
    """
    ### BEGIN SOLUTION
    level = max(x.level for x in inputs if isinstance(x, Dual))
    moves = [isinstance(x, Dual) and x.level == level for x in inputs]
    values = [x.value if m else x for x, m in zip(inputs, moves, strict=True)]
    value = function(*values)
    tangent = np.zeros(np.shape(value))
    for push, x, m in zip(PUSH[function], inputs, moves, strict=True):
        if m:
            tangent = tangent + push(x.tangent, *values)
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


# %% test="duals" points=1 difficulty=4 minutes=30
found = check.answer(jvp, lambda x: x * x, 3.0, 10.0, call="jvp(x * x, 3, 10)")
check.close(found, [9, 60], "jvp(lambda x: x * x, 3.0, 10.0)", why="give the value and its speed")
found = check.answer(jvp, lambda x: np.exp(2 * x) / x, np.array([0.5, 3.0]), np.array([1.0, -2.0]),
                     call="jvp(exp(2x) / x, ...)")  # fmt: skip
check.close(found[1], [0, -448.2542], "jvp(lambda x: np.exp(2 * x) / x, ...)", atol=1e-3, why="be J v")
call = "the derivative of x * (derivative of x + y towards y) towards x"
found = check.answer(jvp, lambda x: x * jvp(lambda y: x + y, 5.0, 1.0)[1], 3.0, 1.0, call=call)
check.close(found[1], 1, call, why="keep the two levels apart")
found = check.answer(hvp, lambda x: 4 * x**3, np.array([1.0, 2.0]), np.array([10.0, -1.0]), call="hvp")
check.close(found, [120, -48], "hvp of the gradient of x ** 4", why="be the second derivative times v")
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
        check.close(check.attribute(made, part, name), want, f"{part} of {name}", why="follow the rules")
made = lift(np.multiply, Dual(3, 10, 2), Dual(7, 100, 5))
check.close(check.attribute(made, "level", "lift"), 5, "level of a product of levels 2 and 5")
why = "be a dual of the lower level, which was a constant"
for part, first, second in (("value", 21, 70), ("tangent", 300, 1000)):
    inner = getattr(made, part)
    call = f"{part} of the product of Dual(3, 10, 2) and Dual(7, 100, 5)"
    check.equal(check.kind_of(inner), "Dual", f"kind of the {part}", why=why)
    check.close(check.attribute(inner, "value", call), first, f"value of the {call}", why=why)
    check.close(check.attribute(inner, "tangent", call), second, f"tangent of the {call}", why=why)
for call, inputs in [
    ("lift(np.add, Dual of (3,), zeros (2, 3))", (Dual(np.zeros(3), [1, 2, 3], 1), np.zeros((2, 3)))),
    ("lift(np.add, zeros (2, 3), Dual of (3,))", (np.zeros((2, 3)), Dual(np.zeros(3), [1, 2, 3], 1))),
]:
    made = check.attribute(lift(np.add, *inputs), "tangent", call)
    check.close(made, [[1, 2, 3], [1, 2, 3]], f"tangent of {call}", why="have the shape of the value")
why = "sum a stretched tangent as often as it was used"
found = check.answer(jvp, lambda x: (x + np.zeros((4, 3))).sum(), np.ones(3), np.array([1.0, 2, 3]), call="jvp")
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
    value, speed = torch.func.jvp(lambda z, f=function: f(torch, z), (torch.tensor(x),), (torch.tensor(v),))

    def used(z, f=function):
        calls.append(1)
        return f(np, z)

    calls.clear()
    found = check.answer(jvp, used, x, v, call=f"jvp ({name})")
    check.equal(len(calls), 1, f"calls of the function in jvp ({name})", why="call it once")
    check.equal(len(found), 2, f"parts of jvp ({name})", why="be two: the value and its speed")
    check.close(found[0], value, f"the value of jvp ({name})", rtol=1e-9, why="agree with torch.func.jvp")
    why = "agree with torch.func.jvp, to nine digits"
    check.close(found[1], speed, f"the speed of jvp ({name})", rtol=1e-9, atol=1e-11, why=why)
found = check.answer(jvp, lambda x: x * x / 4, 3, 5, call="jvp(x * x / 4, 3, 5) of whole numbers")
check.close(found, [2.25, 7.5], "jvp(x * x / 4, 3, 5)", why="take whole numbers")
found = check.answer(jvp, lambda x: x * x, np.array([3.0]), np.array([0.0]), call="jvp with v = 0")
check.close(found[1], [0], "jvp(x * x, [3], [0])", why="be 0 where nothing moves")

# Derivatives within derivatives.
for name, function, want in [
    ("x * d(x + y)/dy", lambda x: x * jvp(lambda y: x + y, 5.0, 1.0)[1], 1),
    ("d(x * y)/dy", lambda x: jvp(lambda y: x * y, 5.0, 1.0)[1], 1),
    ("d(y * y)/dy at y = x ** 2", lambda x: jvp(lambda y: y * y, x * x, 1.0)[1], 12),
    ("d(x * y * y)/dy at y = x", lambda x: jvp(lambda y: x * y * y, x, 1.0)[1], 12),
    ("x * d(7)/dy", lambda x: x * jvp(lambda y: 7.0, 5.0, 1.0)[1], 0),
    ("x + d(x)/dy", lambda x: x + jvp(lambda y: x, 5.0, 1.0)[1], 1),
    ("third derivative of z ** 4",
     lambda x: jvp(lambda y: jvp(lambda z: z * z * z * z, y, 1.0)[1], x, 1.0)[1], 72),
]:  # fmt: skip
    found = check.answer(jvp, function, 3.0, 1.0, call=f"jvp of {name}")
    check.close(found[1], want, f"the derivative of {name} towards x", why="keep all levels apart")

factors, classes = rng.normal(size=(5, 3)), rng.normal(size=5)


def energy(z):
    """A function whose Hessian is not diagonal; by torch."""
    scores = torch.tensor(factors) @ z
    return torch.log(1 + torch.exp(scores)).sum() - torch.tensor(classes) @ scores + 0.1 * (z**4).sum()


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
    check.equal(len(calls), 1, "calls of the gradient in hvp", why="call it once: no finite differences")
    why = "be torch.func's Hessian times v"
    check.close(found, hessian @ v, "hvp(gradient, x, v)", rtol=1e-9, atol=1e-11, why=why)
    other = check.answer(hvp, slope_of_energy, x, w, call="hvp(gradient, x, w)")
    check.close(w @ found, v @ other, "w · hvp(v) and v · hvp(w)", rtol=1e-8, atol=1e-10, why="be equal")
x, v = rng.normal(size=(2, 2, 3))
found = check.answer(hvp, lambda z: z * z * z.sum(), x, v, call="hvp of a matrix")
want = 2 * x * v * x.sum() + x * x * v.sum()
check.close(found, want, "hvp of a matrix", rtol=1e-9, atol=1e-11, why="have the shape of x")
found = check.answer(hvp, lambda z: np.ones(3), x[0], v[0], call="hvp of a constant gradient")
check.close(found, np.zeros(3), "hvp of a constant gradient", why="be 0")
### END HIDDEN TESTS

# %% mutant="duals" why="forgets the product rule: one input moves at a time"
# - tangent = tangent + push(x.tangent, *values)
# + tangent = np.zeros(np.shape(value)) + push(x.tangent, *values)

# %% mutant="duals" why="perturbation confusion: levels are not told apart"
# - moves = [isinstance(x, Dual) and x.level == level for x in inputs]
# + moves = [isinstance(x, Dual) for x in inputs]

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
# - for push, x, m in zip(PUSH[function], inputs, moves, strict=True):
# -     if m:
# -         tangent = tangent + push(x.tangent, *values)
# + for push, x, m in zip(PUSH[function], inputs, moves, strict=True):
# +     tangent = tangent + push(x.tangent if m else 0.0, *values)

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
# What is a Hessian good for that nobody can store? Multiply a random vector by $H$ again and again, normalise it each time, and it turns into the direction of **largest curvature**: power iteration. The curvature bounds the learning rate of gradient descent, $\eta < 2/\lambda_{\max}$: just below it training is slow, just above it it explodes. Here it is for logistic regression "is it class 8?" on the pictures; nobody ever forms the matrix.

# %% [markdown] lang="ru"
# Чем полезен гессиан, который негде хранить? Умножайте случайный вектор на $H$ снова и снова, каждый раз нормируя, — и он повернётся вдоль направления **наибольшей кривизны**: это степенной метод (power iteration). Кривизна ограничивает шаг градиентного спуска: $\eta < 2/\lambda_{\max}$; чуть ниже — обучение идёт, чуть выше — взрывается. Вот она для логистической регрессии «это класс 8?» на тех же картинках; самой матрицы никто не строит.

# %%
features, is_eight = x_train[:500], (y_train[:500] == 8).astype(float)


def logistic_gradient(w):
    """Of the mean logistic loss and a little weight decay."""
    chance = 1 / (1 + np.exp(-(features @ w)))
    return features.T @ (chance - is_eight) / len(features) + 0.01 * w


start = np.zeros(features.shape[1])
direction, curvatures = np.random.default_rng(0).normal(size=len(start)), []
for _ in range(12):
    direction = direction / np.linalg.norm(direction)
    product = hvp(logistic_gradient, start, direction)
    curvatures.append(direction @ product)
    direction = product
limit = 2 / curvatures[-1]
descents = {}
for share in (0.9, 1.0, 1.1):
    weights, sizes_of_step = start + 1e-3 * direction / np.linalg.norm(direction), []
    for _ in range(60):
        weights = weights - share * limit * logistic_gradient(weights)
        sizes_of_step.append(np.linalg.norm(logistic_gradient(weights)))
    descents[f"learning rate {share:g} × 2 / λ"] = sizes_of_step
figure, axes = plt.subplots(1, 2, figsize=(9.4, 3.3))
title = f"Power iteration: λ → {curvatures[-1]:.2f}"
plots.curves({"": curvatures}, title, "product with the Hessian", "curvature along v", ax=axes[0])
plots.curves(descents, "What it foretells", "step", "norm of the gradient", log_y=True, ax=axes[1])
plots.show(
    "Left: the curvature rises within a few products and stays. Right: with nine tenths of the limit "
    "rate the gradient shrinks, at the limit and above it it stays large."
)

# %% [markdown]
# The same in three frameworks. PyTorch's `torch.func.jvp(torch.func.grad(f), (x,), (v,))` and JAX's `jax.jvp(jax.grad(f), (x,), (v,))` are the line you have just written: functions that transform functions. TensorFlow 2 nests a `GradientTape` in a `ForwardAccumulator`. All three note operations as section 1 does; JAX and `torch.compile` note them once, as a program, and hand that to a compiler.

# %% [markdown] lang="ru"
# То же в трёх фреймворках. `torch.func.jvp(torch.func.grad(f), (x,), (v,))` в PyTorch и `jax.jvp(jax.grad(f), (x,), (v,))` в JAX — это ровно та строка, которую вы написали: функции, преобразующие функции. В TensorFlow 2 `GradientTape` вкладывают в `ForwardAccumulator`. Все трое записывают операции, как в разделе 1; JAX и `torch.compile` записывают их один раз, как программу, и отдают её компилятору.

# %%
w, v = torch.tensor(start), torch.tensor(np.random.default_rng(1).normal(size=len(start)))
x, t = torch.tensor(features), torch.tensor(is_eight)


def logistic_loss(w):
    return F.binary_cross_entropy_with_logits(x @ w, t) + 0.005 * (w @ w)


_, by_torch = torch.func.jvp(torch.func.grad(logistic_loss), (w,), (v,))
apart = np.abs(by_torch.numpy() - hvp(logistic_gradient, start, v.numpy())).max()
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
# Двенадцать верных знаков в `float64` для $x$ от $10^{-150}$ до $700$: у значения, первой и **второй** производной. Тип чисел сохраняется. Ради второй производной `backward` сам будет продифференцирован: берите в нём только сохранённое через `ctx.save_for_backward` и дифференцируемые операции.


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
check.close(found, want, "log1mexp([1e-20, 0.25, 3, 50])", rtol=1e-7, atol=0, why="be precise at both ends")
(found,) = check.gradient_of(log1mexp, x, call="log1mexp")
want = [1e20, 3.52081174, 0.0523957, 1.92874985e-22]
check.close(found, want, "the gradient at [1e-20, 0.25, 3, 50]", rtol=1e-6, atol=0, why="be exp(-x) / (1 - exp(-x))")
### BEGIN HIDDEN TESTS
rng = check.rng("log1mexp")


def exact(x):
    """Value, first and second derivative by NumPy."""
    rest = -np.expm1(-x)
    value = np.where(x < 0.5, np.log(rest), np.log1p(-np.exp(-x)))
    return value, np.exp(-x) / rest, -np.exp(-x) / rest**2


def second(x, upstream):
    """First and second derivative of what the student wrote, weighted."""
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad((log1mexp(leaf) * upstream).sum(), leaf, create_graph=True)
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
    got = check.answer(second, x, upstream, call="the second derivative")
    call = f"the second derivative at {numbers}"
    check.close(got[1], twice * upstream.numpy() ** 2, call, rtol=1e-11, atol=0, why=why)
x = torch.tensor(rng.uniform(0.05, 4, size=(3, 2, 4)), requires_grad=True)
for test, what in ((torch.autograd.gradcheck, "gradcheck"), (torch.autograd.gradgradcheck, "gradgradcheck")):
    passed = check.answer(test, log1mexp, (x,), raise_exception=False, call=what)
    check.that(passed is True, f"pass torch.autograd.{what}")
x = torch.tensor(rng.uniform(0.05, 4, size=(2, 5)))
upstream = torch.tensor(rng.normal(size=(2, 5)))
found = check.gradient_of(lambda z: log1mexp(log1mexp(-log1mexp(z)) * -2), x, upstream=upstream, call="three of them")


def threefold(z):
    for sign in (-1, -2):
        z = sign * torch.log(-torch.expm1(-z))
    return torch.log(-torch.expm1(-z))


want = torch.autograd.functional.vjp(threefold, x, upstream)[1]
check.close(found[0], want, "three log1mexp in each other", rtol=1e-6, why="keep what each has saved apart")
for dtype, digits in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
    x = torch.tensor([1e-6, 0.3, 2.0, 30.0], dtype=dtype)
    found = check.answer(log1mexp, x, call=f"log1mexp of {dtype}")
    check.equal(str(found.dtype), str(dtype).split(".")[1], f"dtype of log1mexp of {dtype}", why="stay")
    want = exact(x.double().numpy())
    check.close(found, want[0], f"log1mexp of {dtype}", rtol=digits, atol=0, why="be precise")
    found = check.gradient_of(log1mexp, x, call="log1mexp")[0]
    check.close(found, want[1], f"gradient of log1mexp of {dtype}", rtol=digits, atol=0, why="be precise")
found = check.answer(log1mexp, torch.tensor(2.0), call="log1mexp of one number")
check.close(found, exact(np.array(2.0))[0], "log1mexp(tensor(2.))", rtol=1e-5, why="keep its shape")
### END HIDDEN TESTS

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
figure, axes = plt.subplots(3, 1, figsize=(8, 4), sharex=True, sharey=True)
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
    "has no number for the smallest x, the plain formula has none there and large errors on both sides."
)
