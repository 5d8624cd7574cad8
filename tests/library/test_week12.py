"""Week 12: pairs of layers, ratios, what the profiler saw, drawings."""

from __future__ import annotations

import os
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from kit.pictures import is_drawn
from torch import nn

from practical_dl.weeks import week12

matplotlib.use("agg")


def test_the_middle_square() -> None:
    photo = np.zeros((20, 60, 3), np.uint8)
    photo[:, 20:40] = 255
    assert (week12.square(photo, 10) == 255).all()
    assert week12.square(photo.transpose(1, 0, 2), 16).shape == (16, 16, 3)


def test_pairs_are_those_that_follow_each_other() -> None:
    inner = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    net = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2), inner, nn.Conv2d(2, 2, 1))
    ((conv, parent, name, norm),) = week12.pairs(net)
    assert conv is inner[0] and norm is inner[1] and parent is inner and name == "1"
    setattr(parent, name, nn.Identity())
    assert week12.pairs(net) == []


def test_ratio_is_of_pairs() -> None:
    seconds = iter([4.0, 2.0, 9.0, 3.0, 8.0, 8.0])
    found = week12.ratio(int, int, lambda run, times: next(seconds), times=3)
    assert found == (2.0, 1.0, 3.0)


def test_what_the_profiler_saw() -> None:
    def event(key: str, micro: float) -> SimpleNamespace:
        return SimpleNamespace(key=key, self_cpu_time_total=micro)

    events = [event("aten::mkldnn_convolution", 4e3), event("aten::batch_norm", 2e3)]
    events += [event("aten::hardtanh", 1e3), event("aten::addmm", 500), event("aten::add", 250)]
    found = week12.by_operation(SimpleNamespace(key_averages=lambda: events), runs=2)
    assert list(found.values()) == [2.0, 1.0, 0.5, 0.25, 0.125]


def test_nothing_is_written_while_it_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with week12.silent():
        os.write(2, b"gone")
    with pytest.raises(ZeroDivisionError), week12.silent():
        raise ZeroDivisionError
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_drawings_draw_something(published: list) -> None:
    week12.roofline(1e11, 1e10, {"norm, 1 token": (0.3, 1e9), "norm, 128 tokens": (50.0, 9e10)})
    assert is_drawn(published)
    week12.latency({1: [(1.0, 0.1, 0.2), (2.0, 0.3, 0.9)], 4: [(1.0, 0.1, 0.2)]})
    assert is_drawn(published)
    week12.profile({"a": {"x": 1.0, "y": 2.0}, "b": {"x": 0.5, "y": 2.0}})
    assert is_drawn(published)
