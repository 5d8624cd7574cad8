"""One notebook from top to bottom: values in, values out, JSON only."""

from __future__ import annotations

import ast
import base64
import builtins
import copy
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from autograder import files as files_
from autograder import fingerprints
from autograder.execution import sandbox
from autograder.execution.kernel import START_SECONDS, Kernel, Reply
from autograder.execution.outputs import Outputs, Room, clean, error_output
from autograder.execution.parent import preload
from autograder.execution.sandbox import Limits, SandboxError
from autograder.fingerprints import CORE, Library
from autograder.notebook import HANDED_MIME, is_stub, visible_lines, without_hidden

TESTS = 0.25  # of the notebook's time, for its tests
SOON = 1.0  # seconds: what has begun by then is cheaper to run again than to keep in a fork
ENDED = ("passed", "wrong", "raised", "unusable", "not attempted", "late", "tampered")
Status = Literal["ok", "error", "timeout", "died", "skipped"]
# Where tests are tried: in a fork of the notebook's end, and what does not pass there in one of the
# place where it begins; in forks of their places; or there in the notebook's own process.
Where = Literal["end", "place", "here"]


@dataclass(frozen=True)
class Control:
    """How a task's whole test is run, in a fork of the kernel (see `referee.py`).

    test: the id of the task's test cell. source: a planted mistake for the solution's place, "" for
    none. preamble: the imports and helper functions of the instructor's that the test uses, and
    bound: the names that they bind.
    """

    task: str
    test: str
    source: str = ""
    preamble: str = ""
    bound: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exam:
    """A test that runs in a kernel of its own, of which the rest of the notebook knows nothing.

    test: the id of the task's test cell. code: what runs before it there. files: what lies there
    beside the job's own files. profile: the value of the notebook's parameter. There is no data to
    load.
    """

    task: str
    test: str
    code: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    profile: str = "small"


@dataclass(frozen=True)
class Trial:
    """How a task's test ended, hidden part and all.

    status: "passed"; "wrong", "raised" (by the student's code) or "unusable" (the test could not
    use what that gave); "not attempted"; "late" or "died"; "tampered"; "error" where it could not
    be made. score: the share of the points that it gave. message: for the student. why: for a
    person. visible: whether it ended in the part of the test that students see.
    """

    status: str
    why: str = ""
    score: float = 0.0
    message: str = ""
    visible: bool = False


@dataclass(frozen=True)
class Job:
    """A notebook to run and all that its result depends on.

    notebook: nbformat 4 JSON. files: helper files by relative name. salt: what the generators of
    `check.rng` are drawn from in each test, "" leaves them alone. library: what it may use of
    `practical_dl`. shields: the instructor's cells by their text, with the names that they need and
    bind: these mean to them what they mean to the instructor, whatever other cells call so.
    """

    notebook: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    controls: tuple[Control, ...] = ()
    salt: str = ""
    exams: tuple[Exam, ...] = ()
    library: Library = CORE
    shields: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Plain JSON; the bytes of files in base64."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["files"] = _encoded(self.files)
        values["limits"] = asdict(self.limits)
        values["controls"] = [asdict(c) for c in self.controls]
        values["exams"] = [{**vars(e), "files": _encoded(e.files)} for e in self.exams]
        values["library"] = asdict(self.library)
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The value that `to_json` wrote. Raises ValueError for anything else."""
        try:
            values = json.loads(text)
            values["files"] = _decoded(values["files"])
            values["limits"] = Limits(**values["limits"])
            values["controls"] = tuple(
                Control(**{**c, "bound": tuple(c["bound"])}) for c in values["controls"]
            )
            values["exams"] = tuple(
                Exam(**{**e, "code": tuple(e["code"]), "files": _decoded(e["files"])})
                for e in values["exams"]
            )
            which = values["library"]
            data, models = tuple(which["data"]), tuple(which["models"])
            values["library"] = Library(which["number"], data, models)
            return cls(**values)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a job: {error}") from error


def _encoded(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


def _decoded(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: base64.b64decode(content) for name, content in files.items()}


@dataclass(frozen=True)
class CellOutcome:
    """How a code cell ended, as its kernel replied. stderr has no say.

    "timeout": it ran too long (the kernel lives on if it could be interrupted). "died": the kernel
    ended in it. "skipped": it did not run, because the notebook's time was used up.
    """

    cell_id: str
    status: Status
    seconds: float
    ename: str = ""
    evalue: str = ""


@dataclass(frozen=True)
class Result:
    """What came of a job.

    notebook: the job's, with outputs: of a test cell those of its visible part. cells: the code
    cells in order. trials: by task, of those whose test was reached. controls: of those that
    passed, "killed" (the test noticed the mistake), "survived" or "error: why it could not be
    tried". kernel: how it was started and what limited it, for a person. message: what a teacher
    should know, "" if all went well. handed: by task what the test of an exam has handed in, as
    `check.hand_in` publishes it.
    """

    notebook: dict[str, Any]
    cells: tuple[CellOutcome, ...]
    controls: Mapping[str, str]
    trials: Mapping[str, Trial]
    seconds: float
    peak_memory_mib: float
    sandboxed: bool
    kernel: str
    message: str
    handed: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Plain JSON."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """The value that `to_json` wrote. Raises ValueError for anything else."""
        try:
            values = json.loads(text)
            cells = tuple(CellOutcome(**c) for c in values.pop("cells"))
            trials = {task: Trial(**t) for task, t in values.pop("trials").items()}
            return cls(cells=cells, trials=trials, **values)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a result: {error}") from error


def job_key(job: Job) -> str:
    """Fingerprint of everything that determines the result; it names the result."""
    notebook = copy.deepcopy(dict(job.notebook))
    for cell in notebook.get("cells", []):
        cell.pop("outputs", None)
        cell.pop("execution_count", None)
    return files_.digest([environment(job.library), replace(job, notebook=notebook).to_json()])


def environment(library: Library) -> str:
    """All that a result depends on besides the job, in words: versions and sources."""
    sources = [*fingerprints.runner(), *fingerprints.library(library)]
    own = fingerprints.of(sources)[:16]
    return f"{sandbox.versions()}, autograder and practical_dl {own}"


def execute(job: Job, *, sandbox: bool = True) -> Result:
    """Run a notebook; go on after errors and deaths. Then run its tests.

    All of it ends with the notebook's time and a quarter more.
    sandbox: False runs the code as the caller, with limits but without walls.
    Raises SandboxError where no kernel can be had: that is no fault of the notebook.
    """
    if sandbox:
        _require_sandbox()
    start = time.monotonic()
    end = start + (1 + TESTS) * job.limits.notebook_seconds
    with _Run(job, end, sandboxed=sandbox) as run:
        run.cells()
        notebook = run.notebook()  # nothing is shown any more
        run.tests()
    for where in ("place", "here"):
        if left := run.left(where):
            with _Run(job, end, sandboxed=sandbox, where=where, wanted=left) as again:
                again.cells()
                again.tests()
            run.add(again)
    peak = run.peak_bytes
    outcomes = {outcome.cell_id: outcome for outcome in run.outcomes}
    handed = {}
    for exam in job.exams:
        sitting = _sit(job, exam, sandboxed=sandbox)
        outcomes[exam.test] = sitting.outcome
        _cell_of(notebook, exam.test)["outputs"] = sitting.outputs
        handed |= sitting.handed
        run.messages += sitting.messages
        peak = max(peak, sitting.peak_bytes)
    return Result(
        notebook=notebook,
        cells=tuple(outcomes.values()),
        controls=run.controls,
        trials=run.trials,
        seconds=time.monotonic() - start,
        peak_memory_mib=round(peak / 2**20, 1),
        sandboxed=sandbox,
        kernel=run.kernel.start,
        message=" ".join(run.messages),
        handed=handed,
    )


def _require_sandbox() -> None:
    found = sandbox.probe()
    if not found.available:
        raise SandboxError(f"no sandbox on this machine: {found.reason}. {found.remedy}")


class _Run:
    """One job: in one kernel, and after that one's death in the next.

    end: when all of it has to be over. wanted: the tests that count; a run at their places ends
    with the last of them.
    """

    def __init__(
        self,
        job: Job,
        end: float,
        *,
        sandboxed: bool,
        where: Where = "end",
        wanted: Sequence[Control] | None = None,
    ) -> None:
        self.job, self.where = job, where
        self.outcomes: list[CellOutcome] = []
        self.controls: dict[str, str] = {}
        self.trials: dict[str, Trial] = {}
        self.messages: list[str] = []
        self.peak_bytes = 0
        self._sandboxed = sandboxed
        self._notebook = copy.deepcopy(dict(job.notebook))
        self._outputs: dict[int, Outputs] = {}
        self._room = Room(job.limits.shown_bytes)
        self._replies: dict[int, Reply] = {}
        self._counts: dict[int, int] = {}  # IPython's numbers of cells in this kernel
        self._begun: set[str] = set()  # tasks whose test has begun, and waits to be tried
        self._forks: dict[str, bool] = {}  # of the places of tasks: whether a thread was lost
        self._ran: list[int] = []  # what a new kernel has to run again
        self._tests = {control.test for control in job.controls}
        self._tasks = {control.task for control in job.controls}
        self._wanted = {c.test: c for c in (job.controls if wanted is None else wanted)}
        self._exams = {exam.test for exam in job.exams}
        self._end = end
        self._deadline = min(time.monotonic() + job.limits.notebook_seconds, end)

    def __enter__(self) -> _Run:
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def _start(self) -> None:
        code = [_source(c) for c in self._notebook["cells"] if c["cell_type"] == "code"]
        self.kernel = Kernel(
            self.job.limits, self.job.files, sandboxed=self._sandboxed, preload=preload(code)
        )
        self.kernel.__enter__()
        self._counts.clear()
        self._begun.clear()
        self._forks.clear()
        if self.job.shields:
            self._ask({"what": "plan", "cells": self.job.shields})

    def _stop(self) -> None:
        self.kernel.__exit__()
        self.peak_bytes = max(self.peak_bytes, self.kernel.peak_bytes)

    def cells(self) -> None:
        """Run the code cells in order. A dead kernel is replaced before the next one."""
        coming = set(self._wanted)
        for index, cell in enumerate(self._notebook["cells"]):
            if self.where != "end" and not coming:
                return
            if cell["cell_type"] != "code":
                continue
            name = _cell_id(cell, index)
            if name in self._exams:  # it runs elsewhere; its place is kept
                self.outcomes.append(CellOutcome(name, "skipped", 0.0))
                continue
            if self._left() > 0 and not self.kernel.alive:
                self._revive()
            if self._left() <= 0:
                self._say_late(name)
                self.outcomes.append(CellOutcome(name, "skipped", 0.0))
                continue
            coming.discard(name)
            outcome = self._cell(index, name, cell)
            self.outcomes.append(outcome)
            if outcome.status in ("ok", "error"):
                self._ran.append(index)

    def _cell(self, index: int, name: str, cell: Mapping[str, Any]) -> CellOutcome:
        if not _source(cell).strip():
            return CellOutcome(name, "ok", 0.0)
        control = self._wanted.get(name)
        if control:
            self._begin(control)
        outputs = Outputs(self.job.limits.output_bytes, self.kernel.displays, self._room)
        self._outputs[index] = outputs
        reply = self._run(index, self._seconds(), outputs)
        self._replies[index] = reply
        if reply.status in ("died", "timeout"):
            self._say(name, reply)
        early = _told_early(reply)
        if control and early and self.where != "here":
            self._begun.discard(control.task)
            if self._forks.pop(control.task, None) is not None:
                self._ask({"what": "drop", "task": control.task})
            needed = reply.evalue if reply.evalue in self._tasks else ""
            self.trials[control.task] = Trial(early, message=needed)
        ename, evalue = clean(reply.ename, 200), clean(reply.evalue, 2000)
        return CellOutcome(name, reply.status, round(reply.seconds, 4), ename, evalue)

    def _run(self, index: int, seconds: float, outputs: Outputs | None = None) -> Reply:
        """Run a cell; of a test its visible part, as it runs at a student's."""
        cell = self._notebook["cells"][index]
        source = _source(cell)
        if _cell_id(cell, index) in self._tests:
            source = without_hidden(source)
        reply = self.kernel.run(source, seconds, outputs)
        if reply.execution_count is not None:
            self._counts[reply.execution_count] = index
        return reply

    def _ask(self, order: Mapping[str, Any], seconds: float = 0.0) -> dict[str, Any]:
        return self.kernel.ask(order, seconds + START_SECONDS)

    def _begin(self, control: Control) -> None:
        """Note or keep the state in which a test begins, or run it."""
        task = control.task
        if self.where == "here":
            self._take(control, self._try(control, "here"))
            return
        if self.where == "end":
            names = _names(without_hidden(self._test(control)))
            answer = self._ask({"what": "begin", "task": task, "names": names})
            if "error" in answer:
                self.trials[task] = Trial("error", clean(str(answer["error"]), 300))
                return
            self._begun.add(task)
            if self._spent() < SOON:
                return
        answer = self._ask({"what": "fork", "task": task})
        if "error" in answer:
            self.trials[task] = Trial("error", clean(str(answer["error"]), 300))
        else:
            self._forks[task] = _is_lost(answer)

    def tests(self) -> None:
        """Run the whole tests that have begun, each in a fork."""
        if self.where == "here":
            return
        if not self.kernel.alive and self._left() > 0:
            self._revive()
        settled = self._at_end() if self.where == "end" else set()
        for control in self._wanted.values():
            if control.task in self._forks and control.task not in settled:
                self._take(control, self._try(control, "try"))

    def _at_end(self) -> set[str]:
        """The tasks of which nothing more is to be learned in forks, after one of the end.

        Those that pass there, as they did in the notebook, and those that wait for a lost thread.
        """
        ended = {outcome.cell_id: outcome.status for outcome in self.outcomes}
        begun = [c for c in self._wanted.values() if c.task in self._begun]
        hopeful = [control for control in begun if ended.get(control.test) == "ok"]
        if not hopeful:
            return set()
        fork = self._ask({"what": "fork", "task": ""})
        if "error" in fork:
            return set()
        settled = set()
        for control in hopeful:
            answer = self._try(control, "try", at="")
            how = answer.get("ended")
            if how == "changed":
                continue
            self._take(control, answer)
            waits = how == "late" and _is_lost(fork)
            if waits:
                self._forks[control.task] = True
            if waits or how == "passed":
                settled.add(control.task)
            if how in (None, "late", "tampered"):
                break  # that fork is no good any more
        return settled

    def left(self, where: Where) -> tuple[Control, ...]:
        """The tests that have to be tried elsewhere, as long as there is time for it.

        "place": what has begun, did not pass at the end and was not kept. "here": what could not be
        run in a fork: that lacks the threads of what it was made of.
        """

        def fails(control: Control) -> bool:
            task = control.task
            status = self.trials.get(task, Trial("")).status
            if where == "place":
                return task in self._begun and task not in self._forks and status != "passed"
            return status == "error" or (status == "late" and self._forks.get(task, False))

        late = time.monotonic() >= self._end
        return () if late else tuple(c for c in self.job.controls if fails(c))

    def add(self, again: _Run) -> None:
        """Take over what another run has found."""
        self.trials.update(again.trials)
        self.controls.update(again.controls)
        self._forks.update(again._forks)
        self.peak_bytes = max(self.peak_bytes, again.peak_bytes)

    def _try(self, control: Control, what: str, **at: str) -> dict[str, Any]:
        left = self._end - time.monotonic()
        seconds = max(0.1, min(self.job.limits.cell_seconds, left))
        order = {
            "what": what,
            "task": control.task,
            "test": self._test(control),
            "mutant": control.source,
            "preamble": control.preamble,
            "bound": list(control.bound),
            "salt": self.job.salt,
            "seconds": seconds,
            **at,
        }
        return self._ask(order, 2 * seconds)

    def _take(self, control: Control, answer: Mapping[str, Any]) -> None:
        """What the referee says of a task; it speaks from the student's process."""
        ended, task = answer.get("ended"), control.task
        if ended not in ENDED:
            self.trials[task] = Trial("error", clean(str(answer.get("error", "no answer")), 300))
            return
        score = answer.get("score", 1.0)
        share = min(1.0, max(0.0, score)) if isinstance(score, int | float) else 0.0
        message = clean(str(answer.get("message", "")), 600)
        if ended in ("raised", "unusable"):
            message = self._place(control, answer)
        elif ended == "not attempted" and message not in self._tasks:
            message = ""
        why = clean(str(answer.get("why", "")), 300)
        visible = _whole(answer.get("line")) in visible_lines(self._test(control))
        self.trials[task] = Trial(ended, why, share * (ended == "passed"), message, visible)
        if ended == "passed" and control.source:
            self.controls[task] = clean(str(answer.get("control") or "error: no answer"), 300)

    def _test(self, control: Control) -> str:
        return _source(_cell_of(self._notebook, control.test))

    def _place(self, control: Control, answer: Mapping[str, Any]) -> str:
        """Where a test met an error: a kind and a line, of hidden ones no text."""
        kind = str(answer.get("kind"))
        kind = kind if isinstance(vars(builtins).get(kind), type) else "Exception"
        cells = self._notebook["cells"]
        if answer.get("ended") == "raised":
            index = self._counts.get(_whole(answer.get("cell")), -1)
            line = _line(_source(cells[index]), _whole(answer.get("number"))) if index >= 0 else ""
            said = f"Your code raised: {control.task}: {kind}"
            return f"{said}\n  in this line:\n    {line}" if line else said
        test, number = self._test(control), _whole(answer.get("line"))
        line = _line(test, number) if number in visible_lines(test) else ""
        said = f"Wrong: {control.task}: a check could not use what your code gave it: {kind}"
        return f"{said}\n  {line}" if line else said

    def _revive(self) -> None:
        """A new kernel, in which all that ran runs again without what ended the last one."""
        self._stop()
        self._start()
        cells = self._notebook["cells"]
        for index in list(self._ran):
            control = self._wanted.get(_cell_id(cells[index], index))
            if control and control.task not in self.trials:
                self._begin(control)
            self._run(index, self._seconds())
            if not self.kernel.alive:
                # It died this time: do without it, too.
                self._ran.remove(index)
                self._stop()
                return self._revive() if self._left() > 0 else None
        return None

    def notebook(self) -> dict[str, Any]:
        """The notebook with what its cells have shown by now."""
        for index, cell in enumerate(self._notebook["cells"]):
            if cell["cell_type"] != "code":
                continue
            reply = self._replies.get(index)
            shown = self._outputs[index].finished() if index in self._outputs else []
            # A hook may have swallowed the error's output; the reply still tells of it.
            if reply and reply.ename and not any(o["output_type"] == "error" for o in shown):
                shown.append(error_output(reply.ename, reply.evalue, list(reply.traceback)))
            cell["outputs"] = shown
            cell["execution_count"] = reply.execution_count if reply else None
        self.kernel.stop_listening()
        return self._notebook

    def _spent(self) -> float:
        return sum(reply.seconds for reply in self._replies.values())

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _seconds(self) -> float:
        return max(0.1, min(self.job.limits.cell_seconds, self._left()))

    def _say(self, name: str, reply: Reply) -> None:
        if self.kernel.alive:
            self.messages.append(f"Cell {name} was interrupted after {reply.seconds:.3g} s.")
        else:
            self.messages.append(
                f"Cell {name} ended its kernel: {self.kernel.death}. "
                "A new one ran the cells before it again and went on after it."
            )

    def _say_late(self, name: str) -> None:
        if not any(o.status == "skipped" for o in self.outcomes if o.cell_id not in self._exams):
            self.messages.append(
                f"The notebook ran longer than {self.job.limits.notebook_seconds:.4g} s; "
                f"cell {name} and those after it did not run."
            )


@dataclass
class _Sitting:
    """How an exam went."""

    outcome: CellOutcome
    outputs: list[dict[str, Any]]
    handed: dict[str, Any]
    messages: list[str]
    peak_bytes: int = 0


def _sit(job: Job, exam: Exam, *, sandboxed: bool) -> _Sitting:
    """Run an exam: its code, then its test, in a kernel that has nothing else."""
    test = _source(_cell_of(job.notebook, exam.test))
    kernel = Kernel(
        job.limits,
        {**job.files, **exam.files},
        sandboxed=sandboxed,
        preload=preload([*exam.code, test]),
        data=False,
    )
    deadline = time.monotonic() + job.limits.notebook_seconds
    outputs = Outputs(job.limits.output_bytes, kernel.displays)
    with kernel:
        reply = Reply("ok", 0.0)
        for source in (f"profile = {exam.profile!r}", *exam.code):
            left = min(job.limits.cell_seconds, deadline - time.monotonic())
            reply = kernel.run(source, max(0.1, left))
            if reply.status in ("died", "timeout"):
                break
        before = reply
        if reply.status in ("ok", "error"):
            if job.salt:
                kernel.ask({"what": "seed", "salt": job.salt}, START_SECONDS)
            reply = kernel.run(test, job.limits.exam_seconds, outputs)
        if before.status == "error" and reply.ename == "NameError":
            reply = before  # what the task's own cell has defined is not there
        death = kernel.death
    shown = outputs.finished()
    if reply.ename and not any(o["output_type"] == "error" for o in shown):
        shown.append(error_output(reply.ename, reply.evalue, list(reply.traceback)))
    handed, rest = {}, []
    for output in shown:
        found = output.get("data", {}).get(HANDED_MIME)
        if isinstance(found, dict) and reply.status == "ok":
            handed = {exam.task: found}
        if found is None:
            rest.append(output)
    ename, evalue = clean(reply.ename, 200), clean(reply.evalue, 2000)
    outcome = CellOutcome(exam.test, reply.status, round(reply.seconds, 4), ename, evalue)
    messages = [f"The exam {exam.task} ended its kernel: {death}."] if death else []
    return _Sitting(outcome, rest, handed, messages, kernel.peak_bytes)


def _cell_of(notebook: Mapping[str, Any], name: str) -> Any:
    cells = enumerate(notebook["cells"])
    return next(cell for index, cell in cells if _cell_id(cell, index) == name)


def _cell_id(cell: Mapping[str, Any], index: int) -> str:
    return str(cell.get("id") or f"cell-{index}")


def _source(cell: Mapping[str, Any]) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _is_lost(fork: Mapping[str, Any]) -> bool:
    """Whether a fork lacks threads of what it was made of."""
    threads = fork.get("threads")
    return isinstance(threads, int) and threads > 0


def _names(source: str) -> list[str]:
    """The names that code uses and does not bind itself."""
    names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    return sorted({node.id for node in names} - bound)


def _told_early(reply: Reply) -> str:
    """How a test ended whose visible part tells it for sure, else ""."""
    if is_stub(reply.ename, reply.evalue):
        return "not attempted"
    return {"timeout": "late", "died": "died"}.get(reply.status, "")


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else -1


def _line(source: str, number: int) -> str:
    lines = source.split("\n")
    return clean(lines[number - 1].strip(), 200) if 0 < number <= len(lines) else ""
