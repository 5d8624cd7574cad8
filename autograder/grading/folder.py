"""A folder of a student, as it lies on disk -> the bytes of the files that may be notebooks.

Only regular files are opened, never through a link, and everything has a limit. Hard links are read
as the ordinary files that they are: backups and deduplicated disks are full of them. What one could
smuggle in, the instructor's own notebook, is flagged by the graft.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

MAXIMUM_BYTES = 20_000_000  # of a file
MAXIMUM_FOLDER = 60_000_000  # of all files that are read in a folder
MAXIMUM_ENTRIES = 1_000  # of a folder and its folders that are looked at
MAXIMUM_DEPTH = 3  # of folders in folders


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


@dataclass
class Listing:
    """What lies in a folder. refused: name -> why it was not read. others: names of all else."""

    files: list[File] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    whole: str = ""  # why nothing in the folder was looked at
    entries: int = 0
    read: int = 0

    def key(self, *first: str) -> str:
        """SHA-256 of these texts and of all that was found; of times only the order matters."""
        parts = [
            *first,
            self.whole,
            *(f.name for f in sorted(self.files, key=lambda f: (f.modified, f.name))),
            *(f"{name}: {why}" for name, why in sorted(self.refused.items())),
            *sorted(self.others),
            *self.notes,
        ]
        digest = hashlib.sha256()
        for part in parts:
            data = part.encode("utf-8", "surrogateescape")
            digest.update(b"%d:%b" % (len(data), data))
        for file in sorted(self.files, key=lambda f: f.name):
            digest.update(b"%d:%b" % (len(file.content), file.content))
        return digest.hexdigest()


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def look(folder: Path, sources: Iterable[str]) -> Listing:
    """Read what may be a notebook in a folder. Neither it nor the folder that holds it is a link.

    Everything goes through descriptors of folders: nobody can put a link in a path meanwhile.
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
        first = [f"{name}.ipynb" for name in sources]
        for name in first:
            _enter(name, name, descriptor, found)
        _walk(descriptor, "", 0, set(first), found)
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


def _walk(descriptor: int, prefix: str, depth: int, done: set[str], found: Listing) -> None:
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
        if prefix + name in done or _enter(name, prefix + name, descriptor, found):
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
                _walk(below, f"{prefix}{name}/", depth + 1, done, found)
            else:
                found.others.append(f"{prefix}{name}/")
        finally:
            os.close(below)


def _is_ignored(name: str) -> bool:
    """What systems and editors leave behind, and nbgrader's time of submission."""
    return name.startswith(".") or name in ("__MACOSX", "__pycache__", "timestamp.txt")


def _enter(name: str, full: str, descriptor: int, found: Listing) -> bool:
    """Read one entry if it may be a notebook; whether it is a folder.

    full: its name relative to the student's folder.
    """
    try:
        mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
    except PermissionError as error:
        found.refused[full] = f"it can't be read: {error.strerror}"
        return False
    except OSError:
        return False  # gone, or never there
    if stat.S_ISDIR(mode):
        if is_notebook(name):
            found.refused[full] = f"it {_refusal(mode)}"
        return True
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
