"""Mutated submissions through intake and graft: `python benchmarks/fuzz.py --examples 2000`.

Each example takes a real notebook (of release/, or of the tiny course of the tests; untouched or
solved), changes its JSON tree, its bytes or both, puts it into a folder under some name, and grades
up to the point where it would run. It fails on any exception, on anything written, and on a grafted
notebook that nbformat refuses or that lacks one of the instructor's graded cells.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

REPOSITORY = Path(__file__).parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from autograder import notebook as nb_  # noqa: E402
from autograder.authoring import build  # noqa: E402
from autograder.execution.execute import Limits  # noqa: E402
from autograder.grading import intake  # noqa: E402
from autograder.grading.folder import look  # noqa: E402
from autograder.grading.graft import graft  # noqa: E402
from autograder.grading.job import job_of  # noqa: E402

Week = dict[str, NotebookNode]  # source notebooks by name


@dataclass(frozen=True)
class Seed:
    """A submission before it is changed: the notebook's name, its week, its JSON."""

    name: str
    week: Week
    notebook: dict[str, Any]


def seeds() -> list[Seed]:
    """The notebooks to start from, each untouched and solved."""
    from kit.rules import tiny_course

    course = tiny_course()
    files = {
        path: nbformat.reads(content.decode(), as_version=4)
        for path, content in build.build_weeks(course, course.weeks).items()
        if path.suffix == ".ipynb"
    }
    for path in sorted(REPOSITORY.glob("source/*/*.ipynb")) + sorted(
        REPOSITORY.glob("release/*/*/*.ipynb")
    ):
        files[path.relative_to(REPOSITORY)] = nb_.read(path)
    weeks: dict[str, Week] = {}
    for path, notebook in files.items():
        if path.parts[0] == "source":
            weeks.setdefault(path.parts[-2], {})[path.stem] = notebook
    found = []
    for path, notebook in files.items():
        if path.parts[0] == "release":
            week = weeks[path.parts[-2]]
            found.append(Seed(path.stem, week, json.loads(nb_.dumps(notebook))))
            found.append(Seed(path.stem, week, _solved(notebook, week[path.stem])))
    return found


def _solved(notebook: NotebookNode, source: NotebookNode) -> dict[str, Any]:
    """The notebook with the instructor's solutions."""
    notebook = copy.deepcopy(notebook)
    answers = {nb_.grade_id(c): c.source for c in source.cells if nb_.is_solution(c)}
    for cell in notebook.cells:
        cell.source = answers.get(nb_.grade_id(cell), cell.source)
    return json.loads(nb_.dumps(notebook))


# -- Changes ----------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, False, 0, -1, 3, 10**30, 1e300, float("nan"), float("inf"), "", " ", "\0", "\r\n",
    "\ud800", "\u202e", "é" * 300, "x" * 100_000, "code", "raw", "test-line", "en", "../../x", [],
    {}, [[]], [None], {"": None}, {"nbgrader": {"grade": True}}, "### BEGIN HIDDEN TESTS",
    "def line(", "class ReLU:\n\tpass", "%%bash\nls", "'''", "\\", "(" * 500, "@" * 50,
    [{"cell_type": "code", "source": ["def line(x, a, b):\n", "    return 1"]}],
]  # fmt: skip


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """All places of a tree: (the list or dict, the index or key)."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _nodes(value[key])


def change_tree(table: dict[str, Any], rng: random.Random) -> None:
    """One change of the JSON tree, in place."""
    cells = table.get("cells")
    if isinstance(cells, list) and cells and rng.random() < 0.5:
        _change_cells(cells, rng)
        return
    places = list(_nodes(table))
    if not places:
        return
    node, key = rng.choice(places)
    kind = rng.randrange(5)
    if kind == 0:
        del node[key]
    elif kind == 1:
        node[key] = copy.deepcopy(rng.choice(ODD))
    elif kind == 2:
        other, at = rng.choice(places)
        with_other = other[at] if not isinstance(other, list) or at < len(other) else None
        node[key] = copy.deepcopy(with_other)
    elif kind == 3 and isinstance(node, list):
        node.insert(key, copy.deepcopy(node[key]))
    elif kind == 3:
        node[rng.choice(["id", "source", "metadata", "cells", "input", "x"])] = node.pop(key)
    else:
        deep: Any = node[key]
        for _ in range(rng.choice([1, 10, 40])):
            deep = [deep] if rng.random() < 0.5 else {"a": deep}
        node[key] = deep


def _change_cells(cells: list[Any], rng: random.Random) -> None:
    """What people do to cells: delete, double, move, split, merge, retype, take the ids away."""
    at, to = rng.randrange(len(cells)), rng.randrange(len(cells))
    cell = cells[at]
    kind = rng.randrange(8)
    if kind == 0:
        del cells[at]
    elif kind == 1:
        cells.insert(to, copy.deepcopy(cell))
    elif kind == 2:
        cells.insert(to, cells.pop(at))
    elif kind == 3:
        rng.shuffle(cells)
    elif not isinstance(cell, dict) or not isinstance(cell.get("source"), list):
        cells[at] = copy.deepcopy(rng.choice(ODD))
    elif kind == 4:
        half = copy.deepcopy(cell)
        middle = rng.randrange(len(cell["source"]) + 1)
        cell["source"], half["source"] = cell["source"][:middle], half["source"][middle:]
        cells.insert(at + 1, half)
    elif kind == 5 and isinstance(cells[to], dict) and isinstance(cells[to].get("source"), list):
        cell["source"] = [*cell["source"], "\n", *cells[to]["source"]]
        if to != at:
            del cells[to]
    elif kind == 6:
        cell["cell_type"] = rng.choice(["code", "markdown", "raw", "heading", 5])
    else:
        for each in cells:
            if isinstance(each, dict):
                each.pop("id", None)
                if rng.random() < 0.5:
                    each["metadata"] = {}


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """One change of a file's bytes."""
    at = rng.randrange(len(content) + 1)
    length = rng.choice([1, 1, 4, 100, 10_000])
    some = rng.choice([rng.randbytes(min(length, 100)), b"\0" * length, b'"', b",", b"\\", b"}{"])
    changes: list[Callable[[], bytes]] = [
        lambda: content[:at],
        lambda: content[at:],
        lambda: content[:at] + some + content[at:],
        lambda: content[:at] + content[at + length :],
        lambda: content[:at] + some + content[at + len(some) :],
        lambda: content[:at] + content[at // 2 :],
        lambda: b"\xef\xbb\xbf" + content,
        lambda: content.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-32"])),
        lambda: content.decode("utf-8", "replace").encode("cp1251", "replace"),
        lambda: content.replace(b"\n", b"\r\n"),
        lambda: content.replace(b"\n]", b",\n]"),
        lambda: content.replace(b'": 4', b'": ' + b"4" * 5000),
        lambda: content.replace(b'": [', b'": ' + b"[" * 2000, 5),
        lambda: content.replace(b'": {}', b'": ' + b'{"":' * 2000 + b"1" + b"}" * 2000, 5),
    ]
    return rng.choice(changes)()


def mutated(seed: Seed, rng: random.Random) -> bytes:
    """A submission that is somewhat, or very, broken."""
    table = copy.deepcopy(seed.notebook)
    how = rng.randrange(4)  # 0: bytes alone, 3: both
    for _ in range(rng.choice([1, 2, 5, 20]) if how else 0):
        with contextlib.suppress(RecursionError):  # of our own copying
            change_tree(table, rng)
    content = json.dumps(table, indent=rng.choice([None, 1])).encode("utf-8", "surrogatepass")
    for _ in range(rng.choice([1, 2, 5]) if how in (0, 3) else 0):
        content = change_bytes(content, rng)
    return content


NAMES = [b"%s.ipynb"] * 6 + [
    b"%s (1).ipynb", b"%s.IPYNB", b"final.ipynb", b"%s.ipynb.txt", b"%s.json", b"in/%s.ipynb",
    b"\xff\n[%s]*.ipynb", b"%s",
]  # fmt: skip


# -- One example ------------------------------------------------------------------------------


def check_example(seed: Seed, rng: random.Random, root: Path) -> str:
    """Collect and graft one mutated submission; the outcome: graded, refused or not found.

    root: an empty folder. Raises AssertionError, or whatever breaks.
    """
    week = root / "submitted" / "ann" / "week"
    for _ in range(rng.choice([1, 1, 1, 2])):
        name = os.fsdecode(rng.choice(NAMES).replace(b"%s", seed.name.encode()))
        (week / name).parent.mkdir(parents=True, exist_ok=True)
        (week / name).write_bytes(mutated(seed, rng))
    before = _tree(root)
    collected = intake.collect(look(week, seed.week, contents=True), seed.week)
    assert _tree(root) == before, "something was written"
    assert not set(collected.notebooks) & set(collected.refused)
    _check_sentences([*collected.refused.values(), *collected.notes])
    for name, source in seed.week.items():
        if name in collected.notebooks or name == seed.name:
            grafted = check_graft(source, collected.notebooks.get(name))
            if rng.random() < 0.05:
                job_of(grafted, source, {}, Limits()).to_json()
    if seed.name in collected.notebooks:
        return "graded"
    return "refused" if seed.name in collected.refused else "not found"


def check_graft(source: NotebookNode, read: intake.Read | None) -> NotebookNode:
    """The grafted notebook, which has all that is the instructor's and can be written."""
    grafted = graft(source, read.notebook, whole=read.whole) if read else graft(source, None)
    untouched = graft(source, None) if grafted.language == "en" else None
    told = [*read.flags, *read.notes] if read else []
    _check_sentences([*told, *grafted.flags, *grafted.notes])
    nbformat.validate(grafted.notebook)
    nb_.dumps(grafted.notebook).encode()
    ids = [c.id for c in grafted.notebook.cells]
    assert len(ids) == len(set(ids)), "two cells have one id"
    names = [nb_.grade_id(c) for c in grafted.notebook.cells if nb_.is_graded(c)]
    assert names == [nb_.grade_id(c) for c in source.cells if nb_.is_graded(c)]
    tests = {nb_.grade_id(c): c.source for c in source.cells if nb_.is_graded(c)}
    for cell in grafted.notebook.cells:
        if nb_.is_graded(cell) and not nb_.is_solution(cell):
            assert cell.source == tests[nb_.grade_id(cell)], "a test was changed"
            assert cell.cell_type == "code" and not cell.outputs
    if untouched:
        theirs = {c.id: c.metadata for c in grafted.notebook.cells}
        for cell in untouched.notebook.cells:
            assert theirs[cell.id] == cell.metadata, "metadata were changed"
    return grafted.notebook


def _check_sentences(sentences: list[str]) -> None:
    for sentence in sentences:
        assert sentence.isprintable() and len(sentence) < 700, sentence
        sentence.encode()


def _tree(root: Path) -> Mapping[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in root.rglob("*")}


# -- The table --------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What came of many examples. broken: number of the example -> its traceback."""

    count: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)
    broken: dict[int, str] = field(default_factory=dict)


def run(examples: int, first: int) -> Outcome:
    """Run examples; each is made from its number alone."""
    outcome, all_seeds = Outcome(), seeds()
    for number in range(first, first + examples):
        rng = random.Random(number)
        seed = rng.choice(all_seeds)
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as root:
            try:
                outcome.count[check_example(seed, rng, Path(root))] += 1
            except Exception:
                outcome.count["broken"] += 1
                outcome.broken[number] = traceback.format_exc(limit=-4)
        outcome.slowest = max(outcome.slowest, (time.perf_counter() - began, number))
    return outcome


def main() -> int:
    """Print the table; 1 where an example broke something."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first example")
    arguments = parser.parse_args()
    began = time.perf_counter()
    outcome = run(arguments.examples, arguments.first)
    seconds = time.perf_counter() - began
    rows = [("mutated notebooks", arguments.examples)]
    rows += [(name, outcome.count[name]) for name in ("graded", "refused", "not found", "broken")]
    rows += [("seconds in all", f"{seconds:.1f}")]
    rows += [("slowest, seconds", f"{outcome.slowest[0]:.2f} (example {outcome.slowest[1]})")]
    for name, value in rows:
        print(f"{name:<20} {value:>12}")
    for number, text in list(outcome.broken.items())[:5]:
        print(f"\nexample {number}:\n{text}")
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main())
