"""Week 02, the seminar: what its tests share, its drawings and what it prints."""

from __future__ import annotations

from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from kit.pictures import is_drawn

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
