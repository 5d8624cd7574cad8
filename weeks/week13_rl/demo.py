"""The students of week 13's own in the demo class: agents that are handed in with their weights."""

from __future__ import annotations

from dataclasses import replace

from autograder.demo import Notebook, Student
from autograder.demo_networks import wrong


def students(one: Student, notebook: Notebook) -> list[Student]:
    """Who hands in an agent that can't be right. one: who did the exam and what it builds on."""
    if not notebook.exams:
        return []
    worst = r"-1[0-9]{3}[.,][0-9]" if notebook.name == "ppo" else r"-[45][0-9]{2}[.,][0-9]"
    made = wrong(one, notebook, untrained=worst)
    return [
        replace(
            student,
            name=f"{student.name}-{notebook.name}",
            beside={**one.beside, **student.beside},  # the other notebook's agent stays
        )
        for student in made
    ]
