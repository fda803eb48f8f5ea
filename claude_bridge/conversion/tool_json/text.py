"""JSON as text: one formatting on the way in, fragments joined on the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Raw, Struct

from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.surrogates import replace_lone_surrogates

Json = Any
"""Any value that a JSON document can hold."""

MAX_JSON_DEPTH = 256
"""How deeply objects and lists may be nested in a schema, or in the input of a tool use."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

_UNPARSED_KEY = "__unparsedToolInput"
"""Under which Claude Code keeps arguments that were no JSON."""

_UNPARSED = f'{{"{_UNPARSED_KEY}":'


class _Unparsed(Struct, frozen=True):
    raw: str


def compact_json(document: Raw) -> str:
    """Return JSON in one fixed formatting, its keys in the order in which they came: it is part of the prompt.

    Raises:
        InvalidRequestError: it is nested too deeply.
    """
    try:
        return msgspec.json.format(replace_lone_surrogates(bytes(document)), indent=-1).decode()
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
    if document.count(b"[") + document.count(b"{") <= MAX_JSON_DEPTH:
        return
    depth = 0
    for bracket in _STRING.sub(b"", document).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_JSON_DEPTH:
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
    """Return what a model wrote in place of JSON under the key of all that is no object, as it was told then."""
    try:
        written = msgspec.json.decode(compact, type=dict[str, _Unparsed])[_UNPARSED_KEY].raw
    except msgspec.ValidationError:  # a tool may have a parameter of this name
        return compact
    return f'{{"input":{msgspec.json.encode(written).decode()}}}'


def arguments_text(arguments: Raw) -> str:
    """Return JSON text, whether the engine sent it as a string or as the object itself."""
    raw = bytes(arguments)
    if raw.startswith(b'"'):
        return msgspec.json.decode(raw, type=str)
    return "" if raw in (b"", b"null") else raw.decode()


def join_arguments(fragments: Sequence[str]) -> str:
    """Return the arguments that the fragments spell.

    Most engines send pieces. Some send all that they have so far each time, or the whole once more at the end:
    then the pieces together are no JSON, but the last one alone is, and it begins as what came before it, or each
    piece is JSON by itself.
    """
    joined = "".join(fragments)
    if len(fragments) < 2 or is_json(joined):
        return joined
    last = fragments[-1]
    before = "".join(fragments[:-1])
    repeats = len(last) > 1 and (last.startswith((before, fragments[-2])) or all(map(is_json, fragments)))
    if repeats and is_json(last):
        return last
    if fragments[0] == "{}" and is_json(rest := "".join(fragments[1:])):
        return rest  # an empty object stood in for what was to come
    return joined


def as_json_text(text: str) -> str:
    """Return ``text`` if it is the beginning of JSON, else the text as a JSON string, which is always legal."""
    return text if _begins_json(text) else msgspec.json.encode(text).decode()


def is_json(text: str | bytes) -> bool:
    """Return whether ``text`` is one JSON document."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def _begins_json(text: str) -> bool:
    """Return whether ``text`` was cut off from valid JSON: the decoder then misses an end, and nothing else."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return "truncated" in str(error)
    except (UnicodeError, RecursionError):
        return False
    return True
