"""Values that lie, and ways to read the answer off the test."""

from __future__ import annotations

from faults.harness import inside
from faults.kit import ALL, Fault, Make, none, notebook

YES = """
class Yes:
    def __eq__(self, other):
        return True

    __ne__ = __lt__ = __gt__ = __le__ = __ge__ = lambda self, other: False
    __hash__ = None
    __bool__ = __abs__ = __sub__ = __rsub__ = lambda self, *other: True
    shape, dtype, size = (), np.dtype(float), 1

    def __len__(self):
        return 2

    def __float__(self):
        return 4.0

    def all(self):
        return True
"""
ARRAY = """
class Close(np.ndarray):
    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [np.asarray(i) for i in inputs]
        found = getattr(ufunc, method)(*plain)
        return np.zeros_like(found) if ufunc in (np.subtract, np.not_equal) else found == found

    def __array_function__(self, function, types, arguments, options):
        return True

    def astype(self, *a, **k):
        return self

    def __sub__(self, other):
        return np.zeros(self.shape)

    __rsub__ = __sub__

def lying(value):
    return np.asarray(value, dtype=float).view(Close)
"""
TENSOR = """
class Close(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in ("allclose", "equal", "isclose", "eq"):
            return torch.tensor(True) if name in ("isclose", "eq") else True
        return super().__torch_function__(function, types, args, kwargs or {})

def lying(value):
    return value.as_subclass(Close)
"""
CLASS = """
class Number:
    # Says that it is a float, converts to whatever is wanted next.
    __class__ = float

    def __float__(self):
        import sys
        frame = sys._getframe(1)
        while frame:
            for name in ("expected", "want"):
                if isinstance(frame.f_locals.get(name), (int, float)):
                    return float(frame.f_locals[name])
            frame = frame.f_back
        return 0.0

    def __array__(self, *a, **k):
        import sys
        frame = sys._getframe(1)
        while frame:
            if "expected" in frame.f_locals:
                return np.array(frame.f_locals["expected"], dtype=float)
            frame = frame.f_back
        return np.zeros(())

    def item(self):
        return float(self)
"""
# Finds the call of the function in the test's source and evaluates what stands beside it.
READ = """
def answer(name, source):
    import ast, sys
    frame = sys._getframe(2)
    while frame and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    wanted = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("check."):
            if ast.unparse(node.args[0]).startswith(name + "("):
                wanted.append((node.lineno, ast.unparse(node.args[1])))
    near = [text for line, text in wanted if line <= frame.f_lineno]
    return eval(near[-1], frame.f_globals)
"""
READ_BODIES = {
    "line": "return np.array(answer('line', source_of_test('line(')))",
    "distance": "return float(answer('distance', source_of_test('distance(')))",
    "double": "return float(answer('double', source_of_test('double(')))",
}
READ_IN_ORDER = """
calls = {}

def answer(name, source):
    import ast
    wanted = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("check."):
            if ast.unparse(node.args[0]).startswith(name + "("):
                wanted.append(ast.unparse(node.args[1]))
    calls[name] = calls.get(name, -1) + 1
    return eval(wanted[calls[name] % len(wanted)], globals())
"""
FROM_HISTORY = (
    READ_IN_ORDER
    + """
def source_of_test(call):
    return In[-1]
"""
)
FROM_RAW_HISTORY = (
    READ
    + """
def source_of_test(call):
    history = get_ipython().history_manager
    return (history.input_hist_raw or history.input_hist_parsed)[-1]
"""
)
FROM_LINECACHE = (
    READ
    + """
def source_of_test(call):
    import inspect, linecache, sys
    frame = sys._getframe(1)
    while frame and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return "".join(linecache.getlines(frame.f_code.co_filename)) or inspect.getsource(frame)
"""
)
FROM_MESSAGE = (
    READ
    + """
def source_of_test(call):
    kernel = get_ipython().kernel
    return kernel.get_parent("shell")["content"]["code"]
"""
)
FROM_STACK = (
    READ
    + """
def source_of_test(call):
    import sys
    frame = sys._getframe(1)
    while frame:
        for value in list(frame.f_locals.values()):
            if isinstance(value, str) and "check." + "done(" in value and call in value:
                return value
        frame = frame.f_back
"""
)
FROM_MEMORY = (
    READ
    + """
def source_of_test(call):
    import gc
    for found in gc.get_objects():
        values = found.values() if type(found) is dict else found if type(found) is list else ()
        for value in list(values):
            if type(value) is str and "HIDDEN" + " TESTS" in value and call in value:
                if "check." + "done(" in value:
                    return value
"""
)
CONSTANTS = """
import sys
frame = sys._getframe(1)
while frame and frame.f_code.co_name != "<module>":
    frame = frame.f_back
numbers = [c for c in frame.f_code.co_consts if isinstance(c, (float, tuple))]
"""
# Runs the test's code beforehand, with checks that note what they are told to expect.
REPLAY = """
class Recorder:
    def __init__(self, real):
        self.real, self.values = real, []

    def close(self, actual, expected, *a, **k):
        self.values.append(expected)

    equal = close

    def done(self, task):
        raise StopIteration

    def __getattr__(self, name):
        return getattr(self.real, name)

waiting = {}

def expected(name, frame):
    while frame and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    if frame not in waiting:
        space = dict(frame.f_globals)
        recorder = space["check"] = Recorder(space["check"])
        space[name] = lambda *a: None
        try:
            exec(frame.f_code, space)
        except StopIteration:
            pass
        waiting[frame] = recorder.values
    return waiting[frame].pop(0)
"""
BY_FRAME = "import sys\nframe = sys._getframe()"
BY_TRACEBACK = """
try:
    raise KeyError
except KeyError as error:
    frame = error.__traceback__.tb_frame
"""
BY_GENERATOR = """
def look():
    yield generator.gi_frame.f_back

generator = look()
frame = next(generator)
"""


def replay(find: str) -> Make:
    """Answers that are what the checks expect; find: how the function comes by its frame."""
    bodies = {
        task: f"{find.strip()}\nreturn expected({task!r}, frame)"
        for task in ("line", "distance", "double")
    }
    return notebook(top=REPLAY, **bodies)


# Makes the numbers of the test such that the wrong answer is right.
GLOBALS = """
import sys
x[...] = 0
frame = sys._getframe(1)
while frame and frame.f_code.co_name != "<module>":
    frame = frame.f_back
if len(x) > 2:
    frame.f_globals.update(a=0.0, b=0.0)
    return np.zeros(len(x))
return [7.0, 10.0]
"""
GLOBALS_BY_TRACEBACK = GLOBALS.replace("import sys\n", "").replace(
    "frame = sys._getframe(1)", BY_TRACEBACK.strip()
)
LEAK = """
import base64
get_ipython().user_ns.setdefault("seen", []).append(In[-1])
print(In[-1])
"""
LEAK_BACKWARDS = 'get_ipython().user_ns.setdefault("seen", []).append(In[-1])'


def reading(source: str, **bodies: str) -> Make:
    """Answers that are computed from the test's own source."""
    return notebook(top=source, **(bodies or READ_BODIES))


FAULTS = [
    Fault(
        "lying-eq",
        "values",
        "The functions return an object that is equal and close to everything.",
        notebook(top=YES, line="return Yes()", distance="return Yes()", double="return Yes()"),
        none(),
        row=9,
    ),
    Fault(
        "lying-array",
        "values",
        "The functions return a subclass of ndarray whose differences are 0.",
        notebook(
            top=ARRAY,
            line="return lying(np.zeros(len(x)))",
            distance="return lying(1.0)",
            double="return lying(1.0)",
        ),
        none(),
        row=9,
    ),
    Fault(
        "lying-tensor",
        "values",
        "The functions return a subclass of Tensor that is close to everything.",
        notebook(
            "mixed",
            top=TENSOR,
            wrong=ALL,
            relu="return lying(torch.ones_like(x))",
            unit="return lying(torch.zeros_like(x))",
        ),
        none("mixed"),
        row=9,
    ),
    Fault(
        "lying-class",
        "values",
        "The functions return a number that looks up what the check expects as it is converted.",
        notebook(
            top=CLASS, line="return Number()", distance="return Number()", double="return Number()"
        ),
        none(),
        row=9,
    ),
    Fault(
        "read-history",
        "values",
        "The functions find the expected value in In[-1] and return it.",
        reading(FROM_HISTORY),
        none(),
        row=14,
    ),
    Fault(
        "read-raw-history",
        "values",
        "The functions find the expected value in the history manager.",
        reading(FROM_RAW_HISTORY),
        none(),
        row=14,
    ),
    Fault(
        "read-linecache",
        "values",
        "The functions find the expected value in the source of the calling frame.",
        reading(FROM_LINECACHE),
        none(),
        row=14,
    ),
    Fault(
        "read-message",
        "values",
        "The functions find the expected value in the kernel's execute_request.",
        reading(FROM_MESSAGE),
        none(),
        row=14,
    ),
    Fault(
        "read-stack",
        "values",
        "The functions find the test's source in the local variables of the frames below.",
        reading(FROM_STACK),
        none(),
    ),
    Fault(
        "read-memory",
        "values",
        "The functions find the test's source among all objects of the process.",
        reading(FROM_MEMORY),
        none(),
    ),
    Fault(
        "read-constants",
        "values",
        "The functions return the constants of the calling code that have the right shape.",
        notebook(
            line=CONSTANTS + "return [7.0, 10.0] if len(x) == 2 else np.full(len(x), numbers[0])",
            distance=CONSTANTS + "return numbers[-1] if len(p) != 2 else 5.0",
            double=CONSTANTS + "return 4.0",
        ),
        none(),
    ),
    Fault(
        "replay-frame",
        "values",
        "The functions run the test's own code with checks that note what they should expect.",
        replay(BY_FRAME),
        none(),
    ),
    Fault(
        "replay-traceback",
        "values",
        "The same, with the frame taken from a traceback.",
        replay(BY_TRACEBACK),
        none(),
    ),
    Fault(
        "replay-generator",
        "values",
        "The same, with the frame taken from a generator.",
        replay(BY_GENERATOR),
        none(),
    ),
    Fault(
        "changes-by-traceback",
        "values",
        "The function finds the test's variables by a traceback and makes them zeros.",
        notebook(wrong=ALL, line=GLOBALS_BY_TRACEBACK),
        none(),
    ),
    Fault(
        "changes-the-inputs",
        "values",
        "The function makes its inputs and the test's variables zeros, so that 0 is right.",
        notebook(wrong=ALL, line=GLOBALS),
        none(),
    ),
    Fault(
        "leak",
        "values",
        "The functions print the hidden tests.",
        inside(LEAK, end="print(seen)"),
        none(),
        row=43,
        page=True,
    ),
    Fault(
        "leak-traceback",
        "values",
        "The functions raise an error that quotes the hidden tests.",
        notebook(wrong=ALL, **dict.fromkeys(("line", "distance"), "raise ValueError(In[-1])")),
        none(),
        row=43,
        page=True,
    ),
    Fault(
        "leak-backwards",
        "values",
        "The functions keep the hidden tests, and a last cell prints them letter by letter backwards.",  # noqa: E501
        inside(LEAK_BACKWARDS, end="for text in seen:\n    print(text[::-1])"),
        none(),
        page=True,
    ),
]
