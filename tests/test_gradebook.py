"""The gradebook: rows as nbgrader's own steps write them, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest
import sqlalchemy as sa
from kit import postgres
from kit.rules import NOTEBOOK, WEEK, WEEK_TOML, copy_tiny, edit, tiny_course
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.preprocessors import AssignLatePenalties, SaveAutoGrades
from traitlets.config import Config

from autograder import gradebook as gradebook_
from autograder import notebook as nb_
from autograder import settings
from autograder.authoring import build
from autograder.course import Course
from autograder.errors import CourseError
from autograder.gradebook import Marks, Recorder, Submission, prepare
from autograder.grading.graft import graft
from autograder.grading.score import Verdict, marks_of, write_outputs

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000)
PRINT = "# %%\nprint(line(np.arange(3.0), 2.0, 1.0))\n"
ESSAY = (
    "# %% [markdown]\n# ## Why?\n# {{task:essay}}\n\n"
    '# %% [markdown] lang="ru"\n# ## Почему?\n# {{task:essay}}\n\n'
    '# %% [markdown] answer="essay" points=4\n# SAMPLE of a good answer.\n\n'
    '# %% [markdown] rubric="essay"\n# RUBRIC: two points for each reason.\n\n'
)
SECOND = """# %% [markdown]
# # Second

# %% tags=["parameters"]
profile = "small"

# %% solution="twice"
def twice(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% test="twice" points=2
assert twice(2) == 4
"""
ENTRY = '[[notebook]]\nname = "{}"\npoints = {}\nbonus = {}\ntier = "cpu"\n'


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> tuple[Course, build.Files]:
    """A week of two notebooks, one of them with an answer for a person to grade."""
    root = edit(
        copy_tiny(tmp_path_factory.mktemp("record") / "course"),
        (WEEK_TOML, "points = 3\n", "points = 9\n"),
        (WEEK_TOML, "points = 3\n", "points = 7\n"),
        (NOTEBOOK, PRINT, ESSAY + PRINT),
        (f"weeks/{WEEK}/second.py", None, SECOND),
    )
    with (root / WEEK_TOML).open("a", encoding="utf-8") as end:
        end.write("\n" + ENTRY.format("second", 2, 0))
    course = tiny_course(root)
    return course, build.build_weeks(course, course.weeks)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, week: tuple[Course, build.Files]) -> str:
    """A gradebook that knows the week, in either database."""
    made = f"sqlite:///{tmp_path / 'gradebook.db'}"
    if request.param == "postgresql":
        made = request.getfixturevalue("postgres_url")
    course, files = week
    gradebook_.record_week(course, course.weeks[0], files, made)
    return made


@pytest.fixture
def lite(tmp_path: Path, week: tuple[Course, build.Files]) -> str:
    """A gradebook in SQLite that knows the week."""
    course, files = week
    url = f"sqlite:///{tmp_path / 'lite.db'}"
    gradebook_.record_week(course, course.weeks[0], files, url)
    return url


def handed_in(
    week: tuple[Course, build.Files], shares: Mapping[str, float], essay: str = ""
) -> NotebookNode:
    """A graded notebook `tiny`: the share of the points that each task got, and the answer."""
    content = week[1][Path("source") / WEEK / "tiny.ipynb"]
    notebook = graft(nbformat.reads(content.decode(), as_version=4), None).notebook
    for cell in notebook.cells:
        if nb_.grade_id(cell) == "essay" and essay:
            cell.source = essay
        if nb_.grade_id(cell) == "line" and shares.get("line"):
            cell.source = "def line(x, a, b):\n    return a * x + b"
    for task, cell in nb_.test_cells(notebook).items():
        write_outputs(cell, Verdict(task, shares.get(task, 0.0), "?", "?"))
    return notebook


def marks(week: tuple[Course, build.Files], shares: Mapping[str, float], essay: str = "") -> Marks:
    """The marks of that notebook."""
    notebook = handed_in(week, shares, essay)
    verdicts = [Verdict(t, shares.get(t, 0.0), "?", "?") for t in nb_.test_cells(notebook)]
    return marks_of(notebook, verdicts)


def rows(url: str) -> dict[str, Any]:
    """All that a gradebook says of submissions, without its own IDs."""
    found: dict[str, Any] = {}
    with Gradebook(url) as gradebook:
        for submission in gradebook.assignment_submissions(WEEK):
            name = submission.student.id
            found[name] = submission.timestamp, submission.extension
            for notebook in submission.notebooks:
                found[name, notebook.name] = notebook.late_submission_penalty, notebook.score
                for grade in notebook.grades:
                    found[name, notebook.name, grade.name, "grade"] = (
                        grade.auto_score,
                        grade.manual_score,
                        grade.extra_credit,
                        grade.needs_manual_grade,
                        grade.score,
                    )
                for comment in notebook.comments:
                    found[name, notebook.name, comment.name, "comment"] = comment.comment
    return found


# -- As nbgrader does --------------------------------------------------------------------------

GRADED = [
    ({}, ""),
    ({"line": 1.0}, ""),
    ({"line": 1.0, "distance": 0.5, "double": 1.0}, "Because."),
    ({"distance": 0.25}, " "),
]


def by_nbgrader(
    url: str, student: str, notebook: NotebookNode, config: Config, time: datetime
) -> None:
    """Record one notebook as `nbgrader autograde` would."""
    with Gradebook(url) as gradebook:
        gradebook.update_or_create_student(student)
        gradebook.update_or_create_submission(WEEK, student, timestamp=time)
        other = gradebook.find_submission_notebook("second", WEEK, student)
        for grade in other.grades:  # what Autograde.init_assignment does where a file is missing
            grade.auto_score, grade.needs_manual_grade = 0, False
        gradebook.db.commit()
    known = {"notebook": "tiny", "assignment": WEEK, "student": student, "db_url": url}
    for step in (SaveAutoGrades(config=config), AssignLatePenalties(config=config)):
        step.preprocess(notebook, {"nbgrader": known})


@pytest.mark.filterwarnings("ignore:Object of type")  # nbgrader's own
@pytest.mark.parametrize("method", ["none", "zero"])
def test_rows_are_those_that_nbgrader_writes(
    week: tuple[Course, build.Files], url: str, lite: str, method: str
) -> None:
    config = Config({"LateSubmissionPlugin": {"penalty_method": method}})
    for one in (url, lite):
        with Gradebook(one) as gradebook:
            gradebook.update_or_create_assignment(WEEK, duedate=NOW - timedelta(hours=1))
    with Recorder(url, WEEK, config) as recorder:
        for number, (shares, essay) in enumerate(GRADED):
            student, when = f"s{number}", NOW - timedelta(hours=number)
            notebook, found = handed_in(week, shares, essay), marks(week, shares, essay)
            for _ in range(2):  # again: as after a resubmission
                recorder.record(Submission(student, when, {"tiny": found}))
                by_nbgrader(lite, student, notebook, config, when)
    ours = rows(url)
    assert ours == rows(lite)
    assert ours["s2", "tiny", "test-distance", "grade"][0] == 1.0
    assert ours["s1", "tiny", "distance", "comment"] == "No response."
    assert ours["s2", "tiny", "essay", "grade"][3] and not ours["s1", "tiny", "essay", "grade"][3]
    assert ours["s0", "tiny"][0] == (0 if method == "zero" else None)
    with Recorder(url, WEEK, config) as recorder:
        standing = recorder.read(["s2"])["s2"]
        assert standing.received == NOW - timedelta(hours=2)
        assert standing.due == NOW - timedelta(hours=1)
        assert standing.auto_scores["tiny"]["essay"] is None
        assert set(recorder.read(["s0", "s1", "nobody"])) == {"s0", "s1"}


def test_what_a_person_gave_stays(week: tuple[Course, build.Files], url: str) -> None:
    found = {"tiny": marks(week, {"line": 1.0}, "Because.")}
    with Recorder(url, WEEK) as recorder:
        recorder.record(Submission("ann", NOW, found))
        with Gradebook(url) as gradebook:
            grade = gradebook.find_grade("essay", "tiny", WEEK, "ann")
            grade.manual_score, grade.extra_credit, grade.needs_manual_grade = 3.0, 0.5, False
            gradebook.find_comment("essay", "tiny", WEEK, "ann").manual_comment = "Good."
            gradebook.db.commit()
            gradebook.grant_extension(WEEK, "ann", hours=2)
        read = recorder.read(["ann"])["ann"]
        assert read.rows["tiny"]["essay"].score == 3.5
        written = recorder.record(Submission("ann", NOW, found))
        read = recorder.read(["ann"])["ann"]
    assert read == written
    assert read.rows["tiny"]["essay"].needs_manual  # as nbgrader: to be looked at again
    assert read.rows["tiny"]["essay"].score == 3.5
    assert read.comments["tiny"]["essay"] == "Good."
    assert rows(url)["ann"] == (NOW, timedelta(hours=2))


def test_a_resubmission_leaves_nothing_of_the_one_before(
    week: tuple[Course, build.Files], url: str
) -> None:
    full = marks(week, {"line": 1.0, "distance": 1.0, "double": 1.0}, "Because.")
    second = Marks({"test-twice": 2.0})
    with Recorder(url, WEEK) as recorder:
        recorder.record(Submission("ann", NOW, {"tiny": full, "second": second}))
        recorder.record(Submission("ann", NOW, {"second": second}))
        standing = recorder.read(["ann"])["ann"]
    assert {row.score for row in standing.rows["tiny"].values()} == {0.0}
    assert len(standing.rows["tiny"]) == 4 and "tiny" not in standing.comments
    assert standing.rows["second"]["test-twice"].score == 2.0


def test_a_late_submission_loses_what_the_plugin_takes(
    week: tuple[Course, build.Files], url: str
) -> None:
    config = Config({"LateSubmissionPlugin": {"penalty_method": "zero"}})
    found = {"tiny": marks(week, {"line": 1.0, "distance": 1.0})}
    with Gradebook(url) as gradebook:
        gradebook.update_or_create_assignment(WEEK, duedate=NOW)
    with Recorder(url, WEEK, config) as recorder:
        late = recorder.record(Submission("ann", NOW + timedelta(seconds=1), found))
        assert late.penalties == {"tiny": 3.0}
        assert recorder.read(["ann"])["ann"] == late
        assert recorder.record(Submission("ann", NOW, found)).penalties == {}
        assert recorder.read(["ann"])["ann"].penalties == {}


def test_thirty_milliseconds_a_submission(week: tuple[Course, build.Files], lite: str) -> None:
    """On SQLite, which works in this process; a slower machine may take three times as long."""
    found = {"tiny": marks(week, {"line": 1.0})}
    with Recorder(lite, WEEK) as recorder:
        recorder.record(Submission("first", NOW, found))
        start = time.process_time()
        for number in range(40):
            recorder.record(Submission(f"s{number}", NOW, found))
        assert (time.process_time() - start) / 40 < 0.1


# -- Who else is there -------------------------------------------------------------------------


def test_a_locked_gradebook_is_waited_for(
    week: tuple[Course, build.Files], lite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradebook_, "LOCK_SECONDS", 0.2)
    told: list[str] = []
    other = sqlite3.connect(sa.make_url(lite).database, check_same_thread=False)
    with Recorder(lite, WEEK, tell=told.append) as recorder:
        recorder.read(["ann"])
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(1.0, other.rollback)
        release.start()
        recorder.record(Submission("ann", NOW, {}))
        release.join()
    assert told[0] == ("the gradebook can't be used yet (database is locked); trying again")
    assert (  # a reader does not wait for the writer
        "ann" in rows(lite)
    )


def test_a_gradebook_that_stays_locked_ends_it_with_a_sentence(
    lite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradebook_, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(gradebook_, "WAITS", (0.1,))
    other = sqlite3.connect(sa.make_url(lite).database)
    with Recorder(lite, WEEK) as recorder:
        recorder.read(["ann"])
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CourseError, match=r"database is locked\. What has been run is kept"):
            recorder.record(Submission("ann", NOW, {}))
        assert recorder.read(["ann"]) == {}
        other.rollback()
        recorder.record(Submission("ann", NOW, {}))
    assert "ann" in rows(lite)


def test_a_submission_is_recorded_as_a_whole(
    week: tuple[Course, build.Files], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("in the middle")

    with Recorder(url, WEEK) as recorder:
        with monkeypatch.context() as patch:
            patch.setattr(gradebook_, "_put_comments", fail)
            with pytest.raises(RuntimeError):
                recorder.record(Submission("ann", NOW, {}))
        assert recorder.read(["ann"]) == {} and not recorder.knows("ann")
        recorder.record(Submission("ann", NOW, {}))
        assert recorder.knows("ann")


def test_values_that_the_database_refuses_are_the_submissions_fault(
    week: tuple[Course, build.Files], postgres_url: str
) -> None:
    gradebook_.record_week(week[0], week[0].weeks[0], week[1], postgres_url)
    with Recorder(postgres_url, WEEK) as recorder:
        with pytest.raises(sa.exc.DataError):
            recorder.record(Submission("x" * 200, NOW, {}))
        recorder.record(Submission("ann", NOW, {}))


def test_a_server_that_ends_the_connection(
    week: tuple[Course, build.Files], postgres_url: str
) -> None:
    gradebook_.record_week(week[0], week[0].weeks[0], week[1], postgres_url)
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with Recorder(postgres_url, WEEK) as recorder:
        recorder.record(Submission("ann", NOW, {}))
        postgres.run(postgres_url, end)
        recorder.record(Submission("bob", NOW, {}))
        assert set(recorder.read(["ann", "bob"])) == {"ann", "bob"}


def _grader(url: str, names: list[str], points: float, barrier: Any, failed: Any) -> None:
    """A grader in a process of its own."""
    try:
        found = {"tiny": Marks({"test-line": points, "test-distance": points})}
        with Recorder(url, WEEK) as recorder:
            barrier.wait(60)
            for name in names:
                recorder.record(Submission(name, NOW, found))
    except BaseException as error:
        failed.put(repr(error))
        raise


@pytest.mark.filterwarnings("ignore:Object of type")
def test_two_graders_at_once_lose_nothing(url: str) -> None:
    """Half of the students are of both; each has all its rows once, from one of the graders."""
    context = multiprocessing.get_context("spawn")
    failed, barrier = context.Queue(), context.Barrier(2)
    shared, own = [f"shared{i}" for i in range(30)], [f"own{i}" for i in range(30)]
    graders = [
        context.Process(target=_grader, args=(url, names, points, barrier, failed))
        for names, points in (([*own[:15], *shared], 0.25), ([*shared, *own[15:]], 0.75))
    ]
    for grader in graders:
        grader.start()
    for grader in graders:
        grader.join(120)
    assert failed.empty(), failed.get()
    assert [g.exitcode for g in graders] == [0, 0]
    with Recorder(url, WEEK) as recorder:
        found = recorder.read([*shared, *own])
    assert len(found) == 60
    for student, standing in found.items():
        scores = {c: row.auto for c, row in standing.rows["tiny"].items()}
        points = scores["test-line"]
        assert points in ((0.25, 0.75) if student in shared else (0.25,) if
                          student in own[:15] else (0.75,))  # fmt: skip
        assert scores == {
            "essay": 0.0,
            "test-distance": points,
            "test-double": 0.0,
            "test-line": points,
        }
        assert set(standing.rows) == {"tiny", "second"}
    assert len(rows(url)) == 60 * (1 + 2 + 5 + 5)


def _prepare(url: str, barrier: Any) -> None:
    barrier.wait(60)
    prepare(url)


def test_two_graders_open_a_new_gradebook_at_once(postgres_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    graders = [context.Process(target=_prepare, args=(postgres_url, barrier)) for _ in range(2)]
    for grader in graders:
        grader.start()
    for grader in graders:
        grader.join(60)
    assert [g.exitcode for g in graders] == [0, 0]
    with Gradebook(postgres_url) as gradebook:  # nbgrader is content with it
        assert gradebook.assignments == []
    engine = sa.create_engine(postgres_url)
    with engine.connect() as connection:
        (version,) = connection.execute(sa.text("SELECT version_num FROM alembic_version")).all()
    engine.dispose()
    assert version[0]


# -- What is told ------------------------------------------------------------------------------


def test_a_week_that_the_gradebook_lacks(tmp_path: Path, postgres_url: str) -> None:
    for url in (f"sqlite:///{tmp_path}/none.db", postgres_url):
        with (
            pytest.raises(CourseError, match=f"run: autograder build {WEEK}"),
            Recorder(url, WEEK) as recorder,
        ):
            recorder.read([])
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "can't be used"),
        ("nothing://a/b", r"write postgresql\+psycopg2://"),
        ("postgresql+psycopg2://me:secret@127.0.0.1:9/x", "can't be used"),
    ],
)
def test_an_address_that_leads_nowhere(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradebook_, "WAITS", ())
    with pytest.raises(CourseError, match=said) as caught, Recorder(url, WEEK) as recorder:
        recorder.read([])
    assert "secret" not in str(caught.value)


def test_one_setting_leads_to_the_gradebook(tiny: Path, postgres_url: str) -> None:
    """`autograder build` records where `autograder grade` does."""
    course = tiny_course(tiny)
    assert settings.db_url(course) == f"sqlite:///{tiny / 'gradebook.db'}"
    with (tiny / "nbgrader_config.py").open("a") as config:
        config.write(f"c.CourseDirectory.db_url = {postgres_url!r}\n")
    assert settings.db_url(course) == postgres_url
    build.build(course, course.weeks)
    assert not (tiny / "gradebook.db").exists()
    with Recorder(postgres_url, WEEK) as recorder:
        assert recorder.cells() == {"tiny": {"test-line", "test-distance", "test-double"}}
    (tiny / "nbgrader_config.py").unlink()
    assert settings.db_url(course) == f"sqlite:///{tiny / 'gradebook.db'}"


def test_settings_that_are_no_python(tiny: Path) -> None:
    (tiny / "nbgrader_config.py").write_text("c = get_config()\nc.Grader.cell_seconds = = 3\n")
    with pytest.raises(CourseError, match="SyntaxError"):
        settings.load(tiny_course(tiny))
