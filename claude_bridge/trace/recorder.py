"""Recorder: reports to the trace what happens in one exchange, and does no work when nobody listens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeVar

from msgspec.structs import replace

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.prompt.cache_misses import CacheMiss
from claude_bridge.conversion.prompt.context_budget import ContextOverflow
from claude_bridge.conversion.response.accumulator import MessageAccumulator
from claude_bridge.errors import BridgeError
from claude_bridge.trace import events
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.stats import NOT_SENT, UNREADABLE, Finished, Outcome, Stats
from claude_bridge.wire.admin_api import ReadingPrompt, WebFigures
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest
from claude_bridge.wire.anthropic_answers import Message, ResponseItem, StreamEvent, Usage, content_chars
from claude_bridge.wire.anthropic_lenient import typed_events

E = TypeVar("E", bound=events.TraceEvent)

_NO_USAGE = UsageReport()

SHORTEST_S = 0.05
"""In less time than that an answer came in one piece, and how fast it was written can't be seen from here."""

GROWTH_S = 0.5
"""How often the growth of an answer is reported."""

MAX_STREAM_BYTES = 16 * 1024 * 1024
"""Of what one exchange carried, both streams together, so many bytes are recorded."""


class Recorder:
    """The trace of one exchange, from the moment its request was received."""

    def __init__(self, bus: Bus, exchange: str, *, stats: Stats | None = None) -> None:
        """``exchange`` is the request id, the same that the client sees; ``stats`` gets what the exchange came to."""
        self.exchange = exchange
        self.session: str | None = None
        """The client's own id of its session."""
        self.provider: str | None = None
        """The provider that is asked, by its name in the configuration."""
        self._bus = bus
        self._stats = stats
        self._started_at = time.monotonic()
        self._is_over = False
        self._beginning: list[events.TraceEvent] = []
        """What came in and what went out, for those who listen only later; see so_far()."""
        # What the sums are made of
        self._model = UNREADABLE
        self._estimated_tokens = self._losses = self._fallbacks = self._repaired_calls = 0
        self._reason: str | None = None
        self._sent_after_s = 0.0
        self._first_token_s: float | None = None
        self._usage = _NO_USAGE
        """What is known of the prompt while the engine reads it."""
        self._lost_tokens: int | None = None
        self._web = WebFigures()
        # What went to the client, for the trace alone
        self._fold = MessageAccumulator()
        self._unread: list[ResponseItem] = []
        self._report_at = 0.0
        self._upstream, self._client = events.StreamReads(), events.StreamReads()
        self._omitted_bytes = 0

    @property
    def active(self) -> bool:
        """Whether anybody listens, and the exchange is not over."""
        return self._bus.active and not self._is_over

    @property
    def has_listeners(self) -> bool:
        """Whether anybody takes what is recorded, as a trace or as sums."""
        return self.active or self._stats is not None

    def record(self, event: events.TraceEvent) -> None:
        """Give an event to those who listen, with the exchange and the time."""
        if self.active:
            self._bus.emit(self._stamped(event))

    # --- requests -----------------------------------------------------------------------------------------------

    def received(
        self, request: CountTokensRequest | None, *, path: str, body: bytes, session: str | None, user_agent: str | None
    ) -> None:
        """Record the client's request; None for a request that can't be read."""
        self.session = session
        if request is not None:
            self._model = NOT_SENT
        of_messages = request if isinstance(request, MessagesRequest) else None
        event = events.RequestReceived(
            path=path,
            model=request.model if request else UNREADABLE,
            streamed=bool(of_messages and of_messages.stream),
            messages=len(request.messages) if request else 0,
            tools=len(request.tools or ()) if request else 0,
            max_tokens=of_messages.max_tokens if of_messages else None,
            session=session,
            user_agent=user_agent,
            body=body,
        )
        self._begin([], event)

    def routed(self, reason: str) -> None:
        """Keep why the upstream was chosen to which the request goes next."""
        self._reason = reason

    def sent(self, event: events.RequestSent) -> None:
        """Record what goes upstream, and why there."""
        self._model, self._estimated_tokens, self._losses = event.model, event.estimated_tokens, len(event.losses)
        self._begin_reading()
        self._begin(self._beginning[:1], replace(event, reason=self._reason))

    def so_far(self) -> list[events.TraceEvent]:
        """Return how the exchange began, for somebody who listens only from now on."""
        if not self._beginning or self._first_token_s is None:
            return self._beginning
        at_s = self._beginning[0].at_s + self._first_token_s
        first = events.FirstToken(exchange=self.exchange, at_s=at_s, after_s=self._first_token_s)
        return [*self._beginning, first]

    def fell_back(self, target: str, error: BridgeError) -> None:
        """Record that a candidate failed, and that another one is asked."""
        self._fallbacks += 1
        self.record(events.FellBack(target=target, status=error.status, message=error.message))

    def retried(self, reason: str) -> None:
        """Record that the request was sent twice."""
        self.record(events.UpstreamRetried(reason=reason))

    def queued(self, position: int) -> None:
        """Record that the request waits for its turn, or has it; see RequestQueued."""
        if position == 0:
            self._begin_reading()
        else:
            self._note_reading(None)
        self.record(events.RequestQueued(position=position))

    def reading(self, usage: UsageReport) -> None:
        """Record how much of the prompt the engine has read, as it reports."""
        self._usage = usage
        self._note_reading(usage)
        read, prompt = usage.read_tokens, usage.prompt_tokens
        if read is not None and prompt is not None:
            cached = usage.cached_tokens or 0
            self.record(events.PromptRead(read_tokens=read, prompt_tokens=prompt, cached_tokens=cached))

    # --- the answer ---------------------------------------------------------------------------------------------

    def answered(self, items: Sequence[ResponseItem]) -> None:
        """Record what goes to the client."""
        if self._first_token_s is None and self.has_listeners and any(map(content_chars, typed_events(items))):
            self._note_reading(None)
            self._first_token_s = self._after_s()
            self._report_at = self._started_at + self._first_token_s + GROWTH_S
            self.record(events.FirstToken())
        if self.active:
            self._unread += items
            if self._first_token_s is not None and time.monotonic() >= self._report_at:
                self._report_growth()

    def upstream_sent(self, data: bytes) -> None:
        """Keep what one read from the upstream gave."""
        if self._bus.keeps_streams:
            self._keep(self._upstream, data)

    def client_got(self, data: bytes) -> None:
        """Keep what one write to the client carries."""
        if self._bus.keeps_streams:
            self._keep(self._client, data)

    def called_web(self, event: events.WebToolCalled) -> None:
        """Record a search or a fetch that the bridge made for the model."""
        failed = event.error is not None
        self._web = self._web.plus(event.tool, size_bytes=event.size_bytes, took_s=event.took_s, failed=failed)
        self.record(event)

    def repaired(self, repairs: Sequence[Repair]) -> None:
        """Record more repairs."""
        for repair in repairs:
            self._repaired_calls += bool(repair.tool_name)
            self.record(
                events.ToolInputRepaired(tool_name=repair.tool_name, what=repair.what)
                if repair.tool_name
                else events.AnswerMended(what=repair.what)
            )

    def reread(self, miss: CacheMiss) -> None:
        """Record that the engine read again what it had read before, and why."""
        self._lost_tokens = miss.lost_tokens
        self.record(
            events.PromptReread(turn=miss.turn, tokens=miss.tokens, lost_tokens=miss.lost_tokens, reason=miss.reason)
        )

    def prompt_cut(self, overlong: ContextOverflow, reported_tokens: int) -> None:
        """Record that the engine can't have read the whole prompt; the user hears of it without a trace too."""
        self._bus.warn(
            f"The prompt was cut: the engine answered one that is longer than its window of "
            f"{overlong.window_tokens:,} tokens. The model does not know what was left out. "
            "Update the engine (Ollama 0.12.10 and later refuse such prompts), or give a larger --context-window."
        )
        self.record(
            events.PromptCut(
                estimated_tokens=overlong.prompt_tokens,
                reported_tokens=reported_tokens,
                window_tokens=overlong.window_tokens,
            )
        )

    # --- the end ------------------------------------------------------------------------------------------------

    def ended(self, usage: UsageReport, *, cost_usd: float | None = None) -> None:
        """Record that the answer is whole, and what it cost (None: not known)."""
        if self._is_over:
            return
        event = None
        if self._bus.active:
            self._read_rest()
            event = events.ExchangeEnded(
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
        self._end("answered", event, usage, cost_usd)

    def failed(self, error: BridgeError, *, in_stream: bool) -> None:
        """Record what ended the exchange too early; only the first cause counts."""
        if self._is_over:
            return
        self._report_growth()
        event = self._stamped(
            events.ExchangeFailed(
                model=self._model,
                status=error.status,
                error_type=error.error_type,
                message=error.message,
                in_stream=in_stream,
            )
        )
        if self._stats is not None:
            self._stats.failures.append(event)
        self._end("failed", event)

    def client_left(self) -> None:
        """Record that the client went away before the exchange was over."""
        if not self._is_over:
            self._report_growth()
            self._end("left", events.ClientLeft(), self._usage)

    def close(self) -> None:
        """Record an end without a word, where the bridge was stopped or has a bug; and what the streams held.

        What the client got is whole only now: the end of an exchange is recorded before its last bytes go out.
        """
        self.failed(BridgeError("The bridge stopped before the answer was whole."), in_stream=True)
        upstream, client = self._upstream, self._client
        if upstream.data or client.data:
            self._upstream, self._client = events.StreamReads(), events.StreamReads()
            streams = events.StreamsRecorded(upstream=upstream, client=client, omitted_bytes=self._omitted_bytes)
            self._bus.emit(self._stamped(streams))

    # --- the parts of these -------------------------------------------------------------------------------------

    def _stamped(self, event: E) -> E:
        return replace(event, exchange=self.exchange, at_s=time.time(), after_s=self._after_s())

    def _after_s(self) -> float:
        return time.monotonic() - self._started_at

    def _begin(self, before: list[events.TraceEvent], event: events.TraceEvent) -> None:
        """Record a request, and keep it for those who listen only later."""
        event = self._stamped(event)
        self._beginning = [*before, event]
        if self.active:
            self._bus.emit(event)

    def _keep(self, reads: events.StreamReads, data: bytes) -> None:
        if self._upstream.size + self._client.size + len(data) > MAX_STREAM_BYTES:
            self._omitted_bytes += len(data)
        else:
            reads.data.append(data)
            reads.after_s.append(time.monotonic() - self._started_at)
            reads.size += len(data)

    def _report_growth(self) -> None:
        """Report how much has gone out since the last time."""
        self._report_at = time.monotonic() + GROWTH_S
        added = [chars for event in self._read_rest() if (chars := content_chars(event))]
        if added:
            self.record(events.AnswerGrew(deltas=len(added), chars=sum(added)))

    def _read_rest(self) -> list[StreamEvent]:
        """Fold what has gone out since the last time, and return it."""
        unread, self._unread = typed_events(self._unread), []
        self._fold.feed(unread)
        return unread

    def _begin_reading(self) -> None:
        self._sent_after_s, self._usage = self._after_s(), _NO_USAGE
        self._note_reading(self._usage)

    def _note_reading(self, usage: UsageReport | None) -> None:
        """Report to those who show what is under way how far the engine has read the prompt; None: no more."""
        if self._stats is None:
            return
        if usage is None:
            self._stats.reading(self.exchange, None)
            return
        cached = usage.cached_tokens or 0
        read_s = (usage.prompt_ms or 0.0) / 1000
        prompt = ReadingPrompt(
            model=self._model,
            session=self.session,
            since_s=time.time() - self._after_s() + self._sent_after_s,
            prompt_tokens=usage.prompt_tokens or self._estimated_tokens,
            read_tokens=usage.read_tokens,
            cached_tokens=cached,
            tokens_per_s=max(0, (usage.read_tokens or 0) - cached) / read_s if read_s else None,
        )
        self._stats.reading(self.exchange, prompt)

    def _end(
        self,
        outcome: Outcome,
        event: events.TraceEvent | None,
        usage: UsageReport = _NO_USAGE,
        cost_usd: float | None = None,
    ) -> None:
        """Record the end, and give the figures of the exchange to those who sum them up."""
        if event is not None:
            self.record(event)
        self._is_over = True
        self._beginning = []
        if self._stats is not None:
            self._note_reading(None)
            self._stats.take(self._figures(outcome, usage, cost_usd))

    def _figures(self, outcome: Outcome, usage: UsageReport, cost_usd: float | None) -> Finished:
        first_token_s = self._first_token_s
        prompt_s = output_s = None
        if outcome == "answered" and first_token_s is not None:
            prompt_s = first_token_s - self._sent_after_s
            writing_s = self._after_s() - first_token_s
            output_s = writing_s if writing_s >= SHORTEST_S else None
        if outcome == "answered" and usage.prompt_ms is not None:
            prompt_s = usage.prompt_ms / 1000
        if outcome == "answered" and usage.output_ms is not None:
            output_s = usage.output_ms / 1000
        prompt_tokens = self._estimated_tokens if usage.prompt_tokens is None else usage.prompt_tokens
        has_begun = first_token_s is not None
        return Finished(
            model=self._model,
            session=self.session,
            provider=self.provider,
            outcome=outcome,
            prompt_tokens=0 if outcome == "failed" else prompt_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=usage.output_tokens or 0,
            thinking_tokens=usage.thinking_tokens or 0,
            is_estimated=usage.prompt_tokens is None or (has_begun and usage.output_tokens is None),
            first_token_s=first_token_s,
            prompt_s=prompt_s,
            output_s=output_s,
            cost_usd=cost_usd,
            repairs=self._repaired_calls,
            losses=self._losses,
            fallbacks=self._fallbacks,
            lost_tokens=self._lost_tokens,
            web=self._web,
        )


def _unseen_message(model: str, usage: UsageReport) -> Message:
    """Return what is known of an answer to which nobody listened at its beginning."""
    counts = Usage(input_tokens=usage.prompt_tokens or 0, output_tokens=usage.output_tokens or 0)
    return Message(id="", model=model, content=[], stop_reason=None, usage=counts)
