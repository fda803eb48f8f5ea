"""Refusals: whether a client asks again for what was refused just before."""

from __future__ import annotations

from claude_bridge.trace.events import ExchangeFailed, RequestReceived

_WITHIN_S = 5.0
_FEATURES_TO_BLAME = (400, 422)
"""After these Claude Code 2.1.330 tries with less; all else it takes as final, or waits before it asks again."""


class Refusals:
    """The last refusal: Claude Code answers a 400 with up to five more requests, each with one feature less."""

    def __init__(self) -> None:
        self._session: str | None = None
        self._message: str | None = None
        self._at_s = 0.0
        self._repeats = 0

    def take(self, session: str | None, event: ExchangeFailed) -> None:
        """Remember what may be a refusal."""
        if event.status not in _FEATURES_TO_BLAME or event.in_stream:
            return
        self._session, self._message, self._at_s, self._repeats = session, event.message, event.at_s, 0

    def may_repeat(self, event: RequestReceived) -> bool:
        """Return whether a request may be the one that was refused just before."""
        is_soon = event.at_s - self._at_s <= _WITHIN_S
        return self._message is not None and is_soon and event.session == self._session

    def is_repeat(self, session: str | None, event: ExchangeFailed) -> bool:
        """Return whether this is the last refusal over again."""
        return event.message == self._message and session == self._session

    def count_repeat(self, event: ExchangeFailed) -> int:
        """Return how often the last refusal was repeated by now."""
        self._at_s = event.at_s
        self._repeats += 1
        return self._repeats
