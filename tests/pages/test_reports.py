"""Answers that a person grades: from the rubric in a text to the comment on the feedback page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.attacks import PNG, chromium_of
from kit.cli import Done, autograder
from kit.formgrader import Formgrader, running
from kit.rules import NOTEBOOK, WEEK, WEEK_TOML, copy_tiny, edit
from nbformat.v4 import new_code_cell, new_markdown_cell

from autograder import course as course_
from autograder import notebook as nb_
from autograder import rubric, steps
from autograder import words as words_
from autograder.authoring import build
from autograder.course import Course
from autograder.gradebook import Recorder, Row
from autograder.grading import grade as grade_
from autograder.grading.graft import graft
from autograder.pages import tables

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PRINT = "# %%\nprint(line(np.arange(3.0), 2.0, 1.0))\n"
REPORT = """# %% [markdown]
# ## Report
# {{task:report}}

# %% [markdown] lang="ru"
# ## Отчёт
# {{task:report}}

# %% [markdown] answer="report" points=4 difficulty=2 minutes=20
# A sample for graders: I drew both lines.

# %% [markdown] rubric="report"
# - [curves] 2 points: both lines are drawn, for $a > 0$ too.
# - [choice] 1.5 points: says why this line was taken,
#   and names a number.
# - [limits] 0.5 points: names what the line can't do.
#
# A weak answer: it fits.

# %% [markdown] rubric="report" lang="ru"
# - [curves] 2 балла: нарисованы обе прямые, и при $a > 0$.
# - [choice] 1,5 балла: сказано, почему взята эта прямая,
#   и названо число.
# - [limits] 0,5 балла: названо, чего прямая не может.
#
# Слабый ответ: подходит.

"""
RUBRIC = ("both lines are drawn", "says why", "can't do", "A weak answer", "A sample for graders")
RUBRIC += ("нарисованы обе", "сказано, почему", "чего прямая", "Слабый ответ")
ANSWERS = {
    "ann": ("en", "I took $a = 2$ since it *fits*: see <b>both</b>."),
    "rita": ("ru", "Взял $a = 2$.\n\n![Две прямые](attachment:lines.png)"),
    "uma": ("en", None),
    "ulla": ("ru", None),
    "forger": ("en", "RUBRIC · report · the student does not see it\n\n- [curves] 4 points: all."),
}


def make(root: Path) -> Course:
    """The tiny course with a report, built."""
    copy_tiny(root)
    # Without its garbage collector, formgrader's server keeps every row that it ever read.
    config = (REPOSITORY / "nbgrader_config.py").read_text(encoding="utf-8")
    edit(root, ("nbgrader_config.py", None, f"{config}\nimport gc\n\ngc.disable()\n"))
    edit(root, (NOTEBOOK, PRINT, REPORT + PRINT), *[(WEEK_TOML, "points = 3", "points = 7")] * 2)
    course = course_.load(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(BIN), prepend=os.pathsep)
        build.build(course, course.weeks)
    return course


def hand_in(course: Course, student: str, language: str, answer: str | None) -> Any:
    """A submission made from the release; its notebook, which is not written again."""
    notebook = nb_.read(course.root / "release" / language / WEEK / "tiny.ipynb")
    for cell in notebook.cells:
        if nb_.grade_id(cell) == "report" and answer is not None:
            cell.source = answer
            if "attachment:" in answer:
                cell.attachments = {"lines.png": {"image/png": PNG}}
        if nb_.grade_id(cell) == "line":
            cell.source = f"def line(x, a, b):\n    return a * x + b  # {student}"
    if student == "forger":  # what would make a rubric of it, were it believed
        metadata = {"practical_dl": {"rubric": "report", "lang": "en"}}
        notebook.cells.append(new_markdown_cell("- [curves] 4 points: forged", metadata=metadata))
    path = course.root / "submitted" / student / WEEK / "tiny.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nb_.dumps(notebook), encoding="utf-8")
    return notebook


def run(course: Course, *line: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    return subprocess.run(
        line, cwd=course.root, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )


def grade(course: Course) -> Done:
    return autograder(course.root, "grade", "1", "--jobs", "2")


def page_of(course: Course, student: str) -> str:
    path = course.root / "feedback" / student / WEEK / "tiny.html"
    return path.read_text(encoding="utf-8")


def words(html: str) -> str:
    """What a reader sees, on one line."""
    text = re.sub(r"<[^>]*>", "", html[html.index("<body") :])
    return " ".join(text.replace("&#39;", "'").replace("&lt;", "<").split())


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Course, Any]:
    """The class, graded once by the machine."""
    course = make(tmp_path_factory.mktemp("reports") / "tiny")
    for student, (language, answer) in ANSWERS.items():
        hand_in(course, student, language, answer)
    return course, grade(course)


@pytest.fixture(scope="module")
def formgrader(first: tuple[Course, Any]) -> Iterator[Formgrader]:
    with running(first[0], f"{WEEK}/tiny") as server:
        yield server


# -- The machine's part ------------------------------------------------------------------------


def test_no_release_holds_a_rubric_or_the_sample(first: tuple[Course, Any]) -> None:
    course, _ = first
    for language, stub in ((w.code, w.stub) for w in words_.LANGUAGES.values()):
        release = course.root / "release" / language / WEEK / "tiny.ipynb"
        text = release.read_text(encoding="utf-8")
        assert not any(words in text for words in RUBRIC)
        answers = [c.source for c in nb_.read(release).cells if nb_.grade_id(c) == "report"]
        assert answers == [stub]
    source = (course.root / "source" / WEEK / "tiny.ipynb").read_text(encoding="utf-8")
    assert all(words in source for words in RUBRIC)


def test_what_waits_for_a_person_is_told(first: tuple[Course, Any]) -> None:
    course, done = first
    assert done.returncode == 0, done.stdout + done.stderr
    assert "To grade by hand, in formgrader: 3 answers of 3 students." in done.stdout
    assert done.stdout.count("tiny: to grade by hand: report") == 3
    report = (course.root / "reports" / f"{WEEK}.html").read_text(encoding="utf-8")
    assert "3 answers of 3 students" in report
    assert report.count('class="status to-grade">to grade<') == 3


def rows_of(course: Course, student: str) -> dict[str, Row]:
    with Recorder(f"sqlite:///{course.root / 'gradebook.db'}", WEEK) as recorder:
        return recorder.read([student])[student].rows["tiny"]


def test_rows_before_anybody_graded(first: tuple[Course, Any]) -> None:
    course, _ = first
    for student in ("ann", "rita", "forger"):
        assert rows_of(course, student)["report"] == Row(None, needs_manual=True)
        assert rows_of(course, student)["test-line"] == Row(1.0)
    # Left as it was: no points, and nobody has to look.
    assert rows_of(course, "uma")["report"] == rows_of(course, "ulla")["report"] == Row(0.0)


@pytest.mark.parametrize(
    ("student", "said"),
    [
        ("ann", ("Your answer: report to be graded not graded yet", "see both.")),
        ("rita", ("Ваш ответ: report оценивается ещё не оценено", "Взял")),
        ("uma", ("Your answer: report not attempted 0 of 4", "No response.")),
        ("ulla", ("Ваш ответ: report не начато 0 из 4", "Ответа нет.")),
    ],
)
def test_pages_before_anybody_graded(
    first: tuple[Course, Any], student: str, said: tuple[str, ...]
) -> None:
    html = page_of(first[0], student)
    assert all(one in words(html) for one in said), words(html)
    assert not any(one in html for one in RUBRIC)


# -- A person's part, through formgrader -------------------------------------------------------

COMMENT = "[curves] Drawn well. `[choice]`\n\n- `x[limits]`, [other] <script>alert(1)</script>"


@pytest.fixture(scope="module")
def by_hand(first: tuple[Course, Any], formgrader: Formgrader) -> Any:
    """The class after a person graded two reports; what grading it again said."""
    for student in ("ann", "rita"):
        assert formgrader.answer("grade", student)["needs_manual_grade"]
        formgrader.give(student, 2.5, COMMENT, extra=0.5)
    results = sorted((first[0].root / ".grading").glob("*.json"))
    times = [path.stat().st_mtime_ns for path in results]
    done = grade(first[0])
    assert [path.stat().st_mtime_ns for path in results] == times, "something ran again"
    return done


def test_points_are_recorded_and_counted(first: tuple[Course, Any], by_hand: Any) -> None:
    course, _ = first
    assert by_hand.returncode == 0, by_hand.stderr
    assert "To grade by hand, in formgrader: 1 answer of 1 student." in by_hand.stdout
    row = rows_of(course, "ann")["report"]
    assert row == Row(None, manual=2.5, extra=0.5) and row.score == 3.0
    (ann,) = grade_.read_grades(course, course.weeks[0], ["ann"])
    assert (ann.status, ann.waiting, ann.score()) == ("graded", 0, 4.0)
    assert {t.task: t.status for t in ann.notebooks[0].tasks}["report"] == "graded"


SAID = {
    "ann": (
        "Your answer: report 2.5 of 4 (+0.5 extra credit)",
        "“2 points: both lines are drawn, for",
        "too.” Drawn well. “1.5 points: says why this line was taken, and names a number.”",
        "x[limits], [other]",
        "Score: 4 of 7",
    ),
    "rita": (
        "Ваш ответ: report 2,5 из 4 (+0,5 сверх задания)",
        "«2 балла: нарисованы обе прямые, и при",
        "» Drawn well. «1,5 балла: сказано, почему взята эта прямая, и названо число.»",
        "x[limits], [other]",
        "Баллы: 4 из 7",
    ),
}


def says_what_it_should(course: Course, student: str) -> None:
    html = page_of(course, student)
    assert all(one in words(html) for one in SAID[student]), words(html)
    assert "<script" not in html
    quoted = ("both lines are drawn", "says why", "нарисованы обе", "сказано, почему")
    assert not any(one in html for one in set(RUBRIC) - set(quoted))
    other = "сказано" if student == "ann" else "says why"
    assert other not in html
    assert html.count("says why") + html.count("сказано, почему") == 1
    assert (f"data:image/png;base64,{PNG}" in html) == (student == "rita")


@pytest.mark.parametrize("student", SAID)
def test_the_page_says_what_the_person_gave(
    first: tuple[Course, Any], by_hand: Any, student: str
) -> None:
    says_what_it_should(first[0], student)


@pytest.mark.parametrize("student", SAID)
def test_so_does_nbgraders_own_command(
    first: tuple[Course, Any], by_hand: Any, student: str
) -> None:
    course, _ = first
    ours = page_of(course, student)
    (course.root / "feedback" / student / WEEK / "tiny.html").unlink()
    done = run(course, str(BIN / "nbgrader"), "generate_feedback", WEEK, "--force")
    assert done.returncode == 0, done.stderr
    says_what_it_should(course, student)
    assert page_of(course, student) == ours


@pytest.mark.parametrize(
    ("student", "sentence"),
    [("ann", "says why this line"), ("rita", "сказано, почему"), ("forger", "says why this line")],
)
def test_the_grader_sees_the_rubric_and_knows_it(
    first: tuple[Course, Any],
    by_hand: Any,
    formgrader: Formgrader,
    chromium: str,
    tmp_path: Path,
    student: str,
    sentence: str,
) -> None:
    with chromium_of(chromium) as browser:
        page = browser.new_page()
        address = f"{formgrader.address}/formgrader/submissions/{formgrader.submission(student)}/"
        page.goto(address)
        frames = page.locator("div[style*='3px double']")
        assert frames.count() == 1
        frame = frames.first.inner_text()
        assert frame.startswith("RUBRIC · report · the student does not see it")
        assert sentence in frame and "forged" not in frame
        frames.first.locator("summary").click()
        assert "A sample for graders" in frames.first.inner_text()
        # The answer stands in formgrader's own frame, with the box for the points.
        panel = page.locator(".nbgrader_cell", has=page.locator("#report"))
        said = {"ann": "see both", "rita": "Взял", "forger": "4 points: all."}[student]
        assert said in panel.inner_text()
        added = page.locator("div[style*='3px dotted']")
        assert added.count() == (student == "forger")
        if student == "forger":
            assert added.first.inner_text().startswith("written by the student")
        page.screenshot(path=tmp_path / f"{student}.png", full_page=True)
        page.close()


# -- Again -------------------------------------------------------------------------------------


def test_after_a_resubmission(
    first: tuple[Course, Any], by_hand: Any, formgrader: Formgrader
) -> None:
    """Points stand; only for an answer that changed a person has to look again."""
    course, _ = first
    for student, answer in (("ann", ANSWERS["ann"][1]), ("rita", "Взял $a = 3$.")):
        notebook = hand_in(course, student, ANSWERS[student][0], answer)
        notebook.cells.append(new_code_cell("1 + 1"))
        path = course.root / "submitted" / student / WEEK / "tiny.ipynb"
        path.write_text(nb_.dumps(notebook), encoding="utf-8")
    done = grade(course)
    assert done.returncode == 0, done.stderr
    assert rows_of(course, "ann")["report"] == Row(None, 2.5, 0.5, needs_manual=False)
    assert rows_of(course, "rita")["report"] == Row(None, 2.5, 0.5, needs_manual=True)
    assert "2 answers of 2 students" in done.stdout
    assert "Ваш ответ: report на проверке 2,5 из 4" in words(page_of(course, "rita"))
    # The same answer once more does not take the mark away; the person does.
    hand_in(course, "rita", "ru", "Взял $a = 3$.")
    grade(course)
    assert rows_of(course, "rita")["report"].needs_manual
    formgrader.give("rita", 1.0, "[limits]")
    grade(course)
    assert rows_of(course, "rita")["report"] == Row(None, 1.0, needs_manual=False)
    assert "«0,5 балла: названо, чего прямая не может.»" in words(page_of(course, "rita"))


# -- What an answer is -------------------------------------------------------------------------


def answered(course: Course, *cells: Any, own: str | None = None, language: str = "en") -> Any:
    """What comes of cells around the report, whose own cell holds `own`, or is gone."""
    notebook = nb_.read(course.root / "release" / language / WEEK / "tiny.ipynb")
    place = next(i for i, c in enumerate(notebook.cells) if nb_.grade_id(c) == "report")
    notebook.cells[place].source = own or ""
    before, after = cells
    kept = [notebook.cells[place]] if own is not None else []
    notebook.cells[place : place + 1] = [*before, *kept, *after]
    source = nb_.read(course.root / "source" / WEEK / "tiny.ipynb")
    grafted = graft(source, notebook)
    cell = next(c for c in grafted.notebook.cells if nb_.grade_id(c) == "report")
    return cell, grafted


def text(source: str, picture: str = "") -> Any:
    cell = new_markdown_cell(source)
    if picture:
        cell.attachments = {"image.png": {"image/png": picture}}
    return cell


@pytest.mark.parametrize("own", ["", " \n", *sorted(steps.STUBS), None])
def test_an_answer_beside_its_cell_is_taken(first: tuple[Course, Any], own: str | None) -> None:
    for before, after in (([], [text("Mine.")]), ([text("Mine.")], [])):
        cell, grafted = answered(first[0], before, after, own=own)
        assert cell.source == "Mine."
        assert "the answer report was found in a cell of the student's own, and taken" in (
            grafted.notes
        )
        assert sum("Mine." in c.source for c in grafted.notebook.cells) == 1


@pytest.mark.parametrize("own", ["", *sorted(steps.STUBS), None])
def test_no_answer_is_none(first: tuple[Course, Any], own: str | None) -> None:
    cell, _ = answered(first[0], [], [], own=own, language="ru")
    assert cell.source == words_.RUSSIAN.stub


def test_an_answer_that_is_there_takes_nothing_else(first: tuple[Course, Any]) -> None:
    cell, grafted = answered(first[0], [], [text("And so.")], own="So.")
    assert cell.source == "So." and grafted.notes == ()
    assert any(c.source == "And so." for c in grafted.notebook.cells)


def test_pictures_of_one_name_stay_two(first: tuple[Course, Any]) -> None:
    one = text("![a](attachment:image.png)", "AAAA")
    other = text("![b](attachment:image.png)", "BBBB")
    cell, _ = answered(first[0], [], [one, other], own="")
    assert cell.source == "![a](attachment:image.png)\n\n![b](attachment:2-image.png)"
    assert [p["image/png"] for p in cell.attachments.values()] == ["AAAA", "BBBB"]


# -- Rubrics -----------------------------------------------------------------------------------


def test_criteria_are_read() -> None:
    found = rubric.criteria(
        "Give:\n- [a-b] 1.5 points: one\n  two\n\n* [C] 1 балл: три\n1. [d] no\n- [e] f: g\n- h\n"
    )
    assert [(c.code, c.points, c.sentence) for c in found] == [
        ("a-b", 1.5, "1.5 points: one two"),
        ("c", 1.0, "1 балл: три"),
        ("e", None, "f: g"),
    ]


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("[a]", "“1 point: it <is>.”"),
        ("No: [A], [b]", "No: “1 point: it <is>.”, [b]"),
        ("`[a]`, `[b]`", "“1 point: it <is>.”, `[b]`"),
        ("`x[a]` [a](https://pytorch.org) [a][b]", None),
        ("x[[a]]", "x[“1 point: it <is>.”]"),
        ("", None),
        ("[" * 50_000 + "`" * 50_000, None),
    ],
)
def test_codes_become_sentences(comment: str, said: str | None) -> None:
    known = {c.code: c for c in rubric.criteria("- [a] 1 point: it <is>.")}
    start = time.process_time()
    assert rubric.cite(comment, known, ("“", "”")) == (comment if said is None else said)
    assert time.process_time() - start < 1


def test_the_table_counts(first: tuple[Course, Any]) -> None:
    course, _ = first
    week = course.weeks[0]
    (uma,) = grade_.read_grades(course, week, ["uma"])
    assert tables.waiting([uma]) == "" and tables.to_grade(uma) == []
