"""The demo class of the tiny course, graded for real, and nbgrader's own commands on top of it.

What holds for a class of any week is in tests/weeks/test_class.py.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import formgrader as formgrader_
from kit.cli import autograder
from kit.rules import WEEK, copy_tiny

from autograder import course as course_
from autograder import demo, settings
from autograder import notebook as nb_
from autograder.course import Course
from autograder.execution.pool import LocalPool
from autograder.grading import grade as grade_
from autograder.results import SubmissionGrade

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@dataclasses.dataclass(frozen=True)
class Class:
    """A graded demo class."""

    course: Course
    students: list[demo.Student]
    grades: list[SubmissionGrade]


@pytest.fixture(scope="module")
def tiny_class(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Class]:
    root = tmp_path_factory.mktemp("class") / "tiny"
    copy_tiny(root)
    shutil.copy(REPOSITORY / "nbgrader_config.py", root)
    course = course_.load(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "CELL_SECONDS", 5)
        patch.setenv("PATH", str(BIN), prepend=os.pathsep)
        own, students = demo.set_up(course, course.weeks[0])
        names = [s.name for s in students]
        with LocalPool(2) as backend:
            grades = grade_.grade(own, own.weeks[0], names, backend=backend)
        yield Class(own, students, grades)


def by_student(grades: list[SubmissionGrade]) -> dict[str, SubmissionGrade]:
    return {grade.student: grade for grade in grades}


def test_everybody_gets_the_score_computed_before(tiny_class: Class) -> None:
    assert demo.differences(tiny_class.students, tiny_class.grades) == []
    assert len(tiny_class.students) == 11


def test_the_demo_notices_a_wrong_score(tiny_class: Class) -> None:
    first = tiny_class.students[0]
    richer = dataclasses.replace(first.expected, scores={"tiny": (99.0, 0.0)})
    other = [dataclasses.replace(first, expected=richer), *tiny_class.students[1:]]
    (line,) = demo.differences(other, tiny_class.grades)
    assert line == "full-en: tiny got 3 + 1 bonus, expected 99 + 0"


def test_flags_say_why(tiny_class: Class) -> None:
    grades = by_student(tiny_class.grades)
    (tampering,) = grades["tampering"].notebooks[0].reasons
    assert "pass their visible checks in the notebook, but not apart from it" in tampering
    assert "interrupted after 5" in grades["endless"].notebooks[0].reasons[0]
    assert "exit code 1" in grades["crash"].notebooks[0].reasons[0]
    assert "but a web page" in grades["web-page"].notebooks[0].reasons[0]
    statuses = {t.task: t.status for t in grades["crash"].notebooks[0].tasks}
    assert statuses == {"line": "correct", "distance": "correct", "double": "stopped"}
    statuses = {t.status for t in grades["untouched"].notebooks[0].tasks}
    assert statuses == {"not attempted"}


def test_every_graded_cell_has_its_row(tiny_class: Class) -> None:
    from nbgrader.api import Gradebook

    with Gradebook(settings.db_url(tiny_class.course)) as gradebook:
        for student in tiny_class.students:
            notebook = gradebook.find_submission_notebook("tiny", WEEK, student.name)
            assert sorted(g.name for g in notebook.grades) == [
                "test-distance",
                "test-double",
                "test-line",
            ]


# -- nbgrader's own commands -------------------------------------------------------------------


def nbgrader(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    return subprocess.run(
        [str(BIN / "nbgrader"), *arguments],
        cwd=root,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )


def test_nbgrader_autograde_gives_the_same_scores(tiny_class: Class, tmp_path: Path) -> None:
    root = tmp_path / "course"
    shutil.copytree(tiny_class.course.root, root)
    for name in ("gradebook.db", ".grading", "autograded", "feedback"):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = nbgrader(root, "generate_assignment", WEEK, "--create", "--force")
    assert done.returncode == 0, done.stderr
    done = nbgrader(root, "autograde", WEEK, "--create")
    assert done.returncode == 0, done.stderr
    course = course_.load(root)
    names = [s.name for s in tiny_class.students]
    theirs = grade_.read_grades(course, course.weeks[0], names)
    for ours, grade in zip(tiny_class.grades, theirs, strict=True):
        assert [n.tasks for n in grade.notebooks] == [n.tasks for n in ours.notebooks]
        assert grade.status == ours.status
    done = nbgrader(root, "generate_feedback", WEEK)
    assert done.returncode == 0, done.stderr
    assert len(list((root / "feedback").glob(f"*/{WEEK}/tiny.html"))) == len(theirs)
    done = nbgrader(root, "export", "--to", "grades.csv")
    assert done.returncode == 0, done.stderr
    assert "full-en" in (root / "grades.csv").read_text()


@pytest.mark.parametrize(
    ("language", "title"), [("en", "# Two functions"), ("ru", "# Две функции")]
)
def test_nbgrader_generate_assignment_makes_our_release(
    tiny_class: Class, tmp_path: Path, language: str, title: str
) -> None:
    root = tmp_path / "course"
    shutil.copytree(tiny_class.course.root, root)
    built = root / "release" / language / WEEK / "tiny.ipynb"
    before = nb_.dumps(nb_.read(built))
    shutil.rmtree(built.parent)
    options = [
        f"--CourseDirectory.release_directory=release/{language}",
        f"--SelectLanguage.language={language}",
    ]
    done = nbgrader(root, "generate_assignment", WEEK, *options)
    assert done.returncode == 0, done.stderr
    assert nb_.dumps(nb_.read(built)) == before
    assert title in before


@pytest.mark.parametrize(
    ("student", "said"), [("full-en", "Success!"), ("mistake-1", "Wrong: line([1, 2], 3, 4)")]
)
def test_nbgrader_validate_for_students(
    tiny_class: Class, tmp_path: Path, student: str, said: str
) -> None:
    file = tiny_class.course.root / "submitted" / student / WEEK / "tiny.ipynb"
    shutil.copy(file, tmp_path / "tiny.ipynb")
    done = nbgrader(tmp_path, "validate", "tiny.ipynb")
    assert said in done.stdout, done.stdout + done.stderr


# -- Formgrader, in a browser ------------------------------------------------------------------


@pytest.fixture(scope="module")
def formgrader(tiny_class: Class) -> Iterator[str]:
    """The address of a running formgrader of the class."""
    with formgrader_.running(tiny_class.course, f"{WEEK}/tiny") as server:
        yield server.address


def test_formgrader_shows_the_class_and_grades_one(
    tiny_class: Class, formgrader: str, chromium: str
) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu"],
        )
        page = browser.new_page()
        page.goto(f"{formgrader}/formgrader/manage_submissions/{WEEK}")
        page.wait_for_selector("text=tampering")
        # The button of a student's row runs our grader and records what it finds.
        row = page.locator("tr", has_text="mistake-1")
        row.locator("td.autograde a, td.autograde button").first.click()
        page.wait_for_selector("text=Successfully autograded", timeout=120_000)
        page.goto(f"{formgrader}/formgrader/gradebook/{WEEK}/tiny")
        page.wait_for_selector("text=Submission #11")
        page.locator("a", has_text="Submission #").first.click()
        page.wait_for_selector("text=/Two functions|Две функции/")  # formgrader shuffles them
        browser.close()
    course = tiny_class.course
    (regraded,) = grade_.read_grades(course, course.weeks[0], ["mistake-1"])
    before = by_student(tiny_class.grades)["mistake-1"]
    assert [n.tasks for n in regraded.notebooks] == [n.tasks for n in before.notebooks]


# -- The commands ------------------------------------------------------------------------------


def test_grade_prints_a_table_and_writes_a_report(tiny_class: Class) -> None:
    done = autograder(tiny_class.course.root, "grade", "1", "--student", "tampering")
    assert done.returncode == 3, done.stderr
    assert "flagged" in done.stdout and "tampering" in done.stdout
    report = tiny_class.course.root / "reports" / f"{WEEK}.html"
    assert str(report) in done.stdout
    text = report.read_text(encoding="utf-8")
    assert "tampering" in text and "data:image/png;base64" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["9"], "unknown-week"),
        (["1", "--student", "nobody"], "there is no such folder"),
    ],
)
def test_bad_input_is_one_sentence(tiny_class: Class, arguments: list[str], sentence: str) -> None:
    done = autograder(tiny_class.course.root, "grade", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("submitted", "put submissions into"),
        ("nbgrader_config.py", "nbgrader needs it"),
        ("gradebook.db", "run: autograder build"),
        ("source", "run: autograder build"),
    ],
)
def test_what_is_missing_is_one_sentence(
    tiny_class: Class, tmp_path: Path, missing: str, sentence: str
) -> None:
    root = tmp_path / "course"
    shutil.copytree(tiny_class.course.root, root)
    path = root / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = autograder(root, "grade", "1")
    assert done.returncode == 2 and sentence in done.stderr


def test_scores_in_the_report_are_escaped(tiny_class: Class) -> None:
    from autograder.pages import report

    grade = tiny_class.grades[0]
    notebook = dataclasses.replace(grade.notebooks[0], reasons=("<script>alert(1)</script>",))
    evil = dataclasses.replace(grade, student="<img src=x>", notebooks=(notebook,))
    page = report.render(tiny_class.course, tiny_class.course.weeks[0], [evil])
    assert "<script>" not in page and "<img src=x>" not in page
    assert "&lt;script&gt;" in page


def test_the_cache_holds_plain_json(tiny_class: Class) -> None:
    for path in (tiny_class.course.root / ".grading").rglob("*.json"):
        assert isinstance(json.loads(path.read_text()), dict)
