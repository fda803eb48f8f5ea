"""Every kind of request that Claude Code makes goes through every adapter whole, in a form that engines accept."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from claude_bridge.adapters.base import OutgoingRequest
from claude_bridge.adapters.engine_profiles import UNKNOWN
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.anthropic_codec import parse_count_tokens_request, parse_messages_request
from tests.claude_code.client import ClaudeCode
from tests.claude_code.situations import FILES, SITUATIONS, Asked, all_requests
from tests.dialogues import OPENAI_CHAT, ROWS, sent
from tests.roundtrip import missing_pieces
from tests.sdk_validation import assert_accepted

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]

every_situation = pytest.mark.parametrize("situation", SITUATIONS)


@pytest.fixture(scope="module")
async def heard(new_claude_code: Callable[[], ClaudeCode]) -> list[Asked]:
    return await all_requests(new_claude_code)


@pytest.fixture(scope="module")
def judge() -> Callable[[Asked, str], None]:
    """Judges what becomes of a request for an engine; once, as most are of several situations."""
    well_told: set[tuple[int, str]] = set()

    def judge(requested: Asked, row: str) -> None:
        if (id(requested), row) in well_told:
            return
        kind, profile = ROWS[row]
        if requested.refused is not None:
            with pytest.raises(InvalidRequestError, match="runs at Anthropic"):
                translated(requested, kind, profile)
        else:
            outgoing, losses = translated(requested, kind, profile)
            assert_accepted(kind, outgoing.body)
            assert missing(requested, outgoing.body, losses, profile) == []
        well_told.add((id(requested), row))

    return judge


def of(situation: str, heard: list[Asked]) -> list[Asked]:
    """Return the requests of a situation; there must be one."""
    found = list(filter(SITUATIONS[situation], heard))
    assert found, "the client was not led into it, or is a newer one that does it in another way"
    return found


@every_situation
async def test_the_engine_gets_all_content_in_a_form_that_it_accepts(situation: str, heard: list[Asked]) -> None:
    for requested in of(situation, heard):
        if requested.sent is not None:
            assert_accepted(OPENAI_CHAT, requested.sent)
            assert missing(requested, requested.sent, requested.losses, UNKNOWN) == []


@every_situation
@pytest.mark.parametrize("row", ROWS)
async def test_any_engine_gets_all_content_in_a_form_that_it_accepts(
    situation: str, row: str, heard: list[Asked], judge: Callable[[Asked, str], None]
) -> None:
    for requested in of(situation, heard):
        judge(requested, row)


async def test_nothing_was_refused(heard: list[Asked]) -> None:
    assert {requested.refused for requested in heard if requested.refused is not None} == set()


def translated(requested: Asked, kind: str, profile: Profile) -> tuple[OutgoingRequest, list[Loss]]:
    counts = requested.path.endswith("/count_tokens")
    parse = parse_count_tokens_request if counts else parse_messages_request
    return sent(parse(requested.raw), profile, kind=kind)


def missing(requested: Asked, body: bytes, losses: list[Loss], profile: Profile) -> list[str]:
    return missing_pieces(requested.body, msgspec.json.decode(body), losses, profile, files=FILES)
