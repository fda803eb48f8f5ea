"""``bridge trace``: what was recorded is listed, shown, written as a page and a golden case, and sent again."""

from __future__ import annotations

import io
import json
import shlex
import signal
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from claude_bridge.cli.commands import app
from claude_bridge.cli.trace_views import MAX_ROWS, end_words, render_list
from claude_bridge.conversion.loss import Loss
from claude_bridge.errors import SetupError, UsageError
from claude_bridge.trace.events import StreamReads, StreamsRecorded, TraceEvent
from claude_bridge.trace.jsonl import encode_event
from claude_bridge.trace.redact import Redactor
from claude_bridge.trace.summary import ExchangeFailure, TracedExchange
from claude_bridge.wire.anthropic import TextBlock
from tests.cli.process import LIMIT_S, run_bridge, serving
from tests.fake_upstream import (
    DONE,
    MODEL,
    FakeUpstream,
    answer,
    calls,
    finish,
    model_list,
    refusal,
    stream,
    text,
    tool_call,
    tool_call_arguments,
    usage,
)
from tests.golden_case import GoldenCase
from tests.trace.samples import NOON, ended, failed, first_token, received, repaired, reread, sent

KEY = "AKIAIOSFODNN7EXAMPLE"


def bridge(*arguments: object, columns: int = 160) -> Result:
    return CliRunner().invoke(app, ["trace", *map(str, arguments)], env={"COLUMNS": str(columns), "NO_COLOR": "1"})


def out(*arguments: object, columns: int = 160) -> str:
    result = bridge(*arguments, columns=columns)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A trace of an answer with all that can be noted, and of a failure."""
    messages = [{"role": "user", "content": "It's \x1b[31mred\x1b[0m"}]
    streams = StreamsRecorded(
        exchange="req_0000k7Qd",
        at_s=NOON + 7,
        upstream=StreamReads([b'{"error":"busy"}', b'data: {"n":1}\n\n'], [0.002, 3.9]),
        client=StreamReads([b"event: message_start\ndata: {}\n\n"], [4.0]),
    )
    events: list[TraceEvent] = [
        received(messages, top_k=5),
        sent(messages, losses=[Loss("$.top_k", "not a parameter of this API")]),
        first_token(),
        repaired(),
        reread(),
        ended([TextBlock("The answer is \x1b]0;42\x07.")]),
        streams,
        received(exchange="req_0000zzzz"),
        failed("The engine is off. Start it.", exchange="req_0000zzzz"),
    ]
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b"".join(encode_event(event) + b"\n" for event in map(Redactor([]).redact, events)))
    return path


def test_without_a_command_the_help_is_printed() -> None:
    result = bridge()
    assert "Usage: " in result.output
    for name in ("list", "show", "html", "replay", "curl", "golden"):
        assert f"  {name} " in result.output


def test_the_list_has_sessions_and_exchanges(trace: Path) -> None:
    text = out("list", trace)
    assert "Sessions" in text
    assert "3f2a9c1d" in text
    row = next(line for line in text.splitlines() if "0000k7Qd" in line)
    for figure in ("qwen3:1.7b", "9.1k", "96%", "212", "3.9", "end_turn"):
        assert figure in row
    assert "400 The engine is off. Start it." in text


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_the_list_fits_any_terminal_and_says_why_an_exchange_failed(trace: Path, columns: int) -> None:
    text = out("list", trace, columns=columns)
    assert max(map(len, text.splitlines())) <= columns
    assert "400 The engine is off. Start it." in " ".join(text.split())
    row = next(line for line in text.splitlines() if "end_turn" in line)
    assert "9.1k" in row
    assert columns == 160 or "more columns if the terminal is wider" in " ".join(text.split())


def test_the_address_of_the_engine_does_not_hide_why_an_exchange_failed() -> None:
    failure = ExchangeFailure(
        status=502, error_type="api_error", message="llama.cpp at http://a.b/v1 answered 500: CUDA error"
    )
    one = TracedExchange(number=1, exchange="req_1", at_s=0.0, failure=failure)
    assert end_words(one) == "502 llama.cpp answered 500: CUDA error"


def test_of_many_exchanges_the_last_ones_are_listed() -> None:
    every = [TracedExchange(number=number, exchange=f"req_{number}", at_s=0.0) for number in range(1, MAX_ROWS + 3)]
    output = io.StringIO()
    Console(width=160, file=output).print(render_list(every))
    words = output.getvalue().split()
    assert f"The last {MAX_ROWS:,} of {len(every):,} exchanges" in " ".join(words)
    assert "req_3" in words
    assert "req_2" not in words


def test_the_list_is_json_for_programs(trace: Path) -> None:
    document = json.loads(out("list", trace, "--json"))
    first, second = document["exchanges"]
    assert (first["number"], first["cached_tokens"], first["repairs"], first["losses"]) == (1, 8_760, 1, 1)
    assert second["failure"]["message"] == "The engine is off. Start it."


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_an_exchange_is_shown_with_both_requests_and_harmless_text(trace: Path, columns: int) -> None:
    text = out("show", trace, "1", columns=columns)
    words = " ".join(text.split())
    assert "\x1b" not in text
    assert r"It's \x1b[31mred" in text
    assert "not a parameter of this API" in words
    assert "The answer is" in text
    assert "repaired Bash: malformed JSON was mended" in words
    # Each thing that happened has its time before it, and no line of its text begins below the times.
    steps = text.partition("What happened")[2].partition("The client's request")[0].strip("\n").splitlines()
    assert all(line[10:].strip() and line[8:10] == "  " for line in steps)
    assert max(map(len, text.splitlines())) <= columns


def test_a_failure_is_shown_with_its_words(trace: Path) -> None:
    assert "400 invalid_request_error: The engine is off. Start it." in out("show", trace, "zzzz")


def test_curl_prints_one_line_that_a_shell_takes(trace: Path) -> None:
    (line,) = out("curl", trace, "k7Qd").splitlines()
    words = shlex.split(line)
    assert words[0] == "curl"
    assert "http://localhost:11434/v1/chat/completions" in words
    assert json.loads(words[-1])["messages"][0]["content"] == "It's \x1b[31mred\x1b[0m"


def test_curl_takes_the_key_from_a_variable_and_a_long_body_from_a_pipe(tmp_path: Path) -> None:
    body = json.dumps({"text": "it's long " * 20_000}).encode()
    line = json.loads(encode_event(sent(body=body))) | {"headers": {"authorization": "[redacted]", "x": "y"}}
    path = tmp_path / "t.jsonl"
    path.write_bytes(encode_event(received()) + b"\n" + json.dumps(line).encode() + b"\n")
    command = out("curl", path, "1").rstrip("\n")
    (tmp_path / "curl").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > arguments\ncat > body\n')
    (tmp_path / "curl").chmod(0o700)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "UPSTREAM_API_KEY": "k-1"}
    subprocess.run(["sh"], input=command.encode(), cwd=tmp_path, env=environment, check=True, timeout=20)
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert "authorization: Bearer k-1" in arguments
    assert "x: y" in arguments
    assert json.loads((tmp_path / "body").read_bytes()) == json.loads(body)


def test_what_was_not_sent_has_no_curl(trace: Path) -> None:
    result = bridge("curl", trace, "2")
    assert isinstance(result.exception, SetupError)
    assert "was not sent to any engine: The engine is off." in result.exception.what


def test_a_golden_folder_holds_the_dialogue_without_keys(trace: Path, tmp_path: Path) -> None:
    trace.write_bytes(trace.read_bytes().replace(b"red\\u001b", KEY.encode() + b" \\u001b"))
    folder = tmp_path / "case"
    assert out("golden", trace, "1", "--output", folder).strip() == str(folder)
    assert json.loads((folder / "request.json").read_text())["top_k"] == 5
    assert json.loads((folder / "upstream_request.json").read_text())["model"] == "qwen3:1.7b"
    assert (folder / "upstream.sse").read_text() == 'data: {"n":1}\n\n'
    assert (folder / "client.sse").read_text() == "event: message_start\ndata: {}\n\n"
    facts = GoldenCase(folder).facts
    assert facts.losses == ["$.top_k: not a parameter of this API"]
    assert facts.repairs == ["Bash: malformed JSON was mended"]
    assert facts.model == "qwen3:1.7b"
    assert "qwen3:1.7b on ollama (openai-chat)" in facts.about
    assert KEY not in "".join(file.read_text() for file in folder.iterdir())
    assert isinstance(bridge("golden", trace, "1", "--output", folder).exception, SetupError)


def test_the_page_is_written_for_its_owner_only(trace: Path) -> None:
    page = trace.with_suffix(".html")
    assert out("html", trace).strip() == str(page)
    assert page.stat().st_mode & 0o777 == 0o600
    other = trace.with_name("other.html")
    out("html", trace, "--output", other)
    assert other.read_bytes() == page.read_bytes()
    assert isinstance(bridge("html", trace, "--output", trace).exception, SetupError)


def test_a_cut_trace_is_shown_and_the_cut_is_reported_on_stderr(trace: Path) -> None:
    trace.write_bytes(trace.read_bytes()[:-40])
    result = bridge("list", trace)
    assert result.exit_code == 0
    assert "0000k7Qd" in result.stdout
    assert "Its last line is cut off" in result.stderr


def test_a_wrong_exchange_or_file_says_what_to_do(trace: Path) -> None:
    for arguments in (("show", trace, "77"), ("list", trace.with_name("nowhere"))):
        error: Any = bridge(*arguments).exception
        assert isinstance(error, SetupError)
        assert error.hint


@pytest.mark.anyio
async def test_recorded_requests_are_sent_again_and_both_answers_are_shown(trace: Path) -> None:
    def engine() -> FakeUpstream:
        reply = calls(("Bash", {"command": "ls"}), words="Let me see.")
        return FakeUpstream([reply, reply], documents={"/v1/models": model_list("new-model", "qwen3:1.7b")})

    async with engine() as upstream:
        arguments = ("trace", "replay", str(trace), "--to", "openai/new-model", "--base-url", upstream.base_url)
        done = await run_bridge(*arguments)
        assert done.code == 0, done.stderr
        assert [request.json["model"] for request in upstream.requests] == ["new-model", "new-model"]
        assert upstream.requests[0].json["messages"][0]["content"] == "It's \x1b[31mred\x1b[0m"
        for words in ("recorded", "The answer is", "Let me see.", 'Bash {"command": "ls"}', "9,100", "tool_use"):
            assert words in done.stdout
        assert "new-model on an OpenAI-compatible" in " ".join(done.stdout.split())
    async with engine() as upstream:
        done = await run_bridge(*arguments[:3], "1", *arguments[3:-1], upstream.base_url, "--json")
        (line,) = done.stdout.splitlines()
        document = json.loads(line)
        assert document["recorded"]["exchange"]["exchange"] == "req_0000k7Qd"
        assert document["now"]["exchange"]["stop_reason"] == "tool_use"
        assert document["now"]["answer"]["content"][0]["text"] == "Let me see."
        narrow = await run_bridge(*arguments[:3], "1", *arguments[3:-1], upstream.base_url, env={"COLUMNS": "40"})
        assert max(map(len, narrow.stdout.splitlines())) <= 40
        assert "  now        Let me see." in narrow.stdout


@pytest.mark.anyio
async def test_a_replay_without_any_answer_ends_with_an_error(trace: Path) -> None:
    bad, good = refusal(400, "the model is broken"), answer("Let me see.")
    for replies, code in (([bad, bad], 1), ([bad, good], 0)):
        async with FakeUpstream(replies, documents={"/v1/models": model_list("new-model")}) as upstream:
            address = ("--base-url", upstream.base_url)
            done = await run_bridge("trace", "replay", str(trace), "--to", "openai/new-model", *address)
            assert done.code == code, done.stderr
            assert "the model is broken" in done.stdout
            assert ("None of the requests was answered." in done.stderr) == bool(code)


def test_replay_needs_a_model(trace: Path) -> None:
    assert isinstance(bridge("replay", trace).exception, UsageError)


PLANTED = {
    "the engine's key": "engine-key-0123456789",
    "the bridge's token": "bridge-token-0123456789",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "aws secret": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "github": "ghp_0123456789abcdefghijABCDEFGHIJ",
    "google": "AIzaSyA1234567890abcdefghijklmnopqrs",
    "slack": "xoxb-123456789012-abcdefghijkl",
    "private key": "MIIEowIBAAKCAQEAx",
    "password in a URL": "hunter2hunter2",
    "in the answer": "gho_0123456789abcdefghijABCDEFGHIJ",
    "a piece of it": "6789abcdefghijABCDEFGHIJ",
    "in a call": "glpat-ABCDEFghijkl0123456789",
    "a piece of that": "ijkl0123456789",
    "in the query of a URL": "plain-secret-12",
    "of a form of its own": "another-plain-1",
    "in base64": b64encode(b"the engine: engine-key-0123456789!").decode()[14:-4],
}


@pytest.mark.anyio
async def test_no_planted_secret_is_in_a_trace_nor_in_what_is_made_of_it(tmp_path: Path) -> None:
    """In headers, URLs, bodies, the echo of an environment, an answer that comes in pieces, and an error."""
    key, token, answered = PLANTED["the engine's key"], PLANTED["the bridge's token"], PLANTED["in the answer"]
    environment = (
        f"AWS_ACCESS_KEY_ID={PLANTED['aws']}\nAWS_SECRET_ACCESS_KEY={PLANTED['aws secret']}\n"
        f"GH_TOKEN={PLANTED['github']}\nDB_PASSWORD={PLANTED['of a form of its own']}\nSLACK={PLANTED['slack']}\n"
        f"-----BEGIN RSA PRIVATE KEY-----\n{PLANTED['private key']}\n-----END RSA PRIVATE KEY-----\n"
    )
    environment += f"curl 'https://host/v1?key={PLANTED['in the query of a URL']}&x=1' {PLANTED['in base64']}\n"
    tool_use = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "env"}}
    requested = {
        "model": "m",
        "max_tokens": 9,
        "stream": True,
        "system": f"Use {PLANTED['google']} and https://me:{PLANTED['password in a URL']}@host/.",
        "messages": [
            {"role": "user", "content": f"My token is {token}"},
            {"role": "assistant", "content": [tool_use]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": environment}]},
        ],
    }
    frames = [text(f"It is {answered[:9]}"), text(answered[9:]), text(f" and {key}.")]
    called = PLANTED["in a call"]
    pieces = ['{"command": "echo ', called[:4], called[4:14], called[14:], '"}']
    frames += [tool_call("Bash", pieces[0]), *map(tool_call_arguments, pieces[1:])]
    frames += [finish("tool_calls"), usage(), DONE]
    replies = [stream(*frames), refusal(400, f"bad key {key}, or {PLANTED['aws']}")]
    trace = tmp_path / "trace.jsonl"
    async with FakeUpstream(replies) as upstream:
        options = ("--base-url", upstream.base_url, "--api-key", key, "--auth-token", token, "--trace", str(trace))
        async with serving("openai", MODEL, *options) as running, httpx.AsyncClient(timeout=LIMIT_S) as client:
            await running.says("Start Claude Code")
            for _ in range(2):
                headers = {"authorization": f"Bearer {token}", "x-api-key": PLANTED["github"]}
                await client.post(f"{running.url}/v1/messages", json=requested, headers=headers)
            running.signal(signal.SIGTERM)
            await running.end()
    assert json.loads(upstream.requests[0].body)["messages"], "the engine gets what was asked"
    page, folder = tmp_path / "trace.html", tmp_path / "golden"
    shown = [out("html", trace, "--output", page), out("golden", trace, "1", "--output", folder), out("list", trace)]
    shown += [out("show", trace, number, "--full") + out("curl", trace, number) for number in ("1", "2")]
    files = [trace, page, *folder.iterdir()]
    everything = "".join([*shown, *(file.read_text("utf-8") for file in files)])
    assert [what for what, secret in PLANTED.items() if secret in everything] == []
    assert "[redacted]" in trace.read_text("utf-8")
    assert len(json.loads(out("list", trace, "--json"))["exchanges"]) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["--no-page", "config"])
async def test_the_page_can_be_turned_off(tmp_path: Path, how: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[server]\npage = false\n")
    off = ["--no-page"] if how == "--no-page" else ["--config", str(config)]
    async with FakeUpstream() as upstream, serving("openai", MODEL, "--base-url", upstream.base_url, *off) as it:
        await it.says("Start Claude Code")
        assert "key=" not in it.reported
        async with httpx.AsyncClient(timeout=LIMIT_S) as client:
            response = await client.get(f"{it.url}/", headers={"accept": "text/html"})
        assert response.text == "claude-bridge is running\n"
