"""CIFAR-10: the copy in the cache, the same built of its repository, the official one."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import pickle
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
from kit.mirror import PACKED, Mirror
from kit.sets import real, rebuilt, same
from PIL import Image

from practical_dl import data
from practical_dl.data import DataError
from practical_dl.data import __main__ as command
from practical_dl.data import cifar10 as module


@pytest.fixture(scope="module")
def cifar10() -> data.Dataset:
    return real("cifar10")


def test_cifar10_is_what_it_is_known_to_be(cifar10: data.Dataset) -> None:
    found, said = cifar10, str(cifar10)
    assert said.startswith(
        "CIFAR-10: 30000 training and 8000 test examples of shape (32, 32, 3), 10 classes\n"
        "source: a JPEG copy (quality 75: not the official pixels) in "
    )
    assert "licence: none is stated; cite A. Krizhevsky" in said
    assert found.x_train.dtype == found.x_test.dtype == np.uint8
    assert found.y_train.dtype == found.y_test.dtype == np.int64
    assert np.bincount(found.y_train).tolist() == [3000] * 10
    # The means and deviations of the official training set, known from its many users.
    mean, deviation = found.x_train.mean((0, 1, 2)) / 255, found.x_train.std((0, 1, 2)) / 255
    np.testing.assert_allclose(mean, (0.4914, 0.4822, 0.4465), atol=0.002)
    np.testing.assert_allclose(deviation, (0.2470, 0.2435, 0.2616), atol=0.002)
    # Pictures, not noise: neighbours differ by far less than two pixels at random.
    pictures = found.x_test[:1000].astype(float)
    assert abs(np.diff(pictures, axis=2)).mean() < 0.3 * abs(pictures - pictures[::-1]).mean()
    # Their classes: ships and airplanes are before blue, frogs and deer are not.
    blue = found.x_train[..., 2].mean((1, 2)) - found.x_train[..., 0].mean((1, 2))
    by_class = [blue[found.y_train == k].mean() for k in range(10)]
    assert {found.classes[k] for k in np.argsort(by_class)[-2:]} == {"airplane", "ship"}


def test_withheld_and_public_pictures_are_the_test_set(
    cifar10: data.Dataset, data_cache: Path
) -> None:
    found = cifar10
    x, y = data.withheld("cifar10")
    assert x.shape == (2000, 32, 32, 3) and y.shape == (2000,)
    with np.load(data_cache / "cifar10_jpeg" / "test.npz") as arrays:
        np.testing.assert_array_equal([*found.y_test, *y], arrays["labels"])
        start, end = arrays["offsets"][-2:]
        last = Image.open(io.BytesIO(arrays["jpeg"][start:end].tobytes()))
        np.testing.assert_array_equal(x[-1], np.asarray(last))
    assert np.bincount([*found.y_test, *y]).tolist() == [1000] * 10
    assert np.bincount(y).min() > 150
    public, kept = ({picture.tobytes() for picture in part} for part in (found.x_test, x))
    assert len(kept) == 2000 and not public & kept
    assert not kept & {picture.tobytes() for picture in found.x_train}


# The repository as it is described, made of the set in the cache: that the description is true
# can't be tried without a network.


def repository(cache: Path) -> dict[str, bytes]:
    files = {"README.md": b"", "train/truck/3000.jpg": b"the first that is left out"}
    for part, count in (("train", 3000), ("test", 1000)):
        with np.load(cache / "cifar10_jpeg" / f"{part}.npz") as arrays:
            jpeg, offsets, names = (arrays[key] for key in ("jpeg", "offsets", "classes"))
        order = list(range(10 * count))
        random.Random(0).shuffle(order)
        for i, number in enumerate(order):
            path = f"{part}/{names[number // count]}/{number % count:04}.jpg"
            files[path] = jpeg[offsets[i] : offsets[i + 1]].tobytes()
    return files


def test_the_same_is_built_of_the_repository(
    cifar10: data.Dataset,
    data_cache: Path,
    mirror: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = repository(data_cache)
    same(rebuilt("cifar10", files, mirror, tmp_path, monkeypatch), cifar10)


# -- the official CIFAR-10 ---------------------------------------------------------------------


@pytest.fixture
def official(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """A small CIFAR-10 in the official format on the mirror, which torchvision takes for it."""
    from torchvision.datasets import CIFAR10

    rng = np.random.default_rng(0)
    arrays = {}
    parts = {f"data_batch_{i}": 3 for i in range(1, 6)} | {"test_batch": module.WITHHELD + 4}
    out = io.BytesIO()
    md5 = {}
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for part, count in [*parts.items(), ("batches.meta", 0)]:
            content = {"label_names": list(module.CLASSES)}
            if count:
                x = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
                y = rng.integers(0, 10, count)
                arrays[part] = (x, y)
                planes = x.transpose(0, 3, 1, 2).reshape(count, -1)
                content = {"data": planes, "labels": y.tolist()}
            packed = pickle.dumps(content, protocol=2)
            md5[part] = hashlib.md5(packed).hexdigest()
            info = tarfile.TarInfo(f"{CIFAR10.base_folder}/{part}")
            info.size = len(packed)
            archive.addfile(info, io.BytesIO(packed))
    mirror.files["/official.tar.gz"] = out.getvalue()
    monkeypatch.setattr(CIFAR10, "url", mirror.url("official.tar.gz"))
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(out.getvalue()).hexdigest())
    for name in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, name, [[p, md5[p]] for p, _ in getattr(CIFAR10, name)])
    monkeypatch.setitem(CIFAR10.meta, "md5", md5["batches.meta"])
    train = [arrays[f"data_batch_{i}"] for i in range(1, 6)]
    return {
        "x_train": np.concatenate([x for x, _ in train]),
        "y_train": np.concatenate([y for _, y in train]),
        "x_test": arrays["test_batch"][0],
        "y_test": arrays["test_batch"][1],
    }


def no_full_cifar10() -> str:
    """What is said of the official CIFAR-10 that can't be had, on one line."""
    with pytest.raises(DataError) as caught:
        data.load("cifar10", "full")
    message = str(caught.value)
    assert "\n" not in message and "cifar10" in message
    return message


def test_the_official_cifar10(
    official: dict[str, np.ndarray],
    mirror: Mirror,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not data.is_cached("cifar10", "full")
    assert command.main(["cifar10", "--profile", "full"]) == 0
    said = capsys.readouterr().out
    assert "CIFAR-10: 15 training and 4 test examples of shape (32, 32, 3), 10 classes\n" in said
    assert f"source: official files in {cache / 'cifar-10-batches-py'}" in said
    assert data.is_cached("cifar10", "full") and not data.is_cached("cifar10")
    assert [p.name for p in cache.iterdir()] == ["cifar-10-batches-py"]  # nothing else is left

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", refuse)
    mirror.asked.clear()
    found = data.load("cifar10", "full", quiet=True)
    x, y = data.withheld("cifar10", "full")
    assert mirror.asked == []
    assert found.x_train.dtype == np.uint8 and found.x_train.flags.c_contiguous
    assert found.y_train.dtype == y.dtype == np.int64
    np.testing.assert_array_equal(found.x_train, official["x_train"])
    np.testing.assert_array_equal(found.y_train, official["y_train"])
    np.testing.assert_array_equal(np.concatenate([found.x_test, x]), official["x_test"])
    np.testing.assert_array_equal(np.concatenate([found.y_test, y]), official["y_test"])


@pytest.mark.parametrize("fault", ["truncated", "other", "missing", "cut", "no network"])
def test_a_bad_official_download_leaves_no_file(
    fault: str,
    official: dict[str, np.ndarray],
    mirror: Mirror,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torchvision.datasets import CIFAR10

    body = mirror.files["/official.tar.gz"]
    mirror.files["/official.tar.gz"] = {"truncated": body[:-100], "other": PACKED}.get(fault, body)
    if fault in ("missing", "cut"):
        monkeypatch.setattr(CIFAR10, "url", mirror.url(f"{fault}/official.tar.gz"))
    if fault == "no network":
        mirror.shutdown()
        mirror.socket.close()
    message = no_full_cifar10()
    assert f"cifar10 (170.5 MB) is not in the cache {cache} and could not be fetched" in message
    assert message.endswith("run: python -m practical_dl.data cifar10 --profile full")
    assert list(cache.iterdir()) == []


def test_a_disk_full_during_the_official_download(
    official: dict[str, np.ndarray], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import utils

    def full(url: str, path: str, *arguments: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(utils, "_urlretrieve", full)
    message = no_full_cifar10()
    assert "is full: cifar10 is a download of 170.5 MB" in message
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("harm", ["truncated", "absent"])
def test_a_damaged_official_file_is_named(
    harm: str, official: dict[str, np.ndarray], mirror: Mirror, cache: Path
) -> None:
    data.load("cifar10", "full", quiet=True)
    path = cache / "cifar-10-batches-py" / "data_batch_3"
    if harm == "absent":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    mirror.asked.clear()
    message = no_full_cifar10()
    assert f"{path.parent} is damaged" in message and message.endswith("--profile full")
    assert mirror.asked == []
