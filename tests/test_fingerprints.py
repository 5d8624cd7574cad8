"""Fingerprints, file by file: what makes results and pages stale, and what does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from autograder import fingerprints
from autograder.execution import backend
from autograder.execution.execute import Job, environment, job_key
from autograder.execution.sandbox import INSIDE, package_folder
from autograder.fingerprints import HOUSE, Library
from practical_dl import data, models

WEEK = Library("03", ("cifar10",), ("tiny_lm",))
# What the library may hold besides what it holds today.
TO_COME = [
    *(f"practical_dl/weeks/{name}.py" for name in ("__init__", "week01", "week03", "week09")),
    *(f"practical_dl/data/{name}.py" for name in ("__init__", "cache", "cifar10", "_alone")),
    *(f"practical_dl/models/{name}.py" for name in ("__init__", "tiny_lm", "resnet")),
]
# Of `autograder`: what no outcome depends on.
TOOLS = {"__main__", "changes", "cli", "demo", "demo_networks", "doctor", "authoring", "plugin"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of both packages, with files of a later day."""
    root = tmp_path_factory.mktemp("house")
    for name in ("autograder", "practical_dl"):
        shutil.copytree(HOUSE / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in TO_COME:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    for name in ("README.md", "docs/grading.md", "weeks/week03_convnets/homework.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def fingerprints_of(root: Path) -> dict[str, str]:
    found = {
        "grader": fingerprints.grader(root),
        "library": fingerprints.library(WEEK, root),
        "runner": fingerprints.runner(root),
    }
    return {name: fingerprints.of(paths, root) for name, paths in found.items()}


def expected(name: str) -> set[str]:
    """The fingerprints that a file of the house changes."""
    package, *inner = Path(name).with_suffix("").parts
    if package == "practical_dl":
        return set() if _is_of_others(name) else {"library"}
    if package != "autograder" or inner[0] in TOOLS or inner == ["execution", "runall"]:
        return set()
    if inner[0] == "execution" and inner[1] not in ("backend", "cluster", "pool"):
        return {"grader", "runner"}
    return {"grader", "runner"} if name == "autograder/notebook.py" else {"grader"}


def _is_of_others(name: str) -> bool:
    """Whether a module is another week's, or a data set or model that ours does not name."""
    path = Path(name)
    if path.parent.name not in ("weeks", "data", "models") or path.stem.startswith("__"):
        return False
    return path.stem not in ("cache", "week03", "cifar10", "_pictures", "tiny_lm")


def test_each_file_changes_what_depends_on_it_and_nothing_else(house: Path) -> None:
    names = sorted(p.relative_to(house).as_posix() for p in house.rglob("*") if p.is_file())
    assert len(names) > 60 and "autograder/pages/templates/feedback.html" in names
    before = fingerprints_of(house)
    wrong = {}
    for name in names:
        content = (house / name).read_bytes()
        (house / name).write_bytes(content + b"#")
        after = fingerprints_of(house)
        (house / name).write_bytes(content)
        changed = {key for key in before if before[key] != after[key]}
        if changed != expected(name):
            wrong[name] = changed
    assert not wrong and fingerprints_of(house) == before


def test_a_new_file_counts_unless_it_is_excepted(house: Path) -> None:
    before = fingerprints_of(house)
    for name, keys in {
        "autograder/pages/templates/new.html": {"grader"},
        "autograder/execution/inside/new.py": {"grader", "runner"},
        "autograder/authoring/new.py": set(),
        "practical_dl/new.py": {"library"},
        "practical_dl/data/new.py": set(),
        "autograder/grading/__pycache__/new.pyc": set(),
        "autograder/.hidden.py": set(),
    }.items():
        (house / name).parent.mkdir(exist_ok=True)
        (house / name).touch()
        after = fingerprints_of(house)
        assert {key for key in before if before[key] != after[key]} == keys, name
        (house / name).unlink()


def test_a_file_that_changes_its_name_changes_the_fingerprint(house: Path) -> None:
    old, new = (house / "practical_dl" / name for name in ("plots.py", "plats.py"))
    before = fingerprints_of(house)
    old.rename(new)
    assert fingerprints_of(house)["library"] != before["library"]
    new.rename(old)
    assert fingerprints_of(house) == before


def test_the_house_is_what_runs() -> None:
    assert package_folder() == HOUSE / "practical_dl"
    assert set(INSIDE) <= set(fingerprints.runner()) <= set(fingerprints.grader())


def test_a_job_is_known_by_what_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    job = Job(cells, library=WEEK)
    assert Job.from_json(job.to_json()) == job
    keys = {job_key(Job(cells)), job_key(job)}
    for source in ("runner", "library"):
        monkeypatch.setattr(fingerprints, source, lambda *_: [])
        keys.add(job_key(job))
    assert len(keys) == 4


def test_a_worker_refuses_a_job_of_other_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, library=WEEK)
    monkeypatch.setattr(backend, "execute", lambda job, sandbox: job)
    assert backend.run_json(job.to_json(), environment(WEEK)).startswith("result ")
    wanted = environment(WEEK)
    monkeypatch.setattr(fingerprints, "library", lambda which: [])
    assert backend.run_json(job.to_json(), wanted).startswith("unfit this worker has python ")


def test_each_data_set_and_model_has_a_file_of_its_own() -> None:
    core = set(fingerprints.library())
    folder = HOUSE / "practical_dl" / "data"
    shared = {"digits": {"_shipped"}, "mnist": {"_idx"}, "shakespeare": set()}
    for name in data.names():
        own = {path.stem for path in set(fingerprints.library(Library(data=(name,)))) - core}
        assert name in own and {part for part in own if not part.startswith("_")} == {name}
        assert own == {name} | shared.get(name, own)
        assert (folder / f"{name}.py").is_file()
    for name in models.names():
        (own,) = set(fingerprints.library(Library(models=(name,)))) - core
        assert own == HOUSE / "practical_dl" / "models" / f"{name}.py"
