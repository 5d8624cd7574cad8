"""weeks/ -> source/ -> release/{en,ru}/: the same text gives the same bytes.

Pure functions turn a Text into a source notebook and that into a release; `build_weeks` gathers the
files of a week, and `write` puts trees on disk, whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograder import exams, gradebook, settings, steps, words
from autograder import files as files_
from autograder import notebook as nb_
from autograder.authoring import glossary, readme
from autograder.authoring.text import Cell, Text, apply_mutant, grade_id_of, parse
from autograder.course import FILE, WEEK_FILE, Course, Week
from autograder.errors import CourseError, Problem, stop

Files = dict[Path, bytes]
DEMO_FILE = "demo.py"  # what students of a week's own do in `autograder demo`
PROOF_FILE = "proof.json"  # what `autograder prove` found
CLASS_FILE = "class.json"  # what `autograder demo` found


# -- One notebook, pure -----------------------------------------------------------------------


def to_source(
    text: Text, course: Course, terms: Mapping[str, str] = MappingProxyType({})
) -> NotebookNode:
    """The instructor's notebook, in all languages, without outputs.

    terms: the folder of the week that tells a term of the glossary, by its anchor.
    """
    cells: list[NotebookNode] = []
    ids = _Ids()
    twin = ""
    title = _title_cells(text)
    for number, cell in enumerate(text.cells):
        if cell.kind in ("mutant", "alternative"):
            continue
        if cell.kind in ("prose", "rubric") and cell.language not in ("en", "any"):
            cell_id = ids.free(f"{twin}-{cell.language}")
        else:
            cell_id = twin = ids.of(cell)
        cells.append(_source_cell(cell, cell_id, text, course, terms))
        if number + 1 == title:
            cells += _header(text, course)
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        nb_.KEY: {"notebook": text.name, "version": text.digest, "week": text.week},
    }
    return new_notebook(cells=cells, metadata=metadata, nbformat_minor=5)


def to_release(source: NotebookNode, language: str) -> NotebookNode:
    """What students open, in one language."""
    return steps.apply([*steps.TO_GRADER, *steps.TO_STUDENT], source, language)


class _Ids:
    """Cell ids that stay the same while the cell does, wherever it moves."""

    def __init__(self) -> None:
        self.taken = {"setup"}  # the header's; its other IDs hold a hyphen, as no task's does

    def of(self, cell: Cell) -> str:
        """The ID of a cell that is no twin."""
        if cell.kind == "test":
            stem = nb_.TEST_PREFIX + cell.task
        elif cell.kind == "rubric":
            stem = "rubric-" + cell.task
        elif cell.task:
            stem = cell.task
        else:
            stem = "cell-" + hashlib.sha256(cell.source.encode()).hexdigest()[:10]
        return self.free(stem)

    def free(self, stem: str) -> str:
        """The stem, with a number where another cell has it."""
        found, number = stem, 2
        while found in self.taken:
            found, number = f"{stem}-{number}", number + 1
        self.taken.add(found)
        return found


def _title_cells(text: Text) -> int:
    """How many cells the title takes: its English cell and the twins of it."""
    count = 1
    while count < len(text.cells) and text.cells[count].language not in ("", "en", "any"):
        count += 1
    return count


def _source_cell(
    cell: Cell, cell_id: str, text: Text, course: Course, terms: Mapping[str, str]
) -> NotebookNode:
    metadata: dict[str, Any] = {}
    source = cell.source
    if cell.kind in ("prose", "rubric"):
        source = expand_prose(source, cell.language, text, course, terms)
        if cell.language != "any":
            metadata[nb_.KEY] = {"lang": cell.language}
        if cell.kind == "rubric":
            metadata[nb_.KEY] = {**metadata.get(nb_.KEY, {}), "rubric": cell.task}
    elif cell.kind in nb_.TAGS:
        metadata["tags"] = [cell.kind]
    elif cell.kind == "nbgrader":
        metadata["nbgrader"] = dict(cell.options["nbgrader"])
    elif cell.kind == "solution":
        metadata["nbgrader"] = _nbgrader(cell.task, solution=True)
        metadata[nb_.KEY] = {
            "alternatives": [
                {"source": c.source, "why": c.options["why"]}
                for c in text.of("alternative", cell.task)
            ],
            "mutants": [
                {"source": apply_mutant(cell.source, c.source), "why": c.options["why"]}
                for c in text.of("mutant", cell.task)
            ],
        }
    elif cell.kind == "test":
        source = f'{source}\ncheck.done("{cell.task}")'
        metadata["nbgrader"] = _nbgrader(
            nb_.TEST_PREFIX + cell.task, grade=True, points=cell.options["points"]
        )
        metadata[nb_.KEY] = {"bonus": bool(cell.options.get("bonus", False))}
        if cell.options.get("exam"):
            metadata[nb_.KEY]["exam"] = True
    elif cell.kind == "answer":
        metadata["nbgrader"] = _nbgrader(
            cell.task, solution=True, grade=True, points=cell.options["points"]
        )
        metadata[nb_.KEY] = {"bonus": bool(cell.options.get("bonus", False))}
    new = new_markdown_cell if cell.is_markdown else new_code_cell
    return new(source, id=cell_id, metadata=metadata)


def _nbgrader(
    name: str, *, solution: bool = False, grade: bool = False, points: float | None = None
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "grade": grade,
        "grade_id": name,
        "locked": grade and not solution,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    if points is not None:
        metadata["points"] = points
    return metadata


def _header(text: Text, course: Course) -> list[NotebookNode]:
    """The badge and version stamp in each language, and the set-up cell for Colab."""
    cells = []
    for language in course.languages:
        said = words.of(language)
        path = f"release/{language}/{text.week}/{text.name}.ipynb"
        link = f"https://colab.research.google.com/github/{course.repository}/blob/main/{path}"
        badge = "https://colab.research.google.com/assets/colab-badge.svg"
        source = (
            f"[![{said.open_in_colab}]({badge})]({link}) "
            f"{course.name} {course.version} · {text.week}/{text.name} · "
            f"{said.version} `{text.digest}`"
        )
        metadata = {nb_.KEY: {"lang": language}}
        cells.append(new_markdown_cell(source, id=f"badge-{language}", metadata=metadata))
    setup = (
        "import sys\n\n"
        'if "google.colab" in sys.modules:  # on Colab alone: install what is missing there\n'
        "    import subprocess\n\n"
        f'    package = "practical-dl @ git+https://github.com/{course.repository}"\n'
        '    subprocess.run([sys.executable, "-m", "pip", "install", "-q", package], check=True)'
    )
    return [*cells, new_code_cell(setup, id="setup")]


def expand_prose(
    source: str, language: str, text: Text, course: Course, terms: Mapping[str, str]
) -> str:
    """Fill in `{{task:ID}}` and glossary links. What does not resolve stays as it is."""

    def task_line(match: re.Match[str]) -> str:
        cell = text.tests.get(match[1]) or next(iter(text.of("answer", match[1])), None)
        return words.of(language).task_line(cell.options) if cell else match[0]

    def term(match: re.Match[str]) -> str:
        address = glossary.link(course.repository, terms, language, match[1])
        return f"]({address})" if address else match[0]

    source = re.sub(r"\{\{task:(\w+)\}\}", task_line, source)
    return glossary.LINK.sub(term, source)


# -- One week ---------------------------------------------------------------------------------


def read_texts(course: Course, week: Week) -> tuple[list[Text], list[Problem]]:
    """Parse the notebooks of a week, in the schedule's order, with all problems of form."""
    texts, problems = [], []
    for entry in week.notebooks:
        file = f"weeks/{week.folder}/{entry.name}.py"
        try:
            content = (course.root / file).read_text(encoding="utf-8-sig")
        except OSError as error:
            message = f"{WEEK_FILE} lists this notebook, but it can't be read: {error.strerror}"
            problems.append(Problem(file, "", "missing-file", message))
            continue
        except UnicodeDecodeError as error:
            problems.append(Problem(file, "", "utf-8", f"not UTF-8 text: {error}"))
            continue
        text, found = parse(content, week.folder, entry.name)
        texts.append(text)
        problems += found
    problems += _duplicate_tasks(texts)
    problems += unlisted(course, week)
    return texts, problems


def texts_of(course: Course, weeks: Sequence[Week], notebook: str = "") -> list[Text]:
    """The notebooks of weeks, parsed, or only those of one name. Raises CourseError."""
    texts, problems = [], []
    for week in weeks:
        found, wrong = read_texts(course, week)
        texts += [t for t in found if notebook in ("", t.name)]
        problems += [p for p in wrong if notebook in ("", Path(p.file).stem)]
    if notebook and not texts and not problems:
        known = ", ".join(n.name for week in weeks for n in week.notebooks)
        raise stop(FILE, notebook, "unknown-notebook", f"there is only: {known}")
    if problems:
        raise CourseError(problems)
    return texts


def _duplicate_tasks(texts: Iterable[Text]) -> list[Problem]:
    seen: dict[str, Text] = {}
    problems = []
    for text in texts:
        for cell in text.cells:
            name = grade_id_of(cell)
            earlier = seen.setdefault(name, text) if name else text
            if earlier is not text:
                message = f"the ID {name!r} is taken by {earlier.file}"
                problems.append(Problem(text.file, cell.place, "duplicate-id", message))
    return problems


def files_in(course: Course, week: Week) -> list[str]:
    """All files in a week's folder, relative to it."""
    folder = course.root / "weeks" / week.folder
    found = (p.relative_to(folder) for p in sorted(folder.rglob("*")) if p.is_file())
    return [p.as_posix() for p in found if not _skipped(p)]


def released(course: Course, week: Week) -> list[str]:
    """The files of a week that are released beside its notebooks: READMEs, and what it lists."""
    readmes = {words.of(language).readme for language in course.languages}
    return [
        name
        for name in files_in(course, week)
        if name in readmes or any(fnmatchcase(name, pattern) for pattern in week.release)
    ]


def own_files(course: Course, week: Week) -> set[str]:
    """The files by which a week is written, of which none is released as it is."""
    glossaries = {glossary.file_name(language) for language in course.languages}
    notebooks = {f"{entry.name}.py" for entry in week.notebooks}
    return {WEEK_FILE, exams.FILE, DEMO_FILE, PROOF_FILE, CLASS_FILE} | glossaries | notebooks


def unlisted(course: Course, week: Week) -> Iterator[Problem]:
    """Each file of a week's folder has a part: what is released is a list.

    Else a solution that somebody left there would be.
    """
    out, own = set(released(course, week)), own_files(course, week)
    for name in files_in(course, week):
        file = f"weeks/{week.folder}/{name}"
        if name.endswith(".ipynb"):
            message = f"weeks/ holds notebooks as text: list NAME.py in {WEEK_FILE}, delete this"
            yield Problem(file, "", "unlisted", message)
        elif name in out & own:
            message = f"a pattern of `release` in {WEEK_FILE} would release this file"
            yield Problem(file, "", "unlisted", message)
        elif name not in out | own:
            message = f"list it in {WEEK_FILE}, as a notebook or under `release`, or delete it"
            yield Problem(file, "", "unlisted", message)
    for pattern in week.release:
        if not any(fnmatchcase(name, pattern) for name in files_in(course, week)):
            message = f"no file of the week is named {pattern!r}"
            yield Problem(week.file, "release", "missing-file", message)


def _skipped(path: Path) -> bool:
    """What editors and Python leave behind."""
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts) or (
        path.name.endswith(("~", ".pyc", ".tmp"))
    )


def build_weeks(course: Course, weeks: Iterable[Week]) -> Files:
    """All built files of weeks, relative to the course's root. Raises CourseError for all weeks."""
    files: Files = {}
    problems: list[Problem] = []
    for week in weeks:
        texts, found = read_texts(course, week)
        problems += found
        if not found:
            files.update(build_texts(course, week, texts))
    if problems:
        raise CourseError(problems)
    return files


def build_texts(course: Course, week: Week, texts: Iterable[Text]) -> Files:
    """The built files of a week whose texts are read and without a problem of form."""
    trees, terms = trees_of(course), glossary.places(course)
    files: Files = {}
    for text in texts:
        source = to_source(text, course, terms)
        built = [source, *(to_release(source, language) for language in course.languages)]
        for tree, notebook in zip(trees, built, strict=True):
            files[tree / week.folder / f"{text.name}.ipynb"] = nb_.dumps(notebook).encode()
    folder = course.root / "weeks" / week.folder
    for name in released(course, week):
        content = (folder / name).read_bytes()
        for tree in trees:
            deeper = name.endswith(".md") and tree.parts[0] == "release"
            files[tree / week.folder / name] = _one_deeper(content) if deeper else content
    if (folder / exams.FILE).is_file():
        files[trees[0] / week.folder / exams.FILE] = (folder / exams.FILE).read_bytes()
    return files


def _one_deeper(content: bytes) -> bytes:
    """The links of a README, which work in weeks/ and source/, from a folder of a release."""
    content = content.replace(b"](../../", b"](../../../")
    return content.replace(b"](../../../release/", b"](../../")


# -- Disk and gradebook -----------------------------------------------------------------------


def differences(root: Path, folders: Iterable[Path], files: Files) -> list[Problem]:
    """How the built folders on disk differ from what they should hold."""
    problems = []
    for folder in folders:
        wanted = {p: c for p, c in files.items() if p.is_relative_to(folder)}
        found = {
            p.relative_to(root): p.read_bytes()
            for p in (root / folder).rglob("*")
            if p.is_file() and not _skipped(p.relative_to(root))
        }
        for path in sorted(wanted.keys() | found.keys()):
            if path not in found:
                message = "is missing: run `autograder build`"
            elif path not in wanted:
                message = "nothing in weeks/ builds this file: delete it"
            elif wanted[path] != found[path]:
                message = "is not what weeks/ builds: run `autograder build`"
            else:
                continue
            problems.append(Problem(str(path), "", "built", message))
    return problems


def stale_readmes(course: Course) -> list[Problem]:
    """What is built besides the weeks and is not of today."""
    return [
        Problem(str(path), "", "built", "is not what weeks/ builds: run `autograder build`")
        for path, content in readme.build(course).items()
        if not files_.holds(course.root / path, content)
    ]


def strays(course: Course) -> list[Problem]:
    """Folders of weeks that the course does not know, as texts or built."""
    known = {week.folder for week in course.weeks}
    problems = []
    for tree in (Path("weeks"), *trees_of(course)):
        for path in sorted((course.root / tree).glob("*/")):
            if path.is_dir() and path.name not in known and not _skipped(Path(path.name)):
                rule, message = "built", "no week builds this folder: delete it"
                if tree == Path("weeks"):
                    rule, message = "unlisted", f"it has no {WEEK_FILE}: write one, or delete it"
                problems.append(Problem(f"{tree}/{path.name}", "", rule, message))
    return problems


def trees_of(course: Course) -> list[Path]:
    """The built trees, source/ first, relative to the root."""
    return [Path("source"), *(Path("release") / language for language in course.languages)]


def folders_of(course: Course, weeks: Iterable[Week]) -> list[Path]:
    """The built folders of weeks, relative to the root."""
    return [tree / week.folder for week in weeks for tree in trees_of(course)]


def build(course: Course, weeks: Sequence[Week]) -> Files:
    """Build weeks on disk and record them in the gradebook. Raises CourseError."""
    files = build_weeks(course, weeks)
    # The gradebook first: it may refuse, and then the trees stay as they are.
    url = settings.db_url(course)
    for week in weeks:
        gradebook.record_week(course, week, files, url)
    write(course.root, folders_of(course, weeks), files)
    for path, content in readme.build(course).items():
        files_.update(course.root / path, content)
    return files


def write(root: Path, folders: Iterable[Path], files: Files) -> None:
    """Replace each folder by its new content: all of them, or none. Raises CourseError."""
    swapped: list[tuple[Path, Path, bool]] = []  # folder, where its old content waits, if any
    try:
        with tempfile.TemporaryDirectory(prefix=".build-", dir=root) as temporary:
            for path, content in files.items():
                target = Path(temporary) / "new" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            try:
                for folder in folders:
                    old, new = Path(temporary) / "old" / folder, Path(temporary) / "new" / folder
                    swapped.append((root / folder, old, (root / folder).exists()))
                    _move(root / folder, old)
                    _move(new, root / folder)
            except BaseException:
                for folder, old, stood in reversed(swapped):
                    if old.exists() or not stood:
                        shutil.rmtree(folder, ignore_errors=True)
                        with contextlib.suppress(OSError):  # parents that we made, now empty
                            os.removedirs(folder.parent)
                        _move(old, folder)
                raise
    except OSError as error:
        place = str(error.filename or root)
        message = f"{error.strerror or error}; nothing was changed"
        raise stop(place, "", "write", message) from None


def _move(source: Path, target: Path) -> None:
    """Move a folder to a place in the same file system; nothing where there is none."""
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
