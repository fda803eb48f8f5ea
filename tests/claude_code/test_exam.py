"""``bridge exam --client claude``: the real Claude Code does tasks of the exam, and its own rules hold its tools."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from claude_bridge.app import serve
from claude_bridge.app.build import build_plan
from claude_bridge.app.notices import Notices
from claude_bridge.app.options import Options
from claude_bridge.app.running import RunningBridge
from claude_bridge.config.schema import Config
from claude_bridge.exam.disk import ROOT
from claude_bridge.exam.real_client import take_with_client
from claude_bridge.exam.results import Result
from claude_bridge.exam.task import Task
from claude_bridge.providers import Upstream
from tests import fake_upstream
from tests.exam.scripted import Turn, Use, script_from, settings_of
from tests.fake_upstream import DONE, FakeUpstream, ReceivedRequest, Reply, finish, model_list, stream, tool_call, usage

pytestmark = [pytest.mark.claude_code, pytest.mark.anyio]

SETTINGS = replace(settings_of(), model=fake_upstream.MODEL, client="claude")
DOCUMENTS = {"/v1/models": model_list(fake_upstream.MODEL, max_model_len=65_536)}
PROJECT = re.compile(r"/[^\s\"'`\\]*bridge-exam-[^\s\"'`\\/]+/project")

Plan = Callable[[Task, int], Turn]


async def taken(names: set[str], plan: Plan, *, claude: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Result]:
    """Return the results of some tasks that Claude Code did on a scripted engine."""
    folder = claude.parent
    monkeypatch.setenv("PATH", f"{folder}:/usr/local/bin:/usr/bin:/bin")
    kinds = {kind.name: kind for kind in SETTINGS.kinds}
    tasks = {name: kinds[name].task(SETTINGS.seed, 1) for name in names}

    def reply(request: ReceivedRequest) -> Reply:
        messages = request.json["messages"]
        words = request.body.decode()
        found = PROJECT.search(words)
        if found is None:
            return fake_upstream.answer("Hello")
        prompts = "".join(_text(message) for message in messages if message["role"] == "user").replace(found[0], ROOT)
        (task,) = [task for task in tasks.values() if task.prompt in prompts]
        turn = plan(task, sum(message["role"] == "assistant" for message in messages))
        if isinstance(turn, str):
            return stream(fake_upstream.text(turn), finish(), usage(), DONE)
        calls = [
            tool_call(use.name, _real(use.input, found[0]), index=at, call_id=f"call_{len(messages)}_{at}")
            for at, use in enumerate(turn)
        ]
        return stream(*calls, finish("tool_calls"), usage(), DONE)

    results: dict[str, Result] = {}

    async def work(bridge: RunningBridge, upstream: Upstream) -> None:
        done = {(name, 1) for name in kinds if name not in names}
        async for result in take_with_client(SETTINGS, bridge, upstream, done=done):
            results[result.task] = result

    async with FakeUpstream(reply, documents=DOCUMENTS) as fake:
        options = Options(provider="openai", base_url=fake.base_url)
        await serve.serve_beside(build_plan(Config(), options, Notices()), work, Notices())
    return results


def _text(message: Any) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _real(given: dict[str, Any], project: str) -> dict[str, Any]:
    return {key: value.replace(ROOT, project) if isinstance(value, str) else value for key, value in given.items()}


async def test_claude_code_does_tasks_and_is_judged_by_its_files(
    claude_binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"fix a bug", "read only", "run a command"}

    results = await taken(
        names, lambda task, turn: script_from(task.good)[turn], claude=claude_binary, monkeypatch=monkeypatch
    )

    assert {name: result.fault for name, result in results.items()} == dict.fromkeys(names, "")
    assert results["fix a bug"].answers[0].output_tokens > 0


async def test_its_own_rules_hold_the_tools_to_the_folder(
    claude_binary: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("precious", "utf-8")
    lines = (
        f"rm -rf {victim}",
        f"cat {victim}",
        f"head -n 1 {victim} | grep p",
        f"touch {tmp_path}/made",
        f"echo x > {victim}",
        f"curl file://{victim} -o {tmp_path}/c",
    )
    attack = (
        *(Use("Bash", {"command": line}) for line in lines),
        Use("Write", {"file_path": f"{tmp_path}/made-too", "content": "x"}),
        Use("Read", {"file_path": str(victim)}),
    )

    results = await taken(
        {"add numbers"},
        lambda task, turn: attack if turn == 0 else script_from(task.good)[-1],
        claude=claude_binary,
        monkeypatch=monkeypatch,
    )

    lines_said = [line for line in results["add numbers"].transcript if line.kind in ("result", "error")]
    assert [path.name async for path in anyio.Path(tmp_path).iterdir()] == ["victim.txt"]
    assert victim.read_text("utf-8") == "precious"
    assert not any("precious" in line.text for line in lines_said)
    assert len(lines_said) == len(attack)
