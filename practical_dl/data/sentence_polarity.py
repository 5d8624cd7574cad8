"""Sentences of film reviews, for or against the film: short texts in English."""

from __future__ import annotations

import random
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from practical_dl.data import Card, Dataset, File, _nltk, register

CLASSES = ("negative", "positive")
TEST, WITHHELD = 2_500, 1_500


def _read(paths: list[Path]) -> Dataset:
    labels: dict[str, int] = {}
    twice = set()
    with zipfile.ZipFile(paths[0]) as archive:
        for label, part in enumerate(("neg", "pos")):
            text = archive.read(f"sentence_polarity/rt-polarity.{part}").decode("latin-1")
            for line in text.split("\n"):
                sentence = " ".join(line.split())
                if labels.setdefault(sentence, label) != label:
                    twice.add(sentence)  # both for and against: it says nothing
    examples = sorted(pair for pair in labels.items() if pair[0] and pair[0] not in twice)
    random.Random(0).shuffle(examples)
    x, labels_of = zip(*examples, strict=True)
    y = np.array(labels_of)
    return Dataset(x[:-TEST], y[:-TEST], x[-TEST:], y[-TEST:], CLASSES)


_FILE = File(
    "text_en/sentence_polarity.zip",
    "6e1ed4405b65c7eabf1d199a7f7c437091ac21da0ea7467b410a74062574566b",
    490_256,
)
CARD = Card(
    title="Sentence polarity, version 1.0",
    licence="CC BY 4.0 (B. Pang, L. Lee, 2005)",
    source="NLTK's copy, in {cache}/text_en/sentence_polarity.zip",
    read=_read,
    files=(_FILE,),
    get=partial(_nltk.get, "sentence_polarity", _FILE),
    withhold=WITHHELD,
)
register("sentence_polarity", small=CARD, full=CARD)
