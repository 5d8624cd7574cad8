"""Checks: what passes, what fails with which sentence, and the four outcomes in a notebook."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from practical_dl import check
from practical_dl.check import CheckFailed


class Agreeable:
    """What a student may hand in to be equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(1)


class AgreeableInt(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


def failure(function: Callable[..., None], *arguments: Any, **options: Any) -> str:
    """The message of a check that must fail, as one text."""
    with pytest.raises(CheckFailed) as caught:
        function(*arguments, **options)
    return f"{caught.value.summary}\n{caught.value.details}"


# -- close ------------------------------------------------------------------------------------

GRADED = torch.tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (1.0, 1.0 + 1e-9),
        ([1, 2], np.array([1.0, 2.0])),
        (GRADED, [1, 2]),
        ([1, 2], GRADED),
        (torch.tensor([1.0, 2.0], dtype=torch.bfloat16), [1, 2]),
        (torch.tensor([1 + 2j]).conj(), [1 - 2j]),
        (np.inf, np.inf),
        ([-np.inf, 1], [-np.inf, 1]),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        (np.array(True), 1),
        (1 + 2j, np.complex64(1 + 2j)),
        (np.float16(0.5), 0.5),
    ],
)
def test_close_passes(actual: Any, expected: Any) -> None:
    check.close(actual, expected, "f(x)")


@pytest.mark.parametrize(
    ("actual", "expected", "said"),
    [
        (None, 1.0, "got None: does the function return its result?"),
        (1.0, 1.1, "got 1, expected 1.1"),
        ([1.0, 5.0, 3.0], [1.0, 2.0, 3.5], "got 5, expected 2 at [1]; 2 of 3 values differ"),
        (np.nan, 1.0, "got NaN, expected 1"),
        ([[1.0, np.nan]], [[1.0, 2.0]], "got NaN at [0, 1], expected 2"),
        (np.nan, np.nan, "got nan, expected nan"),
        (1.0, np.nan, "expected nan"),
        (np.inf, 1.0, "got inf, expected 1"),
        (1.0, np.inf, "got 1, expected inf"),
        (-np.inf, np.inf, "got -inf, expected inf"),
        (1e300, np.inf, "expected inf"),
        (np.zeros((2, 3)), np.zeros((3, 2)), "got shape (2, 3), expected (3, 2)"),
        (np.zeros((1, 3)), np.zeros(3), "got shape (1, 3), expected (3,)"),  # no broadcasting
        (0.0, np.zeros(0), "got shape (), expected (0,)"),
        (np.zeros(0), 0.0, "got shape (0,), expected ()"),
        ("1.0", 1.0, "got '1.0', a str, not numbers"),
        ([[1, 2], [3]], [[1, 2], [3, 4]], "a list, not numbers"),
        ({"a": 1}, 1.0, "a dict, not numbers"),
        ([GRADED], [[1.0, 2.0]], "a list, not numbers"),
        (Agreeable(), 1.0, "an Agreeable"),
        (1 + 1j, 1.0, "got 1+1j, expected 1"),
    ],
)
def test_close_fails(actual: Any, expected: Any, said: str) -> None:
    text = failure(check.close, actual, expected, "f(x)", why="it holds")
    assert text.startswith("f(x): should: it holds\n")
    assert said.replace("an Agreeable", "a Agreeable") in text


def test_close_uses_its_tolerance() -> None:
    check.close(1.01, 1.0, "f(x)", rtol=0.02)
    check.close(0.01, 0.0, "f(x)", atol=0.02)
    failure(check.close, 0.01, 0.0, "f(x)", rtol=10.0, atol=0.0)


@pytest.mark.filterwarnings("error")
def test_close_warns_of_nothing() -> None:
    check.close([np.inf, 1.0], [np.inf, 1.0], "f(x)")
    failure(check.close, [np.inf, np.nan], [-np.inf, 0.0], "f(x)")


def test_the_summary_shows_no_value() -> None:
    """Feedback may show it for a hidden test."""
    with pytest.raises(CheckFailed) as caught:
        check.close(3.25, 4.5, "f(x)")
    assert caught.value.summary == "f(x)" and "4.5" in caught.value.details


# -- equal ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (1, 1.0),
        (np.int64(3), 3),
        (np.True_, True),
        (np.str_("cat"), "cat"),
        ("", ""),
        (None, None),
        ([], []),
        ([1, (2.0, "x")], [1.0, (2, "x")]),
        ({"a": [1], 2: {3}}, {2: {3}, "a": [1]}),
        ([np.arange(3)], [np.arange(3)]),
        ([GRADED], [torch.tensor([1.0, 2.0])]),
        (GRADED, np.array([1.0, 2.0])),
        (torch.tensor(3), 3),
        ((2, 3), (np.int64(2), 3)),
        (np.array(["a", "b"]), np.array(["a", "b"])),
        (np.zeros((0, 2)), np.zeros((0, 2))),
        (np.array([2**53 + 1]), np.array([2**53 + 1])),
    ],
)
def test_equal_passes(actual: Any, expected: Any) -> None:
    check.equal(actual, expected, "f(x)")


@pytest.mark.parametrize(
    ("actual", "expected", "said"),
    [
        (Agreeable(), 1, "a Agreeable; expected 1, a int"),
        (1, Agreeable(), "got 1, a int"),
        ([Agreeable()], [1], "expected [1]"),
        ({"a": Agreeable()}, {"a": 1}, "expected {'a': 1}"),
        ({Agreeable()}, {1}, "expected {1}"),
        ({Agreeable(): 2}, {1: 2}, "expected {1: 2}"),
        ([AgreeableInt(5)], [1], "expected [1]"),
        (Agreeable(), np.arange(2), "not numbers"),
        ([1, 2], (1, 2), "a list; expected (1, 2), a tuple"),
        (True, 1, "got True, a bool; expected 1, a int"),
        ("1", 1, "a str"),
        (None, 1, "got None, a NoneType"),
        (None, np.zeros(1), "got None: does the function return its result?"),
        ([1, 2], [1, 2, 3], "got [1, 2], expected [1, 2, 3]"),
        ({"a": 1}, {"a": 1, "b": 2}, "expected {'a': 1, 'b': 2}"),
        (float("nan"), float("nan"), "got nan, expected nan"),
        ([1, 2], np.array([1, 3]), "got 2, expected 3 at [1]; 1 of 2 values differ"),
        (np.array([2**53 + 1]), np.array([2**53]), "expected 9007199254740992"),
        (np.array(["a", "b"]), np.array(["a", "c"]), "got 'b', expected 'c' at [1]"),
        (np.array([1, 2]), np.array(["1", "2"]), "got 1, expected '1' at [0]"),
        (np.zeros((2, 1)), np.zeros(2), "got shape (2, 1), expected (2,)"),
        ([np.arange(3)], [np.arange(4)], "expected [array([0, 1, 2, 3])]"),
    ],
)
def test_equal_fails(actual: Any, expected: Any, said: str) -> None:
    assert said in failure(check.equal, actual, expected, "f(x)")


def test_a_long_value_and_a_broken_repr_are_told_in_short() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("mine")

    assert "<Broken>" in failure(check.equal, Broken(), 1, "f(x)")
    assert len(failure(check.equal, "y" * 10**6, "x", "f(x)")) < 300


# -- The border between a test and a student's code ---------------------------------------------


class Liar(np.ndarray):
    def __eq__(self, other: object) -> bool:
        return True

    def sum(self, *arguments: Any, **options: Any) -> float:
        return 4.0


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (np.float32(2), 2.0),
        (AgreeableInt(3), 3),
        ([np.int64(1), (None, "a")], [1, (None, "a")]),
        ({"a": np.arange(2)}, {"a": np.arange(2)}),
        ((v for v in (1, 2)), [1, 2]),
        (iter([np.float32(2)]), [2.0]),
        ({"a": 1}.items(), [("a", 1)]),
        (GRADED, np.array([1, 2], np.float32)),
        (np.arange(3.0).view(Liar), np.arange(3.0)),
    ],
)
def test_plain_values(value: Any, want: Any) -> None:
    got = check.plain(value, "f(x)")
    assert type(got) is type(want)
    check.equal(got, want, "f(x)")
    if isinstance(got, np.ndarray):
        assert not np.shares_memory(got, check.array(value, "f(x)"))


def test_an_object_of_the_students_is_not_plain() -> None:
    assert "an Agreeable" in failure(check.plain, Agreeable(), "f(x)").replace("a A", "an A")
    assert "not plain values" in failure(check.plain, [Agreeable()], "f(x)")
    with pytest.raises(TypeError, match="a truth value"):
        check.that(Agreeable(), "hold")


def test_arguments_come_before_the_answer() -> None:
    def spoil(x: np.ndarray, *, scale: list) -> np.ndarray:
        x *= scale[0]
        return x

    x = np.ones(2)
    text = failure(check.answer, spoil, x, scale=[2], call="spoil(x, scale)")
    assert text.startswith("spoil(x, scale): should: leave its argument x as it was")
    check.answer(spoil, x, scale=[2], call="spoil(x, scale)", changes=True)
    check.answer(spoil, np.array([np.nan]), scale=[1], call="NaN is NaN")
    layer = torch.nn.ReLU(inplace=True)
    text = failure(check.answer, layer, torch.tensor([-1.0]), call="layer(x)")
    assert "its argument input" in text
    given = check.answer(lambda x: x, x, call="f(x)")
    given[0] = 9
    assert x[0] == 4, "what is given is a copy"


def test_what_a_test_reads_and_writes() -> None:
    layer = SimpleNamespace(params={"weight": np.zeros((2, 1))}, mask=[np.int64(1)])
    check.fill(layer, "params", "weight", value=[[1], [2]], call="params['weight']")
    assert check.attribute(layer, "mask", "layer") == [1]
    check.equal(check.attribute(layer, "params", "layer"), {"weight": np.array([[1.0], [2]])}, "p")
    assert "have the attribute bias" in failure(check.attribute, layer, "bias", "layer")
    options = {"value": [1], "call": "params['weight']"}
    assert "got shape (2, 1)" in failure(check.fill, layer, "params", "weight", **options)
    assert "not an array" in failure(check.fill, layer, "params", "bias", **options)
    assert [check.kind_of(v) for v in (np.ones(1), GRADED, np.float32(1), layer)] == [
        *("array", "tensor", "float", "SimpleNamespace"),
    ]


def test_gradients_through_a_students_function() -> None:
    def chosen(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return x[index] ** 2

    x, index = torch.tensor([1.0, 2.0, 3.0]), np.array([0, 2])
    (found,) = check.gradient_of(chosen, x, index, call="chosen(x, i)", upstream=[1.0, 10.0])
    check.close(found, [2, 0, 60], "gradient")
    text = failure(check.gradient_of, lambda v: v.detach(), x, call="f(x)")
    assert "let gradients through" in text
    assert "not a tensor" in failure(check.gradient_of, lambda v: 1, x, call="f(x)")


class Block(torch.nn.Module):
    """A small network, which makes one mistake."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.other_name = torch.nn.Conv2d(1, 2, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(2, momentum=0.2 if mistake == "momentum" else 0.1)
        self.dropout = torch.nn.Dropout(0.5)
        self.mistake = mistake

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mistake == "in place":
            x.mul_(2)
        met = self.other_name(x.detach() if self.mistake == "detached" else x)
        y = torch.relu(self.norm(met))
        if self.mistake == "eval" and not self.training:
            y = 1.1 * y
        if self.mistake == "company" and not self.training:
            y = y - y.mean()
        return y if self.mistake == "dropout" else self.dropout(y)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("detached", "gradient of its input"),
        ("in place", "leave its input as it was"),
        ("eval", "in eval mode: the answer"),
        ("company", "in eval mode"),
        ("dropout", "in training mode: the answer"),
        ("momentum", "buffer 1 afterwards"),
    ],
)
def test_a_network_like_a_reference(mistake: str, said: str) -> None:
    x = torch.randn(4, 1, 5, 6)
    check.same_network(Block(), Block(), x, call="Block()")
    assert said in failure(check.same_network, Block(mistake), Block(), x, call="Block()")
    text = failure(check.same_network, torch.nn.Conv2d(1, 2, 1), Block(), x, call="Block()")
    assert "layer 1 with weights that runs is Conv2d" in text
    assert "not an nn.Module" in failure(check.same_network, 1, Block(), x, call="Block()")
    assert check.layers_of(Block(), "Block()") == ["Conv2d", "BatchNorm2d", "Dropout"]
    assert list(check.parameters_of(Block(), "Block()"))[:1] == ["other_name.weight"]


# -- that, gradient, raises, score, rng -------------------------------------------------------


def test_that() -> None:
    check.that(np.array([True]), "one truth value")
    check.that(torch.tensor(True), "one truth value")
    assert failure(check.that, 0, "the loss falls", details="from 1 to 2") == (
        "should: the loss falls\nfrom 1 to 2"
    )
    failure(check.that, None, "the loss falls")
    with pytest.raises(TypeError, match=r"\.all\(\)"):
        check.that(np.array([True, True]), "two truth values")


def test_gradient() -> None:
    x = np.array([[0.3, -1.2], [2.0, 0.1]])
    check.gradient(lambda x: (x**3).sum(), x, 3 * x**2, "grad(x)")
    check.gradient(lambda x: (x**2).sum(), np.array([1, 2]), [2, 4], "grad(x)")  # whole numbers
    check.gradient(lambda x: 3 * x, np.array(2.0), torch.tensor(3.0), "grad(x)")
    check.gradient(lambda x: 0.0, np.zeros(0), np.zeros(0), "grad(x)")
    said = failure(check.gradient, lambda x: (x**3).sum(), x, 2 * x**2, "grad(x)")
    assert "central differences" in said
    assert "got None" in failure(check.gradient, np.sum, x, None, "grad(x)")
    assert "got shape" in failure(check.gradient, np.sum, x, np.ones(4), "grad(x)")


def test_numerical_gradient_leaves_its_argument_alone() -> None:
    x = np.array([1.0, 2.0])

    def greedy(x: np.ndarray) -> float:
        value = float(x.sum())
        x[:] = 0
        return value

    np.testing.assert_allclose(check.numerical_gradient(greedy, x), [1, 1], rtol=1e-6)
    assert x.tolist() == [1, 2]


def test_raises() -> None:
    check.raises(ValueError, lambda: int("x"), "f('x')")
    check.raises(Exception, lambda: 1 / 0, "f(0)")
    assert "returned 3; expected ValueError" in failure(check.raises, ValueError, lambda: 3, "f(3)")
    said = failure(check.raises, ValueError, lambda: {}["key"], "f()")
    assert "raised KeyError('key'); expected ValueError" in said
    with pytest.raises(NotImplementedError):  # not attempted is no wrong error

        def untouched() -> None:
            raise NotImplementedError("f")

        check.raises(ValueError, untouched, "f()")


@pytest.mark.parametrize(
    ("fraction", "given"),
    [
        (0.5, "50%"),
        (7, "100%"),
        (-1, "0%"),
        (math.nan, "0%"),
        (math.inf, "100%"),
        (-math.inf, "0%"),
        (np.float32(0.25), "25%"),
        (torch.tensor(0.75), "75%"),
    ],
)
def test_score_is_clamped(fraction: Any, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    check.score(fraction, "Two of four.")
    assert capsys.readouterr().out == f"Score: {given} of the points. Two of four.\n"


@pytest.mark.parametrize("fraction", [None, "much", 1j])
def test_score_takes_numbers_only(fraction: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        check.score(fraction, "")


def test_rng_repeats_for_a_task_and_changes_with_the_salt() -> None:
    def draw(task: str) -> float:
        return float(check.rng(task).random())

    try:
        first = draw("a")
        assert draw("a") == first != draw("b")
        check.reseed("other")
        assert draw("a") != first
        check.reseed()
        assert draw("a") == first
    finally:
        check.reseed()


# -- In a notebook ----------------------------------------------------------------------------

SOLUTION = """
def double(x):
    {body}
"""
TEST = """
check.close(double(3.0), 6.0, "double(3.0)", why="it doubles")
check.done("double")
"""


def test_lines_run_tells_a_loop_from_a_vectorised_call() -> None:
    x = np.arange(1000.0)
    assert check.lines_run(lambda: x + 1) < 5
    assert check.lines_run(lambda: [value + 1 for value in x]) >= 1000
    assert check.lines_run(lambda: list(map(lambda value: value + 1, x))) >= 1000
    trace = sys.gettrace()
    with pytest.raises(ZeroDivisionError):
        check.lines_run(lambda: 1 / 0)
    assert sys.gettrace() is trace


def test_without_torch_forbids_what_is_named_or_all() -> None:
    x, weight = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2)
    layer = torch.nn.Conv2d(1, 1, 2)
    with check.without_torch("conv"):
        assert (x.sum(), torch.zeros(2).sum()) == (9, 0)
    for call in (
        lambda: torch.nn.functional.conv2d(x, weight),
        lambda: torch.conv2d(x, weight),
        lambda: layer(x),
    ):
        with (
            pytest.raises(check.CheckFailed, match="written without torch's conv2d"),
            check.without_torch("pool", "conv"),
        ):
            call()
    for call in (
        lambda: torch.tensor([1.0]),
        lambda: x + 1,
        lambda: layer(x),
    ):
        with (
            pytest.raises(check.CheckFailed, match="written without torch's"),
            check.without_torch(),
        ):
            call()
    assert layer(x).shape == (1, 1, 2, 2)


def test_without_torch_lets_no_thread_do_it() -> None:
    thread = threading.Thread(target=lambda: torch.zeros(2))
    with (
        pytest.raises(check.CheckFailed, match="written without threads"),
        check.without_torch("conv"),
    ):
        thread.start()
    with (
        pytest.raises(check.CheckFailed, match="written without torch's zeros"),
        check.without_torch(),
    ):
        torch.zeros(2)
    thread.start()
    thread.join()


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """An IPython shell of its own, as a kernel has it, with our messages."""
    shell = InteractiveShell()
    check._install(shell)
    shell.run_cell("from practical_dl import check")
    yield shell
    shell.history_manager.end_session()


def outcome(shell: InteractiveShell, *cells: str) -> str:
    """What the last cell shows."""
    for cell in cells:
        with capture_output() as shown:
            shell.run_cell(cell, store_history=True)
    return shown.stdout + shown.stderr


def test_not_attempted(shell: InteractiveShell) -> None:
    solution = SOLUTION.format(body="raise NotImplementedError('double')")
    assert outcome(shell, solution, TEST) == "Not attempted: double is still to be written.\n"
    said = "Not attempted: double is still to be written.\n"
    assert outcome(shell, "double(1)") == said  # the reader's own cell, too


def test_raised(shell: InteractiveShell) -> None:
    assert outcome(shell, SOLUTION.format(body="return x / 0"), TEST) == (
        "Your code raised: double: ZeroDivisionError: float division by zero\n"
        "  Cell In[1], line 2, in double:\n"
        "    return x / 0\n"
        "  called by this line of the check:\n"
        '    check.close(double(3.0), 6.0, "double(3.0)", why="it doubles")\n'
    )


@pytest.mark.parametrize("marker", ["###", "#"])  # nbgrader and the build know both
@pytest.mark.parametrize("hidden", [True, False])
def test_which_call_raised_is_said_unless_hidden(
    shell: InteractiveShell, hidden: bool, marker: str
) -> None:
    helper = "def same(x):\n    check.equal(\n        double(x),\n        2 * x,\n        'call')\n"
    begin, end = f"{marker} BEGIN HIDDEN TESTS\n", f"{marker} END HIDDEN TESTS\n"
    test = f"{begin}{helper}same(0)\n{end}" if hidden else f"{begin}1\n{end}{helper}same(0)\n"
    test += "check.done('double')"
    said = outcome(shell, SOLUTION.format(body="return 1 / x"), test)
    assert said.startswith("Your code raised: double: ZeroDivisionError")
    called = "  called by this line of the check:\n    double(x),\n"
    assert said.endswith("    return 1 / x\n" + ("" if hidden else called))


def test_the_tests_own_functions_are_not_the_students(shell: InteractiveShell) -> None:
    inside = "total = sum(len(pair) for pair in double(3.0))\ncheck.done('double')"
    said = outcome(shell, SOLUTION.format(body="return [1]"), inside)
    assert said.startswith("Wrong: double: this line of the check could not use")
    inside = "def oracle(x):\n    return len(x)\n\ndouble(oracle)\ncheck.done('double')"
    said = outcome(shell, SOLUTION.format(body="return x(1)"), inside)
    assert said.startswith("Your code raised: double: TypeError") and "    return x(1)\n" in said


def test_wrong(shell: InteractiveShell) -> None:
    assert outcome(shell, SOLUTION.format(body="return x"), TEST) == (
        "Wrong: double(3.0): should: it doubles\n  got 3, expected 6\n"
    )


def test_correct(shell: InteractiveShell) -> None:
    said = "Correct: double passes these checks.\n"
    assert outcome(shell, SOLUTION.format(body="return 2 * x"), TEST) == said


def test_a_value_that_the_check_can_not_use(shell: InteractiveShell) -> None:
    test = "check.that(double(3.0).sum() == 6, 'it doubles')\ncheck.done('double')"
    said = outcome(shell, SOLUTION.format(body="return None"), test)
    assert said.startswith("Wrong: double: this line of the check could not use what your code")
    assert "check.that(double(3.0).sum() == 6" in said and "AttributeError" in said


def test_torchs_not_implemented_is_an_error_of_the_student(shell: InteractiveShell) -> None:
    solution = "import torch\ndef double(x):\n    return torch.nn.Module()(x)"
    said = outcome(shell, solution, TEST)
    assert said.startswith("Your code raised: double: NotImplementedError: Module")
    assert "return torch.nn.Module()(x)" in said


def test_an_error_elsewhere_keeps_its_traceback(shell: InteractiveShell) -> None:
    said = outcome(shell, "1 / 0")
    assert "Traceback" in said and "ZeroDivisionError" in said


def test_a_syntax_error_is_shown(shell: InteractiveShell) -> None:
    assert "SyntaxError" in outcome(shell, "def f(:")


def test_a_partial_score_is_published_for_the_grader(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[dict[str, Any]] = []
    publisher = SimpleNamespace(publish=published.append)
    monkeypatch.setattr(check, "_shell", lambda: SimpleNamespace(display_pub=publisher))
    check.score(0.5, "Half.")
    (output,) = published
    assert output[check.SCORE_MIME] == {"score": 0.5, "message": "Half."}
    assert output["text/plain"] == "Score: 50% of the points. Half."
