"""Schemas that an engine refused: known by what they are, and sent more simply from then on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from claude_bridge.adapters.engine_profiles import UNKNOWN
from claude_bridge.conversion.profile import SchemaDialect
from claude_bridge.conversion.request.normalize import normalize_request
from claude_bridge.conversion.tool_json.simpler_schemas import MAX_SIMPLER, with_simpler_schemas
from tests.dialogues import a_request

PLAIN = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
ODD: dict[str, Any] = {
    "name": "Read",
    "description": "Reads.",
    "input_schema": {
        "type": "object",
        "description": "What to read.",
        "properties": {"path": {"type": "string", "pattern": "^(?=a)"}},
        "required": ["path"],
        "additionalProperties": False,
    },
}
FORMAT = {"format": {"type": "json_schema", "schema": {"type": "array", "items": {"type": "string"}, "minItems": 5000}}}

Dialects = Mapping[bytes, SchemaDialect]


def _after_refusal(known: Dialects | None = None, simpler: SchemaDialect = "few-keywords", **fields: Any) -> Dialects:
    return with_simpler_schemas(known or {}, a_request(**fields), "json-schema", simpler)


def _sent(dialects: Dialects, **fields: Any) -> tuple[list[Any], Any, list[str]]:
    normalized = normalize_request(a_request(**fields), UNKNOWN, simpler_schemas=dialects)
    tools = [json.loads(bytes(tool.schema)) for tool in normalized.tools]
    answer = json.loads(bytes(normalized.answer_schema)) if normalized.answer_schema is not None else None
    return tools, answer, [loss.path for loss in normalized.losses]


def test_nothing_changes_before_a_refusal() -> None:
    tools, _, losses = _sent({}, tools=[PLAIN, ODD])
    assert (tools, losses) == ([PLAIN["input_schema"], ODD["input_schema"]], [])


def test_what_can_be_put_more_simply_is_put_so_from_then_on() -> None:
    dialects = _after_refusal(tools=[PLAIN, ODD], output_config=FORMAT)
    tools, answer, losses = _sent(dialects, tools=[PLAIN, ODD], output_config=FORMAT)
    assert tools == [
        PLAIN["input_schema"],
        {
            "type": "object",
            "properties": {"path": {"type": "string", "description": '(pattern: "^(?=a)")'}},
            "required": ["path"],
        },
    ]
    assert answer == {"type": "array", "items": {"type": "string"}, "description": "(minItems: 5000)"}
    assert losses == ["$.tools[1].input_schema", "$.output_config.format.schema"]


def test_what_a_schema_says_of_itself_goes_into_the_description_of_the_tool() -> None:
    request = a_request(tools=[ODD])
    (tool,) = normalize_request(request, UNKNOWN, simpler_schemas=_after_refusal(tools=[ODD])).tools
    assert tool.description == "Reads.\n\nWhat to read."


def test_other_tools_stay_as_they_are() -> None:
    other = json.loads(json.dumps(ODD).replace("(?=a)", "b"))
    assert _sent(_after_refusal(tools=[ODD]), tools=[other]) == ([other["input_schema"]], None, [])


def test_there_is_nothing_to_learn_twice_or_of_simple_schemas() -> None:
    assert _after_refusal(tools=[PLAIN, {"name": "none"}]) == {}
    assert _after_refusal() == {}
    known = _after_refusal(tools=[ODD])
    assert known
    assert _after_refusal(known, tools=[ODD]) == known


def test_what_is_refused_even_so_can_be_put_more_simply_still() -> None:
    nullable = {"name": "a", "input_schema": {"properties": {"x": {"type": ["string", "null"], "pattern": "a"}}}}
    known = _after_refusal(tools=[ODD, nullable])
    assert set(known.values()) == {"few-keywords"}
    simplest = _after_refusal(known, "openapi", tools=[nullable])
    assert sorted(simplest.values()) == ["few-keywords", "openapi"]


def test_a_schema_that_can_not_be_read_is_left_to_whoever_reads_it() -> None:
    deep = json.loads('{"items":' * 400 + "{}" + "}" * 400)
    assert _after_refusal(tools=[{"name": "a", "input_schema": deep}]) == {}


def test_only_so_many_schemas_are_remembered() -> None:
    known: Dialects = {}
    for start in range(0, MAX_SIMPLER + 2_000, 1_000):
        tools = [
            {"name": "a", "input_schema": {"properties": {"a": {"maximum": at}}}} for at in range(start, start + 1_000)
        ]
        known = _after_refusal(known, tools=tools)
    assert len(known) == MAX_SIMPLER
