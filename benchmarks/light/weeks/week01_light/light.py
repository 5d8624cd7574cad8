# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Eight small tasks

# %% [markdown] lang="ru"
# # Восемь маленьких задач

# %% tags=["parameters"]
profile = "small"

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
import torchvision

from practical_dl import check

# %% [markdown]
# ## scale
# {{task:scale}}

# %% [markdown] lang="ru"
# ## scale
# {{task:scale}}


# %% solution="scale"
def scale(x: torch.Tensor, a: float):
    """x multiplied by a."""
    ### BEGIN SOLUTION
    return a * x
    ### END SOLUTION


# %% test="scale" points=1 difficulty=1 minutes=1
check.close(scale(torch.ones(2), 3.0), [3.0, 3.0], "scale(torch.ones(2), 3.0)")
### BEGIN HIDDEN TESTS
rng = check.rng("scale")
x = torch.tensor(rng.normal(size=5))
check.close(scale(x, 2.5), 2.5 * x.numpy(), "scale(x, 2.5)")
### END HIDDEN TESTS

# %% mutant="scale" why="a likely mistake"
# - return a * x
# + return a + x

# %% [markdown]
# ## shift
# {{task:shift}}

# %% [markdown] lang="ru"
# ## shift
# {{task:shift}}


# %% solution="shift"
def shift(x: torch.Tensor, b: float):
    """x with b added."""
    ### BEGIN SOLUTION
    return x + b
    ### END SOLUTION


# %% test="shift" points=1 difficulty=1 minutes=1
check.close(shift(torch.zeros(2), 1.0), [1.0, 1.0], "shift(torch.zeros(2), 1.0)")
### BEGIN HIDDEN TESTS
rng = check.rng("shift")
x = torch.tensor(rng.normal(size=5))
check.close(shift(x, 0.5), x.numpy() + 0.5, "shift(x, 0.5)")
### END HIDDEN TESTS

# %% mutant="shift" why="a likely mistake"
# - return x + b
# + return x - b

# %% [markdown]
# ## relu
# {{task:relu}}

# %% [markdown] lang="ru"
# ## relu
# {{task:relu}}


# %% solution="relu"
def relu(x: torch.Tensor):
    """max(x, 0) of each value."""
    ### BEGIN SOLUTION
    return x.clamp(min=0)
    ### END SOLUTION


# %% test="relu" points=1 difficulty=1 minutes=1
check.close(relu(torch.tensor([-1.0, 2.0])), [0.0, 2.0], "relu(torch.tensor([-1.0, 2.0]))")
### BEGIN HIDDEN TESTS
rng = check.rng("relu")
x = torch.tensor(rng.normal(size=9))
check.close(relu(x), np.maximum(x.numpy(), 0), "relu(x)")
### END HIDDEN TESTS

# %% mutant="relu" why="a likely mistake"
# - return x.clamp(min=0)
# + return x.abs()

# %% [markdown]
# ## softmax
# {{task:softmax}}

# %% [markdown] lang="ru"
# ## softmax
# {{task:softmax}}


# %% solution="softmax"
def softmax(x: torch.Tensor):
    """Softmax of a vector."""
    ### BEGIN SOLUTION
    return torch.softmax(x, 0)
    ### END SOLUTION


# %% test="softmax" points=1 difficulty=1 minutes=1
check.close(softmax(torch.zeros(4)), [0.25] * 4, "softmax(torch.zeros(4))")
### BEGIN HIDDEN TESTS
rng = check.rng("softmax")
x = torch.tensor(rng.normal(size=6))
check.close(softmax(x), np.exp(x.numpy()) / np.exp(x.numpy()).sum(), "softmax(x)")
### END HIDDEN TESTS

# %% mutant="softmax" why="a likely mistake"
# - return torch.softmax(x, 0)
# + return torch.sigmoid(x)

# %% [markdown]
# ## mean_square
# {{task:mean_square}}

# %% [markdown] lang="ru"
# ## mean_square
# {{task:mean_square}}


# %% solution="mean_square"
def mean_square(x: torch.Tensor):
    """Mean of the squares, a number."""
    ### BEGIN SOLUTION
    return float((x**2).mean())
    ### END SOLUTION


# %% test="mean_square" points=1 difficulty=1 minutes=1
check.close(mean_square(torch.tensor([1.0, 3.0])), 5.0, "mean_square(torch.tensor([1.0, 3.0]))")
### BEGIN HIDDEN TESTS
rng = check.rng("mean_square")
x = torch.tensor(rng.normal(size=7))
check.close(mean_square(x), np.mean(x.numpy() ** 2), "mean_square(x)")
### END HIDDEN TESTS

# %% mutant="mean_square" why="a likely mistake"
# - return float((x**2).mean())
# + return float(x.mean() ** 2)

# %% [markdown]
# ## outer
# {{task:outer}}

# %% [markdown] lang="ru"
# ## outer
# {{task:outer}}


# %% solution="outer"
def outer(x: torch.Tensor, y: torch.Tensor):
    """(n,), (m,) -> (n, m)."""
    ### BEGIN SOLUTION
    return x[:, None] * y[None]
    ### END SOLUTION


# %% test="outer" points=1 difficulty=1 minutes=1
check.close(outer(torch.ones(1), torch.arange(2.0)), [[0.0, 1.0]], "outer(torch.ones(1), torch.arange(2.0))")
### BEGIN HIDDEN TESTS
rng = check.rng("outer")
x, y = torch.tensor(rng.normal(size=(2, 4)))
check.close(outer(x, y), np.outer(x.numpy(), y.numpy()), "outer(x, y)")
### END HIDDEN TESTS

# %% mutant="outer" why="a likely mistake"
# - return x[:, None] * y[None]
# + return y[:, None] * x[None]

# %% [markdown]
# ## gradient
# {{task:gradient}}

# %% [markdown] lang="ru"
# ## gradient
# {{task:gradient}}


# %% solution="gradient"
def gradient(w: float):
    """Derivative of w^3 by autograd, a number."""
    ### BEGIN SOLUTION
    w = torch.tensor(w, requires_grad=True)
    (w**3).backward()
    return float(w.grad)
    ### END SOLUTION


# %% test="gradient" points=1 difficulty=1 minutes=1
check.close(gradient(2.0), 12.0, "gradient(2.0)")
### BEGIN HIDDEN TESTS
rng = check.rng("gradient")
w = float(rng.normal())
check.close(gradient(w), 3 * w**2, "gradient(w)")
### END HIDDEN TESTS

# %% mutant="gradient" why="a likely mistake"
# - return float(w.grad)
# + return 3 * w

# %% [markdown]
# ## pixels
# {{task:pixels}}

# %% [markdown] lang="ru"
# ## pixels
# {{task:pixels}}


# %% solution="pixels"
def pixels(size: int):
    """Pixels of a square picture after a crop by one pixel on each side."""
    ### BEGIN SOLUTION
    picture = torchvision.transforms.CenterCrop(size - 2)(torch.zeros(1, size, size))
    return picture.numel()
    ### END SOLUTION


# %% test="pixels" points=1 difficulty=1 minutes=1
check.close(pixels(4), 4, "pixels(4)")
### BEGIN HIDDEN TESTS
rng = check.rng("pixels")
size = int(rng.integers(5, 20))
check.close(pixels(size), (size - 2) ** 2, "pixels(size)")
### END HIDDEN TESTS

# %% mutant="pixels" why="a likely mistake"
# - return picture.numel()
# + return size**2

# %%
plt.plot(relu(torch.linspace(-1, 1, 50)))
plt.title("ReLU")
plt.show()
