"""Jobs in worker processes of this machine."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from autograder.execution import cgroups
from autograder.execution import sandbox as sandbox_
from autograder.execution.backend import (
    ATTEMPTS,
    END_SECONDS,
    BackendError,
    Failed,
    Jobs,
    pairs_of,
    run_json,
    value_of,
)
from autograder.execution.execute import Result


class LocalPool:
    """So many worker processes, each of which runs one job at a time.

    They start when there is work, and live as long as the pool. They end with the process that
    owns it, however that one ends.
    """

    def __init__(self, workers: int, *, sandbox: bool = True) -> None:
        self._waiting: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._workers = [_Worker(self._waiting, sandbox) for _ in range(workers)]

    def __enter__(self) -> LocalPool:
        cgroups.find()  # before the workers: on version 2 it finds this process a group of its own
        # What a worker leaves behind that is killed, goes with this folder.
        self._folder = tempfile.TemporaryDirectory(prefix="w", ignore_cleanup_errors=True)
        for worker in self._workers:
            worker.begin(self._folder.name)
        return self

    def __exit__(self, *error: object) -> None:
        self._forget()
        for worker in self._workers:
            worker.stop()
        for _ in self._workers:
            self._waiting.put(None)
        deadline = time.monotonic() + END_SECONDS
        for worker in self._workers:
            worker.end(deadline)
        self._folder.cleanup()

    def run(self, jobs: Jobs) -> Iterator[tuple[str, Result | Failed]]:
        """As `Backend.run`. Besides each worker's job, one more is ready for it."""
        done: queue.SimpleQueue[tuple[str, str | Exception]] = queue.SimpleQueue()
        source = pairs_of(jobs)
        running = 0
        try:
            while True:
                while running < 2 * len(self._workers):
                    pair = next(source, None)
                    if pair is None:
                        break
                    self._waiting.put(_Task(pair[0], pair[1].to_json(), done))
                    running += 1
                if not running:
                    return
                key, answer = done.get()
                running -= 1
                if isinstance(answer, Exception):
                    raise answer
                yield key, value_of(answer)
        finally:
            self._forget()

    def _forget(self) -> None:
        """Drop the jobs that no worker has yet."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()


@dataclass(frozen=True)
class _Task:
    key: str
    job: str
    done: queue.SimpleQueue[tuple[str, str | Exception]]


class _Worker:
    """A thread of the owner, and the process that works for it; another one if that dies."""

    def __init__(self, waiting: queue.SimpleQueue[_Task | None], sandbox: bool) -> None:
        self._waiting, self._sandbox = waiting, sandbox
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._starting = threading.Lock()  # no process starts once the worker is stopped
        self._thread = threading.Thread(target=self._work, daemon=True)

    def begin(self, folder: str) -> None:
        """Take tasks from now on. folder: for the process's temporary files."""
        self._folder = folder
        self._thread.start()

    def stop(self) -> None:
        """Have the process end itself."""
        with self._starting:
            self._stopped = True
            if self._process is not None:
                self._process.terminate()

    def end(self, deadline: float) -> None:
        """See to it that the process has ended by then."""
        process = self._process
        if process is not None:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join(END_SECONDS)

    def _work(self) -> None:
        while (task := self._waiting.get()) is not None and not self._stopped:
            try:
                task.done.put((task.key, self._answer(task.job)))
            except Exception as error:
                task.done.put((task.key, error))
        self._close()

    def _answer(self, job: str) -> str:
        """What a process answers, after as many attempts as are allowed."""
        code, ready = 0, False
        for _ in range(ATTEMPTS):
            if self._process is None and not self._start():
                break
            ready |= self._ready
            if self._ready and (answer := self._ask(job)):
                return answer
            code = self._close()
        if self._stopped:
            return "failed the run was stopped"
        if not ready:
            raise BackendError(
                f"a worker process could not start (it ended with {_ending(code)}); "
                f"what it printed above says why, or run: {' '.join(self._command())}"
            )
        return (
            f"failed its worker process died {ATTEMPTS} times over it (with {_ending(code)}); "
            "is there enough memory for it? Grade it again with --jobs 1"
        )

    def _command(self) -> list[str]:
        # -P: not even a module beside the course's files comes before the installed ones.
        line = [sys.executable, "-P", "-m", "autograder.execution.pool"]
        return line if self._sandbox else [*line, "--unsafe"]

    def _start(self) -> bool:
        """Start a process and wait until it is ready; False if the pool ends."""
        with self._starting:
            if self._stopped:
                return False
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **sandbox_.threads(1), "TMPDIR": self._folder},
                start_new_session=True,  # Ctrl-C is for the owner, who ends its workers
            )
        self._ready = self._process.stdout.readline() == b"ready\n"
        return True

    def _ask(self, job: str) -> str:
        """The process's answer, "" if it died."""
        try:
            self._process.stdin.write(job.encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            return ""
        return answer[:-1].decode() if answer.endswith(b"\n") else ""

    def _close(self) -> int:
        """Let go of a process that ends; return its exit code."""
        if self._process is None:
            return 0
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        code = self._process.wait()
        with self._starting:
            self._process = None
        return code


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def serve(*, sandbox: bool) -> None:
    """A local worker's process: a job a line from stdin, an answer a line to stdout.

    It ends when its owner does: then stdin ends. It takes its kernel with it.
    """
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # whatever else is printed is no answer
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def leave(*signal_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit()  # where the run stands; so its kernel and its files go

    def read() -> None:
        for line in source:
            jobs.put(line)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
        time.sleep(END_SECONDS)
        os._exit(1)

    signal.signal(signal.SIGTERM, leave)
    threading.Thread(target=read, daemon=True).start()
    answer = "ready"
    while True:
        target.write(answer.encode() + b"\n")
        target.flush()
        answer = run_json(jobs.get().decode(), sandbox=sandbox)


if __name__ == "__main__":
    serve(sandbox="--unsafe" not in sys.argv)
