"""Shakespeare's plays: the text in the cache, and the same built of its repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.mirror import Mirror
from kit.sets import rebuilt

from practical_dl import data
from practical_dl.data import shakespeare as module


@pytest.fixture(scope="module")
def plays() -> module.Text:
    if not data.is_cached("shakespeare"):
        pytest.skip("shakespeare is not in the cache; run python -m practical_dl.data shakespeare")
    return data.load("shakespeare", quiet=True)  # type: ignore[return-value]


def test_plays_are_what_they_are_known_to_be(plays: module.Text) -> None:
    assert "1115394 characters, 202651 words" in str(plays) and "public domain" in str(plays)
    assert plays.text.startswith("First Citizen:\nBefore we proceed")


def test_the_same_is_built_of_the_repository(
    plays: module.Text, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"data/tinyshakespeare/input.txt": plays.text.encode(), "Readme.md": b""}
    found = rebuilt("shakespeare", files, mirror, tmp_path, monkeypatch)
    assert found.text == plays.text  # type: ignore[attr-defined]
