"""Recorder: tells the trace what happens in one exchange, and does no work when nobody listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from msgspec import Raw

from claude_bridge.conversion.builtin_tools import WebTool
from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.loss import Loss, Repair
from claude_bridge.conversion.prompt.cache_misses import CacheMiss
from claude_bridge.conversion.prompt.context_budget import ContextOverflow
from claude_bridge.conversion.response.accumulator import MessageAccumulator
from claude_bridge.errors import BridgeError
from claude_bridge.trace import events
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.redact import MAX_BODY_BYTES
from claude_bridge.trace.stats import Finished, Outcome, RecentFailure, Stats
from claude_bridge.wire.admin_api import ReadingPrompt, WebFigures
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest
from claude_bridge.wire.anthropic_answers import (
    BlockInputJsonDelta,
    BlockTextDelta,
    BlockThinkingDelta,
    ContentBlockDelta,
    Message,
    ResponseItem,
    StreamEvent,
    Usage,
)
from claude_bridge.wire.anthropic_codec import unknown_fields
from claude_bridge.wire.anthropic_lenient import typed_events

_NO_USAGE = UsageReport()

SHORTEST_S = 0.05
"""In less time than that an answer came in one piece, and how fast it was written can't be seen from here."""

GROWTH_S = 0.2
"""How often the growth of an answer is reported."""

SAME_MOMENT_S = 0.002
"""Reads that follow each other so closely are one piece of a recorded stream."""

MAX_STREAM_BYTES = 16 * 1024 * 1024
"""Of what one exchange carried, both streams together, so many bytes are recorded."""

UNREADABLE, NOT_SENT = "(unreadable)", "(not sent)"
"""In place of a model's name: for requests that can't be read, and for those that were refused before any was asked."""


class Recorder:
    """The trace of one exchange, from the moment its request was received."""

    def __init__(self, bus: Bus, exchange: str, *, stats: Stats | None = None) -> None:
        """``exchange`` is the request id, the same that the client sees; ``stats`` gets what the exchange came to."""
        self.exchange = exchange
        self._bus = bus
        self._at_s = time.time()
        self._started_at = time.monotonic()
        self._first_token_s: float | None = None
        self._fold = MessageAccumulator()
        self._repaired_calls = 0
        self._stats = stats
        self._is_over = False
        self._model = UNREADABLE
        self._session: str | None = None
        self.provider: str | None = None
        """The provider that is asked, by its name in the configuration."""
        self._estimated_tokens = 0
        self._losses = 0
        self._reason: str | None = None
        self._fallbacks = 0
        self._lost_tokens: int | None = None
        self._sent_after_s = 0.0
        self._usage = _NO_USAGE
        """What is known of the prompt while the engine reads it."""
        self._beginning: list[Callable[[], events.TraceEvent]] = []
        """What makes the first events, kept while the exchange lasts for those who come later; see so_far()."""
        self._unread: list[StreamEvent] = []
        self._reported_at = 0.0
        self._upstream_pieces: list[tuple[float, list[bytes]]] = []
        self._client_pieces: list[tuple[float, list[bytes]]] = []
        self._piece_bytes = self._omitted_bytes = 0
        self._web = WebFigures()

    @property
    def active(self) -> bool:
        """Whether anybody listens, and the exchange is not over."""
        return self._bus.active and not self._is_over

    @property
    def session(self) -> str | None:
        """The client's own id of its session."""
        return self._session

    @property
    def has_listeners(self) -> bool:
        """Whether anybody takes what is recorded, as a trace or as sums."""
        return self.active or self._stats is not None

    def received(
        self, request: CountTokensRequest | None, *, path: str, body: bytes, session: str | None, user_agent: str | None
    ) -> None:
        """Record the client's request; None for a request that can't be read."""
        self._session = session
        if request is not None:
            self._model = NOT_SENT
        event = partial(self._received_event, request, path, body, session, user_agent, time.time())
        self._beginning = [event]
        if self.active:
            self._bus.emit(event())

    def _received_event(
        self,
        request: CountTokensRequest | None,
        path: str,
        body: bytes,
        session: str | None,
        user_agent: str | None,
        at_s: float,
    ) -> events.TraceEvent:
        of_messages = request if isinstance(request, MessagesRequest) else None
        return events.RequestReceived(
            exchange=self.exchange,
            at_s=at_s,
            path=path,
            model=request.model if request else UNREADABLE,
            streamed=bool(of_messages and of_messages.stream),
            messages=len(request.messages) if request else 0,
            tools=len(request.tools or ()) if request else 0,
            max_tokens=of_messages.max_tokens if of_messages else None,
            session=session,
            user_agent=user_agent,
            not_read=unknown_fields(body) if request and len(body) <= MAX_BODY_BYTES else [],
            body=body,
        )

    def described(self, path: str, *, model: str, text: str | None, trouble: str, took_s: float) -> None:
        """Record an image that a model was asked to describe; see ImageDescribed."""
        if self.active:
            self._bus.emit(
                events.ImageDescribed(
                    exchange=self.exchange,
                    at_s=time.time(),
                    path=path,
                    model=model,
                    text=text,
                    trouble=trouble,
                    took_s=took_s,
                )
            )

    def called_web(
        self,
        tool: WebTool,
        *,
        tool_input: Raw,
        results: int,
        size_bytes: int,
        error: str | None,
        reason: str,
        took_s: float,
    ) -> None:
        """Record a search or a fetch that the bridge made for the model; see WebToolCalled."""
        self._web = self._web.plus(tool, size_bytes=size_bytes, took_s=took_s, failed=error is not None)
        if self.active:
            self._bus.emit(
                events.WebToolCalled(
                    exchange=self.exchange,
                    at_s=time.time(),
                    after_s=self._after_s(),
                    tool=tool,
                    input=bytes(tool_input).decode("utf-8", "replace"),
                    results=results,
                    size_bytes=size_bytes,
                    error=error,
                    reason=reason,
                    took_s=took_s,
                )
            )

    def sent(
        self,
        *,
        method: str,
        url: str,
        model: str,
        upstream: str,
        tokens: int,
        losses: Sequence[Loss],
        body: bytes,
        kind: str = "",
        profile: str = "",
        window_tokens: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Record what goes upstream; ``tokens`` is an estimate. See RequestSent."""
        self._model, self._estimated_tokens, self._losses = model, tokens, len(losses)
        self._begin_reading()
        event = partial(
            events.RequestSent,
            exchange=self.exchange,
            at_s=time.time(),
            after_s=self._after_s(),
            method=method,
            url=url,
            model=model,
            upstream=upstream,
            kind=kind,
            profile=profile,
            window_tokens=window_tokens,
            headers=dict(headers or {}),
            reason=self._reason,
            estimated_tokens=tokens,
            losses=list(losses),
            body=body,
        )
        self._beginning = [*self._beginning[:1], event]
        if self.active:
            self._bus.emit(event())

    def so_far(self) -> list[events.TraceEvent]:
        """Return how the exchange began, for somebody who listens only from now on."""
        began = [make() for make in self._beginning]
        if began and self._first_token_s is not None:
            at_s = began[0].at_s + self._first_token_s
            began.append(events.FirstToken(exchange=self.exchange, at_s=at_s, after_s=self._first_token_s))
        return began

    def routed(self, reason: str) -> None:
        """Keep why the upstream was chosen to which the request goes next."""
        self._reason = reason

    def fell_back(self, target: str, error: BridgeError) -> None:
        """Record that a candidate failed, and that another one is asked."""
        self._fallbacks += 1
        if self.active:
            self._bus.emit(
                events.FellBack(
                    exchange=self.exchange,
                    at_s=time.time(),
                    after_s=self._after_s(),
                    target=target,
                    status=error.status,
                    message=error.message,
                )
            )

    def queued(self, position: int) -> None:
        """Record that the request waits for its turn, or has it; see RequestQueued."""
        if position == 0:
            self._begin_reading()
        elif self._stats is not None:
            self._stats.reading(self.exchange, None)
        if self.active:
            self._bus.emit(
                events.RequestQueued(
                    exchange=self.exchange, at_s=time.time(), after_s=self._after_s(), position=position
                )
            )

    def upstream_answered(self, status: int) -> None:
        """Record the upstream's status."""
        if self.active:
            self._bus.emit(
                events.UpstreamAnswered(
                    exchange=self.exchange, at_s=time.time(), after_s=self._after_s(), status=status
                )
            )

    def waiting(self) -> None:
        """Record that the upstream is silent."""
        if self.active:
            self._bus.emit(events.WaitingForUpstream(exchange=self.exchange, at_s=time.time(), after_s=self._after_s()))

    def reading(self, usage: UsageReport) -> None:
        """Record how much of the prompt the engine has read, as it reports."""
        self._usage = usage
        self._note_reading()
        if self.active and usage.read_tokens is not None and usage.prompt_tokens is not None:
            self._bus.emit(
                events.PromptRead(
                    exchange=self.exchange,
                    at_s=time.time(),
                    after_s=self._after_s(),
                    read_tokens=usage.read_tokens,
                    prompt_tokens=usage.prompt_tokens,
                    cached_tokens=usage.cached_tokens or 0,
                )
            )

    def answered(self, items: Sequence[ResponseItem]) -> None:
        """Record what goes to the client."""
        if self.active or (self._stats is not None and self._first_token_s is None):
            self._take_answer(typed_events(items))

    def _take_answer(self, stream_events: Sequence[StreamEvent]) -> None:
        is_first = self._first_token_s is None and any(map(content_chars, stream_events))
        if is_first:
            self._end_reading()
            self._first_token_s = self._after_s()
        if not self.active:
            return
        self._unread += stream_events
        if is_first and self._first_token_s is not None:
            self._bus.emit(events.FirstToken(exchange=self.exchange, at_s=time.time(), after_s=self._first_token_s))
        if time.monotonic() - self._reported_at >= GROWTH_S:
            self._report_growth()

    def upstream_sent(self, data: bytes) -> None:
        """Keep what one read from the upstream gave."""
        if self._bus.keeps_streams:
            self._keep(self._upstream_pieces, data)

    def client_got(self, data: bytes) -> None:
        """Keep what one write to the client carries."""
        if self._bus.keeps_streams:
            self._keep(self._client_pieces, data)

    def retried(self, reason: str) -> None:
        """Record that the request was sent twice."""
        if self.active:
            self._bus.emit(
                events.UpstreamRetried(exchange=self.exchange, at_s=time.time(), after_s=self._after_s(), reason=reason)
            )

    def repaired(self, repairs: Sequence[Repair]) -> None:
        """Record more repairs."""
        self._repaired_calls += sum(bool(repair.tool_name) for repair in repairs)
        for repair in repairs if self.active else ():
            at_s, what = time.time(), repair.what
            self._bus.emit(
                events.ToolInputRepaired(exchange=self.exchange, at_s=at_s, tool_name=repair.tool_name, what=what)
                if repair.tool_name
                else events.AnswerMended(exchange=self.exchange, at_s=at_s, what=what)
            )

    def reread(self, reread: CacheMiss) -> None:
        """Record that the engine read again what it had read before, and why."""
        self._lost_tokens = reread.lost_tokens
        if self.active:
            self._bus.emit(
                events.PromptReread(
                    exchange=self.exchange,
                    at_s=time.time(),
                    turn=reread.turn,
                    tokens=reread.tokens,
                    lost_tokens=reread.lost_tokens,
                    reason=reread.reason,
                )
            )

    def prompt_cut(self, overlong: ContextOverflow, reported_tokens: int) -> None:
        """Record that the engine can't have read the whole prompt; the user hears of it without a trace too."""
        self._bus.warn(
            f"The prompt was cut: the engine answered one that is longer than its window of "
            f"{overlong.window_tokens:,} tokens. The model does not know what was left out. "
            "Update the engine (Ollama 0.12.10 and later refuse such prompts), or give a larger --context-window."
        )
        if self.active:
            self._bus.emit(
                events.PromptCut(
                    exchange=self.exchange,
                    at_s=time.time(),
                    estimated_tokens=overlong.prompt_tokens,
                    reported_tokens=reported_tokens,
                    window_tokens=overlong.window_tokens,
                )
            )

    def ended(self, usage: UsageReport, *, cost_usd: float | None = None) -> None:
        """Record that the answer is whole, and what it cost (None: not known)."""
        if not self._is_first_end():
            return
        self._count("answered", usage, cost_usd)
        if self._bus.active:
            self._bus.emit(
                events.ExchangeEnded(
                    exchange=self.exchange,
                    at_s=time.time(),
                    after_s=self._after_s(),
                    first_token_s=self._first_token_s,
                    message=self._fold.message if self._fold.has_begun else _unseen_message(self._model, usage),
                    prompt_tokens=usage.prompt_tokens,
                    cached_tokens=usage.cached_tokens,
                    prompt_ms=usage.prompt_ms,
                    output_ms=usage.output_ms,
                    load_ms=usage.load_ms,
                    usage_is_estimated=usage.prompt_tokens is None or usage.output_tokens is None,
                    cost_usd=cost_usd,
                )
            )

    def failed(self, error: BridgeError, *, in_stream: bool) -> None:
        """Record what ended the exchange too early; only the first cause counts."""
        if self._is_first_end():
            self._count("failed")
            if self._stats is not None:
                failure = RecentFailure(
                    exchange=self.exchange,
                    at_s=time.time(),
                    model=self._model,
                    status=error.status,
                    error_type=error.error_type,
                    message=error.message,
                )
                self._stats.failures.append(failure)
            self._bus.emit(
                events.ExchangeFailed(
                    exchange=self.exchange,
                    at_s=time.time(),
                    after_s=self._after_s(),
                    status=error.status,
                    error_type=error.error_type,
                    message=error.message,
                    in_stream=in_stream,
                )
            )

    def client_left(self) -> None:
        """Record that the client went away before the exchange was over."""
        if self._is_first_end():
            self._count("left", self._usage)
            self._bus.emit(events.ClientLeft(exchange=self.exchange, at_s=time.time(), after_s=self._after_s()))

    def close(self) -> None:
        """Record an end without a word, where the bridge was stopped or has a bug; and what the streams held.

        What the client got is whole only now: the end of an exchange is recorded before its last bytes go out.
        """
        self.failed(BridgeError("The bridge stopped before the answer was whole."), in_stream=True)
        if self._upstream_pieces or self._client_pieces:
            streams = events.StreamsRecorded(
                exchange=self.exchange,
                at_s=time.time(),
                upstream=self._timed(self._upstream_pieces),
                client=self._timed(self._client_pieces),
                omitted_bytes=self._omitted_bytes,
            )
            self._upstream_pieces, self._client_pieces = [], []
            self._bus.emit(streams)

    def _keep(self, pieces: list[tuple[float, list[bytes]]], data: bytes) -> None:
        self._piece_bytes += len(data)
        if self._piece_bytes > MAX_STREAM_BYTES:
            self._omitted_bytes += len(data)
            return
        at_s = time.monotonic()
        if pieces and at_s - pieces[-1][0] < SAME_MOMENT_S:
            pieces[-1][1].append(data)
        else:
            pieces.append((at_s, [data]))

    def _timed(self, pieces: list[tuple[float, list[bytes]]]) -> list[events.StreamPiece]:
        return [events.StreamPiece(at_s - self._started_at, b"".join(data)) for at_s, data in pieces]

    def _report_growth(self) -> None:
        """Fold what has gone out since the last time, and tell how much it is; seldom, since it is read one by one."""
        self._reported_at = time.monotonic()
        unread, self._unread = self._unread, []
        self._fold.feed(unread)
        added = [chars for event in unread if (chars := content_chars(event))]
        if added and self._bus.active:
            self._bus.emit(
                events.AnswerGrew(
                    exchange=self.exchange,
                    at_s=time.time(),
                    after_s=self._after_s(),
                    deltas=len(added),
                    chars=sum(added),
                )
            )

    def _is_first_end(self) -> bool:
        self._report_growth()
        is_first, self._is_over = not self._is_over, True
        self._beginning = []
        self._end_reading()
        return is_first

    def _begin_reading(self) -> None:
        self._sent_after_s, self._usage = self._after_s(), _NO_USAGE
        self._note_reading()

    def _note_reading(self) -> None:
        """Report to those who show what is under way how far the engine has read the prompt."""
        if self._stats is None:
            return
        usage = self._usage
        cached = usage.cached_tokens or 0
        read_s = (usage.prompt_ms or 0.0) / 1000
        self._stats.reading(
            self.exchange,
            ReadingPrompt(
                model=self._model,
                session=self._session,
                since_s=time.time() - self._after_s() + self._sent_after_s,
                prompt_tokens=usage.prompt_tokens or self._estimated_tokens,
                read_tokens=usage.read_tokens,
                cached_tokens=cached,
                tokens_per_s=max(0, (usage.read_tokens or 0) - cached) / read_s if read_s else None,
            ),
        )

    def _end_reading(self) -> None:
        if self._stats is not None:
            self._stats.reading(self.exchange, None)

    def _count(self, outcome: Outcome, usage: UsageReport = _NO_USAGE, cost_usd: float | None = None) -> None:
        """Give the figures of the exchange, which is over, to those who sum them up."""
        if self._stats is None:
            return
        is_answered = outcome == "answered"
        prompt_tokens = self._estimated_tokens if usage.prompt_tokens is None else usage.prompt_tokens
        output_s = None if usage.output_ms is None else usage.output_ms / 1000
        if output_s is None and self._first_token_s is not None:
            output_s = self._after_s() - self._first_token_s
            if output_s < SHORTEST_S:
                output_s = None
        prompt_s = None if usage.prompt_ms is None else usage.prompt_ms / 1000
        if prompt_s is None and self._first_token_s is not None:
            prompt_s = self._first_token_s - self._sent_after_s
        has_begun = self._first_token_s is not None
        self._stats.take(
            Finished(
                model=self._model,
                session=self._session,
                provider=self.provider,
                outcome=outcome,
                prompt_tokens=0 if outcome == "failed" else prompt_tokens,
                cached_tokens=usage.cached_tokens,
                output_tokens=usage.output_tokens or 0,
                thinking_tokens=usage.thinking_tokens or 0,
                is_estimated=usage.prompt_tokens is None or (has_begun and usage.output_tokens is None),
                first_token_s=self._first_token_s,
                prompt_s=prompt_s if is_answered else None,
                output_s=output_s if is_answered else None,
                cost_usd=cost_usd,
                repairs=self._repaired_calls,
                losses=self._losses,
                fallbacks=self._fallbacks,
                lost_tokens=self._lost_tokens,
                web=self._web,
            )
        )

    def _after_s(self) -> float:
        return time.monotonic() - self._started_at


def _unseen_message(model: str, usage: UsageReport) -> Message:
    """Return what is known of an answer to which nobody listened at its beginning."""
    counts = Usage(input_tokens=usage.prompt_tokens or 0, output_tokens=usage.output_tokens or 0)
    return Message(id="", model=model, content=[], stop_reason=None, usage=counts)


def content_chars(event: StreamEvent) -> int:
    """Return how much text, thought or input an event adds to an answer."""
    if type(event) is not ContentBlockDelta:
        return 0
    match event.delta:
        case BlockTextDelta(text) | BlockThinkingDelta(text) | BlockInputJsonDelta(text):
            return len(text)
        case _:
            return 0
