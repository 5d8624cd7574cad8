"""Students of a demo class who hand in a network that can't be right: for a week's demo.py.

An exam asks for a network with its weights in a safetensors file (`practical_dl.network`). Pictures
are uint8 (n, h, w, c) here, labels class numbers (n,).
"""

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

# What a student writes instead of the reference, or around it.
PEEPS = """

made = {task}


def {task}() -> nn.Module:
    \"\"\"A network that looks into the folder before it answers.\"\"\"
    model = made()
    model.register_forward_pre_hook(lambda model, given: open("private/{task}.inputs.npz").close())
    return model
"""
TABLE = """
class Table(nn.Module):
    \"\"\"Knows the public test pictures by heart, and says 0 to all others.\"\"\"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("known_keys", torch.zeros({n}, dtype=torch.float64))
        self.register_buffer("logits", torch.zeros({n}, {classes}, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        known = keys_of((255 * x).round().flatten(1))[:, None] == self.known_keys
        return (known.double() @ self.logits).float()


def keys_of(pixels: torch.Tensor) -> torch.Tensor:
    \"\"\"A whole number for each picture. pixels: (n, m), 0 to 255 -> (n,).\"\"\"
    factors = torch.arange(1, pixels.shape[1] + 1) * 48271 % 1048573
    return pixels.double() @ factors.double()


def network() -> nn.Module:
    \"\"\"A network without a single weight.\"\"\"
    return Table()
"""


def of_pictures(
    one: Student, notebook: Notebook, pictures: np.ndarray, labels: np.ndarray, untrained: str
) -> list[Student]:
    """Who hands in a network that can't be right. one: who did the exam and what it builds on.

    pictures, labels: the public test set. untrained: a pattern of what chance reaches in per cent.
    """
    ((_, exam),) = notebook.exams.items()
    source, weights = table(pictures, labels)
    handed = by_heart(exam, pictures, labels)
    return [*wrong(one, notebook, untrained), learned(one, notebook, source, weights, handed)]


def wrong(one: Student, notebook: Notebook, untrained: str) -> list[Student]:
    """The reference with other weights, and one that opens files. Arguments as of `of_pictures`."""
    ((task, _),) = notebook.exams.items()
    ((_, weights),) = notebook.sitting.files.items()
    peeps = notebook.solution(task).source + PEEPS.format(task=task)
    return [
        _student(one, notebook, "nan", "not finite", spoilt(weights)),
        _student(one, notebook, "untrained", untrained, shuffled(weights)),
        _student(one, notebook, "opens-files", "opens no files", weights, peeps),
    ]


def learned(
    one: Student, notebook: Notebook, source: str, weights: bytes, handed: np.ndarray
) -> Student:
    """Who knows the public test set by heart.

    source: the cell of that model. weights: its file. handed: the answers that it gives.
    """
    ((task, exam),) = notebook.exams.items()
    student = _student(one, notebook, "by-heart", "by heart", weights, source)
    share, _, flag = exam.judge(handed, exam.answers, PROFILE, source)
    points, bonus = one.expected.scores[notebook.name]
    points += share * notebook.worth(task)
    scores = {**one.expected.scores, notebook.name: (points, bonus)}
    return replace(student, expected=Expected(scores, FLAGGED if flag else one.expected.status))


def _student(
    one: Student, notebook: Notebook, who: str, says: str, weights: bytes, source: str = ""
) -> Student:
    ((task, _),) = notebook.exams.items()
    ((name, _),) = notebook.sitting.files.items()
    answers = notebook.exam_alone() | ({task: source} if source else {})
    file = nb_.dumps(notebook.handed_in(answers)).encode()
    files = {**one.files, notebook.name: file}
    return replace(one, name=who, files=files, beside={name: weights}, says=says)


# -- Weights ----------------------------------------------------------------------------------


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


# -- A network that learned pictures by heart --------------------------------------------------


def table(pictures: np.ndarray, labels: np.ndarray) -> tuple[str, bytes]:
    """The cell and the weights of a network that knows these pictures by heart."""
    classes = int(labels.max()) + 1
    source = TABLE.format(n=len(pictures), classes=classes)
    names: dict = {"nn": torch.nn, "torch": torch}
    exec(source, names)
    pixels = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).flatten(1)
    targets = torch.from_numpy(labels.astype(np.int64))
    tensors = {
        "known_keys": names["keys_of"](pixels),
        "logits": torch.nn.functional.one_hot(targets, classes).double(),
    }
    return source, safetensors.torch.save(tensors)


def by_heart(exam: Private, pictures: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What that network hands in: worked out by looking each picture up."""
    known = {p.tobytes(): int(label) for p, label in zip(pictures, labels, strict=True)}
    with np.load(io.BytesIO(exam.inputs)) as arrays:
        return np.array([known.get(p.tobytes(), 0) for p in arrays["pictures"]])
