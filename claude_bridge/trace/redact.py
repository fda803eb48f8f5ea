"""Redactor: secrets and what names a person's device are taken out of an event once, before any sink sees it."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from claude_bridge.trace.events import (
    AnswerGrew,
    FirstToken,
    RequestReceived,
    RequestSent,
    StreamPiece,
    StreamsRecorded,
    TraceEvent,
    UpstreamAnswered,
)
from claude_bridge.trace.key_forms import key_spans, matches
from claude_bridge.wire.anthropic import MessagesRequest

REDACTED = "[redacted]"

# What people write where an engine asks for no key: words that a trace needs, and no secrets.
_NO_SECRETS = frozenset({"dummy", "empty", "lm-studio", "no-key", "none", "not-needed", "ollama", "test"})
_MIN_SECRET_CHARS = 8
"""Shorter ones would turn up in ordinary words."""

_MAX_SECRETS = 64

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Longer bodies are cut: a trace is read by people, and the work on it must have an end."""

_MAX_SEEN, _MAX_SEEN_BYTES = 16, 16 * 1024 * 1024
_MARGIN_BYTES = 4 * 1024
"""What is read beyond, so that a secret at the cut is seen whole."""

_BLOCK_BYTES = 64 * 1024

_CREDENTIALS = re.compile("auth|key|token|cookie|secret|password", re.IGNORECASE)
"""In the names of headers whose values are never shown."""

_PRIVATE_MARKS = (b"safeguards", b"deviceid", b"device_id", b"accountuuid", b"account_uuid", b"_account_")
_PRIVATE_KEY = re.compile("device|account", re.IGNORECASE)
_OLD_USER_ID = re.compile(r"user_.*_account_.*?_?(session_.*)", re.DOTALL)
_KNOWN_FIELDS = frozenset(MessagesRequest.__struct_encode_fields__)

_Value = TypeVar("_Value")
_Span = tuple[int, int]


class CleanEvent:
    """An event without its secrets, which are taken out when it is first asked for: once for all sinks."""

    def __init__(self, raw: TraceEvent, redactor: Redactor) -> None:
        self.raw = raw
        self.body_bytes = _body_bytes(raw)
        """About what it takes in memory."""
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


def _body_bytes(event: TraceEvent) -> int:
    match event:
        case RequestReceived(body=body) | RequestSent(body=body):
            return len(bytes(body))
        case StreamsRecorded(upstream=upstream, client=client):
            return sum([len(data) for _, data in (*upstream, *client)])
        case _:
            return 0


class Redactor:
    """Takes the given secrets, and what looks like a key, out of events."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._seen = _SeenBodies()
        self._texts: tuple[str, ...] = ()
        self._secrets: tuple[tuple[bytes, re.Pattern[bytes]], ...] = ()
        for secret in secrets:
            self.hide(secret)

    def hide(self, secret: str) -> None:
        """Take out this secret too; the last ``_MAX_SECRETS`` of them are kept."""
        secret = secret.strip()
        if len(secret) < _MIN_SECRET_CHARS or secret.lower() in _NO_SECRETS or secret in self._texts:
            return
        self._seen = _SeenBodies()
        self._texts = (*self._texts, secret)[-_MAX_SECRETS:]
        self._secrets = tuple(
            (_longest_plain_part(text), _anyhow_escaped(text))
            for text in sorted(self._texts, key=len, reverse=True)  # a secret may be part of another one
        )

    def redact(self, event: TraceEvent) -> TraceEvent:
        """Return the event without secrets; never raises.

        Every text, body and nested value is looked at, so a field that is added to an event is covered too. Bodies
        that are JSON stay JSON. The client's ``safeguards`` (local paths) and the device and account in its
        ``metadata.user_id`` are left out of request bodies.
        """
        match event:
            case RequestReceived():
                body, fields = self._redact_body(bytes(event.body))
                not_read = [name for name in fields if name not in _KNOWN_FIELDS]
                return replace(self._redact(replace(event, body=b"", not_read=not_read)), body=body)
            case RequestSent():
                headers = {
                    name: REDACTED if _CREDENTIALS.search(name) else value for name, value in event.headers.items()
                }
                body, _ = self._redact_body(bytes(event.body))
                return replace(self._redact(replace(event, body=b"", headers=headers)), body=body)
            case StreamsRecorded(upstream=upstream, client=client):
                if not self._spans(b"\n".join(_different_parts(upstream) | _different_parts(client))):
                    return event
                return replace(event, upstream=self._redact_pieces(upstream), client=self._redact_pieces(client))
            case UpstreamAnswered() | FirstToken() | AnswerGrew():
                return event  # numbers
            case _:
                return self._redact(event)

    def redact_text(self, text: str) -> str:
        """Return a text without secrets."""
        encoded = text.encode("utf-8", "surrogatepass")
        return _replaced(encoded, self._spans(encoded)).decode("utf-8", "surrogatepass")

    def _redact_body(self, body: bytes) -> tuple[bytes | Raw, Mapping[str, Raw]]:
        """Return the body, as Raw where it is one line of JSON for certain, and the fields that it had."""
        if len(body) > MAX_BODY_BYTES:
            beginning, _ = _without_private_fields(body[: MAX_BODY_BYTES + _MARGIN_BYTES])
            clean = _replaced(beginning, self._spans(beginning))
            return clean[:MAX_BODY_BYTES] + b"... (%d bytes in all)" % len(body), {}
        body, fields = _without_private_fields(body)
        spans, is_text = self._seen.look_into(body, self._spans)
        if spans:
            return _replaced(body, spans), fields
        is_line = bool(fields) and is_text and body.startswith(b"{") and b"\n" not in body and b"\r" not in body
        return Raw(body) if is_line else body, fields

    def _redact(self, event: TraceEvent) -> TraceEvent:
        """Return an event of short texts without secrets; most have none, which one search shows."""
        try:
            if not self._spans(msgspec.json.encode(event)):
                return event
        except UnicodeError:  # a lone surrogate
            pass
        return self._without_secrets(event)

    def _without_secrets(self, value: _Value) -> _Value:
        clean: Any = value
        match value:
            case bytes():
                clean = _replaced(value, self._spans(value))
            case str():
                clean = self.redact_text(value)
            case Raw():
                clean = Raw(self._without_secrets(bytes(value)))
            case list():
                clean = [self._without_secrets(item) for item in value]
            case dict():
                clean = {name: self._without_secrets(item) for name, item in value.items()}
            case Struct():
                clean = replace(
                    value, **{name: self._without_secrets(getattr(value, name)) for name in value.__struct_fields__}
                )
        return cast("_Value", clean)

    def _redact_pieces(self, pieces: list[StreamPiece]) -> list[StreamPiece]:
        """Return the pieces of a stream without secrets, those too that begin in one piece and end in another."""
        spans = self._spans(b"".join([data for _, data in pieces]))
        clean: list[StreamPiece] = []
        start = at = 0
        for after_s, data in pieces:
            end, kept, done = start + len(data), bytearray(), start
            while at < len(spans) and spans[at][0] < end:
                first, last = spans[at]
                kept += data[done - start : max(first, done) - start]
                kept += REDACTED.encode() if first >= start else b""
                done = min(last, end)
                if last > end:
                    break  # the rest of it is in the next piece
                at += 1
            clean.append((after_s, bytes(kept + data[done - start :])))
            start = end
        return clean

    def _spans(self, text: bytes) -> list[_Span]:
        """Return where secrets are, in their order and without overlaps."""
        found = [
            match.span()
            for plain_part, secret in self._secrets
            if plain_part in text
            for match in matches(secret, text)
        ]
        found += key_spans(text)
        spans: list[_Span] = []
        for start, end in sorted(found):
            if spans and start < spans[-1][1]:
                spans[-1] = spans[-1][0], max(spans[-1][1], end)
            else:
                spans.append((start, end))
        return spans


def redacted(text: str) -> str:
    """Return a text without what looks like a key."""
    return Redactor([]).redact_text(text)


def _different_parts(pieces: Sequence[StreamPiece]) -> set[bytes]:
    """Return what the frames of a stream differ in, and once what most of them share: a tenth of it, with all keys."""
    parts, shared = set[bytes](), b""
    block, size, last = list[bytes](), 0, len(pieces) - 1
    for at, (_, data) in enumerate(pieces):
        block.append(data)
        size += len(data)
        if size >= _BLOCK_BYTES or at == last:  # blocks that stay in the processor's cache
            whole = b"".join(block)
            shared = shared or (_shared_part(whole) if size > _MARGIN_BYTES else b"")
            name = shared.rfind(b'"', 0, max(0, shared.rfind(b'":"')))  # what is short is found much faster
            before, mark = shared[:name], shared[name:] or b"\n\n"
            parts.update([part.removesuffix(before) for part in whole.split(mark)])
            block, size = [whole[-_MARGIN_BYTES:]], 0
    parts.add(shared)
    return parts


def _shared_part(stream: bytes) -> bytes:
    """Return what stands between what two frames differ in: it begins and ends with a quotation mark."""
    line_break = b"\n\n" if b"\n\n" in stream else b"\n"
    first = stream.find(line_break, len(stream) // 2)
    second = stream.find(line_break, first + 2)
    third = stream.find(line_break, second + 2)
    if not 0 < first < second < third:
        return b""
    one, other = stream[first : min(second, first + 1024)], stream[second : min(third, second + 1024)]
    start = one[: one.rfind(b'"', 0, _same_bytes(one, other)) + 1]
    end = one[len(one) - _same_bytes(one, other, from_end=True) :]
    return end[end.find(b'"') :] + start if b'"' in end and b'":"' in start else b""


def _replaced(text: bytes, spans: Sequence[_Span]) -> bytes:
    if not spans:
        return text
    kept, done = [], 0
    for start, end in spans:
        kept += [text[done:start], REDACTED.encode()]
        done = end
    return b"".join([*kept, text[done:]])


class _SeenBodies:
    """The last body of each conversation and where secrets are in it: the next turn is nearly the same.

    Clients write the system prompt and the tools behind the messages, so that both ends of two turns are the same.
    """

    def __init__(self) -> None:
        self._bodies: deque[tuple[bytes, list[_Span], bool]] = deque()
        self._size = 0

    def look_into(self, body: bytes, find: Callable[[bytes], list[_Span]]) -> tuple[list[_Span], bool]:
        """Return where secrets are, and whether the body is UTF-8; only what is new is looked at."""
        start, end, known, was_text = 0, len(body), list[_Span](), True
        for seen in reversed(self._bodies) if len(body) > 4 * _MARGIN_BYTES else ():
            first, last, kept = _new_part(body, *seen[:2])
            if last - first < end - start:
                start, end, known, was_text = first, last, kept, seen[2]
            if end - start < len(body) * 0.1:
                self._forget(seen)  # it was the turn before
                break
        new = body[start:end]
        found = sorted([*known, *((first + start, last + start) for first, last in find(new))])
        is_text = was_text and (body.isascii() or _is_utf8(new))
        if 4 * _MARGIN_BYTES < len(body) <= _MAX_SEEN_BYTES // 2:
            self._bodies.append((body, found, is_text))
            self._size += len(body)
            while self._size > _MAX_SEEN_BYTES or len(self._bodies) > _MAX_SEEN:
                self._forget(self._bodies[0])
        return found, is_text

    def _forget(self, seen: tuple[bytes, list[_Span], bool]) -> None:
        self._bodies.remove(seen)
        self._size -= len(seen[0])


def _new_part(body: bytes, seen: bytes, spans: Sequence[_Span]) -> tuple[int, int, list[_Span]]:
    """Return the part of a body that another one does not have, and where secrets are known to be beside it.

    It begins and ends at quotation marks, which are never a part of another character, and some way beyond what is
    new. A secret that reaches into it is looked for again as a whole.
    """
    same = _same_bytes(body, seen)
    start = max(0, body.rfind(b'"', 0, max(0, same - _MARGIN_BYTES)))
    start = next((first for first, last in spans if first < start < last + _MARGIN_BYTES), start)
    behind = min(_same_bytes(body, seen, from_end=True), len(body) - same, len(seen) - same) - _MARGIN_BYTES
    end = body.find(b'"', len(body) - behind) if behind > 0 else -1
    further = len(body) - len(seen)
    end = len(body) if end < 0 else end
    end = next((last + further for first, last in reversed(spans) if first < end - further < last), end)
    known = [span for span in spans if span[1] <= start]
    return start, end, known + [(first + further, last + further) for first, last in spans if first + further >= end]


def _same_bytes(one: bytes, other: bytes, *, from_end: bool = False) -> int:
    """Return how many bytes both begin with, or end in."""
    same, most = 0, min(len(one), len(other))
    for block in (64 * 1024, 4 * 1024, 256, 16, 1):
        while same + block <= most and (
            one[len(one) - same - block : len(one) - same] == other[len(other) - same - block : len(other) - same]
            if from_end
            else one[same : same + block] == other[same : same + block]
        ):
            same += block
    return same


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


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


def _without_private_fields(body: bytes) -> tuple[bytes, Mapping[str, Raw]]:
    """Return a request body without what names the user's device, account or folders, and the fields that it had."""
    try:
        given = dict(msgspec.json.decode(body, type=dict[str, Raw]))
    except (ValueError, RecursionError):
        return _without_private_fields_slowly(body), {}
    fields: dict[str, Any] = dict(given)
    changed = fields.pop("safeguards", None) is not None
    if "metadata" in fields:
        try:
            metadata = msgspec.json.decode(fields["metadata"])
        except (ValueError, RecursionError):
            metadata = None
        anonymous = _anonymous_metadata(metadata)
        if anonymous != metadata or metadata is None:
            fields["metadata"], changed = anonymous, True
    return msgspec.json.encode(fields) if changed else body, given


def _without_private_fields_slowly(body: bytes) -> bytes:
    """Do the same for what msgspec refuses: lone surrogates, which clients do send, and bodies that are no JSON."""
    marks = []
    for start in range(0, len(body), _BLOCK_BYTES):  # in steps, beside which other threads run
        lowered = body[start : start + _BLOCK_BYTES + 16].lower()
        marks += [start + at for at in map(lowered.find, _PRIVATE_MARKS) if at >= 0]
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
