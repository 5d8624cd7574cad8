"""From what ran to points: verdicts, and outputs that nbgrader reads the same way."""

from __future__ import annotations

from typing import Any

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output
from nbgrader.utils import determine_grade

from autograder.execution.execute import CellOutcome, Trial
from autograder.execution.inside import referee
from autograder.grading.score import Verdict, judge, marks_of, write_outputs
from autograder.notebook import HANDED_MIME, SCORE_MIME
from practical_dl import check


def cell(*outputs: NotebookNode, points: float = 2.0) -> NotebookNode:
    nbgrader = {"grade": True, "grade_id": "test-line", "points": points, "solution": False}
    nbgrader |= {"cell_type": "code", "locked": True, "schema_version": 3, "task": False}
    return new_code_cell("...", outputs=list(outputs), metadata={"nbgrader": nbgrader})


def stream(name: str, text: str = "words\n") -> NotebookNode:
    return new_output("stream", name=name, text=text)


def score(value: Any, message: str = "") -> NotebookNode:
    return new_output("display_data", data={SCORE_MIME: {"score": value, "message": message}})


PASSED = Trial("passed", "", 1.0)


def verdict_on(
    test: NotebookNode,
    status: str = "ok",
    ename: str = "",
    evalue: str = "",
    *,
    trial: Trial = PASSED,
    control: str = "killed",
) -> Verdict:
    return judge(test, CellOutcome(test.id, status, 0.1, ename, evalue), trial, control)


def points(test: NotebookNode, *arguments: Any, **options: Any) -> float:
    """The points of our marks, and of nbgrader's own scoring of the outputs: they agree."""
    verdict = verdict_on(test, *arguments, **options)
    write_outputs(test, verdict)
    ours = marks_of(new_notebook(cells=[test]), [verdict]).scores["test-line"]
    assert ours == determine_grade(test)[0]
    return ours


def test_the_same_mime_type_on_both_sides() -> None:
    assert check.SCORE_MIME == SCORE_MIME == referee.SCORE_MIME
    assert check.HANDED_MIME == HANDED_MIME


@pytest.mark.parametrize("outputs", [(), (stream("stdout"),), (stream("stderr", "Warning: x\n"),)])
def test_all_points_whatever_was_printed(outputs: tuple) -> None:
    test = cell(*outputs)
    assert verdict_on(test).status == "correct"
    assert points(test) == 2.0


@pytest.mark.parametrize(
    ("status", "ename", "verdict"),
    [
        ("error", "NotImplementedError", "not attempted"),
        ("error", "CheckFailed", "wrong"),
        ("error", "ZeroDivisionError", "wrong"),
        ("timeout", "", "stopped"),
        ("died", "", "stopped"),
        ("skipped", "", "stopped"),
    ],
)
def test_no_points(status: str, ename: str, verdict: str) -> None:
    test = cell(stream("stdout"))
    assert verdict_on(test, status, ename, "what").status == verdict
    assert points(test, status, ename, "what") == 0.0


@pytest.mark.parametrize(
    ("value", "share"), [(0.25, 0.25), (0, 0.0), (1, 1.0), (7, 1.0), (-3, 0.0), ("much", 0.0)]
)
def test_partial_credit_is_clamped(value: Any, share: float) -> None:
    assert points(cell(score(value, "a part"))) == 2.0 * share


def test_nan_is_no_credit() -> None:
    assert points(cell(score(float("nan")))) == 0.0


def test_the_last_score_counts() -> None:
    assert points(cell(score(1.0), stream("stdout"), score(0.5))) == 1.0


def test_a_stray_value_at_the_end_of_the_cell_is_no_credit() -> None:
    stray = new_output("execute_result", data={"text/plain": "1000"}, execution_count=3)
    assert points(cell(stray)) == 2.0
    assert points(cell(stray, score(0.5))) == 1.0


def test_the_lower_of_two_scores_counts() -> None:
    assert points(cell(score(1.0)), trial=Trial("passed", "", 0.5)) == 1.0
    assert points(cell(score(0.25)), trial=PASSED) == 0.5


@pytest.mark.parametrize(
    ("trial", "control", "status"),
    [
        (PASSED, "survived", "tampered"),
        (Trial("failed", "CheckFailed: f(x)"), "killed", "tampered"),
        (Trial("error", "it took too long"), "killed", "unconfirmed"),
    ],
)
def test_what_does_not_stand_a_second_look_gets_nothing(
    trial: Trial, control: str, status: str
) -> None:
    assert points(cell(score(1.0)), trial=trial, control=control) == 0.0
    assert verdict_on(cell(), trial=trial, control=control).status == status


def test_a_control_that_could_not_be_tried_costs_nothing() -> None:
    assert points(cell(), control="error: the planted mistake itself did not run") == 2.0


def test_the_message_of_a_hidden_check_shows_no_value() -> None:
    raised = new_output(
        "error", ename="CheckFailed", evalue="f(x): it is a sum", traceback=["... got 3, want 4"]
    )
    assert verdict_on(cell(raised), "error", "CheckFailed", "f(x): it is a sum").message == (
        "Wrong: f(x): it is a sum"
    )


def test_the_students_own_line_is_shown() -> None:
    text = "Your code raised: line: ZeroDivisionError\n  cell 3, line 2, in line:\n    1 / 0"
    raised = new_output("error", ename="ZeroDivisionError", evalue=text, traceback=[text])
    assert verdict_on(cell(raised), "error", "ZeroDivisionError", text).message == text
