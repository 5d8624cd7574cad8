"""Recordings: the spoken digits and a speech in the cache, and the same built of repositories."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from kit.mirror import Mirror
from kit.sets import real, rebuilt, same

from practical_dl import data
from practical_dl.data import fsdd as module
from practical_dl.data.speech import Speech


@pytest.fixture(scope="module")
def fsdd() -> data.Dataset:
    return real("fsdd")


def test_digits_are_split_by_takes_and_speakers(fsdd: data.Dataset) -> None:
    assert "1250 training and 250 test examples" in str(fsdd) and "CC BY-SA 4.0" in str(fsdd)
    assert fsdd.y_train.shape == (1250, 3) and fsdd.y_test.shape == (250, 3)
    assert set(fsdd.y_train[:, 2]) == set(range(5, 30)) and set(fsdd.y_test[:, 2]) == set(range(5))
    for y, count in ((fsdd.y_train, 125), (fsdd.y_test, 25)):
        assert np.bincount(y[:, 0]).tolist() == [count] * 10
        assert np.bincount(y[:, 1]).tolist() == [2 * count] * 5
    x, y = data.withheld("fsdd")
    assert len(x) == len(y) == 300 and set(y[:, 1]) == {5}


def test_recordings_are_sound(fsdd: data.Dataset) -> None:
    for sound in fsdd.x_train + fsdd.x_test:
        assert sound.dtype == np.float32 and sound.ndim == 1
        assert 0.1 < len(sound) / module.RATE < 2.5 and np.abs(sound).max() <= 1
    assert len({sound.tobytes() for sound in fsdd.x_train}) == len(fsdd.x_train)


def test_digits_are_built_of_the_repository(
    fsdd: data.Dataset,
    data_cache: Path,
    mirror: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with zipfile.ZipFile(data_cache / "fsdd" / "fsdd_1800.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files |= {"README.md": b"", "recordings/0_george_30.wav": b""}
    same(rebuilt("fsdd", files, mirror, tmp_path, monkeypatch), fsdd)


def test_the_speech_is_eleven_seconds_and_is_built_again(
    data_cache: Path, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = real("speech")
    assert isinstance(speech, Speech) and "11.0 s at 44,100 Hz" in str(speech)
    assert speech.sound.dtype == np.float32 and speech.sound.ndim == 1
    assert 0.3 < np.abs(speech.sound).max() <= 1 and speech.text.startswith("And so my fellow")
    files = {"tests/jfk.flac": (data_cache / "audio" / "jfk.flac").read_bytes()}
    again = rebuilt("speech", files, mirror, tmp_path, monkeypatch)
    np.testing.assert_array_equal(again.sound, speech.sound)
