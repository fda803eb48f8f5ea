"""Redactor: secrets and what names a person's device are taken out of an event once, before any sink sees it."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Any, NamedTuple, TypeVar, cast

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
    StreamPiece,
    StreamsRecorded,
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

_MAX_SECRETS = 64

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Longer bodies are cut: a trace is read by people, and the work on it must have an end."""

_SEEN_BODIES, _MAX_SEEN_BYTES = 8, 4 * 1024 * 1024
_MARGIN_BYTES = 4 * 1024
"""What is read beyond, so that a secret at the cut is seen whole."""


_STEP_BYTES, _BEYOND_BYTES = 512 * 1024, 64 * 1024
"""How much is searched without a pause, and how far beyond it that is seen which begins there."""


class _KeyForm(NamedTuple):
    """What a kind of key looks like; group 1 of ``pattern`` is taken out. A text without ``mark`` holds none."""

    mark: bytes
    pattern: re.Pattern[bytes]
    is_exact: bool = False
    """Whether capitals count: in lower case the form would be found in the base64 of images."""
    stands_alone: bool = False
    """Whether no letter or digit may stand before it, as in "task-…"."""


def _form(mark: bytes, pattern: bytes, *, is_exact: bool = False, stands_alone: bool = False) -> _KeyForm:
    return _KeyForm(mark, re.compile(pattern), is_exact, stands_alone)


_SET_TO = rb"[\"'\\]*\s*[:=][\s\"'\\]*"

# The patterns run on lower-cased bytes unless they are exact, and each begins with a literal, which lets ``re`` skip
# ahead at the speed of a plain search; the search for the mark alone is faster still.
_KEY_FORMS = (
    _form(b"sk-", rb"(sk-(?:ant|proj|or)-[a-z0-9_-]{8,})"),
    _form(b"sk-", rb"(sk-(?:[a-z0-9_-]{16,}|(?=[a-z_-]{0,15}[0-9])[a-z0-9_-]{8,}))", stands_alone=True),
    *(_form(mark, rb"(%b[a-z0-9_-]{8,})" % mark) for mark in (b"gsk_", b"xai-", b"hf_")),
    # GitHub, GitLab, npm, Stripe
    _form(b"gh", rb"(gh[pousr]_[a-z0-9_]{16,})"),
    *(_form(mark, rb"(%b[a-z0-9_-]{16,})" % mark) for mark in (b"github_pat_", b"glpat-", b"npm_")),
    _form(b"_live_", rb"([sr]k_live_[a-z0-9]{16,})"),
    # Google: API keys, access tokens, OAuth client secrets
    _form(b"AIza", rb"(AIza[A-Za-z0-9_-]{16,})", is_exact=True, stands_alone=True),
    _form(b"ya29.", rb"(ya29\.[a-z0-9_-]{16,})", stands_alone=True),
    _form(b"GOCSPX-", rb"(GOCSPX-[A-Za-z0-9_-]{16,})", is_exact=True),
    # AWS: key ids, and secrets by the names under which they are set
    *(_form(mark, rb"(%b[A-Z0-9]{16,})" % mark, is_exact=True, stands_alone=True) for mark in (b"AKIA", b"ASIA")),
    *(
        _form(mark, rb"%b[\"'\\]*\s*[:=][\s\"'\\]*([a-z0-9/+=]{16,})" % mark)
        for mark in (b"secret_access_key", b"secretaccesskey", b"session_token", b"sessiontoken")
    ),
    # Slack: tokens and webhooks
    _form(b"xox", rb"(xox[a-z](?:\.[a-z]+)?-[a-z0-9-]{8,})", stands_alone=True),
    _form(b"xapp-", rb"(xapp-[a-z0-9-]{8,})"),
    _form(b"hooks.slack.com/", rb"hooks\.slack\.com/(?:services|workflows|triggers)/([a-z0-9/]{8,})"),
    # Private keys of any kind, also where the end of the block was cut off
    _form(
        b"private key",
        rb"(-----begin [a-z0-9 ]{0,40}?private key(?: block)?-----(?:[^-]|-(?!----)){0,32768}"
        rb"(?:-----end [a-z0-9 ]{0,60}-----)?)",
    ),
    # Headers and URLs
    _form(b"bearer ", rb"bearer +((?:[a-z0-9._~+/=-]{16,}|(?=[a-z._~+/=-]{0,15}[0-9])[a-z0-9._~+/=-]{6,}))"),
    _form(b"x-api-key", rb"x-api-key[\"'\\]*\s*[:=][\s\"'\\]*([^\s\"'\\,;${<\[]{4,})"),
    _form(b"://", rb"://[^\s\"'\\/:@]*:([^\s\"'\\/@]{1,256})@"),
)
_SHORT_BYTES = 200
_ANY_MARK = re.compile(b"|".join(re.escape(mark.lower()) for mark in sorted({form.mark for form in _KEY_FORMS})))
"""For short texts, of which an event has many; in long ones the search for each mark is faster."""

# "task-…" is no key, but "\nsk-…" is one, and so is one behind a colour code.
_MAY_STAND_BEFORE_KEY = re.compile(rb"(?:^|[^a-z0-9]|\\[nrtbf]|\\u[0-9a-f]{4}|\[[0-9;]*m)\Z")

_CREDENTIALS = re.compile("auth|key|token|cookie|secret|password", re.IGNORECASE)
"""In the names of headers whose values are never shown."""

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
        if isinstance(event, WITHOUT_FOREIGN_TEXT):
            return event
        match event:
            case RequestReceived():
                clean = self._redact(msgspec.structs.replace(event, body=b""))
                return msgspec.structs.replace(clean, body=self._redact_body(event.body))
            case RequestSent():
                headers = {
                    name: REDACTED if _CREDENTIALS.search(name) else value for name, value in event.headers.items()
                }
                sent = self._redact(msgspec.structs.replace(event, body=b"", headers=headers))
                return msgspec.structs.replace(sent, body=self._redact_body(event.body))
            case StreamsRecorded():
                upstream, client = self._redact_pieces(event.upstream), self._redact_pieces(event.client)
                return msgspec.structs.replace(event, upstream=upstream, client=client)
            case _:
                pass
        return self._redact(event)

    def redact_text(self, text: str) -> str:
        """Return a text without secrets."""
        encoded = text.encode("utf-8", "surrogatepass")
        return self._redact_bytes(encoded).decode("utf-8", "surrogatepass")

    def _redact_body(self, body: bytes) -> bytes:
        if len(body) <= MAX_BODY_BYTES:
            body = _without_private_fields(body)
            return _replaced(body, self._seen.spans(body, self._spans))
        beginning = self._redact_bytes(_without_private_fields(body[: MAX_BODY_BYTES + _MARGIN_BYTES]))
        return beginning[:MAX_BODY_BYTES] + b"... (%d bytes in all)" % len(body)

    def _redact(self, value: _Value) -> _Value:
        clean: Any = value
        match value:
            case bytes():
                clean = self._redact_bytes(value)
            case str():
                clean = self.redact_text(value)
            case Raw():
                clean = Raw(self._redact_bytes(bytes(value)))
            case list():
                clean = [self._redact(item) for item in value]
            case dict():
                clean = {name: self._redact(item) for name, item in value.items()}
            case Struct():
                fields = {name: self._redact(getattr(value, name)) for name in value.__struct_fields__}
                clean = msgspec.structs.replace(value, **fields)
        return cast("_Value", clean)

    def _redact_pieces(self, pieces: list[StreamPiece]) -> list[StreamPiece]:
        """Return the pieces of a stream without secrets, those too that begin in one piece and end in another."""
        stream = b"".join([piece.data for piece in pieces])
        spans = self._spans(stream) if self._may_hold_secrets(_varying_part(stream)) else []
        if not spans:
            return pieces
        clean: list[StreamPiece] = []
        start = at = 0
        for piece in pieces:
            end, kept, done = start + len(piece.data), bytearray(), start
            while at < len(spans) and spans[at][0] < end:
                first, last = spans[at]
                kept += piece.data[done - start : max(first, done) - start]
                kept += REDACTED.encode() if first >= start else b""
                done = min(last, end)
                if last > end:
                    break  # the rest of it is in the next piece
                at += 1
            clean.append(StreamPiece(piece.after_s, bytes(kept + piece.data[done - start :])))
            start = end
        return clean

    def _redact_bytes(self, text: bytes) -> bytes:
        return _replaced(text, self._spans(text))

    def _may_hold_secrets(self, text: bytes) -> bool:
        lowered = text.lower()
        return self._secrets_in(text) or any(form.mark in (text if form.is_exact else lowered) for form in _KEY_FORMS)

    def _secrets_in(self, text: bytes) -> bool:
        return any(plain_part in text for plain_part, _ in self._secrets)

    def _spans(self, text: bytes) -> list[tuple[int, int]]:
        """Return where secrets are, in their order and without overlaps."""
        if len(text) <= _SHORT_BYTES and not self._secrets_in(text) and _ANY_MARK.search(text.lower()) is None:
            return []
        found = [
            match.span()
            for plain_part, secret in self._secrets
            if plain_part in text
            for match in _matches(secret, text)
        ]
        found += _key_spans(text)
        spans: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if spans and start < spans[-1][1]:
                spans[-1] = spans[-1][0], max(spans[-1][1], end)
            else:
                spans.append((start, end))
        return spans


def redacted(text: str) -> str:
    """Return a text without what looks like a key."""
    return Redactor([]).redact_text(text)


def _varying_part(stream: bytes) -> bytes:
    """Return a stream with what most of its frames begin and end with only once: a tenth of it, with all marks of keys.

    No mark holds a line break or a quotation mark, and what is left out goes from the one to the other.
    """
    line_break = b"\n\n" if b"\n\n" in stream else b"\n"
    first = stream.find(line_break, len(stream) // 2)
    second = stream.find(line_break, first + 2)
    third = stream.find(line_break, second + 2)
    if first < 0 or not first < second < third:
        return stream
    one, other = stream[first : min(second, first + 1024)], stream[second : min(third, second + 1024)]
    beginning = one[: one.rfind(b'"', 0, _same_start(one, other)) + 1]
    ending = one[len(one) - _same_start(one[::-1], other[::-1]) :] if len(one) == second - first else b""
    ending = ending[ending.find(b'"') :] if b'"' in ending else b""
    for part in (beginning, ending):
        if len(part) > 2 * len(line_break):
            stream = part + stream.replace(part, b"\n")
    return stream


def _same_start(one: bytes, other: bytes) -> int:
    """Return how many bytes both begin with; up to about a thousand."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


_Span = tuple[int, int]


def _replaced(text: bytes, spans: Sequence[_Span]) -> bytes:
    if not spans:
        return text
    kept, done = [], 0
    for start, end in spans:
        kept += [text[done:start], REDACTED.encode()]
        done = end
    return b"".join([*kept, text[done:]])


class _SeenBodies:
    """The last bodies and where secrets are in them: the next turn of a conversation begins as the one before."""

    def __init__(self) -> None:
        self._bodies: deque[tuple[bytes, list[_Span]]] = deque(maxlen=_SEEN_BODIES)

    def spans(self, body: bytes, find: Callable[[bytes], list[_Span]]) -> list[_Span]:
        """Return where secrets are; only what is new is searched."""
        start, known = 0, list[_Span]()
        for seen, spans in reversed(list(self._bodies)):
            if start > len(body) * 0.9:
                break  # good enough
            same = _same_bytes(seen, body) - _MARGIN_BYTES
            if same > start:
                # A secret that goes on beyond is looked for again, from where it begins.
                start = next((first for first, end in spans if first < same < end + _MARGIN_BYTES), same)
                known = [span for span in spans if span[1] <= start]
        found = [*known, *((first + start, end + start) for first, end in find(body[start:] if start else body))]
        if len(body) <= _MAX_SEEN_BYTES:
            self._bodies.append((body, found))
        return found


def _same_bytes(one: bytes, other: bytes) -> int:
    """Return how many bytes both begin with."""
    same, block = 0, 64 * 1024
    while block:
        while same + block <= len(one) and one[same : same + block] == other[same : same + block]:
            same += block
        block //= 8
    return same


def _key_spans(text: bytes) -> Iterator[tuple[int, int]]:
    lowered = text.lower()  # of bytes: only ASCII changes, so places stay the same
    for mark, pattern, is_exact, stands_alone in _KEY_FORMS:
        searched = text if is_exact else lowered
        if mark in searched:
            for match in _matches(pattern, searched):
                if not stands_alone or _may_stand(lowered, match.start(1)):
                    yield match.span(1)


def _matches(pattern: re.Pattern[bytes], text: bytes) -> Iterator[re.Match[bytes]]:
    """Yield what ``finditer`` does, in steps: a search does not let other threads run before it finds something."""
    at = 0
    for step_end in range(_STEP_BYTES, len(text) + _STEP_BYTES, _STEP_BYTES):
        visible_end = step_end + _BEYOND_BYTES
        while (match := pattern.search(text, at, visible_end)) and match.start() < step_end:
            if match.end() == visible_end:
                match = pattern.match(text, match.start()) or match
            yield match
            at = match.end()
        at = max(at, step_end)


def _may_stand(lowered: bytes, start: int) -> bool:
    return _MAY_STAND_BEFORE_KEY.search(lowered[max(0, start - 12) : start]) is not None


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
