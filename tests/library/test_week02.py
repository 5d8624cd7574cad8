"""Week 02: its drawings, and what its tests share."""

from __future__ import annotations

import matplotlib
import numpy as np
import torch
from kit.pictures import is_drawn
from torch import nn

from practical_dl.weeks import week02

matplotlib.use("agg")


def test_drawings_draw_something(published: list) -> None:
    week02.broadcasting()
    assert is_drawn(published)
    week02.grids(np.eye(2), {"a": np.ones((2, 2)), "b": np.zeros((2, 2))})
    assert is_drawn(published)
    week02.norms()
    assert is_drawn(published)
    rng = np.random.default_rng(0)
    week02.signal(["a", "b"], *rng.normal(size=(2, 2, 50)), [0.1, np.nan], [0.2, 0.9])
    assert is_drawn(published)


def test_most_saved_counts_places_that_are_held_at_once() -> None:
    layers = nn.Sequential(*(nn.Sequential(nn.Linear(3, 3), nn.Tanh()) for _ in range(5)))
    weights = list(layers.parameters())
    # The input of each linear layer, which is the output of the last tanh, and the last one's.
    assert week02.most_saved(layers, torch.ones(2, 3), weights) == 6
    assert week02.most_saved(layers, torch.ones(2, 3), []) == 11
    assert week02.most_saved(lambda x: x * 2, torch.ones(2, 3), weights) == 0


def test_an_expression_is_differentiated_by_its_pulls() -> None:
    operations = {
        "add": lambda x, y: (x + y, lambda g: (g, g)),
        "square": lambda x: (x * x, lambda g: (2 * x * g,)),
    }
    leaves = [np.array([0.3, -0.2]), np.array(0.5)]
    steps = [("add", [0, 1]), ("square", [3]), ("add", [5, 0])]

    def summed_to(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.reshape(grad, shape) if np.size(grad) == np.prod(shape) else np.sum(grad)

    upstream = np.array([2.0, 3.0])
    value, grads = week02.graph_by_operations(operations, leaves, steps, upstream, summed_to)
    tensors = [torch.tensor(leaf, requires_grad=True) for leaf in leaves]
    step = {"add": torch.add, "square": torch.square}
    values = week02.run_graph(
        tensors, steps, lambda name, *v: step[name](*v), lambda z: 1 + torch.tanh(z) / 2
    )
    wanted = torch.autograd.grad(values[-1], tensors, torch.tensor(upstream))
    np.testing.assert_allclose(value, values[-1].detach())
    for got, want in zip(grads, wanted, strict=True):
        np.testing.assert_allclose(got, want)
