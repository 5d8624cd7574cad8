"""Notebooks with nothing active in them, and formgrader's real pages in a browser."""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kit.attacks import (
    HTML,
    JS,
    MARKDOWN,
    PNG,
    SVG,
    attack_outputs,
    chromium_of,
    look,
    notebook_with,
)
from kit.formgrader import running
from kit.rules import WEEK, copy_tiny
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from autograder import course as course_
from autograder import notebook as nb_
from autograder import settings
from autograder.authoring import build
from autograder.notebook import SCORE_MIME
from autograder.pages.sanitise import (
    NOT_SHOWN,
    as_code,
    clean_html,
    is_active,
    is_drawing,
    markdown_html,
    sanitise,
    shown_output,
)

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ACTIVE = {"script", "style", "iframe", "object", "embed", "meta", "base", "link", "form", "input"}
ACTIVE |= {"svg", "math", "template", "dialog", "video", "audio", "button", "textarea", "marquee"}


class Finder(HTMLParser):
    """The tags and attributes of a page, as a parser reads them that is not the cleaner's."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ACTIVE:
            self.problems.append(tag)
        for name, value in attrs:
            value = (value or "").strip().lower()
            if name.startswith("on") or name in (
                "srcdoc",
                "srcset",
                "action",
                "formaction",
                "ping",
            ):
                self.problems.append(f"{tag} {name}")
            if name == "href" and not value.startswith(("http://", "https://", "mailto:", "#")):
                self.problems.append(f"{tag} {name}={value}")
            if name == "src" and not value.startswith(("data:image/png", "data:image/gif")):
                self.problems.append(f"{tag} {name}={value[:80]}")
            if name == "style" and any(word in value for word in ("position", "url(", "margin")):
                self.problems.append(f"{tag} {name}={value}")
            if name in ("id", "name") and not value.startswith("text-"):
                self.problems.append(f"{tag} {name}={value}")

    def handle_comment(self, data: str) -> None:
        self.problems.append("comment")

    handle_decl = handle_pi = unknown_decl = handle_comment  # type: ignore[assignment]


@pytest.mark.parametrize("attack", HTML)
def test_html_is_clean(attack: str) -> None:
    start = time.process_time()
    cleaned = clean_html(HTML[attack])
    assert Finder(cleaned).problems == []
    assert clean_html(cleaned) == cleaned
    assert time.process_time() - start < 2


@pytest.mark.parametrize("attack", [*MARKDOWN, *HTML])
def test_markdown_is_clean(attack: str) -> None:
    source = {**HTML, **MARKDOWN}[attack]
    start = time.process_time()
    assert Finder(markdown_html(source, anchors=True)).problems == []
    math = markdown_html(source, math=lambda tex, displayed: "<math></math>")
    assert [p for p in Finder(math).problems if p != "math"] == []
    notebook = new_notebook(cells=[new_markdown_cell(source)])
    sanitise(notebook)
    once = notebook.cells[0].source
    sanitise(notebook)
    assert notebook.cells[0].source == once
    readable = source.replace("\x00", "").replace("\x01", "")
    assert once in (readable, as_code(readable))
    assert time.process_time() - start < 8


@pytest.mark.parametrize("attack", SVG)
def test_svg_that_is_more_than_a_drawing_is_not_shown(attack: str) -> None:
    assert not is_drawing(SVG[attack])
    output = new_output("display_data", {"image/svg+xml": SVG[attack], "text/plain": "<Figure>"})
    assert shown_output(output).data == {"text/plain": "<Figure>"}


def test_any_output_is_shown_somehow() -> None:
    notebook = notebook_with()
    sanitise(notebook)
    nbformat.validate(notebook)
    for output in attack_outputs():
        shown = shown_output(output)
        if output.output_type == "pwned":
            assert shown is None
        else:
            assert shown.get("data", {"text": ""}) != {}
    for output in ({}, {"output_type": None}, {"output_type": "stream"}, {"output_type": "error"}):
        shown_output(output)


def test_sanitise_twice_is_sanitise_once() -> None:
    notebook = notebook_with()
    sanitise(notebook)
    once = nb_.dumps(notebook)
    sanitise(notebook)
    assert nb_.dumps(notebook) == once


def test_what_is_not_shown_says_so() -> None:
    script = new_output("display_data", {"application/javascript": JS})
    assert shown_output(script).data == {"text/plain": NOT_SHOWN.format("application/javascript")}
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "0%|  |"}
    assert shown_output(new_output("display_data", widget)).data == {"text/plain": "0%|  |"}


def test_the_score_stays() -> None:
    data = {SCORE_MIME: {"score": 0.5, "message": "half"}, "text/plain": "Score: 50%"}
    assert shown_output(new_output("display_data", data)).data == data


def test_pictures_are_what_they_say() -> None:
    fine = new_output("display_data", {"image/png": PNG}, metadata={"image/png": {"width": 5}})
    assert shown_output(fine) == fine
    for mime, text in (("image/png", "AAAA"), ("image/jpeg", PNG), ("image/png", PNG + "<b>")):
        assert mime not in shown_output(new_output("display_data", {mime: text})).data
    bomb = bytearray(base64.b64decode(PNG))
    bomb[16:24] = (200_000).to_bytes(4, "big") * 2  # its header's width and height
    text = base64.b64encode(bytes(bomb)).decode()
    assert "image/png" not in shown_output(new_output("display_data", {"image/png": text})).data


def test_metadata_cannot_write_attributes() -> None:
    metadata = {"image/png": {"width": f"1 onerror={JS}", "height": True, "unconfined": True}}
    shown = shown_output(new_output("display_data", {"image/png": PNG}, metadata=metadata))
    assert shown.metadata in ({}, {"image/png": {"height": 1}})


def test_many_colours_do_not_stop_the_parsers() -> None:
    text = "\x1b[31mx" * 200_000
    assert shown_output(new_output("stream", text=text)).text == "x" * 200_000
    few = "\x1b[31mred\x1b[0m"
    assert shown_output(new_output("stream", text=few)).text == few


# -- What is honest stays ----------------------------------------------------------------------

PROSE = {
    "formulas": "$a<b$ and $$\\sum_{i<n} x_i > 0$$, so `a<b` is\n\n```python\nif a<b: pass\n```",
    "table": "| a | b |\n|---|--:|\n| 1 | $x<y$ |",
    "task list": "- [ ] one\n- [x] two",
    "simple html": "H<sub>2</sub>O<br>and <b style='color: red'>red</b> <kbd>x</kbd>",
    "alert": "<div class='alert alert-info'>Note: 1 < 2</div>",
    "link": "[a](https://pytorch.org) and <https://pytorch.org>, me@pytorch.org",
    "details": "<details><summary>more</summary>\n\ntext\n\n</details>",
    "picture": f"![a](data:image/png;base64,{PNG})",
    "attachment": "![a](attachment:a.png)",
    "less than": "if a < b and c > d, then 3<4 & 5>4, x<-1, <3",
    "quotes": "> a\n> b\n\n1. c\n2. d\n\n*e* **f** ~~g~~ \\* h",
    "russian": "# Ответ\n\nГрадиент по $w$ — это $\\partial L / \\partial w$.",
}


@pytest.mark.parametrize("prose", PROSE)
def test_honest_prose_is_left_alone(prose: str) -> None:
    attachments = {"a.png": {"image/png": PNG}}
    notebook = new_notebook(cells=[new_markdown_cell(PROSE[prose], attachments=attachments)])
    before = nb_.dumps(notebook)
    sanitise(notebook)
    assert nb_.dumps(notebook) == before


def test_honest_prose_looks_the_same() -> None:
    html = markdown_html(PROSE["formulas"])
    assert "$a&lt;b$" in html and "<code>a&lt;b</code>" in html and "&amp;lt;" not in html
    assert '<span class="k">if</span>' in html
    assert "☐ one" in markdown_html(PROSE["task list"])
    picture = markdown_html("![a](attachment:a.png)", {"a.png": {"image/png": PNG}})
    assert f'src="data:image/png;base64,{PNG}"' in picture
    heading = markdown_html("# One two\n\n[up](#One-two)", anchors=True)
    assert 'id="text-One-two"' in heading and heading.count('href="#text-One-two"') == 2


def test_the_notebooks_of_the_course_stay_as_they_are() -> None:
    paths = sorted((REPOSITORY / "source").glob("*/*.ipynb"))
    assert paths
    for path in paths:
        notebook = nb_.read(path)
        before = nb_.dumps(notebook)
        sanitise(notebook)
        assert nb_.dumps(notebook) == before, path


def test_honest_outputs_stay() -> None:
    import matplotlib
    import pandas as pd

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    ax.plot([1, 2], label="$x<1$")
    ax.legend()
    pictures = {}
    for mime, kind in (("image/png", "png"), ("image/jpeg", "jpeg"), ("image/svg+xml", "svg")):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind)
        content = buffer.getvalue()
        pictures[mime] = content.decode() if kind == "svg" else base64.b64encode(content).decode()
    plt.close(figure)
    traceback = ["\x1b[0;31m---\x1b[0m", "\x1b[1;32m<ipython>\x1b[0m in \x1b[0;36mf\x1b[0m(x<1)"]
    outputs = [
        *(new_output("display_data", {mime: text}) for mime, text in pictures.items()),
        new_output("error", ename="E", evalue="a < b & c", traceback=traceback),
        new_output("stream", text="100%|██████████| 10/10 [00:00<00:00, 99.99it/s]\r\n"),
        new_output("execute_result", {"text/latex": "$\\frac{a}{b} < 1$", "text/plain": "a/b < 1"}),
        new_output(
            "execute_result", {"text/plain": "Linear(in_features=1, <b>)"}, execution_count=3
        ),
    ]
    notebook = new_notebook(cells=[new_code_cell("f()", outputs=outputs)])
    before = nb_.dumps(notebook)
    sanitise(notebook)
    assert nb_.dumps(notebook) == before
    frame = pd.DataFrame({"a<b": [1.5, 2.5], "c": ["<b>x</b>", "y"]})
    cleaned = clean_html(frame._repr_html_())
    assert "<th>a&lt;b</th>" in cleaned and "<td>&lt;b&gt;x&lt;/b&gt;</td>" in cleaned
    assert cleaned.count("<tr") == 3 and "vertical-align" not in cleaned


def test_a_long_answer_is_text() -> None:
    long = "word " * 10_000
    assert is_active(long) and markdown_html(long).startswith("<pre>word")


# -- Formgrader, in a browser ------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """A running formgrader. root: of its course. pages: its address for each student's notebook."""

    root: Path
    address: str
    pages: dict[str, str]

    def owns(self, url: str) -> bool:
        """Whether formgrader itself loads an address; what students link to is none of these."""
        own = (f"{self.address}/formgrader/static/", f"{self.address}/formgrader/api/")
        return url.startswith(own)


def fits_schema(output: NotebookNode) -> bool:
    """Whether nbconvert reads an output at all."""
    try:
        nbformat.validate(output, ref="output", version=4)
    except nbformat.ValidationError:
        return False
    return True


def submit(root: Path, student: str, notebook: NotebookNode, gradebook: Any) -> str:
    """Record a graded submission; the ID of its notebook."""
    folder = root / "autograded" / student / WEEK
    folder.mkdir(parents=True)
    # As it is: nbformat's own `writes` would repair some attacks.
    (folder / "tiny.ipynb").write_text(nbformat.v4.writes(notebook), encoding="utf-8")
    gradebook.add_submission(WEEK, student, timestamp=datetime(2026, 1, 1))
    return str(gradebook.find_submission_notebook("tiny", WEEK, student).id)


@pytest.fixture(scope="module")
def formgrader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real Jupyter server with nbgrader: one sanitised notebook, one as the attacker wrote it."""
    from nbgrader.api import Gradebook

    root = tmp_path_factory.mktemp("formgrader") / "tiny"
    copy_tiny(root)
    shutil.copy(REPOSITORY / "nbgrader_config.py", root)
    course = course_.load(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(BIN), prepend=os.pathsep)
        build.build(course, course.weeks)
        clean, raw = notebook_with(), notebook_with()
        sanitise(clean)
        for cell in raw.cells:
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if fits_schema(output)]
        with Gradebook(settings.db_url(course)) as gradebook:
            ids = {}
            for student, notebook in (("sanitised", clean), ("raw", raw)):
                name = {"first_name": f"<img src=x onerror={JS}>", "last_name": HTML["script"]}
                gradebook.add_student(student, **(name if student == "raw" else {}))
                ids[student] = submit(root, student, notebook, gradebook)
    with running(course, f"{WEEK}/tiny") as server:
        pages = {s: f"{server.address}/formgrader/submissions/{i}/" for s, i in ids.items()}
        yield Server(root, server.address, pages)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with chromium_of(chromium) as context:
        yield context


@pytest.mark.parametrize("student", ["sanitised", "raw"])
def test_formgrader_shows_attacks_and_does_nothing(
    formgrader: Server, browser: Any, student: str
) -> None:
    seen = look(browser, formgrader.pages[student], "ul.breadcrumb", formgrader.owns)
    assert seen.found == []


def test_formgrader_still_grades(formgrader: Server, browser: Any) -> None:
    page = browser.new_page()
    page.goto(formgrader.pages["raw"])
    box = page.locator("#test-line")
    assert box.count() == 1, "an attack took the name of a task"
    page.wait_for_function("formgrader.grades?.loaded && formgrader.grade_uis.length === 3")
    with page.expect_response("**/formgrader/api/grade/*") as saved:
        box.fill("0.5")
        box.dispatch_event("change")
    assert saved.value.json()["manual_score"] == 0.5
    page.close()


def test_nbgrader_generates_our_feedback(formgrader: Server, browser: Any) -> None:
    line = [str(BIN / "nbgrader"), "generate_feedback", WEEK]
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    done = subprocess.run(
        line,
        cwd=formgrader.root,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for student in formgrader.pages:
        page = formgrader.root / "feedback" / student / WEEK / "tiny.html"
        text = page.read_text(encoding="utf-8")
        assert "default-src 'none'" in text and 'class="badge wrong"' in text
        assert look(browser, page.as_uri(), "header h1").found == []


@pytest.mark.parametrize("path", ["manage_submissions/" + WEEK, f"gradebook/{WEEK}/tiny"])
def test_formgrader_lists_names_that_attack(formgrader: Server, browser: Any, path: str) -> None:
    own = (f"{formgrader.address}/formgrader/static/", f"{formgrader.address}/formgrader/api/")
    url = f"{formgrader.address}/formgrader/{path}"
    assert (
        look(browser, url, "h1, .page-header, .breadcrumb", lambda u: u.startswith(own)).found == []
    )
