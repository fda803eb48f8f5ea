"""OpenAI-compatible Chat Completions: how a request is put, and how the stream of its answer is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from claude_bridge.adapters.base import OutgoingRequest, StreamDecoder
from claude_bridge.conversion.content import FitBlock, image_url, text_of
from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.losses import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request import FitRequest, FitTool
from claude_bridge.conversion.thinking import wanted_effort
from claude_bridge.conversion.turns import Turn
from claude_bridge.conversion.upstream_errors import explain_error_object, explain_no_json, explain_refusal
from claude_bridge.errors import BridgeError
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
from claude_bridge.wire.sse import SseDecoder

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
            tools=[_tool(tool, profile) for tool in request.tools] or UNSET,
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
    results = [block for block in turn.blocks if isinstance(block, ToolResultBlock)]
    said = [block for block in turn.blocks if not isinstance(block, ToolResultBlock)]
    messages = [
        openai.ChatMessage(role="tool", content=_tool_content(result), tool_call_id=result.tool_use_id)
        for result in results
    ]
    if said:
        messages.append(openai.ChatMessage(role="user", content=_content(said)))
    return messages


def _tool_content(result: ToolResultBlock) -> str | list[openai.ContentPart]:
    if isinstance(result.content, str):
        return result.content
    return _content([block for block in result.content or () if isinstance(block, TextBlock | ImageBlock)])


def _content(blocks: Sequence[FitBlock]) -> str | list[openai.ContentPart]:
    """Return a plain string where there is only text: some templates know nothing else."""
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
    calls = [
        openai.ToolCall(id=block.id, function=openai.Function(block.name, _compact(block.input)))
        for block in turn.blocks
        if isinstance(block, ToolUseBlock)
    ]
    thinking = "\n\n".join(block.thinking for block in turn.blocks if isinstance(block, ThinkingBlock))
    text = text_of(turn.blocks)
    images = sum(isinstance(block, ImageBlock) for block in turn.blocks)
    if images:
        text = "\n\n".join(part for part in (text, *["[image omitted]"] * images) if part)
    return openai.ChatMessage(
        role="assistant",
        content=text or (None if calls else ""),
        reasoning_content=thinking if thinking and profile.reasoning_field == "reasoning_content" else UNSET,
        reasoning=thinking if thinking and profile.reasoning_field == "reasoning" else UNSET,
        tool_calls=calls or UNSET,
    )


def _compact(arguments: Raw) -> str:
    """Return the arguments in one fixed formatting, with their keys in the order in which they came."""
    return msgspec.json.format(bytes(arguments), indent=-1).decode()


def _tool(tool: FitTool, profile: Profile) -> openai.ToolDeclaration:
    return openai.ToolDeclaration(
        function=openai.FunctionDeclaration(
            name=tool.name,
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
        fields["response_format"] = openai.ResponseFormat(json_schema=openai.JsonSchema(schema=output.schema))
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
    return fields


def _tool_choice(choice: ToolChoice | None) -> str | openai.NamedToolChoice | UnsetType:
    if choice is None:
        return UNSET
    if choice.type == "tool" and choice.name:
        return openai.NamedToolChoice(function=openai.NamedFunction(choice.name))
    return {"auto": "auto", "any": "required", "tool": "required", "none": "none"}[choice.type]


def _thinking_fields(request: FitRequest, profile: Profile) -> dict[str, Any]:
    effort = wanted_effort(request.parameters)
    if profile.effort_levels and effort is not None:
        at_most = effort if effort in profile.effort_levels else profile.effort_levels[0]
        return {"reasoning_effort": at_most}
    if profile.thinking_switch:
        # Templates that know no such argument ignore it; those that do think by default.
        return {"chat_template_kwargs": {"enable_thinking": effort != "none"}}
    if request.parameters.output_config and request.parameters.output_config.effort:
        request.losses.append(Loss("$.output_config.effort", "how this engine is told of it is not known"))
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


class ChatStreamDecoder:
    """Reads a stream of chunks, or one JSON response from an engine that does not stream."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._sse = SseDecoder()
        self._document: bytearray | None = None
        self._started = False
        self._finished = False
        self._calls = _CallKeys()
        self.done = False

    def feed(self, data: bytes) -> list[Delta]:
        """Return the deltas that ``data`` completes."""
        if self.done or not data:
            return []
        if not self._started:
            first = data.lstrip()[:1]
            if not first:
                return []
            self._started = True
            if first in b"{[<":  # no field of a server-sent event begins so: a document, right or wrong
                self._document = bytearray()
        if self._document is not None:
            self._document += data
            return []
        out: list[Delta] = []
        for _, payload in self._sse.feed(data):
            self._take_payload(payload, out)
        return out

    def close(self) -> list[Delta]:
        """Return what the end of the bytes completes."""
        out: list[Delta] = []
        if self._document is not None and not self.done:
            self._take_document(bytes(self._document), out)
        elif not self.done:
            for _, payload in self._sse.close():
                self._take_payload(payload, out)
        return out

    def _take_payload(self, payload: bytes, out: list[Delta]) -> None:
        if self.done or not payload.strip():
            return
        if payload.strip() == b"[DONE]":
            self.done = True
            if not self._finished:
                out.append(Finish(FinishReason.STOP))
            return
        try:
            chunk = openai.parse_chunk(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._fail(Failure(explain_no_json(payload, self._upstream)), out)
            return
        self._take_chunk(chunk, out)

    def _take_document(self, document: bytes, out: list[Delta]) -> None:
        try:
            response = openai.parse_chunk(document)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._fail(Failure(explain_no_json(document, self._upstream)), out)
            return
        if response.choices is None and response.error is None:
            words = response.message or document[:500].decode("utf-8", "replace")
            self._fail(Failure(explain_error_object(words, self._upstream)), out)
            return
        self._take_chunk(response, out)
        if not self._finished and not self.done and response.choices:
            out.append(Finish(FinishReason.STOP))
        self.done = True

    def _fail(self, failure: Failure, out: list[Delta]) -> None:
        self.done = True
        out.append(failure)

    def _take_chunk(self, chunk: openai.Chunk, out: list[Delta]) -> None:
        if chunk.error is not None:
            self._fail(Failure(explain_error_object(chunk.error, self._upstream)), out)
            return
        for choice in chunk.choices or ():
            if choice.index:
                continue  # one answer was asked for
            added = choice.delta or choice.message
            if added is not None:
                self._take_delta(added, out)
            elif choice.text:
                out.append(TextDelta(choice.text))
            if choice.finish_reason and not self._finished:
                self._finished = True
                out.append(Finish(_FINISH_REASONS.get(choice.finish_reason, FinishReason.STOP)))
        if chunk.usage is not None or chunk.timings is not None:
            out.append(_usage(chunk.usage, chunk.timings))

    def _take_delta(self, added: openai.AnswerDelta, out: list[Delta]) -> None:
        content = added.content
        thought = added.reasoning_content or added.reasoning or added.thinking
        if thought is None and added.reasoning_details:
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


class _CallKeys:
    """Tells parallel calls apart, whichever of index, id and name an engine gives, and holds back nameless ones."""

    def __init__(self) -> None:
        self._by_index: dict[int | None, int] = {}
        self._by_id: dict[str, int] = {}
        self._names: list[str] = []
        self._ids: list[str] = []
        self._early: list[list[str]] = []

    def take(self, index: int | None, call_id: str, name: str, arguments: str, out: list[Delta]) -> None:
        key = self._key(index, call_id, name)
        if call_id and not self._ids[key]:
            self._ids[key] = call_id
            self._by_id[call_id] = key
        if name and not self._names[key]:
            self._names[key] = name
            out.append(ToolCallStart(key, name, self._ids[key]))
            out += [ToolCallArguments(key, early) for early in self._early[key]]
        if arguments and self._names[key]:
            out.append(ToolCallArguments(key, arguments))
        elif arguments:
            self._early[key].append(arguments)

    def _key(self, index: int | None, call_id: str, name: str) -> int:
        known = self._by_id.get(call_id) if call_id else None
        if known is not None and (index is None or self._by_index.get(index, known) == known):
            return known
        at_index = self._by_index.get(index)
        if at_index is not None:
            same_id = not call_id or not self._ids[at_index] or self._ids[at_index] == call_id
            # With no index to go by, a second name is a second call; with one, engines repeat the name on each chunk.
            same_call = index is not None or not name or not self._names[at_index]
            if same_id and same_call:
                return at_index
        self._names.append("")
        self._ids.append("")
        self._early.append([])
        key = len(self._names) - 1
        self._by_index[index] = key
        return key


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
            text = thought if isinstance(thought, str) else _text_of_parts(thought or [])
            if text:
                out.append(ThinkingDelta(text))
        elif text := _text_of_parts([part]):
            out.append(TextDelta(text))
    return out


def _text_of_parts(parts: list[Any]) -> str:
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
        prompt_tokens=prompt,
        cached_tokens=cached,
        output_tokens=usage.completion_tokens if usage.completion_tokens is not None else timings.predicted_n,
        thinking_tokens=details.reasoning_tokens if details else None,
        prompt_ms=timings.prompt_ms,
        output_ms=timings.predicted_ms,
    )
