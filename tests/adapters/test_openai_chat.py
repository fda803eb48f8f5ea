"""The openai-chat adapter, beside its golden cases: parameters, losses, limits and the end of streams."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bridge.adapters import OPENAI_CHAT
from claude_bridge.adapters.base import TokenLimits
from claude_bridge.adapters.engine_profiles import GEMINI, OPENAI
from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.tool_calls.index import NO_NAME
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.errors import PromptTooLongError, UpstreamBrokenError
from claude_bridge.wire.anthropic_answers import ErrorEvent
from claude_bridge.wire.anthropic_codec import parse_count_tokens_request
from claude_bridge.wire.sse import MAX_FRAME_BYTES
from tests.dialogues import a_request, answered, chunk, sent, sent_body, sent_messages, sse


def _deltas(*reads: bytes) -> list[Delta]:
    decoder = OPENAI_CHAT.decoder("Engine")
    return [delta for data in reads for delta in decoder.feed(data)] + decoder.close()


def choice(number: int, finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": number, "delta": delta, "finish_reason": finish_reason}


def a_call(argument: str) -> list[dict[str, Any]]:
    return [{"index": 0, "id": "call_0", "function": {"name": "Read", "arguments": f'{{"a":"{argument}"}}'}}]


@pytest.mark.parametrize(
    ("choices", "calls"),
    [
        ([choice(0, tool_calls=a_call("x")), choice(1, tool_calls=a_call("x"))], 1),
        ([choice(1, tool_calls=a_call("y")), choice(0, tool_calls=a_call("x"))], 1),
        ([choice(0, content="a"), choice(1, content="b"), choice(1, tool_calls=a_call("y"))], 0),
        ([choice(0, content="a"), choice(1, tool_calls=a_call("x")), choice(2, tool_calls=a_call("y"))], 2),
    ],
    ids=["twice", "the second first", "two texts", "Copilot"],
)
def test_calls_of_a_second_answer_do_not_run_beside_those_of_the_first(
    choices: list[dict[str, Any]], calls: int
) -> None:
    stream = sse(*({"choices": [one]} for one in choices), chunk("tool_calls"))
    document = sse({"choices": choices}, chunk("tool_calls"))
    for deltas in (_deltas(stream), _deltas(document)):
        assert sum(isinstance(delta, ToolCallStart) for delta in deltas) == calls
        assert any(isinstance(delta, Repair) for delta in deltas) == (calls < 2)


def test_a_request_goes_to_chat_completions() -> None:
    outgoing, losses = sent(a_request())
    assert (outgoing.method, outgoing.path, losses) == ("POST", "/chat/completions", [])
    assert sent_body(a_request(stream=False))["stream"] is True, "upstream always streams"


@pytest.mark.parametrize(("limit", "reported", "lost"), [(50, 50, 1), (100, 100, 0), (None, 100, 0)])
def test_max_tokens_is_lowered_to_what_the_model_can(limit: int | None, reported: int, lost: int) -> None:
    outgoing, losses = sent(a_request(max_tokens=100), limits=TokenLimits(max_output_tokens=limit))
    assert f'"max_tokens":{reported},'.encode() in outgoing.body
    assert [loss.path for loss in losses] == ["$.max_tokens"] * lost


def test_a_count_of_tokens_is_encoded_too() -> None:
    request = parse_count_tokens_request(b'{"model":"m","messages":[{"role":"user","content":"a"}]}')
    assert "max_tokens" not in sent_body(request)


@pytest.mark.parametrize(
    ("choice", "reported"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "tool", "name": "a.b"}, {"type": "function", "function": {"name": engine_name("a.b")}}),
        ({"type": "tool"}, "required"),
    ],
    ids=["auto", "any", "tool", "tool without a name"],
)
def test_tool_choice(choice: dict[str, Any], reported: Any) -> None:
    assert sent_body(a_request(tools=[{"name": "a.b"}], tool_choice=choice))["tool_choice"] == reported


def test_an_unknown_output_format_is_a_loss() -> None:
    _, losses = sent(a_request(output_config={"format": {"type": "grammar"}}))
    assert [loss.path for loss in losses] == ["$.output_config.format"]


def test_text_and_calls_of_one_turn_are_one_message() -> None:
    call = {"type": "tool_use", "id": "t", "name": "Read", "input": {}}
    (_, message, *_) = sent_messages({"role": "assistant", "content": [call, {"type": "text", "text": "a"}]})
    assert message["content"] == "a"
    assert [sent_call["id"] for sent_call in message["tool_calls"]] == ["t"]


def test_an_image_of_an_assistant_becomes_a_placeholder() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://e.com/a"}}
    (_, message, *_) = sent_messages(
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, image]}, {"role": "user", "content": "b"}
    )
    assert message["content"] == "a\n\n[image omitted]"


def test_a_refusal_is_explained() -> None:
    error = OPENAI_CHAT.explain(400, {}, b'{"error":{"message":"prompt is too long"}}', "Engine")
    assert isinstance(error, PromptTooLongError)


def test_the_finish_comes_last() -> None:
    deltas = _deltas(
        sse(chunk("stop", content="a"), chunk(content="b"), {"choices": [], "usage": {"prompt_tokens": 1}})
    )
    assert deltas == [
        TextDelta("a"),
        TextDelta("b"),
        UsageReport(prompt_tokens=1),
        Finish(FinishReason.STOP),
    ]


def test_the_first_finish_reason_counts() -> None:
    assert _deltas(sse(chunk("length", content="a"), chunk("stop")))[-1] == Finish(FinishReason.LENGTH)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("eos", FinishReason.STOP),
        ("end_turn", FinishReason.STOP),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("function_call", FinishReason.TOOL_CALLS),
        ("length", FinishReason.LENGTH),
        ("max_tokens", FinishReason.LENGTH),
        ("content_filter", FinishReason.REFUSAL),
        ("refusal", FinishReason.REFUSAL),
    ],
)
def test_finish_reasons(output: str, reason: FinishReason) -> None:
    assert _deltas(sse(chunk(output)))[-1] == Finish(reason)


def test_a_finish_reason_that_is_unknown_or_missing_is_no_stop() -> None:
    assert _deltas(sse(chunk("novelty")))[-1] == Finish(FinishReason.UNKNOWN, word="novelty")
    assert _deltas(sse(chunk(content="a")))[-1] == Finish(FinishReason.UNKNOWN)


def test_a_reason_of_null_as_text_means_that_the_answer_goes_on() -> None:
    assert _deltas(sse(chunk("null", content="a"), chunk("length")))[-1] == Finish(FinishReason.LENGTH)


@pytest.mark.parametrize(
    "output", ["error", "abort", "network_error", "timeout", "engine_error", "insufficient_system_resource"]
)
def test_an_answer_that_the_engine_broke_off_keeps_the_engines_word(output: str) -> None:
    assert Finish(FinishReason.BROKEN, word=output) in _deltas(sse(chunk(content="a"), chunk(output)))


def test_nothing_is_read_after_the_last_word() -> None:
    decoder = OPENAI_CHAT.decoder("Engine")
    decoder.feed(sse(chunk("stop")))
    assert decoder.done
    assert decoder.feed(sse(chunk(content="more"))) == decoder.close() == []


def test_nothing_is_read_after_a_failure() -> None:
    decoder = OPENAI_CHAT.decoder("Engine")
    (failure,) = decoder.feed(sse({"error": "no"}, chunk(content="more")))
    assert isinstance(failure, Failure)
    assert decoder.done
    assert decoder.close() == []


@pytest.mark.parametrize("error", [None, False, "", {}, []])
def test_an_empty_error_is_none(error: Any) -> None:
    assert _deltas(sse(chunk("stop", content="a") | {"error": error}))[0] == TextDelta("a")


def test_an_error_beside_an_empty_answer_is_a_failure() -> None:
    (failure,) = _deltas(b'{"choices":[],"error":{"message":"no"}}')
    assert isinstance(failure, Failure)


def test_blank_reads_do_not_decide_what_the_answer_is() -> None:
    body = b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}'
    assert _deltas(b"", b"\n", b"  ", body) == [TextDelta("a"), Finish(FinishReason.STOP)]
    assert _deltas(b"\n", sse(chunk("stop", content="a"))) == [TextDelta("a"), Finish(FinishReason.STOP)]


@pytest.mark.parametrize("beginning", [b"{", b": "], ids=["document", "stream"])
def test_an_answer_may_not_grow_without_end(beginning: bytes) -> None:
    decoder = OPENAI_CHAT.decoder("Engine")
    decoder.feed(beginning)
    piece = b"x" * 1_000_000
    for _ in range(MAX_FRAME_BYTES // len(piece)):
        decoder.feed(piece)
    with pytest.raises(UpstreamBrokenError, match="more than"):
        decoder.feed(piece)


@pytest.mark.parametrize(
    ("usage", "report"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4}, UsageReport(prompt_tokens=9, output_tokens=4)),
        (
            {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 5}},
            UsageReport(prompt_tokens=9, cached_tokens=5),
        ),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 5}, UsageReport(prompt_tokens=9, cached_tokens=5)),
        ({"completion_tokens_details": {"reasoning_tokens": 3}}, UsageReport(thinking_tokens=3)),
        ({"prompt_tokens": 9.0, "completion_tokens": "4"}, UsageReport(prompt_tokens=9, output_tokens=4)),
        ({"prompt_tokens": 9, "cached_tokens": 5}, UsageReport(prompt_tokens=9, cached_tokens=5)),
        (
            {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 0}, "cached_tokens": 5},
            UsageReport(prompt_tokens=9, cached_tokens=0),
        ),
        (
            {
                "prompt_tokens": 37,
                "completion_tokens": 530,
                "total_tokens": 800,
                "completion_tokens_details": {"reasoning_tokens": 233},
                "cost_in_usd_ticks": 37_756_000,
            },
            UsageReport(prompt_tokens=37, output_tokens=763, thinking_tokens=233, cost_usd=0.0037756),
        ),
        (
            {"prompt_tokens": 8, "completion_tokens": 20, "total_tokens": 128},
            UsageReport(prompt_tokens=8, output_tokens=120, thinking_tokens=100),
        ),
        (
            {
                "prompt_tokens": 8,
                "completion_tokens": 20,
                "total_tokens": 28,
                "completion_tokens_details": {"reasoning_tokens": 15},
            },
            UsageReport(prompt_tokens=8, output_tokens=20, thinking_tokens=15),
        ),
        (
            {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 110, "cached_tokens": 100},
            UsageReport(prompt_tokens=8, cached_tokens=100, output_tokens=2),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 4, "cost": 0.95, "cost_details": {"upstream_inference_cost": 19}},
            UsageReport(prompt_tokens=9, output_tokens=4, cost_usd=0.95),
        ),
        (
            {"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1}},
            UsageReport(cost_usd=1.05),
        ),
        ({"estimated_cost": 0.002}, UsageReport(cost_usd=0.002)),
        ({"cost": {"total_cost": 1}}, UsageReport()),
        ({"cost": -1, "prompt_tokens": 9}, UsageReport(prompt_tokens=9)),
        ({"prompt_tokens": -1, "completion_tokens": 2**60}, UsageReport()),
        ({"prompt_tokens": True, "completion_tokens": [7], "total_tokens": None}, UsageReport()),
        ({"prompt_tokens": 9.7, "completion_tokens": "many"}, UsageReport(prompt_tokens=9)),
        ({}, UsageReport()),
    ],
    ids=[
        "plain",
        "cached",
        "DeepSeek",
        "thinking",
        "odd numbers",
        "Moonshot, Together",
        "two counts of what was cached",
        "xAI",
        "Gemini",
        "thinking counted in, as OpenAI does",
        "a total with the cached part in it",
        "OpenRouter",
        "OpenRouter with a key of one's own",
        "DeepInfra",
        "a cost in parts",
        "a negative cost",
        "no counts",
        "of other types",
        "fractions and words",
        "empty",
    ],
)
def test_usage(usage: dict[str, Any], report: UsageReport) -> None:
    assert _deltas(sse(chunk("stop"), {"usage": usage})) == [report, Finish(FinishReason.STOP)]


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(chunk("stop") | {"x_groq": {"id": "req_1", "usage": {"prompt_tokens": 9}}}, id="Groq"),
        pytest.param(
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 9}}]},
            id="Moonshot",
        ),
    ],
)
def test_usage_is_found_where_an_engine_puts_it(last: dict[str, Any]) -> None:
    assert _deltas(sse(chunk(content="a"), last)) == [
        TextDelta("a"),
        UsageReport(prompt_tokens=9),
        Finish(FinishReason.STOP),
    ]


def test_groq_says_why_it_stopped_early() -> None:
    (failure,) = _deltas(sse({"x_groq": {"id": "req_1", "error": "over capacity"}, "choices": []}))
    assert isinstance(failure, Failure)
    assert "over capacity" in failure.error.message


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity"])
def test_a_number_that_is_none_costs_nobody_the_answer(number: str) -> None:
    last = b'{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"cost":%b}}'
    assert _deltas(sse(last % number.encode())) == [
        TextDelta("a"),
        UsageReport(prompt_tokens=9),
        Finish(FinishReason.STOP),
    ]


def test_timings_fill_what_usage_does_not_report() -> None:
    timings = {"cache_n": 5, "prompt_n": 4, "prompt_ms": 1.5, "predicted_n": 3, "predicted_ms": 2}
    assert _deltas(sse(chunk("stop"), {"usage": {"completion_tokens": 7}, "timings": timings}))[0] == UsageReport(
        prompt_tokens=9, cached_tokens=5, output_tokens=7, prompt_ms=1.5, output_ms=2.0
    )


@pytest.mark.parametrize(
    "thought",
    [
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm."},
        {"thinking": "Hm."},
        {"reasoning_text": "Hm."},
        {"reasoning_content": [{"type": "text", "text": "Hm."}]},
        {"reasoning": {"content": "Hm."}},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}]},
        {"reasoning_content": "Hm.", "reasoning": "Hm."},
    ],
    ids=str,
)
def test_thoughts_are_found_in_whichever_field(thought: dict[str, Any]) -> None:
    deltas = _deltas(sse(chunk(**thought)))
    assert [delta.text for delta in deltas if isinstance(delta, ThinkingDelta)] == ["Hm."]


@pytest.mark.parametrize("name", ["", " ", None])
def test_a_call_without_a_name_is_of_no_tool(name: str | None) -> None:
    deltas = _deltas(sse(chunk(tool_calls=[{"index": 0, "function": {"name": name, "arguments": "{}"}}])))
    assert [delta.name for delta in deltas if isinstance(delta, ToolCallStart)] == [NO_NAME]


@pytest.mark.parametrize("words", ["", "<thought>Hm.</thought>"])
def test_geminis_answer_without_a_word_is_a_call_that_it_could_not_read(words: str) -> None:
    tool = {"name": "Bash", "input_schema": {"type": "object"}}
    output = sse(chunk(content=words), chunk("stop"))
    last = answered([output], a_request(tools=[tool]), profile=GEMINI)[-1]
    assert isinstance(last, ErrorEvent)
    assert "can't read" in last.error.message
    assert not isinstance(answered([output], a_request(), profile=GEMINI)[-1], ErrorEvent)
    assert not isinstance(answered([output], a_request(tools=[tool]), profile=OPENAI)[-1], ErrorEvent)
