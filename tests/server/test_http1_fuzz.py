"""Damaged HTTP: whatever a peer sends, it gets valid answers or an end, at once, and nothing of ours breaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count

import anyio
import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.server.http1 import ClientConnection, HttpRequest, Responder, ServerLimits
from claude_bridge.server.memory import MemoryBudget
from claude_bridge.stream_socket import StreamSocket
from tests.dialogues import cut
from tests.examples import examples
from tests.fake_upstream import WAIT_S
from tests.fuzz import damaged
from tests.growth import assert_linear

BODY = b'{"model":"m"}'
HOST = b"Host: localhost\r\n"
POST = b"POST /v1/messages?beta=true HTTP/1.1\r\n" + HOST
CHUNKS = b'5\r\n{"mod\r\n8;a=b\r\nel":"m"}\r\n0\r\n\r\n'
GOOD = [
    b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\nGET / HTTP/1.1\r\n" + HOST + b"ClientConnection: close\r\n\r\n",
    POST + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    POST + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
    b"GET http://localhost/v1/models HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nX-A: \xe9\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
]
"""What clients send; a good one is a whole conversation on one connection."""

SMALL = ServerLimits(max_header_bytes=1_024, max_body_bytes=2_048)


class Peer(StreamSocket):
    """A peer that sends its reads and then no more, and takes everything."""

    def __init__(self, reads: Iterable[bytes]) -> None:
        self._reads = [read for read in reads if read]
        self._has_waited = True
        self.got = b""

    def receive_now(self, max_bytes: int) -> bytes:
        if not self._reads:
            return b""
        read = self._reads.pop(0)
        if len(read) > max_bytes:
            self._reads.insert(0, read[max_bytes:])
        return read[:max_bytes]

    def send_now(self, data: bytes | memoryview) -> int:
        self.got += data
        return len(data)

    def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


async def echo(request: HttpRequest, responder: Responder) -> None:
    """Answer with what was understood: whole, or as a stream."""
    await request.read_body()
    if request.method == "POST":
        responder.start_stream()
        await responder.write(request.body or b"-")
        await responder.end()
    else:
        await responder.send(200, request.path.encode())


def answers_to(reads: Iterable[bytes], limits: ServerLimits = SMALL) -> bytes:
    """Return all that the server says to a peer, until it ends the connection."""

    async def run() -> bytes:
        peer, numbers = Peer(reads), count()
        connection = ClientConnection(
            peer, echo, limits=limits, memory=MemoryBudget(10**8), new_request_id=lambda: f"req_{next(numbers)}"
        )
        with anyio.fail_after(WAIT_S):
            await connection.run()
        return peer.got

    return anyio.run(run)


def statuses(answers: bytes) -> list[int]:
    """Return the statuses of valid answers, as a client reads them; raises where one is none.

    What was asked, and so whether an answer has a body, is told by the answers to HEAD alone: these are left out.
    """
    found: list[int] = []
    while answers:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
        client.send(h11.EndOfMessage())
        client.receive_data(answers)
        client.receive_data(b"")
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA, "an answer was cut"
            if isinstance(event, h11.Response):
                found.append(event.status_code)
        answers = client.trailing_data[0]
    return found


@given(damaged([good for good in GOOD if b"HEAD" not in good]), st.lists(st.integers(0, 400), max_size=5))
@examples(400)
def test_damaged_http_gets_valid_answers(data: bytes, places: list[int]) -> None:
    answers = answers_to(cut(data, places))
    assert set(statuses(answers)) <= {200, 400, 405, 408, 413, 414, 415, 417, 431, 501, 505}


@given(damaged(GOOD), st.lists(st.integers(0, 400), max_size=5))
@examples(200)
def test_where_the_reads_end_changes_no_answer(data: bytes, places: list[int]) -> None:
    first, second = (re.findall(rb"HTTP/1.1 \d+", answers_to(reads)) for reads in ([data], cut(data, places)))
    assert first == second


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_noise_gets_one_refusal(reads: list[bytes]) -> None:
    assert len(statuses(answers_to(reads))) <= 1


@pytest.mark.parametrize("good", GOOD, ids=lambda good: good.partition(b"\r\n")[0].decode())
def test_a_valid_request_head_is_accepted(good: bytes) -> None:
    assert b"HTTP/1.1 200" in answers_to([good]) or b"Content-Encoding" in good


PARTS = [
    b"GET / HTTP/1.1\r\n",
    HOST,
    b"\r\n",
    b"X: y\r\n",
    b"X:" + b" " * 50,
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 1\r\n",
    b"1\r\nx\r\n",
    b"1;a=b\r\nx\r\n",
    b"0\r\n\r\n",
    b"0\r\nX: y\r\n",
    b"\r",
    b"x" * 50,
    POST + b"Content-Length: 2\r\n\r\n{}",
    POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
]
BEGINNINGS = [b"", POST, POST + b"Transfer-Encoding: chunked\r\n\r\n", POST + b"Content-Length: 1000000\r\n\r\n"]
ROOMY = ServerLimits(max_header_bytes=10**7, max_body_bytes=10**7)


@given(st.sampled_from(BEGINNINGS), st.lists(st.sampled_from(PARTS), min_size=1, max_size=3))
@examples(60)
def test_the_time_grows_with_what_is_sent_and_no_faster(beginning: bytes, parts: list[bytes]) -> None:
    unit = b"".join(parts)

    def work(size: int, read_bytes: int) -> Callable[[], object]:
        data = beginning + unit * (size // len(unit))
        return lambda: answers_to([data[at : at + read_bytes] for at in range(0, len(data), read_bytes)], ROOMY)

    for read_bytes in (7, 5_000):
        assert_linear(partial(work, read_bytes=read_bytes), 60_000)
