"""Week 02: drawings that teach nothing. Each makes a new figure; `plots.show` ends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from practical_dl.plots import GRADIENT, VALUE


def _cells(ax: Axes, table: np.ndarray, left: float, top: float, colour: str) -> None:
    """Numbers in boxes, from the upper left corner."""
    for (i, j), number in np.ndenumerate(table):
        x, y = left + j, top - i
        ax.add_patch(plt.Rectangle((x, y), 1, 1, facecolor="white", edgecolor=colour, linewidth=1.3))
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
            ax.text(0, i, f"{number:.2f}", ha="center", va="center", fontsize=9)
        ax.set_title(title, fontsize=10)
        ax.set_xticks([])
        ax.grid(False)
    axes[0].set_yticks(range(len(rows)), rows)
    return figure
