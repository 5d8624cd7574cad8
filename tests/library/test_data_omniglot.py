"""Omniglot: the set in the cache, and the same built of its repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kit.mirror import Mirror
from kit.sets import real, rebuilt, same

from practical_dl import data
from practical_dl.data import omniglot as module


@pytest.fixture(scope="module")
def omniglot() -> data.Dataset:
    return real("omniglot")


def test_characters_are_what_they_are_known_to_be(omniglot: data.Dataset) -> None:
    found, said = omniglot, str(omniglot)
    assert "2720 training and 2120 test examples of shape (105, 105), 242 classes" in said
    assert "licence: MIT" in said
    assert np.bincount(found.y_train).tolist() == [20] * 136
    assert np.bincount(found.y_test).tolist() == [0] * 136 + [20] * 106
    for part, names in (("train", found.classes[:136]), ("test", found.classes[136:])):
        x = getattr(found, f"x_{part}")
        assert x.dtype == np.uint8 and set(np.unique(x)) == {0, 255}
        assert 0.01 < (x > 0).mean() < 0.15  # ink is rare
        assert all(name.startswith(module.TEST) == (part == "test") for name in names)


def test_no_picture_is_there_twice(omniglot: data.Dataset) -> None:
    everything = np.concatenate([omniglot.x_train, omniglot.x_test])
    assert len({picture.tobytes() for picture in everything}) == len(everything)


# The repository as it is described, made of the set in the cache: that the description is true
# can't be tried without a network.


def test_the_same_is_built_of_the_repository(
    omniglot: data.Dataset,
    data_cache: Path,
    mirror: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = data_cache / "omniglot"
    files = {f"python/{path.name}": path.read_bytes() for path in folder.glob("*.zip")}
    same(rebuilt("omniglot", files | {"README.md": b""}, mirror, tmp_path, monkeypatch), omniglot)
