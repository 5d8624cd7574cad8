"""Week 04: the exam's contract and scale, and drawings that teach nothing.

A drawing makes a new figure; `plots.show` ends it. Nothing here imports torch: the grader reads the
scale, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from practical_dl import plots
from practical_dl.milestones import Milestones
from practical_dl.network import PictureContract

# -- The exam ----------------------------------------------------------------------------------

SIDE = {"small": 128, "full": 224}  # of the photographs, in pixels
# Reference networks, three times each, on the withheld photographs of `small` (README): the
# majority 20 %, softmax regression on the pixels, a linear probe with 5, 20 and 90 photographs of
# each class, the last block fine-tuned. A milestone stands three standard errors or so below the
# network that is meant to reach it.
SCALE = Milestones((0.25,) * 4, dict.fromkeys(("small", "full"), (0.30, 0.50, 0.65, 0.75)))


def project(profile: str) -> PictureContract:
    """What a network of the exam must keep to."""
    side = SIDE[profile]
    return PictureContract(shape=(3, side, side), classes=5, megabytes=30)


# -- Drawings ----------------------------------------------------------------------------------


def neighbours(
    pictures: np.ndarray, queries: Sequence[int], ways: Mapping[str, np.ndarray]
) -> None:
    """Each query and its nearest pictures, in a row for each way to measure.

    pictures: (n, h, w, 3). ways: by name, the indices (queries, m) of the nearest ones.
    """
    m = next(iter(ways.values())).shape[1]
    shape = (len(queries) * len(ways), m + 1)
    figure, axes = plt.subplots(*shape, figsize=(1.05 * (m + 1) + 1.6, 1.02 * shape[0]))
    for row, ax in enumerate(axes):
        number, way = divmod(row, len(ways))
        name, nearest = list(ways.items())[way]
        shown = [queries[number], *nearest[number]]
        for column, (cell, index) in enumerate(zip(ax, shown, strict=True)):
            cell.set(xticks=[], yticks=[])
            if column == 0 and way > 0:
                cell.axis("off")
                continue
            cell.imshow(pictures[index])
            for spine in cell.spines.values():
                spine.set(visible=column == 0, color=plots.PALETTE[1], linewidth=3)
        ax[1].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        ax[1].yaxis.set_label_coords(-0.1, 0.5)
        ax[0].set_ylabel("")
    figure.suptitle("A photograph (framed) and its nearest neighbours")


def band(ax: plt.Axes, x: Sequence[float], scores: np.ndarray, label: str, colour: str) -> None:
    """The mean over repeats, and the range from the worst to the best one. scores: (repeats, n)."""
    ax.fill_between(x, scores.min(axis=0), scores.max(axis=0), color=colour, alpha=0.18, lw=0)
    ax.plot(x, scores.mean(axis=0), "o-", color=colour, label=label)


def finale(
    sizes: Sequence[int],
    curves: Mapping[str, np.ndarray],
    pictures: np.ndarray,
    titles: Sequence[str],
) -> None:
    """Learning curves with bands, and below the photographs whose labels look wrong.

    curves: accuracies (repeats, sizes) by name. pictures: (n, h, w, 3), n <= 12.
    """
    figure = plt.figure(figsize=(10, 8.2))
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.0, 1.15])
    ax = top.subplots()
    for colour, (name, scores) in zip(plots.PALETTE, curves.items(), strict=False):
        band(ax, sizes, scores, name, colour)
    ax.axhline(0.2, color="0.5", ls=":", lw=1)
    ax.text(sizes[-1], 0.21, "always the same class", ha="right", va="bottom", color="0.4")
    ax.set_xscale("log")
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.minorticks_off()
    ax.set(ylim=(0.1, 1.0), xlabel="photographs of each class", ylabel="accuracy")
    ax.set_title("What pretraining is worth (bands: worst to best of the repeats)")
    ax.legend(frameon=False, loc="upper left", ncols=3)
    bottom.suptitle("Your function says: look at these labels again")
    for cell, picture, title in zip(
        bottom.subplots(2, 6).flat, [*pictures, *[None] * 12], [*titles, *[""] * 12], strict=False
    ):
        cell.axis("off")
        if picture is not None:
            cell.imshow(picture)
            cell.set_title(title, fontsize=9)
