"""The private part of week 06's exam: sentences for the students' readers, and how answers count.

Nobody gets this file but instructors. The sentences are the 1,500 that `data.load` withholds, among
500 public ones.
"""

from __future__ import annotations

import re

import numpy as np

from practical_dl import data, milestones
from practical_dl.weeks import week06

PUBLIC = 500
# Above it a person looks. What learns from these sentences alone reaches 78 %, with pretrained
# word vectors 81 % (Kim, 2014).
TOO_GOOD = 0.83
LEARNED_BY_HEART = 0.12  # the most by which chance makes public sentences easier, and some room

_DOORS = re.compile(
    r"""\bpretrained\s*=\s*(?!False|None)\w
    |\b(?:import|from)\s+(?:transformers|gensim|navec|sentence_transformers|huggingface_hub)\b
    |\bwithheld\b""",
    re.VERBOSE | re.IGNORECASE,
)


def make(
    profile: str, rng: np.random.Generator
) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """By task: (inputs, answers). inputs: sentences (2000,), in random order.

    answers: labels (2000,), and public (2000,): which sentences students have.
    Raises data.DataError where the sentences can't be had.
    """
    public = data.load("sentence_polarity", profile, quiet=True)
    hidden, labels = data.withheld("sentence_polarity", profile)
    chosen = rng.choice(len(public.x_test), size=PUBLIC, replace=False)
    sentences = np.array([*hidden, *(public.x_test[i] for i in chosen)])
    labels = np.concatenate([labels, public.y_test[chosen]])
    order = rng.permutation(len(sentences))
    answers = {"labels": labels[order], "public": order >= len(hidden)}
    return {"reader": ({"sentences": sentences[order]}, answers)}


def mark_reader(
    handed: np.ndarray, answers: dict[str, np.ndarray], profile: str, sources: str
) -> tuple[float, str, str]:
    """(share of the points, a sentence for the student, a sentence for a person or "").

    handed: class numbers (2000,). Only sentences that nobody has count. Nothing here takes points
    away on suspicion.
    """
    share, message, flag = week06.SCALE.mark(
        handed,
        answers,
        profile,
        by_heart=LEARNED_BY_HEART,
        too_good=TOO_GOOD,
        what="sentences",
        bears="sentences that are new",
    )
    flags = [flag]
    if words := milestones.found(_DOORS, sources):
        flags.append(f"the code may load weights of others: {words}")
    return share, message, "; ".join(filter(None, flags))
