"""Week 09's practice_peft: gradients by name, the small network, sums, intervals, drawings."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from practical_dl.check import CheckFailed
from practical_dl.weeks import week09

# -- What tests share ------------------------------------------------------------------------------


def test_slopes_are_by_name_and_none_for_frozen_weights() -> None:
    layer = nn.Linear(2, 2).double()
    layer.bias.requires_grad_(False)
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=torch.float64)
    slopes = week09.slopes_of(lambda: layer, x, call="layer(x)")
    up = np.linspace(-1, 1.3, 4).reshape(2, 2)
    assert slopes["bias"] is None
    np.testing.assert_allclose(slopes["weight"], up.T @ x.numpy(), rtol=1e-6)
    assert layer.weight.grad is None


def test_slopes_are_zeros_for_what_the_answer_does_not_use() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.a

    slopes = week09.slopes_of(Half, torch.ones(2), call="half")
    assert slopes["b"] is not None and not slopes["b"].any() and slopes["b"].shape == (3,)


def test_slopes_say_what_is_wrong() -> None:
    frozen = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(CheckFailed, match="let gradients through"):
        week09.slopes_of(lambda: frozen, torch.ones(1, 2), call="layer")

    class Word(nn.Module):
        def forward(self, x: torch.Tensor) -> str:
            return "x"

    with pytest.raises(CheckFailed, match="give a tensor"):
        week09.slopes_of(Word, torch.ones(1), call="word")


def test_an_answer_in_eval_mode_leaves_the_mode() -> None:
    drop = nn.Dropout(0.9)
    found = week09.answer_in_eval(lambda: drop, torch.ones(50), call="drop(x)")
    assert (found == 1).all() and drop.training


def test_a_part_of_a_table() -> None:
    assert week09.part_of(lambda a, b: {"sum": a + b}, "sum")(2, 3) == 5
    with pytest.raises(CheckFailed, match="give a table with sum"):
        week09.part_of(lambda a: {"other": a}, "sum")(2)


def test_the_small_network_is_the_same_for_a_seed_and_leaves_the_generator() -> None:
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (week09.tiny_projections(2, 4, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), want)
    x = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 3, 4)
    assert torch.equal(one(x), same(x)) and not torch.equal(one(x), other(x))
    assert one(x).shape == x.shape
    names = [name for name, m in one.named_modules() if isinstance(m, nn.Linear)]
    assert names == [f"layers.{i}.{n}" for i in range(2) for n in ("q_proj", "v_proj", "out")]
    assert (
        week09.tiny_projections(1, 3, 0, torch.float32)(torch.zeros(1, 1, 3)).dtype == torch.float32
    )


# -- Sums ------------------------------------------------------------------------------------------


def test_sums_are_right_and_held_out_ones_are_never_drawn() -> None:
    sums = week09.Sums()
    drawn = sums.draw(5000, torch.Generator().manual_seed(0))
    held = sums.held_out()
    assert drawn.shape == (5000, 4) and held.shape == (1000, 4) and sums.held_out(7).shape == (7, 4)
    assert not {tuple(r) for r in drawn.tolist()} & {tuple(r) for r in held.tolist()}
    assert len({tuple(r) for r in held.tolist()}) == 1000
    for question, answer in zip(held.tolist(), sums.answers(held).tolist(), strict=True):
        a, b = question[0] + 10 * question[2], question[1] + 10 * question[3]
        assert a + b == answer[0] + 10 * answer[1] + 100 * answer[2]


def test_a_sum_as_people_write_it() -> None:
    assert week09.Sums.text([7, 5, 4, 8], [2, 3, 1]) == "47 + 85 = 132"


def test_the_same_seed_draws_the_same_sums() -> None:
    sums = week09.Sums()
    one, same = (sums.draw(9, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, same)


# -- Intervals -------------------------------------------------------------------------------------


def test_an_interval_is_of_pairs() -> None:
    draw = np.random.default_rng(0)
    before = draw.normal(size=400) * 10
    mean, low, high = week09.paired_interval(list(before), list(before + 1))
    assert mean == pytest.approx(1) and low == pytest.approx(1) and high == pytest.approx(1)
    mean, low, high = week09.paired_interval([0.0] * 400, list(draw.normal(0.2, 1.0, size=400)))
    assert low < mean < high
    assert (high - low) / 2 == pytest.approx(1.96 / 20, rel=0.15)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.1, 0.3, "a gain"),
        (-0.3, -0.1, "a loss"),
        (-0.1, 0.3, "none: the interval holds 0"),
        (0, 0.2, "none: the interval holds 0"),
    ],
)
def test_a_verdict_is_what_the_interval_allows(low: float, high: float, words: str) -> None:
    assert week09.verdict(low, high) == words


def test_layers_come_back_as_they_were() -> None:
    network = week09.tiny_projections(2, 3, seed=0)
    x = torch.ones(1, 2, 3, dtype=torch.float64)
    originals, before = week09.Originals(network, ("v_proj",)), network(x)
    first, second = (layer.v_proj for layer in network.layers)
    network.layers[0].v_proj = nn.Sequential(first, nn.Linear(4, 4).double())
    first.weight.data += 1
    second.weight = nn.Parameter(second.weight.data * 2)
    changed = network(x)
    with originals.in_place():
        assert torch.equal(network(x), before)
        assert network.layers[0].v_proj is first
    assert torch.equal(network(x), changed)
    assert not torch.equal(before, changed)
    originals.restore()
    assert torch.equal(network(x), before)
    assert network.layers[0].v_proj is first


# -- Drawings --------------------------------------------------------------------------------------


def test_drawings_draw() -> None:
    week09.mask_picture(
        ["<|im_start|>", "user\n", *["word "] * 30], [-100, -100, *[3] * 30], width=40
    )
    week09.rank_picture({1: [3, 2, 1], 8: [3, 1, 0.1]}, {1: 0.9, 8: 0.0})
    week09.prefix_picture(np.eye(5)[:3], 2)
    week09.strengths_picture(np.array([-1.0, 1]), {3: np.array([-2.0, 2]), 30: np.array([-1.0, 1])})
    week09.tilt_picture(np.array([0.1, 1]), {0.7: np.array([0.9, 0.7])}, {0.7: {0.1: 0.9}})
    week09.clip_picture(np.array([0.5, 1.5]), {"a": np.ones(2), "b": np.ones(2)}, 0.2)
    week09.reward_picture({0: [0.1] * 20}, {0: [0.9] * 20})
    bars = week09.memory_picture(
        {"a": {"weights": 2**21, "states": 2**20}, "b": {"weights": 1, "states": 1}}
    )
    assert [t.get_text() for t in bars.texts] == ["3", "0"]
    points = week09.gains_picture({"x": (0.2, 0.1, 0.3), "y": (0.0, -0.1, 0.1)})
    colours = [line.get_color() for line in points.lines if line.get_marker() == "o"]
    assert colours[0] != colours[1] == "0.55"
    assert len(plt.get_fignums()) == 9
    plt.close("all")
