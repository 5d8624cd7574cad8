"""`autograder prove`: all gates of a week in one pass, and a receipt of what passed.

A notebook is executed twice: once by the prover, with its mutants and alternatives, and once from
top to bottom as a student runs it. Besides, its untouched version is run up to where its stubs
stop it. What came of it stands in the week's proof.json with fingerprints of all that it depends
on; prose is no such thing. A receipt that holds is believed; a stale one is proven again, as far
as it is stale:

| what differs | is proven again |
|---|---|
| a task's solution, test, mutants or alternatives | this task's variants |
| other code of the notebook, a file of the week | all variants |
| `practical_dl`, the prover, versions | what authors planted; not what is made by rule |

In each case the reference runs twice, with every test, and both runs above are made.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from autograder import exams, files, fingerprints
from autograder import notebook as nb_
from autograder.authoring import build, lint, mutants
from autograder.authoring.text import Text
from autograder.course import Course, Week
from autograder.errors import Problem
from autograder.execution.runall import RunReport, run_all

PROFILE = "small"
CPU_SECONDS = 90  # of a notebook in `small`, from top to bottom, with the start of its kernel
MEMORY_MIB = 3 * 1024
PINNED = ("torch", "numpy")
# What decides how a proof comes out, besides the course: change one, and all is proven again.
PROVER = (
    *(f"autograder/authoring/{name}.py" for name in ("text", "mutants", "prover", "standard")),
    "autograder/exams.py",
    "autograder/execution/runall.py",
)


# -- The receipt ------------------------------------------------------------------------------


@dataclass(frozen=True)
class TaskProof:
    """What is known of a task. Pairs are (killed, all); alternatives: how many pass.

    code: fingerprint of its solution, test, mutants and alternatives. checks: how many hidden ones
    its test has. standard: by the kind of mistake. seconds: of its test.
    """

    code: str
    points: float
    bonus: bool
    exam: bool
    checks: int
    planted: tuple[int, int]
    generated: tuple[int, int]
    standard: Mapping[str, tuple[int, int]]
    alternatives: int
    seconds: float


@dataclass(frozen=True)
class Receipt:
    """What is known of a notebook. code, library, prover, versions: fingerprints and words.

    cpu_seconds, memory_mib: of its run from top to bottom.
    """

    code: str
    library: str
    prover: str
    versions: str
    tasks: Mapping[str, TaskProof] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    memory_mib: float = 0.0

    def counts(self) -> dict[str, Any]:
        """All that must be the same when it is proven again; times are not."""
        return {
            task: {k: v for k, v in asdict(proof).items() if k != "seconds"}
            for task, proof in self.tasks.items()
        }


def read(course: Course, week: Week) -> dict[str, Receipt]:
    """The receipts of a week by notebook; what can't be read is not there."""
    path = course.root / "weeks" / week.folder / build.PROOF_FILE
    found = {}
    try:
        for name, values in json.loads(path.read_bytes()).items():
            tasks = {task: _task_of(v) for task, v in values.pop("tasks").items()}
            found[name] = Receipt(**values, tasks=tasks)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return found


def _task_of(values: dict[str, Any]) -> TaskProof:
    pairs = {kind: tuple(values.pop(kind)) for kind in ("planted", "generated")}
    standard = {kind: tuple(pair) for kind, pair in values.pop("standard").items()}
    return TaskProof(**values, **pairs, standard=standard)


def dumps(receipts: Mapping[str, Receipt]) -> bytes:
    """Receipts as a file: a line for each pair, so that changes are seen in a diff."""
    text = json.dumps({n: asdict(r) for n, r in receipts.items()}, indent=1, sort_keys=True)
    return (re.sub(r"\[\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2]", text) + "\n").encode()


# -- What it depends on -----------------------------------------------------------------------


def versions() -> str:
    """What a proof depends on that is not ours."""
    found = [f"python {sys.version_info.major}.{sys.version_info.minor}"]
    return ", ".join([*found, *(f"{name} {metadata.version(name)}" for name in PINNED)])


def current(course: Course, week: Week, text: Text) -> Receipt:
    """The receipt that a notebook would have now, with nothing proven."""
    own = [c for c in text.cells if not c.is_markdown]
    shared = [repr((c.kind, c.source)) for c in own if not c.task]
    order = [c.task for c in own if c.kind == "solution"]
    folder = course.root / "weeks" / week.folder
    beside = [n for n in (exams.FILE, *build.released(course, week)) if not n.endswith(".md")]
    contents = [(folder / name).read_bytes() for name in beside if (folder / name).is_file()]
    which = fingerprints.Library(week.number, week.data, week.models)
    return Receipt(
        code=files.digest([repr(order), *shared, *contents])[:16],
        library=fingerprints.of(fingerprints.library(which))[:16],
        prover=fingerprints.of(fingerprints.sources(*PROVER))[:16],
        versions=versions(),
        tasks={task: _unproven(text, task) for task in text.solutions},
    )


def _unproven(text: Text, task: str) -> TaskProof:
    test = text.tests[task]
    cells = [text.solutions[task], test]
    cells += [c for kind in ("mutant", "alternative") for c in text.of(kind, task)]
    exam = bool(test.options.get("exam"))
    parts = [repr((c.kind, c.source, c.options.get("why"))) for c in cells]
    return TaskProof(
        code=files.digest([*parts, repr(exam)])[:16],
        points=float(test.options["points"]),
        bonus=bool(test.options.get("bonus")),
        exam=exam,
        checks=_checks(nb_.hidden_regions(test.source)),
        planted=(0, 0),
        generated=(0, 0),
        standard={},
        alternatives=0,
        seconds=0.0,
    )


def _checks(lines: Sequence[str]) -> int:
    """How many checks hidden lines hold: calls of `check`, and asserts."""
    found = 0
    for line in lines:
        found += line.startswith("assert ")
        found += sum(line.count(f"check.{name}(") for name in _CHECKS)
    return found


_CHECKS = ("close", "equal", "that", "gradient", "raises", "hand_in", "score", "lines_run")


@dataclass(frozen=True)
class Need:
    """What of a notebook has to be proven. whole: tasks of which all variants are tried.

    authored: tasks of which only what their authors wrote is. Empty both: only the two runs.
    """

    whole: frozenset[str]
    authored: frozenset[str]

    def kinds(self, task: str) -> Iterable[str]:
        """The kinds of variants to try for a task."""
        if task in self.whole:
            return mutants.KINDS
        return mutants.authored(task) if task in self.authored else ()


def need(now: Receipt, kept: Receipt | None) -> Need | None:
    """What has to be proven, where `kept` is the receipt on disk; None: it holds."""
    tasks = frozenset(now.tasks)
    if kept is None or kept.code != now.code:
        return Need(tasks, frozenset())
    changed = {
        task
        for task, proof in now.tasks.items()
        if task not in kept.tasks or kept.tasks[task].code != proof.code
    }
    others = ("library", "prover", "versions")
    if any(getattr(now, name) != getattr(kept, name) for name in others):
        return Need(frozenset(changed), tasks - changed)
    if changed or kept.tasks.keys() - tasks or _worth(kept) != _worth(now):
        return Need(frozenset(changed), frozenset())
    return None


def _worth(receipt: Receipt) -> dict[str, Any]:
    return {task: (p.points, p.bonus, p.checks) for task, p in receipt.tasks.items()}


# -- Proving ----------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What came of one notebook. need: None where its receipt was believed.

    receipt: None where a gate does not hold.
    """

    text: Text
    need: Need | None
    receipt: Receipt | None
    proofs: list[mutants.Proof] = field(default_factory=list)
    report: RunReport | None = None


def prove(
    course: Course,
    weeks: Sequence[Week],
    *,
    notebook: str = "",
    again: bool = False,
    jobs: int = 2,
    tell: Callable[[str], None] = lambda sentence: None,
) -> tuple[list[Outcome], list[Problem]]:
    """Prove the notebooks of weeks, as far as their receipts do not hold; nothing is written.

    notebook: only those of this name. again: prove all of it, whatever the receipts say. tell: of
    each notebook that is through.
    """
    problems: list[Problem] = []
    waiting: list[tuple[Week, Text, Receipt, Receipt | None]] = []
    for week in weeks:
        found = lint.lint_week(course, week, run=False)
        problems += found
        if found:
            continue
        kept = read(course, week)
        for text in build.texts_of(course, [week], ""):
            if notebook in ("", text.name):
                waiting.append((week, text, current(course, week, text), kept.get(text.name)))

    def one(case: tuple[Week, Text, Receipt, Receipt | None]) -> tuple[Outcome, list[Problem]]:
        week, text, now, kept = case
        todo = need(now, None if again else kept)
        if todo is None:
            return Outcome(text, None, kept), []
        outcome, found = _prove_one(course, week, text, now, kept, todo)
        tell(f"{week.folder}/{text.name}")
        return outcome, found

    with mutants.workers(jobs) as pool:
        results = list(pool.map(one, waiting))
    outcomes = [outcome for outcome, _ in results]
    problems += [problem for _, found in results for problem in found]
    tried = [proof for outcome in outcomes for proof in outcome.proofs]
    return outcomes, problems + mutants.too_few_killed(tried)


def _prove_one(
    course: Course, week: Week, text: Text, now: Receipt, kept: Receipt | None, todo: Need
) -> tuple[Outcome, list[Problem]]:
    proofs, problems = mutants.prove_one(text, course.root, todo.kinds)
    problems += lint.untouched(text, course)
    report = _run(course, week, text)
    problems += _limits(text, report)
    before = kept.tasks if kept else {}
    tasks = {p.task: _task_proof(now.tasks[p.task], p, todo, before.get(p.task)) for p in proofs}
    receipt = replace(
        now,
        tasks=tasks,
        cpu_seconds=round(report.cpu_seconds),
        memory_mib=round(report.peak_memory_mib, -1),
    )
    return Outcome(text, todo, None if problems else receipt, proofs, report), problems


def _task_proof(
    now: TaskProof, proof: mutants.Proof, todo: Need, before: TaskProof | None
) -> TaskProof:
    """What is known of a task, with what was found before where it was not tried again."""
    kinds = set(todo.kinds(proof.task))
    old = before or now
    return replace(
        now,
        planted=proof.count(mutants.PLANTED) if mutants.PLANTED in kinds else old.planted,
        alternatives=len(proof.accepted) if mutants.ALTERNATIVE in kinds else old.alternatives,
        generated=proof.count(mutants.GENERATED) if mutants.GENERATED in kinds else old.generated,
        standard=proof.mistakes() if mutants.STANDARD in kinds else old.standard,
        seconds=round(proof.seconds, 2),
    )


def _run(course: Course, week: Week, text: Text) -> RunReport:
    path = course.root / "source" / week.folder / f"{text.name}.ipynb"
    (report,) = run_all(
        [path],
        output_dir=course.root / "runs" / "source" / PROFILE,
        profile=PROFILE,
        jobs=1,
        variables=exams.variables(course, [week], PROFILE),
    )
    return report


def _limits(text: Text, report: RunReport) -> Iterable[Problem]:
    if not report.ok:
        yield Problem(text.file, "", "run", report.error)
        return
    if report.cpu_seconds > CPU_SECONDS:
        slowest = "; ".join(f"cell {n}: {s:.0f} s" for n, _, s in report.slowest)
        used = f"{report.cpu_seconds:.0f} CPU seconds, of {CPU_SECONDS}"
        message = f"its run takes {used} ({slowest})"
        yield Problem(text.file, "", "run", message)
    if report.peak_memory_mib > MEMORY_MIB:
        message = f"its run takes {report.peak_memory_mib:.0f} MiB of memory, of {MEMORY_MIB}"
        yield Problem(text.file, "", "run", message)


def write(course: Course, outcomes: Iterable[Outcome]) -> list[Path]:
    """Write the receipts of what was proven, and drop those of notebooks that are gone."""
    by_week: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_week.setdefault(outcome.text.week, []).append(outcome)
    written = []
    for folder, found in by_week.items():
        (week,) = course.select([folder])
        names = {entry.name for entry in week.notebooks}
        receipts = {n: r for n, r in read(course, week).items() if n in names}
        receipts |= {o.text.name: o.receipt for o in found if o.receipt}
        path = course.root / "weeks" / folder / build.PROOF_FILE
        content = dumps(receipts)
        if not path.is_file() or path.read_bytes() != content:
            files.write(path, content)
            written.append(path)
    return written


def differences(course: Course, outcomes: Iterable[Outcome]) -> list[Problem]:
    """Where the receipts on disk are stale, or tell other counts than were found now."""
    problems = []
    for outcome in outcomes:
        if outcome.receipt is None:
            continue
        (week,) = course.select([outcome.text.week])
        kept = read(course, week).get(outcome.text.name)
        file = f"weeks/{week.folder}/{build.PROOF_FILE}"
        again = f"run: autograder prove {week.folder}"
        now = current(course, week, outcome.text)
        if need(now, kept) is not None:
            message = f"it was made of another state of things; {again}"
            problems.append(Problem(file, outcome.text.name, "receipt", message))
        elif kept is not None and kept.counts() != outcome.receipt.counts():
            wrong = [t for t, p in outcome.receipt.counts().items() if kept.counts().get(t) != p]
            message = f"it tells other counts than were found now ({', '.join(wrong)}); {again}"
            problems.append(Problem(file, outcome.text.name, "receipt", message))
    return problems
