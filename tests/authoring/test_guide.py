"""docs/authoring.md, followed by a machine: each of its blocks, in a course without other weeks."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kit.cli import Done, autograder

from autograder import course as course_
from autograder import notebook as nb_
from autograder.grading import grade as grade_

REPOSITORY = Path(__file__).parents[2]
GUIDE = REPOSITORY / "docs" / "authoring.md"
BIN = Path(sys.executable).parent
WEEK = "week99_curve"
# What a fresh course has: all but the weeks and what is made of them.
FILES = ("course.toml", "nbgrader_config.py", "pyproject.toml")


@dataclass(frozen=True)
class Block:
    """A fenced block of the guide. file: to whose end it goes, "" for one that is run."""

    line: int
    content: str
    file: str = ""


_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_FILE = re.compile(r"(?:# |<!-- )([\w./-]+\.\w+)(?: -->)?\n")


def blocks(text: str) -> Iterator[Block]:
    """What the guide tells to do, in its order. Raises ValueError for a block that is neither."""
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        name = _FILE.match(found[2])
        if found[1] == "sh":
            yield Block(line, found[2])
        elif name:
            yield Block(line, found[2][name.end() :], name[1])
        else:
            raise ValueError(f"line {line}: neither a command nor the content of a file")


def follow(text: str, root: Path) -> list[str]:
    """Follow a guide in a folder; what its commands said. Raises AssertionError at a failure.

    The first commands run in a shell, as an author types them; later ones of ours in this process.
    """
    said: list[str] = []
    for block in blocks(text):
        if block.file:
            file = root / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as end:
                end.write(block.content)
            continue
        own = re.compile("autograder " if said else "(?!)")
        for ours, lines in itertools.groupby(block.content.splitlines(), own.match):
            for line in lines if ours else ["\n".join(lines)]:
                done = _run(root, line, ours=bool(ours))
                place = f"line {block.line} of the guide"
                assert done.returncode == 0, f"{place}: {done.stdout}{done.stderr}"
                said.append(done.stdout)
    return said


def _run(root: Path, script: str, *, ours: bool) -> Done | subprocess.CompletedProcess[str]:
    if ours:
        return autograder(root, *shlex.split(script)[1:])
    line = ["bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", script]
    environment = {**os.environ, "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]])}
    return subprocess.run(line, cwd=root, env=environment, capture_output=True, text=True)


def fresh(root: Path) -> Path:
    """A course without weeks."""
    root.mkdir(parents=True)
    shutil.copytree(REPOSITORY / "docs", root / "docs")
    (root / "practical_dl").symlink_to(REPOSITORY / "practical_dl")  # ruff sorts imports by it
    for name in FILES:
        shutil.copy(REPOSITORY / name, root)
    with (root / "nbgrader_config.py").open("a", encoding="utf-8") as config:
        config.write("c.Grader.cell_seconds = 8\n")  # the demo's endless student takes no longer
    return root


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The course after the guide, and all that its commands printed."""
    root = fresh(tmp_path_factory.mktemp("guide") / "course")
    return root, "\n".join(follow(GUIDE.read_text(encoding="utf-8"), root))


def test_every_gate_is_green(followed: tuple[Path, str]) -> None:
    _, said = followed
    assert "1 notebook(s) proven, 0 of them by receipt." in said
    assert re.search(r"│ all .* 6/6 +100%", said), said
    assert "students got the score that was computed before" in said


def test_the_week_has_one_task_of_each_kind(followed: tuple[Path, str]) -> None:
    root, _ = followed
    source = nb_.read(root / "source" / WEEK / "curve.ipynb")
    assert list(nb_.test_cells(source)) == ["fit_line", "features"]
    assert list(nb_.exams(source)) == ["features"]
    assert [nb_.ours(c)["rubric"] for c in source.cells if "rubric" in nb_.ours(c)] == [
        "report",
        "report",
    ]


def test_the_untouched_submission_scores_nothing(followed: tuple[Path, str]) -> None:
    root, _ = followed
    course = course_.load(root)
    (me,) = grade_.read_grades(course, course.weeks[0], ["me"])
    assert (me.status, me.score(), me.waiting) == ("graded", 0.0, 0)


def test_the_whole_class_is_graded(followed: tuple[Path, str]) -> None:
    root, _ = followed
    course = course_.load(root / "demo")
    grades = grade_.read_grades(course, course.weeks[0], ["full-en", "full-ru"])
    for one in grades:
        assert (one.status, one.waiting) == ("to grade", 1)
        assert one.score() == 5.0  # the report's point is a person's to give
    page = root / "demo" / "feedback" / "full-ru" / WEEK / "curve.html"
    assert "Ваш ответ" in page.read_text(encoding="utf-8")


def test_the_guide_names_every_gate() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    for command in ("build", "prove", "mutants", "private", "run", "grade", "demo"):
        assert any(f"autograder {command}" in b.content for b in blocks(text) if not b.file)


# -- The test of the test ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("autograder build week99\n", "autograder built week99\n", "line "),
        ("points = 6\ntier", "points = 7\ntier", "points"),
        ('"\n# - centred = x - x.mean()', '"\n# - centred = x', "[mutant]"),
        ('lang="ru"\n# ## 1', 'lang="de"\n# ## 1', "[language-twin]"),
    ],
)
def test_a_guide_that_misleads_is_noticed(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = GUIDE.read_text(encoding="utf-8").split("## 9.")[0]
    assert old in text
    text = text.replace(old, new, 1)
    # What takes long is not needed to notice these.
    text = re.sub(r"^(autograder (mutants|run)|jupyter) .*\n", "", text, flags=re.M)
    with pytest.raises(AssertionError) as caught:
        follow(text, fresh(tmp_path / "course"))
    assert said in str(caught.value)


def test_a_block_that_tells_nothing_is_noticed() -> None:
    with pytest.raises(ValueError, match="line 3: neither a command"):
        list(blocks("\n\n```python\nx = 1\n```\n"))
