"""OpenAI-compatible Chat Completions: ``request`` puts the question, ``answer`` reads what comes back."""

from __future__ import annotations

from collections.abc import Mapping

from claude_bridge.adapters.base import OutgoingRequest, StreamDecoder, TokenLimits
from claude_bridge.adapters.openai_chat.request import encode_request
from claude_bridge.adapters.openai_chat.stream import ChatStreamDecoder
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.normalize import NormalizedRequest
from claude_bridge.conversion.upstream_errors.translate import explain_refusal
from claude_bridge.errors import BridgeError


class OpenAIChat:
    """The adapter for upstream kind ``openai-chat``."""

    kind = "openai-chat"
    reach_path = "/models"

    def encode(self, request: NormalizedRequest, model: str, profile: Profile, limits: TokenLimits) -> OutgoingRequest:
        """Return the Chat Completions request; see Adapter."""
        body = encode_request(request, model, profile, limits)
        return OutgoingRequest(method="POST", path="/chat/completions", body=body)

    def decoder(self, upstream: str) -> StreamDecoder:
        """Return a decoder for one answer."""
        return ChatStreamDecoder(upstream)

    def explain_refusal(self, status: int, headers: Mapping[str, str], body: bytes, upstream: str) -> BridgeError:
        """Return the error for an answer that is no 2xx."""
        return explain_refusal(status, headers, body, upstream)


OPENAI_CHAT = OpenAIChat()
