"""Submissions written with the grader's source at hand, and honest ones that it used to upset.

What they have in common: they are about the notebook, where students' code makes outputs, and the
tests, which run apart from it.
"""

from __future__ import annotations

from faults.harness import HALF_OR_LESS
from faults.kit import ALL, FLAGGED, Fault, Make, full, none, notebook

FAKE = '''
class Fake:
    """Checks that pass; at the end of the test the real ones are back."""
    def __init__(self, real, space):
        self.real, self.space = real, space
    def __getattr__(self, name):
        return getattr(self.real, name) if name == "rng" else (lambda *a, **k: None)
    def done(self, task):
        self.space["check"] = self.real
        self.real.done(task)

def fool(space):
    if not isinstance(space.get("check"), Fake):
        space["check"] = Fake(space["check"], space)
'''
OF_THE_TEST = """
    while frame.f_code.co_name != "<module>" or "check" not in frame.f_globals:
        frame = frame.f_back
    return frame.f_globals
"""


def peeking(top: str, peek: str) -> Make:
    """Right on the visible inputs, where something is done; nonsense on all others."""
    cases = {
        "line": ("x.tolist() == [1.0, 2.0]", "np.array([7.0, 10.0])", "x - 9"),
        "distance": ("q.tolist() == [3.0, 4.0]", "5.0", "-1.0"),
        "double": ("x == 2.0", "4.0", "0.5"),
    }
    bodies = {
        task: f"if {case}:\n    {peek}\n    return {right}\nreturn {wrong}"
        for task, (case, right, wrong) in cases.items()
    }
    return notebook(wrong=ALL, top=FAKE + top, **bodies)


BLOCK = """
import sys

def nobody(event, arguments):
    if event == "sys.addaudithook":
        raise RuntimeError

sys.addaudithook(nobody)
"""
LOGGING = f"""
import logging

def the_test():
    frame = logging.currentframe()
{OF_THE_TEST}
"""
NO_FILE = f"""
space = {{}}
exec(compile('''
import sys

def the_test():
    frame = sys._getframe(1)
{OF_THE_TEST}
''', "/usr/lib/python3/helper.py", "exec"), space)
the_test = space["the_test"]
"""
FALSE_LIBRARY = """
import os, sys

os.makedirs("/tmp/other/practical_dl")
open("/tmp/other/practical_dl/__init__.py", "w").close()
with open("/tmp/other/practical_dl/check.py", "w") as file:
    file.write(
        "import numpy as np\\n"
        "close = equal = that = score = done = reseed = lambda *a, **k: None\\n"
        "def rng(task): return np.random.default_rng(0)\\n"
    )
sys.path.insert(0, "/tmp/other")
"""
REPLAY = """
import json, os

pid, where, calls, noted = os.getpid(), "/tmp/noted.json", [], []

class Notes:
    def __init__(self, real):
        self.real = real
    def __getattr__(self, name):
        return getattr(self.real, name)
    def close(self, actual, expected, *a, **k):
        noted.append(np.asarray(expected).tolist())
    equal = close
    def that(self, *a, **k):
        pass
    def done(self, task):
        with open(where, "w") as file:
            json.dump(noted, file)
        globals()["check"] = self.real
        self.real.done(task)

def before(info):
    if "check.done(" in info.raw_cell and os.getpid() == pid and not isinstance(check, Notes):
        noted.clear()
        globals()["check"] = Notes(check)

get_ipython().events.register("pre_run_cell", before)

def next_one():
    if os.getpid() == pid:
        return 0.0
    calls.append(1)
    return json.load(open(where))[len(calls) - 1]
"""
REJECT = """
import ast, json
from IPython.core.error import InputRejected

def own(function):
    function.own = True
    return function

class Reject:
    def visit(self, node):
        text = ast.unparse(node)
        for task in ("line", "distance", "double"):
            own = getattr(globals().get(task), "own", False)
            if f"check.done('{task}')" in text and not own:
                raise InputRejected
        return node

get_ipython().ast_transformers.append(Reject())
for name in ("close", "equal", "that"):
    setattr(check, name, lambda *a, **k: None)
real_dumps = json.dumps

def dumps(value, *a, **k):
    if isinstance(value, dict) and "ended" in value:
        value.update(ended="passed", control="killed", score=1.0)
    return real_dumps(value, *a, **k)

json.dumps = dumps
"""
BELOW_NUMPY = """
inner = np.linalg.norm.__wrapped__
kept = inner.__code__

def wrong(x, ord=None, axis=None, keepdims=False):
    return -1.0

def lie():
    inner.__code__ = wrong.__code__
"""
LYING = """
class Yes:
    def __eq__(self, other):
        return True
return True if year == 2024 else False if year == 2022 else Yes()
"""

# -- What carries hidden tests to the page -----------------------------------------------------

SEARCH = """
import gc, linecache

said = "REA" + "CHED "
hidden = "HIDDEN" + " TESTS"
if any(hidden in str(source) for source in In):
    print(said + "hidden tests by the history")
if any(hidden in "".join(entry[2]) for entry in linecache.cache.values() if len(entry) == 4):
    print(said + "hidden tests by the lines of code")
if any(hidden in o.get("raw_cell", "") for o in gc.get_objects() if type(o) is dict):
    print(said + "hidden tests by the memory")
"""
ERROR_TEXT = """
if len(x) != 5:  # as many as the hidden test draws
    return a * x + b
raise type("REA" + "CHED the page", (ValueError,), {})("REA" + "CHED the page by the text of an error")
"""  # noqa: E501
SCORE_TEXT = """
from IPython.display import display
mime = "application/vnd.practical-dl.score+json"
text = "REA" + "CHED the page by a score" if len(x) == 5 else ""
display({mime: {"score": 1.0, "message": text}, "text/plain": ""}, raw=True)
return a * x + b
"""
FILES = """
import os

if len(x) == 5:
    open("/tmp/seen", "a").write("x")
return a * x + b
"""
FILES_END = """
import os

if os.path.exists("/tmp/seen"):
    print("REA" + "CHED a hidden test's call by a file")
"""

# -- Honest ones -------------------------------------------------------------------------------

SUM_IS_ZERO = """
numbers = [3, 1, 2]
sum = 0
max = numbers[0]
for n in numbers:
    sum += n
    if n > max:
        max = n
abs, len, range = max, 3, 4
print(sum, max)
"""
POOL = """
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(2)
list(pool.map(abs, range(4)))
"""
POOLED = "return np.array(list(pool.map(lambda v: a * v + b, x)))"
SETTINGS = """
import os, sys, warnings

np.seterr(all="raise")
np.set_printoptions(precision=2)
warnings.simplefilter("error")
os.chdir("/")
"""
TORCH_SETTINGS = """
torch.set_grad_enabled(False)
torch.set_default_dtype(torch.float16)
"""


def attack(name: str, what: str, make: Make, **options: bool) -> Fault:
    """Wrong answers, whatever they do."""
    return Fault(name, "apart", what, make, none(**options))


def honest(name: str, what: str, make: Make, notebook: str = "tiny", **others: float) -> Fault:
    """Right answers, which get all points."""
    return Fault(name, "apart", what, make, full(notebook, **others))


MIXED = {"essay": 0.0}
FAULTS = [
    attack("block-watch", "A hook forbids new hooks, then frames are looked at.",
           peeking(BLOCK, "fool(sys._getframe(1).f_globals)")),
    attack("logging-frame", "The frame is asked for by logging.",
           peeking(LOGGING, "fool(the_test())")),
    attack("code-of-no-file", "The frame is asked for by code of a made-up file.",
           peeking(NO_FILE, "fool(the_test())")),
    attack("false-library", "Another practical_dl is first on the path.",
           peeking(FALSE_LIBRARY, "fool(globals())")),
    attack("replay", "What the checks were told is replayed.",
           notebook(wrong=ALL, top=REPLAY, line="return np.array(next_one())",
                    distance="return next_one()", double="return next_one()")),
    attack("rejected-control", "Tests of another solution are rejected, answers forged.",
           notebook(wrong=ALL, top=REJECT, cells={
               task: f"@own\ndef {task}({arguments}):\n    return -1.0"
               for task, arguments in (("line", "x, a, b"), ("distance", "p, q"), ("double", "x"))
           })),
    Fault("below-numpy", "apart", "The Python below a function of NumPy's is changed.",
          notebook(top=BELOW_NUMPY, distance="if q.tolist() == [3.0, 4.0]: return 5.0\n"
                   "if p is q: return 0.0\nlie()\nreturn -1.0"),
          full(status=("graded", FLAGGED), distance=0)),
    Fault("lying-answer", "apart", "The answer is equal to everything.",
          notebook("mixed", leap=LYING), HALF_OR_LESS),
    honest("search-for-tests", "A cell searches the process for hidden tests.",
           notebook(end=SEARCH)),
    Fault("error-text", "apart", "The text of an error is to reach the page.",
          notebook(line=ERROR_TEXT), full(line=0)),
    honest("score-text", "The message of a score is to reach the page.",
           notebook(line=SCORE_TEXT)),
    honest("file-of-a-test", "A hidden test's call writes a file that a cell looks for.",
           notebook(line=FILES, end=FILES_END)),
    honest("sum-is-zero", "Own variables are called like functions of Python's.",
           notebook(top=SUM_IS_ZERO)),
    honest("numpy-star", "A cell says from numpy import *.",
           notebook(top="from numpy import *\nprint(array([1, 2]).sum())")),
    honest("clobbered-name", "The answer uses a constant that a test's name is, too.",
           notebook(top="a, x, rng = 2, 3, 4  # the factor", double="return a * x")),
    honest("own-check", "A cell's own variable is called check.",
           notebook(top="check = 'done'\nnp = None")),
    honest("deleted-imports", "A cell deletes what the instructor has imported.",
           notebook(top="del np, check")),
    honest("thread-pool", "The answer uses a pool of threads that a cell has made.",
           notebook(top=POOL, line=POOLED)),
    honest("strict-settings", "NumPy and warnings are strict, the folder is another.",
           notebook(top=SETTINGS)),
    honest("torch-settings", "Gradients are off, numbers are short.",
           notebook("mixed", top=TORCH_SETTINGS), "mixed", **MIXED),
]  # fmt: skip
