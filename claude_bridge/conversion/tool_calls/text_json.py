"""What a tool call looks like as data: an object with a name and an input, or a list of these, in several notations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from msgspec import UNSET

from claude_bridge.conversion.tool_calls.arguments import parsed_schema
from claude_bridge.conversion.tool_json.repair import repair_object
from claude_bridge.conversion.tool_json.text import Json, loose_decoder
from claude_bridge.conversion.tool_names import DeclaredTools, engine_name, folded_name
from claude_bridge.wire.anthropic import Tool
from claude_bridge.wire.lenient_json import as_object, object_in


class PrintedCall(NamedTuple):
    """A tool call that was printed: the name that the client declared, and the input."""

    name: str
    input: dict[str, Json]


_NAME_KEYS = ("name", "tool_name")
_INPUT_KEYS = ("arguments", "parameters", "input")
_TYPES = ("function", "tool_use", "tool_call")

_FIRST_KEYS = ("name", "type", "function", *_INPUT_KEYS)
_EXACT_KEYS = frozenset((*_FIRST_KEYS, "id"))
_KEYS = _EXACT_KEYS | {"tool_name", "tool_call_id"}

_LIST_KEY = "tool_calls"
"""Of an object around the list of calls."""

HEAD_CHARS = 400
"""So much of a call says whether it can be one at all."""

_NAMED = re.compile(r'[\s\[]*\{\s*"(?:tool_)?name"\s*:\s*"([^"\\]*)"')
_CALLED = re.compile(r"\s*\[?\s*([\w.-]+)\s*\(")
_BEGINNING = re.compile(
    r"""
    \s* \[?\s* (?: \{\s* (?: "(?P<key>[^"\\]*) (?: (?P<key_end>")
        \s* (?: :\s* (?: "(?P<value>[^"\\]*) (?P<value_end>")? )? )?
    )? )? )?
    """,
    re.VERBOSE,
)
"""A list or an object, its first key, and the text that is its first value: each as far as it has come."""
_ENDED_WELL = re.compile(r"\}\s*\}\s*\]?\Z")


def calls_in(value: Json, tools: DeclaredTools, *, exactly: bool = False) -> list[PrintedCall]:
    """Return the calls that an object or a list of objects means; none unless all of it are calls.

    ``exactly`` is for where nothing but the shape says that it is a call: it asks for the exact name of a tool, and for
    an input that holds nothing but what the tool declares.
    """
    if isinstance(value, dict) and value.keys() == {_LIST_KEY}:
        value = value[_LIST_KEY]
        if not isinstance(value, list) or any(isinstance(one, dict) and "id" in one for one in value):
            return []  # with ids it is what an API answered
    calls = [_call_in(one, tools, exactly=exactly) for one in (value if isinstance(value, list) else [value])]
    whole = [call for call in calls if call is not None]
    return whole if len(whole) == len(calls) else []


def repaired_calls(text: str, tools: DeclaredTools) -> list[PrintedCall]:
    """Return the calls that malformed JSON means which is a whole answer; none where that is not sure."""
    repaired = repair_object(text) if _ENDED_WELL.search(text) else None
    return [] if repaired is None else calls_in(json.loads(repaired), tools, exactly=True)


def may_be_named_so(head: str, tools: DeclaredTools) -> bool:
    """Return whether JSON that begins so can be a call, as far as its name has come."""
    name = _NAMED.match(head)
    return name is None or tools.find(name[1]) is not None


def may_be_bare_call(head: str, tools: DeclaredTools) -> bool:
    """Return whether text that begins so may become a call though nothing but its shape says so."""
    beginning = _BEGINNING.match(head)
    assert beginning is not None, "it matches nothing at least"
    key, value, is_all = beginning["key"], beginning["value"], beginning.end() == len(head)
    if beginning["key_end"] is None:
        return is_all and (key is None or any(one.startswith(key) for one in (*_FIRST_KEYS, _LIST_KEY)))
    if key not in ("name", "type"):
        return key in _FIRST_KEYS or key == _LIST_KEY
    if value is None:
        return is_all
    options = _TYPES if key == "type" else tools.names
    if beginning["value_end"] is None:
        return is_all and any(option.startswith(value) for option in options)
    return value in options


def may_be_python_calls(head: str, tools: DeclaredTools) -> bool:
    """Return whether text that begins so can be calls in Python's notation, as far as the first name has come."""
    name = _CALLED.match(head)
    return re.fullmatch(r"\s*\[?\s*[\w.-]*\s*", head) is not None if name is None else bool(tools.find(name[1]))


# --- notations --------------------------------------------------------------------------------------------------

_PYTHON_TOKEN = re.compile(
    r"""
    (?P<string> " [^"\\]*+ (?: \\. [^"\\]*+ )*+ " | ' [^'\\]*+ (?: \\. [^'\\]*+ )*+ ' )
    | (?P<open> ["'] .* )
    | (?<![\w.-]) (?P<called> [A-Za-z_][\w.-]*+ ) (?= \s*\( ) \s*\(
    | (?P<close> \) )
    | (?<!\w) (?P<keyword> [A-Za-z_]\w*+ ) (?= \s*=(?!=) ) \s*=
    | (?P<constant> True | False | None )\b
    """,
    re.VERBOSE | re.DOTALL,
)
"""A string that is never closed takes the whole rest, as an error: its end is not looked for twice."""
_GEMMA_TOKEN = re.compile(
    r"""
    <\|"\|> (?P<raw> .*? ) <\|"\|>
    | <escape> (?P<escaped> .*? ) <escape>
    | (?P<json> " [^"\\]*+ (?: \\. [^"\\]*+ )*+ " )
    | (?P<open> (?: <\|"\|> | <escape> | " ) .* )
    | (?<![\w$.-]) (?P<key> [A-Za-z_$][\w$.-]*+ ) (?= \s*: )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\((?P<code>x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})|.)", re.DOTALL)
_CHARACTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": ""} | {c: c for c in "\"'\\"}
_SEPARATOR = re.compile(r"[\s;,]*")
_CONSTANTS = {"True": "true", "False": "false", "None": "null"}


def python_calls(text: str, tools: DeclaredTools, *, exactly: bool = False) -> list[PrintedCall]:
    """Return the calls in ``[Bash(command="ls"), CronList()]``, or in a call a line; none if it is no such text."""
    try:
        found = [calls_in(value, tools, exactly=exactly) for value in _all_json(_PYTHON_TOKEN.sub(_as_json, text))]
    except (ValueError, RecursionError):
        return []
    return [call for calls in found for call in calls] if all(found) else []


def gemma_input(text: str) -> Json:
    """Return the object that is ``{file_path:<|"|>/a<|"|>,limit:20}``; raises ValueError or RecursionError."""
    return loose_decoder.decode(_GEMMA_TOKEN.sub(_as_json, text))


_IN_JSON: dict[str, Callable[[str], str]] = {
    "string": lambda literal: json.dumps(_ESCAPE.sub(_character, literal[1:-1])),
    **dict.fromkeys(("raw", "escaped", "key"), json.dumps),
    "json": str,
    "called": lambda name: f'{{"name":{json.dumps(name)},"arguments":{{',
    "close": lambda _: "}}",
    "keyword": lambda name: f"{json.dumps(name)}:",
    "constant": _CONSTANTS.__getitem__,
}
"""The JSON for a token of another notation, by the token's kind."""


def _as_json(token: re.Match[str]) -> str:
    kind = token.lastgroup or ""
    if kind == "open":
        raise ValueError("a string without its end")
    return _IN_JSON[kind](token[kind])


def _character(escape: re.Match[str]) -> str:
    code = escape["code"]
    return chr(int(code[1:], 16)) if code else _CHARACTERS.get(escape[1], escape[0])


def _all_json(text: str) -> Iterable[Json]:
    """Yield the values that stand one behind the other; raises ValueError."""
    at, text = 0, text.strip()
    while at < len(text):
        value, at = loose_decoder.raw_decode(text, at)
        yield value
        separator = _SEPARATOR.match(text, at)
        assert separator is not None, "it matches nothing at least"
        at = separator.end()


# --- shapes -----------------------------------------------------------------------------------------------------


def _call_in(value: Json, tools: DeclaredTools, *, exactly: bool) -> PrintedCall | None:
    keys = _EXACT_KEYS if exactly else _KEYS
    if not isinstance(value, dict) or value.get("type", "function") not in _TYPES or value.keys() - keys:
        return None
    inner = value.get("function")
    if isinstance(inner, dict):
        return _call_in(inner, tools, exactly=exactly)  # as Chat Completions has it
    name = next((value[key] for key in _NAME_KEYS if key in value), inner)
    tool = tools.find(name) if isinstance(name, str) else None
    inputs = [value[key] for key in _INPUT_KEYS if key in value]
    if tool is None or len(inputs) > 1:
        return None
    meant = _object_or_none(inputs[0]) if inputs and isinstance(inputs[0], str) else next(iter(inputs), {})
    if not isinstance(meant, dict):
        return None
    if exactly and not (inputs and name in (tool.name, engine_name(tool.name)) and declares(tool, meant)):
        return None
    return PrintedCall(tool.name, meant)


def declares(tool: Tool, keys: Iterable[str]) -> bool:
    """Return whether the tool declares all of these properties; a tool without a schema declares any."""
    schema = parsed_schema(bytes(tool.input_schema)) if tool.input_schema is not UNSET else {}
    declared = {folded_name(name) for name in object_in(as_object(schema), "properties")}
    return not declared or all(folded_name(key) in declared for key in keys)


def _object_or_none(text: str) -> Json:
    try:
        return loose_decoder.decode(text)
    except (ValueError, RecursionError):
        repaired = repair_object(text)
        return None if repaired is None else json.loads(repaired)
