"""Tokens: how long a prompt is where no tokenizer is at hand, and which of an engine's numbers can be a count.

Claude Code's own requests, counted with a small model's tokenizer, give 3.8 bytes of JSON a token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

BYTES_PER_TOKEN = 3.8
IMAGE_TOKENS = 1_600
"""What Anthropic's documentation gives for a picture of about a megapixel; engines vary around it."""

MAX_TOKENS = 10**8
"""More than any window holds: a number beyond it is no count, and would make clients compact at once."""

# As the images of our own requests are written: in Chat Completions, and in Ollama's messages. In text the quotes
# would be escaped.
_IMAGES = re.compile(rb'"url":"data:[^,"]*;base64,[^"]*"|"role":"(?:user|tool)","images":\["[^]\\]*"\]')


def estimate_tokens(body: bytes, *, holds_images: bool = True) -> int:
    """Return about how many tokens an upstream request body is; bytes of images count by picture, not by length.

    ``holds_images`` False says that there are none, which saves a search.
    """
    if not holds_images:
        return round(len(body) / BYTES_PER_TOKEN)
    image_bytes = images = 0
    for found in _IMAGES.finditer(body):
        image_bytes += found.end() - found.start()
        images += found[0].count(b'","', len(b'"role":"user","images":')) + 1 if found[0].startswith(b'"role"') else 1
    return round((len(body) - image_bytes) / BYTES_PER_TOKEN) + images * IMAGE_TOKENS


def estimate_given_tokens(body: bytes, images: Sequence[int]) -> int:
    """Return about how many tokens a Messages request is; ``images`` says how many of its bytes each one takes."""
    return round((len(body) - sum(images)) / BYTES_PER_TOKEN) + len(images) * IMAGE_TOKENS


def token_count(told: int | None) -> int | None:
    """Return what an engine told as a count of tokens, or None for a number that can be none: clients add them up."""
    return told if told is not None and 0 <= told < MAX_TOKENS else None
