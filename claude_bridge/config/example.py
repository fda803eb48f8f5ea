"""The example file: every setting with what it is for, commented out."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, inspect

from claude_bridge.config.schema import Config, settings_of

HEAD = """\
# Settings of claude-bridge. Options on the command line, and variables such as BRIDGE_PORT, override them.
# `bridge config check` finds mistakes; `bridge config show` shows the settings in effect.
"""

PROVIDER = "ollama"
"""Whose settings are shown."""


def example_text() -> str:
    """Return the example, in which everything is commented out."""
    return HEAD + "".join(_tables(Config, ""))


def _tables(table: type[Struct], above: str) -> Iterator[str]:
    """Yield the settings of a table, then the tables in it; where the user chooses a name, it is PROVIDER."""
    settings = settings_of(table).values()
    for setting in settings:
        if setting.example:
            yield f"# {setting.text}\n#{setting.name} = {setting.example}\n"
    for setting in settings:
        name, kind = f"{above}{setting.name}", setting.kind
        if setting.example:
            continue
        is_named, is_list = isinstance(kind, inspect.DictType), isinstance(kind, inspect.VarTupleType)
        if isinstance(kind, inspect.DictType):
            name, kind = f"{name}.{PROVIDER}", kind.value_type
        elif isinstance(kind, inspect.VarTupleType):
            kind = kind.item_type
        assert isinstance(kind, inspect.StructType), "all other settings have an example"
        header = f"[[{name}]]" if is_list else f"[{name}]"
        yield f"\n# {setting.text}\n{'#' if is_list or is_named else ''}{header}\n"
        yield from _tables(kind.cls, f"{name}.")
