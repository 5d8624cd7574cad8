"""Instructor's notebook + the student's sources = what is run.

Cells are matched by nbgrader's grade_id, else by cell id. Of the student's file only sources are
taken: of solution and answer cells, of the worked code that students may change, and of the cells
that they added. Tests, points and all metadata are the instructor's.
"""

from __future__ import annotations

from dataclasses import dataclass

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from autograder import notebook as nb_
from autograder import steps


@dataclass(frozen=True)
class Grafted:
    """A notebook to run. flags: sentences for a person to look at. notes: for information."""

    notebook: NotebookNode
    language: str
    flags: tuple[str, ...]
    notes: tuple[str, ...]


def graft(source: NotebookNode, student: NotebookNode | None) -> Grafted:
    """Put a student's sources into the instructor's notebook.

    source: the source notebook, in all languages. student: as intake.read gives it; None for a
    file that could not be read, which gives the untouched notebook.
    """
    cells = student.cells if student else []
    language = _language(student)
    notebook = steps.apply(steps.TO_GRADER, source, language)
    known = {_key(cell): cell for cell in notebook.cells}
    by_id = {cell.id: key for key, cell in known.items()}

    submitted: dict[str, list[NotebookNode]] = {}
    extra: dict[str, list[NotebookNode]] = {}
    flags: list[str] = []
    notes: list[str] = []
    last = ""
    for cell in cells:
        key = nb_.grade_id(cell)
        key = key if key in known else by_id.get(cell.id, "")
        if key:
            submitted.setdefault(key, []).append(cell)
            last = key
        elif cell.cell_type != "raw" and cell.source.strip():
            extra.setdefault(last, []).append(cell)

    for key, cell in known.items():
        copies = submitted.get(key, [])
        if nb_.is_graded(cell) and not nb_.is_solution(cell):
            flags += _changed_test(cell, copies) if student else []
        elif nb_.is_solution(cell):
            source_text, found = _chosen(cell, copies, student)
            cell.source, notes = source_text, notes + found
        elif cell.cell_type == "code" and copies:
            cell.source = copies[-1].source

    merged = _extra_cells(extra.get("", []), 0)
    for cell in notebook.cells:
        merged.append(cell)
        merged += _extra_cells(extra.get(_key(cell), []), len(merged))
    notebook.cells = merged
    for cell in notebook.cells:
        cell.metadata.pop(nb_.KEY, None) if "rubric" not in nb_.ours(cell) else None
    return Grafted(notebook, language, tuple(flags), tuple(notes))


def _key(cell: NotebookNode) -> str:
    return nb_.grade_id(cell) or cell.id


def _language(student: NotebookNode | None) -> str:
    """The language that the student worked in: the stamp, else what the cells' ids tell."""
    if student is None:
        return "en"
    stamp = nb_.ours(student).get("language")
    if stamp in ("en", "ru"):
        return stamp
    return "ru" if any(cell.id.endswith("-ru") for cell in student.cells) else "en"


def _chosen(
    cell: NotebookNode, copies: list[NotebookNode], student: NotebookNode | None
) -> tuple[str, list[str]]:
    """Of several copies of a solution, the last one that differs from the stub."""
    name = nb_.grade_id(cell)
    written = [c.source for c in copies if c.source.strip() != cell.source.strip()]
    notes = []
    if student and not copies:
        notes.append(f"the cell of {name} is missing")
    if len(written) > 1:
        notes.append(f"the cell of {name} stands {len(copies)} times; the last one was graded")
    return (written[-1] if written else cell.source), notes


def _changed_test(cell: NotebookNode, copies: list[NotebookNode]) -> list[str]:
    name = nb_.grade_id(cell).removeprefix(nb_.TEST_PREFIX)
    shown = nb_.without_hidden(cell.source).strip()
    flags = []
    for copy in copies:
        theirs = copy.metadata.get("nbgrader", {})
        if copy.source.strip() != shown:
            flags.append(f"the checks of {name} were changed in the file; the original ones ran")
        elif isinstance(theirs, dict) and theirs.get("points") != cell.metadata.nbgrader["points"]:
            flags.append(f"the points of {name} were changed in the file; the original ones count")
    if not copies:
        flags.append(f"the checks of {name} were deleted from the file; they ran all the same")
    return flags[:1]


def _extra_cells(cells: list[NotebookNode], number: int) -> list[NotebookNode]:
    """The cells that a student added, with nothing but their source."""
    new = {"code": new_code_cell, "markdown": new_markdown_cell}
    return [
        new[cell.cell_type](cell.source, id=f"extra-{number + i}") for i, cell in enumerate(cells)
    ]
