"""What bounds a test: CPU seconds, which other work on the machine does not use up.

A clock on the wall would end what is well where the machine is busy. It ends only what neither
works nor ends.
"""

from __future__ import annotations

import contextlib
import signal
import time

import psutil
import pytest

LOOK_SECONDS = 10.0
PATIENCE = 10  # times the limit, on the wall


def cpu_seconds() -> float:
    """What this process and all below it have used so far, also those that have ended."""
    this, total = psutil.Process(), 0.0
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])  # user and system, own and of ended children
    return total


def start(seconds: float) -> None:
    """Fail from now on, in the main thread, where more is used."""
    before, deadline = cpu_seconds(), time.monotonic() + PATIENCE * seconds

    def look(*_: object) -> None:
        used = cpu_seconds() - before
        if used > seconds or time.monotonic() > deadline:
            stop()
            pytest.fail(f"used {used:.0f} of {seconds:.0f} CPU seconds, and did not end")

    signal.signal(signal.SIGALRM, look)
    every = min(LOOK_SECONDS, seconds)
    signal.setitimer(signal.ITIMER_REAL, every, every)


def stop() -> None:
    """End the limit."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
