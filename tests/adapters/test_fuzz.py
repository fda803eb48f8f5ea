"""Damaged requests and damaged answers: an error of ours or a legal stream, in time, and never a traceback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.errors import ClientError
from claude_bridge.wire.anthropic import CountTokensRequest
from claude_bridge.wire.anthropic_codec import parse_count_tokens_request, parse_messages_request
from tests.dialogues import TRANSLATING, a_request, answered, client_bytes, cut, sent
from tests.examples import examples
from tests.fuzz import damaged, with_odd_values
from tests.laws import assert_legal, assert_sdk_agrees
from tests.requests import rows
from tests.sdk_validation import assert_strict

GOLDEN = Path(__file__).parent.parent / "golden"
REQUESTS = [path.read_bytes() for path in sorted(GOLDEN.glob("*/*/request.json"))]
ANSWERS = {kind: [path.read_bytes() for path in sorted(GOLDEN.glob(f"{kind}/*/upstream.*"))] for kind in TRANSLATING}

MOST_S = 2.0
"""What one document may take, which are of some thousand bytes: a hang, not a measurement."""

every_kind = pytest.mark.parametrize("kind", TRANSLATING)


@contextmanager
def in_time() -> Iterator[None]:
    began = time.process_time()
    yield
    assert time.process_time() - began < MOST_S


# --- requests -------------------------------------------------------------------------------------------------


def translated(data: st.DataObject, kind: str, body: bytes, *, is_count: bool = False) -> None:
    """Take a request all the way to its engine; it may be refused, with words for the client."""
    profile = data.draw(rows(kind))
    with in_time():
        try:
            request: CountTokensRequest
            request = parse_count_tokens_request(body) if is_count else parse_messages_request(body)
            outgoing, losses = sent(request, profile, kind=kind)
        except ClientError:
            return
    reported = msgspec.json.decode(outgoing.body)
    if kind != "openai-responses":
        assert_strict(reported["messages"])
    assert all(loss.path.startswith("$") and loss.reason for loss in losses)


@every_kind
@given(st.data(), damaged(REQUESTS), st.booleans())
@examples(400)
def test_a_damaged_request_is_encoded_or_refused(kind: str, data: st.DataObject, body: bytes, is_count: bool) -> None:
    translated(data, kind, body, is_count=is_count)


@every_kind
@given(st.data(), with_odd_values([msgspec.json.decode(body) for body in REQUESTS]))
@examples(400)
def test_a_request_with_odd_values_is_encoded_or_refused(kind: str, data: st.DataObject, client_request: Any) -> None:
    translated(data, kind, msgspec.json.encode(client_request))


# --- answers --------------------------------------------------------------------------------------------------

cuts = st.lists(st.integers(0, 4_000), max_size=6)
asked_for = st.sampled_from(
    [
        {},
        {"stop_sequences": ["END", "\n\n", "lo"]},
        {
            "tools": [
                {"name": "Read", "input_schema": {"type": "object", "properties": {"file_path": {"type": "string"}}}}
            ]
        },
    ]
)


def listened(kind: str, stream: bytes, places: list[int], client_request: dict[str, Any]) -> None:
    """Take an answer all the way to its client, however its reads end."""
    with in_time():
        events = answered(cut(stream, places), a_request(**client_request), kind=kind)
        client_bytes(events)
    assert_legal(events)
    assert_sdk_agrees(events)
    if (
        "stop_sequences" not in client_request
    ):  # else the engine is stopped, and what it would have told of usage depends
        assert client_bytes(events) == client_bytes(answered([stream], a_request(**client_request), kind=kind))


@every_kind
@given(st.data(), cuts, asked_for)
@examples(500)
def test_a_damaged_answer_is_a_legal_stream_all_the_same(
    kind: str, data: st.DataObject, places: list[int], client_request: dict[str, Any]
) -> None:
    listened(kind, data.draw(damaged(ANSWERS[kind])), places, client_request)


@every_kind
@given(st.data(), cuts, asked_for)
@examples(200)
def test_an_answer_of_another_kind_is_a_legal_stream_too(
    kind: str, data: st.DataObject, places: list[int], client_request: dict[str, Any]
) -> None:
    of_others = [answer for other, answers in ANSWERS.items() if other != kind for answer in answers]
    listened(kind, data.draw(damaged(of_others)), places, client_request)
