"""The students of week 08's own in the demo class: translators that are handed in with weights."""

from __future__ import annotations

import io
import zlib

import numpy as np
import safetensors.torch
import torch

from autograder.demo import PROFILE, Notebook, Student
from autograder.demo_networks import learned, wrong
from practical_dl import data
from practical_dl.weeks import week08

TABLE = """
import zlib


class Table(nn.Module):
    \"\"\"Knows the public validation sentences by heart, and is silent about all others.\"\"\"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("known_keys", torch.zeros({n}, dtype=torch.int64))
        self.register_buffer("codes", torch.zeros({n}, {letters}, dtype=torch.int32))

    def forward(self, texts: Sequence[str]) -> list[str]:
        known = {{int(key): i for i, key in enumerate(self.known_keys)}}
        rows = [known.get(zlib.crc32(text.encode())) for text in texts]
        return [
            "" if row is None else "".join(chr(c) for c in self.codes[row].tolist() if c)
            for row in rows
        ]


def translator() -> nn.Module:
    \"\"\"A network without a single weight.\"\"\"
    return Table()
"""


def students(one: Student, notebook: Notebook) -> list[Student]:
    """Who hands in a translator that can't be right. one: who did the exam and what it builds on."""
    if not notebook.exams:
        return []
    ((_, exam),) = notebook.exams.items()
    public = data.load("tatoeba", PROFILE, quiet=True)
    known = dict(zip(public.x_test, public.y_test, strict=True))
    codes = week08.as_codes(list(known.values()))
    tensors = {
        "known_keys": torch.tensor([zlib.crc32(text.encode()) for text in known]),
        "codes": torch.from_numpy(codes),
    }
    with np.load(io.BytesIO(exam.inputs)) as arrays:
        asked = arrays["sentences"].tolist()
    handed = week08.as_codes([known.get(text, "") for text in asked])
    source = TABLE.format(n=len(known), letters=week08.LETTERS)
    by_heart = learned(one, notebook, source, safetensors.torch.save(tensors), handed)
    return [*wrong(one, notebook, untrained=r"-?[0-9][.][0-9] above the"), by_heart]
