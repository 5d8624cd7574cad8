"""Weeks that require notebooks, and weeks with notebooks of which the better one counts."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from kit.rules import SOURCE, WEEK, copy_tiny, edit

from autograder import course as course_
from autograder import notebook as nb_
from autograder.authoring import build
from autograder.authoring.text import BEGIN_SOLUTION, END_SOLUTION
from autograder.course import Course
from autograder.execution.pool import LocalPool
from autograder.gradebook import Recorder
from autograder.grading import grade as grade_
from autograder.pages import report, tables
from autograder.results import (
    GRADED,
    INCOMPLETE,
    MISSING,
    NotebookGrade,
    SubmissionGrade,
    TaskGrade,
    counting,
)

REPOSITORY = Path(__file__).parents[2]
NAMES = ("base", "ppo", "a2c-optional")
# What each student hands in, by notebook: the tasks that are right.
STUDENTS = {
    "both": {"base": ["line"], "ppo": ["line"], "a2c-optional": ["line", "distance"]},
    "chose": {"base": ["line", "distance"], "ppo": ["line", "double"]},
    "equal": {"base": [], "ppo": ["line"], "a2c-optional": ["line", "double"]},
    "no-base": {"ppo": ["line", "distance", "double"]},
}


def notebook(name: str) -> str:
    """The tiny notebook with other task IDs, so that it fits into the same week."""
    source = SOURCE
    for task in ("line", "distance", "double"):
        for text in (f'="{task}"', f"{{{{task:{task}}}}}"):
            source = source.replace(text, text.replace(task, f"{task}_{name[0]}"))
    return source


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Course, dict]]:
    root = copy_tiny(tmp_path_factory.mktemp("choice") / "course")
    shutil.copy(REPOSITORY / "nbgrader_config.py", root)
    week = 'title = { en = "Choice", ru = "Выбор" }\npoints = 6\n'
    for name, more in zip(NAMES, ("required = true", *['one_of = "agent"'] * 2), strict=True):
        week += f'\n[[notebook]]\nname = "{name}"\npoints = 3\nbonus = 1\ntier = "cpu"\n{more}\n'
        edit(root, (f"weeks/{WEEK}/{name}.py", None, notebook(name)))
    edit(root, (f"weeks/{WEEK}/week.toml", None, week), (f"weeks/{WEEK}/tiny.py", "", None))
    course = course_.load(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
        build.build(course, course.weeks)
        for student, handed in STUDENTS.items():
            for name, right in handed.items():
                language = "ru" if student == "no-base" else "en"
                hand_in(course, student, name, right, language)
        with LocalPool(2) as backend:
            grades = grade_.grade(course, course.weeks[0], sorted(STUDENTS), backend=backend)
        yield course, {grade.student: grade for grade in grades}


def hand_in(course: Course, student: str, name: str, right: list[str], language: str) -> None:
    """The released notebook with the reference's cells for these tasks."""
    released = nb_.read(course.root / "release" / language / WEEK / f"{name}.ipynb")
    source = nb_.read(course.root / "source" / WEEK / f"{name}.ipynb")
    solutions = {nb_.grade_id(c): c.source for c in source.cells if nb_.is_solution(c)}
    for cell in released.cells:
        if nb_.grade_id(cell) in [f"{task}_{name[0]}" for task in right]:
            lines = solutions[nb_.grade_id(cell)].split("\n")
            marks = (BEGIN_SOLUTION, END_SOLUTION)
            cell.source = "\n".join(line for line in lines if line.strip() not in marks)
    folder = course.root / "submitted" / student / WEEK
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(released, folder / f"{name}.ipynb")


def test_the_better_one_counts(graded: tuple[Course, dict]) -> None:
    _, grades = graded
    got = {s: (g.score(), g.score(bonus=True), g.status) for s, g in grades.items()}
    assert got == {
        "both": (1 + 3, 0, GRADED),
        "chose": (3 + 1, 1, GRADED),
        "equal": (0 + 1, 1, GRADED),  # of equal points the bonus decides
        "no-base": (3, 1, INCOMPLETE),
    }
    counts = {s: [n.name for n in g.notebooks if n.counts] for s, g in grades.items()}
    assert counts["both"] == counts["equal"] == ["base", "a2c-optional"]
    assert counts["chose"] == counts["no-base"] == ["base", "ppo"]


def test_what_lacks_is_told_and_what_was_not_chosen_is_not(graded: tuple[Course, dict]) -> None:
    _, grades = graded
    reasons = {s: [r for n in g.notebooks for r in n.reasons] for s, g in grades.items()}
    assert reasons == {
        "both": [],
        "chose": [],
        "equal": [],
        "no-base": ["base.ipynb is required, and was not handed in"],
    }


def test_table_and_report_say_which(graded: tuple[Course, dict]) -> None:
    course, grades = graded
    week = course.weeks[0]
    found = [grades[s] for s in sorted(grades)]
    cells = [list(column.cells) for column in tables.grades(week, found).columns]
    assert cells[2] == ["(1)", "1", "(1)", "3"] and cells[3] == ["3", "(0)", "1", "(0)"]
    assert "In brackets" in str(tables.grades(week, found).caption)
    page = report.render(course, week, found)
    assert "(1)</a>" in page and "In brackets" in page and ">incomplete<" in page
    assert "of 6" in page


def test_the_students_page_says_which_in_their_language(graded: tuple[Course, dict]) -> None:
    course, _ = graded

    def page(student: str, name: str) -> str:
        return (course.root / "feedback" / student / WEEK / f"{name}.html").read_text("utf-8")

    assert "Of ppo, a2c-optional the better one counts; now it is a2c-optional." in page(
        "both", "ppo"
    )
    assert "better one counts" not in page("both", "base")
    russian = page("no-base", "ppo")
    assert "Из ppo, a2c-optional засчитывается лучший; сейчас это ppo." in russian
    assert "Не сдан обязательный ноутбук base.ipynb." in russian


def test_a_mark_by_hand_may_change_which_counts(graded: tuple[Course, dict]) -> None:
    """The pages of the whole group are renewed, and nothing is run."""
    course, _ = graded
    week = course.weeks[0]

    def regrade() -> SubmissionGrade:
        with LocalPool(1) as backend:
            (found,) = grade_.grade(course, week, ["both"], backend=backend)
        return found

    from nbgrader.api import Gradebook

    url = f"sqlite:///{course.root / 'gradebook.db'}"
    with Gradebook(url) as gradebook:
        grade = gradebook.find_grade("test-distance_p", "ppo", WEEK, "both")
        grade.manual_score, grade.extra_credit = 2.0, 5.0
        gradebook.db.commit()
    found = regrade()
    assert [n.name for n in found.notebooks if n.counts] == ["base", "ppo"]
    assert found.score() == 1 + 8
    page = course.root / "feedback" / "both" / WEEK / "a2c-optional.html"
    assert "now it is ppo." in page.read_text("utf-8")
    with Gradebook(url) as gradebook:
        grade = gradebook.find_grade("test-distance_p", "ppo", WEEK, "both")
        grade.manual_score = grade.extra_credit = None
        gradebook.db.commit()
    assert regrade().score() == 4


def test_nbgraders_own_commands_follow(graded: tuple[Course, dict]) -> None:
    course, grades = graded
    nbgrader = str(Path(sys.executable).parent / "nbgrader")
    for line in (["export", "--to", "grades.csv"], ["generate_feedback", WEEK, "--force"]):
        done = subprocess.run([nbgrader, *line], cwd=course.root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    with (course.root / "grades.csv").open(encoding="utf-8") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    for student, grade in grades.items():
        row = rows[student]
        assert float(row["score"]) == grade.score() + grade.score(bonus=True)
        assert (float(row["bonus"]), float(row["max_score"])) == (grade.score(bonus=True), 6)
    assert {s: r["counted"] for s, r in rows.items()} == {
        "both": "a2c-optional", "chose": "ppo", "equal": "a2c-optional", "no-base": "ppo"
    }  # fmt: skip
    page = course.root / "feedback" / "both" / WEEK / "ppo.html"
    assert "now it is a2c-optional." in page.read_text("utf-8")


def test_the_gradebook_has_a_row_for_each(graded: tuple[Course, dict]) -> None:
    course, _ = graded
    with Recorder(f"sqlite:///{course.root / 'gradebook.db'}", WEEK) as recorder:
        standing = recorder.read(["chose"])["chose"]
    assert {name: len(standing.rows[name]) for name in NAMES} == dict.fromkeys(NAMES, 3)


def task(score: float, *, bonus: bool = False) -> TaskGrade:
    return TaskGrade("t", score, 3, bonus, "correct")


@pytest.mark.parametrize(
    ("penalty", "plain", "extra"), [(0, 2, 1), (1, 1, 1), (2.5, 0, 0.5), (9, 0, 0)]
)
def test_a_penalty_takes_bonus_points_last(penalty: float, plain: float, extra: float) -> None:
    tasks = (task(2), task(1, bonus=True))
    grade = NotebookGrade("n", GRADED, (), (), tasks, "en", 0.0, True, penalty)
    assert (grade.score(), grade.score(bonus=True)) == (plain, extra)


def test_of_what_is_equal_the_one_that_was_handed_in_counts(graded: tuple[Course, dict]) -> None:
    (week,) = graded[0].weeks
    got = {"base": (0.0,), "ppo": (0.0, 0.0, False), "a2c-optional": (0.0, 0.0, True)}
    assert counting(week, got) == {"base", "a2c-optional"}
    got["a2c-optional"] = (0.0, 0.0, False)
    assert counting(week, got) == {"base", "ppo"}


def test_who_hands_in_nothing_is_missing() -> None:
    parts = tuple(
        NotebookGrade(n, MISSING, (), (), (), "en", 0.0, True, required=True) for n in "ab"
    )
    assert SubmissionGrade("s", WEEK, parts).status == MISSING
    assert SubmissionGrade("s", WEEK, parts).score() == 0
