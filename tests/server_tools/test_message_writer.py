"""The stream of a message of several rounds: legal, whole, and read by Anthropic's SDK as by the bridge."""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.deltas import (
    Delta,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.response.assembler import MessageAssembler
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.conversion.web_results import error_content
from claude_bridge.server_tools.message_writer import MessageWriter
from claude_bridge.server_tools.result_texts import tool_result
from claude_bridge.wire.anthropic_answers import Stop, StreamEvent
from tests.dialogues import folded
from tests.laws import assert_legal, assert_sdk_agrees

words = st.sampled_from(["Well. ", "ä", '<cite source="1">', "</cite>", "<cite>", " ", "x < y"])
steps = st.tuples(st.just("text"), words) | st.sampled_from(
    [("think", "Hm."), ("call", "web_search"), ("call", "Bash"), ("alive", "")]
)
rounds = st.lists(st.lists(steps, max_size=6), min_size=1, max_size=3)


def _deltas(kind: str, what: str, key: int) -> list[Delta]:
    if kind == "text":
        return [TextDelta(what)]
    if kind == "think":
        return [ThinkingDelta(what)]
    given = '{"query": "q"}'
    return [ToolCallStart(key, what, f"toolu_{key}"), ToolCallArguments(key, given), ToolCallEnd(key)]


def _played(script: list[list[tuple[str, str]]], sources: list[dict[str, str]]) -> list[StreamEvent]:
    """Return the stream of rounds in which a model says this; every web call fails."""
    ids, keys = count(), count()
    writer = MessageWriter({"web_search"}, sources, "req_1", lambda: f"srvtoolu_{next(ids)}")
    events: list[StreamEvent] = []
    for output_text in script:
        writer.begin_round()
        context = ResponseContext(
            message_id="msg_1", request_id="req_1", prompt_tokens=7, window_tokens=None, new_tool_id=str
        )
        assembler = MessageAssembler(context, "m")
        events += writer.take(assembler.start())
        for kind, what in [*output_text, ("text", "So.")]:
            made = assembler.keep_alive() if kind == "alive" else assembler.feed(_deltas(kind, what, next(keys)))
            events += writer.take(made)
        finish: list[Delta] = [Finish(FinishReason.STOP), UsageReport(prompt_tokens=7, output_tokens=3)]
        events += writer.take([*assembler.feed(finish), *assembler.close()])
        ended = writer.end_round()
        events += writer.keep_alive()
        for call in ended.calls:
            events += writer.result("web_search", call.id, error_content("web_search", "unavailable"))
    return [*events, *writer.end(Stop("end_turn"), {"web_search": 1})]


@given(rounds)
def test_every_message_is_legal_and_adds_up(script: list[list[tuple[str, str]]]) -> None:
    events = _played(script, [{"url": "https://a.example", "title": "A"}])
    assert_legal(events)
    assert_sdk_agrees(events)
    usage = folded(events).usage
    assert (usage.input_tokens, usage.output_tokens) == (7 * len(script), 3 * len(script))


@given(rounds)
def test_without_results_the_text_stays_as_the_model_wrote_it(script: list[list[tuple[str, str]]]) -> None:
    message: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(folded(_played(script, []))))
    text = "".join(block["text"] for block in message["content"] if block["type"] == "text")
    output_text = [
        what for steps in script for kind, what in [*steps, ("text", "So.")] if kind == "text" and what.strip()
    ]
    assert text.replace(" ", "") == "".join(output_text).replace(" ", "")
    uses = [block["id"] for block in message["content"] if block["type"] == "server_tool_use"]
    gave = [block["tool_use_id"] for block in message["content"] if block["type"] == "web_search_tool_result"]
    assert sorted(uses) == sorted(gave)


PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"type": "web_fetch_result", "url": "u", "content": {**PDF, "title": "T"}}, ["T\nu", {**PDF, "title": "T"}]),
        ({"type": "web_fetch_result", "url": "u", "content": PDF}, ["u", PDF]),
        ({"type": "web_fetch_result", "url": "u", "content": {"source": {"type": "text", "data": ""}}}, "u\n\n(empty)"),
        ({"type": "web_fetch_result", "url": "u"}, "(nothing)"),
        ([], "(nothing)"),
        ({"type": "web_fetch_tool_result_error", "error_code": "of_the_future"}, "of_the_future"),
    ],
    ids=["pdf", "pdf without a title", "empty", "no document", "no page", "unknown error"],
)
def test_a_page_of_the_history_is_read_whatever_it_holds(content: object, expected: object) -> None:
    block = msgspec.json.decode(tool_result("web_fetch", "toolu_1", msgspec.Raw(msgspec.json.encode(content)), 0))
    if isinstance(expected, list):
        expected = [{"type": "text", "text": expected[0]}, expected[1]]
    assert block["content"] == expected
