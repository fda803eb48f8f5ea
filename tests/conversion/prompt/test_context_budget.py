"""What is refused early so that it can be compacted, and what an engine must have cut."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bridge.adapters.engine_profiles import UNKNOWN
from claude_bridge.conversion.prompt.context_budget import (
    ContextOverflow,
    PromptFacts,
    answer_room,
    compactable_tokens,
    find_context_overflow,
)
from claude_bridge.conversion.request.normalize import raw_prompt_facts, repaired_history
from tests.dialogues import a_request

HI: dict[str, Any] = {"role": "user", "content": "Hi"}
HELLO: dict[str, Any] = {"role": "assistant", "content": "Hello"}
SUM_UP: dict[str, Any] = {
    "role": "user",
    "content": [{"type": "text", "text": "Answer with a <summary> block."}, {"type": "text", "text": "Text only."}],
}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}


def facts(*messages: dict[str, Any]) -> PromptFacts:
    request = a_request(messages=list(messages))
    found = repaired_history(request, UNKNOWN).facts
    assert raw_prompt_facts(request.messages) == found, "the same, whichever way the conversation goes to the engine"
    return found


@pytest.mark.parametrize(
    ("window_tokens", "limit"),
    [pytest.param(100_000, 94_000, id="large"), pytest.param(12_000, 10_000, id="small: a sixth")],
)
def test_a_conversation_keeps_room_for_its_summary(window_tokens: int, limit: int) -> None:
    assert compactable_tokens(facts(*[HI, HELLO] * 4, HI), window_tokens) == limit


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([HI], id="a first question"),
        pytest.param([*[HI, HELLO] * 3, HI], id="a few turns"),
        pytest.param([*[HI, HELLO] * 4, SUM_UP], id="the request for the summary"),
    ],
)
def test_what_compacting_can_not_shorten_is_left_to_the_engine(messages: list[dict[str, Any]]) -> None:
    assert compactable_tokens(facts(*messages), 100_000) is None


def test_nothing_is_refused_where_the_window_is_not_known() -> None:
    assert compactable_tokens(facts(*[HI, HELLO] * 4, HI), None) is None


@pytest.mark.parametrize(
    ("messages", "estimate", "window_tokens", "found"),
    [
        pytest.param(
            [HI], 14_000, 10_000, ContextOverflow(prompt_tokens=14_000, window_tokens=10_000), id="far beyond"
        ),
        pytest.param([HI], 13_000, 10_000, None, id="near it, where an estimate proves nothing"),
        pytest.param([HI], 14_000, None, None, id="a window that is not known"),
        pytest.param(
            [{"role": "user", "content": [PNG]}], 14_000, 10_000, None, id="images, whose length is not known"
        ),
    ],
)
def test_a_prompt_is_overlong_only_where_that_is_sure(
    messages: list[dict[str, Any]], estimate: int, window_tokens: int | None, found: ContextOverflow | None
) -> None:
    assert find_context_overflow(facts(*messages), estimate, window_tokens) == found


@pytest.mark.parametrize(
    ("window_tokens", "prompt_tokens", "room"),
    [
        pytest.param(12_000, 5_000, 12_000 - 5_000 - 64, id="what the prompt and the template leave"),
        pytest.param(12_000, 11_900, 1_024, id="never less than an answer that is of use"),
        pytest.param(2_000, 1_900, 500, id="a quarter of a small window"),
    ],
)
def test_an_answer_gets_what_the_window_has_left(window_tokens: int, prompt_tokens: int, room: int) -> None:
    assert answer_room(window_tokens, prompt_tokens) == room
