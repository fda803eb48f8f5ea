"""Tokens: how long a prompt is where no tokenizer is at hand, and which of an engine's numbers can be a count."""

from __future__ import annotations

import re
from threading import Lock

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
_WEIGHTS = (*(weight for _, weight in _CLASSES), _PUNCTUATION)

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


# --- counting what is new ---------------------------------------------------------------------------------------

_LEAST_KEPT_BYTES = 16 * 1024
_MOST_KEPT_BYTES = 2 * 1024 * 1024
_KEPT_BYTES = 8 * 1024 * 1024

_END = b"]}"
"""What closes the list of messages: the next prompt of a conversation goes on before it."""

Sizes = tuple[int, ...]
"""How many bytes are of each of the classes, punctuation last."""


class _CountedBeginnings:
    """The last prompts, so that of the next one of a conversation only what is new need be counted."""

    def __init__(self) -> None:
        self._known: list[tuple[bytes, Sizes]] = []
        """The newest last; all together take at most _KEPT_BYTES."""
        self._lock = Lock()

    def sizes(self, beginning: bytes) -> Sizes:
        """Return the sizes of a prompt without its end, and keep them."""
        found = next((one for one in reversed(self._known) if beginning.startswith(one[0])), None)
        sizes = _class_sizes(beginning[len(found[0]) :] if found else beginning)
        if found:
            sizes = _sum(found[1], sizes)
        with self._lock:
            known = [one for one in self._known if one is not found]
            known.append((beginning, sizes))
            while sum(len(one[0]) for one in known) > _KEPT_BYTES:
                del known[0]
            self._known = known
        return sizes


_beginnings = _CountedBeginnings()


def _text_tokens(text: bytes) -> int:
    if not _LEAST_KEPT_BYTES < len(text) < _MOST_KEPT_BYTES:
        return _tokens(_class_sizes(text))
    beginning = text[: -len(_END)]
    return _tokens(_sum(_beginnings.sizes(beginning), _class_sizes(text[len(beginning) :])))


def _class_sizes(text: bytes) -> Sizes:
    sizes: list[int] = []
    for members, _ in _CLASSES:
        rest = text.translate(None, members)
        sizes.append(len(text) - len(rest))
        text = rest
    return (*sizes, len(text))


def _sum(first: Sizes, second: Sizes) -> Sizes:
    return tuple(map(int.__add__, first, second))


def _tokens(sizes: Sizes) -> int:
    return round(sum(size * weight for size, weight in zip(sizes, _WEIGHTS, strict=True)))
