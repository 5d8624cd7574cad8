"""Tables that the commands print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from autograder.course import Week

if TYPE_CHECKING:
    from autograder.authoring.mutants import Proof
    from autograder.execution.runall import RunReport
    from autograder.results import NotebookGrade, SubmissionGrade


NOT_COUNTED = "In brackets: another notebook counts, of which there is a choice."


def proofs(results: Sequence[Proof]) -> Table:
    """Kill rates per task, and in all."""
    table = Table(title="Mutants killed", title_justify="left")
    table.add_column("notebook")
    table.add_column("task")
    for name in ("planted", "generated", "standard", "alternatives accepted", "test, s"):
        table.add_column(name, justify="right")
    for proof in results:
        accepted = len(proof.accepted)
        table.add_row(
            Path(proof.text.file).stem,
            proof.task,
            _rate(*proof.count("planted")),
            _rate(*proof.count("generated")),
            _rate(*proof.count("standard")),
            f"{accepted}/{accepted + len(proof.rejected)}",
            f"{proof.seconds:.2f}",
        )
    table.add_section()
    totals = [
        _rate(*map(sum, zip(*(proof.count(kind) for proof in results), strict=True)))
        for kind in ("planted", "generated", "standard")
        if results
    ]
    table.add_row("all", "", *totals)
    return table


def runs(reports: Sequence[RunReport]) -> Table:
    """How each notebook ran, and where its time went."""
    table = Table(title="Restart & Run All", title_justify="left")
    table.add_column("notebook")
    table.add_column("")
    table.add_column("time, s", justify="right")
    table.add_column("CPU, s", justify="right")
    table.add_column("memory, MiB", justify="right")
    table.add_column("slowest cells")
    for report in reports:
        table.add_row(
            f"{report.notebook.parent.name}/{report.notebook.stem}",
            "ok" if report.ok else "FAILED",
            f"{report.seconds:.1f}",
            f"{report.cpu_seconds:.0f}",
            f"{report.peak_memory_mib:.0f}",
            Text("\n".join(f"{s:5.1f} s  cell {n}: {line[:40]}" for n, line, s in report.slowest)),
        )
    return table


def _rate(killed: int, total: int) -> str:
    return f"{killed}/{total}  {killed / total:.0%}" if total else "-"


def grades(week: Week, results: Sequence[SubmissionGrade]) -> Table:
    """The scores of a class, who is flagged and why."""
    table = Table(title=f"Grades of {week.folder}", title_justify="left", show_lines=False)
    table.add_column("student")
    for entry in week.notebooks:
        table.add_column(f"{entry.name}\nof {entry.points:g}", justify="right")
    table.add_column(f"total\nof {week.points:g}", justify="right")
    table.add_column("bonus", justify="right")
    table.add_column("status")
    table.add_column("why", overflow="fold")
    for result in results:
        found = {n.name: n for n in result.notebooks}
        table.add_row(
            _plain(result.student),
            *(_points(found[e.name]) for e in week.notebooks),
            f"{result.score():g}",
            f"{result.score(bonus=True):g}",
            result.status,
            Text("\n").join(map(_plain, summary(result))),
        )
    captions = [waiting(results), NOT_COUNTED if week.groups else ""]
    if not all(n.sandboxed for result in results for n in result.notebooks):
        captions.append("Run without a sandbox (--unsafe): a submission could change all of this.")
    table.caption = "\n".join(filter(None, captions)) or None
    return table


def _points(notebook: NotebookGrade) -> str:
    return f"{notebook.score():g}" if notebook.counts else f"({notebook.score():g})"


def waiting(results: Sequence[SubmissionGrade]) -> str:
    """How much a person has to grade; "" for nothing."""
    counts = [result.waiting for result in results if result.waiting]
    if not counts:
        return ""
    answers = "1 answer" if sum(counts) == 1 else f"{sum(counts)} answers"
    students = "1 student" if len(counts) == 1 else f"{len(counts)} students"
    return f"To grade by hand, in formgrader: {answers} of {students}."


def _plain(text: str) -> Text:
    """A text of which a student wrote a part: nothing in it is markup, or moves the cursor."""
    return Text("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text))


def summary(result: SubmissionGrade) -> list[str]:
    """Why a submission is flagged or refused: one line for each kind of reason in a notebook.

    Then what waits for a person.
    """
    lines = [reason for n in result.notebooks for reason in n.reasons[:1]]
    more = sum(len(n.reasons[1:]) for n in result.notebooks)
    lines += [f"and {more} more"] if more else []
    return lines + to_grade(result)


def to_grade(result: SubmissionGrade) -> list[str]:
    """What waits for a person, a line for each notebook."""
    found = {n.name: [t.task for t in n.tasks if t.waits] for n in result.notebooks}
    return [
        f"{name}: to grade by hand: {', '.join(tasks)}" for name, tasks in found.items() if tasks
    ]
