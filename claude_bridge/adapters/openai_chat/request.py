"""How a request is put: a fit request becomes the body of a Chat Completions request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from claude_bridge.adapters.base import TokenLimits
from claude_bridge.adapters.openai_chat.parameters import parameters, tools_to_send, wishes
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.media_types import PDF
from claude_bridge.conversion.opaque_reasoning import unseal
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.content import FitBlock, Media, image_url, text_of
from claude_bridge.conversion.request.normalize import NormalizedRequest, NormalizedTool
from claude_bridge.conversion.request.turns import Turn, split_assistant_turn
from claude_bridge.conversion.tool_json.schema_reduce import holds_strictly
from claude_bridge.conversion.tool_json.text import as_object_json
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.wire import openai
from claude_bridge.wire.anthropic import (
    Base64Source,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ToolResultBlock,
    UrlSource,
)

OK = "OK."
"""What the assistant says between a tool's message and a user's, where these may not meet."""


def encode_request(request: NormalizedRequest, model: str, profile: Profile, limits: TokenLimits) -> bytes:
    """Return the body; what Chat Completions can't carry is added to ``request.losses``.

    Raises:
        InvalidRequestError: the client forces a tool that it does not declare.
    """
    chat = openai.ChatRequest(
        model=model,
        stream=True,
        messages=_messages(request, profile),
        tools=[_tool(tool, profile, request.losses) for tool in tools_to_send(request, profile)] or UNSET,
        **parameters(request, profile, limits),
    )
    return openai.encode_chat_request(chat)


def _messages(request: NormalizedRequest, profile: Profile) -> list[openai.ChatMessage]:
    messages: list[openai.ChatMessage] = []
    if request.system:
        messages.append(openai.ChatMessage(role="system", content=request.system))
    last_user_turn = max((at for at, turn in enumerate(request.turns) if turn.is_user), default=None)
    for at, turn in enumerate(request.turns):
        if turn.is_user:
            messages += _user_messages(turn, wishes(request, profile) if at == last_user_turn else (), profile)
        else:
            messages.append(_assistant_message(turn, profile))
    return messages


def _user_messages(turn: Turn, wishes: Sequence[str], profile: Profile) -> list[openai.ChatMessage]:
    """Return tool messages first, directly behind the calls, then what the user said, and the wishes."""
    messages: list[openai.ChatMessage] = []
    said: list[FitBlock] = []
    for block in turn.blocks:
        if type(block) is ToolResultBlock:
            content = _tool_content(block)
            messages.append(openai.ChatMessage(role="tool", content=content, tool_call_id=block.tool_use_id))
        else:
            said.append(block)
    said += map(TextBlock, wishes)
    if said and messages and not profile.chat.user_follows_tool:
        messages.append(openai.ChatMessage(role="assistant", content=OK))
    if said:
        messages.append(openai.ChatMessage(role="user", content=_content(said)))
    return messages


def _tool_content(result: ToolResultBlock) -> str | list[openai.ContentPart]:
    if isinstance(result.content, str):
        return result.content
    return _content([block for block in result.content or () if isinstance(block, TextBlock | Media)])


def _content(blocks: Sequence[FitBlock]) -> str | list[openai.ContentPart]:
    """Return a plain string where there is only text: some templates know nothing else."""
    if len(blocks) == 1 and type(blocks[0]) is TextBlock:
        return blocks[0].text
    if not any(isinstance(block, Media) for block in blocks):
        return text_of(blocks)
    parts: list[openai.ContentPart] = []
    for block in blocks:
        if isinstance(block, TextBlock):
            parts.append(openai.TextPart(block.text))
        elif isinstance(block, ImageBlock):
            parts.append(openai.ImagePart(openai.ImageUrl(image_url(block))))
        elif isinstance(block, DocumentBlock):
            parts.append(_file_part(block))
    return parts


def _file_part(document: DocumentBlock) -> openai.FilePart:
    name = document.title or "document"
    filename = name if name.lower().endswith(".pdf") else f"{name}.pdf"
    source = document.source
    assert isinstance(source, Base64Source | UrlSource), "fit_blocks leaves no other document"
    data = source.url if isinstance(source, UrlSource) else f"data:{PDF};base64,{source.data}"
    return openai.FilePart(openai.FileData(filename, data))


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
    if profile.sealed_thoughts == "thought_signature":
        calls = _signed(calls, unseal(turn.blocks).signatures, profile)
    elif profile.sealed_thoughts == "reasoning_details":
        details = unseal(turn.blocks).details
        if details:
            return openai.ChatMessage(
                role="assistant",
                content=text or (None if calls else ""),
                reasoning_details=details,  # they say all that was thought
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


def _tool(tool: NormalizedTool, profile: Profile, losses: list[Loss]) -> openai.ToolDeclaration:
    return openai.ToolDeclaration(
        function=openai.FunctionDeclaration(
            name=engine_name(tool.name),
            description=tool.description or UNSET,
            parameters=tool.schema,
            strict=_strict(tool, profile, losses),
        )
    )


def _strict(tool: NormalizedTool, profile: Profile, losses: list[Loss]) -> bool | UnsetType:
    """Return whether the model is held to the tool's schema; a schema that allows for more than that is refused."""
    if not tool.strict:
        return UNSET if tool.strict is None or not profile.chat.has_strict else False
    if profile.chat.has_strict and holds_strictly(bytes(tool.schema)):
        return True
    if profile.chat.has_strict:
        reason = f"the schema of {tool.name!r} leaves open what must be closed for that"
    else:
        reason = f"whether the engine can hold {tool.name!r} to its schema is not known"
    losses.append(Loss("$.tools", reason))
    return UNSET
