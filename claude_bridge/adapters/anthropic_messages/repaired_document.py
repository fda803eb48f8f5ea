"""RepairedDocument: a whole answer of an engine, handed on as it came but for what would break a client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from claude_bridge.adapters.anthropic_messages.blocks import input_text, name_of
from claude_bridge.adapters.anthropic_messages.frame_repair import (
    UniqueToolIds,
    empty_delta,
    parse_reason,
    plain,
    repaired_block,
    repaired_call,
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
from claude_bridge.conversion.deltas import Finish, FinishReason
from claude_bridge.conversion.ending import cut_off, ended_by_itself, explain_missing, finish_note
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.profile import MessagesProfile
from claude_bridge.conversion.response.pipeline import ResponseContext
from claude_bridge.conversion.tool_calls.buffer import GatheredCall
from claude_bridge.conversion.tool_json.schema_check import WorkBudget
from claude_bridge.conversion.tool_json.text import input_json
from claude_bridge.conversion.tool_names import DeclaredTools
from claude_bridge.conversion.upstream_errors.translate import explain_no_json
from claude_bridge.errors import BridgeError, UpstreamBrokenError
from claude_bridge.wire.anthropic import MessagesRequest
from claude_bridge.wire.anthropic_answers import RawBytes, ResponseItem


class RepairedDocument(PassthroughDocument):
    """One answer on its way; see Response."""

    def __init__(
        self, request: MessagesRequest, profile: MessagesProfile, context: ResponseContext, upstream: str
    ) -> None:
        counts = Counts(prompt_tokens=context.prompt_tokens, input_includes_cached=profile.input_includes_cached)
        super().__init__(context, upstream, counts)
        self.repairs: list[Repair] = []
        self._request = request
        self._ids = UniqueToolIds(request, context.new_tool_id)
        self._tools = DeclaredTools(request.tools or ())
        self._budget = WorkBudget()

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
        self._counts.take(value.get("usage"))
        finish = parse_reason(value.get("stop_reason"), self.usage.output_tokens, self._request.max_tokens)
        if finish.reason is FinishReason.BROKEN:
            words = f"{self._upstream} broke off its answer (stop reason: {value['stop_reason']})."
            self.fail(UpstreamBrokenError(words))
            return ()
        changes, error = self._changes(fields, finish)
        if error is not None:
            self.fail(error)
            return ()
        self.done = True
        if note := finish_note(finish):
            self.repairs.append(Repair("", note))
        self.message_id = str(parse_object(msgspec.json.encode(changes)).get("id") or value.get("id"))
        self.repairs += [Repair("", f"the answer: {name}") for name in changes]
        return [RawBytes(msgspec.json.encode({**fields, **changes}) if changes else document)]

    def _changes(self, fields: Mapping[str, Raw], finish: Finish) -> tuple[dict[str, Any], BridgeError | None]:
        """Return the fields that have to change; or the error where what the end speaks of did not come."""
        changes = repaired_message(fields, self._counts, self._context, self._request.model)
        kinds: set[str] = set()
        blocks: list[Any] = []
        is_changed = False
        for raw in _items(fields.get("content")):
            block = raw_fields(raw)
            kind = str(plain(block.get("type")) or "")
            if kind == "tool_use":
                repaired, is_cut_off = self._calls_in(block, may_repair=ended_by_itself(finish))
                finish = cut_off(finish) if is_cut_off else finish
            else:
                repaired = [block | repaired_block(block, kind)]
            if repaired and (plain(block.get(kind)) or empty_delta(kind) is None or kind == "tool_use"):
                kinds.add(kind)
            is_changed = is_changed or repaired != [block]
            blocks += [raw] if repaired == [block] else repaired
        if is_changed:
            changes["content"] = blocks
        usage, reason = self.usage, plain(fields.get("stop_reason"))
        if "tool_use" not in kinds:
            has_text, has_thinking = bool(kinds - {"thinking"}), "thinking" in kinds
            error = explain_missing(finish, usage, has_text=has_text, has_thinking=has_thinking)
            if error is not None:
                return {}, error
        window_full = self._context.is_window_full(usage)
        own_reason = repaired_stop_reason(reason, finish, has_tool_use="tool_use" in kinds, window_full=window_full)
        return changes if own_reason == reason else changes | {"stop_reason": own_reason}, None

    def _calls_in(self, block: dict[str, Raw], *, may_repair: bool) -> tuple[list[dict[str, Any]], bool]:
        """Return the calls that a tool use means, and whether one of them was cut off."""
        name = name_of(block)
        call = GatheredCall(name, self._tools.find(name))
        call.pieces.append(input_text(block.get("input")))
        calls: list[dict[str, Any]] = []
        is_cut_off = False
        for repaired in call.inputs(self._budget, may_repair=may_repair):
            self.repairs += [Repair(call.name, note) for note in repaired.notes]
            is_cut_off = is_cut_off or repaired.is_cut_off
            changes = repaired_call(block, call.name, self._ids.unused)
            if repaired.text.encode() != bytes(block.get("input", b"")):
                changes["input"] = Raw(input_json(repaired.text).encode())
            calls.append(block | changes)
        return calls, is_cut_off


def _items(raw: Raw | None) -> list[Raw]:
    try:
        return [] if raw is None else msgspec.json.decode(raw, type=list[Raw])
    except msgspec.DecodeError:
        return []
