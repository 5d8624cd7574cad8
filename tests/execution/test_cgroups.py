"""Control groups: the kernel's files by a stand-in for it, then the kernel itself.

Where this machine lets the caller make no group, the tests of the kernel itself check that the
refusal is true and says what to do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.wait import until

from autograder.execution import cgroups
from autograder.execution.cgroups import Cgroups, Group

pytestmark = pytest.mark.machine
MEMORY_MIB, TASKS = 64, 20

# -- Where groups are made --------------------------------------------------------------------

MOUNTS_1 = """\
31 23 0:28 / {0} rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / {0}/memory rw,relatime shared:9 - cgroup cgroup rw,memory
39 31 0:36 / {0}/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / {0}/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / {0}/unified rw,relatime - cgroup2 cgroup2 rw
"""
MOUNTS_2 = "30 23 0:26 / {0} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_own_groups_of_version_1() -> None:
    own = cgroups._own_groups(
        "9:name=systemd:/user\n8:pids:/\n4:memory:/a/b\n0::/user\n", MOUNTS_1.format("/c")
    )
    assert own["memory"] == Path("/c/memory/a/b")
    assert own["pids"] == Path("/c/pids")
    assert not cgroups._can_be_version_2(own)


def test_own_group_of_version_2() -> None:
    own = cgroups._own_groups("0::/user.slice/a:b.scope\n", MOUNTS_2.format("/c"))
    assert own == {"": Path("/c/user.slice/a:b.scope")}
    assert cgroups._can_be_version_2(own)


def test_controllers_may_share_a_mount_and_a_mount_may_have_blanks() -> None:
    mount = r"35 31 0:32 / /a\040b rw - cgroup cgroup rw,pids,memory" + "\n"
    own = cgroups._own_groups("4:memory,pids:/x\n", mount)
    assert own == {"memory": Path("/a b/x"), "pids": Path("/a b/x")}


@pytest.mark.parametrize(
    ("path", "root", "inside"),
    [
        ("/docker/1", "/docker/1", "/c"),  # the container's part of the tree
        ("/docker/1/x", "/docker/1", "/c/x"),
        ("/docker/12", "/docker/1", None),
        ("/", "/docker/1", None),
        ("/", "/../..", None),  # mounted outside our namespace
        ("/../other", "/", None),
    ],
)
def test_a_part_of_the_tree_is_mounted(path: str, root: str, inside: str | None) -> None:
    own = cgroups._own_groups(f"0::{path}\n", f"30 23 0:26 {root} /c rw - cgroup2 cgroup2 rw\n")
    assert own.get("") == (Path(inside) if inside else None)


# -- A stand-in for the kernel ----------------------------------------------------------------

FILES = {
    1: {
        "cgroup.procs": "",
        "memory.limit_in_bytes": "9223372036854771712\n",
        "memory.memsw.limit_in_bytes": "9223372036854771712\n",
        "memory.max_usage_in_bytes": "1048576\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
        "pids.current": "3\n",
        "pids.max": "max\n",
    },
    2: {
        "cgroup.procs": "",
        "cgroup.kill": "",
        "cgroup.controllers": "cpu memory pids\n",
        "cgroup.subtree_control": "",
        "memory.max": "max\n",
        "memory.swap.max": "max\n",
        "memory.oom.group": "0\n",
        "memory.peak": "1048576\n",
        "memory.current": "4096\n",
        "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n",
        "pids.current": "3\n",
        "pids.max": "max\n",
    },
}


@pytest.fixture(params=[1, 2])
def fake(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Cgroups:
    """Folders that get and lose their files as the kernel's do."""
    mkdir = Path.mkdir

    def made(self: Path, *args: Any, **options: Any) -> None:
        mkdir(self, *args, **options)
        for name, text in FILES[request.param].items():
            (self / name).write_text(text)

    monkeypatch.setattr(Path, "mkdir", made)
    monkeypatch.setattr(Path, "rmdir", shutil.rmtree)
    monkeypatch.setattr(cgroups, "PATIENCE_SECONDS", 0.05)
    folders = [tmp_path / "memory", tmp_path / "pids"] if request.param == 1 else [tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    return Cgroups(request.param, folders[0], folders[-1])


def text(path: Path) -> str:
    return path.read_text().strip()


def test_limits_are_written(fake: Cgroups) -> None:
    with fake.group(1.5, 7) as group:
        assert group.pids.name == group.memory.name
        assert group.pids.name.startswith(f"practical-dl-{os.getpid()}-")
        size = str(3 * 2**19)
        expected = {
            1: {"memory.limit_in_bytes": size, "memory.memsw.limit_in_bytes": size},
            2: {"memory.max": size, "memory.swap.max": "0", "memory.oom.group": "1"},
        }[fake.version]
        assert {name: text(group.memory / name) for name in expected} == expected
        assert text(group.pids / "pids.max") == "7"
        group.add(4711)
        assert {text(f / "cgroup.procs") for f in group.folders} == {"4711"}
        for folder in group.folders:
            (folder / "cgroup.procs").write_text("")
    assert not any(folder.exists() for folder in group.folders)


def test_a_kernel_that_counts_no_swap(fake: Cgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
        monkeypatch.delitem(FILES[fake.version], name, raising=False)
    with fake.group(1, 1) as group:
        assert not list(group.memory.glob("*sw*"))


def test_what_is_read(fake: Cgroups) -> None:
    with fake.group(1, 1) as group:
        assert group.tasks() == 3
        assert group.peak_bytes() == 2**20
        assert not group.oom()
        name = "memory.oom_control" if fake.version == 1 else "memory.events"
        path = group.memory / name
        path.write_text(path.read_text().replace("oom_kill 0", "oom_kill 2"))
        assert group.oom()


def test_the_peak_without_memory_peak(fake: Cgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    if fake.version == 1:
        assert "memory.peak" not in FILES[1]
        return
    monkeypatch.delitem(FILES[2], "memory.peak")
    with fake.group(1, 1) as group:
        assert group.peak_bytes() == 4096
        (group.memory / "memory.current").write_text("9000\n")
        assert group.peak_bytes() == 9000
        (group.memory / "memory.current").write_text("5\n")
        assert group.peak_bytes() == 9000


def test_a_group_that_can_not_be_made_whole_leaves_nothing(
    fake: Cgroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(Group, "limit", limit)
    with pytest.raises(OSError, match="Invalid"):
        fake.group(1, 1)
    assert not list(fake.memory.glob("practical*")) and not list(fake.pids.glob("practical*"))


def test_all_in_it_is_killed(fake: Cgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    group = fake.group(1, 5)

    def kill(pid: int, number: int) -> None:
        killed.append(pid)
        (group.pids / "cgroup.procs").write_text("")

    monkeypatch.setattr(cgroups.os, "kill", kill)
    (group.pids / "cgroup.procs").write_text("0\n11\n")  # 0: of another PID namespace
    group.kill()
    assert killed == ([11] if fake.version == 1 else [])
    if fake.version == 2:
        assert text(group.pids / "cgroup.kill") == "1"
    assert text(group.pids / "pids.max") == "0"


def test_groups_of_the_dead_are_removed(fake: Cgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_is_alive", lambda pid: pid == 11)
    names = ["practical-dl-11-aa", "practical-dl-12-aa", "practical-dl-13-aa", "practical-dl-x"]
    names += [cgroups.SUPERVISOR, "other-12-aa"]
    for name in names:
        (fake.memory / name).mkdir()
    (fake.pids / "practical-dl-14-bb").mkdir()  # the half that an end in between left
    (fake.memory / "practical-dl-13-aa" / "cgroup.procs").write_text("0\n")
    fake.remove_stale()
    left = {p.name for folder in (fake.memory, fake.pids) for p in folder.iterdir() if p.is_dir()}
    assert left == set(names) - {"practical-dl-12-aa"}


class Busy:
    """A version 2 group with processes in it, of which the caller is one."""

    def __init__(self, base: Path, others: bool) -> None:
        self.base, self.others, self.moved = base, others, False

    def write(self, path: Path, value: object) -> None:
        if path.name == "cgroup.procs":
            self.moved = path.parent != self.base
        if path.name == "cgroup.subtree_control" and (self.others or not self.moved):
            raise OSError(errno.EBUSY, "Device or resource busy")
        path.write_text(f"{value}\n")


@pytest.mark.parametrize("fake", [2], indirect=True)
def test_the_grader_moves_out_of_the_way(fake: Cgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = Busy(fake.pids, others=False)
    monkeypatch.setattr(cgroups, "_write", busy.write)
    assert cgroups._version_2(fake.pids) == fake
    assert text(fake.pids / "cgroup.subtree_control") == "+memory +pids"
    own = fake.pids / cgroups.SUPERVISOR
    assert text(own / "cgroup.procs") == str(os.getpid())
    # What the grader starts is there, too, and finds the way back.
    (fake.pids / "cgroup.subtree_control").write_text("memory pids\n")
    assert cgroups._version_2(own) == fake


@pytest.mark.parametrize("fake", [2], indirect=True)
def test_a_group_with_other_programs_is_left_as_it_was(
    fake: Cgroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = Busy(fake.pids, others=True)
    monkeypatch.setattr(cgroups, "_write", busy.write)
    found = cgroups._find({"": fake.pids})
    assert found.cgroups is None
    assert "other programs are in the group" in found.reason
    assert "systemd-run --user --scope -p Delegate=yes" in found.remedy
    assert not busy.moved and not (fake.pids / cgroups.SUPERVISOR).exists()


@pytest.mark.parametrize("fake", [2], indirect=True)
def test_a_group_without_controllers(fake: Cgroups) -> None:
    (fake.pids / "cgroup.controllers").write_text("cpu\n")
    found = cgroups._find({"": fake.pids})
    assert found.cgroups is None and "controllers: memory, pids" in found.reason


def test_limits_that_do_not_hold_are_found_out(fake: Cgroups) -> None:
    """Plain files hold nobody."""
    own = {"": fake.pids} if fake.version == 2 else {"memory": fake.memory, "pids": fake.pids}
    found = cgroups._find(own)
    assert found.cgroups is None and "does not hold its limits" in found.reason
    assert not list(fake.pids.glob("practical-dl-*-*"))


def test_no_cgroups_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = cgroups._find({})
    assert "no cgroup controllers are mounted for: memory, pids" in found.reason
    found = cgroups._find({"memory": tmp_path / "none", "pids": tmp_path / "none"})
    assert "no group can be made" in found.reason and "grade as root" in found.remedy
    cgroups.find.cache_clear()
    try:
        monkeypatch.setattr(cgroups.sys, "platform", "darwin")
        assert cgroups.find() == cgroups.Found(None, "darwin has no cgroups", cgroups.NO_LINUX)
    finally:
        cgroups.find.cache_clear()


# -- The kernel itself ------------------------------------------------------------------------


@pytest.fixture
def real() -> Cgroups | None:
    """This machine's groups; None where there are none to be had, which is checked."""
    found = cgroups.find()
    if found.cgroups is not None:
        assert (found.reason, found.remedy) == ("", "")
        return found.cgroups
    assert "systemd-run" in found.remedy
    own = cgroups._own_groups(
        Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()
    )
    names = [""] if cgroups._can_be_version_2(own) else ["memory", "pids"]
    possible = []
    for folder in (own[name] for name in names if name in own):
        with contextlib.suppress(OSError):
            os.mkdir(folder / "practical-dl-0-0")
            os.rmdir(folder / "practical-dl-0-0")
            possible.append(folder)
    if len(possible) == len(names):  # one may be made, but none with limits
        assert "other programs" in found.reason or "controllers" in found.reason, found
    return None


@contextlib.contextmanager
def inside(group: Group, source: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs a source once it is in the group."""
    line = [sys.executable, "-I", "-S", "-c", f"input()\n{source}"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        try:
            group.add(process.pid)
            process.stdin.write(b"\n")
            process.stdin.flush()
            yield process
        finally:
            group.kill()
            process.kill()


def test_memory_has_an_end(real: Cgroups | None) -> None:
    if real is None:
        return
    with real.group(MEMORY_MIB, TASKS) as group:
        with inside(group, f"a = bytearray({4 * MEMORY_MIB} * 2**20)") as process:
            assert process.wait() == -9
        assert group.oom()
        assert 0.9 * MEMORY_MIB < group.peak_bytes() / 2**20 <= MEMORY_MIB


def test_memory_of_several_processes_is_counted_together(real: Cgroups | None) -> None:
    if real is None:
        return
    source = f"""
import os, time
for i in range(4):
    if os.fork() == 0:
        a = bytearray({MEMORY_MIB // 2} * 2**20)
        time.sleep(60)
os.wait()
"""
    with real.group(MEMORY_MIB, TASKS) as group:
        with inside(group, source) as process:
            process.wait()
        assert group.oom()


def test_files_in_memory_are_counted(real: Cgroups | None) -> None:
    if real is None:
        return
    path = Path(f"/dev/shm/practical-dl-test-{os.getpid()}")
    source = f"""
with open({str(path)!r}, "wb") as file:
    for i in range({2 * MEMORY_MIB}): file.write(bytes(2**20))
"""
    try:
        with real.group(MEMORY_MIB, TASKS) as group:
            with inside(group, source) as process:
                assert process.wait() != 0
            assert path.stat().st_size <= MEMORY_MIB * 2**20
    finally:
        path.unlink(missing_ok=True)


BOMB = """
import os, time
print(flush=True)
while True:
    try: os.fork()
    except OSError: time.sleep(0.01)
"""


def test_a_fork_bomb_is_held_and_ended(real: Cgroups | None) -> None:
    if real is None:
        return
    with (
        real.group(MEMORY_MIB, TASKS) as group,
        real.group(MEMORY_MIB, TASKS) as neighbour,
        inside(neighbour, "import time; time.sleep(60)") as untouched,
    ):
        with inside(group, BOMB) as process:
            assert process.stdout
            process.stdout.readline()
            until(lambda: group.tasks() == TASKS)
            time.sleep(0.2)  # in which it would grow
            assert len(group.members()) == group.tasks() == TASKS
            group.kill()
            assert group.members() == set()
            assert process.wait() == -9
        assert untouched.poll() is None
    assert not any(folder.exists() for folder in (*group.folders, *neighbour.folders))


def test_threads_are_tasks(real: Cgroups | None) -> None:
    if real is None:
        return
    source = """
import threading, time
try:
    while True: threading.Thread(target=time.sleep, args=(60,)).start()
except RuntimeError:
    print(threading.active_count(), flush=True)
"""
    with real.group(MEMORY_MIB, TASKS) as group, inside(group, source) as process:
        assert process.stdout
        assert int(process.stdout.readline()) == group.tasks() == TASKS


def test_a_process_that_has_ended_can_not_be_added(real: Cgroups | None) -> None:
    if real is None:
        return
    with real.group(MEMORY_MIB, TASKS) as group:
        process = subprocess.Popen(["true"])
        process.wait()
        with pytest.raises(ProcessLookupError):
            group.add(process.pid)


def test_a_dead_graders_group_goes_with_all_in_it(real: Cgroups | None) -> None:
    if real is None:
        return
    source = f"""
import os, subprocess
from autograder.execution import cgroups
group = cgroups.Cgroups({real.version}, cgroups.Path({str(real.memory)!r}),
                        cgroups.Path({str(real.pids)!r})).group({MEMORY_MIB}, {TASKS})
null = subprocess.DEVNULL
child = subprocess.Popen(["sleep", "1000"], stdout=null, stderr=null)
group.add(child.pid)
print(group.pids.name, child.pid, flush=True)
os._exit(0)
"""
    line = [sys.executable, "-c", source]
    name, pid = subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()
    folders = {real.memory / name, real.pids / name}
    assert all(folder.is_dir() for folder in folders)
    real.remove_stale()
    assert not any(folder.exists() for folder in folders)
    state = Path("/proc", pid, "stat")
    with contextlib.suppress(OSError):  # it may wait for its new parent to read how it ended
        assert state.read_text().rsplit(")", 1)[1].split()[0] in "ZX"


def test_the_answer_is_kept(real: Cgroups | None) -> None:
    assert cgroups.find() is cgroups.find()
