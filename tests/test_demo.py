"""Who is in a demo class: by the groups of a week's notebooks, and by its own demo.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from kit.backend import Fake
from kit.rules import NOTEBOOK, SOURCE, WEEK, WEEK_TOML, Edit, copy_tiny, edit

from autograder import course as course_
from autograder import demo
from autograder.course import Course
from autograder.errors import CourseError
from autograder.grading import grade as grade_
from autograder.results import GRADED, INCOMPLETE

REPOSITORY = Path(__file__).parents[1]
DEMO = f"weeks/{WEEK}/demo.py"
CHOICE = {"base": "required = true", "long": 'one_of = "best"', "short": 'one_of = "best"'}
OWN = """
from dataclasses import replace

def students(one, notebook):
    return [replace(one, name=f"own-{notebook.name}")]
"""


def class_of(root: Path, *edits: Edit) -> tuple[Course, dict[str, demo.Student]]:
    """The demo of the tiny course after some edits, and its students by name."""
    course = course_.load(edit(copy_tiny(root / "tiny"), *edits))
    shutil.copy(REPOSITORY / "nbgrader_config.py", course.root)
    own, students = demo.set_up(course, course.weeks[0])
    return own, {student.name: student for student in students}


def of_other_names(name: str) -> str:
    """The tiny notebook with tasks of other names, so that it fits into the same week."""
    source = SOURCE
    for task in ("line", "distance", "double"):
        source = source.replace(task, f"{task}_{name}")
    return source


def test_a_week_with_a_group_and_a_required_notebook(tmp_path: Path) -> None:
    week = 'title = { en = "Choice", ru = "Выбор" }\npoints = 6\n'
    for name, more in CHOICE.items():
        week += f'\n[[notebook]]\nname = "{name}"\npoints = 3\nbonus = 1\ntier = "cpu"\n{more}\n'
    texts = [(f"weeks/{WEEK}/{name}.py", None, of_other_names(name)) for name in CHOICE]
    course, students = class_of(tmp_path, (NOTEBOOK, "", None), (WEEK_TOML, None, week), *texts)
    handed = {name: list(student.files) for name, student in students.items()}
    assert handed.pop("one-of-each") == ["base", "short"]
    assert handed.pop("incomplete") == ["long", "short"]
    assert all(names == list(CHOICE) for names in handed.values())

    right = [students[name] for name in ("full-en", "full-ru", "one-of-each", "incomplete")]
    names = [student.name for student in right]
    grades = grade_.grade(course, course.weeks[0], names, backend=Fake())
    assert demo.differences(right, grades) == []
    assert [grade.status for grade in grades] == [GRADED, GRADED, GRADED, INCOMPLETE]
    assert [grade.score() for grade in grades] == [6, 6, 6, 3]


def test_a_weeks_own_students_join_its_class(tmp_path: Path) -> None:
    course, students = class_of(tmp_path, (DEMO, None, OWN))
    assert len(students) == 12
    own = students["own-tiny"]
    assert own.expected == demo.Expected({"tiny": (0.0, 0.0)})
    assert (course.root / "submitted" / "own-tiny" / WEEK / "tiny.ipynb").is_file()
    for tree in ("source", "release"):
        assert (course.root / tree).is_dir() and not [*(course.root / tree).rglob("demo.py")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (", "SyntaxError: '(' was never closed"),
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named"),
        ("x = 1", "has no attribute 'students'"),
        ("def students(one, notebook): return 1 / 0", "ZeroDivisionError: division by zero"),
        ("def students(one, notebook): return None", "TypeError: 'NoneType'"),
        ("def students(one, notebook): return ['ann']", "AttributeError: 'str' object"),
        ("def students(one, notebook): return [one, one]", "2 students of the class are called ''"),
        ("def students(one, notebook): raise OSError('no\\ndata')", "OSError: no data; mend it or"),
    ],
)
def test_a_broken_demo_py_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CourseError) as error:
        class_of(tmp_path, (DEMO, None, text))
    (problem,) = error.value.problems
    assert (problem.file, problem.place, problem.rule) == (DEMO, "", "demo")
    assert said in problem.message and "a week needs none" in problem.message


@pytest.mark.parametrize(
    ("change", "known"),
    [
        ((NOTEBOOK, "# # Two functions", "# # Two small functions"), True),  # prose
        ((NOTEBOOK, "print(line(np.arange(3.0)", "print(line(np.arange(4.0)"), False),
        ((NOTEBOOK, "check.equal(double(2.0), 4.0", "check.equal(double(3.0), 6.0"), False),
        ((DEMO, None, OWN), False),
    ],
)
def test_a_receipt_holds_while_grader_and_code_are_the_same(
    tmp_path: Path, change: Edit, known: bool
) -> None:
    course = course_.load(copy_tiny(tmp_path / "tiny"))
    (week,) = course.weeks
    assert not demo.is_known(course, week)
    demo.write_receipt(course, week, 11)
    assert demo.is_known(course, week)
    edit(course.root, change)
    assert demo.is_known(course, week) == known


def test_a_mended_grader_grades_the_class_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = course_.load(copy_tiny(tmp_path / "tiny"))
    (week,) = course.weeks
    demo.write_receipt(course, week, 11)
    sources = demo.fingerprints.grader()
    monkeypatch.setattr(demo.fingerprints, "grader", lambda: sources[1:])
    assert not demo.is_known(course, week)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"fingerprint": 3}'])
def test_a_damaged_receipt_counts_as_none(tmp_path: Path, content: str) -> None:
    course = course_.load(copy_tiny(tmp_path / "tiny"))
    (week,) = course.weeks
    (course.root / "weeks" / WEEK / "class.json").write_text(content)
    assert not demo.is_known(course, week)
