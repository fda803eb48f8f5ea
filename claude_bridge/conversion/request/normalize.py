"""The way in: one Anthropic request in the form that one engine takes, with what is lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.structs import replace

from claude_bridge.conversion.builtin_tools import api_tool, schema_of
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile, SchemaDialect
from claude_bridge.conversion.prompt.context_budget import PromptFacts, asks_for_summary
from claude_bridge.conversion.request.content import as_blocks
from claude_bridge.conversion.request.history import KnownHistory
from claude_bridge.conversion.request.offered_tools import declared_tools, inline_tools, offered_tools, tools_in_place
from claude_bridge.conversion.request.prefill import continues_prefill
from claude_bridge.conversion.request.tool_results import media_in
from claude_bridge.conversion.request.turns import HistorySeam, RepairedHistory, Turn, repair_history, system_text
from claude_bridge.conversion.tool_json.schema_reduce import ReducedSchema, reduce_answer_schema, reduce_tool_schema
from claude_bridge.conversion.tool_json.simpler_schemas import schema_digest
from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.anthropic import CountTokensRequest, InputMessage, TextBlock, Tool

_SHORTENED = "the schema was shortened: its references and rules would have become too long"
_SIMPLIFIED = "the engine refused the schema; it is sent in few keywords, the rest in words"


class NormalizedTool(Struct, frozen=True):
    """A tool as the engine gets it."""

    name: str
    description: str
    schema: Raw
    strict: bool | None = None
    hosted: Tool | None = None
    """Its declaration, where the service runs it itself; None: it is a function."""


class NormalizedRequest(Struct, frozen=True, kw_only=True):
    """What an adapter encodes: the repaired conversation, the tools, and the client's own parameters.

    ``answer_schema`` is the schema that the answer must match, None where it is free.
    """

    system: str
    turns: list[Turn]
    tools: list[NormalizedTool]
    later_tools: dict[int, list[NormalizedTool]]
    """Tools that are declared only where a turn loads them, by the number of the turn."""
    answer_schema: Raw | None
    parameters: CountTokensRequest
    losses: list[Loss]
    """What could not be carried this far, beside what of the conversation could not be."""
    inline_tools: tuple[Tool, ...]
    """Tools that are declared in the messages; answers may call them too."""


class _RawFacts(NamedTuple):
    """What is known of a conversation up to an answer: how many messages that is, and what they hold."""

    messages: int = 0
    assistant_turns: int = 0
    images: int = 0


def raw_prompt_facts(messages: Sequence[InputMessage], history: KnownHistory | None = None) -> PromptFacts:
    """Return what is known of a conversation that goes to the engine as it came."""
    known: _RawFacts = (history and history.latest(raw_prompt_facts)) or _RawFacts()
    first, assistant_turns, images = known
    last_texts: list[str] = []
    for index, message in enumerate(messages[first:], first):
        blocks = as_blocks(message.content)
        images += sum(map(media_in, blocks))
        if message.role == "assistant":
            assistant_turns += 1
            last_texts.clear()
            known = _RawFacts(index + 1, assistant_turns, images)
        else:
            last_texts += (block.text for block in blocks if isinstance(block, TextBlock))
    if history is not None:
        history.keep(raw_prompt_facts, known.messages, known)
    return PromptFacts(images=images, assistant_turns=assistant_turns, asks_for_summary=asks_for_summary(last_texts))


def normalize_request(
    request: CountTokensRequest,
    profile: Profile,
    *,
    tool_dialect: SchemaDialect | None = None,
    simpler_schemas: Mapping[bytes, SchemaDialect] | None = None,
    keeps_unused_tools: bool = False,
    history: RepairedHistory | None = None,
) -> NormalizedRequest:
    """Return the request in a form that an engine of this profile can take.

    ``tool_dialect`` is what tools' schemas must be written in (None: the profile says); ``simpler_schemas`` gives the
    dialect of schemas that the engine refused, by their digests. ``keeps_unused_tools`` says that tools stay where no
    call is wanted. ``history`` is the conversation where it has been repaired already, perhaps only the end of it.

    Raises:
        InvalidRequestError: it holds no content, or a tool that only Anthropic can run.
    """
    history = history or repaired_history(request, profile)
    choice = request.tool_choice
    if keeps_unused_tools and choice is not None and choice.type == "none":
        choice = None
    inline = inline_tools(history.tool_changes)
    declared, lost = declared_tools(request.tools or ())
    _check_choice(request, [tool.name for tool in (*(tool for tool, _ in declared), *inline)])
    system, losses = system_text(request.system)
    losses += lost
    if profile.keeps_tool_list:
        changes = [turn.tool_changes for turn in history.turns]
        offered, later_tools = tools_in_place(declared, changes, choice)
    else:
        offered, later_tools = offered_tools(declared, history.tool_changes, choice), {}
    tools: list[NormalizedTool] = []
    later: dict[int, list[NormalizedTool]] = {}
    dialect, simpler = tool_dialect or profile.schema_dialect, simpler_schemas or {}
    for place, found in ((None, offered), *later_tools.items()):
        for tool, path in found:
            normalized, lost = _normalize_tool(tool, path, dialect, simpler, profile)
            (tools if place is None else later.setdefault(place, [])).append(normalized)
            losses += lost
    answer_schema, lost = _answer_schema(request, profile.schema_dialect, simpler)
    return NormalizedRequest(
        system=system,
        turns=history.turns,
        tools=tools,
        later_tools=later,
        answer_schema=answer_schema,
        parameters=request,
        losses=[*losses, *lost],
        inline_tools=inline,
    )


def repaired_history(
    request: CountTokensRequest,
    profile: Profile,
    refused_reasoning: Collection[bytes] = (),
    *,
    seam: HistorySeam | None = None,
) -> RepairedHistory:
    """Return the conversation as an engine of this profile can take it; see repair_history.

    Raises:
        InvalidRequestError: it holds no content.
    """
    if profile.continues_prefill and not continues_prefill(request, profile):
        profile = replace(profile, continues_prefill=False)
    try:
        history = repair_history(request.messages, profile, refused_reasoning, seam=seam)
    except RecursionError:
        raise InvalidRequestError("The request is nested too deeply.") from None
    if not history.turns:
        raise InvalidRequestError("messages: no message has any content - at `$.messages`")
    return history


def _check_choice(request: CountTokensRequest, names: Sequence[str]) -> None:
    choice = request.tool_choice
    if choice is None or choice.type not in ("any", "tool"):
        return
    if not names:
        raise InvalidRequestError("tool_choice: a tool is forced, and none is declared - at `$.tool_choice`")
    if choice.type == "tool" and choice.name and choice.name not in names:
        raise InvalidRequestError(f"tool_choice: no tool {choice.name[:200]!r} is declared - at `$.tool_choice.name`")


# --- tools ----------------------------------------------------------------------------------------------------


def _normalize_tool(
    tool: Tool, path: str, dialect: SchemaDialect, simpler_schemas: Mapping[bytes, SchemaDialect], profile: Profile
) -> tuple[NormalizedTool, list[Loss]]:
    known = api_tool(tool)
    if known is not None and known.runs_at_api == "web_search" and profile.responses.web_search is not None:
        return NormalizedTool(tool.name, known.description, known.schema, hosted=tool), []
    if known is None and tool.input_schema is UNSET and tool.type not in (None, "custom"):
        if tool.mcp_server_name is not None:
            raise InvalidRequestError(
                f"tools: {tool.type!r} lets Anthropic call the MCP server {tool.mcp_server_name!r}, and no engine here "
                f"can call it; add it to the client instead - at `{path}.type`"
            )
        title = f"{tool.name!r} of type {tool.type!r}" if tool.name else repr(tool.type)
        raise InvalidRequestError(f"tools: {title} runs at Anthropic, and no engine here can run it - at `{path}.type`")
    if not tool.name:
        raise InvalidRequestError(f"Object missing required field `name` - at `{path}`")
    reduced, losses = _reduced(schema_of(tool), f"{path}.input_schema", dialect, simpler_schemas, reduce_tool_schema)
    described = tool.description or (known.description if known else "")
    description = f"{described}\n\n{reduced.notes}".strip() if reduced.notes else described
    return NormalizedTool(tool.name, description, Raw(reduced.schema), tool.strict), losses


def _answer_schema(
    request: CountTokensRequest, dialect: SchemaDialect, simpler_schemas: Mapping[bytes, SchemaDialect]
) -> tuple[Raw | None, list[Loss]]:
    output, path = request.answer_format, "$.output_config.format"
    if output is None:
        return None, []
    if output.type != "json_schema" or output.schema is UNSET:
        return None, [Loss(path, f"type {output.type!r} is not known")]
    reduced, losses = _reduced(output.schema, f"{path}.schema", dialect, simpler_schemas, reduce_answer_schema)
    return Raw(reduced.schema), losses


def _reduced(
    schema: Raw,
    path: str,
    dialect: SchemaDialect,
    simpler_schemas: Mapping[bytes, SchemaDialect],
    reduce: Callable[[bytes, SchemaDialect], ReducedSchema],
) -> tuple[ReducedSchema, list[Loss]]:
    """Return a schema that the engine takes, and what it does not say any more.

    Raises:
        InvalidRequestError: it is no object, or can't be read; the message names ``path``.
    """
    document = bytes(schema)
    if not document.startswith(b"{"):
        raise InvalidRequestError(f"Expected `object`, got {document[:20].decode(errors='replace')} - at `{path}`")
    simpler = simpler_schemas.get(schema_digest(document)) if simpler_schemas else None
    try:
        reduced = reduce(document, simpler or dialect)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequestError(f"The schema can't be read: {error} - at `{path}`") from error
    losses = [Loss(path, _SIMPLIFIED)] if simpler else []
    return reduced, losses + ([Loss(path, _SHORTENED)] if reduced.is_cut else [])
