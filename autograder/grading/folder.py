"""A folder of a student, as it lies on disk -> the bytes of the files that may be notebooks.

And of those that course.toml wants beside them, weights say, into which nothing here looks.

Only regular files are opened, never through a link, and everything has a limit. Hard links are read
as the ordinary files that they are: backups and deduplicated disks are full of them. What one could
smuggle in, the instructor's own notebook, is flagged by the graft.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autograder import files as files_
from autograder.course import SubmittedFile

MAXIMUM_BYTES = 20_000_000  # of a file
MAXIMUM_FOLDER = 60_000_000  # of all files that are read in a folder
MAXIMUM_ENTRIES = 1_000  # of a folder and its folders that are looked at
MAXIMUM_DEPTH = 3  # of folders in folders


def is_text(name: str) -> bool:
    """Whether the name of a student's folder can be written down.

    A database and a terminal take no other, and formgrader puts it into its pages as it is.
    """
    return name.isprintable() and len(name) <= 128 and not set(name) & set("<>&\"'`\\")


def printable(name: str) -> str:
    """A file's or a student's name as it may stand in a message: one line, nothing that hides."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name[:200])
    return text if len(text) <= 80 else f"{text[:79]}…"


@dataclass(frozen=True)
class File:
    """A file that may be a notebook. name: relative to the folder."""

    name: str
    content: bytes
    modified: int


@dataclass(frozen=True)
class Beside:
    """A file that was handed in beside the notebooks. digest: SHA-256 of its content.

    content: empty where only the digest was asked for.
    """

    name: str
    digest: str
    content: bytes


@dataclass
class Listing:
    """What lies in a folder. refused: name -> why it was not read. others: names of all else.

    beside: the submitted files that were found, by their names in course.toml.
    """

    files: list[File] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    beside: dict[str, Beside] = field(default_factory=dict)
    whole: str = ""  # why nothing in the folder was looked at
    entries: int = 0
    read: int = 0

    def fingerprint(self) -> str:
        """Fingerprint of all that was found; of times only the order matters."""
        parts = [
            self.whole,
            *(f.name for f in sorted(self.files, key=lambda f: (f.modified, f.name))),
            *(f"{name}: {why}" for name, why in sorted(self.refused.items())),
            *sorted(self.others),
            *self.notes,
            *(f"{name}: {b.name} {b.digest}" for name, b in sorted(self.beside.items())),
        ]
        contents = (file.content for file in sorted(self.files, key=lambda f: f.name))
        return files_.digest([*parts, *contents])


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def look(
    folder: Path,
    names: Iterable[str],
    files: Sequence[SubmittedFile] = (),
    *,
    contents: bool = False,
) -> Listing:
    """Read what may be a notebook in a folder. Neither it nor the folder that holds it is a link.

    names: of the week's notebooks. files: what is handed in beside them; of these only the digests
    are kept, or with contents all that they hold. Everything goes through descriptors of folders:
    nobody can put a link in a path meanwhile.
    """
    found = Listing()
    shown = printable("/".join(folder.parts[-2:]))
    try:
        parent = os.open(folder.parent, _FOLDER)
    except FileNotFoundError:
        return found
    except OSError as error:
        shown = printable(folder.parent.name)
        found.whole = f"the folder {shown} {_why(folder.parent, None, error)}"
        return found
    try:
        descriptor = os.open(folder.name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        return found
    except OSError as error:
        found.whole = f"the folder {shown} {_why(folder.name, parent, error)}"
        return found
    finally:
        os.close(parent)
    try:
        # The names that should be there come first: no crowd of files can hide them.
        first = [*(f"{name}.ipynb" for name in names), *(file.name for file in files)]
        with _Search(files) as search:
            for name in first:
                _enter(name, name, descriptor, found, search)
            _walk(descriptor, "", 0, set(first), found, search)
            search.read(found, contents)
    finally:
        os.close(descriptor)
    return found


def _why(path: Path | str, parent: int | None, error: OSError) -> str:
    """Why a folder can't be opened, for a sentence that begins with its name."""
    try:
        mode = os.stat(path, dir_fd=parent, follow_symlinks=False).st_mode
    except OSError:
        mode = stat.S_IFDIR
    if stat.S_ISDIR(mode):
        return f"can't be read: {error.strerror}"
    return f"{_refusal(mode)}: put a folder with the files themselves there"


def _refusal(mode: int) -> str:
    """What is wrong with an entry that is no regular file."""
    kinds = {
        stat.S_IFLNK: "is a symbolic link, and links are not followed",
        stat.S_IFDIR: "is a folder, not a file",
        stat.S_IFIFO: "is a named pipe, not a file",
        stat.S_IFSOCK: "is a socket, not a file",
        stat.S_IFCHR: "is a device, not a file",
        stat.S_IFBLK: "is a device, not a file",
        stat.S_IFREG: "is a file, not a folder",
    }
    return kinds.get(stat.S_IFMT(mode), "is no ordinary file")


def _walk(
    descriptor: int, prefix: str, depth: int, done: set[str], found: Listing, search: _Search
) -> None:
    """Look at a folder's entries, then into its folders. prefix: of the names, ends with "/"."""
    names: list[str] = []
    inner: list[str] = []
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if found.entries >= MAXIMUM_ENTRIES:
                    what = f"the folder holds over {MAXIMUM_ENTRIES} files; the rest was ignored"
                    found.notes += [] if what in found.notes else [what]
                    break
                found.entries += 1
                names.append(entry.name)
    except OSError as error:
        found.refused[prefix] = f"it can't be read: {error.strerror}"
    for name in sorted(names):
        if _is_ignored(name):
            continue
        if prefix + name in done or _enter(name, prefix + name, descriptor, found, search):
            inner.append(name)
    for name in inner:
        try:
            below = os.open(name, _FOLDER, dir_fd=descriptor)
        except PermissionError as error:
            found.refused[f"{prefix}{name}/"] = f"it can't be read: {error.strerror}"
            continue
        except OSError:
            continue  # no folder (any more)
        try:
            if depth < MAXIMUM_DEPTH:
                _walk(below, f"{prefix}{name}/", depth + 1, done, found, search)
            else:
                found.others.append(f"{prefix}{name}/")
        finally:
            os.close(below)


def _is_ignored(name: str) -> bool:
    """What systems and editors leave behind, and nbgrader's time of submission."""
    return name.startswith(".") or name in ("__MACOSX", "__pycache__", "timestamp.txt")


def _enter(name: str, full: str, descriptor: int, found: Listing, search: _Search) -> bool:
    """Read one entry if it may be a notebook, or is handed in beside one; whether it is a folder.

    full: its name relative to the student's folder.
    """
    try:
        mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
    except PermissionError as error:
        found.refused[full] = f"it can't be read: {error.strerror}"
        return False
    except OSError:
        return False  # gone, or never there
    wanted = search.offer(name, full, descriptor, mode, found)
    if stat.S_ISDIR(mode):
        if is_notebook(name):
            found.refused[full] = f"it {_refusal(mode)}"
        return True
    if wanted:
        return False
    if not stat.S_ISREG(mode):
        found.refused[full] = f"it {_refusal(mode)}: the file itself should be handed in"
    elif not _may_be_notebook(name):
        found.others.append(full)
    else:
        _read_file(name, full, descriptor, found)
    return False


def _read_file(name: str, full: str, descriptor: int, found: Listing) -> None:
    try:
        file = os.open(name, _FILE, dir_fd=descriptor)
    except OSError as error:
        found.refused[full] = f"it can't be read: {error.strerror}"
        return
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):  # it was another file a moment ago
            found.refused[full] = f"it {_refusal(about.st_mode)}"
            return
        size = about.st_size
        if size > MAXIMUM_BYTES and not is_notebook(name):
            found.others.append(full)
        elif size > MAXIMUM_BYTES:
            found.refused[full] = (
                f"the file has {size / 1e6:.0f} MB, and at most {MAXIMUM_BYTES / 1e6:.0f} MB are "
                "read: it should be handed in again without its outputs"
            )
        elif found.read + size > MAXIMUM_FOLDER:
            found.refused[full] = (
                f"the folder holds more than {MAXIMUM_FOLDER / 1e6:.0f} MB of notebooks; "
                "this one was not read"
            )
        else:
            with os.fdopen(os.dup(file), "rb") as stream:
                content = stream.read(size + 1)
            found.read += len(content)
            found.files.append(File(full, content, about.st_mtime_ns))
    except OSError as error:
        found.refused[full] = f"it can't be read: {error.strerror}"
    finally:
        os.close(file)


def is_notebook(name: str) -> bool:
    """Whether a file's name says that it is a notebook."""
    return ".ipynb" in name.rsplit("/", 1)[-1].casefold()


def _may_be_notebook(name: str) -> bool:
    """Whether a file is worth a look: a browser or an LMS may have changed its ending."""
    return is_notebook(name) or os.path.splitext(name)[1].casefold() in ("", ".json", ".txt")


# -- What is handed in beside the notebooks -----------------------------------------------------


@dataclass(frozen=True)
class _Candidate:
    """A file that may be a submitted one. rank: the smallest is taken.

    handle: a descriptor, -1 for a file that can't be used. why: the reason, for a sentence.
    """

    rank: tuple[int, int, int, str]
    full: str
    handle: int = -1
    why: str = ""


class _Search:
    """Looks for the submitted files of a week, and holds the best that it has found open."""

    def __init__(self, files: Sequence[SubmittedFile]) -> None:
        self._files = files
        self._best: dict[str, _Candidate] = {}  # that can be used
        self._unfit: dict[str, _Candidate] = {}

    def __enter__(self) -> _Search:
        return self

    def __exit__(self, *_: object) -> None:
        for candidate in self._best.values():
            os.close(candidate.handle)

    def offer(self, name: str, full: str, descriptor: int, mode: int, found: Listing) -> bool:
        """Whether an entry has the name of a submitted file, or one close to it."""
        likely = [(_likeness(name, f.name), -f.name.rfind("."), f) for f in self._files]
        likely = [each for each in likely if each[0] >= 0]
        if not likely:
            return False
        likeness, _, file = min(likely, key=lambda each: each[:2])
        handle, modified, why = _opened(name, descriptor, mode, file)
        rank = (likeness, full.count("/"), -modified, full)
        new = _Candidate(rank, full, handle, why)
        held = self._unfit if why else self._best
        old = held.get(file.name)
        if old is None or new.rank < old.rank:
            held[file.name], new = new, old
        if new is not None:
            if new.handle >= 0:
                os.close(new.handle)
            found.others.append(new.full)
        return True

    def read(self, found: Listing, contents: bool) -> None:
        """Put what was found into the listing: the file, or a sentence on why there is none."""
        for file in self._files:
            best, unfit = self._best.get(file.name), self._unfit.get(file.name)
            if unfit and (best is None or unfit.rank < best.rank):
                found.notes.append(f"{printable(unfit.full)} {unfit.why}: it was not used")
            elif unfit:
                found.others.append(unfit.full)
            if best is None:
                told = unfit or file.name in found.refused
                found.notes += [] if told else [f"{file.name} was not handed in"]
                continue
            shown = printable(best.full)
            try:
                digest, content = _streamed(best.handle, file.maximum, contents)
            except OSError as error:
                why = error.strerror or str(error)
                found.notes.append(f"{shown} can't be read ({why}): it was not used")
                continue
            found.beside[file.name] = Beside(best.full, digest, content)
            if best.full != file.name:
                found.notes.append(f"{shown} was taken as {file.name}, by its name")


def _likeness(name: str, wanted: str) -> int:
    """0 for the name itself, 1 in another case, 2 as a browser or an LMS changes it, -1 for others.

    For model.safetensors that may be "model (1).safetensors", model.safetensors.txt, model.bin.
    """
    if name == wanted:
        return 0
    plain, wanted = (unicodedata.normalize("NFC", n).casefold() for n in (name, wanted))
    if plain == wanted:
        return 1
    stem, ending = (re.escape(part) for part in os.path.splitext(wanted))
    copied = rf"(?:.*[\W_])?{stem}(?:[\W_].*)?(?:{ending}(?:\.(?:bin|dat|txt))?|\.bin)"
    return 2 if not is_notebook(plain) and re.fullmatch(copied, plain, re.DOTALL) else -1


def _opened(name: str, parent: int, mode: int, file: SubmittedFile) -> tuple[int, int, str]:
    """A descriptor of a file and its time; -1 and why, for one that can't be used."""
    if not stat.S_ISREG(mode):
        return -1, 0, _refusal(mode)
    try:
        handle = os.open(name, _FILE, dir_fd=parent)
    except OSError as error:
        return -1, 0, f"can't be read ({error.strerror})"
    about, why = os.fstat(handle), ""
    if not stat.S_ISREG(about.st_mode):  # it was another file a moment ago
        why = _refusal(about.st_mode)
    elif about.st_size == 0:
        why = "is empty"
    elif about.st_size > file.maximum:
        size = math.ceil(about.st_size / 1e5) / 10
        why = f"has {size:.10g} MB, and at most {file.megabytes:g} MB are accepted"
    if why:
        os.close(handle)
        return -1, about.st_mtime_ns, why
    return handle, about.st_mtime_ns, ""


def _streamed(handle: int, maximum: int, contents: bool) -> tuple[str, bytes]:
    """The digest of a file, and its content if that is asked for.

    Raises OSError, also where somebody writes to it meanwhile.
    """
    before = os.fstat(handle)
    digest, parts, left = hashlib.sha256(), [], min(before.st_size, maximum) + 1
    while left and (part := os.read(handle, min(left, 1 << 20))):
        digest.update(part)
        left -= len(part)
        if contents:
            parts.append(part)
    after = os.fstat(handle)
    if left != 1 or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OSError("it changed meanwhile")
    return digest.hexdigest(), b"".join(parts)
