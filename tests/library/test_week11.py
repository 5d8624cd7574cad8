"""Week 11's helpers: two heaps whose scores are known, the judge, the drawings."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch
from kit.pictures import is_drawn

from practical_dl import data
from practical_dl.check import CheckFailed
from practical_dl.weeks import week11

matplotlib.use("agg")


def test_the_heaps_score_is_the_slope_of_their_logarithm() -> None:
    x = np.linspace(-2, 2, 41)
    step = 1e-5
    slope = (week11.heaps_log(x + step) - week11.heaps_log(x - step)) / (2 * step)
    found = week11.heaps_score(torch.from_numpy(x)[:, None], 1.0, 0.0)
    np.testing.assert_allclose(found[:, 0].numpy(), slope, rtol=1e-4, atol=1e-4)
    side = np.linspace(-4, 4, 8001)
    density = np.exp(week11.heaps_log(side)) * (side[1] - side[0])
    assert density.sum() == pytest.approx(1)
    assert (density * side).sum() == pytest.approx(week11.HEAPS_MEAN, abs=1e-9)


def test_the_score_of_noisy_heaps() -> None:
    """Far in the noise it is that of one normal distribution."""
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    found = week11.heaps_score(x, 1e-4, 1.0)
    np.testing.assert_allclose(found.numpy(), -x.numpy(), atol=1e-3)


def test_the_judge_knows_digits() -> None:
    digits = data.load("digits", quiet=True)
    pictures = torch.tensor(digits.x_train[:, None] / 8 - 1, dtype=torch.float32)
    judge = week11.judge(pictures, torch.tensor(digits.y_train).long(), steps=150)
    right = judge(pictures).argmax(1).numpy() == digits.y_train
    assert right.mean() > 0.9
    features = week11.features(judge, pictures[:200])
    assert features.shape == (200, 32) and features.dtype == np.float64
    assert week11.frechet(features, features) == pytest.approx(0, abs=1e-6)
    assert week11.frechet(features, features + 1) == pytest.approx(32)


def test_the_denoiser_guesses_noise() -> None:
    digits = data.load("digits", quiet=True)
    pictures = torch.tensor(digits.x_train[:200, None] / 8 - 1, dtype=torch.float32)
    betas = torch.linspace(0.1, 20, 40, dtype=torch.float64) / 40
    network = week11.denoiser(pictures, betas, steps=60, width=8)
    torch.manual_seed(1)
    noise, t = torch.randn_like(pictures), torch.full((200,), 30)
    level = float(torch.prod(1 - betas[:31]))
    guess = network(level**0.5 * pictures + (1 - level) ** 0.5 * noise, t)
    assert guess.shape == pictures.shape and not guess.requires_grad
    assert float(((guess - noise) ** 2).mean()) < 0.6


def test_masks_know_something_and_miss_something() -> None:
    masks = week11.masks(60, np.random.default_rng(0))
    assert masks.shape == (60, 8, 8) and masks.dtype == bool
    assert masks.any((1, 2)).all() and not masks.all((1, 2)).any()
    assert (week11.masks(60, np.random.default_rng(0)) == masks).all()


def test_a_model_to_order_and_its_subject() -> None:
    hearts = week11.subject(20, np.random.default_rng(0))
    assert hearts.shape == (20, 1, 8, 8) and hearts.dtype == np.float32
    assert hearts.min() >= -1 and hearts.max() <= 1
    digits = data.load("digits", quiet=True)
    pictures = torch.tensor(digits.x_train[:200, None] / 8 - 1, dtype=torch.float32)
    labels = torch.tensor(digits.y_train[:200]).long()
    betas = torch.linspace(0.1, 20, 40, dtype=torch.float64) / 40
    net = week11.conditional(pictures, labels, betas, steps=20, width=8)
    orders = torch.tensor([3, 7])
    made = week11.to_order(net, orders, betas, calls=4)
    assert made.shape == (2, 1, 8, 8) and bool(made.isfinite().all())
    assert torch.equal(week11.to_order(net, orders, betas, calls=4), made)
    assert not torch.equal(week11.to_order(net, orders, betas, calls=4, seed=1), made)
    assert not torch.equal(week11.to_order(net, orders.flip(0), betas, calls=4), made)


def test_what_the_tests_of_a_module_look_at() -> None:
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(2, 1), torch.tensor([[1.0, 2.0]])
    layer.bias.requires_grad_(False)
    found = week11.slopes(lambda: layer, x, call="layer(x)")
    assert list(found) == ["weight"]
    answer = float(layer(x).detach())
    np.testing.assert_allclose(found["weight"], [[2 * answer, 4 * answer]], rtol=1e-5)
    stepped = week11.after_step(lambda: layer, x, 0.01, call="layer")
    assert float(stepped[0, 0]) == pytest.approx(answer - 0.01 * 10 * answer, rel=1e-4)
    assert float(layer(x).detach()) == answer
    week11.fill(lambda: layer, {"weight": np.array([[3.0, 4.0]])}, call="layer")
    assert layer.weight.tolist() == [[3.0, 4.0]]
    for made, values in ((layer, {"weights": np.zeros((1, 2))}), (layer, {"weight": np.zeros(2)})):
        with pytest.raises(CheckFailed, match="should: have weight"):
            week11.fill(lambda made=made: made, values, call="layer")
    layer.requires_grad_(False)
    with pytest.raises(CheckFailed, match="hangs on what is trained"):
        week11.slopes(lambda: layer, x, call="layer(x)")
    with pytest.raises(CheckFailed, match="something that is trained"):
        week11.after_step(lambda: layer, x, 0.1, call="layer")


def test_drawings_draw_something(published: list) -> None:
    rng = np.random.default_rng(0)
    row = rng.uniform(-1, 1, size=(3, 8, 8))
    week11.vanishing({"a": ([0, 1], [9.0, 0.1])}, {"a": row, "b": row})
    assert is_drawn(published)
    week11.rows({"a": row, "b": row})
    assert is_drawn(published)
    week11.tracks({"a": rng.normal(size=(5, 9)), "b": rng.normal(size=(5, 9))})
    assert is_drawn(published)
    week11.quality({"a": {2: (3.0, 0.9), 10: (1.0, 0.95)}, "b": {100: (2.0, 0.9)}}, 0.5)
    assert is_drawn(published)
    week11.sweep({0.0: (0.1, 9.0, 3.0), 1.0: (0.9, 7.0, 1.0)}, 8.0)
    assert is_drawn(published)
    week11.jumps([3, 2, 1, 2, 1, 0])
    assert is_drawn(published)
    week11.repaired({"a": np.where(row > 0, row, np.nan), "b": row})
    assert is_drawn(published)
    week11.errors({"a": rng.uniform(size=9), "b": rng.uniform(size=9)})
    assert is_drawn(published)
    week11.balance({"a": (0.1, 0.9), "b": (0.4, 0.2)}, "x", "y")
    assert is_drawn(published)
