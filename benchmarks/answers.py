"""Whether an answer came back intact, and when each of its fragments did; all of it after the clock has stopped."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import h11
import msgspec
from load import Answer
from scripted_upstream import fragment_text

Json = dict[str, Any]
TimedText = list[tuple[float, str]]

_PACED = re.compile(r" (\d+)\.(\d{5})@(\d+\.\d{6});")


class BrokenAnswerError(Exception):
    """An answer is not what the upstream has said."""


class Dialect(msgspec.Struct, frozen=True):
    """One API: where it is asked, how its streams end, and where the text stands in its JSON."""

    path: str
    headers: dict[str, str]
    last_data: Callable[[bytes], bool]
    stop_reason: Callable[[Json], str | None]
    delta_text: Callable[[Json], str]
    message_text: Callable[[Json], str]
    stopped: str


def _chat_stop(chunk: Json) -> str | None:
    return next((choice["finish_reason"] for choice in chunk["choices"]), None)


def _chat_delta(chunk: Json) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


def _messages_stop(event: Json) -> str | None:
    return event["delta"].get("stop_reason") if event["type"] == "message_delta" else None


def _messages_delta(event: Json) -> str:
    return str(event["delta"].get("text", "")) if event["type"] == "content_block_delta" else ""


CHAT = Dialect(
    path="/v1/chat/completions",
    headers={"authorization": "Bearer none"},
    last_data=lambda data: data == b"[DONE]",
    stop_reason=_chat_stop,
    delta_text=_chat_delta,
    message_text=lambda body: str(body["choices"][0]["message"]["content"]),
    stopped="stop",
)
MESSAGES = Dialect(
    path="/v1/messages",
    headers={"x-api-key": "none", "anthropic-version": "2023-06-01"},
    last_data=lambda data: msgspec.json.decode(data) == {"type": "message_stop"},
    stop_reason=_messages_stop,
    delta_text=_messages_delta,
    message_text=lambda body: "".join(block["text"] for block in body["content"]),
    stopped="end_turn",
)


def full_text(fragments: int) -> str:
    """Return what a whole answer at full speed says."""
    return "".join(map(fragment_text, range(fragments)))


def check_streams(dialect: Dialect, answers: list[Answer], fragments: int) -> None:
    """Check streams at full speed; raises BrokenAnswerError."""
    for answer in answers:
        _same("".join(text for _, text in read_stream(dialect, answer)), full_text(fragments))


def check_messages(dialect: Dialect, answers: list[Answer], fragments: int) -> None:
    """Check answers that came in one piece; raises BrokenAnswerError."""
    for answer in answers:
        body = b"".join(piece for _, piece in _body_pieces(answer))
        _same(dialect.message_text(msgspec.json.decode(body)), full_text(fragments))


def measure_delays_ms(dialect: Dialect, answer: Answer, fragments: int) -> list[float]:
    """Return how long after it was written each fragment of a paced stream was read; raises BrokenAnswerError."""
    timed = read_stream(dialect, answer)
    text = "".join(piece for _, piece in timed)
    found = list(_PACED.finditer(text))
    _same("".join(match[0] for match in found), text)
    streams = {match[1] for match in found}
    if len(streams) != 1 or [int(match[2]) for match in found] != list(range(fragments)):
        raise BrokenAnswerError(f"fragments are missing, or of another stream: {len(found)} of {fragments} came")
    ends = list(accumulate(len(piece) for _, piece in timed))
    return [(timed[bisect_left(ends, match.end())][0] - float(match[3])) * 1000 for match in found]


def read_stream(dialect: Dialect, answer: Answer) -> TimedText:
    """Return the pieces of text in a stream, with the time at which each was read; raises BrokenAnswerError."""
    timed: TimedText = []
    stop_reason: str | None = None
    last = b""
    for read_s, data in _data_lines(answer):
        last = data
        if data == b"[DONE]":
            continue
        event = msgspec.json.decode(data, type=Json)
        if event.get("type") == "error" or "error" in event:
            raise BrokenAnswerError(f"an error came: {data[:300]!r}")
        stop_reason = dialect.stop_reason(event) or stop_reason
        if text := dialect.delta_text(event):
            timed.append((read_s, text))
    if stop_reason != dialect.stopped or not dialect.last_data(last):
        raise BrokenAnswerError(f"the stream stopped for {stop_reason!r}, and ended in {last[:100]!r}")
    return timed


def _data_lines(answer: Answer) -> Iterator[tuple[float, bytes]]:
    rest = b""
    for read_s, piece in _body_pieces(answer):
        *lines, rest = (rest + piece).split(b"\n")
        yield from ((read_s, line[5:].strip()) for line in lines if line.startswith(b"data:"))
    if rest:
        raise BrokenAnswerError(f"the last line does not end: {rest[:100]!r}")


def _body_pieces(answer: Answer) -> list[tuple[float, bytes]]:
    """Return the body, with the time at which each piece was read; raises BrokenAnswerError for all but a whole 200."""
    if answer.failure:
        raise BrokenAnswerError(answer.failure)
    pieces: list[tuple[float, bytes]] = []
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "127.0.0.1")]))
    connection.send(h11.EndOfMessage())
    try:
        for read_s, data in answer.reads:
            connection.receive_data(data)
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Response) and event.status_code != 200:
                    raise BrokenAnswerError(f"status {event.status_code}: {data[:300]!r}")
                if isinstance(event, h11.Data):
                    pieces.append((read_s, bytes(event.data)))
                if isinstance(event, h11.EndOfMessage):
                    return pieces
    except h11.RemoteProtocolError as error:
        raise BrokenAnswerError(f"this is no HTTP/1.1: {error}") from error
    raise BrokenAnswerError("the body does not end")


def _same(came: str, sent: str) -> None:
    if came != sent:
        raise BrokenAnswerError(f"{len(came)} of {len(sent)} characters came, or other ones")
