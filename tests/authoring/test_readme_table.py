"""The table of the weeks in the course's READMEs."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.cli import autograder
from kit.rules import WEEK, WEEK_TOML, built, edit, tiny_course

from autograder.authoring import build, readme

ENGLISH = f"""\
| week | notebooks | points |
|---|---|---|
| [01 Tiny](weeks/{WEEK}/README.md) | `tiny` | 3 + 1 bonus |"""
RUSSIAN = f"""\
| неделя | тетради | баллы |
|---|---|---|
| [01 Малая](weeks/{WEEK}/README.ru.md) | `tiny` | 3 + 1 бонусных |"""
PAGE = "# Course\n\nBefore.\n\n{begin}\nold\n{end}\n\nAfter.\n"
MARKED = PAGE.format(begin=readme.BEGIN, end=readme.END)


@pytest.fixture
def root(tiny: Path) -> Path:
    return edit(tiny, ("README.md", None, MARKED), ("README.ru.md", None, MARKED))


def texts(root: Path) -> dict[str, str]:
    found = readme.build(tiny_course(root))
    return {str(path): content.decode() for path, content in found.items()}


def test_the_table_stands_between_the_marks(root: Path) -> None:
    found = texts(root)
    for name, table in (("README.md", ENGLISH), ("README.ru.md", RUSSIAN)):
        expected = MARKED.replace("\nold\n", f"\n\n{table}\n\n")
        assert found[name] == expected
        (root / name).write_text(found[name], encoding="utf-8")
    assert texts(root) == found  # once more changes nothing


def test_groups_and_no_bonus(root: Path) -> None:
    more = "".join(
        f'\n[[notebook]]\nname = "{name}"\npoints = 2\ntier = "cpu"\none_of = "project"\n'
        for name in ("graphs", "sound")
    )
    toml = (root / WEEK_TOML).read_text(encoding="utf-8")
    toml = toml.replace("points = 3", "points = 5", 1).replace("bonus = 1\n", "") + more
    edit(root, (WEEK_TOML, None, toml))
    assert "| `tiny`, one of `graphs` / `sound` | 5 |" in texts(root)["README.md"]
    assert "| `tiny`, одна из `graphs` / `sound` | 5 |" in texts(root)["README.ru.md"]


@pytest.mark.parametrize(
    "content",
    ["# Course\n", MARKED.replace(readme.END, ""), MARKED.replace(readme.BEGIN, "")],
)
def test_a_page_without_both_marks_is_left_alone(root: Path, content: str) -> None:
    edit(root, ("README.md", None, content))
    assert list(texts(root)) == ["README.ru.md"]


def test_a_course_without_readmes(tiny: Path) -> None:
    assert texts(tiny) == {}


def test_the_build_writes_and_holds_it(root: Path) -> None:
    built(root)
    names = [problem.file for problem in build.stale_readmes(tiny_course(root))]
    assert names == ["README.md", "README.ru.md"]
    done = autograder(root, "build", "--check")
    assert done.returncode == 2 and "README.ru.md: [built] is not what weeks/ builds" in done.stderr
    assert autograder(root, "build").returncode == 0
    assert ENGLISH in (root / "README.md").read_text(encoding="utf-8")
    assert autograder(root, "build", "--check").returncode == 0
