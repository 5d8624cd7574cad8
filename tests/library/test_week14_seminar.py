"""Week 14's seminar: its references against jiwer and SciPy, and its drawings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import jiwer
import matplotlib
import numpy as np
import pytest
from scipy import signal

from autograder.authoring.text import parse
from practical_dl.weeks import week14

matplotlib.use("agg")
import matplotlib.pyplot as plt

FILE = Path(__file__).parents[2] / "weeks" / "week14_audio" / "seminar.py"


@pytest.fixture(scope="module")
def references() -> dict[str, Callable]:
    text, _ = parse(FILE.read_text("utf-8"), "week14_audio", "seminar")
    names = {"np": np, "math": math, "Sequence": Sequence}
    for task in ("frames", "mu_law", "align_texts", "error_rate"):
        exec(text.solutions[task].source, names)
    return names


def sentence(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(["ask", "not", "what", "you", "can", "do"], size=rng.integers(1, 9)))


def test_error_rates_are_jiwers(references: dict[str, Callable]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        said, heard = ([sentence(rng) for _ in range(4)] for _ in range(2))
        ours = references["error_rate"](said, heard), references["error_rate"](said, heard, True)
        assert ours == pytest.approx((jiwer.wer(said, heard), jiwer.cer(said, heard)))
        for one, other in zip(said, heard, strict=True):
            pairs = references["align_texts"](one.split(), other.split())
            found = jiwer.process_words(one, other)
            mistakes = found.substitutions + found.deletions + found.insertions
            assert sum(a != b for a, b in pairs) == mistakes
            assert sum(a == b for a, b in pairs) >= found.hits


def test_windows_are_scipys(references: dict[str, Callable]) -> None:
    for length in (2, 5, 400):
        ours = references["hann"](length)
        np.testing.assert_allclose(ours, signal.get_window("hann", length), atol=1e-12)
    rng = np.random.default_rng(1)
    sound = rng.normal(size=1000)
    rows = references["frames"](sound, 64, 32) * references["hann"](64)
    whole = references["overlap_add"](rows, 32)
    np.testing.assert_allclose(whole[64:-64], sound[64 : len(whole) - 64], atol=1e-12)


def test_mu_law_keeps_eight_bits_of_a_soft_sound(references: dict[str, Callable]) -> None:
    soft = 0.01 * np.sin(np.arange(4000) / 9)
    heard = references["expand"](references["compress"](soft))
    assert references["snr"](soft, heard) > 25


def test_drawings_are_made() -> None:
    sound = np.random.default_rng(0).normal(size=4000)
    week14.tones({"a": (sound, 4000), "b": (sound, 8000)})
    week14.waves({"a": sound, "b": sound}, 8000)
    week14.spectra({"a": np.abs(sound.reshape(40, 100)), "b": np.ones((9, 7))}, 1.0, 4000)
    week14.aligned({"a": [("x", "x"), ("y", None), (None, "z")] * 30, "b": [("x", "y")]})
    week14.bars(["a", "b"], {"words": [0.1, 0.4], "letters": [0.1, 0.2]}, "rate")
    assert len(plt.get_fignums()) == 5
    plt.close("all")


def test_overwriting_leaves_read_only_arrays_alone() -> None:
    rows = np.arange(4.0)
    week14.overwrite(lambda: rows)
    assert (rows == -1).all()
    rows = np.broadcast_to(np.arange(4.0), (2, 4))
    week14.overwrite(lambda: rows)
    assert rows[0, 3] == 3
