"""Files that are replaced whole, and digests: what all of the house writes and knows again by."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterable
from pathlib import Path

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def digest(parts: Iterable[str | bytes]) -> str:
    """The SHA-256 of some texts, in hexadecimal; where one ends counts."""
    found = hashlib.sha256()
    for part in parts:
        part = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


def write(path: Path, content: bytes) -> None:
    """Replace a file at once: whoever reads it, or kills us, finds the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{_HOST}-{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def holds(path: Path, content: bytes) -> bool:
    """Whether a file is there with just this content."""
    return path.is_file() and path.read_bytes() == content


def update(path: Path, content: bytes) -> None:
    """Write a file unless it holds just this content: its time then tells when it changed."""
    if not holds(path, content):
        write(path, content)


def sweep(folder: Path) -> None:
    """Remove what processes of this machine that are no more left half written in a folder."""
    for part in folder.glob(f".{_HOST}-*.part"):
        try:
            os.kill(int(part.stem.rpartition("-")[2]), 0)
        except (ProcessLookupError, ValueError, OverflowError):
            part.unlink(missing_ok=True)
        except PermissionError:
            pass  # it lives, as another user
