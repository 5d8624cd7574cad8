"""A week as the grader has it: the instructor's notebooks, files and exams, and where all lies."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autograder import exams as exams_
from autograder import files as files_
from autograder import fingerprints
from autograder import notebook as nb_
from autograder.course import Course, Week
from autograder.execution import sandbox
from autograder.fingerprints import library_of
from autograder.settings import Settings

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True)
class Assignment:
    """What all submissions of a week are graded with. What is read of it is read once."""

    course: Course
    week: Week
    settings: Settings

    @property
    def folder(self) -> Path:
        """Where the instructor's notebooks lie."""
        return self.course.root / "source" / self.week.folder

    def path(self, tree: str, student: str, name: str = "") -> Path:
        """A student's folder of this week in a tree, such as submitted/, or a file in it."""
        return self.course.root / tree / student / self.week.folder / name

    @functools.cached_property
    def fingerprint(self) -> str:
        """Fingerprint of all that an outcome depends on, besides the submission."""
        settings, folder = self.settings, self.folder
        ours = [*fingerprints.grader(), *fingerprints.library(library_of(self.week))]
        private = exams_.place(self.course, self.week, settings.exam_profile)
        return files_.digest(
            [
                sandbox.versions(),
                fingerprints.of(ours),
                fingerprints.of(fingerprints.sources(folder.name, root=folder.parent), folder),
                fingerprints.of(sorted(private.glob("*.npz")), private),
                repr(settings.limits),
                settings.exam_profile,
                repr((settings.unsafe, settings.trust_timestamps)),
                repr([(n.name, n.files, n.required, n.one_of) for n in self.week.notebooks]),
            ]
        )

    @functools.cached_property
    def sources(self) -> dict[str, NotebookNode]:
        """The source notebooks by name."""
        return {n.name: nb_.read(self.folder / f"{n.name}.ipynb") for n in self.week.notebooks}

    @functools.cached_property
    def files(self) -> dict[str, bytes]:
        """The files beside a week's notebooks that their code may open."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
            and path.suffix not in (".ipynb", ".md")
            and path != self.folder / exams_.FILE
            and "__pycache__" not in path.parts
        }

    @functools.cached_property
    def handed_out(self) -> list[str]:
        """The names of all files that students got beside the notebooks."""
        return [*(p.name for p in self.folder.glob("*.md")), *self.files]

    @functools.cached_property
    def exams(self) -> dict[str, dict[str, exams_.Private]]:
        """The private inputs of each exam, by notebook and task. Raises CourseError."""
        tasks = {name: list(nb_.exams(source)) for name, source in self.sources.items()}
        every = [task for found in tasks.values() for task in found]
        loaded = exams_.load(self.course, self.week, every, self.settings.exam_profile)
        return {name: {t: loaded[t] for t in found} for name, found in tasks.items()}
