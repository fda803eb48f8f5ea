"""The parameters of a request: tool choice, limits, sampling, thinking, the shape of the answer, the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, UnsetType

from claude_bridge.adapters.base import TokenLimits, lowered_max_tokens
from claude_bridge.adapters.openai_options import effort_level, holds_schema, sampling, tool_fields, user_fields
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import NO_EFFORT_FIELD, ONLY_A_SWITCH, preferred_thinking, thinking_losses
from claude_bridge.conversion.request.normalize import NormalizedRequest
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.wire import openai
from claude_bridge.wire.anthropic import MessagesRequest


def parameters(request: NormalizedRequest, profile: Profile, limits: TokenLimits) -> tuple[dict[str, Any], list[Loss]]:
    """Return the fields of ChatRequest that are neither messages nor tools, and what has no field."""
    client = request.parameters
    fields: dict[str, Any] = {}
    if profile.chat.has_stream_options:
        fields["stream_options"] = openai.StreamOptions()
    if profile.chat.asks_for_cache:
        fields["cache_control"] = {"type": "ephemeral"}
    fields |= tool_fields(request, profile, _choice_of)
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


def _choice_of(name: str) -> openai.NamedToolChoice:
    return openai.NamedToolChoice(function=openai.NamedFunction(engine_name(name)))


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
