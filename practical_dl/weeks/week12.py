"""Week 12: photographs, pairs of layers, measured ratios, and drawings that teach nothing.

A drawing makes a new figure; `plots.show` ends it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from practical_dl.plots import PALETTE

if TYPE_CHECKING:  # here, as in the functions: torch is slow to import
    from torch import nn

# -- What the notebooks share ------------------------------------------------------------------


def square(photo: np.ndarray, side: int) -> np.ndarray:
    """The middle square of a photograph, uint8 (h, w, 3) -> (side, side, 3)."""
    edge = min(photo.shape[:2])
    top, left = (photo.shape[0] - edge) // 2, (photo.shape[1] - edge) // 2
    middle = Image.fromarray(photo[top : top + edge, left : left + edge])
    return np.asarray(middle.resize((side, side), Image.Resampling.LANCZOS))


def pairs(network: nn.Module) -> list[tuple[nn.Module, nn.Module, str, nn.Module]]:
    """Each convolution with the batch norm that was made right after it.

    -> [(convolution, parent of the norm, its name there, norm)]. Right for networks whose layers
    are made in the order in which they run, as those of this course are.
    """
    from torch import nn

    owners = {
        id(child): (parent, name)
        for parent in network.modules()
        for name, child in parent.named_children()
    }
    layers = [layer for layer in network.modules() if not list(layer.children())]
    return [
        (conv, *owners[id(norm)], norm)
        for conv, norm in pairwise(layers)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    ]


@contextmanager
def silent() -> Iterator[None]:
    """Nothing is written to the error stream inside, not by libraries in C++ either.

    The profiler complains there of every device that a machine does not have.
    """
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def ratio(
    slow: Callable[[], object],
    fast: Callable[[], object],
    seconds_of: Callable[[Callable[[], object], int], float],
    times: int = 7,
) -> tuple[float, float, float]:
    """Median, least and largest of slow's seconds over fast's, measured by turns."""
    found = [seconds_of(slow, 2) / seconds_of(fast, 2) for _ in range(times)]
    return float(np.median(found)), min(found), max(found)


_KINDS = {
    "convolution": ("conv",),
    "normalisation": ("norm",),
    "clipping (ReLU6)": ("hardtanh", "relu", "clamp"),
    "matrix product": ("addmm", "linear", "matmul"),
}


def by_operation(profiler: Any, runs: int) -> dict[str, float]:
    """Milliseconds of one of so many runs by kind of operation, as a profiler of torch saw them."""
    found = dict.fromkeys([*_KINDS, "the rest"], 0.0)
    for event in profiler.key_averages():
        kind = next((k for k, w in _KINDS.items() if any(s in event.key for s in w)), "the rest")
        found[kind] += max(event.self_cpu_time_total, getattr(event, "self_device_time_total", 0))
    return {kind: micro / runs / 1e3 for kind, micro in found.items()}


# -- Drawings ----------------------------------------------------------------------------------


def roofline(peak: float, bandwidth: float, dots: Mapping[str, tuple[float, float]]) -> None:
    """A machine's roof. dots: of each piece (operations per byte, operations a second)."""
    ax = plt.subplots(figsize=(8.4, 4.6))[1]
    low = min(0.1, min(i for i, _ in dots.values()) / 2)
    x = np.geomspace(low, 20 * max(peak / bandwidth, *(i for i, _ in dots.values())), 200)
    ax.plot(x, np.minimum(peak, bandwidth * x) / 1e9, color="0.25", lw=2)
    ax.axvline(peak / bandwidth, color="0.7", ls=":", lw=1)
    markers = {"1": "o", "128": "s"}
    colours = {n: PALETTE[i] for i, n in enumerate(dict.fromkeys(n.split(",")[0] for n in dots))}
    for name, (intensity, speed) in dots.items():
        piece, tokens = name.split(", ")
        ax.scatter(
            intensity,
            speed / 1e9,
            s=55,
            color=colours[piece],
            marker=markers[tokens.split()[0]],
            label=name,
            zorder=3,
        )
    middle = x[0] ** 0.7 * (peak / bandwidth) ** 0.3
    ax.annotate(
        "waits for memory  ",
        (middle, bandwidth * middle / 1e9),
        xytext=(-6, 4),
        textcoords="offset points",
        ha="right",
        fontsize=9,
    )
    ax.text(x[-1], peak * 1.15 / 1e9, "waits for arithmetic", ha="right", fontsize=9)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="operations per byte",
        ylabel="billion operations a second",
        title="The roofline of this machine",
    )
    ax.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.01, 0.5))


def latency(served: Mapping[int, Sequence[tuple[float, float, float]]]) -> None:
    """Stay against throughput. served: by the largest batch (requests a second, mean, 95 %)."""
    ax = plt.subplots(figsize=(7.6, 3.8))[1]
    for i, (limit, points) in enumerate(served.items()):
        rate, mean, slow = map(np.array, zip(*points, strict=True))
        name = f"{limit} at a time" if limit > 1 else "one at a time"
        ax.plot(rate, mean, marker=".", color=PALETTE[i], label=name)
        ax.plot(rate, slow, ls=":", color=PALETTE[i])
    ax.set(
        yscale="log",
        xlabel="requests served a second",
        ylabel="seconds from arrival to answer",
        title="More at once: later answers, more of them (dotted: the slowest 5 %)",
    )
    ax.legend(frameon=False)


def profile(shares: Mapping[str, Mapping[str, float]]) -> None:
    """Bars of milliseconds by kind of operation, for several networks."""
    ax = plt.subplots(figsize=(8, 3.2))[1]
    kinds = list(next(iter(shares.values())))
    rows = np.arange(len(kinds))
    for i, (name, found) in enumerate(shares.items()):
        bars = ax.barh(rows + 0.4 * i - 0.2, [found[k] for k in kinds], height=0.38, label=name)
        ax.bar_label(bars, fmt=" %.1f", fontsize=8)
    ax.set_yticks(rows, kinds)
    ax.invert_yaxis()
    ax.set(title="Where the milliseconds go", xlabel="milliseconds", xmargin=0.12)
    ax.legend(frameon=False, loc="lower right")
    ax.grid(axis="y", visible=False)
