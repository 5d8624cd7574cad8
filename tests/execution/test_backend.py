"""Jobs on worker processes and on a Dask cluster: nothing lost, nothing twice, nothing left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import trustme
from kit.rules import WEEK, built, copy_tiny
from kit.wait import until
from nbformat import v4

from autograder import notebook as nb_
from autograder.execution.backend import BackendError, Failed
from autograder.execution.cluster import NO_FILES, Cluster, Tls
from autograder.execution.execute import Job, Result, execute
from autograder.execution.pool import LocalPool
from autograder.execution.sandbox import Limits, SandboxError
from autograder.grading.graft import graft
from autograder.grading.job import job_of

QUICK = Limits(cell_seconds=20, notebook_seconds=60)
# How the processes of these tests start: a notebook that says so ends the worker that runs it, as a
# lack of memory would, and NumPy may claim to be another one.
START = """
    import importlib.metadata, os, signal

    if os.environ.get("OTHER_NUMPY"):
        real_version = importlib.metadata.version
        importlib.metadata.version = lambda n: "1.0" if n == "numpy" else real_version(n)

    from autograder.execution import execute as module
    real_execute = module.execute

    def execute(job, **options):
        if "poison" in str(job.notebook):
            os.kill(os.getpid(), signal.SIGKILL)
        return real_execute(job, **options)

    module.execute = execute
"""


def job(*sources: str, **values: object) -> Job:
    cells = [v4.new_code_cell(source, id=f"c{n}") for n, source in enumerate(sources)]
    return Job(v4.new_notebook(cells=cells), limits=QUICK, **values)


def jobs(number: int, seconds: float = 0) -> dict[str, Job]:
    """Distinct jobs, by key."""
    sleep = f"import time; time.sleep({seconds})"
    return {f"key{n}": job(sleep, f"print({n})") for n in range(number)}


def printed(result: Result | Failed) -> str:
    assert isinstance(result, Result), result
    return "".join(o.get("text", "") for c in result.notebook["cells"] for o in c["outputs"])


def assert_each_once(found: list[tuple[str, Result | Failed]], number: int) -> None:
    """Every one of `jobs` has its own result, and no other one."""
    wanted = sorted((f"key{n}", f"{n}\n") for n in range(number))
    assert sorted((key, printed(result)) for key, result in found) == wanted


def kill(worker: int) -> None:
    """Kill a worker, by its process's number; all of its kernels end with it."""
    below = psutil.Process(worker).children(recursive=True)
    os.kill(worker, signal.SIGKILL)
    until(lambda: not any(p.is_running() for p in below))


@pytest.fixture(scope="module", autouse=True)
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("start")
    (folder / "sitecustomize.py").write_text(textwrap.dedent(START))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        yield


# -- Processes of this machine ---------------------------------------------------------------


def test_a_pool_gives_what_execute_gives_and_takes_only_what_it_needs() -> None:
    wanted = execute(job("print('hello'); 6 * 7", "1 / 0"))
    taken: list[int] = []

    def lazy() -> Iterator[tuple[str, Job]]:
        for number in range(10):
            taken.append(number)
            yield f"key{number}", job("print('hello'); 6 * 7", "1 / 0")

    with LocalPool(2) as pool:
        found = []
        for key, result in pool.run(lazy()):
            found.append(key)
            assert len(taken) <= len(found) + 4
            assert isinstance(result, Result) and result.sandboxed
            assert result.notebook == wanted.notebook
            assert [(c.cell_id, c.status) for c in result.cells] == [("c0", "ok"), ("c1", "error")]
        assert sorted(found) == [f"key{n}" for n in range(10)]
        assert_each_once(list(pool.run(jobs(2))), 2)  # once more, with the same workers
        assert list(pool.run({})) == []


def test_a_killed_worker_loses_nothing() -> None:
    with LocalPool(2) as pool:
        found = []
        for pair in pool.run(jobs(6, seconds=0.5)):
            if not found:
                kill(pool._workers[1]._process.pid)
            found.append(pair)
    assert_each_once(found, 6)


def test_a_job_that_ends_its_workers_fails_and_the_others_do_not() -> None:
    outside = Job(job("1").notebook, {"../outside": b""}, QUICK)
    with LocalPool(1, sandbox=False) as pool:
        found = dict(pool.run({"poison": job("'poison'"), "outside": outside, **jobs(1)}))
    assert "3 times" in found["poison"].message and "signal 9" in found["poison"].message
    assert "ValueError" in found["outside"].message
    assert printed(found["key0"]) == "0\n" and not found["key0"].sandboxed


def test_without_a_sandbox_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with LocalPool(2) as pool, pytest.raises(SandboxError, match="bubblewrap"):
        list(pool.run(jobs(4)))


def test_a_worker_that_can_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with LocalPool(2) as pool, pytest.raises(BackendError, match="could not start"):
        list(pool.run(jobs(4)))


def works(process: psutil.Process) -> bool:
    """Whether it is a kernel that is at it: nothing is below one."""
    try:
        return not process.children() and process.cpu_times().user > 0.5
    except psutil.Error:
        return False


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_the_owner(sent: signal.Signals, tmp_path: Path) -> None:
    script = f"""
        import sys
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
        from autograder.execution.pool import LocalPool
        from test_backend import job, jobs
        with LocalPool(2) as pool:
            endless = {{key: job("while True: pass") for key in "ab"}}
            for key, _ in pool.run(jobs(4) | endless):
                print(key, flush=True)
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert len([owner.stdout.readline() for _ in range(4)]) == 4
    process = psutil.Process(owner.pid)
    until(lambda: sum(map(works, process.children(recursive=True))) == 2)  # the endless ones run
    below = process.children(recursive=True)
    owner.send_signal(sent)
    until(lambda: not any(p.is_running() for p in below))
    errors = owner.communicate()[1]
    if sent == signal.SIGINT:
        assert "KeyboardInterrupt" in errors
        assert not list(tmp_path.iterdir())


# -- A Dask cluster --------------------------------------------------------------------------


class Dask:
    """A scheduler and its workers, processes on this machine."""

    def __init__(self, folder: Path, *security: str, protocol: str = "tcp") -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        self.address, self._port = f"{protocol}://127.0.0.1:{port}", port
        self.workers: list[subprocess.Popen[bytes]] = []
        self._folder, self._security = folder, security
        line = ["scheduler", "--host", self.address, "--no-dashboard"]
        self.scheduler = self._start(line, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1")
        until(self._listens)

    def worker(self, *options: str, **variables: str) -> None:
        line = ["worker", self.address, "--nthreads", "1", "--no-dashboard", *options]
        self.workers.append(self._start(line, **variables))

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.terminate()
        for process in (*self.workers, self.scheduler):
            process.wait()

    def _listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self._port)) == 0

    def _start(self, line: list[str], **variables: str) -> subprocess.Popen[bytes]:
        name = f"{line[0]}{len(self.workers)}"
        with open(self._folder / f"{name}.log", "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *line, *self._security],
                cwd=self._folder,
                env={**os.environ, **variables},
                stderr=log,
            )


def connected(dask: Dask, workers: int, **options: Any) -> Cluster:
    """A cluster that has so many workers, ready to be entered."""
    with Cluster(dask.address, tls=options.get("tls", NO_FILES)) as cluster:
        cluster._client.wait_for_workers(workers, timeout=600)
    return Cluster(dask.address, **options)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there will answer, however busy the machine is."""
    monkeypatch.setattr("autograder.execution.cluster.CONNECT_SECONDS", 600)
    monkeypatch.setattr("autograder.execution.cluster.WORKER_SECONDS", 600)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    """Two equal workers, without encryption and without a GPU."""
    dask = Dask(tmp_path_factory.mktemp("plain"))
    for _ in range(2):
        dask.worker()
    yield dask
    dask.stop()


def test_a_cluster_loses_nothing_when_a_worker_is_killed(plain: Dask) -> None:
    with connected(plain, 2) as cluster:
        found = []
        for pair in cluster.run(iter(jobs(8, seconds=0.5).items())):
            if not found:
                kill(cluster._client.run(os.getpid).popitem()[1])
            found.append(pair)
    assert_each_once(found, 8)
    assert all(result.sandboxed for _, result in found)


def test_a_job_that_ends_its_workers_fails_on_a_cluster_too(plain: Dask) -> None:
    with Cluster(plain.address) as cluster:
        found = dict(cluster.run({"poison": job("'poison'"), **jobs(4)}))
    failed = found.pop("poison")
    assert isinstance(failed, Failed) and "died" in failed.message
    assert_each_once(list(found.items()), 4)  # whatever Dask may have blamed on them


def test_no_equal_worker_is_told(plain: Dask, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = connected(plain, 2)
    monkeypatch.setattr("autograder.execution.cluster.environment", lambda library: "python 4.0.0")
    monkeypatch.setattr("autograder.execution.cluster.WORKER_SECONDS", 0)
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:\d+: it has python .* has python 4"):
        cluster.__enter__()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("certificates")
    files = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(files["ca"])
    issued.private_key_pem.write_to_path(files["key"])
    for part in issued.cert_chain_pems:
        part.write_to_path(files["cert"], append=True)
    return files


@pytest.mark.filterwarnings("ignore:Mismatched versions")
def test_tls_and_workers_that_are_not_fit(
    certificates: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    security = [f"--tls-{'ca-file' if n == 'ca' else n}={p}" for n, p in certificates.items()]
    dask = Dask(tmp_path, *security, protocol="tls")
    try:
        dask.worker()
        dask.worker(OTHER_NUMPY="1")
        dask.worker(PATH="/nowhere")
        told: list[str] = []
        with connected(dask, 3, tell=told.append, tls=Tls(**certificates)) as cluster:
            found = []
            for pair in cluster.run(jobs(6, seconds=0.2)):
                if not found:  # its successor has another address
                    kill(cluster._client.run(os.getpid, workers=list(cluster._fit)).popitem()[1])
                found.append(pair)
            assert_each_once(found, 6)
            assert len(told) == 2 and all("127.0.0.1:" in sentence for sentence in told)
            assert "numpy 1.0" in "".join(told) and "bubblewrap" in "".join(told)
        monkeypatch.setattr("autograder.execution.cluster.CONNECT_SECONDS", 2)
        stranger = trustme.CA().issue_cert("127.0.0.1")
        stranger.private_key_and_cert_chain_pem.write_to_path(tmp_path / "stranger.pem")
        false = {
            **certificates,
            "cert": tmp_path / "stranger.pem",
            "key": tmp_path / "stranger.pem",
        }
        for address, files in ((dask.address.replace("tls", "tcp"), {}), (dask.address, false)):
            with pytest.raises(BackendError, match=f"no connection .* {address}"):
                Cluster(address, tls=Tls(**files)).__enter__()
    finally:
        dask.stop()


def test_files_of_certificates_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="there is no ca"):
        Cluster("tls://127.0.0.1:1").__enter__()
    with pytest.raises(BackendError, match="there is no cert"):
        Cluster("tls://127.0.0.1:1", tls=Tls(ca=Path(__file__))).__enter__()
    with pytest.raises(BackendError, match=r"ca .*none\.pem is not there"):
        Cluster("tls://127.0.0.1:1", tls=Tls(ca=tmp_path / "none.pem")).__enter__()


def test_a_scheduler_that_is_not_there_or_goes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("autograder.execution.cluster.CONNECT_SECONDS", 2)
        with pytest.raises(BackendError, match=r"no connection .* tcp://127\.0\.0\.1:9"):
            Cluster("tcp://127.0.0.1:9").__enter__()
    dask = Dask(tmp_path)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("autograder.execution.cluster.WORKER_SECONDS", 0)
            with pytest.raises(BackendError, match=f"no workers: .*dask worker {dask.address}"):
                Cluster(dask.address).__enter__()
        dask.worker()
        found = []
        with connected(dask, 1) as cluster, pytest.raises(BackendError, match="is kept: run"):
            for pair in cluster.run(jobs(6, seconds=0.5)):
                found.append(pair)
                if len(found) == 2:
                    dask.scheduler.kill()
        assert 2 <= len(found) < 6
    finally:
        dask.stop()


def test_without_dask_a_sentence_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BackendError, match="cluster"):
        Cluster("tcp://127.0.0.1:1").__enter__()


def test_no_name_goes_over_the_wire(tmp_path: Path) -> None:
    folder = built(copy_tiny(tmp_path / "tiny"))
    source = nb_.read(folder / "source" / WEEK / "tiny.ipynb")
    handed_in = nb_.read(folder / "release" / "en" / WEEK / "tiny.ipynb")
    handed_in.metadata["authors"] = [{"name": "Ada Example"}]
    for cell in handed_in.cells:
        cell.metadata["author"] = "Ada Example"
    text = job_of(graft(source, handed_in).notebook, source, {}, QUICK).to_json()
    assert "def line" in text and "Ada" not in text
