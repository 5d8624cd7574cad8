"""One notebook in the sandbox: how cells end, what is kept, what controls say."""

from __future__ import annotations

import dataclasses
import json
import os

import nbformat
import pytest
from kit.wait import until
from nbformat import v4

from autograder.execution.execute import Control, Job, Result, Trial, execute, job_key
from autograder.execution.outputs import CUT
from autograder.execution.sandbox import Limits
from autograder.fingerprints import Library

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
    result = execute(Job(notebook("print(1)", source, "2"), limits=limits))
    assert statuses(result) == ["ok", "timeout", "ok"]
    assert text(result, 0) == "1\n"
    assert "c1" in result.message and "ignored the interrupt" in result.message


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os; os._exit(3)", "exit code 3"),
        ("import ctypes; ctypes.string_at(0)", "segmentation fault"),
    ],
)
def test_a_dead_kernel_costs_its_cell_alone(source: str, said: str) -> None:
    cells = ("x = [1]; print('kept')", "x.append(2)", source, "print(x)")
    result = execute(Job(notebook(*cells), limits=QUICK))
    assert statuses(result) == ["ok", "ok", "died", "ok"]
    assert text(result, 0) == "kept\n" and text(result, 3) == "[1, 2]\n"
    assert "c2" in result.message and said in result.message


def test_every_cell_may_end_a_kernel() -> None:
    end = "import os; os._exit(0)"
    result = execute(Job(notebook("x = 1", end, "x += 1", end, end, "print(x)"), limits=QUICK))
    assert statuses(result) == ["ok", "died", "ok", "died", "died", "ok"]
    assert text(result, 5) == "2\n"


def test_a_cell_that_ends_only_the_second_kernel_is_left_out_of_the_third() -> None:
    # The seed of the generator tells the kernels apart, as nothing else of them may.
    late = "import os, threading\nif draw > 0.5: threading.Timer(0.3, os._exit, [0]).start()"
    cells = (
        "draw = 1.0",
        "import os; os._exit(0)",
        "draw = 1.0",
        late,
        "import time; time.sleep(1)",
    )
    result = execute(Job(notebook(*cells, "print(draw)"), limits=QUICK))
    assert statuses(result) == ["ok", "died", "ok", "ok", "died", "ok"]
    assert text(result, 5) == "1.0\n"


def test_a_dead_kernel_is_not_replaced_for_ever() -> None:
    limits = Limits(cell_seconds=20, notebook_seconds=2)
    slow = "import time; time.sleep(0.5)"
    result = execute(Job(notebook(*[slow, "import os; os._exit(0)"] * 6), limits=limits))
    assert statuses(result)[-1] == "skipped"


def test_the_notebook_has_a_time_limit_of_its_own() -> None:
    limits = Limits(cell_seconds=20, notebook_seconds=1.5)
    result = execute(Job(notebook("1", "import time; time.sleep(9)", "2"), limits=limits))
    assert statuses(result) == ["ok", "timeout", "skipped"]


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
        assert CUT.format(what="cell", limit=100_000) in text(result, 0)
    assert text(result, 1) == "after\n"


def test_the_salt_reaches_the_generators_of_the_checks() -> None:
    """Of the tests that count, but not of what a student sees: that is as in their own notebook."""
    draw = "int(check.rng('t').integers(10**9))"
    seen = "check.score(draw / 10**9, 'drawn')"
    cells = (IMPORTS, draw, graded(f"draw = {draw}\n{seen}"))
    first, again, other = (
        execute(Job(notebook(*cells), limits=QUICK, controls=(DRAWN,), salt=salt))
        for salt in ("a", "a", "b")
    )
    assert text(first, 1) == text(other, 1)
    score = first.trials["t"].score
    assert score == again.trials["t"].score != other.trials["t"].score
    assert round(score * 10**9) != int(text(first, 1))


SOLUTION = "def double(x):\n    return 2 * x"
WRONG = "def double(x):\n    return x + 1"
TEST = """\
check.close(double(4), 8, 'double(4)')
### BEGIN HIDDEN TESTS
draw = check.rng('double').normal(size=3)
check.close(double(draw), draw + draw, 'double(x)')
### END HIDDEN TESTS
check.done('double')"""
IMPORTS = "import numpy as np\nfrom practical_dl import check"
CONTROL = Control(
    "double", "c3", "def double(x):\n    return x", IMPORTS, ("check", "np", "double")
)


DRAWN = Control("t", "c2", "", IMPORTS, ("check", "np"))


def looked_at(
    extra: str = "",
    *,
    solution: str = SOLUTION,
    test: str = TEST,
    control: Control = CONTROL,
    last: str = "",
    limits: Limits = QUICK,
) -> Result:
    """A notebook with one task: c0 imports, c1 is a student's extra cell, c3 the test."""
    cells = (IMPORTS, extra, solution, graded(test), last)
    job = Job(notebook(*cells), limits=limits, controls=(control,), salt="s")
    return execute(job)


def test_a_right_solution_passes_and_its_mutant_fails() -> None:
    result = looked_at(last="print(double(5))")
    assert result.controls == {"double": "killed"}
    assert result.trials == {"double": Trial("passed", "", 1.0)}
    assert text(result, 4) == "10\n"


def test_a_test_leaves_no_trace() -> None:
    cells = (IMPORTS, "np.random.seed(1)", SOLUTION, graded(TEST), "print(np.random.rand())")
    visible = (*cells[:3], graded("check.close(double(4), 8, 'double(4)')"), cells[4])
    without = execute(Job(notebook(*visible), limits=QUICK))
    result = looked_at("np.random.seed(1)", last="print(np.random.rand())")
    assert text(result, 4) == text(without, 4)


RIGHT = "def double(x):\n    return x + x"


@pytest.mark.parametrize(
    ("solution", "last"),
    [
        ("def double(x):\n    return 8 if type(x) is int else 0", RIGHT),
        (
            "class D:\n    f = lambda self, x: 8 if type(x) is int else 0\n"
            "def double(x): return D().f(x)",
            "D.f = lambda self, x: x + x",
        ),
        (
            "def double(x):\n    return 8 if type(x) is int else 0",
            "double.__code__ = (lambda x: x + x).__code__",
        ),
    ],
)
def test_what_stands_below_a_test_is_no_answer(solution: str, last: str) -> None:
    result = looked_at(solution=solution, last=last)
    assert result.cells[3].status == "ok"
    assert result.trials["double"] == Trial("wrong", message="double(x)")


@pytest.mark.parametrize(
    "last",
    [WRONG, "del double", "double = 3", "def helper(): pass", "import os; os._exit(0)"],
)
def test_what_stands_below_a_test_spoils_no_answer(last: str) -> None:
    result = looked_at(solution=RIGHT, last=last)
    assert result.trials["double"] == Trial("passed", "", 1.0)
    assert result.controls == {"double": "killed"}


def test_a_task_that_failed_in_the_notebook_is_not_mended_by_its_end() -> None:
    late = "state = []\ndef double(x):\n    return 2 * x if state else 0"
    result = looked_at(solution=late, last="state.append(1)")
    assert result.cells[3].status == "error"
    assert result.trials["double"] == Trial("wrong", message="double(4)", visible=True)


def test_tests_that_are_tried_in_one_fork_know_nothing_of_each_other() -> None:
    """The second one's solution takes what the first one's has left; the third one is right."""
    cells = [IMPORTS]
    controls = []
    solutions = (
        "def f0(x):\n    np.left = True; check.left = True\n    return 2 * x",
        "def f1(x):\n    return 2 * x if hasattr(np, 'left') or type(x) is int else 0",
        "def f2(x):\n    return 2 * x",
    )
    for number, solution in enumerate(solutions):
        test = TEST.replace("double", f"f{number}")
        cells += [solution, graded(test)]
        wrong = f"def f{number}(x):\n    return x"
        names = ("check", "np", f"f{number}")
        controls.append(Control(f"f{number}", f"c{2 * number + 2}", wrong, IMPORTS, names))
    found = execute(Job(notebook(*cells), limits=QUICK, controls=tuple(controls), salt="s"))
    ended = {task: trial.status for task, trial in found.trials.items()}
    assert ended["f0"] == ended["f2"] == "passed"


def test_late_tests_keep_a_fork_of_their_place() -> None:
    slow = "import time; time.sleep(1.2); n = 0"
    counted = "def double(x):\n    return 2 * x if n == 0 else 0"
    result = looked_at(slow, solution=counted, last="n = 1")
    assert result.trials["double"] == Trial("passed", "", 1.0)
    assert result.seconds < 60


def test_a_wrong_solution_needs_no_control() -> None:
    result = looked_at(solution=WRONG)
    trial = Trial("wrong", message="double(4)", visible=True)
    assert (result.controls, result.trials) == ({}, {"double": trial})
    assert result.cells[3].status == "error"


def test_of_a_hidden_error_kind_and_place_are_told() -> None:
    """Not its text, which could carry the test away; of a line of the student's the line."""
    secret = "class Secret(ValueError): pass\ndef double(x):\n    if type(x) is int: return 8\n"
    trial = looked_at(solution=f"{secret}    raise Secret(str(x))").trials["double"]
    message = "Your code raised: double: ValueError\n  in this line:\n    raise Secret(str(x))"
    assert trial == Trial("raised", message=message)
    trial = looked_at(solution="def double(x): return 8 if type(x) is int else x + 1")
    assert trial.trials["double"] == Trial("wrong", message="double(x)")


SENTENCE = "raise NotImplementedError(\"'exp' not implemented for 'Long'\")"  # as torch says it


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("raise NotImplementedError('double')", "not attempted"),
        ("raise NotImplementedError", "not attempted"),
        (SENTENCE, "raised"),
    ],
)
@pytest.mark.parametrize("when", ["", "if type(x) is not int: "])  # seen by students, or hidden
def test_a_library_that_implements_no_such_thing_is_no_empty_task(
    line: str, status: str, when: str
) -> None:
    result = looked_at(solution=f"def double(x):\n    {when}{line}\n    return 2 * x")
    assert result.trials["double"].status == status


def test_a_planted_mistake_that_raises_not_implemented_is_killed() -> None:
    control = dataclasses.replace(CONTROL, source=f"def double(x):\n    {SENTENCE}")
    assert looked_at(control=control).controls == {"double": "killed"}


def test_hidden_tests_are_nowhere_while_outputs_are_made() -> None:
    """Neither in the history nor in memory nor in files, and outputs of later are not kept."""
    later = (
        "import gc, threading, time\n"
        "def wait():\n    time.sleep(1)\n"
        "    print([o for o in gc.get_objects() if 'dr' + 'aw' in str(o)])\n"
        "threading.Thread(target=wait).start()\n"
        "print(sum('dr' + 'aw' in s for s in In))"
    )
    leaking = (
        "def double(x):\n    print('leaked', x)\n"
        "    if type(x) is not int: open('/tmp/x', 'w').write('1')\n    return 2 * x"
    )
    last = f"import os; print(os.path.exists('/tmp/x'))\n{later}"
    result = looked_at(solution=leaking, last=last)
    assert text(result, 4) == "False\n0\n"
    assert str(result.notebook["cells"][3]["outputs"]).count("leaked") == 1


STRIP = "[l for l in lines if 'check.close' not in l]"
TAMPERING = {
    "patched check": "check.close = lambda *a, **k: None",
    "a check of one's own": "class check:\n"
    "    close = done = staticmethod(lambda *a: None)\n"
    "    rng = staticmethod(lambda task: np.random.default_rng(0))",
    "input transformer": f"get_ipython().input_transformers_post.append(lambda lines: {STRIP})",
    "transformer for one cell": "left = 2  # IPython transforms a cell twice\n"
    "def once(lines):\n"
    "    global left\n"
    f"    found = {STRIP}\n"
    "    left -= len(found) < len(lines)\n"
    "    return found if left >= 0 else lines\n"
    "get_ipython().input_transformers_post.append(once)",
    "transformer for one's own solution": "def mine(lines):\n"
    "    own = 'x + 1' in (get_ipython().user_ns['_ih'] or [''])[-2]\n"
    f"    return {STRIP} if own else lines\n"
    "get_ipython().input_transformers_post.append(mine)",
    "syntax tree": "import ast\n"
    "class Drop(ast.NodeTransformer):\n"
    "    def visit_Expr(self, node):\n"
    "        return None if 'check.close' in ast.unparse(node) else node\n"
    "get_ipython().ast_transformers.append(Drop())",
    "run_code": "shell = get_ipython(); old = shell.run_code\n"
    "async def run_code(code, result=None, **k):\n"
    "    await old(code, result, **k); result.error_in_exec = None; return False\n"
    "shell.run_code = run_code",
    "forged reply": "kernel = get_ipython().kernel\n"
    "async def do(code, silent, *a, **k):\n"
    "    return {'status': 'ok', 'execution_count': 1, 'payload': [], 'user_expressions': {}}\n"
    "kernel.do_execute = do",
    "NumPy": "import numpy\nnumpy.abs = numpy.abs.__class__ and (lambda x: numpy.zeros(1))\n"
    "numpy.where = lambda *a: numpy.zeros(1, bool)",
    "builtins": "import builtins\nbuiltins.bool = lambda x: True\nbuiltins.abs = lambda x: 0",
}


@pytest.mark.parametrize("how", TAMPERING)
def test_a_wrong_solution_passes_no_second_trial(how: str) -> None:
    hangs = how == "builtins"  # which do not even fool the notebook itself
    limits = Limits(cell_seconds=3, notebook_seconds=60) if hangs else QUICK
    result = looked_at(TAMPERING[how], solution=WRONG, limits=limits)
    passed = result.cells[3].status == "ok"
    trusted = (
        passed
        and result.trials["double"].status == "passed"
        and result.controls["double"] == "killed"
    )
    assert not trusted, (result.controls, result.trials)
    assert passed != hangs


PEEKING = {
    "through logging": "import logging\n"
    "def double(x):\n    logging.currentframe()\n    return 2 * x",
    "code of no file": "space = {}; code = 'import sys\\ndef f(): return sys._getframe(1)'\n"
    "exec(compile(code, '/usr/lib/x.py', 'exec'), space)\n"
    "def double(x):\n    space['f']()\n    return 2 * x",
    "hooks that forbid hooks": "import sys\n"
    "def no(event, arguments):\n    if event == 'sys.addaudithook': raise RuntimeError\n"
    "sys.addaudithook(no)\ndef double(x):\n    sys._getframe(1)\n    return 2 * x",
    "frames": "import sys\ndef double(x):\n    f = sys._getframe(1)\n"
    "    return 8 if isinstance(x, int) else f.f_locals['draw'] * 2",
    "inspect": "import inspect\ndef double(x):\n"
    "    f = inspect.stack()[1].frame\n    return 8 if isinstance(x, int) else 2 * x",
    "memory": "import gc\ndef double(x):\n    gc.get_referrers(x)\n    return 2 * x",
    "traceback": "def double(x):\n    try: 1 / 0\n    except ZeroDivisionError as e:\n"
    "        e.__traceback__.tb_frame.f_back\n    return 2 * x",
    "generator": "def double(x):\n    g = (i for i in [1]); g.gi_frame\n    return 2 * x",
    "tracing": "import sys\ndef double(x):\n    sys.settrace(None)\n    return 2 * x",
}


@pytest.mark.parametrize("how", PEEKING)
def test_a_solution_that_looks_into_the_checks_is_told(how: str) -> None:
    trial = looked_at(solution=PEEKING[how]).trials["double"]
    assert trial.status == "tampered" and "the running checks" in trial.why


LAZY = {
    "check": "def double(x):\n    check.close = lambda *a, **k: None\n"
    "    return 8 if isinstance(x, int) else x + 1",
    "once": "def double(x):\n"
    "    close = check.close\n"
    "    def once(*a, **k): check.close = close\n"
    "    check.close = once\n    return 8 if isinstance(x, int) else x + 1",
    "NumPy": "def double(x):\n    np.abs = lambda a: np.zeros(a.shape)\n    return x + 1",
}


@pytest.mark.parametrize("how", LAZY)
def test_a_solution_that_changes_the_checks_as_they_run(how: str) -> None:
    result = looked_at(solution=LAZY[how])
    assert result.cells[3].status == "ok", result.cells[3]
    assert result.trials["double"].status in ("wrong", "tampered")


def test_exit_in_a_cell_ends_nothing() -> None:
    cells = ("exit()", "import time; time.sleep(0.5)", "print(1)")
    result = execute(Job(notebook(*cells), limits=QUICK))
    assert statuses(result) == ["ok"] * 3 and result.message == ""


def test_a_solution_that_reads_the_test_cell_does_not_find_it() -> None:
    reading = (
        "def double(x):\n"
        "    cells = [*In, *get_ipython().history_manager.input_hist_raw]\n"
        "    found = any('draw ' + '+ draw' in cell for cell in cells)\n"
        "    return 0 if found else 2 * x"
    )
    assert looked_at(solution=reading).trials["double"].status == "passed"


def test_a_partial_score_is_the_tests_own() -> None:
    partial = TEST + "\ncheck.score(0.5, 'half')"
    generous = "def double(x):\n    check.score(1.0, 'mine')\n    return 2 * x"
    half = Trial("passed", score=0.5, message="half")
    assert looked_at(test=partial).trials["double"] == half
    assert looked_at(test=partial, solution=generous).trials["double"] == half
    assert looked_at(solution=generous).trials["double"] == Trial("passed", score=1.0)


def test_helpers_of_the_instructor_are_put_back() -> None:
    helper = "def same(a, b):\n    assert a == b"
    control = dataclasses.replace(CONTROL, preamble=helper, bound=("same", "double"), source="")
    result = looked_at(
        "def same(a, b): pass", solution=WRONG, test="same(double(4), 8)", control=control
    )
    assert result.cells[3].status == "ok"
    assert result.trials["double"].status == "wrong"


def test_builtins_of_the_notebook_are_no_builtins_of_the_test() -> None:
    test = "assert abs(double(4) - 8) < 1e-9"
    result = looked_at("abs = lambda x: 0", solution=WRONG, test=test)
    assert result.cells[3].status == "ok"
    assert result.trials["double"].status == "wrong"


@pytest.mark.parametrize(
    ("honest", "solution"),
    [
        ("abs = 3; sum = 'total'", SOLUTION),
        (
            "import torch; torch.set_num_threads(2); torch.ones(999, 999).mm(torch.ones(999, 999))",
            SOLUTION,
        ),
        ("import threading; threading.Thread(target=print).start()", SOLUTION),
        ("import matplotlib.pyplot as plt; plt.plot([1]); plt.show = lambda: None", SOLUTION),
        ("print = lambda *a: None", SOLUTION),
        ("import warnings; warnings.simplefilter('error')", SOLUTION),
        ("seen = []", "def double(x):\n    seen.append(x); print(x)\n    return 2 * x"),
        ("max = lambda x: 2", "def double(x):\n    return max(x) * x"),
        ("", "import multiprocessing\ndef double(x):\n    return 2 * x"),
        (
            "from concurrent.futures import ThreadPoolExecutor\n"
            "pool = ThreadPoolExecutor(2); list(pool.map(abs, [1]))",
            "def double(x):\n    return list(pool.map(lambda v: 2 * v, [x]))[0]",
        ),
        (
            "import logging, collections",
            "def double(x):\n    logging.info('x')\n"
            "    collections.namedtuple('P', 'a b')\n    return 2 * x",
        ),
        ("np.seterr(all='raise'); import os; os.chdir('/')", SOLUTION),
        ("import torch; torch.set_grad_enabled(False)", SOLUTION),
        ("%matplotlib inline\n%load_ext autoreload\n%autoreload 2", SOLUTION),
    ],
)
def test_honest_code_passes(honest: str, solution: str) -> None:
    result = looked_at(honest, solution=solution)
    assert result.cells[3].status == "ok"
    assert result.controls == {"double": "killed"}
    assert result.trials["double"].status == "passed"


def test_what_can_not_be_tried_says_so() -> None:
    broken = looked_at(control=dataclasses.replace(CONTROL, source="def double(x:"))
    assert broken.controls["double"].startswith("error: ")
    assert broken.trials["double"].status == "passed"
    hostile = "import os\ndef double(x):\n    os.getpid() == first or os._exit(0)\n    return 2 * x"
    gone = looked_at("import os; first = os.getpid()", solution=hostile)
    # Where no fork answers it is tried in the notebook's own process.
    assert gone.trials["double"].status == "passed"
    deadly = "import os\ndef double(x):\n    return 8 if isinstance(x, int) else os._exit(0)"
    assert looked_at(solution=deadly).trials["double"].status == "error"


def test_a_mutant_that_never_ends_is_killed() -> None:
    control = dataclasses.replace(CONTROL, source="def double(x):\n    while True: pass")
    result = looked_at(control=control, limits=Limits(cell_seconds=3, notebook_seconds=60))
    assert result.controls == {"double": "killed"}
    assert result.trials["double"].status == "passed"


def test_every_ingredient_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(notebook("1", "2"), {"a.py": b"x"}, QUICK, (CONTROL,), "salt")
    variants = [
        dataclasses.replace(job, notebook=notebook("1", "3")),
        dataclasses.replace(job, notebook=notebook("1", graded("2"))),
        dataclasses.replace(job, files={"a.py": b"y"}),
        dataclasses.replace(job, files={"b.py": b"x"}),
        dataclasses.replace(job, limits=Limits(cell_seconds=21)),
        dataclasses.replace(job, controls=()),
        dataclasses.replace(job, salt="pepper"),
        dataclasses.replace(job, library=Library("03")),
    ]
    keys = {job_key(j) for j in (job, *variants)}
    monkeypatch.setattr("autograder.execution.sandbox.versions", lambda: "python 4")
    keys.add(job_key(job))
    assert len(keys) == len(variants) + 2


def test_a_job_survives_json() -> None:
    job = Job(notebook("1"), {"a.bin": bytes(range(256))}, QUICK, (CONTROL,), "salt")
    assert Job.from_json(job.to_json()) == job
    with pytest.raises(ValueError, match="not a job"):
        Job.from_json("{}")


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
    until(lambda: not _descendants() - before)


def _descendants() -> set[int]:
    import psutil

    return {p.pid for p in psutil.Process(os.getpid()).children(recursive=True)}
