"""What each exchange of a trace came to, gathered from its lines: what lists, pages and the live view show first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from claude_bridge.conversion.loss import Loss
from claude_bridge.providers import engine_words
from claude_bridge.trace.events import RequestReceived, RequestSent, TraceEvent
from claude_bridge.trace.jsonl import encode_event
from claude_bridge.wire.lenient_json import read_or_none

State = Literal["preparing", "queued", "reading", "writing", "answered", "failed", "left"]
OVER = ("answered", "failed", "left")


class TraceLine(Struct, frozen=True, kw_only=True):
    """One line of a trace, read loosely: any version's, with what this one knows of it."""

    type: str
    version: int = 1
    exchange: str = ""
    at_s: float = 0.0
    after_s: float = 0.0
    model: str | None = None
    session: str | None = None
    user_agent: str | None = None
    path: str = ""
    streamed: bool = False
    messages: int = 0
    tools: int = 0
    max_tokens: int | None = None
    method: str = "POST"
    url: str = ""
    headers: dict[str, str] = {}
    body: Raw = Raw(b"null")
    upstream: Raw | UnsetType = UNSET
    """The upstream's name; in StreamsRecorded its bytes."""
    client: Raw | UnsetType = UNSET
    omitted_bytes: int = 0
    kind: str = ""
    profile: str = ""
    reason: str | None = None
    window_tokens: int | None = None
    estimated_tokens: int = 0
    reported_tokens: int = 0
    losses: list[Loss] = []
    position: int = 0
    target: str = ""
    status: int = 0
    error_type: str = ""
    in_stream: bool = False
    message: Raw | UnsetType = UNSET
    """A message of the API, or a text."""
    read_tokens: int = 0
    deltas: int = 0
    chars: int = 0
    tool: str = ""
    input: str = ""
    results: int = 0
    error: str | None = None
    tool_name: str = ""
    what: str = ""
    turn: int = 0
    tokens: int | None = None
    lost_tokens: int = 0
    first_token_s: float | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    prompt_ms: float | None = None
    output_ms: float | None = None
    load_ms: float | None = None
    cost_usd: float | None = None
    usage_is_estimated: bool = False
    count: int = 0

    @property
    def upstream_name(self) -> str:
        """The upstream's name."""
        return text_of(self.upstream)

    @property
    def message_text(self) -> str:
        """The message, where it is a text."""
        return text_of(self.message)

    @property
    def body_bytes(self) -> bytes:
        """The body as it was: a JSON value, or the text of what was none."""
        return text_of(self.body).encode("utf-8", "replace") or bytes(self.body)


class _Usage(Struct):
    output_tokens: int | None = None


class _TracedAnswer(Struct):
    stop_reason: str | None = None
    usage: _Usage = msgspec.field(default_factory=_Usage)


class Step(Struct, frozen=True, kw_only=True):
    """One thing that happened in an exchange, in words."""

    after_s: float
    text: str
    is_trouble: bool = False


class ExchangeFailure(Struct, frozen=True, kw_only=True):
    """What ended an exchange too early."""

    status: int
    error_type: str
    message: str


class TracedExchange(Struct, kw_only=True, omit_defaults=True):
    """One exchange in short, as far as its lines have been read. None in a figure means that it is not known.

    ``request_bytes``, ``sent_bytes`` and ``stream_bytes`` are sizes of lines, which is nearly those of the bodies.
    """

    exchange: str
    number: int
    """Counts the exchanges of a trace, from 1."""
    at_s: float
    state: State = "preparing"
    session: str | None = None
    client_model: str | None = None
    model: str | None = None
    upstream: str | None = None
    kind: str = ""
    reason: str | None = None
    path: str = ""
    user_agent: str | None = None
    streamed: bool = False
    messages: int = 0
    tools: int = 0
    max_tokens: int | None = None
    window_tokens: int | None = None
    request_bytes: int = 0
    sent_bytes: int = 0
    stream_bytes: int = 0
    estimated_tokens: int = 0
    position: int | None = None
    sent_after_s: float | None = None
    first_token_s: float | None = None
    took_s: float | None = None
    read_tokens: int | None = None
    """How much of the prompt the engine has read so far, as it reports."""
    written_tokens: int = 0
    """About how many tokens have been written so far."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    is_estimated: bool = False
    prompt_ms: float | None = None
    output_ms: float | None = None
    load_ms: float | None = None
    cost_usd: float | None = None
    stop_reason: str | None = None
    losses: int = 0
    repairs: int = 0
    fallbacks: int = 0
    reread_tokens: int | None = None
    """What the engine read again though it had read it before."""
    reread_reason: str | None = None
    failure: ExchangeFailure | None = None
    steps: list[Step] = []

    @property
    def tokens_per_s(self) -> float | None:
        """How fast the answer was written; None: not known."""
        seconds = self.output_ms / 1000 if self.output_ms else None
        if seconds is None and self.took_s is not None and self.first_token_s is not None:
            seconds = self.took_s - self.first_token_s
        return self.output_tokens / seconds if self.output_tokens and seconds and seconds > _SHORTEST_S else None


_SHORTEST_S = 0.05
_MAX_STEPS = 100
_MAX_TEXT_CHARS = 2_000


class UnreadableLineError(Exception):
    """A line is no event of a trace."""


def read_entry(line: bytes | memoryview) -> TraceLine:
    """Return what a line says; raises UnreadableLineError."""
    try:
        return msgspec.json.decode(line, type=TraceLine)
    except (ValueError, RecursionError) as error:
        raise UnreadableLineError(str(error)) from error


def entry_of(event: TraceEvent) -> TraceLine:
    """Return what a trace says of an event, but for bodies."""
    if isinstance(event, RequestReceived | RequestSent):
        event = replace(event, body=b"null")
    return read_entry(encode_event(event))


def add_entry(found: TracedExchange, entry: TraceLine, line_bytes: int) -> None:
    """Add what one more line says of an exchange. Lines may be missing, or of kinds that are not known."""
    kind = _KINDS.get(entry.type)
    if kind is None:
        return
    step = kind.more(found, entry) if kind.more else kind.step.format(entry)
    for name, given in kind.copied.items():
        setattr(found, name, getattr(entry, given))
    if kind.size:
        setattr(found, kind.size, line_bytes)
    if kind.counted:
        setattr(found, kind.counted, getattr(found, kind.counted) + 1)
    found.state = kind.state or found.state
    if step and len(found.steps) < _MAX_STEPS:
        after_s = entry.after_s or max(0.0, round(entry.at_s - found.at_s, 3))
        found.steps = [*found.steps, Step(after_s=after_s, text=step[:_MAX_TEXT_CHARS], is_trouble=kind.is_trouble)]


def is_known(entry: TraceLine) -> bool:
    """Return whether this version knows what kind of event it is."""
    return entry.type in _KINDS


_text_decoder = msgspec.json.Decoder(str)


def text_of(raw: Raw | UnsetType) -> str:
    """Return a JSON text, "" for anything else."""
    return "" if isinstance(raw, UnsetType) else read_or_none(_text_decoder.decode, raw) or ""


def _web_tool_called(_found: TracedExchange, entry: TraceLine) -> str:
    outcome = f"{entry.error}: {entry.reason}" if entry.error else f"{entry.results} result{'s' * (entry.results != 1)}"
    return f"the bridge ran {entry.tool} {entry.input}: {outcome}"


def _sent(found: TracedExchange, entry: TraceLine) -> str:
    verb = "sent" if found.sent_after_s is None else "sent again"
    found.position, found.losses = None, len(entry.losses)
    found.kind = entry.kind or _kind_of(entry.url)
    found.upstream = engine_words(entry.upstream_name, found.kind)
    found.window_tokens = entry.window_tokens or found.window_tokens
    return f"{verb} to {entry.model} on {found.upstream}"


def _kind_of(url: str) -> str:
    """Return the upstream kind of an address: lines of version 1 do not name it."""
    path = url.partition("?")[0]
    kinds = {"/chat/completions": "openai-chat", "/api/chat": "ollama-chat", "/messages": "anthropic-messages"}
    return next((kind for end, kind in kinds.items() if path.endswith(end)), "")


def _queued(found: TracedExchange, entry: TraceLine) -> str:
    is_first, found.position = found.position is None, entry.position
    if not entry.position:  # its turn has come: until now the engine did not have the request
        found.state, found.sent_after_s = "reading", entry.after_s
        return "its turn has come"
    found.state = "queued"
    return "waits for its turn" if is_first else ""


def _upstream_answered(found: TracedExchange, entry: TraceLine) -> str:
    found.state, found.position = "reading" if found.state == "queued" else found.state, None
    return f"the engine answered {entry.status}"


def _waiting(found: TracedExchange, _entry: TraceLine) -> str:
    silent = "the upstream is silent; the client's connection is kept alive"
    return "" if any(step.text == silent for step in found.steps) else silent


def _grew(found: TracedExchange, entry: TraceLine) -> str:
    found.written_tokens += max(entry.deltas, entry.chars // 4)
    return ""


def _ended(found: TracedExchange, entry: TraceLine) -> str:
    answer = msgspec.json.decode(entry.message or b"{}", type=_TracedAnswer)
    found.stop_reason, found.output_tokens = answer.stop_reason, answer.usage.output_tokens
    found.first_token_s = entry.first_token_s if found.first_token_s is None else found.first_token_s
    return f"ended: {answer.stop_reason or 'no stop reason'}"


def _failed(found: TracedExchange, entry: TraceLine) -> str:
    message = entry.message_text[:_MAX_TEXT_CHARS]
    found.failure = ExchangeFailure(status=entry.status, error_type=entry.error_type, message=message)
    return f"failed with {entry.status} {entry.error_type}: {message}"


class _Kind(NamedTuple):
    """What lines of one kind add: the ``step`` in words (made of the entry; "" for none) and fields of the exchange."""

    step: str = ""
    more: Callable[[TracedExchange, TraceLine], str] | None = None
    """What takes more than words; it returns the step."""
    copied: Mapping[str, str] = {}
    """Fields of the exchange by those of the entry that they come from."""
    size: str = ""
    """The field that has the size of the line."""
    counted: str = ""
    """The field that counts such lines."""
    state: State | None = None
    is_trouble: bool = False


def _same(*names: str, **others: str) -> Mapping[str, str]:
    return {name: name for name in names} | others


_TOOK = {"took_s": "after_s"}
_REREAD = "the prompt cache was missed, about {0.lost_tokens:,} tokens were read again: {0.reason}"
_CUT = "the engine cut the prompt of about {0.estimated_tokens:,} tokens to {0.reported_tokens:,}"
_FELL_BACK = "{0.target} failed with {0.status}, and the next model is tried: {0.message_text}"
_REQUEST = _same(
    *("at_s", "session", "path", "user_agent", "streamed", "messages", "tools", "max_tokens"), client_model="model"
)
_SENT = _same("model", "reason", "estimated_tokens", sent_after_s="after_s")
_ANSWER = _same(
    *("prompt_tokens", "cached_tokens", "prompt_ms", "output_ms", "load_ms", "cost_usd"),
    is_estimated="usage_is_estimated",
    **_TOOK,
)
_KINDS = {
    "RequestReceived": _Kind(copied=_REQUEST, size="request_bytes"),
    "ImageDescribed": _Kind("{0.model} described the image at {0.path}"),
    "WebToolCalled": _Kind(more=_web_tool_called),
    "RequestSent": _Kind(more=_sent, copied=_SENT, size="sent_bytes", state="reading"),
    "RequestQueued": _Kind(more=_queued),
    "FellBack": _Kind(_FELL_BACK, counted="fallbacks", is_trouble=True),
    "UpstreamAnswered": _Kind(more=_upstream_answered),
    "UpstreamRetried": _Kind("sent again: {0.reason}", is_trouble=True),
    "WaitingForUpstream": _Kind(more=_waiting),
    "PromptRead": _Kind(copied=_same("read_tokens", "prompt_tokens")),
    "FirstToken": _Kind("the first token", copied={"first_token_s": "after_s"}, state="writing"),
    "AnswerGrew": _Kind(more=_grew, state="writing"),
    "ToolInputRepaired": _Kind("repaired {0.tool_name}: {0.what}", counted="repairs", is_trouble=True),
    "AnswerMended": _Kind("repaired: {0.what}", counted="repairs", is_trouble=True),
    "PromptReread": _Kind(_REREAD, copied=_same(reread_tokens="lost_tokens", reread_reason="reason"), is_trouble=True),
    "PromptCut": _Kind(_CUT, copied=_same("window_tokens"), is_trouble=True),
    "ExchangeEnded": _Kind(more=_ended, copied=_ANSWER, state="answered"),
    "ExchangeFailed": _Kind(more=_failed, copied=_TOOK, state="failed", is_trouble=True),
    "ClientLeft": _Kind("the client left", copied=_TOOK, state="left"),
    "StreamsRecorded": _Kind(size="stream_bytes"),
    "EventsDropped": _Kind(),
}
