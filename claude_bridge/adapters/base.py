"""What an adapter is: pure code between a fit request, an engine's bytes, and deltas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from claude_bridge.conversion.deltas import Delta
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request import FitRequest
from claude_bridge.errors import BridgeError


class OutgoingRequest(Struct, frozen=True, kw_only=True):
    """What to send upstream. ``path`` is relative to the base URL; the key is added on the way out."""

    method: str
    path: str
    body: bytes


class TokenLimits(Struct, frozen=True, kw_only=True):
    """What a model can take and give, in tokens; None means not known."""

    max_output_tokens: int | None = None
    window_tokens: int | None = None


class StreamDecoder(Protocol):
    """Turns the bytes of one upstream answer into deltas, wherever the reads happen to end.

    Raises UpstreamBrokenError only for what is beyond all limits; anything else that makes no sense is a Failure.
    """

    done: bool
    """Whether the engine said its last word; what follows need not be waited for."""

    @property
    def finished(self) -> bool:
        """Whether the engine said why it stopped; only usage may follow, and silence means that none does."""
        ...

    def feed(self, data: bytes) -> list[Delta]:
        """Return the deltas that ``data`` completes."""
        ...

    def close(self) -> list[Delta]:
        """Return the deltas that were waiting for more."""
        ...


class Adapter(Protocol):
    """The pure code for one upstream kind."""

    kind: str
    reach_path: str
    """What can be asked, by GET, of any engine of this kind at no cost."""

    def encode(self, request: FitRequest, model: str, profile: Profile, limits: TokenLimits) -> OutgoingRequest:
        """Return what to send.

        Adds to ``request.losses`` what this kind can't carry.
        """
        ...

    def decoder(self, upstream: str) -> StreamDecoder:
        """Return a decoder for one answer; ``upstream`` names the engine in error texts."""
        ...

    def explain_refusal(self, status: int, headers: Mapping[str, str], body: bytes, upstream: str) -> BridgeError:
        """Return the error for an answer that is no 2xx."""
        ...
