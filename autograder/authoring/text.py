"""The text of a notebook (docs/format.md) -> typed cells.

jupytext reads the structure; here each cell gets its role, and whatever breaks the format becomes
a Problem with its line. Pure: text in, values out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jupytext

from autograder.errors import Problem

BEGIN_SOLUTION, END_SOLUTION = "### BEGIN SOLUTION", "### END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"

# Role -> (cell type, the other keys that its marker may carry).
_ROLES: dict[str, tuple[str, frozenset[str]]] = {
    "solution": ("code", frozenset()),
    "test": ("code", frozenset({"points", "bonus", "difficulty", "minutes"})),
    "mutant": ("code", frozenset({"why"})),
    "alternative": ("code", frozenset({"why"})),
    "answer": ("markdown", frozenset({"points", "bonus", "difficulty", "minutes"})),
    "rubric": ("markdown", frozenset({"lang"})),
}
_PLAIN_KEYS = frozenset({"lang", "tags", "nbgrader"})
# What jupytext itself leaves in the metadata of a cell.
_JUPYTEXT_KEYS = frozenset({"lines_to_next_cell", "lines_to_end_of_cell_marker"})


@dataclass(frozen=True)
class Cell:
    """One authored cell.

    kind: prose, code, parameters, nbgrader, or a role of docs/format.md. task: the ID of a role.
    language: of prose; "any" for a cell without words. line: of its marker in the text.
    """

    kind: str
    source: str
    line: int
    task: str = ""
    language: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        return f"line {self.line}"

    @property
    def is_markdown(self) -> bool:
        """Whether it is a markdown cell."""
        return self.kind in ("prose", "answer", "rubric")


@dataclass(frozen=True)
class Text:
    """One authored notebook. file: relative to the course's root. digest: of its text."""

    week: str
    name: str
    file: str
    digest: str
    cells: tuple[Cell, ...]

    @cached_property
    def solutions(self) -> dict[str, Cell]:
        """Solution cells by task."""
        return {c.task: c for c in self.cells if c.kind == "solution"}

    @cached_property
    def tests(self) -> dict[str, Cell]:
        """Test cells by task."""
        return {c.task: c for c in self.cells if c.kind == "test"}

    def of(self, kind: str, task: str) -> tuple[Cell, ...]:
        """The cells of a kind that belong to a task."""
        return tuple(c for c in self.cells if c.kind == kind and c.task == task)


def parse(text: str, week: str, name: str) -> tuple[Text, list[Problem]]:
    """Read a notebook's text; return it with every problem of form.

    Where there are problems the Text holds the cells that could be read.
    """
    file = f"weeks/{week}/{name}.py"
    # The version stamp must not hang on line endings or a missing last newline.
    text = text.replace("\r\n", "\n").strip("\n") + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    problems: list[Problem] = []
    notebook = jupytext.reads(text, fmt="py:percent")
    lines = [i for i, line in enumerate(text.split("\n"), 1) if re.match(r"# %%(\s|$)", line)]
    if len(lines) != len(notebook.cells):
        problems.append(
            Problem(file, "", "structure", "text stands before the first `# %%` marker")
        )
        lines += [0] * (len(notebook.cells) - len(lines))
    cells = [
        cell
        for raw, line in zip(notebook.cells, lines, strict=False)
        for cell in _cell(raw, line, file, problems)
    ]
    problems += _check_form(cells, file)
    return Text(week, name, file, digest, tuple(cells)), problems


def _cell(raw: Any, line: int, file: str, problems: list[Problem]) -> Iterator[Cell]:
    meta = {k: v for k, v in raw.metadata.items() if k not in _JUPYTEXT_KEYS}
    place = f"line {line}"

    def report(rule: str, message: str) -> None:
        problems.append(Problem(file, place, rule, message))

    malformed = meta.pop("title", None) or meta.pop("incorrectly_encoded_metadata", None)
    if malformed:
        report("marker", f'can\'t read {malformed!r}; a marker is written KEY="text" or KEY=number')
        return
    if raw.cell_type not in ("code", "markdown"):
        report("marker", f"a {raw.cell_type} cell has no place in a notebook")
        return
    roles = [key for key in _ROLES if key in meta]
    if len(roles) > 1:
        report("marker", f"a cell has one role, not {' and '.join(roles)}")
        return
    role = roles[0] if roles else ""
    cell_type, keys = _ROLES[role] if role else (raw.cell_type, _PLAIN_KEYS)
    for key in sorted(meta.keys() - keys - {role}):
        allowed = ", ".join(sorted(keys)) or "no other key"
        report("marker", f"unknown key {key!r}; {role or 'a plain cell'} takes {allowed}")
    if raw.cell_type != cell_type:
        report("marker", f"{role} must be a {cell_type} cell")
        return
    task = meta.pop(role) if role else ""
    if role and not (isinstance(task, str) and re.fullmatch(r"[a-z][a-z0-9_]{0,39}", task)):
        report("marker", f"the ID {task!r} must be lower-case letters, digits and _, at most 40")
        return
    language = str(meta.pop("lang", "en" if raw.cell_type == "markdown" else ""))
    kind = role or ("prose" if raw.cell_type == "markdown" else "code")
    if "parameters" in meta.get("tags", []):
        kind = "parameters"
    elif "nbgrader" in meta:
        kind = "nbgrader"
    yield Cell(kind, raw.source, line, task, language, meta)


def _check_form(cells: list[Cell], file: str) -> list[Problem]:
    problems = []

    def report(cell: Cell | None, rule: str, message: str) -> None:
        problems.append(Problem(file, cell.place if cell else "", rule, message))

    first: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        if cell.kind in ("solution", "test", "answer", "rubric"):
            earlier = first.setdefault((cell.kind, cell.task), cell)
            if earlier is not cell:
                message = f"{cell.kind} {cell.task!r} stands at {earlier.place} already"
                report(cell, "duplicate-id", message)
        if cell.kind in ("test", "answer"):
            for message in _wrong_numbers(cell.options):
                report(cell, "points", message)
        if cell.kind in ("mutant", "alternative"):
            if ("solution", cell.task) not in first:
                report(cell, "missing-id", f"no solution {cell.task!r} stands before it")
            if not str(cell.options.get("why", "")).strip():
                report(cell, "why", f'say what it shows: {cell.kind}="{cell.task}" why="..."')
        if cell.kind == "test" and ("solution", cell.task) not in first:
            report(cell, "missing-id", f"no solution {cell.task!r} stands before this test")
        if cell.kind == "rubric" and ("answer", cell.task) not in first:
            report(cell, "missing-id", f"no answer {cell.task!r} stands before this rubric")
        if cell.kind == "solution":
            for message in _wrong_region(cell.source, BEGIN_SOLUTION, END_SOLUTION, needed=True):
                report(cell, "solution", message)
        if cell.kind == "test":
            for message in _wrong_region(cell.source, BEGIN_HIDDEN, END_HIDDEN, needed=False):
                report(cell, "hidden-tests", message)
            if "check.done(" in cell.source:
                report(cell, "test", "the build appends check.done; leave it out")
        if not cell.is_markdown and re.search(r"^\s*[%!]", cell.source, flags=re.M):
            report(cell, "magic", "use plain Python, not an IPython magic or a shell command")
    for (kind, task), cell in first.items():
        if kind == "solution" and ("test", task) not in first:
            report(cell, "missing-id", f"solution {task!r} has no test")
    parameters = [c for c in cells if c.kind == "parameters"]
    if [c.source.strip() for c in parameters] != ['profile = "small"']:
        message = 'one cell, tagged "parameters", must hold exactly: profile = "small"'
        report(parameters[0] if parameters else None, "parameters", message)
    if not cells or cells[0].kind != "prose" or not cells[0].source.startswith("# "):
        report(cells[0] if cells else None, "title", "the first cell must be markdown, `# Title`")
    return problems


def _wrong_numbers(options: Mapping[str, Any]) -> Iterator[str]:
    points = options.get("points")
    if isinstance(points, bool) or not isinstance(points, int | float) or points < 0:
        yield f"points must be a number >= 0, not {points!r}"
    if not isinstance(options.get("bonus", False), bool):
        yield f"bonus must be true or false, not {options['bonus']!r}"
    if options.get("difficulty", 1) not in (1, 2, 3, 4, 5):
        yield f"difficulty must be 1 to 5, not {options['difficulty']!r}"
    minutes = options.get("minutes", 1)
    if isinstance(minutes, bool) or not isinstance(minutes, int) or minutes < 1:
        yield f"minutes must be a whole number >= 1, not {minutes!r}"


def _wrong_region(source: str, begin: str, end: str, *, needed: bool) -> Iterator[str]:
    marks = [line.strip() for line in source.split("\n") if line.strip() in (begin, end)]
    if not marks and needed:
        yield f"has no region {begin} ... {end}"
    if marks != [begin, end] * (len(marks) // 2):
        yield f"{begin} and {end} do not pair up"


# -- Planted mutants --------------------------------------------------------------------------


def apply_mutant(solution: str, diff: str) -> str:
    """The solution cell with a planted mistake.

    diff: comment lines `# - old` and `# + new`; each run of old lines must stand exactly once.
    Raises ValueError with what does not fit.
    """
    hunks: list[tuple[list[str], list[str]]] = []
    for line in diff.split("\n"):
        match = re.fullmatch(r"# ([-+])(?: (.*))?", line.rstrip())
        if not match:
            if line.strip():
                raise ValueError(f"each line must start with `# - ` or `# + `, not {line!r}")
            continue
        sign, content = match[1], match[2] or ""
        if sign == "-" and (not hunks or hunks[-1][1]):
            hunks.append(([], []))
        if not hunks:
            raise ValueError("it must start with a `# - ` line")
        hunks[-1][0 if sign == "-" else 1].append(content)
    if not hunks:
        raise ValueError("it changes nothing")
    lines = solution.split("\n")
    for old, new in hunks:
        lines = _replace_once(lines, old, new)
    return "\n".join(lines)


def _replace_once(lines: list[str], old: list[str], new: list[str]) -> list[str]:
    found = []
    for start in range(len(lines) - len(old) + 1):
        indent = re.match(r"\s*", lines[start])[0]  # type: ignore[index]
        lead = re.match(r"\s*", old[0])[0]  # type: ignore[index]
        if lines[start : start + len(old)] == [_indented(t, indent, lead) for t in old]:
            found.append((start, indent, lead))
    if len(found) != 1:
        times = "nowhere" if not found else f"{len(found)} times"
        raise ValueError(f"these lines stand {times} in the solution: {' / '.join(old)}")
    start, indent, lead = found[0]
    return lines[:start] + [_indented(t, indent, lead) for t in new] + lines[start + len(old) :]


def _indented(line: str, indent: str, lead: str) -> str:
    return indent + line.removeprefix(lead) if line.strip() else ""
