"""Checks for the tasks of a notebook.

A test cell ends in one of four ways, each with its own short message instead of a traceback:

- not attempted: the task still raises `NotImplementedError`;
- your code raised: the error, the student's own line, and the line of the check that called it;
- wrong: which call, what it gave, which property it breaks;
- correct: `done` says so.

The functions raise `CheckFailed`, a plain `AssertionError`, so they work under pytest too.
"""

from __future__ import annotations

import base64
import builtins
import hashlib
import linecache
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from practical_dl import exam

SCORE_MIME = "application/vnd.practical-dl.score+json"
HANDED_MIME = "application/vnd.practical-dl.handed+json"
_NUMBERS = "biufc"  # NumPy's kinds of dtype
_salt = 0


class CheckFailed(AssertionError):
    """A check that did not hold.

    summary: the call and the property, without values (what feedback may show of a hidden test).
    details: the values.
    """

    def __init__(self, summary: str, details: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.details = details

    def _render_traceback_(self) -> list[str]:
        lines = [f"Wrong: {self.summary}"]
        lines += [f"  {line}" for line in self.details.splitlines()]
        return ["\n".join(lines)]


def close(
    actual: Any,
    expected: Any,
    call: str,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    why: str = "",
) -> None:
    """Numbers, arrays or tensors agree in shape and, within tolerance, in every value.

    The tolerance is NumPy's: |actual - expected| <= atol + rtol * |expected|; NaN is never close.
    call: the expression as the reader would type it. why: the property, one short sentence.
    Raises CheckFailed.
    """
    want = _numbers(expected, call, why)
    got = _numbers(actual, call, why)
    _same_shape(got, want, call, why)
    with np.errstate(invalid="ignore"):  # inf - inf
        error = np.abs(got - want)
    # An infinite value has no tolerance: only itself is close to it.
    bad = np.where(np.isinf(want), got != want, ~(error <= atol + rtol * np.abs(want)))
    if not bad.any():
        return
    if np.isnan(got).any() and not np.isnan(want).any():
        where = tuple(int(i) for i in np.argwhere(np.isnan(got))[0])
        _fail(call, why, f"got NaN{_at(where)}, expected {_number(want[where])}")
    error = np.where(bad, np.nan_to_num(error, nan=np.inf, posinf=np.inf), -1.0)
    where = tuple(int(i) for i in np.unravel_index(int(np.argmax(error)), error.shape))
    text = f"got {_number(got[where])}, expected {_number(want[where])}{_at(where)}"
    if got.size > 1:
        text += f"; {int(bad.sum())} of {got.size} values differ"
    _fail(call, why, text)


def equal(actual: Any, expected: Any, call: str, *, why: str = "") -> None:
    """Both are the same: arrays in shape and every value, other objects by type and value.

    NumPy's scalars count as Python's, and whole numbers as real ones. Raises CheckFailed.
    """
    if _is_array(expected) or _is_array(actual):
        want, got = _array(expected, call, why), _array(actual, call, why)
        _same_shape(got, want, call, why)
        bad = np.asarray(got != want)
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            text = f"got {_number(got[where])}, expected {_number(want[where])}{_at(where)}"
            if got.size > 1:
                text += f"; {int(bad.sum())} of {got.size} values differ"
            _fail(call, why, text)
        return
    actual, expected = _plain(actual), _plain(expected)
    if type(actual) is not type(expected) and not (_is_real(actual) and _is_real(expected)):
        _fail(
            call,
            why,
            f"got {_short(actual)}, a {type(actual).__name__}; "
            f"expected {_short(expected)}, a {type(expected).__name__}",
        )
    if not _same(actual, expected):
        _fail(call, why, f"got {_short(actual)}, expected {_short(expected)}")


def that(condition: Any, sentence: str, *, details: str = "") -> None:
    """The condition holds. sentence: the property in words. Raises CheckFailed."""
    if isinstance(condition, np.ndarray) and condition.size != 1:
        raise TypeError("check.that takes one truth value; say .all() or .any()")
    if not bool(condition):
        raise CheckFailed(sentence, details)


def numerical_gradient(
    function: Callable[[np.ndarray], Any], x: np.ndarray, eps: float = 1e-5
) -> np.ndarray:
    """Gradient of a scalar function by central differences, (f(x + eps) - f(x - eps)) / 2 eps.

    x: any shape, taken as float64 -> the same shape. The error is O(eps ** 2).
    """
    x = np.array(x, dtype=np.float64)
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + eps
        above = float(function(x.copy()))
        x[i] = kept - eps
        below = float(function(x.copy()))
        x[i] = kept
        gradient[i] = (above - below) / (2 * eps)
    return gradient


def gradient(
    function: Callable[[np.ndarray], Any],
    x: np.ndarray,
    analytic: Any,
    call: str,
    *,
    eps: float = 1e-5,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    why: str = "",
) -> None:
    """An analytic gradient agrees with the numerical one.

    function: array like x -> scalar. analytic: the gradient under test, shape of x.
    Raises CheckFailed.
    """
    why = why or "the gradient agrees with central differences"
    close(analytic, numerical_gradient(function, x, eps), call, rtol=rtol, atol=atol, why=why)


def raises(
    exception: type[BaseException], function: Callable[[], Any], call: str, *, why: str = ""
) -> None:
    """Calling function() raises the exception. Raises CheckFailed where it does not."""
    try:
        result = function()
    except NotImplementedError:
        raise
    except exception:
        return
    except Exception as error:
        _fail(call, why, f"raised {_short(error)}; expected {exception.__name__}")
    _fail(call, why, f"returned {_short(result)}; expected {exception.__name__}")


def lines_run(function: Callable[[], Any]) -> int:
    """How many lines of Python run in function(): few where no loop goes over the elements.

    Unlike a time it is the same on every machine. What NumPy does in C is not counted.
    """
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


@contextmanager
def without_torch(*names: str) -> Iterator[None]:
    """What a task is to be written without: in the block, torch's functions raise CheckFailed.

    names: parts of the names of the functions that are meant, such as "conv"; none for all.
    """
    from torch.overrides import TorchFunctionMode  # here: torch is slow to import

    class Without(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
            name = getattr(function, "__name__", "functions")
            if not names or any(part in name for part in names):
                raise CheckFailed(f"this task is to be written without torch's {name}")
            return function(*args, **(kwargs or {}))

    with Without():
        yield


def score(fraction: float, message: str) -> None:
    """Give a part of the task's points.

    fraction: from 0 to 1, clamped; NaN counts as 0. message: what earned it, in one sentence.
    A cell's last score counts.
    """
    value = float(fraction)
    value = 0.0 if math.isnan(value) else min(1.0, max(0.0, value))
    shell = _shell()
    text = f"Score: {value:.0%} of the points. {message}"
    if shell is None:
        print(text)
        return
    shell.display_pub.publish(
        {SCORE_MIME: {"score": value, "message": message}, "text/plain": text}
    )


# -- Exams: tests that run in a kernel of their own, and whose answers are judged elsewhere ---


def private(task: str) -> dict[str, np.ndarray]:
    """The private inputs of an exam: arrays by name. Their answers are not here, nor anywhere near.

    They lie in the folder `PRACTICAL_DL_PRIVATE`, else in `private` beside the notebook.
    Raises FileNotFoundError where they are not: students do not have them.
    """
    path = Path(os.environ.get("PRACTICAL_DL_PRIVATE") or "private", f"{task}.inputs.npz")
    if not path.is_file():
        message = f"the private inputs of {task} are not in {path.parent}"
        raise FileNotFoundError(f"{message}: `autograder private` makes them")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def hand_in(task: str, answers: Any) -> None:
    """Hand in an exam's answers: the grader compares them with the right ones outside.

    answers: numbers of any shape, such as the predicted classes of all inputs: (n,).
    Raises CheckFailed for what is no array of numbers.
    """
    array = _array(answers, f"the answers of {task}", "", "biuf")
    text = f"Handed in: {array.size} answers."
    shell = _shell()
    if shell is None:
        print(text)
        return
    handed = {
        "data": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode(),
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "task": task,
    }
    shell.display_pub.publish({HANDED_MIME: handed, "text/plain": text})


def stands_alone(function: Callable[..., Any], name: str, use: Callable[[Any], Any]) -> None:
    """A function works in an exam as it does here.

    In an exam there are the notebook's imports, functions, classes and constants, and the cell of
    the function itself: no data, no trained model, nothing else that a cell has computed. Where
    IPython knows which cells have run, that is rehearsed.
    name: of the function. use: is called with the function, here and as an exam has it, and returns
    what must be the same: numbers or an array of them.
    Raises CheckFailed, which names what is missing; and what use raises.
    """
    here = use(function)
    try:
        there = exam.rehearse(name, _cells_that_ran(), use)
    except Exception as error:
        what = str(error) if isinstance(error, NameError) else f"{type(error).__name__}: {error}"
        raise CheckFailed(
            f"{name} would fail in the exam: {what}. There are only imports, functions, classes "
            f"and constants computed without a call. Make what else it needs in the cell of {name}"
        ) from None
    if there is None:
        return
    a, b = _raw(here), _raw(there)
    if a.shape != b.shape or not np.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True):
        raise CheckFailed(
            f"{name} would give something else in the exam than here: a variable that it uses was "
            f"changed by a cell that an exam does not run. Make it in the cell of {name}"
        )


def _cells_that_ran() -> list[str]:
    """The sources of the cells that have run in this notebook, but for tests; [] if not known."""
    shell = _shell()
    ran = shell.user_ns.get("In", []) if shell is not None else []
    return [source for source in ran if isinstance(source, str) and "check.done(" not in source]


def rng(task: str) -> np.random.Generator:
    """A random generator for the tests of a task.

    The same for every run in a student's notebook; the grader draws other numbers.
    """
    digest = hashlib.sha256(f"{_salt}:{task}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def reseed(salt: int | str = 0) -> None:
    """Make `rng` draw other numbers from here on: a test must not hang on the ones it drew."""
    global _salt
    _salt = salt


def done(task: str) -> None:
    """The last line of every test cell: all checks of the task have passed."""
    print(f"Correct: {task} passes these checks.")


def _fail(call: str, why: str, details: str) -> None:
    raise CheckFailed(f"{call}: {why}" if why else call, details)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "detach")


def _is_real(value: Any) -> bool:
    kinds = (int, float, np.integer, np.floating)
    return isinstance(value, kinds) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _same(actual: Any, expected: Any) -> bool:
    """Equality in which an `__eq__` of the student's has no say, at any depth.

    It speaks only for an object of its own class where such a one is expected.
    """
    if _is_array(expected):
        array = _is_array(actual) and np.shape(actual) == np.shape(expected)
        return array and bool(np.all(_raw(actual) == _raw(expected)))
    actual, expected = _plain(actual), _plain(expected)
    if type(actual) is not type(expected):
        return _is_real(actual) and _is_real(expected) and float(actual) == float(expected)
    if isinstance(expected, list | tuple):
        return len(actual) == len(expected) and all(map(_same, actual, expected))
    if isinstance(expected, dict):
        return _same(set(actual), set(expected)) and all(
            _same(actual[key], value) for key, value in expected.items()
        )
    if isinstance(expected, set | frozenset):
        return {type(_plain(x)) for x in actual} <= {type(_plain(x)) for x in expected} and (
            actual == expected
        )
    return bool(expected == actual)


def _raw(value: Any) -> np.ndarray:
    """An array or tensor, wherever it lies and whether or not it takes part in autograd."""
    if hasattr(value, "detach"):
        if str(value.dtype) == "torch.bfloat16":  # NumPy has none
            value = value.float()
        value = value.numpy(force=True)
    return np.asarray(value)


def _array(value: Any, call: str, why: str, kinds: str = _NUMBERS + "US") -> np.ndarray:
    if value is None:
        _fail(call, why, "got None: does the function return its result?")
    try:
        array = _raw(value)
        if array.dtype.kind not in kinds:
            raise TypeError
    except (TypeError, ValueError, RuntimeError):  # torch: a list of tensors that need gradients
        what = "numbers" if kinds == _NUMBERS else "numbers or texts"
        _fail(call, why, f"got {_short(value)}, a {type(value).__name__}, not {what}")
    return array


def _numbers(value: Any, call: str, why: str) -> np.ndarray:
    array = _array(value, call, why, _NUMBERS)
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _same_shape(got: np.ndarray, want: np.ndarray, call: str, why: str) -> None:
    if got.shape != want.shape:
        _fail(call, why, f"got shape {got.shape}, expected {want.shape}")


def _at(index: tuple[int, ...]) -> str:
    return f" at [{', '.join(map(str, index))}]" if index else ""


def _number(value: Any) -> str:
    return _short(value.item()) if value.dtype.kind in "biuUS" else f"{value:.6g}"


def _short(value: Any, limit: int = 80) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a student's own __repr__
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limit else text[: limit - 1] + "…"


# -- In a notebook: short messages in place of tracebacks ------------------------------------


def _shell() -> Any:
    # IPython puts get_ipython into builtins; importing it here would slow plain Python down.
    get = getattr(builtins, "get_ipython", None)
    return get() if get else None


def explain(error: BaseException, frames: list[tuple[str, str, int, str]]) -> str | None:
    """The message for an error in a notebook, or None where a plain traceback serves better.

    frames: the notebook's own frames, outermost first: (cell name, cell source, line, function).
    """
    if isinstance(error, CheckFailed) or not frames:
        return None
    test = re.search(r"^check\.done\([\"'](\w+)[\"']\)", frames[0][1], flags=re.M)
    if isinstance(error, NotImplementedError):
        task = str(error) or (test and test[1])
        # torch raises it too, with a sentence: then it is an error like any other.
        if task and task.isidentifier():
            return f"Not attempted: {task} is still to be written."
    if not test:
        return None
    # The test's own functions and comprehensions are no code of the student's.
    theirs = [frame for frame in frames if frame[1] != frames[0][1]]
    cell, source, number, function = (theirs or frames)[-1]
    line = (source.splitlines()[number - 1 : number] or [""])[0].strip()
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if not theirs:
        return (
            f"Wrong: {test[1]}: this line of the check could not use what your code gave it:\n"
            f"  {line}\n  {what}"
        )
    where = f"{cell}, line {number}, in {function}"
    said = f"Your code raised: {test[1]}: {what}\n  {where}:\n    {line}"
    _, source, number, _ = frames[frames.index(theirs[0]) - 1]
    above = "\n".join(source.splitlines()[:number])
    if above.count("BEGIN HIDDEN TESTS") > above.count("END HIDDEN TESTS"):
        return said
    return f"{said}\n  called by this line of the check:\n    {above.splitlines()[-1].strip()}"


def _install(shell: Any) -> None:
    """Show our messages for errors of task cells in this IPython shell."""

    def handler(
        self: Any, etype: type, error: BaseException, tb: Any, tb_offset: Any = None
    ) -> None:
        frames = []
        while tb is not None:
            code = tb.tb_frame.f_code
            if tb.tb_frame.f_globals is self.user_module.__dict__:
                kind, label = self.compile.format_code_name(code.co_filename) or ("", "the cell")
                source = "".join(linecache.getlines(code.co_filename))
                frames.append((f"{kind} {label}".strip(), source, tb.tb_lineno, code.co_name))
            tb = tb.tb_next
        message = explain(error, frames)
        if message is None:
            self.showtraceback((etype, error, error.__traceback__), tb_offset=tb_offset or 1)
        else:
            self._showtraceback(etype, message.splitlines()[0], [message])

    shell.set_custom_exc((Exception,), handler)


if _shell() is not None:
    _install(_shell())
