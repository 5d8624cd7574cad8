"""Standard mutants: each kind changes what it says, nothing else, and is idle where it can't."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from autograder.authoring import standard
from autograder.authoring.standard import KINDS, NEEDED, Target, targets
from practical_dl import check


class Pair(typing.NamedTuple):
    """A result of two parts."""

    one: Any
    other: Any


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mutant has a process of its own; here a test has the state of one."""
    monkeypatch.setattr(standard._State, "active", False)
    monkeypatch.setattr(standard._State, "learning", False)


def mutant(kind: str, source: str, what: str = "") -> dict[str, Any]:
    """The names of a solution cell with its mutant of this kind; what: which of several."""
    found = [new for k, w, new in standard.mutants(source) if k == kind and what in ("", w)]
    assert found, f"there is no mutant {kind!r} {what!r}"
    names: dict[str, Any] = {"np": np, "torch": torch, "Pair": Pair, "Iterator": Iterator}
    run(found[0], names)
    return names


def run(source: str, names: dict[str, Any]) -> None:
    """As a notebook runs a cell: without the flags of this file."""
    exec(compile(source, "cell", "exec", dont_inherit=True), names)


def returned(kind: str, value: Any) -> Any:
    """What a function with this result gives once it is spoilt."""
    names = mutant(kind, "def f():\n    return value")
    names["value"] = value
    return names["f"]()


def same(one: Any, other: Any) -> bool:
    """Equal in type, shape, dtype and value, at any depth."""
    if isinstance(other, tuple | list):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in other)
    if hasattr(other, "dtype"):
        return type(one) is type(other) and standard._same(one, other)
    return type(one) is type(other) and one == other


A = np.array([[1.5, -2.0]])
T = torch.tensor([1.5, -2.0])
INTS = np.array([3, 4])
# kind, a result, and what becomes of it
CHANGES: list[tuple[str, Any, Any]] = [
    ("zeros", 3.5, 0.0),
    ("zeros", 3, 0),
    ("zeros", A, np.zeros((1, 2))),
    ("zeros", T, torch.zeros(2)),
    ("half", 3.0, 1.5),
    ("half", 5, 2),
    ("half", A, A / 2),
    ("half", T, T / 2),
    ("half", INTS, INTS / 2),
    ("sign", 3.0, -3.0),
    ("sign", A, -A),
    ("sign", T, -T),
    ("sign", 2j, -2j),
    ("shape", 3.0, np.array([3.0])),
    ("shape", INTS, INTS[None]),
    ("shape", A, A[0]),
    ("shape", T, T[None]),
    ("shape", torch.tensor(2.0), torch.tensor([2.0])),
    ("integer", 3.7, 3),
    ("integer", -3.7, -3),
    ("integer", A, np.array([[1, -2]])),
    ("integer", T, torch.tensor([1, -2])),
    ("integer", np.float64(2.5), 2),
    ("float32", A, A.astype(np.float32)),
    ("float32", T.double(), T),
    # Results of parts: all numbers, and nothing but these.
    ("sign", (1.0, "a", None, True), (-1.0, "a", None, True)),
    ("sign", [A, [T]], [-A, [-T]]),
    ("sign", {"x": 1, "y": {"z": A}}, {"x": -1, "y": {"z": -A}}),
    ("sign", Pair(1.0, A), Pair(-1.0, -A)),
    ("sign", (np.array([True]), torch.tensor([True]), 2), (np.array([True]), torch.tensor([True]), -2)),  # noqa: E501
    ("zeros", torch.tensor([2.0], dtype=torch.bfloat16), torch.zeros(1, dtype=torch.bfloat16)),
]  # fmt: skip
IDLE: list[tuple[str, Any]] = [
    ("zeros", 0.0),
    ("zeros", np.zeros(3)),
    ("zeros", "text"),
    ("zeros", True),
    ("zeros", np.array([True, False])),
    ("zeros", None),
    ("zeros", np.array(["a"])),
    ("zeros", {"a": "b"}),
    ("half", 0),
    ("half", torch.zeros(2)),
    ("sign", np.zeros(2)),
    ("shape", "text"),
    ("integer", 3),
    ("integer", 3.0),
    ("integer", np.array([1.0, -2.0, np.nan])),
    ("integer", torch.tensor([1.0, 2.0])),
    ("integer", INTS),
    ("integer", math.inf),
    ("float32", 3.5),
    ("float32", INTS),
    ("float32", T),
    ("detached", T),
    ("detached", A),
]


@pytest.mark.parametrize(("kind", "value", "expected"), CHANGES)
def test_results_change(kind: str, value: Any, expected: Any) -> None:
    got = returned(kind, value)
    assert same(got, expected), (got, expected)
    assert standard.active()


@pytest.mark.parametrize(("kind", "value"), IDLE)
def test_a_mutant_with_nothing_to_change_is_idle(kind: str, value: Any) -> None:
    got = returned(kind, value)
    assert got is value or type(got) is type(value)
    assert not standard.active()


def test_a_result_as_it_was_is_idle_until_one_is_changed() -> None:
    names = mutant("zeros", "def f(x):\n    return x")
    assert names["f"](0.0) == 0.0 and not standard.active()
    assert names["f"](2.0) == 0.0 and standard.active()


def test_the_gradient_goes_on_through_a_changed_result() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    half = mutant("half", "def f(x):\n    return (x ** 2).sum()")["f"](x)
    half.backward()
    assert torch.equal(x.grad, x.detach())


def test_detached() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    got = mutant("detached", "def f(x):\n    return x ** 2")["f"](x)
    assert not got.requires_grad and torch.equal(got, x.detach() ** 2) and standard.active()


def test_what_a_generator_yields() -> None:
    source = "def f(n) -> Iterator[int]:\n    for i in range(n):\n        yield i, 'a'"
    made = mutant("sign", source)["f"](3)
    assert not standard.active()  # nothing has been asked for
    assert list(made) == [(0, "a"), (-1, "a"), (-2, "a")] and standard.active()


# -- What came before -------------------------------------------------------------------------

SQUARE = "def f(x):\n    return x ** 2"


def test_the_first_call_for_ever() -> None:
    f = mutant("first call", SQUARE)["f"]
    assert f(3.0) == 9.0 and f(3.0) == 9.0 and not standard.active()
    assert f(4.0) == 9.0 and standard.active()


def test_the_first_call_of_parts() -> None:
    f = mutant("first call", "def f(x):\n    return {'a': [x, 'b']}, None")["f"]
    assert f(1) == f(1) and not standard.active()
    assert f(2) == f(1) and standard.active()


def test_the_number_of_calls() -> None:
    f = mutant("count", SQUARE)["f"]
    assert f(3.0) == 9.0 and not standard.active()
    assert (f(3.0), f(3.0)) == (18.0, 27.0) and standard.active()


@pytest.mark.parametrize("module", [np, torch])
def test_in_place(module: Any) -> None:
    f = mutant("in place", "def f(a, b):\n    return a + b")["f"]
    a, b = module.ones(2), module.ones(2)
    got = f(a, b)
    assert got is a and a.tolist() == [2.0, 2.0] and b.tolist() == [1.0, 1.0]
    assert standard.active()


def test_in_place_keeps_the_gradient() -> None:
    f = mutant("in place", "def f(a, w):\n    return a * w")["f"]
    a, w = torch.ones(2), torch.full((2,), 3.0, requires_grad=True)
    got = f(a, w)
    got.sum().backward()
    assert a.tolist() == [3.0, 3.0] and got is not a and w.grad is not None


@pytest.mark.parametrize(
    "arguments",
    [
        (np.zeros(2), np.zeros(2)),  # it is right as it is
        (np.ones(3)[:, None], np.ones(2)),  # no argument has the result's shape
        (np.ones(2, int), 0.5),  # or type
        (2.0, 3.0),
    ],
)
def test_in_place_needs_an_argument_that_takes_the_result(arguments: tuple) -> None:
    f = mutant("in place", "def f(a, b):\n    return a + b")["f"]
    kept = np.copy(arguments[0])
    f(*arguments)
    assert np.array_equal(kept, arguments[0]) and not standard.active()


def test_in_place_leaves_what_can_not_be_written_to() -> None:
    x = np.ones(2)
    x.flags.writeable = False
    assert mutant("in place", "def f(x):\n    return x + 1")["f"](x).tolist() == [2.0, 2.0]
    assert not standard.active()


# -- By heart ---------------------------------------------------------------------------------


def learned(source: str, public: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """A mutant that has seen the public checks."""
    names = mutant("by heart", source)
    standard.learn(True)
    public(names)
    standard.learn(False)
    return names


def test_by_heart_knows_the_public_checks_alone() -> None:
    f = learned(SQUARE, lambda names: (names["f"](3.0), names["f"](x=np.ones(2))))["f"]
    assert standard.active()
    assert f(3.0) == 9.0 and f(x=np.ones(2)).tolist() == [1.0, 1.0]
    assert f(4.0) == 0.0 and f(3) == 0 and f(np.ones(3)).tolist() == [0.0] * 3


def test_by_heart_must_be_noticed_where_no_hidden_check_asks_for_more() -> None:
    learned(SQUARE, lambda names: names["f"](3.0))
    assert standard.active()


@pytest.mark.parametrize(
    ("source", "argument"),
    [("def f(s):\n    return s", "text"), ("def f(x):\n    return str(x)", 2.0)],
)
def test_by_heart_is_idle_without_numbers(source: str, argument: Any) -> None:
    f = learned(source, lambda names: names["f"](argument))["f"]
    assert f(argument) == str(argument) and f("other") == "other" and not standard.active()


# -- Arguments --------------------------------------------------------------------------------

OPTIONS = "def f(x, scale=2.0, *, shift=1, flip=False, axes=(0, 1), name='a', other=None):\n"
OPTIONS += "    return x * scale + shift, flip, axes, name, other"


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("scale", (4.0, False, (0, 1), "a", None)),
        ("shift", (8.0, False, (0, 1), "a", None)),
        ("flip", (7.0, True, (0, 1), "a", None)),
        ("axes", (7.0, False, (0, 2), "a", None)),
    ],
)
def test_another_default(argument: str, expected: tuple) -> None:
    f = mutant("default", OPTIONS, f"f({argument})")["f"]
    assert standard.active()  # it must be noticed, also where no test leaves it out
    assert f(3.0) == expected
    given = {"scale": 2.0, "shift": 1, "flip": False, "axes": (0, 1)}
    assert f(3.0, **given) == (7.0, False, (0, 1), "a", None)


def test_a_default_without_another_value_is_idle() -> None:
    for argument in ("name", "other"):
        f = mutant("default", OPTIONS, f"f({argument})")["f"]
        assert f(3.0) == (7.0, False, (0, 1), "a", None)
    assert not standard.active()


@pytest.mark.parametrize(
    ("default", "other"), [("0.0", 0.5), ("float('inf')", 0.5), ("1e-8", 5e-9), ("0", 1)]
)
def test_the_other_value(default: str, other: float) -> None:
    assert mutant("default", f"def f(x={default}):\n    return x")["f"]() == other


def test_a_default_of_an_argument_without_a_name() -> None:
    f = mutant("default", "def f(a, b=1, c=2, /):\n    return a, b, c", "f(c)")["f"]
    assert f(0) == (0, 1, 3) and f(0, 5) == (0, 5, 3) and f(0, 5, 6) == (0, 5, 6)


def test_an_option_that_does_nothing() -> None:
    f = mutant("option", OPTIONS, "f(scale)")["f"]
    assert standard.active()
    assert f(3.0, 5.0)[0] == f(3.0, scale=5.0)[0] == f(3.0)[0] == 7.0
    assert f(3.0, 5.0, shift=2)[0] == 8.0


DRAW = "def f(n, {name}):\n    return {name}.{draw}"


@pytest.mark.parametrize("name", standard.SEEDS)
def test_a_generator_of_its_own(name: str) -> None:
    f = mutant("generator", DRAW.format(name=name, draw="normal(size=n)"))["f"]
    assert not standard.active()
    given = np.random.default_rng(0)
    assert f(2, given).tolist() == f(2, np.random.default_rng(1)).tolist() and standard.active()
    assert given.normal() == np.random.default_rng(0).normal()  # the given one is left alone


def test_a_generator_of_torch() -> None:
    source = "def f(n, generator=None):\n    return torch.randn(n, generator=generator)"
    f = mutant("generator", source)["f"]
    f(2)
    assert not standard.active()  # none was given
    one, other = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    assert torch.equal(f(2, one), f(2, generator=other)) and standard.active()


def test_a_seed_is_no_generator() -> None:
    source = "def f(random_state):\n    return np.random.default_rng(random_state).normal()"
    f = mutant("generator", source)["f"]
    assert f(0) != f(1) and not standard.active()


# -- Classes ----------------------------------------------------------------------------------

LAYER = '''class Layer:
    """Remembers."""

    base = 1.0

    def __init__(self, w):
        self.w = w

    def forward(self, x):
        return x * self.w + self.base

    def grow(self, by=1.0):
        self.w = self.w + by

    @staticmethod
    def plain(x):
        return x + 1.0

    @classmethod
    def made(cls, x):
        return x + cls.base

    @property
    def twice(self):
        return 2 * self.w
'''


def test_attributes_kept_in_the_class() -> None:
    layer = mutant("class", LAYER)["Layer"]
    assert not standard.active()
    one, other = layer(2.0), layer(3.0)
    assert one.w == other.w == 3.0 and one.forward(1.0) == 4.0 and standard.active()
    one.grow()
    assert other.w == 4.0 and vars(other) == {}


NET = """class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x)
"""


def test_a_module_of_torch() -> None:
    net = mutant("class", NET)["Net"]()
    assert len(list(net.parameters())) == 2 and not standard.active()
    net = mutant("zeros", NET)["Net"]()
    out = net(torch.ones(1, 2))
    assert out.tolist() == [[0.0, 0.0]] and out.requires_grad and standard.active()


@pytest.mark.parametrize(
    ("what", "call", "expected"),
    [
        ("Layer.forward", lambda layer: layer(2.0).forward(3.0), -7.0),
        ("Layer.plain", lambda layer: layer.plain(1.0), -2.0),
        ("Layer.plain", lambda layer: layer(2.0).plain(1.0), -2.0),
        ("Layer.made", lambda layer: layer.made(1.0), -2.0),
        ("Layer.made", lambda layer: layer(2.0).made(1.0), -2.0),
    ],
)
def test_methods(what: str, call: Callable[[Any], float], expected: float) -> None:
    assert call(mutant("sign", LAYER, what)["Layer"]) == expected and standard.active()


def test_a_property_is_left_alone() -> None:
    layer = mutant("sign", LAYER, "Layer.twice")["Layer"](2.0)
    assert layer.twice == 4.0 and not standard.active()


@pytest.mark.parametrize("what", ["Layer.forward", "Layer.plain", "Layer.made"])
def test_methods_by_heart(what: str) -> None:
    """Neither the object nor the class is an argument of the call."""
    name = what.rpartition(".")[2]
    names = mutant("by heart", LAYER, what)
    standard.learn(True)
    right = getattr(names["Layer"](2.0), name)(3.0)
    standard.learn(False)
    assert getattr(names["Layer"](2.0), name)(3.0) == right != 0.0
    assert getattr(names["Layer"](2.0), name)(4.0) == 0.0


def test_the_object_is_no_argument_to_write_into() -> None:
    f = mutant("in place", LAYER, "Layer.forward")["Layer"](2.0).forward
    x = np.ones(2)
    assert f(x) is x and x.tolist() == [3.0, 3.0]


def test_a_class_with_attributes_that_are_options() -> None:
    layer = mutant("default", LAYER, "Layer.grow(by)")["Layer"](2.0)
    layer.grow()
    assert layer.w == 2.5


# -- Which functions, and what stays ----------------------------------------------------------

CELL = '''
def _helper(x):
    return x

def f(x, rng, y=1, *, z=2, **more):
    """Words."""
    ### BEGIN SOLUTION
    def inner():
        pass
    return x
    ### END SOLUTION

### BEGIN SOLUTION
def hidden(x):
    return x

class Hidden:
    def method(self):
        return 1
### END SOLUTION

class Seen:
    size = 2

    def __init__(self):
        pass

    def _private(self):
        return 1

    def __call__(self, x):
        return x

    def last(self, /, generator=None):
        return 1
'''


def test_only_what_students_see() -> None:
    assert targets(CELL) == [
        Target("f", ("y", "z"), True, False),
        Target("Seen.__call__", (), False, True),
        Target("Seen.last", ("generator",), True, False),
    ]


def test_which_kinds_a_function_has() -> None:
    made = [(kind, what) for kind, what, _ in standard.mutants(CELL)]
    assert len(made) == len(set(made))
    of_f = [kind for kind, what in made if what.split("(")[0] == "f"]
    assert [k for k in KINDS if k not in of_f] == ["class"]
    assert [what for kind, what in made if kind == "default"] == ["f(y)", "f(z)"]
    assert [what for kind, what in made if kind == "class"] == ["Seen.__call__"]
    assert {what for kind, what in made if kind == "generator"} == {"f", "Seen.last"}
    plain = [kind for kind, _, _ in standard.mutants("def g(x):\n    return x")]
    assert set(KINDS) - set(plain) == {"default", "option", "generator", "class"}
    assert set(NEEDED) <= set(plain)


def test_each_kind_is_made() -> None:
    assert {*standard._MAKERS, "class"} == set(KINDS)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "class"])
def test_a_spoilt_function_keeps_its_name_and_signature(kind: str) -> None:
    head = "def f(x: float, rng=None, y: int = 1) -> float:\n"
    names = mutant(kind, f'{head}    """Words."""\n    return x')
    f = names["f"]
    assert (f.__name__, f.__doc__) == ("f", "Words.")
    assert str(inspect.signature(f)) == "(x: float, rng=None, y: int = 1) -> float"
    with pytest.raises(TypeError):
        f()


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "class"])
def test_the_lines_of_a_mutant_are_not_counted(kind: str) -> None:
    """What counts lines must not kill a mutant for its own."""
    source = "def f(x, rng=None, y=1):\n    for i in range(50):\n        x = x + i\n    return x"
    names = mutant(kind, source)
    plain: dict[str, Any] = {}
    run(source, plain)
    x = np.ones(3)
    right, got = (check.lines_run(lambda f=n["f"]: f(x.copy(), None, 2)) for n in (plain, names))
    assert right <= got <= right + 12


def test_an_error_is_the_solution_s_own() -> None:
    f = mutant("zeros", "def f(x):\n    raise ValueError(x)")["f"]
    with pytest.raises(ValueError, match="3"):
        f(3)
    assert not standard.active()
