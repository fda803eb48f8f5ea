"""One exchange of a trace in full: both requests, what became of each part, the answer, and the bytes of both streams.

What many exchanges share, as a conversation that grows, is kept once: details refer to it by number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw, Struct, UnsetType, field
from msgspec.structs import replace

from claude_bridge.trace.comparison import ComparedPart, Mark, Sides, compare
from claude_bridge.trace.curl import curl_command
from claude_bridge.trace.parts import (
    Part,
    answer_parts,
    items,
    members,
    message_parts,
    parameter_parts,
    parsed,
    system_parts,
    tool_parts,
)
from claude_bridge.trace.stream_text import Timed, read_stream
from claude_bridge.trace.summary import TraceLine, UnreadableLineError, read_entry

_LISTS = ("messages", "input", "tools", "system")
"""Members of a request that grow from turn to turn, so that their items are kept once."""


class Lines(Struct, kw_only=True):
    """What the lines of one exchange hold."""

    received: TraceLine | None = None
    sent: list[TraceLine] = field(default_factory=list)
    answer: dict[str, Any] | None = None
    upstream: list[Timed] = field(default_factory=list)
    client: list[Timed] = field(default_factory=list)
    omitted_bytes: int = 0
    repairs: list[str] = field(default_factory=list)


class Stored(Struct, kw_only=True, omit_defaults=True):
    """A request whose items are kept once: ``members`` has the rest, ``lists`` the numbers of the items."""

    members: dict[str, Any] = {}
    lists: dict[str, list[int]] = {}
    text: str | None = None
    """The body, where it is no JSON object."""


class Detail(Struct, kw_only=True, omit_defaults=True):
    """One exchange in full. Numbers in ``rows`` and ``answer`` are those of parts, -1 for none."""

    request: Stored | None = None
    sent: Stored | None = None
    sent_to: str = ""
    curl: str = ""
    """The command without its body."""
    rows: list[tuple[Mark, int, int, str]] = field(default_factory=list)
    answer: list[int] = []
    upstream_stream: list[Timed] = []
    client_stream: list[Timed] = []
    omitted_bytes: int = 0


class Pool:
    """What details share: parts, and JSON values of bodies; ``size`` is about how many bytes they are."""

    def __init__(self) -> None:
        self.values: list[Raw | Part] = []
        self.size = 0
        self._numbers: dict[object, int] = {}
        self._parts: dict[tuple[str, bytes], list[Part]] = {}

    def add(self, value: Raw | Part) -> int:
        """Return the number of a value."""
        key: object = bytes(value) if isinstance(value, Raw) else value
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.values)
            self.values.append(value.copy() if isinstance(value, Raw) else value)  # without the line that it is of
            self.size += len(bytes(value)) if isinstance(value, Raw) else len(value.text) + len(value.data) + 60
        return number

    def parts_of(self, raw: Raw, path: str, take_apart: Callable[[Any, str], list[Part]]) -> list[Part]:
        """Return the parts of an item, which are found once though each turn has it again."""
        key = path, bytes(raw)
        if key not in self._parts:
            self._parts[key] = take_apart(parsed(raw), path)
        return self._parts[key]


def read_lines(lines: Iterable[bytes]) -> Lines:
    """Return what the lines of one exchange hold; what can't be read is left out."""
    found = Lines()
    for line in lines:
        with suppress(UnreadableLineError, ValueError, RecursionError):
            entry = read_entry(line)
            match entry.type:
                case "RequestReceived":
                    found.received = entry
                case "RequestSent":
                    found.sent.append(entry)
                case "ExchangeEnded":
                    raw = Raw(b"{}") if isinstance(entry.message, UnsetType) else entry.message
                    found.answer = msgspec.json.decode(raw, type=dict[str, Any])
                case "StreamsRecorded":
                    found.upstream = read_stream(entry.upstream)
                    found.client = read_stream(entry.client)
                    found.omitted_bytes = entry.omitted_bytes
                case "ToolInputRepaired" | "AnswerMended":
                    found.repairs.append(f"{entry.tool_name}: {entry.what}")
                case _:
                    pass
    return found


def detail_of(lines: Lines, pool: Pool) -> Detail:
    """Return the exchange in full; of several requests to engines the last one, which was answered."""
    detail = Detail(omitted_bytes=lines.omitted_bytes, upstream_stream=lines.upstream, client_stream=lines.client)
    sent = lines.sent[-1] if lines.sent else None
    if lines.received is not None:
        detail.request = _stored(lines.received.body, pool)
    if sent is not None:
        detail.sent, detail.sent_to = _stored(sent.body, pool), f"{sent.method} {sent.url}"
        detail.curl = curl_command(sent.method, sent.url, sent.headers)
    for row in rows_of(lines, pool):
        client = -1 if row.client is None else pool.add(replace(row.client, path=""))
        upstream = client if row.mark == "same" else -1 if row.upstream is None else pool.add(row.upstream)
        detail.rows.append((row.mark, client, upstream, row.note))
    detail.answer = [pool.add(part) for part in answer_parts((lines.answer or {}).get("content"))]
    return detail


def rows_of(lines: Lines, pool: Pool) -> list[ComparedPart]:
    """Return the comparison of the client's request with the last one that was sent upstream."""
    sent = lines.sent[-1] if lines.sent else None
    client = _sides(lines.received.body if lines.received else None, pool, is_client=True)
    upstream = _sides(sent.body if sent else None, pool, is_client=False)
    return compare(client, upstream, {loss.path: loss.reason for loss in sent.losses} if sent else {})


def _sides(body: Raw | None, pool: Pool, *, is_client: bool) -> Sides:
    fields = members(bytes(body)) if body is not None else {}
    turns = system_parts(fields)
    name = "messages" if "messages" in fields else "input"
    for at, raw in enumerate(items(fields.get(name))):
        turns += pool.parts_of(raw, f"$.{name}[{at}]" if is_client else "", message_parts)
    tools = list[Part]()
    for at, raw in enumerate(items(fields.get("tools"))):
        tools += pool.parts_of(raw, f"$.tools[{at}]" if is_client else "", tool_parts)
    return Sides(turns, tools, parameter_parts(fields))


def _stored(body: Raw, pool: Pool) -> Stored:
    fields = members(bytes(body))
    if not fields:
        text = parsed(body)
        return Stored(text=text if isinstance(text, str) else bytes(body).decode("utf-8", "replace"))
    kept = {name: found for name in _LISTS if (found := items(fields.get(name)))}
    return Stored(
        members={name: raw.copy() for name, raw in fields.items() if name not in kept},
        lists={name: [pool.add(raw) for raw in found] for name, found in kept.items()},
    )
