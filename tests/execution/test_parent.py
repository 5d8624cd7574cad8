"""Kernels forked from a preloaded parent: as good as others, and strangers to each other."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from kit.wait import until
from nbclient import NotebookClient
from nbformat import v4

from autograder.execution import parent, provisioner, sandbox
from autograder.execution.execute import Job, Result, execute
from autograder.execution.kernel import Kernel
from autograder.execution.outputs import Outputs
from autograder.execution.sandbox import Limits

LIMITS = Limits(cell_seconds=60, notebook_seconds=300)


def notebook(*sources: str) -> dict:
    return v4.new_notebook(cells=[v4.new_code_cell(s, id=f"c{i}") for i, s in enumerate(sources)])


def text(result: Result, cell: int) -> str:
    return "".join(o.get("text", "") for o in result.notebook["cells"][cell]["outputs"])


@pytest.fixture
def fresh() -> Iterator[None]:
    """A parent of this test's own, which it may harm."""
    before, reason = parent._current, parent._reason
    parent._current, parent._reason = None, ""
    yield
    if parent._current is not None:
        parent._current.close()
    parent._current, parent._reason = before, reason


# -- Alone -----------------------------------------------------------------------------------

LEAVE = """
import os, socket, subprocess, sys, numpy, torch, matplotlib, random
for folder in ("/tmp", "/dev/shm", os.path.expanduser("~"), ".", os.path.expanduser("~/.ipython")):
    os.makedirs(folder, exist_ok=True)
    open(folder + "/left", "w").write("x")
numpy.left = torch.left = sys.left = 1
torch.set_num_threads(3); torch.manual_seed(77); numpy.random.seed(5); random.seed(5)
matplotlib.rcParams["font.size"] = 77
os.environ["LEFT"] = "1"
server = socket.socket(socket.AF_UNIX); server.bind("\\0left"); server.listen()
web = socket.create_server(("127.0.0.1", 8765))
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
import ctypes; assert ctypes.CDLL(None).shmget(4711, 4096, 0o1600 | 0o666) >= 0
print("left")
"""
LOOK = """
import os, socket, sys, numpy, torch, matplotlib, ctypes, json
def reason(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return type(error).__name__
    return "done"
print(json.dumps({
    "files": [f for f in ("/tmp", "/dev/shm", "/home/student", ".") if os.path.exists(f + "/left")],
    "modules": [hasattr(m, "left") for m in (numpy, torch, sys)],
    "size": matplotlib.rcParams["font.size"], "seeded": torch.initial_seed() == 77,
    "threads": torch.get_num_threads(), "environment": "LEFT" in os.environ,
    "abstract": reason(socket.socket(socket.AF_UNIX).connect, "\\0left"),
    "web": reason(socket.create_connection, ("127.0.0.1", 8765), 2),
    "shared": ctypes.CDLL(None).shmget(4711, 4096, 0o666),
    "processes": sum(p.isdigit() for p in os.listdir("/proc")),
    "connections": [p for p in os.listdir("/tmp") if os.path.exists(f"/tmp/{p}/k.json")],
}))
"""


@pytest.mark.parametrize("meanwhile", [True, False], ids=["while it runs", "after its end"])
def test_two_notebooks_share_nothing(meanwhile: bool) -> None:
    outputs = Outputs(10_000, {})
    first = Kernel(LIMITS, {}, sandboxed=True)
    with first:
        assert first.run(LEAVE, 60, outputs).status == "ok", outputs.finished()
        seen = _look() if meanwhile else None
    seen = seen or _look()
    assert seen == {
        "files": [],
        "modules": [False] * 3,
        "size": 10.0,
        "seeded": False,
        "threads": 1,
        "environment": False,
        "abstract": "ConnectionRefusedError",
        "web": "ConnectionRefusedError",
        "shared": -1,
        "processes": 2,
        "connections": [],
    }


def _look() -> dict[str, Any]:
    result = execute(Job(notebook(LOOK), limits=LIMITS))
    assert result.kernel.startswith("forked")
    return json.loads(text(result, 0))


def test_unseeded_numbers_differ_between_notebooks() -> None:
    source = (
        "import random, numpy, torch\n"
        "print(random.random(), numpy.random.rand(), torch.rand(1, dtype=float).item())"
    )
    first, second = (text(execute(Job(notebook(source))), 0).split() for _ in range(2))
    assert len(first) == 3 and not set(first) & set(second)


def test_a_parent_gives_its_memory_to_all() -> None:
    """The limit on memory is the notebook's own, whatever the parent has loaded."""
    small = Limits(cell_seconds=30, notebook_seconds=60, memory_mib=256)
    sources = ("import torch; x = torch.ones(40, 2**20)", "y = torch.ones(80, 2**20)", "1")
    result = execute(Job(notebook(*sources), limits=small))
    assert [c.status for c in result.cells] == ["ok", "error", "ok"]


# -- Ends ------------------------------------------------------------------------------------

HOLD = """
import sys, time
from autograder.execution.kernel import Kernel
from autograder.execution.sandbox import Limits
with Kernel(Limits(), {}, sandboxed=True) as kernel:
    kernel.run("import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; "
               "time.sleep(600)', MARK], start_new_session=True)", 30)
    print("running", flush=True)
    kernel.run("while True: pass", 600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_kernels_die_with_the_grader(number: int) -> None:
    mark = f"mark-{os.getpid()}-{number}"
    source = HOLD.replace("MARK", repr(mark))
    grader = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    assert grader.stdout and grader.stdout.readline() == b"running\n"
    assert _processes_with(mark)
    grader.send_signal(number)
    grader.wait()
    until(lambda: not _processes_with(mark))


def _processes_with(mark: str) -> list[int]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in line:
            found.append(int(pid))
    return found


def test_a_parent_that_dies_is_replaced(fresh: None) -> None:
    assert execute(Job(notebook("1"))).kernel.startswith("forked")
    first = parent.current()
    os.kill(first._process.pid, signal.SIGKILL)
    first._process.wait()
    result = execute(Job(notebook("1")))
    assert result.kernel.startswith("forked")
    assert parent.current() is not first


def test_a_parent_that_dies_in_mid_run_costs_the_cell(fresh: None) -> None:
    import threading

    execute(Job(notebook("1")))
    process = parent.current()._process
    mark = str(10**6 + os.getpid())  # seconds, and a word that no other process has

    def kill() -> None:
        until(lambda: _processes_with(mark))
        process.kill()

    threading.Thread(target=kill, daemon=True).start()
    sources = ("print(1)", f"import subprocess; subprocess.run(['sleep', '{mark}'])", "print(3)")
    result = execute(Job(notebook(*sources), limits=LIMITS))
    assert [c.status for c in result.cells] == ["ok", "died", "ok"]
    assert text(result, 2) == "3\n"


# -- Where there is no parent ----------------------------------------------------------------


def test_a_parent_that_does_not_come_up_is_not_waited_for_twice(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parent, "START_SECONDS", 0.001)
    result = execute(Job(notebook("print(6 * 7)")))
    assert result.kernel.startswith("started cold (it did not answer)")
    assert text(result, 0) == "42\n"
    monkeypatch.undo()
    assert execute(Job(notebook("1"))).kernel.startswith("started cold")


def test_namespaces_that_are_refused_make_kernels_start_cold(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parent.trouble() == ""
    parent.current().close()
    monkeypatch.setattr(parent.sandbox, "below_writable", lambda: ["/no/such/folder"])
    result = execute(Job(notebook("print(6 * 7)"), {"a.txt": b"x"}))
    assert "started cold" in result.kernel and "No such file" in result.kernel
    assert text(result, 0) == "42\n"
    assert "No such file" in parent.trouble()


def test_a_cold_kernel_does_the_same(fresh: None) -> None:
    sources = ("import torch; print(torch.arange(3))", "1 / 0", "print('on')")
    warm = execute(Job(notebook(*sources)))
    parent.give_up("a test")
    cold = execute(Job(notebook(*sources)))
    assert cold.kernel.startswith("started cold (a test)")
    assert _shown(cold.notebook) == _shown(warm.notebook)


# -- As others use it ------------------------------------------------------------------------


def _shown(notebook: Any) -> list[Any]:
    """The outputs of a notebook without what differs from run to run: times and addresses."""
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    shown = json.dumps(
        [[_merged(c["outputs"]), c["execution_count"]] for c in cells],
        default=dict,
        ensure_ascii=False,
    )
    shown = re.sub(r"0x[0-9a-f]{6,}|ipykernel_\d+/\d+", "ADDRESS", shown)
    shown = re.sub(r"\d+(\.\d+)? ?(s|ms|µs|min)\b|ratio: \d+", "TIME", shown)
    shown = re.sub(r"\d+:\d\d|\d+\.\d+ ?it/s", "TIME", shown)
    shown = re.sub("[\u2588-\u258f ]+\\|", "|", shown)  # the bar fills what the times leave
    return json.loads(re.sub(" +", " ", shown))


def _merged(outputs: list[dict]) -> list[dict]:
    """Texts of one stream in one output: where they are cut is chance."""
    merged: list[dict] = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output["output_type"] == "stream" == last.get("output_type") and (
            output["name"] == last["name"]
        ):
            last["text"] += output["text"]
        else:
            merged.append(dict(output))
    for output in merged:
        if "text" in output:  # of a progress bar, what stands at the end
            output["text"] = re.sub(r"[^\n]*\r", "", output["text"])
    return merged


# Every kind of output that a course's notebook has, and those that are made one of others.
EVERY_KIND = """
import sys, warnings
print("out", end=""); print("put"); print("err", file=sys.stderr)
6 * 7
# %%
warnings.warn("careful", stacklevel=1)
# %%
import matplotlib.pyplot as plt
plt.plot([1, 2], [3, 5]); plt.title("Ёж"); plt.show()
# %%
from practical_dl import check
import numpy as np, torch
np.linspace(0, 1, 30), torch.eye(3, requires_grad=True)
# %%
check.equal(1, 2, "one is not two")
# %%
import pandas
pandas.DataFrame({"a": [1, 2], "b": ["x", None]})
# %%
from IPython import display as d
for kind in (d.HTML, d.Markdown, d.Latex, d.SVG):
    d.display(kind("<svg></svg>"))
d.display(d.JSON({"a": 1}), d.Image(bytes.fromhex("ffd8ffe0"), format="jpeg", width=5))
# %%
handle = d.display("first", display_id="own"); print("between")
# %%
handle.update("second")
# %%
for i in range(3): d.clear_output(wait=True); print(i)
# %%
print("gone"); d.clear_output(); print("kept")
# %%
import tqdm
for _ in tqdm.tqdm(range(3)): pass
# %%
class Shown:
    def _repr_mimebundle_(self, **_):
        return {"text/plain": "p", "application/own+json": [1]}, {"own": True}
Shown()
# %%
%pprint
# %%
!echo of a shell
# %%
def f(x): return 1 / x
f(0)
# %%
f(
# %%
raise SystemExit
# %%
_;
"""


def test_outputs_are_those_of_a_plain_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = notebook(*EVERY_KIND.strip().split("\n# %%\n"))
    plain = copy.deepcopy(own)
    for name, value in sandbox.threads(1).items():
        monkeypatch.setenv(name, value)
    folder = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(plain, timeout=600, resources=folder, allow_errors=True).execute()
    ours = execute(Job(own, limits=LIMITS))
    assert ours.kernel.startswith("forked")
    for theirs, shown in zip(_shown(plain), _shown(ours.notebook), strict=True):
        assert shown == theirs


@pytest.fixture
def kernelspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an installed kernel that runs in the sandbox."""
    folder = tmp_path / "jupyter" / "kernels" / "sandboxed"
    folder.mkdir(parents=True)
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Sandboxed",
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"kernel_provisioner": {"provisioner_name": provisioner.NAME}},
    }
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    return "sandboxed"


SECLUDED = "import os; assert os.getcwd() == '/home/student/work'; print(os.getuid())"


def test_nbclient_uses_it_by_name(kernelspec: str) -> None:
    once = v4.new_notebook(cells=[v4.new_code_cell(SECLUDED)])
    NotebookClient(once, kernel_name=kernelspec, timeout=600).execute()
    assert once.cells[0].outputs[0].text == "1000\n"


def test_papermill_uses_it_by_name(kernelspec: str, tmp_path: Path) -> None:
    cell = v4.new_code_cell("profile = 'small'", metadata={"tags": ["parameters"]})
    once = v4.new_notebook(cells=[cell, v4.new_code_cell(f"{SECLUDED}\nprint(profile)")])
    once.metadata.language_info = {"name": "python"}
    nbformat.write(once, tmp_path / "in.ipynb")
    done = papermill.execute_notebook(
        tmp_path / "in.ipynb",
        tmp_path / "out.ipynb",
        {"profile": "full"},
        kernel_name=kernelspec,
        progress_bar=False,
    )
    assert done.cells[-1].outputs[0].text == "1000\nfull\n"


def test_nbval_uses_it_by_name(kernelspec: str, tmp_path: Path) -> None:
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(SECLUDED)]), tmp_path / "n.ipynb")
    line = [sys.executable, "-m", "pytest", "--nbval-lax", f"--nbval-kernel-name={kernelspec}"]
    line += ["-p", "no:cacheprovider", "-q", "-o", "addopts=", "n.ipynb"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_kernel_is_interrupted_and_restarted(kernelspec: str) -> None:
    from jupyter_client.manager import AsyncKernelManager

    async def go() -> list[str]:
        manager = AsyncKernelManager(kernel_name=kernelspec)
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        await client.wait_for_ready(timeout=600)
        client.execute("import time\nprint('begun', flush=True)\ntime.sleep(600)")
        while (await client.get_iopub_msg(timeout=600))["msg_type"] != "stream":
            pass
        await manager.interrupt_kernel()
        interrupted = await client.get_shell_msg(timeout=600)
        await manager.restart_kernel(now=True)
        await client.wait_for_ready(timeout=600)
        again = await client.execute("1 + 1", reply=True, timeout=600)
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        return [interrupted["content"]["ename"], again["content"]["status"]]

    assert asyncio.run(go()) == ["KeyboardInterrupt", "ok"]
