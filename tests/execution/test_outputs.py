"""What cells show is kept up to a limit, of a cell and of the notebook."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_client.session import Session

from autograder.execution.kernel import Kernel
from autograder.execution.outputs import CUT, Outputs, Room
from autograder.execution.sandbox import Limits

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


# -- Messages of a kernel ----------------------------------------------------------------------


@pytest.fixture
def kernel() -> Kernel:
    """A kernel that is not there, with whose messages it is asked what it makes of them."""
    kernel = Kernel(Limits(), {}, sandboxed=False)
    kernel._manager = SimpleNamespace(session=Session(key=b"a secret"))  # type: ignore[assignment]
    return kernel


def receive(kernel: Kernel, kind: str, content: dict[str, Any]) -> tuple[Outputs, list[bytes]]:
    """What a cell keeps of a message; and the message."""
    session, outputs = kernel._manager.session, Outputs(100_000, {})
    parent = session.msg_header("execute_request")
    kernel._sinks[parent["msg_id"]] = outputs
    frames = session.serialize(session.msg(kind, content, parent=parent))
    kernel._receive_output(frames, parent["msg_id"])
    return outputs, frames


@pytest.mark.parametrize(
    ("kind", "content", "kept", "full"),
    [
        ("display_data", display("x" * 50_000), 1, False),
        ("display_data", {"data": {"text/plain": [[]] * 1_000_000}, "metadata": {}}, 1, True),
        ("update_display_data", display("x" * 1_000_000, "a"), 0, False),
        ("stream", {"name": "stdout", "text": "x" * 1_000_000}, 2, True),
        ("stream", {"name": "stdout", "text": "x" * 9_000_000}, 1, True),
        ("clear_output", {"wait": False}, 0, False),
    ],
)
def test_a_message_that_can_not_fit_is_not_parsed(
    kernel: Kernel, kind: str, content: dict[str, Any], kept: int, full: bool
) -> None:
    outputs, _ = receive(kernel, kind, content)
    assert (len(outputs.finished()), outputs.full) == (kept, full)
    assert size([outputs]) < 110_000


def test_a_reply_with_a_very_long_text_is_an_error(kernel: Kernel) -> None:
    class Socket:
        def recv_multipart(self) -> list[bytes]:
            return frames

    session = kernel._manager.session
    parent = session.msg_header("execute_request")
    kernel._shell = Socket()  # type: ignore[assignment]
    for text, told in (("short", "short"), ("x" * 9_000_000, "an error with a very long text")):
        content = {"status": "error", "ename": "ValueError", "evalue": text}
        frames = session.serialize(session.msg("execute_reply", content, parent=parent))
        reply = kernel._receive_reply(parent["msg_id"])
        assert reply is not None and (reply["status"], reply["evalue"]) == ("error", told)
        frames[1] = b"0" * 64  # a wrong signature
        assert kernel._receive_reply(parent["msg_id"]) is None
