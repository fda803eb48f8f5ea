"""Redactor: secrets and what names a person's device are taken out of an event once, before any sink sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Raw, Struct

from claude_bridge.trace.events import (
    AnswerGrew,
    ClientLeft,
    FirstToken,
    PromptCut,
    RequestQueued,
    RequestReceived,
    RequestSent,
    TraceEvent,
    UpstreamAnswered,
    WaitingForUpstream,
)

REDACTED = "[redacted]"

WITHOUT_FOREIGN_TEXT = (
    AnswerGrew,
    ClientLeft,
    FirstToken,
    PromptCut,
    RequestQueued,
    UpstreamAnswered,
    WaitingForUpstream,
)
"""Events that hold numbers and our own id only: nothing to redact, and some come by the thousand."""

# What people write where an engine asks for no key: words that a trace needs, and no secrets.
_NO_SECRETS = frozenset({"dummy", "empty", "lm-studio", "no-key", "none", "not-needed", "ollama", "test"})
_MIN_SECRET_CHARS = 8
"""Shorter ones would turn up in ordinary words."""

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Longer bodies are cut: a trace is read by people, and the work on it must have an end."""

_MARGIN_BYTES = 4 * 1024
"""What is read beyond, so that a secret at the cut is seen whole."""

# What looks like a key; group 1 is taken out. The patterns run on lower-cased bytes, and each begins with a literal,
# which lets ``re`` skip ahead at the speed of a plain search: about a millisecond for a megabyte each.
_PLAIN_KEY = re.compile(rb"sk-[a-z0-9_-]{8,}")
_HAS_DIGIT_EARLY = re.compile(rb"sk-[a-z_-]{0,15}[0-9]")
_KEY_SHAPES = (
    *(re.compile(rb"(%b[a-z0-9_-]{8,})" % p) for p in (b"sk-ant-", b"sk-proj-", b"sk-or-", b"gsk_", b"xai-", b"hf_")),
    *(re.compile(rb"(%b[a-z0-9_-]{16,})" % prefix) for prefix in (b"aiza", b"ghp_", b"github_pat_")),
    re.compile(rb"bearer +((?:[a-z0-9._~+/=-]{16,}|(?=[a-z._~+/=-]{0,15}[0-9])[a-z0-9._~+/=-]{6,}))"),
    re.compile(rb"x-api-key[\"'\\]*\s*[:=][\s\"'\\]*([^\s\"'\\,;${<\[]{4,})"),
    re.compile(rb"://[^\s\"'\\/:@]*:([^\s\"'\\/@]{1,256})@"),
)
# "task-…" is no key, but "\nsk-…" is one, and so is one behind a colour code.
_MAY_STAND_BEFORE_KEY = re.compile(rb"(?:^|[^a-z0-9]|\\[nrtbf]|\\u[0-9a-f]{4}|\[[0-9;]*m)\Z")

_PRIVATE_MARKS = (b"safeguards", b"deviceid", b"device_id", b"accountuuid", b"account_uuid", b"_account_")
_OLD_USER_ID = re.compile(r"user_.*_account_.*?_?(session_.*)", re.DOTALL)

_Value = TypeVar("_Value")


class CleanEvent:
    """An event without its secrets, which are taken out when it is first asked for: once for all sinks."""

    def __init__(self, raw: TraceEvent, redactor: Redactor) -> None:
        self.raw = raw
        self._redactor = redactor
        self._clean: TraceEvent | None = None
        self._lock = Lock()

    def of(self, other: TraceEvent) -> CleanEvent:
        """Return another event with the same redactor."""
        return CleanEvent(other, self._redactor)

    def event(self) -> TraceEvent:
        """Return the event; may be called from several threads."""
        with self._lock:
            if self._clean is None:
                self._clean = self._redactor.redact(self.raw)
            return self._clean


class Redactor:
    """Takes the given secrets, and what looks like a key, out of events."""

    def __init__(self, secrets: Sequence[str]) -> None:
        wanted = {secret.strip() for secret in secrets}
        self._secrets = tuple(
            (_longest_plain_part(secret), _anyhow_escaped(secret))
            for secret in sorted(wanted, key=len, reverse=True)  # a secret may be part of another one
            if len(secret) >= _MIN_SECRET_CHARS and secret.lower() not in _NO_SECRETS
        )

    def redact(self, event: TraceEvent) -> TraceEvent:
        """Return the event without secrets; never raises.

        Every text, body and nested value is looked at, so a field that is added to an event is covered too. Bodies
        that are JSON stay JSON. The client's ``safeguards`` (local paths) and the device and account in its
        ``metadata.user_id`` are left out of request bodies.
        """
        if isinstance(event, WITHOUT_FOREIGN_TEXT):
            return event
        if isinstance(event, RequestReceived | RequestSent):
            event = msgspec.structs.replace(event, body=self._redact_body(event.body))
        return self._redact(event)

    def _redact_body(self, body: bytes) -> bytes:
        if len(body) <= MAX_BODY_BYTES:
            return _without_private_fields(body)
        beginning = self._redact_bytes(_without_private_fields(body[: MAX_BODY_BYTES + _MARGIN_BYTES]))
        return beginning[:MAX_BODY_BYTES] + b"... (%d bytes in all)" % len(body)

    def _redact(self, value: _Value) -> _Value:
        clean: Any = value
        match value:
            case bytes():
                clean = self._redact_bytes(value)
            case str():
                encoded = value.encode("utf-8", "surrogatepass")
                clean = self._redact_bytes(encoded).decode("utf-8", "surrogatepass")
            case Raw():
                clean = Raw(self._redact_bytes(bytes(value)))
            case list():
                clean = [self._redact(item) for item in value]
            case Struct():
                fields = {name: self._redact(getattr(value, name)) for name in value.__struct_fields__}
                clean = msgspec.structs.replace(value, **fields)
        return cast("_Value", clean)

    def _redact_bytes(self, text: bytes) -> bytes:
        for plain_part, secret in self._secrets:
            if plain_part in text:
                text = secret.sub(REDACTED.encode(), text)
        lowered = text.lower()  # of bytes: only ASCII changes, so places stay the same
        spans = sorted(_key_spans(lowered))
        if not spans:
            return text
        kept, end = [], 0
        for start, stop in spans:
            if start >= end:
                kept += [text[end:start], REDACTED.encode()]
            end = max(end, stop)
        return b"".join([*kept, text[end:]])


def _key_spans(lowered: bytes) -> Iterator[tuple[int, int]]:
    for shape in _KEY_SHAPES:
        for match in shape.finditer(lowered):
            yield match.span(1)
    for match in _PLAIN_KEY.finditer(lowered):
        start, end = match.span()
        is_key = end - start >= 3 + 16 or _HAS_DIGIT_EARLY.match(lowered, start, end)
        if is_key and _MAY_STAND_BEFORE_KEY.search(lowered[max(0, start - 12) : start]):
            yield start, end


def _longest_plain_part(secret: str) -> bytes:
    """Return the longest part of a secret that no serializer escapes: where it is not, the secret is not."""
    parts: list[str] = re.findall(r"[A-Za-z0-9_.-]*", secret)
    return max(parts, key=len).encode()


def _anyhow_escaped(secret: str) -> re.Pattern[bytes]:
    """Return a pattern for the secret as it is, and as JSON escapes it, alone or within JSON texts in JSON."""
    return re.compile(b"".join(map(_anyhow_escaped_char, secret)))


_ESCAPE_LETTERS = {"\b": b"b", "\f": b"f", "\n": b"n", "\r": b"r", "\t": b"t"}


def _anyhow_escaped_char(char: str) -> bytes:
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


def _without_private_fields(body: bytes) -> bytes:
    """Return a request body without what names the user's device, account or folders."""
    try:
        fields: dict[str, Any] = dict(msgspec.json.decode(body, type=dict[str, Raw]))
    except (ValueError, RecursionError):
        return _without_private_fields_slowly(body)
    changed = fields.pop("safeguards", None) is not None
    if "metadata" in fields:
        try:
            metadata = msgspec.json.decode(fields["metadata"])
        except (ValueError, RecursionError):
            metadata = None
        anonymous = _anonymous_metadata(metadata)
        if anonymous != metadata or metadata is None:
            fields["metadata"], changed = anonymous, True
    return msgspec.json.encode(fields) if changed else body


def _without_private_fields_slowly(body: bytes) -> bytes:
    """Do the same for what msgspec refuses: lone surrogates, which clients do send, and bodies that are no JSON."""
    lowered = body.lower()
    marks = [at for at in map(lowered.find, _PRIVATE_MARKS) if at >= 0]
    if not marks:
        return body
    try:
        fields = json.loads(body)
        if not isinstance(fields, dict):
            return body
        fields.pop("safeguards", None)
        if "metadata" in fields:
            fields["metadata"] = _anonymous_metadata(fields["metadata"])
        return json.dumps(fields).encode()
    except (ValueError, RecursionError):
        return body[: min(marks)] + REDACTED.encode()


def _anonymous_metadata(metadata: object) -> object:
    if not isinstance(metadata, dict) or not isinstance(metadata.get("user_id"), str):
        return metadata
    return metadata | {"user_id": _anonymous_user_id(metadata["user_id"])}


def _anonymous_user_id(user_id: str) -> str:
    """Return what of a user id names neither device nor account: the session.

    Claude Code sends a JSON text with device_id, account_uuid and session_id; before version 2 it was
    ``user_DEVICE_account_UUID_session_UUID``.
    """
    try:
        parts = json.loads(user_id)
    except (ValueError, RecursionError):
        parts = None
    if isinstance(parts, dict):
        kept = {key: part for key, part in parts.items() if not _PRIVATE_KEY.search(key)}
        return json.dumps(kept, separators=(",", ":"))
    old = _OLD_USER_ID.fullmatch(user_id)
    return old[1] if old else user_id


_PRIVATE_KEY = re.compile("device|account", re.IGNORECASE)
