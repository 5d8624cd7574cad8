"""What the tests of exams share in which networks name classes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def handed(answers: Mapping[str, np.ndarray], hidden: float, public: float) -> np.ndarray:
    """Answers that are right on these shares of the hidden and of the public pictures.

    answers: labels, each class among them, and public, as a week's `private.make` gives them.
    """
    guess = (answers["labels"] + 1) % (answers["labels"].max() + 1)
    for which, share in ((~answers["public"], hidden), (answers["public"], public)):
        places = np.flatnonzero(which)
        places = places[: round(share * len(places))]
        guess[places] = answers["labels"][places]
    return guess


def code_of(notebook: str) -> str:
    """What runs of a notebook's text."""
    return "\n".join(line for line in notebook.split("\n") if not line.startswith("#"))
