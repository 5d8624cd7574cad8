"""Intake: what becomes a notebook, and the one sentence for what does not."""

from __future__ import annotations

import json

import nbformat
import pytest
from nbformat import v3

from autograder.grading import intake

CELL = {"cell_type": "code", "id": "a", "metadata": {}, "source": "x = 1", "outputs": []}


def text(*cells: dict, **fields: object) -> bytes:
    table = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **fields}
    return json.dumps(table).encode()


def test_a_good_file() -> None:
    notebook = intake.read(text(CELL))
    assert [(c.id, c.cell_type, c.source) for c in notebook.cells] == [("a", "code", "x = 1")]


def test_a_byte_order_mark_is_no_fault() -> None:
    assert intake.read(b"\xef\xbb\xbf" + text(CELL)).cells[0].source == "x = 1"


def test_a_source_in_lines() -> None:
    assert intake.read(text(CELL | {"source": ["x = 1\n", "y"]})).cells[0].source == "x = 1\ny"


def test_no_ids_and_ids_twice() -> None:
    bare = {k: v for k, v in CELL.items() if k != "id"}
    assert [c.id for c in intake.read(text(bare, CELL, CELL)).cells] == ["", "a", "a"]


def test_format_3() -> None:
    sheet = v3.new_worksheet(
        cells=[v3.new_code_cell(input="x = 3"), v3.new_text_cell("markdown", source="a")]
    )
    old = v3.new_notebook(worksheets=[sheet])
    assert intake.read(nbformat.v3.writes_json(old).encode()).cells[0].source == "x = 3"


def test_outputs_and_unknown_fields_are_dropped() -> None:
    output = {"output_type": "stream", "name": "stdout", "text": "9"}
    (cell,) = intake.read(text(CELL | {"outputs": [output], "attachments": {}, "evil": 1})).cells
    assert set(cell) == {"cell_type", "id", "metadata", "source", "outputs", "execution_count"}
    assert cell.outputs == []


def test_the_result_can_be_written() -> None:
    notebook = intake.read(text(CELL, CELL | {"id": "b", "cell_type": "markdown"}))
    assert nbformat.reads(nbformat.writes(notebook), as_version=4).cells[1].cell_type == "markdown"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"\x89PNG\r\n\xff\xfe", "not UTF-8"),
        (text(CELL)[:60], "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1, 2]", "no notebook"),
        (b'{"a": 1}', "no cells"),
        (b'{"cells": []}', "no cells"),
        (b'{"cells": 3}', "damaged"),
        (b'{"cells": [3]}', "damaged"),
        (text({"cell_type": "code"}), "damaged"),
        (text(CELL | {"source": 5}), "damaged"),
        (text(CELL | {"cell_type": "heading"}), "damaged"),
        (text(CELL, nbformat=99), "damaged"),
        (text(CELL, nbformat="four"), "damaged"),
        (text(CELL | {"source": "x" * intake.MAXIMUM_BYTES}), "MB"),
    ],
)
def test_one_sentence_for_what_is_no_notebook(content: bytes, sentence: str) -> None:
    with pytest.raises(intake.IntakeError, match=sentence) as raised:
        intake.read(content)
    assert "\n" not in str(raised.value)
