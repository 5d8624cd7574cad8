"""Runs inside the kernel: runs the tests, hidden parts and all, in forks of the kernel.

A test cell runs twice. Its visible part runs in the notebook, as it does at a student's: that is
for the pages. When the notebook has come to its end and nothing is shown any more, the whole test
is tried, in a fork:

1. the trial: the whole test on the student's solution. IPython is left out, and what checks rest
   on (builtins, NumPy, torch, `practical_dl.check`, the instructor's imports and helpers) is put
   back as it was before the notebook began. It must pass to the last line;
2. the negative control: a planted mistake in place of the solution, in the same way. It must fail,
   else this harness notices nothing.

What counts is the state in which the test began. One fork at the notebook's end serves all tests
for which nothing has changed since (`_Then`); what does not pass there is tried in a fork that was
made where it begins.

So the hidden tests are nowhere while outputs are made, and what they bind is gone with their fork.
All of it is in processes of the student's: this does not stop code that was written against this
very file.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import gc
import importlib
import importlib.machinery
import json
import operator
import os
import re
import select
import signal
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

SCORE_MIME = "application/vnd.practical-dl.score+json"  # practical_dl.check.SCORE_MIME
TEST_FILE = "<checks>"
TOO_LATE = "the test took too long"
FORBIDDEN = re.compile(r"this task is to be written without torch's \w{1,40}")
CHECKS = "practical_dl.check"
# What checks rest on, by the names of modules. Not all modules: looking at an object copies its
# page of memory from the parent's, so looking at everything takes longer than most tests.
WATCHED = {
    *("builtins", "math", "operator", "functools", "itertools", "random", "statistics", "copy"),
    *("json", "json.encoder", "json.decoder", "importlib", "ast", "os", "signal", "select", "time"),
    *("_frozen_importlib", "_frozen_importlib_external"),
    *("numpy", "numpy.linalg", "numpy.linalg._linalg", "numpy.random", "numpy.testing"),
    *("numpy.testing._private.utils", "numpy._core.numeric", "numpy._core.fromnumeric"),
    *("numpy._core.multiarray", "numpy._core._methods", "numpy.lib._function_base_impl"),
    *("torch", "torch.functional", "torch.nn.functional", "torch.nn", "torch.linalg"),
    *("torch.testing", "torch.testing._comparison", "torch.autograd", "torch._tensor"),
    *("torch.random", "torch.optim", "scipy.special", "sklearn.metrics", "IPython.display"),
}
# The methods of these modules' classes are put back, too.
CLASSES = {
    *("builtins", "json.encoder", "_frozen_importlib", "_frozen_importlib_external"),
    *("numpy", "torch", "torch._tensor", "torch.nn", "torch.autograd"),
}
# What no solution needs while it is being checked. Told by Python itself, through its audit hooks.
PEEKING = {
    "sys._getframe": "looks at the frames of the running checks",
    "sys._current_frames": "looks at the frames of the running checks",
    "sys.settrace": "traces the running checks",
    "sys.setprofile": "traces the running checks",
    "sys.monitoring.register_callback": "traces the running checks",
    "gc.get_objects": "searches the memory of the running checks",
    "gc.get_referrers": "searches the memory of the running checks",
    "gc.get_referents": "searches the memory of the running checks",
}
# Libraries that look at frames for their own ends, and give none away.
LIBRARIES = ("numpy", "torch", "torchvision", "matplotlib", "scipy", "sklearn")
# The same through a traceback or a generator: reading these attributes is told as one event.
FRAMES = ("tb_frame", "gi_frame", "cr_frame", "ag_frame")
# What makes another function of one, and the events that tell of it.
SETTING = ("object.__setattr__", "object.__delattr__")
CODE = ("__code__", "__defaults__", "__kwdefaults__")

_modules: dict[str, types.ModuleType] = {}
_values: dict[str, dict[str, Any]] = {}
_classes: dict[type, dict[str, Any]] = {}
_codes: dict[types.FunctionType, tuple[Any, ...]] = {}
_recoded: set[types.FunctionType] = set()  # functions that were given other code or defaults
_library: dict[str, types.ModuleType] = {}  # of `practical_dl`, as a test has imported it
_imports: dict[str, list[Any]] = {}


def remember() -> None:
    """Note what the watched modules hold by now, and begin to watch; a fork inherits it.

    The second time, in the kernel, only what ipykernel itself has changed.
    """
    global _watch
    if CHECKS not in _modules and "numpy" in sys.modules:
        _read_checks()
    for name in WATCHED & sys.modules.keys():
        if name not in _modules or name == "builtins":
            _note(name)
    for name in ("meta_path", "path_hooks", "path"):
        _imports[name] = list(getattr(sys, name))
    if _watch is None:
        _watch = _watcher()


def _read_checks() -> None:
    """Read `practical_dl.check` from the disk; the notebook's own import reads it once more.

    Without what the package does when it is imported, such as giving pictures a style.
    """
    name = CHECKS.partition(".")[0]
    found = importlib.machinery.PathFinder.find_spec(name)
    if found is None:
        return
    sys.modules[name] = bare = types.ModuleType(name)
    bare.__path__ = list(found.submodule_search_locations or ())
    with contextlib.suppress(ImportError):
        importlib.import_module(CHECKS)
        _note(CHECKS)
    for name in [n for n in sys.modules if n.split(".")[0] == "practical_dl"]:
        del sys.modules[name]


def _note(name: str) -> None:
    _modules[name] = module = sys.modules[name]
    _values[name] = {k: v for k, v in vars(module).items() if callable(v)}
    for value in _values[name].values():
        if isinstance(value, type) and name in CLASSES and value not in _classes:
            _classes[value] = dict(vars(value))
        # The Python function below a dispatcher written in C is looked up through it.
        for function in (value, getattr(value, "__wrapped__", None)):
            if isinstance(function, types.FunctionType):
                kept = function.__code__, function.__defaults__, function.__kwdefaults__
                _codes[function] = kept


def restore() -> list[str]:
    """Put all that back; return the names of what had been changed."""
    changed = []
    for name, module in _modules.items():
        if sys.modules.get(name) is not module:
            sys.modules[name] = module
            if name != CHECKS:  # which the notebook imports for itself
                changed.append(name)
        values = vars(module)
        for key in _differing(values, _values[name]):
            values[key] = _values[name][key]
            changed.append(f"{name}.{key}")
    for kind, attributes in _classes.items():
        for key in _differing(vars(kind), attributes):
            with contextlib.suppress(AttributeError, TypeError):
                setattr(kind, key, attributes[key])
                changed.append(f"{kind.__name__}.{key}")
    # To ask each function for its code would copy its page of memory.
    for function in _recoded & _codes.keys():
        kept = _codes[function]
        if function.__code__ is not kept[0]:
            changed.append(function.__name__)
        function.__code__, function.__defaults__, function.__kwdefaults__ = kept
    _recoded.difference_update(_codes)
    for name, kept in _imports.items():
        getattr(sys, name)[:] = kept
    sys.path_importer_cache.clear()
    return changed


def _differing(now: Mapping[str, Any], kept: Mapping[str, Any]) -> list[str]:
    """The keys of `kept` under which something else lies by now."""
    if all(map(operator.is_, map(now.get, kept), kept.values())):
        return []
    return [key for key, value in kept.items() if now.get(key) is not value]


def serve(kernel: Any, *, alone: bool) -> None:
    """Let a kernel answer `trial_request`, on its shell channel.

    alone: whether all processes that it can signal are the notebook's.
    """
    trials = _Trials(kernel.shell, alone)
    answer = trials.answer

    async def request(stream: Any, ident: Any, parent: Mapping[str, Any]) -> None:
        content = answer(parent["content"])
        kernel.session.send(stream, "trial_reply", content, parent, ident)

    kernel.shell_handlers["trial_request"] = request


class _Trials:
    """The forks of one kernel, by task; that of its end is called ""."""

    def __init__(self, shell: Any, alone: bool) -> None:
        self.shell, self.alone = shell, alone
        self._begun: dict[str, _Then] = {}
        self._forks: dict[str, _Fork] = {}
        self._ended: list[int] = []
        self._silent = self._over = False
        self._threads = _threads()
        _usual.update(_settings())

    def answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a request says.

        plan: know the instructor's cells. seed: draw `check.rng`'s numbers from a salt. begin: note
        the state in which a task's test begins. fork: keep it, or that of the end. drop: forget it.
        try: try a task in the fork that `at` names, one order after the other.
        here: try it in this process, of which nothing is shown.
        """
        what, task = order["what"], order.get("task", "")
        at = order.get("at", task)
        try:
            if what == "begin":
                self._begun[task] = _Then(self.shell.user_ns, order["names"])
            elif what == "plan":
                _shield(self.shell, order["cells"])
            elif what == "seed":
                importlib.import_module(CHECKS).reseed(order["salt"])
            elif what == "fork":
                self._drop(task)
                self._forks[task] = self._forked()
                return {"threads": _threads() - self._threads}
            elif what == "drop":
                self._drop(task)
            elif what == "here":
                if not self._silent:
                    _be_silent(self.shell)
                    self._silent = True
                return _try(self.shell, order)
            elif at not in self._forks:
                return {"error": "the fork had failed"}
            elif at != task and not self._begun[task].still(self.shell.user_ns):
                return {"ended": "changed"}
            else:
                if not self._over:
                    restore()  # also what packs the answers
                self._over = True
                return _ask(self._forks[at], order)
            return {}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"[:300]}

    def _forked(self) -> _Fork:
        try:
            return _fork(self.shell, self._forks.values())
        except OSError:
            if not self.alone:
                raise
            os.kill(-1, signal.SIGKILL)  # what the notebook has started leaves no room
            while self._reap():
                time.sleep(0.01)
            return _fork(self.shell, self._forks.values())

    def _reap(self) -> bool:
        """Whether there still are children that have not ended."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return False
        return True

    def _drop(self, task: str) -> None:
        if task not in self._forks:
            return
        child, reading, writing = self._forks.pop(task)
        reading.close(), os.close(writing)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        self._ended = [c for c in [*self._ended, child] if not _is_reaped(c)]


class _Then:
    """What a test's answer rests on, as it was when the test began.

    That is what the test names where students see it, all functions and classes, and what the
    notebook's own classes hold.
    """

    def __init__(self, space: Mapping[str, Any], names: Sequence[str]) -> None:
        kinds = types.FunctionType, type
        self._values = {k: v for k, v in space.items() if k in names or isinstance(v, kinds)}
        own = [v for v in self._values.values() if isinstance(v, type)]
        self._classes = {v: dict(vars(v)) for v in own if v.__module__ == "__main__"}
        self._functions = [v for v in self._values.values() if isinstance(v, types.FunctionType)]

    def still(self, space: Mapping[str, Any]) -> bool:
        """Whether all of it is the same at the notebook's end."""
        if _differing(space, self._values) or not _recoded.isdisjoint(self._functions):
            return False
        return not any(_differing(vars(kind), held) for kind, held in self._classes.items())


def _threads() -> int:
    """How many threads this process has: those of another one's are not in a fork."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:  # no Linux
        return threading.active_count()


def _is_reaped(child: int) -> bool:
    """Whether a fork is gone; giving its memory back takes time, nobody waits for it."""
    try:
        return os.waitpid(child, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _fork(shell: Any, others: Iterable[_Fork]) -> _Fork:
    """Fork the kernel; the child waits for orders. others: the forks that wait already."""
    answers, answering = os.pipe()
    ordering, orders = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for _, reading, writing in others:
                reading.close(), os.close(writing)
            os.close(answers), os.close(orders)
            os.setpgid(0, 0)
            _be_silent(shell)
            lines = _Lines(ordering)
            while text := lines.next(None):
                _write(answering, _try(shell, json.loads(text)))
        finally:
            os._exit(0)
    os.close(answering), os.close(ordering)
    with contextlib.suppress(OSError):  # the child may have done so itself
        os.setpgid(child, child)
    return child, _Lines(answers), orders


def _ask(fork: _Fork, order: Mapping[str, Any]) -> dict[str, Any]:
    _, reading, writing = fork
    try:
        _write(writing, order)
        text = reading.next(2 * order["seconds"] + 1)  # with its control
    except OSError as error:
        return {"error": str(error)}
    if text is None:  # also what has blocked the alarm
        return {"ended": "late"}
    try:
        return json.loads(text)
    except ValueError:
        return {"error": "it ended without an answer"}


class _Lines:
    """The lines that come through a pipe."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._content = b""

    def next(self, seconds: float | None) -> bytes | None:
        """The next one: None when it is late, empty when the other side has ended."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._content:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self.descriptor], [], [], left)[0]:
                return None
            part = os.read(self.descriptor, 1 << 16)
            if not part:
                return b""
            self._content += part
        line, _, self._content = self._content.partition(b"\n")
        return line

    def close(self) -> None:
        os.close(self.descriptor)


_Fork = tuple[int, _Lines, int]  # a process, its answers, its orders


# -- Cells of the instructor's ----------------------------------------------------------------

_NOTHING = object()
_theirs: dict[str, Any] = {}  # what the instructor's cells have imported and defined


def _shield(shell: Any, cells: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """While a cell of the instructor's runs, its names mean what they meant to the instructor.

    A student's own `sum = 0` or `from numpy import *` costs nobody a point. cells: by their text
    the names that they need (builtins, and what such cells define) and those that they bind.
    """
    aside: dict[str, Any] = {}

    def before(info: Any) -> None:
        for name in cells.get(info.raw_cell, {"needs": ()})["needs"]:
            now = shell.user_ns.get(name, _NOTHING)
            want = _theirs.get(name, _NOTHING)
            if now is want or (name not in _theirs and not hasattr(builtins, name)):
                continue
            aside[name] = now
            _set(shell.user_ns, name, want)

    def after(result: Any) -> None:
        cell = cells.get(result.info.raw_cell)
        if cell is None:
            return
        for name in cell["binds"]:
            aside.pop(name, None)
            if name in shell.user_ns:
                _theirs[name] = shell.user_ns[name]
        for name, value in aside.items():
            _set(shell.user_ns, name, value)
        aside.clear()

    shell.events.register("pre_run_cell", before)
    shell.events.register("post_run_cell", after)


def _set(space: dict[str, Any], name: str, value: Any) -> None:
    if value is _NOTHING:
        space.pop(name, None)
    else:
        space[name] = value


# -- In the fork ------------------------------------------------------------------------------

_scores: list[tuple[float, str, str]] = []


def _be_silent(shell: Any) -> None:
    """Nothing that is tried shows in the notebook."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            type(stream).write = lambda self, text: len(text)
            type(stream).flush = lambda self: None
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    shell.display_pub.publish = _publish
    shell.display_trap.hook = lambda value: None
    shell._showtraceback = lambda *arguments: None
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)  # the other threads of its pool are not in the fork


def _publish(data: Mapping[str, Any], *arguments: Any, **options: Any) -> None:
    """Note a score, its message and who gave it: only the test's own count."""
    value = data.get(SCORE_MIME)
    if isinstance(value, Mapping):
        giver = sys._getframe(1)
        by_test = giver.f_code.co_name == "score" and giver.f_back is not None
        place = giver.f_back.f_code.co_filename if by_test else ""
        _scores.append((float(value.get("score", 0.0)), str(value.get("message", "")), place))


def _write(descriptor: int, value: Any) -> None:
    content = json.dumps(value).encode() + b"\n"
    while content:
        content = content[os.write(descriptor, content) :]


def _try(shell: Any, order: Mapping[str, Any]) -> dict[str, Any]:
    """The trial of a task and, where that passes, its negative control."""
    gc.disable()  # it would copy all memory that the fork shares
    found = _run(shell, order, order["salt"])
    if found.get("ended") not in ("passed", "tampered") and (theirs := _settings()) != _usual:
        # `np.seterr(all="raise")`, or gradients switched off, are no business of the test's.
        _set_to(_usual)
        usual = _run(shell, order, order["salt"])
        found = usual if usual.get("ended") == "passed" else found
        _set_to(theirs)
    if found.get("ended") == "passed" and order["mutant"]:
        found["control"] = _control(shell, order)
    return found


_usual: dict[str, Any] = {}


def _settings() -> dict[str, Any]:
    """What a notebook may have set for all code that runs in its process."""
    found = {"folder": os.getcwd(), "recursion": sys.getrecursionlimit()}
    found["strict"] = any(kind == "error" for kind, *_ in warnings.filters)
    if numpy := sys.modules.get("numpy"):
        found["errors"] = numpy.geterr()
    if torch := sys.modules.get("torch"):
        found["gradients"] = torch.is_grad_enabled()
        found["dtype"], found["device"] = torch.get_default_dtype(), torch.get_default_device()
    return found


def _set_to(settings: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.chdir(settings["folder"])
    sys.setrecursionlimit(settings["recursion"])
    warnings.simplefilter("error" if settings["strict"] else "default")
    if "errors" in settings:
        sys.modules["numpy"].seterr(**settings["errors"])
    if "gradients" in settings:
        torch = sys.modules["torch"]
        torch.set_grad_enabled(settings["gradients"])
        torch.set_default_dtype(settings["dtype"])
        torch.set_default_device(settings["device"])


def _control(shell: Any, order: Mapping[str, Any]) -> str:
    """A planted mistake in the solution's place: "killed", "survived", or an error."""
    before = dict(shell.user_ns)
    try:
        exec(compile(order["mutant"], "<mutant>", "exec"), shell.user_ns)
        found = _run(shell, order, order["salt"] and f"{order['salt']}, control")
    except Exception as error:
        return f"error: the planted mistake itself did not run ({type(error).__name__})"
    finally:
        shell.user_ns.clear()
        shell.user_ns.update(before)
    if "error" in found:
        return f"error: {found['error']}"
    # Killed is what the test itself has noticed, or what never comes to an end.
    return "survived" if found["ended"] in ("passed", "tampered") else "killed"


def _too_late(number: int, frame: Any) -> None:
    raise TimeoutError(TOO_LATE)


def _run(shell: Any, order: Mapping[str, Any], salt: str) -> dict[str, Any]:
    """A whole test on what the notebook has made.

    {error: why it could not be run} or {ended: "passed", "wrong", "not attempted", "raised",
    "unusable", "late" or "tampered", why: for a person, and what `_told` tells}.
    """
    changed = restore()
    _stop_hooks()
    for name, value in _theirs.items():
        if shell.user_ns.get(name) is None:  # the notebook has deleted it, or emptied it
            shell.user_ns[name] = value
    namespace = dict(shell.user_ns)
    noted: list[bool] = []
    try:
        code = _compiled(order, namespace, lambda: noted.append(True))
        if salt:
            _modules[CHECKS].reseed(salt)
        # IPython offers these two while it runs a cell, and only then.
        builtins.get_ipython, builtins.display = (
            shell.get_ipython,
            sys.modules["IPython"].display.display,
        )
        _freeze(namespace)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    _scores.clear()
    assert _watch is not None
    seen = _watch()
    told: dict[str, Any] = {"ended": "passed"}
    signal.signal(signal.SIGALRM, _too_late)
    signal.setitimer(signal.ITIMER_REAL, order["seconds"])
    try:
        with _plain_tensors():
            exec(code, namespace)
    except BaseException as error:  # SystemExit and the like are no passing, either
        told = _told(error, shell)
    signal.setitimer(signal.ITIMER_REAL, 0)
    meanwhile = restore()
    why = ""
    if told["ended"] == "passed" and noted != [True]:
        why = "it did not come to its last line"
    elif seen and told["ended"] in ("passed", "wrong"):
        why = f"the solution {seen[0]}"
    elif meanwhile and told["ended"] == "passed":
        why = f"the solution changed {', '.join(meanwhile[:5])} while it was checked"
    if why and changed:
        why += f" (the notebook had changed {', '.join(changed[:5])})"
    if why:
        return {"ended": "tampered", "why": why}
    own = [(score, message) for score, message, place in _scores if place == TEST_FILE]
    if own and told["ended"] == "passed":
        told["score"], told["message"] = own[-1]
    return told


def _told(error: BaseException, shell: Any) -> dict[str, Any]:
    """How a test ended that did not pass, in words that carry nothing of it away.

    message: the check's own sentence. kind: a class of Python's. line: of the test. cell, number:
    where in the notebook's code it happened, as In[cell].
    """
    if isinstance(error, TimeoutError) and str(error) == TOO_LATE:
        return {"ended": "late"}
    kinds = [k.__name__ for k in type(error).__mro__ if vars(builtins).get(k.__name__) is k]
    told: dict[str, Any] = {"ended": "unusable", "kind": kinds[0], "line": 0}
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name == TEST_FILE:
            told["line"] = trace.tb_lineno
        elif _is_cell(name):
            _, label = shell.compile.format_code_name(name) or ("", "")
            found = re.fullmatch(r"In\[(\d+)\]", str(label))
            told.update(ended="raised", cell=int(found[1]) if found else 0, number=trace.tb_lineno)
        trace = trace.tb_next
    # torch raises it, too, with a sentence: that is an error like any other.
    if isinstance(error, NotImplementedError) and re.fullmatch(r"\w*", str(error)):
        told.update(ended="not attempted", message=str(error))
    elif isinstance(error, _modules[CHECKS].CheckFailed) and (
        # Through the student's code only what says which function must not be used.
        told["ended"] == "unusable" or FORBIDDEN.fullmatch(str(error.summary))
    ):
        told.update(ended="wrong", message=str(error.summary))
    elif isinstance(error, AssertionError) and told["ended"] == "unusable":
        told["ended"] = "wrong"
    return told


def _compiled(
    task: Mapping[str, Any], namespace: dict[str, Any], done: Callable[[], None]
) -> types.CodeType:
    """The test as code that notes its end, in a namespace with the instructor's names."""
    if CHECKS not in _modules:
        path = sys.path[:]
        sys.path[:] = [p for p in path if p not in ("", ".", os.getcwd())]
        _read_checks()
        sys.path[:] = path
    for name in [n for n in sys.modules if n.split(".")[0] == "practical_dl"]:
        del sys.modules[name]  # whatever the notebook has put there
    sys.modules.update(_library)
    sys.modules[CHECKS] = _modules[CHECKS]
    exec(compile(task["preamble"], "<instructor>", "exec"), namespace)
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "practical_dl" and name not in (CHECKS, *_library):
            _library[name] = module
            _note(name)
    tree = ast.parse(task["test"], TEST_FILE)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for name in used - set(task["bound"]):
        if hasattr(builtins, name):
            namespace.pop(name, None)  # `abs` is the builtin one, whatever the notebook calls so
    namespace["__builtins__"] = builtins
    last = "_" + os.urandom(8).hex()
    namespace[last] = done
    tree.body.append(ast.parse(f"{last}()").body[0])
    return compile(ast.fix_missing_locations(tree), TEST_FILE, "exec")


def _freeze(namespace: dict[str, Any]) -> None:
    """Give the test modules of its own, in which nothing changes while the solution runs.

    They hold the same functions and classes, and the checks the same NumPy.
    """
    copies: dict[str, types.ModuleType] = {}
    parts: dict[str, list[str]] = {}
    for name in _modules:
        whole, _, part = name.rpartition(".")
        parts.setdefault(whole, []).append(part)

    def copy(module: types.ModuleType) -> types.ModuleType:
        name = module.__name__
        if name not in copies:
            copies[name] = own = types.ModuleType(name, module.__doc__)
            vars(own).update(vars(module))
            for key in parts.get(name, ()):
                vars(own)[key] = copy(_modules[f"{name}.{key}"])
        return copies[name]

    for key, value in list(namespace.items()):
        if isinstance(value, types.ModuleType) and value.__name__ in _modules:
            namespace[key] = copy(_modules[value.__name__])
    if CHECKS in copies:
        # Its functions look names up in the module that they were made in: make them here again.
        own, kept = vars(copies[CHECKS]), _modules[CHECKS]
        own["np"] = copy(sys.modules["numpy"])
        for key, value in list(own.items()):
            if isinstance(value, types.FunctionType) and value.__globals__ is vars(kept):
                made = types.FunctionType(value.__code__, own, key, value.__defaults__)
                made.__kwdefaults__ = value.__kwdefaults__
                own[key] = made


def _plain_tensors() -> contextlib.AbstractContextManager[Any]:
    """Tensors of a class of the student's do not answer torch's questions themselves."""
    torch = sys.modules.get("torch")
    return torch._C.DisableTorchFunctionSubclass() if torch else contextlib.nullcontext()


def _stop_hooks() -> None:
    """No trace function, timer or callback of the notebook's runs on."""
    sys.settrace(None)
    sys.setprofile(None)
    threading.settrace(None)  # type: ignore[arg-type]
    threading.setprofile(None)
    monitoring = getattr(sys, "monitoring", None)
    for tool in range(6) if monitoring else ():
        if monitoring.get_tool(tool):
            monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)
    gc.callbacks.clear()
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)
    sys.unraisablehook = sys.__unraisablehook__


_watch: Callable[[], list[str]] | None = None


def _watcher() -> Callable[[], list[str]]:
    """Watch, from before the notebook begins, for what looks into running checks.

    It notes which functions are given other code, too. Returns what starts it: a call gives a new
    list, to which is added what code of the notebook's then does. Whatever stands between that code
    and the event, of any file, counts for it, but for libraries that look for their own ends and
    give no frame away.
    """
    seen: list[str] | None = None
    looking = False
    getframe = sys._getframe
    honest = _honest()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal looking
        if event in SETTING and arguments[1] in CODE and type(arguments[0]) is types.FunctionType:
            _recoded.add(arguments[0])
        if seen is None or looking:
            return
        through = event == "object.__getattr__" and arguments[1] in FRAMES
        if not (through or event in PEEKING):
            return
        looking = True  # looking at frames is such an event, too
        frame, last = getframe(1), None
        if frame is not None and frame.f_globals is globals():
            frame = None  # we ask ourselves
        while frame is not None and frame.f_code.co_filename != TEST_FILE:
            if _is_cell(frame.f_code.co_filename):
                if last is None or not (last.f_code in honest or _is_library(last)):
                    seen.append(PEEKING["sys._getframe" if through else event])
                break
            frame, last = frame.f_back, frame
        looking = False

    def start() -> list[str]:
        nonlocal seen
        seen = []
        return seen

    sys.addaudithook(hook)
    return start


def _honest() -> set[types.CodeType]:
    """Functions of Python's own that look at frames for their own ends, and give none away."""
    import collections
    import dataclasses
    import enum
    import logging
    import traceback
    import typing
    import warnings

    owners = [logging, logging.Logger, warnings, dataclasses, enum, typing, collections]
    owners += [traceback, traceback.TracebackException, traceback.StackSummary]
    members = (getattr(v, "__func__", v) for owner in owners for v in vars(owner).values())
    codes = (getattr(member, "__code__", None) for member in members)
    giving = (logging.currentframe, traceback.walk_stack, traceback.walk_tb)
    found = {code for code in codes if isinstance(code, types.CodeType)}
    return found - {function.__code__ for function in giving}


def _is_library(frame: types.FrameType) -> bool:
    """Whether a frame is of a library that computes or draws."""
    name = str(frame.f_globals.get("__name__", ""))
    module = sys.modules.get(name)
    known = name.split(".")[0] in LIBRARIES
    return known and module is not None and vars(module) is frame.f_globals


def _is_cell(filename: str) -> bool:
    """Whether a code object comes from a cell of the notebook, by ipykernel's names for them."""
    return "ipykernel_" in filename or filename.startswith("<ipython-input")
