"""The private part of week 14's exam: sounds for the students' networks, and how answers count.

Nobody gets this file but instructors. The sounds are the sixth speaker's, whom `data.load`
withholds, each varied anew by every `make`, among 150 public ones as they are.
"""

from __future__ import annotations

import re

import numpy as np

from practical_dl import data, milestones
from practical_dl.weeks import week14

PUBLIC = 150
# Above it a person looks: the reference reaches 85 to 90 % without variation.
TOO_GOOD = 0.985
# Voices that a network knows are easier than a new one: the reference is right on 98 % of them, a
# weak one that passes only the first milestone on 60 to 90 %. Who knows them by heart alone is at
# chance, 10 %, on the new voice.
LEARNED_BY_HEART = 0.75

_DOORS = re.compile(
    r"""\bpretrained\s*=\s*(?!False|None)\w
    |\b(?:import|from)\s+(?:transformers|torchaudio|speechbrain|faster_whisper|whisper|huggingface_hub)\b
    |\blucas\b|\bwithheld\b""",
    re.VERBOSE | re.IGNORECASE,
)


def make(
    profile: str, rng: np.random.Generator
) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """By task: (inputs, answers). inputs: pictures uint8 (450, 40, 64, 1), in random order.

    answers: labels (450,), and public (450,): which pictures students have as they are.
    Raises data.DataError where the recordings can't be had.
    """
    public = data.load("fsdd", profile, quiet=True)
    hidden, labels = data.withheld("fsdd", profile)
    chosen = rng.choice(len(public.x_test), size=PUBLIC, replace=False)
    sounds = [varied(sound, rng) for sound in hidden] + [public.x_test[i] for i in chosen]
    labels = np.concatenate([labels[:, 0], public.y_test[chosen, 0]])
    order = rng.permutation(len(sounds))
    inputs = {"pictures": week14.pictures(sounds)[order]}
    return {"network": (inputs, {"labels": labels[order], "public": order >= len(hidden)})}


def varied(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sound (n,) up to 4 % faster or slower, up to 30 ms earlier or later, with quiet noise."""
    length = round(len(sound) * rng.uniform(0.96, 1.04))
    sound = np.interp(np.linspace(0, len(sound) - 1, length), np.arange(len(sound)), sound)
    silence = np.zeros(int(rng.integers(0, 480)))
    sound = np.concatenate([silence, sound] if rng.random() < 0.5 else [sound, silence])
    loudness = np.sqrt(np.mean(sound**2))
    return (sound + 0.003 * loudness * rng.normal(size=len(sound))).astype(np.float32)


def mark_network(
    handed: np.ndarray, answers: dict[str, np.ndarray], profile: str, sources: str
) -> tuple[float, str, str]:
    """(share of the points, a sentence for the student, a sentence for a person or "").

    handed: class numbers (450,). Only sounds of the sixth voice count. Nothing here takes points
    away on suspicion: the flag is for a person.
    """
    share, message, flag = week14.SCALE.mark(
        handed,
        answers,
        profile,
        by_heart=LEARNED_BY_HEART,
        too_good=TOO_GOOD,
        what="sounds",
        bears="a voice that is new",
    )
    flags = [flag]
    if words := milestones.found(_DOORS, sources):
        flags.append(f"the code may load what others trained or said: {words}")
    return share, message, "; ".join(filter(None, flags))
