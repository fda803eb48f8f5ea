"""A tool call's input, mended where the tool's schema refuses it, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_bridge.conversion.tool_calls.arguments import repair_arguments
from claude_bridge.conversion.tool_json.text import as_json_text, is_json
from tests.schemas import faults, plain_schemas_and_values, schemas_and_values

STRICT = {"type": "object", "additionalProperties": False}
READ = STRICT | {
    "properties": {
        "file_path": {"type": "string"},
        "limit": {"type": "integer", "exclusiveMinimum": 0},
        "pages": {"type": "string"},
    },
    "required": ["file_path"],
}
SEARCH = STRICT | {
    "properties": {
        "query": {"type": "string", "minLength": 2},
        "allowed_domains": {"type": "array", "items": {"type": "string"}},
        "blocked_domains": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["query"],
}


def _of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _mended(said: Any, schema: Any, tool: str = "Tool") -> tuple[Any, tuple[str, ...]]:
    text, notes = repair_arguments(
        said if isinstance(said, str) else json.dumps(said), json.dumps(schema).encode(), tool
    )
    return json.loads(text), notes


# --- laws -----------------------------------------------------------------------------------------------------


@given(schemas_and_values, st.sampled_from([None, 2]))
@settings(max_examples=400)
def test_an_input_that_is_valid_is_never_changed(made: tuple[dict[str, Any], Any], indent: int | None) -> None:
    schema, value = made
    if faults(value, schema) == 0:
        said = json.dumps(value, indent=indent)
        assert repair_arguments(said, json.dumps(schema).encode(), "Tool") == (said, ())


@given(plain_schemas_and_values)
@settings(max_examples=400)
def test_an_input_that_is_not_valid_becomes_no_worse(made: tuple[dict[str, Any], Any]) -> None:
    schema, value = made
    mended, notes = _mended(value, schema)
    before, after = faults(value, schema), faults(mended, schema)
    assert after <= before if notes else mended == value


@given(plain_schemas_and_values)
@settings(max_examples=200)
def test_what_was_mended_needs_no_more_mending(made: tuple[dict[str, Any], Any]) -> None:
    schema, value = made
    mended, _ = _mended(value, schema)
    assert faults(_mended(mended, schema)[0], schema) <= faults(mended, schema)


@given(st.text() | st.text('{}[]",:\\ a1', max_size=40))
def test_whatever_comes_out_is_json_or_the_beginning_of_it(said: str) -> None:
    text, _ = repair_arguments(said, b"{}", "Tool")
    assert is_json(text) or as_json_text(text) == text


# --- arguments as a whole -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "mended", "is_told"),
    [
        ("", "{}", False),
        ("  ", "{}", False),
        ("null", "{}", False),
        ('{"b": 1, "a": 2}', '{"b": 1, "a": 2}', False),
        ("[1]", "[1]", False),
        ('"{\\"a\\": 1}"', '{"a": 1}', True),
        ('"just text"', '"just text"', False),
        ("{'a': True,}", '{"a":true}', True),
        ('{"a": "x', '{"a":"x"}', True),
        ('{"a":"\\ud800"}', '{"a":"\\ufffd"}', False),
        ("just text", '"just text"', True),
        ("rm -rf {", '"rm -rf {"', True),
        ('{"a":NaN,"b":1e999}', '"{\\"a\\":NaN,\\"b\\":1e999}"', True),
    ],
)
def test_arguments_are_mended_where_it_is_clear_what_they_mean(said: str, mended: str, is_told: bool) -> None:
    text, notes = repair_arguments(said, b"{}", "Tool")
    assert text == mended
    assert bool(notes) is is_told


def test_a_broken_string_brings_no_new_properties() -> None:
    said = '{"file_path": "a.md", "limit": 1, "pages": "x", "b": c"}'
    assert _mended(said, READ) == (said, ("arguments that are no JSON were handed on as text",))


def test_malformed_json_is_mended_first_and_then_its_values() -> None:
    assert _mended("{'file_path': 'a', 'limit': '5',}", READ) == (
        {"file_path": "a", "limit": 5},
        ("malformed JSON was mended", "limit: a number given as text"),
    )


@pytest.mark.parametrize("schema", [b"", b"true", b"[]", b"{", b'{"type":"object","properties":3}'])
def test_a_schema_that_says_nothing_changes_nothing(schema: bytes) -> None:
    assert repair_arguments('{"a": "5"}', schema, "Tool") == ('{"a": "5"}', ())


def test_a_schema_without_end_changes_nothing() -> None:
    schema = {"type": "object", "additionalProperties": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]}}
    value: Any = "x"
    for _ in range(40):
        value = {"a": value}
    assert _mended(value, schema) == (value, ())


# --- values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "declared", "meant"),
    [
        ('{"b": 1}', {"type": "object"}, {"b": 1}),
        ("{'b': 1}", {"type": "object"}, {"b": 1}),
        ('[{"b": 1}]', {"type": "array"}, [{"b": 1}]),
        ("['b', 'c']", {"type": "array"}, ["b", "c"]),
        ([{"b": 1}], {"type": "object"}, {"b": 1}),
        ({"b": 1}, {"type": "array", "items": {"type": "object"}}, [{"b": 1}]),
        ("example.com", {"type": "array", "items": {"type": "string"}}, ["example.com"]),
        ("5", {"type": "integer"}, 5),
        (" -5 ", {"type": "integer"}, -5),
        ("5.0", {"type": "integer"}, 5),
        ("1.5", {"type": "number"}, 1.5),
        ("1e3", {"type": "number"}, 1000),
        (["5"], {"type": "array", "items": {"type": "integer"}}, [5]),
        (["a.txt"], {"type": "string"}, "a.txt"),
        ("true", {"type": "boolean"}, True),
        ("False", {"type": "boolean"}, False),
        (1, {"type": "boolean"}, True),
        ("null", {"type": ["integer", "null"]}, None),
        (5, {"type": "string"}, "5"),
        (True, {"type": "string"}, "true"),
        ("5", {"enum": [1, 5]}, 5),
        ("true", {"const": True}, True),
        ("RED", {"enum": ["red", "green"]}, "red"),
        ("5", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, 5),
        ("true", {"oneOf": [{"type": "integer"}, {"type": "boolean"}]}, True),
        ("5", {"allOf": [{"type": "integer"}]}, 5),
        ("5", {"$ref": "#/$defs/count"}, 5),
        ('{"n": "5"}', {"$ref": "#/$defs/box"}, {"n": 5}),
    ],
)
def test_a_value_of_the_wrong_type_is_converted(given_: Any, declared: Any, meant: Any) -> None:
    definitions = {"count": {"type": "integer"}, "box": _of(n={"$ref": "#/$defs/count"})}
    schema = _of(a=declared) | {"required": ["a"], "$defs": definitions}
    mended, notes = _mended({"a": given_}, schema)
    assert mended == {"a": meant}
    assert type(mended["a"]) is type(meant)
    assert all(note.startswith("a") for note in notes)


@pytest.mark.parametrize(
    ("given_", "declared"),
    [
        ("five", {"type": "integer"}),
        ("5 apples", {"type": "integer"}),
        ("5.5", {"type": "integer"}),
        ("1e999", {"type": "number"}),
        ("0x1F", {"type": "integer"}),
        ("yes", {"type": "boolean"}),
        (2, {"type": "boolean"}),
        ("a, b", {"type": "array", "items": {"type": "string"}}),
        ("a b", {"type": "array", "items": {"type": "string"}}),
        ("null", {"type": "array", "items": {"type": "string"}}),
        (["a", "b"], {"type": "string"}),
        ("no JSON", {"type": "object"}),
        (None, {"type": "string"}),
        ("5", {"type": "integer", "maximum": 3}),
        ("blue", {"enum": ["red", "green"]}),
        ("red", {"enum": ["Red", "RED"]}),
        ("5", {"type": ["string", "integer"]}),
        ("5", {}),
        ("5", True),
    ],
)
def test_a_value_whose_meaning_is_not_sure_stays(given_: Any, declared: Any) -> None:
    assert _mended({"a": given_}, _of(a=declared) | {"required": ["a"]}) == ({"a": given_}, ())


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ('{"a": 1.10}', "1.10"),
        ('{"a": 123456789012345678901}', "123456789012345678901"),
        ('{"a": {"name": "x",\n  "version": 1.10}}', '{"name": "x",\n  "version": 1.10}'),
        ('{"a": [{"b": 1}, {"c": 2}]}', '[{"b": 1}, {"c": 2}]'),
    ],
    ids=["a version", "many digits", "the content of a JSON file", "a list of objects"],
)
def test_text_that_was_given_as_json_stays_as_the_model_wrote_it(said: str, meant: str) -> None:
    assert _mended(said, _of(a={"type": "string"}))[0] == {"a": meant}


def test_inner_objects_and_lists_are_mended_too() -> None:
    schema = _of(edits={"type": "array", "items": STRICT | _of(old={"type": "string"}, all={"type": "boolean"})})
    mended, notes = _mended({"edits": '[{"old": 5, "All": "true"}]'}, schema)
    assert mended == {"edits": [{"old": "5", "all": True}]}
    assert notes == (
        "edits: a list given as text",
        "edits[0].old: text given as a number",
        "edits[0].all: given as 'All'",
        "edits[0].all: true or false given as text",
    )


# --- properties -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [None, "", " ", "null", "None", "undefined", [], {}])
def test_an_optional_property_without_a_value_is_left_out_where_it_is_refused(nothing: Any) -> None:
    mended, notes = _mended({"file_path": "a", "limit": nothing}, READ)
    assert mended == {"file_path": "a"}
    assert notes == ("limit: an empty value was left out",)


@pytest.mark.parametrize("nothing", [None, "", []])
def test_so_is_one_that_is_not_declared(nothing: Any) -> None:
    assert _mended({"file_path": "a", "encoding": nothing}, READ)[0] == {"file_path": "a"}


@pytest.mark.parametrize("said", [{"file_path": None}, {"file_path": "a", "encoding": "utf-8"}, {}, {"limit": 3}])
def test_no_required_value_is_invented_and_no_other_is_lost(said: Any) -> None:
    assert _mended(said, READ) == (said, ())


def test_an_empty_value_that_the_schema_accepts_stays() -> None:
    assert _mended({"a": "", "b": None, "c": []}, _of(a={"type": "string"}, c={"type": "array"}))[1] == ()


@pytest.mark.parametrize("key", ["File_Path", "file_path ", " file_path", "filePath", "file-path", '"file_path"'])
def test_a_key_in_another_spelling_is_matched(key: str) -> None:
    mended, notes = _mended({key: "a"}, READ)
    assert mended == {"file_path": "a"}
    assert notes == (f"file_path: given as {key!r}",)


@pytest.mark.parametrize(
    ("said", "schema"),
    [
        ({"FILE_PATH": "a", "File_Path": "b"}, READ),
        ({"file_path": "a", "File_Path": "b"}, READ),
        ({"A": 1}, STRICT | _of(a_={"type": "integer"}, a={"type": "integer"})),
        ({"path": "a"}, READ),
        ({"Limit": 5}, _of(limit={"type": "integer"})),
    ],
    ids=["two of them", "the right one is there", "two are meant", "another word", "other properties are allowed"],
)
def test_a_key_that_may_mean_another_stays(said: Any, schema: Any) -> None:
    assert _mended(said, schema) == (said, ())


@pytest.mark.parametrize(
    "said",
    [
        {"input": {"file_path": "a"}},
        {"arguments": '{"file_path": "a"}'},
        {"name": "Read", "parameters": {"file_path": "a"}},
        {"type": "tool_use", "name": "Read", "input": {"file_path": "a"}},
        {"arguments": {"arguments": {"file_path": "a"}}},
    ],
)
def test_an_input_inside_what_looks_like_the_whole_call_is_taken_out(said: Any) -> None:
    mended, notes = _mended(said, READ, "Read")
    assert mended == {"file_path": "a"}
    assert notes


@pytest.mark.parametrize(
    ("said", "schema"),
    [
        ({"name": "Write", "input": {"file_path": "a"}}, READ),
        ({"input": {"file_path": "a"}, "limit": 1}, READ),
        ({"input": {"file_path": "a"}}, _of(input={"type": "object"}, file_path={}) | {"required": ["file_path"]}),
        ({"input": {"x": 1}}, READ),
    ],
    ids=["another tool's", "beside others", "declared so", "no better inside"],
)
def test_an_input_inside_something_else_stays(said: Any, schema: Any) -> None:
    assert _mended(said, schema, "Read") == (said, ())


# --- what clients are known to refuse ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "schema", "said", "meant"),
    [
        ("Read", READ, {"file_path": "a", "pages": ""}, {"file_path": "a"}),
        ("WebSearch", SEARCH, {"query": "abc", "allowed_domains": [], "blocked_domains": []}, {"query": "abc"}),
        ("WebSearch", SEARCH, {"query": "abc", "allowed_domains": [""]}, {"query": "abc"}),
        (
            "WebSearch",
            SEARCH,
            {"query": "abc", "allowed_domains": ["a.com"], "blocked_domains": ["b.com"]},
            {"query": "abc", "allowed_domains": ["a.com"]},
        ),
        (
            "WebSearch",
            SEARCH,
            {"query": "abc", "allowed_domains": "[]", "blocked_domains": '["b.com"]'},
            {"query": "abc", "blocked_domains": ["b.com"]},
        ),
    ],
)
def test_what_the_client_refuses_though_the_schema_does_not_is_left_out(
    tool: str, schema: Any, said: Any, meant: Any
) -> None:
    mended, notes = _mended(said, schema, tool)
    assert mended == meant
    assert notes


@pytest.mark.parametrize(
    ("tool", "schema"),
    [("Search", SEARCH), ("WebSearch", {"type": "object"}), ("WebSearch", SEARCH | {"required": ["blocked_domains"]})],
    ids=["another tool", "another schema", "required"],
)
def test_of_other_tools_the_same_stays(tool: str, schema: Any) -> None:
    said = {"query": "abc", "allowed_domains": ["a.com"], "blocked_domains": ["b.com"]}
    assert _mended(said, schema, tool) == (said, ())


def test_a_search_of_claude_codes_own_is_mended_before_it_was_declared() -> None:
    both = '{"query":"x","allowed_domains":["a.example"],"blocked_domains":["b.example"]}'
    mended = repair_arguments(both, b"{}", "WebSearch")
    assert mended.text == '{"query":"x","allowed_domains":["a.example"]}'
    assert repair_arguments(both, b"{}", "Other").text == both
