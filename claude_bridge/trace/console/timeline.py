"""Log: which exchanges are under way, and what to show of each event."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import assert_never

from claude_bridge.conversion.loss import Loss
from claude_bridge.trace.console import entries
from claude_bridge.trace.console.entries import Line, LogEntry, Mark, Tone
from claude_bridge.trace.console.printable import NO_BREAK, counted, rate, seconds
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
from claude_bridge.trace.stats import reading_speed
from claude_bridge.trace.summary import TracedExchange, add_entry, entry_of

_TAG_CHARS = 4
_MAX_LOSSES = 12
_PROGRESS_EVERY_S = 10.0
"""How often it is shown how much of a prompt has been read, where there is no area that is drawn anew."""
_WORRYING_STOPS = frozenset({"max_tokens", "refusal", "model_context_window_exceeded"})


_WITHIN_S = 5.0
_FEATURES_TO_BLAME = (400, 422)
"""After these Claude Code 2.1.330 tries with less; all else it takes as final, or waits before it asks again."""


class Refusals:
    """The last refusal: Claude Code answers a 400 with up to five more requests, each with one feature less."""

    def __init__(self) -> None:
        self._last: tuple[str | None, str] | None = None
        """Its session and its message."""
        self._at_s = 0.0
        self._repeats = 0

    def may_repeat(self, event: RequestReceived) -> bool:
        """Return whether a request may be the one that was refused just before."""
        is_soon = event.at_s - self._at_s <= _WITHIN_S
        return self._last is not None and is_soon and event.session == self._last[0]

    def take(self, session: str | None, event: ExchangeFailed, *, may_repeat: bool) -> int:
        """Remember what may be a refusal, and return how often the last one was repeated by now (0: it is another)."""
        if may_repeat and (session, event.message) == self._last:
            self._at_s, self._repeats = event.at_s, self._repeats + 1
            return self._repeats
        if event.status in _FEATURES_TO_BLAME and not event.in_stream:
            self._last, self._at_s, self._repeats = (session, event.message), event.at_s, 0
        return 0


class OpenExchange:
    """What the log remembers of an exchange under way: its summary, and what is to be shown at its end."""

    def __init__(self, tag: str, summary: TracedExchange) -> None:
        self.tag = tag
        self.summary = summary
        self.retried: list[Line] = []
        self.remarks: list[Line] = []
        self.repairs: list[Line] = []
        self.stream_repairs: list[str] = []
        self.held: LogEntry | None = None
        """What was asked, while it is not known whether it is what was refused just before."""
        self.waiting_shown = False
        self.read: PromptRead | None = None
        """How much of its prompt the engine has read, where it reports that."""
        self.read_shown_s = 0.0

    def entry(
        self, event: TraceEvent, mark: Mark, head: str, lines: Sequence[Line] = (), tone: Tone = "plain"
    ) -> LogEntry:
        """Return an entry of this exchange."""
        return LogEntry(self.tag, self.summary.number, mark, event.at_s, head, list(lines), tone)

    def news(
        self, event: RequestQueued | WaitingForUpstream | PromptRead, tokens_per_s: float | None
    ) -> LogEntry | None:
        """Return how far the exchange is: that it waits or is read once, how much has been read from time to time."""
        head = ""
        match event:
            case RequestQueued(position=position):
                if self.summary.position is None and position > 0:
                    head = f"waits for its turn, {counted(position - 1, 'request')} before it"
            case WaitingForUpstream():
                if self.summary.first_token_s is None and not self.waiting_shown and self.read is None:
                    self.waiting_shown = True
                    head = f"the engine loads or reads, {self.to_read(tokens_per_s)}"
            case PromptRead(after_s=after_s):
                self.read = event
                if after_s - self.read_shown_s >= _PROGRESS_EVERY_S:
                    self.read_shown_s = after_s
                    head = entries.read_text(event)
        return self.entry(event, "first", head) if head else None

    def remember(self, event: UpstreamRetried | PromptReread | PromptCut | ToolInputRepaired | AnswerMended) -> None:
        """Keep what is shown at the end."""
        match event:
            case UpstreamRetried(reason=reason):
                self.retried.append(Line("again", f"sent again: {reason}", tone="warning"))
            case PromptReread():
                self.remarks.append(Line("reread", entries.reread_text(event), tone="warning"))
            case PromptCut():
                self.remarks.append(Line("cut", entries.cut_text(event), rows=4, tone="bad"))
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
            return f"{one.model}: {entries.read_text(self.read)}, {_whole_seconds(passed_s)}"
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

    def take(self, event: TraceEvent) -> list[LogEntry]:
        """Return what to show of the event."""
        exchange = self._exchange(event)
        shown = self._entries_of(event, exchange)
        with suppress(UnicodeError):  # a lone surrogate
            add_entry(exchange.summary, entry_of(event), 0)
        if isinstance(event, ExchangeEnded | ExchangeFailed | ClientLeft):
            del self.open[event.exchange]
        return shown

    def _entries_of(self, event: TraceEvent, exchange: OpenExchange) -> list[LogEntry]:
        if isinstance(event, RequestReceived):
            entry = exchange.entry(event, "asked", entries.asked_head(event), entries.asked_lines(event))
            if not self._refusals.may_repeat(event):
                return [entry]
            exchange.held = entry
            return []
        held, exchange.held = exchange.held, None
        if isinstance(event, ExchangeFailed):
            repeats = self._refusals.take(exchange.summary.session, event, may_repeat=held is not None)
            if repeats:
                head = "the same again: the client tries it with less"
                return [exchange.entry(event, "failed", head, tone="dim")] if repeats == 1 else []
        return [entry for entry in (held, self._entry_of(event, exchange)) if entry is not None]

    def _entry_of(self, event: TraceEvent, exchange: OpenExchange) -> LogEntry | None:
        match event:
            case ImageDescribed():
                return exchange.entry(event, "sent", *entries.described(event))
            case WebToolCalled():
                return exchange.entry(event, "sent", *entries.web_call(event))
            case RequestSent():
                lines = [*entries.sent_lines(event), *self._loss_lines(event.losses)]
                return exchange.entry(event, "sent", f"{event.method} {event.url}", lines)
            case RequestQueued() | WaitingForUpstream() | PromptRead():
                return exchange.news(event, self.reading_tokens_per_s)
            case FellBack():
                head = f"{event.target} failed after {seconds(event.after_s)}: the next one is tried"
                return exchange.entry(event, "failed", head, [Line("error", event.message, rows=3)], "warning")
            case FirstToken():
                return exchange.entry(event, "first", f"first token after {seconds(event.after_s)}")
            case UpstreamRetried() | PromptReread() | PromptCut() | ToolInputRepaired() | AnswerMended():
                exchange.remember(event)
            case ExchangeEnded():
                return self._ended(event, exchange)
            case ExchangeFailed():
                where = ", in mid-answer" if event.in_stream else ""
                head = f"{event.status} {event.error_type} after {seconds(event.after_s)}{where}"
                lines = [*exchange.retried, Line("error", event.message, rows=6, tone="bad")]
                lines += [exchange.how_far()] if event.in_stream else []
                return exchange.entry(event, "failed", head, lines, "bad")
            case ClientLeft():
                head = f"the client left after {seconds(event.after_s)}"
                return exchange.entry(event, "failed", head, [exchange.how_far()], "warning")
            case UpstreamAnswered() | AnswerGrew() | EventsDropped() | StreamsRecorded() | RequestReceived():
                pass
            case _:
                assert_never(event)
        return None

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
            exchange = self.open[event.exchange] = OpenExchange(event.exchange[-chars:], summary)
            self._number += 1
        return exchange

    def _loss_lines(self, losses: list[Loss]) -> list[Line]:
        """Return one line for each new loss, and one for all that an earlier request had too."""
        new = [loss for loss in losses if loss not in self._known_losses]
        known = [loss.path.removeprefix("$.") for loss in losses if loss in self._known_losses]
        self._known_losses.update(new)
        texts = [f"{loss.path.removeprefix('$.')}: {loss.reason}" for loss in new[:_MAX_LOSSES]]
        texts += [f"and {len(new) - _MAX_LOSSES} more"] if len(new) > _MAX_LOSSES else []
        lines = [Line("loss", text, tone="warning") for text in texts]
        return [*lines, Line("loss", f"as before: {', '.join(known)}", tone="dim")] if known else lines

    def _ended(self, event: ExchangeEnded, exchange: OpenExchange) -> LogEntry:
        self.reading_tokens_per_s = reading_speed(
            self.reading_tokens_per_s,
            prompt_tokens=event.prompt_tokens,
            cached_tokens=event.cached_tokens,
            prompt_s=None if event.prompt_ms is None else event.prompt_ms / 1000,
        )
        stop: str = event.message.stop_reason or "no stop reason"
        tone: Tone = "warning" if stop in _WORRYING_STOPS else "plain"
        if event.message.stop_sequence is not None:
            stop += f" {event.message.stop_sequence!r}"
        # An engine with a prompt cache read a conversation anew.
        is_reread = event.cached_tokens == 0 and exchange.summary.messages > 2
        lines = [Line("usage", entries.usage_text(event), tone="warning" if is_reread else "plain")]
        lines += [*entries.speed_lines(event), *exchange.retried, *exchange.remarks]
        lines += [*entries.answer_lines(event.message), *exchange.repairs]
        if exchange.stream_repairs:
            lines.append(Line("repair", "; ".join(exchange.stream_repairs), tone="dim"))
        return exchange.entry(event, "done", f"{stop} after {seconds(event.after_s)}", lines, tone)


def _whole_seconds(duration_s: float) -> str:
    return f"{max(duration_s, 0):.0f}{NO_BREAK}s" if duration_s < 119.5 else seconds(duration_s)
