"""Fingerprints: of which sources of ours a thing was made, so that it is made again if they change.

What is excepted is named; a file that nobody thought of counts, rather than being forgotten.

| what is kept | depends on |
|---|---|
| the result of a job | `runner`, `library` |
| what became of a submission, and its pages | `grader`, `library` |
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autograder import files
from autograder.course import Week

HOUSE = Path(__file__).parents[1]  # what holds the packages `autograder` and `practical_dl`
# Of `autograder`: what no outcome and no page depends on.
_BESIDE_GRADING = (
    "autograder/__main__.py",
    "autograder/authoring",
    "autograder/changes.py",
    "autograder/cli.py",
    "autograder/demo.py",
    "autograder/demo_networks.py",
    "autograder/doctor.py",
    "autograder/execution/runall.py",
    "autograder/plugin",
)
# Of `autograder/execution`: what chooses where a job runs, and what runs no jobs.
_BESIDE_RUNNING = tuple(
    f"autograder/execution/{name}.py" for name in ("backend", "cluster", "pool", "runall")
)


@dataclass(frozen=True)
class Library:
    """What a week's notebooks use of `practical_dl` besides its core.

    number: of the week whose own module counts, such as "03". data, models: names of data sets and
    models.
    """

    number: str = ""
    data: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


CORE = Library()


def library_of(week: Week) -> Library:
    """What a week's notebooks may use of `practical_dl`."""
    return Library(week.number, week.data, week.models)


def of(paths: Iterable[Path], root: Path = HOUSE) -> str:
    """Fingerprint of files: of their names below root, and of all that they hold."""
    return files.digest(
        part for path in paths for part in (path.relative_to(root).as_posix(), path.read_bytes())
    )


def sources(*names: str, without: Iterable[str] = (), root: Path = HOUSE) -> list[Path]:
    """These files below root, and all files of these folders; what is not there is left out.

    without: files and folders that do not count. Python's caches and hidden files never do.
    """
    found = set()
    for name in names:
        path = root / name
        found.update(path.rglob("*") if path.is_dir() else [path])
    excepted = {PurePosixPath(name) for name in without}

    def counts(path: Path) -> bool:
        inside = PurePosixPath(path.relative_to(root).as_posix())
        passing = any(part == "__pycache__" or part.startswith(".") for part in inside.parts)
        return not passing and not excepted & {inside, *inside.parents} and path.is_file()

    return sorted(filter(counts, found))


def library(which: Library = CORE, root: Path = HOUSE) -> list[Path]:
    """The core of `practical_dl`, and the week's, the data sets' and the models' own modules.

    Of `data` and `models`, `cache.py` serves all; a module whose name begins with an underscore
    serves those that name it.
    """
    own = {"weeks": (f"week{which.number}",), "data": which.data, "models": which.models}
    package = root / "practical_dl"
    others = [
        f"practical_dl/{folder}/{path.name}"
        for folder, names in own.items()
        for path in _others(package / folder, {*names, "__init__", "__main__", "cache"})
    ]
    return sources("practical_dl", without=others, root=root)


def _others(folder: Path, names: set[str]) -> list[Path]:
    """The modules of a folder besides these, and the shared ones (`_name.py`) that they name."""
    modules = {path.stem: path for path in folder.glob("*.py")}
    shared = {name for name in modules if name.startswith("_")} - names
    looked_at: set[str] = set()
    while names != looked_at:
        looked_at = set(names)
        text = "".join(modules[name].read_text("utf-8") for name in names & set(modules))
        names = names | {name for name in shared if re.search(rf"\b{name}\b", text)}
    return [path for name, path in modules.items() if name not in names]


def runner(root: Path = HOUSE) -> list[Path]:
    """What runs a job: the sandbox, the kernel, and what runs inside of them."""
    running = ("autograder/execution", "autograder/notebook.py")
    return sources(*running, without=_BESIDE_RUNNING, root=root)


def grader(root: Path = HOUSE) -> list[Path]:
    """All that an outcome and its pages depend on, with the pages' templates."""
    return sources("autograder", without=_BESIDE_GRADING, root=root)
