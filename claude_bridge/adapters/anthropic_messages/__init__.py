"""Engines that speak Anthropic's Messages API: ``request`` edits what goes on, ``answer`` mends what comes back."""

from __future__ import annotations

from collections.abc import Mapping

from claude_bridge.adapters.anthropic_messages.passthrough import PassthroughDocument, PassthroughStream, kept_headers
from claude_bridge.adapters.anthropic_messages.repaired_document import RepairedDocument
from claude_bridge.adapters.anthropic_messages.repaired_stream import RepairedStream
from claude_bridge.adapters.anthropic_messages.request import edit_request
from claude_bridge.adapters.base import Answer, AnswerTerms, ClientRequest, OutgoingRequest
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.upstream_errors.translate import explain_refusal
from claude_bridge.errors import BridgeError, RelayedRefusalError
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest
from claude_bridge.wire.anthropic_lenient import read_error

MESSAGES_PATH = "/v1/messages"
COUNT_PATH = "/v1/messages/count_tokens"
VERSION_HEADER = {"anthropic-version": "2023-06-01"}

_OAUTH_PREFIX = "sk-ant-oat"


def key_headers(api_key: str | None, profile: Profile) -> dict[str, str]:
    """Return the headers that carry a key: Anthropic refuses two of them, and other engines look for either."""
    if not api_key:
        return dict(VERSION_HEADER)
    bearer = {"authorization": f"Bearer {api_key}"}
    if profile.messages.is_anthropic:
        return VERSION_HEADER | (bearer if api_key.startswith(_OAUTH_PREFIX) else {"x-api-key": api_key})
    return VERSION_HEADER | bearer | {"x-api-key": api_key}


class AnthropicMessages:
    """The relay for upstream kind ``anthropic-messages``."""

    kind = "anthropic-messages"
    reach_path = "/v1/models"

    def edit(
        self, given: ClientRequest, request: CountTokensRequest, model: str, profile: Profile
    ) -> tuple[OutgoingRequest, list[Loss]]:
        """Return the client's request with what the engine needs changed; see Relay."""
        body, losses = edit_request(given.body, request, model, profile)
        path = MESSAGES_PATH + given.query
        return OutgoingRequest(method="POST", path=path, body=body, headers=given.headers), losses

    def answer(
        self,
        request: MessagesRequest,
        profile: Profile,
        terms: AnswerTerms,
        upstream: str,
    ) -> Answer:
        """Return what passes one answer on; see Relay."""
        if profile.messages.is_anthropic:
            return PassthroughStream(terms, upstream) if request.stream else PassthroughDocument(terms, upstream)
        mended = RepairedStream if request.stream else RepairedDocument
        return mended(request, profile.messages, terms, upstream)

    def explain_refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, upstream: str, profile: Profile
    ) -> BridgeError:
        """Return the error for an answer that is no 2xx; Anthropic's own goes to the client as it is."""
        explained = explain_refusal(status, headers, body, upstream)
        error = read_error(body) if profile.messages.is_anthropic else None
        if error is None:
            return explained
        return RelayedRefusalError(
            explained.message,
            status=status,
            error_type=error.type,
            body=body,
            content_type=headers.get("content-type", "application/json"),
            headers=kept_headers(headers),
        )


ANTHROPIC_MESSAGES = AnthropicMessages()
