"""Our steps of `nbgrader generate_assignment`, and the list that makes a release.

nbgrader's own preprocessors do the work; ours choose the language, name the stub after its task
and drop what only graders may see. `autograder build` and nbgrader_config.py use the same list.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from nbformat import NotebookNode
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
    NbGraderPreprocessor,
    SaveCells,
)
from traitlets import Unicode

from autograder import notebook as nb_
from autograder import words


class SelectLanguage(NbGraderPreprocessor):
    """Keep the cells of one language and those without one."""

    language = Unicode("en", help="The language of the release: en or ru.").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Drop the cells of other languages; stamp the notebook with its own."""
        nb.cells = nb_.in_language(nb.cells, self.language)
        nb.metadata.setdefault(nb_.KEY, {})["language"] = self.language
        return nb, resources


# What stands in an answer cell until a student writes there; also nbgrader's own.
STUBS = {*(w.stub for w in words.LANGUAGES.values()), ClearSolutions.text_stub.default_value}


class ClearTaskSolutions(ClearSolutions):
    """nbgrader's ClearSolutions with stubs of our own: of code it names the task."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Replace all solutions; the stubs of answers are in the notebook's language."""
        self.text_stub = words.of(nb_.ours(nb).get("language")).stub
        return super().preprocess(nb, resources)

    def preprocess_cell(
        self, cell: NotebookNode, resources: Any, cell_index: int
    ) -> tuple[NotebookNode, Any]:
        """Replace the solution regions of one cell."""
        name = nb_.grade_id(cell)
        self.code_stub = {"python": f'raise NotImplementedError("{name}")'}
        return super().preprocess_cell(cell, resources, cell_index)


class RemoveGraderOnly(NbGraderPreprocessor):
    """Drop rubrics and our metadata: mutants, alternatives, the language of a cell."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Clean all cells."""
        nb.cells = [c for c in nb.cells if "rubric" not in nb_.ours(c)]
        for cell in nb.cells:
            cell.metadata.pop(nb_.KEY, None)
        return nb, resources


# From source to the grader's copy: the tests are still whole.
TO_GRADER = [SelectLanguage, LockCells, ClearTaskSolutions, ClearOutput, ComputeChecksums]
# From the grader's copy to what students get. SaveCells records the hidden tests first.
TO_STUDENT = [ClearHiddenTests, ClearMarkScheme, RemoveGraderOnly, ComputeChecksums]
GENERATE_ASSIGNMENT = [*TO_GRADER, CheckCellMetadata, SaveCells, *TO_STUDENT, CheckCellMetadata]


def apply(
    steps: Iterable[type], notebook: NotebookNode, language: str, resources: Any = None
) -> NotebookNode:
    """Run steps over a copy of a notebook."""
    notebook = copy.deepcopy(notebook)
    resources = resources if resources is not None else {}
    for step in steps:
        instance = step(language=language) if step is SelectLanguage else step()
        notebook, resources = instance.preprocess(notebook, resources)
    return notebook
