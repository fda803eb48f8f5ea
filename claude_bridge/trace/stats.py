"""Stats: what the exchanges of this run came to, by model and by session; kept whether or not anybody traces."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct

from claude_bridge.trace.events import ExchangeFailed
from claude_bridge.version import __version__
from claude_bridge.wire.admin_api import Figures, FirstTokens, ReadingPrompt, SessionFigures, StatsReport, WebFigures

Outcome = Literal["answered", "failed", "left"]
"""How an exchange ended; also the names of Figures' fields that count them."""

MAX_SESSIONS = 1_000
"""Of more, those that were silent for the longest are forgotten."""

MAX_FAILURES = 20

_ENOUGH_TOKENS = 200
"""A shorter prompt says little of how fast an engine reads."""

MAX_MODELS = 200
OTHER_MODELS = "(others)"
"""Where clients choose the names of models, there is no end to them."""

UNREADABLE, NOT_SENT = "(unreadable)", "(not sent)"
"""In place of a model's name, for requests that can't be read or that were refused before any model got them."""

FIRST_TOKEN_BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of the classes in which first-token times are counted."""


class Finished(Struct, frozen=True, kw_only=True):
    """What one exchange came to. None always means that it is not known."""

    model: str
    session: str | None
    provider: str | None = None
    """The provider by its name in the configuration; None: no request went out."""
    outcome: Outcome
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    output_tokens: int = 0
    thinking_tokens: int = 0
    is_estimated: bool = False
    first_token_s: float | None = None
    prompt_s: float | None = None
    """How long the engine read the prompt, its cached part apart."""
    output_s: float | None = None
    cost_usd: float | None = None
    repairs: int = 0
    losses: int = 0
    fallbacks: int = 0
    lost_tokens: int | None = None
    """What the engine read again though it had read it before; None: nothing."""
    web: WebFigures = WebFigures()
    """What the bridge did on the web for the model."""


class Stats:
    """The figures of one run of a bridge. Only sums are kept, of at most MAX_SESSIONS sessions."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.started_at_s = now()
        self.listeners: list[Callable[[Finished], None]] = []
        """Who else is notified of each exchange that is over."""
        self.failures: deque[ExchangeFailed] = deque(maxlen=MAX_FAILURES)
        """The last exchanges that failed."""
        self._models: dict[str, Figures] = {}
        self._sessions: OrderedDict[str, SessionFigures] = OrderedDict()
        self._first_token_classes: dict[str, list[int]] = {}
        self._reading: dict[str, ReadingPrompt] = {}
        self._reading_speeds: dict[str, float | None] = {}

    def reading(self, exchange: str, prompt: ReadingPrompt | None) -> None:
        """Note that an engine reads the prompt of an exchange, or how far it is; None: it does not any more."""
        if prompt is None:
            self._reading.pop(exchange, None)
        else:
            speed = prompt.tokens_per_s or self._reading_speeds.get(prompt.model)
            self._reading[exchange] = msgspec.structs.replace(prompt, tokens_per_s=speed)

    def take(self, finished: Finished) -> None:
        """Add an exchange that is over."""
        for listener in self.listeners:
            listener(finished)
        model, session = finished.model, finished.session
        if model not in self._models and len(self._models) >= MAX_MODELS:
            model = OTHER_MODELS
        self._models[model] = _sum(self._models.get(model, Figures()), finished)
        self._reading_speeds[model] = reading_speed(
            self._reading_speeds.get(model),
            prompt_tokens=None if finished.is_estimated else finished.prompt_tokens,
            cached_tokens=finished.cached_tokens,
            prompt_s=finished.prompt_s,
        )
        if finished.first_token_s is not None:
            classes = self._first_token_classes.setdefault(model, [0] * (len(FIRST_TOKEN_BOUNDS_S) + 1))
            classes[bisect_left(FIRST_TOKEN_BOUNDS_S, finished.first_token_s)] += 1
        if session is None:
            return
        model, before = finished.model, self._sessions.pop(session, None)
        figures = _sum(before.figures if before else Figures(), finished)
        if before and finished.model in (UNREADABLE, NOT_SENT):
            model = before.model
        self._sessions[session] = SessionFigures(model=model, last_at_s=self._now(), figures=figures)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)

    def report(self, *, running: int, waiting: int = 0, serves: str | None = None) -> StatsReport:
        """Return the figures so far.

        ``running`` is how many exchanges are under way, ``waiting`` how many wait for their engine's turn, ``serves``
        which model is served.
        """
        return StatsReport(
            version=__version__,
            started_at_s=self.started_at_s,
            running=running,
            waiting=waiting,
            serves=serves,
            models=dict(self._models),
            sessions=dict(self._sessions),
            reading=list(self._reading.values()),
        )

    def first_token_classes(self, model: str) -> list[int]:
        """Return how many first-token times fell into each class of FIRST_TOKEN_BOUNDS_S, and beyond the last."""
        return list(self._first_token_classes.get(model, [0] * (len(FIRST_TOKEN_BOUNDS_S) + 1)))


_ADDED = ("prompt_tokens", "output_tokens", "thinking_tokens", "repairs", "losses", "fallbacks")
"""Figures of one exchange that are added as they are."""


def _sum(before: Figures, more: Finished) -> Figures:
    is_told = more.cached_tokens is not None
    is_answered = more.outcome == "answered"
    return msgspec.structs.replace(
        before,
        **{name: getattr(before, name) + getattr(more, name) for name in _ADDED},
        requests=before.requests + 1,
        **{more.outcome: getattr(before, more.outcome) + 1},
        estimated=before.estimated + (more.is_estimated and bool(more.prompt_tokens)),
        cache_reported_prompt_tokens=before.cache_reported_prompt_tokens + (more.prompt_tokens if is_told else 0),
        cached_tokens=before.cached_tokens + (more.cached_tokens or 0),
        timed_output_tokens=before.timed_output_tokens + (more.output_tokens if more.output_s else 0),
        output_s=before.output_s + (more.output_s or 0.0),
        first_token=before.first_token if more.first_token_s is None else _with(before.first_token, more.first_token_s),
        rereads=before.rereads + (more.lost_tokens is not None),
        reread_tokens=before.reread_tokens + (more.lost_tokens or 0),
        web=before.web.sum(more.web),
        cost_usd=before.cost_usd + (more.cost_usd or 0.0),
        of_unknown_cost=before.of_unknown_cost + (is_answered and more.cost_usd is None),
    )


def _with(before: FirstTokens, seconds: float) -> FirstTokens:
    return FirstTokens(
        count=before.count + 1,
        last_s=seconds,
        total_s=before.total_s + seconds,
        longest_s=max(before.longest_s, seconds),
    )


def reading_speed(
    before: float | None, *, prompt_tokens: int | None, cached_tokens: int | None, prompt_s: float | None
) -> float | None:
    """Return the tokens per second at which an engine reads what is not cached; ``before`` where nothing new is known.

    ``prompt_s`` is how long it read. None in a figure means not known.
    """
    read_tokens = (prompt_tokens or 0) - (cached_tokens or 0)
    if not prompt_s or read_tokens < _ENOUGH_TOKENS:
        return before
    speed = read_tokens / prompt_s
    # An engine that counts what was cached, and does not tell it apart, looks quicker than it is: Ollama.
    return min(speed, before) if cached_tokens is None and before is not None else speed
