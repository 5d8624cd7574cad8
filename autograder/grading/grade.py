"""`autograder grade`: every submission of a week, run in parallel, recorded one by one.

Only what is on its way is in memory. A submission of which nothing changed is looked at and left;
for the way of all others see `submission.py`. What is done is kept (`cache.py`), last of all the
entry of a submission, so that a run that was ended in the middle goes on where it was.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autograder import notebook as nb_
from autograder import settings as settings_
from autograder.course import Course, Week, notebooks_of
from autograder.errors import CourseError, Problem, stop
from autograder.execution.backend import Backend, BackendError, Failed
from autograder.execution.cluster import NO_FILES, Cluster, Tls
from autograder.execution.execute import Job, Result
from autograder.execution.kernel import BEST_START
from autograder.execution.pool import LocalPool
from autograder.execution.sandbox import SandboxError
from autograder.fingerprints import CORE, Library
from autograder.gradebook import Recorder
from autograder.grading import entry as entry_
from autograder.grading.cache import Cache
from autograder.grading.entry import Seen
from autograder.grading.folder import is_text
from autograder.grading.week import Assignment
from autograder.pages.maker import PageError, Pages
from autograder.results import FLAGGED, REFUSED, SubmissionGrade
from autograder.settings import Settings

if TYPE_CHECKING:
    from autograder.grading.submission import Way


@dataclass(frozen=True)
class Progress:
    """Who is told what happens meanwhile.

    on_run: of each notebook that is through, with how many there are; on_record: of each student;
    tell: given a sentence when something has to wait, or runs otherwise than it should.
    """

    on_run: Callable[[int], None] = lambda total: None
    on_record: Callable[[], None] = lambda: None
    tell: Callable[[str], None] = lambda sentence: None


def submissions(course: Course, week: Week, students: Sequence[str] = ()) -> list[str]:
    """The students who handed in this week. Raises CourseError for an unknown one."""
    folder = course.root / "submitted"
    names = os.listdir(folder) if folder.is_dir() else []
    # Also what is no folder: that it can't be graded is told of the student.
    found = sorted(n for n in names if os.path.lexists(folder / n / week.folder))
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


@contextlib.contextmanager
def backend_of(
    settings: Settings,
    *,
    jobs: int,
    scheduler: str = "",
    tls: Tls = NO_FILES,
    library: Library = CORE,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Iterator[Backend]:
    """Where notebooks run: this machine, or a cluster (see `Cluster`). Raises CourseError."""
    if scheduler and settings.unsafe:
        message = "the workers of a cluster run nothing without a sandbox; leave out one of them"
        raise stop("--scheduler", "", "unsafe", f"{message}, --scheduler or --unsafe")
    pool = (
        Cluster(scheduler, tls=tls, library=library, tell=tell)
        if scheduler
        else LocalPool(jobs, sandbox=not settings.unsafe)
    )
    try:
        backend = pool.__enter__()
    except BackendError as error:
        raise stop("--scheduler", "", "backend", str(error)) from error
    try:
        yield backend
    finally:
        pool.__exit__(None, None, None)


def exit_code(grades: Iterable[SubmissionGrade]) -> int:
    """3 where a person has to look at a submission, else 0."""
    return 3 if any(g.status in (FLAGGED, REFUSED) for g in grades) else 0


def grade(
    course: Course,
    week: Week,
    students: Sequence[str],
    *,
    backend: Backend,
    settings: Settings | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> list[SubmissionGrade]:
    """Run, record and give feedback for these students' submissions of a week.

    backend: where notebooks run; it is not used where nothing changed. settings: by default the
    course's. again: run also what did not change. Raises CourseError where nothing (more) can be
    graded.
    """
    settings, progress = settings or settings_.load(course), progress or Progress()
    notebooks_of(course, [week], "source")
    assignment, cache = Assignment(course, week, settings), Cache(settings.cache)
    with (
        Recorder(settings.db_url, week.folder, settings.config, tell=progress.tell) as recorder,
        Pages() as pages,
    ):
        run = _Grading(assignment, cache, recorder, pages, progress, again=again)
        try:
            grades = run.through(students, backend)
        except OSError as error:  # of a submission it would be its status
            message = (
                f"{error.strerror or error}. What has been run is kept: make room or mend it, then "
                "run the same command again to go on"
            )
            raise stop(str(error.filename or course.root), "", "write", message) from error
        except SandboxError as error:
            raise stop("sandbox", "", "sandbox", f"{error} Or pass --unsafe.") from error
        except BackendError as error:
            raise stop("backend", "", "backend", str(error)) from error
    return [grades[s] for s in students]


def read_grades(
    course: Course, week: Week, students: Sequence[str], settings: Settings | None = None
) -> list[SubmissionGrade]:
    """What is known of those of these students who were graded, with the gradebook's scores."""
    settings = settings or settings_.load(course)
    cache = Cache(settings.cache)
    with Recorder(settings.db_url, week.folder) as recorder:
        standings = recorder.read([s for s in students if is_text(s)])
    entries = {student: cache.entry(week.folder, student) for student in students}
    return [
        entry_.grade_of(student, week, entry, standings.get(student))
        for student, entry in entries.items()
        if entry.get("format") == entry_.FORMAT
    ]


def whole_class(
    course: Course, week: Week, grades: Sequence[SubmissionGrade], settings: Settings
) -> list[SubmissionGrade]:
    """These grades, and those of the students who were graded at another time."""
    found = {grade.student: grade for grade in grades}
    others = [s for s in submissions(course, week) if s not in found]
    if others:
        found |= {g.student: g for g in read_grades(course, week, others, settings)}
    return [found[student] for student in sorted(found)]


class _Grading:
    """One `grade` of a week."""

    def __init__(
        self,
        assignment: Assignment,
        cache: Cache,
        recorder: Recorder,
        pages: Pages,
        progress: Progress,
        *,
        again: bool,
    ) -> None:
        self._assignment, self._cache, self._recorder = assignment, cache, recorder
        self._pages, self._progress, self._again = pages, progress, again
        self._starts = {BEST_START}
        self._flying: dict[str, Way | None] = {}  # by the key of a job that runs
        self._fresh: set[str] = set()  # keys of jobs that ran in this run
        self._ready = False
        self._grades: dict[str, SubmissionGrade] = {}

    def through(self, students: Sequence[str], backend: Backend) -> dict[str, SubmissionGrade]:
        """Grade submissions; the backend is not used where nothing changed."""
        self._backend = backend
        self._standings = self._recorder.read([s for s in students if is_text(s)])
        self._total = len(students) * len(self._assignment.week.notebooks)
        while students:
            # Where two hand in the same, one of them waits until it has run for the other.
            postponed: list[str] = []
            jobs = self._jobs(students, postponed)
            first = next(jobs, None)
            if first is not None:
                for key, result in backend.run(_chain(first, jobs)):
                    self._take(key, result)
            students = postponed
        return self._grades

    def _jobs(self, students: Sequence[str], postponed: list[str]) -> Iterator[tuple[str, Job]]:
        """The jobs to run, made one submission after the other, as they are asked for."""
        for student in students:
            found, seen = self._unchanged(student)
            if found is not None:
                for _ in found.notebooks:
                    self._progress.on_run(self._total)
                self._done(found)
                continue
            way, jobs = self._begin(student, seen)
            new = sorted(way.waiting - self._flying.keys())
            if len(new) < len(way.waiting):
                postponed.append(student)
                self._flying.update(dict.fromkeys(new))
            else:
                self._flying.update(dict.fromkeys(new, way))
                for part in way.parts.values():
                    if part.key not in way.waiting:
                        self._progress.on_run(self._total)
                self._go_on(way)
            for key in new:
                yield key, jobs[key]

    # -- A submission of which nothing changed ------------------------------------------------

    def _unchanged(self, student: str) -> tuple[SubmissionGrade | None, Seen | None]:
        """The grade of a submission that need not be graded again, None for one that must.

        And its folder, where it was looked at with all that it holds.
        """
        assignment, standing = self._assignment, self._standings.get(student)
        entry = self._cache.entry(assignment.week.folder, student)
        if self._again or standing is None or not entry_.holds(entry, assignment, standing):
            return None, None
        try:
            # Submitted files can be large: their contents are read when they are needed.
            seen = entry_.look(assignment, student, contents=False)
        except Exception:
            return None, None  # it is looked at again, and told of
        if entry["submitted"] != seen.fingerprint:
            return None, None if assignment.week.files else seen
        # A person may have given points or a comment since: then the page says so, too.
        shown = {n: entry_.shown(standing, self._assignment.week, n) for n in entry["shown"]}
        for name in [n for n, was in entry["shown"].items() if was != shown[n]]:
            from autograder.grading import submission

            submission.feedback_again(assignment, student, entry, name, standing, self._pages)
            self._cache.put_entry(assignment.week.folder, student, entry)
        return entry_.grade_of(student, assignment.week, entry, standing), None

    # -- The way of all others ----------------------------------------------------------------

    def _begin(self, student: str, seen: Seen | None) -> tuple[Way, dict[str, Job]]:
        """Read a submission, and what is known of its jobs."""
        from autograder.grading import submission  # slow, and not needed where nothing changed

        if not self._ready:
            self._cache.sweep(self._assignment.week.folder)
            self._check_cells()
            _ = self._assignment.exams  # that they are not made yet is told before anything runs
            self._check_references()
            self._ready = True
        way, jobs = submission.begin(self._assignment, student, seen)
        for part in way.parts.values():
            part.result = self._known(part.key) if part.key else None
        way.waiting = {p.key for p in way.parts.values() if p.key and p.result is None}
        return way, jobs

    def _check_cells(self) -> None:
        """See that the gradebook knows the cells that are graded. Raises CourseError."""
        known = self._recorder.cells()
        for name, source in self._assignment.sources.items():
            graded = {nb_.grade_id(c) for c in source.cells if nb_.is_graded(c)}
            if graded != known.get(name, set()):
                message = (
                    f"it knows other graded cells of {name} than source/ has; "
                    f"run: autograder build {self._assignment.week.folder}"
                )
                raise stop("gradebook", "", "gradebook", message)

    def _check_references(self) -> None:
        """See that the instructor's own solutions get all points here. Raises CourseError."""
        from autograder.grading import reference

        found = reference.references(self._assignment)
        # One student graded again, as by formgrader's button, does not run the whole week again.
        known = self._known if self._total > len(self._assignment.sources) else self._kept
        results = {key: result for key in found if (result := known(key))}
        jobs = {key: one.job for key, one in found.items() if key not in results}
        new = dict(self._backend.run(iter(jobs.items()))) if jobs else {}
        if problems := reference.problems(self._assignment, found, {**results, **new}):
            raise CourseError(problems)
        try:
            for one in found.values():
                self._pages.sanitised(one.notebook)
        except PageError as error:
            message = f"no page can be made on this machine: {error}. Nobody was graded"
            raise stop("pages", "", "pages", message) from error
        for key, result in new.items():
            self._cache.put_result(key, result)
            self._fresh.add(key)

    def _known(self, key: str) -> Result | None:
        return None if self._again and key not in self._fresh else self._kept(key)

    def _kept(self, key: str) -> Result | None:
        return self._cache.result(key, sandboxed=not self._assignment.settings.unsafe)

    def _take(self, key: str, result: Result | Failed) -> None:
        """A job has ended."""
        if isinstance(result, Result):
            self._cache.put_result(key, result)
            self._fresh.add(key)
            if result.kernel not in self._starts:  # once for all notebooks
                self._starts.add(result.kernel)
                self._progress.tell(f"Kernels here are {result.kernel}.")
        way = self._flying.pop(key)
        if way is None:  # it ran for a submission that was postponed
            return
        for part in way.parts.values():
            if part.key == key:
                part.take(result)
                self._progress.on_run(self._total)
        way.waiting.discard(key)
        self._go_on(way)

    def _go_on(self, way: Way) -> None:
        """Where all of a submission has run: score and record it."""
        from autograder.grading import submission

        if not way.waiting:
            found = submission.finish(
                self._assignment, way, self._cache, self._recorder, self._pages
            )
            self._done(found)

    def _done(self, found: SubmissionGrade) -> None:
        self._grades[found.student] = found
        self._progress.on_record()


def _chain(first: tuple[str, Job], others: Iterator[tuple[str, Job]]) -> Iterator[tuple[str, Job]]:
    yield first
    yield from others
