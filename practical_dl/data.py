"""The only door to data: `load(name, profile)`.

It looks in the cache (`PRACTICAL_DL_DATA`, else a per-user folder), then at the official source,
always with a checksum. Small sets that an installed package ships are named as such. It prints
what it loaded and never puts another data set in the place of a missing one.

`python -m practical_dl.data NAME` fetches a data set into the cache.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import requests

PROFILES = ("small", "full")


class DataError(Exception):
    """A data set that can't be had; the message says which, why and what to do."""


@dataclass(frozen=True)
class Dataset:
    """A data set in memory, split into train and test.

    x_train: (n, ...), y_train: (n,) class numbers, x_test and y_test likewise.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[str, ...]
    licence: str
    source: str

    def __repr__(self) -> str:
        return (
            f"{self.name}: {len(self.x_train)} training and {len(self.x_test)} test examples "
            f"of shape {self.x_train.shape[1:]}, {len(self.classes)} classes\n"
            f"source: {self.source}\nlicence: {self.licence}"
        )


@dataclass(frozen=True)
class _File:
    """A gzipped file of an official source, kept unpacked in the cache.

    path: in the cache. sha256: of the unpacked bytes. md5, size: of the download.
    """

    path: str
    urls: tuple[str, ...]
    sha256: str
    md5: str
    size: int


_MNIST_URLS = (
    # torchvision's mirrors: the original host is often down.
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def _mnist_file(name: str, sha256: str, md5: str, size: int) -> _File:
    urls = tuple(f"{url}{name}.gz" for url in _MNIST_URLS)
    return _File(f"MNIST/raw/{name}", urls, sha256, md5, size)


_FILES: dict[str, tuple[_File, ...]] = {
    "mnist": (
        _mnist_file(
            "train-images-idx3-ubyte",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            9_912_422,
        ),
        _mnist_file(
            "train-labels-idx1-ubyte",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "d53e105ee54ea40749a09fcbcd1e9432",
            28_881,
        ),
        _mnist_file(
            "t10k-images-idx3-ubyte",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "9fb629c4189551a2d022fa330f9573f3",
            1_648_877,
        ),
        _mnist_file(
            "t10k-labels-idx1-ubyte",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            "ec29112dd5afa0611ce80d1b7f02629c",
            4_542,
        ),
    ),
}


def cache_folder() -> Path:
    """Where downloads are kept: `PRACTICAL_DL_DATA`, else the per-user cache of the system."""
    return Path(os.environ.get("PRACTICAL_DL_DATA") or pooch.os_cache("practical_dl"))


def load(name: str, profile: str = "small", *, quiet: bool = False) -> Dataset:
    """Load a data set, print what it is, and return it.

    name: one of `names()`. profile: "small" or "full"; sets that an installed package ships
    serve "small" alone. quiet: do not print.
    Raises DataError: no such set, not for this profile, can't be fetched, or damaged.
    """
    if profile not in PROFILES:
        raise DataError(f"profile must be one of {', '.join(PROFILES)}, not {profile!r}")
    if name not in _LOADERS:
        raise DataError(f"there is no data set {name!r}; there are {', '.join(names())}")
    loader, profiles = _LOADERS[name]
    if profile not in profiles:
        raise DataError(f"the data set {name!r} is not meant for the profile {profile!r}")
    dataset = loader()
    if not quiet:
        print(dataset)
    return dataset


def names() -> tuple[str, ...]:
    """The data sets that `load` knows."""
    return tuple(_LOADERS)


def is_cached(name: str) -> bool:
    """Whether the files of a data set are all there, so that `load` needs no network."""
    paths = [cache_folder() / file.path for file in _FILES.get(name, ())]
    return all(p.is_file() or p.with_name(f"{p.name}.gz").is_file() for p in paths)


def fetch(name: str) -> list[Path]:
    """Bring the files of a data set into the cache and return their paths.

    Every file is checked against its checksum, also when it was there already; it is written
    beside its place and moved there when it is whole. A cache that can't be written to (as in the
    grader's sandbox) serves a file packed as it is. Raises DataError.
    """
    return [_fetch_file(name, file) for file in _FILES.get(name, ())]


def _fetch_file(name: str, file: _File) -> Path:
    target = cache_folder() / file.path
    packed = target.with_name(target.name + ".gz")
    try:
        if target.is_file() and _sha256(target.read_bytes()) == file.sha256:
            return target
        if not packed.is_file():
            _download(name, file, packed)
        content = gzip.decompress(packed.read_bytes())
        if _sha256(content) != file.sha256:
            raise DataError(
                f"{packed} is damaged or another file (its checksum differs): delete it, then run "
                f"python -m practical_dl.data {name}"
            )
        try:
            return _write(target, content)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                return packed
            raise
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{packed} is cut short or damaged: delete it, then run "
            f"python -m practical_dl.data {name}"
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(
                f"the disk of {target.parent} is full: {name} is a download of {_size(name)}; free "
                "some space, or set PRACTICAL_DL_DATA to a folder on another disk"
            ) from error
        raise DataError(f"{name}: {target.parent} can't be used as a cache: {error}") from error


def _download(name: str, file: _File, target: Path) -> None:
    reasons = []
    for url in file.urls:
        try:
            pooch.retrieve(
                url,
                known_hash=f"md5:{file.md5}",
                path=target.parent,
                fname=target.name,
                progressbar=True,
            )
            return
        except requests.RequestException as error:
            reasons.append(type(error).__name__)
        except ValueError:  # pooch: the checksum of the download differs
            reasons.append("wrong checksum")
    raise DataError(
        f"{name} ({_size(name)}) is not in the cache {cache_folder()} and could not be fetched "
        f"({', '.join(reasons)}); on a machine with a network run: "
        f"python -m practical_dl.data {name}"
    )


def _write(target: Path, content: bytes) -> Path:
    """Write a file of the cache whole or not at all."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _size(name: str) -> str:
    return f"{sum(file.size for file in _FILES[name]) / 1e6:.1f} MB"


def _load_mnist() -> Dataset:
    parts = [_read_idx(path) for path in fetch("mnist")]
    return Dataset(
        "MNIST",
        *parts,
        classes=tuple("0123456789"),
        licence="CC BY-SA 3.0 (Y. LeCun, C. Cortes; stated by the data set's mirrors)",
        source=f"official files in {cache_folder() / 'MNIST'}",
    )


def _read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of bytes: magic 00 00 08 d, then d big-endian sizes, then data."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def _load_sklearn(name: str, title: str, licence: str) -> Dataset:
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    bunch = getattr(datasets, f"load_{name}")()
    x = bunch.images if name == "digits" else bunch.data
    x_train, x_test, y_train, y_test = train_test_split(
        x, bunch.target, test_size=0.25, stratify=bunch.target, random_state=0
    )
    return Dataset(
        title,
        x_train,
        y_train,
        x_test,
        y_test,
        classes=tuple(str(c) for c in bunch.target_names),
        licence=licence,
        source="shipped with the installed scikit-learn",
    )


_LOADERS: dict[str, tuple[Callable[[], Dataset], tuple[str, ...]]] = {
    "digits": (
        lambda: _load_sklearn(
            "digits", "UCI digits, 8 x 8", "CC BY 4.0 (E. Alpaydin, C. Kaynak, UCI repository)"
        ),
        ("small",),
    ),
    "breast_cancer": (
        lambda: _load_sklearn(
            "breast_cancer",
            "Wisconsin breast cancer",
            "CC BY 4.0 (W. Wolberg et al., UCI repository)",
        ),
        ("small", "full"),
    ),
    "mnist": (_load_mnist, ("small", "full")),
}


def _main(arguments: list[str]) -> int:
    if not arguments or any(name not in _LOADERS for name in arguments):
        print(f"usage: python -m practical_dl.data NAME...   NAME: {', '.join(names())}")
        return 2
    for name in arguments:
        try:
            load(name, _LOADERS[name][1][0])
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
