"""What the two APIs of OpenAI have in common: how tools, schemas, sampling and effort are requested, by the profile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Literal, TypeVar

from msgspec import UNSET, Raw, UnsetType

from claude_bridge.clients.claude_code import read_user_id
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.media_types import PDF
from claude_bridge.conversion.profile import ChatProfile, Profile, ToolChoiceForm
from claude_bridge.conversion.reasoning import ReasoningPreference, nearest_effort, preferred_thinking, usual_effort
from claude_bridge.conversion.request.content import Media, text_of
from claude_bridge.conversion.request.normalize import NormalizedRequest, NormalizedTool
from claude_bridge.conversion.request.prompted_options import prompted_schema, prompted_tool_choice
from claude_bridge.conversion.tool_json.schema_reduce import can_be_strict
from claude_bridge.wire.anthropic import (
    Base64Source,
    Block,
    DocumentBlock,
    MessagesRequest,
    TextBlock,
    ToolResultBlock,
    UrlSource,
)

_Part = TypeVar("_Part")

_CHOICES = {"auto": "auto", "any": "required", "tool": "required", "none": "none"}

_MAX_IDENTIFIER_CHARS = 128

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


def tool_fields(request: NormalizedRequest, profile: Profile, choice_of: Callable[[str], object]) -> dict[str, object]:
    """Return the fields that say which tools must be called; ``choice_of`` returns the choice of one by its name."""
    fields: dict[str, object] = {}
    client, how = request.parameters.tool_choice, forcing(request, profile)
    if client is None or not request.tools:
        return fields
    if how == "alone":
        fields["tool_choice"] = "required"
    elif how == "field" and (client.type != "auto" or profile.chat.tool_choices):  # else auto is all there is
        name = client.name if client.type == "tool" else None
        fields["tool_choice"] = choice_of(name) if name else _CHOICES[client.type]
    if client.disable_parallel_tool_use and profile.chat.has_parallel_switch:
        fields["parallel_tool_calls"] = False
    return fields


def user_fields(client: MessagesRequest, profile: Profile, *, names_user: bool) -> dict[str, str]:
    """Return the fields for the session and the user.

    Of Claude Code's id, a JSON document, only a hash of the session is sent: as the user too if ``names_user``.
    """
    user_id, chat = client.metadata.user_id if client.metadata else None, profile.chat
    if not user_id:
        return {}
    known = read_user_id(user_id)
    if not known.is_its_own:
        is_short = len(user_id) <= _MAX_IDENTIFIER_CHARS
        return {chat.user_field: user_id if is_short else _hashed(user_id)} if chat.user_field else {}
    names = (chat.session_field, chat.user_field if names_user else None)
    return {name: _hashed(known.session) for name in names if name is not None} if known.session is not None else {}


def _hashed(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def content_of(blocks: Sequence[Block], parts_of: Callable[[TextBlock | Media], list[_Part]]) -> str | list[_Part]:
    """Return a plain string where there is only text, which is all that some templates know; else the parts."""
    if not any(isinstance(block, Media) for block in blocks):
        return text_of(blocks)
    return [part for block in blocks if isinstance(block, TextBlock | Media) for part in parts_of(block)]


def result_content(result: ToolResultBlock, parts_of: Callable[[TextBlock | Media], list[_Part]]) -> str | list[_Part]:
    """Return the content of a tool's result; see content_of."""
    return result.content if isinstance(result.content, str) else content_of(result.content or (), parts_of)


def file_name(document: DocumentBlock) -> str:
    """Return the name of a PDF that goes as a file."""
    name = document.title or "document"
    return name if name.lower().endswith(".pdf") else f"{name}.pdf"


def file_data(document: DocumentBlock) -> str:
    """Return a PDF that goes as a file as a URL: a data URL where the client sent bytes."""
    source = document.source
    assert isinstance(source, Base64Source | UrlSource), "normalization leaves no other document"
    return source.url if isinstance(source, UrlSource) else f"data:{PDF};base64,{source.data}"


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
