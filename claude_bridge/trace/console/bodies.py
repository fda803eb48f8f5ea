"""Request bodies summed up in what a person can read: what fills them, and what was said last.

They are read loosely: a body that is wrong, or of a kind not known, gives a poorer summary and never an error.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw, Struct

from claude_bridge.clients.claude_code import REMINDER_TAG
from claude_bridge.trace.console.printable import NO_BREAK, counted, one_line, shortened, size
from claude_bridge.trace.parts import items, members, parsed

_MAX_VALUE_CHARS = 40
_MAX_SAID_CHARS = 4_000
_SHOWN_ELSEWHERE = frozenset({"model", "stream", "metadata", "stream_options", "messages", "input", "tools", "system"})
_REMINDER = f"<{REMINDER_TAG}>"


class Said(NamedTuple):
    """One thing of the client's last turn."""

    who: Literal["user", "result"]
    text: str
    tone: Literal["plain", "dim", "warning"] = "plain"


class Contents(NamedTuple):
    """What fills a request body: ``sizes`` of messages by role and of tools, and the other ``parameters``."""

    sizes: str
    parameters: str


def contents(body: bytes) -> Contents:
    """Return what fills a request body.

    It reads any wire that has ``messages`` or ``input`` items, so that the client's request and the translated one can
    be compared.
    """
    fields = members(body)
    if not fields and parsed(body) != {}:
        return Contents("", f"no JSON object: {shortened(one_line(body[:200].decode('utf-8', 'replace')), 100)}")
    sizes = [f"system prompt {size(len(bytes(fields['system'])))}"] if "system" in fields else []
    sizes += _messages_by_role(items(fields.get("messages") or fields.get("input")))
    tools = fields.get("tools", Raw(b"[]"))
    if number := len(items(tools)):
        sizes.append(f"{counted(number, 'tool')} {size(len(bytes(tools)))}")
    parameters = [f"{name} {_value(raw)}" for name, raw in fields.items() if name not in _SHOWN_ELSEWHERE]
    return Contents(", ".join(part.replace(" ", NO_BREAK) for part in sizes), ", ".join(parameters))


def last_said(body: bytes) -> list[Said]:
    """Return what the client's last user turn says: texts and tool results, in their order.

    Behind it may stand messages of role "system", and within it reminders that the client wrote itself: those are
    only counted.
    """
    messages = items(members(body).get("messages"))
    decoded: list[Any] = []
    for raw in reversed(messages):  # only the last few are decoded: a history may be a megabyte
        decoded.append(parsed(raw))
        if isinstance(decoded[-1], dict) and decoded[-1].get("role") == "user":
            break
    if not decoded or not isinstance(decoded[-1], dict):
        return []
    before = messages[-len(decoded) - 1] if len(messages) > len(decoded) else Raw(b"{}")
    content = decoded[-1].get("content")
    if isinstance(content, str):
        return [Said("user", shortened(content, _MAX_SAID_CHARS))]
    return _blocks_said(content, _tool_names(before)) if isinstance(content, list) else []


def _blocks_said(blocks: list[Any], tool_names: dict[str, str]) -> list[Said]:
    said: list[Said] = []
    reminders = 0
    for block in blocks:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "tool_result":
            name = tool_names.get(str(block.get("tool_use_id")), "?")
            tone: Literal["plain", "warning"] = "warning" if block.get("is_error") is True else "plain"
            said.append(Said("result", _result_said(name, block), tone))
        elif kind == "text" and str(block.get("text")).lstrip().startswith(_REMINDER):
            reminders += 1
        elif kind is not None:
            said.append(Said("user", _block_text(block)))
    if reminders:
        said.append(Said("user", f"({counted(reminders, 'reminder')} of the client's own)", "dim"))
    return said


def _result_said(name: str, block: dict[str, Any]) -> str:
    content = block.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    text = " ".join(_block_text(part) for part in parts if isinstance(part, dict))
    if not text:
        return f"{name} gave nothing"
    verb = "failed with" if block.get("is_error") is True else "gave"
    return f"{name} {verb} {size(len(text.encode('utf-8', 'replace')))}: {one_line(text[:_MAX_SAID_CHARS])}"


def _block_text(block: dict[str, Any]) -> str:
    if block.get("type") == "text":
        return str(block.get("text"))
    source = block.get("source")
    if isinstance(source, dict):
        kind = source.get("media_type", source.get("type", "?"))
        return f"[{block.get('type')} {kind} {size(len(str(source.get('data', ''))))}]"
    return f"[{block.get('type')}]"


def _tool_names(message: Raw) -> dict[str, str]:
    """Return the names of the tools that an assistant's message calls, by the ids of the calls."""
    decoded = parsed(message)
    content = decoded.get("content") if isinstance(decoded, dict) else None
    blocks = content if isinstance(content, list) else []
    return {str(block.get("id")): str(block["name"]) for block in blocks if isinstance(block, dict) and "name" in block}


class _Role(Struct):
    role: str = ""
    type: str = "?"


_ITEMS = {"function_call_output": "tool", "function_call": "call", "reasoning": "thought"}
"""Items of the Responses API that are no messages."""


_role_decoder = msgspec.json.Decoder(_Role)


def _messages_by_role(messages: list[Raw]) -> list[str]:
    counts: dict[str, list[int]] = {}
    for message in messages:
        try:
            found = _role_decoder.decode(message)
            role = found.role or _ITEMS.get(found.type, found.type)
        except (ValueError, RecursionError):
            role = "?"
        count = counts.setdefault(role, [0, 0])
        count[0] += 1
        count[1] += len(bytes(message))
    parts = [
        f"{counted(number, 'tool result') if role == 'tool' else f'{number} {role}'} {size(total)}"
        for role, (number, total) in counts.items()
    ]
    return parts or ["no messages"]


def _value(raw: Raw) -> str:
    value = parsed(raw)
    if isinstance(value, dict):
        inside = " ".join(f"{key} {part}" for key, part in value.items() if isinstance(part, str | int))
        is_whole = all(isinstance(part, str | int) for part in value.values()) and len(inside) <= _MAX_VALUE_CHARS
        return f"{{{inside}}}" if is_whole else f"{{{size(len(bytes(raw)))}}}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = value if isinstance(value, str) else bytes(raw).decode("utf-8", "replace")
    return shortened(one_line(text[:1000]), _MAX_VALUE_CHARS)
