"""Turns a TOML document and variables into a Config, and finds every mistake in them; msgspec checks the values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, inspect
from msgspec.structs import asdict, replace

from claude_bridge.adapters import ADAPTERS
from claude_bridge.config.line_numbers import KeyPath, value_at
from claude_bridge.config.schema import (
    FORMS,
    Config,
    Defaults,
    Pattern,
    ProviderSettings,
    Server,
    Web,
    settings_of,
    variable_of,
    without_none,
)
from claude_bridge.config.types import ApiKeys, BodyFields, Headers, ModelName, Secret, WrittenText, shown
from claude_bridge.providers import LOCAL, PROVIDERS
from claude_bridge.spending import Budget

TABLES_OF_VARIABLES: dict[str, type[Server | Defaults | Budget | Web]] = {
    "server": Server,
    "defaults": Defaults,
    "limits": Budget,
    "web": Web,
}
"""The tables whose settings a variable can give."""

KEEPS_ALIVE = "ollama-chat"
"""The API in which a request says how long its model stays in memory."""

LONGEST_SHOWN = 60
"""How much of a wrong value is repeated."""

_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_FIELD = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_PATH = re.compile(r" - at `\$(?P<path>(?:\.\w+|\[\d+\])*)`$")


class Mistake(NamedTuple):
    """What is wrong with the value at a path: the end of a sentence that begins with its key."""

    path: KeyPath
    what: str


def decode_document(document: Mapping[str, Any]) -> tuple[Config, list[Mistake]]:
    """Return what a file sets, without what is wrong, and all mistakes in it but for names of models."""
    decoded: dict[str, Any] = {"providers": {}, "routes": {}}
    mistakes: list[Mistake] = []
    settings = settings_of(Config)
    for table, given in document.items():
        if table not in settings:
            mistakes.append(Mistake((table,), _unknown_key(table, list(settings), is_top=True)))
        elif not isinstance(given, dict):
            mistakes.append(Mistake((table,), _must_be("a table", given)))
        elif table in TABLES_OF_VARIABLES:
            value, found = _convert(given, TABLES_OF_VARIABLES[table], (table,))
            mistakes += found
            decoded |= {table: value} if value is not None else {}
        else:
            kind = ProviderSettings if table == "providers" else ModelName
            for name, one in given.items():
                path = (table, name)
                value, found = _convert(one, kind, path)
                mistakes += found or (
                    _check_provider(name, value) if table == "providers" else _convert(name, Pattern, path)[1]
                )
                decoded[table] |= {name: value} if value is not None else {}
    return Config(**decoded), mistakes


def decode_variables(config: Config, environment: Mapping[str, str]) -> tuple[Config, list[Mistake]]:
    """Return the configuration with what variables set, and the mistakes in those; their paths are their names."""
    mistakes: list[Mistake] = []
    for table_name, kind in TABLES_OF_VARIABLES.items():
        values: dict[str, Any] = {}
        for name, setting in settings_of(kind).items():
            if text := environment.get(variable_of(name), "").strip():
                is_list = isinstance(setting, inspect.VarTupleType)
                given = [part.strip() for part in text.split(",") if part.strip()] if is_list else text
                one, found = _convert({name: given}, kind, (), is_text=True)
                mistakes += [Mistake((variable_of(name),), what) for _, what in found]
                values |= {} if found else {name: getattr(one, name)}
        table: Struct = getattr(config, table_name)
        config = replace(
            config, **{table_name: replace(table, **values)}, from_environment=config.from_environment | set(values)
        )
    return config, mistakes


def check_model_names(config: Config) -> Iterator[Mistake]:
    """Yield the mistakes in names of models: an unknown provider, or ``local`` where it can't be."""
    known = list(dict.fromkeys((*PROVIDERS, *config.providers, LOCAL)))
    for path, name in _model_names(config):
        if name.provider == LOCAL and path not in (("defaults", "model"), (variable_of("model"),)):
            yield Mistake(path, f'is "{LOCAL}", which can only be the main provider: defaults.model')
        elif name.provider == LOCAL and name.model:
            yield Mistake(path, f'names a model of "{LOCAL}", which has only one: write "{LOCAL}"')
        elif name.provider not in known:
            what = f"names the provider {shown(name.provider)}, which does not exist"
            if not name.model:  # mostly a model by itself
                what = f"must be {name.WANTED}, and no provider is named {shown(name)}"
            yield Mistake(path, f"{what}; {_nearest(name.provider, known)}")


def _model_names(config: Config) -> Iterator[tuple[KeyPath, ModelName]]:
    for key, value in asdict(config.defaults).items():
        path: KeyPath = (variable_of(key),) if key in config.from_environment else ("defaults", key)
        if isinstance(value, ModelName):
            yield path, value
        elif key == "fallback":
            yield from (((*path, number), name) for number, name in enumerate(value))
    yield from ((("routes", pattern), name) for pattern, name in config.routes.items())


def _convert(given: Any, kind: Any, path: KeyPath, *, is_text: bool = False) -> tuple[Any, list[Mistake]]:  # noqa: ANN401 - what TOML holds, and a type
    """Return the value of a type, and every mistake in it (None: it can't be had).

    msgspec stops at the first mistake, so a wrong key is taken out, and the rest looked at again. ``is_text`` where
    numbers are written as text.
    """
    given, mistakes = deepcopy(given), list[Mistake]()
    while True:
        try:
            return msgspec.convert(given, kind, strict=not is_text, dec_hook=_parse), mistakes
        except msgspec.ValidationError as error:
            mistake = _explain(str(error), given, kind)
            where = path + mistake.path
            if where in (one.path for one in mistakes):  # what was taken out is missing now
                return None, mistakes
            mistakes.append(Mistake(where, mistake.what))
            *above, key = mistake.path or (0,)
            table = value_at(given, above)
            if not isinstance(table, dict) or key not in table:  # the whole value, one in a list, or a missing one
                return None, mistakes
            del table[key]


def _parse(kind: type, given: object) -> object:
    """Return a value of our own types; raises ValueError, whose words are the end of a sentence or none."""
    if issubclass(kind, ApiKeys | Headers | BodyFields):
        return kind.parse(given)
    assert issubclass(kind, WrittenText | Secret), "msgspec asks only for types that it does not know"
    if not isinstance(given, str):
        raise ValueError
    return kind.parse(given)


def _explain(error: str, given: Any, kind: Any) -> Mistake:  # noqa: ANN401 - what TOML holds, and a type
    """Return msgspec's error as a path and words for a person who may not know Python's types."""
    place = _PATH.search(error)
    words = error[: place.start()] if place else error
    steps = re.findall(r"\.(\w+)|\[(\d+)\]", place["path"] if place else "")
    path: KeyPath = tuple(name or int(number) for name, number in steps)
    if unknown := _UNKNOWN_FIELD.fullmatch(words):
        table = _kind_at(inspect.type_info(kind), path)
        assert isinstance(table, inspect.StructType), "only a table has keys"
        return Mistake((*path, unknown[1]), _unknown_key(unknown[1], [field.name for field in table.fields]))
    if missing := _MISSING_FIELD.fullmatch(words):
        return Mistake((*path, missing[1]), "is missing")
    if words and not words.startswith(("Expected", "Invalid")):  # our own
        return Mistake(path, words)
    wrong = _kind_at(inspect.type_info(kind), path)
    is_secret = isinstance(wrong, inspect.CustomType) and wrong.cls in (Secret, ApiKeys, Headers)
    return Mistake(
        path, f"must be {expected(wrong)}" if is_secret else _must_be(expected(wrong), value_at(given, path))
    )


def _kind_at(kind: inspect.Type, path: KeyPath) -> inspect.Type:
    """Return the type of what is at a path in a value of this type."""
    for key in path:
        kind = without_none(kind)
        if isinstance(kind, inspect.StructType):
            kind = next(field.type for field in kind.fields if field.name == key)
        elif isinstance(kind, inspect.VarTupleType):
            kind = kind.item_type
    return without_none(kind)


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
            return FORMS[pattern] if pattern else "text that is not empty"
        case _:
            raise NotImplementedError(kind)


def _bounds(low: float | None, high: float | None) -> str:
    if high is not None:
        return f" from {low or 0:g} to {high:g}"
    return "" if low is None else f" of at least {low:g}"


def _must_be(what: str, given: object) -> str:
    text = shown(given)
    return f"must be {what}, not {text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + '…'}"


def _unknown_key(key: str, known: Collection[str], *, is_top: bool = False) -> str:
    tables = [table for table, kind in TABLES_OF_VARIABLES.items() if is_top and key in settings_of(kind)]
    return f"belongs into [{tables[0]}]" if tables else f"is not a setting; {_nearest(key, known)}"


def _check_provider(name: str, provider: ProviderSettings) -> list[Mistake]:
    path = ("providers", name)
    if name == LOCAL:
        return [Mistake(path, "is started by the bridge, and has no settings")]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        return [Mistake(path, 'is not a valid name for a provider: use letters, digits, "-", "_" and "."')]
    mistakes = []
    row = PROVIDERS.get(name)
    missing = [key for key in ("kind", "base_url") if getattr(provider, key) is None]
    if row is None and missing:
        what = f"is not a provider that the bridge knows ({_nearest(name, PROVIDERS)}); one of your own needs"
        mistakes.append(Mistake(path, f"{what} {' and '.join(missing)}"))
    kind = provider.kind or (row.kind if row else KEEPS_ALIVE)
    kinds = {kind, (row.kind_elsewhere if row and provider.kind is None else None) or kind}
    alike = [name for name, known in PROVIDERS.items() if not kinds.isdisjoint((known.kind, known.kind_elsewhere))]
    if provider.profile is not None and provider.profile not in alike:
        what = f"must be a known provider of the kind {kind}, not {shown(provider.profile)}"
        mistakes.append(Mistake((*path, "profile"), f"{what}; {_nearest(provider.profile, alike)}"))
    if provider.keep_alive is not None and kind != KEEPS_ALIVE:
        mistakes.append(Mistake((*path, "keep_alive"), f"is only for Ollama's own API: kind = {shown(KEEPS_ALIVE)}"))
    mistakes += [
        Mistake((*path, "models", number, key), f"is not for the kind {kind}, whose requests are passed on unchanged")
        for number, model in enumerate(provider.models)
        for key in ("append_system_prompt", "disallowed_tools")
        if ADAPTERS[kind].is_passthrough and getattr(model, key)
    ]
    ids = [model.id for model in provider.models]
    mistakes += [
        Mistake((*path, "models", number, "id"), f"is used twice: {shown(model_id)}")
        for number, model_id in enumerate(ids)
        if model_id in ids[:number]
    ]
    return mistakes


def _nearest(word: str, words: Collection[str]) -> str:
    near = get_close_matches(word, words, n=1)
    return f"nearest: {near[0]}" if near else f"there are: {', '.join(words)}"
