"""Lint: every rule broken by one small edit of the tiny course, and what must not break one."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from kit.cli import autograder
from kit.rules import (
    NOTEBOOK,
    SOURCE,
    WEEK,
    WEEK_TOML,
    Edit,
    built,
    copy_tiny,
    edit,
    rules_in,
    rules_of,
    tiny_course,
    tiny_text,
)
from nbformat import NotebookNode

from autograder import notebook as nb_
from autograder.authoring import build, contract, glossary, lint
from autograder.errors import CourseError, Problem

PRINT = "# %%\nprint(line(np.arange(3.0), 2.0, 1.0))\n"
DRAW = "# %%\nimport matplotlib.pyplot as plt\nfrom practical_dl import plots\n\nplt.plot([1, 2])\n"
ANSWER = (
    "# %% [markdown]\n# {{task:essay}}\n\n"
    '# %% [markdown] lang="ru"\n# {{task:essay}}\n\n'
    '# %% [markdown] answer="essay" points=0\n# Write here.\n\n'
)
RUBRIC = '# %% [markdown] rubric="essay" lang="any"\n# Long enough.\n\n'
REASON, REASON_RU = "[one] 0 points: a reason.", "[one] 0 баллов: причина."
CRITERIA = (
    f'# %% [markdown] rubric="essay"\n# - {REASON}\n\n'
    f'# %% [markdown] rubric="essay" lang="ru"\n# - {REASON_RU}\n\n'
)
HIDDEN = (
    "### BEGIN HIDDEN TESTS\n"
    'check.equal(double(-3.0), -6.0, "double(-3)", why="it is twice the number")\n'
    "### END HIDDEN TESTS\n"
)
MUTANT = '# %% mutant="double" why="adds two"\n# - return 2 * x\n# + return 2 + x\n'
CALL = 'check.equal(double(2.0), 4.0, "double(2)")'
OWN = (
    '# %% nbgrader={"grade": true, "grade_id": "own", "locked": true, "points": 1, '
    '"schema_version": 3, "solution": false, "task": false}\nassert True\n\n'
)
GLOSSARY = f"weeks/{WEEK}/glossary.md"
GRADIENT = "\n## Gradient\nWhere it rises most.\n"
EN = "# %% [markdown]\n"
RU = '# %% [markdown] lang="ru"\n'

SEE = "See [gradient](glossary:Gradient)"


def linked(target: str) -> str:
    return f"{SEE} and [this]({target})"


# rule, then the edit of a file. What is built is built again, so the trees agree.
CASES: list[tuple[str, Edit]] = [
    ("hidden-tests", (NOTEBOOK, HIDDEN, "")),
    ("hidden-tests", (NOTEBOOK, HIDDEN, HIDDEN.replace("check.", "# check."))),  # an empty region
    ("mutants", (NOTEBOOK, MUTANT, "")),
    ("contract", (NOTEBOOK, CALL, f"{CALL}\ncheck.that(double(2.0) == 4, 'be 4')")),
    ("sentence", (NOTEBOOK, "it is twice the number", "It is twice the number")),
    ("sentence", (NOTEBOOK, ', why="it is twice the number"', "")),
    ("rubric", (NOTEBOOK, PRINT, ANSWER + PRINT)),
    # A language lacks; a criterion has no points, another code or other points in the twin.
    ("rubric", (NOTEBOOK, PRINT, ANSWER + RUBRIC.replace('lang="any"', "") + PRINT)),
    *(
        ("rubric", (NOTEBOOK, PRINT, ANSWER + criteria + PRINT))
        for criteria in (
            CRITERIA.replace("0 points", "some"),
            CRITERIA.replace("[one]", "[two]", 1),
            CRITERIA.replace("0 баллов", "1 балл"),
            CRITERIA.replace(REASON, f"{REASON}\n# - {REASON}"),
            CRITERIA.replace("0 points", "1 point").replace("0 баллов", "1 балл"),
        )
    ),
    # A twin is missing, comes first, comes twice, comes too late, or speaks another language.
    ("language-twin", (NOTEBOOK, f"{RU}# # Две функции\n# Прямая и расстояние.\n\n", "")),
    ("language-twin", (NOTEBOOK, PRINT, f"{RU}# Ничей.\n\n{PRINT}")),
    ("language-twin", (NOTEBOOK, PRINT, f"{EN}# Hm.\n\n{PRINT}\n{RU}# Гм.\n")),
    ("language-twin", (NOTEBOOK, PRINT, f"{EN}# Hm.\n\n{RU}# Гм.\n\n{RU}# Гм.\n\n{PRINT}")),
    ("language-twin", (NOTEBOOK, RU + "# ## Расст", RU.replace("ru", "de") + "# ## Расст")),
    ("language-twin", (NOTEBOOK, '# %% [markdown] lang="any"\n# $$', "# %% [markdown]\n# $$")),
    ("alt-text", (NOTEBOOK, "# $$y = ax + b$$", "# ![](README.md)")),
    ("alt-text", (NOTEBOOK, "# $$y = ax + b$$", '# <img src="README.md">')),
    ("alt-text", (NOTEBOOK, PRINT, DRAW + "plots\n")),
    ("alt-text", (NOTEBOOK, PRINT, DRAW + "plots.show()\n")),
    ("alt-text", (NOTEBOOK, PRINT, DRAW + 'plots.show("")\n')),
    ("alt-text", (NOTEBOOK, PRINT, DRAW + 'plots.show(" ", figure=plt.gcf())\n')),
    ("task-line", (NOTEBOOK, "# {{task:double}}\n", "#\n")),  # the Russian cell still names it
    ("task-line", (NOTEBOOK, "# {{task:distance}}\n", "# {{task:distance}} {{task:length}}\n")),
    ("task-line", (NOTEBOOK, "# {{task:distance}}\n", "# {{task:distance}} {{ task: line }}\n")),
    ("link", (NOTEBOOK, SEE, linked("glossary:Descent"))),
    ("link", (NOTEBOOK, SEE, linked("nowhere.md"))),
    ("link", (NOTEBOOK, SEE, linked('nowhere.md "a title"'))),
    ("link", (NOTEBOOK, SEE, linked("other.ipynb"))),
    ("link", (NOTEBOOK, SEE, linked("javascript:alert(1)"))),
    ("link", (NOTEBOOK, SEE, linked("https://localhost"))),
    ("link", (NOTEBOOK, SEE, linked("glossary:Slope"))),
    ("link", (f"weeks/{WEEK}/README.md", "# Week 1", "# Week 1\n[Nothing](nowhere.md)")),
    ("link", (f"weeks/{WEEK}/README.md", "Week 1", f"[It](../../release/en/{WEEK}/no.ipynb)")),
    ("points", (WEEK_TOML, "bonus = 1", "bonus = 2")),
    ("points", (NOTEBOOK, '# %% test="double" points=1', '# %% test="double" points=0.5')),
    ("points", (NOTEBOOK, '# %% test="double" points=1 bonus=true', '# %% test="double" points=0')),
    ("points", (NOTEBOOK, PRINT, OWN + PRINT)),
    ("exam", (NOTEBOOK, '# %% test="double" points', '# %% test="double" exam=true points')),
    ("exam", (f"weeks/{WEEK}/private.py", None, "def mark_double():\n    pass\n")),
    # A term twice, without twin, explanation or link, out of order, or told by two weeks.
    ("glossary", (GLOSSARY, GRADIENT, GRADIENT * 2)),
    ("glossary", (GLOSSARY, GRADIENT, GRADIENT + "## Slope\nHow steep.\n")),
    ("glossary", (GLOSSARY, "Where it rises most.", "")),
    ("glossary", (NOTEBOOK, "[gradient](glossary:Gradient)", "gradient")),
    ("glossary", (NOTEBOOK, "[градиент](glossary:Gradient)", "градиент")),
    ("loads", (NOTEBOOK, PRINT, PRINT + 'from practical_dl import data\n\ndata.load("digits")\n')),
    ("loads", (NOTEBOOK, PRINT, PRINT + "from practical_dl.weeks import week77\n\nweek77\n")),
    ("loads", (NOTEBOOK, PRINT, PRINT + "import practical_dl.weeks.week77 as w\n\nw\n")),
    ("loads", (WEEK_TOML, "\n[[", 'data = ["digits"]\n\n[[')),
    ("loads", (WEEK_TOML, "\n[[", 'models = ["lite"]\n\n[[')),
    ("readme", (f"weeks/{WEEK}/README.ru.md", "", None)),
    ("readme", (f"weeks/{WEEK}/README.md", "", None)),
    ("ruff-CODE", (NOTEBOOK, PRINT, PRINT + "import os\n")),
    ("ruff-CODE", (NOTEBOOK, PRINT, PRINT + "print(undefined)\n")),
    ("ruff", ("ruff.toml", "[lint]", "[lint")),
    # The student version scores, or fails by another error than NotImplementedError.
    ("untouched", (NOTEBOOK, CALL, "pass")),
    ("untouched", (NOTEBOOK, CALL, 'check.score(0.1, "x")')),
    ("untouched", (NOTEBOOK, PRINT, "# %%\nvalue = line(1.0, 2.0, 1.0)\n\n# %%\nprint(value)\n")),
    ("untouched", (NOTEBOOK, PRINT, "# %%\nraise ValueError\n")),
]  # fmt: skip
# `leak` and what a built tree breaks have tests of their own.
OTHER = {"leak"}


@pytest.mark.parametrize(("rule", "change"), CASES)
def test_each_rule_is_broken_alone(tmp_path: Path, rule: str, change: Edit) -> None:
    root = edit(copy_tiny(tmp_path / "course"), change)
    built(root)
    course = tiny_course(root)
    problems = lint.lint_week(course, course.weeks[0])
    assert rules_of(problems) == {rule}, [str(p) for p in problems]
    assert all(p.file and p.message for p in problems)


@pytest.mark.parametrize("name", ["helper.py", "data/notes.txt", "README.md"])
@pytest.mark.parametrize("where", ["region", "mutant", "private.py"])
def test_no_released_file_shows_a_secret(tmp_path: Path, name: str, where: str) -> None:
    root = copy_tiny(tmp_path / "course")
    lines = {
        "region": SOURCE.split("### BEGIN SOLUTION\n")[1].split("\n")[0],
        "mutant": max((s.split("\n")[0] for s in SOURCE.split("# + ")[1:]), key=len),
        "private.py": "WITHHELD = [3, 1, 4, 1, 5]",
    }
    edit(root, (f"weeks/{WEEK}/private.py", None, lines["private.py"] + "\n"))
    if name != "README.md":
        edit(root, (WEEK_TOML, "\n[[", f'release = ["{name}"]\n\n[['))
        edit(root, (f"weeks/{WEEK}/{name}", None, ""))
    with (root / "weeks" / WEEK / name).open("a", encoding="utf-8") as end:
        end.write(f"\n  {lines[where].strip()}\n")
    course = tiny_course(root)
    found = lint.leaks_beside(build.build_weeks(course, course.weeks))
    told = {(p.rule, p.file) for p in found}
    assert told == {("leak", f"release/{lang}/{WEEK}/{name}") for lang in ("en", "ru")}


def test_every_rule_has_a_case() -> None:
    assert (
        rules_in(lint) | rules_in(glossary) | rules_in(contract)
        == {case[0] for case in CASES} | OTHER
    )


FINE = [
    (f"weeks/{WEEK}/README.md", "# Week 1", "# Week 1\n[It](tiny.ipynb), [too](README.ru.md#x)"),
    (f"weeks/{WEEK}/README.md", "# Week 1", f"[It](../../release/ru/{WEEK}/tiny.ipynb)"),
    (f"weeks/{WEEK}/README.md", "# Week 1", f"[Words](../../weeks/{WEEK}/glossary.md#gradient)"),
    (NOTEBOOK, "# $$y = ax + b$$", "# ![A line.](README.md)"),
    (NOTEBOOK, "# $$y = ax + b$$", '# <img src="README.md" alt="A line.">'),
    (NOTEBOOK, PRINT, DRAW + 'plots.show("A line that rises.")\n'),
    (NOTEBOOK, PRINT, DRAW + 'plots.show(\n    "A line"\n    " that rises."\n)\n'),
    (NOTEBOOK, PRINT, DRAW + 'text = "A line."\nplots.show(text)\n'),
    (NOTEBOOK, PRINT, PRINT + "\n\ndef draw(plt):\n    plt.plot([1, 2])\n"),  # draws nothing yet
    (NOTEBOOK, SEE, linked("https://arxiv.org/abs/1412.6980")),
    (NOTEBOOK, SEE, linked("https://example.org?q=1")),
    (NOTEBOOK, SEE, linked("README.md#top")),
    (NOTEBOOK, SEE, linked("#a-distance")),
    (NOTEBOOK, SEE, linked("tiny.ipynb")),
    (NOTEBOOK, "# ## A distance", r"# ## A distance $\frac{{a}}{{b}}$ of {{dots}}"),
    (NOTEBOOK, PRINT, ANSWER + RUBRIC + PRINT),
    (NOTEBOOK, PRINT, ANSWER + CRITERIA + PRINT),
]


@pytest.mark.parametrize("change", FINE)
def test_what_is_fine_is_no_problem(tmp_path: Path, change: Edit) -> None:
    root = built(edit(copy_tiny(tmp_path / "course"), change))
    course = tiny_course(root)
    assert not lint.lint_week(course, course.weeks[0], run=False)


def test_the_tiny_course_has_no_problem(tmp_path: Path) -> None:
    course = tiny_course(built(copy_tiny(tmp_path / "course")))
    assert not lint.lint_week(course, course.weeks[0])


def test_all_problems_are_told_at_once_with_file_and_place(tmp_path: Path) -> None:
    root = edit(
        copy_tiny(tmp_path / "course"),
        (NOTEBOOK, SEE, linked("nowhere.md")),
        (NOTEBOOK, "# %%\nprint(line", "# %%\nimport os\nprint(line"),
        (NOTEBOOK, '# %% test="double" points=1', '# %% test="double" points=2'),
        (f"weeks/{WEEK}/README.ru.md", "", None),
        (f"weeks/{WEEK}/other.py", None, "# %% [markdown]\n# # Other\n"),
    )
    course = tiny_course(root)
    problems = lint.lint_week(course, course.weeks[0])
    assert rules_of(problems) == {"link", "ruff-CODE", "points", "readme", "unlisted"}
    lines = (root / NOTEBOOK).read_text(encoding="utf-8").split("\n")
    (ruff,) = (p for p in problems if p.rule.startswith("ruff"))
    assert (ruff.file, ruff.rule) == (NOTEBOOK, "ruff-F401")
    assert lines[int(ruff.place.removeprefix("line ")) - 1] == "import os"
    (link,) = (p for p in problems if p.rule == "link")
    assert lines[int(link.place.removeprefix("line ")) - 1] == "# %% [markdown]"


def test_trees_that_are_not_built_are_a_problem(tmp_path: Path) -> None:
    course = tiny_course(copy_tiny(tmp_path / "course"))
    problems = lint.lint_week(course, course.weeks[0], run=False)
    assert rules_of(problems) == {"built"} and len(problems) == 9


def test_a_week_that_the_schedule_does_not_know_is_a_problem(tmp_path: Path) -> None:
    root = built(copy_tiny(tmp_path / "course"))
    edit(root, ("weeks/week02_new/new.py", None, "x"), ("source/week00_old/old.ipynb", None, "{}"))
    course = tiny_course(root)
    problems = lint.lint_week(course, course.weeks[0], run=False)
    assert {(p.file, p.rule) for p in problems} == {
        ("weeks/week02_new", "unlisted"),
        ("source/week00_old", "built"),
    }


def test_ruff_that_says_nothing_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is not installed Python ends with 1, as ruff does when it finds something."""
    course = tiny_course(copy_tiny(tmp_path / "course"))
    (tmp_path / "ruff.py").write_text("raise SystemExit('no ruff here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    problems = list(lint.ruff(course, course.weeks[0]))
    assert rules_of(problems) == {"ruff"} and "no ruff here" in problems[0].message


def test_a_week_without_files_is_not_ruffs(tmp_path: Path) -> None:
    root = edit(copy_tiny(tmp_path / "course"), (NOTEBOOK, "", None), ("bad.py", None, "import os"))
    course = tiny_course(root)
    assert rules_of(lint.lint_week(course, course.weeks[0])) == {"missing-file"}


# -- Leaks: a release made by hand, since the build makes none --------------------------------

SECRETS = {
    "solution": "    return float(np.sqrt(np.sum((p - q) ** 2)))",
    "mutant": "    return float(np.sum(np.abs(p - q)))",
    "alternative": "    return x * a + b",
    "hidden test": "p, q = rng.normal(size=(2, 6))",
    "rubric": "Two points for two reasons.",
    "answer": "Write here.",
}


@pytest.fixture(scope="module")
def pair() -> tuple[NotebookNode, NotebookNode]:
    text = tiny_text((PRINT, f"{ANSWER}{RUBRIC.replace('Long enough.', SECRETS['rubric'])}{PRINT}"))
    source = build.to_source(text, tiny_course())
    return source, build.to_release(source, "en")


def leaks(source: NotebookNode, release: NotebookNode) -> list[Problem]:
    return list(lint.leaks(nb_.dumps(source), nb_.dumps(release), "release/en/x.ipynb"))


def in_markdown(notebook: NotebookNode, line: str) -> None:
    notebook.cells[0].source += f"\n{line}"


def in_code(notebook: NotebookNode, line: str) -> None:
    code = next(c for c in notebook.cells if c.id == "setup")
    code.source = f"if True:\n    pass\n{line}"


def in_an_output(notebook: NotebookNode, line: str) -> None:
    code = next(c for c in notebook.cells if c.id == "setup")
    output = {"output_type": "stream", "name": "stdout", "text": f"1\n{line}\n"}
    code.outputs = [NotebookNode(output)]


def in_a_cells_metadata(notebook: NotebookNode, line: str) -> None:
    notebook.cells[0].metadata["note"] = {"deep": [f"a\n{line}"]}


def in_the_notebooks_metadata(notebook: NotebookNode, line: str) -> None:
    notebook.metadata["practical_dl"]["mutants"] = [{"source": f"def f():\n{line}"}]


def in_nbgraders_metadata(notebook: NotebookNode, line: str) -> None:
    cell = next(c for c in notebook.cells if nb_.is_graded(c))
    cell.metadata.nbgrader["comment"] = line


PLACES = [
    in_markdown,
    in_code,
    in_an_output,
    in_a_cells_metadata,
    in_the_notebooks_metadata,
    in_nbgraders_metadata,
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("place", PLACES)
def test_a_secret_in_any_place_is_a_leak(
    pair: tuple[NotebookNode, NotebookNode], place, secret: str
) -> None:
    source, release = copy.deepcopy(pair)
    assert not leaks(source, release)
    place(release, SECRETS[secret])
    problems = leaks(source, release)
    assert rules_of(problems) == {"leak"}
    assert any("shows a line of the" in p.message for p in problems)


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n.cells[0].metadata.update({"practical_dl": {"lang": "en"}}),
        lambda n: n.cells[3].update(
            outputs=[NotebookNode(output_type="stream", name="stdout", text="ok")]
        ),
        lambda n: n.cells[0].update(source="### BEGIN SOLUTION"),
        lambda n: n.cells[0].update(source="# === END HIDDEN TESTS ==="),
        lambda n: n.cells[0].update(source="=== BEGIN MARK SCHEME ==="),
    ],
)
def test_what_a_release_must_not_carry(pair: tuple[NotebookNode, NotebookNode], change) -> None:
    source, release = copy.deepcopy(pair)
    change(release)
    assert rules_of(leaks(source, release)) == {"leak"}


def test_a_build_that_forgets_a_step_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step that takes something out is needed, and lint would see that it is gone."""
    from autograder import steps

    root = copy_tiny(tmp_path / "course")
    edit(
        root,
        (NOTEBOOK, PRINT, ANSWER + RUBRIC + PRINT),
    )
    course = tiny_course(root)
    for step in (steps.ClearTaskSolutions, steps.ClearHiddenTests, steps.RemoveGraderOnly):
        with monkeypatch.context() as patch:
            patch.setattr(steps, "TO_GRADER", [s for s in steps.TO_GRADER if s is not step])
            patch.setattr(steps, "TO_STUDENT", [s for s in steps.TO_STUDENT if s is not step])
            built(root)
            problems = lint.lint_week(course, course.weeks[0], run=False)
        assert rules_of(problems) == {"leak"}, step
    built(root)
    assert not lint.lint_week(course, course.weeks[0], run=False)


def test_a_region_with_trailing_blanks_is_still_secret() -> None:
    text = tiny_text(("### BEGIN SOLUTION\n    y", "### BEGIN SOLUTION \t\n    y"))
    source = build.to_source(text, tiny_course())
    release = build.to_release(source, "en")
    in_code(release, "    return y + b  # the answer")
    assert not leaks(source, release)  # another line
    in_code(release, "    y = a * x")
    assert "y = a * x" in nb_.dumps(source) and rules_of(leaks(source, release)) == {"leak"}


# -- The untouched student version ------------------------------------------------------------


def test_untouched_names_the_cell(tmp_path: Path) -> None:
    text = tiny_text((PRINT, "# %%\nmissing.attribute  # noqa: F821\n"))
    (problem,) = lint.untouched(text, tiny_course())
    assert "NameError" in problem.message and "only NotImplementedError" in problem.message
    line = int(problem.place.removeprefix("line "))
    lines = SOURCE.replace(PRINT, "# %%\nmissing.attribute  # noqa: F821\n").split("\n")
    assert lines[line - 1 : line + 1] == ["# %%", "missing.attribute  # noqa: F821"]


def test_what_follows_from_a_broken_cell_is_not_told() -> None:
    broken = "# %%\nvalue = 1 / 0\n\n# %%\nprint(value)\n"
    (problem,) = lint.untouched(tiny_text((PRINT, broken)), tiny_course())
    assert "ZeroDivisionError" in problem.message


def test_problems_are_told_in_the_order_of_the_file() -> None:
    places = ["", "cell 'a'", "line 9", "line 10", "line 100", "line " + "9" * 5000]
    problems = [Problem("a.py", place, "rule", "") for place in places]
    assert CourseError(reversed(problems)).problems == problems


def test_a_plain_nbgrader_test_counts_too() -> None:
    text = tiny_text((PRINT, OWN + PRINT))
    (problem,) = lint.untouched(text, tiny_course())
    assert "scores points" in problem.message
    asserted = OWN.replace("assert True", "assert False")
    assert not lint.untouched(tiny_text((PRINT, asserted + PRINT)), tiny_course())


# -- The command ------------------------------------------------------------------------------


def test_the_command_prints_all_and_ends_with_2(tmp_path: Path) -> None:
    root = built(copy_tiny(tmp_path / "course"))
    done = autograder(root, "lint")
    assert (done.returncode, done.stdout) == (0, "1 week(s) without a problem.\n")
    edit(root, (NOTEBOOK, SEE, linked("nowhere.md")), (WEEK_TOML, "bonus = 1", "bonus = 2"))
    done = autograder(root, "lint", "--no-run")
    assert done.returncode == 2
    said = done.stderr.splitlines()
    assert len(said) == 2 and all(s.startswith(f"error: {NOTEBOOK}: ") for s in said)
    assert "[link]" in done.stderr and "[points]" in done.stderr
