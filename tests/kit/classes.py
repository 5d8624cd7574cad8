"""The demo class of a week of the course, graded once for all tests that look at it."""

from __future__ import annotations

import fcntl
import html
import os
import pickle
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from autograder import course as course_
from autograder import demo
from autograder.course import Course, Week
from autograder.execution.pool import LocalPool
from autograder.grading import grade as grade_
from autograder.pages import report
from autograder.results import SubmissionGrade

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Class:
    """A graded class: students and what they got by name. A test that changes files copies them."""

    course: Course
    week: Week
    students: dict[str, demo.Student]
    grades: dict[str, SubmissionGrade]

    def path(self, student: str, notebook: str) -> Path:
        """Where the feedback page of a notebook lies."""
        return self.course.root / "feedback" / student / self.week.folder / f"{notebook}.html"

    def page(self, student: str, notebook: str) -> str:
        """What a student reads of a notebook, without its tags."""
        return without_tags(self.path(student, notebook).read_text("utf-8"))

    def told(self, student: str) -> str:
        """All that is told of a submission: pages for the student, sentences for the teacher."""
        found = []
        for notebook in self.grades[student].notebooks:
            found += [*notebook.reasons, *notebook.notes]
            if self.path(student, notebook.name).is_file():
                found.append(self.page(student, notebook.name))
        return "\n".join(found)


def without_tags(page: str) -> str:
    """The text of an HTML page."""
    text = re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "", text))


def class_of(week: str, place: Path) -> Class:
    """The graded class of a week, in a folder that all processes of this run of tests share.

    The first one grades it, which takes minutes, and others wait.
    """
    folder = place / week
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "class.pickle"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_file():
            kept.write_bytes(pickle.dumps(_graded(week, folder / "course")))
    return pickle.loads(kept.read_bytes())


def _graded(week: str, root: Path) -> Class:
    shutil.rmtree(root, ignore_errors=True)  # of a try that failed
    root.mkdir()
    for name in (course_.FILE, "nbgrader_config.py", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, root / name)
    shutil.copytree(REPOSITORY / "weeks", root / "weeks")
    course = course_.load(root)
    (one,) = course.select([week])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        own, students = demo.set_up(course, one)
        if one.files:
            # Cells that train take their time while other tests run. With a limit that leaves it to
            # them, an endless one would take minutes: it is in the classes of the other weeks.
            with (own.root / "nbgrader_config.py").open("a", encoding="utf-8") as config:
                config.write("c.Grader.cell_seconds = 600\nc.Grader.notebook_seconds = 1200\n")
            students = [student for student in students if student.name != "endless"]
        with LocalPool(2) as backend:
            grades = grade_.grade(own, one, [s.name for s in students], backend=backend)
    report.write(own, one, grades)
    return Class(own, one, {s.name: s for s in students}, {g.student: g for g in grades})
