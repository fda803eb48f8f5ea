"""Encodes a normalized request as the body of a Responses request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from claude_bridge.adapters.base import TokenLimits, lowered_max_tokens, maker_of
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
from claude_bridge.adapters.openai_responses.output import SEARCH, read_search, reasoning_item
from claude_bridge.adapters.translating import EncodedFrame, split_user_turn, with_instructions
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.opaque_reasoning import unseal_block, usual_phase
from claude_bridge.conversion.profile import Profile, WebSearchProfile
from claude_bridge.conversion.reasoning import (
    EFFORTS,
    NO_EFFORT_FIELD,
    nearest_effort,
    preferred_thinking,
    thinking_losses,
)
from claude_bridge.conversion.request.content import Media, image_url
from claude_bridge.conversion.request.normalize import NormalizedRequest, NormalizedTool
from claude_bridge.conversion.request.server_tool_history import call_text
from claude_bridge.conversion.request.turns import Turn
from claude_bridge.conversion.tool_json.schema_reduce import can_be_strict
from claude_bridge.conversion.tool_json.text import as_object_json
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.wire import responses
from claude_bridge.wire.anthropic import (
    DocumentBlock,
    ImageBlock,
    MessagesRequest,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolUseBlock,
    UrlSource,
)

_CIPHERS = "reasoning.encrypted_content"
_SOURCES = "web_search_call.action.sources"

_FOREIGN = "earlier reasoning can only be read by the service and model that made it"
_CHANGED = "what stands before earlier reasoning has changed; the service left it out"


def encode_request(request: NormalizedRequest, model: str, profile: Profile, limits: TokenLimits) -> EncodedFrame:
    """Return the whole body, and what of the request the Responses API can't carry."""
    fields, losses = _parameters(request, profile, limits)
    tools, lost = _tools(tools_to_send(request, profile), profile)
    losses += lost
    items: list[responses.Item] = []
    if request.system and profile.responses.system_place == "instructions":
        fields["instructions"] = request.system
    elif request.system:
        items.append(_system_item(request.system, profile))
    left_out: list[str] = []
    digest = _InputDigest()
    digest.add(items)
    for at, (turn, behind) in enumerate(with_instructions(request.turns, prompted_options(request, profile))):
        later_tools, lost = _tools(request.later_tools.get(at, []), profile)
        losses += lost
        if turn.is_user:
            found = _user_items(turn, later_tools, behind, profile)
        else:
            found, lost_reasoning = _assistant_items(turn, later_tools, profile, maker_of(profile, model), digest.text)
            left_out += lost_reasoning
        items += found
        digest.add(found)
    losses += [Loss("$.messages", reason) for reason in (_FOREIGN, _CHANGED) if reason in left_out]
    if any(turn.effort for turn in request.turns) and not profile.responses.reads_effort_changes:
        losses.append(Loss("$.messages", "the effort can't be changed in the midst of a conversation"))
    body = responses.ResponsesRequest(
        model=model, stream=True, store=False, tools=tools or UNSET, input=items, **fields
    )
    return EncodedFrame(msgspec.json.encode(body), losses)


class _InputDigest:
    """What identifies input items as those of an earlier request."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=12)

    def add(self, items: Iterable[responses.Item | Raw]) -> None:
        """Take the items that come next."""
        for item in items:
            self._hash.update(bytes(item) if isinstance(item, Raw) else msgspec.json.encode(item))

    @property
    def text(self) -> str:
        """The digest of all items so far."""
        return self._hash.hexdigest()


class _Input(Struct):
    input: list[Raw] = []


def digest_of_input(body: bytes) -> str:
    """Return the digest of all items of a request."""
    digest = _InputDigest()
    digest.add(msgspec.json.decode(body, type=_Input).input)
    return digest.text


# --- the conversation ---------------------------------------------------------------------------------------------
#
# The services leave out earlier reasoning whose prefix is not what it was when the model thought so. So nothing here
# depends on what comes after a turn.


def _assistant_items(
    turn: Turn, later_tools: Sequence[responses.Tool], profile: Profile, maker: str, before: str
) -> tuple[list[responses.Item], list[str]]:
    """Return the items of an assistant's turn, behind the tools that it adds, and why reasoning is left out.

    ``maker`` alone gets back what it sealed, and where it binds reasoning to its prompt, only behind the items with the
    digest ``before``: a client that compacts a conversation keeps its last turns.
    """
    items: list[responses.Item] = _more_tools(later_tools)
    texts: list[int] = []
    phases: dict[int, str] = {}
    left_out: list[str] = []
    last_call = max((at for at, block in enumerate(turn.blocks) if type(block) is ToolUseBlock), default=-1)
    for at, block in enumerate(turn.blocks):
        match block:
            case TextBlock():
                texts.append(len(items))
                phases[len(items)] = usual_phase(is_before_call=at < last_call)
                items.append(responses.MessageItem(role="assistant", content=block.text))
            case ToolUseBlock():
                arguments = as_object_json(block.input)
                items.append(responses.CallItem(call_id=block.id, name=engine_name(block.name), arguments=arguments))
            case ThinkingBlock() if block.thinking:
                items.append(responses.ReasoningItem(content=[responses.ReasoningText(block.thinking)]))
            case RedactedThinkingBlock():
                held = unseal_block(block)
                is_own = held.maker == maker
                is_behind = not profile.responses.binds_reasoning or held.behind in ("", before)
                for item in held.items:
                    if item.get("type") == SEARCH:
                        items += [{name: item[name] for name in item if name != "id"}] if is_own else _as_text(item)
                    elif is_own and is_behind and (thought := reasoning_item(item)):
                        items.append(thought)
                if not is_own:
                    left_out.append(_FOREIGN)
                else:
                    left_out += [_CHANGED] if held.items and not is_behind else []
                    phases |= dict(zip(reversed(texts), reversed(held.phases), strict=False))
            case _ if isinstance(block, Media):
                omitted = f"[{block.__struct_config__.tag} omitted]"  # no assistant's message takes any
                items.append(responses.MessageItem(role="assistant", content=omitted))
    if profile.responses.reads_phases:
        for place, phase in phases.items():
            message = items[place]
            assert isinstance(message, responses.MessageItem), "its place is that of a text"
            items[place] = replace(message, phase=phase)
    return items, left_out


def _as_text(item: dict[str, Any]) -> list[responses.Item]:
    """Return a search of another service as text; a page that was opened says nothing without its content."""
    search = read_search(item)
    if search is None:
        return []
    call = call_text("web_search", Raw(msgspec.json.encode({"query": search.query})))
    found = "\n".join(["Web search results:", *(f"- {url}" for url in search.urls or ())])
    return [responses.MessageItem(role="assistant", content=f"{call}\n\n{found}")]


def _user_items(
    turn: Turn, later_tools: Sequence[responses.Tool], instructions: Sequence[str], profile: Profile
) -> list[responses.Item]:
    """Return the results, the tools that the turn adds, and what the user says, with ``instructions`` at the end."""
    results, rest = split_user_turn(turn, instructions)
    items: list[responses.Item] = [
        responses.ResultItem(call_id=result.tool_use_id, output=result_content(result, _parts)) for result in results
    ]
    items += _more_tools(later_tools)
    if turn.effort in EFFORTS and profile.responses.reads_effort_changes and profile.chat.effort_levels:
        effort = nearest_effort(turn.effort, profile.chat.effort_levels)
        items.append(responses.ConfigurationItem(reasoning=responses.Effort(effort)))
    if rest:
        items.append(responses.MessageItem(role="user", content=content_of(rest, _parts)))
    return items


def _more_tools(tools: Sequence[responses.Tool]) -> list[responses.Item]:
    return [responses.MoreToolsItem(tools=list(tools))] if tools else []


def _parts(block: TextBlock | Media) -> list[responses.ContentPart]:
    match block:
        case TextBlock(text):
            return [responses.InputText(text)]
        case ImageBlock():
            return [responses.InputImage(image_url(block))]
        case DocumentBlock(source=UrlSource(url), title=title):
            return [*([responses.InputText(title)] if title else []), responses.InputFile(file_url=url)]
        case DocumentBlock():
            return [responses.InputFile(filename=file_name(block), file_data=file_data(block))]


def _system_item(text: str, profile: Profile) -> responses.Item:
    """Return the system prompt as the first item."""
    if profile.responses.system_place == "system":
        return responses.MessageItem(role="system", content=text)
    mark = responses.CacheMark() if profile.responses.marks_cache else UNSET
    return responses.MessageItem(role="developer", content=[responses.InputText(text, mark)])


# --- tools ------------------------------------------------------------------------------------------------------


def _tools(tools: list[NormalizedTool], profile: Profile) -> tuple[list[responses.Tool], list[Loss]]:
    declared: list[responses.Tool] = []
    losses: list[Loss] = []
    for tool in tools:
        if tool.hosted is not None and profile.responses.web_search is not None:
            search, lost = _web_search(tool.hosted, profile.responses.web_search)
            declared.append(search)
            losses += lost
            continue
        strict, lost = strict_mode(tool, profile)
        losses += lost
        declared.append(
            responses.FunctionTool(
                name=engine_name(tool.name),
                description=tool.description or UNSET,
                parameters=tool.schema,
                strict=strict is True,
            )
        )
    return declared, losses


def _web_search(tool: Tool, service: WebSearchProfile) -> tuple[responses.WebSearchTool, list[Loss]]:
    """Return the declaration of the search that the service runs itself."""
    losses: list[Loss] = []
    filters: dict[str, list[str]] = {}
    for field, domains in (("allowed_domains", tool.allowed_domains), (service.blocked_field, tool.blocked_domains)):
        if domains:
            filters[field] = domains[: service.max_domains]
        if domains and len(domains) > service.max_domains:
            losses.append(Loss("$.tools", f"of the {len(domains)} domains only {service.max_domains} are filtered by"))
    takes_rest = service.takes_location_and_limit
    if not takes_rest:
        unsupported = {"max_uses": tool.max_uses, "user_location": tool.user_location}
        losses += [
            Loss("$.tools", f"the service's own web search has no {field}")
            for field, value in unsupported.items()
            if value
        ]
    location = tool.user_location if takes_rest and tool.user_location else UNSET
    return responses.WebSearchTool(filters=filters or UNSET, user_location=location), losses


# --- parameters -----------------------------------------------------------------------------------------------


def _parameters(request: NormalizedRequest, profile: Profile, limits: TokenLimits) -> tuple[dict[str, Any], list[Loss]]:
    """Return the fields of ResponsesRequest that are neither items nor tools, and what has no field."""
    client, api = request.parameters, profile.responses
    fields: dict[str, Any] = {}
    if api.has_obfuscation_switch:
        fields["stream_options"] = responses.StreamOptions()
    included = []
    if api.asks_for_ciphers and profile.opaque_reasoning == "reasoning_items" and profile.chat.effort_levels:
        included.append(_CIPHERS)
    hosted = next((tool.hosted for tool in request.tools if tool.hosted is not None), None)
    if hosted is not None and api.web_search is not None:
        included += [_SOURCES] if api.asks_for_sources else []
        if hosted.max_uses is not None and api.web_search.takes_location_and_limit:
            fields["max_tool_calls"] = hosted.max_uses
    fields["include"] = included or UNSET
    fields["reasoning"], losses = _reasoning(request, profile)
    fields["text"], lost = _text(request, profile)
    losses += lost
    # A search that the service runs has no name: any call is required then.
    hosted_names = {tool.name for tool in request.tools if tool.hosted is not None}
    fields |= tool_fields(
        request,
        profile,
        lambda name: "required" if name in hosted_names else responses.NamedToolChoice(engine_name(name)),
    )
    if not isinstance(client, MessagesRequest):
        return fields, losses
    max_tokens, lost = lowered_max_tokens(client.max_tokens, limits)
    fields["max_output_tokens"] = max(max_tokens, api.min_output_tokens)
    sampled, more_lost = sampling(client, profile)
    # A session that is resumed has another id, and thoughts of another user are not taken back.
    fields |= sampled | user_fields(client, profile, names_user=False)
    return fields, losses + lost + more_lost


def _reasoning(request: NormalizedRequest, profile: Profile) -> tuple[responses.Reasoning | UnsetType, list[Loss]]:
    """Return how the model is to think. Models that are not known to reason refuse the field."""
    preference, chat = preferred_thinking(request.parameters), profile.chat
    if any(tool.hosted is not None for tool in request.tools):  # GPT-5 refuses a search beside its lowest effort
        chat = replace(chat, effort_levels=tuple(level for level in chat.effort_levels if level != "minimal"))
    losses = thinking_losses(preference, chat.effort_levels, NO_EFFORT_FIELD, can_stop=chat.can_stop_thinking)
    if not chat.effort_levels:
        return UNSET, losses
    thinking = request.parameters.thinking
    is_shown = preference.thinks and profile.responses.asks_for_summary
    is_shown = is_shown and not (thinking and thinking.display == "omitted")
    level = effort_level(preference, chat)
    if level is None and not is_shown:
        return UNSET, losses
    return responses.Reasoning(effort=level or UNSET, summary="auto" if is_shown else UNSET), losses


def _text(request: NormalizedRequest, profile: Profile) -> tuple[responses.TextOptions | UnsetType, list[Loss]]:
    schema = request.answer_schema
    if schema is None:
        return UNSET, []
    if not holds_schema(request, profile):
        return UNSET, [Loss("$.output_config.format", "the engine can't hold an answer to it; requested in the prompt")]
    strict = profile.chat.has_strict and can_be_strict(bytes(schema))
    return responses.TextOptions(responses.JsonSchemaFormat(schema=schema, strict=strict)), []
