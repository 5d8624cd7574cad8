"""The paintings: the set in the cache, and the same built of its two repositories."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from kit.mirror import Mirror, zipped
from kit.sets import real
from PIL import Image

from practical_dl import data
from practical_dl.data import cache as cache_
from practical_dl.data import paintings


def test_paintings_are_what_they_are_known_to_be() -> None:
    found = real("paintings")
    assert "4 training and 0 test examples" in str(found)
    assert "licence: public domain" in str(found)
    assert found.y_train == paintings.TITLES and found.x_test == ()
    for picture in found.x_train:
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
        assert max(picture.shape) == 640 and picture.std() > 20
    night, scream, _, wave = (picture.reshape(-1, 3).mean(axis=0) for picture in found.x_train)
    assert night[2] > night[0] and scream[0] > scream[2]  # a blue night, an orange sky
    assert wave.mean() > night.mean()


@pytest.fixture
def archives(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Both repositories on a server of ours; by path what is asked for."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(cache_, "ARCHIVES", mirror.url("archives"))

    def picture(width: int, height: int) -> bytes:
        out = io.BytesIO()
        noise = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(noise).save(out, "JPEG")
        return out.getvalue()

    (first, _), (second, _) = paintings._REPOSITORIES
    inputs = {
        f"examples/inputs/{name}.jpg": picture(900, 450)
        for name in ("starry_night_google", "the_scream", "shipwreck")
    }
    contents = ((first, inputs), (second, {"examples/style/wave.jpg": picture(50, 30)}))
    for repository, files in contents:
        path = f"/archives/{repository.name}/zip/{repository.commit}"
        mirror.files[path] = zipped(files | {"README.md": b""})
    return mirror.files


def test_they_are_built_of_their_repositories(
    archives: dict[str, bytes], mirror: Mirror, cache: Path
) -> None:
    found = data.load("paintings", quiet=True)
    assert [p.shape for p in found.x_train] == [*[(320, 640, 3)] * 3, (30, 50, 3)]
    assert len(mirror.asked) == 2
    again = data.load("paintings", quiet=True)
    assert len(mirror.asked) == 2  # from the cache
    assert all(map(np.array_equal, found.x_train, again.x_train))
    (cache / "paintings" / "hokusai_great_wave_1831.jpg").unlink()
    data.load("paintings", quiet=True)
    assert len(mirror.asked) == 3  # only the repository that is needed


def test_what_was_built_and_then_damaged_is_not_taken(
    archives: dict[str, bytes], cache: Path
) -> None:
    data.load("paintings", quiet=True)
    path = cache / "paintings" / "munch_scream_1893.jpg"
    whole = path.read_bytes()
    for content in (whole[:-2000], b"", whole.replace(b"built of", b"taken of")):
        path.write_bytes(content)
        with pytest.raises(data.DataError, match=r"munch_scream_1893\.jpg is damaged"):
            data.load("paintings", quiet=True)


def test_without_a_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_, "ARCHIVES", "http://127.0.0.1:9")
    with pytest.raises(data.DataError, match=r"paintings \(0.5 MB\) is not in the cache"):
        data.load("paintings", quiet=True)


def test_an_archive_of_something_else(archives: dict[str, bytes], cache: Path) -> None:
    for path in archives:
        archives[path] = zipped({"README.md": b""})
    with pytest.raises(data.DataError, match="damaged or another archive"):
        data.load("paintings", quiet=True)
