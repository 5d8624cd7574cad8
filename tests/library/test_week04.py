"""Week 04: the scale of its exam, its drawings, its private part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import matplotlib
import numpy as np
import pytest
from kit.exams import code_of, handed
from kit.pictures import is_drawn
from kit.sets import real

from autograder import exams
from practical_dl.weeks import week04

matplotlib.use("agg")

# -- The scale ---------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["small", "full"])
def test_points(profile: str) -> None:
    accuracies = (0.2, 0.30, 0.31, 0.51, 0.66, 0.75, 0.76, 1.0)
    given = [week04.SCALE.earned(a, profile) for a in accuracies]
    assert given == [0, 0, 0.25, 0.5, 0.75, 0.75, 1, 1]


def test_the_contract_has_the_size_of_the_photographs() -> None:
    assert week04.project("small").shape == (3, 128, 128)
    assert week04.project("full").shape == (3, 224, 224)


def test_the_scale_is_read_without_torch() -> None:
    code = "from practical_dl.weeks import week04; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# -- Drawings ----------------------------------------------------------------------------------


def test_drawings_draw_something(published: list) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.uniform(size=(9, 4, 4, 3))
    nearest = {"pixels": rng.integers(9, size=(2, 3)), "embedding": rng.integers(9, size=(2, 3))}
    week04.neighbours(pictures, [0, 4], nearest)
    assert is_drawn(published)
    curves = {"a": rng.uniform(size=(3, 2)), "b": rng.uniform(size=(3, 2))}
    week04.finale([2, 5], curves, pictures, [str(i) for i in range(9)])
    assert is_drawn(published)


# -- What the exam asks, and how its answers count (weeks/week04_finetuning/private.py) ----------

FILE = Path(__file__).parents[2] / "weeks" / "week04_finetuning" / "private.py"


@pytest.fixture(scope="module")
def private() -> ModuleType:
    return exams.imported(FILE)


@pytest.fixture(scope="module")
def answers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"labels": rng.integers(0, 5, size=250), "public": rng.permutation(250) < 50}


@pytest.mark.parametrize("accuracy", [0.2, 0.4, 0.6, 0.7, 0.9])
def test_marks(private: ModuleType, answers: dict[str, np.ndarray], accuracy: float) -> None:
    given = handed(answers, accuracy, accuracy)
    share, message, flag = private.mark_network(given, answers, "small", "import torch")
    assert share == week04.SCALE.earned(accuracy, "small")
    assert message.startswith(f"Accuracy on 200 private pictures: {accuracy:.1%}. ")
    assert ("Every milestone is reached" in message) == (share == 1)
    assert flag == ""


def test_public_pictures_do_not_count(private: ModuleType, answers: dict[str, np.ndarray]) -> None:
    share, message, flag = private.mark_network(handed(answers, 0.2, 1.0), answers, "small", "")
    assert share == 0
    assert "has learned those by heart" in message
    assert "right on 100.0% of the public test pictures, on 20.0% of the private" in flag
    assert private.mark_network(handed(answers, 0.8, 0.9), answers, "small", "")[2] == ""


def test_another_number_of_answers(private: ModuleType, answers: dict[str, np.ndarray]) -> None:
    share, message, _ = private.mark_network(np.zeros(7, dtype=int), answers, "small", "")
    assert (share, message) == (0.0, "250 classes were asked for, 7 were handed in.")


def test_doors_to_the_withheld_pictures(
    private: ModuleType, answers: dict[str, np.ndarray]
) -> None:
    good = handed(answers, 0.9, 0.9)
    for code in ("x, y = data.withheld('flowers5')", "urllib.request.urlretrieve(a, 'b')"):
        share, _, flag = private.mark_network(good, answers, "small", code)
        assert share == 1 and "may fetch the withheld pictures" in flag
    code = code_of((FILE.parent / "seminar_pytorch.py").read_text("utf-8"))
    assert private.mark_network(good, answers, "small", code)[2] == ""


def test_pictures_are_varied_a_little_each_in_its_own_way(private: ModuleType) -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(60, 200, size=(1, 32, 32, 3), dtype=np.uint8)
    many = private.varied(np.repeat(one, 60, axis=0), rng)
    assert many.dtype == np.uint8 and many.shape == (60, 32, 32, 3)
    assert len(np.unique(many.reshape(60, -1), axis=0)) > 55
    assert np.abs(many.mean(axis=(1, 2, 3)) - one.mean()).max() < 15


def test_the_exam_asks_hidden_pictures_among_public_ones(
    private: ModuleType, data_cache: Path
) -> None:
    test = real("flowers5")
    made = private.make("small", np.random.default_rng(0))
    inputs, answers = made["network"]
    assert inputs["pictures"].shape == (250, 128, 128, 3) and inputs["pictures"].dtype == np.uint8
    assert answers["public"].sum() == 50
    known = {p.tobytes(): label for p, label in zip(test.x_test, test.y_test, strict=True)}
    labels = [known.get(picture.tobytes()) for picture in inputs["pictures"]]
    assert np.array_equal([label is not None for label in labels], answers["public"])
    assert np.bincount(answers["labels"][~answers["public"]]).tolist() == [40] * 5
