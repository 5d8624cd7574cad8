"""Week 05, seminar: the maps and the network that it is given, its drawings."""

from __future__ import annotations

import copy

import matplotlib
import numpy as np
import pytest
import torch
from kit.pictures import is_drawn
from torch import nn

from practical_dl.weeks import week05

matplotlib.use("agg")


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 2 * 3, 4), nn.ReLU6()]
    return nn.Sequential(*layers, nn.Linear(4, 3)).double().eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(5, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


TARGETS = torch.tensor([0, 1, 2, 1, 0])


def test_the_gradient_map_is_that_of_each_picture_alone(net: nn.Module, x: torch.Tensor) -> None:
    found = week05.gradient_map(net, x, TARGETS)
    times = week05.gradient_map(net, x, TARGETS, times_input=True)
    assert found.shape == (5, 4, 5) and not found.requires_grad
    for i, target in enumerate(TARGETS):
        g = torch.autograd.functional.jacobian(lambda p, t=target: net(p[None])[0, t], x[i])
        torch.testing.assert_close(found[i], g.abs().sum(0))
        torch.testing.assert_close(times[i], (g * x[i]).abs().sum(0))
    assert not x.requires_grad


def test_the_guided_map_is_that_of_hooks_and_leaves_the_network(
    net: nn.Module, x: torch.Tensor
) -> None:
    before = copy.deepcopy(net.state_dict())
    found = week05.guided_map(net, x, TARGETS)
    hooks = [
        part.register_full_backward_hook(lambda _, got, given: (got[0].clamp(min=0),))
        for part in net.modules()
        if isinstance(part, nn.ReLU | nn.ReLU6)
    ]
    # A hook sees the gradient after the ReLU's own mask: what is left is the same.
    want = week05.gradient_map(net, x, TARGETS)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(found, want)
    assert not torch.equal(found, week05.gradient_map(net, x, TARGETS))
    assert [type(p) for p in net.children()].count(nn.ReLU) == 1
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_the_small_network_learns_and_leaves_the_random_numbers() -> None:
    labels = torch.arange(60) % 2
    x = torch.zeros(60, 3, 8, 8)
    x[labels == 1, 0, 2:5, 2:5] = 1
    torch.manual_seed(3)
    want = torch.rand(2)
    torch.manual_seed(3)
    model = week05.train_small(x, labels, 20)
    assert torch.equal(torch.rand(2), want)
    assert not model.training
    assert (model(x).argmax(1) == labels).all()
    again = week05.train_small(x, labels, 20)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )


def test_drawings_draw_something(published: list) -> None:
    rng = np.random.default_rng(0)
    week05.filters_and_maps(rng.random((6, 3, 3, 3)), [rng.random((2, 4, 4))] * 2, ["a", "b"])
    assert is_drawn(published)
    week05.overlay(
        rng.random((2, 6, 6, 3)), [rng.normal(size=(6, 6)), np.zeros((6, 6))], ["a", "b"]
    )
    assert is_drawn(published)
    pictures = [rng.random((5, 5, 3)), rng.random((5, 5, 3))]
    week05.grid({"one": pictures, "two": pictures}, ["a", "b"])
    assert is_drawn(published)
    week05.heat([rng.random((5, 5)), np.zeros((5, 5))], ["a", "b"], pictures[0])
    assert is_drawn(published)
    week05.cascade({"a": [1, 0.2], "b": [1, 0.9]}, {"a": pictures, "b": pictures}, [0, 1])
    assert is_drawn(published)
    maps = {"p": rng.random((2, 5, 5)), "q": rng.random((2, 5, 5))}
    shares = {"gradient": [0.5, 0.1], "occlusion": [0.4, 0.1]}
    week05.shortcut(
        rng.random((2, 5, 5, 3)), {"gradient": maps, "occlusion": maps}, shares, ["p", "q"], 0.03
    )
    assert is_drawn(published)
