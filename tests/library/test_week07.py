"""Week 07: its drawings."""

from __future__ import annotations

import matplotlib
import numpy as np
from kit.pictures import is_drawn

from practical_dl.weeks import week07

matplotlib.use("agg")


def test_drawings_draw_something(published: list) -> None:
    week07.ladder({"counts": (2.5, "To be,\n\nor not"), "network": (3.0, "")}, "title")
    assert is_drawn(published)
    week07.who(np.array([[3.0, 9.0], [7.0, 2.0]]), ["a", "b"])
    assert is_drawn(published)
