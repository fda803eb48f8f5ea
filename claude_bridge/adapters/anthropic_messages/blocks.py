"""Blocks: the content blocks of one stream: one open at a time, numbered without gaps, none left open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count

import msgspec

from claude_bridge.adapters.anthropic_messages.frames import FIELD_OF_DELTA, DeltaFrame, Fields, Frame, FrameWriter
from claude_bridge.conversion.response.assembler import UNSIGNED
from claude_bridge.conversion.tool_calls.buffer import CUT_BEFORE_ARGUMENTS, GatheredCall
from claude_bridge.conversion.tool_calls.index import MAX_ARGUMENTS_BYTES, NO_NAME
from claude_bridge.conversion.tool_json.schema_check import WorkBudget
from claude_bridge.conversion.tool_names import DeclaredTools
from claude_bridge.errors import UpstreamBrokenError
from claude_bridge.wire.anthropic import MessagesRequest, Tool, ToolUseBlock
from claude_bridge.wire.anthropic_lenient import input_text
from claude_bridge.wire.lenient_json import object_in, text_in

_LEFT_OPEN = "a block was left open"

_EMPTY_BLOCKS: Mapping[str, Fields] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
"""Of the types that are repaired; blocks of other types are passed on unchanged."""

_BLOCK_OF_DELTA = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": "tool_use",
}


class _Block:
    """A content block that is open towards the client; calls are none, as they are held until they are whole."""

    def __init__(self, kind: str, index: int, engine_index: int | None) -> None:
        """``index`` is the client's number of it, ``engine_index`` the engine's (None: it was opened here)."""
        self.kind = kind
        self.index = index
        self.engine_index = engine_index
        self.signature: str | None = UNSIGNED if kind == "thinking" else None
        """The signature to add at the end of thinking; None: it has one, or the block is no thinking."""
        self.has_content = False

    def takes(self, delta_kind: str) -> bool:
        """Return whether a delta of this type may come in the block; nothing follows a signature."""
        if self.kind not in _EMPTY_BLOCKS:
            return True
        is_of_kind = _BLOCK_OF_DELTA.get(delta_kind, self.kind) == self.kind
        return is_of_kind and (self.kind != "thinking" or self.signature is not None)


class _HeldCall(GatheredCall):
    """A tool use that is held back until it is whole, with the frames in which it came."""

    def __init__(self, name: str, tool: Tool | None, frame: Frame) -> None:
        """``frame`` is its content_block_start."""
        super().__init__(name, tool)
        self.engine_index = frame.index
        self.block = object_in(frame.event, "content_block")
        self.id = str(self.block.get("id") or "")
        self.first_input = input_text(self.block)
        """Arguments that came with the start of the block; clients only read those that come in deltas."""
        self.start = frame
        self.rest: list[Frame] = []
        """The frames behind the start."""
        self.is_as_it_came = True
        """Whether the frames hold the call, and nothing else than clients can take."""

    @property
    def is_empty(self) -> bool:
        """Whether it has no arguments so far."""
        return not self.first_input and super().is_empty

    def add(self, piece: object) -> None:
        """Add the ``partial_json`` of a delta, or an input that came at once."""
        if not isinstance(piece, str):
            self.is_as_it_came = False
            piece = msgspec.json.encode(piece).decode() if isinstance(piece, dict) else ""
        if piece:
            self.first_input = ""
            self.pieces.append(piece)


class Blocks:
    """Takes the events of an engine's blocks, and writes frames that a client can follow."""

    def __init__(self, out: FrameWriter, request: MessagesRequest, new_tool_id: Callable[[], str]) -> None:
        self.has_tool_use = False
        self.has_text = False
        self.has_thinking = False
        self.is_cut_off = False
        """Whether a tool use ended in the middle of its input."""
        self._out = out
        self._request = request
        self._tools = DeclaredTools(request.tools or ())
        self._new_tool_id = new_tool_id
        self._used_ids: set[str] | None = None
        self._budget = WorkBudget()
        self._open: _Block | None = None
        self._calls: list[_HeldCall] = []
        self._held_bytes = 0
        self._indexes = count()

    def goes_on(self, delta: DeltaFrame) -> bool:
        """Return whether a delta is simply the next one of the open block, as nearly all are."""
        block = self._open
        if block is None or not delta.index == block.engine_index == block.index:
            return False
        return block.has_content and block.takes(delta.kind)

    def start(self, frame: Frame) -> None:
        """Take the start of a block."""
        fields = object_in(frame.event, "content_block")
        kind = text_in(fields, "type")
        if kind == "tool_use":
            self._start_call(frame)
            return
        if not kind:
            self._out.note("the start of a block without a type was left out")
            return
        self._release_whole_calls()
        empty = _EMPTY_BLOCKS.get(kind)
        text = text_in(fields, kind) if empty else ""
        block = self._resumed(kind, frame)
        if block is None:
            self._close_block(_LEFT_OPEN)
            block = self._open = _Block(kind, next(self._indexes), frame.index)
            changes = {name: value for name, value in (empty or {}).items() if not isinstance(fields.get(name), str)}
            if text:
                changes[kind] = ""
            if kind == "thinking" and (signature := fields.get("signature")):
                changes["signature"], block.signature = "", str(signature)
            self._put_start(frame, block.index, frame.index, kind, changes)
        if text:
            self._put_delta(block, kind, text)
        if text or not empty:
            self._add_content(block)

    def delta(self, frame: Frame) -> None:
        """Take a delta, wherever it belongs."""
        fields = object_in(frame.event, "delta")
        kind = text_in(fields, "type")
        if kind == "input_json_delta" and (call := self._call_of(frame.index)) is not None:
            call.add(fields.get("partial_json"))
            self._hold(call, frame)
            return
        if not kind or not isinstance(fields.get(FIELD_OF_DELTA.get(kind, "type")), str):
            self._out.note("a delta without its text was left out")
            return
        block = self._open
        if block is None or not self._is_of(block, frame) or not block.takes(kind):
            block = self._block_for(frame, fields)
        if block is not None:
            if kind == "signature_delta":
                block.signature = None
            elif fields.get(block.kind):
                self._add_content(block)
            self._put(frame, block.index, frame.index)

    def stop(self, frame: Frame) -> None:
        """Take the end of a block; one that was closed when the next one began has none left."""
        if (call := self._call_of(frame.index)) is not None:
            call.has_ended = True
            self._hold(call, frame)
            return
        block = self._open
        if block is None or not self._is_of(block, frame):
            return
        if block.signature is not None or frame.index != block.index:
            self._close_block()
        else:
            self._open = None
            self._out.put(frame)

    def keep_alive(self) -> None:
        """Add nothing to the open block, or to one that is opened for it."""
        block = self._open or self._open_here("text", None)
        if block.kind in _EMPTY_BLOCKS and block.takes(f"{block.kind}_delta"):
            self._put_delta(block, block.kind, "")

    def end(self, *, has_ended: bool) -> None:
        """Close the last block, and hand all calls on; ``has_ended``: the model ended its answer by itself."""
        self._close_block(_LEFT_OPEN)
        for call in self._calls:
            if not has_ended and call is self._calls[-1] and call.is_empty:
                self._out.note(CUT_BEFORE_ARGUMENTS, call.name)
            else:
                self._release(call, may_repair=has_ended)
        self._calls = []

    # --- calls ----------------------------------------------------------------------------------------------------

    def _start_call(self, frame: Frame) -> None:
        name = text_in(object_in(frame.event, "content_block"), "name")
        name = name if name.strip() else NO_NAME
        call = _HeldCall(name, self._tools.find(name), frame)
        if name == NO_NAME and self._is_more_of_the_last(call):
            return
        self._close_block(_LEFT_OPEN)
        self._release_whole_calls()
        self._calls.append(call)

    def _is_more_of_the_last(self, more: _HeldCall) -> bool:
        """Return whether a tool use without a name is more of the one before, and add it to that."""
        call = self._calls[-1] if self._calls else None
        if call is None or (more.id != call.id and call.progress.is_closed):
            return False
        call.engine_index, call.has_ended, call.is_as_it_came = more.engine_index, False, False
        call.add(more.first_input)
        self._out.note("a tool use came in pieces")
        return True

    def _call_of(self, engine_index: int | None) -> _HeldCall | None:
        """Return the newest call that has this number at the engine, and has not ended."""
        open_calls = (call for call in reversed(self._calls) if not call.has_ended)
        return next((call for call in open_calls if engine_index in (call.engine_index, None)), None)

    def _hold(self, call: _HeldCall, frame: Frame) -> None:
        call.rest.append(frame)
        self._held_bytes += 2 * len(frame.data)  # as a frame and as text
        if self._held_bytes > MAX_ARGUMENTS_BYTES:
            raise UpstreamBrokenError(f"The upstream sent more than {MAX_ARGUMENTS_BYTES} bytes of arguments.")

    def _release_whole_calls(self) -> None:
        """Hand calls on up to the first that has not ended: the rest of that one may come after a text."""
        while self._calls and (self._calls[0].has_ended or self._calls[0].is_whole):
            self._close_block(_LEFT_OPEN)
            self._release(self._calls.pop(0), may_repair=True)

    def _release(self, call: _HeldCall, *, may_repair: bool) -> None:
        """Hand a call on; ``may_repair`` says that malformed JSON is the model's own mistake."""
        if call.name == NO_NAME and not call.first_input and not any(call.pieces):
            self._out.note("a tool use without a name and without arguments was left out")
            return
        if call.first_input:
            call.pieces = [call.first_input]
            call.is_as_it_came = False
            self._out.note("input came with the start of its block", call.name)
        if not call.has_ended:
            self._out.note(_LEFT_OPEN)
        text = "".join(call.pieces).strip() or "{}"
        for repaired in call.inputs(self._budget, may_repair=may_repair):
            self.has_tool_use = True
            self.is_cut_off = self.is_cut_off or repaired.is_cut_off
            for note in repaired.notes:
                self._out.note(note, call.name)
            is_as_it_came = call.is_as_it_came and call.has_ended and repaired.text == text
            self._write_call(call, None if is_as_it_came else repaired.text)

    def _write_call(self, call: _HeldCall, repaired: str | None) -> None:
        """Write a call with its repaired input, or as it came."""
        index = next(self._indexes)
        own = {"id": self._unused_id(text_in(call.block, "id")), "name": call.name, "input": {}}
        changes = {name: value for name, value in own.items() if call.block.get(name) != value}
        self._put_start(call.start, index, call.engine_index if repaired is None else None, "tool_use", changes)
        if repaired is not None:
            delta = {"type": "input_json_delta", "partial_json": repaired}
            self._out.put_event("content_block_delta", index=index, delta=delta)
            self._out.put_event("content_block_stop", index=index)
            return
        for frame in call.rest:
            self._put(frame, index, frame.index)

    def _unused_id(self, tool_id: str) -> str:
        """Return the engine's id, or a new one: clients drop a second call with an id that the conversation has."""
        if self._used_ids is None:  # few answers call tools
            contents = (message.content for message in self._request.messages if not isinstance(message.content, str))
            self._used_ids = {block.id for content in contents for block in content if isinstance(block, ToolUseBlock)}
        own = tool_id if tool_id and tool_id not in self._used_ids else self._new_tool_id()
        self._used_ids.add(own)
        return own

    # --- other blocks -----------------------------------------------------------------------------------------------

    def _put(self, frame: Frame, index: int, engine_index: int | None, **changes: object) -> None:
        """Put a frame of a block, under the client's number of that."""
        self._out.put(frame, **({} if engine_index == index else {"index": index}), **changes)

    def _put_start(self, frame: Frame, index: int, engine_index: int | None, kind: str, changes: Fields) -> None:
        """Put the start of a block with some fields changed."""
        if not changes:
            self._put(frame, index, engine_index)
            return
        self._out.note(f"the start of a {kind} block: {', '.join(changes)}")
        self._put(frame, index, engine_index, content_block=object_in(frame.event, "content_block") | changes)

    def _put_delta(self, block: _Block, kind: str, text: object) -> None:
        self._out.put_event("content_block_delta", index=block.index, delta={"type": f"{kind}_delta", kind: text})

    def _close_block(self, repair: str = "") -> None:
        """Close the block that is open, if one is."""
        block, self._open = self._open, None
        if block is None:
            return
        if block.signature is not None:
            self._put_delta(block, "signature", block.signature)
            if block.signature == UNSIGNED:
                self._out.note("a thinking block had no signature")
        if repair and block.engine_index is not None:
            self._out.note(repair)
        self._out.put_event("content_block_stop", index=block.index)

    def _add_content(self, block: _Block) -> None:
        block.has_content = True
        self.has_thinking |= block.kind == "thinking"
        self.has_text |= block.kind != "thinking"

    def _is_of(self, block: _Block, frame: Frame) -> bool:
        """Return whether a frame is of the engine's block that is open; one without a number is."""
        return block.engine_index is not None and frame.index in (block.engine_index, None)

    def _resumed(self, kind: str, frame: Frame) -> _Block | None:
        """Return the block that kept the connection alive, if one of this type continues it."""
        block = self._open
        if block is None or block.engine_index is not None or block.kind != kind:
            return None
        block.engine_index = frame.index
        return block

    def _open_here(self, kind: str, engine_index: int | None) -> _Block:
        self._close_block()
        block = self._open = _Block(kind, next(self._indexes), engine_index)
        self._out.put_event("content_block_start", index=block.index, content_block=_EMPTY_BLOCKS[kind])
        return block

    def _block_for(self, frame: Frame, delta: Fields) -> _Block | None:
        """Return a block for a delta that does not belong to the open one; None if nothing is to come of it."""
        delta_kind = text_in(delta, "type")
        kind = _BLOCK_OF_DELTA.get(delta_kind, "")
        if kind not in _EMPTY_BLOCKS or not text_in(delta, kind).strip():
            # Arguments of no call, a signature behind the end of its block (llama.cpp), line ends between two tool
            # calls (SGLang).
            return None
        self._out.note(f"a {delta_kind} came outside of its block")
        self._release_whole_calls()
        return self._resumed(kind, frame) or self._open_here(kind, frame.index)
