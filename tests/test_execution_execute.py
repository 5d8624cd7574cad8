"""One notebook in the sandbox: how cells end, what is kept, what controls say."""

from __future__ import annotations

import dataclasses
import json
import os
import time

import nbformat
import pytest
from nbformat import v4

from autograder.execution.execute import Control, Job, Result, execute, job_key
from autograder.execution.outputs import CUT
from autograder.execution.sandbox import Limits

QUICK = Limits(cell_seconds=20, notebook_seconds=60)


def notebook(*cells: str | dict) -> dict:
    """A notebook of code cells with ids c0, c1, …; a dict gives source and metadata."""
    made = []
    for number, cell in enumerate(cells):
        cell = {"source": cell} if isinstance(cell, str) else cell
        metadata = cell.get("metadata", {})
        made.append(v4.new_code_cell(cell["source"], id=f"c{number}", metadata=metadata))
    return v4.new_notebook(cells=made)


def graded(source: str) -> dict:
    return {"source": source, "metadata": {"nbgrader": {"grade": True, "solution": False}}}


def statuses(result: Result) -> list[str]:
    return [c.status for c in result.cells]


def text(result: Result, cell: int) -> str:
    """All that a cell has printed or returned."""
    outputs = result.notebook["cells"][cell]["outputs"]
    return "".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)


@pytest.fixture(scope="module")
def plain() -> Result:
    """One run for all that asks for no kernel of its own."""
    cells = (
        "print('hello'); 6 * 7",
        "import sys; print('a warning', file=sys.stderr)",
        "1 / 0",
        "print('after the error')",
        "print(open('data.txt').read(), open('sub/more.txt').read())",
        "input('name? ')",
        "def test(): raise ValueError('no \\ud800 text')\ntest()",
        "get_ipython().showtraceback = lambda *a, **k: None\nraise KeyError('hidden')",
        "from IPython.display import display, clear_output\n"
        "for i in range(3): clear_output(wait=True); print('frame', i)",
        "h = display({'text/plain': 'first'}, raw=True, display_id='d')",
        "from IPython.display import update_display\n"
        "update_display({'text/plain': 'second'}, raw=True, display_id='d')",
        "display({'text/plain': 'x', 'application/json': float('nan')}, raw=True)",
        "",
    )
    files = {"data.txt": b"one", "sub/more.txt": b"two"}
    return execute(Job(notebook(*cells), files, QUICK))


def test_cells_end_as_the_kernel_replied(plain: Result) -> None:
    wanted = [
        "ok",
        "ok",
        "error",
        "ok",
        "ok",
        "error",
        "error",
        "error",
        "ok",
        "ok",
        "ok",
        "ok",
        "ok",
    ]
    assert statuses(plain) == wanted
    assert plain.sandboxed and plain.message == ""
    assert plain.cells[2] == dataclasses.replace(plain.cells[2], ename="ZeroDivisionError")
    assert plain.cells[2].evalue == "division by zero"


def test_outputs_are_an_nbformat_notebook(plain: Result) -> None:
    nbformat.validate(nbformat.from_dict(plain.notebook))
    json.dumps(plain.notebook, allow_nan=False).encode()
    assert text(plain, 0) == "hello\n42"
    assert [c["execution_count"] for c in plain.notebook["cells"]][:3] == [1, 2, 3]


def test_a_warning_on_stderr_is_no_error(plain: Result) -> None:
    assert plain.cells[1].status == "ok"
    assert plain.notebook["cells"][1]["outputs"][0]["name"] == "stderr"


def test_helper_files_are_there(plain: Result) -> None:
    assert text(plain, 4) == "one two\n"


def test_an_error_whose_output_is_hidden_is_still_shown(plain: Result) -> None:
    assert plain.notebook["cells"][7]["outputs"][0]["ename"] == "KeyError"


def test_displays_are_cleared_and_updated(plain: Result) -> None:
    assert text(plain, 8) == "frame 2\n"
    assert text(plain, 9) == "second"


def test_a_result_survives_json(plain: Result) -> None:
    assert Result.from_json(plain.to_json()) == plain
    with pytest.raises(ValueError, match="not a result"):
        Result.from_json('{"cells": [{"nonsense": 1}]}')


def test_the_job_is_left_alone() -> None:
    job = Job(notebook("1"), limits=QUICK)
    before = json.dumps(job.notebook)
    execute(job)
    assert json.dumps(job.notebook) == before


def test_a_long_cell_is_interrupted_and_the_rest_runs() -> None:
    source = "x = 1\nwhile True: pass"
    limits = Limits(cell_seconds=1, notebook_seconds=30)
    result = execute(Job(notebook(source, "print(x)"), limits=limits))
    assert statuses(result) == ["timeout", "ok"]
    assert text(result, 1) == "1\n"
    assert "c0" in result.message and "interrupted" in result.message


def test_a_cell_that_ignores_interrupts_is_killed() -> None:
    source = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    limits = Limits(cell_seconds=1, notebook_seconds=30)
    start = time.monotonic()
    result = execute(Job(notebook("print(1)", source, "2"), limits=limits))
    assert time.monotonic() - start < 12
    assert statuses(result) == ["ok", "timeout", "skipped"]
    assert text(result, 0) == "1\n"
    assert "c1" in result.message and "ignored the interrupt" in result.message


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os; os._exit(3)", "exit code 3"),
        ("import ctypes; ctypes.string_at(0)", "segmentation fault"),
    ],
)
def test_a_dead_kernel_keeps_what_came_before(source: str, said: str) -> None:
    result = execute(Job(notebook("print('kept')", source, "1"), limits=QUICK))
    assert statuses(result) == ["ok", "died", "skipped"]
    assert text(result, 0) == "kept\n"
    assert "c1" in result.message and said in result.message


def test_the_notebook_has_a_time_limit_of_its_own() -> None:
    limits = Limits(cell_seconds=20, notebook_seconds=1.5)
    result = execute(Job(notebook("1", "import time; time.sleep(9)", "2"), limits=limits))
    assert statuses(result) == ["ok", "timeout", "skipped"]
    assert result.seconds < 10


@pytest.mark.parametrize(
    "source",
    [
        "print('x' * 60_000_000)",
        "for i in range(20_000): print('line', i, 'of a flood', '.' * 100)",
        "import sys\nfor i in range(3000): sys.stdout.write('y' * 10_000)",
        "raise ValueError('z' * 20_000_000)",
        "from IPython.display import display\n"
        "for i in range(200): display({'text/plain': 'w' * 100_000}, raw=True)",
    ],
    ids=["line", "prints", "writes", "error", "displays"],
)
def test_a_flood_is_cut_while_it_runs(source: str) -> None:
    limits = dataclasses.replace(QUICK, output_bytes=100_000)
    result = execute(Job(notebook(source, "print('after')"), limits=limits))
    assert statuses(result) == ["error" if "raise" in source else "ok", "ok"]
    assert len(result.to_json()) < 200_000
    if "raise" not in source:
        assert CUT.format(limit=100_000) in text(result, 0)
    assert text(result, 1) == "after\n"


def test_the_salt_reaches_the_generators_of_the_checks() -> None:
    draw = "check.rng('t').integers(10**9)"
    cells = ("from practical_dl import check", draw, graded(draw))
    first, again, other = (
        execute(Job(notebook(*cells), limits=QUICK, salt=salt)) for salt in ("a", "a", "b")
    )
    assert text(first, 1) == text(other, 1), "only graded cells are reseeded"
    assert text(first, 1) != text(first, 2)
    assert text(first, 2) == text(again, 2) != text(other, 2)
    assert first.notebook["cells"][2]["execution_count"] == 3, "the reseeding leaves no trace"


def test_the_profile_is_set_after_the_parameters() -> None:
    parameters = {"source": "profile = 'small'", "metadata": {"tags": ["parameters"]}}
    cells = notebook(parameters, "print(profile)")
    assert text(execute(Job(cells, limits=QUICK, profile="full")), 1) == "full\n"
    result = execute(Job(cells, limits=QUICK))
    assert text(result, 1) == "small\n"
    assert len(result.notebook["cells"]) == 2


SOLUTION = "def double(x):\n    return 2 * x"
TEST = "check.close(double(4), 8, 'double(4)')\ncheck.done('double')"
MUTANT = Control("double", "def double(x):\n    return x", test="c2", restore="c1")


def with_controls(*controls: Control, test: str = TEST, extra: str = "", last: str = "") -> Result:
    cells = ("from practical_dl import check\n" + extra, SOLUTION, graded(test), last)
    return execute(Job(notebook(*cells), limits=QUICK, controls=controls, salt="s"))


def test_controls_kill_a_mutant_and_restore_the_solution() -> None:
    again = dataclasses.replace(MUTANT, task="again", source="pass")
    plain = with_controls()
    result = with_controls(MUTANT, again)
    # The second control plants nothing: the student's own solution must be back by then.
    assert result.controls == {"double": "killed", "again": "survived"}
    assert result.notebook == plain.notebook


@pytest.mark.parametrize(
    "tampering",
    [
        "check.close = lambda *a, **k: None",
        "get_ipython().input_transformers_post.append(\n"
        "    lambda lines: ['pass\\n'] if any('check.' in l for l in lines) else lines)",
    ],
    ids=["patched check", "input transformer"],
)
def test_controls_survive_where_the_harness_is_tampered_with(tampering: str) -> None:
    assert with_controls(MUTANT, extra=tampering).controls == {"double": "survived"}


def test_controls_run_only_where_the_test_passed() -> None:
    assert with_controls(MUTANT, test="assert False").controls == {}


def test_a_control_that_can_not_be_tried_says_so() -> None:
    broken = dataclasses.replace(MUTANT, source="def double(x:")
    assert with_controls(broken).controls["double"].startswith("error: ")
    died = with_controls(MUTANT, last="import os; os._exit(0)")
    assert died.controls["double"].startswith("error: ")


def test_every_ingredient_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(notebook("1", "2"), {"a.py": b"x"}, QUICK, (MUTANT,), "salt", "small")
    variants = [
        dataclasses.replace(job, notebook=notebook("1", "3")),
        dataclasses.replace(job, notebook=notebook("1", graded("2"))),
        dataclasses.replace(job, files={"a.py": b"y"}),
        dataclasses.replace(job, files={"b.py": b"x"}),
        dataclasses.replace(job, limits=Limits(cell_seconds=21)),
        dataclasses.replace(job, controls=()),
        dataclasses.replace(job, salt="pepper"),
        dataclasses.replace(job, profile="full"),
    ]
    keys = {job_key(j) for j in (job, *variants)}
    monkeypatch.setattr("autograder.execution.sandbox.versions", lambda: "python 4")
    keys.add(job_key(job))
    assert len(keys) == len(variants) + 2


def test_outputs_do_not_change_the_key() -> None:
    run = notebook("1")
    run["cells"][0]["outputs"] = [v4.new_output("stream", text="1")]
    run["cells"][0]["execution_count"] = 7
    assert job_key(Job(run)) == job_key(Job(notebook("1")))


def test_a_file_may_not_leave_the_folder() -> None:
    for name in ("../x", "/tmp/x", "", "a/../../x"):
        with pytest.raises(ValueError, match="not the name"):
            execute(Job(notebook("1"), {name: b""}, QUICK))


def test_without_a_sandbox_the_result_says_so() -> None:
    code = "print(6 * 7, open('f.txt').read())"
    result = execute(Job(notebook(code), {"f.txt": b"!"}, QUICK), sandbox=False)
    assert (result.sandboxed, text(result, 0)) == (False, "42 !\n")


def test_nothing_is_left_behind() -> None:
    before = _descendants()
    execute(Job(notebook("import os; os.fork() or __import__('time').sleep(600)"), limits=QUICK))
    deadline = time.monotonic() + 5
    while (left := _descendants() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def _descendants() -> set[int]:
    import psutil

    return {p.pid for p in psutil.Process(os.getpid()).children(recursive=True)}
