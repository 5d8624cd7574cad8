"""Week 02: what its tests share, and drawings and printing that teach nothing.

A drawing makes a new figure; `plots.show` ends it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from practical_dl import check
from practical_dl.plots import GRADIENT, PALETTE, VALUE

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler: no word on missing GPUs

# -- The seminar ---------------------------------------------------------------------------------


@contextlib.contextmanager
def without_clipping() -> Iterator[None]:
    """In the block torch's own clipping by the norm raises CheckFailed, however it is called."""
    from torch.nn.utils import clip_grad  # here: torch is slow to import

    def refuse(*arguments: Any, **options: Any) -> NoReturn:
        raise check.CheckFailed("this task is to be written without torch's clip_grad_norm_")

    names = ("_get_total_norm", "get_total_norm", "clip_grad_norm_", "_clip_grads_with_norm_")
    with contextlib.ExitStack() as stack:
        for name in names:
            if hasattr(clip_grad, name):
                stack.enter_context(mock.patch.object(clip_grad, name, refuse))
        yield


_CELLS = ListedColormap(
    ["#f4f4f4", "#222222", "#f2b8a0", "#c81e1e"]
)  # dead, alive; wrong: the same


def boards(pictures: Sequence[Any], titles: Sequence[str]) -> Figure:
    """Boards of the Game of Life (h, w) side by side."""
    figure, axes = plt.subplots(1, len(pictures), figsize=(12, 2.5), squeeze=False)
    for ax, board, title in zip(axes[0], pictures, titles, strict=True):
        _board(ax, np.asarray(board))
        ax.set_title(title, fontsize=10)
    return figure


def games(
    truth: Sequence[Any], played: Mapping[str, Sequence[Any]], shown: Sequence[int]
) -> Figure:
    """Rows of boards: the true game, then others; a cell that differs from the truth is red."""
    rows = {"the rule itself": truth, **played}
    figure, axes = plt.subplots(
        len(rows), len(shown), figsize=(12, 1.5 * len(rows) + 0.2), squeeze=False
    )
    for line, (name, game) in zip(axes, rows.items(), strict=True):
        for ax, i in zip(line, shown, strict=True):
            board, right = np.asarray(game[i]).astype(int), np.asarray(truth[i]).astype(int)
            _board(ax, board + 2 * (board != right))
            if ax in axes[0]:
                ax.set_title(f"generation {i}", fontsize=10)
        line[0].set_ylabel(name, fontsize=10)
    return figure


def _board(ax: Any, cells: np.ndarray) -> None:
    ax.imshow(cells, cmap=_CELLS, vmin=0, vmax=3, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.grid(False)


def print_graph(node: Any, leaves: Mapping[int, str], depth: int = 1) -> None:
    """Print what autograd has noted, from a result back to its leaves.

    node: a grad_fn. leaves: names of parameters by their id.
    """
    if node is None:
        return
    variable = getattr(node, "variable", None)
    name = f"  ->  {leaves.get(id(variable), 'a leaf')}.grad" if variable is not None else ""
    print(f"{'  ' * depth}{type(node).__name__}{name}")
    for following, _ in node.next_functions:
        print_graph(following, leaves, depth + 1)


def clouds(points: Any, mask: Any, labels: Any) -> Figure:
    """A padded batch of clouds (n, k, 3): each cloud above, the mask below."""
    figure = plt.figure(figsize=(11, 3.8))
    grid = figure.add_gridspec(2, len(points), height_ratios=(1.2, 1))
    for i, (cloud, real, label) in enumerate(zip(points, mask, labels, strict=True)):
        ax = figure.add_subplot(grid[0, i])
        row, column, ink = np.asarray(cloud[real]).T
        ax.scatter(column, row, c=ink, cmap="Greys", vmin=-0.5, vmax=1, s=22)
        ax.set(xlim=(-0.1, 1.1), ylim=(1.1, -0.1), xticks=[], yticks=[], aspect="equal")
        ax.set_title(f"{int(label)}: {int(real.sum())} points", fontsize=9)
        ax.grid(False)
    ax = figure.add_subplot(grid[1, :])
    ax.imshow(np.asarray(mask), cmap="Greys", vmin=0, vmax=1.4, aspect="auto")
    ax.set(xlabel="place in the sequence", ylabel="digit of the batch", title="the mask")
    ax.set_yticks(range(len(labels)), [str(int(label)) for label in labels], fontsize=8)
    ax.grid(False)
    return figure


def schedules(rates: Mapping[str, Sequence[float]], valid: Sequence[float]) -> Figure:
    """Learning rates by name, a picture each; the plateau's one also has the validation loss."""
    figure, axes = plt.subplots(2, 3, figsize=(11, 4.6), sharex=True, sharey=True)
    for ax, (name, values) in zip(axes.flat, rates.items(), strict=True):
        ax.step(range(len(values)), values, color=PALETTE[0], where="post")
        ax.set_title(name, fontsize=11)
        if "Plateau" in name:
            scaled = np.asarray(valid) * max(values)
            ax.plot(scaled, "--", color=PALETTE[1], label="validation loss (scaled)")
            ax.legend(frameon=False, fontsize=8, loc="upper right")
    figure.supxlabel("pass", fontsize=10)
    figure.supylabel("learning rate", fontsize=10)
    return figure


def flames(events: Sequence[Any]) -> Figure:
    """What a profiler saw, as nested bars: time to the right, callers above."""
    figure, ax = plt.subplots(figsize=(11, 3.2))
    begin = min(event.time_range.start for event in events)
    end = max(event.time_range.end for event in events)
    for event in events:
        depth, above = 0, event.cpu_parent
        while above is not None:
            depth, above = depth + 1, above.cpu_parent
        left, width = event.time_range.start - begin, event.time_range.end - event.time_range.start
        ax.barh(-depth, width, left=left, height=0.85, color=_colour(event.name), edgecolor="white")
        if width > 0.06 * (end - begin):
            text = event.name.removeprefix("aten::")
            ax.text(
                left + width / 2, -depth, text, ha="center", va="center", fontsize=9, color="white"
            )
    ax.set(xlabel="microseconds", yticks=[], title="Who calls whom, and for how long")
    ax.grid(False)
    return figure


def _colour(name: str) -> str:
    if not name.startswith("aten::"):
        return "0.35"
    return GRADIENT if name in ("aten::addmm", "aten::mm") else VALUE


def refusal(function: Callable[[], Any]) -> str:
    """The kind and the first line of what function raises; what it logs is not shown."""
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            function()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    finally:
        logging.disable(logging.NOTSET)
    return "no error"
