"""Reads the configuration: a file, overridden by environment variables; every mistake is reported with its place."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from operator import itemgetter
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
from claude_bridge.config.format import key_text
from claude_bridge.config.line_numbers import KeyPath, Lines, line_of_error
from claude_bridge.config.locate import CONFIG_VARIABLE, VARIABLES, config_file
from claude_bridge.config.schema import Config, settings_of, variable_of
from claude_bridge.config.types import Secret
from claude_bridge.errors import SetupError

OPTION_VARIABLES = {CONFIG_VARIABLE: "--config", "BRIDGE_BASE_URL": "--base-url", "BRIDGE_API_KEY": "--api-key"}
"""Variables that stand for options which are no settings: the option of each."""


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
    """Where the file is, or would be."""
    is_there: bool
    lines: Lines
    mistakes: tuple[Problem, ...] = ()
    doubts: tuple[Problem, ...] = ()

    def without_mistakes(self) -> Reading:
        """Return it as it is; raises SetupError with all mistakes, if there are any."""
        if not self.mistakes:
            return self
        found = "\n".join(f"· {mistake}" for mistake in self.mistakes)
        raise SetupError(
            f"The configuration has mistakes:\n{found}", "Correct them; `bridge config check` checks again."
        )


def read_config(named: Path | None, environment: Mapping[str, str]) -> Reading:
    """Read the configuration; ``named`` is the file that an option names. The usual file need not be there."""
    file, is_named = config_file(named, environment)
    text, mistakes = _read_text(file, is_named=is_named)
    document: dict[str, Any] = {}
    try:
        document = tomllib.loads(text or "")
    except tomllib.TOMLDecodeError as error:
        line = line_of_error(error) or (text or "").count("\n") + 1
        mistakes = [Problem(place=str(file), line=line, what=f"is not valid TOML: {str(error).partition(' (at ')[0]}")]
    config, in_file = decode_document(document)
    config, in_variables = decode_variables(replace(config, folder=file.parent), environment)
    for mistake in check_model_names(config):
        (in_variables if mistake.path[0] in environment else in_file).append(mistake)
    lines = Lines(text or "")
    lined = sorted(((lines.nearest_line(mistake.path), mistake) for mistake in in_file), key=itemgetter(0))
    mistakes += [_problem(mistake, file, line) for line, mistake in lined]
    mistakes += [Problem(place=(name := key_text(path)), key=name, what=what) for path, what in in_variables]
    doubts = (*_open_keys(config, file, lines), *_near_variables(environment))
    return Reading(
        config=Config() if mistakes else config,
        file=file,
        is_there=text is not None,
        lines=lines,
        mistakes=tuple(mistakes),
        doubts=doubts,
    )


def check_secrets(reading: Reading, environment: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a problem for each key that can't be read; it is not needed before its provider is used."""
    for path, secret in _secrets(reading.config):
        try:
            secret.read(environment, reading.config.folder)
        except ValueError as error:
            yield _problem(Mistake(path, str(error)), reading.file, reading.lines.nearest_line(path))


def _read_text(file: Path, *, is_named: bool) -> tuple[str | None, list[Problem]]:
    """Return the text (None: there is none), and what is wrong with that."""
    try:
        return file.read_text("utf-8-sig"), []
    except FileNotFoundError:
        what = "does not exist; `bridge config init` writes an example"
        return None, [Problem(place=str(file), what=what)] if is_named else []
    except (OSError, UnicodeDecodeError) as error:
        what = f"can't be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}"
        return None, [Problem(place=str(file), what=what)]


def _problem(mistake: Mistake, file: Path, line: int) -> Problem:
    return Problem(place=str(file), line=line, key=key_text(mistake.path), what=mistake.what)


def _open_keys(config: Config, file: Path, lines: Lines) -> Iterator[Problem]:
    literal = [path for path, secret in _secrets(config) if secret.is_literal]
    if literal and os.name == "posix" and file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        for path in literal:
            what = (
                f"is a key in a file that others can read: chmod 600 {quote(str(file))}, or write env:NAME or file:PATH"
            )
            yield _problem(Mistake(path, what), file, lines.nearest_line(path))


def _secrets(config: Config) -> Iterator[tuple[KeyPath, Secret]]:
    """Yield the keys that the file gives."""
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
