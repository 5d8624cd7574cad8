"""What networks of several kinds get in the exam of week 03, in the profile `small`.

    python benchmarks/networks.py                    all, about five minutes on two cores
    python benchmarks/networks.py constant linear    some

Each is trained here for a short time, all by the same recipe, and handed in with its weights: the
exam runs in the sandbox, as when a class is graded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

REPOSITORY = Path(__file__).parents[1]
sys.path[:0] = [str(REPOSITORY)]

from autograder import course as course_  # noqa: E402
from autograder import demo, exams  # noqa: E402
from autograder import notebook as nb_  # noqa: E402
from autograder.exams import array_of  # noqa: E402
from autograder.execution.execute import Job, execute  # noqa: E402
from autograder.execution.sandbox import Limits  # noqa: E402
from autograder.grading.graft import graft  # noqa: E402
from autograder.grading.job import definitions, job_of  # noqa: E402
from practical_dl import data  # noqa: E402
from practical_dl.weeks import week03  # noqa: E402

WEEK, TASK = "week03_convnets", "network"
CONSTANT = '''
class Constant(nn.Module):
    """Says the same to every picture."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.arange(10.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), 10)


def network() -> nn.Module:
    return Constant()
'''
LINEAR = '''
def network() -> nn.Module:
    """Softmax regression on the pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
'''
SMALL = '''
def network() -> nn.Module:
    """Three convolutions with batch normalisation."""
    layers, channels = [], 3
    for width in (32, 64, 128):
        layers += [nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
'''


def build(source: str) -> nn.Module:
    """The network of a solution cell, and of the definitions that it needs."""
    names: dict = {"nn": nn, "torch": torch, "profile": demo.PROFILE}
    exec(source, names)
    torch.manual_seed(0)
    return names["network"]()


def trained(source: str, x: np.ndarray, y: np.ndarray, epochs: int, rate: float) -> nn.Module:
    """A network trained by Adam on pictures (n, 32, 32, 3) that are flipped at random."""
    model = build(source).train()
    pictures, labels = torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y)
    steps = epochs * -(-len(x) // 128)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(128):
            given = pictures[batch].float() / 255
            flip = torch.rand(len(batch), 1, 1, 1) < 0.5
            given = torch.where(flip, given.flip(3), given)
            loss = nn.functional.cross_entropy(model(given), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model


def weights(model: nn.Module) -> bytes:
    """The file that is handed in."""
    with tempfile.TemporaryDirectory() as folder:
        return week03.PROJECT.save(model, Path(folder, week03.PROJECT.file)).read_bytes()


def main() -> None:
    """Train, hand in, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", help="the first words of some")
    wanted = parser.parse_args().kinds
    with tempfile.TemporaryDirectory() as folder:
        notebook = handed_out(Path(folder, "course"))
        print("| network | MB | trained, s | private | public | points of 16 | flag |")
        print("|---|--:|--:|--:|--:|--:|---|")
        for name, make in kinds(notebook).items():
            if not wanted or name.startswith(tuple(wanted)):
                start = time.perf_counter()
                source, content = make()
                seconds = time.perf_counter() - start
                first = f"| {name} | {len(content) / 1e6:.2f} | {seconds:.0f} |"
                print(first, marked(notebook, source, content), flush=True)


def handed_out(root: Path) -> demo.Notebook:
    """The notebook with the exam, in a course of its own, and the private part of it."""
    course = course_.load(REPOSITORY)
    (week,) = course.select([WEEK])
    own = demo.make_course(course, week, root)
    name = next(e.name for e in week.notebooks if e.files)
    source = nb_.read(root / "source" / week.folder / f"{name}.ipynb")
    released = nb_.read(root / "release" / "en" / week.folder / f"{name}.ipynb")
    exams.write(own, week, [TASK], demo.PROFILE, demo.SEED)
    loaded = exams.load(own, week, [TASK], demo.PROFILE)
    return demo.Notebook(name, source, {"en": released}, loaded, demo.Sitting(source, {}, {}))


def kinds(notebook: demo.Notebook) -> dict[str, Callable[[], tuple[str, bytes]]]:
    """Networks by name: what makes their solution cells and weights."""
    cifar = data.load("cifar10", demo.PROFILE, quiet=True)
    cheats = exams.imported(REPOSITORY / "weeks" / WEEK / "demo.py")
    train, test = (cifar.x_train, cifar.y_train), (cifar.x_test, cifar.y_test)
    code = [c.source for c in notebook.source.cells if c.cell_type == "code"]
    resnet = notebook.solution(TASK).source
    whole = "\n".join([*map(definitions, code), resnet])

    def fresh(source: str) -> tuple[str, bytes]:
        return source, weights(build(source))

    def fitted(source: str, *options: Any) -> tuple[str, bytes]:
        return source, weights(trained(source, *options))

    return {
        "constant": lambda: fresh(CONSTANT),
        "random: three convolutions, untrained": lambda: fresh(SMALL),
        "linear: softmax regression, 4 epochs": lambda: fitted(LINEAR, *train, 4, 2e-4),
        "small: three convolutions, 4 epochs": lambda: fitted(SMALL, *train, 4, 4e-3),
        "ResNet-9: the reference's, 2 epochs": lambda: (resnet, fitted(whole, *train, 2, 4e-3)[1]),
        "cheat: three convolutions, 24 epochs of the public test": lambda: fitted(
            SMALL, *test, 24, 4e-3
        ),
        "table: the public test by heart": lambda: cheats.table(*test),
    }


def marked(notebook: demo.Notebook, source: str, content: bytes) -> str:
    """The last columns of a row: what the exam of a network gives."""
    exam = notebook.exams[TASK]
    student = notebook.handed_in({TASK: source})
    job = job_of(
        graft(notebook.source, student).notebook,
        notebook.source,
        {week03.PROJECT.file: content},
        Limits(cell_seconds=600),
        notebook.exams,
    )
    result = execute(alone(job))
    if TASK not in result.handed:
        outcome = result.cells[-1]
        return f"| | 0 | {outcome.ename}: {outcome.evalue} |"
    handed = result.handed[TASK]
    mark = exam.mark(handed, source)
    right = array_of(handed) == exam.answers["labels"]
    public = exam.answers["public"].astype(bool)
    points = mark.share * notebook.worth(TASK)
    return f"{right[~public].mean():.1%} | {right[public].mean():.1%} | {points:g} | {mark.flag} |"


def alone(job: Job) -> Job:
    """The exam without the rest of its notebook."""
    tests = {exam.test for exam in job.exams}
    cells = [c for c in job.notebook["cells"] if c["id"] in tests]
    return replace(job, notebook={**job.notebook, "cells": cells}, controls=())


if __name__ == "__main__":
    main()
