"""The private part of week 07's exam: dates for the students' networks, and how answers count.

Nobody gets this file but instructors. The dates are those that the notebook's generator leaves out,
among some public ones.
"""

from __future__ import annotations

import re

import numpy as np

from practical_dl import milestones
from practical_dl.weeks import week07

WITHHELD, PUBLIC = 1_500, 500
LEARNED_BY_HEART = 0.10  # the most by which chance makes public dates easier, and some room

# Dates can be read by rules, too: then a person looks, since a network was asked for.
_DOORS = re.compile(
    r"""\b(?:strptime|dateutil|dateparser|fromisoformat|month_name|month_abbr|is_withheld)\b
    |\bwithheld\s*=\s*True
    |\bjanuary\b|января""",
    re.VERBOSE | re.IGNORECASE,
)


def make(
    profile: str, rng: np.random.Generator
) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """By task: (inputs, answers). inputs: texts (2000,), in random order.

    answers: labels (2000,), dates as numbers YYYYMMDD, and public (2000,): which dates the
    notebook's generator gives.
    """
    hidden, their_days = week07.dates(WITHHELD, rng, withheld=True)
    public, days = week07.dates(PUBLIC, rng)
    order = rng.permutation(WITHHELD + PUBLIC)
    answers = {
        "labels": week07.numbers([*their_days, *days])[order],
        "public": order >= WITHHELD,
    }
    return {"dater": ({"texts": np.array([*hidden, *public])[order]}, answers)}


def mark_dater(
    handed: np.ndarray, answers: dict[str, np.ndarray], profile: str, sources: str
) -> tuple[float, str, str]:
    """(share of the points, a sentence for the student, a sentence for a person or "").

    handed: dates as numbers YYYYMMDD (2000,). Only withheld dates count. Nothing here takes points
    away on suspicion.
    """
    share, message, flag = week07.SCALE.mark(
        handed,
        answers,
        profile,
        by_heart=LEARNED_BY_HEART,
        what="dates",
        bears="dates that are new",
    )
    flags = [flag]
    if words := milestones.found(_DOORS, sources):
        flags.append(f"the code may read dates by rules, or know withheld ones: {words}")
    return share, message, "; ".join(filter(None, flags))
