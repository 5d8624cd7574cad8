"""Texts of week 06: the sets in the cache, and the same brought anew into an empty one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kit.mirror import Mirror
from kit.sets import real, rebuilt, same

from practical_dl import data
from practical_dl.data import _nltk


@pytest.mark.parametrize(
    ("name", "said", "share"),
    [
        ("sentence_polarity", "8162 training and 1000 test examples, 2 classes", 0.50),
        ("movie_reviews", "1600 training and 400 test examples, 2 classes", 0.50),
        ("rucola", "7869 training and 983 test examples, 2 classes", 0.75),
    ],
)
def test_texts_are_what_they_are_known_to_be(name: str, said: str, share: float) -> None:
    found = real(name)
    assert said in str(found)
    for part in ("train", "test"):
        x, y = getattr(found, f"x_{part}"), getattr(found, f"y_{part}")
        assert len(x) == len(y) and isinstance(x, tuple)
        assert abs(y.mean() - share) < 0.02 and set(y.tolist()) == {0, 1}
        assert all(isinstance(text, str) and text == text.strip() != "" for text in x)


def test_withheld_sentences_are_nowhere_else() -> None:
    found = real("sentence_polarity")
    hidden, labels = data.withheld("sentence_polarity")
    assert len(hidden) == len(labels) == 1500
    assert not set(hidden) & {*found.x_train, *found.x_test}
    assert not set(found.x_train) & set(found.x_test)


def test_the_same_is_built_of_the_repository(
    data_cache: Path, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = real("rucola")
    folder = data_cache / "text_ru" / "rucola"
    files = {f"data/{path.name}": path.read_bytes() for path in folder.glob("*.csv")}
    same(rebuilt("rucola", files | {"README.md": b""}, mirror, tmp_path, monkeypatch), expected)


@pytest.mark.parametrize("name", ["sentence_polarity", "movie_reviews"])
def test_a_corpus_is_downloaded_and_checked(
    name: str,
    data_cache: Path,
    mirror: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = real(name)
    content = (data_cache / "text_en" / f"{name}.zip").read_bytes()
    monkeypatch.setattr(_nltk, "RAW", mirror.url("raw"))
    monkeypatch.setenv("PRACTICAL_DL_DATA", str(tmp_path))
    path = f"/raw/{_nltk._CORPORA}/{name}.zip"
    mirror.files[path] = content
    found = data.load(name, quiet=True)
    assert found.x_train == expected.x_train and np.array_equal(found.y_test, expected.y_test)
    assert [file.name for file in (tmp_path / "text_en").iterdir()] == [f"{name}.zip"]
    data.load(name, quiet=True)
    assert mirror.asked == [path]  # once
    (tmp_path / "text_en" / f"{name}.zip").write_bytes(content[:-1])
    with pytest.raises(data.DataError, match="damaged"):
        data.load(name, quiet=True)


def test_a_corpus_that_can_not_be_had_is_told_of(
    cache: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_nltk, "RAW", mirror.url("missing"))
    with pytest.raises(data.DataError, match="could not be fetched"):
        data.load("sentence_polarity", quiet=True)
