"""The project of week 03: its scale, its weights file, and what a network must keep to."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from practical_dl import data, project
from practical_dl.check import CheckFailed


class Small(nn.Module):
    """A right network: pictures -> logits."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=4)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return project.save(Small(), tmp_path / "model.safetensors")


def check(model: nn.Module) -> None:
    project.check_network(project.build(lambda: model), np.random.default_rng(0))


def pictures(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, size=(n, 32, 32, 3), dtype=np.uint8)


# -- The scale ---------------------------------------------------------------------------------


def test_points_of_full_are_those_of_the_plan() -> None:
    given = [project.points(a, "full") for a in (0.1, 0.2, 0.21, 0.51, 0.61, 0.66, 0.71, 0.76)]
    assert given == [0, 0, 4, 6, 8, 10, 12, 14]
    assert project.points(0.80, "full") == 14
    assert project.points(0.81, "full") == project.points(1.0, "full") == 16


def test_the_scale_of_small_lies_between_its_anchors_as_that_of_full_does() -> None:
    (low, high), (low_small, high_small) = project.ANCHORS["full"], project.ANCHORS["small"]
    full, small = project.MILESTONES["full"], project.MILESTONES["small"]
    assert list(small) == sorted(small)
    for a, b in zip(full, small, strict=True):
        share, share_small = (a - low) / (high - low), (b - low_small) / (high_small - low_small)
        assert share_small == pytest.approx(share, abs=0.01)
    # Of 2,000 private pictures the reference got 74 to 75 %: three standard errors are 3 %.
    assert small[-1] + 0.03 < 0.74
    assert project.points(low_small, "small") == 4


def test_a_table_of_the_scale() -> None:
    table = project.scale(0.62, "full").splitlines()
    assert table[0] == "accuracy 62.00%, profile full"
    assert table[1] == "  more than  20.0%: 4 points, reached"
    assert table[4] == "  more than  65.0%: 2 points, not yet"
    assert table[-1] == "  in all 8 of 16 points"


# -- The weights file --------------------------------------------------------------------------


def test_a_network_comes_back_as_it_was(saved: Path) -> None:
    torch.manual_seed(0)
    original, loaded = Small().eval(), project.load(Small(), saved)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(original(x), loaded(x))
    assert not loaded.training


def test_half_a_file_is_half_as_large_and_gives_float32_again(tmp_path: Path) -> None:
    model = Small(256)
    whole = project.save(model, tmp_path / "whole.safetensors").stat().st_size
    half = project.save(model, tmp_path / "half.safetensors", half=True)
    assert half.stat().st_size < 0.7 * whole
    loaded = project.load(Small(256), half)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert torch.allclose(loaded.conv.weight, model.conv.weight, atol=1e-3)
    assert torch.equal(loaded.norm.running_var, model.norm.running_var)


def test_layers_may_share_their_weights_and_be_lazy(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        first = nn.LazyConv2d(3, 3, padding=1)
        return nn.Sequential(first, first, nn.Flatten(), nn.LazyLinear(10))

    model = project.build(tied)
    path = project.save(model, tmp_path / "tied.safetensors")
    loaded = project.load(tied(), path)
    assert loaded[0].weight is loaded[1].weight
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(model(x), loaded(x))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match=r"^model.safetensors is not there: run the training"):
        project.load(Small(), tmp_path / "model.safetensors")


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="is not there"):
        project.load(Small(), tmp_path)


def test_too_large_a_network_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckFailed, match=r"larger than the 30 MB.*half=True") as error:
        project.save(nn.Linear(3000, 3000), path)
    assert error.value.details == "it has 36.0 MB"
    assert not path.exists()
    project.save(nn.Linear(3000, 3000), path, half=True)


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(31_000_000)
    with pytest.raises(CheckFailed, match="larger than the 30 MB"):
        project.load(Small(), path)


class Trap:
    """What runs when its pickle is opened."""

    opened = False

    def __reduce__(self) -> tuple[Callable[..., None], tuple[type, str, bool]]:
        return setattr, (Trap, "opened", True)


@pytest.mark.parametrize("writer", ["torch", "pickle", "old torch"])
def test_a_pickle_is_refused_unopened(tmp_path: Path, writer: str) -> None:
    path = tmp_path / "model.safetensors"
    if writer == "pickle":
        path.write_bytes(pickle.dumps({"weight": Trap()}))
    else:
        zipped = writer == "torch"
        torch.save({"weight": Trap()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckFailed, match=r"is a pickle file.*save the weights with project.save"):
        project.load(Small(), path)
    assert not Trap.opened


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"weights",
        b"\x93NUMPY\x01\x00",
        b"\xff" * 64,
        (2**62).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_another_format(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckFailed, match="is no safetensors file, or a damaged one"):
        project.load(Small(), path)


def test_a_file_cut_short(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-5])
    with pytest.raises(CheckFailed, match="is no safetensors file, or a damaged one"):
        project.load(Small(), saved)


def test_other_names(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    state = Small().state_dict()
    state["extra.weight"] = state.pop("head.weight")
    safetensors.torch.save_file(state, path)
    with pytest.raises(CheckFailed, match=r"it holds other parameters.*train again") as error:
        project.load(Small(), path)
    assert error.value.details == ("the file lacks: head.weight\nthe network lacks: extra.weight")


def test_an_empty_file_of_the_right_format(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({}, path)
    with pytest.raises(CheckFailed, match="it holds other parameters") as error:
        project.load(Small(), path)
    assert error.value.details.startswith("the file lacks: conv.bias, conv.weight, head.bias")
    assert error.value.details.endswith(", …")


def test_other_shapes(saved: Path) -> None:
    with pytest.raises(CheckFailed, match="has another shape") as error:
        project.load(Small(5), saved)
    assert "in the network (5" in error.value.details


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(tmp_path: Path, value: float) -> None:
    model = Small()
    model.head.weight.data[1, 2] = value
    path = project.save(model, tmp_path / "model.safetensors")
    with pytest.raises(CheckFailed, match=r"head.weight holds numbers that are not finite"):
        project.load(Small(), path)


# -- The network -------------------------------------------------------------------------------


def test_a_right_network_passes() -> None:
    check(Small())


def test_its_modes_do_not_matter_beforehand() -> None:
    model = Small()
    model.train()
    check(model)
    assert not model.training


def test_mixed_precision_inside_the_network_passes() -> None:
    class Mixed(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x)

    torch.manual_seed(0)
    check(Mixed(32))


@pytest.mark.parametrize("wrong", [None, Small, nn.Linear(1, 1).weight, {"a": 1}])
def test_no_network(wrong: object) -> None:
    with pytest.raises(CheckFailed, match=r"network\(\) returns an nn.Module"):
        project.build(lambda: wrong)  # type: ignore[arg-type,return-value]


def test_a_task_not_attempted_stays_one() -> None:
    def network() -> nn.Module:
        raise NotImplementedError("network")

    with pytest.raises(NotImplementedError):
        project.build(network)


class Broken(Small):
    """A network whose output is changed by a function of (picture, logits)."""

    def __init__(self, change: Callable[[torch.Tensor, torch.Tensor], object]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.change(x, super().forward(x))  # type: ignore[return-value]


def trains(model: nn.Module) -> nn.Module:
    model.train = lambda mode=True: model  # type: ignore[method-assign,assignment]
    return model


def counter() -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    calls = [0]

    def change(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return logits + calls[0] * torch.eye(10)[calls[0] % 10]

    return change


def step(model: nn.Module) -> nn.Module:
    def change(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        model.head.bias.data[0] += 1e-7
        return logits

    model.change = change
    return model


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Broken(lambda x, y: y[:, :9]), r"into logits \(n, 10\)"),
        (Broken(lambda x, y: y.mean(0)), r"into logits \(n, 10\)"),
        (Broken(lambda x, y: y.argmax(1)), r"into logits \(n, 10\)"),
        (Broken(lambda x, y: (y, y)), r"into logits \(n, 10\)"),
        (Broken(lambda x, y: y / 0), "the logits are finite"),
        (Broken(lambda x, y: y + torch.randn_like(y)), "the network is deterministic"),
        (Broken(counter()), "the network is deterministic"),
        (trains(Small()), "do not depend on the other pictures of the batch"),
        (Broken(lambda x, y: y - y.mean(0)), "do not depend on the other pictures of the batch"),
        (Broken(lambda x, y: y.flip(0)), "nor on its place"),
        (Broken(lambda x, y: y + torch.arange(len(y))[:, None]), "nor on its place"),
        (Broken(lambda x, y: (x.zero_(), y)[1]), "leaves the pictures"),
        (step(Broken(lambda x, y: y)), "classifying leaves the network as it was"),
    ],
)  # fmt: skip
def test_a_broken_contract(model: nn.Module, sentence: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(CheckFailed, match=sentence):
        project.check_network(model.eval(), np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["open", "Path", "os.open", "numpy", "at its first call only"])
def test_a_network_that_opens_files(tmp_path: Path, kind: str) -> None:
    import os

    path = tmp_path / "answers.npy"
    np.save(path, np.zeros(3))
    once: list[int] = []

    def change(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if kind == "open":
            open(path).close()
        elif kind == "Path":
            path.read_bytes()
        elif kind == "os.open":
            os.close(os.open(path, os.O_RDONLY))
        elif kind == "numpy" or not once:
            once.append(1)
            np.load(path)
        return logits

    with pytest.raises(CheckFailed, match="opens no files") as error:
        check(Broken(change))
    assert error.value.details == "it opened answers.npy"
    np.load(path)  # afterwards everybody may again


def test_a_network_may_load_a_module_of_python() -> None:
    import sys

    def change(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        sys.modules.pop("wave", None)
        import wave

        assert wave
        return logits

    check(Broken(change))


def test_what_a_network_raises_comes_out() -> None:
    def change(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check(Broken(change))
    check(Small())


# -- Predictions -------------------------------------------------------------------------------


def test_predictions_and_accuracy() -> None:
    torch.manual_seed(0)
    model, x = Small(), pictures(601)
    with torch.no_grad():
        given = torch.from_numpy(x).permute(0, 3, 1, 2) / 255
        expected = model.eval()(given).argmax(1).numpy()
    answer = project.predict(model, x)
    assert answer.shape == (601,) and answer.dtype.kind == "i"
    assert np.array_equal(answer, expected)
    labels = expected.copy()
    labels[:30] = (labels[:30] + 1) % 10
    assert project.accuracy(model, x, labels) == pytest.approx(571 / 601)


def test_a_counter_of_pictures_is_found_when_it_strikes() -> None:
    seen = [0]

    def change(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        seen[0] += len(x)
        return logits if seen[0] <= 600 else logits.flip(1)

    torch.manual_seed(0)
    with pytest.raises(CheckFailed, match=r"do not depend|is deterministic"):
        project.predict(Broken(change), pictures(601))


# -- What the exam asks, and how its answers count (weeks/week03_convnets/private.py) -----------

FILE = Path(__file__).parents[2] / "weeks" / "week03_convnets" / "private.py"


@pytest.fixture(scope="module")
def private() -> ModuleType:
    spec = importlib.util.spec_from_file_location("private_of_week03", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def answers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"labels": rng.integers(0, 10, size=2500), "public": rng.permutation(2500) < 500}


def handed(answers: dict[str, np.ndarray], hidden: float, public: float) -> np.ndarray:
    """Answers that are right on these shares of the hidden and of the public pictures."""
    guess = (answers["labels"] + 1) % 10
    for which, share in ((~answers["public"], hidden), (answers["public"], public)):
        places = np.flatnonzero(which)
        places = places[: round(share * len(places))]
        guess[places] = answers["labels"][places]
    return guess


def test_the_grader_has_the_scale_that_students_see(private: ModuleType) -> None:
    assert private.MILESTONES == project.MILESTONES
    assert private.POINTS == project.POINTS


@pytest.mark.parametrize("profile", ["small", "full"])
@pytest.mark.parametrize("accuracy", [0.1, 0.3, 0.5, 0.62, 0.75, 0.9])
def test_marks(
    private: ModuleType, answers: dict[str, np.ndarray], profile: str, accuracy: float
) -> None:
    given = handed(answers, accuracy, accuracy)
    share, message, flag = private.mark_network(given, answers, profile, "import torch")
    assert share == project.points(accuracy, profile) / 16
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
        "trained = project.load(network(), 'model.safetensors')",
        "def check(weights: list) -> None: ...",
    ],
)
def test_what_is_no_door(private: ModuleType, answers: dict[str, np.ndarray], code: str) -> None:
    assert private.mark_network(handed(answers, 0.75, 0.75), answers, "small", code)[2] == ""


def test_the_notebook_itself_opens_no_door(
    private: ModuleType, answers: dict[str, np.ndarray]
) -> None:
    notebook = (FILE.parent / "seminar_pytorch.py").read_text("utf-8")
    code = "\n".join(line for line in notebook.split("\n") if not line.startswith("#"))
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
    if not data.is_cached("cifar10"):
        pytest.skip("CIFAR-10's pictures are not in the cache and nothing is fetched here")
    made = private.make("small", np.random.default_rng(0))
    inputs, answers = made["network"]
    assert set(made) == {"network"} and set(inputs) == {"pictures"}
    assert inputs["pictures"].shape == (2500, 32, 32, 3) and inputs["pictures"].dtype == np.uint8
    assert answers["public"].sum() == 500 and not answers["public"][:100].all()
    test = data.load("cifar10", quiet=True)
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
