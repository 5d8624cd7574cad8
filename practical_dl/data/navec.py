"""Navec: vectors of Russian words, 300 numbers each, learnt of news (the Natasha project).

They are product-quantised: a vector is cut in 100 parts of three numbers, and each part is one of
256 codes.
"""

from __future__ import annotations

import gzip
import struct
import tarfile
from pathlib import Path

import numpy as np

from practical_dl.data import Card, File, _vectors, register

REQUIREMENT = "natasha==1.6.0"
_FILE = File(
    "vectors/navec_news_300d_top50k_pq.npz",
    "79b27f321f3840979664cb15823542f6c890fc68417e48e1ccd6bb96b2945872",
    5_590_382,
)


def _read(paths: list[Path]) -> _vectors.Vectors:
    (path,) = paths
    with np.load(path, allow_pickle=False) as arrays:
        codes, indexes = arrays["codes"], arrays["indexes"]
        vectors = codes[np.arange(len(codes)), indexes].reshape(len(indexes), -1)
        return _vectors.Vectors(_vectors.words(arrays["words"]), vectors)


def _build(shipped: Path) -> dict[str, np.ndarray]:
    """The 50,000 most frequent words of the package's 250,000, quantised as they are."""
    with tarfile.open(shipped) as archive:
        vocabulary = gzip.decompress(_member(archive, "vocab.bin"))
        quantised = _member(archive, "pq.bin")
    (n,) = struct.unpack("<I", vocabulary[:4])
    counts = np.frombuffer(vocabulary, "<u4", count=n, offset=4)
    words = vocabulary[4 + 4 * n :].decode().splitlines()
    rows, d, parts, codes = struct.unpack("<4I", quantised[:16])
    indexes = np.frombuffer(quantised, np.uint8, count=rows * parts, offset=16)
    numbers = np.frombuffer(quantised, "<f4", offset=16 + rows * parts)
    kept = [i for i in np.argsort(-counts.astype(np.int64), kind="stable") if words[i][0] != "<"]
    kept = kept[:50_000]  # without <unk> and <pad>
    return {
        "words": np.frombuffer("\n".join(words[i] for i in kept).encode(), np.uint8),
        "indexes": indexes.reshape(rows, parts)[kept],
        "codes": numbers.reshape(parts, codes, d // parts),
        "counts": counts[kept],
    }


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


CARD = Card(
    title="Navec, the 50,000 most frequent Russian words of news",
    licence="MIT (A. Kukushkin, the Natasha project)",
    source=f"{{cache}}/{_FILE.path}, cut out of the package {REQUIREMENT}",
    read=_read,
    files=(_FILE,),
    get=lambda: _vectors.get(
        *("navec", _FILE, REQUIREMENT, "natasha/data/emb/navec_news_v1_1B_250K_300d_100q.tar"),
        _build,
    ),
)
register("navec", small=CARD, full=CARD)
