"""The few pictures that every week draws, so that notebooks hold ideas and not plotting code.

Each function draws on axes, or on new ones, and returns them; `show` ends the picture and gives it
its text alternative.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito's palette: told apart with any kind of colour vision.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
VALUE, GRADIENT = PALETTE[:2]  # in every drawing of a computation

plt.rcParams.update(
    {
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.constrained_layout.use": True,
        "figure.figsize": (7.0, 4.0),
        "grid.alpha": 0.3,
        "image.cmap": "gray",
        "axes.prop_cycle": plt.cycler(color=PALETTE),
    }
)


def show(alt: str, figure: Figure | None = None) -> None:
    """Show the current figure with its text alternative, and close it.

    alt: one sentence that tells what the picture shows to a reader who does not see it.
    Raises ValueError where it is empty.
    """
    if not alt.strip():
        raise ValueError("a picture needs a text alternative: plots.show('what it shows')")
    figure = figure or plt.gcf()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Description": alt})
    plt.close(figure)
    try:
        from IPython import get_ipython
    except ImportError:
        return
    if get_ipython() is None:
        return
    from IPython.display import publish_display_data

    publish_display_data(
        {"image/png": base64.b64encode(buffer.getvalue()).decode(), "text/plain": alt},
        {"image/png": {"alt": alt}},
    )


def curves(
    series: Mapping[str, Sequence[float] | tuple[Sequence[float], Sequence[float]]],
    title: str,
    xlabel: str,
    ylabel: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw named curves: each is y, or a pair (x, y)."""
    ax = ax or plt.subplots()[1]
    for name, values in series.items():
        if isinstance(values, tuple):
            ax.plot(values[0], values[1], label=name)
        else:
            ax.plot(values, label=name)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    if log_x:
        ax.set_xscale("log")
    if log_y:
        ax.set_yscale("log")
    if len(series) > 1:
        ax.legend(frameon=False)
    return ax


def images(
    pictures: Any,
    titles: Sequence[str] | None = None,
    title: str = "",
    *,
    columns: int = 8,
    size: float = 1.1,
    symmetric: bool = False,
) -> Figure:
    """Draw a grid of pictures.

    pictures: (n, h, w) or (n, h, w, 3). titles: one a picture. size: inches a picture.
    symmetric: a diverging colour map around 0, the same for all pictures (weights, gradients).
    """
    pictures = np.asarray(pictures)
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    height = rows * (size + (0.25 if titles else 0.0)) + (0.4 if title else 0.0)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * size, height), squeeze=False)
    options: dict[str, Any] = {}
    if symmetric:
        limit = float(np.abs(pictures).max()) or 1.0
        options = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    for i, ax in enumerate(axes.flat):
        ax.axis("off")
        if i < len(pictures):
            ax.imshow(pictures[i], **options)
            if titles:
                ax.set_title(titles[i], fontsize=9)
    if title:
        figure.suptitle(title)
    return figure


def ladder(rungs: Mapping[str, tuple[float, str]], title: str) -> Axes:
    """By language model its bits per byte as a bar, and a line of what it writes."""
    _, ax = plt.subplots(figsize=(10, 0.85 * len(rungs) + 1))
    places = np.arange(len(rungs))[::-1]
    values = [bits for bits, _ in rungs.values()]
    ax.barh(places, values, height=0.34, color=PALETTE[0])
    for place, (bits, text) in zip(places, rungs.values(), strict=True):
        ax.text(bits + 0.05, place, f"{bits:.2f}", va="center")
        line = " / ".join(part for part in text.splitlines() if part.strip())
        ax.text(0.02, place - 0.36, line[:95], va="center", fontsize=8, family="monospace")
    ax.set_yticks(places, list(rungs))
    ax.set(xlabel="bits per byte", title=title, xlim=(0, max(values) + 0.5), ylim=(-0.7, None))
    ax.grid(False, axis="y")
    return ax


def confusion(
    matrix: Any, classes: Sequence[str], title: str = "Confusion matrix", *, ax: Axes | None = None
) -> Axes:
    """Draw a confusion matrix with its counts. matrix: (k, k), row = true class."""
    matrix = np.asarray(matrix)
    ax = ax or plt.subplots(figsize=(5.0, 4.5))[1]
    ax.imshow(matrix, cmap="Blues")
    for (i, j), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if count > matrix.max() / 2 else "black"
            ax.text(j, i, str(count), ha="center", va="center", fontsize=8, color=colour)
    ax.set_xticks(range(len(classes)), classes)
    ax.set_yticks(range(len(classes)), classes)
    ax.set(title=title, xlabel="predicted class", ylabel="true class")
    ax.grid(False)
    return ax


def decision_regions(
    predict: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    title: str,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Colour the plane by a classifier's answer and put the points on it.

    predict: (n, 2) -> (n,) scores or class numbers. x: (n, 2). y: (n,) class numbers.
    """
    ax = ax or plt.subplots(figsize=(5.0, 4.5))[1]
    low, high = x.min(0) - 0.3, x.max(0) + 0.3
    grid = np.stack(
        np.meshgrid(np.linspace(low[0], high[0], 150), np.linspace(low[1], high[1], 150)), -1
    )
    z = np.asarray(predict(grid.reshape(-1, 2)), dtype=float).reshape(grid.shape[:2])
    # A classifier that always says the same has that class's colour, and no range of its own.
    scale = z if z.min() < z.max() else np.append(y, z.flat[0])
    levels = np.linspace(scale.min(), scale.max(), 21)
    ax.contourf(grid[..., 0], grid[..., 1], z, levels=levels, cmap="RdBu_r", alpha=0.55)
    ax.scatter(x[:, 0], x[:, 1], c=y, cmap="RdBu_r", edgecolors="white", linewidths=0.6, s=24)
    ax.set(title=title, xlabel="$x_1$", ylabel="$x_2$")
    ax.grid(False)
    return ax


def graph(
    nodes: Mapping[str, tuple[float, float]],
    edges: Sequence[tuple[str, str, float, float | None]],
    title: str,
    *,
    labels: Mapping[str, str] | None = None,
    digits: int = 3,
    ax: Axes | None = None,
) -> Axes:
    """Draw a computation graph with the values (above) and the gradients (below) on its edges.

    nodes: places by name. edges: (from, to, value, gradient or None). labels: what stands in a node
    whose name does not say it; names must differ, signs need not. digits: significant ones.
    """
    width, height = (np.ptp(side) for side in zip(*nodes.values(), strict=True))
    ax = ax or plt.subplots(figsize=(1.05 * width + 1, 0.85 * height + 1))[1]
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    for tail, head, value, gradient in edges:
        (x0, y0), (x1, y1) = nodes[tail], nodes[head]
        arrow = {"arrowstyle": "-|>", "color": "0.4", "shrinkA": 15, "shrinkB": 15}
        ax.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
        # A little nearer to the tail: where edges meet, their numbers must not.
        middle = (x0 + 0.45 * (x1 - x0), y0 + 0.45 * (y1 - y0))
        style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "bbox": white}
        text = f"{value:.{digits}g}"
        ax.annotate(text, middle, xytext=(0, 4), color=VALUE, va="bottom", **style)
        if gradient is not None:
            text = f"{gradient:.{digits}g}"
            ax.annotate(text, middle, xytext=(0, -4), color=GRADIENT, va="top", **style)
    for name, (x, y) in nodes.items():
        box = {"boxstyle": "circle,pad=0.35", "facecolor": "white", "edgecolor": "0.4"}
        text = (labels or {}).get(name, name)
        ax.text(x, y, text, ha="center", va="center", fontsize=12, bbox=box)
    across, up = zip(*nodes.values(), strict=True)
    ax.set(xlim=(min(across) - 0.4, max(across) + 0.4), ylim=(min(up) - 0.5, max(up) + 0.5))
    ax.set_title(title)
    ax.axis("off")
    return ax
