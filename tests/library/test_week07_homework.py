"""Week 07: the dates, the contract of a reader of dates, its exam, the homework's drawings."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path
from types import ModuleType

import matplotlib
import numpy as np
import pytest
import torch
from kit.exams import code_of, handed
from kit.pictures import is_drawn
from torch import nn

from autograder import exams
from practical_dl.check import CheckFailed
from practical_dl.weeks import week07

matplotlib.use("agg")
FILE = Path(__file__).parents[2] / "weeks" / "week07_lm" / "private.py"


def test_a_date_is_written_in_sixteen_ways_that_all_name_it() -> None:
    forms = [week07.written(date(2019, 3, 3), form) for form in range(16)]
    assert len(set(forms)) == 16
    for form in ("March 3, 2019", "the third of March 2019", "Sun 03.03.19", "3.III.2019"):
        assert form in forms
    for form in ("3 марта 2019 г.", "воскресенье, 3 марта 2019 г.", "третье марта 2019 года"):
        assert form in forms


@pytest.mark.parametrize(
    ("day", "english", "russian"),
    [
        (1, "1st first", "первое"),
        (2, "2nd second", "второе"),
        (11, "11th eleventh", "одиннадцатое"),
        (13, "13th thirteenth", "тринадцатое"),
        (22, "22nd twenty-second", "двадцать второе"),
        (31, "31st thirty-first", "тридцать первое"),
    ],
)
def test_ordinals(day: int, english: str, russian: str) -> None:
    forms = [week07.written(date(2020, 1, day), form) for form in range(16)]
    short, long = english.split()
    assert f"January {short}, 2020" in forms
    assert f"the {long} of January 2020" in forms
    assert f"{russian} января 2020 года" in forms


def test_a_tenth_of_the_dates_is_withheld_and_neither_draw_gives_the_others() -> None:
    days = range(week07.FIRST.toordinal(), week07.LAST.toordinal() + 1)
    share = np.mean([week07.is_withheld(date.fromordinal(day)) for day in days])
    assert share == pytest.approx(0.1, abs=0.005)
    for withheld in (False, True):
        texts, found = week07.dates(300, 1, withheld=withheld)
        assert len(texts) == len(found) == 300
        assert {week07.is_withheld(date.fromisoformat(d)) for d in found} == {withheld}
        assert week07.dates(300, 1, withheld=withheld) == (texts, found)
    assert week07.dates(300, 2) != week07.dates(300, 1)


def test_numbers_of_dates() -> None:
    days = ["2019-03-03", "1950-12-31", "", "2019-3-3", "2019-03-03 ", "２019-03-03", "x" * 10]
    assert week07.numbers(days).tolist() == [20190303, 19501231, -1, -1, -1, -1, -1]
    assert week07.numbers([]).shape == (0,)


class Clock(nn.Module):
    """Says a date for each text, by its length."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong = wrong
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, texts: list[str]):
        made = [f"{2000 + len(text) % 50}-01-02" for text in texts]
        if self.wrong == "neighbours":
            made = [f"{2000 + max(map(len, texts)) % 50}-01-02"] * len(texts)
        if self.wrong == "array":
            return np.array(made)
        if self.wrong == "fewer":
            return made[:-1]
        if self.wrong == "numbers":
            return list(range(len(texts)))
        if self.wrong == "changes":
            texts[0] = "changed"
        return made


def test_a_network_that_keeps_the_contract_is_asked_for_dates() -> None:
    week07.READER.check(Clock(), np.random.default_rng(0))
    found = week07.READER.predict(Clock(), np.array(["", "abc", "a" * 60]))
    assert found.tolist() == [20000102, 20030102, 20100102]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("neighbours", "does not depend on the other"),
        ("array", "list of n texts"),
        ("fewer", "list of n texts"),
        ("numbers", "one of them is a int"),
        ("changes", "leaves the list"),
    ],
)
def test_a_network_that_breaks_the_contract_is_told_how(wrong: str, says: str) -> None:
    with pytest.raises(CheckFailed) as raised:
        week07.READER.check(Clock(wrong), np.random.default_rng(0))
    assert says in f"{raised.value} {raised.value.details}"


def test_the_scale_pays_half_a_point_in_all_and_is_read_without_torch() -> None:
    earned = [week07.SCALE.earned(a, "small") for a in (0.1, 0.42, 0.7, 0.98)]
    assert earned == pytest.approx([0, 0.2, 0.35, 0.5])
    code = "from practical_dl.weeks import week07; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# -- What the exam asks, and how its answers count (weeks/week07_lm/private.py) --------------------


@pytest.fixture(scope="module")
def private() -> ModuleType:
    return exams.imported(FILE)


def test_the_exam_asks_withheld_dates_among_public_ones(private: ModuleType) -> None:
    inputs, answers = private.make("small", np.random.default_rng(0))["dater"]
    assert inputs["texts"].shape == answers["labels"].shape == (2000,)
    assert answers["public"].sum() == 500
    for number, public in zip(answers["labels"].tolist(), answers["public"], strict=True):
        day = date(number // 10_000, number // 100 % 100, number % 100)
        assert week07.is_withheld(day) != public


@pytest.mark.parametrize("accuracy", [0.1, 0.5, 0.7, 0.95])
def test_marks(private: ModuleType, accuracy: float) -> None:
    _, answers = private.make("small", np.random.default_rng(0))["dater"]
    given = handed(answers, accuracy, accuracy)
    share, message, flag = private.mark_dater(given, answers, "small", "import torch")
    assert share == pytest.approx(2 * week07.SCALE.earned(accuracy, "small"))
    assert message.startswith(f"Accuracy on 1500 private dates: {accuracy:.1%}. ")
    assert flag == ""


def test_what_a_person_is_told(private: ModuleType) -> None:
    _, answers = private.make("small", np.random.default_rng(0))["dater"]
    share, _, flag = private.mark_dater(handed(answers, 0.1, 1.0), answers, "small", "")
    assert share == 0 and "public test dates" in flag
    good = handed(answers, 0.95, 0.95)
    for code in ("datetime.strptime(text)", "MONTHS = ['января']", "dates(9, 0, withheld=True)"):
        assert "by rules" in private.mark_dater(good, answers, "small", code)[2]
    code = code_of((FILE.parent / "homework.py").read_text("utf-8"))
    assert private.mark_dater(good, answers, "small", code)[2] == ""


# -- Drawings ------------------------------------------------------------------------------------


def test_drawings_draw_something(published: list) -> None:
    week07.attention_map(np.eye(2, 3), "a b", "ab", "title")
    assert is_drawn(published)
    rules = {"one": [1.0, 2.0], "two": [2.0, 1.0]}
    week07.beams([1, 2], {"words": rules, "BLEU": rules}, {"words": 1.5})
    assert is_drawn(published)
    week07.bars(["a", "b"], rules, "title", "share")
    assert is_drawn(published)
