"""Six Russian authors: the texts in the cache, and the same built of their repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.mirror import Mirror
from kit.sets import rebuilt

from practical_dl import data
from practical_dl.data import russian_authors as module


@pytest.fixture(scope="module")
def library() -> module.Library:
    name = "russian_authors"
    if not data.is_cached(name):
        pytest.skip(f"{name} is not in the cache; run python -m practical_dl.data {name}")
    return data.load(name, quiet=True)  # type: ignore[return-value]


def test_works_are_whole(library: module.Library) -> None:
    assert "162 works, 8.4 million characters" in str(library) and "public domain" in str(library)
    counts = {author: len(works) for author, works in library.works.items()}
    assert counts == dict(zip(module.AUTHORS, (44, 21, 8, 9, 16, 64), strict=True))
    assert "Мой дядя самых честных правил" in library.works["pushkin"]["Евгений Онегин"]
    assert library.works["gogol"]["Мёртвые души"].startswith("Том первый")
    for works in library.works.values():
        assert all(text == text.strip() and "===" not in text for text in works.values())


def test_the_same_is_built_of_the_repository(
    library: module.Library, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {author.lower(): groups for author, groups in module._CHOSEN.items()}
    files = {"README.md": b"", "prose/Gogol/Other.txt": b"not chosen"}
    for author, groups in chosen.items():
        for kind, _, titles in (group.partition("/") for group in groups):
            for title in titles.split("|"):
                text = library.works[author][title]
                files[f"{kind}/{author.capitalize()}/{title}.txt"] = f"\n{text}\n".encode()
    found = rebuilt("russian_authors", files, mirror, tmp_path, monkeypatch)
    assert found.works == library.works  # type: ignore[attr-defined]
