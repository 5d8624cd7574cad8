"""Characters of eight alphabets, each drawn by twenty people: pictures 105 x 105, ink is 255.

The test alphabets are other ones than the training alphabets: no class is in both.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from practical_dl.data import Card, Dataset, File, Repository, _pictures, register

TEST = ("Japanese_(katakana)", "Sanskrit", "Tagalog")


def _read(paths: list[Path]) -> Dataset:
    pictures: dict[
        str, list[bytes]
    ] = {}  # by alphabet and character; the same ones twice count once
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(n for n in archive.namelist() if n.endswith(".png")):
                _, alphabet, character, _ = name.split("/")
                pictures.setdefault(f"{alphabet}/{character}", []).append(archive.read(name))
    test = {name for name in pictures if name.startswith(TEST)}
    classes = (*sorted(pictures.keys() - test), *sorted(test))
    x = {
        name: 255 * (_pictures.decode(pictures[name][:20], (105, 105), bool) == 0).astype(np.uint8)
        for name in classes
    }
    y = {name: np.full(len(x[name]), i) for i, name in enumerate(classes)}
    parts = []
    for chosen in ([c for c in classes if c not in test], [c for c in classes if c in test]):
        parts += [np.concatenate([each[c] for c in chosen]) for each in (x, y)]
    return Dataset(*parts, classes=classes)


def _build(files: dict[str, bytes]) -> list[bytes]:
    """The two official small background sets, unchanged."""
    return [files[f"python/images_background_small{number}.zip"] for number in (1, 2)]


CARD = Card(
    title="Omniglot, the two small background sets",
    licence="MIT (B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum)",
    source="eight alphabets, three of them for testing, in {cache}/omniglot",
    read=_read,
    files=(
        File(
            "omniglot/images_background_small1.zip",
            "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
            1_319_022,
            built="f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
        ),
        File(
            "omniglot/images_background_small2.zip",
            "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
            1_580_917,
            built="3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
        ),
    ),
    repository=Repository(
        "brendenlake/omniglot", "057f034baf2ecb8530bc5710e5a23584d2a519cc", _build
    ),
)
register("omniglot", small=CARD, full=CARD)
