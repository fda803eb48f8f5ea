"""Damaged requests and answers of Anthropic's own API: passed on or refused, in time, and what comes out is read."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from claude_bridge.adapters import engine_profiles as profiles
from claude_bridge.adapters.anthropic_messages import ANTHROPIC_MESSAGES
from claude_bridge.adapters.base import ClientRequest, EngineModel, Response
from claude_bridge.conversion.profile import MessagesProfile, Profile
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.errors import BridgeError, ClientError, UpstreamBrokenError
from claude_bridge.wire.anthropic_answers import ErrorEvent, ResponseItem
from claude_bridge.wire.anthropic_codec import encode_stream_event, parse_messages_request
from claude_bridge.wire.anthropic_lenient import read_events
from claude_bridge.wire.lenient_json import parse_any, parse_object
from claude_bridge.wire.sse import SseDecoder
from tests.adapters.test_fuzz import REQUESTS, in_time
from tests.dialogues import UPSTREAM, a_request, cut
from tests.examples import examples
from tests.fuzz import damaged, with_odd_values
from tests.laws import assert_legal, assert_sdk_agrees

GOLDEN = Path(__file__).parent.parent / "golden" / ANTHROPIC_MESSAGES.kind
STREAMS = [path.read_bytes() for path in sorted(GOLDEN.glob("*/upstream.sse"))]
DOCUMENTS = [path.read_bytes() for path in sorted(GOLDEN.glob("*/upstream.json"))]

engines = st.builds(
    lambda facts: replace(profiles.UNKNOWN, messages=MessagesProfile(**facts)),
    st.fixed_dictionaries(
        {field.name: st.booleans() for field in msgspec.structs.fields(MessagesProfile) if field.type is bool}
        | {
            "block_types": st.sampled_from(
                [(), ("text", "tool_use", "tool_result"), profiles.OLLAMA.messages.block_types]
            ),
            "refused_betas": st.sampled_from([(), ("*",)]),
        }
    ),
)
MIB = 1024 * 1024

cuts = st.lists(st.integers(0, 4_000), max_size=6)


# --- requests -------------------------------------------------------------------------------------------------


def edited(profile: Profile, body: bytes, model: str) -> None:
    """Edit a request; what a client may send comes out as JSON that says the same but for what must differ."""
    with in_time():
        try:
            engine = EngineModel(where=UPSTREAM, model=model, profile=profile)
            encoded = ANTHROPIC_MESSAGES.prepare(parse_messages_request(body), ClientRequest(body=body), engine)
        except ClientError:
            return
    request, reported = parse_any(body), parse_any(encoded.outgoing.body)  # halves of pairs go on as they came
    assert [name for name in reported if name in request or name != "system"] == list(request)
    assert reported["model"] == (model or request["model"])
    assert all(loss.path.startswith("$") and loss.reason for loss in encoded.losses)


@given(engines, damaged(REQUESTS), st.sampled_from(["", "another"]))
@examples(300)
def test_a_damaged_request_is_passed_on_or_refused(profile: Profile, body: bytes, model: str) -> None:
    edited(profile, body, model)


@given(engines, with_odd_values([msgspec.json.decode(body) for body in REQUESTS]), st.sampled_from(["", "another"]))
@examples(300)
def test_a_request_with_odd_values_is_passed_on_or_refused(profile: Profile, request: Any, model: str) -> None:
    edited(profile, msgspec.json.encode(request), model)


# --- answers --------------------------------------------------------------------------------------------------


def an_answer(profile: Profile, *, is_streamed: bool) -> Response:
    numbers = count(1)
    context = ResponseContext(
        message_id="msg_test",
        request_id="req_test",
        prompt_tokens=100,
        window_tokens=None,
        new_tool_id=lambda: f"toolu_{next(numbers):02}",
    )
    engine = EngineModel(where=UPSTREAM, model="", profile=profile)
    return ANTHROPIC_MESSAGES.response(a_request(stream=is_streamed), engine, context)


def passed(profile: Profile, reads: Iterable[bytes], *, is_streamed: bool) -> tuple[Response, bytes]:
    """Return an answer that is over, and what the client got of it."""
    answer = an_answer(profile, is_streamed=is_streamed)
    pieces: list[ResponseItem] = [*answer.start()]
    try:
        for data in reads:
            pieces += answer.feed(data)
        pieces += answer.close()
    except BridgeError as error:
        pieces += answer.fail(error)
    return answer, b"".join(map(encode_stream_event, pieces))


@given(engines, damaged(STREAMS), cuts)
@examples(500)
def test_a_damaged_stream_comes_out_as_one_that_can_be_followed(
    profile: Profile, stream: bytes, places: list[int]
) -> None:
    with in_time():
        answer, out = passed(profile, cut(stream, places), is_streamed=True)
    assert passed(profile, [stream], is_streamed=True)[1] == out
    if profile.messages.is_anthropic or not out:
        assert out or answer.error is not None
        return
    events = read_events(out)
    # An error that comes first becomes the answer's status; of a block of the future any delta may be one.
    if not isinstance(events[0], ErrorEvent) and _kinds_of_blocks(out) <= {"text", "thinking", "tool_use"}:
        assert_legal(events)
        assert_sdk_agrees(events)


def _kinds_of_blocks(stream: bytes) -> set[str]:
    events = [parse_object(frame.data) for frame in SseDecoder().feed(stream)]
    blocks = [event.get("content_block") for event in events if event.get("type") == "content_block_start"]
    return {str(block.get("type")) if isinstance(block, dict) else "none" for block in blocks}


@given(engines, damaged(DOCUMENTS + STREAMS), cuts)
@examples(200)
def test_a_damaged_document_comes_out_whole_or_as_an_error(
    profile: Profile, document: bytes, places: list[int]
) -> None:
    with in_time():
        answer, out = passed(profile, cut(document, places), is_streamed=False)
    assert passed(profile, [document], is_streamed=False)[1] == out
    assert out or answer.error is not None


@pytest.mark.parametrize("profile", [profiles.UNKNOWN, profiles.ANTHROPIC], ids=lambda profile: profile.name)
@pytest.mark.parametrize(
    ("beginning", "again", "is_streamed", "ends"),
    [
        pytest.param(b'{"content": [', b"1, " * 87_382, False, True, id="a document"),
        pytest.param(b'{"content": [', b"1, " * 87_382, True, True, id="a document in place of a stream"),
        pytest.param(b"data: ", b"x" * MIB, True, True, id="a line"),
        pytest.param(b"", b"data: x\n" * 32_768, True, True, id="a frame"),
        pytest.param(b"", (b": " + b"and again " * 500 + b"\n\n") * 50, True, False, id="comments"),
    ],
)
def test_an_engine_that_never_stops_is_stopped_or_leaves_nothing_behind(
    profile: Profile, beginning: bytes, again: bytes, is_streamed: bool, ends: bool
) -> None:
    if profile.messages.is_anthropic and is_streamed and beginning.startswith(b"{"):
        return  # what Anthropic says in a stream is handed on as it comes
    answer = an_answer(profile, is_streamed=is_streamed)
    tracemalloc.start()
    try:
        answer.feed(beginning)
        with pytest.raises(UpstreamBrokenError) if ends else nullcontext():
            for _ in range((100 if ends else 20) * MIB // len(again)):
                answer.feed(again)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (120 if ends else 4) * MIB
