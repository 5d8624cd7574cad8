"""Week 05: the reader's own photograph, tiny networks for tests, and drawings that teach nothing.

A drawing makes a new figure; `plots.show` ends it. torch is imported where it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from practical_dl import check

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
