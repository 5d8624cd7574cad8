"""What an accuracy is worth, and what a person is told of it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from kit.exams import handed

from practical_dl.milestones import Milestones, found

SCALE = Milestones((4, 2, 0.5), {"small": (0.3, 0.5, 0.7), "full": (0.4, 0.6, 0.8)})


def test_a_milestone_is_reached_above_it() -> None:
    accuracies = (0.0, 0.3, 0.301, 0.5, 0.6, 0.7, 0.71, 1.0)
    assert [SCALE.earned(a, "small") for a in accuracies] == [0, 0, 4, 4, 6, 6, 6.5, 6.5]
    assert SCALE.earned(0.5, "full") == 4
    assert SCALE.most == 6.5


def test_a_scale_without_a_profile_or_of_other_length_is_refused() -> None:
    with pytest.raises(KeyError):
        SCALE.earned(0.5, "huge")
    with pytest.raises(ValueError):
        Milestones((1,), {"small": (0.1, 0.2)}).earned(0.5, "small")


def test_a_table_of_the_scale() -> None:
    assert SCALE.table(0.62, "small").splitlines() == [
        "accuracy 62.00%, profile small",
        "  more than  30.0%: 4 points, reached",
        "  more than  50.0%: 2 points, reached",
        "  more than  70.0%: 0.5 points, not yet",
        "  in all 6 of 6.5 points",
    ]


@pytest.fixture(scope="module")
def answers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"labels": rng.integers(0, 3, size=500), "public": rng.permutation(500) < 100}


def test_only_private_examples_count(answers: dict[str, np.ndarray]) -> None:
    share, message, flag = SCALE.mark(handed(answers, 0.6, 0.6), answers, "small", by_heart=0.1)
    assert (share, flag) == (6 / 6.5, "")
    assert message == "Accuracy on 400 private pictures: 60.0%. The next milestone is 70.0%."
    share, message, flag = SCALE.mark(
        handed(answers, 0.2, 1.0), answers, "small", by_heart=0.1, what="texts", bears="a new word"
    )
    assert share == 0
    assert "On public test texts it is 100.0%: your network has learned those by heart" in message
    assert message.endswith("or it can't bear a new word.")
    assert flag.startswith("right on 100.0% of the public test texts, on 20.0% of the private ones")


def test_too_good_to_be_true_is_for_a_person(answers: dict[str, np.ndarray]) -> None:
    good = handed(answers, 0.99, 0.99)
    share, message, flag = SCALE.mark(good, answers, "small", by_heart=0.1, too_good=0.9)
    assert share == 1
    assert message.endswith("Every milestone is reached.")
    assert flag == "99.0% is more than a network trained on these data alone reaches"


def test_another_number_of_answers(answers: dict[str, np.ndarray]) -> None:
    for given in (np.zeros(7, dtype=int), np.zeros((500, 1), dtype=int)):
        share, message, flag = SCALE.mark(given, answers, "small", by_heart=0.1)
        assert (share, flag) == (0.0, "")
        assert message == f"500 classes were asked for, {given.size} were handed in."


def test_words_that_a_person_should_see() -> None:
    """The week's own, and those of every week."""
    doors = re.compile(r"\bwithheld\b", re.IGNORECASE)
    code = "x = torch . load('w')\nWithheld = wget; wget c"
    assert found(doors, code) == "Withheld, torch . load, wget"
    assert found(doors, "print(1)") == ""
