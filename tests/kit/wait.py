"""Waiting for an event."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 600.0  # far off: however busy the machine is, it has happened by then


def until(condition: Callable[[], object]) -> None:
    """Return once it holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
