"""What holds for the demo class of a week: of those that kit/chosen.py names."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from kit.backend import Fake, never, right
from kit.chosen import classes
from kit.classes import Class, without_tags

from autograder import demo, exams, settings
from autograder import notebook as nb_
from autograder.execution.backend import Job
from autograder.grading import grade as grade_
from autograder.results import MISSING, TO_GRADE

REPOSITORY = Path(__file__).parents[2]
WEEKS = classes()
WITH_EXAM = [week for week in WEEKS if (REPOSITORY / "weeks" / week / exams.FILE).is_file()]
RUSSIAN, ENGLISH = re.compile("[а-яё]{3,}", re.IGNORECASE), re.compile("[a-z]{3,}", re.IGNORECASE)


@pytest.fixture(scope="module", params=WEEKS)
def graded(request: pytest.FixtureRequest, class_of: Callable[[str], Class]) -> Class:
    return class_of(request.param)


with_exam = pytest.mark.parametrize("graded", WITH_EXAM, indirect=True)


# -- What everybody gets -----------------------------------------------------------------------


def test_everybody_gets_the_score_computed_before(graded: Class) -> None:
    """And the status, and the language."""
    assert demo.differences(graded.students.values(), graded.grades.values()) == []
    some = {"full-en", "full-ru", "half-done", "untouched", "mistake-1", "crash", "tampering"}
    assert some <= graded.students.keys()


@pytest.mark.parametrize("student", ["full-en", "full-ru"])
def test_the_reference_is_right_in_every_task(graded: Class, student: str) -> None:
    """Also in those that carry no points, which no score tells of."""
    for notebook in graded.grades[student].notebooks:
        wrong = [t.task for t in notebook.tasks if t.status not in ("correct", TO_GRADE)]
        assert not wrong, notebook.name


def test_a_mistake_costs_its_own_task_alone(graded: Class) -> None:
    for name, student in graded.students.items():
        if name.startswith(("mistake", "crash", "endless")):
            right, theirs = _solutions(graded.students["full-en"]), _solutions(student)
            changed = {task for task in right if theirs[task] != right[task]}
            tasks = [t for n in graded.grades[name].notebooks for t in n.tasks]
            wrong = {t.task for t in tasks if t.status not in ("correct", TO_GRADE)}
            assert len(changed) == 1 and wrong == changed, name


def _solutions(student: demo.Student) -> dict[str, str]:
    """What a student wrote, by task."""
    notebooks = [nbformat.reads(file.decode(), 4) for file in student.files.values()]
    cells = [cell for notebook in notebooks for cell in notebook.cells]
    return {nb_.grade_id(c): c.source for c in cells if nb_.is_solution(c)}


def test_what_is_wrong_is_told_in_a_sentence(graded: Class) -> None:
    for name, student in graded.students.items():
        assert re.search(student.says, graded.told(name)), f"{name}: {student.says}"


def test_each_notebook_has_its_page_in_the_students_language(graded: Class) -> None:
    for name, student in graded.students.items():
        for notebook in graded.grades[name].notebooks:
            if notebook.status != MISSING:
                page = graded.page(name, notebook.name)
                # A Russian page holds English code, and an English one Russian data.
                russian = 10 * len(RUSSIAN.findall(page)) > len(ENGLISH.findall(page))
                assert russian == (student.expected.language == "ru"), (name, notebook.name)
                said = f'<html lang="{student.expected.language}"'
                assert said in graded.path(name, notebook.name).read_text(encoding="utf-8")


# -- What nobody sees --------------------------------------------------------------------------


def test_no_student_sees_a_hidden_test(graded: Class) -> None:
    root, week = graded.course.root, graded.week.folder
    sources = [nb_.read(path) for path in sorted((root / "source" / week).glob("*.ipynb"))]
    cells = [cell for source in sources for cell in source.cells]
    public = "\n".join(nb_.without_hidden(c.source) for c in cells)
    lines = {line.strip() for c in cells for line in nb_.hidden_regions(c.source)}
    hidden = [line for line in lines if len(line) > 30 and line not in public]
    assert hidden
    for path in _files(root, "release", "feedback", "reports"):
        text = _text(path)
        assert not [line for line in hidden if line in text], path


@with_exam
def test_nothing_private_leaves_the_grader(graded: Class) -> None:
    secrets = [line.encode() for line in _private_lines(graded)]
    for exam in _exams(graded).values():
        secrets += _written(exam.answers)
        folder = exams.place(graded.course, graded.week, demo.PROFILE)
        with np.load(folder / f"{exam.task}.inputs.npz") as inputs:
            secrets += _written({name: array[:20] for name, array in inputs.items()})
    assert secrets
    trees = ("release", "autograded", "feedback", "reports", "gradebook.db")
    for path in _files(graded.course.root, *trees):
        assert path.suffix != ".npz" and path.name != exams.FILE, path
        content = path.read_bytes() + _text(path).encode()
        assert not [secret for secret in secrets if secret in content], path


@with_exam
def test_no_answer_enters_a_sandbox(graded: Class, tmp_path: Path) -> None:
    """What goes to one, here or on another machine, holds the private inputs and no answer."""
    jobs: list[Job] = []

    class Looking:
        def run(self, found: Iterator[tuple[str, Job]]) -> Iterator[Any]:
            pairs = list(found)
            jobs.extend(job for _, job in pairs)
            if any(job.exams for _, job in pairs):
                raise KeyboardInterrupt  # nothing is to run
            yield from ((key, right(job)) for key, job in pairs)  # the references

    own = dataclasses.replace(settings.load(graded.course), cache=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        grade_.grade(graded.course, graded.week, ["full-en"], backend=Looking(), settings=own)
    text = "".join(job.to_json() for job in jobs)
    for exam in _exams(graded).values():
        assert base64.b64encode(exam.inputs).decode() in text
        for secret in _written(exam.answers):
            assert secret.decode("latin-1") not in text


def _exams(graded: Class) -> dict[str, exams.Private]:
    """The exams of a class's week, by task."""
    folder = graded.course.root / "source" / graded.week.folder
    tasks = [task for path in sorted(folder.glob("*.ipynb")) for task in nb_.exams(nb_.read(path))]
    return exams.load(graded.course, graded.week, tasks, demo.PROFILE)


def _private_lines(graded: Class) -> list[str]:
    """The lines of private.py that stand nowhere in what students get."""
    file = graded.course.root / "source" / graded.week.folder / exams.FILE
    public = "\n".join(map(_text, _files(graded.course.root, "release")))
    lines = {line.strip() for line in file.read_text("utf-8").splitlines()}
    found = [line for line in lines if len(line) > 30 and line not in public]
    assert found
    return found


def _written(arrays: dict[str, np.ndarray]) -> list[bytes]:
    """Arrays as somebody may write them down."""
    found = []
    for array in arrays.values():
        numbers = () if array.dtype.kind == "U" else (np.int64, np.uint8)
        for content in (array, *map(array.astype, numbers)):
            raw = np.ascontiguousarray(content).tobytes()
            found += [raw[:120], base64.b64encode(raw)[:120]]
        found.append(", ".join(map(str, array.ravel()[:40].tolist())).encode())
    return found


def _files(root: Path, *trees: str) -> list[Path]:
    """All files in these folders of a course; a file stands for itself."""
    found = [path for tree in trees for path in (root / tree, *sorted((root / tree).rglob("*")))]
    return [path for path in found if path.is_file()]


def _text(path: Path) -> str:
    """What a person reads in a page or a notebook, "" for other files."""
    if path.suffix == ".html":
        return without_tags(path.read_text("utf-8"))
    return "\n".join(_texts(json.loads(path.read_bytes()))) if path.suffix == ".ipynb" else ""


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value; of a list of texts, such as the lines of a cell, one text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        yield "".join(value)
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


# -- Again -------------------------------------------------------------------------------------


def test_nothing_changed_runs_nothing(graded: Class) -> None:
    """Nor is anything written."""
    root, names = graded.course.root, list(graded.students)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.*")}
    again = grade_.grade(graded.course, graded.week, names, backend=Fake(never))
    assert again == [graded.grades[name] for name in names]
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*.*")}
