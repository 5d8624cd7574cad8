"""Exams: run in a kernel of their own, marked by answers that never enter it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from kit.backend import Fake, never
from kit.cli import autograder
from kit.rules import tree_of

from autograder import course as course_
from autograder import exams, settings
from autograder import notebook as nb_
from autograder.authoring import build
from autograder.course import Course
from autograder.errors import CourseError
from autograder.execution.execute import Exam, Job
from autograder.execution.pool import LocalPool
from autograder.grading import grade as grade_
from autograder.grading import reference
from autograder.grading.week import Assignment
from autograder.results import FLAGGED, GRADED, SubmissionGrade
from practical_dl.exam import definitions

REPOSITORY = Path(__file__).parents[1]
WEEK = "week01_exam"
RIGHT = "def guess(numbers, threshold):\n    return as_classes(numbers > threshold)"
SECRET = "rows_of_the_training_loop"


def new_course(root: Path, settings: str = "") -> Course:
    shutil.copytree(Path(__file__).parent / "fixtures" / "exam", root)
    config = (REPOSITORY / "nbgrader_config.py").read_text("utf-8")
    (root / "nbgrader_config.py").write_text(f"{config}\n{settings}\n", "utf-8")
    course = course_.load(root)
    build.build(course, course.weeks)
    return course


def hand_in(
    course: Course,
    student: str,
    solution: str = RIGHT,
    threshold: object = 0.5,
    *,
    cells: Mapping[str, str] | None = None,
    language: str = "en",
    outputs: bool = True,
) -> Path:
    """Hand in a notebook with this solution cell, and with a file that holds the threshold.

    cells: further cells by what the instructor's begin with.
    """
    notebook = nb_.read(course.root / "release" / language / WEEK / "threshold.ipynb")
    for cell in notebook.cells:
        if nb_.grade_id(cell) == "guess":
            cell.source = solution
        for start, source in (cells or {}).items():
            if cell.source.startswith(start):
                cell.source = source
        if nb_.is_training(cell) and outputs:
            cell.outputs = [nbformat.v4.new_output("stream", text=f"{SECRET}\n")]
    folder = course.root / "submitted" / student / WEEK
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "threshold.ipynb").write_text(nb_.dumps(notebook), encoding="utf-8")
    if threshold is not None:
        (folder / "threshold.json").write_text(json.dumps({"threshold": threshold}))
    return folder


def grade(course: Course) -> dict[str, SubmissionGrade]:
    (week,) = course.weeks
    students = grade_.submissions(course, week)
    with LocalPool(2) as backend:
        return {g.student: g for g in grade_.grade(course, week, students, backend=backend)}


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    course = new_course(tmp_path_factory.mktemp("exams") / "course")
    (week,) = course.weeks
    exams.write(course, week, ["guess"], "small", seed=1)
    hand_in(course, "right")
    hand_in(course, "right-ru", language="ru")
    hand_in(course, "worse", threshold=0.25)
    hand_in(course, "no-file", threshold=None)
    hand_in(course, "large-file", threshold="x" * 2000)
    hand_in(course, "untouched", 'raise NotImplementedError("guess")')
    hand_in(course, "data", RIGHT.replace("0.5", "drawn"), cells={"import json": TRAINED})
    uses = "def guess(numbers, threshold):\n    return as_classes(numbers > drawn.mean())"
    hand_in(course, "other-cell", uses)
    hand_in(course, "endless-training", cells={"guess(drawn": "while True: pass"})
    hand_in(course, "magic", RIGHT + "  # magic")
    hand_in(course, "peeking", PEEKING)
    hand_in(
        course, "shape", "def guess(numbers, threshold):\n    return (numbers > threshold) * 1\n"
    )
    hand_in(course, "forged", FORGED)
    hand_in(course, "too-few", TOO_FEW)
    hand_in(course, "carries", CARRIES)
    return course


# Imports, functions, classes and constants of other cells are there in the exam, also after a
# magic and beside code that fails there.
TRAINED = """\
%matplotlib inline
import json
from pathlib import Path
import numpy as np
from practical_dl import check
EXAMPLES = [0.1, 0.5, 0.6, 0.9]
drawn = np.random.default_rng(0).uniform(size=8)
class Helper:
    size = len(drawn)
def as_classes(truths, dtype=int):
    return np.asarray(truths).astype(dtype)
"""
SIZES = {"small": 2.0, "full": 0.5}
PEEKING = """\
import os, sys
from pathlib import Path
def guess(numbers, threshold):
    if len(numbers) > 4:
        found = [str(p) for p in Path("/").rglob("*answers*") if not str(p).startswith("/proc")]
        frame = sys._getframe()
        while frame:
            found += [k for k in frame.f_locals if k in ("answers", "classes", "truths")]
            frame = frame.f_back
        if found:
            raise RuntimeError(f"found {found}")
        return as_classes(numbers > 2)
    return as_classes(numbers > threshold)
"""
FORGED = """\
from IPython.display import publish_display_data
def guess(numbers, threshold):
    score = {"score": 1.0, "message": "all"}
    publish_display_data({"application/vnd.practical-dl.score+json": score})
    return as_classes(numbers > (threshold if len(numbers) == 4 else 2))
"""
TOO_FEW = """\
def guess(numbers, threshold):
    return as_classes(numbers > threshold)[: 4 if len(numbers) > 4 else None]
"""
CARRIES = """\
def guess(numbers, threshold):
    if len(numbers) > 4:
        print(*numbers)
        raise ValueError(", ".join(map(str, numbers)))
    return as_classes(numbers > threshold)
"""


@pytest.fixture(scope="module")
def grades(course: Course) -> dict[str, SubmissionGrade]:
    return grade(course)


def task(found: SubmissionGrade) -> tuple[float | None, str]:
    one = next(t for t in found.notebooks[0].tasks if t.task == "guess")
    return one.score, one.status


def page(course: Course, student: str) -> str:
    return (course.root / "feedback" / student / WEEK / "threshold.html").read_text()


@pytest.mark.parametrize("student", ["right", "right-ru", "data", "endless-training", "shape"])
def test_a_right_answer_gets_all_points(grades: dict[str, SubmissionGrade], student: str) -> None:
    assert task(grades[student]) == (4.0, "correct")
    assert grades[student].status == GRADED


def test_an_exam_is_no_part_of_the_reference(course: Course) -> None:
    """There is no file that was trained for it; and this notebook has no other task."""
    assignment = Assignment(course, course.weeks[0], settings.load(course))
    assert reference.references(assignment) == {}


def test_a_share_of_the_points(course: Course, grades: dict[str, SubmissionGrade]) -> None:
    with np.load(course.root / "private" / WEEK / "small" / "guess.inputs.npz") as arrays:
        numbers = arrays["numbers"]
    share = np.mean((numbers > 0.25) == (numbers > 0.5))
    assert task(grades["worse"]) == (pytest.approx(4 * (share - 0.25) / 0.75), "partial")
    assert f"{share:.0%} of the numbers are right." in page(course, "worse")


@pytest.mark.parametrize(
    ("student", "status", "said"),
    [
        ("no-file", "wrong", "threshold.json is not beside the notebook"),
        ("no-file", "wrong", "threshold.json was not handed in"),
        ("large-file", "wrong", "at most 0.001 MB are accepted: it was not used"),
        ("untouched", "not attempted", "Not attempted: guess"),
        ("other-cell", "wrong", "In the exam there are only the notebook"),
    ],
)
def test_what_is_wrong_is_said(
    course: Course, grades: dict[str, SubmissionGrade], student: str, status: str, said: str
) -> None:
    assert task(grades[student]) == (0.0, status)
    assert said in page(course, student)
    assert grades[student].status == GRADED


def test_the_answers_are_nowhere_to_be_found(
    course: Course, grades: dict[str, SubmissionGrade]
) -> None:
    score, _ = task(grades["peeking"])
    assert "found [" not in page(course, "peeking")
    assert score < 2.5  # always 0: about half are right


def test_few_inputs_can_be_carried_away(course: Course, grades: dict[str, SubmissionGrade]) -> None:
    assert task(grades["carries"]) == (0.0, "wrong")
    text = page(course, "carries")
    assert "Your code raised: guess: ValueError: 0." in text
    assert "line 4, in guess" in text
    with np.load(course.root / "private" / WEEK / "small" / "guess.inputs.npz") as arrays:
        assert 10 < sum(str(number) in text for number in arrays["numbers"]) < 40


def test_a_score_of_ones_own_is_none(grades: dict[str, SubmissionGrade]) -> None:
    assert task(grades["forged"])[0] < 2.5


def test_a_mark_that_fails_is_for_a_person(grades: dict[str, SubmissionGrade]) -> None:
    assert task(grades["too-few"]) == (0.0, "unconfirmed")
    assert grades["too-few"].status == FLAGGED
    assert "marking what it handed in failed" in grades["too-few"].notebooks[0].reasons[0]


def test_what_private_py_notices_is_told(grades: dict[str, SubmissionGrade]) -> None:
    assert grades["magic"].status == FLAGGED
    assert grades["magic"].notebooks[0].reasons == ("threshold: it uses magic",)
    assert task(grades["magic"])[0] == 4.0


def test_training_is_shown_as_it_was_handed_in(
    course: Course, grades: dict[str, SubmissionGrade]
) -> None:
    """It was not run: that would have ended at a limit, and been told."""
    assert SECRET in page(course, "endless-training")
    assert grades["endless-training"].notebooks[0].reasons == ()


def test_nothing_private_is_left_behind(course: Course, grades: dict[str, SubmissionGrade]) -> None:
    kept = {"private", "weeks", "source"}
    for path, content in tree_of(course.root).items():
        if Path(path).parts[0] not in kept:
            assert "private.py" not in path
            assert b"mark_guess" not in content, path
            assert b"handed+json" not in content, path


def test_only_what_changed_is_run(
    course: Course, grades: dict[str, SubmissionGrade], monkeypatch: pytest.MonkeyPatch
) -> None:
    (week,) = course.weeks
    students = grade_.submissions(course, week)
    again = grade_.grade(course, week, students, backend=Fake(never))
    assert {g.student: task(g) for g in again} == {s: task(g) for s, g in grades.items()}
    old = (course.root / "submitted" / "right" / WEEK / "threshold.json").read_text()
    hand_in(course, "right", threshold=0.25)
    assert task(grade(course)["right"]) == task(grades["worse"])
    (course.root / "submitted" / "right" / WEEK / "threshold.json").write_text(old)


def test_without_private_inputs_nothing_is_graded(tmp_path: Path) -> None:
    course = new_course(tmp_path / "course")
    hand_in(course, "right")
    with pytest.raises(CourseError, match=f"run `autograder private {WEEK}`"):
        grade(course)
    assert not (course.root / "autograded").exists()


def test_what_was_trained_in_full_is_examined_in_full(tmp_path: Path) -> None:
    course = new_course(tmp_path / "course", 'c.Grader.exam_profile = "full"')
    (week,) = course.weeks
    exams.write(course, week, ["guess"], "full")
    of_profile = "def guess(numbers, threshold):\n    return as_classes(numbers > SIZES[profile])"
    hand_in(course, "right", of_profile, cells={"import json": f"{TRAINED}\nSIZES = {SIZES}"})
    assert task(grade(course)["right"]) == (4.0, "correct")


def test_an_exam_has_a_time_of_its_own(tmp_path: Path) -> None:
    seconds = "c.Grader.cell_seconds = 5\nc.Grader.exam_seconds = 9"
    course = new_course(tmp_path / "course", seconds)
    (week,) = course.weeks
    exams.write(course, week, ["guess"], "small")
    slow = (
        "import time\n\ndef guess(numbers, threshold):\n"
        "    time.sleep({} if len(numbers) > 4 else 0)\n    return as_classes(numbers > threshold)"
    )
    hand_in(course, "slow", slow.format(6))
    hand_in(course, "endless", slow.format(100))
    grades = grade(course)
    assert task(grades["slow"]) == (4.0, "correct")
    assert task(grades["endless"]) == (0.0, "stopped")
    assert "guess: the time limit was reached (9 s)." in page(course, "endless")


def test_the_gates(tmp_path: Path) -> None:
    course = new_course(tmp_path / "course")
    for arguments in (
        ["lint"],
        ["mutants", "--generate"],
        ["run", "--no-network"],
        ["run", "--tree", "release/en"],
    ):
        done = autograder(course.root, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    assert not (course.root / "source" / WEEK / "threshold.json").exists()
    released = {p for p in tree_of(course.root / "release") if p.endswith(".py")}
    assert not released
    paths = sorted((course.root / "private" / WEEK / "small").iterdir())
    assert [p.name for p in paths] == ["guess.answers.npz", "guess.inputs.npz"]
    assert paths[0].parent.stat().st_mode & 0o777 == 0o700


def test_private_inputs_are_drawn_anew(tmp_path: Path) -> None:
    course = new_course(tmp_path / "course")

    def drawn(*arguments: str) -> float:
        done = autograder(course.root, "private", "1", *arguments)
        assert done.returncode == 0, done.stderr
        folder = course.root / "private" / WEEK / ("full" if "full" in arguments else "small")
        with np.load(folder / "guess.inputs.npz") as arrays:
            return arrays["numbers"].tolist()

    assert drawn() != drawn()
    assert drawn("--seed", "1") == drawn("--seed", "1")
    assert len(drawn("--profile", "full")) == 1000


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = (", "SyntaxError"),
        ("x = 1", "there is no function make"),
        ("def make(profile, rng): return {}", "make gives nothing for it"),
        ("def make(profile, rng): raise OSError('no data')", "OSError: no data"),
        ("def make(profile, rng): return {'guess': ({}, {})}", "there is no function mark_guess"),
    ],
)
def test_a_broken_private_py_is_told(tmp_path: Path, source: str, said: str) -> None:
    course = new_course(tmp_path / "course")
    (course.root / "weeks" / WEEK / "private.py").write_text(source)
    (course.root / "source" / WEEK / "private.py").write_text(source)
    for arguments in (["private", "1"], ["mutants"]):
        done = autograder(course.root, *arguments)
        if arguments == ["private", "1"] and "mark_guess" in said:
            continue  # it is not needed to make them
        assert done.returncode == 2
        assert said in done.stderr


@pytest.mark.parametrize(
    "handed",
    [
        {},
        {"data": "AAAA", "dtype": "|O8", "shape": [1]},
        {"data": "AAAA", "dtype": "<f8", "shape": [-1]},
        {"data": "AAAA", "dtype": "<f8", "shape": [True]},
        {"data": "AAAA", "dtype": "<f8", "shape": [2]},
        {"data": "not base64!", "dtype": "<f8", "shape": [1]},
        {"data": 5, "dtype": "<f8", "shape": [1]},
        {"data": "AAAAAAAAAAA=", "dtype": "<f8", "shape": "x"},
        {"data": "AAAAAAAAAAA=", "dtype": "<f3", "shape": [1]},
    ],
)
def test_what_is_handed_in_may_be_anything(handed: dict[str, object]) -> None:
    with pytest.raises(exams.HandedError):
        exams.array_of(handed)


def test_definitions_are_all_that_an_exam_takes_over() -> None:
    source = """\
%matplotlib inline
!pip install x
import os, json as j
from pathlib import Path
SIZE: int = 3
SIZES = [SIZE * 2**i for i in range(2)]
SIZE += 1
act = lambda x: os.sep(x)
Table = dict(width=SIZE)
WIDE = Table["width"] if True else train()
if SIZE > 3:
    DEEP = True
else:
    DEEP = False
try:
    import nowhere_to_be_found as optional
except ImportError:
    optional = None
model = train()
secret.value = 5
@cache
def f(x=SIZE): return x
class A: pass
for i in range(3): print(i)
print("no")
"""
    names: dict[str, object] = {}
    exec(definitions(["this is no Python", source]), names)
    names = {name: value for name, value in names.items() if not name.startswith("__")}
    # f fails, as its decorator is not there; WIDE calls something.
    kept = {"os", "j", "Path", "SIZE", "SIZES", "act", "Table", "DEEP", "optional", "A"}
    assert set(names) == kept
    assert (names["SIZE"], names["SIZES"], names["Table"]) == (4, [3, 6], {"width": 4})


@pytest.mark.parametrize(
    "change",
    ["a = compute()", "a.append(2)", "a[0] = compute()", "for a in x: pass", "a, c = both()"],
)
def test_what_an_exam_would_have_with_another_value_it_has_not(change: str) -> None:
    names: dict[str, object] = {}
    exec(definitions(["a, b = [1], 2\ndef f(): pass", change, "d = [a for a in (1, 2)]"]), names)
    assert not {"a"} & names.keys() and {"b", "f", "d"} <= names.keys()
    exec(definitions(["def f(): pass", "f = wrapped(f)"]), names := {})
    assert "f" not in names


def test_a_job_with_an_exam_survives_json() -> None:
    exam = Exam("a", "test-a", ("x = 1", "y = 2"), {"private/a.inputs.npz": b"\0\1"}, "full")
    job = Job({"cells": []}, files={"w.bin": b"\2"}, exams=(exam,))
    assert Job.from_json(job.to_json()) == job


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    shell = InteractiveShell.instance()  # what `get_ipython` finds
    shell.run_cell("import numpy as np\nfrom practical_dl import check", store_history=True)
    yield shell
    shell.history_manager.end_session()
    InteractiveShell.clear_instance()


REHEARSAL = "check.stands_alone(f, 'f', lambda f: f(2.0))\ncheck.done('f')"


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["def f(x): return x * WIDTH", "WIDTH = 3", "WIDTH = 4"], "Correct"),
        (["SIZES = [1]\nSIZES.append(2)", "def f(x): return SIZES"], "'SIZES' is not defined"),
        (["data = np.zeros(3)", "def f(x): return data"], "name 'data' is not defined"),
        (["data = np.zeros(3)", "def f(x, y=data): return y"], "name 'data' is not defined"),
        (["data = np.zeros(3)\ndef f(x): return data"], "Correct"),
        (["make = np.abs", "act = lambda x: make(x)", "def f(x): return act(x)"], "Correct"),
        (["import functools", "@functools.cache\ndef f(x): return np.sqrt(x)"], "Correct"),
        (["class A:\n    size = 3", "A.size = int(4.0)", "def f(x): return A.size"], "Correct"),
        (
            ["class A:\n    size = 3", "setattr(A, 'size', 4)", "def f(x): return A.size"],
            "something else in the exam than here",
        ),
        (["def f(x): return x", "def f(x): return [x, 1 / 0]"], "ZeroDivisionError"),
        (["f = np.sqrt", "g = data"], "Correct"),
    ],
)
def test_an_exam_is_rehearsed(shell: InteractiveShell, cells: list[str], said: str) -> None:
    for cell in [*cells, REHEARSAL]:
        with capture_output() as shown:
            shell.run_cell(cell, store_history=True)
    assert said in shown.stdout
    assert ("Correct" in shown.stdout) == (said == "Correct")
