"""Blood cells under a microscope, each with a box: colour pictures, 480 x 640."""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from practical_dl.data import Card, Dataset, File, Repository, _pictures, cache, register

CLASSES = ("RBC", "WBC", "Platelets")


def _read(paths: list[Path]) -> Dataset:
    (path,) = paths
    parts = []
    with zipfile.ZipFile(path) as archive:
        for part in ("trainval", "test"):
            stems = archive.read(f"BCCD/ImageSets/Main/{part}.txt").decode().split()
            pictures = [archive.read(f"BCCD/JPEGImages/{stem}.jpg") for stem in stems]
            parts.append(_pictures.decode(pictures, (480, 640, 3)))
            parts.append(tuple(_boxes(archive.read(f"BCCD/Annotations/{s}.xml")) for s in stems))
    return Dataset(*parts, classes=CLASSES)


def _boxes(annotation: bytes) -> np.ndarray:
    """The boxes of a Pascal VOC annotation: (k, 5) of x0, y0, x1, y1, class.

    Two boxes of the set have no width or no height: they are left out.
    """
    rows = []
    for thing in ElementTree.fromstring(annotation).iter("object"):
        box = [int(thing.findtext(f"bndbox/{end}")) for end in ("xmin", "ymin", "xmax", "ymax")]
        if box[0] < box[2] and box[1] < box[3]:
            rows.append([*box, CLASSES.index(thing.findtext("name"))])
    return np.array(rows, np.int64).reshape(-1, 5)


def _build(files: dict[str, bytes]) -> list[bytes]:
    """All pictures, boxes and lists of the repository, unchanged."""
    kept = [p for p in files if p.startswith("BCCD/") and p.endswith((".jpg", ".xml", ".txt"))]
    return [cache.pack({path: files[path] for path in [*kept, "LICENSE"]})]


CARD = Card(
    title="BCCD blood cells",
    licence="MIT (Shenggan, cosmicad)",
    source="the repository's pictures and boxes, less two of no area, in {cache}/bccd/BCCD.zip",
    read=_read,
    files=(
        File(
            "bccd/BCCD.zip",
            "db2310e56311827e022beb4a90b57417071da9fe10c2eec4a51b32c2735d1ed4",
            8_911_123,
            built="6f98fa74a45c6cc449ee80684e1c19cdf9c20c78ed31b18cee35f18acd0ceec7",
        ),
    ),
    repository=Repository(
        "Shenggan/BCCD_Dataset", "d272fb14cdff6e473fafeeeba32aba5f560e9e43", _build
    ),
)
register("bccd", small=CARD, full=CARD)
