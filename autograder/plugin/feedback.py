"""`nbgrader generate_feedback`, and formgrader's button: they write our page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from nbgrader.converters.base import NbGraderException

from autograder import notebook as nb_
from autograder.errors import CourseError
from autograder.gradebook import Recorder
from autograder.pages.feedback import grades_of, page


class FeedbackExporter(HTMLExporter):
    """Makes `nbgrader generate_feedback`, and formgrader's button, write `page`."""

    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: Any = None, **kw: Any
    ) -> tuple[str, Any]:
        """The page of a notebook, with the grades and comments of the gradebook."""
        where = (resources or {})["nbgrader"]
        week, name, student = where["assignment"], where["notebook"], where["student"]
        try:
            with Recorder(where["db_url"], week) as recorder:
                standing = recorder.read([student]).get(student)
        except CourseError as error:
            raise NbGraderException(str(error)) from error
        if standing is None:
            raise NbGraderException(f"{student} has no submission of {week}: autograde it first")
        source = Path("source") / week / f"{name}.ipynb"  # nbgrader works in the course's root
        grades = grades_of(nb_.read(source) if source.is_file() else nb, standing, name)
        resources = self._init_resources(resources)
        resources["output_extension"] = self.file_extension
        penalty = standing.penalties.get(name, 0.0)
        return page(nb, grades, title=week, penalty=penalty), resources
