"""course.toml and each weeks/WEEK/week.toml -> typed values.

Every error names the file, the key and the rule.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autograder.errors import CourseError, Problem, stop

FILE = "course.toml"
WEEK_FILE = "week.toml"
FOLDER = re.compile(r"week(\d\d)_[a-z0-9_]+")
TIERS = ("cpu", "gpu")
MAXIMUM_MEGABYTES = 200  # of a submitted file: it is held in memory while it is graded


@dataclass(frozen=True)
class SubmittedFile:
    """A file that students hand in beside a notebook. megabytes: how large it may be."""

    name: str
    megabytes: float

    @property
    def maximum(self) -> int:
        """How many bytes it may have."""
        return int(self.megabytes * 1e6)


@dataclass(frozen=True)
class NotebookEntry:
    """A notebook of the schedule. points: without bonus. tier: where CI runs it in full.

    excluded: why CI does not run it, "" if it does. files: what is handed in beside it. required:
    whether a submission without it is incomplete. one_of: the name of its group, of which the
    better notebook counts, "" for none.
    """

    name: str
    points: float
    bonus: float
    tier: str
    excluded: str
    files: tuple[SubmittedFile, ...] = ()
    required: bool = False
    one_of: str = ""


@dataclass(frozen=True)
class Week:
    """A week of the schedule: its folder, its titles by language, its notebooks in order.

    points: the most that can be got without bonus. data, models: what its notebooks load, by the
    names of `practical_dl.data` and `practical_dl.models`. release: patterns of the files that are
    released beside notebooks and READMEs, relative to its folder.
    """

    folder: str
    title: Mapping[str, str]
    points: float
    notebooks: tuple[NotebookEntry, ...]
    data: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    release: tuple[str, ...] = ()

    @property
    def number(self) -> str:
        """Its number as its folder has it, such as "03"."""
        return _number(self.folder)

    @property
    def file(self) -> str:
        """Its week.toml, relative to the course's root."""
        return f"weeks/{self.folder}/{WEEK_FILE}"

    @property
    def groups(self) -> dict[str, tuple[NotebookEntry, ...]]:
        """The groups of which one notebook counts, by name."""
        names = dict.fromkeys(n.one_of for n in self.notebooks if n.one_of)
        return {name: tuple(n for n in self.notebooks if n.one_of == name) for name in names}

    def notebook(self, name: str) -> NotebookEntry | None:
        """The entry of a notebook, or None."""
        return next((n for n in self.notebooks if n.name == name), None)

    @property
    def files(self) -> tuple[SubmittedFile, ...]:
        """What is handed in beside its notebooks."""
        return tuple(file for notebook in self.notebooks for file in notebook.files)


@dataclass(frozen=True)
class Course:
    """The schedule and the course's folder on disk."""

    root: Path
    name: str
    version: str
    repository: str
    languages: tuple[str, ...]
    weeks: tuple[Week, ...]

    def select(self, names: Sequence[str]) -> tuple[Week, ...]:
        """The weeks named, or all. A name is the folder, `week01` or `1`.

        Raises CourseError for a name that is no week.
        """
        if not names:
            return self.weeks
        problems, found = [], []
        for name in names:
            week = next((w for w in self.weeks if _names_week(name, w.folder)), None)
            if week is None:
                known = ", ".join(w.folder for w in self.weeks)
                problems.append(Problem(FILE, name, "unknown-week", f"there is only: {known}"))
            elif week not in found:
                found.append(week)
        if problems:
            raise CourseError(problems)
        return tuple(found)


def load(root: Path) -> Course:
    """Read course.toml and the weeks under root. Raises CourseError with every problem found."""
    if not (root / FILE).exists():
        message = f"not found in {root}; run this in the course's folder, or give --root FOLDER"
        raise stop(FILE, "", "course-file", message)
    reader = _Reader(FILE)
    course = reader.course(root, _table(root, FILE))
    weeks, problems = [], reader.problems
    for path in sorted((root / "weeks").glob(f"*/{WEEK_FILE}")):
        folder = path.parent.name
        reader = _Reader(f"weeks/{folder}/{WEEK_FILE}")
        try:
            weeks.append(reader.week(folder, _table(root, reader.file), course.languages))
        except CourseError as error:
            problems += error.problems
        problems += reader.problems
    if not weeks and not problems:
        message = f"the course has no week: write one, weeks/week01_topic/{WEEK_FILE}"
        problems.append(Problem("weeks", "", "no-week", message))
    numbers: dict[str, Week] = {}
    for week in weeks:
        if (earlier := numbers.setdefault(week.number, week)) is not week and week.number:
            message = f"{earlier.folder} has this number, too"
            problems.append(Problem(week.file, "", "duplicate", message))
    if problems:
        raise CourseError(problems)
    return replace(course, weeks=tuple(weeks))


def _table(root: Path, file: str) -> dict[str, Any]:
    """A TOML file of the course. Raises CourseError."""
    try:
        return tomllib.loads((root / file).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise stop(file, "", "course-file", f"can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise stop(file, "", "toml", f"not valid TOML: {error}") from None


def find_root(start: Path) -> Path:
    """The nearest folder from start upwards that holds course.toml, else start itself."""
    return next((p for p in (start, *start.parents) if (p / FILE).is_file()), start)


def notebooks_of(
    course: Course,
    weeks: Sequence[Week],
    tree: str,
    *,
    excluded: bool = True,
    tiers: Sequence[str] = TIERS,
) -> list[Path]:
    """The built notebooks of some weeks in a tree: "source", "release/en" or "release/ru".

    excluded: also those that CI does not run. tiers: of the others, where it runs them in full.
    Raises CourseError for one that is not built.
    """
    found = [
        course.root / tree / week.folder / f"{entry.name}.ipynb"
        for week in weeks
        for entry in week.notebooks
        if (excluded if entry.excluded else entry.tier in tiers)
    ]
    problems = [
        Problem(f"{tree}/{p.parent.name}/{p.name}", "", "not-built", "run: autograder build")
        for p in found
        if not p.is_file()
    ]
    if problems:
        raise CourseError(problems)
    return found


def _names_week(name: str, folder: str) -> bool:
    number = _number(folder)
    plain = name.isdecimal() and name.lstrip("0") == number.lstrip("0")
    return name in (folder, f"week{number}") or plain


def _number(folder: str) -> str:
    match = re.match(r"week(\d+)", folder)
    return match[1] if match else ""


class _Reader:
    """Turns the tables of one TOML file into values and gathers what is wrong on the way."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def course(self, root: Path, table: dict[str, Any]) -> Course:
        if "week" in table:
            message = f"a week is told in its own folder: weeks/WEEK/{WEEK_FILE}"
            self.add("week", "unknown-key", message)
        self.unknown(table, "", {"course", "week"})
        head = self.get(table, "", "course", dict, {})
        self.unknown(head, "course", {"name", "version", "repository", "languages"})
        return Course(
            root=root,
            name=self.get(head, "course", "name", str, ""),
            version=self.get(head, "course", "version", str, ""),
            repository=self.get(head, "course", "repository", str, ""),
            languages=tuple(self.languages(self.get(head, "course", "languages", list, ["en"]))),
            weeks=(),
        )

    def week(self, folder: str, table: dict[str, Any], languages: Sequence[str]) -> Week:
        self.unknown(table, "", {"title", "points", "notebook", "data", "models", "release"})
        if not FOLDER.fullmatch(folder):
            self.add("", "name", f"its folder {folder!r} must look like week01_topic")
        title = self.get(table, "", "title", dict, {})
        for language in languages:
            if not isinstance(title.get(language, ""), str):
                self.add(f"title.{language}", "type", "must be a text")
            elif not title.get(language):
                self.add("title", "language", f"no title in {language!r}")
        entries = tuple(
            self.notebook(notebook, f"notebook[{i}]")
            for i, notebook in enumerate(self.get(table, "", "notebook", list, []))
        )
        self.unique("notebook", (n.name for n in entries))
        # In any case of letters: not every disk tells them apart, and the intake need not.
        self.unique("notebook.files", (file.name.casefold() for n in entries for file in n.files))
        data, models, release = (
            tuple(self.texts(table, key)) for key in ("data", "models", "release")
        )
        week = Week(folder, title, self.number(table, "", "points"), entries, data, models, release)
        self.groups(week)
        return week

    def groups(self, week: Week) -> None:
        """What is wrong with a week's groups, and with its points as they count there."""
        for name, members in week.groups.items():
            if len(members) == 1:
                message = f"{members[0].name} is alone in the group {name!r}: one of what?"
                self.add("notebook.one_of", "group", message)
            for entry in members:
                if entry.required:
                    message = f"{entry.name} is one of {name!r}: it can't be required as well"
                    self.add("notebook.required", "group", message)
        total = sum(n.points for n in week.notebooks if not n.one_of)
        total += sum(max(n.points for n in members) for members in week.groups.values())
        if abs(week.points - total) > 1e-9:
            add_up = "its notebooks' points add up to"
            if week.groups:
                add_up = "its notebooks' points, the most of each group, add up to"
            self.add("points", "points", f"is {week.points:g}, but {add_up} {total:g}")

    def notebook(self, table: Any, place: str) -> NotebookEntry:
        if not isinstance(table, dict):
            self.add(place, "type", "must be a [[notebook]] table")
            return NotebookEntry("", 0, 0, "cpu", "")
        keys = {"name", "points", "bonus", "tier", "excluded", "files", "required", "one_of"}
        self.unknown(table, place, keys)
        name = self.get(table, place, "name", str, "")
        if name and not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            message = f"{name!r} must be lower-case letters, digits, _ and -"
            self.add(f"{place}.name", "name", message)
        tier = self.get(table, place, "tier", str, "", needed=False)
        excluded = self.get(table, place, "excluded", str, "", needed=False)
        if bool(tier) == bool(excluded):
            message = 'give either tier = "cpu" or "gpu", or excluded = "the reason"'
            self.add(place, "tier", message)
        elif tier and tier not in TIERS:
            self.add(f"{place}.tier", "tier", f"{tier!r} must be one of {', '.join(TIERS)}")
        return NotebookEntry(
            name=name,
            points=self.number(table, place, "points"),
            bonus=self.number(table, place, "bonus", 0),
            tier=tier,
            excluded=excluded,
            files=tuple(
                self.submitted(file, f"{place}.files[{i}]")
                for i, file in enumerate(self.get(table, place, "files", list, [], needed=False))
            ),
            required=self.get(table, place, "required", bool, False, needed=False),
            one_of=self.get(table, place, "one_of", str, "", needed=False),
        )

    def submitted(self, table: Any, place: str) -> SubmittedFile:
        if not isinstance(table, dict):
            self.add(place, "type", 'must be { name = "NAME", megabytes = NUMBER }')
            return SubmittedFile("", 0)
        self.unknown(table, place, {"name", "megabytes"})
        name = self.get(table, place, "name", str, "")
        plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name)
        code = ".ipynb" in name.casefold() or name.casefold().endswith(".py")
        if isinstance(table.get("name"), str) and (code or not plain):
            message = "must be a file's name of letters, digits, . _ - and no notebook or module"
            self.add(f"{place}.name", "name", f"{name!r} {message}")
        size = table.get("megabytes")
        known = isinstance(size, int | float) and not isinstance(size, bool)
        if not known or not 0 < size <= MAXIMUM_MEGABYTES:
            message = f"must be a number above 0, at most {MAXIMUM_MEGABYTES}, not {size!r}"
            self.add(f"{place}.megabytes", "size", message)
            size = 0
        return SubmittedFile(name, float(size))

    def texts(self, table: dict[str, Any], key: str) -> Iterator[str]:
        values = self.get(table, "", key, list, [], needed=False)
        self.unique(key, (v for v in values if isinstance(v, str)))
        for value in values:
            if isinstance(value, str) and value:
                yield value
            else:
                self.add(key, "type", f"must be a list of texts; {value!r} is none")

    def languages(self, values: list[Any]) -> Iterator[str]:
        if not values:
            self.add("course.languages", "language", "name one at least")
        self.unique("course.languages", (v for v in values if isinstance(v, str)))
        for value in values:
            if isinstance(value, str) and re.fullmatch(r"[a-z]{2}", value):
                yield value
            else:
                message = f'{value!r} must be two letters like "en"'
                self.add("course.languages", "language", message)

    def get(
        self,
        table: dict[str, Any],
        place: str,
        key: str,
        kind: type,
        default: Any,
        *,
        needed: bool = True,
    ) -> Any:
        where = f"{place}.{key}" if place else key
        if key not in table:
            if needed:
                self.add(where, "missing", "this key is missing")
            return default
        if not isinstance(table[key], kind):
            names = {str: "a text", list: "a list", dict: "a table", bool: "true or false"}
            self.add(where, "type", f"must be {names[kind]}, not {table[key]!r}")
            return default
        return table[key]

    def number(
        self, table: dict[str, Any], place: str, key: str, default: float | None = None
    ) -> float:
        value = table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1000:
            where = f"{place}.{key}" if place else key
            self.add(where, "points", f"must be a number from 0 to 1000, not {value!r}")
            return 0.0
        return float(value)

    def unknown(self, table: dict[str, Any], place: str, known: set[str]) -> None:
        for key in sorted(table.keys() - known):
            where = f"{place}.{key}" if place else key
            self.add(where, "unknown-key", f"there is only: {', '.join(sorted(known))}")

    def unique(self, place: str, names: Iterable[str]) -> None:
        seen: set[str] = set()
        for name in names:
            if name and name in seen:
                self.add(place, "duplicate", f"{name!r} stands there twice")
            seen.add(name)

    def add(self, place: str, rule: str, message: str) -> None:
        self.problems.append(Problem(self.file, place, rule, message))
