"""Encodes a normalized request as the body of a Chat Completions request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import UNSET
from msgspec.structs import replace

from claude_bridge.adapters.base import TokenLimits
from claude_bridge.adapters.openai_chat.parameters import parameters
from claude_bridge.adapters.openai_options import (
    content_of,
    file_data,
    file_name,
    prompted_options,
    result_content,
    strict_mode,
    tools_to_send,
)
from claude_bridge.adapters.translating import EncodedFrame, split_user_turn, with_instructions
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.opaque_reasoning import unseal
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.content import Media, image_url
from claude_bridge.conversion.request.normalize import NormalizedRequest, NormalizedTool
from claude_bridge.conversion.request.turns import Turn, split_assistant_turn
from claude_bridge.conversion.tool_json.text import as_object_json
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.wire import openai
from claude_bridge.wire.anthropic import DocumentBlock, ImageBlock, TextBlock

OK = "OK."
"""The assistant's text between a tool's message and a user's, where these may not meet."""


def encode_request(request: NormalizedRequest, model: str, profile: Profile, limits: TokenLimits) -> EncodedFrame:
    """Return the body without the conversation; see TranslatingAdapter.encode."""
    fields, losses = parameters(request, profile, limits)
    tools: list[openai.ToolDeclaration] = []
    for tool in tools_to_send(request, profile):
        declaration, lost = _tool(tool, profile)
        tools.append(declaration)
        losses += lost
    system = [openai.ChatMessage(role="system", content=request.system)] if request.system else []
    chat = openai.ChatRequest(model=model, stream=True, messages=system, tools=tools or UNSET, **fields)
    return EncodedFrame(openai.encode_chat_request(chat), losses, prompted_options(request, profile))


def encode_turns(turns: Sequence[Turn], profile: Profile, instructions: Sequence[str]) -> tuple[bytes, list[Loss]]:
    """Return the messages for some turns; see TranslatingAdapter.encode_turns."""
    return openai.encode_messages(_messages(turns, profile, instructions)), []


def _messages(turns: Sequence[Turn], profile: Profile, instructions: Sequence[str]) -> Iterator[openai.ChatMessage]:
    for turn, behind in with_instructions(turns, instructions):
        if turn.is_user:
            yield from _user_messages(turn, behind, profile)
        else:
            yield _assistant_message(turn, profile)


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
