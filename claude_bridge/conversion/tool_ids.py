"""Ids of tool calls that an engine accepts, in place of those that clients and other engines made."""

from __future__ import annotations

from hashlib import sha256

_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


def fit_tool_id(tool_id: str, length: int | None) -> str:
    """Return the id with exactly ``length`` letters and digits (None: as it is), always the same for the same id."""
    if length is None or (len(tool_id) == length and tool_id.isascii() and tool_id.isalnum()):
        return tool_id
    number = int.from_bytes(sha256(tool_id.encode(errors="surrogatepass")).digest(), "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_LETTERS))
        digits.append(_LETTERS[digit])
    return "".join(digits)
