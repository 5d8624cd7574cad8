"""The students of week 13's own in the demo class: agents that are handed in with their weights."""

from __future__ import annotations

from dataclasses import replace

from autograder.demo import Notebook, Student
from autograder.demo_networks import wrong

# What an agent that has learned nothing earns, as the page says it.
_WORST = {
    "reinforce_pytorch": r"\b[0-9]{1,2}[.,][0-9]",
    "a2c-optional": r"-[45][0-9]{2}[.,][0-9]",
    "ppo": r"-1[0-9]{3}[.,][0-9]",
}


def students(one: Student, notebook: Notebook) -> list[Student]:
    """Who hands in an agent that can't be right. one: who did the exam and what it builds on."""
    if not notebook.exams:
        return []
    made = wrong(one, notebook, untrained=_WORST[notebook.name])
    return [
        replace(
            student,
            name=f"{student.name}-{notebook.name}",
            beside={**one.beside, **student.beside},  # the agents of the other notebooks stay
        )
        for student in made
    ]
