"""Blocks: the content blocks of one stream: one open at a time, numbered without gaps, none left open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Raw

from claude_bridge.adapters.anthropic_messages.frame_repair import (
    block_of_delta,
    edited_frame,
    empty_block,
    empty_delta,
    event_frame,
    plain,
    repaired_block,
    repaired_call,
)
from claude_bridge.adapters.anthropic_messages.frame_writer import FrameWriter
from claude_bridge.adapters.anthropic_messages.frames import FrameHead, raw_fields
from claude_bridge.conversion.response.assembler import UNSIGNED
from claude_bridge.conversion.tool_calls.arguments import RepairedArguments
from claude_bridge.conversion.tool_calls.buffer import CUT_BEFORE_ARGUMENTS, GatheredCall
from claude_bridge.conversion.tool_calls.index import MAX_ARGUMENTS_BYTES, NO_NAME
from claude_bridge.conversion.tool_json.schema_check import WorkBudget
from claude_bridge.conversion.tool_names import DeclaredTools
from claude_bridge.errors import UpstreamBrokenError
from claude_bridge.wire.anthropic import Tool
from claude_bridge.wire.sse import frame_data

LEFT_OPEN = "a block was left open"

_NOTHING = Raw(b"{}")


class _Block:
    """A content block that is open towards the client; calls are none, as they are held until they are whole."""

    def __init__(self, kind: str, index: int, theirs: int | None) -> None:
        """``index`` is the client's number of it, ``theirs`` the engine's (None: it was opened here)."""
        self.kind = kind
        self.index = index
        self.theirs = theirs
        self.signature: str | None = UNSIGNED if kind == "thinking" else None
        """What a thought is to be signed with in the end; None: it is signed, or is no thought."""
        self.has_content = False


class _HeldCall(GatheredCall):
    """A tool use that is held back until it is whole, with the frames in which it came."""

    def __init__(self, name: str, tool: Tool | None, *, theirs: int | None, event: Mapping[str, Raw]) -> None:
        """``theirs`` is the engine's number of its block, ``event`` its content_block_start."""
        super().__init__(name, tool)
        self.theirs = theirs
        self.start = event
        self.block = raw_fields(event.get("content_block", _NOTHING))
        self.id = str(plain(self.block.get("id")) or "")
        self.first_input = input_text(self.block.get("input"))
        """Arguments that came with the start of the block; clients only read those that come in deltas."""
        self.frames: list[bytes] = []
        self.is_as_it_came = True
        """Whether the frames hold the call, and nothing else than clients can take."""

    def add(self, piece: object) -> None:
        """Add the ``partial_json`` of a delta, or an input that came at once."""
        if isinstance(piece, str) and piece:
            self.first_input = ""
            self.pieces.append(piece)


class Blocks:
    """Takes the events of an engine's blocks, and writes frames that a client can follow."""

    def __init__(self, out: FrameWriter, tools: Sequence[Tool], unused_id: Callable[[str], str]) -> None:
        """``unused_id`` returns the given id of a tool use, or another one if it was used before."""
        self.has_tool_use = False
        self.has_text = False
        self.has_thinking = False
        self.is_cut_off = False
        """Whether a tool use ended in the middle of its input."""
        self._out = out
        self._tools = DeclaredTools(tools)
        self._unused_id = unused_id
        self._budget = WorkBudget()
        self._open: _Block | None = None
        self._calls: list[_HeldCall] = []
        self._held_bytes = 0
        self._number = 0

    def goes_on(self, head: FrameHead) -> bool:
        """Return whether a delta is simply the next one of the open block, as nearly all are."""
        block = self._open
        if block is None or head.delta is None or not head.index == block.theirs == block.index:
            return False
        return block.has_content and head.delta.type != "signature_delta" and _belongs(head.delta.type, block)

    def start(self, head: FrameHead, data: bytes, frame: bytes) -> None:
        """Take the start of a block."""
        fields = raw_fields(data)
        raw_block = raw_fields(fields.get("content_block", _NOTHING))
        kind = str(plain(raw_block.get("type")) or "")
        if kind == "tool_use":
            self._start_call(head, fields, frame)
            return
        self._release_calls(may_repair=True)
        delta = empty_delta(kind)
        text = plain(raw_block.get(kind)) if delta else None
        block = self._open
        if block is not None and block.theirs is None and block.kind == kind:
            block.theirs = head.index  # it goes on in the block that kept the line alive
        else:
            self._close_block(LEFT_OPEN)
            block = self._open = self._next(kind, head.index)
            changes = repaired_block(raw_block, kind)
            if text:
                changes[kind] = ""
            if kind == "thinking" and (signature := plain(raw_block.get("signature"))):
                changes["signature"], block.signature = "", str(signature)
            if changes:
                frame = edited_frame(fields, index=block.index, content_block={**raw_block, **changes})
                self._out.put(frame, f"the start of a {kind} block: {', '.join(changes)}")
            else:
                self._out.put(frame if head.index == block.index else edited_frame(fields, index=block.index))
        if text and delta:
            self._out.put(event_frame("content_block_delta", index=block.index, delta={**delta, kind: text}))
        if text or not delta:
            self._add_content(block)

    def delta(self, head: FrameHead, data: bytes, frame: bytes) -> None:
        """Take a delta, wherever it belongs."""
        kind = head.delta.type if head.delta else None
        fields = raw_fields(data)
        if kind == "input_json_delta" and (call := self._call_of(head.index)) is not None:
            call.add(plain(raw_fields(fields.get("delta", _NOTHING)).get("partial_json")))
            self._hold(call, frame)
            return
        block = self._open
        is_of_block = block is not None and block.theirs is not None and head.index in (block.theirs, None)
        if block is None or not is_of_block or not _belongs(kind, block):
            block = self._block_for(head, fields)
        if block is not None:
            if kind == "signature_delta":
                block.signature = None
            elif plain(raw_fields(fields.get("delta", _NOTHING)).get(block.kind)):
                self._add_content(block)
            self._out.put(frame if head.index == block.index else edited_frame(fields, index=block.index))

    def stop(self, head: FrameHead, frame: bytes) -> None:
        """Take the end of a block; one that was closed when the next one began has none left."""
        if (call := self._call_of(head.index)) is not None:
            call.has_ended = True
            self._hold(call, frame)
            return
        block = self._open
        if block is None or block.theirs is None or head.index not in (block.theirs, None):
            return
        if block.signature is not None or head.index != block.index:
            self._close_block()
        else:
            self._open = None
            self._out.put(frame)

    def keep_alive(self) -> None:
        """Add nothing to the open block, or to one that is opened for it."""
        block = self._open or self._open_here("text", None)
        delta = empty_delta(block.kind)
        if delta is not None and _belongs(delta["type"], block):
            self._out.put(event_frame("content_block_delta", index=block.index, delta=delta))

    def end(self, *, has_ended: bool) -> None:
        """Close the last block; ``has_ended`` says that the model ended its answer by itself."""
        self._close_block(LEFT_OPEN)
        self._release_calls(may_repair=has_ended)

    # --- calls ----------------------------------------------------------------------------------------------------

    def _start_call(self, head: FrameHead, fields: Mapping[str, Raw], frame: bytes) -> None:
        name = name_of(raw_fields(fields.get("content_block", _NOTHING)))
        if name == NO_NAME and self._goes_on_with(head, fields):
            return
        self._close_block(LEFT_OPEN)
        while self._calls and self._calls[0].has_ended:
            self._release(self._calls.pop(0), may_repair=True)
        call = _HeldCall(name, self._tools.find(name), theirs=head.index, event=fields)
        self._calls.append(call)
        self._hold(call, frame)

    def _goes_on_with(self, head: FrameHead, fields: Mapping[str, Raw]) -> bool:
        """Return whether the start of a tool use without a name is more of the one before, and take it."""
        call = self._calls[-1] if self._calls else None
        more = _HeldCall("", None, theirs=head.index, event=fields)
        if call is None or (more.id != call.id and call.progress.is_closed):
            return False
        call.theirs, call.has_ended, call.is_as_it_came = head.index, False, False
        call.add(more.first_input)
        self._out.note("a tool use came in pieces")
        return True

    def _call_of(self, theirs: int | None) -> _HeldCall | None:
        """Return the newest call that has this number at the engine, and has not ended."""
        open_calls = (call for call in reversed(self._calls) if not call.has_ended)
        return next((call for call in open_calls if theirs in (call.theirs, None)), None)

    def _hold(self, call: _HeldCall, frame: bytes) -> None:
        call.frames.append(frame)
        self._held_bytes += 2 * len(frame)  # as a frame and as text
        if self._held_bytes > MAX_ARGUMENTS_BYTES:
            raise UpstreamBrokenError(f"The upstream sent more than {MAX_ARGUMENTS_BYTES} bytes of arguments.")

    def _release_calls(self, *, may_repair: bool) -> None:
        """Hand all calls on; ``may_repair`` says that malformed JSON is the model's own mistake."""
        calls, self._calls = self._calls, []
        if calls:
            self._close_block(LEFT_OPEN)
        for call in calls:
            is_empty = not call.first_input and not any(map(str.strip, call.pieces))
            if not may_repair and call is calls[-1] and is_empty:
                self._out.note(CUT_BEFORE_ARGUMENTS, call.name)
            else:
                self._release(call, may_repair=may_repair)
        self._held_bytes = 0

    def _release(self, call: _HeldCall, *, may_repair: bool) -> None:
        if call.name == NO_NAME and not call.first_input and not any(call.pieces):
            self._out.note("a tool use without a name and without arguments was left out")
            return
        if call.first_input:
            call.pieces = [call.first_input]
            self._out.note("input came with the start of its block", call.name)
        if not call.has_ended:
            self._out.note(LEFT_OPEN)
        text = "".join(call.pieces).strip()
        for repaired in call.inputs(self._budget, may_repair=may_repair):
            self.has_tool_use = True
            self.is_cut_off = self.is_cut_off or repaired.is_cut_off
            is_as_it_came = call.is_as_it_came and call.has_ended and not call.first_input
            self._write_call(call, repaired, is_as_it_came=is_as_it_came and repaired.text == (text or "{}"))

    def _write_call(self, call: _HeldCall, repaired: RepairedArguments, *, is_as_it_came: bool) -> None:
        index = self._next("tool_use", call.theirs).index
        changes = repaired_call(call.block, call.name, self._unused_id)
        if plain(call.block.get("input")) != {}:
            changes["input"] = {}
        for note in repaired.notes:
            self._out.note(note, call.name)
        if changes:
            self._out.note(f"the start of a tool_use block: {', '.join(changes)}")
        start = edited_frame(call.start, index=index, content_block={**call.block, **changes})
        if not is_as_it_came:
            delta = {"type": "input_json_delta", "partial_json": repaired.text}
            self._out.put(start)
            self._out.put(event_frame("content_block_delta", index=index, delta=delta))
            self._out.put(event_frame("content_block_stop", index=index))
        elif call.theirs == index:
            self._out.put(start if changes else call.frames[0])
            self._out.put(b"".join(call.frames[1:]))
        else:
            self._out.put(start)
            for frame in call.frames[1:]:
                self._out.put(edited_frame(raw_fields(frame_data(frame)), index=index))

    # --- other blocks -----------------------------------------------------------------------------------------------

    def _close_block(self, repair: str = "") -> None:
        """Close the block that is open, if one is."""
        block, self._open = self._open, None
        if block is None:
            return
        if block.signature is not None:
            delta = {"type": "signature_delta", "signature": block.signature}
            self._out.put(
                event_frame("content_block_delta", index=block.index, delta=delta), "a thought had no signature"
            )
        self._out.put(event_frame("content_block_stop", index=block.index), repair if block.theirs is not None else "")

    def _add_content(self, block: _Block) -> None:
        block.has_content = True
        if block.kind == "thinking":
            self.has_thinking = True
        else:
            self.has_text = True

    def _next(self, kind: str, theirs: int | None) -> _Block:
        self._number += 1
        return _Block(kind, self._number - 1, theirs)

    def _open_here(self, kind: str, theirs: int | None) -> _Block:
        self._close_block()
        block = self._open = self._next(kind, theirs)
        self._out.put(event_frame("content_block_start", index=block.index, content_block=empty_block(kind)))
        return block

    def _block_for(self, head: FrameHead, fields: dict[str, Raw]) -> _Block | None:
        """Return a block for a delta that does not belong to the open one; None if nothing is to come of it."""
        delta_kind = head.delta.type if head.delta else None
        kind = block_of_delta(delta_kind)
        text = plain(raw_fields(fields.get("delta", _NOTHING)).get(kind)) if kind else None
        if kind is None or empty_block(kind) is None or not isinstance(text, str):
            return None  # a signature behind the end of its block (llama.cpp), or arguments of no call
        if not text.strip():
            return None  # SGLang puts line ends between two tool calls
        self._out.note(f"a {delta_kind} came outside of its block")
        self._release_calls(may_repair=True)
        block = self._open
        if block is not None and block.theirs is None and block.kind == kind:
            block.theirs = head.index
            return block
        return self._open_here(kind, head.index)


def _belongs(delta_kind: str | None, block: _Block) -> bool:
    """Return whether a delta of this type may come in the block; nothing follows a signature."""
    is_of_kind = block_of_delta(delta_kind, block.kind) == block.kind
    return is_of_kind and (block.kind != "thinking" or block.signature is not None)


def name_of(block: Mapping[str, Raw]) -> str:
    """Return the name of a tool use; NO_NAME where it has none."""
    name = plain(block.get("name"))
    return name if isinstance(name, str) and name.strip() else NO_NAME


def input_text(raw: Raw | None) -> str:
    """Return the JSON of an input that came at once, perhaps as text; empty for one that holds nothing."""
    value = plain(raw)
    if not value or raw is None:
        return ""
    return value if isinstance(value, str) else bytes(raw).decode("utf-8", "replace")
