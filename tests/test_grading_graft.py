"""Graft: of a submission only sources are taken, and honest disorder costs nothing."""

from __future__ import annotations

import copy

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from rules import tiny_course

from autograder import notebook as nb_
from autograder.authoring import build
from autograder.grading.graft import graft


@pytest.fixture(scope="module")
def built() -> dict[str, NotebookNode]:
    course = tiny_course()
    files = build.build_weeks(course, course.weeks)
    return {
        path.parent.parent.as_posix(): nbformat.reads(content.decode(), as_version=4)
        for path, content in files.items()
        if path.name == "tiny.ipynb"
    }


@pytest.fixture
def source(built: dict[str, NotebookNode]) -> NotebookNode:
    return copy.deepcopy(built["source"])


@pytest.fixture
def student(built: dict[str, NotebookNode]) -> NotebookNode:
    notebook = copy.deepcopy(built["release/en"])
    find(notebook, "line").source = "def line(x, a, b):\n    return a * x + b"
    return notebook


def find(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(c for c in notebook.cells if nb_.grade_id(c) == name)


def test_the_answer_arrives_and_the_tests_are_whole(
    source: NotebookNode, student: NotebookNode
) -> None:
    grafted = graft(source, student)
    assert find(grafted.notebook, "line").source == find(student, "line").source
    assert "BEGIN HIDDEN TESTS" in find(grafted.notebook, "test-line").source
    assert "NotImplementedError" in find(grafted.notebook, "distance").source
    assert (grafted.flags, grafted.notes, grafted.language) == ((), (), "en")


def test_nothing_but_sources_is_taken(source: NotebookNode, student: NotebookNode) -> None:
    plain = graft(source, student).notebook
    for cell in student.cells:
        cell.metadata["evil"] = True
        if cell.cell_type == "code":
            cell.outputs = [{"output_type": "stream", "name": "stdout", "text": "evil"}]
            cell.execution_count = 7
    student.metadata["kernelspec"] = {"name": "evil"}
    assert "evil" not in nb_.dumps(graft(source, student).notebook)
    assert graft(source, student).notebook == plain


def test_a_deleted_solution_is_the_stub_again(source: NotebookNode, student: NotebookNode) -> None:
    student.cells.remove(find(student, "line"))
    grafted = graft(source, student)
    assert "NotImplementedError" in find(grafted.notebook, "line").source
    assert grafted.notes == ("the cell of line is missing",)


def test_of_copies_the_written_one_counts(source: NotebookNode, student: NotebookNode) -> None:
    stub = copy.deepcopy(find(source, "line"))
    stub.source = find(graft(source, None).notebook, "line").source
    student.cells.append(stub)  # an untouched copy after the answer
    grafted = graft(source, student)
    assert find(grafted.notebook, "line").source == find(student, "line").source
    second = copy.deepcopy(find(student, "line"))
    second.source = "def line(x, a, b):\n    return 2"
    student.cells.append(second)
    grafted = graft(source, student)
    assert find(grafted.notebook, "line").source.endswith("return 2")
    assert grafted.notes == ("the cell of line stands 3 times; the last one was graded",)


def test_order_and_type_of_cells_cost_nothing(source: NotebookNode, student: NotebookNode) -> None:
    plain = graft(source, student)
    find(student, "line").cell_type = "raw"
    student.cells.reverse()
    assert graft(source, student) == plain


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        (lambda cell, cells: cell.update(source="pass"), "were changed"),
        (lambda cell, cells: cell.metadata.nbgrader.update(points=100), "points of line"),
        (lambda cell, cells: cells.remove(cell), "were deleted"),
    ],
)
def test_a_changed_test_is_restored_and_told(
    source: NotebookNode, student: NotebookNode, change: object, flag: str
) -> None:
    whole = find(graft(source, student).notebook, "test-line")
    change(find(student, "test-line"), student.cells)  # type: ignore[operator]
    grafted = graft(source, student)
    assert find(grafted.notebook, "test-line") == whole
    assert len(grafted.flags) == 1 and flag in grafted.flags[0]


def test_added_cells_stay_where_they_were(source: NotebookNode, student: NotebookNode) -> None:
    at = student.cells.index(find(student, "line"))
    student.cells.insert(at + 1, new_markdown_cell("my note"))
    student.cells.insert(at + 2, new_code_cell("mine = 1"))
    student.cells.insert(0, new_code_cell("first = 1"))
    sources = [c.source for c in graft(source, student).notebook.cells]
    assert sources[0] == "first = 1"
    at = sources.index(find(student, "line").source)
    assert sources[at + 1 : at + 3] == ["my note", "mine = 1"]
    ids = [c.id for c in graft(source, student).notebook.cells]
    assert len(ids) == len(set(ids))


def test_worked_code_may_be_changed(source: NotebookNode, student: NotebookNode) -> None:
    cell = next(c for c in student.cells if "print(line" in c.source)
    cell.source = "print(line(np.arange(9.0), 1.0, 1.0))"
    assert cell.source in [c.source for c in graft(source, student).notebook.cells]


def test_language_by_stamp_or_by_ids(built: dict[str, NotebookNode], source: NotebookNode) -> None:
    russian = copy.deepcopy(built["release/ru"])
    assert graft(source, russian).language == "ru"
    russian.metadata.pop(nb_.KEY)
    assert graft(source, russian).language == "ru"
    assert "Прямая" in str(graft(source, russian).notebook.cells)


def test_merged_language_versions_count_once(
    built: dict[str, NotebookNode], source: NotebookNode, student: NotebookNode
) -> None:
    student.cells += copy.deepcopy(built["release/ru"].cells)
    grafted = graft(source, student)
    assert find(grafted.notebook, "line").source == find(student, "line").source
    graded = [c for c in grafted.notebook.cells if nb_.is_graded(c)]
    assert len(graded) == len([c for c in source.cells if nb_.is_graded(c)])


def test_no_file_is_the_untouched_notebook(source: NotebookNode) -> None:
    grafted = graft(source, None)
    assert "NotImplementedError" in find(grafted.notebook, "line").source
    assert (grafted.flags, grafted.notes) == ((), ())
