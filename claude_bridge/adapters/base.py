"""The one protocol of all adapters: how a request is sent to one kind of upstream, and how its response is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.loss import Loss, Repair
from claude_bridge.conversion.profile import CountRoute, Profile, SchemaDialect
from claude_bridge.conversion.prompt.context_budget import PromptFacts
from claude_bridge.conversion.reasoning import TextOpening
from claude_bridge.conversion.request.history import KnownHistory
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.errors import BridgeError
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest, Tool
from claude_bridge.wire.anthropic_answers import ResponseItem

_CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"})


class ClientRequest(Struct, frozen=True, kw_only=True):
    """A client's request as it came. Header names are lower case; ``query`` follows the path, with its ``?``."""

    body: bytes
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    history: KnownHistory | None = None
    """What is known of its messages from requests that began as it does; None: nothing is kept of them."""

    def history_of(self, request: CountTokensRequest) -> KnownHistory | None:
        """Return what is known of the messages, where they are still those that the client sent."""
        known = self.history
        return known if known is not None and known.messages is request.messages else None

    def without_credentials(self) -> ClientRequest:
        """Return the request without the client's own login."""
        headers = {name: value for name, value in self.headers.items() if name not in _CREDENTIALS}
        return replace(self, headers=headers)


class OutgoingRequest(Struct, frozen=True, kw_only=True):
    """An HTTP request to an upstream. ``path`` is relative to the base URL; the client of the upstream adds the key.

    ``headers`` replace those of the same name that every request has; names are lower case.
    """

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class TokenLimits(Struct, frozen=True, kw_only=True):
    """What a model can take and give, in tokens; None: not known."""

    max_output_tokens: int | None = None
    window_tokens: int | None = None
    may_cut_prompts: bool = False
    """Whether the engine may cut a longer prompt in silence, since it may not know a window that the user gave."""


def lowered_max_tokens(requested: int, limits: TokenLimits) -> tuple[int, list[Loss]]:
    """Return how long the answer may be, and what of the client's limit is lost."""
    if limits.max_output_tokens is None or requested <= limits.max_output_tokens:
        return requested, []
    lowered = limits.max_output_tokens
    return lowered, [Loss("$.max_tokens", f"lowered from {requested} to the model's limit {lowered}")]


def maker_of(profile: Profile, model: str) -> str:
    """Return who can read the reasoning that this model seals: nobody but itself, at the same service."""
    return f"{profile.name} {model}"


class EngineModel(Struct, frozen=True, kw_only=True):
    """One model of one engine, as far as adapters need to know it.

    ``where`` names the engine and its base URL in error texts. An empty ``model`` keeps the name that the client
    gave, which only a pass-through adapter can.
    """

    where: str
    model: str
    profile: Profile
    limits: TokenLimits = TokenLimits()
    simpler_schemas: Mapping[bytes, SchemaDialect] = field(default_factory=dict)
    """The dialect of each schema that the engine refused in its usual one, by the schema's digest."""
    refused_reasoning: frozenset[bytes] = frozenset()
    """Sealed reasoning that the engine did not take back, by its digest."""
    omitted_fields: frozenset[str] = frozenset()
    """Fields of the body that the engine refused, and that no adapter knows how to replace, such as ``safeguards`` or
    ``tools.*.defer_loading``."""


class EncodedRequest(Struct, frozen=True, kw_only=True):
    """A request as the upstream gets it, with what is known of its prompt and what it could not carry."""

    outgoing: OutgoingRequest
    facts: PromptFacts
    estimated_tokens: int
    """The tokens of the prompt, by the length of the body alone."""
    losses: tuple[Loss, ...] = ()
    max_tokens: int | None = None
    """The limit of the answer that the engine is given; None: not known."""
    output_limit_field: str | None = None
    """The field of the body that holds the limit of the answer, if the engine refuses an answer that may outgrow the
    window; None: it takes any limit."""
    prompt_digest: Callable[[], str] = lambda: ""
    """Returns the digest of the prompt, where the service binds reasoning to what stands before it."""
    inline_tools: tuple[Tool, ...] = ()
    """Tools that the request declares in its messages; the response may call them too."""


class Response(Protocol):
    """One response on its way: an upstream's bytes in, what the client gets out.

    ``start`` comes first, ``close`` last, ``feed`` and ``keep_alive`` in any order between them. Nothing is returned
    after an error.
    """

    @property
    def message_id(self) -> str:
        """The id that the client knows the message by."""

    @property
    def emits_before_upstream(self) -> bool:
        """Whether the client may get something before the upstream has sent anything, and errors are written here."""

    @property
    def begun(self) -> bool:
        """Whether the upstream has sent anything of its answer."""

    @property
    def done(self) -> bool:
        """Whether the client has the whole answer; what follows need not be waited for."""

    @property
    def finished(self) -> bool:
        """Whether the upstream gave its finish reason; only usage may follow, and silence means that none does."""

    @property
    def error(self) -> BridgeError | None:
        """What ended the answer too early, if anything did."""

    @property
    def usage(self) -> UsageReport:
        """What the upstream has reported so far."""

    @property
    def learned_opening(self) -> TextOpening | None:
        """What the answer has shown of how its model's text begins; None: nothing."""

    @property
    def repairs(self) -> Sequence[Repair]:
        """What was repaired so far; the list only grows."""

    def kept_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of the upstream's response that go to the client."""

    def start(self) -> Sequence[ResponseItem]:
        """Return what opens the answer."""

    def feed(self, data: bytes) -> Sequence[ResponseItem]:
        """Return what ``data`` completes.

        Raises:
            UpstreamBrokenError: the upstream sent more than any limit allows.
        """

    def keep_alive(self) -> Sequence[ResponseItem]:
        """Return items that add nothing, to show the client that the answer is still on its way."""

    def fail(self, error: BridgeError) -> Sequence[ResponseItem]:
        """Return what was held back, and the error that ends the answer."""

    def close(self) -> Sequence[ResponseItem]:
        """Return the end, once the upstream sends nothing more; an answer that was cut off ends in an error."""


class Adapter(Protocol):
    """The pure code for one upstream kind."""

    @property
    def kind(self) -> str:
        """The name of the upstream kind, such as ``openai-chat``."""

    @property
    def reach_path(self) -> str:
        """What a GET can ask of any upstream of this kind at no cost."""

    @property
    def is_passthrough(self) -> bool:
        """Whether the client's own bytes are sent, with edits.

        Then a request need not be understood in full, and its attachments are neither fetched nor converted.
        """

    def prepare(self, request: CountTokensRequest, raw: ClientRequest | None, engine: EngineModel) -> EncodedRequest:
        """Return what to send for a request, or for the count of its tokens.

        ``raw`` is the request as the client sent it; None: it was made in this process.

        Raises:
            ClientError: the request can't be served as it is.
        """

    def new_bytes(self, request: CountTokensRequest, raw: ClientRequest | None, engine: EngineModel) -> int:
        """Return how many bytes of a request ``prepare`` has to read; of the rest it knows what to send."""

    def response(self, request: MessagesRequest, engine: EngineModel, context: ResponseContext) -> Response:
        """Return what reads the upstream's response to a request."""

    def explain_error(self, status: int, headers: Mapping[str, str], body: bytes, engine: EngineModel) -> BridgeError:
        """Return the error that a response with another status than 2xx means."""

    def count_routes(self, profile: Profile) -> tuple[CountRoute, ...]:
        """Return the ways in which the engine can count a prompt, best first."""

    def key_headers(self, api_key: str | None, profile: Profile) -> dict[str, str]:
        """Return the headers that go with every request: those that carry the key, and what else the API needs."""
