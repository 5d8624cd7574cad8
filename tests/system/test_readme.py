"""What the READMEs promise is there: commands, links, and the same in both languages."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from autograder import cli
from autograder import course as course_

REPOSITORY = Path(__file__).parents[2]
READMES = ["README.md", "README.ru.md"]


def commands(name: str) -> list[list[str]]:
    """The command lines of a README, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / name).read_text("utf-8"), flags=re.S)
    return [shlex.split(line, comments=True) for line in "".join(blocks).splitlines()]


def test_both_languages_give_the_same_commands() -> None:
    english, russian = map(commands, READMES)
    swapped = [[w.replace("/en/", "/XX/").replace("/ru/", "/XX/") for w in c] for c in russian]
    assert [[w.replace("/en/", "/XX/") for w in c] for c in english] == swapped


@pytest.mark.parametrize("line", commands("README.md"), ids=" ".join)
def test_every_command_exists(line: list[str]) -> None:
    program, *arguments = line
    if program == "make":
        done = subprocess.run(["make", "-n", *arguments], cwd=REPOSITORY, capture_output=True)
        assert done.returncode == 0, done.stderr
    elif program == "autograder":
        command = typer.main.get_command(cli.app).commands[arguments[0]]  # type: ignore[attr-defined]
        context = command.make_context(arguments[0], arguments[1:])
        course_.load(REPOSITORY).select(_weeks(context.params["week"]))
    elif program == "nbgrader":
        line = [str(Path(sys.executable).parent / "nbgrader"), arguments[0], "--help"]
        assert subprocess.run(line, capture_output=True).returncode == 0
    else:
        assert program in ("python", "jupyter")


def _weeks(value: object) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])  # type: ignore[call-overload]


@pytest.mark.parametrize("name", READMES)
def test_links_and_pictures_lead_somewhere(name: str) -> None:
    text = (REPOSITORY / name).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert target.startswith("https://") or (REPOSITORY / target).exists(), target


@pytest.mark.parametrize("name", READMES)
def test_every_week_of_the_schedule_is_listed(name: str) -> None:
    text = (REPOSITORY / name).read_text("utf-8")
    for week in course_.load(REPOSITORY).weeks:
        (row,) = [line for line in text.splitlines() if week.folder in line and "| `" in line]
        bonus = sum(n.bonus for n in week.notebooks)
        worth = f"| {week.points:g} + {bonus:g} " if bonus else f"| {week.points:g} |"
        assert worth in row
        assert all(f"`{n.name}`" in row for n in week.notebooks)
        language = "ru" if name.endswith(".ru.md") else "en"
        assert week.title[language] in row
