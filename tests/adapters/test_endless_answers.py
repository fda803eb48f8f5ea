"""What is true of engines that never stop: the answer ends, in bounded memory, and in time that its length explains."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from claude_bridge.adapters.base import EngineModel
from claude_bridge.conversion.response.assembler import MAX_ANSWER_CHARS
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.errors import UpstreamBrokenError
from tests.dialogues import (
    MODEL,
    OLLAMA_CHAT,
    OPENAI_CHAT,
    RESPONSES,
    TRANSLATING,
    UPSTREAM,
    USUAL_PROFILES,
    a_request,
    chunk,
    event,
    line,
    ndjson,
    sse,
)

MIB = 1024 * 1024
READ_BYTES = 256 * 1024
SECONDS_PER_MIB = 0.6
"""Several times what a slow machine takes; what grows with the square of the length takes a hundred times as much."""


class Endless:
    """One kind of stream without an end: what it begins with, and what is then said again and again."""

    def __init__(self, kind: str, first: bytes, again: bytes, *, ends: bool) -> None:
        """``ends`` says that the bridge must put an end to it."""
        self.kind, self.first, self.again, self.ends = kind, first, again, ends

    def reads(self, length: int) -> Iterator[bytes]:
        yield self.first
        block = self.again * max(1, READ_BYTES // len(self.again))
        for _ in range(length // len(block)):
            yield block


def output(**delta: Any) -> bytes:
    return sse(chunk(**delta), done=False)


def called(index: int | None = 0, **fields: Any) -> bytes:
    function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    return output(tool_calls=[{"index": index, **fields, "function": function}])


STREAMS = {
    "text": Endless(OPENAI_CHAT, b"", output(content="and so on " * 1000), ends=True),
    "thinking": Endless(OPENAI_CHAT, b"", output(reasoning_content="hm " * 3000), ends=True),
    "white space": Endless(OPENAI_CHAT, b"", output(content="\n" * 1000), ends=False),
    "white space at a time": Endless(OPENAI_CHAT, b"", output(content=" "), ends=False),
    "white space that may end a thought": Endless(
        OPENAI_CHAT, output(content="<think>a"), output(content="\n" * 9), ends=False
    ),
    "a tag that never ends": Endless(
        OPENAI_CHAT, output(content="<think>"), output(content="</think" * 1000), ends=True
    ),
    "arguments": Endless(OPENAI_CHAT, called(name="Read", arguments='{"a":"'), called(arguments="x" * 9000), ends=True),
    "arguments with a name each": Endless(OPENAI_CHAT, b"", called(name="Read", arguments='{"a":'), ends=False),
    "arguments of nothing": Endless(OPENAI_CHAT, b"", called(arguments="x" * 9000), ends=True),
    "text behind an open call": Endless(
        OPENAI_CHAT, called(name="Read", arguments='{"a":"' + "x" * MIB), output(content="and "), ends=False
    ),
    "calls": Endless(
        OPENAI_CHAT, b"", b"".join(called(at, name="Read", arguments="{") for at in range(500)), ends=False
    ),
    "calls with ids": Endless(
        OPENAI_CHAT,
        b"",
        b"".join(called(None, id=f"c{at}", name="Read", arguments="{}") for at in range(2000)),
        ends=True,
    ),
    "one line": Endless(OPENAI_CHAT, b"data: ", b"x", ends=True),
    "lines of one frame": Endless(OPENAI_CHAT, b"", b"data: x\n", ends=True),
    "comments": Endless(OPENAI_CHAT, b"", b": keep-alive, and again, and again\n\n", ends=False),
    "a document": Endless(OPENAI_CHAT, b'{"choices":[', b"1,", ends=True),
    "responses: text": Endless(
        RESPONSES, b"", sse(event("output_text.delta", delta="and on " * 999), done=False), ends=True
    ),
    "responses: white space": Endless(
        RESPONSES, b"", sse(event("output_text.delta", delta="\n"), done=False), ends=False
    ),
    "responses: arguments": Endless(
        RESPONSES, b"", sse(event("function_call_arguments.delta", delta="x" * 9000), done=False), ends=True
    ),
    "responses: whole arguments": Endless(
        RESPONSES, b"", sse(event("function_call_arguments.done", arguments="x" * 1000), done=False), ends=False
    ),
    "responses: the same whole text": Endless(
        RESPONSES,
        sse(event("output_text.delta", delta="x" * MIB), done=False),
        sse(event("output_text.done", text="x"), done=False),
        ends=False,
    ),
    "responses: items": Endless(
        RESPONSES,
        b"",
        b"".join(
            sse(event("output_item.added", item={"type": "function_call", "id": f"{at}"}), done=False)
            for at in range(2000)
        ),
        ends=True,
    ),
    "responses: parts": Endless(
        RESPONSES,
        b"",
        b"".join(
            sse(event("output_text.delta", item_id="m", content_index=at, delta=" "), done=False) for at in range(2000)
        ),
        ends=False,
    ),
    "ollama: text": Endless(OLLAMA_CHAT, b"", ndjson(line(content="and so on " * 1000)), ends=True),
    "ollama: white space": Endless(OLLAMA_CHAT, b"", ndjson(line(content="\t")), ends=False),
    "ollama: calls": Endless(
        OLLAMA_CHAT,
        b"",
        ndjson(line(tool_calls=[{"function": {"name": "Read", "arguments": {"a": "x" * 9000}}}])),
        ends=True,
    ),
    "ollama: one line": Endless(OLLAMA_CHAT, b"{", b"x", ends=True),
    "ollama: blank lines": Endless(OLLAMA_CHAT, b"", b"\n", ends=False),
    "ollama: a document": Endless(OLLAMA_CHAT, b"{\n", b'"a": 1,\n', ends=True),
}


def play(stream: Endless, length: int, **request: Any) -> tuple[int, bool]:
    """Feed a stream of that length; return how many bytes were taken, and whether the bridge put an end to it."""
    numbers = count()
    answer = TRANSLATING[stream.kind].response(
        a_request(**request),
        EngineModel(where=UPSTREAM, model=MODEL, profile=USUAL_PROFILES[stream.kind]),
        ResponseContext(
            message_id="msg_test",
            request_id="req_test",
            prompt_tokens=1,
            window_tokens=None,
            new_tool_id=lambda: f"toolu_{next(numbers)}",
        ),
    )
    answer.start()
    taken = 0
    try:
        for read in stream.reads(length):
            taken += len(read)
            answer.feed(read)
            if answer.done:
                return taken, True
    except UpstreamBrokenError as error:
        answer.fail(error)
        return taken, True
    return taken, False


@pytest.mark.parametrize("stream", STREAMS.values(), ids=list(STREAMS))
def test_an_endless_stream_costs_time_by_its_length_only(stream: Endless) -> None:
    began = time.process_time()
    taken, _ = play(stream, 3 * MIB)
    assert time.process_time() - began < SECONDS_PER_MIB * max(1, taken / MIB)


@pytest.mark.parametrize("name", [name for name, stream in STREAMS.items() if stream.ends])
def test_what_adds_up_is_ended(name: str) -> None:
    _, ended = play(STREAMS[name], 80 * MIB)
    assert ended


@pytest.mark.parametrize("name", [name for name, stream in STREAMS.items() if stream.ends or name == "white space"])
def test_a_stream_takes_no_more_memory_than_what_must_be_kept_of_it(name: str) -> None:
    tracemalloc.start()
    try:
        taken, _ = play(STREAMS[name], 4 * MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Text goes on as it comes; arguments and what has no line end are kept up to a limit.
    is_kept = any(word in name for word in ("arguments", "line", "document"))
    kept = taken if is_kept else 0
    assert peak < 2 * kept + 2 * MIB, f"{peak / MIB:.1f} MiB for {taken / MIB:.1f} MiB of a stream"


def test_a_stop_sequence_of_any_length_is_looked_for_in_time() -> None:
    began = time.process_time()
    play(STREAMS["text"], 3 * MIB, stop_sequences=["and so on and " * 290 + "!"])
    assert time.process_time() - began < SECONDS_PER_MIB * 3


def test_an_answer_may_be_as_long_as_the_limit_says() -> None:
    stream = Endless(OPENAI_CHAT, b"", output(content="x" * 1024), ends=False)
    taken, ended = play(stream, MAX_ANSWER_CHARS)
    assert taken > 0.9 * MAX_ANSWER_CHARS
    assert not ended
