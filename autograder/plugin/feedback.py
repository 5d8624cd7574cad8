"""`nbgrader generate_feedback`, and formgrader's button: they write our page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode

from autograder import notebook as nb_
from autograder.pages.feedback import CellGrade, page


class FeedbackExporter(HTMLExporter):
    """Makes `nbgrader generate_feedback`, and formgrader's button, write `page`."""

    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: Any = None, **kw: Any
    ) -> tuple[str, Any]:
        """The page of a notebook, with the grades and comments of the gradebook."""
        where = (resources or {})["nbgrader"]
        grades, penalty = _recorded(
            where["db_url"], where["notebook"], where["assignment"], where["student"]
        )
        resources = self._init_resources(resources)
        resources["output_extension"] = self.file_extension
        return page(nb, grades, title=where["assignment"], penalty=penalty), resources


def _recorded(
    db_url: str, notebook: str, week: str, student: str
) -> tuple[dict[str, CellGrade], float]:
    """The rows of a notebook in the gradebook, and the points lost for being late."""
    from nbgrader.api import Gradebook

    # nbgrader works in the course's root, and knows no bonus.
    source = Path("source") / week / f"{notebook}.ipynb"
    cells = nb_.read(source).cells if source.is_file() else []
    bonus = {nb_.grade_id(cell) for cell in cells if nb_.ours(cell).get("bonus")}
    with Gradebook(db_url) as gradebook:
        found = gradebook.find_submission_notebook(notebook, week, student)
        comments = {c.name: c.comment or "" for c in found.comments}
        grades = {name: CellGrade(None, 0.0, comment) for name, comment in comments.items()}
        for row in found.grades:
            waits = bool(row.needs_manual_grade)
            grades[row.name] = CellGrade(
                score=None if waits and row.manual_score is None else row.score,
                points=row.max_score,
                comment=comments.get(row.name, ""),
                bonus=row.name in bonus,
                extra=row.extra_credit or 0.0,
                waits=waits,
            )
        return grades, float(found.late_submission_penalty or 0.0)
