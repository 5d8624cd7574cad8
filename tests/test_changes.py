"""Which weeks a change concerns."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from kit.cli import autograder

from autograder import changes
from autograder.course import Course, Week

REPOSITORY = Path(__file__).parents[1]
FIRST, SECOND = "week01_one", "week02_two"
COURSE = Course(
    Path(),
    "",
    "",
    "",
    ("en", "ru"),
    (Week(FIRST, {}, 0, (), data=("digits",)), Week(SECOND, {}, 0, (), models=("net",))),
)


@pytest.mark.parametrize(
    ("paths", "weeks"),
    [
        ([], []),
        (["weeks/week01_one/a.py"], [FIRST]),
        (["weeks/week02_two/helper/data.txt", "README.md"], [SECOND]),
        (["source/week02_two/a.ipynb"], [SECOND]),
        (["release/ru/week01_one/a.ipynb"], [FIRST]),
        (["weeks/week01_one/a.py", "release/en/week02_two/a.ipynb"], [FIRST, SECOND]),
        (["README.md", "docs/format.md", "tests/test_x.py", ".github/workflows/ci.yml"], []),
        (["practical_dl/check.py"], [FIRST, SECOND]),
        (["practical_dl/weeks/week02.py"], [SECOND]),
        (["practical_dl/weeks/week09.py"], []),
        (["practical_dl/weeks/__init__.py"], [FIRST, SECOND]),
        (["practical_dl/data/digits.py"], [FIRST]),
        (["practical_dl/models/net.py"], [SECOND]),
        (["practical_dl/data/net.py"], [FIRST, SECOND]),
        (["practical_dl/data/cache.py"], [FIRST, SECOND]),
        (["autograder/course.py"], [FIRST, SECOND]),
        (["pyproject.toml"], [FIRST, SECOND]),
        (["requirements.lock"], [FIRST, SECOND]),
        (["course.toml"], [FIRST, SECOND]),
        (["weeks/week03_gone/a.py"], [FIRST, SECOND]),
        (["weeks/notes.txt"], [FIRST, SECOND]),
        (["release/ru/notes.txt"], [FIRST, SECOND]),
        (["release/notes.txt"], [FIRST, SECOND]),
        (["a/new/thing"], [FIRST, SECOND]),
    ],
)
def test_weeks_changed(paths: list[str], weeks: list[str]) -> None:
    assert [week.folder for week in changes.weeks_changed(COURSE, paths)] == weeks


@pytest.mark.parametrize(
    ("paths", "machine"),
    [
        ([], False),
        (["weeks/week01_one/a.py", "source/a.ipynb", "release/ru/a.ipynb", "docs/tasks.md"], False),
        (["weeks/week01_one/a.py", "README.md"], True),
        (["practical_dl/weeks/week02.py"], True),
        (["tests/test_x.py"], True),
        ([".github/workflows/ci.yml"], True),
        (["a/new/thing"], True),
        (["weeks"], False),
    ],
)
def test_machine_changed(paths: list[str], machine: bool) -> None:
    assert changes.machine_changed(paths) == machine


def test_every_name_that_is_passed_over_exists() -> None:
    """A filter that matches nothing hides a renamed folder."""
    for name in {*changes.HARMLESS, *changes.NO_MACHINE}:
        assert (REPOSITORY / name).exists(), name


def git(folder: Path, *line: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    full = ["git", *identity, *line]
    return subprocess.run(full, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tiny: Path) -> Path:
    git(tiny, "init", "-q")
    git(tiny, "add", ".")
    git(tiny, "commit", "-qm", "first")
    return tiny


def commit(folder: Path, path: str, text: str | None) -> None:
    if text is None:
        (folder / path).unlink()
    else:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "change")


def test_paths_changed(repository: Path) -> None:
    commit(repository, "docs/old.md", "old")
    base = git(repository, "rev-parse", "HEAD").strip()
    assert changes.paths_changed(repository, base) == []
    commit(repository, "docs/страница.md", "text")
    git(repository, "mv", "docs/old.md", "docs/words.md")
    commit(repository, "README.md", "text")
    names = ["README.md", "docs/old.md", "docs/words.md", "docs/страница.md"]
    assert sorted(changes.paths_changed(repository, base)) == sorted(names)
    assert changes.paths_changed(repository / "docs", base) == [
        name.removeprefix("docs/") for name in names[1:]
    ]


@pytest.mark.parametrize("base", ["", "0" * 40, "no-such-branch", "--output=x"])
def test_an_unknown_base_can_not_be_told(base: str, repository: Path) -> None:
    assert changes.paths_changed(repository, base) is None
    assert not (repository / "x").exists()


def changed(folder: Path, *arguments: str) -> str:
    done = autograder(folder, "changed", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command(repository: Path) -> None:
    commit(repository, "README.md", "text")
    assert changed(repository, "HEAD~1") == "\n"
    assert changed(repository, "--machine", "HEAD~1") == "true\n"
    assert json.loads(changed(repository, "--json", "HEAD~1")) == []
    commit(repository, "weeks/week01_tiny/new.txt", "text")
    assert changed(repository, "HEAD~1") == "week01_tiny\n"
    assert json.loads(changed(repository, "--json", "HEAD~1")) == ["week01_tiny"]
    assert changed(repository, "--machine", "HEAD~1") == "false\n"
    for unknown in ([], [""], ["0" * 40]):
        assert changed(repository, "--machine", *unknown) == "true\n"
        assert json.loads(changed(repository, "--json", *unknown)) == ["week01_tiny"]
