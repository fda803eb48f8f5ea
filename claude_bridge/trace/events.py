"""The vocabulary of the trace: one frozen event for each thing that happens in an exchange."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from claude_bridge.conversion.builtin_tools import WebTool
from claude_bridge.conversion.loss import Loss
from claude_bridge.wire.anthropic_answers import Message


class _Event(Struct, frozen=True, kw_only=True, tag=True, tag_field="type"):
    """What every event has; the recorder fills it in.

    ``exchange`` is the request id that the client also sees; ``at_s`` is Unix time; ``after_s`` counts from the moment
    the request was received.
    """

    exchange: str = ""
    at_s: float = 0.0
    after_s: float = 0.0


class RequestReceived(_Event, frozen=True, kw_only=True):
    """A client sent a request. ``body`` is its request as it came, ``session`` the client's own session id.

    ``not_read`` names the top-level fields of the request that the bridge does not know, and did not carry; the
    redaction fills it in. It is empty where the body is so long that a trace holds only its beginning.
    """

    path: str
    model: str
    streamed: bool
    messages: int
    tools: int
    max_tokens: int | None
    session: str | None
    user_agent: str | None
    not_read: list[str] = []
    body: bytes


class ImageDescribed(_Event, frozen=True, kw_only=True):
    """A model with vision described an image for one without.

    ``path`` is the image's JSON path in the client's request; ``text`` None: it said nothing of use, see ``trouble``.
    """

    path: str
    model: str
    text: str | None
    trouble: str
    took_s: float


class WebToolCalled(_Event, frozen=True, kw_only=True):
    """The bridge searched the web or fetched a page for the model.

    ``input`` is the call's JSON; ``error`` is the API's code, and ``reason`` explains it (None and "": it went well).
    """

    tool: WebTool
    input: str
    results: int
    size_bytes: int
    error: str | None
    reason: str
    took_s: float


class RequestSent(_Event, frozen=True, kw_only=True):
    """The translated request is on its way. ``losses`` says what of the client's request it does not carry.

    ``reason`` says why this upstream was chosen; None: there is no other one. ``kind`` is the upstream kind,
    ``profile`` the name of the engine's profile, ``headers`` those beyond what every request has, without credentials.
    """

    method: str
    url: str
    model: str
    upstream: str
    kind: str = ""
    profile: str = ""
    window_tokens: int | None = None
    headers: dict[str, str] = {}
    reason: str | None = None
    estimated_tokens: int
    losses: list[Loss]
    body: bytes


class RequestQueued(_Event, frozen=True, kw_only=True):
    """The request waits for its turn, since the engine gets only so many at a time.

    ``position`` 1 is the next; 0 means that the turn has come.
    """

    position: int


class FellBack(_Event, frozen=True, kw_only=True):
    """A candidate failed before its answer began, and the next one is tried. ``target`` is PROVIDER/MODEL."""

    target: str
    status: int
    message: str


class UpstreamAnswered(_Event, frozen=True, kw_only=True):
    """The upstream sent its status line."""

    status: int


class UpstreamRetried(_Event, frozen=True, kw_only=True):
    """The request was sent again: the upstream ended it without a byte, or refused a part of it that gave way."""

    reason: str


class WaitingForUpstream(_Event, frozen=True, kw_only=True):
    """The upstream is silent, and the client's line was kept alive."""


class PromptRead(_Event, frozen=True, kw_only=True):
    """The engine reports that it has read ``read_tokens`` of the prompt so far, cached part included."""

    read_tokens: int
    prompt_tokens: int
    cached_tokens: int


class FirstToken(_Event, frozen=True, kw_only=True):
    """The first content went to the client."""


class AnswerGrew(_Event, frozen=True, kw_only=True):
    """More of the answer went to the client; ``deltas`` and ``chars`` count what came since the last such event."""

    deltas: int
    chars: int


class ToolInputRepaired(_Event, frozen=True, kw_only=True):
    """The arguments of a tool call were repaired."""

    tool_name: str
    what: str


class AnswerMended(_Event, frozen=True, kw_only=True):
    """Something in an answer that is passed on was repaired: one event for each kind of fault."""

    what: str


class PromptReread(_Event, frozen=True, kw_only=True):
    """The engine read again what an earlier request of the conversation had brought; see Reread."""

    turn: int
    tokens: int | None
    lost_tokens: int
    reason: str


class PromptCut(_Event, frozen=True, kw_only=True):
    """The engine answered a prompt that it can't have read whole: it cut it in silence."""

    estimated_tokens: int
    reported_tokens: int
    window_tokens: int


class ExchangeEnded(_Event, frozen=True, kw_only=True):
    """The answer is whole. None in a figure means that the engine did not report it.

    ``prompt_tokens`` counts the whole prompt, cached part included. ``usage_is_estimated`` says that the engine gave
    no token counts. ``prompt_ms`` and ``output_ms`` are the engine's own times for reading the prompt, without the
    cached part, and for writing the answer. ``cost_usd`` is what it cost in US dollars, as reported or by known prices.
    """

    first_token_s: float | None
    message: Message
    prompt_tokens: int | None
    cached_tokens: int | None
    prompt_ms: float | None
    output_ms: float | None
    load_ms: float | None = None
    usage_is_estimated: bool
    cost_usd: float | None = None


class ExchangeFailed(_Event, frozen=True, kw_only=True):
    """The exchange ended in an error. ``in_stream`` says that the answer had begun."""

    model: str = ""
    status: int
    error_type: str
    message: str
    in_stream: bool


class ClientLeft(_Event, frozen=True, kw_only=True):
    """The client went away before the answer was whole; the upstream was cancelled."""


class StreamReads(Struct):
    """What came in each read of a stream, or went out in each write, and when; ``size`` counts the bytes."""

    data: list[bytes] = []
    after_s: list[float] = []
    size: int = 0


class StreamBlock(Struct, frozen=True):
    """Some reads of a stream; in ``text`` a mark stands for ``shared``, see stream_text.

    ``sizes`` has the bytes of each read, ``after_us`` the microseconds after the request was received.
    """

    text: bytes
    sizes: list[int]
    after_us: list[int]
    shared: bytes = b""


class StreamsRecorded(_Event, frozen=True, kw_only=True):
    """What the upstream sent and what the client got, as bytes; comes last, after the exchange's end.

    The redaction makes blocks of the reads. ``upstream`` has what every attempt got, those too that fell back.
    ``omitted_bytes`` counts what was beyond the budget of one exchange.
    """

    omitted_bytes: int = 0
    upstream: StreamReads | Sequence[StreamBlock]
    client: StreamReads | Sequence[StreamBlock]


class EventsDropped(_Event, frozen=True, kw_only=True):
    """Events are missing here: more came than the sink could take. ``exchange`` is empty."""

    count: int


TraceEvent = (
    RequestReceived
    | ImageDescribed
    | WebToolCalled
    | RequestSent
    | RequestQueued
    | FellBack
    | UpstreamAnswered
    | UpstreamRetried
    | WaitingForUpstream
    | PromptRead
    | FirstToken
    | AnswerGrew
    | ToolInputRepaired
    | AnswerMended
    | PromptReread
    | PromptCut
    | ExchangeEnded
    | ExchangeFailed
    | ClientLeft
    | StreamsRecorded
    | EventsDropped
)
