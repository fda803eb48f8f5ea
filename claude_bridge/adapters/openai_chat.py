"""OpenAI-compatible Chat Completions: how a request is put, and how the stream of its answer is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from claude_bridge.adapters.base import OutgoingRequest, StreamDecoder
from claude_bridge.conversion.call_keys import CallKeys
from claude_bridge.conversion.content import FitBlock, image_url, text_of
from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    UsageReport,
)
from claude_bridge.conversion.losses import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request import FitRequest, FitTool, fit_schema
from claude_bridge.conversion.thinking import nearest_effort, wanted_effort
from claude_bridge.conversion.tool_input import compact_json, is_json
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.conversion.turns import Turn
from claude_bridge.conversion.upstream_errors import explain_error_object, explain_no_json, explain_refusal
from claude_bridge.errors import BridgeError, UpstreamBrokenError, UpstreamError
from claude_bridge.wire import openai
from claude_bridge.wire.anthropic import (
    ImageBlock,
    MessagesRequest,
    TextBlock,
    ThinkingBlock,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
)
from claude_bridge.wire.lenient import parse_any
from claude_bridge.wire.sse import MAX_FRAME_BYTES, SseDecoder, SseFrame

# --- the way in ---------------------------------------------------------------------------------------------


class OpenAIChat:
    """The adapter for upstream kind ``openai-chat``."""

    kind = "openai-chat"

    def encode(
        self, request: FitRequest, model: str, profile: Profile, *, max_output_tokens: int | None
    ) -> OutgoingRequest:
        """Return the Chat Completions request; see Adapter."""
        chat = openai.ChatRequest(
            model=model,
            stream=True,
            stream_options=openai.StreamOptions(),
            messages=_messages(request, profile),
            tools=[_tool(tool, profile, request.losses) for tool in request.tools] or UNSET,
            **_parameters(request, profile, max_output_tokens),
        )
        return OutgoingRequest(method="POST", path="/chat/completions", body=openai.encode_chat_request(chat))

    def decoder(self, upstream: str) -> StreamDecoder:
        """Return a decoder for one answer."""
        return ChatStreamDecoder(upstream)

    def explain_refusal(self, status: int, headers: Mapping[str, str], body: bytes, upstream: str) -> BridgeError:
        """Return the error for an answer that is no 2xx."""
        return explain_refusal(status, headers, body, upstream)


OPENAI_CHAT = OpenAIChat()


def _messages(request: FitRequest, profile: Profile) -> list[openai.ChatMessage]:
    messages: list[openai.ChatMessage] = []
    if request.system:
        messages.append(openai.ChatMessage(role="system", content=request.system))
    for turn in request.turns:
        if turn.is_user:
            messages += _user_messages(turn)
        else:
            messages.append(_assistant_message(turn, profile))
    return messages


def _user_messages(turn: Turn) -> list[openai.ChatMessage]:
    """Return tool messages first, directly behind the calls, then what the user said."""
    messages: list[openai.ChatMessage] = []
    said: list[FitBlock] = []
    for block in turn.blocks:
        if type(block) is ToolResultBlock:
            content = _tool_content(block)
            messages.append(openai.ChatMessage(role="tool", content=content, tool_call_id=block.tool_use_id))
        else:
            said.append(block)
    if said:
        messages.append(openai.ChatMessage(role="user", content=_content(said)))
    return messages


def _tool_content(result: ToolResultBlock) -> str | list[openai.ContentPart]:
    if isinstance(result.content, str):
        return result.content
    return _content([block for block in result.content or () if isinstance(block, TextBlock | ImageBlock)])


def _content(blocks: Sequence[FitBlock]) -> str | list[openai.ContentPart]:
    """Return a plain string where there is only text: some templates know nothing else."""
    if len(blocks) == 1 and type(blocks[0]) is TextBlock:
        return blocks[0].text
    if not any(isinstance(block, ImageBlock) for block in blocks):
        return text_of(blocks)
    parts: list[openai.ContentPart] = []
    for block in blocks:
        if isinstance(block, TextBlock):
            parts.append(openai.TextPart(block.text))
        elif isinstance(block, ImageBlock):
            parts.append(openai.ImagePart(openai.ImageUrl(image_url(block))))
    return parts


def _assistant_message(turn: Turn, profile: Profile) -> openai.ChatMessage:
    calls: list[openai.ToolCall] = []
    texts: list[str] = []
    thoughts: list[str] = []
    for block in turn.blocks:
        match block:
            case TextBlock(text):
                texts.append(text)
            case ToolUseBlock():
                function = openai.Function(engine_name(block.name), _arguments(block.input))
                calls.append(openai.ToolCall(id=block.id, function=function))
            case ThinkingBlock(thinking) if thinking:
                thoughts.append(thinking)
            case ImageBlock():
                texts.append("[image omitted]")  # no engine takes images in an assistant's turn
            case _:
                pass  # empty thoughts; tool results are never left in an assistant's turn
    thinking = "\n\n".join(thoughts)
    return openai.ChatMessage(
        role="assistant",
        content="\n\n".join(texts) or (None if calls else ""),
        reasoning_content=thinking if thinking and profile.reasoning_field == "reasoning_content" else UNSET,
        reasoning=thinking if thinking and profile.reasoning_field == "reasoning" else UNSET,
        tool_calls=calls or UNSET,
    )


def _arguments(tool_input: Raw) -> str:
    """Return the input in one fixed formatting, with its keys in the order in which they came.

    Chat templates take arguments apart as an object, and fail on anything else: that goes in under a key.
    """
    compact = compact_json(tool_input)
    if compact.startswith("{"):
        return compact
    return "{}" if compact == "null" else f'{{"input":{compact}}}'


def _tool(tool: FitTool, profile: Profile, losses: list[Loss]) -> openai.ToolDeclaration:
    if tool.strict and not profile.has_strict:
        losses.append(Loss("$.tools", f"whether the engine can hold {tool.name!r} to its schema is not known"))
    return openai.ToolDeclaration(
        function=openai.FunctionDeclaration(
            name=engine_name(tool.name),
            description=tool.description or UNSET,
            parameters=tool.schema,
            strict=tool.strict if tool.strict is not None and profile.has_strict else UNSET,
        )
    )


def _parameters(request: FitRequest, profile: Profile, max_output_tokens: int | None) -> dict[str, Any]:
    """Return the fields of ChatRequest that are neither messages nor tools."""
    asked, losses = request.parameters, request.losses
    fields: dict[str, Any] = {"tool_choice": _tool_choice(asked.tool_choice) if request.tools else UNSET}
    if request.tools and asked.tool_choice and asked.tool_choice.disable_parallel_tool_use:
        if profile.has_parallel_switch:
            fields["parallel_tool_calls"] = False
        else:
            losses.append(Loss("$.tool_choice.disable_parallel_tool_use", "the engine has no such switch"))
    fields |= _thinking_fields(request, profile)
    output = asked.output_config.format if asked.output_config else None
    if output is not None and output.type == "json_schema" and output.schema is not UNSET:
        schema = fit_schema(output.schema, profile, "$.output_config.format.schema")
        fields["response_format"] = openai.ResponseFormat(json_schema=openai.JsonSchema(schema=schema))
    elif output is not None:
        losses.append(Loss("$.output_config.format", f"type {output.type!r} is not known"))
    if not isinstance(asked, MessagesRequest):
        return fields
    limit = asked.max_tokens
    if max_output_tokens is not None and limit > max_output_tokens:
        losses.append(Loss("$.max_tokens", f"lowered from {limit} to the model's limit {max_output_tokens}"))
        limit = max_output_tokens
    fields[profile.max_tokens_field] = limit
    fields["temperature"] = UNSET if asked.temperature is None else asked.temperature
    fields["top_p"] = UNSET if asked.top_p is None else asked.top_p
    if asked.top_k is not None and profile.has_top_k:
        fields["top_k"] = asked.top_k
    elif asked.top_k is not None:
        losses.append(Loss("$.top_k", "not a parameter of Chat Completions"))
    if profile.has_user and asked.metadata and asked.metadata.user_id:
        fields |= _user_fields(asked.metadata.user_id)
    return fields


def _user_fields(user_id: str) -> dict[str, str]:
    """Return who asks. Claude Code's id is a JSON document: device and account stay here, the session goes hashed."""
    try:
        session = msgspec.json.decode(user_id, type=dict[str, Any]).get("session_id")
    except (msgspec.DecodeError, RecursionError):
        _, old_form, session = user_id.rpartition("_session_")  # Claude Code 1: user_DEVICE_account_ID_session_ID
        if not old_form:
            return {"user": user_id}
    if not isinstance(session, str) or not session:
        return {}
    hashed = sha256(session.encode()).hexdigest()[:32]
    return {"prompt_cache_key": hashed, "user": hashed}


def _tool_choice(choice: ToolChoice | None) -> str | openai.NamedToolChoice | UnsetType:
    if choice is None:
        return UNSET
    if choice.type == "tool" and choice.name:
        return openai.NamedToolChoice(function=openai.NamedFunction(engine_name(choice.name)))
    return {"auto": "auto", "any": "required", "tool": "required", "none": "none"}[choice.type]


def _thinking_fields(request: FitRequest, profile: Profile) -> dict[str, Any]:
    effort = wanted_effort(request.parameters)
    if profile.effort_levels and effort is not None:
        return {"reasoning_effort": nearest_effort(effort, profile.effort_levels)}
    if profile.thinking_switch:
        # Templates that know no such argument ignore it; those that do think by default.
        return {"chat_template_kwargs": {"enable_thinking": effort != "none"}}
    reason = "how this engine is told of it is not known"
    if request.parameters.output_config and request.parameters.output_config.effort:
        request.losses.append(Loss("$.output_config.effort", reason))
    if request.parameters.thinking and request.parameters.thinking.budget_tokens is not None:
        request.losses.append(Loss("$.thinking.budget_tokens", reason))
    return {}


# --- the way out --------------------------------------------------------------------------------------------

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

MAX_TOKENS = 2**53
"""More is no count of tokens, and no integer in JavaScript."""

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
        self.done = False

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
            self._fail(explain_no_json(payload, self._upstream), out)
            return
        if frame.event == b"error" or chunk.object == "error":  # the latter is vLLM's
            self._fail(explain_error_object(chunk.error or parse_any(payload), self._upstream), out)
        else:
            self._take_chunk(chunk, out)

    def _take_document(self, document: bytes, out: list[Delta]) -> None:
        try:
            response = openai.parse_chunk(document)
        except msgspec.DecodeError:
            self._fail(explain_no_json(document, self._upstream), out)
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

    def _fail(self, error: UpstreamError, out: list[Delta]) -> None:
        self.done = True
        out.append(Failure(error))

    def _take_chunk(self, chunk: openai.Chunk, out: list[Delta]) -> None:
        if chunk.error:
            self._fail(explain_error_object(chunk.error, self._upstream), out)
            return
        for choice in chunk.choices or ():
            if choice.index:
                continue  # one answer was asked for
            self._answered = True
            added = choice.delta or choice.message
            if added is not None:
                self._take_delta(added, out)
            elif choice.text:
                out.append(TextDelta(choice.text))
            if choice.finish_reason in _BREAKDOWNS:
                words = f"{self._upstream} broke off its answer (finish reason: {choice.finish_reason})."
                self._fail(UpstreamBrokenError(words), out)
                return
            if choice.finish_reason and self._finish is None:
                self._finish = Finish(_FINISH_REASONS.get(choice.finish_reason, FinishReason.STOP))
        if chunk.usage is not None or chunk.timings is not None:
            out.append(_usage(chunk.usage, chunk.timings))

    def _take_delta(self, added: openai.AnswerDelta, out: list[Delta]) -> None:
        content = added.content
        thought = added.reasoning_content or added.reasoning or added.thinking
        if not thought and added.reasoning_details:
            thought = _text_of_parts(added.reasoning_details)
        if thought:
            out.append(ThinkingDelta(thought))
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
        arguments = _arguments_text(function.arguments)
        self._calls.take(fragment.index, fragment.id or "", function.name or "", arguments, out)


def _arguments_text(arguments: Raw) -> str:
    """Return JSON text, whether the engine sent it as a string or as the object itself."""
    raw = bytes(arguments)
    if raw.startswith(b'"'):
        return msgspec.json.decode(raw, type=str)
    return "" if raw in (b"", b"null") else raw.decode()


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


def _usage(usage: openai.CompletionUsage | None, timings: openai.Timings | None) -> UsageReport:
    usage = usage or openai.CompletionUsage()
    timings = timings or openai.Timings()
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
    if cached is None:
        cached = usage.prompt_cache_hit_tokens if usage.prompt_cache_hit_tokens is not None else timings.cache_n
    prompt = usage.prompt_tokens
    if prompt is None and timings.prompt_n is not None:
        prompt = timings.prompt_n + (timings.cache_n or 0)
    details = usage.completion_tokens_details
    return UsageReport(
        prompt_tokens=_count(prompt),
        cached_tokens=_count(cached),
        output_tokens=_count(usage.completion_tokens if usage.completion_tokens is not None else timings.predicted_n),
        thinking_tokens=_count(details.reasoning_tokens if details else None),
        prompt_ms=timings.prompt_ms,
        output_ms=timings.predicted_ms,
    )


def _count(told: int | None) -> int | None:
    """Return a token count, or None for a number that can be none: clients add them up."""
    return told if told is not None and 0 <= told < MAX_TOKENS else None
