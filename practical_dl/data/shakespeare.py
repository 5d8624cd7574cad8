"""A million characters of Shakespeare's plays: speeches, each after the name of its speaker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from practical_dl.data import Card, File, Repository, register


@dataclass(frozen=True)
class Text:
    """A text. name, licence, source: as the card says; `load` fills them in."""

    text: str
    name: str = ""
    licence: str = ""
    source: str = ""

    def __repr__(self) -> str:
        return (
            f"{self.name}: {len(self.text)} characters, {len(self.text.split())} words\n"
            f"source: {self.source}\nlicence: {self.licence}"
        )


def _read(paths: list[Path]) -> Text:
    (path,) = paths
    return Text(path.read_text(encoding="utf-8"))


def _build(files: dict[str, bytes]) -> list[bytes]:
    """The repository's file, unchanged."""
    return [files["data/tinyshakespeare/input.txt"]]


_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
CARD = Card(
    title="Shakespeare, parts of his plays (tiny-shakespeare, A. Karpathy)",
    licence="public domain",
    source="{cache}/text_en/tinyshakespeare.txt",
    read=_read,
    files=(File("text_en/tinyshakespeare.txt", _SHA256, 1_115_394, built=_SHA256),),
    repository=Repository("karpathy/char-rnn", "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e", _build),
)
register("shakespeare", small=CARD, full=CARD)
