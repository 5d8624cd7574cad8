"""Drawings of single notebooks: pictures to look at, whose code teaches nothing.

Each makes a new figure; `plots.show` ends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch, Rectangle

from practical_dl import plots
from practical_dl.plots import GRADIENT, VALUE


def layer() -> None:
    """A layer as a box: values run through it to the right, gradients to the left (week 01)."""
    ax = plt.subplots(figsize=(9, 3))[1]
    ax.add_patch(FancyBboxPatch((3, 0.2), 3, 1.6, boxstyle="round,pad=0.1", fc="0.96", ec="0.4"))
    middle = {"ha": "center", "va": "center"}
    ax.text(4.5, 1.0, "a layer with\n$\\mathtt{params}$ $\\theta$ and a memory", **middle)
    ax.text(4.5, 1.6, "$\\mathtt{forward}$ →", color=VALUE, **middle)
    ax.text(4.5, 0.4, "← $\\mathtt{backward}$", color=GRADIENT, **middle)
    for x0, x1, y, label, colour in [
        (0.4, 2.8, 1.6, "input $x$", VALUE),
        (6.2, 8.6, 1.6, "output $y = f(x; \\theta)$", VALUE),
        (8.6, 6.2, 0.4, "$\\mathtt{grad\\_output} = \\partial L/\\partial y$", GRADIENT),
        (2.8, 0.4, 0.4, "returned: $\\partial L/\\partial x$", GRADIENT),
    ]:
        arrow = {"arrowstyle": "-|>", "color": colour, "lw": 2}
        ax.annotate("", (x1, y), (x0, y), arrowprops=arrow)
        ax.text((x0 + x1) / 2, y + 0.12, label, ha="center", color=colour)
    down = {"arrowstyle": "-|>", "color": GRADIENT, "lw": 2}
    ax.annotate("", (4.5, -0.75), (4.5, 0.05), arrowprops=down)
    ax.text(4.7, -0.5, "into $\\mathtt{grads}$: $\\partial L/\\partial \\theta$", color=GRADIENT)
    ax.set(xlim=(0, 9), ylim=(-0.8, 2.1))
    ax.axis("off")


def dense_products() -> None:
    """The three matrix products of a dense layer as rectangles, n by d by k (week 01)."""
    n, d, k = 5, 3, 2
    names = {n: "n", d: "d", k: "k"}
    y, x, w = ("$Y$", n, k, VALUE), ("$X$", n, d, VALUE), ("$W$", d, k, VALUE)
    g = ("$G$", n, k, GRADIENT)
    grad_w = ("$\\partial L/\\partial W$", d, k, GRADIENT)
    grad_x = ("$\\partial L/\\partial X$", n, d, GRADIENT)
    products = [
        ("forward: $Y = XW$", (y, x, w)),
        ("$\\partial L/\\partial W = X^T G$", (grad_w, ("$X^T$", d, n, VALUE), g)),
        ("$\\partial L/\\partial X = G\\,W^T$", (grad_x, g, ("$W^T$", k, d, VALUE))),
    ]
    axes = plt.subplots(1, 3, figsize=(11, 2.4), width_ratios=[9.7, 11.7, 10.7])[1]
    for ax, (title, matrices) in zip(axes, products, strict=True):
        left = 0.0
        for (label, rows, columns, colour), sign in zip(matrices, ["=", "", ""], strict=True):
            sides = {"fc": colour, "ec": colour, "alpha": 0.25}
            ax.add_patch(Rectangle((left, -rows / 2), columns, rows, **sides))
            middle = {"ha": "center", "va": "center"}
            ax.text(left + columns / 2, 0, label, color=colour, **middle)
            shape = f"{names[rows]}×{names[columns]}"
            under = {"ha": "center", "va": "top", "fontsize": 9}
            ax.text(left + columns / 2, -rows / 2 - 0.25, shape, **under)
            ax.text(left + columns + 0.45, 0, sign, **middle)
            left += columns + 0.9
        ax.set(title=title, xlim=(-0.4, left), ylim=(-3.6, 2.7), aspect="equal")
        ax.axis("off")


def classifier(
    curves: Mapping[str, Sequence[float]],
    logits: np.ndarray,
    labels: np.ndarray,
    pictures: np.ndarray,
    change: np.ndarray,
) -> None:
    """A trained classifier of pictures: error curves, confusions, mistakes, weights (week 01).

    curves: share of errors by epoch. logits: (n, k) of held-out pictures (n, h, w), whose classes
    are labels: (n,). change: (h w, units), what training added to the first layer's weights.
    """
    guess = logits.argmax(axis=1)
    sure = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    wrong = np.flatnonzero(guess != labels)
    worst = wrong[np.argsort(-sure[wrong])][:8]
    classes = logits.shape[1]
    matrix = np.zeros((classes, classes), dtype=int)
    np.add.at(matrix, (labels, guess), 1)
    figure = plt.figure(figsize=(11, 8.2))
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[3, 1.1, 1.1])
    left, right = top.subplots(1, 2)
    series = {name: (range(1, len(errors) + 1), errors) for name, errors in curves.items()}
    plots.curves(series, "Share of errors", "epoch", "share", log_y=True, ax=left)
    title = f"Held out: {np.mean(guess == labels):.2%} right"
    plots.confusion(matrix, [str(c) for c in range(classes)], title, ax=right)
    middle.suptitle(f"Most confidently wrong, of {len(wrong)}: true → guessed")
    for ax, i in zip(middle.subplots(1, 8).flat, worst, strict=False):
        ax.imshow(pictures[i])
        ax.set_title(f"{labels[i]} → {guess[i]} ({sure[i]:.0%})", fontsize=9)
    bottom.suptitle("What training added to the weights of 12 units of the first layer")
    units = change.T[np.argsort(-np.linalg.norm(change, axis=0))[:12]]
    for ax, unit in zip(bottom.subplots(1, 12).flat, units, strict=True):
        limit = np.abs(unit).max()
        ax.imshow(unit.reshape(pictures.shape[1:]), cmap="RdBu_r", vmin=-limit, vmax=limit)
    for ax in [*middle.axes, *bottom.axes]:
        ax.axis("off")


def sliding_filter(
    x: np.ndarray,
    kernel: np.ndarray,
    output: np.ndarray,
    place: tuple[int, int],
    *,
    stride: int = 1,
    padding: int = 0,
) -> None:
    """A filter on a grid of numbers: window times kernel, summed, is one output number (week 03).

    x: (h, w) with its padding, whose frame is drawn grey. output: NaN where nothing stands yet.
    place: of the output number whose window is marked.
    """
    ratios = [x.shape[1], kernel.shape[1], output.shape[1]]
    axes = plt.subplots(
        1, 3, figsize=(0.5 * sum(ratios) + 1.5, 0.5 * len(x) + 0.8), width_ratios=ratios
    )[1]
    titles = ["input", "filter", "output"]
    top, left = place[0] * stride, place[1] * stride
    marks = [(top, left, *kernel.shape), (0, 0, *kernel.shape), (*place, 1, 1)]
    for ax, grid, title, (row, column, rows, columns) in zip(
        axes, [x, kernel, output], titles, marks, strict=True
    ):
        h, w = grid.shape
        for (i, j), number in np.ndenumerate(grid):
            frame = title == "input" and not (
                padding <= i < h - padding and padding <= j < w - padding
            )
            ax.add_patch(Rectangle((j, i), 1, 1, fc="0.9" if frame else "white", ec="0.6"))
            if not np.isnan(number):
                ax.text(j + 0.5, i + 0.5, f"{number:g}", ha="center", va="center")
        ax.add_patch(Rectangle((column, row), columns, rows, fc="none", ec=GRADIENT, lw=3))
        ax.set(title=title, xlim=(-0.1, w + 0.1), ylim=(h + 0.1, -0.1), aspect="equal")
        ax.axis("off")


def picture_classifier(
    history: Mapping[str, Sequence[float]],
    logits: np.ndarray,
    labels: np.ndarray,
    pictures: np.ndarray,
    classes: Sequence[str],
) -> None:
    """A trained classifier of colour pictures: curves, confusions, confident mistakes (week 03).

    history: accuracies by epoch, by name. logits: (n, k) of pictures (n, h, w, 3) of these labels.
    """
    guess = logits.argmax(axis=1)
    sure = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    wrong = np.flatnonzero(guess != labels)
    worst = wrong[np.argsort(-sure[wrong])][:16]
    matrix = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(matrix, (labels, guess), 1)
    figure = plt.figure(figsize=(11, 8.6))
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.35, 1])
    left, right = top.subplots(1, 2, width_ratios=[1, 1.15])
    series = {name: (range(1, len(values) + 1), values) for name, values in history.items()}
    plots.curves(series, "Accuracy", "epoch", "share of pictures", ax=left)
    left.xaxis.get_major_locator().set_params(integer=True)
    title = f"Never trained on: {np.mean(guess == labels):.1%} of {len(labels)} right"
    plots.confusion(matrix, classes, title, ax=right)
    right.tick_params(axis="x", rotation=60)
    bottom.suptitle("Most confidently wrong: true → guessed")
    axes = bottom.subplots(2, 8)
    for ax, i in zip(axes.flat, worst, strict=False):
        ax.imshow(pictures[i])
        title = f"{classes[labels[i]]} →\n{classes[guess[i]]} {sure[i]:.0%}"
        ax.set_title(title, fontsize=8)
    for ax in axes.flat:
        ax.axis("off")


def found_cells(
    cells: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    tissue: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    found: Mapping[str, tuple[np.ndarray, np.ndarray, int]],
) -> None:
    """What detectors found: boxes on pictures, and precision against recall (week 03, homework).

    cells: pictures with found and true boxes (k, 4). tissue: grey pictures, numbered pieces, found
    and true boxes. found: by detector, scores (n,), hits (n,) and the number of true boxes.
    """
    axes = plt.subplots(2, 3, figsize=(12, 7), width_ratios=[1, 1, 1.15])[1]

    def outline(ax: plt.Axes, boxes: np.ndarray, **style: object) -> None:
        for x0, y0, x1, y1 in boxes:
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, **style))

    for ax, (picture, boxes, truth) in zip(axes[0, :2], cells, strict=True):
        ax.imshow(picture)
        outline(ax, boxes, ec=VALUE, lw=2.5)
        outline(ax, truth, ec="black", lw=1.5, ls="--")
        ax.set_title("white cells: found, true (dashed)", fontsize=10)
        ax.axis("off")
    for ax, (picture, pieces, boxes, truth) in zip(axes[1, :2], tissue, strict=True):
        side = picture.shape[0] // pieces.shape[0]
        # Neighbouring numbers in different colours; 0 stays transparent.
        colours = np.where(pieces > 0, (7 * pieces) % 19, np.nan).repeat(side, 0).repeat(side, 1)
        ax.imshow(picture / picture.max())
        ax.imshow(colours, cmap="tab20", alpha=0.55, interpolation="nearest", vmin=0, vmax=19)
        outline(ax, boxes, ec="white", lw=1.2)
        outline(ax, truth, ec="gold", lw=1.5, ls=":")
        ax.set(xlim=(0, picture.shape[1] // 2), ylim=(picture.shape[0] // 2, 0))
        ax.set_title("nuclei, a quarter of a picture: found, true (dotted)", fontsize=10)
        ax.axis("off")
    groups = [[n for n in found if "nuclei" not in n], [n for n in found if "nuclei" in n]]
    for ax, names, title in zip(axes[:, 2], groups, ["White cells", "Nuclei"], strict=True):
        for name in names:
            scores, hits, positives = found[name]
            hits = np.asarray(hits)[np.argsort(-np.asarray(scores), kind="stable")].cumsum()
            ax.plot(hits / positives, hits / np.arange(1, len(hits) + 1), label=name)
        ax.set(xlim=(0, 1.02), ylim=(0, 1.04), xlabel="recall", ylabel="precision")
        ax.set_title(f"{title}: a hit has an IoU of at least 0.5", fontsize=10)
        ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.12))
