"""Titles of articles from arXiv on three topics, as its search gave them in 2019."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from practical_dl.data import Card, Dataset, File, Repository, cache, register

CLASSES = ("artificial intelligence", "computer vision", "language generation")


def _read(paths: list[Path]) -> Dataset:
    """Each title once, its spaces single; every tenth, by the text itself, is for the test.

    The search gave some titles for two topics: these belong to the first.
    """
    topics: dict[str, int] = {}
    for number, path in enumerate(paths):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if title := " ".join(line.split()):
                topics.setdefault(title, number)
    shares = {title: cache.sha256(title.encode()) for title in topics}
    titles = sorted(topics, key=shares.__getitem__)
    test = [title for title in titles if int(shares[title][-8:], 16) % 10 == 0]
    train = [title for title in titles if int(shares[title][-8:], 16) % 10 != 0]
    labels = [np.array([topics[title] for title in part]) for part in (train, test)]
    return Dataset(tuple(train), labels[0], tuple(test), labels[1], classes=CLASSES)


def _build(files: dict[str, bytes]) -> list[bytes]:
    """The repository's files, unchanged; they are found by what they hold."""
    known = {cache.sha256(content): content for content in files.values()}
    return [known[file.sha256] for file in CARD.files]


def _file(topic: str, sha256: str, size: int) -> File:
    return File(f"text_en/arxiv/titles_{topic}.txt", sha256, size, built=sha256)


CARD = Card(
    title="Titles from arXiv",
    licence="CC0 (arXiv's metadata), collected by G. Cunha Sergio (MIT)",
    source="{cache}/text_en/arxiv",
    read=_read,
    files=(
        _file(
            "artificial_intelligence",
            "d27b62d591338bb687cbcd63b1fcedf7bbfdac646d0723964d714e6f395e0eb1",
            674_058,
        ),
        _file(
            "computer_vision",
            "0894f8da57e40b07bd01bde93b3319a87d039c5f827f7f89e7ecb4b3412f0da7",
            1_029_943,
        ),
        _file(
            "language_generation",
            "ce6af02258d6734f998ae9bb50f044384c55232542bd2e58d654539dbe5e62be",
            943_210,
        ),
    ),
    repository=Repository(
        "gcunhase/ArXivAbsTitleDataset", "0d0de3cf652b72e4072256a63b29ac7a5e2a7f0f", _build
    ),
)
register("arxiv_titles", small=CARD, full=CARD)
