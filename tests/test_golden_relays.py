"""The golden cases of engines that speak Anthropic's own API: each folder of tests/golden/anthropic-messages.

As in test_golden.py, but byte for byte: ``request.json`` is the client's request as it came, ``upstream_request.json``
what goes on, ``upstream.sse`` or ``upstream.json`` what the engine said, ``client.sse`` or ``client.json`` what the
client gets, and ``mends.txt`` what was put right. What is passed on as it came is not recorded twice.
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
from claude_bridge.conversion.response.pipeline import ResponseContext
from claude_bridge.wire.anthropic import ErrorEvent, MessagesRequest
from claude_bridge.wire.anthropic_codec import encode_error, encode_stream_event, parse_messages_request
from claude_bridge.wire.anthropic_lenient import read_events
from tests.dialogues import UPSTREAM
from tests.laws import assert_legal, assert_sdk_agrees

KIND = "anthropic-messages"
CASES = sorted(about.parent for about in (Path(__file__).parent / "golden" / KIND).glob("*/about.md"))
MODEL_OF_THE_COMMAND_LINE = ""

each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


@each_case
def test_the_engine_gets_the_recorded_request(case: Path, request: pytest.FixtureRequest) -> None:
    given = ClientRequest(body=(case / "request.json").read_bytes())
    encoded = ADAPTERS[KIND].prepare(_request(case), given, _engine(case))
    lost = "".join(f"{loss.path}: {loss.reason}\n" for loss in encoded.losses)
    _assert_recorded(case / "upstream_request.json", encoded.outgoing.body, request, unless=given.body)
    _assert_recorded(case / "losses.txt", lost.encode(), request)


@each_case
def test_the_client_gets_the_recorded_answer(case: Path, request: pytest.FixtureRequest) -> None:
    said = _upstream(case)
    answer = _answer(case)
    _assert_recorded(
        case / f"client{said.suffix}", _passed(answer, [said.read_bytes()]), request, unless=said.read_bytes()
    )
    mends = "".join(f"{repair.what}\n" for repair in answer.repairs)
    _assert_recorded(case / "mends.txt", mends.encode(), request)


@each_case
def test_the_answer_is_the_same_byte_by_byte(case: Path) -> None:
    said = _upstream(case).read_bytes()
    reads = [said[at : at + 1] for at in range(len(said))]
    assert _passed(_answer(case), reads) == _passed(_answer(case), [said])


@each_case
def test_the_answer_is_one_that_a_client_can_read(case: Path) -> None:
    said = _upstream(case)
    answer = _passed(_answer(case), [said.read_bytes()])
    if said.suffix == ".json":
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


def _upstream(case: Path) -> Path:
    (said,) = case.glob("upstream.*")
    return said


def _request(case: Path) -> MessagesRequest:
    return parse_messages_request((case / "request.json").read_bytes())


def _profile(case: Path) -> Profile:
    named = case / "profile.txt"
    profile = getattr(engine_profiles, named.read_text().strip()) if named.exists() else UNKNOWN
    assert isinstance(profile, Profile)
    return profile


def _engine(case: Path) -> EngineModel:
    return EngineModel(where=UPSTREAM, model=MODEL_OF_THE_COMMAND_LINE, profile=_profile(case))


def _answer(case: Path) -> Response:
    numbers = count(1)
    window = case / "window.txt"
    context = ResponseContext(
        message_id="msg_test",
        request_id="req_test",
        prompt_tokens=100,
        window_tokens=int(window.read_text()) if window.exists() else None,
        new_tool_id=lambda: f"toolu_{next(numbers):02}",
    )
    request = msgspec.structs.replace(_request(case), stream=_upstream(case).suffix == ".sse" or None)
    return ADAPTERS[KIND].response(request, _engine(case), context)


def _passed(answer: Response, reads: list[bytes]) -> bytes:
    """Return all bytes that the client gets: of a document that is an error, the error."""
    pieces = [*answer.start(), *(piece for data in reads for piece in answer.feed(data)), *answer.close()]
    if answer.error is not None and not pieces:
        return encode_error(answer.error.error_type, answer.error.message, "req_test")
    return b"".join(map(encode_stream_event, pieces))
