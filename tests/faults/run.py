"""Files that are hardly a notebook, what a page may show, and the gradebook itself."""

from __future__ import annotations

import json
from collections.abc import Callable

from nbformat import NotebookNode

from faults.kit import (
    ALL,
    FLAGGED,
    GRADED,
    REFUSED,
    Expected,
    Fault,
    Make,
    full,
    none,
    notebook,
    refused,
)

ANY = (GRADED, FLAGGED, REFUSED)


def written(encode: Callable[[str], bytes], **options: object) -> Make:
    """A notebook whose text is written in some other way."""
    return notebook(change=lambda made: encode(json.dumps(made, ensure_ascii=False)), **options)


def _comment(text: str) -> str:
    return text.replace("def line(", "# été\\ndef line(", 1)


def _huge(megabytes: int) -> Callable[[NotebookNode], None]:
    def changed(made: NotebookNode) -> None:
        cell = next(c for c in made.cells if c.cell_type == "code")
        cell["outputs"] = [
            {"output_type": "stream", "name": "stdout", "text": "x" * (megabytes * 1_000_000)}
        ]

    return changed


SCRIPT = """
from IPython.display import HTML, Javascript, Markdown, SVG, display
display(HTML("<script>window.fault = 1</script><img src=x onerror='window.fault = 2'>"))
display(HTML("<iframe src='javascript:parent.fault = 3'></iframe>"))
display(Javascript("window.fault = 4"))
display(SVG("<svg xmlns='http://www.w3.org/2000/svg'><script>fault = 5</script></svg>"))
display(Markdown("[link](javascript:fault=6) <b onclick='fault = 7'>text</b>"))
print("<script>window.fault = 8</script>")
"""
SCRIPT_MESSAGE = "raise ValueError('<script>window.fault = 9</script>')"
SCRIPT_SHOWN = (
    r"<script [^>]*>[^<]*fault",
    r"<[^>]*\son(error|click)=",
    r"<iframe",
    r"(href|src)=\"javascript:",
)

# A name that pages can't show safely is no row of the gradebook; the teacher is told.
RENAME = Expected({}, (REFUSED,), "rename")

FAULTS = [
    Fault(
        "half-a-file",
        "run",
        "The second half of the file is missing.",
        written(lambda text: text[: len(text) // 2].encode()),
        full(status=(FLAGGED, REFUSED), says="JSON|cut off", line=(0.0, 1.0), distance=0, double=0),
        row=49,
    ),
    Fault(
        "empty-file",
        "run",
        "The file is empty.",
        written(lambda text: b""),
        refused("empty"),
        row=49,
    ),
    Fault(
        "latin-1",
        "run",
        "The file is written in Latin-1.",
        written(lambda text: _comment(text).encode("latin-1", "replace")),
        full(status=ANY, line=(0.0, 1.0), distance=(0.0, 2.0), double=(0.0, 1.0)),
        row=49,
    ),
    Fault(
        "byte-order-mark",
        "run",
        "The file starts with a byte-order mark; the answers are right.",
        written(lambda text: b"\xef\xbb\xbf" + text.encode()),
        full(),
        row=49,
    ),
    Fault(
        "utf-16",
        "run",
        "The file is written in UTF-16.",
        written(lambda text: text.encode("utf-16")),
        full(status=ANY, line=(0.0, 1.0), distance=(0.0, 2.0), double=(0.0, 1.0)),
    ),
    Fault(
        "not-a-notebook",
        "run",
        "The file is JSON, but a list of texts.",
        written(lambda text: b'["cells", "metadata"]'),
        refused("notebook|cells"),
    ),
    Fault(
        "deep-json",
        "run",
        "The file is 100,000 nested lists.",
        written(lambda text: b"[" * 100_000 + b"]" * 100_000),
        refused("JSON|notebook|damaged|deep"),
    ),
    Fault(
        "big-numbers",
        "run",
        "The metadata hold NaN, infinity and a number of 5,000 digits.",
        written(
            lambda text: (
                text[:-1] + ', "more": [NaN, Infinity, 1e999, ' + "9" * 4_000 + "]}"
            ).encode()
        ),
        full(status=ANY),
    ),
    Fault(
        "picture-as-notebook",
        "run",
        "The file is a picture that is called tiny.ipynb.",
        written(lambda text: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20),
        refused("UTF-8|JSON|text|picture"),
    ),
    Fault(
        "big-outputs",
        "run",
        "The file holds 12 MB of honest outputs; the answers are right.",
        notebook(change=_huge(12)),
        full(),
        row=50,
    ),
    Fault(
        "huge-file",
        "run",
        "The file holds 120 MB of outputs.",
        notebook(change=_huge(120)),
        refused("MB|large|big"),
        row=50,
    ),
    Fault(
        "thousand-cells",
        "run",
        "1,000 cells stand behind the tasks; the answers are right.",
        notebook(
            change=lambda made: made.cells.extend(
                [
                    dict(
                        cell_type="code",
                        id=f"e{i}",
                        metadata={},
                        source="1",
                        outputs=[],
                        execution_count=None,
                    )
                    for i in range(1_000)
                ]
            )
        ),
        full(),
        row=50,
    ),
    Fault(
        "stderr",
        "run",
        "The functions write a warning to stderr; the answers are right.",
        notebook(
            line="import warnings, sys\nwarnings.warn('careful')\n"
            "print('note', file=sys.stderr)\nreturn a * x + b"
        ),
        full(),
        row=51,
    ),
    Fault(
        "script",
        "run",
        "The outputs hold scripts in every form; the answers are right.",
        notebook(top=SCRIPT),
        full(),
        row=52,
        never_shown=SCRIPT_SHOWN,
        page=True,
    ),
    Fault(
        "script-in-message",
        "run",
        "The functions raise errors whose texts are scripts.",
        notebook(wrong=ALL, line=SCRIPT_MESSAGE, double=SCRIPT_MESSAGE),
        none(),
        row=52,
        never_shown=SCRIPT_SHOWN,
        page=True,
    ),
    Fault(
        "script-in-markdown",
        "run",
        "A markdown cell of the student's and a name hold scripts; the answers are right.",
        notebook(
            change=lambda made: made.cells.append(
                dict(
                    cell_type="markdown",
                    id="mine",
                    metadata={},
                    source=(
                        "<script>window.fault = 1</script><img src=x onerror='fault()'>"
                        "<iframe src='javascript:fault()'></iframe>"
                    ),
                )
            )
        ),
        full(),
        never_shown=SCRIPT_SHOWN,
        page=True,
    ),
    Fault(
        "gradebook-locked",
        "run",
        "Somebody holds the gradebook for 9 seconds while this is graded again.",
        notebook(wrong=ALL),
        full(),
        row=53,
        then=notebook(),
        locked=9,
    ),
    Fault(
        "glob-name",
        "run",
        "The student's id holds the characters of globs.",
        notebook(),
        full(),
        row=54,
        student="glob [a-z]*?",
    ),
    Fault(
        "unicode-name",
        "run",
        "The student's id is written in Cyrillic letters.",
        notebook(),
        full(),
        row=54,
        student="Анна-Мария Ёлкина",
    ),
    Fault(
        "quoted-name",
        "run",
        "The student's id holds an apostrophe.",
        notebook(),
        RENAME,
        row=54,
        student="Shaun O'Neil",
    ),
    Fault(
        "html-name",
        "run",
        "The student's id is a piece of HTML.",
        notebook(),
        RENAME,
        student="<b onclick=alert(1)>",
        never_shown=(r"<b onclick",),
    ),
]
