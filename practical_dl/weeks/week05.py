"""Week 05: the reader's own photograph, what notebooks and tests are given, and drawings.

A drawing makes a new figure; `plots.show` ends it. torch is imported where it is needed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from PIL import Image, ImageOps, UnidentifiedImageError

from practical_dl import check
from practical_dl.plots import PALETTE

if TYPE_CHECKING:
    import torch
    from torch import nn

# -- A photograph of the reader's own ------------------------------------------------------------


class PhotoError(ValueError):
    """A file that is no photograph; the message says what to do."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence."""
        return [f"No photograph: {self}"]


def photo(path: str | Path, side: int) -> np.ndarray:
    """The middle square of a JPEG or PNG of any size: uint8 (side, side, 3).

    Grey pictures become grey RGB, what is transparent becomes white, and the picture stands as the
    camera was held. Raises PhotoError, with one sentence, for anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise PhotoError(f"there is no file {path}: put a JPEG or PNG beside the notebook")
    try:
        with Image.open(path, formats=["JPEG", "PNG"]) as picture:
            rgb = _rgb(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError:
        raise PhotoError(f"{path} is neither a JPEG nor a PNG: save it as one of these") from None
    except Image.DecompressionBombError:
        raise PhotoError(f"{path} has too many pixels: make it smaller first") from None
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        raise PhotoError(f"{path} is cut short or damaged ({error})") from None
    return square(np.asarray(rgb), side)


def square(picture: np.ndarray, side: int) -> np.ndarray:
    """The middle square of a picture (h, w, 3), made larger or smaller: uint8 (side, side, 3)."""
    height, width = picture.shape[:2]
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    box = (left, top, left + short, top + short)
    found = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC, box=box)
    return np.array(found)


def _rgb(picture: Image.Image) -> Image.Image:
    """Any kind of picture as RGB on a white ground."""
    if picture.mode.startswith("I"):  # 16 bits a pixel, grey
        picture = Image.fromarray((np.asarray(picture) / 257).clip(0, 255).astype(np.uint8))
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        whole = picture.convert("RGBA")
        ground = Image.new("RGBA", whole.size, "white")
        return Image.alpha_composite(ground, whole).convert("RGB")
    return picture.convert("RGB")


# -- What tests share ----------------------------------------------------------------------------


def tiny_network(rng: np.random.Generator, channels: int, classes: int, six: bool = False) -> Any:
    """A convolutional network in float64 with weights from rng, in eval mode.

    (n, channels, h, w) -> (n, classes), in parts: `features` (n, 5, h - 3, w - 2), `top`, with a
    dropout that does nothing in eval mode. six: ReLU6 takes the place of ReLU.
    """
    import torch
    from torch import nn

    relu = nn.ReLU6 if six else nn.ReLU
    features = nn.Sequential(
        nn.Conv2d(channels, 4, (3, 2)), relu(), nn.Conv2d(4, 5, 2), nn.Dropout(0.5)
    )
    top = nn.Sequential(
        relu(),
        nn.Conv2d(5, 6, 2),
        nn.Sequential(relu(), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten()),
        nn.Linear(12, classes),
    )
    network = nn.Sequential()
    network.add_module("features", features)
    network.add_module("top", top)
    network = network.double().eval()
    with torch.no_grad():
        for value in network.parameters():
            spread = 1.5 / max(1, value[0].numel()) ** 0.5 if value.ndim > 1 else 0.3
            value.copy_(torch.from_numpy(rng.normal(0, spread, tuple(value.shape))))
    return network


def watch(model: Any) -> list[np.ndarray]:
    """A list to which the pictures come that a network is asked about, call after call."""
    seen: list[np.ndarray] = []

    def note(_: Any, given: Any) -> None:
        seen.append(given[0].detach().cpu().numpy().copy())

    model.register_forward_pre_hook(note)
    return seen


def traces(model: Any) -> list[Any]:
    """What a call may leave behind in a network: modes, kinds and hooks of parts, gradients."""
    if not hasattr(model, "modules"):  # a plain function
        return []
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    parts = [
        (type(part).__name__, part.training, *(len(getattr(part, name)) for name in hooks))
        for part in model.modules()
    ]
    values = [
        (value.requires_grad, None if value.grad is None else value.grad.sum().item())
        for value in model.parameters()
    ]
    return [parts, values]


def asked(function: Any, model: Any, *arguments: Any, call: str, **options: Any) -> Any:
    """What a function of the student's says of a network, which it has to leave as it was."""
    before, given_to = traces(model), [*arguments, *options.values()]
    asking = [getattr(value, "requires_grad", None) for value in given_to]
    given = check.answer(function, model, *arguments, call=call, **options)
    after = [getattr(value, "requires_grad", None) for value in given_to]
    check.that(after == asking, f"{call}: leave its arguments as they were, requires_grad, too")
    check.that(
        traces(model) == before,
        f"{call}: leave the network as it was: its parts, their modes and hooks, gradients",
    )
    return given


# -- Drawings ------------------------------------------------------------------------------------


def scaled(scores: np.ndarray) -> np.ndarray:
    """Scores between 0 and 1 for drawing: the 99th percentile of their sizes is 1."""
    size = np.abs(np.asarray(scores, float))
    return np.clip(size / (np.percentile(size, 99) or size.max() or 1.0), 0, 1)


def rows(
    pictures: Sequence[Any], columns: Mapping[str, Sequence[Any]], title: str, size: float = 1.5
) -> plt.Figure:
    """A row for each picture (h, w, 3): itself, then its map (h, w) of every column."""
    shape = (len(pictures), 1 + len(columns))
    figsize = (size * shape[1], size * shape[0] + 0.7)
    figure, axes = plt.subplots(*shape, figsize=figsize, squeeze=False)
    for row, picture in enumerate(pictures):
        axes[row, 0].imshow(picture)
        for ax, maps in zip(axes[row, 1:], columns.values(), strict=True):
            ax.imshow(scaled(maps[row]), cmap="magma", vmin=0, vmax=1)
    for ax, name in zip(axes[0], ["photograph", *columns], strict=True):
        ax.set_title(name, fontsize=9)
    for ax in axes.flat:
        ax.axis("off")
    figure.suptitle(title)
    return figure


def overlaid(ax: plt.Axes, picture: Any, scores: Any, title: str = "") -> None:
    """A map (h, w) laid over its picture (h, w, 3)."""
    ax.imshow(picture)
    ax.imshow(scaled(scores), cmap="magma", alpha=0.55, vmin=0, vmax=1)
    ax.set_title(title, fontsize=10)
    ax.axis("off")


def league(
    maps: Mapping[str, Any],
    control: Mapping[str, Any],
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    best: Sequence[int | None],
    title: str,
) -> None:
    """Maps of a network and of a random one, a row for each method, and a table beside them.

    cells: what stands in the table, a row for each method and any number of rows of controls below.
    best: for each column the row that is set in bold, or None.
    """
    names = list(maps)
    figure, axes = plt.subplots(
        len(cells), 3 + len(columns), figsize=(11, 0.95 * len(cells) + 1.0), squeeze=False
    )
    for ax in axes.flat:
        ax.axis("off")
    for row, line in enumerate(cells):
        name = names[row] if row < len(names) else line[0]
        axes[row, 0].text(0.0, 0.5, name, ha="left", va="center", fontsize=10)
        if row < len(names):
            axes[row, 1].imshow(scaled(maps[name]), cmap="magma", vmin=0, vmax=1)
            axes[row, 2].imshow(scaled(control[name]), cmap="magma", vmin=0, vmax=1)
        values = line if row < len(names) else line[1:]
        for column, text in enumerate(values):
            weight = "bold" if best[column] == row else "normal"
            ax = axes[row, 3 + column]
            ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=11, weight=weight)
    heads = ["", "network", "shuffled\nnetwork", *columns]
    for ax, head in zip(axes[0], heads, strict=True):
        ax.set_title(head, fontsize=9)
    figure.suptitle(title)


def strip(frames: Sequence[Any], titles: Sequence[str], painting: Any, title: str) -> None:
    """Frames in two rows of four, and the painting beside them."""
    figure = plt.figure(figsize=(10.5, 4.6))
    left, right = figure.subfigures(1, 2, width_ratios=[4, 1.15])
    for ax, frame, name in zip(left.subplots(2, 4).flat, frames, titles, strict=True):
        ax.imshow(np.clip(frame, 0, 1))
        ax.set_title(name, fontsize=9)
        ax.axis("off")
    ax = right.subplots()
    ax.imshow(painting)
    ax.set_title("in the style of", fontsize=9)
    ax.axis("off")
    figure.suptitle(title)


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
