"""The ollama-chat adapter, beside its golden cases: parameters, losses, refusals and the end of streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from claude_bridge.adapters import OLLAMA_CHAT as ADAPTER
from claude_bridge.adapters import engine_profiles
from claude_bridge.adapters.base import TokenLimits
from claude_bridge.adapters.ollama_chat.errors import explain_refusal
from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.prompt.token_estimate import IMAGE_TOKENS, estimate_tokens
from claude_bridge.conversion.request.prompted_options import CALL_ANY_TOOL, CALL_THIS_TOOL
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.errors import InvalidRequestError, PromptTooLongError, UpstreamBrokenError, UpstreamError
from claude_bridge.wire.anthropic import MessagesRequest
from claude_bridge.wire.anthropic_codec import parse_count_tokens_request
from claude_bridge.wire.sse import MAX_FRAME_BYTES
from tests.dialogues import OLLAMA_CHAT, a_request, answered, line, ndjson, sent, sent_body, sent_messages

TOOLS = [{"name": "Read"}, {"name": "a.b"}]
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aa"}}


def _body(request: MessagesRequest, profile: Profile | None = None, **limits: Any) -> dict[str, Any]:
    return sent_body(request, profile, kind=OLLAMA_CHAT, limits=TokenLimits(**limits))


def _losses(request: MessagesRequest, profile: Profile | None = None, **limits: Any) -> list[str]:
    return [loss.path for loss in sent(request, profile, kind=OLLAMA_CHAT, limits=TokenLimits(**limits))[1]]


def _deltas(*reads: bytes) -> list[Delta]:
    decoder = ADAPTER.decoder("Ollama")
    return [delta for data in reads for delta in decoder.feed(data)] + decoder.close()


# --- requests -----------------------------------------------------------------------------------------------


def test_a_request_goes_to_ollamas_own_route_and_nothing_may_be_cut() -> None:
    outgoing, losses = sent(a_request(stream=False), kind=OLLAMA_CHAT)
    assert (outgoing.method, outgoing.path, losses) == ("POST", "/api/chat", [])
    body = msgspec.json.decode(outgoing.body)
    assert (body["stream"], body["truncate"], body["shift"]) == (True, False, False)


@pytest.mark.parametrize(
    ("limits", "reported", "lost"),
    [
        ({"max_output_tokens": 50}, 50, 1),
        ({"max_output_tokens": 100}, 100, 0),
        ({"window_tokens": 60}, 60, 1),
        ({"max_output_tokens": 50, "window_tokens": 60}, 50, 1),
        ({}, 100, 0),
    ],
)
def test_num_predict_is_lowered_to_what_model_and_window_can(limits: dict[str, int], reported: int, lost: int) -> None:
    request = a_request(max_tokens=100)
    assert _body(request, None, **limits)["options"]["num_predict"] == reported
    assert _losses(request, None, **limits) == ["$.max_tokens"] * lost


def test_whatever_is_asked_the_model_is_loaded_in_the_same_way() -> None:
    requests = [
        a_request(),
        a_request(max_tokens=9, temperature=1, tools=TOOLS),
        a_request(thinking={"type": "adaptive"}),
    ]
    loaders = [
        (body["options"]["num_ctx"], body["keep_alive"]) for body in (_body(r, window_tokens=4096) for r in requests)
    ]
    assert loaders == [(4096, "30m")] * 3


def test_the_window_is_left_to_ollama_where_it_is_not_known() -> None:
    assert "num_ctx" not in _body(a_request())["options"]


def test_a_count_of_tokens_is_encoded_too() -> None:
    request = parse_count_tokens_request(b'{"model":"m","messages":[{"role":"user","content":"a"}]}')
    assert "options" not in sent_body(request, kind=OLLAMA_CHAT)
    with_window = sent_body(request, kind=OLLAMA_CHAT, limits=TokenLimits(window_tokens=8))
    assert with_window["options"] == {"num_ctx": 8}


@pytest.mark.parametrize(
    ("choice", "names", "reported"),
    [
        (None, ["Read", engine_name("a.b")], None),
        ({"type": "auto"}, ["Read", engine_name("a.b")], None),
        ({"type": "any"}, ["Read", engine_name("a.b")], CALL_ANY_TOOL),
        ({"type": "tool"}, ["Read", engine_name("a.b")], CALL_ANY_TOOL),
        ({"type": "tool", "name": "a.b"}, [engine_name("a.b")], CALL_THIS_TOOL.format(name=engine_name("a.b"))),
        ({"type": "none"}, [], None),
    ],
    ids=["absent", "auto", "any", "tool without a name", "tool", "none"],
)
def test_tool_choice_is_done_with_what_ollama_has(choice: Any, names: list[str], reported: str | None) -> None:
    body = _body(a_request(tools=TOOLS, tool_choice=choice))
    assert [tool["function"]["name"] for tool in body.get("tools", [])] == names
    assert "tool_choice" not in body
    assert body["messages"][-1]["content"] == ("Hi" if reported is None else f"Hi\n\n{reported}")
    assert _losses(a_request(tools=TOOLS, tool_choice=choice)) == []


def test_an_instruction_leaves_the_prompt_before_it_as_it_was() -> None:
    output = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    free, forced = (
        sent_messages(*output, kind=OLLAMA_CHAT, tools=TOOLS, tool_choice=c) for c in (None, {"type": "any"})
    )
    assert forced[:-1] == free[:-1]
    assert forced[-1]["content"].startswith(free[-1]["content"])


def test_the_reference_has_the_instructions_word_for_word() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "conversion.md").read_text("utf-8")
    assert f"`{CALL_ANY_TOOL}`" in page
    assert f"`{CALL_THIS_TOOL.format(name='NAME')}`" in page


def test_a_forced_tool_that_is_not_declared_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"'Write'.*\$\.tool_choice\.name"):
        _body(a_request(tools=TOOLS, tool_choice={"type": "tool", "name": "Write"}))


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({"tools": [{"name": "Read", "strict": True}]}, ["$.tools"]),
        ({"tools": TOOLS, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, []),
        ({"output_config": {"format": {"type": "grammar"}}}, ["$.output_config.format"]),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, ["$.thinking.budget_tokens"]),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, ["$.output_config.effort"]),
        ({"output_config": {"effort": "low"}}, []),
        ({"top_k": 3, "top_p": 0.5, "temperature": 0, "stop_sequences": ["x"]}, []),
    ],
)  # fmt: skip
def test_what_is_lost_is_reported(fields: dict[str, Any], lost: list[str]) -> None:
    assert _losses(a_request(**fields)) == lost


def test_a_model_that_only_knows_levels_loses_nothing_but_off() -> None:
    client_request = a_request(thinking={"type": "enabled", "budget_tokens": 2048}, output_config={"effort": "low"})
    assert _losses(client_request, engine_profiles.OLLAMA_GPT_OSS) == []
    assert _losses(a_request(), engine_profiles.OLLAMA_GPT_OSS) == []
    assert _losses(a_request(thinking={"type": "disabled"}), engine_profiles.OLLAMA_GPT_OSS) == ["$.thinking"]


def test_images_go_as_bare_base64_and_addresses_as_placeholders() -> None:
    url = {"type": "image", "source": {"type": "url", "url": "https://e.com/a.png"}}
    request = a_request(messages=[{"role": "user", "content": [PNG, url, {"type": "text", "text": "What?"}]}])
    (message,) = _body(request)["messages"]
    assert message["images"] == ["aa"]
    assert message["content"] == "[image at https://e.com/a.png omitted: it can't be fetched]\n\nWhat?"
    assert _losses(request) == ["$.messages"]


def test_images_count_by_picture_in_the_estimate() -> None:
    def estimate(*images: dict[str, Any]) -> int:
        request = a_request(messages=[{"role": "user", "content": [*images, {"type": "text", "text": "What?"}]}])
        return estimate_tokens(sent(request, kind=OLLAMA_CHAT)[0].body)

    large = {"type": "image", "source": PNG["source"] | {"data": "a" * 1_000_000}}  # type: ignore[operator] # a dict
    assert IMAGE_TOKENS < estimate(PNG) == estimate(large) < IMAGE_TOKENS + 100
    assert estimate(PNG, large) - estimate(PNG) == pytest.approx(IMAGE_TOKENS, abs=2)
    text = '"role":"user","images":["' + "a" * 48_000 + '"]'
    assert estimate({"type": "text", "text": text}) > 10_000


def test_an_image_of_an_assistant_becomes_a_placeholder() -> None:
    output = {"role": "assistant", "content": [{"type": "text", "text": "a"}, PNG]}
    (_, message, _) = sent_messages(output, {"role": "user", "content": "b"}, kind=OLLAMA_CHAT)
    assert message["content"] == "a\n\n[image omitted]"


# --- answers ------------------------------------------------------------------------------------------------


def test_everything_in_one_line() -> None:
    call = {"id": "call_1", "function": {"name": "Read", "arguments": {"a": 1}}}
    assert _deltas(ndjson(line("stop", thinking="Hm", content="Hi", tool_calls=[call]) | {"eval_count": 3})) == [
        ThinkingDelta("Hm"),
        TextDelta("Hi"),
        ToolCallStart(0, "Read", "call_1"),
        ToolCallArguments(0, '{"a":1}'),
        ToolCallEnd(0),
        UsageReport(output_tokens=3),
        Finish(FinishReason.STOP),
    ]


def test_times_are_reported_in_milliseconds() -> None:
    last = line("stop") | {"prompt_eval_count": 9, "prompt_eval_duration": 1_500_000, "eval_duration": 2_000_000}
    last |= {"load_duration": 8_000_000_000}
    assert _deltas(ndjson(last))[0] == UsageReport(prompt_tokens=9, prompt_ms=1.5, output_ms=2.0, load_ms=8_000)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("", FinishReason.STOP),
    ],
)
def test_done_reasons(output: str, reason: FinishReason) -> None:
    assert _deltas(ndjson(line(output)))[-1] == Finish(reason)


@pytest.mark.parametrize(("output", "reason"), [("novelty", FinishReason.UNKNOWN), ("error", FinishReason.BROKEN)])
def test_a_done_reason_that_is_no_stop_keeps_its_word(output: str, reason: FinishReason) -> None:
    assert _deltas(ndjson(line(output)))[-1] == Finish(reason, word=output)


@pytest.mark.parametrize("output", ["load", "unload"])
def test_a_model_that_was_only_loaded_or_unloaded_did_not_answer(output: str) -> None:
    (failure,) = _deltas(ndjson(line(output)))
    assert isinstance(failure, Failure)
    assert f"{output}ed its model" in failure.error.message


def test_nothing_is_read_after_the_last_word() -> None:
    decoder = ADAPTER.decoder("Ollama")
    decoder.feed(ndjson(line("stop")))
    assert decoder.done
    assert decoder.finished
    assert decoder.feed(ndjson(line(content="more"))) == decoder.close() == []


def test_nothing_is_read_after_a_failure() -> None:
    decoder = ADAPTER.decoder("Ollama")
    (failure,) = decoder.feed(ndjson({"error": "no"}, line(content="more")))
    assert isinstance(failure, Failure)
    assert decoder.close() == []


@pytest.mark.parametrize("error", [None, False, "", {}, []])
def test_an_empty_error_is_none(error: Any) -> None:
    assert _deltas(ndjson(line("stop", content="a") | {"error": error}))[0] == TextDelta("a")


def test_an_answer_that_is_cut_inside_a_line_has_no_finish() -> None:
    assert _deltas(ndjson(line(content="a")), b'{"message":{"con') == [TextDelta("a")]


def test_an_answer_without_a_last_line_is_reported_with_its_usual_cause() -> None:
    text, failure = _deltas(ndjson(line(content="a")))
    assert text == TextDelta("a")
    assert isinstance(failure, Failure)
    assert "the same token more than 30 times" in failure.error.message


def test_blank_reads_do_not_decide_what_the_answer_is() -> None:
    assert _deltas(b"", b"\n", b"  ", ndjson(line(content="a")))[0] == TextDelta("a")


@pytest.mark.parametrize("beginning", [b"{", b"<html>", b"{\n"], ids=["line", "page", "document"])
def test_an_answer_may_not_grow_without_end(beginning: bytes) -> None:
    decoder = ADAPTER.decoder("Ollama")
    decoder.feed(beginning)
    piece = b"x" * 1_000_000
    for _ in range(MAX_FRAME_BYTES // len(piece)):
        decoder.feed(piece)
    with pytest.raises(UpstreamBrokenError, match="more than"):
        decoder.feed(piece)


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words", "reported", "error_type", "retry", "advice"),
    [
        (404, "model 'qwen3:8b' not found", 404, "not_found_error", False, "ollama pull qwen3:8b"),
        (404, 'model "x" not found, try pulling it first', 404, "not_found_error", False, "Get it: `ollama pull x`"),
        (400, "registry.ollama.ai/library/gemma:2b does not support tools", 424, "invalid_request_error", False,
         "`ollama show gemma:2b`"),
        (400, '"llama3.2" does not support thinking', 424, "invalid_request_error", False, "Switch thinking off"),
        (400, '"nomic-embed-text" does not support chat', 424, "invalid_request_error", False, "an embedding model"),
        (400, 'invalid think value: "xhigh" (must be "high", "medium", "low", "max", true, or false)', 424,
         "invalid_request_error", False, "another effort"),
        (400, "messages is required", 424, "invalid_request_error", False, "messages is required"),
        (401, "unauthorized", 401, "authentication_error", False, "Run: ollama signin"),
        (403, "ollama cloud is disabled: remote model is unavailable", 403, "permission_error", False,
         "unset OLLAMA_NO_CLOUD"),
        (499, "request canceled", 502, "api_error", None, "request canceled"),
        (503, "server busy, please try again.  maximum pending requests exceeded", 529, "overloaded_error", None,
         "OLLAMA_NUM_PARALLEL"),
        (503, "loading model", 503, "overloaded_error", None, "still loading"),
        (500, "timed out waiting for llama runner to start - progress 0.40 - ", 503, "overloaded_error", None,
         "still loading"),
        (500, "system message must be at the beginning", 502, "api_error", False, "upgrade"),
        (500, "model requires more system memory (9.1 GiB) than is available (5.2 GiB)", 502, "api_error", False,
         "smaller window"),
        (500, "llama runner process has terminated: exit status 2", 502, "api_error", None, "memory"),
        (500, "llama-server process has terminated: signal: killed", 502, "api_error", None, "memory"),
        (500, "an error was encountered while running the model: unexpected EOF", 502, "api_error", None, "memory"),
        (500, "llama-server reported out-of-memory during startup: x", 502, "api_error", False, "smaller window"),
        (500, "timed out waiting for llama-server to start - x", 503, "overloaded_error", None, "still loading"),
        (500, 'llama-server returned invalid tool call arguments for "Bash": unexpected end of JSON input', 502,
         "api_error", None, "--max-tokens"),
        (500, "something new", 502, "api_error", None, "something new"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_do(
    status: int, words: str, reported: int, error_type: str, retry: bool | None, advice: str
) -> None:
    body = msgspec.json.encode({"error": words, "signin_url": "https://ollama.com/connect?name=host&key=k"})
    error = ADAPTER.explain(status, {}, body, "Ollama at http://127.0.0.1:11434")
    assert (error.status, error.error_type, error.should_retry) == (reported, error_type, retry)
    assert advice in error.message
    assert error.message.startswith("Ollama at http://127.0.0.1:11434 ")
    assert "connect?name" not in error.message, "it names the user's machine and its key"


@pytest.mark.parametrize(
    "words",
    [
        "the prompt is longer than the context length currently available to the model; increase it",
        "the input length exceeds the context length",
        "input is too long: exceeds the available context size",
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_a_prompt_that_is_too_long_makes_the_client_compact(status: int, words: str) -> None:
    error = ADAPTER.explain(status, {}, msgspec.json.encode({"error": words}), "Ollama")
    assert isinstance(error, PromptTooLongError)


def test_an_error_of_llama_server_is_read_inside_ollamas_error() -> None:
    inner = {"code": 400, "message": "request (4010 tokens) exceeds the available context size (1024 tokens)"}
    error = ADAPTER.explain(400, {}, quoted(inner), "Ollama")
    assert error.message == "prompt is too long: 4010 tokens > 1024 maximum"

    inner["message"] = "Multimodal data provided, but model does not support multimodal requests."
    error = ADAPTER.explain(400, {}, quoted(inner), "Ollama")
    assert "400: Multimodal data provided" in error.message
    assert "the capability `vision`" in error.message


def quoted(inner: Any) -> bytes:
    """Return an error as Ollama hands on llama-server's: the document as text."""
    return msgspec.json.encode({"error": msgspec.json.encode({"error": inner}).decode()})


def test_another_server_on_the_port_is_reported_as_that() -> None:
    error = ADAPTER.explain(404, {}, b"404 page not found", "Ollama")
    assert (error.status, error.error_type) == (404, "not_found_error")
    assert "before /v1" in error.message


def test_the_wait_that_the_engine_asks_for_is_passed_on() -> None:
    error = ADAPTER.explain(503, {"retry-after": "7"}, b'{"error":"server busy"}', "Ollama")
    assert error.retry_after_s == 7
    assert ADAPTER.explain(503, {}, b'{"error":"loading model"}', "Ollama").retry_after_s == 2


def test_a_document_of_several_lines_keeps_its_blanks_wherever_it_is_cut() -> None:
    document = b'{"error":\n{"message": "too many  requests at once", "code": 429}}'
    whole = answered([document], kind=OLLAMA_CHAT)
    assert "too many requests at once" in str(whole[-1])
    for at in range(1, len(document)):
        assert answered([document[:at], document[at:]], kind=OLLAMA_CHAT) == whole


def test_an_address_without_ollamas_api_says_what_to_check() -> None:
    error = explain_refusal(404, {}, b"404 page not found", "The engine at http://127.0.0.1:9")
    assert isinstance(error, UpstreamError)
    assert (error.status, error.should_retry) == (404, False)
    assert error.message == (
        "The engine at http://127.0.0.1:9 has no /api/chat. Is it Ollama, and does --base-url end before /v1?"
    )
