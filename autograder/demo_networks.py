"""The students of week 03's demo class: networks that are handed in with their weights."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np

from autograder.exams import Private

# What a student writes instead of the reference, or around it.
PEEPS = """

made = network


def network() -> nn.Module:
    \"\"\"A network that looks into the folder before it answers.\"\"\"
    model = made()
    model.register_forward_pre_hook(lambda model, given: open("private/network.inputs.npz").close())
    return model
"""
TABLE = """
class Table(nn.Module):
    \"\"\"Knows the public test pictures by heart, and says 0 to all others.\"\"\"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros({n}, dtype=torch.float64))
        self.register_buffer("logits", torch.zeros({n}, 10, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        known = keys_of((255 * x).round().flatten(1))[:, None] == self.keys
        return (known.double() @ self.logits).float()


def keys_of(pixels: torch.Tensor) -> torch.Tensor:
    \"\"\"A whole number for each picture. pixels: (n, 3072), 0 to 255 -> (n,).\"\"\"
    factors = torch.arange(1, 3073) * 48271 % 1048573
    return pixels.double() @ factors.double()


def network() -> nn.Module:
    \"\"\"A network without a single weight.\"\"\"
    return Table()
"""


def spoilt(weights: bytes) -> bytes:
    """A weights file with a NaN in it, as a training that diverged leaves it."""
    return _changed(weights, lambda tensor: tensor / 0 * 0)


def shuffled(weights: bytes) -> bytes:
    """The same numbers in other places: as good as a network that was not trained."""
    import torch

    random = torch.Generator().manual_seed(0)

    def shuffle(tensor: torch.Tensor) -> torch.Tensor:
        order = torch.randperm(tensor.numel(), generator=random)
        return tensor.flatten()[order].reshape(tensor.shape)

    return _changed(weights, shuffle)


def _changed(weights: bytes, change: Callable) -> bytes:
    """A weights file whose floating-point tensors were changed."""
    import safetensors.torch  # here, as torch: slow to import, and only this week needs them

    tensors = safetensors.torch.load(weights)
    return safetensors.torch.save(
        {name: change(t) if t.is_floating_point() else t for name, t in tensors.items()}
    )


def table(pictures: np.ndarray, labels: np.ndarray) -> tuple[str, bytes]:
    """The cell and the weights of a network that knows these pictures by heart.

    pictures: uint8 (n, 32, 32, 3), labels: (n,).
    """
    import safetensors.torch
    import torch

    source = TABLE.format(n=len(pictures))
    names: dict = {"nn": torch.nn, "torch": torch}
    exec(source, names)
    pixels = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).flatten(1)
    logits = torch.nn.functional.one_hot(torch.from_numpy(labels.astype(np.int64)), 10).double()
    return source, safetensors.torch.save({"keys": names["keys_of"](pixels), "logits": logits})


def by_heart(exam: Private, pictures: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What that network hands in: worked out by looking each picture up."""
    known = {p.tobytes(): int(label) for p, label in zip(pictures, labels, strict=True)}
    with np.load(io.BytesIO(exam.inputs)) as arrays:
        return np.array([known.get(p.tobytes(), 0) for p in arrays["pictures"]])
