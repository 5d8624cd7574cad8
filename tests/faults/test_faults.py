"""The faults as one class in one run of `autograder grade`: nobody gains, nobody loses."""

from __future__ import annotations

import re

import pytest

from faults import kit
from faults.catalogue import FAULTS, ROWS
from faults.grading import Outcome, grade_class
from faults.kit import Fault, Measured, complaints, full, none

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return grade_class(tmp_path_factory.mktemp("faults") / "course", FAULTS.values())


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_the_outcome_that_it_must_have(outcome: Outcome, name: str) -> None:
    measured = outcome.measured[name]
    found = [c for c in complaints(FAULTS[name], measured) if not c.startswith(SHARED)]
    assert not found, f"{FAULTS[name].what}\n{found}\n{measured}"


# What is the same for all of the class is told once, below.
SHARED = ("host: ", "the grader ", "other submissions ")


def test_the_host_the_grader_and_the_rest_of_the_class_are_well(outcome: Outcome) -> None:
    measured = next(iter(outcome.measured.values()))
    assert (measured.host, measured.ended, measured.others) == ((), "", True), outcome.said[-4000:]
    assert "Traceback" not in outcome.said


def test_every_graded_cell_has_its_row(outcome: Outcome) -> None:
    tasks = {task for points in kit.POINTS.values() for task in points} | {"essay"}
    missing = {
        n: tasks - set(m.points)
        for n, m in outcome.measured.items()
        if FAULTS[n].expected.points  # but for names that are no row
    }
    assert {name: rows for name, rows in missing.items() if rows} == {}


def test_the_time_of_handing_in_is_the_graders(outcome: Outcome) -> None:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{outcome.course.root / 'gradebook.db'}") as gradebook:
        submission = gradebook.find_submission(outcome.course.weeks[0].folder, "timestamp")
        assert submission.timestamp is None or submission.timestamp.year > 2001


# -- The catalogue and its judge ---------------------------------------------------------------


def test_every_row_of_the_list_is_there() -> None:
    rows = {fault.row for fault in FAULTS.values()}
    assert rows >= set(range(1, ROWS + 1))
    assert sum(fault.row is None for fault in FAULTS.values()) >= 30


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda f: f.name)
def test_a_fault_says_what_it_is(fault: Fault) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", fault.name) and fault.what.endswith(".")
    assert fault.after in ("", *FAULTS)


def judged(points: dict[str, float | None], expected: kit.Expected, **options: object) -> list[str]:
    return complaints(Fault("f", "f", "f.", kit.honest, expected), Measured(points, **options))


RIGHT = {"line": 1.0, "distance": 2.0, "double": 1.0}
NOTHING = dict.fromkeys(RIGHT, 0.0)


def test_the_judge_is_content() -> None:
    assert judged(RIGHT, full(), status="graded") == []
    assert judged(NOTHING, none(), status="flagged", told="tampered") == []
    assert judged(NOTHING, full(or_none=True), status="flagged", told="why") == []


@pytest.mark.parametrize(
    ("points", "expected", "options", "said"),
    [
        (RIGHT, none(), {}, "undeserved points: line 1, distance 2, double 1"),
        (RIGHT | {"line": 0.0}, full(), {}, "lost points: line"),
        (RIGHT | {"line": None}, full(), {}, "waits for a person: line"),
        ({"line": 1.0, "double": 1.0}, full(), {}, "no grade: distance"),
        (RIGHT, full(), {"status": "flagged", "told": "why"}, "flagged, not graded"),
        (NOTHING, none(), {"status": "flagged", "told": ""}, "the teacher is not told why"),
        (
            NOTHING,
            kit.refused("link"),
            {"status": "refused", "told": "the file is empty"},
            "nobody tells of 'link'",
        ),
        (RIGHT, full(), {"reached": ("the gradebook",)}, "reached the gradebook"),
        (RIGHT, full(), {"shown": ("a hidden test",)}, "feedback shows a hidden test"),
        (RIGHT, full(), {"host": ("./a changed",)}, "host: ./a changed"),
        (RIGHT, full(), {"others": False}, "other submissions were not graded"),
        (RIGHT, full(), {"ended": "the grader was killed"}, "the grader was killed"),
    ],
)
def test_the_judge_complains(
    points: dict[str, float | None],
    expected: kit.Expected,
    options: dict[str, object],
    said: str,
) -> None:
    assert judged(points, expected, **options) == [said]
