"""What the two APIs of OpenAI have in common: how tools, schemas, sampling and effort are requested, by the profile."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Raw, UnsetType

from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import ChatProfile, Profile, ToolChoiceForm
from claude_bridge.conversion.reasoning import ReasoningPreference, nearest_effort, preferred_thinking, usual_effort
from claude_bridge.conversion.request.normalize import NormalizedRequest, NormalizedTool
from claude_bridge.conversion.request.prompted_options import prompted_schema, prompted_tool_choice
from claude_bridge.conversion.tool_json.schema_reduce import can_be_strict
from claude_bridge.wire.anthropic import MessagesRequest, ToolChoice

_DEFAULT_SAMPLING = 1.0
"""The default of temperature and top_p, at OpenAI and at Anthropic."""


def prompted_options(request: NormalizedRequest, profile: Profile) -> list[str]:
    """Return what the prompt must request in words, since the engine has no field for it."""
    instructions: list[str] = []
    if forcing(request, profile) == "words":
        _, instruction = prompted_tool_choice(request.parameters.tool_choice, request.tools)
        instructions += [instruction] if instruction is not None else []
    output = request.parameters.answer_format
    if output is not None and isinstance(output.schema, Raw) and request.answer_schema is not None:
        instructions += [] if holds_schema(request, profile) else [prompted_schema(output.schema)]
    return instructions


def tools_to_send(request: NormalizedRequest, profile: Profile) -> list[NormalizedTool]:
    """Return the tools: all of them, or the one that the client forces where the engine has no way to name one."""
    if forcing(request, profile) == "field":
        return request.tools
    return prompted_tool_choice(request.parameters.tool_choice, request.tools)[0]


def forcing(request: NormalizedRequest, profile: Profile) -> Literal["field", "alone", "words"]:
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


def choice_to_send(request: NormalizedRequest, profile: Profile) -> ToolChoice | None:
    """Return which tool must be used, as far as the engine has a field for it."""
    choice = request.parameters.tool_choice
    if choice is None or not request.tools:
        return None
    match forcing(request, profile):
        case "field" if choice.type != "auto" or profile.chat.tool_choices:  # where nothing can be forced auto is all
            return choice
        case "alone":
            return ToolChoice("any")
    return None


def holds_schema(request: NormalizedRequest, profile: Profile) -> bool:
    """Return whether the engine can hold the answer to its schema in this request."""
    stands_alone = profile.chat.structured_beside_tools or not request.tools
    return profile.chat.structured_output == "json_schema" and stands_alone


def sampling(client: MessagesRequest, profile: Profile) -> tuple[dict[str, float | int], list[Loss]]:
    """Return the fields for temperature, top_p and top_k, and what the engine does not take of them."""
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


def effort_level(preference: ReasoningPreference, chat: ChatProfile) -> str | None:
    """Return the level to send; None: none is needed."""
    if not chat.effort_levels or (not preference.thinks and chat.thinking_switch is not None):
        return None
    if preference.effort is not None:
        return nearest_effort(preference.effort, chat.effort_levels)
    return None if chat.thinks_unasked else usual_effort(chat.effort_levels)


def strict_mode(tool: NormalizedTool, profile: Profile) -> tuple[bool | UnsetType, list[Loss]]:
    """Return whether the model is held to the tool's schema; OpenAI refuses a schema that leaves anything open."""
    if not tool.strict:
        return (UNSET if tool.strict is None or not profile.chat.has_strict else False), []
    if profile.chat.has_strict and can_be_strict(bytes(tool.schema)):
        return True, []
    if profile.chat.has_strict:
        reason = f"the schema of {tool.name!r} leaves open what must be closed for that"
    else:
        reason = f"whether the engine can hold {tool.name!r} to its schema is not known"
    return UNSET, [Loss("$.tools", reason)]
