"""Week 05: networks and maps that its notebooks are given, and drawings that teach nothing.

A drawing makes a new figure; `plots.show` ends it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from practical_dl.plots import PALETTE

if TYPE_CHECKING:  # here, as in the functions: torch is slow to import
    import torch
    from torch import nn

# -- The seminar: what it is given --------------------------------------------------------------


def gradient_map(
    model: nn.Module, x: torch.Tensor, targets: torch.Tensor, *, times_input: bool = False
) -> torch.Tensor:
    """The gradient of a logit by the pixels, as the sum of absolute values over the channels.

    x: (n, c, h, w). targets: the class of each, (n,). times_input: each gradient times its pixel.
    -> (n, h, w). Simonyan et al., 2014, arXiv:1312.6034, §3.
    """
    import torch

    given = x.detach().clone().requires_grad_(True)
    logits = model(given).gather(1, targets[:, None])
    (gradient,) = torch.autograd.grad(logits.sum(), given)
    return (gradient * x if times_input else gradient).abs().sum(1)


def guided_map(model: nn.Module, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """`gradient_map` of a copy of the model whose ReLUs let positive gradients alone pass back.

    Springenberg et al., 2015, arXiv:1412.6806, §3.4. ReLU6 counts, too.
    """
    return gradient_map(_guided(copy.deepcopy(model)), x, targets)


def _guided(model: nn.Module) -> nn.Module:
    """The model with another ReLU in the place of each."""
    import torch
    from torch import nn

    class Positive(torch.autograd.Function):
        """The identity, whose backward pass drops what is negative."""

        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
            return gradients[0].clamp(min=0)

    class Guided(nn.Module):
        def __init__(self, relu: nn.Module) -> None:
            super().__init__()
            self.relu = relu

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Positive.apply(self.relu(x))  # type: ignore[no-any-return]

    for name, part in list(model.named_modules()):
        if isinstance(part, nn.ReLU | nn.ReLU6):
            owner, _, own = name.rpartition(".")
            setattr(model.get_submodule(owner), own, Guided(part))
    return model


def train_small(x: torch.Tensor, labels: torch.Tensor, epochs: int, seed: int = 0) -> nn.Module:
    """A small convolutional network for pictures (n, 3, h, w), trained with Adam, in eval mode.

    The random numbers of torch stay as they were.
    """
    import torch
    from torch import nn

    class Small(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.conv1, self.relu1 = nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()
            self.conv2, self.relu2 = nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()
            self.conv3, self.relu3 = nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()
            self.pool, self.head = nn.MaxPool2d(2), nn.Linear(64, classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.pool(self.relu1(self.conv1(x)))
            x = self.relu3(self.conv3(self.pool(self.relu2(self.conv2(x)))))
            return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Small(int(labels.max()) + 1)
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(x[rows]), labels[rows]).backward()
                optimiser.step()
    return model.eval()


# -- The seminar: drawings ----------------------------------------------------------------------


def filters_and_maps(filters: np.ndarray, maps: Sequence[np.ndarray], names: Sequence[str]) -> None:
    """Filters (n, 3, 3, 3), colours last, in two rows; below them a row of maps (m, h, w) each."""
    columns = len(filters) // 2
    figure = plt.figure(figsize=(10, 1.4 + 1.3 * len(maps)))
    above, below = figure.subfigures(2, 1, height_ratios=[1.4, 1.3 * len(maps)])
    for ax, picture in zip(above.subplots(2, columns).flat, filters, strict=True):
        _bare(ax).imshow(picture)
    axes = below.subplots(len(maps), len(maps[0]))
    for row, name, pictures in zip(axes, names, maps, strict=True):
        for ax, picture in zip(row, pictures, strict=True):
            _bare(ax).imshow(picture)
        row[0].set_ylabel(name, fontsize=9)


def overlay(photographs: np.ndarray, maps: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """Each photograph (h, w, 3) in grey below its map (h, w): red above 0, blue below."""
    figure, axes = plt.subplots(1, len(maps), figsize=(2.6 * len(maps), 3.3), squeeze=False)
    for ax, photograph, values, title in zip(axes[0], photographs, maps, titles, strict=True):
        limit = float(np.abs(values).max()) or 1.0
        _bare(ax).imshow(photograph.mean(-1), vmin=0, vmax=1)
        drawn = ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.6)
        ax.set_title(title, fontsize=9)
        figure.colorbar(drawn, ax=ax, location="bottom", shrink=0.8, pad=0.02)


def grid(rows: Mapping[str, Sequence[np.ndarray]], titles: Sequence[str]) -> None:
    """Pictures in rows, each with its name."""
    n = len(titles)
    _, axes = plt.subplots(len(rows), n, figsize=(1.9 * n + 0.4, 1.95 * len(rows) + 0.3))
    for row, (name, pictures) in zip(axes, rows.items(), strict=True):
        for ax, picture in zip(row, pictures, strict=True):
            _bare(ax).imshow(picture)
        row[0].set_ylabel(name)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=10)


def heat(maps: Sequence[np.ndarray], titles: Sequence[str], photograph: np.ndarray) -> None:
    """A photograph, and maps (h, w) of it, each in its own range."""
    _, axes = plt.subplots(1, len(maps) + 1, figsize=(2.3 * (len(maps) + 1), 2.8))
    _bare(axes[0]).imshow(photograph)
    for ax, values, title in zip(axes[1:], maps, titles, strict=True):
        _bare(ax).imshow(_bright(values), cmap="magma")
        ax.set_title(title, fontsize=9)


def cascade(
    fates: Mapping[str, Sequence[float]],
    films: Mapping[str, Sequence[np.ndarray]],
    moments: Sequence[int],
) -> None:
    """Maps while a network forgets, a row for each method, and their rank correlations below.

    fates: by method, after 0, 1, 2, … parts. films: by method, maps (h, w) at these moments.
    """
    figure = plt.figure(figsize=(10, 2 * len(films) + 3))
    above, below = figure.subfigures(2, 1, height_ratios=[1.9 * len(films), 3])
    for row, (name, maps) in zip(
        above.subplots(len(films), len(moments)), films.items(), strict=True
    ):
        for ax, values, moment in zip(row, maps, moments, strict=True):
            _bare(ax).imshow(_bright(values), cmap="magma")
            ax.set_title(f"forgotten: {moment}" if moment else "as trained", fontsize=9)
        row[0].set_ylabel(name)
    ax = below.subplots()
    for name, fate in fates.items():
        ax.plot(fate, marker="o", markersize=3, label=name)
    ax.axhline(0, color="0.6", linewidth=1)
    ax.set_xticks(range(0, len(fate), 2))
    ax.set(xlabel="parts forgotten, from the output down", ylabel="rank correlation")
    ax.set_title("Does the map notice that the network forgets?")
    ax.legend(frameon=False)


def shortcut(
    pictures: np.ndarray,
    gallery: Mapping[str, Mapping[str, np.ndarray]],
    shares: Mapping[str, Sequence[float]],
    networks: Sequence[str],
    area: float,
) -> None:
    """Pictures, their maps by each method for each network, and the shares inside the region.

    pictures: (m, h, w, 3). gallery: by method and network the maps (m, h, w). shares: by method one
    of each network. area: the share of the region in a picture.
    """
    figure = plt.figure(figsize=(11, 4.8))
    left, right = figure.subfigures(1, 2, width_ratios=[6, 5])
    axes = left.subplots(len(networks) * len(pictures), 1 + len(gallery))
    for i, network in enumerate(networks):
        for j, picture in enumerate(pictures):
            row = axes[i * len(pictures) + j]
            _bare(row[0]).imshow(picture)
            if j == 0:
                row[0].set_ylabel(network, fontsize=9, y=-0.1)
            for ax, (name, maps) in zip(row[1:], gallery.items(), strict=True):
                _bare(ax).imshow(_bright(maps[network][j]), cmap="magma")
                if i == j == 0:
                    ax.set_title(name.replace(" ", "\n", 1), fontsize=9)
    ax = right.subplots()
    places = np.arange(len(shares))
    for k, network in enumerate(networks):
        heights = [values[k] for values in shares.values()]
        ax.bar(places + 0.36 * k - 0.18, heights, 0.34, color=PALETTE[1 - k], label=network)
    ax.axhline(area, color="black", linestyle="--", linewidth=1, label="share of the area")
    ax.set_xticks(places, [name.replace(" ", "\n", 1) for name in shares])
    ax.set(title="How much of a map lies in the corner", ylabel="share", ylim=(0, 0.8))
    ax.legend(frameon=False, loc="upper left")


def _bare(ax: Axes) -> Axes:
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    return ax


def _bright(values: np.ndarray) -> np.ndarray:
    """Absolute values, so that the brightest hundredth does not darken all others: in [0, 1]."""
    strength = np.abs(np.asarray(values))
    return np.clip(strength / (np.quantile(strength, 0.99) or 1.0), 0, 1)
