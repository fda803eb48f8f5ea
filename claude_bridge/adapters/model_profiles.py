"""How families of models behave at whichever engine they run: data rows with evidence, which refine its row."""

from __future__ import annotations

from claude_bridge.conversion.profile import Family

_TEMPLATE_ENGINES = ("llama.cpp", "vLLM", "SGLang")
"""Engines that render the model's own chat template, with the arguments that it takes."""

_SELF_HOSTED = ("vLLM", "SGLang", "LM Studio")
"""Engines that leave thoughts in the text where they were started without a parser for them."""

_MAY_LEAVE_THOUGHTS = ("unknown", *_SELF_HOSTED)
"""The same, and hosts of which nothing is known: many give no thoughts at all."""

_OPENAI_OR_UNKNOWN = ("OpenAI", "Azure OpenAI", "Bedrock", "unknown")
"""Hosts of OpenAI's models, and those of which nothing is known: gateways, GitHub Models (OpenHands#11662,
opencode#37964). Bedrock's names begin with the maker's: openai.gpt-5.6."""

_GPT_5_2_AND_LATER = r"(^|/|openai\.)gpt-(5\.[2-9]|5\.\d\d|[6-9])([-.]|$)"

FAMILIES: tuple[Family, ...] = (
    # --- OpenAI ---------------------------------------------------------------------------------------------------
    Family(
        name="OpenAI o-series",
        evidence="OpenAI's guide to reasoning models: o1, o3, o4-mini take no temperature, no top_p and no "
        "parallel_tool_calls",
        matches=r"(^|/|openai\.)o[134](-|$)",
        engines=_OPENAI_OR_UNKNOWN,
        changes={
            "effort_levels": ("low", "medium", "high"),
            "refuses": ("temperature", "top_p"),
            "has_parallel_switch": False,
            "max_tokens_field": "max_completion_tokens",
        },
    ),
    Family(
        name="GPT-5",
        evidence="OpenAI's guide to reasoning models, gpt-5, gpt-5-mini, gpt-5-nano: minimal is the lowest level; "
        "oh-my-pi#5606 for sampling parameters at every host",
        matches=r"(^|/|openai\.)gpt-5(-|$)",
        engines=_OPENAI_OR_UNKNOWN,
        changes={
            "effort_levels": ("minimal", "low", "medium", "high"),
            "refuses": ("temperature", "top_p"),
            "max_tokens_field": "max_completion_tokens",
        },
    ),
    Family(
        name="GPT-5.1",
        evidence="OpenAI's guide to gpt-5.1: none is a level, and the default",
        matches=r"(^|/|openai\.)gpt-5\.1(-|$)",
        engines=_OPENAI_OR_UNKNOWN,
        changes={
            "effort_levels": ("none", "low", "medium", "high"),
            "thinks_unasked": False,
            "refuses": ("temperature", "top_p"),
            "max_tokens_field": "max_completion_tokens",
        },
    ),
    Family(
        name="GPT-5.2 and later",
        evidence="OpenAI's API, 2026-03 to 2026-09: xhigh",
        matches=_GPT_5_2_AND_LATER,
        engines=_OPENAI_OR_UNKNOWN,
        changes={
            "effort_levels": ("none", "low", "medium", "high", "xhigh"),
            "thinks_unasked": False,
            "refuses": ("temperature", "top_p"),
            "max_tokens_field": "max_completion_tokens",
        },
    ),
    Family(
        name="GPT-5.6 and later",
        evidence="types of the openai SDK 3.57: max; which models take it is not written there, and a refused level "
        "gives way to those that the answer names",
        matches=r"(^|/|openai\.)gpt-(5\.[6-9]|5\.\d\d|[6-9])([-.]|$)",
        engines=_OPENAI_OR_UNKNOWN,
        changes={"effort_levels": ("none", "low", "medium", "high", "xhigh", "max")},
    ),
    Family(
        name="GPT-5.2 and later at OpenAI",
        evidence="openai-openapi#541, litellm#34569, livekit/agents#5088: with function tools Chat Completions takes "
        "no effort but none, and wants it said; a gateway may ask another API",
        matches=_GPT_5_2_AND_LATER,
        engines=("OpenAI",),
        changes={"effort_beside_tools": "none"},
    ),
    Family(
        name="GPT-5 chat",
        evidence="OpenAI's model page of gpt-5-chat-latest: it does not reason, and takes no effort",
        matches=r"(^|/)gpt-5(\.\d+)?-chat",
        engines=_OPENAI_OR_UNKNOWN,
        changes={
            "effort_levels": (),
            "effort_beside_tools": None,
            "thinks_unasked": True,
            "refuses": (),
            "max_tokens_field": "max_completion_tokens",
        },
    ),
    Family(
        name="OpenAI reasoning models elsewhere",
        evidence="oh-my-pi#5606: every host refuses sampling parameters for o1, o3, o4 and gpt-5",
        matches=r"(^|/)(o[134](-|$)|gpt-5(\.\d+)?(-(?!chat)|$))",
        engines=("OpenRouter",),
        changes={"refuses": ("temperature", "top_p")},
    ),
    Family(
        name="gpt-oss",
        evidence="gpt-oss model card: low, medium, high, never off; OpenAI's guide to harmony: channels for thoughts, "
        "calls and the answer, which an engine without a parser leaves in the text (llama.cpp's "
        "common/parsers/gpt-oss.cpp)",
        matches=r"gpt-?oss",
        changes={
            "effort_levels": ("low", "medium", "high"),
            "effort_place": "reasoning_effort",
            "thinking_switch": None,
            "speaks_harmony": True,
        },
    ),
    Family(
        name="gpt-oss at llama.cpp",
        evidence="llama.cpp's docs for gpt-oss: chat_template_kwargs.reasoning_effort",
        matches=r"gpt-?oss",
        engines=("llama.cpp",),
        changes={"effort_place": "chat_template_kwargs"},
    ),
    Family(
        name="gpt-oss at OpenRouter",
        evidence="openrouter.ai/docs, reasoning tokens: one object for all models",
        matches=r"gpt-?oss",
        engines=("OpenRouter",),
        changes={"effort_place": "reasoning", "budget_place": None},
    ),
    # --- Qwen -----------------------------------------------------------------------------------------------------
    Family(
        name="Qwen 3",
        evidence="Qwen3's chat template: enable_thinking; /no_think in the text is obeyed by some sizes only "
        "(lmstudio-bug-tracker#632), and would change the prompt",
        matches=r"qwen-?3",
        engines=_TEMPLATE_ENGINES,
        changes={"thinking_switch": "chat_template_kwargs", "switch_name": "enable_thinking"},
    ),
    Family(
        name="Qwen 3 that always thinks, or never",
        evidence="Qwen3-2507, Qwen3-Coder and Qwen3-Next model cards: thinking or instruct, with no switch",
        matches=r"qwen-?3.*(thinking|instruct|coder)|qwq",
        engines=_TEMPLATE_ENGINES,
        changes={"thinking_switch": None, "budget_place": None},
    ),
    Family(
        name="Qwen 3 and QwQ that can't answer without thinking",
        evidence="model cards and chat templates of Qwen3-…-Thinking-2507 and QwQ-32B: the prompt ends in <think>, "
        "and there is no switch",
        matches=r"qwen-?3.*thinking|qwq",
        engines=_MAY_LEAVE_THOUGHTS,
        changes={"opens_in_thinking": True, "always_thinks": True},
    ),
    Family(
        name="hybrids whose prompt opens the thoughts",
        evidence="chat templates of Qwen3.5 and 3.6, DeepSeek-V3.1 and later, GLM-4.7 and later, Nemotron 3: "
        "the prompt ends in <think> while thinking is on (aichat#1528)",
        matches=r"qwen-?3\.[5-9]|deepseek.*v(3\.[1-9]|[4-9])|glm-?(4\.[7-9]|[5-9])|nemotron-?3",
        engines=_MAY_LEAVE_THOUGHTS,
        changes={"opens_in_thinking": True},
    ),
    Family(
        name="Qwen 3.8 and later",
        evidence="Qwen3.8's chat template: reasoning_effort low, medium, xhigh (qwen38-27b-rtx3090#70)",
        matches=r"qwen-?3\.[89]",
        engines=_TEMPLATE_ENGINES,
        changes={"effort_levels": ("low", "medium", "xhigh"), "effort_place": "chat_template_kwargs"},
    ),
    Family(
        name="Qwen 3 at Groq",
        evidence="console.groq.com/docs/reasoning, qwen/qwen3-32b: effort none or default; earlier thoughts in "
        "reasoning (changelog of 2025-06-12)",
        matches=r"qwen-?3",
        engines=("Groq",),
        changes={"effort_levels": ("none", "default"), "reasoning_field": "reasoning"},
    ),
    # --- DeepSeek -------------------------------------------------------------------------------------------------
    Family(
        name="DeepSeek R1",
        evidence="DeepSeek-R1's chat template: no switch, and the prompt ends in <think>",
        matches=r"deepseek.*r1",
        engines=_MAY_LEAVE_THOUGHTS,
        changes={"thinking_switch": None, "effort_levels": (), "opens_in_thinking": True},
    ),
    Family(
        name="DeepSeek R1 and MiniMax M2 at engines of one's own",
        evidence="model cards of DeepSeek-R1 and MiniMax-M2: they think at every turn; elsewhere a host may keep the "
        "thoughts to itself",
        matches=r"deepseek.*r1|minimax-?m2",
        engines=_SELF_HOSTED,
        changes={"always_thinks": True},
    ),
    Family(
        name="DeepSeek V3.1 and later",
        evidence="chat templates of DeepSeek-V3.1, V3.2 and V4: the switch is named thinking",
        matches=r"deepseek.*v(3\.[1-9]|[4-9])",
        engines=_TEMPLATE_ENGINES,
        changes={"switch_name": "thinking"},
    ),
    Family(
        name="DeepSeek V3.2 and later",
        evidence="llama.cpp's common/parsers/deepseek.cpp: calls in DSML, behind a blank line",
        matches=r"deepseek.*v(3\.[2-9]|[4-9])",
        changes={"call_format": "DSML"},
    ),
    Family(
        name="DeepSeek's older names",
        evidence="api-docs.deepseek.com: deepseek-chat and deepseek-reasoner are the two modes of one model",
        matches=r"^deepseek-(chat|reasoner)$",
        engines=("DeepSeek",),
        changes={"thinking_switch": None, "effort_levels": ()},
    ),
    Family(
        name="DeepSeek's reasoner",
        evidence="api-docs.deepseek.com: deepseek-reasoner refuses tool_choice",
        matches=r"(^|/)deepseek-reasoner$",
        engines=("DeepSeek", "unknown"),
        changes={"tool_choices": ()},
    ),
    # --- GLM, Kimi, MiniMax, Seed ---------------------------------------------------------------------------------
    Family(
        name="Kimi K2",
        evidence="moonshotai/Kimi-K2-Instruct-0905, docs/tool_call_guidance.md: ids in the history must be "
        "functions.NAME:N, or the model makes calls that nobody can read; mlx-lm#821, llxprt-code#713",
        matches=r"kimi-k2",
        changes={"numbers_tool_ids": True},
    ),
    Family(
        name="Kimi K2.5 and later",
        evidence="platform.kimi.ai/docs, kimi-k2.5 and k2.6: thinking.type; temperature and top_p are fixed; "
        "openclaw@ced267c: no forced tool while thinking",
        matches=r"kimi-k2\.[5-9]",
        engines=("Moonshot",),
        changes={
            "thinking_switch": "thinking",
            "refuses": ("temperature", "top_p"),
            "forces_while_thinking": False,
        },
    ),
    Family(
        name="Kimi K2.7 Code",
        evidence="oh-my-pi's catalog of 2026-09: thinking can't be off",
        matches=r"kimi-k2\.7-code",
        engines=("Moonshot",),
        changes={"thinking_switch": None, "tool_choices": ()},
    ),
    Family(
        name="Kimi K3",
        evidence="platform.kimi.ai/docs, kimi-k3, quoted in typewhisper-mac#1345: reasoning_effort low, high, max; "
        "max by default; the whole assistant's message goes back",
        matches=r"kimi-k3",
        engines=("Moonshot",),
        changes={"effort_levels": ("low", "high", "max"), "refuses": ("temperature", "top_p")},
    ),
    Family(
        name="Kimi K2 Thinking",
        evidence="platform.moonshot.ai/docs/guide/use-kimi-k2-thinking-model: always thinks; no tool can be forced",
        matches=r"kimi-k2-thinking",
        engines=("Moonshot", "vLLM", "SGLang"),
        changes={"thinking_switch": None, "tool_choices": ()},
    ),
    Family(
        name="Kimi K2.5 and later, its template",
        evidence="chat template of Kimi-K2.5: the switch is named thinking",
        matches=r"kimi-k2\.[5-9]",
        engines=_TEMPLATE_ENGINES,
        changes={"switch_name": "thinking"},
    ),
    Family(
        name="MiniMax M2",
        evidence="MiniMax-M2's model card: always thinks, and wants its thoughts back; its prompt opens them",
        matches=r"minimax-?m2",
        engines=_MAY_LEAVE_THOUGHTS,
        changes={"thinking_switch": None, "effort_levels": (), "opens_in_thinking": True},
    ),
    Family(
        name="MiniMax M2 at MiniMax",
        evidence="AgentScope 2's page on MiniMax, 2026-10: M2 goes on thinking when that is disabled",
        matches=r"minimax-?m2",
        engines=("MiniMax",),
        changes={"thinking_switch": None},
    ),
    Family(
        name="MiniMax M3",
        evidence="vllm's reasoning/minimax_m3_reasoning_parser.py, llama.cpp's common/parsers/minimax-m3.cpp: "
        "<mm:think>, or a bare </mm:think> where it does not think",
        matches=r"minimax-?m[3-9]",
        changes={"think_tags": (("<mm:think>", "</mm:think>"), ("<think>", "</think>"))},
    ),
    Family(
        name="MiniMax M3, its template",
        evidence="chat template of MiniMax-M3: thinking_mode is enabled, disabled or adaptive",
        matches=r"minimax-?m[3-9]",
        engines=_TEMPLATE_ENGINES,
        changes={"switch_name": "thinking_mode", "switch_values": ("disabled", "adaptive")},
    ),
    Family(
        name="Seed-OSS",
        evidence="vllm's reasoning/seedoss_reasoning_parser.py: <seed:think>",
        matches=r"seed-?oss",
        changes={"think_tags": (("<seed:think>", "</seed:think>"), ("<think>", "</think>"))},
    ),
    Family(
        name="Phi-4-mini",
        evidence="vllm's tool_parsers/phi4mini_tool_parser.py: functools, and a list of calls",
        matches=r"phi-?4-m",
        changes={"call_format": "Phi-4-mini"},
    ),
    # --- Gemma, Llama ---------------------------------------------------------------------------------------------
    Family(
        name="Gemma 4",
        evidence="Gemma 4's chat template: enable_thinking, off by default; thoughts in a channel of their own "
        "(vllm's reasoning/gemma4_reasoning_parser.py)",
        matches=r"gemma-?4",
        changes={"think_tags": (("<|channel>thought\n", "<channel|>"), ("<think>", "</think>"))},
    ),
    Family(
        name="models that never think",
        evidence="model cards of Gemma 1 to 3 and of Llama 2 to 4: no thinking, no switch in their templates",
        matches=r"gemma-?[123](\D|$)|llama-?[234](?!.*nemotron)",
        engines=("llama.cpp", "vLLM", "SGLang", "LM Studio", "Together", "Fireworks", "OpenRouter"),
        changes={"thinking_switch": None, "effort_levels": (), "budget_place": None},
    ),
    # --- Mistral --------------------------------------------------------------------------------------------------
    Family(
        name="Mistral's models",
        evidence="mistral-common, and the chat templates of Mistral's models: ids of nine letters and digits, a "
        "turn of the assistant between tool and user (mistral-vibe#578, hermes-agent#20154), no template arguments; "
        "mistral-common refuses fields that it does not know, such as reasoning (crush#1590)",
        matches=r"(mi[sx]tral|devstral|magistral|codestral)",
        engines=("unknown", "llama.cpp", "vLLM", "SGLang", "LM Studio", "OpenRouter"),
        changes={
            "tool_id_length": 9,
            "user_follows_tool": False,
            "reasoning_field": None,
            "thinking_switch": None,
            "effort_levels": (),
        },
    ),
    Family(
        name="Magistral",
        evidence="Magistral's model cards: [THINK] from 2507 on, <think> before",
        matches=r"magistral",
        changes={"think_tags": (("[THINK]", "[/THINK]"), ("<think>", "</think>"))},
    ),
    Family(
        name="Mistral that can think",
        evidence="docs.mistral.ai/capabilities/reasoning/adjustable, 2026-03: reasoning_effort high or none, none by "
        "default",
        matches=r"mistral-small-(latest|4|26)",
        engines=("Mistral",),
        changes={"effort_levels": ("none", "high"), "thinks_unasked": False},
    ),
    # --- Gemini, Grok, Claude -------------------------------------------------------------------------------------
    Family(
        name="Gemini 2.5 Flash",
        evidence="ai.google.dev/gemini-api/docs/openai: of the 2.5 models only those that are not Pro can be off",
        matches=r"gemini-2\.5-flash",
        engines=("Gemini",),
        changes={"effort_levels": ("none", "low", "medium", "high")},
    ),
    Family(
        name="Gemini before 2.5",
        evidence="ai.google.dev/gemini-api/docs/thinking: thinking began with 2.5",
        matches=r"gemini-(1|2\.0)|gemma",
        engines=("Gemini",),
        changes={"effort_levels": ()},
    ),
    Family(
        name="Grok 4.3",
        evidence="docs.x.ai, reasoning guide of 2026-06, grok-4.3: none, low, medium, high; low by default",
        matches=r"grok-4\.3",
        engines=("xAI",),
        changes={"effort_levels": ("none", "low", "medium", "high")},
    ),
    Family(
        name="Grok 4.5 and later",
        evidence="oh-my-pi's catalog of 2026-09: low, medium, high; no source says that thinking can be off",
        matches=r"grok-4\.[5-9]|grok-[5-9]",
        engines=("xAI",),
        changes={"effort_levels": ("low", "medium", "high")},
    ),
    Family(
        name="Grok 3 mini",
        evidence="docs.x.ai, reasoning guide of 2025: low or high, and its thoughts can be read",
        matches=r"grok-3-mini",
        engines=("xAI",),
        changes={"effort_levels": ("low", "high")},
    ),
    Family(
        name="Claude at OpenRouter",
        evidence="openrouter.ai/docs, prompt caching: Anthropic's models only cache what cache_control asks for "
        "(vscode#312939); thinking with a forced tool is refused",
        matches=r"^~?anthropic/|claude",
        engines=("OpenRouter",),
        changes={"asks_for_cache": True, "forces_while_thinking": False},
    ),
    Family(
        name="what can't stop thinking at OpenRouter",
        evidence="openrouter.ai/api/v1/models, reasoning.mandatory, 2026-08 (dendrux#44, claude-code-router#1215)",
        matches=r"deepseek-r1|gpt-5(-(?!chat)|$)|/o[134](-|$)|gpt-?oss|gemini-(2\.5-pro|3)|grok-4|minimax-m|thinking|step-3",
        engines=("OpenRouter",),
        changes={"thinking_switch": None},
    ),
)
"""From the general to the particular: of two rows that match, the later one has the last word."""
