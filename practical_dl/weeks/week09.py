"""Week 09: what the tests of practice_peft share, a policy that adds, intervals, drawings.

A drawing makes a new figure, or draws on the axes that it gets; `plots.show` ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from practical_dl import check
from practical_dl.check import CheckFailed
from practical_dl.plots import PALETTE

if TYPE_CHECKING:  # here, as in the functions: torch is slow to import
    import torch
    from torch import nn

# -- Tests of practice_peft ----------------------------------------------------------------------


def slopes_of(
    made: Callable[[], nn.Module], *inputs: torch.Tensor, call: str
) -> dict[str, np.ndarray | None]:
    """The gradients of a module's parameters, by name; None for those that are frozen.

    made: gives the module, which may be a student's. The answer is weighted by numbers from -1 to
    1.3 and summed. Raises CheckFailed where it is no tensor, or hangs on no parameter.
    """
    import torch

    module = made()
    check.parameters_of(module, call)  # or it is no module
    with torch.enable_grad():
        result = module(*inputs)
        if not isinstance(result, torch.Tensor):
            raise CheckFailed(f"{call}: should: give a tensor")
        if not result.requires_grad:
            raise CheckFailed(f"{call}: should: let gradients through to what is trained")
        steps = torch.linspace(-1, 1.3, result.numel(), dtype=result.dtype).reshape(result.shape)
        named = dict(module.named_parameters())
        asked = {name: p for name, p in named.items() if p.requires_grad}
        found = torch.autograd.grad((result * steps).sum(), list(asked.values()), allow_unused=True)
    slopes = {
        name: np.zeros(tuple(p.shape)) if g is None else g.numpy(force=True)
        for (name, p), g in zip(asked.items(), found, strict=True)
    }
    return {name: slopes.get(name) for name in named}


def answer_in_eval(made: Callable[[], nn.Module], x: torch.Tensor, *, call: str) -> Any:
    """What a module answers in eval mode, plain; it gets back its mode."""
    module = made()
    check.parameters_of(module, call)  # or it is no module
    was = module.training
    try:
        return check.answer(module.eval().forward, x, call=call)
    finally:
        module.train(was)


def part_of(function: Callable[..., Any], key: str) -> Callable[..., Any]:
    """A function that gives one value of the table that the function gives."""

    def part(*arguments: Any) -> Any:
        table = function(*arguments)
        if not isinstance(table, dict) or key not in table:
            raise CheckFailed(f"should: give a table with {key}")
        return table[key]

    return part


def tiny_projections(layers: int, d: int, seed: int, dtype: Any = None) -> nn.Module:
    """A small network whose layers have linear maps `q_proj`, `v_proj` and `out`.

    x: (n, t, d) -> (n, t, d).
    """
    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(d)
            self.q_proj = nn.Linear(d, d + 1)
            self.v_proj = nn.Linear(d, d + 1, bias=False)
            self.out = nn.Linear(d + 1, d)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.norm(x)
            return x + self.out(torch.tanh(self.q_proj(h)) * self.v_proj(h))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
            self.q_proj = nn.LayerNorm(d)  # called like a linear map, and none

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = layer(x)
            return self.q_proj(x)

    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    network = Network()
    torch.random.set_rng_state(state)
    return network.to(dtype or torch.float64)


# -- Models --------------------------------------------------------------------------------------


def hub_model(name: str) -> tuple[Any, Any]:
    """A larger open model of the hub, and its tokenizer: for `full`, with a network."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)


# -- Measures ------------------------------------------------------------------------------------


def paired_interval(
    before: Sequence[float], after: Sequence[float], level: float = 0.95, draws: int = 4000
) -> tuple[float, float, float]:
    """The mean gain on the same questions, and its bootstrap interval: questions drawn in pairs."""
    gain = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    picked = np.random.default_rng(0).integers(0, len(gain), size=(draws, len(gain)))
    low, high = np.quantile(gain[picked].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(gain.mean()), float(low), float(high)


def verdict(low: float, high: float) -> str:
    """What an interval of a gain allows to say."""
    return "a gain" if low > 0 else "a loss" if high < 0 else "no gain shown"


# -- A policy that adds --------------------------------------------------------------------------


class Sums:
    """Two-digit sums as rows of digits: the last digits first, and the answer from its end.

    47 + 85 = 132 is asked as 7 5 4 8 and answered as 2 3 1. A tenth of the 10,000 questions is held
    out: `draw` never gives them, `held_out` gives nothing else.
    """

    def __init__(self) -> None:
        order = np.random.default_rng(9).permutation(10_000)
        self._test, self._train = order[:1000], order[1000:]

    def _rows(self, picked: np.ndarray) -> torch.Tensor:
        import torch

        a, b = picked // 100, picked % 100
        return torch.from_numpy(np.stack([a % 10, b % 10, a // 10, b // 10], axis=1))

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """n questions to learn from: (n, 4)."""
        import torch

        picked = torch.randint(len(self._train), (n,), generator=generator)
        return self._rows(self._train[picked.numpy()])

    def held_out(self, n: int = 1000) -> torch.Tensor:
        """The first n of the questions that are held out: (n, 4)."""
        return self._rows(self._test[:n])

    @staticmethod
    def answers(questions: torch.Tensor) -> torch.Tensor:
        """The right answers: (n, 4) -> (n, 3)."""
        import torch

        total = questions[:, 0] + questions[:, 1] + 10 * (questions[:, 2] + questions[:, 3])
        return torch.stack([total // 10**k % 10 for k in range(3)], dim=1)

    @staticmethod
    def text(question: Sequence[int], answer: Sequence[int]) -> str:
        """As people write it: "47 + 85 = 132"."""
        a, b, c, d = (int(v) for v in question)
        return f"{c}{a} + {d}{b} = " + "".join(str(int(v)) for v in reversed(list(answer)))


# -- Drawings of practice_peft -------------------------------------------------------------------


def mask_picture(tokens: Sequence[str], labels: Sequence[int], width: int = 78) -> Axes:
    """A conversation token by token; those that count in the loss are filled."""
    rows: list[list[tuple[int, str, bool]]] = [[]]
    place = 0
    for token, label in zip(tokens, labels, strict=True):
        shown = token.replace("\n", "⏎").replace(" ", "·")
        if place + len(shown) > width:
            rows.append([])
            place = 0
        rows[-1].append((place, shown, label >= 0))
        place += len(shown) + 1
    _, ax = plt.subplots(figsize=(10, 0.42 * len(rows) + 0.4))
    for i, row in enumerate(rows):
        for x, text, counts in row:
            box = {"facecolor": PALETTE[5] if counts else "0.94", "edgecolor": "none", "pad": 2.0}
            ax.text(x, -i, text, family="monospace", fontsize=9, va="center", bbox=box)
    ax.set(xlim=(-1, width + 2), ylim=(0.6 - len(rows), 0.6))
    ax.axis("off")
    return ax


def rank_picture(losses: Mapping[int, Sequence[float]], floors: Mapping[int, float]) -> Figure:
    """The error of adapters of several ranks, by step, with the floor that each rank has."""
    figure, ax = plt.subplots(figsize=(7.5, 4.2))
    for (rank, values), colour in zip(losses.items(), PALETTE, strict=False):
        ax.plot(values, color=colour, lw=2, label=f"rank {rank}")
        if floors[rank] > 0:
            ax.axhline(floors[rank], color=colour, ls=":", lw=1.2)
    ax.set(xlabel="step", ylabel="squared error", yscale="log", title="What a rank can learn")
    ax.legend(frameon=False, ncols=2)
    return figure


def prefix_picture(weights: np.ndarray, prefix: int) -> Axes:
    """Attention weights of one head; the columns left of the line are the prefix."""
    _, ax = plt.subplots(figsize=(5.6, 3.4))
    image = ax.imshow(weights, cmap="Blues", vmin=0, aspect="auto")
    ax.axvline(prefix - 0.5, color=PALETTE[1], lw=2)
    ax.set(xlabel="key: prefix | text", ylabel="query", title="A prefix that all queries see")
    columns = [f"p{i + 1}" for i in range(prefix)]
    columns += [str(i) for i in range(weights.shape[1] - prefix)]
    ax.set_xticks(range(weights.shape[1]), columns)
    ax.grid(False)
    plt.colorbar(image, ax=ax, label="weight")
    return ax


def strengths_picture(planted: np.ndarray, found: Mapping[int, np.ndarray]) -> Figure:
    """Strengths that were planted against those found, for several numbers of games."""
    figure, axes = plt.subplots(1, len(found), figsize=(3.5 * len(found), 3.5), sharey=True)
    low, high = planted.min() - 0.4, planted.max() + 0.4
    for ax, (games, values) in zip(np.ravel(axes), found.items(), strict=True):
        ax.plot([low, high], [low, high], color="0.6", ls=":")
        ax.scatter(planted, values, s=30)
        error = float(np.sqrt(np.mean((planted - values) ** 2)))
        ax.set(title=f"{games} games a pair, error {error:.2f}", xlabel="planted strength")
    np.ravel(axes)[0].set_ylabel("found strength")
    return figure


def tilt_picture(
    betas: np.ndarray, optimum: Mapping[float, np.ndarray], trained: Mapping[float, Any]
) -> Axes:
    """The probability of the preferred answer against beta: in closed form, and as trained."""
    _, ax = plt.subplots(figsize=(7.0, 4.0))
    for (share, curve), colour in zip(optimum.items(), PALETTE, strict=False):
        ax.plot(betas, curve, color=colour, label=f"preferred in {share:.0%}")
        points = trained[share]
        ax.plot(list(points), list(points.values()), "o", color=colour)
    ax.set(xscale="log", xlabel=r"$\beta$", ylabel="probability of answer A", ylim=(0, 1.03))
    ax.set_title("Dots: trained by your loss. Lines: closed form")
    ax.legend(frameon=False)
    return ax


def clip_picture(ratio: np.ndarray, terms: Mapping[str, np.ndarray], clip: float) -> Figure:
    """What one token adds to the objective, against the ratio of its probabilities."""
    figure, axes = plt.subplots(1, len(terms), figsize=(9.0, 3.4))
    for ax, (name, values) in zip(np.ravel(axes), terms.items(), strict=True):
        ax.plot(ratio, values, lw=2)
        ax.axvspan(1 - clip, 1 + clip, color=PALETTE[5], alpha=0.25, lw=0)
        ax.axvline(1, color="0.6", ls=":")
        ax.set(title=name, xlabel="new / old probability", ylabel="objective")
    return figure


def reward_picture(
    runs: Mapping[int, Sequence[float]], useful: Mapping[int, Sequence[float]], window: int = 10
) -> Figure:
    """The mean reward by step of each seed, and the share of groups that teach something."""
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.9))
    kernel = np.ones(window) / window
    for ax, series in zip(axes, (runs, useful), strict=True):
        for (seed, values), colour in zip(series.items(), PALETTE, strict=False):
            ax.plot(values, color=colour, alpha=0.2, lw=1)
            smooth = np.convolve(values, kernel, mode="valid")
            steps = np.arange(len(smooth)) + window - 1
            ax.plot(steps, smooth, color=colour, lw=2, label=f"seed {seed}")
        ax.set(xlabel="step", ylim=(0, 1.02))
    axes[0].set(ylabel="mean reward", title="Right answers among those drawn")
    axes[1].set(ylabel="share of groups", title="Groups that are not unanimous")
    axes[0].legend(frameon=False, loc="lower right")
    return figure


def memory_picture(table: Mapping[str, Mapping[str, float]]) -> Axes:
    """Stacked bars of megabytes, a bar for each way to train."""
    _, ax = plt.subplots(figsize=(8.5, 0.7 * len(table) + 1.4))
    places = np.arange(len(table))[::-1]
    left = np.zeros(len(table))
    for part, colour in zip(next(iter(table.values())), PALETTE, strict=False):
        values = np.array([row[part] for row in table.values()]) / 2**20
        ax.barh(places, values, left=left, height=0.55, color=colour, label=part)
        left += values
    for place, total in zip(places, left, strict=True):
        ax.text(total + left.max() * 0.01, place, f"{total:.0f}", va="center")
    ax.set_yticks(places, list(table))
    ax.set(xlabel="MiB", xlim=(0, left.max() * 1.12))
    ax.grid(False, axis="y")
    ax.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def gains_picture(rows: Mapping[str, tuple[float, float, float]]) -> Axes:
    """Gains with their intervals; those that hold 0 are grey."""
    _, ax = plt.subplots(figsize=(8.0, 0.5 * len(rows) + 1.2))
    for place, (mean, low, high) in zip(range(len(rows))[::-1], rows.values(), strict=True):
        colour = "0.55" if low <= 0 <= high else PALETTE[0]
        ax.plot([low, high], [place, place], color=colour, lw=3, solid_capstyle="butt")
        ax.plot(mean, place, "o", color=colour, ms=8)
    ax.axvline(0, color="0.3", lw=1)
    ax.set_yticks(range(len(rows))[::-1], list(rows))
    ax.set(xlabel="gain in the share of right answers, 95 % interval", ylim=(-0.6, len(rows) - 0.4))
    ax.grid(False, axis="y")
    return ax


def loss_picture(losses: Sequence[float]) -> Axes:
    """A loss by step."""
    _, ax = plt.subplots(figsize=(7.0, 3.2))
    ax.plot(losses, color=PALETTE[0], lw=2)
    ax.set(xlabel="step", ylabel="loss", ylim=(0, None))
    return ax
