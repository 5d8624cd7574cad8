# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Beyond fine-tuning: distances, teachers, patches, masks
# Fine-tuning takes over a network's weights. Four other things can be taken over: a **distance** that still means something for characters of an alphabet that the network has never seen; the **doubts of a teacher**, by which a student learns to read a digit that nobody has shown to it; a picture cut into **tokens**, so that a transformer can read it; and a **borrowed encoder**, which finds the nuclei of cells after ten steps, though it was trained on dogs and teapots.
#
# Six tasks, all for bonus points. The checks that you see are public ones: passing them is no promise of full marks. Your functions leave their arguments as they were, let gradients through where not said otherwise, and keep the precision of what they get (float32 or float64). Sections 1 to 3 belong together; the others stand alone.

# %% [markdown] lang="ru"
# # Не только дообучение: расстояния, учителя, фрагменты, маски
# При дообучении сеть отдаёт свои веса. Перенять можно ещё четыре вещи: **расстояние**, которое имеет смысл и для букв алфавита, которого сеть никогда не видела; **сомнения учителя**, по которым ученик начинает читать цифру, ни разу ему не показанную; картинку, разрезанную на **токены**, чтобы её мог читать трансформер; и **заимствованный кодировщик**, который через десять шагов находит ядра клеток, хотя учили его на собаках и чайниках.
#
# Шесть заданий, все на бонусные баллы. Видимые проверки — открытые: пройти их ещё не значит получить полный балл. Ваши функции не меняют своих аргументов, пропускают градиент, если не сказано иное, и сохраняют точность того, что получили (float32 или float64). Разделы 1–3 связаны между собой, остальные независимы.

# %% tags=["parameters"]
profile = "small"

# %%
import copy
import math
from collections.abc import Callable, Sequence
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_image
from torch import nn

from practical_dl import check, data, models, plots, seed_everything

seed_everything(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
if profile == "small":
    torch.set_num_threads(1)  # networks so small lose more by sharing the work than they gain
settings = {
    "small": {"width": 16, "triplets": 240, "views": 70, "scale": 2, "crop": 64, "steps": 60},
    "full": {"width": 64, "triplets": 3000, "views": 3000, "scale": 1, "crop": 128, "steps": 600},
}[profile]

# %% [markdown]
# ## 1. How good is a distance?
# {{task:recall_at_k}}
#
# Omniglot (Lake et al., [2015](https://doi.org/10.1126/science.aab3050)): characters of many alphabets, each drawn by twenty people. No classifier can be trained for the test alphabets, as it has no outputs for them. What helps is a **distance**: is the drawing next to mine the same character? **Recall@k** is the share of examples that find one of their own class among their $k$ nearest others.
#
# Two traps. The nearest of all is the example itself: leave it out, *by its number*, since a copy of it elsewhere is a fair hit. And **ties**: a network that maps everything to one point has all distances 0, and a sloppy count gives it 100 %. So count against it: an example of another class that is *as near* comes first. (A tie is an exact one: no tolerance.) With the set $N_i$ of others of the same class,
#
# $$\text{hit}_i = \Bigl[\, \bigl|\{ j : y_j \ne y_i,\; d_{ij} \le \min_{p \in N_i} d_{ip} \}\bigr| < k \,\Bigr].$$
#
# Examples whose class has no other member can't hit and are left out of the mean.

# %% [markdown] lang="ru"
# ## 1. Чего стоит расстояние?
# {{task:recall_at_k}}
#
# Omniglot (Lake и др., [2015](https://doi.org/10.1126/science.aab3050)): буквы многих алфавитов, каждую нарисовали двадцать человек. Классификатор для тестовых алфавитов не обучить: у него нет для них выходов. Помогает **расстояние**: та же ли буква на рисунке, ближайшем к моему? **Recall@k** — доля примеров, у которых среди $k$ ближайших других нашёлся пример их класса.
#
# Ловушек две. Ближе всех — сам пример: исключите его, причём *по номеру*, ведь его копия в другом месте — честное попадание. И **ничьи**: у сети, которая отображает всё в одну точку, все расстояния равны 0, и небрежный подсчёт даст ей 100 %. Поэтому засчитывайте ничью не в её пользу: пример чужого класса на *том же* расстоянии идёт первым. (Ничья — это точное равенство, без допуска.) Если $N_i$ — остальные примеры того же класса, то
#
# $$\text{hit}_i = \Bigl[\, \bigl|\{ j : y_j \ne y_i,\; d_{ij} \le \min_{p \in N_i} d_{ip} \}\bigr| < k \,\Bigr].$$
#
# Примеры, у класса которых нет других представителей, попасть не могут и в среднее не входят.


# %% solution="recall_at_k"
def recall_at_k(x: torch.Tensor, y: torch.Tensor, k: int = 1) -> float:
    """Share of examples with one of their class among the k nearest others; ties count against it.

    x: (n, d) floats, Euclidean distance; y: (n,) whole numbers; k >= 1, n may be less than k.
    At least one class has two members. Points may lie far from 0 and close to each other.
    x = [[0], [1], [3]], y = [0, 1, 0]: recall@1 is 0, for 0 has 1 nearer than 3; recall@2 is 1;
    the example of class 1 is alone and doesn't count.
    """
    ### BEGIN SOLUTION
    distance = torch.cdist(x, x)
    same = y[:, None] == y
    own = same & ~torch.eye(len(y), dtype=torch.bool, device=y.device)
    nearest = distance.masked_fill(~own, math.inf).amin(dim=1)
    before = (~same & (distance <= nearest[:, None])).sum(dim=1)
    return (before < k)[own.any(dim=1)].double().mean().item()
    ### END SOLUTION


# %% test="recall_at_k" points=0.5 bonus=true difficulty=2 minutes=20
x, y = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 1, 0])
for k, want in [(1, 0.0), (2, 1.0)]:
    call = f"recall_at_k([[0], [1], [3]], [0, 1, 0], {k})"
    check.close(check.answer(recall_at_k, x, y, k, call=call), want, call)
x, y = torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])
call = "recall_at_k of four equal points of two classes"
check.close(check.answer(recall_at_k, x, y, call=call), 0.0, call, why="count ties against it")
### BEGIN HIDDEN TESTS
rng = check.rng("recall_at_k")


def recall_by_loops(x, y, k):
    """One example at a time."""
    hits = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        square = {j: float(((x[i] - x[j]) ** 2).sum()) for j in others}
        own = [square[j] for j in others if y[j] == y[i]]
        if own:
            hits.append(sum(y[j] != y[i] and square[j] <= min(own) for j in others) < k)
    return float(np.mean(hits))


def judge_recall(x, y, k, why, dtype=torch.float64):
    """Numbers of examples x (n, d), labels y (n,)."""
    call = f"recall_at_k of {len(x)} examples, k={k}"
    given = torch.tensor(x, dtype=dtype), torch.tensor(y)
    found = check.answer(recall_at_k, *given, k, call=call)
    check.close(found, recall_by_loops(x, y, k), call, rtol=1e-6, why=why)
    check.equal(check.kind_of(found), "float", f"the kind of {call}", why="be a float")


rays = np.array([[1.0, 0], [10, 0], [1, 1], [10, 7]]), np.array([0, 1, 0, 1])
judge_recall(*rays, 1, "compare distances, not directions")
bent = np.array([[0.0, 0], [3, 3], [0, 5]]), np.array([0, 0, 1])
judge_recall(*bent, 1, "take the Euclidean distance")
flat = np.array([[0.0, 0], [3, 3], [0, 4]]), np.array([0, 0, 1])
judge_recall(*flat, 1, "take the Euclidean distance")
spread = np.array([[0.0], [1], [2.5], [2.6], [10]]), np.array([0, 0, 1, 1, 0])
judge_recall(*spread, 1, "be content with the nearest of the class, however far the others are")
for n, d, classes in [(12, 2, 3), (30, 5, 6), (40, 1, 2), (60, 3, 20)]:
    for k in (1, 2, 5):
        x, y = rng.normal(size=(n, d)), rng.integers(0, classes, size=n)
        judge_recall(x, y, k, "find the nearest others", torch.float32)
        judge_recall(x, 7 * y - 3, k, "hold whatever the classes are called")
for _ in range(6):
    x, y = rng.integers(0, 3, size=(14, 2)).astype(float), rng.integers(0, 4, size=14)
    y[:2] = 1
    for k in (1, 2, 4):
        judge_recall(x, y, k, "let an example of another class that is as near come first")
pair = np.repeat(rng.normal(size=(5, 3)), 2, axis=0)
judge_recall(pair, np.repeat(np.arange(5), 2), 1, "take a copy of an example for a fair hit")
judge_recall(pair, np.tile([0, 1], 5), 1, "leave out the example itself, and not its copy")
lonely = np.array([0, 0, 1, 2, 3, 4, 5])
judge_recall(rng.normal(size=(7, 2)), lonely, 1, "leave out examples that are alone in their class")
judge_recall(rng.normal(size=(7, 2)), lonely, 50, "give 1 where k is larger than the set")
far = 1e4 + rng.normal(size=(40, 2))
judge_recall(far, rng.integers(0, 8, size=40), 1, "be right for points far from 0, too")
close = 1000 + np.array([[0.0], [0.01], [0.03], [0.04]])
far = "be right for points far from 0, in float32, too"
judge_recall(close, np.array([0, 0, 1, 1]), 1, far, torch.float32)
almost = np.array([[0.0], [1], [-1 - 1e-12], [9]])
judge_recall(almost, np.array([0, 0, 1, 1]), 1, "keep float64: what is almost a tie is none")
x, y = rng.normal(size=(30, 2)), rng.integers(0, 10, size=30)
call = "recall_at_k(x, y), no k"
found = check.answer(recall_at_k, torch.tensor(x), torch.tensor(y), call=call)
check.close(found, recall_by_loops(x, y, 1), call, why="take k = 1 where none is given")
### END HIDDEN TESTS

# %% mutant="recall_at_k" why="finds itself"
# - own = same & ~torch.eye(len(y), dtype=torch.bool, device=y.device)
# + own = same

# %% mutant="recall_at_k" why="leaves out whatever is at distance 0"
# - own = same & ~torch.eye(len(y), dtype=torch.bool, device=y.device)
# + own = same & (distance > 0)

# %% mutant="recall_at_k" why="ties count for it"
# - before = (~same & (distance <= nearest[:, None])).sum(dim=1)
# + before = (~same & (distance < nearest[:, None])).sum(dim=1)

# %% mutant="recall_at_k" why="one too many"
# - return (before < k)[own.any(dim=1)].double().mean().item()
# + return (before <= k)[own.any(dim=1)].double().mean().item()

# %% mutant="recall_at_k" why="lonely examples count as misses"
# - return (before < k)[own.any(dim=1)].double().mean().item()
# + return (before < k)[own.any(dim=1)].double().sum().item() / len(y)

# %% mutant="recall_at_k" why="lonely examples count, too"
# - return (before < k)[own.any(dim=1)].double().mean().item()
# + return (before < k).double().mean().item()

# %% mutant="recall_at_k" why="city-block distance"
# - distance = torch.cdist(x, x)
# + distance = torch.cdist(x, x, p=1)

# %% mutant="recall_at_k" why="cosine similarity"
# - distance = torch.cdist(x, x)
# + distance = -F.normalize(x, dim=1) @ F.normalize(x, dim=1).T

# %% mutant="recall_at_k" why="the distance along the longest axis"
# - distance = torch.cdist(x, x)
# + distance = torch.cdist(x, x, p=math.inf)

# %% mutant="recall_at_k" why="cuts float64 to float32"
# - distance = torch.cdist(x, x)
# + distance = torch.cdist(x.float(), x.float())

# %% mutant="recall_at_k" why="the expanded square, which loses digits far from 0"
# - distance = torch.cdist(x, x)
# + length = (x**2).sum(dim=1)
# + distance = length[:, None] + length - 2 * x @ x.T

# %% mutant="recall_at_k" why="the farthest of the class"
# - nearest = distance.masked_fill(~own, math.inf).amin(dim=1)
# + nearest = distance.masked_fill(~own, -math.inf).amax(dim=1)

# %% mutant="recall_at_k" why="the k nearest must all be of the class"
# - nearest = distance.masked_fill(~own, math.inf).amin(dim=1)
# + nearest = distance.masked_fill(~own, math.inf).sort(dim=1).values[:, min(k, len(y)) - 1]


# %% alternative="recall_at_k" why="one query at a time, sorted"
def recall_at_k(x, y, k=1):
    hits = []
    for i in range(len(y)):
        d = ((x - x[i]) ** 2).sum(dim=1)
        order = sorted((float(d[j]), int(y[j] == y[i])) for j in range(len(y)) if j != i)
        if any(same for _, same in order):
            hits.append(any(same for _, same in order[:k]))
    return sum(hits) / len(hits)


# %%
characters = data.load("omniglot", profile)


def as_input(pictures: np.ndarray) -> torch.Tensor:
    """uint8 (n, 105, 105) -> (n, 1, 28, 28) floats: each pixel the mean of its square, times two."""
    return 2 * F.interpolate(
        torch.from_numpy(pictures).float()[:, None] / 255, (28, 28), mode="area"
    )


x_train, y_train = as_input(characters.x_train), torch.from_numpy(characters.y_train)
x_test, y_test = as_input(characters.x_test), torch.from_numpy(characters.y_test)
alphabets = [name.split("/")[0].split("_")[0] for name in characters.classes]
shown = [136, 150, 183, 200, 225, 235]
plots.images(
    torch.cat([x_test[y_test == c][:8, 0] for c in shown]),
    [alphabets[c] if i == 0 else "" for c in shown for i in range(8)],
    "Characters of the test alphabets, a row each",
    columns=8,
    size=0.8,
)
plots.show(
    "Six rows of hand-drawn characters of three alphabets; each row is one character by eight people."
)
print(
    f"recall@1 by pixels, {len(set(y_test.tolist()))} classes: {recall_at_k(x_test.flatten(1), y_test):.3f}"
)

# %% [markdown]
# ## 2. Pull together, push apart
# {{task:batch_hard}}
#
# [Metric learning](glossary:metric-learning) trains a network $e$ so that distances mean what you want. Take an **anchor** $a$, a **positive** $p$ of its class and a **negative** $n$ of another: the positive shall be nearer by a margin $m$. Most triplets are satisfied soon and teach nothing. So let each anchor in a batch of embeddings take its *hardest* two (Hermans et al., [2017](https://arxiv.org/abs/1703.07737)):
#
# $$\ell_a = \max\Bigl(0,\; m + \max_{p \ne a,\; y_p = y_a} \lVert e_a - e_p \rVert - \min_{y_n \ne y_a} \lVert e_a - e_n \rVert \Bigr).$$
#
# The loss is the mean over all anchors that have at least one positive and at least one negative; where no anchor has both, it is 0, and still part of the graph: `backward()` runs and gives zeros. The distance is not squared. Mind its **gradient where two embeddings coincide**: the root has an infinite slope at 0, infinity times 0 is NaN, and one NaN ends the training. Take 0 for the slope of that distance; the others keep theirs.

# %% [markdown] lang="ru"
# ## 2. Сблизить и развести
# {{task:batch_hard}}
#
# [Обучение метрик](glossary:metric-learning) (metric learning) учит сеть $e$ так, чтобы расстояния значили то, что нужно. Возьмите **якорь** $a$, **позитивный** пример $p$ его класса и **негативный** $n$ чужого: позитивный должен быть ближе хотя бы на зазор $m$. Большинство троек скоро это выполняют и ничему не учат. Поэтому пусть каждый якорь в батче возьмёт *самых трудных* (Hermans и др., [2017](https://arxiv.org/abs/1703.07737)):
#
# $$\ell_a = \max\Bigl(0,\; m + \max_{p \ne a,\; y_p = y_a} \lVert e_a - e_p \rVert - \min_{y_n \ne y_a} \lVert e_a - e_n \rVert \Bigr).$$
#
# Потери — среднее по якорям, у которых есть хотя бы один позитивный и хотя бы один негативный пример; если таких якорей нет, потери равны 0, но остаются частью графа: `backward()` работает и даёт нули. Расстояние не в квадрате. Осторожно с **градиентом там, где два вектора совпали**: наклон корня в нуле бесконечен, бесконечность на ноль — NaN, а один NaN губит всё обучение. Наклон такого расстояния считайте равным 0, остальные не меняйте.


# %% solution="batch_hard"
def batch_hard(embeddings: torch.Tensor, labels: torch.Tensor, margin: float = 0.2) -> torch.Tensor:
    """Mean triplet loss of the hardest positive and negative of each anchor that has both.

    embeddings: (n, d), labels: (n,) whole numbers -> a tensor without axes, with a finite gradient.
    [[0], [1], [3]], labels [0, 0, 1], margin 3: anchors 0 and 1 give 3 + 1 - 3 and 3 + 1 - 2; the
    loss is 1.5, for anchor 2 has no positive.
    """
    ### BEGIN SOLUTION
    square = ((embeddings[:, None] - embeddings) ** 2).sum(dim=2)
    apart = square > 0
    distance = torch.where(apart, square, 1).sqrt() * apart
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    valid = positive.any(dim=1) & (~same).any(dim=1)
    if not valid.any():
        return 0 * embeddings.sum()
    farthest = distance.masked_fill(~positive, -math.inf).amax(dim=1)
    nearest = distance.masked_fill(same, math.inf).amin(dim=1)
    return F.relu(margin + farthest - nearest)[valid].mean()
    ### END SOLUTION


# %% test="batch_hard" points=1 bonus=true difficulty=3 minutes=30
line, labels = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1])
call = "batch_hard([[0], [1], [3]], [0, 0, 1], margin=3)"
check.close(check.answer(batch_hard, line, labels, 3.0, call=call), 1.5, call)
call = "batch_hard([[0], [1], [3]], [0, 0, 1])"
check.close(check.answer(batch_hard, line, labels, call=call), 0.0, call, why="be never negative")
call = "the gradient of batch_hard where two embeddings coincide"
twins = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.1, 2.0]])
(slope,) = check.gradient_of(lambda e: batch_hard(e, labels), twins, call=call)
check.that(np.isfinite(slope).all(), "have a finite gradient where two embeddings coincide")
### BEGIN HIDDEN TESTS
rng = check.rng("batch_hard")


def hard_by_loops(e, labels, margin):
    """One anchor at a time, for embeddings that all differ."""
    losses = []
    for a in range(len(e)):
        own = [p for p in range(len(e)) if p != a and labels[p] == labels[a]]
        others = [n for n in range(len(e)) if labels[n] != labels[a]]
        if own and others:
            farthest = max(torch.linalg.vector_norm(e[a] - e[p]) for p in own)
            nearest = min(torch.linalg.vector_norm(e[a] - e[n]) for n in others)
            losses.append(torch.clamp(margin + farthest - nearest, min=0))
    return sum(losses) / len(losses) if losses else 0 * e.sum()


def judge_hard(n, d, labels, margin, why, dtype=torch.float64, near=None):
    """Values and gradients of n random embeddings, or of some near to given ones."""
    e = rng.normal(size=(n, d)) if near is None else near + rng.uniform(0, 0.01, size=(n, d))
    e = torch.tensor(e, dtype=dtype)
    labels = torch.tensor(labels)
    call = f"batch_hard of {n} embeddings, margin {margin}"
    leaf = e.clone().requires_grad_()
    value = hard_by_loops(leaf, labels, margin)
    (want,) = torch.autograd.grad(value, leaf)
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-6}
    found = check.answer(batch_hard, e, labels, margin, call=call)
    check.close(found, value.item(), call, why=why, **tolerance)
    (slope,) = check.gradient_of(lambda x: batch_hard(x, labels, margin), e, call=call)
    tolerance["atol"] = max(tolerance.get("atol", 0), 1e-7)
    check.close(slope, want, f"the gradient of {call}", why=why, **tolerance)
    kind = e.numpy().dtype
    check.that(np.asarray(found).dtype == kind, f"give a tensor of {dtype} for {dtype}")


hardest = "take the farthest of the class and the nearest of the others, for each anchor"
judge_hard(4, 2, [0, 0, 1, 1], 10.0, hardest)
judge_hard(9, 3, [0, 1, 2] * 3, 10.0, hardest)
judge_hard(12, 5, [4, 4, 4, 4, -1, -1, -1, -1, 9, 9, 9, 9], 10.0, hardest)
judge_hard(30, 4, rng.integers(0, 5, size=30), 10.0, hardest, dtype=torch.float32)
# Of six anchors two lose something, by unlike amounts; the others have more room than they need.
row = np.array([[0.0], [1.0], [1.5], [9.0], [30.0], [30.1]])
for places, labels in [(row, [0, 0, 1, 1, 2, 2]), (-row[::-1], [7, 7, 5, 5, 6, 6])]:
    for dtype in (torch.float64, torch.float32):
        cut = "cut each anchor's loss at 0, then take the mean over all of them"
        judge_hard(6, 1, labels, 0.2, cut, dtype=dtype, near=places)
judge_hard(15, 2, [0, 1, 2] * 5, 0.3, "cut each anchor's loss at 0, then take the mean")
judge_hard(7, 3, [0, 0, 1, 2, 3, 4, 5], 5.0, "leave out anchors without a positive")
judge_hard(6, 3, [0, 1, 1, 1, 2, 2], 4.0, "leave out anchors without a positive")
judge_hard(8, 2, [0, 0, 0, 1, 1, 1, 2, 2], 0.0, "take a margin of 0, too")
three = torch.tensor([0, 0, 1])
for places, margin, want, why in [
    ([0.0, 1.0, 5000.0], 6000.0, 1001.5, "hold for large distances, too"),
    ([0.0, 1e-4, 3e-4], 1e-3, 8.5e-4, "hold for small distances, too"),
]:
    line = torch.tensor(places, dtype=torch.float64)[:, None]
    call = f"batch_hard of three points on a line, margin {margin}"
    found = check.answer(batch_hard, line, three, margin, call=call)
    check.close(found, want, call, rtol=1e-3, atol=0, why=why)
call = "the gradient of batch_hard of two equal embeddings and a third"
twins = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.1, 2.0]])
(slope,) = check.gradient_of(lambda e: batch_hard(e, three), twins, call=call)
want = [[0.5, 0.0], [0.5, 0.0], [-1.0, 0.0]]  # all of it from the distances to the negative
why = "keep the gradient of all distances that are not 0"
check.close(slope, want, call, rtol=1e-3, atol=1e-3, why=why)
judge_hard(5, 2, [3] * 5, 1.0, "be 0, with a gradient of 0, where there is no negative")
judge_hard(5, 2, range(5), 1.0, "be 0, with a gradient of 0, where there is no positive")
e, labels = torch.tensor(rng.normal(size=(10, 2))), torch.arange(10) % 2
call = "batch_hard(embeddings, labels), no margin"
want = hard_by_loops(e, labels, 0.2)
check.close(check.answer(batch_hard, e, labels, call=call), want, call, why="take a margin of 0.2")
for copies in (torch.ones(6, 3), torch.tensor(rng.normal(size=(1, 3))).expand(6, 3).clone()):
    call = "the gradient of batch_hard of embeddings that are all the same"
    (slope,) = check.gradient_of(lambda x: batch_hard(x, torch.arange(6) % 3), copies, call=call)
    check.that(np.isfinite(slope).all(), "have a finite gradient where embeddings coincide")
    found = check.answer(batch_hard, copies, torch.arange(6) % 3, 0.5, call="batch_hard of copies")
    check.close(found, 0.5, "batch_hard of copies, margin 0.5", atol=2e-3, why="be the margin")
### END HIDDEN TESTS

# %% mutant="batch_hard" why="NaN where two embeddings coincide"
# - apart = square > 0
# - distance = torch.where(apart, square, 1).sqrt() * apart
# + distance = square.sqrt()

# %% mutant="batch_hard" why="NaN made 0 afterwards, and with it the rest of the gradient"
# - square = ((embeddings[:, None] - embeddings) ** 2).sum(dim=2)
# - apart = square > 0
# - distance = torch.where(apart, square, 1).sqrt() * apart
# + embeddings = embeddings * 1.0
# + if embeddings.requires_grad:
# +     embeddings.register_hook(torch.nan_to_num)
# + square = ((embeddings[:, None] - embeddings) ** 2).sum(dim=2)
# + apart = ~torch.eye(len(labels), dtype=torch.bool)
# + distance = torch.where(apart, square, 1).sqrt() * apart

# %% mutant="batch_hard" why="no distance below 0.001"
# - distance = torch.where(apart, square, 1).sqrt() * apart
# + distance = square.clamp(min=1e-6).sqrt()

# %% mutant="batch_hard" why="1000 for infinity"
# - nearest = distance.masked_fill(same, math.inf).amin(dim=1)
# + nearest = (distance + 1000 * same).amin(dim=1)

# %% mutant="batch_hard" why="a 0 without a graph"
# - return 0 * embeddings.sum()
# + return embeddings.new_zeros(())

# %% mutant="batch_hard" why="squared distances"
# - distance = torch.where(apart, square, 1).sqrt() * apart
# + distance = square

# %% mutant="batch_hard" why="takes itself for the nearest negative"
# - nearest = distance.masked_fill(same, math.inf).amin(dim=1)
# + nearest = distance.masked_fill(positive, math.inf).amin(dim=1)

# %% mutant="batch_hard" why="counts anchors without a positive"
# - valid = positive.any(dim=1) & (~same).any(dim=1)
# + valid = (~same).any(dim=1)

# %% mutant="batch_hard" why="an anchor is its own positive"
# - positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
# + positive = same

# %% mutant="batch_hard" why="the easiest positive"
# - farthest = distance.masked_fill(~positive, -math.inf).amax(dim=1)
# + farthest = distance.masked_fill(~positive, math.inf).amin(dim=1)

# %% mutant="batch_hard" why="the mean of the negatives"
# - nearest = distance.masked_fill(same, math.inf).amin(dim=1)
# + nearest = (distance * ~same).sum(dim=1) / (~same).sum(dim=1)

# %% mutant="batch_hard" why="cuts the mean, not each anchor"
# - return F.relu(margin + farthest - nearest)[valid].mean()
# + return F.relu((margin + farthest - nearest)[valid].mean())

# %% mutant="batch_hard" why="soft margin"
# - return F.relu(margin + farthest - nearest)[valid].mean()
# + return F.softplus(margin + farthest - nearest)[valid].mean()

# %% mutant="batch_hard" why="the mean over all anchors"
# - return F.relu(margin + farthest - nearest)[valid].mean()
# + return F.relu(margin + farthest - nearest)[valid].sum() / len(labels)

# %% mutant="batch_hard" why="the mean over anchors that still violate"
# - return F.relu(margin + farthest - nearest)[valid].mean()
# + kept = F.relu(margin + farthest - nearest)[valid]
# + return kept.sum() / (kept > 0).sum().clamp(min=1)

# %% mutant="batch_hard" why="no gradient through the negative"
# - nearest = distance.masked_fill(same, math.inf).amin(dim=1)
# + nearest = distance.detach().masked_fill(same, math.inf).amin(dim=1)

# %% mutant="batch_hard" why="normalises what it gets"
# - square = ((embeddings[:, None] - embeddings) ** 2).sum(dim=2)
# + embeddings = F.normalize(embeddings, dim=1)
# + square = ((embeddings[:, None] - embeddings) ** 2).sum(dim=2)

# %% mutant="batch_hard" why="an empty mean"
# - if not valid.any():
# -     return 0 * embeddings.sum()


# %% alternative="batch_hard" why="cdist, whose gradient at 0 is 0, and a loop over anchors"
def batch_hard(embeddings, labels, margin=0.2):
    distance = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
    losses = []
    for a in range(len(labels)):
        own = (labels == labels[a]).nonzero().flatten()
        own = own[own != a]
        others = labels != labels[a]
        if len(own) and others.any():
            gap = distance[a][own].max() - distance[a][others].min() + margin
            losses.append(torch.clamp(gap, min=0))
    return torch.stack(losses).mean() if losses else embeddings.sum() * 0


# %% [markdown]
# A small network, trained on five alphabets; each batch has 16 characters, 4 drawings of each, so that every anchor has positives. It is judged on the three alphabets that it has never seen.

# %% [markdown] lang="ru"
# Маленькая сеть учится на пяти алфавитах; в каждом батче 16 букв по 4 рисунка, чтобы у каждого якоря были позитивные примеры. Оценивают её на трёх алфавитах, которых она не видела.


# %%
def embedding_network() -> nn.Module:
    """Pictures (n, 1, 28, 28) -> points on the unit sphere (n, 64)."""
    torch.manual_seed(0)
    w = settings["width"]

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]

    layers = [*block(1, w), *block(w, w), *block(w, 2 * w), nn.Flatten(), nn.Linear(18 * w, 64)]
    return nn.Sequential(*layers).to(device)


@torch.no_grad()
def embed(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """All pictures in eval mode."""
    network.eval()
    found = torch.cat([F.normalize(network(b.to(device)), dim=1).cpu() for b in x.split(500)])
    network.train()
    return found


def train_embedding(
    steps: int, loss: Callable[[nn.Module, torch.Generator], torch.Tensor]
) -> nn.Module:
    """Adam on a loss that draws its own batches."""
    network, g = embedding_network(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(steps):
        value = loss(network, g)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return network


def triplet_step(network: nn.Module, g: torch.Generator) -> torch.Tensor:
    """16 classes, 4 of the 20 drawings of each; examples of a class stand together in the data."""
    classes = torch.randperm(136, generator=g)[:16]
    each = torch.stack([torch.randperm(20, generator=g)[:4] for _ in classes])
    chosen = (20 * classes[:, None] + each).flatten()
    points = F.normalize(network(x_train[chosen].to(device)), dim=1)
    return batch_hard(points, y_train[chosen].to(device))


@cache
def points_of(name: str) -> torch.Tensor:
    """Where the test drawings lie, by one of four ways; each network is trained once."""
    if name == "pixels":
        return x_test.flatten(1)
    if name == "batch-hard triplets":
        return embed(train_embedding(settings["triplets"], triplet_step), x_test)
    if name == "SimCLR, no labels":
        return embed(train_embedding(settings["views"], simclr_step), x_test)
    return embed(embedding_network(), x_test)


WAYS = ("pixels", "an untrained network", "batch-hard triplets", "SimCLR, no labels")
for name in WAYS[:3]:
    found = points_of(name)
    print(
        f"{name:22} recall@1 {recall_at_k(found, y_test):.3f}, @5 {recall_at_k(found, y_test, 5):.3f}"
    )

# %% [markdown]
# **The neighbours before and after.** Seven drawings at random: left of each row the drawing, then its five nearest others, by pixels and by your embedding. A green frame is the same character.

# %% [markdown] lang="ru"
# **Соседи до и после.** Семь случайных рисунков: в начале каждой строки сам рисунок, дальше пять его ближайших соседей — по пикселям и по вашим эмбеддингам. Зелёная рамка — та же буква.


# %%
def neighbours(found: torch.Tensor, queries: Sequence[int], count: int = 5) -> list[list[int]]:
    """The numbers of the nearest others."""
    distance = torch.cdist(found[queries], found)
    distance[range(len(queries)), queries] = math.inf
    return distance.argsort(dim=1)[:, :count].tolist()


queries = np.random.default_rng(0).choice(len(x_test), 7, replace=False).tolist()
figure = plt.figure(figsize=(11, 6.2))
halves = figure.subfigures(1, 2)
for half, name in zip(halves, ("pixels", "batch-hard triplets"), strict=True):
    half.suptitle(f"nearest by {name}", fontsize=11)
    axes, hits = half.subplots(len(queries), 6), 0
    for line, query, near in zip(axes, queries, neighbours(points_of(name), queries), strict=True):
        for ax, i in zip(line, [query, *near], strict=True):
            ax.imshow(2 - x_test[i, 0], cmap="gray")
            right = bool(y_test[i] == y_test[query])
            hits += right and i != query
            colour = "0.6" if i == query else plots.PALETTE[2] if right else plots.PALETTE[1]
            for side in ax.spines.values():
                side.set(color=colour, linewidth=3, visible=True)
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
    print(f"{name}: {hits} of {5 * len(queries)} neighbours are the same character")
plots.show(
    "Seven drawings with their five nearest others, left by pixels, right by the trained embedding: "
    "green frames, which mark the same character, are more frequent on the right."
)

# %% [markdown]
# ## 3. No labels at all
# {{task:nt_xent}}
#
# Triplets needed labels of other alphabets. **SimCLR** (Chen et al., [2020](https://arxiv.org/abs/2002.05709)) needs none: change a picture at random, twice; the two **views** belong together, all other pictures of the batch don't. The $n$ pairs make $2n$ views $z_1, \dots, z_{2n}$. Each has one partner among the $2n - 1$ others, and is asked to find it, as a classifier would, by cosine similarity $s$ and a temperature $\tau$:
#
# $$\ell_i = -\log \frac{\exp(s_{i,\,\text{partner}(i)} / \tau)}{\sum_{j \ne i} \exp(s_{ij} / \tau)}, \qquad \mathcal L = \frac{1}{2n} \sum_{i=1}^{2n} \ell_i.$$
#
# The view itself is left out of the sum; the partner is in it. The view itself means its number: another view that is equal to it stays in. At low temperatures ($\tau = 0.01$) nothing may overflow, and nothing vanish before its logarithm is taken.

# %% [markdown] lang="ru"
# ## 3. Совсем без меток
# {{task:nt_xent}}
#
# Тройкам были нужны метки — пусть и других алфавитов. **SimCLR** (Chen и др., [2020](https://arxiv.org/abs/2002.05709)) обходится без них: дважды случайно измените картинку; два получившихся **вида** (views) принадлежат друг другу, а остальные картинки батча — нет. Из $n$ пар выходит $2n$ видов $z_1, \dots, z_{2n}$. У каждого один партнёр среди $2n - 1$ остальных, и его нужно найти, как это сделал бы классификатор, — по косинусному сходству $s$ с температурой $\tau$:
#
# $$\ell_i = -\log \frac{\exp(s_{i,\,\text{partner}(i)} / \tau)}{\sum_{j \ne i} \exp(s_{ij} / \tau)}, \qquad \mathcal L = \frac{1}{2n} \sum_{i=1}^{2n} \ell_i.$$
#
# Сам вид в сумму не входит, партнёр входит. «Сам» — это по номеру: другой вид, равный ему, в сумме остаётся. При низкой температуре ($\tau = 0{,}01$) ничего не должно ни переполниться, ни обратиться в нуль до взятия логарифма.


# %% solution="nt_xent"
def nt_xent(a: torch.Tensor, b: torch.Tensor, temperature: float = 0.5) -> torch.Tensor:
    """The mean loss of the 2n views: a[i] and b[i], both (n, d), are partners. -> no axes.

    Lengths don't matter, only directions. With n = 1 there is nothing to confuse: 0.
    """
    ### BEGIN SOLUTION
    z = F.normalize(torch.cat([a, b]), dim=1)
    similarity = z @ z.T / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    partner = torch.arange(len(z), device=z.device).roll(len(a))
    return F.cross_entropy(similarity.masked_fill(itself, -math.inf), partner)
    ### END SOLUTION


# %% test="nt_xent" points=1 bonus=true difficulty=3 minutes=25
a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
call = "nt_xent(a, a) of two pictures at right angles"
want = math.log(1 + 2 * math.exp(-2))  # each view: its partner at 1 / 0.5, two others at 0
check.close(check.answer(nt_xent, a, a.clone(), call=call), want, call)
call = "nt_xent of one pair"
check.close(check.answer(nt_xent, a[:1], a[1:], call=call), 0.0, call, atol=1e-6)
### BEGIN HIDDEN TESTS
rng = check.rng("nt_xent")


def xent_by_loops(a, b, temperature):
    """View by view."""
    z = [v / v.norm() for v in [*a, *b]]
    n, losses = len(a), []
    for i in range(2 * n):
        scores = torch.stack([(z[i] @ z[j]) / temperature for j in range(2 * n) if j != i])
        own = (z[i] @ z[(i + n) % (2 * n)]) / temperature
        losses.append(torch.logsumexp(scores, dim=0) - own)
    return torch.stack(losses).mean()


def judge_xent(n, d, temperature, why, scale=1.0, dtype=torch.float64):
    """Values and both gradients."""
    a, b = (torch.tensor(rng.normal(size=(n, d)), dtype=dtype) * scale for _ in range(2))
    b = a + 0.7 * b
    call = f"nt_xent of {n} pairs, temperature {temperature}"
    leaves = [v.clone().requires_grad_() for v in (a, b)]
    value = xent_by_loops(*leaves, temperature)
    want = torch.autograd.grad(value, leaves)
    small = {"rtol": 1e-3, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-6, "atol": 1e-8}
    found = check.answer(nt_xent, a, b, temperature, call=call)
    check.close(found, value.item(), call, why=why, **small)
    check.that(np.asarray(found).dtype == a.numpy().dtype, f"give a tensor of {dtype} for {dtype}")
    slopes = check.gradient_of(lambda x, y: nt_xent(x, y, temperature), a, b, call=call)
    for name, slope, w in zip("ab", slopes, want, strict=True):
        check.close(slope, w, f"the gradient of {call} by {name}", why=why, **small)


right = "be the cross-entropy of finding the partner among the other views"
for n, d in [(2, 2), (3, 5), (6, 3), (17, 8)]:
    judge_xent(n, d, 0.5, right)
judge_xent(5, 4, 1.0, "divide similarities by the temperature")
judge_xent(5, 4, 0.07, "divide similarities by the temperature")
judge_xent(8, 4, 0.01, "not overflow at a low temperature", dtype=torch.float32)
judge_xent(8, 4, 0.001, "not overflow at a low temperature")
a, b = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
call = "nt_xent of partners that are less alike than others, temperature 0.01"
want = xent_by_loops(a.double(), b.double(), 0.01)
why = "stay finite where a partner's share is too small for float32"
check.close(check.answer(nt_xent, a, b, 0.01, call=call), want, call, rtol=1e-3, why=why)
a = torch.tensor([[0.6, 0.8], [0.6, 0.8]])
call = "nt_xent of four equal views"
why = "leave out the view itself, and no other that is equal to it"
check.close(check.answer(nt_xent, a, a.clone(), call=call), math.log(3), call, rtol=1e-3, why=why)
judge_xent(4, 3, 0.5, "depend on directions alone", scale=50.0)
judge_xent(4, 3, 0.5, "depend on directions alone", scale=0.01)
judge_xent(9, 16, 0.2, right, dtype=torch.float32)
judge_xent(1, 3, 0.5, "be 0 for one pair")
a, b = torch.tensor(rng.normal(size=(2, 6, 4)))
call = "nt_xent(a, b), no temperature"
want = xent_by_loops(a, b, 0.5)
check.close(check.answer(nt_xent, a, b, call=call), want, call, why="take a temperature of 0.5")
### END HIDDEN TESTS

# %% mutant="nt_xent" why="a view may choose itself"
# - return F.cross_entropy(similarity.masked_fill(itself, -math.inf), partner)
# + return F.cross_entropy(similarity, partner)

# %% mutant="nt_xent" why="only views of a look for partners"
# - return F.cross_entropy(similarity.masked_fill(itself, -math.inf), partner)
# + return F.cross_entropy(similarity.masked_fill(itself, -math.inf)[: len(a)], partner[: len(a)])

# %% mutant="nt_xent" why="only views of b are candidates"
# - return F.cross_entropy(similarity.masked_fill(itself, -math.inf), partner)
# + return F.cross_entropy(similarity[: len(a), len(a) :], partner[: len(a)] - len(a))

# %% mutant="nt_xent" why="no normalisation"
# - z = F.normalize(torch.cat([a, b]), dim=1)
# + z = torch.cat([a, b])

# %% mutant="nt_xent" why="multiplies by the temperature"
# - similarity = z @ z.T / temperature
# + similarity = z @ z.T * temperature

# %% mutant="nt_xent" why="the next view is the partner"
# - partner = torch.arange(len(z), device=z.device).roll(len(a))
# + partner = torch.arange(len(z), device=z.device) ^ 1

# %% mutant="nt_xent" why="the partner is left out of the sum"
# - return F.cross_entropy(similarity.masked_fill(itself, -math.inf), partner)
# + own = similarity[torch.arange(len(z)), partner]
# + others = similarity.masked_fill(itself | itself.roll(len(a), 0), -1e30)
# + return (torch.logsumexp(others, dim=1) - own).mean()

# %% mutant="nt_xent" why="the sum over views"
# - return F.cross_entropy(similarity.masked_fill(itself, -math.inf), partner)
# + return F.cross_entropy(similarity.masked_fill(itself, -math.inf), partner, reduction="sum")

# %% mutant="nt_xent" why="exponentials that overflow or vanish"
# - return F.cross_entropy(similarity.masked_fill(itself, -math.inf), partner)
# + e = similarity.exp().masked_fill(itself, 0)
# + return -(e[torch.arange(len(z)), partner] / e.sum(dim=1)).log().mean()

# %% mutant="nt_xent" why="the logarithm of a softmax that is 0"
# - return F.cross_entropy(similarity.masked_fill(itself, -math.inf), partner)
# + chances = similarity.masked_fill(itself, -math.inf).softmax(dim=1)
# + return -chances[torch.arange(len(z)), partner].log().mean()

# %% mutant="nt_xent" why="the same maximum for all views"
# - return F.cross_entropy(similarity.masked_fill(itself, -math.inf), partner)
# + e = (similarity - 1 / temperature).exp().masked_fill(itself, 0)
# + return -(e[torch.arange(len(z)), partner] / e.sum(dim=1)).log().mean()

# %% mutant="nt_xent" why="leaves out all views that are equal, not itself by number"
# - itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
# + itself = (z @ z.T > 1 - 1e-6) & ~torch.eye(len(z), dtype=torch.bool).roll(len(a), 0)

# %% mutant="nt_xent" why="no gradient through b"
# - z = F.normalize(torch.cat([a, b]), dim=1)
# + z = F.normalize(torch.cat([a, b.detach()]), dim=1)


# %% alternative="nt_xent" why="logsumexp over the views without the diagonal"
def nt_xent(a, b, temperature=0.5):
    n = a.shape[0]
    z = torch.cat((a, b), dim=0)
    z = z / torch.linalg.vector_norm(z, dim=1, keepdim=True)
    s = torch.einsum("id,jd->ij", z, z) / temperature
    rest = torch.stack([torch.cat((s[i, :i], s[i, i + 1 :])) for i in range(2 * n)])
    own = torch.cat((s.diagonal(n), s.diagonal(-n)))
    return (rest.logsumexp(dim=1) - own).sum() / (2 * n)


# %%
def views(x: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Each picture turned, sheared, stretched and moved a little, each in its own way."""
    n = len(x)

    def draw(reach: float) -> torch.Tensor:
        return reach * (2 * torch.rand(n, generator=g) - 1)

    angle, shear, wide, high = draw(0.35), draw(0.3), 1 + draw(0.2), 1 + draw(0.2)
    first = torch.stack([angle.cos() * wide, shear - angle.sin(), draw(0.15)], dim=1)
    second = torch.stack([angle.sin(), angle.cos() * high, draw(0.15)], dim=1)
    grid = F.affine_grid(torch.stack([first, second], dim=1), x.shape, align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def simclr_step(network: nn.Module, g: torch.Generator) -> torch.Tensor:
    """Two views of 96 pictures; labels are never read."""
    x = x_train[torch.randperm(len(x_train), generator=g)[:96]]
    a, b = (network(views(x, g).to(device)) for _ in range(2))
    return nt_xent(a, b, 0.2)


few = x_train[[0, 400, 900, 1300, 1700, 2100, 2400, 2600]]
g = torch.Generator().manual_seed(1)
plots.images(
    torch.cat([few, views(few, g), views(few, g)])[:, 0],
    title="Eight drawings, and two views of each",
)
plots.show(
    "A row of eight drawings, and below it two rows with a turned or stretched view of each."
)

figure, ax = plt.subplots(figsize=(8, 3.6))
for i, k in enumerate((1, 5, 20)):
    scores = [recall_at_k(found, y_test, k) for found in map(points_of, WAYS)]
    bars = ax.bar(np.arange(len(WAYS)) + 0.27 * (i - 1), scores, 0.25, label=f"recall@{k}")
    ax.bar_label(bars, [f"{s:.2f}" for s in scores], fontsize=8)
ax.set_xticks(range(len(WAYS)), WAYS)
ax.set(title="Three alphabets that no network has seen", ylabel="share of drawings", ylim=(0, 1.3))
ax.legend(frameon=False, ncols=3, loc="upper left")
plots.show(
    "Bars of recall@1, @5 and @20 for pixels, an untrained network, triplets and SimCLR: both trained "
    "networks are far above pixels, and SimCLR, which had no labels, comes close to triplets."
)

# %% [markdown]
# Labels are worth less than one might think: what counts is to know which changes *don't* matter, and for that random views will do. But the choice of views is knowledge, too. Mirror the drawings, and b becomes d.

# %% [markdown] lang="ru"
# Метки стоят меньше, чем кажется: важно знать, какие изменения *не* важны, а для этого хватает случайных видов. Но и выбор видов — это знание. Отразите рисунки, и b превратится в d.

# %% [markdown]
# ## 4. A teacher's doubts
# {{task:distillation_loss}}
#
# "A 3" says the label. "A 3, but with a touch of 8" says a teacher. [Distillation](glossary:distillation) (Hinton et al., [2015](https://arxiv.org/abs/1503.02531)) lets a student learn from the second sentence. The touch is faint: a good teacher gives the 8 a probability of 0.001. So both networks' logits are divided by a [temperature](glossary:temperature) $T$, which makes small probabilities visible:
#
# $$p_i = \frac{\exp(t_i / T)}{\sum_j \exp(t_j / T)}, \quad q_i = \frac{\exp(s_i / T)}{\sum_j \exp(s_j / T)},$$
#
# $$\mathcal L = \alpha\, T^2 \sum_i p_i \log\frac{p_i}{q_i} + (1 - \alpha)\, \bigl(-\log \text{softmax}(s)_y\bigr),$$
#
# the mean over the batch. Why $T^2$? The gradient of the first part by $s_i$ is $(q_i - p_i) / T$, and for a large $T$ it shrinks once more with the difference itself: like $1/T^2$. The factor keeps it at the size of the second part, whatever $T$ is. The second part has no temperature. **No gradient goes to the teacher.** Logits of a thousand must do no harm.

# %% [markdown] lang="ru"
# ## 4. Сомнения учителя
# {{task:distillation_loss}}
#
# «Это 3», — говорит метка. «Это 3, но чем-то похожа на 8», — говорит учитель. [Дистилляция](glossary:distillation) (distillation; Hinton и др., [2015](https://arxiv.org/abs/1503.02531)) учит ученика по второй фразе. Сходство едва заметно: хороший учитель даёт восьмёрке вероятность 0,001. Поэтому логиты обеих сетей делят на [температуру](glossary:temperature) (temperature) $T$, и малые вероятности становятся видны:
#
# $$p_i = \frac{\exp(t_i / T)}{\sum_j \exp(t_j / T)}, \quad q_i = \frac{\exp(s_i / T)}{\sum_j \exp(s_j / T)},$$
#
# $$\mathcal L = \alpha\, T^2 \sum_i p_i \log\frac{p_i}{q_i} + (1 - \alpha)\, \bigl(-\log \text{softmax}(s)_y\bigr),$$
#
# среднее по батчу. Зачем $T^2$? Градиент первой части по $s_i$ равен $(q_i - p_i) / T$, а при большом $T$ уменьшается и сама разность — вместе как $1/T^2$. Множитель удерживает его на уровне второй части при любом $T$. Во второй части температуры нет. **К учителю градиент не идёт.** Логиты в тысячу не должны ничего сломать.


# %% solution="distillation_loss"
def distillation_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor,
    temperature: float = 4.0,
    alpha: float = 0.9,
) -> torch.Tensor:
    """The mean over the batch of the two parts above. Logits (n, c), labels (n,) -> no axes."""
    ### BEGIN SOLUTION
    log_q = F.log_softmax(student / temperature, dim=1)
    log_p = F.log_softmax(teacher.detach() / temperature, dim=1)
    soft = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    return alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(student, labels)
    ### END SOLUTION


# %% test="distillation_loss" points=1 bonus=true difficulty=2 minutes=20
s, t = torch.tensor([[0.0, 0.0]]), torch.tensor([[2 * math.log(3.0), 0.0]])
label, call = torch.tensor([1]), "distillation_loss([[0, 0]], [[2 log 3, 0]], [1], 2, 1)"
want = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
check.close(check.answer(distillation_loss, s, t, label, 2.0, 1.0, call=call), want, call)
call = "distillation_loss([[0, 0]], [[2 log 3, 0]], [1], 2, 0)"
check.close(check.answer(distillation_loss, s, t, label, 2.0, 0.0, call=call), math.log(2), call)
call = "distillation_loss(student, teacher, labels)"
slopes = check.gradient_of(lambda a, b: distillation_loss(a, b, label), s, t, call=call)
check.equal(slopes[1], np.zeros((1, 2)), "the gradient that goes to the teacher", why="be none")
### BEGIN HIDDEN TESTS
rng = check.rng("distillation_loss")


def by_sums(s, t, labels, temperature, alpha):
    """In float64, term by term."""
    total = 0.0
    for a, b, label in zip(s.double(), t.double(), labels, strict=True):
        log_q, log_p = (v / temperature - torch.logsumexp(v / temperature, 0) for v in (a, b))
        soft = (log_p.exp() * (log_p - log_q)).sum()
        total += alpha * temperature**2 * soft + (1 - alpha) * (torch.logsumexp(a, 0) - a[label])
    return total / len(s)


def judge_distillation(n, c, why, scale=2.0, dtype=torch.float64, **options):
    """Values and gradients of random logits."""
    s, t = (torch.tensor(scale * rng.normal(size=(n, c)), dtype=dtype) for _ in range(2))
    labels = torch.tensor(rng.integers(0, c, size=n))
    temperature, alpha = options.get("temperature", 4.0), options.get("alpha", 0.9)
    call = f"distillation_loss of logits {(n, c)}, {options}"
    leaf = s.clone().requires_grad_()
    value = by_sums(leaf, t, labels, temperature, alpha)
    (want,) = torch.autograd.grad(value, leaf)
    small = {"rtol": 1e-3, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-6, "atol": 1e-9}
    found = check.answer(distillation_loss, s, t, labels, call=call, **options)
    check.close(found, value.item(), call, why=why, **small)
    check.that(np.asarray(found).dtype == s.numpy().dtype, f"give a tensor of {dtype} for {dtype}")
    slopes = check.gradient_of(
        lambda a, b: distillation_loss(a, b, labels, **options), s, t, call=call
    )
    check.close(slopes[0], want, f"the student's gradient of {call}", why=why, **small)
    check.equal(slopes[1], np.zeros((n, c)), f"the teacher's gradient of {call}", why="be none")


for n, c in [(1, 3), (5, 4), (3, 10), (8, 2)]:
    judge_distillation(n, c, "compare with the teacher", temperature=1.0, alpha=1.0)
    judge_distillation(n, c, "learn from labels, without a temperature", temperature=3.0, alpha=0.0)
    judge_distillation(n, c, "soften both and multiply by T squared", temperature=5.0, alpha=1.0)
    judge_distillation(n, c, "mix both parts", temperature=2.5, alpha=0.3)
judge_distillation(6, 5, "take T = 4 where none is given", alpha=0.6)
judge_distillation(6, 5, "take alpha = 0.9 where none is given", temperature=2.0)
judge_distillation(6, 5, "take T = 4 and alpha = 0.9 where none are given")
judge_distillation(6, 5, "keep a temperature below 1, too", temperature=0.5, alpha=0.5)
judge_distillation(7, 5, "do all of this in float32", dtype=torch.float32, temperature=3.0)
judge_distillation(4, 6, "not overflow", scale=1000.0, temperature=2.0, alpha=0.7)
s = torch.tensor([[0.0, 1.0], [1000.0, 999.0]])
t, labels = s.flip(1), torch.tensor([1, 0])
for temperature, alpha in [(1.0, 0.6), (4.0, 0.9)]:
    call = f"distillation_loss of logits near 0 and near 1000, T = {temperature}"
    found = check.answer(distillation_loss, s, t, labels, temperature, alpha, call=call)
    want = by_sums(s, t, labels, temperature, alpha)
    why = "treat each example by itself, however large the logits of another one are"
    check.close(found, want, call, rtol=1e-3, why=why)
s, t = (torch.tensor(rng.normal(size=(4, 5))) for _ in range(2))
labels, found = torch.arange(4), []
for temperature in (200.0, 400.0):
    call = "the student's gradient at high temperatures"
    ask = lambda a, T=temperature: distillation_loss(a, t, labels, T, 1.0)  # noqa: E731
    found.append(check.gradient_of(ask, s, call=call)[0])
check.close(found[1], found[0], call, rtol=0.1, atol=1e-3, why="stay of the same size: T squared")
### END HIDDEN TESTS

# %% mutant="distillation_loss" why="forgets T squared"
# - return alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(student, labels)
# + return alpha * soft + (1 - alpha) * F.cross_entropy(student, labels)

# %% mutant="distillation_loss" why="T, not T squared"
# - return alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(student, labels)
# + return alpha * temperature * soft + (1 - alpha) * F.cross_entropy(student, labels)

# %% mutant="distillation_loss" why="T squared for both parts"
# - return alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(student, labels)
# + return temperature**2 * (alpha * soft + (1 - alpha) * F.cross_entropy(student, labels))

# %% mutant="distillation_loss" why="a mean over classes, too"
# - soft = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
# + soft = F.kl_div(log_q, log_p, reduction="mean", log_target=True)

# %% mutant="distillation_loss" why="the divergence the other way round"
# - soft = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
# + soft = F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)

# %% mutant="distillation_loss" why="the teacher learns, too"
# - log_p = F.log_softmax(teacher.detach() / temperature, dim=1)
# + log_p = F.log_softmax(teacher / temperature, dim=1)

# %% mutant="distillation_loss" why="softens the teacher alone"
# - log_q = F.log_softmax(student / temperature, dim=1)
# + log_q = F.log_softmax(student, dim=1)

# %% mutant="distillation_loss" why="labels at the temperature"
# - return alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(student, labels)
# + return alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(student / temperature, labels)

# %% mutant="distillation_loss" why="alpha the other way round"
# - return alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(student, labels)
# + return (1 - alpha) * temperature**2 * soft + alpha * F.cross_entropy(student, labels)

# %% mutant="distillation_loss" why="the logarithm of a softmax that is 0"
# - log_q = F.log_softmax(student / temperature, dim=1)
# + log_q = F.softmax(student / temperature, dim=1).log()

# %% mutant="distillation_loss" why="subtracts the maximum of the whole batch"
# - log_q = F.log_softmax(student / temperature, dim=1)
# + scaled = (student - student.max()) / temperature
# + log_q = scaled - scaled.exp().sum(dim=1, keepdim=True).log()

# %% mutant="distillation_loss" why="cross-entropy instead of the divergence"
# - soft = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
# + soft = -(log_p.exp() * log_q).sum(dim=1).mean()

# %% mutant="distillation_loss" why="the softmax over the batch"
# - log_p = F.log_softmax(teacher.detach() / temperature, dim=1)
# + log_p = F.log_softmax(teacher.detach() / temperature, dim=0)


# %% alternative="distillation_loss" why="by hand, under no_grad"
def distillation_loss(student, teacher, labels, temperature=4.0, alpha=0.9):
    with torch.no_grad():
        scaled = teacher / temperature
        log_p = scaled - scaled.logsumexp(dim=1, keepdim=True)
    scaled = student / temperature
    log_q = scaled - scaled.logsumexp(dim=1, keepdim=True)
    soft = (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()
    hard = -student.log_softmax(dim=1)[torch.arange(len(labels)), labels].mean()
    return soft * alpha * temperature * temperature + hard * (1 - alpha)


# %% [markdown]
# **The digit that the student has never seen.** Hinton et al. left out all examples of one class from what the student learns from. Here a teacher knows all ten digits; its students are shown no 3, neither the label nor the picture. All they have is what the teacher says of *other* digits: how much each of them looks like a 3.

# %% [markdown] lang="ru"
# **Цифра, которой ученик никогда не видел.** Hinton и др. убрали все примеры одного класса из того, на чём учится ученик. Здесь учитель знает все десять цифр, а ученикам ни разу не показывают тройку — ни метку, ни картинку. У них есть только то, что учитель говорит о *других* цифрах: насколько каждая похожа на 3.

# %%
digits = data.load("digits", "small")
d_train, d_test = (
    torch.from_numpy(v).flatten(1).float() / 16 for v in (digits.x_train, digits.x_test)
)
c_train, c_test = (torch.from_numpy(v).long() for v in (digits.y_train, digits.y_test))
MISSING = 3


def reader(width: int, drop: float = 0.0) -> nn.Module:
    """Pixels (n, 64) -> logits (n, 10)."""
    layers = [nn.Linear(64, width), nn.ReLU(), nn.Dropout(drop), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(drop), nn.Linear(width, 10))


def train_reader(network: nn.Module, count: int, loss: Callable) -> nn.Module:
    """40 passes over count examples; loss is told the numbers of the batch."""
    optimizer, g = torch.optim.Adam(network.parameters(), lr=2e-3), torch.Generator().manual_seed(0)
    network.train()
    for _ in range(40):
        for batch in torch.randperm(count, generator=g).split(64):
            value = loss(network, batch)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return network.eval()


torch.manual_seed(0)
teacher = train_reader(
    reader(256, 0.3), len(d_train), lambda net, i: F.cross_entropy(net(d_train[i]), c_train[i])
)
with torch.no_grad():
    said, said_test = teacher(d_train), teacher(d_test)
print(f"the teacher: {(said_test.argmax(1) == c_test).float().mean():.3f} right")

looks_like_three = said[c_train != MISSING][:, MISSING].argsort(descending=True)
example = (c_train != MISSING).nonzero().flatten()[looks_like_three[2]]
figure, axes = plt.subplots(1, 5, figsize=(12, 2.5), width_ratios=(1, 1.3, 1.3, 1.3, 1.3))
axes[0].imshow(16 - d_train[example].view(8, 8))
axes[0].set(title=f"label: {c_train[example]}", xticks=[], yticks=[])
axes[0].grid(False)
for ax, T in zip(axes[1:], (1, 2, 5, 20), strict=True):
    colours = [plots.PALETTE[1] if c == MISSING else plots.PALETTE[0] for c in range(10)]
    ax.bar(range(10), (said[example] / T).softmax(dim=0), color=colours)
    ax.set(title=f"the teacher at T = {T}", xticks=range(10), ylim=(0, 1))
plots.show(
    "A digit that is no 3, and the teacher's probabilities at temperatures 1, 2, 5 and 20: at 1 nearly "
    "all lies on the label; the warmer, the better the other classes show, first of all the 3 in orange."
)

# %%
kept = (c_train != MISSING).nonzero().flatten()
temperatures = {
    "labels only": None,
    "T = 1": 1.0,
    "T = 2": 2.0,
    "T = 4": 4.0,
    "T = 8": 8.0,
    "T = 20": 20.0,
}
threes, all_right = [], []
for T in temperatures.values():
    torch.manual_seed(10)

    def loss(net: nn.Module, i: torch.Tensor, T: float | None = T) -> torch.Tensor:
        chosen = kept[i]
        alpha = 0.0 if T is None else 1.0
        return distillation_loss(
            net(d_train[chosen]), said[chosen], c_train[chosen], T or 1.0, alpha
        )

    student = train_reader(reader(32), len(kept), loss)
    with torch.no_grad():
        right = student(d_test).argmax(1) == c_test
    threes.append(float(right[c_test == MISSING].float().mean()))
    all_right.append(float(right.float().mean()))
figure, ax = plt.subplots(figsize=(8.5, 3.4))
for i, (name, scores) in enumerate({"threes read": threes, "all digits": all_right}.items()):
    bars = ax.bar(
        np.arange(6) + 0.4 * i - 0.2, scores, 0.36, label=name, color=plots.PALETTE[1 - i]
    )
    ax.bar_label(bars, [f"{s:.0%}" for s in scores], fontsize=9)
ax.set_xticks(range(6), temperatures)
ax.set(title="Students that have never seen a 3", ylabel="share right", ylim=(0, 1.25))
ax.legend(frameon=False, ncols=2, loc="upper left")
plots.show(
    "Bars for six students: from labels, or at temperatures 1 and 2, none or hardly any 3 is read; at "
    "higher temperatures the student reads most threes, which it has never seen."
)

# %% [markdown]
# The 3 was described to it, nothing else. It doesn't always go so well: put 8 for `MISSING`, and the student rarely says "8", for its bias has learnt that nothing ever is one. Hinton et al. saw the same and raised that one number by hand; after it, their student read 98.6 % of the threes that it had never seen.

# %% [markdown] lang="ru"
# Тройку ему лишь описали, больше ничего. Так хорошо выходит не всегда: поставьте `MISSING = 8`, и ученик почти никогда не скажет «8», ведь его смещение выучило, что восьмёрок не бывает. Hinton и др. увидели то же самое и подняли это одно число вручную; после этого их ученик прочёл 98,6 % троек, которых никогда не видел.

# %% [markdown]
# ## 5. A picture as a sentence
# {{task:patch_tokens}}
#
# A transformer (week 08) reads a row of vectors, **tokens**. A [ViT](glossary:vit) (Dosovitskiy et al., [2021](https://arxiv.org/abs/2010.11929)) makes one of a picture: cut it into patches of $p \times q$ pixels, row by row; each patch, flattened, goes through the same linear layer; in front comes a **class token**, a learned vector in whose place the answer will stand; and to every token, the class token too, its **position** is added.
#
# All patches at once are a convolution whose stride is the size of its kernel. Write it *without* torch's convolutions: reshape, permute, one matrix product. For a picture that doesn't divide into patches, raise `ValueError`.

# %% [markdown] lang="ru"
# ## 5. Картинка как предложение
# {{task:patch_tokens}}
#
# Трансформер (неделя 08) читает ряд векторов — **токенов**. [ViT](glossary:vit) (Dosovitskiy и др., [2021](https://arxiv.org/abs/2010.11929)) делает такой ряд из картинки: режет её на фрагменты (patches) $p \times q$ пикселей, строка за строкой; каждый фрагмент, вытянутый в вектор, проходит один и тот же линейный слой; впереди ставится **токен класса** — обучаемый вектор, на месте которого потом окажется ответ; и к каждому токену, включая токен класса, прибавляется его **позиция**.
#
# Все фрагменты сразу — это свёртка, у которой шаг равен размеру ядра. Напишите её *без* свёрток torch: reshape, permute и одно матричное произведение. Если картинка не делится на фрагменты, вызовите `ValueError`.


# %% solution="patch_tokens"
def patch_tokens(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    class_token: torch.Tensor,
    positions: torch.Tensor,
) -> torch.Tensor:
    """Pictures -> tokens, without torch's convolutions. Patches row by row, the class token first.

    x: (n, c, h, w), weight: (d, c, p, q) as a convolution has it, bias: (d,), class_token: (d,),
    positions: (1 + k, d), where k = (h / p) (w / q) -> (n, 1 + k, d).
    Raises ValueError where p does not divide h, or q does not divide w.
    """
    ### BEGIN SOLUTION
    (n, c, h, w), (d, _, p, q) = x.shape, weight.shape
    if h % p or w % q:
        raise ValueError(f"a picture of {h} x {w} does not divide into patches of {p} x {q}")
    patches = x.reshape(n, c, h // p, p, w // q, q).permute(0, 2, 4, 1, 3, 5)
    tokens = patches.reshape(n, -1, c * p * q) @ weight.reshape(d, -1).T + bias
    return torch.cat([class_token.expand(n, 1, d), tokens], dim=1) + positions
    ### END SOLUTION


# %% test="patch_tokens" points=0.5 bonus=true difficulty=2 minutes=20
x, weight = torch.arange(8.0).reshape(1, 1, 2, 4), torch.tensor([[[[1.0, 0.0], [0.0, 10.0]]]])
call = "patch_tokens of [[0, 1, 2, 3], [4, 5, 6, 7]], weight [[1, 0], [0, 10]]"
given = x, weight, torch.ones(1), torch.tensor([-1.0]), torch.tensor([[0.0], [100.0], [200.0]])
found = check.answer(patch_tokens, *given, call=call)
check.close(found, [[[-1], [151], [273]]], call)
why = "refuse 4 columns in patches of 3"
given = x, torch.zeros(1, 1, 2, 3), torch.zeros(1), torch.zeros(1), torch.zeros(2, 1)
check.raises(ValueError, lambda: patch_tokens(*given), "patch_tokens, 3 in 4", why=why)
### BEGIN HIDDEN TESTS
rng = check.rng("patch_tokens")


def judge_tokens(n, c, size, patch, d, why, dtype=torch.float64):
    """Against a strided convolution, which is asked first; gradients of all five, too."""
    count = 1 + (size[0] // patch[0]) * (size[1] // patch[1])
    shapes = [(n, c, *size), (d, c, *patch), (d,), (d,), (count, d)]
    given = [torch.tensor(rng.normal(size=s), dtype=dtype) for s in shapes]

    def by_convolution(x, weight, bias, class_token, positions):
        y = F.conv2d(x, weight, bias, stride=patch).flatten(2).transpose(1, 2)
        return torch.cat([class_token.repeat(len(x), 1, 1), y], dim=1) + positions

    want = by_convolution(*given)
    call = f"patch_tokens of pictures {shapes[0]}, patches {patch}"
    with check.without_torch("conv"):
        found = check.answer(patch_tokens, *given, call=call)
    small = {"rtol": 1e-3, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 1e-6, "atol": 1e-9}
    check.close(found, want, call, why=why, **small)
    check.that(np.asarray(found).dtype == given[0].numpy().dtype, f"give {dtype} for {dtype}")
    upstream = torch.tensor(rng.normal(size=want.shape), dtype=dtype)
    got = check.gradient_of(patch_tokens, *given, call=call, upstream=upstream)
    wanted = check.gradient_of(by_convolution, *given, call=call, upstream=upstream)
    names = ("x", "weight", "bias", "class_token", "positions")
    for name, g, v in zip(names, got, wanted, strict=True):
        check.close(g, v, f"the gradient of {call} by {name}", why="let gradients through", **small)


x, weight = torch.zeros(2, 1, 2, 6), torch.ones(3, 1, 2, 3)
none, given = torch.zeros(3), torch.tensor(rng.normal(size=(3, 3))).float()
bias, token = torch.tensor(rng.uniform(1, 2, size=(2, 3))).float()
for parts, want, why in [
    ((none, none, given), given, "add its position to each token, the class token too"),
    ((none, token, 0 * given), [token, none, none], "put the class token in front"),
    ((bias, none, 0 * given), [none, bias, bias], "add the bias to what comes of patches, alone"),
]:
    call = "patch_tokens of black pictures"
    want = np.array([[np.asarray(row) for row in want]] * 2)
    check.close(check.answer(patch_tokens, x, weight, *parts, call=call), want, call, why=why)
x, weight = (torch.tensor(rng.uniform(1, 2, size=(1, 1, 2, 3))).float() for _ in range(2))
call, want = "patch_tokens of one patch of 2 x 3", [[[0.0], [float((x * weight).sum())]]]
one = torch.zeros(1), torch.zeros(1), torch.zeros(2, 1)
why = "multiply each pixel by the weight at its own place in the patch"
check.close(check.answer(patch_tokens, x, weight, *one, call=call), want, call, rtol=1e-5, why=why)
judge_tokens(1, 1, (2, 3), (2, 3), 2, "make one token of one patch, behind the class token")
judge_tokens(1, 1, (4, 6), (2, 3), 3, "take patches row by row")
judge_tokens(1, 1, (6, 2), (2, 2), 4, "take patches row by row")
judge_tokens(1, 3, (4, 8), (4, 2), 5, "read all channels of a patch")
judge_tokens(3, 2, (4, 6), (2, 2), 7, "take each picture by itself")
judge_tokens(2, 3, (9, 8), (3, 4), 6, "do all of this together")
judge_tokens(2, 3, (8, 12), (4, 4), 6, "do all of this together", dtype=torch.float32)
sizes = [((4, 6), (3, 3)), ((4, 6), (4, 4)), ((6, 4), (4, 4)), ((2, 2), (3, 1))]
sizes += [((6, 4), (4, 3)), ((2, 6), (4, 3))]  # the area of the patch divides the picture's
for size, patch in sizes:
    x, weight = torch.ones(2, 3, *size), torch.ones(5, 3, *patch)
    count = 1 + (size[0] // patch[0]) * (size[1] // patch[1])
    call = f"patch_tokens of {size} in patches of {patch}"
    rest = torch.ones(5), torch.ones(5), torch.ones(count, 5)
    ask = lambda x=x, w=weight, r=rest: patch_tokens(x, w, *r)  # noqa: E731
    check.raises(ValueError, ask, call, why="refuse what doesn't divide")
### END HIDDEN TESTS

# %% mutant="patch_tokens" why="lets torch's convolution do it"
# - patches = x.reshape(n, c, h // p, p, w // q, q).permute(0, 2, 4, 1, 3, 5)
# - tokens = patches.reshape(n, -1, c * p * q) @ weight.reshape(d, -1).T + bias
# + tokens = F.conv2d(x, weight, bias, stride=(p, q)).flatten(2).transpose(1, 2)

# %% mutant="patch_tokens" why="cuts by a reshape alone"
# - patches = x.reshape(n, c, h // p, p, w // q, q).permute(0, 2, 4, 1, 3, 5)
# + patches = x

# %% mutant="patch_tokens" why="column by column"
# - patches = x.reshape(n, c, h // p, p, w // q, q).permute(0, 2, 4, 1, 3, 5)
# + patches = x.reshape(n, c, h // p, p, w // q, q).permute(0, 4, 2, 1, 3, 5)

# %% mutant="patch_tokens" why="channels last within a patch"
# - patches = x.reshape(n, c, h // p, p, w // q, q).permute(0, 2, 4, 1, 3, 5)
# + patches = x.reshape(n, c, h // p, p, w // q, q).permute(0, 2, 4, 3, 5, 1)

# %% mutant="patch_tokens" why="the class token at the end"
# - return torch.cat([class_token.expand(n, 1, d), tokens], dim=1) + positions
# + return torch.cat([tokens, class_token.expand(n, 1, d)], dim=1) + positions

# %% mutant="patch_tokens" why="no position for the class token"
# - return torch.cat([class_token.expand(n, 1, d), tokens], dim=1) + positions
# + return torch.cat([class_token.expand(n, 1, d), tokens + positions[1:]], dim=1)

# %% mutant="patch_tokens" why="forgets the bias"
# - tokens = patches.reshape(n, -1, c * p * q) @ weight.reshape(d, -1).T + bias
# + tokens = patches.reshape(n, -1, c * p * q) @ weight.reshape(d, -1).T

# %% mutant="patch_tokens" why="the class token gets the bias, too"
# - return torch.cat([class_token.expand(n, 1, d), tokens], dim=1) + positions
# + return torch.cat([(class_token + bias).expand(n, 1, d), tokens], dim=1) + positions

# %% mutant="patch_tokens" why="never refuses: cuts the rest off"
# - if h % p or w % q:
# -     raise ValueError(f"a picture of {h} x {w} does not divide into patches of {p} x {q}")
# + x = x[..., : h // p * p, : w // q * q]
# + h, w = x.shape[2:]

# %% mutant="patch_tokens" why="compares areas alone"
# - if h % p or w % q:
# + if h * w % (p * q):

# %% mutant="patch_tokens" why="pixels of a patch column by column"
# - patches = x.reshape(n, c, h // p, p, w // q, q).permute(0, 2, 4, 1, 3, 5)
# + patches = x.reshape(n, c, h // p, p, w // q, q).permute(0, 2, 4, 1, 5, 3)

# %% mutant="patch_tokens" why="looks at the height alone"
# - if h % p or w % q:
# + if h % p:


# %% alternative="patch_tokens" why="a loop over patches"
def patch_tokens(x, weight, bias, class_token, positions):
    p, q = weight.shape[2:]
    rows, columns = x.shape[2] / p, x.shape[3] / q
    if rows != int(rows) or columns != int(columns):
        raise ValueError("no whole number of patches")
    row = [class_token.repeat(len(x), 1)]
    for i in range(int(rows)):
        for j in range(int(columns)):
            patch = x[:, :, i * p : i * p + p, j * q : j * q + q]
            row.append(torch.einsum("ncpq,dcpq->nd", patch, weight) + bias)
    return torch.stack(row, dim=1) + positions


# %% alternative="patch_tokens" why="unfold"
def patch_tokens(x, weight, bias, class_token, positions):
    size = tuple(weight.shape[2:])
    if any(n % k for n, k in zip(x.shape[2:], size, strict=True)):
        raise ValueError(size)
    tokens = F.linear(F.unfold(x, size, stride=size).transpose(1, 2), weight.flatten(1), bias)
    first = class_token.view(1, 1, -1).expand(len(x), -1, -1)
    return torch.cat((first, tokens), 1) + positions


# %% [markdown]
# **Two checks on real things.** Your tokens, put through the rest of torchvision's own (tiny, untrained) ViT, give its answer. And a photograph with shuffled patches: without positions it is the *same set* of tokens, and attention, which asks for no order, could not tell the two apart.

# %% [markdown] lang="ru"
# **Две проверки на настоящих вещах.** Ваши токены, пропущенные через остаток ViT из torchvision (крошечного, необученного), дают его ответ. И фотография с перемешанными фрагментами: без позиций это *тот же набор* токенов, и внимание, которому порядок не важен, не отличило бы одну от другой.

# %%
from torchvision.models import VisionTransformer

torch.manual_seed(0)
vit = VisionTransformer(
    image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5
).eval()
nn.init.normal_(vit.heads.head.weight)
with torch.no_grad():
    x = torch.randn(3, 3, 32, 32)
    parts = (
        vit.conv_proj.weight,
        vit.conv_proj.bias,
        vit.class_token[0, 0],
        vit.encoder.pos_embedding[0],
    )
    tokens = patch_tokens(x, *parts)
    answer = vit.heads(vit.encoder.ln(vit.encoder.layers(tokens))[:, 0])
    print(f"largest difference to torchvision's answer: {(answer - vit(x)).abs().max():.1e}")

photograph = load_sample_image("china.jpg")[
    8:424, 8:632
]  # ships with scikit-learn; D. Büchele, CC BY 2.0
p = 104
grid = photograph.reshape(4, p, 6, p, 3).swapaxes(1, 2).reshape(24, p, p, 3)
shuffled = grid[np.random.default_rng(0).permutation(24)]
figure, axes = plt.subplots(1, 2, figsize=(11, 3.8))
sets = []
for ax, patches, title in zip(
    axes, (grid, shuffled), ("24 patches", "the same, shuffled"), strict=True
):
    whole = patches.reshape(4, 6, p, p, 3).swapaxes(1, 2).reshape(4 * p, 6 * p, 3).copy()
    x = torch.from_numpy(whole / 255).float().permute(2, 0, 1)[None]
    layer = torch.manual_seed(1), torch.randn(8, 3, p, p) / p, torch.zeros(8), torch.zeros(8)
    tokens = patch_tokens(x, *layer[1:], torch.zeros(25, 8))[0, 1:]
    sets.append(tokens[tokens[:, 0].argsort()])
    whole[::p], whole[:, ::p] = 255, 255
    ax.imshow(whole)
    ax.set_title(title, fontsize=11)
    ax.axis("off")
plots.show(
    "A photograph of a temple cut into 4 by 6 patches, and the same patches in another order."
)
print(f"without positions, sorted: largest difference {(sets[0] - sets[1]).abs().max():.1e}")

# %% [markdown]
# ## 6. Borrowed eyes
# {{task:segmenter}}
#
# Nuclei of cells under a microscope, few of them outlined by hand: here 16 pictures. A U-Net (week 03) has an encoder, which makes the picture smaller and learns what to look for, and a decoder, which makes it large again. Why not borrow the encoder? EfficientNet-Lite0 has learnt edges, spots and textures on ImageNet. Two things are needed.
#
# **`maps_of`**: what *named layers inside* a model give, without changing its code: a forward hook on each, the call, and then *every hook comes off again*. Gradients pass, or the encoder could not be fine-tuned. A map is the tensor that the layer gave; all names exist, each layer runs once, and no later one (such as a ReLU in place) overwrites its map.
#
# **`Decoder`**: takes maps from fine to coarse. Begin with the coarsest, $y$. For each finer map in turn: enlarge $y$ to its size (bilinear, `align_corners=False`), concatenate $y$ and then the map along channels, convolution 3 × 3 without bias to `width` channels, batch normalisation, ReLU. At the end a convolution 1 × 1 with bias makes one logit a pixel, at the size of the finest map. All other settings are torch's defaults; what the layers are called, and in which order they are made, is up to you.

# %% [markdown] lang="ru"
# ## 6. Чужими глазами
# {{task:segmenter}}
#
# Ядра клеток под микроскопом; вручную размечено лишь немного картинок — здесь их 16. У U-Net (неделя 03) есть кодировщик, который уменьшает картинку и учится, на что смотреть, и декодер, который снова её увеличивает. Почему бы не взять кодировщик взаймы? EfficientNet-Lite0 выучил границы, пятна и текстуры на ImageNet. Нужны две вещи.
#
# **`maps_of`**: что дают *слои внутри* модели, названные по именам, — без изменения её кода: на каждый ставится forward hook, модель вызывается, и затем *все они снимаются*. Градиент проходит, иначе кодировщик нельзя было бы дообучить. Карта — это тот самый тензор, который выдал слой; все имена существуют, каждый слой выполняется один раз, и никакой следующий (например, ReLU in-place) его карту не перезаписывает.
#
# **`Decoder`**: получает карты от самой подробной к самой грубой. Начните с самой грубой, $y$. Для каждой следующей, более подробной: увеличьте $y$ до её размера (билинейно, `align_corners=False`), соедините по каналам $y$ и затем карту, свёртка 3 × 3 без смещения в `width` каналов, батч-нормализация, ReLU. В конце свёртка 1 × 1 со смещением даёт один логит на пиксель, в размере самой подробной карты. Остальные настройки — как в torch по умолчанию; имена слоёв и порядок, в котором они созданы, — любые.


# %%
class Segmenter(nn.Module):
    """What becomes of both: pictures (n, c, h, w) -> a logit for each pixel, (n, 1, h, w)."""

    def __init__(
        self, encoder: nn.Module, layers: Sequence[str], channels: Sequence[int], width: int = 16
    ) -> None:
        super().__init__()
        self.encoder, self.layers, self.decoder = encoder, layers, Decoder(channels, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.decoder(*maps_of(self.encoder, self.layers, x))
        return F.interpolate(logits, size=x.shape[2:], mode="bilinear", align_corners=False)


# %% solution="segmenter"
def maps_of(model: nn.Module, layers: Sequence[str], x: torch.Tensor) -> list[torch.Tensor]:
    """What the named layers give when the model is called with x, in the order of layers.

    Names as in model.named_modules(), such as "blocks.2". Hooks that the model itself has run, too.
    Afterwards it has the hooks that it had before, also when its call raises.
    """
    ### BEGIN SOLUTION
    found = {}

    def keep(name: str) -> Callable:
        return lambda module, inputs, output: found.__setitem__(name, output)

    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in layers]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [found[name] for name in layers]
    ### END SOLUTION


class Decoder(nn.Module):
    """Feature maps, fine to coarse -> logits (n, 1, h, w) of the finest map's size.

    channels: of the maps, in that order, at least one. The map of channels[i] is (n, channels[i], ...).
    """

    def __init__(self, channels: Sequence[int], width: int = 16) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        *finer, inputs = channels
        self.merges = nn.ModuleList()
        for more in reversed(finer):
            conv = nn.Conv2d(inputs + more, width, 3, padding=1, bias=False)
            self.merges.append(nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU()))
            inputs = width
        self.head = nn.Conv2d(inputs, 1, 1)
        ### END SOLUTION

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        *finer, y = maps
        for merge, more in zip(self.merges, reversed(finer), strict=True):
            y = F.interpolate(y, size=more.shape[2:], mode="bilinear", align_corners=False)
            y = merge(torch.cat([y, more], dim=1))
        return self.head(y)
        ### END SOLUTION


# %% test="segmenter" points=1 bonus=true difficulty=3 minutes=35
tiny = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 3, stride=2))
x = torch.ones(1, 1, 9, 7)
call = 'maps_of(model, ["2", "0"], x)'
found = check.answer(maps_of, tiny, ["2", "0"], x, call=call)
check.equal([m.shape for m in found], [(1, 3, 3, 2), (1, 2, 7, 5)], f"shapes of {call}")
left = sum(len(m._forward_hooks) for m in tiny.modules())
check.equal(left, 0, f"hooks that are left after {call}", why="take all of them off")
maps = torch.ones(2, 4, 6, 5), torch.ones(2, 7, 3, 3)
call = "Decoder([4, 7])(maps) of 6 x 5 and 3 x 3"
logits = check.answer(Decoder([4, 7]), *maps, call=call)
check.equal(logits.shape, (2, 1, 6, 5), f"the shape of {call}")
### BEGIN HIDDEN TESTS
rng = check.rng("segmenter")


class Encoder(nn.Module):
    """A tiny network with named layers, some of which lie inside of others."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5)),
            nn.Conv2d(5, 6, 3, stride=2),
        )
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        x = self.blocks(self.stem(x).sin())
        if x.shape[2] == 1:
            raise RuntimeError("too small")
        return x.flatten(1).sum(dim=1)


torch.manual_seed(int(rng.integers(1_000_000)))
encoder = Encoder().double()
x = torch.tensor(rng.normal(size=(2, 3, 12, 10)))
inner = encoder.stem(x)
first = encoder.blocks[0](inner.sin())
truth = {
    "stem": inner, "blocks.0": first, "blocks.0.0": encoder.blocks[0][0](inner.sin()),
    "blocks.1": encoder.blocks[1](first), "blocks": encoder.blocks[1](first),
}  # fmt: skip
watching = encoder.stem.register_forward_hook(lambda module, inputs, output: None)
encoder.eval()
for names in (
    ["stem"],
    ["blocks.1", "stem"],
    ["blocks.0.0", "blocks.1", "blocks.0", "stem"],
    ["blocks"],
):
    encoder.train()
    before, call = encoder.calls, f"maps_of(model, {names}, x)"
    found = check.answer(maps_of, encoder, names, x, call=call)
    check.equal(len(found), len(names), f"len({call})", why="be a map for each name")
    for name, one in zip(names, found, strict=True):
        check.close(
            one, truth[name], f"the map of {name} of {call}", rtol=1e-12, why="be that layer's"
        )
    check.equal(encoder.calls - before, 1, f"calls of the model in {call}", why="be one")
    left = [len(m._forward_hooks) for m in encoder.modules()]
    check.that(sum(left) == 1, "leave the hooks that were there, and no others")
encoder.eval()
call = 'maps_of(model.eval(), ["blocks.0"], x)'
want = encoder.blocks[0](inner.sin()).detach()
found = check.answer(maps_of, encoder, ["blocks.0"], x, call=call)
check.close(found[0], want, call, rtol=1e-6, why="leave the mode as it is")
check.that(not encoder.training, "leave the mode as it is")
ran = []
own_hook = encoder.register_forward_pre_hook(lambda module, inputs: ran.append(module))
call = 'maps_of(model, ["stem"], x) of a model with a hook of its own'
check.answer(maps_of, encoder, ["stem"], x, call=call)
own_hook.remove()
check.equal(len(ran), 1, f"runs of that hook in {call}", why="be one, as in any call of a model")
small = torch.ones(1, 3, 5, 5, dtype=torch.float64)
call, why = "maps_of of a model that raises", "let the error of the model through"
check.raises(RuntimeError, lambda: maps_of(encoder, ["stem", "blocks.0"], small), call, why=why)
left = [len(m._forward_hooks) for m in encoder.modules()]
check.that(sum(left) == 1, "take its hooks off also where the model raises")


class Reference(nn.Module):
    """The decoder as the statement has it."""

    def __init__(self, channels, width):
        super().__init__()
        inputs = channels[-1]
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for more in channels[-2::-1]:
            self.convs.append(nn.Conv2d(inputs + more, width, 3, padding=1, bias=False))
            self.norms.append(nn.BatchNorm2d(width))
            inputs = width
        self.last = nn.Conv2d(inputs, 1, 1)

    def forward(self, *maps):
        y = maps[-1]
        for conv, norm, more in zip(self.convs, self.norms, maps[-2::-1], strict=True):
            y = F.interpolate(y, size=more.shape[2:], mode="bilinear", align_corners=False)
            y = F.relu(norm(conv(torch.cat([y, more], dim=1))))
        return self.last(y)


def judge_decoder(channels, sizes, why, width=None):
    """The student's decoder against the reference, on random maps."""
    torch.manual_seed(int(rng.integers(1_000_000)))
    options = {} if width is None else {"width": width}
    maps = [torch.randn(3, c, *size) for c, size in zip(channels, sizes, strict=True)]
    ours, theirs = Decoder(channels, **options), Reference(channels, width or 16)
    check.same_network(ours, theirs, *maps, call=f"Decoder({channels}, {options})(maps)", why=why)


judge_decoder([5], [(4, 6)], "have a head alone where there is one map", 8)
call = "shapes of weights of Decoder([4, 6], 7)"
weights = check.parameters_of(Decoder([4, 6], 7), "Decoder([4, 6], 7)").values()
shapes = [w.shape for w in weights]
for shape, why in [
    ((7, 10, 3, 3), "register a convolution 3 x 3 from both maps to width channels"),
    ((1, 7, 1, 1), "register a convolution 1 x 1 from width channels to a logit"),
]:
    check.equal(shape in shapes, True, f"{call}, one of them", why=why)
same = "convolve y and then the map without bias, batch-normalise, ReLU, where sizes are equal"
judge_decoder([4, 6], [(5, 4), (5, 4)], same, 7)
judge_decoder([4, 6], [(8, 6), (4, 3)], "enlarge bilinearly, without aligned corners", 7)
judge_decoder([4, 6], [(7, 9), (4, 5)], "enlarge to the size of the finer map, also an odd one", 7)
judge_decoder([3, 4, 6], [(16, 12), (8, 6), (4, 3)], "go through the maps from coarse to fine", 5)
judge_decoder([2, 5, 3, 7], [(13, 11), (7, 6), (4, 3), (2, 2)], "do all of this together", 6)
judge_decoder([2, 5, 3], [(8, 8), (4, 4), (2, 2)], "have 16 channels where no width is given")


class ReferenceSegmenter(nn.Module):
    """The tiny encoder, written out, and the reference's decoder."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x):
        stem = self.encoder.stem(x)
        first = self.encoder.blocks[0](stem.sin())
        logits = self.decoder(stem, first, self.encoder.blocks[1](first))
        return F.interpolate(logits, size=x.shape[2:], mode="bilinear", align_corners=False)


layers = ("stem", "blocks.0", "blocks.1")
check.same_network(
    Segmenter(Encoder(), layers, (4, 5, 6), 7),
    ReferenceSegmenter(Encoder(), Reference((4, 5, 6), 7)),
    torch.from_numpy(rng.normal(size=(3, 3, 14, 12))).float(),
    call='Segmenter(encoder, ["stem", "blocks.0", "blocks.1"], (4, 5, 6), 7)(x)',
    why="let gradients through to the encoder",
)
### END HIDDEN TESTS

# %% mutant="segmenter" why="leaves its hooks on the model"
# - for hook in hooks:
# -     hook.remove()
# + pass

# %% mutant="segmenter" why="leaves its hooks where the model raises"
# - try:
# -     model(x)
# - finally:
# -     for hook in hooks:
# -         hook.remove()
# + model(x)
# + for hook in hooks:
# +     hook.remove()

# %% mutant="segmenter" why="takes off all hooks, others' too"
# - hook.remove()
# + hook.remove()
# + for module in model.modules():
# +     module._forward_hooks.clear()

# %% mutant="segmenter" why="in the order in which layers run"
# - return [found[name] for name in layers]
# + return list(found.values())

# %% mutant="segmenter" why="detached maps"
# - return lambda module, inputs, output: found.__setitem__(name, output)
# + return lambda module, inputs, output: found.__setitem__(name, output.detach())

# %% mutant="segmenter" why="what goes in, not what comes out"
# - return lambda module, inputs, output: found.__setitem__(name, output)
# + return lambda module, inputs, output: found.__setitem__(name, inputs[0])

# %% mutant="segmenter" why="a call for each layer"
# - return [found[name] for name in layers]
# + for _ in layers[1:]:
# +     model(x)
# + return [found[name] for name in layers]

# %% mutant="segmenter" why="switches to eval mode"
# - model(x)
# + model.eval()(x)

# %% mutant="segmenter" why="forward itself, past the model's own hooks"
# - model(x)
# + model.forward(x)

# %% mutant="segmenter" why="nearest neighbour"
# - y = F.interpolate(y, size=more.shape[2:], mode="bilinear", align_corners=False)
# + y = F.interpolate(y, size=more.shape[2:])

# %% mutant="segmenter" why="corners aligned"
# - y = F.interpolate(y, size=more.shape[2:], mode="bilinear", align_corners=False)
# + y = F.interpolate(y, size=more.shape[2:], mode="bilinear", align_corners=True)

# %% mutant="segmenter" why="the map before y"
# - y = merge(torch.cat([y, more], dim=1))
# + y = merge(torch.cat([more, y], dim=1))

# %% mutant="segmenter" why="doesn't use the finer maps"
# - y = merge(torch.cat([y, more], dim=1))
# + y = merge(torch.cat([y, 0 * more], dim=1))

# %% mutant="segmenter" why="a bias before the normalisation"
# - conv = nn.Conv2d(inputs + more, width, 3, padding=1, bias=False)
# + conv = nn.Conv2d(inputs + more, width, 3, padding=1)

# %% mutant="segmenter" why="no ReLU"
# - self.merges.append(nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU()))
# + self.merges.append(nn.Sequential(conv, nn.BatchNorm2d(width)))

# %% mutant="segmenter" why="always 16 channels"
# - inputs = width
# + width = inputs = 16

# %% mutant="segmenter" why="probabilities, not logits"
# - return self.head(y)
# + return self.head(y).sigmoid()

# %% mutant="segmenter" why="the same layers for all maps"
# - self.merges.append(nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU()))
# + self.merges.append(nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU()))
# + if len(self.merges) > 2:
# +     self.merges[-1] = self.merges[-2]


# %% alternative="segmenter" why="other names; hooks in an ExitStack; a list of dictionaries"
def maps_of(model, layers, x):
    from contextlib import ExitStack

    seen = [None] * len(layers)
    with ExitStack() as stack:
        for i, name in enumerate(layers):

            def store(module, inputs, output, i=i):
                seen[i] = output

            handle = dict(model.named_modules())[name].register_forward_hook(store)
            stack.callback(handle.remove)
        model(x)
    return tuple(seen)


class Decoder(nn.Module):
    def __init__(self, channels, width=16):
        super().__init__()
        sizes = [channels[-1]] + [width] * (len(channels) - 1)
        for i, more in enumerate(channels[:-1][::-1]):
            setattr(self, f"c{i}", nn.Conv2d(sizes[i] + more, width, (3, 3), 1, 1, bias=False))
            setattr(self, f"n{i}", nn.BatchNorm2d(width))
        self.final = nn.Conv2d(sizes[-1], 1, kernel_size=1)

    def forward(self, *maps):
        y = maps[-1]
        for i in range(len(maps) - 1):
            z = maps[len(maps) - 2 - i]
            y = nn.Upsample(tuple(z.shape[2:]), mode="bilinear")(y)
            y = getattr(self, f"n{i}")(getattr(self, f"c{i}")(torch.cat((y, z), 1))).relu()
        return self.final(y)


# %% [markdown]
# **The race.** Three networks of the same shape: pretrained and fine-tuned, with a small rate for the borrowed part; pretrained and frozen, so that only the decoder learns; and everything from scratch. 16 pictures to learn from, 30 to judge by. Intersection over union is measured on the way.

# %% [markdown] lang="ru"
# **Гонка.** Три сети одинаковой формы: предобученная и дообучаемая, с маленьким шагом для заимствованной части; предобученная и замороженная, учится только декодер; и всё с нуля. 16 картинок для обучения, 30 для оценки. По пути измеряется IoU — пересечение, делённое на объединение.

# %%
nuclei = data.load("nuclei", profile)
borrowed = models.load("efficientnet_lite0")


def prepare(pictures: np.ndarray, masks: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (n, 3, h, w) as the encoder wants them, its brightest pixel white, and masks of 0, 1."""
    grey = F.avg_pool2d(torch.from_numpy(pictures).float()[:, None], settings["scale"])
    grey = 255 * grey / grey.amax(dim=(1, 2, 3), keepdim=True)
    inside = F.max_pool2d((torch.from_numpy(masks) > 0).float()[:, None], settings["scale"])
    return ((grey - 127) / 128).expand(-1, 3, -1, -1).to(device), inside.to(device)


x_few, m_few = prepare(nuclei.x_train[:16], nuclei.y_train[:16])
x_held, m_held = prepare(nuclei.x_test, nuclei.y_test)


def segmenter(encoder: nn.Module) -> nn.Module:
    """EfficientNet as far as block 10, whose maps your decoder reads at four sizes."""
    begin = nn.Sequential()
    for name in ("conv_stem", "bn0", "act0"):
        begin.add_module(name, getattr(encoder, name))
    begin.add_module("blocks", encoder.blocks[:11])
    layers = ("blocks.0", "blocks.2", "blocks.4", "blocks.10")
    return Segmenter(begin, layers, (16, 24, 40, 112))


@torch.no_grad()
def held_out(network: nn.Module) -> tuple[float, torch.Tensor]:
    """The mean intersection over union of the held-out pictures, and the masks."""
    network.eval()
    found = torch.cat([network(x) for x in x_held.split(10)]) > 0
    inside = m_held > 0
    both, either = (m.sum(dim=(1, 2, 3)) for m in (found & inside, found | inside))
    return float((both / either.clamp(min=1)).mean()), found.cpu()


def soft_overlap_loss(logits: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and Dice (week 03)."""
    p = logits.sigmoid()
    dice = (2 * (p * inside).sum() + 1) / (p.sum() + inside.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, inside) + 1 - dice


def race(start: str) -> tuple[list[int], list[float], dict[int, torch.Tensor]]:
    """Steps at which it was measured, the IoU there, and the masks."""
    torch.manual_seed(0)
    encoder = type(borrowed)() if start == "from scratch" else copy.deepcopy(borrowed)
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.1  # its own 0.01 would need hundreds of steps from scratch
    network = segmenter(encoder).to(device)
    frozen = start == "pretrained, frozen"
    network.encoder.requires_grad_(not frozen)
    slow = {"from scratch": 0.01, "pretrained": 0.002}.get(start, 0.0)
    groups = [{"params": network.encoder.parameters()}, {"params": network.decoder.parameters()}]
    optimizer = torch.optim.Adam(groups)
    steps, g = settings["steps"], torch.Generator().manual_seed(0)
    fall = torch.optim.lr_scheduler.OneCycleLR(optimizer, [slow or 1e-9, 0.02], total_steps=steps)
    marks, scores, masks = [0, 5, 10, 20, 40, 60], [], {}
    marks = [mark * steps // 60 for mark in marks]
    size = settings["crop"]
    for step in range(steps + 1):
        if step in marks:
            score, masks[step] = held_out(network)
            scores.append(score)
        if step == steps:
            break
        network.train()
        if frozen:
            network.encoder.eval()
        batch = torch.randint(len(x_few), (8,), generator=g)
        i, j = torch.randint(x_few.shape[2] - size + 1, (2,), generator=g).tolist()
        part = (batch, slice(None), slice(i, i + size), slice(j, j + size))
        x, inside = x_few[part], m_few[part]
        if step % 2:
            x, inside = x.flip(3), inside.flip(3)
        value = soft_overlap_loss(network(x), inside)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        fall.step()
    return marks, scores, masks


results = {start: race(start) for start in ("pretrained", "pretrained, frozen", "from scratch")}
curves = {name: (marks, scores) for name, (marks, scores, _) in results.items()}
ax = plots.curves(curves, "16 pictures of nuclei to learn from", "step", "held-out IoU")
ax.set_ylim(0, 1)
ax.legend(frameon=False, loc="lower right")
plots.show(
    "Held-out overlap against steps: both pretrained networks rise at once, the one from scratch "
    "stays near zero at first and has caught up by the end."
)

marks = results["pretrained"][0]
early, late = marks[2], marks[-1]
columns = [
    ("pretrained", early),
    ("from scratch", early),
    ("pretrained", late),
    ("from scratch", late),
]
figure, axes = plt.subplots(3, 5, figsize=(11, 6.6))
for line, i in zip(axes, (2, 11, 20), strict=True):
    line[0].imshow(x_held[i, 0].cpu())
    for ax, (name, step) in zip(line[1:], columns, strict=True):
        found, inside = results[name][2][step][i, 0].float(), m_held[i, 0].cpu()
        ax.imshow(torch.stack([found, inside, inside], dim=-1))
        if i == 2:
            ax.set_title(f"{name}\nafter {step} steps", fontsize=10)
    for ax in line:
        ax.axis("off")
axes[0, 0].set_title("the picture", fontsize=10)
plots.show(
    "Three pictures of nuclei and masks after few and after all steps. White is right, cyan missed, red "
    "too much: after few steps the pretrained network has found the nuclei, the one from scratch "
    "nothing or everything; at the end both are about equal."
)
for name, (marks, scores, _) in results.items():
    print(
        f"{name:20} IoU after {marks[2]} steps {scores[2]:.2f}, after {marks[-1]} steps {scores[-1]:.2f}"
    )

# %% [markdown]
# So what did the borrowed eyes bring? **A start**: most of the way in a few steps, even frozen. And not much more than that: trained long enough, the network from scratch gets about as far, on pictures that look like nothing in ImageNet. He et al. ([2019](https://arxiv.org/abs/1811.08883)) found the same for detection at a hundred times the size. Pretraining pays where data, steps or patience are short.
#
# **To hand in:** this notebook. In `full` everything is larger and longer (a GPU, a few minutes); the figures in this text are those of `small`, and we have not measured the ones of `full`.

# %% [markdown] lang="ru"
# Что же дали чужие глаза? **Старт**: бо́льшая часть пути за несколько шагов, даже если они заморожены. И не намного больше: при достаточно долгом обучении сеть с нуля доходит примерно туда же — на картинках, не похожих ни на что в ImageNet. He и др. ([2019](https://arxiv.org/abs/1811.08883)) увидели то же самое для детекции, в сотню раз крупнее. Предобучение окупается там, где мало данных, шагов или терпения.
#
# **Что сдать:** эту тетрадь. В `full` всё крупнее и дольше (видеокарта, несколько минут); числа в тексте относятся к `small`, значения для `full` мы не измеряли.
