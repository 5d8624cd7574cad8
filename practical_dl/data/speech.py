"""Eleven seconds of J. F. Kennedy's inaugural address, 20 January 1961, and what he says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from practical_dl.data import Card, File, Repository, register

TEXT = (
    "And so my fellow Americans: ask not what your country can do for you, "
    "ask what you can do for your country."
)


@dataclass(frozen=True)
class Speech:
    """A recording.

    sound: (n,) float32 in [-1, 1], one channel, the mean of the two. rate: samples a second.
    text: what is said. name, licence, source: as the card says; `load` fills them in.
    """

    sound: np.ndarray
    rate: int
    text: str
    name: str = ""
    licence: str = ""
    source: str = ""

    def __repr__(self) -> str:
        seconds = len(self.sound) / self.rate
        return (
            f"{self.name}: {seconds:.1f} s at {self.rate:,} Hz\n"
            f"source: {self.source}\nlicence: {self.licence}"
        )


def _read(paths: list[Path]) -> Speech:
    import soundfile  # here: only this set needs it

    sound, rate = soundfile.read(paths[0], dtype="float32", always_2d=True)
    return Speech(sound.mean(axis=1), rate, TEXT)


def _build(files: dict[str, bytes]) -> list[bytes]:
    return [files["tests/jfk.flac"]]


_SHA256 = "63a4b1e4c1dc655ac70961ffbf518acd249df237e5a0152faae9a4a836949715"
CARD = Card(
    title="J. F. Kennedy, inaugural address, 1961, an excerpt",
    licence="public domain (a work of the US government)",
    source="{cache}/audio/jfk.flac",
    read=_read,
    files=(File("audio/jfk.flac", _SHA256, 1_152_693, built=_SHA256),),
    repository=Repository("openai/whisper", "c0d2f624c09dc18e709e37c2ad90c039a4eb72a2", _build),
)
register("speech", small=CARD, full=CARD)
