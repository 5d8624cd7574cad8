"""Data: what is fetched, checked and kept, and what is said where that fails."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import pickle
import random
import socket
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image

from practical_dl import data
from practical_dl.data import DataError

CONTENT = bytes(range(256)) * 40
PACKED = gzip.compress(CONTENT, mtime=0)


class Mirror(ThreadingHTTPServer):
    """A server of `files`, else of one file, faultless or not, by the name of the path."""

    asked: list[str]
    files: dict[str, bytes]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = gzip.compress(b"other", mtime=0) if self.path == "/wrong" else PACKED
        body = self.server.files.get(self.path, body)
        self.send_response(404 if self.path.startswith("/missing") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if self.path.startswith("/cut") else body)

    do_HEAD = do_GET  # torchvision asks so for redirections

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Mirror(("127.0.0.1", 0), Handler) as server:
        server.asked, server.files = [], {}
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


def test_a_notebook_shows_the_sentence_alone() -> None:
    shell = InteractiveShell()
    with capture_output() as shown:
        shell.run_cell("from practical_dl import data\n\ndata.load('cifar')")
    shell.history_manager.end_session()
    assert shown.stdout.startswith("No data: ") and len(shown.stdout.splitlines()) == 1


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


# -- what is built from a repository -----------------------------------------------------------


def zipped(files: dict[str, bytes]) -> bytes:
    """An archive of a repository, wrapped in a folder as the host does."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("name-commit/", b"")
        for path, content in files.items():
            archive.writestr(f"name-commit/{path}", content)
    return out.getvalue()


ARCHIVE = zipped({"a.txt": CONTENT, "b.txt": b"b", "c.txt": b"c", "../../../evil": b"evil"})
COMMIT = "/owner/name/zip/commit"


def know_built(monkeypatch: pytest.MonkeyPatch, archives: str) -> None:
    """Let `data` know a set `tiny` of two files that are built from a repository."""

    def build(files: dict[str, bytes]) -> list[bytes]:
        return [files["a.txt"], data._pack({"b": files["b.txt"], "c": files["c.txt"]})]

    contents = build({"a.txt": CONTENT, "b.txt": b"b", "c.txt": b"c"})
    files = tuple(
        data._File(path, (), hashlib.sha256(b"as given").hexdigest(), "", 1, built)
        for path, built in zip(
            ("sub/a", "sub/bc"), (hashlib.sha256(c).hexdigest() for c in contents), strict=True
        )
    )
    monkeypatch.setitem(data._FILES, "tiny", files)
    repository = data._Repository("owner/name", "commit", build)
    monkeypatch.setitem(data._REPOSITORIES, "tiny", repository)
    monkeypatch.setattr(data, "_ARCHIVES", archives)


def test_what_is_built_is_kept(
    mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    know_built(monkeypatch, mirror.url("good"))
    mirror.files[f"/good{COMMIT}"] = ARCHIVE
    assert not data.is_cached("tiny")
    paths = data.fetch("tiny")
    assert data.is_cached("tiny") and paths == data.fetch("tiny")
    assert paths[0].read_bytes() == CONTENT
    with zipfile.ZipFile(paths[1]) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"b": b"b", "c": b"c"}
    assert mirror.asked == [f"/good{COMMIT}"]
    # Neither the archive nor a file by the unsafe name is left.
    assert files_in(tmp_path) == ["a", "bc"]


def test_the_files_as_given_need_no_repository(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know_built(monkeypatch, "http://127.0.0.1:9")
    (cache / "sub").mkdir(parents=True)
    paths = [cache / "sub" / name for name in ("a", "bc")]
    for path in paths:
        path.write_bytes(b"as given")
    monkeypatch.setattr(Path, "write_bytes", write_half(OSError(errno.EROFS, "read-only")))
    monkeypatch.setattr(Path, "mkdir", write_half(OSError(errno.EROFS, "read-only")))
    assert data.fetch("tiny") == paths


@pytest.mark.parametrize(
    ("folder", "body", "said"),
    [
        ("good", ARCHIVE[:-30], "is cut short, damaged or another archive (BadZipFile"),
        ("good", b"", "is cut short, damaged or another archive (BadZipFile"),
        ("good", zipped({"a.txt": b"", "b.txt": b""}), "another archive (KeyError: 'c.txt')"),
        ("good", ARCHIVE[:200] + b"?????" + ARCHIVE[205:], "cut short, damaged"),
        ("good", zipped({"a.txt": CONTENT, "b.txt": b"b", "c.txt": b"d"}), "sub/bc as built from"),
        ("cut", ARCHIVE, "could not be fetched (ChunkedEncodingError)"),
        ("missing", ARCHIVE, "could not be fetched (HTTPError)"),
    ],
    ids=["truncated", "empty", "lacks a file", "bad crc", "other content", "cut", "missing"],
)
def test_a_bad_archive_leaves_no_file(
    folder: str,
    body: bytes,
    said: str,
    mirror: Mirror,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    know_built(monkeypatch, mirror.url(folder))
    mirror.files[f"/{folder}{COMMIT}"] = body
    assert said in sentence()
    assert files_in(cache) == []


def test_a_repository_without_a_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        know_built(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}")
        message = sentence()
    assert f"not in the cache {cache}" in message and "ConnectionError" in message
    assert "on a machine with a network run: python -m practical_dl.data tiny" in message
    assert files_in(cache) == []


@pytest.mark.parametrize("content", [b"", b"as giv", b"another file"])
def test_a_damaged_file_that_was_built_is_named(
    content: bytes, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know_built(monkeypatch, "http://127.0.0.1:9")
    path = cache / "sub" / "bc"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    message = sentence()
    assert str(path) in message and "delete it, then run python -m practical_dl.data" in message
    assert path.read_bytes() == content and files_in(cache) == ["bc"]


def test_a_disk_full_while_building_leaves_no_half_file(
    mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know_built(monkeypatch, mirror.url("good"))
    mirror.files[f"/good{COMMIT}"] = ARCHIVE
    monkeypatch.setattr(Path, "write_bytes", write_half(OSError(errno.ENOSPC, "full")))
    assert f"the disk of {cache / 'sub'} is full" in sentence()
    assert files_in(cache) == []


def test_a_read_only_cache_without_the_files(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know_built(monkeypatch, "http://127.0.0.1:9")

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(data.tempfile, "TemporaryDirectory", refuse)
    assert "can't be used as a cache: [Errno 30] Read-only file system" in sentence()


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


def real(name: str) -> data.Dataset:
    """A data set of the session's cache."""
    if not data.is_cached(name):
        pytest.skip(f"{name} is not in the cache; run python -m practical_dl.data {name}")
    return data.load(name, quiet=True)


@pytest.fixture(scope="module")
def cifar10() -> data.Dataset:
    return real("cifar10")


@pytest.fixture(scope="module")
def nuclei() -> data.Dataset:
    return real("nuclei")


@pytest.fixture(scope="module")
def bccd() -> data.Dataset:
    return real("bccd")


def test_cifar10_is_what_it_is_known_to_be(cifar10: data.Dataset) -> None:
    found, said = cifar10, str(cifar10)
    assert said.startswith(
        "CIFAR-10: 30000 training and 8000 test examples of shape (32, 32, 3), 10 classes\n"
        "source: a JPEG copy (quality 75: not the official pixels) in "
    )
    assert "licence: none is stated; cite A. Krizhevsky" in said
    assert found.x_train.dtype == found.x_test.dtype == np.uint8
    assert found.y_train.dtype == found.y_test.dtype == np.int64
    assert np.bincount(found.y_train).tolist() == [3000] * 10
    # The means and deviations of the official training set, known from its many users.
    mean, deviation = found.x_train.mean((0, 1, 2)) / 255, found.x_train.std((0, 1, 2)) / 255
    np.testing.assert_allclose(mean, (0.4914, 0.4822, 0.4465), atol=0.002)
    np.testing.assert_allclose(deviation, (0.2470, 0.2435, 0.2616), atol=0.002)
    # Pictures, not noise: neighbours differ by far less than two pixels at random.
    pictures = found.x_test[:1000].astype(float)
    assert abs(np.diff(pictures, axis=2)).mean() < 0.3 * abs(pictures - pictures[::-1]).mean()
    # Their classes: ships and airplanes are before blue, frogs and deer are not.
    blue = found.x_train[..., 2].mean((1, 2)) - found.x_train[..., 0].mean((1, 2))
    by_class = [blue[found.y_train == k].mean() for k in range(10)]
    assert {found.classes[k] for k in np.argsort(by_class)[-2:]} == {"airplane", "ship"}


def test_withheld_and_public_pictures_are_the_test_set(
    cifar10: data.Dataset, data_cache: Path
) -> None:
    found = cifar10
    x, y = data.withheld("cifar10")
    assert x.shape == (2000, 32, 32, 3) and y.shape == (2000,)
    with np.load(data_cache / "cifar10_jpeg" / "test.npz") as arrays:
        np.testing.assert_array_equal([*found.y_test, *y], arrays["labels"])
        start, end = arrays["offsets"][-2:]
        last = Image.open(io.BytesIO(arrays["jpeg"][start:end].tobytes()))
        np.testing.assert_array_equal(x[-1], np.asarray(last))
    assert np.bincount([*found.y_test, *y]).tolist() == [1000] * 10
    assert np.bincount(y).min() > 150
    public, kept = ({picture.tobytes() for picture in part} for part in (found.x_test, x))
    assert len(kept) == 2000 and not public & kept
    assert not kept & {picture.tobytes() for picture in found.x_train}


def test_nothing_is_withheld_of_other_sets() -> None:
    with pytest.raises(DataError, match="nothing is withheld of the data set 'digits'"):
        data.withheld("digits")


def test_nuclei_are_what_they_are_known_to_be(nuclei: data.Dataset) -> None:
    found, said = nuclei, str(nuclei)
    assert "120 training and 30 test examples of shape (256, 256), masks, 1 class\n" in said
    assert "licence: CC0" in said
    for x, y in ((found.x_train, found.y_train), (found.x_test, found.y_test)):
        assert x.shape == y.shape and x.dtype == np.uint8 and y.dtype == np.int32
        for picture, mask in zip(x, y, strict=True):
            numbers, first = np.unique(mask, return_index=True)
            assert numbers.tolist() == list(range(len(numbers))) and len(numbers) > 1
            assert (np.diff(first[1:]) > 0).all()
            assert picture[mask > 0].mean() > 1.3 * picture[mask == 0].mean()  # nuclei glow


def test_instances_are_numbered_by_their_first_pixels() -> None:
    mask = np.array([[0, 9, 0], [2, 9, 0], [0, 0, 5]])
    expected = [[0, 1, 0], [2, 1, 0], [0, 0, 3]]
    np.testing.assert_array_equal(data._numbered(mask), expected)
    np.testing.assert_array_equal(data._numbered(mask[:2, :2] + 1), [[1, 2], [3, 2]])
    np.testing.assert_array_equal(data._numbered(np.zeros((2, 2), int)), np.zeros((2, 2)))


def test_blood_cells_are_what_they_are_known_to_be(bccd: data.Dataset) -> None:
    found, said = bccd, str(bccd)
    assert "292 training and 72 test examples of shape (480, 640, 3), boxes of 3 classes" in said
    assert "licence: MIT" in said
    assert (len(found.y_train), len(found.y_test)) == (292, 72)
    boxes = np.concatenate(found.y_train + found.y_test)
    assert np.bincount(boxes[:, 4]).tolist() == [4153, 372, 361] and boxes.dtype == np.int64
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:4] <= (640, 480)).all()
    assert (boxes[:, :2] < boxes[:, 2:4]).all()
    # White cells are stained: less green inside of their boxes than in the picture.
    darker = [
        picture[y0:y1, x0:x1, 1].mean() < picture[..., 1].mean()
        for picture, rows in zip(found.x_test, found.y_test, strict=True)
        for x0, y0, x1, y1, kind in rows
        if found.classes[kind] == "WBC"
    ]
    assert np.mean(darker) > 0.95


# The repositories as they are described, made of the sets in the cache: that the descriptions are
# true can't be tried without a network.


def png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "png")
    return out.getvalue()


def cifar10_repository(cache: Path) -> dict[str, bytes]:
    files = {"README.md": b"", "train/truck/3000.jpg": b"the first that is left out"}
    for part, count in (("train", 3000), ("test", 1000)):
        with np.load(cache / "cifar10_jpeg" / f"{part}.npz") as arrays:
            jpeg, offsets, names = (arrays[key] for key in ("jpeg", "offsets", "classes"))
        order = list(range(10 * count))
        random.Random(0).shuffle(order)
        for i, number in enumerate(order):
            path = f"{part}/{names[number // count]}/{number % count:04}.jpg"
            files[path] = jpeg[offsets[i] : offsets[i + 1]].tobytes()
    return files


def nuclei_repository(cache: Path) -> dict[str, bytes]:
    large, bright = np.zeros((260, 347, 4), np.uint8), np.full((256, 256, 4), 200, np.uint8)
    files = {"stage1_train/0/images/0.png": png(large), "stage1_train/1/images/1.png": png(bright)}
    with zipfile.ZipFile(cache / "nuclei" / "nuclei150.zip") as archive:
        for member in archive.namelist():
            _, kind, name = member.split("/")
            array = np.asarray(Image.open(io.BytesIO(archive.read(member))))
            folder = f"stage1_train/{name[:3]}"
            if kind == "images":
                rgba = np.stack([array, array, array, np.full_like(array, 255)], -1)
                files[f"{folder}/images/{name}"] = png(rgba)
                continue
            for number in range(1, array.max() + 1):
                instance = np.where(array == number, 255, 0).astype(np.uint8)
                files[f"{folder}/masks/{number:03}.png"] = png(instance)
    return files


def bccd_repository(cache: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(cache / "bccd" / "BCCD.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()} | {"BCCD/plots.py": b""}


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("cifar10", cifar10_repository),
        ("nuclei", nuclei_repository),
        ("bccd", bccd_repository),
    ],
)
def test_the_same_is_built_of_the_repository(
    name: str,
    repository: Callable[[Path], dict[str, bytes]],
    request: pytest.FixtureRequest,
    data_cache: Path,
    mirror: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = request.getfixturevalue(name)
    monkeypatch.setattr(data, "_ARCHIVES", mirror.url("archives"))
    monkeypatch.setenv("PRACTICAL_DL_DATA", str(tmp_path))
    known = data._REPOSITORIES[name]
    mirror.files[f"/archives/{known.name}/zip/{known.commit}"] = zipped(repository(data_cache))
    found = data.load(name)
    for part in ("x_train", "y_train", "x_test", "y_test"):
        got, wanted = getattr(found, part), getattr(expected, part)
        assert len(got) == len(wanted)
        assert all(map(np.array_equal, got, wanted))
    assert len(mirror.asked) == 1
    assert len(files_in(tmp_path)) == len(data._FILES[name])


# -- the official CIFAR-10 ---------------------------------------------------------------------


@pytest.fixture
def official(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """A small CIFAR-10 in the official format on the mirror, which torchvision takes for it."""
    from torchvision.datasets import CIFAR10

    rng = np.random.default_rng(0)
    arrays = {}
    parts = {f"data_batch_{i}": 3 for i in range(1, 6)} | {"test_batch": data.WITHHELD + 4}
    out = io.BytesIO()
    md5 = {}
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for part, count in [*parts.items(), ("batches.meta", 0)]:
            content = {"label_names": list(data._CIFAR10_CLASSES)}
            if count:
                x = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
                y = rng.integers(0, 10, count)
                arrays[part] = (x, y)
                planes = x.transpose(0, 3, 1, 2).reshape(count, -1)
                content = {"data": planes, "labels": y.tolist()}
            packed = pickle.dumps(content, protocol=2)
            md5[part] = hashlib.md5(packed).hexdigest()
            info = tarfile.TarInfo(f"{CIFAR10.base_folder}/{part}")
            info.size = len(packed)
            archive.addfile(info, io.BytesIO(packed))
    mirror.files["/official.tar.gz"] = out.getvalue()
    monkeypatch.setattr(CIFAR10, "url", mirror.url("official.tar.gz"))
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(out.getvalue()).hexdigest())
    for name in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, name, [[p, md5[p]] for p, _ in getattr(CIFAR10, name)])
    monkeypatch.setitem(CIFAR10.meta, "md5", md5["batches.meta"])
    train = [arrays[f"data_batch_{i}"] for i in range(1, 6)]
    return {
        "x_train": np.concatenate([x for x, _ in train]),
        "y_train": np.concatenate([y for _, y in train]),
        "x_test": arrays["test_batch"][0],
        "y_test": arrays["test_batch"][1],
    }


def no_full_cifar10() -> str:
    """What is said of the official CIFAR-10 that can't be had, on one line."""
    with pytest.raises(DataError) as caught:
        data.load("cifar10", "full")
    message = str(caught.value)
    assert "\n" not in message and "cifar10" in message
    return message


def test_the_official_cifar10(
    official: dict[str, np.ndarray],
    mirror: Mirror,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not data.is_cached("cifar10", "full")
    assert data._main(["cifar10", "--profile", "full"]) == 0
    said = capsys.readouterr().out
    assert "CIFAR-10: 15 training and 4 test examples of shape (32, 32, 3), 10 classes\n" in said
    assert f"source: official files in {cache / 'cifar-10-batches-py'}" in said
    assert data.is_cached("cifar10", "full") and not data.is_cached("cifar10")
    assert [p.name for p in cache.iterdir()] == ["cifar-10-batches-py"]  # nothing else is left

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", refuse)
    mirror.asked.clear()
    found = data.load("cifar10", "full", quiet=True)
    x, y = data.withheld("cifar10", "full")
    assert mirror.asked == []
    assert found.x_train.dtype == np.uint8 and found.x_train.flags.c_contiguous
    assert found.y_train.dtype == y.dtype == np.int64
    np.testing.assert_array_equal(found.x_train, official["x_train"])
    np.testing.assert_array_equal(found.y_train, official["y_train"])
    np.testing.assert_array_equal(np.concatenate([found.x_test, x]), official["x_test"])
    np.testing.assert_array_equal(np.concatenate([found.y_test, y]), official["y_test"])


@pytest.mark.parametrize("fault", ["truncated", "other", "missing", "cut", "no network"])
def test_a_bad_official_download_leaves_no_file(
    fault: str,
    official: dict[str, np.ndarray],
    mirror: Mirror,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torchvision.datasets import CIFAR10

    body = mirror.files["/official.tar.gz"]
    mirror.files["/official.tar.gz"] = {"truncated": body[:-100], "other": PACKED}.get(fault, body)
    if fault in ("missing", "cut"):
        monkeypatch.setattr(CIFAR10, "url", mirror.url(f"{fault}/official.tar.gz"))
    if fault == "no network":
        mirror.shutdown()
        mirror.socket.close()
    message = no_full_cifar10()
    assert f"cifar10 (170.5 MB) is not in the cache {cache} and could not be fetched" in message
    assert message.endswith("run: python -m practical_dl.data cifar10 --profile full")
    assert list(cache.iterdir()) == []


def test_a_disk_full_during_the_official_download(
    official: dict[str, np.ndarray], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import utils

    def full(url: str, path: str, *arguments: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(utils, "_urlretrieve", full)
    message = no_full_cifar10()
    assert "is full: cifar10 is a download of 170.5 MB" in message
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("harm", ["truncated", "absent"])
def test_a_damaged_official_file_is_named(
    harm: str, official: dict[str, np.ndarray], mirror: Mirror, cache: Path
) -> None:
    data.load("cifar10", "full", quiet=True)
    path = cache / "cifar-10-batches-py" / "data_batch_3"
    if harm == "absent":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    mirror.asked.clear()
    message = no_full_cifar10()
    assert f"{path.parent} is damaged" in message and message.endswith("--profile full")
    assert mirror.asked == []


def test_the_command(
    small_mnist: list[np.ndarray], capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    assert data._main(["mnist", "digits"]) == 0
    for wrong in ([], ["mnist", "mnst"], ["mnist", "--profile", "big"]):
        with pytest.raises(SystemExit) as caught:
            data._main(wrong)
        assert caught.value.code == 2
        assert "usage: python -m practical_dl.data" in capsys.readouterr().err
    assert data._main(["digits", "--profile", "full"]) == 2
    assert "not meant for the profile 'full'" in capsys.readouterr().err
    know(monkeypatch)
    monkeypatch.setitem(data._LOADERS, "tiny", {"small": lambda: data.fetch("tiny")})
    assert data._main(["tiny"]) == 2
    assert capsys.readouterr().err.startswith("error: tiny")
