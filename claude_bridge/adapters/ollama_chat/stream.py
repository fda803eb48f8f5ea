"""How an answer is read: the lines of a stream, or one JSON response, become deltas."""

from __future__ import annotations

import re

from claude_bridge.adapters.ollama_chat.errors import explain_error
from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.ending import parse_finish
from claude_bridge.conversion.prompt.token_estimate import token_count
from claude_bridge.conversion.response.frame_decoder import PROBE, FrameDecoder
from claude_bridge.conversion.tool_calls.index import NO_NAME
from claude_bridge.conversion.tool_json.text import arguments_text
from claude_bridge.conversion.upstream_errors.translate import explain_no_json, reports_error
from claude_bridge.errors import BridgeError, UpstreamBrokenError
from claude_bridge.wire import ollama
from claude_bridge.wire.lenient_json import parse_any, read_or_none
from claude_bridge.wire.sse import LINE_END, FrameCutter

_NO_ANSWERS = {"load": "loaded its model", "unload": "unloaded its model"}
"""Done reasons of requests without a question: they load or unload a model."""

_UNFINISHED = (
    "{upstream} ended its answer without a last line. It does so when a model says the same token more than 30 times "
    "over: ask again, or take another model. Other causes stand in its log."
)
"""Ollama stops such a model itself, and reports nothing (llm/llama_server.go, 0.33)."""

_NS_PER_MS = 1e6

_LONE_DELTAS = (
    (ollama.AnswerMessage(content=PROBE), TextDelta(PROBE)),
    (ollama.AnswerMessage(content="", thinking=PROBE), ThinkingDelta(PROBE)),
)


class OllamaStreamDecoder(FrameDecoder):
    """Reads a stream of JSON lines; what does not begin as one is gathered whole, to be read or explained at the end.

    Without a line that says ``done`` the answer broke off: a Failure, where lines had come, and else nothing.
    """

    frame_ends = (b"\n",)
    ignored = re.compile(rb'(?m)(?<=^\{)"model":"[^"\\]*","created_at":"[-+.:0-9TZ]*",')

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self._upstream = upstream
        self._reader = FrameCutter((b"{",), LINE_END)
        self._answered = False
        self._calls = 0

    @property
    def is_between_frames(self) -> bool:
        """Whether a line has ended, and no other one has begun."""
        return self._answered and self._reader.is_between_frames

    @property
    def finished(self) -> bool:
        """Whether the last line has come: with Ollama nothing follows it."""
        return self.done

    def lone_delta(self, frame: bytes) -> Delta | None:
        """Return the delta of a line with one piece of text or thinking and nothing else that matters, else None."""
        chunk = read_or_none(ollama.parse_chat_chunk, frame)
        for added, delta in _LONE_DELTAS:
            if chunk == ollama.ChatChunk(message=added, done=False):
                return delta
        return None

    def decode(self, data: bytes) -> list[Delta]:
        """Return the deltas that ``data`` completes; raises UpstreamBrokenError beyond all limits."""
        deltas: list[Delta] = []
        lines = self._reader.feed(data)
        for at, line in enumerate(lines):
            if not line.strip():
                continue
            chunk = read_or_none(ollama.parse_chat_chunk, line)
            if chunk is not None:
                deltas += self._chunk(chunk, line)
            elif self._answered:
                deltas += self._fail(explain_no_json(line, self._upstream))
            else:
                # A document of several lines, such as JSON that a proxy has put in order.
                self._reader.document = bytearray(b"".join([*lines[at:], *self._reader.close()]))
                break
            if self.done:
                break
        return deltas

    def close(self) -> list[Delta]:
        """Return what the end of the bytes completes."""
        if self.done:
            return []
        if self._reader.document is not None:
            document = bytes(self._reader.document).strip()
            chunk = read_or_none(ollama.parse_chat_chunk, document)
            return (
                self._fail(explain_no_json(document, self._upstream)) if chunk is None else self._chunk(chunk, document)
            )
        deltas: list[Delta] = []
        rest = self._reader.close()
        for line in rest:
            chunk = read_or_none(ollama.parse_chat_chunk, line)
            if chunk is not None:  # else the connection was cut inside it
                deltas += self._chunk(chunk, line)
        if self._answered and not rest:
            deltas += self._fail(UpstreamBrokenError(_UNFINISHED.format(upstream=self._upstream)))
        return deltas

    def _chunk(self, chunk: ollama.ChatChunk, line: bytes) -> list[Delta]:
        self._answered = True
        error = chunk.error
        if not error and chunk.message is None and not chunk.done and reports_error(other := parse_any(line)):
            error = other  # of a proxy
        if error:
            return self._fail(explain_error(error, self._upstream))
        deltas = [] if chunk.message is None else self._message(chunk.message)
        return deltas + self._end(chunk) if chunk.done else deltas

    def _message(self, added: ollama.AnswerMessage) -> list[Delta]:
        deltas: list[Delta] = []
        if added.thinking:
            deltas.append(ThinkingDelta(added.thinking))
        if added.content:
            deltas.append(TextDelta(added.content))
        for call in added.tool_calls or ():
            function = call.function or ollama.CalledFunction()
            key, self._calls = self._calls, self._calls + 1
            deltas += [
                ToolCallStart(key, (function.name or "").strip() or NO_NAME, call.id or ""),
                ToolCallArguments(key, arguments_text(function.arguments)),
                ToolCallEnd(key),
            ]
        return deltas

    def _end(self, chunk: ollama.ChatChunk) -> list[Delta]:
        reason = chunk.done_reason or "stop"
        if reason in _NO_ANSWERS:
            words = f"{self._upstream} {_NO_ANSWERS[reason]} in place of an answer. Try again."
            return self._fail(UpstreamBrokenError(words))
        self.done = True
        return [_usage(chunk), parse_finish(reason) or Finish(FinishReason.UNKNOWN)]

    def _fail(self, error: BridgeError) -> list[Delta]:
        self.done = True
        return [Failure(error)]


def _usage(chunk: ollama.ChatChunk) -> UsageReport:
    return UsageReport(
        prompt_tokens=token_count(chunk.prompt_eval_count),
        output_tokens=token_count(chunk.eval_count),
        prompt_ms=_ms(chunk.prompt_eval_duration),
        output_ms=_ms(chunk.eval_duration),
        load_ms=_ms(chunk.load_duration),
    )


def _ms(duration_ns: float | None) -> float | None:
    return None if duration_ns is None else duration_ns / _NS_PER_MS
