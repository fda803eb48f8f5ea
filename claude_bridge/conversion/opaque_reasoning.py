"""Thoughts that only their maker can read: kept by the client in ``redacted_thinking`` blocks, and given back.

Some services want with a conversation what they said of their thoughts, word for word: OpenRouter its
``reasoning_details`` with signatures and ciphers, Gemini the signature of each call. The client has no field for these,
and the bridge keeps nothing; but clients send back redacted thinking as it came.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from claude_bridge.conversion.deltas import (
    Delta,
    Finish,
    OpaqueReasoning,
    RedactedReasoning,
    TextDelta,
    ToolCallStart,
)
from claude_bridge.wire.anthropic import RedactedThinkingBlock

SEAL = "claude-bridge:"
"""How the data of our own blocks begins; Anthropic's never has a colon."""

_IN_PIECES = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""Types of details that come in pieces, and which field of them grows; a signature comes with the last piece."""


class Unsealed(Struct, frozen=True):
    """What the blocks of one turn hold: details in their order, and signatures by the number of the turn's call."""

    details: list[dict[str, Any]] = []
    signatures: dict[int, str] = {}


def is_ours(block: RedactedThinkingBlock) -> bool:
    """Return whether the bridge made this block, and not Anthropic."""
    return block.data.startswith(SEAL)


def unseal(blocks: Iterable[object]) -> Unsealed:
    """Return what our own blocks among these hold; one that was changed on its way holds nothing."""
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


class OpaqueReasoningCollector:
    """Gathers what only its maker can read, and puts it into a block before the next text or call, or at the end."""

    def __init__(self) -> None:
        self._details: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        """The text of the last detail so far."""
        self._signatures: dict[int, str] = {}
        self._calls = 0

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """Return the deltas with whole blocks in place of the pieces."""
        out: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, OpaqueReasoning):
                self._take(delta)
                continue
            if isinstance(delta, TextDelta | ToolCallStart | Finish):
                out += self.close()
            if isinstance(delta, ToolCallStart):
                self._calls += 1
            out.append(delta)
        return out

    def close(self) -> list[Delta]:
        """Return the block with what was gathered, if anything was."""
        if not self._details and not self._signatures:
            return []
        self._join()
        held = msgspec.json.encode(Unsealed(self._details, self._signatures))
        self._details, self._signatures = [], {}
        return [RedactedReasoning(SEAL + b64encode(held).decode())]

    def _take(self, piece: OpaqueReasoning) -> None:
        if piece.call_signature:
            self._signatures[self._calls] = piece.call_signature
        if piece.detail is None:
            return
        last = self._details[-1] if self._details else {}
        growing = _IN_PIECES.get(str(piece.detail.get("type")))
        if growing is None or any(piece.detail.get(field) != last.get(field) for field in ("type", "index")):
            self._join()
            self._details.append(dict(piece.detail))
        else:
            last |= {field: value for field, value in piece.detail.items() if value is not None}
        if growing is not None and isinstance(piece.detail.get(growing), str):
            self._pieces.append(piece.detail[growing])

    def _join(self) -> None:
        if self._pieces:
            self._details[-1][_IN_PIECES[self._details[-1]["type"]]] = "".join(self._pieces)
            self._pieces.clear()
