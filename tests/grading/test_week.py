"""The fingerprint of a week: what of it makes submissions stale, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autograder import course as course_
from autograder import settings
from autograder.authoring import build
from autograder.course import SubmittedFile, Week
from autograder.grading.week import Assignment


@pytest.fixture
def assignment(tiny: Path) -> Assignment:
    course = course_.load(tiny)
    build.build(course, course.weeks)
    return Assignment(course, course.weeks[0], settings.load(course))


def of(assignment: Assignment, **changes: Any) -> str:
    """The fingerprint, read anew, with its notebooks or its settings changed."""
    entry = replace(assignment.week.notebooks[0], **changes)
    week: Week = replace(assignment.week, notebooks=(entry,))
    return Assignment(assignment.course, week, assignment.settings).fingerprint


@pytest.mark.parametrize(
    "changes", [{"required": True}, {"one_of": "a"}, {"files": (SubmittedFile("a.npz", 1),)}]
)
def test_what_a_week_says_of_its_notebooks(assignment: Assignment, changes: Any) -> None:
    assert of(assignment, **changes) != of(assignment)


def test_where_a_notebook_runs_does_not_matter(assignment: Assignment) -> None:
    assert of(assignment, tier="gpu", points=99) == of(assignment) == assignment.fingerprint


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        (lambda folder: (folder / "data.csv").write_text("1"), True),
        (lambda folder: (folder / "tiny.ipynb").open("a").write("\n"), True),
        (lambda folder: (folder / "__pycache__").mkdir(), False),
        (lambda folder: (folder / ".tiny.swp").touch(), False),
    ],
)
def test_its_files(assignment: Assignment, change: Callable[[Path], Any], stale: bool) -> None:
    before = assignment.fingerprint
    change(assignment.folder)
    assert (of(assignment) != before) == stale


def test_the_settings(assignment: Assignment) -> None:
    for changed in (
        replace(assignment.settings, exam_profile="full"),
        replace(assignment.settings, unsafe=True),
        replace(assignment.settings, trust_timestamps=True),
        replace(assignment.settings, limits=replace(assignment.settings.limits, cell_seconds=1)),
    ):
        other = Assignment(assignment.course, assignment.week, changed)
        assert other.fingerprint != assignment.fingerprint
