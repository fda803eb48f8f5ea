"""Opaque reasoning: what only the service that made it can read, kept by clients in ``redacted_thinking`` blocks.

Some services want it back word for word with the conversation: OpenRouter its ``reasoning_details`` with signatures
and encrypted parts, Gemini the signature of each call, OpenAI's Responses API whole items with a cipher. The client has
no field for these and the bridge keeps nothing between requests, but clients send redacted thinking back as it came.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from claude_bridge.wire.anthropic import RedactedThinkingBlock

SEAL = "claude-bridge:"
"""How the data of our own blocks begins; Anthropic's never has a colon."""


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
