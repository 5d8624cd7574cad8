"""A worker process that runs one authored notebook and, at each test, its variants.

The notebook runs in one IPython shell. Before a variant (a mutant, an alternative) the process is
forked: the child puts the variant in the place of the solution, runs the test, says how it ended
and is gone, so that a variant costs its test and nothing else. Trusted code only: it runs what the
course's authors wrote.

stdin: one JSON job (see `run`). stdout: one JSON event a line.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autograder.authoring import standard
from autograder.errors import CourseError


def main() -> None:
    """Read the job, run it, print the events."""
    _end_with_parent()
    job = json.load(sys.stdin)
    # Cells print to file descriptor 1: keep the real one for the events alone.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)

    def emit(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    run(job, emit)


def _end_with_parent() -> None:
    """Let this process end when the one that started it is killed, where the system offers that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def run(job: dict[str, Any], emit: Callable[[dict[str, Any]], None]) -> None:
    """Run the cells in order and emit an event for each, for each variant, and for each rerun.

    job: cells: [{id, source, task, kind, public}] with kind code, solution or test, public: a test
    without its hidden part; variants: {task: [{name, source, mistake}]}, mistake: the kind of a
    standard mutant; salts: two texts, the second for the variants and the reruns; limit: seconds
    that a variant may take beyond ten times its test; exams: the tasks whose answers the private.py
    of this folder marks. The last event is {"event": "end"}, or "stop" with the reason.
    """
    try:
        shell = _Shell(_private(job["exams"]))
    except CourseError as error:
        emit({"event": "stop", "message": "; ".join(p.message for p in error.problems)})
        return
    for cell in job["cells"]:
        if cell["kind"] == "test":
            shell.reseed(job["salts"][0])
        outcome = shell.run(cell["source"])
        emit({"event": "cell", "id": cell["id"], "task": cell["task"], **outcome})
        if cell["kind"] == "test":
            limit = job["limit"] + 10 * outcome["seconds"]
            for variant in job["variants"].get(cell["task"], []):
                arguments = (variant, cell, job["salts"][1])
                ended = _in_child(lambda a=arguments: shell.variant(*a), limit)
                emit({"event": "variant", "task": cell["task"], "name": variant["name"], **ended})
    for cell in job["cells"]:
        if cell["kind"] == "test":
            shell.reseed(job["salts"][1])
            outcome = shell.run(cell["source"])
            emit({"event": "again", "id": cell["id"], "task": cell["task"], **outcome})
    emit({"event": "end"})


def _private(tasks: list[str]) -> dict[str, Any]:
    """The private inputs of these exams, made here and for this run alone."""
    if not tasks:
        return {}
    from autograder import exams

    found = exams.module(Path.cwd(), exams.FILE)
    made = exams.make(found, tasks, "small", 0, exams.FILE)
    folder = Path.cwd() / exams.FOLDER
    folder.mkdir()
    parts = {}
    for task in tasks:
        inputs, answers = made[task]
        content = exams.npz(inputs)
        (folder / f"{task}.inputs.npz").write_bytes(content)
        judge = exams.judge_of(found, task, exams.FILE)
        parts[task] = exams.Private(task, "small", content, answers, judge)
    return parts


class _Shell:
    """An IPython shell that tells how a cell ended and which score it gave.

    exams: what marks the answers that are handed in, by task.
    """

    def __init__(self, exams: dict[str, Any]) -> None:
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        self.shell = InteractiveShell.instance(config=config)
        self.scores: list[float] = []
        self.error: BaseException | None = None  # of the last cell
        publish = self.shell.display_pub.publish

        def record(data: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            from practical_dl.check import HANDED_MIME, SCORE_MIME

            if SCORE_MIME in data:
                self.scores.append(data[SCORE_MIME]["score"])
            if HANDED_MIME in data:
                handed = data[HANDED_MIME]
                self.scores.append(exams[handed["task"]].mark(handed, "").share)
            publish(data, *args, **kwargs)

        self.shell.display_pub.publish = record

    def reseed(self, salt: str) -> None:
        """Make the checks draw other numbers."""
        from practical_dl import check

        check.reseed(salt)

    def run(self, source: str) -> dict[str, Any]:
        """Run one cell: {ok, ename, evalue, seconds, score}."""
        self.scores.clear()
        start = time.perf_counter()
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            result = self.shell.run_cell(source, store_history=False)
        self.error = error = result.error_before_exec or result.error_in_exec
        return {
            "ok": error is None,
            "ename": type(error).__name__ if error else "",
            "evalue": str(error)[:500] if error else "",
            "seconds": time.perf_counter() - start,
            "score": 0.0 if error else (self.scores[-1] if self.scores else 1.0),
        }

    def variant(self, variant: dict[str, Any], test: dict[str, Any], salt: str) -> dict[str, Any]:
        """Run a variant's solution and its test.

        idle: whether it had nothing to change, or failed by itself.
        """
        mistake = variant["mistake"]
        first = self.run(variant["source"])
        if not first["ok"]:
            return {**first, "idle": bool(mistake)}
        if mistake == standard.BY_HEART:
            self.reseed(salt)
            standard.learn(True)
            self.run(test["public"])
            standard.learn(False)
        self.reseed(salt)
        ended = self.run(test["source"])
        counts = standard.active() and not standard.broke(self.error)
        return {**ended, "idle": bool(mistake) and not counts}


def _in_child(function: Callable[[], dict[str, Any]], limit: float) -> dict[str, Any]:
    """Run a function in a fork; a child that is late or dies has failed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.write(writing, json.dumps(function()).encode()[:60_000] + b"\n")
        finally:
            os._exit(0)
    os.close(writing)
    failed = {"ok": False, "seconds": limit, "score": 0.0, "evalue": "", "idle": False}
    content, deadline = b"", time.monotonic() + limit
    try:
        # Up to the line's end, not to the pipe's: a process that the child started may hold it.
        while not content.endswith(b"\n"):
            if not select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return {**failed, "ename": "Timeout"}
            if not (part := os.read(reading, 65_536)):
                return {**failed, "ename": "Died"}
            content += part
        return json.loads(content)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
