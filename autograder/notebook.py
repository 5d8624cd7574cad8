"""What the built notebooks carry, and how one is read: shared by authoring and grading.

A source notebook is nbgrader's instructor notebook in all languages at once. What nbgrader has no
place for stands in `metadata.practical_dl`: a cell's `lang`, a test's `bonus`, a solution's
`mutants` and `alternatives`, a `rubric`.
"""

from __future__ import annotations

import ast
import re
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # slow to import, and most of this needs no more than attributes
    from nbformat import NotebookNode

T = TypeVar("T")
KEY = "practical_dl"
TEST_PREFIX = "test-"
# Tags of cells: papermill's, and the one of cells that the grader shows, but does not run.
TAGS = PARAMETERS, TRAINING = "parameters", "training"
# What the checks publish, as `practical_dl.check` names it.
SCORE_MIME = "application/vnd.practical-dl.score+json"
HANDED_MIME = "application/vnd.practical-dl.handed+json"
ADDED = "extra-"  # how the IDs of cells begin that a student added
# As nbgrader does, we look for these words anywhere in a line.
HIDDEN = ("BEGIN HIDDEN TESTS", "END HIDDEN TESTS")


def ours(node: Any) -> dict[str, Any]:
    """Our part of a cell's or a notebook's metadata; {} where there is none."""
    value = node.metadata.get(KEY, {})
    return value if isinstance(value, dict) else {}


def grade_id(cell: NotebookNode) -> str:
    """nbgrader's name of a cell, "" for a cell that nbgrader does not know."""
    nbgrader = cell.metadata.get("nbgrader", {})
    return str(nbgrader.get("grade_id", "")) if isinstance(nbgrader, dict) else ""


def is_graded(cell: NotebookNode) -> bool:
    """Whether a cell carries points."""
    return bool(cell.metadata.get("nbgrader", {}).get("grade"))


def is_solution(cell: NotebookNode) -> bool:
    """Whether a cell is the student's to write."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def is_training(cell: NotebookNode) -> bool:
    """Whether a cell trains what is handed in as a file: it is not run again to be graded."""
    return TRAINING in cell.metadata.get("tags", ())


def exams(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The tests of a source notebook that are run in a kernel of their own, by task."""
    return {task: c for task, c in test_cells(notebook).items() if ours(c).get("exam")}


def test_cells(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The autograded test cells by task."""
    return {
        grade_id(c).removeprefix(TEST_PREFIX): c
        for c in notebook.cells
        if c.cell_type == "code" and is_graded(c) and not is_solution(c)
    }


def _lines(source: str) -> Iterator[tuple[int, str, bool]]:
    """The lines of a test cell without the markers: number, text, whether it is hidden."""
    inside = False
    for number, line in enumerate(source.split("\n"), 1):
        if HIDDEN[0] in line:
            inside = True
        elif HIDDEN[1] in line:
            inside = False
        else:
            yield number, line, inside


def hidden_regions(source: str) -> list[str]:
    """The lines of a test cell's hidden tests, without blank lines and markers."""
    return [line.strip() for _, line, hidden in _lines(source) if hidden and line.strip()]


def visible_lines(source: str) -> set[int]:
    """The numbers of a test cell's lines that students see, counted from 1."""
    return {number for number, _, hidden in _lines(source) if not hidden}


def without_hidden(source: str) -> str:
    """A test cell as students see it."""
    return "\n".join(line for _, line, hidden in _lines(source) if not hidden)


_DEFINITION = re.compile(r"^(?:async\s+)?(?:def|class)\s+(\w+)", re.MULTILINE)


def defined(source: str) -> list[str]:
    """The functions and classes that a cell defines. Never parsed: a cell may be anything."""
    return _DEFINITION.findall(source)


def is_stub(ename: str, evalue: str) -> bool:
    """Whether an error says that a task is not attempted.

    A stub raises it with the task's name, a student perhaps without one; torch with a sentence:
    that is an error like any other.
    """
    return ename == "NotImplementedError" and re.fullmatch(r"\w*", evalue) is not None


def parsed(source: str) -> ast.Module:
    """A cell's code; nothing where it can't be parsed."""
    try:
        return ast.parse(source)
    except SyntaxError:  # magics, or a problem of form that is told elsewhere
        return ast.Module([], [])


# By identity: a notebook is no key of a dict. It must not change after the first call.
_KEPT: dict[int, tuple[weakref.ref[NotebookNode], dict[Any, Any]]] = {}


def once(notebook: NotebookNode, what: Any, make: Callable[[], T]) -> T:
    """What `make` gives, made once as long as the notebook lives. what: names it."""
    number = id(notebook)
    if number not in _KEPT or _KEPT[number][0]() is not notebook:
        forget = weakref.ref(notebook, lambda _: _KEPT.pop(number, None))
        _KEPT[number] = (forget, {})
    kept = _KEPT[number][1]
    if what not in kept:
        kept[what] = make()
    return kept[what]


def in_language(cells: Iterable[NotebookNode], language: str) -> list[NotebookNode]:
    """The cells of one language and those without one."""
    return [c for c in cells if ours(c).get("lang", "any") in ("any", language)]


def read(path: Path) -> NotebookNode:
    """Read a notebook that we built ourselves."""
    import nbformat

    return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)


def dumps(notebook: NotebookNode) -> str:
    """The one way that we write notebooks: sorted keys, one space, a last newline."""
    import nbformat

    return nbformat.writes(notebook, version=4).rstrip("\n") + "\n"
