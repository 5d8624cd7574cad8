"""Week 07: what its tests share, and its drawings."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch
from kit.pictures import is_drawn
from torch import nn

from practical_dl.check import CheckFailed
from practical_dl.weeks import week07

matplotlib.use("agg")


def rnn(x, h, w_ih, w_hh, b_ih, b_hh):
    return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)


def test_a_cell_is_compared_with_torchs_own_values_and_gradients() -> None:
    week07.same_cell(rnn, nn.RNNCell, "rnn", (3, 2, 4), np.random.default_rng(0))
    cut = lambda x, h, *weights: rnn(x, h.detach(), *weights)  # noqa: E731
    with pytest.raises(CheckFailed, match="gradient by h"):
        week07.same_cell(cut, nn.RNNCell, "rnn", (3, 2, 4), np.random.default_rng(0))
    one = lambda x, h, c, *weights: (rnn(x, h, *(w[: h.shape[1]] for w in weights)),)  # noqa: E731
    with pytest.raises(CheckFailed, match="len of lstm"):
        week07.same_cell(one, nn.LSTMCell, "lstm", (3, 2, 4), np.random.default_rng(0))


def test_drawings_draw_something(published: list) -> None:
    week07.ladder({"counts": (2.5, "To be,\n\nor not"), "network": (3.0, "")}, "title")
    assert is_drawn(published)
    week07.who(np.array([[3.0, 9.0], [7.0, 2.0]]), ["a", "b"])
    assert is_drawn(published)
