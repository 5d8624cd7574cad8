"""Jobs on the workers of a Dask cluster."""

from __future__ import annotations

import json
import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from autograder.execution import cgroups
from autograder.execution import sandbox as sandbox_
from autograder.execution.backend import (
    ATTEMPTS,
    END_SECONDS,
    BackendError,
    Failed,
    Jobs,
    line_of,
    pairs_of,
    run_json,
    value_of,
)
from autograder.execution.execute import Result, environment
from autograder.fingerprints import CORE, Library

CONNECT_SECONDS = 10.0
WORKER_SECONDS = 10.0  # that a scheduler's first worker, started just now, has to come
LOOK_SECONDS = 2.0  # between two looks at which workers a cluster has
LACK_SECONDS = 60.0  # that jobs wait for a worker to come back


@dataclass(frozen=True)
class Tls:
    """The files that encrypt a connection: who signed theirs, our certificate, its key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


NO_FILES = Tls()


@dataclass
class _Flight:
    """A job on its way through the cluster. workers: where it may run; empty for anywhere."""

    key: str
    job: str
    environment: str
    attempt: int = 0
    alone: bool = False
    workers: frozenset[str] = frozenset()
    future: Any = None


class Cluster:
    """The workers of a Dask scheduler.

    address: "tcp://HOST:PORT", or "tls://HOST:PORT" with the files of tls. library: what the jobs
    may use of `practical_dl`. Every worker must have this process's versions and sources,
    and a sandbox. One that has not is not used, and tell is given a sentence about it.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: Tls = NO_FILES,
        library: Library = CORE,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.address, self._library, self._tell = address, library, tell
        self._tls = tls
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
                f"no connection to a Dask scheduler at {self.address}: {line_of(error)}. Does one "
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
        source = (_Flight(k, j.to_json(), environment(j.library)) for k, j in pairs_of(jobs))
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
                yield flight.key, value_of(f"{kind} {text}")

    def _submit(self, flight: _Flight, flying: dict[str, _Flight], done: Any) -> None:
        flight.attempt += 1
        flight.workers = frozenset(self._fit if self._unfit else ())
        flight.future = self._client.submit(
            run_json,
            flight.job,
            flight.environment,
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
            return "killed" if isinstance(error, KilledWorker) else "unfit", line_of(error)
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
        wanted = environment(self._library)
        answers = self._client.run(
            _introduce, *astuple(self._library), workers=sorted(addresses), on_error="return"
        )
        for address, answer in answers.items():
            if isinstance(answer, OSError):
                continue  # it has just gone, or will be asked again
            if isinstance(answer, Exception):
                why = f"it could not answer ({type(answer).__name__}: {line_of(answer)})"
            else:
                found, why = json.loads(answer)
                if found != wanted:
                    why = f"it has {found}, but this grader has {wanted}"
            if why:
                self._unfit[address] = why
                self._tell(f"worker {address} is not used: {why}")
            else:
                self._fit.add(address)

    def _security(self, distributed: Any) -> Any:
        """What encrypts the connection: our files, else those of Dask's own configuration."""
        configured = distributed.Security()
        encrypted = self.address.startswith("tls:") and not configured.tls_ca_file
        given = vars(self._tls)
        if not any(given.values()) and not encrypted:
            return configured
        for name, path in given.items():
            if path is None:
                raise BackendError(f"TLS needs three files, ca, cert and key: there is no {name}")
            if not Path(path).is_file():
                raise BackendError(f"TLS needs three files: {name} {path} is not there")
        return distributed.Security(
            tls_ca_file=str(self._tls.ca),
            tls_client_cert=str(self._tls.cert),
            tls_client_key=str(self._tls.key),
            require_encryption=True,
        )


def _introduce(number: str, data: tuple[str, ...], models: tuple[str, ...]) -> str:
    """On a worker: its environment for such jobs, and why it has no sandbox ("" if it has)."""
    cgroups.find()
    found = sandbox_.probe()
    why = "" if found.available else f"no sandbox: {found.reason}. {found.remedy}"
    return json.dumps([environment(Library(number, data, models)), why])
