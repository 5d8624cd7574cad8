"""The private part of week 08's exam: sentences for the students' translators, and how they count.

Nobody gets this file but instructors. The sentences are the short ones that `data.load` withholds,
among public ones.
"""

from __future__ import annotations

import re

import numpy as np

from practical_dl import data, milestones
from practical_dl.weeks import week08

PUBLIC = 150
# Above it a person looks. In small, networks trained on these pairs reach 14; a table of all pairs
# that gives back the nearest sentence's translation is 21 above.
TOO_GOOD = {"small": 18.0, "full": 45.0}
LEARNED_BY_HEART = 15.0  # by so much chance does not make public sentences easier

_DOORS = re.compile(
    r"""\b(?:import|from)\s+(?:transformers|argostranslate|deep_translator|googletrans|ctranslate2)\b
    |\bwithheld\b""",
    re.VERBOSE | re.IGNORECASE,
)


def make(
    profile: str, rng: np.random.Generator
) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """By task: (inputs, answers). inputs: sentences (n,), in random order.

    answers: translations (n,), and public (n,): which sentences students have.
    Raises data.DataError where the sentences can't be had.
    """
    public = data.load("tatoeba", profile, quiet=True)
    hidden, theirs = data.withheld("tatoeba", profile)
    chosen = rng.permutation(week08.short(public.x_test))[:PUBLIC]
    short = week08.short(hidden)
    pairs = [(hidden[i], theirs[i]) for i in short]
    pairs += [(public.x_test[i], public.y_test[i]) for i in chosen]
    order = rng.permutation(len(pairs))
    sentences, translations = (np.array(side)[order] for side in zip(*pairs, strict=True))
    answers = {"translations": translations, "public": order >= len(short)}
    return {"translator": ({"sentences": sentences}, answers)}


def mark_translator(
    handed: np.ndarray, answers: dict[str, np.ndarray], profile: str, sources: str
) -> tuple[float, str, str]:
    """(share of the points, a sentence for the student, a sentence for a person or "").

    handed: code points (n, letters). Only sentences that nobody has count: chrF of the
    translations above chrF of the same ones dealt out to other sentences. Nothing here takes points
    away on suspicion.
    """
    right, public = answers["translations"].tolist(), answers["public"].astype(bool)
    if handed.shape != (len(right), week08.LETTERS) or handed.dtype.kind not in "iu":
        return 0.0, f"{len(right)} translations were asked for, shape {handed.shape} came.", ""
    said = week08.as_texts(handed)
    distances, scores = [], []
    for kind in (False, True):
        some = np.flatnonzero(public == kind)
        score, chance = week08.above_shuffled([said[i] for i in some], [right[i] for i in some])
        distances.append(score - chance)
        scores.append((score, chance))
    distance, on_public = distances
    share = week08.SCALE.earned(distance / 100, profile) / week08.SCALE.most
    score, chance = scores[0]
    message = (
        f"chrF on {int((~public).sum())} private sentences: {score:.1f}, {distance:.1f} above the "
        f"{chance:.1f} of your translations dealt out to others. "
    )
    missing = [100 * m for m in week08.SCALE.accuracies[profile] if distance <= 100 * m]
    message += (
        f"The next milestone is {missing[0]:.1f} above."
        if missing
        else "Every milestone is reached."
    )
    flags = []
    if on_public - distance > LEARNED_BY_HEART:
        message += (
            f" On public sentences it is {on_public:.1f} above: your network has learned those by "
            "heart."
        )
        flags.append(
            f"{on_public:.1f} above chance on public sentences, {distance:.1f} on private ones: it "
            "may have been trained on the validation sentences"
        )
    if distance > TOO_GOOD[profile]:
        flags.append(f"{distance:.1f} is more than a network trained on these pairs alone reaches")
    if words := milestones.found(_DOORS, sources):
        flags.append(f"the code may load weights of others: {words}")
    return share, message, "; ".join(flags)
