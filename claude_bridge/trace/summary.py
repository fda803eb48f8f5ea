"""What each exchange of a trace came to, gathered from its lines: what lists, pages and the live view show first."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from claude_bridge.conversion.loss import Loss
from claude_bridge.providers import engine_words
from claude_bridge.trace.events import RequestReceived, RequestSent, TraceEvent
from claude_bridge.trace.jsonl import encode_event

State = Literal["preparing", "queued", "reading", "writing", "answered", "failed", "left"]
OVER = ("answered", "failed", "left")


class Entry(Struct, frozen=True, kw_only=True):
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
    def body_bytes(self) -> bytes:
        """The body as it was: a JSON value, or the text of what was none."""
        return text_of(self.body).encode("utf-8", "replace") or bytes(self.body)


class _Usage(Struct):
    output_tokens: int | None = None


class _Answer(Struct):
    stop_reason: str | None = None
    usage: _Usage = msgspec.field(default_factory=_Usage)


class Step(Struct, frozen=True, kw_only=True):
    """One thing that happened in an exchange, in words."""

    after_s: float
    text: str
    is_trouble: bool = False


class Failure(Struct, frozen=True, kw_only=True):
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
    failure: Failure | None = None
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


def read_entry(line: bytes | memoryview) -> Entry:
    """Return what a line says; raises UnreadableLineError."""
    try:
        return msgspec.json.decode(line, type=Entry)
    except (ValueError, RecursionError) as error:
        raise UnreadableLineError(str(error)) from error


def entry_of(event: TraceEvent) -> Entry:
    """Return what a trace says of an event, but for bodies."""
    if isinstance(event, RequestReceived | RequestSent):
        event = replace(event, body=b"null")
    return read_entry(encode_event(event))


def add_entry(found: TracedExchange, entry: Entry, line_bytes: int) -> None:
    """Add what one more line says of an exchange. Lines may be missing, or of kinds that are not known."""
    reader = _READERS.get(entry.type)
    if reader is not None:
        step = reader(found, entry, line_bytes)
        if step and len(found.steps) < _MAX_STEPS:
            is_trouble = entry.type in _TROUBLE
            text = step[:_MAX_TEXT_CHARS]
            after_s = entry.after_s or max(0.0, round(entry.at_s - found.at_s, 3))
            found.steps = [*found.steps, Step(after_s=after_s, text=text, is_trouble=is_trouble)]


def is_known(entry: Entry) -> bool:
    """Return whether this version knows what kind of event it is."""
    return entry.type in _READERS


def text_of(raw: Raw | UnsetType) -> str:
    """Return a JSON text, "" for anything else."""
    try:
        return "" if isinstance(raw, UnsetType) else msgspec.json.decode(raw, type=str)
    except (ValueError, RecursionError):
        return ""


def _received(found: TracedExchange, entry: Entry, line_bytes: int) -> str:
    found.at_s, found.session, found.client_model = entry.at_s, entry.session, entry.model
    found.path, found.user_agent, found.streamed = entry.path, entry.user_agent, entry.streamed
    found.messages, found.tools, found.max_tokens = entry.messages, entry.tools, entry.max_tokens
    found.request_bytes = line_bytes
    return ""


def _described(_found: TracedExchange, entry: Entry, _bytes: int) -> str:
    return f"{entry.model} described the image at {entry.path}"


def _web_tool_called(_found: TracedExchange, entry: Entry, _bytes: int) -> str:
    outcome = f"{entry.error}: {entry.reason}" if entry.error else f"{entry.results} results"
    return f"the bridge ran {entry.tool} {entry.input}: {outcome}"


def _sent(found: TracedExchange, entry: Entry, line_bytes: int) -> str:
    is_first = found.sent_after_s is None
    found.state, found.position = "reading", None
    found.kind, found.reason, found.losses = entry.kind or _kind_of(entry.url), entry.reason, len(entry.losses)
    found.model, found.upstream = entry.model, engine_words(entry.upstream_name, found.kind)
    found.estimated_tokens, found.sent_bytes, found.sent_after_s = entry.estimated_tokens, line_bytes, entry.after_s
    found.window_tokens = entry.window_tokens or found.window_tokens
    return f"{'sent' if is_first else 'sent again'} to {entry.model} on {found.upstream}"


def _kind_of(url: str) -> str:
    """Return the upstream kind of an address: lines of version 1 do not name it."""
    path = url.partition("?")[0]
    kinds = {"/chat/completions": "openai-chat", "/api/chat": "ollama-chat", "/messages": "anthropic-messages"}
    return next((kind for end, kind in kinds.items() if path.endswith(end)), "")


def _queued(found: TracedExchange, entry: Entry, _bytes: int) -> str:
    is_first = found.position is None
    found.state, found.position = "queued", entry.position
    return "waits for its turn" if is_first else ""


def _fell_back(found: TracedExchange, entry: Entry, _bytes: int) -> str:
    found.fallbacks += 1
    return f"{entry.target} failed with {entry.status}, and the next model is tried: {text_of(entry.message)}"


def _upstream_answered(found: TracedExchange, entry: Entry, _bytes: int) -> str:
    if found.state == "queued":
        found.state = "reading"
    found.position = None
    return f"the upstream answered {entry.status}"


def _retried(_found: TracedExchange, entry: Entry, _bytes: int) -> str:
    return f"sent again: {entry.reason}"


def _waiting(found: TracedExchange, _entry: Entry, _bytes: int) -> str:
    return "" if any(step.text == _SILENT for step in found.steps) else _SILENT


_SILENT = "the upstream is silent; the client's connection is kept alive"


def _prompt_read(found: TracedExchange, entry: Entry, _bytes: int) -> str:
    found.read_tokens, found.prompt_tokens = entry.read_tokens, entry.prompt_tokens
    return ""


def _first_token(found: TracedExchange, entry: Entry, _bytes: int) -> str:
    found.state, found.first_token_s = "writing", entry.after_s
    return "the first token"


def _grew(found: TracedExchange, entry: Entry, _bytes: int) -> str:
    found.state = "writing"
    found.written_tokens += max(entry.deltas, entry.chars // 4)
    return ""


def _repaired(found: TracedExchange, entry: Entry, _bytes: int) -> str:
    found.repairs += 1
    return f"repaired {entry.tool_name}: {entry.what}" if entry.tool_name else f"repaired: {entry.what}"


def _reread(found: TracedExchange, entry: Entry, _bytes: int) -> str:
    found.reread_tokens, found.reread_reason = entry.lost_tokens, entry.reason
    return f"the prompt cache was missed, about {entry.lost_tokens:,} tokens were read again: {entry.reason}"


def _cut(found: TracedExchange, entry: Entry, _bytes: int) -> str:
    found.window_tokens = entry.window_tokens
    return f"the engine cut the prompt of about {entry.estimated_tokens:,} tokens to {entry.reported_tokens:,}"


def _ended(found: TracedExchange, entry: Entry, _bytes: int) -> str:
    answer = _Answer()
    if not isinstance(entry.message, UnsetType):
        answer = msgspec.json.decode(entry.message, type=_Answer)
    found.state, found.took_s, found.stop_reason = "answered", entry.after_s, answer.stop_reason
    found.first_token_s = entry.first_token_s if found.first_token_s is None else found.first_token_s
    found.prompt_tokens, found.cached_tokens = entry.prompt_tokens, entry.cached_tokens
    found.output_tokens, found.is_estimated = answer.usage.output_tokens, entry.usage_is_estimated
    found.prompt_ms, found.output_ms, found.load_ms = entry.prompt_ms, entry.output_ms, entry.load_ms
    found.cost_usd = entry.cost_usd
    return f"ended: {answer.stop_reason or 'no stop reason'}"


def _failed(found: TracedExchange, entry: Entry, _bytes: int) -> str:
    message = text_of(entry.message)[:_MAX_TEXT_CHARS]
    found.state, found.took_s = "failed", entry.after_s
    found.failure = Failure(status=entry.status, error_type=entry.error_type, message=message)
    return f"failed with {entry.status} {entry.error_type}: {message}"


def _left(found: TracedExchange, entry: Entry, _bytes: int) -> str:
    found.state, found.took_s = "left", entry.after_s
    return "the client left"


def _streams(found: TracedExchange, _entry: Entry, line_bytes: int) -> str:
    found.stream_bytes = line_bytes
    return ""


def _dropped(_found: TracedExchange, _entry: Entry, _bytes: int) -> str:
    return ""


_READERS = {
    "RequestReceived": _received,
    "ImageDescribed": _described,
    "WebToolCalled": _web_tool_called,
    "RequestSent": _sent,
    "RequestQueued": _queued,
    "FellBack": _fell_back,
    "UpstreamAnswered": _upstream_answered,
    "UpstreamRetried": _retried,
    "WaitingForUpstream": _waiting,
    "PromptRead": _prompt_read,
    "FirstToken": _first_token,
    "AnswerGrew": _grew,
    "ToolInputRepaired": _repaired,
    "AnswerMended": _repaired,
    "PromptReread": _reread,
    "PromptCut": _cut,
    "ExchangeEnded": _ended,
    "ExchangeFailed": _failed,
    "ClientLeft": _left,
    "StreamsRecorded": _streams,
    "EventsDropped": _dropped,
}
"""What each kind of line adds; each returns the step in words, "" for none."""

_TROUBLE = frozenset(
    {"FellBack", "UpstreamRetried", "ToolInputRepaired", "AnswerMended", "PromptReread", "PromptCut", "ExchangeFailed"}
)
