"""Intake: what becomes a notebook, and the one sentence for what does not."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import socket
import stat
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.rules import tiny_course, tree_of
from nbformat import NotebookNode, v3

from autograder import notebook as nb_
from autograder.authoring import build
from autograder.course import SubmittedFile
from autograder.execution.inside import launcher
from autograder.grading import folder as folder_
from autograder.grading import intake
from autograder.grading.folder import look

CELL = {"cell_type": "code", "id": "a", "metadata": {}, "source": "x = 1", "outputs": []}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()


def text(*cells: Any, **fields: object) -> bytes:
    table = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **fields}
    return json.dumps(table).encode()


def told(read: intake.Read) -> list[str]:
    """What the intake says of a file."""
    return [*read.flags, *read.notes]


def collect(
    folder: Path,
    sources: Mapping[str, NotebookNode],
    expected: Collection[str] = (),
    files: Sequence[SubmittedFile] = (),
) -> intake.Collected:
    """Look at a folder, and collect what lies there."""
    return intake.collect(look(folder, sources, files, contents=True), sources, expected)


# -- One file ---------------------------------------------------------------------------------


def test_a_good_file() -> None:
    read = intake.read(text(CELL))
    assert [(c.id, c.cell_type, c.source) for c in read.notebook.cells] == [("a", "code", "x = 1")]
    assert told(read) == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-be"])
def test_a_byte_order_mark_is_no_fault(encoding: str) -> None:
    content = text(CELL | {"source": "# é"}).decode().encode(encoding)
    assert intake.read(content).notebook.cells[0].source == "# é"


@pytest.mark.parametrize(
    ("encoding", "words"), [("cp1251", "# Прямая и расстояние"), ("cp1252", "# café, naïve")]
)
def test_an_old_encoding_is_told(encoding: str, words: str) -> None:
    content = text(CELL).replace(b"x = 1", f"x = 1  {words}".encode(encoding))
    read = intake.read(content)
    assert read.notebook.cells[0].source == f"x = 1  {words}"
    name = encoding.replace("cp", "Windows-")
    assert told(read) == [f"the file is not in UTF-8; it was read as {name}"]


def test_some_damaged_characters_cost_only_themselves() -> None:
    content = text(CELL).replace(b"x = 1", "x = 1  # Прямая".encode()[:-1])
    read = intake.read(content)
    assert read.notebook.cells[0].source == "x = 1  # Пряма\ufffd"
    assert told(read) == ["1 characters of the file were damaged; they show as \ufffd"]


def test_a_source_in_lines() -> None:
    assert (
        intake.read(text(CELL | {"source": ["x = 1\n", "y"]})).notebook.cells[0].source
        == "x = 1\ny"
    )


def test_line_ends_of_windows() -> None:
    assert intake.read(text(CELL | {"source": "x\r\ny\rz"})).notebook.cells[0].source == "x\ny\nz"
    assert intake.read(text(CELL).replace(b"{", b"{\r\n")).notebook.cells[0].source == "x = 1"


def test_no_ids_and_ids_twice() -> None:
    bare = {k: v for k, v in CELL.items() if k != "id"}
    assert [c.id for c in intake.read(text(bare, CELL, CELL)).notebook.cells] == ["", "a", "a"]
    assert intake.read(text(bare | {"metadata": {"id": "colab"}})).notebook.cells[0].id == "colab"
    assert intake.read(text(CELL | {"id": "a b\n" * 99})).notebook.cells[0].id == ""


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
    cells = intake.read(v3.writes_json(old).encode()).notebook.cells
    assert [(c.cell_type, c.source) for c in cells] == [
        ("code", "x = 3"),
        ("markdown", "a"),
        ("markdown", "## b"),
    ]


@pytest.mark.parametrize("number", [0, 5, 99, "four", None, 4.0])
def test_the_number_of_the_format_does_not_matter(number: object) -> None:
    assert (
        intake.read(text(CELL, nbformat=number, nbformat_minor=[])).notebook.cells[0].source
        == "x = 1"
    )


@pytest.mark.parametrize(
    "cell",
    [3, None, "cell", [], {}, {"cell_type": "code"}, CELL | {"source": 5}, CELL | {"source": [1]}],
)
def test_a_damaged_cell_costs_only_itself(cell: object) -> None:
    read = intake.read(text(CELL, cell, CELL))
    assert [c.source for c in read.notebook.cells] == ["x = 1", "x = 1"]
    assert told(read) == ["cell 2: damaged, left out"]


def test_many_damaged_cells_are_one_note() -> None:
    assert told(intake.read(text(*range(9), CELL))) == [
        "cells 1, 2, 3, 4, 5 and 4 more: damaged, left out"
    ]


def test_a_cell_of_no_known_type_is_kept_but_not_run() -> None:
    cells = intake.read(
        text(CELL | {"cell_type": "script"}, CELL | {"cell_type": []})
    ).notebook.cells
    assert [c.cell_type for c in cells] == ["raw", "raw"]


@pytest.mark.parametrize("metadata", [None, [], 3, {"nbgrader": 3}, {"nbgrader": {"grade_id": 1}}])
def test_odd_metadata_is_none(metadata: object) -> None:
    assert intake.read(text(CELL | {"metadata": metadata})).notebook.cells[0].metadata == {}
    assert intake.read(text(CELL, metadata=metadata)).notebook.cells[0].source == "x = 1"


def test_what_no_file_can_hold_is_replaced() -> None:
    content = text(CELL).replace(b"x = 1", rb"x = 1\u0000 # \ud83d\ude00 \udc00")
    read = intake.read(content)
    assert read.notebook.cells[0].source == "x = 1 # \N{GRINNING FACE} \ufffd"
    assert told(read) == ["cell 1: characters that are no text were left out"]
    nb_.dumps(read.notebook).encode()


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
    read = intake.read(broken)
    assert read.notebook.cells[0].source.startswith("x = 1")
    assert told(read) == []


def test_what_follows_the_notebook_is_left_out() -> None:
    read = intake.read(text(CELL) + b'rsion": 5}')
    assert told(read) == ["what stood in the file after the end of the notebook was left out"]


def test_of_a_file_cut_off_the_whole_cells_are_taken_and_flagged() -> None:
    content = text(CELL, CELL | {"id": "b"}, CELL | {"id": "c"})
    read = intake.read(content[: content.index(b'"c"')])
    assert [c.id for c in read.notebook.cells] == ["a", "b"]
    (flag,) = read.flags
    assert flag.startswith("the file is not whole: it is cut off or damaged at line 1, column ")
    assert flag.endswith("The 2 cells before that were graded; ask for the file again")


def test_an_unfinished_merge_is_told() -> None:
    cells = text(CELL, CELL).replace(b', {"cell_type"', b"\n<<<<<<< HEAD\n=======\n>>>>>>> x\n")
    (flag,) = intake.read(cells).flags
    assert "it holds an unfinished merge of git (<<<<<<<)" in flag


def test_a_cell_that_is_too_large_is_left_out_and_flagged() -> None:
    read = intake.read(text(CELL, CELL | {"source": "#" * 600_000}))
    assert len(read.notebook.cells) == 1
    assert told(read) == [
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
    read = intake.read(text(cell))
    assert read.notebook.cells[0].attachments == {"a.png": {"image/png": PNG}}
    assert told(read) == [
        "cell 1: an attachment was left out; PNG and JPEG of at most 5 MB are kept"
    ]
    assert (
        "attachments"
        not in intake.read(text(CELL | {"attachments": attachments})).notebook.cells[0]
    )


@pytest.mark.parametrize(
    ("output", "kept"),
    [
        ({"output_type": "stream", "text": 5}, {"output_type": "stream", "text": ""}),
        ({"output_type": "error", "ename": "E", "evalue": "x"}, {"text": "E: x\n"}),
        (
            {"output_type": "execute_result", "data": {"image/png": "iVBO", "text/x-evil": "e"}},
            {"output_type": "display_data", "data": {"image/png": "iVBO"}},
        ),
        ({"output_type": "display_data", "data": {"application/javascript": "alert(1)"}}, None),
        ({"output_type": "display_data", "data": ["x"]}, None),
        ({"output_type": "comm"}, None),
        ("no table", None),
    ],
)
def test_outputs_are_made_anew(output: Any, kept: dict[str, Any] | None) -> None:
    (cell,) = intake.read(text(CELL | {"outputs": [output]})).notebook.cells
    assert len(cell.outputs) == (kept is not None)
    for key, value in (kept or {}).items():
        assert cell.outputs[0][key] == value


def test_outputs_have_a_limit() -> None:
    outputs = [{"output_type": "stream", "name": "stdout", "text": "x" * 700_000}] * 4
    (cell,) = intake.read(text(CELL | {"outputs": outputs})).notebook.cells
    assert len(cell.outputs) == 3
    assert "left out" in cell.outputs[-1].text


def test_unknown_fields_are_dropped() -> None:
    output = {"output_type": "stream", "name": "stderr", "text": ["9", "\n"], "evil": 1}
    nbgrader = {"grade_id": "a", "points": 9, "grade": True, "evil": 1}
    metadata = {"nbgrader": nbgrader, "tags": ["skip-execution"], "practical_dl": {"refused": 1}}
    cell = CELL | {"outputs": [output], "metadata": metadata, "evil": 1}
    read = intake.read(
        text(cell, metadata={"practical_dl": {"language": "ru", "refused": "x", "flags": ["evil"]}})
    )
    assert read.notebook.cells == [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "a",
            "metadata": {"nbgrader": {"grade_id": "a", "points": 9}},
            "outputs": [{"output_type": "stream", "name": "stdout", "text": "9\n"}],
            "source": "x = 1",
        }
    ]
    assert read.notebook.metadata == {"practical_dl": {"language": "ru"}}
    assert told(read) == [] and read.whole


def test_of_a_progress_bar_the_end_is_kept() -> None:
    bar = "\r".join(f"{i}%|{'█' * i}" for i in range(101))
    for written, shown in [
        (["done\n", f"\r{bar}", "\n", "loss 1\r\n"], f"done\n100%|{'█' * 100}\nloss 1\n"),
        (f"{bar}\r", f"100%|{'█' * 100}"),
        (["a", 3], ""),
        (None, ""),
    ]:
        output = {"output_type": "stream", "name": "stderr", "text": written}
        (kept,) = intake.read(text(CELL | {"outputs": [output]})).notebook.cells[0].outputs
        assert kept.text == shown


def test_the_result_can_be_written() -> None:
    read = intake.read(text(CELL, CELL | {"id": "b", "cell_type": "markdown"}))
    again = nbformat.reads(nbformat.writes(read.notebook), as_version=4)
    assert again.cells[1].cell_type == "markdown"


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
    began = time.process_time()
    try:
        intake.read(content)
    except intake.IntakeError as error:
        assert len(str(error)) < 200
    assert time.process_time() - began < 60  # seconds; what looks at each pair would take hours


# -- One folder -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built() -> dict[str, NotebookNode]:
    """Notebooks of a week with two: tiny, as the course has it, and other, with ids of its own."""
    course = tiny_course()
    files = build.build_weeks(course, course.weeks)
    found = {
        path.parent.parent.as_posix(): content.decode()
        for path, content in files.items()
        if path.name == "tiny.ipynb"
    }
    for folder in list(found):
        words = [("tiny", "other"), ("line", "curve"), ("distance", "angle"), ("double", "half")]
        content = found[folder].replace('"id": "cell-', '"id": "part-')
        for old, new in words:
            content = content.replace(old, new)
        found[f"{folder}/other"] = content
    return {name: nbformat.reads(content, as_version=4) for name, content in found.items()}


@pytest.fixture
def sources(built: dict[str, NotebookNode]) -> dict[str, NotebookNode]:
    return {"tiny": built["source"], "other": built["source/other"]}


@pytest.fixture
def released(built: dict[str, NotebookNode]) -> bytes:
    return nb_.dumps(built["release/en"]).encode()


@pytest.fixture
def solved(released: bytes) -> bytes:
    stub = rb"raise NotImplementedError(\"line\")"
    assert stub in released
    return released.replace(stub, b"return a * x + b")


@pytest.fixture
def other(built: dict[str, NotebookNode]) -> bytes:
    return nb_.dumps(built["release/en/other"]).encode()


@pytest.fixture
def week(tmp_path: Path) -> Path:
    folder = tmp_path / "submitted" / "ann" / "week01"
    folder.mkdir(parents=True)
    return folder


def put(folder: Path, name: str, content: bytes, age: float = 0.0) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    return path


Sources = dict[str, NotebookNode]


def test_a_good_folder(week: Path, sources: Sources, solved: bytes, other: bytes) -> None:
    put(week, "tiny.ipynb", solved)
    put(week, "other.ipynb", other)
    collected = collect(week, sources)
    assert list(collected.notebooks) == ["tiny", "other"]
    assert (collected.refused, collected.notes) == ({}, ())
    assert "a * x + b" in nb_.dumps(collected.notebooks["tiny"].notebook)


def test_an_empty_and_a_missing_folder(week: Path, sources: Sources) -> None:
    for folder in (week, week / "nobody" / "week01"):
        collected = collect(folder, sources)
        assert (collected.notebooks, collected.refused, collected.notes) == ({}, {}, ())


@pytest.mark.parametrize(
    "name",
    [
        "tiny (1).ipynb",
        "tiny_Ivanov.ipynb",
        "Ivanov-tiny-final.ipynb",
        "tiny.IPYNB",
        "Tiny.ipynb",
        "tiny.ipynb.txt",
        "tiny.ipynb.json",
        "tiny.json",
        "tiny",
        "tiny1.ipynb",
        "week01/tiny.ipynb",
    ],
)
def test_a_renamed_notebook_is_known_by_its_name(week: Path, sources: Sources, name: str) -> None:
    bare = CELL | {"id": "", "source": "def mine(): pass"}
    put(week, name, text(bare))
    collected = collect(week, sources)
    assert list(collected.notebooks) == ["tiny"]
    assert collected.notes == (f"{name} was taken as tiny.ipynb, by its name",)


@pytest.mark.parametrize("name", ["final.ipynb", "домашка.ipynb", "a/b/final.txt", "other.ipynb"])
def test_a_renamed_notebook_is_known_by_what_it_holds(
    week: Path, sources: Sources, solved: bytes, name: str
) -> None:
    put(week, name, solved)
    collected = collect(week, sources)
    assert list(collected.notebooks) == ["tiny"]
    assert collected.notes == (f"{name} was taken as tiny.ipynb, by the cells that it holds",)


def test_swapped_names_are_no_fault(
    week: Path, sources: Sources, solved: bytes, other: bytes
) -> None:
    put(week, "tiny.ipynb", other)
    put(week, "other.ipynb", solved)
    notebooks = collect(week, sources).notebooks
    assert "a * x + b" in nb_.dumps(notebooks["tiny"].notebook)
    assert "def curve" in nb_.dumps(notebooks["other"].notebook)


def test_a_pasted_cell_does_not_rename_a_notebook(week: Path, sources: Sources) -> None:
    foreign = CELL | {"id": "curve", "metadata": {"nbgrader": {"grade_id": "curve"}}}
    put(week, "tiny.ipynb", text(CELL | {"source": "def line(x): ..."}, foreign))
    collected = collect(week, sources)
    assert (list(collected.notebooks), collected.notes) == (["tiny"], ())


def test_without_ids_the_functions_tell(week: Path, sources: Sources) -> None:
    cell = {"cell_type": "code", "source": "def line(x): ...\ndef distance(p, q): ..."}
    put(week, "final.ipynb", text(cell))
    put(week, "notes.ipynb", text({"cell_type": "code", "source": "def double(x): ..."}))
    collected = collect(week, sources)
    assert list(collected.notebooks) == ["tiny"]
    assert collected.notes[-1] == "not used: notes.ipynb"


def test_of_two_files_the_one_that_was_worked_on_counts(
    week: Path, sources: Sources, released: bytes, solved: bytes
) -> None:
    put(week, "tiny.ipynb", released)
    put(week, "tiny_ann.ipynb", solved, age=100)
    collected = collect(week, sources)
    assert "a * x + b" in nb_.dumps(collected.notebooks["tiny"].notebook)
    assert collected.notes[-1] == (
        "tiny: tiny_ann.ipynb was graded, the only one that was worked on; not tiny.ipynb"
    )


def test_then_the_notebooks_own_name_then_the_newest(
    week: Path, sources: Sources, solved: bytes
) -> None:
    put(week, "tiny (2).ipynb", solved.replace(b"a * x + b", b"2"), age=1)
    put(week, "tiny (1).ipynb", solved.replace(b"a * x + b", b"1"), age=2)
    collected = collect(week, sources)
    assert "return 2" in nb_.dumps(collected.notebooks["tiny"].notebook)
    why = "tiny: tiny (2).ipynb was graded, the newest; not tiny (1).ipynb"
    assert collected.notes[-1] == why
    put(week, "tiny.ipynb", solved, age=3)
    collected = collect(week, sources)
    assert "a * x + b" in nb_.dumps(collected.notebooks["tiny"].notebook)
    assert collected.notes[-1] == (
        "tiny: tiny.ipynb was graded, the one with the notebook's own name; "
        "not tiny (1).ipynb, tiny (2).ipynb"
    )


def test_then_the_one_with_more_written(week: Path, sources: Sources, solved: bytes) -> None:
    more = solved.replace(rb"raise NotImplementedError(\"double\")", b"return 2 * x")
    put(week, "tiny (1).ipynb", solved)
    put(week, "tiny (2).ipynb", more)
    assert "the one with most tasks written; not tiny (1)" in collect(week, sources).notes[-1]
    put(week, "tiny (1).ipynb", more)
    assert "the first by name; not tiny (2)" in collect(week, sources).notes[-1]


def test_a_readable_copy_beats_a_damaged_original(
    week: Path, sources: Sources, solved: bytes
) -> None:
    put(week, "tiny.ipynb", b"")
    put(week, "tiny (1).ipynb", solved)
    collected = collect(week, sources)
    assert (list(collected.notebooks), collected.refused) == (["tiny"], {})
    assert collected.notes == (
        "tiny (1).ipynb was taken as tiny.ipynb, by its name",
        "tiny.ipynb was not used: the file is empty: it should be handed in again",
    )


def test_a_damaged_file_costs_only_itself(week: Path, sources: Sources, other: bytes) -> None:
    put(week, "tiny.ipynb", b"oh")
    put(week, "other.ipynb", other)
    collected = collect(week, sources)
    assert list(collected.notebooks) == ["other"]
    assert collected.refused == {
        "tiny": "the file can't be read as a notebook: it is cut off or damaged at line 1, "
        "column 1; ask for it again"
    }
    put(week, "tiny.ipynb", b"oh").rename(week / "tiny_2.ipynb")
    refused = collect(week, sources).refused["tiny"]
    assert refused.startswith("tiny_2.ipynb: the file can't be read")


LINK = "it is a symbolic link, and links are not followed: the file itself should be handed in"


def _link(path: Path) -> None:
    target = path.parents[3] / "elsewhere.ipynb"
    target.write_bytes(text(CELL))
    path.symlink_to(target)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_link, LINK),
        (lambda path: path.symlink_to("/dev/zero"), LINK),
        (lambda path: path.symlink_to("/etc/passwd"), LINK),
        (lambda path: path.symlink_to("tiny.ipynb"), LINK),
        (lambda path: path.symlink_to("nowhere"), LINK),
        (os.mkfifo, "it is a named pipe, not a file: the file itself should be handed in"),
        (_socket, "it is a socket, not a file: the file itself should be handed in"),
        (Path.mkdir, "it is a folder, not a file"),
    ],
)
def test_only_files_are_read(
    week: Path, sources: Sources, other: bytes, make: Callable[[Path], None], sentence: str
) -> None:
    put(week, "other.ipynb", other)
    make(week / "tiny.ipynb")
    collected = collect(week, sources)
    assert list(collected.notebooks) == ["other"]
    assert collected.refused == {"tiny": sentence}


def test_a_device_is_not_opened(week: Path, sources: Sources) -> None:
    # The one device that everybody may make.
    os.mknod(week / "tiny.ipynb", stat.S_IFCHR | 0o666, os.makedev(0, 0))
    sentence = "it is a device, not a file: the file itself should be handed in"
    assert collect(week, sources).refused == {"tiny": sentence}


def test_what_may_not_be_read_is_told(week: Path, sources: Sources, solved: bytes) -> None:
    put(week, "tiny.ipynb", solved).chmod(0)
    assert _without_privileges(week, sources) == {"tiny": "it can't be read: Permission denied"}
    week.chmod(0)
    try:
        refused = _without_privileges(week, sources)["tiny"]
    finally:
        week.chmod(0o700)
    assert refused == "the folder ann/week01 can't be read: Permission denied"


def _without_privileges(week: Path, sources: Sources) -> dict[str, str]:
    return _unprivileged(lambda: dict(collect(week, sources).refused))


def _unprivileged(look: Callable[[], Any]) -> Any:
    """What is found in a process that may not read everything, as root's may."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            launcher._drop_capabilities()
            os.write(writing, json.dumps(look()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        content = answer.read()
    os.waitpid(child, 0)
    return json.loads(content)


def test_a_folder_of_that_name_may_hold_the_file(
    week: Path, sources: Sources, solved: bytes
) -> None:
    put(week, "tiny.ipynb/tiny.ipynb", solved)  # as some archive programs unpack
    collected = collect(week, sources)
    assert (list(collected.notebooks), collected.refused) == (["tiny"], {})


def test_links_to_folders_are_not_followed(week: Path, sources: Sources, solved: bytes) -> None:
    real = week.parents[2] / "real"
    put(real / "week01", "tiny.ipynb", solved)
    (week / "inner").symlink_to(real / "week01")
    collected = collect(week, sources)
    assert (collected.notebooks, collected.refused) == ({}, {})
    assert collected.notes == (f"inner was not used: {LINK}",)

    (week.parents[1] / "bob").mkdir()
    (week.parents[1] / "bob" / "week01").symlink_to(real / "week01")
    (week.parents[1] / "eve").symlink_to(real)
    what = "is a symbolic link, and links are not followed"
    for student, name in (("bob", "bob/week01"), ("eve", "eve")):
        collected = collect(week.parents[1] / student / "week01", sources)
        sentence = f"the folder {name} {what}: put a folder with the files themselves there"
        assert collected.notebooks == {}
        assert collected.refused == {"tiny": sentence, "other": sentence}


def test_a_file_in_place_of_the_folder(week: Path, sources: Sources) -> None:
    week.rmdir()
    week.write_text("hello")
    why = "is a file, not a folder: put a folder with the files themselves there"
    assert collect(week, sources).refused["tiny"] == f"the folder ann/week01 {why}"


def test_a_hard_link_is_a_file(week: Path, sources: Sources, solved: bytes) -> None:
    put(week, "tiny.ipynb", solved)
    os.link(week / "tiny.ipynb", week.parents[2] / "backup.ipynb")
    assert list(collect(week, sources).notebooks) == ["tiny"]


def test_foreign_files_are_only_told(week: Path, sources: Sources, solved: bytes) -> None:
    put(week, "tiny.ipynb", solved)
    for name in ("yaml.py", "torch.py", "data/a.csv", "helper.py", "README.md", "timestamp.txt"):
        put(week, name, b"import os")
    put(week, "table.json", b'{"a": 1}')
    for name in (".ipynb_checkpoints/tiny-checkpoint.ipynb", "__pycache__/a.pyc", ".DS_Store"):
        put(week, name, solved)
    put(week, "__MACOSX/._tiny.ipynb", solved)
    collected = collect(week, sources, expected=["helper.py"])
    assert collected.notes == ("not used: data/a.csv, table.json, torch.py, yaml.py",)
    assert collected.documents == ()
    put(week, "Report.PDF", b"%PDF")
    put(week, "data/figure.png", b"")
    documents = collect(week, sources, expected=["figure.png"]).documents
    assert documents == ("Report.PDF", "data/figure.png")
    for name in documents:
        (week / name).unlink()
    for i in range(9):
        put(week, f"a{i}.py", b"")
    note = "not used: a0.py, a1.py, a2.py, a3.py, a4.py and 8 more"
    assert collect(week, sources, expected=["helper.py"]).notes == (note,)


def test_archives_are_not_opened(week: Path, sources: Sources) -> None:
    put(week, "work.ZIP", b"PK\x03\x04")
    put(week, "work.tar.gz", b"")
    what = "is an archive and was not opened: unpack it into the folder if it holds the notebooks"
    collected = collect(week, sources)
    assert (collected.notebooks, collected.refused) == ({}, {})
    assert collected.notes == (f"work.ZIP {what}", f"work.tar.gz {what}")


def test_limits_of_a_folder(
    week: Path, sources: Sources, solved: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(week, "tiny.ipynb", solved)
    for i in range(40):
        put(week, f"{i:02}.ipynb", solved)
    monkeypatch.setattr(folder_, "MAXIMUM_ENTRIES", 5)
    collected = collect(week, sources)
    assert list(collected.notebooks) == ["tiny"]
    assert "the folder holds over 5 files; the rest was ignored" in collected.notes
    assert len(collected.notes) < 9

    monkeypatch.setattr(folder_, "MAXIMUM_FOLDER", len(solved) + 9)
    collected = collect(week, sources)
    assert list(collected.notebooks) == ["tiny"]
    assert any("more than 0 MB of notebooks; this one was not read" in n for n in collected.notes)

    monkeypatch.setattr(folder_, "MAXIMUM_BYTES", 50)
    assert collect(week, sources).refused["tiny"].startswith("the file has 0 MB, and at")


def test_deep_folders_end(week: Path, sources: Sources, solved: bytes) -> None:
    put(week, "a/b/c/tiny.ipynb", solved)
    put(week, "a/b/c/d/e/f/other.ipynb", solved)
    collected = collect(week, sources)
    assert list(collected.notebooks) == ["tiny"]
    assert collected.notes[-1] == "not used: a/b/c/d/"


def test_a_sparse_file_is_not_read(week: Path, sources: Sources) -> None:
    with (week / "tiny.ipynb").open("wb") as file:
        file.truncate(10**12)
    assert collect(week, sources).refused["tiny"].startswith("the file has 1000000 MB, and")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"ti*ny?[a].py", "ti*ny?[a].py"),
        ("задача.py".encode(), "задача.py"),
        (b"a\nb\x1b[31m.py", "a\\nb\\x1b[31m.py"),
        (b"\xff\xfe.py", "\\udcff\\udcfe.py"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}yp.py".encode(), "\\u202eyp.py"),
        (b"a" * 200, "a" * 79 + "…"),
    ],
)
def test_odd_names_do_not_break_a_message(
    week: Path, sources: Sources, solved: bytes, name: bytes, shown: str
) -> None:
    (week / os.fsdecode(name)).write_bytes(b"x")
    put(week, "tiny [draft]*.ipynb", solved)
    collected = collect(week, sources)
    assert list(collected.notebooks) == ["tiny"]
    assert collected.notes[-1] == f"not used: {shown}"
    for note in collected.notes:
        note.encode()
        assert "\n" not in note and note.isprintable()


def test_an_odd_name_of_a_notebook(week: Path, sources: Sources, solved: bytes) -> None:
    (week / os.fsdecode(b"\xff\n.ipynb")).write_bytes(solved)
    (week / os.fsdecode(b"tiny\xff.ipynb\n")).write_bytes(b"")
    collected = collect(week, sources)
    assert list(collected.notebooks) == ["tiny"]
    assert collected.notes == (
        "\\udcff\\n.ipynb was taken as tiny.ipynb, by the cells that it holds",
        "tiny\\udcff.ipynb\\n was not used: the file is empty: it should be handed in again",
    )


def test_the_key_tells_what_changed(
    week: Path, sources: Sources, solved: bytes, other: bytes
) -> None:
    def key() -> str:
        return look(week, sources).fingerprint()

    keys = [key()]
    for change in (
        lambda: put(week, "tiny.ipynb", solved),
        lambda: put(week, "tiny.ipynb", solved + b"\n"),
        lambda: put(week, "tiny.ipynb", solved).rename(week / "tiny_1.ipynb"),
        lambda: put(week, "yaml.py", b""),
        lambda: put(week, "other.ipynb", other, age=-100),
        lambda: put(week, "other.ipynb", other, age=100),
        lambda: (week / "x.ipynb").symlink_to("y"),
    ):
        change()
        keys.append(key())
    assert len(set(keys)) == len(keys)
    os.utime(week / "other.ipynb", (5, 5))  # still the older one
    assert key() == keys[-1]


# -- What is handed in beside a notebook -------------------------------------------------------

NET = SubmittedFile("model.safetensors", 2)
WEIGHTS = bytes(range(256)) * 50


def beside(
    week: Path, sources: Sources, *files: SubmittedFile
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The submitted files of a folder whose notebook is fine, and the notes on them."""
    files = files or (NET,)
    collected = collect(week, sources, files=files)
    assert (list(collected.notebooks), collected.refused) == (["tiny"], {})
    prints = {look(week, sources, files, contents=c).fingerprint() for c in (False, True)}
    assert len(prints) == 1
    for note in collected.notes:
        assert note.isprintable() and len(note) < 300
    return dict(collected.files), collected.notes


def test_a_submitted_file_is_taken_as_it_is(week: Path, sources: Sources, solved: bytes) -> None:
    put(week, "tiny.ipynb", solved)
    put(week, NET.name, WEIGHTS)
    assert beside(week, sources) == ({NET.name: WEIGHTS}, ())
    collected = collect(week, sources)  # where nobody asks for it
    assert (collected.files, collected.notes) == ({}, (f"not used: {NET.name}",))


def test_one_that_is_not_there_is_a_note(week: Path, sources: Sources, solved: bytes) -> None:
    put(week, "tiny.ipynb", solved)
    assert beside(week, sources) == ({}, ("model.safetensors was not handed in",))
    assert collect(week.parent / "week02", sources, files=[NET]).notes == ()


@pytest.mark.parametrize(
    "name",
    [
        "Model.SafeTensors",
        "model (1).safetensors",
        "model(2).safetensors",
        "Copy of model.safetensors",
        "model copy.safetensors",
        "smith_ann_4711_model-1.safetensors",
        "model.safetensors.txt",
        "model.safetensors.bin",
        "model.bin",
        "model — копия.safetensors",
        "week03/model.safetensors",
        "model.safetensors/model.safetensors",
    ],
)
def test_a_changed_name_is_told(week: Path, sources: Sources, solved: bytes, name: str) -> None:
    put(week, "tiny.ipynb", solved)
    put(week, name, WEIGHTS)
    files, notes = beside(week, sources)
    assert files == {NET.name: WEIGHTS}
    assert notes[-1] == f"{name} was taken as model.safetensors, by its name"


@pytest.mark.parametrize(
    "name",
    [
        "model.pt",
        "supermodel.safetensors",
        "model2.safetensors",
        "model.safetensors.zip",
        "model.safetensors.ipynb.txt",
        "model.safetensors.index.json",
        ".model.safetensors",
        "safetensors",
        "__MACOSX/._model.safetensors",
    ],
)
def test_another_name_is_another_file(
    week: Path, sources: Sources, solved: bytes, name: str
) -> None:
    put(week, "tiny.ipynb", solved)
    put(week, name, WEIGHTS)
    files, notes = beside(week, sources)
    assert files == {} and "model.safetensors was not handed in" in notes


def test_of_several_the_own_name_then_the_newest(
    week: Path, sources: Sources, solved: bytes
) -> None:
    put(week, "tiny.ipynb", solved)
    put(week, "model (1).safetensors", b"1", age=9)
    put(week, "model (2).safetensors", b"2", age=5)
    put(week, "model (3).safetensors", b"3", age=7)
    put(week, "inner/model (4).safetensors", b"4")
    files, notes = beside(week, sources)
    assert files == {NET.name: b"2"}
    left = "inner/model (4).safetensors, model (1).safetensors, model (3).safetensors"
    assert notes[-1] == f"not used: {left}"
    put(week, "inner/model.safetensors", b"5", age=99)
    assert beside(week, sources)[0] == {NET.name: b"5"}
    put(week, "MODEL.safetensors", b"6", age=99)
    assert beside(week, sources)[0] == {NET.name: b"5"}
    put(week, "model.safetensors", b"7", age=99)
    assert beside(week, sources)[0] == {NET.name: b"7"}


def test_each_of_several_files_is_found(week: Path, sources: Sources, solved: bytes) -> None:
    files = SubmittedFile("model.bin", 1), SubmittedFile("model_best.bin", 1), NET
    put(week, "tiny.ipynb", solved)
    put(week, "model_best (1).bin", b"best")
    put(week, "Model.bin", b"plain")
    put(week, "model.safetensors", b"safe")
    found, notes = beside(week, sources, *files)
    assert found == {"model.bin": b"plain", "model_best.bin": b"best", NET.name: b"safe"}
    assert len(notes) == 2


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 * 10**9)


def _one_more(path: Path) -> None:
    path.write_bytes(bytes(NET.maximum + 1))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "is a named pipe, not a file"),
        (_socket, "is a socket, not a file"),
        (Path.mkdir, "is a folder, not a file"),
        (lambda p: p.symlink_to("/etc/passwd"), "is a symbolic link, and links are not followed"),
        (lambda p: p.symlink_to("/dev/zero"), "is a symbolic link, and links are not followed"),
        (lambda p: p.symlink_to("tiny.ipynb"), "is a symbolic link, and links are not followed"),
        (lambda p: p.symlink_to(p.name), "is a symbolic link, and links are not followed"),
        (Path.touch, "is empty"),
        (_sparse, "has 100000 MB, and at most 2 MB are accepted"),
        (_one_more, "has 2.1 MB, and at most 2 MB are accepted"),
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "model (1).safetensors"])
def test_what_can_not_be_used_is_one_sentence(
    week: Path,
    sources: Sources,
    solved: bytes,
    make: Callable[[Path], None],
    why: str,
    name: str,
) -> None:
    put(week, "tiny.ipynb", solved)
    make(week / name)
    began = time.process_time()
    assert beside(week, sources) == ({}, (f"{name} {why}: it was not used",))
    assert time.process_time() - began < 10  # of 100 GB nothing is read
    # One that can be used is used, and the other one told where it had the better name.
    put(week, "model_2.safetensors", WEIGHTS)
    files, notes = beside(week, sources)
    assert files == {NET.name: WEIGHTS}
    if name == NET.name:
        assert notes[0] == f"{name} {why}: it was not used"


def test_a_device_is_no_submitted_file(week: Path, sources: Sources, solved: bytes) -> None:
    put(week, "tiny.ipynb", solved)
    os.mknod(week / NET.name, stat.S_IFCHR | 0o666, os.makedev(0, 0))
    sentence = "model.safetensors is a device, not a file: it was not used"
    assert beside(week, sources) == ({}, (sentence,))


def test_the_largest_that_is_accepted(week: Path, sources: Sources, solved: bytes) -> None:
    put(week, "tiny.ipynb", solved)
    content = os.urandom(NET.maximum)
    put(week, NET.name, content)
    assert beside(week, sources) == ({NET.name: content}, ())


def test_a_hard_link_is_a_submitted_file(week: Path, sources: Sources, solved: bytes) -> None:
    put(week, "tiny.ipynb", solved)
    os.link(put(week.parents[1], "backup", WEIGHTS), week / NET.name)
    assert beside(week, sources) == ({NET.name: WEIGHTS}, ())


def test_one_that_may_not_be_read_is_told(week: Path, sources: Sources, solved: bytes) -> None:
    put(week, "tiny.ipynb", solved)
    put(week, NET.name, WEIGHTS).chmod(0)
    collected = _unprivileged(
        lambda: [*(c := collect(week, sources, files=[NET])).notes, *c.notebooks, *c.files]
    )
    told = "model.safetensors can't be read (Permission denied): it was not used"
    assert collected == [told, "tiny"]


@pytest.mark.parametrize("change", [b"more", b""], ids=["grows", "shrinks"])
def test_one_that_changes_while_it_is_read_is_told(
    week: Path,
    sources: Sources,
    solved: bytes,
    change: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(week, "tiny.ipynb", solved)
    path = put(week, NET.name, WEIGHTS)
    before = look(week, sources, [NET]).fingerprint()
    read = os.read

    def meanwhile(handle: int, size: int) -> bytes:
        found = read(handle, size)
        path.write_bytes(WEIGHTS + change if change else b"")
        return found

    monkeypatch.setattr(os, "read", meanwhile)
    collected = collect(week, sources, files=[NET])
    told = "model.safetensors can't be read (it changed meanwhile): it was not used"
    assert (collected.files, collected.notes) == ({}, (told,))
    assert list(collected.notebooks) == ["tiny"]
    assert look(week, sources, [NET]).fingerprint() != before


def test_one_that_grows_for_ever_is_read_no_further(
    week: Path, sources: Sources, solved: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(week, "tiny.ipynb", solved)
    path = put(week, NET.name, WEIGHTS)
    sizes = []

    def meanwhile(handle: int, size: int) -> bytes:
        sizes.append(size)
        assert len(sizes) < 9
        with path.open("ab") as file:
            file.write(bytes(10_000_000))
        return os.pread(handle, size, sum(sizes[:-1]))

    monkeypatch.setattr(os, "read", meanwhile)
    assert collect(week, sources, files=[NET]).files == {}
    assert sum(sizes) <= len(WEIGHTS) + 1


def test_many_files_hide_no_submitted_one(
    week: Path, sources: Sources, solved: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(week, "tiny.ipynb", solved)
    put(week, NET.name, WEIGHTS)
    for i in range(60):
        put(week, f"model ({i}).safetensors", bytes(i + 1))
    opened = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(folder_, "MAXIMUM_ENTRIES", 9)
    files, notes = beside(week, sources)
    assert files == {NET.name: WEIGHTS}
    assert notes[0] == "the folder holds over 9 files; the rest was ignored" and len(notes) == 2
    assert len(os.listdir("/proc/self/fd")) == opened


def test_its_size_does_not_count_among_the_notebooks(
    week: Path, sources: Sources, solved: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(week, "tiny.ipynb", solved)
    put(week, NET.name, bytes(NET.maximum))
    monkeypatch.setattr(folder_, "MAXIMUM_FOLDER", len(solved))
    monkeypatch.setattr(folder_, "MAXIMUM_BYTES", len(solved))
    assert beside(week, sources) == ({NET.name: bytes(NET.maximum)}, ())


def test_the_key_holds_no_content_in_memory(week: Path, sources: Sources, solved: bytes) -> None:
    large = SubmittedFile(NET.name, 50)
    put(week, "tiny.ipynb", solved)
    put(week, NET.name, bytes(40_000_000))
    tracemalloc.start()
    try:
        found = look(week, sources, [large])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000
    assert found.beside[NET.name].digest == hashlib.sha256(bytes(40_000_000)).hexdigest()


def test_the_key_tells_that_a_submitted_file_changed(
    week: Path, sources: Sources, solved: bytes
) -> None:
    def key() -> str:
        made = look(week, sources, [NET], contents=True).fingerprint()
        assert made == look(week, sources, [NET]).fingerprint()
        assert made != look(week, sources).fingerprint()
        return made

    keys = []
    for change in (
        lambda: put(week, "tiny.ipynb", solved),
        lambda: put(week, NET.name, WEIGHTS),
        lambda: put(week, NET.name, WEIGHTS[:-1] + b"x"),
        lambda: put(week, NET.name, WEIGHTS + b"x"),
        lambda: put(week, NET.name, bytes(NET.maximum + 1)),
        lambda: put(week, NET.name, b""),
        lambda: put(week, "Model.safetensors", WEIGHTS),
        lambda: (week / NET.name).unlink(),
        lambda: (week / "Model.safetensors").rename(week / "model_1.safetensors"),
    ):
        change()
        keys.append(key())
    assert len(set(keys)) == len(keys)
    os.utime(week / "model_1.safetensors", (5, 5))
    assert key() == keys[-1]


NAMES = st.sampled_from(
    ["model.safetensors", "MODEL.safetensors", "model (1).safetensors", "model.bin", "tiny.ipynb",
     "a/model.safetensors", "tiny (1).ipynb", "net.pt"]
)  # fmt: skip
KINDS = st.sampled_from(["file", "file", "large", "link", "pipe", "folder"])


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(entries=st.dictionaries(NAMES, st.tuples(KINDS, st.binary(max_size=20)), max_size=5))
def test_any_folder_gives_its_bytes_or_a_sentence(
    built: dict[str, NotebookNode], entries: dict[str, tuple[str, bytes]]
) -> None:
    sources = {"tiny": built["source"]}
    with tempfile.TemporaryDirectory() as root:
        week = Path(root) / "ann" / "week01"
        (week / "a").mkdir(parents=True)
        for name, (kind, content) in entries.items():
            path = week / name
            if kind == "link":
                path.symlink_to("/etc/passwd")
            elif kind == "pipe":
                os.mkfifo(path)
            elif kind == "folder":
                path.mkdir()
            else:
                path.write_bytes(content if kind == "file" else bytes(NET.maximum + 1))
        before = tree_of(Path(root)) if not any(k == "pipe" for k, _ in entries.values()) else {}
        collected = collect(week, sources, files=[NET])
        prints = {look(week, sources, [NET], contents=c).fingerprint() for c in (False, True)}
        assert len(prints) == 1
        assert not before or tree_of(Path(root)) == before
    usable = [c for k, c in entries.values() if k == "file" and c]
    assert set(collected.files.values()) <= set(usable)
    assert all(note.isprintable() for note in collected.notes)
    kind, content = entries.get(NET.name, ("", b""))
    if kind == "file" and content:
        assert collected.files == {NET.name: content}
    elif not collected.files:
        assert any("handed in" in n or "it was not used" in n for n in collected.notes)


def test_nothing_is_written(week: Path, sources: Sources, solved: bytes) -> None:
    put(week, "tiny.ipynb", solved)
    put(week, NET.name, WEIGHTS)
    put(week, "a/other.ipynb", b"")
    before = tree_of(week.parents[1])
    os.chmod(week, 0o500)
    collect(week, sources, files=[NET])
    os.chmod(week, 0o700)
    assert tree_of(week.parents[1]) == before


# -- Whatever comes ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    """benchmarks/fuzz.py: its changes and its checks."""
    path = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def seeds(fuzz: ModuleType) -> list[Any]:
    return [seed for seed in fuzz.seeds() if seed.name == "tiny"]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(rng=st.randoms(use_true_random=False))
def test_mutated_submissions_end_well(fuzz: ModuleType, seeds: list[Any], rng: Any) -> None:
    with tempfile.TemporaryDirectory() as root:
        fuzz.check_example(rng.choice(seeds), rng, Path(root))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_notebook_or_a_sentence(content: bytes) -> None:
    for whole in (content, b'{"cells": [' + content, b'{"cells": [{"source": "' + content):
        try:
            intake.read(whole)
        except intake.IntakeError as error:
            assert str(error).isprintable() and len(str(error)) < 300


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
CELLS = st.fixed_dictionaries(
    {},
    optional={
        "cell_type": st.sampled_from(["code", "markdown", "raw", "heading", "html"]) | VALUES,
        "id": st.sampled_from(["line", "test-line", "distance", "extra-1"]) | VALUES,
        "source": st.sampled_from(["def line(x): ...", 'check.done("line")', ""]) | VALUES,
        "metadata": st.fixed_dictionaries(
            {"nbgrader": st.fixed_dictionaries({"grade_id": st.just("line") | VALUES}) | VALUES}
        )
        | VALUES,
        "level": VALUES,
        "attachments": VALUES,
    },
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(cells=st.lists(CELLS | VALUES, min_size=1, max_size=6), metadata=VALUES)
def test_any_cells_can_be_grafted(
    fuzz: ModuleType, built: dict[str, NotebookNode], cells: list[Any], metadata: Any
) -> None:
    try:
        read = intake.read(text(*cells, metadata=metadata))
    except intake.IntakeError:
        return
    fuzz.check_graft(built["source"], read)
