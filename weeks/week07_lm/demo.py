"""The students of week 07's own in the demo class: readers of dates that can't be right."""

from __future__ import annotations

from autograder.demo import Notebook, Student
from autograder.demo_networks import wrong


def students(one: Student, notebook: Notebook) -> list[Student]:
    """Who hands in a network that can't be right. one: who did the exam and what it builds on."""
    if not notebook.exams:
        return []
    return wrong(one, notebook, untrained=r"\b[01]\.[0-9] ?%")
