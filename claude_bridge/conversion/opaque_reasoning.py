"""Opaque reasoning: what only the service that made it can read, kept by clients in ``redacted_thinking`` blocks.

Some services want it back word for word with the conversation: OpenRouter its ``reasoning_details`` with signatures
and encrypted parts, Gemini the signature of each call. The client has no field for these and the bridge keeps nothing
between requests, but clients send redacted thinking back as it came.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from claude_bridge.wire.anthropic import RedactedThinkingBlock

SEAL = "claude-bridge:"
"""How the data of our own blocks begins; Anthropic's never has a colon."""


class Unsealed(Struct, frozen=True):
    """What the blocks of one turn hold: details in their order, and signatures by the number of the turn's call."""

    details: list[dict[str, Any]] = []
    signatures: dict[int, str] = {}


def is_ours(block: RedactedThinkingBlock) -> bool:
    """Return whether the bridge made this block, and not Anthropic."""
    return block.data.startswith(SEAL)


def seal(unsealed: Unsealed) -> str:
    """Return the data of a block that holds this."""
    return SEAL + b64encode(msgspec.json.encode(unsealed)).decode()


def unseal(blocks: Iterable[object]) -> Unsealed:
    """Return what our own blocks among these hold; a block that was changed on its way holds nothing."""
    details: list[dict[str, Any]] = []
    signatures: dict[int, str] = {}
    for block in blocks:
        if isinstance(block, RedactedThinkingBlock) and is_ours(block):
            try:
                held = msgspec.json.decode(b64decode(block.data.removeprefix(SEAL)), type=Unsealed)
            except (msgspec.DecodeError, ValueError):
                continue
            details += held.details
            signatures |= held.signatures
    return Unsealed(details, signatures)
