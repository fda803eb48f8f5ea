"""The example file: every setting, with what it is for, and commented out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args, get_origin

from msgspec import Struct

from claude_bridge.config.schema import Config, settings_of

HEAD = """\
# Settings of the bridge. What the command line says goes before them, and so do variables such as BRIDGE_PORT.
# `bridge config check` finds mistakes, `bridge config show` says what holds and why.
"""

PROVIDER = "ollama"
"""Whose settings are shown."""


def example_text() -> str:
    """Return the example, which settles nothing as it stands."""
    return HEAD + "".join(_tables(Config, ""))


def _tables(kind: type[Struct], above: str) -> Iterator[str]:
    """Yield the settings of a table, then the tables in it. Names of ours are kept; one of the user's is invented."""
    settings = settings_of(kind).values()
    for setting in settings:
        if setting.about.example:
            yield f"# {setting.about.text}\n#{setting.name} = {setting.about.example}\n"
    for setting in settings:
        name, inner = f"{above}{setting.name}", setting.kind
        if setting.about.example:
            continue
        is_list, is_named = get_origin(inner) is tuple, get_origin(inner) is Mapping
        if is_named:
            name, inner = f"{name}.{PROVIDER}", get_args(inner)[1]
        header = f"[[{name}]]" if is_list else f"[{name}]"
        yield f"\n# {setting.about.text}\n{'#' if is_list or is_named else ''}{header}\n"
        yield from _tables(get_args(inner)[0] if is_list else inner, f"{name}.")
