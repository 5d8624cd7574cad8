"""Runs inside the sandbox: the preloaded parent, and the kernels that are forked from it.

`launcher.py serve FD SETTINGS`: for each order that comes through the socket FD, import what the
notebook is going to import, unless that is there, and fork a kernel. `launcher.py cold PRELOAD
ARGUMENTS`: be one kernel, with ipykernel's own arguments. `launcher.py unsafe PRELOAD ARGUMENTS`:
the same without the filter, for a kernel that runs in no sandbox.

Each fork gets namespaces of its own (processes, mounts, network, IPC, host name), new memory-backed
folders to write to, and no capability: nothing passes from one notebook to the next. The sandbox
shows this file and its two neighbours; the rest of the package is not there, so it imports none.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
WRITABLE = ("/tmp", "/dev/shm")  # and the home; new in each fork
INODES = 65536  # files that such a folder can hold: they cost memory of the kernel's

# What every kernel imports.
KERNEL = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.debugger",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.extensions.storemagic",
)

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: Sequence[str]) -> None:
    """Serve forks, or be a kernel."""
    folder, sys.path[0:1] = sys.path[0], []
    sys.path.append(folder)
    import referee
    import seccomp

    sys.path.remove(folder)
    # Before matplotlib is imported, as ipykernel sets it.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    if arguments[0] == "serve":
        control = socket.socket(fileno=int(arguments[1]))
        _serve(control, json.loads(arguments[2]), referee, seccomp)
    else:
        mode, preload, *rest = arguments
        _preload_kernel()
        _preload(json.loads(preload))
        if mode == "cold":
            with contextlib.suppress(OSError):  # an architecture that has none; bubblewrap holds
                seccomp.install()
        _kernel(rest, referee, alone=mode == "cold").start()


def _preload(names: Sequence[str]) -> None:
    new = [name for name in names if name not in sys.modules]
    for name in new:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if "matplotlib.backends.backend_agg" in new:  # the first picture loads fonts
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot([0, 1])
        FigureCanvasAgg(figure).draw()


def _preload_kernel() -> None:
    # Nobody debugs here, and the debugger takes longer to load than the rest of the kernel.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    _preload(KERNEL)
    del sys.modules["debugpy"]


def _kernel(arguments: Sequence[str], referee: Any, *, alone: bool = True) -> Any:
    """An ipykernel whose sockets are bound, ready to start. alone: in a sandbox of its own."""
    from ipykernel.kernelapp import IPKernelApp

    sys.argv = ["ipykernel_launcher.py", *arguments]
    app = IPKernelApp.instance()
    app.initialize(list(arguments))
    app.shell.ask_exit = lambda: None  # `exit()` would end the kernel in some later cell
    referee.remember()
    referee.serve(app.kernel, alone=alone)
    return app


# -- The parent -------------------------------------------------------------------------------


def _serve(control: socket.socket, settings: Mapping[str, Any], referee: Any, filter_: Any) -> None:
    """Fork kernels until the other side closes the socket."""
    _preload_kernel()
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that end are nobody's to wait for
    try:
        _call("unshare", CLONE_NEWPID)  # so that what forbids it is told now
        _call("setns", own, CLONE_NEWPID)
    except OSError as error:
        control.send(json.dumps({"error": str(error)}).encode())
        return
    control.send(b'{"ready": true}')
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 2)
        if not message:
            return
        order = json.loads(message)
        _preload(order["preload"])
        if len(os.listdir("/proc/self/task")) > 1:
            sys.exit("a preloaded module has started a thread, which a fork would lack")
        referee.remember()
        gc.collect()
        gc.freeze()  # a collection in a fork must not copy every page of the parent's
        _call("unshare", CLONE_NEWPID)
        child = os.fork()
        if child == 0:
            try:
                os.close(own)
                control.close()
                _init(order, settings, *descriptors, referee, filter_)
            finally:
                os._exit(70)
        _call("setns", own, CLONE_NEWPID)
        for descriptor in descriptors:
            os.close(descriptor)


def _init(
    order: Mapping[str, Any],
    settings: Mapping[str, Any],
    status_fd: int,
    stderr_fd: int,
    referee: Any,
    filter_: Any,
) -> None:
    """The first process of a fork's namespace: set it up, start the kernel, tell how it ended."""
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = socket.socket(fileno=status_fd)
    status.send(b'{"started": true}')  # the receiver sees our process's number beside it
    if not status.recv(16):  # it has put us under its limits
        return
    os.dup2(stderr_fd, 2)
    folder = order["folder"]
    try:
        _call("unshare", CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS)
        _loopback_up()
        _mount_new(order, settings, folder)
    except OSError as error:
        status.send(json.dumps({"error": str(error)}).encode())
        return
    status.send(b'{"ready": true}')
    ready, tell_ready = os.pipe()
    go, tell_go = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            status.close()
            os.close(ready), os.close(tell_go)
            _run(order, settings, tell_ready, go, referee, filter_)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(70)
    os.close(tell_ready), os.close(go)
    if os.read(ready, 1):
        # The sockets are bound: from here on nothing in there leads to a folder of the host.
        _call("umount2", folder.encode(), MNT_DETACH)
        _drop_capabilities()
        _call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
        os.write(tell_go, b"g")
    status.send(json.dumps({"exit": _wait(child, status)}).encode())
    os._exit(0)  # and with the first process all others of its namespace end


def _wait(child: int, status: socket.socket) -> int:
    """The exit code of a process, minus the signal's number; others' orphans are reaped."""
    poller = select.poll()
    poller.register(status, select.POLLIN | select.POLLHUP)
    poller.register(os.pidfd_open(child), select.POLLIN)
    while True:
        for descriptor, _ in poller.poll(1000):
            if descriptor == status.fileno():
                os._exit(0)  # the other side is gone, or wants us to be
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    return os.waitstatus_to_exitcode(ended[1])


def _run(
    order: Mapping[str, Any],
    settings: Mapping[str, Any],
    ready: int,
    go: int,
    referee: Any,
    filter_: Any,
) -> None:
    """Be the kernel of this fork."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0), os.dup2(null, 1)
    for name, value in order["rlimits"].items():
        # What the preloaded libraries take is not the notebook's.
        value += _data_bytes() if name == "data" else 0
        resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), (value, value))
    _drop_capabilities()
    filter_.install()
    os.chdir(settings["work"])
    # Else each fork would draw the same numbers; Python's own `random` sees to it by itself.
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()
    app = _kernel(order["arguments"], referee)
    os.write(ready, b"r")
    os.read(go, 1)
    os.close(ready), os.close(go)
    app.start()


def _data_bytes() -> int:
    """What counts for RLIMIT_DATA by now."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:"))


# -- System calls -----------------------------------------------------------------------------


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    encoded = kind.encode() if kind else None
    number = ctypes.c_ulong(flags)
    _call("mount", source.encode(), target.encode(), encoded, number, data.encode() or None)


def _mount_new(order: Mapping[str, Any], settings: Mapping[str, Any], folder: str) -> None:
    """Memory-backed folders in place of the parent's, a /proc of this namespace, the files."""
    keep = {path: os.open(path, os.O_PATH) for path in [*settings["hidden"], folder]}
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    # Read-only: where the caller is root, a fork could else write to /proc/sys.
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_RDONLY)
    options = f"size={order['work_bytes']},nr_inodes={INODES},mode=0755"
    for target in (*WRITABLE, settings["home"]):
        _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, options)
    # IPython runs `!command` in a terminal of its own.
    _mount("devpts", "/dev/pts", "devpts", MS_NOSUID, "newinstance,ptmxmode=0666,mode=620")
    if not any(settings["base"].startswith(f"{t}/") for t in (*WRITABLE, settings["home"])):
        _mount("tmpfs", settings["base"], "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=0755")
    for path, descriptor in keep.items():
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            os.makedirs(path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "a").close()
        _mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND | MS_REC)
        os.close(descriptor)
    if settings["data"] and not order["data"]:
        flags = MS_NOSUID | MS_NODEV | MS_RDONLY
        _mount("tmpfs", settings["data"], "tmpfs", flags, "size=4k,mode=0755")
    os.makedirs(settings["work"], exist_ok=True)
    if order["files"]:
        shutil.copytree(order["files"], settings["work"], dirs_exist_ok=True)


def _loopback_up() -> None:
    """Switch on 127.0.0.1 in a new network namespace, which has nothing else."""
    request = struct.pack("16sh14x", b"lo", 1 | 64)  # IFF_UP | IFF_RUNNING
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket,
        contextlib.suppress(OSError),
    ):
        import fcntl

        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS


def _drop_capabilities() -> None:
    """Give up all capabilities; bubblewrap has set PR_SET_NO_NEW_PRIVS, so they never come back."""
    for capability in range(64):
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails for those that do not exist
    header = struct.pack("=Ii", 0x20080522, 0)  # version 3, this thread
    _call("capset", header, bytes(24))


if __name__ == "__main__":
    main(sys.argv[1:])
