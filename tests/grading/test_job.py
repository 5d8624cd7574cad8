"""What is run of a grafted notebook: without what no grader can run, with what was there before."""

from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from autograder import notebook as nb_
from autograder.execution.execute import CellOutcome, Result, Trial
from autograder.execution.sandbox import Limits
from autograder.grading.job import apply_result, changed_cells, job_of, left_out
from autograder.grading.lacking import what_lacks

IMPORTS = "%precision 3\nimport math\nfrom os import path as where\n\nrate = 0.1"


def source_of(*cells: NotebookNode) -> NotebookNode:
    """A source notebook: the imports, then these cells."""
    return new_notebook(cells=[new_code_cell(IMPORTS, id="imports"), *cells])


def solution(source: str) -> NotebookNode:
    nbgrader = {"grade": False, "solution": True, "grade_id": "line", "locked": False}
    return new_code_cell(source, id="line", metadata={"nbgrader": nbgrader})


def test_cell(source: str = 'line(1)\ncheck.done("line")') -> NotebookNode:
    nbgrader = {"grade": True, "solution": False, "grade_id": "test-line", "points": 1}
    return new_code_cell(source, id="test-line", metadata={"nbgrader": nbgrader})


test_cell.__test__ = False  # type: ignore[attr-defined]


def run_of(*cells: NotebookNode, source: NotebookNode | None = None) -> list[str]:
    """The sources that run of a student's cells."""
    notebook = new_notebook(cells=list(cells))
    job = job_of(notebook, source or source_of(), {}, Limits())
    return [cell["source"] for cell in job.notebook["cells"]]


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("!pip install seaborn", "pass"),
        ("%pip install -q seaborn", "pass"),
        ("    !pip3 install a b", "    pass"),
        ("pip install seaborn", "pass"),
        ("!python3 -m pip install --upgrade torch", "pass"),
        ("!{sys.executable} -m pip install x", "pass"),
        ("!sudo apt-get install -y graphviz", "pass"),
        ("!apt update", "pass"),
        ("%conda install -y x", "pass"),
        ("!pip install a \\\n  b \\\n  c", "pass\n\n"),
        ("%%bash\npip install x\nls", "%%bash\ntrue\nls"),
        ("%matplotlib notebook", "%matplotlib inline"),
        ("%matplotlib inline", "%matplotlib inline"),
        ("!ls", "!ls"),
        ("pip = 3", "pip = 3"),
        ("piped(1)", "piped(1)"),
        ("print('!pip install x')", "print('!pip install x')"),
    ],
)
def test_lines_that_no_grader_can_run(line: str, runs: str) -> None:
    assert run_of(new_code_cell(f"{line}\nx = 1", id="own")) == [f"{runs}\nx = 1"]


def test_what_is_left_out_is_told_and_takes_no_time() -> None:
    cells = [new_code_cell(f"!pip install {name}\n" * 2, id=name) for name in ("a", "b")]
    (note,) = left_out(new_notebook(cells=cells))
    assert note == "not run, since there is no network: '!pip install a', '!pip install b'"
    for text in (" ", "!", "\n ", "!sudo ", "%matplotlib ", "pip -a ", "!pip \\\n"):
        run_of(new_code_cell(text * 100_000, id="own"))


@pytest.mark.parametrize("magic", ["%%time", "%%timeit -n 1", "%%capture out\n%%time", "\n%%time"])
def test_a_solution_cell_defines_what_stands_in_it(magic: str) -> None:
    (runs,) = run_of(solution(f"{magic}\ndef line(x):\n    return x"))
    assert "\n%%" not in f"\n{runs}" and runs.endswith("\ndef line(x):\n    return x")
    (own,) = run_of(new_code_cell("%%time\nx = 1", id="own"))
    assert own == "%%time\nx = 1"


@pytest.mark.parametrize(
    ("changed", "rate", "failed"),
    [
        (f"import nothing_such\n{IMPORTS}", 0.1, True),
        (f"{IMPORTS}\nimport nothing_such", 0.1, True),
        ("def (:\n" + IMPORTS, 0.1, True),
        (IMPORTS.replace("0.1", "0.5"), 0.5, False),
        ("rate = 0.5", 0.5, False),
        ("", 0.1, False),
    ],
)
def test_what_the_instructor_binds_is_there(changed: str, rate: float, failed: bool) -> None:
    cell = new_code_cell(changed, id="imports")
    own, then = run_of(cell)
    shell = InteractiveShell()
    shell.showtraceback = shell.showsyntaxerror = lambda *a, **k: None  # type: ignore[assignment]
    for source in (own, then):
        if source:
            done = shell.run_cell(source)
        assert source == own or done.success
    space = shell.user_ns
    assert (space["math"].__name__, callable(space["where"].join)) == ("math", True)
    assert space["rate"] == rate and "_original" not in space
    ended = CellOutcome("imports", "error" if failed else "ok", 0.1, "E" * failed, "why")
    told = changed_cells(new_notebook(cells=[cell]), source_of(), result_of(ended))
    assert (
        told
        == ["the cell '%precision 3' was changed and fails (E: why); the original ran, too"]
        * failed
    )


def test_an_unchanged_notebook_runs_nothing_more() -> None:
    source = source_of(solution("def line(x): ..."), test_cell())
    cells = [*source.cells[:1], solution("def line(x):\n    return x"), source.cells[2]]
    assert len(run_of(*cells, source=source)) == 3


def result_of(*cells: CellOutcome, trial: Trial | None = None) -> Result:
    trials = {"line": trial} if trial else {}
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return Result(notebook, cells, {}, trials, 1.0, 1.0, True, "", "")


WRONG = Trial("unusable", message="Wrong: line: a check could not use it: NameError")


@pytest.mark.parametrize(
    ("own", "line", "visible", "trial", "needs"),
    [
        # its own cell has failed, and so its function is not there
        ("", "ModuleNotFoundError: No module named 'seaborn'", "NameError: name 'line' is not "
         "defined", WRONG, "the package seaborn"),
        ("URLError: <urlopen error>", "", "NameError: name 'data' is not defined", WRONG,
         "the network"),
        ("", "", "AssertionError: Torch not compiled with CUDA enabled", WRONG, "a GPU"),
        ("", "", "RuntimeError: Found no NVIDIA driver on your system.", WRONG, "a GPU"),
        ("", "", "FileNotFoundError: [Errno 2] No such file or directory: 'C:/x'", WRONG,
         "a file or folder"),
        ("", "", "AttributeError: module 'numpy' has no attribute 'float'", WRONG,
         "another version of a package"),
        ("", "SyntaxError: f-string: expecting '}' (1, 2)", "NameError: name 'line' is not defined",
         WRONG, "a newer Python"),
        ("", "", "NameError: name 'model' is not defined", WRONG, "model, which a cell makes"),
        # only in the hidden part
        ("", "", "", Trial("raised", message="Your code raised: line: ModuleNotFoundError\n  in "
         "this line:\n    import seaborn"), "a package"),
        ("", "", "", Trial("raised", message="Your code raised: line: AssertionError\n  in this "
         "line:\n    x = x.cuda()"), "a GPU"),
        # what is wrong
        ("", "", "NameError: name 'lin' is not defined", WRONG, ""),
        ("ModuleNotFoundError: No module named 'x'", "", "CheckFailed: line(1): CUDA",
         Trial("wrong", message="line(1)"), ""),
        ("", "", "ZeroDivisionError: division by zero", WRONG, ""),
    ],
)  # fmt: skip
def test_what_fails_for_want_of_something_is_not_wrong(
    own: str, line: str, visible: str, trial: Trial, needs: str
) -> None:
    cells = [new_code_cell("...", id="own"), solution("..."), test_cell()]
    trains = new_code_cell("history, model = fit(3)", id="t", metadata={"tags": [nb_.TRAINING]})
    notebook = new_notebook(cells=[trains, *cells])
    outcomes = []
    for cell, error in zip(cells, (own, line, visible), strict=True):
        ename, _, evalue = error.partition(": ")
        status = "error" if error else "ok"
        outcomes.append(CellOutcome(cell.id, status, 0.1, ename, evalue))
    (verdict,) = apply_result(notebook, result_of(*outcomes, trial=trial))
    assert verdict.score == 0.0
    assert verdict.status == ("unconfirmed" if needs else "wrong")
    assert needs in verdict.flag and bool(needs) == bool(verdict.flag)


def test_words_that_are_no_error() -> None:
    assert what_lacks("") == what_lacks("ValueError: shapes (3,) and (4,) do not match") == ""


@pytest.mark.parametrize(("status", "shown"), [("ok", 0), ("error", 2), ("skipped", 2)])
def test_what_was_handed_in_shows_where_a_cell_fails(status: str, shown: int) -> None:
    notebook = new_notebook(cells=[new_code_cell("plot(history)", id="own")])
    notebook.metadata[nb_.KEY] = {"language": "en"}
    figure = new_output("display_data", {"text/plain": "<Figure>"})
    result = result_of(CellOutcome("own", status, 0.1))
    apply_result(notebook, result, handed={"own": [figure]})
    outputs = notebook.cells[0].outputs
    assert len(outputs) == shown
    if shown:
        assert "what was handed in" in outputs[0].text and outputs[1] == figure
