"""A student's folder of a week, as it lies on disk -> a notebook, or one sentence, for each.

Strict on what nobody needs (folder.py): links, devices, archives, sizes. Tolerant of what happens
to honest people: renamed files, two copies, other encodings, old formats, a damaged cell. Whatever
was done to a file is told in a sentence.
"""

from __future__ import annotations

import binascii
import contextlib
import difflib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nbformat import NotebookNode

from autograder import notebook as nb_
from autograder import words
from autograder.grading.folder import MAXIMUM_BYTES, File, Listing, is_notebook, printable
from autograder.grading.graft import attempts

MAXIMUM_CELLS = 2_000  # of a notebook
MAXIMUM_CODE = 2_000_000  # characters of all code in a notebook
# Characters of one cell: into a text, Colab puts a picture as a long line.
MAXIMUM_CELL = {"code": 500_000, "raw": 500_000, "markdown": 5_000_000}
MAXIMUM_PICTURE = 5_000_000  # bytes of a picture attached to a text

_BLANK = " \t\r\n\0\ufeff"


# How files begin that are handed in by mistake.
_WHAT = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gz archive",
    b"Rar!": "a rar archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"<": "a web page",
    b"version https://git-lfs": "a pointer of git LFS, without the file itself",
    b"#": "a Python script",
    b"import ": "a Python script",
    b"from ": "a Python script",
}


class IntakeError(Exception):
    """The file is no notebook that can be graded; the message is for the teacher."""


@dataclass(frozen=True)
class Read:
    """A submitted notebook that was read.

    notes: what was repaired or left out. flags: what a person should look at. whole: False where a
    part of the file is lost.
    """

    notebook: NotebookNode
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    whole: bool = True


@dataclass(frozen=True)
class Collected:
    """What one student handed in for a week.

    notebooks: those that can be graded, by their names in the course. refused: why the others that
    are there can't. notes: what else a teacher may want to know of the folder. files: what was
    handed in beside the notebooks, as it is. documents: the names of texts and pictures that nobody
    has asked for.
    """

    notebooks: Mapping[str, Read]
    refused: Mapping[str, str]
    notes: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    documents: tuple[str, ...] = ()


# -- One file ---------------------------------------------------------------------------------


def read(content: bytes) -> Read:
    """Read a submitted notebook of any nbformat from 2 on. Raises IntakeError.

    Only what grading needs is kept. Of a cell: type, id, source, grade_id and points, pictures
    attached to a text, and outputs, which the graft keeps of cells that are not run again. Of the
    notebook: the stamp of the build.
    """
    if len(content) > MAXIMUM_BYTES:
        raise IntakeError(
            f"the file has {len(content) / 1e6:.0f} MB, and at most {MAXIMUM_BYTES / 1e6:.0f} MB "
            "are read: it should be handed in again without its outputs"
        )
    if not content.strip(_BLANK.encode()):
        raise IntakeError("the file is empty: it should be handed in again")
    for start, what in _WHAT.items():
        if content.startswith(start):
            raise IntakeError(f"the file is not a notebook but {what}: ask for the .ipynb file")
    told = _Told()
    table = _table(_decoded(content, told), told)
    found = _cells_of(table)
    if not found:
        raise IntakeError("the file is JSON, but not a notebook: it has no cells")
    if len(found) > MAXIMUM_CELLS:
        raise IntakeError(f"the notebook has {len(found)} cells; at most {MAXIMUM_CELLS} are read")
    cells = [cell for i, each in enumerate(found) if (cell := _cell(each, i + 1, told))]
    if not cells:
        raise IntakeError(f"the notebook is damaged: none of its {len(found)} cells can be read")
    code = sum(len(cell.source) for cell in cells if cell.cell_type != "markdown")
    if code > MAXIMUM_CODE:
        raise IntakeError(
            f"the notebook holds {code / 1e6:.1f} million characters of code; "
            f"at most {MAXIMUM_CODE / 1e6:.0f} million are read"
        )
    # Not nbformat's constructor: that would refuse ids that stand twice, say.
    metadata = {nb_.KEY: _stamp(table)}
    notebook = NotebookNode(cells=cells, metadata=metadata, nbformat=4, nbformat_minor=5)
    return Read(notebook, tuple(told.notes_in_order()), tuple(told.flags), told.whole)


@dataclass
class _Told:
    """What is worth telling of a file. cells: what was done -> the numbers of the cells."""

    notes: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    cells: dict[str, list[int]] = field(default_factory=dict)
    whole: bool = True

    def of_cell(self, number: int, what: str) -> None:
        numbers = self.cells.setdefault(what, [])
        numbers += [number] if number not in numbers[-1:] else []

    def notes_in_order(self) -> list[str]:
        of_cells = []
        for what, numbers in self.cells.items():
            some = ", ".join(map(str, numbers[:5]))
            more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
            of_cells.append(f"cell{'s' if len(numbers) > 1 else ''} {some}{more}: {what}")
        return self.notes + of_cells


def _decoded(content: bytes, told: _Told) -> str:
    """The text of a file: in the encoding that its first bytes tell, else in an old one."""
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode(encoding, "replace")
    lost = text.count("\ufffd")
    if not encoding.startswith("utf-8") or lost < len(re.findall(r"[^\x00-\x7f\ufffd]", text)):
        told.notes.append(f"{lost} characters of the file were damaged; they show as \ufffd")
        return text
    # No UTF-8 at all. Whole words of such bytes are Cyrillic, lone ones are letters with accents.
    # Code is the same in both; should we be wrong, it is only words that read oddly.
    runs = re.findall(rb"[\x80-\xff]+", content)
    name = "Windows-1251" if sum(map(len, runs)) >= 2 * len(runs) else "Windows-1252"
    told.notes.append(f"the file is not in UTF-8; it was read as {name}")
    return content.decode(name, "replace")


def _integer(digits: str) -> int:
    """Python refuses to parse thousands of digits, and no number that we use has more than 18."""
    return int(digits) if len(digits) <= 18 else 0


# Not strict: a line break in a string, as some scripts write it, can only mean itself.
_JSON = json.JSONDecoder(strict=False, parse_int=_integer)
# A string (to the end of the text where it is not closed: each character is looked at once), or a
# comma with nothing after it.
_COMMA = re.compile(r'("[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z))|,(?=\s*+[}\]])', re.DOTALL)


def _table(text: str, told: _Told) -> Any:
    """The file's JSON, repaired where there is only one way to. Raises IntakeError."""
    text = text.strip(_BLANK)
    try:
        return _first_value(text, told)
    except (ValueError, RecursionError) as raised:
        error = raised
    if len(repaired := _COMMA.sub(r"\1", text)) < len(text):
        with contextlib.suppress(ValueError, RecursionError):
            return _first_value(repaired, told)
    where = "it is nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        where = f"it is cut off or damaged at line {error.lineno}, column {error.colno}"
    if "<<<<<<< " in text and ">>>>>>> " in text:
        where = "it holds an unfinished merge of git (<<<<<<<)"
    cells = _cells_before_damage(text)
    if not cells:
        raise IntakeError(f"the file can't be read as a notebook: {where}; ask for it again")
    told.whole = False
    told.flags.append(
        f"the file is not whole: {where}. The {len(cells)} cells before that were graded; "
        "ask for the file again"
    )
    return {"cells": cells}


def _first_value(text: str, told: _Told) -> Any:
    value, end = _JSON.raw_decode(text)
    if text[end:].strip(_BLANK):
        told.notes.append("what stood in the file after the end of the notebook was left out")
    return value


def _cells_before_damage(text: str) -> list[Any]:
    """The whole cells of a notebook up to where its JSON breaks."""
    start = re.search(r'"cells"\s*+:\s*+\[', text)
    cells: list[Any] = []
    end = start.end() if start else len(text)
    between = re.compile(r"[\s,]*+")
    while len(cells) <= MAXIMUM_CELLS:
        end = between.match(text, end).end()  # type: ignore[union-attr]
        try:
            cell, end = _JSON.raw_decode(text, end)
        except (ValueError, RecursionError):
            break
        cells.append(cell)
    return cells


def _cells_of(table: Any) -> list[Any]:
    """The list of cells: formats 2 and 3 have them in worksheets."""
    if not isinstance(table, dict):
        return []
    if isinstance(table.get("cells"), list):
        return table["cells"]
    sheets = table.get("worksheets")
    sheets = sheets if isinstance(sheets, list) else []
    found = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
    return [cell for cells in found if isinstance(cells, list) for cell in cells]


def _cell(cell: Any, number: int, told: _Told) -> NotebookNode | None:
    """What grading needs of a cell; None for one that can't be read."""
    source = _text(cell.get("source", cell.get("input"))) if isinstance(cell, dict) else None
    if source is None:
        told.of_cell(number, "damaged, left out")
        return None
    kind, source = _type(cell, source)
    if len(source) > MAXIMUM_CELL[kind]:
        told.flags.append(
            f"cell {number} has {len(source) / 1e6:.1f} million characters, too many to grade: "
            "it was left out; look at it in the file"
        )
        return None
    if "\0" in source:
        source = source.replace("\0", "")
        told.of_cell(number, "characters that are no text were left out")
    metadata = cell.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    nbgrader = metadata.get("nbgrader")
    nbgrader = nbgrader if isinstance(nbgrader, dict) else {}
    kept = NotebookNode(
        cell_type=kind,
        # Colab keeps the id of a cell in its metadata.
        id=_id(cell.get("id")) or _id(metadata.get("id")),
        metadata={},
        source=source,
    )
    if grade_id := _id(nbgrader.get("grade_id")):
        points = nbgrader.get("points")
        points = points if isinstance(points, int | float) else None
        kept.metadata["nbgrader"] = {"grade_id": grade_id, "points": points}
    if kind == "code":
        kept.update(execution_count=None, outputs=_outputs(cell.get("outputs")))
    elif kind == "markdown" and (pictures := _pictures(cell.get("attachments"), number, told)):
        kept.attachments = pictures
    return kept


def _text(value: Any) -> str | None:
    """A cell's source, which may come in lines, as text that can be written to a file."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "".join(value)
    if not isinstance(value, str):
        return None
    if "\r" in value:
        value = value.replace("\r\n", "\n").replace("\r", "\n")
    if not value.isascii():
        # Half of a pair of UTF-16, which JSON can spell and UTF-8 can't.
        value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _type(cell: Mapping[str, Any], source: str) -> tuple[str, str]:
    """A cell's type in format 4. What is neither code nor text is raw: it is kept, but not run."""
    kind = cell.get("cell_type")
    if kind == "heading":
        level = cell.get("level")
        level = level if isinstance(level, int) and 1 <= level <= 6 else 1
        return "markdown", f"{'#' * level} {source}"
    if kind == "html":
        return "markdown", source
    return (kind if isinstance(kind, str) and kind in MAXIMUM_CELL else "raw"), source


def _id(value: Any) -> str:
    """An id as nbformat allows it, "" for anything else."""
    return value if isinstance(value, str) and re.fullmatch(r"[\w-]{1,64}", value, re.A) else ""


# What a training loop shows, without what could run: it is cleaned once more before it is shown.
_SHOWN = ("text/plain", "text/html", "image/png", "image/jpeg", "image/svg+xml")
MAXIMUM_OUTPUTS = 2_000_000  # characters of a cell's outputs


def _outputs(outputs: Any) -> list[NotebookNode]:
    """The outputs of a cell, made anew of what can be read of them."""
    kept: list[NotebookNode] = []
    left = MAXIMUM_OUTPUTS
    for output in outputs if isinstance(outputs, list) else ():
        new = _output(output) if isinstance(output, dict) else None
        left -= len(str(new))
        if left < 0:
            kept.append(_stream("… the outputs after this were too long and were left out"))
            break
        kept += [new] if new else []
    return kept


def _output(output: Mapping[str, Any]) -> NotebookNode | None:
    kind = output.get("output_type")
    if kind == "stream":
        return _stream(_overwritten(_joined(output.get("text"))))
    if kind in ("error", "pyerr"):
        name, value = (_text(output.get(key)) or "" for key in ("ename", "evalue"))
        return _stream(f"{name}: {value}\n")
    data = output.get("data")
    shown = {m: _text(data.get(m)) for m in _SHOWN} if isinstance(data, dict) else {}
    shown = {mime: text for mime, text in shown.items() if text}
    if not shown:
        return None
    return NotebookNode(output_type="display_data", data=NotebookNode(shown), metadata={})


def _overwritten(text: str) -> str:
    """What a terminal shows in the end: a progress bar goes back to the start of its line."""
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return _text("\n".join(lines)) or ""


def _joined(value: Any) -> str:
    """A text that may come in lines, "" for anything else."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value if isinstance(value, str) else ""


def _stream(text: str) -> NotebookNode:
    return NotebookNode(output_type="stream", name="stdout", text=text)


_PICTURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


def _pictures(attachments: Any, number: int, told: _Told) -> dict[str, Any]:
    """The attachments of a text that are pictures and nothing else."""
    kept: dict[str, Any] = {}
    for name, bundle in attachments.items() if isinstance(attachments, dict) else ():
        for mime, data in bundle.items() if isinstance(bundle, dict) else ():
            data = "".join(_text(data) or "").replace("\n", "")
            if (
                mime in _PICTURES
                and len(data) <= MAXIMUM_PICTURE * 4 / 3 + 4
                and _starts_with(data, _PICTURES[mime])
                and re.fullmatch(r"[^\x00-\x1f<>\"'&\\\ud800-\udfff]{1,200}", name)
            ):
                kept.setdefault(name, {})[mime] = data
            else:
                told.of_cell(
                    number,
                    "an attachment was left out; PNG and JPEG "
                    f"of at most {MAXIMUM_PICTURE / 1e6:.0f} MB are kept",
                )
    return kept


def _starts_with(data: str, magic: bytes) -> bool:
    try:
        return binascii.a2b_base64(data, strict_mode=True).startswith(magic)
    except ValueError:
        return False


def _stamp(table: Any) -> dict[str, Any]:
    """What the build wrote into the notebook: language, name, version."""
    metadata = table.get("metadata")
    stamp = metadata.get(nb_.KEY) if isinstance(metadata, dict) else None
    stamp = stamp if isinstance(stamp, dict) else {}
    known = {name: _id(stamp.get(name)) for name in ("language", "notebook", "version")}
    return {name: value for name, value in known.items() if value}


# -- One folder -------------------------------------------------------------------------------


def collect(
    found: Listing, sources: Mapping[str, NotebookNode], expected: Collection[str] = ()
) -> Collected:
    """Collect what lies in a student's folder of a week; raises nothing for it.

    found: the folder, with the contents of what was handed in beside the notebooks; one of those
    that is not there, or can't be used, is a note and refuses nothing. sources: the week's source
    notebooks by name. expected: names of files that were handed out with the notebooks; finding
    them again is not worth a note.
    """
    if found.whole:
        return Collected({}, {name: found.whole for name in sources}, ())
    unread, others = dict(found.refused), list(found.others)
    candidates: dict[str, list[tuple[File, Read]]] = {}
    renamed: dict[str, str] = {}
    traits = _Traits(sources)
    for file in found.files:
        try:
            one = read(file.content)
        except IntakeError as error:
            if is_notebook(file.name):
                unread[file.name] = str(error)
            else:
                others.append(file.name)
            continue
        name, note = traits.whose(file.name, one.notebook)
        if not name:
            others.append(file.name)
            continue
        candidates.setdefault(name, []).append((file, one))
        renamed[name] = note

    notes = list(found.notes)
    notebooks: dict[str, Read] = {}
    for name in sources:
        if name in candidates:
            notebooks[name], note = _best(name, candidates[name], sources[name])
            notes += [note or renamed[name]] if note or renamed[name] else []
    refused, unused = _refused(unread, notebooks, traits)
    notes += [*unused, *_unused(others, expected)]
    beside = {name: file.content for name, file in found.beside.items()}
    documents = [n for n in _not_expected(others, expected) if n.casefold().endswith(_DOCUMENTS)]
    return Collected(notebooks, refused, tuple(notes), beside, tuple(documents))


_DOCUMENTS = (".pdf", ".doc", ".docx", ".odt", ".rtf", ".txt", ".md", ".html", ".png", ".jpg")


def _not_expected(names: Iterable[str], expected: Collection[str]) -> list[str]:
    """The files that nobody needs, without those that were handed out."""
    readmes = {language.readme for language in words.LANGUAGES.values()}
    return sorted({n for n in names if n not in expected and n not in readmes})


def _refused(
    unread: Mapping[str, str], notebooks: Mapping[str, Read], traits: _Traits
) -> tuple[dict[str, str], list[str]]:
    """Why notebooks are refused, by name, and notes on the other files that can't be read."""
    refused: dict[str, str] = {}
    unused = []
    # A file of the notebook's own name says best why it is missing.
    for file_name, why in sorted(unread.items(), key=lambda i: (i[0].count("/"), i)):
        name = traits.named(file_name) if is_notebook(file_name) else ""
        if name and name not in notebooks and file_name == f"{name}.ipynb":
            refused[name] = why
        elif name and name not in notebooks and name not in refused:
            refused[name] = f"{printable(file_name)}: {why}"
        else:
            unused.append(f"{printable(file_name)} was not used: {why}")
    more = [f"{len(unused) - 5} more such files"] if len(unused) > 5 else []
    return refused, [*unused[:5], *more]


def _unused(names: Iterable[str], expected: Collection[str]) -> list[str]:
    """One note for the files that nobody needs, and one for each archive."""
    left = _not_expected(names, expected)
    ends = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
    archives = [n for n in left if n.casefold().endswith(ends)]
    others = [n for n in left if n not in archives]
    notes = [
        f"{printable(n)} is an archive and was not opened: unpack it into the folder if it holds "
        "the notebooks"
        for n in archives[:3]
    ]
    if others:
        shown = ", ".join(printable(n) for n in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        notes.append(f"not used: {shown}{more}")
    return notes


# -- Which notebook a file is -----------------------------------------------------------------


class _Traits:
    """What tells the notebooks of a week apart: ids of cells, tasks, stamps, names of functions."""

    def __init__(self, sources: Mapping[str, NotebookNode]) -> None:
        ids = {name: _ids(source) | {f"stamp {name}"} for name, source in sources.items()}
        names = {name: _names(filter(nb_.is_solution, s.cells)) for name, s in sources.items()}
        self.ids = _own(ids)
        self.names = _own(names)

    def whose(self, file_name: str, notebook: NotebookNode) -> tuple[str, str]:
        """The notebook that a file is, "" for none of the week, and a note if it was renamed."""
        named, shown = self.named(file_name), printable(file_name)
        ids = _ids(notebook) | {f"stamp {nb_.ours(notebook).get('notebook', '')}"}
        names = _names(notebook.cells)
        by_id = {name: len(ids & own) for name, own in self.ids.items()}
        by_name = {name: len(names & own) for name, own in self.names.items()}
        # A file without ids: one function of the same name is chance, half of them is not.
        likely = {n: c if 2 * c >= len(self.names[n]) else 0 for n, c in by_name.items()}
        held = by_id if any(by_id.values()) else likely
        most = max(held.values(), default=0)
        best = [name for name, count in held.items() if count == most > 0]
        if file_name == f"{named}.ipynb":
            # Its own name is overruled only if it is another notebook, whole, and nothing of this.
            swapped = len(best) == 1 and 3 * by_id[best[0]] >= len(self.ids[best[0]])
            if by_id[named] or by_name[named] or not swapped:
                return named, ""
        elif named and (named in best or not best):
            return named, f"{shown} was taken as {named}.ipynb, by its name"
        if len(best) == 1:
            return best[0], f"{shown} was taken as {best[0]}.ipynb, by the cells that it holds"
        return "", ""

    def named(self, file_name: str) -> str:
        """The notebook whose name a file's name is, holds, or is close to; "" for none."""
        stem = _stem(file_name)
        likeness = {}
        for name in self.ids:
            plain = _stem(name)
            if stem == plain:
                likeness[name] = 3.0
            elif re.search(rf"(?<![^\W_]){re.escape(plain)}(?![^\W_])", stem):
                likeness[name] = 2.0
            else:
                likeness[name] = difflib.SequenceMatcher(None, stem[:200], plain).ratio()
        most = max(likeness.values(), default=0.0)
        best = [name for name, value in likeness.items() if value == most >= 0.85]
        return best[0] if len(best) == 1 else ""


def _stem(name: str) -> str:
    """A file's name without folders and endings, in one spelling."""
    name = unicodedata.normalize("NFC", name.rsplit("/", 1)[-1]).casefold()
    return re.sub(r"\.(ipynb.*|json|txt)$", "", name, flags=re.DOTALL).strip()


def _ids(notebook: NotebookNode) -> set[str]:
    return {i for c in notebook.cells for i in (nb_.grade_id(c), c.get("id", "")) if i}


def _names(cells: Iterable[NotebookNode]) -> set[str]:
    return {n for cell in cells if cell.cell_type == "code" for n in nb_.defined(cell.source)}


def _own(traits: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Of each set what no other has."""
    count = Counter(trait for each in traits.values() for trait in each)
    return {name: {t for t in each if count[t] == 1} for name, each in traits.items()}


def _best(name: str, candidates: list[tuple[File, Read]], source: NotebookNode) -> tuple[Read, str]:
    """Of several files that are one notebook, the one to grade, and a note on the choice.

    One that was worked on beats an untouched one; then the notebook's own name, the newer file, the
    one with more tasks written.
    """
    if len(candidates) == 1:
        return candidates[0][1], ""
    done = {file.name: attempts(source, one.notebook) for file, one in candidates}
    rules = {
        "the only one that was worked on": lambda f: done[f.name] > 0,
        "the one with the notebook's own name": lambda f: f.name == f"{name}.ipynb",
        "the newest": lambda f: f.modified,
        "the one with most tasks written": lambda f: done[f.name],
        "the first by name": lambda f: [-ord(c) for c in f.name],
    }
    files, why = [file for file, _ in candidates], ""
    for rule_name, rule in rules.items():
        if len(files) > 1:
            most, why = max(rule(file) for file in files), rule_name
            files = [file for file in files if rule(file) == most]
    (chosen,) = files
    others = [printable(f.name) for f, _ in candidates if f is not chosen]
    shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    one = next(one for file, one in candidates if file is chosen)
    return one, f"{name}: {printable(chosen.name)} was graded, {why}; not {shown}"
