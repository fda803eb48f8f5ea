"""TranslatingAdapter: an upstream kind with an API of its own, put together from the functions that translate it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from msgspec import Struct

from claude_bridge.adapters.base import (
    ClientRequest,
    EncodedRequest,
    EngineModel,
    OutgoingRequest,
    TokenLimits,
    maker_of,
)
from claude_bridge.conversion.deltas import StreamDecoder
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import CountRoute, Profile, SchemaDialect
from claude_bridge.conversion.prompt.token_estimate import estimate_tokens
from claude_bridge.conversion.request.normalize import NormalizedRequest, normalize_request
from claude_bridge.conversion.response.pipeline import ResponseContext, ResponsePipeline
from claude_bridge.errors import BridgeError
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest


class TranslatingAdapter(Struct, frozen=True, kw_only=True):
    """See Adapter for what the methods do; each kind is a row of the functions below."""

    kind: str
    reach_path: str
    path: str
    """Where requests are sent, relative to the base URL."""
    encode: Callable[[NormalizedRequest, str, Profile, TokenLimits], tuple[bytes, list[Loss]]]
    """Returns the body of a request, and what of it the API can't carry."""
    decoder: Callable[[str], StreamDecoder]
    """Makes the decoder of one response; takes what names the engine in error texts."""
    explain: Callable[[int, Mapping[str, str], bytes, str], BridgeError]
    """Returns the error that a status, headers and a body mean; the text names the engine as in ``decoder``."""
    tool_dialect: SchemaDialect | None = None
    """The only dialect of tools' schemas that the API has a form for; None: that is for each engine to say."""
    output_limit_field: Callable[[Profile], str | None] = lambda _: None
    """Returns EncodedRequest.output_limit_field."""
    digest: Callable[[bytes], str] = lambda _: ""
    """Returns EncodedRequest.prompt_digest, of a body."""
    keeps_unused_tools: bool = False
    """Whether tools are declared even where no call is wanted: without them the prompt would begin otherwise."""
    is_passthrough: bool = False

    def prepare(self, request: CountTokensRequest, _raw: ClientRequest | None, engine: EngineModel) -> EncodedRequest:
        """Return the translated request."""
        normalized = normalize_request(
            request,
            engine.profile,
            tool_dialect=self.tool_dialect,
            simpler_schemas=engine.simpler_schemas,
            refused_reasoning=engine.refused_reasoning,
            keeps_unused_tools=self.keeps_unused_tools,
        )
        body, losses = self.encode(normalized, engine.model, engine.profile, engine.limits)
        facts = normalized.facts
        return EncodedRequest(
            outgoing=OutgoingRequest(method="POST", path=self.path, body=body),
            facts=facts,
            estimated_tokens=estimate_tokens(body, holds_images=facts.holds_images),
            losses=(*normalized.losses, *losses),
            max_tokens=_max_tokens(request, engine.limits),
            output_limit_field=self.output_limit_field(engine.profile),
            prompt_digest=partial(self.digest, body),
            inline_tools=normalized.inline_tools,
        )

    def response(self, request: MessagesRequest, engine: EngineModel, context: ResponseContext) -> ResponsePipeline:
        """Return the pipeline from the engine's bytes to stream events."""
        maker = maker_of(engine.profile, engine.model)
        return ResponsePipeline(request, self.decoder(engine.where), engine.profile, context, maker=maker)

    def explain_error(self, status: int, headers: Mapping[str, str], body: bytes, engine: EngineModel) -> BridgeError:
        """Return the error that a response with another status than 2xx means."""
        return self.explain(status, headers, body, engine.where)

    def count_routes(self, profile: Profile) -> tuple[CountRoute, ...]:
        """Return the routes of the engine's own tokenizer."""
        return profile.count_routes

    def key_headers(self, api_key: str | None, profile: Profile) -> dict[str, str]:
        """Return the key as a bearer token, or in the header that the service has for it."""
        if not api_key:
            return {}
        if profile.key_header == "api-key" and not api_key.startswith(_TOKEN):
            return {"api-key": api_key}
        return {"authorization": f"Bearer {api_key}"}


_TOKEN = "eyJ"  # noqa: S105 - how every JSON web token begins; Azure takes those of Entra as bearer tokens only


def _max_tokens(request: CountTokensRequest, limits: TokenLimits) -> int | None:
    if not isinstance(request, MessagesRequest):
        return None
    return min(request.max_tokens, limits.max_output_tokens or request.max_tokens)
