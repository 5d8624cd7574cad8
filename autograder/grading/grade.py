"""`autograder grade`: every submission of a week, run in parallel, recorded one by one.

A submission goes its own way: collect -> graft -> jobs -> results -> notebook -> gradebook ->
feedback page. Only what is on its way is in memory. Whatever goes wrong with one becomes its
status and a sentence; the others go on.

What is done is kept (`cache.py`), last of all the entry of a submission: a run that was ended in
the middle goes on where it was, and a submission of which nothing changed is not looked at again.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder import exams, fingerprints
from autograder import files as files_
from autograder import notebook as nb_
from autograder import settings as settings_
from autograder.course import Course, Week, notebooks_of
from autograder.errors import CourseError, Problem, stop
from autograder.execution import sandbox
from autograder.execution.backend import Backend, BackendError, Failed
from autograder.execution.cluster import NO_FILES, Cluster, Tls
from autograder.execution.execute import Job, Result, job_key
from autograder.execution.kernel import BEST_START
from autograder.execution.pool import LocalPool
from autograder.execution.sandbox import SandboxError
from autograder.fingerprints import CORE, Library
from autograder.gradebook import (
    Marks,
    Recorder,
    Row,
    Standing,
    Submission,
    marks_of,
)
from autograder.grading import arrival, cache
from autograder.grading import folder as folder_
from autograder.results import (
    FLAGGED,
    GRADED,
    MISSING,
    REFUSED,
    TO_GRADE,
    NotebookGrade,
    SubmissionGrade,
    TaskGrade,
)
from autograder.settings import Settings

if TYPE_CHECKING:  # slow to import, and not needed where nothing changed
    from nbformat import NotebookNode

    from autograder.grading.graft import Grafted

FORMAT = 1  # of an entry; part of its key


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
    on_run: Callable[[int], None] = lambda total: None,
    on_record: Callable[[], None] = lambda: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> list[SubmissionGrade]:
    """Run, record and give feedback for these students' submissions of a week.

    backend: where notebooks run; it is not used where nothing changed. settings: by default the
    course's. again: run also what did not change. on_run: told of each notebook that is through,
    with how many there are; on_record: of each student; tell: given a sentence when something has
    to wait, or runs otherwise than it should. Raises CourseError where nothing (more) can be
    graded.
    """
    settings = settings or settings_.load(course)
    notebooks_of(course, [week], "source")
    kept = cache.Cache(settings.cache)
    grades: dict[str, SubmissionGrade] = {}
    with Recorder(settings.db_url, week.folder, settings.config, tell=tell) as recorder:
        run = _Run(course, week, settings, kept, recorder, again=again, tell=tell)
        stale = []
        standings = recorder.read([s for s in students if _is_text(s)])
        for student in students:
            found = None if again else run.unchanged(student, standings.pop(student, None))
            if found is None:
                stale.append(student)
            else:
                grades[student] = found
                on_record()
        if not stale:
            return [grades[s] for s in students]

        def done(found: SubmissionGrade) -> None:
            grades[found.student] = found
            on_record()

        total = len(stale) * len(week.notebooks)
        try:
            kept.sweep(week.folder)
            run.check_cells()
            _ = run.exams  # that they are not made yet is told before anything runs
            run.through(stale, backend, functools.partial(on_run, total), done)
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
    kept = cache.Cache(settings.cache)
    with Recorder(settings.db_url, week.folder) as recorder:
        standings = recorder.read([s for s in students if _is_text(s)])
    entries = {student: kept.entry(week.folder, student) for student in students}
    return [
        _grade(student, week, entry, standings.get(student))
        for student, entry in entries.items()
        if entry.get("format") == FORMAT
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


def library_of(week: Week) -> Library:
    """What the week's notebooks may use of `practical_dl`."""
    number, data, models = (getattr(week, name, "") for name in ("number", "data", "models"))
    return Library(number, tuple(data), tuple(models))


# -- What is kept of a submission -------------------------------------------------------------


def _grade(
    student: str, week: Week, entry: Mapping[str, Any], standing: Standing | None
) -> SubmissionGrade:
    """An entry, with the scores that the gradebook holds now."""
    notebooks = []
    for one in entry["notebooks"]:
        rows = standing.rows.get(one["name"], {}) if standing else {}
        penalty = standing.penalties.get(one["name"], 0.0) if standing else 0.0
        late = [f"{one['name']}: late, {penalty:g} points are taken off"] if penalty else []
        tasks = tuple(_task(task, rows.get(task["cell"])) for task in one["tasks"])
        grade = NotebookGrade(
            name=one["name"],
            status=one["status"],
            reasons=tuple(one["reasons"]),
            notes=(*one["notes"], *late),
            tasks=tasks,
            language=one["language"],
            seconds=one["seconds"],
            sandboxed=one["sandboxed"],
            penalty=penalty,
        )
        notebooks.append(grade)
    return SubmissionGrade(student, week.folder, tuple(notebooks))


def _task(task: Mapping[str, Any], row: Row | None) -> TaskGrade:
    """A task of an entry, with what the gradebook says of it now."""
    waits = row is not None and row.needs_manual
    status = GRADED if task["status"] == TO_GRADE and not waits else task["status"]
    score = row.score if row else 0.0
    return TaskGrade(task["task"], score, task["points"], task["bonus"], status, waits)


def _is_text(name: str) -> bool:
    """Whether a folder's name can be written down.

    A database and a terminal take no other, and formgrader puts it into its pages as it is.
    """
    return name.isprintable() and len(name) <= 128 and not set(name) & set("<>&\"'`\\")


def _iso(time: datetime | None) -> str:
    return time.isoformat() if time else ""


def _shown(standing: Standing, notebook: str) -> str:
    """By what is known whether a feedback page still says what the gradebook does."""
    rows, comments = standing.rows.get(notebook, {}), standing.comments.get(notebook, {})
    values = [*sorted(rows.items()), *sorted(comments.items()), standing.penalties.get(notebook)]
    return files_.digest(map(repr, values))


# -- On the way -------------------------------------------------------------------------------


@dataclass
class _Part:
    """A notebook of a submission on its way. reasons: why it is flagged or refused. files: what
    there is to tell of the files that were handed in beside it.

    sure: False where the trouble was not the submission's, and may be gone next time.
    """

    name: str
    status: str = GRADED
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    grafted: Grafted | None = None
    key: str = ""
    result: Result | None = None
    notebook: NotebookNode | None = None
    marks: Marks | None = None
    sure: bool = True

    def refuse(self, why: str, *, sure: bool = True) -> None:
        self.status, self.reasons, self.sure = REFUSED, [why], sure
        self.grafted = self.result = self.notebook = self.marks = None
        self.key = ""


@dataclass
class _Open:
    """A submission on its way. waiting: keys of the jobs that still run."""

    student: str
    submitted: str
    received: datetime | None
    parts: dict[str, _Part]
    waiting: set[str] = field(default_factory=set)


class _Run:
    """One `grade` of a week."""

    def __init__(
        self,
        course: Course,
        week: Week,
        settings: Settings,
        kept: cache.Cache,
        recorder: Recorder,
        *,
        again: bool,
        tell: Callable[[str], None],
    ) -> None:
        self._course, self._week, self._settings = course, week, settings
        self._kept, self._recorder, self._again, self._tell = kept, recorder, again, tell
        self._starts = {BEST_START}
        self._flying: dict[str, _Open | None] = {}  # by the key of a job that runs
        self._fresh: set[str] = set()  # keys of jobs that ran in this run
        self._source = course.root / "source" / week.folder

    # -- The week -----------------------------------------------------------------------------

    @functools.cached_property
    def _key(self) -> str:
        """All that an outcome depends on, besides the submission."""
        settings, folder = self._settings, self._week.folder
        ours = [*fingerprints.grader(), *fingerprints.library(library_of(self._week))]
        private = exams.place(self._course, self._week, settings.exam_profile)
        return files_.digest(
            [
                sandbox.versions(),
                fingerprints.of(ours),
                fingerprints.of(
                    fingerprints.sources(folder, root=self._source.parent), self._source
                ),
                fingerprints.of(sorted(private.glob("*.npz")), private),
                repr(settings.limits),
                settings.exam_profile,
                repr((settings.unsafe, settings.trust_timestamps)),
                repr([(n.name, n.files) for n in self._week.notebooks]),
            ]
        )

    @functools.cached_property
    def _sources(self) -> dict[str, NotebookNode]:
        return {n.name: nb_.read(self._source / f"{n.name}.ipynb") for n in self._week.notebooks}

    @functools.cached_property
    def _files(self) -> dict[str, bytes]:
        """The files beside a week's notebooks that their code may open."""
        return {
            str(path.relative_to(self._source)): path.read_bytes()
            for path in sorted(self._source.rglob("*"))
            if path.is_file()
            and path.suffix not in (".ipynb", ".md")
            and path != self._source / exams.FILE
            and "__pycache__" not in path.parts
        }

    @functools.cached_property
    def exams(self) -> dict[str, dict[str, exams.Private]]:
        """The private part of each exam, by notebook and task. Raises CourseError."""
        course, week, profile = self._course, self._week, self._settings.exam_profile
        tasks = {name: list(nb_.exams(source)) for name, source in self._sources.items()}
        loaded = exams.load(course, week, [t for ts in tasks.values() for t in ts], profile)
        return {name: {t: loaded[t] for t in found} for name, found in tasks.items()}

    @functools.cached_property
    def _handed_out(self) -> list[str]:
        readmes = [p.name for p in self._source.glob("*.md")]
        return [*readmes, *self._files]

    def check_cells(self) -> None:
        """See that the gradebook knows the cells that are graded. Raises CourseError."""
        known = self._recorder.cells()
        for name, source in self._sources.items():
            graded = {nb_.grade_id(c) for c in source.cells if nb_.is_graded(c)}
            if graded != known.get(name, set()):
                message = (
                    f"it knows other graded cells of {name} than source/ has; "
                    f"run: autograder build {self._week.folder}"
                )
                raise stop("gradebook", "", "gradebook", message)

    # -- A submission of which nothing changed ------------------------------------------------

    def unchanged(self, student: str, standing: Standing | None) -> SubmissionGrade | None:
        """The grade of a submission that need not be graded again; None for one that must."""
        entry = self._kept.entry(self._week.folder, student)
        folder = self._course.root / "submitted" / student / self._week.folder
        if (
            standing is None
            or not entry.get("key")
            or entry["key"] != self._key
            or entry["submitted"] != self._submitted(folder)
            or entry["received"] != _iso(standing.received)
            or entry["due"] != _iso(standing.due)
            or entry["marks"] != standing.auto_scores
            or not all(_size(self._course.root / f) == n for f, n in entry["files"].items())
        ):
            return None
        # A person may have given points or a comment since: then the page says so, too.
        for one in entry["notebooks"]:
            name = one["name"]
            if name in entry["shown"] and entry["shown"][name] != _shown(standing, name):
                self._page_again(student, entry, name, standing)
        return _grade(student, self._week, entry, standing)

    def _submitted(self, folder: Path) -> str:
        """By what a submission is known again: what was read of it, and when it came."""
        names = [entry.name for entry in self._week.notebooks]
        found = folder_.look(folder, names, self._week.files)
        return files_.digest([found.key(), str(arrival.look(folder))])

    def _page_again(
        self, student: str, entry: dict[str, Any], name: str, standing: Standing
    ) -> None:
        notebook = nb_.read(self._path("autograded", student, f"{name}.ipynb"))
        page = self._page(notebook, name, standing)
        path = self._path("feedback", student, f"{name}.html")
        files_.write(path, page)
        entry["files"][str(path.relative_to(self._course.root))] = len(page)
        entry["shown"][name] = _shown(standing, name)
        self._kept.put_entry(self._week.folder, student, entry)

    def _path(self, tree: str, student: str, name: str) -> Path:
        return self._course.root / tree / student / self._week.folder / name

    # -- The way of all others ----------------------------------------------------------------

    def through(
        self,
        students: Sequence[str],
        backend: Backend,
        on_run: Callable[[], None],
        done: Callable[[SubmissionGrade], None],
    ) -> None:
        """Grade these submissions; each is `done` as it ends."""
        self._on_run, self._done = on_run, done
        while students:
            # Where two hand in the same, one of them waits until it has run for the other.
            postponed: list[str] = []
            jobs = self._jobs(students, postponed)
            first = next(jobs, None)
            if first is not None:
                for key, result in backend.run(_chain(first, jobs)):
                    self._take(key, result)
            students = postponed

    def _jobs(self, students: Sequence[str], postponed: list[str]) -> Iterator[tuple[str, Job]]:
        """The jobs to run, made one submission after the other, as they are asked for."""
        for student in students:
            one, jobs = self._open(student)
            for part in one.parts.values():
                part.result = self._known(part.key) if part.key else None
            one.waiting = {p.key for p in one.parts.values() if p.key and p.result is None}
            new = sorted(one.waiting - self._flying.keys())
            if len(new) < len(one.waiting):
                postponed.append(student)
                self._flying.update(dict.fromkeys(new))
            else:
                self._flying.update(dict.fromkeys(new, one))
                for part in one.parts.values():
                    if part.key not in one.waiting:
                        self._on_run()
                if not one.waiting:
                    self._finish(one)
            for key in new:
                yield key, jobs[key]

    def _open(self, student: str) -> tuple[_Open, dict[str, Job]]:
        """Read a submission and graft its notebooks."""
        from autograder.grading import intake
        from autograder.grading.graft import graft
        from autograder.grading.job import job_of

        folder = self._course.root / "submitted" / student / self._week.folder
        parts = {name: _Part(name) for name in self._sources}
        one = _Open(student, "", None, parts)
        jobs: dict[str, Job] = {}
        if not _is_text(student):
            why = "rename the student's folder: plain text without <>&\"'`\\, and not long"
            for part in parts.values():
                part.refuse(why)
            return one, jobs
        try:
            one.submitted = self._submitted(folder)  # first: what changes later is seen next time
            one.received = arrival.received(folder, trust=self._settings.trust_timestamps)
            collected = intake.collect(folder, self._sources, self._handed_out, self._week.files)
        except Exception as error:  # one submission never stops the others
            for part in parts.values():
                part.refuse(_ours(error), sure=False)
            return one, jobs
        for name, part in parts.items():
            if name in collected.refused:
                part.refuse(f"{name}: {collected.refused[name]}")
            elif name not in collected.notebooks:
                part.status, part.reasons = MISSING, [f"{name}.ipynb was not handed in"]
            else:
                own = {file.name for file in self._week.notebook(name).files}
                beside = {n: content for n, content in collected.files.items() if n in own}
                try:
                    part.grafted = graft(self._sources[name], collected.notebooks[name])
                    job = job_of(
                        part.grafted.notebook,
                        self._sources[name],
                        {**self._files, **beside},
                        self._settings.limits,
                        self.exams[name],
                        library_of(self._week),
                    )
                    part.key = job_key(job)
                    part.notes = list(part.grafted.notes)
                    part.files = [n for n in collected.notes if any(name in n for name in own)]
                    jobs[part.key] = job
                except Exception as error:
                    part.refuse(f"{name}: {_ours(error)}", sure=False)
        next(iter(parts.values())).notes[:0] = collected.notes
        return one, jobs

    def _known(self, key: str) -> Result | None:
        if self._again and key not in self._fresh:
            return None
        return self._kept.result(key, sandboxed=not self._settings.unsafe)

    def _take(self, key: str, result: Result | Failed) -> None:
        """A job has ended."""
        if isinstance(result, Result):
            self._kept.put_result(key, result)
            self._fresh.add(key)
            if result.kernel not in self._starts:  # once for all notebooks
                self._starts.add(result.kernel)
                self._tell(f"Kernels here are {result.kernel}.")
        one = self._flying.pop(key)
        if one is None:  # it ran for a submission that was postponed
            return
        for part in one.parts.values():
            if part.key != key:
                continue
            if isinstance(result, Result):
                part.result = result
            else:
                part.refuse(f"{part.name}: it could not be run: {result.message}", sure=False)
            self._on_run()
        one.waiting.discard(key)
        if not one.waiting:
            self._finish(one)

    def _finish(self, one: _Open) -> None:
        """All of a submission has run: score, record, write."""
        files: dict[Path, bytes] = {}
        for part in one.parts.values():
            try:
                self._score(part)
            except Exception as error:
                part.refuse(f"{part.name}: {_ours(error)}", sure=False)
            content = self._notebook_file(part)
            if content is not None:
                files[self._path("autograded", one.student, f"{part.name}.ipynb")] = content
        standing = None
        if _is_text(one.student):
            marks = self._marks(one)
            try:
                standing = self._recorder.record(Submission(one.student, one.received, marks))
            except CourseError:
                raise
            except Exception as error:
                for part in one.parts.values():
                    part.refuse(f"it could not be recorded: {_ours(error)}", sure=False)
        entry = self._entry(one, standing)
        if standing is not None:
            self._write(one, files, standing, entry)
        self._done(_grade(one.student, self._week, entry, standing))

    def _marks(self, one: _Open) -> dict[str, Marks]:
        """The marks of each notebook, with the answers that are the same as last time."""
        entry = self._kept.entry(self._week.folder, one.student)
        notebooks = entry["notebooks"] if entry.get("format") == FORMAT else []
        before = {n["name"]: n.get("answers", {}) for n in notebooks}
        found = {}
        for part in one.parts.values():
            if part.marks and part.notebook:
                known = before.get(part.name, {}).items()
                same = frozenset(dict(known & _answers(part.notebook).items()))
                found[part.name] = replace(part.marks, same=same)
        return found

    def _score(self, part: _Part) -> None:
        """Verdicts, marks and a notebook that is safe to look at."""
        from autograder.grading.job import apply_result, suspicions
        from autograder.pages.sanitise import sanitise

        if part.grafted is None or part.result is None:
            return
        part.notebook = part.grafted.notebook
        files = "\n".join(part.files)
        verdicts = apply_result(part.notebook, part.result, self.exams[part.name], files)
        part.marks = marks_of(part.notebook)
        for cell in part.notebook.cells:
            if nb_.is_graded(cell) and nb_.is_solution(cell):
                unanswered = nb_.grade_id(cell) in part.marks.unanswered
                status = "not attempted" if unanswered else TO_GRADE
                cell.metadata[nb_.KEY] = {"status": status}
        flags = [verdict.flag for verdict in verdicts if verdict.flag]
        reasons = [*part.grafted.flags, *suspicions(part.result), *flags]
        part.reasons = [f"{part.name}: {reason}" for reason in reasons]
        part.status = FLAGGED if reasons else GRADED
        part.notes = [f"{part.name}: {note}" for note in part.notes]
        if not part.result.sandboxed:
            part.notes.append(f"{part.name}: it ran without a sandbox (--unsafe)")
        part.notebook.metadata[nb_.KEY] = {
            "flags": reasons,
            "language": part.grafted.language,
            "notes": list(part.grafted.notes),
            "sandboxed": part.result.sandboxed,
        }
        sanitise(part.notebook)

    def _notebook_file(self, part: _Part) -> bytes | None:
        """The autograded notebook; for one that was refused, the instructor's, which says why."""
        if part.status == MISSING:
            return None
        try:
            if part.notebook is not None:
                return _json(part.notebook)
        except Exception as error:
            part.refuse(f"{part.name}: {_ours(error)}", sure=False)
        part.notebook = _refused(self._sources[part.name], part.reasons[0])
        return _json(part.notebook)

    def _write(
        self,
        one: _Open,
        files: dict[Path, bytes],
        standing: Standing,
        entry: dict[str, Any],
    ) -> None:
        """All files of a submission, its entry last."""
        for part in one.parts.values():
            page = self._path("feedback", one.student, f"{part.name}.html")
            if part.notebook is None:
                # Of an earlier version of the submission.
                page.unlink(missing_ok=True)
                self._path("autograded", one.student, f"{part.name}.ipynb").unlink(missing_ok=True)
                continue
            try:
                files[page] = self._page(part.notebook, part.name, standing)
            except Exception as error:
                part.reasons.append(f"{part.name}: no feedback page could be made: {_ours(error)}")
                part.status = FLAGGED if part.status == GRADED else part.status
                part.sure = False
        # nbgrader's exchange finds a student's feedback by these.
        submitted = self._course.root / "submitted" / one.student / self._week.folder
        for name in (arrival.TIMESTAMP, "submission_secret.txt"):
            content = arrival.small_file(submitted / name)
            if content is not None:
                files[self._path("autograded", one.student, name)] = content
                files[self._path("feedback", one.student, name)] = content
        for tree in ("autograded", "feedback"):
            files_.sweep(self._path(tree, one.student, ""))
        for path, content in files.items():
            files_.write(path, content)
        entry |= self._entry(one, standing)
        if all(part.sure for part in one.parts.values()):
            root = self._course.root
            entry["files"] = {str(p.relative_to(root)): len(c) for p, c in files.items()}
            self._kept.put_entry(self._week.folder, one.student, entry)

    def _page(self, notebook: NotebookNode, name: str, standing: Standing) -> bytes:
        """The feedback page of a graded notebook."""
        from autograder.pages.feedback import CellGrade, page

        rows, comments = standing.rows.get(name, {}), standing.comments.get(name, {})
        grades = {cell: CellGrade(None, 0.0, comment) for cell, comment in comments.items()}
        for cell in self._sources[name].cells:
            id_ = nb_.grade_id(cell)
            if id_ in rows:
                row, points = rows[id_], float(cell.metadata.nbgrader["points"])
                grades[id_] = CellGrade(
                    score=row.score,
                    points=points,
                    comment=comments.get(id_, ""),
                    bonus=bool(nb_.ours(cell).get("bonus")),
                    extra=row.extra or 0.0,
                    waits=row.needs_manual,
                )
        penalty = standing.penalties.get(name, 0.0)
        return page(notebook, grades, title=self._week.folder, penalty=penalty).encode()

    def _entry(self, one: _Open, standing: Standing | None) -> dict[str, Any]:
        """What is kept of a submission."""
        return {
            "due": _iso(standing.due if standing else None),
            "files": {},
            "format": FORMAT,
            "key": self._key,
            "marks": standing.auto_scores if standing else {},
            "notebooks": [self._kept_part(part) for part in one.parts.values()],
            "received": _iso(one.received),
            "shown": {
                part.name: _shown(standing, part.name)
                for part in one.parts.values()
                if standing and part.notebook is not None
            },
            "submitted": one.submitted,
        }

    def _kept_part(self, part: _Part) -> dict[str, Any]:
        status = {}
        if part.notebook is not None:
            status = {nb_.grade_id(c): nb_.ours(c).get("status", "") for c in part.notebook.cells}
        return {
            "answers": _answers(part.notebook) if part.notebook is not None else {},
            "language": part.grafted.language if part.grafted else "",
            "name": part.name,
            "notes": part.notes,
            "reasons": part.reasons,
            "sandboxed": part.result.sandboxed if part.result else not self._settings.unsafe,
            "seconds": round(part.result.seconds, 3) if part.result else 0.0,
            "status": part.status,
            "tasks": [
                {
                    "bonus": bool(nb_.ours(cell).get("bonus")),
                    "cell": nb_.grade_id(cell),
                    "points": float(cell.metadata.nbgrader["points"]),
                    "status": status.get(nb_.grade_id(cell)) or part.status,
                    "task": nb_.grade_id(cell).removeprefix(nb_.TEST_PREFIX),
                }
                for cell in self._sources[part.name].cells
                if nb_.is_graded(cell)
            ],
        }


def _answers(notebook: NotebookNode) -> dict[str, str]:
    """By what each answer for a person to grade is known again."""
    return {
        nb_.grade_id(cell): files_.digest([repr((cell.source, cell.get("attachments")))])
        for cell in notebook.cells
        if nb_.is_graded(cell) and nb_.is_solution(cell)
    }


def _chain(first: tuple[str, Job], others: Iterator[tuple[str, Job]]) -> Iterator[tuple[str, Job]]:
    yield first
    yield from others


def _json(notebook: NotebookNode) -> bytes:
    """A notebook as a file, on one line: with line breaks Python takes ten times as long."""
    return json.dumps(notebook, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _ours(error: Exception) -> str:
    """A sentence on an error that should not have been."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return f"the grader itself failed on it ({what}{where}); grade it by hand, and report this"


def _refused(source: NotebookNode, why: str) -> NotebookNode:
    """The notebook as it was handed out, each test with the reason for which nothing was graded."""
    from autograder.grading.graft import graft
    from autograder.grading.score import Verdict, write_outputs

    notebook = graft(source, None).notebook
    for task, cell in nb_.test_cells(notebook).items():
        write_outputs(cell, Verdict(task, 0.0, REFUSED, f"{task}: not graded. {why}"))
    notebook.metadata[nb_.KEY] = {"refused": why}
    return notebook
