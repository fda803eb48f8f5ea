"""JSON as text: one formatting on the way in; on the way out fragments become inputs, which are always objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import Raw, Struct

from claude_bridge.clients.claude_code import UNPARSED_KEY
from claude_bridge.conversion.tool_json.progress import nesting_depth
from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.lenient_json import replace_lone_surrogates

Json = Any
"""Any value that a JSON document can hold."""

MAX_JSON_DEPTH = 256
"""How deeply objects and lists may be nested in a schema, or in the input of a tool use."""

_UNPARSED = f'{{"{UNPARSED_KEY}":'

MAX_DEPTH = 100
"""The parser of Anthropic's SDK for Python gives up at twice this depth."""

_MAX_OBJECTS = 64


def _no_json(constant: str) -> Json:
    raise ValueError(f"{constant} is no JSON")


loose_decoder = json.JSONDecoder(strict=False, parse_constant=_no_json)
"""Takes line ends and tabs inside strings, the commonest fault of all."""


class _Unparsed(Struct, frozen=True):
    raw: str


def compact_json(document: Raw) -> str:
    """Return JSON in one fixed formatting, its keys in the order in which they came: it is part of the prompt.

    Raises:
        InvalidRequestError: it is nested too deeply.
    """
    text = bytes(document)
    try:
        check_depth(text)
        return msgspec.json.format(replace_lone_surrogates(text), indent=-1).decode()
    except RecursionError:
        raise InvalidRequestError("messages: the input of a tool use is nested too deeply") from None


def _decimal(digits: str) -> Decimal | float:
    try:
        return Decimal(digits)
    except ArithmeticError:  # an exponent of twenty digits
        return float(digits)


_exact_decoder = msgspec.json.Decoder(float_hook=_decimal)
_exact_encoder = msgspec.json.Encoder(decimal_format="number")


def decode_exactly(document: bytes | Raw) -> Json:
    """Return the value of a JSON document, with its fractions as Decimal: ``1e15`` is not to become 18 digits."""
    return _exact_decoder.decode(document)


def encode_exactly(value: Json) -> bytes:
    """Return the JSON document of a value that ``decode_exactly`` gave."""
    return _exact_encoder.encode(value)


def check_depth(document: bytes) -> None:
    """Check that a JSON document is not nested more deeply than MAX_JSON_DEPTH; raises RecursionError where it is."""
    has_many = document.count(b"[") + document.count(b"{") > MAX_JSON_DEPTH
    if has_many and nesting_depth(document) > MAX_JSON_DEPTH:
        raise RecursionError("nested too deeply")


def as_object_json(tool_input: Raw) -> str:
    """Return the input as ``compact_json`` does, and always as an object.

    Chat templates take arguments apart as an object, and fail on anything else: that goes in under a key.
    """
    compact = compact_json(tool_input)
    if compact.startswith(_UNPARSED):
        return _unparsed(compact)
    if compact.startswith("{"):
        return compact
    return "{}" if compact == "null" else f'{{"input":{compact}}}'


def _unparsed(compact: str) -> str:
    """Return what a model wrote in place of JSON under the key of all that is no object."""
    try:
        written = msgspec.json.decode(compact, type=dict[str, _Unparsed])[UNPARSED_KEY].raw
    except msgspec.ValidationError:  # a tool may have a parameter of this name
        return compact
    return f'{{"input":{msgspec.json.encode(written).decode()}}}'


def arguments_text(arguments: Raw) -> str:
    """Return JSON text, whether the engine sent it as a string or as the object itself."""
    raw = bytes(arguments)
    if raw.startswith(b'"'):
        return msgspec.json.decode(raw, type=str)
    return "" if raw in (b"", b"null") else raw.decode()


def split_calls(fragments: Sequence[str]) -> list[str]:
    """Return the arguments that the fragments of one call spell: one text, or one for each call that is in it.

    Most engines send pieces. Some send all that they have so far each time, or the whole once more at the end: what
    only repeats or extends what came before it takes its place. Some send the calls of one tool one behind the other.
    """
    joined = "".join(fragments)
    if is_json(joined):
        return [joined]
    if len(fragments) > 1:
        last, before = fragments[-1], "".join(fragments[:-1])
        if len(last) > 1 and last.startswith((before, fragments[-2])) and is_json(last):
            return [last]
        if last == before and begins_json(last) and not begins_json(joined):
            return [last]  # cut off, and then sent once more
        if not begins_json(joined) and all(later.startswith(earlier) for earlier, later in pairwise(fragments)):
            return [last]  # cut off
    return _split_objects(joined)


def _split_objects(text: str) -> list[str]:
    """Return the objects that stand one behind the other, the last one perhaps unfinished."""
    found: list[tuple[dict[str, Json], str]] = []
    start = at = 0
    for _ in range(_MAX_OBJECTS):
        start = len(text) - len(text[at:].lstrip())
        try:
            value, at = loose_decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            break
        if not isinstance(value, dict):
            return [text]
        if found and _extends(value, found[-1][0]):
            found.pop()
        if not found or (value and all(value != other for other, _ in found)):
            found.append((value, text[start:at]))
    rest = text[at:].strip()
    if not found or (rest and not rest.startswith("{")):
        return [text]
    if rest and found[0][0] == {}:
        found.clear()  # it stood in for what was to come
    return [*(source for _, source in found), *([rest] if rest else [])]


def _extends(value: dict[str, Json], before: dict[str, Json]) -> bool:
    """Return whether an object is the one that came before it, with more of it known."""
    return all(key in value and _goes_on(value[key], inner) for key, inner in before.items())


def _goes_on(value: Json, before: Json) -> bool:
    is_longer = isinstance(value, str) and isinstance(before, str) and value.startswith(before)
    return is_longer or bool(value == before)


def input_json(text: str) -> str:
    """Return the JSON of a tool use's input, which is always an object.

    What is no JSON goes under the key that Claude Code itself gives it: the client then tells the model what it wrote,
    and that it could not be parsed. So does what is nested so deeply that the SDKs can't read it.
    """
    text = text.strip() or "{}"
    if not is_json(text) or nesting_depth(text.encode()) > MAX_DEPTH:
        return msgspec.json.encode({UNPARSED_KEY: {"raw": text, "len": len(text)}}).decode()
    return text if text.startswith("{") else f'{{"input":{text}}}'


def open_input_json(text: str) -> str:
    """Return the input of a call that was cut off: left open, as the API leaves it, so that no client runs it."""
    is_readable = text.startswith("{") and begins_json(text) and nesting_depth(text.encode()) <= MAX_DEPTH
    return text if is_readable else input_json(text)


def is_json(text: str | bytes) -> bool:
    """Return whether ``text`` is one JSON document."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def begins_json(text: str) -> bool:
    """Return whether ``text`` was cut off from valid JSON: the decoder then misses an end, and nothing else."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return "truncated" in str(error)
    except (UnicodeError, RecursionError):
        return False
    return True
