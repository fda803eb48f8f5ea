"""Encodes a normalized request as the body of a Chat Completions request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from claude_bridge.adapters.base import TokenLimits, lowered_max_tokens
from claude_bridge.adapters.openai_options import (
    content_of,
    effort_level,
    file_data,
    file_name,
    holds_schema,
    prompted_options,
    result_content,
    sampling,
    strict_mode,
    tool_fields,
    tools_to_send,
    user_fields,
)
from claude_bridge.adapters.translating import EncodedFrame, split_user_turn, with_instructions
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.opaque_reasoning import unseal
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import NO_EFFORT_FIELD, ONLY_A_SWITCH, preferred_thinking, thinking_losses
from claude_bridge.conversion.request.content import Media, image_url
from claude_bridge.conversion.request.normalize import NormalizedRequest, NormalizedTool
from claude_bridge.conversion.request.turns import Turn, split_assistant_turn
from claude_bridge.conversion.tool_json.text import as_object_json
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.wire import openai
from claude_bridge.wire.anthropic import DocumentBlock, ImageBlock, MessagesRequest, TextBlock

OK = "OK."
"""The assistant's text between a tool's message and a user's, where these may not meet."""


def encode_request(request: NormalizedRequest, model: str, profile: Profile, limits: TokenLimits) -> EncodedFrame:
    """Return the body without the conversation; see TranslatingAdapter.encode."""
    fields, losses = _parameters(request, profile, limits)
    tools: list[openai.ToolDeclaration] = []
    for tool in tools_to_send(request, profile):
        declaration, lost = _tool(tool, profile)
        tools.append(declaration)
        losses += lost
    system = [openai.ChatMessage(role="system", content=request.system)] if request.system else []
    chat = openai.ChatRequest(model=model, stream=True, messages=system, tools=tools or UNSET, **fields)
    return EncodedFrame(msgspec.json.encode(chat), losses, prompted_options(request, profile))


def encode_turns(
    turns: Sequence[Turn], profile: Profile, instructions: Sequence[str]
) -> tuple[list[openai.ChatMessage], list[Loss]]:
    """Return the messages for some turns; see TranslatingAdapter.encode_turns."""
    messages: list[openai.ChatMessage] = []
    for turn, behind in with_instructions(turns, instructions):
        if turn.is_user:
            messages += _user_messages(turn, behind, profile)
        else:
            messages.append(_assistant_message(turn, profile))
    return messages, []


def _user_messages(turn: Turn, instructions: Sequence[str], profile: Profile) -> Iterator[openai.ChatMessage]:
    results, rest = split_user_turn(turn, instructions)
    for result in results:
        content = result_content(result, _parts)
        yield openai.ChatMessage(role="tool", content=content, tool_call_id=result.tool_use_id)
    if rest and results and not profile.chat.user_follows_tool:
        yield openai.ChatMessage(role="assistant", content=OK)
    if rest:
        yield openai.ChatMessage(role="user", content=content_of(rest, _parts))


def _parts(block: TextBlock | Media) -> list[openai.ContentPart]:
    match block:
        case TextBlock(text):
            return [openai.TextPart(text)]
        case ImageBlock():
            return [openai.ImagePart(openai.ImageUrl(image_url(block)))]
        case DocumentBlock():
            return [openai.FilePart(openai.FileData(file_name(block), file_data(block)))]


def _assistant_message(turn: Turn, profile: Profile) -> openai.ChatMessage:
    text, thinking, used = split_assistant_turn(turn)
    calls = [
        openai.ToolCall(
            id=block.id,
            function=openai.Function(engine_name(block.name), as_object_json(block.input)),
        )
        for block in used
    ]
    thought = thinking or (profile.chat.reasoning_placeholder if calls else None) or UNSET
    if profile.opaque_reasoning == "thought_signature":
        calls = _signed(calls, unseal(turn.blocks).signatures, profile)
    elif profile.opaque_reasoning == "reasoning_details":
        details = unseal(turn.blocks).details
        if details:
            return openai.ChatMessage(
                role="assistant",
                content=text or (None if calls else ""),
                reasoning_details=details,  # they hold all of the thinking
                tool_calls=calls or UNSET,
            )
    return openai.ChatMessage(
        role="assistant",
        content=text or (None if calls else ""),
        reasoning_content=thought if profile.reasoning_field == "reasoning_content" else UNSET,
        reasoning=thought if profile.reasoning_field == "reasoning" else UNSET,
        tool_calls=calls or UNSET,
    )


def _signed(calls: list[openai.ToolCall], signatures: Mapping[int, str], profile: Profile) -> list[openai.ToolCall]:
    """Return a turn's calls with the signatures of their thoughts."""
    if profile.chat.thought_signature is not None and calls and not signatures:
        signatures = {0: profile.chat.thought_signature}
    return [
        replace(call, extra_content={"google": {"thought_signature": signatures[place]}})
        if place in signatures
        else call
        for place, call in enumerate(calls)
    ]


def _tool(tool: NormalizedTool, profile: Profile) -> tuple[openai.ToolDeclaration, list[Loss]]:
    strict, losses = strict_mode(tool, profile)
    function = openai.FunctionDeclaration(
        name=engine_name(tool.name), description=tool.description or UNSET, parameters=tool.schema, strict=strict
    )
    return openai.ToolDeclaration(function=function), losses


# --- parameters: tool choice, limits, sampling, thinking, the shape of the answer, the user -------------------


def _parameters(request: NormalizedRequest, profile: Profile, limits: TokenLimits) -> tuple[dict[str, Any], list[Loss]]:
    """Return the fields of ChatRequest that are neither messages nor tools, and what has no field."""
    client = request.parameters
    fields: dict[str, Any] = {}
    if profile.chat.has_stream_options:
        fields["stream_options"] = openai.StreamOptions()
    if profile.chat.asks_for_cache:
        fields["cache_control"] = {"type": "ephemeral"}
    fields |= tool_fields(
        request, profile, lambda name: openai.NamedToolChoice(function=openai.NamedFunction(engine_name(name)))
    )
    thinking, losses = _thinking_fields(request, profile)
    fields |= thinking
    fields["response_format"], lost = _response_format(request, profile)
    losses += lost
    if not isinstance(client, MessagesRequest):
        return fields, losses
    if profile.chat.reports_progress:
        fields["return_progress"] = True
    fields[profile.chat.max_tokens_field], lost = lowered_max_tokens(client.max_tokens, limits)
    sampled, more_lost = sampling(client, profile)
    fields |= sampled | user_fields(client, profile, names_user=True)
    return fields, losses + lost + more_lost


def _response_format(
    request: NormalizedRequest, profile: Profile
) -> tuple[openai.ResponseFormat | UnsetType, list[Loss]]:
    schema = request.answer_schema
    if schema is None:
        return UNSET, []
    if holds_schema(request, profile):
        return openai.ResponseFormat(type="json_schema", json_schema=openai.JsonSchema(schema=schema)), []
    losses = [Loss("$.output_config.format", "the engine can't hold an answer to it; requested in the prompt")]
    if profile.chat.structured_output is None or (request.tools and not profile.chat.structured_beside_tools):
        return UNSET, losses
    return openai.ResponseFormat(type="json_object"), losses


# --- thinking: each engine has fields of its own, and the profile names them

_THINKING_TYPES: Mapping[bool | str, str] = {False: "disabled", True: "enabled"}


def _thinking_fields(request: NormalizedRequest, profile: Profile) -> tuple[Mapping[str, Any], list[Loss]]:
    """Return the fields of ChatRequest that control thinking, and what of the client's preference has no field."""
    chat, preference = profile.chat, preferred_thinking(request.parameters)
    fields: dict[str, Any] = {}
    match chat.thinking_switch:
        case "chat_template_kwargs":
            # Templates that know no such argument ignore it; those that do think by default.
            fields["chat_template_kwargs"] = {chat.switch_name: chat.switch_values[preference.thinks]}
        case "thinking":
            value = chat.switch_values[preference.thinks]
            fields["thinking"] = {"type": _THINKING_TYPES.get(value) or value}
        case "reasoning":
            fields["reasoning"] = {"enabled": preference.thinks}
    if chat.asks_for_thoughts and chat.effort_levels and preference.thinks:
        fields["extra_body"] = {"google": {"thinking_config": {"include_thoughts": True}}}
    level = effort_level(preference, chat)
    if request.tools and chat.effort_beside_tools is not None:
        level = chat.effort_beside_tools
    if preference.budget_tokens is not None and chat.budget_place == "reasoning":
        fields["reasoning"] = fields.get("reasoning", {}) | {"max_tokens": preference.budget_tokens}
        level = None  # either a level or a budget
    elif preference.budget_tokens is not None and chat.budget_place == "thinking_budget_tokens":
        fields["thinking_budget_tokens"] = preference.budget_tokens
    if level is not None:
        match chat.effort_place:
            case "reasoning_effort":
                fields["reasoning_effort"] = level
            case "reasoning":
                fields["reasoning"] = fields.get("reasoning", {}) | {"effort": level}
            case "chat_template_kwargs":
                kwargs = fields.get("chat_template_kwargs", {})
                fields["chat_template_kwargs"] = kwargs | {"reasoning_effort": level}
    no_levels = NO_EFFORT_FIELD if chat.thinking_switch is None else ONLY_A_SWITCH
    takes_budget = chat.budget_place is not None
    losses = thinking_losses(
        preference, chat.effort_levels, no_levels, can_stop=chat.can_stop_thinking, takes_budget=takes_budget
    )
    if preference.thinks and request.tools and chat.effort_beside_tools is not None:
        losses.append(Loss("$.thinking", f"beside tools the model takes only the effort {chat.effort_beside_tools}"))
    return fields, losses
