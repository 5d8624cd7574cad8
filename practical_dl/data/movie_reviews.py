"""Whole film reviews, for or against the film: long texts in English."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from practical_dl.data import Card, Dataset, File, _nltk, register

CLASSES = ("negative", "positive")


def _read(paths: list[Path]) -> Dataset:
    parts: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    with zipfile.ZipFile(paths[0]) as archive:
        texts = [
            sorted(n for n in archive.namelist() if f"/{part}/" in n and n.endswith(".txt"))
            for part in ("neg", "pos")
        ]
        for number, names in enumerate(zip(*texts, strict=True)):  # classes by turns
            chosen = parts["train" if number % 5 else "test"]
            for label, name in enumerate(names):
                chosen.append((" ".join(archive.read(name).decode().split()), label))
    (x_train, y_train), (x_test, y_test) = (zip(*parts[p], strict=True) for p in ("train", "test"))
    return Dataset(x_train, np.array(y_train), x_test, np.array(y_test), CLASSES)


_FILE = File(
    "text_en/movie_reviews.zip",
    "a41211ae685019137410268134db6a1a14428c89b671eb83056151a878539008",
    4_004_848,
)
CARD = Card(
    title="Movie reviews, version 2.0",
    licence="CC BY 4.0 (B. Pang, L. Lee, 2004)",
    source="NLTK's copy, in {cache}/text_en/movie_reviews.zip",
    read=_read,
    files=(_FILE,),
    get=partial(_nltk.get, "movie_reviews", _FILE),
)
register("movie_reviews", small=CARD, full=CARD)
