"""What is kept between two runs of `autograder grade`, in the folder `.grading/` of the course.

RESULT.json holds the result of a job, named by everything that determines it. WEEK/STUDENT.json
holds what became of a submission, and by what it can be known again. A file that is damaged counts
as none: what it held is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autograder.execution.execute import Result

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


class Kept:
    """The folder of a course."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def result(self, key: str, *, sandboxed: bool) -> Result | None:
        """The result of a job, if it is kept."""
        try:
            return Result.from_json(self._result(key, sandboxed).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def put_result(self, key: str, result: Result) -> None:
        """Keep the result of a job."""
        write(self._result(key, result.sandboxed), result.to_json().encode())

    def entry(self, week: str, student: str) -> dict[str, Any]:
        """What is kept about a submission; {} if nothing is."""
        try:
            entry = json.loads(self._entry(week, student).read_bytes())
        except (OSError, ValueError):
            return {}
        return entry if isinstance(entry, dict) else {}

    def put_entry(self, week: str, student: str, entry: dict[str, Any]) -> None:
        """Keep what is to be known about a submission."""
        write(self._entry(week, student), json.dumps(entry, sort_keys=True).encode())

    def sweep(self, week: str) -> None:
        """Remove what runs that were killed have left here."""
        sweep(self.folder)
        sweep(self.folder / week)

    def _result(self, key: str, sandboxed: bool) -> Path:
        return self.folder / f"{key}{'' if sandboxed else '-unsafe'}.json"

    def _entry(self, week: str, student: str) -> Path:
        # Hashed, since the name of a folder and `.json` may be too long for the name of a file.
        name = hashlib.sha256(os.fsencode(student)).hexdigest()[:32]
        return self.folder / week / f"{name}.json"


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


def sweep(folder: Path) -> None:
    """Remove what processes of this machine that are no more left half written in a folder."""
    for part in folder.glob(f".{_HOST}-*.part"):
        try:
            os.kill(int(part.stem.rpartition("-")[2]), 0)
        except (ProcessLookupError, ValueError, OverflowError):
            part.unlink(missing_ok=True)
        except PermissionError:
            pass  # it lives, as another user
