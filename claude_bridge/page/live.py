"""LivePage: who may see the page of a running bridge."""

from __future__ import annotations

import hmac
import secrets
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bridge.page.live_trace import LiveTrace


class LivePage:
    """The keys of one run, and what the page shows. Without viewers it is no sink, and costs nothing."""

    def __init__(self, key: str, *, trace_file: Path | None = None) -> None:
        """``key`` opens the page, and stands in the address that is printed; ``trace_file`` has what came before."""
        self.trace_file = trace_file
        self._key = key
        self._cookie = secrets.token_urlsafe(32)
        self.viewers = 0
        """How many look at the page."""

    @cached_property
    def trace(self) -> LiveTrace:
        """The exchanges that it shows."""
        from claude_bridge.page.live_trace import LiveTrace  # 20 ms, which a start without viewers does not need

        return LiveTrace(has_past=self.trace_file is not None)

    def begin(self) -> None:
        """Begin anew for the first viewer, where a trace has what came before."""
        if self.trace_file is not None:
            self.__dict__.pop("trace", None)

    @property
    def cookie(self) -> str:
        """The value of the cookie that a browser gets for the key."""
        return self._cookie

    def opens(self, key: str) -> bool:
        """Return whether this is the key of this run."""
        return hmac.compare_digest(key.encode("utf-8", "replace"), self._key.encode())

    def is_cookie(self, value: str) -> bool:
        """Return whether a browser has been let in."""
        return hmac.compare_digest(value.encode("utf-8", "replace"), self._cookie.encode())
