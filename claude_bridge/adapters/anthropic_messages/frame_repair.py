"""What each event must hold at least: fields that an engine left out or got wrong are put right, all others kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec
from msgspec import UNSET, Raw

from claude_bridge.adapters.anthropic_messages.frames import COUNTS, Counts, is_count
from claude_bridge.conversion.deltas import FinishReason
from claude_bridge.conversion.ending import convert_finish_reason, parse_finish
from claude_bridge.conversion.response.pipeline import ResponseContext
from claude_bridge.wire.anthropic import MessagesRequest, StopReason, ToolUseBlock
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
    """Return the fields of a message that have to change, so that a client can read it and is told what it asked."""
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
    given = usage if isinstance(usage, dict) else {}
    changes = {name: counts.due(name) for name in needed if not is_count(given.get(name))}
    if is_count(given.get("input_tokens")) and counts.due("input_tokens") < given["input_tokens"]:
        changes["input_tokens"] = counts.due("input_tokens")  # the engine had counted cached tokens there too
    return given | changes if changes else None


_NATURAL_ENDS = frozenset({"end_turn", "tool_use", "stop_sequence", "pause_turn"})


def is_natural_end(reason: str) -> bool:
    """Return whether the model ended its answer by itself; a word that is not known proves nothing."""
    return _in_anthropic_words(reason) in _NATURAL_ENDS


def _in_anthropic_words(reason: str) -> str:
    """Return a finish reason of Chat Completions, which some engines hand on, as the API has it; others stay."""
    finish = None if reason in get_args(StopReason) else parse_finish(reason)
    if finish is None or finish.reason in (FinishReason.UNKNOWN, FinishReason.BROKEN, FinishReason.MALFORMED_CALL):
        return reason
    is_call = finish.reason is FinishReason.TOOL_CALLS
    return convert_finish_reason(finish, has_tool_use=is_call, window_full=False)


def repaired_stop_reason(reason: str, *, has_tool_use: bool, window_full: bool, is_cut_off: bool = False) -> str:
    """Return why the answer ended, in Anthropic's words and as its blocks say.

    A reason is a claim: with ``is_cut_off``, a call that ends in the middle of its input, it was a limit.
    """
    reason = _in_anthropic_words(reason)
    if is_cut_off and reason in _NATURAL_ENDS:
        reason = "max_tokens"
    if reason == "end_turn" and has_tool_use:
        return "tool_use"
    if reason == "tool_use" and not has_tool_use:
        return "end_turn"
    if reason == "max_tokens" and window_full:
        return "model_context_window_exceeded"
    return reason


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


def repaired_block(block: Mapping[str, Raw], kind: str, unused_id: Callable[[str], str]) -> Fields:
    """Return the fields of a block's start that have to change; ``unused_id`` gives a tool use an id of its own."""
    changes: Fields = {}
    for name, value in (empty_block(kind) or {}).items():
        if not isinstance(plain(block.get(name)), str):
            changes[name] = value
    if kind == "tool_use":
        given = plain(block.get("id"))
        own = unused_id(given if isinstance(given, str) else "")
        if own != given:
            changes["id"] = own
        if plain(block.get("input")) != {}:
            changes["input"] = {}
    return changes


class UniqueToolIds:
    """An id for each tool use that no other one of the conversation has: clients drop a second call with the same."""

    def __init__(self, request: MessagesRequest, new_id: Callable[[], str]) -> None:
        self._request = request
        self._new_id = new_id
        self._used: set[str] | None = None

    def unused(self, given: str) -> str:
        """Return the given id, or a new one where it is empty or was used before."""
        if self._used is None:  # few answers call tools
            contents = (message.content for message in self._request.messages if not isinstance(message.content, str))
            self._used = {block.id for content in contents for block in content if isinstance(block, ToolUseBlock)}
        own = given if given and given not in self._used else self._new_id()
        self._used.add(own)
        return own
