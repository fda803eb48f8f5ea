"""What is passed on in its own bytes: what of a request is edited, and what is read of Anthropic's own answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.anthropic_messages.frames import explain_error_event
from claude_bridge.adapters.anthropic_messages.request import edit_request
from claude_bridge.adapters.base import EngineModel, Response
from claude_bridge.adapters.engine_profiles import ANTHROPIC, UNKNOWN
from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.opaque_reasoning import SEAL
from claude_bridge.conversion.profile import Profile
from claude_bridge.errors import PromptTooLongError, UpstreamError
from claude_bridge.wire.anthropic_answers import ErrorEvent, RawBytes, ResponseItem
from claude_bridge.wire.anthropic_codec import parse_messages_request
from tests.adapters.test_repaired_streams import MESSAGE, START, STOP, a_context, frame
from tests.dialogues import a_request
from tests.text_helpers import values

HEADER = "x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli; cch=%s;"


def edited(body: bytes, *, model: str = "", profile: Profile = UNKNOWN) -> bytes:
    return edit_request(body, parse_messages_request(body), model, profile)[0]


def a_body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]} | fields


def a_session(cch: str) -> dict[str, Any]:
    """Return a request that says the same text wherever a user or a tool can say it."""
    stray = "x-anthropic-billing-header: cch=abc123; and cch=abc123;"
    return a_body(
        system=[
            {"type": "text", "text": HEADER % cch},
            {"type": "text", "text": stray, "cache_control": {"type": "ephemeral"}},
        ],
        tools=[{"name": "Bash", "description": stray, "input_schema": {"default": stray}}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": stray}, {"type": "future", "x": [stray, None]}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Bash", "input": {"a": stray}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": stray}]},
        ],
        metadata={"user_id": stray},
        future_field={"cch": "abc123", "é": [1.0, 1e3, 1]},
    )


@pytest.mark.parametrize("written", [{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}], ids=str)
@pytest.mark.parametrize("cch", ["abc12", "abc123", "f", "00000", ""])
def test_only_the_volatile_value_of_the_billing_header_is_pinned(cch: str, written: dict[str, Any]) -> None:
    body = json.dumps(a_session(cch), **written).encode()
    assert edited(body) == json.dumps(a_session("00000"), **written).encode()


def test_the_same_text_elsewhere_is_the_users_own() -> None:
    for system in (
        [{"type": "text", "text": "You help. x-anthropic-billing-header: cch=abc123;"}],
        [{"type": "text", "text": "You help."}, {"type": "text", "text": HEADER % "abc123"}],
        [{"type": "text", "text": HEADER.replace("; cch=%s", "") + "\nThe user's own: cch=abc123;"}],
        [{"type": "future", "data": HEADER % "abc123"}],
        "You help. " + HEADER % "abc123",
        [],
        None,
    ):
        body = json.dumps(a_session("0") | {"system": system}).encode()
        assert edited(body) == body


def test_a_header_that_was_joined_with_the_prompt_is_pinned_too() -> None:
    body = json.dumps(a_body(system=HEADER % "a5145" + "You are Claude Code. cch=a5145;")).encode()
    assert edited(body) == body.replace(b"cch=a5145", b"cch=00000", 1)


def test_nothing_that_is_meant_for_anthropic_is_edited() -> None:
    body = json.dumps(a_session("abc12")).encode()
    assert edited(body, profile=ANTHROPIC) == body


def test_half_a_surrogate_pair_goes_on_as_it_came() -> None:
    body = json.dumps(a_session("abc12") | {"messages": [{"role": "user", "content": "cut \ud83d"}]}).encode()
    assert edited(body) == body.replace(b"cch=abc12;", b"cch=00000;", 1)


@given(
    st.dictionaries(st.text(max_size=5), values, max_size=4),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
    st.text(min_size=1, max_size=8).filter(lambda model: model != "m"),
)
def test_the_model_is_the_only_other_byte_that_changes(
    more: dict[str, Any], indent: int | str | None, ascii_only: bool, model: str
) -> None:
    def written(model: str) -> bytes:
        document = {"first": more} | a_session("00000") | {"model": model} | {"last": more}
        return json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    expected = json.dumps(model, ensure_ascii=False).encode("utf-8", "surrogatepass")
    body = written("m")
    assert edited(body, model=model) == body.replace(b'"model": "m"', b'"model": ' + expected, 1)


def test_blank_text_that_another_model_left_does_not_go_to_anthropic() -> None:
    blank, text = {"type": "text", "text": ""}, {"type": "text", "text": "b"}
    user = {"role": "user", "content": "a"}
    sent = json.loads(
        edited(
            json.dumps(a_body(messages=[user, {"role": "assistant", "content": [blank, text]}, user])).encode(),
            profile=ANTHROPIC,
        )
    )
    assert sent["messages"][1]["content"] == [text]


def test_thoughts_that_the_bridge_sealed_for_a_service_never_go_to_anthropic() -> None:
    ours, theirs = ({"type": "redacted_thinking", "data": data} for data in (f"{SEAL}e30=", "EvAFCkYIBxgCKkBMt"))
    text = {"type": "text", "text": "b"}
    user = {"role": "user", "content": "a"}

    def with_answer(*blocks: dict[str, Any]) -> bytes:
        return json.dumps(a_body(messages=[user, {"role": "assistant", "content": list(blocks)}, user])).encode()

    left = json.loads(edited(with_answer(ours, theirs, text), profile=ANTHROPIC))
    assert left == json.loads(with_answer(theirs, text))
    assert edited(with_answer(theirs, text), profile=ANTHROPIC) == with_answer(theirs, text)


# --- answers of Anthropic's own -----------------------------------------------------------------------------------

USAGE = {"input_tokens": 10, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 3}
BEGUN = frame("message_start", message=MESSAGE | {"usage": {**USAGE, "output_tokens": 1}})
LAST_USAGE = {"output_tokens": 5, "output_tokens_details": {"thinking_tokens": 4}}
ENDED = frame("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=LAST_USAGE) + STOP
ERROR = frame("error", error={"type": "overloaded_error", "message": "Busy."})


def own_answer(*reads: bytes, streams: bool = True) -> tuple[Response, list[ResponseItem]]:
    """Return the answer of Anthropic's that has read so much and ended, and what the client gets of it."""
    engine = EngineModel(where="Anthropic", model="", profile=ANTHROPIC)
    response = ADAPTERS["anthropic-messages"].response(a_request(stream=streams), engine, a_context())
    items = [*response.start(), *response.keep_alive()]
    for data in reads:
        items += response.feed(data)
    return response, [*items, *response.close()]


def bytes_of(items: list[ResponseItem]) -> bytes:
    return b"".join(item.data for item in items if isinstance(item, RawBytes))


@pytest.mark.parametrize("streams", [True, False])
def test_the_usage_of_an_answer_that_is_passed_on_is_noted(streams: bool) -> None:
    whole = json.dumps(MESSAGE | {"usage": USAGE | LAST_USAGE}).encode()
    response, items = own_answer(*([BEGUN, ENDED] if streams else [whole]), streams=streams)
    assert bytes_of(items) == (BEGUN + ENDED if streams else whole)
    assert response.usage == UsageReport(
        prompt_tokens=15, cached_tokens=3, cache_written_tokens=2, output_tokens=5, thinking_tokens=4
    )
    assert response.done
    assert response.error is None
    assert not response.close()


@pytest.mark.parametrize(
    ("data", "passed", "message"),
    [
        (START, START, "The upstream ended its answer in the middle."),
        (START + b"event: ping", START + b"event: ping\n\n", "The upstream ended its answer in the middle."),
        (START + ERROR + STOP, START + ERROR, "Anthropic reported an error: Busy. (overloaded_error)"),
        (b'data: {"error": {"message": "Busy."}}\n\n', b"", "Anthropic reported an error: Busy."),
        (b' {"error": {"message": "Busy."}}', b"", "Anthropic reported an error: Busy."),
        (b'{"choices": []}', b"", "Anthropic does not answer in the words of the Messages API."),
        (b'{"choices', b"", """Anthropic answered with something that is no JSON: '{"choices'"""),
    ],
    ids=["cut", "cut inside a frame", "error", "another error", "error document", "another API", "no JSON"],
)
def test_a_stream_of_anthropics_that_does_not_end_well_ends_in_an_error(
    data: bytes, passed: bytes, message: str
) -> None:
    response, items = own_answer(data)
    assert response.error is not None
    assert response.error.message == message
    assert bytes_of(items) == passed
    assert sum(isinstance(item, ErrorEvent) for item in items) == (ERROR not in passed)


def test_a_document_of_anthropics_that_breaks_off_is_an_error_and_nothing_else() -> None:
    engine = EngineModel(where="Anthropic", model="", profile=ANTHROPIC)
    response = ADAPTERS["anthropic-messages"].response(a_request(stream=None), engine, a_context())
    assert [*response.feed(b'{"id":'), *response.fail(UpstreamError("Cut."))] == []
    assert response.error is not None
    assert response.error.message == "Cut."
    assert not response.close()


def test_an_error_event_keeps_its_type_and_what_is_known_better_stays() -> None:
    busy = explain_error_event({"type": "timeout_error", "message": "Too slow."}, "The engine")
    assert (busy.status, busy.error_type) == (504, "timeout_error")
    too_long = {"type": "invalid_request_error", "message": "prompt is too long: 9000 tokens > 8192 maximum"}
    assert isinstance(explain_error_event(too_long, "The engine"), PromptTooLongError)
