"""The private part of week 13's exams: seeds of episodes, and what replayed actions are worth."""

from __future__ import annotations

import numpy as np

from practical_dl.weeks import week13

EPISODES = 60


def make(
    profile: str, rng: np.random.Generator
) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """By task: (inputs, answers); both are the seeds of the episodes."""
    return {
        task: ({"seeds": seeds}, {"seeds": seeds})
        for task in ("agent",)
        for seeds in [rng.choice(2**31, size=EPISODES, replace=False)]
    }


def mark_agent(
    handed: np.ndarray, answers: dict[str, np.ndarray], profile: str, sources: str
) -> tuple[float, str, str]:
    """By the mean number of steps of the episodes that the actions make."""
    seeds = answers["seeds"]
    if handed.ndim != 2 or len(handed) != len(seeds) or handed.dtype.kind not in "iu":
        return 0.0, f"Actions, whole numbers, of {len(seeds)} episodes were asked for.", ""
    steps = float(week13.replayed(week13.BALANCE, handed, seeds).mean())
    share = week13.BALANCE_SCALE.earned(steps, profile) / week13.BALANCE_SCALE.most
    return share, f"In {len(seeds)} private episodes the stick stands {steps:.0f} steps.", ""
