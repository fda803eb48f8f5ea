"""Schemas that an engine refused: sent in few keywords from then on, and told as lost."""

from __future__ import annotations

import json
from typing import Any

from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.tool_json.rejected_schemas import RejectedSchemas
from claude_bridge.wire.anthropic import MessagesRequest
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


def _put(refused: RejectedSchemas, request: MessagesRequest) -> tuple[list[Any], Any, list[str]]:
    losses: list[Loss] = []
    put = refused.put_plainly(request, losses)
    tools = [json.loads(bytes(tool.input_schema)) for tool in put.tools or ()]  # type: ignore[arg-type]  # all have one
    output = put.output_config.format if put.output_config else None
    return tools, json.loads(bytes(output.schema)) if output else None, [loss.path for loss in losses]  # type: ignore[arg-type]


def test_nothing_changes_before_a_refusal() -> None:
    request = a_request(tools=[PLAIN, ODD])
    assert RejectedSchemas().put_plainly(request, []) is request


def test_what_can_be_put_more_plainly_is_put_so_from_then_on() -> None:
    refused = RejectedSchemas()
    assert refused.learn(a_request(tools=[PLAIN, ODD], output_config=FORMAT))
    tools, output, lost = _put(refused, a_request(tools=[PLAIN, ODD], output_config=FORMAT))
    assert tools == [
        PLAIN["input_schema"],
        {
            "type": "object",
            "properties": {"path": {"type": "string", "description": '(pattern: "^(?=a)")'}},
            "required": ["path"],
        },
    ]
    assert output == {"type": "array", "items": {"type": "string"}, "description": "(minItems: 5000)"}
    assert lost == ["$.tools[1].input_schema", "$.output_config.format.schema"]


def test_what_a_schema_says_of_itself_goes_into_the_description_of_the_tool() -> None:
    refused = RejectedSchemas()
    refused.learn(a_request(tools=[ODD]))
    tools = refused.put_plainly(a_request(tools=[ODD]), []).tools
    assert tools is not None
    assert tools[0].description == "Reads.\n\nWhat to read."


def test_other_tools_stay_as_they_are() -> None:
    refused = RejectedSchemas()
    refused.learn(a_request(tools=[ODD]))
    other = json.loads(json.dumps(ODD).replace("(?=a)", "b"))
    assert _put(refused, a_request(tools=[other])) == ([other["input_schema"]], None, [])


def test_there_is_nothing_to_learn_twice_or_of_plain_schemas() -> None:
    refused = RejectedSchemas()
    assert not refused.learn(a_request(tools=[PLAIN, {"name": "none"}]))
    assert not refused.learn(a_request())
    assert refused.learn(a_request(tools=[ODD]))
    assert not refused.learn(a_request(tools=[ODD]))


def test_a_schema_that_can_not_be_read_is_left_to_whoever_reads_it() -> None:
    deep = json.loads('{"items":' * 400 + "{}" + "}" * 400)
    assert not RejectedSchemas().learn(a_request(tools=[{"name": "a", "input_schema": deep}]))
