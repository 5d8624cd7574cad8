"""Week 07: what its tests share, and drawings that teach nothing.

A drawing makes a new figure; `plots.show` ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from practical_dl import check
from practical_dl.plots import PALETTE

if TYPE_CHECKING:  # here, as in the function: torch is slow to import
    import torch
    from torch import nn

# -- What tests share --------------------------------------------------------------------------


def same_cell(
    cell: Callable[..., Any],
    kind: type[nn.RNNCellBase],
    name: str,
    sizes: tuple[int, int, int],
    rng: np.random.Generator,
    dtype: torch.dtype | None = None,
    rtol: float = 1e-6,
) -> None:
    """A recurrent cell of the student's has the values and all gradients of torch's own.

    cell: takes x, its states, weights and biases, and gives the states: one, or (h, c). kind: of
    torch's. sizes: n, d, m. dtype: float64 if there is none. Raises CheckFailed.
    """
    import torch
    from torch import nn

    n, d, m = sizes
    dtype = dtype or torch.float64
    torch.manual_seed(int(rng.integers(1_000_000)))
    ours = kind(d, m).to(dtype)
    for p in ours.parameters():
        nn.init.normal_(p, std=0.7)
    weights = {key: p.detach().clone() for key, p in ours.named_parameters()}
    states = "hc" if kind is nn.LSTMCell else "h"
    given = [torch.randn(n, d, dtype=dtype), *torch.randn(len(states), n, m, dtype=dtype)]
    inputs = [*given, *weights.values()]
    slots = ["x", *states, "w_ih", "w_hh", "b_ih", "b_hh"]

    def reference(*full: torch.Tensor) -> tuple[torch.Tensor, ...]:
        named = dict(zip(weights, full[len(given) :], strict=True))
        state = full[1] if states == "h" else full[1:3]
        made = torch.func.functional_call(ours, named, (full[0], state))
        return (made,) if states == "h" else made

    call = f"{name} of n = {n}, d = {d}, m = {m} in {dtype}"
    wanted = [value.detach() for value in reference(*inputs)]
    with check.without_torch("rnn", "gru", "lstm"):
        found = check.answer(cell, *inputs, call=call)
    if states == "h":
        found = [found]
    else:
        check.equal(len(found), 2, f"len of {call}", why="be two: h and c")
    why = "be torch's, with the same weights"
    for i, state in enumerate(states):
        of = call if states == "h" else f"{state} of {call}"
        check.close(found[i], wanted[i], of, rtol=rtol, atol=rtol, why=why)
    for i, state in enumerate(states):
        leaves = [value.clone().requires_grad_(True) for value in inputs]
        made = reference(*leaves)[i].sum()
        slopes = torch.autograd.grad(made, leaves, allow_unused=True)

        def part(*full: torch.Tensor, i: int = i) -> Any:
            made = cell(*full)
            return made if states == "h" else made[i]

        of = "" if states == "h" else f" of {state}"
        ones = check.gradient_of(part, *inputs, call=f"gradients{of} through {call}")
        for slot, one, slope in zip(slots, ones, slopes, strict=True):
            said = f"the gradient{of} by {slot} through {call}"
            slope = np.zeros_like(one) if slope is None else slope
            check.close(one, slope, said, rtol=10 * rtol, atol=rtol, why="be torch's")


# -- Drawings ----------------------------------------------------------------------------------


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
