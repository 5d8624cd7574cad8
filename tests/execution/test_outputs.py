"""What cells show is kept up to a limit, of a cell and of the notebook."""

from __future__ import annotations

from typing import Any

from autograder.execution.outputs import CUT, Outputs, Room

Displays = dict[str, list[dict[str, Any]]]


def display(text: str, name: str = "") -> dict[str, Any]:
    transient = {"display_id": name} if name else {}
    return {"data": {"text/plain": text}, "metadata": {}, "transient": transient}


def size(outputs: list[Outputs]) -> int:
    return sum(len(str(output.finished())) for output in outputs)


def test_a_notebook_has_a_limit_of_its_own() -> None:
    displays: Displays = {}
    room = Room(5_500)
    cells = [Outputs(2_000, displays, room) for _ in range(10)]
    for outputs in cells:
        outputs.add("stream", {"name": "stdout", "text": "x" * 1_500})
        outputs.add("display_data", display("y" * 100))
    assert [outputs.full for outputs in cells] == [False] * 3 + [True] * 7
    assert size(cells) < 9_000
    note = CUT.format(what="notebook", limit=5_500) + "\n"
    assert [outputs.finished()[-1]["text"] for outputs in cells[3:]] == [note] * 7


def test_a_cell_is_cut_once_and_says_so() -> None:
    outputs = Outputs(1_000, {}, Room(10_000))
    for _ in range(3):
        outputs.add("stream", {"name": "stdout", "text": "x" * 900})
    outputs.cut()
    shown, note = [output["text"] for output in outputs.finished()]
    assert set(shown) == {"x"} and 990 < len(shown) <= 1_000
    assert note == CUT.format(what="cell", limit=1_000) + "\n"


def test_what_is_cleared_gives_its_room_back() -> None:
    room = Room(2_000)
    outputs = Outputs(1_500, {}, room)
    for _ in range(50):
        outputs.add("clear_output", {"wait": True})
        outputs.add("stream", {"name": "stdout", "text": "x" * 1_000})
    assert not outputs.full and room.left == 999


def test_updates_do_not_grow_without_a_limit() -> None:
    room = Room(20_000)
    outputs = Outputs(10_000, {}, room)
    for number in range(60):
        outputs.add("display_data", display("x", str(number)))
    for number in range(60):
        outputs.add("update_display_data", display("y" * 2_000, str(number)))
    assert 15_000 < size([outputs]) < 26_000 and room.left >= 0
