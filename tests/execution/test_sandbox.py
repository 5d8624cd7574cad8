"""What code in the sandbox can see and use, told by code that runs in it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kit.wait import until
from nbclient import NotebookClient
from nbformat import v4

import practical_dl
from autograder.execution import parent, sandbox
from autograder.execution.execute import Job, Result, execute
from autograder.execution.provisioner import kernel_manager
from autograder.execution.sandbox import Limits, Probe, SandboxError

pytestmark = pytest.mark.machine
REPOSITORY = Path(practical_dl.__file__).parents[1]
SLEEP = str(10**6 + os.getpid())  # seconds, and a word that no other process has
LIMITS = Limits(cell_seconds=30, notebook_seconds=60, memory_mib=2048, work_mib=64, file_mib=16)


def run(*sources: str, limits: Limits = LIMITS) -> Result:
    cells = [v4.new_code_cell(s, id=f"c{i}") for i, s in enumerate(sources)]
    return execute(Job(v4.new_notebook(cells=cells), {"given.txt": b"text"}, limits))


def answer(result: Result, cell: int = 0) -> Any:
    """What a cell has printed, read as JSON."""
    assert result.cells[cell].status == "ok", result.cells[cell]
    return json.loads(result.notebook["cells"][cell]["outputs"][0]["text"])


LOOK = """
import json, os, pathlib, socket, subprocess, sys
def reason(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return type(error).__name__ + ": " + str(error)
    return "done"
found = {
    "interfaces": [name for _, name in socket.if_nameindex()],
    "connect": reason(socket.create_connection, ("192.0.2.1", 80), 5),
    "lookup": reason(socket.getaddrinfo, "example.org", 80),
    "root": sorted(os.listdir("/")),
    "repository": sorted(os.listdir(REPOSITORY)),
    "etc": sorted(os.listdir("/etc")),
    "home": sorted(os.listdir(os.path.expanduser("~"))),
    "work": sorted(os.listdir(".")),
    "uid": os.getuid(),
    "capabilities": [l.split()[1] for l in open("/proc/self/status") if l.startswith("Cap")],
    "processes": [p for p in os.listdir("/proc") if p.isdigit()],
    "environment": dict(os.environ),
    "hostname": socket.gethostname(),
    "run": sorted(os.listdir("/run")) if os.path.exists("/run") else [],
    "write": {
        path: reason(pathlib.Path(path, "x").write_text, "x")
        for path in ("/", "/usr", "/etc", "/dev", "/proc", sys.prefix, sys.base_prefix,
                     REPOSITORY, REPOSITORY + "/practical_dl", "/tmp", ".", "/dev/shm")
    },
    "given": reason(pathlib.Path("given.txt").write_text, "changed"),
    "nested": subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode,
    "setuid": reason(os.setuid, 0),
}
print(json.dumps(found))
""".replace("REPOSITORY", repr(str(REPOSITORY)))


@pytest.fixture(scope="module")
def look() -> dict[str, Any]:
    return answer(run(LOOK))


def test_this_machine_has_a_sandbox() -> None:
    """Without one the other tests of this file prove nothing, so they fail and are not skipped."""
    assert sandbox.probe() == Probe(True, "", "")


def test_there_is_no_network(look: dict[str, Any]) -> None:
    assert look["interfaces"] == ["lo"]
    assert "unreachable" in look["connect"]
    assert look["lookup"].startswith("gaierror")


def test_only_the_library_of_the_repository_is_there(look: dict[str, Any]) -> None:
    inside = {"practical_dl"}
    for prefix in (Path(sys.prefix), Path(sys.base_prefix)):
        if prefix.is_relative_to(REPOSITORY):
            inside.add(prefix.relative_to(REPOSITORY).parts[0])
    assert set(look["repository"]) == inside


def test_little_of_the_host_is_there(look: dict[str, Any]) -> None:
    expected = {"bin", "dev", "etc", "home", "lib", "proc", "run", "sys", "tmp", "usr"}
    roots = {p.parts[1] for p in (REPOSITORY, Path(sys.prefix), Path(sys.base_prefix))}
    data = os.environ.get("PRACTICAL_DL_DATA", "")
    roots |= {Path(data).absolute().parts[1]} if data else set()
    assert set(look["root"]) <= expected | roots | {"sbin", "lib32", "lib64", "libx32"}
    assert not {"shadow", "gshadow", "sudoers", "ssh", "resolv.conf"} & set(look["etc"])
    assert set(look["home"]) <= {"work", ".cache", ".ipython", ".config", ".local"}
    assert look["work"] == ["given.txt"]
    assert look["run"] == ["inside"]
    assert look["hostname"] == "localhost"


def test_the_code_has_no_rights(look: dict[str, Any]) -> None:
    assert look["uid"] == 1000
    assert all(int(c, 16) == 0 for c in look["capabilities"])
    assert look["setuid"] != "done"
    assert look["nested"] != 0 or not sandbox._has_option("bwrap", "--disable-userns")
    assert len(look["processes"]) <= 4, "the host's processes are visible"


def test_writing_is_for_work_and_tmp_alone(look: dict[str, Any]) -> None:
    writable = {path for path, said in look["write"].items() if said == "done"}
    # A clone below /tmp has a folder of its name in the sandbox's own /tmp.
    below = {str(REPOSITORY)} if REPOSITORY.is_relative_to("/tmp") else set()
    assert writable == {"/tmp", ".", "/dev/shm"} | below
    assert not (REPOSITORY / "x").exists()
    assert look["given"] == "done"


def test_the_environment_tells_nothing(look: dict[str, Any], monkeypatch: Any) -> None:
    ours = sandbox.environment()
    shells = {"PWD", "OLDPWD", "SHLVL", "_"}
    kernels = {"MPLBACKEND", "TERM", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "PAGER"}
    kernels |= {"GIT_PAGER", "PYDEVD_USE_FRAME_EVAL", "JPY_PARENT_PID", "LC_CTYPE"}
    libraries = {"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "TORCHINDUCTOR_CACHE_DIR"}
    assert set(look["environment"]) <= set(ours) | shells | kernels | libraries
    assert look["environment"]["OMP_NUM_THREADS"] == "1"


def test_torch_and_matplotlib_work_within_the_limits() -> None:
    result = run(
        "import torch; assert float(torch.ones(2, 2).mm(torch.ones(2, 2)).sum()) == 8\n"
        "from torch.utils.data import DataLoader\n"
        "print(len(list(DataLoader(torch.arange(8), num_workers=1))))",
        "%matplotlib inline\nimport matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()",
        "import matplotlib, glob, os\n"
        "print(len(glob.glob(matplotlib.get_cachedir() + '/fontlist*')))",
    )
    assert [c.status for c in result.cells] == ["ok"] * 3
    assert answer(result, 2) == 1
    assert "image/png" in result.notebook["cells"][1]["outputs"][0]["data"]
    assert 10 < result.peak_memory_mib < 2048
    assert not any("font" in json.dumps(o) for o in result.notebook["cells"][1]["outputs"])


def test_too_much_memory_is_an_error_of_the_cell() -> None:
    result = run("import numpy as np; a = np.ones(2**29)", "1")  # 4 GiB
    assert [c.status for c in result.cells] == ["error", "ok"]
    assert "MemoryError" in result.cells[0].ename


def test_memory_of_many_processes_is_counted_together() -> None:
    source = (
        "import os, time\n"
        "for _ in range(8):\n"
        "    if os.fork() == 0:\n"
        "        a = bytearray(120 * 2**20); time.sleep(60)\n"
        "time.sleep(20)"
    )
    limits = Limits(cell_seconds=20, memory_mib=400)
    result = run(source, "1", limits=limits)
    assert [c.status for c in result.cells] == ["died", "ok"]
    assert "400 MiB of memory" in result.message


def test_a_fork_bomb_is_stopped() -> None:
    source = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    result = run(source, "1", limits=dataclasses.replace(LIMITS, cell_seconds=4))
    # The kernel refuses (EAGAIN, then the time limit) or the watchdog steps in.
    assert result.cells[0].status in ("died", "timeout")
    assert result.cells[1].status == "ok"
    until(_nothing_is_left)


@pytest.mark.parametrize("place", [".", "/tmp", "/dev/shm", "~"])
def test_the_disk_has_an_end(place: str) -> None:
    source = (
        f"import os; os.chdir(os.path.expanduser({place!r})); error = None\n"
        "for i in range(40):\n"
        "    try: open(f'f{i}', 'wb').write(bytes(4 * 2**20))\n"
        "    except OSError as e: error = e.errno; break\n"
        "print(error)"
    )
    assert answer(run(source)) == 28  # ENOSPC


def test_a_file_has_an_end() -> None:
    source = (
        "try: open('/tmp/f', 'wb').write(bytes(20 * 2**20)); print(0)\n"
        "except OSError as e: print(e.errno)"
    )
    assert answer(run(source)) == 27  # EFBIG


FILL = """
import glob, os, time
folders = [p for p in glob.glob('/tmp/k*') if os.path.exists(p + '/k.json')]
print(len(folders), flush=True)
for i in range(10_000 * len(folders)):
    open(f'{folders[0]}/f{i}', 'wb').write(bytes(10**6)); time.sleep(0.01)
"""


def test_the_folder_of_the_connection_is_no_way_out() -> None:
    """A fork does not see it; a cold kernel is stopped when it fills it."""
    result = run(FILL, "1")
    assert [c.status for c in result.cells] == ["ok", "ok"]
    assert answer(result) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parent, "_reason", "a test of cold kernels")
        result = run(FILL, "1")
    assert [c.status for c in result.cells] == ["died", "ok"]
    assert "connection" in result.message


def test_no_daemon_outlives_its_kernel() -> None:
    source = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep({SLEEP})'],\n"
        "                 start_new_session=True)"
    )
    assert run(source).cells[0].status == "ok"
    until(_nothing_is_left)


def _nothing_is_left() -> bool:
    """Whether no process of a kernel's sandbox is there."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path("/proc", pid, "cmdline").read_bytes().decode("utf-8", "replace")
            status = Path("/proc", pid, "status").read_text()
        except OSError:
            continue
        if "launcher.py\0serve" in line:
            continue  # the parent of the kernels to come
        if SLEEP in line or (f"PPid:\t{os.getpid()}\n" in status and "bwrap" in line):
            return False
    return True


def test_the_sandbox_dies_with_its_parent(tmp_path: Path) -> None:
    line = sandbox.command(["sleep", SLEEP], work=None, connection_dir=tmp_path, limits=LIMITS)
    script = f"import subprocess; subprocess.Popen({line!r}); print(1, flush=True); input()"
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdout and owner.stdin
    owner.stdout.readline()
    until(_sleeps)
    owner.kill()
    owner.communicate()
    until(lambda: not _sleeps())


def _sleeps() -> bool:
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    return any(line.startswith(f"sleep {SLEEP}") for line in lines.splitlines())


def test_nbclient_can_use_the_sandbox() -> None:
    notebook = v4.new_notebook(cells=[v4.new_code_cell("import os; print(os.getuid())")])

    async def go() -> None:
        manager = kernel_manager(limits=LIMITS)
        client = NotebookClient(notebook, km=manager, timeout=600)
        async with client.async_setup_kernel():
            await client.async_execute_cell(notebook.cells[0], 0)
        folder = Path(manager.connection_file).parent
        await manager.shutdown_kernel(now=True)
        assert not folder.exists()

    asyncio.run(go())
    assert notebook.cells[0].outputs[0].text == "1000\n"


def test_a_folder_that_holds_more_than_data_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRACTICAL_DL_DATA", str(REPOSITORY))
    sandbox.data_folder.cache_clear()
    try:
        with pytest.raises(SandboxError, match="more than data"):
            sandbox.environment()
    finally:
        sandbox.data_folder.cache_clear()


def test_no_bubblewrap_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    sandbox.probe.cache_clear()
    try:
        found = sandbox.probe()
        assert not found.available
        assert "bubblewrap" in found.reason and "install" in found.remedy
        with pytest.raises(SandboxError, match="no sandbox on this machine"):
            run("1")
    finally:
        sandbox.probe.cache_clear()
