"""Encodes a normalized request as the body of a Responses request."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from claude_bridge.adapters.base import TokenLimits, lowered_max_tokens, maker_of
from claude_bridge.adapters.openai_options import (
    effort_level,
    holds_schema,
    prompted_options,
    sampling,
    strict_mode,
    tool_fields,
    tools_to_send,
    user_fields,
)
from claude_bridge.adapters.openai_responses.items import assistant_items, system_item, user_items
from claude_bridge.adapters.translating import EncodedFrame, with_instructions
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile, WebSearchProfile
from claude_bridge.conversion.reasoning import NO_EFFORT_FIELD, preferred_thinking, thinking_losses
from claude_bridge.conversion.request.normalize import NormalizedRequest, NormalizedTool
from claude_bridge.conversion.tool_json.schema_reduce import can_be_strict
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.wire import responses
from claude_bridge.wire.anthropic import MessagesRequest, Tool

_CIPHERS = "reasoning.encrypted_content"
_SOURCES = "web_search_call.action.sources"


def encode_request(request: NormalizedRequest, model: str, profile: Profile, limits: TokenLimits) -> EncodedFrame:
    """Return the whole body, and what of the request the Responses API can't carry."""
    fields, losses = _parameters(request, profile, limits)
    tools, lost = _tools(tools_to_send(request, profile), profile)
    losses += lost
    items: list[responses.Item] = []
    if request.system and profile.responses.system_place == "instructions":
        fields["instructions"] = request.system
    elif request.system:
        items.append(system_item(request.system, profile))
    has_foreign_reasoning = has_changed_prompt = False
    digest = _InputDigest()
    digest.add(items)
    for at, (turn, behind) in enumerate(with_instructions(request.turns, prompted_options(request, profile))):
        later_tools, lost = _tools(request.later_tools.get(at, []), profile)
        losses += lost
        if turn.is_user:
            found = user_items(turn, later_tools, behind, profile)
        else:
            found = assistant_items(turn, later_tools, profile, maker_of(profile, model), digest.text)
        items += found.items
        digest.add(found.items)
        has_foreign_reasoning |= found.has_foreign_reasoning
        has_changed_prompt |= found.has_changed_prompt
    if has_foreign_reasoning:
        losses.append(Loss("$.messages", "earlier reasoning can only be read by the service and model that made it"))
    if has_changed_prompt:
        losses.append(Loss("$.messages", "what stands before earlier reasoning has changed; the service left it out"))
    if any(turn.effort for turn in request.turns) and not profile.responses.reads_effort_changes:
        losses.append(Loss("$.messages", "the effort can't be changed in the midst of a conversation"))
    body = responses.ResponsesRequest(
        model=model, stream=True, store=False, tools=tools or UNSET, input=items, **fields
    )
    return EncodedFrame(msgspec.json.encode(body), losses)


class _InputDigest:
    """What tells whether items of the input are those of an earlier request."""

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
