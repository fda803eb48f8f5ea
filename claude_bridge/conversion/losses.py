"""Loss: something of a request that could not be carried to the engine, and why."""

from __future__ import annotations

from msgspec import Struct


class Loss(Struct, frozen=True):
    """``path`` is the JSON path in the client's request, such as ``$.top_k``; ``reason`` is for a person."""

    path: str
    reason: str
