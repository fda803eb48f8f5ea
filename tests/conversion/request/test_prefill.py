"""A beginning that the client gave: continued where the engine can, else asked for, and not said twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from claude_bridge.adapters import engine_profiles
from claude_bridge.conversion.deltas import Delta, Finish, FinishReason, TextDelta, ThinkingDelta, ToolCallStart
from claude_bridge.conversion.request.prefill import PrefillEchoCutter, continues_prefill, echoed_prefill
from claude_bridge.wire.anthropic import MessagesRequest
from tests.dialogues import a_request, sent_messages

CONTINUES = replace(engine_profiles.UNKNOWN, continues_prefill=True)
END = Finish(FinishReason.STOP)


def begun(text: Any = '{"a":', **fields: Any) -> MessagesRequest:
    return a_request(messages=[{"role": "user", "content": "JSON!"}, {"role": "assistant", "content": text}], **fields)


def text_sent(*deltas: str | Delta, beginning: str = '{"a":') -> str:
    """Return what the client hears: texts, and a mark for every other delta."""
    cutter = PrefillEchoCutter(beginning)
    kept: list[Delta] = []
    for delta in deltas:
        kept += cutter.feed([TextDelta(delta) if isinstance(delta, str) else delta])
    return "".join(delta.text if isinstance(delta, TextDelta) else "|" for delta in [*kept, *cutter.close()])


def test_who_continues_is_not_asked_to_begin() -> None:
    assert continues_prefill(begun(), CONTINUES)
    assert echoed_prefill(begun(), CONTINUES) is None
    assert echoed_prefill(begun(), engine_profiles.UNKNOWN) == '{"a":'
    assert echoed_prefill(begun([{"type": "text", "text": " a "}]), engine_profiles.UNKNOWN) == "a"


@pytest.mark.parametrize("request_", [a_request(), begun(""), begun([])], ids=["a user's turn", "empty", "no blocks"])
def test_where_nothing_was_begun_nothing_is_echoed(request_: MessagesRequest) -> None:
    assert echoed_prefill(request_, engine_profiles.UNKNOWN) is None


def test_an_engine_that_is_to_think_first_is_asked_in_words() -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    request = begun(thinking=thinking)
    assert not continues_prefill(request, CONTINUES)
    assert echoed_prefill(request, CONTINUES) == '{"a":'
    messages = [{"role": "user", "content": "JSON!"}, {"role": "assistant", "content": '{"a":'}]
    assert [m["role"] for m in sent_messages(*messages, profile=CONTINUES, thinking=thinking)] == ["user"]
    assert [m["role"] for m in sent_messages(*messages, profile=CONTINUES)] == ["user", "assistant"]


HEARD = {
    "echo": (['{"a": 1}'], " 1}"),
    "echo in pieces": (["{", '"', 'a":', " 1}"], " 1}"),
    "echo after a line": (["\n", '{"a": 1}'], " 1}"),
    "echo alone": (['{"a":'], ""),
    "continued at once": ([" 1}"], " 1}"),
    "another beginning": (['{"b": 1}'], '{"b": 1}'),
    "the same beginning for a while": (['{"', "b", '": 1}'], '{"b": 1}'),
    "an end in the echo": (['{"a', END], '{"a|'),
    "a call in the echo": (['{"', ToolCallStart(0, "f"), "x"], '{"|x'),
    "thoughts before it": ([ThinkingDelta("hm"), '{"a": 1}'], "| 1}"),
    "twice": (['{"a":', '{"a":'], '{"a":'),
    "nothing": ([END], "|"),
}


@pytest.mark.parametrize(("output", "left"), HEARD.values(), ids=HEARD.keys())
def test_the_echo_is_cut_and_nothing_else(output: list[str | Delta], left: str) -> None:
    assert text_sent(*output) == left


@given(st.text("ab \n", min_size=1, max_size=6), st.lists(st.text("ab \n", max_size=4), max_size=6))
def test_how_the_text_is_cut_changes_nothing(beginning: str, pieces: list[str]) -> None:
    beginning = beginning.strip() or "a"
    assert text_sent(*pieces, beginning=beginning) == text_sent("".join(pieces), beginning=beginning)


def test_white_space_without_end_is_not_held_back() -> None:
    assert text_sent(*["\n"] * 2_000) == "\n" * 2_000
    cutter = PrefillEchoCutter("a")
    assert sum(len(cutter.feed([TextDelta("\n")])) for _ in range(2_000)) > 900
