"""Week 03 as a class hands it in: networks with their weights, marked on private pictures."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit.formgrader import running

from autograder import course as course_
from autograder import demo, demo_networks, exams, settings
from autograder import notebook as nb_
from autograder.course import Course
from autograder.execution.pool import LocalPool
from autograder.grading import grade as grade_
from autograder.results import FLAGGED, GRADED, REFUSED, TO_GRADE, SubmissionGrade, TaskGrade
from practical_dl import data

REPOSITORY = Path(__file__).parents[2]
WEEK, NOTEBOOK, TASK = "week03_convnets", "seminar_pytorch", "network"
WEIGHTS = "model.safetensors"
# Mistakes in the homework are like those in any other notebook: tests/test_grading_class.py.
LEFT_OUT = ("mistake", "crash", "endless", "tampering", "half-done")


@dataclasses.dataclass(frozen=True)
class Class:
    """The graded class, by student."""

    course: Course
    students: dict[str, demo.Student]
    grades: dict[str, SubmissionGrade]

    def page(self, student: str) -> str:
        """What a student reads of the project, without its tags."""
        return without_tags(self.course.root / "feedback" / student / WEEK / f"{NOTEBOOK}.html")

    def told(self, student: str) -> str:
        """All sentences on a student's project, the student's and the teacher's."""
        notebooks = self.grades[student].notebooks
        return "\n".join([self.page(student), *(t for n in notebooks for t in n.reasons + n.notes)])

    def task(self, student: str) -> TaskGrade:
        """The grade of the exam."""
        (notebook,) = (n for n in self.grades[student].notebooks if n.name == NOTEBOOK)
        return next(task for task in notebook.tasks if task.task == TASK)


def without_tags(page: Path) -> str:
    """The text of a page."""
    text = re.sub(r"<(style|script).*?</\1>", "", page.read_text("utf-8"), flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "", text))


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Class]:
    if not data.is_cached("cifar10"):
        pytest.skip("cifar10 is not in the cache; run python -m practical_dl.data cifar10")
    root = tmp_path_factory.mktemp("week03")
    for name in (course_.FILE, "nbgrader_config.py", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, root / name)
    shutil.copytree(REPOSITORY / "weeks", root / "weeks")
    with (root / "nbgrader_config.py").open("a", encoding="utf-8") as config:
        # Nothing here is endless, and other tests may keep the machine busy.
        config.write("\nc.Grader.cell_seconds = 600\nc.Grader.notebook_seconds = 1200\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        course = course_.load(root)
        (week,) = course.select([WEEK])
        own, students = demo.set_up(course, week)
        students = [s for s in students if not s.name.startswith(LEFT_OUT)]
        with LocalPool(2) as backend:
            grades = _grade(own, [s.name for s in students], backend)
        yield Class(own, {s.name: s for s in students}, {g.student: g for g in grades})


def tasks(grade: SubmissionGrade) -> list[tuple[TaskGrade, ...]]:
    return [notebook.tasks for notebook in grade.notebooks]


def _grade(course: Course, names: list[str], backend: object) -> list[SubmissionGrade]:
    (week,) = course.select([WEEK])
    return grade_.grade(course, week, names, backend=backend)


class Counting:
    """A backend that counts what it runs."""

    def __init__(self) -> None:
        self.ran = 0

    def run(self, jobs: Iterator) -> Iterator:
        with LocalPool(2) as pool:
            for each in pool.run(jobs):
                self.ran += 1
                yield each


# -- What everybody gets -----------------------------------------------------------------------


def test_everybody_gets_the_score_computed_before(graded: Class) -> None:
    students, grades = graded.students.values(), list(graded.grades.values())
    assert demo.differences(students, grades) == []
    kinds = {"full-en", "no-file", "pickle", "nan", "untrained", "opens-files", "by-heart"}
    assert kinds <= graded.students.keys()


@pytest.mark.parametrize("student", ["full-en", "full-ru"])
def test_the_reference_is_right_in_every_task(graded: Class, student: str) -> None:
    """Also in those that carry no points, which no score tells of."""
    for notebook in graded.grades[student].notebooks:
        wrong = [t.task for t in notebook.tasks if t.status not in ("correct", TO_GRADE)]
        assert not wrong, notebook.name


def test_the_reference_gets_points_for_its_pictures(graded: Class) -> None:
    full, none = graded.task("full-en"), graded.task("no-file")
    assert full.points == 16 and full.score >= 14  # a person gives the other four
    assert (none.score, none.status) == (0, "wrong")
    assert graded.task("full-ru").score == full.score


@pytest.mark.parametrize(
    ("student", "status"),
    [
        ("full-en", TO_GRADE),  # the report waits for a person
        ("untouched", GRADED),
        ("no-file", TO_GRADE),
        ("pickle", TO_GRADE),
        ("by-heart", FLAGGED),
        ("web-page", REFUSED),
    ],
)
def test_how_each_ends(graded: Class, student: str, status: str) -> None:
    assert graded.grades[student].status == status


def test_every_mistake_is_told_in_a_sentence(graded: Class) -> None:
    for name, student in graded.students.items():
        if student.says:
            assert re.search(student.says, graded.told(name)), f"{name}: {student.says}"
            assert graded.task(name).score == 0, name


def test_nothing_of_a_pickle_is_run(graded: Class) -> None:
    for path in graded.course.root.rglob("*"):
        assert path.name != "loaded"
    file = graded.course.root / "autograded" / "pickle" / WEEK / f"{NOTEBOOK}.ipynb"
    shown = [o for c in nb_.read(file).cells for o in c.get("outputs", [])]
    assert "loaded" not in json.dumps(shown)


def test_the_outputs_of_the_training_are_those_handed_in(graded: Class) -> None:
    root = graded.course.root
    submitted = nb_.read(root / "submitted" / "full-en" / WEEK / f"{NOTEBOOK}.ipynb")
    shown = nb_.read(root / "autograded" / "full-en" / WEEK / f"{NOTEBOOK}.ipynb")
    before, after = (
        [line for c in n.cells if nb_.is_training(c) for o in c.outputs for line in _lines(o)]
        for n in (submitted, shown)
    )
    told = [line for line in before if "validation accuracy" in line or "numbers" in line]
    assert len(told) == 2 and [line for line in after if line in told] == told
    assert len(after) < len(before)  # of a progress bar only its end


def _lines(output: Any) -> list[str]:
    return "".join(output.get("text", "")).splitlines()


# -- What nobody sees --------------------------------------------------------------------------


def test_feedback_is_in_the_students_language(graded: Class) -> None:
    for name in graded.students:
        for entry in graded.course.select([WEEK])[0].notebooks:
            assert (graded.course.root / "feedback" / name / WEEK / f"{entry.name}.html").is_file()
    russian = re.compile("[а-яё]{3,} [а-яё]{3,} [а-яё]{3,}", re.IGNORECASE)
    assert russian.search(graded.page("full-ru"))
    assert not russian.search(graded.page("full-en"))


def test_nothing_private_leaves_the_grader(graded: Class) -> None:
    root = graded.course.root
    (week,) = graded.course.select([WEEK])
    (exam,) = exams.load(graded.course, week, [TASK], demo.PROFILE).values()
    secrets = _secrets(exam.answers)
    with np.load(root / "private" / WEEK / demo.PROFILE / f"{TASK}.inputs.npz") as inputs:
        secrets += _secrets({name: array[:20] for name, array in inputs.items()})
    lines = (root / "source" / WEEK / exams.FILE).read_text("utf-8").splitlines()
    code = [line.strip().encode() for line in sorted(lines, key=len)[-12:]]
    cells = nb_.read(root / "source" / WEEK / f"{NOTEBOOK}.ipynb").cells
    public = "\n".join(nb_.without_hidden(c.source) for c in cells)
    lines = [line for c in cells for line in nb_.hidden_regions(c.source) if len(line) > 30]
    hidden = [line for line in lines if line not in public]
    assert secrets and code and hidden
    for tree in ("release", "autograded", "feedback"):
        for path in (root / tree).rglob("*"):
            assert path.suffix != ".npz" and path.name != exams.FILE, path
            if path.is_file():
                content = path.read_bytes()
                assert not [s for s in [*secrets, *code] if s in content], path
            text = ""  # what a student can read; teachers see the hidden test
            if path.suffix == ".html":
                text = without_tags(path)
            elif path.suffix == ".ipynb" and tree == "release":
                text = "\n".join(c.source for c in nb_.read(path).cells)
            assert not [line for line in hidden if line in text], path


def _secrets(arrays: dict[str, np.ndarray]) -> list[bytes]:
    """Arrays as somebody may write them down."""
    found = []
    for array in arrays.values():
        for content in (array, array.astype(np.int64), array.astype(np.uint8)):
            raw = np.ascontiguousarray(content).tobytes()
            found += [raw[:120], base64.b64encode(raw)[:120]]
        found.append(", ".join(map(str, array.ravel()[:40].tolist())).encode())
    return found


def test_the_labels_stay_out_of_the_job(graded: Class) -> None:
    """What goes to a sandbox, here or on another machine, holds the pictures and no answer."""
    root = graded.course.root
    (week,) = graded.course.select([WEEK])
    (exam,) = exams.load(graded.course, week, [TASK], demo.PROFILE).values()
    jobs = []

    class Looking:
        def run(self, found: Iterator) -> Iterator:
            jobs.extend(job for _, job in found)
            raise KeyboardInterrupt  # nothing is to run

    own = dataclasses.replace(settings.load(graded.course), cache=root / "no-cache")
    with pytest.raises(KeyboardInterrupt):
        grade_.grade(graded.course, week, ["nan"], backend=Looking(), settings=own)
    text = "".join(job.to_json() for job in jobs)
    assert base64.b64encode(exam.inputs).decode() in text
    for secret in _secrets(exam.answers):
        assert secret.decode("latin-1") not in text


# -- Again -------------------------------------------------------------------------------------


def test_nothing_changed_runs_nothing(graded: Class) -> None:
    counting = Counting()
    names = list(graded.students)
    assert _grade(graded.course, names, counting) == [graded.grades[n] for n in names]
    assert counting.ran == 0


def test_changed_weights_alone_are_graded_again(graded: Class, tmp_path: Path) -> None:
    root = tmp_path / "course"
    shutil.copytree(graded.course.root, root, ignore=shutil.ignore_patterns("docs"))
    course = course_.load(root)
    file = root / "submitted" / "full-en" / WEEK / WEIGHTS
    os.utime(file)  # handed in again as it was: another time, and nothing to run
    counting = Counting()
    names = ["full-en", "full-ru", "untouched"]
    assert tasks(_grade(course, names, counting)[0]) == tasks(graded.grades["full-en"])
    assert counting.ran == 0

    file.write_bytes(demo_networks.shuffled(file.read_bytes()))
    changed, *others = _grade(course, names, counting)
    assert [tasks(o) for o in others] == [tasks(graded.grades[n]) for n in names[1:]]
    assert counting.ran <= 2  # the project; the homework finds the file beside it, too
    (notebook,) = (n for n in changed.notebooks if n.name == NOTEBOOK)
    assert next(t.score for t in notebook.tasks if t.task == TASK) == 0
    assert changed.score(bonus=True) == graded.grades["full-en"].score(bonus=True)


# -- A person's part ---------------------------------------------------------------------------


def test_reports_graded_by_hand_reach_both_languages(graded: Class, tmp_path: Path) -> None:
    """Points and one comment with codes, given through formgrader's API."""
    root = shutil.copytree(graded.course.root, tmp_path / "course")
    course = course_.load(root)
    names = ["full-en", "full-ru"]
    with running(course, f"{WEEK}/{NOTEBOOK}") as formgrader:
        for name in names:
            assert formgrader.answer("grade", name)["needs_manual_grade"]
            formgrader.give(name, 2.75, "[curves] yes. `[ablation]`: with one seed.")
    counting = Counting()
    graded_now = _grade(course, names, counting)
    assert counting.ran == 0
    texts = []
    for name, now in zip(names, graded_now, strict=True):
        assert now.status == GRADED
        assert now.score() == graded.grades[name].score() + 2.75
        page = root / "feedback" / name / WEEK / f"{NOTEBOOK}.html"
        texts.append(without_tags(page))
    assert "both curves of the final network" in texts[0]
    assert "обе кривые итоговой сети" in texts[1]
    for text in texts:
        assert "with one seed" in text and "2.75" in text.replace(",", ".")
        assert "[account]" not in text  # the rest of the rubric is the graders'
