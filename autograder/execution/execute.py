"""One notebook from top to bottom: values in, values out, JSON only."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from autograder.execution import sandbox
from autograder.execution.kernel import Kernel, Reply
from autograder.execution.outputs import Outputs, clean, error_output
from autograder.execution.sandbox import Limits, SandboxError

Status = Literal["ok", "error", "timeout", "died", "skipped"]
FORMAT = 1  # of a Result; part of the key, so that a cache never serves another format


@dataclass(frozen=True)
class Control:
    """A planted mistake that the test of a task must notice.

    source: the mutant's solution cell. test, restore: ids of the task's test cell and of the
    student's solution cell, which runs again afterwards.
    """

    task: str
    source: str
    test: str
    restore: str


@dataclass(frozen=True)
class Job:
    """A notebook to run and all that its result depends on.

    notebook: nbformat 4 JSON. files: helper files by relative name. salt: what the generators of
    `check.rng` are drawn from before each graded cell, "" leaves them alone. profile: the value
    given to the notebook's parameter of that name, "small" leaves it alone. gpu: whether it needs
    one.
    """

    notebook: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    controls: tuple[Control, ...] = ()
    salt: str = ""
    profile: str = "small"
    gpu: bool = False

    def to_json(self) -> str:
        """Plain JSON; the bytes of files in base64."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["files"] = {n: base64.b64encode(b).decode() for n, b in self.files.items()}
        values["limits"] = asdict(self.limits)
        values["controls"] = [asdict(c) for c in self.controls]
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The value that `to_json` wrote. Raises ValueError for anything else."""
        try:
            values = json.loads(text)
            values["files"] = {n: base64.b64decode(b) for n, b in values["files"].items()}
            values["limits"] = Limits(**values["limits"])
            values["controls"] = tuple(Control(**c) for c in values["controls"])
            return cls(**values)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a job: {error}") from error


@dataclass(frozen=True)
class CellOutcome:
    """How a code cell ended, as its kernel replied. stderr has no say.

    "timeout": it ran too long (the kernel lives on if it could be interrupted). "died": the kernel
    ended in it. "skipped": it did not run, because there was no kernel or no time left.
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
    (the test noticed the mistake), "survived" or "error: why it could not be tried"; only tasks
    whose test cell was "ok" are there. message: what a teacher should know, "" if all went well.
    """

    notebook: dict[str, Any]
    cells: tuple[CellOutcome, ...]
    controls: Mapping[str, str]
    seconds: float
    peak_memory_mib: float
    sandboxed: bool
    message: str

    def to_json(self) -> str:
        """Plain JSON."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """The value that `to_json` wrote. Raises ValueError for anything else."""
        try:
            values = json.loads(text)
            cells = tuple(CellOutcome(**c) for c in values.pop("cells"))
            return cls(cells=cells, **values)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a result: {error}") from error


def job_key(job: Job) -> str:
    """A name for the result: the SHA-256 of everything that determines it, in hexadecimal."""
    notebook = copy.deepcopy(dict(job.notebook))
    for cell in notebook.get("cells", []):
        cell.pop("outputs", None)
        cell.pop("execution_count", None)
    depends_on = [
        FORMAT,
        sandbox.versions(),
        _library_key(),
        replace(job, notebook=notebook).to_json(),
    ]
    return hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()


def _library_key() -> str:
    """The sources of `practical_dl`: its checks decide results, too."""
    folder = sandbox.package_folder()
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")) if folder else []:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def execute(job: Job, *, sandbox: bool = True) -> Result:
    """Run a notebook; go on after errors. Then run its negative controls.

    sandbox: False runs the code as the caller, with limits but without walls.
    Raises SandboxError where no kernel can be had: that is no fault of the notebook.
    """
    if sandbox:
        _require_sandbox()
    start = time.monotonic()
    with Kernel(job.limits, job.files, sandboxed=sandbox) as kernel:
        run = _Run(job, kernel)
        run.cells()
        notebook = run.notebook()  # before the controls, which must not change it
        controls = run.controls()
        peak = kernel.peak_bytes / 2**20
    return Result(
        notebook=notebook,
        cells=tuple(run.outcomes),
        controls=controls,
        seconds=time.monotonic() - start,
        peak_memory_mib=round(peak, 1),
        sandboxed=sandbox,
        message=run.message,
    )


def _require_sandbox() -> None:
    found = sandbox.probe()
    if not found.available:
        raise SandboxError(f"no sandbox on this machine: {found.reason}. {found.remedy}")


class _Run:
    """One job in one kernel."""

    def __init__(self, job: Job, kernel: Kernel) -> None:
        self.job, self.kernel = job, kernel
        self.outcomes: list[CellOutcome] = []
        self.message = ""
        self._notebook = copy.deepcopy(dict(job.notebook))
        self._outputs: dict[int, Outputs] = {}
        self._replies: dict[int, Reply] = {}
        self._deadline = time.monotonic() + job.limits.notebook_seconds

    def cells(self) -> None:
        """Run the code cells in order."""
        for index, cell in enumerate(self._notebook["cells"]):
            if cell["cell_type"] != "code":
                continue
            name = _cell_id(cell, index)
            if not self.kernel.alive or self._left() <= 0:
                self._say_why(name)
                self.outcomes.append(CellOutcome(name, "skipped", 0.0))
                continue
            self.outcomes.append(self._cell(index, name, cell))
            if "parameters" in cell.get("metadata", {}).get("tags", []):
                self._set_profile()

    def _cell(self, index: int, name: str, cell: Mapping[str, Any]) -> CellOutcome:
        source = _source(cell)
        if not source.strip():
            return CellOutcome(name, "ok", 0.0)
        if _is_graded(cell):
            self._reseed()
        outputs = Outputs(self.job.limits.output_bytes, self.kernel.displays)
        self._outputs[index] = outputs
        reply = self.kernel.run(source, self._seconds(), outputs)
        self._replies[index] = reply
        if reply.status in ("died", "timeout"):
            self._say(name, reply)
        ename, evalue = clean(reply.ename, 200), clean(reply.evalue, 2000)
        return CellOutcome(name, reply.status, round(reply.seconds, 4), ename, evalue)

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
        return copy.deepcopy(self._notebook)

    def controls(self) -> dict[str, str]:
        """Put each planted mistake in the solution's place and see whether the test notices."""
        cells = {_cell_id(c, i): c for i, c in enumerate(self._notebook["cells"])}
        passed = {o.cell_id for o in self.outcomes if o.status == "ok"}
        # The notebook may have used up its time; its controls have as much again.
        self._deadline = time.monotonic() + self.job.limits.notebook_seconds
        verdicts: dict[str, str] = {}
        for control in self.job.controls:
            if control.test in passed:
                verdicts[control.task] = self._control(control, cells)
        return verdicts

    def _control(self, control: Control, cells: Mapping[str, Mapping[str, Any]]) -> str:
        if not self.kernel.alive or self._left() <= 0:
            return f"error: {self.kernel.death or 'there was no time left'}"
        planted = self._quietly(control.source)
        if planted.status != "ok":
            what = clean(planted.ename, 200) or planted.status
            verdict = f"error: the planted mistake itself did not run ({what})"
        else:
            self._reseed()
            tested = self._quietly(_source(cells[control.test]))
            if tested.status == "died":
                verdict = f"error: {self.kernel.death}"
            else:  # a mistake that never comes to an end is noticed, too
                verdict = "survived" if tested.status == "ok" else "killed"
        if self.kernel.alive and control.restore in cells:
            self._quietly(_source(cells[control.restore]))
        return verdict

    def _quietly(self, source: str) -> Reply:
        # An ordinary request, not a silent one: the code that runs can't tell it from a cell's.
        return self.kernel.run(source, self._seconds())

    def _reseed(self) -> None:
        if self.job.salt:
            source = f"from practical_dl import check; check.reseed({self.job.salt!r})"
            self.kernel.run(source, self._seconds(), silent=True)

    def _set_profile(self) -> None:
        if self.job.profile != "small":
            self.kernel.run(f"profile = {self.job.profile!r}", self._seconds(), silent=True)

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _seconds(self) -> float:
        return max(0.1, min(self.job.limits.cell_seconds, self._left()))

    def _say(self, name: str, reply: Reply) -> None:
        if self.message and self.kernel.alive:
            return
        if self.kernel.alive:
            self.message = f"Cell {name} was interrupted after {reply.seconds:.3g} s."
        else:
            self.message = (
                f"The run ended at cell {name}: {self.kernel.death}. "
                "The cells after it did not run."
            )

    def _say_why(self, name: str) -> None:
        if not self.message or self.kernel.alive:
            self.message = (
                f"The notebook ran longer than {self.job.limits.notebook_seconds:.4g} s; "
                f"cell {name} and those after it did not run."
                if self.kernel.alive
                else f"The run ended before cell {name}: {self.kernel.death}."
            )


def _cell_id(cell: Mapping[str, Any], index: int) -> str:
    return str(cell.get("id") or f"cell-{index}")


def _source(cell: Mapping[str, Any]) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _is_graded(cell: Mapping[str, Any]) -> bool:
    nbgrader = cell.get("metadata", {}).get("nbgrader", {})
    return bool(isinstance(nbgrader, dict) and nbgrader.get("grade"))
