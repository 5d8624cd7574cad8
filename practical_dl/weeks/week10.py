"""Week 10: sets of points in the plane, a count of modes, and drawings that teach nothing.

A drawing makes a new figure; `plots.show` ends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse

from practical_dl.plots import PALETTE

# -- Seminar -----------------------------------------------------------------------------------

MODES, DEVIATION = 8, 0.05
_ANGLES = 2 * np.pi * np.arange(MODES) / MODES
CENTRES = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def ring(n: int, rng: np.random.Generator) -> np.ndarray:
    """n points of eight narrow Gaussians on a circle: (n, 2)."""
    return CENTRES[rng.integers(MODES, size=n)] + DEVIATION * rng.normal(size=(n, 2))


def log_ring(x: np.ndarray) -> np.ndarray:
    """The logarithm of that density at points (n, 2) -> (n,)."""
    squares = ((x[:, None] - CENTRES) ** 2).sum(2) / DEVIATION**2
    least = squares.min(1, keepdims=True)
    tails = np.exp((least - squares) / 2).sum(1)
    return np.log(tails) - least[:, 0] / 2 - np.log(2 * np.pi * DEVIATION**2 * MODES)


def modes(samples: np.ndarray) -> tuple[int, float]:
    """(modes that are covered, share of samples near one) of samples (n, 2).

    A sample is near a mode within three deviations; a mode is covered by a quarter of its due.
    """
    distances = np.linalg.norm(samples[:, None] - CENTRES, axis=2)
    near = distances.min(1) < 3 * DEVIATION
    counts = np.bincount(distances.argmin(1)[near], minlength=MODES)
    return int((counts >= len(samples) / MODES / 4).sum()), float(near.mean())


def apart(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], xlabel: str
) -> None:
    """By panel, named curves (x, y), with one axis of values."""
    _, axes = plt.subplots(1, len(panels), figsize=(4.9 * len(panels), 3.7), sharey=True)
    for ax, (title, series) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        for i, (name, (x, y)) in enumerate(series.items()):
            ax.plot(x, y, label=name, color=PALETTE[i], ls=("-", "--", "-.", ":")[i % 4])
        ax.set(title=title, xlabel=xlabel)
    np.atleast_1d(axes)[0].legend(frameon=False)


def mixtures(
    x: np.ndarray, states: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> None:
    """By panel a mixture (weights, means, variances) as ellipses of two deviations over points."""
    _, axes = plt.subplots(
        1, len(states), figsize=(3.1 * len(states), 3.3), sharex=True, sharey=True
    )
    for ax, (title, (weights, means, variances)) in zip(axes, states.items(), strict=True):
        ax.scatter(*x.T, s=3, color="0.7")
        for i, (weight, mean, variance) in enumerate(zip(weights, means, variances, strict=True)):
            width, height = 4 * np.sqrt(variance)
            color = PALETTE[i % len(PALETTE)]
            strength = 0.15 + 0.6 * min(1.0, weight * len(weights) / 2)
            ax.add_patch(Ellipse(mean, width, height, color=color, alpha=strength))
            ax.plot(*mean, "k+", ms=6)
        ax.set(title=title, aspect="equal")
        ax.grid(False)


def codes(points: np.ndarray, labels: np.ndarray, pictures: np.ndarray) -> None:
    """Codes (n, 2) coloured by label, beside a grid of decoded pictures (rows, columns, h, w)."""
    _, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.8))
    drawn = left.scatter(*points.T, c=labels, cmap="tab10", s=7)
    left.figure.colorbar(drawn, ax=left, ticks=range(10), shrink=0.8)
    left.set(xlabel="first number of the code", ylabel="second")
    rows = [np.concatenate(list(row), axis=1) for row in pictures[::-1]]
    right.imshow(np.concatenate(rows), cmap="gray")
    right.axis("off")


def pushes(panels: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str) -> None:
    """Curves on one pair of axes, with a line at zero: what pushes a generator."""
    _, ax = plt.subplots(figsize=(7, 3.6))
    for i, (name, (x, y)) in enumerate(panels.items()):
        ax.plot(x, y, label=name, color=PALETTE[i], ls=("-", "--")[i % 2])
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set(xlabel=xlabel, ylabel="derivative")
    ax.legend(frameon=False)


def runs(
    samples: Mapping[str, Sequence[np.ndarray]], counts: Mapping[str, Sequence[tuple[int, float]]]
) -> None:
    """By setting (a row) the samples of each seed, and under each its count of modes."""
    rows, columns = len(samples), len(next(iter(samples.values())))
    _, axes = plt.subplots(
        rows, columns, figsize=(1.85 * columns + 0.4, 1.95 * rows), sharex=True, sharey=True
    )
    for row, (name, sets) in zip(np.atleast_2d(axes), samples.items(), strict=True):
        for ax, points, (count, share) in zip(row, sets, counts[name], strict=True):
            ax.scatter(*CENTRES.T, marker="+", s=45, color=PALETTE[1], lw=1)
            ax.scatter(*points.T, s=2, color=PALETTE[0], alpha=0.5)
            ax.set_title(f"{count} of {MODES}, {share:.0%} near one", fontsize=8)
            ax.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), xticks=[], yticks=[], aspect="equal")
            ax.grid(False)
        row[0].set_ylabel(name.replace(", ", ",\n"), fontsize=8)


def lives(logs: Mapping[str, np.ndarray], every: int) -> None:
    """By setting the covered modes while it trains: each seed thin, their mean thick."""
    _, axes = plt.subplots(1, len(logs), figsize=(2.6 * len(logs), 2.9), sharey=True)
    for i, (ax, (name, log)) in enumerate(zip(axes, logs.items(), strict=True)):
        steps = every * (1 + np.arange(log.shape[1]))
        ax.plot(steps, log.T, color=PALETTE[i], lw=0.8, alpha=0.6)
        ax.plot(steps, log.mean(0), color=PALETTE[i], lw=2.2)
        ax.set(ylim=(-0.3, MODES + 0.3), xlabel="step")
        ax.set_title(name.replace(", ", ",\n"), fontsize=9)
    axes[0].set_ylabel("modes covered")


# -- Homework ----------------------------------------------------------------------------------


def bounds(values: Mapping[int, tuple[float, float]], elbo: float, exact: float) -> None:
    """Bounds (value, standard error) by the number of codes, between the ELBO and the truth."""
    _, ax = plt.subplots(figsize=(7.5, 4.2))
    sizes = np.array(list(values))
    means, errors = np.array(list(values.values())).T
    ax.axhline(exact, color=PALETTE[6], label="exact log p(x)")
    ax.axhline(elbo, color=PALETTE[1], ls="--", label="ELBO")
    ax.fill_between([1, sizes[-1]], elbo, exact, color=PALETTE[4], alpha=0.2)
    ax.errorbar(sizes, means, errors, color=PALETTE[0], marker="o", ms=4, label="k codes")
    ax.set(xscale="log", xlabel="codes k", ylabel="nats a point", title="The bound and the truth")
    ax.legend(frameon=False, loc="center right")


def moons(points: np.ndarray, samples: np.ndarray, curve: np.ndarray) -> None:
    """Data beside samples of a model, with the curve that its decoder draws."""
    _, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharex=True, sharey=True)
    axes[0].scatter(*points.T, s=4, color="0.4")
    axes[0].set_title("data")
    axes[1].scatter(*samples.T, s=4, color=PALETTE[0], alpha=0.6)
    axes[1].plot(*curve.T, color=PALETTE[1], lw=1.5)
    axes[1].set_title("samples, and the decoder's curve")


def knob(settings: Mapping[str, tuple[float, np.ndarray, int]]) -> None:
    """By setting (told, cost of each number (d,), active numbers) a panel of sorted bars."""
    _, axes = plt.subplots(1, len(settings), figsize=(2.1 * len(settings), 2.9), sharey=True)
    for i, (ax, (name, (told, costs, active))) in enumerate(
        zip(axes, settings.items(), strict=True)
    ):
        ax.bar(range(len(costs)), np.sort(costs)[::-1], color=PALETTE[i % len(PALETTE)])
        ax.set_title(
            f"{name.replace(', ', chr(10))}\nactive: {active}, told: {told:.0f}", fontsize=8
        )
        ax.set(xticks=[], xlabel="numbers of the code")
    axes[0].set_ylabel("nats")


def rows(pictures: Mapping[str, np.ndarray]) -> None:
    """Named rows of pictures (n, h, w), from black to white."""
    columns = max(len(row) for row in pictures.values())
    width = 0.72 * columns + 2
    figure, axes = plt.subplots(
        len(pictures), 1, figsize=(width, 0.75 * len(pictures)), squeeze=False, layout="none"
    )
    figure.subplots_adjust(left=2 / width, right=1, bottom=0, top=1, hspace=0.03)
    for ax, (name, row) in zip(axes[:, 0], pictures.items(), strict=True):
        ax.imshow(np.concatenate(list(row), axis=1), cmap="gray", vmin=0, vmax=1)
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set_visible(False)


def shares(panels: Mapping[float, np.ndarray]) -> None:
    """By temperature, draws of shares (n, c): the first against the second."""
    _, axes = plt.subplots(1, len(panels), figsize=(2.7 * len(panels), 2.9), sharey=True)
    for ax, (heat, values) in zip(axes, panels.items(), strict=True):
        ax.plot([0, 1, 0, 0], [0, 0, 1, 0], color="0.6", lw=0.8)
        ax.scatter(values[:, 0], values[:, 1], s=5, alpha=0.5, color=PALETTE[0])
        ax.set(title=f"temperature {heat:g}", xlabel="first share", aspect="equal")
    axes[0].set_ylabel("second share")


def sizes(counts: Sequence[int], curves: Mapping[str, Sequence[np.ndarray]]) -> None:
    """By name, distances (repeats,) for each number of samples, on log axes."""
    _, ax = plt.subplots(figsize=(7.5, 4.2))
    for i, (name, values) in enumerate(curves.items()):
        means = [float(v.mean()) for v in values]
        ax.plot(counts, means, color=PALETTE[i], marker="o", ms=4, label=name)
        ax.fill_between(
            counts,
            [v.min() for v in values],
            [v.max() for v in values],
            color=PALETTE[i],
            alpha=0.2,
        )
    ax.set(xscale="log", yscale="log", xlabel="samples", ylabel="Fréchet distance")
    ax.legend(frameon=False)


def judged(points: Mapping[str, tuple[float, float]]) -> None:
    """Sets as points by (precision, recall)."""
    _, ax = plt.subplots(figsize=(6, 4.6))
    for i, (name, (precision, recall)) in enumerate(points.items()):
        ax.scatter(recall, precision, s=60, color=PALETTE[i])
        ax.annotate(f" {name}", (recall, precision), va="center", fontsize=9)
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.25), ylim=(0, 1.05))


# -- Flows and GANs ----------------------------------------------------------------------------


def fields(seen: Mapping[str, np.ndarray], place: tuple[int, int]) -> None:
    """Which pixels (h, w) reach the output at a place (row, column), a panel a network."""
    _, axes = plt.subplots(1, len(seen), figsize=(2.4 * len(seen), 2.7))
    for ax, (name, picture) in zip(axes, seen.items(), strict=True):
        ax.imshow(picture, cmap="Blues", vmin=0, vmax=1.4)
        ax.plot(place[1], place[0], "s", color=PALETTE[1], ms=7)
        ax.set(title=name, xticks=[], yticks=[])
        ax.grid(False)


def stages(clouds: Sequence[np.ndarray], density: np.ndarray, extent: Sequence[float]) -> None:
    """Clouds (n, 2) coloured by where their points began, then a density over the plane."""
    _, axes = plt.subplots(1, len(clouds) + 1, figsize=(2.5 * (len(clouds) + 1), 2.7))
    angle = np.arctan2(clouds[0][:, 1], clouds[0][:, 0])
    for ax, cloud in zip(axes[:-1], clouds, strict=True):
        ax.scatter(*cloud.T, c=angle, cmap="twilight", s=2)
        ax.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
    axes[-1].imshow(density, origin="lower", extent=extent, cmap="magma")
    for ax in axes:
        ax.set(xticks=[], yticks=[], aspect="equal")
        ax.grid(False)


def lattices(points: Mapping[str, np.ndarray]) -> None:
    """Lattices (rows, columns, 2) as lines, a panel a map."""
    _, axes = plt.subplots(1, len(points), figsize=(2.6 * len(points), 2.9))
    for ax, (name, lattice) in zip(axes, points.items(), strict=True):
        ax.plot(lattice[..., 0], lattice[..., 1], color=PALETTE[0], lw=0.7)
        ax.plot(lattice[..., 0].T, lattice[..., 1].T, color=PALETTE[1], lw=0.7)
        ax.set(title=name, aspect="equal", xticks=[], yticks=[])
        ax.grid(False)


def critics(values: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """By panel a critic's values over the plane from -1.6 to 1.6, and made points (n, 2)."""
    _, axes = plt.subplots(1, len(values), figsize=(3.2 * len(values), 3.3))
    for ax, (name, (field, points)) in zip(axes, values.items(), strict=True):
        ax.contourf(field, 15, extent=(-1.6, 1.6, -1.6, 1.6), cmap="viridis")
        ax.scatter(*points.T, s=3, color="w")
        ax.scatter(*CENTRES.T, marker="+", s=50, color=PALETTE[1])
        ax.set(title=name, xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), xticks=[], yticks=[], aspect="equal")
