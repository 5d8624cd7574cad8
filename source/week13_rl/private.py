"""The private part of week 13's exams: seeds for the students' agents, and how actions count.

Nobody gets this file but instructors. What is handed in are actions, which are replayed here in
environments of gymnasium's own. So no reward, observation or environment of the student's process
has a say.
"""

from __future__ import annotations

import re

import numpy as np

from practical_dl import milestones
from practical_dl.weeks import week13

EPISODES = 80  # a single one of Pendulum spreads by a hundred

# Others' agents, and exercises in control theory: then a person looks, since learning was asked for.
_DOORS = re.compile(
    r"""\b(?:import|from)\s+(?:stable_baselines3|sb3_contrib|rl_zoo3|tianshou|ray|d3rlpy|scipy)\b
    |\barctan2\b|\batan2\b|\benergy\b""",
    re.VERBOSE | re.IGNORECASE,
)


def make(
    profile: str, rng: np.random.Generator
) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """By task: (inputs, answers), both the seeds of the episodes (n,)."""
    made = {}
    for task in ("balancer", "agent", "player"):
        seeds = rng.choice(2**31 - 1, size=EPISODES, replace=False).astype(np.int64)
        made[task] = ({"seeds": seeds}, {"seeds": seeds})
    return made


def mark_balancer(
    handed: np.ndarray, answers: dict[str, np.ndarray], profile: str, sources: str
) -> tuple[float, str, str]:
    """As `mark_agent`. handed: choices (episodes, steps)."""
    return _mark(week13.BALANCE, week13.BALANCE_SCALE, handed, answers, profile, sources)


def mark_agent(
    handed: np.ndarray, answers: dict[str, np.ndarray], profile: str, sources: str
) -> tuple[float, str, str]:
    """(share of the points, a sentence for the student, a sentence for a person or "").

    handed: actions (episodes, steps, k). Nothing here takes points away on suspicion.
    """
    return _mark(week13.SWING[profile], week13.SWING_SCALE, handed, answers, profile, sources)


def mark_player(
    handed: np.ndarray, answers: dict[str, np.ndarray], profile: str, sources: str
) -> tuple[float, str, str]:
    """As `mark_agent`. handed: choices (episodes, steps)."""
    return _mark(week13.PLAY[profile], week13.PLAY_SCALE, handed, answers, profile, sources)


def _mark(
    world: week13.World,
    scale: milestones.Milestones,
    handed: np.ndarray,
    answers: dict[str, np.ndarray],
    profile: str,
    sources: str,
) -> tuple[float, str, str]:
    seeds = answers["seeds"]
    shape = (len(seeds), world.limit) + (() if world.choices else (world.actions,))
    fits = handed.ndim == len(shape) and handed.dtype.kind in "iuf"
    if not fits or handed.shape[:1] + handed.shape[2:] != shape[:1] + shape[2:]:
        return 0.0, f"Actions of shape {shape} were asked for, {handed.shape} were handed in.", ""
    returns = week13.replayed(world, handed, seeds)
    mean = float(returns.mean())
    message = f"Mean return of your actions in {len(seeds)} private episodes: {mean:.1f}. "
    missing = [m for m in scale.accuracies[profile] if mean <= m]
    message += (
        f"The next milestone is {missing[0]:g}." if missing else "Every milestone is reached."
    )
    flag = ""
    if words := milestones.found(_DOORS, sources):
        flag = f"the code may use an agent of others, or a rule: {words}"
    return scale.earned(mean, profile) / scale.most, message, flag
