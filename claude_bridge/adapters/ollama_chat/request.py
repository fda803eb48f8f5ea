"""How a request is put: a fit request becomes the body of a request to /api/chat."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, Raw, UnsetType

from claude_bridge.adapters.base import TokenLimits
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import nearest_effort, preferred_thinking, usual_effort
from claude_bridge.conversion.request.content import FitBlock
from claude_bridge.conversion.request.normalize import NormalizedRequest, NormalizedTool, reduce_schema
from claude_bridge.conversion.request.prompted_options import forced_in_words
from claude_bridge.conversion.request.turns import Turn, split_assistant_turn
from claude_bridge.conversion.tool_json.schema_reduce import narrow_schema
from claude_bridge.conversion.tool_json.text import as_object_json
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire import ollama
from claude_bridge.wire.anthropic import (
    Base64Source,
    Block,
    ImageBlock,
    MessagesRequest,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    UrlSource,
)


def encode_request(request: NormalizedRequest, model: str, profile: Profile, limits: TokenLimits) -> bytes:
    """Return the body; what /api/chat can't carry is added to ``request.losses``.

    Raises:
        InvalidRequestError: the client forces a tool that it does not declare, or a schema is nested too deeply.
    """
    choice = request.parameters.tool_choice
    tools, instruction = forced_in_words(choice, request.tools)
    try:
        declared = [_tool(tool, request.losses) for tool in tools]
    except RecursionError:
        raise InvalidRequestError("The schema of a tool is nested too deeply - at `$.tools`") from None
    chat = ollama.ChatRequest(
        model=model,
        stream=True,
        truncate=False,
        shift=False,
        keep_alive=profile.ollama.keep_alive,
        think=_think(request, profile),
        format=_format(request, profile),
        options=_options(request, limits),
        tools=declared or UNSET,
        messages=_messages(request, profile, instruction),
    )
    return ollama.encode_chat_request(chat)


# --- messages -----------------------------------------------------------------------------------------------


def _messages(request: NormalizedRequest, profile: Profile, instruction: str | None) -> list[ollama.ChatMessage]:
    messages: list[ollama.ChatMessage] = []
    if request.system:
        messages.append(ollama.ChatMessage(role="system", content=request.system))
    called: dict[str, str] = {}
    last_user_turn = max((at for at, turn in enumerate(request.turns) if turn.is_user), default=None)
    for at, turn in enumerate(request.turns):
        if turn.is_user:
            # At the end of the prompt: anywhere else it would change what the engine has in its cache.
            said_last = instruction if at == last_user_turn else None
            messages += _user_messages(turn, called, said_last, request.losses)
        else:
            messages.append(_assistant_message(turn, profile))
            called = {block.id: engine_name(block.name) for block in turn.blocks if type(block) is ToolUseBlock}
    return messages


def _user_messages(
    turn: Turn, called: dict[str, str], instruction: str | None, losses: list[Loss]
) -> list[ollama.ChatMessage]:
    """Return tool messages first, directly behind the calls, then what the user said."""
    messages: list[ollama.ChatMessage] = []
    said: list[FitBlock] = []
    for block in turn.blocks:
        if type(block) is ToolResultBlock:
            text, images = _content(block.content, losses)
            messages.append(
                ollama.ChatMessage(
                    role="tool",
                    content=text,
                    images=images or UNSET,
                    tool_name=called.get(block.tool_use_id, UNSET),
                    tool_call_id=block.tool_use_id,
                )
            )
        else:
            said.append(block)
    if instruction is not None:
        said.append(TextBlock(instruction))
    if said:
        text, images = _content(said, losses)
        messages.append(ollama.ChatMessage(role="user", content=text, images=images or UNSET))
    return messages


def _content(blocks: str | Sequence[Block] | None, losses: list[Loss]) -> tuple[str, list[str]]:
    """Return the text, and the images in base64: Ollama has a place for each, and fetches nothing."""
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
                losses.append(Loss("$.messages", f"the image at {url}: Ollama takes no URLs"))
                texts.append(f"[image at {url} omitted: it can't be fetched]")
            case _:
                pass  # nothing else is left in a user's turn
    return "\n\n".join(texts), images


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


def _tool(tool: NormalizedTool, losses: list[Loss]) -> ollama.ToolDeclaration:
    if tool.strict:
        losses.append(Loss("$.tools", f"Ollama can't hold {tool.name!r} to its schema"))
    narrow = narrow_schema(bytes(tool.schema))
    description = "\n\n".join(part for part in (tool.description, narrow.notes) if part)
    return ollama.ToolDeclaration(
        function=ollama.FunctionDeclaration(
            name=engine_name(tool.name), description=description or UNSET, parameters=Raw(narrow.schema)
        )
    )


# --- parameters ---------------------------------------------------------------------------------------------


def _think(request: NormalizedRequest, profile: Profile) -> bool | str | UnsetType:
    """Return whether to think, or how hard: a model that can is always told, since Ollama's default is yes."""
    wish, losses = preferred_thinking(request.parameters), request.losses
    if profile.ollama.thinks and profile.ollama.think_levels:
        if wish.is_refusal:
            losses.append(
                Loss("$.thinking", f"the model can't stop thinking; it is asked for {profile.ollama.think_levels[0]}")
            )
        if wish.effort is None:  # the client leaves it to the model, and that is what its makers put in the middle
            return usual_effort(profile.ollama.think_levels)
        return nearest_effort(wish.effort, profile.ollama.think_levels)
    reason = "the model can only think or not" if profile.ollama.thinks else "the model does not think"
    if wish.thinks and wish.budget_tokens is not None:
        losses.append(Loss("$.thinking.budget_tokens", reason))
    elif wish.thinks and wish.effort is not None:
        losses.append(Loss("$.output_config.effort", reason))
    return wish.thinks if profile.ollama.thinks else UNSET


def _format(request: NormalizedRequest, profile: Profile) -> Raw | UnsetType:
    wanted = request.parameters.answer_format
    if wanted is None:
        return UNSET
    if wanted.type != "json_schema" or wanted.schema is UNSET:
        request.losses.append(Loss("$.output_config.format", f"type {wanted.type!r} is not known"))
        return UNSET
    return reduce_schema(wanted.schema, profile, "$.output_config.format.schema")


def _options(request: NormalizedRequest, limits: TokenLimits) -> ollama.Options | UnsetType:
    asked = request.parameters
    window = UNSET if limits.window_tokens is None else limits.window_tokens
    if not isinstance(asked, MessagesRequest):
        return UNSET if window is UNSET else ollama.Options(num_ctx=window)
    return ollama.Options(
        num_ctx=window,
        num_predict=_max_tokens(asked.max_tokens, limits, request.losses),
        temperature=UNSET if asked.temperature is None else asked.temperature,
        top_p=UNSET if asked.top_p is None else asked.top_p,
        top_k=UNSET if asked.top_k is None else asked.top_k,
    )


def _max_tokens(asked: int, limits: TokenLimits, losses: list[Loss]) -> int:
    known = [limit for limit in (limits.max_output_tokens, limits.window_tokens) if limit is not None]
    limit = min(known, default=asked)
    if asked <= limit:
        return asked
    losses.append(Loss("$.max_tokens", f"lowered from {asked} to the model's limit {limit}"))
    return limit
