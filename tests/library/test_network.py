"""A network that is handed in: its weights file, and what it must keep to."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from practical_dl.check import CheckFailed
from practical_dl.network import Contract, PictureContract

PROJECT = PictureContract(shape=(3, 32, 32), classes=10)


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
    return PROJECT.save(Small(), tmp_path / "model.safetensors")


def check(model: nn.Module) -> None:
    PROJECT.check(PROJECT.build(lambda: model), np.random.default_rng(0))


def pictures(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, size=(n, 32, 32, 3), dtype=np.uint8)


# -- The weights file --------------------------------------------------------------------------


def test_a_network_comes_back_as_it_was(saved: Path) -> None:
    torch.manual_seed(0)
    original, loaded = Small().eval(), PROJECT.load(Small(), saved)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(original(x), loaded(x))
    assert not loaded.training


def test_half_a_file_is_half_as_large_and_gives_float32_again(tmp_path: Path) -> None:
    model = Small(256)
    whole = PROJECT.save(model, tmp_path / "whole.safetensors").stat().st_size
    half = PROJECT.save(model, tmp_path / "half.safetensors", half=True)
    assert half.stat().st_size < 0.7 * whole
    loaded = PROJECT.load(Small(256), half)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert torch.allclose(loaded.conv.weight, model.conv.weight, atol=1e-3)
    assert torch.equal(loaded.norm.running_var, model.norm.running_var)


def test_layers_may_share_their_weights_and_be_lazy(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        first = nn.LazyConv2d(3, 3, padding=1)
        return nn.Sequential(first, first, nn.Flatten(), nn.LazyLinear(10))

    model = PROJECT.build(tied)
    path = PROJECT.save(model, tmp_path / "tied.safetensors")
    loaded = PROJECT.load(tied(), path)
    assert loaded[0].weight is loaded[1].weight
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(model(x), loaded(x))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match=r"^model.safetensors is not there: run the training"):
        PROJECT.load(Small(), tmp_path / "model.safetensors")


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="is not there"):
        PROJECT.load(Small(), tmp_path)


def test_too_large_a_network_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckFailed, match=r"larger than the 30 MB.*half=True") as error:
        PROJECT.save(nn.Linear(3000, 3000), path)
    assert error.value.details == "it has 36.0 MB"
    assert not path.exists()
    PROJECT.save(nn.Linear(3000, 3000), path, half=True)


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(31_000_000)
    with pytest.raises(CheckFailed, match="larger than the 30 MB"):
        PROJECT.load(Small(), path)


def test_a_header_may_have_a_length_that_begins_like_a_pickle(tmp_path: Path) -> None:
    for letters in range(1, 300):
        model = Small()
        model.register_buffer("n" * letters, torch.zeros(1))
        path = PROJECT.save(model, tmp_path / "model.safetensors")
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    PROJECT.load(model, path)


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
    with pytest.raises(CheckFailed, match=r"is a pickle file.*save the weights as the training"):
        PROJECT.load(Small(), path)
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
        PROJECT.load(Small(), path)


def test_a_file_cut_short(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-5])
    with pytest.raises(CheckFailed, match="is no safetensors file, or a damaged one"):
        PROJECT.load(Small(), saved)


def test_other_names(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    state = Small().state_dict()
    state["extra.weight"] = state.pop("head.weight")
    safetensors.torch.save_file(state, path)
    with pytest.raises(CheckFailed, match=r"it holds other parameters.*train again") as error:
        PROJECT.load(Small(), path)
    assert error.value.details == ("the file lacks: head.weight\nthe network lacks: extra.weight")


def test_an_empty_file_of_the_right_format(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({}, path)
    with pytest.raises(CheckFailed, match="it holds other parameters") as error:
        PROJECT.load(Small(), path)
    assert error.value.details.startswith("the file lacks: conv.bias, conv.weight, head.bias")
    assert error.value.details.endswith(", …")


def test_other_shapes(saved: Path) -> None:
    with pytest.raises(CheckFailed, match="has another shape") as error:
        PROJECT.load(Small(5), saved)
    assert "in the network (5" in error.value.details


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(tmp_path: Path, value: float) -> None:
    model = Small()
    model.head.weight.data[1, 2] = value
    path = PROJECT.save(model, tmp_path / "model.safetensors")
    with pytest.raises(CheckFailed, match=r"head.weight holds numbers that are not finite"):
        PROJECT.load(Small(), path)


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
        PROJECT.build(lambda: wrong)  # type: ignore[arg-type,return-value]


def test_a_task_not_attempted_stays_one() -> None:
    def network() -> nn.Module:
        raise NotImplementedError("network")

    with pytest.raises(NotImplementedError):
        PROJECT.build(network)


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
        (trains(Small()), "does not depend on the other pictures of the batch"),
        (Broken(lambda x, y: y - y.mean(0)), "does not depend on the other pictures of the batch"),
        (Broken(lambda x, y: y.flip(0)), "nor on its place"),
        (Broken(lambda x, y: y + torch.arange(len(y))[:, None]), "nor on its place"),
        (Broken(lambda x, y: (x.zero_(), y)[1]), "leaves the pictures"),
        (step(Broken(lambda x, y: y)), "using the network leaves it as it was"),
    ],
)  # fmt: skip
def test_a_broken_contract(model: nn.Module, sentence: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(CheckFailed, match=sentence):
        PROJECT.check(model.eval(), np.random.default_rng(0))


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
    answer = PROJECT.predict(model, x)
    assert answer.shape == (601,) and answer.dtype.kind == "i"
    assert np.array_equal(answer, expected)
    labels = expected.copy()
    labels[:30] = (labels[:30] + 1) % 10
    assert PROJECT.accuracy(model, x, labels) == pytest.approx(571 / 601)


def test_a_counter_of_pictures_is_found_when_it_strikes() -> None:
    seen = [0]

    def change(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        seen[0] += len(x)
        return logits if seen[0] <= 600 else logits.flip(1)

    torch.manual_seed(0)
    with pytest.raises(CheckFailed, match=r"does not depend|is deterministic"):
        PROJECT.predict(Broken(change), pictures(601))


# -- Another contract --------------------------------------------------------------------------


def test_shape_classes_and_size_are_the_contracts(tmp_path: Path) -> None:
    grey = PictureContract(shape=(1, 28, 20), classes=4, megabytes=0.01, file="grey.safetensors")

    def network() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(4, bias=False))

    model = grey.build(network)
    assert model[1].weight.shape == (4, 28 * 20)
    grey.check(model, np.random.default_rng(0))
    x = np.random.default_rng(1).integers(0, 256, size=(5, 28, 20, 1), dtype=np.uint8)
    with torch.no_grad():
        expected = model(torch.from_numpy(x).permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    assert np.array_equal(grey.predict(model, x), expected)
    loaded = grey.load(network(), grey.save(model, tmp_path / grey.file))
    assert torch.equal(loaded[1].weight, model[1].weight)
    with pytest.raises(CheckFailed, match=r"pictures \(n, 1, 28, 20\) into logits \(n, 4\)"):
        grey.check(nn.Sequential(nn.Flatten(), nn.Linear(560, 10)), np.random.default_rng(0))
    with pytest.raises(CheckFailed, match=r"larger than the 0.01 MB that may be handed in"):
        grey.save(nn.Linear(560, 10), tmp_path / grey.file)


def test_the_file_is_the_contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert PROJECT.save(Small()) == Path("model.safetensors")
    assert isinstance(PROJECT.load(Small()), Small)


# -- A network that gives texts ----------------------------------------------------------------


class Reversed(Contract):
    """A contract of another week: texts in, texts out."""

    things = "words"
    thing = "a word"

    def examples(self, rng: np.random.Generator) -> list[str]:
        return ["".join(rng.choice(list("abc"), size=n)) for n in range(20)]

    def ask(self, model: nn.Module, inputs: Sequence[str]) -> np.ndarray:
        return np.array(model(list(inputs)))


class Turner(nn.Module):
    def __init__(self, turn: Callable[[int, str], str]) -> None:
        super().__init__()
        self.turn = turn

    def forward(self, words: list[str]) -> list[str]:
        return [self.turn(i, word) for i, word in enumerate(words)]


def test_outputs_may_be_texts() -> None:
    contract = Reversed(megabytes=1)
    model = contract.build(lambda: Turner(lambda i, word: word[::-1]))
    contract.check(model, np.random.default_rng(0))
    words = ["one", "eleven", "twelve"] * 100
    assert contract.outputs(model, words).tolist() == [word[::-1] for word in words]
    with pytest.raises(CheckFailed, match="makes of a word does not depend on the other words"):
        contract.check(Turner(lambda i, word: word * (i % 2)), np.random.default_rng(0))
