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


def test_a_cell_bears_large_inputs_and_is_written_without_layers() -> None:
    rng = np.random.default_rng(0)
    week07.same_cell(rnn, nn.RNNCell, "rnn", (3, 2, 4), rng, large=3000.0)

    def naive(*inputs):
        a = torch.atanh(rnn(*inputs).clamp(-1 + 1e-9, 1 - 1e-9)) * 1e3
        return a.exp() / a.exp()

    with pytest.raises(CheckFailed, match="for large inputs"):
        week07.same_cell(naive, nn.RNNCell, "rnn", (3, 2, 4), rng, large=3000.0)

    def linear(x, h, w_ih, w_hh, b_ih, b_hh):
        return torch.tanh(nn.functional.linear(x, w_ih, b_ih) + h @ w_hh.T + b_hh)

    with pytest.raises(CheckFailed, match="without torch's linear"):
        week07.same_cell(linear, nn.RNNCell, "rnn", (3, 2, 4), rng)


def test_drawings_draw_something(published: list) -> None:
    week07.who(np.array([[3.0, 9.0], [7.0, 2.0]]), ["a", "b"])
    assert is_drawn(published)
