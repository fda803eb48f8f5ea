"""Tokens: how long a prompt is where no tokenizer is at hand, and which of an engine's numbers can be a count."""

from __future__ import annotations

import re

IMAGE_TOKENS = 1_600
"""What Anthropic's documentation gives for a picture of about a megapixel; engines vary around it."""

MAX_TOKENS = 10**8
"""More than any window holds: a number beyond it is no count, and would make clients compact at once."""

_CLASSES = (
    (b"abcdefghijklmnopqrstuvwxyz", 0.21),
    (b" ", 0.08),
    (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1.1),
    (b"0123456789", 1.0),
    (bytes(range(0x80, 0xC0)), 0.0),  # the rest of a character, which counts by its first byte
    (b"\xd0\xd1", 0.32),  # Cyrillic
    (bytes(range(0xC0, 0xE0)), 0.5),  # Greek, Hebrew, Arabic, letters with accents
    (bytes(range(0xE0, 0xF0)), 0.6),  # Chinese, Japanese, Korean, Hindi, Thai, arrows and frames
    (bytes(range(0xF0, 0x100)), 2.4),  # emoji
)
"""What a byte of JSON adds to the tokens, by its class; what is in none is punctuation.

Fitted to prose in twelve languages, code, logs, tables, base64 and Claude Code's own requests, as the tokenizers of
GPT-5, Qwen 3.5, DeepSeek V4, Gemma 3 and Llama 3 count them: within 25 % of nearly all, where 3.8 bytes a token were
60 % off for base64, numbers and logs. Capitals and digits count for much because base64 and keys are made of them.
"""

_PUNCTUATION = 0.43

_SAMPLED_BLOCKS = 64
_BLOCK_BYTES = 256
_SCATTER = 2_654_435_761
"""Puts each block elsewhere in its part of a text, so that a text that repeats itself is not always met alike."""

PDF_TOKENS = 2_500
"""What Anthropic's documentation gives for a page, text and picture together."""

_PDF_BYTES = 100_000
"""Base64 of one page of a PDF; the number of pages is not known."""

# As the images and PDFs of our own requests are written: in OpenAI's two APIs, and in Ollama's messages. In text the
# quotes would be escaped.
_IMAGES = re.compile(
    rb'"(?:image_)?url":"data:[^,"]*;base64,[^"]*"|"(?P<pdf>file_data)":"[^"]*"|"role":"(?:user|tool)","images":\["[^]\\]*"\]'
)

_GIVEN_DATA = re.compile(rb'"data": ?"[A-Za-z0-9+/=]*"')
"""The bytes of an image or a document in a Messages request."""

_PROVES_LITTLE_TOKENS = 1_000
_CREDIBLE = (0.6, 4.0)


def estimate_tokens(body: bytes, *, holds_images: bool = True) -> int:
    """Return about how many tokens an upstream request body is; bytes of images count by picture, not by length.

    ``holds_images`` False: there are none, which saves a search.
    """
    if not holds_images:
        return _text_tokens(body)
    return _text_tokens(_IMAGES.sub(b"", body)) + image_tokens(body)


def image_tokens(body: bytes) -> int:
    """Return about how many tokens the images and PDFs of an upstream request body take."""
    tokens = 0
    for found in _IMAGES.finditer(body):
        if found["pdf"]:
            tokens += PDF_TOKENS * max(1, len(found[0]) // _PDF_BYTES)
        elif found[0].startswith(b'"role"'):
            tokens += IMAGE_TOKENS * (found[0].count(b'","', len(b'"role":"user","images":')) + 1)
        else:
            tokens += IMAGE_TOKENS
    return tokens


def estimate_raw_tokens(body: bytes, images: int) -> int:
    """Return about how many tokens a Messages request is that holds so many images and documents."""
    return _text_tokens(_GIVEN_DATA.sub(b"", body) if images else body) + images * IMAGE_TOKENS


def token_count(reported: int | None) -> int | None:
    """Return a reported count of tokens, or None for an impossible number: clients add the counts up."""
    return reported if reported is not None and 0 <= reported < MAX_TOKENS else None


class TokenScale:
    """How one model's counts compare with our estimates, learned from each of its answers.

    Tokenizers differ most in other languages than English: a small vocabulary takes three times as many tokens for
    Japanese as a large one. The last long prompt is the best sample, since the next one usually extends it.
    """

    def __init__(self) -> None:
        self._factor: float | None = None
        self._reported: tuple[int, int] | None = None
        """The estimate of a prompt that was refused, and its length as the refusal had it."""

    def tokens(self, estimate: int) -> int:
        """Return what the engine is likely to count."""
        if self._reported is not None and self._reported[0] == estimate:
            return self._reported[1]
        return round(estimate * (1.0 if self._factor is None else self._factor))

    def at_most(self, estimate: int) -> int:
        """Return a likely upper bound on the engine's count."""
        if self._reported is not None and self._reported[0] == estimate:
            return self._reported[1]
        return round(estimate * 2.0) if self._factor is None else round(estimate * self._factor * 1.3)

    def remember(self, estimate: int, reported: int) -> None:
        """Take the length that the engine reported when it refused a prompt, which is about to be sent again."""
        self._reported = (estimate, reported)

    def calibrate(self, estimate: int, counted: int | None) -> None:
        """Take what the engine counted for a prompt without images.

        Small prompts prove little. A count far below is one of a prompt that was cut, or without the cached part.
        """
        if counted is None or estimate < _PROVES_LITTLE_TOKENS:
            return
        factor = counted / estimate
        if _CREDIBLE[0] <= factor <= _CREDIBLE[1]:
            self._factor = factor


def _text_tokens(text: bytes) -> int:
    """Return about how many tokens a text is; of a long one by a sample from all of it: to read all takes too long."""
    step = len(text) // _SAMPLED_BLOCKS
    if step <= 2 * _BLOCK_BYTES:
        return round(_weight(text))
    room = step - _BLOCK_BYTES
    starts = [number * step + number * _SCATTER % room for number in range(_SAMPLED_BLOCKS)]
    sample = b"".join([text[start : start + _BLOCK_BYTES] for start in starts])
    return round(_weight(sample) * len(text) / len(sample))


def _weight(text: bytes) -> float:
    tokens = 0.0
    for members, weight in _CLASSES:
        rest = text.translate(None, members)
        tokens += (len(text) - len(rest)) * weight
        text = rest
    return tokens + len(text) * _PUNCTUATION
