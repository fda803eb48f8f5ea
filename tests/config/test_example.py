"""The example file: it settles nothing, and holds every setting."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct, inspect

from claude_bridge.config.load import read_config
from claude_bridge.config.schema import Config, Defaults, Server, settings_of
from claude_bridge.data_files import read_text


def keys_of(table: type[Struct]) -> Iterator[str]:
    """Yield the names of all settings, in the table and below."""
    for name, kind in settings_of(table).items():
        yield name
        inner = kind
        if isinstance(kind, inspect.DictType):
            inner = kind.value_type
        elif isinstance(kind, inspect.VarTupleType):
            inner = kind.item_type
        if isinstance(inner, inspect.StructType):
            yield from keys_of(inner.cls)


def keys_in(document: Any) -> Iterator[str]:
    for key, value in document.items() if isinstance(document, dict) else ():
        yield key
        for one in value if isinstance(value, list) else [value]:
            yield from keys_in(one)


def test_as_it_stands_it_settles_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(read_text("config/example.toml"))

    reading = read_config(file, {})

    assert (reading.mistakes, reading.config.server, reading.config.providers) == ((), Config().server, {})


NAMES_OF_ONES_OWN = {
    *("ollama", "claude-opus-*", "*haiku*"),
    *("x-team", "x-gateway-key", "min_p", "repetition_penalty"),
}


def test_with_its_comment_signs_taken_away_it_settles_everything(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = re.sub("^#(?! )", "", read_text("config/example.toml"), flags=re.MULTILINE)
    file.write_text(text)

    assert read_config(file, {}).mistakes == ()
    assert set(keys_in(tomllib.loads(text))) - NAMES_OF_ONES_OWN == set(keys_of(Config))


@pytest.mark.parametrize("table", [Server, Defaults])
def test_an_example_of_a_default_is_the_default(table: type[Struct]) -> None:
    text = re.sub("^#(?! )", "", read_text("config/example.toml"), flags=re.MULTILINE)
    examples = tomllib.loads(text)[table.__name__.lower()]
    defaults = {field.name: field.default for field in msgspec.structs.fields(table)}
    given = {name: default for name, default in defaults.items() if default not in (None, ())}
    assert {name: examples[name] for name in given} == given


def test_no_variable_stands_for_two_settings() -> None:
    names = [*settings_of(Server), *settings_of(Defaults)]
    assert len(names) == len(set(names))
