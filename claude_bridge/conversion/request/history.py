"""RequestMemo: conversations as they came last, so that a request that continues one costs only what is new in it.

A client sends its whole conversation with each request. The messages that a request begins with are known again by
their bytes, in whichever session they came, and are neither decoded nor converted once more. All that is kept is a
function of these bytes alone, so that the same goes to the engine with a memo and without one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import islice
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.anthropic import CountTokensRequest, InputMessage
from claude_bridge.wire.anthropic_codec import check_budgets, check_counts
from claude_bridge.wire.json_splice import Span, item_spans, member_spans

MAX_KEPT_BYTES = 32 * 1024 * 1024
MAX_CONVERSATIONS = 64
LEAST_BYTES = 4 * 1024
"""A smaller request is converted sooner than it is found."""

_LARGEST_SHARE = 2
"""One conversation takes at most one part in so many, so that it can't push out all others."""

_DECODED_SIZE = 3
"""How many times its body's size a decoded request takes, the body among it."""

_SEPARATOR = re.compile(rb"[ \t\n\r,]*")
_NAME = b'"messages"'
_MESSAGES = re.compile(_NAME + rb"[ \t\n\r]*:[ \t\n\r]*\[")
_MOST_PLACES = 4
"""How many lists of this name are looked at: the schemas and calls of tools may hold some."""

_OPENING_BYTES = 512
"""Of a first message, so much is compared before anything else is known of it."""

_COMPARED_FRAMES = 8
"""With how many of the last requests a new conversation is compared for differing in nothing else."""

_KEPT_SEAMS = 4
"""How many beginnings of one conversation are kept: clients change their last messages, as they move cache marks."""

CHANGED_MESSAGES = 3
"""How many of its last messages a client may change when it continues."""

_Request = TypeVar("_Request", bound=CountTokensRequest)
_Parse = Callable[[bytes], CountTokensRequest]


_new_messages_decoder = msgspec.json.Decoder(list[InputMessage])


class _RawMessages(Struct):
    messages: list[Raw]


_raws_decoder = msgspec.json.Decoder(_RawMessages)


class _Seam(NamedTuple):
    """What was made of the beginning of a conversation, and how many messages must be the same for it to be true."""

    needs: int
    made: Any
    size_bytes: int
    """What the maker kept so far takes."""


class KnownHistory:
    """The messages of one request, and what was made of their beginnings."""

    def __init__(
        self,
        body: bytes,
        request: CountTokensRequest,
        parse: _Parse,
        *,
        listed: Span | None = None,
        ends: Sequence[int] | None = None,
        seams: Mapping[Hashable, tuple[_Seam, ...]] | None = None,
        frames: Mapping[Hashable, Any] | None = None,
        new_bytes: int | None = None,
    ) -> None:
        """``listed`` and ``ends`` None: they are looked for when they are needed; ``new_bytes`` None: all is new."""
        self.body = body
        self.new_bytes = len(body) if new_bytes is None else new_bytes
        """How much of the body had to be decoded."""
        self.request = request
        self.parse = parse
        """What read the request."""
        self.frames: dict[Hashable, Any] = dict(frames or {})
        """What each maker made of all but the messages, of this request or of one before; it may be another now."""
        self._listed = listed
        self._ends = ends
        self._opening: bytes | None = None
        self._seams = seams or {}
        self.size_bytes = _DECODED_SIZE * len(body) + sum(some[-1].size_bytes for some in self._seams.values())
        """About how much memory it takes."""

    @property
    def messages(self) -> list[InputMessage]:
        """The request's own list: what is kept is true of it, and of no other that was made of it."""
        return self.request.messages

    @property
    def listed(self) -> Span | None:
        """From where the messages begin to where the last one ends; None where that is not clear."""
        if self._listed is None and self._ends is None:
            self._listed, self._ends = _find_messages(self.body)
        return self._listed

    @property
    def ends(self) -> Sequence[int]:
        """Where each message ends in the body; none where that is not clear, as where a key is given twice."""
        listed = self.listed
        if self._ends is None and listed is not None:
            items = b"[%b]" % self.body[listed.start : listed.end]
            self._ends = [span.end + listed.start - 1 for span in item_spans(items, Span(0, len(items)))]
        return self._ends or ()

    def span(self, index: int) -> Span:
        """Return where a message stands in the body; raises InvalidRequestError where a key is given twice."""
        listed, ends = self.listed, self.ends
        if listed is None:
            return item_spans(self.body, member_spans(self.body)["messages"])[index]
        before = _SEPARATOR.match(self.body, ends[index - 1] if index else listed.start)
        assert before is not None, "nothing is a match too"
        return Span(before.end(), ends[index])

    def latest(self, maker: Hashable) -> Any:  # noqa: ANN401 - each maker knows what it keeps
        """Return what a maker kept of the longest beginning; None: nothing."""
        seams = self._seams.get(maker)
        return seams[-1].made if seams else None

    def keep(self, maker: Hashable, needs: int, made: object, size_bytes: int = 0) -> None:
        """Keep what was made of the beginning, where the first ``needs`` messages alone decide on it.

        ``size_bytes`` is what it takes beyond what the maker kept before.
        """
        seams = self._seams.get(maker, ())
        if not seams or seams[-1].needs < needs:
            seam = _Seam(needs, made, size_bytes + (seams[-1].size_bytes if seams else 0))
            self._seams = {**self._seams, maker: (*seams, seam)[-_KEPT_SEAMS:]}
            self.size_bytes += size_bytes

    def beginning_in(self, body: bytes, start: int) -> Beginning:
        """Return how many of its first messages stand at a place of a body, by comparing their bytes."""
        listed, ends, view = self.listed, self.ends, memoryview(self.body)
        moved = start - (listed.start if listed else 0)
        low, at = 0, start - moved
        high = middle = len(ends)  # a session that goes on holds them all
        while low < high:
            if body.startswith(view[at : ends[middle - 1]], at + moved):
                low, at = middle, ends[middle - 1]
            else:
                high = middle - 1
            middle = (low + high + 1) // 2
        return Beginning(self, low, start, at + moved)

    def begins_at(self, body: bytes, start: int) -> bool:
        """Return whether its first message stands at a place of a body."""
        listed = self.listed
        if listed is None:
            return False
        if self._opening is None:  # so much of it that it ends no sooner
            self._opening = self.body[listed.start : listed.start + _OPENING_BYTES].partition(b"}")[0]
        if not body.startswith(self._opening, start):
            return False
        return body.startswith(memoryview(self.body)[listed.start : self.ends[0]], start)

    def has_frame_of(self, body: bytes) -> bool:
        """Return whether a body is the same but for its messages."""
        listed, view = self.listed, memoryview(self.body)
        if listed is None or len(body) <= len(self.body) - (listed.end - listed.start):
            return False
        return body.startswith(view[: listed.start]) and body.endswith(view[listed.end :])

    def continued(
        self,
        body: bytes,
        request: CountTokensRequest,
        parse: _Parse,
        shared: int,
        listed: Span,
        new_ends: Sequence[int] | None,
        new_bytes: int,
    ) -> KnownHistory:
        """Return the history of a request whose first ``shared`` messages are those of this one.

        ``new_ends`` are those of its other messages; None: it shares none, and where its own end is not known.
        """
        ends: Sequence[int] | None = None
        if new_ends is not None:
            known, moved = self.ends[:shared], listed.start - (self.listed.start if self.listed else 0)
            ends = [*([end + moved for end in known] if moved else known), *new_ends]
        kept = {maker: tuple(seam for seam in seams if seam.needs <= shared) for maker, seams in self._seams.items()}
        return KnownHistory(
            body,
            request,
            parse,
            listed=listed,
            ends=ends,
            seams={maker: some for maker, some in kept.items() if some},
            frames=self.frames,
            new_bytes=new_bytes,
        )


class Beginning(NamedTuple):
    """What a body shares with a known history: so many messages, at these places of the body."""

    history: KnownHistory
    messages: int
    start: int
    end: int

    @property
    def size_bytes(self) -> int:
        """How many bytes these messages take."""
        return self.end - self.start


class RequestMemo:
    """Remembers the last conversations, up to a number of bytes; safe to share between threads."""

    def __init__(self, mark: str, *, max_bytes: int = MAX_KEPT_BYTES, least_bytes: int = LEAST_BYTES) -> None:
        """``mark`` is a role that no client can guess; ``max_bytes`` 0 keeps nothing."""
        self._mark = mark
        self._stand_in = msgspec.json.encode(InputMessage(mark, ""))
        self._max_bytes = max_bytes
        self._least_bytes = least_bytes
        self._histories: list[KnownHistory] = []
        self._lock = Lock()

    @property
    def size_bytes(self) -> int:
        """About how much memory all that is kept takes."""
        return sum(history.size_bytes for history in self._histories)

    def find(self, body: bytes) -> Beginning | None:
        """Return the most that a body shares with a known request; None: nothing, or nothing is kept of such a body."""
        if not self._keeps(body):
            return None
        histories = self._histories[::-1]
        # Nearly always all that stands before the messages is the same too, so that they begin at the same place.
        candidates = [
            (one, listed.start)
            for one in histories
            if (listed := one.listed) is not None and one.begins_at(body, listed.start)
        ]
        if not candidates:
            for history in histories[:_COMPARED_FRAMES]:
                if (listed := history.listed) is not None and history.has_frame_of(body):
                    return Beginning(history, 0, listed.start, listed.start)
            starts = [*islice(_starts(body), _MOST_PLACES)]
            candidates = [(one, start) for start in starts for one in histories if one.begins_at(body, start)]
        best: Beginning | None = None
        for history, start in candidates:
            found = history.beginning_in(body, start)
            best = found if best is None or found.messages > best.messages else best
            if found.messages == len(history.ends):
                break
        return best  # the newest of those that share as much

    def parse(
        self, body: bytes, parse: Callable[[bytes], _Request], found: Beginning | None = None
    ) -> tuple[_Request, KnownHistory | None]:
        """Return what ``parse`` makes of a body, and what is known of its messages (None: nothing is kept of it).

        ``found`` is what ``find`` returned of it.

        Raises:
            InvalidRequestError: raised by ``parse``.
        """
        if not self._keeps(body):
            return parse(body), None
        continued = found and (_gone_on(body, found, parse) or self._continued(body, found, parse))
        if continued is None:
            request = parse(body)
            continued = request, KnownHistory(body, request, parse)
        self._remember(continued[1], found)
        return continued

    def _keeps(self, body: bytes) -> bool:
        return self._least_bytes <= len(body) <= self._max_bytes // _LARGEST_SHARE // _DECODED_SIZE

    def _continued(
        self, body: bytes, found: Beginning, parse: Callable[[bytes], _Request]
    ) -> tuple[_Request, KnownHistory] | None:
        """Return a request of which only what is new was decoded; None: it can't be read so.

        One message with the mark stands for all that are known. It is not where it should be if the list of messages
        was not the one that is read, as where a key comes twice.
        """
        history, shared, start, end = found
        if not shared:
            return None
        short = b"".join((body[:start], self._stand_in, body[end:]))
        try:
            request = parse(short)
            spans = item_spans(short, member_spans(short)["messages"])
        except (msgspec.DecodeError, InvalidRequestError):
            return None
        if request.messages[0].role != self._mark:
            return None
        request = replace(request, messages=history.messages[:shared] + request.messages[1:])
        check_counts(request, len(body))
        moved = len(body) - len(short)
        ends = [span.end + moved for span in spans[1:]]
        listed = Span(start, ends[-1] if ends else end)
        return request, history.continued(body, request, parse, shared, listed, ends, len(short))

    def _remember(self, history: KnownHistory, found: Beginning | None) -> None:
        """Keep a history as the newest, in place of the one that it continues."""
        with self._lock:
            if found is not None:
                known = len(found.history.messages)
                is_same = found.messages >= known - CHANGED_MESSAGES and found.messages * 2 >= known
                kept = [one for one in self._histories if one is not found.history or not is_same]
            else:
                kept = [*self._histories]
            kept = [*kept, history][-MAX_CONVERSATIONS:]
            size_bytes = sum([one.size_bytes for one in kept])
            while size_bytes > self._max_bytes:
                size_bytes -= kept.pop(0).size_bytes
            self._histories = kept


def _gone_on(body: bytes, found: Beginning, parse: Callable[[bytes], _Request]) -> tuple[_Request, KnownHistory] | None:
    """Return a request that differs from a known one in its last messages alone; None: it differs in more.

    Then it is nothing but that one with other items at the end of its list of messages.
    """
    history, shared, start, end = found
    listed, known = history.listed, history.body
    if listed is None or history.parse is not parse:
        return None
    tail_at = len(body) - (len(known) - listed.end)
    if listed.start != start or tail_at < end or not history.has_frame_of(body):
        return None
    has_new = end < tail_at
    if shared and has_new and body[end : end + 1] != b",":
        return None
    items = b"".join((b"[", memoryview(body)[end + bool(shared) : tail_at], b"]"))
    try:
        check_budgets(items)
        messages = _new_messages_decoder.decode(items)
        ends = [span.end + end for span in item_spans(items, Span(0, len(items)))] if shared else None
    except (InvalidRequestError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if has_new and not messages:  # only a comma
        return None
    request: Any = replace(history.request, messages=history.messages[:shared] + messages)
    check_counts(request, len(body))
    return request, history.continued(body, request, parse, shared, Span(start, tail_at), ends, len(items))


def _starts(body: bytes) -> Iterator[int]:
    """Yield where each list begins that is named as the messages are."""
    at = body.find(_NAME)
    while at >= 0:
        if found := _MESSAGES.match(body, at):
            yield found.end()
        at = body.find(_NAME, at + 1)


def _find_messages(body: bytes) -> tuple[Span | None, Sequence[int]]:
    """Return where the messages of a body stand, and where each of them ends; nothing where that is not clear.

    A long list is skipped only once: the body is looked at with an empty one in its place.
    """
    try:
        raws = _raws_decoder.decode(body).messages
    except (msgspec.DecodeError, RecursionError):
        return None, ()
    for start in islice(_starts(body), _MOST_PLACES):
        ends: list[int] = []
        at = start
        try:
            for raw in raws:
                while body[at] in b", \t\n\r":
                    at += 1
                at += len(memoryview(raw))
                ends.append(at)
            if member_spans(body[:start] + body[at:])["messages"].start == start - 1:
                return Span(start, at), ends
        except (msgspec.DecodeError, InvalidRequestError, IndexError):
            continue  # it is another list of this name
    return None, ()
