"""The words for keys and values, in mistakes, in the example file and in the documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from claude_bridge.config.line_numbers import KeyPath
from claude_bridge.config.types import HIDDEN, Secret, WrittenText


def key_text(path: KeyPath) -> str:
    """Return a whole key as one writes it: ``providers."a.b".models[0].id``."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += ("." if text else "") + (key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key))
    return text


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever a setting holds
    """Return a value as programs read it: of tables what is given in them, and keys hidden."""
    if isinstance(value, Secret):
        return value.shown
    if isinstance(value, Struct):
        return {name: plain(one) for name, one in msgspec.structs.asdict(value).items() if one is not None}
    return value


def shown(value: Any) -> str:  # noqa: ANN401 - whatever TOML holds
    """Return a plain value in TOML's manner, as people read it."""
    if value is None or value == HIDDEN:
        return value or "-"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {shown(one)}" for name, one in value.items()) + " }"
    return json.dumps(value, default=str, ensure_ascii=False)


def wanted(kind: Any) -> str:  # noqa: ANN401 - a type, perhaps with bounds
    """Return what a value of this type is, as in "must be …"."""
    if isinstance(kind, type) and issubclass(kind, WrittenText | Secret):
        return kind.WANTED
    if is_table(kind):
        return "a table"
    if get_origin(kind) is tuple:
        return (
            "a list of tables" if is_table(get_args(kind)[0]) else f"a list; each must be {wanted(get_args(kind)[0])}"
        )
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    match msgspec.inspect.type_info(kind):
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType(ge=low, le=high):
            return f"a whole number{_bounds(low, high)}"
        case msgspec.inspect.FloatType(ge=low, le=high):
            return f"a number{_bounds(low, high)}"
        case msgspec.inspect.StrType(pattern=pattern):
            return 'a time, such as "30m"' if pattern else "some text"
        case other:
            raise NotImplementedError(other)


def is_table(kind: Any) -> bool:  # noqa: ANN401 - a type
    """Return whether values of this type are tables, with keys of ours or names of the user's."""
    return get_origin(kind) is Mapping or (isinstance(kind, type) and issubclass(kind, Struct))


def _bounds(low: float | None, high: float | None) -> str:
    match low, high:
        case None, None:
            return ""
        case _, None:
            return f", {low:g} or more"
        case None, _:
            return f", {high:g} or less"
        case _:
            return f" from {low} to {high}"
