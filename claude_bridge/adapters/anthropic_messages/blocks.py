"""Blocks: the content blocks of one stream: one open at a time, numbered without gaps, none left open."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Raw

from claude_bridge.adapters.anthropic_messages.frame_repair import (
    block_of_delta,
    edited_frame,
    empty_block,
    empty_delta,
    event_frame,
    plain,
    repaired_block,
)
from claude_bridge.adapters.anthropic_messages.frame_writer import FrameWriter
from claude_bridge.adapters.anthropic_messages.frames import FrameHead, raw_fields
from claude_bridge.conversion.response.assembler import UNSIGNED
from claude_bridge.conversion.tool_json.text import begins_json, is_json
from claude_bridge.wire.sse import frame_data

LEFT_OPEN = "a block was left open"

_NOTHING = Raw(b"{}")


class _Block:
    """A content block that is open towards the client."""

    def __init__(self, kind: str, index: int, theirs: int | None) -> None:
        """``index`` is the client's number of it, ``theirs`` the engine's (None: it was opened here)."""
        self.kind = kind
        self.index = index
        self.theirs = theirs
        self.signature: str | None = UNSIGNED if kind == "thinking" else None
        """What a thought is to be signed with in the end; None: it is signed, or is no thought."""
        self.given_input: str | None = None
        """Arguments that came with the start of a tool use; clients only read those that come in deltas."""
        self.id = ""
        """The engine's own id of a tool use."""
        self.deltas: list[bytes] = []
        """The deltas of a tool use, as JSON."""
        self.stop: bytes | None = None
        """The end of a tool use that was not handed on yet: the next block may be more of it."""

    @property
    def arguments(self) -> str:
        """What has come of a tool use's input."""
        parts = (
            plain(raw_fields(raw_fields(delta).get("delta", _NOTHING)).get("partial_json")) for delta in self.deltas
        )
        return "".join(part for part in parts if isinstance(part, str)) or self.given_input or ""


class Blocks:
    """Takes the events of an engine's blocks, and writes frames that a client can follow."""

    def __init__(self, out: FrameWriter, unused_id: Callable[[str], str]) -> None:
        """``unused_id`` returns the given id of a tool use, or another one if it was used before."""
        self.has_tool_use = False
        self.is_cut_off = False
        """Whether the last tool use ended in the middle of its input."""
        self._out = out
        self._unused_id = unused_id
        self._open: _Block | None = None
        self._number = 0

    def goes_on(self, head: FrameHead, data: bytes) -> bool:
        """Return whether a delta is simply the next one of the open block, as nearly all are, and remember it."""
        block = self._open
        if block is None or head.delta is None or not head.index == block.theirs == block.index:
            return False
        if block.given_input is not None or block.stop is not None or head.delta.type == "signature_delta":
            return False
        if block.kind == "tool_use":
            block.deltas.append(data)
        return _belongs(head.delta.type, block)

    def start(self, head: FrameHead, data: bytes, frame: bytes) -> None:
        """Take the start of a block."""
        fields = raw_fields(data)
        given = raw_fields(fields.get("content_block", _NOTHING))
        kind = str(plain(given.get("type")) or "")
        if kind == "tool_use" and not plain(given.get("name")):
            self._start_nameless(head, given)
            return
        delta = empty_delta(kind)
        said = plain(given.get(kind)) if delta and kind != "tool_use" else None
        block = self._open
        if block is not None and block.theirs is None and block.kind == kind:
            block.theirs = head.index  # it goes on in the block that kept the line alive
        else:
            self.close(LEFT_OPEN)
            block = self._open = self._next(kind, head.index)
            changes = repaired_block(given, kind, self._unused_id)
            if kind == "tool_use":
                self.has_tool_use = True
                self.is_cut_off = False
                block.id = str(plain(given.get("id")) or "")
                block.given_input = _given_input(given.get("input"))
            if said:
                changes[kind] = ""
            if kind == "thinking" and (signature := plain(given.get("signature"))):
                changes["signature"], block.signature = "", str(signature)
            if changes:
                frame = edited_frame(fields, index=block.index, content_block={**given, **changes})
                self._out.put(frame, f"the start of a {kind} block: {', '.join(changes)}")
            else:
                self._out.put(frame if head.index == block.index else edited_frame(fields, index=block.index))
        if said and delta:
            self._out.put(event_frame("content_block_delta", index=block.index, delta={**delta, kind: said}))

    def delta(self, head: FrameHead, data: bytes, frame: bytes) -> None:
        """Take a delta, wherever it belongs."""
        told = head.delta.type if head.delta else None
        block, fields = self._open, raw_fields(data)
        is_of_block = (
            block is not None and block.theirs is not None and block.stop is None and head.index in (block.theirs, None)
        )
        if block is None or not is_of_block or not _belongs(told, block):
            block = self._block_for(head, fields)
        if block is not None:
            block.given_input = None
            if told == "signature_delta":
                block.signature = None
            if block.kind == "tool_use":
                block.deltas.append(data)
            self._out.put(frame if head.index == block.index else edited_frame(fields, index=block.index))

    def stop(self, head: FrameHead, frame: bytes) -> None:
        """Take the end of a block; one that was closed when the next one began has none left."""
        block = self._open
        if block is None or block.theirs is None or block.stop is not None or head.index not in (block.theirs, None):
            return
        if block.kind == "tool_use":
            block.stop = frame if head.index == block.index else b""
            return
        if block.given_input is not None or block.signature is not None or head.index != block.index:
            self.close()
        else:
            self._open = None
            self._out.put(frame)

    def close(self, repair: str = "") -> None:
        """Close the block that is open, if one is."""
        block, self._open = self._open, None
        if block is None:
            return
        if block.kind == "tool_use":
            self.is_cut_off = begins_json(block.arguments or "{}") and not is_json(block.arguments or "{}")
        if block.stop is not None:
            repair = ""
            if block.stop and block.given_input is None:
                self._out.put(block.stop)
                return
        if block.given_input is not None:
            delta = {"type": "input_json_delta", "partial_json": block.given_input}
            self._out.put(
                event_frame("content_block_delta", index=block.index, delta=delta),
                "input came with the start of its block",
            )
        if block.signature is not None:
            delta = {"type": "signature_delta", "signature": block.signature}
            self._out.put(
                event_frame("content_block_delta", index=block.index, delta=delta), "a thought had no signature"
            )
        self._out.put(event_frame("content_block_stop", index=block.index), repair if block.theirs is not None else "")

    def keep_alive(self) -> None:
        """Add nothing to the open block, or to one that is opened for it."""
        block = self._open or self._open_here("text", None)
        delta = empty_delta(block.kind)
        if delta is not None and _belongs(delta["type"], block):
            self._out.put(event_frame("content_block_delta", index=block.index, delta=delta))

    def end(self, *, is_natural: bool) -> None:
        """Close the last block; ``is_natural`` says that the engine did not stop at a limit."""
        block = self._open
        if block is not None and block.kind == "tool_use" and not is_natural and not block.arguments:
            # An empty input would look like a call that means it; what is left open is seen for what it is.
            block.deltas.append(_OPENED)
            delta = {"type": "input_json_delta", "partial_json": "{"}
            self._out.put(
                event_frame("content_block_delta", index=block.index, delta=delta),
                "a call was cut off before its arguments",
            )
        self.close(LEFT_OPEN)

    def _start_nameless(self, head: FrameHead, given: Mapping[str, Raw]) -> None:
        """Take the start of a tool use without a name: more of the one before, or nothing that a client can run."""
        block = self._open
        tool_id = str(plain(given.get("id")) or "")
        is_more = block is not None and block.kind == "tool_use" and block.theirs is not None
        if block is None or not is_more or (tool_id != block.id and is_json(block.arguments)):
            self.close(LEFT_OPEN)
            self._out.note("a tool use without a name was left out")
            return
        block.theirs, block.stop = head.index, None
        self._out.note("a tool use came in pieces")
        more = _given_input(given.get("input"))
        if more:
            block.given_input = None
            delta = {"type": "input_json_delta", "partial_json": more}
            frame = event_frame("content_block_delta", index=block.index, delta=delta)
            block.deltas.append(frame_data(frame))
            self._out.put(frame)

    def _next(self, kind: str, theirs: int | None) -> _Block:
        self._number += 1
        return _Block(kind, self._number - 1, theirs)

    def _open_here(self, kind: str, theirs: int | None) -> _Block:
        self.close()
        block = self._open = self._next(kind, theirs)
        self._out.put(event_frame("content_block_start", index=block.index, content_block=empty_block(kind)))
        return block

    def _block_for(self, head: FrameHead, fields: dict[str, Raw]) -> _Block | None:
        """Return a block for a delta that does not belong to the open one; None if nothing is to come of it."""
        told = head.delta.type if head.delta else None
        kind = block_of_delta(told)
        said = plain(raw_fields(fields.get("delta", Raw(b"{}"))).get(kind)) if kind else None
        if kind is None or empty_block(kind) is None or not isinstance(said, str):
            return None  # a signature behind the end of its block (llama.cpp), or arguments of no call
        if not said.strip():
            return None  # SGLang puts line ends between two tool calls
        self._out.note(f"a {told} came outside of its block")
        block = self._open
        if block is not None and block.theirs is None and block.kind == kind:
            block.theirs = head.index
            return block
        return self._open_here(kind, head.index)


def _belongs(delta_kind: str | None, block: _Block) -> bool:
    """Return whether a delta of this type may come in the block; nothing follows a signature."""
    is_of_kind = block_of_delta(delta_kind, block.kind) == block.kind
    return is_of_kind and (block.kind != "thinking" or block.signature is not None)


_OPENED = b'{"delta":{"partial_json":"{"}}'


def _given_input(raw: Raw | None) -> str | None:
    """Return the arguments that a tool use was started with, or None if it was started empty, as it should be."""
    value = plain(raw)
    if not value or raw is None:
        return None
    return value if isinstance(value, str) else bytes(raw).decode("utf-8", "replace")
