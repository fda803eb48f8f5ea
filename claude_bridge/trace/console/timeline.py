"""Log: which exchanges are under way, and what to show of each event."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import assert_never

from claude_bridge.conversion.loss import Loss
from claude_bridge.trace.console.entries import (
    Entry,
    Line,
    Mark,
    Tone,
    answer_lines,
    asked_head,
    asked_lines,
    contents_lines,
    cut_text,
    described_head,
    described_lines,
    read_text,
    reread_text,
    speed_lines,
    usage_text,
    web_head,
    web_lines,
)
from claude_bridge.trace.console.printable import NO_BREAK, counted, rate, seconds, size
from claude_bridge.trace.console.repeats import Refusals
from claude_bridge.trace.events import (
    AnswerGrew,
    AnswerMended,
    ClientLeft,
    EventsDropped,
    ExchangeEnded,
    ExchangeFailed,
    FellBack,
    FirstToken,
    ImageDescribed,
    PromptCut,
    PromptRead,
    PromptReread,
    RequestQueued,
    RequestReceived,
    RequestSent,
    StreamsRecorded,
    ToolInputRepaired,
    TraceEvent,
    UpstreamAnswered,
    UpstreamRetried,
    WaitingForUpstream,
    WebToolCalled,
)
from claude_bridge.trace.reading import reading_speed
from claude_bridge.trace.summary import TracedExchange, add_entry, entry_of

_TAG_CHARS = 4
_MAX_LOSSES = 12
_PROGRESS_EVERY_S = 10.0
"""How often it is shown how much of a prompt has been read, where there is no area that is drawn anew."""
_WORRYING_STOPS = frozenset({"max_tokens", "refusal", "model_context_window_exceeded"})


class OpenExchange:
    """What the log remembers of an exchange under way: its summary, and what is to be shown at its end."""

    def __init__(self, tag: str, summary: TracedExchange) -> None:
        self.tag = tag
        self.summary = summary
        self.retried: list[Line] = []
        self.remarks: list[Line] = []
        self.repairs: list[Line] = []
        self.stream_repairs: list[str] = []
        self.held: Entry | None = None
        """What was asked, while it is not known whether it is what was refused just before."""
        self.waiting_shown = False
        self.read: PromptRead | None = None
        """How much of its prompt the engine has read, where it reports that."""
        self.read_shown_s = 0.0

    def remember(self, event: UpstreamRetried | PromptReread | PromptCut | ToolInputRepaired | AnswerMended) -> None:
        """Keep what is shown at the end."""
        match event:
            case UpstreamRetried(reason=reason):
                self.retried.append(Line("again", f"sent again: {reason}", tone="warning"))
            case PromptReread():
                self.remarks.append(Line("reread", reread_text(event), tone="warning"))
            case PromptCut():
                self.remarks.append(Line("cut", cut_text(event), rows=4, tone="bad"))
            case ToolInputRepaired(tool_name=tool_name, what=what):
                self.repairs.append(Line("repair", f"{tool_name}: {what}", tone="warning"))
            case AnswerMended(what=what):
                self.stream_repairs.append(what)

    def progress(self, now_s: float, tokens_per_s: float | None = None) -> str:
        """Return how far the exchange is; ``tokens_per_s`` is how fast the engine reads (None: not known)."""
        one = self.summary
        passed_s = now_s - one.at_s
        if one.sent_after_s is None:
            return f"preparing, {_whole_seconds(passed_s)}"
        if one.first_token_s is not None:
            writing_s = passed_s - one.first_token_s
            speed = f" at {rate(one.written_tokens, writing_s)}" if writing_s > 1 else ""
            first = f"first after {seconds(one.first_token_s)}"
            return f"{one.model}: ~{one.written_tokens:,} tokens{speed}, {_whole_seconds(passed_s)} ({first})"
        if one.position:
            return f"{one.model}: waits for its turn, {counted(one.position - 1, 'request')} before it"
        if self.read is not None:
            return f"{one.model}: {read_text(self.read)}, {_whole_seconds(passed_s)}"
        return f"{one.model}: no token yet, {_whole_seconds(passed_s)} ({self.to_read(tokens_per_s)})"

    def to_read(self, tokens_per_s: float | None) -> str:
        """Return how much the engine has to read, and how long that takes if nothing comes from its cache."""
        tokens = self.summary.estimated_tokens
        if tokens_per_s is None:
            return f"~{tokens:,} tokens to read"
        expected = _whole_seconds(tokens / tokens_per_s)
        return f"~{tokens:,} tokens to read: {expected} at {tokens_per_s:,.0f} tokens/s, less from cache"

    def how_far(self) -> Line:
        """Return how much of the answer had gone to the client when it ended too early."""
        if self.summary.first_token_s is None:
            return Line("sent", "nothing yet: the first token had not come")
        first = seconds(self.summary.first_token_s)
        return Line("sent", f"~{self.summary.written_tokens:,} tokens, the first after {first}")


class Log:
    """Turns events into entries; knows which exchanges are under way."""

    def __init__(self) -> None:
        self.open: dict[str, OpenExchange] = {}
        self._number = 0
        self._known_losses: set[Loss] = set()
        self._refusals = Refusals()
        self.reading_tokens_per_s: float | None = None
        """How fast the engine read its last long prompt, nothing of it cached; None: not known yet."""

    def take(self, event: TraceEvent) -> list[Entry]:
        """Return what to show of the event."""
        exchange = self._exchange(event)
        entries = self._entries_of(event, exchange)
        with suppress(UnicodeError):  # a lone surrogate
            add_entry(exchange.summary, entry_of(event), 0)
        return entries

    def _entries_of(self, event: TraceEvent, exchange: OpenExchange) -> list[Entry]:
        if isinstance(event, RequestReceived):
            entry = self._entry(event, "asked", asked_head(event), asked_lines(event))
            if not self._refusals.may_repeat(event):
                return [entry]
            exchange.held = entry
            return []
        held, exchange.held = exchange.held, None
        session = exchange.summary.session
        if held and isinstance(event, ExchangeFailed) and self._refusals.is_repeat(session, event):
            return self._repeated(event)
        entries = [held, self._entry_of(event, exchange)]
        return [entry for entry in entries if entry is not None]

    def _entry_of(self, event: TraceEvent, exchange: OpenExchange) -> Entry | None:
        match event:
            case ImageDescribed():
                return self._entry(event, "sent", described_head(event), described_lines(event))
            case WebToolCalled():
                return self._entry(event, "sent", web_head(event), web_lines(event))
            case RequestSent():
                return self._entry(event, "sent", f"{event.method} {event.url}", self._sent_lines(event))
            case RequestQueued():
                return self._queued(event)
            case FellBack():
                head = f"{event.target} failed after {seconds(event.after_s)}: the next one is tried"
                return self._entry(event, "failed", head, [Line("error", event.message, rows=3)], "warning")
            case FirstToken():
                return self._entry(event, "first", f"first token after {seconds(event.after_s)}", [])
            case UpstreamRetried() | PromptReread() | PromptCut() | ToolInputRepaired() | AnswerMended():
                exchange.remember(event)
            case ExchangeEnded():
                return self._ended(event)
            case ExchangeFailed():
                return self._failed(event)
            case ClientLeft():
                entry = self._entry(event, "failed", f"the client left after {seconds(event.after_s)}", [], "warning")
                return self._closed(event.exchange, entry._replace(lines=[exchange.how_far()]))
            case WaitingForUpstream():
                return self._waiting(event)
            case PromptRead():
                return self._read(event)
            case UpstreamAnswered() | AnswerGrew() | EventsDropped() | StreamsRecorded() | RequestReceived():
                pass
            case _:
                assert_never(event)
        return None

    def _repeated(self, event: ExchangeFailed) -> list[Entry]:
        """Show once that a client repeats a request that was refused."""
        entry = self._entry(event, "failed", "the same again: the client tries it with less", [], "dim")
        self._closed(event.exchange, entry)
        return [entry] if self._refusals.count_repeat(event) == 1 else []

    def forget(self) -> None:
        """Forget the exchanges under way, because events were missed."""
        self.open.clear()

    def _exchange(self, event: TraceEvent) -> OpenExchange:
        exchange = self.open.get(event.exchange)
        if exchange is None:
            tags = {other.tag for other in self.open.values()}
            chars = _TAG_CHARS
            while event.exchange[-chars:] in tags and chars < len(event.exchange):
                chars += 1
            summary = TracedExchange(exchange=event.exchange, number=self._number, at_s=event.at_s)
            exchange = OpenExchange(event.exchange[-chars:], summary)
            self.open[event.exchange] = exchange
            self._number += 1
        return exchange

    def _entry(self, event: TraceEvent, mark: Mark, head: str, lines: Iterable[Line], tone: Tone = "plain") -> Entry:
        exchange = self._exchange(event)
        return Entry(exchange.tag, exchange.summary.number, mark, event.at_s, head, list(lines), tone)

    def _closed(self, exchange: str, entry: Entry) -> Entry:
        del self.open[exchange]
        return entry

    def _sent_lines(self, event: RequestSent) -> list[Line]:
        tokens = f"~{event.estimated_tokens:,} tokens"
        why = f", since {event.reason}" if event.reason else ""
        return [
            Line("to", f"{event.model} on {event.upstream}{why}, {size(len(event.body))}, {tokens}"),
            *contents_lines(event.body),
            *self._loss_lines(event.losses),
        ]

    def _loss_lines(self, losses: list[Loss]) -> list[Line]:
        """Return one line for each new loss, and one for all that an earlier request had too."""
        new = [loss for loss in losses if loss not in self._known_losses]
        known = [loss.path.removeprefix("$.") for loss in losses if loss in self._known_losses]
        self._known_losses.update(new)
        lines = [
            Line("loss", f"{loss.path.removeprefix('$.')}: {loss.reason}", tone="warning") for loss in new[:_MAX_LOSSES]
        ]
        if len(new) > _MAX_LOSSES:
            lines.append(Line("loss", f"and {len(new) - _MAX_LOSSES} more", tone="warning"))
        if known:
            lines.append(Line("loss", f"as before: {', '.join(known)}", tone="dim"))
        return lines

    def _queued(self, event: RequestQueued) -> Entry | None:
        """Show once for each exchange that it waits for its turn."""
        exchange = self._exchange(event)
        is_first = exchange.summary.position is None and event.position > 0
        before = counted(event.position - 1, "request")
        return self._entry(event, "first", f"waits for its turn, {before} before it", []) if is_first else None

    def _waiting(self, event: WaitingForUpstream) -> Entry | None:
        """Show once for each exchange that the engine reads, or loads its model."""
        exchange = self._exchange(event)
        if exchange.summary.first_token_s is not None or exchange.waiting_shown or exchange.read is not None:
            return None
        exchange.waiting_shown = True
        to_read = exchange.to_read(self.reading_tokens_per_s)
        return self._entry(event, "first", f"the engine loads or reads, {to_read}", [])

    def _read(self, event: PromptRead) -> Entry | None:
        """Show from time to time how much of the prompt has been read."""
        exchange = self._exchange(event)
        exchange.read = event
        if event.after_s - exchange.read_shown_s < _PROGRESS_EVERY_S:
            return None
        exchange.read_shown_s = event.after_s
        return self._entry(event, "first", read_text(event), [])

    def _ended(self, event: ExchangeEnded) -> Entry:
        exchange = self._exchange(event)
        self._measure_reading(event)
        stop: str = event.message.stop_reason or "no stop reason"
        tone: Tone = "warning" if stop in _WORRYING_STOPS else "plain"
        if event.message.stop_sequence is not None:
            stop += f" {event.message.stop_sequence!r}"
        lines = [Line("usage", usage_text(event), tone=self._usage_tone(event)), *speed_lines(event)]
        lines += [*exchange.retried, *exchange.remarks, *answer_lines(event.message), *exchange.repairs]
        if exchange.stream_repairs:
            lines.append(Line("repair", "; ".join(exchange.stream_repairs), tone="dim"))
        return self._closed(
            event.exchange, self._entry(event, "done", f"{stop} after {seconds(event.after_s)}", lines, tone)
        )

    def _measure_reading(self, event: ExchangeEnded) -> None:
        self.reading_tokens_per_s = reading_speed(
            self.reading_tokens_per_s,
            prompt_tokens=event.prompt_tokens,
            cached_tokens=event.cached_tokens,
            prompt_s=None if event.prompt_ms is None else event.prompt_ms / 1000,
        )

    def _usage_tone(self, event: ExchangeEnded) -> Tone:
        """Return "warning" where an engine with a prompt cache read a conversation anew."""
        return "warning" if event.cached_tokens == 0 and self._exchange(event).summary.messages > 2 else "plain"

    def _failed(self, event: ExchangeFailed) -> Entry:
        where = ", in mid-answer" if event.in_stream else ""
        head = f"{event.status} {event.error_type} after {seconds(event.after_s)}{where}"
        exchange = self.open[event.exchange]
        lines = [*exchange.retried, Line("error", event.message, rows=6, tone="bad")]
        self._refusals.take(exchange.summary.session, event)
        if event.in_stream:
            lines.append(exchange.how_far())
        return self._closed(event.exchange, self._entry(event, "failed", head, lines, "bad"))


def _whole_seconds(duration_s: float) -> str:
    return f"{max(duration_s, 0):.0f}{NO_BREAK}s" if duration_s < 119.5 else seconds(duration_s)
