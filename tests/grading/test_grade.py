"""One `grade` of a week: what is run, what is kept, what happens when something goes wrong."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from kit.backend import Fake, never, right
from kit.rules import NOTEBOOK, WEEK, copy_tiny, edit
from kit.wait import until
from nbformat.v4 import new_code_cell
from nbgrader.apps import NbGraderAPI
from nbgrader.converters.base import NbGraderException
from nbgrader.utils import temp_attrs

from autograder import course as course_
from autograder import files, settings
from autograder import gradebook as gradebook_
from autograder import notebook as nb_
from autograder.authoring import build
from autograder.course import Course
from autograder.errors import CourseError
from autograder.execution.backend import BackendError, Failed
from autograder.execution.execute import Job, Trial
from autograder.execution.sandbox import SandboxError
from autograder.gradebook import Recorder
from autograder.grading import grade as grade_
from autograder.grading.arrival import received
from autograder.pages.maker import PageError, Pages
from autograder.plugin import autograde as autograde_
from autograder.results import MISSING, SubmissionGrade

REPOSITORY = Path(__file__).parents[2]
STUDENTS = ["ann", "bob", "cid", "dee"]


@pytest.fixture(scope="module")
def one_process() -> Iterator[Pages]:
    with Pages() as pages:
        yield pages


@pytest.fixture(autouse=True)
def pages_of_one_process(one_process: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each grading would start a process for its pages; a fork of this one has to."""
    owner = os.getpid()

    def pages() -> Any:
        return contextlib.nullcontext(one_process) if os.getpid() == owner else Pages()

    monkeypatch.setattr(grade_, "Pages", pages)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built tiny course with four different submissions."""
    root = copy_tiny(tmp_path_factory.mktemp("grade") / "course")
    shutil.copy(REPOSITORY / "nbgrader_config.py", root)
    course = course_.load(root)
    build.build(course, course.weeks)
    for student in STUDENTS:
        hand_in(root, student, f"name = {student!r}")
    return root


@pytest.fixture
def course(template: Path, tmp_path: Path) -> Course:
    return course_.load(shutil.copytree(template, tmp_path / "course"))


def hand_in(root: Path, student: str, extra: str = "") -> Path:
    """The reference as a submission, with a cell of the student's own."""
    notebook = nb_.read(root / "source" / WEEK / "tiny.ipynb")
    notebook.cells = [*nb_.in_language(notebook.cells, "en"), new_code_cell(extra, id="own")]
    for cell in notebook.cells:
        cell.source = nb_.without_hidden(cell.source)
    path = root / "submitted" / student / WEEK / "tiny.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nb_.dumps(notebook), encoding="utf-8")
    return path


def grade(
    course: Course, backend: Any = None, students: list[str] | None = None, **options: Any
) -> dict[str, SubmissionGrade]:
    """Grade, and give the grades by student."""
    week = course.weeks[0]
    names = students or grade_.submissions(course, week)
    backend = backend or Fake()
    return {g.student: g for g in grade_.grade(course, week, names, backend=backend, **options)}


def state(root: Path) -> dict[str, Any]:
    """All that grading leaves, but times: files, rows, and which results are kept."""
    found: dict[str, Any] = {
        str(path.relative_to(root)): path.read_bytes()
        for tree in ("autograded", "feedback")
        for path in (root / tree).rglob("*")
        if path.is_file()
    }
    found["kept"] = sorted(str(p.relative_to(root)) for p in (root / ".grading").rglob("*"))
    with Recorder(f"sqlite:///{root / 'gradebook.db'}", WEEK) as recorder:
        students = sorted(os.listdir(root / "submitted"))
        found["rows"] = recorder.read(students)
    with sqlite3.connect(root / "gradebook.db") as database:
        for table in ("grade", "comment", "submitted_notebook", "submitted_assignment", "student"):
            found[table] = database.execute(f"SELECT count(*) FROM {table}").fetchone()
    return found


# -- What changed, and what did not ------------------------------------------------------------


def test_only_what_changed_is_run(course: Course) -> None:
    first = Fake()
    before = grade(course, first)
    assert len(first.ran) == 5 and {g.score() for g in before.values()} == {3.0}
    hand_in(course.root, "bob", "name = 'Bob'")
    second = Fake()
    after = grade(course, second)
    assert len(second.ran) == 1 and second.ran[0] not in first.ran
    assert after == before
    third = Fake()
    assert grade(course, third) == before and third.ran == []
    again = Fake()
    assert grade(course, again, again=True) == before and len(again.ran) == 5


@pytest.mark.parametrize(
    ("old", "new", "runs"),
    [
        ("# # Two functions", "# # Two small functions", 0),
        ("# # Две функции", "# # Две маленькие функции", 0),
        ("check.equal(double(2.0), 4.0", "check.equal(double(3.0), 6.0", 5),
        ("return 2 + x", "return 3 + x", 5),  # a mutant, which is the control
    ],
)
def test_mended_prose_makes_pages_but_runs_nothing(
    course: Course, old: str, new: str, runs: int
) -> None:
    grade(course)
    edit(course.root, (NOTEBOOK, old, new))
    build.build(course, course.weeks)
    backend = Fake()
    assert {g.score() for g in grade(course, backend).values()} == {3.0}
    assert len(backend.ran) == runs
    page = (course.root / "feedback" / "ann" / WEEK / "tiny.html").read_text("utf-8")
    assert ("Two small functions" in page) == ("small" in new)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("autograded/ann/week01_tiny/tiny.ipynb", None),
        ("autograded/ann/week01_tiny/tiny.ipynb", "{"),
        ("feedback/ann/week01_tiny/tiny.html", None),
        ("feedback/ann/week01_tiny/tiny.html", ""),
        ("gradebook.db", "an older one"),
    ],
)
def test_what_was_lost_is_made_again_without_a_run(
    course: Course, file: str, content: str | None
) -> None:
    shutil.copy(course.root / "gradebook.db", course.root / "before.db")
    before, want = grade(course), None
    want = state(course.root)
    if file == "gradebook.db":
        for path in course.root.glob("gradebook.db*"):
            path.unlink()
        (course.root / "before.db").rename(course.root / file)
    elif content is None:
        (course.root / file).unlink()
    else:
        (course.root / file).write_text(content)
    backend = Fake()
    assert grade(course, backend) == before and backend.ran == []
    assert state(course.root) == want


def test_what_is_kept_may_be_damaged(course: Course) -> None:
    before = grade(course)
    want = state(course.root)
    results = sorted((course.root / ".grading").glob("*.json"))
    entries = sorted((course.root / ".grading" / WEEK).glob("*.json"))
    assert (len(results), len(entries)) == (5, 4)
    contents = [b"", b"{", b"\xff\xfe", b"[1, 2]"]
    for path, content in zip([*results, *entries], [b"", *contents * 2], strict=True):
        path.write_bytes(content)
    backend = Fake()
    assert grade(course, backend) == before
    assert len(backend.ran) == 5 and state(course.root) == want


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        (lambda root: (root / "nbgrader_config.py").open("a").write("c.Grader.memory_mib = 1000\n"),
         5),
        (lambda root: (root / "source" / WEEK / "data.csv").write_text("1"), 5),
        (lambda root: (root / "source" / WEEK / "README.md").write_text("Other words"), 0),
        (lambda root: os.utime(root / "submitted" / "ann" / WEEK / "tiny.ipynb", (9, 9)), 0),
    ],
)  # fmt: skip
def test_all_that_an_outcome_depends_on(
    course: Course, change: Callable[[Path], Any], runs: int
) -> None:
    before = grade(course)
    change(course.root)
    backend = Fake()
    assert grade(course, backend) == before
    assert len(backend.ran) == runs
    (standing,) = (state(course.root)["rows"]["ann"],)
    folder = course.root / "submitted" / "ann" / WEEK
    assert standing.received == received(folder)


def test_equal_submissions_run_once(course: Course) -> None:
    for student in ("eve", "fay", "gus"):
        hand_in(course.root, student, "name = 'ann'")
    backend = Fake()
    found = grade(course, backend)
    assert len(backend.ran) == 5 and len(set(backend.ran)) == 5
    assert {g.score() for g in found.values()} == {3.0} and len(found) == 7


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (
            lambda result: replace(
                result, trials={**result.trials, "line": Trial("wrong", message="line(1)")}
            ),
            "Wrong: line(1)",
        ),
        (lambda result: replace(result, controls={"line": "survived"}), "could not be trusted"),
        (lambda result: Failed("its worker died"), "it could not be run (its worker died)"),
    ],
)
def test_a_broken_machine_grades_nobody_and_keeps_nothing(
    course: Course, break_it: Callable[[Any], Any], why: str
) -> None:
    first = Fake(lambda job: break_it(right(job)))
    before = state(course.root)
    with pytest.raises(CourseError, match="own solutions do not get all points") as raised:
        grade(course, first)
    assert why in str(raised.value) and len(first.ran) == 1
    assert state(course.root) == before
    second = Fake()
    assert {g.score() for g in grade(course, second).values()} == {3.0}
    assert len(second.ran) == 5


def test_a_grade_that_a_person_gives_meanwhile_shows(course: Course) -> None:
    from nbgrader.api import Gradebook

    grade(course)
    page = course.root / "feedback" / "ann" / WEEK / "tiny.html"
    before = page.read_text(encoding="utf-8")
    with Gradebook(f"sqlite:///{course.root / 'gradebook.db'}") as gradebook:
        row = gradebook.find_grade("test-distance", "tiny", WEEK, "ann")
        row.manual_score, row.needs_manual_grade = 0.25, False
        gradebook.find_comment("line", "tiny", WEEK, "ann").manual_comment = "Well thought of."
        gradebook.db.commit()
    backend = Fake()
    found = grade(course, backend)
    assert found["ann"].score() == 1.25 and found["bob"].score() == 3.0
    assert backend.ran == []
    after = page.read_text(encoding="utf-8")
    assert "Well thought of." in after and "Well thought of." not in before
    changed = page.stat().st_mtime_ns
    assert grade(course, backend)["ann"].score() == 1.25
    assert page.stat().st_mtime_ns == changed
    assert grade_.read_grades(course, course.weeks[0], ["ann"]) == [found["ann"]]


def test_the_report_is_of_the_whole_class(course: Course) -> None:
    week, own = course.weeks[0], settings.load(course)
    ann = list(grade(course, students=["ann"]).values())
    assert grade_.whole_class(course, week, ann, own) == ann  # nobody else was graded yet
    everybody = list(grade(course).values())
    assert grade_.whole_class(course, week, ann, own) == everybody
    assert grade_.whole_class(course, week, everybody, own) == everybody


def test_a_notebook_that_is_withdrawn_leaves_nothing(course: Course) -> None:
    grade(course)
    (course.root / "submitted" / "ann" / WEEK / "tiny.ipynb").unlink()
    found = grade(course)
    assert found["ann"].status == MISSING and found["ann"].score() == 0.0
    assert found["ann"].notebooks[0].reasons == ("tiny.ipynb was not handed in",)
    assert not list((course.root / "autograded" / "ann").rglob("*.ipynb"))
    assert not list((course.root / "feedback" / "ann").rglob("*.html"))
    assert {row.score for row in state(course.root)["rows"]["ann"].rows["tiny"].values()} == {0.0}


def test_what_was_done_to_a_file_is_told(course: Course) -> None:
    path = hand_in(course.root, "ann", "name = 'ann'")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"}")
    whole = hand_in(course.root, "bob", "name = 'bob'")
    whole.write_bytes(whole.read_bytes()[:-3])
    found = grade(course)
    (note,) = found["ann"].notebooks[0].notes
    assert note == "tiny: what stood in the file after the end of the notebook was left out"
    (flag,) = found["bob"].notebooks[0].reasons
    assert flag.startswith("tiny: the file is not whole: it is cut off or damaged at line ")


def test_only_a_few_submissions_are_in_memory(course: Course) -> None:
    """A backend is given the next job only when it asks for it, and one ends before the next."""

    class Lazy(Fake):
        def run(self, jobs: Any) -> Iterator[tuple[str, Any]]:
            for number, (key, job) in enumerate(jobs):
                autograded = list((course.root / "autograded").glob("*"))
                assert len(autograded) == number
                yield key, right(job)

    assert len(grade(course, Lazy())) == 4


# -- When something goes wrong -----------------------------------------------------------------


def test_one_submission_never_stops_the_others(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(pages: Any, notebook: Any) -> Any:
        if any(cell.source == "name = 'ann'" for cell in notebook.cells):
            raise RuntimeError("a mistake of ours")
        return notebook

    def answer(job: Job) -> Any:
        if any(cell["source"] == "name = 'bob'" for cell in job.notebook["cells"]):
            return Failed("its worker died")
        return right(job)

    long = course.root / "submitted" / ("x" * 200) / WEEK
    shutil.copytree(course.root / "submitted" / "ann" / WEEK, long)
    undecodable = os.fsencode(course.root / "submitted") + b"/\xff\xfe/" + WEEK.encode()
    os.makedirs(undecodable)
    (course.root / "submitted" / "file").mkdir()
    (course.root / "submitted" / "file" / WEEK).write_text("no folder")
    (course.root / "submitted" / "link").mkdir()
    (course.root / "submitted" / "link" / WEEK).symlink_to("/etc")
    with monkeypatch.context() as patch:
        patch.setattr(Pages, "sanitised", fail)
        found = grade(course, Fake(answer))
    (ann,), (bob,) = (found[s].notebooks[0].reasons for s in ("ann", "bob"))
    assert ann.startswith("tiny: the grader itself failed on it (RuntimeError: a mistake of ours")
    assert bob == "tiny: it could not be run: its worker died"
    assert [found[s].status for s in STUDENTS] == ["refused", "refused", "graded", "graded"]
    assert "is a symbolic link" in found["link"].notebooks[0].reasons[0]
    assert "is a file, not a folder" in found["file"].notebooks[0].reasons[0]
    for student in ("x" * 200, os.fsdecode(b"\xff\xfe")):
        assert "rename" in found[student].notebooks[0].reasons[0]
    assert {found[s].score() for s in found if found[s].status == "refused"} == {0.0}
    assert grade_.exit_code(found.values()) == 3
    rows = state_rows(course)
    assert {row.score for row in rows["ann"].rows["tiny"].values()} == {0.0}
    assert set(rows) == {*STUDENTS, "file", "link"}
    page = (course.root / "feedback" / "bob" / WEEK / "tiny.html").read_text(encoding="utf-8")
    assert "its worker died" in page
    # What was not the submission's fault is tried again.
    backend = Fake()
    found = grade(course, backend)
    assert [found[s].status for s in STUDENTS] == ["graded"] * 4
    assert len(backend.ran) == 1  # ann's result was kept


def test_a_machine_without_pages_grades_nobody(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(pages: Any, notebook: Any) -> Any:
        raise PageError("the process that makes pages has ended")

    before = state(course.root)
    with monkeypatch.context() as patch:
        patch.setattr(Pages, "sanitised", fail)
        with pytest.raises(CourseError, match="no page can be made on this machine"):
            grade(course)
    assert state(course.root) == before
    assert len(grade(course)) == 4


@pytest.mark.parametrize("step", ["sanitised", "feedback"])
def test_a_page_that_can_not_be_made_is_made_without_outputs(
    course: Course, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    whole = getattr(Pages, step)

    def fail(pages: Any, notebook: Any, **options: Any) -> Any:
        if any(cell.get("outputs") for cell in notebook.cells):
            raise PageError("it took longer than 20 s")
        return whole(pages, notebook, **options)

    def answer(job: Job) -> Any:
        shown = {"output_type": "stream", "name": "stdout", "text": "shown by ann"}
        for cell in job.notebook["cells"]:
            cell["outputs"] = [shown] * (cell["source"] == "name = 'ann'")
        return right(job)

    with monkeypatch.context() as patch:
        patch.setattr(Pages, step, fail)
        found = grade(course, Fake(answer))
    assert [found[s].status for s in STUDENTS] == ["flagged", "graded", "graded", "graded"]
    (reason,) = found["ann"].notebooks[0].reasons
    assert reason.startswith("tiny: what its cells show is left out (it took longer than 20 s)")
    page = (course.root / "feedback" / "ann" / WEEK / "tiny.html").read_text("utf-8")
    assert "shown by ann" not in page and "Correct: line" in page and found["ann"].score() == 3.0


def state_rows(course: Course) -> dict[str, Any]:
    with Recorder(f"sqlite:///{course.root / 'gradebook.db'}", WEEK) as recorder:
        return recorder.read([*STUDENTS, "file", "link"])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SandboxError("no bubblewrap."), r"\[sandbox\] no bubblewrap. Or pass --unsafe"),
        (BackendError("no worker."), r"\[backend\] no worker."),
    ],
)
def test_where_nothing_can_be_run(course: Course, error: Exception, said: str) -> None:
    def answer(job: Job) -> Any:
        raise error

    with pytest.raises(CourseError, match=said):
        grade(course, Fake(answer))
    assert len(grade(course)) == 4


@pytest.mark.parametrize("number", range(0, 16, 3))
def test_a_full_disk(
    course: Course, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    whole = course_.load(shutil.copytree(template, tmp_path / "whole"))
    grade(whole)
    left, write = [number], files.write

    def full(path: Path, content: bytes) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        left[0] -= 1
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        with pytest.raises(CourseError, match="No space left on device"):
            grade(course)
    grade(course)
    assert comparable(state(course.root)) == comparable(state(whole.root))


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    """Without the times, which differ between two copies of a course."""
    for standing in found["rows"].values():
        standing.received = None
    return found


def test_a_locked_gradebook_loses_no_result(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradebook_, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(gradebook_, "WAITS", (0.1,))
    told: list[str] = []
    other = sqlite3.connect(course.root / "gradebook.db")
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("BEGIN IMMEDIATE")
    first, second = Fake(), Fake()
    with pytest.raises(CourseError, match="database is locked"):
        grade(course, first, progress=grade_.Progress(tell=told.append))
    assert told and "trying again" in told[0]
    other.rollback()
    assert len(grade(course, second)) == 4
    assert len(first.ran) + len(second.ran) == 5


def test_cells_that_the_gradebook_does_not_know(course: Course) -> None:
    path = course.root / "source" / WEEK / "tiny.ipynb"
    path.write_text(path.read_text(encoding="utf-8").replace("test-double", "test-triple"))
    with pytest.raises(CourseError, match="run: autograder build"):
        grade(course)


# -- nbgrader's own commands -------------------------------------------------------------------


@pytest.fixture
def api(course: Course, monkeypatch: pytest.MonkeyPatch) -> NbGraderAPI:
    """What formgrader's buttons call, with a backend for which all is right."""

    class Pool(Fake):
        def __init__(self, workers: int, *, sandbox: bool) -> None:
            assert workers >= 1 and sandbox
            super().__init__()
            pools.append(self)

        def __enter__(self) -> Fake:
            return self

        def __exit__(self, *error: object) -> None:
            pass

    pools: list[Fake] = []
    config = settings.load_config(course)  # nbgrader is imported: so this installs our class
    monkeypatch.setattr(autograde_, "LocalPool", Pool)
    found = NbGraderAPI(config=config)
    found.pools = pools
    return found


def test_formgraders_button_is_our_grader(course: Course, api: NbGraderAPI) -> None:
    folder = course.root / "submitted" / "ann" / WEEK
    (folder / "data.csv").symlink_to("/etc/passwd")
    (folder / "other").symlink_to("/dev/zero")
    (folder / "timestamp.txt").write_text("2026-01-05 11:30:00 UTC")
    assert "ann" not in api.get_autograded_students(WEEK)
    done = api.autograde(WEEK, "ann")
    assert done["success"], done
    assert "week01_tiny of ann: graded, 3 points + 1" in done["log"]
    files = sorted(p.name for p in (course.root / "autograded" / "ann" / WEEK).iterdir())
    assert files == ["timestamp.txt", "tiny.ipynb"]
    assert api.get_autograded_students(WEEK) == {"ann"}
    hand_in(course.root, "ann", "came_again = True")
    assert api.get_autograded_students(WEEK) == set()
    api.autograde(WEEK, "ann")
    api.autograde(WEEK, "ann", force=False)
    ran = [len(pool.ran) for pool in api.pools]
    assert ran == [2, 1, 0], "the instructor's own solutions run once"


def test_nbgraders_options(course: Course, api: NbGraderAPI) -> None:
    def graded(**options: Any) -> list[str]:
        for name, value in options.pop("directory", {}).items():
            setattr(api.coursedir, name, value)
        with temp_attrs(api.coursedir, assignment_id=WEEK, **options):
            found = autograde_.Autograde(coursedir=api.coursedir, parent=api)
            found.start()
        names = [p.parent.name for p in course.root.glob(f"autograded/*/{WEEK}")]
        shutil.rmtree(course.root / "autograded")
        return sorted(names)

    assert graded() == STUDENTS
    assert graded(student_id="[ab]*") == ["ann", "bob"]
    assert graded(student_id_exclude="ann,dee") == ["bob", "cid"]
    assert graded(notebook_id="ti*") == STUDENTS
    odd = course.root / "submitted" / "[ab]*"  # one's name before it is a pattern
    shutil.copytree(course.root / "submitted" / "ann", odd)
    assert graded(student_id="[ab]*") == ["[ab]*"]
    for options in ({"student_id": "nobody"}, {"notebook_id": "none"}):
        with pytest.raises(NbGraderException, match="No notebooks were matched"):
            graded(**options)
    api.config.Execute.enabled = False
    with pytest.raises(NbGraderException, match="--no-execute"):
        graded()


def test_only_students_who_are_known(course: Course, api: NbGraderAPI) -> None:
    done = api.autograde(WEEK, "ann", create=False)
    assert not done["success"] and "No student with ID 'ann' exists" in done["log"]
    api.autograde(WEEK, "ann")
    assert api.autograde(WEEK, "ann", create=False)["success"]


def test_what_stops_our_grader_is_told_in_nbgraders_log(course: Course, api: NbGraderAPI) -> None:
    (course.root / "source" / WEEK / "tiny.ipynb").unlink()
    done = api.autograde(WEEK, "ann")
    assert (
        not done["success"] and "[ERROR] source/week01_tiny/tiny.ipynb: [not-built]" in done["log"]
    )


def test_nbgraders_own_class_never_runs(course: Course) -> None:
    config = settings.load_config(course)
    found = NbGraderAPI(config=config)
    with (
        temp_attrs(found.coursedir, assignment_id=WEEK, student_id="ann"),
        pytest.raises(NbGraderException, match="without a sandbox"),
    ):
        autograde_.NbGraderAutograde(coursedir=found.coursedir, parent=found).start()
    assert not (course.root / "autograded").exists()


def test_reading_the_settings_imports_nothing_of_nbgrader(course: Course) -> None:
    grade(course)
    code = (
        "import sys\nfrom autograder import cli\n"
        "sys.argv = ['autograder', 'grade', '1']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print(sorted({'nbgrader', 'nbformat', 'torch'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=course.root, check=True)
    done = subprocess.run([sys.executable, "-c", code], cwd=course.root, capture_output=True)
    assert done.stdout.decode().splitlines()[-1] == "[]", done.stderr


# -- kill -9 -----------------------------------------------------------------------------------


def killed_before(step: int, course: Course) -> bool:
    """Grade in a process that is killed before it puts a file in its place or commits, for the
    step-th time (from 0). Whether it came that far."""
    child = os.fork()
    if not child:
        left, replace = [step], Path.replace

        def count(*_: object) -> None:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

        def put(self: Path, target: Path) -> Path:
            count()
            return replace(self, target)

        try:
            Path.replace = put  # type: ignore[method-assign]
            sa.event.listen(sa.Engine, "commit", count)
            grade(course)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status != 0


def kept(root: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in (root / ".grading").glob("*.json")}


def test_kill_9_at_any_moment(template: Path, tmp_path: Path) -> None:
    whole = course_.load(shutil.copytree(template, tmp_path / "whole"))
    grade(whole)
    want = comparable(state(whole.root))
    for step in itertools.count():
        course = course_.load(shutil.copytree(template, tmp_path / str(step)))
        came = killed_before(step, course)
        results, backend = kept(course.root), Fake()
        grade(course, backend)
        assert comparable(state(course.root)) == want, step
        # What had run did not run again.
        assert len(backend.ran) == 5 - len(results)
        assert {p: p.stat().st_mtime_ns for p in results} == results
        if not came:
            break
    assert step >= 20  # of four students: a result, a notebook, a page, an entry and a commit each


MOMENTS = {"the first result": ("*.json", 1), "the third entry": (f"{WEEK}/*.json", 3)}


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_9_of_the_command(course: Course, moment: str) -> None:
    root, (pattern, number) = course.root, MOMENTS[moment]
    process = command(root)
    ended = process.poll
    until(lambda: len([*(root / ".grading").glob(pattern)]) >= number or ended() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    results = kept(root)
    assert command(root).wait() == 0
    whole = course_.load(root)
    assert {g.score() for g in grade(whole, Fake(never)).values()} == {3.0}
    assert {p: p.stat().st_mtime_ns for p in results} == results


def command(root: Path) -> subprocess.Popen:
    line = [sys.executable, "-m", "autograder", "grade", "1", "--jobs", "2"]
    return subprocess.Popen(line, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
