"""Restart & Run All: papermill runs notebooks of our own, each in a process of its own.

These are the authors' notebooks, not submissions: no sandbox. `rerun_without_network` proves that
they need no network.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from autograder.execution.sandbox import SandboxError, threads

CELL_SECONDS = 1800  # a cell that hangs must end some day, also in the profile "full"
NO_NETWORK = 78  # exit code of the process that looked and found a network


@dataclass(frozen=True)
class RunReport:
    """How a notebook ran. peak_memory_mib: of its kernel. cpu_seconds: of its kernel, all cores.

    slowest: up to three cells as (number, first line of source, seconds). Cells are numbered from
    1, as one counts them in the notebook. error: "" if it ran through, else the cell, its source
    line, the message and the command that runs this notebook alone. executed: the executed copy.
    """

    notebook: Path
    ok: bool
    seconds: float
    cpu_seconds: float
    peak_memory_mib: float
    slowest: tuple[tuple[int, str, float], ...]
    error: str
    executed: Path


def run_all(
    notebooks: Sequence[Path],
    *,
    output_dir: Path,
    profile: str,
    jobs: int,
    untouched: bool = False,
    variables: Mapping[Path, Mapping[str, str]] | None = None,
    on_done: Callable[[RunReport], None] | None = None,
) -> list[RunReport]:
    """Run notebooks from top to bottom, so many at once; report in the order given.

    Each runs in a copy of its folder: what it writes does not stay. untouched: students' notebooks,
    in which a cell may end with NotImplementedError, and then the next one runs. variables: of the
    environment, by notebook. on_done is called as each notebook ends, never twice at a time.
    """
    jobs = max(1, jobs)
    lock = threading.Lock()

    def one(notebook: Path) -> RunReport:
        own = (variables or {}).get(notebook, {})
        report = _run_in_process(notebook, output_dir, profile, jobs, untouched, own)
        if on_done is not None:
            with lock:
                on_done(report)
        return report

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, notebooks))


def junit_xml(reports: Sequence[RunReport]) -> str:
    """The reports as JUnit's XML, one test case a notebook."""
    suite = ElementTree.Element(
        "testsuite",
        name="restart-and-run-all",
        tests=str(len(reports)),
        failures=str(sum(not r.ok for r in reports)),
        errors="0",
        skipped="0",
        time=f"{sum(r.seconds for r in reports):.3f}",
    )
    for report in reports:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=report.notebook.parent.name,
            name=report.notebook.stem,
            time=f"{report.seconds:.3f}",
        )
        if not report.ok:
            first = _xml_text(report.error.partition("\n")[0])
            ElementTree.SubElement(case, "failure", message=first).text = _xml_text(report.error)
    text = ElementTree.tostring(suite, encoding="unicode", xml_declaration=False)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + text + "\n"


def _xml_text(text: str) -> str:
    """The text without the control characters that XML can't hold."""
    return "".join(c for c in text if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff"))


# -- Without a network -----------------------------------------------------------------------


def rerun_without_network(argv: Sequence[str]) -> int:
    """Run a command line where there is no network but the loopback; return its exit code.

    argv: the whole command, without the option that led here. The new namespace is looked at from
    inside before the command starts. Raises SandboxError where it can't be made.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxError("--no-network needs bubblewrap (bwrap): apt install bubblewrap")
    look = [sys.executable, "-m", "autograder.execution.runall", "--without-network", "--"]
    line = [bwrap, "--dev-bind", "/", "/", "--unshare-net", "--die-with-parent", "--"]
    tried = subprocess.run([*line, *look, "true"], capture_output=True, text=True)
    if tried.returncode == NO_NETWORK:
        raise SandboxError(f"a network is still there without one: {tried.stderr.strip()}")
    if tried.returncode != 0:
        raise SandboxError(f"can't run without a network: {tried.stderr.strip()}")
    return subprocess.run([*line, *look, *argv]).returncode


def network_left() -> str:
    """What of a network this process can reach, "" for none but the loopback."""
    names = [name for _, name in socket.if_nameindex()]
    if names != ["lo"]:
        return f"interfaces {', '.join(names)}"
    for family, address in (
        (socket.AF_INET, ("192.0.2.1", 9)),  # addresses kept for documentation
        (socket.AF_INET6, ("2001:db8::1", 9)),
    ):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(address)  # asks the routing table; sends nothing
        except OSError:
            continue
        return f"a route to {address[0]}"
    return ""


def _exec_without_network(argv: Sequence[str]) -> int:
    left = network_left()
    if left:
        print(left, file=sys.stderr)
        return NO_NETWORK
    os.execvp(argv[0], list(argv))


# -- One notebook, one process ---------------------------------------------------------------


def _run_in_process(
    notebook: Path,
    output_dir: Path,
    profile: str,
    jobs: int,
    untouched: bool,
    variables: Mapping[str, str],
) -> RunReport:
    notebook = notebook.absolute()
    executed = (output_dir / notebook.parent.name / notebook.name).absolute()
    executed.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "report.json")
        line = [sys.executable, "-m", "autograder.execution.runall"]
        line += [str(notebook), "--profile", profile, "--executed", str(executed)]
        line += ["--untouched"] if untouched else []
        done = subprocess.run(
            [*line, "--report", str(answer)],
            env={**os.environ, **threads(max(1, (os.cpu_count() or 1) // jobs)), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            values = json.loads(answer.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            error = f"the process that ran it ended with {done.returncode}: {last}"
            return RunReport(notebook, False, 0.0, 0.0, 0.0, (), error, executed)
    return RunReport(
        notebook,
        values["ok"],
        values["seconds"],
        values["cpu_seconds"],
        values["peak_memory_mib"],
        tuple((n, line, seconds) for n, line, seconds in values["slowest"]),
        values["error"],
        executed,
    )


def _run(notebook: Path, executed: Path, profile: str, untouched: bool) -> RunReport:
    """Run a notebook in this process, which should run no other: its children's memory counts."""
    import papermill  # here: it is slow to import, and only this process needs it

    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tagged = any("parameters" in c.get("metadata", {}).get("tags", []) for c in cells)
    # The default profile stands in the notebook itself: then it runs just as a student runs it.
    parameters = {"profile": profile} if tagged and profile != "small" else {}
    error = ""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            papermill.execute_notebook(
                str(notebook),
                str(executed),
                parameters=parameters,
                cwd=str(shutil.copytree(notebook.parent, Path(folder, notebook.parent.name))),
                kernel_name="python3",
                language="python",
                progress_bar=False,
                log_output=False,
                execution_timeout=CELL_SECONDS,
                allow_errors=untouched,
            )
        except papermill.PapermillExecutionError as failure:
            error = f"{failure.ename}: {failure.evalue}"
        except Exception as failure:  # a dead kernel, a cell that takes too long, a broken file
            error = f"{type(failure).__name__}: {failure}"
    seconds = time.monotonic() - start
    ran = _cells(executed)
    failed = _failed(ran, untouched)
    if untouched and failed is None and error.startswith("NotImplementedError"):
        error = ""
    if error:
        error = _explain(error, failed, notebook, profile)
    slowest = sorted(ran, key=lambda c: -c["seconds"])[:3]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # the kernel has ended
    return RunReport(
        notebook=notebook,
        ok=not error,
        seconds=round(seconds, 3),
        cpu_seconds=round(used.ru_utime + used.ru_stime, 3),
        peak_memory_mib=round(used.ru_maxrss / 1024, 1),
        slowest=tuple((c["number"], c["line"], round(c["seconds"], 3)) for c in slowest),
        error=error,
        executed=executed,
    )


def _cells(executed: Path) -> list[dict[str, Any]]:
    """The code cells of an executed copy, numbered as in the notebook: what papermill put in
    does not count."""
    try:
        cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return []
    found, number = [], 0
    for cell in cells:
        tags = cell["metadata"].get("tags", [])
        if {"injected-parameters", "papermill-error-cell-tag"} & set(tags):
            continue
        number += 1
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            run = cell["metadata"].get("papermill", {})
            found.append(
                {
                    "number": number,
                    "source": source,
                    "line": next((s for s in source.splitlines() if s.strip()), ""),
                    "seconds": run.get("duration") or 0.0,
                    "started": bool(run.get("start_time")),
                    "error": next(
                        (o for o in cell["outputs"] if o["output_type"] == "error"), None
                    ),
                }
            )
    return found


def _failed(cells: Sequence[Mapping[str, Any]], untouched: bool) -> Mapping[str, Any] | None:
    """The cell that ended the run; of an untouched notebook, the first that is no stub's fault."""
    for cell in cells:
        error = cell["error"]
        if error and not (untouched and error["ename"] == "NotImplementedError"):
            return cell
    if untouched:
        return None
    # After a kernel's death papermill calls the cell complete; but none has started after it.
    return next((c for c in reversed(cells) if c["started"]), None)


def _explain(message: str, failed: Mapping[str, Any] | None, notebook: Path, profile: str) -> str:
    text = [message]
    if failed is not None:
        error = failed["error"]
        if error:
            message = f"{error['ename']}: {error['evalue']}"
        lines = failed["source"].splitlines()
        traceback = "\n".join(error["traceback"]) if error else ""
        plain = re.sub(r"\x1b\[[0-9;]*m", "", traceback)
        # IPython marks the cell's own line with an arrow; the first one is the outermost frame.
        arrow = re.search(r"^-+> (\d+)", plain, flags=re.M)
        number = int(arrow[1]) if arrow and 0 < int(arrow[1]) <= len(lines) else 0
        line = lines[number - 1].strip() if number else failed["line"].strip()
        where = f"cell {failed['number']}, line {number}" if number else f"cell {failed['number']}"
        text = [f"{where}: {message.splitlines()[0] if message else ''}", f"  {line}"]
        text += [f"  {s}" for s in message.splitlines()[1:10]]
    name = os.path.relpath(notebook)
    text.append(f"run it alone: python -m autograder.execution.runall {name} --profile {profile}")
    return "\n".join(text)


def _main(arguments: list[str]) -> int:
    if arguments[:2] == ["--without-network", "--"]:
        return _exec_without_network(arguments[2:])
    parser = argparse.ArgumentParser(
        prog="python -m autograder.execution.runall", description="Run one notebook from top on."
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--profile", default="small", choices=("small", "full"))
    parser.add_argument("--untouched", action="store_true", help="stubs may raise")
    parser.add_argument("--executed", type=Path, help="where the executed copy goes")
    parser.add_argument("--report", type=Path, help="write the report there, as JSON")
    options = parser.parse_args(arguments)
    notebook = options.notebook.absolute()
    executed = options.executed or Path("runs", notebook.parent.name, notebook.name)
    executed.parent.mkdir(parents=True, exist_ok=True)
    report = _run(notebook, executed.absolute(), options.profile, options.untouched)
    if options.report:
        values = {**asdict(report), "notebook": str(notebook), "executed": str(executed)}
        options.report.write_text(json.dumps(values), encoding="utf-8")
    else:
        print(f"{'ok' if report.ok else 'FAILED'}: {notebook.name} in {report.seconds:.1f} s")
        if report.error:
            print(report.error)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
