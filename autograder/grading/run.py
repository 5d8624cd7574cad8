"""Between a grafted notebook and the sandbox: the job that is run, and the verdicts on it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from autograder import notebook as nb_
from autograder.execution.execute import Control, Job, Limits, Result, execute, job_key
from autograder.grading.score import Verdict, judge, write_outputs


def job_of(
    notebook: NotebookNode, source: NotebookNode, files: Mapping[str, bytes], limits: Limits
) -> Job:
    """The job for a grafted notebook: with a negative control for each task that has a mutant.

    The salt comes from the source notebook, which students do not have: the hidden tests draw
    numbers that they can't foresee, and the same ones for everybody.
    """
    mutants = {
        nb_.grade_id(cell): nb_.ours(cell).get("mutants", [])
        for cell in source.cells
        if nb_.is_solution(cell)
    }
    tests = nb_.test_cells(notebook)
    code = [_for_kernel(cell) for cell in notebook.cells if cell.cell_type == "code"]
    controls = tuple(
        Control(task=task, source=found[0]["source"], test=tests[task].id, restore=task)
        for task, found in mutants.items()
        if found and task in tests
    )
    salt = hashlib.sha256(nb_.dumps(source).encode()).hexdigest()[:16]
    table = {"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return Job(notebook=table, files=dict(files), limits=limits, controls=controls, salt=salt)


def _for_kernel(cell: NotebookNode) -> dict[str, Any]:
    """What running a cell depends on, so that equal code in two submissions is one job."""
    metadata: dict[str, Any] = {"tags": list(cell.metadata.get("tags", []))}
    if nb_.is_graded(cell):
        metadata["nbgrader"] = {"grade": True}
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": cell.id,
        "metadata": metadata,
        "outputs": [],
        "source": cell.source,
    }


def run(job: Job, cache: Path, *, sandbox: bool = True, again: bool = False) -> Result:
    """Execute a job, or take its result from the cache; again: execute it in any case."""
    path = cache / f"{job_key(job)}{'' if sandbox else '-unsafe'}.json"
    if path.is_file() and not again:
        return Result.from_json(path.read_text(encoding="utf-8"))
    result = execute(job, sandbox=sandbox)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(result.to_json(), encoding="utf-8")
    part.replace(path)
    return result


def tampered_with(result: Result) -> list[str]:
    """The tasks whose checks passed on a planted mistake.

    Where one check no longer notices a mistake, none of the notebook's can be believed.
    """
    return [task for task, ended in result.controls.items() if ended == "survived"]


def apply_result(notebook: NotebookNode, result: Result) -> tuple[Verdict, ...]:
    """Put what ran into the grafted notebook: outputs, and at each test cell its verdict."""
    executed = nbformat.from_dict(result.notebook)
    outputs = {cell.id: cell.get("outputs", []) for cell in executed.cells}
    outcomes = {outcome.cell_id: outcome for outcome in result.cells}
    tampered = tampered_with(result)
    verdicts = []
    tests = {cell.id for cell in nb_.test_cells(notebook).values()}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs = outputs.get(cell.id, [])
        if cell.id not in tests:
            continue
        outcome = outcomes.get(cell.id)
        verdict = judge(
            cell,
            outcome.status if outcome else "skipped",
            outcome.ename if outcome else "",
            outcome.evalue if outcome else "",
            tampered,
        )
        write_outputs(cell, verdict)
        verdicts.append(verdict)
    return tuple(verdicts)
