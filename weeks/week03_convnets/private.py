"""The private part of week 03's exam: pictures for the students' networks, and how answers count.

Nobody gets this file but instructors. The pictures are the 2,000 test pictures that `data.load`
withholds, each varied anew by every `make`, among 500 public ones as they are.
"""

from __future__ import annotations

import re

import numpy as np

from practical_dl import data, milestones
from practical_dl.weeks import week03

HIDDEN, PUBLIC = 2_000, 500
# Above these a person looks. `full`: the best networks trained on CIFAR-10 alone reach about 97 %
# (K. Jordan, airbench96: 96 % in a minute of a GPU). `small`: 13 % above what we reached.
TOO_GOOD = {"full": 0.975, "small": 0.93}
# A network that has not seen the public pictures is right on them as often as on the hidden ones,
# which are a little harder since they are varied: 1 to 2 % for the reference. Chance adds 2 % or so.
LEARNED_BY_HEART = 0.12

# Where weights of others come from. A match proves nothing: it is a sentence for a person.
_DOORS = re.compile(
    r"""\bpretrained\s*=\s*(?!False|None)\w
    |\bweights\s*=\s*["']|_weights\s*\.\s*(?:default|imagenet)\w*
    |\b(?:import|from)\s+(?:timm|transformers|open_clip|clip|fastai|huggingface_hub|keras)\b
    |\befficientnet_lite\w*|\bimagenet\w*
    |\bmodels\s*\.\s*load\b
    |\bwithheld\b""",
    re.VERBOSE | re.IGNORECASE,
)


def make(
    profile: str, rng: np.random.Generator
) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """By task: (inputs, answers). inputs: pictures uint8 (2500, 32, 32, 3), in random order.

    answers: labels (2500,), and public (2500,): which pictures students have as they are.
    Raises data.DataError where CIFAR-10 can't be had.
    """
    public = data.load("cifar10", profile, quiet=True)
    hidden, labels = data.withheld("cifar10", profile)
    chosen = rng.choice(len(public.x_test), size=PUBLIC, replace=False)
    pictures = np.concatenate([varied(hidden, rng), public.x_test[chosen]])
    labels = np.concatenate([labels, public.y_test[chosen]])
    order = rng.permutation(len(pictures))
    inputs = {"pictures": pictures[order]}
    return {"network": (inputs, {"labels": labels[order], "public": order >= HIDDEN})}


def varied(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture with its own flip, shift by up to 2 pixels, contrast and brightness.

    pictures: uint8 (n, h, w, 3) -> the same. The edge is continued by reflection.
    """
    n, h, w, _ = pictures.shape
    framed = np.pad(pictures, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    rows = np.arange(h) + rng.integers(0, 5, size=(n, 1))
    columns = np.arange(w) + rng.integers(0, 5, size=(n, 1))
    columns = np.where(rng.random((n, 1)) < 0.5, columns[:, ::-1], columns)
    moved = framed[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    contrast = rng.uniform(0.9, 1.1, size=(n, 1, 1, 1))
    brightness = rng.uniform(-10, 10, size=(n, 1, 1, 1))
    mean = moved.mean(axis=(1, 2, 3), keepdims=True)
    return np.clip(np.rint((moved - mean) * contrast + mean + brightness), 0, 255).astype(np.uint8)


def mark_network(
    handed: np.ndarray, answers: dict[str, np.ndarray], profile: str, sources: str
) -> tuple[float, str, str]:
    """(share of the points, a sentence for the student, a sentence for a person or "").

    handed: class numbers (2500,). sources: the code of the notebook. Nothing here takes points
    away on suspicion: the flag is for a person.
    """
    share, message, flag = week03.SCALE.mark(
        handed, answers, profile, by_heart=LEARNED_BY_HEART, too_good=TOO_GOOD[profile]
    )
    flags = [flag]
    if words := milestones.found(_DOORS, sources):
        flags.append(f"the code may load weights of others: {words}")
    return share, message, "; ".join(filter(None, flags))
