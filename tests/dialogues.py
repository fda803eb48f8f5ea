"""One exchange without sockets: what the client said, what we send; what the engine said, what we answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import msgspec

from claude_bridge import adapters
from claude_bridge.adapters import engine_profiles
from claude_bridge.adapters.base import EngineModel, OutgoingRequest, TokenLimits
from claude_bridge.adapters.engine_profiles import OLLAMA, UNKNOWN
from claude_bridge.adapters.translating import TranslatingAdapter
from claude_bridge.conversion.loss import Loss, Repair
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.response.accumulator import MessageAccumulator
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.errors import UpstreamError
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest
from claude_bridge.wire.anthropic_answers import Message, StreamEvent
from claude_bridge.wire.anthropic_codec import encode_stream_event, parse_messages_request

UPSTREAM = "Engine at http://127.0.0.1:9"

OPENAI_CHAT, OLLAMA_CHAT, RESPONSES = "openai-chat", "ollama-chat", "openai-responses"

MODEL = "local-model"
"""The model that goes upstream where a test names none."""

TRANSLATING: dict[str, TranslatingAdapter] = {
    adapter.kind: adapter for adapter in (adapters.OPENAI_CHAT, adapters.OLLAMA_CHAT, adapters.OPENAI_RESPONSES)
}
"""The adapters of upstream kinds with an API of their own."""

USUAL_PROFILES: dict[str, Profile] = {
    OPENAI_CHAT: UNKNOWN,
    OLLAMA_CHAT: OLLAMA,
    RESPONSES: engine_profiles.OPENAI_RESPONSES,
}
"""The profile of each upstream kind where a test names none."""


def _kind_of(row: str) -> str:
    if row.endswith("_RESPONSES"):
        return RESPONSES
    return OLLAMA_CHAT if row.startswith("OLLAMA") else OPENAI_CHAT


ROWS: dict[str, tuple[str, Profile]] = {
    f"{kind} {name}": (kind, row)
    for kind in TRANSLATING
    for name, row in engine_profiles.PROFILES.items()
    if (name == "UNKNOWN" or _kind_of(name) == kind)
}
"""Every row of adapters/engine_profiles.toml with its upstream kind."""

NO_LIMITS = TokenLimits()


def a_request(**fields: Any) -> MessagesRequest:
    """Return a small request with some fields set, read from JSON as a client's would be."""
    small = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
    return parse_messages_request(msgspec.json.encode(small | fields))


def sent(
    request: CountTokensRequest,
    profile: Profile | None = None,
    *,
    kind: str = OPENAI_CHAT,
    model: str = MODEL,
    limits: TokenLimits = NO_LIMITS,
) -> tuple[OutgoingRequest, list[Loss]]:
    """Return what goes upstream for a request, and what was lost on the way."""
    engine = EngineModel(where=UPSTREAM, model=model, profile=profile or USUAL_PROFILES[kind], limits=limits)
    encoded = TRANSLATING[kind].prepare(request, None, engine)
    return encoded.outgoing, list(encoded.losses)


def sent_body(request: CountTokensRequest, profile: Profile | None = None, **how: Any) -> dict[str, Any]:
    """Return the JSON object that goes upstream; ``how`` is as in ``sent``."""
    body: dict[str, Any] = msgspec.json.decode(sent(request, profile, **how)[0].body)
    return body


def sent_messages(
    *messages: dict[str, Any], profile: Profile | None = None, kind: str = OPENAI_CHAT, **fields: Any
) -> list[dict[str, Any]]:
    """Return the messages that go upstream for a conversation."""
    request = a_request(messages=list(messages), **fields)
    found: list[dict[str, Any]] = sent_body(request, profile, kind=kind)["messages"]
    return found


class Answered(NamedTuple):
    """What the client gets, and how its tool calls were repaired."""

    events: list[StreamEvent]
    repairs: list[Repair]


def answered(reads: Iterable[bytes], request: MessagesRequest | None = None, **how: Any) -> list[StreamEvent]:
    """Return the events that the client gets for what the engine said, read by read; ``how`` as in ``answer_to``."""
    return answer_to(reads, request, **how).events


def answer_to(
    reads: Iterable[bytes],
    request: MessagesRequest | None = None,
    *,
    kind: str = OPENAI_CHAT,
    profile: Profile | None = None,
    model: str = MODEL,
    prompt_tokens: int = 100,
    window_tokens: int | None = None,
) -> Answered:
    """Return what becomes of what the engine said, read by read."""
    numbers = count(1)
    answer = TRANSLATING[kind].response(
        request or a_request(),
        EngineModel(where=UPSTREAM, model=model, profile=profile or USUAL_PROFILES[kind]),
        ResponseContext(
            message_id="msg_test",
            request_id="req_test",
            prompt_tokens=prompt_tokens,
            window_tokens=window_tokens,
            max_tokens=request.max_tokens if request else None,
            new_tool_id=lambda: f"toolu_{next(numbers):02}",
        ),
    )
    events = answer.start()
    try:
        for data in reads:
            events += answer.feed(data)
            if answer.done:
                break
    except UpstreamError as error:
        return Answered(events + answer.fail(error), answer.repairs)
    return Answered(events + answer.close(), answer.repairs)


def client_bytes(events: Iterable[StreamEvent]) -> bytes:
    """Return the events as they are on the wire."""
    return b"".join(map(encode_stream_event, events))


def folded(events: Sequence[StreamEvent]) -> Message:
    """Return the message that a whole stream spells."""
    fold = MessageAccumulator()
    fold.feed(events)
    return fold.message


def sse(*chunks: Any, done: bool = True) -> bytes:
    """Return chunks as an engine's stream."""
    frames = [b"data: " + (chunk if isinstance(chunk, bytes) else msgspec.json.encode(chunk)) for chunk in chunks]
    return b"".join(frame + b"\n\n" for frame in [*frames, *([b"data: [DONE]"] if done else [])])


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    """Return one chunk of an answer."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def ndjson(*lines: Any) -> bytes:
    """Return lines as Ollama's stream."""
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def event(kind: str, **fields: Any) -> dict[str, Any]:
    """Return one event of a Responses stream, with the word before its type left out."""
    return {"type": f"response.{kind}", **fields}


def line(done_reason: str | None = None, **message: Any) -> dict[str, Any]:
    """Return one line of Ollama's answer; a reason makes it the last."""
    output = {"model": "m", "message": {"role": "assistant", "content": ""} | message, "done": done_reason is not None}
    return output if done_reason is None else output | {"done_reason": done_reason}


def call(arguments: Any = None, **fields: Any) -> dict[str, Any]:
    """Return a chunk with a fragment of one tool call; ``name`` and ``arguments`` go into its function."""
    function = {key: fields.pop(key) for key in ("name",) if key in fields}
    if arguments is not None:
        function["arguments"] = arguments
    return chunk(tool_calls=[fields | {"function": function}])


def cut(data: bytes, places: Iterable[int]) -> Iterator[bytes]:
    """Yield the bytes in reads that end at the given places."""
    start = 0
    for place in sorted(places):
        yield data[start:place]
        start = place
    yield data[start:]
