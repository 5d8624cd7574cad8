"""Surnames of eighteen languages in Latin letters, from the tutorials of PyTorch."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from practical_dl.data import Card, Dataset, File, Repository, cache, register

CLASSES = (
    *("Arabic", "Chinese", "Czech", "Dutch", "English", "French", "German", "Greek", "Irish"),
    *("Italian", "Japanese", "Korean", "Polish", "Portuguese", "Russian", "Scottish"),
    *("Spanish", "Vietnamese"),
)


def _read(paths: list[Path]) -> Dataset:
    """Each surname of a language once; every fifth, by the name itself, is for the test.

    A name that several languages have is an example of each; all are on the same side.
    """
    (path,) = paths
    found: dict[bool, list[tuple[str, int]]] = {False: [], True: []}
    with zipfile.ZipFile(path) as archive:
        for number, language in enumerate(CLASSES):
            lines = archive.read(f"names/{language}.txt").decode().split("\n")
            for name in sorted({line.strip() for line in lines if line.strip()}):
                found[int(cache.sha256(name.encode())[:8], 16) % 5 == 0].append((name, number))
    parts = []
    for is_test in (False, True):
        names, labels = zip(*found[is_test], strict=True)
        parts += [names, np.array(labels)]
    return Dataset(*parts, classes=CLASSES)


def _build(files: dict[str, bytes]) -> list[bytes]:
    """The repository's eighteen files in one archive."""
    names = [f"names/{language}.txt" for language in CLASSES]
    return [cache.pack({name: files[f"data/{name}"] for name in names})]


CARD = Card(
    title="Surnames of eighteen languages",
    licence="MIT (S. Robertson, practical-pytorch)",
    source="{cache}/text_en/names_18_languages.zip",
    read=_read,
    files=(
        File(
            "text_en/names_18_languages.zip",
            "37cc7035e7b11bc94873af08b89867af304725a3281af6dca54b28f478c6b5c1",
            62_699,
            built="21ef4afa7177a2e0fc29ab7f0075075248b37434221bcb41378eb14ca83643a4",
        ),
    ),
    repository=Repository(
        "spro/practical-pytorch", "c520c52e68e945d88fff563dba1c028b6ec0197b", _build
    ),
)
register("surnames", small=CARD, full=CARD)
