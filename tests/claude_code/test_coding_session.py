"""A whole coding task: Claude Code writes, runs, edits and reads files as a scripted model tells it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from tests.claude_code.client import ClaudeCode, Session
from tests.fake_upstream import (
    DONE,
    MODEL,
    FakeUpstream,
    Reply,
    finish,
    stream,
    text,
    tool_call,
    usage,
)
from tests.running_bridge import open_bridge, scripted_upstream

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]

COUNTS = [(12_000, 40, 0), (12_100, 30, 11_900), (12_200, 50, 12_000), (12_300, 60, 12_150), (22_000, 7, 12_250)]
"""What the engine reports: prompt tokens, completion tokens and cached tokens of each turn."""


class Played(Struct, frozen=True, kw_only=True):
    """A session that is over, and what the engine was sent in it."""

    project: Path
    session: Session
    bodies: list[dict[str, Any]]


def turn(number: int, *named_arguments: tuple[str, dict[str, Any]], words: str = "") -> Reply:
    prompt_tokens, completion_tokens, cached_tokens = COUNTS[number]
    calls = [tool_call(name, given, index=index) for index, (name, given) in enumerate(named_arguments)]
    return stream(
        *([text(words)] if words else []),
        *calls,
        finish("tool_calls" if calls else "stop"),
        usage(prompt_tokens, completion_tokens, cached_tokens=cached_tokens),
        DONE,
    )


@pytest.fixture(scope="module")
async def played(new_claude_code: Callable[[], ClaudeCode]) -> Played:
    claude_code = new_claude_code()
    project = claude_code.project
    (project / "large.txt").write_text("one of many lines\n" * 1500)
    (project / "small.txt").write_text("short\n")
    script = project / "hello.sh"
    replies = [
        turn(0, ("Write", {"file_path": str(script), "content": "echo Hello\n"}), words="I write it first."),
        turn(1, ("Bash", {"command": "sh hello.sh > output.txt; cat output.txt", "description": "Run it"})),
        turn(2, ("Edit", {"file_path": str(script), "old_string": "Hello", "new_string": "Goodbye"})),
        turn(3, *(("Read", {"file_path": str(project / name)}) for name in ("large.txt", "missing.txt", "small.txt"))),
        turn(4, words="All done: été ✓"),
    ]
    async with FakeUpstream(replies) as upstream, open_bridge(scripted_upstream(upstream.base_url)) as url:
        session = await claude_code.ask(url, "Write a script that greets.", "--model", MODEL)
        return Played(project=project, session=session, bodies=[request.json for request in upstream.requests])


async def test_the_files_are_as_the_tools_left_them(played: Played) -> None:
    assert (played.project / "hello.sh").read_text() == "echo Goodbye\n"
    assert (played.project / "output.txt").read_text() == "Hello\n"


async def test_the_session_ends_with_the_answer(played: Played) -> None:
    assert played.session.code == 0
    assert played.session.result["subtype"] == "success"
    assert played.session.result["result"] == "All done: été ✓"
    assert played.session.notices("api_retry") == []
    assert len(played.bodies) == len(COUNTS)


async def test_the_usage_is_the_sum_of_what_the_engine_reported(played: Played) -> None:
    counted = played.session.result["usage"]
    assert counted["input_tokens"] == sum(prompt - cached for prompt, _, cached in COUNTS)
    assert counted["cache_read_input_tokens"] == sum(cached for _, _, cached in COUNTS)
    assert counted["output_tokens"] == sum(completion for _, completion, _ in COUNTS)
    assert counted["cache_creation_input_tokens"] == 0


async def test_results_reach_the_engine_in_the_order_of_the_calls(played: Played) -> None:
    requested = [block["id"] for block in played.session.blocks("assistant", "tool_use")][-3:]
    given = [block["tool_use_id"] for block in played.session.blocks("user", "tool_result")][-3:]
    # The client gives results as they come, nearly always in another order, which test_turns.py always gives.
    assert sorted(given) == sorted(requested)
    *_, calls, large, missing, small = played.bodies[-1]["messages"]
    assert [call["id"] for call in calls["tool_calls"]] == requested
    assert [result["tool_call_id"] for result in (large, missing, small)] == requested
    assert "one of many lines" in large["content"]
    assert missing["content"].startswith("Error: File does not exist")
    assert "short" in small["content"]


async def test_every_call_has_an_id_of_its_own(played: Played) -> None:
    # The engine said call_0 each time; Claude Code drops the second call with an id that it has seen.
    ids = [block["id"] for block in played.session.blocks("assistant", "tool_use")]
    assert len(ids) == len(set(ids)) == 6


async def test_each_request_extends_the_one_before(played: Played) -> None:
    for earlier, later in zip(played.bodies, played.bodies[1:], strict=False):
        assert later["messages"][: len(earlier["messages"])] == earlier["messages"]
        assert later["tools"] == earlier["tools"]


async def test_what_changes_with_every_session_is_not_in_the_prompt(played: Played) -> None:
    (system, *_) = played.bodies[0]["messages"]
    assert system["role"] == "system"
    assert "x-anthropic-billing-header" not in str(played.bodies)


async def test_system_turns_reach_the_engine_as_reminders_of_the_user(played: Played) -> None:
    roles = [message["role"] for message in played.bodies[0]["messages"]]
    assert roles == ["system", "user"]
    reminders = played.bodies[0]["messages"][1]["content"]
    assert "Write a script that greets." in reminders
    assert "<system-reminder>" in reminders.split("Write a script that greets.")[1]
