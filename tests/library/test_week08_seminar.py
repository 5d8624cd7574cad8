"""Week 08, the seminar: what its tests share, its model of counts, and its drawings."""

from __future__ import annotations

from collections import Counter, defaultdict

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kit.pictures import is_drawn
from torch import nn

from practical_dl.check import CheckFailed
from practical_dl.weeks import week08

matplotlib.use("agg")


def test_slow_attention_is_torchs_and_zero_where_nothing_is_seen() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(2, 5, 6)
    mask = torch.rand(2, 3, 5) < 0.5
    mask[..., 0] = True
    want = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(week08.slow_attention(q, k, v, mask), want)
    mask[1, 2] = False
    assert not week08.slow_attention(q, k, v, mask)[1, 2].any()


def test_a_function_is_compared_in_values_dtype_and_gradients() -> None:
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    said = {"call": "f(x)", "why": "double"}
    week08.same_function(lambda x: x + x, lambda x: 2 * x, x, **said)
    with pytest.raises(CheckFailed, match="double"):
        week08.same_function(lambda x: 3 * x, lambda x: 2 * x, x, **said)
    with pytest.raises(CheckFailed, match="gradients"):
        week08.same_function(lambda x: x + x.detach(), lambda x: 2 * x, x, **said)
    with pytest.raises(CheckFailed, match="dtype"):
        week08.same_function(lambda x: (2 * x).float(), lambda x: 2 * x, x, **said)
    with pytest.raises(CheckFailed, match="without torch's exp"):
        week08.same_function(torch.exp, torch.exp, x, banned=["exp"], **said)


class Tied(nn.Module):
    def __init__(self, vocab, width, layers, scale=1.0):
        super().__init__()
        self.tokens, self.layers = nn.Embedding(vocab, width), nn.ModuleList(layers)
        self.scale = scale

    def forward(self, ids):
        x = self.tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.scale * F.linear(x, self.tokens.weight)


class Untied(Tied):
    def __init__(self, vocab, width, layers):
        super().__init__(vocab, width, layers)
        self.head = nn.Linear(width, vocab)


def test_a_gpt_is_compared_with_a_reference_by_the_names_of_its_weights() -> None:
    given = (5, 3, lambda width: [nn.Linear(width, width)], torch.tensor([[1, 4]]), "call", "why")
    week08.same_gpt(Tied, Tied, *given)
    with pytest.raises(CheckFailed, match="names of the weights"):
        week08.same_gpt(Untied, Tied, *given)
    with pytest.raises(CheckFailed, match="call in training mode"):
        week08.same_gpt(lambda *of: Tied(*of, scale=2.0), Tied, *given)


def slow_kneser_ney(ids, n, vocab, context, token, d=0.75):
    counts = defaultdict(Counter)
    for i in range(n - 1, len(ids)):
        counts[n, tuple(ids[i - n + 1 : i])][ids[i]] += 1
    grams = {tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)}
    for m in range(n - 1, 0, -1):
        for gram in grams:
            counts[m, gram[1:-1]][gram[-1]] += 1
        grams = {gram[1:] for gram in grams}
    p = 1 / vocab
    for m in range(1, n + 1):
        c = counts.get((m, tuple(context[len(context) - m + 1 :])))
        if c:
            p = (max(c[token] - d, 0) + d * len(c) * p) / sum(c.values())
    return p


def test_counts_are_kneser_neys() -> None:
    rng = np.random.default_rng(0)
    ids, held_out = rng.integers(0, 5, 200), rng.integers(0, 6, 30)
    for n in (2, 3, 4):
        counts = week08.Counts(ids, n, 6)
        want = [
            slow_kneser_ney(ids.tolist(), n, 6, held_out[i - n + 1 : i].tolist(), int(held_out[i]))
            for i in range(n - 1, len(held_out))
        ]
        np.testing.assert_allclose(counts.read(held_out), want)
        p = counts.next(held_out[:n])
        assert p.shape == (6,)
        assert p.sum() == pytest.approx(1)


def test_drawings_draw_something(published: list) -> None:
    square = np.eye(3) - np.tri(3, k=-1)
    week08.heat({"one": np.eye(3)}, "s", "t", labels="abc")
    assert is_drawn(published)
    week08.heat({"one": square, "two": square}, "s", "t", symmetric=True)
    assert is_drawn(published)
    week08.heat({"one": np.tri(3)}, "s", "t", decades=3, unit="power of ten")
    assert is_drawn(published)
