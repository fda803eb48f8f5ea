"""``bridge run`` with the real Claude Code: from one command to an answer, and nothing left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from tests.claude_code.client import NOWHERE, ClaudeCode
from tests.claude_code.terminal import holds, open_terminal
from tests.cli.process import command, environment
from tests.fake_upstream import MODEL, FakeUpstream, Stall, answer, model_list, progress, stream
from tests.real_parts import missing

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]

DOCUMENTS = {"/v1/models": model_list(MODEL, max_model_len=32_768)}


def variables(claude_code: ClaudeCode) -> dict[str, str]:
    """Return an environment as a user has it, where ``claude`` is on PATH and nothing but loopback is reached."""
    return environment(
        {
            "HOME": str(claude_code.home),
            "PATH": f"{claude_code.binary.parent}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(Path.cwd()),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "HTTPS_PROXY": NOWHERE,
            "HTTP_PROXY": NOWHERE,
            "BRIDGE_SEARCH": "off",
            "ANTHROPIC_API_KEY": "a real key that must not be used",
        }
    )


@pytest.mark.parametrize("way_out", ["/exit", "Ctrl-C"])
async def test_one_command_leads_to_an_answer_and_leaves_nothing_behind(claude_code: ClaudeCode, way_out: str) -> None:
    if shutil.which("tmux") is None:
        missing("tmux is not installed.")
    async with FakeUpstream(lambda _: answer("Hello, all!"), documents=DOCUMENTS) as upstream:
        with TemporaryDirectory() as folder:
            bridge = command("run", "openai", "--base-url", upstream.base_url)
            screen = open_terminal(
                ["bash", "-c", f'{" ".join(bridge)}; echo "code $?"; sleep 20'],
                environment=variables(claude_code),
                project=claude_code.project,
                socket=Path(folder) / "tmux",
            )
            async with screen as terminal:
                await terminal.wait_for("manual mode on")  # the mode in which it asks before it acts
                assert "Log in" not in await terminal.screen()
                await terminal.ask("Say hello to all")
                await terminal.wait_for("● Hello, all!")
                await terminal.wait_for(f"{MODEL} · 10 in (0% cached) · 5 out")  # the bridge's own status line
                if way_out == "/exit":
                    await terminal.ask("/exit")
                else:
                    await terminal.press("C-c")
                    await terminal.wait_for("Press Ctrl-C again to exit")
                    await terminal.press("C-c")
                await terminal.wait_for("code 0")

                async def is_alone() -> bool:
                    return not _processes_in(claude_code.project)

                assert await holds(is_alone)
    requested = upstream.requests[0].json
    assert (requested["model"], requested["max_tokens"]) == (MODEL, 4096)
    assert "safeguards" not in json.dumps(requested)


async def test_the_status_line_shows_how_far_the_engine_reads_and_after_esc_what_is_known(
    claude_code: ClaudeCode,
) -> None:
    if shutil.which("tmux") is None:
        missing("tmux is not installed.")
    listed = {"/v1/models": model_list(MODEL, owner="llamacpp", max_model_len=32_768)}
    async with FakeUpstream(
        lambda _: [*stream(progress(922, 3_689, time_ms=10_000)), Stall()], documents=listed
    ) as upstream:
        with TemporaryDirectory() as folder:
            screen = open_terminal(
                command("run", "llamacpp", "--base-url", upstream.base_url),
                environment=variables(claude_code),
                project=claude_code.project,
                socket=Path(folder) / "tmux",
            )
            async with screen as terminal:
                await terminal.wait_for("manual mode on")
                await terminal.ask("Say hello to all")
                await terminal.wait_for(f"{MODEL} · reading 25% of 3.7k tokens, ~30 s left")
                await terminal.press("Escape")
                await terminal.wait_for(f"{MODEL} · 3.7k in (0% cached) · 1 stopped")


async def test_the_model_picker_distinguishes_the_models_and_the_session_can_be_continued(
    claude_code: ClaudeCode,
) -> None:
    if shutil.which("tmux") is None:
        missing("tmux is not installed.")
    documents = {"/v1/models": model_list("big:8b", "small:1b", "other:3b", max_model_len=32_768)}
    async with FakeUpstream(lambda _: answer("Hello again!"), documents=documents) as upstream:
        with TemporaryDirectory() as folder:
            arguments = ("run", "openai", "big:8b", "--base-url", upstream.base_url, "--small-model", "small:1b")
            screen = open_terminal(
                ["bash", "-c", f'{" ".join(command(*arguments))}; echo "code $?"; sleep 20'],
                environment=variables(claude_code),
                project=claude_code.project,
                socket=Path(folder) / "tmux",
                columns=200,
            )
            async with screen as terminal:
                await terminal.wait_for("manual mode on")
                await terminal.ask("/model")
                await terminal.wait_for("From gateway")
                shown = await terminal.screen()
                await terminal.press("Escape")
                await terminal.wait_for("manual mode on")
                await terminal.ask("Say hello")
                await terminal.wait_for("● Hello again!")
                await terminal.ask("/exit")
                await terminal.wait_for("code 0")
                continued = (await terminal.screen()).rpartition("Continue this session with:\n")[2].splitlines()[0]
    for name in ("big:8b (opus)", "big:8b (sonnet)", "small:1b (haiku)", "What Claude Code calls haiku: small and"):
        assert name in shown
    assert "other:3b" in shown, "the bridge's models are there too"
    (transcript,) = (claude_code.home / ".claude" / "projects").rglob("*.jsonl")
    assert continued.endswith(f"--small-model small:1b -- --resume {transcript.stem}")


async def test_settings_of_the_users_own_do_not_lead_around_the_bridge(claude_code: ClaudeCode) -> None:
    settings = claude_code.home / ".claude" / "settings.json"
    settings.parent.mkdir(exist_ok=True)
    before = json.dumps({"env": {"ANTHROPIC_BASE_URL": NOWHERE, "ANTHROPIC_MODEL": "other"}})
    settings.write_text(before)
    async with FakeUpstream(lambda _: answer("Here."), documents=DOCUMENTS) as upstream:
        bridge = command(
            "run", "openai", "--base-url", upstream.base_url, "--", "-p", "Where", "--output-format", "json"
        )
        with anyio.fail_after(60):
            done = await anyio.run_process(
                bridge, env=variables(claude_code), cwd=claude_code.project, check=False, input=b""
            )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["result"] == "Here."
    assert result["modelUsage"][MODEL]["contextWindow"] == 41_672
    assert settings.read_text() == before


async def test_a_failed_session_hands_its_code_through(claude_code: ClaudeCode) -> None:
    async with FakeUpstream(lambda _: answer("Here."), documents=DOCUMENTS) as upstream:
        bridge = command("run", "openai", "--base-url", upstream.base_url, "--", "-p", "x", "--no-such-option")
        with anyio.fail_after(60):
            done = await anyio.run_process(
                bridge, env=variables(claude_code), cwd=claude_code.project, check=False, input=b""
            )
    assert done.returncode == 1
    assert b"--no-such-option" in done.stderr


def _processes_in(folder: Path) -> list[str]:
    """Return the command lines of our own programs that work in a folder."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                words = (process / "cmdline").read_bytes().decode().split("\0")
                found += [" ".join(words)] if words[0] not in ("bash", "sleep") else []
        except OSError:
            continue
    return found
