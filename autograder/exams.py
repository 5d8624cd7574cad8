"""A week's exams: private inputs, which only the grader shows to a submission, and their answers,
which never enter a sandbox.

A week with exams has a `private.py`, which is built into source/ and released to nobody:

- `make(profile, rng)` gives by task (inputs, answers), two tables of arrays by name;
- `mark_TASK(handed, answers, profile, sources)` compares what a submission handed in with them. It
  returns the share of the points, a sentence for the student, and one for a person who should look
  at the submission, "" for none. sources: the student's code.

What `make` gives lies in private/WEEK/PROFILE/ of the course's folder, which git ignores.
"""

from __future__ import annotations

import base64
import binascii
import importlib.util
import io
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder import files
from autograder import notebook as nb_
from autograder.course import Course, Week, notebooks_of
from autograder.errors import CourseError, Problem, stop

if TYPE_CHECKING:  # a regrade of what did not change needs no arrays
    import numpy as np

FILE = "private.py"
FOLDER = "private"  # in the course, and in the folder in which an exam runs


class HandedError(Exception):
    """What was handed in is no array; the message says why."""


@dataclass(frozen=True)
class Judgement:
    """What an exam's answers are worth. share: of the points. flag: for a person, "" for none."""

    share: float
    message: str
    flag: str = ""


@dataclass(frozen=True)
class Private:
    """One exam's private inputs, the file that `check.private` reads, and their answers."""

    task: str
    profile: str
    inputs: bytes
    answers: Mapping[str, np.ndarray]
    judge: Callable[..., tuple[float, str, str]]

    def mark(self, handed: Mapping[str, Any], code: str) -> Judgement:
        """Compare what `check.hand_in` published. Raises HandedError, and what `judge` raises."""
        array = array_of(handed)
        share, message, flag = self.judge(array, self.answers, self.profile, code)
        share = 0.0 if math.isnan(share) else min(1.0, max(0.0, float(share)))
        return Judgement(share, message, flag)


def array_of(handed: Mapping[str, Any]) -> np.ndarray:
    """The array that `check.hand_in` published, which may be anything. Raises HandedError."""
    import numpy as np

    try:
        code, shape, dtype = handed["data"], handed["shape"], handed["dtype"]
        if not isinstance(dtype, str) or not re.fullmatch(r"[<>|=]?[biuf][1248]", dtype):
            raise HandedError("they are no numbers")
        sizes = [s for s in shape if isinstance(s, int) and not isinstance(s, bool) and s >= 0]
        if len(sizes) != len(shape):
            raise HandedError("they have no shape")
        flat = np.frombuffer(base64.b64decode(code, validate=True), np.dtype(dtype))
        return flat.reshape(sizes)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise HandedError("they are damaged") from error


def place(course: Course, week: Week, profile: str) -> Path:
    """Where the private inputs of a week's exams lie."""
    return course.root / FOLDER / week.folder / profile


def module(folder: Path, where: str) -> Any:
    """The private.py of a folder of a week, imported. where: for messages. Raises CourseError."""
    path = folder / FILE
    if not path.is_file():
        raise stop(where, "", "exam", "an exam needs it: it makes and marks the private inputs")
    try:
        return imported(path)
    except Exception as error:  # it is a program: whatever its mistake raises
        raise stop(where, "", "exam", f"{type(error).__name__}: {error}") from error


def imported(path: Path) -> Any:
    """A program in the folder of a week, such as private.py, as a module."""
    spec = importlib.util.spec_from_file_location(f"{path.stem}_of_{path.parent.name}", path)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def judge_of(found: Any, task: str, where: str) -> Callable[..., tuple[float, str, str]]:
    """The function of a private.py that marks a task. Raises CourseError."""
    judge = getattr(found, f"mark_{task}", None)
    if not callable(judge):
        raise stop(where, task, "exam", f"there is no function mark_{task}")
    return judge


def make(found: Any, tasks: Iterable[str], profile: str, seed: int | None, where: str) -> Any:
    """What a private.py's `make` gives for these tasks: task -> (inputs, answers).

    seed: None draws one that nobody can know. Raises CourseError.
    """
    import numpy as np

    if not callable(getattr(found, "make", None)):
        raise stop(where, "", "exam", "there is no function make(profile, rng)")
    try:
        made = found.make(profile, np.random.default_rng(seed))
    except Exception as error:
        raise stop(where, "", "exam", f"{type(error).__name__}: {error}") from error
    missing = [task for task in tasks if task not in made]
    if missing:
        raise CourseError(
            [Problem(where, task, "exam", "make gives nothing for it") for task in missing]
        )
    return made


def write(
    course: Course, week: Week, tasks: Iterable[str], profile: str, seed: int | None = None
) -> list[Path]:
    """Make the private inputs of a week's exams anew, on disk; the files. Raises CourseError."""
    where = f"source/{week.folder}/{FILE}"
    tasks = list(tasks)
    made = make(module(course.root / "source" / week.folder, where), tasks, profile, seed, where)
    written = []
    for task in tasks:
        for kind, arrays in zip(("inputs", "answers"), made[task], strict=True):
            path = place(course, week, profile) / f"{task}.{kind}.npz"
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write(path, npz(arrays))
            written.append(path)
    return written


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as NumPy's own file format."""
    import numpy as np

    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def load(course: Course, week: Week, tasks: Iterable[str], profile: str) -> dict[str, Private]:
    """The private inputs of these exams, by task. Raises CourseError where they are not made."""
    tasks = list(tasks)
    if not tasks:
        return {}
    import numpy as np

    where = f"source/{week.folder}/{FILE}"
    found = module(course.root / "source" / week.folder, where)
    loaded = {}
    for task in tasks:
        folder = place(course, week, profile)
        try:
            inputs = (folder / f"{task}.inputs.npz").read_bytes()
            with np.load(folder / f"{task}.answers.npz", allow_pickle=False) as arrays:
                answers = dict(arrays)
        except (OSError, ValueError, EOFError) as error:
            option = "" if profile == "small" else f" --profile {profile}"
            raise stop(
                str(folder.relative_to(course.root)),
                task,
                "exam",
                f"the private inputs of this exam can't be read ({error}): "
                f"run `autograder private {week.folder}{option}`",
            ) from None
        loaded[task] = Private(task, profile, inputs, answers, judge_of(found, task, where))
    return loaded


def ready(course: Course, week: Week, tasks: Iterable[str], profile: str) -> bool:
    """Whether the private inputs of these exams lie on disk."""
    folder = place(course, week, profile)
    kinds = ("inputs", "answers")
    return all((folder / f"{t}.{kind}.npz").is_file() for t in tasks for kind in kinds)


def environment(course: Course, week: Week, profile: str) -> dict[str, str]:
    """The variable that shows our own run of a source notebook the private inputs."""
    return {"PRACTICAL_DL_PRIVATE": os.fspath(place(course, week, profile).absolute())}


def variables(course: Course, weeks: Iterable[Week], profile: str) -> dict[Path, dict[str, str]]:
    """That variable for each source notebook with an exam; what lacks is made."""
    found = {}
    for week in weeks:
        for path in notebooks_of(course, [week], "source"):
            tasks = list(nb_.exams(nb_.read(path)))
            if tasks and not ready(course, week, tasks, profile):
                write(course, week, tasks, profile)
            if tasks:
                found[path] = environment(course, week, profile)
    return found
