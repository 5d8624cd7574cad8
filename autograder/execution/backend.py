"""Where jobs run: in worker processes of this machine, or on the workers of a Dask cluster.

Only text goes to a worker and comes back: a job's JSON, and an answer that is one word (what came
of it), a blank, and a result's JSON or a sentence. A worker that dies loses nothing: its job is
given to another one, and a job that ends one worker after the other is `Failed`.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from autograder.execution import cgroups
from autograder.execution import sandbox as sandbox_
from autograder.execution.execute import Job, Result, execute, library_key
from autograder.execution.sandbox import Limits, SandboxError

Jobs = Mapping[str, Job] | Iterable[tuple[str, Job]]

ATTEMPTS = 3  # how many workers a job may end before it is given up
END_SECONDS = 5.0  # that a worker has to end its kernel and itself
CONNECT_SECONDS = 10.0
WORKER_SECONDS = 10.0  # that a scheduler's first worker, started just now, has to come
LOOK_SECONDS = 2.0  # between two looks at which workers a cluster has
LACK_SECONDS = 60.0  # that jobs wait for a worker to come back
# A run ends by itself: its cells, their repetition after a death and its controls have their
# limits. Should it ever not, its worker ends after so many times the notebook's limit, and what
# the start of a kernel may take on a machine that is too busy.
PATIENCE = 4
PATIENCE_SECONDS = 300


class BackendError(Exception):
    """The jobs can't be run, or no more of them; the message says why and what to do."""


@dataclass(frozen=True)
class Failed:
    """No result, through no SandboxError either. message: why, a sentence for the teacher."""

    message: str


class Backend(Protocol):
    """Something that runs jobs; a context manager, whose end ends all that it started."""

    def run(self, jobs: Jobs) -> Iterator[tuple[str, Result | Failed]]:
        """Run jobs, given by distinct keys; yield every key once, as its job ends.

        Of a lazy iterable, only so many jobs are taken as keep the workers busy.
        Raises SandboxError or BackendError where no (more) jobs can be run.
        """
        ...

    def __enter__(self) -> Backend: ...

    def __exit__(self, *error: object) -> None: ...


def run_json(job: str, environment: str = "", *, sandbox: bool = True) -> str:
    """Execute a job, JSON, in this process; return the answer.

    environment: what this process must have, too, as `_environment` tells it; "" for anything.
    """
    if environment not in ("", _environment()):
        return f"unfit this worker has {_environment()}, but the grader has {environment}"
    try:
        value = Job.from_json(job)
        with _one_at_a_time, _patience(value.limits):
            return f"result {execute(value, sandbox=sandbox).to_json()}"
    except SandboxError as error:
        return f"sandbox {_line(error)}"
    except Exception as error:  # an error of ours, in one job: the other ones go on
        return f"failed the grader itself failed on it ({type(error).__name__}: {_line(error)})"


def _environment() -> str:
    """All that the result of a job depends on, besides the job."""
    release = importlib.metadata.version("practical-dl")
    return f"{sandbox_.versions()}, practical_dl {release} (sources {library_key()[:12]})"


_one_at_a_time = threading.Lock()  # for Dask workers with several threads


@contextlib.contextmanager
def _patience(limits: Limits) -> Iterator[None]:
    seconds = PATIENCE * limits.notebook_seconds + PATIENCE_SECONDS
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _line(error: object) -> str:
    return " ".join(str(error).split())


def _value(answer: str) -> Result | Failed:
    """What an answer tells. Raises SandboxError."""
    kind, _, text = answer.partition(" ")
    if kind == "sandbox":
        raise SandboxError(text)
    return Result.from_json(text) if kind == "result" else Failed(text)


def _pairs(jobs: Jobs) -> Iterator[tuple[str, Job]]:
    return iter(jobs.items() if isinstance(jobs, Mapping) else jobs)


# -- Processes of this machine ---------------------------------------------------------------


class LocalPool:
    """So many worker processes, each of which runs one job at a time.

    They start when there is work, and live as long as the pool. They end with the process that
    owns it, however that one ends.
    """

    def __init__(self, workers: int, *, sandbox: bool = True) -> None:
        self._waiting: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._workers = [_Worker(self._waiting, sandbox) for _ in range(workers)]

    def __enter__(self) -> LocalPool:
        cgroups.probe()  # before the workers: on version 2 it finds this process a group of its own
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
        source = _pairs(jobs)
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
                yield key, _value(answer)
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
        line = [sys.executable, "-P", "-m", "autograder.execution.backend"]
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


# -- A Dask cluster --------------------------------------------------------------------------


@dataclass
class _Flight:
    """A job on its way through the cluster. workers: where it may run; empty for anywhere."""

    key: str
    job: str
    attempt: int = 0
    alone: bool = False
    workers: frozenset[str] = frozenset()
    future: Any = None


class Cluster:
    """The workers of a Dask scheduler.

    address: "tcp://HOST:PORT", or "tls://HOST:PORT" with the files ca, cert and key. Every worker
    must have this process's versions, and a sandbox. One that has not is not used, and tell is
    given a sentence about it.
    """

    def __init__(
        self,
        address: str,
        *,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.address, self._tell = address, tell
        self._files = {"ca": ca, "cert": cert, "key": key}
        self._fit: set[str] = set()
        self._unfit: dict[str, str] = {}  # the reason by address
        self._lacking = 0.0  # since when there is no worker for a job; 0.0: there is one
        self._next_look = 0.0

    def __enter__(self) -> Cluster:
        """Connect, and look at the workers. Raises BackendError."""
        try:
            import distributed
        except ImportError:
            raise BackendError(
                "grading on a cluster needs Dask: pip install 'practical-dl[cluster]'"
            ) from None
        # What goes wrong is told by BackendError, not by what Dask logs about itself.
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        security = self._security(distributed)
        try:
            self._client = distributed.Client(
                self.address,
                timeout=CONNECT_SECONDS,
                security=security,
                set_as_default=False,
                name="autograder",
            )
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise BackendError(
                f"no connection to a Dask scheduler at {self.address}: {_line(error)}. Does one "
                "run there, and does it accept these certificates? See docs/cluster.md"
            ) from error
        try:
            self._first_look()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        # The scheduler forgets the jobs that did not end; no worker begins another one.
        self._client.close(timeout=END_SECONDS)

    def run(self, jobs: Jobs) -> Iterator[tuple[str, Result | Failed]]:
        """As `Backend.run`. Besides each worker's job, one more is ready for it.

        Dask blames the death of a worker on all jobs that it had, and gives a job up when it was
        blamed too often (the scheduler's `allowed-failures`). A job that is given up runs again
        after all others, alone: then the blame is right.
        """
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        source = (_Flight(key, job.to_json()) for key, job in _pairs(jobs))
        again: deque[_Flight] = deque()
        suspects: deque[_Flight] = deque()
        flying: dict[str, _Flight] = {}

        def following() -> _Flight | None:
            flight = again.popleft() if again else next(source, None)
            return suspects.popleft() if not flight and suspects and not flying else flight

        while True:
            while len(flying) < 2 * len(self._fit) and (flight := following()):
                self._submit(flight, flying, done)
            if not flying and self._fit:
                return  # there was room, and nothing followed
            self._look(flying, again)
            try:
                future = done.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            flight = flying.pop(future.key, None)
            if flight is None:  # it was submitted again meanwhile
                continue
            kind, text = self._answer(future)
            if kind == "killed" and not flight.alone:
                flight.alone = True
                suspects.append(flight)
            elif kind == "killed":
                sentence = "the worker that ran it died, time and again; is there enough memory?"
                yield flight.key, Failed(sentence)
            elif kind in ("unfit", "sandbox", "lost") and flight.attempt < ATTEMPTS:
                self._fit.clear()  # look at all of them again
                self._next_look = 0.0
                again.append(flight)
            elif kind in ("unfit", "lost"):
                raise BackendError(f"the workers at {self.address} could not run a job: {text}")
            else:
                yield flight.key, _value(f"{kind} {text}")

    def _submit(self, flight: _Flight, flying: dict[str, _Flight], done: Any) -> None:
        flight.attempt += 1
        flight.workers = frozenset(self._fit if self._unfit else ())
        flight.future = self._client.submit(
            run_json,
            flight.job,
            _environment(),
            # The same job of two graders is run once; another attempt is another task to Dask.
            key=flight.key if flight.attempt == 1 else f"{flight.key}-{flight.attempt}",
            workers=list(flight.workers) or None,
        )
        flying[flight.future.key] = flight
        flight.future.add_done_callback(done.put)

    def _answer(self, future: Any) -> tuple[str, str]:
        """The answer's kind and text; "killed" and "lost" are Dask's own."""
        from distributed import KilledWorker

        if future.status == "error":
            error = future.exception()
            return "killed" if isinstance(error, KilledWorker) else "unfit", _line(error)
        try:
            kind, _, text = future.result(timeout=LACK_SECONDS).partition(" ")
            return kind, text
        except TimeoutError:
            return "lost", "a result was lost with its worker"
        except (OSError, CancelledError):
            raise self._gone() from None

    def _gone(self) -> BackendError:
        return BackendError(
            f"the Dask scheduler at {self.address} is gone or was restarted. What has been graded "
            "is kept: run the same command again to go on"
        )

    # -- The workers -----------------------------------------------------------------------

    def _first_look(self) -> None:
        """Find a worker that is fit; they may have been started just now."""
        deadline = time.monotonic() + WORKER_SECONDS
        self._look({}, deque())
        while not self._fit:
            if time.monotonic() > deadline:
                reasons = "; ".join(f"{a}: {why}" for a, why in sorted(self._unfit.items()))
                raise BackendError(
                    f"no worker at {self.address} can be used. {reasons}"
                    if reasons
                    else f"the Dask scheduler at {self.address} has no workers: start one with "
                    f"`dask worker {self.address} --nthreads 1`"
                )
            time.sleep(0.2)
            self._next_look = 0.0
            self._look({}, deque())

    def _look(self, flying: dict[str, _Flight], again: deque[_Flight]) -> None:
        """See, now and then, which workers there are. Raises BackendError where they lack."""
        if self._client.status != "running":
            raise self._gone()
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        try:
            present = set(self._client.nthreads())
            self._fit &= present
            self._unfit = {a: why for a, why in self._unfit.items() if a in present}
            self._meet(present - self._fit - set(self._unfit))
        except (OSError, CancelledError):
            raise self._gone() from None
        for key, flight in list(flying.items()):
            if flight.workers and not flight.workers & self._fit:  # it would wait for ever
                del flying[key]
                flight.future.cancel()
                again.append(flight)
        if self._fit:
            self._lacking = 0.0
        elif not self._lacking:
            self._lacking = now
        elif now > self._lacking + LACK_SECONDS:
            raise BackendError(
                f"for {LACK_SECONDS:.0f} s the Dask scheduler at {self.address} has had no worker "
                "that can be used. What has been graded is kept: start workers, and run the same "
                "command again to go on"
            )

    def _meet(self, addresses: set[str]) -> None:
        """Ask workers who they are, and use those that are fit."""
        if not addresses:
            return
        answers = self._client.run(_introduce, workers=sorted(addresses), on_error="return")
        for address, answer in answers.items():
            if isinstance(answer, OSError):
                continue  # it has just gone, or will be asked again
            if isinstance(answer, Exception):
                why = f"it could not answer ({type(answer).__name__}: {_line(answer)})"
            else:
                environment, why = json.loads(answer)
                if environment != _environment():
                    why = f"it has {environment}, but this grader has {_environment()}"
            if why:
                self._unfit[address] = why
                self._tell(f"worker {address} is not used: {why}")
            else:
                self._fit.add(address)

    def _security(self, distributed: Any) -> Any:
        """What encrypts the connection: our files, else those of Dask's own configuration."""
        configured = distributed.Security()
        encrypted = self.address.startswith("tls:") and not configured.tls_ca_file
        if not any(self._files.values()) and not encrypted:
            return configured
        for name, path in self._files.items():
            if path is None:
                raise BackendError(f"TLS needs three files, ca, cert and key: there is no {name}")
            if not Path(path).is_file():
                raise BackendError(f"TLS needs three files: {name} {path} is not there")
        return distributed.Security(
            tls_ca_file=str(self._files["ca"]),
            tls_client_cert=str(self._files["cert"]),
            tls_client_key=str(self._files["key"]),
            require_encryption=True,
        )


def _introduce() -> str:
    """On a worker: its environment, and why it has no sandbox ("" if it has)."""
    cgroups.probe()
    found = sandbox_.probe()
    why = "" if found.available else f"no sandbox: {found.reason}. {found.remedy}"
    return json.dumps([_environment(), why])


if __name__ == "__main__":
    serve(sandbox="--unsafe" not in sys.argv)
