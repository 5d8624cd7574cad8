"""Tables that the commands print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from autograder.authoring.mutants import Proof


def proofs(results: Sequence[Proof]) -> Table:
    """Kill rates per task, and in all."""
    table = Table(title="Mutants killed", title_justify="left")
    table.add_column("notebook")
    table.add_column("task")
    for name in ("planted", "generated", "alternatives accepted", "test, s"):
        table.add_column(name, justify="right")
    for proof in results:
        accepted = len(proof.accepted)
        table.add_row(
            Path(proof.text.file).stem,
            proof.task,
            _rate(*proof.count("planted")),
            _rate(*proof.count("generated")),
            f"{accepted}/{accepted + len(proof.rejected)}",
            f"{proof.seconds:.2f}",
        )
    table.add_section()
    totals = [
        _rate(*map(sum, zip(*(proof.count(kind) for proof in results), strict=True)))
        for kind in ("planted", "generated")
        if results
    ]
    table.add_row("all", "", *totals)
    return table


def _rate(killed: int, total: int) -> str:
    return f"{killed}/{total}  {killed / total:.0%}" if total else "-"
