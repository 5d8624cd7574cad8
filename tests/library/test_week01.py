"""Week 01: its drawings."""

from __future__ import annotations

import matplotlib
import numpy as np
from kit.pictures import is_drawn

from practical_dl.weeks import week01

matplotlib.use("agg")


def test_drawings_draw_something(published: list) -> None:
    week01.layer()
    assert is_drawn(published)
    week01.dense_products()
    assert is_drawn(published)
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(40, 3)), rng.integers(3, size=40)
    pictures, change = np.ones((40, 4, 4)), rng.normal(size=(16, 20))
    week01.classifier({"train": [0.5, 0.1]}, logits, labels, pictures, change)
    assert is_drawn(published)
