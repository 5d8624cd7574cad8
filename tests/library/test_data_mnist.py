"""MNIST, from files of its own format."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from kit.mirror import write_half
from kit.sets import packed

from practical_dl import data
from practical_dl.data import __main__ as command
from practical_dl.data import mnist


@pytest.fixture
def small_mnist(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """MNIST of a few pictures, packed, in the cache."""
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 256, shape).astype(np.uint8) for shape in ((5, 28, 28), 5, (3, 28, 28), 3)
    ]
    monkeypatch.setitem(data._cards, "mnist", {"small": packed(mnist.CARD, arrays, cache)})
    return arrays


@pytest.mark.parametrize("writable", [True, False])
def test_mnist_is_read_from_the_cache(
    writable: bool,
    small_mnist: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not writable:
        monkeypatch.setattr(Path, "write_bytes", write_half(OSError(errno.EROFS, "read-only")))
    found = data.load("mnist")
    got = [found.x_train, found.y_train, found.x_test, found.y_test]
    for array, expected in zip(got, small_mnist, strict=True):
        np.testing.assert_array_equal(array, expected)
    said = capsys.readouterr().out
    assert said.startswith("MNIST: 5 training and 3 test examples of shape (28, 28), 10 classes\n")
    assert "licence: CC BY-SA 3.0" in said and "source: official files in " in said


def test_the_command_loads_it(
    small_mnist: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["mnist", "digits"]) == 0
    assert "MNIST: 5 training" in capsys.readouterr().out
