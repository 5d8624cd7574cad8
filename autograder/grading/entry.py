"""What is kept of a submission that was graded, and whether it still holds. Light to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from autograder import files as files_
from autograder.course import Week
from autograder.gradebook import Row, Standing
from autograder.grading import arrival
from autograder.grading import folder as folder_
from autograder.grading.arrival import Arrival
from autograder.grading.folder import Listing
from autograder.grading.week import Assignment
from autograder.results import (
    GRADED,
    MISSING,
    TO_GRADE,
    NotebookGrade,
    SubmissionGrade,
    TaskGrade,
    counting,
)

FORMAT = 1  # of an entry


@dataclass(frozen=True)
class Seen:
    """A student's folder of the week as it was found."""

    listing: Listing
    arrival: Arrival

    @property
    def fingerprint(self) -> str:
        """Fingerprint of a submission: of what was read of it, and of when it came."""
        return files_.digest([self.listing.fingerprint(), str(self.arrival)])


def look(assignment: Assignment, student: str, *, contents: bool) -> Seen:
    """Look at a student's folder. contents: keep also what is in the files beside notebooks."""
    folder, week = assignment.path("submitted", student), assignment.week
    came = arrival.look(folder)  # first: what changes later is seen next time
    names = [entry.name for entry in week.notebooks]
    return Seen(folder_.look(folder, names, week.files, contents=contents), came)


def holds(entry: Mapping[str, Any], assignment: Assignment, standing: Standing) -> bool:
    """Whether an entry still says what is, as long as the submission is the same."""
    root = assignment.course.root
    return (
        entry.get("format") == FORMAT
        and entry["key"] == assignment.fingerprint
        and entry["received"] == iso(standing.received)
        and entry["due"] == iso(standing.due)
        and entry["marks"] == standing.auto_scores
        and all(_size(root / name) == size for name, size in entry["files"].items())
    )


def grade_of(
    student: str, week: Week, entry: Mapping[str, Any], standing: Standing | None
) -> SubmissionGrade:
    """The grade that an entry holds, with the scores that the gradebook holds now."""
    notebooks = []
    for one in entry["notebooks"]:
        rows = standing.rows.get(one["name"], {}) if standing else {}
        penalty = standing.penalties.get(one["name"], 0.0) if standing else 0.0
        late = [f"{one['name']}: late, {penalty:g} points are taken off"] if penalty else []
        tasks = tuple(_task(task, rows.get(task["cell"])) for task in one["tasks"])
        listed = week.notebook(one["name"])
        grade = NotebookGrade(
            name=one["name"],
            status=one["status"],
            reasons=tuple(one["reasons"]),
            notes=(*one["notes"], *late),
            tasks=tasks,
            language=one["language"],
            seconds=one["seconds"],
            sandboxed=one["sandboxed"],
            penalty=penalty,
            required=listed is not None and listed.required,
        )
        notebooks.append(grade)
    count = counting(
        week, {n.name: (n.score(), n.score(bonus=True), n.status != MISSING) for n in notebooks}
    )
    counted = (replace(n, counts=n.name in count) for n in notebooks)
    return SubmissionGrade(student, week.folder, tuple(counted))


def _task(task: Mapping[str, Any], row: Row | None) -> TaskGrade:
    """A task of an entry, with what the gradebook says of it now."""
    waits = row is not None and row.needs_manual
    status = GRADED if task["status"] == TO_GRADE and not waits else task["status"]
    score = row.score if row else 0.0
    return TaskGrade(task["task"], score, task["points"], task["bonus"], status, waits)


def shown(standing: Standing, week: Week, notebook: str) -> str:
    """Fingerprint of what a feedback page shows of the gradebook: with its group, if it has one."""
    listed = week.notebook(notebook)
    group = week.groups.get(listed.one_of, ()) if listed else ()
    values: list[Any] = [sorted(standing.comments.get(notebook, {}).items())]
    for name in dict.fromkeys([notebook, *(entry.name for entry in group)]):
        values += [*sorted(standing.rows.get(name, {}).items()), standing.penalties.get(name)]
    return files_.digest(map(repr, values))


def iso(time: datetime | None) -> str:
    """A time as an entry holds it."""
    return time.isoformat() if time else ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
