"""What is looked at whatever its receipt says: another week or notebook at each commit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from autograder import course as course_
from autograder import demo

REPOSITORY = Path(__file__).parents[2]
EVERYTHING = "PRACTICAL_DL_TEST_ALL"  # this variable, set to 1: the classes of all weeks


def pick(names: Sequence[str]) -> str:
    """One of these by the commit; the first where there is no git."""
    line = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True)
        commit = int(done.stdout or "0", 16)
    except OSError:
        commit = 0
    return names[commit % len(names)]


def classes() -> list[str]:
    """The weeks whose classes are graded: those without a receipt that holds, and one more."""
    course = course_.load(REPOSITORY)
    folders = [week.folder for week in course.weeks]
    if os.environ.get(EVERYTHING) == "1":
        return folders
    stale = {week.folder for week in course.weeks if not demo.is_known(course, week)}
    return [folder for folder in folders if folder in stale | {pick(folders)}]
