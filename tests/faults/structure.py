"""Metadata and cells that are not as they were released."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from faults.kit import (
    ALL,
    FLAGGED,
    GRADED,
    RIGHT,
    Fault,
    cell_of,
    full,
    function,
    none,
    notebook,
)

TOLD = (GRADED, FLAGGED)


def tests(change: Callable[[NotebookNode], Any]) -> Callable[[NotebookNode], None]:
    """A change of each test cell."""

    def changed(made: NotebookNode) -> None:
        for cell in made.cells:
            if cell.metadata.get("nbgrader", {}).get("grade"):
                change(cell)

    return changed


def without(*grade_ids: str) -> Callable[[NotebookNode], None]:
    """A notebook without some cells."""

    def changed(made: NotebookNode) -> None:
        gone = [cell_of(made, name) for name in grade_ids]
        made.cells = [c for c in made.cells if not any(c is g for g in gone)]

    return changed


def _twice(*grade_ids: str) -> Callable[[NotebookNode], None]:
    def changed(made: NotebookNode) -> None:
        for name in grade_ids:
            cell = cell_of(made, name)
            made.cells.insert(made.cells.index(cell) + 1, copy.deepcopy(cell))

    return changed


def _unknown(made: NotebookNode) -> None:
    cell = new_code_cell("bonus = 1", id="bonus")
    cell.metadata["nbgrader"] = {
        "grade": True,
        "grade_id": "test-everything",
        "locked": False,
        "points": 1000,
        "schema_version": 3,
        "solution": False,
        "task": False,
        "cell_type": "code",
    }
    made.cells.append(cell)


def _reversed(made: NotebookNode) -> None:
    made.cells.reverse()


def _tests_first(made: NotebookNode) -> None:
    tests_ = [c for c in made.cells if c.metadata.get("nbgrader", {}).get("grade")]
    made.cells = tests_ + [c for c in made.cells if not any(c is t for t in tests_)]


def _kernel(made: NotebookNode) -> None:
    made.metadata["kernelspec"] = {"name": "ir", "display_name": "R", "language": "R"}
    made.metadata["language_info"] = {"name": "R"}


def _no_ids(made: NotebookNode) -> None:
    for cell in made.cells:
        del cell["id"]
    made.nbformat_minor = 4


def _swapped(made: NotebookNode) -> None:
    """The name of the easy task on the others' tests."""
    for cell in made.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.metadata.nbgrader["grade_id"] = "test-double"
            cell.source = "assert True"


def _parameters(made: NotebookNode) -> None:
    for cell in made.cells:
        cell.metadata["tags"] = ["parameters", "injected-parameters", "raises-exception"]


def _strange(made: NotebookNode) -> None:
    for number, cell in enumerate(made.cells):
        cell.metadata = [None, [], "text", {"nbgrader": []}, {"tags": None}][number % 5]
    made.metadata = None


def _solution_and_grade(made: NotebookNode) -> None:
    """Test cells that say of themselves that the student writes them."""
    for cell in made.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.metadata.nbgrader.update(solution=True, locked=False)
            cell.source = "pass"


def _settings(made: NotebookNode) -> None:
    made.metadata["practical_dl"] = {
        "flags": [],
        "language": "../../ru",
        "refused": "",
        "version": "0",
        "notes": ["all right"],
    }
    cell_of(made, "line").metadata["practical_dl"] = {
        "mutants": [{"source": "raise SystemExit", "why": "mine"}],
        "alternatives": [],
    }


FAULTS = [
    Fault(
        "points-100",
        "structure",
        "The tests say that they are worth 100 points.",
        notebook(
            wrong=("line",), change=tests(lambda c: c.metadata.nbgrader.__setitem__("points", 100))
        ),
        full(status=TOLD, line=0),
        row=19,
    ),
    Fault(
        "grade-false",
        "structure",
        "The tests say that they are not graded.",
        notebook(change=tests(lambda c: c.metadata.nbgrader.__setitem__("grade", False))),
        full(status=TOLD),
        row=20,
    ),
    Fault(
        "test-deleted",
        "structure",
        "A test cell is deleted; the answers are right.",
        notebook(change=without("test-distance")),
        full(status=TOLD),
        row=21,
    ),
    Fault(
        "test-deleted-wrong",
        "structure",
        "The test cells of wrong answers are deleted.",
        notebook(wrong=ALL, change=without("test-line", "test-distance", "test-double")),
        none(),
        row=21,
    ),
    Fault(
        "resubmitted-without",
        "structure",
        "First a right answer; then a wrong one, its test cell deleted.",
        notebook(),
        full(status=TOLD, distance=0),
        row=22,
        then=notebook(wrong=("distance",), change=without("test-distance")),
    ),
    Fault(
        "cells-twice",
        "structure",
        "A solution cell and a test cell stand twice.",
        notebook(change=_twice("line", "test-line")),
        full(status=TOLD),
        row=23,
    ),
    Fault(
        "unknown-id",
        "structure",
        "A further graded cell of 1000 points that the course does not know.",
        notebook(change=_unknown),
        full(status=TOLD),
        row=24,
    ),
    Fault(
        "test-raw",
        "structure",
        "The test cells are raw cells, of right and wrong answers.",
        notebook(wrong=("distance",), change=tests(lambda c: c.__setitem__("cell_type", "raw"))),
        full(status=TOLD, distance=0),
        row=25,
    ),
    Fault(
        "test-emptied",
        "structure",
        "The test cells are emptied, of right and wrong answers.",
        notebook(wrong=("distance",), change=tests(lambda c: c.__setitem__("source", ""))),
        full(status=TOLD, distance=0),
        row=25,
    ),
    Fault(
        "upside-down",
        "structure",
        "The cells stand in the opposite order.",
        notebook(change=_reversed),
        full(status=TOLD),
        row=26,
    ),
    Fault(
        "tests-first",
        "structure",
        "All tests are moved in front of the answers.",
        notebook(change=_tests_first),
        full(status=TOLD),
        row=26,
    ),
    Fault(
        "other-kernel",
        "structure",
        "The notebook asks for a kernel of R that is not there.",
        notebook(change=_kernel),
        full(),
        row=27,
    ),
    Fault("no-ids", "structure", "No cell has an id.", notebook(change=_no_ids), full(), row=28),
    Fault(
        "one-name-for-all",
        "structure",
        "Every test bears the name of an easy one and says `assert True`.",
        notebook(wrong=ALL, change=_swapped),
        none(),
    ),
    Fault(
        "tagged",
        "structure",
        "All cells are tagged as parameters and raises-exception.",
        notebook(wrong=("line",), change=_parameters),
        full(status=TOLD, line=0),
    ),
    Fault(
        "strange-metadata",
        "structure",
        "The metadata of cells and notebook are null, lists and texts; the ids are whole.",
        notebook(change=_strange),
        full(status=TOLD),
    ),
    Fault(
        "test-as-solution",
        "structure",
        "The test cells say that they are the student's to write, and hold `pass`.",
        notebook(wrong=ALL, change=_solution_and_grade),
        none(),
    ),
    Fault(
        "forged-settings",
        "structure",
        "The metadata that the grader itself uses are forged: language, notes, mutants.",
        notebook(wrong=ALL, change=_settings),
        none(),
    ),
    Fault(
        "test-in-solution",
        "structure",
        "The solution cell brings its own test along, under the grader's name for the result.",
        notebook(
            wrong=ALL,
            line="return np.zeros_like(x)\n\ncheck.done('line')",
            end="check.done('line'); check.done('distance'); check.done('double')",
        ),
        none(),
    ),
    Fault(
        "defined-later",
        "structure",
        "The right answers stand in a last cell, after the tests of the wrong ones.",
        notebook(
            wrong=ALL,
            end="\n\n".join(function(t, RIGHT[t]) for t in ("line", "distance", "double")),
        ),
        none(),
    ),
]
