"""How an answer is read: the events of a stream, or one whole response, become deltas.

Servers of this API agree on the types of events and on little else, so that nothing but ``type`` is relied on: ids and
indices may be missing or change, beginnings and ends of items may be left out, and the final response may hold what no
event said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from claude_bridge.adapters.openai_responses.output import (
    CALL,
    MESSAGE,
    REASONING,
    SEARCH,
    Output,
    PartKind,
    ReceivedItem,
    part_texts,
    read_search,
    reasoning_item,
)
from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    FinishReason,
    OpaqueReasoning,
    TextDelta,
    TextStart,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    UrlCitation,
    UsageReport,
)
from claude_bridge.conversion.ending import parse_finish
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.pricing import charged_usd
from claude_bridge.conversion.prompt.token_estimate import token_count
from claude_bridge.conversion.tool_calls.index import NO_NAME
from claude_bridge.conversion.tool_json.text import arguments_text, is_json
from claude_bridge.conversion.upstream_errors.translate import explain_error_object, explain_no_object
from claude_bridge.errors import BridgeError
from claude_bridge.wire import responses
from claude_bridge.wire.lenient_json import as_object, list_in, parse_any, read_or_none, text_in
from claude_bridge.wire.openai import CompletionTokensDetails, PromptTokensDetails
from claude_bridge.wire.sse import SSE_BEGINNINGS, CharacterCutter, SseFrame, read_frames

_DONE = b"[DONE]"

_TEXTS: dict[str, tuple[str, PartKind]] = {
    # OpenAI's own names, and that of the open specification for "reasoning_text" (openresponses.org)
    "response.output_text": (MESSAGE, PartKind.TEXT),
    "response.refusal": (MESSAGE, PartKind.REFUSAL),
    "response.reasoning_summary_text": (REASONING, PartKind.SUMMARY),
    "response.reasoning_text": (REASONING, PartKind.THOUGHT),
    "response.reasoning": (REASONING, PartKind.THOUGHT),
}
"""Events that come as ``.delta`` and ``.done``: of which items they are, and of which of their parts."""

_ENDINGS = {
    "response.completed": "completed",
    "response.done": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}


class ResponsesStreamDecoder:
    """Reads the events of one answer, or one whole response from an engine that does not stream.

    Text and thoughts go on at once, a call when its item is done. A stream without its last event has no Finish.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._reader = CharacterCutter(SSE_BEGINNINGS)
        self._output = Output()
        self._gave_calls = 0
        self._has_refused = False
        self._is_thinking = False
        """Whether the last text was thinking, which the next one continues."""
        self._transformations: Sequence[responses.InputTransformation] = ()
        self.done = False

    @property
    def finished(self) -> bool:
        """Whether the last event has come."""
        return self.done

    def feed(self, data: bytes) -> list[Delta]:
        """Return the deltas that ``data`` completes; raises UpstreamBrokenError beyond MAX_FRAME_BYTES."""
        return [delta for frame in read_frames(self._reader.feed(data)) for delta in self._frame(frame)]

    def close(self) -> list[Delta]:
        """Return what the end of the bytes completes; without the last event there is no Finish."""
        if self._reader.document is not None:
            return self._document(bytes(self._reader.document))
        # What is no JSON was cut off inside.
        frames = read_frames(self._reader.close())
        return [delta for frame in frames if is_json(frame.data) for delta in self._frame(frame)]

    def _frame(self, frame: SseFrame) -> list[Delta]:
        payload = frame.data.strip()
        if self.done or not payload or payload == _DONE:
            return []
        event = read_or_none(responses.parse_event, payload)
        if event is None:
            return self._fail(explain_no_object(payload, self._upstream))
        name, _, step = event.type.rpartition(".")
        if name in _TEXTS:
            return self._text_event(event, *_TEXTS[name], is_done=step == "done")
        match event.type:
            case "response.output_item.added" | "response.output_item.done":
                return self._item_event(event)
            case "response.output_text.annotation.added":
                item = self._output.find(MESSAGE, event.item_id, event.output_index)
                return _citations(item, [event.annotation])
            case "response.function_call_arguments.delta":
                item = self._output.find(CALL, event.item_id, event.output_index)
                self._output.add_arguments(item, event.delta if isinstance(event.delta, str) else "")
                return []
            case "response.function_call_arguments.done":
                item = self._output.find(CALL, event.item_id, event.output_index)
                item.name = item.name or event.name or ""
                is_whole = item.offer_arguments(arguments_text(event.arguments))
                item.is_done = item.is_done or bool(item.name and is_whole)
                return self._calls()
            case kind if kind in _ENDINGS:
                return self._end(event.response or responses.ResponseObject(), _ENDINGS[kind])
            case _ if event.type == "error" or frame.event == b"error" or (not event.type and event.error):
                return self._error(event, payload)
        if event.response is not None:
            self._transformations = event.response.input_transformations or self._transformations
        return []

    def _document(self, document: bytes) -> list[Delta]:
        response = read_or_none(responses.parse_response, document)
        if response is None:
            return self._fail(explain_no_object(document, self._upstream))
        if response.output is None:
            return self._fail(explain_error_object(response.error or parse_any(document), self._upstream))
        return self._end(response, "completed")

    def _error(self, event: responses.Event, payload: bytes) -> list[Delta]:
        error = event.error or {name: value for name, value in parse_any(payload).items() if name != "type"}
        return self._fail(explain_error_object(error, self._upstream))

    def _fail(self, error: BridgeError) -> list[Delta]:
        self.done = True
        return [Failure(error)]

    # --- texts and thoughts ---------------------------------------------------------------------------------------

    def _text_event(self, event: responses.Event, kind: str, part: PartKind, *, is_done: bool) -> list[Delta]:
        item = self._output.find(kind, event.item_id, event.output_index)
        number = event.summary_index if part is PartKind.SUMMARY else event.content_index
        if is_done:
            return self._fill(item, part, number, event.refusal if part is PartKind.REFUSAL else event.text)
        return self._words(item, part, number, event.delta) if isinstance(event.delta, str) else []

    def _fill(self, item: ReceivedItem, part: PartKind, number: int | None, whole: str | None) -> list[Delta]:
        """Return what of a whole text no delta gave."""
        rest = item.missing(part, number, whole or "")
        return self._words(item, part, number, rest)

    def _words(self, item: ReceivedItem, part: PartKind, number: int | None, words: str) -> list[Delta]:
        """Return more words of a part. A thought is given once, as a summary or in full, whichever comes first."""
        begins = item.add(part, number, words) if words else None
        if begins is None:
            return []
        calls = self._calls()
        if item.kind == MESSAGE:
            self._is_thinking = False
            self._has_refused |= part is PartKind.REFUSAL
            return [*calls, *([TextStart(item.phase)] if begins else []), TextDelta(words)]
        gap = "\n\n" if begins and self._is_thinking else ""
        self._is_thinking = True
        return [*calls, ThinkingDelta(gap + words)]

    # --- items ----------------------------------------------------------------------------------------------------

    def _item_event(self, event: responses.Event) -> list[Delta]:
        found = _parsed(event.item)
        if found is None:
            return []
        if event.type == "response.output_item.added":
            return self._named(self._output.begun(found, event.output_index), found)
        return self._complete(self._output.ended(found, event.output_index), found, event.item)

    def _named(self, item: ReceivedItem, found: responses.OutputItem) -> list[Delta]:
        item.name = item.name or found.name or ""
        item.phase = item.phase or found.phase or ""
        if item.kind in (MESSAGE, REASONING, CALL, SEARCH) or item.is_done:
            return []
        item.is_done, self._is_thinking = True, False
        return [*self._calls(), TextStart(), TextDelta(f"[{item.kind} omitted]")]  # nobody asked for one

    def _complete(self, item: ReceivedItem, found: responses.OutputItem, raw: Raw) -> list[Delta]:
        """Return what an item holds that no event gave."""
        deltas = self._named(item, found)
        if item.is_done:
            return deltas
        item.is_done = item.kind != CALL or found.status != "incomplete"
        for part, number, whole in part_texts(found):
            deltas += self._fill(item, part, number, whole)
        if item.kind == MESSAGE and isinstance(found.content, list):
            deltas += _citations(
                item, [one for part in found.content for one in list_in(as_object(part), "annotations")]
            )
        if item.kind == CALL:
            item.offer_arguments(arguments_text(found.arguments))
            deltas += self._calls()
        if item.kind == SEARCH:
            self._is_thinking = False
            whole = parse_any(bytes(raw))  # goes back in its place
            search = read_search(whole)
            deltas += [*self._calls(), OpaqueReasoning(item=whole), *([search] if search is not None else [])]
        if item.kind == REASONING:
            sealed = reasoning_item(parse_any(bytes(raw)))
            deltas += [] if sealed is None else [OpaqueReasoning(item=sealed)]
        return deltas

    def _calls(self, *, at_end: bool = False) -> list[Delta]:
        """Return the calls that are done, in the order of their items; at the end all, some of them cut off."""
        deltas: list[Delta] = []
        for call in self._output.next_calls(at_end=at_end):
            if not call.name and not is_json(call.best_arguments):
                deltas.append(Repair("", "pieces of a call without a name were left out"))
                continue
            key, self._gave_calls, self._is_thinking = self._gave_calls, self._gave_calls + 1, False
            deltas.append(ToolCallStart(key, call.name or NO_NAME, call.call_id))
            deltas.append(ToolCallArguments(key, call.best_arguments))
            if call.is_done:
                deltas.append(ToolCallEnd(key))
        return deltas

    # --- the end --------------------------------------------------------------------------------------------------

    def _end(self, response: responses.ResponseObject, ending: str) -> list[Delta]:
        deltas = _notes(response.input_transformations or self._transformations)
        if response.usage is not None:
            deltas.append(_usage(response.usage))
        status = response.status if response.status and response.status in _ENDINGS.values() else ending
        if status in ("failed", "cancelled"):
            error = response.error or {"message": f"the response has the status {status!r}, and gives no reason"}
            return [*deltas, *self._fail(explain_error_object(error, self._upstream))]
        for raw, found in [(raw, _parsed(raw)) for raw in response.output or ()]:
            if found is not None:
                deltas += self._complete(self._output.in_final(found), found, raw)
        deltas += self._calls(at_end=True)
        self.done = True
        return [*deltas, self._finish(response, status)]

    def _finish(self, response: responses.ResponseObject, status: str) -> Finish:
        if status == "incomplete":
            reason = (response.incomplete_details.reason if response.incomplete_details else None) or status
            return parse_finish(reason) or Finish(FinishReason.UNKNOWN, word=reason)
        if self._has_refused:
            return Finish(FinishReason.REFUSAL)
        return Finish(FinishReason.TOOL_CALLS if self._gave_calls else FinishReason.STOP)


def _citations(item: ReceivedItem, annotations: Sequence[Any]) -> list[Delta]:
    """Return the pages that the text of a message names, each once."""
    deltas: list[Delta] = []
    for one in annotations:
        url = one.get("url") if isinstance(one, dict) and one.get("type") == "url_citation" else None
        if isinstance(url, str) and url and url not in item.cited:
            item.cited.add(url)
            deltas.append(UrlCitation(url, text_in(one, "title")))
    return deltas


def _parsed(raw: Raw) -> responses.OutputItem | None:
    found = read_or_none(responses.parse_item, raw)
    return found if found is not None and found.type else None


def _notes(transformations: Sequence[responses.InputTransformation]) -> list[Delta]:
    """Return a note on the thoughts that the service did not show to the model; nothing is lost in silence."""
    removed = Counter(one.reason or "no reason given" for one in transformations if one.action == "removed")
    return [
        Repair("", f"the service left out {times} earlier thought{'s' * (times > 1)} ({reason})")
        for reason, times in removed.items()
    ]


def _usage(usage: responses.ResponsesUsage) -> UsageReport:
    read = usage.input_tokens_details or PromptTokensDetails()
    written = usage.output_tokens_details or CompletionTokensDetails()
    return UsageReport(
        prompt_tokens=token_count(usage.input_tokens),
        cached_tokens=token_count(read.cached_tokens),
        cache_written_tokens=token_count(read.cache_write_tokens),
        output_tokens=token_count(usage.output_tokens),
        thinking_tokens=token_count(written.reasoning_tokens),
        cost_usd=charged_usd(usage.cost, usage.cost_in_usd_ticks),
    )
