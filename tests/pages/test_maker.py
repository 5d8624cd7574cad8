"""Pages are made in a process of their own, which ends in time."""

from __future__ import annotations

import time

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from autograder import notebook as nb_
from autograder.pages import feedback, maker, sanitise
from autograder.pages.maker import PageError, Pages, bare


def test_the_same_as_in_this_process() -> None:
    outputs = [new_output("display_data", {"text/html": "<b onclick='x()'>1</b>"})]
    notebook = new_notebook(cells=[new_code_cell("x", outputs=outputs), new_markdown_cell("$y$")])
    with Pages() as pages:
        clean = pages.sanitised(notebook)
        page = pages.feedback(clean, grades={}, title="week01_tiny")
    assert "onclick" in str(notebook) and "onclick" not in str(clean)
    sanitise.sanitise(notebook)
    assert nb_.dumps(clean) == nb_.dumps(notebook)
    assert page.decode() == feedback.page(notebook, {}, title="week01_tiny")


def test_what_takes_too_long_is_ended_and_others_go_on() -> None:
    slow = new_output("display_data", {"text/markdown": "1\n" + "\\begin{a}" * 2_200})
    notebook = new_notebook(cells=[new_code_cell("x", outputs=[slow])])
    with Pages() as pages:
        pages.sanitised(new_notebook())  # the process has started
        pages._seconds = 0.1
        start = time.monotonic()
        with pytest.raises(PageError, match=r"longer than 0\.1 s"):
            pages.sanitised(notebook)
        assert time.monotonic() - start < 2
        pages._seconds = maker.PAGE_SECONDS
        assert pages.sanitised(bare(notebook)).cells[0].outputs == []


def test_what_fails_is_told_and_others_go_on() -> None:
    with Pages() as pages:
        with pytest.raises(PageError, match="AttributeError"):
            pages.sanitised(NotebookNode(metadata={}))
        process = pages._process
        with pytest.raises(PageError, match="needs too much memory"):
            pages.feedback(new_notebook(), grades={}, title=_Huge())
        assert pages.sanitised(new_notebook()).cells == []
        assert pages._process is process
        process.kill()
        with pytest.raises(PageError, match="has ended"):
            pages.sanitised(new_notebook())
        assert pages.sanitised(new_notebook()).cells == []


class _Huge:
    """Text that does not fit."""

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return (bytearray, (3 * 2**30,))


def test_of_a_test_the_verdict_stays() -> None:
    nbgrader = {"grade": True, "grade_id": "test-line", "points": 1.0}
    outputs = [new_output("stream", text="x"), new_output("error", ename="E", evalue="wrong")]
    test = new_code_cell("x", outputs=outputs, metadata={"nbgrader": nbgrader})
    own = new_code_cell("y", outputs=outputs)
    shown = [cell.outputs for cell in bare(new_notebook(cells=[test, own])).cells]
    assert shown == [[outputs[1]], []]
