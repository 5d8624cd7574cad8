"""formgrader on a course: the server itself, and what a person does on its pages."""

from __future__ import annotations

import http.cookiejar
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autograder.course import Course
from kit.wait import PATIENCE_SECONDS, until

BIN = Path(sys.executable).parent


class Formgrader:
    """A running formgrader, and its HTTP API as its own pages use it.

    notebook: WEEK/NAME, with an answer `report`.
    """

    def __init__(self, address: str, notebook: str) -> None:
        self.address, self._notebook = address, notebook
        self._jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._jar))
        self._opener.open(f"{address}/formgrader/gradebook", timeout=PATIENCE_SECONDS).read()

    def get(self, path: str) -> Any:
        address = f"{self.address}/formgrader/api/{path}"
        with self._opener.open(address, timeout=PATIENCE_SECONDS) as answer:
            return json.load(answer)

    def put(self, path: str, value: dict[str, Any]) -> Any:
        token = next(c.value for c in self._jar if c.name == "_xsrf")
        request = urllib.request.Request(
            f"{self.address}/formgrader/api/{path}",
            data=json.dumps(value).encode(),
            headers={"Content-Type": "application/json", "X-XSRFToken": str(token)},
            method="PUT",
        )
        with self._opener.open(request, timeout=PATIENCE_SECONDS) as answer:
            return json.load(answer)

    def submission(self, student: str) -> str:
        """The ID of a student's notebook."""
        found = self.get(f"submitted_notebooks/{self._notebook}")
        return next(one["id"] for one in found if one["student"] == student)

    def answer(self, kind: str, student: str) -> dict[str, Any]:
        """A student's row of the report: kind is grade or comment."""
        rows = self.get(f"{kind}s?submission_id={self.submission(student)}")
        return next(row for row in rows if row["name"] == "report")

    def give(self, student: str, points: float, comment: str, extra: float | None = None) -> None:
        """What a person does on formgrader's page."""
        row = self.answer("grade", student)
        row |= {"manual_score": points, "extra_credit": extra}
        self.put(f"grade/{row['id']}", row)
        row = self.answer("comment", student) | {"manual_comment": comment}
        self.put(f"comment/{row['id']}", row)


@contextmanager
def running(course: Course, notebook: str) -> Iterator[Formgrader]:
    """JupyterLab with formgrader in the course's folder, as long as it is needed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [str(BIN / "jupyter"), "lab", "--no-browser", "--allow-root", f"--port={port}"]
    line += ["--ServerApp.port_retries=0", "--IdentityProvider.token="]
    line += [f"--notebook-dir={course.root}"]
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    with (
        (course.root / "server.log").open("w") as log,
        subprocess.Popen(line, cwd=course.root, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            address = f"http://127.0.0.1:{port}"
            until(lambda: _answers(address, course.root / "server.log", server))
            yield Formgrader(address, notebook)
        finally:
            server.terminate()


def _answers(address: str, log: Path, server: subprocess.Popen[bytes]) -> bool:
    assert server.poll() is None, log.read_text()
    try:
        with urllib.request.urlopen(f"{address}/api", timeout=PATIENCE_SECONDS):
            return True
    except (urllib.error.URLError, ConnectionError):
        return False
