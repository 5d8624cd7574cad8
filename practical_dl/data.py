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
import io
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pooch
import requests
from PIL import Image

PROFILES = ("small", "full")
WITHHELD = 2_000  # test pictures of CIFAR-10 that `load` leaves to `withheld`


class DataError(Exception):
    """A data set that can't be had; the message says which, why and what to do."""


@dataclass(frozen=True)
class Dataset:
    """A data set in memory, split into train and test.

    x_train: (n, ...), x_test likewise. y_train, y_test: what is to be predicted, one per example:
    class numbers (n,); or masks (n, h, w) int32, where 0 is background and 1, 2, ... are the
    instances; or boxes, a tuple of n arrays (k, 5) of x0, y0, x1, y1, class in pixels.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray | tuple[np.ndarray, ...]
    x_test: np.ndarray
    y_test: np.ndarray | tuple[np.ndarray, ...]
    classes: tuple[str, ...]
    licence: str
    source: str

    def __repr__(self) -> str:
        boxes = isinstance(self.y_train, tuple)
        target = "boxes of " if boxes else "masks, " if self.y_train.ndim == 3 else ""
        number = f"{len(self.classes)} class{'es' if len(self.classes) > 1 else ''}"
        return (
            f"{self.name}: {len(self.x_train)} training and {len(self.x_test)} test examples "
            f"of shape {self.x_train.shape[1:]}, {target}{number}\n"
            f"source: {self.source}\nlicence: {self.licence}"
        )


@dataclass(frozen=True)
class _File:
    """A file of the cache: a gzipped one of an official source, kept unpacked; or a zip.

    path: in the cache. sha256: of the file there. urls, md5: of the gzipped download.
    size: of the download, in bytes; of a zip as it is kept.
    """

    path: str
    urls: tuple[str, ...]
    sha256: str
    md5: str
    size: int
    zipped: bool = False


_MNIST_URLS = (
    # torchvision's mirrors: the original host is often down.
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def _mnist_file(name: str, sha256: str, md5: str, size: int) -> _File:
    urls = tuple(f"{url}{name}.gz" for url in _MNIST_URLS)
    return _File(f"MNIST/raw/{name}", urls, sha256, md5, size)


def _zip(path: str, sha256: str, size: int) -> _File:
    return _File(path, (), sha256, "", size, zipped=True)


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
    "cifar10": (
        _zip(
            "cifar10_jpeg/train.npz",
            "a6184aa4b421b30862b313c40205e380454fe906c64af797d505f83a5b3a61eb",
            9_213_325,
        ),
        _zip(
            "cifar10_jpeg/test.npz",
            "1a2448ce98841fcaabc686b9debccd33b74a39384f32517bdeea56d71e825143",
            3_071_739,
        ),
    ),
    "nuclei": (
        _zip(
            "nuclei/nuclei150.zip",
            "4acd0be4a4a389e9346232e6a858f73a23fe56aec702bdbfda279e274ec72f6b",
            3_577_479,
        ),
    ),
    "bccd": (
        _zip(
            "bccd/BCCD.zip",
            "db2310e56311827e022beb4a90b57417071da9fe10c2eec4a51b32c2735d1ed4",
            8_911_123,
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
    _check(name, profile)
    dataset = _LOADERS[name][profile]()
    if not quiet:
        print(dataset)
    return dataset


def _check(name: str, profile: str) -> None:
    if profile not in PROFILES:
        raise DataError(f"profile must be one of {', '.join(PROFILES)}, not {profile!r}")
    if name not in _LOADERS:
        raise DataError(f"there is no data set {name!r}; there are {', '.join(names())}")
    if profile not in _LOADERS[name]:
        raise DataError(f"the data set {name!r} is not meant for the profile {profile!r}")


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
    if file.zipped:
        return _fetch_zip(name, file, target)
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


def _fetch_zip(name: str, file: _File, target: Path) -> Path:
    if not target.is_file():
        raise DataError(f"{name} ({_size(name)}) is not in the cache {cache_folder()}")
    if _sha256(target.read_bytes()) != file.sha256:
        raise DataError(
            f"{target} is damaged or another file (its checksum differs): delete it, then run "
            f"python -m practical_dl.data {name}"
        )
    return target


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


_CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
)  # fmt: skip


def withheld(name: str, profile: str = "small") -> tuple[np.ndarray, np.ndarray]:
    """The test pictures that `load` does not give, and their classes: x (2000, ...), y (2000,).

    For the course's private tests. name: "cifar10". Raises DataError as `load` does.
    """
    _check(name, profile)
    if name != "cifar10":
        raise DataError(f"nothing is withheld of the data set {name!r}")
    x, y = _CIFAR10[profile]("test")
    return x[-WITHHELD:], y[-WITHHELD:]


def _load_cifar10(profile: str) -> Dataset:
    x_train, y_train = _CIFAR10[profile]("train")
    x_test, y_test = _CIFAR10[profile]("test")
    return Dataset(
        "CIFAR-10",
        x_train,
        y_train,
        x_test[:-WITHHELD],
        y_test[:-WITHHELD],
        classes=_CIFAR10_CLASSES,
        licence="none is stated; cite A. Krizhevsky, Learning multiple layers of features from "
        "tiny images, 2009",
        source=f"JPEG copies (quality 75, not the official pixels) in {cache_folder()}"
        if profile == "small"
        else f"official files in {cache_folder()}",
    )


def _cifar10_small(part: str) -> tuple[np.ndarray, np.ndarray]:
    """The JPEG copy: picture i is jpeg[offsets[i]:offsets[i + 1]]."""
    train, test = fetch("cifar10")
    with np.load(train if part == "train" else test, allow_pickle=False) as arrays:
        jpeg, offsets, labels = arrays["jpeg"].tobytes(), arrays["offsets"], arrays["labels"]
    pictures = [jpeg[a:b] for a, b in pairwise(offsets)]
    return _decode(pictures, (32, 32, 3)), labels.astype(np.int64)


def _cifar10_full(part: str) -> tuple[np.ndarray, np.ndarray]:
    raise DataError("the official CIFAR-10 can't be had yet")


_CIFAR10 = {"small": _cifar10_small, "full": _cifar10_full}


def _decode(pictures: Sequence[bytes], shape: tuple[int, ...], dtype: type = np.uint8):
    """Decode pictures of one shape: (n, *shape)."""
    out = np.empty((len(pictures), *shape), dtype)

    def fill(i: int) -> None:
        with Image.open(io.BytesIO(pictures[i])) as picture:
            out[i] = picture

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside the GIL
        list(pool.map(fill, range(len(pictures))))
    return out


def _load_nuclei() -> Dataset:
    (path,) = fetch("nuclei")
    parts = []
    with zipfile.ZipFile(path) as archive:
        members = sorted(archive.namelist())
        for part in ("train", "val"):
            for kind, dtype in (("images", np.uint8), ("masks", np.int32)):
                pictures = [archive.read(m) for m in members if m.startswith(f"{part}/{kind}/")]
                parts.append(_decode(pictures, (256, 256), dtype))
    return Dataset(
        "Nuclei of the 2018 Data Science Bowl",
        *parts,
        classes=("nucleus",),
        licence="CC0 (Broad Bioimage Benchmark Collection, BBBC038)",
        source=f"150 fluorescence pictures of stage1_train with corrected masks, in {path}",
    )


_CELLS = ("RBC", "WBC", "Platelets")


def _load_bccd() -> Dataset:
    (path,) = fetch("bccd")
    parts = []
    with zipfile.ZipFile(path) as archive:
        for part in ("trainval", "test"):
            stems = archive.read(f"BCCD/ImageSets/Main/{part}.txt").decode().split()
            pictures = [archive.read(f"BCCD/JPEGImages/{stem}.jpg") for stem in stems]
            parts.append(_decode(pictures, (480, 640, 3)))
            parts.append(tuple(_boxes(archive.read(f"BCCD/Annotations/{s}.xml")) for s in stems))
    return Dataset(
        "BCCD blood cells",
        *parts,
        classes=_CELLS,
        licence="MIT (Shenggan, cosmicad)",
        source=f"the repository's pictures and boxes in {path}",
    )


def _boxes(annotation: bytes) -> np.ndarray:
    """The boxes of a Pascal VOC annotation: (k, 5) of x0, y0, x1, y1, class."""
    rows = []
    for thing in ElementTree.fromstring(annotation).iter("object"):
        box = [int(thing.findtext(f"bndbox/{end}")) for end in ("xmin", "ymin", "xmax", "ymax")]
        rows.append([*box, _CELLS.index(thing.findtext("name"))])
    return np.array(rows, np.int64).reshape(-1, 5)


_LOADERS: dict[str, dict[str, Callable[[], Dataset]]] = {  # by name, then by profile
    "digits": {
        "small": lambda: _load_sklearn(
            "digits", "UCI digits, 8 x 8", "CC BY 4.0 (E. Alpaydin, C. Kaynak, UCI repository)"
        ),
    },
    "breast_cancer": dict.fromkeys(
        PROFILES,
        lambda: _load_sklearn(
            "breast_cancer",
            "Wisconsin breast cancer",
            "CC BY 4.0 (W. Wolberg et al., UCI repository)",
        ),
    ),
    "mnist": dict.fromkeys(PROFILES, _load_mnist),
    "cifar10": {profile: partial(_load_cifar10, profile) for profile in PROFILES},
    "nuclei": dict.fromkeys(PROFILES, _load_nuclei),
    "bccd": dict.fromkeys(PROFILES, _load_bccd),
}


def _main(arguments: list[str]) -> int:
    if not arguments or any(name not in _LOADERS for name in arguments):
        print(f"usage: python -m practical_dl.data NAME...   NAME: {', '.join(names())}")
        return 2
    for name in arguments:
        try:
            load(name, next(iter(_LOADERS[name])))
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
