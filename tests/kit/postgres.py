"""A real PostgreSQL server for tests, in a temporary folder; it ends with the tests."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from kit.wait import until

USER = "postgres"  # of the system; root must not run a server


def _program(name: str) -> str:
    """The newest one: Debian keeps them out of PATH."""
    versions = glob.glob(f"/usr/lib/postgresql/*/bin/{name}")
    newest = max(versions, key=lambda p: float(Path(p).parts[4]), default=None)
    found = newest or shutil.which(name)
    assert found, "no PostgreSQL: run scripts/setup tests"
    return found


def _line(*arguments: str) -> list[str]:
    """A command that ends with this process and, where this is root, runs as another user."""
    user = [f"--reuid={USER}", f"--regid={USER}", "--init-groups"] if os.geteuid() == 0 else []
    return ["setpriv", "--pdeathsig=INT", *user, *arguments]


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A running server; its address without a database."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # the path of a socket must be short
    data, log = folder / "data", folder / "log"
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    try:
        make = [_program("initdb"), "-D", str(data), "-U", "grader", "-A", "trust", "--no-sync"]
        made = subprocess.run(
            _line(*make, "-E", "UTF8", "--locale=C"), cwd="/", capture_output=True, text=True
        )
        assert made.returncode == 0, made.stdout + made.stderr
        options = ["listen_addresses=", f"unix_socket_directories={folder}", "fsync=off"]
        run = [_program("postgres"), "-D", str(data), *(w for o in options for w in ("-c", o))]
        with (
            log.open("w") as output,
            subprocess.Popen(_line(*run), cwd="/", stdout=output, stderr=output) as process,
        ):
            try:
                address = f"postgresql+psycopg2://grader@/{{}}?host={folder}"
                until(lambda: _answers(address, process, log))
                yield address
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
                process.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(address: str) -> str:
    """A database of its own on a server."""
    name = f"course_{uuid.uuid4().hex[:12]}"
    run(address.format("postgres"), f"CREATE DATABASE {name}")
    return address.format(name)


def run(url: str, statement: str) -> None:
    """Run one statement outside of a transaction."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(sa.text(statement))
    finally:
        engine.dispose()


def _answers(address: str, process: subprocess.Popen, log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    with contextlib.suppress(sa.exc.OperationalError):
        run(address.format("postgres"), "SELECT 1")
        return True
    return False
