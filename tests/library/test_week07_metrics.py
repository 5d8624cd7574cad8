"""Week 07: the reference's BLEU, ROUGE-L and METEOR-lite are those of the libraries."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import numpy as np
import pytest
from nltk.translate import meteor_score
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU

from autograder.authoring.text import parse

FILE = Path(__file__).parents[2] / "weeks" / "week07_lm" / "homework.py"


@pytest.fixture(scope="module")
def metrics() -> dict[str, Callable]:
    """The references of the homework, by name."""
    text, _ = parse(FILE.read_text("utf-8"), "week07_lm", "homework")
    names = {"Counter": Counter, "Hashable": Hashable, "Sequence": Sequence, "math": math}
    for task in ("matches", "bleu", "rouge_l", "meteor_lite"):
        exec(text.solutions[task].source, names)
    return names


def sentence(rng: np.random.Generator) -> list[str]:
    return rng.choice(list("abcdef"), size=rng.integers(1, 14)).tolist()


def test_bleu_is_sacrebleus(metrics: dict[str, Callable]) -> None:
    rng, positive = np.random.default_rng(0), 0
    for _ in range(60):
        order, count = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        hypotheses = [sentence(rng) for _ in range(6)]
        references = [[sentence(rng) for _ in range(count)] for _ in hypotheses]
        oracle = BLEU(tokenize="none", smooth_method="none", max_ngram_order=order)
        theirs = oracle.corpus_score(
            [" ".join(h) for h in hypotheses],
            [[" ".join(several[i]) for several in references] for i in range(count)],
        )
        ours = metrics["bleu"](hypotheses, references, order)
        assert 100 * ours == pytest.approx(theirs.score, rel=1e-9, abs=1e-9)
        positive += ours > 0
    assert positive > 30


def test_rouge_l_is_that_of_rouge_score(metrics: dict[str, Callable]) -> None:
    class Words:
        def tokenize(self, text: str) -> list[str]:
            return text.split()

    oracle = rouge_scorer.RougeScorer(["rougeL"], tokenizer=Words())
    rng = np.random.default_rng(0)
    for _ in range(200):
        ours, theirs = sentence(rng), sentence(rng)
        want = oracle.score(" ".join(theirs), " ".join(ours))["rougeL"].fmeasure
        assert metrics["rouge_l"](ours, theirs) == pytest.approx(want, rel=1e-9)


def test_meteor_lite_is_nltks_without_wordnet(metrics: dict[str, Callable]) -> None:
    class NoWords:
        def synsets(self, word: str) -> list[str]:
            return []

    rng = np.random.default_rng(0)
    for _ in range(200):
        ours, theirs = sentence(rng), sentence(rng)
        want = meteor_score.meteor_score([theirs], ours, wordnet=NoWords())
        assert metrics["meteor_lite"](ours, theirs) == pytest.approx(want, rel=1e-9)
