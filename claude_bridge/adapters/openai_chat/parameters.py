"""The parameters of a request: tool choice, limits, sampling, the shape of the answer, the user."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from msgspec import UNSET, UnsetType

from claude_bridge.adapters.base import TokenLimits, lowered_max_tokens
from claude_bridge.adapters.openai_chat.reasoning import thinking_fields
from claude_bridge.adapters.openai_options import choice_to_send, holds_schema, sampling
from claude_bridge.clients.claude_code import read_user_id
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.normalize import NormalizedRequest
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.wire import openai
from claude_bridge.wire.anthropic import MessagesRequest, ToolChoice


def parameters(request: NormalizedRequest, profile: Profile, limits: TokenLimits) -> tuple[dict[str, Any], list[Loss]]:
    """Return the fields of ChatRequest that are neither messages nor tools, and what has no field."""
    client = request.parameters
    fields: dict[str, Any] = {}
    if profile.chat.has_stream_options:
        fields["stream_options"] = openai.StreamOptions()
    if profile.chat.asks_for_cache:
        fields["cache_control"] = {"type": "ephemeral"}
    fields |= _tool_fields(request, profile)
    thinking, losses = thinking_fields(request, profile)
    fields |= thinking
    fields["response_format"], lost = _response_format(request, profile)
    losses += lost
    if not isinstance(client, MessagesRequest):
        return fields, losses
    if profile.chat.reports_progress:
        fields["return_progress"] = True
    fields[profile.chat.max_tokens_field], lost = lowered_max_tokens(client.max_tokens, limits)
    sampled, more_lost = sampling(client, profile)
    fields |= sampled
    if client.metadata and client.metadata.user_id:
        fields |= _user_fields(client.metadata.user_id, profile)
    return fields, losses + lost + more_lost


# --- tools ----------------------------------------------------------------------------------------------------


def _tool_fields(request: NormalizedRequest, profile: Profile) -> dict[str, Any]:
    choice = request.parameters.tool_choice
    if choice is None or not request.tools:
        return {}
    fields: dict[str, Any] = {}
    sent = choice_to_send(request, profile)
    if sent is not None:
        fields["tool_choice"] = _tool_choice(sent)
    if choice.disable_parallel_tool_use and profile.chat.has_parallel_switch:
        fields["parallel_tool_calls"] = False
    return fields


def _tool_choice(choice: ToolChoice) -> str | openai.NamedToolChoice:
    if choice.type == "tool" and choice.name:
        return openai.NamedToolChoice(function=openai.NamedFunction(engine_name(choice.name)))
    return {"auto": "auto", "any": "required", "tool": "required", "none": "none"}[choice.type]


# --- the answer's shape, length and sampling --------------------------------------------------------------------


def _response_format(
    request: NormalizedRequest, profile: Profile
) -> tuple[openai.ResponseFormat | UnsetType, list[Loss]]:
    schema = request.answer_schema
    if schema is None:
        return UNSET, []
    if holds_schema(request, profile):
        return openai.ResponseFormat(type="json_schema", json_schema=openai.JsonSchema(schema=schema)), []
    losses = [Loss("$.output_config.format", "the engine can't hold an answer to it; asked for in words")]
    if profile.chat.structured_output is None or (request.tools and not profile.chat.structured_beside_tools):
        return UNSET, losses
    return openai.ResponseFormat(type="json_object"), losses


# --- the user -------------------------------------------------------------------------------------------------


def _user_fields(user_id: str, profile: Profile) -> dict[str, str]:
    """Return the fields for the user. Of Claude Code's id, a JSON document, only a hash of the session is sent."""
    known = read_user_id(user_id)
    if not known.is_its_own:
        return {profile.chat.user_field: user_id} if profile.chat.user_field else {}
    if known.session is None:
        return {}
    hashed = sha256(known.session.encode()).hexdigest()[:32]
    return {field: hashed for field in (profile.chat.session_field, profile.chat.user_field) if field is not None}
