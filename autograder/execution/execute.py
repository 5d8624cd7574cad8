"""One notebook from top to bottom: values in, values out, JSON only."""

from __future__ import annotations

import base64
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
from autograder.execution.outputs import Outputs, clean, error_output
from autograder.execution.parent import preload
from autograder.execution.sandbox import Limits, SandboxError
from autograder.fingerprints import CORE, Library
from autograder.notebook import HANDED_MIME

Status = Literal["ok", "error", "timeout", "died", "skipped"]


@dataclass(frozen=True)
class Control:
    """How a passed test is looked at again, in a fork of the kernel (see `referee.py`).

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
    """How the second trial of a passed test ended. score: the share of the points that it gave.

    status: "passed", "failed" or "error" where it could not be made; why: what happened.
    """

    status: str
    why: str = ""
    score: float = 0.0


@dataclass(frozen=True)
class Job:
    """A notebook to run and all that its result depends on.

    notebook: nbformat 4 JSON. files: helper files by relative name. salt: what the generators of
    `check.rng` are drawn from before each graded cell, "" leaves them alone. library: what it may
    use of `practical_dl`.
    """

    notebook: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    controls: tuple[Control, ...] = ()
    salt: str = ""
    exams: tuple[Exam, ...] = ()
    library: Library = CORE

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

    notebook: the job's, with outputs. cells: the code cells in order. controls: by task "killed"
    (the test noticed the mistake), "survived" or "error: why it could not be tried"; trials: by
    task. Both hold only tasks whose test cell was "ok". kernel: how it was started and what limited
    it, for a person. message: what a teacher should know, "" if all went well. handed: by task what
    the test of an exam has handed in, as `check.hand_in` publishes it.
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
    """Run a notebook; go on after errors and deaths. Then look again at what has passed.

    sandbox: False runs the code as the caller, with limits but without walls.
    Raises SandboxError where no kernel can be had: that is no fault of the notebook.
    """
    if sandbox:
        _require_sandbox()
    start = time.monotonic()
    with _Run(job, sandboxed=sandbox) as run:
        run.cells()
        notebook = run.notebook()  # before it is looked at again
        run.look_back()
    peak = run.peak_bytes
    if doubtful := run.doubtful():
        # What a notebook does later may have broken an honest task's test: see it in its place.
        with _Run(replace(job, controls=doubtful), sandboxed=sandbox, careful=True) as careful:
            careful.cells()
        run.controls.update(careful.controls)
        run.trials.update(careful.trials)
        peak = max(peak, careful.peak_bytes)
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

    careful: look at each test again right after it, from the state in which it began.
    """

    def __init__(self, job: Job, *, sandboxed: bool, careful: bool = False) -> None:
        self.job, self.careful = job, careful
        self.outcomes: list[CellOutcome] = []
        self.controls: dict[str, str] = {}
        self.trials: dict[str, Trial] = {}
        self.messages: list[str] = []
        self.peak_bytes = 0
        self._sandboxed = sandboxed
        self._notebook = copy.deepcopy(dict(job.notebook))
        self._outputs: dict[int, Outputs] = {}
        self._replies: dict[int, Reply] = {}
        self._passed: dict[str, float] = {}  # the seconds of a task's test
        self._ran: list[int] = []  # what a new kernel has to run again
        self._controls = {control.test: control for control in job.controls}
        self._exams = {exam.test for exam in job.exams}
        self._deadline = time.monotonic() + job.limits.notebook_seconds

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

    def _stop(self) -> None:
        self.kernel.__exit__()
        self.peak_bytes = max(self.peak_bytes, self.kernel.peak_bytes)

    def cells(self) -> None:
        """Run the code cells in order. A dead kernel is replaced before the next one."""
        for index, cell in enumerate(self._notebook["cells"]):
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
            outcome = self._cell(index, name, cell)
            self.outcomes.append(outcome)
            if outcome.status in ("ok", "error"):
                self._ran.append(index)

    def _cell(self, index: int, name: str, cell: Mapping[str, Any]) -> CellOutcome:
        source = _source(cell)
        if not source.strip():
            return CellOutcome(name, "ok", 0.0)
        control = self._controls.get(name)
        if _is_graded(cell) or control:
            self._prepare(fork=self.careful and control is not None)
        outputs = Outputs(self.job.limits.output_bytes, self.kernel.displays)
        self._outputs[index] = outputs
        reply = self.kernel.run(source, self._seconds(), outputs)
        self._replies[index] = reply
        if reply.status in ("died", "timeout"):
            self._say(name, reply)
        if control and reply.status == "ok":
            self._passed[control.task] = reply.seconds
            if self.careful:
                self._try([control], self.job.salt)
        ename, evalue = clean(reply.ename, 200), clean(reply.evalue, 2000)
        return CellOutcome(name, reply.status, round(reply.seconds, 4), ename, evalue)

    def _prepare(self, *, fork: bool) -> None:
        order = {"what": "prepare", "salt": self.job.salt, "fork": fork}
        self.kernel.ask(order, START_SECONDS)

    def look_back(self) -> None:
        """The negative control and the second trial of all tests that have passed, at the end.

        With other random numbers: what a solution has seen of the first ones is of no use.
        """
        controls = [c for c in self.job.controls if c.task in self._passed]
        if not controls:
            return
        if not self.kernel.alive and self._left() > 0:
            self._revive()
        self._prepare(fork=True)
        self._try(controls, f"{self.job.salt}, again" if self.job.salt else "")

    def doubtful(self) -> tuple[Control, ...]:
        """The passed tests that have not stood the second look."""

        def stands(control: Control) -> bool:
            killed = self.controls.get(control.task, "killed") == "killed"
            return killed and self.trials[control.task].status == "passed"

        passed = (c for c in self.job.controls if c.task in self._passed)
        return tuple(c for c in passed if not stands(c))

    def _try(self, controls: Sequence[Control], salt: str) -> None:
        cells = {_cell_id(c, i): c for i, c in enumerate(self._notebook["cells"])}
        tasks = [
            {
                "task": c.task,
                "test": _source(cells[c.test]),
                "mutant": c.source,
                "preamble": c.preamble,
                "bound": list(c.bound),
                "seconds": min(5 + 4 * self._passed[c.task], self.job.limits.cell_seconds),
            }
            for c in controls
        ]
        allowed = 2 * sum(t["seconds"] for t in tasks) + 5
        order = {"what": "try", "tasks": tasks, "salt": salt, "seconds": allowed}
        order["apart"] = self.careful  # a fork more; what is doubtful is worth it
        start = time.monotonic()
        answer = self.kernel.ask(order, allowed + START_SECONDS)
        self._deadline += time.monotonic() - start  # the notebook's own time is not for this
        found = answer.get("tasks")
        for control in controls:
            one = found.get(control.task) if isinstance(found, dict) else None
            one = one if isinstance(one, dict) else {"error": answer.get("error", "no answer")}
            error = str(one.get("error", ""))
            if control.source:
                ended = one.get("control") or f"error: {error}"
                self.controls[control.task] = clean(str(ended), 300)
            self.trials[control.task] = _trial(one, error)

    def _revive(self) -> None:
        """A new kernel, in which all that ran runs again without what ended the last one."""
        self._stop()
        self._start()
        cells = self._notebook["cells"]
        for index in list(self._ran):
            if _is_graded(cells[index]):
                self._prepare(fork=False)
            self.kernel.run(_source(cells[index]), self._seconds())
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
        return self._notebook

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
            kernel.ask({"what": "prepare", "salt": job.salt, "fork": False}, START_SECONDS)
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


def _trial(answer: Mapping[str, Any], error: str) -> Trial:
    """What the referee says of a task; it speaks from the student's process."""
    if answer.get("again") not in ("passed", "failed"):
        return Trial("error", clean(error, 300))
    score = answer.get("score")
    share = min(1.0, max(0.0, score)) if isinstance(score, int | float) else 0.0
    return Trial(answer["again"], clean(str(answer.get("why", "")), 300), share)


def _is_graded(cell: Mapping[str, Any]) -> bool:
    nbgrader = cell.get("metadata", {}).get("nbgrader", {})
    return bool(isinstance(nbgrader, dict) and nbgrader.get("grade"))
