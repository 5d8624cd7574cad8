"""The text format: what a cell becomes, every rule broken by one small edit, any text at all."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from kit.rules import NOTEBOOK, SOURCE, WEEK, replaced, rules_in, rules_of, tiny_text

from autograder.authoring import text as text_
from autograder.authoring.text import apply_mutant, parse

REPOSITORY = Path(__file__).parents[2]
HEADER = SOURCE[: SOURCE.index("# %%")]
TEST = '# %% test="line" points=1 difficulty=1 minutes=5\n'
SOLUTION = '# %% solution="line"\n'
MUTANT = '# %% mutant="line" why="forgets the intercept"\n'
ALTERNATIVE = '# %% alternative="line" why="one expression"\n'
PRINT = "print(line(np.arange(3.0), 2.0, 1.0))"
ANSWER = '# %% [markdown] answer="essay" points=2\n# Write.\n\n'
RUBRIC = '# %% [markdown] rubric="essay"\n# Two points for two reasons.\n\n'
ONE_MORE = "# %% [markdown]\n# ## One more\n"
SOLVED = f"{SOLUTION}### BEGIN SOLUTION\npass\n### END SOLUTION\n\n"
PLAIN = (
    '# %% nbgrader={"grade": true, "grade_id": "own", "locked": true, "points": 1, '
    '"schema_version": 3, "solution": false, "task": false}\nassert True\n\n'
)

# rule, old, new
CASES = [
    ("character", PRINT, f"{PRINT}\x0c"),
    ("character", "A line, and", "A line,\u2028and"),
    ("character", "A line, and", "A line\0"),
    ("structure", HEADER, "x = 1\n\n"),
    ("structure", HEADER, "# ---\n# jupyter: {\n\n"),
    ("structure", PRINT, 'print("""\n# %% [markdown]\n""")'),
    # Markers of another form than the one that we write.
    ("marker", "# %%\n" + PRINT, "#%%\n" + PRINT),
    ("marker", "# %%\n" + PRINT, " # %%\n" + PRINT),
    ("marker", "# %%\n" + PRINT, "# In[3]:\n" + PRINT),
    ("marker", "# %%\n" + PRINT, "# %% A title\n" + PRINT),
    ("marker", "# %%\n" + PRINT, "# %% [raw]\n" + PRINT),
    ("marker", "# %%\n" + PRINT, '# %% colour="red"\n' + PRINT),
    ("marker", "# %%\n" + PRINT, '# %% lang="ru"\n' + PRINT),
    ("marker", "# %%\n" + PRINT, "# %% tags=3\n" + PRINT),
    ("marker", "# %%\n" + PRINT, '# %% tags=["hide"]\n' + PRINT),
    ("marker", "# %%\n" + PRINT, '# %% tags=["training", "parameters"]\n' + PRINT),
    ("marker", '# %% [markdown] lang="any"', '# %% [markdown] lang="Russian"'),
    ("marker", '# %% [markdown] lang="any"', "# %% [markdown] lang=3"),
    ("marker", MUTANT, '# %% mutant=line why="forgets the intercept"\n'),
    ("marker", MUTANT, '# %% mutant="Line!" why="forgets the intercept"\n'),
    ("marker", MUTANT, '# %% mutant=3 why="forgets the intercept"\n'),
    ("marker", MUTANT, '# %% mutant="line" alternative="line" why="both"\n'),
    ("marker", MUTANT, '# %% [markdown] mutant="line" why="prose"\n'),
    ("marker", MUTANT, MUTANT.replace("why", "points=1 why")),
    ("marker", TEST, TEST.replace("points=1", "points=2 points=1")),
    ("marker", ONE_MORE, '# %% answer="essay" points=2\n# Write.\n\n' + ONE_MORE),
    ("nbgrader", ONE_MORE, PLAIN.replace('"grade_id": "own", ', "") + ONE_MORE),
    ("nbgrader", ONE_MORE, PLAIN.replace('"own"', '""') + ONE_MORE),
    ("nbgrader", ONE_MORE, PLAIN.replace('"points": 1', '"points": "1"') + ONE_MORE),
    ("nbgrader", ONE_MORE, PLAIN.replace("# %%", "# %% [markdown]") + ONE_MORE),
    ("nbgrader", ONE_MORE, PLAIN + "# BEGIN HIDDEN TESTS\n\n" + ONE_MORE),
    ("nbgrader", ONE_MORE, PLAIN + "### BEGIN SOLUTION\n### END SOLUTION\n\n" + ONE_MORE),
    ("nbgrader", ONE_MORE, "# %% nbgrader=3\nx = 1\n\n" + ONE_MORE),
    ("duplicate-id", ONE_MORE, SOLVED + ONE_MORE),
    ("duplicate-id", ONE_MORE, '# %% test="line" points=1\npass\n\n' + ONE_MORE),
    ("duplicate-id", ONE_MORE, ANSWER.replace("essay", "line") + ONE_MORE),
    ("duplicate-id", ONE_MORE, ANSWER + RUBRIC + RUBRIC + ONE_MORE),
    ("duplicate-id", ONE_MORE, PLAIN.replace('"own"', '"line"') + ONE_MORE),
    ("duplicate-id", ONE_MORE, PLAIN.replace('"own"', '"test-line"') + ONE_MORE),
    ("duplicate-id", ONE_MORE, PLAIN + PLAIN + ONE_MORE),
    ("missing-id", MUTANT, MUTANT.replace('"line"', '"lime"')),
    ("missing-id", ALTERNATIVE, ALTERNATIVE.replace('"line"', '"lime"')),
    ("missing-id", ONE_MORE, RUBRIC + ONE_MORE),
    ("missing-id", '# %% test="double"', '# %% test="treble"'),
    ("points", TEST, TEST.replace("points=1", 'points="1"')),
    ("points", TEST, TEST.replace("points=1 ", "")),
    ("points", TEST, TEST.replace("points=1", "points=-1")),
    ("points", TEST, TEST.replace("points=1", "points=true")),
    ("points", TEST, TEST.replace("points=1", "points=NaN")),
    ("points", TEST, TEST.replace("points=1", "points=Infinity")),
    ("points", TEST, TEST.replace("difficulty=1", "difficulty=6")),
    ("points", TEST, TEST.replace("difficulty=1", "difficulty=true")),
    ("points", TEST, TEST.replace("minutes=5", "minutes=0.5")),
    ("points", TEST, TEST.replace("points=1", 'points=1 bonus="no"')),
    ("points", TEST, TEST.replace("points=1", "points=1 exam=1")),
    ("why", MUTANT, '# %% mutant="line"\n'),
    ("why", ALTERNATIVE, '# %% alternative="line" why=" "\n'),
    ("solution", "    ### BEGIN SOLUTION\n    y = a", "    y = a"),
    ("solution", "    ### END SOLUTION\n", ""),
    ("solution", "    ### BEGIN SOLUTION\n    y = a", "    ### END SOLUTION\n    y = a"),
    (
        "solution",
        "    ### BEGIN SOLUTION\n    y = a",
        "    ### BEGIN SOLUTION\n    ### BEGIN SOLUTION\n    y = a",
    ),
    ("hidden-tests", "### END HIDDEN TESTS\n", ""),
    ("hidden-tests", "### BEGIN HIDDEN TESTS\n", ""),
    ("hidden-tests", "### BEGIN HIDDEN TESTS\n", "### BEGIN HIDDEN TESTS\n" * 2),
    # nbgrader takes each of these for the edge of a region.
    ("region", PRINT, f"{PRINT}  # BEGIN SOLUTION"),
    ("region", PRINT, f"### BEGIN SOLUTION\n{PRINT}\n### END SOLUTION"),
    ("region", PRINT, f"### BEGIN HIDDEN TESTS\n{PRINT}\n### END HIDDEN TESTS"),
    ("region", "A line, and", "BEGIN HIDDEN TESTS: a line, and"),
    ("region", "    return 2 * x\n", "    # END SOLUTION, first step\n    return 2 * x\n"),
    ("region", TEST, TEST + "# === BEGIN MARK SCHEME ===\n"),
    ("test", "### END HIDDEN TESTS\n", '### END HIDDEN TESTS\ncheck.done("line")\n'),
    ("magic", PRINT, "%matplotlib inline"),
    ("magic", PRINT, "!ls"),
    ("python", PRINT, "print(line(np.arange(3.0), 2.0, 1.0)"),
    ("python", PRINT, "if True:"),
    ("python", PRINT, "(" * 300 + ")" * 300),
    ("python", "def line(x, a, b):", "def line(x, a, b) ->:"),
    ("mutant", "# + return y\n", "# + return (y\n"),
    ("mutant", "# + return y\n", "# + return y + b\n"),
    ("mutant", "# - return y + b\n# + return y\n", "return y\n"),
    ("mutant", "# - return y + b\n# + return y\n", "# + return y\n"),
    ("mutant", "# - return y + b\n# + return y\n", "\n"),
    ("mutant", "# - return y + b\n# + return y\n", "# - return y - b\n# + return y\n"),
    ("parameters", 'profile = "small"', 'profile = "full"'),
    ("parameters", '# %% tags=["parameters"]\nprofile = "small"\n', ""),
    ("parameters", PRINT, f'{PRINT}\n\n# %% tags=["parameters"]\nprofile = "small"'),
    ("title", "# # Two functions", "# Two functions"),
    ("title", "# %% [markdown]\n# # Two", "# %%\n# # Two"),
]


@pytest.mark.parametrize(("rule", "old", "new"), CASES)
def test_each_rule_is_broken_alone(rule: str, old: str, new: str) -> None:
    _, problems = parse(replaced(SOURCE, (old, new)), WEEK, "tiny")
    assert rules_of(problems) == {rule}, [str(p) for p in problems]
    assert all(p.file == NOTEBOOK and p.message for p in problems)


def test_every_rule_has_a_case() -> None:
    assert rules_in(text_) == {case[0] for case in CASES}


def test_the_tiny_notebook_has_no_problem() -> None:
    text = tiny_text()
    assert list(text.solutions) == list(text.tests) == ["line", "distance", "double"]
    assert [c.options["why"] for c in text.of("alternative", "line")] == ["one expression"]
    kinds = [cell.kind for cell in text.cells[:4]]
    assert kinds == ["prose", "prose", "parameters", "code"]
    assert [cell.language for cell in text.cells[:4]] == ["en", "ru", "", ""]
    assert text.tests["double"].options == {"points": 1, "bonus": True}


@pytest.mark.parametrize("line", [1, 12, 30, 55])
def test_a_problem_stands_at_its_line(line: int) -> None:
    """A broken cell is found in the same line of the file, whatever stands before it."""
    prefix = "\n\n".join(f"# %%\nx = {n}" for n in range(line))
    _, problems = parse(replaced(SOURCE, ("# %%\n" + PRINT, f"{prefix}\n\n# %%\n!ls")), WEEK, "t")
    (problem,) = problems
    lines = replaced(SOURCE, ("# %%\n" + PRINT, f"{prefix}\n\n# %%\n!ls")).split("\n")
    assert lines[int(problem.place.removeprefix("line "))] == "!ls"


def test_all_problems_are_told_at_once() -> None:
    changes = [(old, new) for rule, old, new in CASES if rule in ("why", "points")][:1]
    changes += [(PRINT, "!ls"), ("# # Two", "# Two"), (MUTANT, '# %% mutant="line"\n')]
    _, problems = parse(replaced(SOURCE, *changes), WEEK, "tiny")
    assert rules_of(problems) == {"points", "magic", "title", "why"} and len(problems) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.replace("\n", "\r\n"),
        lambda s: s.replace("\n", "\r"),
        lambda s: "\ufeff" + s,
        lambda s: s.rstrip("\n"),
        lambda s: "\n\n" + s + "\n\n\n",
    ],
)
def test_line_endings_and_a_byte_order_mark_change_nothing(change) -> None:
    assert parse(change(SOURCE), WEEK, "tiny") == parse(SOURCE, WEEK, "tiny")


def test_the_digest_tells_two_texts_apart() -> None:
    assert tiny_text().digest != tiny_text(("A line, and", "A line and")).digest
    assert len(tiny_text().digest) == 10


def test_single_quotes_do_as_well() -> None:
    assert tiny_text((SOLUTION, "# %% solution='line'\n")).cells == tiny_text().cells


def test_tabs_and_trailing_blanks_do_as_well() -> None:
    tabs = SOURCE.replace("\n    ", "\n\t").replace("### BEGIN SOLUTION", "### BEGIN SOLUTION  ")
    text, problems = parse(tabs, WEEK, "tiny")
    assert not problems
    mutated = apply_mutant(text.solutions["line"].source, text.of("mutant", "line")[0].source)
    assert "\treturn y\n" in mutated


def test_a_markdown_cell_may_stand_in_quotes() -> None:
    """The percent format's other way to write prose."""
    text = tiny_text(("# ## A distance\n# {{task:distance}}", '"""\n## A distance\n"""'))
    assert "## A distance" in [cell.source for cell in text.cells]


@pytest.mark.parametrize("comment", ["# !ls", "# %d is a number", "# cat both", "# ls", "#!x"])
def test_a_comment_stays_a_comment(comment: str) -> None:
    """jupytext alone would make commands of these."""
    text = tiny_text((PRINT, f"{comment}\n{PRINT}"))
    assert f"{comment}\n{PRINT}" in [cell.source for cell in text.cells]


def test_an_operator_may_open_a_line() -> None:
    tiny_text((PRINT, 'print(\n    "%s"\n    % line(np.arange(3.0), 2.0, 1.0)\n)'))


def test_plain_nbgrader_cells_are_told_by_type() -> None:
    answer = PLAIN.replace("# %%", "# %% [markdown]").replace(
        '"solution": false', '"solution": true'
    )
    text = tiny_text((ONE_MORE, PLAIN + answer.replace('"own"', '"essay"') + ONE_MORE))
    code, markdown = (cell for cell in text.cells if cell.kind == "nbgrader")
    assert not code.is_markdown and markdown.is_markdown
    assert code.options["nbgrader"]["points"] == 1


# -- Planted mutants --------------------------------------------------------------------------

REFERENCE = """def f(x):
    if x:
        y = x
        return y

    y = 2
    return y"""


@pytest.mark.parametrize(
    ("diff", "changed"),
    [
        ("# - y = 2\n# + y = 3", ("y = 2", "y = 3")),
        ("# - y = 2", ("    y = 2\n", "")),
        ("# - if x:\n# -     y = x\n# + if not x:\n# +     y = x", ("if x", "if not x")),
        ("# - y = 2\n# + if True:\n# +     y = 3", ("    y = 2", "    if True:\n        y = 3")),
        ("# - y = x\n# + y = 2\n# - y = 2\n# + y = x", None),
        ("# - y = 2\n# + y = x\n# - y = x\n# + y = 2", None),
    ],
)
def test_a_mutant_replaces_its_lines(diff: str, changed: tuple[str, str] | None) -> None:
    """Where they stand in the reference: one run's new lines are no place for another run."""
    if changed is None:
        swapped = REFERENCE.replace("= x", "= ?").replace("= 2", "= x").replace("= ?", "= 2")
        assert apply_mutant(REFERENCE, diff) == swapped
    else:
        assert apply_mutant(REFERENCE, diff) == replaced(REFERENCE, changed)


@pytest.mark.parametrize(
    ("diff", "message"),
    [
        ("# - return y\n# + return x", "2 times"),
        ("# - return z\n# + return x", "nowhere"),
        ("# - y = x\n# - return z", "nowhere"),
        ("# - if x:\n# - y = x", "nowhere"),  # not indented as there
        ("# + return x", "must start with"),
        ("#- y = 2", "must start with"),
        ("- y = 2", "must start with"),
        ("", "changes nothing"),
        ("# - y = 2\n# + y = 2", "changes nothing"),
        ("# - y = x\n# + y = 1\n# - if x:\n# -     y = x\n# + pass", "overlap"),
    ],
)
def test_a_mutant_that_does_not_fit_says_why(diff: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply_mutant(REFERENCE, diff)


# -- Any text ---------------------------------------------------------------------------------

PIECES = [
    *SOURCE.split("\n"),
    *("# %%", "# %% [markdown]", "#%%", "    # %%", "# In[3]:", "'''", '"""', "```", "# ```"),
    *("!", "%%", "{{task:line}}", "# ---", "\t", "\\", ""),
    *("\x00", "\x0c", "\u2028", "\r", "\ufeff", "\ud800", "é", "𝔸"),
    *(
        f"# %% {key}={value}"
        for key in ("tags", "lang", "nbgrader", "test", "answer", "points")
        for value in ("3", "null", "true", "[1]", "{}", '{"grade": true}', '"a"', "'a'", "[", "NaN")
    ),
]


@pytest.mark.parametrize("seed", range(4))
def test_any_text_parses_or_gives_problems(seed: int) -> None:
    """Texts made of pieces of the format, and tiny notebooks with pieces put in or taken out."""
    draw = random.Random(seed)
    lines = SOURCE.split("\n")
    for _ in range(250):
        if draw.random() < 0.5:
            mixed = draw.choices(PIECES, k=draw.randrange(30))
        else:
            mixed = list(lines)
            for _ in range(draw.randrange(1, 4)):
                at = draw.randrange(len(mixed))
                mixed[at : at + draw.randrange(3)] = draw.choices(PIECES, k=draw.randrange(3))
        text, problems = parse("\n".join(mixed), WEEK, "tiny")
        assert all(p.file == NOTEBOOK and p.message and p.rule for p in problems)
        assert all(cell.line >= 1 for cell in text.cells)
        for cell in text.cells if not problems else ():
            for mutant in text.of("mutant", cell.task):
                apply_mutant(text.solutions[cell.task].source, mutant.source)


def test_random_characters_parse_or_give_problems() -> None:
    draw = random.Random(0)
    for _ in range(500):
        size = draw.randrange(200)
        parse("".join(chr(draw.choice([draw.randrange(128), draw.randrange(0xFFFF)]))
                      for _ in range(size)), WEEK, "tiny")  # fmt: skip
