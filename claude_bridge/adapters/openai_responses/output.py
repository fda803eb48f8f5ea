"""The items of an answer while they come: which item an event is about, and what of it has been given already."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from hashlib import blake2b
from typing import Any

from claude_bridge.conversion.deltas import HostedSearch
from claude_bridge.conversion.opaque_reasoning import hosted_call_id
from claude_bridge.conversion.tool_calls.index import MAX_ARGUMENTS_BYTES
from claude_bridge.conversion.tool_json.text import is_json
from claude_bridge.errors import UpstreamBrokenError
from claude_bridge.wire import responses
from claude_bridge.wire.lenient_json import as_object, list_in, object_in, text_in

MAX_ITEMS = 1_000
"""No model gives as many: one call needs more tokens than that leaves."""

MESSAGE, REASONING, CALL, SEARCH = "message", "reasoning", "function_call", "web_search_call"


class PartKind(Enum):
    """What the words of an item are."""

    TEXT = "output_text"
    REFUSAL = "refusal"
    SUMMARY = "summary_text"
    THOUGHT = "reasoning_text"


class _ReceivedText:
    """The words of a part that have come, as far as they must be known again."""

    def __init__(self) -> None:
        self.chars = 0
        self._hash = blake2b(digest_size=16)

    def add(self, words: str) -> None:
        self.chars += len(words)
        self._hash.update(words.encode())

    def begins(self, whole: str) -> bool:
        """Return whether the words are the beginning of these, or all of them."""
        return blake2b(whole[: self.chars].encode(), digest_size=16).digest() == self._hash.digest()


class ReceivedItem:
    """One item of the answer."""

    def __init__(self, kind: str, item_id: str | None) -> None:
        self.kind = kind
        self.id = item_id
        self.name = ""
        self.call_id = ""
        self.phase = ""
        self.arguments: list[str] = []
        """The pieces of a call's arguments."""
        self.whole_arguments = ""
        """The arguments in one piece, in the longest form that came."""
        self.is_done = False
        self.cited: set[str] = set()
        """The pages that its text has named so far."""
        self._received: dict[tuple[PartKind, int], _ReceivedText] = {}
        self._whole: set[tuple[PartKind, int]] = set()
        self._last_number: dict[PartKind, int] = {}
        self._first_part: PartKind | None = None

    @property
    def best_arguments(self) -> str:
        """Arguments that came in one piece, as JSON that says something; else the longest form that is JSON, or any.

        Pieces that came twice may be JSON too, of a call that the engine did not make.
        """
        if is_json(self.whole_arguments) and self.whole_arguments.strip("{} \t\r\n"):
            return self.whole_arguments
        return max("".join(self.arguments), self.whole_arguments, key=_worth)

    def offer_arguments(self, whole: str) -> bool:
        """Take arguments in one piece; return whether they are JSON."""
        self.whole_arguments = max(self.whole_arguments, whole, key=_worth)
        return is_json(whole)

    def add(self, part: PartKind, number: int | None, words: str) -> bool | None:
        """Take more words; return whether they begin their part. None: they say a thought once more in another form."""
        if self.kind == REASONING and self._first_part not in (None, part):
            return None
        self._first_part = self._first_part or part
        key = self._key(part, number)
        begins = key not in self._received
        self._received.setdefault(key, _ReceivedText()).add(words)
        return begins

    def missing(self, part: PartKind, number: int | None, whole: str) -> str:
        """Return what of a whole part has not come; nothing if other words have."""
        key = self._key(part, number)
        if key in self._whole:
            return ""
        self._whole.add(key)
        received = self._received.get(key)
        if received is None:
            return whole
        return whole[received.chars :] if received.begins(whole) else ""

    def _key(self, part: PartKind, number: int | None) -> tuple[PartKind, int]:
        self._last_number[part] = self._last_number.get(part, 0) if number is None else number
        return part, self._last_number[part]


def _worth(arguments: str) -> tuple[bool, int]:
    return is_json(arguments), len(arguments)


class Output:
    """All items of the answer, in the order in which they began."""

    def __init__(self) -> None:
        self._items: list[ReceivedItem] = []
        self._by_id: dict[str, ReceivedItem] = {}
        self._by_index: dict[int, ReceivedItem] = {}
        self._begun_calls: dict[str, ReceivedItem] = {}
        """By the ids that their results name, which may be all that an end has in common with its beginning."""
        self._calls: list[ReceivedItem] = []
        """Those that have not been given yet."""
        self._arguments_bytes = 0
        self._in_final: dict[str, int] = {}
        """How many items of each kind the final response has named so far."""

    def find(self, kind: str, item_id: str | None, index: int | None) -> ReceivedItem:
        """Return the item that an event is about; one that nothing announced begins with it."""
        known = self._known(kind, item_id, index)
        if known is not None:
            return known
        last = self._last_open(kind)
        if last is not None and index is None and item_id is None:
            return last
        return self._add(kind, item_id, index)

    def add_arguments(self, call: ReceivedItem, piece: str) -> None:
        """Take more of a call's arguments.

        Raises:
            UpstreamBrokenError: the answer has more than MAX_ARGUMENTS_BYTES of them.
        """
        self._arguments_bytes += len(piece)
        if self._arguments_bytes > MAX_ARGUMENTS_BYTES:
            raise UpstreamBrokenError(f"The upstream sent more than {MAX_ARGUMENTS_BYTES} bytes of arguments.")
        call.arguments.append(piece)

    def begun(self, found: responses.OutputItem, index: int | None) -> ReceivedItem:
        """Return the item that begins; gateways number all items alike, so a new id or an end makes it another one."""
        known = self._known(found.type, found.id, None if found.id else index)
        item = self._add(found.type, found.id, index) if known is None or known.is_done else known
        item.call_id = item.call_id or found.call_id or ""
        if item.call_id:
            self._begun_calls[item.call_id] = item
        return item

    def ended(self, found: responses.OutputItem, index: int | None) -> ReceivedItem:
        """Return the item that is done: its id may be another than the one that it began with."""
        known, last = self._known(found.type, found.id, index), self._last_open(found.type)
        if known is None and index is None:
            known = self._begun_calls.pop(found.call_id or "", None)
            if known is None and last is not None and not (last.call_id and found.call_id):
                known = last
        return known or self.begun(found, index)

    def in_final(self, found: responses.OutputItem) -> ReceivedItem:
        """Return the item that the final response names: by its id, else the next one of its kind."""
        place = self._in_final.get(found.type, 0)
        self._in_final[found.type] = place + 1
        known = self._by_id.get(found.id or "")
        if known is not None and known.kind == found.type:
            return known
        of_kind = [item for item in self._items if item.kind == found.type]
        return of_kind[place] if place < len(of_kind) else self.begun(found, None)

    def next_calls(self, *, at_end: bool) -> list[ReceivedItem]:
        """Return the calls that can be given: those that are done, up to the first that is not; at the end all."""
        open_at = next((at for at, call in enumerate(self._calls) if not call.is_done), len(self._calls))
        ready = self._calls if at_end else self._calls[:open_at]
        self._calls = [] if at_end else self._calls[open_at:]
        return ready

    def _known(self, kind: str, item_id: str | None, index: int | None) -> ReceivedItem | None:
        found = self._by_id.get(item_id) if item_id else None
        if found is None and index is not None:
            found = self._by_index.get(index)
        return found if found is not None and found.kind == kind else None

    def _last_open(self, kind: str) -> ReceivedItem | None:
        return next((item for item in reversed(self._items) if item.kind == kind and not item.is_done), None)

    def _add(self, kind: str, item_id: str | None, index: int | None) -> ReceivedItem:
        if len(self._items) == MAX_ITEMS:
            raise UpstreamBrokenError(f"The upstream sent more than {MAX_ITEMS} items in one answer.")
        if kind != CALL:
            for call in self._calls:  # whoever leaves out the end of a call goes on after it
                call.is_done = call.is_done or (bool(call.name) and is_json(call.best_arguments))
        item = ReceivedItem(kind, item_id)
        self._items.append(item)
        if kind == CALL:
            self._calls.append(item)
        if item_id:
            self._by_id[item_id] = item
        if index is not None:
            self._by_index[index] = item
        return item


def part_texts(found: responses.OutputItem) -> Iterator[tuple[PartKind, int, str]]:
    """Yield the words of a whole item: of which part, its number, and the text."""
    for places, usual in ((found.summary, PartKind.SUMMARY), (found.content, _CONTENT.get(found.type))):
        for number, part in enumerate([places] if isinstance(places, str) else places or ()):
            kind, text = (usual, part) if isinstance(part, str) else _part(part)
            if kind is not None and isinstance(text, str) and text:
                yield kind, number, text


_CONTENT = {MESSAGE: PartKind.TEXT, REASONING: PartKind.THOUGHT}
_PARTS = {part.value: part for part in PartKind} | {"text": PartKind.TEXT}


def _part(part: Any) -> tuple[PartKind | None, Any]:  # noqa: ANN401 - any JSON
    if not isinstance(part, dict):
        return None, None
    kind = _PARTS.get(str(part.get("type")))
    return kind, part.get("refusal") if kind is PartKind.REFUSAL else part.get("text")


# --- whole items that go back as they came -----------------------------------------------------------------------


def reasoning_item(item: dict[str, Any]) -> dict[str, Any] | None:
    """Return a reasoning item as it goes back; None for one that nobody could read.

    Without its id, which would be looked up among stored responses, and not be found.
    """
    if item.get("type") != "reasoning" or not item.get("encrypted_content"):
        return None
    others = {name: value for name, value in item.items() if name not in ("type", "summary", "id", "status")}
    return {"type": "reasoning", "summary": item.get("summary") or [], **others}


def read_search(item: dict[str, Any]) -> HostedSearch | None:
    """Return what a ``web_search_call`` searched for and found; None: it opened a page, or looked through one."""
    action = object_in(item, "action")
    if action.get("type") != "search":
        return None
    query = action.get("query") or "; ".join(map(str, list_in(action, "queries")))
    urls = [text_in(as_object(source), "url") for source in list_in(action, "sources")]
    known = list(dict.fromkeys(filter(None, urls)))
    return HostedSearch(hosted_call_id(item), str(query), None if item.get("status") == "failed" else known)
