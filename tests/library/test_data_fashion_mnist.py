"""Fashion-MNIST, which shares MNIST's format."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from practical_dl import data
from practical_dl.data import _idx, fashion_mnist


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.tobytes()


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
    files = []
    for file, array in zip(fashion_mnist.CARD.files, arrays, strict=True):
        path = cache / f"{file.path}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(idx(array)))
        files.append(data.File(file.path, hashlib.sha256(idx(array)).hexdigest(), 0))
    card = replace(fashion_mnist.CARD, files=files)
    monkeypatch.setitem(data._cards, "fashion_mnist", {"small": card})
    found = data.load("fashion_mnist")
    got = [found.x_train, found.y_train, found.x_test, found.y_test]
    for array, expected in zip(got, arrays, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert found.classes[0] == "T-shirt" and found.classes[9] == "ankle boot"
    said = capsys.readouterr().out
    assert said.startswith("Fashion-MNIST: 5 training and 3 test examples of shape (28, 28)")
    assert "licence: MIT" in said
