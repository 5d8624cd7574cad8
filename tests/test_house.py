"""The rooms of the house: which may know which, read from their imports."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

from autograder.fingerprints import HOUSE

PACKAGE = HOUSE / "autograder"
# What a room may know of the other ones.
KNOWS = {
    "authoring": {"execution"},
    "execution": set(),
    "grading": {"execution", "pages"},
    "pages": set(),
    "plugin": {"execution", "grading", "pages"},
}


def imported(path: Path) -> Iterator[str]:
    """The parts of `autograder` that a file imports, anywhere but for type hints alone."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        yield node
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    for node in walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "autograder" and len(parts) > 1:
                yield parts[1]


def rooms() -> dict[str, set[str]]:
    """What each room, or module beside the rooms, imports of the others."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).with_suffix("").parts[0]
        found.setdefault(name, set()).update(set(imported(path)) - {name})
    return found


def test_rooms_stand_in_no_circle() -> None:
    order = list(graphlib.TopologicalSorter(rooms()).static_order())
    assert order.index("execution") < order.index("grading") < order.index("cli")


def test_each_room_knows_only_those_that_it_stands_on() -> None:
    found = rooms()
    wrong = {room: found[room] & KNOWS.keys() - KNOWS[room] for room in KNOWS}
    assert not any(wrong.values()), wrong
    # What all rooms share knows none of them, but for what a notebook may use.
    shared = found.keys() - KNOWS.keys() - {"cli", "demo", "demo_networks", "doctor", "__main__"}
    knowing = {name: found[name] & KNOWS.keys() for name in shared}
    assert {name: rooms for name, rooms in knowing.items() if rooms} == {"settings": {"execution"}}
