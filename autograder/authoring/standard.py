"""Standard mutants: mistakes that any function with a numeric result can have.

Unlike a planted or a generated mutant, one of these changes no line of the solution. It wraps a
function that the solution cell defines, in the process that tries it (see `prover`), so that the
same few lines serve all tasks. What a mutant never had anything to change by is no mutant: it is
left out of the count.
"""

from __future__ import annotations

import ast
import functools
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autograder.authoring.text import BEGIN_SOLUTION, END_SOLUTION

# What each kind is, for the table of all tasks.
KINDS = {
    "zeros": "0 in the place of each number",
    "half": "half of each number",
    "sign": "each number with the other sign",
    "shape": "another shape that broadcasts to the right one",
    "integer": "each number cut to a whole one",
    "float32": "numbers of single precision where double is due",
    "by heart": "right on the public checks' arguments alone",
    "first call": "the result of the first call, for ever",
    "class": "attributes kept in the class instead of the object",
    "count": "times the number of calls so far",
    "in place": "the result written into an argument, which is returned",
    "detached": "without the gradient",
    "default": "another value where an argument is left out",
    "option": "the default, whatever is given",
    "generator": "a generator of its own instead of the one that is given",
}
# These a numeric task has to notice, each time (`mutants.prove` holds it).
NEEDED = ("zeros", "half", "sign", "shape", "by heart")
BY_HEART = "by heart"  # it sees the public checks before the test
SEEDS = ("rng", "generator", "random_state")


@dataclass(frozen=True)
class Target:
    """A function that students see: `name`, or `Class.name`. options: parameters with a default.

    seeded: whether it takes a generator. first: of a class, whether it is the first one.
    """

    name: str
    options: tuple[str, ...]
    seeded: bool
    first: bool


def targets(solution: str) -> list[Target]:
    """The public functions and methods of a solution cell whose heads students see."""
    found = []
    marks = (BEGIN_SOLUTION, END_SOLUTION)
    edges = [i for i, line in enumerate(solution.split("\n"), 1) if line.strip() in marks]
    hidden = list(zip(edges[::2], edges[1::2], strict=True))

    def functions(body: list[ast.stmt]) -> list[ast.FunctionDef]:
        return [
            node
            for node in body
            if isinstance(node, ast.FunctionDef)
            and not any(a < node.lineno < b for a, b in hidden)
            and (not node.name.startswith("_") or node.name == "__call__")
        ]

    for node in ast.parse(solution).body:
        found += [_target(one, "", False) for one in functions([node])]
        if isinstance(node, ast.ClassDef):
            methods = functions(node.body)
            found += [_target(one, f"{node.name}.", one is methods[0]) for one in methods]
    return found


def _target(node: ast.FunctionDef, prefix: str, first: bool) -> Target:
    plain = [*node.args.posonlyargs, *node.args.args]
    options = [a.arg for a in plain[len(plain) - len(node.args.defaults) :]]
    pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    options += [a.arg for a, default in pairs if default is not None]
    names = {a.arg for a in [*plain, *node.args.kwonlyargs]}
    return Target(prefix + node.name, tuple(options), bool(names & set(SEEDS)), first)


def mutants(solution: str) -> Iterator[tuple[str, str, str]]:
    """The standard mutants of a solution cell, as (kind, what it spoils, source)."""
    for target in targets(solution):
        for kind in KINDS:
            arguments: tuple[str, ...] = ("",)
            if kind in ("default", "option"):
                arguments = tuple(o for o in target.options if o not in SEEDS)
            if kind == "generator" and not target.seeded:
                continue
            if kind == "class" and not target.first:
                continue
            for argument in arguments:
                call = f"_standard.spoil(globals(), {kind!r}, {target.name!r}, {argument!r})"
                lines = [solution, "from autograder.authoring import standard as _standard", call]
                what = f"{target.name}({argument})" if argument else target.name
                yield kind, what, "\n".join(lines)


# -- In the process that tries them -----------------------------------------------------------


class _State:
    """Of the one mutant of this process: whether it had anything to change, and what it learned.

    learning: whether the public checks run, of which a mutant learns the answers by heart.
    """

    active = False
    learning = False


def spoil(names: dict[str, Any], kind: str, target: str, argument: str) -> None:
    """Put a mutant in the place of a function among these names."""
    holder, _, name = target.rpartition(".")
    if kind == "class":
        _keep_in_class(names[holder])
    elif holder:
        found = inspect.getattr_static(names[holder], name)
        form = type(found) if isinstance(found, staticmethod | classmethod) else None
        function = found.__func__ if form else found
        if not callable(function):  # a property
            return
        spoilt = _spoilt(kind, function, argument, skip=0 if form is staticmethod else 1)
        setattr(names[holder], name, form(spoilt) if form else spoilt)
    else:
        names[name] = _spoilt(kind, names[name], argument, skip=0)


def _spoilt(
    kind: str, function: Callable[..., Any], argument: str, skip: int
) -> Callable[..., Any]:
    """The mutant of a function. skip: how many arguments come first that callers do not give.

    A test may count the lines that run (`check.lines_run`): ours are not traced.
    """
    trace = None

    @functools.wraps(function)
    def original(*args: Any, **kwargs: Any) -> Any:
        sys.settrace(trace)
        try:
            return function(*args, **kwargs)
        finally:
            sys.settrace(None)

    mutant = _MAKERS[kind](original, argument, skip)

    @functools.wraps(function)
    def spoilt(*args: Any, **kwargs: Any) -> Any:
        nonlocal trace
        trace = sys.gettrace()
        sys.settrace(None)
        try:
            return mutant(*args, **kwargs)
        finally:
            sys.settrace(trace)

    return spoilt


def active() -> bool:
    """Whether the mutant of this process changed anything, or had to be noticed anyway."""
    return _State.active


def broke(error: BaseException | None) -> bool:
    """Whether the mutant failed by itself: then no test has noticed it."""
    trace = error.__traceback__ if error else None
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename == __file__


def learn(learning: bool) -> None:
    """Tell the mutant whether the checks that run now are public ones, to be learned."""
    _State.learning = learning


def _changed(value: Any, change: Callable[[Any], Any]) -> Any:
    """A result with each numeric leaf changed; what is no number stays."""
    if isinstance(value, bool | str | bytes) or value is None:
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_changed(v, change) for v in value))
    if type(value) in (tuple, list):
        return type(value)(_changed(v, change) for v in value)
    if type(value) is dict:
        return {key: _changed(v, change) for key, v in value.items()}
    if inspect.isgenerator(value):
        return (_changed(v, change) for v in value)
    if not _is_numeric(value):
        return value
    new = change(value)
    if not _same(new, value):
        _State.active = True
    return new


def _is_numeric(value: Any) -> bool:
    if isinstance(value, int | float | complex):
        return True
    kind = getattr(getattr(value, "dtype", None), "kind", "")  # NumPy's arrays and numbers
    if kind:
        return kind in "iufc"
    return _is_tensor(value) and value.dtype != _torch().bool


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.startswith("torch") and hasattr(value, "detach")


def _torch() -> Any:
    import torch

    return torch


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))


def _numpy(value: Any) -> Any:
    import numpy as np

    if not _is_tensor(value):
        return np.asarray(value)
    value = value.detach().cpu()
    # NumPy has no bfloat16.
    return (value.float() if value.dtype == _torch().bfloat16 else value).numpy()


def _same(one: Any, other: Any) -> bool:
    """Whether two results can't be told apart: type, shape, numbers and gradient."""
    import numpy as np

    if _is_tensor(one) != _is_tensor(other):
        return False
    if _is_tensor(one) and (one.dtype, one.requires_grad) != (other.dtype, other.requires_grad):
        return False
    a, b = _numpy(one), _numpy(other)
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=True)


def _leaves(change: Callable[[Any], Any]) -> Callable[..., Callable[..., Any]]:
    """A mutant that changes the numbers of each result."""

    def make(function: Callable[..., Any], argument: str, skip: int) -> Callable[..., Any]:
        return lambda *args, **kwargs: _changed(function(*args, **kwargs), change)

    return make


def _other_shape(value: Any) -> Any:
    """A leading axis more; where there is one of length 1, without it."""
    import numpy as np

    shape = _shape(value)
    if 1 in shape and len(shape) > 1:
        return value.squeeze()
    return value[None] if shape else (np.asarray([value]) if not _is_tensor(value) else value[None])


def _whole(value: Any) -> Any:
    """Cut to integers; numbers that are whole stay as they are, for another type is no mistake."""
    import numpy as np

    numbers = _numpy(value)
    if numbers.dtype.kind != "f" or np.array_equal(numbers, np.trunc(numbers), equal_nan=True):
        return value
    if _is_tensor(value):
        return value.long()
    whole = np.nan_to_num(numbers).astype(np.int64)
    return whole if whole.shape else int(whole)


def _single(value: Any) -> Any:
    import numpy as np

    if _is_tensor(value):
        return value.float() if value.dtype == _torch().float64 else value
    dtype = getattr(value, "dtype", None)
    return value.astype(np.float32) if dtype == np.float64 else value


def _detached(value: Any) -> Any:
    return value.detach() if _is_tensor(value) and value.requires_grad else value


def _has_numbers(value: Any) -> bool:
    """Whether a value is a number or holds one; bool does not count."""
    if isinstance(value, tuple | list):
        return any(map(_has_numbers, value))
    if isinstance(value, dict):
        return any(map(_has_numbers, value.values()))
    return not isinstance(value, bool) and _is_numeric(value)


def _plain(value: Any) -> Any:
    """An argument by its value, as calls are told apart."""
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return [(k, _plain(v)) for k, v in value.items()]
    if _is_numeric(value):
        array = _numpy(value)
        return array.shape, str(array.dtype), array.tobytes()
    return value if isinstance(value, str | bytes | bool | None) else type(value).__name__


def _by_heart(function: Callable[..., Any], argument: str, skip: int) -> Callable[..., Any]:
    known: set[str] = set()

    def call(*args: Any, **kwargs: Any) -> Any:
        given = [_plain(v) for v in (*args[skip:], *sorted(kwargs.items()))]
        result = function(*args, **kwargs)
        if not _State.learning:
            return result if repr(given) in known else _changed(result, lambda value: value * 0)
        if _has_numbers((args[skip:], kwargs)) and _has_numbers(result):
            _State.active = True  # also where no hidden check asks for more
        known.add(repr(given))
        return result

    return call


def _first_call(function: Callable[..., Any], argument: str, skip: int) -> Callable[..., Any]:
    first: list[Any] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if not first:
            first.append(result)
        elif _differ(first[0], result):
            _State.active = True
        return first[0]

    return call


def _differ(one: Any, other: Any) -> bool:
    """Whether two results differ in a number."""
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) != len(other) or any(map(_differ, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() != other.keys() or any(_differ(one[k], other[k]) for k in one)
    return _is_numeric(one) and _is_numeric(other) and not _same(one, other)


def _count(function: Callable[..., Any], argument: str, skip: int) -> Callable[..., Any]:
    calls = 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return _changed(function(*args, **kwargs), lambda value: value * calls)

    return call


def _in_place(function: Callable[..., Any], argument: str, skip: int) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        for given in [*args[skip:], *kwargs.values()]:
            if _fits(given, result):
                if _is_tensor(given):
                    given.data.copy_(result.detach())
                else:
                    given[...] = result
                _State.active = True
                return result if _is_tensor(result) and result.requires_grad else given
        return result

    return call


def _fits(given: Any, result: Any) -> bool:
    """Whether a result can be written into an argument, and changes it."""
    if not (_is_numeric(given) and _is_numeric(result)) or not _shape(result):
        return False
    if _is_tensor(given) != _is_tensor(result) or _shape(given) != result.shape:
        return False
    writable = _is_tensor(given) or given.flags.writeable
    return writable and given.dtype == result.dtype and not _same(given, result)


def _default(function: Callable[..., Any], argument: str, skip: int) -> Callable[..., Any]:
    signature = inspect.signature(function)
    default = signature.parameters[argument].default
    other = _another(default)
    # A default that no test leaves to itself is a hole, too.
    _State.active = other is not default

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        if argument not in bound.arguments:
            bound.apply_defaults()
            bound.arguments[argument] = other
        return function(*bound.args, **bound.kwargs)

    return call


def _another(value: Any) -> Any:
    """Another value of the same kind; the same one where none is known."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value and math.isfinite(value) else 0.5
    if isinstance(value, tuple) and value and _another(value[-1]) is not value[-1]:
        return (*value[:-1], _another(value[-1]))
    return value


def _option(function: Callable[..., Any], argument: str, skip: int) -> Callable[..., Any]:
    _State.active = True  # an option that no test gives is a hole, too
    signature = inspect.signature(function)
    default = signature.parameters[argument].default

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        if argument in bound.arguments:
            bound.arguments[argument] = default
        return function(*bound.args, **bound.kwargs)

    return call


def _generator(function: Callable[..., Any], argument: str, skip: int) -> Callable[..., Any]:
    signature = inspect.signature(function)

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        for name in SEEDS:
            given = bound.arguments.get(name)
            if given is not None and not isinstance(given, int):
                bound.arguments[name] = _fresh(given)
                _State.active = True
        return function(*bound.args, **bound.kwargs)

    return call


def _fresh(given: Any) -> Any:
    """Another generator of the same kind, with a seed of its own."""
    if type(given).__module__.startswith("torch"):
        return _torch().Generator(device=given.device).manual_seed(12345)
    import numpy as np

    return np.random.default_rng(12345)


def _keep_in_class(place: Any) -> None:
    """Let the objects of a class keep their attributes in the class."""
    if any(base.__module__.startswith("torch") for base in place.__mro__):
        return  # a module keeps its parameters by itself

    def set_(self: Any, name: str, value: Any) -> None:
        setattr(type(self), name, value)
        _State.active = True

    place.__setattr__ = set_


_MAKERS: Mapping[str, Callable[..., Callable[..., Any]]] = {
    "zeros": _leaves(lambda value: value * 0),
    "half": _leaves(lambda value: value // 2 if isinstance(value, int) else value / 2),
    "sign": _leaves(lambda value: -value),
    "shape": _leaves(_other_shape),
    "integer": _leaves(_whole),
    "float32": _leaves(_single),
    "by heart": _by_heart,
    "first call": _first_call,
    "count": _count,
    "in place": _in_place,
    "detached": _leaves(_detached),
    "default": _default,
    "option": _option,
    "generator": _generator,
}
