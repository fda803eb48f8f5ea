"""A bridge in a process of its own answers others at once while it works on the largest requests."""

from __future__ import annotations

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
from claude_bridge.server.loop_watch import HELD_S
from claude_bridge.wire.anthropic_codec import MAX_BLOCKS, MAX_MESSAGES, parse_messages_request
from tests.cli.process import serving
from tests.fake_upstream import MODEL, FakeUpstream, ReceivedRequest, Reply, answer

pytestmark = [pytest.mark.anyio, pytest.mark.timing]

MEGABYTE = 1_000_000

TRIES = 3
"""What holds the loop does so each time; a machine that is busy with something else does not."""

POLL = """
import http.client, sys, threading, time
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
client = http.client.HTTPConnection(sys.argv[1].removeprefix("http://"))
slowest_answer = slowest_sleep = 0.0
first = True
while not done.is_set():
    at = time.monotonic()
    client.request("GET", "/healthz")
    client.getresponse().read()
    answered_at = time.monotonic()
    time.sleep(0.005)
    slowest_answer = max(slowest_answer, answered_at - at)
    slowest_sleep = max(slowest_sleep, time.monotonic() - answered_at - 0.005)
    if first:
        print("ready", flush=True)
        slowest_answer, first = 0.0, False
print(slowest_answer, slowest_sleep, flush=True)
"""
"""Prints the longest time that an answer took, and the longest that the machine alone was late."""


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


LARGE: dict[str, Callable[[], bytes]] = {
    "60 MB of text": lambda: request("words and words " * (60 * MEGABYTE // 16)),
    "60 MB of images": lambda: images(12),
    "60 MB of what looks like keys": lambda: request("sk-a " * (12 * MEGABYTE)),
    "30 MB of escaped text": lambda: request("a\n" * (10 * MEGABYTE)),
    "99,999 messages": lambda: many_messages(99_999),
    "300,000 messages": lambda: many_messages(300_001),
    "a million blocks": lambda: request([{"type": "text", "text": "a"}] * MEGABYTE),
}


@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
async def test_others_are_answered_at_once_beside_a_large_request(make: Callable[[], bytes]) -> None:
    body = make()
    started = time.monotonic()
    with suppress(InvalidRequestError):
        parse_messages_request(body)
    decoding_s = time.monotonic() - started  # the largest step that can't be divided is some part of this

    def reply(_: ReceivedRequest) -> Reply:
        return answer("Hello")

    is_too_much = body.count(b'"role"') > MAX_MESSAGES or body.count(b'"type":"text"') > MAX_BLOCKS
    async with (
        FakeUpstream(reply) as upstream,
        serving("openai", MODEL, "--base-url", upstream.base_url, "--no-check", "--debug") as bridge,
        httpx.AsyncClient(base_url=bridge.url, timeout=60) as client,
    ):
        await client.get("/v1/models")
        for _ in range(TRIES):
            status, answer_s, machine_s = await slowest_answer_beside(client, bridge.url, body)
            assert status == (400 if is_too_much else 200)
            allowed_s = HELD_S + 2 * decoding_s + 2 * machine_s
            if answer_s < allowed_s:
                return
    pytest.fail(f"an answer took {answer_s:.2f} s each time, and at most {allowed_s:.2f} s is allowed")


async def slowest_answer_beside(client: httpx.AsyncClient, url: str, body: bytes) -> tuple[int, float, float]:
    """Return the status of a large request, the slowest answer beside it, and how late the machine itself was."""
    async with await anyio.open_process([sys.executable, "-c", POLL, url]) as poll:
        assert poll.stdout is not None
        assert poll.stdin is not None
        await poll.stdout.receive()
        headers = {"content-type": "application/json"}
        response = await client.post("/v1/messages", content=body, headers=headers)
        await poll.stdin.aclose()
        printed = b"".join([part async for part in poll.stdout])
    answer_s, machine_s = map(float, printed.split()[-2:])
    return response.status_code, answer_s, machine_s
