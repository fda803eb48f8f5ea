"""How a request is put: a fit request becomes the body of a Chat Completions request."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from claude_bridge.adapters.base import TokenLimits
from claude_bridge.conversion.content import FitBlock, image_url, text_of
from claude_bridge.conversion.json_text import as_object_json
from claude_bridge.conversion.losses import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request import FitRequest, FitTool, fit_schema
from claude_bridge.conversion.thinking import nearest_effort, wanted_effort
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.conversion.turns import Turn, spoken
from claude_bridge.wire import openai
from claude_bridge.wire.anthropic import (
    ImageBlock,
    MessagesRequest,
    TextBlock,
    ToolChoice,
    ToolResultBlock,
)


def encode_request(request: FitRequest, model: str, profile: Profile, limits: TokenLimits) -> bytes:
    """Return the body; what Chat Completions can't carry is added to ``request.losses``."""
    chat = openai.ChatRequest(
        model=model,
        stream=True,
        stream_options=openai.StreamOptions(),
        messages=_messages(request, profile),
        tools=[_tool(tool, profile, request.losses) for tool in request.tools] or UNSET,
        **_parameters(request, profile, limits),
    )
    return openai.encode_chat_request(chat)


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
    text, thinking, used = spoken(turn)
    calls = [
        openai.ToolCall(id=block.id, function=openai.Function(engine_name(block.name), as_object_json(block.input)))
        for block in used
    ]
    return openai.ChatMessage(
        role="assistant",
        content=text or (None if calls else ""),
        reasoning_content=thinking if thinking and profile.reasoning_field == "reasoning_content" else UNSET,
        reasoning=thinking if thinking and profile.reasoning_field == "reasoning" else UNSET,
        tool_calls=calls or UNSET,
    )


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


def _parameters(request: FitRequest, profile: Profile, limits: TokenLimits) -> dict[str, Any]:
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
    if limits.max_output_tokens is not None and limit > limits.max_output_tokens:
        losses.append(Loss("$.max_tokens", f"lowered from {limit} to the model's limit {limits.max_output_tokens}"))
        limit = limits.max_output_tokens
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
