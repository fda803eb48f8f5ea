"""The configuration as commands take it: the option that names its file, and what is said of mistakes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.app import terminal as output
from claude_bridge.errors import SetupError

if TYPE_CHECKING:
    from claude_bridge.config.load import Reading
    from claude_bridge.config.schema import Config
    from claude_bridge.config.types import Secret

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="The configuration, in place of the usual one (bridge config path).", metavar="FILE"),
]
"""The option that names a configuration."""


def load_config(file: Path | None) -> Config:
    """Return the configuration, and say what is doubtful in it.

    Raises:
        SetupError: there are mistakes in it.
    """
    from claude_bridge.config.locate import is_nothing_configured
    from claude_bridge.config.schema import Config

    if is_nothing_configured(file, os.environ):
        return Config()
    reading = refuse_mistakes(load_reading(file))
    for doubt in reading.doubts:
        output.print_problem(f"{doubt}.", "`bridge config check` looks again.", is_warning=True)
    return reading.config


def load_reading(file: Path | None) -> Reading:
    """Return the configuration with all that is wrong with it."""
    from claude_bridge.config.load import read_config

    return read_config(file, os.environ)


def refuse_mistakes(reading: Reading) -> Reading:
    """Return what was read; raises SetupError with all mistakes, if there are any."""
    if not reading.mistakes:
        return reading
    found = "\n".join(f"· {mistake}" for mistake in reading.mistakes)
    raise SetupError(f"The configuration can't be used:\n{found}", "Mend it; `bridge config check` looks again.")


def read_secret(config: Config, secret: Secret, setting: str) -> str:
    """Return a key that is configured; raises SetupError with the name of its setting where it can't be had."""
    try:
        return secret.read(os.environ, config.folder)
    except ValueError as error:
        raise SetupError(f"{setting} {error}.", "Put the key there, or change the configuration.") from error


def configured_token(config: Config) -> str | None:
    """Return what clients must send; None: nothing is said of it."""
    token = config.server.auth_token
    return None if token is None else read_secret(config, token, "server.auth_token")
