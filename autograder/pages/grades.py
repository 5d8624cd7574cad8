"""What a feedback page shows of the gradebook. Light to import: pages are made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

from autograder import notebook as nb_
from autograder.course import Week
from autograder.gradebook import Standing
from autograder.results import counting, points


@dataclass(frozen=True)
class CellGrade:
    """A graded cell's row in the gradebook.

    score: with the extra credit; None while a person has to grade it. extra: of the score. waits:
    whether a person has to look at it, which may be once more.
    """

    score: float | None
    points: float
    comment: str = ""
    bonus: bool = False
    extra: float = 0.0
    waits: bool = False


def grades_of(notebook: NotebookNode, standing: Standing, name: str) -> dict[str, CellGrade]:
    """What the gradebook says of a notebook: its graded cells, and comments on other ones.

    notebook: the source notebook, which knows points and bonus; standing: of the submission.
    """
    rows, comments = standing.rows.get(name, {}), standing.comments.get(name, {})
    grades = {cell: CellGrade(None, 0.0, comment) for cell, comment in comments.items()}
    for cell in notebook.cells:
        id_ = nb_.grade_id(cell)
        if id_ in rows:
            row = rows[id_]
            grades[id_] = CellGrade(
                score=row.score,
                points=float(cell.metadata.nbgrader["points"]),
                comment=comments.get(id_, ""),
                bonus=bool(nb_.ours(cell).get("bonus")),
                extra=row.extra or 0.0,
                waits=row.needs_manual,
            )
    return grades


def totals_of(
    sources: Mapping[str, NotebookNode], standing: Standing, *, penalty: bool = True
) -> dict[str, tuple[float, float]]:
    """The points of each notebook of a submission: without bonus, and of bonus.

    sources: the source notebooks by name. penalty: whether to take off what is lost for being late.
    """
    found = {}
    for name, source in sources.items():
        cells = [(g.score, g.bonus) for g in grades_of(source, standing, name).values()]
        found[name] = points(cells, standing.penalties.get(name, 0.0) if penalty else 0.0)
    return found


def of_week(
    week: Week, sources: Mapping[str, NotebookNode], standing: Standing, name: str
) -> dict[str, Any]:
    """What `feedback.page` is given for a notebook of a week. sources: of the whole week."""
    group = tuple(n.name for n in week.groups.get(week.notebook(name).one_of, ()))
    counts = counting(week, totals_of(sources, standing)) if group else ()
    return {
        "grades": grades_of(sources[name], standing, name),
        "title": week.folder,
        "penalty": standing.penalties.get(name, 0.0),
        "group": group,
        "counts": next((one for one in group if one in counts), ""),
    }
