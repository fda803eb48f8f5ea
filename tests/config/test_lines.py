"""On which line a key is given, whatever form TOML gives it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.config.line_numbers import KeyPath, Lines, line_of_error

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
    assert Lines(TEXT).line_of(path) == line


def test_what_is_missing_is_told_at_the_table_around_it() -> None:
    lines = Lines(TEXT)
    assert lines.nearest_line(("providers", "a.b", "models", 1, "tools")) == 19
    assert lines.nearest_line(("nowhere", "at", "all")) == 1


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
    lines = Lines(text.replace("\n", "\r\n") if ends_windows else text)

    assert {path: lines.line_of(path) for path in written} == written


def error_of(text: str) -> tomllib.TOMLDecodeError:
    with pytest.raises(tomllib.TOMLDecodeError) as error:
        _: Any = tomllib.loads(text)
    return error.value


def test_a_syntax_error_has_its_line_unless_it_is_the_end() -> None:
    assert line_of_error(error_of("a = 1\nb 2\n")) == 2
    assert line_of_error(error_of("a = [1,\n")) is None
