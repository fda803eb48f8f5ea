"""Log: which exchanges are under way, and what to show of each event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, assert_never

from claude_bridge.conversion.loss import Loss
from claude_bridge.trace import events
from claude_bridge.trace.console import entries
from claude_bridge.trace.console.entries import Line, LogEntry, Mark, Tone
from claude_bridge.trace.console.printable import NO_BREAK, counted, rate, seconds
from claude_bridge.trace.stats import reading_speed
from claude_bridge.trace.summary import TracedExchange, add_entry, entry_of

_TAG_CHARS = 4
_MAX_LOSSES = 12
_PROGRESS_EVERY_S = 10.0
"""How often it is shown how much of a prompt has been read, where there is no area that is drawn anew."""
_WORRYING_STOPS = frozenset({"max_tokens", "refusal", "model_context_window_exceeded"})


_REPEATED_WITHIN_S = 5.0
_FEATURES_TO_BLAME = (400, 422)
"""After these Claude Code 2.1.330 tries with less; all else it takes as final, or waits before it asks again."""


_News = events.RequestQueued | events.WaitingForUpstream | events.PromptRead
_Remark = (
    events.UpstreamRetried | events.PromptReread | events.PromptCut | events.ToolInputRepaired | events.AnswerMended
)


class _Refusal(NamedTuple):
    """The last refusal: Claude Code answers a 400 with up to five more requests, each with one feature less."""

    session: str | None
    message: str
    at_s: float
    repeats: int = 0


class OpenExchange:
    """What the log remembers of an exchange under way: its summary, and what is to be shown at its end."""

    def __init__(self, tag: str, summary: TracedExchange) -> None:
        self.tag = tag
        self.summary = summary
        self.remarks: list[Line] = []
        self.repairs: list[Line] = []
        self.answer_repairs: list[str] = []
        self.held: LogEntry | None = None
        """The request, while it may still be the one that was refused just before."""
        self.is_known_to_wait = False
        self.read: events.PromptRead | None = None
        """How much of its prompt the engine has read, where it reports that."""
        self.read_shown_s = 0.0

    def entry(
        self, event: events.TraceEvent, mark: Mark, head: str, lines: Sequence[Line] = (), tone: Tone = "plain"
    ) -> LogEntry:
        """Return an entry of this exchange."""
        return LogEntry(self.tag, self.summary.number, mark, event.at_s, head, list(lines), tone)

    def news(self, event: _News, tokens_per_s: float | None) -> str:
        """Return how far the exchange is: that it waits or is read once, how much has been read from time to time."""
        match event:
            case events.RequestQueued(position=position) if self.summary.position is None and position:
                return _in_queue(position)
            case events.WaitingForUpstream() if not (self.is_known_to_wait or self.read or self.summary.first_token_s):
                self.is_known_to_wait = True
                return f"the engine loads or reads, {self.to_read(tokens_per_s)}"
            case events.PromptRead():
                self.read = event
                if event.after_s - self.read_shown_s >= _PROGRESS_EVERY_S:
                    self.read_shown_s = event.after_s
                    return entries.read_text(event)
        return ""

    def remember(self, event: _Remark) -> None:
        """Keep what is shown at the end."""
        match event:
            case events.UpstreamRetried():
                self.remarks.append(Line("again", f"sent again: {event.reason}", tone="warning"))
            case events.PromptReread():
                self.remarks.append(Line("reread", entries.reread_text(event), tone="warning"))
            case events.PromptCut():
                self.remarks.append(Line("cut", entries.cut_text(event), rows=4, tone="bad"))
            case events.ToolInputRepaired():
                self.repairs.append(Line("repair", f"{event.tool_name}: {event.what}", tone="warning"))
            case events.AnswerMended():
                self.answer_repairs.append(event.what)

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
            return f"{one.model}: {_in_queue(one.position)}"
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
        self._refusal: _Refusal | None = None
        self.reading_tokens_per_s: float | None = None
        """How fast the engine read its last long prompt, nothing of it cached; None: not known yet."""

    def take(self, event: events.TraceEvent) -> list[LogEntry]:
        """Return what to show of the event."""
        exchange = self._exchange(event)
        shown = list(self._entries(event, exchange))
        with suppress(UnicodeError):  # a lone surrogate
            add_entry(exchange.summary, entry_of(event), 0)
        if isinstance(event, events.ExchangeEnded | events.ExchangeFailed | events.ClientLeft):
            del self.open[event.exchange]
        return shown

    def forget(self) -> None:
        """Forget the exchanges under way, because events were missed."""
        self.open.clear()

    def _entries(self, event: events.TraceEvent, exchange: OpenExchange) -> Iterator[LogEntry]:
        held, exchange.held = exchange.held, None
        repeats = 0
        if isinstance(event, events.ExchangeFailed):
            repeats = self._count_repeats(event, exchange, may_repeat=held is not None)
        if repeats == 1:
            yield exchange.entry(event, "failed", "refused again: the client tries with fewer features", tone="dim")
        elif not repeats:
            yield from [held] if held is not None else []
            yield from self._shown(event, exchange)

    def _shown(self, event: events.TraceEvent, exchange: OpenExchange) -> Iterator[LogEntry]:
        if isinstance(event, _Remark):
            exchange.remember(event)
            return
        if isinstance(event, _News):
            head = exchange.news(event, self.reading_tokens_per_s)
            yield from [exchange.entry(event, "first", head)] if head else []
            return
        match event:
            case events.RequestReceived():
                entry = exchange.entry(event, "received", entries.request_headline(event), entries.request_lines(event))
                if self._may_repeat(event):
                    exchange.held = entry
                else:
                    yield entry
            case events.ImageDescribed():
                yield exchange.entry(event, "sent", *entries.described(event))
            case events.WebToolCalled():
                yield exchange.entry(event, "sent", *entries.web_call(event))
            case events.RequestSent():
                lines = [*entries.sent_lines(event), *self._loss_lines(event.losses)]
                yield exchange.entry(event, "sent", f"{event.method} {event.url}", lines)
            case events.FellBack():
                head = f"{event.target} failed after {seconds(event.after_s)}: the next one is tried"
                yield exchange.entry(event, "failed", head, [Line("error", event.message, rows=3)], "warning")
            case events.FirstToken():
                yield exchange.entry(event, "first", f"first token after {seconds(event.after_s)}")
            case events.ExchangeEnded():
                yield self._ended(event, exchange)
            case events.ExchangeFailed():
                where = ", in mid-answer" if event.in_stream else ""
                head = f"{event.status} {event.error_type} after {seconds(event.after_s)}{where}"
                lines = [*exchange.remarks, Line("error", event.message, rows=6, tone="bad")]
                lines += [exchange.how_far()] if event.in_stream else []
                yield exchange.entry(event, "failed", head, lines, "bad")
            case events.ClientLeft():
                head = f"the client left after {seconds(event.after_s)}"
                yield exchange.entry(event, "failed", head, [exchange.how_far()], "warning")
            case events.UpstreamAnswered() | events.AnswerGrew() | events.EventsDropped() | events.StreamsRecorded():
                pass
            case _:
                assert_never(event)

    def _may_repeat(self, event: events.RequestReceived) -> bool:
        """Return whether a request may be the one that was refused just before."""
        last = self._refusal
        return last is not None and event.session == last.session and event.at_s - last.at_s <= _REPEATED_WITHIN_S

    def _count_repeats(self, event: events.ExchangeFailed, exchange: OpenExchange, *, may_repeat: bool) -> int:
        """Remember a possible refusal, and return how often the last one was repeated (0: this is another one)."""
        last, refusal = self._refusal, _Refusal(exchange.summary.session, event.message, event.at_s)
        if may_repeat and last is not None and refusal[:2] == last[:2]:
            self._refusal = refusal._replace(repeats=last.repeats + 1)
            return last.repeats + 1
        if event.status in _FEATURES_TO_BLAME and not event.in_stream:
            self._refusal = refusal
        return 0

    def _exchange(self, event: events.TraceEvent) -> OpenExchange:
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

    def _ended(self, event: events.ExchangeEnded, exchange: OpenExchange) -> LogEntry:
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
        lines += [*entries.speed_lines(event), *exchange.remarks]
        lines += [*entries.answer_lines(event.message), *exchange.repairs]
        if exchange.answer_repairs:
            lines.append(Line("repair", "; ".join(exchange.answer_repairs), tone="dim"))
        return exchange.entry(event, "done", f"{stop} after {seconds(event.after_s)}", lines, tone)


def _in_queue(position: int) -> str:
    return f"waits for its turn, {counted(position - 1, 'request')} before it"


def _whole_seconds(duration_s: float) -> str:
    return f"{max(duration_s, 0):.0f}{NO_BREAK}s" if duration_s < 119.5 else seconds(duration_s)
