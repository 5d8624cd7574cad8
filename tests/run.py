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
    "together": ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not machine"],
    "alone": ["-m", "machine"],
}
ENDED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)


def main(arguments: list[str]) -> int:
    """Run both parts; the exit code is the first that tells of something wrong."""
    counts = Counter(passed=0, failed=0)
    codes = []
    for name, options in PARTS.items():
        report = REPOSITORY / "runs" / "tests" / f"{name}.xml"
        report.unlink(missing_ok=True)
        code = _pytest([*options, *arguments, f"--junit-xml={report}"])
        if report.is_file():
            counts.update(_counts(report))
        else:  # it did not come to its end, whatever it says
            code = code or pytest.ExitCode.INTERNAL_ERROR
        codes.append(code)
        if code not in ENDED:
            break
    code = next((c for c in codes if c not in (0, pytest.ExitCode.NO_TESTS_COLLECTED)), min(codes))
    if code and not counts["failed"]:  # what went wrong is in no test
        counts["failed"] = 1
    print("\n" + ", ".join(f"{number} {kind}" for kind, number in counts.items()))
    return code


def _pytest(arguments: list[str]) -> int:
    with subprocess.Popen([sys.executable, "-m", "pytest", *arguments], cwd=REPOSITORY) as process:
        while process.poll() is None:
            with contextlib.suppress(KeyboardInterrupt):  # pytest got it, too, and ends by itself
                process.wait()
    return process.returncode


def _counts(report: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        failed = kinds & {"failure", "error"}
        found["failed" if failed else "skipped" if "skipped" in kinds else "passed"] += 1
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
