"""RepairedDocument: a whole answer of an engine, handed on as it came but for what would break a client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from claude_bridge.adapters.anthropic_messages.frame_repair import (
    UniqueToolIds,
    plain,
    repaired_block,
    repaired_message,
    repaired_stop_reason,
)
from claude_bridge.adapters.anthropic_messages.frames import (
    NO_TEXT,
    Counts,
    as_text,
    error_in,
    explain_error_event,
    is_text,
    parse_object,
    raw_fields,
)
from claude_bridge.adapters.anthropic_messages.passthrough import PassthroughDocument
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.profile import MessagesProfile
from claude_bridge.conversion.response.pipeline import ResponseContext
from claude_bridge.conversion.tool_json.text import input_json
from claude_bridge.conversion.upstream_errors.translate import explain_no_json
from claude_bridge.errors import UpstreamBrokenError
from claude_bridge.wire.anthropic import MessagesRequest, RawBytes, ResponseItem


class RepairedDocument(PassthroughDocument):
    """One answer on its way; see Response."""

    def __init__(
        self, request: MessagesRequest, profile: MessagesProfile, context: ResponseContext, upstream: str
    ) -> None:
        super().__init__(context, upstream)
        self.repairs: list[Repair] = []
        self._counts = Counts(prompt_tokens=context.prompt_tokens, input_includes_cached=profile.input_includes_cached)
        self._request = request
        self._context = context
        self._ids = UniqueToolIds(request, context.new_tool_id)

    def close(self) -> Sequence[ResponseItem]:
        """Return the document, repaired; what is no message becomes the error."""
        if self.done:
            return ()
        document = bytes(self._document)
        if not is_text(document):
            document = as_text(document)
            self.repairs.append(Repair("", NO_TEXT))
        fields = raw_fields(document)
        value = parse_object(document)
        is_message = "content" in value or "stop_reason" in value
        error = value.get("error") if is_message else error_in(value)
        if error:
            self.fail(explain_error_event(error, self._upstream))
        elif not value:
            self.fail(explain_no_json(document, self._upstream))
        elif not is_message:
            self.fail(UpstreamBrokenError(f"{self._upstream} does not answer in the words of the Messages API."))
        if self.done:
            return ()
        self.done = True
        self._counts.take(value.get("usage"))
        changes = self._changes(fields)
        self.message_id = str(parse_object(msgspec.json.encode(changes)).get("id") or value.get("id"))
        self.repairs += [Repair("", f"the answer: {name}") for name in changes]
        return [RawBytes(msgspec.json.encode({**fields, **changes}) if changes else document)]

    def _changes(self, fields: Mapping[str, Raw]) -> dict[str, Any]:
        changes = repaired_message(fields, self._counts, self._context, self._request.model)
        has_tool_use = False
        blocks: list[Any] = []
        for raw in _items(fields.get("content")):
            block = raw_fields(raw)
            kind = str(plain(block.get("type")) or "")
            if kind == "tool_use" and not plain(block.get("name")):
                changes["content"] = blocks  # no client can run it
                continue
            changed = repaired_block(block, kind, self._ids.unused)
            if kind == "tool_use":
                has_tool_use = True
                changed.pop("input", None)
                changed |= _repaired_input(block.get("input"))
            blocks.append({**block, **changed} if changed else raw)
            if changed:
                changes["content"] = blocks
        told = plain(fields.get("stop_reason"))
        usage = self.usage
        window = self._context.window_tokens
        total = (usage.prompt_tokens or 0) + (usage.output_tokens or 0)
        reason = repaired_stop_reason(
            told if isinstance(told, str) else "stop",
            has_tool_use=has_tool_use,
            window_full=window is not None and total >= window,
        )
        return changes if reason == told else changes | {"stop_reason": reason}


def _items(raw: Raw | None) -> list[Raw]:
    try:
        return [] if raw is None else msgspec.json.decode(raw, type=list[Raw])
    except msgspec.DecodeError:
        return []


def _repaired_input(raw: Raw | None) -> dict[str, Any]:
    """Return the input that a call has to have: an object, perhaps from JSON that came as text."""
    value = plain(raw)
    if isinstance(value, dict):
        return {}
    text = value if isinstance(value, str) else bytes(raw or b"").decode("utf-8", "replace")
    return {"input": Raw(input_json("" if text == "null" else text).encode())}
