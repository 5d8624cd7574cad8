"""Week 03: the scale of its project, what its tests share, its drawings, its private part."""

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
from practical_dl import check
from practical_dl.weeks import week03

matplotlib.use("agg")

# -- The scale ---------------------------------------------------------------------------------


def test_points_of_full_are_those_of_the_plan() -> None:
    given = [week03.SCALE.earned(a, "full") for a in (0.1, 0.2, 0.21, 0.51, 0.61, 0.66, 0.71, 0.76)]
    assert given == [0, 0, 4, 6, 8, 10, 12, 14]
    assert week03.SCALE.earned(0.80, "full") == 14
    assert week03.SCALE.earned(0.81, "full") == week03.SCALE.earned(1.0, "full") == 16


def test_the_scale_of_small_lies_between_its_anchors_as_that_of_full_does() -> None:
    (low, high), (low_small, high_small) = week03.ANCHORS["full"], week03.ANCHORS["small"]
    full, small = week03.SCALE.accuracies["full"], week03.SCALE.accuracies["small"]
    assert list(small) == sorted(small)
    for a, b in zip(full, small, strict=True):
        share, share_small = (a - low) / (high - low), (b - low_small) / (high_small - low_small)
        assert share_small == pytest.approx(share, abs=0.01)
    # Of 2,000 private pictures the reference got 74 to 75 %: three standard errors are 3 %.
    assert small[-1] + 0.03 < 0.74
    assert week03.SCALE.earned(low_small, "small") == 4


def test_the_scale_is_read_without_torch() -> None:
    code = "from practical_dl.weeks import week03; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# -- What tests share --------------------------------------------------------------------------


def test_close_tells_a_mistake_from_rounding() -> None:
    want = np.array([100.0, 1 / 3])
    week03.close(want * (1 + 1e-12), want, "f(x)", "be right")
    with pytest.raises(check.CheckFailed, match="be right"):
        week03.close(want + np.array([0, 0.1]), want, "f(x)", "be right")
    with pytest.raises(check.CheckFailed, match="precision of float64"):
        week03.close(want.astype(np.float32), want, "f(x)", "be right")


# -- Drawings ----------------------------------------------------------------------------------


def test_drawings_draw_something(published: list) -> None:
    rng = np.random.default_rng(0)
    grid, kernel = np.arange(12.0).reshape(3, 4), np.ones((2, 2))
    output = np.full((2, 3), np.nan)
    week03.sliding_filter(grid, kernel, output, (0, 1))
    assert is_drawn(published)
    logits, labels = rng.normal(size=(40, 3)), rng.integers(3, size=40)
    pictures = rng.uniform(size=(40, 4, 4, 3))
    week03.picture_classifier({"training": [0.5, 0.6]}, logits, labels, pictures, ["a", "b", "c"])
    assert is_drawn(published)
    boxes = np.array([[1.0, 1, 3, 3]])
    cells = [(rng.uniform(size=(8, 8, 3)), boxes, boxes)] * 2
    tissue = [(rng.uniform(size=(8, 8, 3)), np.eye(4, dtype=int), boxes, boxes)] * 2
    found = {"white cells": (np.array([0.9]), np.array([1]), 2), "nuclei": ([0.5], [0], 1)}
    week03.found_cells(cells, tissue, found)
    assert is_drawn(published)


# -- What the exam asks, and how its answers count (weeks/week03_convnets/private.py) -----------

FILE = Path(__file__).parents[2] / "weeks" / "week03_convnets" / "private.py"


@pytest.fixture(scope="module")
def private() -> ModuleType:
    return exams.imported(FILE)


@pytest.fixture(scope="module")
def answers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"labels": rng.integers(0, 10, size=2500), "public": rng.permutation(2500) < 500}


@pytest.mark.parametrize("profile", ["small", "full"])
@pytest.mark.parametrize("accuracy", [0.1, 0.3, 0.5, 0.62, 0.75, 0.9])
def test_marks(
    private: ModuleType, answers: dict[str, np.ndarray], profile: str, accuracy: float
) -> None:
    given = handed(answers, accuracy, accuracy)
    share, message, flag = private.mark_network(given, answers, profile, "import torch")
    assert share == week03.SCALE.earned(accuracy, profile) / 16
    assert message.startswith(f"Accuracy on 2000 private pictures: {accuracy:.1%}. ")
    assert ("Every milestone is reached" in message) == (share == 1)
    assert flag == ""


def test_public_pictures_do_not_count(private: ModuleType, answers: dict[str, np.ndarray]) -> None:
    given = handed(answers, 0.1, 1.0)
    share, message, flag = private.mark_network(given, answers, "small", "")
    assert share == 0
    assert "has learned those by heart" in message
    assert "right on 100.0% of the public test pictures, on 10.0% of the private" in flag
    assert private.mark_network(handed(answers, 0.75, 0.80), answers, "small", "")[2] == ""


def test_too_good_to_be_true_is_for_a_person(
    private: ModuleType, answers: dict[str, np.ndarray]
) -> None:
    share, message, flag = private.mark_network(handed(answers, 0.99, 0.99), answers, "full", "")
    assert share == 1
    assert "99.0% is more than a network trained on these data alone reaches" in flag
    assert "more than" not in message


def test_another_number_of_answers(private: ModuleType, answers: dict[str, np.ndarray]) -> None:
    share, message, _ = private.mark_network(np.zeros(7, dtype=int), answers, "small", "")
    assert (share, message) == (0.0, "2500 classes were asked for, 7 were handed in.")
    assert private.mark_network(np.zeros((2500, 1)), answers, "small", "")[0] == 0.0


@pytest.mark.parametrize(
    "code",
    [
        "net = torchvision.models.resnet18(pretrained=True)",
        "net = resnet18(weights = ResNet18_Weights.DEFAULT)",
        'net = resnet18(weights="IMAGENET1K_V1")',
        "net = torch.hub.load('pytorch/vision', 'resnet18')",
        "net = models.load('a_network')",
        "import timm",
        "from timm.models import create_model",
        "AutoModel.from_pretrained('microsoft/resnet-18')",
        "path = hf_hub_download(repo, name)",
        "state = torch.load('theirs.pt')",
        "urllib.request.urlretrieve(address, 'w')",
        "x, y = data.withheld('cifar10')",
        "importlib.import_module('tim' + 'm')",
    ],
)
def test_doors_to_weights_of_others(
    private: ModuleType, answers: dict[str, np.ndarray], code: str
) -> None:
    share, _, flag = private.mark_network(handed(answers, 0.75, 0.75), answers, "small", code)
    assert "the code may load weights of others: " in flag
    assert share == 1  # a person decides


@pytest.mark.parametrize(
    "code",
    [
        "net = torchvision.models.resnet18(weights=None)",
        "net = resnet18(pretrained=False)",
        "weights = torch.cat([p.flatten() for p in net.parameters()])",
        "trained = week03.PROJECT.load(network(), 'model.safetensors')",
        "def check(weights: list) -> None: ...",
    ],
)
def test_what_is_no_door(private: ModuleType, answers: dict[str, np.ndarray], code: str) -> None:
    assert private.mark_network(handed(answers, 0.75, 0.75), answers, "small", code)[2] == ""


def test_the_notebook_itself_opens_no_door(
    private: ModuleType, answers: dict[str, np.ndarray]
) -> None:
    code = code_of((FILE.parent / "seminar_pytorch.py").read_text("utf-8"))
    assert private.mark_network(handed(answers, 0.75, 0.75), answers, "small", code)[2] == ""


def test_pictures_are_varied_a_little_each_in_its_own_way(private: ModuleType) -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(60, 200, size=(1, 32, 32, 3), dtype=np.uint8)
    many = private.varied(np.repeat(one, 300, axis=0), rng)
    assert many.dtype == np.uint8 and many.shape == (300, 32, 32, 3)
    assert len(np.unique(many.reshape(300, -1), axis=0)) > 290
    framed = np.pad(one[0], ((2, 2), (2, 2), (0, 0)), mode="reflect").astype(float)
    crops = np.array([framed[i : i + 32, j : j + 32] for i in range(5) for j in range(5)])
    crops = np.concatenate([crops, crops[:, :, ::-1]])
    found = np.array([[np.corrcoef(c.ravel(), m.ravel())[0, 1] for c in crops] for m in many])
    assert (found.max(axis=1) > 0.99).all()
    assert len(set(found.argmax(axis=1))) == 50  # every shift, mirrored or not
    assert np.abs(many.mean(axis=(1, 2, 3)) - one.mean()).max() < 15


def test_the_exam_asks_hidden_pictures_among_public_ones(
    private: ModuleType, data_cache: Path
) -> None:
    test = real("cifar10")
    made = private.make("small", np.random.default_rng(0))
    inputs, answers = made["network"]
    assert set(made) == {"network"} and set(inputs) == {"pictures"}
    assert inputs["pictures"].shape == (2500, 32, 32, 3) and inputs["pictures"].dtype == np.uint8
    assert answers["public"].sum() == 500 and not answers["public"][:100].all()
    known = {
        picture.tobytes(): label for picture, label in zip(test.x_test, test.y_test, strict=True)
    }
    labels = [known.get(picture.tobytes()) for picture in inputs["pictures"]]
    given = np.array([label is not None for label in labels])
    assert np.array_equal(given, answers["public"])
    assert [label for label in labels if label is not None] == list(
        answers["labels"][answers["public"]]
    )
    other = private.make("small", np.random.default_rng(1))["network"][0]["pictures"]
    assert not np.array_equal(inputs["pictures"], other)
