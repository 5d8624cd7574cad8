"""Week 03: the project's contract and scale, what tests share, and drawings that teach nothing.

A drawing makes a new figure; `plots.show` ends it. Nothing here imports torch before it is needed:
the grader reads the scale, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from practical_dl import check, plots
from practical_dl.milestones import Milestones
from practical_dl.network import PictureContract
from practical_dl.plots import GRADIENT, VALUE

# -- The project -------------------------------------------------------------------------------

PROJECT = PictureContract(shape=(3, 32, 32), classes=10)

_FULL = (0.20, 0.50, 0.60, 0.65, 0.70, 0.75, 0.80)  # of the course's plan, on CIFAR-10 itself
# Two networks that both data sets know: softmax regression on the pixels, and the notebook's
# reference with time to learn. On CIFAR-10 about 39 % (a course at KTH reports 39.3 %) and the 93 %
# that the course asks of it; on the pictures of `small` 39.0 % and, after 15 epochs, 80.3 %,
# measured on the 8,000 public test pictures. In the notebook's 5 epochs it reaches 76 % of those
# and 74 to 75 % of the private ones, four standard errors above the last milestone.
ANCHORS = {"full": (0.39, 0.93), "small": (0.39, 0.80)}


def _scaled(threshold: float) -> float:
    """A threshold of `full` in `small`: as far between the two anchors, to half a per cent."""
    (low, high), (low_small, high_small) = ANCHORS["full"], ANCHORS["small"]
    share = (threshold - low) / (high - low)
    return round(200 * (low_small + share * (high_small - low_small))) / 200


SCALE = Milestones((4, 2, 2, 2, 2, 2, 2), {"full": _FULL, "small": tuple(map(_scaled, _FULL))})


# -- What tests share --------------------------------------------------------------------------


def close(actual: Any, expected: Any, call: str, why: str) -> None:
    """`check.close` in the precision of float64; a message says so where nothing else is wrong."""
    scale = float(np.abs(check.array(expected, call)).max(initial=0))
    check.close(actual, expected, call, rtol=1e-5, atol=1e-5 * (1 + scale), why=why)
    why = "have the precision of float64, where it gets float64 or whole numbers"
    check.close(actual, expected, call, rtol=1e-9, atol=1e-9, why=why)


# -- Drawings ----------------------------------------------------------------------------------


def sliding_filter(
    x: np.ndarray,
    kernel: np.ndarray,
    output: np.ndarray,
    place: tuple[int, int],
    *,
    stride: int = 1,
    padding: int = 0,
) -> None:
    """A filter on a grid of numbers: window times kernel, summed, is one output number.

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
    """A trained classifier of colour pictures: curves, confusions, confident mistakes.

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
    """What detectors found: boxes on pictures, and precision against recall (homework).

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
