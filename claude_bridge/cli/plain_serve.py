"""A usual ``bridge serve``: its command line is read without Typer, and its port open before the rest loads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from claude_bridge.server.early_port import EARLY_HOST, EarlyPort, open_early_port

DEFAULT_PORT = 8765
MAX_PORT = 65_535

_TEXTS = {
    f"--{name.replace('_', '-')}": name for name in ("base_url", "api_key", "small_model", "api", "host", "auth_token")
}
_FILES = {"--config": "config_file", "--trace": "trace"}
_FLAGS = {"--debug": ("debug", True), "--no-check": ("check", False), "--no-page": ("page", False)}
_VARIABLES = {"base_url": "BRIDGE_BASE_URL", "api_key": "BRIDGE_API_KEY"}
_OF_SERVER = ("host", "port", "auth_token")


class PlainArguments(NamedTuple):
    """The values of Options and ServerOptions that are given."""

    options: dict[str, Any]
    server: dict[str, Any]


def plain_arguments(words: Sequence[str]) -> PlainArguments | None:
    """Return the arguments of a command line that has nothing but usual options; None: Typer reads it."""
    if words[:1] != ["serve"]:
        return None
    given: dict[str, Any] = {name: value for name, of in _VARIABLES.items() if (value := os.environ.get(of))}
    places = iter(("provider", "model"))
    rest = iter(words[1:])
    for word in rest:
        option, mark, value = word.partition("=")
        if word in _FLAGS:
            flag, given_as = _FLAGS[word]
            given[flag] = given_as
            continue
        is_option = word.startswith("-")
        value = (value if mark else next(rest, "")) if is_option else word
        if not value or value.startswith("-"):
            return None
        if not is_option and (place := next(places, None)):
            given[place] = value
        elif option in _TEXTS:
            given[_TEXTS[option]] = value
        elif option in _FILES:
            from pathlib import Path

            given[_FILES[option]] = Path(value)
        elif option == "--port" and value.isdecimal() and value == str(int(value)) and int(value) <= MAX_PORT:
            given["port"] = int(value)
        else:
            return None
    server = {name: given.pop(name) for name in _OF_SERVER if name in given}
    return PlainArguments(given, server)


def open_port(plain: PlainArguments) -> EarlyPort | None:
    """Open the port that a bridge gets, if it listens on loopback; a configuration may still have another host."""
    port, by_variable = plain.server.get("port"), os.environ.get("BRIDGE_PORT", "")
    if port is None and by_variable.isdecimal():
        port = int(by_variable)
    if port is None:
        from claude_bridge.config.locate import is_nothing_configured

        port = DEFAULT_PORT if is_nothing_configured(plain.options.get("config_file"), os.environ) else None
    is_on_loopback = (plain.server.get("host") or os.environ.get("BRIDGE_HOST", EARLY_HOST)) == EARLY_HOST
    return open_early_port(port) if port is not None and port <= MAX_PORT and is_on_loopback else None
