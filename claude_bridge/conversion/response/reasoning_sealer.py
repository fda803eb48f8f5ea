"""Opaque reasoning of an answer, collected and put into blocks that the client keeps and sends back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from claude_bridge.conversion.deltas import (
    Delta,
    Finish,
    OpaqueReasoning,
    RedactedReasoning,
    Stage,
    TextDelta,
    TextStart,
    ToolCallStart,
)
from claude_bridge.conversion.opaque_reasoning import Unsealed, seal, usual_phase

_GROWING_FIELDS = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""Types of details that come in pieces, and the field that grows; a signature comes with the last piece."""


class ReasoningSealer(Stage):
    """Collects opaque reasoning and emits it as one block before the next text or call, or at the end.

    What the engine called its texts is kept only where it is not what ``usual_phase`` would call them.
    """

    def __init__(self, maker: str = "", prompt_digest: Callable[[], str] = lambda: "") -> None:
        """``maker`` is the service and the model whose items these are; ``prompt_digest`` tells what they answer."""
        self._maker = maker
        self._prompt_digest = prompt_digest
        self._details: list[dict[str, Any]] = []
        self._items: list[dict[str, Any]] = []
        self._phases: list[str] = []
        """What the engine called the texts so far; empty where it did not say."""
        self._next_phase: str | None = None
        self._texts_before_calls = 0
        self._pieces: list[str] = []
        """The text of the last detail so far."""
        self._signatures: dict[int, str] = {}
        self._calls = 0

    def passes(self, _: str) -> bool:
        """Return whether text goes on as it came: nothing is collected, and nothing is to be noted of it."""
        return self._next_phase is None and not (self._details or self._signatures or self._items)

    def take(self, delta: Delta) -> list[Delta]:
        """Return the delta behind the block that was collected before it; nothing for a piece of one."""
        if isinstance(delta, OpaqueReasoning):
            self._collect(delta)
            return []
        if isinstance(delta, TextStart):
            self._next_phase = delta.phase
        if isinstance(delta, TextDelta) and self._next_phase is not None and delta.text.strip():
            self._phases.append(self._next_phase)
            self._next_phase = None
        if not isinstance(delta, TextDelta | ToolCallStart | Finish):
            return [delta]
        block = self._block(self._odd_phases() if isinstance(delta, Finish) else [])
        if isinstance(delta, ToolCallStart):
            self._calls += 1
            self._texts_before_calls = len(self._phases)
        return [*block, delta]

    def close(self) -> list[Delta]:
        """Return the block with what was collected, if anything was."""
        return self._block([])

    def _odd_phases(self) -> list[str]:
        usual = [usual_phase(is_before_call=at < self._texts_before_calls) for at in range(len(self._phases))]
        named = [phase or expected for phase, expected in zip(self._phases, usual, strict=True)]
        return named if named != usual else []

    def _block(self, phases: Sequence[str]) -> list[Delta]:
        if not (self._details or self._signatures or self._items or phases):
            return []
        self._join_pieces()
        maker = self._maker if self._items or phases else ""
        behind = self._prompt_digest() if self._items else ""
        data = seal(Unsealed(self._details, self._signatures, self._items, list(phases), maker, behind))
        self._details, self._signatures, self._items = [], {}, []
        return [RedactedReasoning(data)]

    def _collect(self, piece: OpaqueReasoning) -> None:
        if piece.call_signature:
            self._signatures[self._calls] = piece.call_signature
        if piece.item is not None:
            self._items.append(piece.item)
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
