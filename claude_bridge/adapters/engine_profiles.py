"""How engines behave, as data rows with evidence; how they are known, and what a model's family changes.

A quirk of an engine goes here and nowhere else: as a field of Profile, a row, and a golden case that proves it.
A quirk of a model goes into ``model_profiles.py``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from msgspec.structs import replace

from claude_bridge.adapters.model_profiles import FAMILIES
from claude_bridge.conversion.profile import ChatProfile, MessagesProfile, OllamaProfile, Profile, ResponsesProfile
from claude_bridge.conversion.reasoning import EFFORTS
from claude_bridge.wire.model_list import ReasoningAbilities

UNKNOWN = Profile(name="unknown", evidence="what any OpenAI-compatible engine accepts")

# --- services ---------------------------------------------------------------------------------------------------

OPENAI = Profile(
    name="OpenAI",
    evidence="types of the openai SDK 3.54: max_tokens is deprecated and refused by reasoning models; "
    "prompt_cache_key and user; OpenAI's guide to PDF files: as base64 in a file part, no URLs in Chat Completions",
    fetches_images=True,
    reads_pdfs=True,
    prints_calls=False,
    chat=ChatProfile(
        max_tokens_field="max_completion_tokens",
        has_strict=True,
        has_parallel_switch=True,
        user_field="user",
        session_field="prompt_cache_key",
    ),
)

OPENAI_RESPONSES = replace(
    OPENAI,
    evidence="types of the openai SDK 3.57, openai/types/responses; OpenAI's guides to reasoning (encrypted reasoning "
    "goes back, the prefix stays as it was), to prompt caching and to PDF files (URLs are fetched here); items with an "
    "id are not found with store off (opencode#7724); claudish for the lowest limit of an answer",
    opaque_reasoning="reasoning_items",
    images_in_tool_results=True,
    files_in_tool_results=True,
    fetches_pdfs=True,
    keeps_tool_list=True,
    count_routes=("responses-input-tokens",),
    chat=replace(OPENAI.chat, user_field="safety_identifier"),
    responses=ResponsesProfile(
        system_place="developer",
        asks_for_ciphers=True,
        asks_for_summary=True,
        binds_reasoning=True,
        reads_phases=True,
        reads_effort_changes=True,
        min_output_tokens=16,
        marks_cache=True,
        has_obfuscation_switch=True,
    ),
)

AZURE = replace(
    OPENAI,
    name="Azure OpenAI",
    evidence="learn.microsoft.com, Azure OpenAI in Foundry Models, v1 API, 2026-09: the key as api-key, no "
    "api-version, a deployment's name as model",
    key_header="api-key",
    lists_all_models=False,
)

AZURE_RESPONSES = replace(
    OPENAI_RESPONSES,
    name="Azure OpenAI",
    evidence="as for its Chat Completions, and vercel/ai#12689: any id of an item is refused; the newest items and "
    "fields come later than at OpenAI",
    keeps_tool_list=False,
    count_routes=(),
    key_header="api-key",
    lists_all_models=False,
    chat=replace(OPENAI_RESPONSES.chat, user_field=None),
    responses=ResponsesProfile(
        system_place="developer",
        asks_for_ciphers=True,
        asks_for_summary=True,
        min_output_tokens=16,
    ),
)

BEDROCK = Profile(
    name="Bedrock",
    evidence="docs.aws.amazon.com, Bedrock's OpenAI-compatible APIs, 2026-09: /openai/v1 with a Bedrock API key; "
    "opencode's recordings: no tool can be forced",
    chat=ChatProfile(tool_choices=()),
)

BEDROCK_RESPONSES = replace(
    BEDROCK,
    evidence="docs.aws.amazon.com, Bedrock's OpenAI-compatible APIs, 2026-09: /openai/v1/responses with a Bedrock API "
    "key; opencode's recordings: gpt-oss takes an assistant's text as a string, and no tool can be forced",
    opaque_reasoning="reasoning_items",
    prints_calls=False,
    responses=ResponsesProfile(
        system_place="developer",
        asks_for_ciphers=True,
        min_output_tokens=16,
    ),
)

ANTHROPIC = Profile(
    name="Anthropic",
    evidence="Anthropic's API reference: nothing of its own API needs repairs",
    messages=MessagesProfile(is_anthropic=True),
    prints_calls=False,
)

OPENROUTER = Profile(
    name="OpenRouter",
    evidence="openrouter.ai/docs, 2026-08: reasoning tokens (reasoning.enabled, effort, max_tokens; reasoning_details "
    "go back as they came), parameters, provider routing (session_id), PDF inputs (base64 or URL, for any model), "
    "images by URL; claude-code-router#1238 for what can't be off",
    reasoning_field="reasoning",
    opaque_reasoning="reasoning_details",
    fetches_images=True,
    reads_pdfs=True,
    fetches_pdfs=True,
    chat=ChatProfile(
        has_top_k=True,
        has_strict=True,
        has_parallel_switch=True,
        user_field="user",
        session_field="session_id",
        effort_levels=("minimal", "low", "medium", "high", "xhigh"),
        effort_place="reasoning",
        thinking_switch="reasoning",
        budget_place="reasoning",
    ),
)

GROQ = Profile(
    name="Groq",
    evidence="console.groq.com/docs, 2026-10: streaming and tools exclude structured outputs; req_llm#772: "
    "reasoning_content in the history is refused; effort levels by model; pi#120: five images",
    max_images=5,
    chat=ChatProfile(
        max_tokens_field="max_completion_tokens",
        has_parallel_switch=True,
        structured_output=None,
        user_field="user",
    ),
)

DEEPSEEK = Profile(
    name="DeepSeek",
    evidence="api-docs.deepseek.com/guides/thinking_mode, V4, 2026-07: thinking.type, effort high and max, "
    "reasoning_content must go back with calls (hermes-agent#17341: empty is refused, a space is not); "
    "json_object only; oh-my-pi: no forced tool while thinking",
    reasoning_field="reasoning_content",
    sees_images=False,
    chat=ChatProfile(
        reasoning_placeholder=" ",
        forces_while_thinking=False,
        structured_output="json_object",
        effort_levels=("high", "max"),
        thinking_switch="thinking",
    ),
)

MISTRAL = Profile(
    name="Mistral",
    evidence="mistral-common 1.11 (ids of nine letters and digits; before 1.11.1 no user after a tool, zed#37021); "
    "eca#231 and crush#1590: unknown fields such as max_completion_tokens and reasoning_content are refused; "
    "pi#120: eight images",
    max_images=8,
    tool_id_length=9,
    chat=ChatProfile(
        user_follows_tool=False,
        has_parallel_switch=True,
        has_stream_options=False,
    ),
)

GEMINI = Profile(
    name="Gemini",
    evidence="ai.google.dev/gemini-api/docs/openai, 2026-09: reasoning_effort; unknown fields are refused "
    "(cursor-byok#112); no JSON beside tools (ai-manus#101); thought signatures, and the word that stands for none; "
    "extra_body.google.thinking_config.include_thoughts for thoughts, which come between <thought> tags",
    opaque_reasoning="thought_signature",
    think_tags=(("<thought>", "</thought>"), ("<think>", "</think>")),
    prints_calls=False,
    empty_is_dropped_call=True,
    count_routes=("gemini",),
    chat=ChatProfile(
        thought_signature="skip_thought_signature_validator",
        structured_beside_tools=False,
        effort_levels=("low", "medium", "high"),
        asks_for_thoughts=True,
    ),
)

XAI = Profile(
    name="xAI",
    evidence="docs.x.ai, REST reference and reasoning guide, 2026-08; which models take reasoning_effort: "
    "hermes-agent#23435, tried at api.x.ai",
    prints_calls=False,
    chat=ChatProfile(
        max_tokens_field="max_completion_tokens",
        has_strict=True,
        has_parallel_switch=True,
        user_field="user",
    ),
)

XAI_RESPONSES = replace(
    XAI,
    evidence="docs.x.ai, REST reference of /v1/responses, best practices and reasoning guide, 2026-08: store is on "
    "unless switched off, include reasoning.encrypted_content, a prompt_cache_key for each conversation",
    opaque_reasoning="reasoning_items",
    chat=replace(XAI.chat, session_field="prompt_cache_key"),
    responses=ResponsesProfile(
        system_place="system",
        asks_for_ciphers=True,
        asks_for_summary=True,
    ),
)

TOGETHER = Profile(
    name="Together",
    evidence="docs.together.ai, 2026-07: reasoning.enabled for hybrid models, reasoning_effort for gpt-oss, top_k",
    chat=ChatProfile(
        has_top_k=True,
        thinking_switch="reasoning",
    ),
)

FIREWORKS = Profile(
    name="Fireworks",
    evidence="docs.fireworks.ai, 2026-06: reasoning_effort, reasoning_content goes back, prompt_cache_key keeps a "
    "session on one replica, top_k",
    reasoning_field="reasoning_content",
    chat=ChatProfile(
        has_top_k=True,
        has_parallel_switch=True,
        user_field="user",
        session_field="prompt_cache_key",
        effort_levels=("none", "low", "medium", "high"),
    ),
)

ZAI = Profile(
    name="Z.AI",
    evidence="docs.z.ai, thinking mode and API reference, GLM-4.5 to 5.1, 2026-06: thinking.type, thoughts go back in "
    "tool loops, tool_choice is auto only, response_format is json_object only",
    reasoning_field="reasoning_content",
    chat=ChatProfile(
        tool_choices=(),
        structured_output="json_object",
        thinking_switch="thinking",
    ),
)

MOONSHOT = Profile(
    name="Moonshot",
    evidence="platform.kimi.ai/docs, 2026-06: prompt_cache_key; reasoning_content must go back with calls while "
    "thinking (nanobot#946: not empty)",
    reasoning_field="reasoning_content",
    chat=ChatProfile(
        reasoning_placeholder=" ",
        session_field="prompt_cache_key",
    ),
)

MINIMAX = Profile(
    name="MiniMax",
    evidence="AgentScope 2's MiniMax formatter, 2026-10: thinking.type adaptive or disabled, max_completion_tokens, no "
    "response_format; TradingAgents@e131668: tool_choice is auto or none",
    chat=ChatProfile(
        max_tokens_field="max_completion_tokens",
        tool_choices=(),
        structured_output=None,
        thinking_switch="thinking",
        switch_values=("disabled", "adaptive"),
    ),
)

# --- engines ----------------------------------------------------------------------------------------------------

LLAMA_CPP = Profile(
    name="llama.cpp",
    evidence="xllamacpp 2026.10.11549: a tool choice by name is not obeyed, any max_tokens is taken, a last "
    "assistant message is continued without being repeated; "
    "llama.cpp#21943 and #20867 for grammars, PR #22536 for images in tool results, "
    "discussion #21445 for thinking_budget_tokens; tools/server/README.md: return_progress; cline#8977 and "
    "ollama#17755 (2026-08): WebP is answered with 400",
    reasoning_field="reasoning_content",
    continues_prefill=True,
    unread_images=("image/webp",),
    schema_dialect="grammar",
    ignores_model_name=True,
    count_routes=("input-tokens", "template"),
    messages=MessagesProfile(separate_tool_results=True),
    chat=ChatProfile(
        tool_choices=("required",),
        thinking_switch="chat_template_kwargs",
        budget_place="thinking_budget_tokens",
        reports_progress=True,
        has_top_k=True,
        has_parallel_switch=True,
        answer_needs_room=False,
    ),
)

LLAMA_CPP_RESPONSES = replace(
    LLAMA_CPP,
    evidence="xllamacpp 2026.10.11549: /v1/responses without indices, ids of parts or ends of arguments, completed at "
    "the limit too; a thought goes back in clear; tools are strict unless it is said that they are not",
    count_routes=("responses-input-tokens",),
    responses=ResponsesProfile(
        system_place="system",
    ),
)

EMBEDDED = Profile(
    name="llama.cpp",
    evidence="xllamacpp 2026.10.11549 with the SmolLM2 model of `bridge try`, which sees no images",
    sees_images=False,
    continues_prefill=True,
    schema_dialect="grammar",
    ignores_model_name=True,
    count_routes=("input-tokens",),
    chat=ChatProfile(
        tool_choices=("required",),
        reports_progress=True,
        has_top_k=True,
        answer_needs_room=False,
    ),
)

VLLM = Profile(
    name="vLLM",
    evidence="vLLM's chat_completion/protocol.py, 2026-09: reasoning in messages, chat_template_kwargs, top_k, "
    "parallel_tool_calls; vllm#43203 for images",
    reasoning_field="reasoning",
    count_routes=("tokenize",),
    chat=ChatProfile(
        thinking_switch="chat_template_kwargs",
        has_top_k=True,
        has_parallel_switch=True,
    ),
)

SGLANG = Profile(
    name="SGLang",
    evidence="SGLang's entrypoints/openai/protocol.py, 2026-08: reasoning_content in messages, chat_template_kwargs, "
    "top_k, parallel_tool_calls; sglang#28792 for strict templates",
    reasoning_field="reasoning_content",
    count_routes=("tokenize",),
    messages=MessagesProfile(input_includes_cached=True),  # its entrypoints/anthropic/serving.py
    chat=ChatProfile(
        thinking_switch="chat_template_kwargs",
        has_top_k=True,
        has_parallel_switch=True,
    ),
)

LM_STUDIO = Profile(
    name="LM Studio",
    evidence="lmstudio.ai/docs, API changelog up to 0.4: tool_choice is a word; lmstudio-bug-tracker#2220 and #2236 "
    "for grammars, #1933 and #2057 for thinking; levels as openclaw found them",
    schema_dialect="grammar",
    chat=ChatProfile(
        tool_choices=("required",),
        has_top_k=True,
        effort_levels=("none", "minimal", "low", "medium", "high", "xhigh"),
    ),
)

BY_OWNER: dict[str, Profile] = {
    "llamacpp": LLAMA_CPP,
    "vllm": VLLM,
    "sglang": SGLANG,
    "organization_owner": LM_STUDIO,
}
"""Profiles by what GET /models gives as ``owned_by``: the engine's own word for itself."""

BY_HOST: dict[str, Profile] = {
    "api.z.ai": ZAI,
    "open.bigmodel.cn": ZAI,
    "api.moonshot.ai": MOONSHOT,
    "api.moonshot.cn": MOONSHOT,
    "api.minimax.io": MINIMAX,
    "api.minimaxi.com": MINIMAX,
    "api.openai.com": OPENAI,
    "api.x.ai": XAI,
    "*.openai.azure.com": AZURE,
    "*.services.ai.azure.com": AZURE,
    "*.cognitiveservices.azure.com": AZURE,
    "bedrock-runtime.*.amazonaws.com": BEDROCK,
    "bedrock-mantle.*.api.aws": BEDROCK,
}
"""Profiles of services by where they are, in Chat Completions where they have it; ``*`` stands for names of the user's
own."""

_IN_RESPONSES = {
    row.name: row for row in (OPENAI_RESPONSES, AZURE_RESPONSES, BEDROCK_RESPONSES, XAI_RESPONSES, LLAMA_CPP_RESPONSES)
}
_IN_CHAT = {row.name: row for row in (OPENAI, AZURE, BEDROCK, XAI, LLAMA_CPP)}


def profile_in_api(row: Profile, kind: str) -> Profile:
    """Return what is known of the same engine in one of OpenAI's two APIs; a row of other kinds stays as it is."""
    if kind == "openai-responses":
        return _IN_RESPONSES.get(row.name, UNKNOWN)
    if kind == "openai-chat" and row in _IN_RESPONSES.values():
        return _IN_CHAT.get(row.name, UNKNOWN)
    return row


def _is_host(host: str, pattern: str) -> bool:
    before, star, behind = pattern.partition("*")
    if not star:
        return host == pattern
    return host.startswith(before) and host.endswith(behind) and len(host) > len(before) + len(behind)


def profile_by_host(host: str, kind: str) -> Profile | None:
    """Return the row of the service at this host, in the API of this kind; None: it is nobody's."""
    found = next((row for pattern, row in BY_HOST.items() if _is_host(host, pattern)), None)
    return None if found is None else profile_in_api(found, kind)


OLLAMA = Profile(
    name="Ollama",
    evidence="Ollama 0.32.15, api/types.go and server/routes.go; for /api/chat, not for its OpenAI route",
    schema_dialect="grammar",
    chat=ChatProfile(
        answer_needs_room=False,
    ),
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
    ollama=OllamaProfile(
        thinks=True,
    ),
)

OLLAMA_GPT_OSS = replace(
    OLLAMA_THINKING,
    evidence="Ollama 0.32.15: gpt-oss takes levels only, and can't stop thinking",
    ollama=OllamaProfile(
        thinks=True,
        think_levels=("low", "medium", "high"),
    ),
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
    return engine.with_changes(changes)


def profile_with_reasoning(profile: Profile, listed: ReasoningAbilities | None) -> Profile:
    """Return the profile with what a service's model list states about thinking: it is surer than the name."""
    if listed is None:
        return profile
    known = [level for level in EFFORTS if level in (listed.supported_efforts or ())]
    levels = tuple(known) if listed.supported_efforts is not None else profile.chat.effort_levels
    switch = profile.chat.thinking_switch
    if listed.mandatory is not None:
        switch = None if listed.mandatory else "reasoning"
    return profile.with_changes({"effort_levels": levels, "thinking_switch": switch})
