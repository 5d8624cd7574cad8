"""Russian sentences that linguists call acceptable or not (RuCoLA)."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from practical_dl.data import Card, Dataset, File, Repository, register

CLASSES = ("unacceptable", "acceptable")
_PARTS = ("in_domain_train", "in_domain_dev", "out_of_domain_dev")


def _read(paths: list[Path]) -> Dataset:
    parts = []
    for path in paths[:2]:  # the third, out of domain, comes from neural networks
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        parts.append(tuple(row["sentence"] for row in rows))
        parts.append(np.array([int(row["acceptable"]) for row in rows]))
    return Dataset(*parts, classes=CLASSES)


def _build(files: dict[str, bytes]) -> list[bytes]:
    """The official files, unchanged."""
    return [files[f"data/{part}.csv"] for part in _PARTS]


def _file(part: str, sha256: str, size: int) -> File:
    return File(f"text_ru/rucola/{part}.csv", sha256, size, built=sha256)


_REPOSITORY = Repository("RussianNLP/RuCoLA", "d86f3dc9bca7365e057fb66bc871ff8b066cae8e", _build)
CARD = Card(
    title="RuCoLA, the sentences of linguists",
    licence="Apache 2.0 for the labels; the sentences stay with their authors",
    source="official training and development files, in {cache}/text_ru/rucola",
    read=_read,
    files=(
        _file(
            _PARTS[0], "2924460fc2c3de36b424838719de24438c91ba21e289a7d510787f4a8e9a3715", 978_877
        ),
        _file(
            _PARTS[1], "463df4b0cc0f3af340311f4569dcf18bc1695cd12355a5d579ac117a59390a98", 118_846
        ),
        _file(
            _PARTS[2], "d2059ce8fc973351d0cc69c6a141a8cdeab4cd0ad622f16da7b084dc91cabb24", 301_152
        ),
    ),
    repository=_REPOSITORY,
)
register("rucola", small=CARD, full=CARD)
