"""Feedback for a student: one HTML file that opens without network and runs nothing.

What a student must not see is taken out here: the hidden part of each test cell, what a test cell
printed or raised (its verdict stands instead), and rubrics. Of a rubric only those criteria are
shown that a comment names by their codes. Outputs can't hold hidden tests: those run when nothing
is shown any more.
"""

from __future__ import annotations

import base64
import functools
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jinja2 import Environment, PackageLoader, Template, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape
from math_core import LatexError, LatexToMathML
from nbconvert.filters.ansi import ansi2html
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from autograder import notebook as nb_
from autograder import words as words_
from autograder.pages.grades import CellGrade
from autograder.pages.sanitise import RASTER, RICH, markdown_html, shown_output
from autograder.rubric import cite, criteria
from autograder.words import Language

TEXT_CHARACTERS = 20_000  # of one text output; more is cut
COLOURED_CHARACTERS = 200_000  # of a page's code; more stays plain


def page(
    notebook: NotebookNode,
    grades: Mapping[str, CellGrade],
    *,
    title: str = "",
    penalty: float = 0.0,
    group: Sequence[str] = (),
    counts: str = "",
) -> str:
    """The feedback on an autograded notebook, which stays as it is.

    grades: by the name of the graded cell; a comment may also belong to an ungraded solution cell.
    A code of the cell's rubric in a comment, such as [curves], becomes the criterion's sentence.
    title: where the notebook belongs, such as its week. penalty: points lost for being late.
    group: the notebooks of which one counts, this one among them; counts: which one does.
    """
    ours = nb_.ours(notebook)
    language = words_.of(ours.get("language"))
    words = language.feedback
    left = {**RICH, "code": COLOURED_CHARACTERS}
    grades = {name: _in_words(grade, name, notebook, language) for name, grade in grades.items()}
    cells = [
        _view(cell, grades, left, words)
        for cell in notebook.cells
        if "rubric" not in nb_.ours(cell)
    ]
    tasks = [cell for cell in cells if cell["points"] is not None]
    counted = [t for t in tasks if t["score"] is not None]
    refused = str(ours.get("refused") or "")
    notes = [words["lacks"].format(name) for name in ours.get("lacks") or []]
    if group:
        notes.append(words["one of"].format(", ".join(group), counts))
    return _template().render(
        bonus=sum(t["score"] for t in counted if t["bonus"]),
        cells=cells,
        heading=_heading(notebook) or title or words["feedback"],
        language=language,
        notes=notes + [str(note) for note in ours.get("notes") or []],
        open=len(tasks) - len(counted),
        penalty=penalty,
        points=sum(t["points"] for t in tasks if not t["bonus"]),
        refused=refused,
        runs=None if refused else not any(c["raised"] for c in cells),
        score=sum(t["score"] for t in counted if not t["bonus"]) - penalty,
        tasks=tasks,
        title=title,
        words=words,
    )


@functools.lru_cache(1)
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("autograder.pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["points"] = _points
    environment.globals["code_style"] = Markup(
        HtmlFormatter(style="default").get_style_defs("pre.code")
    )
    return environment.get_template("feedback.html")


@pass_context
def _points(context: Context, value: float) -> str:
    return context["language"].number(round(float(value), 2))


def _heading(notebook: NotebookNode) -> str:
    """The first heading of the first level, as text."""
    for cell in notebook.cells:
        found = re.search(r"^# +(.+)$", cell.source, flags=re.M)
        if cell.cell_type == "markdown" and found:
            return re.sub(r"[*_`$]", "", found[1]).strip()[:200]
    return ""


def _in_words(grade: CellGrade, name: str, notebook: NotebookNode, language: Language) -> CellGrade:
    """A grade with its comment in the student's language."""
    if not grade.comment:
        return grade
    # nbgrader's own, of a cell that was left alone
    if grade.comment == words_.ENGLISH.feedback["no answer"]:
        return replace(grade, comment=language.feedback["no answer"])
    rubrics = [cell.source for cell in notebook.cells if nb_.ours(cell).get("rubric") == name]
    known = {found.code: found for rubric in rubrics for found in criteria(rubric)}
    return replace(grade, comment=cite(grade.comment, known, language.quotes))


def _view(
    cell: NotebookNode,
    grades: Mapping[str, CellGrade],
    left: dict[str, int],
    words: Mapping[str, str],
) -> dict[str, Any]:
    """What the template shows of a cell. left: characters, of code and of each rich output."""
    name = nb_.grade_id(cell)
    grade = grades.get(name)
    graded = nb_.is_graded(cell)
    is_test = graded and not nb_.is_solution(cell) and cell.cell_type == "code"
    view: dict[str, Any] = {
        "anchor": f"task-{name}",
        "bonus": bool((grade and grade.bonus) or nb_.ours(cell).get("bonus")),
        "comment": Markup(_markdown(grade.comment)) if grade and grade.comment else "",
        "extra": grade.extra if grade else 0.0,
        "hidden": is_test and bool(nb_.hidden_regions(cell.source)),
        "kind": cell.cell_type,
        "name": Markup(str(escape(name.removeprefix(nb_.TEST_PREFIX))).replace("_", "_<wbr>")),
        "points": None,
        "raised": False,
        "score": None,
    }
    if graded:
        points = grade.points if grade else cell.metadata.nbgrader.get("points", 0)
        view |= {"points": points, "score": grade.score if grade else None}
    if is_test:
        ours = nb_.ours(cell)
        status = str(ours.get("status") or "missing")
        view |= {
            "kind": "test",
            "message": str(ours.get("message") or ""),
            "source": _code(nb_.without_hidden(cell.source).strip("\n"), left),
            "status": status if status in words else "missing",
        }
    elif cell.cell_type == "code":
        outputs = [shown_output(output, left) for output in cell.get("outputs", [])]
        view["raised"] = any(o and o.output_type == "error" for o in outputs)
        view["outputs"] = [shown for o in outputs if o and (shown := _shown(o, words))]
        view["source"] = _code(cell.source, left) if cell.source.strip() else ""
    elif cell.cell_type == "markdown":
        view["html"] = Markup(_markdown(cell.source, cell.get("attachments")))
    else:
        view["html"] = Markup("<pre>") + cell.source + Markup("</pre>")
    if graded and not is_test:
        view |= {"kind": "answer", "status": ""}
        if view["score"] is None:
            view["status"] = "to grade"
        elif grade and grade.waits:
            view["status"] = "unconfirmed"  # it came in again since
        elif nb_.ours(cell).get("status") == "not attempted" and not view["score"]:
            view["status"] = "not attempted"
    return view


# -- What the cells hold -------------------------------------------------------------------------


def _markdown(source: str, attachments: Mapping[str, Any] | None = None) -> str:
    if attachments:
        return markdown_html(source, attachments, math=_formula)
    return _cached_markdown(source)


@functools.lru_cache(4096)
def _cached_markdown(source: str) -> str:
    """The cells of the instructor's are the same in the whole class."""
    return markdown_html(source, math=_formula)


# The lexer takes quadratic time for blank lines that are not empty.
_BLANKS = re.compile(r"\s{500}")


def _code(source: str, left: dict[str, int]) -> Markup:
    """Code in colours, as long as there is a budget for them."""
    shown = source[:TEXT_CHARACTERS]
    end = "…" if len(source) > len(shown) else ""
    left["code"] -= len(shown)
    if left["code"] < 0 or _BLANKS.search(shown):
        return escape(shown + end)
    return _coloured(shown) + end


@functools.lru_cache(4096)
def _coloured(code: str) -> Markup:
    return Markup(highlight(code, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)))


_MATH_TAG = re.compile(r"</?(m[a-z]+|semantics)(?: [^<>]*)?/?>")


@functools.lru_cache(4096)
def _formula(tex: str, displayed: bool) -> str:
    """MathML, which browsers draw by themselves; TeX as it is where it can't be read."""
    try:
        mathml = LatexToMathML().convert_with_local_state(tex, displaystyle=displayed)
        if "<" in _MATH_TAG.sub("", mathml) or re.search(r"\s(on\w+|href|src)=", mathml):
            raise ValueError("not MathML alone")
    except (LatexError, ValueError):
        return f"<code>{html.escape(tex)}</code>"
    return f'<span class="math{" displayed" if displayed else ""}">{mathml}</span>'


def _shown(output: NotebookNode, words: Mapping[str, str]) -> Markup | str:
    """A clean output as HTML: the richest form that it has."""
    if output.output_type == "stream":
        return _terminal(output.text, words, output.name)
    if output.output_type == "error":
        text = "\n".join(output.traceback) or f"{output.ename}: {output.evalue}"
        return _terminal(text, words, "error")
    data = output.data
    if "text/html" in data:
        return Markup('<div class="rich">{}</div>').format(Markup(data["text/html"]))
    if "text/markdown" in data:
        return Markup('<div class="rich prose">{}</div>').format(
            Markup(_markdown(data["text/markdown"]))
        )
    if "text/latex" in data:
        return Markup('<div class="rich">{}</div>').format(Markup(_latex(data["text/latex"])))
    if "image/svg+xml" in data:
        code = base64.b64encode(data["image/svg+xml"].encode()).decode()
        return _picture("image/svg+xml", code, output.metadata)
    for mime in RASTER:
        if mime in data:
            return _picture(mime, data[mime], output.metadata)
    return _terminal(data["text/plain"], words, "result") if "text/plain" in data else ""


def _picture(mime: str, code: str, metadata: Mapping[str, Any]) -> Markup:
    found = metadata.get(mime, {})
    size = "".join(f' {side}="{found[side]}"' for side in ("width", "height") if side in found)
    uri = f"data:{mime};base64,{''.join(code.split())}"
    return Markup('<img src="{}" alt="{}"{}>').format(uri, found.get("alt", ""), Markup(size))


def _latex(tex: str) -> str:
    """The formulas in an output such as SymPy's."""
    tex = tex.strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), (r"\[", r"\]"), (r"\(", r"\)")):
        if tex.startswith(opening) and tex.endswith(closing) and len(tex) > 2 * len(opening):
            return _formula(tex[len(opening) : -len(closing)], opening in ("$$", r"\["))
    return _formula(tex, True)


def _terminal(text: str, words: Mapping[str, str], kind: str) -> Markup:
    """Text as a terminal leaves it: a carriage return writes over its line, as tqdm does."""
    text = text.replace("\r\n", "\n").replace("\x08", "")
    if "\r" in text:
        text = "\n".join(
            next((s for s in reversed(line.split("\r")) if s), "") for line in text.split("\n")
        )
    more = len(text) - TEXT_CHARACTERS
    note = words["cut"].format(more) if more > 0 else ""
    text = text[:TEXT_CHARACTERS].rstrip("\n")
    if not text:
        return Markup("")
    block = Markup('<pre class="text {}">{}</pre>').format(kind, Markup(ansi2html(text)))
    return block + (Markup('<p class="cut">{}</p>').format(note) if note else Markup(""))
