"""Grade the faults as one class with `autograder grade`, and measure what came of each."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from autograder.course import Course
from autograder.grading import grade as grade_
from autograder.results import MISSING
from faults import kit
from faults.kit import FLAGGED, GRADED, HONEST, Fault, Measured, World, full

STATUSES = (kit.REFUSED, FLAGGED, GRADED)
SECONDS = 7200  # after which the whole run is given up
EXITS = (0, 3)  # 3: something was flagged or refused


@dataclass
class Listener:
    """Somebody on the host who listens on 127.0.0.1."""

    port: int = 0
    calls: int = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[Listener]:
        """Until the end of the block."""
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            self.port = server.getsockname()[1]
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()
            yield self

    def _serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                server.accept()[0].close()
                self.calls += 1


@contextlib.contextmanager
def held(database: Path, seconds: float) -> Iterator[None]:
    """Hold a gradebook for so long, in the background."""
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(seconds, lambda: connection.execute("ROLLBACK"))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        connection.close()


@dataclass(frozen=True)
class Outcome:
    """A graded class. said: what the command wrote; seconds: how long it took."""

    course: Course
    measured: Mapping[str, Measured]
    said: str
    seconds: float


def grade_class(root: Path, faults: Iterable[Fault], *, jobs: int = 2) -> Outcome:
    """Make a course in a folder that is not there yet, hand in all, grade it, measure."""
    faults = list(faults)
    course = kit.make_course(root)
    home = root.parent / "home"
    for name in ("canary.txt", ".ipython/profile_default/startup/README"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("as it was")
    with Listener().listening() as listener:
        world = World(root, listener.port)
        kit.hand_in(world, HONEST, kit.honest)
        for fault in faults:
            kit.hand_in(world, fault.who, fault.make)
        before = kit.tree(root, home)
        start = time.monotonic()
        ended, said = _grade(root, home, (), jobs)
        seconds = time.monotonic() - start
        host = [*kit.changes(before, kit.tree(root, home))]
        again = [f for f in faults if f.then]
        for fault in again:
            kit.hand_in(world, fault.who, fault.then)
        if again:
            with held(root / "gradebook.db", max(f.locked for f in again)):
                ended_then, said_then = _grade(root, home, [f.who for f in again], jobs)
            ended, said = ended or ended_then, said + said_then
        host += ["somebody was called"] if listener.calls else []
    host += ["a process was left"] if kit.still_running() else []
    measured = _measured(course, faults, ended, tuple(host), said)
    return Outcome(course, measured, said, seconds)


def _grade(root: Path, home: Path, students: Iterable[str], jobs: int) -> tuple[str, str]:
    """Run the command: how it ended, if not well, and what it said."""
    line = [sys.executable, "-m", "autograder", "grade", "1", "--jobs", str(jobs)]
    line += ["--root", str(root)]
    for student in students:
        line += ["--student", student]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(home),
        "MPLCONFIGDIR": _fonts(),
        "CANARY_HOME": str(home),
        kit.SECRET_NAME: kit.SECRET,
    }
    try:
        done = subprocess.run(
            line,
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        return f"the grader was stopped after {SECONDS} s", str(error.stdout)
    said = done.stdout + done.stderr
    good = done.returncode in EXITS and "Traceback" not in said
    return ("" if good else f"the grader ended with exit code {done.returncode}"), said


def _fonts() -> str:
    import matplotlib

    return matplotlib.get_cachedir()


def _measured(
    course: Course, faults: list[Fault], ended: str, host: tuple[str, ...], said: str
) -> dict[str, Measured]:
    root = course.root
    hidden = kit.hidden_lines(root)
    points = {f.who: kit.rows(root, f.who) for f in faults}
    control = Fault(HONEST, "", "", kit.honest, full(), student=HONEST)
    others = not kit.complaints(control, Measured(kit.rows(root, HONEST)))
    told = {name: _told(course, name, said) for name in points}
    return {
        fault.name: Measured(
            points=points[fault.who],
            status=told[fault.who][0],
            told=told[fault.who][1],
            reached=kit.reached(root, fault.who),
            shown=kit.shown(root, fault, hidden),
            host=host,
            others=others,
            ended=ended,
        )
        for fault in faults
    }


def _told(course: Course, who: str, said: str) -> tuple[str, str]:
    """The status of a submission, and all sentences that a teacher reads about it."""
    try:
        found = grade_.read_grades(course, course.weeks[0], [who])
    except Exception as error:  # rows are judged even where nothing else can be told
        return "lost", f"{type(error).__name__}: {error}"
    if not found:  # it is in the table that the command prints, if anywhere
        row = _row(said, who)
        return next((s for s in STATUSES if s in row), "lost"), row
    (grade,) = found
    there = [n for n in grade.notebooks if n.status != MISSING]
    lines = [line for n in there or grade.notebooks for line in (*n.reasons, *n.notes)]
    statuses = {n.status for n in there}
    grave = next((s for s in STATUSES if s in statuses), GRADED)
    return grave if there else MISSING, "\n".join(lines)


def _row(said: str, who: str) -> str:
    """A student's row of the printed table; its cells may take several lines."""
    lines = said.splitlines()
    start = next((i for i, line in enumerate(lines) if who in line), len(lines))
    row = lines[start : start + 1]
    for line in lines[start + 1 :]:
        cells = line.split("│")
        if len(cells) < 3 or cells[1].strip():  # the next student's, or the table's end
            break
        row.append(cells[-2])
    return " ".join(row)
