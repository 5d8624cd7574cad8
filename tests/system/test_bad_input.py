"""Bad input through the command line: a sentence with file and place each, code 2, nothing written.

All that is wrong with what an author wrote ends a command with 2, also a gate that does not hold
(`lint`, `mutants`, `build --check`). 1 is for notebooks that fail when they run (`run`, `demo`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kit.cli import autograder
from kit.rules import NOTEBOOK, SOURCE, TINY, WEEK, WEEK_TOML, Edit, copy_tiny, edit, tree_of

COURSE = "course.toml"
TEST = '# %% test="line" points=1 difficulty=1 minutes=5'
TWIN = '# %% [markdown] lang="ru"\n# # Две функции\n# Прямая и расстояние.\n\n'
MUTANT = '# %% mutant="line" why="forgets the intercept"'
OTHER = f"weeks/{WEEK}/other.py"
AUTHORS = ("build", "build --check", "lint", "mutants")


def place(text: str) -> str:
    """The line of the tiny notebook in which a text stands."""
    return f"line {SOURCE[: SOURCE.index(text)].count(chr(10)) + 1}"


def at(text: str) -> str:
    return f"{NOTEBOOK}: {place(text)}:"


ALL = (*AUTHORS, "run", "grade 1", "demo", "changed")
# Every rule has its cases where it lives. Here a few go through every command, the others through
# one.
ONE, LINT = ("build",), ("lint --no-run",)

# what it is, the commands that must tell, where (file: place), the rule, words of the remedy, edit
CASES: list[tuple[str, tuple[str, ...], str, str, str, Edit]] = [
    ("no TOML", ALL, f"{COURSE}:", "toml", "at line 2", (COURSE, '"Tiny course"', '"Tiny')),
    ("key missing", ONE, f"{COURSE}: course.version:", "missing", "this key is missing",
     (COURSE, 'version = "1"\n', "")),
    ("wrong type", ONE, f"{WEEK_TOML}: points:", "points", "must be a number from 0 to 1000",
     (WEEK_TOML, "points = 3\n", 'points = "3"\n')),
    ("unknown key", ONE, f"{WEEK_TOML}: notebook[0].tire:", "unknown-key", "there is only: bo",
     (WEEK_TOML, 'tier = "cpu"', 'tier = "cpu"\ntire = "gpu"')),
    ("points of a week", ALL, f"{WEEK_TOML}: points:", "points", "add up to 3",
     (WEEK_TOML, "points = 3\n", "points = 5\n")),
    ("no course.toml", ALL, f"{COURSE}:", "course-file", "give --root FOLDER", (COURSE, "", None)),
    ("marker", AUTHORS, at(TEST), "marker", 'is written KEY="text"',
     (NOTEBOOK, TEST, TEST.replace('"line"', "line"))),
    ("ID twice", ONE, at('# %% test="double"'), "duplicate-id", f"at {place(TEST)} already",
     (NOTEBOOK, '# %% test="double"', '# %% test="line"')),
    ("ID missing", ONE, f"{NOTEBOOK}: line ", "missing-id", "no solution 'lime'",
     (NOTEBOOK, MUTANT, MUTANT.replace('"line"', '"lime"'))),
    ("points of a test", ONE, f"{NOTEBOOK}: line ", "points", "from 0 to 1000, not '1'",
     (NOTEBOOK, TEST, TEST.replace("points=1", 'points="1"'))),
    ("points of a notebook", LINT, f"{NOTEBOOK}:", "points", "but week.toml says 3",
     (NOTEBOOK, TEST, TEST.replace("points=1", "points=2"))),
    ("no twin", LINT, at("# %% [markdown]\n"), "language-twin", "must follow it at once",
     (NOTEBOOK, TWIN, "")),
    ("no README", LINT, f"weeks/{WEEK}/README.ru.md:", "readme", "needs a README in every language",
     (f"weeks/{WEEK}/README.ru.md", "", None)),
    ("not listed", ONE, f"{OTHER}:", "unlisted", "list it in week.toml",
     (OTHER, None, SOURCE)),
    ("not there", AUTHORS, f"{NOTEBOOK}:", "missing-file", "week.toml lists this notebook",
     (NOTEBOOK, "", None)),
    ("a mutant that fits nowhere", ONE, f"{NOTEBOOK}: line ", "mutant", "stand nowhere",
     (NOTEBOOK, "# - return y + b", "# - return y - b")),
    ("no Python", ONE, f"{NOTEBOOK}: line ", "python", "no valid Python",
     (NOTEBOOK, "print(line(", "print(line((")),
    ("an empty notebook", ONE, f"{NOTEBOOK}:", "title", "the first cell must be markdown",
     (NOTEBOOK, None, "")),
]  # fmt: skip
CALLS = [(case, command) for case in CASES for command in case[1]]


@pytest.mark.parametrize(
    ("case", "command"), CALLS, ids=[f"{case[0]}: {command}" for case, command in CALLS]
)
def test_bad_input_is_told(case: tuple, command: str, tmp_path: Path) -> None:
    _, _, where, rule, words, change = case
    root = edit(copy_tiny(tmp_path / "курс № 1"), change)
    before = tree_of(root)
    done = autograder(root, *command.split())
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert lines and all(line.startswith("error: ") for line in lines)
    assert any(
        line.startswith(f"error: {where}") and f"[{rule}]" in line and words in line
        for line in lines
    ), done.stderr
    assert tree_of(root) == before


@pytest.mark.parametrize("command", [c for c in ALL if c != "changed"])
def test_an_unknown_week_is_told(command: str, tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    before = tree_of(root)
    name = command.split()[0]
    done = autograder(root, name, "week07", *command.split()[2:])
    assert (done.returncode, done.stderr) == (
        2,
        f"error: {COURSE}: week07: [unknown-week] there is only: {WEEK}\n",
    )
    assert tree_of(root) == before


def test_all_problems_come_at_once_sorted_by_place(tmp_path: Path) -> None:
    root = edit(
        copy_tiny(tmp_path / "course"),
        (NOTEBOOK, "print(line(", "print(line(("),
        (NOTEBOOK, MUTANT, MUTANT.replace('"line"', '"lime"')),
        (NOTEBOOK, TEST, TEST.replace("points=1", "points=-1")),
        (OTHER, None, "# %% [markdown]\n# # Other\n"),
    )
    done = autograder(root, "build")
    assert done.returncode == 2
    assert {line.split("[")[1].split("]")[0] for line in done.stderr.splitlines()} == {
        "points",
        "missing-id",
        "python",
        "unlisted",
    }


@pytest.mark.parametrize("weeks", ["", None])
def test_a_course_whose_weeks_are_gone(weeks: str | None, tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    (root / "weeks").rename(tmp_path / "elsewhere")
    if weeks is not None:  # a file where a folder should be
        (root / "weeks").write_text(weeks)
    for command in AUTHORS:
        done = autograder(root, *command.split())
        assert done.returncode == 2 and "weeks: [no-week]" in done.stderr


def test_a_folder_where_a_notebook_should_be(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    (root / NOTEBOOK).unlink()
    (root / NOTEBOOK).mkdir()
    done = autograder(root, "build")
    assert (
        done.returncode == 2 and "[missing-file]" in done.stderr and "Is a directory" in done.stderr
    )


def test_a_file_where_a_tree_should_be(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    (root / "release").write_text("mine")
    done = autograder(root, "build")
    assert (
        done.returncode == 2 and "[write]" in done.stderr and "nothing was changed" in done.stderr
    )
    assert (root / "release").read_text() == "mine" and not (root / "source").exists()
    assert not list(root.glob(".build-*"))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", "Привет".encode("cp1251"), b"\x00" * 100])
def test_bytes_that_are_no_text(content: bytes, tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    (root / NOTEBOOK).write_bytes(content)
    done = autograder(root, "lint")
    assert done.returncode == 2 and f"error: {NOTEBOOK}" in done.stderr
    (root / COURSE).write_bytes(content)
    done = autograder(root, "lint")
    assert done.returncode == 2 and done.stderr.startswith(f"error: {COURSE}: [toml]")


def test_a_gate_that_does_not_hold_ends_with_2(tmp_path: Path) -> None:
    root = edit(copy_tiny(tmp_path / "course"), (NOTEBOOK, "# + return x**2", "# + return x + x"))
    for command, rule in (("build --check", "built"), ("lint", "built"), ("mutants", "mutant-su")):
        done = autograder(root, *command.split())
        assert done.returncode == 2 and f"[{rule}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("build", "week07"), "[unknown-week]"),
        (("lint", "--root", "nowhere"), "[course-file] not found in nowhere"),
        (("mutants", "--jobs", "0"), "--jobs"),
        (("build", "--chekc"), "No such option"),
        (("biuld",), "No such command"),
    ],
)
def test_a_process_of_its_own_says_the_same(arguments: tuple[str, ...], words: str) -> None:
    line = [sys.executable, "-m", "autograder", *arguments]
    done = subprocess.run(line, cwd=TINY, capture_output=True, text=True)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""
