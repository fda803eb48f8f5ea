"""Heads of responses, beside what h11 makes of them, which takes ten times as long."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.wire.response_head import take_response_head


def framing_by_h11(head: bytes) -> tuple[int, object]:
    """Return the status, and whether a response that goes on with ten bytes has ended."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "a"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(head + b"3\r\none\r\n0\r\n\r\n")
    response = connection.next_event()
    assert isinstance(response, h11.Response | h11.InformationalResponse)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    return response.status_code, body


@pytest.mark.parametrize(
    ("head", "status", "is_chunked", "length", "keeps_open"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", 200, False, 3, True),
        (b"HTTP/1.1 200\r\nContent-Length:3, 3\r\nX:\r\n\r\n", 200, False, 3, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", 200, True, None, True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n", 200, True, None, False),
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, False, None, True),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n", 200, False, 3, False),
        (b"HTTP/1.1 404 No\r\nConnection: Keep-Alive, Close\r\ncontent-length: 0\r\n\r\n", 404, False, 0, False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, False, 0, True),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n", 101, False, 0, False),
        (b"HTTP/1.1 200 OK\ncontent-length: 3\n\n", 200, False, 3, True),
        (b"HTTP/1.1 200 OK\r\nx: one\r\n two\r\ncontent-length: 3\r\n\r\n", 200, False, 3, True),
    ],
)
def test_a_head_says_how_its_body_ends(
    head: bytes, status: int, length: int | None, *, is_chunked: bool, keeps_open: bool
) -> None:
    found = take_response_head(head + b"3\r\none\r\n0\r\n\r\n")
    assert found is not None
    read, rest = found
    assert (read.status, read.is_chunked, read.length, read.keeps_open) == (status, is_chunked, length, keeps_open)
    assert rest == b"3\r\none\r\n0\r\n\r\n"
    if status != 101 and not (is_chunked and not keeps_open):
        body = {True: b"one", False: rest if length is None else rest[:length]}[is_chunked]
        assert framing_by_h11(head) == (status, body)


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"\x15\x03\x01",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1" + b"0" * 20 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match=r"its |it is"):
        take_response_head(head)


@pytest.mark.parametrize("line", [b"x:%b\ra", b"x%b\ra:", b"x: a\r\n%b\ra", b"x: a%b\0"])
def test_a_hostile_line_of_blanks_takes_no_longer_than_any_other(line: bytes) -> None:
    with pytest.raises(ValueError, match="its head"):  # at once: work that grows faster would not end
        take_response_head(b"HTTP/1.1 200 OK\r\n" + line % (b" " * 60_000) + b"\r\n\r\n")


HEAD = b"HTTP/1.1 200 OK\r\nserver: engine\r\ncontent-length: 3\r\n\r\n"


@given(st.integers(0, len(HEAD) - 1))
def test_a_head_is_waited_for_until_it_is_whole(size: int) -> None:
    assert take_response_head(HEAD[:size]) is None
