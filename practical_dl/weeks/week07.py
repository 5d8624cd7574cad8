"""Week 07: drawings that teach nothing. Each makes a new figure; `plots.show` ends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from practical_dl.plots import PALETTE


def ladder(rungs: Mapping[str, tuple[float, str]], title: str) -> None:
    """By model its bits per byte as a bar, and a line of what it writes."""
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


def who(matrix: np.ndarray, names: Sequence[str]) -> None:
    """Perplexities of texts (rows) by models (columns); the least of each row is framed."""
    _, ax = plt.subplots(figsize=(7.5, 4.8))
    shown = matrix / matrix.min(axis=1, keepdims=True)
    ax.imshow(shown, cmap="Blues_r", vmax=shown.max() * 1.05, aspect="auto")
    for (i, j), value in np.ndenumerate(matrix):
        least = j == matrix[i].argmin()
        dark = shown[i, j] < 1 + 0.45 * (shown.max() - 1)
        ax.text(j, i, f"{value:.1f}", ha="center", va="center", color="white" if dark else "black")
        if least:
            box = {"fill": False, "edgecolor": PALETTE[1], "linewidth": 2.5}
            ax.add_patch(plt.Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, **box))
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="model of", ylabel="text by", title="Perplexity per character")
    ax.grid(False)
