"""`autograder grade`: every submission of a week, in parallel, recorded through nbgrader.

The notebooks are run first, several at once, and their results kept; then nbgrader's own autograde
takes them from there one student after the other, so that its scores are these by construction.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from traitlets.config import Config

from autograder import notebook as nb_
from autograder.course import Course, Week, notebooks_of
from autograder.errors import CourseError, Problem, stop
from autograder.execution.execute import Job, Limits, job_key
from autograder.execution.sandbox import SandboxError
from autograder.grading import intake
from autograder.grading.graft import graft
from autograder.grading.preprocessors import ExecuteSubmission, helper_files
from autograder.grading.run import job_of, run

GRADED, FLAGGED, REFUSED, MISSING = "graded", "flagged", "refused", "missing"


@dataclass(frozen=True)
class TaskGrade:
    """A row of the gradebook. score: points got, None while a person has to grade it."""

    task: str
    score: float | None
    points: float
    bonus: bool
    status: str


@dataclass(frozen=True)
class NotebookGrade:
    """One notebook of a submission. status: graded, flagged, refused or missing."""

    name: str
    status: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    tasks: tuple[TaskGrade, ...]
    language: str
    seconds: float
    sandboxed: bool

    def score(self, *, bonus: bool = False) -> float:
        """The points got, without bonus or of bonus alone."""
        return sum(t.score or 0.0 for t in self.tasks if t.bonus == bonus)


@dataclass(frozen=True)
class SubmissionGrade:
    """All notebooks of a student's week."""

    student: str
    week: str
    notebooks: tuple[NotebookGrade, ...]

    @property
    def status(self) -> str:
        """The gravest status of its notebooks."""
        found = {n.status for n in self.notebooks}
        return next((s for s in (REFUSED, FLAGGED) if s in found), GRADED)

    def score(self, *, bonus: bool = False) -> float:
        """The points got in all notebooks."""
        return sum(n.score(bonus=bonus) for n in self.notebooks)


def load_config(course: Course, *, unsafe: bool = False) -> Config:
    """nbgrader's settings of the course, from its nbgrader_config.py."""
    from traitlets.config.loader import PyFileConfigLoader

    if not (course.root / "nbgrader_config.py").is_file():
        message = f"not found in {course.root}; nbgrader needs it to grade through our grader"
        raise stop("nbgrader_config.py", "", "config", message)
    config = PyFileConfigLoader("nbgrader_config.py", path=str(course.root)).load_config()
    config.CourseDirectory.root = str(course.root)
    config.ExecuteSubmission.unsafe = unsafe
    return config


def submissions(course: Course, week: Week, students: Sequence[str] = ()) -> list[str]:
    """The students who handed in this week. Raises CourseError for an unknown one."""
    folder = course.root / "submitted"
    found = sorted(p.parent.name for p in folder.glob(f"*/{week.folder}") if p.is_dir())
    problems = [
        Problem(
            f"submitted/{student}/{week.folder}", "", "no-submission", "there is no such folder"
        )
        for student in students
        if student not in found
    ]
    if problems:
        raise CourseError(problems)
    if not found:
        message = f"put submissions into submitted/STUDENT/{week.folder}/NAME.ipynb"
        raise stop("submitted", "", "no-submission", message)
    return [s for s in found if not students or s in students]


def grade(
    course: Course,
    week: Week,
    students: Sequence[str],
    *,
    jobs: int = 1,
    unsafe: bool = False,
    again: bool = False,
    on_run: Callable[[int], None] = lambda total: None,
    on_record: Callable[[], None] = lambda: None,
) -> list[SubmissionGrade]:
    """Run, record and give feedback for these students' submissions of a week.

    again: run also what did not change. on_run: told of each notebook that ran, with how many there
    are. on_record: told of each student who is recorded. Raises CourseError where nothing can be
    graded.
    """
    from nbgrader.apps import NbGraderAPI

    _check_built(course, week)
    config = load_config(course, unsafe=unsafe)
    settings = ExecuteSubmission(config=config)
    cache = course.root / settings.cache
    found = jobs_of(course, week, students, settings.limits)
    distinct = {job_key(job): job for job in found}.values()  # copies and untouched ones run once
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        running = [
            pool.submit(run, job, cache, sandbox=not unsafe, again=again) for job in distinct
        ]
        for future in as_completed(running):
            try:
                future.result()
            except SandboxError as error:
                pool.shutdown(cancel_futures=True)
                raise stop("sandbox", "", "sandbox", f"{error} Or pass --unsafe.") from error
            on_run(len(distinct))
    api = NbGraderAPI(config=config)
    failed: dict[str, str] = {}
    with warnings.catch_warnings():
        # SQLAlchemy's advice to nbgrader's gradebook; nobody here can follow it.
        warnings.filterwarnings("ignore", message="Object of type <Submitted")
        for student in students:
            done = api.autograde(week.folder, student, force=True, create=True)
            if done["success"]:
                done = api.generate_feedback(week.folder, student, force=True)
            if not done["success"]:
                failed[student] = _sentence(done)
            on_record()
    return read_grades(course, week, students, failed)


def jobs_of(course: Course, week: Week, students: Sequence[str], limits: Limits) -> list[Job]:
    """The jobs of these students' notebooks that are there."""
    files = helper_files(course.root / "source" / week.folder)
    sources = {n.name: nb_.read(_source(course, week, n.name)) for n in week.notebooks}
    found = []
    for student in students:
        for name, source in sources.items():
            path = course.root / "submitted" / student / week.folder / f"{name}.ipynb"
            if not path.is_file():
                continue
            try:
                notebook = intake.read(path.read_bytes())
            except intake.IntakeError:
                notebook = None
            found.append(job_of(graft(source, notebook).notebook, source, files, limits))
    return found


def read_grades(
    course: Course, week: Week, students: Sequence[str], failed: Mapping[str, str] | None = None
) -> list[SubmissionGrade]:
    """What the gradebook and the autograded notebooks say of these students' week.

    failed: why a student's submission could not be graded, for those to whom that happened.
    """
    from nbgrader.api import Gradebook

    failed = failed or {}
    sources = {n.name: nb_.read(_source(course, week, n.name)) for n in week.notebooks}
    grades = []
    with Gradebook(db_url(course)) as gradebook:
        for student in students:
            rows = _rows(gradebook, week, student)
            notebooks = tuple(
                _notebook_grade(
                    course, week, name, source, student, rows.get(name, {}), failed.get(student, "")
                )
                for name, source in sources.items()
            )
            grades.append(SubmissionGrade(student, week.folder, notebooks))
    return grades


def _rows(gradebook: Any, week: Week, student: str) -> dict[str, dict[str, float | None]]:
    """A student's scores by notebook and graded cell; None where a person has to grade."""
    from nbgrader.api import MissingEntry

    try:
        submission = gradebook.find_submission(week.folder, student)
    except MissingEntry:
        return {}
    return {
        notebook.name: {
            grade.name: None if grade.needs_manual_grade else grade.score
            for grade in notebook.grades
        }
        for notebook in submission.notebooks
    }


def _source(course: Course, week: Week, name: str) -> Path:
    return course.root / "source" / week.folder / f"{name}.ipynb"


def _notebook_grade(
    course: Course,
    week: Week,
    name: str,
    source: NotebookNode,
    student: str,
    rows: Mapping[str, float | None],
    failed: str,
) -> NotebookGrade:
    path = course.root / "autograded" / student / week.folder / f"{name}.ipynb"
    ours: dict[str, Any] = {}
    status: dict[str, str] = {}
    if path.is_file() and not failed:
        notebook = nb_.read(path)
        ours = nb_.ours(notebook)
        status = {nb_.grade_id(c): nb_.ours(c).get("status", "") for c in notebook.cells}
    tasks = tuple(
        TaskGrade(
            task=nb_.grade_id(cell).removeprefix(nb_.TEST_PREFIX),
            score=rows.get(nb_.grade_id(cell), 0.0),
            points=float(cell.metadata.nbgrader["points"]),
            bonus=bool(nb_.ours(cell).get("bonus")),
            status=status.get(nb_.grade_id(cell), "") or "missing",
        )
        for cell in source.cells
        if nb_.is_graded(cell)
    )
    if failed:
        verdict, reasons = REFUSED, (failed,)
    elif not path.is_file():
        verdict, reasons = MISSING, (f"{name}.ipynb was not handed in",)
    elif ours.get("refused"):
        verdict, reasons = REFUSED, (f"{name}.ipynb: {ours['refused']}",)
    else:
        reasons = tuple(f"{name}: {flag}" for flag in ours.get("flags", []))
        verdict = FLAGGED if reasons else GRADED
    return NotebookGrade(
        name=name,
        status=verdict,
        reasons=reasons,
        notes=tuple(f"{name}: {note}" for note in ours.get("notes", [])),
        tasks=tasks,
        language=ours.get("language", ""),
        seconds=float(ours.get("seconds", 0.0)),
        sandboxed=bool(ours.get("sandboxed", True)),
    )


def db_url(course: Course) -> str:
    """Where the gradebook is: nbgrader's default, or what nbgrader_config.py sets."""
    config = load_config(course)
    return config.CourseDirectory.get("db_url") or f"sqlite:///{course.root / 'gradebook.db'}"


def _check_built(course: Course, week: Week) -> None:
    """The source notebooks are there, and the gradebook knows them."""
    from nbgrader.api import Gradebook, MissingEntry

    notebooks_of(course, [week], "source")
    with Gradebook(db_url(course)) as gradebook:
        try:
            gradebook.find_assignment(week.folder)
        except MissingEntry:
            message = f"{week.folder} is not in it; run: autograder build {week.folder}"
            raise stop("gradebook", "", "gradebook", message) from None


def _sentence(done: Mapping[str, Any]) -> str:
    """The last telling line of what nbgrader said."""
    text = f"{done.get('log') or ''}\n{done.get('error') or ''}"
    lines = [line for line in text.splitlines() if re.search(r"Error|ERROR|error", line)]
    return (lines or ["nbgrader could not grade this submission"])[-1].strip()[:300]
