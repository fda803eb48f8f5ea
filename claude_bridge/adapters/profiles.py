"""How engines behave, as data rows with evidence; how they are known, and what a model's family changes.

A quirk of an engine goes here and nowhere else: as a field of Profile, a row, and a golden case that proves it.
A quirk of a model goes into ``families.py``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from msgspec.structs import replace

from claude_bridge.adapters.families import FAMILIES
from claude_bridge.conversion.profile import MessagesProfile, Profile

UNKNOWN = Profile(name="unknown", evidence="what any OpenAI-compatible engine accepts")

OPENAI = Profile(
    name="OpenAI",
    evidence="types of the openai SDK 3.54: max_tokens is deprecated and refused by reasoning models",
    max_tokens_field="max_completion_tokens",
    has_strict=True,
    has_parallel_switch=True,
    has_user=True,
)

ANTHROPIC = Profile(
    name="Anthropic",
    evidence="Anthropic's API reference: nothing of its own API is to be mended",
    messages=MessagesProfile(is_anthropic=True),
)

LLAMA_CPP = Profile(
    name="llama.cpp",
    evidence="xllamacpp 2026.10.11549; llama.cpp#21943 and #20867 for grammars, PR #22536 for images in tool results",
    reasoning_field="reasoning_content",
    thinking_switch=True,
    has_top_k=True,
    has_parallel_switch=True,
    compiles_grammar=True,
    ignores_model_name=True,
)

EMBEDDED = Profile(
    name="llama.cpp",
    evidence="xllamacpp 2026.10.11549 with the SmolLM2 model of `bridge try`, which sees no images",
    sees_images=False,
    has_top_k=True,
    compiles_grammar=True,
    ignores_model_name=True,
)

VLLM = Profile(
    name="vLLM",
    evidence="vLLM's OpenAI protocol module: chat_template_kwargs, top_k, parallel_tool_calls; vllm#43203 for images",
    thinking_switch=True,
    has_top_k=True,
    has_parallel_switch=True,
)

BY_OWNER: dict[str, Profile] = {"llamacpp": LLAMA_CPP, "vllm": VLLM}
"""Profiles by what GET /models gives as ``owned_by``: the engine's own word for itself."""

OLLAMA = Profile(
    name="Ollama",
    evidence="Ollama 0.32.15, api/types.go and server/routes.go; for /api/chat, not for its OpenAI route",
    has_top_k=True,
    compiles_grammar=True,
)
"""A model of which nothing is known: ``think`` sent to one that can't is refused, so it is not sent."""

OLLAMA_BLIND = replace(
    OLLAMA,
    evidence="Ollama 0.32.15: a model without the capability `vision`",
    sees_images=False,
)

OLLAMA_THINKING = replace(
    OLLAMA,
    evidence="Ollama 0.32.15: without `think` a model with the capability `thinking` thinks; history in `thinking`",
    reasoning_field="thinking",
    thinks=True,
)

OLLAMA_GPT_OSS = replace(
    OLLAMA_THINKING,
    evidence="Ollama 0.32.15: gpt-oss takes levels only, and can't stop thinking",
    think_levels=("low", "medium", "high"),
)

_THINKS_IN_LEVELS = ("gptoss", "gpt-oss")
"""Families, and architectures in the model's metadata."""


def ollama_profile(capabilities: Collection[str] | None, family: str | None) -> Profile:
    """Return the row for a model by what /api/show says of it; ``capabilities`` None: too old to tell."""
    if capabilities is None:
        return OLLAMA
    sees_images = "vision" in capabilities
    if "thinking" not in capabilities:
        return OLLAMA if sees_images else OLLAMA_BLIND
    row = OLLAMA_GPT_OSS if family in _THINKS_IN_LEVELS else OLLAMA_THINKING
    return replace(row, sees_images=sees_images)


def engine_by_owner(owners: Iterable[str | None]) -> Profile | None:
    """Return the row of the engine that lists models with these ``owned_by``, or None for one that nobody knows."""
    return next((BY_OWNER[owner] for owner in owners if owner in BY_OWNER), None)


def profile_for(engine: Profile, model: str) -> Profile:
    """Return how this engine behaves with this model: its row, with what the model's families change.

    Of two families that change the same field the later row in FAMILIES has the last word. An engine of which
    nothing differs is returned as it is.
    """
    name = model.lower()
    changes = {
        field: value
        for family in FAMILIES
        if (not family.engines or engine.name in family.engines) and re.search(family.matches, name)
        for field, value in family.changes.items()
    }
    return replace(engine, **changes) if changes else engine
