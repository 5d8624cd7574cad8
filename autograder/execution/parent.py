"""The preloaded parent of forked kernels, seen from outside: one for each process that grades.

Importing torch and its like takes seconds, forking takes milliseconds. What runs inside is
`launcher.py`.
"""

from __future__ import annotations

import atexit
import compileall
import contextlib
import functools
import json
import os
import queue
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from autograder.execution import sandbox
from autograder.execution.sandbox import Limits, SandboxError

# Before the fork a module is imported that the notebook's text imports, if it belongs to a package
# that our notebooks depend on; for these, what is used of it takes long to import, too. torch's
# compiler is in because its first optimiser imports it, which takes longer than most notebooks run.
# Not matplotlib_inline: it sets itself up where it is imported, which must be in the kernel.
MORE = {
    "matplotlib": ("matplotlib.pyplot", "matplotlib.backends.backend_agg"),
    "PIL": ("PIL.Image",),
    "scipy": ("scipy.stats",),
    "sklearn": ("sklearn.datasets", "sklearn.metrics", "sklearn.model_selection"),
    "torch": ("torch", "torch._dynamo", "torch.utils.data"),
    "tqdm": ("tqdm.auto",),
    "practical_dl": (
        *("numpy", "matplotlib.pyplot", "matplotlib.backends.backend_agg"),
        *("pooch", "requests", "tqdm"),
    ),
}
USUAL = list(dict.fromkeys(module for modules in MORE.values() for module in modules))
EXTRAS = ("students", "models")  # of our package: what notebooks need
# The small data sets come with this package, which the library imports when they are loaded.
LOADING = re.compile(r"\bdata\.load\(")
IMPORTING = re.compile(r"^[ \t]*(?:import|from)[ \t]+(\w+)", re.MULTILINE)


def preload(sources: Iterable[str]) -> list[str]:
    """The modules to import before a notebook with these code cells is forked."""
    text = "\n".join(sources)
    names = set(IMPORTING.findall(text)) & dependencies()
    if LOADING.search(text):
        names.add("sklearn")
    return list(dict.fromkeys(m for name in sorted(names) for m in MORE.get(name, (name,))))


@functools.cache
def dependencies() -> frozenset[str]:
    """The modules of the packages that notebooks depend on, as our own package lists them."""
    needed = set()
    for requirement in map(Requirement, metadata.requires("practical-dl") or []):
        extras = [{"extra": extra} for extra in ("", *EXTRAS)]
        if requirement.marker is None or any(map(requirement.marker.evaluate, extras)):
            needed.add(canonicalize_name(requirement.name))
    found = {
        module
        for module, packages in metadata.packages_distributions().items()
        if needed & {canonicalize_name(package) for package in packages}
    }
    return frozenset(found | {"practical_dl"})


START_SECONDS = 120.0


class ParentError(Exception):
    """Kernels can't be forked here; the message says why. They can be started cold."""


class Forked:
    """A forked kernel: what jupyter_client needs of a `subprocess.Popen`.

    pid: of the first process of its namespace, as the host counts. It ends with this object's
    `kill` and with the process that holds it.
    """

    stdin = stdout = None

    def __init__(self, status: socket.socket, stderr: int, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stderr = os.fdopen(stderr, "rb", buffering=0)
        self._status = status
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """The exit code, below 0 for a signal; None while it runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            try:
                message = json.loads(self._status.recv(256) or b"{}")
            except (OSError, ValueError):
                message = {}
            self._ended(message.get("exit", -signal.SIGKILL))
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("kernel", timeout or 0.0)
            self.poll()
        return self.returncode or 0

    def send_signal(self, number: int) -> None:
        """Signal the first process; of its namespace it hears SIGKILL alone."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End all processes of the kernel."""
        self.send_signal(signal.SIGKILL)
        self._ended(-signal.SIGKILL)

    terminate = kill

    def _ended(self, code: int) -> None:
        if self.returncode is None:
            self.returncode = code
            self._status.close()
            select.select([self._handle], [], [], 5.0)  # until the host has let go of it
            os.close(self._handle)


class Parent:
    """A process in a sandbox that has imported what notebooks import, and forks kernels.

    base: the folder of the host in which each kernel has a folder for its sockets.
    Raises ParentError where there is none to be had.
    """

    def __init__(self) -> None:
        folder = tempfile.gettempdir()
        # A Unix socket's path has at most 107 bytes.
        folder = folder if len(folder) < 50 else "/tmp"
        self.base = Path(os.path.realpath(tempfile.mkdtemp(prefix="k", dir=folder)))
        self.key = _key()
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._ready = self._closed = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        # Else each notebook compiles the library anew: the sandbox shows it read-only.
        compileall.compile_dir(sandbox.package_folder(), quiet=2)
        settings = {
            "base": str(self.base),
            "home": sandbox.HOME,
            "work": sandbox.WORK,
            "hidden": sandbox.below_writable(),
            "data": str(sandbox.data_folder() or ""),
        }
        argv = [sys.executable, "/run/inside/launcher.py", "serve"]
        argv += [str(theirs.fileno()), json.dumps(settings)]
        try:
            line = sandbox.parent_command(argv, base=self.base)
        except SandboxError as error:
            raise ParentError(str(error)) from error
        started: queue.SimpleQueue[subprocess.Popen[bytes] | OSError] = queue.SimpleQueue()

        def live() -> None:
            # In a thread that lasts: the sandbox dies with the thread that has started it.
            try:
                process = subprocess.Popen(
                    line,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._log,
                )
            except OSError as error:
                return started.put(error)
            started.put(process)
            process.wait()

        threading.Thread(target=live, daemon=True, name="parent of kernels").start()
        process = started.get()
        theirs.close()
        if isinstance(process, OSError):
            raise ParentError(str(process)) from process
        self._process = process

    def fork(
        self,
        folder: Path,
        arguments: Sequence[str],
        limits: Limits,
        files: Path | None = None,
        preload: Sequence[str] = (),
        enter: Callable[[int], None] = lambda pid: None,
        *,
        data: bool = True,
    ) -> Forked:
        """Fork a kernel that finds its connection file in the folder. Raises ParentError.

        arguments: ipykernel's. files: a folder below the kernel's own, with what the notebook finds
        where it starts. preload: what to import first. enter: called with the first process,
        which waits for its end before it does anything. data: whether it sees the data cache.
        """
        order = {
            "folder": str(folder),
            "arguments": list(arguments),
            "rlimits": sandbox.rlimits(limits),
            "work_bytes": limits.work_mib * 2**20,
            "files": str(files or ""),
            "preload": list(preload),
            "data": data,
        }
        with self._lock:
            if not self._ready:
                _expect_ready(self._control, self._said)
                self._ready = True
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            reading, writing = os.pipe()
            try:
                message = json.dumps(order).encode()
                socket.send_fds(self._control, [message], [theirs.fileno(), writing])
                pid = _first_words(ours)
                enter(pid)
                ours.send(b"go")
                _expect_ready(ours)
            except (OSError, ParentError) as error:
                ours.close(), os.close(reading)
                said = f" ({self._said()})" if self._said() else ""
                message = f"the parent of kernels did not fork one: {error}{said}"
                raise ParentError(message) from error
            finally:
                theirs.close(), os.close(writing)
        return Forked(ours, reading, pid)

    def close(self) -> None:
        """End it and every kernel that it forked."""
        self._closed = True
        self._control.close()
        if self._owner == os.getpid():
            self._process.kill()
            shutil.rmtree(self.base, ignore_errors=True)

    @property
    def alive(self) -> bool:
        """Whether it can be asked for a kernel."""
        ours = self._owner == os.getpid() and not self._closed
        return ours and self._process.poll() is None

    def _said(self) -> str:
        """The last line that it has printed."""
        self._log.seek(0)
        lines = self._log.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""


def _expect_ready(socket_: socket.socket, said: Callable[[], str] = lambda: "") -> None:
    """Wait for the word that all is well. Raises ParentError."""
    message: Mapping[str, Any] = {}
    if select.select([socket_], [], [], START_SECONDS)[0]:
        message = json.loads(socket_.recv(4096) or b"{}")
    if not message.get("ready"):
        raise ParentError(message.get("error") or said() or "it did not answer")


def _first_words(status: socket.socket) -> int:
    """The number of the process that speaks first, as the host counts."""
    if not select.select([status], [], [], START_SECONDS)[0]:
        raise ParentError("it did not answer")
    _, extra, _, _ = status.recvmsg(256, socket.CMSG_SPACE(12))
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            return struct.unpack("3i", data)[0]
    raise ParentError("it ended")


def _key() -> str:
    """What a parent's sandbox was made with."""
    return json.dumps([sandbox.environment(), [str(p) for p in sandbox.binds()]])


_current: Parent | None = None
_reason = ""
_lock = threading.Lock()


def current() -> Parent:
    """The parent of this process; started where there is none. Raises ParentError."""
    global _current, _reason
    with _lock:
        if _reason:
            raise ParentError(_reason)
        if _current is not None and not (_current.alive and _current.key == _key()):
            _current.close()
            _current = None
        if _current is None:
            try:
                _current = Parent()
                atexit.register(_current.close)
            except ParentError as error:
                _reason = str(error)
                raise
        return _current


def trouble() -> str:
    """Why kernels can't be forked here; "" if they can."""
    try:
        parent = current()
        folder = Path(tempfile.mkdtemp(dir=parent.base))
        parent.fork(folder, [], Limits()).kill()
    except ParentError as error:
        return str(error)
    shutil.rmtree(folder, ignore_errors=True)
    return ""


def give_up(reason: str) -> None:
    """From now on every kernel of this process is started cold."""
    global _reason
    _reason = reason
