"""Gates on a week that need no grading: `autograder lint`.

Each rule is a function that yields Problems; `lint_week` runs them all and gathers what they find.
Rules of form (markers, ids, regions) are text.parse's own; the gates that run the reference are
mutants.prove's.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from autograder import exams, rubric, words
from autograder import notebook as nb_
from autograder.authoring import build, glossary
from autograder.authoring.contract import contract
from autograder.authoring.mutants import run_worker, workers
from autograder.authoring.text import Cell, Text
from autograder.course import WEEK_FILE, Course, Week
from autograder.errors import Problem

MINIMUM_MUTANTS = 3
SHORT = 8  # characters of a line that tells nothing


def lint_week(course: Course, week: Week, *, run: bool = True) -> list[Problem]:
    """All problems of a week. run: also run the untouched student version."""
    texts, form = build.read_texts(course, week)
    problems = [*form]
    for text in texts:
        for rule in (tested, contract, sentences, rubrics, twins, pictures, prose):
            problems += rule(text, course)
    problems += points(texts, week)
    problems += private_parts(texts, course, week)
    problems += loaded(texts, week)
    problems += week_files(course, week)
    problems += ruff(course, week)
    if form:  # what follows needs a week that builds
        return problems
    problems += glossary.problems(course, week, texts)
    files = build.build_texts(course, week, texts)
    for text in texts:
        name = f"{week.folder}/{text.name}.ipynb"
        source = files[Path("source") / name].decode()
        for language in course.languages:
            path = Path("release") / language / name
            problems += leaks(source, files[path].decode(), str(path))
    problems += leaks_beside(files)
    if problems:  # built trees and the untouched version would only say the same again
        return problems
    problems += build.differences(course.root, build.folders_of(course, [week]), files)
    problems += build.strays(course)
    if run:
        with workers(os.cpu_count()) as pool:
            for found in pool.map(lambda text: untouched(text, course), texts):
                problems += found
    return problems


# -- Gates 3 and 4: what stands in the text ---------------------------------------------------


def tested(text: Text, course: Course) -> Iterator[Problem]:
    """Every autograded task has hidden tests and at least three mutants."""
    for task, test in text.tests.items():
        if all(line.startswith("#") for line in nb_.hidden_regions(test.source)):
            yield Problem(text.file, test.place, "hidden-tests", f"{task!r} has no hidden tests")
        count = len(text.of("mutant", task))
        if count < MINIMUM_MUTANTS:
            message = f"{task!r} has {count} mutants; plant at least {MINIMUM_MUTANTS}"
            yield Problem(text.file, test.place, "mutants", message)
    for cell in text.cells:
        if cell.kind == "answer" and not text.of("rubric", cell.task):
            message = f"the answer {cell.task!r} has no rubric"
            yield Problem(text.file, cell.place, "rubric", message)


def sentences(text: Text, course: Course) -> Iterator[Problem]:
    """A check says what ought to hold: students read it after "should:".

    A hidden one says it always, since they see nothing else of it but the call.
    """
    for test in text.tests.values():
        visible = nb_.visible_lines(test.source)
        for call in _checks_in(test.source):
            name = call.func.attr
            said = [k.value for k in call.keywords if k.arg == "why"]
            said = call.args[1:2] if name == "that" else said
            if not said and name in WITH_WHY and call.lineno not in visible:
                message = f"line {call.lineno} of the test: say why, so that a student learns it"
                yield Problem(text.file, test.place, "sentence", message)
            for node in said:
                words = str(node.value) if isinstance(node, ast.Constant) else ""
                if re.match(r"[A-Z][a-z]", words) or re.search(r"\bshould\b|\.$", words):
                    message = f'line {call.lineno} of the test: {words!r} stands after "should:"'
                    yield Problem(text.file, test.place, "sentence", message)


WITH_WHY = ("close", "equal")


def _checks_in(source: str) -> Iterator[Any]:
    """The calls of `check.…` in a test."""
    for node in ast.walk(nb_.parsed(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "check"
        ):
            yield node


def rubrics(text: Text, course: Course) -> Iterator[Problem]:
    """A rubric has the same criteria in every language; their points are the answer's."""
    for answer in (c for c in text.cells if c.kind == "answer"):
        found = text.of("rubric", answer.task)
        languages = sorted(c.language for c in found)
        if found and languages not in (["any"], sorted(course.languages)):
            message = f"a rubric stands there in {', '.join(course.languages)}, each once"
            yield Problem(text.file, found[0].place, "rubric", message)
        first: dict[str, float | None] = {}
        for cell in found:
            criteria = rubric.criteria(cell.source)
            points = {c.code: c.points for c in criteria}
            if cell is found[0]:
                first = points
            for message in _wrong_criteria(criteria, answer.options.get("points")):
                yield Problem(text.file, cell.place, "rubric", message)
            if points != first:
                message = f"its criteria are not those of {found[0].place}, or not their points"
                yield Problem(text.file, cell.place, "rubric", message)


def _wrong_criteria(criteria: list[rubric.Criterion], worth: Any) -> Iterator[str]:
    codes = [c.code for c in criteria]
    for code in sorted({c for c in codes if codes.count(c) > 1}):
        yield f"the code [{code}] stands there twice"
    for criterion in criteria:
        if criterion.points is None:
            yield f"say what it is worth: - [{criterion.code}] 1 point: ..."
    total = sum(c.points or 0.0 for c in criteria)
    if isinstance(worth, int | float) and abs(total - worth) > 1e-9:
        yield f"its criteria add up to {total:g} points, but the answer is worth {worth:g}"


def twins(text: Text, course: Course) -> Iterator[Problem]:
    """Every prose cell exists in every language, right after the first one."""
    first, *others = course.languages
    prose = [c if c.kind == "prose" else None for c in text.cells]
    for number, cell in enumerate(prose):
        if cell is None or cell.language == "any":
            continue
        if cell.language not in course.languages:
            message = f"{cell.language!r} is none of the course's languages"
            yield Problem(text.file, cell.place, "language-twin", message)
        elif cell.language == first:
            following = prose[number + 1 : number + 1 + len(others)]
            got = [c.language if c else "" for c in following]
            if got != others:
                message = f"its twin in {', '.join(others)} must follow it at once"
                yield Problem(text.file, cell.place, "language-twin", message)
        else:
            before = prose[number - 1] if number else None
            if before is None or before.language in (cell.language, "any"):
                message = f"this cell in {cell.language} follows no cell in {first}"
                yield Problem(text.file, cell.place, "language-twin", message)


_DRAWS = re.compile(r"\bplt\.(subplots|figure|plot|imshow)\b|\bplots\.(?!show\b)[a-z_]+\(")


def pictures(text: Text, course: Course) -> Iterator[Problem]:
    """Every picture has a text alternative: drawn ones by plots.show, others by their alt text."""
    for cell in text.cells:
        if cell.kind == "prose":
            for alt in re.findall(r"!\[(.*?)\]\(", cell.source):
                if not alt.strip():
                    message = "write what the picture shows: ![text](file)"
                    yield Problem(text.file, cell.place, "alt-text", message)
            if re.search(r"<img(?![^>]*\balt=)", cell.source):
                message = "an <img> needs alt=..."
                yield Problem(text.file, cell.place, "alt-text", message)
        elif (
            cell.kind in ("code", "training")
            and _draws_at_top(cell.source)
            and not _SHOWS.search(cell.source)
        ):
            message = 'end the picture with plots.show("what it shows")'
            yield Problem(text.file, cell.place, "alt-text", message)


# An empty text, plots.show("") or plots.show(), tells nothing.
_SHOWS = re.compile(r"\bplots\.show\((?!\s*(['\"]\s*['\"]\s*)?[,)])")


def _draws_at_top(source: str) -> bool:
    """Whether a cell draws when it runs, not just in a function that it defines."""
    top = [n for n in nb_.parsed(source).body if not isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return any(_DRAWS.search(ast.unparse(node)) for node in top)


def prose(text: Text, course: Course) -> Iterator[Problem]:
    """Task placeholders, glossary references and relative links resolve."""
    headings: dict[str, set[str]] = {language: set() for language in course.languages}
    for term in (t for week in course.weeks for t in glossary.read(course, week)):
        headings[term.language].add(term.anchor)
    tasks = {**text.tests, **{c.task: c for c in text.cells if c.kind == "answer"}}
    named: dict[str, set[str]] = {language: set() for language in headings}
    for cell in text.cells:
        if not cell.is_markdown:
            continue
        languages = [cell.language] if cell.language in headings else list(headings)
        for task in re.findall(r"\{\{\s*task\b:?(.*?)\}\}", cell.source):
            for language in languages:
                named[language].add(task)
            if task not in tasks:
                message = f"there is no task {task!r}: write {{{{task:ID}}}}"
                yield Problem(text.file, cell.place, "task-line", message)
        glossaries = [headings[language] for language in languages]
        for message in _dead_links(cell.source, course.root / "weeks" / text.week, glossaries):
            yield Problem(text.file, cell.place, "link", message)
    for task in sorted(tasks.keys() - set.intersection(*named.values())):
        message = f"say what the task is worth: write {{{{task:{task}}}}} above it"
        yield Problem(text.file, tasks[task].place, "task-line", message)


_LINK = re.compile(r"\]\(\s*([^)\s]+)")


def _dead_links(source: str, folder: Path, glossaries: list[set[str]]) -> Iterator[str]:
    """What is wrong with the links of a markdown text in the folder of a week."""
    for target in _LINK.findall(source):
        if target.startswith("glossary:"):
            term = target.removeprefix("glossary:")
            if not all(glossary.anchor(term) in headings for headings in glossaries):
                yield f"no week's glossary has a heading {term!r} in this language"
        elif re.match(r"https?://[\w.-]+\.\w+([/?#]|$)", target) or target.startswith("#"):
            continue
        elif ":" in target.split("/")[0]:
            yield f"{target!r} is no https link and no file of the week"
        else:
            # A release need not be built yet: its files are those of weeks/.
            path = folder / re.sub(r"^\.\./\.\./release/[a-z]{2}/", "../", target.split("#")[0])
            if path.suffix == ".ipynb":
                path = path.with_suffix(".py")
            if not path.exists():
                yield f"there is no {target!r}, seen from weeks/{folder.name}"


def points(texts: list[Text], week: Week) -> Iterator[Problem]:
    """The points of the tests add up to those of week.toml."""
    for text in texts:
        entry = week.notebook(text.name)
        if entry is None:
            continue
        graded = [c.options for c in text.cells if c.kind in ("test", "answer")]
        plain = [c.options["nbgrader"] for c in text.cells if c.kind == "nbgrader"]
        graded += [{"points": meta["points"]} for meta in plain if meta["grade"]]
        for bonus, want in ((False, entry.points), (True, entry.bonus)):
            total = sum(
                float(options["points"])
                for options in graded
                if bool(options.get("bonus")) == bonus
                and isinstance(options.get("points"), int | float)
            )
            if abs(total - want) > 1e-9:
                name = "bonus points" if bonus else "points"
                message = f"its {name} add up to {total:g}, but {WEEK_FILE} says {want:g}"
                yield Problem(text.file, "", "points", message)


def private_parts(texts: list[Text], course: Course, week: Week) -> Iterator[Problem]:
    """A week with an exam has a private.py, which makes its private inputs and marks answers."""
    tasks = [t for text in texts for t, test in text.tests.items() if test.options.get("exam")]
    file = f"weeks/{week.folder}/{exams.FILE}"
    try:
        tree = ast.parse((course.root / file).read_bytes())
    except OSError:
        if tasks:
            message = "an exam needs it: it makes and marks the private inputs"
            yield Problem(file, "", "exam", message)
        return
    except SyntaxError:  # ruff tells
        return
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name in ["make", *(f"mark_{task}" for task in tasks)]:
        if name not in defined:
            yield Problem(file, "", "exam", f"there is no function {name}")


_LIBRARY = re.compile(r"practical_dl\.weeks(?:\.week(\d\d)|\s+import\s+(.+))")
_LOADS = re.compile(r"""\b(data|models)\.load\(\s*["'](\w+)["']""")


def loaded(texts: list[Text], week: Week) -> Iterator[Problem]:
    """A week's notebooks load what week.toml names, all of it, and no other week's drawings."""
    code = {(t.file, c.place): c.source for t in texts for c in t.cells if not c.is_markdown}
    listed = {"data": week.data, "models": week.models}
    for (file, place), source in code.items():
        for kind, name in _LOADS.findall(source):
            if name not in listed[kind]:
                message = f"it loads {name!r}: name it in {WEEK_FILE}, {kind} = [...]"
                yield Problem(file, place, "loads", message)
        for number, names in _LIBRARY.findall(source):
            for other in [number] if number else re.findall(r"week(\d\d)", names):
                if other != week.number:
                    message = f"it imports from week {other}: its own are in week{week.number}"
                    yield Problem(file, place, "loads", message)
    for kind, names in listed.items():
        for name in names:
            if not any(re.search(rf"""["']{re.escape(name)}["']""", s) for s in code.values()):
                message = f"no notebook of the week names {name!r}"
                yield Problem(week.file, kind, "loads", message)


def week_files(course: Course, week: Week) -> Iterator[Problem]:
    """Every week has a README in every language, and its links resolve."""
    folder = course.root / "weeks" / week.folder
    for language in course.languages:
        name = words.of(language).readme
        file = f"weeks/{week.folder}/{name}"
        try:
            content = (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            message = "every week needs a README in every language, as UTF-8 text"
            yield Problem(file, "", "readme", message)
            continue
        for number, line in enumerate(content.split("\n"), 1):
            for message in _dead_links(line, folder, []):
                yield Problem(file, f"line {number}", "link", message)


def ruff(course: Course, week: Week) -> Iterator[Problem]:
    """The code of the notebooks passes ruff."""
    files = [f"weeks/{week.folder}/{n.name}.py" for n in week.notebooks]
    files += [f"weeks/{week.folder}/{name}" for name in (exams.FILE, build.DEMO_FILE)]
    files = [f for f in files if (course.root / f).is_file()]
    if not files:  # ruff would look at the whole course
        return
    result = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--output-format=json", "--no-cache", *files],
        cwd=course.root,
        capture_output=True,
        text=True,
    )
    if result.returncode not in (0, 1) or not result.stdout:
        yield Problem("weeks", "", "ruff", result.stderr.strip()[:500])
        return
    for found in json.loads(result.stdout):
        file = str(Path(found["filename"]).resolve().relative_to(course.root.resolve()))
        place = f"line {found['location']['row']}"
        yield Problem(file, place, f"ruff-{found['code'] or 'syntax'}", found["message"])


# -- Gates 1 and 2: what students get ---------------------------------------------------------


def leaks(source_json: str, release_json: str, file: str) -> Iterator[Problem]:
    """No line of a solution, a hidden test, a mutant or a rubric stands in a release.

    Compared as text of the whole file, so that no cell, output or metadata is left out. Lines that
    students see anyway, and lines too short to tell anything, don't count.
    """
    source, release = json.loads(source_json), json.loads(release_json)
    seen = set(_strings(release))
    shown = {line.strip() for text in seen for line in text.split("\n")}
    # What the released cells may hold: the visible parts of the source's own cells.
    visible = {
        line.strip()
        for cell in source["cells"]
        if not _is_graders(cell)
        for line in _visible("".join(cell["source"])).split("\n")
    }
    for cell in source["cells"]:
        for what, text in _secrets(cell):
            for line in text.split("\n"):
                line = line.strip()
                if len(line) > SHORT and line in shown and line not in visible:
                    message = f"shows a line of {what} of cell {cell['id']!r}: {line}"
                    yield Problem(file, f"cell {cell['id']!r}", "leak", message)
    for cell in release["cells"]:
        extra = set(cell["metadata"]) - {"nbgrader", "deletable", "editable", "tags"}
        if extra or cell.get("outputs"):
            message = f"carries {', '.join(sorted(extra)) or 'outputs'}"
            yield Problem(file, f"cell {cell['id']!r}", "leak", message)
    for text in seen:
        if re.search(r"(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)", text):
            yield Problem(file, "", "leak", f"a marker was left: {text.strip()[:60]!r}")


def leaks_beside(files: Mapping[Path, bytes]) -> Iterator[Problem]:
    """No such line stands in a released file that is no notebook, nor one of a private.py."""
    secrets: dict[str, str] = {}
    visible: set[str] = set()
    for path, content in files.items():
        lines = content.decode(errors="replace").split("\n")
        if path.parts[0] != "source":
            if path.suffix == ".ipynb":
                visible |= {
                    line.strip() for t in _strings(json.loads(content)) for line in t.split("\n")
                }
        elif path.name == exams.FILE:
            secrets |= {line.strip(): path.name for line in lines}
        elif path.suffix == ".ipynb":
            for cell in json.loads(content)["cells"]:
                for what, text in _secrets(cell):
                    told = f"{what} of cell {cell['id']!r}"
                    secrets |= {line.strip(): told for line in text.split("\n")}
    for path, content in files.items():
        if path.parts[0] == "source" or path.suffix == ".ipynb":
            continue
        for number, line in enumerate(content.decode(errors="replace").split("\n"), 1):
            line = line.strip()
            if len(line) > SHORT and line in secrets and line not in visible:
                message = f"shows a line of {secrets[line]}: {line}"
                yield Problem(str(path), f"line {number}", "leak", message)


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, list) and all(isinstance(n, str) for n in node):
        yield "".join(node)
    elif isinstance(node, list | dict):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _strings(child)


_REGION = re.compile(
    r"^[ \t]*### BEGIN (SOLUTION|HIDDEN TESTS)[ \t]*\n(.*?)^[ \t]*### END \1[ \t]*$", re.M | re.S
)


def _visible(source: str) -> str:
    return _REGION.sub("", source)


def _secrets(cell: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for match in _REGION.finditer("".join(cell["source"])):
        yield f"the {match[1].lower()}", match[2]
    meta = cell["metadata"].get(nb_.KEY, {})
    for kind in ("mutants", "alternatives"):
        for variant in meta.get(kind, []):
            yield f"the {kind}", variant["source"]
    if _is_graders(cell):
        yield "the rubric" if "rubric" in meta else "the answer", "".join(cell["source"])


def _is_graders(cell: dict[str, Any]) -> bool:
    """Whether only graders see a cell's source: a rubric, the sample that an answer cell holds."""
    nbgrader = cell["metadata"].get("nbgrader", {})
    is_answer = cell["cell_type"] == "markdown" and nbgrader.get("solution", False)
    return is_answer or "rubric" in cell["metadata"].get(nb_.KEY, {})


def untouched(text: Text, course: Course) -> list[Problem]:
    """The student version as it is: every task scores 0; other cells fail by NotImplementedError.

    Runs the release's code in the prover's worker, without variants.
    """
    release = build.to_release(build.to_source(text, course), course.languages[0])
    lines = {c.source: c for c in text.cells}
    graded = {c.id for c in release.cells if nb_.is_graded(c)}
    cells = [
        {
            "id": cell.id,
            "kind": "test" if cell.id in graded else "code",
            "source": cell.source,
            "task": nb_.grade_id(cell),
            "public": "",
        }
        for cell in release.cells
        if cell.cell_type == "code"
    ]
    job = {"cells": cells, "exams": [], "limit": 0, "salts": ["first", "second"], "variants": {}}
    problems: list[Problem] = []
    broken = False
    for event in run_worker(job, course.root / "weeks" / text.week, text.file, problems):
        place = _place(event["id"], release, lines)
        if event["event"] == "again":
            continue
        if event["id"] in graded:
            if event["score"] > 0:
                message = "the untouched student version scores points here"
                problems.append(Problem(text.file, place, "untouched", message))
        elif not event["ok"] and event["ename"] != "NotImplementedError":
            if broken and event["ename"] == "NameError":
                continue  # most likely a name that the broken cell would have defined
            broken = True
            message = (
                "in the untouched student version this cell fails by "
                f"{event['ename']}: {event['evalue']}; only NotImplementedError is expected"
            )
            problems.append(Problem(text.file, place, "untouched", message))
    return problems


def _place(cell_id: str, release: NotebookNode, lines: dict[str, Cell]) -> str:
    cell = next(c for c in release.cells if c.id == cell_id)
    return lines[cell.source].place if cell.source in lines else f"cell {cell_id!r}"
