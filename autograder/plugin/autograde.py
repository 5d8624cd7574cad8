"""`nbgrader autograde` and formgrader's button: nbgrader's class for them, with our grader in it.

Of nbgrader's remain the options, the way in which students are named, the exceptions and the log.
It copies a submission's files, through links too, and runs what is in them as the instructor; none
of that happens here.
"""

from __future__ import annotations

import fnmatch
import os
import sys
from pathlib import Path
from typing import Any

from nbconvert.exporters import NotebookExporter
from nbgrader.apps import api, autogradeapp
from nbgrader.converters import Autograde as NbGraderAutograde
from nbgrader.converters.base import NbGraderException
from traitlets import Integer

from autograder import course as course_
from autograder import settings
from autograder.course import Course, Week
from autograder.errors import CourseError
from autograder.execution.pool import LocalPool
from autograder.gradebook import Recorder
from autograder.grading import grade as grade_
from autograder.grading.arrival import received
from autograder.results import GRADED, TO_GRADE, SubmissionGrade


def install() -> None:
    """Put our class in the place of nbgrader's; see `plugin.install`."""
    autogradeapp.Autograde = api.Autograde = Autograde
    # By it formgrader knows whether a submission came in again since it was graded.
    api.NbGraderAPI.get_submitted_timestamp = _submitted_timestamp
    if "nbgrader.server_extensions.formgrader.base" in sys.modules:  # this is formgrader's server
        from nbgrader.server_extensions.formgrader.base import BaseHandler

        BaseHandler.on_finish = _forget_rows


def _forget_rows(self: Any) -> None:
    """End the database session of formgrader with the request (nbgrader's issue 1250).

    One session for as long as the server runs answers from rows that it read before others
    changed them; and what it believes to stand already is not written: a mark for an answer that
    came in again would leave it waiting for a mark.
    """
    if (gradebook := self.settings["nbgrader_gradebook"]) is not None:
        gradebook.db.remove()


def _submitted_timestamp(self: api.NbGraderAPI, assignment_id: str, student_id: str) -> Any:
    """When a submission came in, by the rule by which it is recorded."""
    folder = self.coursedir.format_path(
        self.coursedir.submitted_directory, student_id, assignment_id
    )
    return received(Path(folder), trust=settings.Grader(config=self.config).trust_timestamps)


class Autograde(NbGraderAutograde):
    """Grades the submissions that `nbgrader autograde` was asked for."""

    jobs = Integer(os.cpu_count() or 1, min=1, help="Notebooks at once.").tag(config=True)

    def start(self) -> None:
        """Grade. Raises NbGraderException where nobody can be graded."""
        try:
            self._start()
        except CourseError as error:
            for problem in error.problems:
                self.log.error("%s", problem)
            raise NbGraderException(str(error)) from error

    def _start(self) -> None:
        if not self.config.Execute.get("enabled", True):
            self._stop("--no-execute would believe what students say that their code does")
        course = course_.load(Path(self.coursedir.root))
        own = settings.from_config(course, self.config, db_url=self.coursedir.db_url)
        weeks = _matching([w.folder for w in course.weeks], self.coursedir.assignment_id)
        found = [
            (week, students)
            for week in course.weeks
            if week.folder in weeks and (students := self._students(course, week))
        ]
        if not found:
            place = f"submitted/{self.coursedir.student_id}/{self.coursedir.assignment_id}"
            self._stop(f"No notebooks were matched by '{place}/{self.coursedir.notebook_id}.ipynb'")
        for week, students in found:
            if not self.create_student:
                self._check_known(own.db_url, week, students)
            with LocalPool(self.jobs, sandbox=not own.unsafe) as backend:
                grades = grade_.grade(
                    course,
                    week,
                    students,
                    backend=backend,
                    settings=own,
                    again=self.force,
                    progress=grade_.Progress(tell=self.log.warning),
                )
            for one in grades:
                self._log(one)

    def _students(self, course: Course, week: Week) -> list[str]:
        """The students of a week whom the options mean."""
        try:
            found = grade_.submissions(course, week)
        except CourseError:
            return []
        excluded = self.coursedir.student_id_exclude.split(",")
        names = [s for s in _matching(found, self.coursedir.student_id) if s not in excluded]
        if self.coursedir.notebook_id == "*":
            return names
        notebooks = _matching([n.name for n in week.notebooks], self.coursedir.notebook_id)
        if notebooks:
            self.log.info("A submission is graded as a whole; what did not change is not run again")
        return names if notebooks else []

    def _check_known(self, db_url: str, week: Week, students: list[str]) -> None:
        with Recorder(db_url, week.folder) as recorder:
            for student in students:
                if not recorder.knows(student):
                    self._stop(f"No student with ID '{student}' exists in the database")

    def _log(self, one: SubmissionGrade) -> None:
        points = f"{one.score():g} points" + (f" + {b:g}" if (b := one.score(bonus=True)) else "")
        done = one.status in (GRADED, TO_GRADE)
        log = self.log.info if done else self.log.warning
        log("%s of %s: %s, %s", one.week, one.student, one.status, points)
        for notebook in one.notebooks:
            for reason in notebook.reasons:
                log("%s of %s: %s", one.week, one.student, reason)

    def _stop(self, message: str) -> None:
        self.log.error(message)
        raise NbGraderException(message)


def _matching(names: list[str], pattern: str) -> list[str]:
    """The names that a pattern means: the one that is the same, else all that it matches."""
    return [pattern] if pattern in names else fnmatch.filter(names, pattern)


class NotInstalled(NotebookExporter):
    """nbgrader_config.py names this for nbgrader's own class, should that ever be about to run."""

    def __init__(self, **kwargs: Any) -> None:
        raise NbGraderException(
            "nbgrader was imported after nbgrader_config.py had been read, and would run "
            "submissions without a sandbox: import nbgrader.apps first, or use `autograder grade`"
        )
