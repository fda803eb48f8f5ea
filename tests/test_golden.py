"""The golden cases of engines whose answers are translated; tests/golden_case.py says what is in their folders.

The prompt is estimated to have 100 tokens. What is attached is prepared as in an exchange: ``web`` in a case's folder
holds the documents that URLs lead to, by their last part.
"""

from __future__ import annotations

import json
import mimetypes
import re
from functools import cache, partial
from pathlib import Path

import anyio
import msgspec
import pytest

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters import engine_profiles as profiles
from claude_bridge.adapters.base import OutgoingRequest, TokenLimits
from claude_bridge.adapters.engine_profiles import FAMILIES
from claude_bridge.attachments.prepare import Attachments, ReadyRequest, attachments_in
from claude_bridge.attachments.public_web import FetchError, WebDocument
from claude_bridge.attachments.vision import Describer
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.request_settings import RequestSettings
from claude_bridge.wire.anthropic import MessagesRequest, TextBlock
from claude_bridge.wire.anthropic_answers import (
    AnswerBlock,
    Message,
    Usage,
)
from claude_bridge.wire.anthropic_codec import parse_messages_request
from tests.dialogues import MODEL, TRANSLATING, USUAL_PROFILES, Answered, answer_to, client_bytes, sent
from tests.examples import IS_THOROUGH
from tests.golden_case import GoldenCase, cases
from tests.laws import assert_legal, assert_sdk_agrees
from tests.pdfs import OnceReader
from tests.sdk_validation import assert_accepted

CASES = cases(*TRANSLATING)

each_case = pytest.mark.parametrize("case", CASES, ids=[f"{case.kind}/{case.folder.name}" for case in CASES])


@each_case
def test_the_engine_gets_the_recorded_request(case: GoldenCase, request: pytest.FixtureRequest) -> None:
    outgoing, losses = _sent(case)
    recorded = case.folder / "upstream_request.json"
    if request.config.getoption("--update-golden"):
        recorded.write_text(
            json.dumps(json.loads(outgoing.body), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    expected = json.loads(recorded.read_bytes())
    assert json.loads(outgoing.body) == expected
    assert outgoing.body == json.dumps(expected, ensure_ascii=False, separators=(",", ":")).encode(), "order of keys"
    case.assert_recorded(request, losses=[f"{loss.path}: {loss.reason}" for loss in losses])
    assert_accepted(case.kind, outgoing.body)


@each_case
def test_the_client_gets_the_recorded_answer(case: GoldenCase, request: pytest.FixtureRequest) -> None:
    """It is a legal stream, and the same however the engine's bytes are cut."""
    upstream = case.upstream.read_bytes()
    answer = _answered(case, [upstream])
    recorded = case.folder / "client.sse"
    if request.config.getoption("--update-golden"):
        recorded.write_bytes(client_bytes(answer.events))
    assert client_bytes(answer.events).decode() == recorded.read_text(encoding="utf-8")
    case.assert_recorded(request, repairs=[f"{repair.tool_name}: {repair.what}" for repair in answer.repairs])
    assert_legal(answer.events)
    assert_sdk_agrees(answer.events)
    step = 1 if IS_THOROUGH else 3
    in_pieces = [upstream[at : at + step] for at in range(0, len(upstream), step)]
    assert _answered(case, in_pieces).events == answer.events, f"in pieces of {step} bytes"


def test_every_row_of_an_engine_has_a_case() -> None:
    rows = set(profiles.PROFILES.values())
    named = {getattr(profiles, case.facts.profile) for case in cases(*ADAPTERS) if case.facts.profile}
    assert [row.name for row in rows - named - set(USUAL_PROFILES.values())] == []


def test_every_family_of_models_has_a_case() -> None:
    played = [(_row(case).name, case.facts.model.lower()) for case in CASES if case.facts.model]
    without = [
        family.name
        for family in FAMILIES
        if not any(
            re.search(family.matches, model) and (not family.engines or engine in family.engines)
            for engine, model in played
        )
    ]
    assert without == []


def _request(case: GoldenCase) -> MessagesRequest:
    return parse_messages_request(case.request)


def _row(case: GoldenCase) -> Profile:
    named = case.facts.profile
    row = getattr(profiles, named) if named else USUAL_PROFILES[case.kind]
    assert isinstance(row, Profile)
    return row


def _profile(case: GoldenCase) -> Profile:
    return profiles.profile_for(_row(case), _model(case))


def _model(case: GoldenCase) -> str:
    return case.facts.model or MODEL


def _sent(case: GoldenCase) -> tuple[OutgoingRequest, list[Loss]]:
    facts = case.facts
    limits = TokenLimits(max_output_tokens=facts.max_output_tokens, window_tokens=facts.window_tokens)
    ready = _prepared(case, limits.window_tokens)
    settings = msgspec.convert(facts.settings, RequestSettings)
    request, taken = settings.apply(ready.request)
    outgoing, losses = sent(request, _profile(case), kind=case.kind, model=_model(case), limits=limits)
    return settings.add_to(outgoing), [*taken, *ready.losses, *losses]


@cache
def _prepared(case: GoldenCase, window_tokens: int | None) -> ReadyRequest[MessagesRequest]:
    request = _request(case)
    if not any(attachments_in(request.messages)):
        return ReadyRequest(request=request, losses=[])
    description = case.facts.image_description
    attachments = Attachments(
        web=_WebOfCase(case.folder / "web"),
        pdf_reader=OnceReader(),
        describer=Describer("seer", partial(_say, description)) if description is not None else None,
    )
    return anyio.run(attachments.prepare, request, _profile(case), window_tokens)


class _WebOfCase:
    """A web of the files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def fetch(self, url: str) -> WebDocument:
        file = self._folder / url.rpartition("/")[2]
        if not file.exists():
            raise FetchError("answers with status 404")
        media_type = mimetypes.guess_type(file.name)[0] or ""
        return WebDocument(url=url, media_type=media_type, charset="utf-8", body=file.read_bytes())


async def _say(text: str, request: MessagesRequest) -> Message:
    assert request.temperature == 0
    content: list[AnswerBlock] = [TextBlock(text)]
    return Message(id="msg_seer", model=request.model, content=content, stop_reason="end_turn", usage=Usage())


def _answered(case: GoldenCase, reads: list[bytes]) -> Answered:
    return answer_to(
        reads,
        _request(case),
        kind=case.kind,
        profile=_profile(case),
        model=_model(case),
        window_tokens=case.facts.window_tokens,
    )
