"""Redactor: secrets and what names a person's device are taken out of an event once, before any sink sees it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from threading import Lock
from typing import Any, NamedTuple, TypeVar, cast

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
from claude_bridge.trace.private_fields import without_private_fields
from claude_bridge.trace.secrets import REDACTED, Secrets, merged, replaced
from claude_bridge.trace.seen_bodies import MIN_BYTES, SeenBodies, is_utf8
from claude_bridge.trace.stream_text import blocks_of, searched_text
from claude_bridge.wire.anthropic import MessagesRequest

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


class CleanEvent:
    """An event without its secrets, which are taken out when it is first asked for: once for all sinks."""

    def __init__(self, raw: TraceEvent, redactor: Redactor) -> None:
        self.raw = raw
        self.body_bytes = _body_bytes(raw)
        """About what it takes in memory."""
        self.redactor = redactor
        self.clean: TraceEvent | None = None

    def event(self) -> TraceEvent:
        """Return the event; may be called from several threads."""
        if self.clean is None:
            self.redactor.clean([self])
        assert self.clean is not None
        return self.clean


class _Draft(NamedTuple):
    """An event that is clean if ``text`` is."""

    event: TraceEvent
    text: bytes = b""


def _body_bytes(event: TraceEvent) -> int:
    match event:
        case RequestReceived(body=body) | RequestSent(body=body):
            return len(bytes(body))
        case StreamsRecorded(upstream=upstream, client=client):
            return sum([side.size for side in (upstream, client) if isinstance(side, StreamReads)])
        case _:
            return 0


class Redactor:
    """Takes the given secrets, and what looks like a key, out of events."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._lock = Lock()
        self._seen = SeenBodies()
        self._secrets = Secrets(secrets)
        self._answers: dict[str, bytes] = {}
        """By exchange, answers without a secret: so none stands in pieces in the frames of their streams."""

    def hide(self, secret: str) -> None:
        """Take out this secret too."""
        if self._secrets.add(secret):
            self._seen, self._answers = SeenBodies(), {}

    def clean(self, events: Sequence[CleanEvent]) -> None:
        """Take the secrets out of all of these at once, which takes much less time; may be called from any thread."""
        with self._lock:
            rest = [event for event in events if event.clean is None]
            for event, clean in zip(rest, self.redact_all([event.raw for event in rest]), strict=True):
                event.clean = clean

    def redact(self, event: TraceEvent) -> TraceEvent:
        """Return the event without secrets; see redact_all()."""
        return self.redact_all([event])[0]

    def redact_all(self, events: Sequence[TraceEvent]) -> list[TraceEvent]:
        """Return the events without secrets; never raises.

        Every text, body and nested value is looked at, so a field that is added to an event is covered too. Bodies
        that are JSON stay JSON. The client's ``safeguards`` (local paths) and the device and account in its
        ``metadata.user_id`` are left out of request bodies.
        """
        drafts = [self._draft(event) for event in events]
        is_clean = not self._secrets.spans(b"\n".join([draft.text for draft in drafts]))  # nearly always
        clean = [
            draft.event if is_clean else self._checked(event, draft)
            for event, draft in zip(events, drafts, strict=True)
        ]
        for event in events:
            if isinstance(event, StreamsRecorded):
                self._answers.pop(event.exchange, None)
        return clean

    def _draft(self, event: TraceEvent) -> _Draft:
        match event:
            case RequestReceived():
                return self._draft_of_request(event, event.body, may_be_private=True)
            case RequestSent(kind=kind):
                headers = {
                    name: REDACTED if _CREDENTIALS.search(name) else value for name, value in event.headers.items()
                }
                may_be_private = kind in _KINDS_WITH_PRIVATE_FIELDS
                return self._draft_of_request(
                    replace(event, headers=headers), event.body, may_be_private=may_be_private
                )
            case StreamsRecorded(exchange=exchange, upstream=StreamReads() as upstream, client=StreamReads() as client):
                answer = self._answers.get(exchange)
                if answer is None:
                    return _Draft(self._redact_streams(event))
                both = blocks_of(upstream), blocks_of(client)
                text = b"\n".join([searched_text(blocks, answer) for blocks in both])
                return _Draft(replace(event, upstream=both[0], client=both[1]), text)
            case UpstreamAnswered() | FirstToken() | AnswerGrew() | StreamsRecorded():
                return _Draft(event)  # numbers, and what is clean by now
        draft = self._draft_of_texts(event)
        if isinstance(event, ExchangeEnded) and draft.text:
            answers = self._answers
            answers[event.exchange] = draft.text
            if len(answers) > _MAX_ANSWERS:
                del answers[next(iter(answers))]
        return draft

    def _draft_of_texts(self, event: TraceEvent) -> _Draft:
        try:
            return _Draft(event, msgspec.json.encode(event))
        except UnicodeError:  # a lone surrogate
            return _Draft(self._without_secrets(event))

    def _draft_of_request(
        self, event: RequestReceived | RequestSent, given: bytes | Raw, *, may_be_private: bool
    ) -> _Draft:
        """Return a request; a long body is clean by then, and Raw if it is one line of JSON for certain."""
        body, fields = bytes(given), None
        if len(body) > MAX_BODY_BYTES:
            beginning, _ = without_private_fields(body[: MAX_BODY_BYTES + _MARGIN_BYTES])
            kept = replaced(beginning, self._secrets.spans(beginning))[:MAX_BODY_BYTES]
            head = self._draft_of_texts(replace(event, body=b""))
            return head._replace(event=replace(head.event, body=kept + b"... (%d bytes in all)" % len(body)))
        if may_be_private:
            body, fields = without_private_fields(body)
        if isinstance(event, RequestReceived):
            event = replace(event, not_read=[name for name in fields or () if name not in _KNOWN_FIELDS])
        head = self._draft_of_texts(replace(event, body=b""))
        if len(body) > MIN_BYTES:
            searched = self._seen.search(body, self._secrets.spans)
            body, is_text, text = replaced(body, searched.spans), searched.is_text and not searched.spans, head.text
        else:
            is_text, text = is_utf8(body), head.text + b"\n" + body
        is_line = is_text and fields != {} and body.startswith(b"{") and b"\n" not in body and b"\r" not in body
        return _Draft(replace(head.event, body=Raw(body) if is_line else body), text)

    def _checked(self, raw: TraceEvent, draft: _Draft) -> TraceEvent:
        """Return a clean event, where not all of the drafts are clean."""
        has_secrets = bool(self._secrets.spans(draft.text))
        match draft.event:
            case StreamsRecorded(exchange=exchange):
                is_clean = not has_secrets and exchange in self._answers
                return draft.event if is_clean else self._redact_streams(cast("StreamsRecorded", raw))
            case _ if not has_secrets:
                return draft.event
            case RequestReceived(body=body) | RequestSent(body=body) as event:
                short = self._without_secrets(replace(event, body=b""))
                is_clean = len(bytes(body)) > MIN_BYTES
                return replace(short, body=body if is_clean else self._without_secrets(bytes(body)))
            case ExchangeEnded(exchange=exchange):
                self._answers.pop(exchange, None)
        return self._without_secrets(draft.event)

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

    def _redact_streams(self, event: StreamsRecorded) -> StreamsRecorded:
        return replace(event, upstream=self._redact_stream(event.upstream), client=self._redact_stream(event.client))

    def _redact_stream(self, stream: StreamReads | Sequence[StreamBlock]) -> Sequence[StreamBlock]:
        if not isinstance(stream, StreamReads):
            return stream  # it is clean
        return blocks_of(StreamReads(list(self._clean_reads(stream.data)), stream.after_s))

    def _clean_reads(self, reads: Sequence[bytes]) -> Iterator[bytes]:
        """Yield the reads of a stream without secrets, those too that begin in one read and end in another."""
        spans = self._spans_over_frames(b"".join(reads))
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

    def _spans_over_frames(self, stream: bytes) -> list[Span]:
        """Return where secrets are, those too of which each frame has some characters in a field of one name."""
        found = self._secrets.spans(stream)
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
        return merged(found)
