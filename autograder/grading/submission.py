"""One submission's way: notebooks and jobs from its folder, then verdicts, marks, files, an entry.

Whatever goes wrong with one becomes its status and a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from autograder import files as files_
from autograder import notebook as nb_
from autograder.errors import CourseError
from autograder.exams import Private
from autograder.execution.backend import Failed
from autograder.execution.execute import Job, Result, job_key
from autograder.fingerprints import library_of
from autograder.gradebook import Marks, Recorder, Standing, Submission
from autograder.grading import arrival, intake
from autograder.grading import entry as entry_
from autograder.grading.cache import Cache
from autograder.grading.entry import Seen
from autograder.grading.folder import is_text
from autograder.grading.graft import Grafted, graft
from autograder.grading.job import (
    apply_result,
    changed_cells,
    job_of,
    left_out,
    suspicions,
)
from autograder.grading.score import Verdict, marks_of, write_outputs
from autograder.grading.week import Assignment
from autograder.pages import grades
from autograder.pages.maker import PageError, Pages, bare
from autograder.results import FLAGGED, GRADED, MISSING, REFUSED, TO_GRADE, SubmissionGrade


@dataclass
class Part:
    """A notebook of a submission on its way. reasons: why it is flagged or refused. files: what
    there is to tell of the files that were handed in beside it.

    sure: False where the trouble was not the submission's, and may be gone next time.
    """

    name: str
    status: str = GRADED
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    grafted: Grafted | None = None
    key: str = ""
    result: Result | None = None
    notebook: NotebookNode | None = None
    marks: Marks | None = None
    sure: bool = True

    def refuse(self, why: str, *, sure: bool = True) -> None:
        """Grade nothing of it, and say why."""
        self.status, self.reasons, self.sure = REFUSED, [why], sure
        self.grafted = self.result = self.notebook = self.marks = None
        self.key = ""

    def flag(self, why: str) -> None:
        """Have a person look at it."""
        self.reasons.append(why)
        self.status = FLAGGED if self.status == GRADED else self.status

    def take(self, result: Result | Failed) -> None:
        """Its job has ended."""
        if isinstance(result, Result):
            self.result = result
        else:
            self.refuse(f"{self.name}: it could not be run: {result.message}", sure=False)


@dataclass
class Way:
    """A submission on its way. fingerprint: of its folder. waiting: keys of the jobs that run."""

    student: str
    parts: dict[str, Part]
    fingerprint: str = ""
    received: datetime | None = None
    waiting: set[str] = field(default_factory=set)


# -- Before it runs ---------------------------------------------------------------------------


def begin(
    assignment: Assignment, student: str, seen: Seen | None = None
) -> tuple[Way, dict[str, Job]]:
    """A submission with its notebooks grafted, and the jobs to run for it, by key.

    seen: its folder as it was looked at, with all contents.
    """
    way = Way(student, {name: Part(name) for name in assignment.sources})
    if not is_text(student):
        why = "rename the student's folder: plain text without <>&\"'`\\, and not long"
        for part in way.parts.values():
            part.refuse(why)
        return way, {}
    try:
        seen = seen or entry_.look(assignment, student, contents=True)
        way.fingerprint = seen.fingerprint
        way.received = seen.arrival.received(trust=assignment.settings.trust_timestamps)
        collected = intake.collect(seen.listing, assignment.sources, assignment.handed_out)
    except Exception as error:  # one submission never stops the others
        for part in way.parts.values():
            part.refuse(_ours(error), sure=False)
        return way, {}
    jobs = {}
    for name, part in way.parts.items():
        if name in collected.refused:
            part.refuse(f"{name}: {collected.refused[name]}")
        elif name not in collected.notebooks:
            part.status = MISSING
            part.reasons = _lacks(assignment, name, collected)
        else:
            try:
                job = _graft(assignment, part, collected)
                part.key = job_key(job)
                jobs[part.key] = job
            except Exception as error:
                part.refuse(f"{name}: {_ours(error)}", sure=False)
    next(iter(way.parts.values())).notes[:0] = collected.notes
    return way, jobs


def _lacks(assignment: Assignment, name: str, collected: intake.Collected) -> list[str]:
    """What is told of a notebook that was not handed in."""
    listed = assignment.week.notebook(name)
    group = assignment.week.groups.get(listed.one_of, ())
    if any(one.name in collected.notebooks for one in group):
        return []  # they chose another one
    what = "is required, and was not handed in" if listed.required else "was not handed in"
    return [f"{name}.ipynb {what}"]


def _graft(assignment: Assignment, part: Part, collected: intake.Collected) -> Job:
    """Graft a notebook of a submission; the job that runs it."""
    read, source = collected.notebooks[part.name], assignment.sources[part.name]
    documents = collected.documents
    grafted = graft(source, read.notebook, whole=read.whole, documents=documents)
    flags = (*read.flags, *grafted.flags)
    notes = (*read.notes, *grafted.notes, *left_out(grafted.notebook))
    part.grafted = replace(grafted, flags=flags, notes=notes)
    part.notes = list(notes)
    own = {file.name for file in assignment.week.notebook(part.name).files}
    part.files = [n for n in collected.notes if any(name in n for name in own)]
    beside = {n: content for n, content in collected.files.items() if n in own}
    return job_of(
        grafted.notebook,
        source,
        {**assignment.files, **beside},
        assignment.settings.limits,
        assignment.exams[part.name],
        library_of(assignment.week),
    )


# -- When all of it has run -------------------------------------------------------------------


def finish(
    assignment: Assignment, way: Way, cache: Cache, recorder: Recorder, pages: Pages
) -> SubmissionGrade:
    """Score it, record it, write its files and, last, its entry. Raises CourseError, OSError."""
    files: dict[Path, bytes] = {}
    for part in way.parts.values():
        try:
            _score(part, assignment.sources[part.name], assignment.exams[part.name], pages)
            if part.notebook is not None and (lacks := _required(assignment, way)):
                part.notebook.metadata[nb_.KEY]["lacks"] = lacks
        except Exception as error:
            part.refuse(f"{part.name}: {_ours(error)}", sure=False)
        content = _autograded(part, assignment.sources[part.name])
        if content is not None:
            files[assignment.path("autograded", way.student, f"{part.name}.ipynb")] = content
    standing = None
    if is_text(way.student):
        before = cache.entry(assignment.week.folder, way.student)
        submission = Submission(way.student, way.received, _marks(way, before))
        try:
            standing = recorder.record(submission)
        except CourseError:
            raise
        except Exception as error:
            for part in way.parts.values():
                part.refuse(f"it could not be recorded: {_ours(error)}", sure=False)
    if standing is not None:
        _write(assignment, way, files, standing, pages)
    entry = _entry(assignment, way, standing)
    if standing is not None and all(part.sure for part in way.parts.values()):
        root = assignment.course.root
        entry["files"] = {str(p.relative_to(root)): len(c) for p, c in files.items()}
        cache.put_entry(assignment.week.folder, way.student, entry)
    return entry_.grade_of(way.student, assignment.week, entry, standing)


def _score(part: Part, source: NotebookNode, exams: Mapping[str, Private], pages: Pages) -> None:
    """Verdicts, marks and a notebook that is safe to look at."""
    if part.grafted is None or part.result is None:
        return
    part.notebook = part.grafted.notebook
    part.notes += changed_cells(part.notebook, source, part.result)
    handed = part.grafted.handed
    verdicts = apply_result(part.notebook, part.result, exams, "\n".join(part.files), handed)
    part.marks = marks_of(part.notebook, verdicts)
    for cell in part.notebook.cells:
        if nb_.is_graded(cell) and nb_.is_solution(cell):
            unanswered = nb_.grade_id(cell) in part.marks.unanswered
            status = "not attempted" if unanswered else TO_GRADE
            cell.metadata[nb_.KEY] = {**nb_.ours(cell), "status": status}
    flags = [verdict.flag for verdict in verdicts if verdict.flag]
    tests = {task: cell.id for task, cell in nb_.test_cells(part.notebook).items()}
    reasons = [*part.grafted.flags, *suspicions(part.result, tests), *flags]
    part.reasons = [f"{part.name}: {reason}" for reason in reasons]
    part.status = FLAGGED if reasons else GRADED
    part.notes = [f"{part.name}: {note}" for note in part.notes]
    if not part.result.sandboxed:
        part.notes.append(f"{part.name}: it ran without a sandbox (--unsafe)")
    # In the file itself, from which `nbgrader generate_feedback` makes the page again.
    part.notebook.metadata[nb_.KEY] = {
        "flags": reasons,
        "language": part.grafted.language,
        "notes": list(part.grafted.notes),
        "sandboxed": part.result.sandboxed,
    }
    try:
        part.notebook = pages.sanitised(part.notebook)
    except PageError as error:
        part.flag(_not_shown(part.name, error))
        part.notebook = pages.sanitised(bare(part.notebook))


def _not_shown(name: str, error: PageError) -> str:
    return f"{name}: what its cells show is left out ({error}); look at the file itself"


def _required(assignment: Assignment, way: Way) -> list[str]:
    """The notebooks that the week requires and that were not handed in."""
    listed = assignment.week.notebooks
    return [n.name for n in listed if n.required and way.parts[n.name].status == MISSING]


def _autograded(part: Part, source: NotebookNode) -> bytes | None:
    """The autograded notebook; for one that was refused, the instructor's, which says why."""
    if part.status == MISSING:
        return None
    try:
        if part.notebook is not None:
            return _json(part.notebook)
    except Exception as error:
        part.refuse(f"{part.name}: {_ours(error)}", sure=False)
    part.notebook = _refused(source, part.reasons[0])
    return _json(part.notebook)


def _marks(way: Way, before: Mapping[str, Any]) -> dict[str, Marks]:
    """The marks of each notebook, with the answers that are the same as last time."""
    notebooks = before["notebooks"] if before.get("format") == entry_.FORMAT else []
    known = {n["name"]: n.get("answers", {}) for n in notebooks}
    found = {}
    for part in way.parts.values():
        if part.marks and part.notebook:
            same = known.get(part.name, {}).items() & _answers(part.notebook).items()
            found[part.name] = replace(part.marks, same=frozenset(dict(same)))
    return found


def _write(
    assignment: Assignment, way: Way, files: dict[Path, bytes], standing: Standing, pages: Pages
) -> None:
    """All files of a submission: files, to which its pages are added."""
    for part in way.parts.values():
        path = assignment.path("feedback", way.student, f"{part.name}.html")
        if part.notebook is None:
            # Of an earlier version of the submission.
            path.unlink(missing_ok=True)
            notebook = assignment.path("autograded", way.student, f"{part.name}.ipynb")
            notebook.unlink(missing_ok=True)
            continue
        options = grades.of_week(assignment.week, assignment.sources, standing, part.name)
        try:
            try:
                files[path] = pages.feedback(part.notebook, **options)
            except PageError as error:
                part.flag(_not_shown(part.name, error))
                files[path] = pages.feedback(bare(part.notebook), **options)
        except Exception as error:
            part.flag(f"{part.name}: no feedback page could be made: {_ours(error)}")
            part.sure = False
    # nbgrader's exchange finds a student's feedback by these.
    for name in (arrival.TIMESTAMP, "submission_secret.txt"):
        content = arrival.small_file(assignment.path("submitted", way.student, name))
        if content is not None:
            files[assignment.path("autograded", way.student, name)] = content
            files[assignment.path("feedback", way.student, name)] = content
    for tree in ("autograded", "feedback"):
        files_.sweep(assignment.path(tree, way.student))
    for path, content in files.items():
        files_.write(path, content)


def feedback_again(
    assignment: Assignment,
    student: str,
    entry: dict[str, Any],
    name: str,
    standing: Standing,
    pages: Pages,
) -> None:
    """Renew the page of a notebook on which a person has put points or a comment since."""
    notebook = nb_.read(assignment.path("autograded", student, f"{name}.ipynb"))
    path = assignment.path("feedback", student, f"{name}.html")
    options = grades.of_week(assignment.week, assignment.sources, standing, name)
    try:
        content = pages.feedback(notebook, **options)
    except PageError:  # of which a person was told when it was graded
        content = pages.feedback(bare(notebook), **options)
    files_.write(path, content)
    entry["files"][str(path.relative_to(assignment.course.root))] = len(content)
    entry["shown"][name] = entry_.shown(standing, assignment.week, name)


# -- What is kept of it -----------------------------------------------------------------------


def _entry(assignment: Assignment, way: Way, standing: Standing | None) -> dict[str, Any]:
    return {
        "due": entry_.iso(standing.due if standing else None),
        "files": {},
        "format": entry_.FORMAT,
        "key": assignment.fingerprint,
        "marks": standing.auto_scores if standing else {},
        "notebooks": [_entry_of(assignment, part) for part in way.parts.values()],
        "received": entry_.iso(way.received),
        "shown": {
            part.name: entry_.shown(standing, assignment.week, part.name)
            for part in way.parts.values()
            if standing and part.notebook is not None
        },
        "submitted": way.fingerprint,
    }


def _entry_of(assignment: Assignment, part: Part) -> dict[str, Any]:
    status = {}
    if part.notebook is not None:
        status = {nb_.grade_id(c): nb_.ours(c).get("status", "") for c in part.notebook.cells}
    unsafe = assignment.settings.unsafe
    return {
        "answers": _answers(part.notebook) if part.notebook is not None else {},
        "language": part.grafted.language if part.grafted else "",
        "name": part.name,
        "notes": part.notes,
        "reasons": part.reasons,
        "sandboxed": part.result.sandboxed if part.result else not unsafe,
        "seconds": round(part.result.seconds, 3) if part.result else 0.0,
        "status": part.status,
        "tasks": [
            {
                "bonus": bool(nb_.ours(cell).get("bonus")),
                "cell": nb_.grade_id(cell),
                "points": float(cell.metadata.nbgrader["points"]),
                "status": status.get(nb_.grade_id(cell)) or part.status,
                "task": nb_.grade_id(cell).removeprefix(nb_.TEST_PREFIX),
            }
            for cell in assignment.sources[part.name].cells
            if nb_.is_graded(cell)
        ],
    }


def _answers(notebook: NotebookNode) -> dict[str, str]:
    """Fingerprints of the answers for a person to grade, by cell."""
    return {
        nb_.grade_id(cell): files_.digest(
            [repr((cell.source, cell.get("attachments"), nb_.ours(cell).get("elsewhere")))]
        )
        for cell in notebook.cells
        if nb_.is_graded(cell) and nb_.is_solution(cell)
    }


def _json(notebook: NotebookNode) -> bytes:
    """A notebook as a file, on one line: with line breaks Python takes ten times as long."""
    return json.dumps(notebook, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def _ours(error: Exception) -> str:
    """A sentence on an error that should not have been."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return f"the grader itself failed on it ({what}{where}); grade it by hand, and report this"


def _refused(source: NotebookNode, why: str) -> NotebookNode:
    """The notebook as it was handed out, each test with the reason for which nothing was graded."""
    notebook = graft(source, None).notebook
    for task, cell in nb_.test_cells(notebook).items():
        write_outputs(cell, Verdict(task, 0.0, REFUSED, f"{task}: not graded. {why}"))
    notebook.metadata[nb_.KEY] = {"refused": why}
    return notebook
