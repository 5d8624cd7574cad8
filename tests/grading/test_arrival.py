"""When a submission came, whatever its files and its timestamp.txt say."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from autograder.grading.arrival import received


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "submission"
    path.mkdir()
    notebook = path / "tiny.ipynb"
    notebook.write_text("{}")
    _touch(notebook, datetime(2026, 1, 5, 10, tzinfo=UTC))
    yield path


def _touch(path: Path, time: datetime) -> None:
    os.utime(path, (time.timestamp(), time.timestamp()))


FILES = datetime(2026, 1, 5, 10)


@pytest.mark.parametrize(
    ("stamp", "default", "trusted"),
    [
        ("2026-01-05 11:30:00.123456 UTC", datetime(2026, 1, 5, 11, 30, 0, 123456), None),
        ("2026-01-05T14:30:00+03:00", datetime(2026, 1, 5, 11, 30), None),
        # Earlier than its files: the file says what its writer wants.
        ("2025-12-01 00:00:00 UTC", FILES, datetime(2025, 12, 1)),
        ("", FILES, FILES),
        ("yesterday, I swear", FILES, FILES),
        ("9" * 5000, FILES, FILES),
        ("\x00\xff", FILES, FILES),
    ],
)
def test_when_a_submission_came(
    folder: Path, stamp: str, default: datetime, trusted: datetime | None
) -> None:
    (folder / "timestamp.txt").write_text(stamp, encoding="latin-1")
    assert received(folder) == default
    assert received(folder, trust=True) == (trusted or default)


def test_no_submission_comes_from_the_future(folder: Path) -> None:
    before = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=1)
    (folder / "timestamp.txt").write_text("2999-01-01 00:00:00 UTC")
    assert received(folder) <= before
    (folder / "timestamp.txt").unlink()
    _touch(folder / "tiny.ipynb", datetime(2999, 1, 1, tzinfo=UTC))
    assert received(folder) <= before


def test_no_link_is_followed_for_a_time(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("2026-01-05 11:30:00 UTC")
    (folder / "timestamp.txt").symlink_to(tmp_path / "elsewhere")
    assert received(folder) == FILES
    (folder / "timestamp.txt").unlink()
    os.mkfifo(folder / "timestamp.txt")
    assert received(folder) == FILES
    shutil.rmtree(folder)
    assert received(folder) is None
