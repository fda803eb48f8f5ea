"""Ollama's own /api/chat: ``request`` encodes a request, ``stream`` decodes its response, ``errors`` explains."""

from __future__ import annotations

from claude_bridge.adapters.ollama_chat.errors import explain_refusal
from claude_bridge.adapters.ollama_chat.request import encode_request, encode_turns
from claude_bridge.adapters.ollama_chat.stream import OllamaStreamDecoder
from claude_bridge.adapters.translating import TranslatingAdapter

# The base URL has no ``/v1``.
OLLAMA_CHAT = TranslatingAdapter(
    kind="ollama-chat",
    reach_path="/api/version",
    path="/api/chat",
    encode=encode_request,
    encode_turns=encode_turns,
    tool_dialect="few-keywords",
    decoder=OllamaStreamDecoder,
    explain=explain_refusal,
)
