"""Week 08: what its tests share, pieces of words, measures of translations, the exam, drawings.

A drawing makes a new figure, or draws on the axes that it gets; `plots.show` ends it. Nothing here
imports torch before it is needed: the grader reads the scale, too.
"""

from __future__ import annotations

import heapq
import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from practical_dl import check, network
from practical_dl.check import CheckFailed
from practical_dl.milestones import Milestones
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


def weights_of(module: nn.Module, names: Sequence[str], call: str) -> dict[str, np.ndarray]:
    """Parameters and buffers by name, but for second names of those that are called in `names`."""
    values = check.parameters_of(module, call)
    own = dict(module.named_parameters(remove_duplicate=False))
    known = [own[name] for name in names if name in own]
    second = {n for n, p in own.items() if n not in names and any(p is one for one in known)}
    return {name: value for name, value in values.items() if name not in second}


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
    is looked at. The reference gets the student's weights. Both modes are compared. The layers that
    were handed in are used, and are as they were. Raises CheckFailed.
    """
    import torch

    given, theirs = layers(width), reference(vocab, width, layers(width))
    kept = [{k: v.clone() for k, v in one.state_dict().items()} for one in given]
    modes = [m.training for i, one in enumerate(given) for m in one.train(i % 2 == 0).modules()]
    made = kind(vocab, width, given)
    as_it_was = [m.training for one in given for m in one.modules()] == modes and all(
        torch.equal(value, old[k])
        for one, old in zip(given, kept, strict=True)
        for k, value in one.state_dict().items()
    )
    check.that(as_it_was, "leave the layers handed in with their weights and their mode")
    with torch.no_grad():
        for p in (p for one in given for p in one.parameters()):
            p.mul_(1.25)  # which the network has to see
    kind(vocab + 1, width, layers(width))  # which must not disturb the first
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    own = weights_of(made, list(shapes), call)
    found = {name: tuple(value.shape) for name, value in own.items()}
    names = "have the weights that the statement names, and no others"
    check.equal(sorted(found), sorted(shapes), f"the names of the weights of {call}", why=names)
    check.equal(found, shapes, f"the shapes of the weights of {call}", why=names)
    same = all(
        np.array_equal(own[f"layers.{i}.{k}"], value.numpy(force=True))
        for i, one in enumerate(given)
        for k, value in one.state_dict().items()
    )
    check.that(same, "hold the very layers that were handed in, not copies")
    theirs.load_state_dict({name: torch.as_tensor(value) for name, value in own.items()})
    for training in (True, False):
        seen = []
        for one in (made, theirs):
            one.train(training)
            with check.unchanged(call, ids=ids):
                logits = one(ids)
            if not isinstance(logits, torch.Tensor):
                raise check.CheckFailed(f"{call}: should: give a tensor of logits")
            steps = torch.linspace(-1, 1.3, logits.numel(), dtype=logits.dtype)
            named = dict(one.named_parameters(remove_duplicate=False))
            if lost := shapes.keys() - named.keys():
                raise check.CheckFailed(f"{call}: should: train {min(lost)}")
            weights = {name: named[name] for name in shapes}
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


# -- Homework ----------------------------------------------------------------------------------

# Pieces of words: byte-pair encoding, on letters. A piece that begins a word begins with SPACE.
SPACE, UNKNOWN_SIGN = "▁", "\ufffd"
PAD, START, END, UNKNOWN = range(4)
LONGEST = 16  # letters of a piece
_WORD = re.compile(r"\w+|[^\w\s]")
_JOINED = re.compile(r"(\s?)(\w+|[^\w\s])")


def split_words(text: str) -> list[str]:
    """Words and signs, in order; SPACE stands in front of what follows white space or begins."""
    found = _JOINED.findall(" " + " ".join(text.split()))
    return [(SPACE if space else "") + word for space, word in found]


def learn_pieces(texts: Sequence[str], size: int) -> list[str]:
    """At most size pieces: all letters, then what byte-pair encoding joins, in order."""
    words = Counter(word for text in texts for word in split_words(text))
    parts = {word: list(word) for word in words}
    pieces = [SPACE, *sorted({letter for word in words for letter in word} - {SPACE})]
    counts: Counter[tuple[str, str]] = Counter()
    where = defaultdict(set)

    def count(word: str, sign: int) -> None:
        for pair in pairwise(parts[word]):
            counts[pair] += sign * words[word]
            where[pair].add(word)

    for word in words:
        count(word, 1)
    heap = [(-n, pair) for pair, n in counts.items()]
    heapq.heapify(heap)
    while len(pieces) < size and heap:
        n, best = heapq.heappop(heap)
        if -n != counts[best]:  # it was counted anew since
            if counts[best] > 1:
                heapq.heappush(heap, (-counts[best], best))
            continue
        if -n < 2:
            break
        if len(piece := "".join(best)) > LONGEST:
            continue
        if piece not in pieces:
            pieces.append(piece)
        for word in where.pop(best):
            count(word, -1)
            parts[word] = _join(parts[word], piece, best)
            count(word, 1)
            for pair in pairwise(parts[word]):
                if piece in pair:
                    heapq.heappush(heap, (-counts[pair], pair))
        counts[best] = 0
    return pieces[:size]


def _join(parts: Sequence[str], piece: str, pair: tuple[str, str] | None = None) -> list[str]:
    """Neighbours that make the piece become one, from left to right."""
    out: list[str] = []
    i = 0
    while i < len(parts):
        two = tuple(parts[i : i + 2])
        if len(two) == 2 and (two == pair if pair else "".join(two) == piece):
            out.append(piece)
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


def encode_pieces(text: str, numbers: Mapping[str, int]) -> list[int]:
    """The numbers of a text's pieces: neighbours join that were learned first."""
    out: list[int] = []
    for word in split_words(text):
        parts = list(word[:40])
        while len(parts) > 1:
            made = [numbers.get(a + b, 10**9) for a, b in pairwise(parts)]
            if min(made) == 10**9:
                break
            i = made.index(min(made))
            parts = _join(parts, parts[i] + parts[i + 1])
        out += [numbers.get(part, UNKNOWN) for part in parts]
    return out


def chrf(hypotheses: Sequence[str], references: Sequence[str], order: int = 6) -> float:
    """chrF (Popovic, 2015): F2 of the n-grams of characters without spaces, 0 to 100.

    The counts of all texts are added, precision and recall averaged over n = 1 to order.
    """
    scores = []
    right, made, wanted = (np.zeros(order) for _ in range(3))
    for ours, theirs in zip(hypotheses, references, strict=True):
        for n in range(order):
            a, b = (_grams("".join(text.split()), n + 1) for text in (ours, theirs))
            right[n] += sum((a & b).values())
            made[n] += sum(a.values())
            wanted[n] += sum(b.values())
    there = (made > 0) & (wanted > 0)
    if not there.any():
        return 0.0
    for n in np.flatnonzero(there):
        precision, recall = right[n] / made[n], right[n] / wanted[n]
        scores.append((precision, recall))
    precision, recall = np.mean(scores, axis=0)
    total = 4 * precision + recall
    return float(100 * 5 * precision * recall / total) if total else 0.0


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """BLEU-4 of a corpus (Papineni et al., 2002), 0 to 100; words and signs are tokens."""
    right, made = np.zeros(4), np.zeros(4)
    lengths = np.zeros(2)
    for ours, theirs in zip(hypotheses, references, strict=True):
        a, b = _WORD.findall(ours), _WORD.findall(theirs)
        lengths += len(a), len(b)
        for n in range(4):
            grams, wanted = _grams(a, n + 1), _grams(b, n + 1)
            right[n] += sum((grams & wanted).values())
            made[n] += sum(grams.values())
    if not right.all():
        return 0.0
    brevity = min(0.0, 1 - lengths[1] / lengths[0])
    return float(100 * np.exp(brevity + np.log(right / made).mean()))


def _grams(parts: Sequence[str], n: int) -> Counter[Any]:
    return Counter(tuple(parts[i : i + n]) for i in range(len(parts) - n + 1))


def above_shuffled(hypotheses: Sequence[str], references: Sequence[str]) -> tuple[float, float]:
    """(chrF, chrF of the same translations given to other sentences).

    The second is what the language alone is worth; one sentence for all has it as well. It is the
    mean over several rotations.
    """
    n = len(hypotheses)
    shifts = sorted({max(1, n * part // 8) for part in (1, 3, 5, 7)})
    shuffled = [chrf([*hypotheses[s:], *hypotheses[:s]], references) for s in shifts]
    return chrf(hypotheses, references), float(np.mean(shuffled))


# -- The exam: a translator with its weights in a file --------------------------------------------

_HARD = ("", "?!", "Привет!", "👍🏽", "e\u0301", "Word " * 40, "Unheardofword.")
LETTERS = 80  # of a translation that is handed in


@dataclass(frozen=True)
class TranslationContract(network.Contract):
    """A network that takes a list of n English texts and gives a list of n Russian ones."""

    things = "texts"
    thing = "a text"

    def examples(self, rng: np.random.Generator) -> list[str]:
        """Short sentences by chance, and texts of which few people think."""
        words = ["Tom", "I", "you", "don't", "know", "is", "where", "here", "the", "house"]
        texts = [" ".join(rng.choice(words, size=rng.integers(1, 6))) + "." for _ in range(20)]
        return [*texts, *_HARD]

    def ask(self, model: nn.Module, inputs: Sequence[str]) -> np.ndarray:
        """The translations as code points (n, LETTERS). Raises CheckFailed where there are none."""
        texts = list(map(str, inputs))
        made = model(list(texts))
        if type(made) is not list or [type(one) for one in made] != [str] * len(texts):
            raise CheckFailed("the network turns a list of n texts into a list of n texts")
        return as_codes(made)

    def differ(self, found: np.ndarray, wanted: np.ndarray, made: np.ndarray) -> bool:
        """Whether more than every fourth text differs: rounding may turn a choice of equals."""
        return bool(np.mean((found != wanted).any(1)) > 0.25)

    def predict(self, model: nn.Module, inputs: Sequence[str]) -> np.ndarray:
        """The translations of n texts as code points, filled up with zeros: int32 (n, LETTERS).

        Raises CheckFailed where the network breaks its contract meanwhile.
        """
        return self.outputs(model, inputs)


def as_codes(texts: Sequence[str]) -> np.ndarray:
    """Texts as numbers, so that they can be handed in: int32 (n, LETTERS)."""
    codes = np.zeros((len(texts), LETTERS), np.int32)
    for row, text in zip(codes, texts, strict=True):
        numbers = [ord(letter) for letter in text[:LETTERS]]
        row[: len(numbers)] = numbers
    return codes


def as_texts(codes: np.ndarray) -> list[str]:
    """The texts of such numbers; what is no letter's number becomes a sign of its own."""
    return ["".join(_letter(int(c)) for c in row if c) for row in codes]


def _letter(code: int) -> str:
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else UNKNOWN_SIGN


def short(texts: Sequence[str], words: int = 5) -> list[int]:
    """The numbers of those texts that have at most so many words."""
    return [i for i, text in enumerate(texts) if len(text.split()) <= words]


TRANSLATOR = TranslationContract(megabytes=30)
# chrF above that of the same translations dealt out to other sentences. On short public ones: one
# sentence for all 0, the notebook's network after half of the steps 6.5, after all 12.3 and 12.5
# (two runs), with dropout 13.5; a table of known sentences 20.7.
_ABOVE = (0.02, 0.05, 0.08)
SCALE = Milestones(points=(0.25, 0.25, 0.25), accuracies={"small": _ABOVE, "full": _ABOVE})


def most_similar(known: Sequence[str], says: Sequence[str], asked: Sequence[str]) -> list[str]:
    """For each asked sentence what is said to the known one that shares most words with it."""
    bags = [set(_WORD.findall(text.lower())) for text in known]
    out = []
    for text in asked:
        bag = set(_WORD.findall(text.lower()))
        shared = [len(bag & other) / max(1, len(bag | other)) for other in bags]
        out.append(says[int(np.argmax(shared))])
    return out


def scale_text(distance: float, profile: str) -> str:
    """The milestones as a table, with those that a distance reaches."""
    rows = ["chrF above that of the same translations dealt out to others:"]
    for milestone, worth in zip(SCALE.accuracies[profile], SCALE.points, strict=True):
        reached = "reached" if distance > 100 * milestone else "not yet"
        rows.append(f"  more than {100 * milestone:4.1f}: {worth:g} points, {reached}")
    return "\n".join(rows)


# -- A story: numbers of a text, a model of any size, the reference ------------------------------


def story_ids(stories: Any, text: str) -> list[int]:
    """The tokens of a text, 1 in front: neighbours whose union has the best score join first."""
    numbers = {token: i for i, token in reversed(list(enumerate(stories.tokens)))}
    parts = [letter.encode() for letter in " " + text]
    ids = [i for part in parts for i in ([numbers[part]] if part in numbers else _bytes(part))]
    while True:
        joined = [numbers.get(stories.tokens[a] + stories.tokens[b]) for a, b in pairwise(ids)]
        made = [(stories.scores[new], -i) for i, new in enumerate(joined) if new is not None]
        if not made:
            return [1, *ids]
        i = -max(made)[1]
        ids[i : i + 2] = [joined[i]]


def _bytes(part: bytes) -> list[int]:
    return [3 + byte for byte in part]


def random_story(config: Mapping[str, int], rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Weights by chance for a model like stories260K, as tensors of float32."""
    import torch

    layers, dim, hidden = config["layers"], config["dim"], config["hidden"]
    kv_dim = dim // config["heads"] * config["kv_heads"]
    matrices = {
        "wq": (dim, dim),
        "wk": (kv_dim, dim),
        "wv": (kv_dim, dim),
        "wo": (dim, dim),
        "w1": (hidden, dim),
        "w2": (dim, hidden),
        "w3": (hidden, dim),
    }
    shapes: dict[str, tuple[int, ...]] = {name: (layers, *s) for name, s in matrices.items()}
    arrays = {name: rng.normal(size=shape) / shape[-1] ** 0.5 for name, shape in shapes.items()}
    arrays["embedding"] = rng.normal(size=(config["vocab"], dim))
    arrays["norm"] = rng.uniform(0.5, 1.5, size=dim)
    for name in ("attention_norm", "feed_forward_norm"):
        arrays[name] = rng.uniform(0.5, 1.5, size=(layers, dim))
    return {name: torch.tensor(array, dtype=torch.float32) for name, array in arrays.items()}


def reference_logits(stories: Any, ids: Sequence[int]) -> np.ndarray:
    """The logits (t, vocab) after each token, as llama2.c's run.c finds them: one by one."""
    w, c = stories.weights, stories.config
    size = c["dim"] // c["heads"]
    share = c["heads"] // c["kv_heads"]
    keys: list[list[np.ndarray]] = [[] for _ in range(c["layers"])]
    values: list[list[np.ndarray]] = [[] for _ in range(c["layers"])]

    def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return weight * (x / np.sqrt(np.mean(x * x) + 1e-5))

    def turned(x: np.ndarray, place: int) -> np.ndarray:
        x = x.copy()
        for i in range(0, len(x), 2):
            angle = place / 10000 ** ((i % size) / size)
            x[i : i + 2] = (
                x[i] * np.cos(angle) - x[i + 1] * np.sin(angle),
                x[i] * np.sin(angle) + x[i + 1] * np.cos(angle),
            )
        return x

    out = []
    for place, token in enumerate(ids):
        x = w["embedding"][token].astype(np.float64)
        for i in range(c["layers"]):
            h = norm(x, w["attention_norm"][i])
            q = turned(w["wq"][i] @ h, place)
            keys[i].append(turned(w["wk"][i] @ h, place))
            values[i].append(w["wv"][i] @ h)
            heads = []
            for head in range(c["heads"]):
                part = slice(head // share * size, head // share * size + size)
                k, v = (np.stack(past)[:, part] for past in (keys[i], values[i]))
                scores = k @ q[head * size : head * size + size] / np.sqrt(size)
                weights = np.exp(scores - scores.max())
                heads.append(weights @ v / weights.sum())
            x = x + w["wo"][i] @ np.concatenate(heads)
            h = norm(x, w["feed_forward_norm"][i])
            gate = w["w1"][i] @ h
            x = x + w["w2"][i] @ (gate / (1 + np.exp(-gate)) * (w["w3"][i] @ h))
        out.append(w["embedding"] @ norm(x, w["norm"]))
    return np.stack(out)


# -- What an attention costs, what a text has -----------------------------------------------------


def largest_tensor(function: Callable[[], Any]) -> int:
    """The numbers in the largest tensor that any of torch's operations makes in function().

    A view counts as the tensor on which it looks, however large it seems.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            result = f(*args, **(kwargs or {}))
            for one in result if isinstance(result, tuple | list) else [result]:
                if hasattr(one, "untyped_storage"):
                    count = one.untyped_storage().nbytes() // one.element_size()
                    largest = max(largest, count)
            return result

    with Watch():
        function()
    return largest


@cache
def grams_of(text: str, rows: int) -> tuple[int, ...]:
    """The rows of a text's n-grams of letters (3 and 4, words with their edges), and its words."""
    words = [f"<{word.lower()}>" for word in split_words(text)]
    grams = [word[i : i + n] for word in words for n in (3, 4) for i in range(len(word) - n + 1)]
    return tuple(zlib.crc32(gram.encode()) % rows for gram in [*grams, *words])


def word_table(x: Sequence[str], y: Sequence[str], rounds: int = 4) -> Callable[[str, str], float]:
    """IBM model 1 (Brown et al., 1993), on the first five letters of words.

    -> a function of two texts: the mean log-probability of the second's words, given the first's.
    """
    ours: dict[str, int] = {"": 0}  # the word that stands for nothing
    theirs: dict[str, int] = {}
    sources, targets, places, count = [], [], [], 0
    for a, b in zip(x, y, strict=True):
        words = [0, *(ours.setdefault(word, len(ours)) for word in _stems(a))]
        for word in _stems(b):
            sources += words
            targets += [theirs.setdefault(word, len(theirs))] * len(words)
            places += [count] * len(words)
            count += 1
    place = np.array(places)
    keys, which = np.unique(np.array(sources) * len(theirs) + targets, return_inverse=True)
    given, p = keys // max(1, len(theirs)), np.ones(len(keys))
    for _ in range(rounds):
        shares = p[which] / np.bincount(place, p[which])[place]
        counts = np.bincount(which, shares)
        p = counts / np.bincount(given, counts)[given]
    table = dict(zip(keys.tolist(), p.tolist(), strict=True))

    def likely(a: str, b: str) -> float:
        words = [0, *(ours[word] for word in _stems(a) if word in ours)]
        logs = []
        for word in _stems(b):
            j = theirs.get(word)
            found = 0.0 if j is None else sum(table.get(i * len(theirs) + j, 0.0) for i in words)
            logs.append(math.log(found / len(words) + 1e-4))
        return float(np.mean(logs)) if logs else 0.0

    return likely


def _stems(text: str) -> list[str]:
    return [word.lower().strip(SPACE)[:5] for word in split_words(text)]


# -- Drawings ----------------------------------------------------------------------------------


def story_picture(
    told: Mapping[str, tuple[Sequence[int], Sequence[float]]], stories: Any
) -> Figure:
    """Stories, each token on a colour that is the darker, the less probable it was."""
    figure, axes = plt.subplots(len(told), 1, figsize=(9.5, 1.75 * len(told)))
    colours = plt.get_cmap("Oranges")
    for ax, (name, (ids, sure)) in zip(np.atleast_1d(axes), told.items(), strict=True):
        ax.set(xlim=(0, 104), ylim=(4.6, -0.6))
        ax.set_title(name, loc="left", size=11)
        ax.axis("off")
        x, y = 0.0, 0
        for token, p in list(zip(ids, sure, strict=True))[1:]:
            text = stories.tokens[token].decode(errors="replace").replace("\n", " ")
            if not x:
                text = text.lstrip()
            if x + len(text) > 102 and text[:1] == " ":
                x, y, text = 0.0, y + 1, text[1:]
            if y > 4:
                break
            shade = min(1.0, -np.log10(max(p, 1e-4)) / 4)
            face = colours(0.9 * shade) if p < 0.999 else "white"
            ax.add_patch(plt.Rectangle((x, y - 0.45), len(text), 0.9, color=face, lw=0))
            for i, letter in enumerate(text):
                ax.text(
                    x + i + 0.5, y, letter, ha="center", va="center", family="monospace", size=8
                )
            x += len(text)
    return figure


def cache_picture(lengths: Sequence[int], bytes_of: Mapping[str, Sequence[float]]) -> Axes:
    """The cache against the length of a text, beside a card's memory."""
    ax = plt.subplots(figsize=(7.5, 4.2))[1]
    for name, sizes in bytes_of.items():
        style = "--" if "window" in name else "-"
        ax.plot(lengths, np.array(sizes) / 2**30, style, marker=".", label=name)
    ax.axhline(24, color="0.4", lw=1)
    ax.text(lengths[0], 27, "a card of 24 GiB", color="0.3", size=9)
    ax.set(xlabel="tokens of one text", ylabel="GiB of the cache", title="What the past costs")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_ylim(1e-3, 200)
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    return ax


def attention_picture(model: nn.Module, text: str) -> Axes:
    """The cross-attention of the decoder's last block for a text and its translation."""
    import torch

    with torch.no_grad():
        source = model.pieces.encode([text])
        written = model.pieces.encode(model([text]))
        beginning = torch.cat([torch.tensor([[START]]), written[:, :-1]], 1)
        kept: list[Any] = []
        cross = model.decoder[-1].cross
        hook = cross.register_forward_pre_hook(
            lambda module, args, kwargs: kept.append((args, kwargs)), with_kwargs=True
        )
        model.logits(source, beginning)
        hook.remove()
        arguments, options = kept[-1]
        weights = cross(*arguments, **{**options, "need_weights": True})[1][0].numpy()
    pieces = {END: "end", **{i: p for i, p in enumerate(model.pieces.all()) if p}}
    ax = plt.subplots(figsize=(1.5 + 0.55 * weights.shape[1], 1.4 + 0.36 * weights.shape[0]))[1]
    ax.imshow(weights, cmap="Blues", vmin=0, aspect="auto")
    for side, ids in (("x", source[0]), ("y", written[0])):
        names = [pieces.get(i, "?").replace(SPACE, " ") for i in ids.tolist()]
        getattr(ax, f"set_{side}ticks")(range(len(names)), names)
    ax.set(title="Who looks where", xlabel="read", ylabel="written")
    ax.grid(False)
    return ax


def riddle_picture(
    names: Sequence[str], inputs: np.ndarray, labels: np.ndarray, row: np.ndarray, mask: int
) -> Axes:
    """What became of each token of a row in many draws. inputs, labels: (draws, t)."""
    chosen = labels != -100
    parts = {
        "became [MASK]": chosen & (inputs == mask),
        "exchanged": chosen & (inputs != mask) & (inputs != row),
        "chosen, but left": chosen & (inputs == row),
    }
    ax = plt.subplots(figsize=(8.5, 3.6))[1]
    base = np.zeros(len(row))
    for i, (name, where) in enumerate(parts.items()):
        share = 100 * where.mean(0)
        ax.bar(range(len(row)), share, bottom=base, label=name, color=PALETTE[i])
        base += share
    for i, level in enumerate((12, 13.5, 15)):
        ax.axhline(level, color=PALETTE[i], lw=1, ls=":")
    ax.set_xticks(range(len(row)), [n.replace(SPACE, "") for n in names], rotation=40, ha="right")
    ax.set(ylabel="per cent of the draws", ylim=(0, 21), title="The fate of each token")
    ax.legend(frameon=False, ncols=3, loc="upper center")
    return ax


def cost_picture(
    lengths: Sequence[int],
    seconds: Mapping[str, Sequence[float]],
    numbers: Mapping[str, Sequence[float]],
    slope: Callable[[Sequence[int], Sequence[float]], float],
) -> Figure:
    """Time and memory against length, on log axes, with the slopes."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2))
    titles = ("Time, milliseconds", "The largest tensor, numbers")
    for ax, costs, title, factor in zip(axes, (seconds, numbers), titles, (1e3, 1), strict=True):
        for name, values in costs.items():
            label = f"{name}: slope {slope(lengths, values):.2f}"
            ax.plot(lengths, factor * np.array(values, float), marker="o", ms=4, label=label)
        ax.set(title=title, xlabel="length of the text")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ax.set_ylim(low, high * 12)
        ax.legend(frameon=False, fontsize=9, loc="upper left")
    return figure


def recall_picture(ks: Sequence[int], curves: Mapping[str, Sequence[float]], count: int) -> Axes:
    """Recall@k against k, with what chance would find."""
    ax = plt.subplots(figsize=(7.0, 4.0))[1]
    for name, values in curves.items():
        ax.plot(ks, values, marker="o", label=name)
    ax.plot(ks, [k / count for k in ks], color="0.5", ls=":", label="chance")
    ax.set(xlabel="k", ylabel="Recall@k", ylim=(0, 1.02), title="English asks, Russian answers")
    ax.set_xscale("log")
    ax.set_xticks(ks, [str(k) for k in ks])
    ax.minorticks_off()
    ax.legend(frameon=False, loc="center right")
    return ax


def cliff_picture(runs: Mapping[int, Mapping[str, Any]]) -> Figure:
    """The loss of networks of one and two layers, the heads' scores, the attention of the best."""
    figure, axes = plt.subplots(1, 3, figsize=(12.0, 4.0))
    for (layers, noted), colour in zip(runs.items(), PALETTE[:2][::-1], strict=True):
        label = "one layer" if layers == 1 else "two layers"
        axes[0].plot(noted["step"], noted["loss"], color=colour, label=label, lw=2)
    axes[0].set(title="Loss on what repeats", xlabel="step", ylim=(0, None))
    axes[0].legend(frameon=False, loc="lower left")
    two = runs[max(runs)]
    scores = np.array(two["scores"])
    for head in range(scores.shape[1]):
        layer, number = divmod(head, scores.shape[1] // 2)
        label = f"layer {layer + 1}, head {number + 1}"
        axes[1].plot(two["step"], scores[:, head], color=PALETTE[head], lw=2, label=label)
    axes[1].set(title="Score of each head", xlabel="step", ylim=(-0.03, 1.03))
    axes[1].legend(frameon=False, loc="upper left", fontsize=9)
    best = int(np.argmax(scores[-1, scores.shape[1] // 2 :]))
    axes[2].imshow(np.asarray(two["attention"][best]), cmap="Blues", vmin=0, vmax=1)
    axes[2].set(title="Where such a head looks", xlabel="looked at", ylabel="who looks")
    axes[2].grid(False)
    return figure
