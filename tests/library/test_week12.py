"""Week 12: pairs of layers, ratios, what the profiler saw, drawings."""

from __future__ import annotations

import os
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
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


# -- Practice ----------------------------------------------------------------------------------

TINY = {"dim": 12, "hidden": 20, "layers": 2, "heads": 3, "kv_heads": 1, "vocab": 11, "length": 32}


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return week12.random_story(TINY).eval()


def test_rotary_is_a_rotation_by_the_distance() -> None:
    q, k = torch.randn(2, 1, 6).double()
    near = week12.rotary(q, torch.tensor([3])) @ week12.rotary(k, torch.tensor([1])).T
    far = week12.rotary(q, torch.tensor([9])) @ week12.rotary(k, torch.tensor([7])).T
    assert torch.allclose(near, far)
    assert torch.equal(week12.rotary(q, torch.tensor([0])), q)
    x, places = torch.randn(2, 3, 4, 6), torch.tensor([[[0, 1, 2, 3]], [[5, 6, 7, 8]]])
    rows = week12.rotary(x, places)
    assert torch.allclose(rows[1], week12.rotary(x[1], places[1, 0]))


def test_a_story_is_causal_and_told_with_its_cache() -> None:
    model, ids = tiny(), torch.tensor([[1, 5, 2, 8, 3]])
    other = ids.clone()
    other[0, -1] = 4
    with torch.no_grad():
        assert torch.allclose(model(ids)[:, :4], model(other)[:, :4], atol=1e-6)
    told = week12.tell(model, 3, 9, seed=4, heat=1e-4, start=(1, 5))
    assert told.shape == (3, 9) and (told[:, :2] == torch.tensor([1, 5])).all()
    with torch.no_grad():
        greedy = model(told)[:, 1:-1].argmax(-1)
    assert torch.equal(greedy, told[:, 2:])
    assert torch.equal(week12.tell(model, 2, 8, seed=1), week12.tell(model, 2, 8, seed=1))


def test_the_weights_of_stories_fit() -> None:
    layers, dim, hidden = TINY["layers"], TINY["dim"], TINY["hidden"]
    shapes = {
        "embedding": (11, dim),
        "attention_norm": (layers, dim),
        "wq": (layers, dim, dim),
        "wk": (layers, 4, dim),
        "wv": (layers, 4, dim),
        "wo": (layers, dim, dim),
        "feed_forward_norm": (layers, dim),
        "w1": (layers, hidden, dim),
        "w2": (layers, dim, hidden),
        "w3": (layers, hidden, dim),
        "norm": (dim,),
    }
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    model = week12.story(SimpleNamespace(config=TINY, weights=weights))
    assert np.array_equal(model.blocks[1].w2.weight.detach().numpy(), weights["w2"][1])
    cut = week12.first_layers(model, 1)
    assert len(cut.blocks) == 1
    cut.blocks[0].wq.weight.data.zero_()
    assert np.array_equal(model.blocks[0].wq.weight.detach().numpy(), weights["wq"][0])


def test_tokens_join_and_come_back() -> None:
    tokens = [b"", b"", b"", *(bytes([i]) for i in range(256)), b" ", b"a", b"b", b"ab", b" ab"]
    scores = np.array([0.0] * 262 + [-2.0, -1.0])
    toy = SimpleNamespace(tokens=tuple(tokens), scores=scores)
    ids = week12.story_ids(toy, "ab")
    assert ids == [1, 263]
    assert week12.story_text(toy, ids) == "ab"


def test_moments_and_rows_of_linear_layers() -> None:
    model, ids = tiny(), torch.tensor([[1, 5, 2], [3, 3, 4]])
    found = week12.second_moments(model, ids)
    assert len(found) == 14
    with torch.no_grad():
        x = model.blocks[0].attention_norm(model.embedding(ids)).flatten(0, 1).double()
    assert torch.allclose(found["blocks.0.wk"], x.T @ x)
    assert torch.equal(found["blocks.0.wq"], found["blocks.0.wv"])
    part = week12.second_moments(model, ids, model.blocks[1])
    assert torch.equal(part["w2"], found["blocks.1.w2"]) and len(part) == 7
    with torch.no_grad():
        assert week12.rows_through(model, lambda: model(ids)) == 14 * 6
        assert week12.rows_through(model, lambda: None) == 0


def test_times_by_turns() -> None:
    calls: list[str] = []
    found = week12.by_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b"] * 3
    assert all(low <= middle <= high for middle, low, high in found.values())


def test_static_batches_wait_for_their_longest() -> None:
    asked = [(0, 3, 1), (0, 2, 3), (1, 1, 1)]
    steps = week12.static_schedule(asked, 4, 2)
    assert steps == [{0: 3, 1: 1}, {1: 1}, {0: 1, 1: 1}, {1: 1}, {1: 1}, {2: 1}, {2: 1}]
    tokens, mean, _ = week12.served(asked, steps)
    assert tokens == 11 / 7 and mean == pytest.approx((3 + 5 + 6) / 3)
    assert week12.static_schedule([(2, 1, 1)], 4, 2) == [{}, {}, {0: 1}, {0: 1}]


def test_requests_come_in_order() -> None:
    asked = week12.requests(50, 2.0, np.random.default_rng(0))
    assert len(asked) == 50 and asked == sorted(asked, key=lambda r: r[0])
    assert all(reads >= 2 and writes >= 1 for _, reads, writes in asked)


def test_drawings_of_the_practice(published: list) -> None:
    asked = [(0, 3, 1), (0, 2, 3), (1, 1, 1)]
    week12.gantt(asked, {"a": week12.static_schedule(asked, 4, 2), "b": [{0: 1}]}, 2)
    assert is_drawn(published)
    week12.bars({"a": 1.0, "b": 0.5}, "x", "y")
    assert is_drawn(published)
    week12.pair_bars(["a", "b"], {"x": [1.0, 0.5], "y": [0.3, 0.2]}, "share")
    assert is_drawn(published)
    week12.bits_picture({"a": ([2, 4], [30.0, 4.0])}, 3.0)
    assert is_drawn(published)
    week12.acceptance_picture([1, 2], {"a": [1.5, 1.8], "b": [2, 3]}, {"a": 0.5, "b": 1.0})
    assert is_drawn(published)
    week12.pipeline_picture({(0, 0): 0, (1, 0): 1}, 2, 1)
    assert is_drawn(published)
    same, unknown = (1.0, 1.0, 1.0), (float("nan"),) * 3
    week12.dashboard(
        {
            "a": {"latency": (0.5, 0.4, 0.6), "throughput": same},
            "b": {"latency": unknown, "throughput": (3.0, 2.0, 4.0)},
        }
    )
    assert is_drawn(published)
