"""The golden cases of engines that speak Anthropic's own API: each folder of tests/golden/anthropic-messages.

As in test_golden.py, but byte for byte. What is passed on as it came is not recorded twice.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import msgspec
import pytest
from anthropic.types import Message

from claude_bridge.adapters import ADAPTERS, engine_profiles
from claude_bridge.adapters.base import ClientRequest, EngineModel, Response
from claude_bridge.adapters.engine_profiles import UNKNOWN
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.wire.anthropic import MessagesRequest
from claude_bridge.wire.anthropic_answers import ErrorEvent
from claude_bridge.wire.anthropic_codec import encode_error, encode_stream_event, parse_messages_request
from claude_bridge.wire.anthropic_lenient import read_events
from tests.dialogues import UPSTREAM
from tests.golden_case import GoldenCase, cases
from tests.laws import assert_legal, assert_sdk_agrees

KIND = "anthropic-messages"
CASES = cases(KIND)
MODEL_OF_THE_COMMAND_LINE = ""

each_case = pytest.mark.parametrize("case", CASES, ids=[case.folder.name for case in CASES])


@each_case
def test_the_engine_gets_the_recorded_request(case: GoldenCase, request: pytest.FixtureRequest) -> None:
    given = ClientRequest(body=case.request)
    encoded = ADAPTERS[KIND].prepare(_request(case), given, _engine(case))
    _assert_recorded(case.folder / "upstream_request.json", encoded.outgoing.body, request, unless=given.body)
    case.assert_recorded(request, losses=[f"{loss.path}: {loss.reason}" for loss in encoded.losses])


@each_case
def test_the_client_gets_the_recorded_answer(case: GoldenCase, request: pytest.FixtureRequest) -> None:
    """A client can read it, and it is the same however the engine's bytes are cut."""
    upstream = case.upstream.read_bytes()
    response = _answer(case)
    answer = _passed(response, [upstream])
    _assert_recorded(case.folder / f"client{case.upstream.suffix}", answer, request, unless=upstream)
    case.assert_recorded(request, repairs=[repair.what for repair in response.repairs])
    _assert_readable(answer, case.upstream.suffix)
    byte_by_byte = [upstream[at : at + 1] for at in range(len(upstream))]
    assert _passed(_answer(case), byte_by_byte) == answer, "byte by byte"


def _assert_readable(answer: bytes, suffix: str) -> None:
    if suffix == ".json":
        assert b'"type":"error"' in answer or Message.model_validate_json(answer).stop_reason
        return
    events = read_events(answer)
    # An error that comes first becomes the answer's status, and the table knows no blocks of types of the future.
    if not isinstance(events[0], ErrorEvent) and b"server_tool_use" not in answer:
        assert_legal(events)
        assert_sdk_agrees(events)


def _assert_recorded(recorded: Path, made: bytes, request: pytest.FixtureRequest, *, unless: bytes = b"") -> None:
    if request.config.getoption("--update-golden"):
        recorded.unlink(missing_ok=True)
        if made != unless:
            recorded.write_bytes(made)
    assert made == (recorded.read_bytes() if recorded.exists() else unless)


def _request(case: GoldenCase) -> MessagesRequest:
    return parse_messages_request(case.request)


def _profile(case: GoldenCase) -> Profile:
    profile = getattr(engine_profiles, case.facts.profile) if case.facts.profile else UNKNOWN
    assert isinstance(profile, Profile)
    return profile


def _engine(case: GoldenCase) -> EngineModel:
    return EngineModel(where=UPSTREAM, model=MODEL_OF_THE_COMMAND_LINE, profile=_profile(case))


def _answer(case: GoldenCase) -> Response:
    numbers = count(1)
    context = ResponseContext(
        message_id="msg_test",
        request_id="req_test",
        prompt_tokens=100,
        window_tokens=case.facts.window_tokens,
        new_tool_id=lambda: f"toolu_{next(numbers):02}",
    )
    request = msgspec.structs.replace(_request(case), stream=case.upstream.suffix == ".sse" or None)
    return ADAPTERS[KIND].response(request, _engine(case), context)


def _passed(answer: Response, reads: list[bytes]) -> bytes:
    """Return all bytes that the client gets: of a document that is an error, the error."""
    pieces = [*answer.start(), *(piece for data in reads for piece in answer.feed(data)), *answer.close()]
    if answer.error is not None and not pieces:
        return encode_error(answer.error.error_type, answer.error.message, "req_test")
    return b"".join(map(encode_stream_event, pieces))
