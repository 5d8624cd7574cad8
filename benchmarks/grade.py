"""How fast submissions are graded: `python benchmarks/grade.py [throughput overhead ...]`.

Timings are noisy, so each part compares two things in one run and prints their ratio. Courses and
submissions are made in a temporary folder; no two submissions are the same.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LIGHT = REPOSITORY / "benchmarks" / "light"
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def main() -> None:
    """Run the parts that were asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("part", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--submissions", type=int, default=50, help="of the throughput's class")
    parser.add_argument("--stock", type=int, default=50, help="so many of them through nbgrader")
    parser.add_argument("--growth", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--students", type=int, default=30, help="of the class of week 01")
    options = parser.parse_args()
    console.print(f"{platform.system()} {platform.release()}, {os.cpu_count()} cores")
    for name in options.part or PARTS:
        with tempfile.TemporaryDirectory(prefix="bench") as folder:
            PARTS[name](Path(folder), options)


# -- The parts --------------------------------------------------------------------------------


def throughput(folder: Path, options: argparse.Namespace) -> None:
    """Ours beside `nbgrader autograde` with its own settings, on the same submissions."""
    root = light_course(folder / "ours", options.submissions)
    stock = folder / "stock"
    shutil.copytree(root, stock)
    (stock / "nbgrader_config.py").write_text(
        'c = get_config()\nc.CourseDirectory.course_id = "light"\n'
        'c.CourseDirectory.release_directory = "release/en"\n'
    )
    (stock / "gradebook.db").unlink()
    for extra in sorted((stock / "submitted").iterdir())[options.stock :]:
        shutil.rmtree(extra)
    run(stock, "nbgrader", "generate_assignment", "week01_light", "--force")
    ours, _ = run(root, "autograder", "grade", "week01", "--jobs", "2")
    theirs, _ = run(stock, "nbgrader", "autograde", "week01_light")
    one, other = ours / options.submissions, theirs / options.stock
    table = new_table("Throughput", "grader", "submissions", "seconds", "s a submission", "ratio")
    table.add_row("nbgrader autograde", str(options.stock), f"{theirs:.1f}", f"{other:.2f}", "1")
    table.add_row(
        "autograder grade --jobs 2",
        str(options.submissions),
        f"{ours:.1f}",
        f"{one:.2f}",
        f"{other / one:.1f}",
    )
    console.print(table)


def overhead(folder: Path, options: argparse.Namespace) -> None:
    """What one notebook takes beyond its own cells, in a kernel forked, cold, and by nbclient."""
    from nbclient import NotebookClient

    from autograder import notebook as nb_
    from autograder.execution import parent
    from autograder.execution.execute import execute
    from autograder.execution.sandbox import Limits
    from autograder.grading.graft import graft
    from autograder.grading.job import job_of

    root = light_course(folder / "course", 1)
    source = nb_.read(root / "source" / "week01_light" / "light.ipynb")
    job = job_of(graft(source, source).notebook, source, {}, Limits())
    rows: dict[str, list[tuple[float, float]]] = {}
    for name, number in (("forked", 10), ("started cold", 3)):
        if name == "started cold":
            parent.give_up("the benchmark asks for it")
        execute(job)  # starts the parent
        for _ in range(number):
            result = execute(job)
            own = sum(cell.seconds for cell in result.cells)
            rows.setdefault(name, []).append((result.seconds, result.seconds - own))
    plain = [timed(lambda: NotebookClient(nb_.read(root / RELEASE), allow_errors=True).execute())]
    table = new_table("One notebook of 8 tasks", "kernel", "seconds", "beyond its cells")
    for name, found in rows.items():
        whole, beyond = (statistics.median(column) for column in zip(*found, strict=True))
        table.add_row(f"{name}, with controls", f"{whole:.2f}", f"{beyond:.2f}")
    table.add_row("nbclient, no sandbox, no controls", f"{plain[0]:.2f}", "")
    console.print(table)


def regrade(folder: Path, options: argparse.Namespace) -> None:
    """A class of week 01: the first time, and with nothing changed."""
    root = week_course(folder / "course", options.students)
    first, _ = run(root, "autograder", "grade", "week01", "--jobs", "2")
    second, _ = run(root, "autograder", "grade", "week01", "--jobs", "2")
    table = new_table(f"Week 01, {options.students} students", "grade", "seconds", "ratio")
    table.add_row("the first time", f"{first:.1f}", "1")
    table.add_row("nothing changed", f"{second:.2f}", f"{first / second:.0f}")
    console.print(table)


def growth(folder: Path, options: argparse.Namespace) -> None:
    """How time and memory grow with the class."""
    title = "Growth, light submissions"
    table = new_table(title, "submissions", "seconds", "s a submission", "memory of the grader")
    for number in options.growth:
        root = light_course(folder / str(number), number)
        seconds, peak = run(root, "autograder", "grade", "week01", "--jobs", "2")
        table.add_row(
            str(number), f"{seconds:.1f}", f"{seconds / number:.3f}", f"{peak / 2**20:.0f} MiB"
        )
        shutil.rmtree(root)
    console.print(table)


PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "throughput": throughput,
    "overhead": overhead,
    "regrade": regrade,
    "growth": growth,
}

# -- Courses and submissions ------------------------------------------------------------------

RELEASE = Path("release/en/week01_light/light.ipynb")


def light_course(root: Path, submissions: int) -> Path:
    """The light course, built, with so many submissions: most right, each with a wrong task."""
    shutil.copytree(LIGHT, root)
    shutil.copy(REPOSITORY / "nbgrader_config.py", root)
    run(root, "autograder", "build")
    hand_in(root, "week01_light", submissions)
    return root


def week_course(root: Path, students: int) -> Path:
    """The course itself with a class of week 01."""
    root.mkdir()
    for name in ("course.toml", "nbgrader_config.py", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, root)
    for name in ("docs", "weeks/week01_backprop"):
        shutil.copytree(REPOSITORY / name, root / name)
    run(root, "autograder", "build", "week01")
    hand_in(root, "week01_backprop", students)
    return root


def hand_in(root: Path, week: str, students: int) -> None:
    """Solved notebooks; each student leaves one task out, and no two write the same."""
    from autograder import notebook as nb_

    for source in sorted((root / "source" / week).glob("*.ipynb")):
        reference = nb_.read(source)
        solutions = {nb_.grade_id(c): c.source for c in reference.cells if nb_.is_solution(c)}
        release = root / "release" / "en" / week / source.name
        for number in range(students):
            notebook = nb_.read(release)
            left_out = sorted(solutions)[number % len(solutions)]
            for cell in notebook.cells:
                name = nb_.grade_id(cell)
                if nb_.is_solution(cell) and name != left_out:
                    cell.source = f"# student {number}\n{solutions[name]}"
            path = root / "submitted" / f"student{number:04}" / week / source.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(nb_.dumps(notebook), encoding="utf-8")


# -- Running and telling ----------------------------------------------------------------------


def run(root: Path, program: str, *arguments: str) -> tuple[float, int]:
    """Run a command in a course: its seconds, and the most memory that its first process held."""
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    log = root / "benchmark.log"
    start = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            [str(BIN / program), *arguments],
            cwd=root,
            env={**os.environ, "PATH": path},
            stdout=file,
            stderr=file,
        )
        peak = max(watched(process), default=0)
    seconds = time.monotonic() - start
    if process.returncode not in (0, 3):  # 3: somebody was flagged
        console.print(log.read_text()[-2000:], markup=False)
        sys.exit(f"{program} {' '.join(arguments)} ended with {process.returncode}")
    return seconds, peak


def watched(process: subprocess.Popen) -> Iterator[int]:
    """The memory of a process, a few times a second, until it ends."""
    seen = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            yield seen.memory_info().rss
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)


def timed(function: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    start = time.monotonic()
    function()
    return time.monotonic() - start


def new_table(title: str, *columns: str) -> Table:
    """A table whose first column is text."""
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    return table


if __name__ == "__main__":
    main()
