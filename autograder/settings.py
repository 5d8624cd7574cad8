"""How a course is graded: what its nbgrader_config.py sets, for `autograder` and nbgrader alike.

Light on purpose: importing nbgrader takes seconds, and a regrade of an unchanged class does not
need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from traitlets import Bool, Enum, Float, Integer, Unicode
from traitlets.config import Config, Configurable
from traitlets.config.loader import PyFileConfigLoader

from autograder.course import Course
from autograder.errors import stop
from autograder.execution.sandbox import Limits

FILE = "nbgrader_config.py"


class Grader(Configurable):
    """The settings `c.Grader.*`."""

    unsafe = Bool(False, help="Run without a sandbox. The results say so.").tag(config=True)
    cache = Unicode(".grading", help="Where results are kept, in the course.").tag(config=True)
    cell_seconds = Float(Limits.cell_seconds, help="Time limit of a cell.").tag(config=True)
    notebook_seconds = Float(Limits.notebook_seconds, help="Time limit of a notebook.").tag(
        config=True
    )
    exam_seconds = Float(Limits.exam_seconds, help="Time limit of an exam.").tag(config=True)
    exam_profile = Enum(
        ("small", "full"), "small", help="The profile in which students train what exams test."
    ).tag(config=True)
    memory_mib = Integer(Limits.memory_mib, help="Memory limit of a notebook.").tag(config=True)
    trust_timestamps = Bool(
        False,
        help="Take the time in timestamp.txt as it is, though a student can write any; else the "
        "latest of it and the times of the files.",
    ).tag(config=True)


@dataclass(frozen=True)
class Settings:
    """What grading needs to know. config: all of it, for nbgrader's own classes."""

    db_url: str
    cache: Path
    limits: Limits
    exam_profile: str
    unsafe: bool
    trust_timestamps: bool
    config: Config


def load_config(course: Course) -> Config:
    """nbgrader's settings of the course, from its nbgrader_config.py."""
    if not (course.root / FILE).is_file():
        message = f"not found in {course.root}; nbgrader needs it to grade through our grader"
        raise stop(FILE, "", "config", message)
    try:
        config = PyFileConfigLoader(FILE, path=str(course.root)).load_config()
    except Exception as error:  # it is a program: whatever its mistake raises
        raise stop(FILE, "", "config", f"{type(error).__name__}: {error}") from error
    config.CourseDirectory.root = str(course.root)
    return config


def load(course: Course, *, unsafe: bool = False) -> Settings:
    """The settings of a course; unsafe: run without a sandbox, whatever they say."""
    return from_config(course, load_config(course), unsafe=unsafe)


def from_config(
    course: Course, config: Config, *, db_url: str = "", unsafe: bool = False
) -> Settings:
    """The settings in a configuration; db_url: where the gradebook is, if that is known better."""
    grader = Grader(config=config)
    return Settings(
        db_url=db_url or config.CourseDirectory.get("db_url") or default_db_url(course),
        cache=course.root / grader.cache,
        limits=Limits(
            cell_seconds=grader.cell_seconds,
            notebook_seconds=grader.notebook_seconds,
            exam_seconds=grader.exam_seconds,
            memory_mib=grader.memory_mib,
        ),
        exam_profile=grader.exam_profile,
        unsafe=grader.unsafe or unsafe,
        trust_timestamps=grader.trust_timestamps,
        config=config,
    )


def default_db_url(course: Course) -> str:
    """nbgrader's default: a file in the course's folder."""
    return f"sqlite:///{course.root / 'gradebook.db'}"


def db_url(course: Course) -> str:
    """Where the gradebook is. A course without nbgrader_config.py has nbgrader's default."""
    if not (course.root / FILE).is_file():
        return default_db_url(course)
    return load(course).db_url
