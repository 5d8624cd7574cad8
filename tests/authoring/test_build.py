"""Build: the same text gives the same bytes, whole or not at all, and no answer in a release."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kit.cli import autograder
from kit.rules import (
    NOTEBOOK,
    SOURCE,
    WEEK,
    WEEK_TOML,
    built,
    copy_tiny,
    edit,
    rules_in,
    rules_of,
    tiny_course,
    tiny_text,
    tree_of,
)
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.converters import GenerateAssignment

from autograder import gradebook as gradebook_
from autograder import notebook as nb_
from autograder import steps
from autograder import words as words_
from autograder.authoring import build
from autograder.authoring.text import Text
from autograder.errors import CourseError

TREES = ("source", "release/en", "release/ru")
PRINT = "# %%\nprint(line(np.arange(3.0), 2.0, 1.0))\n"
ANSWER = (
    "# %% [markdown]\n# ## Why?\n# {{task:essay}}\n\n"
    '# %% [markdown] lang="ru"\n# ## Почему?\n# {{task:essay}}\n\n'
    '# %% [markdown] answer="essay" points=4\n# SAMPLE of a good answer.\n\n'
    '# %% [markdown] rubric="essay"\n# RUBRIC: two points for each reason.\n\n'
)


def nbgrader_cell(source: str, **changes: Any) -> str:
    """A cell with nbgrader metadata as JupyterLab's toolbar writes it."""
    meta = {"grade": True, "grade_id": "own", "locked": True, "points": 2, "schema_version": 3}
    meta |= {"solution": False, "task": False, **changes}
    kind = " [markdown]" if source.startswith("# ") else ""
    return f"# %%{kind} nbgrader={json.dumps(meta)}\n{source}\n\n"


def three(text: Text) -> dict[str, NotebookNode]:
    """The notebooks of a text: tree -> notebook."""
    course = tiny_course()
    source = build.to_source(text, course, {"gradient": WEEK})
    releases = {f"release/{k}": build.to_release(source, k) for k in course.languages}
    return {"source": source, **releases}


@pytest.fixture(scope="module")
def notebooks() -> dict[str, NotebookNode]:
    return three(tiny_text((PRINT, PRINT + "\n" + ANSWER)))


def cell(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(c for c in notebook.cells if nb_.grade_id(c) == name or c.id == name)


# -- What a notebook becomes ------------------------------------------------------------------


def test_all_three_are_valid(notebooks: dict[str, NotebookNode]) -> None:
    for notebook in notebooks.values():
        nbformat.validate(notebook)
        assert len({c.id for c in notebook.cells}) == len(notebook.cells)
        assert not any(c.get("outputs") for c in notebook.cells)
        assert nbformat.reads(nb_.dumps(notebook), as_version=4) == notebook


@pytest.mark.parametrize("language", ["en", "ru"])
def test_a_release_speaks_one_language(notebooks: dict[str, NotebookNode], language: str) -> None:
    released = notebooks[f"release/{language}"]
    prose = "\n".join(c.source for c in released.cells if c.cell_type == "markdown")
    words = {"en": ("Two functions", "A distance"), "ru": ("Две функции", "Расстояние")}
    for one, spoken in words.items():
        for word in spoken:
            assert (word in prose) == (one == language)
    assert "$$y = ax + b$$" in prose  # lang="any"
    assert nb_.ours(released)["language"] == language


def test_code_is_the_same_in_both_languages(notebooks: dict[str, NotebookNode]) -> None:
    code = [
        [(c.id, c.source, c.metadata) for c in notebooks[tree].cells if c.cell_type == "code"]
        for tree in TREES[1:]
    ]
    assert code[0] == code[1]


@pytest.mark.parametrize(
    ("language", "words", "badge"),
    [("en", "version", "Open in Colab"), ("ru", "версия", "Открыть в Colab")],
)
def test_header(notebooks: dict[str, NotebookNode], language: str, words: str, badge: str) -> None:
    released = notebooks[f"release/{language}"]
    stamp, setup = released.cells[1:3]
    assert stamp.source.startswith(f"[![{badge}](https://colab.research.google.com/assets/")
    path = f"someone/tiny/blob/main/release/{language}/{WEEK}/tiny.ipynb"
    assert f"](https://colab.research.google.com/github/{path})" in stamp.source
    digest = nb_.ours(released)["version"]
    assert stamp.source.endswith(f"Tiny course 1 · {WEEK}/tiny · {words} `{digest}`")
    assert setup.cell_type == "code"
    first = next(c for c in released.cells if c.cell_type == "code")
    assert first is setup


def test_the_setup_cell_installs_on_colab_alone(
    notebooks: dict[str, NotebookNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = cell(notebooks["source"], "setup").source
    calls: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: calls.append(command))
    exec(source, {})
    assert not calls
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    exec(source, {})
    assert [c[1:4] for c in calls] == [["-m", "pip", "install"]]
    assert calls[0][-1] == "practical-dl @ git+https://github.com/someone/tiny"


def test_a_task_line_in_words(notebooks: dict[str, NotebookNode]) -> None:
    said = {
        k: "\n".join(c.source for c in notebooks[f"release/{k}"].cells if c.cell_type == "markdown")
        for k in ("en", "ru")
    }
    assert "**1 point** · difficulty ●○○○○ · about 5 min" in said["en"]
    assert "**2 points** · difficulty ●●○○○" in said["en"]
    assert "**1 bonus point**" in said["en"] and "**4 points**" in said["en"]
    assert "**1 балл** · сложность ●○○○○ · около 5 мин" in said["ru"]
    assert "**1 бонусный балл**" in said["ru"] and "**4 балла**" in said["ru"]
    assert "blob/main/weeks/week01_tiny/glossary.md#gradient" in said["en"]
    assert "blob/main/weeks/week01_tiny/glossary.ru.md#gradient" in said["ru"]


@pytest.mark.parametrize(
    ("points", "bonus", "english", "russian"),
    [
        (0.5, False, "0.5 points", "0,5 балла"),
        (5, False, "5 points", "5 баллов"),
        (11, False, "11 points", "11 баллов"),
        (21, False, "21 points", "21 балл"),
        (22, True, "22 bonus points", "22 бонусных балла"),
        (0.5, True, "0.5 bonus points", "0,5 бонусного балла"),
        (0, False, "0 points", "0 баллов"),
    ],
)
def test_points_in_words(points: float, bonus: bool, english: str, russian: str) -> None:
    options = {"points": points, "bonus": bonus}
    assert words_.of("en").task_line(options) == f"**{english}**"
    assert words_.of("ru").task_line(options) == f"**{russian}**"


def test_a_solution_becomes_its_stub(notebooks: dict[str, NotebookNode]) -> None:
    released = cell(notebooks["release/en"], "line")
    assert released.source.split("\n")[1:] == [
        '    """The line a x + b. x: (n,) -> (n,)."""',
        '    raise NotImplementedError("line")',
    ]
    meta = released.metadata.nbgrader
    assert (meta.grade, meta.solution, meta.locked) == (False, True, False)


def test_a_test_keeps_its_public_part(notebooks: dict[str, NotebookNode]) -> None:
    source, released = (cell(notebooks[t], "test-line") for t in ("source", "release/en"))
    assert "BEGIN HIDDEN TESTS" in source.source and "HIDDEN" not in released.source
    for one in (source, released):
        assert one.source.endswith('\ncheck.done("line")')
        meta = one.metadata.nbgrader
        assert (meta.grade, meta.solution, meta.locked, meta.points) == (True, False, True, 1)
    assert released.metadata.editable is False


def test_what_only_graders_see_is_in_the_source(notebooks: dict[str, NotebookNode]) -> None:
    line = nb_.ours(cell(notebooks["source"], "line"))
    assert line["mutants"][0]["why"] == "forgets the intercept"
    assert "    return y\n" in line["mutants"][0]["source"]
    assert line["alternatives"][0]["why"] == "one expression"
    assert nb_.ours(cell(notebooks["source"], "test-double")) == {"bonus": True}
    assert nb_.ours(cell(notebooks["source"], "rubric-essay"))["rubric"] == "essay"


def test_an_answer_is_graded_by_hand(notebooks: dict[str, NotebookNode]) -> None:
    for tree in TREES:
        answer = cell(notebooks[tree], "essay")
        meta = answer.metadata.nbgrader
        assert answer.cell_type == "markdown"
        assert (meta.grade, meta.solution, meta.locked, meta.points) == (True, True, False, 4)
        assert ("SAMPLE" in answer.source) == (tree == "source")
        assert any("RUBRIC" in c.source for c in notebooks[tree].cells) == (tree == "source")


def test_plain_nbgrader_cells_pass_through() -> None:
    own = nbgrader_cell("assert True\n### BEGIN HIDDEN TESTS\nassert 1\n### END HIDDEN TESTS")
    own = own.replace("### BEGIN", "# == BEGIN")  # nbgrader knows it in any form
    essay = nbgrader_cell("# Write here.", grade_id="own-essay", solution=True, locked=False)
    found = three(tiny_text((PRINT, own + essay + PRINT)))
    for tree in TREES:
        test, text = cell(found[tree], "own"), cell(found[tree], "own-essay")
        assert (test.cell_type, text.cell_type) == ("code", "markdown")
        assert test.metadata.nbgrader.points == text.metadata.nbgrader.points == 2
    assert cell(found["release/en"], "own").source == "assert True"
    source = cell(found["source"], "own").source
    assert (
        nb_.hidden_regions(source) == ["assert 1"] and nb_.without_hidden(source) == "assert True"
    )


def test_a_task_may_be_called_like_our_own_cells() -> None:
    found = three(tiny_text(*[(f'="{"double"}"', '="setup"')] * 5, ("{{task:double}}", "")))
    for notebook in found.values():
        assert len({c.id for c in notebook.cells}) == len(notebook.cells)


# -- The same bytes, the same ids -------------------------------------------------------------


def test_two_builds_in_two_folders_are_equal(tmp_path: Path) -> None:
    """Also in a folder whose name is hard, and whatever order a set may take."""
    one, two = copy_tiny(tmp_path / "one"), copy_tiny(tmp_path / "Курс ‘глубокий’ № 2")
    for seed, root in enumerate((one, two)):
        edit(root, (f"weeks/{WEEK}/pictures/net.svg", None, "<svg/>"))
        edit(root, (f"weeks/{WEEK}/helper.py", None, "VALUE = 3\n"))
        edit(root, (WEEK_TOML, "\n[[", 'release = ["pictures/*.svg", "helper.py"]\n\n[['))
        line = [sys.executable, "-m", "autograder", "build"]
        env = {**os.environ, "PYTHONHASHSEED": str(seed)}
        done = subprocess.run(line, cwd=root, env=env, capture_output=True, text=True)
        assert "Built 15 files" in done.stdout, done.stderr
    trees = [{t: tree_of(root / t) for t in TREES} for root in (one, two)]
    assert trees[0] == trees[1] and all(trees[0].values())
    before = {p: p.stat().st_ino for p in two.rglob("*.ipynb")}
    assert autograder(two, "build", "week01").returncode == 0
    assert {t: tree_of(two / t) for t in TREES} == trees[0]
    assert before and "what weeks/ builds (15 files)" in autograder(two, "build", "--check").stdout


def test_helper_files_are_copied(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    (root / "weeks" / WEEK / "data").mkdir()
    (root / "weeks" / WEEK / "data" / "точки.bin").write_bytes(b"\0\xff\r\n")
    for name in (".helper.py.swp", "tiny.py~", "__pycache__/x.pyc", ".ipynb_checkpoints/a.ipynb"):
        edit(root, (f"weeks/{WEEK}/{name}", None, "x = 1"))
    edit(root, (WEEK_TOML, "\n[[", 'release = ["data/*"]\n\n[['))
    built(root)
    names = {"tiny.ipynb", "README.md", "README.ru.md", "data/точки.bin"}
    for tree in TREES:
        assert set(tree_of(root / tree / WEEK)) == names
        assert (root / tree / WEEK / "data" / "точки.bin").read_bytes() == b"\0\xff\r\n"


def test_a_readmes_links_lead_to_the_same_files_from_every_tree(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    links = [
        f"../../release/ru/{WEEK}/tiny.ipynb",
        f"../../weeks/{WEEK}/glossary.md",
        "README.ru.md",
    ]
    edit(root, (f"weeks/{WEEK}/README.md", None, " ".join(f"[x]({link})" for link in links)))
    built(root)
    for tree in ("weeks", *TREES):
        folder = root / tree / WEEK
        text = (folder / "README.md").read_text(encoding="utf-8")
        targets = [(folder / t).resolve() for t in re.findall(r"\]\((.*?)\)", text)]
        assert all(target.is_file() for target in targets)
        assert targets[:2] == [(root / "weeks" / WEEK / link).resolve() for link in links[:2]]


def ids(notebook: NotebookNode) -> list[str]:
    return [c.id for c in notebook.cells]


@pytest.mark.parametrize("position", range(4))
def test_ids_stay_when_another_cell_comes(position: int) -> None:
    before = three(tiny_text())
    cells = SOURCE.split("\n# %%")
    at = (5, 9, 13, len(cells) - 1)[position]
    new = [" [markdown]\n# New.\n", ' [markdown] lang="ru"\n# Новое.\n', "\nx = 1\n"]
    changed = "\n# %%".join([*cells[:at], *new, *cells[at:]])
    text, problems = build.parse(changed, WEEK, "tiny")
    assert not problems
    after = three(text)
    for tree in TREES:
        kept = [i for i in ids(after[tree]) if i in ids(before[tree])]
        assert kept == ids(before[tree])
        assert len(ids(after[tree])) == len(kept) + (3 if tree == "source" else 2)


def test_ids_stay_when_a_solution_changes() -> None:
    changed = three(tiny_text(("return 2 * x\n    ###", "return x + x\n    ###"),
                              ("# - return 2 * x", "# - return x + x"),
                              ("# - return 2 * x", "# - return x + x"),
                              ("# - return 2 * x", "# - return x + x")))  # fmt: skip
    assert [ids(changed[t]) for t in TREES] == [ids(three(tiny_text())[t]) for t in TREES]


def test_equal_cells_have_ids_of_their_own() -> None:
    notebook = three(tiny_text((PRINT, PRINT + "\n" + PRINT)))["source"]
    twice = [c.id for c in notebook.cells if c.source in PRINT]
    assert len(twice) == 2 and twice[1] == f"{twice[0]}-2"


# -- --check ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (f"source/{WEEK}/tiny.ipynb", "np.arange(3.0)", "np.arange(4.0)", "is not what"),
        (f"release/ru/{WEEK}/tiny.ipynb", "", None, "is missing"),
        (f"release/en/{WEEK}/README.md", "", None, "is missing"),
        (f"release/en/{WEEK}/old.ipynb", None, "{}", "delete it"),
        (f"release/en/{WEEK}/data/old.bin", None, "", "delete it"),
        (f"weeks/{WEEK}/README.md", "Week 1", "Week 2", "is not what"),
    ],
)
def test_check_finds_each_difference(
    tmp_path: Path, file: str, old: str | None, new: str | None, message: str
) -> None:
    root = built(copy_tiny(tmp_path / "course"))
    course = tiny_course(root)
    folders = build.folders_of(course, course.weeks)
    assert not build.differences(root, folders, build.build_weeks(course, course.weeks))
    edit(root, (file, old, new))
    files = build.build_weeks(course, course.weeks)
    problems = build.differences(root, folders, files)
    assert rules_of(problems) == {"built"} and all(message in p.message for p in problems)
    places = [file.replace("weeks/", f"{t}/") for t in TREES] if "weeks/" in file else [file]
    assert sorted(p.file for p in problems) == sorted(places)


# -- Whole or not at all ----------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("step", range(6))
def test_a_failed_swap_leaves_the_trees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, first: bool
) -> None:
    root = copy_tiny(tmp_path / "course")
    if not first:
        built(root)
    before = tree_of(root)
    edit(root, (NOTEBOOK, "A line, and", "A line and"))
    rename, count = Path.rename, iter(range(100))

    def fail_once(self: Path, target: Path) -> Path:
        if next(count) == step:
            raise OSError(errno.EACCES, "Permission denied", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    if first and step >= 3:
        built(root)  # there is nothing to move away: three moves in all
        return
    with pytest.raises(CourseError, match=r"write.*Permission denied; nothing was changed"):
        built(root)
    edit(root, (NOTEBOOK, "A line and", "A line, and"))
    assert tree_of(root) == before


def test_a_full_disk_leaves_the_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = built(copy_tiny(tmp_path / "course"))
    before = tree_of(root)
    write, count = Path.write_bytes, iter(range(100))

    def full(self: Path, content: bytes) -> int:
        if next(count) == 4:
            write(self, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CourseError, match=r"write.*No space left"):
        built(root)
    assert tree_of(root) == before


def test_problems_of_the_text_change_nothing(tmp_path: Path) -> None:
    root = built(copy_tiny(tmp_path / "course"))
    before = tree_of(root / "source") | tree_of(root / "release")
    edit(root, (NOTEBOOK, '# %% test="double" points=1', '# %% test="double"'))
    with pytest.raises(CourseError):
        built(root)
    assert tree_of(root / "source") | tree_of(root / "release") == before


# -- Rules ------------------------------------------------------------------------------------

UNLISTED = f"weeks/{WEEK}/other.py"
CASES = [
    ("missing-file", NOTEBOOK, NOTEBOOK, "", None),
    ("unlisted", UNLISTED, UNLISTED, None, "# %% [markdown]\n# # Other\n"),
    ("unlisted", UNLISTED, UNLISTED, None, "def f():\n    ### BEGIN SOLUTION\n    pass\n"),
    ("unlisted", f"weeks/{WEEK}/tiny.ipynb", f"weeks/{WEEK}/tiny.ipynb", None, "{}"),
    *(
        ("unlisted", f"weeks/{WEEK}/{name}", f"weeks/{WEEK}/{name}", None, "what somebody left")
        for name in ("answers.py", "notes.txt", "rubric.md", "README.de.md", "data/points.csv")
    ),
    *(
        ("unlisted", f"weeks/{WEEK}/{name}", WEEK_TOML, "\n[[", f'release = ["{name}"]\n\n[[')
        for name in ("tiny.py", "week.toml", "glossary.md")
    ),
    ("missing-file", WEEK_TOML, WEEK_TOML, "\n[[", 'release = ["*.csv"]\n\n[['),
]
# Each has a test of its own.
OTHER = {"utf-8", "duplicate-id", "built", "unknown-notebook", "write"}


@pytest.mark.parametrize(("rule", "place", "file", "old", "new"), CASES)
def test_each_rule_is_broken_alone(
    tmp_path: Path, rule: str, place: str, file: str, old: str | None, new: str | None
) -> None:
    root = edit(copy_tiny(tmp_path / "course"), (file, old, new))
    with pytest.raises(CourseError) as caught:
        built(root)
    assert [(p.rule, p.file) for p in caught.value.problems] == [(rule, place)]
    assert not (root / "source").exists() and not (root / "release").exists()


def test_every_rule_has_a_case() -> None:
    assert rules_in(build) == {case[0] for case in CASES} | OTHER


def test_a_text_that_is_not_utf8(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    (root / NOTEBOOK).write_bytes(SOURCE.encode("cp1251", errors="replace"))
    with pytest.raises(CourseError) as caught:
        built(root)
    assert rules_of(caught.value.problems) == {"utf-8"}


@pytest.mark.parametrize("what", ["solutions", "an answer"])
def test_an_id_is_unique_in_its_week(tmp_path: Path, what: str) -> None:
    entry = '[[notebook]]\nname = "{}"\npoints = 3\nbonus = 1\ntier = "cpu"\n'
    second = SOURCE
    if what == "an answer":
        second = SOURCE[: SOURCE.index("# %% solution")] + ANSWER.replace("essay", "line")
    root = edit(
        copy_tiny(tmp_path / "course"),
        (WEEK_TOML, "points = 3\n", "points = 6\n"),
        (WEEK_TOML, "[[notebook]]", entry.format("second") + "\n[[notebook]]"),
        (f"weeks/{WEEK}/second.py", None, second),
    )
    with pytest.raises(CourseError) as caught:
        built(root)
    assert rules_of(caught.value.problems) == {"duplicate-id"}
    assert {p.file for p in caught.value.problems} == {NOTEBOOK}
    assert "is taken by weeks/week01_tiny/second.py" in str(caught.value)


# -- The gradebook ----------------------------------------------------------------------------


@pytest.fixture
def alembic(monkeypatch: pytest.MonkeyPatch) -> None:
    """nbgrader calls it by name."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)


def test_our_steps_hold_all_of_nbgraders() -> None:
    """Same preprocessors in the same order; ours stand for those that they derive from."""
    theirs = [
        p.__name__
        for p in GenerateAssignment.preprocessors.default_args[0]
        # Files that nbgrader would merge in: this course has none.
        if p.__name__ not in ("IncludeHeaderFooter", "InstantiateTests")
    ]
    own = [next(b.__name__ for b in p.__mro__ if b.__module__.startswith("nbgrader"))
           for p in steps.GENERATE_ASSIGNMENT]  # fmt: skip
    names = [n for n in own if n != "NbGraderPreprocessor"]
    assert set(names) == set(theirs)
    order = ["LockCells", "ClearSolutions", "SaveCells", "ClearHiddenTests", "ClearMarkScheme"]
    assert [n for n in names if n in order] == order


@pytest.mark.usefixtures("alembic")
def test_the_gradebook_knows_every_graded_cell(tmp_path: Path) -> None:
    root = edit(copy_tiny(tmp_path / "course"), (NOTEBOOK, PRINT, ANSWER + PRINT))
    course = tiny_course(root)
    files = build.build_weeks(course, course.weeks)
    url = f"sqlite:///{root / 'gradebook.db'}"
    for _ in range(2):  # idempotent
        gradebook_.record_week(course, course.weeks[0], files, url)
    with Gradebook(url) as gradebook:
        notebook = gradebook.find_notebook("tiny", WEEK)
        points = {c.name: c.max_score for c in notebook.grade_cells}
        types = {c.name: c.cell_type for c in notebook.grade_cells}
        assert points == {"test-line": 1, "test-distance": 2, "test-double": 1, "essay": 4}
        assert types["essay"] == "markdown" and types["test-line"] == "code"
        assert {c.name for c in notebook.solution_cells} == {"line", "distance", "double", "essay"}
        hidden = gradebook.find_source_cell("test-line", "tiny", WEEK)
        assert "HIDDEN TESTS" in hidden.source and hidden.locked
        line = gradebook.find_source_cell("line", "tiny", WEEK)
        assert 'raise NotImplementedError("line")' in line.source


@pytest.mark.usefixtures("alembic")
@pytest.mark.filterwarnings("ignore:Object of type")  # nbgrader's own
def test_changed_cells_with_submissions_are_refused(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    assert autograder(root, "build").returncode == 0
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}") as gradebook:
        gradebook.add_student("ann")
        gradebook.add_submission(WEEK, "ann")
    edit(root, (NOTEBOOK, "A line, and", "A line and"))
    assert autograder(root, "build").returncode == 0  # no graded cell changed
    before = {t: tree_of(root / t) for t in TREES}
    text = (root / NOTEBOOK).read_text(encoding="utf-8").replace('"double"', '"twice"')
    (root / NOTEBOOK).write_text(text.replace("task:double", "task:twice"), encoding="utf-8")
    course = tiny_course(root)
    files = build.build_weeks(course, course.weeks)
    with pytest.raises(CourseError, match=r"\[gradebook\] its graded cells changed"):
        gradebook_.record_week(course, course.weeks[0], files, f"sqlite:///{root / 'gradebook.db'}")
    done = autograder(root, "build")
    assert done.returncode == 2 and "[gradebook]" in done.stderr
    assert {t: tree_of(root / t) for t in TREES} == before


@pytest.mark.usefixtures("alembic")
def test_a_file_that_is_no_gradebook_is_told(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    (root / "gradebook.db").write_text("no database at all, but long enough" * 100)
    course = tiny_course(root)
    files = build.build_weeks(course, course.weeks)
    with pytest.raises(CourseError, match=r"\[gradebook\] can't be used"):
        gradebook_.record_week(course, course.weeks[0], files, f"sqlite:///{root / 'gradebook.db'}")


# -- No answer in a release -------------------------------------------------------------------


def planted(draw: random.Random) -> tuple[str, list[str]]:
    """The tiny notebook with sentinels wherever only graders may look."""
    sentinels: list[str] = []

    def mark() -> str:
        sentinels.append(f"SENTINEL{len(sentinels)}{draw.randrange(10**9)}")
        return sentinels[-1]

    lines, inside = [], ""
    for line in (SOURCE + "\n" + ANSWER).split("\n"):
        lines.append(line)
        indent = line[: len(line) - len(line.lstrip())]
        if line.strip() in ("### BEGIN SOLUTION", "### BEGIN HIDDEN TESTS"):
            inside = line.strip()
        elif line.strip().startswith("### END"):
            lines.insert(len(lines) - 1, f"{indent}assert '{mark()}'")
            inside = ""
        if inside and draw.random() < 0.5 and not line.rstrip().endswith(("(", ",")):
            forms = ["# {}", "'''{}'''", "{} = 1", "print('{}')", "_ = lambda: '{}'"]
            if "(" not in "".join(lines[-2:-1]) or line.strip() == inside:
                lines.append(indent + draw.choice(forms).format(mark()))
        if line.startswith("# +"):
            lines[-1] = f"{line}  # {mark()}"
        if line.startswith(("# %% mutant", "# %% alternative")):
            lines[-1] = line.replace('why="', f'why="{mark()} ')
        if line.startswith("def line(x, a, b)"):
            lines.append(f"    '''{mark()}'''")
        if line.startswith("# RUBRIC"):
            lines += [f"# {mark()}", f"# <!-- {mark()} -->", f"# ![{mark()}]({mark()}.png)"]
        if line.startswith("# SAMPLE"):
            lines.append(f"# {mark()}")
    own = f"assert True\n### BEGIN HIDDEN TESTS\nassert '{mark()}'\n### END HIDDEN TESTS"
    scheme = f"# === BEGIN MARK SCHEME ===\n# {mark()}\n# === END MARK SCHEME ==="
    solved = f"def g():\n    ### BEGIN SOLUTION\n    return '{mark()}'\n    ### END SOLUTION"
    text = "\n".join(lines) + "\n\n" + nbgrader_cell(own)
    text += nbgrader_cell(f"# Write.\n{scheme}", grade_id="e", solution=True, locked=False)
    text += nbgrader_cell(solved, grade_id="g", grade=False, solution=True, locked=False)
    return text, sentinels


@pytest.mark.parametrize("seed", range(6))
def test_a_release_holds_no_sentinel(tmp_path: Path, seed: int) -> None:
    content, sentinels = planted(random.Random(seed))
    root = edit(copy_tiny(tmp_path / "course"), (NOTEBOOK, None, content))
    built(root)
    released = b"".join(tree_of(root / "release").values()).decode()
    source = b"".join(tree_of(root / "source").values()).decode()
    assert len(sentinels) > 20
    assert not [s for s in sentinels if s in released]
    assert not [s for s in sentinels if s not in source]
    assert "SENTINEL" not in released


def test_built_files_can_be_read_by_all(tmp_path: Path) -> None:
    """A temporary folder is its owner's alone; the trees that come out of it are not."""
    root = copy_tiny(tmp_path / "course")
    mask = os.umask(0o022)
    try:
        built(root)
    finally:
        os.umask(mask)
    for path in (root / "release").rglob("*"):
        assert path.stat().st_mode & stat.S_IROTH
    assert not list(root.glob(".build-*"))
    shutil.rmtree(root / "release")
