"""The way in: one Anthropic request made fit for one engine, with its losses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.structs import replace

from claude_bridge.conversion.builtin_tools import api_tool, schema_of
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.prefill import continues_prefill
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.prompt.context_budget import PromptFacts, asks_for_summary
from claude_bridge.conversion.request.content import as_blocks
from claude_bridge.conversion.request.turns import Turn, repair_turns, system_text
from claude_bridge.conversion.tool_json.schema_reduce import compact_schema, schema_for_grammar
from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.anthropic import (
    Block,
    CountTokensRequest,
    DocumentBlock,
    ImageBlock,
    InputMessage,
    TextBlock,
    Tool,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolSearchToolResultBlock,
)


class NormalizedTool(Struct, frozen=True):
    """A tool as the engine is told of it."""

    name: str
    description: str
    schema: Raw
    strict: bool | None = None


class NormalizedRequest(Struct, frozen=True, kw_only=True):
    """What an adapter encodes: the repaired conversation, the tools, and the client's own parameters."""

    system: str
    turns: list[Turn]
    tools: list[NormalizedTool]
    parameters: CountTokensRequest
    losses: list[Loss]

    @property
    def facts(self) -> PromptFacts:
        """What the length of the prompt is judged by."""
        assistant_turns = images = 0
        for turn in self.turns:
            if turn.is_user:
                images += sum(map(_images_in, turn.blocks))
            else:
                assistant_turns += 1
        last_texts = (block.text for block in self.turns[-1].blocks if type(block) is TextBlock)
        return PromptFacts(
            images=images, assistant_turns=assistant_turns, asks_for_summary=asks_for_summary(last_texts)
        )


def raw_prompt_facts(messages: Sequence[InputMessage]) -> PromptFacts:
    """Return the same of a conversation that goes to the engine as it came."""
    assistant_turns = images = 0
    last_texts: list[str] = []
    for message in messages:
        blocks = as_blocks(message.content)
        if message.role == "assistant":
            assistant_turns += 1
            last_texts.clear()
        else:
            last_texts += (block.text for block in blocks if isinstance(block, TextBlock))
        images += sum(map(_images_in, blocks))
    return PromptFacts(images=images, assistant_turns=assistant_turns, asks_for_summary=asks_for_summary(last_texts))


def _images_in(block: Block) -> int:
    """Return how many images and documents a block holds; a tool result may hold some too."""
    kind = type(block)
    if kind is ImageBlock or kind is DocumentBlock:
        return 1
    if isinstance(block, ToolResultBlock) and isinstance(block.content, list):
        return sum(isinstance(part, ImageBlock | DocumentBlock) for part in block.content)
    return 0


def normalize_request(request: CountTokensRequest, profile: Profile, losses: Sequence[Loss] = ()) -> NormalizedRequest:
    """Return the request in a form that an engine of this profile can take.

    ``losses`` are those of the steps before.

    Raises:
        InvalidRequestError: it holds no content, or a tool that only Anthropic can run.
    """
    try:
        return _fit_request(request, profile, list(losses))
    except RecursionError:
        raise InvalidRequestError("The request is nested too deeply.") from None


def reduce_schema(schema: Raw, profile: Profile, path: str) -> Raw:
    """Return a JSON Schema that an engine of this profile can take, in one fixed formatting.

    Raises:
        InvalidRequestError: it is no object, or can't be read; the message names ``path``.
    """
    given = bytes(schema)
    if not given.startswith(b"{"):
        raise InvalidRequestError(f"Expected `object`, got {given[:20].decode(errors='replace')} - at `{path}`")
    try:
        return Raw(schema_for_grammar(given) if profile.compiles_grammar else compact_schema(given))
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequestError(f"The schema can't be read: {error} - at `{path}`") from error


def _fit_request(request: CountTokensRequest, profile: Profile, losses: list[Loss]) -> NormalizedRequest:
    if profile.continues_prefill and not continues_prefill(request, profile):
        profile = replace(profile, continues_prefill=False)
    turns = repair_turns(request.messages, profile, losses)
    if not turns:
        raise InvalidRequestError("messages: no message has any content - at `$.messages`")
    _check_choice(request)
    tools = [] if request.tool_choice and request.tool_choice.type == "none" else _tools(request)
    return NormalizedRequest(
        system=system_text(request.system, losses),
        turns=turns,
        tools=[_fit_tool(tool, index, profile) for index, tool in tools],
        parameters=request,
        losses=losses,
    )


def _check_choice(request: CountTokensRequest) -> None:
    choice = request.tool_choice
    if choice is None or choice.type not in ("any", "tool"):
        return
    if not request.tools:
        raise InvalidRequestError("tool_choice: a tool is forced, and none is declared - at `$.tool_choice`")
    if choice.type == "tool" and choice.name and all(tool.name != choice.name for tool in request.tools):
        raise InvalidRequestError(f"tool_choice: no tool {choice.name!r} is declared - at `$.tool_choice.name`")


def _tools(request: CountTokensRequest) -> Iterable[tuple[int, Tool]]:
    """Return the tools to send, with their places in the request.

    A deferred tool is sent once the history has loaded it, after all others and in the order of loading: so the
    tools that were there before stay where they were in the prompt.
    """
    declared = list(enumerate(request.tools or ()))
    if not any(tool.defer_loading for _, tool in declared):
        return declared
    deferred = {tool.name: (index, tool) for index, tool in declared if tool.defer_loading}
    forced = [request.tool_choice.name] if request.tool_choice and request.tool_choice.type == "tool" else []
    named = dict.fromkeys([*_loaded_tools(request.messages), *forced])
    loaded = [deferred[name] for name in named if name in deferred]
    return [(index, tool) for index, tool in declared if not tool.defer_loading] + loaded


def _loaded_tools(messages: Iterable[InputMessage]) -> list[str]:
    names: dict[str, None] = {}
    for message in messages:
        for block in message.content if not isinstance(message.content, str) else ():
            for reference in _references_in(block):
                names[reference.tool_name] = None
    return list(names)


def _references_in(block: Block) -> list[ToolReferenceBlock]:
    match block:
        case ToolReferenceBlock():
            return [block]
        case ToolResultBlock(_, content) if isinstance(content, list):
            return [part for part in content if isinstance(part, ToolReferenceBlock)]
        case ToolSearchToolResultBlock(_, found):
            return found.tool_references
        case _:
            return []


def _fit_tool(tool: Tool, index: int, profile: Profile) -> NormalizedTool:
    known = api_tool(tool)
    if known is None and tool.input_schema is UNSET and tool.type not in (None, "custom"):
        raise InvalidRequestError(
            f"tools: {tool.name!r} of type {tool.type!r} runs at Anthropic, and no engine here can run it "
            f"- at `$.tools[{index}].type`"
        )
    schema = reduce_schema(schema_of(tool), profile, f"$.tools[{index}].input_schema")
    description = tool.description or (known.description if known else "")
    return NormalizedTool(tool.name, description, schema, tool.strict)
