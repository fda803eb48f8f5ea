"""Encodes a normalized request as the body of a request to /api/chat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UNSET, Raw, UnsetType

from claude_bridge.adapters.base import TokenLimits, lowered_max_tokens
from claude_bridge.adapters.translating import EncodedFrame, split_user_turn, with_instructions
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import (
    ONLY_A_SWITCH,
    nearest_effort,
    preferred_thinking,
    thinking_losses,
    usual_effort,
)
from claude_bridge.conversion.request.normalize import NormalizedRequest, NormalizedTool
from claude_bridge.conversion.request.prompted_options import prompted_tool_choice
from claude_bridge.conversion.request.turns import Turn, split_assistant_turn
from claude_bridge.conversion.tool_json.text import as_object_json
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.wire import ollama
from claude_bridge.wire.anthropic import (
    Base64Source,
    Block,
    CountTokensRequest,
    ImageBlock,
    MessagesRequest,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    UrlSource,
)
from claude_bridge.wire.openai import FunctionDeclaration, ToolDeclaration


def encode_request(request: NormalizedRequest, model: str, profile: Profile, limits: TokenLimits) -> EncodedFrame:
    """Return the body without the conversation; see TranslatingAdapter.encode."""
    tools, instruction = prompted_tool_choice(request.parameters.tool_choice, request.tools)
    think, losses = _think(request, profile)
    options, lost = _options(request.parameters, limits)
    losses += lost
    losses += [Loss("$.tools", f"Ollama can't hold {tool.name!r} to its schema") for tool in tools if tool.strict]
    chat = ollama.ChatRequest(
        model=model,
        stream=True,
        truncate=False,
        shift=False,
        keep_alive=profile.ollama.keep_alive,
        think=think,
        format=request.answer_schema or UNSET,
        options=options,
        tools=[_tool(tool) for tool in tools] or UNSET,
        messages=[ollama.ChatMessage(role="system", content=request.system)] if request.system else [],
    )
    return EncodedFrame(msgspec.json.encode(chat), losses, [] if instruction is None else [instruction])


# --- messages -----------------------------------------------------------------------------------------------


def encode_turns(
    turns: Sequence[Turn], profile: Profile, instructions: Sequence[str]
) -> tuple[list[ollama.ChatMessage], list[Loss]]:
    """Return the messages for some turns, and what Ollama can't carry; see TranslatingAdapter.encode_turns."""
    losses = [Loss("$.messages", f"the image at {url}: Ollama takes no URLs") for url in _image_urls(turns)]
    messages: list[ollama.ChatMessage] = []
    called: dict[str, str] = {}
    for turn, behind in with_instructions(turns, instructions):
        if turn.is_user:
            messages += _user_messages(turn, called, behind)
        else:
            messages.append(_assistant_message(turn, profile))
            called = {block.id: engine_name(block.name) for block in turn.blocks if type(block) is ToolUseBlock}
    return messages, losses


def _user_messages(turn: Turn, called: dict[str, str], instructions: Sequence[str]) -> Iterator[ollama.ChatMessage]:
    results, rest = split_user_turn(turn, instructions)
    for result in results:
        text, images = _content(result.content)
        yield ollama.ChatMessage(
            role="tool",
            content=text,
            images=images or UNSET,
            tool_name=called.get(result.tool_use_id, UNSET),
            tool_call_id=result.tool_use_id,
        )
    if rest:
        text, images = _content(rest)
        yield ollama.ChatMessage(role="user", content=text, images=images or UNSET)


def _content(blocks: str | Sequence[Block] | None) -> tuple[str, list[str]]:
    """Return the text, and the images in base64: Ollama has a field for each, and fetches nothing."""
    if isinstance(blocks, str):
        return blocks, []
    texts: list[str] = []
    images: list[str] = []
    for block in blocks or ():
        match block:
            case TextBlock(text):
                texts.append(text)
            case ImageBlock(Base64Source(data=data)):
                images.append(data)
            case ImageBlock(UrlSource(url)):
                texts.append(f"[image at {url} omitted: it can't be fetched]")
            case _:
                pass  # nothing else is left in a user's turn
    return "\n\n".join(texts), images


def _image_urls(turns: Sequence[Turn]) -> Iterator[str]:
    """Yield the URLs of images that were not fetched before."""
    for turn in turns:
        for block in turn.blocks if turn.is_user else ():
            parts = block.content if isinstance(block, ToolResultBlock) else [block]
            for part in parts if isinstance(parts, list) else ():
                if isinstance(part, ImageBlock) and isinstance(part.source, UrlSource):
                    yield part.source.url


def _assistant_message(turn: Turn, profile: Profile) -> ollama.ChatMessage:
    text, thinking, used = split_assistant_turn(turn)
    calls = [
        ollama.ToolCall(
            id=block.id,
            function=ollama.Function(engine_name(block.name), Raw(as_object_json(block.input).encode())),
        )
        for block in used
    ]
    return ollama.ChatMessage(
        role="assistant",
        content=text,
        thinking=thinking if thinking and profile.reasoning_field == "thinking" else UNSET,
        tool_calls=calls or UNSET,
    )


def _tool(tool: NormalizedTool) -> ToolDeclaration:
    function = FunctionDeclaration(
        name=engine_name(tool.name), description=tool.description or UNSET, parameters=tool.schema
    )
    return ToolDeclaration(function=function)


# --- parameters ---------------------------------------------------------------------------------------------


def _think(request: NormalizedRequest, profile: Profile) -> tuple[bool | str | UnsetType, list[Loss]]:
    """Return ``think``, and what it can't express. A model that can think always gets it: Ollama's default is yes."""
    preference = preferred_thinking(request.parameters)
    levels = profile.ollama.think_levels if profile.ollama.thinks else ()
    no_levels = ONLY_A_SWITCH if profile.ollama.thinks else "the model does not think"
    losses = thinking_losses(preference, levels, no_levels, can_stop=False)
    if not levels:
        return (preference.thinks if profile.ollama.thinks else UNSET), losses
    # A client that leaves the effort open gets what the model's makers put in the middle.
    return nearest_effort(preference.effort, levels) if preference.effort else usual_effort(levels), losses


def _options(client: CountTokensRequest, limits: TokenLimits) -> tuple[ollama.Options | UnsetType, list[Loss]]:
    window = UNSET if limits.window_tokens is None else limits.window_tokens
    if not isinstance(client, MessagesRequest):
        return (UNSET if window is UNSET else ollama.Options(num_ctx=window)), []
    known = [limit for limit in (limits.max_output_tokens, limits.window_tokens) if limit is not None]
    most = TokenLimits(max_output_tokens=min(known, default=None))
    num_predict, losses = lowered_max_tokens(client.max_tokens, most)
    options = ollama.Options(
        num_ctx=window,
        num_predict=num_predict,
        temperature=UNSET if client.temperature is None else client.temperature,
        top_p=UNSET if client.top_p is None else client.top_p,
        top_k=UNSET if client.top_k is None else client.top_k,
    )
    return options, losses
