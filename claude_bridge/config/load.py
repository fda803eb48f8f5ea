"""Reads the configuration: files, overridden by environment variables; each setting and mistake with its place."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from shlex import quote
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.config.decode import (
    TABLES_OF_VARIABLES,
    Mistake,
    check_model_names,
    decode_document,
    decode_variables,
)
from claude_bridge.config.line_numbers import (
    KeyPath,
    Places,
    SettingLocation,
    Source,
    TomlError,
    key_text,
    merged,
    parse_toml,
)
from claude_bridge.config.locate import CONFIG_VARIABLE, VARIABLES, config_file
from claude_bridge.config.project import Project
from claude_bridge.config.providers import configured_rows
from claude_bridge.config.schema import Config, ProviderSettings, settings_of, variable_of
from claude_bridge.config.types import HIDDEN, ApiKeys, Secret, plain
from claude_bridge.errors import SetupError
from claude_bridge.providers import Provider, base_url_from, secret_in

OPTION_VARIABLES = {CONFIG_VARIABLE: "--config", "BRIDGE_BASE_URL": "--base-url", "BRIDGE_API_KEY": "--api-key"}
"""Variables that stand for options which are no settings: the option of each."""


DEFAULT = "default"


class Problem(Struct, frozen=True, kw_only=True):
    """Something in the configuration that is wrong or doubtful."""

    place: str
    """The file; or the variable, whose name is the key too."""
    line: int | None = None
    key: str = ""
    """The whole key, as in ``server.port``; empty: it is about the file as a whole."""
    what: str
    """The end of a sentence that begins with the key, or else with the file."""

    def __str__(self) -> str:
        where = f"{self.place}:{self.line}" if self.line else self.place
        return f"{where}: {self.key} {self.what}" if self.key not in ("", self.place) else f"{where} {self.what}"


class Reading(Struct, frozen=True, kw_only=True):
    """What was read. Where there are mistakes, ``config`` is as if nothing were configured."""

    config: Config
    file: Path
    """Where the user's file is, or would be."""
    is_there: bool
    document: Mapping[str, Any]
    """What the files set, merged."""
    places: Places
    mistakes: tuple[Problem, ...] = ()
    doubts: tuple[Problem, ...] = ()
    check_command: str = "bridge config check"
    """What checks the same file again."""

    def without_mistakes(self) -> Reading:
        """Return it as it is; raises SetupError with all mistakes, if there are any."""
        if not self.mistakes:
            return self
        found = "\n".join(f"· {mistake}" for mistake in self.mistakes)
        raise SetupError(
            f"The configuration has mistakes:\n{found}",
            f"Correct them; `{self.check_command}` checks again.",
        )


class Effective(Struct, frozen=True, kw_only=True):
    """One setting in effect. ``value`` None: it is not set."""

    key: str
    value: Any
    origin: str
    """DEFAULT, a line of the user's file, that of a project's file with its name, or a variable."""


def read_config(named: Path | None, environment: Mapping[str, str], project: Project | None = None) -> Reading:
    """Read the configuration; ``named`` is the file that an option names. The usual file need not be there.

    ``project`` has settings that override those of the file (None: there are none).
    """
    file, is_named = config_file(named, environment)
    init, check = "bridge config init", "bridge config check"
    if named is not None:
        init, check = (f"{command} --config {quote(str(named))}" for command in (init, check))
    text, mistakes = _read_text(file, is_named=is_named, init_command=init)
    sources = [Source(file, text or "", {})]
    try:
        sources = [Source(file, text or "", parse_toml(text or ""))]
        if project is not None:
            sources.append(Source(project.file, project.text, project.document))
    except TomlError as error:
        mistakes = [Problem(place=str(file), line=error.line, what=f"is not valid TOML: {error}")]
    document = reduce(merged, (source.document for source in sources))
    config, in_files = decode_document(document)
    config, in_variables = decode_variables(replace(config, folder=file.parent), environment)
    for mistake in check_model_names(config):
        (in_variables if mistake.path[0] in environment else in_files).append(mistake)
    places = Places(sources)
    files = [source.file for source in sources]
    found = [_problem(mistake, places.nearest(mistake.path)) for mistake in in_files]
    mistakes += sorted(found, key=lambda one: (files.index(Path(one.place)), one.line or 0))
    mistakes += [Problem(place=(name := key_text(path)), key=name, what=what) for path, what in in_variables]
    return Reading(
        config=Config() if mistakes else config,
        file=file,
        is_there=text is not None,
        document=document,
        places=places,
        mistakes=tuple(mistakes),
        doubts=(*_open_keys(config, places), *_near_variables(environment)),
        check_command=check,
    )


def check_secrets(reading: Reading, environment: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a problem for each key that can't be read; it is not needed before its provider is used."""
    for path, secret in _secrets(reading.config):
        try:
            secret.read(environment, reading.config.folder)
        except ValueError as error:
            yield _problem(Mistake(path, str(error)), reading.places.nearest(path))


def changed_keys(before: Reading, after: Reading) -> list[str]:
    """Return which settings the files of two readings set differently."""

    def changed(old: Mapping[str, Any], new: Mapping[str, Any], above: KeyPath) -> Iterator[str]:
        for key in {**old, **new}:
            one, other = old.get(key, new.get(key)), new.get(key, old.get(key))
            if isinstance(one, dict) and isinstance(other, dict):
                yield from changed(old.get(key, {}), new.get(key, {}), (*above, key))
            elif key not in old or key not in new or one != other:
                yield key_text((*above, key))

    return list(changed(before.document, after.document, ()))


def effective_settings(reading: Reading, environment: Mapping[str, str]) -> Iterator[Effective]:
    """Yield all settings of the bridge, then those of providers that are set somewhere."""
    config = reading.config
    for table_name in TABLES_OF_VARIABLES:
        table: Struct = getattr(config, table_name)
        for name in settings_of(type(table)):
            origin = variable_of(name) if name in config.from_environment else None
            yield _effective(reading, (table_name, name), getattr(table, name), origin)
    for pattern, target in config.routes.items():
        yield _effective(reading, ("routes", pattern), target)
    for row in configured_rows(config).values():
        yield from _of_provider(reading, row, environment)
    for variable, option in OPTION_VARIABLES.items():
        if given := environment.get(variable, "").strip():
            is_secret = variable.endswith("_KEY") or secret_in(given)
            yield Effective(key=option, value=HIDDEN if is_secret else given, origin=variable)


def _read_text(file: Path, *, is_named: bool, init_command: str) -> tuple[str | None, list[Problem]]:
    """Return the text (None: there is none), and what is wrong with that."""
    try:
        return file.read_text("utf-8-sig"), []
    except FileNotFoundError:
        what = f"does not exist; `{init_command}` writes an example"
        return None, [Problem(place=str(file), what=what)] if is_named else []
    except (OSError, UnicodeDecodeError) as error:
        what = f"can't be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}"
        return None, [Problem(place=str(file), what=what)]


def _problem(mistake: Mistake, place: SettingLocation) -> Problem:
    return Problem(place=str(place.file), line=place.line, key=key_text(mistake.path), what=mistake.what)


def _open_keys(config: Config, places: Places) -> Iterator[Problem]:
    for path in [path for path, secret in _secrets(config) if secret.is_literal and os.name == "posix"]:
        place = places.nearest(path)
        if place.file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            to_do = f"chmod 600 {quote(str(place.file))}, or write env:NAME or file:PATH"
            yield _problem(Mistake(path, f"is a key in a file that others can read: {to_do}"), place)


def _secrets(config: Config) -> Iterator[tuple[KeyPath, Secret]]:
    """Yield the keys that the files give."""
    if config.server.auth_token is not None and "auth_token" not in config.from_environment:
        yield ("server", "auth_token"), config.server.auth_token
    if config.web.search_key is not None and "search_key" not in config.from_environment:
        yield ("web", "search_key"), config.web.search_key
    for name, provider in config.providers.items():
        if provider.api_key is not None:
            for number, secret in enumerate(provider.api_key):
                path: KeyPath = ("providers", name, "api_key")
                yield path if len(provider.api_key) == 1 else (*path, number), secret


def _near_variables(environment: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the variables that look like a setting misspelt; others may belong to other programs."""
    known = [variable_of(name) for table in TABLES_OF_VARIABLES.values() for name in settings_of(table)]
    for variable in environment:
        if variable.startswith(VARIABLES) and variable not in (*known, *OPTION_VARIABLES):
            for near in get_close_matches(variable, known, n=1, cutoff=0.85):
                yield Problem(place=variable, key=variable, what=f"is not a setting; nearest: {near}")


def _of_provider(reading: Reading, row: Provider, environment: Mapping[str, str]) -> Iterator[Effective]:
    provider = reading.config.providers.get(row.name, ProviderSettings())
    variables = {"api_key": row.key_variable, "base_url": row.base_url_variable}
    for name in settings_of(ProviderSettings):
        path: KeyPath = ("providers", row.name, name)
        value, variable = getattr(provider, name), variables.get(name)
        if value is None and variable and (given := environment.get(variable, "").strip()):
            is_secret = name == "api_key" or secret_in(given)
            yield Effective(key=key_text(path), value=HIDDEN if is_secret else base_url_from(given), origin=variable)
        elif isinstance(value, tuple) and not isinstance(value, ApiKeys):
            yield from (_effective(reading, (*path, number), one) for number, one in enumerate(value))
        elif value is not None:
            yield _effective(reading, path, value)


def _effective(reading: Reading, path: KeyPath, value: object, variable: str | None = None) -> Effective:
    """Return a setting with its origin: a variable, or the line that sets it in a file."""
    origin, place = variable or DEFAULT, reading.places.of(path)
    if variable is None and place is not None:
        origin = f"line {place.line}" if place.file == reading.file else f"{place.file.name}:{place.line}"
    return Effective(key=key_text(path), value=plain(value), origin=origin)
