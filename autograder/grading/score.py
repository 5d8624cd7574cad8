"""What ran -> a verdict for each task, and outputs that nbgrader's own scoring reads right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_output

from autograder import notebook as nb_
from autograder.exams import HandedError, Private
from autograder.execution.execute import CellOutcome, Trial
from autograder.gradebook import Marks

RAISED = "Your code raised:"  # how a message begins that names the student's own line
EXAM_CHARACTERS = 600  # of what is told of an exam that failed


@dataclass(frozen=True)
class Verdict:
    """How a task ended. score: share of its points, 0 to 1.

    status: correct, partial, wrong, not attempted, stopped, tampered or unconfirmed. message: for
    the student. flag: for a person who should look at it, "" for none.
    """

    task: str
    score: float
    status: str
    message: str
    flag: str = ""


def judge(cell: NotebookNode, outcome: CellOutcome, trial: Trial, control: str) -> Verdict:
    """The verdict on a task.

    outcome: how the visible part of its test ended in the notebook. trial: how the whole test ended
    apart from it, which is what counts. control: what the test said of a planted mistake.
    """
    task = nb_.grade_id(cell).removeprefix(nb_.TEST_PREFIX)
    if trial.status == "tampered" or (trial.status == "passed" and control == "survived"):
        message = f"{task}: the checks could not be trusted in this notebook."
        return Verdict(task, 0.0, "tampered", message)
    if trial.status == "passed":
        return _worth(task, trial.score, trial.message)
    if trial.status == "not attempted":
        needed = f"{task} needs {trial.message}, which is not attempted."
        message = needed if trial.message not in ("", task) else f"Not attempted: {task}."
        return Verdict(task, 0.0, "not attempted", message)
    if trial.status in ("late", "died", "skipped"):
        return _stopped(task, trial.status)
    if trial.status == "error" or (outcome.status == "ok" and trial.visible):
        message = f"{task}: a person has to look at this task; it could not be checked."
        return Verdict(task, 0.0, "unconfirmed", message)
    if outcome.status == "error":  # of the visible part all may be told, values too
        return _failed(task, cell, outcome, (RAISED, "Wrong:"))
    message = trial.message if trial.status != "wrong" else f"Wrong: {trial.message or task}"
    return Verdict(task, 0.0, "wrong", message)


def judge_exam(
    cell: NotebookNode, outcome: CellOutcome, private: Private, handed: Any, code: str
) -> Verdict:
    """The verdict on the test cell of an exam: what was handed in is compared with the answers.

    handed: what `check.hand_in` published there, None for nothing. code: the student's.
    """
    task = private.task
    if outcome.status == "error" and outcome.ename == "NameError":
        message = (
            f"Wrong: {task}: {outcome.evalue}. In the exam there are only the notebook's imports, "
            f"functions, classes and constants, and the cell of {task}."
        )
        return Verdict(task, 0.0, "wrong", _ends(message))
    if outcome.status != "ok":
        failed = _failed(task, cell, outcome)
        return replace(failed, message=_ends(failed.message))
    if not isinstance(handed, Mapping):
        return Verdict(task, 0.0, "wrong", f"Wrong: {task}: no answers were handed in.")
    try:
        found = private.mark(handed, code)
    except HandedError as error:
        message = f"Wrong: {task}: the answers can't be read: {error}."
        return Verdict(task, 0.0, "wrong", message)
    except Exception as error:  # private.py is a program, and what it gets may be anything
        message = f"{task}: a person has to look at this task; its answers could not be marked."
        flag = f"{task}: marking what it handed in failed: {type(error).__name__}: {error}"
        return Verdict(task, 0.0, "unconfirmed", message, flag[:500])
    if found.share == 0.0:
        return Verdict(task, 0.0, "wrong", f"{task}: {found.message}", found.flag)
    return replace(_worth(task, found.share, found.message), flag=found.flag)


def _ends(message: str) -> str:
    """A message without its middle where it is long: an error could carry private inputs away."""
    half = EXAM_CHARACTERS // 2
    return message if len(message) <= 2 * half else f"{message[:half]}…{message[-half:]}"


def _failed(
    task: str,
    cell: NotebookNode,
    outcome: CellOutcome,
    told: tuple[str, ...] = ("Your code raised:",),
) -> Verdict:
    """The verdict on a test cell that did not come to its end.

    told: the beginnings of messages that are shown whole; of others only the reply's text is, since
    they may show a line of a hidden test.
    """
    if outcome.status != "error":
        return _stopped(task, outcome.status, outcome.seconds)
    if nb_.is_stub(outcome.ename, outcome.evalue):
        return Verdict(task, 0.0, "not attempted", f"Not attempted: {task}.")
    message = _whole_message(cell, told) or f"Wrong: {outcome.evalue or outcome.ename}"
    return Verdict(task, 0.0, "wrong", message)


def _stopped(task: str, status: str, seconds: float = 0.0) -> Verdict:
    """The verdict where something ended a test before it ended itself."""
    why = {
        "died": "Python ended while this task was checked",
        "late": "the time limit was reached",
        "skipped": "not checked, since the notebook's time was used up before",
        "timeout": f"the time limit was reached ({seconds:.0f} s)",
    }[status]
    return Verdict(task, 0.0, "stopped", f"{task}: {why}.")


def _worth(task: str, share: float, message: str) -> Verdict:
    """The verdict on a test cell that gives this share of the points."""
    if share < 1.0:
        return Verdict(task, share, "partial", f"{task}: {share:.0%} of the points. {message}")
    return Verdict(task, 1.0, "correct", f"Correct: {task}. {message}".strip())


def _whole_message(cell: NotebookNode, told: tuple[str, ...]) -> str:
    """The message of ours that a cell has shown, if it begins like one of these; else ""."""
    for output in cell.outputs:
        text = "\n".join(output.traceback) if output.output_type == "error" else ""
        if text.startswith(told):
            return text
    return ""


def marks_of(notebook: NotebookNode, verdicts: Iterable[Verdict]) -> Marks:
    """The marks of a notebook, the same as nbgrader's SaveAutoGrades would read off its outputs.

    An answer waits for a person, unless it was left as it was handed out, with nothing elsewhere.
    """
    from nbgrader.utils import compute_checksum

    shares = {nb_.TEST_PREFIX + verdict.task: verdict.score for verdict in verdicts}
    scores: dict[str, float | None] = {}
    unanswered = set()
    for cell in notebook.cells:
        name = nb_.grade_id(cell)
        handed_out = cell.metadata.get("nbgrader", {}).get("checksum")
        is_empty = nb_.is_solution(cell) and "elsewhere" not in nb_.ours(cell)
        if is_empty and handed_out == compute_checksum(cell):
            unanswered.add(name)
        if nb_.is_graded(cell) and nb_.is_solution(cell):
            scores[name] = 0.0 if name in unanswered else None
        elif nb_.is_graded(cell):
            scores[name] = shares[name] * float(cell.metadata.nbgrader["points"])
    return Marks(scores, frozenset(unanswered))


def write_outputs(cell: NotebookNode, verdict: Verdict) -> None:
    """Give a test cell the outputs from which nbgrader's determine_grade reads this verdict.

    nbgrader's own pages need them; our marks come of the verdict itself.

    An error is no points, an execute_result with a number is that many points, neither is all of
    them. What the cell printed stays, and stderr becomes stdout: it must not cost a point.
    """
    kept = [o for o in cell.outputs if o.output_type in ("stream", "display_data")]
    for output in kept:
        if output.output_type == "stream":
            output.name = "stdout"
    if verdict.score == 0.0:
        error = new_output(
            "error", ename=verdict.status, evalue=verdict.message, traceback=[verdict.message]
        )
        kept.append(error)
    elif verdict.score < 1.0:
        points = verdict.score * float(cell.metadata.nbgrader["points"])
        kept.append(
            new_output("execute_result", data={"text/plain": repr(points)}, execution_count=None)
        )
    cell.outputs = kept
    cell.metadata[nb_.KEY] = {"message": verdict.message, "status": verdict.status}
