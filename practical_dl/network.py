"""A network that is handed in with its weights: the file, and what the network must keep to.

A network takes pictures, float32 in [0, 1], and gives logits. Its weights lie in one safetensors
file: numbers and names, nothing that runs when it is opened. A week says what its pictures are:

    PROJECT = Contract(shape=(3, 32, 32), classes=10)

What does not fit raises `practical_dl.check.CheckFailed` with a sentence that says what and why.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from practical_dl.check import CheckFailed

if TYPE_CHECKING:  # torch is slow to import, and who reads a week's scale does not need it
    import torch
    from torch import nn


@dataclass(frozen=True)
class Contract:
    """What a network of a week must keep to.

    shape: of a picture, channels first: (c, h, w). classes: the number k of logits. megabytes: the
    largest weights file (30: 7.5 million numbers in float32). file: its name.
    """

    shape: tuple[int, int, int]
    classes: int
    megabytes: float = 30
    file: str = "model.safetensors"

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

    def check(self, model: nn.Module, rng: np.random.Generator) -> None:
        """A network keeps the contract on random pictures.

        Logits (n, k), finite; the same picture gets the same logits each time, alone or in
        company, in whatever place; no file is opened. Raises CheckFailed.
        """
        channels, *size = self.shape
        pictures = rng.integers(0, 256, size=(24, *size, channels), dtype=np.uint8)
        pictures[:12] //= 8  # dark ones beside bright ones: neighbours that differ
        self._logits_of(model.eval(), pictures, rng)

    def predict(self, model: nn.Module, pictures: np.ndarray) -> np.ndarray:
        """The classes that a network gives to pictures, which must keep its contract meanwhile.

        pictures: uint8 (n, h, w, c) -> (n,) class numbers. Raises CheckFailed.
        """
        rng = np.random.default_rng(len(pictures))
        return self._logits_of(model.eval(), pictures, rng).argmax(axis=1)

    def accuracy(self, model: nn.Module, pictures: np.ndarray, labels: np.ndarray) -> float:
        """The share of pictures that a network gives their class. pictures: as for `predict`."""
        return float(np.mean(self.predict(model, pictures) == labels))

    def _logits_of(
        self, model: nn.Module, pictures: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """The logits (n, k) of pictures, looked at in batches, then some again in other company."""
        import torch

        x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
        before = {name: value.clone() for name, value in model.state_dict().items()}
        some = torch.from_numpy(rng.permutation(len(x))[:12])
        with torch.no_grad(), _no_files():
            logits = torch.cat([self._logits(model, batch) for batch in x.split(250)])
            again = self._logits(model, x[some])
            alone = torch.cat([self._logits(model, x[i : i + 1]) for i in some.tolist()])
            twice = self._logits(model, x[some])
        # A hundredth of the spread: rounding in another order, or in bfloat16, stays below it.
        tolerance = 0.01 * float(logits.max() - logits.min()) + 1e-6
        if (again - twice).abs().max() > tolerance:
            raise CheckFailed(
                "the network is deterministic: the same pictures get the same logits each time",
                "is there dropout that ignores eval mode, other randomness, or a counter of calls?",
            )
        if max((again - logits[some]).abs().max(), (alone - again).abs().max()) > tolerance:
            raise CheckFailed(
                "the logits of a picture do not depend on the other pictures of the batch, nor on "
                "its place among them",
                "is there a batch norm that ignores eval mode, or a mean over the batch?",
            )
        after = model.state_dict()
        changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
        if changed:
            raise CheckFailed(
                "classifying leaves the network as it was",
                f"these changed: {', '.join(changed[:4])}",
            )
        return logits.numpy()

    def _logits(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        import torch

        given = x.clone()
        logits = model(given)
        if not isinstance(logits, torch.Tensor) or logits.shape != (len(x), self.classes):
            tensor = isinstance(logits, torch.Tensor)
            got = tuple(logits.shape) if tensor else type(logits).__name__
            shape = ", ".join(map(str, self.shape))
            raise CheckFailed(
                f"the network turns pictures (n, {shape}) into logits (n, {self.classes})",
                f"of {len(x)} pictures it made {got}",
            )
        if not torch.equal(given, x):
            raise CheckFailed("the network leaves the pictures that it is given as they were")
        if not bool(logits.isfinite().all()):
            raise CheckFailed("the logits are finite: there is a NaN or an infinity among them")
        return logits.float()

    def _complete(self, model: nn.Module) -> nn.Module:
        """Give lazy layers their shapes, which one look at a picture tells."""
        import torch

        values = [*model.parameters(), *model.buffers()]
        if any(map(torch.nn.parameter.is_lazy, values)):
            with torch.no_grad():
                model.cpu().eval()(torch.zeros(1, *self.shape))
        return model


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


# -- No files while it classifies --------------------------------------------------------------

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
            "the network opens no files while it classifies: all that it knows is in its weights",
            f"it opened {', '.join(sorted(opened)[:3])}",
        )


def _is_python(name: str) -> bool:
    path = Path(name).resolve()
    return name == os.devnull or any(path.is_relative_to(folder) for folder in _PYTHON)
