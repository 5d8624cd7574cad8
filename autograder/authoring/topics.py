"""docs/topics.md and docs/topics.ru.md: where the course teaches what its plans ask for.

Built of docs/topics.toml, which says what a place is, and of the headings of released notebooks.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from autograder import files, notebook
from autograder.authoring import glossary
from autograder.course import Course, Week
from autograder.errors import CourseError, Problem

SOURCE = Path("docs/topics.toml")
_HEADS = {
    "en": (
        "# Topics\n\nWhere the course teaches what its plans ask for: a section of a notebook, an "
        "entry of a\nglossary, or, where it names no cell, a source to read. Built of "
        "[topics.toml](topics.toml) by\n`autograder build`. [In Russian](topics.ru.md).",
        "topic",
        "where",
        "chapter",
        "week",
        "the lecture of week",
        "read",
        "glossary",
    ),
    "ru": (
        "# Темы\n\nГде курс учит тому, чего требуют его планы: раздел ноутбука, статья словаря "
        "или, если ячейки нет,\nисточник, который стоит прочесть. Строит `autograder build` из "
        "[topics.toml](topics.toml).\n[По-английски](topics.md).",
        "тема",
        "где",
        "глава",
        "неделя",
        "лекция недели",
        "прочесть",
        "словарь",
    ),
}
_IN_WEEK = re.compile(r"\d\d/")
_SECTION = re.compile(r"^## (\d+)\. (.+)$", re.MULTILINE)


def build(course: Course) -> dict[Path, bytes]:
    """The pages by their paths.

    None of a course that has no docs/topics.toml, or not all of the weeks that it names: the pages
    are the whole course's. Raises CourseError where another place does not exist.
    """
    path = course.root / SOURCE
    if not path.is_file():
        return {}
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    named = {place for part in table["part"] for topic in part["topics"] for place in _of(topic)}
    numbers = {place.partition("/")[0] for place in named if _IN_WEEK.match(place)}
    if numbers - {week.number for week in course.weeks}:
        return {}
    pages, problems = {}, []
    for column, language in enumerate(course.languages):
        places = _Places(course, language, table["reading"])
        found: dict[str, str] = {}
        for place in named:
            with contextlib.suppress(LookupError):
                found[place] = places.of(place)
        head, *names = _HEADS[language]
        lines = [head]
        for part in table["part"]:
            lines += ["", f"## {part['title'][language]}", ""]
            lines += [f"| {names[0]} | {names[1]} |", "|---|---|"]
            for topic in part["topics"]:
                asked, where = topic[column], _of(topic)
                problems += [
                    Problem(str(SOURCE), "", "topic", f"{asked!r}: there is no place {place!r}")
                    for place in where
                    if place not in found
                ]
                lines.append(f"| {asked} | {'; '.join(found.get(p, p) for p in where)} |")
        name = f"topics{glossary.suffix(language)}.md"
        pages[SOURCE.with_name(name)] = ("\n".join(lines) + "\n").encode()
    if problems:
        raise CourseError(problems)
    return pages


def _of(topic: list[str]) -> list[str]:
    """The places of a topic, which has a name in each language before them."""
    return topic[-1].split("; ")


def write(course: Course) -> None:
    """Write the pages, where they are other ones."""
    for path, content in build(course).items():
        files.update(course.root / path, content)


def stale(course: Course) -> Iterator[Problem]:
    """Which of the pages on disk is another one."""
    for path, content in build(course).items():
        if not files.holds(course.root / path, content):
            message = f"is not what {SOURCE} and the notebooks tell: run `autograder build`"
            yield Problem(str(path), "", "built", message)


class _Places:
    """The places of topics.toml as Markdown in one language."""

    def __init__(self, course: Course, language: str, reading: Mapping[str, str]) -> None:
        self.root, self.language, self.reading = course.root, language, reading
        self.weeks: dict[str, Week] = {week.number: week for week in course.weeks}
        self.terms = glossary.places(course)
        self.sections: dict[str, dict[str, str]] = {}  # of the notebooks read so far

    def of(self, place: str) -> str:
        """Raises LookupError where there is no such place."""
        chapter, week_word, lecture, read, entry = _HEADS[self.language][3:]
        kind, _, rest = place.partition(" ")
        if kind == "read":
            name, _, number = rest.partition(" ")
            return f"{read}: {self.reading[name]}" + (f", {chapter} {number}" if number else "")
        if kind == "term":
            folder = self.terms[glossary.anchor(rest)]
            file = f"../weeks/{folder}/{glossary.file_name(self.language)}"
            number = folder.removeprefix("week")[:2]
            return f"{entry} {number}, [{rest}]({file}#{glossary.anchor(rest)})"
        number, _, name = kind.partition("/")
        week = self.weeks[number]
        if name == "README":
            suffix = glossary.suffix(self.language)
            return f"[{lecture} {number}](../weeks/{week.folder}/README{suffix}.md)"
        file = f"release/{self.language}/{week.folder}/{name}.ipynb"
        title = self._titles(file)[rest]
        return f"{week_word} {number}, [{name}](../{file}): {rest}. {title}"

    def _titles(self, file: str) -> dict[str, str]:
        """The headings of a notebook by their numbers."""
        if file not in self.sections:
            if not (self.root / file).is_file():
                raise LookupError(file)
            cells = notebook.read(self.root / file).cells
            prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
            self.sections[file] = dict(_SECTION.findall(prose))
        return self.sections[file]
