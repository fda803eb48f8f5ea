"""Prompts that had to be read again: told with their reason, and only then; and the memory that takes is bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.prompt.cache_misses import (
    MAX_ANSWERS,
    MAX_CONVERSATIONS,
    MAX_KEPT_BYTES,
    MAX_SESSIONS,
    NOTHING_CHANGED,
    CacheMiss,
    PromptMemory,
    PromptWatch,
)
from claude_bridge.conversion.prompt.fingerprint import fingerprint
from claude_bridge.wire.anthropic import DiagnosticsRequest
from claude_bridge.wire.anthropic_answers import CacheMissReason, Diagnostics
from tests.observed_calls import observed_calls

BASH = {"name": "Bash", "description": "Run a command. " * 100, "input_schema": {"type": "object"}}


def a_body(turns: int, *, first: str = "Hi", tool: dict[str, Any] = BASH, **fields: Any) -> bytes:
    output = [{"role": "user", "content": first}]
    for number in range(1, turns):
        output += [
            {"role": "assistant", "content": f"Answer {number}"},
            {"role": "user", "content": f"Question {number}"},
        ]
    return json.dumps({"model": "m", "system": "You help.", "tools": [tool], "messages": output} | fields).encode()


def play(
    memory: PromptMemory,
    body: bytes,
    prompt_tokens: int = 10_000,
    cached_tokens: int | None = 0,
    *,
    session: str = "s",
    request: DiagnosticsRequest | None = None,
    message_id: str = "msg_1",
) -> tuple[CacheMiss | None, Any]:
    watch = PromptWatch(memory, body, session, diagnostics_request=request, estimate=1, has_listeners=True)
    usage = UsageReport(prompt_tokens=prompt_tokens, cached_tokens=cached_tokens)
    return watch.end(message_id, usage), watch.diagnostics


def test_a_conversation_that_only_grows_is_no_news() -> None:
    memory = PromptMemory()
    assert play(memory, a_body(1)) == (None, UNSET)
    assert play(memory, a_body(2), 10_100, 9_990) == (None, UNSET)
    assert play(memory, a_body(3), 10_200, None) == (None, UNSET)


def test_what_changed_is_reported_with_what_the_engine_read() -> None:
    memory = PromptMemory()
    play(memory, a_body(1), 21_000)
    play(memory, a_body(2), 21_200, 20_900)
    reread, _ = play(memory, a_body(3, tool=BASH | {"description": "x"}), 21_400, 0)
    assert reread == CacheMiss(turn=3, tokens=21_400, lost_tokens=21_200, reason="tool Bash's description changed")


def test_a_cache_miss_has_no_token_count_where_the_engine_reports_no_cache() -> None:
    memory = PromptMemory()
    play(memory, a_body(1), 21_000, None)
    reread, _ = play(memory, a_body(2, system="Changed."), 21_400, None)
    assert reread == CacheMiss(turn=2, tokens=None, lost_tokens=21_000, reason="the system prompt changed")


def test_an_engine_that_lost_what_it_had_read_is_reported() -> None:
    memory = PromptMemory()
    play(memory, a_body(1), 21_000)
    reread, _ = play(memory, a_body(2), 21_200, 40)
    assert reread == CacheMiss(turn=2, tokens=21_160, lost_tokens=20_960, reason=NOTHING_CHANGED)


def test_seams_are_not_worth_a_word() -> None:
    memory = PromptMemory()
    play(memory, a_body(1), 21_000)
    assert play(memory, a_body(2), 21_200, 20_500)[0] is None
    memory = PromptMemory()
    play(memory, a_body(1), 200)
    assert play(memory, a_body(2, system="x"), 200, 0)[0] is None


def test_other_conversations_of_a_session_do_not_disturb() -> None:
    memory = PromptMemory()
    play(memory, a_body(1), 21_000)
    assert play(memory, a_body(1, first="Name this session.", tool=BASH | {"name": "Other"}), 300)[0] is None
    assert play(memory, a_body(2), 21_200, 21_000)[0] is None
    assert play(memory, a_body(3, system="Changed."), 21_000, 0, session="another")[0] is None


def test_a_first_message_that_changes_is_noticed_too() -> None:
    memory = PromptMemory()
    play(memory, a_body(2), 21_000)
    reread, _ = play(memory, a_body(3, first="Hi. Today is Tuesday."), 21_200, 1_000)
    assert reread is not None
    assert reread.reason == "message 1 of 3 (user) changed"


@pytest.mark.parametrize(("others", "is_remembered"), [(MAX_CONVERSATIONS - 1, True), (MAX_CONVERSATIONS, False)])
def test_only_so_many_conversations_of_a_session_are_remembered(others: int, is_remembered: bool) -> None:
    memory = PromptMemory()
    play(memory, a_body(1))
    for number in range(others):
        play(memory, a_body(1, first=f"{number}"))
    assert (play(memory, a_body(2, system="Changed."))[0] is not None) is is_remembered


@pytest.mark.parametrize(("others", "is_remembered"), [(MAX_SESSIONS - 1, True), (MAX_SESSIONS, False)])
def test_only_so_many_sessions_are_remembered(others: int, is_remembered: bool) -> None:
    memory = PromptMemory()
    play(memory, a_body(1))
    for number in range(others):
        play(memory, a_body(1), session=f"{number}")
    assert (play(memory, a_body(2, system="Changed."))[0] is not None) is is_remembered


def test_nothing_is_looked_at_where_nobody_hears_of_it() -> None:
    memory = PromptMemory()
    for _ in range(2):
        watch = PromptWatch(memory, a_body(1), "s", diagnostics_request=None, estimate=1, has_listeners=False)
        assert watch.end("msg_1", UsageReport(prompt_tokens=9_000, cached_tokens=0)) is None
    assert play(memory, a_body(2), 21_200, 0)[0] is None


def request_after(previous: str | None) -> DiagnosticsRequest:
    return DiagnosticsRequest(previous)


@pytest.mark.parametrize(
    ("now", "reported"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"model": "n"}, CacheMissReason("model_changed", 10_000), id="model"),
        pytest.param({"system": "x"}, CacheMissReason("system_changed", 10_000), id="system"),
        pytest.param({"tools": []}, CacheMissReason("tools_changed", 9_932), id="tools"),
        pytest.param({"thinking": {"type": "disabled"}}, CacheMissReason("unavailable"), id="a parameter"),
        pytest.param(
            {"messages": [{"role": "user", "content": "Ho"}]}, CacheMissReason("messages_changed", 204), id="past"
        ),
    ],
)
def test_clients_learn_what_changed_since_an_answer_of_theirs(
    now: dict[str, Any], reported: CacheMissReason | None
) -> None:
    memory = PromptMemory()
    assert play(memory, a_body(1), request=request_after(None), message_id="msg_before")[1] is None
    _, diagnostics = play(memory, a_body(2) if not now else a_body(1, **now), request=request_after("msg_before"))
    assert diagnostics == (None if reported is None else Diagnostics(reported))


def test_an_answer_that_is_not_known_is_reported_as_such() -> None:
    memory = PromptMemory()
    play(memory, a_body(1), message_id="msg_of_one_that_did_not_ask")
    for previous in ("msg_never", "msg_of_one_that_did_not_ask"):
        _, diagnostics = play(memory, a_body(2), request=request_after(previous))
        assert diagnostics == Diagnostics(CacheMissReason("previous_message_not_found"))


def test_only_so_many_answers_are_remembered() -> None:
    memory = PromptMemory()
    for number in range(MAX_ANSWERS + 1):
        play(memory, a_body(1), request=request_after(None), message_id=f"msg_{number}")
    assert play(memory, a_body(2), request=request_after("msg_1"), message_id="msg_1")[1] is None
    assert play(memory, a_body(2), request=request_after("msg_0"))[1] is not None


# --- what is looked at, and kept --------------------------------------------------------------------------------


def sent(turns: int, **fields: Any) -> bytes:
    """Return a body with the messages last, as adapters write it."""
    body = json.loads(a_body(turns, **fields))
    return json.dumps({key: body[key] for key in (*(key for key in body if key != "messages"), "messages")}).encode()


def test_a_conversation_that_only_grows_is_not_looked_into() -> None:
    memory = PromptMemory()
    with observed_calls(fingerprint, "body") as bodies:
        for turns in range(1, 20):
            play(memory, sent(turns), 20_000 + turns, 20_000)
        reread, _ = play(memory, sent(20), 21_000, 40)
    assert (reread.turn, reread.reason) == (20, NOTHING_CHANGED) if reread else False
    assert bodies == []
    with observed_calls(fingerprint, "body") as bodies:
        play(memory, sent(21, system="Changed."), 21_000, 0)
    assert len(bodies) == 2, "the two that are compared"


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["Hi", "Ho"]), st.sampled_from(["a", "b"])), max_size=12))
def test_whether_bytes_or_fingerprints_are_compared_the_same_is_found(plays: list[tuple[int, str, str]]) -> None:
    by_bytes, by_fingerprint = PromptMemory(), PromptMemory()
    for turns, first, system in plays:
        body = sent(turns, first=first, system=system * 3_000)
        found = play(by_bytes, body, 9_000, 0)
        assert play(by_fingerprint, body + b" ", 9_000, 0) == found, "a body that ends otherwise is not kept"


def test_the_bytes_that_are_kept_are_bounded() -> None:
    memory, filling = PromptMemory(), "x" * (MAX_KEPT_BYTES // 4)
    with observed_calls(fingerprint, "body") as bodies:
        for number in range(10):
            play(memory, sent(1, first=f"{number}{filling}"), session=str(number))
    assert len(bodies) == 7
    reread, _ = play(memory, sent(2, first=f"0{filling}", system="Changed."), 10_000, 0, session="0")
    assert reread is not None
    assert reread.reason == "the system prompt changed"
