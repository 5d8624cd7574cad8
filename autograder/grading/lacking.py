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
    r"cannot import name|module '\w[\w.]*' has no attribute|was removed in|style library": (
        "another version of a package"
    ),
    r"SyntaxError: (f-string|expected '\(')": "a newer Python",
    r"(?i:Cannot load backend|\$DISPLAY|no display|TclError)": "a window",
    r"(?i:(ModuleNotFound|Import)Error|\w+ is not installed|pip install)": "a package",
    r"(?i:\bcuda\b|nvidia|cudnn|\bmps\b|\btpu\b|\bxla\b)": "a GPU",
    r"(?i:URLError|HTTPError|gaierror|Connection\w*Error|MaxRetryError|name resolution"
    r"|Name or service not known|network is unreachable|error downloading|failed to download"
    r"|urlopen|urlretrieve|requests\.get)": "the network",
    r"(?i:StdinNotImplementedError|input requests)": "somebody who answers input()",
    r"(?i:FileNotFoundError|NotADirectoryError|PermissionError|No such file or directory"
    r"|Read-only file system)": "a file or folder",
    r"(?i:No space left on device|File too large)": "more disk",
    r"(?i:MemoryError|can't allocate memory)": "more memory",
    r"(?i:InvalidCxxCompiler|BackendCompilerFailed|C\+\+ compiler)": "a compiler",
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
    verdict: Verdict,
    outcome: CellOutcome,
    trial: Trial | None,
    before: Iterable[CellOutcome],
    trained: Iterable[str] = (),
) -> Verdict:
    """A verdict, or "unconfirmed" where the task failed for want of something.

    outcome: how the visible part of the test ended, or the exam (then there is no trial). before:
    how the cells that are no tests ended before it. trained: the code that was not run again.
    """
    raised = _RAISED.match(trial.message) if trial else None
    errors = [_error(outcome), f"{raised[1]}: {trial.message[raised.end() :]}" if raised else ""]
    found = next(filter(None, map(what_lacks, errors)), "")
    if not trial and _FILES.search(errors[0]):
        return verdict  # in an exam there are only the files that were handed in
    if not found and any(error.startswith("NameError") for error in errors):
        # What defines it may have failed for that reason.
        found = next(filter(None, (what_lacks(_error(one)) for one in before)), "")
        name = re.match(r"NameError: name '(\w+)'", errors[0])
        if not found and name and any(_assigns(code, name[1]) for code in trained):
            found = f"{name[1]}, which a cell makes that trains and is not run again"
    if not found:
        return verdict
    message = f"{verdict.task}: a person has to look at this task; it needs {found}."
    flag = f"{verdict.task} needs {found}, which is not here; it got no points until you look at it"
    return replace(verdict, score=0.0, status="unconfirmed", message=message, flag=flag)


def _assigns(code: str, name: str) -> bool:
    return bool(re.search(rf"^[ \t]*(?:[\w, ]*,[ ]*)?{name}\b[\w, ]*=", code, re.MULTILINE))


def _error(outcome: CellOutcome) -> str:
    """How a cell failed, as `Kind: text`; what checks say is no such error."""
    if outcome.status != "error" or outcome.ename == "CheckFailed":
        return ""
    return f"{outcome.ename}: {outcome.evalue}"
