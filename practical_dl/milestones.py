"""The milestones of an exam: what an accuracy on examples that nobody has seen is worth.

A week with an exam says them once, for the notebook that shows them and the grader that pays:

    SCALE = Milestones(points=(4, 2), accuracies={"small": (0.3, 0.5), "full": (0.2, 0.6)})

Nothing here imports torch: the grader reads a scale, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Milestones:
    """What is paid for each milestone that is reached, by an accuracy above it.

    points: for each. accuracies: by profile those of each, ascending, in [0, 1].
    """

    points: Sequence[float]
    accuracies: Mapping[str, Sequence[float]]

    @property
    def most(self) -> float:
        """The points of all."""
        return sum(self.points)

    def earned(self, accuracy: float, profile: str) -> float:
        """The points for an accuracy: 0 to `most`."""
        return sum(
            p for p, m in zip(self.points, self.accuracies[profile], strict=True) if accuracy > m
        )

    def table(self, accuracy: float, profile: str) -> str:
        """The milestones as a table, with those that an accuracy reaches."""
        rows = [f"accuracy {accuracy:.2%}, profile {profile}"]
        for milestone, worth in zip(self.accuracies[profile], self.points, strict=True):
            reached = "reached" if accuracy > milestone else "not yet"
            rows.append(f"  more than {milestone:6.1%}: {worth:g} points, {reached}")
        earned = self.earned(accuracy, profile)
        return "\n".join([*rows, f"  in all {earned:g} of {self.most:g} points"])

    def mark(
        self,
        handed: np.ndarray,
        answers: Mapping[str, np.ndarray],
        profile: str,
        *,
        by_heart: float,
        too_good: float = 1.0,
        what: str = "pictures",
        bears: str = "a picture that is shifted or brightened a little",
    ) -> tuple[float, str, str]:
        """(share of the points, a sentence for the student, one for a person or "").

        handed: class numbers (n,). answers: labels (n,), and public (n,): which of these examples
        students have as they are. Only those that nobody has count. by_heart: who is so much better
        on public ones has learned them by heart. too_good: an accuracy that training on the data
        alone does not reach. Neither takes points away: a person is told.
        what: names the examples. bears: what a model that generalises can bear, unlike such a one.
        """
        labels, public = answers["labels"], answers["public"].astype(bool)
        if handed.shape != labels.shape:
            return 0.0, f"{labels.size} classes were asked for, {handed.size} were handed in.", ""
        right = handed == labels
        accuracy, on_public = float(right[~public].mean()), float(right[public].mean())
        missing = [m for m in self.accuracies[profile] if accuracy <= m]
        message = f"Accuracy on {int((~public).sum())} private {what}: {accuracy:.1%}. "
        message += (
            f"The next milestone is {missing[0]:.1%}." if missing else "Every milestone is reached."
        )
        flags = []
        if on_public - accuracy > by_heart:
            message += (
                f" On public test {what} it is {on_public:.1%}: your network has learned those by "
                f"heart, or it can't bear {bears}."
            )
            flags.append(
                f"right on {on_public:.1%} of the public test {what}, on {accuracy:.1%} of the "
                "private ones: it may have been trained on the test set"
            )
        if accuracy > too_good:
            flags.append(
                f"{accuracy:.1%} is more than a network trained on these data alone reaches"
            )
        return self.earned(accuracy, profile) / self.most, message, "; ".join(flags)


# Ways past the exam that every week's exam has: a network that others trained, code by its name.
_DOORS = re.compile(
    r"""\b(?:torch\s*\.\s*hub|load_state_dict_from_url|model_zoo)\b
    |\b(?:from_pretrained|hf_hub_download|snapshot_download)\b
    |\bimport_module\b|\b__import__\b
    |\b(?:torch|pickle|joblib|dill)\s*\.\s*load\b
    |\b(?:urlopen|urlretrieve|gdown|wget|curl|kaggle)\b|\brequests\s*\.\s*get\b""",
    re.VERBOSE | re.IGNORECASE,
)


def found(doors: re.Pattern[str], sources: str) -> str:
    """The words of a student's code that a person should see: a match proves nothing.

    doors: the week's own ways past its exam, besides those that every exam has.
    """
    matches = (match[0] for pattern in (doors, _DOORS) for match in pattern.finditer(sources))
    return ", ".join(sorted({" ".join(match.split()) for match in matches})[:5])
