"""What this machine has of what the course needs, and what to do about what it lacks.

Each check returns a Finding; its arguments are the facts, by default this machine's.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autograder import course as course_
from autograder.errors import CourseError

PYTHON = (3, 11)
DISK_GIB = 2.0  # submissions, executed copies and feedback of a class
MEMORY_GIB = 3.0  # of one notebook in `small`
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SETUP = "run `make setup`"


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    needed: without it nothing is graded. remedy: what to do, "" where there is nothing to do.
    """

    name: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True


def examine(root: Path) -> list[Finding]:
    """All findings, for the course in root."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("Python", python),
        ("packages", packages),
        ("torch", torch),
        ("sandbox", sandbox),
        ("seccomp", seccomp),
        ("cgroups", cgroups),
        ("kernels", kernels),
        ("course", lambda: course(root)),
        ("built trees", lambda: built(root)),
        ("disk", lambda: disk(root)),
        ("memory", memory),
        ("data", lambda: data(root)),
        ("models", lambda: models(root)),
        ("ports", ports),
        ("Chromium", chromium),
        ("Dask", dask),
        ("PostgreSQL", postgresql),
    ]
    findings = []
    for name, check in checks:
        try:
            findings.append(check())
        except ImportError as error:
            findings.append(Finding(name, False, str(error), SETUP))
    return findings


def can_grade(findings: Iterable[Finding]) -> bool:
    """Whether all that grading needs is there."""
    return all(f.ok for f in findings if f.needed)


def python(version: Sequence[int] = sys.version_info) -> Finding:
    """Python is recent enough."""
    least = ".".join(map(str, PYTHON))
    found = f"{'.'.join(map(str, version[:3]))}, {platform.system()} {platform.machine()}"
    remedy = f"install Python {least} or newer, then {SETUP}"
    return _finding("Python", tuple(version[:2]) >= PYTHON, found, remedy)


def packages(requirements: Iterable[str] | None = None) -> Finding:
    """The packages of an instructor are installed. requirements: as the project's metadata say."""
    if requirements is None:
        try:
            requirements = importlib.metadata.requires("practical-dl") or []
        except importlib.metadata.PackageNotFoundError:
            return Finding("packages", False, "practical-dl is not installed", SETUP)
    wanted = {
        re.split(r"[^\w.-]", text)[0]
        for text in requirements
        if "extra ==" not in text or re.search(r"extra == ['\"](students|instructors)['\"]", text)
    } - {"practical-dl"}
    missing = sorted(name for name in wanted if not _is_installed(name))
    found = f"missing: {', '.join(missing)}" if missing else f"{len(wanted)} that grading needs"
    return _finding("packages", not missing, found, SETUP)


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def torch(has_driver: bool | None = None) -> Finding:
    """Where torch computes. has_driver: whether there is an NVIDIA driver."""
    import torch

    if has_driver is None:
        has_driver = shutil.which("nvidia-smi") is not None
    found = f"{torch.__version__}, {torch.get_num_threads()} CPU threads"
    if torch.cuda.is_available():
        names = (torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Finding("torch", True, f"{found}, CUDA {torch.version.cuda}: {', '.join(names)}")
    if torch.backends.mps.is_available():
        return Finding("torch", True, f"{found}, MPS")
    remedy = (
        "there is an NVIDIA driver, but this torch can't use it: update the driver, or install "
        "the torch build for its CUDA version"
    )
    return _finding("torch", not has_driver, f"{found}, no GPU", remedy, needed=False)


def sandbox() -> Finding:
    """A sandbox starts here."""
    from autograder.execution import sandbox

    probe = sandbox.probe()
    found = "bubblewrap starts one" if probe.available else probe.reason
    return _finding("sandbox", probe.available, found, probe.remedy)


def kernels() -> Finding:
    """Whether kernels are forked from a preloaded parent."""
    from autograder.execution import parent

    reason = parent.trouble()
    found = f"each starts cold, which takes longer ({reason})" if reason else "they are forked"
    remedy = "let programs in a sandbox have capabilities over their own namespaces"
    return _finding("kernels", not reason, found, remedy, needed=False)


def seccomp() -> Finding:
    """The kernel takes our filter of system calls."""
    from autograder.execution.inside import seccomp

    reason = seccomp.trouble()
    found = f"none: {reason}" if reason else "system calls are filtered"
    remedy = "grade on x86_64 or aarch64 with a kernel that has CONFIG_SECCOMP_FILTER"
    return _finding("seccomp", not reason, found, remedy, needed=False)


def cgroups() -> Finding:
    """The kernel holds all processes of a notebook to its limits, together."""
    from autograder.execution import cgroups

    probe = cgroups.find()
    if probe.cgroups is None:
        found = f"none, so rlimits and a watchdog limit a notebook: {probe.reason}"
        return Finding("cgroups", False, found, probe.remedy, needed=False)
    found = f"version {probe.cgroups.version} limits the memory and processes of a notebook"
    return Finding("cgroups", True, found, needed=False)


def course(root: Path) -> Finding:
    """The course's files are there, and those of each week that course.toml lists."""
    try:
        loaded = course_.load(root)
    except CourseError as error:
        here = (root / course_.FILE).is_file()
        remedy = "correct it" if here else "give the course's folder: --root FOLDER"
        return Finding("course", False, _first(error.problems), remedy)
    files = [
        Path("weeks", week.folder, f"{notebook.name}.py")
        for week in loaded.weeks
        for notebook in week.notebooks
    ]
    missing = [str(f) for f in [*files, Path("nbgrader_config.py")] if not (root / f).is_file()]
    found = f"{loaded.name} {loaded.version}: {len(loaded.weeks)} weeks, {len(files)} notebooks"
    if missing:
        found = f"missing: {', '.join(missing)}"
    return _finding("course", not missing, found, "take them from the course's repository")


def built(root: Path) -> Finding:
    """source/ and release/ are what weeks/ builds."""
    from autograder.authoring import build

    try:
        loaded = course_.load(root)
        files = build.build_weeks(loaded, loaded.weeks)
    except CourseError as error:
        return Finding("built trees", False, _first(error.problems), "correct it")
    problems = build.differences(root, build.folders_of(loaded, loaded.weeks), files)
    found = _first(problems) if problems else f"{len(files)} files, as weeks/ builds them"
    return _finding("built trees", not problems, found, "run `autograder build`")


def disk(root: Path, temporary: Path | None = None) -> Finding:
    """The course's folder can be written to, and there is room there and for temporary files."""
    if not os.access(root, os.W_OK):
        remedy = "grade in a copy of the course that is yours"
        return Finding("disk", False, f"{root} can't be written to", remedy)
    folders = [root, temporary or Path(tempfile.gettempdir())]
    free = {folder: shutil.disk_usage(folder).free / 2**30 for folder in folders}
    found = ", ".join(f"{gib:.1f} GiB free for {folder}" for folder, gib in free.items())
    remedy = f"free some: {DISK_GIB:g} GiB are needed (TMPDIR names the temporary folder)"
    return _finding("disk", min(free.values()) >= DISK_GIB, found, remedy)


def memory(available: int | None = None) -> Finding:
    """There is memory for a notebook. available: bytes."""
    import psutil

    gib = (psutil.virtual_memory().available if available is None else available) / 2**30
    remedy = f"a notebook may use {MEMORY_GIB:g} GiB: end other programs, and grade with --jobs 1"
    return _finding("memory", gib >= MEMORY_GIB, f"{gib:.1f} GiB free", remedy, needed=False)


def data(root: Path) -> Finding:
    """The data sets that the course's weeks load are in the cache."""
    from practical_dl import data

    names = _loaded(root, "data")
    missing = [name for name in names if name not in data.names() or not data.is_cached(name)]
    there = [name for name in names if name not in missing]
    found = f"{data.cache_folder()}: {', '.join(there) or 'none'}"
    if missing:
        found += f"; missing: {', '.join(missing)}"
    return _finding("data", not missing, found, "run `autograder fetch`", needed=False)


def models(root: Path) -> Finding:
    """The packages of the pretrained models that the course's weeks load are installed."""
    from practical_dl import models

    names = _loaded(root, "models")
    try:
        missing = [name for name in names if not models.is_installed(name)]
    except models.ModelError as error:  # no such model
        remedy = "name another one in week.toml, then `autograder fetch`"
        return Finding("models", False, str(error), remedy, needed=False)
    found = ", ".join(names) or "none is needed"
    commands = dict.fromkeys(f"`{models.install(name)}`" for name in missing)
    remedy = f"run {', '.join(commands)}, then `autograder fetch`"
    if missing:
        packages = dict.fromkeys(models.requirement(name) for name in missing)
        found = f"not installed: {', '.join(packages)}, for {', '.join(missing)}"
    return _finding("models", not missing, found, remedy, needed=False)


def _loaded(root: Path, kind: str) -> list[str]:
    """What of a kind ("data", "models") the weeks of a course load."""
    try:
        weeks = course_.load(root).weeks
    except CourseError:  # another check tells
        return []
    return list(dict.fromkeys(name for week in weeks for name in getattr(week, kind)))


def ports(host: str = "127.0.0.1") -> Finding:
    """JupyterLab, formgrader and kernels outside the sandbox can listen on this machine."""
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
            probe.listen()
            found = f"a port of {host} is free"
    except OSError as error:
        remedy = "bring the loopback interface up: `sudo ip link set lo up`"
        return Finding("ports", False, f"no port of {host}: {error}", remedy, needed=False)
    return Finding("ports", True, found, needed=False)


def chromium() -> Finding:
    """A browser for the tests that look at pages."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    found = path or "not found; only `make test` uses it"
    return _finding("Chromium", path is not None, found, "run `scripts/setup tests`", needed=False)


def dask(module: str = "distributed") -> Finding:
    """Dask, for a cluster."""
    what = "only `autograder grade --scheduler` uses it"
    return _optional("Dask", "distributed", module, what)


def postgresql(module: str = "psycopg2") -> Finding:
    """The driver for a gradebook in PostgreSQL."""
    what = "only a gradebook in PostgreSQL uses its driver, psycopg2"
    return _optional("PostgreSQL", "psycopg2-binary", module, what)


def _optional(name: str, package: str, module: str, what: str) -> Finding:
    """A package that nothing but one feature needs."""
    there = importlib.util.find_spec(module) is not None
    version = importlib.metadata.version(package) if _is_installed(package) else "installed"
    found = version if there else f"not installed; {what}"
    return _finding(name, there, found, SETUP, needed=False)


def _finding(name: str, ok: bool, found: str, remedy: str, needed: bool = True) -> Finding:
    return Finding(name, ok, found, "" if ok else remedy, needed)


def _first(problems: Sequence[object]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}"
