# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # PyTorch from the inside: tensors, graphs, loops
# You write the Game of Life in a few tensor operations, look at the graph that PyTorch builds behind your back, and write the three things that every later week needs: batches of things of different sizes, a training loop that is right, a learning rate that survives the first steps. At the end a small network learns the rule of Life from random boards and then plays a pattern that it has never seen: one wrong cell would be enough to spoil it.

# %% [markdown] lang="ru"
# # PyTorch изнутри: тензоры, графы, циклы
# Вы запишете игру «Жизнь» несколькими тензорными операциями, рассмотрите граф, который PyTorch незаметно строит за вас, и напишете три вещи, нужные каждой следующей неделе: батчи из объектов разного размера, цикл обучения без ошибок и расписание, с которым сеть переживает первые итерации. В конце маленькая сеть выучит правило «Жизни» по случайным полям и сыграет фигуру, которой никогда не видела: чтобы всё испортить, хватило бы одной неверной клетки.

# %% tags=["parameters"]
profile = "small"

# %%
import copy
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from practical_dl import check, data, plots, progress, seed_everything
from practical_dl.weeks import week02

seed_everything(0)
settings = {
    "small": {"data": "digits", "train": 1_347, "test": 450, "epochs": 10},
    "full": {"data": "mnist", "train": 10_000, "test": 2_000, "epochs": 10},
}[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at the picture of *your* result. The checks that you see are public ones: a good sign, not a promise. Four tasks of half a point; each can be solved without the others. Functions leave their arguments as they were, where nothing else is said. No GPU is needed; the data are handwritten digits, 8 × 8 pixels (profile `full`: MNIST).

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на картинку *вашего* результата. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Заданий четыре, по полбалла; каждое можно решить без остальных. Функции не меняют своих аргументов, если не сказано иное. Видеокарта не нужна; данные — рукописные цифры, 8 × 8 пикселей (профиль `full`: MNIST).

# %% [markdown]
# ## 1. Thinking in tensors: the Game of Life
# {{task:life_step}}
#
# Conway's [Game of Life](https://en.wikipedia.org/wiki/Conway%27s_Game_of_Life) (1970) is played on a grid of cells, dead (0) or alive (1). A cell's neighbours are the eight cells around it. In the next generation
#
# - a live cell with two or three live neighbours lives on;
# - a dead cell with exactly three comes to life;
# - every other cell is dead.
#
# Two loops over the cells are obvious, and slow: each step of a Python loop costs more than the arithmetic in it. In [PyTorch](glossary:pytorch) you say what happens to *all* cells at once: shift the whole board in eight directions and add. **The border is dead**: what lies outside the board counts as 0, and the board doesn't wrap round.

# %% [markdown] lang="ru"
# ## 1. Мыслить тензорами: игра «Жизнь»
# {{task:life_step}}
#
# В [игру «Жизнь»](https://ru.wikipedia.org/wiki/Игра_«Жизнь») Конвея (1970) играют на поле из клеток, мёртвых (0) и живых (1). Соседи клетки — восемь клеток вокруг неё. В следующем поколении
#
# - живая клетка с двумя или тремя живыми соседями продолжает жить;
# - мёртвая, у которой живых соседей ровно три, оживает;
# - все остальные клетки мертвы.
#
# Два цикла по клеткам очевидны, но медленны: шаг цикла в Python стоит дороже, чем арифметика внутри него. В [PyTorch](glossary:pytorch) говорят, что происходит сразу со *всеми* клетками: сдвиньте всё поле в восьми направлениях и сложите. **Край мёртвый**: всё, что за полем, считается нулём, поле не замкнуто в тор.


# %%
def life_by_loops(board: np.ndarray) -> np.ndarray:
    """Slow and obvious: one cell at a time. board: (h, w) of 0 and 1 -> the same."""
    h, w = board.shape
    after = np.zeros((h, w), dtype=int)
    for i in range(h):
        for j in range(w):
            window = board[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            neighbours = int(window.sum()) - int(board[i, j])
            after[i, j] = neighbours == 3 or (neighbours == 2 and board[i, j] == 1)
    return after


# %% solution="life_step"
def life_step(board: torch.Tensor) -> torch.Tensor:
    """The next generation of one board or of many, without a Python loop over cells or boards.

    board: (..., h, w) of 0 and 1, of any dtype (bool, whole or real numbers) -> a new tensor of the
    same shape and dtype. Boards of a batch know nothing of each other.
    life_step([[0, 0, 0], [1, 1, 1], [0, 0, 0]]) -> [[0, 1, 0], [0, 1, 0], [0, 1, 0]]
    """
    ### BEGIN SOLUTION
    h, w = board.shape[-2:]
    alive = board.long()  # True + True is True: count in whole numbers
    framed = F.pad(alive, (1, 1, 1, 1))
    windows = sum(framed[..., i : i + h, j : j + w] for i in range(3) for j in range(3))
    neighbours = windows - alive
    return ((neighbours == 3) | ((neighbours == 2) & (alive == 1))).to(board.dtype)
    ### END SOLUTION


# %% test="life_step" points=0.5 difficulty=2 minutes=15
row = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]])
call = "life_step of three cells in a row"
found = check.answer(life_step, row, call=call)
check.equal(found, np.array([[0, 1, 0, 0]] * 3), call, why="turn the row upright")
block = torch.tensor([[1, 1, 0], [1, 1, 0]])
call = "life_step of a block in the corner"
found = check.answer(life_step, block, call=call)
check.equal(found, block.numpy(), call, why="leave it as it is: each cell has three neighbours")
### BEGIN HIDDEN TESTS
rng = check.rng("life_step")


def judge_life(shape, dtype, why, density=0.4):
    """Boards of a shape and dtype, against the loops."""
    board = rng.random(shape) < density
    want = np.array([life_by_loops(b.astype(int)) for b in board.reshape(-1, *shape[-2:])])
    call = f"life_step(board) of shape {shape} and {dtype}"
    given = torch.from_numpy(board).to(dtype)
    found = check.answer(life_step, given, call=call)
    check.equal(np.asarray(found).astype(int), want.reshape(shape), call, why=why)
    kind = np.asarray(found).dtype
    check.that(kind == given.numpy().dtype, f"give a tensor of {dtype}, the dtype of the board")


rule = "agree with the rule, cell by cell"
for shape in [(6, 9), (9, 6), (5, 5), (12, 7)]:
    for density in (0.2, 0.5, 0.9):
        judge_life(shape, torch.int64, rule, density)
edge = "have nothing alive outside the board"
for shape in [(1, 1), (1, 6), (5, 1), (2, 2), (2, 5), (3, 3)]:
    for density in (0.5, 1.0):
        judge_life(shape, torch.int64, edge, density)
for dtype in (torch.bool, torch.float32, torch.float64, torch.uint8, torch.int32):
    judge_life((7, 10), dtype, f"count neighbours right on a board of {dtype}")
for shape in [(3, 6, 5), (1, 4, 7), (2, 3, 5, 4), (4, 1, 6, 6)]:
    for dtype in (torch.int64, torch.float32, torch.bool):
        judge_life(shape, dtype, "take each board of a batch by itself")
first, call = torch.from_numpy(rng.random((6, 8)) < 0.4).long(), "life_step(board)"
kept = life_step(first)
want = life_by_loops(first.numpy())
life_step(1 - first)
check.equal(check.array(kept, call), want, f"{call}, after a second call", why="be a new tensor")
many = torch.from_numpy(rng.random((40, 30, 50)) < 0.4).long()
lines = check.lines_run(lambda: life_step(many))
check.that(lines < 400, "have no loop over cells or boards", details=f"it ran {lines} lines")
### END HIDDEN TESTS

# %% mutant="life_step" why="wraps round the border"
# - framed = F.pad(alive, (1, 1, 1, 1))
# + framed = torch.cat([alive[..., -1:, :], alive, alive[..., :1, :]], dim=-2)
# + framed = torch.cat([framed[..., -1:], framed, framed[..., :1]], dim=-1)

# %% mutant="life_step" why="counts the cell itself"
# - neighbours = windows - alive
# + neighbours = windows

# %% mutant="life_step" why="adds booleans"
# - alive = board.long()  # True + True is True: count in whole numbers
# + alive = board

# %% mutant="life_step" why="answers in whole numbers, whatever came in"
# - return ((neighbours == 3) | ((neighbours == 2) & (alive == 1))).to(board.dtype)
# + return ((neighbours == 3) | ((neighbours == 2) & (alive == 1))).long()

# %% mutant="life_step" why="nobody is born"
# - return ((neighbours == 3) | ((neighbours == 2) & (alive == 1))).to(board.dtype)
# + return (((neighbours == 3) | (neighbours == 2)) & (alive == 1)).to(board.dtype)

# %% mutant="life_step" why="born of two neighbours, too"
# - return ((neighbours == 3) | ((neighbours == 2) & (alive == 1))).to(board.dtype)
# + return ((neighbours == 3) | (neighbours == 2)).to(board.dtype)

# %% mutant="life_step" why="four neighbours only"
# - windows = sum(framed[..., i : i + h, j : j + w] for i in range(3) for j in range(3))
# + windows = sum(framed[..., i : i + h, j : j + w] for i in range(3) for j in range(3) if i == 1 or j == 1)

# %% mutant="life_step" why="height and width swapped"
# - h, w = board.shape[-2:]
# + w, h = board.shape[-2:]

# %% mutant="life_step" why="a loop over the boards"
# - h, w = board.shape[-2:]
# + if board.ndim > 2:
# +     return torch.stack([life_step(b) for b in board])
# + h, w = board.shape[-2:]

# %% mutant="life_step" why="boards of a batch are neighbours"
# - framed = F.pad(alive, (1, 1, 1, 1))
# + framed = F.pad(alive, (1, 1, 1, 1))
# + framed = framed + framed.roll(1, 0) * (framed.ndim > 2)

# %% mutant="life_step" why="in place"
# - return ((neighbours == 3) | ((neighbours == 2) & (alive == 1))).to(board.dtype)
# + return board.copy_((neighbours == 3) | ((neighbours == 2) & (alive == 1)))


# %% alternative="life_step" why="a convolution"
def life_step(board):
    shape = board.shape
    x = board.reshape(-1, 1, *shape[-2:]).float()
    kernel = torch.ones(1, 1, 3, 3)
    kernel[..., 1, 1] = 0
    n = F.conv2d(x, kernel, padding=1).round()
    return torch.where(n == 2, x, (n == 3).float()).reshape(shape).to(board.dtype)


# %% alternative="life_step" why="rows, then columns"
def life_step(board):
    count = board.clone().to(torch.int16)
    for dim in (-1, -2):
        n = board.shape[dim]
        more = count.clone()
        more.narrow(dim, 0, n - 1).add_(count.narrow(dim, 1, n - 1))
        more.narrow(dim, 1, n - 1).add_(count.narrow(dim, 0, n - 1))
        count = more
    return ((count == 3) | ((count == 4) & (board != 0))).type_as(board)


# %% [markdown]
# **A gun.** In 1970 Conway offered 50 dollars for a pattern that grows without end. Bill Gosper's team found this one: every 30 generations it fires a glider. Here it is played by your function. Remember it; it comes back at the end.

# %% [markdown] lang="ru"
# **Ружьё.** В 1970 году Конвей пообещал 50 долларов за фигуру, которая растёт бесконечно. Группа Билла Госпера нашла вот эту: каждые 30 поколений она выпускает планер. Здесь её разыгрывает ваша функция. Запомните её: она ещё вернётся.

# %%
GUN = """
........................O...........
......................O.O...........
............OO......OO............OO
...........O...O....OO............OO
OO........O.....O...OO..............
OO........O...O.OO....O.O...........
..........O.....O.......O...........
...........O...O....................
............OO......................
"""
gun = torch.zeros(42, 60, dtype=torch.int64)
gun[5:14, 2:38] = torch.tensor([[c == "O" for c in line] for line in GUN.split()]).long()


def play(step: Callable[[torch.Tensor], torch.Tensor], generations: int) -> list[torch.Tensor]:
    """The gun and what becomes of it, generation by generation."""
    boards = [gun]
    for _ in range(generations):
        boards.append(step(boards[-1]))
    return boards


truth = play(life_step, 150)
week02.boards([truth[i] for i in (0, 30, 60, 90)], ["start", "after 30", "after 60", "after 90"])
plots.show(
    "Gosper's glider gun at the start and after 30, 60 and 90 generations: the gun stays, and a "
    "diagonal row of small gliders leaves it to the lower right."
)

crowd = torch.from_numpy(np.random.default_rng(0).random((200, 200)) < 0.3).long()
took = {}
for name, function, board in (
    ("loops", life_by_loops, crowd.numpy()),
    ("tensors", life_step, crowd),
):
    runs = []
    for _ in range(3):
        start = time.perf_counter()
        function(board)
        runs.append(time.perf_counter() - start)
    took[name] = min(runs)
    print(f"{name:8} {1000 * took[name]:8.2f} ms for a board of 200 x 200")
print(f"ratio: {took['loops'] / took['tensors']:.0f}")

# %% [markdown]
# ## 2. The graph behind your back
# What makes a tensor of PyTorch more than an array: when something in a formula has `requires_grad`, every operation notes **how its result was made**. The notes hang together as a graph, from the result back to the inputs; `backward()` walks it, with the chain rule of week 01. Nobody declares the graph: it is a by-product of running Python, and a new one is made each time.
#
# One neuron: $z = wx$, $\;s = z + b$, $\;o = \tanh s$, $\;L = (o - 1)^2$.

# %% [markdown] lang="ru"
# ## 2. Граф за вашей спиной
# Чем тензор PyTorch больше массива: если в формуле у чего-то есть `requires_grad`, каждая операция записывает, **как получен её результат**. Записи связаны в граф — от результата назад к входам; `backward()` проходит по нему по цепному правилу из недели 01. Граф никто не объявляет: он побочный продукт выполнения Python, и каждый раз строится новый.
#
# Один нейрон: $z = wx$, $\;s = z + b$, $\;o = \tanh s$, $\;L = (o - 1)^2$.

# %%
x = torch.tensor(2.0)
w, b = torch.tensor(0.5, requires_grad=True), torch.tensor(-0.4, requires_grad=True)
z = w * x
s = z + b
o = s.tanh()
loss = (o - 1) ** 2
for value in (z, s, o, loss):
    value.retain_grad()  # for the drawing; else only leaves keep their gradient
loss.backward()

print(f"{'':5} {'is_leaf':8} {'requires_grad':14} {'grad_fn':16} grad")
for name, value in {"x": x, "w": w, "b": b, "z": z, "s": s, "o": o, "L": loss}.items():
    made = type(value.grad_fn).__name__ if value.grad_fn is not None else "-"
    slope = "-" if value.grad is None else f"{value.grad:.3f}"
    print(f"{name:5} {value.is_leaf!s:8} {value.requires_grad!s:14} {made:16} {slope}")

print("\nfrom the result back to the inputs, as backward() goes:")
week02.print_graph(loss.grad_fn, {id(w): "w", id(b): "b"})
places = {"x": (0, 2), "w": (0, 1), "b": (1.6, 0), "·": (1.6, 1.5), "+": (3.2, 1), "tanh": (4.8, 1),
          "(o−1)²": (6.6, 1), "L": (8.2, 1)}  # fmt: skip
edges = [("x", "·", x, None), ("w", "·", w, w.grad), ("·", "+", z, z.grad), ("b", "+", b, b.grad),
         ("+", "tanh", s, s.grad), ("tanh", "(o−1)²", o, o.grad), ("(o−1)²", "L", loss, loss.grad)]  # fmt: skip
plots.graph(
    places,
    [(a, c, v.item(), None if g is None else g.item()) for a, c, v, g in edges],
    "Values (above) go forward, gradients (below) come back",
)
plots.show(
    "A graph from x, w and b through product, sum, tanh and square to the loss L; each edge carries "
    "its value above and the gradient of L below; the edge from x has no gradient."
)

# %% [markdown]
# Read the table. **Leaves** are tensors that no recorded operation made: `w` and `b`, which you train, and `x`, which is data and has no gradient. After `backward()` only leaves that require a gradient keep one (here the others were told to). `AccumulateGrad` at the ends of the graph is the next trap: **gradients are added to what is there**.

# %% [markdown] lang="ru"
# Прочтите таблицу. **Листья** — тензоры, которые не созданы ни одной записанной операцией: `w` и `b`, которые обучают, и `x` — данные без градиента. После `backward()` градиент хранят только листья, которым он нужен (здесь остальных попросили отдельно). `AccumulateGrad` на концах графа — это следующая ловушка: **градиенты прибавляются к тому, что уже есть**.

# %%
w.grad = None
for times in (1, 2, 3):
    ((w * x + b).tanh() - 1).pow(2).backward()
    print(f"backward() called {times} time(s): w.grad = {w.grad:.3f}")
print("\nand three ways in which a gradient gets lost:")
print(f"  detach():        requires_grad of the result = {(w.detach() * x).requires_grad}")
with torch.no_grad():
    print(f"  torch.no_grad(): requires_grad of the result = {(w * x).requires_grad}")
print(f"  a new tensor:    requires_grad of the result = {torch.tensor(w.item()).requires_grad}")

# %% [markdown]
# That gradients add up is no accident: a large batch can be taken in pieces, and a weight that is used twice gets both its gradients. But it means that each step of training has to begin with `zero_grad()`.
#
# **Three frameworks, one gradient.** PyTorch records what Python does. TensorFlow recorded first and ran later; since version 2 it runs at once, too: you mark by a `GradientTape` what is to be recorded, and `tf.function` makes a graph. JAX has no tape on its arrays: it *transforms functions*; `jax.grad(f)` is a new function, `jax.jit` compiles it, `jax.vmap` maps it over a batch. This asks for functions without side effects; in return, transformations can be nested. PyTorch has them as `torch.func`. The same gradient, three times:
#
# ```python
# loss = f(w); loss.backward(); w.grad                                   # PyTorch
# with tf.GradientTape() as tape: loss = f(w)                            # TensorFlow
# tape.gradient(loss, w)
# jax.grad(f)(w)                                                         # JAX; torch.func.grad(f)(w)
# ```

# %% [markdown] lang="ru"
# Градиенты складываются не случайно: большой батч можно пройти по частям, а вес, использованный дважды, получает оба своих градиента. Но поэтому каждый шаг обучения должен начинаться с `zero_grad()`.
#
# **Три фреймворка, один градиент.** PyTorch записывает то, что делает Python. TensorFlow сначала записывал, а выполнял потом; со второй версии он тоже выполняет сразу: что записывать, отмечают через `GradientTape`, а граф делает `tf.function`. В JAX у массивов нет никакой записи, он *преобразует функции*: `jax.grad(f)` — новая функция, `jax.jit` её компилирует, `jax.vmap` применяет ко всему батчу. Для этого функции должны быть без побочных эффектов; зато преобразования можно вкладывать друг в друга. В PyTorch они есть в `torch.func`. Один и тот же градиент трижды:
#
# ```python
# loss = f(w); loss.backward(); w.grad                                   # PyTorch
# with tf.GradientTape() as tape: loss = f(w)                            # TensorFlow
# tape.gradient(loss, w)
# jax.grad(f)(w)                                                         # JAX; torch.func.grad(f)(w)
# ```


# %%
def neuron_loss(w: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A function of its arguments and of nothing else, as torch.func and JAX want it."""
    return ((w * x + b).tanh() - 1) ** 2


by_func = torch.func.grad(neuron_loss, argnums=(0, 1))(w.detach(), b.detach(), x)
print("torch.func.grad:  ", *(f"{g:.3f}" for g in by_func))
print(
    "torch.autograd:   ", *(f"{g:.3f}" for g in torch.autograd.grad(neuron_loss(w, b, x), (w, b)))
)
per_example = torch.func.vmap(torch.func.grad(neuron_loss), in_dims=(None, None, 0))
many = torch.tensor([-1.0, 0.0, 1.0, 2.0])
print(
    "one gradient for each of four examples:",
    per_example(w.detach(), b.detach(), many).numpy().round(3),
)

# %% [markdown]
# ## 3. Batches of things that differ in size
# {{task:collate}}
#
# Pictures of one size stack into a tensor. Sentences, recordings, molecules don't. The usual answer has three parts, and you write them once for the whole course:
#
# - a **`Dataset`** knows how many examples there are and makes one when asked for its number;
# - **`collate`** makes a batch of a list of examples: the shorter ones are filled up to the longest (**padding**), and a **mask** says which places are real. Never tell padding from data by its value: a zero may be a measurement;
# - a **loader** shuffles, with a generator *of its own*: then an experiment can be repeated, whoever else draws random numbers in the meantime.
#
# Our things of different sizes: digits as **clouds of points**. A pixel that has ink becomes a point (row, column, ink), all from 0 to 1; a digit is the list of its points.

# %% [markdown] lang="ru"
# ## 3. Батчи из объектов разного размера
# {{task:collate}}
#
# Картинки одного размера складываются в тензор. Предложения, записи, молекулы — нет. Обычный ответ состоит из трёх частей, и вы напишете их один раз на весь курс:
#
# - **`Dataset`** знает, сколько всего примеров, и делает пример по его номеру;
# - **`collate`** собирает из списка примеров батч: короткие дополняются до самого длинного (**padding**), а **маска** говорит, какие места настоящие. Никогда не отличайте дополнение от данных по значению: ноль может быть измерением;
# - **загрузчик** (loader) перемешивает *собственным* генератором: тогда эксперимент можно повторить, кто бы ещё ни брал тем временем случайные числа.
#
# Наши объекты разного размера — цифры в виде **облаков точек**. Пиксель с краской становится точкой (строка, столбец, краска), все три числа от 0 до 1; цифра — список своих точек.

# %%
dataset = data.load(settings["data"], profile)
pictures = {
    "train": dataset.x_train[: settings["train"]],
    "test": dataset.x_test[: settings["test"]],
}
labels = {"train": dataset.y_train[: settings["train"]], "test": dataset.y_test[: settings["test"]]}


# %%
def cloud(picture: np.ndarray) -> torch.Tensor:
    """The pixels of a picture that have ink, as points: (h, w) -> (k, 3): row, column, ink.

    All three from 0 to 1.
    """
    rows, columns = np.nonzero(picture)
    h, w = picture.shape
    ink = picture[rows, columns] / max(1.0, float(picture.max()))
    points = np.stack([rows / max(1, h - 1), columns / max(1, w - 1), ink], axis=1)
    return torch.from_numpy(points).float()


# %% solution="collate"
class Clouds(Dataset):
    """Pictures as clouds. pictures: (n, h, w), labels: (n,). Example i: (cloud(picture), label).

    The cloud is made when it is asked for; the label is an int.
    """

    def __init__(self, pictures: np.ndarray, labels: np.ndarray) -> None:
        self.pictures, self.labels = pictures, labels

    def __len__(self) -> int:
        ### BEGIN SOLUTION
        return len(self.pictures)
        ### END SOLUTION

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        ### BEGIN SOLUTION
        return cloud(self.pictures[i]), int(self.labels[i])
        ### END SOLUTION


def collate(examples: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, ...]:
    """n examples (sequence (k_i, ...), label), k_i >= 0 -> (padded, mask, labels).

    padded: (n, k, ...), where k is the largest k_i, of the sequences' dtype; 0 where there is nothing.
    mask: (n, k) bool, True where a place is real. labels: (n,) int64.
    [([5, 0], 1), ([7], 3)] -> [[5, 0], [7, 0]], [[True, True], [True, False]], [1, 3]
    """
    ### BEGIN SOLUTION
    sequences, labels = [s for s, _ in examples], [label for _, label in examples]
    lengths = torch.tensor([len(s) for s in sequences])
    first = sequences[0]
    padded = first.new_zeros(len(sequences), int(lengths.max()), *first.shape[1:])
    for i, sequence in enumerate(sequences):
        padded[i, : len(sequence)] = sequence
    mask = torch.arange(padded.shape[1]) < lengths[:, None]
    return padded, mask, torch.tensor(labels)
    ### END SOLUTION


def loader(dataset: Dataset, batch_size: int, seed: int | None = None) -> DataLoader:
    """Batches made by collate; the last one may be smaller. Every pass shows each example once.

    Without a seed, in the order of the data set. With one, each pass in another order, and all
    orders follow from the seed alone: torch's global generator is neither used nor moved.
    """
    ### BEGIN SOLUTION
    if seed is None:
        return DataLoader(dataset, batch_size, collate_fn=collate)
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(dataset, batch_size, shuffle=True, generator=generator, collate_fn=collate)
    ### END SOLUTION


# %% test="collate" points=0.5 difficulty=2 minutes=20
call = "collate([([5, 0], 1), ([7], 3)])"
examples = [(torch.tensor([5, 0]), 1), (torch.tensor([7]), 3)]
padded, mask, targets = check.answer(collate, examples, call=call)
check.equal(padded, np.array([[5, 0], [7, 0]]), f"padded of {call}")
check.equal(mask, np.array([[True, True], [True, False]]), f"mask of {call}", why="count lengths")
check.equal(targets, np.array([1, 3]), f"labels of {call}")
tiny = np.array([[[0, 5, 0], [0, 0, 9]], [[4, 0, 0], [1, 2, 3]], [[0, 0, 0], [8, 0, 0]]])
ours = Clouds(tiny, np.array([7, 0, 2]))
check.equal(check.answer(len, ours, call="len(Clouds(...))"), 3, "len(Clouds(...)) of 3 pictures")
points, target = check.answer(ours.__getitem__, 1, call="Clouds(...)[1]")
check.close(points, cloud(tiny[1]).numpy(), "the sequence of Clouds(...)[1]")
check.equal(target, 0, "the label of Clouds(...)[1]")
batches = check.answer(list, loader(ours, 2), call="list(loader(dataset, 2))")
check.equal([len(b[2]) for b in batches], [2, 1], "sizes of the batches of 3 by 2")
### BEGIN HIDDEN TESTS
rng = check.rng("collate")


def judge_collate(lengths, inner, dtype, why):
    """Sequences of these lengths; 0 is among their values."""
    given = [
        (torch.from_numpy(rng.integers(-2, 3, size=(k, *inner))).to(dtype), int(rng.integers(9)))
        for k in lengths
    ]
    call = f"collate of sequences of lengths {lengths}, each place {inner}, {dtype}"
    found = check.answer(collate, given, call=call)
    check.that(isinstance(found, tuple | list) and len(found) == 3, "return (padded, mask, labels)")
    want = np.zeros((len(lengths), max(lengths), *inner))
    for i, (sequence, _) in enumerate(given):
        want[i, : len(sequence)] = sequence.numpy()
    check.equal(np.asarray(found[0], dtype=float), want, f"padded of {call}", why=why)
    real = np.array([[j < k for j in range(max(lengths))] for k in lengths])
    check.equal(found[1], real, f"mask of {call}", why="say which places are real, by the lengths")
    check.equal(np.asarray(found[1]).dtype.kind, "b", "the kind of the mask", why="be bool")
    check.equal(
        found[2], np.array([y for _, y in given]), f"labels of {call}", why="keep the order"
    )
    kind = str(np.asarray(found[2]).dtype)
    check.equal(kind, "int64", "the dtype of the labels", why="be int64, as losses want it")
    kind = given[0][0].numpy().dtype
    check.that(np.asarray(found[0]).dtype == kind, f"keep the dtype of the sequences, {dtype}")


judge_collate([3, 1, 2], (), torch.int64, "fill up with 0 at the end")
judge_collate([2, 5], (3,), torch.float32, "fill up with 0 at the end")
judge_collate([4], (2,), torch.float64, "be no longer than the longest")
judge_collate([3, 3, 3, 3, 3], (1,), torch.float32, "need no padding where all are of one length")
judge_collate([1, 2, 4, 1, 1, 3], (2, 5), torch.float32, "keep the shape of what is at a place")
judge_collate([2, 0, 3], (3,), torch.float32, "take a sequence of length 0, too")
judge_collate([0, 0], (3,), torch.float32, "have no places where all sequences are of length 0")
pair = [(torch.ones(2, 3), 1), (torch.ones(1, 3), 0)]
kinds = check.answer(week02.kinds, collate, pair, call="collate(examples)")
check.equal(kinds, ["tensor"] * 3, "kinds of (padded, mask, labels)", why="be tensors")
call, zero = "collate of sequences of zeros", torch.zeros(2, 3)
_, mask, _ = check.answer(collate, [(zero, 1), (zero[:1], 1)], call=call)
check.equal(mask, np.array([[1, 1], [1, 0]]) > 0, call, why="not tell padding from data by value")

twice = check.answer(len, Clouds(tiny, np.array([4, 4, 1])), call="len(Clouds(...))")
check.equal(twice, 3, "len(Clouds(...)) where two labels are the same", why="count pictures")
drawn = tiny.copy()
made = Clouds(drawn, np.array([7, 0, 2]))
drawn[1, 0, 1] = 6
points, _ = check.answer(made.__getitem__, 1, call="Clouds(...)[1]")
why = "be made when it is asked for"
check.close(points, cloud(drawn[1]).numpy(), "a cloud of a picture that was changed", why=why)
n = 11
pictures_of = rng.integers(1, 9, size=(n, 3, 4)) * (rng.random((n, 3, 4)) < 0.5)
pictures_of[:, 0, 0] = 1 + np.arange(n)
names_of = rng.permutation(n)
for i in (0, 4, n - 1):
    made = Clouds(pictures_of, names_of)
    points, target = check.answer(made.__getitem__, i, call=f"Clouds(...)[{i}]")
    what = "the sequence of Clouds(pictures, labels)[i]"
    check.close(points, cloud(pictures_of[i]).numpy(), what, why="be the cloud of picture i")
    what = "the label of Clouds(pictures, labels)[i]"
    check.equal(target, int(names_of[i]), what, why="be label i")
    check.equal(check.kind_of(target), "int", "the kind of the label", why="be an int")
size = check.answer(len, Clouds(pictures_of, names_of), call="len(Clouds(...))")
check.equal(size, n, "len(Clouds(pictures, labels))", why="be the number of pictures")


def seen_in(made, batch_size, seed, passes):
    """The labels in the order of some passes of a loader, each label the name of one example."""
    call = f"loader(dataset, {batch_size}, seed={seed})"
    found = []
    for _ in range(passes):
        batches = check.answer(list, made, call=call)
        sizes = [min(batch_size, n - start) for start in range(0, n, batch_size)]
        check.equal(
            [len(b[2]) for b in batches],
            sizes,
            f"sizes of the batches of {call}",
            why="be batch_size, but for the last one",
        )
        found.append([int(name) for b in batches for name in b[2]])
        for padded, mask, order in batches:
            for row, real, name in zip(padded, mask, order, strict=True):
                want = cloud(pictures_of[list(names_of).index(name)]).numpy()
                text = "belong to the label beside them"
                check.close(row[real], want, f"the points of an example of {call}", why=text)
        check.that(sorted(found[-1]) == list(range(n)), "show every example once in a pass")
    return found


def orders(batch_size, seed, passes):
    """Those of a new loader."""
    made = loader(Clouds(pictures_of, names_of), batch_size, seed)
    return check.plain(seen_in(made, batch_size, seed, passes), "loader(dataset, batch_size, seed)")


plain = check.answer(list, loader(Clouds(pictures_of, names_of), 4), call="loader(dataset, 4)")
why = "keep the order of the data set where no seed is given"
check.equal(
    [int(name) for b in plain for name in b[2]], names_of.tolist(), "loader(ds, 4)", why=why
)
one, two = (int(seed) for seed in rng.choice(10_000, size=2, replace=False))
state = torch.random.get_rng_state()
torch.manual_seed(1)
once = orders(4, one, 3)
torch.manual_seed(2)
before = torch.random.get_rng_state()
again = orders(4, one, 3)
moved = not torch.equal(before, torch.random.get_rng_state())
torch.random.set_rng_state(state)
check.that(
    once == again, "give the same orders for the same seed, whatever the global generator is"
)
check.that(not moved, "leave torch's global generator where it was")
check.that(once[0] != once[1] and once[1] != once[2], "give another order in each pass")
check.that(orders(4, two, 1) != once[:1], "give other orders for another seed")
check.that(once[0] != names_of.tolist(), "shuffle where a seed is given")
check.that(orders(11, 0, 1)[0] != names_of.tolist(), "take 0 for a seed like others")
first = loader(Clouds(pictures_of, names_of), 4, one)
second = loader(Clouds(pictures_of, names_of), 4, two)
seen_in(second, 4, two, 1)
late = check.plain(seen_in(first, 4, one, 2), "loader(dataset, 4, seed)")
check.that(late == once[:2], "be undisturbed by other loaders")
### END HIDDEN TESTS

# %% mutant="collate" why="labels in a list"
# - return padded, mask, torch.tensor(labels)
# + return padded, mask, labels

# %% mutant="collate" why="one place at least"
# - padded = first.new_zeros(len(sequences), int(lengths.max()), *first.shape[1:])
# + padded = first.new_zeros(len(sequences), max(1, int(lengths.max())), *first.shape[1:])

# %% mutant="collate" why="makes all clouds at once"
# - self.pictures, self.labels = pictures, labels
# + self.pictures, self.labels = pictures, labels
# + self.clouds = [cloud(picture) for picture in pictures]
# - return cloud(self.pictures[i]), int(self.labels[i])
# + return self.clouds[i], int(self.labels[i])

# %% mutant="collate" why="counts labels, not pictures"
# - return len(self.pictures)
# + return len(set(self.labels.tolist()))

# %% mutant="collate" why="tells padding from data by its value"
# - mask = torch.arange(padded.shape[1]) < lengths[:, None]
# + mask = padded.flatten(2).any(dim=2) if padded.ndim > 2 else padded != 0

# %% mutant="collate" why="pads with a real value: the last one, repeated"
# - padded[i, : len(sequence)] = sequence
# + padded[i, : len(sequence)] = sequence
# + padded[i, len(sequence) :] = sequence[-1] if len(sequence) else 0

# %% mutant="collate" why="pads in front"
# - padded[i, : len(sequence)] = sequence
# + padded[i, padded.shape[1] - len(sequence) :] = sequence

# %% mutant="collate" why="cuts to the shortest"
# - padded = first.new_zeros(len(sequences), int(lengths.max()), *first.shape[1:])
# - for i, sequence in enumerate(sequences):
# -     padded[i, : len(sequence)] = sequence
# + padded = torch.stack([s[: int(lengths.min())] for s in sequences])

# %% mutant="collate" why="the mask says where padding is"
# - mask = torch.arange(padded.shape[1]) < lengths[:, None]
# + mask = torch.arange(padded.shape[1]) >= lengths[:, None]

# %% mutant="collate" why="a mask one too long"
# - mask = torch.arange(padded.shape[1]) < lengths[:, None]
# + mask = torch.arange(padded.shape[1]) <= lengths[:, None]

# %% mutant="collate" why="everything in float32"
# - padded = first.new_zeros(len(sequences), int(lengths.max()), *first.shape[1:])
# + padded = torch.zeros(len(sequences), int(lengths.max()), *first.shape[1:])

# %% mutant="collate" why="sorts by length and loses the labels"
# - sequences, labels = [s for s, _ in examples], [label for _, label in examples]
# + sequences, labels = [s for s, _ in examples], [label for _, label in examples]
# + sequences = sorted(sequences, key=len, reverse=True)

# %% mutant="collate" why="a global seed"
# - generator = torch.Generator().manual_seed(seed)
# - return DataLoader(dataset, batch_size, shuffle=True, generator=generator, collate_fn=collate)
# + torch.manual_seed(seed)
# + return DataLoader(dataset, batch_size, shuffle=True, collate_fn=collate)

# %% mutant="collate" why="a seed of 0 is none"
# - if seed is None:
# + if not seed:

# %% mutant="collate" why="the same order in each pass"
# - return DataLoader(dataset, batch_size, shuffle=True, generator=generator, collate_fn=collate)
# + order = torch.randperm(len(dataset), generator=generator).tolist()
# + return DataLoader(dataset, batch_size, sampler=order, collate_fn=collate)

# %% mutant="collate" why="drops the last, smaller batch"
# - return DataLoader(dataset, batch_size, shuffle=True, generator=generator, collate_fn=collate)
# + return DataLoader(dataset, batch_size, shuffle=True, generator=generator, collate_fn=collate, drop_last=True)

# %% mutant="collate" why="one generator for all loaders"
# - generator = torch.Generator().manual_seed(seed)
# + generator = loader.__dict__.setdefault("generator", torch.Generator()).manual_seed(seed)

# %% mutant="collate" why="shuffles without a seed, too"
# - return DataLoader(dataset, batch_size, collate_fn=collate)
# + return DataLoader(dataset, batch_size, shuffle=True, collate_fn=collate)


# %% alternative="collate" why="torch's own padding; a list instead of a tuple"
class Clouds(Dataset):
    def __init__(self, pictures, labels):
        self.everything = list(zip(pictures, labels.tolist(), strict=True))

    def __len__(self):
        return len(self.everything)

    def __getitem__(self, i):
        picture, label = self.everything[i]
        return [cloud(picture), label]


def collate(examples):
    sequences = [s for s, _ in examples]
    padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    mask = torch.zeros(padded.shape[:2], dtype=torch.bool)
    for i, s in enumerate(sequences):
        mask[i, : s.shape[0]] = True
    return [padded, mask, torch.as_tensor([y for _, y in examples], dtype=torch.long)]


def loader(dataset, batch_size, seed=None):
    options = {"batch_size": batch_size, "collate_fn": collate}
    if seed is not None:
        own = torch.Generator()
        own.manual_seed(seed)
        options["sampler"] = torch.utils.data.RandomSampler(dataset, generator=own)
        options["generator"] = torch.Generator()
    return DataLoader(dataset, **options)


# %%
train_set, test_set = (
    Clouds(pictures["train"], labels["train"]),
    Clouds(pictures["test"], labels["test"]),
)
padded, mask, digits = next(iter(loader(train_set, 8, seed=3)))
week02.clouds(padded, mask, digits)
plots.show(
    "Above: eight digits as clouds of points, darker where there is more ink. Below: the mask of the "
    "batch, a row for each digit, dark where a point is real; rows end at different lengths."
)
lengths = np.array([len(train_set[i][0]) for i in range(200)])
print(f"points in a digit: {lengths.min()} to {lengths.max()}")
print(f"share of padding in this batch: {1 - float(mask.float().mean()):.0%}")


# %% [markdown]
# **A network for clouds.** The order of the points means nothing, so the network must not depend on it: the same small network looks at each point, then the maximum over all *real* points is taken, then a second network decides (Qi et al., [PointNet](https://arxiv.org/abs/1612.00593), 2017). What happens if somebody forgets the mask? Then a digit's answer depends on who else is in its batch.

# %% [markdown] lang="ru"
# **Сеть для облаков.** Порядок точек ничего не значит, и сеть не должна от него зависеть: одна и та же маленькая сеть смотрит на каждую точку, затем берётся максимум по всем *настоящим* точкам, затем решает вторая сеть (Qi и др., [PointNet](https://arxiv.org/abs/1612.00593), 2017). Что будет, если забыть маску? Ответ для цифры станет зависеть от того, кто ещё попал в её батч.


# %%
class PointNetwork(nn.Module):
    """Points (n, k, 3) and their mask (n, k) -> logits (n, 10), whatever the order of the points."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.point = nn.Sequential(
            nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, points: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen = self.point(2 * points - 1).masked_fill(~mask[..., None], -math.inf)
        return self.head(seen.amax(dim=1))


torch.manual_seed(0)
network = PointNetwork()
example = train_set[0]
with torch.no_grad():
    for name, use in {"with the mask": True, "without it": False}.items():
        answers = []
        for company in ([], [train_set[i] for i in range(1, 30)]):
            points, real, _ = collate([example, *company])
            answers.append(network(points, real if use else torch.ones_like(real))[0])
        change = float((answers[0] - answers[1]).abs().max())
        print(f"{name:14} the answer changes in company by {change:.4f}")

# %% [markdown]
# ## 4. A loop that is right
# {{task:train_epoch}}
#
# PyTorch has no `fit`: the loop is yours, six lines of which each can go wrong in silence. In what order? Forward; loss; `zero_grad`; `backward`; whatever is to happen between gradient and step (section 5); `step`; then the scheduler. And afterwards: **what is the mean loss?** The last batch is smaller, so a mean of the batches' means counts its examples too much; weigh each by its size.
#
# A batch is `(*inputs, y)`: the model is called as `model(*inputs)`, the loss as `loss_fn(output, y)`, which is the mean over the batch of `len(y)` examples. `evaluate` is the same without learning: in eval mode, without gradients; afterwards `model.training` is what it was, and the gradients of the parameters are, too.

# %% [markdown] lang="ru"
# ## 4. Цикл без ошибок
# {{task:train_epoch}}
#
# В PyTorch нет `fit`: цикл пишете вы, и каждая из его шести строк может незаметно сломаться. Порядок такой: прямой проход; потери; `zero_grad`; `backward`; то, что должно случиться между градиентом и шагом (раздел 5); `step`; затем планировщик. И в конце: **что такое средние потери?** Последний батч меньше, поэтому среднее от средних по батчам учитывает его примеры слишком сильно; взвесьте каждый батч его размером.
#
# Батч — это `(*inputs, y)`: модель вызывают как `model(*inputs)`, потери — как `loss_fn(output, y)`, это среднее по батчу из `len(y)` примеров. `evaluate` — то же самое без обучения: в режиме eval, без градиентов; после вызова `model.training` такой же, каким был, и градиенты параметров тоже.


# %% solution="train_epoch"
def train_epoch(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, ...]],
    loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    before_step: Callable[[], None] | None = None,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> float:
    """One pass over the batches, in training mode; each batch takes one step by its own gradients.

    before_step, if given, is called between backward and step; scheduler.step() after each step.
    batches may be an iterator without a length. Returns the mean loss over all examples, a float,
    each as it was before the step of its batch.
    """
    ### BEGIN SOLUTION
    model.train()
    total, count = 0.0, 0
    for *inputs, y in batches:
        loss = loss_fn(model(*inputs), y)
        optimizer.zero_grad()
        loss.backward()
        if before_step is not None:
            before_step()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        total, count = total + len(y) * loss.item(), count + len(y)
    return total / count
    ### END SOLUTION


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, ...]],
    loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> float:
    """The mean loss over all examples, a float, in eval mode and without gradients.

    Nothing of the model changes, and afterwards it is in the mode in which it was.
    """
    ### BEGIN SOLUTION
    before = model.training
    model.eval()
    total, examples = 0.0, 0
    with torch.no_grad():
        for *inputs, y in batches:
            total += len(y) * loss_fn(model(*inputs), y).item()
            examples += len(y)
    model.train(before)
    return total / examples
    ### END SOLUTION


# %% test="train_epoch" points=0.5 difficulty=3 minutes=20
class Slope(nn.Module):
    """y = weight * x, and notes of what happens."""

    def __init__(self, notes):
        super().__init__()
        self.weight, self.notes = nn.Parameter(torch.tensor(1.0)), notes

    def forward(self, x):
        self.notes.append("training" if self.training else "eval")
        return self.weight * x


notes = []
slope = Slope(notes).eval()
batches = [(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0])), (torch.tensor([2.0]), torch.tensor([0.0]))]  # fmt: skip
sgd = torch.optim.SGD(slope.parameters(), lr=0.1)
given = check.answer(
    train_epoch, slope, batches, F.mse_loss, sgd, call="train_epoch(...)",
    before_step=lambda: notes.append("before_step"), changes=True,
)  # fmt: skip
check.equal(notes, ["training", "before_step"] * 2, "what happens in two batches")
# 1 -> 1 - 0.1 * 5 = 0.5 -> 0.5 - 0.1 * 4 = 0.1; losses 2.5 (of two examples) and 1 (of one)
check.close(slope.weight, 0.1, "the weight after two steps", why="use each batch's own gradient")
check.close(given, 2.0, "the mean loss of the three examples", why="weigh a batch by its size")
given = check.answer(evaluate, slope, batches, F.mse_loss, call="evaluate(...)", changes=True)
check.close(given, 0.03, "the mean loss that evaluate gives", why="weigh a batch by its size")
check.equal(notes[-2:], ["eval", "eval"], "the modes in evaluate")
check.that(slope.training, "leave the model in training mode, in which it was before evaluate")
### BEGIN HIDDEN TESTS
rng = check.rng("train_epoch")


class Recorded(nn.Module):
    """Two inputs, dropout, batch norm and a dense layer; notes modes and whether gradients are on."""

    def __init__(self, events):
        super().__init__()
        self.norm, self.drop, self.dense = nn.BatchNorm1d(3), nn.Dropout(0.0), nn.Linear(3, 2)
        self.events = events

    def forward(self, a, b=None):
        modes = {part.training for part in self.modules()}
        self.events.append(("forward", len(a), *modes, torch.is_grad_enabled()))
        x = self.norm(a)
        return self.dense(self.drop(x if b is None else x * b))


class RecordedSGD(torch.optim.SGD):
    """Notes its steps, with the rate."""

    events = None

    def step(self, closure=None):
        self.events.append(("step", self.param_groups[0]["lr"]))
        return super().step(closure)


class RecordedScheduler:
    """Halves the rate at each step."""

    def __init__(self, optimizer, events):
        self.optimizer, self.events = optimizer, events

    def step(self):
        self.optimizer.param_groups[0]["lr"] /= 2
        self.events.append(("scheduler",))


def made_batches(sizes, two):
    """Batches of these sizes, of one input or two; the examples get harder from batch to batch."""
    made = []
    for number, n in enumerate(sizes):
        a, b = (torch.from_numpy(rng.normal(size=(n, 3))).float() for _ in range(2))
        y = torch.from_numpy((1 + number) * rng.normal(size=(n, 2))).float()
        made.append((a, b, y) if two else (a, y))
    return made


def by_hand(model, batches, lr, halves):
    """Plain gradient steps: the losses, the gradients; the model learns."""
    losses, gradients = [], []
    model.train()
    for *inputs, y in batches:
        loss = ((model(*inputs) - y) ** 2).mean()
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), slopes, strict=True):
                p -= lr * g
        losses.append(loss.item())
        gradients.append([g.numpy() for g in slopes])
        lr = lr / 2 if halves else lr
    return losses, gradients


def judge_train(sizes, why, two=False, hook=False, halves=False):
    """An epoch against plain steps, and the order of what happened."""
    batches, events, lr = made_batches(sizes, two), [], float(rng.uniform(0.05, 0.2))
    torch.manual_seed(int(rng.integers(1_000_000)))
    model = Recorded(events)
    mirror = copy.deepcopy(model)
    losses, gradients = by_hand(mirror, batches, lr, halves)
    events.clear()
    model.events = events
    model.eval()
    optimizer = RecordedSGD(model.parameters(), lr=lr)
    optimizer.events, seen, options = events, [], {}
    if hook:

        def look():
            events.append(("before_step",))
            seen.append([p.grad.numpy().copy() for p in model.parameters()])

        options["before_step"] = look
    if halves:
        options["scheduler"] = RecordedScheduler(optimizer, events)

    def mean_square(output, y):
        events.append(("loss", len(y)))
        return ((output - y) ** 2).mean()

    call = f"train_epoch on batches of {sizes}"
    given = check.answer(
        train_epoch,
        model,
        iter(batches),
        mean_square,
        optimizer,
        call=call,
        changes=True,
        **options,
    )
    want = []
    for number, n in enumerate(sizes):
        want += [("forward", n, True, True), ("loss", n)]
        want += [("before_step",)] if hook else []
        want += [("step", lr / 2**number if halves else lr)]
        want += [("scheduler",)] if halves else []
    order = [event[0] for event in events]
    check.equal(
        order, [event[0] for event in want], f"what happens in {call}", why="keep the order"
    )
    check.equal(events, want, f"modes, sizes and rates in {call}", why="be in training mode")
    for one, other in zip(seen, gradients, strict=hook):
        for g, h in zip(one, other, strict=True):
            what = f"the gradients that before_step sees in {call}"
            check.close(g, h, what, rtol=1e-3, atol=1e-5, why="be those of this batch alone")
    for name, value in mirror.state_dict().items():
        found = check.parameters_of(model, call)[name]
        check.close(found, value, f"{name} after {call}", rtol=1e-3, atol=1e-5, why=why)
    mean = float(np.average(losses, weights=sizes))
    text = "be the mean over the examples, as they were before each step"
    check.close(given, mean, f"the loss of {call}", rtol=1e-4, why=text)
    check.equal(check.kind_of(given), "float", f"the kind of the loss of {call}", why="be a float")


judge_train([4], "take a step")
judge_train([3, 5, 4], "take a step a batch, by its own gradients")
judge_train([6, 6, 2], "take a step for a smaller batch, too")
judge_train([4, 3], "give the model all inputs of a batch", two=True)
judge_train([4, 5, 2], "take a step a batch", hook=True)
judge_train([5, 4, 2], "let the scheduler step after each step", halves=True)
judge_train([7, 2, 5], "do all of this together", two=True, hook=True, halves=True)
# What the losses above can't tell: which argument is which, and what counts an example.
torch.manual_seed(int(rng.integers(1_000_000)))
dense, x = nn.Linear(3, 4), torch.from_numpy(rng.normal(size=(6, 3))).float()
y, why = torch.arange(6) % 4, "call loss_fn(output, y), in this order"
want = F.cross_entropy(dense(x), y).item()
call = "evaluate with classes and cross-entropy"
given = check.answer(evaluate, dense, [(x, y)], F.cross_entropy, call=call, changes=True)
check.close(given, want, call, rtol=1e-4, why=why)
still = torch.optim.SGD(dense.parameters(), lr=0.0)
call = "train_epoch with classes and cross-entropy"
given = check.answer(train_epoch, dense, [(x, y)], F.cross_entropy, still, call=call, changes=True)
check.close(given, want, call, rtol=1e-4, why=why)
turned = [torch.from_numpy(rng.normal(size=(k, n, 3))).float() for k, n in ((5, 2), (2, 4))]
wanted = [
    torch.from_numpy((1 + 9 * i) * rng.normal(size=(x.shape[1], 4))).float()
    for i, x in enumerate(turned)
]
losses = [F.mse_loss(dense(x).mean(dim=0), y).item() for x, y in zip(turned, wanted, strict=True)]


def of_mean(output, y):
    """The loss of a sequence's mean, where the first axis is time."""
    return F.mse_loss(output.mean(dim=0), y)


why = "weigh a batch by len(y)"
want = float(np.average(losses, weights=[2, 4]))
batches = list(zip(turned, wanted, strict=True))
call = "evaluate, time before examples"
given = check.answer(evaluate, dense, batches, of_mean, call=call, changes=True)
check.close(given, want, call, rtol=1e-4, why=why)
call = "train_epoch, time before examples"
given = check.answer(train_epoch, dense, batches, of_mean, still, call=call, changes=True)
check.close(given, want, call, rtol=1e-4, why=why)

# A gradient that was there before is none of this batch's; evaluate leaves gradients and flags alone.
weight = Slope([])
sgd = torch.optim.SGD(weight.parameters(), lr=0.1)
weight.weight.grad = torch.tensor(100.0)
batches = [(torch.tensor([1.0]), torch.tensor([0.0]))]
check.answer(train_epoch, weight, batches, F.mse_loss, sgd, call="train_epoch(...)", changes=True)
why = "begin with zero_grad: what was there before is not of this batch"
check.close(weight.weight, 0.8, "the weight after a step, with an old gradient before", why=why)
frozen = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4))
frozen[0].requires_grad_(False)
frozen[1].weight.grad = torch.full((4, 4), 3.0)
flags = [p.requires_grad for p in frozen.parameters()]
call = "evaluate of a network with a frozen layer"
check.answer(evaluate, frozen, [(x, y)], F.cross_entropy, call=call, changes=True)
left = [p.requires_grad for p in frozen.parameters()]
check.equal(left, flags, f"requires_grad after {call}", why="be as before")
kept = frozen[1].weight.grad
check.that(kept is not None and bool((kept == 3).all()), f"leave gradients as they were: {call}")
for sizes, two, mode in [([4], False, True), ([5, 5, 2], True, True), ([3, 6], False, False)]:
    batches, events = made_batches(sizes, two), []
    torch.manual_seed(int(rng.integers(1_000_000)))
    model = Recorded(events)
    model.norm.running_mean.uniform_(-1, 1)
    model.norm.running_var.uniform_(0.5, 2)
    mirror = copy.deepcopy(model).eval()
    losses = [((mirror(*inputs) - y) ** 2).mean().item() for *inputs, y in batches]
    before, call = check.parameters_of(model, "model"), f"evaluate on batches of {sizes}"
    events.clear()
    model.events = events
    model.train(mode)
    given = check.answer(evaluate, model, iter(batches), F.mse_loss, call=call, changes=True)
    want = [("forward", n, False, False) for n in sizes]
    check.equal(
        events, want, f"sizes, modes and gradients in {call}", why="be eval, without gradients"
    )
    check.close(given, float(np.average(losses, weights=sizes)), call, rtol=1e-4, why="be the mean")
    check.equal(check.kind_of(given), "float", f"the kind of {call}", why="be a float")
    for name, value in check.parameters_of(model, call).items():
        check.equal(value, before[name], f"{name} after {call}", why="stay as it was")
    modes = {part.training for part in model.modules()}
    check.that(modes == {mode}, "leave the model in the mode in which it was")
    check.that(torch.is_grad_enabled(), "leave gradients switched on afterwards")
### END HIDDEN TESTS

# %% mutant="train_epoch" why="gradients pile up"
# - optimizer.zero_grad()

# %% mutant="train_epoch" why="the loss gets its arguments the wrong way round"
# - loss = loss_fn(model(*inputs), y)
# + loss = loss_fn(y, model(*inputs))

# %% mutant="train_epoch" why="zeroes after the step alone"
# - optimizer.zero_grad()
# - loss.backward()
# + loss.backward()
# - optimizer.step()
# + optimizer.step()
# + optimizer.zero_grad()

# %% mutant="train_epoch" why="evaluate freezes the model"
# - model.eval()
# + model.eval().requires_grad_(False)

# %% mutant="train_epoch" why="evaluate thaws what was frozen"
# - model.train(before)
# + model.train(before).requires_grad_(True)

# %% mutant="train_epoch" why="evaluate wipes the gradients"
# - model.eval()
# + model.eval().zero_grad()

# %% mutant="train_epoch" why="weighs by the length of the first input"
# - total, count = total + len(y) * loss.item(), count + len(y)
# + total, count = total + len(inputs[0]) * loss.item(), count + len(inputs[0])

# %% mutant="train_epoch" why="a mean of the batches' means"
# - total, count = total + len(y) * loss.item(), count + len(y)
# + total, count = total + loss.item(), count + 1

# %% mutant="train_epoch" why="never switches to training mode"
# - model.train()

# %% mutant="train_epoch" why="tells the model of the mode, not its layers"
# - model.train()
# + model.training = True

# %% mutant="train_epoch" why="evaluates in training mode"
# - model.eval()

# %% mutant="train_epoch" why="eval mode left on"
# - model.train(before)

# %% mutant="train_epoch" why="training mode afterwards, whatever was before"
# - model.train(before)
# + model.train()

# %% mutant="train_epoch" why="evaluates with gradients on"
# - with torch.no_grad():
# + with torch.enable_grad():

# %% mutant="train_epoch" why="the scheduler steps first"
# - optimizer.step()
# - if scheduler is not None:
# -     scheduler.step()
# + if scheduler is not None:
# +     scheduler.step()
# + optimizer.step()

# %% mutant="train_epoch" why="the scheduler steps once an epoch"
# - if scheduler is not None:
# -     scheduler.step()
# - total, count = total + len(y) * loss.item(), count + len(y)
# + total, count = total + len(y) * loss.item(), count + len(y)
# - return total / count
# + if scheduler is not None:
# +     scheduler.step()
# + return total / count

# %% mutant="train_epoch" why="before_step comes after the step"
# - if before_step is not None:
# -     before_step()
# - optimizer.step()
# + optimizer.step()
# + if before_step is not None:
# +     before_step()

# %% mutant="train_epoch" why="before_step is forgotten"
# - if before_step is not None:
# -     before_step()

# %% mutant="train_epoch" why="only the first input"
# - loss = loss_fn(model(*inputs), y)
# + loss = loss_fn(model(inputs[0]), y)

# %% mutant="train_epoch" why="the loss after the step"
# - total, count = total + len(y) * loss.item(), count + len(y)
# + total, count = total + len(y) * loss_fn(model(*inputs), y).item(), count + len(y)

# %% mutant="train_epoch" why="evaluate: a mean of the batches' means"
# - total += len(y) * loss_fn(model(*inputs), y).item()
# - examples += len(y)
# + total += loss_fn(model(*inputs), y).item()
# + examples += 1

# %% mutant="train_epoch" why="the sum, not the mean"
# - return total / count
# + return total

# %% mutant="train_epoch" why="keeps the graph of every batch: a tensor"
# - total, count = total + len(y) * loss.item(), count + len(y)
# + total, count = total + len(y) * loss, count + len(y)


# %% alternative="train_epoch" why="zero_grad first, by the model; losses in lists; inference mode"
def train_epoch(model, batches, loss_fn, optimizer, before_step=None, scheduler=None):
    losses, sizes = [], []
    model.train(True)
    for batch in batches:
        model.zero_grad()
        y = batch[-1]
        loss = loss_fn(model(*batch[:-1]), y)
        loss.backward()
        if before_step:
            before_step()
        optimizer.step()
        if scheduler:
            scheduler.step()
        losses.append(loss.detach())
        sizes.append(y.shape[0])
    return sum(float(a) * n for a, n in zip(losses, sizes, strict=True)) / sum(sizes)


@torch.inference_mode()
def evaluate(model, batches, loss_fn):
    was = model.training
    model.eval()
    try:
        pairs = [(float(loss_fn(model(*i), y)), len(y)) for *i, y in batches]
    finally:
        model.train(was)
    return float(np.average([a for a, _ in pairs], weights=[n for _, n in pairs]))


# %% [markdown]
# With it, `fit` is two lines a pass: train, evaluate. Here it teaches the network for clouds.

# %% [markdown] lang="ru"
# Теперь `fit` — две строки на проход: обучить, измерить. Здесь он обучает сеть для облаков.


# %%
def fit(model, train, valid, loss_fn, optimizer, epochs, **options) -> dict[str, list[float]]:
    """Some passes over train; the mean loss on both sets after each."""
    losses = {"training": [], "validation": []}
    for _ in range(epochs):
        losses["training"].append(train_epoch(model, train, loss_fn, optimizer, **options))
        losses["validation"].append(evaluate(model, valid, loss_fn))
    return losses


def accuracy(model: nn.Module, batches: Iterable[tuple[torch.Tensor, ...]]) -> float:
    """The share of right answers, by the same loop."""
    return evaluate(model, batches, lambda logits, y: (logits.argmax(dim=1) == y).float().mean())


torch.manual_seed(0)
network = PointNetwork()
optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
test_batches = loader(test_set, 256)
losses = fit(
    network, loader(train_set, 64, seed=0), test_batches, F.cross_entropy, optimizer, settings["epochs"]
)  # fmt: skip
plots.curves(losses, "A network that reads clouds of points", "pass", "cross-entropy")
plots.show("Training and validation loss of the network for clouds fall together, pass by pass.")
print(
    f"accuracy on digits that it has not seen: {accuracy(network, test_batches):.3f}; by chance 0.100"
)

# %% [markdown]
# ## 5. The first steps are the dangerous ones
# {{task:clip_and_warmup}}
#
# At the start weights are random, gradients large and pointing anywhere; at the end a large step throws the network out of the valley that it has found. Two tools, in use in nearly every large training:
#
# **[Clipping](glossary:gradient-clipping)** (Pascanu et al., [2013](https://arxiv.org/abs/1211.5063)). Take all gradients as one long vector $g$. Where it is longer than $c$, shorten it and keep its direction: $g \leftarrow g \cdot \min\left(1, \frac{c}{\lVert g \rVert}\right)$. One factor for all parameters: cutting each tensor by itself would turn $g$. Write it without torch's `clip_grad_norm_`, which is the judge.
#
# **[Warm-up](glossary:warmup) and cosine** ([Loshchilov & Hutter, 2017](https://arxiv.org/abs/1608.03983)). The rate is multiplied by a factor that grows to 1 during the first $W$ of $T$ steps and then falls along half a cosine to a floor $m$; $t = 0, 1, \dots$ counts steps:
#
# $$f(t) = \begin{cases} \dfrac{t + 1}{W} & t < W \\[2mm] m + (1 - m)\, \dfrac{1 + \cos\left(\pi\, \frac{t - W}{T - W}\right)}{2} & W \le t \le T \\[2mm] m & t > T \end{cases}$$
#
# Step 0 already moves, step $W - 1$ has the full rate, and so has step $W$.

# %% [markdown] lang="ru"
# ## 5. Опаснее всего первые шаги
# {{task:clip_and_warmup}}
#
# В начале веса случайны, градиенты велики и смотрят куда попало; в конце большой шаг выбрасывает сеть из найденной долины. Два инструмента, без которых не обходится почти ни одно большое обучение:
#
# **[Обрезка градиента](glossary:gradient-clipping)** (gradient clipping; Pascanu и др., [2013](https://arxiv.org/abs/1211.5063)). Возьмите все градиенты как один длинный вектор $g$. Если он длиннее $c$, укоротите его, сохранив направление: $g \leftarrow g \cdot \min\left(1, \frac{c}{\lVert g \rVert}\right)$. Множитель один на все параметры: если резать каждый тензор отдельно, $g$ повернётся. Напишите её без `clip_grad_norm_` из torch: она здесь судья.
#
# **[Разогрев](glossary:warmup) (warm-up) и косинус** ([Loshchilov, Hutter, 2017](https://arxiv.org/abs/1608.03983)). Шаг обучения (learning rate) умножают на множитель, который за первые $W$ из $T$ шагов вырастает до 1, а затем по половине косинуса спускается до уровня $m$; $t = 0, 1, \dots$ — номер итерации:
#
# $$f(t) = \begin{cases} \dfrac{t + 1}{W} & t < W \\[2mm] m + (1 - m)\, \dfrac{1 + \cos\left(\pi\, \frac{t - W}{T - W}\right)}{2} & W \le t \le T \\[2mm] m & t > T \end{cases}$$
#
# Уже нулевой шаг что-то меняет, у шага $W - 1$ множитель полный, у шага $W$ тоже.


# %% solution="clip_and_warmup"
def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Shorten all gradients together to a common norm of max_norm, where it is larger.

    Afterwards each p.grad is the clipped one; gradients that are all 0 stay 0. Parameters whose grad
    is None are left out; the parameters themselves do not change. max_norm may be inf: nothing is
    clipped. Returns the common norm before, a float or a tensor of one number; 0 where there is no
    gradient.
    """
    ### BEGIN SOLUTION
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
    if norm > max_norm:
        for g in gradients:
            g *= max_norm / norm
    return norm
    ### END SOLUTION


def warmup_cosine(step: int, warmup: int, total: int, floor: float = 0.0) -> float:
    """The factor f(step) of the rate, 0 <= warmup < total. warmup = 0: cosine from the start.

    warmup_cosine(0, 4, 12) -> 0.25;  (3, 4, 12) -> 1;  (8, 4, 12) -> 0.5;  (12, 4, 12) -> 0
    """
    ### BEGIN SOLUTION
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / (total - warmup))
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
    ### END SOLUTION


# %% test="clip_and_warmup" points=0.5 difficulty=2 minutes=20
pair = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(2))]
pair[0].grad, pair[1].grad = torch.tensor([6.0]), torch.tensor([8.0, 0.0])
call = "clip_gradients(parameters, 5) of gradients [6], [8, 0]"
norm = check.answer(clip_gradients, pair, 5.0, call=call, changes=True)
check.close(norm, 10.0, call, why="return the common norm before")
check.close(pair[0].grad, [3.0], f"the first gradient after {call}", rtol=1e-4)
check.close(pair[1].grad, [4.0, 0.0], f"the second gradient after {call}", rtol=1e-4)
for step, want in [(0, 0.25), (3, 1.0), (8, 0.5), (12, 0.0)]:
    call = f"warmup_cosine({step}, 4, 12)"
    check.close(check.answer(warmup_cosine, step, 4, 12, call=call), want, call, atol=1e-9)
### BEGIN HIDDEN TESTS
rng = check.rng("clip_and_warmup")


def judge_clip(shapes, max_norm, why, scale=1.0, without=(), dtype=torch.float32, kind=list):
    """Gradients of these shapes, against torch's own clipping."""
    ours = [nn.Parameter(torch.tensor(rng.normal(size=s), dtype=dtype)) for s in shapes]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        if i not in without:
            p.grad = torch.tensor(scale * rng.normal(size=p.shape), dtype=dtype)
            q.grad = p.grad.clone()
    want = float(nn.utils.clip_grad_norm_(theirs, max_norm))
    call = f"clip_gradients of shapes {shapes}, max_norm {max_norm}"
    with week02.without_clipping():
        given = check.answer(clip_gradients, kind(ours), max_norm, call=call, changes=True)
    check.close(given, want, call, rtol=1e-4, why="return the common norm before")
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        if i in without:
            check.that(p.grad is None, "leave a parameter without a gradient as it is")
            continue
        check.that(p.grad is not None, "leave each gradient in p.grad")
        check.close(p.grad, q.grad, f"gradient {i} after {call}", rtol=1e-4, atol=1e-9, why=why)
        check.that(p.grad.dtype == dtype, f"keep gradients in {dtype}")
        check.equal(p, q.detach().numpy(), f"parameter {i} after {call}", why="stay as it was")


together = "be shortened by one factor for all"
judge_clip([(5,)], 0.5, together)
judge_clip([(2, 3), (4,), (1, 2, 2)], 1.0, together)
judge_clip([(6, 3), (2,)], 0.01, together, scale=100)
judge_clip([(2, 3), (4,)], 1.0, "be shortened by the norm of all that have one", without=(0,))
judge_clip(
    [(3,), (2, 2), (2,)], 1.0, "be shortened by the norm of all that have one", without=(1, 2)
)
judge_clip([(2, 3), (4,)], math.inf, "stay as they are where max_norm is inf")
judge_clip([(2, 3), (4,)], 100.0, "stay as they are where they are short enough")
judge_clip([(2, 3), ()], 0.3, "take a parameter that is one number, too")
judge_clip([(2, 3), (4,)], 0.7, "take an iterator, such as model.parameters()", kind=iter)
judge_clip([(3, 3), (2,)], 0.5, together, dtype=torch.float64)
call = "clip_gradients where no parameter has a gradient"
norm = check.answer(clip_gradients, [nn.Parameter(torch.ones(3))], 1.0, call=call, changes=True)
check.close(norm, 0.0, call, why="return the norm of nothing, 0")
still = nn.Parameter(torch.ones(3))
still.grad, call = torch.zeros(3), "clip_gradients of gradients that are 0"
norm = check.answer(clip_gradients, [still], 1.0, call=call, changes=True)
check.close(norm, 0.0, call, why="return the norm, 0")
check.close(still.grad, np.zeros(3), f"the gradient after {call}", why="stay 0, and be no NaN")


def by_formula(t, warmup, total, floor):
    if t < warmup:
        return (t + 1) / warmup
    if t > total:
        return floor
    return floor + (1 - floor) * 0.5 * (1 + np.cos(np.pi * (t - warmup) / (total - warmup)))


for warmup, total in [(1, 5), (4, 12), (10, 11), (7, 100), (3, 4)]:
    for t in [*range(min(total + 3, 20)), warmup - 1, warmup, total - 1, total, total + 50]:
        call, why = f"warmup_cosine({t}, {warmup}, {total})", "agree with the formula"
        given = check.answer(warmup_cosine, t, warmup, total, call=call)
        check.close(given, by_formula(t, warmup, total, 0.0), call, rtol=1e-6, atol=1e-9, why=why)
for warmup, total, floor in [(2, 9, 0.1), (5, 20, 0.5), (1, 3, 0.01), (0, 6, 0.2)]:
    for t in range(total + 4):
        call = f"warmup_cosine({t}, {warmup}, {total}, floor={floor})"
        given = check.answer(warmup_cosine, t, warmup, total, call=call, floor=floor)
        why = (
            "climb to 1 in the warm-up, whatever the floor"
            if t < warmup
            else ("fall from 1 to the floor and stay there")
        )
        check.close(given, by_formula(t, warmup, total, floor), call, rtol=1e-6, atol=1e-9, why=why)
call = "warmup_cosine(0, 0, 8)"
given = check.answer(warmup_cosine, 0, 0, 8, call=call)
check.close(given, 1.0, call, why="begin with the full rate where there is no warm-up")
### END HIDDEN TESTS

# %% mutant="clip_and_warmup" why="stacks the norms: nothing to stack where no parameter has a gradient"
# - norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
# + norm = float(torch.stack([g.norm() for g in gradients]).norm())

# %% mutant="clip_and_warmup" why="clips each tensor by itself"
# - if norm > max_norm:
# -     for g in gradients:
# -         g *= max_norm / norm
# + for g in gradients:
# +     g *= min(1.0, max_norm / (float(g.norm()) + 1e-6))

# %% mutant="clip_and_warmup" why="lets torch do it"
# - gradients = [p.grad for p in parameters if p.grad is not None]
# + return float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))
# + gradients = [p.grad for p in parameters if p.grad is not None]

# %% mutant="clip_and_warmup" why="lengthens short gradients, too"
# - if norm > max_norm:
# -     for g in gradients:
# -         g *= max_norm / norm
# + for g in gradients:
# +     g *= max_norm / (norm + 1e-12)

# %% mutant="clip_and_warmup" why="clips values, not the norm"
# - for g in gradients:
# -     g *= max_norm / norm
# + for g in gradients:
# +     g.clamp_(-max_norm, max_norm)

# %% mutant="clip_and_warmup" why="returns the norm afterwards"
# - return norm
# + return min(norm, max_norm)

# %% mutant="clip_and_warmup" why="reads an iterator twice"
# - gradients = [p.grad for p in parameters if p.grad is not None]
# - norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
# + norm = math.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in parameters if p.grad is not None))
# + gradients = [p.grad for p in parameters if p.grad is not None]

# %% mutant="clip_and_warmup" why="scales the parameters"
# - gradients = [p.grad for p in parameters if p.grad is not None]
# + parameters = list(parameters)
# + gradients = [p.grad for p in parameters if p.grad is not None]
# - for g in gradients:
# -     g *= max_norm / norm
# + for p in parameters:
# +     p.data *= max_norm / norm

# %% mutant="clip_and_warmup" why="forgets the root"
# - norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
# + norm = sum(float((g.double() ** 2).sum()) for g in gradients)

# %% mutant="clip_and_warmup" why="clips copies"
# - g *= max_norm / norm
# + g = g * max_norm / norm

# %% mutant="clip_and_warmup" why="the first step does nothing"
# - return (step + 1) / warmup
# + return step / warmup

# %% mutant="clip_and_warmup" why="off by one at the end of the warm-up"
# - if step < warmup:
# + if step <= warmup:

# %% mutant="clip_and_warmup" why="forgets to count the cosine from the end of the warm-up"
# - progress = min(1.0, (step - warmup) / (total - warmup))
# + progress = min(1.0, step / total)

# %% mutant="clip_and_warmup" why="rises again after the end"
# - progress = min(1.0, (step - warmup) / (total - warmup))
# + progress = (step - warmup) / (total - warmup)

# %% mutant="clip_and_warmup" why="a cut-off instead of a floor"
# - return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
# + return max(floor, (1 + math.cos(math.pi * progress)) / 2)

# %% mutant="clip_and_warmup" why="the floor on top of 1"
# - return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
# + return floor + (1 + math.cos(math.pi * progress)) / 2

# %% mutant="clip_and_warmup" why="a straight line"
# - return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
# + return floor + (1 - floor) * (1 - progress)


# %% alternative="clip_and_warmup" why="tensors; a new gradient in place of the old"
def clip_gradients(parameters, max_norm):
    owners = [p for p in parameters if p.grad is not None]
    if not owners:
        return torch.zeros(())
    total = torch.stack([p.grad.norm() for p in owners]).norm()
    factor = torch.clamp(max_norm / (total + 1e-6), max=1.0)
    for p in owners:
        p.grad = p.grad * factor
    return total


def warmup_cosine(step, warmup, total, floor=0.0):
    if warmup > step:
        return 1 - (warmup - step - 1) / warmup
    if step >= total:
        return floor
    angle = np.pi * (step - warmup) / (total - warmup)
    return floor + (1 - floor) * np.cos(angle / 2) ** 2


# %% [markdown]
# **Four trainings** of the same network from the same start, with the same bold rate: stochastic gradient descent with momentum, rate 0.3. Only the two tools are switched on and off.

# %% [markdown] lang="ru"
# **Четыре обучения** одной и той же сети с одного и того же начала и с одним и тем же смелым шагом: стохастический градиентный спуск с импульсом, шаг 0,3. Включаются и выключаются только два инструмента.


# %%
def train_clouds(
    clip: bool, schedule: bool, seed: int = 0
) -> tuple[list[float], list[float], float, float]:
    """Validation losses by passes, norms of the gradient by steps, accuracy, share of dead units.

    A unit of the head is dead where none of 256 digits switches it on.
    """
    torch.manual_seed(seed)
    model = PointNetwork()
    train = loader(train_set, 64, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    steps, norms = settings["epochs"] * len(train), []

    def clip_and_note() -> None:
        norms.append(float(clip_gradients(model.parameters(), 1.0 if clip else math.inf)))

    def factor(step: int) -> float:
        return warmup_cosine(step, 40, steps) if schedule else 1.0

    options = {
        "before_step": clip_and_note,
        "scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, factor),
    }
    losses = fit(
        model, train, test_batches, F.cross_entropy, optimizer, settings["epochs"], **options
    )
    with torch.no_grad():
        points, real, _ = next(iter(test_batches))
        seen = model.point(2 * points - 1).masked_fill(~real[..., None], -math.inf).amax(dim=1)
        dead = (model.head[:2](seen) == 0).all(dim=0).float().mean()
    return losses["validation"], norms, accuracy(model, test_batches), float(dead)


names = {"nothing": (False, False), "warm-up and cosine": (False, True), "clipping": (True, False),
         "both": (True, True)}  # fmt: skip
results = {name: train_clouds(*tools) for name, tools in progress(names.items())}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
series = {f"{name}: {score:.0%} right": values for name, (values, _, score, _) in results.items()}
plots.curves(series, "Same network, same rate", "pass", "validation cross-entropy", ax=left)
norms = {name: results[name][1] for name in ("nothing", "both")}
plots.curves(norms, "Norm of the gradient, before clipping", "step", "norm", log_y=True, ax=right)
plots.show(
    "Left: validation loss of four trainings: without tools it stays at the level of guessing, "
    "with both it falls farthest. Right: the norm of the gradient, which dies without tools."
)
for name, (*_, dead) in results.items():
    print(f"{name:20} {dead:4.0%} of the head's units are dead")

# %% [markdown]
# Without tools the first few dozen steps kill the network: nearly all its ReLUs are pushed below zero for every input (look at the print), and the gradient has nothing left to pass through. They don't come back. Change the seed: the order of the other curves may change, the dead one stays dead, or nearly so. One run is a story, not a measurement. A smaller rate would live, too; then it takes longer. That is the trade which schedules are about.
#
# **A small zoo.** A [scheduler](glossary:scheduler) changes the rate of an optimiser each time its `step()` is called. [StepLR](glossary:steplr) and [ExponentialLR](glossary:exponentiallr) fall in stairs and smoothly; [ReduceLROnPlateau](glossary:reduceonplateau) looks at the validation loss and waits; [CosineAnnealingLR](glossary:cosineannealing) is what you wrote, without the warm-up. Two put others together: [ChainedScheduler](glossary:chainedscheduler) multiplies their factors, [SequentialLR](glossary:sequentiallr) takes one after the other.

# %% [markdown] lang="ru"
# Без инструментов сеть убивают первые же десятки шагов: почти все её ReLU уходят ниже нуля на любых входах (посмотрите на вывод ячейки), и градиенту не через что пройти. Назад они не возвращаются. Смените зерно: порядок остальных кривых может измениться, мёртвая сеть останется мёртвой или почти мёртвой. Один запуск — это история, а не измерение. С меньшим шагом сеть тоже выживет, но учиться будет дольше. Об этом выборе и идёт речь, когда составляют расписание.
#
# **Небольшой зоопарк.** [Планировщик](glossary:scheduler) (scheduler) меняет шаг оптимизатора при каждом вызове `step()`. [StepLR](glossary:steplr) и [ExponentialLR](glossary:exponentiallr) снижают его ступенями и плавно; [ReduceLROnPlateau](glossary:reduceonplateau) смотрит на валидационные потери и ждёт; [CosineAnnealingLR](glossary:cosineannealing) — то, что вы написали, но без разогрева. Ещё два собирают другие: [ChainedScheduler](glossary:chainedscheduler) перемножает их множители, [SequentialLR](glossary:sequentiallr) берёт их по очереди.

# %%
epochs = 60
schedule = torch.optim.lr_scheduler
zoo = {
    "StepLR": lambda o: schedule.StepLR(o, step_size=15, gamma=0.3),
    "ExponentialLR": lambda o: schedule.ExponentialLR(o, gamma=0.95),
    "ReduceLROnPlateau": lambda o: schedule.ReduceLROnPlateau(o, factor=0.3, patience=5),
    "CosineAnnealingLR": lambda o: schedule.CosineAnnealingLR(o, T_max=epochs),
    "ChainedScheduler": lambda o: schedule.ChainedScheduler(
        [schedule.ConstantLR(o, factor=0.3, total_iters=10), schedule.ExponentialLR(o, gamma=0.96)]
    ),
    "SequentialLR": lambda o: schedule.SequentialLR(
        o,
        [schedule.LinearLR(o, 0.05, total_iters=10), schedule.CosineAnnealingLR(o, epochs - 10)],
        milestones=[10],
    ),
}
# A validation loss that falls, rests, falls and rests: only ReduceLROnPlateau looks at it.
valid = [1 - 0.04 * min(i, 12) - 0.03 * min(max(i - 30, 0), 10) for i in range(epochs)]
rates = {}
for name, make in zoo.items():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, rates[name] = make(optimizer), []
    for i in range(epochs):
        rates[name].append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([valid[i]] if name == "ReduceLROnPlateau" else []))
week02.schedules(rates, valid)
plots.show(
    "Six small pictures of a learning rate over 60 passes: stairs, a smooth fall, stairs that come "
    "after the validation loss has rested, half a cosine, a low start and a smooth fall, a warm-up "
    "with a cosine after it."
)

# %% [markdown]
# ## 6. From a Python line to the hardware
# `F.linear(x, w, b)` is one line. What runs? Three floors: the **framework** picks an operator for dtype and device and records the graph; a **library** (on a CPU MKL or oneDNN, on a GPU cuBLAS or cuDNN) has the loop itself, written for this very hardware; the **hardware** does eight or sixteen multiplications in an instruction, on several cores. `torch.profiler` shows the upper floor and how long each operator took.

# %% [markdown] lang="ru"
# ## 6. От строки на Python до железа
# `F.linear(x, w, b)` — одна строка. Что при этом выполняется? Этажей три: **фреймворк** выбирает операцию под тип данных и устройство и записывает граф; в **библиотеке** (на процессоре MKL или oneDNN, на видеокарте cuBLAS или cuDNN) лежит сам цикл, написанный именно под это железо; **железо** делает восемь или шестнадцать умножений за инструкцию, на нескольких ядрах. `torch.profiler` показывает верхний этаж и время каждой операции.

# %%
x, w, b = torch.randn(256, 512), torch.randn(512, 512), torch.randn(512)
for _ in range(3):  # the first calls prepare things that later ones find ready
    F.linear(x, w, b).relu().sum()
with torch.profiler.profile() as profiler, torch.profiler.record_function("your line"):
    F.linear(x, w, b).relu().sum()
week02.flames(profiler.events())
plots.show(
    "Time runs to the right. Above, your line; below it the operators that it called, one beside the "
    "other; below each, those that it called in turn. The matrix product addmm takes most of the time."
)
gigaflops = 2 * 256 * 512 * 512 / 1e9
for event in profiler.events():
    if event.name == "aten::addmm":
        microseconds = event.time_range.end - event.time_range.start
        print(f"addmm: {gigaflops:.3f} billion operations in {microseconds / 1000:.2f} ms")
print(f"hardware: {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} thread(s)")
print(
    f"libraries: MKL {torch.backends.mkl.is_available()}, oneDNN {torch.backends.mkldnn.is_available()}"
)

# %% [markdown]
# **A dynamic graph and a static one.** The graph of section 2 is dynamic: it is the trace of one run, so `if` and `for` of Python are free, and nothing can be planned ahead. A static graph exists before it runs: it can be optimised, saved, and executed without Python. `torch.export` makes one, of functions whose way doesn't depend on numbers in tensors. A loop over `range(3)` is simply written out. An `if` on a tensor's value is refused.

# %% [markdown] lang="ru"
# **Динамический граф и статический.** Граф из раздела 2 динамический: это след одного запуска, поэтому `if` и `for` из Python ничего не стоят, но ничего нельзя спланировать заранее. Статический граф существует до запуска: его можно оптимизировать, сохранить и выполнить без Python. Его делает `torch.export` — из функций, чей путь не зависит от чисел в тензорах. Цикл по `range(3)` просто выписывается подряд. В `if` по значению тензора вам откажут.


# %%
class Loop(nn.Module):
    """Three times the same layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = self.layer(x).relu()
        return x


class Branch(nn.Module):
    """Which way it goes, the numbers decide."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x - 1


x = torch.ones(2, 4)
torch.manual_seed(0)
looped = Loop()
print("dynamic, after the run:")
week02.print_graph(looped(x).sum().grad_fn, {id(p): name for name, p in looped.named_parameters()})
print("\nstatic, before any run:")
exported = torch.export.export(looped, (x,))
for node in exported.graph.nodes:
    print(f"  {node.op:13} {node.name:16} {', '.join(map(str, node.all_input_nodes))}")
refused = week02.refusal(lambda: torch.export.export(Branch(), (x,)))
print(f"\neager Branch: {Branch()(x)[0, 0]:.0f} for ones, {Branch()(-x)[0, 0]:.0f} for minus ones")
print(f"export of Branch: {refused}")

# %% [markdown]
# **`torch.compile`** stands between the two: it reads the bytecode of your function, takes out stretches of tensor code as graphs, gives them to a backend, and leaves the rest to Python. Where a new kind of input comes, it compiles anew. The backend `aot_eager` only makes the graphs, forward and backward, and runs them with the usual operators: no faster, but it works everywhere and shows whether your code can be captured. The default, `inductor`, fuses operators and writes C++ or GPU code for them; it needs a compiler, and its first call takes many seconds.

# %% [markdown] lang="ru"
# **`torch.compile`** стоит посередине: он читает байт-код вашей функции, вынимает участки тензорных вычислений в виде графов, отдаёт их исполнителю (backend), а остальное оставляет Python. Если приходит вход нового вида, он компилирует заново. Исполнитель `aot_eager` только строит графы, прямой и обратный, и выполняет их обычными операциями: быстрее не станет, зато работает везде и показывает, поддаётся ли ваш код такому захвату. Исполнитель по умолчанию, `inductor`, сливает операции и пишет для них код на C++ или для видеокарты; ему нужен компилятор, и первый вызов длится много секунд.


# %%
def wave(x: torch.Tensor) -> torch.Tensor:
    """Many small operators in a row: what fusing helps most."""
    for k in range(1, 6):
        x = x + torch.sin(k * x) / k
    return x


def milliseconds(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> float:
    """The fastest of five calls."""
    runs = []
    for _ in range(5):
        start = time.perf_counter()
        function(x)
        runs.append(1000 * (time.perf_counter() - start))
    return min(runs)


x = torch.randn(500_000)
start = time.perf_counter()
captured = torch.compile(wave, backend="aot_eager")
same = torch.allclose(captured(x), wave(x))
print(f"aot_eager: first call {time.perf_counter() - start:.1f} s, the same numbers: {same}")
compiler = shutil.which(os.environ.get("CXX", "g++"))
if profile == "full" and compiler:
    start = time.perf_counter()
    fused = torch.compile(wave)
    fused(x)
    print(f"inductor: first call {time.perf_counter() - start:.1f} s")
    print(
        f"later calls: eager {milliseconds(wave, x):.2f} ms, fused {milliseconds(fused, x):.2f} ms"
    )
else:
    why = "no C++ compiler was found" if profile == "full" else 'it runs in profile "full" only'
    print(f"inductor was not run here: {why}.")

# %% [markdown]
# ## 7. A network learns the rule of Life
# Everything together. The data cost nothing: random boards, and what **your** `life_step` makes of them. The network sees $3 \times 3$ cells (a convolution, week 03), then thinks about each cell by itself. Your loop trains it, with your clipping and your schedule. Nobody tells it the rule; it sees 256 boards of $16 \times 16$.
#
# Then it plays the gun, each generation made of its own last one: red are cells that should be dead, pale ones that should live. Boards have 2,520 cells, 120 generations: 302,400 answers, and a wrong one has neighbours.

# %% [markdown] lang="ru"
# ## 7. Сеть учит правило «Жизни»
# Теперь всё вместе. Данные ничего не стоят: случайные поля и то, что делает из них **ваша** `life_step`. Сеть видит $3 \times 3$ клетки (свёртка, неделя 03), а затем обдумывает каждую клетку отдельно. Обучает её ваш цикл, с вашей обрезкой и вашим расписанием. Правила ей никто не сообщает; она видит 256 полей $16 \times 16$.
#
# Затем она играет ружьё, и каждое поколение строит из собственного предыдущего: красным отмечены лишние клетки, бледным — недостающие. На поле 2520 клеток, поколений 120: всего 302 400 ответов, а у неверного есть соседи.

# %%
g = torch.Generator().manual_seed(0)
density = torch.rand(256, 1, 1, generator=g)
boards = (torch.rand(256, 16, 16, generator=g) < density).float()[:, None]
pairs = list(zip(boards.split(32), life_step(boards).split(32), strict=True))
fresh = (torch.rand(64, 1, 32, 32, generator=g) < 0.35).float()
fresh_pairs = [(fresh, life_step(fresh))]


def learn_life(epochs: int) -> Iterator[tuple[float, float, nn.Module]]:
    """After each pass: training loss, share of right cells on fresh boards, a copy of the network."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 1), nn.ReLU(), nn.Conv2d(32, 1, 1),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    steps = epochs * len(pairs)
    options = {
        "before_step": lambda: clip_gradients(model.parameters(), 1.0),
        "scheduler": torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, 10, steps)
        ),
    }
    loss_fn = F.binary_cross_entropy_with_logits
    for _ in range(epochs):
        loss = train_epoch(model, pairs, loss_fn, optimizer, **options)
        right = evaluate(model, fresh_pairs, lambda logits, y: ((logits > 0) == y).float().mean())
        yield loss, right, copy.deepcopy(model)


def as_rule(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network as a rule of the game: a cell lives where its logit is positive."""

    @torch.no_grad()
    def step(board: torch.Tensor) -> torch.Tensor:
        return (model(board[None, None].float())[0, 0] > 0).long()

    return step


def survives(game: list[torch.Tensor], truth: list[torch.Tensor]) -> int:
    """The generations before the first wrong cell."""
    same = [torch.equal(a, b) for a, b in zip(game, truth, strict=True)]
    return [*same, False].index(False) - 1


truth = play(life_step, 120)
passes = list(learn_life(25))
losses, rights, players = zip(*passes, strict=True)
played = [play(as_rule(player), 120) for player in players]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6))
plots.curves({"training loss": list(losses)}, "Learning Life from random boards", "pass",
             "binary cross-entropy", log_y=True, ax=left)  # fmt: skip
series = {
    "cells right, per cent": [100 * r for r in rights],
    "generations without a mistake": [survives(game, truth) for game in played],
}
plots.curves(series, "Nearly right is not right", "pass", "of 100; of 120", ax=right)
right.legend(frameon=False, loc="center right")
plots.show(
    "Left: the training loss falls by two powers of ten. Right: the share of right cells climbs "
    "from two thirds to 100 per cent within a few passes, while the gun stays at 0 generations, and then jumps to 120."
)

almost = max(i for i in range(len(rights)) if rights[i] < 0.999)  # the last network that errs
games = {
    f"pass {almost + 1},\n{rights[almost]:.1%} right": played[almost],
    f"pass {len(rights)},\n{rights[-1]:.1%} right": played[-1],
}
week02.games(truth, games, (0, 3, 10, 30, 60, 120))
plots.show(
    "Three rows of boards at generations 0 to 120: the true game, with gliders on their way; a network "
    "with a few per cent of wrong cells, where mistakes, red for cells too many and pale for missing "
    "ones, soon break the gun; the trained network, which plays gun and gliders like the rule."
)
for name, game in games.items():
    name = name.replace("\n", " ")
    wrong = int((game[-1] != truth[-1]).sum())
    print(
        f"{name}; {survives(game, truth)} generations without a mistake, {wrong} wrong cells at the end"
    )

# %% [markdown]
# Look at the two curves on the right. A network that has nearly all cells right is worth nothing here: its first mistake is small, and Life makes it large. One or two passes later it is perfect. An average over examples hides that; whoever feeds a model its own output, as week 07's language models do, meets it again. Exact rules are a hard test for a network, and a cheap one: you need no data set, only a function. (That networks of the smallest size that could do it mostly *don't* find this rule, and wider ones do, is a result of research: [Springer & Kenyon, 2020](https://arxiv.org/abs/2009.01398). Try a width of 4.)
#
# Next: `homework_pytorch`, in which you build what stood behind your back here: an autodiff engine of your own.

# %% [markdown] lang="ru"
# Посмотрите на две кривые справа. Сеть, у которой верны почти все клетки, здесь ничего не стоит: первая ошибка мала, но «Жизнь» делает её большой. Одним-двумя проходами позже сеть безупречна. Среднее по примерам этого не показывает; с тем же встречается каждый, кто подаёт модели на вход её собственный выход, — например, языковые модели недели 07. Точные правила — трудная проверка для сети, и притом дешёвая: не нужен набор данных, достаточно функции. (Что сети наименьшего достаточного размера это правило чаще всего *не* находят, а более широкие находят, — результат исследования: [Springer, Kenyon, 2020](https://arxiv.org/abs/2009.01398). Попробуйте ширину 4.)
#
# Дальше — `homework_pytorch`: там вы построите то, что здесь стояло у вас за спиной, — собственный движок автоматического дифференцирования.
