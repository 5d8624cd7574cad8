"""`autograder prove`: all gates of a week in one pass, and a receipt of what passed.

A notebook is executed twice: once by the prover, with its mutants and alternatives, and once from
top to bottom as a student runs it. Besides, its untouched version is run up to where its stubs
stop it. What came of it stands in the week's proof.json with fingerprints of all that it depends
on; prose is no such thing. A receipt that holds is believed; a stale one is proven again, as far
as it is stale:

| what differs | is proven again |
|---|---|
| a task's solution, test, mutants or alternatives | this task's variants |
| other code of the notebook, the order of its cells, a file of the week | all variants |
| `practical_dl`, the prover, versions | what authors planted; not what is made by rule |

In each case the reference runs twice, with every test, and both runs above are made. A notebook
that a gate refuses has no receipt any more.
"""

from __future__ import annotations

import json
import math
import os
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
# Of a notebook in `small`, from top to bottom: as much as two cores give in 90 s. It runs with one
# thread; where other processes share the cores, the same work takes more.
CPU_SECONDS = 2 * 90
MEMORY_MIB = 3 * 1024
RUNS = 3  # of a notebook that takes longer, before it is believed to
PINNED = ("torch", "numpy")
# What decides how a proof comes out, besides the course: change one, and all is proven again.
PROVER = (
    *(f"autograder/authoring/{name}.py" for name in ("text", "mutants", "prover", "standard")),
    "autograder/exams.py",
    "autograder/notebook.py",
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

    cpu_seconds, memory_mib: of its run from top to bottom, with one thread.
    """

    code: str
    library: str
    prover: str
    versions: str
    cpu_seconds: int = 0
    memory_mib: int = 0
    tasks: Mapping[str, TaskProof] = field(default_factory=dict)

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
    text = json.dumps({n: asdict(r) for n, r in receipts.items()}, indent=1)
    return (re.sub(r"\[\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2]", text) + "\n").encode()


# -- What it depends on -----------------------------------------------------------------------


def versions() -> str:
    """What a proof depends on that is not ours."""
    found = [f"python {sys.version_info.major}.{sys.version_info.minor}"]
    return ", ".join([*found, *(f"{name} {metadata.version(name)}" for name in PINNED)])


def current(course: Course, week: Week, text: Text) -> Receipt:
    """The receipt that a notebook would have now, with nothing proven."""
    own = [c for c in text.cells if not c.is_markdown and c.kind not in ("mutant", "alternative")]
    # A task's own cells count by their place alone.
    cells = [repr((c.kind, c.task or c.source)) for c in own]
    folder = course.root / "weeks" / week.folder
    released = [name for name in build.released(course, week) if not name.endswith(".md")]
    beside = fingerprints.sources(exams.FILE, *released, root=folder)
    which = fingerprints.library_of(week)
    return Receipt(
        code=files.digest([*cells, fingerprints.of(beside, root=folder)])[:16],
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


_CHECK = re.compile(
    r"^assert\b|\bcheck\.(?:close|equal|gradient|hand_in|raises|score|stands_alone|that)\("
)


def _checks(lines: Iterable[str]) -> int:
    """How many checks hidden lines hold: calls of `check`, and asserts."""
    return sum(len(_CHECK.findall(line)) for line in lines)


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
    before = {task: proof.code for task, proof in kept.tasks.items()}
    changed = frozenset(t for t, proof in now.tasks.items() if before.get(t) != proof.code)
    if (now.library, now.prover, now.versions) != (kept.library, kept.prover, kept.versions):
        return Need(changed, tasks - changed)
    if changed or _worth(kept) != _worth(now):
        return Need(changed, frozenset())
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
    timed: bool = True,
    jobs: int = 2,
    tell: Callable[[str], None] = lambda sentence: None,
) -> tuple[list[Outcome], list[Problem]]:
    """Prove the notebooks of weeks, as far as their receipts do not hold; nothing is written.

    notebook: only those of this name. again: prove all of it, whatever the receipts say. timed:
    hold the limit on CPU seconds, which a busy or slow machine breaks. tell: of each notebook that
    is through.
    """
    problems: list[Problem] = []
    sound: dict[str, Week] = {}
    for week in weeks:
        found = lint.lint_week(course, week, run=False)
        problems += found
        if not found:
            sound[week.folder] = week
    texts = build.texts_of(course, list(sound.values()), notebook) if sound else []
    cases = []
    for text in texts:
        week = sound[text.week]
        if not week.notebook(text.name).excluded:  # type: ignore[union-attr]
            now, kept = current(course, week, text), read(course, week).get(text.name)
            cases.append((text, now, kept, need(now, None if again else kept)))
    stale = {text.week for text, _, _, todo in cases if todo}
    # Here, before notebooks run at once: it may make the private inputs of a week.
    variables = exams.variables(course, [sound[folder] for folder in sorted(stale)], PROFILE)

    def one(
        case: tuple[Text, Receipt, Receipt | None, Need | None],
    ) -> tuple[Outcome, list[Problem]]:
        text, now, kept, todo = case
        if todo is None:
            return Outcome(text, None, kept), []
        outcome, found = _prove_one(course, text, now, kept, todo, variables, timed)
        tell(f"{text.week}/{text.name}")
        return outcome, found

    with mutants.workers(jobs) as pool:
        results = list(pool.map(one, cases))
    problems += [problem for _, found in results for problem in found]
    return [outcome for outcome, _ in results], problems


def _prove_one(
    course: Course,
    text: Text,
    now: Receipt,
    kept: Receipt | None,
    todo: Need,
    variables: Mapping[Path, Mapping[str, str]],
    timed: bool,
) -> tuple[Outcome, list[Problem]]:
    proofs, problems = mutants.prove_one(text, course.root, todo.kinds)
    problems += lint.untouched(text, course)
    limit = CPU_SECONDS if timed else math.inf
    report = _run(course, text, variables, limit)
    problems += _limits(text, report, limit)
    before = kept.tasks if kept else {}
    tasks = {p.task: _task_proof(now.tasks[p.task], p, todo, before.get(p.task)) for p in proofs}
    problems += mutants.too_few_killed(text.file, (task.generated for task in tasks.values()))
    receipt = replace(
        now,
        tasks=tasks,
        cpu_seconds=round(report.cpu_seconds),
        memory_mib=10 * round(report.peak_memory_mib / 10),
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


def _run(
    course: Course, text: Text, variables: Mapping[Path, Mapping[str, str]], limit: float
) -> RunReport:
    """Run a notebook; where it takes too long, again: beside others its CPU seconds are more."""
    path = course.root / "source" / text.week / f"{text.name}.ipynb"
    for _ in range(RUNS):
        (report,) = run_all(
            [path],
            output_dir=course.root / "runs" / "source" / PROFILE,
            profile=PROFILE,
            jobs=os.cpu_count() or 1,  # one thread: so it costs the same beside other notebooks
            variables=variables,
        )
        if not report.ok or report.cpu_seconds <= limit:
            break
    return report


def _limits(text: Text, report: RunReport, limit: float) -> Iterable[Problem]:
    if not report.ok:
        yield Problem(text.file, "", "run", report.error)
        return
    if report.cpu_seconds > limit:
        slowest = "; ".join(f"cell {n}: {s:.0f} s" for n, _, s in report.slowest)
        used = f"{report.cpu_seconds:.0f} CPU seconds, of {limit}"
        message = f"its run takes {used} ({slowest})"
        yield Problem(text.file, "", "run", message)
    if report.peak_memory_mib > MEMORY_MIB:
        message = f"its run takes {report.peak_memory_mib:.0f} MiB of memory, of {MEMORY_MIB}"
        yield Problem(text.file, "", "run", message)


def write(course: Course, outcomes: Iterable[Outcome]) -> None:
    """Write the receipts of what was proven; drop those of what failed, or is gone."""
    by_week: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_week.setdefault(outcome.text.week, []).append(outcome)
    for folder, found in by_week.items():
        (week,) = course.select([folder])
        kept = read(course, week)
        kept |= {outcome.text.name: outcome.receipt for outcome in found}
        names = [entry.name for entry in week.notebooks]
        content = dumps({name: kept[name] for name in names if kept.get(name)})
        path = course.root / "weeks" / folder / build.PROOF_FILE
        files.update(path, content)


def differences(course: Course, outcomes: Iterable[Outcome]) -> list[Problem]:
    """Where a receipt on disk is of another notebook, or tells other counts than were found now.

    One that is stale because of `practical_dl`, the prover or versions is no problem: what it tells
    was found again.
    """
    problems = []
    for outcome in outcomes:
        if outcome.receipt is None or outcome.need is None:
            continue
        (week,) = course.select([outcome.text.week])
        kept = read(course, week).get(outcome.text.name)
        now = outcome.receipt
        message = ""
        if kept is None:
            continue  # all of it was found now
        if _written(kept) != _written(now):
            message = f"the notebook is another one since; run: autograder prove {week.folder}"
        elif kept.counts() != now.counts():
            wrong = [task for task, found in now.counts().items() if kept.counts()[task] != found]
            message = f"it tells other counts than were found now, of {', '.join(wrong)}; "
            message += f"run: autograder prove {week.folder} --again"
        if message:
            file = f"weeks/{week.folder}/{build.PROOF_FILE}"
            problems.append(Problem(file, outcome.text.name, "receipt", message))
    return problems


def _written(receipt: Receipt) -> tuple[str, dict[str, Any], dict[str, str]]:
    """What a receipt tells of the notebook as it is written."""
    return receipt.code, _worth(receipt), {t: proof.code for t, proof in receipt.tasks.items()}
