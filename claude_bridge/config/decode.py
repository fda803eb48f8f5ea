"""Turns a TOML document and variables into a Config, and tells all mistakes in them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.config.format import shown, wanted
from claude_bridge.config.line_numbers import KeyPath
from claude_bridge.config.schema import Config, ProviderSettings, Setting, settings_of, variable_of
from claude_bridge.config.types import ModelName, Secret, WrittenText
from claude_bridge.providers import LOCAL, PROVIDERS

TABLES_OF_VARIABLES = ("server", "defaults")
"""The tables whose settings a variable can give."""

_OF_WHAT_IS_SERVED_FIRST = (("defaults", "model"), (variable_of("model"),))

KEEPS_ALIVE = "ollama-chat"
"""The API that says for how long a model stays in memory."""

LONGEST_SHOWN = 60
"""How much of a wrong value is repeated."""


class Mistake(NamedTuple):
    """What is wrong with the value at a path: the end of a sentence that begins with its key."""

    path: KeyPath
    what: str


def decode_document(document: Mapping[str, Any]) -> tuple[Config, list[Mistake]]:
    """Return what a file settles, without what is wrong, and all mistakes in it."""
    decoder = _Decoder()
    config = decoder.table(Config, document, ()) or Config()
    mistakes = [*decoder.mistakes, *decoder.unknown_providers(config.providers)]
    for name, provider in config.providers.items():
        mistakes += _check_provider(name, provider, document["providers"][name])
    return config, mistakes


def decode_variables(config: Config, environment: Mapping[str, str]) -> tuple[Config, list[Mistake]]:
    """Return the configuration with what variables settle, and the mistakes in those; their paths are their names."""
    decoder = _Decoder()
    for table_name in TABLES_OF_VARIABLES:
        table: Struct = getattr(config, table_name)
        settled: dict[str, Any] = {}
        for setting in settings_of(type(table)).values():
            variable = variable_of(setting.name)
            if given := environment.get(variable, "").strip():
                value = decoder.value(setting.kind, given, (variable,), is_text=True)
                settled |= {} if value is None else {setting.name: value}
        config = replace(
            config, **{table_name: replace(table, **settled)}, from_environment=config.from_environment | set(settled)
        )
    return config, [*decoder.mistakes, *decoder.unknown_providers(config.providers)]


class _Decoder:
    """Collects what is wrong on its way through a document. It returns None for that: TOML has no such value."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self.model_names: list[tuple[KeyPath, ModelName]] = []

    def table(self, kind: type[Struct], given: Mapping[str, Any], path: KeyPath) -> Any:  # noqa: ANN401 - a ``kind``
        """Return the table with what is right in it; None: it lacks what it must have."""
        settings = settings_of(kind)
        for key in given:
            if key not in settings:
                self._emit((*path, key), _unknown_key(key, settings, path))
        values: dict[str, Any] = {}
        for name, setting in settings.items():
            if name in given:
                value = self.value(setting.kind, given[name], (*path, name))
                values |= {} if value is None else {name: value}
            elif setting.is_required:
                self._emit((*path, name), "is missing")
        is_whole = all(name in values for name, setting in settings.items() if setting.is_required)
        return kind(**values) if is_whole else None

    def value(self, kind: Any, given: Any, path: KeyPath, *, is_text: bool = False) -> Any:  # noqa: ANN401 - as written
        """Return the value; ``is_text`` where numbers are written as text."""
        inner = get_args(kind)
        if is_text and get_origin(kind) is tuple:
            given = [part.strip() for part in given.split(",") if part.strip()]
        match get_origin(kind) or kind, given:
            case origin, dict() if origin is Mapping:
                values = {
                    self._name(inner[0], name, path): self.value(inner[1], one, (*path, name))
                    for name, one in given.items()
                }
                return {name: value for name, value in values.items() if name is not None and value is not None}
            case origin, list() if origin is tuple:
                listed = (self.value(inner[0], one, (*path, number)) for number, one in enumerate(given))
                return tuple(value for value in listed if value is not None)
            case type() as known, dict() if issubclass(known, Struct):
                return self.table(known, given, path)
            case type() as known, str() if issubclass(known, WrittenText | Secret):
                return self._parsed(known, given, path)
        try:
            return msgspec.convert(given, kind, strict=not is_text)
        except msgspec.ValidationError:
            self._emit(path, _must_be(kind, given))
            return None

    def unknown_providers(self, providers: Collection[str]) -> list[Mistake]:
        """Return the mistakes in names of models, now that it is known which providers there are besides ours."""
        checks = (_check_model_name(path, name, providers) for path, name in self.model_names)
        return [mistake for mistake in checks if mistake]

    def _name(self, kind: type[str], name: str, path: KeyPath) -> str | None:
        """Return the name that the user gave to a value of a table."""
        parsed: str | None = self._parsed(kind, name, (*path, name)) if issubclass(kind, WrittenText) else name
        return parsed

    def _parsed(self, kind: type[WrittenText | Secret], given: str, path: KeyPath) -> Any:  # noqa: ANN401 - a ``kind``
        try:
            value = kind.parse(given)
        except ValueError as error:
            self._emit(path, str(error) or _must_be(kind, given))
            return None
        if isinstance(value, ModelName):
            self.model_names.append((path, value))
        return value

    def _emit(self, path: KeyPath, what: str) -> None:
        self.mistakes.append(Mistake(path, what))


def _must_be(kind: Any, given: object) -> str:  # noqa: ANN401 - a type
    text = shown(given)
    text = text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
    return f"must be {wanted(kind)}" + ("" if kind is Secret else f", not {text}")


def _unknown_key(key: str, settings: Mapping[str, Setting], path: KeyPath) -> str:
    places = [table for table in TABLES_OF_VARIABLES if not path and key in settings_of(settings[table].kind)]
    return f"belongs into [{places[0]}]" if places else f"is no setting; {_nearest(key, settings)}"


def _check_provider(name: str, provider: ProviderSettings, given: Mapping[str, Any]) -> list[Mistake]:
    path = ("providers", name)
    if name == LOCAL:
        return [Mistake(path, "runs in this process, and has no settings")]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        return [Mistake(path, 'is no name for a provider: take letters, digits, "-", "_" and "."')]
    mistakes = []
    row = PROVIDERS.get(name)
    missing = [key for key in ("kind", "base_url") if key not in given]
    if row is None and missing:
        what = f"is no provider that the bridge knows ({_nearest(name, PROVIDERS)}); one of your own needs"
        mistakes.append(Mistake(path, f"{what} {' and '.join(missing)}"))
    kind = provider.kind or (row.kind if row else KEEPS_ALIVE)
    alike = [name for name, known in PROVIDERS.items() if known.kind == kind]
    if provider.profile is not None and provider.profile not in alike:
        what = f"must be a known provider of the kind {kind}, not {shown(provider.profile)}"
        mistakes.append(Mistake((*path, "profile"), f"{what}; {_nearest(provider.profile, alike)}"))
    if provider.keep_alive is not None and kind != KEEPS_ALIVE:
        mistakes.append(Mistake((*path, "keep_alive"), f"is for Ollama's own API only: kind = {shown(KEEPS_ALIVE)}"))
    listed = given.get("models")
    ids = [model.get("id") for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []
    mistakes += [
        Mistake((*path, "models", number, "id"), f"is there twice: {shown(model_id)}")
        for number, model_id in enumerate(ids)
        if model_id is not None and model_id in ids[:number]
    ]
    return mistakes


def _check_model_name(path: KeyPath, name: ModelName, providers: Collection[str]) -> Mistake | None:
    if name.provider == LOCAL and path not in _OF_WHAT_IS_SERVED_FIRST:
        return Mistake(path, f'names "{LOCAL}", which can only be what is served first: defaults.model')
    if name.provider == LOCAL and name.model:
        return Mistake(path, f'names a model of "{LOCAL}", which has but one: write "{LOCAL}"')
    known = list(dict.fromkeys((*PROVIDERS, *providers, LOCAL)))
    if name.provider in known:
        return None
    return Mistake(
        path, f"must be {name.WANTED}, not {shown(name)}; of the providers, {_nearest(name.provider, known)}"
    )


def _nearest(word: str, words: Collection[str]) -> str:
    near = get_close_matches(word, words, n=1)
    return f"nearest: {near[0]}" if near else f"there are: {', '.join(words)}"
