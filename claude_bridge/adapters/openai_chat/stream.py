"""How an answer is read: the bytes of a stream, or of one JSON response, become deltas."""

from __future__ import annotations

from typing import Any

import msgspec

from claude_bridge.adapters.openai_chat.usage import convert_usage_report
from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    FinishReason,
    OpaqueReasoning,
    TextDelta,
    ThinkingDelta,
)
from claude_bridge.conversion.tool_calls.index import CallKeys
from claude_bridge.conversion.tool_json.text import arguments_text, is_json
from claude_bridge.conversion.upstream_errors.translate import explain_error_object, explain_no_json
from claude_bridge.errors import BridgeError, UpstreamBrokenError
from claude_bridge.wire import openai
from claude_bridge.wire.lenient_json import parse_any
from claude_bridge.wire.sse import MAX_FRAME_BYTES, SseDecoder, SseFrame

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.REFUSAL,
    "refusal": FinishReason.REFUSAL,
}


_BREAKDOWNS = ("error", "abort", "insufficient_system_resource")
"""Finish reasons of OpenRouter, of SGLang and vLLM, and of DeepSeek, when an answer could not be finished."""

_DONE = b"[DONE]"

_SSE_BEGINNINGS = (b"d", b"e", b"i", b"r", b":", b"\xef")
"""What a stream can begin with: data, event, id, retry, a comment or a byte order mark. All else is a document."""


class ChatStreamDecoder:
    """Reads a stream of chunks, or one JSON response from an engine that does not stream.

    The Finish comes last, when the engine has said its last word: some go on after their finish reason.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._sse = SseDecoder()
        self._document: bytearray | None = None
        self._started = False
        self._answered = False
        self._finish: Finish | None = None
        self._calls = CallKeys()
        self._has_reasoning_field = False
        self.done = False

    @property
    def finished(self) -> bool:
        """Whether a finish reason has come."""
        return self._finish is not None

    def feed(self, data: bytes) -> list[Delta]:
        """Return the deltas that ``data`` completes; raises UpstreamBrokenError beyond MAX_FRAME_BYTES."""
        if self.done or not data:
            return []
        if not self._started:
            first = data.lstrip()[:1]
            if not first:
                return []
            self._started = True
            if first not in _SSE_BEGINNINGS:
                self._document = bytearray()
        if self._document is not None:
            self._document += data
            if len(self._document) > MAX_FRAME_BYTES:
                raise UpstreamBrokenError(f"The upstream sent one document of more than {MAX_FRAME_BYTES} bytes.")
            return []
        out: list[Delta] = []
        for frame in self._sse.feed(data):
            self._take_frame(frame, out)
        return out

    def close(self) -> list[Delta]:
        """Return what the end of the bytes completes; without a finish reason there is no Finish."""
        out: list[Delta] = []
        if self.done:
            return out
        if self._document is not None:
            self._take_document(bytes(self._document), out)
        else:
            for frame in self._sse.close():
                if is_json(frame.data) or frame.data.strip() == _DONE:  # else the connection was cut inside it
                    self._take_frame(frame, out)
        if self._finish is not None:
            self._end(self._finish, out)
        return out

    def _take_frame(self, frame: SseFrame, out: list[Delta]) -> None:
        payload = frame.data.strip()
        if self.done or not payload:
            return
        if payload == _DONE:
            if self._answered:
                self._end(self._finish or Finish(FinishReason.STOP), out)
            else:
                self._fail(UpstreamBrokenError(f"{self._upstream} ended its answer before it began."), out)
            return
        try:
            chunk = openai.parse_chunk(payload)
        except msgspec.DecodeError:
            self._fail(_explain_no_object(payload, self._upstream), out)
            return
        if frame.event == b"error" or chunk.object == "error":  # the latter is vLLM's
            self._fail(explain_error_object(chunk.error or parse_any(payload), self._upstream), out)
        else:
            self._take_chunk(chunk, out)

    def _take_document(self, document: bytes, out: list[Delta]) -> None:
        try:
            response = openai.parse_chunk(document)
        except msgspec.DecodeError:
            self._fail(_explain_no_object(document, self._upstream), out)
            return
        if response.choices is None:
            self._fail(explain_error_object(response.error or parse_any(document), self._upstream), out)
            return
        self._take_chunk(response, out)
        if self._answered:
            self._end(self._finish or Finish(FinishReason.STOP), out)

    def _end(self, finish: Finish, out: list[Delta]) -> None:
        if not self.done:
            self.done = True
            out += self._calls.nameless()
            out.append(finish)

    def _fail(self, error: BridgeError, out: list[Delta]) -> None:
        self.done = True
        out.append(Failure(error))

    def _take_chunk(self, chunk: openai.Chunk, out: list[Delta]) -> None:
        error = chunk.error or (chunk.x_groq.error if chunk.x_groq else None)
        if error:
            if chunk.usage is not None:  # OpenRouter: what came so far is paid for
                out.append(convert_usage_report(chunk.usage, None))
            self._fail(explain_error_object(error, self._upstream), out)
            return
        for choice in chunk.choices or ():
            if choice.index:
                continue  # one answer was asked for
            self._answered = True
            if choice.usage is not None:
                out.append(convert_usage_report(choice.usage, None))
            added = choice.delta or choice.message
            if added is not None:
                self._take_delta(added, out)
            elif choice.text:
                out.append(TextDelta(choice.text))
            if choice.error:
                self._fail(explain_error_object(choice.error, self._upstream), out)
                return
            if choice.finish_reason in _BREAKDOWNS:
                words = f"{self._upstream} broke off its answer (finish reason: {choice.finish_reason})."
                self._fail(UpstreamBrokenError(words), out)
                return
            if choice.finish_reason and self._finish is None:
                self._finish = Finish(_FINISH_REASONS.get(choice.finish_reason, FinishReason.STOP))
        if chunk.usage is not None or chunk.timings is not None:
            out.append(convert_usage_report(chunk.usage, chunk.timings))
        elif chunk.x_groq is not None and chunk.x_groq.usage is not None:
            out.append(convert_usage_report(chunk.x_groq.usage, None))

    def _take_delta(self, added: openai.AnswerDelta, out: list[Delta]) -> None:
        content = added.content
        thought = added.reasoning_content or added.reasoning or added.thinking
        if not thought and added.reasoning_details:
            thought = _text_of_parts(added.reasoning_details)
        if thought:
            out.append(ThinkingDelta(thought))
            self._has_reasoning_field = True
        elif not self._has_reasoning_field and _has_reasoning_field(added):
            out.append(ThinkingDelta(""))
            self._has_reasoning_field = True
        if added.reasoning_details:
            out += [OpaqueReasoning(detail) for detail in added.reasoning_details if isinstance(detail, dict)]
        if content:
            if isinstance(content, str):
                out.append(TextDelta(content))
            else:
                out += _deltas_of_parts(content)
        if added.refusal:
            out.append(TextDelta(added.refusal))
        if added.tool_calls:
            for fragment in added.tool_calls:
                self._take_call(fragment, out)
        if added.function_call is not None:
            self._take_call(openai.ToolCallFragment(function=added.function_call), out)

    def _take_call(self, fragment: openai.ToolCallFragment, out: list[Delta]) -> None:
        function = fragment.function or openai.FunctionFragment()
        google = fragment.extra_content.google if fragment.extra_content else None
        if google is not None and google.thought_signature:
            out.append(OpaqueReasoning(call_signature=google.thought_signature))
        arguments = arguments_text(function.arguments)
        self._calls.take(fragment.index, fragment.id or "", function.name or "", arguments, out)


def _has_reasoning_field(added: openai.AnswerDelta) -> bool:
    """Return whether the engine has a field for thoughts, if an empty one; SGLang sends null where it has none."""
    fields = (added.reasoning_content, added.reasoning, added.thinking, added.reasoning_details)
    return any(field is not None for field in fields)


def _explain_no_object(payload: bytes, upstream: str) -> BridgeError:
    """Return the error for what is no JSON object: Gemini's errors are lists of one, proxies send pages and words."""
    try:
        return explain_error_object(parse_any(payload), upstream)
    except msgspec.DecodeError:
        return explain_no_json(payload, upstream)


def _deltas_of_parts(parts: list[Any]) -> list[Delta]:
    """Return what a list of content parts says (Mistral: {"type":"thinking","thinking":[{"type":"text",…}]})."""
    out: list[Delta] = []
    for part in parts:
        if isinstance(part, dict) and part.get("type") == "thinking":
            thought = part.get("thinking")
            text = thought if isinstance(thought, str) else _text_of_parts(thought)
            if text:
                out.append(ThinkingDelta(text))
        elif text := _text_of_parts([part]):
            out.append(TextDelta(text))
    return out


def _text_of_parts(parts: Any) -> str:  # noqa: ANN401 - engines put any JSON there
    if not isinstance(parts, list):
        return ""
    texts = [part if isinstance(part, str) else part.get("text") for part in parts if isinstance(part, str | dict)]
    return "".join(text for text in texts if isinstance(text, str))
