"""`autograder demo`: a small class of a week, made by code, graded end to end, scores known before.

Each student shows one thing that happens in a class. What each must get is computed from the points
in the source notebooks and the planted mutants, and for an exam from what the reference hands in
when it runs outside the sandbox; grading is then compared with it.

What students of one week alone do stands in weeks/WEEK/demo.py, which is released to nobody, and
which a week need not have. Its function `students(one, notebook)` gives further students. It is
called with each notebook of the week. one: a student who has all other notebooks right and of this
one nothing but its exams and texts; no points are expected for it yet.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import json
import pickle
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from autograder import course as course_
from autograder import exams, fingerprints
from autograder import files as files_
from autograder import notebook as nb_
from autograder.authoring import build, proofs
from autograder.authoring.text import BEGIN_SOLUTION, END_SOLUTION
from autograder.course import Course, NotebookEntry, Week
from autograder.errors import stop
from autograder.exams import Private
from autograder.execution.runall import run_all
from autograder.results import (
    FLAGGED,
    GRADED,
    INCOMPLETE,
    MISSING,
    REFUSED,
    TO_GRADE,
    SubmissionGrade,
)

CELL_SECONDS = 60  # of the demo class: a busy machine, but its endless loop should end, too
PROFILE = "small"
SEED = 0  # of the private inputs of its exams, so that it is the same class each time
ANSWER = "I tried a smaller step first. The loss fell more slowly, and the result was the same."
SILENCE_THE_CHECKS = """\
# The checks keep saying that I'm wrong. Now they don't.
from practical_dl import check

for name in ("close", "equal", "gradient", "raises", "that"):
    setattr(check, name, lambda *args, **kwargs: None)
"""


@dataclass(frozen=True)
class Expected:
    """What a student must get: by notebook the points and the bonus, and the status of it all."""

    scores: Mapping[str, tuple[float, float]]
    status: str = GRADED
    language: str = "en"


@dataclass(frozen=True)
class Student:
    """A student of the demo class. files: by notebook what is handed in; beside: by file name.

    says: a pattern that a sentence about the submission must hold, a student's or a teacher's.
    """

    name: str
    files: Mapping[str, bytes]
    expected: Expected
    beside: Mapping[str, bytes] = field(default_factory=dict)
    says: str = ""


@dataclass(frozen=True)
class Sitting:
    """What the reference gives that was run by us, with the private inputs of its exams.

    notebook: as it ran. files: what it wrote to be handed in, by name. shares: of the points of
    each exam.
    """

    notebook: NotebookNode
    files: Mapping[str, bytes]
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Notebook:
    """A notebook of the week, as the class needs it. exams: their private inputs, by task."""

    name: str
    source: NotebookNode
    released: Mapping[str, NotebookNode]
    exams: Mapping[str, Private]
    sitting: Sitting

    def points(self, tasks: Iterable[str] | None = None) -> tuple[float, float]:
        """The points and the bonus of some tasks, or of all that a program grades."""
        got = [0.0, 0.0]
        for task, cell in nb_.test_cells(self.source).items():
            if tasks is None or task in tasks:
                share = self.sitting.shares.get(task, 1.0)
                got[bool(nb_.ours(cell).get("bonus"))] += share * self.worth(task)
        return got[0], got[1]

    def worth(self, task: str) -> float:
        """The points that a task has."""
        return float(nb_.test_cells(self.source)[task].metadata.nbgrader["points"])

    @property
    def tasks(self) -> list[str]:
        """The tasks whose tests run in the notebook itself."""
        return [task for task in nb_.test_cells(self.source) if task not in self.exams]

    @property
    def all(self) -> list[str]:
        """These, and the exams."""
        return [*self.tasks, *self.exams]

    @property
    def answers(self) -> list[str]:
        """The cells that a person grades."""
        return [nb_.grade_id(c) for c in self.source.cells if _is_answer(c)]

    def solution(self, task: str) -> NotebookNode:
        return next(c for c in self.source.cells if nb_.grade_id(c) == task)

    def mutant(self, task: str, index: int = 0) -> str:
        mutants = nb_.ours(self.solution(task))["mutants"]
        return mutants[index % len(mutants)]["source"]

    def leaves(self) -> list[str]:
        """The tasks on which no later task builds: a mistake there costs its own points alone."""
        found = []
        for task in self.tasks:
            after = self.source.cells[self.source.cells.index(self.solution(task)) + 1 :]
            test = nb_.TEST_PREFIX + task
            used = [c.source for c in after if nb_.grade_id(c) not in ("", test)]
            code = _with_helpers(used, self.source)
            if not any(_mentions(code, name) for name in self.defines(task)):
                found.append(task)
        return found

    def handed_in(self, answers: Mapping[str, str], language: str = "en") -> NotebookNode:
        """The student's notebook with these solution and answer cells in it."""
        notebook = copy.deepcopy(self.released[language])
        shown = {c.id: c.get("outputs", []) for c in self.sitting.notebook.cells}
        for cell in notebook.cells:
            if nb_.is_training(cell) and answers.keys() & self.exams:
                cell.outputs = copy.deepcopy(shown.get(cell.id, []))
            if nb_.grade_id(cell) in answers:
                lines = answers[nb_.grade_id(cell)].split("\n")
                marks = (BEGIN_SOLUTION, END_SOLUTION)
                cell.source = "\n".join(line for line in lines if line.strip() not in marks)
        return notebook

    def reference(self) -> dict[str, str]:
        """The right solution cells, and a text where a person grades."""
        return {task: self.solution(task).source for task in self.tasks} | self.exam_alone()

    def exam_alone(self) -> dict[str, str]:
        """Those of the exams and of the tasks on which they build, and the texts."""
        tasks = [*self.exams, *self.below_exams()]
        solutions = {task: self.solution(task).source for task in tasks}
        return solutions | dict.fromkeys(self.answers, ANSWER)

    def below_exams(self) -> list[str]:
        """The tasks whose functions the exams call, directly or not."""
        found: list[str] = []
        todo = list(self.exams)
        while todo:
            cell = self.solution(todo.pop())
            before = self.source.cells[: self.source.cells.index(cell)]
            code = _with_helpers([cell.source], self.source)
            for task in self.tasks:
                if task in found or self.solution(task) not in before:
                    continue
                if any(_mentions(code, name) for name in self.defines(task)):
                    found.append(task)
                    todo.append(task)
        return [task for task in self.tasks if task in found]

    def defines(self, task: str) -> set[str]:
        """The functions and classes of a task's solution."""
        return {
            node.name
            for node in ast.parse(self.solution(task).source).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }


def _with_helpers(sources: list[str], notebook: NotebookNode) -> str:
    """Some code, and of the worked cells the functions that it calls, directly or not."""
    helpers = {
        node.name: ast.unparse(node)
        for cell in notebook.cells
        if cell.cell_type == "code" and not nb_.grade_id(cell)
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    text = "\n".join(sources)
    while called := [name for name in helpers if _mentions(text, name)]:
        text += "".join("\n" + helpers.pop(name) for name in called)
    return text


def _mentions(source: str, name: str) -> bool:
    return bool(re.search(rf"\b{re.escape(name)}\b", source))


def make_class(course: Course, week: Week) -> list[Student]:
    """The students of the demo class of a week that is built. Raises CourseError.

    course: the demo's own. The private inputs of the week's exams are made there, and the reference
    run: it takes as long as `autograder run`.
    """
    own = _own(course, week)
    notebooks = {entry.name: read(course, week, entry) for entry in week.notebooks}
    full = {n.name: n.handed_in(n.reference()) for n in notebooks.values()}
    beside = {name: b for n in notebooks.values() for name, b in n.sitting.files.items()}
    points = {n.name: n.points() for n in notebooks.values()}
    # Mistakes are made where they cost points, or a bonus in a week whose points are all an exam's.
    worth = {n.name: n.points(n.tasks) for n in notebooks.values()}
    graded = [n for n in notebooks.values() if worth[n.name][0]]
    graded = graded or [n for n in notebooks.values() if worth[n.name][1]]
    if not graded or not all(n.leaves() for n in graded):
        raise stop(week.file, "", "demo", "it has no task that stands by itself")
    done = _status(notebooks.values())

    def student(
        name: str,
        notebook: Notebook | None = None,
        handed_in: NotebookNode | bytes | None = None,
        gets: Iterable[str] = (),
        status: str = done,
    ) -> Student:
        """One who has everything right but in one notebook, of which only `gets` counts."""
        files: dict[str, NotebookNode | bytes] = dict(full)
        scores = dict(points)
        if notebook is not None:
            files[notebook.name] = handed_in
            scores[notebook.name] = notebook.points(list(gets))
        return Student(name, _dumps(files), Expected(scores, status), beside)

    russian = {n.name: n.handed_in(n.reference(), "ru") for n in notebooks.values()}
    halves = {n.name: n.tasks[: (len(n.tasks) + 1) // 2] for n in notebooks.values()}
    half_files = {
        n.name: n.handed_in({t: a for t, a in n.reference().items() if t in halves[n.name]})
        for n in notebooks.values()
    }
    students = [
        student("full-en"),
        Student(
            "full-ru",
            # Some editors put a byte-order mark in front of the text.
            {name: b"\xef\xbb\xbf" + text for name, text in _dumps(russian).items()},
            Expected(points, done, language="ru"),
            beside,
        ),
        Student(
            "half-done",
            _dumps(half_files),
            Expected({n.name: n.points(halves[n.name]) for n in notebooks.values()}),
        ),
        Student(
            "untouched",
            _dumps({n.name: n.released["en"] for n in notebooks.values()}),
            Expected({name: (0.0, 0.0) for name in notebooks}),
        ),
    ]
    for number, (notebook, task) in enumerate(_three_leaves(graded), 1):
        wrong = notebook.handed_in(notebook.reference() | {task: notebook.mutant(task, number)})
        others = [t for t in notebook.all if t != task]
        students.append(student(f"mistake-{number}", notebook, wrong, others))

    first, last = graded[0], graded[-1]
    task = first.leaves()[-1]
    crash = first.handed_in(first.reference() | {task: _instead(first, task, "os._exit(1)")})
    others = [t for t in first.all if t != task]
    students.append(student("crash", first, crash, others, FLAGGED))

    task = last.leaves()[-1]
    endless = last.handed_in(last.reference() | {task: _instead(last, task, "while True: pass")})
    others = [t for t in last.all if t != task]
    students.append(student("endless", last, endless, others, FLAGGED))

    tampering = last.handed_in({task: last.mutant(task) for task in last.tasks})
    before_first = next(i for i, c in enumerate(tampering.cells) if nb_.is_solution(c))
    tampering.cells.insert(before_first, new_code_cell(SILENCE_THE_CHECKS))
    students.append(student("tampering", last, tampering, (), FLAGGED))

    # What a browser saves of a notebook that is shown on a page.
    students.append(student("web-page", first, b"<!DOCTYPE html>\n<title>x</title>", (), REFUSED))
    students += _with_notebooks_left_out(week, notebooks, full)
    # They have done no more of that notebook than it takes: what they hand in runs in no time.
    alone = {
        n.name: student("", n, n.handed_in(n.exam_alone()), n.below_exams())
        for n in notebooks.values()
    }
    examined = [n for n in notebooks.values() if n.exams and n.sitting.files]
    for notebook in examined:
        ending = f"-{notebook.name}" if len(examined) > 1 else ""
        for one in _without_exam(alone[notebook.name], notebook):
            students.append(replace(one, name=one.name + ending))
    if own is not None:
        with _told(week):
            for notebook in notebooks.values():
                students += own.students(alone[notebook.name], notebook)
            ((name, times),) = Counter(s.name for s in students).most_common(1)
            if times > 1:
                raise ValueError(f"{times} students of the class are called {name!r}")
    return students


def _own(course: Course, week: Week) -> Any:
    """The demo.py of a week, imported, or None. Raises CourseError."""
    path = course.root / "weeks" / week.folder / build.DEMO_FILE
    if not path.is_file():
        return None
    with _told(week):
        return exams.imported(path)


@contextlib.contextmanager
def _told(week: Week) -> Iterator[None]:
    """What is wrong with a week's demo.py becomes a CourseError. It may be anything."""
    try:
        yield
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        message = f"{why}; mend it or delete it, a week needs none"
        raise stop(f"weeks/{week.folder}/{build.DEMO_FILE}", "", "demo", message) from error


def _status(notebooks: Iterable[Notebook]) -> str:
    """How a submission ends in which nothing is wrong."""
    return TO_GRADE if any(n.answers for n in notebooks) else GRADED


def _with_notebooks_left_out(
    week: Week, notebooks: Mapping[str, Notebook], full: Mapping[str, NotebookNode]
) -> list[Student]:
    """Students who hand in not all notebooks, and have all right in those that they hand in."""

    def student(name: str, out: set[str], status: str = "") -> Student:
        left = [n for n in notebooks.values() if n.name not in out]
        scores = {n.name: n.points() if n in left else (0.0, 0.0) for n in notebooks.values()}
        return Student(
            name,
            _dumps({n.name: full[n.name] for n in left}),
            Expected(scores, status or _status(left)),
            {name: content for n in left for name, content in n.sitting.files.items()},
        )

    found = []
    if week.groups:  # of each group they chose the last
        others = {entry.name for group in week.groups.values() for entry in group[:-1]}
        found.append(student("one-of-each", others))
    required = [entry.name for entry in week.notebooks if entry.required]
    if required and len(notebooks) > 1:
        found.append(student("incomplete", {required[0]}, INCOMPLETE))
    return found


class _Malice:
    """What a hostile weights file of Python's own format would do: it must never be loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("open('loaded', 'w'); print('loaded')",)


def _without_exam(one: Student, notebook: Notebook) -> list[Student]:
    """Students who get nothing for the exams of a notebook. one: who did what those build on."""
    own = notebook.sitting.files
    name = next(iter(own))
    others = {n: content for n, content in one.beside.items() if n not in own}
    report = notebook.handed_in(dict.fromkeys(notebook.answers, ANSWER))
    malice = {**one.beside, name: pickle.dumps(_Malice())}
    return [
        replace(one, name="no-file", beside=others, says=f"{name} was not handed in"),
        replace(one, name="pickle", beside=malice, says="pickle|format"),
        replace(one, name="empty-file", beside={**one.beside, name: b""}, says=f"{name} is empty"),
        replace(
            one,
            name="report-only",
            files={**one.files, **_dumps({notebook.name: report})},
            expected=replace(
                one.expected, scores={**one.expected.scores, notebook.name: (0.0, 0.0)}
            ),
            beside=others,
            says="[Nn]ot attempted",
        ),
    ]


def _three_leaves(notebooks: list[Notebook]) -> list[tuple[Notebook, str]]:
    """Three different tasks, from all notebooks in turn."""
    queues = [[(n, task) for task in n.leaves()] for n in notebooks]
    mixed = [q[i] for i in range(max(map(len, queues))) for q in queues if i < len(q)]
    return mixed[:3]


def _instead(notebook: Notebook, task: str, statement: str) -> str:
    """A solution cell whose every function does something else first."""
    tree = ast.parse(notebook.solution(task).source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = ast.parse(f"import os\n{statement}").body + node.body
    return ast.unparse(ast.fix_missing_locations(tree))


def _dumps(files: Mapping[str, NotebookNode | bytes]) -> dict[str, bytes]:
    return {
        name: file if isinstance(file, bytes) else nb_.dumps(file).encode()
        for name, file in files.items()
    }


def read(course: Course, week: Week, entry: NotebookEntry) -> Notebook:
    """A built notebook; one with exams has been run, with private inputs made for that."""
    file = f"{week.folder}/{entry.name}.ipynb"
    released = {lang: nb_.read(course.root / "release" / lang / file) for lang in course.languages}
    source = nb_.read(course.root / "source" / file)
    tasks = list(nb_.exams(source))
    if tasks:
        exams.write(course, week, tasks, PROFILE, SEED)
    private = exams.load(course, week, tasks, PROFILE)
    sitting = Sitting(source, {}, {})
    if private or entry.files:
        sitting = _sit(course, week, entry, source, private)
    return Notebook(entry.name, source, released, private, sitting)


def _sit(
    course: Course,
    week: Week,
    entry: NotebookEntry,
    source: NotebookNode,
    private: Mapping[str, Private],
) -> Sitting:
    """Run the reference, as `autograder run` does, up to its last exam. Raises CourseError.

    It runs without the tests of other tasks, and of the cells that train only the last one does:
    nothing else may depend on those before it, since the grader runs none of them.
    """
    tests = nb_.exams(source).values()
    end = max((source.cells.index(cell) for cell in tests), default=len(source.cells))
    notebook = copy.deepcopy(source)
    cells = notebook.cells[: end + 1]
    others = [c for c in cells if nb_.is_training(c)][:-1]
    others += [c for task, c in nb_.test_cells(notebook).items() if task not in private]
    notebook.cells = [c for c in cells if not any(c is other for other in others)]
    folder = course.root / "source" / week.folder
    where = f"source/{week.folder}/{entry.name}.ipynb"
    with tempfile.TemporaryDirectory() as temporary:
        place, kept = Path(temporary, week.folder), Path(temporary, "kept")
        shutil.copytree(folder, place, ignore=shutil.ignore_patterns("*.ipynb"))
        kept.mkdir()
        # It runs in a folder that does not stay.
        names = [f.name for f in entry.files]
        lines = ["import shutil", f"for name in {names!r}:"]
        lines += [f"    shutil.copy(name, {str(kept)!r})"]
        notebook.cells.append(new_code_cell("\n".join(lines)))
        file = place / f"{entry.name}.ipynb"
        file.write_text(nb_.dumps(notebook), encoding="utf-8")
        (report,) = run_all(
            [file],
            output_dir=Path(temporary, "runs"),
            profile=PROFILE,
            jobs=1,
            variables={file: exams.environment(course, week, PROFILE)},
        )
        if not report.ok:
            raise stop(where, "", "demo", f"the reference does not run: {report.error}")
        ran = nb_.read(report.executed)
        files = {name: (kept / name).read_bytes() for name in names}
    handed = {
        output.data[nb_.HANDED_MIME]["task"]: output.data[nb_.HANDED_MIME]
        for cell in ran.cells
        for output in cell.get("outputs", [])
        if nb_.HANDED_MIME in output.get("data", {})
    }
    code = "\n\n".join(c.source for c in source.cells if c.cell_type == "code")
    shares = {task: exam.mark(handed[task], code).share for task, exam in private.items()}
    return Sitting(ran, files, shares)


def _is_answer(cell: NotebookNode) -> bool:
    return nb_.is_graded(cell) and nb_.is_solution(cell)


def make_course(course: Course, week: Week, root: Path) -> Course:
    """A course of its own in a folder that is not there yet, of which one week is built."""
    root.mkdir()
    for name in (course_.FILE, "nbgrader_config.py", "pyproject.toml"):
        if (course.root / name).is_file():
            shutil.copy(course.root / name, root / name)
    shutil.copytree(course.root / "weeks", root / "weeks")
    with (root / "nbgrader_config.py").open("a", encoding="utf-8") as config:
        if not week.files:  # else its cells train networks, and the course's own limit holds
            config.write(f"\nc.Grader.cell_seconds = {CELL_SECONDS}\n")
        # Never the gradebook of the course itself.
        config.write('c.CourseDirectory.pop("db_url", None)\n')
    own = course_.load(root)
    build.build(own, [week])
    return own


def set_up(course: Course, week: Week) -> tuple[Course, list[Student]]:
    """A course of its own in demo/ with one built week and the class's submissions."""
    root = course.root / "demo"
    if root.exists() and not (root / course_.FILE).is_file():
        raise stop(str(root), "", "demo", "this folder is not the demo's; move it away")
    shutil.rmtree(root, ignore_errors=True)
    demo = make_course(course, week, root)
    students = make_class(demo, week)
    for student in students:
        folder = root / "submitted" / student.name / week.folder
        folder.mkdir(parents=True)
        for name, content in student.files.items():
            (folder / f"{name}.ipynb").write_bytes(content)
        for name, content in student.beside.items():
            (folder / name).write_bytes(content)
    return demo, students


def differences(students: Iterable[Student], grades: Iterable[SubmissionGrade]) -> list[str]:
    """Where grading gave another score, status or language than the one computed before."""
    found = []
    by_name = {grade.student: grade for grade in grades}
    for student in students:
        grade, expected = by_name[student.name], student.expected
        for notebook in grade.notebooks:
            got = (notebook.score(), notebook.score(bonus=True))
            want = expected.scores[notebook.name]
            if any(abs(a - b) > 1e-9 for a, b in zip(got, want, strict=True)):
                found.append(
                    f"{student.name}: {notebook.name} got {got[0]:g} + {got[1]:g} bonus, "
                    f"expected {want[0]:g} + {want[1]:g}"
                )
            read = notebook.status not in (MISSING, REFUSED)
            if read and notebook.language != expected.language:
                found.append(f"{student.name}: {notebook.name} was taken for {notebook.language}")
        if grade.status != expected.status:
            found.append(f"{student.name}: is {grade.status}, expected {expected.status}")
    return found


# -- The receipt of a class -------------------------------------------------------------------


def fingerprint(course: Course, week: Week) -> str:
    """Fingerprint of what decides how the class is graded: the week's code, and the grader.

    Not of `practical_dl`, whose part in it the week's proof holds: else each of its changes would
    have the classes of all weeks graded.
    """
    notebooks = [proofs.current(course, week, text) for text in build.texts_of(course, [week])]
    codes = [n.code + "".join(task.code for task in n.tasks.values()) for n in notebooks]
    own = fingerprints.sources(build.DEMO_FILE, root=course.root / "weeks" / week.folder)
    beside = fingerprints.sources("autograder/demo.py", "autograder/demo_networks.py")
    ours = [*fingerprints.grader(), *beside]
    parts = [*codes, fingerprints.of(ours), *(path.read_bytes() for path in own)]
    return files_.digest(parts)[:16]


def is_known(course: Course, week: Week) -> bool:
    """Whether the class got what was computed when nothing of that was other than it is now."""
    try:
        kept = json.loads(_receipt(course, week).read_bytes())
        return bool(kept["fingerprint"] == fingerprint(course, week))
    except (OSError, ValueError, TypeError, KeyError):
        return False


def write_receipt(course: Course, week: Week, students: int) -> None:
    """Keep that so many students got what was computed before."""
    kept = {"fingerprint": fingerprint(course, week), "students": students}
    files_.write(_receipt(course, week), (json.dumps(kept, indent=1) + "\n").encode())


def _receipt(course: Course, week: Week) -> Path:
    return course.root / "weeks" / week.folder / build.CLASS_FILE
