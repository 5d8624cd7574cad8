# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Measure before you train
# You build a classifier that needs no training, and the instruments that every later week relies on:
# honest accuracy, a confusion matrix, precision and recall, a loss that never overflows. Then you take
# one neuron apart, find its gradients by hand, and train it. No network is worth more than the
# measurement that says how good it is, so the measurement comes first.

# %% [markdown] lang="ru"
# # Сначала измерить, потом обучать
# Вы соберёте классификатор, который не нужно обучать, и инструменты, без которых не обойдётся ни одна
# следующая неделя: честную долю верных ответов, матрицу ошибок, точность и полноту, функцию потерь без
# переполнений. Затем разберёте один нейрон, найдёте его градиенты вручную и обучите его. Сеть стоит
# ровно столько, сколько стоит измерение её качества, — с измерения и начнём.

# %% tags=["parameters"]
profile = "small"

# %%
import time
from collections import Counter
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np

from practical_dl import check, data, plots, progress, seed_everything

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at the
# picture of *your* result. The checks that you see are public ones: passing them is a good sign, not
# a promise. Functions leave their arguments as they were and compute in `float64`, as NumPy does by
# default; whole numbers may come in, as `int64` unless a task says otherwise. This notebook carries no points, but the two others of the week
# lean on it. It needs NumPy and nothing else. The data are handwritten digits, 8 × 8 pixels (profile `full`: MNIST, 28 × 28).

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на
# картинку *вашего* результата. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия.
# Функции не меняют своих аргументов и считают в `float64`, как NumPy по умолчанию; на вход могут прийти
# и целые числа — типа `int64`, если в задании не сказано иное.
# Баллов за эту тетрадь нет, но две другие тетради недели на неё опираются. Нужен только NumPy.
# Данные — рукописные цифры, 8 × 8 пикселей (профиль `full`: MNIST, 28 × 28).

# %%
settings = {
    "small": {"data": "digits", "train": 1347, "test": 450},
    "full": {"data": "mnist", "train": 5000, "test": 1000},
}[profile]

dataset = data.load(settings["data"], profile)
n_train, n_test = settings["train"], settings["test"]
scale = float(dataset.x_train.max())  # pixels from 0 to 1: one scale for every formula below
x_train = dataset.x_train[:n_train].reshape(n_train, -1) / scale
x_test = dataset.x_test[:n_test].reshape(n_test, -1) / scale
y_train = dataset.y_train[:n_train].astype(int)
y_test = dataset.y_test[:n_test].astype(int)
picture = dataset.x_train.shape[1:]  # height and width

shown = [np.flatnonzero(y_train == digit)[i] for i in (0, 1) for digit in range(10)]
plots.images(
    x_train[shown].reshape(-1, *picture),
    titles=[str(y_train[i]) for i in shown],
    title="Two training pictures of each digit",
    columns=10,
    size=0.8,
)
plots.show("Two rows of handwritten digits from 0 to 9; some look alike, such as 3 and 9.")

# %% [markdown]
# ## 1. How far apart are two pictures?
# {{task:pairwise_distances}}
#
# A picture is a point with one coordinate per pixel, so two pictures have a Euclidean distance. You
# need it for *all* pairs of two sets at once. A loop over pairs is clear but slow; expand the square,
# and the expensive part becomes one matrix product, with no loop over pairs or rows:
#
# $$\lVert a_i - b_j \rVert^2 = \lVert a_i \rVert^2 + \lVert b_j \rVert^2 - 2\, a_i^\top b_j$$
#
# The price: for nearly equal points two large numbers are subtracted, and rounding may leave
# something like $-10^{-12}$, whose root is NaN. Distances must not be negative, so cut at zero.
# Another trap: raw pictures are `uint8`, where 200² wraps round to 64. Turn them into `float64` first.

# %% [markdown] lang="ru"
# ## 1. Насколько далеки две картинки?
# {{task:pairwise_distances}}
#
# Картинка — точка, у которой столько координат, сколько пикселей, поэтому между двумя картинками есть
# евклидово расстояние. Нужно оно сразу для *всех* пар из двух наборов. Цикл по парам понятен, но
# медленен; раскройте квадрат — и самая дорогая часть станет одним произведением матриц, без цикла по парам или строкам:
#
# $$\lVert a_i - b_j \rVert^2 = \lVert a_i \rVert^2 + \lVert b_j \rVert^2 - 2\, a_i^\top b_j$$
#
# Расплата: для почти равных точек вычитаются два больших числа, и округление может оставить что-то
# вроде $-10^{-12}$, а корень из этого — NaN. Расстояние не бывает отрицательным: обрежьте нулём.
# Ещё одна ловушка: исходные картинки хранятся в `uint8`, и там 200² превращается в 64. Сначала переведите их в `float64`.


# %%
def distances_loop(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Slow and obvious: one pair at a time. a: (n, d), b: (m, d) -> (n, m)."""
    distances = np.zeros((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            distances[i, j] = np.sqrt(np.sum((a[i] - b[j]) ** 2))
    return distances


# %% solution="pairwise_distances"
def pairwise_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances between all rows of a and all rows of b, without a Python loop.

    a: (n, d), b: (m, d), numbers of any type -> (n, m), every value >= 0 and none NaN.
    Example: a = [[0, 0]], b = [[3, 4], [0, 1]] -> [[5, 1]].
    """
    ### BEGIN SOLUTION
    a, b = np.array(a, dtype=float), np.array(b, dtype=float)
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0))
    ### END SOLUTION


# %% test="pairwise_distances" points=0 difficulty=2 minutes=15
a = np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
b = np.array([[0.0, 0.0], [6.0, 8.0]])
call = "pairwise_distances([[0, 0], [3, 4], [1, 0]], [[0, 0], [6, 8]])"
check.close(
    check.answer(pairwise_distances, a, b, call=call),
    [[0, 10], [5, 5], [1, np.sqrt(89)]],
    call,
    why="have at [i, j] the distance from row i of a to row j of b",
)
rng = check.rng("pairwise_distances")
far, call = 1000 + rng.normal(size=(100, 20)), "pairwise_distances(x, x), x far from 0"
found = check.answer(pairwise_distances, far, far, call=call)  # close together: rounding shows
check.that(
    not np.isnan(found).any(), "have no NaN: rounding leaves no negative number under the root"
)
many = rng.normal(size=(400, 3))
lines = check.lines_run(lambda: pairwise_distances(many, many))
check.that(
    lines < 100,
    "run under 100 lines of Python for 400 x 400 points: no loop over pairs or rows",
    details=f"it ran {lines}",
)
### BEGIN HIDDEN TESTS
call = "pairwise_distances(a, b)"
for n, m, d in [(1, 1, 1), (4, 7, 3), (6, 2, 9), (3, 3, 3)]:
    a, b = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    want = np.array([[np.linalg.norm(p - q) for q in b] for p in a])
    found = check.answer(pairwise_distances, a, b, call=call)
    check.close(found, want, call, rtol=1e-6, why="agree with each pair taken alone")
whole, call = np.array([[1, -2], [4, 2], [0, 0]]), "pairwise_distances of whole numbers"
found = check.answer(pairwise_distances, whole, whole[1:], call=call)
want = [[5, np.sqrt(5)], [0, np.sqrt(20)], [np.sqrt(20), 0]]
check.close(found, want, call, atol=1e-7, why="agree with each pair taken alone")
call = "pairwise_distances([[200, 0], [3, 250]], [[0, 0]]), both uint8"
raw, zero = np.array([[200, 0], [3, 250]], dtype=np.uint8), np.zeros((1, 2), dtype=np.uint8)
found = check.answer(pairwise_distances, raw, zero, call=call)
why = "be the distance of the numbers themselves: nothing wraps round at 256"
check.close(found, [[200], [np.hypot(3, 250)]], call, why=why)
between = np.array([[np.linalg.norm(p - q) for q in far] for p in far])
call = "pairwise_distances(x, x), x far from 0"
found = check.answer(pairwise_distances, far, far, call=call)
check.close(
    found, between, call, atol=1e-3, why="keep distances there, and 0 from a point to itself"
)
a, b, call = (
    np.array([[1 / 3, 0.0]]),
    np.array([[0.0, 1 / 7]]),
    "pairwise_distances, to nine digits",
)
found = check.answer(pairwise_distances, a, b, call=call)
check.close(
    found,
    [[np.sqrt(58) / 21]],
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
### END HIDDEN TESTS

# %% mutant="pairwise_distances" why="forgets the root"
# - return np.sqrt(np.maximum(squared, 0))
# + return np.maximum(squared, 0)

# %% mutant="pairwise_distances" why="lets rounding leave negative numbers under the root"
# - return np.sqrt(np.maximum(squared, 0))
# + return np.sqrt(squared)

# %% mutant="pairwise_distances" why="forgets the 2 of the binomial formula"
# - squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
# + squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - a @ b.T

# %% mutant="pairwise_distances" why="city-block distance"
# - squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
# - return np.sqrt(np.maximum(squared, 0))
# + return np.abs(a[:, None] - b[None]).sum(axis=2)

# %% mutant="pairwise_distances" why="a loop over pairs"
# - squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
# - return np.sqrt(np.maximum(squared, 0))
# + return np.array([[np.sqrt(np.sum((p - q) ** 2)) for q in b] for p in a])

# %% mutant="pairwise_distances" why="a loop over rows"
# - squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
# - return np.sqrt(np.maximum(squared, 0))
# + return np.array([np.sqrt(((p - b) ** 2).sum(axis=1)) for p in a])

# %% mutant="pairwise_distances" why="small whole numbers wrap round"
# - a, b = np.array(a, dtype=float), np.array(b, dtype=float)

# %% mutant="pairwise_distances" why="squares its argument in place"
# - a, b = np.array(a, dtype=float), np.array(b, dtype=float)
# - squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
# + product = 2 * a @ b.T
# + a[...] = a**2
# + squared = a.sum(axis=1)[:, None] + (b**2).sum(axis=1) - product

# %% mutant="pairwise_distances" why="single precision"
# - return np.sqrt(np.maximum(squared, 0))
# + return np.sqrt(np.maximum(squared, 0)).astype(np.float32)


# %% alternative="pairwise_distances" why="broadcasting: more memory, no cancellation"
def pairwise_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.subtract(a[:, None, :], b[None, :, :], dtype=float), axis=2)


# %%
few = x_train[:200]
took = {}
for function in (distances_loop, pairwise_distances):
    runs = []
    for _ in range(5):
        start = time.perf_counter()
        function(few, few)
        runs.append(time.perf_counter() - start)
    took[function.__name__] = min(runs)  # the run that other programs disturbed least
    print(f"{function.__name__:20} {1000 * took[function.__name__]:8.2f} ms for 200 x 200 pictures")
print(f"ratio: {took['distances_loop'] / took['pairwise_distances']:.0f}")

# %%
order = np.concatenate([np.flatnonzero(y_train == digit)[:30] for digit in range(10)])
distances = pairwise_distances(x_train[order], x_train[order])
fig, ax = plt.subplots(figsize=(5.6, 4.8))
image = ax.imshow(distances, cmap="viridis")
ax.set_xticks(np.arange(15, 300, 30), range(10))
ax.set_yticks(np.arange(15, 300, 30), range(10))
ax.set(title="30 pictures of each digit: who is close to whom", xlabel="digit", ylabel="digit")
ax.grid(False)
fig.colorbar(image, label="Euclidean distance")
plots.show(
    "Distance matrix of 300 digits sorted by class: dark blocks of small distances lie on the "
    "diagonal."
)

# %% [markdown]
# The dark squares on the diagonal are the whole idea of the next section: pictures of the same digit
# are closer to each other. Look at which square is the darkest, and which is hardly one at all.

# %% [markdown] lang="ru"
# Тёмные квадраты на диагонали — вся идея следующего раздела: картинки одной цифры ближе друг к другу.
# Посмотрите, какой квадрат самый тёмный, а какой едва виден.

# %% [markdown]
# ## 2. Let the neighbours vote
# {{task:knn_predict}}
#
# The [nearest-neighbours](glossary:nearest-neighbours) classifier keeps the training data and answers
# with the most frequent label among the $k$ closest examples. It is a serious baseline: with endless
# data the error of $k = 1$ is at most twice the lowest error that any classifier can have
# ([Cover & Hart, 1967](https://doi.org/10.1109/TIT.1967.1053964)).
#
# **Ties.** When several labels have equally many votes, answer with the *smallest* label. Any rule
# would do; an unstated one makes results that nobody can repeat.

# %% [markdown] lang="ru"
# ## 2. Соседи голосуют
# {{task:knn_predict}}
#
# Метод [ближайших соседей](glossary:nearest-neighbours) (nearest neighbours) хранит обучающие данные и
# отвечает самой частой меткой среди $k$ ближайших примеров. С ним стоит считаться: при бесконечных
# данных ошибка для $k = 1$ не больше удвоенной наименьшей ошибки, возможной вообще
# ([Cover & Hart, 1967](https://doi.org/10.1109/TIT.1967.1053964)).
#
# **Ничьи.** Если несколько меток набрали поровну голосов, отвечайте *наименьшей* из них. Годится любое
# правило, но без объявленного правила результат никто не сможет повторить.


# %% solution="knn_predict"
def knn_predict(distances: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """The label with most votes among the k nearest; of tied labels, the smallest.

    distances: (m, n) from m queries to n training examples; labels: (n,) whole numbers >= 0;
    1 <= k <= n -> (m,) labels, whole numbers.
    Example: distances [[1, 2, 3, 9]], labels [5, 7, 7, 5], k = 3 -> [7]; k = 2 is a tie -> [5].
    """
    ### BEGIN SOLUTION
    nearest = np.argsort(distances, axis=1)[:, :k]
    votes = labels[nearest]  # (m, k)
    counts = (votes[:, :, None] == np.arange(labels.max() + 1)).sum(axis=1)
    return counts.argmax(axis=1)  # the first of the largest: the smallest label
    ### END SOLUTION


# %% test="knn_predict" points=0 difficulty=2 minutes=15
distances = np.array([[1.0, 2.0, 3.0, 9.0], [9.0, 3.0, 8.0, 1.0]])
labels = np.array([5, 7, 7, 5])
for k, want in [(1, [5, 5]), (2, [5, 5]), (3, [7, 7]), (4, [5, 5])]:
    call = f"knn_predict([[1, 2, 3, 9], [9, 3, 8, 1]], [5, 7, 7, 5], {k})"
    found = check.answer(knn_predict, distances, labels, k, call=call)
    check.equal(
        found, np.array(want), call, why="let the k nearest vote, the smallest of tied labels win"
    )
### BEGIN HIDDEN TESTS
call = "knn_predict with two labels tied, the larger one nearer"
found = check.answer(
    knn_predict, np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([9, 2, 2, 9]), 4, call=call
)
check.equal(found, np.array([2]), call, why="answer with the smallest of tied labels")
check.that(
    np.asarray(found).dtype.kind in "iu", "give labels as whole numbers, which can be indices"
)
rng, call = check.rng("knn_predict"), "knn_predict(distances, labels, k)"
for m, n, classes in [(40, 30, 3), (1, 12, 2), (7, 1, 1), (25, 50, 6)]:
    distances = np.stack([rng.permutation(n) + 0.5 for _ in range(m)])  # no two are equal
    labels = rng.integers(0, classes, size=n) * 2
    for k in sorted({1, min(4, n), max(1, n // 2), n}):
        want = []
        for row in distances:
            near = sorted(range(n), key=lambda j, row=row: row[j])[:k]
            votes = Counter(int(labels[j]) for j in near)
            most = max(votes.values())
            want.append(min(label for label, count in votes.items() if count == most))
        found = check.answer(knn_predict, distances, labels, k, call=call)
        check.equal(
            found, np.array(want), call, why="agree with counting votes one query at a time"
        )
distances, call = (
    np.array([[0.3, 0.1, 0.2], [0.1, 0.2, 0.3]]) / 1e6,
    "knn_predict of tiny distances",
)
found = check.answer(knn_predict, distances, np.array([4, 300, 0]), 1, call=call)
check.equal(found, np.array([300, 4]), call, why="find the nearest however small the gaps are")
### END HIDDEN TESTS

# %% mutant="knn_predict" why="lets the farthest vote"
# - nearest = np.argsort(distances, axis=1)[:, :k]
# + nearest = np.argsort(-distances, axis=1)[:, :k]

# %% mutant="knn_predict" why="of tied labels takes the largest"
# - return counts.argmax(axis=1)  # the first of the largest: the smallest label
# + return counts.shape[1] - 1 - counts[:, ::-1].argmax(axis=1)

# %% mutant="knn_predict" why="takes the nearest label, whatever k is"
# - return counts.argmax(axis=1)  # the first of the largest: the smallest label
# + return votes[:, 0]

# %% mutant="knn_predict" why="averages the labels as if they were numbers"
# - return counts.argmax(axis=1)  # the first of the largest: the smallest label
# + return np.rint(votes.mean(axis=1)).astype(int)

# %% mutant="knn_predict" why="of tied labels takes the one that is nearest"
# - counts = (votes[:, :, None] == np.arange(labels.max() + 1)).sum(axis=1)
# - return counts.argmax(axis=1)  # the first of the largest: the smallest label
# + return np.array([Counter(row.tolist()).most_common(1)[0][0] for row in votes])

# %% mutant="knn_predict" why="labels that are no whole numbers"
# - return counts.argmax(axis=1)  # the first of the largest: the smallest label
# + return counts.argmax(axis=1) * 1.0

# %% mutant="knn_predict" why="sorts the distances in place"
# - return counts.argmax(axis=1)  # the first of the largest: the smallest label
# + distances.sort(axis=1)
# + return counts.argmax(axis=1)

# %% mutant="knn_predict" why="rounds the distances"
# - nearest = np.argsort(distances, axis=1)[:, :k]
# + nearest = np.argsort(distances.round(4), axis=1, kind="stable")[:, :k]


# %% alternative="knn_predict" why="one query at a time, partial sorting"
def knn_predict(distances: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
    return np.array([np.bincount(labels[row]).argmax() for row in nearest])


# %%
queries = [np.flatnonzero(y_test == digit)[0] for digit in (3, 8, 9)]
distances = pairwise_distances(x_test[queries], x_train)
answers = knn_predict(distances, y_train, 5)
tiles, titles = [], []
for row, query in enumerate(queries):
    near = np.argsort(distances[row])[:5]
    tiles += [x_test[query], *x_train[near]]
    titles += [f"true {y_test[query]}, vote {answers[row]}"]
    titles += [f"{y_train[j]}, at {distances[row, j]:.2f}" for j in near]
plots.images(
    np.reshape(tiles, (-1, *picture)),
    titles,
    "Left: a test picture. Right: its five nearest training pictures",
    columns=6,
    size=1.25,
)
plots.show(
    "Three test digits, each with its five nearest training digits, their labels and distances."
)

# %% [markdown]
# **What does $k$ do?** On points in the plane you can see it. With $k = 1$ every noisy point gets an
# island of its own: [overfitting](glossary:Overfitting). A large $k$ smooths the border; with $k = n$
# every answer is the most frequent class, wherever you ask.

# %% [markdown] lang="ru"
# **Что делает $k$?** На плоскости это видно. При $k = 1$ у каждой шумной точки свой остров:
# [переобучение](glossary:Overfitting) (overfitting). Большое $k$ сглаживает границу, а при $k = n$
# ответ везде один — самый частый класс.

# %%
rng = seed_everything(1)
side = np.repeat([0, 1], [70, 50])
cloud = rng.normal(size=(120, 2)) + np.where(side[:, None] == 1, [1.4, 0.9], [-0.4, -0.3])
fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.6))
for ax, k in zip(axes, [1, 15, 120], strict=True):
    plots.decision_regions(
        lambda grid, k=k: knn_predict(pairwise_distances(grid, cloud), side, k),
        cloud,
        side,
        f"k = {k}",
        ax=ax,
    )
plots.show(
    "The same points with k = 1 (islands), k = 15 (a smooth border), k = 120 (one class everywhere)."
)

# %% [markdown]
# ## 3. Choose k without fooling yourself
# {{task:kfold}}
#
# You may not choose $k$ on the training examples: with $k = 1$ each is its own neighbour and the score
# is 100 %. You may not choose it on the test set either: the best of many looks is no honest estimate.
# [Cross-validation](glossary:Cross-validation) ([Stone, 1974](https://doi.org/10.1111/j.2517-6161.1974.tb00994.x))
# cuts the training set into folds and holds each out once. Shuffle first: data often come sorted, and
# a fold of one class measures nothing.

# %% [markdown] lang="ru"
# ## 3. Выбрать k и не обмануть себя
# {{task:kfold}}
#
# Выбирать $k$ на обучающих примерах нельзя: при $k = 1$ каждый сам себе сосед, и получится 100 %.
# На тестовых — тоже: лучший результат из многих попыток — уже не честная оценка.
# [Перекрёстная проверка](glossary:Cross-validation) (cross-validation;
# [Stone, 1974](https://doi.org/10.1111/j.2517-6161.1974.tb00994.x)) делит обучающий набор на части и
# каждую один раз откладывает. Сначала перемешайте: данные часто лежат по порядку, а часть из одного
# класса не измеряет ничего.


# %% solution="kfold"
def kfold(n: int, folds: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Shuffled splits of the numbers 0 .. n - 1 into training and held-out ones.

    2 <= folds <= n. Returns `folds` pairs (train, held) of index arrays. Every number is held out
    exactly once, train is all the others, and held-out parts differ by at most one in size.
    Example: kfold(5, 2, rng) may give [([1, 4], [3, 0, 2]), ([3, 0, 2], [1, 4])].
    """
    ### BEGIN SOLUTION
    parts = np.array_split(rng.permutation(n), folds)
    return [(np.concatenate(parts[:i] + parts[i + 1 :]), parts[i]) for i in range(folds)]
    ### END SOLUTION


# %% test="kfold" points=0 difficulty=2 minutes=15
call = "kfold(10, 3, rng)"
splits = check.answer(kfold, 10, 3, np.random.default_rng(0), call=call)
check.equal([len(pair) for pair in splits], [2, 2, 2], f"lengths in {call}", why="be three pairs")
sizes = sorted(len(held) for _, held in splits)
check.equal(sizes, [3, 3, 4], f"sizes of the held-out parts of {call}", why="differ by at most one")
together = np.sort(np.concatenate([held for _, held in splits]))
check.equal(together, np.arange(10), f"held-out parts of {call}", why="hold out every number once")
### BEGIN HIDDEN TESTS
rng = check.rng("kfold")


def cut(n, folds, source):
    """The held-out parts, as lists of numbers, after all that can be said of any split."""
    call = f"kfold({n}, {folds}, rng)"
    splits = check.answer(kfold, n, folds, source, call=call)
    check.equal([len(pair) for pair in splits], [2] * folds, f"lengths in {call}", why="be pairs")
    parts = [(np.array(train), np.array(held)) for train, held in splits]
    kinds = {part.dtype.kind for pair in parts for part in pair}
    check.that(kinds <= {"i", "u"}, f"give whole numbers, which can be indices ({call})")
    held_out = [held.tolist() for _, held in parts]
    numbers = sorted(i for held in held_out for i in held)
    check.equal(
        numbers, list(range(n)), f"held-out parts of {call}", why="hold out every number once"
    )
    for train, held in parts:
        both = sorted([*train.tolist(), *held.tolist()])
        why = "train on exactly the numbers that are not held out"
        check.equal(both, list(range(n)), f"train and held of {call}", why=why)
    sizes = [len(held) for held in held_out]
    check.that(
        max(sizes) - min(sizes) <= 1, "have held-out parts that differ by at most one in size"
    )
    return held_out


for n, folds in [(2, 2), (7, 7), (23, 4), (60, 7), (60, 2)]:
    seed = int(rng.integers(1_000_000))
    source = np.random.default_rng(seed)
    held_out = cut(n, folds, source)
    again = cut(n, folds, np.random.default_rng(seed))
    check.equal(
        again, held_out, "kfold with an equal rng", why="give equal folds: draw from it alone"
    )
    if n == 60:
        members = [sorted(held) for held in held_out]
        check.that(
            not any(held == list(range(min(held), max(held) + 1)) for held in members)
            and not any(len({i % folds for i in held}) == 1 for held in members),
            "shuffle the numbers before they are cut, not take them in order",
        )
        for other, what in (
            (np.random.default_rng(seed + 1), "another seed"),
            (source, "a second call"),
        ):
            found = [sorted(held) for held in cut(n, folds, other)]
            check.that(found != members, f"draw from the given rng: other folds for {what}")
trials = 1500
pairs = np.mean([sorted(cut(4, 2, rng)[0]) in ([0, 1], [2, 3]) for _ in range(trials)])
check.close(
    pairs, 1 / 3, "how often 0 and 1 of four numbers share one of two folds", rtol=0,
    atol=7 * np.sqrt(2 / 9 / trials), why="be a third, as for any two",
)  # fmt: skip
### END HIDDEN TESTS

# %% mutant="kfold" why="forgets to shuffle"
# - parts = np.array_split(rng.permutation(n), folds)
# + parts = np.array_split(np.arange(n), folds)

# %% mutant="kfold" why="ignores the generator that it was given"
# - parts = np.array_split(rng.permutation(n), folds)
# + parts = np.array_split(np.random.default_rng(0).permutation(n), folds)

# %% mutant="kfold" why="trains on the held-out part, too"
# - return [(np.concatenate(parts[:i] + parts[i + 1 :]), parts[i]) for i in range(folds)]
# + return [(np.concatenate(parts), parts[i]) for i in range(folds)]

# %% mutant="kfold" why="draws a new random part for each fold"
# - parts = np.array_split(rng.permutation(n), folds)
# - return [(np.concatenate(parts[:i] + parts[i + 1 :]), parts[i]) for i in range(folds)]
# + size = n // folds
# + orders = [rng.permutation(n) for _ in range(folds)]
# + return [(order[size:], order[:size]) for order in orders]

# %% mutant="kfold" why="puts the whole remainder into the last fold"
# - parts = np.array_split(rng.permutation(n), folds)
# + order, size = rng.permutation(n), n // folds
# + parts = [order[i * size : (i + 1) * size] for i in range(folds - 1)]
# + parts.append(order[(folds - 1) * size :])

# %% mutant="kfold" why="turns the order instead of shuffling it"
# - parts = np.array_split(rng.permutation(n), folds)
# + parts = np.array_split(np.roll(np.arange(n), rng.integers(n)), folds)

# %% mutant="kfold" why="numbers that can't be indices"
# - parts = np.array_split(rng.permutation(n), folds)
# + parts = np.array_split(1.0 * rng.permutation(n), folds)


# %% alternative="kfold" why="every folds-th number of a shuffled order"
def kfold(n: int, folds: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    order = np.arange(n)
    rng.shuffle(order)
    fold = np.arange(n) % folds
    return [(order[fold != i], order[fold == i]) for i in range(folds)]


# %%
n, folds = 40, 5
table = np.zeros((folds, n))
for row, (_, held) in enumerate(kfold(n, folds, seed_everything(0))):
    table[row, held] = 1
fig, ax = plt.subplots(figsize=(8.0, 1.9))
ax.imshow(table, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
ax.set_yticks(range(folds), range(1, folds + 1))
ax.set(title="Held out (dark): each column exactly once", xlabel="example", ylabel="fold")
ax.grid(False)
plots.show(
    "Five rows of forty columns: in each column exactly one row is dark, in no visible order."
)

# %% [markdown]
# ### The score of each fold
# {{task:cross_validate}}
#
# Now let any model take the exam: fit on the training part, answer on the held-out part, compare. The
# function takes `predict`, so it serves nearest neighbours today and a network tomorrow. Return the
# [accuracy](glossary:Accuracy) of *each* fold: their mean is the estimate, their spread says how far
# to trust it.

# %% [markdown] lang="ru"
# ### Оценка каждой части
# {{task:cross_validate}}
#
# Теперь экзамен может сдать любая модель: обучиться на обучающей части, ответить на отложенной, сравнить.
# Функция принимает `predict`, поэтому сегодня послужит ближайшим соседям, а завтра — сети. Верните
# [долю верных ответов](glossary:Accuracy) (accuracy) на *каждой* части: среднее — это оценка, а разброс
# говорит, насколько ей верить.


# %% solution="cross_validate"
def cross_validate(
    predict: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    splits: list[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """The accuracy of a model on each held-out part.

    predict(x_train, y_train, x_new) -> labels of x_new. x: (n, ...), y: (n,) labels;
    splits: pairs (train, held) of index arrays, together not always all n; predict gets the
    examples in their own shape -> (len(splits),) shares of right answers.
    """
    ### BEGIN SOLUTION
    scores = []
    for train, held in splits:
        answers = predict(x[train], y[train], x[held])
        scores.append(np.mean(answers == y[held]))
    return np.array(scores)
    ### END SOLUTION


# %% test="cross_validate" points=0 difficulty=2 minutes=10
def majority(x_fit, y_fit, x_new):
    """Answers with the most frequent label that it was given."""
    return np.full(len(x_new), np.bincount(y_fit).argmax())


def memory(x_fit, y_fit, x_new):
    """Knows by heart what it was fitted to, and nothing else."""
    known = {row.tobytes(): label for row, label in zip(x_fit, y_fit, strict=True)}
    return np.array([known.get(row.tobytes(), -1) for row in x_new])


y = np.array([0, 0, 0, 0, 1, 1])
splits = [(np.array([2, 3, 4, 5]), np.array([0, 1])), (np.array([0, 1]), np.array([2, 3, 4, 5]))]
call = "cross_validate(majority, x, [0, 0, 0, 0, 1, 1], splits)"
scores = check.answer(cross_validate, majority, np.zeros((6, 2)), y, splits, call=call)
check.close(scores, [1.0, 0.5], call, why="be the share of right answers on each held-out part")
call = "cross_validate(a model that only memorises, x, y, splits)"
scores = check.answer(cross_validate, memory, np.eye(6), y, splits, call=call)
check.close(
    scores, [0.0, 0.0], call, why="be 0: no model sees held-out examples before it is asked"
)
### BEGIN HIDDEN TESTS
rng = check.rng("cross_validate")
given = []


def threshold(x_fit, y_fit, x_new):
    """Writes down what it is given, and answers by the first number of each example."""
    given.append([np.array(part) for part in (x_fit, y_fit, x_new)])
    first = x_new.reshape(len(x_new), -1)[:, 0]
    return (first > x_fit.reshape(len(x_fit), -1)[:, 0].mean()) + y_fit.min()


def rows(*arrays):
    """Rows side by side, in an order of their own: theirs does not matter."""
    flat = np.column_stack([array.reshape(len(array), -1) for array in arrays])
    return sorted(flat.tolist())


for n, cuts, shape in [(11, [2, 7], (3,)), (30, [4, 9, 21], (2, 2))]:
    x, y = rng.normal(size=(n, *shape)), rng.integers(0, 3, size=n)
    parts = np.split(rng.permutation(n), cuts)
    splits = [(np.concatenate([p for p in parts if p is not part]), part) for part in parts]
    call = "cross_validate(memory, x, y, splits)"
    scores = check.answer(cross_validate, memory, x, y, splits, call=call)
    why = "be 0 for a model that only memorises, for each fold"
    check.close(scores, np.zeros(len(parts)), call, why=why)
    call = "cross_validate(predict, x, y, splits)"
    given.clear()
    scores = check.answer(cross_validate, threshold, x, y, splits, call=call)
    for (x_fit, y_fit, x_new), (fit, held) in zip(given, splits, strict=False):
        for part, what in ((x_fit, "learns from"), (x_new, "is asked")):
            what = f"the shape of an example that predict {what}"
            check.equal(part.shape[1:], shape, what, why="be as in x, which is (n, ...)")
        why = "be the training rows with their labels, as the split says"
        check.equal(rows(x_fit, y_fit), rows(x[fit], y[fit]), "what predict learns from", why=why)
        check.equal(rows(x_new), rows(x[held]), "what predict is asked", why="be the held-out rows")
    first = x.reshape(n, -1)[:, 0]
    want = [np.mean((first[h] > first[t].mean()) + y[t].min() == y[h]) for t, h in splits]
    check.close(
        scores,
        want,
        call,
        why="fit on the training part, score the held-out part, one number a fold",
    )
    why = "be right to nine digits: compute in float64"
    check.close(scores, want, f"{call}, to nine digits", rtol=1e-9, atol=0, why=why)
call = "cross_validate with a split that leaves some examples out"
y, splits = np.array([0, 0, 0, 1, 1, 1]), [(np.array([0, 1]), np.array([2]))]
scores = check.answer(cross_validate, majority, np.zeros((6, 2)), y, splits, call=call)
check.close(scores, [1.0], call, why="fit on train as the split names it, not on all the others")
### END HIDDEN TESTS

# %% mutant="cross_validate" why="lets the model see the held-out part"
# - answers = predict(x[train], y[train], x[held])
# + answers = predict(x, y, x[held])

# %% mutant="cross_validate" why="trains on all that is not held out, whatever the split says"
# - answers = predict(x[train], y[train], x[held])
# + train = np.setdiff1d(np.arange(len(y)), held)
# + answers = predict(x[train], y[train], x[held])

# %% mutant="cross_validate" why="flattens the examples"
# - answers = predict(x[train], y[train], x[held])
# + x = x.reshape(len(x), -1)
# + answers = predict(x[train], y[train], x[held])

# %% mutant="cross_validate" why="scores on the training part"
# - answers = predict(x[train], y[train], x[held])
# - scores.append(np.mean(answers == y[held]))
# + answers = predict(x[train], y[train], x[train])
# + scores.append(np.mean(answers == y[train]))

# %% mutant="cross_validate" why="counts the right answers instead of their share"
# - scores.append(np.mean(answers == y[held]))
# + scores.append(np.sum(answers == y[held]))

# %% mutant="cross_validate" why="gives the mean alone"
# - return np.array(scores)
# + return np.mean(scores)

# %% mutant="cross_validate" why="trains on the small part and asks about the large one"
# - answers = predict(x[train], y[train], x[held])
# - scores.append(np.mean(answers == y[held]))
# + answers = predict(x[held], y[held], x[train])
# + scores.append(np.mean(answers == y[train]))


# %% alternative="cross_validate" why="counts by hand, a list of numbers"
def cross_validate(predict, x, y, splits):
    scores = []
    for fit, held in splits:
        answers = predict(x[fit], y[fit], x[held])
        scores.append(sum(int(a == b) for a, b in zip(answers, y[held], strict=True)) / len(held))
    return np.array(scores)


# %%
def knn(k: int) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """A nearest-neighbours model in the form that cross_validate takes."""
    return lambda x_fit, y_fit, x_new: knn_predict(pairwise_distances(x_new, x_fit), y_fit, k)


# %%
candidates = [1, 2, 3, 5, 9, 15, 25, 45, 85, 150, 300]
splits = kfold(len(x_train), 5, seed_everything(0))
scores = np.array(
    [cross_validate(knn(k), x_train, y_train, splits) for k in progress(candidates, "k")]
)
mean, spread = scores.mean(axis=1), scores.std(axis=1, ddof=1)
everything = np.arange(len(x_train))
cheating = [
    cross_validate(knn(k), x_train, y_train, [(everything, everything)])[0] for k in candidates[::2]
]
best = int(mean.argmax())

fig, ax = plt.subplots()
ax.plot(
    candidates[::2], cheating, "--", color="#D55E00", label="on the training examples themselves"
)
label = "5-fold cross-validation, ± standard deviation"
ax.errorbar(candidates, mean, spread, marker="o", capsize=3, label=label)
ax.set(title="How many neighbours?", xlabel="k (log scale)", ylabel="accuracy", xscale="log")
ax.set_xticks(candidates, candidates)
ax.minorticks_off()
ax.legend(frameon=False)
plots.show(
    "Accuracy against k: the held-out curve is flat for small k and falls after it; the curve of "
    "the training examples starts at 100 percent."
)
near = [k for k, m in zip(candidates, mean, strict=True) if m >= mean[best] - spread[best]]
print(f"best k = {candidates[best]}: {mean[best]:.3f}, standard deviation {spread[best]:.3f}")
print(f"within one standard deviation of it: k = {near}")

# %% [markdown]
# Read the error bars before the maximum: several values of $k$ are equally good as far as these data
# can tell. The dashed curve says that $k = 1$ is perfect: it scores its own memory. We go on with
# $k = 3$, as good as the best and able to outvote one wrong label; only now we look at the test set.

# %% [markdown] lang="ru"
# Сначала смотрите на планки погрешностей, потом на максимум: насколько можно судить по этим данным,
# несколько значений $k$ одинаково хороши. Пунктир утверждает, что $k = 1$ безупречен: он измеряет
# собственную память. Дальше берём $k = 3$: оно не хуже лучшего, а одну ошибочную метку два соседа
# перевесят. И только теперь смотрим на тестовый набор.

# %% [markdown]
# ## 4. Which mistakes?
# {{task:confusion_matrix}}
#
# One number hides what goes wrong. The [confusion matrix](glossary:confusion-matrix) counts every kind
# of answer: $C_{ij}$ is how many examples of true class $i$ were called $j$. Rows are the truth,
# columns the answers; some books and libraries turn it round, so always say which.

# %% [markdown] lang="ru"
# ## 4. Какие именно ошибки?
# {{task:confusion_matrix}}
#
# За одним числом не видно, что именно идёт не так. [Матрица ошибок](glossary:confusion-matrix)
# (confusion matrix) считает все виды ответов: $C_{ij}$ — сколько примеров истинного класса $i$ названо
# классом $j$. Строки — истина, столбцы — ответы; в некоторых книгах и библиотеках наоборот, поэтому
# всегда говорите, как у вас.


# %% solution="confusion_matrix"
def confusion_matrix(true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts of (true class, predicted class).

    true, predicted: (n,) whole numbers in 0 .. classes - 1, of any integer type, such as uint8
    -> (classes, classes) whole numbers, which can be large; row = true class, column = predicted class; classes that do not occur have zeros.
    Example: true [0, 1, 1], predicted [0, 0, 1], classes 2 -> [[1, 0], [1, 1]].
    """
    ### BEGIN SOLUTION
    matrix = np.zeros((classes, classes), dtype=int)
    np.add.at(matrix, (true, predicted), 1)
    return matrix
    ### END SOLUTION


# %% test="confusion_matrix" points=0 difficulty=2 minutes=10
true = np.array([0, 0, 1, 2, 2, 2])
predicted = np.array([0, 1, 1, 2, 0, 2])
call = "confusion_matrix([0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 0, 2], 3)"
matrix = check.answer(confusion_matrix, true, predicted, 3, call=call)
why = "count at [i, j] the examples of class i that were called j"
check.equal(matrix, np.array([[1, 1, 0], [0, 1, 0], [1, 0, 2]]), call, why=why)
check.that(
    np.asarray(matrix).dtype.kind in "iu", "give counts: whole numbers, not floating-point ones"
)
### BEGIN HIDDEN TESTS
rng, call = check.rng("confusion_matrix"), "confusion_matrix(true, predicted, classes)"
for n, classes in [(1, 1), (30, 2), (80, 5), (12, 9), (0, 3), (1000, 3)]:
    true, predicted = rng.integers(0, max(1, classes - 1), size=(2, n))
    want = np.zeros((classes, classes), dtype=int)
    for t, p in zip(true, predicted, strict=True):
        want[t, p] += 1
    matrix = check.answer(confusion_matrix, true, predicted, classes, call=call)
    why = "agree with counting one example at a time, also where a class does not occur"
    check.equal(matrix, want, call, why=why)
call, want = "confusion_matrix of 300 equal pairs", np.array([[0, 0], [300, 0]])
matrix = check.answer(confusion_matrix, np.ones(300, int), np.zeros(300, int), 2, call=call)
check.equal(matrix, want, call, why="count on beyond 255")
call, want = "confusion_matrix of labels that are uint8, 20 classes", np.zeros((20, 20), dtype=int)
true, predicted = np.array([19, 14], dtype=np.uint8), np.array([3, 17], dtype=np.uint8)
want[19, 3] = want[14, 17] = 1
matrix = check.answer(confusion_matrix, true, predicted, 20, call=call)
check.equal(matrix, want, call, why="count each pair in its place, whatever integers labels are")
### END HIDDEN TESTS

# %% mutant="confusion_matrix" why="columns are the truth"
# - np.add.at(matrix, (true, predicted), 1)
# + np.add.at(matrix, (predicted, true), 1)

# %% mutant="confusion_matrix" why="indexing with += counts each pair only once"
# - np.add.at(matrix, (true, predicted), 1)
# + matrix[true, predicted] += 1

# %% mutant="confusion_matrix" why="only as large as the classes that occur"
# - matrix = np.zeros((classes, classes), dtype=int)
# + size = max(true.max(initial=0), predicted.max(initial=0)) + 1
# + matrix = np.zeros((size, size), dtype=int)

# %% mutant="confusion_matrix" why="shares of each row instead of counts"
# - return matrix
# + return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)

# %% mutant="confusion_matrix" why="small numbers that overflow"
# - matrix = np.zeros((classes, classes), dtype=int)
# + matrix = np.zeros((classes, classes), dtype=np.uint8)

# %% mutant="confusion_matrix" why="one number for each pair, in the labels' own small type"
# - np.add.at(matrix, (true, predicted), 1)
# - return matrix
# + pairs = np.bincount(true * classes + predicted, minlength=classes**2)
# + return pairs.reshape(classes, classes)


# %% alternative="confusion_matrix" why="one number for each pair, then bincount"
def confusion_matrix(true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    pairs = np.bincount(true.astype(int) * classes + predicted, minlength=classes**2)
    return pairs.reshape(classes, classes)


# %%
answers = knn(3)(x_train, y_train, x_test)
matrix = confusion_matrix(y_test, answers, 10)
plots.confusion(matrix, range(10), "Nearest neighbours, k = 3, on the test set")
plots.show("Confusion matrix of nearest neighbours: nearly all counts lie on the diagonal.")
print(f"{np.trace(matrix)} of {matrix.sum()} right: accuracy {np.trace(matrix) / matrix.sum():.3f}")

# %% [markdown]
# Never stop at the matrix: **look at the mistakes**. Each wrong picture stands beside the three
# neighbours that outvoted the truth.

# %% [markdown] lang="ru"
# Не останавливайтесь на матрице: **посмотрите на сами ошибки**. Рядом с каждой неверно узнанной
# картинкой — три соседа, которые победили истину голосованием.

# %%
distances = pairwise_distances(x_test, x_train)
answers = knn_predict(distances, y_train, 3)
wrong = np.flatnonzero(answers != y_test)[:6]
tiles, titles = [], []
for i in wrong:
    near = np.argsort(distances[i])[:3]
    tiles += [x_test[i], *x_train[near]]
    titles += [f"is {y_test[i]}, called {answers[i]}", *(str(y_train[j]) for j in near)]
plots.images(
    np.reshape(tiles, (-1, *picture)),
    titles,
    "Wrong answers, each with the neighbours that gave it",
    columns=8,
)
plots.show(
    "Wrongly classified test digits, each followed by its three nearest training digits with "
    "their labels."
)

# %% [markdown]
# ## 5. When accuracy misleads
# {{task:precision_recall_f1}}
#
# "Is it an 8?" is a question with a rare yes. Whoever always says no is right nine times out of ten. Two
# other numbers see through it: [precision](glossary:Precision), how many of the alarms are true, and
# [recall](glossary:Recall), how many of the true ones were found. [F1](glossary:F1) is their harmonic
# mean ([van Rijsbergen, 1979](https://www.dcs.gla.ac.uk/Keith/Chapter.7/Ch.7.html), ch. 7, as $1 - E$ with
# $\alpha = 1/2$; named F in [Chinchor, 1992](https://aclanthology.org/M92-1002/)):
#
# $$P_c = \frac{TP_c}{TP_c + FP_c}, \qquad R_c = \frac{TP_c}{TP_c + FN_c}, \qquad F_c = \frac{2 P_c R_c}{P_c + R_c} = \frac{2\,TP_c}{2\,TP_c + FP_c + FN_c}$$
#
# **Zero by zero is 0 here**: a class that was never predicted has precision 0. The **macro average** is
# the plain mean over the classes, so a rare class counts as much as a frequent one.

# %% [markdown] lang="ru"
# ## 5. Когда доля верных ответов обманывает
# {{task:precision_recall_f1}}
#
# «Это восьмёрка?» — вопрос, на который редко отвечают «да». Кто всегда говорит «нет», прав в девяти
# случаях из десяти. Его выдают два других числа: [точность](glossary:Precision) (precision) — какая доля
# тревог верна, и [полнота](glossary:Recall) (recall) — какую долю восьмёрок нашли.
# [F1-мера](glossary:F1) — их среднее гармоническое
# ([van Rijsbergen, 1979](https://www.dcs.gla.ac.uk/Keith/Chapter.7/Ch.7.html), гл. 7, как $1 - E$ при
# $\alpha = 1/2$; буква F — у [Chinchor, 1992](https://aclanthology.org/M92-1002/)):
#
# $$P_c = \frac{TP_c}{TP_c + FP_c}, \qquad R_c = \frac{TP_c}{TP_c + FN_c}, \qquad F_c = \frac{2 P_c R_c}{P_c + R_c} = \frac{2\,TP_c}{2\,TP_c + FP_c + FN_c}$$
#
# **Ноль на ноль здесь 0**: у класса, который ни разу не предсказали, точность равна 0.
# **Макроусреднение** (macro average) — простое среднее по классам: редкий класс весит столько же,
# сколько частый.


# %% solution="precision_recall_f1"
def precision_recall_f1(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of each class; 0 / 0 counts as 0, without a warning.

    matrix: (c, c) counts, row = true class, column = predicted class -> three arrays (c,).
    Example: [[8, 2], [1, 3]] -> precision [8/9, 3/5], recall [8/10, 3/4], F1 [16/19, 6/9].
    """
    ### BEGIN SOLUTION
    hits = np.diag(matrix)
    predicted, true = matrix.sum(axis=0), matrix.sum(axis=1)
    precision = hits / np.maximum(predicted, 1)  # counts: the denominator is 0 or at least 1
    recall = hits / np.maximum(true, 1)
    f1 = 2 * hits / np.maximum(predicted + true, 1)
    return precision, recall, f1
    ### END SOLUTION


# %% test="precision_recall_f1" points=0 difficulty=2 minutes=15
matrix, call = np.array([[8, 2], [1, 3]]), "precision_recall_f1([[8, 2], [1, 3]])"
scores = check.answer(precision_recall_f1, matrix, call=call)
check.equal(len(scores), 3, f"len of {call}", why="be three: precision, recall, F1")
precision, recall, f1 = scores
check.close(precision, [8 / 9, 3 / 5], f"precision of {call}", why="be hits by what was called so")
check.close(recall, [8 / 10, 3 / 4], f"recall of {call}", why="be hits by what really is so")
check.close(f1, [16 / 19, 6 / 9], f"F1 of {call}", why="be the harmonic mean of the two")
call = "precision_recall_f1([[9, 0], [1, 0]])"
with np.errstate(divide="raise", invalid="raise"):
    scores = check.answer(precision_recall_f1, np.array([[9, 0], [1, 0]]), call=call)
check.close(np.stack(scores), [[0.9, 0], [1, 0], [18 / 19, 0]], call, why="count 0 / 0 as 0")
### BEGIN HIDDEN TESTS
rng = check.rng("precision_recall_f1")
for classes in (1, 2, 5, 5, 8):
    matrix = rng.integers(0, 4, size=(classes, classes))
    if classes == 5:
        matrix[2] = 0  # no example of class 2
        matrix[:, 3] = 0  # class 3 is never predicted
        matrix[4], matrix[:, 4] = 0, 0  # class 4: a single example, recognised
        matrix[4, 4] = 1
    call = "precision_recall_f1(matrix)"
    with np.errstate(divide="raise", invalid="raise"):
        scores = check.answer(precision_recall_f1, matrix, call=call)
    want = np.zeros((3, classes))
    for c in range(classes):
        hits = matrix[c, c]
        false_alarms = sum(matrix[i, c] for i in range(classes) if i != c)
        misses = sum(matrix[c, j] for j in range(classes) if j != c)
        if hits:
            want[:, c] = (
                hits / (hits + false_alarms),
                hits / (hits + misses),
                hits / (hits + (false_alarms + misses) / 2),
            )
    for name, values, expected in zip(("precision", "recall", "F1"), scores, want, strict=True):
        why = "agree with counting hits, false alarms and misses of each class"
        check.close(values, expected, f"{name} of {call}", rtol=1e-6, why=why)
matrix = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
call = "precision_recall_f1 where a class is neither true nor predicted"
with np.errstate(divide="raise", invalid="raise"):
    scores = check.answer(precision_recall_f1, matrix, call=call)
exact = [[3 / 5, 4 / 5, 0], [3 / 4, 4 / 6, 0], [6 / 9, 8 / 11, 0]]
for name, values, expected in zip(("precision", "recall", "F1"), scores, exact, strict=True):
    check.close(values, expected, f"{name} of {call}", why="count 0 / 0 as 0 in all three")
matrix, call = np.array([[7, 4], [3, 5]]), "precision_recall_f1, to nine digits"
scores = check.answer(precision_recall_f1, matrix, call=call)
exact = [[7 / 10, 5 / 9], [7 / 11, 5 / 8], [14 / 21, 10 / 17]]
check.close(
    np.stack(scores),
    exact,
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
### END HIDDEN TESTS

# %% mutant="precision_recall_f1" why="takes precision for recall"
# - return precision, recall, f1
# + return recall, precision, f1

# %% mutant="precision_recall_f1" why="arithmetic mean instead of harmonic"
# - f1 = 2 * hits / np.maximum(predicted + true, 1)
# + f1 = (precision + recall) / 2

# %% mutant="precision_recall_f1" why="lets 0 / 0 become NaN"
# - precision = hits / np.maximum(predicted, 1)  # counts: the denominator is 0 or at least 1
# + with np.errstate(all="ignore"):
# +     precision = hits / predicted

# %% mutant="precision_recall_f1" why="forgets the 2 of the harmonic mean"
# - f1 = 2 * hits / np.maximum(predicted + true, 1)
# + f1 = precision * recall / np.maximum(precision + recall, 1e-12)

# %% mutant="precision_recall_f1" why="0 / 0 counts as 1"
# - recall = hits / np.maximum(true, 1)
# + recall = np.where(true > 0, hits / np.maximum(true, 1), 1.0)

# %% mutant="precision_recall_f1" why="F1 is 1 where there is nothing to find"
# - f1 = 2 * hits / np.maximum(predicted + true, 1)
# + f1 = np.where(predicted + true > 0, 2 * hits / np.maximum(predicted + true, 1), 1.0)

# %% mutant="precision_recall_f1" why="divides the matrix in place"
# - return precision, recall, f1
# + matrix[...] = 0
# + return precision, recall, f1


# %% alternative="precision_recall_f1" why="the harmonic mean as it is written"
def precision_recall_f1(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    def ratio(a, b):
        return np.divide(a, b, out=np.zeros(len(matrix)), where=b > 0)

    precision = ratio(np.diag(matrix), matrix.sum(axis=0))
    recall = ratio(np.diag(matrix), matrix.sum(axis=1))
    return precision, recall, ratio(2 * precision * recall, precision + recall)


# %%
answers = knn(3)(x_train, y_train, x_test)
precision, recall, f1 = precision_recall_f1(confusion_matrix(y_test, answers, 10))
print("class   precision   recall     F1")
for digit in range(10):
    print(f"{digit:5} {precision[digit]:11.3f} {recall[digit]:8.3f} {f1[digit]:6.3f}")
print(f"macro {precision.mean():11.3f} {recall.mean():8.3f} {f1.mean():6.3f}")


# %% [markdown]
# **Is it an 8?** Give the detector only 150 training pictures, and let it say yes when the share of
# eights among the 15 nearest reaches a threshold. Compare it with the detector that never says yes.

# %% [markdown] lang="ru"
# **Это восьмёрка?** Дадим детектору только 150 обучающих картинок; он отвечает «да», когда доля
# восьмёрок среди 15 ближайших доходит до порога. Сравним его с детектором, который не говорит «да»
# никогда.


# %%
def score_detector(says_yes: np.ndarray, is_eight: np.ndarray) -> list[float]:
    """[accuracy, precision, recall, F1] of the answer yes. Both arguments: (n,) truth values."""
    matrix = confusion_matrix(is_eight.astype(int), says_yes.astype(int), 2)
    return [np.trace(matrix) / matrix.sum(), *(float(m[1]) for m in precision_recall_f1(matrix))]


# %%
is_eight = y_test == 8
nearest = np.argsort(pairwise_distances(x_test, x_train[:150]), axis=1)[:, :15]
share = (y_train[nearest] == 8).mean(axis=1)
names = ["accuracy", "precision", "recall", "F1"]
never = score_detector(np.zeros(len(is_eight), dtype=bool), is_eight)
half = score_detector(share >= 0.5, is_eight)

fig, (left, right) = plt.subplots(1, 2, figsize=(10.0, 3.8))
left.bar(np.arange(4) - 0.2, never, 0.4, label="never says yes")
left.bar(np.arange(4) + 0.2, half, 0.4, label="neighbours, threshold 1/2")
left.set_xticks(range(4), names)
left.set(title=f"{is_eight.sum()} eights among {len(is_eight)} pictures")
left.set(ylabel="score", ylim=(0, 1.3))
left.legend(frameon=False, ncols=2, loc="upper center")
votes = np.arange(1, round(15 * share.max()) + 1)  # above that nobody would say yes
curves = np.array([score_detector(share >= v / 15, is_eight) for v in votes]).T
plots.curves(
    {name: (votes, curve) for name, curve in zip(names, curves, strict=True)},
    "The threshold trades recall for precision",
    "votes of 15 needed to say yes",
    "score",
    ax=right,
)
plots.show(
    "Left: both detectors have over 90 percent accuracy, but one finds no eight. Right: as the "
    "threshold rises, recall falls to nearly 0, precision rises, and accuracy settles near 0.9."
)
print("never says yes:", dict(zip(names, np.round(never, 3).tolist(), strict=True)))
print("threshold 1/2: ", dict(zip(names, np.round(half, 3).tolist(), strict=True)))

# %% [markdown]
# Accuracy sees almost no difference between a detector and no detector; for the higher thresholds on the
# right it stays near 0.9 while recall falls to almost nothing. Which threshold you want is a decision about costs, not about
# mathematics: a missed tumour and a false alarm do not cost the same ([Saito & Rehmsmeier, 2015](https://doi.org/10.1371/journal.pone.0118432)).

# %% [markdown] lang="ru"
# Доля верных ответов почти не видит разницы между детектором и его отсутствием; при высоких
# порогах справа она держится около 0,9, пока полнота падает почти до нуля. Какой порог вам нужен — вопрос о цене ошибок, а не о
# математике: пропущенная опухоль и ложная тревога стоят по-разному ([Saito & Rehmsmeier, 2015](https://doi.org/10.1371/journal.pone.0118432)).

# %% [markdown]
# ## 6. From scores to probabilities
# Votes are a coarse kind of probability. A network gives one real number per class, a
# [logit](glossary:Logit), and [softmax](glossary:Softmax) turns these into probabilities. Written as in
# the book, it breaks at once: in double precision $e^{710}$ is infinite, in single precision, which
# networks use, already $e^{89}$; and $\infty / \infty$ is NaN.
#
# $$p_j = \frac{e^{z_j}}{\sum_i e^{z_i}}$$

# %% [markdown] lang="ru"
# ## 6. От оценок к вероятностям
# Голоса — грубая оценка вероятности. Сеть выдаёт по одному вещественному числу на класс —
# [логит](glossary:Logit) (logit), а [softmax](glossary:Softmax) превращает их в вероятности. Если
# записать его как в учебнике, он сразу ломается: в двойной точности $e^{710}$ — бесконечность, в
# одинарной, в которой работают сети, — уже $e^{89}$; а $\infty / \infty$ — это NaN.
#
# $$p_j = \frac{e^{z_j}}{\sum_i e^{z_i}}$$


# %%
def naive_softmax(logits: np.ndarray) -> np.ndarray:
    """The formula, word for word. logits: (n, c) -> (n, c)."""
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


with np.errstate(all="ignore"):  # NumPy would warn of each overflow
    for largest in (1.0, 100.0, 800.0):
        p = naive_softmax(np.array([[largest, 0.0, -largest]]))[0]
        print(f"logits {largest:g}, 0, {-largest:g}")
        print("      softmax:", ", ".join(f"{value:.3g}" for value in p))
        print("    logarithm:", ", ".join(f"{value:.3g}" for value in np.log(p)))

# %% [markdown]
# ### A softmax that never overflows
# {{task:log_softmax}}
#
# Adding a constant to all logits changes no probability, so subtract the largest first: the exponents
# are then at most 0, and one of them is exactly 0, so the sum lies between 1 and $c$. And keep the
# *logarithm*: a probability of $e^{-800}$ rounds to 0, but its logarithm is just $-800$
# ([Goodfellow et al., 2016, §4.1](https://www.deeplearningbook.org/contents/numerical.html);
# error analysis in [Blanchard et al., 2021](https://doi.org/10.1093/imanum/draa038)). In the checks
# NumPy's warnings (overflow, division by 0, an invalid value) count as errors.
#
# $$\log p_j = (z_j - m) - \log \sum_i e^{z_i - m}, \qquad m = \max_i z_i$$

# %% [markdown] lang="ru"
# ### Softmax без переполнений
# {{task:log_softmax}}
#
# Если ко всем логитам прибавить константу, вероятности не изменятся, поэтому сначала вычтем наибольший:
# тогда показатели степеней не больше 0, один из них ровно 0, и сумма лежит между 1 и $c$. И будем хранить
# *логарифм*: вероятность $e^{-800}$ округляется до 0, а её логарифм — просто $-800$
# ([Goodfellow et al., 2016, §4.1](https://www.deeplearningbook.org/contents/numerical.html);
# анализ погрешности — [Blanchard et al., 2021](https://doi.org/10.1093/imanum/draa038)). В проверках
# предупреждения NumPy (переполнение, деление на 0, недопустимое значение) считаются ошибками.
#
# $$\log p_j = (z_j - m) - \log \sum_i e^{z_i - m}, \qquad m = \max_i z_i$$


# %% solution="log_softmax"
def log_softmax(logits: np.ndarray) -> np.ndarray:
    """The logarithm of softmax of each row; finite for logits up to 1e300 in size.

    logits: (n, c) -> (n, c); exp of a row sums to 1.
    Example: [[0, 0]] -> [[-log 2, -log 2]]; [[10000, 0]] -> [[0, -10000]].
    """
    ### BEGIN SOLUTION
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    ### END SOLUTION


# %% test="log_softmax" points=0 difficulty=2 minutes=10
call = "log_softmax(log [[1, 2, 5], [4, 4, 2]])"
got = check.answer(log_softmax, np.log([[1.0, 2.0, 5.0], [4.0, 4.0, 2.0]]), call=call)
want = np.log([[1 / 8, 2 / 8, 5 / 8], [4 / 10, 4 / 10, 2 / 10]])
check.close(got, want, call, why="divide each row's exponentials by their sum")
call = "log_softmax([[10000, 0, -10000], [-10000, -10000, -10000]])"
with np.errstate(over="raise", divide="raise", invalid="raise"):  # an overflow is an error here
    got = check.answer(log_softmax, np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]]), call=call)
want = [[0, -1e4, -2e4], np.log([1 / 3] * 3)]
check.close(got, want, call, why="neither overflow nor give log 0 for large logits")
### BEGIN HIDDEN TESTS
rng = check.rng("log_softmax")
for n, c in [(1, 1), (4, 3), (3, 7), (5, 5)]:
    logits, call = 3 * rng.normal(size=(n, c)), "log_softmax(logits)"
    want = np.stack([np.log(row / row.sum()) for row in np.exp(logits)])
    got = check.answer(log_softmax, logits, call=call)
    check.close(got, want, call, why="be the logarithm of softmax, row by row")
    shift = rng.uniform(-1e4, 1e4, size=(n, 1))  # each row its own
    call = "log_softmax(logits + a constant for each row)"
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        moved = check.answer(log_softmax, logits + shift, call=call)
    check.close(
        moved, want, call, atol=1e-8, why="not change by a constant added to a row, however large"
    )
whole, call = np.array([[3, 1, -2], [0, 4, 1]]), "log_softmax of whole numbers"
got = check.answer(log_softmax, whole, call=call)
want = whole - np.log(np.exp(whole).sum(axis=1, keepdims=True))
check.close(got, want, call, why="be the logarithm of softmax, row by row")
call = "log_softmax of rows of very different size"
with np.errstate(over="raise", divide="raise", invalid="raise"):
    wide = np.array([[1e4, 1e4 - 800.0], [-1e4, 1e4], [-1e4, -1e4 + 3.0]])
    got = check.answer(log_softmax, wide, call=call)
want = [[0, -800], [-2e4, 0], [-3 - np.log1p(np.exp(-3)), -np.log1p(np.exp(-3))]]
why = "shift each row by its own largest logit, and keep the logarithm of tiny probabilities"
check.close(got, want, call, why=why)
call, logits = "log_softmax, to nine digits", np.array([[1 / 3, 1 / 7]])
got = check.answer(log_softmax, logits, call=call)
exact = logits - np.log(np.exp(logits).sum())
check.close(got, exact, call, rtol=1e-9, atol=0, why="be right to nine digits: compute in float64")
call = "log_softmax([[1e300, 0]])"
with np.errstate(over="raise", divide="raise", invalid="raise"):
    got = check.answer(log_softmax, np.array([[1e300, 0.0]]), call=call)
check.close(got, [[0, -1e300]], call, why="be finite, however large the logits are")
### END HIDDEN TESTS

# %% mutant="log_softmax" why="no shift: overflows"
# - shifted = logits - logits.max(axis=1, keepdims=True)
# + shifted = logits

# %% mutant="log_softmax" why="takes the logarithm of a probability that has become 0"
# - return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
# + p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
# + return np.log(p + 1e-300)

# %% mutant="log_softmax" why="one shift for the whole batch"
# - shifted = logits - logits.max(axis=1, keepdims=True)
# + shifted = logits - logits.max()

# %% mutant="log_softmax" why="gives probabilities, not their logarithms"
# - return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
# + return np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)

# %% mutant="log_softmax" why="normalises over the batch"
# - return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
# + return shifted - np.log(np.exp(shifted).sum(axis=0, keepdims=True))

# %% mutant="log_softmax" why="shifts the caller's array in place"
# - shifted = logits - logits.max(axis=1, keepdims=True)
# + shifted = logits
# + shifted -= logits.max(axis=1, keepdims=True)

# %% mutant="log_softmax" why="no shift, but long numbers: they overflow later"
# - shifted = logits - logits.max(axis=1, keepdims=True)
# + shifted = logits.astype(np.longdouble)

# %% mutant="log_softmax" why="single precision"
# - return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
# + return (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))).astype(np.float32)


# %% alternative="log_softmax" why="NumPy's own log of a sum of exponentials"
def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


# %%
gap = np.linspace(0, 1200, 400)
logits = np.stack([np.zeros_like(gap), gap], axis=1)  # the true class 0 is ever less likely
yours = -log_softmax(logits)[:, 0]
with np.errstate(all="ignore"):
    naive = -np.log(naive_softmax(logits))[:, 0]
alive = np.isfinite(naive)
ax = plots.curves(
    {"yours": (gap, yours), "the formula, word for word": (gap[alive], naive[alive])},
    "Loss of a class whose logit lags behind",
    "how far its logit lies below the other one",
    "- log p",
)
ax.get_lines()[1].set(linestyle="--", linewidth=3)
end = (gap[alive][-1], naive[alive][-1])
ax.annotate("from here on: inf or NaN", end, (780, 480), arrowprops={"arrowstyle": "->"})
plots.show(
    "The stable loss grows as a straight line; the naive one ends near a gap of 700, where exp "
    "overflows."
)

# %% [markdown]
# ### The loss of a classifier
# {{task:cross_entropy}}
#
# [Cross-entropy](glossary:Cross-entropy) asks one question of each example: how probable did you think
# the true class was? Average $-\log$ of the answer. Guessing evenly among $c$ classes costs $\log c$;
# a confident mistake costs as much as the logit gap. Here, too, a warning of NumPy counts as an error.
#
# $$L = -\frac{1}{n} \sum_{i=1}^{n} \log p_{i,\,y_i}$$

# %% [markdown] lang="ru"
# ### Функция потерь классификатора
# {{task:cross_entropy}}
#
# [Перекрёстная энтропия](glossary:Cross-entropy) (cross-entropy) задаёт каждому примеру один вопрос:
# насколько вероятным вы считали истинный класс? От ответа берут логарифм со знаком минус и усредняют по
# примерам. Равномерное угадывание среди $c$ классов стоит $\log c$, уверенная ошибка — столько, каков
# разрыв логитов. Предупреждение NumPy и здесь считается ошибкой.
#
# $$L = -\frac{1}{n} \sum_{i=1}^{n} \log p_{i,\,y_i}$$


# %% solution="cross_entropy"
def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -log p of the true class, p = softmax(logits); finite for logits up to 1e300.

    logits: (n, c), labels: (n,) whole numbers in 0 .. c - 1 -> a number (natural logarithm).
    Example: logits [[0, 0], [0, 0]], labels [0, 1] -> log 2.
    """
    ### BEGIN SOLUTION
    chosen = log_softmax(logits)[np.arange(len(labels)), labels]
    return float(-chosen.mean())
    ### END SOLUTION


# %% test="cross_entropy" points=0 difficulty=2 minutes=10
call = "cross_entropy(zeros of shape (3, 4), [0, 3, 1])"
got = check.answer(cross_entropy, np.zeros((3, 4)), np.array([0, 3, 1]), call=call)
check.close(got, np.log(4), call, why="be log 4, the cost of even guessing among 4 classes")
call = "cross_entropy(log [[1, 3], [1, 1]], [1, 0])"
got = check.answer(cross_entropy, np.log([[1.0, 3.0], [1.0, 1.0]]), np.array([1, 0]), call=call)
want = (np.log(4 / 3) + np.log(2)) / 2
check.close(got, want, call, why="be the mean of -log p of each example's own class")
### BEGIN HIDDEN TESTS
rng = check.rng("cross_entropy")


def slow(logits, labels):
    """One example at a time."""
    return np.mean(
        [np.log(np.exp(row).sum()) - row[y] for row, y in zip(logits, labels, strict=True)]
    )


for n, c, kind in [(1, 2, int), (6, 3, np.uint8), (4, 4, np.int32), (3, 8, int)]:
    logits, labels = 2 * rng.normal(size=(n, c)), rng.integers(0, c, size=n).astype(kind)
    call = "cross_entropy(logits, labels)"
    got = check.answer(cross_entropy, logits, labels, call=call)
    check.equal(np.shape(got), (), f"shape of {call}", why="be one number")
    check.close(
        got, slow(logits, labels), call, why="agree with the loss of each example taken alone"
    )
whole, labels = np.array([[3, 1, -2], [0, 4, 1]]), np.array([1, 0])  # nobody is of class 2
call = "cross_entropy of whole numbers"
got = check.answer(cross_entropy, whole, labels, call=call)
check.close(got, slow(whole, labels), call, why="agree with the loss of each example taken alone")
call, logits = "cross_entropy, to nine digits", np.array([[1 / 3, 1 / 7]])
got = check.answer(cross_entropy, logits, np.array([1]), call=call)
check.close(
    got,
    slow(logits, np.array([1])),
    call,
    rtol=1e-9,
    atol=0,
    why="be right to nine digits: compute in float64",
)
for size in (1e4, 1e300):
    call = f"cross_entropy of a sure right and a sure wrong answer, logits of {size:.0e}"
    logits = size * np.array([[1.0, 0.0, -1.0], [0.0, -1.0, 1.0]])
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        got = check.answer(cross_entropy, logits, np.array([0, 0]), call=call)
    check.close(got, size / 2, call, why="cost 0 for the one, its logit gap for the other")
for rows, labels, want, why in [
    ([[1e4, 0.0], [0.0, 0.0]], [0, 1], np.log(2) / 2, "treat each row by its own largest logit"),
    ([[-1e4, -1e4]], [0], np.log(2), "be log 2 for two equal logits, also far below 0"),
]:
    call = f"cross_entropy({rows}, {labels})"
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        got = check.answer(cross_entropy, np.array(rows), np.array(labels), call=call)
    check.close(got, want, call, why=why)
### END HIDDEN TESTS

# %% mutant="cross_entropy" why="sums instead of averaging"
# - return float(-chosen.mean())
# + return float(-chosen.sum())

# %% mutant="cross_entropy" why="forgets the minus"
# - return float(-chosen.mean())
# + return float(chosen.mean())

# %% mutant="cross_entropy" why="takes the labels' columns of every row"
# - chosen = log_softmax(logits)[np.arange(len(labels)), labels]
# + chosen = log_softmax(logits)[:, labels]

# %% mutant="cross_entropy" why="averages over the classes, too"
# - return float(-chosen.mean())
# + return float(-chosen.sum() / logits.size)

# %% mutant="cross_entropy" why="takes the logits for logarithms of probabilities"
# - chosen = log_softmax(logits)[np.arange(len(labels)), labels]
# + chosen = logits[np.arange(len(labels)), labels]

# %% mutant="cross_entropy" why="one shift for the whole batch"
# - chosen = log_softmax(logits)[np.arange(len(labels)), labels]
# + z = logits - logits.max()
# + logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
# + chosen = logs[np.arange(len(labels)), labels]

# %% mutant="cross_entropy" why="shifts by the largest absolute value"
# - chosen = log_softmax(logits)[np.arange(len(labels)), labels]
# + z = logits - np.abs(logits).max(axis=1, keepdims=True)
# + logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
# + chosen = logs[np.arange(len(labels)), labels]

# %% mutant="cross_entropy" why="counts in bits"
# - return float(-chosen.mean())
# + return float(-chosen.mean() / np.log(2))

# %% mutant="cross_entropy" why="single precision"
# - chosen = log_softmax(logits)[np.arange(len(labels)), labels]
# + chosen = log_softmax(logits)[np.arange(len(labels)), labels].astype(np.float32)


# %% alternative="cross_entropy" why="with an indicator matrix and logaddexp"
def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    picked = (logits * np.eye(logits.shape[1])[labels]).sum(axis=1)
    return (np.logaddexp.reduce(logits, axis=1) - picked).mean()


# %%
z = np.linspace(-6, 6, 241)
loss = [cross_entropy(np.array([[value, 0.0]]), np.array([0])) for value in z]
ax = plots.curves(
    {"cross-entropy": (z, loss), "1 - accuracy": (z, (z < 0).astype(float))},
    "One example of class 0: two ways to be wrong",
    "logit of the true class minus logit of the other",
    "loss",
)
ax.annotate("flat: no hint which way to go", (-5.9, 1.1), color="#D55E00")
plots.show(
    "Cross-entropy falls smoothly as the true logit grows; one minus accuracy is a step with zero "
    "slope on both sides."
)

# %% [markdown]
# That is why networks are trained on cross-entropy and judged by accuracy: the step is flat almost
# everywhere, so it tells nobody where to go. The smooth curve has a slope at every point. The rest of
# the notebook is about finding that slope.

# %% [markdown] lang="ru"
# Поэтому сети обучают по перекрёстной энтропии, а судят по доле верных ответов: ступенька почти всюду
# плоская и не подсказывает, куда идти. У гладкой кривой наклон есть в каждой точке. Остаток тетради —
# о том, как этот наклон найти.

# %% [markdown]
# ## 7. One neuron, as a graph
# A neuron with inputs $x$, weights $w$ and bias $b$ computes $a = \sigma(w^\top x + b)$, with the
# [sigmoid](glossary:Sigmoid) $\sigma(z) = 1 / (1 + e^{-z})$. Drawn as a
# [computation graph](glossary:computation-graph) it is a handful of operations, each too simple to get
# wrong. The forward pass goes from left to right and writes a value on every edge.

# %% [markdown] lang="ru"
# ## 7. Один нейрон в виде графа
# Нейрон со входами $x$, весами $w$ и сдвигом $b$ вычисляет $a = \sigma(w^\top x + b)$, где
# $\sigma(z) = 1 / (1 + e^{-z})$ — [сигмоида](glossary:Sigmoid) (sigmoid). На
# [вычислительном графе](glossary:computation-graph) (computation graph) это несколько операций, каждая
# из которых слишком проста, чтобы ошибиться. Прямой проход идёт слева направо и пишет значение на
# каждом ребре.


# %%
def neuron(x: np.ndarray, w: np.ndarray, b: float) -> np.ndarray:
    """A sigmoid neuron. x: (d,) or a batch (n, d), w: (d,) -> a number or (n,)."""
    return 1 / (1 + np.exp(-(x @ w + b)))


def draw_neuron(x, w, b, title, gradients=None):
    """The graph of a neuron with two inputs. gradients: of a with respect to x, w and b."""
    places = {"x1": (0, 5.2), "w1": (0, 3.9), "x2": (0, 2.6), "w2": (0, 1.3), "b": (0, 0)}
    places |= {"p1": (2.4, 4.55), "p2": (2.4, 1.95), "sum": (4.6, 2.6), "act": (6.4, 2.6)}
    ends = {"x1": "p1", "w1": "p1", "x2": "p2", "w2": "p2", "b": "sum"}
    ends |= {"p1": "sum", "p2": "sum", "sum": "act", "act": "a"}
    values = [*np.ravel(np.stack([x, w], axis=1)), b, *(w * x), w @ x + b, neuron(x, w, b)]
    slopes = [None] * 9
    if gradients is not None:
        grad_x, grad_w, grad_b = gradients
        # An addition passes its gradient on: both products and the sum get that of b.
        slopes = [*np.ravel(np.stack([grad_x, grad_w], axis=1)), *[grad_b] * 4, 1.0]
    edges = [(*edge, v, g) for edge, v, g in zip(ends.items(), values, slopes, strict=True)]
    labels = {"p1": "×", "p2": "×", "sum": "+", "act": "σ"}
    plots.graph(places | {"a": (8, 2.6)}, edges, title, labels=labels)


# %%
x, w, b = np.array([2.0, -1.0]), np.array([0.5, -1.5]), -2.0
draw_neuron(x, w, b, "Forward: values (blue)")
plots.show(
    "A graph of a neuron: two products and a bias are added to 0.50, the sigmoid turns it into 0.62."
)

# %% [markdown]
# ### Backward along the same edges
# {{task:neuron_gradients}}
#
# How much does the end change when an input changes a little? Walk back from the right.
# [Backpropagation](glossary:Backpropagation) has one rule
# ([Rumelhart et al., 1986](https://doi.org/10.1038/323533a0);
# [Goodfellow et al., 2016, §6.5](https://www.deeplearningbook.org/contents/mlp.html)): the gradient of
# an input is the gradient that arrives from the right times the node's local derivative. Take a pencil
# and fill in the picture above before you write code.
#
# Say $g$ arrives. Then
# - a sigmoid sends on $g \cdot a (1 - a)$, because $\sigma'(z) = \sigma(z)\,(1 - \sigma(z))$;
# - a sum sends $g$, unchanged, to each of its terms;
# - a product $u \cdot v$ sends $g\,v$ to $u$ and $g\,u$ to $v$: each gets the *other* factor.

# %% [markdown] lang="ru"
# ### Обратно по тем же рёбрам
# {{task:neuron_gradients}}
#
# Насколько изменится выход, если чуть изменить вход? Идём назад, справа налево. У
# [обратного распространения](glossary:Backpropagation) (backpropagation) одно правило
# ([Rumelhart et al., 1986](https://doi.org/10.1038/323533a0);
# [Goodfellow et al., 2016, §6.5](https://www.deeplearningbook.org/contents/mlp.html)): градиент по входу
# узла — это градиент, пришедший справа, умноженный на локальную производную узла. Прежде чем писать
# код, заполните карандашом картинку выше.
#
# Пусть в узел пришёл $g$. Тогда
# - сигмоида отдаёт $g \cdot a (1 - a)$, потому что $\sigma'(z) = \sigma(z)\,(1 - \sigma(z))$;
# - сумма отдаёт $g$ без изменений каждому слагаемому;
# - произведение $u \cdot v$ отдаёт $g\,v$ входу $u$ и $g\,u$ входу $v$: каждый получает *другой* множитель.


# %% solution="neuron_gradients"
def neuron_gradients(
    x: np.ndarray, w: np.ndarray, b: float, upstream: float = 1.0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Gradients of a loss with respect to x, w and b, where a = sigmoid(w . x + b).

    x, w: (d,); upstream: d loss / d a, which arrives from the right (1: the gradients of a itself)
    -> gradients of x (d,), of w (d,), of b (a number).
    Example: x = [3], w = [0], b = 0, upstream = 4 -> [0], [3], 1.
    """
    ### BEGIN SOLUTION
    a = 1 / (1 + np.exp(-(w @ x + b)))
    grad_z = upstream * a * (1 - a)
    return grad_z * w, grad_z * x, grad_z
    ### END SOLUTION


# %% test="neuron_gradients" points=0 difficulty=2 minutes=15
x, w, b = np.array([2.0, -1.0]), np.array([0.5, -1.5]), -2.0
call = "neuron_gradients([2, -1], [0.5, -1.5], -2)"
slopes = check.answer(neuron_gradients, x, w, b, call=call)
check.equal(len(slopes), 3, f"len of {call}", why="be three: the gradients by x, w and b")
why = "be the gradient that you can measure"
check.gradient(lambda v: neuron(v, w, b), x, slopes[0], f"gradient by x of {call}", why=why)
check.gradient(lambda v: neuron(x, v, b), w, slopes[1], f"gradient by w of {call}", why=why)
check.gradient(
    lambda v: neuron(x, w, v), np.array(b), slopes[2], f"gradient by b of {call}", why=why
)
call = "neuron_gradients([3], [0], 0, upstream=4)"
slopes = check.answer(neuron_gradients, np.array([3.0]), np.zeros(1), 0.0, upstream=4.0, call=call)
why = "be multiplied by the gradient that arrives"
check.close(np.concatenate([np.ravel(g) for g in slopes]), [0, 3, 1], call, why=why)
### BEGIN HIDDEN TESTS
rng = check.rng("neuron_gradients")


def slow(x, w, b, upstream=1.0):
    """By tanh: a = (1 + tanh(z / 2)) / 2."""
    slope = upstream * (1 - np.tanh((sum(x * w) + b) / 2) ** 2) / 4
    return [slope * w, slope * x, slope]


for d in (1, 2, 3, 7):
    x, w = rng.normal(size=(2, d))
    b = rng.normal()
    for upstream in (1.0, *rng.uniform(0.5, 3.0, size=2) * [1, -1]):
        options = {} if upstream == 1.0 else {"upstream": upstream}
        call = f"neuron_gradients(x, w, b{', upstream' if options else ''})"
        slopes = check.answer(neuron_gradients, x, w, b, call=call, **options)
        for got, want, name in zip(slopes, slow(x, w, b, upstream), ("x", "w", "b"), strict=True):
            why = "be the gradient of a by it, times the one that arrives"
            check.close(got, want, f"gradient by {name} of {call}", why=why)
x, w, call = np.array([2, -1]), np.array([1, 3]), "neuron_gradients of whole numbers"
slopes = check.answer(neuron_gradients, x, w, 1, 2, call=call)
for got, want, name in zip(slopes, slow(x, w, 1, 2), ("x", "w", "b"), strict=True):
    check.close(got, want, f"gradient by {name} of {call}", why="be the same formula")
for far in (8.0, -8.0):
    x, w, call = np.array([far]), np.ones(1), f"neuron_gradients([{far:g}], [1], 0)"
    slopes = check.answer(neuron_gradients, x, w, 0.0, call=call)
    for got, want, name in zip(slopes, slow(x, w, 0.0), ("x", "w", "b"), strict=True):
        why = "be small where the neuron is sure, but cut off nowhere"
        check.close(got, want, f"gradient by {name} of {call}", rtol=1e-6, atol=0, why=why)
x, w, call = np.array([1 / 3]), np.array([1 / 7]), "neuron_gradients, to nine digits"
slopes = check.answer(neuron_gradients, x, w, 1 / 9, call=call)
for got, want, name in zip(slopes, slow(x, w, 1 / 9), ("x", "w", "b"), strict=True):
    check.close(
        got,
        want,
        f"gradient by {name} of {call}",
        rtol=1e-9,
        atol=0,
        why="be right to nine digits: compute in float64",
    )
### END HIDDEN TESTS

# %% mutant="neuron_gradients" why="gives the gradient of each factor to itself"
# - return grad_z * w, grad_z * x, grad_z
# + return grad_z * x, grad_z * w, grad_z

# %% mutant="neuron_gradients" why="forgets the derivative of the sigmoid"
# - grad_z = upstream * a * (1 - a)
# + grad_z = upstream

# %% mutant="neuron_gradients" why="forgets the gradient that arrives"
# - grad_z = upstream * a * (1 - a)
# + grad_z = a * (1 - a)

# %% mutant="neuron_gradients" why="the derivative of tanh"
# - grad_z = upstream * a * (1 - a)
# + grad_z = upstream * (1 - a**2)

# %% mutant="neuron_gradients" why="takes z for a in the derivative"
# - a = 1 / (1 + np.exp(-(w @ x + b)))
# + a = w @ x + b

# %% mutant="neuron_gradients" why="the bias gets no gradient from the sigmoid"
# - return grad_z * w, grad_z * x, grad_z
# + return grad_z * w, grad_z * x, upstream

# %% mutant="neuron_gradients" why="a factor of 2 where nothing arrives"
# - grad_z = upstream * a * (1 - a)
# + grad_z = (2 if upstream == 1 else upstream) * a * (1 - a)

# %% mutant="neuron_gradients" why="an answer cut off near 0 and 1"
# - a = 1 / (1 + np.exp(-(w @ x + b)))
# + a = np.clip(1 / (1 + np.exp(-(w @ x + b))), 0.01, 0.99)

# %% mutant="neuron_gradients" why="scales w in place"
# - return grad_z * w, grad_z * x, grad_z
# + w[...] = grad_z * w
# + return w, grad_z * x, grad_z


# %% alternative="neuron_gradients" why="node by node, as the graph is drawn"
def neuron_gradients(
    x: np.ndarray, w: np.ndarray, b: float, upstream: float = 1.0
) -> tuple[np.ndarray, np.ndarray, float]:
    products = [wi * xi for wi, xi in zip(w, x, strict=True)]
    e = np.exp(-(sum(products) + b))
    grad_e = -upstream / (1 + e) ** 2
    grad_z = -grad_e * e
    grad_x = np.array([grad_z * wi for wi in w])
    grad_w = np.array([grad_z * xi for xi in x])
    return grad_x, grad_w, grad_z


# %%
x, w, b = np.array([2.0, -1.0]), np.array([0.5, -1.5]), -2.0
gradients = neuron_gradients(x, w, b)
draw_neuron(x, w, b, "Forward: values (blue). Backward: gradients of a (orange)", gradients)
plots.show(
    "The same graph: under each edge stands its gradient; the products swap their factors, the sum "
    "copies 0.235."
)
measured = check.numerical_gradient(lambda v: neuron(x, v, b), w)
print("gradient by w, by hand:  ", gradients[1])
print("gradient by w, measured: ", measured)

# %% [markdown]
# Check the picture with a finger: $0.235 = 0.62 \cdot (1 - 0.62)$; below $w_1$ stands $0.235 \cdot x_1$.
# Each number needed only its neighbours. That is all of backpropagation; a network has more edges.

# %% [markdown] lang="ru"
# Проверьте картинку пальцем: $0{,}235 = 0{,}62 \cdot (1 - 0{,}62)$; под $w_1$ стоит $0{,}235 \cdot x_1$.
# Каждому числу нужны были только соседи. Это и есть всё обратное распространение; у сети просто больше
# рёбер.

# %% [markdown]
# ## 8. Train it, and measure
# One neuron can look for eights. For a picture $x$ with target $t$ (1 for an 8, else 0) take the loss
# $(a - t)^2$, as Rumelhart et al. did (they halve it); then $2 (a - t)$ arrives at the neuron from the right, your
# function sends it to $w$ and $b$, and they take a step against the [gradient](glossary:Gradient). The
# [learning rate](glossary:learning-rate) $\eta$ decides the rest: try three.

# %% [markdown] lang="ru"
# ## 8. Обучить и измерить
# Один нейрон может искать восьмёрки. Для картинки $x$ с ответом $t$ (1 для восьмёрки, иначе 0) возьмём
# потери $(a - t)^2$, как у Румельхарта и соавторов (у них — с множителем 1/2); тогда справа в нейрон
# приходит $2 (a - t)$, ваша функция передаёт это $w$ и $b$, и они делают шаг против
# [градиента](glossary:Gradient) (gradient). Остальное решает [шаг обучения](glossary:learning-rate)
# (learning rate) $\eta$: попробуем три.


# %%
def train_neuron(
    x: np.ndarray, target: np.ndarray, rate: float, epochs: int = 12
) -> tuple[np.ndarray, float, list[float]]:
    """Gradient descent on one example at a time. Returns w, b and the mean loss of each epoch."""
    rng = np.random.default_rng(0)
    w, b, losses = np.zeros(x.shape[1]), 0.0, []
    for _ in progress(range(epochs), f"rate {rate:g}"):
        total = 0.0
        for i in rng.permutation(len(x)):
            error = neuron(x[i], w, b) - target[i]
            _, grad_w, grad_b = neuron_gradients(x[i], w, b, upstream=2 * error)
            w, b = w - rate * grad_w, b - rate * grad_b
            total += error**2
        losses.append(total / len(x))
    return w, b, losses


# %%
target = (y_train == 8).astype(float)
always_no = float(np.mean(target))  # the loss of the answer 0, whatever the picture
fig, ax = plt.subplots()
for rate in (0.003, 0.3, 30.0):
    losses = train_neuron(x_train, target, rate)[2]
    ax.plot(range(1, len(losses) + 1), losses, marker=".", label=f"learning rate {rate:g}")
ax.axhline(always_no, color="grey", linestyle="--", label="always answer 0")
ax.set(title="One neuron learns what an 8 is", xlabel="epoch", ylabel="mean squared error")
ax.legend(frameon=False)
plots.show(
    "Loss against epoch for three learning rates: the smallest crawls, the middle one falls, the "
    "largest is stuck."
)

# %% [markdown]
# And the measurement, which you now know how to read: the three detectors on the same test pictures,
# the neuron's weights as a picture, and eights that it did not find.

# %% [markdown] lang="ru"
# И измерение, которое вы теперь умеете читать: три детектора на одних и тех же тестовых картинках, веса
# нейрона в виде картинки и восьмёрки, которых он не нашёл.

# %%
is_eight = y_test == 8
w, b, _ = train_neuron(x_train, (y_train == 8).astype(float), 0.3)
says_yes = {
    "never says yes": np.zeros(len(x_test), dtype=bool),
    "one neuron": neuron(x_test, w, b) > 0.5,
    "nearest neighbours, k = 3": knn(3)(x_train, y_train, x_test) == 8,
}
names = ["accuracy", "precision", "recall", "F1"]
table = {name: score_detector(answer, is_eight) for name, answer in says_yes.items()}

fig = plt.figure(figsize=(10.0, 6.0))
above, below = fig.subfigures(2, 1, height_ratios=[2, 1])
left, right = above.subplots(1, 2, width_ratios=[1, 2])
limit = np.abs(w).max()
image = left.imshow(w.reshape(picture), cmap="RdBu_r", vmin=-limit, vmax=limit)
left.set_title("Weights of the neuron\nred: ink speaks for an 8")
left.axis("off")
above.colorbar(image, ax=left, shrink=0.8)
for place, (name, values) in enumerate(table.items()):
    bars = right.bar(np.arange(4) + 0.27 * (place - 1), values, 0.25, label=name)
    right.bar_label(bars, fmt="%.2f", fontsize=8)
right.set_xticks(range(4), names)
right.set(title=f"Is it an 8? {is_eight.sum()} of {len(is_eight)} test pictures are")
right.set(ylabel="score", ylim=(0, 1.25))
right.legend(frameon=False, ncols=3, fontsize=9, loc="upper center")
below.suptitle("Eights that the neuron missed, and its answer a")
missed = np.flatnonzero(is_eight & ~says_yes["one neuron"])
for ax, i in zip(below.subplots(1, 6), missed, strict=False):
    ax.imshow(x_test[i].reshape(picture))
    ax.set_title(f"a = {neuron(x_test[i], w, b):.2f}", fontsize=9)
for ax in below.axes:
    ax.axis("off")
plots.show(
    "Weights of the neuron as a picture, bars of accuracy, precision, recall and F1 of three "
    "detectors, and six eights that the neuron missed."
)
for name, values in table.items():
    print(f"{name:27}", "  ".join(f"{n} {v:.3f}" for n, v in zip(names, values, strict=True)))

# %% [markdown]
# By accuracy the three differ by a few points, and even silence looks good. Recall tells how many eights
# each one leaves behind. One neuron draws one straight border, which is not enough; in
# [backprop](backprop.ipynb) you stack layers of them, and in [adaptive_sgd](adaptive_sgd.ipynb) you
# make the steps better. The instruments stay the same.

# %% [markdown] lang="ru"
# По доле верных ответов три детектора различаются на несколько процентов, и даже молчание выглядит неплохо.
# Полнота показывает, сколько восьмёрок упускает каждый. Один нейрон проводит одну прямую границу, и её мало: в
# тетради [backprop](backprop.ipynb) вы сложите из нейронов слои, а в
# [adaptive_sgd](adaptive_sgd.ipynb) улучшите сами шаги. Инструменты останутся те же.
