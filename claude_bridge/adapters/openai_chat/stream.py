"""How an answer is read: the bytes of a stream, or of one JSON response, become deltas."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    FinishReason,
    OpaqueReasoning,
    TextDelta,
    ThinkingDelta,
    UsageReport,
)
from claude_bridge.conversion.ending import parse_finish
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.pricing import charged_usd
from claude_bridge.conversion.prompt.token_estimate import token_count
from claude_bridge.conversion.response.frame_decoder import PROBE, FrameDecoder
from claude_bridge.conversion.tool_calls.index import MAX_CALLS, ToolCallIndex
from claude_bridge.conversion.tool_json.text import arguments_text, is_json
from claude_bridge.conversion.upstream_errors.translate import explain_error_object, explain_no_object, reports_error
from claude_bridge.errors import BridgeError, UpstreamBrokenError
from claude_bridge.wire import openai
from claude_bridge.wire.lenient_json import parse_any, read_or_none
from claude_bridge.wire.sse import SSE_BEGINNINGS, CharacterCutter, SseFrame, read_frames

_DONE = b"[DONE]"
_NO_FINISH = Finish(FinishReason.UNKNOWN)
_NO_THOUGHTS = (None,) * 5


_LONE_DELTAS = (
    (openai.AnswerDelta(content=PROBE), TextDelta(PROBE)),
    (openai.AnswerDelta(reasoning_content=PROBE), ThinkingDelta(PROBE)),
    (openai.AnswerDelta(reasoning=PROBE), ThinkingDelta(PROBE)),
)

_THOUGHT_TAG = "<thought>"
"""What Gemini puts before its thinking; without it only a flag beside the text marks the thinking."""


class ChatStreamDecoder(FrameDecoder):
    """Reads a stream of chunks, or one JSON response from an engine that does not stream.

    The Finish comes last, at the end of the stream: some engines go on after their finish reason.
    """

    frame_ends = (b"\n\n", b"\r\n\r\n")

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self._upstream = upstream
        self._reader = CharacterCutter(SSE_BEGINNINGS)
        self._answered = False
        self._finish: Finish | None = None
        self._calls = ToolCallIndex()
        self._further_calls = ToolCallIndex()
        self._further: list[Delta] = []
        """The calls of further choices."""
        self._has_other_answers = False
        """Whether further choices are answers of their own."""
        self._has_reasoning_field = False
        self._has_thought_tags = False

    @property
    def is_between_frames(self) -> bool:
        """Whether a frame has ended, and no other one has begun."""
        return self._reader.is_between_frames

    @property
    def finished(self) -> bool:
        """Whether a finish reason has come."""
        return self._finish is not None

    def decode(self, data: bytes) -> list[Delta]:
        """Return the deltas that ``data`` completes; raises UpstreamBrokenError beyond MAX_FRAME_BYTES."""
        deltas: list[Delta] = []
        for frame in read_frames(self._reader.feed(data)):
            deltas += self._frame(frame)
        return deltas

    def lone_delta(self, frame: bytes) -> Delta | None:
        """Return the delta of a frame with one piece of text or thinking and nothing else that matters, else None."""
        chunk = read_or_none(openai.parse_chunk, frame.removeprefix(b"data:"))
        if chunk is None or chunk.object == "error":
            return None
        for added, delta in _LONE_DELTAS:
            if chunk == openai.Chunk(choices=[openai.Choice(index=0, delta=added)], object=chunk.object):
                return delta
        return None

    def close(self) -> list[Delta]:
        """Return what the end of the bytes completes; without a finish reason there is no Finish."""
        if self.done:
            return []
        document = self._reader.document
        deltas = [] if document is None else self._whole_response(bytes(document))
        for frame in read_frames(self._reader.close()):
            if is_json(frame.data) or frame.data.strip() == _DONE:  # else the connection was cut inside it
                deltas += self._frame(frame)
        return [*deltas, *self._end(self._finish)] if self._finish is not None else deltas

    def _frame(self, frame: SseFrame) -> list[Delta]:
        payload = frame.data.strip()
        if self.done or not payload:
            return []
        if payload == _DONE:
            if self._answered:
                return self._end(self._finish or _NO_FINISH)
            return self._fail(UpstreamBrokenError(f"{self._upstream} ended its answer before it began."))
        chunk = read_or_none(openai.parse_chunk, payload)
        if chunk is None:
            return self._fail(explain_no_object(payload, self._upstream))
        is_error = frame.event == b"error" or chunk.object == "error"  # the latter is vLLM's
        if is_error or (chunk.choices is None and not chunk.error and reports_error(parse_any(payload))):
            return self._fail(explain_error_object(chunk.error or parse_any(payload), self._upstream))
        return self._chunk(chunk)

    def _whole_response(self, document: bytes) -> list[Delta]:
        response = read_or_none(openai.parse_chunk, document)
        if response is None:
            return self._fail(explain_no_object(document, self._upstream))
        if response.choices is None:
            return self._fail(explain_error_object(response.error or parse_any(document), self._upstream))
        deltas = self._chunk(response)
        return [*deltas, *self._end(self._finish or _NO_FINISH)] if self._answered else deltas

    def _end(self, finish: Finish) -> list[Delta]:
        if self.done:
            return []
        self.done = True
        further = [*self._further, *self._further_calls.close()]
        if further and (self._has_other_answers or self._calls.count):
            further = [Repair("", "the calls of a second answer, which was not requested, were left out")]
        return [*self._calls.close(), *further, finish]

    def _fail(self, error: BridgeError) -> list[Delta]:
        self.done = True
        return [Failure(error)]

    def _chunk(self, chunk: openai.Chunk) -> list[Delta]:
        error = chunk.error or (chunk.x_groq.error if chunk.x_groq else None)
        if error:
            # OpenRouter: what came so far is paid for
            usage = [] if chunk.usage is None else [_usage_report(chunk.usage, None)]
            return [*usage, *self._fail(explain_error_object(error, self._upstream))]
        deltas: list[Delta] = []
        if chunk.prompt_progress is not None:
            deltas.append(_progress(chunk.prompt_progress))
        for choice in chunk.choices or ():
            if choice.index:
                self._add_further(choice.index, choice.delta or choice.message or openai.AnswerDelta())
            else:
                deltas += self._choice(choice)
            if self.done:
                return deltas
        if chunk.usage is not None or chunk.timings is not None:
            deltas.append(_usage_report(chunk.usage, chunk.timings))
        elif chunk.x_groq is not None and chunk.x_groq.usage is not None:
            deltas.append(_usage_report(chunk.x_groq.usage, None))
        return deltas

    def _choice(self, choice: openai.Choice) -> list[Delta]:
        self._answered = True
        deltas: list[Delta] = []
        if choice.usage is not None:
            deltas.append(_usage_report(choice.usage, None))
        added = choice.delta or choice.message
        if added is not None:
            deltas += self._delta(added)
        elif choice.text:
            deltas.append(TextDelta(choice.text))
        if choice.error:
            return deltas + self._fail(explain_error_object(choice.error, self._upstream))
        if choice.finish_reason and self._finish is None:
            self._finish = parse_finish(choice.finish_reason)
        return deltas

    def _add_further(self, number: int, added: openai.AnswerDelta) -> None:
        """Keep the calls of a choice that was not requested, until all of the answer shows what they are.

        GitHub's Copilot puts the text into one choice and each call into another. Where the first choice has calls
        too, or another one text, these are other answers, and their calls must not run beside its own.
        """
        text = added.content
        self._has_other_answers = self._has_other_answers or (
            bool(text.strip()) if isinstance(text, str) else bool(text)
        )
        for fragment in added.tool_calls or ():
            # each choice counts its calls from 0
            numbered = replace(fragment, index=number * MAX_CALLS + (fragment.index or 0))
            self._further += self._tool_call(numbered, self._further_calls)

    def _delta(self, added: openai.AnswerDelta) -> list[Delta]:
        deltas: list[Delta] = []
        content = added.content
        thoughts: tuple[openai.Reasoning, ...] = (
            added.reasoning_content,
            added.reasoning,
            added.thinking,
            added.reasoning_text,
            added.reasoning_details,
        )
        if thoughts != _NO_THOUGHTS:  # null says nothing: SGLang sends it for every model
            thought = next(filter(None, thoughts), None)
            text = thought if isinstance(thought, str) else _text_of_parts(thought)
            if text or not self._has_reasoning_field:
                deltas.append(ThinkingDelta(text))
            self._has_reasoning_field = True
        if added.reasoning_details:
            deltas += [OpaqueReasoning(detail) for detail in added.reasoning_details if isinstance(detail, dict)]
        google = added.extra_content.google if added.extra_content else None
        if google is not None and google.thought and isinstance(content, str) and not self._has_thought_tags:
            self._has_thought_tags = _THOUGHT_TAG in content
            if not self._has_thought_tags:
                deltas.append(ThinkingDelta(content))
                content = None
        if content:
            deltas += [TextDelta(content)] if isinstance(content, str) else _deltas_of_parts(content)
        if added.refusal:
            deltas.append(TextDelta(added.refusal))
        for fragment in added.tool_calls or ():
            deltas += self._tool_call(fragment)
        if added.function_call is not None:
            deltas += self._tool_call(openai.ToolCallFragment(function=added.function_call))
        return deltas

    def _tool_call(self, fragment: openai.ToolCallFragment, calls: ToolCallIndex | None = None) -> list[Delta]:
        function = fragment.function or openai.FunctionFragment()
        google = fragment.extra_content.google if fragment.extra_content else None
        signature = google.thought_signature if google is not None else None
        signed: list[Delta] = [OpaqueReasoning(call_signature=signature)] if signature else []
        arguments = arguments_text(function.arguments)
        calls = self._calls if calls is None else calls
        return signed + calls.add(fragment.index, fragment.id or "", (function.name or "").strip(), arguments)


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
    parts = [parts] if isinstance(parts, dict) else parts
    if not isinstance(parts, list):
        return ""
    fields = [part if isinstance(part, dict) else {"text": part} for part in parts]
    texts = [part.get("text") or part.get("content") or part.get("summary") for part in fields]
    return "".join(text for text in texts if isinstance(text, str))


# --- usage: each engine has fields of its own for tokens, what was cached, what was thought, and what it costs


def _usage_report(usage: openai.CompletionUsage | None, timings: openai.Timings | None) -> UsageReport:
    """Return what one chunk reports; ``timings`` fill in what ``usage`` does not tell."""
    usage = usage or openai.CompletionUsage()
    timings = timings or openai.Timings()
    details = usage.prompt_tokens_details
    reported = (details.cached_tokens if details else None, usage.prompt_cache_hit_tokens, usage.cached_tokens)
    cached = next((tokens for tokens in reported if tokens is not None), timings.cache_n)
    prompt = usage.prompt_tokens
    if prompt is None and timings.prompt_n is not None:
        prompt = timings.prompt_n + (timings.cache_n or 0)
    written, thought = _written_tokens(usage, token_count(cached))
    return UsageReport(
        prompt_tokens=token_count(prompt),
        cached_tokens=token_count(cached),
        cache_written_tokens=token_count(details.cache_write_tokens if details else None),
        output_tokens=token_count(timings.predicted_n) if written is None else written,
        thinking_tokens=thought,
        prompt_ms=timings.prompt_ms,
        output_ms=timings.predicted_ms,
        cost_usd=_cost_usd(usage),
    )


def _progress(progress: openai.PromptProgress) -> UsageReport:
    """Return what is known of a prompt while the engine reads it."""
    return UsageReport(
        prompt_tokens=token_count(progress.total),
        cached_tokens=token_count(progress.cache),
        read_tokens=token_count(progress.processed),
        prompt_ms=progress.time_ms,
    )


def _written_tokens(usage: openai.CompletionUsage, cached: int | None) -> tuple[int | None, int | None]:
    """Return how much was written, thinking included, and how much of it was thinking.

    With xAI and Gemini what was thought is only in the total; and Gemini does not name it.
    """
    prompt, written = token_count(usage.prompt_tokens), token_count(usage.completion_tokens)
    details = usage.completion_tokens_details
    thought = token_count(details.reasoning_tokens if details else None)
    total = token_count(usage.total_tokens)
    if prompt and written is not None and total is not None:
        beside = total - prompt - written
        if beside > 0 and (beside == thought or (not thought and beside != cached)):
            return written + beside, beside
    return written, thought


def _cost_usd(usage: openai.CompletionUsage) -> float | None:
    cost = usage.estimated_cost if usage.cost is None else usage.cost
    if cost is not None and usage.is_byok and usage.cost_details:
        cost += usage.cost_details.upstream_inference_cost or 0.0
    return charged_usd(cost, usage.cost_in_usd_ticks)
