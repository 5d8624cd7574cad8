"""Intake: what becomes a notebook, and the one sentence for what does not."""

from __future__ import annotations

import base64
import json
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode, v3
from rules import tiny_course, tree_of

from autograder import notebook as nb_
from autograder.authoring import build
from autograder.grading import folder as folder_
from autograder.grading import intake
from autograder.grading.graft import graft

CELL = {"cell_type": "code", "id": "a", "metadata": {}, "source": "x = 1", "outputs": []}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()


def text(*cells: Any, **fields: object) -> bytes:
    table = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **fields}
    return json.dumps(table).encode()


def told(notebook: NotebookNode) -> list[str]:
    """What the intake says of a file."""
    return nb_.ours(notebook)["flags"] + nb_.ours(notebook)["notes"]


# -- One file ---------------------------------------------------------------------------------


def test_a_good_file() -> None:
    notebook = intake.read(text(CELL))
    assert [(c.id, c.cell_type, c.source) for c in notebook.cells] == [("a", "code", "x = 1")]
    assert told(notebook) == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-be"])
def test_a_byte_order_mark_is_no_fault(encoding: str) -> None:
    content = text(CELL | {"source": "# é"}).decode().encode(encoding)
    assert intake.read(content).cells[0].source == "# é"


@pytest.mark.parametrize(
    ("encoding", "words"), [("cp1251", "# Прямая и расстояние"), ("cp1252", "# café, naïve")]
)
def test_an_old_encoding_is_told(encoding: str, words: str) -> None:
    content = text(CELL).replace(b"x = 1", f"x = 1  {words}".encode(encoding))
    notebook = intake.read(content)
    assert notebook.cells[0].source == f"x = 1  {words}"
    name = encoding.replace("cp", "Windows-")
    assert told(notebook) == [f"the file is not in UTF-8; it was read as {name}"]


def test_some_damaged_characters_cost_only_themselves() -> None:
    content = text(CELL).replace(b"x = 1", "x = 1  # Прямая".encode()[:-1])
    notebook = intake.read(content)
    assert notebook.cells[0].source == "x = 1  # Пряма\ufffd"
    assert told(notebook) == ["1 characters of the file were damaged; they show as \ufffd"]


def test_a_source_in_lines() -> None:
    assert intake.read(text(CELL | {"source": ["x = 1\n", "y"]})).cells[0].source == "x = 1\ny"


def test_line_ends_of_windows() -> None:
    assert intake.read(text(CELL | {"source": "x\r\ny\rz"})).cells[0].source == "x\ny\nz"
    assert intake.read(text(CELL).replace(b"{", b"{\r\n")).cells[0].source == "x = 1"


def test_no_ids_and_ids_twice() -> None:
    bare = {k: v for k, v in CELL.items() if k != "id"}
    assert [c.id for c in intake.read(text(bare, CELL, CELL)).cells] == ["", "a", "a"]
    assert intake.read(text(bare | {"metadata": {"id": "colab"}})).cells[0].id == "colab"
    assert intake.read(text(CELL | {"id": "a b\n" * 99})).cells[0].id == ""


@pytest.mark.parametrize("number", [2, 3])
def test_formats_2_and_3(number: int) -> None:
    sheet = v3.new_worksheet(
        cells=[
            v3.new_code_cell(input="x = 3"),
            v3.new_text_cell("markdown", source="a"),
            v3.new_heading_cell("b", level=2),
        ]
    )
    old = v3.new_notebook(worksheets=[sheet])
    old.nbformat = number
    cells = intake.read(v3.writes_json(old).encode()).cells
    assert [(c.cell_type, c.source) for c in cells] == [
        ("code", "x = 3"),
        ("markdown", "a"),
        ("markdown", "## b"),
    ]


@pytest.mark.parametrize("number", [0, 5, 99, "four", None, 4.0])
def test_the_number_of_the_format_does_not_matter(number: object) -> None:
    assert intake.read(text(CELL, nbformat=number, nbformat_minor=[])).cells[0].source == "x = 1"


@pytest.mark.parametrize(
    "cell",
    [3, None, "cell", [], {}, {"cell_type": "code"}, CELL | {"source": 5}, CELL | {"source": [1]}],
)
def test_a_damaged_cell_costs_only_itself(cell: object) -> None:
    notebook = intake.read(text(CELL, cell, CELL))
    assert [c.source for c in notebook.cells] == ["x = 1", "x = 1"]
    assert told(notebook) == ["cell 2: damaged, left out"]


def test_many_damaged_cells_are_one_note() -> None:
    assert told(intake.read(text(*range(9), CELL))) == [
        "cells 1, 2, 3, 4, 5 and 4 more: damaged, left out"
    ]


def test_a_cell_of_no_known_type_is_kept_but_not_run() -> None:
    cells = intake.read(text(CELL | {"cell_type": "script"}, CELL | {"cell_type": []})).cells
    assert [c.cell_type for c in cells] == ["raw", "raw"]


@pytest.mark.parametrize("metadata", [None, [], 3, {"nbgrader": 3}, {"nbgrader": {"grade_id": 1}}])
def test_odd_metadata_is_none(metadata: object) -> None:
    assert intake.read(text(CELL | {"metadata": metadata})).cells[0].metadata == {}
    assert intake.read(text(CELL, metadata=metadata)).cells[0].source == "x = 1"


def test_what_no_file_can_hold_is_replaced() -> None:
    content = text(CELL).replace(b"x = 1", rb"x = 1\u0000 # \ud83d\ude00 \udc00")
    notebook = intake.read(content)
    assert notebook.cells[0].source == "x = 1 # \N{GRINNING FACE} \ufffd"
    assert told(notebook) == ["cell 1: characters that are no text were left out"]
    nb_.dumps(notebook).encode()


@pytest.mark.parametrize(
    "broken",
    [
        text(CELL).replace(b'"outputs": []', b'"outputs": [ , ], "n": {}\n,\t'),
        text(CELL).replace(b"]", b",\n ]"),
        text(CELL).replace(b"x = 1", b"x = 1\n#\t"),
        text(CELL | {"execution_count": 0}).replace(b'count": 0', b'count": ' + b"9" * 9999),
        text(CELL).replace(b'"id"', b'"n": NaN, "i": Infinity, "id"'),
        text(CELL).replace(b'"cells"', b'"cells": [], "cells"'),  # the last one counts, as ever
        text(CELL) + bytes(99),
        b"\n\n" + text(CELL) + b"\n",
    ],
)
def test_json_that_can_only_mean_one_thing_is_repaired(broken: bytes) -> None:
    notebook = intake.read(broken)
    assert notebook.cells[0].source.startswith("x = 1")
    assert told(notebook) == []


def test_what_follows_the_notebook_is_left_out() -> None:
    notebook = intake.read(text(CELL) + b'rsion": 5}')
    assert told(notebook) == ["what stood in the file after the end of the notebook was left out"]


def test_of_a_file_cut_off_the_whole_cells_are_taken_and_flagged() -> None:
    content = text(CELL, CELL | {"id": "b"}, CELL | {"id": "c"})
    notebook = intake.read(content[: content.index(b'"c"')])
    assert [c.id for c in notebook.cells] == ["a", "b"]
    (flag,) = nb_.ours(notebook)["flags"]
    assert flag.startswith("the file is not whole: it is cut off or damaged at line 1, column ")
    assert flag.endswith("The 2 cells before that were graded; ask for the file again")


def test_an_unfinished_merge_is_told() -> None:
    cells = text(CELL, CELL).replace(b', {"cell_type"', b"\n<<<<<<< HEAD\n=======\n>>>>>>> x\n")
    (flag,) = nb_.ours(intake.read(cells))["flags"]
    assert "it holds an unfinished merge of git (<<<<<<<)" in flag


def test_a_cell_that_is_too_large_is_left_out_and_flagged() -> None:
    notebook = intake.read(text(CELL, CELL | {"source": "#" * 600_000}))
    assert len(notebook.cells) == 1
    assert told(notebook) == [
        "cell 2 has 0.6 million characters, too many to grade: it was left out; "
        "look at it in the file"
    ]


def test_pictures_of_a_text_are_kept_and_nothing_else() -> None:
    attachments = {
        "a.png": {"image/png": PNG},
        "b.svg": {"image/svg+xml": "<svg/>"},
        "c.png": {"image/png": "PHN2Zy8+"},
        "d.png": {"image/png": "no base64!"},
        'e" onload="x': {"image/png": PNG},
        "f.png": {"image/png": PNG + "A" * 8_000_000},
        "g.png": [],
    }
    cell = CELL | {"cell_type": "markdown", "attachments": attachments}
    notebook = intake.read(text(cell))
    assert notebook.cells[0].attachments == {"a.png": {"image/png": PNG}}
    assert told(notebook) == [
        "cell 1: an attachment was left out; PNG and JPEG of at most 5 MB are kept"
    ]
    assert "attachments" not in intake.read(text(CELL | {"attachments": attachments})).cells[0]


def test_outputs_and_unknown_fields_are_dropped() -> None:
    output = {"output_type": "stream", "name": "stdout", "text": "9"}
    nbgrader = {"grade_id": "a", "points": 9, "grade": True, "evil": 1}
    metadata = {"nbgrader": nbgrader, "tags": ["skip-execution"], "practical_dl": {"refused": 1}}
    cell = CELL | {"outputs": [output], "metadata": metadata, "evil": 1}
    notebook = intake.read(
        text(cell, metadata={"practical_dl": {"language": "ru", "refused": "x", "flags": ["evil"]}})
    )
    assert notebook.cells == [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "a",
            "metadata": {"nbgrader": {"grade_id": "a", "points": 9}},
            "outputs": [],
            "source": "x = 1",
        }
    ]
    assert notebook.metadata == {"practical_dl": {"language": "ru", "flags": [], "notes": []}}


def test_the_result_can_be_written() -> None:
    notebook = intake.read(text(CELL, CELL | {"id": "b", "cell_type": "markdown"}))
    assert nbformat.reads(nbformat.writes(notebook), as_version=4).cells[1].cell_type == "markdown"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty: it should be handed in again"),
        (b" \n", "the file is empty: it should be handed in again"),
        (bytes(4096), "the file is empty: it should be handed in again"),
        (b"\x89PNG\r\n\xff\xfe", "the file is not a notebook but a picture: ask for the .ipynb"),
        (b"PK\x03\x04\x14\x00", "the file is not a notebook but a zip archive: ask for the .ipynb"),
        (b"<!DOCTYPE html>", "the file is not a notebook but a web page: ask for the .ipynb file"),
        (b"import numpy", "the file is not a notebook but a Python script: ask for the .ipynb"),
        (text(CELL)[:60], "cut off or damaged at line 1, column 60; ask for it again"),
        (b"[" * 100_000, "can't be read as a notebook: it is nested too deeply; ask for it again"),
        (b"[1, 2]", "the file is JSON, but not a notebook: it has no cells"),
        (b'{"a": 1}', "the file is JSON, but not a notebook: it has no cells"),
        (b'{"cells": []}', "the file is JSON, but not a notebook: it has no cells"),
        (b'{"cells": 3}', "the file is JSON, but not a notebook: it has no cells"),
        (b'{"worksheets": [3, {"cells": 3}]}', "the file is JSON, but not a notebook: it has no"),
        (b'{"cells": [3]}', "the notebook is damaged: none of its 1 cells can be read"),
        (text(*[CELL] * 2001), "the notebook has 2001 cells; at most 2000 are read"),
        (
            text(*[CELL | {"source": "#" * 400_000}] * 6),
            "the notebook holds 2.4 million characters of code; at most 2 million are read",
        ),
        (
            bytes(intake.MAXIMUM_BYTES + 1),
            "the file has 20 MB, and at most 20 MB are read: it should be handed in again without",
        ),
    ],
)
def test_one_sentence_for_what_is_no_notebook(content: bytes, sentence: str) -> None:
    with pytest.raises(intake.IntakeError) as raised:
        intake.read(content)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        text(*[CELL] * 200_000),
        text(CELL | {"source": "x" * 10_000_000}),
        text(CELL | {"cell_type": "markdown", "source": "[" * 4_900_000}),
        b'{"cells": [' + b"[]," * 6_000_000,
        b'{"cells": [' + b'"\\"' * 6_000_000,
        b"{" * 19_000_000,
        b'{"cells":' + b" " * 19_000_000,
        b"," * 19_000_000,
        b"\xff" * 19_000_000,
        text(CELL).replace(b"1", b"1" * 15_000_000),
    ],
    ids=lambda content: content[:12].hex(),
)
def test_the_largest_files_end_soon(content: bytes) -> None:
    began = time.perf_counter()
    try:
        intake.read(content)
    except intake.IntakeError as error:
        assert len(str(error)) < 200
    assert time.perf_counter() - began < 10.0
