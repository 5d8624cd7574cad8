"""Hidden tests are taken out of what a student's page shows, as far as copies can be found.

Found are copies of a hidden line, and of any part of a hidden region with at least 16 letters and
digits: as they are, in another case, with other spaces and punctuation between (a `repr`, a
traceback, one character a line), or backwards. Not found are shorter pieces shown one at a time,
encoded, compressed or encrypted copies, pictures of text, and values: code that hidden tests call
can note their arguments. They are drawn anew for each source notebook, so that such a note is worth
little.
"""

from __future__ import annotations

import ast
import functools
import html
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from nbformat import NotebookNode

from autograder import notebook as nb_
from autograder.pages.sanitise import RASTER, make_output

HIDDEN = "[a line of a hidden test]"
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
    """Hidden regions, forwards and backwards, and where each gram stands in them."""
    plain = [_squeezed(region) for region in regions]
    forms = tuple(form for region in plain for form in (region, region[::-1]))
    places: dict[str, list[tuple[int, int]]] = {}
    for number, form in enumerate(forms):
        for i in range(len(form) - _GRAM + 1):
            found = places.setdefault(form[i : i + _GRAM], [])
            if len(found) < 20:
                found.append((number, i))
    return forms, places


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
