"""The students of week 14's own in the demo class: networks that are handed in with their weights."""

from __future__ import annotations

from autograder.demo import PROFILE, Notebook, Student
from autograder.demo_networks import of_pictures
from practical_dl import data
from practical_dl.weeks import week14


def students(one: Student, notebook: Notebook) -> list[Student]:
    """Who hands in a network that can't be right. one: who did the exam and what it builds on."""
    if not notebook.exams:
        return []
    public = data.load("fsdd", PROFILE, quiet=True)
    pictures, labels = week14.pictures(public.x_test), public.y_test[:, 0]
    return of_pictures(one, notebook, pictures, labels, untrained=r"[12]?[0-9][.,0-9]* ?%")
