"""Seeds, the progress bar, and a package that stands alone."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from practical_dl import progress, seed_everything


@pytest.fixture(autouse=True)
def keep_hash_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "random")


def draw(rng: np.random.Generator) -> tuple[float, ...]:
    layer = torch.nn.Linear(2, 1)
    return (
        random.random(),
        np.random.rand(),
        rng.random(),
        torch.rand(1).item(),
        layer.weight[0, 0].item(),
    )


def test_the_same_seed_gives_the_same_numbers() -> None:
    first = draw(seed_everything(3))
    assert draw(seed_everything(3)) == first
    assert all(a != b for a, b in zip(draw(seed_everything(4)), first, strict=True))
    assert os.environ["PYTHONHASHSEED"] == "4"


@pytest.mark.gpu
def test_the_same_seed_gives_the_same_numbers_on_a_gpu() -> None:
    drawn = []
    for _ in range(2):
        seed_everything(3)
        drawn.append(torch.rand(4, device="cuda").tolist())
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("seed", [0, 2**32 - 1, np.int64(5), 7.0])
def test_seeds(seed: int) -> None:
    seed_everything(seed)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, float("nan"), "seven"])
def test_no_seeds(seed: object) -> None:
    with pytest.raises(ValueError):
        seed_everything(seed)


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(3), "Epochs")) == [0, 1, 2]
    shown = capsys.readouterr()
    assert "Epochs" in shown.out and "3/3" in shown.out and shown.err == ""
    assert list(progress(iter("ab"), total=2)) == ["a", "b"]


ALONE = """
import sys

class Blocked:
    # Parts of a laptop without torch, of plain Python, of the course's other package, of Windows.
    names = {names}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)

for name in Blocked.names:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocked())
import matplotlib
matplotlib.use("agg")
import practical_dl
from practical_dl import check, data, plots, progress, seed_everything

rng = seed_everything(1)
check.close(rng.random(3), check.rng("a").random(3) * 0 + rng.random(3), "x", atol=2)
check.equal([1], [1], "x")
check.score(0.5, "half")
check.done("task")
data.load("digits")
plots.curves({{"a": [1, 2]}}, "", "", "")
plots.show("A line.")
for _ in progress([1]):
    pass
print("end")
"""


def test_the_package_stands_alone() -> None:
    """No torch, no IPython, no autograder, and no module that only POSIX has."""
    posix = {"fcntl", "resource", "pwd", "grp", "termios", "syslog"}
    names = {"torch", "IPython", "ipykernel", "autograder", *posix}
    line = [sys.executable, "-c", ALONE.format(names=names)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("end\n")


def test_the_import_is_light() -> None:
    heavy = {"torch", "torchvision", "pandas", "scipy", "sklearn", "IPython", "nbformat"}
    parts = {"practical_dl.weeks", "practical_dl.models", "practical_dl.network"}
    source = f"import practical_dl, sys; print(sorted({heavy | parts} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
