"""Calls that a limit cut, or that are no calls: the real client runs nothing, and the session goes on by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.claude_code.client import ClaudeCode
from tests.fake_upstream import (
    DONE,
    MODEL,
    FakeUpstream,
    Reply,
    answer,
    calls,
    chunk,
    finish,
    stream,
    text,
    tool_call_arguments,
    usage,
)
from tests.running_bridge import open_bridge, scripted_upstream

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]


def begun(name: str, arguments: str, reason: str, *, tokens: int = 50) -> Reply:
    function = {"name": name, "arguments": ""}
    call = {"index": 0, "id": "call_0", "type": "function", "function": function}
    first = chunk({"tool_calls": [call]})
    return stream(text("I write."), first, tool_call_arguments(arguments), finish(reason), usage(10, tokens), DONE)


async def _play(claude_code: ClaudeCode, replies: list[Reply]) -> tuple[Any, list[dict[str, Any]]]:
    async with FakeUpstream(replies) as upstream, open_bridge(scripted_upstream(upstream.base_url)) as url:
        session = await claude_code.ask(url, "Write it.", "--model", MODEL)
        return session, [request.json for request in upstream.requests]


@pytest.mark.parametrize("reason", ["length", "tool_calls", "stop"])
async def test_a_file_whose_writing_was_cut_is_written_by_the_second_call(claude_code: ClaudeCode, reason: str) -> None:
    file = claude_code.project / "a.py"
    content = "import os\nfor f in os.listdir('.'):\n    os.remove(f)\n"
    whole = {"file_path": str(file), "content": content}
    half = json.dumps(whole)[:-20]
    session, bodies = await _play(claude_code, [begun("Write", half, reason), calls(("Write", whole)), answer("Done.")])
    assert session.result["result"] == "Done."
    assert file.read_text() == content
    assert len(bodies) == 3, "nothing else was asked"
    first, second = session.blocks("user", "tool_result")
    assert first["is_error"] is True
    assert "could not be parsed as JSON" in first["content"]
    assert not second.get("is_error")
    (reported,) = [message for message in bodies[1]["messages"] if message["role"] == "tool"]
    assert half[:60] in json.loads(json.dumps(reported["content"])), "the model is shown what it wrote"


@pytest.mark.parametrize("arguments", ["this is not json", "42", "[1,2]", '"text"', "{'command': 'touch half"])
async def test_what_is_no_input_leads_to_a_second_and_right_call(claude_code: ClaudeCode, arguments: str) -> None:
    right = {"command": "touch whole", "description": "Make a file"}
    replies = [begun("Bash", arguments, "tool_calls"), calls(("Bash", right)), answer("Done.")]
    session, bodies = await _play(claude_code, replies)
    assert session.result["result"] == "Done."
    assert [file.name for file in claude_code.project.iterdir()] == ["whole"]
    assert session.blocks("user", "tool_result")[0]["is_error"] is True
    (call,) = next(message for message in bodies[1]["messages"] if message.get("tool_calls"))["tool_calls"]
    assert isinstance(json.loads(call["function"]["arguments"]), dict)


async def test_a_call_that_the_engine_dropped_is_made_after_all(claude_code: ClaudeCode) -> None:
    dropped = stream(finish("function_call_filter: MALFORMED_FUNCTION_CALL"), usage(10, 0), DONE)
    right = {"command": "touch whole", "description": "Make a file"}
    session, bodies = await _play(claude_code, [dropped, calls(("Bash", right)), answer("Done.")])
    assert session.result["result"] == "Done."
    assert (claude_code.project / "whole").exists()
    assert len(bodies) == 3
    assert session.notices("api_retry") == []
