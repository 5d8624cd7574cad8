"""What runs the tests: two parts and one count of both, and a limit in CPU seconds."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import run
from kit import limit

FILES = {
    "pytest.ini": "[pytest]\nmarkers = machine\n",
    "test_one.py": "import pytest\ndef test_a(): pass\ndef test_b(): pytest.skip('why')\n",
    "test_two.py": "import pytest\npytestmark = pytest.mark.machine\ndef test_c(): pass\n",
}


@pytest.mark.parametrize(
    ("file", "more", "line", "code"),
    [
        ("test_one.py", "", "2 passed, 0 failed, 1 skipped", 0),
        ("test_two.py", "def test_d(): assert 0", "2 passed, 1 failed, 1 skipped", 1),
        ("test_one.py", "import nowhere", "0 passed, 1 failed", 2),
        (
            "test_two.py",
            "def test_e(): __import__('os')._exit(0)",
            "1 passed, 1 failed, 1 skipped",
            3,
        ),
    ],
    ids=["right", "wrong", "no module", "no end"],
)
def test_the_last_line_counts_all(
    file: str,
    more: str,
    line: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content + (more if name == file else ""))
    monkeypatch.setattr(run, "REPOSITORY", tmp_path)
    # In one process each: it is the counting that is looked at, and two take seconds to start.
    monkeypatch.setattr(run, "PARTS", {n: o[o.index("-m") :] for n, o in run.PARTS.items()})
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:nbval -p no:hypothesispytest -p no:anyio")
    assert run.main([]) == code
    assert capfd.readouterr().out.splitlines()[-1] == line


WORKS = "while True: pass"


def test_what_works_too_long_is_ended() -> None:
    limit.start(0.3)
    with pytest.raises(pytest.fail.Exception, match="CPU seconds"):
        exec(WORKS)


def test_what_works_below_it_counts() -> None:
    limit.start(1)
    with pytest.raises(pytest.fail.Exception, match="CPU seconds"):
        subprocess.run([sys.executable, "-c", WORKS])


def test_to_wait_is_no_work() -> None:
    limit.start(0.5)
    time.sleep(1.2)
