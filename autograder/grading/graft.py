"""Instructor's notebook + the student's sources = what is run.

Cells are matched by nbgrader's grade_id, by cell id, by their text, and solutions at last by the
functions that they define. Of the student's file only sources are taken: of solution and answer
cells (with the pictures of an answer), of the worked code that students may change, and of the
cells that they added. Tests, points, order and all metadata are the instructor's. The outputs that
were handed in are kept apart, for cells that show nothing here.
"""

from __future__ import annotations

import io
import itertools
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbformat import NotebookNode

from autograder import files as files_
from autograder import notebook as nb_
from autograder import steps, words
from autograder.grading.folder import printable


@dataclass(frozen=True)
class Grafted:
    """A notebook to run. flags: sentences for a person to look at. notes: for information.

    handed: by the ids of cells the outputs that were handed in with them.
    """

    notebook: NotebookNode
    language: str
    flags: tuple[str, ...]
    notes: tuple[str, ...]
    handed: Mapping[str, list[NotebookNode]] = field(default_factory=dict)


def graft(
    source: NotebookNode,
    student: NotebookNode | None,
    *,
    whole: bool = True,
    documents: Sequence[str] = (),
) -> Grafted:
    """Put a student's sources into the instructor's notebook.

    source: the source notebook, in all languages; what is worked out of it is kept as long as it
    lives, so it must not be changed after the first call. student: as intake.read gives it; None
    for a file that could not be read, which gives the untouched notebook. whole: False where a part
    of the file is lost, so that tests may lack.
    """
    language = _language(student)
    ready = _prepared(source, language)
    notebook = _copy(ready.notebook)
    if student is None:
        return Grafted(notebook, language, (), ())
    known = dict(zip(ready.keys, notebook.cells, strict=True))
    outdated = _outdated(nb_.ours(student).get("version"), ready.version)
    flags, notes = [], [outdated] if outdated else []
    handed = {}
    if any(nb_.HIDDEN[0] in cell.source for cell in student.cells):
        flags.append("the file holds hidden tests: it was made from the instructor's notebook")

    theirs = _sorted_out(student.cells, ready, keep_prose=not outdated)
    for key, cell in known.items():
        copies = theirs.copies.get(key, [])
        if key in ready.tasks:
            notes += _put_solution(cell, copies, theirs, ready)
        elif nb_.is_graded(cell):
            if copies or whole:
                flags += _changed_test(cell, copies) if not outdated else []
        elif key in ready.fixed:
            if any(copy.source.strip() != cell.source.strip() for copy in copies):
                start = cell.source.strip().split("\n")[0][:40]
                notes.append(f"the cell {start!r} was changed; the original one was used")
        elif cell.cell_type == "code":
            written = [c.source for c in copies if c.cell_type == "code" and _differ(c, cell)]
            cell.source = written[-1] if written else cell.source
        shown = [c.outputs for c in copies if c.get("outputs")]
        if nb_.is_training(cell):  # it is not run again: what it showed is all there is
            cell.outputs = _copy(shown[-1]) if shown else []
        elif shown and cell.cell_type == "code" and (key in ready.tasks or not nb_.is_graded(cell)):
            handed[cell.id] = shown[-1]
    for key in ready.tasks:
        notes += _elsewhere(known[key], theirs, ready, documents)

    merged: list[NotebookNode] = []
    # By kind: the names of code cells, which run, don't hang on texts beside them.
    numbers = {kind: itertools.count() for kind in ("code", "markdown", "raw")}
    for key, cell in (("", None), *known.items()):
        merged += [cell] if cell else []
        for added in theirs.added.get(key, ()):
            new = _new_cell(added.cell, next(numbers[added.cell.cell_type]))
            merged.append(new)
            if added.cell.get("outputs"):
                handed[new.id] = added.cell.outputs
    notebook.cells = merged
    return Grafted(notebook, language, tuple(flags), tuple(notes), handed)


def attempts(source: NotebookNode, student: NotebookNode) -> int:
    """How many solution and answer cells of a notebook a student wrote something into."""
    untouched = _prepared(source, _language(student))
    written = {_key(c): c.source for c in graft(source, student).notebook.cells}
    return sum(written[key] != untouched.cell(key).source for key in untouched.tasks)


# -- What the source notebook gives, once for a class -----------------------------------------


@dataclass(frozen=True)
class _Prepared:
    """A source notebook in one language, and what cells are matched by. A key names a cell."""

    notebook: NotebookNode
    version: str
    keys: tuple[str, ...]
    place: Mapping[str, int]
    by_id: Mapping[str, str]
    by_text: Mapping[str, str]
    # Cells of students that stand only in another language's version: id -> text.
    elsewhere: Mapping[str, str]
    # Solution and answer cells: key -> the functions and classes that are to be written in it.
    tasks: Mapping[str, frozenset[str]]
    # Ungraded cells that students can't change: papermill's parameters, locked texts.
    fixed: frozenset[str]

    def cell(self, key: str) -> NotebookNode:
        return self.notebook.cells[self.place[key]]


def _prepared(source: NotebookNode, language: str) -> _Prepared:
    return nb_.once(source, ("prepared", language), lambda: _prepare(source, language))


def _prepare(source: NotebookNode, language: str) -> _Prepared:
    notebook = steps.apply(steps.TO_GRADER, source, language)
    by_key = {_key(cell): cell for cell in notebook.cells}
    by_text: dict[str, str] = {}
    for key, cell in by_key.items():
        by_text.setdefault(_plain(nb_.without_hidden(cell.source)), key)
    samples = {nb_.grade_id(c): c.source for c in source.cells if nb_.is_solution(c)}
    for cell in notebook.cells:
        task = nb_.ours(cell).get("rubric")
        if task is None:
            cell.metadata.pop(nb_.KEY, None)
        else:  # the student's answer takes the place of the instructor's, which graders need too
            cell.metadata[nb_.KEY]["sample"] = samples.get(task, "")
    tasks = {key: _to_write(c.source) for key, c in by_key.items() if nb_.is_solution(c)}
    here = {cell.id for cell in notebook.cells}
    return _Prepared(
        notebook=notebook,
        version=str(nb_.ours(source).get("version", "")),
        keys=tuple(by_key),
        place={key: i for i, key in enumerate(by_key)},
        by_id={cell.id: key for key, cell in by_key.items()},
        by_text=by_text,
        elsewhere={c.id: _plain(c.source) for c in source.cells if c.id not in here},
        tasks=tasks,
        fixed=frozenset(
            key
            for key, cell in by_key.items()
            if key not in tasks and not nb_.is_graded(cell) and _is_fixed(cell)
        ),
    )


def _key(cell: NotebookNode) -> str:
    return nb_.grade_id(cell) or cell.id


def _is_fixed(cell: NotebookNode) -> bool:
    locked = cell.metadata.get("nbgrader", {}).get("locked", False)
    return bool(locked) or "parameters" in cell.metadata.get("tags", ())


def _to_write(stub: str) -> frozenset[str]:
    """The functions and classes of a stub that a student has to write."""
    names = set(nb_.defined(stub))
    open_ = {n for n in names if "NotImplementedError" in (_definition(stub, n) or "")}
    return frozenset(open_ or names)


def _plain(source: str) -> str:
    """A source for comparing: editors change blanks at the ends of lines."""
    return "\n".join(line.rstrip() for line in source.strip().split("\n"))


def _differ(one: NotebookNode, other: NotebookNode) -> bool:
    return one.source != other.source and _plain(one.source) != _plain(other.source)


def _copy(value: Any) -> Any:
    """A copy of a notebook or a part of it, ten times as fast as copy.deepcopy."""
    if isinstance(value, dict):
        new = NotebookNode()
        for key, each in value.items():
            dict.__setitem__(new, key, _copy(each))
        return new
    return [_copy(each) for each in value] if isinstance(value, list) else value


# -- Which cell is which ----------------------------------------------------------------------


@dataclass
class _Loose:
    """A cell that the instructor's notebook does not have, or code that stands elsewhere.

    place: of the last cell before it that is known, -1 at the start; until: of the next one. added:
    whether the student added the cell. names: what it defines beyond the instructor's cell.
    """

    cell: NotebookNode
    number: int
    place: int
    until: int
    added: bool
    names: frozenset[str]


@dataclass
class _Matched:
    """copies: key -> the student's cells. added: key, "" at the start -> added after that cell."""

    copies: dict[str, list[NotebookNode]] = field(default_factory=dict)
    added: dict[str, list[_Loose]] = field(default_factory=dict)
    code: list[_Loose] = field(default_factory=list)


def _sorted_out(cells: list[NotebookNode], ready: _Prepared, *, keep_prose: bool) -> _Matched:
    """Match a student's cells. keep_prose: keep the instructor's texts that a student changed."""
    found = _Matched()
    keys = [_match(cell, ready) for cell in cells]
    until = len(ready.keys)
    nexts = []
    for key in reversed(keys):
        nexts.append(until)
        until = ready.place[key] if key else until
    last = ""
    for number, (cell, key, until) in enumerate(zip(cells, keys, reversed(nexts), strict=True)):
        if key is None and _is_elsewhere(cell, ready, keep_prose):
            continue
        if key is not None:
            found.copies.setdefault(key, []).append(cell)
            last = key
            original = ready.cell(key)
            if not _differ(cell, original):
                continue
            if cell.cell_type == "markdown" and key not in ready.tasks:
                # Perhaps the answer was written below the question.
                if keep_prose and original.cell_type == "markdown" and cell.source.strip():
                    loose = _Loose(cell, number, ready.place[key], until, True, frozenset())
                    found.added.setdefault(key, []).append(loose)
                continue
        place = ready.place[last] if last else -1
        new = set(nb_.defined(cell.source)) if cell.cell_type == "code" else set()
        if key is not None:
            new -= set(nb_.defined(ready.cell(key).source))
        loose = _Loose(cell, number, place, until, key is None, frozenset(new))
        if new:
            found.code.append(loose)
        if key is None and cell.cell_type != "raw" and cell.source.strip():
            found.added.setdefault(last, []).append(loose)
    return found


def _match(cell: NotebookNode, ready: _Prepared) -> str | None:
    """The key of the instructor's cell that a student's cell is, None for a cell of their own."""
    key = nb_.grade_id(cell)
    if key in ready.place:
        return key
    if cell.id in ready.by_id:
        return ready.by_id[cell.id]
    key = ready.by_text.get(_plain(cell.source))
    if key is None and (done := re.search(r'^check\.done\("(\w+)"\)', cell.source, re.MULTILINE)):
        # A changed test without ids: the build ends each one with its name.
        key = nb_.TEST_PREFIX + done[1]
    return key if key in ready.place and cell.source.strip() else None


def _is_elsewhere(cell: NotebookNode, ready: _Prepared, keep_prose: bool) -> bool:
    """Whether a cell is the instructor's text in another language."""
    text = _plain(cell.source)
    if cell.id in ready.elsewhere:
        return not keep_prose or text == ready.elsewhere[cell.id]
    return cell.cell_type == "markdown" and text in ready.elsewhere.values()


# -- Solutions --------------------------------------------------------------------------------


def _put_solution(
    cell: NotebookNode, copies: list[NotebookNode], theirs: _Matched, ready: _Prepared
) -> list[str]:
    """Put what the student wrote for a task into its cell; what is worth telling of it."""
    key = _key(cell)
    wanted = ready.tasks[key]
    written = [c for c in copies if c.source.strip() and _differ(c, cell)]
    if cell.cell_type == "code":
        # An earlier try that was kept as text is none; a retyped cell alone is the solution.
        written = [c for c in written if c.cell_type == "code"] or written
    if wanted:
        # A cell that was copied to begin another task keeps the name of the first.
        written = [c for c in written if not _is_another(c, wanted, ready)]
        written = written if any(map(_says_something, written)) else []
    if not wanted:
        written = [c for c in written if _plain(c.source) not in steps.STUBS]
    if not written and not wanted and (beside := _beside(key, theirs, ready)):
        _put_texts(cell, [each.cell for each in beside])
        return [f"the answer {key} was found in a cell of the student's own, and taken"]
    if not written:
        if wanted and (taken := _from_elsewhere(cell, wanted, theirs, ready)):
            cell.source, number = taken
            return [f"the code of {key} was found in another place, cell {number}, and taken"]
        return [] if copies else [f"the cell of {key} is missing"]
    distinct = list({_plain(c.source): c for c in written}.values())
    whole = [i for i, c in enumerate(distinct) if wanted and wanted <= set(nb_.defined(c.source))]
    # A cell that was split gives parts around the one with the `def`. Of several whole ones the
    # last counts, as it does when they are run one after the other.
    chosen = distinct[whole[-2] + 1 :] if len(whole) > 1 else distinct
    notes = []
    if len(whole) > 1:
        notes.append(f"the cell of {key} stands {len(copies)} times; the last one was graded")
    elif len(chosen) > 1:
        notes.append(f"the cell of {key} was split; its {len(chosen)} parts were put together")
    if cell.cell_type == "markdown":
        _put_texts(cell, chosen)
    else:
        cell.source = "\n".join(c.source for c in chosen)
    return notes


def _put_texts(cell: NotebookNode, parts: list[NotebookNode]) -> None:
    """Put texts into an answer cell, with their pictures; those of one name keep apart."""
    sources, pictures = [], {}
    for number, part in enumerate(parts, 1):
        source = part.source
        for name, picture in part.get("attachments", {}).items():
            free = name
            if pictures.get(name, picture) != picture:
                free = f"{number}-{name}"
                source = source.replace(f"(attachment:{name}", f"(attachment:{free}")
            pictures[free] = picture
        sources.append(source)
    cell.source = "\n\n".join(sources)
    if pictures:
        cell.attachments = _copy(pictures)


def _beside(key: str, theirs: _Matched, ready: _Prepared) -> list[_Loose]:
    """The texts that a student wrote just above or below an answer cell left as it was.

    They are taken out of where they stood: nobody would grade them there.
    """
    here = ready.place[key]
    found = []
    for added in theirs.added.values():
        for each in list(added):
            if each.cell.cell_type == "markdown" and each.place <= here <= each.until:
                added.remove(each)
                found.append(each)
    return found


def _elsewhere(
    cell: NotebookNode, theirs: _Matched, ready: _Prepared, documents: Sequence[str]
) -> list[str]:
    """Have a person look at an answer that was left empty, where it may stand elsewhere."""
    key = _key(cell)
    here = ready.place[key]
    if not nb_.is_graded(cell) or _differ(cell, ready.cell(key)) or "attachments" in cell:
        return []
    after = (i for i in range(here + 1, len(ready.keys)) if nb_.is_graded(ready.notebook.cells[i]))
    end = next(after, len(ready.keys))
    keys = ready.keys[here:end]
    below = [one.cell.source for each in keys for one in theirs.added.get(each, ())]
    if not below and not documents:
        return []
    cell.metadata[nb_.KEY] = {"elsewhere": files_.digest([*below, *documents])}
    where = ["cells of the student's own stand below it"] if below else []
    where += [f"{', '.join(map(printable, documents[:3]))} was handed in"] if documents else []
    return [f"the answer {key} was left empty, but {' and '.join(where)}"]


def _is_another(cell: NotebookNode, wanted: frozenset[str], ready: _Prepared) -> bool:
    """Whether a cell is written for another task alone."""
    names = set(nb_.defined(cell.source))
    others = (other for other in ready.tasks.values() if other and other != wanted)
    return bool(names) and not names & wanted and any(other <= names for other in others)


def _says_something(cell: NotebookNode) -> bool:
    """Whether there is anything but comments in a cell."""
    lines = (line.strip() for line in cell.source.split("\n"))
    return any(line and not line.startswith("#") for line in lines)


def _from_elsewhere(
    cell: NotebookNode, wanted: frozenset[str], theirs: _Matched, ready: _Prepared
) -> tuple[str, int] | None:
    """The code of a task whose own cell is missing or untouched, and the number of its cell.

    An added cell that stands where the task's cell belongs, or below it, is moved there whole. Of
    one that stands above, or is another known cell, only the definitions are copied: what the
    cells between need of it stays.
    """
    found = next((loose for loose in reversed(theirs.code) if wanted <= loose.names), None)
    if found is None:
        return None
    source = found.cell.source
    here = ready.place[_key(cell)]
    if found.added and (found.place >= here or found.until > here):
        for added in theirs.added.values():
            added[:] = [each for each in added if each is not found]
        found.added = False  # further tasks that it holds copy from it
    else:
        parts = [_definition(source, name) for name in sorted(wanted, key=source.find)]
        source = "\n\n\n".join(p for p in parts if p) if all(parts) else source
    given = set(nb_.defined(cell.source)) - set(nb_.defined(source))
    if given:  # functions that the stub gives and the student did not copy
        source = f"{cell.source}\n\n\n{source}"
    return source, found.number + 1


def _definition(source: str, name: str) -> str | None:
    """The lines of a function or class at the top level of a cell, None where there is none.

    By tokens: nothing that a student writes is given to Python's parser in this process.
    """
    if len(source) > 100_000:  # tokens take time
        return None
    lines = source.split("\n")
    pattern = re.compile(rf"(?:async\s+)?(?:def|class)\s+{re.escape(name)}\b")
    last = None
    try:
        starts = [*_statements(source), len(lines)]
    except (tokenize.TokenError, SyntaxError, RecursionError):
        return None
    for i, start in enumerate(starts[:-1]):
        if pattern.match(lines[start]):
            first = i
            while first and lines[starts[first - 1]].startswith("@"):
                first -= 1
            last = "\n".join(lines[starts[first] : starts[i + 1]]).rstrip()
    return last


def _statements(source: str) -> Iterator[int]:
    """The numbers of the lines at which a statement at the top level of a cell begins."""
    depth, fresh = 0, True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.INDENT:
            depth += 1
        elif token.type == tokenize.DEDENT:
            depth -= 1
        elif token.type == tokenize.NEWLINE:
            fresh = True
        elif token.type not in (tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER):
            if fresh and depth == 0:
                yield token.start[0] - 1
            fresh = False


# -- Tests and added cells --------------------------------------------------------------------


def _changed_test(cell: NotebookNode, copies: list[NotebookNode]) -> list[str]:
    name = nb_.grade_id(cell).removeprefix(nb_.TEST_PREFIX)
    if not copies:
        return [f"the checks of {name} were deleted from the file; they ran all the same"]
    shown = _plain(nb_.without_hidden(cell.source))
    joined = "".join(copy.source for copy in copies)
    only_split = len(copies) > 1 and "".join(joined.split()) == "".join(shown.split())
    if not only_split and any(_plain(copy.source) != shown for copy in copies):
        return [f"the checks of {name} were changed in the file; the original ones ran"]
    for copy in copies:
        theirs = copy.metadata.get("nbgrader", {})
        points = theirs.get("points") if isinstance(theirs, dict) else None
        if points is not None and points != cell.metadata.nbgrader["points"]:
            return [f"the points of {name} were changed in the file; the original ones count"]
    return []


def _outdated(version: Any, present: str) -> str:
    """A note on a file that was made from another version: its checks differ for that reason."""
    if not version or not present or version == present:
        return ""
    return f"made from version {version} of the notebook; checked with {present}"


def _language(student: NotebookNode | None) -> str:
    """The language that the student worked in: the stamp, else what the cells' ids tell."""
    if student is None:
        return words.ENGLISH.code
    stamp = nb_.ours(student).get("language")
    if stamp in words.LANGUAGES:
        return stamp
    ends = {code: f"-{code}" for code in words.LANGUAGES if code != words.ENGLISH.code}
    found = (c for c, end in ends.items() if any(cell.id.endswith(end) for cell in student.cells))
    return next(found, words.ENGLISH.code)


def _new_cell(cell: NotebookNode, number: int) -> NotebookNode:
    """A cell that a student added, with nothing but its source and the pictures of a text."""
    new = NotebookNode(
        cell_type=cell.cell_type,
        id=f"{nb_.ADDED}{cell.cell_type}-{number}",
        metadata={},
        source=cell.source,
    )
    if cell.cell_type == "code":
        new.update(execution_count=None, outputs=[])
    elif "attachments" in cell:
        new.attachments = _copy(cell.attachments)
    return new
