"""The graded class of a week, for all tests of weeks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from kit import chosen, classes
from kit.classes import Class
from kit.rules import need_data


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what looks at the class of a week that is not chosen (kit/chosen.py)."""
    numbers = {folder[4:6] for folder in chosen.classes()}
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    own = {item: re.fullmatch(r"test_week(\d\d)\.py", item.path.name) for item in here}
    left_out = [item for item, week in own.items() if week and week[1] not in numbers]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


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
