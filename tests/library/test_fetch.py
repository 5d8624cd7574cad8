"""`autograder fetch`: the data and models that weeks load, from a server of this machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from kit.cli import autograder
from kit.mirror import CONTENT, PACKED, Mirror, files_in
from kit.rules import WEEK_TOML
from torch import nn

from practical_dl import data, models
from practical_dl.data import File


@pytest.fixture
def course(
    tiny: Path, tmp_path: Path, mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A course whose week loads two sets and a model; another week loads one of them, too."""
    for name, path in (("one", "good"), ("two", "good"), ("lost", "missing")):
        digests = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(PACKED).hexdigest()
        file = File(f"{name}/raw", digests[0], len(PACKED), (mirror.url(path),), digests[1])
        card = data.Card(name, "CC0", "", lambda paths: None, files=(file,))  # type: ignore
        monkeypatch.setitem(data._cards, name, {"small": card})
    package = tmp_path / "site" / "some_model"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "weights").write_bytes(CONTENT)
    shipped = models.File("some_model", "weights", hashlib.sha256(CONTENT).hexdigest())
    absent = models.File("absent_model", "weights", "")

    def layer() -> nn.Module:
        return nn.Linear(1, 1)

    for name, file in (("net", shipped), ("gone", absent)):
        card = models.Card(
            name, "CC0", f"{file.package}==1", (file,), lambda _: layer().state_dict(), layer
        )
        monkeypatch.setitem(models._cards, name, card)
    monkeypatch.syspath_prepend(str(package.parent))
    text = (tiny / WEEK_TOML).read_text(encoding="utf-8")
    second = tiny / "weeks" / "week02_more" / "week.toml"
    second.parent.mkdir()
    second.write_text('data = ["two"]\n' + text, encoding="utf-8")
    loads(tiny, data=["one", "two"], models=["net"])
    return tiny


def loads(root: Path, **names: list[str]) -> None:
    lines = "".join(f"{kind} = {json.dumps(found)}\n" for kind, found in names.items())
    text = (root / WEEK_TOML).read_text(encoding="utf-8")
    title = text.index("title = ")
    (root / WEEK_TOML).write_text(lines + text[title:], encoding="utf-8")


def test_what_the_weeks_load_is_fetched_once(course: Path, cache: Path, mirror: Mirror) -> None:
    done = autograder(course, "fetch")
    assert done.returncode == 0 and "error" not in done.stderr
    assert done.stdout.splitlines() == [
        "The data set one is there.",
        "The data set two is there.",
        "The model net is there.",
    ]
    assert (cache / "one" / "raw").read_bytes() == CONTENT
    assert files_in(cache / "models") == ["net.safetensors"]
    assert len(mirror.asked) == 2
    assert autograder(course, "fetch").stdout == done.stdout and len(mirror.asked) == 2


def test_only_what_one_week_loads(course: Path, cache: Path) -> None:
    done = autograder(course, "fetch", "week02")
    assert done.stdout == "The data set two is there.\n"
    assert [path.name for path in cache.iterdir()] == ["two"]


@pytest.mark.parametrize(
    ("names", "place", "words"),
    [
        ({"data": ["lost"]}, "data: lost: [data]", "lost"),
        ({"data": ["unknown"]}, "data: unknown: [data]", "there is no data set 'unknown'"),
        ({"models": ["gone"]}, "models: gone: [models]", "absent_model==1, which is not installed"),
        ({"models": ["unknown"]}, "models: unknown: [models]", "there is no model 'unknown'"),
    ],
)
def test_what_can_not_be_had_is_one_sentence(
    course: Path, names: dict[str, list[str]], place: str, words: str
) -> None:
    loads(course, **names)
    done = autograder(course, "fetch", "week01")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {place}") and words in done.stderr
