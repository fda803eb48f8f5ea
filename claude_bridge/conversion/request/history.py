"""RequestMemo: conversations as they came last, so that a request that goes on from one costs what is new in it.

A client sends its whole conversation with each request. The messages that a request begins with are known again by
their bytes, in whichever session they came, and are neither decoded nor converted once more. All that is kept is a
function of these bytes alone, so that the same goes to the engine with a memo and without one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.anthropic import CountTokensRequest, InputMessage
from claude_bridge.wire.anthropic_codec import check_counts
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

_KEPT_SEAMS = 4
"""How many beginnings of one conversation are kept: clients change their last messages, as they move cache marks."""

CHANGED_MESSAGES = 3
"""How many of its last messages a client may change when it goes on."""

_Request = TypeVar("_Request", bound=CountTokensRequest)


class _Seam(NamedTuple):
    """What was made of the beginning of a conversation, and how many messages must be the same for it to be true."""

    needs: int
    made: Any
    size_bytes: int


class KnownHistory:
    """The messages of one request, and what was made of their beginnings."""

    def __init__(
        self,
        body: bytes,
        messages: list[InputMessage],
        *,
        places: tuple[int, list[int]] | None = None,
        seams: Mapping[Hashable, tuple[_Seam, ...]] | None = None,
    ) -> None:
        self.body = body
        self.messages = messages
        """The request's own list: what is kept is true of it, and of no other that was made of it."""
        self._places = places
        self._seams = seams or {}

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        made = sum(seam.size_bytes for seams in self._seams.values() for seam in seams)
        return _DECODED_SIZE * len(self.body) + made

    @property
    def places(self) -> tuple[int, list[int]]:
        """Where the first message begins in the body, and where each one ends; no ends where a key is given twice."""
        if self._places is None:
            try:
                messages = member_spans(self.body)["messages"]
                ends = [span.end for span in item_spans(self.body, messages)]
                self._places = messages.start + 1, ends
            except (msgspec.DecodeError, InvalidRequestError, KeyError):
                self._places = 0, []
        return self._places

    def span(self, index: int) -> Span:
        """Return where a message stands in the body; raises InvalidRequestError where a key is given twice."""
        first, ends = self.places
        if not ends:
            raise InvalidRequestError("The request gives a key twice.")
        before = _SEPARATOR.match(self.body, ends[index - 1] if index else first)
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
            self._seams = {**self._seams, maker: (*seams, _Seam(needs, made, size_bytes))[-_KEPT_SEAMS:]}

    def continued(
        self, body: bytes, messages: list[InputMessage], shared: int, places: tuple[int, list[int]]
    ) -> KnownHistory:
        """Return the history of a request whose first ``shared`` messages are those of this one."""
        kept = {maker: tuple(seam for seam in seams if seam.needs <= shared) for maker, seams in self._seams.items()}
        seams = {maker: some for maker, some in kept.items() if some}
        return KnownHistory(body, messages, places=places, seams=seams)


class _Beginning(NamedTuple):
    """What a body shares with a known history: so many messages, at these places of the body."""

    history: KnownHistory
    messages: int
    start: int
    end: int


class RequestMemo:
    """Remembers the last conversations, up to a number of bytes; safe to share between threads."""

    def __init__(self, mark: str, *, max_bytes: int = MAX_KEPT_BYTES, least_bytes: int = LEAST_BYTES) -> None:
        """``mark`` is a role that no client can guess; ``max_bytes`` 0 keeps nothing."""
        self._mark = mark
        self._max_bytes = max_bytes
        self._least_bytes = least_bytes
        self._histories: list[KnownHistory] = []
        self._lock = Lock()

    @property
    def size_bytes(self) -> int:
        """About how much memory all that is kept takes."""
        return sum(history.size_bytes for history in self._histories)

    def parse(self, body: bytes, parse: Callable[[bytes], _Request]) -> tuple[_Request, KnownHistory | None]:
        """Return what ``parse`` makes of a body, and what is known of its messages (None: nothing is kept of it).

        Raises:
            InvalidRequestError: raised by ``parse``.
        """
        if not self._least_bytes <= len(body) <= self._max_bytes // _LARGEST_SHARE // _DECODED_SIZE:
            return parse(body), None
        found = self._beginning(body)
        continued = found and self._continued(body, found, parse)
        if continued is None:
            request = parse(body)
            continued = request, KnownHistory(body, request.messages)
        self._remember(continued[1], found)
        return continued

    def _beginning(self, body: bytes) -> _Beginning | None:
        """Return the most messages that a body shares with a known history."""
        histories = self._histories
        # Nearly always all that stands before the messages is the same too, so that they begin at the same place.
        in_place = [one for history in histories if (one := _shared(body, history.places[0], history))]
        found = [one for one in in_place if body.startswith(memoryview(one.history.body)[: one.start])]
        if not found and histories:
            try:
                start = member_spans(body)["messages"].start + 1
            except (msgspec.DecodeError, InvalidRequestError, KeyError):
                return None
            moved = [history for history in histories if history.places[0] != start]
            found = [one for one in in_place if one.start == start]
            found += [one for history in moved if (one := _shared(body, start, history))]
        return max(found, key=lambda one: one.messages, default=None)

    def _continued(
        self, body: bytes, found: _Beginning, parse: Callable[[bytes], _Request]
    ) -> tuple[_Request, KnownHistory] | None:
        """Return a request of which only what is new was decoded; None: it can't be read so.

        One message with the mark stands for all that are known. It is not where it should be if the list of messages
        was not the one that is read, as where a key comes twice.
        """
        _, shared, start, end = found
        stand_in = msgspec.json.encode(InputMessage(self._mark, ""))
        short = b"".join((body[:start], stand_in, body[end:]))
        try:
            request = parse(short)
            spans = item_spans(short, member_spans(short)["messages"])
        except (msgspec.DecodeError, InvalidRequestError):
            return None
        if request.messages[0].role != self._mark:
            return None
        request = replace(request, messages=found.history.messages[:shared] + request.messages[1:])
        check_counts(request, len(body))
        first, ends = found.history.places
        moved, shift = start - first, len(body) - len(short)
        known = [place + moved for place in ends[:shared]] if moved else ends[:shared]
        places = start, known + [span.end + shift for span in spans[1:]]
        return request, found.history.continued(body, request.messages, shared, places)

    def _remember(self, history: KnownHistory, found: _Beginning | None) -> None:
        """Keep a history as the newest, in place of the one that it goes on from."""
        with self._lock:
            if found is not None:
                known = len(found.history.messages)
                is_same = found.messages >= known - CHANGED_MESSAGES and found.messages * 2 >= known
                kept = [one for one in self._histories if one is not found.history or not is_same]
            else:
                kept = [*self._histories]
            kept = [*kept, history][-MAX_CONVERSATIONS:]
            size_bytes = sum(one.size_bytes for one in kept)
            while size_bytes > self._max_bytes:
                size_bytes -= kept.pop(0).size_bytes
            self._histories = kept


def _shared(body: bytes, start: int, history: KnownHistory) -> _Beginning | None:
    """Return what of a history stands at a place of a body, by comparing the bytes of messages."""
    first, ends = history.places
    view = memoryview(history.body)
    low, at = 0, first
    high = len(ends)
    middle = min(1, high)  # nearly all that have nothing in common differ in the first message
    while low < high:
        if body.startswith(view[at : ends[middle - 1]], start + at - first):
            low, at = middle, ends[middle - 1]
        else:
            high = middle - 1
        middle = (low + high + 1) // 2
    return _Beginning(history, low, start, start + at - first) if low else None
