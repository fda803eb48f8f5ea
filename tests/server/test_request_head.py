"""The head of a request, by RFC 9112: what two readers could read in two ways is refused, and the connection closed.

Many inputs are of the kinds that llhttp (test/request: transfer-encoding, content-length, invalid, connection) and h11
(tests/test_io.py, tests/test_headers.py) refuse in their own public tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.errors import ClientError
from claude_bridge.server.http1 import HttpRequest, Responder, ServerLimits
from claude_bridge.server.request_head import (
    MAX_FIELDS,
    MAX_TARGET_BYTES,
    RequestHead,
    RequestHeadReader,
    parse_request_head,
)
from tests.dialogues import cut
from tests.examples import examples
from tests.growth import assert_linear
from tests.server.served import HandlerServer

POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


def head_of(data: bytes) -> RequestHead:
    return parse_request_head(data.removesuffix(b"\r\n\r\n"))


async def answer_200(request: HttpRequest, responder: Responder) -> None:
    await request.read_body()
    await responder.send(200, b"{}")


REFUSED = {
    # framing that two readers may take for two different requests
    "transfer-encoding beside content-length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400),
    "content-length beside transfer-encoding": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n", 400),
    "the same length twice": (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n", 400),
    "a list of lengths": (POST + b"Content-Length: 3, 3\r\n", 400),
    "a length with a sign": (POST + b"Content-Length: +3\r\n", 400),
    "a negative length": (POST + b"Content-Length: -3\r\n", 400),
    "a length with blanks inside": (POST + b"Content-Length: 4 2\r\n", 400),
    "a hexadecimal length": (POST + b"Content-Length: 0x3\r\n", 400),
    "a length of other digits": (POST + "Content-Length: ٣\r\n".encode(), 400),
    "an empty length": (POST + b"Content-Length: \r\n", 400),
    "a length beyond all measure": (POST + b"Content-Length: 184467440737095516199\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
    "chunked and then something": (POST + b"Transfer-Encoding: chunked, deflate\r\n", 501),
    "something and then chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n", 501),
    "not quite chunked": (POST + b"Transfer-Encoding: xchunked\r\n", 501),
    "chunked in quotes": (POST + b'Transfer-Encoding: "chunked"\r\n', 501),
    "chunked behind a vertical tab": (POST + b"Transfer-Encoding: \x0bchunked\r\n", 400),
    "identity": (POST + b"Transfer-Encoding: identity\r\n", 501),
    "transfer-encoding in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", 400),
    "a blank before the colon": (POST + b"Transfer-Encoding : chunked\r\n", 400),
    "a blank before the name": (b"GET / HTTP/1.1\r\n Host: localhost\r\n", 400),
    "a folded line": (POST + b"Transfer-Encoding:\r\n chunked\r\n", 400),
    "a folded line with a tab": (GET + b"X-A: b\r\n\tc\r\n", 400),
    "a bare line feed in the head": (GET + b"X-A: b\nContent-Length: 3\r\n", 400),
    "a bare line feed behind the request line": (b"GET / HTTP/1.1\nHost: localhost\r\n", 400),
    "a bare carriage return": (GET + b"X-A: b\rContent-Length: 3\r\n", 400),
    "a null in a value": (GET + b"X-A: b\x00c\r\n", 400),
    "a null in a name": (GET + b"X-\x00A: b\r\n", 400),
    "a delete character": (GET + b"X-A: b\x7f\r\n", 400),
    "no colon": (GET + b"Content-Length\r\n", 400),
    "no name": (GET + b": x\r\n", 400),
    "a separator in a name": (GET + b"Content(Length): 3\r\n", 400),
    "a letter outside ASCII in a name": (GET + "Ünicode: x\r\n".encode("latin-1"), 400),
    # the request line
    "HTTP/0.9": (b"GET /\r\nHost: localhost\r\n", 400),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: localhost\r\n", 505),
    "HTTP/9.9": (b"GET / HTTP/9.9\r\nHost: localhost\r\n", 505),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: localhost\r\n", 505),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", 505),
    "a version with leading zeros": (b"GET / HTTP/01.1\r\nHost: localhost\r\n", 400),
    "another protocol": (b"GET / ICE/1.0\r\nHost: localhost\r\n", 400),
    "a lower-case version": (b"GET / http/1.1\r\nHost: localhost\r\n", 400),
    "two blanks": (b"GET  / HTTP/1.1\r\nHost: localhost\r\n", 400),
    "a tab for a blank": (b"GET\t/ HTTP/1.1\r\nHost: localhost\r\n", 400),
    "a blank at the end": (b"GET / HTTP/1.1 \r\nHost: localhost\r\n", 400),
    "a blank at the beginning": (b" GET / HTTP/1.1\r\nHost: localhost\r\n", 400),
    "a method that is no token": (b"G@T / HTTP/1.1\r\nHost: localhost\r\n", 400),
    "no target": (b"GET HTTP/1.1\r\nHost: localhost\r\n", 400),
    "a target outside ASCII": ("GET /é HTTP/1.1\r\nHost: localhost\r\n".encode(), 400),
    "a fragment": (b"GET /#a HTTP/1.1\r\nHost: localhost\r\n", 400),
    "a relative target": (b"GET v1/models HTTP/1.1\r\nHost: localhost\r\n", 400),
    "an asterisk for another method than OPTIONS": (b"GET * HTTP/1.1\r\nHost: localhost\r\n", 400),
    "a foreign authority in the target": (b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n", 400),
    "a user in the target": (b"GET http://me@localhost/ HTTP/1.1\r\nHost: localhost\r\n", 400),
    "another scheme": (b"GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n", 400),
    "CONNECT": (b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost:22\r\n", 405),
    "a target that is too long": (b"GET /%b HTTP/1.1\r\nHost: localhost\r\n" % (b"a" * MAX_TARGET_BYTES), 414),
    # the rest
    "no Host": (b"GET / HTTP/1.1\r\n", 400),
    "two Hosts": (GET + b"Host: evil.example\r\n", 400),
    "the same Host twice": (GET + b"Host: localhost\r\n", 400),
    "a Host with a path": (b"GET / HTTP/1.1\r\nHost: localhost/a\r\n", 400),
    "a Host with a user": (b"GET / HTTP/1.1\r\nHost: me@localhost\r\n", 400),
    "two Hosts in one": (b"GET / HTTP/1.1\r\nHost: localhost, evil.example\r\n", 400),
    "an unknown expectation": (POST + b"Expect: 200-ok\r\nContent-Length: 1\r\n", 417),
    "two expectations": (POST + b"Expect: 100-continue\r\nExpect: x\r\nContent-Length: 1\r\n", 417),
    "too many lines": (GET + b"X-A: b\r\n" * MAX_FIELDS, 431),
}

BROKEN_CHUNKS = {
    "a size with a sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "a size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a size with an underscore": b"1_0\r\nabcdefghijklmnop\r\n0\r\n\r\n",
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "a size that overflows": b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "a blank before the size": b" 3\r\nabc\r\n0\r\n\r\n",
    "a blank behind the size": b"3 \r\nabc\r\n0\r\n\r\n",
    "a chunk that is longer than its size": b"3\r\nabcd\r\n0\r\n\r\n",
    "a chunk that is shorter than its size": b"5\r\nabc\r\n0\r\n\r\n",
    "a size line that ends in a line feed": b"3\nabc\r\n0\r\n\r\n",
    "a line feed in an extension": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "a carriage return in an extension": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "a chunk that ends in a line feed": b"3\r\nabc\n0\r\n\r\n",
    "a chunk that ends in two carriage returns": b"3\r\nabc\r\r\n0\r\n\r\n",
    "a trailer that is none": b"3\r\nabc\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
    "a trailer with a line feed": b"3\r\nabc\r\n0\r\nX-A: b\nX-C: d\r\n\r\n",
    "too many trailers": b"0\r\n" + b"X-A: b\r\n" * 101 + b"\r\n",
}


@pytest.mark.anyio
@pytest.mark.parametrize(("head", "status"), REFUSED.values(), ids=REFUSED)
async def test_an_ambiguous_request_is_refused_and_nothing_behind_it_is_read(head: bytes, status: int) -> None:
    body = b"0\r\n\r\n"  # can be read as chunks and by a length: then only the head can be what is refused
    async with HandlerServer(answer_200) as server, server.connect() as wire:
        await wire.send(head + b"\r\n" + body + GET + b"\r\n")
        response = await wire.response()
        assert (response.status, response.headers["connection"]) == (status, "close")
        assert response.json["error"]["type"] == "invalid_request_error"
        assert await wire.is_closed(), "a second answer would be one to smuggled bytes"


@pytest.mark.anyio
@pytest.mark.parametrize("body", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS)
async def test_broken_chunks_are_refused_and_nothing_behind_them_is_read(body: bytes) -> None:
    async with HandlerServer(answer_200) as server, server.connect() as wire:
        await wire.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + body + GET + b"\r\n")
        response = await wire.response()
        assert (response.status, response.headers["connection"]) == (400, "close")
        assert await wire.is_closed()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(GET[:-1] + b"\r\n", id="line feeds only"),
        pytest.param(b"GET / HTTP/1.1\n", id="first line"),
        pytest.param(b"GET http://evil.example HTTP/4.5\r\n", id="version"),
        pytest.param(b"\x00\x01\x02", id="binary"),
        pytest.param(b"x" * (MAX_TARGET_BYTES + 200), id="a line without an end"),
    ],
)
async def test_what_can_be_no_request_is_refused_before_it_ends(data: bytes) -> None:
    if data.startswith(GET[:-1]):
        data = data.replace(b"\r\n", b"\n")
    async with HandlerServer(answer_200) as server, server.connect() as wire:
        await wire.send(data)
        assert (await wire.response()).status in (400, 414, 505)


ACCEPTED = {
    "several codings of chunked": (POST + b"Transfer-Encoding: Chunked\r\n", None),
    "a length with blanks around it": (POST + b"Content-Length: \t 3 \r\n", 3),
    "leading zeros": (POST + b"Content-Length: 0003\r\n", 3),
    "no body": (GET, 0),
    "an empty line before": (b"\r\n" + GET, 0),
    "no blank behind the colon": (b"GET / HTTP/1.1\r\nHost:localhost\r\n", 0),
    "an empty value": (GET + b"X-A:\r\n", 0),
    "a letter outside ASCII in a value": (GET + "X-A: é\r\n".encode("latin-1"), 0),
    "an address as Host": (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n", 0),
    "HTTP/1.0 without Host": (b"GET / HTTP/1.0\r\n", 0),
    "OPTIONS of all": (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n", 0),
    "as many lines as are taken": (GET + b"X-A: b\r\n" * (MAX_FIELDS - 1), 0),
}


@pytest.mark.parametrize(("data", "length"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_only_unusual_is_read(data: bytes, length: int | None) -> None:
    head = RequestHeadReader(100_000).take(bytearray(data + b"\r\n"))
    assert head is not None
    assert head.content_length == length


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/v1/messages?beta=true", "/v1/messages", "?beta=true"),
        ("//v1/messages", "/v1/messages", ""),
        ("///v1/models/a//b", "/v1/models/a//b", ""),
        ("http://localhost/v1?a=b?c", "/v1", "?a=b?c"),
        ("http://localhost", "/", ""),
        ("http://localhost?a", "/", "?a"),
        ("/?", "/", "?"),
    ],
)
def test_a_target_is_taken_apart(target: str, path: str, query: str) -> None:
    head = head_of(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % target.encode())
    assert (head.path, head.query) == (path, query)


def test_repeated_headers_are_joined() -> None:
    head = head_of(GET + b"Anthropic-Beta: a\r\nX: y\r\nanthropic-beta: b\r\n\r\n")
    assert head.headers["anthropic-beta"] == "a, b"


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (GET, True),
        (GET + b"Connection: close\r\n", False),
        (GET + b"Connection: x, Close\r\n", False),
        (GET + b"Connection: keep-alive\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", False),
    ],
)
def test_whether_a_connection_is_kept_is_read(head: bytes, *, keep_alive: bool) -> None:
    assert head_of(head + b"\r\n").keep_alive is keep_alive


PIECES = (
    b"GET |/a |HTTP/1.1|HTTP/1.0|\r\n|\n|\r|Host: a|Content-Length: 5|: | |Transfer-Encoding: chunked|\t|X-A: b|\x00|"
    b"\xff|Expect: 100-continue|http://a/"
).split(b"|")
heads = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)


@given(heads.map(lambda rest: b"GET /a HTTP/1.1\r\nHost: a\r\n" + rest + b"\r\n\r\n") | heads)
@examples(500)
def test_what_is_taken_means_the_same_to_another_strict_reader(data: bytes) -> None:
    received = bytearray(data)
    try:
        head = RequestHeadReader(10_000).take(received)
    except ClientError:
        return
    if head is None:
        return
    other = h11.Connection(h11.SERVER)
    other.receive_data(data)
    event = other.next_event()
    assert isinstance(event, h11.Request)
    assert event.method.decode() == head.method
    assert {name.decode(): value.decode("latin-1") for name, value in event.headers} == dict(head.headers)
    framing = {name: value for name, value in event.headers if name in (b"content-length", b"transfer-encoding")}
    assert framing == (
        {b"transfer-encoding": b"chunked"}
        if head.content_length is None
        else {b"content-length": b"5"}
        if head.content_length
        else {}
    )
    other.next_event()
    rest = other.trailing_data[0]
    assert bytes(received).endswith(rest)


@given(heads, st.lists(st.integers(0, 100), max_size=5))
@examples(200)
def test_where_the_reads_end_changes_nothing(rest: bytes, places: list[int]) -> None:
    data = b"POST /a HTTP/1.1\r\nHost: a\r\n" + rest + b"\r\n\r\n"

    def outcome(reads: Iterable[bytes]) -> object:
        reader, received = RequestHeadReader(10_000), bytearray()
        try:
            for read in reads:
                received += read
                if (head := reader.take(received)) is not None:
                    return head
        except ClientError as error:
            return error.status
        return None

    assert outcome([data]) == outcome(cut(data, places))


@pytest.mark.parametrize("max_bytes", [100, 64 * 1024])
def test_the_limit_on_headers_holds_however_the_reads_fall(max_bytes: int) -> None:
    head = GET + b"X-A: "
    for size, is_taken in ((max_bytes, True), (max_bytes + 1, False)):
        data = head + b"b" * (size - len(head) - 4) + b"\r\n\r\n"
        for step in (1, 1000, len(data)):
            reader, received, taken = RequestHeadReader(max_bytes), bytearray(), None
            try:
                for at in range(0, len(data), step):
                    received += data[at : at + step]
                    taken = reader.take(received)
            except ClientError as error:
                assert error.status == 431  # noqa: PT017
                assert not is_taken
            assert (taken is not None) == is_taken


@pytest.mark.parametrize("filler", [b"a", b" ", b"\r\n", b"a: b\r\n", b"\t", b"a:"], ids=repr)
def test_a_head_in_reads_of_one_byte_takes_linear_time(filler: bytes) -> None:
    def work(size: int) -> Callable[[], object]:
        data = GET + filler * (size // len(filler))
        reader, received = RequestHeadReader(10**9), bytearray()

        def read() -> None:
            with suppress(ClientError):
                for byte in data:
                    received.append(byte)
                    reader.take(received)

        return read

    assert_linear(work, 60_000)


async def slow_answer(request: HttpRequest, responder: Responder) -> None:
    await responder.send(200, str(len(await request.read_body())).encode())


@pytest.mark.anyio
@pytest.mark.timing
async def test_a_body_in_chunks_of_one_byte_is_cheap() -> None:
    async with HandlerServer(slow_answer, ServerLimits()) as server, server.connect() as wire:
        started = time.process_time()
        size = 300_000
        await wire.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * size + b"0\r\n\r\n")
        assert (await wire.response()).body == str(size).encode()
        assert time.process_time() - started < 3  # it took 6 s; now 0.3 s
