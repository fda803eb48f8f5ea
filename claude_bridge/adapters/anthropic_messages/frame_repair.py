"""What each event must hold at least: fields that an engine left out or got wrong are put right, all others kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import UNSET
from msgspec.structs import replace

from claude_bridge.adapters.anthropic_messages.frame_writer import Fields, object_in, text_in
from claude_bridge.adapters.anthropic_messages.frames import is_count
from claude_bridge.conversion.deltas import Finish, FinishReason
from claude_bridge.conversion.ending import convert_finish_reason, ended_by_itself, parse_finish
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.wire.anthropic import MessagesRequest, ToolUseBlock
from claude_bridge.wire.anthropic_answers import Usage


def repaired_message(message: Fields, usage: Fields, context: ResponseContext, model: str) -> Fields:
    """Return the fields of a message that have to change, so that a client can read it and finds what it requested.

    ``usage`` is what repaired_usage returns for it.
    """
    changes: Fields = {} if context.diagnostics is UNSET else {"diagnostics": context.diagnostics}
    for name, wanted in (("type", "message"), ("role", "assistant")):
        if message.get(name) != wanted:
            changes[name] = wanted
    for name, instead in (("id", context.message_id), ("model", model)):
        if not isinstance(message.get(name), str):
            changes[name] = instead
    if not isinstance(message.get("content"), list):
        changes["content"] = []
    changes |= {name: None for name in ("stop_reason", "stop_sequence") if name not in message}
    return changes | usage


def repaired_usage(holder: Fields, due: Usage, needed: Sequence[str], *, lowers_input: bool) -> Fields:
    """Return the usage of an event or a message with the figures that are ``needed``, if it has to change.

    ``lowers_input`` says that the engine counts cached tokens among its input too.
    """
    reported = object_in(holder, "usage")
    names = [name for name in needed if not is_count(reported.get(name))]
    if lowers_input and is_count(reported.get("input_tokens")) and reported["input_tokens"] > due.input_tokens:
        names.append("input_tokens")
    changes = {name: getattr(due, name) for name in names}
    return {"usage": reported | changes} if changes else {}


_KEPT_REASONS = ("stop_sequence", "pause_turn")
"""Of Anthropic's own words those that say more than that a turn ended."""


def parse_reason(reason: object, output_tokens: int | None, max_tokens: int) -> Finish:
    """Return what a stop reason means: Anthropic's, or a finish reason of Chat Completions that some engines hand on.

    ``output_tokens`` are those of the answer, ``max_tokens`` is its limit.
    """
    finish = parse_finish(reason) if isinstance(reason, str) else None
    return replace(finish or Finish(FinishReason.UNKNOWN), at_limit=(output_tokens or 0) >= max_tokens)


def repaired_stop_reason(reason: object, finish: Finish, *, has_tool_use: bool, window_full: bool) -> str:
    """Return why the answer ended, in Anthropic's words and as its blocks say."""
    is_new = finish.reason is FinishReason.UNKNOWN and not has_tool_use
    if isinstance(reason, str) and (is_new or (reason in _KEPT_REASONS and ended_by_itself(finish))):
        return reason
    return convert_finish_reason(finish, has_tool_use=has_tool_use, window_full=window_full)


_BLOCK_OF_DELTA = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": "tool_use",
}
EMPTY_DELTAS: Mapping[str, Fields] = {
    "text": {"type": "text_delta", "text": ""},
    "thinking": {"type": "thinking_delta", "thinking": ""},
    "tool_use": {"type": "input_json_delta", "partial_json": ""},
}
EMPTY_BLOCKS: Mapping[str, Fields] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


def block_of_delta(delta_kind: str, open_kind: str | None = None) -> str | None:
    """Return the type of block that a delta belongs to; to a block of an unknown type any delta may belong."""
    if open_kind is not None and open_kind not in EMPTY_DELTAS:
        return open_kind
    return _BLOCK_OF_DELTA.get(delta_kind, open_kind)


def repaired_block(block: Fields, kind: str) -> Fields:
    """Return the fields of a block's start that have to change."""
    empty = EMPTY_BLOCKS.get(kind, {})
    return {name: value for name, value in empty.items() if not isinstance(block.get(name), str)}


def repaired_call(block: Fields, name: str, unused_id: Callable[[str], str]) -> Fields:
    """Return the id and the name of a tool use, as far as they have to change; ``unused_id`` gives it its own id."""
    changes = {"id": unused_id(text_in(block, "id")), "name": name}
    return {field: value for field, value in changes.items() if block.get(field) != value}


class UniqueToolIds:
    """An id for each tool use that no other one of the conversation has: clients drop a second call with the same."""

    def __init__(self, request: MessagesRequest, new_id: Callable[[], str]) -> None:
        self._request = request
        self._new_id = new_id
        self._used: set[str] | None = None

    def unused(self, tool_id: str) -> str:
        """Return the engine's id, or a new one where it is empty or was used before."""
        if self._used is None:  # few answers call tools
            contents = (message.content for message in self._request.messages if not isinstance(message.content, str))
            self._used = {block.id for content in contents for block in content if isinstance(block, ToolUseBlock)}
        own = tool_id if tool_id and tool_id not in self._used else self._new_id()
        self._used.add(own)
        return own
