"""Data of language models: the sets in the cache, and the same built of their repositories."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from kit.mirror import Mirror
from kit.sets import real, rebuilt, same

from practical_dl import data
from practical_dl.data import stories260k, surnames

Files = dict[str, bytes]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tatoeba", "17531 training and 980 test examples"),
        ("arxiv_titles", "33197 training and 3709 test examples, 3 classes"),
        ("surnames", "14431 training and 3581 test examples, 18 classes"),
    ],
)
def test_texts_are_what_they_are_known_to_be(name: str, said: str) -> None:
    found = real(name)
    assert said in str(found)
    for part in ("train", "test"):
        x, y = getattr(found, f"x_{part}"), getattr(found, f"y_{part}")
        assert len(x) == len(y)
        assert all(isinstance(text, str) and text == text.strip() != "" for text in x)
        if found.classes:
            assert set(y.tolist()) == set(range(len(found.classes)))
    assert not set(found.x_train) & set(found.x_test)


def test_pairs_of_sentences_are_two_languages_and_some_are_withheld() -> None:
    found, (english, russian) = real("tatoeba"), data.withheld("tatoeba")
    assert len(english) == len(russian) == 914
    assert not set(english) & {*found.x_train, *found.x_test}
    for x, y in ((found.x_train, found.y_train), (english, russian)):
        for side, share in ((y, 1.0), (x, 0.0)):
            cyrillic = [any("а" <= sign <= "я" for sign in text.lower()) for text in side]
            assert abs(np.mean(cyrillic) - share) < 0.01


def test_pairs_are_built_of_all_test_sets(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, hidden = real("tatoeba"), data.withheld("tatoeba")
    pairs = [*zip(found.x_train, found.y_train, strict=True)]
    pairs += [*zip(found.x_test, found.y_test, strict=True), *zip(*hidden, strict=True)]
    files: Files = {"datasets/helsinki_nlp/tatoeba/testsets/eng-rus/README.eng": b"other\n"}
    for year, part in (("2020-07-28", pairs[:12_000]), ("2021-08-07", pairs[9_000:])):
        for side, language in enumerate(("eng", "rus")):
            text = "".join(f"{pair[side]}\n" for pair in part)
            path = f"datasets/helsinki_nlp/tatoeba/testsets/eng-rus/tatoeba-test-v{year}.{language}"
            files[path] = text.encode()
    files[f"{path}.labels"] = b"eng-rus\n"
    same(rebuilt("tatoeba", files, mirror, tmp_path, monkeypatch), found)
    assert data.withheld("tatoeba") == hidden


def test_titles_are_built_of_the_repository(
    data_cache: Path, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = real("arxiv_titles")
    folder = data_cache / "text_en" / "arxiv"
    files = {
        f"results/{i}_title.txt": path.read_bytes()
        for i, path in enumerate(sorted(folder.glob("titles_*.txt")))
    }
    found = rebuilt("arxiv_titles", files | {"README.md": b""}, mirror, tmp_path, monkeypatch)
    same(found, expected)


def test_surnames_are_built_of_the_repository(
    data_cache: Path, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = real("surnames")
    with zipfile.ZipFile(data_cache / "text_en" / "names_18_languages.zip") as archive:
        files = {f"data/{name}": archive.read(name) for name in archive.namelist()}
    same(rebuilt("surnames", files, mirror, tmp_path, monkeypatch), expected)
    assert len(files) == len(surnames.CLASSES) == 18


def test_stories260k_is_what_its_format_says(
    data_cache: Path, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = real("stories260k")
    assert isinstance(found, stories260k.Stories) and "260,032 numbers" in str(found)
    assert found.tokens[3 + ord("A")] == b"A" and b" the" in found.tokens[259:]
    assert len(found.tokens) == len(found.scores) == found.config["vocab"] == 512
    assert all(np.isfinite(array).all() for array in found.weights.values())
    scales = found.weights["attention_norm"], found.weights["norm"]
    assert all((scale > 0).all() for scale in scales)  # read at the right place
    folder = data_cache / "models" / "stories260K"
    files = {f"data/{name}": (folder / name).read_bytes() for name in _STORIES}
    again = rebuilt("stories260k", files, mirror, tmp_path, monkeypatch)
    for name, array in found.weights.items():
        assert np.array_equal(again.weights[name], array)  # type: ignore[attr-defined]


_STORIES = ("stories260K.bin", "tok512.bin")
