"""What grading finds, as values: what it tells, the pages show and the demo compares."""

from __future__ import annotations

from dataclasses import dataclass

GRADED, FLAGGED, REFUSED, MISSING = "graded", "flagged", "refused", "missing"
TO_GRADE = "to grade"  # a person has to give points, or to look again at those that stand


@dataclass(frozen=True, slots=True)
class TaskGrade:
    """A row of the gradebook. score: points got, None while a person has to grade it.

    waits: whether a person has to grade it, or to look again at the points that stand.
    """

    task: str
    score: float | None
    points: float
    bonus: bool
    status: str
    waits: bool = False


@dataclass(frozen=True, slots=True)
class NotebookGrade:
    """One notebook of a submission. status: graded, flagged, refused or missing.

    penalty: points that are taken off because it came late.
    """

    name: str
    status: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    tasks: tuple[TaskGrade, ...]
    language: str
    seconds: float
    sandboxed: bool
    penalty: float = 0.0

    def score(self, *, bonus: bool = False) -> float:
        """The points got, without bonus or of bonus alone; a penalty takes bonus points last."""
        plain, extra = (
            sum(t.score or 0.0 for t in self.tasks if t.bonus == kind) for kind in (False, True)
        )
        if bonus:
            return max(0.0, extra - max(0.0, self.penalty - plain))
        return max(0.0, plain - self.penalty)


@dataclass(frozen=True, slots=True)
class SubmissionGrade:
    """All notebooks of a student's week."""

    student: str
    week: str
    notebooks: tuple[NotebookGrade, ...]

    @property
    def status(self) -> str:
        """The gravest status of its notebooks; missing only where all of them are."""
        found = {n.status for n in self.notebooks}
        if found == {MISSING}:
            return MISSING
        done = TO_GRADE if self.waiting else GRADED
        return next((s for s in (REFUSED, FLAGGED) if s in found), done)

    @property
    def waiting(self) -> int:
        """How many cells wait for a person, such as the answers that only one can grade."""
        return sum(task.waits for n in self.notebooks for task in n.tasks)

    def score(self, *, bonus: bool = False) -> float:
        """The points got in all notebooks."""
        return sum(n.score(bonus=bonus) for n in self.notebooks)
