"""What went wrong, for the person who reads it: file, place, rule, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that breaks a rule. They sort by file and place, line 9 before line 10.

    file: relative to the course's root. place: a line, a cell or a key; "" for the whole file.
    rule: the rule's short name. message: what is wrong and what to do.
    """

    file: str
    place: str
    rule: str
    message: str

    def __lt__(self, other: Problem) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[object, ...]:
        words = re.split(r"(\d{1,9})", self.place)  # every other one is a number
        place = [int(word) if i % 2 else word for i, word in enumerate(words)]
        return self.file, place, self.rule, self.message

    def __str__(self) -> str:
        where = f"{self.file}: {self.place}" if self.place else self.file
        return f"{where}: [{self.rule}] {self.message}"


class CourseError(Exception):
    """Problems that stop a command. The CLI prints them all and exits with 2."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(map(str, self.problems)))


def stop(file: str, place: str, rule: str, message: str) -> CourseError:
    """A CourseError of one problem."""
    return CourseError([Problem(file, place, rule, message)])
