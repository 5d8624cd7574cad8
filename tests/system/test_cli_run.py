"""The command line: where a package is missing, and `autograder run` on the tiny course."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from kit import rules
from kit.cli import autograder

from autograder import cli


@pytest.fixture
def built(tiny: Path) -> Path:
    return rules.built(tiny)


def test_a_students_environment_is_told_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('no typer', name='typer')")
    line = [sys.executable, "-m", "autograder", "build"]
    path = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(line, env=path, capture_output=True, text=True)
    assert done.returncode == 2
    assert 'practical-dl[instructors]"' in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("tree", [tree.value for tree in cli.Tree])
def test_every_tree_runs_without_network(built: Path, tree: str) -> None:
    done = autograder(built, "run", "--tree", tree, "--no-network")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "week01_tiny/tiny" in done.stdout
    folder = built / "runs" / tree / "small"
    assert (folder / "week01_tiny" / "tiny.ipynb").is_file()
    suite = ElementTree.parse(folder / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")


@pytest.mark.parametrize(("tier", "count"), [("cpu", "1"), ("gpu", "0")])
def test_a_tier_s_notebooks_alone(built: Path, tier: str, count: str) -> None:
    done = autograder(built, "run", "--tier", tier)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("week01_tiny/tiny" in done.stdout) == (count == "1")
    suite = ElementTree.parse(built / "runs" / "source" / "small" / "junit.xml").getroot()
    assert suite.get("tests") == count


def test_a_failure_names_the_cell_and_the_exit_code_says_so(built: Path) -> None:
    path = built / "release" / "en" / "week01_tiny" / "tiny.ipynb"
    text = path.read_text()
    path.write_text(text.replace("print(line(np", "print(1 / 0, line(np"))
    done = autograder(built, "run", "week01", "--tree", "release/en")
    assert done.returncode == 1
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "print(1 / 0, line(np" in done.stderr and "run it alone" in done.stderr


def test_a_network_is_missed_where_there_is_none(built: Path) -> None:
    path = built / "source" / "week01_tiny" / "tiny.ipynb"
    connect = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=5)"
    path.write_text(path.read_text().replace("print(line(np", f"{connect}; print(line(np"))
    done = autograder(built, "run", "--no-network")
    assert done.returncode == 1
    assert "Network is unreachable" in done.stderr


def test_what_is_not_built_is_one_sentence(tiny: Path) -> None:
    done = autograder(tiny, "run")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "error: source/week01_tiny/tiny.ipynb: [not-built] run: autograder build"
    )
