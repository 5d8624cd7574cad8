"""Before a class is graded: the instructor's own solutions must get all points on this machine.

One that is broken would give everybody nothing, and keep it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nbformat import NotebookNode

from autograder import notebook as nb_
from autograder.errors import Problem
from autograder.execution.backend import Failed
from autograder.execution.execute import Job, Result, job_key
from autograder.fingerprints import library_of
from autograder.grading.graft import graft
from autograder.grading.job import apply_result, job_of
from autograder.grading.week import Assignment


@dataclass(frozen=True)
class Reference:
    """A source notebook as if it had been handed in. Its exams need a file that was trained."""

    name: str
    notebook: NotebookNode
    job: Job


def references(assignment: Assignment) -> dict[str, Reference]:
    """The references of a week, by the keys of their jobs."""
    language = assignment.course.languages[0]
    found = {}
    for name, source in assignment.sources.items():
        student = NotebookNode(
            cells=nb_.in_language(source.cells, language),
            metadata={nb_.KEY: {"language": language}},
        )
        notebook = graft(source, student).notebook
        exams = assignment.exams[name]
        job = job_of(
            notebook,
            source,
            assignment.files,
            assignment.settings.limits,
            exams,
            library_of(assignment.week),
        )
        left_out = {exam.test for exam in job.exams}
        notebook.cells = [cell for cell in notebook.cells if cell.id not in left_out]
        cells = [cell for cell in job.notebook["cells"] if cell["id"] not in left_out]
        job = replace(job, notebook={**job.notebook, "cells": cells}, exams=())
        if job.controls:
            found[job_key(job)] = Reference(name, notebook, job)
    return found


def problems(
    assignment: Assignment, found: Mapping[str, Reference], results: Mapping[str, Result | Failed]
) -> list[Problem]:
    """Why nobody can be graded here; none where all references get all points."""
    return [
        Problem(
            f"source/{assignment.week.folder}/{one.name}.ipynb",
            "",
            "reference",
            f"the instructor's own solutions do not get all points on this machine: {why}. "
            "Nobody was graded. `autograder doctor` tells what this machine lacks",
        )
        for key, one in found.items()
        if (why := _shortfall(one, results.get(key)))
    ]


def _shortfall(one: Reference, result: Result | Failed | None) -> str:
    """What a reference did not get, and why; "" where it got all."""
    if not isinstance(result, Result):
        return f"it could not be run ({result.message if result else 'no answer'})"
    lost = [v for v in apply_result(one.notebook, result) if v.score < 1.0]
    said = [" ".join((v.flag or v.message).split())[:200].rstrip(".") for v in lost[:3]]
    said += [f"and {len(lost) - 3} more tasks"] if len(lost) > 3 else []
    said += [result.message.rstrip(".")] if lost and result.message else []
    return "; ".join(said)
