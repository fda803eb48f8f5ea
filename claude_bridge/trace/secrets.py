"""Secrets: takes out of texts the secrets that are known, however they are written, and what looks like a key."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence

from claude_bridge.trace.key_forms import KEY_FORMS, KeyForm, Span, by_sieve, find_keys

REDACTED = "[redacted]"

# What people write where an engine asks for no key: words that a trace needs, and no secrets.
_NO_SECRETS = frozenset({"dummy", "empty", "lm-studio", "no-key", "none", "not-needed", "ollama", "test"})
_MIN_SECRET_CHARS = 8
"""Shorter ones would turn up in ordinary words."""

_MAX_SECRETS = 64
_KEY_FORMS = by_sieve(KEY_FORMS)


class Secrets:
    """The known secrets, such as the engines' keys, and the forms of keys."""

    def __init__(self, known: Sequence[str] = ()) -> None:
        self._known: tuple[str, ...] = ()
        self._forms = _KEY_FORMS
        for secret in known:
            self.add(secret)

    def add(self, secret: str) -> bool:
        """Take out this secret too, and return whether it is new; the last ``_MAX_SECRETS`` of them are kept."""
        secret = secret.strip()
        if len(secret) < _MIN_SECRET_CHARS or secret.lower() in _NO_SECRETS or secret in self._known:
            return False
        self._known = (*self._known, secret)[-_MAX_SECRETS:]
        self._forms = by_sieve([*(form for known in self._known for form in _forms_of(known)), *KEY_FORMS])
        return True

    def spans(self, text: bytes) -> list[Span]:
        """Return where secrets are, in their order and without overlaps."""
        return merged(find_keys(text, self._forms))

    def without(self, text: str) -> str:
        """Return a text without secrets, and without lone surrogates, which no file and no terminal takes."""
        encoded = text.encode("utf-8", "surrogatepass")
        return replaced(encoded, self.spans(encoded)).decode("utf-8", "replace")


def redacted(text: str) -> str:
    """Return a text without what looks like a key."""
    return Secrets().without(text)


def merged(found: Iterable[Span]) -> list[Span]:
    """Return places in their order and without overlaps."""
    spans: list[Span] = []
    for start, end in sorted(found):
        if spans and start < spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], end)
        else:
            spans.append((start, end))
    return spans


def replaced(text: bytes, spans: Sequence[Span]) -> bytes:
    """Return a text with a mark in place of these parts."""
    if not spans:
        return text
    kept, done = [], 0
    for start, end in spans:
        kept += [text[done:start], REDACTED.encode()]
        done = end
    return b"".join([*kept, text[done:]])


def _forms_of(secret: str) -> Iterator[KeyForm]:
    """Yield the forms of a known secret: as it is, as JSON escapes it (alone or within JSON texts), and in base64."""
    plain_parts: list[str] = re.findall(r"[A-Za-z0-9_.-]*", secret)
    escaped = b"".join(map(_anyhow_escaped, secret))
    # No serializer escapes the longest plain part: where it is not, the secret is not.
    yield KeyForm(max(plain_parts, key=len).encode(), re.compile(b"(%b)" % escaped), is_exact=True)
    data = secret.encode("utf-8", "surrogatepass")
    for before in range(3):  # what stands before it decides how it falls into groups of three bytes
        whole_bytes = (before + len(data)) // 3 * 3 - before
        in_base64 = b64encode(bytes(before) + data[:whole_bytes])[(0, 2, 3)[before] :]
        yield KeyForm(in_base64, re.compile(b"(%b[A-Za-z0-9+/]{0,3}=*)" % re.escape(in_base64)), is_exact=True)


_ESCAPE_LETTERS = {"\b": b"b", "\f": b"f", "\n": b"n", "\r": b"r", "\t": b"t"}


def _anyhow_escaped(char: str) -> bytes:
    if char.isascii() and (char.isalnum() or char in "-_."):
        return re.escape(char).encode()
    literal = re.escape(char.encode("utf-8", "surrogatepass"))
    units = char.encode("utf-16-be", "surrogatepass")
    codes = [units[at : at + 2].hex().encode() for at in range(0, len(units), 2)]
    as_code = b"".join(rb"\\{1,8}u(?i:%b)" % code for code in codes)
    if char == "\\":
        return rb"(?:\\{8}|\\{4}|\\{2}|\\|%b)" % as_code
    if char in _ESCAPE_LETTERS:
        as_code += rb"|\\{1,8}%b" % _ESCAPE_LETTERS[char]
    return rb"(?:\\{0,7}%b|%b)" % (literal, as_code)
