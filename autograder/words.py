"""All that the machine says in the languages of the course: a `Language` for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Language:
    """The words of a language.

    suffix: what stands before `.md` in the name of a file. comma: of a number with a fraction.
    stub: what stands in an answer cell until a student writes there. open_in_colab, version: of a
    notebook's header. worth: points and whether they are bonus -> words, without the number.
    points: a pattern for the word after the points of a criterion. table: the words of the table of
    weeks. feedback: those of a feedback page, which names the ends of a task, too.
    """

    code: str
    suffix: str
    comma: str
    quotes: tuple[str, str]
    stub: str
    open_in_colab: str
    version: str
    worth: Callable[[float, bool], str]
    difficulty: str
    minutes: str
    points: str
    table: tuple[str, str, str, str, str]
    feedback: Mapping[str, str]

    @property
    def readme(self) -> str:
        """The name of a README in the language."""
        return f"README{self.suffix}.md"

    def number(self, value: float) -> str:
        """A number as it is written in the language."""
        return f"{value:g}".replace(".", self.comma)

    def task_line(self, options: Mapping[str, Any]) -> str:
        """A task's points, difficulty and minutes."""
        points, bonus = options.get("points", 0), bool(options.get("bonus"))
        parts = [f"**{self.number(points)} {self.worth(points, bonus)}**"]
        if "difficulty" in options:
            level = int(options["difficulty"])
            parts.append(f"{self.difficulty} {'●' * level}{'○' * (5 - level)}")
        if "minutes" in options:
            parts.append(self.minutes.format(int(options["minutes"])))
        return " · ".join(parts)


def _worth_in_english(points: float, bonus: bool) -> str:
    return f"{'bonus ' if bonus else ''}{'point' if points == 1 else 'points'}"


def _worth_in_russian(points: float, bonus: bool) -> str:
    """1 бонусный балл, 2 бонусных балла, 5 бонусных баллов, 0,5 бонусного балла."""
    word = _russian_plural(points, "балл", "балла", "баллов", "балла")
    kind = _russian_plural(points, "бонусный", "бонусных", "бонусных", "бонусного")
    return f"{kind} {word}" if bonus else word


def _russian_plural(number: float, one: str, few: str, many: str, part: str) -> str:
    if number != int(number):
        return part
    last, teens = int(number) % 10, int(number) % 100
    if last == 1 and teens != 11:
        return one
    return few if last in (2, 3, 4) and teens not in (12, 13, 14) else many


ENGLISH = Language(
    code="en",
    suffix="",
    comma=".",
    quotes=("“", "”"),
    stub="*Write your answer here.*",
    open_in_colab="Open in Colab",
    version="version",
    worth=_worth_in_english,
    difficulty="difficulty",
    minutes="about {} min",
    points="points?",
    table=("week", "notebooks", "points", "bonus", "one of"),
    feedback={
        "bonus": "bonus",
        "by hand": "A person grades this.",
        "checks": "The checks in your notebook",
        "comment": "Comment",
        "cut": "{} more characters are not shown",
        "extra": "extra credit",
        "feedback": "Feedback",
        "handed in": "this cell did not come to its end here; below is what was handed in with it",
        "hidden": "Some checks were hidden from you. Of those you get the sentence, not the code.",
        "lacks": "{}.ipynb is required, and was not handed in.",
        "late": "Late submission",
        "no answer": "No response.",
        "not graded yet": "not graded yet",
        "note": "Note",
        "of": "of",
        "one of": "Of {} the better one counts; now it is {}.",
        "refused": "This file could not be graded",
        "runs": "Restart & Run All",
        "runs: no": "no, a cell outside the checks raised an error",
        "score": "Score",
        "task": "Task",
        "top": "to the top",
        "yes": "yes",
        "answer": "Your answer",
        # How a task ended.
        "correct": "correct",
        "missing": "missing",
        "not attempted": "not attempted",
        "partial": "in part",
        "stopped": "stopped",
        "tampered": "not trusted",
        "to grade": "to be graded",
        "unconfirmed": "to be looked at",
        "wrong": "wrong",
    },
)
RUSSIAN = Language(
    code="ru",
    suffix=".ru",
    comma=",",
    quotes=("«", "»"),
    stub="*Напишите ответ здесь.*",
    open_in_colab="Открыть в Colab",
    version="версия",
    worth=_worth_in_russian,
    difficulty="сложность",
    minutes="около {} мин",
    points="балл(?:а|ов)?",
    table=("неделя", "тетради", "баллы", "бонусных", "одна из"),
    feedback={
        "bonus": "бонус",
        "by hand": "Оценивает человек.",
        "checks": "Проверки в вашем ноутбуке",
        "comment": "Комментарий",
        "cut": "ещё символов: {}, они не показаны",
        "extra": "сверх задания",
        "feedback": "Отзыв",
        "handed in": "здесь эта ячейка не выполнилась до конца; ниже то, что сдано с ней",
        "hidden": "Часть проверок от вас скрыта. О них говорит сообщение, но не код.",
        "lacks": "Не сдан обязательный ноутбук {}.ipynb.",
        "late": "Сдано после срока",
        "no answer": "Ответа нет.",
        "not graded yet": "ещё не оценено",
        "note": "Замечание",
        "of": "из",
        "one of": "Из {} засчитывается лучший; сейчас это {}.",
        "refused": "Этот файл не удалось проверить",
        "runs": "Restart & Run All",
        "runs: no": "нет, ошибка в ячейке вне проверок",
        "score": "Баллы",
        "task": "Задание",
        "top": "наверх",
        "yes": "да",
        "answer": "Ваш ответ",
        "correct": "верно",
        "missing": "нет",
        "not attempted": "не начато",
        "partial": "частично",
        "stopped": "остановлено",
        "tampered": "нет доверия",
        "to grade": "оценивается",
        "unconfirmed": "на проверке",
        "wrong": "неверно",
    },
)
LANGUAGES = {language.code: language for language in (ENGLISH, RUSSIAN)}


def of(code: object) -> Language:
    """The words of a language; English ones, in files of its own, for one that is not here."""
    name = str(code or ENGLISH.code)
    return LANGUAGES.get(name) or replace(ENGLISH, code=name, suffix=f".{name}")
