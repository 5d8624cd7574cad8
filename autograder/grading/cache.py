"""What is kept between two runs of `autograder grade`, in the folder `.grading/` of the course.

RESULT.json holds the result of a job, named by everything that determines it. WEEK/STUDENT.json
holds what became of a submission, with its fingerprints. A file that is damaged counts
as none: what it held is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from autograder import files
from autograder.execution.execute import Result


class Cache:
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
        files.write(self._result(key, result.sandboxed), result.to_json().encode())

    def entry(self, week: str, student: str) -> dict[str, Any]:
        """What is kept about a submission; {} if nothing is."""
        try:
            entry = json.loads(self._entry(week, student).read_bytes())
        except (OSError, ValueError):
            return {}
        return entry if isinstance(entry, dict) else {}

    def put_entry(self, week: str, student: str, entry: dict[str, Any]) -> None:
        """Keep what is to be known about a submission."""
        files.write(self._entry(week, student), json.dumps(entry, sort_keys=True).encode())

    def sweep(self, week: str) -> None:
        """Remove what runs that were killed have left here."""
        files.sweep(self.folder)
        files.sweep(self.folder / week)

    def _result(self, key: str, sandboxed: bool) -> Path:
        return self.folder / f"{key}{'' if sandboxed else '-unsafe'}.json"

    def _entry(self, week: str, student: str) -> Path:
        # Hashed, since the name of a folder and `.json` may be too long for the name of a file.
        name = hashlib.sha256(os.fsencode(student)).hexdigest()[:32]
        return self.folder / week / f"{name}.json"
