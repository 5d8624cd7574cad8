"""The graded class of a week, for all tests of weeks."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from kit import classes
from kit.classes import Class
from kit.rules import need_data


@pytest.fixture(scope="session")
def class_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Class]:
    """The class of a week. Where the data that it needs can't be had, the test is skipped."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each of the processes has its own folder in there
        place = place.parent
    found: dict[str, Class] = {}

    def look(week: str) -> Class:
        need_data(week)
        if week not in found:
            found[week] = classes.class_of(week, place / "classes")
        return found[week]

    return look
