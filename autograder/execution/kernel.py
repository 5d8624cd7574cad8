"""One kernel and its watchdog: start it, run sources in it, end it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import zmq
from jupyter_client.manager import KernelManager

from autograder.execution import cgroups, provisioner
from autograder.execution.outputs import Outputs
from autograder.execution.parent import Forked
from autograder.execution.sandbox import Limits, SandboxError, threads

START_SECONDS = 60.0
GRACE_SECONDS = 3.0  # from an interrupt to the kill
IDLE_SECONDS = 5.0  # how long outputs may come after the reply
TICK_SECONDS = 0.1
CONNECTION_BYTES = 96 * 2**20  # a longer message is dropped with its connection
MESSAGE_BYTES = 8 * 2**20  # a longer one is not parsed: its values may take thirty times as much
HEADER_BYTES = 65_536  # of a message's headers
BEST_START = "forked, limited by cgroups"
OUTPUT_KINDS = frozenset(
    ("stream", "display_data", "execute_result", "error", "update_display_data", "clear_output")
)


@dataclass(frozen=True)
class Reply:
    """How a run ended. status: "ok", "error", "timeout" (the kernel may live on) or "died"."""

    status: str
    seconds: float
    ename: str = ""
    evalue: str = ""
    traceback: tuple[str, ...] = ()
    execution_count: int | None = None


class Kernel:
    """A running kernel. Use it as a context manager; everything it started ends with it.

    files: helper files by name, found where the kernel starts. preload: modules that the notebook
    is going to import. data: whether it sees the data cache.
    Raises SandboxError where no kernel comes up.
    """

    def __init__(
        self,
        limits: Limits,
        files: Mapping[str, bytes],
        *,
        sandboxed: bool,
        preload: Sequence[str] = (),
        data: bool = True,
    ) -> None:
        self.limits, self._preload, self._data = limits, preload, data
        self.alive = False
        self.death = ""  # why it is dead, a sentence
        self.start = ""  # how it was started and what limits it, for a person
        self.peak_bytes = 0
        self.displays: dict[str, list[dict[str, Any]]] = {}
        self._sinks: dict[str, Outputs] = {}
        self._files, self._sandboxed = files, sandboxed
        self._stderr = b""
        self._next_tick = 0.0

    def __enter__(self) -> Kernel:
        self._work = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._zmq = zmq.Context()
        self._group = self._new_group()
        try:
            _write_files(Path(self._work.name), self._files)
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._kill("")
        if self._group is not None:
            self._group.remove()
        self._zmq.destroy(linger=0)
        self._work.cleanup()

    def _new_group(self) -> cgroups.Group | None:
        """Limits on all processes together, where the system has them; else the watchdog looks."""
        found = cgroups.find()
        if found.cgroups is not None:
            with contextlib.suppress(OSError):
                return found.cgroups.group(self.limits.together_mib, self.limits.processes)
        return None

    # -- Start and end ---------------------------------------------------------------------

    _manager: KernelManager | None = None
    _process: subprocess.Popen[bytes] | None = None

    def _start(self) -> None:
        work = Path(self._work.name)
        self._manager = manager = provisioner.kernel_manager(
            KernelManager,
            sandboxed=self._sandboxed,
            limits=self.limits,
            work=work,
            preload=self._preload,
            data=self._data,
            enter=self._group.add if self._group else None,
        )
        env = {**os.environ, **threads(1)} if not self._sandboxed else {}
        if env and not self._data:
            env["PRACTICAL_DL_DATA"] = str(work / "no-data")
        # A cold kernel puts itself under its limits before it becomes what it is.
        group = self._group
        enter = {"preexec_fn": lambda: group.add(os.getpid())} if group else {}
        manager.start_kernel(
            cwd=str(work),
            env=env,
            # The history lives in memory: no database to write at every start.
            extra_arguments=["--HistoryManager.hist_file=:memory:"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **enter,
        )
        self._process = manager.provisioner.process
        self.start = self._described(manager.provisioner)
        self._folder = Path(manager.connection_file).parent
        self.alive = True
        self._shell = self._connect(zmq.DEALER, "shell")
        self._iopub = self._connect(zmq.SUB, "iopub")
        self._poller = zmq.Poller()
        self._poller.register(self._shell, zmq.POLLIN)
        self._poller.register(self._iopub, zmq.POLLIN)
        os.set_blocking(self._process.stderr.fileno(), False)
        self._poller.register(self._process.stderr.fileno(), zmq.POLLIN)
        self._wait_until_ready()

    def _described(self, kind: Any) -> str:
        """How it was started and what limits it, for a person."""
        forked = isinstance(kind.process, Forked)
        cold = getattr(kind, "cold", "") or "there is no sandbox"
        start = "forked" if forked else f"started cold ({cold})"
        if self._group is not None:
            return f"{start}, limited by cgroups"
        return f"{start}, limited by rlimits and a watchdog ({cgroups.find().reason})"

    def _connect(self, kind: int, channel: str) -> zmq.Socket[bytes]:
        socket = self._zmq.socket(kind)
        socket.linger = 0
        socket.setsockopt(zmq.RECONNECT_IVL, 10)  # the kernel binds later than we connect
        socket.setsockopt(zmq.MAXMSGSIZE, CONNECTION_BYTES)
        socket.setsockopt(zmq.RCVHWM, 4)  # what does not fit here waits in the kernel's memory
        if kind == zmq.SUB:
            socket.subscribe(b"")
        else:
            socket.identity = self._manager.session.bsession
        socket.connect(self._manager._make_url(channel))
        return socket

    def _wait_until_ready(self) -> None:
        """Until the kernel has answered and its outputs reach us."""
        deadline = time.monotonic() + START_SECONDS
        answered = heard = False
        ask_at = 0.0
        while not (answered and heard):
            now = time.monotonic()
            if now > ask_at:
                self._manager.session.send(self._shell, "kernel_info_request", content={})
                ask_at = now + 0.5
            events = dict(self._poller.poll(20))
            self._drain_stderr(events)
            if self._shell in events:
                self._shell.recv_multipart()
                answered = True
            if self._iopub in events:
                self._iopub.recv_multipart()
                heard = True
            self._tick()
            if not self.alive or time.monotonic() > deadline:
                self._drain_stderr(None)
                said = self._stderr.decode("utf-8", "replace").strip()
                last = said.splitlines()[-1] if said else self.death or "it did not answer"
                raise SandboxError(
                    f"the notebook's kernel did not start ({last}); `autograder doctor` tells "
                    "what this machine can do"
                )

    def _kill(self, why: str) -> None:
        """End the kernel and all that it started."""
        if self._manager is None:
            return
        self.alive = False
        self.death = self.death or why
        manager, self._manager = self._manager, None
        process, stderr = self._process, self._process and self._process.stderr
        with contextlib.suppress(Exception):  # a kernel that never started has nothing to stop
            manager.shutdown_kernel(now=True)
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        if stderr is not None:
            if hasattr(self, "_poller") and not stderr.closed:
                self._poller.unregister(stderr.fileno())
            stderr.close()
        manager.cleanup_resources()
        provisioner.remove_private_sockets(manager)
        manager.context.destroy(linger=0)

    # -- Running sources -------------------------------------------------------------------

    def run(self, source: str, seconds: float, outputs: Outputs | None = None) -> Reply:
        """Run a source and wait for its end, at most so long.

        What counts is the kernel's reply; outputs only gather what is shown.
        """
        if not self.alive:
            return Reply("died", 0.0)
        session = self._manager.session
        content = {
            "code": source,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        request = session.send(self._shell, "execute_request", content=content)
        identifier = request["header"]["msg_id"]
        if outputs is not None:
            self._sinks[identifier] = outputs
        start = time.monotonic()
        deadline = start + seconds
        late = False
        reply: dict[str, Any] | None = None
        ended = idle = False
        end = start
        while not (ended and (idle or time.monotonic() > end + IDLE_SECONDS)):
            events = dict(self._poller.poll(int(TICK_SECONDS * 1000)))
            self._drain_stderr(events)
            if self._iopub in events:
                idle |= self._receive_outputs(identifier)
            if self._shell in events and not ended:
                reply = self._receive_reply(identifier)
                ended, end = reply is not None, time.monotonic()
            self._tick()
            if not self.alive:
                return Reply("timeout" if late else "died", time.monotonic() - start)
            if not ended and time.monotonic() > deadline:
                if late:
                    self._kill(
                        f"a cell ran longer than {seconds:.3g} s and ignored the interrupt, so "
                        "its kernel was stopped"
                    )
                    return Reply("timeout", time.monotonic() - start)
                late = True
                deadline = time.monotonic() + GRACE_SECONDS
                self._manager.interrupt_kernel()
        assert reply is not None
        self._measure()
        text = {k: str(reply.get(k, "")) for k in ("ename", "evalue")}
        lines = reply.get("traceback")
        count = reply.get("execution_count")
        return Reply(
            status="timeout" if late else "ok" if reply.get("status") == "ok" else "error",
            seconds=end - start,
            ename=text["ename"],
            evalue=text["evalue"],
            traceback=tuple(map(str, lines)) if isinstance(lines, list) else (),
            execution_count=count if isinstance(count, int) else None,
        )

    def stop_listening(self) -> None:
        """From here on nothing that the notebook shows is kept."""
        self._sinks.clear()

    def ask(self, order: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Give the referee in the kernel an order; its answer, with `error` where there is none.

        A kernel that does not answer in time is stopped.
        """
        if not self.alive:
            return {"error": self.death}
        request = self._manager.session.send(self._shell, "trial_request", content=dict(order))
        identifier = request["header"]["msg_id"]
        deadline = time.monotonic() + seconds
        while self.alive:
            events = dict(self._poller.poll(int(TICK_SECONDS * 1000)))
            self._drain_stderr(events)
            if self._iopub in events:
                self._receive_outputs(identifier)
            if self._shell in events:
                answer = self._receive_reply(identifier, "trial_reply")
                if answer is not None:
                    return answer
            self._tick()
            if time.monotonic() > deadline:
                self._kill("its kernel no longer answered")
        return {"error": self.death}

    def _receive_reply(self, identifier: str, kind: str = "execute_reply") -> dict[str, Any] | None:
        frames = self._shell.recv_multipart()
        short = sum(map(len, frames)) <= MESSAGE_BYTES
        message = self._decode(frames, content=short)
        if message is None or message["header"].get("msg_type") != kind:
            return None
        if message["parent_header"].get("msg_id") != identifier:
            return None
        if short:
            return message["content"]
        return {"status": "error", "ename": "Error", "evalue": "an error with a very long text"}

    def _receive_outputs(self, identifier: str) -> bool:
        """Take what has come, in portions; True once the run is said to be over."""
        idle = False
        for _ in range(50):
            try:
                frames = self._iopub.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            idle |= self._receive_output(frames, identifier)
        return idle

    def _receive_output(self, frames: list[bytes], identifier: str) -> bool:
        try:
            _, parts = self._manager.session.feed_identities(frames)
            if max(map(len, parts[1:3])) > HEADER_BYTES:
                return False
            kind = json.loads(parts[1])["msg_type"]
            parent = json.loads(parts[2]).get("msg_id")
        except (ValueError, KeyError, IndexError, AttributeError, TypeError, RecursionError):
            return False
        sink = self._sinks.get(parent) if isinstance(parent, str) else None
        size = sum(map(len, frames))
        if kind == "status" and parent == identifier and size <= HEADER_BYTES:
            message = self._decode(frames)
            return message is not None and message["content"].get("execution_state") == "idle"
        if sink is None or kind not in OUTPUT_KINDS:
            return False
        if sink.full and kind in ("stream", "display_data", "execute_result"):
            return False  # a flood is not even parsed
        # What is shown whole or not at all need not be parsed where it can't fit.
        if size > (MESSAGE_BYTES if kind in ("stream", "error") else sink.limit + HEADER_BYTES):
            if kind not in ("clear_output", "update_display_data"):
                sink.cut()
            return False
        message = self._decode(frames)
        if message is not None:
            sink.add(kind, message["content"])
        return False

    def _decode(self, frames: list[bytes], *, content: bool = True) -> dict[str, Any] | None:
        """A message whose signature is right, or None. content: whether to parse its content."""
        session = self._manager.session
        try:
            _, parts = session.feed_identities(frames)
            message = session.deserialize(parts, content=content)
        except Exception:  # whatever a hostile kernel may send, it is no message
            return None
        names = ("header", "parent_header", *(["content"] if content else []))
        return message if all(isinstance(message[name], dict) for name in names) else None

    # -- The watchdog ----------------------------------------------------------------------

    def _drain_stderr(self, events: Mapping[Any, int] | None) -> None:
        """Keep the last words of the process, so that it never waits for us to read."""
        stream = self._process.stderr
        if stream.closed or (events is not None and stream.fileno() not in events):
            return
        try:
            piece = os.read(stream.fileno(), 65536)
        except BlockingIOError:
            return
        if piece:
            self._stderr = (self._stderr + piece)[-4000:]
        elif events is not None:  # closed on the other side: it would be ready for ever
            self._poller.unregister(stream.fileno())
            stream.close()

    def _tick(self) -> None:
        """Look after the kernel, a few times a second."""
        now = time.monotonic()
        if now < self._next_tick or not self.alive:
            return
        code = self._process.poll()
        if code is not None:
            starved = self._group is not None and self._group.oom()
            self._kill(self._too_much_memory() if starved else _why(code))
            return
        self._measure()
        # Looking at a crowded machine's processes takes time; spend at most a tenth on it.
        self._next_tick = time.monotonic() + max(TICK_SECONDS, 10 * (time.monotonic() - now))

    def _measure(self) -> None:
        together = self.limits.together_mib * 2**20
        if self._group is not None:
            self.peak_bytes = self._group.peak_bytes()
            tasks, resident = self._group.tasks(), 0  # more than the limits can't be
        else:
            tasks, resident = _usage(self._process.pid)
            self.peak_bytes = max(self.peak_bytes, resident)
            if resident > together:  # what processes share was counted in each of them
                tasks, resident = _usage(self._process.pid, shared_once=True)
        if self._group is not None and self._group.oom():
            self._kill(self._too_much_memory())  # version 1 has killed but the biggest process
        elif tasks > self.limits.processes:
            self._kill(f"the notebook started more than {self.limits.processes} processes")
        elif resident > together:
            self._kill(self._too_much_memory())
        elif not isinstance(self._process, Forked) and _is_abused(self._folder):
            self._kill("the notebook wrote into the folder of its kernel's connection")

    def _too_much_memory(self) -> str:
        return f"the notebook used more than {self.limits.memory_mib} MiB of memory"


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or parts[0] == "/" or "\0" in name:
            raise ValueError(f"{name!r} is not the name of a file in the notebook's folder")
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _why(code: int) -> str:
    """Why the process ended, from its exit code; bubblewrap gives 128 + signal."""
    number = -code if code < 0 else code - 128 if 128 < code < 160 else 0
    if number == 11:
        return "the notebook's kernel crashed (segmentation fault)"
    if number:
        return f"the notebook's kernel was ended by signal {number}"
    return f"the notebook's kernel ended by itself with exit code {code}"


def _is_abused(folder: Path) -> bool:
    """Whether the one folder of the host that the kernel can write to grows."""
    try:
        entries = list(os.scandir(folder))
        sizes = sum(e.stat(follow_symlinks=False).st_size for e in entries)
    except OSError:
        return False
    return (
        len(entries) > 32 or sizes > 2**20 or any(e.is_dir(follow_symlinks=False) for e in entries)
    )


def _usage(root: int, *, shared_once: bool = False) -> tuple[int, int]:
    """Processes and threads below a process, itself included, and their resident bytes.

    shared_once: divide what several processes share among them, which takes longer.
    """
    children: dict[int, list[int]] = {}
    use: dict[int, tuple[int, int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The name, in brackets, may itself hold brackets and blanks.
                fields = file.read().rsplit(b")", 1)[1].split()
        except (OSError, IndexError):
            continue
        children.setdefault(int(fields[1]), []).append(int(name))
        use[int(name)] = int(fields[17]), int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    tasks = resident = 0
    queue = [root]
    while queue:
        pid = queue.pop()
        threads, own = use.get(pid, (0, 0))
        tasks, resident = tasks + threads, resident + (_share(pid) if shared_once else own)
        queue += children.get(pid, [])
    return tasks, resident


def _share(pid: int) -> int:
    """The proportional set size of a process; 0 where it can't be read."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:"))
    except (OSError, StopIteration):
        return 0
