"""Where the parts of a JSON document stand in its bytes, so that one can be changed and all others stay as they are."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from claude_bridge.errors import InvalidRequestError

_SPACE = re.compile(rb"[ \t\n\r]*")
_MOST = b"{0,65536}+"
_KEY = re.compile(rb'"[^"\\]%b(?:\\.[^"\\]%b)%b"' % (_MOST, _MOST, _MOST), re.DOTALL)

_Parts = TypeVar("_Parts")

_members_decoder = msgspec.json.Decoder(dict[str, Raw])
_items_decoder = msgspec.json.Decoder(list[Raw])


class Span(NamedTuple):
    """Where a value begins, and where what follows it does."""

    start: int
    end: int


class Edit(NamedTuple):
    """What is to stand in the place of a span."""

    span: Span
    replacement: bytes


def member_spans(document: bytes, within: Span | None = None) -> dict[str, Span]:
    """Return the spans of an object's values by their keys; ``within`` is the object's own span (None: all).

    A megabyte takes about a millisecond: msgspec finds where values end.

    Raises:
        InvalidRequestError: a key is given twice, with values of different length, or is longer than 64 KiB.
        msgspec.DecodeError: it is no object.
    """
    return {key: value for key, _, value in _members(document, within or Span(0, len(document)))}


def without_members(document: bytes, names: Collection[str]) -> bytes:
    """Return an object without the members of these names; what is kept stays byte for byte. Raises as member_spans."""
    members = list(_members(document, Span(0, len(document))))
    if not any(key in names for key, _, _ in members):
        return document
    kept = [document[start : value.end] for key, start, value in members if key not in names]
    return b"{" + b",".join(kept) + b"}"


def without_paths(document: bytes, paths: Iterable[str]) -> bytes:
    """Return a document without the members at these paths, such as ``tools.*.strict``; ``*`` stands for any item.

    What is kept stays byte for byte. Raises as member_spans.
    """
    tree: dict[str, Any] = {}
    for path in sorted(paths, key=len):  # a member comes before its own members
        *parents, last = path.split(".")
        node: dict[str, Any] | None = tree
        for name in parents:
            node = node.setdefault(name, {}) if node is not None else None
        if node is not None:
            node[last] = None
    return _pruned(document, tree)


def _pruned(document: bytes, tree: Mapping[str, Any]) -> bytes:
    if document.startswith(b"[") and tree.get("*"):
        items = item_spans(document, Span(0, len(document)))
        return splice(document, [Edit(span, _pruned(document[slice(*span)], tree["*"])) for span in items])
    if not document.startswith(b"{"):
        return document
    members = member_spans(document).items()
    inside = [Edit(span, _pruned(document[slice(*span)], inner)) for name, span in members if (inner := tree.get(name))]
    return without_members(splice(document, inside), [name for name, inner in tree.items() if inner is None])


def _members(document: bytes, within: Span) -> Iterator[tuple[str, int, Span]]:
    """Yield each key of an object, where it begins, and the span of its value."""
    members = _decoded(_members_decoder, document, within)
    at = _skip_space(document, _skip_space(document, within.start) + 1)
    while key_literal := _KEY.match(document, at):
        try:
            key = msgspec.json.decode(key_literal[0], type=str)
        except msgspec.DecodeError:
            break  # it is in the midst of a value, as that is not the one whose length is known
        if key not in members:
            break
        value_at = _skip_space(document, _skip_space(document, key_literal.end()) + 1)
        value = Span(value_at, value_at + len(memoryview(members[key])))
        yield key, at, value
        at = _skip_space(document, value.end)
        if document[at : at + 1] == b",":
            at = _skip_space(document, at + 1)
    if document[at : at + 1] != b"}" or _skip_space(document, at + 1) < within.end:
        raise InvalidRequestError("The request gives a key twice, or one that is longer than 64 KiB.")


def item_spans(document: bytes, within: Span) -> list[Span]:
    """Return the spans of a list's items; raises msgspec.DecodeError where it is no list."""
    spans: list[Span] = []
    at = within.start + 1
    for item in _decoded(_items_decoder, document, within):
        while document[at] in b", \t\n\r":
            at += 1
        spans.append(Span(at, at + len(memoryview(item))))
        at = spans[-1].end
    return spans


def splice(document: bytes, edits: Iterable[Edit]) -> bytes:
    """Return the document with the edits made; their spans do not overlap."""
    view = memoryview(document)
    parts: list[bytes | memoryview] = []
    at = 0
    for span, replacement in sorted(edits):
        parts += (view[at : span.start], replacement)
        at = span.end
    return b"".join((*parts, view[at:])) if parts else document


def _decoded(decoder: msgspec.json.Decoder[_Parts], document: bytes, within: Span) -> _Parts:
    try:
        return decoder.decode(memoryview(document)[within.start : within.end])
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None


def _skip_space(document: bytes, at: int) -> int:
    found = _SPACE.match(document, at)
    assert found is not None, "nothing is a match too"
    return found.end()
