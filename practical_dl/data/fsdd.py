"""The Free Spoken Digit Dataset: the digits 0 to 9 in English, read by six people, at 8 kHz.

Of each of the six speakers and ten digits 30 takes. By the set's own rule takes 0 to 4 are for
testing. One speaker more is withheld, for exams: who has never heard a voice has to understand it.
"""

from __future__ import annotations

import io
import wave
import zipfile
from pathlib import Path

import numpy as np

from practical_dl.data import Card, Dataset, File, Repository, register

RATE = 8000  # samples a second
SPEAKERS = ("george", "jackson", "nicolas", "theo", "yweweler", "lucas")
_TAKES, _TEST_TAKES = 30, 5


def _sound(content: bytes) -> np.ndarray:
    """Float32 in [-1, 1) of a WAV file of 16 bits, mono."""
    with wave.open(io.BytesIO(content)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def _read(paths: list[Path]) -> Dataset:
    """y: (n, 3), the digit, the speaker's number in `SPEAKERS`, and the take."""
    sounds = {}
    with zipfile.ZipFile(paths[0]) as archive:
        for name in archive.namelist():
            digit, speaker, take = Path(name).stem.split("_")
            sounds[int(digit), SPEAKERS.index(speaker), int(take)] = _sound(archive.read(name))
    withheld = len(SPEAKERS) - 1
    train = [key for key in sorted(sounds) if key[1] < withheld and key[2] >= _TEST_TAKES]
    test = [key for key in sorted(sounds) if key[1] < withheld and key[2] < _TEST_TAKES]
    test += [key for key in sorted(sounds) if key[1] == withheld]
    parts = []
    for keys in (train, test):
        parts += [tuple(sounds[key] for key in keys), np.array(keys)]
    return Dataset(*parts)


def _build(files: dict[str, bytes]) -> list[bytes]:
    """The recordings of takes 0 to 29, unchanged, in one archive that is the same each time."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for digit in range(10):
            for speaker in sorted(SPEAKERS):
                for take in range(_TAKES):
                    name = f"recordings/{digit}_{speaker}_{take}.wav"
                    out.writestr(zipfile.ZipInfo(name), files[name])
    return [archive.getvalue()]


CARD = Card(
    title="Free Spoken Digit Dataset (Z. Jackson and others), takes 0 to 29, 8 kHz",
    licence="CC BY-SA 4.0",
    source="{cache}/fsdd",
    read=_read,
    files=(
        File(
            "fsdd/fsdd_1800.zip",
            "097c463b68dd05ee4eba81767ce9fb219954b177beb63554011b68ba809443d1",
            9_741_835,
            built="ab740c259c3c3aba6e55fbb675a736b531bee159fcb5fb8fe147cf2941f3407c",
        ),
    ),
    repository=Repository(
        "Jakobovski/free-spoken-digit-dataset", "26eb9aaf76e81b692f806f9140c2d2777410d7a1", _build
    ),
    withhold=10 * _TAKES,
)
register("fsdd", small=CARD, full=CARD)
