"""The example file: it settles nothing, and holds every setting."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, inspect

from claude_bridge.config.example import example_text
from claude_bridge.config.load import read_config
from claude_bridge.config.schema import Config, Defaults, Server, settings_of


def keys_of(table: type[Struct]) -> Iterator[str]:
    """Yield the names of all settings, in the table and below."""
    for setting in settings_of(table).values():
        yield setting.name
        kind = setting.kind
        if isinstance(kind, inspect.DictType):
            kind = kind.value_type
        elif isinstance(kind, inspect.VarTupleType):
            kind = kind.item_type
        if isinstance(kind, inspect.StructType):
            yield from keys_of(kind.cls)


def keys_in(document: Any) -> Iterator[str]:
    for key, value in document.items() if isinstance(document, dict) else ():
        yield key
        for one in value if isinstance(value, list) else [value]:
            yield from keys_in(one)


def test_as_it_stands_it_settles_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(example_text())

    reading = read_config(file, {})

    assert (reading.mistakes, reading.config.server, reading.config.providers) == ((), Config().server, {})


NAMES_OF_ONES_OWN = {
    *("ollama", "claude-opus-*", "*haiku*"),
    *("x-team", "x-gateway-key", "min_p", "repetition_penalty"),
}


def test_with_its_comment_signs_taken_away_it_settles_everything(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = re.sub("^#(?! )", "", example_text(), flags=re.MULTILINE)
    file.write_text(text)

    assert read_config(file, {}).mistakes == ()
    assert set(keys_in(tomllib.loads(text))) - NAMES_OF_ONES_OWN == set(keys_of(Config))


@pytest.mark.parametrize("table", [Server, Defaults])
def test_an_example_of_a_default_is_the_default(table: type[Struct]) -> None:
    for setting in settings_of(table).values():
        if setting.default not in (None, ()):
            assert tomllib.loads(f"x = {setting.example}")["x"] == setting.default


def test_no_variable_stands_for_two_settings() -> None:
    names = [*settings_of(Server), *settings_of(Defaults)]
    assert len(names) == len(set(names))
