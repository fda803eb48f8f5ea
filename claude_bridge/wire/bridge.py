"""The bridge's own endpoints: whether it is ready, and what it serves."""

from __future__ import annotations

import msgspec
from msgspec import Struct

READY_PATH = "/readyz"


class Readiness(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """GET /readyz. ``reason`` says why the bridge is not ready; None in a limit means not known.

    ``slots`` is how many requests the engine answers at a time. ``passes_credentials`` says that the client's own login
    goes on to Anthropic.
    """

    ready: bool
    version: str
    reason: str | None = None
    upstream: str | None = None
    kind: str | None = None
    base_url: str | None = None
    model: str | None = None
    window_tokens: int | None = None
    max_output_tokens: int | None = None
    slots: int | None = None
    passes_credentials: bool = False


def encode_readiness(readiness: Readiness) -> bytes:
    """Return the body."""
    return msgspec.json.encode(readiness)


def parse_readiness(body: bytes) -> Readiness:
    """Return what a bridge tells; raises msgspec.DecodeError for what is none."""
    return msgspec.json.decode(body, type=Readiness)
