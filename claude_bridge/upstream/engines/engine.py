"""Engine: where an engine is, with which key it is asked, and what the user has set for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.providers import Upstream

if TYPE_CHECKING:
    from claude_bridge.upstream.engines.report import OfferedModel  # brings the wire shapes of all engines
    from claude_bridge.upstream.key_ring import KeyRing


class Engine(Struct, frozen=True, kw_only=True):
    """An engine before any request. None in a limit leaves it to what the engine reports."""

    provider: str = ""
    """The name of its row; empty: it has none."""
    upstream: Upstream
    """An empty model is the only one that the engine has."""
    api_key: str | None = None
    ring: KeyRing | None = None
    """The keys that take turns, or the command that gives one; None: it is always ``api_key``."""
    key_hint: str = ""
    """How the user gives a key."""
    models: tuple[OfferedModel, ...] = ()
    """The models that the configuration lists; where it lists some, the engine gets no request about any."""
    check: bool = True
    """Whether the engine gets requests about itself before it is used."""
    may_upgrade: bool = True
    """Whether an engine that turns out to be an Ollama is used through Ollama's own API."""
    window_tokens: int | None = None
    max_output_tokens: int | None = None
    is_wanted: bool = False
    """Whether the user means to use it, so that a failure to list its models is worth a message."""

    def with_model(self, name: str) -> Engine:
        """Return the engine for another of its models."""
        return replace(self, upstream=replace(self.upstream, model=name))

    def with_limits(self, upstream: Upstream) -> Upstream:
        """Return an upstream with the limits that the user gave for this engine."""
        return upstream.with_given_limits(window_tokens=self.window_tokens, max_output_tokens=self.max_output_tokens)
