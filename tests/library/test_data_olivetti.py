"""The Olivetti faces: the set in the cache, and the same built of its repository."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from kit.mirror import Mirror
from kit.sets import real, rebuilt, same
from scipy.io import savemat

from practical_dl import data


def test_faces_are_split_by_person() -> None:
    faces = real("olivetti")
    assert "320 training and 80 test examples of shape (64, 64), 40 classes" in str(faces)
    assert np.bincount(faces.y_train).tolist() == [8] * 40
    assert np.bincount(faces.y_test).tolist() == [2] * 40
    assert faces.x_train.dtype == np.uint8 and 80 < faces.x_train.mean() < 170
    # Two pictures of a person are nearer than two of different people, by and large.
    train = faces.x_train.reshape(320, -1).astype(float)
    test = faces.x_test.reshape(80, -1).astype(float)
    nearest = ((test[:, None] - train[None]) ** 2).sum(-1).argmin(1)
    assert (faces.y_train[nearest] == faces.y_test).mean() > 0.85


def test_the_same_is_built_of_the_repository(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_cache: Path
) -> None:
    faces = real("olivetti")
    assert isinstance(faces, data.Dataset)
    with np.load(data_cache / "olivetti" / "olivetti_faces.npz") as found:
        columns = found["images"].transpose(0, 2, 1).reshape(400, -1).T
    packed = io.BytesIO()
    savemat(packed, {"faces": columns})
    files = {"olivettifaces.mat": packed.getvalue(), "README.md": b""}
    same(rebuilt("olivetti", files, mirror, tmp_path, monkeypatch), faces)
