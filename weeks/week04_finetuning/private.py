"""The private part of week 04's exam: photographs for the students' networks, and how answers count.

Nobody gets this file but instructors. The photographs are the 100 that `data.load` withholds, each
twice and varied anew by every `make`, among the 50 public test photographs as they are.
"""

from __future__ import annotations

import re

import numpy as np

from practical_dl import data, milestones
from practical_dl.weeks import week04

TWICE = 2
# The public test photographs are 50: chance moves an accuracy on them by 5 % or so, and a varied
# photograph is a little harder. A network that knows them by heart is right on all of them.
LEARNED_BY_HEART = 0.22

# Where the withheld photographs come from. A match proves nothing: it is a sentence for a person.
_DOORS = re.compile(r"\bwithheld\b|\bflower_photos\b|\btf_flowers\b", re.IGNORECASE)


def make(
    profile: str, rng: np.random.Generator
) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """By task: (inputs, answers). inputs: pictures uint8 (250, side, side, 3), in random order.

    answers: labels (250,), and public (250,): which photographs students have as they are.
    Raises data.DataError where the flowers can't be had.
    """
    public = data.load("flowers5", profile, quiet=True)
    hidden, labels = data.withheld("flowers5", profile)
    hidden, labels = np.concatenate([hidden] * TWICE), np.concatenate([labels] * TWICE)
    pictures = np.concatenate([varied(hidden, rng), public.x_test])
    labels = np.concatenate([labels, public.y_test])
    order = rng.permutation(len(pictures))
    inputs = {"pictures": pictures[order]}
    return {"network": (inputs, {"labels": labels[order], "public": order >= len(hidden)})}


def varied(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture with its own flip, shift by up to a sixteenth, contrast and brightness.

    pictures: uint8 (n, h, w, 3) -> the same. The edge is continued by reflection.
    """
    _, h, w, _ = pictures.shape
    most = h // 16
    out = np.empty_like(pictures)
    for i, picture in enumerate(pictures):
        framed = np.pad(picture, ((most, most), (most, most), (0, 0)), mode="reflect")
        row, column = rng.integers(0, 2 * most + 1, size=2)
        moved = framed[row : row + h, column : column + w].astype(float)
        if rng.random() < 0.5:
            moved = moved[:, ::-1]
        mean = moved.mean()
        moved = (moved - mean) * rng.uniform(0.9, 1.1) + mean + rng.uniform(-10, 10)
        out[i] = np.clip(np.rint(moved), 0, 255)
    return out


def mark_network(
    handed: np.ndarray, answers: dict[str, np.ndarray], profile: str, sources: str
) -> tuple[float, str, str]:
    """(share of the points, a sentence for the student, a sentence for a person or "").

    handed: class numbers (250,). sources: the code of the notebook. Nothing here takes points away
    on suspicion: the flag is for a person.
    """
    share, message, flag = week04.SCALE.mark(handed, answers, profile, by_heart=LEARNED_BY_HEART)
    flags = [flag]
    if words := milestones.found(_DOORS, sources):
        flags.append(f"the code may fetch the withheld pictures: {words}")
    return share, message, "; ".join(filter(None, flags))
