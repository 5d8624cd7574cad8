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
    ("status", "verdict"),
    [
        ("not attempted", "not attempted"),
        ("wrong", "wrong"),
        ("raised", "wrong"),
        ("unusable", "wrong"),
        ("late", "stopped"),
        ("died", "stopped"),
        ("skipped", "stopped"),
        ("error", "unconfirmed"),
        ("tampered", "tampered"),
    ],
)
def test_no_points(status: str, verdict: str) -> None:
    """Whatever the notebook itself has shown."""
    test = cell(stream("stdout"), score(1.0))
    assert verdict_on(test, trial=Trial(status, score=1.0)).status == verdict
    assert points(test, trial=Trial(status, score=1.0)) == 0.0


def test_a_test_that_the_notebook_broke_and_the_trial_passed_has_its_points() -> None:
    """An own `sum = 0` breaks the visible part in the notebook, but not apart from it."""
    assert points(cell(), "error", "TypeError", "'int' object is not callable") == 2.0


def test_what_passes_in_the_notebook_alone_is_for_a_person() -> None:
    visible = Trial("wrong", message="double(4)", visible=True)
    assert verdict_on(cell(), trial=visible).status == "unconfirmed"
    assert verdict_on(cell(), "error", "CheckFailed", "double(4)", trial=visible).status == "wrong"


def test_a_task_that_needs_another_says_which() -> None:
    assert verdict_on(cell(), trial=Trial("not attempted", message="relu")).message == (
        "line needs relu, which is not attempted."
    )


@pytest.mark.parametrize(("share", "worth"), [(0.25, 0.5), (0.0, 0.0), (1.0, 2.0)])
def test_partial_credit_is_the_trials(share: float, worth: float) -> None:
    verdict = verdict_on(cell(score(1.0)), trial=Trial("passed", score=share, message="a part"))
    assert points(cell(score(1.0)), trial=Trial("passed", score=share)) == worth
    assert "a part" in verdict.message


def test_a_stray_value_at_the_end_of_the_cell_is_no_credit() -> None:
    stray = new_output("execute_result", data={"text/plain": "1000"}, execution_count=3)
    assert points(cell(stray)) == 2.0
    assert points(cell(stray), trial=Trial("passed", score=0.5)) == 1.0


def test_a_planted_mistake_that_passes_takes_the_points() -> None:
    assert points(cell(), control="survived") == 0.0
    assert verdict_on(cell(), control="survived").status == "tampered"


def test_a_control_that_could_not_be_tried_costs_nothing() -> None:
    assert points(cell(), control="error: the planted mistake itself did not run") == 2.0


FOUR = "Wrong: f(2): should: be 4\n"
WRONG = Trial("wrong", message="f(x): should: be a sum")


def test_the_message_of_a_hidden_check_is_its_sentence() -> None:
    assert verdict_on(cell(), trial=WRONG).message == "Wrong: f(x): should: be a sum"


def test_of_the_visible_part_the_notebooks_own_message_is_shown() -> None:
    raised = new_output(
        "error", ename="CheckFailed", evalue="f(2): should: be 4", traceback=[f"{FOUR}  got 3"]
    )
    verdict = verdict_on(cell(raised), "error", "CheckFailed", "f(2): should: be 4", trial=WRONG)
    assert verdict.message == f"{FOUR}  got 3"


def test_the_students_own_line_is_shown() -> None:
    text = "Your code raised: line: ZeroDivisionError\n  cell 3, line 2, in line:\n    1 / 0"
    raised = new_output("error", ename="ZeroDivisionError", evalue=text, traceback=[text])
    trial = Trial("raised", message="Your code raised: line: ZeroDivisionError", visible=True)
    assert verdict_on(cell(raised), "error", "ZeroDivisionError", text, trial=trial).message == text
    assert verdict_on(cell(), trial=Trial("raised", message=trial.message)).message == trial.message
