"""The nuclei: the set in the cache, and the same built of its repository."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from kit.mirror import Mirror
from kit.sets import real, rebuilt, same
from PIL import Image

from practical_dl import data
from practical_dl.data import nuclei as module


@pytest.fixture(scope="module")
def nuclei() -> data.Dataset:
    return real("nuclei")


def test_nuclei_are_what_they_are_known_to_be(nuclei: data.Dataset) -> None:
    found, said = nuclei, str(nuclei)
    assert "120 training and 30 test examples of shape (256, 256), masks, 1 class\n" in said
    assert "licence: CC0" in said
    for x, y in ((found.x_train, found.y_train), (found.x_test, found.y_test)):
        assert x.shape == y.shape and x.dtype == np.uint8 and y.dtype == np.int32
        for picture, mask in zip(x, y, strict=True):
            numbers, first = np.unique(mask, return_index=True)
            assert numbers.tolist() == list(range(len(numbers))) and len(numbers) > 1
            assert (np.diff(first[1:]) > 0).all()
            assert picture[mask > 0].mean() > 1.3 * picture[mask == 0].mean()  # nuclei glow


def test_instances_are_numbered_by_their_first_pixels() -> None:
    mask = np.array([[0, 9, 0], [2, 9, 0], [0, 0, 5]])
    expected = [[0, 1, 0], [2, 1, 0], [0, 0, 3]]
    np.testing.assert_array_equal(module._numbered(mask), expected)
    np.testing.assert_array_equal(module._numbered(mask[:2, :2] + 1), [[1, 2], [3, 2]])
    np.testing.assert_array_equal(module._numbered(np.zeros((2, 2), int)), np.zeros((2, 2)))


# The repository as it is described, made of the set in the cache: that the description is true
# can't be tried without a network.


def png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "png")
    return out.getvalue()


def repository(cache: Path) -> dict[str, bytes]:
    large, bright = np.zeros((260, 347, 4), np.uint8), np.full((256, 256, 4), 200, np.uint8)
    files = {"stage1_train/0/images/0.png": png(large), "stage1_train/1/images/1.png": png(bright)}
    with zipfile.ZipFile(cache / "nuclei" / "nuclei150.zip") as archive:
        for member in archive.namelist():
            _, kind, name = member.split("/")
            array = np.asarray(Image.open(io.BytesIO(archive.read(member))))
            folder = f"stage1_train/{name[:3]}"
            if kind == "images":
                rgba = np.stack([array, array, array, np.full_like(array, 255)], -1)
                files[f"{folder}/images/{name}"] = png(rgba)
                continue
            for number in range(1, array.max() + 1):
                instance = np.where(array == number, 255, 0).astype(np.uint8)
                files[f"{folder}/masks/{number:03}.png"] = png(instance)
    return files


def test_the_same_is_built_of_the_repository(
    nuclei: data.Dataset,
    data_cache: Path,
    mirror: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = repository(data_cache)
    same(rebuilt("nuclei", files, mirror, tmp_path, monkeypatch), nuclei)
