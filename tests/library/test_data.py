"""Data: what is fetched, checked and kept, and what is said where that fails."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import socket
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from kit.mirror import CONTENT, PACKED, Mirror, files_in, write_half, zipped

from practical_dl import data
from practical_dl.data import DataError
from practical_dl.data import __main__ as command
from practical_dl.data import cache as cache_


def know(monkeypatch: pytest.MonkeyPatch, *urls: str, path: str = "sub/file") -> None:
    """Let `data` know a set `tiny` of one file."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    md5 = hashlib.md5(PACKED).hexdigest()
    files = (data.File(path, digest, len(PACKED), urls, md5),)
    card = data.Card("Tiny", "CC0", "a test, in {cache}", lambda paths: None, files)
    monkeypatch.setitem(data._cards, "tiny", {"small": card})


def sentence(name: str = "tiny") -> str:
    """What is said of a set that can't be had, on one line."""
    with pytest.raises(DataError) as caught:
        data.fetch(name)
    message = str(caught.value)
    assert "\n" not in message and name in message
    return message


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

    monkeypatch.setattr(cache_.pooch, "retrieve", full)
    message = sentence()
    assert f"the disk of {cache / 'sub'} is full" in message and "PRACTICAL_DL_DATA" in message


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
        cache_.write(target, CONTENT)
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


ARCHIVE = zipped({"a.txt": CONTENT, "b.txt": b"b", "c.txt": b"c", "../../../evil": b"evil"})
COMMIT = "/owner/name/zip/commit"


def know_built(monkeypatch: pytest.MonkeyPatch, archives: str) -> None:
    """Let `data` know a set `tiny` of two files that are built from a repository."""

    def build(files: dict[str, bytes]) -> list[bytes]:
        return [files["a.txt"], cache_.pack({"b": files["b.txt"], "c": files["c.txt"]})]

    contents = build({"a.txt": CONTENT, "b.txt": b"b", "c.txt": b"c"})
    files = tuple(
        data.File(path, hashlib.sha256(b"as given").hexdigest(), 1, built=built)
        for path, built in zip(
            ("sub/a", "sub/bc"), (hashlib.sha256(c).hexdigest() for c in contents), strict=True
        )
    )
    repository = data.Repository("owner/name", "commit", build)
    card = data.Card("Tiny", "CC0", "a test", lambda paths: None, files, repository)
    monkeypatch.setitem(data._cards, "tiny", {"small": card})
    monkeypatch.setattr(cache_, "ARCHIVES", archives)


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

    monkeypatch.setattr(cache_.tempfile, "TemporaryDirectory", refuse)
    assert "can't be used as a cache: [Errno 30] Read-only file system" in sentence()


# -- load -------------------------------------------------------------------------------------


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
        (("mnst",), "there is no data set 'mnst'; there are arxiv_titles, bccd, breast_cancer"),
        (("digits", "full"), "'digits' is not meant for the profile 'full'"),
        (("digits", "big"), "profile must be one of small, full, not 'big'"),
    ],
)
def test_load_refuses(arguments: tuple[str, ...], said: str, cache: Path) -> None:
    with pytest.raises(DataError) as caught:
        data.load(*arguments)
    assert said in str(caught.value)


def test_nothing_is_withheld_of_other_sets() -> None:
    with pytest.raises(DataError, match="nothing is withheld of the data set 'digits'"):
        data.withheld("digits")


def test_every_file_of_the_folder_is_a_data_set() -> None:
    assert {"bccd", "breast_cancer", "cifar10", "digits", "mnist", "nuclei"} <= set(data.names())
    assert list(data.names()) == sorted(data.names())
    for name in data.names():
        cards = data._cards.get(name) or (data._card(name, "small") and data._cards[name])
        assert set(cards) <= set(data.PROFILES)
        for card in cards.values():
            assert card.title and card.licence and card.source
            assert all(file.sha256 or card.get for file in card.files)
            assert card.files or "shipped" in card.source


def test_the_names_cost_nothing() -> None:
    """Neither torch nor a single data set is imported for them."""
    code = "from practical_dl import data; import sys; print(len(data.names()), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, *modules = done.stdout.split()
    assert int(count) == len(data.names())
    assert not {"torch", "sklearn", "practical_dl.data.mnist"} & set(modules)


def test_texts_and_what_is_no_table_of_examples(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Examples may be texts, and a set may be of a class of its own."""

    @dataclass(frozen=True)
    class Vectors:
        words: tuple[str, ...]
        name: str = ""
        licence: str = ""
        source: str = ""

    def read(paths: list[Path]) -> data.Dataset:
        return data.Dataset(("a", "bc"), np.array([0, 1]), ("d",), np.array([1]), ("no", "yes"))

    def read_pairs(paths: list[Path]) -> data.Dataset:
        return data.Dataset(("yes",), ("да",), ("no",), ("нет",))

    readers = {"reviews": read, "pairs": read_pairs, "words": lambda paths: Vectors(("a", "b"))}
    for name, reads in readers.items():
        card = data.Card(name.title(), "CC0", "a test, in {cache}", reads)
        monkeypatch.setitem(data._cards, name, {"small": card})
    assert {"reviews", "words"} <= set(data.names())
    assert data.load("reviews").x_train == ("a", "bc")
    said = capsys.readouterr().out
    assert said == (
        "Reviews: 2 training and 1 test examples, 2 classes\n"
        f"source: a test, in {cache}\nlicence: CC0\n"
    )
    assert data.load("pairs").y_test == ("нет",)
    assert capsys.readouterr().out.startswith("Pairs: 1 training and 1 test examples\nsource: ")
    words = data.load("words")
    assert (words.words, words.name, words.licence) == (("a", "b"), "Words", "CC0")
    assert "Vectors" in capsys.readouterr().out


def test_the_command(
    cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.main(["digits"]) == 0
    for wrong in ([], ["digits", "mnst"], ["digits", "--profile", "big"]):
        with pytest.raises(SystemExit) as caught:
            command.main(wrong)
        assert caught.value.code == 2
        assert "usage: python -m practical_dl.data" in capsys.readouterr().err
    assert command.main(["digits", "--profile", "full"]) == 2
    assert "not meant for the profile 'full'" in capsys.readouterr().err
    know(monkeypatch)
    assert command.main(["tiny"]) == 2
    assert capsys.readouterr().err.startswith("error: tiny")
