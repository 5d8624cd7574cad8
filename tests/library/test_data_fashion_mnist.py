"""Fashion-MNIST, which shares MNIST's format."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from kit.sets import idx, packed

from practical_dl import data
from practical_dl.data import _idx, fashion_mnist


@pytest.mark.parametrize("shape", [(7,), (2, 3), (4, 5, 6)])
@pytest.mark.parametrize("packed", [True, False])
def test_an_idx_file_is_read_packed_and_not(
    shape: tuple[int, ...], packed: bool, tmp_path: Path
) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    np.testing.assert_array_equal(_idx.read(path), array)


def test_fashion_mnist_is_read_from_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    shapes = (5, 28, 28), (5,), (3, 28, 28), (3,)
    arrays = [rng.integers(0, 10, shape).astype(np.uint8) for shape in shapes]
    card = packed(fashion_mnist.CARD, arrays, cache)
    monkeypatch.setitem(data._cards, "fashion_mnist", {"small": card})
    found = data.load("fashion_mnist")
    got = [found.x_train, found.y_train, found.x_test, found.y_test]
    for array, expected in zip(got, arrays, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert found.classes[0] == "T-shirt" and found.classes[9] == "ankle boot"
    said = capsys.readouterr().out
    assert said.startswith("Fashion-MNIST: 5 training and 3 test examples of shape (28, 28)")
    assert "licence: MIT" in said
