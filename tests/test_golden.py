"""The golden cases: each folder of tests/golden/KIND is a dialogue with that kind of upstream, for a person to read.

``request.json`` is what the client said and ``upstream.*`` what the engine said; ``upstream_request.json`` is what we
must send and ``client.sse`` what we must answer, where the prompt was estimated to have 100 tokens. ``losses.txt`` is
what of the request gets lost and ``repairs.txt`` what of the answer's tool calls is mended; both are told, and there is
no file where there is nothing to tell. ``profile.txt`` names a row of adapters/engine_profiles.py and ``model.txt``
the model, which may refine it, ``window.txt`` the engine's context window in tokens, ``limit.txt`` the most tokens that
the model answers with; ``about.md`` says what the case proves.

What is attached is prepared as in an exchange: ``web`` holds the documents that URLs lead to, by their last part, and
``described.txt`` what a model that sees says of every image.
"""

from __future__ import annotations

import json
import mimetypes
import re
from functools import cache, partial
from pathlib import Path

import anyio
import pytest

from claude_bridge.adapters import engine_profiles as profiles
from claude_bridge.adapters.base import OutgoingRequest, TokenLimits
from claude_bridge.adapters.model_profiles import FAMILIES
from claude_bridge.attachments.locate import attachments_in
from claude_bridge.attachments.prepare import Attachments, ReadyRequest
from claude_bridge.attachments.public_web import FetchError, WebDocument
from claude_bridge.attachments.vision import Describer
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.wire.anthropic import AnswerBlock, Message, MessagesRequest, StreamEvent, TextBlock, Usage
from claude_bridge.wire.anthropic_codec import parse_messages_request
from tests.dialogues import MODEL, TRANSLATING, USUAL_PROFILES, Answered, answer_to, client_bytes, sent
from tests.laws import assert_legal, assert_sdk_agrees
from tests.sdk_validation import assert_accepted

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(about.parent for kind in TRANSLATING for about in (GOLDEN / kind).glob("*/about.md"))

each_case = pytest.mark.parametrize("case", CASES, ids=[str(case.relative_to(GOLDEN)) for case in CASES])


@each_case
def test_the_engine_gets_the_recorded_request(case: Path, request: pytest.FixtureRequest) -> None:
    body = _sent(case)[0].body
    recorded = case / "upstream_request.json"
    if request.config.getoption("--update-golden"):
        recorded.write_text(json.dumps(json.loads(body), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    expected = json.loads(recorded.read_bytes())
    assert json.loads(body) == expected
    assert body == json.dumps(expected, ensure_ascii=False, separators=(",", ":")).encode(), "the order of keys"


@each_case
def test_the_recorded_request_is_one_that_engines_accept(case: Path) -> None:
    assert_accepted(_kind(case), (case / "upstream_request.json").read_bytes())


@each_case
def test_what_is_lost_is_recorded(case: Path, request: pytest.FixtureRequest) -> None:
    lost = "".join(f"{loss.path}: {loss.reason}\n" for loss in _sent(case)[1])
    _assert_recorded(lost, case / "losses.txt", request)


@each_case
def test_what_is_mended_is_recorded(case: Path, request: pytest.FixtureRequest) -> None:
    repairs = _answered(case, [_upstream(case)]).repairs
    mended = "".join(f"{repair.tool_name}: {repair.what}\n" for repair in repairs)
    _assert_recorded(mended, case / "repairs.txt", request)


def _assert_recorded(told: str, recorded: Path, request: pytest.FixtureRequest) -> None:
    """Assert that a file holds what was told; there is no file where nothing was."""
    if request.config.getoption("--update-golden"):
        recorded.unlink(missing_ok=True)
        if told:
            recorded.write_text(told, encoding="utf-8")
    assert told == (recorded.read_text(encoding="utf-8") if recorded.exists() else "")


@each_case
def test_the_client_gets_the_recorded_answer(case: Path, request: pytest.FixtureRequest) -> None:
    answer = client_bytes(_events(case, [_upstream(case)]))
    recorded = case / "client.sse"
    if request.config.getoption("--update-golden"):
        recorded.write_bytes(answer)
    assert answer.decode() == recorded.read_text(encoding="utf-8")


@each_case
def test_the_answer_is_the_same_byte_by_byte(case: Path) -> None:
    said = _upstream(case)
    reads = [said[at : at + 1] for at in range(len(said))]
    assert _events(case, reads) == _events(case, [said])


@each_case
def test_the_answer_is_a_legal_stream(case: Path) -> None:
    events = _events(case, [_upstream(case)])
    assert_legal(events)
    assert_sdk_agrees(events)


def test_every_row_of_an_engine_has_a_case() -> None:
    rows = {row for row in vars(profiles).values() if isinstance(row, Profile)}
    named = {getattr(profiles, file.read_text().strip()) for file in GOLDEN.glob("*/*/profile.txt")}
    assert [row.name for row in rows - named - set(USUAL_PROFILES.values())] == []


def test_every_family_of_models_has_a_case() -> None:
    asked = [
        (
            getattr(profiles, (file.parent / "profile.txt").read_text().strip()).name,
            file.read_text().strip().lower(),
        )
        for file in GOLDEN.glob("*/*/model.txt")
    ]
    without = [
        family.name
        for family in FAMILIES
        if not any(
            re.search(family.matches, model) and (not family.engines or engine in family.engines)
            for engine, model in asked
        )
    ]
    assert without == []


def _request(case: Path) -> MessagesRequest:
    return parse_messages_request((case / "request.json").read_bytes())


def _kind(case: Path) -> str:
    return case.parent.name


def _profile(case: Path) -> Profile:
    named = case / "profile.txt"
    profile = getattr(profiles, named.read_text().strip()) if named.exists() else USUAL_PROFILES[_kind(case)]
    assert isinstance(profile, Profile)
    return profiles.profile_for(profile, _model(case))


def _model(case: Path) -> str:
    named = case / "model.txt"
    return named.read_text().strip() if named.exists() else MODEL


def _number(file: Path) -> int | None:
    return int(file.read_text()) if file.exists() else None


def _sent(case: Path) -> tuple[OutgoingRequest, list[Loss]]:
    limits = TokenLimits(max_output_tokens=_number(case / "limit.txt"), window_tokens=_number(case / "window.txt"))
    ready = _prepared(case, limits.window_tokens)
    outgoing, losses = sent(ready.request, _profile(case), kind=_kind(case), model=_model(case), limits=limits)
    return outgoing, [*ready.losses, *losses]


@cache  # PDFs are read in a process of their own, which takes its time to start
def _prepared(case: Path, window_tokens: int | None) -> ReadyRequest[MessagesRequest]:
    request = _request(case)
    if not any(attachments_in(request.messages)):
        return ReadyRequest(request=request, losses=[])
    described = case / "described.txt"
    attachments = Attachments(
        web=_WebOfCase(case / "web"),
        describer=Describer("seer", partial(_say, described.read_text("utf-8"))) if described.exists() else None,
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


def _upstream(case: Path) -> bytes:
    (said,) = case.glob("upstream.*")
    return said.read_bytes()


def _events(case: Path, reads: list[bytes]) -> list[StreamEvent]:
    return _answered(case, reads).events


def _answered(case: Path, reads: list[bytes]) -> Answered:
    return answer_to(
        reads,
        _request(case),
        kind=_kind(case),
        profile=_profile(case),
        window_tokens=_number(case / "window.txt"),
    )
