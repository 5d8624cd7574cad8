"""The text of a notebook (docs/format.md) -> typed cells.

jupytext reads the structure; here each cell gets its role, and whatever breaks the format becomes
a Problem with its line. Pure: text in, values out.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jupytext
from jupytext.stringparser import StringParser
from nbgrader.nbgraderformat import MetadataValidator

from autograder import notebook as nb_
from autograder.errors import Problem

BEGIN_SOLUTION, END_SOLUTION = "### BEGIN SOLUTION", "### END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"

# Role -> (cell type, the other keys that its marker may carry).
_ROLES: dict[str, tuple[str, frozenset[str]]] = {
    "solution": ("code", frozenset()),
    "test": ("code", frozenset({"points", "bonus", "difficulty", "minutes", "exam"})),
    "mutant": ("code", frozenset({"why"})),
    "alternative": ("code", frozenset({"why"})),
    "answer": ("markdown", frozenset({"points", "bonus", "difficulty", "minutes"})),
    "rubric": ("markdown", frozenset({"lang"})),
}
_PLAIN_KEYS = {
    "code": frozenset({"tags", "nbgrader"}),
    "markdown": frozenset({"lang", "nbgrader"}),
}
# A comment stays one: jupytext would make a command of `# cat ...` and of `# %d ...`.
_FORMAT = {"extension": ".py", "format_name": "percent", "comment_magics": False}
# What jupytext itself leaves in the metadata of a cell.
_JUPYTEXT_KEYS = frozenset({"lines_to_next_cell", "lines_to_end_of_cell_marker", "cell_marker"})
# Python and jupytext break a line there, editors and git don't: line numbers would be off.
_STRANGE = re.compile("[\x00\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# What opens a cell for jupytext, and what might be meant to; and the one form that we write.
_OPENS = re.compile(r"\s*#\s*(%%|<codecell>|In\[)")
_MARKER = re.compile(r"# %%(\s|$)")
# nbgrader looks for these words anywhere in a line.
_REGION_WORDS = re.compile(r"\b(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)\b")


@dataclass(frozen=True)
class Cell:
    """One authored cell.

    kind: prose, code, parameters, training, nbgrader, or a role of docs/format.md. task: its ID.
    language: of prose; "any" for a cell without words. line: of its marker in the text.
    is_markdown: whether it is a markdown cell, not a code cell.
    """

    kind: str
    source: str
    line: int
    task: str = ""
    language: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    is_markdown: bool = False

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        return f"line {self.line}"


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
    # The version stamp must not hang on line endings, a byte order mark or a missing last newline.
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").strip("\n") + "\n"
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:10]
    problems = list(_wrong_characters(text, file))
    text = _STRANGE.sub(" ", text)
    lines = text.split("\n")
    markers, wrong = _markers(lines, file)
    problems += wrong
    try:
        raw_cells = jupytext.reads(text, fmt=_FORMAT).cells
    except Exception as error:  # a marker's value that jupytext did not expect
        places = [f"line {n}" for n in markers if not _readable(lines[n - 1])] or [""]
        problems += [
            Problem(file, place, "marker", f"jupytext can't read this: {error}") for place in places
        ]
        return Text(week, name, file, digest, ()), problems
    if len(raw_cells) > len(markers):
        message = "text stands before the first `# %%` marker"
        problems.append(Problem(file, "", "structure", message))
        raw_cells = raw_cells[len(raw_cells) - len(markers) :]
    cells = [
        cell
        for raw, line in zip(raw_cells, markers, strict=False)
        for cell in _cell(raw, line, lines[line - 1], file, problems)
    ]
    problems += _check_form(cells, file)
    return Text(week, name, file, digest, tuple(cells)), problems


def _wrong_characters(text: str, file: str) -> Iterator[Problem]:
    for number, line in enumerate(text.split("\n"), 1):
        if found := _STRANGE.search(line):
            message = f"the character {found[0]!r} breaks a line in some programs: write an escape"
            yield Problem(file, f"line {number}", "character", message)


def _markers(lines: list[str], file: str) -> tuple[list[int], list[Problem]]:
    """The numbers of the lines that open a cell, and what only looks like such a line."""
    numbers, problems = [], []
    parser = StringParser("python")  # jupytext's own: a marker inside a string is none
    for number, line in enumerate(lines, 1):
        if _OPENS.match(line):
            if parser.is_quoted():
                message = "this `# %%` stands inside a string: it opens no cell"
                problems.append(Problem(file, f"line {number}", "structure", message))
            else:
                numbers.append(number)
                if not _MARKER.match(line):
                    message = "a marker is written `# %% ...`, at the start of its line"
                    problems.append(Problem(file, f"line {number}", "marker", message))
        parser.read_line(line)
    return numbers, problems


def _readable(marker: str) -> bool:
    try:
        jupytext.reads(marker + "\n", fmt=_FORMAT)
    except Exception:
        return False
    return True


def _cell(raw: Any, line: int, marker: str, file: str, problems: list[Problem]) -> Iterator[Cell]:
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
    written = re.findall(r"(\w+)=", re.sub(r'"[^"]*"', "", marker))
    for key in sorted({key for key in written if written.count(key) > 1}):
        report("marker", f"{key} stands there twice")
    roles = [key for key in _ROLES if key in meta]
    if len(roles) > 1:
        report("marker", f"a cell has one role, not {' and '.join(roles)}")
        return
    role = roles[0] if roles else ""
    cell_type, keys = _ROLES[role] if role else (raw.cell_type, _PLAIN_KEYS[raw.cell_type])
    for key in sorted(meta.keys() - keys - {role}):
        allowed = ", ".join(sorted(keys)) or "no other key"
        report("marker", f"unknown key {key!r}; {role or f'a {cell_type} cell'} takes {allowed}")
    if raw.cell_type != cell_type:
        report("marker", f"{role} must be a {cell_type} cell")
        return
    task = meta.pop(role) if role else ""
    if role and not (isinstance(task, str) and re.fullmatch(r"[a-z][a-z0-9_]{0,39}", task)):
        report("marker", f"the ID {task!r} must be lower-case letters, digits and _, at most 40")
        return
    is_markdown = raw.cell_type == "markdown"
    language = meta.pop("lang", "en" if is_markdown else "")
    if is_markdown and not re.fullmatch("any|[a-z]{2}", str(language)):
        report("marker", f'lang must be a language like "en", or "any", not {language!r}')
        return
    kind = role or ("prose" if is_markdown else "code")
    if "tags" in meta:
        if meta["tags"] not in ([tag] for tag in nb_.TAGS):
            known = " and ".join(f'tags=["{tag}"]' for tag in nb_.TAGS)
            report("marker", f"there are only {known}, not tags={meta['tags']!r}")
            return
        kind = meta["tags"][0]
    if "nbgrader" in meta:
        kind = "nbgrader"
        if message := _wrong_nbgrader(raw):
            report("nbgrader", message)
            return
    yield Cell(kind, raw.source, line, task, language, meta, is_markdown)


def _wrong_nbgrader(raw: Any) -> str:
    """What nbgrader would say of a cell's plain nbgrader metadata."""
    meta = raw.metadata["nbgrader"]
    needed = {"grade": bool, "solution": bool, "locked": bool, "grade_id": str}
    if not isinstance(meta, dict):
        return f"nbgrader must be a table as JupyterLab writes it, not {meta!r}"
    for key, kind in needed.items():
        if not isinstance(meta.get(key), kind):
            return f"nbgrader[{key!r}] must be a {kind.__name__}, not {meta.get(key)!r}"
    if meta["grade"] and _is_no_number(meta.get("points")):
        return f"nbgrader['points'] must be a number from 0 to 1000, not {meta.get('points')!r}"
    for region, allowed in (
        ("SOLUTION", meta["solution"]),
        ("HIDDEN TESTS", meta["grade"]),
        ("MARK SCHEME", meta["grade"] or meta.get("task", False)),
    ):
        marks = re.findall(rf"(BEGIN|END) {region}", raw.source)
        if marks and not allowed:
            return f"a region {region} has no place in a cell of this kind"
        if marks != ["BEGIN", "END"] * (len(marks) // 2):
            return f"BEGIN {region} and END {region} do not pair up"
    try:
        MetadataValidator().validate_cell(raw)
    except Exception as error:
        return " ".join(str(error).split())
    return ""


def _check_form(cells: list[Cell], file: str) -> list[Problem]:
    problems = []

    def report(cell: Cell | None, rule: str, message: str) -> None:
        problems.append(Problem(file, cell.place if cell else "", rule, message))

    first: dict[tuple[str, str], Cell] = {}
    names: dict[str, Cell] = {}
    for cell in cells:
        if cell.kind in ("solution", "test", "answer", "rubric", "nbgrader"):
            name = cell.task or grade_id_of(cell)
            # A rubric has a twin in each language.
            key = (cell.kind, f"{name} ({cell.language})" if cell.kind == "rubric" else name)
            earlier = first.setdefault(key, cell)
            if earlier is not cell:
                message = f"{cell.kind} {key[1]!r} stands at {earlier.place} already"
                report(cell, "duplicate-id", message)
            elif (name := grade_id_of(cell)) and names.setdefault(name, cell) is not cell:
                report(cell, "duplicate-id", f"the ID {name!r} is taken at {names[name].place}")
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
        for message in _misplaced_regions(cell):
            report(cell, "region", message)
        if not cell.is_markdown and (message := not_python(cell.source)):
            if re.search(r"^\s*[%!]", cell.source, flags=re.M):
                report(cell, "magic", "use plain Python, not an IPython magic or a shell command")
            else:
                report(cell, "python", message)
        if cell.kind == "mutant" and ("solution", cell.task) in first:
            solution = first["solution", cell.task].source
            for message in _wrong_mutant(solution, cell.source):
                report(cell, "mutant", message)
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


def grade_id_of(cell: Cell) -> str:
    """The name under which nbgrader will know a cell, "" for a cell that it won't."""
    if cell.kind == "nbgrader":
        return str(cell.options["nbgrader"]["grade_id"])
    if cell.kind == "test":
        return nb_.TEST_PREFIX + cell.task
    return cell.task if cell.kind in ("solution", "answer") else ""


def _misplaced_regions(cell: Cell) -> Iterator[str]:
    """Lines that nbgrader would take for the edge of a region, where we would not."""
    meant = {"solution": (BEGIN_SOLUTION, END_SOLUTION), "test": (BEGIN_HIDDEN, END_HIDDEN)}
    if cell.kind in ("nbgrader", "alternative", "mutant"):
        return
    for line in cell.source.split("\n"):
        if _REGION_WORDS.search(line) and line.strip() not in meant.get(cell.kind, ()):
            yield f"this line means nothing in a {cell.kind} cell: {line.strip()}"


def not_python(source: str) -> str:
    """Why a cell is no valid Python, "" if it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except SyntaxError as error:
        return f"no valid Python: {error.msg}: {(error.text or '').strip()}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"no valid Python: {error}"
    return ""


def _wrong_mutant(solution: str, diff: str) -> Iterator[str]:
    try:
        mutated = apply_mutant(solution, diff)
    except ValueError as error:
        yield str(error)
        return
    message = not_python(mutated)
    if message and not not_python(solution):
        yield f"this mutant is {message}"


def _is_no_number(points: Any) -> bool:
    return isinstance(points, bool) or not (isinstance(points, int | float) and 0 <= points < 1000)


def _wrong_numbers(options: Mapping[str, Any]) -> Iterator[str]:
    if _is_no_number(points := options.get("points")):
        yield f"points must be a number from 0 to 1000, not {points!r}"
    for key in ("bonus", "exam"):
        if not isinstance(options.get(key, False), bool):
            yield f"{key} must be true or false, not {options[key]!r}"
    difficulty = options.get("difficulty", 1)
    if isinstance(difficulty, bool) or difficulty not in (1, 2, 3, 4, 5):
        yield f"difficulty must be 1 to 5, not {difficulty!r}"
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
    # Found in the reference itself: what one run puts in must not be taken for another's place.
    spans = sorted((_only_place(lines, old), old, new) for old, new in hunks)
    for (start, old, _), (following, *_) in itertools.pairwise(spans):
        if start + len(old) > following:
            raise ValueError(f"two runs of `# - ` lines overlap: {' / '.join(old)}")
    for start, old, new in reversed(spans):
        indent, lead = _lead(lines[start]), _lead(old[0])
        lines[start : start + len(old)] = [_indented(t, indent, lead) for t in new]
    mutated = "\n".join(lines)
    if mutated == solution:
        raise ValueError("it changes nothing")
    return mutated


def _only_place(lines: list[str], old: list[str]) -> int:
    """Where a run of lines stands, at whatever indentation. Raises ValueError unless just once."""
    lead = _lead(old[0])
    found = [
        start
        for start in range(len(lines) - len(old) + 1)
        if lines[start : start + len(old)] == [_indented(t, _lead(lines[start]), lead) for t in old]
    ]
    if len(found) != 1:
        times = "nowhere" if not found else f"{len(found)} times"
        raise ValueError(f"these lines stand {times} in the solution: {' / '.join(old)}")
    return found[0]


def _lead(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _indented(line: str, indent: str, lead: str) -> str:
    return indent + line.removeprefix(lead) if line.strip() else ""
