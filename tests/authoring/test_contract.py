"""What a test may ask of a student's code: what is told, and what is not."""

from __future__ import annotations

import textwrap

import pytest
from kit.rules import tiny_course, tiny_text

from autograder.authoring.contract import contract

CALL = 'check.equal(double(2.0), 4.0, "double(2)")'


def told(test: str) -> list[str]:
    """What the rule says of a test of `double` that holds these lines."""
    lines = textwrap.dedent(test).strip()
    problems = contract(tiny_text((CALL, lines)), tiny_course())
    return [problem.message.split("`")[1] for problem in problems]


@pytest.mark.parametrize(
    ("test", "what"),
    [
        ("y = double(2.0)\ncheck.that(y == 4, 'be 4')", "y == 4"),
        ("check.that(double(2.0) > 3, 'be more')", "double(2.0) > 3"),
        ("if double(2.0):\n    pass", "double(2.0)"),
        ("for y in double([1]):\n    pass", "double([1])"),
        ("y = double(2.0)\nz = y\ncheck.close(z[0], 4, 'double(2)')", "z[0]"),
        ("y = double(2.0)\ncheck.close(y.real, 4, 'double(2)')", "y.real"),
        ("y = double(2.0)\ncheck.close(np.abs(y), 4, 'double(2)')", "np.abs(y)"),
        ("check.close(len(double([1])), 1, 'double')", "len(double([1]))"),
        ("ys = [double(v) for v in (1, 2)]\ncheck.close(ys[0] + 1, 3, 'double')", "ys[0] + 1"),
        ("for y in [double(1), double(2)]:\n    check.that(not y, 'be 0')", "not y"),
        ("y = double(2.0)\ncheck.that(isinstance(y, float), 'be a float')", "isinstance(y, float)"),
        ("d = double(1)\nd.register_forward_hook(print)", "d.register_forward_hook(print)"),
        ("text = f'{double(1)}'", "{double(1)}"),
    ],
)
def test_what_asks_something(test: str, what: str) -> None:
    assert what in [line.strip('f"').strip("'") for line in told(test)]


@pytest.mark.parametrize(
    "test",
    [
        CALL,
        "y = double(2.0)\ncheck.close(y, 4, 'double(2)')\ncheck.close([y, y], [4, 4], 'double')",
        "y = check.plain(double(2.0), 'double(2)')\ncheck.that(y == 4, 'be 4')",
        "y = check.answer(double, 2.0, call='double(2)')\ncheck.close(y + 1, 5, 'double(2)')",
        "for v, y in zip([1, 2], [double(1), double(2)]):\n    check.close(y, 2 * v, 'double')",
        "for i, y in enumerate([double(0), double(1)]):\n    check.close(y, 2 * i, f'double({i})')",
        "layer = double(1)\nlayer.eval()\ncheck.close(layer.forward(2), 4, 'forward(2)')",
        "layer = double(1)\ny = check.answer(layer.forward, 2, call='forward(2)')\nassert y == 4",
        "double(double(1))",
        "def twice(f):\n    return f(1)\n\n\ncheck.close(twice(double), 2, 'double')",
    ],
)
def test_what_asks_nothing(test: str) -> None:
    assert told(test) == []
