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
import inspect
import itertools
import linecache
import math
import os
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

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
    call: the expression as the reader would type it. why: the property, one short sentence; it is
    shown after "should:". Raises CheckFailed.
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
    """The condition holds. sentence: the property in words, shown after "should:".

    condition: a truth value, or another plain value. An object of another class answers for itself
    whether it is true: make it plain first. Raises CheckFailed.
    """
    if isinstance(condition, np.ndarray) and condition.size != 1:
        raise TypeError("check.that takes one truth value; say .all() or .any()")
    if hasattr(condition, "detach") or isinstance(condition, np.ndarray):
        condition = _raw(condition).item()
    kinds = (bool, np.bool_, int, float, str, list, tuple, dict, set, type(None))
    if type(condition) not in kinds:
        raise TypeError(f"check.that takes a truth value, not a {type(condition).__name__}")
    if not condition:
        raise CheckFailed(f"should: {sentence}", details)


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
    why = why or "agree with central differences"
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

    names: parts of the names of the functions that are meant, such as "conv"; none for all. No
    thread starts in the block, since torch asks in the block's own thread alone.
    """
    from torch.overrides import TorchFunctionMode  # here: torch is slow to import

    def start(thread: threading.Thread) -> NoReturn:
        raise CheckFailed("this task is to be written without threads of its own")

    before = threading.Thread.start

    class Without(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
            name = getattr(function, "__name__", "functions")
            if not names or any(part in name for part in names):
                raise CheckFailed(f"this task is to be written without torch's {name}")
            return function(*args, **(kwargs or {}))

    threading.Thread.start = start  # type: ignore[method-assign]
    try:
        with Without():
            yield
    finally:
        threading.Thread.start = before  # type: ignore[method-assign]


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


# -- Between a test and what a student wrote -------------------------------------------------
#
# A test asks nothing of a student's object but through these: what they return is plain, so that no
# class of the student's answers in its place, and tests can run apart from what they test.


def plain(value: Any, call: str) -> Any:
    """A result as plain values: copies, of which a test may ask anything.

    Arrays and tensors become NumPy arrays, NumPy's scalars Python's; lists, tuples, dictionaries
    and sets keep their kind, with plain values inside; generators and the like become lists;
    numbers, texts, None stay. call: what gave it.
    Raises CheckFailed for an object of any other class.
    """
    for kind, made in _EXACT.items():
        if isinstance(value, kind):
            return value if type(value) is kind else made(value)
    if value is None or isinstance(value, np.generic):
        return _plain(value)
    if _is_array(value):
        return np.array(_raw(value))
    if isinstance(value, dict):
        return {plain(k, call): plain(v, call) for k, v in dict.items(value)}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return kind(plain(one, call) for one in kind.__iter__(value))
    if isinstance(value, _ITERATORS):
        return [plain(one, call) for one in value]
    _fail(call, "", f"got {_short(value)}, a {type(value).__name__}, not plain values")


_ITERATORS = (
    *(types.GeneratorType, range, map, zip, enumerate, filter, reversed, itertools.chain),
    *map(type, ({}.keys(), {}.values(), {}.items(), *map(iter, ([], (), {}, set(), "", range(1))))),
)
# bool is an int, so it comes first. A subclass's own methods are not asked.
_EXACT: dict[type, Callable[[Any], Any]] = {
    bool: bool,
    int: lambda value: int.__add__(value, 0),
    float: lambda value: float.__add__(value, 0.0),
    complex: lambda value: complex.__add__(value, 0j),
    str: lambda value: str.__add__("", value),
    bytes: lambda value: bytes.__add__(b"", value),
}


def array(value: Any, call: str, *, why: str = "") -> np.ndarray:
    """Numbers, an array or a tensor as a NumPy array, a copy. Raises CheckFailed for others."""
    return np.array(_array(value, call, why))


def answer(
    function: Callable[..., Any], *arguments: Any, call: str, changes: bool = False, **options: Any
) -> Any:
    """What a function of the student's returns, plain (`plain`).

    call: the expression as the reader would type it. changes: whether it may change its arguments;
    else arrays, tensors and containers among them are compared with copies, before anybody looks at
    the answer. Raises CheckFailed, and what the function raises.
    """
    if changes:
        return plain(function(*arguments, **options), call)
    with unchanged(call, **_named(function, arguments, options)):
        given = plain(function(*arguments, **options), call)
    return given


@contextmanager
def unchanged(call: str, **arguments: Any) -> Iterator[None]:
    """In the block, these stay as they were: arrays, tensors, lists, dictionaries.

    arguments: by the names that the reader knows. Objects of other classes are not looked at.
    Raises CheckFailed at the end of the block.
    """
    kept = {name: _copied(value) for name, value in arguments.items()}
    yield
    for name, value in arguments.items():
        if not _alike(_copied(value), kept[name]):
            raise CheckFailed(f"{call}: should: leave its argument {name} as it was")


def _named(
    function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """Arguments by their names, as far as the function has some."""
    called = function.forward if hasattr(type(function), "forward") else function
    try:
        bound = inspect.signature(called).bind(*arguments, **options).arguments
    except (TypeError, ValueError):  # the call itself will tell, or it is written in C
        bound = {f"number {i + 1}": value for i, value in enumerate(arguments)} | options
    return dict(bound)


def _copied(value: Any) -> Any:
    """A plain copy of an argument; None for what is no plain value."""
    try:
        return plain(value, "")
    except CheckFailed:
        if isinstance(value, list | tuple):
            return [_copied(one) for one in value]
        return None


def attribute(owner: Any, name: str, call: str) -> Any:
    """An attribute of a student's object, plain. call: how the reader would name the object."""
    try:
        value = getattr(owner, name)
    except AttributeError:
        raise CheckFailed(f"{call}: should: have the attribute {name}") from None
    return plain(value, f"{call}.{name}")


def fill(owner: Any, *path: str, value: Any, call: str) -> None:
    """Put numbers into an array or tensor of a student's object, in place.

    path: the attribute, then keys, such as "params", "weight". call: how the reader would name the
    array. Raises CheckFailed where there is none of the value's shape.
    """
    name, *keys = path
    target = getattr(owner, name, None)
    for key in keys:
        target = target.get(key) if isinstance(target, dict) else None
    if not _is_array(target):
        _fail(call, "", f"got {_short(target)}, a {type(target).__name__}, not an array")
    numbers = np.asarray(value)
    _same_shape(_raw(target), numbers, call, "")
    if isinstance(target, np.ndarray):
        target[...] = numbers
    else:
        import torch

        with torch.no_grad():
            target.copy_(torch.as_tensor(numbers))


def kind_of(value: Any) -> str:
    """What a value is, in a word: "array", "tensor", or the name of its class.

    Raises nothing. Numbers of NumPy are "float", "int" and so on, like Python's.
    """
    if isinstance(value, np.ndarray):
        return "array"
    if hasattr(value, "detach"):
        return "tensor"
    return type(_plain(value)).__name__


def gradient_of(
    function: Callable[..., Any], *inputs: Any, call: str, upstream: Any = None, **options: Any
) -> list[np.ndarray]:
    """The gradients of what a function of the student's gives, by torch's autograd.

    inputs: arrays or tensors, of which copies that require gradients are handed in; numbers that
    are no floats go as they are. upstream: dL/d(result), of its shape, 1 everywhere if there is
    none. Returns dL/d(input) for each input with a gradient, in order, each of its input's shape;
    zeros where the result does not depend on it. Raises CheckFailed where no gradient passes.
    """
    import torch

    leaves = [torch.as_tensor(value).detach().clone() for value in inputs]
    asked = [leaf.requires_grad_() for leaf in leaves if leaf.is_floating_point()]
    with torch.enable_grad():
        result = function(*leaves, **options)
        if not isinstance(result, torch.Tensor):
            _fail(call, "", f"got {_short(result)}, a {type(result).__name__}, not a tensor")
        if not result.requires_grad:
            _fail(call, "let gradients through to its inputs", "nothing in the result has one")
        weights = torch.ones_like(result) if upstream is None else torch.as_tensor(upstream)
        total = (result * weights.to(result)).sum()
        found = torch.autograd.grad(total, asked, allow_unused=True)
    pairs = zip(asked, found, strict=True)
    return [_raw(torch.zeros_like(x) if g is None else g).copy() for x, g in pairs]


def parameters_of(module: Any, call: str) -> dict[str, np.ndarray]:
    """The parameters and buffers of a module of torch's, by name: copies, in its order.

    Raises CheckFailed for what is no module.
    """
    _is_module(module, call)
    return {name: np.array(_raw(value)) for name, value in module.state_dict().items()}


def layers_of(module: Any, call: str) -> list[str]:
    """The names of the classes of a module's innermost parts, such as "Conv2d", in its order."""
    _is_module(module, call)
    return [type(m).__name__ for m in module.modules() if not any(m.children())]


def same_network(
    ours: Any,
    theirs: Any,
    *inputs: Any,
    call: str,
    why: str = "",
    rtol: float = 1e-3,
    atol: float = 1e-4,
) -> None:
    """A network of the student's computes what a reference does, whatever its layers are called.

    theirs: the reference, a module of torch's. inputs: tensors for both. The layers that own
    weights are matched in the order in which they run, and the reference gets the student's
    weights. Then are compared: the inputs with copies; in training mode the answer, the gradients
    of inputs and weights, and what normalisations have noted; in eval mode the same, also the
    answer for one example alone. Raises CheckFailed.
    """
    import torch

    _is_module(ours, call)
    state = torch.random.get_rng_state()
    ran = [_layers_run(network, inputs) for network in (ours, theirs)]
    shown = [[f"{type(m).__name__}{_shapes(m)}" for m in layers] for layers in ran]
    if shown[0] != shown[1]:
        pairs = enumerate(itertools.zip_longest(*shown, fillvalue="nothing"), 1)
        number, (got, want) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
        text = f"layer {number} with weights that runs is {got}, expected {want}"
        _fail(call, why or "run the same layers in the same order", text)
    for own, reference in zip(*ran, strict=True):
        reference.load_state_dict(own.state_dict())
    for training in (True, False):
        mode = f"{call} in {'training' if training else 'eval'} mode"
        seen = []
        for network, layers in zip((ours, theirs), ran, strict=True):
            torch.random.set_rng_state(state)  # dropout of both drops the same
            seen.append(_looked_at(network.train(training), layers, inputs, mode))
        got, want = seen
        for name, value in want.items():
            close(got[name], value, f"{mode}: {name}", rtol=rtol, atol=atol, why=why)
    if len(inputs) == 1 and len(inputs[0]) > 1:
        with torch.no_grad():
            alone, company = ours(inputs[0][:1]), ours(inputs[0])[:1]
        text = "give an example the same answer alone and in company"
        close(alone, company, f"{call} in eval mode", rtol=rtol, atol=atol, why=text)


def _looked_at(
    network: Any, layers: list[Any], inputs: tuple[Any, ...], call: str
) -> dict[str, np.ndarray]:
    """What a network gives, its gradients and its buffers, by names for a reader."""
    import torch

    kept = [x.detach().clone() for x in inputs]
    leaves = [x.clone() for x in kept]
    asked = [x.requires_grad_() for x in leaves if x.is_floating_point()]
    given = [x.clone() for x in leaves]  # which may be changed, as a leaf may not
    weights = [p for layer in layers for p in layer.parameters(recurse=False)]
    with torch.enable_grad():
        result = network(*given)
        if not isinstance(result, torch.Tensor):
            _fail(call, "", f"got {_short(result)}, a {type(result).__name__}, not a tensor")
        if not all(torch.equal(a, b) for a, b in zip(given, kept, strict=True)):
            raise CheckFailed(f"{call}: should: leave its input as it was")
        found = {"the answer": _raw(result)}
        steps = torch.linspace(-1, 1, result.numel()).reshape(result.shape)
        wanted = [*asked, *weights]
        gradients = (
            torch.autograd.grad((result * steps).sum(), wanted, allow_unused=True)
            if result.requires_grad
            else [None] * len(wanted)
        )
    for i, (value, slope) in enumerate(zip(wanted, gradients, strict=True)):
        what = "its input" if i < len(asked) else f"weight {i - len(asked) + 1}"
        found[f"the gradient of {what}"] = _raw(torch.zeros_like(value) if slope is None else slope)
    buffers = [b for layer in layers for b in layer.buffers(recurse=False)]
    return found | {f"buffer {i + 1} afterwards": _raw(b).copy() for i, b in enumerate(buffers)}


def _layers_run(network: Any, inputs: tuple[Any, ...]) -> list[Any]:
    """The parts of a network that own weights or buffers, in the order in which they first run.

    The network is left as it was. A part that never runs is not in the list.
    """
    import torch

    before = {name: value.clone() for name, value in network.state_dict().items()}
    training, ran = network.training, []
    owners = [m for m in network.modules() if any(True for _ in _own_values(m))]
    hooks = [m.register_forward_pre_hook(lambda module, _: ran.append(module)) for m in owners]
    try:
        with torch.no_grad():
            network.train()(*(x.detach().clone() for x in inputs))
    finally:
        for hook in hooks:
            hook.remove()
        network.load_state_dict(before)
        network.train(training)
    return list(dict.fromkeys(ran))


def _own_values(module: Any) -> Iterator[Any]:
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)


def _shapes(module: Any) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in _own_values(module)]


def _is_module(module: Any, call: str) -> None:
    from torch import nn

    if not isinstance(module, nn.Module):
        _fail(call, "", f"got {_short(module)}, a {type(module).__name__}, not an nn.Module")


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


def _fail(call: str, why: str, details: str) -> NoReturn:
    raise CheckFailed(f"{call}: should: {why}" if why else call, details)


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


def _alike(a: Any, b: Any) -> bool:
    """Whether two plain values are the same; NaN is like itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        nan = a.dtype.kind in "fc"
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=nan)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, dict):
        return _alike(list(a), list(b)) and _alike(list(a.values()), list(b.values()))
    return bool(a == b) or (a != a and b != b)


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
