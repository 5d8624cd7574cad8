"""What the notebooks of week 06 share: the contract of a reader of texts, and its scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from practical_dl.check import CheckFailed
from practical_dl.weeks import week06


class Counts(nn.Module):
    """Counts a letter: a reader that keeps the contract, but for what a test makes of it."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong = wrong
        self.weight = nn.Parameter(torch.tensor([0.3, 1.0]))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, texts: list[str]) -> torch.Tensor:
        logits = torch.tensor([[1.0, float(text.count("o"))] for text in texts]) * self.weight
        if self.wrong == "neighbours":
            logits = logits - logits.mean(0)
        if self.wrong == "noise":
            logits = logits + 9 * torch.rand_like(logits)
        if self.wrong == "shape":
            logits = logits[:, :1]
        if self.wrong == "nan":
            logits = logits / 0 * 0
        if self.wrong == "changes":
            self.calls += 1
        if self.wrong == "opens":
            open(__file__).close()
        return logits


def test_a_reader_that_keeps_the_contract_is_asked_for_its_classes(tmp_path) -> None:
    week06.READER.check(Counts(), np.random.default_rng(0))
    texts = np.array(["", "foo", "oo", "ab"] * 100)
    assert week06.READER.predict(Counts(), texts).tolist() == [0, 1, 1, 0] * 100
    path = week06.READER.save(Counts(), tmp_path / "model.safetensors")
    assert not week06.READER.load(Counts(), path).training


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("neighbours", "do not depend on the other texts"),
        ("noise", "deterministic"),
        ("shape", "logits"),
        ("nan", "finite"),
        ("changes", "leaves the network as it was"),
        ("opens", "opens no files"),
    ],
)
def test_a_reader_that_breaks_the_contract_is_told_how(wrong: str, says: str) -> None:
    with pytest.raises(CheckFailed, match=says):
        week06.READER.check(Counts(wrong), np.random.default_rng(0))


def test_the_scale_pays_half_a_point_in_all() -> None:
    earned = [week06.SCALE.earned(a, "small") for a in (0.5, 0.65, 0.72, 0.76)]
    assert earned == pytest.approx([0, 0.2, 0.35, 0.5])
