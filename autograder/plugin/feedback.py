"""`nbgrader generate_feedback`, and formgrader's button: they write our page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from nbgrader.converters.base import NbGraderException

from autograder import course as course_
from autograder import notebook as nb_
from autograder.errors import CourseError
from autograder.gradebook import Recorder
from autograder.pages import grades
from autograder.pages.maker import PageError, Pages, bare


class FeedbackExporter(HTMLExporter):
    """Makes `nbgrader generate_feedback`, and formgrader's button, write `page`."""

    _pages = Pages()  # for all students; its process ends with this one

    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: Any = None, **kw: Any
    ) -> tuple[str, Any]:
        """The page of a notebook, with the grades and comments of the gradebook."""
        where = (resources or {})["nbgrader"]
        week, name, student = where["assignment"], where["notebook"], where["student"]
        try:
            course = course_.load(Path.cwd())  # nbgrader works in the course's root
            (listed,) = course.select([week])
            paths = course_.notebooks_of(course, [listed], "source")
            sources = {path.stem: nb_.read(path) for path in paths}
            with Recorder(where["db_url"], week) as recorder:
                standing = recorder.read([student]).get(student)
        except CourseError as error:
            raise NbGraderException(str(error)) from error
        if standing is None:
            raise NbGraderException(f"{student} has no submission of {week}: autograde it first")
        resources = self._init_resources(resources)
        resources["output_extension"] = self.file_extension
        options = grades.of_week(listed, sources, standing, name)
        try:
            page = self._pages.feedback(nb, **options)
        except PageError as error:
            self.log.error("%s of %s is shown without its outputs: %s", name, student, error)
            page = self._pages.feedback(bare(nb), **options)
        return page.decode(), resources
