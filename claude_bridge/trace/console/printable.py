"""Text from models, users and engines made harmless to a terminal, and figures made short."""

from __future__ import annotations

import re

# Control characters (C0 but line feed, DEL, C1), what turns or hides text (bidirectional controls, zero-width and
# tag characters), and lone surrogates, which can't be written at all. Joiners stay: Persian and emoji need them.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
NO_BREAK = "\u00a0"
"""Stands between a figure and its unit, so that they stay in one row; shown as a blank."""

_PLAIN_FORMS = {"\t": "    ", "\r": "", "\u2028": "\n", "\u2029": "\n"}


def printable(text: str) -> str:
    r"""Return the text with each character that could steer a terminal spelled out, such as ``\x1b``.

    Line feeds stay; tabs become spaces.
    """
    return _UNSAFE.sub(_spelled_out, text)


def one_line(text: str) -> str:
    """Return the text without line breaks and runs of blanks."""
    return " ".join(text.split())


def shortened(text: str, max_chars: int) -> str:
    """Return the text, cut with an ellipsis where it is longer than ``max_chars``."""
    return text if len(text) <= max_chars else text[: max_chars - 1].rstrip() + "…"


def size(n_bytes: int) -> str:
    """Return a number of bytes, such as ``76 kB``."""
    if n_bytes < 1000:
        return f"{n_bytes}{NO_BREAK}B"
    if n_bytes < 999_500:
        return f"{n_bytes / 1000:.1f}{NO_BREAK}kB" if n_bytes < 9_950 else f"{n_bytes / 1000:.0f}{NO_BREAK}kB"
    return f"{n_bytes / 1_000_000:.1f}{NO_BREAK}MB"


def seconds(duration_s: float) -> str:
    """Return a duration with the digits that matter, such as ``310 ms``, ``3.9 s`` or ``2 min 05 s``."""
    if duration_s < 0.9995:
        return f"{max(duration_s, 0) * 1000:.0f}{NO_BREAK}ms"
    if duration_s < 9.95:
        return f"{duration_s:.1f}{NO_BREAK}s"
    if duration_s < 119.5:
        return f"{duration_s:.0f}{NO_BREAK}s"
    minutes, rest = divmod(round(duration_s), 60)
    return f"{minutes}{NO_BREAK}min{NO_BREAK}{rest:02}{NO_BREAK}s"


def rate(tokens: int, duration_s: float) -> str:
    """Return a speed, such as ``84 tokens/s``; slow engines get a decimal."""
    speed = tokens / duration_s
    return f"{speed:,.0f}{NO_BREAK}tokens/s" if speed >= 9.95 else f"{speed:.1f}{NO_BREAK}tokens/s"


def counted(number: int, noun: str) -> str:
    """Return the number with its noun, such as ``1 tool`` or ``24 tools``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _spelled_out(match: re.Match[str]) -> str:
    char = match[0]
    if char in _PLAIN_FORMS:
        return _PLAIN_FORMS[char]
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
