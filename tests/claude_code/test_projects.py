"""What users configure, with the real client: a project's settings, keys, a model for plans, a budget, a reload."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from claude_bridge.config.project import PROJECT_FILE
from tests.app.test_reload import changing, settings
from tests.claude_code.client import ClaudeCode
from tests.claude_code.terminal import open_terminal
from tests.claude_code.test_run import variables
from tests.cli.process import command
from tests.fake_upstream import (
    DONE,
    FakeUpstream,
    Head,
    ReceivedRequest,
    Reply,
    Send,
    Wait,
    answer,
    calls,
    finish,
    refusal,
    text,
)
from tests.prompt_prefix import assert_extends
from tests.real_parts import missing

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]

FIRST, SECOND = "key-of-the-first-account", "key-of-the-second-account"
PROJECT = """
[defaults]
model = "doing/do-it"
plan_model = "planning/plan-it"
[limits]
session_tokens = 500000
[providers.doing]
kind = "openai-chat"
base_url = "{doing}"
api_key = {command}
[[providers.doing.models]]
id = "do-it"
context_window = 200000
[providers.planning]
kind = "openai-chat"
base_url = "{planning}"
api_key = ["env:PLAN_A", "env:PLAN_B"]
[[providers.planning.models]]
id = "plan-it"
context_window = 200000
"""
TOKEN = """
import pathlib
file = pathlib.Path(__file__).with_name("count")
number = int(file.read_text()) + 1 if file.exists() else 1
file.write_text(str(number))
print(f"token-that-changes-{number}")
"""


def is_main(request: ReceivedRequest) -> bool:
    """Return whether it is of the conversation itself, and not for its title."""
    return "response_format" not in request.json and len(request.json.get("tools") or ()) > 3


def turns(request: ReceivedRequest) -> int:
    """Return how many prompts of the user and results of tools the conversation holds."""
    return sum(message["role"] == "assistant" for message in request.json["messages"])


def planning(request: ReceivedRequest) -> Reply:
    if request.headers["authorization"] == f"Bearer {FIRST}":
        return refusal(429, f"{FIRST} is used up", headers={"retry-after": "3600"})
    if "Plan once more" in json.dumps(request.json["messages"]):
        return answer("A second plan.", prompt_tokens=600_000)
    if turns(request) == 0:
        return calls(("ToolSearch", {"query": "select:ExitPlanMode", "max_results": 1}))
    return calls(("ExitPlanMode", {"plan": "1. Write the file."}))


def doing(request: ReceivedRequest) -> Reply:
    if request.headers["authorization"].endswith("-1"):
        return refusal(401, "token-that-changes-1 has expired")
    if not is_main(request):
        return answer('{"title": "A plan"}')
    if "It is done" in json.dumps(request.json["messages"][-1]):
        return answer("All is done.")
    return calls(("Bash", {"command": "echo It is done", "description": "Say so"}))


async def test_a_project_plans_with_one_model_and_acts_with_another_until_its_budget_is_used(
    claude_code: ClaudeCode, tmp_path: Path
) -> None:
    if shutil.which("tmux") is None:
        missing("tmux is not installed.")
    (tmp_path / "token.py").write_text(TOKEN)
    key = json.dumps(f"command:{shlex.join([sys.executable, str(tmp_path / 'token.py')])}")
    environment = variables(claude_code) | {"PLAN_A": FIRST, "PLAN_B": SECOND, "XDG_DATA_HOME": str(tmp_path)}
    async with FakeUpstream(planning) as planner, FakeUpstream(doing) as doer:
        file = claude_code.project / PROJECT_FILE
        file.write_text(PROJECT.format(doing=doer.base_url, planning=planner.base_url, command=key))
        file.chmod(0o600)
        words = command("run", "--debug", "--", "--permission-mode", "plan")
        with TemporaryDirectory() as folder:
            screen = open_terminal(
                words, environment=environment, project=claude_code.project, socket=Path(folder) / "t"
            )
            async with screen as terminal:
                await terminal.wait_for("Use these settings here?")
                await terminal.type("y")
                await terminal.wait_for("plan mode on")
                await terminal.ask("Plan it")
                await terminal.wait_for("Exit plan mode?")
                await terminal.press_until("Enter", "All is done.")
                await terminal.press_until("BTab", "plan mode on")
                await terminal.ask("Plan once more")
                await terminal.wait_for("A second plan.")
                sent = len(planner.requests) + len(doer.requests)
                await terminal.ask("Go on then")
                await terminal.wait_for("The budget for this session is used")
                seen = await terminal.screen()
    assert "raise session_tokens in [limits]" in " ".join(seen.split())
    assert len(planner.requests) + len(doer.requests) == sent, "nothing was sent again"

    # Plans went to one model, the rest to the other, and each reads on where it had stopped.
    plans = [one for one in planner.requests if one.headers["authorization"] == f"Bearer {SECOND}"]
    acts = [one for one in doer.requests if is_main(one) and not one.headers["authorization"].endswith("-1")]
    assert [turns(one) for one in plans] == [0, 1, 4]
    assert [turns(one) for one in acts] == [2, 3]
    assert {one.json["model"] for one in planner.requests} == {"plan-it"}
    assert {one.json["model"] for one in doer.requests} == {"do-it"}
    for same in (plans, acts):
        for shorter, longer in pairwise(same):
            assert_extends(longer.body, shorter.body)

    # One key took over for the one that was used up, and the command ran again for the token that had expired.
    assert len(planner.requests) == len(plans) + 1
    assert [one.headers["authorization"][-1] for one in doer.requests][:2] == ["1", "2"]
    log = "".join(path.read_text() for path in claude_code.home.rglob("run-*.log"))
    assert "with env:PLAN_B" in log
    for key in (FIRST, SECOND, "token-that-changes-1", "token-that-changes-2"):
        assert key not in log
        assert key not in seen


async def test_a_configuration_that_changes_in_mid_answer_ends_no_answer(
    claude_code: ClaudeCode, tmp_path: Path
) -> None:
    changed = anyio.Event()
    slow: Reply = [Head(), Send(text("I go on ")), Wait(changed), Send(text("to the end.")), Send(finish()), Send(DONE)]
    prompts = [[{"type": "text", "text": words}] for words in ("Begin", "Go on")]
    async with (
        FakeUpstream(lambda _: slow) as old,
        FakeUpstream(lambda _: answer("I am the new one.")) as new,
        changing(tmp_path, settings(old)) as bridge,
        anyio.create_task_group() as tasks,
    ):

        async def change() -> None:
            await old.request()
            await bridge.change(settings(new))
            changed.set()

        tasks.start_soon(change)
        session = await claude_code.converse(bridge.url, prompts, "--model", "m")
    assert [block["text"] for block in session.blocks("assistant", "text")] == [
        "I go on to the end.",
        "I am the new one.",
    ]
    assert not session.notices("api_retry")
    assert len(old.requests) == len(new.requests) == 1
    assert "I go on to the end." in json.dumps(new.requests[0].json["messages"])
