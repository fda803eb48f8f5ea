"""A tool call's input: repaired where it is malformed or its schema refuses it, and nowhere else; always an object."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jiter import from_json

from claude_bridge.clients.claude_code import UNPARSED_KEY as UNPARSED
from claude_bridge.conversion.tool_calls import arguments
from claude_bridge.conversion.tool_calls.arguments import RepairedArguments, repair_arguments
from claude_bridge.conversion.tool_json.schema_check import WorkBudget
from claude_bridge.conversion.tool_json.text import is_json
from tests.examples import examples
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


NOT_COMPARED = "not compared with the schema: that would take too long"


def _of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _repaired(output: Any, schema: Any, tool: str = "Tool") -> tuple[Any, tuple[str, ...]]:
    text = output if isinstance(output, str) else json.dumps(output)
    repaired = repair_arguments(text, json.dumps(schema).encode(), tool)
    return json.loads(repaired.text), repaired.notes


# --- laws -----------------------------------------------------------------------------------------------------


@given(schemas_and_values, st.sampled_from([None, 2]))
@examples(400)
def test_an_input_that_is_valid_is_never_changed(made: tuple[dict[str, Any], Any], indent: int | None) -> None:
    schema, value = made
    if faults(value, schema) == 0 and isinstance(value, dict):
        output = json.dumps(value, indent=indent)
        assert repair_arguments(output, json.dumps(schema).encode(), "Tool") == RepairedArguments(output)


@given(plain_schemas_and_values)
@examples(400)
def test_an_input_that_is_not_valid_becomes_no_worse(made: tuple[dict[str, Any], Any]) -> None:
    schema, value = made
    repaired, notes = _repaired(value, schema)
    if isinstance(value, dict):
        assert faults(repaired, schema) <= faults(value, schema) if notes else repaired == value


@given(plain_schemas_and_values)
@examples(200)
def test_what_was_repaired_needs_no_more_mending(made: tuple[dict[str, Any], Any]) -> None:
    schema, value = made
    repaired, _ = _repaired(value, schema)
    assert faults(_repaired(repaired, schema)[0], schema) <= faults(repaired, schema)


@given(st.text() | st.text('{}[]",:\\ a1', max_size=40), st.booleans())
def test_whatever_comes_out_is_an_object_or_the_beginning_of_one(output: str, may_repair: bool) -> None:
    repaired = repair_arguments(output, b"{}", "Tool", may_repair=may_repair)
    assert repaired.text.startswith("{")
    assert isinstance(from_json(repaired.text.encode(), partial_mode=True), dict), "as Anthropic's SDK reads it"
    assert is_json(repaired.text) or (repaired.is_cut_off and repaired.text == output.strip())


# --- arguments as a whole -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "repaired", "is_noted"),
    [
        ("", "{}", False),
        ("  ", "{}", False),
        ("null", "{}", False),
        ('{"b": 1, "a": 2}', '{"b": 1, "a": 2}', False),
        ('"{\\"a\\": 1}"', '{"a": 1}', True),
        ("{'a': True,}", '{"a":true}', True),
        ('{"a":"\\ud800"}', '{"a":"\\ufffd"}', False),
        ('{"a": 1', '{"a":1}', True),
    ],
)
def test_arguments_are_repaired_where_it_is_clear_what_they_mean(output: str, repaired: str, is_noted: bool) -> None:
    text, notes, _ = repair_arguments(output, b"{}", "Tool")
    assert text == repaired
    assert bool(notes) is is_noted


@pytest.mark.parametrize("output", ["42", "[1, 2]", '"text"', '"{no JSON}"', "true", "1.50"])
def test_what_is_no_object_goes_inside_one(output: str) -> None:
    assert repair_arguments(output, b"{}", "Tool") == RepairedArguments(
        f'{{"input":{output}}}', ("arguments that are no object were handed on inside one",)
    )


@pytest.mark.parametrize(
    "output",
    [
        *("this is not json", "rm -rf {", '{"a":NaN,"b":1e999}', '{"a": <b>}', '{"command": "ls" | grep x}'),
        '{"a":' + "[" * 150 + "]" * 150 + "}",
    ],
)
def test_what_is_no_json_goes_where_claude_code_looks_for_it(output: str) -> None:
    text, notes, is_cut_off = repair_arguments(output, b"{}", "Tool")
    assert json.loads(text) == {"__unparsedToolInput": {"raw": output, "len": len(output)}}
    assert notes or "[[" in output
    assert not is_cut_off


CUT = {
    "inside a string": '{"command": "rm -rf /home/me/project/bui',
    "inside a later string": '{"file_path":"a.py","old_string":"x","new_string":"def f():\\n    ret',
    "behind an escape": '{"file_path":"a.py","content":"a \\"b\\"',
    "behind a brace inside a string": '{"file_path":"a.c","content":"int main() {\\n  if (x) {\\n  }\\n}',
    "behind what looks like the end, inside a string": '{"command":"echo \\"}',
    "inside an inner object": '{"todos":[{"content":"a"},{"conte',
    "behind a colon": '{"command":',
    "behind a comma": '{"todos":["a",',
    "behind a key": '{"command"',
    "inside a word": '{"command":"ls","replace_all":tru',
    "before anything": "{",
    "inside a string in Python": "{'command': 'rm -rf /ho",
    "inside a string with line ends": '{"file_path":"a.py","content":"import os\nos.rem',
    "inside a string with quotes of its own": '{"file_path":"a.html","content":"<b class="x">text',
    "behind a closing bracket in a string with quotes of its own": '{"content": "f({"a": "b"}',
    "inside a fence": '```json\n{"command": "rm -rf /ho',
}


@pytest.mark.parametrize("may_repair", [True, False])
@pytest.mark.parametrize("output", CUT.values(), ids=CUT.keys())
def test_what_was_cut_off_is_never_closed(output: str, may_repair: bool) -> None:
    repaired = repair_arguments(output, b"{}", "Bash", may_repair=may_repair)
    assert repaired.is_cut_off or output == CUT["behind a closing bracket in a string with quotes of its own"]
    if is_json(repaired.text):
        assert json.loads(repaired.text) == {"__unparsedToolInput": {"raw": output, "len": len(output)}}
    else:
        assert repaired.text == output, "left open"


@pytest.mark.parametrize(
    ("output", "closed"),
    [
        ('{"command":"git checkout -- src","timeout":60', '{"command":"git checkout -- src","timeout":60}'),
        ('{"todos":[{"content":"a"}', '{"todos":[{"content":"a"}]}'),
        ("{'a': 'b'", '{"a":"b"}'),
    ],
)
def test_brackets_are_closed_only_where_the_model_ended_by_itself(output: str, closed: str) -> None:
    assert repair_arguments(output, b"{}", "Bash").text == closed
    repaired = repair_arguments(output, b"{}", "Bash", may_repair=False)
    assert repaired.is_cut_off
    assert repaired.text == output or json.loads(repaired.text)["__unparsedToolInput"]["raw"] == output


def test_malformed_json_is_left_alone_where_the_answer_may_have_been_cut_off() -> None:
    text, notes, is_cut_off = repair_arguments("{'a': 'b'}", b"{}", "Bash", may_repair=False)
    assert json.loads(text)["__unparsedToolInput"]["raw"] == "{'a': 'b'}"
    assert notes == ("malformed JSON was handed on as text: the answer may have been cut off",)
    assert not is_cut_off


@pytest.mark.parametrize(
    "output",
    [
        '{"file_path": "a.md", "limit": 1, "pages": "x", "b": c"}',
        '{"file_path": "a.md", "pages": "x", "b": c", "limit": 1}',
        '{"file_path": {"a": "5" wide"},}',
    ],
)
def test_a_broken_string_brings_no_new_properties(output: str) -> None:
    assert UNPARSED in _repaired(output, READ)[0]


def test_a_string_with_quotes_of_its_own_ends_where_the_tool_has_a_property_or_no_more() -> None:
    schema = STRICT | _of(path={"type": "string"}, content={"type": "string"})
    assert _repaired('{"content": "[{"k": "v"}, 1]", "path": "a.json"}', schema)[0] == {
        "content": '[{"k": "v"}, 1]',
        "path": "a.json",
    }
    assert _repaired('{"content": "say "x", "foo": "y" z", "path": "5" wide"}', schema)[0] == {
        "content": 'say "x", "foo": "y" z',
        "path": '5" wide',
    }
    assert UNPARSED in _repaired('{"content": "f({"a": "b"}', schema)[0]


def test_malformed_json_is_repaired_first_and_then_its_values() -> None:
    assert _repaired("{'file_path': 'a', 'limit': '5',}", READ) == (
        {"file_path": "a", "limit": 5},
        ("malformed JSON was repaired", "limit: a number given as text"),
    )


@pytest.mark.parametrize("schema", [b"", b"true", b"[]", b"{", b'{"type":"object","properties":3}'])
def test_a_schema_that_says_nothing_changes_nothing(schema: bytes) -> None:
    assert repair_arguments('{"a": "5"}', schema, "Tool") == RepairedArguments('{"a": "5"}')


def test_a_schema_without_end_changes_nothing() -> None:
    schema = {"type": "object", "additionalProperties": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]}}
    value: Any = "x"
    for _ in range(40):
        value = {"a": value}
    assert _repaired(value, schema) == (value, (NOT_COMPARED,))


def test_a_schema_that_is_nested_too_deeply_changes_nothing() -> None:
    schema = b'{"anyOf":[' * 10 + b'{"additionalProperties":{"$ref":"#"}}' + b"]}" * 10
    deep = '{"a":' * 90 + "1" + "}" * 90
    assert repair_arguments(deep, schema, "Tool") == RepairedArguments(deep, (NOT_COMPARED,))
    assert not arguments.accepts(deep, schema, WorkBudget())


def test_the_calls_of_an_answer_share_how_much_work_there_may_be() -> None:
    schema = json.dumps(_of(a={"type": "integer"})).encode()
    budget = WorkBudget(20)
    assert repair_arguments('{"a":"5"}', schema, "Tool", budget=budget).text == '{"a":5}'
    assert repair_arguments('{"a":"5"}', schema, "Tool", budget=budget) == RepairedArguments(
        '{"a":"5"}', (NOT_COMPARED,)
    )
    assert not arguments.accepts('{"a":5}', schema, budget)
    too_long = ("malformed JSON was handed on as text: repairing it would take too long",)
    assert repair_arguments("{'a': 'a long text'}", schema, "Tool", budget=budget).notes == too_long
    assert repair_arguments('{"a": "a long text that', schema, "Tool", budget=budget).is_cut_off


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
    repaired, notes = _repaired({"a": given_}, schema)
    assert repaired == {"a": meant}
    assert type(repaired["a"]) is type(meant)
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
    assert _repaired({"a": given_}, _of(a=declared) | {"required": ["a"]}) == ({"a": given_}, ())


@pytest.mark.parametrize(
    ("output", "meant"),
    [
        ('{"a": 1.10}', "1.10"),
        ('{"a": 123456789012345678901}', "123456789012345678901"),
        ('{"a": {"name": "x",\n  "version": 1.10}}', '{"name": "x",\n  "version": 1.10}'),
        ('{"a": [{"b": 1}, {"c": 2}]}', '[{"b": 1}, {"c": 2}]'),
    ],
    ids=["a version", "many digits", "the content of a JSON file", "a list of objects"],
)
def test_text_that_was_given_as_json_stays_as_the_model_wrote_it(output: str, meant: str) -> None:
    assert _repaired(output, _of(a={"type": "string"}))[0] == {"a": meant}


def test_inner_objects_and_lists_are_repaired_too() -> None:
    schema = _of(edits={"type": "array", "items": STRICT | _of(old={"type": "string"}, all={"type": "boolean"})})
    repaired, notes = _repaired({"edits": '[{"old": 5, "All": "true"}]'}, schema)
    assert repaired == {"edits": [{"old": "5", "all": True}]}
    assert notes == (
        "edits: a list given as text",
        "edits[0].old: text given as a number",
        "edits[0].all: given as 'All'",
        "edits[0].all: true or false given as text",
    )


# --- properties -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [None, "", " ", "null", "None", "undefined", [], {}])
def test_an_optional_property_without_a_value_is_left_out_where_it_is_refused(nothing: Any) -> None:
    repaired, notes = _repaired({"file_path": "a", "limit": nothing}, READ)
    assert repaired == {"file_path": "a"}
    assert notes == ("limit: an empty value was left out",)


@pytest.mark.parametrize("nothing", [None, "", []])
def test_so_is_one_that_is_not_declared(nothing: Any) -> None:
    assert _repaired({"file_path": "a", "encoding": nothing}, READ)[0] == {"file_path": "a"}


@pytest.mark.parametrize("output", [{"file_path": None}, {"file_path": "a", "encoding": "utf-8"}, {}, {"limit": 3}])
def test_no_required_value_is_invented_and_no_other_is_lost(output: Any) -> None:
    assert _repaired(output, READ) == (output, ())


def test_an_empty_value_that_the_schema_accepts_stays() -> None:
    assert _repaired({"a": "", "b": None, "c": []}, _of(a={"type": "string"}, c={"type": "array"}))[1] == ()
    assert _repaired({"file_path": "a", "pages": ""}, READ | {"required": ["pages"]}, "Read")[1] == ()


@pytest.mark.parametrize("key", ["File_Path", "file_path ", " file_path", "filePath", "file-path", '"file_path"'])
def test_a_key_in_another_spelling_is_matched(key: str) -> None:
    repaired, notes = _repaired({key: "a"}, READ)
    assert repaired == {"file_path": "a"}
    assert notes == (f"file_path: given as {key!r}",)
    assert _repaired({key: "a"}, READ | {"additionalProperties": True})[0] == {"file_path": "a"}, "it is required"


@pytest.mark.parametrize(
    ("output", "schema"),
    [
        ({"FILE_PATH": "a", "File_Path": "b"}, READ),
        ({"file_path": "a", "File_Path": "b"}, READ),
        ({"A": 1}, STRICT | _of(a_={"type": "integer"}, a={"type": "integer"})),
        ({"path": "a"}, READ),
        ({"a": "x"}, STRICT | _of(a={"type": "integer"}, A={"type": "string"})),
        ({"Limit": 5}, _of(limit={"type": "integer"})),
    ],
    ids=[
        "two of them",
        "the right one is there",
        "two are meant",
        "another word",
        "declared so",
        "others are allowed",
    ],
)
def test_a_key_that_may_mean_another_stays(output: Any, schema: Any) -> None:
    assert _repaired(output, schema) == (output, ())


def test_a_key_that_is_not_refused_stays_beside_a_value_that_is() -> None:
    schema = _of(limit={"type": "integer"}, n={"type": "integer"})
    assert _repaired({"Limit": 5, "n": "5"}, schema)[0] == {"Limit": 5, "n": 5}


@pytest.mark.parametrize(
    "output",
    [
        {"input": {"file_path": "a"}},
        {"arguments": '{"file_path": "a"}'},
        {"name": "Read", "parameters": {"file_path": "a"}},
        {"type": "tool_use", "name": "Read", "input": {"file_path": "a"}},
        {"function": "Read", "arguments": {"file_path": "a"}},
        {"arguments": {"arguments": {"file_path": "a"}}},
        *({name: {"file_path": "a"}} for name in ("args", "params", "tool_input")),
    ],
)
def test_an_input_inside_what_looks_like_the_whole_call_is_taken_out(output: Any) -> None:
    repaired, notes = _repaired(output, READ, "Read")
    assert repaired == {"file_path": "a"}
    assert notes


@pytest.mark.parametrize(
    ("output", "schema"),
    [
        ({"name": "Write", "input": {"file_path": "a"}}, READ),
        ({"input": {"file_path": "a"}, "limit": 1}, READ),
        ({"input": {"file_path": "a"}}, _of(input={"type": "object"}, file_path={}) | {"required": ["file_path"]}),
        ({"input": {"x": 1}}, READ),
        ({"box": {"input": {"file_path": "a"}}}, _of(box=READ)),
    ],
    ids=["another tool's", "beside others", "declared so", "no better inside", "inside a property"],
)
def test_an_input_inside_something_else_stays(output: Any, schema: Any) -> None:
    assert _repaired(output, schema, "Read") == (output, ())


# --- what clients are known to refuse ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "schema", "output", "meant"),
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
    tool: str, schema: Any, output: Any, meant: Any
) -> None:
    repaired, notes = _repaired(output, schema, tool)
    assert repaired == meant
    assert notes


@pytest.mark.parametrize(
    ("tool", "schema"),
    [("Search", SEARCH), ("WebSearch", {"type": "object"}), ("WebSearch", SEARCH | {"required": ["blocked_domains"]})],
    ids=["another tool", "another schema", "required"],
)
def test_of_other_tools_the_same_stays(tool: str, schema: Any) -> None:
    output = {"query": "abc", "allowed_domains": ["a.com"], "blocked_domains": ["b.com"]}
    assert _repaired(output, schema, tool) == (output, ())


def test_a_search_of_claude_codes_own_is_repaired_before_it_was_declared() -> None:
    both = '{"query":"x","allowed_domains":["a.example"],"blocked_domains":["b.example"]}'
    repaired = repair_arguments(both, b"{}", "WebSearch")
    assert repaired.text == '{"query":"x","allowed_domains":["a.example"]}'
    assert repair_arguments(both, b"{}", "Other").text == both


# --- what an engine's parser leaves of a chat format -----------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("echo hi 2>&1</｜DSML｜parameter", "echo hi 2>&1"),
        ("echo hi</|DSML|parameter>\n</|DSML|invoke>", "echo hi"),
        ("echo hi</|DSML|parameter></|DSML|invoke></|DSML|tool_calls>", "echo hi"),
        ("ls</arg_value>", "ls"),
        ("ls]<]minimax[>[</command>", "ls"),
        ("ls<|close|>argument<|sep|>", "ls"),
        ("</｜DSML｜parameter>", ""),
        ("grep '</arg_value>' x.py", "grep '</arg_value>' x.py"),
        ("<arg_value>ls</arg_value>", "<arg_value>ls</arg_value>"),
        ("<b>ls</b>", "<b>ls</b>"),
        ("</parameter>", "</parameter>"),
        ("ls </tool_call>", "ls </tool_call>"),
    ],
)
def test_closing_tags_that_were_left_on_a_value_are_cut_off(given: str, kept: str) -> None:
    value, notes = _repaired({"command": given, "n": 1}, _of(command={"type": "string"}))
    assert value == {"command": kept, "n": 1}
    assert notes == (("command: closing tags of the chat format were cut off",) if kept != given else ())


def test_what_several_parts_of_a_schema_refuse_is_repaired_part_by_part() -> None:
    parts = [{"properties": {"b": {"type": "integer"}}}, {"properties": {"c": {"type": "integer"}}}]
    schema = _of(a={"type": "integer"}) | {"allOf": parts}
    assert _repaired({"a": "1", "b": "2", "c": "3"}, schema)[0] == {"a": 1, "b": 2, "c": 3}


def test_of_many_repairs_only_the_first_are_noted() -> None:
    value = {f"k{at}": "5" for at in range(30)}
    repaired, notes = _repaired(value, {"type": "object", "additionalProperties": {"type": "integer"}})
    assert repaired == dict.fromkeys(value, 5)
    assert len(notes) == 21
    assert notes[-1] == "and 10 more"


def test_schemas_take_a_bounded_part_of_the_memory() -> None:
    for at in range(40):
        schema = json.dumps({"description": f"{at}" * 50_000}).encode()
        assert repair_arguments("{}", schema, "Tool") == RepairedArguments("{}")
    assert arguments._parsed_schemas.size_bytes <= 16 * 1024 * 1024
