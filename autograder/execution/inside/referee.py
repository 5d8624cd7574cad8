"""Runs inside the kernel: tries tests that have passed again, in a fork of the kernel.

The fork is made (`prepare`) and then told what to try (`try`). For each task it makes

1. the negative control: a planted mistake takes the place of the student's solution, and the test
   runs through the same IPython as the cell did. It must fail, else this harness notices nothing;
2. the second trial: the student's solution again, but IPython is left out, and what the checks rest
   on (builtins, NumPy, torch, `practical_dl.check`, the instructor's imports and helpers) is put
   back as it was before the notebook began. It must pass to the last line.

What a submission did to the harness acts in the first and is gone in the second. Both run in the
student's process: this does not stop code that was written against this very file.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import gc
import importlib
import json
import linecache
import os
import re
import select
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

SCORE_MIME = "application/vnd.practical-dl.score+json"  # practical_dl.check.SCORE_MIME
TEST_FILE = "<checks>"
CHECKS = "practical_dl.check"
# What checks rest on, by the names of modules. Not all modules: looking at an object copies its
# page of memory from the parent's, so looking at everything takes longer than most tests.
WATCHED = {
    *("builtins", "math", "operator", "functools", "itertools", "random", "statistics", "copy"),
    *("numpy", "numpy.linalg", "numpy.linalg._linalg", "numpy.random", "numpy.testing"),
    *("numpy.testing._private.utils", "numpy._core.numeric", "numpy._core.fromnumeric"),
    *("numpy._core.multiarray", "numpy._core._methods", "numpy.lib._function_base_impl"),
    *("torch", "torch.functional", "torch.nn.functional", "torch.nn", "torch.linalg"),
    *("torch.testing", "torch.testing._comparison", "torch.autograd", "torch._tensor"),
    *("torch.random", "torch.optim", "scipy.special", "sklearn.metrics", "IPython.display"),
}
# The methods of these modules' classes are put back, too.
CLASSES = ("builtins", "numpy", "torch", "torch._tensor", "torch.nn", "torch.autograd")
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
# The same through a traceback or a generator: reading these attributes is told as one event.
FRAMES = ("tb_frame", "gi_frame", "cr_frame", "ag_frame")
_PEEKING_MODULES = ("inspect", "traceback", "gc", "sys", "threading", "bdb", "pdb")

_modules: dict[str, types.ModuleType] = {}
_values: dict[str, dict[str, Any]] = {}
_classes: dict[type, dict[str, Any]] = {}
_codes: dict[types.FunctionType, tuple[Any, ...]] = {}
_imports: dict[str, list[Any]] = {}


def remember() -> None:
    """Note what the watched modules hold by now; a fork inherits it.

    The second time, in the kernel, only what ipykernel itself has changed.
    """
    for name in WATCHED & sys.modules.keys():
        if name not in _modules or name == "builtins":
            _note(name)
    _imports.update(meta_path=list(sys.meta_path), path_hooks=list(sys.path_hooks))


def _note(name: str) -> None:
    _modules[name] = module = sys.modules[name]
    _values[name] = {k: v for k, v in vars(module).items() if callable(v)}
    for value in _values[name].values():
        if isinstance(value, type) and name in CLASSES and value not in _classes:
            _classes[value] = dict(vars(value))
        if isinstance(value, types.FunctionType):
            _codes[value] = (value.__code__, value.__defaults__, value.__kwdefaults__)


def restore() -> list[str]:
    """Put all that back; return the names of what had been changed."""
    changed = []
    for name, module in _modules.items():
        if sys.modules.get(name) is not module:
            sys.modules[name] = module
            changed.append(name)
        values = vars(module)
        for key, value in _values[name].items():
            if values.get(key) is not value:
                values[key] = value
                changed.append(f"{name}.{key}")
    for kind, attributes in _classes.items():
        now = vars(kind)
        for key, value in attributes.items():
            if now.get(key) is not value:
                with contextlib.suppress(AttributeError, TypeError):
                    setattr(kind, key, value)
                    changed.append(f"{kind.__name__}.{key}")
    for function, kept in _codes.items():
        if function.__code__ is not kept[0]:
            changed.append(function.__name__)
        function.__code__, function.__defaults__, function.__kwdefaults__ = kept
    sys.meta_path[:], sys.path_hooks[:] = _imports["meta_path"], _imports["path_hooks"]
    return changed


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
    """The forks of one kernel; one waits at a time."""

    def __init__(self, shell: Any, alone: bool) -> None:
        self.shell, self.alone = shell, alone
        self._fork: tuple[int, _Lines, int] | None = None
        self._ended: list[int] = []

    def answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a request says: prepare for a test cell, or try it again."""
        try:
            if order["what"] == "prepare":
                self._drop()
                _reseed(order["salt"])
                self._fork = self._forked() if order["fork"] else None
                return {}
            return _ask(self._fork, order) if self._fork else {"error": "the fork had failed"}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"[:300]}
        finally:
            if order["what"] == "try":
                self._drop()

    def _forked(self) -> tuple[int, _Lines, int]:
        try:
            return _fork(self.shell)
        except OSError:
            if not self.alone:
                raise
            os.kill(-1, signal.SIGKILL)  # what the notebook has started leaves no room
            while self._reap():
                time.sleep(0.01)
            return _fork(self.shell)

    def _reap(self) -> bool:
        """Whether there still are children that have not ended."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return False
        return True

    def _drop(self) -> None:
        if self._fork is None:
            return
        child, reading, writing = self._fork
        self._fork = None
        reading.close(), os.close(writing)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        self._ended = [c for c in [*self._ended, child] if not _is_reaped(c)]


def _is_reaped(child: int) -> bool:
    """Whether a fork is gone; giving its memory back takes time, nobody waits for it."""
    try:
        return os.waitpid(child, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _fork(shell: Any) -> tuple[int, _Lines, int]:
    """Fork the kernel; the child waits for an order. (process, its answers, its orders)"""
    answers, answering = os.pipe()
    ordering, orders = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(answers), os.close(orders)
            os.setpgid(0, 0)
            _be_silent(shell)
            text = _Lines(ordering).next(None)
            if text:
                _write(answering, _try(shell, json.loads(text)))
        finally:
            os._exit(0)
    os.close(answering), os.close(ordering)
    with contextlib.suppress(OSError):  # the child may have done so itself
        os.setpgid(child, child)
    return child, _Lines(answers), orders


def _ask(fork: tuple[int, _Lines, int], order: Mapping[str, Any]) -> dict[str, Any]:
    _, reading, writing = fork
    try:
        _write(writing, order)
        text = reading.next(order["seconds"])
    except OSError as error:
        return {"error": str(error)}
    if text is None:
        return {"error": "it took too long"}
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


# -- In the fork ------------------------------------------------------------------------------

_scores: list[tuple[float, str]] = []


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
    """Note a score and who gave it: of the second trial, only the test's own count."""
    value = data.get(SCORE_MIME)
    if isinstance(value, Mapping):
        giver = sys._getframe(1)
        by_test = giver.f_code.co_name == "score" and giver.f_back is not None
        place = giver.f_back.f_code.co_filename if by_test else ""
        _scores.append((float(value.get("score", 0.0)), place))


def _write(descriptor: int, value: Any) -> None:
    content = json.dumps(value).encode() + b"\n"
    while content:
        content = content[os.write(descriptor, content) :]


def _try(shell: Any, order: Mapping[str, Any]) -> dict[str, Any]:
    """Both trials of all tasks: {tasks: {task: {control, again, why, score or error}}}."""
    gc.disable()  # it would copy all memory that the fork shares
    planted = [task for task in order["tasks"] if task["mutant"]]
    if order["apart"]:
        controls = _controls_in_fork(shell, planted, order["salt"])
    else:
        controls = {t["task"]: _control(shell, t, order["salt"]) for t in planted}
    answers = {}
    for task in order["tasks"]:
        answers[task["task"]] = _again(shell, task, order["salt"])
        if task["mutant"]:
            missing = "error: it did not come to an end"
            answers[task["task"]]["control"] = controls.get(task["task"], missing)
    return {"tasks": answers}


def _controls_in_fork(shell: Any, tasks: Sequence[Mapping[str, Any]], salt: str) -> dict[str, str]:
    """Controls that leave the state in which the test began to the second trial."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for task in tasks:
                _write(writing, [task["task"], _control(shell, task, salt)])
        finally:
            os._exit(0)
    os.close(writing)
    found = {}
    deadline = time.monotonic() + sum(task["seconds"] for task in tasks) + 1
    lines = _Lines(reading)
    while text := lines.next(max(0.0, deadline - time.monotonic())):
        name, ended = json.loads(text)
        found[name] = ended
    lines.close()
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return found


def _control(shell: Any, task: Mapping[str, Any], salt: str) -> str:
    """The planted mistake, through the notebook's own IPython; then all names are as before."""
    before = dict(shell.user_ns)
    try:
        try:
            exec(compile(task["mutant"], "<mutant>", "exec"), shell.user_ns)
        except Exception as error:
            return f"error: the planted mistake itself did not run ({type(error).__name__})"
        _reseed(salt)
        # A planted mistake that never comes to an end is noticed, too.
        signal.signal(signal.SIGALRM, _too_late)
        signal.setitimer(signal.ITIMER_REAL, task["seconds"])
        tested = shell.run_cell(task["test"], store_history=False)
        return "survived" if tested.success else "killed"
    except TimeoutError:
        return "killed"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        shell.user_ns.clear()
        shell.user_ns.update(before)


def _too_late(number: int, frame: Any) -> None:
    raise TimeoutError("too late")


def _reseed(salt: str) -> None:
    if salt:
        importlib.import_module(CHECKS).reseed(salt)


def _again(shell: Any, task: Mapping[str, Any], salt: str) -> dict[str, Any]:
    """The second trial: {again: passed or failed, why, score}, or {error}."""
    changed = restore()
    _stop_hooks()
    _forget_cells(shell)
    namespace = dict(shell.user_ns)
    noted: list[bool] = []
    try:
        code = _compiled(task, namespace, lambda: noted.append(True))
        _reseed(salt)
        # IPython offers these two while it runs a cell, and only then.
        builtins.get_ipython, builtins.display = (
            shell.get_ipython,
            sys.modules["IPython"].display.display,
        )
        _freeze(namespace)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    _scores.clear()
    seen = _watch()
    why = ""
    signal.signal(signal.SIGALRM, _too_late)
    signal.setitimer(signal.ITIMER_REAL, task["seconds"])
    try:
        with _plain_tensors():
            exec(code, namespace)
    except BaseException as error:  # SystemExit and the like are no passing, either
        why = f"{type(error).__name__}: {error}"[:300]
    signal.setitimer(signal.ITIMER_REAL, 0)
    why = why or ("" if noted == [True] else "it did not come to its last line")
    if seen and not why:
        why = f"the solution {seen[0]}"
    if (meanwhile := restore()) and not why:
        why = f"the solution changed {', '.join(meanwhile[:5])} while it was checked"
    if why and changed:
        why += f" (the notebook had changed {', '.join(changed[:5])})"
    own = [score for score, place in _scores if place == TEST_FILE]
    return {
        "again": "failed" if why else "passed",
        "why": why,
        "score": (own[-1] if own else 1.0) if not why else 0.0,
    }


def _compiled(
    task: Mapping[str, Any], namespace: dict[str, Any], done: Callable[[], None]
) -> types.CodeType:
    """The test as code that notes its end, in a namespace with the instructor's names."""
    path = sys.path[:]
    sys.path[:] = [p for p in path if p not in ("", ".", os.getcwd())]
    try:
        if CHECKS not in _modules:  # read again from the disk, which is read-only there
            for name in [n for n in sys.modules if n.split(".")[0] == "practical_dl"]:
                del sys.modules[name]
            importlib.import_module(CHECKS)
            _note(CHECKS)
        exec(compile(task["preamble"], "<instructor>", "exec"), namespace)
    finally:
        sys.path[:] = path
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

    def copy(module: types.ModuleType) -> types.ModuleType:
        name = module.__name__
        if name not in copies:
            copies[name] = own = types.ModuleType(name, module.__doc__)
            for key, value in list(vars(module).items()):
                part = isinstance(value, types.ModuleType) and value.__name__ in _modules
                vars(own)[key] = copy(value) if part else value
        return copies[name]

    for key, value in list(namespace.items()):
        if isinstance(value, types.ModuleType) and value.__name__ in _modules:
            namespace[key] = copy(value)
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


def _forget_cells(shell: Any) -> None:
    """The sources of the cells that ran, those of the checks among them, are nowhere to be read."""
    manager = shell.history_manager
    for history in (manager.input_hist_parsed, manager.input_hist_raw):
        history[:] = [""] * len(history)
    for name in [n for n in shell.user_ns if re.fullmatch(r"_i+|_i\d+", n)]:
        shell.user_ns[name] = ""
    for name in [n for n in linecache.cache if _is_cell(n)]:
        del linecache.cache[name]


_seen: list[str] | None = None


def _watch() -> list[str]:
    """From here on note what code of the notebook's does to look into the running checks."""
    global _seen
    first, _seen = _seen is None, []
    if not first:
        return _seen
    getframe = sys._getframe
    looking = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal looking
        through = event == "object.__getattr__" and arguments[1] in FRAMES
        if looking or not (through or event in PEEKING):
            return
        looking = True  # looking at frames is such an event, too
        frame = getframe(1)
        # `inspect.stack()` and the like ask on behalf of their caller. A traceback is printed in
        # all honesty, by several functions on top of each other, but walked by one.
        for _ in range(1 if through else 99):
            if frame is not None and frame.f_globals.get("__name__") in _PEEKING_MODULES:
                frame = frame.f_back
        if frame is not None and _is_cell(frame.f_code.co_filename):
            _seen.append(PEEKING["sys._getframe" if through else event])
        looking = False

    sys.addaudithook(hook)
    return _seen


def _is_cell(filename: str) -> bool:
    """Whether a code object comes from a cell of the notebook, by ipykernel's names for them."""
    return "ipykernel_" in filename or filename.startswith("<ipython-input")
