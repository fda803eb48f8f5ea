"""How long an engine asks to wait, in every place where one says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from claude_bridge.conversion.upstream_errors.retry_after import MAX_WAIT_S, retry_after_s
from tests.growth import assert_linear


@pytest.mark.parametrize(
    ("words", "wait_s"),
    [
        ("Please try again in 14.5s.", 14.5),
        ("Please try again in 320ms.", 0.32),
        ("Please try again in 6m0s.", 360),
        ("Please try again in 1h2m3s", 3_723),
        ("Please retry in 22.03s.", 22.03),
        ("Please retry after 36 seconds.", 36),
        ("Please retry after 320 milliseconds.", 0.32),
        ("Please wait 2 minutes", 120),
        ("please wait for at least 30 sec", 30),
        ("Try again in 1 hour and 5 minutes.", 3_900),
        ("your limit resets in 3 hours", 10_800),
        ("available again in 1 day", 86_400),
        ("Please try again later", None),
        ("try again in 20 tokens", None),
        ("the request took 30 s", None),
    ],
)
def test_words_say_when(words: str, wait_s: float | None) -> None:
    assert retry_after_s({}, words) == wait_s


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        ({"details": [{"retryDelay": "39s"}]}, 39),
        ({"details": [{"retryDelay": "39.5s"}]}, 39.5),
        ({"details": [{"retryDelay": {"seconds": 39, "nanos": 5}}]}, 39),
        ({"details": [{"retryDelay": "soon"}, 7, None, {"retryDelay": "2s"}]}, 2),
        ({"retry_after": 12}, 12),
        ({"retry_after": "12"}, 12),
        ({"metadata": {"retry_after_seconds": 12.5}}, 12.5),
        ({"retry_after": True}, None),
        ({"details": {"retryDelay": "39s"}}, None),
    ],
)
def test_fields_say_when(error: dict[str, Any], wait_s: float | None) -> None:
    assert retry_after_s({}, "", {"error": error}) == wait_s
    assert retry_after_s({}, "", [{"error": error}]) == wait_s


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "7s"}, 7),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:10 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 10),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:10 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:10 GMT", "date": "Wed, 21 Oct 2026 07:28:00"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:10 GMT", "date": "today"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:50 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0),
    ],
)
def test_headers_say_when(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers) == wait_s


@pytest.mark.parametrize("document", [[], [{}], "retry", {"error": "retry"}, None], ids=str)
def test_a_document_of_another_shape_says_nothing(document: object) -> None:
    assert retry_after_s({}, "", document) is None


def test_a_header_goes_before_words() -> None:
    assert retry_after_s({"retry-after": "7"}, "try again in 9s", {"error": {"retry_after": 8}}) == 7


@pytest.mark.parametrize("reported", ["100000000", "1e300", "99999999999999999999"])
def test_nobody_waits_for_more_than_a_day(reported: str) -> None:
    assert retry_after_s({"retry-after": reported}) == MAX_WAIT_S
    assert retry_after_s({}, "", {"error": {"retry_after": float(reported)}}) == MAX_WAIT_S


@pytest.mark.parametrize("piece", ["wait ", "try again in ", "1 s and ", "9", "in 1s, ", "retry after "])
@pytest.mark.parametrize("beginning", ["", "wait "])
def test_words_without_end_take_time_by_their_length_only(beginning: str, piece: str) -> None:
    def work(size: int) -> Callable[[], object]:
        words = beginning + piece * (size // len(piece))
        return lambda: retry_after_s({"retry-after": words}, words, {"error": {"retry_after": words}})

    assert_linear(work, 400_000)
