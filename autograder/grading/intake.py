"""A submitted file -> a notebook, or one sentence why not."""

from __future__ import annotations

import json

import nbformat
from nbformat import NotebookNode

MAXIMUM_BYTES = 20_000_000


class IntakeError(Exception):
    """The file is no notebook that can be graded; the message is for the teacher."""


def read(content: bytes) -> NotebookNode:
    """Read a submitted notebook in format 4, whatever format 3 or 4 it came in.

    Only what grading needs is kept of a cell: type, source, metadata and id. Raises IntakeError.
    """
    if len(content) > MAXIMUM_BYTES:
        raise IntakeError(f"the file has {len(content) / 1e6:.0f} MB; {MAXIMUM_BYTES / 1e6:.0f} MB")
    if not content.strip():
        raise IntakeError("the file is empty")
    try:
        # utf-8-sig: some editors put a byte-order mark in front.
        table = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise IntakeError("the file is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise IntakeError(f"the file is not JSON: {str(error)[:100]}") from None
    if not isinstance(table, dict) or not (table.get("cells") or table.get("worksheets")):
        raise IntakeError("the file is JSON, but no notebook: it has no cells")
    try:
        notebook = nbformat.from_dict(table)
        if notebook.get("nbformat", 4) != 4:
            notebook = nbformat.convert(notebook, 4)
        cells = [_cell(cell, number) for number, cell in enumerate(notebook["cells"])]
    except Exception as error:  # nbformat's converters raise whatever the damage makes them
        what = f"{type(error).__name__}: {str(error)[:100]}"
        raise IntakeError(f"the file is a damaged notebook ({what})") from None
    metadata = notebook.get("metadata", {})
    metadata = metadata if isinstance(metadata, dict) else NotebookNode()
    # Not nbformat's constructor: that would refuse ids that stand twice, say.
    return NotebookNode(cells=cells, metadata=metadata, nbformat=4, nbformat_minor=5)


def _cell(cell: NotebookNode, number: int) -> NotebookNode:
    source = cell["source"]
    if isinstance(source, list):
        source = "".join(source)
    if not isinstance(source, str) or cell["cell_type"] not in ("code", "markdown", "raw"):
        raise ValueError(f"cell {number + 1} has no text")
    metadata = cell.get("metadata", {})
    kept = NotebookNode(
        cell_type=cell["cell_type"],
        id=str(cell.get("id", "")),
        metadata=metadata if isinstance(metadata, dict) else NotebookNode(),
        source=source,
    )
    if kept.cell_type == "code":
        kept.update(execution_count=None, outputs=[])
    return kept
