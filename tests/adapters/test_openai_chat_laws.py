"""What is true of openai-chat alone: fragments of tool calls, in whichever order they come."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.dialogues import answered, chunk, client_bytes, sse
from tests.examples import examples
from tests.laws import assert_legal, assert_sdk_agrees

fragments = st.fixed_dictionaries(
    {},
    optional={
        "index": st.sampled_from([0, 1, 2, None, "0"]),
        "id": st.sampled_from(["", "call_0", "call_1", None]),
        "function": st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["", "Read", "Bash", None]),
                "arguments": st.sampled_from(
                    ["", "{", "}", "{}", '{"a":', "1", '"x"', '{"a":1}', {"a": 1}, None, "\ud7ff"]
                ),
            },
        ),
    },
)


@given(st.lists(st.lists(fragments, max_size=3), max_size=6), st.sampled_from(["stop", "length", "tool_calls", None]))
@examples(300)
def test_any_order_of_call_fragments_gives_a_legal_stream(
    parts: list[list[dict[str, Any]]], reason: str | None
) -> None:
    events = answered([sse(*(chunk(tool_calls=part) for part in parts), chunk(reason))])
    assert_legal(events)
    assert_sdk_agrees(events)


def test_the_events_of_a_stream_do_not_change_when_they_are_written() -> None:
    output = sse(chunk(reasoning_content="Hm."), chunk(content="Hi."), chunk("stop"))
    assert client_bytes(answered([output])).endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
