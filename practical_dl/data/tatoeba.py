"""Pairs of English and Russian sentences that mean the same, written by the people of Tatoeba."""

from __future__ import annotations

import re
from pathlib import Path

from practical_dl.data import Card, Dataset, File, Repository, cache, register

# Of the English sentences the first share is for training, up to the second for looking at what
# was learned; the pairs of the rest, `_WITHHELD`, are for exams.
_TRAIN, _VALIDATION, _WITHHELD = 0.90, 0.95, 914
_FOLDER = "datasets/helsinki_nlp/tatoeba/testsets/eng-rus"


def _share(text: str) -> float:
    """A number in [0, 1) that only the text decides."""
    return int(cache.sha256(text.encode())[:8], 16) / 2**32


def _read(paths: list[Path]) -> Dataset:
    """The pairs in an order by chance, split by their English sentences.

    The split is made here and not by the files: it is the same whatever they were built from.
    """
    lines = {
        line for path in paths for line in path.read_text(encoding="utf-8").split("\n") if line
    }
    pairs = [tuple(line.split("\t")) for line in sorted(lines, key=_share)]
    train = [pair for pair in pairs if _share(pair[0]) < _TRAIN]
    test = [pair for pair in pairs if _TRAIN <= _share(pair[0]) < _VALIDATION]
    test += [pair for pair in pairs if _share(pair[0]) >= _VALIDATION]
    x_train, y_train = zip(*train, strict=True)
    x_test, y_test = zip(*test, strict=True)
    return Dataset(x_train, y_train, x_test, y_test)


def _build(files: dict[str, bytes]) -> list[bytes]:
    """The pairs of all the released test sets, none twice, sorted: all of them in the first file.

    A test set has two files of equally many lines, `NAME.eng` and `NAME.rus`.
    """
    pairs = set()
    for path in files:
        if re.fullmatch(rf"{_FOLDER}/tatoeba-test-v[0-9-]+\.eng", path):
            sides = (path, path.removesuffix("eng") + "rus")
            lines = (files[side].decode().rstrip("\n").split("\n") for side in sides)
            pairs.update(zip(*lines, strict=True))
    text = "".join(f"{english}\t{russian}\n" for english, russian in sorted(pairs))
    return [text.encode(), b"", b""]


_EMPTY = cache.sha256(b"")
_FILES = (
    File(
        "mt_en_ru/train.tsv",
        "7d6aa67929a1c6f23907924c2eba3ce8c2e2dbc5f4a36da6c497618c384fc427",
        1_612_298,
        built="39f421641ca0e45c0835c2cce9f7dd433bde12272ac65ae2ee40f466b0b664ef",
    ),
    File(
        "mt_en_ru/val.tsv",
        "0031b1781e2200dc24a849555ae768273956e173e453a8566d35738d10ddc518",
        87_919,
        built=_EMPTY,
    ),
    File(
        "mt_en_ru/test.tsv",
        "84ad5606fe24c6ad4c40f5442bc0d9ef34e0f876b58bf36b4d7f874d70897bbe",
        92_037,
        built=_EMPTY,
    ),
)
CARD = Card(
    title="Tatoeba, English and Russian (J. Tiedemann's Translation Challenge, 2020)",
    licence="CC BY 2.0 FR (tatoeba.org and its contributors)",
    source="{cache}/mt_en_ru",
    read=_read,
    files=_FILES,
    repository=Repository(
        "Helsinki-NLP/OPUS-MT-testsets", "ac0f19c0be3cb4e0d9450fcb2d7a9847c4bdd180", _build
    ),
    withhold=_WITHHELD,
)
register("tatoeba", small=CARD, full=CARD)
