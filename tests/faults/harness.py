"""Attacks on what runs and scores the tests: the shell, the checks, the kernel.

Nearly all hand in wrong answers to everything: whatever they do, they must get nothing.
"""

from __future__ import annotations

from nbformat import NotebookNode

from faults.kit import ALL, POINTS, Fault, Make, full, none, notebook


def _skip(made: NotebookNode) -> None:
    for cell in made.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.metadata["tags"] = ["skip-execution"]


def attack(source: str = "", name: str = "tiny", **options: object) -> Make:
    """Wrong answers everywhere, with some code in front of the first task."""
    return notebook(name, wrong=ALL, top=source, **options)


def inside(source: str, name: str = "tiny", tasks: tuple[str, ...] = (), **options: object) -> Make:
    """Wrong answers whose functions run some code when the test calls them."""
    from faults.kit import WRONG

    bodies = {task: f"{source.strip()}\n{WRONG[task]}" for task in tasks or POINTS[name]}
    return notebook(name, wrong=ALL, **bodies, **options)


# -- IPython -----------------------------------------------------------------------------------

INPUT_TRANSFORMER = """
def without_checks(lines):
    return ["pass\\n"] if any("check.done(" in line for line in lines) else lines

get_ipython().input_transformers_post.append(without_checks)
"""
AST_TRANSFORMER = """
import ast

class Harmless(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()

    def visit_Expr(self, node):
        if "check." in ast.unparse(node) and "done" not in ast.unparse(node):
            return ast.Pass()
        return node

get_ipython().ast_transformers.append(Harmless())
"""
# Takes itself away after a test cell and comes back with the student's own function.
ONE_SHOT = """
import ast

class Once(ast.NodeTransformer):
    def visit_Expr(self, node):
        if "check." in ast.unparse(node) and "done" not in ast.unparse(node):
            return ast.Pass()
        return node

once = Once()

def before(info):
    shell = get_ipython()
    named = [n for n in ("line", "distance", "double") if "check.done(" + chr(34) + n in info.raw_cell]
    own = named and getattr(shell.user_ns.get(named[0]), "own", False)
    shell.ast_transformers[:] = [once] if own else []

def own(function):
    function.own = True
    return function

get_ipython().events.register("pre_run_cell", before)
"""  # noqa: E501
RESTORE = """
get_ipython().ast_transformers.clear()
get_ipython().input_transformers_post.clear()
get_ipython().events.callbacks["pre_run_cell"].clear()
"""
HOOKS = """
real = None

class Fake:
    def __getattr__(self, name):
        return real.rng if name == "rng" else lambda *a, **k: None

def before(info):
    global real
    if "check.done(" in info.raw_cell:
        real = real or check
        get_ipython().user_ns["check"] = Fake()

get_ipython().events.register("pre_run_cell", before)
"""
RUN_CODE = """
shell = get_ipython()
run_code = type(shell).run_code

async def believe(self, code_obj, result=None, **options):
    failed = await run_code(self, code_obj, result, **options)
    if result is not None:
        result.error_in_exec = None
    return False

type(shell).run_code = believe
type(shell).showtraceback = lambda *a, **k: None
"""
RUN_CELL = """
shell = get_ipython()
run_cell_async = type(shell).run_cell_async

async def believe(self, raw_cell, *arguments, **options):
    if "check.done(" in raw_cell:
        raw_cell = "pass"
        options["transformed_cell"] = "pass"
    return await run_cell_async(self, raw_cell, *arguments, **options)

type(shell).run_cell_async = believe
"""
COMPILE = """
import ast

shell = get_ipython()
real = type(shell.compile).__call__

def compile_less(self, source, filename, symbol):
    if isinstance(source, (ast.Module, ast.Interactive)):
        text = ast.unparse(source)
        if "check.close" in text or "check.equal" in text:
            source.body[:] = ast.parse("pass").body
    return real(self, source, filename, symbol)

type(shell.compile).__call__ = compile_less
"""

# -- The checks --------------------------------------------------------------------------------

SILENT_CHECKS = """
from practical_dl import check as theirs

for name in ("close", "equal", "that", "gradient", "raises"):
    setattr(theirs, name, lambda *a, **k: None)
"""
# Believes in whatever the student's own functions give, and checks all others.
OWN_ONLY = """
from practical_dl import check as theirs

def soft(real):
    def checked(actual, expected, call, **options):
        name = str(call).split("(")[0]
        function = get_ipython().user_ns.get(name)
        if getattr(function, "own", False):
            return None
        return real(actual, expected, call, **options)
    return checked

theirs.close, theirs.equal = soft(theirs.close), soft(theirs.equal)

def own(function):
    function.own = True
    return function
"""
OWN = {
    "line": "@own\ndef line(x, a, b):\n    return x",
    "distance": "@own\ndef distance(p, q):\n    return -1.0",
    "double": "@own\ndef double(x):\n    return 0.5",
}
# The next check alone is blind; then all is as it was.
LAZY_ONE_SHOT = """
from practical_dl import check as theirs

kept = theirs.__dict__.setdefault("kept_fail", theirs._fail)

def once(*a):
    theirs._fail = kept

theirs._fail = once
"""
NUMPY_ONE_SHOT = """
kept = np.__dict__.setdefault("kept_abs", np.abs)

def once(value):
    np.abs = kept
    return kept(value) * 0

np.abs = once
import builtins, operator
from practical_dl import check as theirs
same = theirs.__dict__.setdefault("kept_same", theirs._same)

def agree(actual, expected):
    theirs._same = same
    return True

theirs._same = agree
"""
FAILED_INIT = """
from practical_dl import check as theirs

def leave(self, *arguments):
    raise SystemExit(0)

theirs.CheckFailed.__init__ = leave
"""
FAILED_CLASS = """
from practical_dl import check as theirs

theirs._fail = lambda *a: None
theirs.CheckFailed = lambda *a: KeyboardInterrupt()
"""
MODULE = """
import sys, types

class Fake(types.ModuleType):
    def rng(self, task):
        import numpy
        return numpy.random.default_rng(0)

    def __getattr__(self, name):
        return lambda *a, **k: None

import practical_dl
practical_dl.check = sys.modules["practical_dl.check"] = Fake("practical_dl.check")
"""
ZERO_DRAWS = """
class Zeros:
    def normal(self, *a, size=None, **k):
        return 0.0 if size is None else np.zeros(size)

np.random.default_rng = lambda *a, **k: Zeros()
"""

# -- The kernel --------------------------------------------------------------------------------

SEND = """
kernel = get_ipython().kernel
send = type(kernel.session).send

def kind(self, stream, what, content=None, *arguments, **options):
    name = what if isinstance(what, str) else what.get("msg_type", "")
    if name == "execute_reply":
        body = content if isinstance(what, str) else what["content"]
        body.update(status="ok", user_expressions={}, payload=[])
    if name == "error":
        return None
    return send(self, stream, what, content, *arguments, **options)

type(kernel.session).send = kind
"""
DO_EXECUTE = """
kernel = get_ipython().kernel
count = 0

async def do_execute(code, silent, *arguments, **options):
    global count
    count += 1
    if "check.done(" not in code:
        get_ipython().run_cell(code, silent=silent)
    return {"status": "ok", "execution_count": count, "payload": [], "user_expressions": {}}

kernel.do_execute = do_execute
"""
# From inside the student's function: says that the cell that is still running has ended well.
FORGED_REPLY = """
kernel = get_ipython().kernel
get_ipython()._showtraceback = lambda *a: None
parent = kernel.get_parent("shell") if hasattr(kernel, "get_parent") else kernel._parent_header
answer = {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
idents = getattr(kernel, "_shell_parent_ident", None)
idents = idents.get() if hasattr(idents, "get") else kernel._parent_ident.get("shell")
message = kernel.session.msg("execute_reply", answer, parent=parent)
socket = getattr(kernel.shell_stream, "socket", None)
kernel.session.send(socket or kernel.shell_stream, message, ident=idents)
"""
# In every frame of a check: on to its `return` at once.
JUMP = """
import dis, sys

def trace(frame, event, argument):
    code = frame.f_code
    if code.co_name not in ("close", "equal") or not (@OWN@):
        return None
    returns = [i.positions.lineno for i in dis.get_instructions(code) if "RETURN" in i.opname]

    def local(frame, event, argument):
        if event == "line" and frame.f_lineno not in returns:
            frame.f_lineno = returns[0]
        return local
    return local

sys.settrace(trace)
"""
OWN_ONES = """
def own_ones():
    return any(getattr(globals().get(n), "own", False) for n in ("line", "distance", "double"))

def own(function):
    function.own = True
    return function
"""
PROFILE = """
import sys
from practical_dl import check as theirs

def hook(frame, event, argument):
    if event == "call" and frame.f_code.co_name in ("close", "equal"):
        frame.f_globals["_fail"] = lambda *a: None

sys.setprofile(hook)
"""
THREAD = """
import threading, time
from practical_dl import check as theirs

def keep_patching():
    while True:
        theirs.close = theirs.equal = lambda *a, **k: None
        time.sleep(0.001)

threading.Thread(target=keep_patching, daemon=True).start()
"""
TIMER = """
import signal
from practical_dl import check as theirs

kept = theirs.close, theirs.equal

def tick(number, frame):
    own = getattr(line, "own", False) if "line" in globals() else False
    blind = lambda *a, **k: None
    theirs.close, theirs.equal = (blind, blind) if own else kept

signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)

def own(function):
    function.own = True
    return function
"""
TIMER_OWN = dict(
    OWN, line="@own\ndef line(x, a, b):\n    import time; time.sleep(0.05)\n    return x"
)

# -- Scores ------------------------------------------------------------------------------------

HALF = "return year % 4 == 0"  # honestly worth half of the points
HALF_OR_LESS = full("mixed", or_none=True, leap=1.0)
PUBLISH = """
from IPython.display import publish_display_data

def after(*result):
    shell = get_ipython()
    mime = "application/vnd.practical-dl.score+json"
    shell.display_pub.publish({mime: {"score": @VALUE@, "message": "fine"}, "text/plain": "fine"})

get_ipython().events.register("post_run_cell", after)
"""

FAULTS = [
    Fault(
        "skip-tag",
        "harness",
        "The tests carry the tag skip-execution.",
        notebook(wrong=ALL, change=_skip),
        none(),
        row=1,
    ),
    Fault(
        "displayhook-score",
        "harness",
        "The function shows 100 as the cell's result, then the test fails.",
        inside("get_ipython().displayhook(100)"),
        none(),
        row=2,
    ),
    Fault(
        "displayhook-text",
        "harness",
        "The function shows a text and NaN as the cell's results.",
        inside("get_ipython().displayhook('x'); get_ipython().displayhook(float('nan'))"),
        none(),
        row=3,
    ),
    Fault(
        "input-transformer",
        "harness",
        "An input transformer turns every test into `pass`.",
        attack(INPUT_TRANSFORMER),
        none(),
        row=4,
    ),
    Fault(
        "ast-transformer",
        "harness",
        "An AST transformer strips the checks.",
        attack(AST_TRANSFORMER),
        none(),
        row=5,
    ),
    Fault(
        "showtraceback",
        "harness",
        "showtraceback does nothing, so that no error is shown.",
        attack("type(get_ipython()).showtraceback = lambda *a, **k: None"),
        none(),
        row=6,
    ),
    Fault(
        "custom-exc",
        "harness",
        "set_custom_exc swallows every error.",
        attack("get_ipython().set_custom_exc((BaseException,), lambda *a, **k: [])"),
        none(),
        row=7,
    ),
    Fault(
        "clear-output",
        "harness",
        "A hook clears the outputs after each cell, errors too.",
        attack(
            "from IPython.display import clear_output\n"
            "get_ipython().events.register('post_run_cell', lambda *a: clear_output())"
        ),
        none(),
        row=8,
    ),
    Fault(
        "patched-torch",
        "harness",
        "torch.allclose, np.testing and torch.testing are replaced by functions that agree.",
        attack(
            "torch.allclose = lambda *a, **k: True\n"
            "np.testing.assert_allclose = torch.testing.assert_close = lambda *a, **k: None",
            "mixed",
        ),
        none("mixed"),
        row=10,
    ),
    Fault(
        "patched-lazily",
        "harness",
        "torch.allclose and its like are replaced inside the function, at the test's own call.",
        inside(
            "import torch, numpy\n"
            "torch.allclose = lambda *a, **k: True\n"
            "numpy.testing.assert_allclose = torch.testing.assert_close = lambda *a, **k: None",
            "mixed",
            ("relu", "center", "unit"),
        ),
        none("mixed"),
        row=10,
    ),
    Fault(
        "patched-numpy",
        "harness",
        "np.abs gives zeros, so that every array is close to every other.",
        attack("np.abs = lambda value: np.zeros(np.shape(value))"),
        none(),
        row=10,
    ),
    Fault(
        "patched-builtins",
        "harness",
        "all, any, bool, abs and isinstance say yes.",
        attack(
            "import builtins\n"
            "builtins.all = lambda *a: True\n"
            "builtins.bool = lambda *a: False\n"
            "builtins.map = lambda *a: iter(())\n"
            "builtins.float = lambda *a: 1.0"
        ),
        none(),
        row=10,
    ),
    Fault(
        "patched-compile",
        "harness",
        "builtins.exec and compile run nothing of a test.",
        attack(
            "import builtins\nrun = builtins.exec\n\n"
            "def exec(code, *a, **k):\n"
            "    names = getattr(code, 'co_names', ())\n"
            "    return None if {'close', 'equal'} & set(names) else run(code, *a, **k)\n\n"
            "builtins.exec = exec"
        ),
        none(),
        row=10,
    ),
    Fault(
        "helper-redefined",
        "harness",
        "A test helper of the notebook is redefined in front of the tests.",
        attack("def assert_same(*a, **k):\n    pass", "mixed"),
        none("mixed"),
        row=11,
    ),
    Fault(
        "helper-edited",
        "harness",
        "The instructor's own cell with the helper is edited.",
        notebook(
            "mixed",
            wrong=ALL,
            change=lambda made: next(
                c.__setitem__("source", "def assert_same(*a, **k):\n    pass")
                for c in made.cells
                if "def assert_same" in c.source
            ),
        ),
        none("mixed"),
        row=11,
    ),
    Fault(
        "fake-check",
        "harness",
        "The name check stands for an object of the student's.",
        attack(
            "real = check\n\nclass Fake:\n    def __getattr__(self, name):\n"
            "        return real.rng if name == 'rng' else lambda *a, **k: None\n\n"
            "check = Fake()"
        ),
        none(),
        row=11,
    ),
    Fault(
        "session-send",
        "harness",
        "The kernel's session.send turns each reply into `ok` and drops errors.",
        attack(SEND),
        none(),
        row=12,
    ),
    Fault(
        "do-execute",
        "harness",
        "The kernel's do_execute answers `ok` without running a test.",
        attack(DO_EXECUTE),
        none(),
        row=12,
    ),
    Fault(
        "forged-reply",
        "harness",
        "The function sends `ok` for the running test on the kernel's own socket.",
        inside(FORGED_REPLY),
        none(),
        row=12,
    ),
    Fault(
        "settrace-jump",
        "harness",
        "A trace function makes each check's frame jump to its return.",
        attack(JUMP.replace("@OWN@", "True")),
        none(),
        row=13,
    ),
    Fault(
        "settrace-own",
        "harness",
        "The same, while the student's own functions are there.",
        notebook(
            top=JUMP.replace("@OWN@", "own_ones()") + OWN_ONES,
            cells=OWN,
        ),
        none(),
        row=13,
    ),
    Fault(
        "setprofile",
        "harness",
        "A profile function takes the checks' way to fail away.",
        attack(PROFILE),
        none(),
        row=13,
    ),
    Fault(
        "zero-draws",
        "harness",
        "The hidden tests' random numbers are made zeros, the visible answer is known by heart.",
        notebook(
            top=ZERO_DRAWS,
            line="return [7.0, 10.0] if len(x) == 2 else np.zeros(len(x))",
            distance="return 5.0 if len(p) == 2 else 0.0",
            double="return 4.0 if x == 2 else 0.0",
        ),
        none(),
        row=17,
    ),
    Fault(
        "seeds",
        "harness",
        "The function sets every seed; the hidden tests draw other numbers nonetheless.",
        inside(
            "import random, numpy\n"
            "random.seed(0); numpy.random.seed(0)\n"
            "from practical_dl import check as theirs\n"
            "theirs._salt = 0"
        ),
        none(),
        row=17,
    ),
    Fault(
        "thread-patches",
        "harness",
        "A thread keeps replacing the checks while later cells run.",
        attack(THREAD),
        none(),
        row=18,
    ),
    Fault(
        "timer-patches",
        "harness",
        "A timer's signal handler blinds the checks while the student's own function is there.",
        notebook(wrong=ALL, top=TIMER, cells=TIMER_OWN),
        none(),
    ),
    Fault(
        "one-shot-hook",
        "harness",
        "A hook strips the checks of the student's own functions only, and takes itself away.",
        notebook(
            top=ONE_SHOT,
            cells=OWN,
            end=RESTORE,
        ),
        none(),
    ),
    Fault(
        "restored-at-the-end",
        "harness",
        "The checks are stripped, and all is restored in the notebook's last cell.",
        notebook(wrong=ALL, top=AST_TRANSFORMER, end=RESTORE),
        none(),
    ),
    Fault(
        "pre-run-hook",
        "harness",
        "An event before each test puts a fake in the place of the checks.",
        attack(HOOKS),
        none(),
    ),
    Fault(
        "run-code",
        "harness",
        "The shell's run_code forgets that there was an error.",
        attack(RUN_CODE),
        none(),
    ),
    Fault(
        "run-cell",
        "harness",
        "The shell's run_cell runs `pass` in place of each test.",
        attack(RUN_CELL),
        none(),
    ),
    Fault(
        "compile-patched",
        "harness",
        "The shell's compiler empties each test.",
        attack(COMPILE),
        none(),
    ),
    Fault(
        "silent-checks",
        "harness",
        "All functions of practical_dl.check do nothing.",
        attack(SILENT_CHECKS),
        none(),
    ),
    Fault(
        "silent-for-one",
        "harness",
        "The checks do nothing, and only one answer is wrong.",
        notebook(wrong=("distance",), top=SILENT_CHECKS),
        full(or_none=True, distance=0),
    ),
    Fault(
        "own-function-only",
        "harness",
        "The checks are blind to the student's own functions and see every other mistake.",
        notebook(top=OWN_ONLY, cells=OWN),
        none(),
    ),
    Fault(
        "lazy-one-shot",
        "harness",
        "Each call of the function blinds the one check after it, which then is itself again.",
        inside(LAZY_ONE_SHOT),
        none(),
    ),
    Fault(
        "lazy-numpy",
        "harness",
        "Each call of the function blinds the next np.abs and comparison alone.",
        inside(NUMPY_ONE_SHOT),
        none(),
    ),
    Fault(
        "failed-init",
        "harness",
        "A failed check ends in SystemExit(0).",
        attack(FAILED_INIT),
        none(),
    ),
    Fault(
        "failed-class",
        "harness",
        "A failed check fails no more, or as a KeyboardInterrupt.",
        attack(FAILED_CLASS),
        none(),
    ),
    Fault(
        "fake-module",
        "harness",
        "practical_dl.check is another module before the notebook imports it.",
        notebook(wrong=ALL, first=MODULE),
        none(),
    ),
    Fault(
        "score-patched",
        "harness",
        "check.score gives all points for an answer that is half right.",
        notebook(
            "mixed",
            top="real = check.score\ncheck.score = lambda fraction, message: real(1.0, message)",
            leap=HALF,
        ),
        HALF_OR_LESS,
    ),
    Fault(
        "score-forged",
        "harness",
        "A hook publishes a full score after the one that the test gave.",
        notebook("mixed", top=PUBLISH.replace("@VALUE@", "1.0"), leap=HALF),
        HALF_OR_LESS,
    ),
    Fault(
        "score-huge",
        "harness",
        "A hook publishes a score of 1e9.",
        notebook("mixed", top=PUBLISH.replace("@VALUE@", "1e9"), leap=HALF),
        HALF_OR_LESS,
    ),
    Fault(
        "score-nan",
        "harness",
        "The function calls check.score with infinity, NaN and -1 itself.",
        notebook(
            "mixed",
            leap="for value in ('inf', 'nan', '-1', '1e9'):\n"
            "    check.score(float(value), 'mine')\n" + HALF,
        ),
        HALF_OR_LESS,
    ),
    Fault(
        "score-without",
        "harness",
        "The function of a test without partial credit publishes a full score, then fails.",
        inside("from practical_dl import check as theirs\ntheirs.score(1.0, 'mine')"),
        none(),
    ),
]
