# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Four functions and an answer
# Checked by torch, by NumPy, by a helper of the notebook's own, by a score, by a person.

# %% [markdown] lang="ru"
# # Четыре функции и ответ
# Их проверяют torch, NumPy, функция самой тетради, оценка и человек.

# %% tags=["parameters"]
profile = "small"

# %%
import numpy as np
import torch

from practical_dl import check


# %%
def assert_same(got: torch.Tensor, expected: torch.Tensor) -> None:
    """Fail where two tensors differ."""
    assert got.shape == expected.shape, "the shapes differ"
    assert torch.allclose(got, expected), "the values differ"


# %% [markdown]
# ## Functions
# {{task:relu}} {{task:center}} {{task:unit}}

# %% [markdown] lang="ru"
# ## Функции
# {{task:relu}} {{task:center}} {{task:unit}}


# %% solution="relu"
def relu(x: torch.Tensor) -> torch.Tensor:
    """What is below 0 becomes 0. x: any shape -> the same shape."""
    ### BEGIN SOLUTION
    return x.clamp(min=0)
    ### END SOLUTION


# %% test="relu" points=1
assert_same(relu(torch.tensor([-1.0, 2.0])), torch.tensor([0.0, 2.0]))
### BEGIN HIDDEN TESTS
x = torch.tensor(check.rng("relu").normal(size=(3, 4)))
assert_same(relu(x), torch.where(x > 0, x, torch.zeros_like(x)))
### END HIDDEN TESTS

# %% mutant="relu" why="cuts at 1"
# - return x.clamp(min=0)
# + return x.clamp(min=1)


# %% solution="center"
def center(x: np.ndarray) -> np.ndarray:
    """Each column without its mean. x: (n, d) -> (n, d)."""
    ### BEGIN SOLUTION
    return x - x.mean(axis=0)
    ### END SOLUTION


# %% test="center" points=1
np.testing.assert_allclose(center(np.array([[1.0, 2.0], [3.0, 6.0]])), [[-1.0, -2.0], [1.0, 2.0]])
### BEGIN HIDDEN TESTS
x = check.rng("center").normal(size=(5, 3))
centered = center(x)
np.testing.assert_allclose(centered.sum(axis=0), np.zeros(3), atol=1e-12)
np.testing.assert_allclose(centered - x, np.tile(-x.mean(axis=0), (5, 1)))
### END HIDDEN TESTS

# %% mutant="center" why="one mean of all"
# - return x - x.mean(axis=0)
# + return x - x.mean()


# %% solution="unit"
def unit(x: torch.Tensor) -> torch.Tensor:
    """x divided by its length. x: (d,) -> (d,)."""
    ### BEGIN SOLUTION
    return x / x.norm()
    ### END SOLUTION


# %% test="unit" points=1
torch.testing.assert_close(unit(torch.tensor([3.0, 4.0])), torch.tensor([0.6, 0.8]))
### BEGIN HIDDEN TESTS
x = torch.tensor(check.rng("unit").normal(size=7))
torch.testing.assert_close(unit(x), x / sum(value**2 for value in x) ** 0.5)
### END HIDDEN TESTS

# %% mutant="unit" why="divides by the sum"
# - return x / x.norm()
# + return x / x.sum()

# %% [markdown]
# ## Leap years
# {{task:leap}} Half of the points for a rule without the centuries.

# %% [markdown] lang="ru"
# ## Високосные годы
# {{task:leap}} Половина баллов за правило без веков.


# %% solution="leap"
def leap(year: int) -> bool:
    """Whether a year of the Gregorian calendar is a leap year."""
    ### BEGIN SOLUTION
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    ### END SOLUTION


# %% test="leap" points=2
check.equal(leap(2024), True, "leap(2024)")
check.equal(leap(2022), False, "leap(2022)")
### BEGIN HIDDEN TESTS
centuries = {1900: False, 2000: True, 2100: False, 2400: True}
said = {year: check.plain(leap(year), f"leap({year})") for year in centuries}
right = sum(said[year] == answer for year, answer in centuries.items())
check.score(right / len(centuries), f"{right} of {len(centuries)} centuries are right.")
### END HIDDEN TESTS

# %% mutant="leap" why="every even year"
# - return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
# + return year % 2 == 0

# %% [markdown]
# ## In your words
# {{task:essay}} Why is ReLU not linear?

# %% [markdown] lang="ru"
# ## Своими словами
# {{task:essay}} Почему ReLU не линейна?

# %% [markdown] answer="essay" points=3
# *Your answer*

# %% [markdown] rubric="essay"
# 3 points: relu(-x) is not -relu(x).
