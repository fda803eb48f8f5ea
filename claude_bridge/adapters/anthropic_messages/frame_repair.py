"""What each event must hold at least: fields that an engine left out or got wrong are put right, all others kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import replace

from claude_bridge.adapters.anthropic_messages.frames import COUNTS, Counts, is_count
from claude_bridge.conversion.deltas import Finish, FinishReason
from claude_bridge.conversion.ending import convert_finish_reason, ended_by_itself, parse_finish
from claude_bridge.conversion.response.pipeline import ResponseContext
from claude_bridge.wire.anthropic import MessagesRequest, ToolUseBlock
from claude_bridge.wire.sse import encode_frame, one_line

Fields = dict[str, Any]
"""A JSON object whose values are plain, or Raw where they are as the engine wrote them."""


def event_frame(kind: str, **fields: object) -> bytes:
    """Return one event as a frame."""
    return encode_frame(kind.encode(), msgspec.json.encode({"type": kind, **fields}))


def edited_frame(fields: Mapping[str, Any], **changes: object) -> bytes:
    """Return a frame for an event with some of its fields changed."""
    changed = {**fields, **changes}
    kind = changed["type"]
    name = msgspec.json.decode(kind) if isinstance(kind, Raw) else kind
    return encode_frame(str(name).encode(), one_line(msgspec.json.encode(changed)))


def plain(raw: Raw | None) -> Any:  # noqa: ANN401 - any JSON
    """Return the value of a field; None for one that is missing or can't be read."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None


def repaired_message(message: Mapping[str, Raw], counts: Counts, context: ResponseContext, model: str) -> Fields:
    """Return the fields of a message that have to change, so that a client can read it and finds what it requested."""
    changes: Fields = {} if context.diagnostics is UNSET else {"diagnostics": context.diagnostics}
    for name, wanted in (("type", "message"), ("role", "assistant")):
        if plain(message.get(name)) != wanted:
            changes[name] = wanted
    for name, instead in (("id", context.message_id), ("model", model)):
        if not isinstance(plain(message.get(name)), str):
            changes[name] = instead
    if not isinstance(plain(message.get("content")), list):
        changes["content"] = []
    changes |= {name: None for name in ("stop_reason", "stop_sequence") if name not in message}
    usage = repaired_usage(message.get("usage"), counts, COUNTS)
    return changes if usage is None else changes | {"usage": usage}


def repaired_usage(usage: object, counts: Counts, needed: tuple[str, ...]) -> Fields | None:
    """Return the usage object with the figures that are ``needed``, or None if it is well as it is."""
    usage = plain(usage) if isinstance(usage, Raw) else usage
    reported = usage if isinstance(usage, dict) else {}
    changes = {name: counts.due(name) for name in needed if not is_count(reported.get(name))}
    if is_count(reported.get("input_tokens")) and counts.due("input_tokens") < reported["input_tokens"]:
        changes["input_tokens"] = counts.due("input_tokens")  # the engine had counted cached tokens there too
    return reported | changes if changes else None


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
_EMPTY_DELTAS: dict[str, Fields] = {
    "text": {"type": "text_delta", "text": ""},
    "thinking": {"type": "thinking_delta", "thinking": ""},
    "tool_use": {"type": "input_json_delta", "partial_json": ""},
}
_EMPTY_BLOCKS: dict[str, Fields] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


def block_of_delta(delta_kind: str | None, open_kind: str | None = None) -> str | None:
    """Return the type of block that a delta belongs to; to a block of an unknown type any delta may belong."""
    if open_kind is not None and open_kind not in _EMPTY_DELTAS:
        return open_kind
    return _BLOCK_OF_DELTA.get(delta_kind or "", open_kind)


def empty_delta(kind: str) -> Fields | None:
    """Return a delta that adds nothing to a block of this type, or None where that is not known."""
    return _EMPTY_DELTAS.get(kind)


def empty_block(kind: str) -> Fields | None:
    """Return how a block of this type starts, or None for one that can't be opened without more."""
    return _EMPTY_BLOCKS.get(kind)


def repaired_block(block: Mapping[str, Raw], kind: str) -> Fields:
    """Return the fields of a block's start that have to change."""
    empty = empty_block(kind) or {}
    return {name: value for name, value in empty.items() if not isinstance(plain(block.get(name)), str)}


def repaired_call(block: Mapping[str, Raw], name: str, unused_id: Callable[[str], str]) -> Fields:
    """Return the id and the name of a tool use, as far as they have to change; ``unused_id`` gives it its own id."""
    raw_id = plain(block.get("id"))
    own_id = unused_id(raw_id if isinstance(raw_id, str) else "")
    changes = {"id": own_id, "name": name}
    return {field: value for field, value in changes.items() if plain(block.get(field)) != value}


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
