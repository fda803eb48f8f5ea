"""OpenAI-compatible Chat Completions: ``request`` encodes a request, ``stream`` decodes its response."""

from __future__ import annotations

from claude_bridge.adapters.openai_chat.request import encode_request, encode_turns
from claude_bridge.adapters.openai_chat.stream import ChatStreamDecoder
from claude_bridge.adapters.translating import TranslatingAdapter
from claude_bridge.conversion.upstream_errors.translate import explain_refusal

OPENAI_CHAT = TranslatingAdapter(
    kind="openai-chat",
    reach_path="/models",
    path="/chat/completions",
    encode=encode_request,
    encode_turns=encode_turns,
    decoder=ChatStreamDecoder,
    explain=explain_refusal,
    output_limit_field=lambda profile: profile.chat.max_tokens_field,
)
