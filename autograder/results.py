"""What grading finds, as values: what it tells, the pages show and the demo compares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autograder.course import Week

GRADED, FLAGGED, REFUSED, MISSING = "graded", "flagged", "refused", "missing"
INCOMPLETE = "incomplete"  # a notebook that the week requires was not handed in
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

    penalty: points that are taken off because it came late. required: whether the week asks for it
    of everybody. counts: False where another notebook of its group counts.
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
    required: bool = False
    counts: bool = True

    def score(self, *, bonus: bool = False) -> float:
        """The points got, without bonus or of bonus alone."""
        return points(((t.score, t.bonus) for t in self.tasks), self.penalty)[bonus]


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
        if any(n.required and n.status == MISSING for n in self.notebooks):
            found.add(INCOMPLETE)
        done = TO_GRADE if self.waiting else GRADED
        return next((s for s in (REFUSED, FLAGGED, INCOMPLETE) if s in found), done)

    @property
    def waiting(self) -> int:
        """How many cells wait for a person, such as the answers that only one can grade."""
        return sum(task.waits for n in self.notebooks for task in n.tasks)

    def score(self, *, bonus: bool = False) -> float:
        """The points got in all notebooks that count."""
        return sum(n.score(bonus=bonus) for n in self.notebooks if n.counts)


def points(cells: Iterable[tuple[float | None, bool]], penalty: float) -> tuple[float, float]:
    """The points of cells, given as (score, whether it is a bonus): without bonus, and of bonus.

    A penalty takes bonus points last.
    """
    plain = extra = 0.0
    for score, bonus in cells:
        plain, extra = plain + (score or 0.0) * (not bonus), extra + (score or 0.0) * bonus
    return max(0.0, plain - penalty), max(0.0, extra - max(0.0, penalty - plain))


def counting(week: Week, got: Mapping[str, tuple[float, ...]]) -> frozenset[str]:
    """The notebooks of a week that count, by what was got: of each group the better one.

    got: the points without bonus, then what decides where those are equal; else the first listed.
    """
    better = [max(group, key=lambda n: got[n.name]).name for group in week.groups.values()]
    return frozenset([n.name for n in week.notebooks if not n.one_of] + better)
