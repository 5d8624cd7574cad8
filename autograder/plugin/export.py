"""`nbgrader export`: nbgrader's columns, by the rules of the course, and two of our own."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook
from nbgrader.plugins import CsvExportPlugin

from autograder import course as course_
from autograder import notebook as nb_
from autograder.course import Week
from autograder.gradebook import Recorder, Standing
from autograder.pages.grades import totals_of
from autograder.results import counting

COLUMNS = (
    *("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email"),
    *("raw_score", "late_submission_penalty", "score", "max_score"),
    *("bonus", "counted"),
)


class CsvExporter(CsvExportPlugin):
    """Of several notebooks of which one counts, the better one; max_score without bonus points.

    raw_score and score hold the bonus points, as nbgrader's do; bonus: how many of them. counted:
    which notebook of each group was taken.
    """

    def export(self, gradebook: Gradebook) -> None:
        """Write the table."""
        course = course_.load(Path.cwd())  # nbgrader works in the course's root
        weeks = {week.folder: week for week in course.weeks}
        dest = Path(self.to or "grades.csv")
        self.log.info("Exporting grades to %s", dest)
        with dest.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            for assignment in gradebook.assignments:
                week = weeks.get(assignment.name)
                if week is None or (self.assignment and week.folder not in self.assignment):
                    continue  # an assignment of another course has other rules
                people = [s for s in gradebook.students if not self.student or s.id in self.student]
                with Recorder(str(gradebook.engine.url), week.folder) as recorder:
                    standings = recorder.read([person.id for person in people])
                paths = course_.notebooks_of(course, [week], "source")
                sources = {path.stem: nb_.read(path) for path in paths}
                for person in people:
                    row = {
                        "assignment": week.folder,
                        "duedate": assignment.duedate,
                        "student_id": person.id,
                        "last_name": person.last_name,
                        "first_name": person.first_name,
                        "email": person.email,
                        "max_score": week.points,
                        **_got(week, sources, standings.get(person.id)),
                    }
                    table.writerow({k: "" if v is None else v for k, v in row.items()})


def _got(week: Week, sources: dict[str, Any], standing: Standing | None) -> dict[str, Any]:
    """What a student got: of a week that was not handed in, nothing."""
    if standing is None:
        nothing = dict.fromkeys(("raw_score", "late_submission_penalty", "score", "bonus"), 0.0)
        return {"timestamp": "", **nothing, "counted": ""}
    raw = totals_of(sources, standing, penalty=False)
    got = totals_of(sources, standing)
    count = counting(week, got)
    before, after = (sum(sum(t[n]) for n in count) for t in (raw, got))
    return {
        "timestamp": standing.received,
        "raw_score": before,
        "late_submission_penalty": before - after,
        "score": after,
        "bonus": sum(got[n][1] for n in count),
        "counted": " ".join(n.name for g in week.groups.values() for n in g if n.name in count),
    }
