"""The blood cells: the set in the cache, and the same built of its repository."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from kit.mirror import Mirror
from kit.sets import real, rebuilt, same

from practical_dl import data


@pytest.fixture(scope="module")
def bccd() -> data.Dataset:
    return real("bccd")


def test_blood_cells_are_what_they_are_known_to_be(bccd: data.Dataset) -> None:
    found, said = bccd, str(bccd)
    assert "292 training and 72 test examples of shape (480, 640, 3), boxes of 3 classes" in said
    assert "licence: MIT" in said
    assert (len(found.y_train), len(found.y_test)) == (292, 72)
    boxes = np.concatenate(found.y_train + found.y_test)
    assert np.bincount(boxes[:, 4]).tolist() == [4153, 372, 361] and boxes.dtype == np.int64
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:4] <= (640, 480)).all()
    assert (boxes[:, :2] < boxes[:, 2:4]).all()
    # White cells are stained: less green inside of their boxes than in the picture.
    darker = [
        picture[y0:y1, x0:x1, 1].mean() < picture[..., 1].mean()
        for picture, rows in zip(found.x_test, found.y_test, strict=True)
        for x0, y0, x1, y1, kind in rows
        if found.classes[kind] == "WBC"
    ]
    assert np.mean(darker) > 0.95


# The repository as it is described, made of the set in the cache: that the description is true
# can't be tried without a network.


def repository(cache: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(cache / "bccd" / "BCCD.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()} | {"BCCD/plots.py": b""}


def test_the_same_is_built_of_the_repository(
    bccd: data.Dataset,
    data_cache: Path,
    mirror: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = repository(data_cache)
    same(rebuilt("bccd", files, mirror, tmp_path, monkeypatch), bccd)
