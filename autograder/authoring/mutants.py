"""Mutants prove the tests: each planted or generated mistake must make its own test fail.

`generate` makes mutants of a reference solution; `prove` runs a notebook's reference twice, its
planted, generated and standard mutants and its alternatives, and says what survived.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import difflib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder import notebook as nb_
from autograder.authoring import standard
from autograder.authoring.text import BEGIN_SOLUTION, END_SOLUTION, Text, apply_mutant
from autograder.errors import Problem, stop
from autograder.execution.sandbox import threads

PLANTED, GENERATED, STANDARD, ALTERNATIVE = KINDS = (
    "planted",
    "generated",
    "standard",
    "alternative",
)
GENERATED_RATE = 0.85  # of the generated mutants, at least this share is killed
VARIANT_SECONDS = 10.0
SILENT_SECONDS = 900.0  # no cell of a course's own notebook takes that long


@dataclass(frozen=True)
class Variant:
    """Another solution cell of a task. kind: one of KINDS. line: in the text.

    text: why it is there, the generated change as a diff, or what a standard mutant spoils.
    mistake: the kind of a standard mutant.
    """

    kind: str
    source: str
    text: str
    line: int
    mistake: str = ""


@dataclass
class Proof:
    """What became of one task. Lists hold variants; seconds: of its test."""

    text: Text
    task: str
    seconds: float = 0.0
    killed: list[Variant] = field(default_factory=list)
    survived: list[Variant] = field(default_factory=list)
    accepted: list[Variant] = field(default_factory=list)
    rejected: list[Variant] = field(default_factory=list)

    def count(self, kind: str) -> tuple[int, int]:
        """(killed, all) mutants of a kind."""
        killed = sum(v.kind == kind for v in self.killed)
        return killed, killed + sum(v.kind == kind for v in self.survived)

    def mistakes(self) -> dict[str, tuple[int, int]]:
        """(killed, all) standard mutants by the kind of mistake."""
        found = {}
        for mistake in standard.KINDS:
            killed = sum(v.mistake == mistake for v in self.killed)
            total = killed + sum(v.mistake == mistake for v in self.survived)
            if total:
                found[mistake] = (killed, total)
        return found


# -- Generating -------------------------------------------------------------------------------

_SWAPS: Mapping[type, Sequence[type]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.MatMult: (ast.Mult,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}


def generate(solution: str) -> list[str]:
    """Mutants of a solution cell: each with one small change inside a solution region.

    Operators and comparisons are swapped, numbers, booleans and axes changed, signs and negations
    dropped, and statements left out. Sources are `ast.unparse`d; no two are the same.
    """
    tree = ast.parse(solution)
    regions = _regions(solution)
    original = ast.unparse(tree)
    sites = [
        (node, parent, name, index)
        for node, parent, name, index in _walk(tree)
        if any(a < getattr(node, "lineno", 0) < b for a, b in regions)
    ]
    found: dict[str, None] = {}
    for node, parent, name, index in sites:
        for change in _changes(node):
            kept = getattr(parent, name)
            if index is None:
                setattr(parent, name, change)
            else:
                changed = [*kept]
                changed[index : index + 1] = [] if change is None else [change]
                setattr(parent, name, changed or [ast.Pass()])
            try:
                source = ast.unparse(ast.fix_missing_locations(tree))
            finally:
                setattr(parent, name, kept)
            if source != original:
                found.setdefault(source)
    return list(found)


def _regions(source: str) -> list[tuple[int, int]]:
    marks = [
        i
        for i, line in enumerate(source.split("\n"), 1)
        if line.strip() in (BEGIN_SOLUTION, END_SOLUTION)
    ]
    return list(zip(marks[::2], marks[1::2], strict=True))


def _walk(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST, str, int | None]]:
    """All nodes that may change, each with its parent, field and index in a list field."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            # What an error says, and a type hint, is no behaviour.
            if not isinstance(child, ast.AST) or isinstance(child, ast.Raise):
                continue
            yield child, tree, name, index
            yield from _walk(child)


def _changes(node: ast.AST) -> Iterator[ast.AST | None]:
    """The nodes that may stand in a node's place; None leaves a statement out."""
    if isinstance(node, ast.BinOp):
        for operator in _SWAPS.get(type(node.op), ()):
            yield _with(node, op=operator())
    elif isinstance(node, ast.AugAssign):
        for operator in _SWAPS.get(type(node.op), ()):
            yield _with(node, op=operator())
        yield None
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=_SWAPS[type(node.op)][0]())
    elif isinstance(node, ast.Compare):
        for operator in _SWAPS.get(type(node.ops[0]), ()):
            yield _with(node, ops=[operator(), *node.ops[1:]])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield node.operand
    elif isinstance(node, ast.keyword) and node.arg == "axis":
        value = node.value
        number = ast.literal_eval(value) if _is_number(value) else None
        if number is not None:
            yield _with(node, value=ast.Constant(1 if number == 0 else 0))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
        if node.value not in (0, 1):
            yield ast.Constant(node.value / 2 if isinstance(node.value, float) else 0)
    elif isinstance(node, ast.Expr):
        if not isinstance(node.value, ast.Constant):  # a docstring does nothing
            yield None
    elif isinstance(node, ast.Assign) and not all(isinstance(t, ast.Name) for t in node.targets):
        yield None  # without `x = ...` the next line raises NameError: too easy


def _is_number(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _diff(solution: str, mutant: str) -> str:
    before = ast.unparse(ast.parse(solution)).split("\n")
    _, _, *lines = difflib.unified_diff(before, mutant.split("\n"), lineterm="", n=0)
    return "\n".join(line for line in lines if not line.startswith("@@"))


# -- Proving ----------------------------------------------------------------------------------


Choose = Callable[[str], Collection[str]]  # the kinds of variants to try, by task


def everything(task: str) -> Collection[str]:
    """Try all variants of a task."""
    return KINDS


def authored(task: str) -> Collection[str]:
    """Try what authors have written: planted mutants and alternatives."""
    return PLANTED, ALTERNATIVE


def variants_of(text: Text, choose: Choose = everything) -> dict[str, list[Variant]]:
    """The variants of a notebook's tasks that are chosen."""
    return {
        task: [v for kind in choose(task) for v in _variants(text, task, kind)]
        for task in text.solutions
    }


def _variants(text: Text, task: str, kind: str) -> list[Variant]:
    solution = text.solutions[task]
    source, line = solution.source, solution.line
    if kind == PLANTED:
        return [
            Variant(kind, apply_mutant(source, c.source), c.options["why"], c.line)
            for c in text.of("mutant", task)
        ]
    if kind == ALTERNATIVE:
        cells = text.of("alternative", task)
        return [Variant(kind, c.source, c.options["why"], c.line) for c in cells]
    if kind == GENERATED:
        return [Variant(kind, new, _diff(source, new), line) for new in generate(source)]
    return [
        Variant(kind, new, f"{mistake}: {what}", line, mistake)
        for mistake, what, new in standard.mutants(source)
    ]


def prove(
    texts: Sequence[Text],
    root: Path,
    *,
    choose: Choose = authored,
    jobs: int = 2,
    on_event: Callable[[str], None] = lambda event: None,
) -> tuple[list[Proof], list[Problem]]:
    """Run the notebooks with the variants that are chosen; on_event is told of each that ended.

    The reference passes every test twice, with other random numbers and at the end of the notebook,
    with equal scores; planted mutants fail, and the standard ones that each numeric task has to
    notice; alternatives pass.
    """
    with workers(jobs) as pool:
        results = list(pool.map(lambda t: prove_one(t, root, choose, on_event), texts))
    return [p for proofs, _ in results for p in proofs], [q for _, found in results for q in found]


def only(texts: Sequence[Text], task: str, choose: Choose) -> Choose:
    """That choice for one task, nothing for the others. Raises CourseError where none has it."""
    tasks = sorted({task for text in texts for task in text.solutions})
    if task not in tasks:
        raise stop("weeks", task, "unknown-task", f"there is only: {', '.join(tasks)}")
    return lambda one: choose(one) if one == task else ()


def prove_one(
    text: Text,
    root: Path,
    choose: Choose,
    on_event: Callable[[str], None] = lambda event: None,
) -> tuple[list[Proof], list[Problem]]:
    """As `prove`, of one notebook."""
    variants = variants_of(text, choose)
    cells = [
        {
            "id": str(cell.line),
            "kind": cell.kind if cell.kind in ("solution", "test") else "code",
            "source": cell.source,
            "task": cell.task,
            "public": nb_.without_hidden(cell.source) if cell.kind == "test" else "",
        }
        for cell in text.cells
        if not cell.is_markdown and cell.kind not in ("mutant", "alternative")
    ]
    job = {
        "cells": cells,
        "exams": [task for task, test in text.tests.items() if test.options.get("exam")],
        "limit": VARIANT_SECONDS,
        "salts": ["first", "second"],
        "variants": {
            task: [
                {"name": i, "source": v.source, "mistake": v.mistake} for i, v in enumerate(found)
            ]
            for task, found in variants.items()
        },
    }
    proofs = {task: Proof(text, task) for task in text.solutions}
    problems: list[Problem] = []
    first: dict[str, dict[str, Any]] = {}

    def report(line: Any, rule: str, message: str) -> None:
        problems.append(Problem(text.file, f"line {line}", rule, message))

    for event in run_worker(job, root / "weeks" / text.week, text.file, problems):
        task = event.get("task", "")
        if event["event"] == "variant":
            variant = variants[task][event["name"]]
            _judge(proofs[task], variant, event, report)
            on_event(variant.kind)
        elif not event["ok"]:
            when = "run again at the end, " if event["event"] == "again" else ""
            what = f"{event['ename']}: {event['evalue']}"
            report(event["id"], "reference", f"{when}the reference fails here: {what}")
        elif event["event"] == "cell" and task in text.tests:
            first[event["id"]] = event
            proofs[task].seconds = event["seconds"]
            if event["score"] < 1.0:
                message = f"the reference gets {event['score']:.0%} of the points"
                report(event["id"], "reference", message)
        elif event["event"] == "again" and first.get(event["id"], event)["score"] != event["score"]:
            message = "the reference's score changes when the test runs again"
            report(event["id"], "flaky", message)
    return list(proofs.values()), problems


def too_few_killed(file: str, counts: Iterable[tuple[int, int]]) -> list[Problem]:
    """The gate on a notebook's generated mutants. counts: (killed, all), by task."""
    counts = list(counts)
    killed, total = sum(k for k, _ in counts), sum(n for _, n in counts)
    if killed >= GENERATED_RATE * total:
        return []
    message = f"{killed} of {total} generated mutants are killed, fewer than {GENERATED_RATE:.0%}"
    return [Problem(file, "", "generated-mutants", message)]


def _judge(
    proof: Proof, variant: Variant, event: dict[str, Any], report: Callable[[Any, str, str], None]
) -> None:
    passed = event["ok"] and event["score"] >= 1.0
    if event["idle"]:  # it had nothing to change
        return
    if variant.kind == ALTERNATIVE:
        (proof.accepted if passed else proof.rejected).append(variant)
        if not passed:
            what = f"{event['ename']}: {event['evalue']}"
            message = f"the test of {proof.task!r} fails on a right answer ({variant.text}): {what}"
            report(variant.line, "alternative", message)
        return
    (proof.survived if passed else proof.killed).append(variant)
    if passed and (variant.kind == PLANTED or variant.mistake in standard.NEEDED):
        message = f"the test of {proof.task!r} passes on this mutant: {variant.text}"
        report(variant.line, "mutant-survives", message)


_running: set[subprocess.Popen] = set()


@contextlib.contextmanager
def workers(jobs: int | None) -> Iterator[ThreadPoolExecutor]:
    """A pool for calls of `run_worker`; an interrupt ends their processes, too."""
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(_running):
                _kill(process)
            raise


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run_worker(
    job: dict[str, Any], folder: Path, file: str, problems: list[Problem]
) -> Iterator[dict[str, Any]]:
    """Run a job of `prover` in a process of its own and yield its events.

    It runs in a copy of the week's folder: what a notebook writes must not be built.
    """
    with tempfile.TemporaryDirectory(prefix="prover-", ignore_cleanup_errors=True) as temporary:
        copy_ = Path(shutil.copytree(folder, Path(temporary) / folder.name))
        yield from _run_worker(job, copy_, file, problems)


def _run_worker(
    job: dict[str, Any], folder: Path, file: str, problems: list[Problem]
) -> Iterator[dict[str, Any]]:
    environment = {
        **os.environ,
        **threads(1),  # a fork must not inherit a pool of them
        "MPLBACKEND": "Agg",
        "TQDM_DISABLE": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "autograder.authoring.prover"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=folder,
        env=environment,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # what it starts ends with it
    )
    _running.add(process)
    assert process.stdin and process.stdout
    ended = late = False

    def stop_it() -> None:
        nonlocal late
        late = True
        _kill(process)

    try:
        process.stdin.write(json.dumps(job))
        process.stdin.close()
        while not ended:
            watch = threading.Timer(SILENT_SECONDS, stop_it)
            watch.daemon = True
            watch.start()
            try:
                line = process.stdout.readline()
            finally:
                watch.cancel()
            if not line:
                break
            event = json.loads(line)
            if event["event"] == "stop":
                problems.append(Problem(file, "", "exam", event["message"]))
            ended = event["event"] in ("end", "stop")
            if not ended:
                yield event
    finally:
        _running.discard(process)
        _kill(process)
        process.wait()
        process.stdout.close()
    if late:
        message = f"a cell ran longer than {SILENT_SECONDS:g} s and was stopped"
        problems.append(Problem(file, "", "reference", message))
    elif not ended:
        message = "the process that ran it ended before the last cell: does a cell leave Python?"
        problems.append(Problem(file, "", "reference", message))
