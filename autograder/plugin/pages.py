"""Formgrader's pages: what a submission may show there, and what only a grader sees.

`plugin.install` gives these to nbconvert, in the places of its own.
"""

from __future__ import annotations

import html
from typing import Any

from jinja2 import pass_context
from markupsafe import escape
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from traitlets import Bool

from autograder import notebook as nb_
from autograder.pages.sanitise import clean_html, markdown_html, sanitise

# Frames that no text can draw: clean_html leaves it neither borders nor margins.
_RUBRIC = (
    '<div style="border: 3px double #0072b2; margin: 0 0 1em; padding: .6em 1em">'
    '<p style="color: #0072b2; font-weight: bold; letter-spacing: .05em">'
    "RUBRIC &middot; {} &middot; the student does not see it</p>{}"
    "<details><summary>a good answer</summary>{}</details></div>"
)
_ADDED = (
    '<div style="border-left: 3px dotted #d55e00; padding-left: 1em">'
    '<p style="color: #a33b00; font-size: 85%">written by the student</p>{}</div>'
)


@pass_context
def markdown_filter(context: Any, source: str) -> str:
    """In place of nbconvert's `markdown2html`: formgrader's Markdown, clean.

    A rubric has a frame, and so has a text that the student added: neither passes for the other.
    """
    cell = context.get("cell") or {}
    shown = markdown_html(source, cell.get("attachments"), anchors=True)
    ours = cell.get("metadata", {}).get(nb_.KEY, {})
    if "rubric" in ours:
        sample = markdown_html(str(ours.get("sample", "")))
        return _RUBRIC.format(html.escape(str(ours["rubric"])), shown, sample)
    return _ADDED.format(shown) if str(cell.get("id", "")).startswith(nb_.ADDED) else shown


def html_filter(text: Any) -> str:
    """In place of nbconvert's `clean_html`: formgrader's HTML outputs, clean."""
    return clean_html(text.decode() if isinstance(text, bytes) else str(text))


def same_filter(text: str) -> str:
    """In place of nbconvert's `strip_files_prefix`, which old servers needed.

    It takes seconds for a text of brackets, and formgrader serves nobody meanwhile.
    """
    return text


class SanitisePage(Preprocessor):
    """`sanitise` for formgrader, whose templates escape neither outputs nor the student's name."""

    enabled = Bool(True).tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Clean the notebook; escape what formgrader puts into the page's frame."""
        sanitise(nb)
        for name in ("student", "first_name", "last_name", "notebook_path"):
            if isinstance(resources.get(name), str):
                resources[name] = str(escape(resources[name]))
        return nb, resources
