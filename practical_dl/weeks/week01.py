"""Week 01: drawings, whose code teaches nothing. Each makes a new figure; `plots.show` ends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch, Rectangle

from practical_dl import plots
from practical_dl.plots import GRADIENT, VALUE


def layer() -> None:
    """A layer as a box: values run through it to the right, gradients to the left."""
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
    """The three matrix products of a dense layer as rectangles, n by d by k."""
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
    """A trained classifier of pictures: error curves, confusions, mistakes, weights.

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
