"""Lenient reading: a struct from JSON whose fields may have types that nobody announced, and text that is no Unicode.

The strict decoder is an order of magnitude faster and right nearly always; this is what is tried when it says no.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Raw, Struct

_Document = TypeVar("_Document", bytes, Raw, str)
_Read = TypeVar("_Read")
_Shape = TypeVar("_Shape", bound=Struct)


def parse_any(document: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Return the plain value of a JSON document; raises msgspec.DecodeError where it is none."""
    text = replace_lone_surrogates(document.decode("utf-8", "replace").encode())
    try:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            # Python's own reader takes what engines in Python write: NaN, Infinity, 1e999.
            return json.loads(text, parse_constant=lambda _: None)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from None


def read_or_none(read: Callable[[_Document], _Read], document: _Document) -> _Read | None:
    """Return what a reader of JSON makes of a document; None where that is not what it reads."""
    try:
        return read(document)
    except (ValueError, RecursionError):  # msgspec's errors and those of Unicode are of the former
        return None


def parse_object(document: bytes) -> dict[str, Any]:
    """Return a JSON object as plain values, or an empty one for anything else."""
    return as_object(read_or_none(parse_any, document))


def as_object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return the value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def object_in(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the JSON object in a field, or an empty one for anything else."""
    return as_object(fields.get(name))


def list_in(fields: dict[str, Any], name: str) -> list[Any]:
    """Return the list in a field, or an empty one for anything else."""
    value = fields.get(name)
    return value if isinstance(value, list) else []


def text_in(fields: dict[str, Any], name: str) -> str:
    """Return the text in a field, or an empty one for anything else."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def parse_leniently(document: bytes, shape: type[_Shape]) -> _Shape:
    """Return the struct that a JSON object spells; a field of the wrong type counts as not given.

    Numbers given as strings are read, strings given as numbers too, one item in place of a list of items as a list
    of one. Bytes that are no UTF-8 and lone surrogates become U+FFFD.

    Raises:
        msgspec.DecodeError: the document is no JSON, no object, or lacks a field that has no default.
    """
    read = _struct(parse_any(document), shape)
    if read is None:
        raise msgspec.DecodeError(f"no {shape.__name__}")
    return read


def fill_leniently(value: Any, shape: type[_Shape]) -> _Shape:  # noqa: ANN401 - any JSON
    """Return the struct that a JSON value spells as far as it goes; a required field that it does not spell is empty.

    A field that may hold several kinds of objects must name one of them as its type.
    """
    read = _struct(value if isinstance(value, dict) else {}, shape, fills=True)
    assert read is not None, "an object is always filled"
    return read


def parser_of(shape: type[_Shape]) -> Callable[[bytes | Raw], _Shape]:
    """Return what reads a struct from a JSON object: one odd field must not cost the user an answer.

    It raises msgspec.DecodeError as ``parse_leniently`` does.
    """
    decode = msgspec.json.Decoder(shape).decode

    def parse(document: bytes | Raw) -> _Shape:
        try:
            if type(document) is bytes and not document.isascii():
                document.decode()  # the decoder itself does not look into Raw fields
            return decode(document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return parse_leniently(bytes(document), shape)

    return parse


@cache
def _fields(shape: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(shape)


def _struct(value: Any, shape: type[_Shape], *, fills: bool = False) -> _Shape | None:  # noqa: ANN401 - any JSON
    if not isinstance(value, dict):
        return None
    read: dict[str, Any] = {}
    for field in _fields(shape):
        given = value.get(field.encode_name)
        accepted = _accepted(field.type, given)
        found = (_value(given, kind, fills=fills) for kind in accepted if given is not None)
        known = next((one for one in found if one is not None), None)
        if known is not None:
            read[field.name] = known
        elif field.required and fills:
            read[field.name] = _empty(field.type)
        elif field.required:
            return None
    return shape(**read)


def _accepted(kind: Any, value: Any) -> tuple[Any, ...]:  # noqa: ANN401 - any annotation, any JSON
    """Return the types that a value may be read as; of several kinds of objects that one which it names."""
    if not isinstance(kind, UnionType):
        return (kind,)
    name = value.get("type") if isinstance(value, dict) else None
    tags = {
        one: one.__struct_config__.tag for one in get_args(kind) if isinstance(one, type) and issubclass(one, Struct)
    }
    return tuple(one for one in get_args(kind) if tags.get(one) in (None, name))


def _empty(kind: Any) -> Any:  # noqa: ANN401 - any annotation
    if NoneType in get_args(kind):
        return None
    kind = get_args(kind)[0] if isinstance(kind, UnionType) else kind
    origin = get_origin(kind)
    if origin is Literal:
        return get_args(kind)[0]
    if origin is not None:
        return origin()
    return fill_leniently({}, kind) if issubclass(kind, Struct) else kind()


def _value(value: Any, kind: Any, *, fills: bool = False) -> Any:  # noqa: ANN401 - any JSON, any annotation
    """Return the value as one of ``kind``, or None where it can't be read so."""
    if kind is Any:
        return value
    if kind is NoneType:
        return None
    if kind is Raw:
        return _raw(value)
    if get_origin(kind) is list:
        return _list(value, *get_args(kind), fills=fills)
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _struct(value, kind, fills=fills)
    if isinstance(value, bool) and kind is not bool:
        return None
    if kind is str:
        return str(value) if isinstance(value, str | int | float) else None
    if kind is int and isinstance(value, float):
        return int(value) if isfinite(value) else None
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        return None


def _list(value: Any, item: Any, *, fills: bool) -> list[Any] | None:  # noqa: ANN401 - as above
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return None
    parts = ((part, kind) for part in value for kind in _accepted(item, part))
    return [found for part, kind in parts if (found := _value(part, kind, fills=fills)) is not None]


def _raw(value: Any) -> Raw | None:  # noqa: ANN401 - as above
    try:
        return Raw(msgspec.json.encode(value))
    except RecursionError:  # encoding nests a little deeper than decoding did
        return None


# --- lone surrogates: JavaScript and Python cut strings between UTF-16 halves, and their JSON encoders write them -----

_HIGH = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE = re.compile(rb"%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))

FIRST_HALF_AT_END = re.compile(rb'(?<!\\)%b(?=")' % _HIGH)
SECOND_HALF_AT_START = re.compile(rb'(?<=[^\\]")%b' % _LOW)
"""Half a character at the end or the beginning of a text in JSON."""

_SEAM = re.compile(rb"[^\\]{12}|[^\\](?:\\[^u]|(?!%b)\\u[0-9a-fA-F]{4}|%b(?=%b))" % (_HIGH, _HIGH, _HIGH))
"""What ends outside of an escape, and not between the halves of a pair."""

_BACKSLASH = rb"\\"
_STAND_IN = b"\x00\x01"
"""For a quoted backslash, so that what follows it is not taken for an escape; no JSON text holds these bytes."""

SLICE_BYTES = 256 * 1024
"""How much is read at a time: other threads get the interpreter in between."""
_SEAM_WITHIN_BYTES = 4_096


def replace_lone_surrogates(document: bytes, *, slice_bytes: int = SLICE_BYTES) -> bytes:
    """Return the JSON text with U+FFFD in place of each half of a pair that stands alone; of the same length."""
    if b"\\" not in document:  # found in a tenth of the time that the others take
        return document
    if (b"\\ud" not in document and b"\\uD" not in document) or b"\x00" in document:
        return document
    return b"".join(map(_replaced, _slices(document, slice_bytes)))


def _slices(document: bytes, slice_bytes: int) -> Iterator[bytes]:
    start = at = 0
    while (at := at + slice_bytes) < len(document):
        if seam := _SEAM.search(document, at, at + _SEAM_WITHIN_BYTES):
            yield document[start : seam.end()]
            start = at = seam.end()
    yield document[start:]


def _replaced(part: bytes) -> bytes:
    return _LONE.sub(rb"\\ufffd", part.replace(_BACKSLASH, _STAND_IN)).replace(_STAND_IN, _BACKSLASH)
