"""Ollama's own /api/chat: ``request`` puts the question, ``answer`` reads what comes back, ``refusals`` explains."""

from __future__ import annotations

from collections.abc import Mapping

from claude_bridge.adapters.base import OutgoingRequest, StreamDecoder, TokenLimits
from claude_bridge.adapters.ollama_chat.errors import explain_refusal
from claude_bridge.adapters.ollama_chat.request import encode_request
from claude_bridge.adapters.ollama_chat.stream import OllamaStreamDecoder
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.normalize import NormalizedRequest
from claude_bridge.errors import BridgeError


class OllamaChat:
    """The adapter for upstream kind ``ollama-chat``; its base URL has no ``/v1``."""

    kind = "ollama-chat"
    reach_path = "/api/version"

    def encode(self, request: NormalizedRequest, model: str, profile: Profile, limits: TokenLimits) -> OutgoingRequest:
        """Return the request to /api/chat; see Adapter."""
        return OutgoingRequest(method="POST", path="/api/chat", body=encode_request(request, model, profile, limits))

    def decoder(self, upstream: str) -> StreamDecoder:
        """Return a decoder for one answer."""
        return OllamaStreamDecoder(upstream)

    def explain_refusal(self, status: int, headers: Mapping[str, str], body: bytes, upstream: str) -> BridgeError:
        """Return the error for an answer that is no 2xx."""
        return explain_refusal(status, headers, body, upstream)


OLLAMA_CHAT = OllamaChat()
