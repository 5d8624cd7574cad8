"""What cells show, as it arrives, in nbformat's form: never more than so many bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CUT = "[output cut: this {what} wrote more than {limit} bytes]"
ERROR_BYTES = 20_000  # what an error may show; it is kept also where the outputs are full


@dataclass
class Room:
    """Bytes that the cells of a notebook may keep together. left: of them."""

    limit: int

    def __post_init__(self) -> None:
        self.left = self.limit


class Outputs:
    """Collects the messages of one cell.

    limit: bytes of JSON to keep. displays: outputs by display id, shared by a notebook's cells,
    because `update_display_data` may come from a later one. room: what the notebook has left.
    """

    def __init__(
        self, limit: int, displays: dict[str, list[dict[str, Any]]], room: Room | None = None
    ) -> None:
        self.limit = limit
        self.room = room or Room(limit)
        self.items: list[dict[str, Any]] = []
        self.full = False
        self._displays = displays
        self._bytes = 0
        self._clear_next = False

    def add(self, kind: str, content: Mapping[str, Any]) -> None:
        """Take a message of the kernel; what it says is not trusted, only kept."""
        if kind == "clear_output":
            if content.get("wait"):
                self._clear_next = True
            else:
                self._clear()
            return
        output = _output(kind, content)
        if output is None:
            return
        if kind == "update_display_data":
            self._update(content, output)
            return
        if self._clear_next:
            self._clear()
        if kind == "error":
            self._keep_error(output)
        elif not self.full:
            self._keep(output)
            identifier = _display_id(content)
            if identifier and self.items and self.items[-1] is output:
                self._displays.setdefault(identifier, []).append(output)

    def _keep(self, output: dict[str, Any]) -> None:
        room = min(self.limit - self._bytes, self.room.left)
        if output["output_type"] == "stream":
            text = output["text"]
            whole = len(text.encode()) <= room
            if not whole:
                output["text"] = text.encode()[:room].decode("utf-8", "ignore")
            last = self.items[-1] if self.items else {}
            if last.get("output_type") == "stream" and last["name"] == output["name"]:
                # A list of pieces, joined at the end: += on a long text would be quadratic.
                last["text"].append(output["text"])
            else:
                self.items.append({**output, "text": [output["text"]]})
            size = len(output["text"].encode()) + 1
        else:
            size = _size(output)
            whole = size <= room
            self.items += [output] if whole else []
            size *= whole
        self._bytes += size
        self.room.left -= size
        if not whole:
            self.cut()

    def cut(self) -> None:
        """Keep nothing more of what the cell shows, and say so."""
        if not self.full:
            self.full = True
            own = self.limit - self._bytes <= self.room.left
            what, limit = ("cell", self.limit) if own else ("notebook", self.room.limit)
            note = CUT.format(what=what, limit=limit) + "\n"
            self.items.append({"output_type": "stream", "name": "stderr", "text": [note]})

    def _keep_error(self, output: dict[str, Any]) -> None:
        if sum(o["output_type"] == "error" for o in self.items) < 3:
            self.items.append(output)

    def _update(self, content: Mapping[str, Any], output: dict[str, Any]) -> None:
        size = _size(output)
        if size > self.limit // 4:
            return
        for old in self._displays.get(_display_id(content), []):
            more = size - _size(old)
            if more <= self.room.left:
                self.room.left -= more
                old["data"], old["metadata"] = output["data"], output["metadata"]

    def _clear(self) -> None:
        self.items.clear()
        self.room.left += self._bytes
        self.full, self._clear_next, self._bytes = False, False, 0

    def finished(self) -> list[dict[str, Any]]:
        """The outputs as they belong into a notebook."""
        return [
            {**o, "text": "".join(o["text"])} if o["output_type"] == "stream" else dict(o)
            for o in self.items
        ]


def error_output(ename: str, evalue: str, traceback: Any) -> dict[str, Any]:
    """An error as an output, of a bounded size. traceback: lines, or anything."""
    lines, left = [], ERROR_BYTES
    for line in traceback if isinstance(traceback, list) else []:
        if left <= 0:
            break
        lines.append(clean(line, left))
        left -= len(lines[-1])
    return {
        "output_type": "error",
        "ename": clean(ename, 200),
        "evalue": clean(evalue, 2000),
        "traceback": lines,
    }


def clean(value: Any, limit: int) -> str:
    """A text of at most so many characters that can be written as UTF-8."""
    return str(value)[:limit].encode("utf-8", "replace").decode()


def _output(kind: str, content: Mapping[str, Any]) -> dict[str, Any] | None:
    if kind == "stream":
        name = "stderr" if content.get("name") == "stderr" else "stdout"
        text = str(content.get("text", "")).encode("utf-8", "replace").decode()
        return {"output_type": "stream", "name": name, "text": text}
    if kind == "error":
        return error_output(
            content.get("ename", ""), content.get("evalue", ""), content.get("traceback")
        )
    data, metadata = content.get("data"), content.get("metadata")
    if not isinstance(data, dict) or not isinstance(metadata, dict):
        return None
    output: dict[str, Any] = {"output_type": "display_data", "data": data, "metadata": metadata}
    if kind == "execute_result":
        count = content.get("execution_count")
        output["output_type"] = kind
        output["execution_count"] = count if isinstance(count, int) else None
    elif kind not in ("display_data", "update_display_data"):
        return None
    try:  # NaN is no JSON, half a surrogate pair is no UTF-8
        text = json.dumps(output, allow_nan=False, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
    return json.loads(text.encode("utf-8", "replace"))


def _display_id(content: Mapping[str, Any]) -> str:
    transient = content.get("transient")
    return str(transient.get("display_id") or "") if isinstance(transient, dict) else ""


def _size(output: dict[str, Any]) -> int:
    return len(json.dumps(output, ensure_ascii=False).encode())
