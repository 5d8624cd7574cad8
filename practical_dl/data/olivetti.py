"""The Olivetti faces: ten grey photographs, 64 x 64, of each of 40 people (AT&T, 1992 to 1994).

The order is scikit-learn's. Of each person the last two are for testing.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from practical_dl.data import Card, Dataset, File, Repository, register


def _read(paths: list[Path]) -> Dataset:
    with np.load(paths[0], allow_pickle=False) as found:
        pictures, people = found["images"], found["labels"].astype(np.int64)
    test = np.arange(len(people)) % 10 >= 8
    classes = tuple(f"person {number + 1}" for number in range(people.max() + 1))
    return Dataset(pictures[~test], people[~test], pictures[test], people[test], classes)


def _build(files: dict[str, bytes]) -> list[bytes]:
    """The 400 faces of a MATLAB file, whose columns are pictures that lie on their side."""
    from scipy.io import loadmat  # here: it is slow to import

    columns = loadmat(io.BytesIO(files["olivettifaces.mat"]))["faces"]
    pictures = columns.T.reshape(400, 64, 64).transpose(0, 2, 1)
    people = np.repeat(np.arange(40, dtype=np.uint8), 10)
    archive = io.BytesIO()
    # Not by np.savez: what it makes differs from one version of Python to another.
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for name, array in (("images", pictures), ("labels", people)):
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0))
            out.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
    return [archive.getvalue()]


CARD = Card(
    title="Olivetti faces",
    licence="free to use with credit to AT&T Laboratories Cambridge",
    source="{cache}/olivetti",
    read=_read,
    files=(
        File(
            "olivetti/olivetti_faces.npz",
            "558848d9a4f2fc64e1bb7a0ab3109c7fdec8f2d5a138b0eb09e89fad1aa4c5c1",
            1_412_949,
            built="4fa464a6f1914bfc7281e2e0346d125737e21b04ffc37d763d9ef141293b4b9f",
        ),
    ),
    repository=Repository("sjgershm/DBM", "a30d9abb523aab874a299b8b1aa21e7df2023f60", _build),
)
register("olivetti", small=CARD, full=CARD)
