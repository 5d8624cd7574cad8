"""The private part of week 06's exam: sentences for the students' readers, and how answers count.

Nobody gets this file but instructors. The sentences are the 1,500 that `data.load` withholds, among
500 public ones.
"""

from __future__ import annotations

import re

import numpy as np

from practical_dl import data
from practical_dl.weeks import week06

PUBLIC = 500
# Above it a person looks. What learns from these sentences alone reaches 78 %, with pretrained
# word vectors 81 % (Kim, 2014).
TOO_GOOD = 0.83
LEARNED_BY_HEART = 0.12  # the most by which chance makes public sentences easier, and some room

_DOORS = re.compile(
    r"""\bpretrained\s*=\s*(?!False|None)\w
    |\b(?:from_pretrained|hf_hub_download|snapshot_download)\b
    |\b(?:import|from)\s+(?:transformers|gensim|navec|sentence_transformers|huggingface_hub)\b
    |\bimport_module\b|\b__import__\b
    |\b(?:torch\s*\.\s*hub|load_state_dict_from_url)\b
    |\b(?:torch|pickle|joblib|dill)\s*\.\s*load\b
    |\b(?:urlopen|urlretrieve|gdown|wget|curl|kaggle)\b|\brequests\s*\.\s*get\b
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
    labels, public = answers["labels"], answers["public"].astype(bool)
    if handed.shape != labels.shape:
        return 0.0, f"{labels.size} classes were asked for, {handed.size} were handed in.", ""
    right = handed == labels
    accuracy, on_public = float(right[~public].mean()), float(right[public].mean())
    missing = [m for m in week06.MILESTONES if accuracy <= m]
    message = f"Accuracy on {int((~public).sum())} private sentences: {accuracy:.1%}. "
    message += (
        f"The next milestone is {missing[0]:.0%}." if missing else "Every milestone is reached."
    )
    flags = []
    if on_public - accuracy > LEARNED_BY_HEART:
        message += f" On public test sentences it is {on_public:.1%}: those were learned by heart."
        flags.append(
            f"right on {on_public:.1%} of the public test sentences, on {accuracy:.1%} of the "
            "private ones: it may have been trained on the test set"
        )
    if accuracy > TOO_GOOD:
        flags.append(f"{accuracy:.1%} is more than a network trained on these data alone reaches")
    if found := sorted({" ".join(m[0].split()) for m in _DOORS.finditer(sources)}):
        flags.append(f"the code may load weights of others: {', '.join(found[:5])}")
    return week06.points(accuracy) / sum(week06.POINTS), message, "; ".join(flags)
