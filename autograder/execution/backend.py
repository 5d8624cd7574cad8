"""Where jobs run: in worker processes of this machine, or on the workers of a Dask cluster.

Only text goes to a worker and comes back: a job's JSON, and an answer that is one word (what came
of it), a blank, and a result's JSON or a sentence. A worker that dies loses nothing: its job is
given to another one, and a job that ends one worker after the other is `Failed`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from autograder.execution.execute import Job, Result, environment, execute
from autograder.execution.sandbox import Limits, SandboxError

Jobs = Mapping[str, Job] | Iterable[tuple[str, Job]]

ATTEMPTS = 3  # how many workers a job may end before it is given up
END_SECONDS = 5.0  # that a worker has to end its kernel and itself
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


def run_json(job: str, wanted: str = "", *, sandbox: bool = True) -> str:
    """Execute a job, JSON, in this process; return the answer.

    wanted: what this process must have, too, as `environment` tells it of the job; "" for anything.
    """
    try:
        value = Job.from_json(job)
        if wanted not in ("", found := environment(value.library)):
            return f"unfit this worker has {found}, but the grader has {wanted}"
        with _one_at_a_time, _patience(value.limits):
            return f"result {execute(value, sandbox=sandbox).to_json()}"
    except SandboxError as error:
        return f"sandbox {line_of(error)}"
    except Exception as error:  # an error of ours, in one job: the other ones go on
        return f"failed the grader itself failed on it ({type(error).__name__}: {line_of(error)})"


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


def line_of(error: object) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())


def value_of(answer: str) -> Result | Failed:
    """What an answer tells. Raises SandboxError."""
    kind, _, text = answer.partition(" ")
    if kind == "sandbox":
        raise SandboxError(text)
    return Result.from_json(text) if kind == "result" else Failed(text)


def pairs_of(jobs: Jobs) -> Iterator[tuple[str, Job]]:
    """Jobs with their keys, one after the other."""
    return iter(jobs.items() if isinstance(jobs, Mapping) else jobs)
