"""A long session with GPT: no thought is lost on the way, whatever the user does, and the prompt cache grows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from msgspec.structs import replace

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import OPENAI_RESPONSES, profile_for
from claude_bridge.providers import Upstream
from claude_bridge.trace.events import ToolInputRepaired
from tests.claude_code.client import ClaudeCode
from tests.claude_code.terminal import open_terminal
from tests.fake_upstream import FakeUpstream, Reply, Stall
from tests.kept_events import KeptEvents
from tests.real_parts import missing
from tests.responses_stream import Json, call, message, reasoning
from tests.running_bridge import open_bridge, scripted_upstream
from tests.scripted_responses import ScriptedResponses, stalled

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]

MODEL = "gpt-5.6-sol"
LOOK = {"command": "echo found", "description": "Look"}


def gpt_at(base_url: str) -> Upstream:
    """Return the scripted server as the bridge sees OpenAI."""
    upstream = scripted_upstream(base_url, profile=profile_for(OPENAI_RESPONSES, MODEL))
    return replace(upstream, adapter=ADAPTERS["openai-responses"], model=MODEL, name="OpenAI")


def _text_of(item: Json) -> str:
    """Return what an item says, without the client's own notes."""
    content = item.get("output", item.get("content", ""))
    text = content if isinstance(content, str) else str(content)
    return re.sub(r"<system-reminder>.*?</system-reminder>", "", text, flags=re.DOTALL).strip()


def play(body: Json) -> list[Json] | Reply:
    """Do what the last words ask for, and name the last of them in the answer."""
    prompt_items = [
        item for item in body["input"] if item["type"] in ("message", "function_call_output") and _text_of(item)
    ]
    requested = next(_text_of(item) for item in reversed(prompt_items) if item.get("role") == "user")
    last, thing = prompt_items[-1], requested.split()[-1]
    words = _text_of(last)
    if last["type"] == "function_call_output":
        if "Loaded tools: CronList" in words:
            return [reasoning("Now I have it."), call("CronList", {})]
        return [reasoning(["So it is.", "And well."]), message(f"Found {thing}.", phase="final_answer")]
    if "Your task is to create a detailed summary" in words or "<summary>" in words:
        return [message("<summary>\nWe looked twice.\n</summary>")]
    if "Look for" in words[-40:]:
        return [reasoning("I look."), message("I look.", phase="commentary"), call("Bash", LOOK)]
    if "Look twice for" in words[-40:]:
        return [reasoning("First."), call("Bash", LOOK), reasoning("Second."), call("Bash", LOOK, "call_2")]
    if "Which jobs" in words[-40:]:
        return [reasoning("I need a tool."), call("ToolSearch", {"query": "select:CronList", "max_results": 5})]
    if "Count to a million" in words[-40:]:
        return stalled(reasoning("Long."), message("One, two.\n\nThree"), reply=[Stall()])
    return [reasoning("Hm."), message(f"You said {thing}.", phase="final_answer")]


async def test_ten_turns_with_tools_a_tool_loaded_midway_esc_a_resumed_session_and_a_summary_lose_no_thought(
    claude_code: ClaudeCode,
) -> None:
    if shutil.which("tmux") is None:
        missing("tmux is not installed.")
    server, trace = ScriptedResponses(play), KeptEvents()
    async with FakeUpstream(server) as upstream, open_bridge(gpt_at(upstream.base_url), trace) as url:
        prompt_items = ["Hello", "Look for plums", "Look twice for pears", "Which jobs", "Look for figs", "Thanks"]
        prompts: list[list[dict[str, Any]]] = [[{"type": "text", "text": words}] for words in prompt_items]
        session = await claude_code.converse(url, prompts, "--model", MODEL, "--effort", "high")
        assert session.code == 0
        thoughts = [block["thinking"] for block in session.blocks("assistant", "thinking")]
        assert "I look." in thoughts
        assert "So it is.\n\nAnd well." in thoughts

        options = ["--model", MODEL, "--effort", "high", "--permission-mode", "default"]
        options += ["--allowedTools", "Bash", "--resume", session.result["session_id"]]
        with TemporaryDirectory() as folder:
            screen = open_terminal(
                [str(claude_code.binary), *options],
                environment=claude_code.environment(url),
                project=claude_code.project,
                socket=Path(folder) / "tmux",
            )
            async with screen as terminal:
                await terminal.wait_for("? for shortcuts")
                await terminal.ask("Go on")
                await terminal.wait_for("You said on.")
                await terminal.ask("Count to a million")
                await terminal.wait_for("One, two")
                await terminal.press("Escape")
                await terminal.wait_until_gone("esc to interrupt")
                await terminal.press("C-u")
                await terminal.ask("Look for nuts")
                await terminal.wait_for("Found nuts.")
                await terminal.ask("/compact")
                await terminal.wait_for("Compacted")
                await terminal.ask("Look for dates")
                await terminal.wait_for("Found dates.")
                assert server.removed == []
                await terminal.press("C-o")
                await terminal.wait_for("And well.")
                await terminal.press("C-o")
                await terminal.wait_for("? for shortcuts")
                for level in ("low", "max"):
                    await terminal.ask(f"/effort {level}")
                    await terminal.wait_for(f"1. Yes, switch to {level}")  # it knows what that costs
                    await terminal.press_until("Enter", f"Set effort level to {level}")
                    await terminal.ask(f"Say {level}")
                    await terminal.wait_for(f"You said {level}.")

    assert server.refusals == []
    assert [body["reasoning"]["effort"] for body in server.bodies] == [
        *["high"] * (len(server.bodies) - 2),
        "low",
        "max",
    ]
    assert len(server.bodies) > 15
    before_the_summary = server.cached[1:16]
    assert before_the_summary == sorted(before_the_summary)
    notes = [event.what for event in trace.events if isinstance(event, ToolInputRepaired)]
    assert notes == [], "nothing was left out"
