"""Four paintings whose authors died long ago: colour pictures, at most 640 pixels on a side.

Titles stand in `y_train`; nothing is for testing. They come from two repositories on style
transfer.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pooch
import requests
from PIL import Image

from practical_dl.data import Card, DataError, Dataset, File, Repository, cache, register

TITLES = (
    "Vincent van Gogh, The Starry Night, 1889",
    "Edvard Munch, The Scream, 1893",
    "J. M. W. Turner, The Shipwreck, 1805",
    "Katsushika Hokusai, The Great Wave off Kanagawa, 1831",
)
LONG_SIDE = 640  # of the pictures that are kept


def _read(paths: list[Path]) -> Dataset:
    pictures = []
    for path in paths:
        with Image.open(path) as picture:
            pictures.append(np.array(picture.convert("RGB")))
    return Dataset(tuple(pictures), TITLES, (), ())


# -- The files: those that are known, or the same pictures from the repositories ------------------
#
# What is built anew can't have a known checksum: other versions of the libraries make other bytes
# of a picture made smaller. So it says in a comment of what commit it was built.

_FILES = (
    File(
        "paintings/van_gogh_starry_night_1889.jpg",
        "11d654fcb5ab69b19a0bf8f9f11d3e669505e4b2c795e546e258d2025fb0ec52",
        165_409,
    ),
    File(
        "paintings/munch_scream_1893.jpg",
        "2fa64b2be1a182053843de03406e4560d470627d5a75383e277a684728efee82",
        96_765,
    ),
    File(
        "paintings/turner_shipwreck_1805.jpg",
        "342a5bae21a733ebfd44276eb5fc639c5dd153a7cfaa9671e77ef52d4729f891",
        108_161,
    ),
    File(
        "paintings/hokusai_great_wave_1831.jpg",
        "658de3ce549081c5a05097552e04d8a6ff12947d3e5a700e77761d4ad505e54d",
        93_049,
    ),
)


def _repository(name: str, commit: str, *paths: str) -> Repository:
    """A repository, and how the files of the cache are made of these of its own."""
    comment = f"built of {name} at {commit}".encode()
    return Repository(name, commit, lambda found: [_smaller(found[p], comment) for p in paths])


_INPUTS = "examples/inputs"
_REPOSITORIES = (  # and how many of the files, in their order, each of them holds
    (
        _repository(
            "jcjohnson/neural-style",
            "07c4b8299f8fbdafec0c514fc820ff1d7ff62e46",
            f"{_INPUTS}/starry_night_google.jpg",
            f"{_INPUTS}/the_scream.jpg",
            f"{_INPUTS}/shipwreck.jpg",
        ),
        _FILES[:3],
    ),
    (
        _repository(
            "lengstrom/fast-style-transfer",
            "0d3d981f7ab948253d355585bdbdfa914247b4d0",
            "examples/style/wave.jpg",
        ),
        _FILES[3:],
    ),
)


def _smaller(content: bytes, comment: bytes) -> bytes:
    """A picture with a long side of at most 640 pixels, as a JPEG with a comment."""
    with Image.open(io.BytesIO(content)) as picture:
        rgb = picture.convert("RGB")
        factor = min(1.0, LONG_SIDE / max(rgb.size))
        size = tuple(max(1, round(factor * side)) for side in rgb.size)
        out = io.BytesIO()
        rgb.resize(size, Image.Resampling.LANCZOS).save(out, "JPEG", quality=90, comment=comment)
        return out.getvalue()


def _get() -> list[Path]:
    return [path for pair in _REPOSITORIES for path in _get_of(*pair)]


def _get_of(repository: Repository, files: Sequence[File]) -> list[Path]:
    """The paths of the files of one repository; where one is missing, all of them are built."""
    targets, size = [cache.folder() / file.path for file in files], cache.size(_FILES)
    with cache.errors("paintings", targets[0].parent, size):
        for target, file in zip(targets, files, strict=True):
            if target.is_file():
                content = target.read_bytes()
                if cache.sha256(content) != file.sha256 and not _is_built(content, repository):
                    raise cache.damaged(target, "paintings")
        if all(target.is_file() for target in targets):
            return targets
        cache.folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.folder()) as parts:
            archive = Path(parts) / "archive.zip"
            try:
                pooch.HTTPDownloader(progressbar=True)(repository.url, str(archive), None)
            except requests.RequestException as error:
                raise cache.absent("paintings", size, [type(error).__name__]) from error
            try:
                contents = repository.build(cache._read_archive(archive))
            except Exception as error:  # whatever a damaged archive makes its readers raise
                raise DataError(
                    f"paintings: {repository.url} is cut short, damaged or another archive "
                    f"({type(error).__name__}: {error})"
                ) from error
        targets[0].parent.mkdir(exist_ok=True)
        return [cache.write(*pair) for pair in zip(targets, contents, strict=True)]


def _is_built(content: bytes, repository: Repository) -> bool:
    """Whether it was built of the repository and is whole."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as picture:
            picture.load()
            said = picture.info.get("comment")
            return said == f"built of {repository.name} at {repository.commit}".encode()
    except Exception:  # whatever a damaged picture makes its reader raise
        return False


CARD = Card(
    title="Four paintings",
    licence="public domain: their painters died between 1849 and 1944",
    source="pictures of two repositories on style transfer, in {cache}/paintings",
    read=_read,
    files=_FILES,
    get=_get,
)
register("paintings", small=CARD, full=CARD)
