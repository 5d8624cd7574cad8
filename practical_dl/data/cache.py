"""The cache of data sets: its folder, downloads, checksums, archives, and what is said of errors.

Every file is checked, also when it was there already; it is written beside its place and moved
there when it is whole.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests

ARCHIVES = "https://codeload.github.com"


class DataError(Exception):
    """A data set that can't be had; the message says which, why and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence, not how a library failed to connect."""
        return [f"No data: {self}"]


@dataclass(frozen=True)
class File:
    """A file of the cache: a gzipped one of an official source, unpacked; or one that is built.

    path: in the cache. sha256: of the file in the cache. size: of the download in bytes, of a file
    that is built its own. urls, md5: of the gzipped download.
    built: sha256 of the file as it is built from a `Repository`: the same content, packed
    otherwise (`pack`). "" where there is nothing to build.
    """

    path: str
    sha256: str
    size: int
    urls: tuple[str, ...] = ()
    md5: str = ""
    built: str = ""

    def is_there(self) -> bool:
        """Whether it is in the cache, packed or not."""
        path = folder() / self.path
        return path.exists() or packed(path).is_file()


@dataclass(frozen=True)
class Repository:
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
        return f"{ARCHIVES}/{self.name}/zip/{self.commit}"


def folder() -> Path:
    """Where downloads are kept: `PRACTICAL_DL_DATA`, else the per-user cache of the system."""
    return Path(os.environ.get("PRACTICAL_DL_DATA") or pooch.os_cache("practical_dl"))


def packed(path: Path) -> Path:
    """Where the download of a file lies."""
    return path.with_name(f"{path.name}.gz")


def size(files: Sequence[File]) -> str:
    """The size of the download, in words."""
    return f"{sum(file.size for file in files) / 1e6:.1f} MB"


def download(name: str, files: Sequence[File]) -> list[Path]:
    """The paths of files that are downloaded one by one, where they are missing. Raises DataError.

    name: of their data set, for messages. A cache that can't be written to (as in the grader's
    sandbox) serves a file packed as it is.
    """
    return [_download(name, file, size(files)) for file in files]


def _download(name: str, file: File, size_of_all: str) -> Path:
    target = folder() / file.path
    archive = packed(target)
    with errors(name, target.parent, size_of_all):
        if target.is_file() and sha256(target.read_bytes()) == file.sha256:
            return target
        if not archive.is_file():
            _retrieve(name, file, archive, size_of_all)
        try:
            content = gzip.decompress(archive.read_bytes())
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{archive} is cut short or damaged: delete it, then run {command(name)}"
            ) from error
        if sha256(content) != file.sha256:
            raise damaged(archive, name)
        try:
            return write(target, content)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                return archive
            raise


def _retrieve(name: str, file: File, target: Path, size_of_all: str) -> None:
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
    raise absent(name, size_of_all, reasons)


def build(name: str, files: Sequence[File], repository: Repository) -> list[Path]:
    """The paths of files that are built from a repository, all at once where one is missing.

    name: of their data set, for messages. Raises DataError.
    """
    targets = [folder() / file.path for file in files]
    with errors(name, targets[0].parent, size(files)):
        for target, file in zip(targets, files, strict=True):
            if target.is_file() and sha256(target.read_bytes()) not in (file.sha256, file.built):
                raise damaged(target, name)
        if all(target.is_file() for target in targets):
            return targets
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder()) as parts:
            archive = Path(parts) / "archive.zip"
            try:  # not `pooch.retrieve`: it would tell how to pin a checksum that may change
                pooch.HTTPDownloader(progressbar=True)(repository.url, str(archive), None)
            except requests.RequestException as error:
                raise absent(name, size(files), [type(error).__name__]) from error
            try:
                contents = repository.build(_read_archive(archive))
            except Exception as error:  # whatever a damaged archive makes its readers raise
                raise DataError(
                    f"{name}: {repository.url} is cut short, damaged or another archive "
                    f"({type(error).__name__}: {error})"
                ) from error
        for file, content in zip(files, contents, strict=True):
            if sha256(content) != file.built:
                raise DataError(
                    f"{name}: {file.path} as built from {repository.url} is not what it should be "
                    "(its checksum differs)"
                )
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        return [write(*pair) for pair in zip(targets, contents, strict=True)]


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


def pack(members: dict[str, bytes]) -> bytes:
    """A zip that is the same, byte for byte, on every machine: nothing compressed or dated."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            archive.writestr(info, members[name])
    return out.getvalue()


def write(target: Path, content: bytes) -> Path:
    """Write a file of the cache whole or not at all."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def sha256(content: bytes) -> str:
    """The checksum of a file's content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


# -- What is said ------------------------------------------------------------------------------


@contextmanager
def errors(name: str, place: Path, size: str) -> Iterator[None]:
    """Say what it means for the data set when the system refuses to read or write."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(
                f"the disk of {place} is full: {name} is a download of {size}; free "
                "some space, or set PRACTICAL_DL_DATA to a folder on another disk"
            ) from error
        raise DataError(f"{name}: {place} can't be used as a cache: {error}") from error


def damaged(path: Path, name: str, profile: str = "small") -> DataError:
    """The error where a file of the cache is not what it should be."""
    return DataError(
        f"{path} is damaged or another file (its checksum differs): delete it, then run "
        f"{command(name, profile)}"
    )


def absent(name: str, size: str, reasons: Sequence[str], profile: str = "small") -> DataError:
    """The error where a set is neither in the cache nor can be fetched, for these reasons."""
    return DataError(
        f"{name} ({size}) is not in the cache {folder()} and could not be fetched "
        f"({', '.join(reasons)}); on a machine with a network run: {command(name, profile)}"
    )


def command(name: str, profile: str = "small") -> str:
    """The command that fetches a data set."""
    option = "" if profile == "small" else f" --profile {profile}"
    return f"python -m practical_dl.data {name}{option}"
