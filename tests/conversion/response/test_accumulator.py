"""A whole stream as one message."""

from __future__ import annotations

import pytest

from claude_bridge.conversion.response.accumulator import MessageAccumulator
from claude_bridge.wire import anthropic as wire
from claude_bridge.wire import anthropic_answers as answers


def _folded(*events: answers.StreamEvent) -> answers.Message:
    fold = MessageAccumulator()
    head = answers.Message(id="msg_1", model="m", content=[], stop_reason=None, usage=answers.Usage(input_tokens=9))
    fold.feed([answers.MessageStart(head), *events])
    fold.feed(
        [
            answers.MessageDelta(answers.Stop("stop_sequence", "END"), answers.Usage(output_tokens=4)),
            answers.MessageStop(),
        ]
    )
    return fold.message


def _block(block: answers.AnswerBlock, *deltas: answers.BlockDelta, index: int = 0) -> list[answers.StreamEvent]:
    return [
        answers.ContentBlockStart(index, block),
        *(answers.ContentBlockDelta(index, delta) for delta in deltas),
        answers.Ping(),
        answers.ContentBlockStop(index),
    ]


def test_the_end_of_the_stream_says_why_and_how_much() -> None:
    message = _folded()
    assert (message.id, message.model, message.role) == ("msg_1", "m", "assistant")
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    assert message.usage == answers.Usage(output_tokens=4)


def test_blocks_come_in_their_order_and_whole() -> None:
    message = _folded(
        *_block(
            wire.ThinkingBlock(""),
            answers.BlockThinkingDelta("h"),
            answers.BlockThinkingDelta("m"),
            answers.BlockSignatureDelta("s"),
        ),
        *_block(wire.TextBlock(""), answers.BlockTextDelta("a"), answers.BlockTextDelta("b"), index=1),
    )
    assert message.content == [wire.ThinkingBlock("hm", "s"), wire.TextBlock("ab")]


@pytest.mark.parametrize(
    ("parts", "given"),
    [
        ([], b"{}"),
        ([""], b"{}"),
        (['{"b":1,', ' "a":2}'], b'{"b":1, "a":2}'),
        (['{"a": "x'], b'{"__unparsedToolInput":{"raw":"{\\"a\\": \\"x","len":8}}'),
        (["12"], b'{"input":12}'),
    ],
    ids=["none", "empty", "pieces", "cut off", "no object"],
)
def test_an_input_is_the_object_that_was_sent_or_one_that_holds_its_text(parts: list[str], given: bytes) -> None:
    message = _folded(*_block(wire.ToolUseBlock("t", "n"), *map(answers.BlockInputJsonDelta, parts)))
    (block,) = message.content
    assert isinstance(block, wire.ToolUseBlock)
    assert bytes(block.input) == given


def test_empty_text_blocks_are_left_out() -> None:
    assert _folded(*_block(wire.TextBlock(""), answers.BlockTextDelta(""))).content == []
