"""One folder for each upstream kind; a new kind is a new folder and a new row in ADAPTERS."""

from __future__ import annotations

from claude_bridge.adapters.anthropic_messages import ANTHROPIC_MESSAGES
from claude_bridge.adapters.base import Adapter
from claude_bridge.adapters.ollama_chat import request as ollama_request
from claude_bridge.adapters.ollama_chat.errors import explain_refusal as explain_ollama_refusal
from claude_bridge.adapters.ollama_chat.stream import OllamaStreamDecoder
from claude_bridge.adapters.openai_chat import request as chat_request
from claude_bridge.adapters.openai_chat.stream import ChatStreamDecoder
from claude_bridge.adapters.openai_responses import request as responses_request
from claude_bridge.adapters.openai_responses.stream import ResponsesStreamDecoder
from claude_bridge.adapters.translating import TranslatingAdapter
from claude_bridge.conversion.upstream_errors.translate import explain_refusal

OPENAI_CHAT = TranslatingAdapter(
    kind="openai-chat",
    reach_path="/models",
    path="/chat/completions",
    encode=chat_request.encode_request,
    encode_turns=chat_request.encode_turns,
    decoder=ChatStreamDecoder,
    explain=explain_refusal,
    output_limit_field=lambda profile: profile.chat.max_tokens_field,
)
OLLAMA_CHAT = TranslatingAdapter(
    kind="ollama-chat",  # the base URL has no /v1
    reach_path="/api/version",
    path="/api/chat",
    encode=ollama_request.encode_request,
    encode_turns=ollama_request.encode_turns,
    tool_dialect="few-keywords",
    decoder=OllamaStreamDecoder,
    explain=explain_ollama_refusal,
)
OPENAI_RESPONSES = TranslatingAdapter(
    kind="openai-responses",
    reach_path="/models",
    path="/responses",
    encode=responses_request.encode_request,
    encode_turns=None,
    decoder=ResponsesStreamDecoder,
    explain=explain_refusal,
    output_limit_field=lambda _: "max_output_tokens",
    digest=responses_request.digest_of_input,
    keeps_unused_tools=True,
)

_ALL: tuple[Adapter, ...] = (OPENAI_CHAT, OLLAMA_CHAT, ANTHROPIC_MESSAGES, OPENAI_RESPONSES)
ADAPTERS: dict[str, Adapter] = {adapter.kind: adapter for adapter in _ALL}
"""Every adapter by its upstream kind."""
