"""The parameters of a request: tool choice, limits, sampling, the shape of the answer, the user."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Literal

from msgspec import UNSET, Raw, UnsetType

from claude_bridge.adapters.base import TokenLimits, lowered_max_tokens
from claude_bridge.adapters.openai_chat.reasoning import thinking_fields
from claude_bridge.clients.claude_code import read_user_id
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile, ToolChoiceForm
from claude_bridge.conversion.reasoning import preferred_thinking
from claude_bridge.conversion.request.normalize import NormalizedRequest, NormalizedTool
from claude_bridge.conversion.request.prompted_options import prompted_schema, prompted_tool_choice
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.wire import openai
from claude_bridge.wire.anthropic import MessagesRequest, ToolChoice

_DEFAULT_SAMPLING = 1.0
"""The default of temperature and top_p, at OpenAI and at Anthropic."""


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
    sampling, more_lost = _sampling(client, profile)
    fields |= sampling
    if client.metadata and client.metadata.user_id:
        fields |= _user_fields(client.metadata.user_id, profile)
    return fields, losses + lost + more_lost


def prompted_options(request: NormalizedRequest, profile: Profile) -> list[str]:
    """Return what must be asked for in words, since the engine has no field for it."""
    instructions: list[str] = []
    if _forcing(request, profile) == "words":
        _, instruction = prompted_tool_choice(request.parameters.tool_choice, request.tools)
        instructions += [instruction] if instruction is not None else []
    output = request.parameters.answer_format
    if output is not None and isinstance(output.schema, Raw) and request.answer_schema is not None:
        instructions += [] if _holds_schema(request, profile) else [prompted_schema(output.schema)]
    return instructions


def tools_to_send(request: NormalizedRequest, profile: Profile) -> list[NormalizedTool]:
    """Return the tools: all of them, or the one that the client forces where the engine has no way to name one."""
    if _forcing(request, profile) == "field":
        return request.tools
    return prompted_tool_choice(request.parameters.tool_choice, request.tools)[0]


# --- tools ----------------------------------------------------------------------------------------------------


def _forcing(request: NormalizedRequest, profile: Profile) -> Literal["field", "alone", "words"]:
    """Return how a tool is forced: by the field as it is, by sending it alone and requiring a call, or in words."""
    choice = request.parameters.tool_choice
    if choice is None or choice.type not in ("any", "tool"):
        return "field"
    if not profile.chat.forces_while_thinking and preferred_thinking(request.parameters).thinks:
        return "words"
    form: ToolChoiceForm = "named" if choice.type == "tool" and choice.name else "required"
    if form in profile.chat.tool_choices:
        return "field"
    return "alone" if "required" in profile.chat.tool_choices else "words"


def _tool_fields(request: NormalizedRequest, profile: Profile) -> dict[str, Any]:
    choice = request.parameters.tool_choice
    if choice is None or not request.tools:
        return {}
    fields: dict[str, Any] = {}
    match _forcing(request, profile):
        case "field" if choice.type != "auto" or profile.chat.tool_choices:  # where nothing can be forced auto is all
            fields["tool_choice"] = _tool_choice(choice)
        case "alone":
            fields["tool_choice"] = "required"
    if choice.disable_parallel_tool_use and profile.chat.has_parallel_switch:
        fields["parallel_tool_calls"] = False
    return fields


def _tool_choice(choice: ToolChoice) -> str | openai.NamedToolChoice:
    if choice.type == "tool" and choice.name:
        return openai.NamedToolChoice(function=openai.NamedFunction(engine_name(choice.name)))
    return {"auto": "auto", "any": "required", "tool": "required", "none": "none"}[choice.type]


# --- the answer's shape, length and sampling --------------------------------------------------------------------


def _holds_schema(request: NormalizedRequest, profile: Profile) -> bool:
    stands_alone = profile.chat.structured_beside_tools or not request.tools
    return profile.chat.structured_output == "json_schema" and stands_alone


def _response_format(
    request: NormalizedRequest, profile: Profile
) -> tuple[openai.ResponseFormat | UnsetType, list[Loss]]:
    schema = request.answer_schema
    if schema is None:
        return UNSET, []
    if _holds_schema(request, profile):
        return openai.ResponseFormat(type="json_schema", json_schema=openai.JsonSchema(schema=schema)), []
    losses = [Loss("$.output_config.format", "the engine can't hold an answer to it; asked for in words")]
    if profile.chat.structured_output is None or (request.tools and not profile.chat.structured_beside_tools):
        return UNSET, losses
    return openai.ResponseFormat(type="json_object"), losses


def _sampling(client: MessagesRequest, profile: Profile) -> tuple[dict[str, float | int], list[Loss]]:
    fields: dict[str, float | int] = {}
    losses: list[Loss] = []
    for name, value in (("temperature", client.temperature), ("top_p", client.top_p)):
        if value is not None and name not in profile.chat.refuses:
            fields[name] = value
        elif value is not None and value != _DEFAULT_SAMPLING:
            losses.append(Loss(f"$.{name}", "the model refuses it"))
    if client.top_k is not None and profile.chat.has_top_k:
        fields["top_k"] = client.top_k
    elif client.top_k is not None:
        losses.append(Loss("$.top_k", "not a parameter of Chat Completions"))
    return fields, losses


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
