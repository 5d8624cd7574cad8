"""The gates on the course's own weeks, as an author runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from kit.rules import need_data

from autograder import course as course_

REPOSITORY = Path(__file__).parents[2]
WEEKS = [week.folder for week in course_.load(REPOSITORY).weeks]
MEMORY_MIB = 3 * 1024  # DESIGN: of a notebook in `small`


def autograder(*arguments: str) -> str:
    line = [sys.executable, "-m", "autograder", *arguments]
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_built_trees_are_what_the_weeks_build() -> None:
    autograder("build", "--check")


@pytest.fixture
def week(request: pytest.FixtureRequest) -> str:
    """A week whose data are there."""
    need_data(request.param)
    return request.param


every_week = pytest.mark.parametrize("week", WEEKS, indirect=True)


@every_week
def test_a_week_is_without_problem(week: str) -> None:
    autograder("lint", week)


@every_week
def test_the_tests_of_a_week_notice_mistakes(week: str) -> None:
    said = autograder("mutants", week, "--generate")
    assert re.search(r"│ all .* 100%", said), said


@every_week
def test_a_week_runs_without_network(week: str) -> None:
    said = autograder("run", week, "--no-network")
    rows = re.findall(rf"{week}/\w+ +│ ok +│ +[\d.]+ │ +(\d+) │", said)
    assert rows and max(map(int, rows)) <= MEMORY_MIB, said


@every_week
@pytest.mark.parametrize("language", ["en", "ru"])
def test_what_students_open_runs_to_its_end(week: str, language: str) -> None:
    autograder("run", week, "--tree", f"release/{language}", "--no-network")
