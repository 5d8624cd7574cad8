"""What all tests share: a data cache, the tiny course, their limits, and the markers."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit import limit, postgres
from kit.rules import copy_tiny

from autograder import doctor

REPOSITORY = Path(__file__).parents[1]
# Beside the checkout of a developer or a runner there may be the files that the official sources
# serve, under the names that `practical_dl.data` gives them in its cache.
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs a CUDA device, skipped where there is none")
    config.addinivalue_line("markers", "machine: measures or exhausts the machine, so runs alone")
    # Threads that wait for each other by spinning take the core from the one that they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Under a shell's `&` or nohup, Ctrl-C is ignored, also by all processes that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The longest files come first: at the end, no process should be left alone with one.
    items.sort(key=lambda item: "weeks" not in item.path.parts)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch  # here: it is slow to import

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


def pytest_timeout_set_timer(settings: Any) -> bool:
    """A test's `timeout` is in CPU seconds."""
    limit.start(settings.timeout)
    return True


def pytest_timeout_cancel_timer() -> bool:
    limit.stop()
    return True


@pytest.fixture(scope="session", autouse=True)
def data_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data cache for this session and all processes that it starts.

    A folder named by PRACTICAL_DL_DATA is used as it is; else a new one is filled from
    `../shared/data`, and stays empty where there is no such folder.
    """
    with pytest.MonkeyPatch.context() as patch:
        if "PRACTICAL_DL_DATA" not in os.environ:
            folder = tmp_path_factory.mktemp("data") / "cache"
            if SHARED_DATA.is_dir():
                shutil.copytree(SHARED_DATA, folder, copy_function=_link)
            else:
                folder.mkdir()
            patch.setenv("PRACTICAL_DL_DATA", str(folder))
        yield Path(os.environ["PRACTICAL_DL_DATA"])


def _link(source: str, target: str) -> None:
    """A hard link where it can be had: a symbolic one would lead out of the sandbox."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a browser."""
    path = next(filter(None, map(shutil.which, doctor.CHROMIUM)), None)
    assert path is not None, "no Chromium: run scripts/setup tests"
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of this session's own, on a Unix socket; its address but the database."""
    with postgres.server() as address:
        yield address


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """A new database of that server, as `c.CourseDirectory.db_url` takes it."""
    return postgres.new_database(postgres_server)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A copy of the tiny course (one week, one notebook) with this repository's nbgrader_config."""
    folder = tmp_path / "tiny"
    copy_tiny(folder)
    shutil.copy(REPOSITORY / "nbgrader_config.py", folder)
    return folder
