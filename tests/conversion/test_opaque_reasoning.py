"""Thoughts that only their maker can read: out in blocks that clients keep, and back in as they came."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec
import pytest

from claude_bridge.conversion.deltas import (
    Delta,
    Finish,
    FinishReason,
    OpaqueReasoning,
    RedactedReasoning,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.opaque_reasoning import SEAL, ReasoningSealer, Unsealed, is_ours, unseal
from claude_bridge.wire.anthropic import RedactedThinkingBlock, TextBlock

STOP = Finish(FinishReason.STOP)


def _detail(**fields: Any) -> OpaqueReasoning:
    return OpaqueReasoning({"type": "reasoning.text", "index": 0, **fields})


def _sealed(*deltas: Delta) -> list[Delta]:
    sealer = ReasoningSealer()
    return [out for delta in deltas for out in sealer.feed([delta])] + sealer.close()


def _held(*deltas: Delta) -> Unsealed:
    """Return what the blocks hold that come out."""
    return unseal(RedactedThinkingBlock(out.data) for out in _sealed(*deltas) if isinstance(out, RedactedReasoning))


def test_pieces_of_a_thought_become_one_detail_with_its_signature() -> None:
    held = _held(_detail(text="Let", format=None), _detail(text=" me"), _detail(signature="s", text=None), STOP)
    assert held.details == [{"type": "reasoning.text", "index": 0, "text": "Let me", "format": None, "signature": "s"}]


def test_a_summary_comes_in_pieces_too() -> None:
    pieces = [OpaqueReasoning({"type": "reasoning.summary", "index": 0, "summary": part}) for part in ("a", "b")]
    assert _held(*pieces).details == [{"type": "reasoning.summary", "index": 0, "summary": "ab"}]


def test_a_signature_beside_the_last_piece_is_kept() -> None:
    held = _held(_detail(text="Let"), _detail(text="", signature="s"), STOP)
    assert held.details == [{"type": "reasoning.text", "index": 0, "text": "Let", "signature": "s"}]


def test_details_of_other_kinds_and_places_stay_apart() -> None:
    cipher = {"type": "reasoning.encrypted", "index": 0, "data": "a"}
    other = {"type": "reasoning.text", "index": 1, "text": "b"}
    assert _held(
        _detail(text="a"), OpaqueReasoning(other), OpaqueReasoning(cipher), OpaqueReasoning(cipher)
    ).details == [
        {"type": "reasoning.text", "index": 0, "text": "a"},
        other,
        cipher,
        cipher,
    ]


def test_the_block_comes_before_what_follows_the_thought() -> None:
    kinds = [type(out) for out in _sealed(ThinkingDelta("a"), _detail(text="a"), UsageReport(), TextDelta("b"), STOP)]
    assert kinds == [ThinkingDelta, UsageReport, RedactedReasoning, TextDelta, Finish]
    kinds = [type(out) for out in _sealed(_detail(text="a"), ToolCallStart(0, "Read"), STOP)]
    assert kinds == [RedactedReasoning, ToolCallStart, Finish]
    assert [type(out) for out in _sealed(_detail(text="a"), STOP)] == [RedactedReasoning, Finish]
    assert [type(out) for out in _sealed(_detail(text="a"))] == [RedactedReasoning], "an answer that broke off"


def test_what_is_not_sealed_passes_as_it_is() -> None:
    output: list[Delta] = [ThinkingDelta("a"), TextDelta("b"), ToolCallStart(0, "Read"), STOP]
    assert ReasoningSealer().feed(output) == output


def test_signatures_are_kept_by_the_number_of_their_call() -> None:
    held = _held(
        OpaqueReasoning(call_signature="one"),
        ToolCallStart(0, "Read"),
        ToolCallArguments(0, "{}"),
        ToolCallStart(1, "Read"),
        OpaqueReasoning(call_signature="three"),
        ToolCallStart(2, "Bash"),
        STOP,
    )
    assert held.signatures == {0: "one", 2: "three"}


def test_several_blocks_of_a_turn_are_read_in_their_order() -> None:
    held = _held(_detail(text="a"), TextDelta("b"), OpaqueReasoning({"type": "x", "data": "c"}), STOP)
    assert [detail["type"] for detail in held.details] == ["reasoning.text", "x"]


@pytest.mark.parametrize(
    "data",
    [
        "EvAFCkYIBxgCKkBMt",
        SEAL,
        SEAL + "no base64!",
        SEAL + b64encode(b"no json").decode(),
        SEAL + b64encode(b'{"details":1}').decode(),
        SEAL + b64encode(msgspec.json.encode({"signatures": {"a": 1}})).decode(),
        SEAL + "é",
    ],
)
def test_what_is_none_of_ours_or_was_changed_holds_nothing(data: str) -> None:
    assert unseal([TextBlock("a"), RedactedThinkingBlock(data)]) == Unsealed([], {})


def test_ours_are_known() -> None:
    (block,) = (out for out in _sealed(_detail(text="a"), STOP) if isinstance(out, RedactedReasoning))
    assert is_ours(RedactedThinkingBlock(block.data))
    assert not is_ours(RedactedThinkingBlock("EvAFCkYIBxgCKkBMt"))
