"""The students of week 03's own in the demo class: networks that are handed in with their weights."""

from __future__ import annotations

from autograder.demo import PROFILE, Notebook, Student
from autograder.demo_networks import of_pictures
from practical_dl import data


def students(one: Student, notebook: Notebook) -> list[Student]:
    """Who hands in a network that can't be right. one: who did the exam and what it builds on."""
    if not notebook.exams:
        return []
    public = data.load("cifar10", PROFILE, quiet=True)
    return of_pictures(one, notebook, public.x_test, public.y_test, untrained=r"1?[0-9][.,0-9]* ?%")
