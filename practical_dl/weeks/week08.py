"""Week 08: pieces of words, measures of translations, the exam's contract and scale, drawings.

A drawing makes a new figure, or draws on the axes that it gets; `plots.show` ends it. Nothing here
imports torch before it is needed: the grader reads the scale, too.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from practical_dl import network
from practical_dl.check import CheckFailed
from practical_dl.milestones import Milestones
from practical_dl.plots import PALETTE

if TYPE_CHECKING:
    import torch
    from torch import nn

# -- Homework ----------------------------------------------------------------------------------

# Pieces of words: byte-pair encoding, on letters. A piece that begins a word begins with SPACE.
SPACE, UNKNOWN_SIGN = "▁", "\ufffd"
PAD, START, END, UNKNOWN = range(4)
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
        if (piece := "".join(best)) not in pieces:
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
    """The numbers of a text's pieces: of all neighbours those join first that were learned first."""
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
