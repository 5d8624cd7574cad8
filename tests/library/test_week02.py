"""Week 02: its drawings, what it prints, and what its tests share."""

from __future__ import annotations

from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from kit.pictures import is_drawn
from torch import nn

from practical_dl import check
from practical_dl.weeks import week02

matplotlib.use("agg")


def test_torchs_clipping_is_refused_in_the_block_alone() -> None:
    from torch.nn.utils import clip_grad_norm_  # as a student would have it, from before

    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([3.0, 4.0])
    for function in (clip_grad_norm_, torch.nn.utils.clip_grad.clip_grad_norm_):
        with week02.without_clipping(), pytest.raises(check.CheckFailed, match="clip_grad_norm_"):
            function([weight], 1.0)
    assert float(clip_grad_norm_([weight], 1.0)) == 5


def test_kinds() -> None:
    assert week02.kinds(lambda x: (torch.ones(1), x, [3]), 2) == ["tensor", "int", "list"]


def test_a_graph_is_printed_from_the_result_to_its_leaves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    w = torch.tensor(2.0, requires_grad=True)
    week02.print_graph((w * 3 + w).grad_fn, {id(w): "w"})
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in lines] == [
        *("AddBackward0", "MulBackward0", "AccumulateGrad  ->  w.grad"),
        "AccumulateGrad  ->  w.grad",
    ]


def test_what_is_refused_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        print("noise")
        raise ValueError("first\nsecond")

    assert week02.refusal(fails) == "ValueError: first"
    assert week02.refusal(lambda: None) == "no error"
    assert capsys.readouterr().err == ""


def event(
    name: str, start: int, end: int, parent: SimpleNamespace | None = None
) -> SimpleNamespace:
    return SimpleNamespace(
        name=name, time_range=SimpleNamespace(start=start, end=end), cpu_parent=parent
    )


def test_drawings_are_drawn(published: list) -> None:
    board = np.eye(5, 7, dtype=int)
    week02.boards([board, board], ["a", "b"])
    assert is_drawn(published)
    week02.games([board] * 3, {"other": [1 - board] * 3}, [0, 2])
    assert is_drawn(published)
    mask = np.array([[True, True, False], [True, True, True]])
    week02.clouds(torch.rand(2, 3, 3), torch.from_numpy(mask), [4, 7])
    assert is_drawn(published)
    rates = {f"schedule {i}": [0.1] * 5 for i in range(5)} | {"ReduceLROnPlateau": [0.1] * 5}
    week02.schedules(rates, [1.0] * 5)
    assert is_drawn(published)
    outer = event("your line", 0, 100)
    week02.flames([outer, event("aten::addmm", 10, 60, outer)])
    assert is_drawn(published)


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
