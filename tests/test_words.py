"""The words of both languages: none is missing in one of them."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from autograder import words
from autograder.authoring import glossary
from autograder.words import ENGLISH, RUSSIAN


def test_what_one_language_says_the_other_says_too() -> None:
    assert ENGLISH.feedback.keys() == RUSSIAN.feedback.keys()
    for field in fields(ENGLISH):
        assert getattr(ENGLISH, field.name) != getattr(RUSSIAN, field.name), field.name
    for name, said in ENGLISH.feedback.items():
        assert re.findall(r"\{\}", said) == re.findall(r"\{\}", RUSSIAN.feedback[name]), name


def test_a_language_without_words_has_files_of_its_own() -> None:
    german = words.of("de")
    assert (german.code, german.suffix, german.stub) == ("de", ".de", ENGLISH.stub)
    assert words.of(None) is words.of("") is words.of("en") is ENGLISH


@pytest.mark.parametrize(("language", "suffix"), [("en", ""), ("any", ""), ("ru", ".ru")])
def test_the_names_of_files(language: str, suffix: str) -> None:
    assert glossary.suffix(language) == suffix


def test_numbers() -> None:
    assert (ENGLISH.number(0.5), RUSSIAN.number(0.5), RUSSIAN.number(2.0)) == ("0.5", "0,5", "2")
