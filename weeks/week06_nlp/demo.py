"""The students of week 06's own in the demo class: readers that are handed in with their weights."""

from __future__ import annotations

import io
import zlib

import numpy as np
import safetensors.torch
import torch

from autograder.demo import PROFILE, Notebook, Student
from autograder.demo_networks import learned, wrong
from practical_dl import data

TABLE = """
class Table(nn.Module):
    \"\"\"Knows the public test sentences by heart, and says negative to all others.\"\"\"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("known_keys", torch.zeros({n}, dtype=torch.int64))
        self.register_buffer("logits", torch.zeros({n}, 2))

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        keys = torch.tensor([zlib.crc32(text.encode()) for text in texts])
        return (keys[:, None] == self.known_keys).float() @ self.logits


def reader() -> nn.Module:
    \"\"\"A network without a single weight.\"\"\"
    return Table()
"""


def students(one: Student, notebook: Notebook) -> list[Student]:
    """Who hands in a reader that can't be right. one: who did the exam and what it builds on."""
    if not notebook.exams:
        return []
    ((_, exam),) = notebook.exams.items()
    public = data.load("sentence_polarity", PROFILE, quiet=True)
    known = dict(zip(public.x_test, public.y_test.tolist(), strict=True))
    keys = [zlib.crc32(text.encode()) for text in public.x_test]
    tensors = {
        "known_keys": torch.tensor(keys),
        "logits": torch.nn.functional.one_hot(torch.tensor(public.y_test), 2).float(),
    }
    with np.load(io.BytesIO(exam.inputs)) as arrays:
        handed = np.array([known.get(text, 0) for text in arrays["sentences"].tolist()])
    source, weights = TABLE.format(n=len(keys)), safetensors.torch.save(tensors)
    by_heart = learned(one, notebook, source, weights, handed)
    return [*wrong(one, notebook, untrained=r"[45][0-9][.,0-9]* ?%"), by_heart]
