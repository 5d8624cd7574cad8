"""nbval, the pytest face of Restart & Run All, runs notebooks of ours: with and without an exam."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pytest
from kit.rules import built
from nbformat import v4

from autograder import exams
from autograder import notebook as nb_

FIXTURES = Path(__file__).parents[1] / "fixtures"


def nbval(
    notebook: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-cell-timeout", "300"]
    line += ["--nbval-current-env", "-p", "no:cacheprovider", "-q", "--tb=short", "-o", "addopts="]
    line += ["--rootdir", str(notebook.parent), notebook.name]
    env = {**os.environ, **(variables or {})}
    return subprocess.run(line, cwd=notebook.parent, capture_output=True, text=True, env=env)


def test_nbval_runs_every_cell(tmp_path: Path) -> None:
    cells = [v4.new_code_cell("x = 2"), v4.new_code_cell("print(x * 21)")]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "good.ipynb")
    done = nbval(tmp_path / "good.ipynb")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_nbval_notices_a_failing_cell(tmp_path: Path) -> None:
    cells = [v4.new_code_cell("x = 2"), v4.new_code_cell("assert x == 3")]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "bad.ipynb")
    done = nbval(tmp_path / "bad.ipynb")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout


@pytest.mark.parametrize("course", ["tiny", "exam"])
def test_a_source_notebook_passes(course: str, tmp_path: Path) -> None:
    root = built(shutil.copytree(FIXTURES / course, tmp_path / course))
    (notebook,) = (root / "source").glob("*/*.ipynb")
    tasks = list(nb_.exams(nb_.read(notebook)))
    assert bool(tasks) == (course == "exam")
    if tasks:
        made = exams.make(exams.module(notebook.parent, exams.FILE), tasks, "small", 0, exams.FILE)
        for task in tasks:
            inputs = exams.npz(made[task][0])
            (tmp_path / f"{task}.inputs.npz").write_bytes(inputs)
    done = nbval(notebook, {"PRACTICAL_DL_PRIVATE": str(tmp_path)})
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
