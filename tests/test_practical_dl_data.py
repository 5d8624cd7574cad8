"""Data: what is fetched, checked and kept, and what is said where that fails."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from practical_dl import data
from practical_dl.data import DataError

CONTENT = bytes(range(256)) * 40
PACKED = gzip.compress(CONTENT, mtime=0)


class Mirror(ThreadingHTTPServer):
    """A server of one file, faultless or not, by the name of the path."""

    asked: list[str]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = gzip.compress(b"other", mtime=0) if self.path == "/wrong" else PACKED
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Mirror(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PRACTICAL_DL_DATA", str(folder))
    return folder


def know(monkeypatch: pytest.MonkeyPatch, *urls: str, path: str = "sub/file") -> None:
    """Let `data` know a set `tiny` of one file."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    md5 = hashlib.md5(PACKED).hexdigest()
    files = (data._File(path, urls, digest, md5, len(PACKED)),)
    monkeypatch.setitem(data._FILES, "tiny", files)


def sentence(name: str = "tiny") -> str:
    """What is said of a set that can't be had, on one line."""
    with pytest.raises(DataError) as caught:
        data.fetch(name)
    message = str(caught.value)
    assert "\n" not in message and name in message
    return message


def files_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_a_download_is_kept(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, mirror.url("good"))
    (path,) = data.fetch("tiny")
    assert path == cache / "sub" / "file" and path.read_bytes() == CONTENT
    assert files_in(cache) == ["file", "file.gz"]
    assert data.fetch("tiny") == [path]
    assert mirror.asked == ["/good"]


def test_is_cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch)
    assert not data.is_cached("tiny") and data.is_cached("digits")
    (cache / "sub").mkdir(parents=True)
    (cache / "sub" / "file.gz").write_bytes(PACKED)
    assert data.is_cached("tiny")
    data.fetch("tiny")[0].with_suffix(".gz").unlink()
    assert data.is_cached("tiny")


def test_the_next_mirror_serves_where_one_fails(
    mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, *map(mirror.url, ("missing", "cut", "wrong", "good")))
    (path,) = data.fetch("tiny")
    assert path.read_bytes() == CONTENT
    assert mirror.asked == ["/missing", "/cut", "/wrong", "/good"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [("cut", "ChunkedEncodingError"), ("wrong", "wrong checksum"), ("missing", "HTTPError")],
)
def test_a_bad_download_leaves_no_file(
    fault: str, said: str, mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, mirror.url(fault))
    message = sentence()
    assert said in message and "python -m practical_dl.data tiny" in message
    assert files_in(cache) == []


def test_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        know(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}/file")
        message = sentence()
    assert f"not in the cache {cache}" in message and "ConnectionError" in message
    assert "on a machine with a network run: python -m practical_dl.data tiny" in message
    assert "0.0 MB" in message  # its size
    assert files_in(cache) == []


def test_a_damaged_file_is_unpacked_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch)
    target = cache / "sub" / "file"
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT[:100])
    target.with_name("file.gz").write_bytes(PACKED)
    assert data.fetch("tiny")[0].read_bytes() == CONTENT


@pytest.mark.parametrize(
    "packed",
    [PACKED[:100], b"no gzip", PACKED[:-8] + bytes(8), gzip.compress(b"other"), b""],
    ids=["cut", "no gzip", "bad crc", "another file", "empty"],
)
def test_a_damaged_packed_file_is_named(
    packed: bytes, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch)
    path = cache / "sub" / "file.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(packed)
    message = sentence()
    assert str(path) in message and "delete it" in message
    assert files_in(cache) == ["file.gz"]


def test_a_disk_full_during_the_download(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, "http://127.0.0.1:9/file")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(data.pooch, "retrieve", full)
    message = sentence()
    assert f"the disk of {cache / 'sub'} is full" in message and "PRACTICAL_DL_DATA" in message


def write_half(error: BaseException) -> object:
    def write_bytes(path: Path, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        raise error

    return write_bytes


def test_a_disk_full_while_unpacking_leaves_no_half_file(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch)
    (cache / "sub").mkdir(parents=True)
    (cache / "sub" / "file.gz").write_bytes(PACKED)
    monkeypatch.setattr(Path, "write_bytes", write_half(OSError(errno.ENOSPC, "full")))
    assert "is full" in sentence()
    assert files_in(cache) == ["file.gz"]


def test_an_interrupted_write_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"before")
    monkeypatch.setattr(Path, "write_bytes", write_half(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        data._write(target, CONTENT)
    assert target.read_bytes() == b"before" and files_in(tmp_path) == ["file"]


def test_a_read_only_cache_serves_a_packed_file(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch)
    packed = cache / "sub" / "file.gz"
    packed.parent.mkdir(parents=True)
    packed.write_bytes(PACKED)
    monkeypatch.setattr(Path, "write_bytes", write_half(OSError(errno.EROFS, "read-only")))
    assert data.fetch("tiny") == [packed]


def test_a_cache_that_is_no_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, "http://127.0.0.1:9/file")
    cache.write_text("a file")
    assert "can't be used as a cache" in sentence()


# -- load -------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.tobytes()


@pytest.fixture
def small_mnist(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """MNIST of a few pictures, packed, in the cache."""
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 256, shape).astype(np.uint8) for shape in ((5, 28, 28), 5, (3, 28, 28), 3)
    ]
    files = []
    for file, array in zip(data._FILES["mnist"], arrays, strict=True):
        content = idx(array)
        path = cache / f"{file.path}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content))
        digest = hashlib.sha256(content).hexdigest()
        files.append(data._File(file.path, (), digest, "", 0))
    monkeypatch.setitem(data._FILES, "mnist", tuple(files))
    return arrays


@pytest.mark.parametrize("writable", [True, False])
def test_mnist_is_read_from_the_cache(
    writable: bool,
    small_mnist: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not writable:
        monkeypatch.setattr(Path, "write_bytes", write_half(OSError(errno.EROFS, "read-only")))
    found = data.load("mnist")
    got = [found.x_train, found.y_train, found.x_test, found.y_test]
    for array, expected in zip(got, small_mnist, strict=True):
        np.testing.assert_array_equal(array, expected)
    said = capsys.readouterr().out
    assert said.startswith("MNIST: 5 training and 3 test examples of shape (28, 28), 10 classes\n")
    assert "licence: CC BY-SA 3.0" in said and "source: official files in " in said


@pytest.mark.parametrize(("name", "features"), [("digits", (8, 8)), ("breast_cancer", (30,))])
def test_shipped_sets_need_no_cache(
    name: str, features: tuple[int, ...], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = data.load(name), data.load(name, quiet=True)
    assert first.x_train.shape[1:] == first.x_test.shape[1:] == features
    assert len(first.x_train) == len(first.y_train) and len(first.x_test) == len(first.y_test)
    assert set(np.unique(first.y_test)) == set(range(len(first.classes)))
    np.testing.assert_array_equal(first.x_train, second.x_train)
    assert capsys.readouterr().out.count("shipped with the installed scikit-learn") == 1
    assert not cache.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mnst",), "there is no data set 'mnst'; there are digits, breast_cancer, mnist, cifar10"),
        (("digits", "full"), "'digits' is not meant for the profile 'full'"),
        (("digits", "big"), "profile must be one of small, full, not 'big'"),
    ],
)
def test_load_refuses(arguments: tuple[str, ...], said: str, cache: Path) -> None:
    with pytest.raises(DataError) as caught:
        data.load(*arguments)
    assert said in str(caught.value)


def test_the_command(
    small_mnist: list[np.ndarray], capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    assert data._main(["mnist", "digits"]) == 0
    assert data._main([]) == data._main(["mnist", "mnst"]) == 2
    assert "usage: python -m practical_dl.data NAME..." in capsys.readouterr().out
    know(monkeypatch)
    monkeypatch.setitem(data._LOADERS, "tiny", {"small": lambda: data.fetch("tiny")})
    assert data._main(["tiny"]) == 2
    assert capsys.readouterr().err.startswith("error: tiny")
