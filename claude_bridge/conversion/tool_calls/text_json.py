"""What has the shape of a tool call, as JSON: one object with a name and an input, or a list of these."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from msgspec import UNSET

from claude_bridge.conversion.tool_calls.arguments import parsed_schema
from claude_bridge.conversion.tool_json.repair import repair_object
from claude_bridge.conversion.tool_json.schema_check import dict_in
from claude_bridge.conversion.tool_json.text import Json
from claude_bridge.conversion.tool_names import called_tool, engine_name, folded_name
from claude_bridge.wire.anthropic import Tool


class PrintedCall(NamedTuple):
    """A tool call that was printed: the name that the client declared, and the input."""

    name: str
    input: dict[str, Json]


class Read(NamedTuple):
    """Calls that are whole, and where the text behind them begins."""

    calls: list[PrintedCall]
    end: int


class Verdict(Enum):
    """What a text is that holds no whole call: perhaps the beginning of one, or none."""

    UNFINISHED = auto()
    NO_CALL = auto()


UNFINISHED, NO_CALL = Verdict.UNFINISHED, Verdict.NO_CALL

_INPUT_KEYS = ("arguments", "parameters", "input")
_FIRST_KEYS = ("name", "type", "function", *_INPUT_KEYS)
_KEYS = frozenset((*_FIRST_KEYS, "id"))
_TYPES = ("function", "tool_use", "tool_call")

_MAX_CLOSERS_TRIED = 4

_LOOSE = json.JSONDecoder(strict=False)
_NAME = re.compile(r'[\s\[]*\{\s*"name"\s*:\s*"([^"\\]*)"')
_BEGINNING = re.compile(
    r"""
    \[?\s* (?: \{\s* (?: "(?P<key>[^"\\]*) (?: (?P<key_end>")
        \s* (?: :\s* (?: "(?P<value>[^"\\]*) (?P<value_end>")? )? )?
    )? )? )?
    """,
    re.VERBOSE,
)
"""A list or an object, its first key, and the text that is its first value: each as far as it has come."""
_ENDED_WELL = re.compile(r"\}\s*\}\s*\]?\Z")


def read_objects(text: str, at: int, tools: Sequence[Tool], closer: str | None = None) -> Read | Verdict:
    """Read the JSON of one call, or of a list of calls; malformed JSON only if ``closer`` follows."""
    name = _NAME.match(text, at)
    if name is not None and called_tool(name[1], tools) is None:
        return NO_CALL
    found = json_at(text, at, closer)
    if isinstance(found, Verdict):
        return found
    calls = calls_in(found[0], tools)
    return Read(calls, found[1]) if calls else NO_CALL


def read_bare_objects(text: str, at: int, tools: Sequence[Tool]) -> Read | Verdict:
    """Read the same where nothing but its shape says that it is a call: it must have exactly that shape."""
    if not _may_be_a_call(text, at, tools):
        return NO_CALL
    found = json_at(text, at, None)
    if isinstance(found, Verdict):
        return found
    return Read(calls, found[1]) if (calls := calls_in(found[0], tools, exactly=True)) else NO_CALL


def mended_calls(text: str, tools: Sequence[Tool]) -> list[PrintedCall]:
    """Return the calls that malformed JSON means, which goes to its own end; none where that is not sure."""
    mended = repair_object(text) if _ENDED_WELL.search(text) else None
    return [] if mended is None else calls_in(json.loads(mended), tools, exactly=True)


def calls_in(value: Json, tools: Sequence[Tool], *, exactly: bool = False) -> list[PrintedCall]:
    """Return the calls that an object or a list of objects means; none unless all of it are calls.

    ``exactly`` asks for the exact name of a tool, and for an input that gives nothing but what the tool declares.
    """
    calls = [_call_in(one, tools, exactly=exactly) for one in (value if isinstance(value, list) else [value])]
    whole = [call for call in calls if call is not None]
    return whole if len(whole) == len(calls) else []


def json_at(text: str, at: int, closer: str | None) -> tuple[Json, int] | Verdict:
    """Return the JSON value that stands there and where it ends; a malformed one ends at ``closer``.

    What stands before the fault is no closer: a file that is written may hold one.
    """
    if at == len(text):
        return UNFINISHED
    if text[at] not in "{[":
        return NO_CALL
    try:
        return _LOOSE.raw_decode(text, at)
    except json.JSONDecodeError as error:
        if error.msg.startswith("Unterminated string"):
            return UNFINISHED
        end = error.pos - 1
    except (ValueError, RecursionError):
        end = at
    for _ in range(_MAX_CLOSERS_TRIED if closer else 0):
        end = text.find(closer or "", end + 1)
        if end < 0:
            break
        mended = repair_object(text[at:end])
        if mended is not None:
            return json.loads(mended), end
    return UNFINISHED


def _call_in(value: Json, tools: Sequence[Tool], *, exactly: bool) -> PrintedCall | None:
    if not isinstance(value, dict) or value.get("type", "function") not in _TYPES or value.keys() - _KEYS:
        return None
    inner = value.get("function")
    if isinstance(inner, dict):
        return _call_in(inner, tools, exactly=exactly)  # as Chat Completions has it
    name = value.get("name", inner)
    tool = called_tool(name, tools) if isinstance(name, str) else None
    given = [value[key] for key in _INPUT_KEYS if key in value]
    if tool is None or len(given) > 1:
        return None
    meant = _object_or_none(given[0]) if given and isinstance(given[0], str) else next(iter(given), {})
    if not isinstance(meant, dict):
        return None
    if exactly and not (given and name in (tool.name, engine_name(tool.name)) and _gives_what_is_declared(meant, tool)):
        return None
    return PrintedCall(tool.name, meant)


def _gives_what_is_declared(given: dict[str, Json], tool: Tool) -> bool:
    """Return whether all of an input is declared; else it may be the declaration itself that was printed."""
    schema = parsed_schema(bytes(tool.input_schema)) if tool.input_schema is not UNSET else {}
    declared = {folded_name(name) for name in dict_in(schema, "properties")} if isinstance(schema, dict) else set()
    return not declared or all(folded_name(key) in declared for key in given)


def _may_be_a_call(text: str, at: int, tools: Sequence[Tool]) -> bool:
    """Return whether JSON may become a call, as far as it has come: its first key and value are enough to say no."""
    beginning = _BEGINNING.match(text, at)
    assert beginning is not None, "it matches nothing at least"
    key, value = beginning["key"], beginning["value"]
    if beginning["key_end"] is None:
        return beginning.end() == len(text) and (key is None or any(one.startswith(key) for one in _FIRST_KEYS))
    if key not in _FIRST_KEYS:
        return False
    if key not in ("name", "type"):
        return True
    if value is None:
        return beginning.end() == len(text)
    options = _TYPES if key == "type" else [name for tool in tools for name in (tool.name, engine_name(tool.name))]
    if beginning["value_end"] is None:
        return beginning.end() == len(text) and any(option.startswith(value) for option in options)
    return value in options


def _object_or_none(text: str) -> Json:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        mended = repair_object(text)
        return None if mended is None else json.loads(mended)
