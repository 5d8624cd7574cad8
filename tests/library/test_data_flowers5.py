"""The flowers: the set in the cache, the same built of its repository, and damaged files."""

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
from practical_dl.data import DataError
from practical_dl.data import flowers5 as module


@pytest.fixture(scope="module")
def flowers5() -> data.Dataset:
    return real("flowers5")


def test_flowers_are_what_they_are_known_to_be(flowers5: data.Dataset) -> None:
    found, said = flowers5, str(flowers5)
    assert "Flowers: 450 training and 50 test examples of shape (128, 128, 3), 5 classes" in said
    assert "licence: CC BY 2.0" in said
    assert found.x_train.dtype == np.uint8 and found.y_train.dtype == np.int64
    assert np.bincount(found.y_train).tolist() == [90] * 5
    assert np.bincount(found.y_test).tolist() == [10] * 5
    # Sunflowers are yellow: more red and green than blue.
    yellow = found.x_train[..., :2].mean((1, 2, 3)) - found.x_train[..., 2].mean((1, 2))
    by_class = [yellow[found.y_train == k].mean() for k in range(5)]
    assert found.classes[int(np.argmax(by_class))] == "sunflower"


def test_no_photograph_is_both_public_and_withheld(flowers5: data.Dataset) -> None:
    x, y = data.withheld("flowers5")
    assert x.shape == (100, 128, 128, 3) and np.bincount(y).tolist() == [20] * 5
    parts = [{p.tobytes() for p in part} for part in (flowers5.x_train, flowers5.x_test, x)]
    assert [len(part) for part in parts] == [450, 50, 100]
    assert len(set.union(*parts)) == 600


def test_numbers_of_flickr_stand_in_the_order_of_the_photographs(
    flowers5: data.Dataset, data_cache: Path
) -> None:
    train, test = module.ids("train"), module.ids("test")
    assert len(set(train + test)) == 600
    with zipfile.ZipFile(data_cache / "flowers5" / "flowers5.zip") as archive:
        for numbers, pictures, place in ((train, flowers5.x_train, 7), (test, flowers5.x_test, 9)):
            (name,) = (n for n in archive.namelist() if f"/{numbers[place]}_" in n)
            with Image.open(io.BytesIO(archive.read(name))) as picture:
                short = np.asarray(picture.convert("L").resize((8, 8)), float)
            shown = np.asarray(Image.fromarray(pictures[place]).convert("L").resize((8, 8)), float)
            assert np.corrcoef(short.ravel(), shown.ravel())[0, 1] > 0.5


def test_full_is_larger(flowers5: data.Dataset) -> None:
    large = data.load("flowers5", "full", quiet=True)
    assert large.x_test.shape == (50, 224, 224, 3)
    np.testing.assert_array_equal(large.y_train, flowers5.y_train)


# The repository as it is described, made of the set in the cache: that the description is true
# can't be tried without a network.


def repository(cache: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(cache / "flowers5" / "flowers5.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        return {f"dataset/{name}": archive.read(name) for name in names}


def test_the_same_is_built_of_the_repository(
    flowers5: data.Dataset,
    data_cache: Path,
    mirror: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = repository(data_cache) | {"dataset/train/daisy/1_f.jpg": b"another", "train.py": b""}
    same(rebuilt("flowers5", files, mirror, tmp_path, monkeypatch), flowers5)
    same(data.load("flowers5", quiet=True), flowers5)  # of the file that was built
    path = tmp_path / "flowers5" / "flowers5.zip"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"damaged.*python -m practical_dl\.data flowers5"):
        data.load("flowers5", quiet=True)
    path.write_bytes(content[:5000] + b"no JPEG" + content[5007:])
    with pytest.raises(DataError, match="damaged"):
        data.load("flowers5", quiet=True)


def test_large_photographs_are_made_smaller() -> None:
    out = io.BytesIO()
    Image.new("RGB", (500, 448), (200, 30, 30)).save(out, "JPEG")
    with Image.open(io.BytesIO(module._smaller(out.getvalue()))) as small:
        assert small.size == (250, 224)


def test_another_archive_is_refused(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="cut short, damaged or another archive"):
        rebuilt("flowers5", {"README.md": b""}, mirror, tmp_path, monkeypatch)


def test_absent_flowers_are_one_sentence(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("practical_dl.data.cache.ARCHIVES", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"python -m practical_dl\.data flowers5"):
        data.load("flowers5", quiet=True)
