"""The glossary: terms of several weeks, their order, their links. Lint has a case for each rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.rules import NOTEBOOK, SOURCE, WEEK, WEEK_TOML, edit, tiny_course

from autograder.authoring import build, glossary

SECOND = "week02_more"
GRADIENT = "## Gradient\nWhere it rises most.\n"
SEE = "See [gradient](glossary:Gradient)"


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("Nearest neighbours", "nearest-neighbours"),
        ("  F1 score (macro) ", "f1-score-macro"),
        ("Bias–variance", "biasvariance"),
        ("k-fold", "k-fold"),
    ],
)
def test_the_anchor_is_the_one_of_the_host(heading: str, name: str) -> None:
    assert glossary.anchor(heading) == name


def said(root: Path, number: int = 0) -> list[str]:
    """What is wrong with the glossary of one week, as `file: message`."""
    course = tiny_course(root)
    week = course.weeks[number]
    texts, _ = build.read_texts(course, week)
    return [
        f"{Path(p.file).name} {p.place}: {p.message}"
        for p in glossary.problems(course, week, texts)
    ]


def write(root: Path, english: str, russian: str, week: str = WEEK) -> None:
    edit(
        root,
        (f"weeks/{week}/glossary.md", None, f"# Glossary\n\n{english}"),
        (f"weeks/{week}/glossary.ru.md", None, f"# Словарь\n\n{russian}"),
    )


def test_the_tiny_course_is_in_order(tiny: Path) -> None:
    assert said(tiny) == []


def test_terms_stand_in_the_alphabet(tiny: Path) -> None:
    see = "[a](glossary:Angle) [gradient](glossary:Gradient)"
    edit(tiny, (NOTEBOOK, "[gradient](glossary:Gradient)", see))
    edit(tiny, (NOTEBOOK, "[градиент](glossary:Gradient)", see))
    angle = "## angle\nWords.\n"
    write(tiny, angle + GRADIENT, angle + GRADIENT)
    assert said(tiny) == []
    write(tiny, angle + GRADIENT, GRADIENT + angle)
    assert said(tiny) == [
        "glossary.ru.md line 5: 'angle' stands after 'Gradient': keep the alphabet"
    ]


def test_a_term_has_a_twin_in_each_language(tiny: Path) -> None:
    write(tiny, GRADIENT, "")
    assert said(tiny) == ["glossary.md line 3: 'Gradient' has no twin in glossary.ru.md"]


@pytest.fixture
def two(tiny: Path) -> Path:
    """Two weeks, of which the first one tells a term to which both link."""
    toml = (tiny / WEEK_TOML).read_text(encoding="utf-8")
    return edit(
        tiny,
        (f"weeks/{SECOND}/week.toml", None, toml),
        (f"weeks/{SECOND}/tiny.py", None, SOURCE),
    )


def test_a_week_may_link_to_another_ones_terms(two: Path) -> None:
    assert said(two, 0) == said(two, 1) == []
    course = tiny_course(two)
    places = glossary.places(course)
    assert places == {"gradient": WEEK}
    address = "https://github.com/some/one/blob/main/weeks"
    for language, name in (("en", "glossary.md"), ("ru", "glossary.ru.md")):
        link = glossary.link("some/one", places, language, " Gradient")
        assert link == f"{address}/{WEEK}/{name}#gradient"
    assert glossary.link("some/one", places, "en", "Slope") == ""


def test_a_term_is_told_once_in_the_course(two: Path) -> None:
    write(two, GRADIENT, GRADIENT, SECOND)
    for number, other in enumerate((SECOND, WEEK)):
        told = [line.partition(": ")[2] for line in said(two, number)]
        assert told == [
            f"'Gradient' is told in weeks/{other}/{name} already"
            for name in ("glossary.md", "glossary.ru.md")
        ]


def test_each_week_links_to_its_own_terms(two: Path) -> None:
    """A link of another week's notebook is none of this one."""
    edit(two, (NOTEBOOK, SEE, "See"))
    assert [line.partition(": ")[2] for line in said(two)] == [
        "'Gradient' is linked by no cell of this week in 'en': [words](glossary:gradient)"
    ]
