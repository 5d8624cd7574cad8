"""docs/topics.toml: the pages that are built of it, and what is missing in it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from kit.rules import built, tiny_course

from autograder import course as course_
from autograder.authoring import glossary, topics
from autograder.errors import CourseError

REPOSITORY = Path(__file__).parents[2]
LINKED = re.compile(r"\]\(([^)#]+)(?:#([^)]+))?\)")

# The entries that the plan's glossary asks for, and what the outline, the lectures on generative
# models and the notes of 2019 are made of.
TERMS, WEEKS, LECTURES = 107, 14, 14


@pytest.fixture(scope="module")
def real() -> course_.Course:
    return course_.load(REPOSITORY)


@pytest.mark.parametrize("language", ["en", "ru"])
def test_each_link_leads_somewhere(real: course_.Course, language: str) -> None:
    suffix = glossary.suffix(language)
    page = topics.build(real)[Path(f"docs/topics{suffix}.md")].decode()
    found = 0
    for target, anchor in LINKED.findall(page):
        if target.startswith("http"):
            continue
        file = REPOSITORY / "docs" / target
        assert file.is_file() or target.startswith("topics"), target
        if anchor:
            headings = re.findall(r"^## (.+)$", file.read_text("utf-8"), flags=re.M)
            assert anchor in map(glossary.anchor, headings), (target, anchor)
        found += 1
    assert found > 300


def test_nothing_of_the_plans_is_left_out() -> None:
    table = tomllib.loads((REPOSITORY / topics.SOURCE).read_text("utf-8"))
    plan, lectures, *outline, notes, terms = (part["topics"] for part in table["part"])
    assert {topic[0][:2] for topic in plan} == {f"{week:02}" for week in range(1, WEEKS + 1)}
    assert [int(topic[0].split()[0]) for topic in lectures] == list(range(1, LECTURES + 1))
    chapters = {topic[0].split(".")[0] for part in outline for topic in part}
    assert chapters == {"I", "II", "III", "IV", "V", "VI", "VII"}
    assert {int(topic[0].split()[0]) for topic in notes} == set(range(1, 11))
    assert len({topic[0] for topic in terms}) == len(terms) == TERMS
    assert all(topic[2].startswith("term ") for topic in terms)
    for part in table["part"]:
        assert all(len(topic) == 3 and all(topic) for topic in part["topics"])
    topics_of_all = [topic for part in table["part"] for topic in part["topics"]]
    places = [place.split() for topic in topics_of_all for place in topic[2].split("; ")]
    used = {place[1] for place in places if place[0] == "read"}
    assert used == set(table["reading"])


def test_each_term_of_the_plan_is_told_in_both_languages_and_linked(real: course_.Course) -> None:
    """A cell of the week that tells it links to it, in each language: so does lint ask, too."""
    table = tomllib.loads((REPOSITORY / topics.SOURCE).read_text("utf-8"))
    told = {
        (term.anchor, term.language): term
        for week in real.weeks
        for term in glossary.read(real, week)
    }
    for _, _, place in table["part"][-1]["topics"]:
        anchor = glossary.anchor(place.removeprefix("term "))
        for language in real.languages:
            term = told[anchor, language]
            assert term.explained
            folder = REPOSITORY / "release" / language / term.week
            pages = [path.read_text("utf-8") for path in folder.glob("*.ipynb")]
            assert any(f"#{anchor})" in page for page in pages), (anchor, language)


def test_the_pages_are_what_is_built(real: course_.Course) -> None:
    assert len(topics.build(real)) == 2 and list(topics.stale(real)) == []


TOML = """
[reading]
book = "A. Author. [A book](https://example.org)"
[[part]]
title = {{ en = "Part", ru = "Часть" }}
topics = [["slope", "наклон", "{place}"]]
"""


def page_of(root: Path, place: str, language: str = "en") -> str:
    (root / "docs").mkdir(exist_ok=True)
    (root / topics.SOURCE).write_text(TOML.format(place=place), "utf-8")
    return topics.build(tiny_course(root))[
        Path(f"docs/topics{glossary.suffix(language)}.md")
    ].decode()


def test_a_source_to_read(tiny: Path) -> None:
    assert page_of(tiny, "read book 3").endswith(
        "## Part\n\n| topic | where |\n|---|---|\n"
        "| slope | read: A. Author. [A book](https://example.org), chapter 3 |\n"
    )
    assert "| наклон | прочесть: A. Author. [A book](https://example.org) |" in page_of(
        tiny, "read book", "ru"
    )


@pytest.mark.parametrize("place", ["read other", "01/nothing 1", "term Nothing", "01/tiny 99"])
def test_a_place_that_does_not_exist_is_named(tiny: Path, place: str) -> None:
    built(tiny)
    with pytest.raises(CourseError, match=re.escape(place)):
        page_of(tiny, place)


def test_a_course_without_topics_or_a_week_of_them_has_no_pages(tiny: Path) -> None:
    assert topics.build(tiny_course(tiny)) == {}
    (tiny / "docs").mkdir()
    (tiny / topics.SOURCE).write_text(TOML.format(place="98/other 1"), "utf-8")
    assert topics.build(tiny_course(tiny)) == {}
