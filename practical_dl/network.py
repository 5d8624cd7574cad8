"""A network that is handed in with its weights: the file, and what the network must keep to.

Its weights lie in one safetensors file: numbers and names, nothing that runs when it is opened.
A week says what its network is given and gives, pictures and logits for example:

    PROJECT = PictureContract(shape=(3, 32, 32), classes=10)

What does not fit raises `practical_dl.check.CheckFailed` with a sentence that says what and why.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from practical_dl.check import CheckFailed

if TYPE_CHECKING:  # torch is slow to import, and who reads a week's scale does not need it
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Contract(ABC):
    """What a network of a week must keep to. A subclass says what it is given and what it gives.

    megabytes: the largest weights file (30: 7.5 million numbers in float32). file: its name.
    """

    things: ClassVar[str] = "inputs"  # what a network is given, as messages say it
    thing: ClassVar[str] = "an input"

    megabytes: float = 30
    file: str = "model.safetensors"

    @abstractmethod
    def examples(self, rng: np.random.Generator) -> Sequence[Any]:
        """Inputs by chance on which `check` tries a network: 20 or more, neighbours differ."""

    @abstractmethod
    def ask(self, model: nn.Module, inputs: Sequence[Any]) -> np.ndarray:
        """What a network makes of a batch of n inputs, an array (n, ...): numbers or texts.

        Called without gradients. Raises CheckFailed where the network makes something else.
        """

    # -- The weights file ----------------------------------------------------------------------

    def save(self, model: nn.Module, path: str | Path | None = None, *, half: bool = False) -> Path:
        """Write the weights of a network. half: matrices and filters as float16, half the size.

        path: `file` if there is none. Raises CheckFailed where the file is larger than may be
        handed in; then nothing is written.
        """
        import safetensors.torch
        import torch

        path = Path(path or self.file)
        tensors = {}
        for name, value in model.state_dict().items():
            small = half and value.is_floating_point() and value.ndim > 1
            # A tensor that two layers share is written twice: the format knows no sharing.
            tensors[name] = value.detach().to("cpu", torch.float16 if small else None).clone()
        content = safetensors.torch.save({name: t.contiguous() for name, t in tensors.items()})
        self._check_size(path.name, len(content), "Save it with half=True, or make it smaller")
        path.write_bytes(content)
        return path

    def load(self, model: nn.Module, path: str | Path | None = None) -> nn.Module:
        """Put the weights of a file into a network and return it, on the CPU, in eval mode.

        path: `file` if there is none. Raises CheckFailed: no such file, too large, not safetensors
        (nothing else is ever opened), other names or shapes than the network's, numbers that are
        not finite.
        """
        import safetensors.torch

        path = Path(path or self.file)
        if not path.is_file():
            raise CheckFailed(f"{path.name} is not there: run the training cell, which saves it")
        self._check_size(path.name, path.stat().st_size, "Make the network smaller")
        content = path.read_bytes()
        # A safetensors file begins with a length in eight bytes; the first may be 0x80, too.
        is_pickle = content[:1] == b"\x80" and content[8:9] != b"{"
        if is_pickle or content[:4] == b"PK\x03\x04":
            raise CheckFailed(
                f"{path.name} is a pickle file, as torch.save writes it. Opening one can run any "
                "code, so it is not opened: save the weights as the training cell does"
            )
        try:
            tensors = safetensors.torch.load(content)
        except (safetensors.SafetensorError, ValueError, KeyError, AttributeError):
            raise CheckFailed(
                f"{path.name} is no safetensors file, or a damaged one: save the weights as the "
                "training cell does"
            ) from None
        model = self._complete(model).cpu()
        wanted = model.state_dict()
        _check_names(path.name, set(tensors), set(wanted))
        for name in wanted:  # in the network's order: a file has any
            value = tensors[name]
            if value.shape != wanted[name].shape:
                raise CheckFailed(
                    f"{path.name} does not fit your network: {name} has another shape. Was "
                    "network() changed after the training? Then train again",
                    f"in the file {tuple(value.shape)}, in the network {tuple(wanted[name].shape)}",
                )
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise CheckFailed(
                    f"{path.name}: {name} holds numbers that are not finite (NaN or infinity): the "
                    "training has diverged. Try a smaller learning rate"
                )
        model.load_state_dict(tensors)
        return model.eval()

    def _check_size(self, name: str, size: int, cure: str) -> None:
        if size > self.megabytes * 1e6:
            raise CheckFailed(
                f"{name} is larger than the {self.megabytes:g} MB that may be handed in. {cure}",
                f"it has {size / 1e6:.1f} MB",
            )

    # -- The network ---------------------------------------------------------------------------

    def build(self, network: Callable[[], nn.Module]) -> nn.Module:
        """Call network() and return what it gives, on the CPU, in eval mode.

        Raises CheckFailed where that is no nn.Module.
        """
        from torch import nn

        model = network()
        if not isinstance(model, nn.Module):
            raise CheckFailed(
                "network() returns an nn.Module, the network itself",
                f"got a {type(model).__name__}",
            )
        return self._complete(model).cpu().eval()

    def differ(self, found: np.ndarray, wanted: np.ndarray, made: np.ndarray) -> bool:
        """Whether two outputs of the same inputs are not the same. made: all outputs.

        Numbers may differ by a hundredth of the spread: rounding in another order, or in bfloat16,
        stays below it.
        """
        if made.dtype.kind != "f" or made.size == 0:
            return not np.array_equal(found, wanted)
        return bool(np.abs(found - wanted).max() > 0.01 * float(np.ptp(made)) + 1e-6)

    def check(self, model: nn.Module, rng: np.random.Generator) -> None:
        """A network keeps the contract on inputs by chance. Raises CheckFailed."""
        self.outputs(model, self.examples(rng))

    def outputs(self, model: nn.Module, inputs: Sequence[Any]) -> np.ndarray:
        """What a network in eval mode makes of n inputs, an array (n, ...).

        Raises CheckFailed where it breaks the contract meanwhile: an input gives the same each
        time, alone or in company, in whatever place; the network stays as it was; no file is
        opened.
        """
        import torch

        model = model.eval()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        some = np.random.default_rng(len(inputs)).permutation(len(inputs))[:12].tolist()
        company = [inputs[i] for i in some]
        with torch.no_grad(), _no_files():
            starts = range(0, len(inputs), 250)
            made = np.concatenate([self.ask(model, inputs[i : i + 250]) for i in starts])
            again = self.ask(model, company)
            alone = np.concatenate([self.ask(model, [one]) for one in company])
            twice = self.ask(model, company)
        if self.differ(again, twice, made):
            raise CheckFailed(
                f"the network is deterministic: the same {self.things} give the same each time",
                "is there dropout that ignores eval mode, other randomness, or a counter of calls?",
            )
        if self.differ(again, made[some], made) or self.differ(alone, again, made):
            raise CheckFailed(
                f"what the network makes of {self.thing} does not depend on the other "
                f"{self.things} of the batch, nor on its place among them",
                "is there a batch norm that ignores eval mode, a mean over the batch, or padding "
                "that counts?",
            )
        after = model.state_dict()
        changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
        if changed:
            raise CheckFailed(
                "using the network leaves it as it was",
                f"these changed: {', '.join(changed[:4])}",
            )
        return made

    def _complete(self, model: nn.Module) -> nn.Module:
        """Give lazy layers their shapes, which one look at an input tells."""
        import torch

        values = [*model.parameters(), *model.buffers()]
        if any(map(torch.nn.parameter.is_lazy, values)):
            with torch.no_grad():
                self.ask(model.cpu().eval(), self.examples(np.random.default_rng(0))[:1])
        return model


# -- Networks that classify --------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Classifier(Contract):
    """A network that gives k = `classes` logits for each input."""

    classes: int

    def predict(self, model: nn.Module, inputs: Sequence[Any]) -> np.ndarray:
        """The class numbers (n,) that a network gives to n inputs. Raises CheckFailed."""
        return self.outputs(model, inputs).argmax(axis=1)

    def accuracy(self, model: nn.Module, inputs: Sequence[Any], labels: np.ndarray) -> float:
        """The share of inputs that a network gives their class. Raises CheckFailed."""
        return float(np.mean(self.predict(model, inputs) == labels))

    def _logits(self, logits: Any, n: int, given: str) -> np.ndarray:
        """What a network gave, if it is logits (n, k). given: to what, in words."""
        import torch

        if not isinstance(logits, torch.Tensor) or logits.shape != (n, self.classes):
            tensor = isinstance(logits, torch.Tensor)
            got = tuple(logits.shape) if tensor else type(logits).__name__
            raise CheckFailed(
                f"the network turns {given} into logits (n, {self.classes})",
                f"of {n} {self.things} it made {got}",
            )
        if not bool(logits.isfinite().all()):
            raise CheckFailed("the logits are finite: there is a NaN or an infinity among them")
        return logits.float().numpy()


@dataclass(frozen=True, kw_only=True)
class PictureContract(_Classifier):
    """A network that turns pictures, float32 in [0, 1], (n, c, h, w) into logits (n, k).

    shape: of a picture, channels first: (c, h, w). Inputs are uint8 (n, h, w, c).
    """

    things = "pictures"
    thing = "a picture"

    shape: tuple[int, int, int]

    def examples(self, rng: np.random.Generator) -> np.ndarray:
        """24 pictures (24, h, w, c) of noise, of which twelve are dark."""
        channels, *size = self.shape
        pictures = rng.integers(0, 256, size=(24, *size, channels), dtype=np.uint8)
        pictures[::2] //= 8
        return pictures

    def ask(self, model: nn.Module, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """The logits (n, k) of a batch. Raises CheckFailed."""
        import torch

        x = torch.from_numpy(np.stack(list(inputs))).permute(0, 3, 1, 2).float() / 255
        given, shape = x.clone(), ", ".join(map(str, self.shape))
        logits = self._logits(model(given), len(x), f"pictures (n, {shape})")
        if not torch.equal(given, x):
            raise CheckFailed("the network leaves the pictures that it is given as they were")
        return logits


@dataclass(frozen=True, kw_only=True)
class TextContract(_Classifier):
    """A network that turns a list of n texts of any kind into logits (n, k)."""

    things = "texts"
    thing = "a text"

    def examples(self, rng: np.random.Generator) -> list[str]:
        """Sentences by chance, and texts of which few people think."""
        words = ["good", "bad", "film", "plot", "dull", "не", "очень", "well-made", ","]
        texts = [" ".join(rng.choice(words, size=rng.integers(1, 30))) for _ in range(20)]
        return [*texts, *_HARD]

    def ask(self, model: nn.Module, inputs: Sequence[str]) -> np.ndarray:
        """The logits (n, k) of a batch. Raises CheckFailed."""
        texts = list(map(str, inputs))  # of an array of texts, too
        return self._logits(model(texts), len(texts), "a list of n texts")


_HARD = ("", "?!", "слово из другого языка", "👍🏽", "e\u0301", "word " * 200, "Unheardofword")


def _check_names(file: str, found: set[str], wanted: set[str]) -> None:
    if found != wanted:
        parts = [
            f"{what}: {', '.join(sorted(names)[:4])}{', …' if len(names) > 4 else ''}"
            for what, names in [
                ("the file lacks", wanted - found),
                ("the network lacks", found - wanted),
            ]
            if names
        ]
        raise CheckFailed(
            f"{file} does not fit your network: it holds other parameters. Was network() changed "
            "after the training? Then train again",
            "\n".join(parts),
        )


# -- No files while it is used -----------------------------------------------------------------

_opened: list[str] | None = None  # the files opened, while somebody wants to know
_hooked = False
_PYTHON = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib")]


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None and not isinstance(arguments[0], int):
        _opened.append(os.fsdecode(arguments[0]))


@contextmanager
def _no_files() -> Iterator[None]:
    """Inside, no file is opened but those of Python and its packages, which load parts on demand.

    It sees what Python opens; what a library's own C++ code opens it can't see.
    """
    global _opened, _hooked
    if not _hooked:
        sys.addaudithook(_hook)  # for good: Python has no way to take one off
        _hooked = True
    _opened = []
    try:
        yield
        opened = {Path(name).name for name in _opened if not _is_python(name)}
    finally:
        _opened = None
    if opened:
        raise CheckFailed(
            "the network opens no files when it is used: all that it knows is in its weights",
            f"it opened {', '.join(sorted(opened)[:3])}",
        )


def _is_python(name: str) -> bool:
    path = Path(name).resolve()
    return name == os.devnull or any(path.is_relative_to(folder) for folder in _PYTHON)
