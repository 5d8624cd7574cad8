"""What is built besides the weeks: the READMEs' table of them, the releases' AGENTS.md."""

from __future__ import annotations

from pathlib import Path

from autograder import words
from autograder.course import Course, NotebookEntry, Week

BEGIN, END = "<!-- weeks: `autograder build` writes this table -->", "<!-- end of weeks -->"


def build(course: Course) -> dict[Path, bytes]:
    """The READMEs that have the marks, with the table as the weeks are now; each AGENTS.md."""
    found = {}
    for language in course.languages:
        agents = course.root / "weeks" / f"AGENTS{words.of(language).suffix}.md"
        if agents.is_file():
            found[Path("release") / language / "AGENTS.md"] = agents.read_bytes()
        path = Path(words.of(language).readme)
        if not (course.root / path).is_file():
            continue
        before, begin, rest = (course.root / path).read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if begin and end:
            text = f"{before}{BEGIN}\n\n{table(course, language)}\n\n{END}{after}"
            found[path] = text.encode()
    return found


def table(course: Course, language: str) -> str:
    """The weeks with their notebooks and points, as Markdown."""
    week_, notebooks, points, *_ = words.of(language).table
    rows = [f"| {week_} | {notebooks} | {points} |", "|---|---|---|"]
    return "\n".join([*rows, *(_row(week, language) for week in course.weeks)])


def _row(week: Week, language: str) -> str:
    *_, bonus, one_of = words.of(language).table
    readme = f"weeks/{week.folder}/{words.of(language).readme}"
    names = []
    for entry in week.notebooks:
        group = week.groups.get(entry.one_of, ())
        if not group:
            names.append(f"`{entry.name}`")
        elif entry is group[0]:
            names.append(f"{one_of} {_names(group)}")
    extra = sum(entry.bonus for entry in week.notebooks)
    worth = f"{week.points:g}" + (f" + {extra:g} {bonus}" if extra else "")
    return f"| [{week.number} {week.title[language]}]({readme}) | {', '.join(names)} | {worth} |"


def _names(entries: tuple[NotebookEntry, ...]) -> str:
    return " / ".join(f"`{entry.name}`" for entry in entries)
