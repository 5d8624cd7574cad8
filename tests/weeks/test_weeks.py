"""The gates on the course's own weeks: what their receipts hold is believed, the rest is proven.

One notebook is proven in full each time. All of them: `autograder prove --again --check`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kit.chosen import pick
from kit.rules import need_data
from nbformat import NotebookNode

from autograder import course as course_
from autograder import notebook as nb_
from autograder.authoring import build, proofs

REPOSITORY = Path(__file__).parents[2]
COURSE = course_.load(REPOSITORY)
WEEKS = [week.folder for week in COURSE.weeks]
NOTEBOOKS = [f"{week.folder}/{one.name}" for week in COURSE.weeks for one in week.notebooks]
PROVEN = [
    f"{week.folder}/{one.name}"
    for week in COURSE.weeks
    for one in week.notebooks
    if not one.excluded
]


def autograder(*arguments: str) -> None:
    line = [sys.executable, "-m", "autograder", *arguments]
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# What the course's plan asks for, with its points; without bonus points.
PLAN = {
    "week01_backprop": {"seminar": 0, "backprop": 5, "adaptive_sgd": 5},
    "week02_autodiff": {"seminar_pytorch": 2, "homework_pytorch": 8},
    "week03_convnets": {"seminar_pytorch": 20, "homework": 0},
    "week04_finetuning": {"seminar_pytorch": 10, "advanced_homework": 0},
    "week05_interpretability": {"seminar": 2, "practice": 8},
    "week06_nlp": {"seminar": 4, "homework": 6},
    "week07_lm": {"seminar": 3, "homework": 7},
    "week08_transformer": {"seminar": 4, "homework": 6},
    "week09_llm": {"practice_prompting": 5, "practice_peft": 5},
    "week10_generative": {"seminar": 2, "homework-vae": 8, "flows_and_gans": 0},
    "week11_diffusion": {"seminar": 0, "inpainting": 2, "dreambooth_lora": 3},
    "week12_inference": {"seminar": 2, "practice": 8},
    "week13_rl": {"seminar": 0, "reinforce_pytorch": 5, "a2c-optional": 5, "ppo": 10},
    "week14_audio": {"seminar": 2, "practice": 8, "optional_tts": 0},
}


def test_the_term_is_what_the_plan_asks_for() -> None:
    found = {w.folder: {n.name: n.points for n in w.notebooks} for w in COURSE.weeks}
    assert found == PLAN
    agents = COURSE.select(["week13"])[0].groups
    assert [[n.name for n in group] for group in agents.values()] == [["a2c-optional", "ppo"]]


def test_the_built_trees_are_what_the_weeks_build() -> None:
    """Also the READMEs' table of weeks, docs/tasks.md and docs/topics.md."""
    autograder("build", "--check")


@pytest.mark.parametrize("week", WEEKS)
def test_a_week_is_in_order(week: str) -> None:
    autograder("lint", week, "--no-run")


def prove(notebook: str, *options: str) -> None:
    """Prove a notebook offline; nothing is written."""
    folder, name = notebook.split("/")
    need_data(folder)
    autograder("prove", folder, "--notebook", name, "--check", *options)


@pytest.mark.parametrize("notebook", PROVEN)
def test_a_notebook_is_proven(notebook: str) -> None:
    folder, name = notebook.split("/")
    (week,) = COURSE.select([folder])
    (text,) = build.texts_of(COURSE, [week], name)
    now, kept = proofs.current(COURSE, week, text), proofs.read(COURSE, week).get(name)
    if proofs.need(now, kept) is not None:
        prove(notebook)


def test_one_notebook_is_proven_whatever_its_receipt_says() -> None:
    prove(pick(PROVEN), "--again")


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_languages_differ_in_prose_alone(notebook: str) -> None:
    """So one of them is run, and the others are as good."""
    release = REPOSITORY / "release"
    first, *others = (nb_.read(release / k / f"{notebook}.ipynb") for k in COURSE.languages)
    assert first.metadata.kernelspec
    for other in others:
        assert other.metadata.kernelspec == first.metadata.kernelspec
        assert code(other) == code(first)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
