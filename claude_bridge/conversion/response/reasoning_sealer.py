"""Opaque reasoning of an answer, collected and put into blocks that the client keeps and sends back."""

from __future__ import annotations

from typing import Any

from claude_bridge.conversion.deltas import (
    Delta,
    Finish,
    OpaqueReasoning,
    RedactedReasoning,
    TextDelta,
    ToolCallStart,
)
from claude_bridge.conversion.opaque_reasoning import Unsealed, seal

_GROWING_FIELDS = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""Types of details that come in pieces, and the field that grows; a signature comes with the last piece."""


class ReasoningSealer:
    """Collects opaque reasoning and emits it as one block before the next text or call, or at the end."""

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
        """Return the block with what was collected, if anything was."""
        if not self._details and not self._signatures:
            return []
        self._join_pieces()
        data = seal(Unsealed(self._details, self._signatures))
        self._details, self._signatures = [], {}
        return [RedactedReasoning(data)]

    def _take(self, piece: OpaqueReasoning) -> None:
        if piece.call_signature:
            self._signatures[self._calls] = piece.call_signature
        if piece.detail is None:
            return
        last = self._details[-1] if self._details else {}
        growing = _GROWING_FIELDS.get(str(piece.detail.get("type")))
        if growing is None or any(piece.detail.get(field) != last.get(field) for field in ("type", "index")):
            self._join_pieces()
            self._details.append(dict(piece.detail))
        else:
            last |= {field: value for field, value in piece.detail.items() if value is not None}
        if growing is not None and isinstance(piece.detail.get(growing), str):
            self._pieces.append(piece.detail[growing])

    def _join_pieces(self) -> None:
        if self._pieces:
            self._details[-1][_GROWING_FIELDS[self._details[-1]["type"]]] = "".join(self._pieces)
            self._pieces.clear()
