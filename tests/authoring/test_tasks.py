"""docs/tasks.md: what it tells of the receipts, and when it is another page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from kit.cli import autograder
from kit.rules import WEEK, built, edit, rules_of, tiny_course

from autograder.authoring import proofs, tasks
from autograder.authoring.proofs import Receipt, TaskProof

LINE = TaskProof(
    code="a",
    points=1.5,
    bonus=False,
    exam=False,
    checks=3,
    planted=(3, 3),
    generated=(7, 9),
    standard={"zeros": (1, 1), "float32": (0, 2), "shape": (1, 2)},
    alternatives=1,
    seconds=0.123,
)
EXAM = replace(
    LINE, points=2.0, bonus=True, exam=True, generated=(0, 0), standard={}, alternatives=0
)
RECEIPT = Receipt("a", "b", "c", "d", 12, 340, {"line": LINE, "network": EXAM})


@pytest.fixture
def root(tiny: Path) -> Path:
    """A course with docs/ and a receipt."""
    (tiny / "docs").mkdir()
    path = tiny / "weeks" / WEEK / "proof.json"
    path.write_bytes(proofs.dumps({"tiny": RECEIPT}))
    return tiny


def rows(root: Path) -> list[list[str]]:
    """The cells of all rows of the page."""
    lines = tasks.build(tiny_course(root)).decode().splitlines()
    return [[c.strip() for c in line[1:-1].split("|")] for line in lines if line[:1] == "|"]


def test_a_row_for_each_notebook_and_the_sum(root: Path) -> None:
    sums = ["2", "1.5", "2", "6", "6/6", "7/9", "2/5", "12"]
    assert [f"{WEEK}/tiny", *sums, "340"] in rows(root)
    assert ["**all**", *sums, ""] in rows(root)


def test_a_row_for_each_task(root: Path) -> None:
    found = {row[0]: row[1:] for row in rows(root)}
    survivors = "float32 (2), shape"
    assert found["`line`"] == ["1.5", "3", "3/3", "7/9", "2/5", survivors, "1", "0.12"]
    assert found["`network`"] == ["2 bonus, exam", "3", "3/3", "–", "–", "", "0", "0.12"]
    names = [row[0] for row in rows(root)]
    assert names.index("`line`") < names.index("`network`")  # as in the notebook


def test_a_row_for_each_mistake_that_was_tried(root: Path) -> None:
    found = {row[0]: row[1:] for row in rows(root)[-3:]}
    assert {kind: row[1] for kind, row in found.items()} == {
        "zeros": "1/1",
        "shape": "1/2",
        "float32": "0/2",
    }
    assert found["zeros"][0] == "0 in the place of each number"


def test_every_row_has_its_table_s_width(root: Path) -> None:
    text = tasks.build(tiny_course(root)).decode()
    for table in text.split("\n\n"):
        assert len({line.count("|") for line in table.splitlines() if line[:1] == "|"}) <= 1


def test_a_course_without_receipts(root: Path) -> None:
    (root / "weeks" / WEEK / "proof.json").unlink()
    assert ["**all**", "0", "0", "0", "0", "–", "–", "–", "0", ""] in rows(root)


def test_when_it_is_another_page(root: Path) -> None:
    course = tiny_course(root)
    assert rules_of(tasks.stale(course)) == {"built"}
    tasks.write(course)
    assert not tasks.stale(course)
    edit(root, ("docs/tasks.md", "7/9", "9/9"))
    (problem,) = tasks.stale(course)
    assert problem.file == "docs/tasks.md" and "autograder build" in problem.message


def test_a_course_without_docs_has_none(tiny: Path) -> None:
    course = tiny_course(tiny)
    assert not tasks.stale(course)
    tasks.write(course)
    assert not (tiny / "docs").exists()


def test_the_build_holds_it(root: Path) -> None:
    built(root)
    done = autograder(root, "build", "--check")
    assert done.returncode == 2 and "docs/tasks.md: [built]" in done.stderr
    assert autograder(root, "build").returncode == 0
    assert (root / "docs" / "tasks.md").read_bytes() == tasks.build(tiny_course(root))
    assert autograder(root, "build", "--check").returncode == 0
