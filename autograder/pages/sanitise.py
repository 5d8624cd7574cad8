"""What a submission may show in a browser: text, tables, pictures and formulas, nothing active.

Two walls, each of which would do alone:

- `sanitise` takes what is active out of an autograded notebook before it is written: every
  viewer (formgrader, feedback, JupyterLab, nbconvert) sees a harmless one.
- `markdown_html` and `clean_html` make what a page shows of it. With them `autograder.plugin.pages`
  cleans what formgrader is about to send, whoever wrote the notebook.

Code cells keep their source: it is what ran, and it is shown as text everywhere.
"""

from __future__ import annotations

import base64
import binascii
import functools
import html
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Any

import nh3
from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeET
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode, from_dict
from pygments.token import STANDARD_TYPES

from autograder.notebook import SCORE_MIME

# Limits. An honest notebook is far below; a hostile one must not stop a browser or our parsers,
# some of which need quadratic time.
MARKDOWN_CHARACTERS = 20_000  # of a cell, without the pictures in it
NOTEBOOK_CHARACTERS = 150_000  # of all its Markdown
TAGS = 15_000  # of one HTML output
ESCAPES = 5_000  # colour codes of one text
PICTURE_BYTES = 5_000_000
PICTURE_PIXELS = 40_000_000
SVG_BYTES = 1_000_000
# Characters of all outputs of a notebook, by type, without the pictures in them; what goes beyond
# is shown as plain text.
RICH = {
    "text/html": 3_000_000,
    "text/latex": 60_000,
    "text/markdown": 60_000,
    "image/svg+xml": 10_000_000,
}

RASTER = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF"}
NOT_SHOWN = "[not shown: {}]"

_DATA_URI = re.compile(r"data:[\w/+.;-]+;base64,[A-Za-z0-9+/=\s]*")
_CONTROLS = re.compile(r"[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_ESCAPE = re.compile(r"\x1b\[[^@-~\n]*[@-~]|\x1b")

# -- HTML ----------------------------------------------------------------------------------------

_NAMES = """a abbr b bdi blockquote br caption center cite code col colgroup dd del details dfn div
dl dt em figcaption figure font h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp section
small span strike strong sub summary sup table tbody td tfoot th thead tr tt u ul var wbr"""
_TAGS = frozenset(_NAMES.split())
_ATTRIBUTES = {
    "*": {"align", "style", "title"},
    "a": {"href"},
    "col": {"span"},
    "details": {"open"},
    "font": {"color"},
    "img": {"alt", "height", "src", "width"},
    "li": {"value"},
    "ol": {"start"},
    "table": {"border"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
# Nothing here moves, hides or resizes anything outside its own box.
_STYLES = frozenset(
    ["background-color", "color", "font-style", "font-weight", "text-align", "text-decoration"]
)
_NUMBERS = frozenset(["border", "colspan", "height", "rowspan", "span", "start", "value", "width"])
_LINKS = frozenset({"http", "https", "mailto"})
ID_PREFIX = "text-"  # so that no heading takes an id that a page's own scripts look for
# What Pygments and nbconvert give to code and to headings.
_CLASSES = {
    "a": {"anchor-link"},
    "div": {"highlight"},
    "pre": {"cut"},
    "span": {name for name in STANDARD_TYPES.values() if name},
}


def _attribute(tag: str, name: str, value: str) -> str | None:
    """What an allowed attribute may say."""
    if name == "href":
        if value.startswith("#"):
            return f"#{ID_PREFIX}{value[1:].removeprefix(ID_PREFIX)}"
        return value if _scheme(value) in _LINKS else None
    if name == "src":
        return value if is_picture(value) else None
    if name in _NUMBERS:
        return value if re.fullmatch(r"\d{1,4}(px|%)?", value) else None
    if name == "style":
        return None if re.search(r"[\\@]|url|expression|var", value.lower()) else value
    if name == "open" and tag == "details":
        return ""
    return value[:2000]


def _scheme(url: str) -> str:
    """The scheme of a URL as a browser reads it; "" for a relative one."""
    found = re.match(r"([a-z][a-z0-9+.-]*):", re.sub(r"[\x00-\x20]", "", url).lower())
    return found[1] if found else ""


_OUTPUT_CLEANER = nh3.Cleaner(
    tags=set(_TAGS),
    attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
    attribute_filter=_attribute,
    filter_style_properties=set(_STYLES),
    link_rel="noopener noreferrer nofollow",
    url_schemes={*_LINKS, "data"},  # data: only where _attribute finds a picture in it
)
_MARKDOWN_CLEANER = nh3.Cleaner(
    tags=set(_TAGS),
    attributes={
        **{tag: set(names) for tag, names in _ATTRIBUTES.items()},
        **{f"h{level}": {"id"} for level in range(1, 7)},
    },
    allowed_classes=_CLASSES,
    attribute_filter=_attribute,
    filter_style_properties=set(_STYLES),
    id_prefix=ID_PREFIX,
    link_rel="noopener noreferrer nofollow",
    url_schemes={*_LINKS, "data"},
)


def clean_html(text: str, *, markdown: bool = False) -> str:
    """HTML without anything active, outside the allow-list or too large; balanced.

    markdown: whether it was rendered from Markdown, and may have classes and anchors.
    """
    text = _readable(text)
    if text.count("<") > TAGS or len(_DATA_URI.sub("", text)) > 40 * TAGS:
        return f"<pre>{NOT_SHOWN.format('HTML of this size')}</pre>"
    return (_MARKDOWN_CLEANER if markdown else _OUTPUT_CLEANER).clean(text)


def is_picture(url: str) -> bool:
    """Whether a URL is a raster picture in itself, of a size that can be shown."""
    found = re.match(r"\s*data:(image/\w+);base64,", url)
    return bool(found) and _decoded(found[1], url[found.end() :]) is not None


def _decoded(mime: str, text: Any) -> bytes | None:
    """The bytes of a picture in base64 if they are what they are said to be."""
    if mime not in RASTER or not isinstance(text, str) or len(text) > 1.4 * PICTURE_BYTES:
        return None
    from PIL import Image

    try:
        content = base64.b64decode("".join(text.split()), validate=True)
        # Only the header is read here, no pixel is decoded.
        with Image.open(io.BytesIO(content), formats=[RASTER[mime]]) as picture:
            width, height = picture.size
    except (ValueError, binascii.Error, OSError, SyntaxError, Image.DecompressionBombError):
        return None
    return content if 0 < width * height <= PICTURE_PIXELS else None


# -- SVG -----------------------------------------------------------------------------------------

_SVG_NAMES = """svg g defs symbol use path rect circle ellipse line polyline polygon text tspan
clipPath mask pattern linearGradient radialGradient stop marker style title desc metadata image
switch RDF Work type date format creator Agent"""
_SVG_TAGS = frozenset(_SVG_NAMES.split())


def is_drawing(text: Any) -> bool:
    """Whether an SVG is a drawing and nothing else: what matplotlib and graphviz write.

    Pages show it as an `<img>`, in which a browser runs no script and loads nothing; this is for a
    viewer that puts it into its page.
    """
    if not isinstance(text, str) or len(text) > SVG_BYTES or re.search(r"<\?(?!xml\s)", text):
        return False
    try:
        root = SafeET.fromstring(re.sub(r"<!DOCTYPE[^<>\[]*>", "", text, count=1).strip())
    except (ET.ParseError, DefusedXmlException, ValueError, RecursionError):
        return False
    return _local(root.tag) == "svg" and all(map(_is_drawn, root.iter()))


def _is_drawn(element: Any) -> bool:
    if _local(element.tag) not in _SVG_TAGS or _loads(element.text or ""):
        return False
    for name, value in element.attrib.items():
        name = _local(name).lower()
        if name.startswith("on") or _loads(value):
            return False
        if name in ("href", "src") and not (value.startswith("#") or is_picture(value)):
            return name == "href" and "rdf" in element.tag  # a word in the metadata
    return True


def _loads(value: str) -> bool:
    """Whether a style or an attribute refers to anything outside the drawing."""
    value = value.lower()
    inside = all(u.lstrip("'\" ").startswith("#") for u in re.findall(r"url\(([^)]*)", value))
    return not inside or "@import" in value or "expression" in value or "\\" in value


def _local(name: Any) -> str:
    return str(name).rpartition("}")[2]


# -- Markdown ------------------------------------------------------------------------------------


class _Renderer(IPythonRenderer):
    """nbconvert's, without what a missing attachment or a foreign picture does to it."""

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """A picture that is in the notebook; a link to any other."""
        if url.startswith("attachment:"):
            found = self.attachments.get(url.removeprefix("attachment:"))
            found = found if isinstance(found, Mapping) else {}
            url = next((f"data:{m};base64,{found[m]}" for m in RASTER if m in found), "")
        text = html.escape(html.unescape(re.sub(r"<[^<>]*>", "", text)))
        if is_picture(url):
            return f'<img src="{url}" alt="{text}">'
        label = text or html.escape(url[:80]) or "picture"
        return f'[<a href="{html.escape(url)}">{label}</a>]' if url else f"[{label}]"


def markdown_html(
    source: str,
    attachments: Mapping[str, Any] | None = None,
    *,
    anchors: bool = False,
    math: Callable[[str, bool], str] | None = None,
) -> str:
    """A cell's Markdown as clean HTML.

    anchors: whether headings link to themselves. math: (TeX, whether displayed) -> HTML that is
    safe; without it formulas stay TeX between dollars, for MathJax.
    """
    source = _readable(source)
    if attachments or math:
        return _markdown(source, attachments, anchors, math)
    return _plain_markdown(source, anchors)


@functools.lru_cache(4096)
def _plain_markdown(source: str, anchors: bool) -> str:
    return _markdown(source, None, anchors, None)


# What a formula is while its surroundings are cleaned: its number between two characters that no
# text has any business to contain.
_TOKEN = "\ue000{}\ue001"
_TOKENS = re.compile("[\ue000\ue001]")
_CHECKBOX = re.compile(
    '<input class="task-list-item-checkbox" type="checkbox" disabled( checked)?/>'
)
# A tag as a serialiser writes it, values in double quotes; or a token.
_TAG_OR_TOKEN = re.compile('<[^"\'>]*(?:"[^"]*"[^">]*)*>|\ue000(\\d+)\ue001')


def _markdown(
    source: str,
    attachments: Mapping[str, Any] | None,
    anchors: bool,
    math: Callable[[str, bool], str] | None,
) -> str:
    source = _TOKENS.sub("", source)
    try:
        if len(_DATA_URI.sub("", source)) > MARKDOWN_CHARACTERS:
            raise ValueError("too long")
        renderer = _Renderer(
            escape=False,
            attachments=dict(attachments or {}),
            exclude_anchor_links=not anchors,
        )
        formulas: list[tuple[str, bool]] = []
        if math:
            _keep_formulas(renderer, formulas)
        rendered = MarkdownWithMath(renderer=renderer).render(source)
    except Exception:  # whatever the parser does with it, a teacher can read the text
        return f"<pre>{html.escape(source)}</pre>"
    rendered = _CHECKBOX.sub(lambda found: "☑ " if found[1] else "☐ ", rendered)
    cleaned = clean_html(rendered, markdown=True)
    if not math:
        return cleaned

    def shown(found: re.Match[str]) -> str:
        if found[1] is None:  # a tag: what stands in an attribute is no place for a formula
            return re.sub("\ue000(\\d+)\ue001", lambda m: _tex(formulas, m[1]), found[0])
        number = int(found[1])
        return math(*formulas[number]) if number < len(formulas) else ""

    return _TAG_OR_TOKEN.sub(shown, cleaned)


def _tex(formulas: list[tuple[str, bool]], number: str) -> str:
    return html.escape(formulas[int(number)][0]) if int(number) < len(formulas) else ""


def _keep_formulas(renderer: _Renderer, formulas: list[tuple[str, bool]]) -> None:
    """Let a renderer write tokens in place of formulas."""

    def keep(tex: str, displayed: bool) -> str:
        formulas.append((tex, displayed))
        return _TOKEN.format(len(formulas) - 1)

    renderer.block_math = lambda body: keep(body, True)  # type: ignore[method-assign]
    renderer.inline_math = lambda body: keep(body, False)  # type: ignore[method-assign]
    renderer.latex_environment = (  # type: ignore[method-assign]
        lambda name, body: keep(f"\\begin{{{name}}}{body}\\end{{{name}}}", True)
    )


class _Finder(HTMLParser):
    """Notices what `clean_html` would take away."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.active = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = _ATTRIBUTES["*"] | _ATTRIBUTES.get(tag, set()) | {"class", "id"}
        for name, value in attrs:
            value = value or ""
            if name == "style":
                properties = {p.split(":")[0].strip().lower() for p in value.split(";")} - {""}
                self.active |= not properties <= _STYLES
            elif name == "href" and not value.startswith("#"):
                self.active |= _scheme(value) not in {*_LINKS, ""}
            elif name == "src":
                self.active |= _scheme(value) not in ("http", "https", "") and not is_picture(value)
            elif name == "class":
                self.active |= not set(value.split()) <= _CLASSES.get(tag, set()) | _HARMLESS
            elif name == "id":
                self.active |= tag not in ("h1", "h2", "h3", "h4", "h5", "h6")
            else:
                self.active |= name not in names
        self.active |= tag not in _TAGS

    def handle_data(self, data: str) -> None:
        self.active |= bool(re.search(r"<[a-zA-Z/!?]", data))  # a tag that it did not understand

    def handle_comment(self, data: str) -> None:
        self.active = True

    handle_decl = handle_pi = unknown_decl = handle_comment  # type: ignore[assignment]


# Classes that honest prose has; no viewer's style sheet lets them leave their place.
_HARMLESS = {"alert", "alert-block", "alert-danger", "alert-info", "alert-success", "alert-warning"}
_HARMLESS |= {"task-list-item"}


@functools.lru_cache(4096)
def is_active(source: str) -> bool:
    """Whether Markdown holds HTML or links that a browser had better not get."""
    if _is_as_code(source):
        return False
    if len(_DATA_URI.sub("", source)) > MARKDOWN_CHARACTERS or _TOKENS.search(source):
        return True
    try:
        renderer = _Renderer(escape=False, exclude_anchor_links=True)
        finder = _Finder()
        rendered = MarkdownWithMath(renderer=renderer).render(source)
        finder.feed(_CHECKBOX.sub("", rendered))
        finder.close()
    except Exception:
        return True
    return finder.active or bool(finder.rawdata.strip())


_NOTE = "*(HTML that is not shown as a page: the text of the cell)*\n\n"
_AS_CODE = re.compile(re.escape(_NOTE) + r"(`{3,})text\n(.*)\n\1", flags=re.S)


def as_code(source: str) -> str:
    """Markdown that shows a text as it was typed, whatever is in it."""
    if _is_as_code(source):
        return source
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", source)), default=0))
    return f"{_NOTE}{fence}text\n{source}\n{fence}"


def _is_as_code(source: str) -> bool:
    found = _AS_CODE.fullmatch(source)
    return bool(found) and found[1] not in found[2]


# -- A notebook ----------------------------------------------------------------------------------


def sanitise(notebook: NotebookNode) -> None:
    """Take out of an autograded notebook what a teacher's browser should not get, in place.

    Text, tables and pictures stay. A prose cell with active HTML shows its own source instead.
    """
    notebook.metadata.pop("widgets", None)
    left, budget = NOTEBOOK_CHARACTERS, dict(RICH)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            shown = [shown_output(output, budget) for output in cell.get("outputs", [])]
            cell.outputs = [output for output in shown if output is not None]
            continue
        if "attachments" in cell:
            cell.attachments = _attachments(cell.attachments)
        cell.source = _readable(cell.source)
        left -= len(_DATA_URI.sub("", cell.source))
        if left < 0 or is_active(cell.source):
            cell.source = as_code(cell.source)
            cell.cell_type = "markdown"  # a raw cell may go into a page as it is


def _attachments(value: Any) -> NotebookNode:
    """The pictures among a cell's attachments."""
    kept = NotebookNode()
    for name, data in value.items() if isinstance(value, Mapping) else ():
        pictures = {
            mime: text
            for mime, text in (data.items() if isinstance(data, Mapping) else ())
            if _decoded(mime, text) is not None
        }
        if pictures:
            kept[str(name)] = NotebookNode(pictures)
    return kept


def make_output(kind: str, **values: Any) -> NotebookNode:
    """nbformat's `new_output` without its check of the schema, which takes half a page's time."""
    return from_dict({"output_type": kind, **values})


def shown_output(
    output: Mapping[str, Any], budget: dict[str, int] | None = None
) -> NotebookNode | None:
    """A new output with what may be shown of it; None for one of no known kind.

    budget: what is left of `RICH` for the outputs that come after one another in a notebook.
    """
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return make_output("stream", name=name, text=_text(output.get("text")))
    if kind == "error":
        lines = output.get("traceback")
        return make_output(
            "error",
            ename=_text(output.get("ename")),
            evalue=_text(output.get("evalue")),
            traceback=[_text(line) for line in lines] if isinstance(lines, list) else [],
        )
    if kind not in ("display_data", "execute_result"):
        return None
    given = output.get("data")
    given = given if isinstance(given, Mapping) else {}
    budget = dict(RICH) if budget is None else budget
    kept = {mime: text for mime, text in given.items() if _has_room(mime, text, budget)}
    data = {mime: value for mime, text in kept.items() for value in _data(mime, text)}
    if not set(data) - {SCORE_MIME} and set(given) - {SCORE_MIME}:
        data["text/plain"] = NOT_SHOWN.format(", ".join(sorted(map(str, given)))[:200])
    shown = make_output(kind, data=data, metadata=_sizes(output.get("metadata"), data))
    if kind == "execute_result":
        count = output.get("execution_count")
        shown.execution_count = count if isinstance(count, int) else None
    return shown


def _has_room(mime: str, value: Any, budget: dict[str, int]) -> bool:
    """Whether a form of an output is within the budget, which gets smaller by it."""
    if mime not in budget or not (isinstance(value, str) or _is_lines(value)):
        return True
    budget[mime] -= len(_DATA_URI.sub("", "".join(value)))
    return budget[mime] >= 0


def _data(mime: str, value: Any) -> list[Any]:
    """What is shown for a MIME type: [] for nothing."""
    if mime == SCORE_MIME:
        return [value] if isinstance(value, Mapping) else []
    if mime in RASTER:
        value = "".join(value) if _is_lines(value) else value
        return [value] if _decoded(mime, value) is not None else []
    if not isinstance(value, str) and not _is_lines(value):
        return []
    if mime == "text/plain":
        return [_text(value)]
    text = _readable(value if isinstance(value, str) else "".join(value))
    if mime == "text/html":
        cleaned = clean_html(text)
        return [cleaned] if re.sub(r"<(?!img)[^<>]*>", "", cleaned).strip() else []
    if mime == "text/markdown":
        return [as_code(text) if is_active(text) else text]
    if mime == "text/latex":
        return [text[:MARKDOWN_CHARACTERS]]
    if mime == "image/svg+xml":
        return [text] if is_drawing(text) else []
    return []


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def _sizes(metadata: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """How large pictures are to be, and their text alternative: all that is kept of metadata."""
    kept: dict[str, Any] = {}
    for mime in (*RASTER, "image/svg+xml"):
        value = metadata.get(mime) if isinstance(metadata, Mapping) else None
        if mime not in data or not isinstance(value, Mapping):
            continue
        kept[mime] = {
            side: int(value[side])
            for side in ("width", "height")
            if isinstance(value.get(side), int | float) and 0 < value[side] <= 4000
        }
        if isinstance(value.get("alt"), str):
            kept[mime]["alt"] = _text(value["alt"])[:500]
    return {mime: value for mime, value in kept.items() if value}


def _text(value: Any) -> str:
    """Plain text; viewers escape it, and turn its colour codes into colours."""
    text = _readable("".join(value) if _is_lines(value) else str("" if value is None else value))
    return _ESCAPE.sub("", text) if text.count("\x1b") > ESCAPES else text


def _readable(text: str) -> str:
    """Text without control characters, and without what is no Unicode."""
    return _CONTROLS.sub("", text).encode("utf-8", "replace").decode()
