"""What Claude Code makes of an engine's failures, as the bridge tells them."""

from __future__ import annotations

import pytest

from tests.claude_code.client import ClaudeCode, Session
from tests.fake_upstream import (
    MODEL,
    Close,
    FakeUpstream,
    Head,
    Reply,
    Reset,
    Send,
    answer,
    calls,
    refusal,
    text,
    thinking,
    tool_call,
)
from tests.running_bridge import open_bridge, scripted_upstream

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]

LLAMA_CPP_IS_FULL = refusal(
    400,
    "request (9031 tokens) exceeds the available context size (8192 tokens), try increasing it",
    type="exceed_context_size_error",
    n_prompt_tokens=9031,
    n_ctx=8192,
)
LM_STUDIO_IS_FULL = refusal(
    400,
    "Trying to keep the first 9031 tokens when context the overflows. However, the model is loaded with context "
    "length of only 8192 tokens, which is not enough.",
)
"""Words that Claude Code 2.1.330 does not know; it knows those of llama.cpp."""

each_wording = pytest.mark.parametrize(
    "full", [pytest.param(LLAMA_CPP_IS_FULL, id="llama.cpp"), pytest.param(LM_STUDIO_IS_FULL, id="LM Studio")]
)


async def ask(claude_code: ClaudeCode, upstream: FakeUpstream) -> Session:
    async with open_bridge(scripted_upstream(upstream.base_url)) as url:
        return await claude_code.ask(url, "What is there?", "--model", MODEL)


@each_wording
async def test_a_full_window_makes_the_client_compact_and_go_on(claude_code: ClaudeCode, full: Reply) -> None:
    look = calls(("Bash", {"command": "echo found", "description": "Look"}))
    summary = answer("<summary>Something was found.</summary>")
    async with FakeUpstream([look, look, full, summary, answer("Something.")]) as upstream:
        session = await ask(claude_code, upstream)
        *_, compacting, last = [request.json["messages"] for request in upstream.requests]
    assert (session.code, session.result["result"]) == (0, "Something.")
    assert len(session.notices("compact_boundary")) == 1
    assert "<summary> block" in compacting[-1]["content"]
    assert "Something was found." in str(last[1])
    assert len(upstream.requests) == 5, "the refusal is understood at once, not tried again with fewer features"


@each_wording
async def test_a_question_that_is_too_long_by_itself_is_reported_with_its_numbers(
    claude_code: ClaudeCode, full: Reply
) -> None:
    async with FakeUpstream(lambda _: full) as upstream:
        session = await ask(claude_code, upstream)
    assert session.code == 1
    assert session.result["result"].startswith("Prompt is too long")
    assert "9031" in session.result["result"].replace(",", "")


async def test_an_unknown_model_is_reported_as_such(claude_code: ClaudeCode) -> None:
    async with FakeUpstream(lambda _: refusal(404, "model 'scripted' not found")) as upstream:
        session = await ask(claude_code, upstream)
    assert session.code == 1
    assert session.result["api_error_status"] == 404
    assert "There's an issue with the selected model (scripted)" in session.result["result"]
    assert len(upstream.requests) == 2, "the client tries once more without a stream, and no more"


async def test_an_engine_that_is_not_there_is_named_at_once(claude_code: ClaudeCode) -> None:
    async with FakeUpstream() as upstream:
        gone = upstream.base_url
    async with open_bridge(scripted_upstream(gone)) as url:
        session = await claude_code.ask(url, "What is there?", "--model", MODEL)
    assert session.code == 1
    assert f"The engine at {gone} refused the connection. Is it running" in session.result["result"]
    assert session.notices("api_retry") == [], "x-should-retry: false spares the user minutes of waiting"


async def test_a_wrong_key_of_the_engine_is_reported_at_once(claude_code: ClaudeCode) -> None:
    async with FakeUpstream(lambda _: refusal(401, "Incorrect API key provided")) as upstream:
        session = await ask(claude_code, upstream)
    assert session.code == 1
    assert "answered 401: Incorrect API key provided" in session.result["result"]
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("refused", "reported"),
    [
        pytest.param(refusal(400, "roles must alternate"), "424 The engine at", id="what it can't take"),
        pytest.param(
            refusal(429, "You exceeded your current quota", code="insufficient_quota"), "402 The engine at", id="a bill"
        ),
        pytest.param(refusal(404, "No endpoints found that support tool use."), "Choose another model", id="no tools"),
    ],
)
async def test_what_an_engine_refuses_for_good_is_shown_as_it_is_and_asked_once(
    claude_code: ClaudeCode, refused: Reply, reported: str
) -> None:
    async with FakeUpstream(lambda _: refused) as upstream:
        session = await ask(claude_code, upstream)
    assert session.code == 1
    assert session.result["result"].startswith("API Error: 4")
    assert reported in session.result["result"]
    assert "temporary" not in session.result["result"]
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param([Head(), Send(text("Half an")), Close()], id="cut within the text"),
        pytest.param([Head(), Send(text("Half an")), Reset()], id="reset within the text"),
        pytest.param([Head(), Send(thinking("Hm")), Send(text("Half an")), Close()], id="cut behind a thought"),
        pytest.param([Head(), Close()], id="cut before the first chunk"),
        pytest.param([Close()], id="closed without an answer"),
    ],
)
async def test_an_answer_that_breaks_off_is_asked_for_again(claude_code: ClaudeCode, broken: Reply) -> None:
    async with FakeUpstream([broken, answer("The whole answer.")]) as upstream:
        session = await ask(claude_code, upstream)
    assert (session.code, session.result["result"]) == (0, "The whole answer.")
    assert len(upstream.requests) == 2
    assert [block["text"] for block in session.blocks("assistant", "text")] == ["The whole answer."]


async def test_a_tool_call_that_was_whole_is_run_though_the_answer_broke_off(claude_code: ClaudeCode) -> None:
    # Else the user would have seen a call that then never ran; the client has it from its finished block.
    call = tool_call("Bash", {"command": "echo found", "description": "Look"})
    broken: Reply = [Head(), Send(text("I look.")), Send(call), Send(text("And")), Reset()]
    async with FakeUpstream([broken, answer("Found.")]) as upstream:
        session = await ask(claude_code, upstream)
    assert (session.code, session.result["result"]) == (0, "Found.")
    assert [result["content"] for result in session.blocks("user", "tool_result")] == ["found"]


@pytest.mark.parametrize(
    ("status", "reported", "kind"),
    [pytest.param(503, 529, "overloaded", id="overloaded"), pytest.param(429, 429, "rate_limit", id="rate limit")],
)
async def test_a_busy_engine_is_asked_again_when_it_says(
    claude_code: ClaudeCode, status: int, reported: int, kind: str
) -> None:
    busy = refusal(status, "Too many requests", headers={"retry-after": "2"})
    async with FakeUpstream([busy, answer("Here I am.")]) as upstream:
        session = await ask(claude_code, upstream)
    assert (session.code, session.result["result"]) == (0, "Here I am.")
    (retry,) = session.notices("api_retry")
    assert (retry["error_status"], retry["error"]) == (reported, kind)
    assert retry["retry_delay_ms"] >= 2000, "without the header the client would ask after half a second"
