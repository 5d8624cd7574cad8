"""Week 10's helpers: the ring of heaps, the count of modes, the drawings."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from kit.pictures import is_drawn

from practical_dl.weeks import week10

matplotlib.use("agg")


def test_the_ring_and_its_density() -> None:
    rng = np.random.default_rng(0)
    x = week10.ring(4000, rng)
    assert x.shape == (4000, 2)
    distances = np.linalg.norm(x[:, None] - week10.CENTRES, axis=2)
    counts = np.bincount(distances.argmin(1), minlength=week10.MODES)
    assert abs(counts - 500).max() < 7 * np.sqrt(500)
    assert abs(np.square(distances.min(1)).mean() / 2 - week10.DEVIATION**2) < 2e-4
    # The density adds up to 1, and far away its logarithm is still a number.
    side = np.linspace(-1.5, 1.5, 601)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    assert np.exp(week10.log_ring(grid)).sum() * (side[1] - side[0]) ** 2 == pytest.approx(1)
    assert np.isfinite(week10.log_ring(np.array([[1e3, -1e3]]))).all()


def test_modes_are_counted() -> None:
    rng = np.random.default_rng(0)
    covered, near = week10.modes(week10.ring(4000, rng))
    assert covered == 8 and near > 0.98
    assert week10.modes(np.repeat(week10.CENTRES[:1], 50, axis=0)) == (1, 1.0)
    assert week10.modes(np.zeros((50, 2))) == (0, 0.0)
    # A quarter of its share of 800 is 25 samples.
    for few, expected in ((25, 2), (24, 1)):
        sets = [
            np.repeat(week10.CENTRES[i : i + 1], n, axis=0) for i, n in ((0, 800 - few), (3, few))
        ]
        assert week10.modes(np.concatenate(sets))[0] == expected


def test_drawings_draw_something(published: list) -> None:
    rng = np.random.default_rng(0)
    week10.apart({"a": {"KL": ([0, 1], [0, np.nan])}, "b": {"KL": ([0, 1], [0, 1])}}, "x")
    assert is_drawn(published)
    state = np.array([0.5, 0.5]), np.zeros((2, 2)), np.ones((2, 2))
    week10.mixtures(rng.normal(size=(9, 2)), {"a": state, "b": state})
    assert is_drawn(published)
    week10.codes(rng.normal(size=(9, 2)), np.arange(9), rng.uniform(size=(3, 4, 8, 8)))
    assert is_drawn(published)
    week10.pushes({"a": ([0, 1], [1, 0]), "b": ([0, 1], [0, 1])}, "x")
    assert is_drawn(published)
    week10.lives({"a": np.ones((3, 4)), "b": np.zeros((3, 4))}, every=25)
    assert is_drawn(published)
    sets = [rng.normal(size=(9, 2)) for _ in range(3)]
    week10.runs({"a": sets, "b": sets}, {name: [(1, 0.5)] * 3 for name in "ab"})
    assert is_drawn(published)
    week10.bounds({1: (-2.0, 0.1), 10: (-1.5, 0.05)}, -2.0, -1.4)
    assert is_drawn(published)
    week10.moons(rng.normal(size=(9, 2)), rng.normal(size=(9, 2)), rng.normal(size=(5, 2)))
    assert is_drawn(published)
    week10.knob({"a": (-9.0, np.arange(4.0), 3), "b, c": (-9.0, np.ones(4), 4)})
    assert is_drawn(published)
    week10.rows({"a": rng.uniform(size=(3, 8, 8)), "b": rng.uniform(size=(3, 8, 8))})
    assert is_drawn(published)
    week10.shares({0.1: rng.uniform(size=(9, 3)), 5.0: rng.uniform(size=(9, 3))})
    assert is_drawn(published)
    week10.sizes([10, 100], {"a": [np.ones(3), np.ones(3)]})
    assert is_drawn(published)
    week10.judged({"a": (0.5, 0.5), "b": (1.0, 0.0)})
    assert is_drawn(published)
    week10.fields({"a": np.eye(5, dtype=bool), "b": np.eye(5, dtype=bool)}, (3, 2))
    assert is_drawn(published)
    cloud = rng.normal(size=(9, 2))
    week10.stages([cloud, cloud], rng.uniform(size=(5, 5)), (-1, 1, -1, 1))
    assert is_drawn(published)
    week10.lattices({"a": rng.normal(size=(3, 4, 2)), "b": rng.normal(size=(3, 4, 2))})
    assert is_drawn(published)
    week10.critics({name: (rng.normal(size=(5, 5)), cloud) for name in "ab"})
    assert is_drawn(published)
