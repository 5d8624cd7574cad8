"""docs/tasks.md: a table of all tasks of the course, made from the receipts of their proofs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from autograder import files
from autograder.authoring import proofs, standard
from autograder.authoring.proofs import Receipt, TaskProof
from autograder.course import Course
from autograder.errors import Problem

PATH = Path("docs/tasks.md")
_HEAD = """\
# All tasks

Made from the receipts of `autograder prove`, `weeks/*/proof.json`; `autograder build --check` holds
it to them.
*Planted* mutants are mistakes that the authors wrote down, *generated* ones small changes of the
reference, *standard* ones the mistakes of the last table. A pair is killed / all; *seconds* are
those of a task's test. CPU seconds and memory are those of Restart & Run All in `small`, offline,
with one thread.
"""


def build(course: Course) -> bytes:
    """The page as the receipts are now."""
    receipts = {
        f"{week.folder}/{entry.name}": receipt
        for week in course.weeks
        for entry in week.notebooks
        if (receipt := proofs.read(course, week).get(entry.name))
    }
    lines = [_HEAD, *_row("notebook", "tasks", "points", "bonus", "hidden checks", "planted",
                          "generated", "standard", "CPU, s", "memory, MiB", head=True)]  # fmt: skip
    for name, receipt in receipts.items():
        lines += _row(name, *_sums(receipt.tasks.values()), *_run(receipt))
    everything = [proof for receipt in receipts.values() for proof in receipt.tasks.values()]
    cpu = sum(receipt.cpu_seconds for receipt in receipts.values())
    lines += _row("**all**", *_sums(everything), f"{cpu:g}", "")
    for name, receipt in receipts.items():
        lines += ["", f"## {name}", ""]
        lines += _row("task", "points", "hidden checks", "planted", "generated", "standard",
                      "standard survivors", "alternatives", "seconds", head=True)  # fmt: skip
        for task, proof in receipt.tasks.items():
            lines += _row(f"`{task}`", *_of(proof))
    lines += ["", "## Standard mutants", "", *_row("kind", "what it is", "killed", head=True)]
    killed, total = Counter[str](), Counter[str]()
    for proof in everything:
        for kind, (dead, all_) in proof.standard.items():
            killed[kind] += dead
            total[kind] += all_
    for kind, what in standard.KINDS.items():
        if total[kind]:
            lines += _row(kind, what, _pair((killed[kind], total[kind])))
    return ("\n".join(lines) + "\n").encode()


def write(course: Course) -> None:
    """Write the page, where it is not what the receipts tell."""
    if stale(course):
        files.write(course.root / PATH, build(course))


def stale(course: Course) -> list[Problem]:
    """Whether the page on disk is another one. A course without docs/ has none."""
    path = course.root / PATH
    if not path.parent.is_dir() or files.holds(path, build(course)):
        return []
    return [
        Problem(str(PATH), "", "built", "is not what the receipts tell: run `autograder build`")
    ]


def _sums(tasks: Iterable[TaskProof]) -> Iterator[str]:
    tasks = list(tasks)
    yield str(len(tasks))
    for bonus in (False, True):
        yield f"{sum(t.points for t in tasks if t.bonus == bonus):g}"
    yield str(sum(t.checks for t in tasks))
    for pairs in ([t.planted for t in tasks], [t.generated for t in tasks], map(_all, tasks)):
        yield _pair(_add(pairs))


def _of(proof: TaskProof) -> Iterator[str]:
    yield f"{proof.points:g}" + (" bonus" if proof.bonus else "") + (", exam" if proof.exam else "")
    yield str(proof.checks)
    yield _pair(proof.planted)
    yield _pair(proof.generated)
    yield _pair(_all(proof))
    alive = {kind: all_ - dead for kind, (dead, all_) in proof.standard.items() if all_ > dead}
    yield ", ".join(f"{kind} ({n})" if n > 1 else kind for kind, n in alive.items())
    yield str(proof.alternatives)
    yield f"{proof.seconds:.2f}"


def _run(receipt: Receipt) -> Iterator[str]:
    yield f"{receipt.cpu_seconds:g}"
    yield f"{receipt.memory_mib:g}"


def _all(proof: TaskProof) -> tuple[int, int]:
    return _add(proof.standard.values())


def _add(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    dead, all_ = 0, 0
    for one, other in pairs:
        dead, all_ = dead + one, all_ + other
    return dead, all_


def _pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]}/{pair[1]}" if pair[1] else "–"


def _row(*cells: str, head: bool = False) -> list[str]:
    line = f"| {' | '.join(cells)} |"
    return [line, "|" + "---|" * len(cells)] if head else [line]
