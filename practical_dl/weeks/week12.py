"""Week 12: photographs, pairs of layers, measured ratios, and drawings that teach nothing.

A drawing makes a new figure; `plots.show` ends it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from practical_dl.plots import PALETTE

if TYPE_CHECKING:  # here, as in the functions: torch is slow to import
    import torch
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


# -- Practice: a language model ----------------------------------------------------------------


def rotary(x: torch.Tensor, places: torch.Tensor, base: float = 10000.0) -> torch.Tensor:
    """Turn pairs of neighbours by angles that grow with the place. x: (..., t, d), places: (t,).

    places may have more axes in front, where they fit those of x.
    """
    import torch

    j = torch.arange(0, x.shape[-1], 2, dtype=torch.float64, device=x.device)
    angle = places.to(x.device)[..., None] * base ** (-j / x.shape[-1])
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


def whole(
    layer: int,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    lengths: Sequence[int] | None = None,
) -> torch.Tensor:
    """Attention of whole texts: each place looks at itself and what is before it."""
    import torch
    import torch.nn.functional as F

    places = torch.arange(q.shape[2], device=q.device)
    q, k = rotary(q, places), rotary(k, places)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


@cache
def _kinds() -> tuple[type[nn.Module], type[nn.Module]]:
    """Classes, made late: torch is slow to import."""
    import torch.nn.functional as F
    from torch import nn

    class Block(nn.Module):
        """A layer of Llama's kind."""

        def __init__(self, config: Mapping[str, int]) -> None:
            super().__init__()
            dim, hidden, size = config["dim"], config["hidden"], config["dim"] // config["heads"]
            self.size = size
            self.attention_norm = nn.RMSNorm(dim, eps=1e-5)
            self.wq = nn.Linear(dim, dim, bias=False)
            self.wk = nn.Linear(dim, config["kv_heads"] * size, bias=False)
            self.wv = nn.Linear(dim, config["kv_heads"] * size, bias=False)
            self.wo = nn.Linear(dim, dim, bias=False)
            self.feed_forward_norm = nn.RMSNorm(dim, eps=1e-5)
            self.w1 = nn.Linear(dim, hidden, bias=False)
            self.w2 = nn.Linear(hidden, dim, bias=False)
            self.w3 = nn.Linear(dim, hidden, bias=False)

        def forward(self, x: torch.Tensor, attend: Callable[..., torch.Tensor]) -> torch.Tensor:
            """attend(q, k, v) -> (n, heads, t, size)."""
            h = self.attention_norm(x)
            q, k, v = (
                layer(h).unflatten(-1, (-1, self.size)).transpose(1, 2)
                for layer in (self.wq, self.wk, self.wv)
            )
            x = x + self.wo(attend(q, k, v).transpose(1, 2).flatten(2))
            h = self.feed_forward_norm(x)
            return x + self.w2(F.silu(self.w1(h)) * self.w3(h))

    class Story(nn.Module):
        """A language model; its attention is handed in."""

        def __init__(self, config: Mapping[str, int]) -> None:
            super().__init__()
            self.config = dict(config)
            self.embedding = nn.Embedding(config["vocab"], config["dim"])
            self.blocks = nn.ModuleList(Block(config) for _ in range(config["layers"]))
            self.norm = nn.RMSNorm(config["dim"], eps=1e-5)

        def forward(
            self,
            ids: torch.Tensor,
            attend: Callable[..., torch.Tensor] = whole,
            lengths: Sequence[int] | None = None,
        ) -> torch.Tensor:
            """ids: (n, t) -> logits (n, t, vocab)."""
            x = self.embedding(ids)
            for i, block in enumerate(self.blocks):
                x = block(x, lambda q, k, v, i=i: attend(i, q, k, v, lengths))
            return self.norm(x) @ self.embedding.weight.T

    return Block, Story


def random_story(config: Mapping[str, int]) -> nn.Module:
    """A language model of stories260K's kind, with weights by chance."""
    return _kinds()[1](config)


def story(stories: Any) -> nn.Module:
    """stories260K (`data.load`) as a module."""
    import torch

    model = random_story(stories.config)
    named = {}
    for name, array in stories.weights.items():
        if name in ("embedding", "norm"):
            named[f"{name}.weight"] = torch.from_numpy(array)
        else:
            named |= {
                f"blocks.{i}.{name}.weight": torch.from_numpy(array[i]) for i in range(len(array))
            }
    model.load_state_dict(named)
    return model.eval()


def first_layers(model: nn.Module, layers: int) -> nn.Module:
    """The same model with its first layers alone, a copy."""
    made = random_story(model.config | {"layers": layers})
    kept = made.state_dict().keys()
    made.load_state_dict({k: v.clone() for k, v in model.state_dict().items() if k in kept})
    return made.eval()


def story_ids(stories: Any, text: str) -> list[int]:
    """The tokens of a text, 1 in front: neighbours whose union has the best score join first."""
    numbers = {token: i for i, token in reversed(list(enumerate(stories.tokens)))}
    parts = [letter.encode() for letter in " " + text]
    ids = [i for part in parts for i in ([numbers[part]] if part in numbers else _raw(part))]
    while True:
        joined = [numbers.get(stories.tokens[a] + stories.tokens[b]) for a, b in pairwise(ids)]
        made = [(stories.scores[new], -i) for i, new in enumerate(joined) if new is not None]
        if not made:
            return [1, *ids]
        i = -max(made)[1]
        ids[i : i + 2] = [joined[i]]


def _raw(part: bytes) -> list[int]:
    return [3 + byte for byte in part]


def story_text(stories: Any, ids: Sequence[int]) -> str:
    """The text of tokens."""
    parts = [stories.tokens[i] for i in ids if i > 2]
    return b"".join(parts).decode(errors="replace").strip()


def tell(
    model: nn.Module,
    count: int,
    length: int,
    seed: int = 0,
    heat: float = 1.0,
    start: Sequence[int] = (1,),
) -> torch.Tensor:
    """Stories of the model's own, drawn at a temperature. -> (count, length) tokens."""
    import torch
    import torch.nn.functional as F

    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def attend(layer: int, q: Any, k: Any, v: Any, lengths: Any) -> torch.Tensor:
        past = kept[layer][0].shape[2] if layer in kept else 0
        places = torch.arange(past, past + q.shape[2], device=q.device)
        q, k = rotary(q, places), rotary(k, places)
        if past:
            k, v = torch.cat([kept[layer][0], k], 2), torch.cat([kept[layer][1], v], 2)
        kept[layer] = k, v
        return F.scaled_dot_product_attention(q, k, v, is_causal=not past, enable_gqa=True)

    at = next(model.parameters()).device
    generator = torch.Generator(at).manual_seed(seed)
    ids = new = torch.tensor([list(start)] * count, device=at)
    with torch.no_grad():
        while ids.shape[1] < length:
            p = (model(new, attend)[:, -1] / heat).softmax(-1)
            new = torch.multinomial(p, 1, generator=generator)
            ids = torch.cat([ids, new], 1)
    return ids


def second_moments(
    model: nn.Module, ids: torch.Tensor, part: nn.Module | None = None
) -> dict[str, torch.Tensor]:
    """For each linear layer X^T X of the inputs that it gets for these texts, float64.

    part: of the model, where only its layers are asked for, by their names in it.
    """
    import torch
    from torch import nn

    found: dict[str, torch.Tensor] = {}
    hooks = []
    for name, layer in (model if part is None else part).named_modules():
        if isinstance(layer, nn.Linear):

            def note(module: Any, args: Any, out: Any, name: str = name) -> None:
                x = args[0].detach().flatten(0, -2).double()
                found[name] = found.get(name, 0) + x.T @ x

            hooks.append(layer.register_forward_hook(note))
    with torch.no_grad():
        model(ids)
    for hook in hooks:
        hook.remove()
    return found


def rows_through(model: nn.Module, run: Callable[[], object]) -> int:
    """How many vectors go through the model's linear layers while something runs."""
    from torch import nn

    count = 0

    def note(module: Any, args: Any, out: Any) -> None:
        nonlocal count
        count += args[0].numel() // args[0].shape[-1]

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    run()
    for hook in hooks:
        hook.remove()
    return count


def by_turns(
    runs: Mapping[str, Callable[[], object]], times: int = 5
) -> dict[str, tuple[float, float, float]]:
    """Seconds of each of several runs, measured by turns: median, least, largest."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(times + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if turn:  # the first one warms up
                found[name].append(time.perf_counter() - began)
    return {n: (float(np.median(s)), min(s), max(s)) for n, s in found.items()}


# -- Practice: a queue -------------------------------------------------------------------------

Request = tuple[int, int, int]  # step of arrival, tokens to read, tokens to write


def requests(count: int, gap: float, rng: np.random.Generator) -> list[Request]:
    """Requests by chance, in the order of their arrival: some read much, some write much."""
    arrivals = np.cumsum(rng.geometric(1 / (1 + gap), size=count) - 1)
    reads = np.clip(rng.lognormal(2.2, 0.8, size=count), 2, 60).astype(int)
    writes = np.clip(rng.lognormal(2.0, 0.9, size=count), 1, 60).astype(int)
    return [(int(a), int(r), int(w)) for a, r, w in zip(arrivals, reads, writes, strict=True)]


def static_schedule(asked: Sequence[Request], budget: int, slots: int) -> list[dict[int, int]]:
    """The old way: a batch begins when the one before has ended, and ends with its longest."""
    steps: list[dict[int, int]] = []
    waiting = list(range(len(asked)))
    while waiting:
        here = [i for i in waiting if asked[i][0] <= len(steps)][:slots]
        if not here:
            steps.append({})
            continue
        waiting = [i for i in waiting if i not in here]
        unread = {i: asked[i][1] for i in here}
        while any(unread.values()):
            left, step = budget, {}
            for i in here:
                if used := min(left, unread[i]):
                    step[i] = used
                    unread[i] -= used
                    left -= used
            steps.append(step)
        for n in range(max(asked[i][2] for i in here)):
            steps.append({i: 1 for i in here if n < asked[i][2]})
    return steps


def served(
    asked: Sequence[Request], steps: Sequence[Mapping[int, int]]
) -> tuple[float, float, float]:
    """(tokens a step, mean steps from arrival to the last token, the same of the slowest 5 %)."""
    last = {i: n for n, step in enumerate(steps) for i in step}
    stays = [last[i] + 1 - request[0] for i, request in enumerate(asked)]
    tokens = sum(sum(step.values()) for step in steps)
    return tokens / len(steps), float(np.mean(stays)), float(np.percentile(stays, 95))


# -- Drawings ----------------------------------------------------------------------------------


def gantt(
    asked: Sequence[Request], plans: Mapping[str, Sequence[Mapping[int, int]]], slots: int
) -> None:
    """Who is served when: a row for each request, dark where it reads, light where it writes."""
    longest = max(len(steps) for steps in plans.values())
    height = 0.9 + 0.17 * len(asked)
    axes = plt.subplots(len(plans), 1, figsize=(9.2, height * len(plans)), sharex=True)[1]
    for ax, (name, steps) in zip(np.atleast_1d(axes), plans.items(), strict=True):
        for i, (arrival, reads, _) in enumerate(asked):
            times = [n for n, step in enumerate(steps) if i in step]
            if not times:
                continue
            ax.hlines(i, arrival, times[0], color="0.75", lw=1)
            done = 0
            for n in times:
                reading = done < reads
                done += steps[n][i]
                ax.barh(i, 1, left=n, height=0.8, color=PALETTE[0] if reading else PALETTE[1])
        ax.set(title=f"{name}: {len(steps)} steps", ylabel="request", xlim=(0, longest))
        ax.invert_yaxis()
        ax.grid(False)
    for colour, label in ((PALETTE[0], "reads"), (PALETTE[1], "writes")):
        ax.barh(0, 0, color=colour, label=label)
    ax.plot([], [], color="0.75", lw=1, label="waits")
    ax.legend(frameon=False, loc="lower left", fontsize=9)
    ax.set_xlabel("step")


def bars(values: Mapping[str, float], label: str, title: str) -> None:
    """Named bars, lying."""
    ax = plt.subplots(figsize=(7.4, 0.5 * len(values) + 1.2))[1]
    drawn = ax.barh(list(values), list(values.values()), height=0.6, color=PALETTE[0])
    ax.bar_label(drawn, fmt=" %.3f", fontsize=9)
    ax.invert_yaxis()
    ax.set(xlabel=label, title=title, xmargin=0.12)
    ax.grid(False, axis="y")


def pair_bars(names: Sequence[str], series: Mapping[str, Sequence[float]], label: str) -> None:
    """Bars side by side for each name."""
    ax = plt.subplots(figsize=(7.4, 3.4))[1]
    places, width = np.arange(len(names)), 0.8 / len(series)
    for i, (said, values) in enumerate(series.items()):
        drawn = ax.bar(places + i * width, values, width=0.95 * width, label=said)
        ax.bar_label(drawn, fmt="%.3f", fontsize=8)
    ax.set_xticks(places + (len(series) - 1) * width / 2, list(names))
    ax.set(ylabel=label, title="Three bits, one block of SmolLM2")
    ax.legend(frameon=False)
    ax.grid(False, axis="x")


def bits_picture(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], whole: float
) -> None:
    """Perplexity against bits a weight."""
    ax = plt.subplots(figsize=(7.4, 4.2))[1]
    for i, (name, (bits, values)) in enumerate(curves.items()):
        ax.plot(bits, values, marker="o", color=PALETTE[i], label=name)
    ax.axhline(whole, color="0.4", ls=":", lw=1)
    ax.text(ax.get_xlim()[1], whole, "32 bits ", ha="right", va="bottom", color="0.35", fontsize=9)
    ax.set(yscale="log", xlabel="bits a weight, scales included", ylabel="perplexity")
    ax.set_title("Fewer bits")
    ax.legend(frameon=False)


def acceptance_picture(
    gammas: Sequence[int], found: Mapping[str, Sequence[float]], shares: Mapping[str, float]
) -> None:
    """Tokens a call of the large model against the draft's length; dotted: the formula."""
    ax = plt.subplots(figsize=(7.4, 4.2))[1]
    fine = np.linspace(0, max(gammas), 50)
    for i, (name, values) in enumerate(found.items()):
        a = shares[name]
        ax.plot(gammas, values, "o", color=PALETTE[i], label=f"{name}: {100 * a:.0f} % accepted")
        formula = (1 - a ** (fine + 1)) / (1 - a) if a < 1 else fine + 1
        ax.plot(fine, formula, ":", color=PALETTE[i])
    ax.axhline(1, color="0.4", lw=1)
    ax.set(xlabel="tokens of the draft", ylabel="tokens a call", title="What a draft brings")
    ax.legend(frameon=False, loc="upper left")


def pipeline_picture(times: Mapping[tuple[int, int], int], stages: int, micro: int) -> None:
    """Which stage works on which part of the batch, step by step; forward passes only."""
    ax = plt.subplots(figsize=(8, 0.5 * stages + 1.2))[1]
    for (stage, part), step in times.items():
        ax.barh(stage, 0.96, left=step, height=0.9, color=PALETTE[part % len(PALETTE)])
        ax.text(step + 0.48, stage, str(part), ha="center", va="center", color="w", fontsize=9)
    ax.set_yticks(range(stages))
    ax.set(xlabel="step", ylabel="stage", title=f"{stages} stages, {micro} parts")
    ax.invert_yaxis()
    ax.grid(False)


def dashboard(rows: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> None:
    """Of each optimisation what it changes, as ratios to the model as it was, with their range."""
    kinds = list(next(iter(rows.values())))
    size = (12.5, 0.42 * len(rows) + 1.4)
    axes = plt.subplots(1, len(kinds), figsize=size, sharey=True)[1]
    places = np.arange(len(rows))
    for ax, kind in zip(axes, kinds, strict=True):
        for place, row in zip(places, rows.values(), strict=True):
            middle, low, high = row[kind]
            if np.isnan(middle):
                ax.text(1, place, "as before", va="center", ha="center", fontsize=8, color="0.5")
                continue
            better = (middle < 1) != (kind == "throughput")
            colour = "0.6" if abs(middle - 1) < 0.02 else PALETTE[2] if better else PALETTE[3]
            ax.plot([1, middle], [place, place], color=colour, lw=5, solid_capstyle="butt")
            ax.plot([low, high], [place, place], color="0.2", lw=1.2)
            ax.plot(middle, place, "o", color=colour, ms=7)
            ax.annotate(
                f"{middle:.2f}",
                (middle, place),
                xytext=(0, 7),
                textcoords="offset points",
                fontsize=8,
                ha="center",
            )
        ax.axvline(1, color="0.3", lw=1)
        ax.set(title=kind, xscale="log", xlabel="ratio to the plain model")
        ax.set_ylim(len(rows) - 0.5, -0.7)
        low, high = ax.get_xlim()
        ax.set_xlim(min(low, 0.7) / 1.25, max(high, 1.4) * 1.25)
        every = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
        ticks = [t for t in every if low / 1.3 <= t <= high * 1.3]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
    axes[0].set_yticks(places, list(rows))


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
