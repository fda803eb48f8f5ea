"""Opaque reasoning: what only the service that made it can read, kept by clients in ``redacted_thinking`` blocks.

Some services want it back word for word with the conversation: OpenRouter its ``reasoning_details`` with signatures
and encrypted parts, Gemini the signature of each call, OpenAI's Responses API whole items with a cipher. The client has
no field for these and the bridge keeps nothing between requests, but clients send redacted thinking back as it came.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

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
from claude_bridge.wire.anthropic import RedactedThinkingBlock

SEAL = "claude-bridge:"
"""How the data of our own blocks begins; Anthropic's never has a colon."""

_GROWING_FIELDS = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""Types of details that come in pieces, and the field that grows; a signature comes with the last piece."""


class Unsealed(Struct, frozen=True, omit_defaults=True):
    """What the blocks of one turn hold: details in their order, and signatures by the number of the turn's call.

    ``items`` are whole reasoning items, which only their ``maker`` can read, and only behind the prompt with the digest
    ``behind``, and the searches between them; ``phases`` are what it called the texts before this block, the last one
    last.
    """

    details: list[dict[str, Any]] = []
    signatures: dict[int, str] = {}
    items: list[dict[str, Any]] = []
    phases: list[str] = []
    maker: str = ""
    behind: str = ""


def is_ours(block: RedactedThinkingBlock) -> bool:
    """Return whether the bridge made this block, and not Anthropic."""
    return block.data.startswith(SEAL)


def seal(unsealed: Unsealed) -> str:
    """Return the data of a block that holds this."""
    return SEAL + msgspec.json.encode(unsealed).decode()


def unseal(blocks: Iterable[object]) -> Unsealed:
    """Return what our own blocks among these hold; a block that was changed on its way holds nothing."""
    details: list[dict[str, Any]] = []
    signatures: dict[int, str] = {}
    for block in blocks:
        if isinstance(block, RedactedThinkingBlock):
            held = unseal_block(block)
            details += held.details
            signatures |= held.signatures
    return Unsealed(details, signatures)


def unseal_block(block: RedactedThinkingBlock) -> Unsealed:
    """Return what one block holds: nothing if it is not ours, or was changed on its way."""
    held = block.data.removeprefix(SEAL)
    if held == block.data:
        return Unsealed()
    try:
        document = held.encode() if held.startswith("{") else b64decode(held)  # the latter is how it was sealed before
        return msgspec.json.decode(document, type=Unsealed)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Unsealed()


def hosted_call_id(item: dict[str, Any]) -> str:
    """Return the id by which the client knows a call that the service ran itself."""
    known = str(item.get("id") or blake2b(msgspec.json.encode(item), digest_size=12).hexdigest())
    return "srvtoolu_" + re.sub(r"[^A-Za-z0-9_]", "_", known.removeprefix("ws_"))[:80]


def usual_phase(*, is_before_call: bool) -> str:
    """Return what OpenAI's models mean by a text where they did not say it."""
    return "commentary" if is_before_call else "final_answer"


def reasoning_digest(block: RedactedThinkingBlock) -> bytes:
    """Return what a block of sealed reasoning is known by."""
    return blake2b(block.data.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class ReasoningSealer(Stage):
    """Collects opaque reasoning and emits it as one block before the next text or call, or at the end.

    What the engine called its texts is kept only where it is not what ``usual_phase`` would call them.
    """

    def __init__(self, maker: str = "", prompt_digest: Callable[[], str] = lambda: "") -> None:
        """``maker`` is the service and the model whose items these are; ``prompt_digest`` names their prompt."""
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
        """Return whether text passes unchanged: nothing is collected, and nothing is to be noted of it."""
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
