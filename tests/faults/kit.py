"""A fault, the course that it is handed in to, and the judge of what came of it."""

from __future__ import annotations

import copy
import hashlib
import html
import json
import os
import re
import shutil
import sys
import unittest.mock
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
from kit.rules import WEEK, copy_tiny
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from autograder import course as course_
from autograder import notebook as nb_
from autograder.course import Course

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
HONEST = "zz-honest"  # a student without a fault, last in the class
SECRET_NAME, SECRET = "GRADER_TOKEN", "k7-secret-of-the-grader-k7"
DAEMON = ["sleep", "86399"]  # what a fault leaves behind to see whether it is still there
GRADED, FLAGGED, REFUSED = "graded", "flagged", "refused"
CELL_SECONDS, MEMORY_MIB = 4, 1536
LIMITS = f"""
c.Grader.cell_seconds = {CELL_SECONDS}
c.Grader.notebook_seconds = 60
c.Grader.memory_mib = {MEMORY_MIB}
"""

POINTS: dict[str, dict[str, float]] = {
    "tiny": {"line": 1, "distance": 2, "double": 1},
    "mixed": {"relu": 1, "center": 1, "unit": 1, "leap": 2},
}
SIGNATURE = {
    "line": "line(x, a, b)",
    "distance": "distance(p, q)",
    "double": "double(x)",
    "relu": "relu(x)",
    "center": "center(x)",
    "unit": "unit(x)",
    "leap": "leap(year)",
}
RIGHT = {
    "line": "return a * x + b",
    "distance": "return float(np.sqrt(np.sum((p - q) ** 2)))",
    "double": "return 2 * x",
    "relu": "return x.clamp(min=0)",
    "center": "return x - x.mean(axis=0)",
    "unit": "return x / x.norm()",
    "leap": "return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)",
}
# Other mistakes than the planted ones.
WRONG = {
    "line": "return np.zeros_like(x) - 1",
    "distance": "return -1.0",
    "double": "return 0.5",
    "relu": "return torch.ones_like(x)",
    "center": "return np.ones_like(x)",
    "unit": "return torch.zeros_like(x)",
    "leap": "return False",
}
ALL = tuple(SIGNATURE)


# -- What a fault is ---------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Where a submission is made. port: where somebody on the host listens on 127.0.0.1."""

    root: Path
    port: int

    def released(self, name: str) -> NotebookNode:
        """What students open."""
        return nb_.read(self.root / "release" / "en" / WEEK / f"{name}.ipynb")

    def fill(self, source: str) -> str:
        """A source with this world's addresses: even who knows them must gain nothing."""
        source = source.replace("@ROOT@", str(self.root)).replace("@PORT@", str(self.port))
        return source.replace("@WEEK@", WEEK).replace("@SECRET@", SECRET_NAME)


Make = Callable[[Path, World], None]  # the submission's folder, not there yet -> its files


@dataclass(frozen=True)
class Expected:
    """What must come of it. points: by task what it may get (None: a person has to grade it).

    says: a pattern that the teacher's sentences must hold.
    """

    points: Mapping[str, tuple[float | None, ...]]
    status: tuple[str, ...] = (GRADED,)
    says: str = ""


@dataclass(frozen=True)
class Fault:
    """One submission and what must come of it.

    what: one sentence. row: of the first list of faults, None for a new one. after: the fault whose
    submission is in the class before it. then: how it is handed in again, once it was graded;
    locked: for so many seconds of that second time somebody else holds the gradebook.
    never_shown: patterns that no tag and no script
    of its feedback page must hold.
    """

    name: str
    family: str
    what: str
    make: Make
    expected: Expected
    row: int | None = None
    student: str = ""
    after: str = ""
    then: Make | None = None
    locked: float = 0
    never_shown: tuple[str, ...] = ()
    page: bool = False  # whether stock nbgrader's feedback is worth a look

    @property
    def who(self) -> str:
        """The student's id."""
        return self.student or self.name


# -- Expectations ------------------------------------------------------------------------------


def full(
    name: str = "tiny",
    *,
    status: tuple[str, ...] = (GRADED,),
    says: str = "",
    or_none: bool = False,
    **others: float | tuple[float | None, ...],
) -> Expected:
    """All points but for some tasks; or_none: a task may also get 0 (where it is flagged).

    others: what these tasks, or a cell that a person grades, get instead.
    """
    points: dict[str, tuple[float | None, ...]] = {}
    for task, value in {**POINTS[name], **others}.items():
        points[task] = value if isinstance(value, tuple) else (float(value),)
        if or_none:
            points[task] = (*points[task], 0.0)
    status = (GRADED, FLAGGED) if or_none else status
    return Expected(points, status, says)


def none(
    name: str = "tiny", *, status: tuple[str, ...] = (GRADED, FLAGGED), says: str = ""
) -> Expected:
    """No point: what was handed in is wrong."""
    return Expected(dict.fromkeys(POINTS[name], (0.0,)), status, says)


def refused(says: str, name: str = "tiny") -> Expected:
    """No point, and the teacher is told why."""
    return none(name, status=(REFUSED,), says=says)


def stopped(task: str, says: str = "", name: str = "tiny") -> Expected:
    """A task that ended its kernel or its time costs its own points alone, and is flagged."""
    return full(name, status=(FLAGGED,), says=says, **{task: 0})


# -- Submissions -------------------------------------------------------------------------------


def function(task: str, body: str) -> str:
    """A solution cell."""
    lines = body.strip("\n").split("\n")
    return f"def {SIGNATURE[task]}:\n" + "\n".join(f"    {line}" for line in lines)


def handed_in(
    world: World,
    name: str = "tiny",
    *,
    wrong: tuple[str, ...] = (),
    first: str = "",
    top: str = "",
    end: str = "",
    cells: Mapping[str, str] | None = None,
    **bodies: str,
) -> NotebookNode:
    """A notebook with right answers but for some tasks.

    first, top, end: a further cell in front of all, of the tasks, behind all. cells: whole solution
    cells by task. bodies: of the functions, by task.
    """
    notebook = copy.deepcopy(world.released(name))
    for cell in notebook.cells:
        task = nb_.grade_id(cell)
        if task in POINTS[name]:
            body = bodies.get(task, (WRONG if task in wrong else RIGHT)[task])
            cell.source = world.fill((cells or {}).get(task) or function(task, body))
    solution = next(i for i, c in enumerate(notebook.cells) if nb_.is_solution(c))
    for place, source in ((len(notebook.cells), end), (solution, top), (0, first)):
        if source:
            cell = new_code_cell(world.fill(source.strip("\n")), id=f"added-{place}")
            notebook.cells.insert(place, cell)
    return notebook


def save(notebook: NotebookNode | bytes, folder: Path, name: str = "tiny.ipynb") -> None:
    """Write a file of a submission."""
    folder.mkdir(parents=True, exist_ok=True)
    content = notebook if isinstance(notebook, bytes) else json.dumps(notebook).encode()
    (folder / name).write_bytes(content)


Change = Callable[[NotebookNode], "NotebookNode | bytes | None"]


def notebook(
    name: str = "tiny", *, change: Change | None = None, file: str = "", **options: Any
) -> Make:
    """Hand in one notebook as `handed_in` makes it, changed in place or into something else."""

    def make(folder: Path, world: World) -> None:
        made = handed_in(world, name, **options)
        changed = change(made) if change else None
        made = made if changed is None else changed
        save(made, folder, file or f"{name}.ipynb")

    return make


def beside(make: Make, **files: str | bytes) -> Make:
    """Hand in further files, too; two underscores stand for a dot."""

    def both(folder: Path, world: World) -> None:
        make(folder, world)
        for name, content in files.items():
            text = world.fill(content).encode() if isinstance(content, str) else content
            (folder / name.replace("__", ".")).write_bytes(text)

    return both


def cell_of(notebook: NotebookNode, grade_id: str) -> NotebookNode:
    """A cell by nbgrader's name of it."""
    return next(c for c in notebook.cells if nb_.grade_id(c) == grade_id)


# -- The course --------------------------------------------------------------------------------


def make_course(root: Path) -> Course:
    """Build the course of the faults: the tiny notebook and a mixed one, in one week."""
    from autograder.authoring import build

    copy_tiny(root)
    shutil.copy(HERE / "course" / "course.toml", root)
    for name in ("week.toml", "mixed.py"):
        shutil.copy(HERE / "course" / name, root / "weeks" / WEEK)
    config = (REPOSITORY / "nbgrader_config.py").read_text(encoding="utf-8")
    (root / "nbgrader_config.py").write_text(config + LIMITS, encoding="utf-8")
    course = course_.load(root)
    # A new gradebook runs alembic, which lies beside this Python.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with unittest.mock.patch.dict(os.environ, PATH=path):
        build.build(course, course.weeks)
    return course


def hand_in(world: World, who: str, make: Make) -> None:
    """Write a submission, in place of an earlier one."""
    folder = world.root / "submitted" / who / WEEK
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    make(folder, world)


honest: Make = notebook()


# -- What came of it ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """What a grader did with a submission.

    points: by task; None waits for a person, a task that is not there has no row. told: what the
    teacher reads. reached: what the student's code got hold of. shown: what the feedback must not
    show. host: what changed outside. others: whether the rest of the class was graded. ended: how
    the grader itself ended, if not well.
    """

    points: Mapping[str, float | None]
    status: str = ""
    told: str = ""
    reached: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    others: bool = True
    ended: str = ""
    seconds: float = field(default=0.0, compare=False)


def complaints(fault: Fault, measured: Measured) -> list[str]:
    """Where the outcome is not the one that it must be; status and words where there are any."""
    found = [measured.ended] if measured.ended else []
    undeserved, lost, waits, rowless = [], [], [], []
    for task, allowed in fault.expected.points.items():
        if task not in measured.points:
            rowless.append(task)
            continue
        got = measured.points[task]
        if any(got == a or (None not in (got, a) and abs(got - a) < 1e-9) for a in allowed):
            continue
        if got is None:
            waits.append(task)
        elif got > max(a or 0.0 for a in allowed):
            undeserved.append(f"{task} {got:g}")
        else:
            lost.append(task)
    for what, tasks in (
        ("undeserved points", undeserved),
        ("lost points", lost),
        ("waits for a person", waits),
        ("no grade", rowless),
    ):
        found += [f"{what}: {', '.join(tasks)}"] if tasks else []
    found += [f"reached {what}" for what in measured.reached]
    found += [f"feedback shows {what}" for what in measured.shown]
    found += [f"host: {what}" for what in measured.host]
    if not measured.others:
        found.append("other submissions were not graded")
    if measured.status:
        if measured.status not in fault.expected.status:
            found.append(f"{measured.status}, not {' or '.join(fault.expected.status)}")
        if measured.status != GRADED and not measured.told.strip():
            found.append("the teacher is not told why")
        if not re.search(fault.expected.says, measured.told, re.I | re.S):
            found.append(f"nobody tells of {fault.expected.says!r}")
    return found


def rows(root: Path, who: str) -> dict[str, float | None]:
    """A student's points by task, as the gradebook has them."""
    from nbgrader.api import Gradebook, MissingEntry

    with Gradebook(f"sqlite:///{root / 'gradebook.db'}") as gradebook:
        try:
            submission = gradebook.find_submission(WEEK, who)
        except MissingEntry:
            return {}
        return {
            grade.name.removeprefix(nb_.TEST_PREFIX): (
                None if grade.needs_manual_grade else grade.score
            )
            for notebook in submission.notebooks
            for grade in notebook.grades
        }


def outputs(root: Path, who: str) -> str:
    """All that the cells of a student's autograded notebooks have shown."""
    text = []
    for path in sorted((root / "autograded" / who / WEEK).glob("*.ipynb")):
        try:
            cells = json.loads(path.read_bytes())["cells"]
        except (OSError, ValueError, KeyError):
            continue
        text += [json.dumps(c["outputs"], ensure_ascii=False) for c in cells if c.get("outputs")]
    return "\n".join(text)


def reached(root: Path, who: str) -> tuple[str, ...]:
    """What the student's code said that it has reached."""
    text = outputs(root, who)
    found = set(re.findall(r"REACHED ([\w '-]+)", text))
    if SECRET in text:
        found.add("the grader's secret")
    return tuple(sorted(found))


def hidden_lines(root: Path) -> set[str]:
    """The lines of hidden tests that students do not see elsewhere."""
    found = set()
    for name in POINTS:
        source = nbformat.read(root / "source" / WEEK / f"{name}.ipynb", as_version=4)
        seen = "\n".join(nb_.without_hidden(c.source) for c in source.cells)
        lines = {line for c in source.cells for line in nb_.hidden_regions(c.source)}
        found |= {line for line in lines if line not in seen and len(line) > 8}
    return found


def shown(root: Path, fault: Fault, hidden: set[str]) -> tuple[str, ...]:
    """What a feedback page shows that it must not."""
    found = set()
    for path in (root / "feedback" / fault.who / WEEK).glob("*.html"):
        page = path.read_text(encoding="utf-8", errors="replace")
        text = html.unescape(re.sub(r"<[^>]+>", "", page))
        if "root:x:0" in text:
            found.add("/etc/passwd")
        if any(line in text for line in hidden):
            found.add("a hidden test")
        if any(line[::-1] in text for line in hidden):
            found.add("a hidden test, reversed")
        if SECRET in text:
            found.add("the grader's secret")
        active = _Active(page)
        found |= {f"/{p}/" for p in fault.never_shown if re.search(p, active.text)}
    return tuple(sorted(found))


class _Active(HTMLParser):
    """What a browser acts on in a page: tags with their attributes, and scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self._script = "", False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = " ".join(f'{name}="{value or ""}"' for name, value in attrs)
        self.text += f"\n<{tag} {values}>"
        self._script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._script = False

    def handle_data(self, data: str) -> None:
        self.text += data if self._script else ""


# What Jupyter's programs themselves write at home.
_JUPYTER = re.compile(
    r"^(\.cache|\.local|\.jupyter/migrated|\.ipython/(README|extensions|nbextensions)"
    r"|\.ipython/profile_default/(history|db|security|log|pid|startup/README)|.*__pycache__)"
)
_RESULTS = ("gradebook.db", ".grading", "autograded", "feedback", "reports")


def tree(root: Path, home: Path) -> dict[str, str]:
    """All that no submission may change: path -> digest. Links are not followed."""
    found = {}
    for base in (root, home):
        for folder, folders, files in os.walk(base):
            inside = os.path.relpath(folder, base)
            if base == root and inside == ".":
                folders[:] = [f for f in folders if f not in _RESULTS]
                files = [f for f in files if not f.startswith(_RESULTS)]
            for name in [*files, *(f for f in folders if os.path.islink(f"{folder}/{f}"))]:
                path = os.path.normpath(os.path.join(inside, name))
                if base == home and _JUPYTER.search(path):
                    continue
                found[f"{'~' if base == home else '.'}/{path}"] = _digest(Path(folder, name))
    return found


def _digest(path: Path) -> str:
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    if not path.is_file():
        return "special"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What is new, gone or other."""
    names = sorted({**before, **after})
    return [f"{n} changed" for n in names if before.get(n) != after.get(n)]


def still_running() -> bool:
    """Whether a daemon that a fault started is alive."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().split(b"\0")[:2] == [word.encode() for word in DAEMON]:
                return True
        except OSError:
            continue
    return False
