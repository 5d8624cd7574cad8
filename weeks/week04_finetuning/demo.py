"""The students of week 04's own in the demo class: networks that are handed in with their weights."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import safetensors.torch
import torch

from autograder import notebook as nb_
from autograder.demo import PROFILE, Expected, Notebook, Student
from autograder.exams import Private
from autograder.results import FLAGGED
from practical_dl import data

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
        self.register_buffer("known_keys", torch.zeros({n}, dtype=torch.float64))
        self.register_buffer("logits", torch.zeros({n}, 5, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        known = keys_of((255 * x).round().flatten(1))[:, None] == self.known_keys
        return (known.double() @ self.logits).float()


def keys_of(pixels: torch.Tensor) -> torch.Tensor:
    \"\"\"A whole number for each picture. pixels: (n, 49152), 0 to 255 -> (n,).\"\"\"
    factors = torch.arange(1, 49153) * 48271 % 1048573
    return pixels.double() @ factors.double()


def network() -> nn.Module:
    \"\"\"A network without a single weight.\"\"\"
    return Table()
"""


def students(one: Student, notebook: Notebook) -> list[Student]:
    """Who hands in a network that can't be right. one: who did nothing but the exam."""
    if not notebook.exams:
        return []
    ((task, exam),) = notebook.exams.items()
    ((name, weights),) = notebook.sitting.files.items()
    flowers = data.load("flowers5", PROFILE, quiet=True)
    source, table_weights = table(flowers.x_test, flowers.y_test)
    handed = by_heart(exam, flowers.x_test, flowers.y_test)
    share, _, flag = exam.judge(handed, exam.answers, PROFILE, source)

    def student(who: str, says: str, weights: bytes, source: str = "") -> Student:
        answers = notebook.exam_alone() | ({task: source} if source else {})
        file = nb_.dumps(notebook.handed_in(answers)).encode()
        files = {**one.files, notebook.name: file}
        return replace(one, name=who, files=files, beside={name: weights}, says=says)

    peeps = notebook.solution(task).source + PEEPS
    learned = student("by-heart", "by heart", table_weights, source)
    points, bonus = one.expected.scores[notebook.name]
    points += share * notebook.worth(task)
    scores = {**one.expected.scores, notebook.name: (points, bonus)}
    expected = Expected(scores, FLAGGED if flag else one.expected.status)
    return [
        student("nan", "not finite", spoilt(weights)),
        student("untrained", "[1-4]?[0-9][.,0-9]* ?%", shuffled(weights)),
        student("opens-files", "opens no files", weights, peeps),
        replace(learned, expected=expected),
    ]


def spoilt(weights: bytes) -> bytes:
    """A weights file with a NaN in it, as a training that diverged leaves it."""
    return _changed(weights, lambda tensor: tensor / 0 * 0)


def shuffled(weights: bytes) -> bytes:
    """The same numbers in other places: as good as a network that was not trained."""
    random = torch.Generator().manual_seed(0)

    def shuffle(tensor: torch.Tensor) -> torch.Tensor:
        order = torch.randperm(tensor.numel(), generator=random)
        return tensor.flatten()[order].reshape(tensor.shape)

    return _changed(weights, shuffle)


def _changed(weights: bytes, change: Callable) -> bytes:
    """A weights file whose floating-point tensors were changed."""
    tensors = safetensors.torch.load(weights)
    return safetensors.torch.save(
        {name: change(t) if t.is_floating_point() else t for name, t in tensors.items()}
    )


def table(pictures: np.ndarray, labels: np.ndarray) -> tuple[str, bytes]:
    """The cell and the weights of a network that knows these pictures by heart.

    pictures: uint8 (n, 128, 128, 3), labels: (n,).
    """
    source = TABLE.format(n=len(pictures))
    names: dict = {"nn": torch.nn, "torch": torch}
    exec(source, names)
    pixels = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).flatten(1)
    logits = torch.nn.functional.one_hot(torch.from_numpy(labels.astype(np.int64)), 5).double()
    return source, safetensors.torch.save(
        {"known_keys": names["keys_of"](pixels), "logits": logits}
    )


def by_heart(exam: Private, pictures: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What that network hands in: worked out by looking each picture up."""
    known = {p.tobytes(): int(label) for p, label in zip(pictures, labels, strict=True)}
    with np.load(io.BytesIO(exam.inputs)) as arrays:
        return np.array([known.get(p.tobytes(), 0) for p in arrays["pictures"]])
