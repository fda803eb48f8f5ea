"""What Windows and other systems do not have: an encoding for every character, and some modules and functions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import pytest

from claude_bridge.cli import terminal
from tests.cli.process import LIMIT_S, command, environment, serving
from tests.fake_upstream import FakeUpstream, answer

pytestmark = pytest.mark.anyio

CP1252 = {"PYTHONIOENCODING": "cp1252:strict", "PYTHONUTF8": "0"}

IMPORT_ALL = """
import os, pkgutil, select, signal, sys
for module, name in ((signal, "SIGHUP"), (signal, "SIGQUIT"), (select, "poll"), (os, "nice"), (os, "fork")):
    delattr(module, name)
sys.modules |= dict.fromkeys(("termios", "fcntl", "resource", "pwd", "grp"))
import claude_bridge
for module in pkgutil.walk_packages(claude_bridge.__path__, "claude_bridge."):
    if module.name != "claude_bridge.__main__":
        __import__(module.name)
        print(module.name)
"""


async def run_in_cp1252(*arguments: str, stdin: bytes = b"", **variables: str) -> tuple[int, bytes, bytes]:
    with anyio.fail_after(LIMIT_S):
        done = await anyio.run_process(
            command(*arguments), input=stdin, check=False, env=environment({**CP1252, **variables})
        )
    return done.returncode, done.stdout, done.stderr


def test_every_module_can_be_imported_where_posix_functions_are_missing() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") > 100


async def test_a_report_goes_through_a_pipe_of_an_old_encoding() -> None:
    code, stdout, stderr = await run_in_cp1252("doctor", "openai", "--base-url", "http://127.0.0.1:9")
    assert (code, b"Traceback" in stderr) == (1, False), stderr
    assert "✗" in stdout.decode()


async def test_a_check_of_the_configuration_goes_through_it(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[server]\nprot = 1\nhost = "名"\n"ключ" = 1\n', "utf-8")
    code, stdout, stderr = await run_in_cp1252("config", "check", "--config", str(file))
    assert (code, stderr) == (1, b"")
    assert "ключ" in stdout.decode()


async def test_a_problem_and_the_help_go_through_it() -> None:
    _, _, stderr = await run_in_cp1252("serve", "名")
    assert "→" in stderr.decode()
    code, stdout, _ = await run_in_cp1252("serve", "--help")
    assert code == 0
    assert stdout.decode().isascii(), "the help is for every terminal"


@pytest.mark.parametrize("noise", [b"", b"\x81", "\N{SNOWMAN}".encode()], ids=["plain", "no UTF-8", "UTF-8"])
async def test_the_status_line_reads_and_writes_utf_8_whatever_the_encoding(noise: bytes) -> None:
    session = json.dumps({"session_id": "s-1", "cwd": "X"}).encode().replace(b"X", noise)
    async with (
        FakeUpstream(lambda _: answer("Hello"), documents={}) as upstream,
        serving("openai", "模型", "--base-url", upstream.base_url, "--no-check") as bridge,
        httpx.AsyncClient() as client,
    ):
        question = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        headers = {"x-claude-code-session-id": "s-1"}
        await client.post(f"{bridge.url}/v1/messages", json=question, headers=headers, timeout=LIMIT_S)
        code, stdout, stderr = await run_in_cp1252("statusline", stdin=session, ANTHROPIC_BASE_URL=bridge.url)
    assert (code, stderr) == (0, b"")
    assert stdout.decode().startswith("模型 · ")
    assert stdout.count("·".encode()) > 1


def test_a_program_in_a_folder_with_backslashes_is_named_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", [r"/name's\1\g<0>/bridge"])
    path = terminal.program()
    assert r"\1\g<0>/bridge" in path
    assert terminal.with_program("Run `bridge doctor`.") == f"Run `{path} doctor`."
    assert terminal.with_program("bridge doctor ollama") == f"{path} doctor ollama"
    assert terminal.with_program("Try: bridge serve") == f"Try: {path} serve"
    assert terminal.with_program("The bridge waits, and no bridge serves.") == "The bridge waits, and no bridge serves."
    terminal.print_finding("bad", "model", "is not there", "bridge doctor ollama x  (or another one)")
    assert f"→ {path} doctor ollama x (or another one)\n" in capsys.readouterr().out
