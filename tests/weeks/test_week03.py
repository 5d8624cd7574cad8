"""Week 03 as a class hands it in: networks with their weights, marked on private pictures.

What holds for every week is in test_class.py.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.classes import Class, without_tags
from kit.formgrader import running

from autograder import course as course_
from autograder import notebook as nb_
from autograder.course import Course
from autograder.execution.pool import LocalPool
from autograder.grading import grade as grade_
from autograder.results import FLAGGED, GRADED, TO_GRADE, SubmissionGrade, TaskGrade

WEEK, NOTEBOOK, TASK = "week03_convnets", "seminar_pytorch", "network"
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def graded(class_of: Callable[[str], Class]) -> Class:
    return class_of(WEEK)


def exam(grade: SubmissionGrade) -> TaskGrade:
    """The grade of the exam."""
    (notebook,) = (n for n in grade.notebooks if n.name == NOTEBOOK)
    return next(task for task in notebook.tasks if task.task == TASK)


def tasks(grade: SubmissionGrade) -> list[tuple[TaskGrade, ...]]:
    return [notebook.tasks for notebook in grade.notebooks]


def _grade(course: Course, names: list[str], backend: object) -> list[SubmissionGrade]:
    (week,) = course.select([WEEK])
    return grade_.grade(course, week, names, backend=backend)


class Counting:
    """A backend that counts what it runs."""

    def __init__(self) -> None:
        self.ran = 0

    def run(self, jobs: Iterator) -> Iterator:
        with LocalPool(2) as pool:
            for each in pool.run(jobs):
                self.ran += 1
                yield each


def test_the_reference_gets_points_for_its_pictures(graded: Class) -> None:
    full, none = exam(graded.grades["full-en"]), exam(graded.grades["no-file"])
    assert full.points == 16 and full.score >= 14  # a person gives the other four
    assert (none.score, none.status) == (0, "wrong")
    assert exam(graded.grades["full-ru"]).score == full.score


@pytest.mark.parametrize("student", ["pickle", "nan", "untrained", "opens-files", "by-heart"])
def test_a_network_that_cannot_be_right_gets_nothing(graded: Class, student: str) -> None:
    assert exam(graded.grades[student]).score == 0
    # The report waits for a person, who also has to see who was right on the public pictures alone.
    assert graded.grades[student].status == (FLAGGED if student == "by-heart" else TO_GRADE)


def test_nothing_of_a_pickle_is_run(graded: Class) -> None:
    for path in graded.course.root.rglob("*"):
        assert path.name != "loaded"
    file = graded.course.root / "autograded" / "pickle" / WEEK / f"{NOTEBOOK}.ipynb"
    shown = [o for c in nb_.read(file).cells for o in c.get("outputs", [])]
    assert "loaded" not in json.dumps(shown)


def test_the_outputs_of_the_training_are_those_handed_in(graded: Class) -> None:
    root = graded.course.root
    submitted = nb_.read(root / "submitted" / "full-en" / WEEK / f"{NOTEBOOK}.ipynb")
    shown = nb_.read(root / "autograded" / "full-en" / WEEK / f"{NOTEBOOK}.ipynb")
    before, after = (
        [line for c in n.cells if nb_.is_training(c) for o in c.outputs for line in _lines(o)]
        for n in (submitted, shown)
    )
    told = [line for line in before if "validation accuracy" in line or "numbers" in line]
    assert len(told) == 2 and [line for line in after if line in told] == told
    assert len(after) < len(before)  # of a progress bar only its end


def _lines(output: Any) -> list[str]:
    return "".join(output.get("text", "")).splitlines()


def test_other_weights_alone_are_graded_again(graded: Class, tmp_path: Path) -> None:
    root = shutil.copytree(graded.course.root, tmp_path / "course")
    course = course_.load(root)
    file = root / "submitted" / "untrained" / WEEK / WEIGHTS
    os.utime(file)  # handed in again as it was: another time, and nothing to run
    counting = Counting()
    names = ["untrained", "nan", "untouched"]
    assert tasks(_grade(course, names, counting)[0]) == tasks(graded.grades["untrained"])
    assert counting.ran == 0

    file.write_bytes(graded.students["full-en"].beside[WEIGHTS])
    changed, *others = _grade(course, names, counting)
    assert [tasks(o) for o in others] == [tasks(graded.grades[n]) for n in names[1:]]
    assert counting.ran == 1
    assert exam(changed).score == exam(graded.grades["full-en"]).score
    assert changed.score(bonus=True) == graded.grades["untrained"].score(bonus=True)


# -- A person's part ---------------------------------------------------------------------------


def test_reports_graded_by_hand_reach_both_languages(graded: Class, tmp_path: Path) -> None:
    """Points and one comment with codes, given through formgrader's API."""
    root = shutil.copytree(graded.course.root, tmp_path / "course")
    course = course_.load(root)
    names = ["full-en", "full-ru"]
    with running(course, f"{WEEK}/{NOTEBOOK}") as formgrader:
        for name in names:
            assert formgrader.answer("grade", name)["needs_manual_grade"]
            formgrader.give(name, 2.75, "[curves] yes. `[ablation]`: with one seed.")
    counting = Counting()
    graded_now = _grade(course, names, counting)
    assert counting.ran == 0
    texts = []
    for name, now in zip(names, graded_now, strict=True):
        assert now.status == GRADED
        assert now.score() == graded.grades[name].score() + 2.75
        page = root / "feedback" / name / WEEK / f"{NOTEBOOK}.html"
        texts.append(without_tags(page.read_text("utf-8")))
    assert "both curves of the final network" in texts[0]
    assert "обе кривые итоговой сети" in texts[1]
    for text in texts:
        assert "with one seed" in text and "2.75" in text.replace(",", ".")
        assert "[account]" not in text  # the rest of the rubric is the graders'
