"""The words for keys and values, in mistakes, in the example file and in the documentation."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from msgspec import Struct, inspect

from claude_bridge.config.line_numbers import KeyPath
from claude_bridge.config.types import HIDDEN, ApiKeys, Headers, Secret, WrittenText


def key_text(path: KeyPath) -> str:
    """Return a whole key as one writes it: ``providers."a.b".models[0].id``."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += ("." if text else "") + (
                key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
            )
    return text


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever a setting holds
    """Return a value as programs read it: without what is not set, and with keys hidden."""
    if isinstance(value, Secret | ApiKeys | Headers):
        return value.shown
    if isinstance(value, WrittenText):
        return str(value)
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    if isinstance(value, Struct):
        return {name: plain(one) for name, one in msgspec.structs.asdict(value).items() if one not in (None, ())}
    return value


def shown(value: Any) -> str:  # noqa: ANN401 - whatever TOML holds
    """Return a plain value as it is written in TOML."""
    if value is None or value == HIDDEN:
        return value or "-"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {shown(one)}" for name, one in value.items()) + " }"
    return json.dumps(value, default=str, ensure_ascii=False)


def expected(kind: inspect.Type) -> str:
    """Return what a value of this type is, as in "must be …"."""
    match kind:
        case inspect.CustomType(cls=cls):
            return str(getattr(cls, "WANTED"))  # noqa: B009 - only classes of ours are custom types
        case inspect.StructType() | inspect.DictType():
            return "a table"
        case inspect.VarTupleType(item_type=inspect.StructType()):
            return "a list of tables"
        case inspect.VarTupleType(item_type=item):
            return f"a list; each must be {expected(item)}"
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType(ge=low, le=high):
            return f"an integer{_bounds(low, high)}"
        case inspect.FloatType(ge=low, le=high):
            return f"a number{_bounds(low, high)}"
        case inspect.StrType(pattern=pattern):
            return 'a time, such as "30m"' if pattern else "text that is not empty"
        case _:
            raise NotImplementedError(kind)


def _bounds(low: float | None, high: float | None) -> str:
    if high is not None:
        return f" from {low or 0:g} to {high:g}"
    return "" if low is None else f" of at least {low:g}"
