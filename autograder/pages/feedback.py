"""Feedback for a student: one HTML file that opens without network and runs nothing.

What a student must not see is taken out here: the hidden part of each test cell, what a test cell
printed or raised (its verdict stands instead), rubrics, and, as far as that can be found, copies of
hidden tests in the outputs of the student's own code. Of a rubric only those criteria are shown
that a comment names by their codes.

Found are copies of a hidden line, and of any part of a hidden region with at least 16 letters and
digits: as they are, in another case, with other spaces and punctuation between (a `repr`, a
traceback, one character a line), backwards, in rot13, base64, hexadecimal or as character codes.
Not found are shorter pieces shown one at a time, compressed or encrypted copies, pictures of text,
and values: code that hidden tests call can note their arguments. They are drawn anew for each
source notebook, so that such a note is worth little.
"""

from __future__ import annotations

import ast
import base64
import codecs
import functools
import html
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, Template, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape
from math_core import LatexError, LatexToMathML
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.ansi import ansi2html
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from autograder import notebook as nb_
from autograder.pages.sanitise import RASTER, make_output, markdown_html, shown_output
from autograder.rubric import cite, criteria

HIDDEN = "[a line of a hidden test]"
TEXT_CHARACTERS = 20_000  # of one text output; more is cut

WORDS = {
    "en": {
        "bonus": "bonus",
        "by hand": "A person grades this.",
        "checks": "The checks in your notebook",
        "comment": "Comment",
        "cut": "{} more characters are not shown",
        "extra": "extra credit",
        "feedback": "Feedback",
        "hidden": "Some checks were hidden from you. Of those you get the sentence, not the code.",
        "late": "Late submission",
        "no": "no",
        "no answer": "No response.",
        "not graded yet": "not graded yet",
        "note": "Note",
        "of": "of",
        "refused": "This file could not be graded",
        "runs": "Restart & Run All",
        "runs: no": "no, a cell outside the checks raised an error",
        "score": "Score",
        "task": "Task",
        "top": "to the top",
        "yes": "yes",
        "answer": "Your answer",
        # How a task ended.
        "correct": "correct",
        "missing": "missing",
        "not attempted": "not attempted",
        "partial": "in part",
        "stopped": "stopped",
        "tampered": "not trusted",
        "to grade": "to be graded",
        "unconfirmed": "to be looked at",
        "wrong": "wrong",
    },
    "ru": {
        "bonus": "бонус",
        "by hand": "Оценивает человек.",
        "checks": "Проверки в вашем ноутбуке",
        "comment": "Комментарий",
        "cut": "ещё символов: {}, они не показаны",
        "extra": "сверх задания",
        "feedback": "Отзыв",
        "hidden": "Часть проверок от вас скрыта. О них говорит сообщение, но не код.",
        "late": "Сдано после срока",
        "no": "нет",
        "no answer": "Ответа нет.",
        "not graded yet": "ещё не оценено",
        "note": "Замечание",
        "of": "из",
        "refused": "Этот файл не удалось проверить",
        "runs": "Restart & Run All",
        "runs: no": "нет, ошибка в ячейке вне проверок",
        "score": "Баллы",
        "task": "Задание",
        "top": "наверх",
        "yes": "да",
        "answer": "Ваш ответ",
        "correct": "верно",
        "missing": "нет",
        "not attempted": "не начато",
        "partial": "частично",
        "stopped": "остановлено",
        "tampered": "нет доверия",
        "to grade": "оценивается",
        "unconfirmed": "на проверке",
        "wrong": "неверно",
    },
}


QUOTES = {"en": ("“", "”"), "ru": ("«", "»")}


@dataclass(frozen=True)
class CellGrade:
    """A graded cell's row in the gradebook.

    score: with the extra credit; None while a person has to grade it. extra: of the score. waits:
    whether a person has to look at it, which may be once more.
    """

    score: float | None
    points: float
    comment: str = ""
    bonus: bool = False
    extra: float = 0.0
    waits: bool = False


def page(
    notebook: NotebookNode,
    grades: Mapping[str, CellGrade],
    *,
    title: str = "",
    penalty: float = 0.0,
) -> str:
    """The feedback on an autograded notebook, which stays as it is.

    grades: by the name of the graded cell; a comment may also belong to an ungraded solution cell.
    A code of the cell's rubric in a comment, such as [curves], becomes the criterion's sentence.
    title: where the notebook belongs, such as its week. penalty: points lost for being late.
    """
    ours = nb_.ours(notebook)
    words = WORDS.get(str(ours.get("language")), WORDS["en"])
    secrets = Secrets(notebook)
    grades = {name: _in_words(grade, name, notebook, words) for name, grade in grades.items()}
    cells = [
        _view(cell, grades, secrets, words)
        for cell in notebook.cells
        if "rubric" not in nb_.ours(cell)
    ]
    tasks = [cell for cell in cells if cell["points"] is not None]
    counted = [t for t in tasks if t["score"] is not None]
    refused = str(ours.get("refused") or "")
    return _template().render(
        bonus=sum(t["score"] for t in counted if t["bonus"]),
        cells=cells,
        heading=_heading(notebook) or title or words["feedback"],
        language="ru" if words is WORDS["ru"] else "en",
        notes=[str(note) for note in ours.get("notes") or []],
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
    text = f"{round(float(value), 2):g}"
    return text.replace(".", ",") if context["language"] == "ru" else text


def _heading(notebook: NotebookNode) -> str:
    """The first heading of the first level, as text."""
    for cell in notebook.cells:
        found = re.search(r"^# +(.+)$", cell.source, flags=re.M)
        if cell.cell_type == "markdown" and found:
            return re.sub(r"[*_`$]", "", found[1]).strip()[:200]
    return ""


def _in_words(
    grade: CellGrade, name: str, notebook: NotebookNode, words: Mapping[str, str]
) -> CellGrade:
    """A grade with its comment in the student's language."""
    if not grade.comment:
        return grade
    if grade.comment == WORDS["en"]["no answer"]:  # nbgrader's own, of a cell that was left alone
        return replace(grade, comment=words["no answer"])
    rubrics = [cell.source for cell in notebook.cells if nb_.ours(cell).get("rubric") == name]
    known = {found.code: found for rubric in rubrics for found in criteria(rubric)}
    quotes = QUOTES["ru" if words is WORDS["ru"] else "en"]
    return replace(grade, comment=cite(grade.comment, known, quotes))


def _view(
    cell: NotebookNode,
    grades: Mapping[str, CellGrade],
    secrets: Secrets,
    words: Mapping[str, str],
) -> dict[str, Any]:
    """What the template shows of a cell."""
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
            "message": secrets.redacted_message(str(ours.get("message") or "")),
            "source": _code(nb_.without_hidden(cell.source).strip("\n")),
            "status": status if status in words else "missing",
        }
    elif cell.cell_type == "code":
        outputs = [secrets.redacted_output(shown_output(o)) for o in cell.get("outputs", [])]
        view["raised"] = any(o and o.output_type == "error" for o in outputs)
        view["outputs"] = [shown for o in outputs if o and (shown := _shown(o, words))]
        view["source"] = _code(cell.source) if cell.source.strip() else ""
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


@functools.lru_cache(4096)
def _code(source: str) -> Markup:
    shown = source[:TEXT_CHARACTERS]
    colours = highlight(shown, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True))
    return Markup(colours + ("…" if len(source) > len(shown) else ""))


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


# -- Hidden tests --------------------------------------------------------------------------------

_RUN = 16  # letters and digits in a row that are no chance
_GRAM, _STEP = 9, 8  # each run of 16 holds a gram of 9 that starts at a multiple of 8
_ASCII_LOWER = {ord(c): c.lower() for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}  # keeps lengths
_NOT_WORD = re.compile(r"[\W_]+")
_WORD_CHARACTER = re.compile(r"[^\W_]")
_COLOUR = re.compile(r"\x1b\[[^@-~\n]*[@-~]")
_HTML_TAG = re.compile(r"<[^>]*>")


def _squeezed(text: str) -> str:
    """Letters and digits alone."""
    return _NOT_WORD.sub("", text).translate(_ASCII_LOWER)


@functools.lru_cache(64)
def _grams(regions: tuple[str, ...]) -> tuple[tuple[str, ...], Mapping[str, list[tuple[int, int]]]]:
    """Hidden regions in all forms that are looked for, and where each gram stands in them."""
    forms = tuple(form for region in regions for form in map(_squeezed, _forms(region)))
    places: dict[str, list[tuple[int, int]]] = {}
    for number, form in enumerate(forms):
        for i in range(len(form) - _GRAM + 1):
            found = places.setdefault(form[i : i + _GRAM], [])
            if len(found) < 20:
                found.append((number, i))
    return forms, places


def _forms(text: str) -> Iterator[str]:
    yield text
    yield text[::-1]
    yield codecs.encode(text, "rot13")
    content = text.encode()
    yield content.hex()
    yield "".join(str(ord(c)) for c in text)
    for shift in range(3):  # the region may start anywhere in what was encoded
        code = base64.b64encode(b"\0" * shift + content).decode()
        yield code[4:-4]


class Secrets:
    """The hidden tests of a notebook, and what hides them from outputs."""

    def __init__(self, notebook: NotebookNode) -> None:
        students = [c for c in notebook.cells if "rubric" not in nb_.ours(c)]
        public = "\n".join(nb_.without_hidden(cell.source) for cell in students)
        regions = ["\n".join(nb_.hidden_regions(cell.source)) for cell in notebook.cells]
        self._regions = tuple(region for region in regions if region)
        self._public = _squeezed(public)
        tests = nb_.test_cells(notebook).values()
        sentences = {text for cell in tests for text in _literals(cell.source) if len(text) > 3}
        self._sentences = sorted(sentences, key=len, reverse=True)
        self._lines = {
            line
            for cell in notebook.cells
            for line in nb_.hidden_regions(cell.source)
            if len(line) > 8 and line not in public
        }

    def redacted(self, text: str) -> str:
        """A text without the lines that show a hidden test; without colours if there were any."""
        if not self._lines and not self._regions:
            return text
        plain = _COLOUR.sub("", text)
        spans = deque(self._spans(plain))
        if not spans and not any(line in plain for line in self._lines):
            return text
        kept: list[str] = []
        start = 0
        for line in plain.split("\n"):
            end = start + len(line)
            secret = False
            while spans and spans[0][0] <= end:
                secret = secret or _shares(line, spans[0][0] - start, spans[0][1] - start)
                if spans[0][1] > end:
                    break
                spans.popleft()
            if not secret and not any(hidden in line for hidden in self._lines):
                kept.append(line)
            elif not kept or kept[-1] != HIDDEN:
                kept.append(HIDDEN)
            start = end + 1
        return "\n".join(kept)

    def redacted_message(self, text: str) -> str:
        """A verdict without hidden tests, but with the sentences that stand in them to be shown."""
        rest = text
        for sentence in self._sentences:
            rest = rest.replace(sentence, "\n")
        return self.redacted(text) if self.shows(rest) else text

    def shows(self, text: str) -> bool:
        """Whether a text shows a hidden test."""
        return self.redacted(text) != text

    def redacted_output(self, output: NotebookNode | None) -> NotebookNode | None:
        """A new output without hidden tests; None stays None."""
        if output is None:
            return None
        if output.output_type == "stream":
            return make_output("stream", name=output.name, text=self.redacted(output.text))
        if output.output_type == "error":
            traceback = "\n".join(output.traceback)
            shown = self.redacted(traceback)
            return make_output(
                "error",
                ename=self.redacted(output.ename),
                evalue=self.redacted(output.evalue),
                traceback=output.traceback if shown == traceback else [shown],
            )
        data: dict[str, Any] = {}
        for mime, value in output.data.items():
            is_markup = isinstance(value, str) and mime not in ("text/plain", *RASTER)
            if not is_markup or not self._in_markup(value):
                data[mime] = self.redacted(value) if mime == "text/plain" else value
        if not data:
            data["text/plain"] = HIDDEN
        alts = [str(v.get("alt", "")) for v in output.metadata.values() if isinstance(v, Mapping)]
        metadata = {} if self.shows("\n".join(alts)) else output.metadata
        return make_output("display_data", data=data, metadata=metadata)

    def _in_markup(self, text: str) -> bool:
        return self.shows(text) or self.shows(html.unescape(_HTML_TAG.sub("", text)))

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """The parts of a text that are copies: (start, end)."""
        forms, places = _grams(self._regions)
        squeezed = _squeezed(text)
        positions: list[int] = []
        done = 0
        for i in range(0, len(squeezed) - _GRAM + 1, _STEP):
            if i + _GRAM <= done:
                continue
            best = (0, 0)
            for number, at in places.get(squeezed[i : i + _GRAM], ()):
                a, b = _widened(squeezed, i, forms[number], at)
                if b - a > best[1] - best[0] and squeezed[a:b] not in self._public:
                    best = (a, b)
            a, b = best
            if b - a < _RUN:
                continue
            positions = positions or [m.start() for m in _WORD_CHARACTER.finditer(text)]
            yield positions[a], positions[b - 1]
            done = b


@functools.lru_cache(1024)
def _literals(source: str) -> frozenset[str]:
    """The texts in code, such as the author's messages."""
    try:
        nodes = ast.walk(ast.parse(source))
    except SyntaxError:  # a cell with magics
        return frozenset()
    values = (node.value for node in nodes if isinstance(node, ast.Constant))
    return frozenset(value for value in values if isinstance(value, str))


def _shares(line: str, first: int, last: int) -> bool:
    """Whether a span takes more of a line than a letter or two that happen to fit."""
    shared = line[max(first, 0) : max(last + 1, 0)]
    return len(shared) > 3 or (bool(shared) and shared == line.strip())


def _widened(text: str, i: int, form: str, at: int) -> tuple[int, int]:
    """The longest common run around a gram that text has at i and form has at `at`."""
    a, x = i, at
    while a > 0 and x > 0 and text[a - 1] == form[x - 1]:
        a, x = a - 1, x - 1
    b, y = i + _GRAM, at + _GRAM
    while b < len(text) and y < len(form) and text[b] == form[y]:
        b, y = b + 1, y + 1
    return a, b


# -- nbgrader's command --------------------------------------------------------------------------


class FeedbackExporter(HTMLExporter):
    """Makes `nbgrader generate_feedback`, and formgrader's button, write `page`."""

    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: Any = None, **kw: Any
    ) -> tuple[str, Any]:
        """The page of a notebook, with the grades and comments of the gradebook."""
        where = (resources or {})["nbgrader"]
        grades, penalty = _recorded(
            where["db_url"], where["notebook"], where["assignment"], where["student"]
        )
        resources = self._init_resources(resources)
        resources["output_extension"] = self.file_extension
        return page(nb, grades, title=where["assignment"], penalty=penalty), resources


def _recorded(
    db_url: str, notebook: str, week: str, student: str
) -> tuple[dict[str, CellGrade], float]:
    """The rows of a notebook in the gradebook, and the points lost for being late."""
    from nbgrader.api import Gradebook

    # nbgrader works in the course's root, and knows no bonus.
    source = Path("source") / week / f"{notebook}.ipynb"
    cells = nb_.read(source).cells if source.is_file() else []
    bonus = {nb_.grade_id(cell) for cell in cells if nb_.ours(cell).get("bonus")}
    with Gradebook(db_url) as gradebook:
        found = gradebook.find_submission_notebook(notebook, week, student)
        comments = {c.name: c.comment or "" for c in found.comments}
        grades = {name: CellGrade(None, 0.0, comment) for name, comment in comments.items()}
        for row in found.grades:
            waits = bool(row.needs_manual_grade)
            grades[row.name] = CellGrade(
                score=None if waits and row.manual_score is None else row.score,
                points=row.max_score,
                comment=comments.get(row.name, ""),
                bonus=row.name in bonus,
                extra=row.extra_credit or 0.0,
                waits=waits,
            )
        return grades, float(found.late_submission_penalty or 0.0)
