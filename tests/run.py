"""All tests in two parts, and one line that counts both: what `make test` runs.

Two processes share the files of the first part. What is marked `machine` measures or exhausts the
machine, and runs alone after it. Arguments go to pytest, which writes runs/tests/PART.xml.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

REPOSITORY = Path(__file__).parents[1]
PARTS = {
    "together": ["-n", "2", "--dist", "loadfile", "-m", "not machine"],
    "alone": ["-m", "machine"],
}
ENDED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)


def main(arguments: list[str]) -> int:
    """Run both parts; the exit code is the first that tells of something wrong."""
    counts: Counter[str] = Counter(passed=0, failed=0)
    codes = []
    for name, options in PARTS.items():
        report = REPOSITORY / "runs" / "tests" / f"{name}.xml"
        report.unlink(missing_ok=True)
        codes.append(_pytest([*options, *arguments, f"--junit-xml={report}"]))
        counts += _counts(report)
        if codes[-1] not in ENDED:
            break
    code = next((c for c in codes if c not in (0, pytest.ExitCode.NO_TESTS_COLLECTED)), min(codes))
    if code and not counts["failed"]:  # nothing was counted, or not to the end
        counts["failed"] = 1
    print(", ".join(f"{counts[k]} {k}" for k in ("passed", "failed", "skipped") if k in counts))
    return code


def _pytest(arguments: list[str]) -> int:
    with subprocess.Popen([sys.executable, "-m", "pytest", *arguments], cwd=REPOSITORY) as process:
        while process.poll() is None:
            with contextlib.suppress(KeyboardInterrupt):  # pytest got it, too, and ends by itself
                process.wait()
    return process.returncode


def _counts(report: Path) -> Counter[str]:
    if not report.is_file():
        return Counter()
    found: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        failed = kinds & {"failure", "error"}
        found["failed" if failed else "skipped" if "skipped" in kinds else "passed"] += 1
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
