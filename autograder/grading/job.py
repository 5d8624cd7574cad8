"""Between a grafted notebook and the sandbox: the job that is run, and the verdicts on it."""

from __future__ import annotations

import ast
import builtins
import copy
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_output

from autograder import notebook as nb_
from autograder import words
from autograder.exams import FOLDER, Private
from autograder.execution.execute import (
    CellOutcome,
    Control,
    Exam,
    Job,
    Limits,
    Result,
    Trial,
)
from autograder.fingerprints import CORE, Library
from autograder.grading.lacking import unless_lacking
from autograder.grading.score import Verdict, judge, judge_exam, write_outputs
from practical_dl.exam import definitions, imported_as


def job_of(
    notebook: NotebookNode,
    source: NotebookNode,
    files: Mapping[str, bytes],
    limits: Limits,
    exams: Mapping[str, Private] | None = None,
    library: Library = CORE,
) -> Job:
    """The job for a grafted notebook: with a negative control for each task that has a mutant.

    The salt comes from the source notebook, which students do not have: the hidden tests draw
    numbers that they can't foresee, and the same ones for everybody. files: what the notebook finds
    beside it. exams: the private inputs of each task that is an exam. library: what it may use of
    `practical_dl`. Cells that train are left out. A cell of the instructor's that a student has
    changed is followed by what runs the original, should the names that it binds not be there.
    """
    exams = exams or {}
    tests = nb_.test_cells(notebook)
    originals = nb_.once(source, "originals", lambda: _originals(source))
    code = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and not nb_.is_training(cell):
            code.append(_for_kernel(cell))
            original = originals.get(cell.id, cell.source)
            if original != cell.source:
                code.append({**_for_kernel(cell), "id": f"{cell.id}-original"})
                code[-1]["source"] = _unless_bound(original)
    controls = nb_.once(source, "controls", lambda: _controls(source))
    return Job(
        notebook={"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5},
        files=dict(files),
        limits=limits,
        controls=tuple(replace(c, test=tests[c.task].id) for c in controls if c.task not in exams),
        salt=nb_.once(source, "salt", lambda: _salt(source)),
        exams=tuple(_exam(notebook, private, originals) for private in exams.values()),
        library=library,
        shields=nb_.once(source, "shields", lambda: _shields(source)),
    )


def _shields(source: NotebookNode) -> dict[str, dict[str, list[str]]]:
    """The instructor's cells by what runs of them: the names that they need and those they bind.

    Needed are builtins, and what such cells import or define as functions and classes; but not what
    is the student's to write.
    """
    trees = [(c, nb_.parsed(c.source)) for c in source.cells if c.cell_type == "code"]
    students = {n for c, tree in trees if nb_.is_solution(c) for n in _bound(tree)}
    bound = {n for c, tree in trees if not nb_.is_solution(c) for n in _bound(tree)}
    offered: set[str] = set(dir(builtins)) - bound
    found = {}
    for cell, tree in trees:
        if nb_.is_solution(cell):
            continue
        text = nb_.without_hidden(cell.source) if nb_.is_graded(cell) else cell.source
        tree = nb_.parsed(text)
        binds = set() if nb_.is_graded(cell) else _defined(tree.body) - students
        needs = _loaded(tree) & offered
        if needs or binds:
            found[_runnable(text)] = {"needs": sorted(needs), "binds": sorted(binds)}
        offered |= binds
    return found


def _defined(nodes: Iterable[ast.AST]) -> set[str]:
    """What these nodes import, and the functions and classes that they define."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, kinds):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {imported_as(alias) for alias in node.names}
    return found


# -- What honest students put into cells, and no grader can run ---------------------------------

# A program that installs packages, with what goes on in the next lines.
_INSTALLS = re.compile(
    r"""^([ \t]*)(?:
        [!%]{1,2}[ ]*(?:sudo[ ]+)?(?:["']?(?:\{sys\.executable\}|\S*python[\d.]*)["']?[ ]+-m[ ]+)?
        (?:pip3?|conda|mamba|apt|apt-get|uv)\b
        | (?:sudo[ ]+)?(?:pip3?|conda|mamba|apt|apt-get)[ ]+(?:-\S+[ ]+)*
        (?:install|uninstall|update|upgrade)\b
    )(?:[^\n]*\\\n)*[^\n]*""",
    re.MULTILINE | re.VERBOSE,
)
_WINDOW = re.compile(r"^([ \t]*)%matplotlib[ ]+(?!inline\b)\w+[^\n]*", re.MULTILINE)
_SHELL = re.compile(r"\s*%%(?:bash|sh|!|script)")
# What keeps a solution cell from defining its functions, or is in the way of its errors.
_WRAPPED = re.compile(r"%%(?:time|timeit|capture|prun|memit|writefile|file)\b")


def _is_test(cell: NotebookNode) -> bool:
    return nb_.is_graded(cell) and not nb_.is_solution(cell)


def _runnable(source: str) -> str:
    """Code without what needs a network or a window to run; its lines stay where they are."""
    nothing = "true" if _SHELL.match(source) else "pass"

    def left_out(found: re.Match[str]) -> str:
        return f"{found[1]}{nothing}" + "\n" * found[0].count("\n")

    return _WINDOW.sub(r"\1%matplotlib inline", _INSTALLS.sub(left_out, source))


def left_out(notebook: NotebookNode) -> list[str]:
    """What is told of the lines that are not run."""
    cells = [c for c in notebook.cells if c.cell_type == "code" and not _is_test(c)]
    found = [one[0].strip() for cell in cells for one in _INSTALLS.finditer(cell.source)]
    lines = list(dict.fromkeys(text.split("\n")[0][:60] for text in found))
    shown = ", ".join(map(repr, lines[:3]))
    return [f"not run, since there is no network: {shown}"] if lines else []


def _originals(source: NotebookNode) -> dict[str, str]:
    """The instructor's code that students may change, by the ids of its cells."""
    return {
        cell.id: cell.source
        for cell in source.cells
        if cell.cell_type == "code" and not nb_.is_graded(cell) and not nb_.is_solution(cell)
    }


_UNLESS_BOUND = """\
def _original(shell, names, source):
    done, space = shell.last_execution_succeeded, shell.user_ns
    kept = {{name: space[name] for name in names if name in space}} if done else {{}}
    if not done or len(kept) < len(names):
        shell.run_cell(source, store_history=False)
        space.update(kept)


_original(get_ipython(), {names!r}, {source!r})
del _original
"""


def _unless_bound(original: str) -> str:
    """Code that runs a cell of the instructor's, if the cell before, which stands in its place, did
    not come to its end or lacks a name. What that one has bound, if it did, stays as it is.
    """
    tree = nb_.parsed(re.sub(r"^([ \t]*)[!%].*", r"\1pass", original, flags=re.MULTILINE))
    targets = [t for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
    names = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    names = {n for n in names | _defined(tree.body) if n != "*"}
    names -= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and _is_deleted(n)}
    return _UNLESS_BOUND.format(names=sorted(names), source=_runnable(original))


def _is_deleted(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Del)


# -- Exams, salts and controls ----------------------------------------------------------------


def _exam(notebook: NotebookNode, private: Private, originals: Mapping[str, str]) -> Exam:
    """The exam of a task: what the cells before its test define, then the task's own cell."""
    test = nb_.test_cells(notebook)[private.task]
    cells = [c for c in notebook.cells[: notebook.cells.index(test)] if c.cell_type == "code"]
    own = [cell.source for cell in cells if nb_.grade_id(cell) == private.task]
    others = [
        cell.source
        for cell in cells
        if nb_.grade_id(cell) != private.task
        and not nb_.is_graded(cell)
        and nb_.PARAMETERS not in cell.metadata.get("tags", ())  # they are given
    ]
    files = {f"{FOLDER}/{private.task}.inputs.npz": private.inputs}
    changed = [c for c in cells if c.source != originals.get(c.id, c.source)]
    before = [definitions(originals[c.id] for c in changed)] if changed else []
    code = (*before, definitions(others), *own)
    return Exam(private.task, test.id, code, files, private.profile)


def _salt(source: NotebookNode) -> str:
    """Of the instructor's code, so that prose can be mended without a run."""
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    return hashlib.sha256(repr([(c.source, c.metadata) for c in code]).encode()).hexdigest()[:16]


def _controls(source: NotebookNode) -> list[Control]:
    """What each autograded task is tried with: its first mutant and the names that its test uses.

    Those names are the instructor's imports and helper functions before the test, which a student's
    code could have replaced.
    """
    found = []
    mutants: dict[str, list[dict[str, str]]] = {}
    trees: list[ast.Module] = []
    bound: set[str] = set()
    for cell in source.cells:
        if cell.cell_type != "code":
            continue
        tree = nb_.parsed(cell.source)
        if nb_.is_solution(cell):
            mutants[nb_.grade_id(cell)] = nb_.ours(cell).get("mutants", [])
        elif nb_.is_graded(cell):
            task = nb_.grade_id(cell).removeprefix(nb_.TEST_PREFIX)
            first = next(iter(mutants.get(task, [])), {"source": ""})
            preamble = _preamble(trees, tree)
            control = Control(task, cell.id, first["source"], preamble, tuple(sorted(bound)))
            found.append(control)
            continue
        else:
            trees.append(tree)
        bound |= _bound(tree)
    return found


def _bound(tree: ast.Module) -> set[str]:
    """All names that code may bind, at any depth: too many do no harm."""
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not _is_loaded(n)}
    return names | _defined(ast.walk(tree))


def _is_loaded(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Load)


def _preamble(trees: Sequence[ast.Module], test: ast.Module) -> str:
    """The imports and functions of these cells that a test needs, itself or through others."""
    offered: list[tuple[set[str], ast.stmt]] = []
    for node in (node for tree in trees for node in tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                one = copy.copy(node)
                one.names = [alias]
                offered.append(({imported_as(alias)}, one))
        elif isinstance(node, ast.FunctionDef):
            offered.append(({node.name}, node))
    needed: list[ast.stmt] = []
    wanted, seen = _loaded(test), set()
    while wanted - seen:
        name = min(wanted - seen)
        seen.add(name)
        for names, node in offered:
            if name in names and node not in needed:
                needed.append(node)
                wanted |= _loaded(node)
    return "\n".join(ast.unparse(node) for _, node in offered if node in needed)


def _loaded(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and _is_loaded(n)}


def _for_kernel(cell: NotebookNode) -> dict[str, Any]:
    """What running a cell depends on, so that equal code in two submissions is one job."""
    metadata: dict[str, Any] = {"tags": list(cell.metadata.get("tags", []))}
    source = cell.source
    if nb_.is_solution(cell):
        source = _unwrapped(source)
    if not _is_test(cell):
        source = _runnable(source)
    if nb_.is_graded(cell):
        metadata["nbgrader"] = {"grade": True}
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": cell.id,
        "metadata": metadata,
        "outputs": [],
        "source": source,
    }


def _unwrapped(source: str) -> str:
    """A solution cell without magics for the whole cell."""
    lines = source.split("\n")
    for number, line in enumerate(lines):
        if _WRAPPED.match(line):
            lines[number] = f"# {line}"
        elif line.strip():
            break
    return "\n".join(lines)


def suspicions(result: Result, tests: Mapping[str, str]) -> list[str]:
    """What a person should look at, a sentence each. tests: the ids of the test cells by task."""
    found = []
    survived = [task for task, ended in result.controls.items() if ended == "survived"]
    if survived:
        what = "pass on a planted mistake: they were tampered with"
        found.append(f"the checks of {', '.join(survived)} {what}")
    shown = {outcome.cell_id: outcome.status for outcome in result.cells}
    apart = [
        task
        for task, trial in result.trials.items()
        if trial.visible and trial.status != "tampered" and shown.get(tests.get(task, "")) == "ok"
    ]
    if apart:
        what = "pass their visible checks in the notebook, but not apart from it"
        found.append(f"{', '.join(apart)} {what}; they got no points until you look at them")
    for task, trial in result.trials.items():
        if trial.status == "tampered":
            what = "passes in the notebook, but not when it is checked apart from it"
            found.append(f"{task} {what}: {trial.why}")
        elif trial.status == "error":
            what = f"could not be checked ({trial.why}); it got no points until you look at it"
            found.append(f"{task} {what}")
    for task, ended in result.controls.items():
        if ended.startswith("error"):
            found.append(f"the negative control of {task} could not be tried ({ended[7:]})")
    return found + ([result.message] if result.message else [])


def changed_cells(notebook: NotebookNode, source: NotebookNode, result: Result) -> list[str]:
    """What is told of the instructor's cells that were changed and then failed."""
    originals = nb_.once(source, "originals", lambda: _originals(source))
    ended = {outcome.cell_id: outcome for outcome in result.cells}
    found = []
    for cell in notebook.cells:
        outcome = ended.get(cell.id)
        if outcome is None or outcome.status == "ok":
            continue
        if cell.source != originals.get(cell.id, cell.source):
            start = originals[cell.id].strip().split("\n")[0][:40]
            why = f"{outcome.ename}: {outcome.evalue[:100]}" if outcome.ename else outcome.status
            found.append(f"the cell {start!r} was changed and fails ({why}); the original ran, too")
    return found


def apply_result(
    notebook: NotebookNode,
    result: Result,
    exams: Mapping[str, Private] | None = None,
    files: str = "",
    handed: Mapping[str, Sequence[NotebookNode]] | None = None,
) -> tuple[Verdict, ...]:
    """Put what ran into the grafted notebook: outputs, and at each test cell its verdict.

    exams: the private inputs of each task that is an exam. files: what is to be told of the files
    that were handed in, beside an exam that failed. handed: the outputs that were handed in, by
    cell: a cell that failed or did not run shows them, too. A cell that trains keeps its own.
    """
    exams, handed = exams or {}, handed or {}
    said = words.of(nb_.ours(notebook).get("language")).feedback["handed in"]
    code = [c for c in notebook.cells if c.cell_type == "code" and not nb_.is_graded(c)]
    written = "\n\n".join(cell.source for cell in code)
    executed = nbformat.from_dict(result.notebook)
    outputs = {cell.id: cell.get("outputs", []) for cell in executed.cells}
    outcomes = {outcome.cell_id: outcome for outcome in result.cells}
    verdicts = []
    tests = {cell.id: task for task, cell in nb_.test_cells(notebook).items()}
    seen: list[str] = []
    trained = [c.source for c in notebook.cells if nb_.is_training(c)]
    for cell in notebook.cells:
        if cell.cell_type != "code" or nb_.is_training(cell):
            continue
        seen.append(cell.id)
        cell.outputs = outputs.get(cell.id, [])
        outcome = outcomes.get(cell.id) or CellOutcome(cell.id, "skipped", 0.0)
        if outcome.status != "ok" and cell.id in handed:
            note = new_output("stream", name="stderr", text=f"[{said}]\n")
            cell.outputs = [*cell.outputs, note, *handed[cell.id]]
        if cell.id not in tests:
            continue
        task = tests[cell.id]
        if task in exams:
            verdict = judge_exam(cell, outcome, exams[task], result.handed.get(task), written)
            if files and not verdict.score and verdict.status != "not attempted":
                verdict = replace(verdict, message=f"{verdict.message}\n{files}")
        else:
            trial = result.trials.get(task, Trial("skipped"))
            verdict = judge(cell, outcome, trial, result.controls.get(task, "killed"))
        if verdict.status == "wrong":
            trial = None if task in exams else result.trials.get(task)
            before = [outcomes[i] for i in seen if i in outcomes and i not in tests]
            verdict = unless_lacking(verdict, outcome, trial, before, trained)
        write_outputs(cell, verdict)
        verdicts.append(verdict)
    return tuple(verdicts)
