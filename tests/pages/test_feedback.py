"""Feedback pages: what a student reads, what stays hidden, and that nothing in them runs."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.attacks import HTML, NAMES, PNG, chromium_of, look, notebook_with
from kit.rules import tiny_course, tiny_text
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from autograder import notebook as nb_
from autograder.authoring.build import to_source
from autograder.grading.graft import graft
from autograder.pages.feedback import CellGrade, page
from autograder.pages.sanitise import sanitise

GRADES = {
    "test-line": CellGrade(0.5, 1.0, "Mind the **intercept**, $a<b$."),
    "test-distance": CellGrade(None, 2.0),
    "test-double": CellGrade(1.0, 1.0, bonus=True),
}


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with chromium_of(chromium) as context:
        yield context


def graded(language: str = "en", status: str = "wrong", message: str = "") -> NotebookNode:
    """The tiny notebook after grading."""
    source = to_source(tiny_text(), tiny_course())
    student = NotebookNode(cells=[], metadata={"practical_dl": {"language": language}})
    notebook = graft(source, student).notebook
    notebook.metadata["practical_dl"] = {
        "language": language,
        "notes": [],
        "flags": ["secret flag"],
    }
    for test in nb_.test_cells(notebook).values():
        values = {"status": status, "message": message or "Wrong: line(x, a, b): y is a x + b"}
        test.metadata["practical_dl"] = values
        test.outputs = [new_output("stream", text="printed by a test")]
    return notebook


def text_of(html: str) -> str:
    """What a reader sees."""
    body = html[html.index("<body") :]
    text = re.sub(r"<[^>]*>", "", body)
    for entity, character in (("&quot;", '"'), ("&#34;", '"'), ("&#39;", "'"), ("&lt;", "<")):
        text = text.replace(entity, character)
    return text.replace("&gt;", ">").replace("&amp;", "&")


def hidden_lines(notebook: NotebookNode) -> set[str]:
    public = "\n".join(nb_.without_hidden(c.source) for c in notebook.cells)
    lines = {line for c in notebook.cells for line in nb_.hidden_regions(c.source)}
    return {line for line in lines if line not in public and len(line) > 8}


# -- What it says ------------------------------------------------------------------------------


def test_scores_verdicts_and_comments() -> None:
    html = page(graded(), GRADES, title="week01_tiny", penalty=0.25)
    text = " ".join(text_of(html).split())
    assert "Score: 0.25 of 3 + 1 (bonus)" in text
    assert "Late submission: −0.25" in text and "not graded yet: 1" in text
    assert "Wrong: line(x, a, b): y is a x + b" in text
    assert "<strong>intercept</strong>" in html and "<mo>&lt;</mo>" in html
    assert 'href="#task-test-line"' in html and 'id="task-test-line"' in html
    assert "Restart &amp; Run All" in html and "secret flag" not in html
    assert "printed by a test" not in html


@pytest.mark.parametrize(
    ("language", "said", "other"),
    [("en", "Score", "Баллы"), ("ru", "Баллы", "Score")],
)
def test_in_the_language_of_the_notebook(language: str, said: str, other: str) -> None:
    html = page(graded(language), GRADES)
    assert f'<html lang="{language}">' in html
    assert said in text_of(html) and other not in text_of(html)


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize(
    "status",
    ["correct", "partial", "wrong", "not attempted", "stopped", "tampered", "unconfirmed", "what?"],
)
def test_each_way_a_task_can_end(language: str, status: str) -> None:
    html = page(graded(language, status), GRADES)
    assert html.count('class="badge') == 6


def test_a_refused_file_says_why() -> None:
    notebook = graded()
    notebook.metadata["practical_dl"]["refused"] = "the file is not JSON"
    html = page(notebook, {})
    assert "the file is not JSON" in html and "Restart" not in text_of(html)


def test_run_all_is_no_where_a_cell_failed() -> None:
    notebook = graded()
    error = new_output("error", ename="E", evalue="x", traceback=["E: x"])
    notebook.cells.append(new_code_cell("1 / 0", outputs=[error]))
    assert "no, a cell outside the checks raised an error" in page(notebook, GRADES)


def test_an_answer_that_a_person_grades() -> None:
    notebook = graded()
    nbgrader = {"grade": True, "solution": True, "grade_id": "why", "points": 4, "locked": False}
    notebook.cells.append(new_markdown_cell("Because.", metadata={"nbgrader": nbgrader}))
    rubric = {"practical_dl": {"rubric": "why"}}
    notebook.cells.append(new_markdown_cell("4 points for anything", metadata=rubric))
    open_ = page(notebook, {"why": CellGrade(None, 4.0)})
    assert "A person grades this." in open_ and "4 points for anything" not in open_
    done = page(notebook, {"why": CellGrade(3.0, 4.0, "Why?")})
    assert "3 of 4" in text_of(done) and "Why?" in done


def with_answer(language: str) -> NotebookNode:
    """A graded notebook with an answer and its rubric, in one language."""
    notebook = graded(language)
    nbgrader = {"grade": True, "solution": True, "grade_id": "why", "points": 4, "locked": False}
    notebook.cells.append(new_markdown_cell("Because.", metadata={"nbgrader": nbgrader}))
    rubrics = {"en": "- [one] 4 points: says $a<b$ why.", "ru": "- [one] 4 балла: сказано почему."}
    rubric = {"practical_dl": {"rubric": "why", "lang": language}}
    notebook.cells.append(new_markdown_cell(rubrics[language], metadata=rubric))
    return notebook


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "“4 points: says"), ("ru", "«4 балла: сказано почему.» [two]")],
)
def test_a_comment_cites_the_rubric_in_the_readers_language(language: str, said: str) -> None:
    html = page(with_answer(language), {"why": CellGrade(3.0, 4.0, "[one] [two]")})
    assert said in text_of(html)
    # Not in a comment to another cell: it is no criterion there.
    html = page(with_answer(language), {"test-line": CellGrade(1.0, 1.0, "[one]")})
    assert "[one]" in text_of(html) and said[:8] not in text_of(html)


@pytest.mark.parametrize(
    ("grade", "said"),
    [
        (CellGrade(None, 4.0, waits=True), "to be graded not graded yet"),
        (CellGrade(3.0, 4.0, extra=0.5), "why 2.5 of 4 (+0.5 extra credit)"),
        (CellGrade(3.0, 4.0, waits=True), "to be looked at 3 of 4"),
        (CellGrade(0.0, 4.0), "why 0 of 4"),
    ],
)
def test_how_an_answer_stands(grade: CellGrade, said: str) -> None:
    text = " ".join(text_of(page(with_answer("en"), {"why": grade})).split())
    assert f"Your answer: {said}" in text or f"Your answer: why {said}" in text


@pytest.mark.parametrize(("language", "said"), [("en", "No response."), ("ru", "Ответа нет.")])
def test_an_answer_that_is_none(language: str, said: str) -> None:
    notebook = with_answer(language)
    notebook.cells[-2].metadata["practical_dl"] = {"status": "not attempted"}
    html = page(notebook, {"why": CellGrade(0.0, 4.0, "No response.")})
    assert said in text_of(html)
    assert ("не начато" if language == "ru" else "not attempted") in html


def test_outputs_look_as_in_the_notebook() -> None:
    notebook = graded()
    outputs = [
        new_output("stream", text=" 10%|#  |\r 50%|##  |\r100%|### |\n"),
        new_output("stream", text="\x1b[31mred\x1b[0m <b>\n"),
        new_output("display_data", {"text/plain": "<Figure>", "image/png": PNG}),
        new_output("execute_result", {"text/latex": r"$\displaystyle \frac{1}{2}$"}),
        new_output("execute_result", {"text/html": "<table><tr><td>1</td></tr></table>"}),
    ]
    notebook.cells.append(new_code_cell("show()", outputs=outputs))
    html = page(notebook, GRADES)
    assert "100%|### |" in html and "50%" not in html
    assert 'class="ansi-red-fg">red</span> &lt;b&gt;' in html
    assert f'src="data:image/png;base64,{PNG}"' in html and "&lt;Figure&gt;" not in html
    assert "<mfrac><mn>1</mn><mn>2</mn></mfrac>" in html and "<td>1</td>" in html


def test_formulas_need_no_network() -> None:
    notebook = graded()
    source = "$$\\sum_{i<n} x_i$$ and $\\unknowncommand{x}$ and `$x$` and \\$5"
    notebook.cells.append(new_markdown_cell(source))
    html = page(notebook, GRADES)
    assert '<math display="block">' in html and "<code>\\unknowncommand{x}</code>" in html
    assert "<code>$x$</code>" in html
    assert "<script" not in html and "://" not in html.split("</style>")[0]


def test_the_notebook_stays_as_it_is() -> None:
    notebook = graded()
    before = nb_.dumps(notebook)
    page(notebook, GRADES)
    assert nb_.dumps(notebook) == before


# -- What stays hidden -------------------------------------------------------------------------


def test_hidden_lines_are_not_in_the_page() -> None:
    notebook = graded()
    text = text_of(page(notebook, GRADES))
    assert hidden_lines(notebook) and not any(line in text for line in hidden_lines(notebook))
    assert "Some checks were hidden from you" in text


BOMBS = {
    "blank lines": new_code_cell("1\n" + " \n" * 9_990 + "1"),
    "code": new_code_cell("x = 1  # one\n" * 1_600),
    "markdown": new_code_cell(
        "show()",
        outputs=[
            new_output(
                "display_data",
                {"text/markdown": f"{i}\n" + "\\begin{a}" * 2_200, "text/plain": "plain"},
            )
            for i in range(10)
        ],
    ),
    "brackets": new_code_cell(
        "show()", outputs=[new_output("display_data", {"text/markdown": "<" * 250_000})]
    ),
    "drawing": new_code_cell(
        "show()", outputs=[new_output("display_data", {"image/svg+xml": "<!DOCTYPE" * 99_000})]
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_notebook_takes_long(bomb: str) -> None:
    notebook = graded()
    notebook.cells += [copy.deepcopy(BOMBS[bomb]) for _ in range(20)]
    start = time.process_time()
    sanitise(notebook)
    html = page(notebook, GRADES)
    assert time.process_time() - start < 12
    assert ("plain" in html) == (bomb == "markdown")


# -- What runs: nothing ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def attacked() -> str:
    comments = {
        "test-line": CellGrade(0.0, 1.0, "\n\n".join(v for v in HTML.values() if len(v) < 999))
    }
    start = time.process_time()
    html = page(notebook_with(), comments, title=HTML["script"])
    assert time.process_time() - start < 60
    return html


def test_a_page_full_of_attacks_does_nothing(browser: Any, attacked: str, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(attacked, encoding="utf-8")
    assert look(browser, file.as_uri(), "header h1").found == []
    # The cleaning alone has to do, too.
    bare, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", attacked)
    assert count == 1
    file.write_text(bare, encoding="utf-8")
    assert look(browser, file.as_uri(), "header h1").found == []


def test_the_same_from_a_sanitised_notebook(browser: Any, tmp_path: Path) -> None:
    notebook = notebook_with()
    sanitise(notebook)
    file = tmp_path / "page.html"
    file.write_text(page(notebook, {}), encoding="utf-8")
    assert look(browser, file.as_uri(), "header h1").found == []


@pytest.mark.parametrize(
    ("attack", "seen"),
    [
        ("script", "script"),
        ("img onerror", "dialog"),
        ("img elsewhere", "request"),
        ("meta refresh", "navigation"),
        ("overlay", "covered"),
        ("style hides the page", "heading"),
        ("a javascript", "link"),
        ("form action", "element"),
    ],
)
def test_the_browser_test_can_fail(browser: Any, tmp_path: Path, attack: str, seen: str) -> None:
    file = tmp_path / "page.html"
    file.write_text(f"<!DOCTYPE html><body><h1>Heading</h1>{HTML[attack]}", encoding="utf-8")
    assert any(seen in line for line in look(browser, file.as_uri(), "h1").found)


def test_a_report_full_of_attacks_does_nothing(browser: Any, tmp_path: Path) -> None:
    from autograder.pages import report
    from autograder.results import FLAGGED, NotebookGrade, SubmissionGrade, TaskGrade

    course = tiny_course()
    texts = tuple(v for v in HTML.values() if len(v) < 5000)
    grades = []
    for name in NAMES:
        tasks = (TaskGrade("line", 0.0, 1.0, False, texts[0]),)
        notebook = NotebookGrade("tiny", FLAGGED, texts, texts, tasks, "en", 1.0, True)
        grades.append(SubmissionGrade(name, "week01_tiny", (notebook,)))
        feedback = tmp_path / "feedback" / name / "week01_tiny" / "tiny.html"
        if "/" not in name:
            feedback.parent.mkdir(parents=True)
            feedback.write_text(f"the page of {NAMES.index(name)}", encoding="utf-8")
    file = report.write(course_at(course, tmp_path), course.weeks[0], grades)
    content = file.read_text(encoding="utf-8")
    assert look(browser, file.as_uri(), "h1").found == []
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", content)
    file.write_text(bare, encoding="utf-8")
    assert look(browser, file.as_uri(), "h1").found == []
    opened = browser.new_page()
    opened.goto(file.as_uri())
    opened.click("td a >> nth=0")
    assert opened.inner_text("body") == "the page of 0"
    opened.close()


def course_at(course: Any, root: Path) -> Any:
    import dataclasses

    return dataclasses.replace(course, root=root)


# -- Speed -------------------------------------------------------------------------------------


def test_a_page_is_fast() -> None:
    page(graded(), GRADES)
    times = []
    for number in range(5):
        notebook = graded()
        for cell in notebook.cells:
            if nb_.is_solution(cell):
                cell.source += f"\n# {number}"
        start = time.process_time()
        page(notebook, GRADES)
        times.append(time.process_time() - start)
    assert min(times) < 0.04
