"""Code that fails for what a student's machine has and the grader lacks is not wrong.

Nobody can tell from here whether it is right: a person has to look at it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from autograder.execution.execute import CellOutcome, Trial
from autograder.grading.score import Verdict

# An error, as `Kind: text` -> what is not here.
_LACKS = {
    r"No module named '?(?P<name>[\w.]+)": "the package {name}",
    r"(?i:ModuleNotFoundError|\w+ is not installed|(please|pip) install)": "a package",
    r"ImportError: cannot import name|module '\w[\w.]*' has no attribute": (
        "another version of a package"
    ),
    r"(?i:Cannot load backend|\$DISPLAY|no display|TclError|could not connect to display)": (
        "a window"
    ),
    r"(?i:\bcuda\b|nvidia|cudnn|\bmps\b|\btpu\b|\bxla\b)": "a GPU",
    r"(?i:URLError|HTTPError|gaierror|Connection\w*Error|MaxRetryError|NewConnectionError"
    r"|name resolution|Name or service not known|network is unreachable"
    r"|urlopen|urlretrieve|requests\.get)": "the network",
    r"(?i:StdinNotImplementedError|input requests)": "somebody who answers input()",
    r"(?i:FileNotFoundError|NotADirectoryError|No such file or directory|Read-only file system)": (
        "a file that is not here"
    ),
}
_FILES = re.compile(r"FileNotFoundError|NotADirectoryError|No such file or directory")
_RAISED = re.compile(r"Your code raised: \w+: (\w+)")


def what_lacks(error: str) -> str:
    """What the machine lacks that an error speaks of, "" for any other error."""
    for pattern, what in _LACKS.items():
        if found := re.search(pattern, error[:2000]):
            return what.format(**found.groupdict())
    return ""


def unless_lacking(
    verdict: Verdict, outcome: CellOutcome, trial: Trial | None, before: Iterable[CellOutcome]
) -> Verdict:
    """A verdict, or "unconfirmed" where the task failed for want of something.

    outcome: how the visible part of the test ended, or the exam (then there is no trial). before:
    how the cells that are no tests ended before it.
    """
    raised = _RAISED.match(trial.message) if trial else None
    errors = [_error(outcome), f"{raised[1]}: {trial.message[raised.end() :]}" if raised else ""]
    found = next(filter(None, map(what_lacks, errors)), "")
    if not trial and _FILES.search(errors[0]):
        return verdict  # in an exam there are only the files that were handed in
    if not found and any(error.startswith("NameError") for error in errors):
        # What defines it may have failed for that reason.
        found = next(filter(None, (what_lacks(_error(one)) for one in before)), "")
    if not found:
        return verdict
    message = f"{verdict.task}: a person has to look at this task; it needs {found}."
    flag = f"{verdict.task} needs {found}, which is not here; it got no points until you look at it"
    return replace(verdict, score=0.0, status="unconfirmed", message=message, flag=flag)


def _error(outcome: CellOutcome) -> str:
    """How a cell failed, as `Kind: text`; what checks say is no such error."""
    if outcome.status != "error" or outcome.ename == "CheckFailed":
        return ""
    return f"{outcome.ename}: {outcome.evalue}"
