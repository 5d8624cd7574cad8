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
from matplotlib.axes import Axes
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


def kinds(function: Callable[..., Any], *arguments: Any) -> list[str]:
    """What each of the values that a function gives is, in a word (`check.kind_of`)."""
    return [check.kind_of(value) for value in function(*arguments)]


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


# -- The homework --------------------------------------------------------------------------------


def _cells(ax: Axes, table: np.ndarray, left: float, top: float, colour: str) -> None:
    """Numbers in boxes, from the upper left corner."""
    for (i, j), number in np.ndenumerate(table):
        x, y = left + j, top - i
        box = plt.Rectangle((x, y), 1, 1, facecolor="white", edgecolor=colour, linewidth=1.3)
        ax.add_patch(box)
        ax.text(x + 0.5, y + 0.5, f"{number:g}", ha="center", va="center", color=colour)


def broadcasting() -> Figure:
    """A row that is stretched over two rows, and the way back of its gradient."""
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 2.5))
    row, grad = np.array([[5, 6, 7]]), np.array([[1, 2, 4], [8, 16, 32]])
    _cells(axes[0], row, 0, 0.5, VALUE)
    _cells(axes[0], np.repeat(row, 2, axis=0), 5, 1, VALUE)
    axes[0].set_title("forward: (3) is copied into (2, 3)")
    _cells(axes[1], grad.sum(axis=0, keepdims=True), 0, 0.5, GRADIENT)
    _cells(axes[1], grad, 5, 1, GRADIENT)
    axes[1].set_title("backward: the copies' gradients are added up")
    for ax, (start, end) in zip(axes, (((3.2, 1), (4.8, 1)), ((4.8, 1), (3.2, 1))), strict=True):
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "0.4"})
        ax.set(xlim=(-0.2, 8.2), ylim=(-0.2, 2.2), aspect="equal")
        ax.axis("off")
    return figure


def grids(table: np.ndarray, gradients: Mapping[str, np.ndarray]) -> Figure:
    """A table of numbers, and beside it tables of gradients of its shape."""
    figure, axes = plt.subplots(1, 1 + len(gradients), figsize=(11, 2.3))
    rows, columns = table.shape
    for ax, (name, numbers) in zip(axes, {"the input": table, **gradients}.items(), strict=True):
        _cells(ax, numbers, 0, rows - 1, VALUE if numbers is table else GRADIENT)
        ax.set(xlim=(-0.1, columns + 0.1), ylim=(-0.1, rows + 0.1), aspect="equal", title=name)
        ax.axis("off")
    return figure


def signal(
    rows: Sequence[str],
    forward: np.ndarray,
    backward: np.ndarray,
    cosine: Sequence[float],
    accuracy: Sequence[float],
    limit: float = 4.0,
) -> Figure:
    """Heat maps of a signal through layers, forward and backward, and what became of it.

    rows: a name a network. forward, backward: (rows, layers), powers of ten against the input and
    against the top. cosine, accuracy: one number a row, from 0 to 1.
    """
    figure, axes = plt.subplots(
        1, 4, figsize=(12, 0.42 * len(rows) + 1.5), width_ratios=[5, 5, 1.3, 1.3], sharey=True
    )
    titles = "forward: size of the values", "backward: size of the gradients"
    for ax, numbers, title in zip(axes, (forward, backward), titles, strict=False):
        shown = np.clip(numbers, -limit, limit)
        picture = ax.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        ax.set(title=title, xlabel="layer")
        ax.set_xticks([0, 9, 19, 29, 39, 49], ["1", "10", "20", "30", "40", "50"])
        ax.grid(False)
    bar = figure.colorbar(picture, ax=axes[:2], location="bottom", shrink=0.5, aspect=40, pad=0.02)
    bar.set_label("power of ten: white keeps the size")
    titles = "likeness of\nexamples", "accuracy"
    for ax, numbers, title in zip(axes[2:], (cosine, accuracy), titles, strict=True):
        ax.imshow(np.array(numbers)[:, None], cmap="Greys", vmin=0, vmax=1.4, aspect="auto")
        for i, number in enumerate(numbers):
            text = "–" if np.isnan(number) else f"{number:.2f}"
            colour = "white" if number > 0.7 else "black"
            ax.text(0, i, text, ha="center", va="center", fontsize=9, color=colour)
        ax.set_title(title, fontsize=10)
        ax.set_xticks([])
        ax.grid(False)
    axes[0].set_yticks(range(len(rows)), rows)
    return figure


def most_saved(run: Callable[[Any], Any], x: Any, weights: Sequence[Any]) -> int:
    """How many tensors autograd holds at once, at most, in run(x).sum().backward().

    The weights are not counted: they are there anyway; nor are numbers alone.
    """
    import torch

    known = {w.data_ptr() for w in weights}
    held: dict[int, int] = {}  # how often each place in memory is held
    most = 0

    class Held:
        def __init__(self, tensor: Any) -> None:
            nonlocal most
            self.tensor, self.place = tensor, tensor.data_ptr()
            if tensor.numel() > 1 and self.place not in known:
                held[self.place] = held.get(self.place, 0) + 1
                most = max(most, len(held))

        def __del__(self) -> None:
            if self.place in held:
                held[self.place] -= 1
                if not held[self.place]:
                    del held[self.place]

    with torch.autograd.graph.saved_tensors_hooks(Held, lambda one: one.tensor):
        run(x.clone().requires_grad_()).sum().backward()
    return most


def norms() -> Figure:
    """Over which numbers of a batch the two normalisations take their statistics."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.6))
    titles = "BatchNorm: one channel, all examples", "LayerNorm: one example, all channels"
    marks = np.zeros((2, 4, 6), dtype=bool)
    marks[0, :, 2] = marks[1, 1] = True
    for ax, title, marked in zip(axes, titles, marks, strict=True):
        for i, j in np.ndindex(4, 6):
            colour = VALUE if marked[i, j] else "white"
            ax.add_patch(plt.Rectangle((j, 3 - i), 1, 1, facecolor=colour, edgecolor="0.4"))
        ax.set(xlim=(-0.1, 6.1), ylim=(-0.1, 4.1), aspect="equal")
        ax.set(xlabel="channels", ylabel="examples")
        ax.set_title(title, fontsize=10)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
        for side in ax.spines.values():
            side.set_visible(False)
    return figure


# -- What the test of arithmetic shares between two engines -------------------------------------


def run_graph(
    leaves: Sequence[Any],
    steps: Sequence[tuple[str, list[int]]],
    operation: Callable[..., Any],
    squash: Callable[[Any], Any],
) -> list[Any]:
    """The values of an expression: leaves, then for each step its value and a squashed copy.

    steps: (name of the operation, places of its inputs among the values).
    """
    values = list(leaves)
    for name, inputs in steps:
        values.append(operation(name, *(values[i] for i in inputs)))
        values.append(squash(values[-1]))
    return values


def graph_by_operations(
    operations: Mapping[str, Callable[..., Any]],
    leaves: Sequence[np.ndarray],
    steps: Sequence[tuple[str, list[int]]],
    upstream: np.ndarray,
    summed_to: Callable[[Any, tuple[int, ...]], np.ndarray],
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The last value of an expression and the gradients of its leaves.

    operations: each gives a value and a pull. summed_to: un-broadcasts a gradient to a shape.
    """
    pulls = []

    def operation(name: str, *inputs: np.ndarray) -> np.ndarray:
        value, pull = operations[name](*inputs)
        pulls.append(pull)
        return np.asarray(value)

    values = run_graph(leaves, steps, operation, lambda z: 1 + np.tanh(z) / 2)
    grads = [np.zeros(v.shape) for v in values]
    grads[-1] = upstream
    for number in reversed(range(len(steps))):
        at = len(leaves) + 2 * number
        grads[at] = grads[at] + grads[at + 1] * (1 - np.tanh(values[at]) ** 2) / 2
        inputs = steps[number][1]
        for i, grad in zip(inputs, pulls[number](grads[at]), strict=True):
            grads[i] = grads[i] + summed_to(grad, values[i].shape)
    return values[-1], grads[: len(leaves)]
