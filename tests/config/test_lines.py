"""On which line a key is given, whatever form TOML gives it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.config.line_numbers import KeyPath, Places, SettingLocation, Source, TomlError, merged, parse_toml

TEXT = '''\
# [server]
[server]
host = "127.0.0.1"  # port = 1

port = 8765

[providers.ollama]
base_url = """
port = 7
"""
models = [
  { id = "a" },
  { id = "b", cost = { input = 1 } },
]

[[providers."a.b".models]]
id = "c"

[[providers."a.b".models]]
context_window = 1
id = "d"
[defaults]
a.b = 1
'''


FILE, PROJECT = Path("config.toml"), Path("project.toml")


def places(*texts: str) -> Places:
    return Places([Source(file, text, parse_toml(text)) for file, text in zip((FILE, PROJECT), texts, strict=False)])


def line_of(text: str, path: KeyPath) -> int | None:
    place = places(text).of(path)
    return place and place.line


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("server",), 2),
        (("server", "host"), 3),
        (("server", "port"), 5),
        (("providers",), 7),
        (("providers", "ollama", "base_url"), 8),
        (("providers", "ollama", "models"), 11),
        (("providers", "ollama", "models", 1, "cost", "input"), 11),
        (("providers", "a.b"), 16),
        (("providers", "a.b", "models", 0, "id"), 17),
        (("providers", "a.b", "models", 1), 19),
        (("providers", "a.b", "models", 1, "id"), 21),
        (("defaults", "a", "b"), 23),
        (("server", "prot"), None),
        (("providers", "a.b", "models", 2), None),
        (("server", "port", "deeper"), None),
    ],
    ids=str,
)
def test_a_key_is_on_the_line_where_its_statement_begins(path: KeyPath, line: int | None) -> None:
    assert line_of(TEXT, path) == line


def test_what_is_missing_is_reported_at_the_table_around_it() -> None:
    found = places(TEXT)
    assert found.nearest(("providers", "a.b", "models", 1, "tools")) == SettingLocation(FILE, 19)
    assert found.nearest(("nowhere", "at", "all")) == SettingLocation(FILE, 1)


def test_tables_of_two_files_are_merged_and_each_value_keeps_its_place() -> None:
    below = "[providers.a]\nkind = 1\nmodels = [\n{ id = 1, cost = 2 }]\n[routes]\nx = 1\n"
    above = "[providers.a]\n\nkind = 2\n[[providers.a.models]]\nid = 3\n[defaults]\nx = 1\n"
    found = places(below, above)

    assert merged(parse_toml(below), parse_toml(above)) == {
        "providers": {"a": {"kind": 2, "models": [{"id": 3}]}},
        "routes": {"x": 1},
        "defaults": {"x": 1},
    }
    assert found.of(("providers", "a", "kind")) == SettingLocation(PROJECT, 3)
    assert found.of(("routes", "x")) == SettingLocation(FILE, 6)
    assert found.of(("providers", "a", "models", 0, "id")) == SettingLocation(PROJECT, 5)
    assert found.of(("providers", "a", "models", 0, "cost")) is None, "the other list took the place of this one"
    assert found.nearest(("providers", "a", "models", 0, "cost")) == SettingLocation(PROJECT, 4)


_NAMES = st.sampled_from(["a", "b", "c", "d"])
_VALUES = st.sampled_from(["1", '"x"', '"""\n\n"""', "[\n1,\n\n2]", "{ z = 1 }"])


@given(st.dictionaries(_NAMES, st.dictionaries(_NAMES, _VALUES, max_size=4), max_size=4), st.booleans())
def test_each_key_of_any_document_is_found_where_it_was_written(
    tables: dict[str, dict[str, str]], ends_windows: bool
) -> None:
    text, written = "# begin\n", dict[tuple[str, ...], int]()
    for table, values in tables.items():
        written[(table,)] = text.count("\n") + 1
        text += f"[{table}]\n\n"
        for key, value in values.items():
            written[(table, key)] = text.count("\n") + 1
            text += f"{key} = {value}\n# {key} = 0\n"
    found = places(text.replace("\n", "\r\n") if ends_windows else text)

    assert {path: found.nearest(path).line for path in written} == written
    assert all(found.of(path) for path in written)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a = 1\nb 2\n", 2, "Expected '='"),
        ("a = [1,\n", 2, "Invalid value"),
        (f"a = {'9' * 5_000}", 1, "Exceeds the limit"),
        (f"a = {'[' * 5_000}{']' * 5_000}", 1, "it is nested too deeply"),
        (f"{'a.' * 5_000}a = 1", 1, "it is nested too deeply"),
    ],
    ids=["a statement", "the end", "a long number", "lists in lists", "tables in tables"],
)
def test_a_text_that_is_no_toml_has_the_line_of_its_mistake(text: str, line: int, what: str) -> None:
    with pytest.raises(TomlError, match=what) as error:
        parse_toml(text)
    assert error.value.line == line
