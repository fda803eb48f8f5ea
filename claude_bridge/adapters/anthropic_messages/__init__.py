"""Upstreams that speak Anthropic's Messages API: requests are edited, responses handed on as they are or repaired."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from claude_bridge.adapters.anthropic_messages.passthrough import PassthroughDocument, PassthroughStream, kept_headers
from claude_bridge.adapters.anthropic_messages.repaired import RepairedDocument, RepairedStream
from claude_bridge.adapters.anthropic_messages.request import edit_request, edits_are_known
from claude_bridge.adapters.base import (
    ClientRequest,
    EncodedRequest,
    EngineModel,
    OutgoingRequest,
    Response,
    lowered_max_tokens,
)
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import CountRoute, MessagesProfile, Profile
from claude_bridge.conversion.prompt.token_estimate import estimate_raw_tokens
from claude_bridge.conversion.request.normalize import raw_prompt_facts
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.conversion.upstream_errors.translate import explain_refusal
from claude_bridge.errors import BridgeError, RelayedRefusalError
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest
from claude_bridge.wire.anthropic_codec import encode_request
from claude_bridge.wire.anthropic_lenient import read_error
from claude_bridge.wire.lenient_json import parse_object

MESSAGES_PATH = "/v1/messages"
COUNT_PATH = "/v1/messages/count_tokens"
BETA_HEADER = "anthropic-beta"
VERSION_HEADER = {"anthropic-version": "2023-06-01"}

_OAUTH_PREFIX = "sk-ant-oat"


class AnthropicMessages(Struct, frozen=True):
    """The adapter for upstream kind ``anthropic-messages``; see Adapter for what the methods do."""

    kind: str = "anthropic-messages"
    reach_path: str = "/v1/models"
    is_passthrough: bool = True

    def prepare(self, request: CountTokensRequest, raw: ClientRequest | None, engine: EngineModel) -> EncodedRequest:
        """Return the client's own bytes, with what the engine needs changed."""
        raw = raw or ClientRequest(body=encode_request(request))
        history = raw.history_of(request)
        profile, max_tokens = engine.profile.messages, None
        lost: list[Loss] = []
        if isinstance(request, MessagesRequest) and not profile.is_anthropic:
            lowered, lost = lowered_max_tokens(request.max_tokens, engine.limits)
            max_tokens = lowered if lost else None
        body, losses = edit_request(
            raw.body,
            request,
            engine.model,
            engine.profile,
            history,
            max_tokens=max_tokens,
            simpler_schemas=engine.simpler_schemas,
        )
        path = MESSAGES_PATH if isinstance(request, MessagesRequest) else COUNT_PATH
        facts = raw_prompt_facts(request.messages, history)
        return EncodedRequest(
            outgoing=OutgoingRequest(
                method="POST", path=path + raw.query, body=body, headers=_headers(raw.headers, profile)
            ),
            facts=facts,
            estimated_tokens=estimate_raw_tokens(body, facts.images),
            losses=(*losses, *lost),
        )

    def new_bytes(self, request: CountTokensRequest, raw: ClientRequest | None, engine: EngineModel) -> int:
        """Return how many bytes of a request have to be read."""
        history = raw.history_of(request) if raw else None
        if history is not None and edits_are_known(engine.profile.messages, history):
            return history.new_bytes
        return len(raw.body) if raw else 0

    def response(self, request: MessagesRequest, engine: EngineModel, context: ResponseContext) -> Response:
        """Return what hands on Anthropic's own answers as they are, and those of other engines repaired."""
        if engine.profile.messages.is_anthropic:
            passthrough = PassthroughStream if request.stream else PassthroughDocument
            return passthrough(context, engine.where)
        repaired = RepairedStream if request.stream else RepairedDocument
        return repaired(request, engine.profile.messages, context, engine.where)

    def explain_error(self, status: int, headers: Mapping[str, str], body: bytes, engine: EngineModel) -> BridgeError:
        """Return the error that a response with another status than 2xx means; Anthropic's own stays as it is."""
        explained = explain_refusal(status, headers, body, engine.where)
        error = read_error(parse_object(body)) if engine.profile.messages.is_anthropic else None
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

    def count_routes(self, profile: Profile) -> tuple[CountRoute, ...]:
        """Return the API's own route, but not for Anthropic: unasked counts may use up the client's rate limits."""
        return () if profile.messages.is_anthropic else ("messages",)

    def key_headers(self, api_key: str | None, profile: Profile) -> dict[str, str]:
        """Return the headers that carry a key: Anthropic refuses two of them, and other engines look for either."""
        if not api_key:
            return dict(VERSION_HEADER)
        bearer = {"authorization": f"Bearer {api_key}"}
        if profile.messages.is_anthropic:
            return VERSION_HEADER | (bearer if api_key.startswith(_OAUTH_PREFIX) else {"x-api-key": api_key})
        return VERSION_HEADER | bearer | {"x-api-key": api_key}


def _headers(headers: Mapping[str, str], profile: MessagesProfile) -> Mapping[str, str]:
    """Return the client's headers without the beta features that the engine refused."""
    betas = headers.get(BETA_HEADER)
    if betas is None or not profile.refused_betas:
        return headers
    kept = [beta for beta in map(str.strip, betas.split(",")) if beta not in profile.refused_betas]
    others = {name: value for name, value in headers.items() if name != BETA_HEADER}
    return others if not kept or "*" in profile.refused_betas else others | {BETA_HEADER: ",".join(kept)}


ANTHROPIC_MESSAGES = AnthropicMessages()
