"""The command `autograder` in this process: seconds sooner than in a process of its own.

What only a process can show (an interrupt, kill -9, what is imported, PATH) needs one.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from autograder import cli


@dataclass(frozen=True)
class Done:
    """How a command ended; named as in subprocess.CompletedProcess."""

    returncode: int
    stdout: str
    stderr: str


def autograder(root: Path, *arguments: str) -> Done:
    """Run a command in a folder. What it does not catch is raised, so that a test shows it."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "argv", ["autograder", *arguments])
        patch.setenv("PATH", os.environ["PATH"])  # main changes it
        files = [stack.enter_context(_caught(name)) for name in ("stdout", "stderr")]
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        said = []
        for file in files:
            file.seek(0)
            said.append(file.read())
        return Done(code, *said)


@contextmanager
def _caught(name: str) -> Iterator[IO[str]]:
    """What goes to stdout or stderr, also from the processes that a command starts."""
    number, stream = {"stdout": 1, "stderr": 2}[name], getattr(sys, name)
    stream.flush()
    kept = os.dup(number)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        try:
            os.dup2(file.fileno(), number)
            setattr(sys, name, file)
            yield file
        finally:
            setattr(sys, name, stream)
            os.dup2(kept, number)
            os.close(kept)
