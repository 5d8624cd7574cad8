"""Restart & Run All: what is reported of good and bad notebooks, and the proof of no network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat import v4

from autograder.execution import runall
from autograder.execution.runall import RunReport, junit_xml, rerun_without_network, run_all
from autograder.execution.sandbox import SandboxError


def write(path: Path, *cells: str) -> Path:
    """A notebook with a title, a parameters cell and the cells given (numbered from 3)."""
    parameters = v4.new_code_cell("profile = 'small'", metadata={"tags": ["parameters"]})
    made = [v4.new_markdown_cell("# Title"), parameters, *map(v4.new_code_cell, cells)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(v4.new_notebook(cells=made), path)
    return path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[RunReport], list[RunReport], Path]:
    """A good and two bad notebooks, run two at once in the profile "full"."""
    folder = tmp_path_factory.mktemp("runall")
    week = folder / "week99_topic"
    (week).mkdir()
    (week / "helper.py").write_text("VALUE = 5\n")
    good = write(
        week / "good.ipynb",
        "import time; time.sleep(0.5)",
        "import helper; import sys; print(profile, helper.VALUE); print('w', file=sys.stderr)",
        "block = bytearray(150 * 2**20)",
    )
    bad = write(
        week / "bad.ipynb",
        "x = 1\ny = 2",
        "# a comment\nz = x + y\nassert z == 4, 'three is <not> \x01 four'\nprint(z)",
        "print('never')",
    )
    dead = write(week / "dead.ipynb", "x = 1", "import os\nos._exit(1)")
    done: list[RunReport] = []
    reports = run_all(
        [good, bad, dead], output_dir=folder / "runs", profile="full", jobs=2, on_done=done.append
    )
    return reports, done, folder


def test_cpu_seconds_are_the_kernel_s_and_of_what_it_starts(tmp_path: Path) -> None:
    """A kernel that waits uses none; one that works, also in a child, uses as much as it does."""
    spend = "import time\nwhile time.process_time() < 2.0: pass"
    cells = {
        "waits": "import time; time.sleep(2.0)",
        "works": spend,
        "child": f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spend!r}])",
    }
    notebooks = [write(tmp_path / "week99_topic" / f"{n}.ipynb", c) for n, c in cells.items()]
    reports = run_all(notebooks, output_dir=tmp_path / "runs", profile="small", jobs=1)
    waits, works, child = (report.cpu_seconds for report in reports)
    assert waits > 0.1 and works > 2.0 and child > 2.0 + waits / 2


def test_reports_come_in_order_and_as_they_end(ran: tuple) -> None:
    reports, done, _ = ran
    assert [r.notebook.stem for r in reports] == ["good", "bad", "dead"]
    assert [r.ok for r in reports] == [True, False, False]
    assert sorted(done, key=lambda r: r.notebook) == sorted(reports, key=lambda r: r.notebook)


def test_a_good_notebook(ran: tuple) -> None:
    report = ran[0][0]
    assert report.error == ""
    assert report.seconds > 0.5
    assert 200 < report.peak_memory_mib < 1000
    executed = nbformat.read(report.executed, as_version=4)
    own = [c for c in executed.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    took = [
        (number, cell.source.splitlines()[0], round(cell.metadata.papermill.duration or 0.0, 3))
        for number, cell in enumerate(own, start=1)
        if cell.cell_type == "code"
    ]
    assert list(report.slowest) == sorted(took, key=lambda t: -t[2])[:3] and len(took) == 4
    assert took[1][:2] == (3, "import time; time.sleep(0.5)") and took[1][2] >= 0.5
    assert "full 5\n" in [o.get("text") for c in executed.cells for o in c.get("outputs", [])]
    assert report.executed == ran[2] / "runs" / "week99_topic" / "good.ipynb"


def test_a_failure_names_cell_line_message_and_command(ran: tuple) -> None:
    report = ran[0][1]
    lines = report.error.splitlines()
    assert lines[0].startswith("cell 4, line 3: AssertionError: three is <not>")
    assert lines[1].strip().startswith("assert z == 4")
    assert "python -m autograder.execution.runall" in lines[-1]
    assert "bad.ipynb --profile full" in lines[-1]
    assert report.executed.is_file()


def test_a_dead_kernel_is_a_failure(ran: tuple) -> None:
    report = ran[0][2]
    assert "died" in report.error.lower()
    assert "cell 4" in report.error and "import os" in report.error


def test_junit(ran: tuple) -> None:
    suite = ElementTree.fromstring(junit_xml(ran[0]))
    assert (suite.tag, suite.get("tests"), suite.get("failures")) == ("testsuite", "3", "2")
    cases = {c.get("name"): c for c in suite}
    assert cases["good"].find("failure") is None
    assert cases["good"].get("classname") == "week99_topic"
    failure = cases["bad"].find("failure")
    assert failure is not None and failure.text
    assert "three is <not>" in failure.text and "assert z == 4" in failure.text


def test_a_file_that_is_no_notebook_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "week").mkdir()
    broken = tmp_path / "week" / "broken.ipynb"
    broken.write_text("{")
    (report,) = run_all([broken], output_dir=tmp_path / "runs", profile="small", jobs=1)
    assert not report.ok and report.error


def test_the_command_of_the_report_runs_one_notebook(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = write(tmp_path / "week" / "one.ipynb", "print(profile)")
    assert runall._main([str(notebook), "--executed", str(tmp_path / "copy.ipynb")]) == 0
    assert capsys.readouterr().out.startswith("ok: one.ipynb")


def test_without_network_there_is_none(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    script = (
        "import json, socket, sys\n"
        "names = [name for _, name in socket.if_nameindex()]\n"
        "try: socket.create_connection(('192.0.2.1', 80), 5); said = 'connected'\n"
        "except OSError as error: said = str(error)\n"
        f"json.dump([names, said], open({str(found)!r}, 'w')); sys.exit(7)"
    )
    assert rerun_without_network([sys.executable, "-c", script]) == 7
    names, said = json.loads(found.read_text())
    assert names == ["lo"] and "unreachable" in said


def test_a_notebook_runs_without_network(tmp_path: Path) -> None:
    notebook = write(tmp_path / "week" / "one.ipynb", "print(1)")
    line = [sys.executable, "-m", "autograder.execution.runall", str(notebook)]
    assert rerun_without_network([*line, "--executed", str(tmp_path / "copy.ipynb")]) == 0


def test_the_proof_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the namespace is not made, the look from inside notices."""
    monkeypatch.setattr(runall.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    assert runall.network_left() == "interfaces lo, eth0"
    assert runall._main(["--without-network", "--", "true"]) == runall.NO_NETWORK


def test_no_bubblewrap_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runall.shutil, "which", lambda name: None)
    with pytest.raises(SandboxError, match="bubblewrap"):
        rerun_without_network(["true"])
