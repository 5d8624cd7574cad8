"""When a submission came: from the times of its files, and from nbgrader's timestamp.txt."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

TIMESTAMP = "timestamp.txt"


@dataclass(frozen=True)
class Arrival:
    """All that tells when a submission came. times: of its files, in ns since the epoch.

    stamp: what timestamp.txt holds, None where there is none that can be read.
    """

    times: Mapping[str, int] = field(default_factory=dict)
    stamp: bytes | None = None

    def __str__(self) -> str:
        return repr((sorted(self.times.items()), self.stamp))

    def received(self, *, trust: bool = False) -> datetime | None:
        """When it came in: the latest of the times of its files and of its timestamp.txt.

        A student can write any time into timestamp.txt, but so makes no submission earlier than
        its files; and none is later than the time at which the file came to lie here. trust:
        timestamp.txt counts alone, where it holds a time. UTC without a time zone; None for no
        file at all.
        """
        times = dict(self.times)
        lies_since = times.pop(TIMESTAMP, None)
        stamp = _time(self.stamp) if lies_since is not None else None
        if stamp is not None:
            stamp = min(stamp, lies_since)
            if trust:
                return _utc(stamp)
            times[TIMESTAMP] = stamp
        return _utc(max(times.values())) if times else None


def look(folder: Path) -> Arrival:
    """The times of a student's folder, as they are now."""
    return Arrival(_times(folder), small_file(folder / TIMESTAMP))


def received(folder: Path, *, trust: bool = False) -> datetime | None:
    """When a submission came in; see `Arrival`."""
    return look(folder).received(trust=trust)


def _times(folder: Path) -> dict[str, int]:
    """The times of the files in a folder, in ns since the epoch; none is in the future.

    The time of the last change of an inode can't be set, so that of timestamp.txt counts at all.
    """
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    info = entry.stat(follow_symlinks=False)
                    changed = info.st_ctime_ns
                    is_stamp = entry.name == TIMESTAMP
                    found[entry.name] = changed if is_stamp else min(info.st_mtime_ns, changed)
    except OSError:
        return {}
    return found


def _time(stamp: bytes | None) -> int | None:
    """The time in a timestamp.txt, None where it holds none."""
    from nbgrader.utils import parse_utc

    try:
        found = parse_utc((stamp or b"").decode().strip()).replace(tzinfo=UTC)
        return int((found - datetime.fromtimestamp(0, UTC)) / timedelta(microseconds=1)) * 1000
    except Exception:  # the parser raises whatever the text makes it
        return None


def small_file(path: Path) -> bytes | None:
    """The content of a regular file of at most 4096 bytes; None for anything else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        info = os.fstat(file.fileno())
        return file.read() if stat.S_ISREG(info.st_mode) and info.st_size <= 4096 else None


def _utc(nanoseconds: int) -> datetime:
    start = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)
    return start + timedelta(microseconds=nanoseconds // 1000)
