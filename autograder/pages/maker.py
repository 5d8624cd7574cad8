"""Pages are made in a process of its own: whatever a student wrote, it ends in time.

Of what a parser does with a text that nobody has read, only its time and its memory have to be
limited; but that can't be done in the process that grades.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # slow to import, and not needed where nothing changed
    from nbformat import NotebookNode

START_SECONDS = 120.0
PAGE_SECONDS = 20.0
MEMORY_MIB = 2048
_HEAD = 12  # bytes before an answer: a letter, and how long it is


class PageError(Exception):
    """A page was not made; the message says why."""


class Pages:
    """Makes pages, one after the other. Use it as a context manager.

    Its process starts when it is needed, and again after one that had to be ended.
    """

    def __init__(self, seconds: float = PAGE_SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def sanitised(self, notebook: NotebookNode) -> NotebookNode:
        """A notebook without what a browser should not get. Raises PageError."""
        return _notebook(self._ask("sanitise", notebook, {}))

    def feedback(self, notebook: NotebookNode, **options: Any) -> bytes:
        """The page on a notebook. options: as `feedback.page` takes them. Raises PageError."""
        return self._ask("feedback", notebook, options)

    def _ask(self, what: str, notebook: NotebookNode, options: Mapping[str, Any]) -> bytes:
        if self._process is None:
            self._start()
        request = pickle.dumps((what, json.dumps(notebook), dict(options)))
        try:
            self._process.stdin.write(b"%d\n" % len(request) + request)
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended: the answer, which does not come, says so
        answer = self._answer(self._seconds)
        if answer[:1] != b"+":
            raise PageError(answer[1:].decode(errors="replace"))
        return answer[1:]

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "autograder.pages.maker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the owner, with whom it ends
        )
        self._answer(START_SECONDS)

    def _answer(self, seconds: float) -> bytes:
        """The next answer. Raises PageError where none comes in time, and ends the process."""
        end = time.monotonic() + seconds
        pipe = self._process.stdout.fileno()
        content, wanted = bytearray(), _HEAD
        while len(content) < wanted:
            if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                self._end()
                raise PageError(f"it took longer than {seconds:g} s")
            part = os.read(pipe, 1 << 20)
            if not part:
                self._end()
                raise PageError("the process that makes pages has ended")
            content += part
            if len(content) >= _HEAD:
                wanted = _HEAD + int(content[1:_HEAD])
        return bytes(content[:1] + content[_HEAD:])

    def _end(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        process.wait()


def _notebook(text: str | bytes) -> NotebookNode:
    from nbformat import from_dict

    return from_dict(json.loads(text))


def bare(notebook: NotebookNode) -> NotebookNode:
    """A notebook without what its cells have shown; a test keeps what tells its verdict."""
    new = _notebook(json.dumps(notebook))
    for cell in new.cells:
        if cell.cell_type == "code":
            told = cell.metadata.get("nbgrader", {}).get("grade")
            kinds = ("error", "execute_result") if told else ()
            cell.outputs = [o for o in cell.outputs if o.output_type in kinds]
        cell.pop("attachments", None)
    return new


# -- In the process ---------------------------------------------------------------------------


def serve() -> None:
    """Answer requests from stdin until it ends."""
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed is no answer
    import resource  # not on Windows, where nothing is graded

    from autograder.pages import feedback, sanitise

    limit = MEMORY_MIB * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    def answer(kind: bytes, content: bytes) -> None:
        target.write(kind + b"%11d" % len(content) + content)
        target.flush()

    answer(b"+", b"")
    while line := source.readline():
        request = source.read(int(line))
        try:
            what, text, options = pickle.loads(request)
            notebook = _notebook(text)
            if what == "sanitise":
                sanitise.sanitise(notebook)
                content = json.dumps(notebook)
            else:
                content = feedback.page(notebook, **options)
            answer(b"+", content.encode())
        except MemoryError:
            answer(b"-", b"it needs too much memory")
        except Exception as error:
            answer(b"-", f"{type(error).__name__}: {error}"[:500].encode())


if __name__ == "__main__":
    serve()
