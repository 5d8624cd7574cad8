"""The faults of tests/faults/ under stock nbgrader and under `autograder grade`: docs/faults.md.

    python benchmarks/faults.py                      both, about an hour
    python benchmarks/faults.py --ours-only          ours, and stock's from the last run
    python benchmarks/faults.py --only fork-bomb     some faults, printed

Stock nbgrader has its default settings. Each fault has a course of its own there, with an honest
student after it, since one fault may end the run of a class. All of it runs in bubblewrap on
memory-backed folders without a network, so that what a fault changes is seen and gone afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY)]

from faults import kit  # noqa: E402
from faults.catalogue import FAULTS  # noqa: E402
from faults.kit import Fault, Measured, World, complaints  # noqa: E402

STOCK = REPOSITORY / "benchmarks" / "faults-stock.json"  # what stock nbgrader did
TABLE = REPOSITORY / "docs" / "faults.md"
SECONDS = 240  # for one fault
MARK = "MEASURED "
COURSE, HOME, TEMPLATE = Path("/tmp/course"), Path("/home/grader"), Path("/run/template")


# -- Stock nbgrader, outside -------------------------------------------------------------------


def make_template(folder: Path) -> None:
    """The same course for stock nbgrader: English, nbgrader's own release and gradebook."""
    from autograder import notebook as nb_

    kit.make_course(folder)
    for name in ("gradebook.db", "nbgrader_config.py"):
        (folder / name).unlink()
    for path in (folder / "source").glob("*/*.ipynb"):
        notebook = nb_.read(path)
        notebook.cells = [
            c for c in nb_.in_language(notebook.cells, "en") if "rubric" not in nb_.ours(c)
        ]
        for cell in notebook.cells:
            cell.metadata.pop(nb_.KEY, None)
        path.write_text(nb_.dumps(notebook), encoding="utf-8")
    kept = folder / "kept"  # nbgrader writes its own release into release/
    shutil.move(folder / "release", kept)
    done = _nbgrader(folder, "generate_assignment", kit.WEEK)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder / "release")
    shutil.move(kept, folder / "release")


def _nbgrader(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    bin_ = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [str(bin_ / "nbgrader"), *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        errors="replace",
        **options,
    )


def wrapped(argv: list[str], template: Path) -> list[str]:
    """A command in a throw-away world: nothing that it writes is on this machine's disks."""
    gib = str(2**30)
    line = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    line += ["--uid", "1000", "--gid", "1000", "--proc", "/proc", "--dev", "/dev"]
    for folder in ("/tmp", str(HOME), "/dev/shm"):
        line += ["--size", gib, "--tmpfs", folder]
    variables = {
        "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(HOME),
        "LANG": "C.UTF-8",
        "CANARY_HOME": str(HOME),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
        kit.SECRET_NAME: kit.SECRET,
    }
    for name, value in variables.items():
        line += ["--setenv", name, value]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if Path(name).is_symlink():
            line += ["--symlink", os.readlink(name), name]
        elif Path(name).is_dir():
            line += ["--ro-bind", name, name]
    line += ["--ro-bind", "/usr", "/usr"]
    for name in ("ld.so.cache", "alternatives", "fonts", "ssl/certs", "localtime", "passwd"):
        line += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for path in (Path(sys.base_prefix), Path(sys.prefix)):
        line += ["--ro-bind", str(path), str(path)]
    for name in ("autograder", "practical_dl", "tests", "benchmarks", "nbgrader_config.py"):
        line += ["--ro-bind", str(REPOSITORY / name), str(REPOSITORY / name)]
    line += ["--ro-bind", str(template), str(TEMPLATE), "--chdir", "/tmp"]
    limits = ["prlimit", "--core=0", f"--fsize={2**31}", f"--data={6 * 2**30}"]
    return [*line, "--", *limits, "--", *argv]


def run_stock(fault: Fault, template: Path) -> Measured:
    """One fault and an honest student, graded by stock nbgrader."""
    argv = [sys.executable, str(REPOSITORY / "benchmarks" / "faults.py"), "--inside", fault.name]
    start = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            wrapped(argv, template), stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            process.wait(SECONDS)
            ended = "the grader was killed"
        except subprocess.TimeoutExpired:
            ended = f"the grader was stopped after {SECONDS} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").splitlines()
    seconds = round(time.monotonic() - start, 1)
    found = [line for line in lines if line.startswith(MARK)]
    if not found:
        others = ended.startswith("the grader was stopped")
        return Measured({}, ended=ended, others=not others, seconds=seconds)
    return _measured({**json.loads(found[-1][len(MARK) :]), "seconds": seconds})


def _measured(values: Mapping[str, Any]) -> Measured:
    lists = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    return Measured(**{**values, **lists})


# -- Stock nbgrader, inside --------------------------------------------------------------------


def inside(fault: Fault) -> Measured:
    """Runs in the throw-away world: grade with stock nbgrader's commands, and measure."""
    from faults.grading import Listener, held

    shutil.copytree(TEMPLATE, COURSE)
    for name in ("canary.txt", ".ipython/profile_default/startup/README"):
        (HOME / name).parent.mkdir(parents=True, exist_ok=True)
        (HOME / name).write_text("as it was")
    with Listener().listening() as listener:
        world = World(COURSE, listener.port)
        kit.hand_in(world, kit.HONEST, kit.honest)
        before_it = [FAULTS[fault.after]] if fault.after else []
        for one in (*before_it, fault):
            kit.hand_in(world, one.who, one.make)
        before = kit.tree(COURSE, HOME)
        done = _autograde()
        ended = _failure(done)
        host = kit.changes(before, kit.tree(COURSE, HOME))
        if fault.then:
            kit.hand_in(world, fault.who, fault.then)
            with held(COURSE / "gradebook.db", fault.locked):
                again = _autograde(f"--student={fault.who}", "--force")
            ended = ended or _failure(again)
        host += ["somebody was called"] if listener.calls else []
    host += ["a process was left"] if kit.still_running() else []
    shown: tuple[str, ...] = ()
    if fault.page:
        _nbgrader(COURSE, "generate_feedback", kit.WEEK, timeout=60)
        shown = kit.shown(COURSE, fault, kit.hidden_lines(COURSE))
    honest = Fault(kit.HONEST, "", "", kit.honest, kit.full(), student=kit.HONEST)
    return Measured(
        points=kit.rows(COURSE, fault.who),
        reached=kit.reached(COURSE, fault.who),
        shown=shown,
        host=tuple(host),
        others=not complaints(honest, Measured(kit.rows(COURSE, kit.HONEST))),
        ended=ended,
    )


def _autograde(*options: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return _nbgrader(COURSE, "autograde", kit.WEEK, "--create", *options, timeout=SECONDS - 40)
    except subprocess.TimeoutExpired:
        return None


def _failure(done: subprocess.CompletedProcess[str] | None) -> str:
    """How the command ended. Exit code 1 with every student tried is nbgrader's way to report."""
    if done is None:
        return f"the grader was stopped after {SECONDS - 40} s"
    if done.returncode < 0:
        return "the grader was killed"
    return ""


# -- Ours --------------------------------------------------------------------------------------


def run_ours(faults: Iterable[Fault]) -> dict[str, Measured]:
    """All faults as one class, graded by `autograder grade`."""
    from faults.grading import grade_class

    with tempfile.TemporaryDirectory() as folder:
        outcome = grade_class(Path(folder, "course"), faults)
    print(f"ours: {outcome.seconds:.0f} s for {len(outcome.measured)} submissions", flush=True)
    return dict(outcome.measured)


# -- The table ---------------------------------------------------------------------------------

HARMS = {
    "undeserved points": "undeserved points",
    "lost points": "lost points",
    "waits for a person": "lost points",
    "no grade": "no grade at all",
    "other submissions": "other submissions not graded",
    "the grader": "grader killed or stopped",
    "reached": "the host or another submission reached",
    "host": "the host or another submission reached",
    "feedback shows": "feedback shows what it must not",
}


def harms(found: Iterable[str]) -> set[str]:
    """The kinds of harm among some complaints."""
    return {kind for c in found for start, kind in HARMS.items() if c.startswith(start)}


def outcome_of(fault: Fault, measured: Measured | None) -> str:
    """A cell of the table."""
    if measured is None:
        return "not run"
    found = complaints(fault, measured)
    if len(found) > 4:
        found = [*found[:4], f"and {len(found) - 4} more"]
    if found:
        return "**" + "; ".join(found).replace("|", "\\|").replace("*", "\\*") + "**"
    tasks = fault.expected.points or measured.points
    got = sum(p or 0.0 for task, p in measured.points.items() if task in tasks)
    said = f", {measured.status}" if measured.status else ""
    return f"as it must be ({got:g} points{said})"


def table(stock: Mapping[str, Measured], ours: Mapping[str, Measured]) -> str:
    """docs/faults.md."""
    lines = [
        "# What a submission can do to a grader",
        "",
        f"{len(FAULTS)} submissions, graded by stock nbgrader and by `autograder grade`; "
        "measured by `python benchmarks/faults.py`. Each is defined in `tests/faults/`, with the "
        "points that it must get; `tests/faults/test_faults.py` holds ours to them. Stock "
        "nbgrader 0.9.6 ran with its default settings, each fault in a course of its own with an "
        "honest student after it, in a throw-away sandbox that shows what a fault changes, and "
        "without a network; it does not know `check.score` and gives such a test all of its "
        "points. Ours graded all of them as one class in one command. A number is the row of the "
        "list from which the tests began; faults without one are new.",
        "",
        "| | stock nbgrader | ours |",
        "|---|--:|--:|",
    ]
    sides = (stock, ours)
    found = [{n: complaints(FAULTS[n], m) for n, m in side.items()} for side in sides]
    good = [sum(not c for c in side.values()) for side in found]
    total = [len(side) for side in found]
    lines.append(
        f"| as it must be | {good[0]} of {total[0]} | {good[1]} of {total[1]} |",
    )
    counts = [Counter(kind for c in side.values() for kind in harms(c)) for side in found]
    for kind in dict.fromkeys(HARMS.values()):
        lines.append(f"| {kind} | {counts[0][kind]} | {counts[1][kind]} |")
    family = ""
    for fault in FAULTS.values():
        if fault.family != family:
            family = fault.family
            lines += ["", f"## {family.capitalize()}", ""]
            lines += ["| row | what is handed in | stock nbgrader | ours |", "|--:|---|---|---|"]
        cells = [outcome_of(fault, side.get(fault.name)) for side in sides]
        what = f"{fault.what} (`{fault.name}`)".replace("|", "\\|")
        lines.append(f"| {fault.row or ''} | {what} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def _read(path: Path) -> dict[str, Measured]:
    if not path.is_file():
        return {}
    values = json.loads(path.read_text(encoding="utf-8"))
    return {n: _measured(v) for n, v in values.items() if n in FAULTS}


def _write(path: Path, measured: Mapping[str, Measured]) -> None:
    values = {n: asdict(m) for n, m in measured.items()}
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", default=[], help="only these faults; no table")
    parser.add_argument("--ours-only", action="store_true", help="take stock's from the file")
    parser.add_argument("--stock-only", action="store_true", help="write the file, no table")
    parser.add_argument("--stock-json", type=Path, default=STOCK, help="what stock nbgrader did")
    options = parser.parse_args()
    if options.inside:
        print(MARK + json.dumps(asdict(inside(FAULTS[options.inside]))), flush=True)
        return
    chosen = [FAULTS[name] for name in options.only] or list(FAULTS.values())
    stock = _read(options.stock_json)
    if not options.ours_only:
        with tempfile.TemporaryDirectory() as folder:
            make_template(Path(folder, "course"))
            for fault in chosen:
                measured = stock[fault.name] = run_stock(fault, Path(folder, "course"))
                print(f"{fault.name}: {outcome_of(fault, measured)}", flush=True)
                _write(options.stock_json, stock)
    if options.stock_only:
        return
    ours = run_ours(chosen)
    if options.only:
        for fault in chosen:
            print(f"{fault.name}: {outcome_of(fault, ours[fault.name])}")
        return
    TABLE.write_text(table(stock, ours), encoding="utf-8")
    print(f"{TABLE}")


if __name__ == "__main__":
    main()
