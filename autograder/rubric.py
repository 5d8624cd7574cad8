"""Rubrics: the criteria by which a person grades an answer.

A criterion is an item of a list that begins with its code and its points, in any language:

    - [curves] 1 point: both losses are drawn, and the axes have names.
    - [curves] 1 балл: нарисованы обе ошибки, оси подписаны.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from autograder import words

_CODE = r"\[([A-Za-z][\w-]*)\]"
_ITEM = re.compile(rf" {{0,3}}[-*+] +{_CODE} *(.*)")
_WORDS = "|".join(language.points for language in words.LANGUAGES.values())
_POINTS = re.compile(rf"(\d+(?:[.,]\d+)?) *(?:{_WORDS})\b", re.I)
# Alone in backquotes, or outside of code, which is passed over whole, and no link.
_CITED = re.compile(rf"`{_CODE}`|`[^`]*`|{_CODE}(?![(\[:])")


@dataclass(frozen=True)
class Criterion:
    """One criterion. sentence: all of it, with the points. points: None where it names none."""

    code: str
    sentence: str
    points: float | None


def criteria(rubric: str) -> list[Criterion]:
    """The criteria of a rubric, in its order."""
    found: list[tuple[str, list[str]]] = []
    open_ = False
    for line in rubric.split("\n"):
        if item := _ITEM.match(line):
            found.append((item[1].lower(), [item[2]]))
            open_ = True
        elif open_ and line.startswith(" ") and not re.match(r"\s*([-*+]|\d+[.)]) ", line):
            found[-1][1].append(line)  # goes on in an indented line
        else:
            open_ = False
    result = []
    for code, lines in found:
        sentence = " ".join(" ".join(lines).split())
        points = _POINTS.match(sentence)
        number = float(points[1].replace(",", ".")) if points else None
        result.append(Criterion(code, sentence, number))
    return result


def cite(comment: str, known: Mapping[str, Criterion], quotes: tuple[str, str]) -> str:
    """A comment in which each code of a known criterion has become its sentence, in quotes.

    comment and sentences are Markdown. What is no known code stays as it is.
    """

    def sentence(match: re.Match[str]) -> str:
        criterion = known.get((match[1] or match[2] or "").lower())
        return f"{quotes[0]}{criterion.sentence}{quotes[1]}" if criterion else match[0]

    return _CITED.sub(sentence, comment)
