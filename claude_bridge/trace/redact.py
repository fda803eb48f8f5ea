"""Redactor: secrets and what names a person's device are taken out of an event once, before any sink sees it."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from threading import Lock
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from claude_bridge.trace.events import (
    AnswerGrew,
    ExchangeEnded,
    FirstToken,
    RequestReceived,
    RequestSent,
    StreamBlock,
    StreamReads,
    StreamsRecorded,
    TraceEvent,
    UpstreamAnswered,
)
from claude_bridge.trace.key_forms import Span
from claude_bridge.trace.parts import members, parsed
from claude_bridge.trace.secrets import REDACTED, Secrets, merged, replaced
from claude_bridge.trace.seen_bodies import SeenBodies
from claude_bridge.trace.stream_text import blocks_of, searched_text, unlike_frames
from claude_bridge.wire.anthropic import MessagesRequest
from claude_bridge.wire.lenient_json import read_or_none

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Longer bodies are cut: a trace is read by people, and the work on it must have an end."""

_MARGIN_BYTES = 4 * 1024
"""What is read beyond, so that a secret at the cut is seen whole."""

_CREDENTIALS = re.compile("auth|key|token|cookie|secret|password", re.IGNORECASE)
"""In the names of headers whose values are never shown."""

_SOME_TEXT = re.compile(rb'[^"\\]{0,65536}(?:\\.[^"\\]{0,16}){0,4096}', re.DOTALL)
"""A text in JSON, or the next part of a long one: other threads can't run beside one match."""

_MEMBER = re.compile(rb'"(\w{1,99})": ?"(%b)' % _SOME_TEXT.pattern, re.DOTALL)
"""A text in a JSON object, and the name that it has there."""

_KNOWN_FIELDS = frozenset(MessagesRequest.__struct_encode_fields__)
_KINDS_WITH_PRIVATE_FIELDS = ("", "anthropic-messages")
_MAX_ANSWERS = 100

_Value = TypeVar("_Value")


class Redactor:
    """Takes the given secrets, and what looks like a key, out of events."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._lock = Lock()
        self._secrets = Secrets(secrets)
        self._seen = SeenBodies()
        self._clean_answers: deque[str] = deque(maxlen=_MAX_ANSWERS)
        """The exchanges whose answers hold no secret: so none stands in pieces in the frames of their streams."""

    def hide(self, secret: str) -> None:
        """Take out this secret too."""
        if self._secrets.add(secret):
            self._seen = SeenBodies()
            self._clean_answers.clear()

    def redact(self, event: TraceEvent) -> TraceEvent:
        """Return the event without secrets; never raises, and may be called from any thread.

        Every text, body and nested value is looked at, so a field that is added to an event is covered too. Bodies
        that are JSON stay JSON. The client's ``safeguards`` (local paths) and the device and account in its
        ``metadata.user_id`` are left out of request bodies.
        """
        with self._lock:
            return self._redact(event)

    def _redact(self, event: TraceEvent) -> TraceEvent:
        match event:
            case RequestReceived(body=body):
                body, fields = self._redact_body(body, may_be_private=True)
                not_read = [name for name in fields if name not in _KNOWN_FIELDS]
                return replace(self._redact_texts(replace(event, not_read=not_read, body=b"")), body=body)
            case RequestSent(body=body, kind=kind):
                body, _ = self._redact_body(body, may_be_private=kind in _KINDS_WITH_PRIVATE_FIELDS)
                headers = {
                    name: REDACTED if _CREDENTIALS.search(name) else value for name, value in event.headers.items()
                }
                return replace(self._redact_texts(replace(event, headers=headers, body=b"")), body=body)
            case StreamsRecorded(upstream=StreamReads() as upstream, client=StreamReads() as client):
                is_clean = event.exchange in self._clean_answers
                return replace(
                    event,
                    upstream=self._redact_stream(upstream, may_have_pieces=not is_clean),
                    client=self._redact_stream(client, may_have_pieces=not is_clean),
                )
            case UpstreamAnswered() | FirstToken() | AnswerGrew() | StreamsRecorded():
                return event  # numbers, and what is clean by now
        redacted = self._redact_texts(event)
        # After a stop sequence, the stream has texts that the answer does not have.
        if isinstance(event, ExchangeEnded) and redacted is event and event.message.stop_reason != "stop_sequence":
            self._clean_answers.append(event.exchange)
        return redacted

    def _redact_texts(self, event: _Value) -> _Value:
        """Return an event without the secrets in its texts: itself, where there are none."""
        try:
            if not self._secrets.spans(msgspec.json.encode(event)):
                return event  # nearly always
        except UnicodeError:  # a lone surrogate
            pass
        return self._without_secrets(event)

    def _redact_body(self, body: bytes, *, may_be_private: bool) -> tuple[bytes, Collection[str]]:
        """Return a body without secrets, and the fields that it has, where they are known."""
        if len(body) > MAX_BODY_BYTES:
            beginning, _ = _without_private_fields(body[: MAX_BODY_BYTES + _MARGIN_BYTES])
            kept = replaced(beginning, self._secrets.spans(beginning))[:MAX_BODY_BYTES]
            return kept + b"... (%d bytes in all)" % len(body), ()
        fields: Collection[str] = ()
        if may_be_private:
            body, fields = _without_private_fields(body)
        if self._secrets.spans(self._seen.new_part(body)) and (spans := self._secrets.spans(body)):
            return replaced(body, spans), fields
        self._seen.add(body)
        return body, fields

    def _without_secrets(self, value: _Value) -> _Value:
        clean: Any = value
        match value:
            case bytes():
                clean = replaced(value, self._secrets.spans(value))
            case str():
                clean = self._secrets.without(value)
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

    def _redact_stream(self, stream: StreamReads, *, may_have_pieces: bool) -> list[StreamBlock]:
        blocks = blocks_of(stream)
        if not may_have_pieces and not self._has_secrets(blocks):
            return blocks  # nearly always
        whole = b"".join(stream.data)
        spans = merged([*self._secrets.spans(whole), *self._spans_in_pieces(whole)])
        return blocks_of(StreamReads(list(_without(spans, stream.data)), stream.after_s)) if spans else blocks

    def _has_secrets(self, blocks: Sequence[StreamBlock]) -> bool:
        """Return whether a stream may hold a secret, also one in pieces in frames that add nothing to the answer."""
        return bool(self._secrets.spans(searched_text(blocks)) or self._spans_in_pieces(unlike_frames(blocks)))

    def _spans_in_pieces(self, stream: bytes) -> list[Span]:
        """Return where the pieces of secrets are of which each frame has some characters in a field of one name."""
        found: list[Span] = []
        members: dict[bytes, list[Span]] = {}
        for match in _MEMBER.finditer(stream):
            start, end = match.span(2)
            while (part := _SOME_TEXT.match(stream, end)) and part.end() > end:
                end = part.end()
            members.setdefault(match[1], []).append((start, end))
        for parts in members.values():
            ends = list(accumulate(end - start for start, end in parts))
            for first, last in self._secrets.spans(b"".join([stream[start:end] for start, end in parts])):
                at = bisect_right(ends, first)
                while at < len(parts) and (shift := parts[at][1] - ends[at]) + last > parts[at][0]:
                    found.append((max(first + shift, parts[at][0]), min(last + shift, parts[at][1])))
                    at += 1
        return found


def _without(spans: Sequence[Span], reads: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the reads of a stream without these parts of it, those too that begin in one read and end in another."""
    start = at = 0
    for data in reads:
        end, kept, done = start + len(data), bytearray(), start
        while at < len(spans) and spans[at][0] < end:
            first, last = spans[at]
            kept += data[done - start : max(first, done) - start]
            kept += REDACTED.encode() if first >= start else b""
            done = min(last, end)
            if last > end:
                break  # the rest of it is in the next read
            at += 1
        yield bytes(kept + data[done - start :])
        start = end


# --- what names the device, the account or the folders of a client's user ---------------------------------------------

_PRIVATE_MARKS = (b"safeguards", b"deviceid", b"device_id", b"accountuuid", b"account_uuid", b"_account_")
_PRIVATE_KEY = re.compile("device|account", re.IGNORECASE)
_OLD_USER_ID = re.compile(r"user_.*_account_.*?_?(session_.*)", re.DOTALL)
_BLOCK_BYTES = 64 * 1024


def _without_private_fields(body: bytes) -> tuple[bytes, Mapping[str, Raw]]:
    """Return a request body without what names the user's device, account or folders, and the fields that it had."""
    given = members(body)
    if not given:
        return _without_private_fields_slowly(body), {}
    fields: dict[str, Any] = dict(given)
    changed = fields.pop("safeguards", None) is not None
    if "metadata" in fields:
        metadata = parsed(fields["metadata"])
        anonymous = _anonymous_metadata(metadata)
        if anonymous != metadata or metadata is None:
            fields["metadata"], changed = anonymous, True
    return msgspec.json.encode(fields) if changed else body, given


def _without_private_fields_slowly(body: bytes) -> bytes:
    """Do the same for what msgspec refuses: lone surrogates, which clients do send, and bodies that are no JSON."""
    marks = []
    for start in range(0, len(body), _BLOCK_BYTES):  # in steps, so that other threads can run
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
    parts = read_or_none(json.loads, user_id)
    if isinstance(parts, dict):
        kept = {key: part for key, part in parts.items() if not _PRIVATE_KEY.search(key)}
        return json.dumps(kept, separators=(",", ":"))
    old = _OLD_USER_ID.fullmatch(user_id)
    return old[1] if old else user_id
