"""Week 08: what its tests share, and drawings that teach nothing.

A drawing makes a new figure; `plots.show` ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from practical_dl import check
from practical_dl.plots import PALETTE

if TYPE_CHECKING:  # here, as in the functions: torch is slow to import
    import torch
    from torch import nn

# -- Seminar -----------------------------------------------------------------------------------


def same_function(
    ours: Callable[..., Any],
    theirs: Callable[..., torch.Tensor],
    *inputs: torch.Tensor,
    call: str,
    why: str,
    banned: Sequence[str] = (),
    rtol: float = 1e-6,
    **options: Any,
) -> None:
    """A function of the student's has the values, the dtype and all gradients of a reference.

    ours, theirs: take inputs and options. banned: parts of names of torch's functions that are not
    to be used. rtol: for float64; float32 has 1e-4. Raises CheckFailed.
    """
    import torch

    single = any(x.dtype == torch.float32 for x in inputs)
    rtol = 1e-4 if single else rtol
    leaves = [x.detach().clone() for x in inputs]
    asked = [x.requires_grad_() for x in leaves if x.is_floating_point()]
    want = theirs(*leaves, **options)
    upstream = torch.linspace(-1.0, 1.3, want.numel(), dtype=want.dtype).reshape(want.shape)
    slopes = torch.autograd.grad((want * upstream).sum(), asked, allow_unused=True)
    with check.without_torch(*banned) if banned else nullcontext():
        found = check.answer(ours, *inputs, call=call, **options)
    check.close(found, want, call, rtol=rtol, atol=rtol, why=why)
    kind = str(np.asarray(found).dtype)
    check.equal(kind, str(want.dtype).split(".")[1], f"the dtype of {call}", why="keep the dtype")
    said = f"the gradients through {call}"
    given = check.gradient_of(ours, *inputs, call=said, upstream=upstream, **options)
    for one, slope, leaf in zip(given, slopes, asked, strict=True):
        slope = torch.zeros_like(leaf) if slope is None else slope
        check.close(one, slope, said, rtol=10 * rtol, atol=10 * rtol, why="be right for each input")


def slow_attention(q: Any, k: Any, v: Any, mask: Any = None) -> torch.Tensor:
    """Attention by a loop over queries, each over what it may look at; zeros where that is none."""
    import torch

    n, t, d = q.shape
    rows = []
    for i in range(n):
        for j in range(t):
            seen = [s for s in range(k.shape[1]) if mask is None or bool(mask[i, j, s])]
            if not seen:
                rows.append(0 * (q[i, j].sum() + k[i].sum() + v[i].sum()) * v[i, 0].detach() * 0)
                continue
            scores = torch.stack([(q[i, j] * k[i, s]).sum() for s in seen]) / d**0.5
            weights = torch.softmax(scores, 0)
            rows.append(sum(w * v[i, s] for w, s in zip(weights, seen, strict=True)))
    return torch.stack(rows).reshape(n, t, v.shape[-1])


def same_gpt(
    kind: type[nn.Module],
    reference: type[nn.Module],
    vocab: int,
    width: int,
    layers: Callable[[int], list[nn.Module]],
    ids: torch.Tensor,
    call: str,
    why: str,
) -> None:
    """A network of the student's has a reference's weights by name, its answers and gradients.

    kind, reference: are made of vocab, width and layers(width); two are made of each, and the first
    is looked at. The reference gets the student's weights. Both modes are compared.
    Raises CheckFailed.
    """
    import torch

    made, theirs = kind(vocab, width, layers(width)), reference(vocab, width, layers(width))
    kind(vocab + 1, width, layers(width))  # which must not disturb the first
    own = check.parameters_of(made, call)
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in own.items()}
    names = "have the weights that the statement names, and no others"
    check.equal(sorted(found), sorted(shapes), f"the names of the weights of {call}", why=names)
    check.equal(found, shapes, f"the shapes of the weights of {call}", why=names)
    theirs.load_state_dict({name: torch.as_tensor(value) for name, value in own.items()})
    for training in (True, False):
        seen = []
        for network in (made, theirs):
            network.train(training)
            with check.unchanged(call, ids=ids):
                logits = network(ids)
            if not isinstance(logits, torch.Tensor):
                raise check.CheckFailed(f"{call}: should: give a tensor of logits")
            steps = torch.linspace(-1, 1.3, logits.numel(), dtype=logits.dtype)
            weights = dict(network.named_parameters())
            found_slopes = torch.autograd.grad(
                (logits * steps.reshape(logits.shape)).sum(),
                list(weights.values()),
                allow_unused=True,
            )
            seen.append((logits.detach(), dict(zip(weights, found_slopes, strict=True))))
        (got, ours), (want, slopes) = seen
        mode = f"{call} in {'training' if training else 'eval'} mode"
        check.close(got, want, mode, rtol=1e-5, atol=1e-5, why=why)
        for name, slope in slopes.items():
            given = np.zeros(shapes[name]) if ours[name] is None else ours[name]
            said = f"the gradient of {name} in {mode}"
            check.close(given, slope, said, rtol=1e-4, atol=1e-4, why=why)


class Counts:
    """Week 07's interpolated Kneser–Ney model of order n, on arrays: the probability of each token.

    ids: (m,), one text. The counts of shorter contexts are numbers of different tokens before.
    """

    def __init__(self, ids: np.ndarray, n: int, vocab: int, discount: float = 0.75) -> None:
        self.n, self.vocab, self.discount = n, vocab, discount
        ids = np.asarray(ids, dtype=np.int64)
        types, counts = np.unique(self._codes(ids, n), return_counts=True)
        self.tables = []
        for m in range(n, 0, -1):
            contexts, first = np.unique(types // vocab, return_index=True)
            total = np.add.reduceat(counts, first)
            kinds = np.diff(np.append(first, len(types)))
            self.tables.append((types, counts, contexts, total, kinds))
            types, counts = np.unique(types % vocab ** (m - 1), return_counts=True)
        self.tables.reverse()

    def _codes(self, ids: np.ndarray, m: int) -> np.ndarray:
        """The number of each m-gram."""
        size = max(len(ids) - m + 1, 0)
        codes = np.zeros(size, dtype=np.int64)
        for i in range(m):
            codes = codes * self.vocab + ids[i : i + size]
        return codes

    def probability(self, context: np.ndarray, token: np.ndarray) -> np.ndarray:
        """context: (k,) codes of n - 1 tokens. token: (k,) -> (k,)."""
        p = np.full(len(token), 1 / self.vocab)
        for m, (types, counts, contexts, total, kinds) in enumerate(self.tables, 1):
            h = context % self.vocab ** (m - 1)
            at, known = _found(contexts, h)
            here, seen = _found(types, h * self.vocab + token)
            c = np.where(seen, counts[here], 0)
            lower = (np.maximum(c - self.discount, 0) + self.discount * kinds[at] * p) / total[at]
            p = np.where(known, lower, p)
        return p

    def read(self, ids: np.ndarray) -> np.ndarray:
        """The probabilities of the tokens of a text, from its n-th on."""
        ids = np.asarray(ids, dtype=np.int64)
        context = self._codes(ids[:-1], self.n - 1)
        return self.probability(context, ids[self.n - 1 :])

    def next(self, ids: np.ndarray) -> np.ndarray:
        """The probabilities of each token after a text of n - 1 tokens or more -> (vocab,)."""
        ids = np.asarray(ids[-(self.n - 1) :], dtype=np.int64)
        context = np.repeat(self._codes(ids, self.n - 1), self.vocab)
        return self.probability(context, np.arange(self.vocab))


def _found(table: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where values stand in a sorted table, and whether they do."""
    at = np.minimum(np.searchsorted(table, values), len(table) - 1)
    return at, table[at] == values


def heat(
    pictures: Mapping[str, Any],
    xlabel: str,
    ylabel: str,
    *,
    labels: Sequence[str] | None = None,
    decades: float = 0,
    symmetric: bool = False,
    unit: str = "",
) -> None:
    """Matrices side by side.

    labels: of rows and columns. decades: how many powers of ten the colours span below the
    largest; exact zeros are black. symmetric: colours around 0.
    """
    sizes = [np.asarray(p).shape for p in pictures.values()]
    width = 3.6 if len(pictures) > 1 else 5.2
    tall = width * max(h / w for h, w in sizes)
    size = (width * len(pictures) + 0.9, min(max(tall, 2.0), 4.6) + 0.9)
    figure, axes = plt.subplots(1, len(pictures), figsize=size, squeeze=False)
    values = {name: np.asarray(p, dtype=float) for name, p in pictures.items()}
    top = max(np.abs(p).max() for p in values.values()) or 1.0
    options: dict[str, Any] = {"cmap": "magma", "vmin": 0.0, "vmax": top}
    if symmetric:
        options = {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
    elif decades:
        colours = plt.get_cmap("viridis").with_extremes(bad="black")
        options = {"cmap": colours, "vmin": np.log10(top) - decades, "vmax": np.log10(top)}
    for ax, (name, p) in zip(axes[0], values.items(), strict=True):
        if decades:
            p = np.log10(np.where(p == 0, np.nan, p))
        drawn = ax.imshow(p, aspect="auto", **options)
        ax.set(title=name, xlabel=xlabel)
        ax.grid(False)
        ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(7, integer=True))
        if labels is not None:
            ax.set_xticks(range(len(labels)), labels, fontsize=7, family="monospace")
            ax.set_yticks(range(len(labels)), labels, fontsize=7, family="monospace")
    axes[0, 0].set_ylabel(ylabel)
    figure.colorbar(drawn, ax=axes[0].tolist(), label=unit, shrink=0.85, pad=0.01)


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
