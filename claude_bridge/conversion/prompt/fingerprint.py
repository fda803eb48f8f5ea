"""Where two prompts part: a fingerprint of each part of a request, and what changed first between two of them.

An engine can reuse what it has read as far as a prompt begins as the one before did. All upstream kinds have a system
prompt, tools and messages; which of them comes first is the chat template's affair, and mostly it is in this order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

# Clients move these marks from turn to turn, and no template sees them. Within a text the quotes would be escaped.
_CACHE_CONTROL_MARK = b'"cache_control"'
_CACHE_CONTROL = re.compile(rb',?\s*"cache_control"\s*:\s*(?:null|\{[^{}]*\})')

Section = Literal["model", "system", "tools", "messages", "parameters"]

_NOTHING = Raw(b"null")

_DIGEST_BYTES = 8
_NOT_IN_THE_PROMPT = frozenset((
    "model", "system", "tools", "messages", "input", "instructions", "stream", "stream_options", "metadata", "user",
    "max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "top_k", "stop_sequences",
    "id_slot", "keep_alive", "options", "truncate", "shift", "include", "store", "prompt_cache_key", "cache_control",
    "safety_identifier", "safeguards", "diagnostics", "context_management", "service_tier",
))  # fmt: skip
"""Fields of requests that no chat template sees, or that have a part of their own."""


class Divergence(Struct, frozen=True):
    """The first difference: in which section, in words, and how many bytes of the earlier prompt came before it."""

    section: Section
    what: str
    kept_bytes: int


class _Tool(Struct, frozen=True):
    """One tool: its digest as a whole, and of what may change in it."""

    name: str
    size: int
    digest: bytes
    description: bytes
    schema: bytes


class Fingerprint(Struct, frozen=True):
    """What one prompt was made of; holds digests and lengths, and of its text nothing but the tools' names."""

    model: str
    system: tuple[tuple[int, bytes], ...]
    tools: tuple[_Tool, ...]
    roles: str
    """The first letter of each message's role."""
    messages: bytes
    """The digests of the messages, one after the other."""
    message_sizes: tuple[int, ...]
    parameters: bytes

    @property
    def size(self) -> int:
        """How many bytes the parts of the prompt take."""
        return sum(size for size, _ in self.system) + sum(tool.size for tool in self.tools) + sum(self.message_sizes)

    @property
    def opening(self) -> bytes:
        """What a conversation keeps from beginning to end: its first message."""
        return self.messages[:_DIGEST_BYTES]

    @property
    def behind_opening(self) -> bytes:
        """The digests of all messages but the first."""
        return self.messages[_DIGEST_BYTES:]


class _Message(Struct):
    role: str = ""
    type: str = ""
    content: Raw = Raw(b"null")


# Whose an item of the Responses API is that is no message.
_SPEAKERS = {"function_call": "assistant", "reasoning": "assistant", "function_call_output": "tool"}


_fields_decoder = msgspec.json.Decoder(dict[str, Raw])
_items_decoder = msgspec.json.Decoder(list[Raw])
_message_decoder = msgspec.json.Decoder(_Message)


def fingerprint(body: bytes) -> Fingerprint | None:
    """Return the fingerprint of a request to an engine of any kind, or None for a body that is no such request.

    A megabyte takes two milliseconds.
    """
    try:
        fields = _fields_decoder.decode(body)
        items = _items(fields, "messages") or _items(fields, "input")
        messages = [_message_decoder.decode(message) for message in items]
        tools = _tools_of(bytes(fields.get("tools", b"null")))
        model = msgspec.json.decode(fields.get("model", b'""'), type=str)
    except (msgspec.DecodeError, RecursionError):
        return None
    system = [part for name in ("system", "instructions") for part in _system_parts(fields.get(name, _NOTHING))]
    heads = ("system", "developer")
    first = next((at for at, message in enumerate(messages) if message.role not in heads), len(messages))
    system += map(_part, items[:first])  # of OpenAI's APIs and Ollama
    raws = items[first:]
    rest = b"".join(
        b"%b:%b," % (name.encode(), bytes(fields[name])) for name in fields if name not in _NOT_IN_THE_PROMPT
    )
    return Fingerprint(
        model=model,
        system=tuple(system),
        tools=tools,
        # Without a call of ours for each message: there may be thousands.
        roles="".join([(message.role or _SPEAKERS.get(message.type, "?"))[:1] for message in messages[first:]]),
        messages=b"".join(
            [
                _digest(raw) if _CACHE_CONTROL_MARK in bytes(raw) else blake2b(raw, digest_size=_DIGEST_BYTES).digest()
                for raw in raws
            ]
        ),
        message_sizes=tuple([len(memoryview(raw)) for raw in raws]),
        parameters=_digest(rest),
    )


def divergence(before: Fingerprint, now: Fingerprint) -> Divergence | None:
    """Return what changed first, or None if ``now`` begins with the whole content of ``before``."""
    if before.model != now.model:
        return Divergence("model", f"the model was {before.model}, and is {now.model}", 0)
    kept = 0
    for number, part in enumerate(before.system[: len(now.system)]):
        if part != now.system[number]:
            return Divergence("system", _system_change(number, len(before.system)), kept)
        kept += part[0]
    if len(before.system) != len(now.system):
        return Divergence("system", "the system prompt has more parts or less", kept)
    for old, new in zip(before.tools, now.tools, strict=False):
        if old.digest != new.digest:
            return Divergence("tools", _tools_change(before.tools, now.tools, old, new), kept)
        kept += old.size
    if len(before.tools) != len(now.tools):
        return Divergence("tools", _tools_added_or_removed(before.tools, now.tools), kept)
    if before.parameters != now.parameters:
        return Divergence("parameters", "thinking, tool_choice or another parameter of the prompt changed", kept)
    return _messages_divergence(before, now, kept)


def _messages_divergence(before: Fingerprint, now: Fingerprint, kept: int) -> Divergence | None:
    if now.messages.startswith(before.messages):
        return None
    for number, size in zip(count(), before.message_sizes):
        place = slice(number * _DIGEST_BYTES, (number + 1) * _DIGEST_BYTES)
        if before.messages[place] != now.messages[place]:
            who = {"u": "user", "a": "assistant", "t": "tool"}.get(before.roles[number], "other role")
            is_gone = number >= len(now.roles)
            what = "is gone, and all after it" if is_gone else "changed"
            return Divergence("messages", f"message {number + 1} of {len(before.roles)} ({who}) {what}", kept)
        kept += size
    return None


def _system_change(number: int, parts: int) -> str:
    return "the system prompt changed" if parts == 1 else f"part {number + 1} of {parts} of the system prompt changed"


def _tools_change(before: Sequence[_Tool], now: Sequence[_Tool], old: _Tool, new: _Tool) -> str:
    if old.name == new.name:
        parts = [part for part in ("description", "schema") if getattr(old, part) != getattr(new, part)]
        return f"tool {old.name}'s {' and '.join(parts) or 'declaration'} changed"
    if {tool.name for tool in before} == {tool.name for tool in now}:
        return f"the tools are in another order: {new.name} stands where {old.name} stood"
    return _tools_added_or_removed(before, now)


def _tools_added_or_removed(before: Sequence[_Tool], now: Sequence[_Tool]) -> str:
    earlier, later = dict.fromkeys(tool.name for tool in before), dict.fromkeys(tool.name for tool in now)
    added = [name for name in later if name not in earlier]
    removed = [name for name in earlier if name not in later]
    parts = [
        f"tools were {verb}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
        for verb, names in (("added", added), ("removed", removed))
        if names
    ]
    return "; ".join(parts) or "a tool is declared twice"


def _system_parts(system: Raw) -> Iterator[tuple[int, bytes]]:
    document = bytes(system)
    if document.startswith(b"["):
        yield from map(_part, msgspec.json.decode(system, type=list[Raw]))
    elif document != b"null":
        yield _part(system)


def _items(fields: dict[str, Raw], name: str) -> list[Raw]:
    return _items_decoder.decode(fields[name]) if name in fields else []


@lru_cache(maxsize=8)  # nearly all requests of a session have the same
def _tools_of(tools: bytes) -> tuple[_Tool, ...]:
    return tuple(map(_tool, msgspec.json.decode(tools, type=list[Raw] | None) or ()))


def _part(raw: Raw) -> tuple[int, bytes]:
    return len(memoryview(raw)), _digest(raw)


def _tool(raw: Raw) -> _Tool:
    fields: dict[str, Any] = {}
    try:
        fields = _fields_decoder.decode(raw)
        fields = _fields_decoder.decode(fields["function"]) if "function" in fields else fields
        name = msgspec.json.decode(fields.get("name", Raw(b'""')), type=str)
    except (msgspec.DecodeError, RecursionError):
        name = "?"
    described, schema = fields.get("description", b""), fields.get("parameters", fields.get("input_schema", b""))
    return _Tool(name, len(memoryview(raw)), _digest(raw), _digest(described), _digest(schema))


def _digest(part: bytes | Raw) -> bytes:
    if _CACHE_CONTROL_MARK in bytes(part):
        part = _CACHE_CONTROL.sub(b"", bytes(part))
    return blake2b(part, digest_size=_DIGEST_BYTES).digest()
