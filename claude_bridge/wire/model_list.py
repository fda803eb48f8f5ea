"""What engines report about their models: GET /models with all its additions, and llama.cpp's and LM Studio's own APIs.

Every field may be missing, null or of another type: what can't be read counts as not reported.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from claude_bridge.wire.lenient_json import parser_of

# --- GET /models, as OpenAI-style engines enrich it -----------------------------------------------------------


class Architecture(Struct, frozen=True):
    """What goes in, such as "text" and "image" (OpenRouter, llama.cpp)."""

    input_modalities: list[str] | None = None


class Pricing(Struct, frozen=True):
    """US dollars for one token, as text (OpenRouter); "-1" where it depends."""

    prompt: str | None = None
    completion: str | None = None
    input_cache_read: str | None = None
    input_cache_write: str | None = None


class TopProvider(Struct, frozen=True):
    """The limits of the host that OpenRouter prefers."""

    max_completion_tokens: int | None = None


class ReasoningAbilities(Struct, frozen=True):
    """How a model's thinking can be controlled (OpenRouter); ``supported_efforts`` None: not reported."""

    mandatory: bool | None = None
    supported_efforts: list[str] | None = None


class RunState(Struct, frozen=True):
    """Whether llama.cpp's router holds the model in memory: "loaded", "unloaded", "loading"."""

    value: str | None = None


class ListedModel(Struct, frozen=True):
    """One entry of GET /models, with the additions of every engine.

    ``meta`` and ``status`` are llama.cpp's, ``max_model_len`` vLLM's and SGLang's, ``context_window`` and
    ``max_completion_tokens`` Groq's, ``max_context_length`` and ``capabilities`` Mistral's; ``architecture``,
    ``context_length``, ``pricing``, ``reasoning``, ``supported_parameters`` and ``top_provider`` are OpenRouter's.
    """

    id: str
    owned_by: str | None = None
    meta: dict[str, Any] | None = None
    status: RunState | None = None
    max_model_len: int | None = None
    context_length: int | None = None
    context_window: int | None = None
    max_context_length: int | None = None
    max_completion_tokens: int | None = None
    architecture: Architecture | None = None
    supported_parameters: list[str] | None = None
    pricing: Pricing | None = None
    reasoning: ReasoningAbilities | None = None
    top_provider: TopProvider | None = None
    capabilities: dict[str, Any] | None = None


class ListedModels(Struct, frozen=True):
    """GET /models. An Ollama without models answers null in place of an empty list."""

    data: list[ListedModel] | None
    object: str | None = None


# --- llama.cpp ------------------------------------------------------------------------------------------------


class GenerationSettings(Struct, frozen=True):
    """``n_ctx`` is the window of one slot: what a prompt and its answer may take."""

    n_ctx: int | None = None


class Modalities(Struct, frozen=True):
    """What the model takes besides text."""

    vision: bool | None = None


class TemplateAbilities(Struct, frozen=True):
    """What the chat template has a place for."""

    supports_tools: bool | None = None
    supports_preserve_reasoning: bool | None = None
    supports_reasoning_effort: bool | None = None


class Props(Struct, frozen=True):
    """GET /props of llama.cpp; ``total_slots`` is how many requests it answers at a time."""

    build_info: str | None = None
    total_slots: int | None = None
    default_generation_settings: GenerationSettings | None = None
    modalities: Modalities | None = None
    chat_template_caps: TemplateAbilities | None = None


# --- LM Studio ------------------------------------------------------------------------------------------------


class InstanceConfig(Struct, frozen=True):
    """How a model is loaded."""

    context_length: int | None = None


class LoadedInstance(Struct, frozen=True):
    """A model in memory."""

    config: InstanceConfig | None = None


class StudioAbilities(Struct, frozen=True):
    """``reasoning`` is false, or an object with ``allowed_options``; older versions leave it out."""

    vision: bool | None = None
    trained_for_tool_use: bool | None = None
    reasoning: Any = None


class StudioModel(Struct, frozen=True):
    """One entry of GET /api/v1/models (since LM Studio 0.4.0); ``type`` is llm or embedding."""

    key: str
    type: str | None = None
    size_bytes: int | None = None
    max_context_length: int | None = None
    loaded_instances: list[LoadedInstance] | None = None
    capabilities: StudioAbilities | None = None


class StudioModels(Struct, frozen=True):
    """GET /api/v1/models."""

    models: list[StudioModel]


class OldStudioModel(Struct, frozen=True):
    """One entry of GET /api/v0/models; ``type`` is llm, vlm or embeddings, ``capabilities`` there since 0.3.16."""

    id: str
    state: str
    type: str | None = None
    max_context_length: int | None = None
    loaded_context_length: int | None = None
    capabilities: list[str] | None = None


class OldStudioModels(Struct, frozen=True):
    """GET /api/v0/models."""

    data: list[OldStudioModel]


_ARRAY_OF_OBJECTS = re.compile(rb"\s*\[\s*\{")


def parse_listed_models(data: bytes) -> list[ListedModel]:
    """Return the entries that have an id; raises msgspec.DecodeError where it is no model list.

    Together's list is an array, without the object around it.
    """
    if _ARRAY_OF_OBJECTS.match(data):
        data = b'{"data":' + data + b"}"
    listed = parser_of(ListedModels)(data)
    if listed.data is None and listed.object != "list":
        raise msgspec.DecodeError("no list of models")
    return listed.data or []


parse_props = parser_of(Props)
"""Return what llama.cpp reports about itself; raises msgspec.DecodeError where it is no JSON object."""


def parse_studio_models(data: bytes) -> list[StudioModel]:
    """Return the entries that have a key; raises msgspec.DecodeError where it is no such list."""
    return parser_of(StudioModels)(data).models


def parse_old_studio_models(data: bytes) -> list[OldStudioModel]:
    """Return the entries that have an id and a state; raises msgspec.DecodeError where it is no such list."""
    return parser_of(OldStudioModels)(data).data
