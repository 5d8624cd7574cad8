"""Limits on all processes of a notebook together: one control group of the kernel for each.

Memory that a notebook's files in /tmp and /dev/shm take counts, too; so does the page cache of the
files it reads, which the kernel gives back before the limit hurts. What a process has touched
before it was added to a group stays with the group it came from.

Version 2 (Linux 5.14 and newer, all present-day distributions) needs a group that is delegated to
the caller and has no other process in it; version 1 needs root.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SUPERVISOR = "practical-dl-supervisor"  # the group of the grader itself, on version 2
PATIENCE_SECONDS = 5.0  # for processes that have been killed to be gone
NO_LINUX = "grade on Linux"
DELEGATE = (
    "start the grader with `systemd-run --user --scope -p Delegate=yes autograder grade ...` "
    "(as root: without --user)"
)
BE_ROOT = (
    "grade as root, or start the system with version 2 (kernel parameter "
    "systemd.unified_cgroup_hierarchy=1), then " + DELEGATE
)


@dataclass(frozen=True)
class Found:
    """Where groups can be made; if nowhere, cgroups is None, with why, and what to do about it."""

    cgroups: Cgroups | None
    reason: str
    remedy: str


class _Unavailable(Exception):
    """Why there are no groups here."""


@functools.cache
def find() -> Found:
    """Make a real group for a real child and see that its limit holds. Kept for the process.

    On version 2 this moves the caller to a group of its own, so that what it starts afterwards is
    there, too: call it before starting workers. Groups of graders that are dead are removed.
    """
    if sys.platform != "linux":
        return Found(None, f"{sys.platform} has no cgroups", NO_LINUX)
    try:
        own = _own_groups(_read("/proc/self/cgroup"), _read("/proc/self/mountinfo"))
    except OSError as error:
        return Found(None, f"/proc does not tell of cgroups: {error.strerror}", NO_LINUX)
    return _find(own)


def _find(own: dict[str, Path]) -> Found:
    """own: as `_own_groups` gives it."""
    try:
        cgroups = _version_2(own[""]) if _can_be_version_2(own) else _version_1(own)
        _try(cgroups)
    except _Unavailable as error:
        return Found(None, str(error), DELEGATE if _can_be_version_2(own) else BE_ROOT)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        what = f"no group can be made ({where}{error.strerror})"
        return Found(None, what, DELEGATE if _can_be_version_2(own) else BE_ROOT)
    return Found(cgroups, "", "")


def _own_groups(cgroup: str, mountinfo: str) -> dict[str, Path]:
    """Folders of the caller's groups by controller; "" is that of version 2.

    cgroup, mountinfo: the texts of those names in /proc/self.
    """
    paths = {}
    for line in cgroup.splitlines():
        number, controllers, path = line.split(":", 2)
        for name in controllers.split(",") if number != "0" else [""]:
            paths[name] = path
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        root, point = (_unescaped(text) for text in before.split()[3:5])
        kind, _, options = after.split(" ", 2)
        names = {"cgroup2": [""], "cgroup": options.split(",")}.get(kind, [])
        for name in names:
            if name in paths and name not in found and _is_below(paths[name], root):
                found[name] = Path(point, os.path.relpath(paths[name], root))
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), text)


def _is_below(path: str, root: str) -> bool:
    """Whether a mounted part of the tree holds our group; in a container it may not."""
    parts = Path(path).parts + Path(root).parts
    return ".." not in parts and Path(path).is_relative_to(root)


def _can_be_version_2(own: dict[str, Path]) -> bool:
    """Whether both controllers are there, and not those of version 1."""
    return "" in own and not {"memory", "pids"} & own.keys()


def _version_2(own: Path) -> Cgroups:
    base = own.parent if own.name == SUPERVISOR else own
    needed = {"memory", "pids"}
    missing = needed - set(_read(base / "cgroup.controllers").split())
    if missing:
        raise _Unavailable(f"{base} does not have the controllers: {', '.join(sorted(missing))}")
    if not needed <= set(_read(base / "cgroup.subtree_control").split()):
        _enable(base)
    return Cgroups(2, base, base)


def _enable(base: Path) -> None:
    """Have groups below base. The kernel wants no process in base itself."""
    control = base / "cgroup.subtree_control"
    try:
        return _write(control, "+memory +pids")
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
    leaf = base / SUPERVISOR
    leaf.mkdir(exist_ok=True)
    _write(leaf / "cgroup.procs", os.getpid())
    try:
        _write(control, "+memory +pids")
    except OSError as error:
        _write(base / "cgroup.procs", os.getpid())
        with contextlib.suppress(OSError):  # another grader may be in there
            leaf.rmdir()
        if error.errno != errno.EBUSY:
            raise
        raise _Unavailable(f"other programs are in the group of the grader, {base}") from None


def _version_1(own: dict[str, Path]) -> Cgroups:
    missing = {"memory", "pids"} - own.keys()
    if missing:
        raise _Unavailable(f"no cgroup controllers are mounted for: {', '.join(sorted(missing))}")
    return Cgroups(1, own["memory"], own["pids"])


_CHILD = """
import os, sys
sys.stdin.readline()
made = 0
try:
    while made < 8:
        if os.fork() == 0:
            sys.stdin.read()
            os._exit(0)
        made += 1
except OSError:
    pass
print(made, flush=True)
"""


def _try(cgroups: Cgroups) -> None:
    """Raises _Unavailable or OSError where a group does not hold its limits."""
    cgroups.remove_stale()
    with (
        cgroups.group(64, 4) as group,
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as child,
    ):
        assert child.stdin and child.stdout
        try:
            group.add(child.pid)
            child.stdin.write(b"\n")
            child.stdin.flush()
            made = child.stdout.readline().strip()
            held = made == b"3" and group.tasks() == 4 and group.peak_bytes() > 0
        finally:
            group.kill()
            child.kill()
        if not held:
            raise _Unavailable(f"a group in {group.pids.parent} does not hold its limits")


@dataclass(frozen=True)
class Cgroups:
    """Where groups are made. memory, pids: two folders on version 1, the same one on version 2."""

    version: int
    memory: Path
    pids: Path

    def group(self, memory_mib: float, processes: int) -> Group:
        """A new group with these limits; processes: with threads. Raises OSError."""
        name = f"practical-dl-{os.getpid()}-{secrets.token_hex(4)}"
        group = Group(self.version, self.memory / name, self.pids / name)
        try:
            for folder in group.folders:
                folder.mkdir()
            group.limit(round(memory_mib * 2**20), processes)
        except BaseException:
            group.remove()
            raise
        return group

    def remove_stale(self) -> None:
        """Remove the groups of graders that are dead, with what still runs in them."""
        names = {
            p.name for folder in (self.memory, self.pids) for p in folder.glob("practical-dl-*")
        }
        for name in names:
            match = re.fullmatch(r"practical-dl-(\d+)-[0-9a-f]+", name)
            if match and not _is_alive(int(match[1])):
                group = Group(self.version, self.memory / name, self.pids / name)
                if 0 not in group.members():  # a process of another PID namespace, maybe its owner
                    group.remove()


class Group:
    """The group of one notebook. Use it as a context manager: at its end all in it is killed."""

    def __init__(self, version: int, memory: Path, pids: Path) -> None:
        self.version, self.memory, self.pids = version, memory, pids
        self.folders = list(dict.fromkeys((memory, pids)))
        self._peak = 0

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def limit(self, memory_bytes: int, processes: int) -> None:
        """Set the limits. Raises OSError."""
        if self.version == 2:
            _write(self.memory / "memory.max", memory_bytes)
            _write(self.memory / "memory.oom.group", 1)
            swap, most = self.memory / "memory.swap.max", 0
        else:
            _write(self.memory / "memory.limit_in_bytes", memory_bytes)
            swap, most = self.memory / "memory.memsw.limit_in_bytes", memory_bytes
        if swap.exists():  # not on a kernel that does not count swap
            _write(swap, most)
        _write(self.pids / "pids.max", processes)

    def add(self, pid: int) -> None:
        """Put a process into it, as the host counts it; what it starts from now on is in, too.

        Raises OSError, ProcessLookupError for a process that has ended.
        """
        for folder in self.folders:
            _write(folder / "cgroup.procs", pid)

    def peak_bytes(self) -> int:
        """The most memory that was used at a time."""
        if self.version == 1:
            return int(_read(self.memory / "memory.max_usage_in_bytes"))
        # memory.peak is there from Linux 5.19 on; before, what was seen counts.
        path = self.memory / "memory.peak"
        path = path if path.exists() else self.memory / "memory.current"
        self._peak = max(self._peak, int(_read(path)))
        return self._peak

    def tasks(self) -> int:
        """Processes and threads that are in it now."""
        return int(_read(self.pids / "pids.current"))

    def oom(self) -> bool:
        """Whether the kernel has killed a process in it for want of memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        counts = dict(line.split() for line in _read(self.memory / name).splitlines())
        return int(counts.get("oom_kill", 0)) > 0

    def members(self) -> set[int]:
        """The processes that are in it now."""
        found: set[int] = set()
        for folder in self.folders:
            with contextlib.suppress(OSError):
                found.update(map(int, _read(folder / "cgroup.procs").split()))
        return found

    def kill(self) -> None:
        """End all in it and wait, for a few seconds at most, until they are gone."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with contextlib.suppress(OSError):
            _write(self.pids / "pids.max", 0)  # nothing starts meanwhile
        while (members := self.members()) and time.monotonic() < deadline:
            if (self.pids / "cgroup.kill").exists():
                with contextlib.suppress(OSError):
                    _write(self.pids / "cgroup.kill", 1)
            else:
                for pid in members - {0}:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)

    def remove(self) -> None:
        """Kill all in it and remove it. What can't be removed is left for a later `find`."""
        self.kill()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for folder in self.folders:
            while not _is_removed(folder) and time.monotonic() < deadline:
                time.sleep(0.002)


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _read(path: str | Path) -> str:
    return Path(path).read_text(encoding="utf-8", errors="surrogateescape")


def _write(path: Path, value: object) -> None:
    path.write_text(f"{value}\n")
