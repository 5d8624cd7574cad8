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
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "README.ru.md",
    "benchmarks",
    "docs",
    "environment.yml",
    "scripts",
    "tests",
)
# What no test reads but those in tests/weeks, and the one that follows docs/authoring.md.
NO_MACHINE = ("docs", "release", "source", "weeks")
# The folders of a week: these, and a language's below release/.
TREES = ("weeks", "source")


def weeks_changed(course: Course, paths: Iterable[str]) -> tuple[Week, ...]:
    """The weeks that a change of these files concerns. paths: relative to the course's root."""
    found: set[str] = set()
    for path in paths:
        found |= _concerned(course, PurePosixPath(path).parts)
    return tuple(week for week in course.weeks if week.folder in found)


def machine_changed(paths: Iterable[str]) -> bool:
    """Whether a change of these files concerns more than weeks and pages: then all tests run."""
    return any(PurePosixPath(path).parts[0] not in NO_MACHINE for path in paths)


def _concerned(course: Course, parts: tuple[str, ...]) -> set[str]:
    """The folders of the weeks that depend on a file, given by the parts of its path."""
    everyone = {week.folder for week in course.weeks}
    if parts[0] in HARMLESS:
        return set()
    if parts[0] == "practical_dl" and len(parts) == 3:
        room, name = parts[1], parts[2].removesuffix(".py")
        if room == "weeks" and name != "__init__":
            return {week.folder for week in course.weeks if name == f"week{week.number}"}
        # A file of these that is no data set or model is their core.
        known = {"data": lambda w: w.data, "models": lambda w: w.models}.get(room)
        users = {w.folder for w in course.weeks if known and name in known(w)}
        return users or everyone
    below = parts[1:] if parts[0] in TREES else parts[2:] if parts[0] == "release" else ()
    return {below[0]} if below and below[0] in everyone else everyone


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
