"""The class report: one HTML page with its pictures inside, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment, PackageLoader

from autograder import files, fingerprints
from autograder.course import Course, Week
from autograder.pages import tables

if TYPE_CHECKING:
    from autograder.results import SubmissionGrade

GREEN, ORANGE, BLUE = "#009E73", "#D55E00", "#0072B2"


def write(course: Course, week: Week, grades: Sequence[SubmissionGrade]) -> Path:
    """Write the report of a week and return its path. One that says the same stays."""
    path = course.root / "reports" / f"{week.folder}.html"
    code = fingerprints.of(fingerprints.sources("autograder/pages"))
    shown = files.digest([code, course.name, repr(week), repr(grades)])
    last = f"<!-- {shown} -->\n".encode()
    if path.is_file() and path.read_bytes().endswith(last):
        return path
    # A folder's name, such as a student's, need not be text.
    files.write(path, render(course, week, grades).encode(errors="replace") + b"\n" + last)
    return path


def render(course: Course, week: Week, grades: Sequence[SubmissionGrade]) -> str:
    """The report as HTML; everything that comes from a student is escaped."""
    environment = Environment(
        loader=PackageLoader("autograder.pages"), autoescape=True, trim_blocks=True
    )
    return environment.get_template("class.html").render(
        course=course,
        week=week,
        feedback=lambda student, notebook: _feedback(course, week, student, notebook),
        grades=grades,
        plots=[
            ("Scores", *score_plot(week, grades)),
            ("Tasks", *task_plot(week, grades)),
            ("Time", *time_plot(week, grades)),
        ],
        not_counted=tables.NOT_COUNTED,
        to_grade=tables.to_grade,
        waiting=tables.waiting(grades),
        sandboxed=all(n.sandboxed for g in grades for n in g.notebooks),
        title=week.title[course.languages[0]],
    )


def _feedback(course: Course, week: Week, student: str, notebook: str) -> str:
    """The address of a feedback page from the report, "" where there is none."""
    parts = ("feedback", student, week.folder, f"{notebook}.html")
    if not course.root.joinpath(*parts).is_file():
        return ""
    return "../" + "/".join(quote(os.fsencode(part), safe="") for part in parts)


def score_plot(week: Week, grades: Sequence[SubmissionGrade]) -> tuple[str, str]:
    """How many students got how many points: (picture as a data URI, text alternative)."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
    scores = [g.score() for g in grades]
    top = max(week.points, 1)
    ax.hist(scores, bins=[top * i / 10 for i in range(11)], color=BLUE, edgecolor="white")
    ax.set(xlabel=f"points, of {week.points:g}", ylabel="students", title="Scores of the class")
    mean = sum(scores) / len(scores) if scores else 0.0
    return _picture(figure), f"Histogram of scores; the mean is {mean:.2f} of {week.points:g}."


def task_plot(week: Week, grades: Sequence[SubmissionGrade]) -> tuple[str, str]:
    """The share of students who solved each task; what waits for a person counts nowhere."""
    import matplotlib.pyplot as plt

    solved: dict[str, list[bool]] = {}
    for grade in grades:
        for notebook in grade.notebooks:
            for task in notebook.tasks:
                found = solved.setdefault(f"{notebook.name}: {task.task}", [])
                by_hand = task.status == "graded" and (task.score or 0.0) >= task.points
                found += [] if task.waits else [task.status == "correct" or by_hand]
    shares = {name: sum(found) / len(found) for name, found in solved.items() if found}
    figure, ax = plt.subplots(figsize=(6, 0.8 + 0.24 * len(shares)), layout="constrained")
    names = list(shares)[::-1]
    colours = [GREEN if shares[n] >= 0.5 else ORANGE for n in names]
    ax.barh(names, [100 * shares[n] for n in names], color=colours)
    ax.set(xlabel="students who solved it, %", xlim=(0, 100), title="Tasks")
    ax.tick_params(axis="y", labelsize=8)
    hardest = min(shares, key=lambda n: shares[n], default="none")
    return _picture(figure), f"Share of students who solved each task; lowest: {hardest}."


def time_plot(week: Week, grades: Sequence[SubmissionGrade]) -> tuple[str, str]:
    """How long the notebooks ran."""
    import matplotlib.pyplot as plt

    names = [entry.name for entry in week.notebooks]
    seconds = [
        [n.seconds for g in grades for n in g.notebooks if n.name == name and n.seconds > 0]
        for name in names
    ]
    figure, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
    for row, values in enumerate(seconds):
        ax.scatter(values, [row] * len(values), alpha=0.5, color=BLUE)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="seconds", title="Time that a notebook ran", ylim=(-0.5, len(names) - 0.5))
    ax.set_xlim(left=0)
    longest = max((v for values in seconds for v in values), default=0.0)
    return _picture(figure), f"Running time of each notebook; the longest took {longest:.0f} s."


def _picture(figure: object) -> str:
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)  # type: ignore[attr-defined]
    plt.close(figure)  # type: ignore[arg-type]
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
