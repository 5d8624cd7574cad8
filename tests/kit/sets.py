"""What the tests of single data sets share: the set in the session's cache, and built anew."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kit.mirror import Mirror, files_in, zipped
from practical_dl import data
from practical_dl.data import cache


def real(name: str) -> data.Dataset:
    """A data set of the session's cache."""
    if not data.is_cached(name):
        pytest.skip(f"{name} is not in the cache; run python -m practical_dl.data {name}")
    return data.load(name, quiet=True)


def rebuilt(
    name: str, files: dict[str, bytes], mirror: Mirror, tmp_path: Path, patch: pytest.MonkeyPatch
) -> data.Dataset:
    """The set as it is built of the files of its repository, in a cache of its own."""
    card = data._card(name, "small")
    assert card.repository is not None
    patch.setattr(cache, "ARCHIVES", mirror.url("archives"))
    patch.setenv("PRACTICAL_DL_DATA", str(tmp_path))
    path = f"/archives/{card.repository.name}/zip/{card.repository.commit}"
    mirror.files[path] = zipped(files)
    found = data.load(name, quiet=True)
    assert len(mirror.asked) == 1 and len(files_in(tmp_path)) == len(card.files)
    return found


def same(found: data.Dataset, expected: data.Dataset) -> None:
    """Two data sets hold the same examples."""
    for part in ("x_train", "y_train", "x_test", "y_test"):
        got, wanted = getattr(found, part), getattr(expected, part)
        assert len(got) == len(wanted)
        assert all(map(np.array_equal, got, wanted))


def idx(array: np.ndarray) -> bytes:
    """An array of bytes in MNIST's format."""
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.tobytes()


def packed(card: data.Card, arrays: Sequence[np.ndarray], folder: Path) -> data.Card:
    """A set of these arrays as packed IDX files in a cache, and the card that knows them."""
    files = []
    for file, array in zip(card.files, arrays, strict=True):
        content = idx(array)
        path = folder / f"{file.path}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content))
        files.append(data.File(file.path, hashlib.sha256(content).hexdigest(), 0))
    return replace(card, files=files)
