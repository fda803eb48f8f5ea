"""A bridge in a process of its own answers others at once while it works on the largest requests."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import httpx
import msgspec
import pytest

from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.anthropic_codec import BUDGETS, MAX_MESSAGES, parse_messages_request
from tests.cli.process import Running, serving
from tests.fake_upstream import MODEL, FakeUpstream, ReceivedRequest, Reply, answer, finish, stream, text

pytestmark = [pytest.mark.anyio, pytest.mark.timing]

MEGABYTE = 1_000_000

WITHIN_S = 0.1
"""How soon others are answered, on a machine that decodes the largest request in no time."""

TRIES = 3
"""What holds the loop does so each time; a disturbance from elsewhere does not."""

POLL = """
import http.client, os, sys, threading, time
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
client = http.client.HTTPConnection(sys.argv[1].removeprefix("http://"))

def waits(process):
    found = {}
    for task in os.listdir(f"/proc/{process}/task"):
        try:
            with open(f"/proc/{process}/task/{task}/schedstat") as file:
                found[task] = int(file.read().split()[1]) / 1e9
        except OSError:
            pass
    return found

def longest_wait(process, before):
    return max(wait - before.get(task, wait) for task, wait in waits(process).items())

slowest, processes = 0.0, (int(sys.argv[2]), os.getpid())
client.request("GET", "/healthz")
client.getresponse().read()
print("ready", flush=True)
while not done.is_set():
    waited, at = [waits(process) for process in processes], time.monotonic()
    client.request("GET", "/healthz")
    client.getresponse().read()
    took = time.monotonic() - at
    slowest = max(slowest, took - sum(map(longest_wait, processes, waited)))
    time.sleep(0.005)
print(slowest, flush=True)
"""
"""Prints the longest time that an answer took, less the time for which the machine had no processor for it."""


def request(content: object, **fields: Any) -> bytes:
    messages = [{"role": "user", "content": content}]
    return msgspec.json.encode({"model": "m", "max_tokens": 9, "messages": messages, **fields})


def many_messages(number: int) -> bytes:
    roles = ("user", "assistant")
    messages = [{"role": roles[position % 2], "content": "Hello there."} for position in range(number)]
    return msgspec.json.encode({"model": "m", "max_tokens": 9, "messages": messages})


def images(number: int) -> bytes:
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 5 * MEGABYTE}
    return request([{"type": "image", "source": source}] * number)


numbers = itertools.count()


def tools(*schemas: dict[str, Any]) -> bytes:
    """Return a request whose tools are no others': what is known of a schema is not reduced again."""
    declared = [
        {"name": f"tool_{next(numbers)}", "input_schema": {"description": f"{next(numbers)}", **schema}}
        for schema in schemas
    ]
    return request("Hi", tools=declared)


def branches(number: int) -> dict[str, Any]:
    inner = {"allOf": [{"properties": {f"p{at}": {"type": "string"}}} for at in range(number)]}
    return {"type": "object", "properties": {"a": inner}}


LARGE: dict[str, Callable[[], bytes]] = {
    "60 MB of text": lambda: request("words and words " * (60 * MEGABYTE // 16)),
    "60 MB of images": lambda: images(12),
    "60 MB of what looks like keys": lambda: request("sk-a " * (12 * MEGABYTE)),
    "30 MB of escaped text": lambda: request("a\n" * (10 * MEGABYTE)),
    "99,999 messages": lambda: many_messages(99_999),
    "300,000 messages": lambda: many_messages(300_001),
    "a million blocks": lambda: request([{"type": "text", "text": "a"}] * MEGABYTE),
    "a million blocks in a tool result": lambda: request(
        [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "a"}] * MEGABYTE}]
    ),
    "12 MB of lone surrogates": lambda: request("?").replace(b"?", b"\\ud800" * 2 * MEGABYTE),
    "10,000 tools": lambda: tools(*[{"type": "object"}] * 10_000),
    "a schema of 20,000 branches": lambda: tools(branches(20_000)),
}


@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
async def test_others_are_answered_at_once_beside_a_large_request(make: Callable[[], bytes]) -> None:
    body = make()
    started = time.thread_time()
    with suppress(InvalidRequestError):
        parse_messages_request(body)
    decoding_s = time.thread_time() - started  # the largest step that can't be divided is some part of this

    def reply(_: ReceivedRequest) -> Reply:
        return answer("Hello")

    is_too_much = body.count(b'"role"') > MAX_MESSAGES or any(body.count(kind) > most for _, kind, most in BUDGETS)
    async with (
        FakeUpstream(reply) as upstream,
        serving("openai", MODEL, "--base-url", upstream.base_url, "--no-check", "--debug") as bridge,
        httpx.AsyncClient(base_url=bridge.url, timeout=60) as client,
    ):
        await client.get("/v1/models")
        for tried in range(TRIES):
            status, answer_s = await slowest_answer_beside(client, bridge, make() if tried else body)
            assert status == (400 if is_too_much else 200)
            if answer_s < WITHIN_S + decoding_s:
                return
    pytest.fail(f"an answer took {answer_s:.2f} s each time, and at most {WITHIN_S + decoding_s:.2f} s is allowed")


async def test_others_are_answered_at_once_beside_an_answer_that_comes_in_one_piece() -> None:
    async with (
        FakeUpstream(lambda _: stream(text("<" * MEGABYTE), finish())) as upstream,
        serving("openai", MODEL, "--base-url", upstream.base_url, "--no-check") as bridge,
        httpx.AsyncClient(base_url=bridge.url, timeout=60) as client,
    ):
        await client.get("/v1/models")
        found = [(await slowest_answer_beside(client, bridge, request("Hi")))[1] for _ in range(TRIES)]
    assert min(found) < 2 * WITHIN_S


async def slowest_answer_beside(client: httpx.AsyncClient, bridge: Running, body: bytes) -> tuple[int, float]:
    """Return the status of a large request, and how long the slowest answer beside it took."""
    async with await anyio.open_process([sys.executable, "-c", POLL, bridge.url, str(bridge.pid)]) as poll:
        assert poll.stdout is not None
        assert poll.stdin is not None
        await poll.stdout.receive()
        headers = {"content-type": "application/json"}
        response = await client.post("/v1/messages", content=body, headers=headers)
        await poll.stdin.aclose()
        printed = b"".join([part async for part in poll.stdout])
    return response.status_code, float(printed.split()[-1])
