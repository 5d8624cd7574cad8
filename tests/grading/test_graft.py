"""Graft: of a submission only sources are taken, and honest disorder costs nothing."""

from __future__ import annotations

import copy

import nbformat
import pytest
from kit.rules import tiny_course
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from autograder import notebook as nb_
from autograder.authoring import build
from autograder.grading.graft import attempts, graft
from autograder.grading.score import Verdict, marks_of


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


# -- What honest students do ------------------------------------------------------------------

WRITTEN = "def line(x, a, b):\n    return a * x + b"
MISSING = "the cell of {} is missing"


def code(source: str, **fields: object) -> NotebookNode:
    return NotebookNode(new_code_cell(source), **fields)


def at(notebook: NotebookNode, name: str) -> int:
    return notebook.cells.index(find(notebook, name))


def sources_of(notebook: NotebookNode) -> list[str]:
    return [c.source for c in notebook.cells]


def test_a_solution_in_a_new_cell_at_its_place(source: NotebookNode, student: NotebookNode) -> None:
    student.cells[at(student, "line")] = code(f"import math\n\n\n{WRITTEN}")
    grafted = graft(source, student)
    assert find(grafted.notebook, "line").source == f"import math\n\n\n{WRITTEN}"
    assert sum("def line" in s for s in sources_of(grafted.notebook)) == 1
    assert grafted.flags == ()
    (note,) = grafted.notes
    number = at(grafted.notebook, "line") + 1
    assert note == f"the code of line was found in another place, cell {number}, and taken"


def test_a_solution_written_below_the_stub(source: NotebookNode, student: NotebookNode) -> None:
    stub = find(graft(source, None).notebook, "line").source
    find(student, "line").source = stub
    student.cells.insert(at(student, "test-line") + 1, code(WRITTEN))
    grafted = graft(source, student)
    assert find(grafted.notebook, "line").source == WRITTEN
    assert sum("def line" in s for s in sources_of(grafted.notebook)) == 1


def test_all_solutions_in_one_cell_at_the_top(source: NotebookNode, student: NotebookNode) -> None:
    everything = (
        f"EPS = 1\n\n\n{WRITTEN}\n\n\n@cached\ndef distance(p, q):\n    '''\nno\n'''\n\n"
        "    return 1\n\n\nclass Other:\n    pass"
    )
    for name in ("line", "distance"):
        student.cells.remove(find(student, name))
    student.cells.insert(0, code(everything))
    grafted = graft(source, student)
    assert grafted.notebook.cells[0].source == everything  # what others need of it stays
    assert find(grafted.notebook, "line").source == WRITTEN
    assert find(grafted.notebook, "distance").source == (
        "@cached\ndef distance(p, q):\n    '''\nno\n'''\n\n    return 1"
    )
    assert len(grafted.notes) == 2


def test_all_solutions_in_one_cell_below(source: NotebookNode, student: NotebookNode) -> None:
    both = f"{WRITTEN}\n\n\ndef distance(p, q):\n    return 1"
    for name in ("line", "distance"):
        student.cells.remove(find(student, name))
    student.cells.append(code(both))
    grafted = graft(source, student)
    assert find(grafted.notebook, "line").source == both
    assert find(grafted.notebook, "distance").source == "def distance(p, q):\n    return 1"
    assert sum("def line" in s for s in sources_of(grafted.notebook)) == 1


def test_two_tasks_in_one_solution_cell(source: NotebookNode, student: NotebookNode) -> None:
    both = f"{WRITTEN}\n\n\ndef distance(p, q):\n    return 1"
    find(student, "line").source = both
    student.cells.remove(find(student, "distance"))
    grafted = graft(source, student)
    assert find(grafted.notebook, "line").source == both
    assert find(grafted.notebook, "distance").source == "def distance(p, q):\n    return 1"


def test_a_solution_in_the_cell_of_the_checks(source: NotebookNode, student: NotebookNode) -> None:
    find(student, "line").source = ""
    find(student, "test-line").source = f"{WRITTEN}\n\n\n{find(student, 'test-line').source}"
    grafted = graft(source, student)
    assert find(grafted.notebook, "line").source == WRITTEN
    assert grafted.flags == ("the checks of line were changed in the file; the original ones ran",)


def test_a_solution_in_a_worked_cell(source: NotebookNode, student: NotebookNode) -> None:
    student.cells.remove(find(student, "line"))
    cell = next(c for c in student.cells if "print(line" in c.source)
    cell.source = f"{WRITTEN}\n\nprint(line(1, 2, 3))"
    grafted = graft(source, student)
    assert find(grafted.notebook, "line").source == WRITTEN
    assert cell.source in sources_of(grafted.notebook)


def test_code_that_python_cannot_read_is_taken_whole(
    source: NotebookNode, student: NotebookNode
) -> None:
    broken = 'def line(x, a, b):\n    return """'
    student.cells.remove(find(student, "line"))
    student.cells.insert(0, code(broken))
    assert find(graft(source, student).notebook, "line").source == broken


def test_a_split_solution_is_put_together(source: NotebookNode, student: NotebookNode) -> None:
    cell = find(student, "line")
    second = copy.deepcopy(cell)
    cell.source, second.source = "def line(x, a, b):\n    y = a * x", "    return y + b"
    student.cells.insert(at(student, "line") + 1, second)
    grafted = graft(source, student)
    assert find(grafted.notebook, "line").source == f"{cell.source}\n{second.source}"
    assert grafted.notes == ("the cell of line was split; its 2 parts were put together",)


def test_a_copy_that_became_another_task(source: NotebookNode, student: NotebookNode) -> None:
    second = copy.deepcopy(find(student, "line"))
    second.source = "def distance(p, q):\n    return 1"
    student.cells[at(student, "distance")] = second  # with the grade_id of line
    grafted = graft(source, student)
    assert find(grafted.notebook, "line").source == WRITTEN
    assert find(grafted.notebook, "distance").source == second.source


def test_an_earlier_try_kept_as_text_does_not_count(
    source: NotebookNode, student: NotebookNode
) -> None:
    earlier = copy.deepcopy(find(student, "line"))
    earlier.cell_type, earlier.source = "raw", "def line(x, a, b):\n    return 0"
    student.cells.append(earlier)
    assert find(graft(source, student).notebook, "line").source == WRITTEN


def test_checks_beyond_the_end_of_a_cut_file_were_not_deleted(
    source: NotebookNode, student: NotebookNode
) -> None:
    student.cells = student.cells[: at(student, "line") + 1]
    assert len(graft(source, student).flags) > 0
    assert graft(source, student, whole=False).flags == ()


def test_an_emptied_solution_is_not_attempted(source: NotebookNode, student: NotebookNode) -> None:
    find(student, "line").source = "# TODO\n\n"
    assert "NotImplementedError" in find(graft(source, student).notebook, "line").source


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_a_retyped_solution_is_code(source: NotebookNode, student: NotebookNode, kind: str) -> None:
    plain = graft(source, student)
    find(student, "line").cell_type = kind
    assert graft(source, student) == plain


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_a_retyped_test_is_restored(source: NotebookNode, student: NotebookNode, kind: str) -> None:
    plain = graft(source, student)
    find(student, "test-line").cell_type = kind
    assert graft(source, student) == plain


def test_a_retyped_worked_cell_is_the_instructors(
    source: NotebookNode, student: NotebookNode
) -> None:
    plain = graft(source, student)
    cell = next(c for c in student.cells if "print(line" in c.source)
    cell.cell_type, cell.source = "raw", "too slow"
    assert graft(source, student) == plain


def test_a_split_test_is_no_change(source: NotebookNode, student: NotebookNode) -> None:
    plain = graft(source, student)
    cell = find(student, "test-line")
    second = copy.deepcopy(cell)
    first_line, _, rest = cell.source.partition("\n")
    cell.source, second.source = first_line, rest
    student.cells.insert(at(student, "test-line") + 1, second)
    assert graft(source, student) == plain


def test_blanks_at_the_ends_of_lines_are_no_change(
    source: NotebookNode, student: NotebookNode
) -> None:
    plain = graft(source, student)
    for cell in student.cells:
        if nb_.grade_id(cell) != "line":
            cell.source = cell.source.replace("\n", " \n") + "\n\n"
    grafted = graft(source, student)
    assert (grafted.flags, grafted.notes) == ((), ())
    assert sources_of(grafted.notebook) == sources_of(plain.notebook)


@pytest.mark.parametrize("what", ["ids", "grade_ids", "all"])
def test_cells_are_known_without_ids(
    source: NotebookNode, student: NotebookNode, what: str
) -> None:
    plain = graft(source, student)
    for number, cell in enumerate(student.cells):
        if what in ("ids", "all"):
            cell.id = ""
        if what == "grade_ids":
            cell.metadata.pop("nbgrader", None)
        if what == "all":
            cell.metadata = NotebookNode()
        assert number < 99
    grafted = graft(source, student)
    assert grafted.notebook == plain.notebook
    assert grafted.flags == ()


def test_renamed_ids_cost_nothing(source: NotebookNode, student: NotebookNode) -> None:
    plain = graft(source, student)
    for cell in student.cells:
        if nb_.grade_id(cell):
            cell.metadata.nbgrader["grade_id"] = "renamed-" + nb_.grade_id(cell)
    assert graft(source, student) == plain


def test_merged_versions_show_each_text_once(
    built: dict[str, NotebookNode], source: NotebookNode, student: NotebookNode
) -> None:
    plain = graft(source, student)
    russian = copy.deepcopy(built["release/ru"])
    for cells in (student.cells + russian.cells, russian.cells + student.cells):
        student.cells = cells
        assert graft(source, student) == plain
    find(russian, "distance").source = "def distance(p, q):\n    return 1"
    student.cells = student.cells + russian.cells
    grafted = graft(source, student)
    assert find(grafted.notebook, "line").source == WRITTEN
    assert find(grafted.notebook, "distance").source.endswith("return 1")


def test_a_changed_worked_cell_of_merged_versions(
    built: dict[str, NotebookNode], source: NotebookNode, student: NotebookNode
) -> None:
    cell = next(c for c in student.cells if "print(line" in c.source)
    cell.source = "print(line(1, 2, 3))"
    student.cells += copy.deepcopy(built["release/ru"].cells)
    assert cell.source in sources_of(graft(source, student).notebook)


def test_the_parameters_are_the_instructors(source: NotebookNode, student: NotebookNode) -> None:
    plain = graft(source, student)
    cell = next(c for c in student.cells if c.source == 'profile = "small"')
    cell.source = 'profile = "full"'
    grafted = graft(source, student)
    assert grafted.notebook == plain.notebook
    assert grafted.notes == (
        "the cell 'profile = \"small\"' was changed; the original one was used",
    )


def test_a_text_that_a_student_changed_is_kept_below(
    source: NotebookNode, student: NotebookNode
) -> None:
    cell = next(c for c in student.cells if c.source.startswith("## A distance"))
    question = cell.source
    cell.source += "\n\nMy answer."
    texts = sources_of(graft(source, student).notebook)
    assert texts[texts.index(question) + 1] == cell.source
    student.metadata[nb_.KEY]["version"] = "older"
    assert cell.source not in sources_of(graft(source, student).notebook)


def test_an_older_version_is_no_tampering(source: NotebookNode, student: NotebookNode) -> None:
    find(student, "test-line").source = "pass"
    student.metadata[nb_.KEY]["version"] = "older"
    grafted = graft(source, student)
    assert grafted.flags == ()
    version = nb_.ours(source)["version"]
    assert grafted.notes == (f"made from version older of the notebook; checked with {version}",)


def test_the_instructors_notebook_is_flagged(source: NotebookNode) -> None:
    grafted = graft(source, copy.deepcopy(source))
    assert grafted.flags[0] == (
        "the file holds hidden tests: it was made from the instructor's notebook"
    )


@pytest.fixture
def essay(source: NotebookNode) -> NotebookNode:
    """A source notebook with an answer that a person grades."""
    nbgrader = dict(find(source, "test-line").metadata.nbgrader)
    nbgrader.update(grade_id="why", solution=True, locked=False, points=3)
    cell = new_markdown_cell("*Your answer*", id="why", metadata={"nbgrader": nbgrader})
    source.cells.append(cell)
    return source


def test_an_answer_keeps_its_pictures(essay: NotebookNode, student: NotebookNode) -> None:
    pictures = {"a.png": {"image/png": "iVBORw0KGgo="}}
    answer = new_markdown_cell("So.", id="x", metadata={"nbgrader": {"grade_id": "why"}})
    student.cells.append(NotebookNode(answer, attachments=pictures))
    student.cells.append(NotebookNode(new_markdown_cell("And so."), attachments=pictures))
    grafted = graft(essay, student)
    assert find(grafted.notebook, "why").source == "So."
    assert [c.attachments for c in grafted.notebook.cells[-2:]] == [pictures, pictures]
    nbformat.validate(grafted.notebook)


def test_of_an_answer_nothing_is_lost(essay: NotebookNode, student: NotebookNode) -> None:
    for text in ("YOUR ANSWER HERE", "First.", "Second.", "First."):
        student.cells.append(new_markdown_cell(text, metadata={"nbgrader": {"grade_id": "why"}}))
    grafted = graft(essay, student)
    assert find(grafted.notebook, "why").source == "First.\n\nSecond."
    assert grafted.notes == ("the cell of why was split; its 2 parts were put together",)


def test_an_answer_in_a_code_cell(essay: NotebookNode, student: NotebookNode) -> None:
    student.cells.append(code("Because.", metadata={"nbgrader": {"grade_id": "why"}}))
    cell = find(graft(essay, student).notebook, "why")
    assert (cell.cell_type, cell.source) == ("markdown", "Because.")


@pytest.mark.parametrize(
    ("cells", "waits"),
    [
        ([code("# My answer: because.")], True),
        ([new_markdown_cell("Read on."), code("plot()")], True),
        ([], False),
        ([code("  ")], False),
    ],
)
def test_an_empty_answer_with_cells_below_it_waits_for_a_person(
    essay: NotebookNode, student: NotebookNode, cells: list[NotebookNode], waits: bool
) -> None:
    stub = find(graft(essay, None).notebook, "why")
    student.cells += [code("above", id="a"), copy.deepcopy(stub), *cells]
    grafted = graft(essay, student)
    taken = any(cell.cell_type == "markdown" for cell in cells)  # a text beside it is the answer
    assert ("elsewhere" in nb_.ours(find(grafted.notebook, "why"))) == (waits and not taken)
    assert (marks_of(grafted.notebook, verdicts(grafted.notebook)).scores["why"] is None) == waits
    assert any("answer why was" in note for note in grafted.notes) == waits


def test_an_empty_answer_beside_a_document_waits_for_a_person(
    essay: NotebookNode, student: NotebookNode
) -> None:
    grafted = graft(essay, student, documents=["report.pdf"])
    assert marks_of(grafted.notebook, verdicts(grafted.notebook)).scores["why"] is None
    assert grafted.notes[-1] == "the answer why was left empty, but report.pdf was handed in"
    student.cells.append(new_markdown_cell("So.", metadata={"nbgrader": {"grade_id": "why"}}))
    assert graft(essay, student, documents=["report.pdf"]).notes == ()


def verdicts(notebook: NotebookNode) -> list[Verdict]:
    return [Verdict(task, 0.0, "wrong", "") for task in nb_.test_cells(notebook)]


def test_outputs_are_kept_apart(source: NotebookNode, student: NotebookNode) -> None:
    shown = [new_output("stream", text="1")]
    find(student, "line").outputs = shown
    find(student, "test-line").outputs = shown
    student.cells.append(code("plot()", outputs=shown))
    grafted = graft(source, student)
    handed = {cell.id: cell for cell in grafted.notebook.cells if cell.id in grafted.handed}
    assert [cell.source for cell in handed.values()] == [find(student, "line").source, "plot()"]
    assert all(cell.outputs == [] for cell in handed.values())


def test_every_graded_cell_is_there_whatever_comes(essay: NotebookNode) -> None:
    graded = [nb_.grade_id(c) for c in essay.cells if nb_.is_graded(c)]
    for cells in ([], [code("")], [code("x = 1")], [new_markdown_cell("hello")]):
        grafted = graft(essay, NotebookNode(cells=cells, metadata={}))
        assert [nb_.grade_id(c) for c in grafted.notebook.cells if nb_.is_graded(c)] == graded
        assert MISSING.format("line") in grafted.notes


def test_two_grafts_share_nothing(source: NotebookNode, student: NotebookNode) -> None:
    first = graft(source, student).notebook
    again = copy.deepcopy(first)
    for cell in first.cells:
        cell.source = "spoilt"
        cell.metadata["spoilt"] = {"a": 1}
    assert graft(source, student).notebook == again


def test_attempts_are_counted(source: NotebookNode, student: NotebookNode) -> None:
    assert attempts(source, student) == 1
    find(student, "line").source = find(graft(source, None).notebook, "line").source
    assert attempts(source, student) == 0
