"""The settings in effect, each with where it comes from, and with keys hidden."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from claude_bridge.config.decode import TABLES_OF_VARIABLES
from claude_bridge.config.format import key_text, plain
from claude_bridge.config.line_numbers import KeyPath
from claude_bridge.config.load import OPTION_VARIABLES, Reading
from claude_bridge.config.providers import configured_rows
from claude_bridge.config.schema import ProviderSettings, settings_of, variable_of
from claude_bridge.config.types import HIDDEN, ApiKeys
from claude_bridge.providers import Provider, base_url_from, secret_in

DEFAULT = "default"


class Effective(Struct, frozen=True, kw_only=True):
    """One setting in effect. ``value`` None: it is not set."""

    key: str
    value: Any
    origin: str
    """DEFAULT, a line of the user's file, that of a project's file with its name, or a variable."""


def effective_settings(reading: Reading, environment: Mapping[str, str]) -> Iterator[Effective]:
    """Yield all settings of the bridge, then those of providers that are set somewhere."""
    config = reading.config
    for table_name in TABLES_OF_VARIABLES:
        table: Struct = getattr(config, table_name)
        for name in settings_of(type(table)):
            is_variable = name in config.from_environment
            origin = variable_of(name) if is_variable else _origin(reading, (table_name, name))
            yield Effective(key=f"{table_name}.{name}", value=plain(getattr(table, name)), origin=origin)
    for pattern, target in config.routes.items():
        path = ("routes", pattern)
        yield Effective(key=key_text(path), value=plain(target), origin=_origin(reading, path))
    for row in configured_rows(config).values():
        yield from _of_provider(reading, row, environment)
    for variable in OPTION_VARIABLES:
        if environment.get(variable, "").strip():
            is_secret = variable.endswith("_KEY") or secret_in(environment[variable]) is not None
            value = HIDDEN if is_secret else environment[variable]
            yield Effective(key=OPTION_VARIABLES[variable], value=value, origin=variable)


def _of_provider(reading: Reading, row: Provider, environment: Mapping[str, str]) -> Iterator[Effective]:
    provider = reading.config.providers.get(row.name, ProviderSettings())
    variables = {"api_key": row.key_variable, "base_url": row.base_url_variable}
    for name in settings_of(ProviderSettings):
        path: KeyPath = ("providers", row.name, name)
        value, variable = getattr(provider, name), variables.get(name)
        if value is None and variable and (given := environment.get(variable, "").strip()):
            is_secret = name == "api_key" or secret_in(given) is not None
            yield Effective(key=key_text(path), value=HIDDEN if is_secret else base_url_from(given), origin=variable)
        elif isinstance(value, tuple) and not isinstance(value, ApiKeys):
            for number, one in enumerate(value):
                here = (*path, number)
                yield Effective(key=key_text(here), value=plain(one), origin=_origin(reading, here))
        elif value is not None:
            yield Effective(key=key_text(path), value=plain(value), origin=_origin(reading, path))


def _origin(reading: Reading, path: KeyPath) -> str:
    place = reading.places.of(path)
    if place is None:
        return DEFAULT
    return f"line {place.line}" if place.file == reading.file else f"{place.file.name}:{place.line}"
