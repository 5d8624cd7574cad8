"""What students open in both languages: the same code, of which one is run in full (the gates)."""

from __future__ import annotations

from pathlib import Path

import pytest
from nbformat import NotebookNode

from autograder import course as course_
from autograder import notebook as nb_

REPOSITORY = Path(__file__).parents[2]
COURSE = course_.load(REPOSITORY)
NOTEBOOKS = [f"{week.folder}/{one.name}" for week in COURSE.weeks for one in week.notebooks]


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_languages_differ_in_prose_alone(notebook: str) -> None:
    release = REPOSITORY / "release"
    first, *others = (nb_.read(release / k / f"{notebook}.ipynb") for k in COURSE.languages)
    assert first.metadata.kernelspec
    for other in others:
        assert other.metadata.kernelspec == first.metadata.kernelspec
        assert code(other) == code(first)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
