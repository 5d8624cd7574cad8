"""The glossary: each week tells its own terms, in each language, and its notebooks link to them.

weeks/WEEK/glossary.md and its twins hold a heading a term, `## Term`, in English in all languages,
as it is the link's anchor; below it the explanation.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from autograder import words
from autograder.authoring.text import Text
from autograder.course import Course, Week
from autograder.errors import Problem

LINK = re.compile(r"\]\(\s*glossary:([^)]+)\)")
_HEADING = re.compile(r"^## (.+)$", re.M)


@dataclass(frozen=True)
class Term:
    """A term as one file tells it. place: of its heading. explained: whether words follow."""

    heading: str
    week: str
    language: str
    file: str
    place: str
    explained: bool

    @property
    def anchor(self) -> str:
        """How a link names it."""
        return anchor(self.heading)


def anchor(heading: str) -> str:
    """A heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def suffix(language: str) -> str:
    """What stands before `.md` in the name of a file in a language: README.md, README.ru.md."""
    return "" if language == "any" else words.of(language).suffix


def file_name(language: str) -> str:
    """The file of a week with its terms in a language."""
    return f"glossary{suffix(language)}.md"


def read(course: Course, week: Week) -> list[Term]:
    """The terms of a week, in all languages."""
    found = []
    for language in course.languages:
        file = f"weeks/{week.folder}/{file_name(language)}"
        path = course.root / file
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        for match in _HEADING.finditer(text):
            place = f"line {text.count(chr(10), 0, match.start()) + 1}"
            explained = bool(_HEADING.split(text[match.end() :], maxsplit=1)[0].strip())
            found.append(Term(match[1].strip(), week.folder, language, file, place, explained))
    return found


def places(course: Course) -> dict[str, str]:
    """The folder of the week that tells a term, by the term's anchor."""
    return {term.anchor: term.week for week in course.weeks for term in read(course, week)}


def link(repository: str, places: Mapping[str, str], language: str, heading: str) -> str:
    """The address of a term, "" for one that no week tells."""
    name = anchor(heading)
    if name not in places:
        return ""
    path = f"weeks/{places[name]}/{file_name(language)}"
    return f"https://github.com/{repository}/blob/main/{path}#{name}"


def problems(course: Course, week: Week, texts: Iterable[Text]) -> Iterator[Problem]:
    """A term stands once in the course, in all languages, in order, and its week links to it."""
    terms = read(course, week)
    known = {(t.anchor, t.language) for t in terms}
    elsewhere = [t for w in course.weeks if w is not week for t in read(course, w)]
    others = {(t.anchor, t.language): t for t in elsewhere}
    used = _used(course, texts)
    seen: set[tuple[str, str]] = set()

    def problem(term: Term, message: str) -> Problem:
        return Problem(term.file, term.place, "glossary", f"{term.heading!r} {message}")

    for term in terms:
        if (term.anchor, term.language) in seen:
            yield problem(term, "stands there twice")
        seen.add((term.anchor, term.language))
        if other := others.get((term.anchor, term.language)):
            yield problem(term, f"is told in {other.file} already")
        for language in course.languages:
            if (term.anchor, language) not in known:
                yield problem(term, f"has no twin in {file_name(language)}")
        if not term.explained:
            yield problem(term, "is not explained")
        if (term.anchor, term.language) not in used:
            message = f"is linked by no cell of this week in {term.language!r}"
            yield problem(term, f"{message}: [words](glossary:{term.anchor})")
    for before, after in itertools.pairwise(terms):
        if before.file == after.file and before.heading.casefold() > after.heading.casefold():
            yield problem(after, f"stands after {before.heading!r}: keep the alphabet")


def _used(course: Course, texts: Iterable[Text]) -> set[tuple[str, str]]:
    """The terms that a week's notebooks link to, as (anchor, language)."""
    cells = [cell for text in texts for cell in text.cells if cell.is_markdown]
    return {
        (anchor(heading), language)
        for cell in cells
        for heading in LINK.findall(cell.source)
        for language in course.languages
        if cell.language in (language, "any")
    }
