"""Which weeks a change concerns: what CI has to prove and run again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from autograder.course import Course, Week

# What no notebook depends on. Everything else outside the weeks' own folders concerns all weeks:
# a file that nobody thought of is rather run for than forgotten.
HARMLESS = (
    ".ci",
    ".github",
    ".gitignore",
    "LICENSE",
    "Makefile",
    "README.md",
    "README.ru.md",
    "docs",
    "environment.yml",
    "scripts",
    "tests",
)
# The folders of a week: these, and a language's below release/.
TREES = ("weeks", "source")


def weeks_changed(course: Course, paths: Iterable[str]) -> tuple[Week, ...]:
    """The weeks that a change of these files concerns. paths: relative to the course's root."""
    folders = set()
    for path in paths:
        parts = PurePosixPath(path).parts
        if parts[0] in HARMLESS:
            continue
        below = parts[1:] if parts[0] in TREES else parts[2:] if parts[0] == "release" else ()
        if not below or all(week.folder != below[0] for week in course.weeks):
            return course.weeks
        folders.add(below[0])
    return tuple(week for week in course.weeks if week.folder in folders)


def paths_changed(root: Path, base: str) -> list[str] | None:
    """The files under root that differ between two commits, base and HEAD; None: not to be told.

    It can't be told where base is no commit of this clone: "", the zeros of a new branch, or what
    a forced push took away.
    """
    if not base or base.startswith("-"):
        return None
    line = ["git", "diff", "--name-only", "--no-renames", "--relative", "-z", base, "HEAD", "--"]
    done = subprocess.run(line, cwd=root, capture_output=True, text=True)
    return [path for path in done.stdout.split("\0") if path] if done.returncode == 0 else None
