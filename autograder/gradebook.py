"""The gradebook: one writer, one transaction a submission, a row for every graded cell.

It is nbgrader's database, SQLite or PostgreSQL. What is read of a whole class is read in SQL, so
that a regrade of an unchanged class need not wait for nbgrader's import; what is written goes
through nbgrader's models, and nbgrader's own functions give scores, checksums and late penalties.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from autograder import files as files_
from autograder.course import Course, Week
from autograder.errors import CourseError, Problem, stop

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from traitlets.config import Config

T = TypeVar("T")
LOCK_SECONDS = 10.0  # that one attempt waits for SQLite
WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds before another attempt


@dataclass(frozen=True)
class Marks:
    """What grading found in a notebook.

    scores: the points of each graded cell, None where a person has to grade. unanswered: solution
    cells that are as they were handed out. same: answers that are as they were when they were last
    recorded.
    """

    scores: Mapping[str, float | None]
    unanswered: frozenset[str] = frozenset()
    same: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Submission:
    """What is recorded. marks: by notebook; a notebook that is not there gets no points.

    received: in UTC, without a time zone, as nbgrader stores it.
    """

    student: str
    received: datetime | None
    marks: Mapping[str, Marks]


@dataclass(frozen=True)
class Row:
    """A graded cell in the gradebook."""

    auto: float | None
    manual: float | None = None
    extra: float | None = None
    needs_manual: bool = False

    @property
    def score(self) -> float | None:
        """The points that count; None while a person has to give them."""
        if self.needs_manual and self.manual is None:
            return None
        points = self.auto if self.manual is None else self.manual
        return (points or 0.0) + (self.extra or 0.0)


@dataclass
class Standing:
    """What the gradebook says of a submission: rows, comments and penalties by notebook."""

    received: datetime | None
    due: datetime | None
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    comments: dict[str, dict[str, str]] = field(default_factory=dict)
    penalties: dict[str, float] = field(default_factory=dict)

    @property
    def auto_scores(self) -> dict[str, dict[str, float | None]]:
        """The points that grading gave, by notebook and cell."""
        return {n: {c: row.auto for c, row in rows.items()} for n, rows in self.rows.items()}


# -- The database -----------------------------------------------------------------------------


def engine_of(db_url: str) -> sa.Engine:
    """A connection to a gradebook. SQLite: readers don't wait for the writer, writers queue."""
    try:
        if sa.make_url(db_url).get_backend_name() != "sqlite":
            return sa.create_engine(db_url, pool_pre_ping=True)
        engine = sa.create_engine(db_url, connect_args={"timeout": LOCK_SECONDS})
    except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
        message = (
            f"c.CourseDirectory.db_url can't be used: {error}. For PostgreSQL install the extra "
            "`postgres` and write postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE"
        )
        raise stop("nbgrader_config.py", "", "gradebook", message) from None

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # Python's driver would begin transactions of its own
        connection.execute("PRAGMA journal_mode=WAL")
        # Only a power cut can undo what was committed; the next run compares, and records it again.
        connection.execute("PRAGMA synchronous=NORMAL")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # At once as a writer: a reader that turns into one may fail instead of waiting.
        reads = connection.get_execution_options().get("reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def shown(db_url: str) -> str:
    """A database's address without its password."""
    try:
        return sa.make_url(db_url).render_as_string(hide_password=True)
    except exc.ArgumentError:
        return "c.CourseDirectory.db_url"


def prepare(db_url: str) -> None:
    """Make the tables of a new gradebook. Raises CourseError.

    nbgrader makes them, too, but calls `alembic` by name to learn their version, and two programs
    that open a new PostgreSQL database at once disturb each other.
    """
    from alembic.script import ScriptDirectory
    from nbgrader.api import Base
    from nbgrader.dbutil import ALEMBIC_DIR

    engine = engine_of(db_url)
    try:
        with engine.begin() as connection:
            _lock(connection, "tables")
            if sa.inspect(connection).has_table("alembic_version"):
                return
            Base.metadata.create_all(connection)
            version = ScriptDirectory(ALEMBIC_DIR).get_current_head()
            connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
            connection.execute(
                sa.text("INSERT INTO alembic_version VALUES (:version)"), {"version": version}
            )
    except exc.SQLAlchemyError as error:
        raise unusable(db_url, error) from error
    finally:
        engine.dispose()


def unusable(db_url: str, error: exc.SQLAlchemyError, more: str = "") -> CourseError:
    """That a gradebook can't be used, in a sentence."""
    what = _line(error) if isinstance(error, exc.DBAPIError) else str(error)[:200]
    return stop(shown(db_url), "", "gradebook", f"can't be used: {what}{more}")


def record_week(course: Course, week: Week, files: Mapping[Path, bytes], db_url: str) -> None:
    """Record a week's graded cells in the gradebook, as `nbgrader generate_assignment` does.

    Before source/ is written: a notebook that stands there as it is, and in the gradebook, is left
    alone. files: the built ones, relative to the root.
    Raises CourseError where submissions already stand on other cells.
    """
    import nbformat
    from nbgrader.api import Gradebook

    from autograder import steps

    prepare(db_url)
    problems = []
    try:
        with Gradebook(db_url) as gradebook:
            assignment = gradebook.update_or_create_assignment(week.folder)
            recorded = {notebook.name for notebook in assignment.notebooks}
        for entry in week.notebooks:
            path = Path("source") / week.folder / f"{entry.name}.ipynb"
            same = files_.holds(course.root / path, files[path])
            if same and entry.name in recorded:
                continue
            resources = {
                "nbgrader": {"notebook": entry.name, "assignment": week.folder, "db_url": db_url}
            }
            source = nbformat.reads(files[path].decode(), as_version=4)
            to_gradebook = [*steps.TO_GRADER, steps.SaveCells]
            try:
                steps.apply(to_gradebook, source, course.languages[0], resources)
            except RuntimeError:
                message = (
                    "its graded cells changed, but the gradebook holds submissions of it; give the "
                    "notebook a new name, or delete its submissions: "
                    f"nbgrader db assignment remove {week.folder}"
                )
                problems.append(Problem(str(path), "", "gradebook", message))
    except exc.SQLAlchemyError as error:
        raise unusable(db_url, error) from error
    if problems:
        raise CourseError(problems)


def _lock(connection: Any, name: str) -> None:
    """Let one writer at a time work at something. SQLite has but one writer anyway."""
    if connection.dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


_OF_WEEK = """
FROM assignment a JOIN submitted_assignment s ON s.assignment_id = a.id"""
_OF_NOTEBOOKS = f"""{_OF_WEEK}
JOIN notebook n ON n.assignment_id = a.id
JOIN submitted_notebook sn ON sn.notebook_id = n.id AND sn.assignment_id = s.id"""
_SUBMISSIONS = f"""
SELECT s.student_id, s.timestamp, s.extension, a.duedate {_OF_WEEK} WHERE a.name = :week"""
_GRADES = f"""
SELECT s.student_id, n.name, b.name, g.auto_score, g.manual_score, g.extra_credit,
g.needs_manual_grade {_OF_NOTEBOOKS}
JOIN base_cell b ON b.notebook_id = n.id
JOIN grade g ON g.cell_id = b.id AND g.notebook_id = sn.id WHERE a.name = :week"""
_COMMENTS = f"""
SELECT s.student_id, n.name, b.name, coalesce(c.manual_comment, c.auto_comment) {_OF_NOTEBOOKS}
JOIN base_cell b ON b.notebook_id = n.id
JOIN comment c ON c.cell_id = b.id AND c.notebook_id = sn.id
WHERE a.name = :week AND coalesce(c.manual_comment, c.auto_comment) IS NOT NULL"""
_PENALTIES = f"""
SELECT s.student_id, n.name, sn.late_submission_penalty {_OF_NOTEBOOKS}
WHERE a.name = :week AND sn.late_submission_penalty > 0"""


class Recorder:
    """The gradebook of one week; a context manager.

    config: nbgrader's settings, for the late penalties. tell: given a sentence when something has
    to be tried again. Raises CourseError where the gradebook can't be used or lacks the week.
    """

    def __init__(
        self,
        db_url: str,
        week: str,
        config: Config | None = None,
        *,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._url, self._week, self._config, self._tell = db_url, week, config, tell
        self._engine = engine_of(db_url)
        self._layout: _Layout | None = None
        self._late: Any = None

    def __enter__(self) -> Recorder:
        path = self._engine.url.database
        if self._engine.dialect.name == "sqlite" and path and not Path(path).is_file():
            raise self._lacks_week()  # connecting would make an empty file
        return self

    def __exit__(self, *error: object) -> None:
        self._engine.dispose()

    # -- Reading ------------------------------------------------------------------------------

    def read(self, students: Sequence[str]) -> dict[str, Standing]:
        """What the gradebook says of these students' submissions, of those that it knows."""
        return self._attempt(lambda: self._read(students))

    def _read(self, students: Sequence[str]) -> dict[str, Standing]:
        # One student is asked for by name, as by formgrader; a class as a whole.
        values, one = {"week": self._week}, ""
        if len(students) == 1:
            values["student"], one = students[0], " AND s.student_id = :student"
        found: dict[str, Standing] = {}
        with self._engine.connect().execution_options(reads=True) as connection:
            self._check_week(connection)
            typed = sa.text(_SUBMISSIONS + one).columns(
                sa.column("student_id", sa.String),
                sa.column("timestamp", sa.DateTime),
                sa.column("extension", sa.Interval),
                sa.column("duedate", sa.DateTime),
            )
            for student, timestamp, extension, due in connection.execute(typed, values):
                found[student] = Standing(timestamp, _due(due, extension))
            other = Standing(None, None)  # of a student who came in between two queries
            for student, notebook, cell, auto, manual, extra, needs in connection.execute(
                sa.text(_GRADES + one), values
            ):
                rows = found.get(student, other).rows.setdefault(notebook, {})
                rows[cell] = Row(auto, manual, extra, bool(needs))
            for student, notebook, cell, comment in connection.execute(
                sa.text(_COMMENTS + one), values
            ):
                found.get(student, other).comments.setdefault(notebook, {})[cell] = comment
            for student, notebook, penalty in connection.execute(sa.text(_PENALTIES + one), values):
                found.get(student, other).penalties[notebook] = penalty
        wanted = set(students)
        return {student: standing for student, standing in found.items() if student in wanted}

    def cells(self) -> dict[str, set[str]]:
        """The graded cells that the gradebook knows of the week, by notebook."""
        query = sa.text(
            "SELECT n.name, b.name FROM assignment a JOIN notebook n ON n.assignment_id = a.id"
            " JOIN base_cell b ON b.notebook_id = n.id"
            " WHERE a.name = :week AND b.type IN ('GradeCell', 'TaskCell')"
        )

        def work() -> dict[str, set[str]]:
            found: dict[str, set[str]] = {}
            with self._engine.connect().execution_options(reads=True) as connection:
                self._check_week(connection)
                for notebook, cell in connection.execute(query, {"week": self._week}):
                    found.setdefault(notebook, set()).add(cell)
            return found

        return self._attempt(work)

    def knows(self, student: str) -> bool:
        """Whether the gradebook knows a student, of whatever week."""
        query = sa.text("SELECT 1 FROM student WHERE id = :student")

        def work() -> bool:
            with self._engine.connect().execution_options(reads=True) as connection:
                return connection.execute(query, {"student": student}).first() is not None

        return self._attempt(work)

    def _check_week(self, connection: sa.Connection) -> None:
        known = (
            sa.inspect(connection).has_table("assignment")
            and connection.execute(
                sa.text("SELECT 1 FROM assignment WHERE name = :week"), {"week": self._week}
            ).first()
        )
        if not known:
            raise self._lacks_week()

    def _lacks_week(self) -> CourseError:
        message = f"{self._week} is not in it; run: autograder build {self._week}"
        return stop(shown(self._url), "", "gradebook", message)

    # -- Writing ------------------------------------------------------------------------------

    def record(self, submission: Submission) -> Standing:
        """Record a submission, all of it or nothing; return what the gradebook says now.

        What a person has put in stays: scores, extra credit, comments, extensions. As in nbgrader,
        a score that a person gave is to be looked at again; but not for an answer that is the same.
        """
        return self._attempt(lambda: self._record(submission))

    def _record(self, submission: Submission) -> Standing:
        from sqlalchemy.orm import Session

        with Session(self._engine) as session, session.begin():
            _lock(session.connection(), f"student {submission.student}")
            layout = self._layout = self._layout or _read_layout(session, self._week)
            if layout is None:
                raise self._lacks_week()
            id_, standing = _put_submission(session, layout, submission)
            notebooks = _put_notebooks(session, layout, id_)
            _put_grades(session, layout, notebooks, submission, standing)
            _put_comments(session, layout, notebooks, submission, standing)
            self._put_penalties(session, notebooks, submission, standing)
        return standing

    def _put_penalties(
        self,
        session: Session,
        notebooks: Mapping[str, str],
        submission: Submission,
        standing: Standing,
    ) -> None:
        """What nbgrader's plugin for late submissions takes off, as AssignLatePenalties asks it."""
        from nbgrader.api import SubmittedNotebook
        from sqlalchemy import update

        late = 0.0
        if standing.received is not None and standing.due is not None:
            late = max(0.0, (standing.received - standing.due).total_seconds())
        changes = []
        for name, id_ in notebooks.items():
            penalty = None
            if late > 0 and name in submission.marks:
                score = sum(row.score or 0.0 for row in standing.rows.get(name, {}).values())
                penalty = self._penalty(submission.student, score, late)
            if penalty:
                standing.penalties[name] = penalty
            changes.append({"id": id_, "late_submission_penalty": penalty})
        session.execute(update(SubmittedNotebook), changes)

    def _penalty(self, student: str, score: float, late: float) -> float | None:
        if self._late is None:
            from nbgrader.preprocessors import AssignLatePenalties

            self._late = AssignLatePenalties(config=self._config)
            self._late.init_plugin()
        penalty = self._late.plugin_inst.late_submission_penalty(student, score, late)
        if penalty is None:
            return None
        return self._late._check_late_penalty(SimpleNamespace(score=score), penalty)

    def _attempt(self, work: Callable[[], T]) -> T:
        """Do something with the gradebook, also at a second and third attempt.

        What another writer or a server may have caused passes; what does not ends the grading. An
        error of the values themselves is raised as it is.
        """
        for wait in (*WAITS, None):
            try:
                return work()
            except exc.DataError:
                raise
            except (exc.OperationalError, exc.IntegrityError, exc.InterfaceError) as error:
                self._layout = None  # the week may have been built anew
                if wait is None:
                    more = (
                        ". What has been run is kept: see that nothing else holds the gradebook, "
                        "then run the same command again to go on"
                    )
                    raise unusable(self._url, error, more) from error
                self._tell(f"the gradebook can't be used yet ({_line(error)}); trying again")
                time.sleep(wait)
            except exc.DBAPIError as error:
                raise unusable(self._url, error) from error
        raise AssertionError  # the last attempt returns or raises


@dataclass(frozen=True)
class _Notebook:
    """A notebook of the week: its ID, and those of its cells by name."""

    id: str
    graded: Mapping[str, str]
    commented: Mapping[str, str]


@dataclass(frozen=True)
class _Layout:
    """A week as the gradebook knows it."""

    id: str
    due: datetime | None
    notebooks: Mapping[str, _Notebook]


def _read_layout(session: Session, week: str) -> _Layout | None:
    from nbgrader.api import Assignment, BaseCell, Notebook
    from sqlalchemy import select

    found = session.execute(
        select(Assignment.id, Assignment.duedate).where(Assignment.name == week)
    ).first()
    if found is None:
        return None
    notebooks: dict[str, _Notebook] = {}
    query = (
        select(Notebook.name, Notebook.id, BaseCell.name, BaseCell.id, BaseCell.type)
        .outerjoin(BaseCell, BaseCell.notebook_id == Notebook.id)
        .where(Notebook.assignment_id == found.id)
    )
    for name, id_, cell, cell_id, kind in session.execute(query):
        notebook = notebooks.setdefault(name, _Notebook(id_, {}, {}))
        if kind in ("GradeCell", "TaskCell"):
            notebook.graded[cell] = cell_id
        if kind in ("SolutionCell", "TaskCell"):
            notebook.commented[cell] = cell_id
    return _Layout(found.id, found.duedate, notebooks)


def _put_submission(
    session: Session, layout: _Layout, submission: Submission
) -> tuple[str, Standing]:
    """The student, and the row of the submission: its ID, and what is known of it so far."""
    from nbgrader.api import Student, SubmittedAssignment, new_uuid
    from sqlalchemy import insert, select, update

    student = submission.student
    if session.execute(select(Student.id).where(Student.id == student)).first() is None:
        session.execute(insert(Student), [{"id": student}])
    found = session.execute(
        select(SubmittedAssignment.id, SubmittedAssignment.extension).where(
            SubmittedAssignment.assignment_id == layout.id,
            SubmittedAssignment.student_id == student,
        )
    ).first()
    values = {"id": found.id if found else new_uuid(), "timestamp": submission.received}
    if found:
        session.execute(update(SubmittedAssignment), [values])
    else:
        values |= {"assignment_id": layout.id, "student_id": student}
        session.execute(insert(SubmittedAssignment), [values])
    extension = found.extension if found else None
    return values["id"], Standing(submission.received, _due(layout.due, extension))


def _put_notebooks(session: Session, layout: _Layout, submission: str) -> dict[str, str]:
    """A row for each notebook of the week: its ID by name."""
    from nbgrader.api import SubmittedNotebook, new_uuid
    from sqlalchemy import insert, select

    query = select(SubmittedNotebook.notebook_id, SubmittedNotebook.id).where(
        SubmittedNotebook.notebook_id.in_(n.id for n in layout.notebooks.values()),
        SubmittedNotebook.assignment_id == submission,
    )
    found = dict(session.execute(query).all())
    new = {n.id: new_uuid() for n in layout.notebooks.values() if n.id not in found}
    if new:
        rows = [{"id": i, "notebook_id": n, "assignment_id": submission} for n, i in new.items()]
        session.execute(insert(SubmittedNotebook), rows)
    ids = found | new
    return {name: ids[n.id] for name, n in layout.notebooks.items()}


def _put_grades(
    session: Session,
    layout: _Layout,
    notebooks: Mapping[str, str],
    submission: Submission,
    standing: Standing,
) -> None:
    """A row for every graded cell of the week."""
    from nbgrader.api import Grade

    cells = {(n, c): id_ for n, one in layout.notebooks.items() for c, id_ in one.graded.items()}
    columns = (Grade.auto_score, Grade.needs_manual_grade, Grade.manual_score, Grade.extra_credit)
    found = _found(session, Grade, columns, cells.values(), notebooks.values())
    values = {}
    for (name, cell), cell_id in cells.items():
        old = found.get((cell_id, notebooks[name]))
        manual, extra = (old.manual_score, old.extra_credit) if old else (None, None)
        marks = submission.marks.get(name)
        # As nbgrader: what is not there gets no points, and nobody has to look at it.
        auto = marks.scores.get(cell, 0.0) if marks else 0.0
        needs = marks is not None and (manual is not None or auto is None)
        if marks and cell in marks.same and manual is not None:
            needs = old.needs_manual_grade
        standing.rows.setdefault(name, {})[cell] = Row(auto, manual, extra, needs)
        values[cell_id, notebooks[name]] = {"auto_score": auto, "needs_manual_grade": needs}
    _put(session, Grade, found, values)


def _put_comments(
    session: Session,
    layout: _Layout,
    notebooks: Mapping[str, str],
    submission: Submission,
    standing: Standing,
) -> None:
    """A row for every solution cell of the week; "No response." for those left as they were."""
    from nbgrader.api import Comment

    cells = {(n, c): id_ for n, one in layout.notebooks.items() for c, id_ in one.commented.items()}
    columns = (Comment.auto_comment, Comment.manual_comment)
    found = _found(session, Comment, columns, cells.values(), notebooks.values())
    values = {}
    for (name, cell), cell_id in cells.items():
        old = found.get((cell_id, notebooks[name]))
        marks = submission.marks.get(name)
        auto = "No response." if marks and cell in marks.unanswered else None
        comment = old.manual_comment if old and old.manual_comment is not None else auto
        if comment is not None:
            standing.comments.setdefault(name, {})[cell] = comment
        values[cell_id, notebooks[name]] = {"auto_comment": auto}
    _put(session, Comment, found, values)


def _found(
    session: Session, model: Any, columns: Iterable[Any], cells: Iterable[str], ids: Iterable[str]
) -> dict[tuple[str, str], Any]:
    """The rows that stand of some cells of a submission's notebooks, by cell and notebook.

    Both are given, since the only index of these tables begins with the cell.
    """
    from sqlalchemy import select

    query = select(model.id, model.cell_id, model.notebook_id, *columns).where(
        model.cell_id.in_(list(cells)), model.notebook_id.in_(list(ids))
    )
    return {(row.cell_id, row.notebook_id): row for row in session.execute(query)}


def _put(
    session: Session,
    model: Any,
    found: Mapping[tuple[str, str], Any],
    values: Mapping[tuple[str, str], Mapping[str, Any]],
) -> None:
    """Change the rows that stand, where they differ, and add the others."""
    from sqlalchemy import insert, update

    changed = [
        {"id": found[key].id, **v}
        for key, v in values.items()
        if key in found and any(getattr(found[key], name) != new for name, new in v.items())
    ]
    new = [
        {"cell_id": key[0], "notebook_id": key[1], **v}
        for key, v in values.items()
        if key not in found
    ]
    if changed:
        session.execute(update(model), changed)
    if new:
        session.execute(insert(model), new)


def _due(due: datetime | None, extension: timedelta | None) -> datetime | None:
    return due + extension if due is not None and extension is not None else due


def _line(error: exc.DBAPIError) -> str:
    return " ".join(str(error.orig).split())[:200]
