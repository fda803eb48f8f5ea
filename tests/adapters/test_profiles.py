"""Each side of every flag of a profile, by what goes upstream."""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec
import pytest
from msgspec.structs import fields, replace

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters import engine_profiles as profiles
from claude_bridge.adapters.engine_profiles import FAMILIES
from claude_bridge.attachments.prepare import Attachments
from claude_bridge.attachments.public_web import FetchError, WebDocument
from claude_bridge.conversion.profile import PARTS, ChatProfile, Family, OllamaProfile, Profile
from claude_bridge.conversion.response.assembler import UNSIGNED
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.data_files import read_rows
from claude_bridge.wire.anthropic import (
    DocumentBlock,
    ImageBlock,
    MessagesRequest,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)
from claude_bridge.wire.anthropic_answers import AnswerBlock
from tests.dialogues import OLLAMA_CHAT, a_request, answered, call, chunk, folded, sent, sent_body, sse
from tests.pdfs import as_base64, pdf

ROWS = list(profiles.PROFILES.values())

TOOL = {"name": "Read", "input_schema": {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}}
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
GO = {"role": "user", "content": "go"}
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Read", "input": {}}]}


def _with(**flags: Any) -> Profile:
    return profiles.UNKNOWN.with_changes(flags)


def _both(request: MessagesRequest, **flags: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what goes upstream without and with the flags."""
    return sent_body(request), sent_body(request, _with(**flags))


def _losses(request: MessagesRequest, **flags: Any) -> list[str]:
    return [loss.path for loss in sent(request, _with(**flags))[1]]


def _to_ollama(request: MessagesRequest, **flags: Any) -> dict[str, Any]:
    return sent_body(request, profiles.OLLAMA.with_changes(flags), kind=OLLAMA_CHAT)


def test_max_tokens_field() -> None:
    without, having = _both(a_request(max_tokens=9), max_tokens_field="max_completion_tokens")
    assert (without["max_tokens"], having["max_completion_tokens"]) == (9, 9)
    assert "max_tokens" not in having


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_field(field: str) -> None:
    thought = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "thinking", "thinking": ""},
        {"type": "text", "text": "a"},
    ]
    request = a_request(messages=[GO, {"role": "assistant", "content": thought}, {"role": "user", "content": "b"}])
    without, having = _both(request, reasoning_field=field)
    assert without["messages"][1] == {"role": "assistant", "content": "a"}
    assert having["messages"][1] == {"role": "assistant", "content": "a", field: "hm"}


def test_reasoning_placeholder() -> None:
    output = {"role": "assistant", "content": "a"}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]}
    request = a_request(messages=[GO, output, GO, CALL, result])
    _, having = _both(request, reasoning_field="reasoning_content", reasoning_placeholder=" ")
    assert "reasoning_content" not in having["messages"][1], "only calls need one"
    assert having["messages"][3]["reasoning_content"] == " "


def _echoed(profile: Profile, *chunks: Any) -> dict[str, Any]:
    """Return the assistant's message that goes back after the engine has said these chunks."""
    content = msgspec.json.decode(msgspec.json.encode(folded(answered([sse(*chunks)], profile=profile)).content))
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "r"}
        for block in content
        if block["type"] == "tool_use"
    ]
    client_request = [{"role": "user", "content": "a"}, {"role": "assistant", "content": content}]
    request = a_request(messages=[*client_request, {"role": "user", "content": results or "b"}])
    message: dict[str, Any] = sent_body(request, profile)["messages"][1]
    return message


def test_opaque_reasoning() -> None:
    details = [
        {"type": "reasoning.text", "text": "Hm.", "signature": "s", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "xyz", "format": "openai-responses-v1", "index": 1},
    ]
    output = (chunk(reasoning="Hm.", reasoning_details=details), chunk(content="Hi"), chunk("stop"))
    profile = _with(opaque_reasoning="reasoning_details", reasoning_field="reasoning")
    assert _echoed(profile, *output) == {"role": "assistant", "content": "Hi", "reasoning_details": details}
    plain = _with(reasoning_field="reasoning")
    assert _echoed(plain, *output) == {"role": "assistant", "content": "Hi", "reasoning": "Hm."}


def _signed_call(index: int, signature: str | None) -> dict[str, Any]:
    extra = {} if signature is None else {"extra_content": {"google": {"thought_signature": signature}}}
    return call("{}", index=index, id=f"c{index}", name="Read", **extra)


def test_thought_signature() -> None:
    profile = _with(opaque_reasoning="thought_signature", thought_signature="dummy")

    def signatures(*chunks: Any) -> list[Any]:
        message = _echoed(profile, *chunks, chunk("tool_calls"))
        return [
            made.get("extra_content", {}).get("google", {}).get("thought_signature") for made in message["tool_calls"]
        ]

    assert signatures(_signed_call(0, "s0"), _signed_call(1, None)) == ["s0", None]
    assert signatures(_signed_call(0, None), _signed_call(1, "s1")) == [None, "s1"]
    assert signatures(_signed_call(0, None), _signed_call(1, None)) == ["dummy", None], "of another model"


def test_opaque_reasoning_goes_to_no_other_engine() -> None:
    sealer = _with(opaque_reasoning="reasoning_details")
    details = [{"type": "reasoning.encrypted", "data": "xyz"}]
    output = [sse(chunk(reasoning_details=details), chunk(content="Hi"), chunk("stop"))]
    content = msgspec.json.decode(msgspec.json.encode(folded(answered(output, profile=sealer)).content))
    assert [block["type"] for block in content] == ["redacted_thinking", "text"]
    request = a_request(messages=[{"role": "assistant", "content": content}, {"role": "user", "content": "b"}])
    assert sent_body(request)["messages"][-2] == {"role": "assistant", "content": "Hi"}
    assert _losses(request) == ["$.messages[0].content[0]"]
    assert _losses(request, opaque_reasoning="reasoning_details") == []


# --- thinking -------------------------------------------------------------------------------------------------

ADAPTIVE = {"type": "adaptive"}
OFF = {"type": "disabled"}
BUDGET = {"type": "enabled", "budget_tokens": 2048}


def _thinking(thinking: Any, effort: str | None = None, **flags: Any) -> dict[str, Any]:
    """Return the fields that tell of thinking."""
    fields = {} if thinking is None else {"thinking": thinking}
    body = sent_body(a_request(output_config={"effort": effort}, **fields), _with(**flags))
    return {key: body[key] for key in body if key not in sent_body(a_request())}


LEVELS = ("low", "medium", "high")
THINK = ("<think>", "</think>")


@pytest.mark.parametrize(
    ("thinking", "effort", "levels", "reported"),
    [
        (ADAPTIVE, "max", ("low", "medium"), {"reasoning_effort": "medium"}),
        (ADAPTIVE, "low", ("none", "high"), {"reasoning_effort": "high"}),
        (ADAPTIVE, None, LEVELS, {}),
        (BUDGET, None, LEVELS, {"reasoning_effort": "low"}),
        (None, "high", LEVELS, {"reasoning_effort": "low"}),
        (None, "high", ("none", *LEVELS), {"reasoning_effort": "none"}),
        (OFF, None, ("none", *LEVELS), {"reasoning_effort": "none"}),
    ],
)
def test_effort_levels(thinking: Any, effort: str | None, levels: tuple[str, ...], reported: dict[str, Any]) -> None:
    assert _thinking(thinking, effort) == {}
    assert _thinking(thinking, effort, effort_levels=levels) == reported


def test_effort_beside_tools() -> None:
    fields = {"thinking": ADAPTIVE, "output_config": {"effort": "high"}, "tools": [TOOL]}
    flags: dict[str, Any] = {"effort_levels": ("none", *LEVELS), "effort_beside_tools": "none"}
    assert sent_body(a_request(**fields), _with(**flags))["reasoning_effort"] == "none"
    assert _losses(a_request(**fields), **flags) == ["$.thinking"]
    assert sent_body(a_request(**fields | {"tools": []}), _with(**flags))["reasoning_effort"] == "high"
    assert sent_body(a_request(tools=[TOOL]), _with(**flags))["reasoning_effort"] == "none"


def test_thinks_unasked() -> None:
    levels = ("none", "low", "medium", "high")
    assert _thinking(ADAPTIVE, effort_levels=levels) == {}
    assert _thinking(ADAPTIVE, effort_levels=levels, thinks_unasked=False) == {"reasoning_effort": "medium"}


@pytest.mark.parametrize(
    ("place", "on", "off"),
    [
        ("reasoning_effort", {"reasoning_effort": "high"}, {}),
        ("reasoning", {"reasoning": {"effort": "high"}}, {}),
        ("chat_template_kwargs", {"chat_template_kwargs": {"reasoning_effort": "high"}}, {}),
    ],
)
def test_effort_place(place: Any, on: dict[str, Any], off: dict[str, Any]) -> None:
    flags = {"effort_levels": LEVELS, "effort_place": place}
    assert _thinking(ADAPTIVE, "high", **flags) == on
    switch = {"thinking_switch": "thinking"}
    assert _thinking(ADAPTIVE, "high", **flags, **switch) == on | {"thinking": {"type": "enabled"}}
    assert _thinking(OFF, **flags, **switch) == {"thinking": {"type": "disabled"}}, "the switch says enough"


@pytest.mark.parametrize(
    ("switch", "on", "off"),
    [
        (
            "chat_template_kwargs",
            {"chat_template_kwargs": {"enable_thinking": True}},
            {"chat_template_kwargs": {"enable_thinking": False}},
        ),
        ("thinking", {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}),
        ("reasoning", {"reasoning": {"enabled": True}}, {"reasoning": {"enabled": False}}),
    ],
)
def test_thinking_switch(switch: Any, on: dict[str, Any], off: dict[str, Any]) -> None:
    assert _thinking(ADAPTIVE, thinking_switch=switch) == on
    assert _thinking(OFF, thinking_switch=switch) == off
    assert _thinking(None, "high", thinking_switch=switch) == off, "helper requests name an effort all the same"


def test_a_switch_and_a_level_stand_in_one_object() -> None:
    flags = {"thinking_switch": "reasoning", "effort_levels": LEVELS, "effort_place": "reasoning"}
    assert _thinking(ADAPTIVE, "high", **flags) == {"reasoning": {"enabled": True, "effort": "high"}}
    flags = {"thinking_switch": "chat_template_kwargs", "effort_levels": LEVELS, "effort_place": "chat_template_kwargs"}
    assert _thinking(ADAPTIVE, "high", **flags) == {
        "chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "high"}
    }


def test_switch_name() -> None:
    reported = _thinking(ADAPTIVE, thinking_switch="chat_template_kwargs", switch_name="thinking")
    assert reported == {"chat_template_kwargs": {"thinking": True}}


def test_budget_place() -> None:
    assert _thinking(BUDGET, budget_place="thinking_budget_tokens") == {"thinking_budget_tokens": 2048}
    reported = _thinking(BUDGET, budget_place="reasoning", effort_levels=LEVELS, effort_place="reasoning")
    assert reported == {"reasoning": {"max_tokens": 2048}}, "in place of a level"
    assert _thinking(ADAPTIVE, budget_place="thinking_budget_tokens") == {}


@pytest.mark.parametrize(
    ("thinking", "effort", "flags", "lost"),
    [
        (ADAPTIVE, "high", {}, ["$.output_config.effort"]),
        (ADAPTIVE, "high", {"thinking_switch": "thinking"}, ["$.output_config.effort"]),
        (ADAPTIVE, "high", {"effort_levels": LEVELS}, []),
        (ADAPTIVE, None, {}, []),
        (None, "high", {}, []),
        (BUDGET, None, {}, ["$.thinking.budget_tokens"]),
        (BUDGET, None, {"effort_levels": LEVELS}, []),
        (BUDGET, None, {"budget_place": "reasoning"}, []),
        (OFF, None, {"effort_levels": LEVELS}, ["$.thinking"]),
        (None, None, {"effort_levels": LEVELS}, []),
        (OFF, None, {"effort_levels": LEVELS, "thinking_switch": "thinking"}, []),
        (OFF, None, {"effort_levels": ("none", "low")}, []),
    ],
)
def test_what_of_thinking_is_lost_is_reported(
    thinking: Any, effort: str | None, flags: dict[str, Any], lost: list[str]
) -> None:
    fields = {} if thinking is None else {"thinking": thinking}
    assert _losses(a_request(output_config={"effort": effort}, **fields), **flags) == lost


def test_think_tags() -> None:
    events = answered(
        [sse(chunk(content="[THINK]a[/THINK]b"), chunk("stop"))], profile=_with(think_tags=(("[THINK]", "[/THINK]"),))
    )
    assert folded(events).content == [ThinkingBlock("a", UNSIGNED), TextBlock("b")]


@pytest.mark.parametrize(
    ("thinking", "flags", "inside"),
    [
        (ADAPTIVE, {"thinking_switch": "chat_template_kwargs"}, True),
        (OFF, {"thinking_switch": "chat_template_kwargs"}, False),
        (OFF, {}, True),
    ],
    ids=["switched on", "switched off", "no switch"],
)
def test_opens_in_thinking(thinking: Any, flags: dict[str, Any], inside: bool) -> None:
    profile = _with(opens_in_thinking=True, **flags)
    output = [sse(chunk(content="a</think>b"), chunk("stop"))]
    content = folded(answered(output, a_request(thinking=thinking), profile=profile)).content
    assert content == ([ThinkingBlock("a", UNSIGNED), TextBlock("b")] if inside else [TextBlock("a</think>b")])


def _streamed(*pieces: str, **flags: Any) -> list[AnswerBlock]:
    output = [sse(*(chunk(content=piece) for piece in pieces), chunk("stop"))]
    return folded(answered(output, profile=_with(**flags))).content


def test_always_thinks() -> None:
    pieces = ("There is", " a 1.</think>", "It holds a 1.")
    assert _streamed(*pieces, opens_in_thinking=True, always_thinks=True) == [
        ThinkingBlock("There is a 1.", UNSIGNED),
        TextBlock("It holds a 1."),
    ]
    assert _streamed(*pieces, opens_in_thinking=True) == [TextBlock("There is a 1.It holds a 1.")]
    assert _streamed("Hello ", "there.", opens_in_thinking=True, always_thinks=True) == [TextBlock("Hello there.")]


def test_speaks_harmony() -> None:
    assert _streamed("four<|ret", "urn|>", speaks_harmony=True) == [TextBlock("four")]
    assert _streamed("four<|ret", "urn|>") == [TextBlock("four<|return|>")]


def test_call_format() -> None:
    call = (
        '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="Bash">\n<｜DSML｜parameter name="command" string="true">ls'
        "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>"
    )
    output = [sse(chunk(content=f"I look:\n\n{call}"), chunk("stop"))]
    request = a_request(tools=[{"name": "Bash", "input_schema": {"type": "object"}}])
    shown = folded(answered(output, request)).content
    meant = folded(answered(output, request, profile=_with(call_format="DSML"))).content
    assert [type(block) for block in shown] == [TextBlock]
    assert [type(block) for block in meant] == [TextBlock, ToolUseBlock]


def test_switch_values() -> None:
    flags: dict[str, Any] = {"thinking_switch": "chat_template_kwargs", "switch_name": "mode"}
    flags["switch_values"] = ("never", "always")
    assert _thinking(ADAPTIVE, **flags) == {"chat_template_kwargs": {"mode": "always"}}
    assert _thinking(None, **flags) == {"chat_template_kwargs": {"mode": "never"}}


@pytest.mark.parametrize(
    ("thinking", "reported"), [({"type": "adaptive"}, True), ({"type": "disabled"}, False), (None, False)]
)
def test_thinks(thinking: Any, reported: bool) -> None:
    request = a_request(thinking=thinking)
    assert "think" not in _to_ollama(request)
    assert _to_ollama(request, thinks=True)["think"] is reported


@pytest.mark.parametrize(
    ("thinking", "reported"),
    [
        ({"type": "adaptive"}, "medium"),
        ({"type": "disabled"}, "low"),
        (None, "low"),
        ({"type": "enabled", "budget_tokens": 2048}, "low"),
        ({"type": "enabled", "budget_tokens": 30_000}, "high"),
    ],
)
def test_think_levels(thinking: Any, reported: str) -> None:
    levels = ("low", "medium", "high")
    request = a_request(thinking=thinking)
    assert _to_ollama(request, thinks=True, think_levels=levels)["think"] == reported
    assert "think" not in _to_ollama(request, think_levels=levels), "the model can't think"


def test_keep_alive() -> None:
    assert _to_ollama(a_request())["keep_alive"] == "30m"
    assert _to_ollama(a_request(), keep_alive="-1m")["keep_alive"] == "-1m"


def test_sees_images() -> None:
    request = a_request(messages=[{"role": "user", "content": [IMAGE]}])
    seeing, blind = _both(request, sees_images=False)
    assert seeing["messages"][0]["content"][0]["type"] == "image_url"
    assert blind["messages"][0]["content"] == "[image omitted: the model cannot see images]"
    assert _losses(request, sees_images=False) == ["$.messages[0].content[0]"]


def test_images_in_tool_results() -> None:
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}]}
    without, having = _both(a_request(messages=[GO, CALL, result]), images_in_tool_results=True)
    assert [message["role"] for message in without["messages"]] == ["user", "assistant", "tool", "user"]
    assert isinstance(without["messages"][2]["content"], str)
    assert [message["role"] for message in having["messages"]] == ["user", "assistant", "tool"]
    assert having["messages"][2]["content"][0]["type"] == "image_url"


def test_continues_prefill() -> None:
    request = a_request(messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    without, having = _both(request, continues_prefill=True)
    assert [message["role"] for message in without["messages"]] == ["user"]
    assert [message["role"] for message in having["messages"]] == ["user", "assistant"]


def test_user_follows_tool() -> None:
    result = [{"type": "tool_result", "tool_use_id": "t", "content": "r"}, {"type": "text", "text": "b"}]
    without, having = _both(
        a_request(messages=[GO, CALL, {"role": "user", "content": result}]), user_follows_tool=False
    )
    assert [message["role"] for message in without["messages"]] == ["user", "assistant", "tool", "user"]
    assert [message["role"] for message in having["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
    assert having["messages"][3] == {"role": "assistant", "content": "OK."}


def test_a_user_alone_and_a_tool_alone_are_left_alone() -> None:
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]}
    without, having = _both(a_request(messages=[GO, CALL, result]), user_follows_tool=False)
    assert without["messages"] == having["messages"]


def test_tool_id_length() -> None:
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]}
    _, having = _both(a_request(messages=[GO, CALL, result]), tool_id_length=9)
    _, call, answer = having["messages"]
    assert call["tool_calls"][0]["id"] == answer["tool_call_id"]
    assert re.fullmatch("[a-zA-Z0-9]{9}", answer["tool_call_id"])


def test_numbers_tool_ids() -> None:
    calls = [{"type": "tool_use", "id": f"t{number}", "name": "mcp.Read", "input": {}} for number in range(2)]
    messages = [GO, {"role": "assistant", "content": calls}, GO, CALL, GO]
    _, having = _both(a_request(messages=messages), numbers_tool_ids=True)
    ids = [call["id"] for message in having["messages"] for call in message.get("tool_calls", ())]
    answered_ids = [message["tool_call_id"] for message in having["messages"] if message["role"] == "tool"]
    name = engine_name("mcp.Read")
    assert ids == answered_ids == [f"functions.{name}:0", f"functions.{name}:1", "functions.Read:2"]


def test_max_images() -> None:
    request = a_request(messages=[{"role": "user", "content": [IMAGE, IMAGE, IMAGE]}])
    without, having = _both(request, max_images=2)
    assert [part["type"] for part in without["messages"][0]["content"]] == ["image_url"] * 3
    assert [part["type"] for part in having["messages"][0]["content"]] == ["text", "image_url", "image_url"]
    assert _losses(request, max_images=2) == ["$.messages"]
    assert _losses(request, max_images=3) == []


@pytest.mark.parametrize(("name", "value"), [("temperature", 0.3), ("top_p", 0.9)])
def test_refuses(name: str, value: float) -> None:
    without, having = _both(a_request(**{name: value}), refuses=(name,))
    assert without[name] == value
    assert name not in having
    assert _losses(a_request(**{name: value}), refuses=(name,)) == [f"$.{name}"]
    assert _losses(a_request(**{name: 1}), refuses=(name,)) == [], "which is what it does anyway"


FORCED = {"type": "tool", "name": "Read"}
OTHER_TOOL = {"name": "Bash", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("choice", "forms", "reported", "tools", "words"),
    [
        ({"type": "any"}, ("required", "named"), "required", 2, None),
        ({"type": "any"}, ("required",), "required", 2, None),
        ({"type": "any"}, (), None, 2, "Answer by calling one of your tools, not with text alone."),
        (FORCED, ("required",), "required", 1, None),
        (FORCED, (), None, 1, "Answer by calling the tool Read, not with text alone."),
        ({"type": "auto"}, ("required",), "auto", 2, None),
        ({"type": "auto"}, (), None, 2, None),
    ],
)
def test_tool_choices(choice: Any, forms: Any, reported: str | None, tools: int, words: str | None) -> None:
    body = sent_body(a_request(tools=[TOOL, OTHER_TOOL], tool_choice=choice), _with(tool_choices=forms))
    assert body.get("tool_choice") == reported
    assert len(body["tools"]) == tools
    assert body["messages"][-1]["content"] == ("Hi" if words is None else f"Hi\n\n{words}")


@pytest.mark.parametrize("thinking", [ADAPTIVE, OFF])
def test_forces_while_thinking(thinking: Any) -> None:
    request = a_request(tools=[TOOL], tool_choice=FORCED, thinking=thinking)
    without, having = _both(request, forces_while_thinking=False)
    assert without["tool_choice"]["function"] == {"name": "Read"}
    assert ("tool_choice" in having) == (thinking == OFF)


FORMAT = {"type": "json_schema", "schema": {"type": "object"}}


@pytest.mark.parametrize("kind", ["json_schema", "json_object", None])
def test_structured_output(kind: Any) -> None:
    request = a_request(output_config={"format": FORMAT})
    body = sent_body(request, _with(structured_output=kind))
    assert body.get("response_format", {}).get("type") == kind
    in_words = body["messages"][-1]["content"] != "Hi"
    assert in_words == (kind != "json_schema")
    assert _losses(request, structured_output=kind) == (["$.output_config.format"] if in_words else [])
    if in_words:
        assert body["messages"][-1]["content"].endswith('JSON Schema:\n{"type":"object"}')


@pytest.mark.parametrize("kind", ["openai-chat", OLLAMA_CHAT])
def test_an_older_clients_format_is_read_too(kind: str) -> None:
    new, old = a_request(output_config={"format": FORMAT}), a_request(output_format=FORMAT)
    assert sent_body(old, kind=kind) == sent_body(new, kind=kind) != sent_body(a_request(), kind=kind)


@pytest.mark.parametrize("tools", [[TOOL], []])
def test_structured_beside_tools(tools: list[Any]) -> None:
    request = a_request(output_config={"format": FORMAT}, tools=tools)
    without, having = _both(request, structured_beside_tools=False)
    assert "response_format" in without
    assert ("response_format" in having) == (not tools)


def test_has_stream_options() -> None:
    having, without = _both(a_request(), has_stream_options=False)
    assert having["stream_options"] == {"include_usage": True}
    assert "stream_options" not in without
    assert without["stream"] is True


def test_asks_for_cache() -> None:
    without, having = _both(a_request(), asks_for_cache=True)
    assert "cache_control" not in without
    assert having["cache_control"] == {"type": "ephemeral"}


def test_has_top_k() -> None:
    request = a_request(top_k=4)
    without, having = _both(request, has_top_k=True)
    assert "top_k" not in without
    assert having["top_k"] == 4
    assert (_losses(request), _losses(request, has_top_k=True)) == (["$.top_k"], [])


def test_reports_progress() -> None:
    without, having = _both(a_request(), reports_progress=True)
    assert "return_progress" not in without
    assert having["return_progress"] is True


def test_has_strict() -> None:
    closed = {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}
    request = a_request(tools=[{"name": "Read", "input_schema": closed, "strict": True}])
    without, having = _both(request, has_strict=True)
    assert "strict" not in without["tools"][0]["function"]
    assert having["tools"][0]["function"]["strict"] is True
    assert (_losses(request), _losses(request, has_strict=True)) == (["$.tools"], [])


def test_a_schema_that_can_not_be_held_to_is_not_sent_as_strict() -> None:
    request = a_request(tools=[TOOL | {"strict": True}, TOOL | {"name": "Edit", "strict": False}])
    read, edit = sent_body(request, _with(has_strict=True))["tools"]
    assert "strict" not in read["function"], "it would be refused"
    assert edit["function"]["strict"] is False
    assert _losses(request, has_strict=True) == ["$.tools"]


def test_has_parallel_switch() -> None:
    request = a_request(tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    without, having = _both(request, has_parallel_switch=True)
    assert "parallel_tool_calls" not in without
    assert having["parallel_tool_calls"] is False
    assert (_losses(request), _losses(request, has_parallel_switch=True)) == ([], []), (
        "the bridge holds the engine to it"
    )


@pytest.mark.parametrize(
    ("user_id", "fields"),
    [
        ('{"device_id":"d1","account_uuid":"a1","session_id":"s1"}', {"prompt_cache_key", "user"}),
        ('{"device_id":"d1"}', set()),
        ("user_d1_account_a1_session_s1", {"prompt_cache_key", "user"}),
        ("someone", {"user"}),
        ("[1]", {"user"}),
    ],
    ids=["Claude Code", "no session", "Claude Code 1", "plain", "other json"],
)
def test_user_field(user_id: str, fields: set[str]) -> None:
    request = a_request(metadata={"user_id": user_id})
    without, having = _both(request, user_field="user", session_field="prompt_cache_key")
    assert not {"user", "prompt_cache_key"} & set(without)
    assert {"user", "prompt_cache_key"} & set(having) == fields
    if "d1" in user_id:
        assert not any(secret in str(having) for secret in ("d1", "a1", "s1'")), "only a hash of the session"
    elif fields:
        assert having["user"] == user_id


@pytest.mark.parametrize("field", ["prompt_cache_key", "session_id", "user"])
def test_session_field(field: str) -> None:
    of_session = a_request(metadata={"user_id": '{"session_id":"s1"}'})
    of_another = a_request(metadata={"user_id": '{"session_id":"s2"}'})
    first, second = (sent_body(request, _with(session_field=field)) for request in (of_session, of_another))
    assert first[field] != second[field]
    assert first == sent_body(of_session, _with(session_field=field)) | {}
    assert field not in sent_body(a_request(metadata={"user_id": "someone"}), _with(session_field=field))


def test_prints_calls() -> None:
    request = a_request(tools=[TOOL])
    output = sse(
        chunk(content=f'<tool_call>{{"name": "{TOOL["name"]}", "arguments": {{}}}}</tool_call>'), chunk("stop")
    )
    never, perhaps = (folded(answered([output], request, profile=_with(prints_calls=on))) for on in (False, True))
    assert [type(block) for block in never.content] == [TextBlock]
    assert [type(block) for block in perhaps.content] == [ToolUseBlock]


def test_schema_dialect() -> None:
    schema = {"type": "json_schema", "schema": {"type": "string", "pattern": "x"}}
    request = a_request(tools=[TOOL], output_config={"format": schema})
    without, having = _both(request, schema_dialect="grammar")
    assert "pattern" in str(without["tools"][0]["function"]["parameters"]["properties"]["a"].keys())
    assert "pattern" not in having["tools"][0]["function"]["parameters"]["properties"]["a"]
    assert "pattern" in without["response_format"]["json_schema"]["schema"]
    assert "pattern" not in having["response_format"]["json_schema"]["schema"]


def _pictures(media_type: str, data: bytes) -> MessagesRequest:
    source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
    return a_request(messages=[{"role": "user", "content": [{"type": "image", "source": source}]}])


def test_unread_images() -> None:
    webp, png = b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n"
    without, having = _both(_pictures("image/png", webp), unread_images=("image/webp",))
    assert without["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/webp;")
    assert having["messages"][0]["content"] == "[image omitted: the engine can't read image/webp]"
    assert _losses(_pictures("image/webp", webp), unread_images=("image/webp",)) == ["$.messages[0].content[0]"]
    _, other = _both(_pictures("image/webp", png), unread_images=("image/webp",))
    assert other["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;")


async def _prepared(block: dict[str, Any], **flags: Any) -> tuple[Any, int]:
    """Return the block that stands in place of one, and how often the web was asked."""
    client_request = 0

    class NoWeb:
        async def fetch(self, url: str) -> WebDocument:
            nonlocal client_request
            client_request += 1
            raise FetchError(f"is not at {url}")

    request = a_request(messages=[{"role": "user", "content": [block]}])
    ready = await Attachments(web=NoWeb()).prepare(request, _with(**flags), None)
    return ready.request.messages[0].content[0], client_request


@pytest.mark.anyio
async def test_fetches_images() -> None:
    without, having = await _prepared(IMAGE), await _prepared(IMAGE, fetches_images=True)
    assert (type(without[0]), without[1]) == (TextBlock, 1)
    assert (type(having[0]), having[1]) == (ImageBlock, 0)


@pytest.mark.anyio
async def test_fetches_pdfs() -> None:
    document = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}, "title": "A"}
    without, having = await _prepared(document), await _prepared(document, fetches_pdfs=True, reads_pdfs=True)
    assert (type(without[0]), without[1]) == (TextBlock, 1)
    assert (type(having[0]), having[1]) == (DocumentBlock, 0)
    request = a_request(messages=[{"role": "user", "content": [document]}])
    plain, filed = _both(request, fetches_pdfs=True)
    assert "omitted" in plain["messages"][0]["content"]
    assert filed["messages"][0]["content"] == [
        {"type": "file", "file": {"filename": "A.pdf", "file_data": "https://example.com/a.pdf"}}
    ]


@pytest.mark.anyio
async def test_reads_pdfs() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": as_base64(pdf("Hello"))}
    document = {"type": "document", "source": source}
    without, having = await _prepared(document), await _prepared(document, reads_pdfs=True)
    assert "Hello" in repr(without[0])
    request = a_request(messages=[{"role": "user", "content": [document | {"context": "C"}]}])
    assert having[0] == a_request(messages=[{"role": "user", "content": [document]}]).messages[0].content[0]
    assert sent_body(request, _with(reads_pdfs=True))["messages"][0]["content"] == [
        {"type": "text", "text": "C"},
        {
            "type": "file",
            "file": {"filename": "document.pdf", "file_data": f"data:application/pdf;base64,{source['data']}"},
        },
    ]


def test_asks_for_thoughts() -> None:
    asks = {"google": {"thinking_config": {"include_thoughts": True}}}
    thinks = a_request(thinking={"type": "adaptive"}, output_config={"effort": "high"})
    assert sent_body(thinks, profiles.GEMINI)["extra_body"] == asks
    assert "extra_body" not in sent_body(a_request(), profiles.GEMINI)
    assert "extra_body" not in sent_body(thinks, profiles.profile_for(profiles.GEMINI, "gemini-2.0-flash"))


def test_every_flag_has_its_test_here() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    # These are for the window, for routing and for counting; tests/adapters/test_anthropic_messages.py and
    # test_openai_responses.py have the others.
    elsewhere = {"answer_needs_room", "name", "evidence", "ignores_model_name", "count_routes", *PARTS}
    elsewhere |= {"lists_all_models", "key_header", "keeps_tool_list", "files_in_tool_results", "empty_is_dropped_call"}
    facts = {field.name for kind in (Profile, ChatProfile, OllamaProfile) for field in fields(kind)}
    assert facts - elsewhere <= tested


def test_every_row_has_its_evidence() -> None:
    rows: list[Profile | Family] = [*ROWS, *FAMILIES]
    assert [row.name for row in rows if not row.evidence] == []


def test_every_row_has_known_fields_alone() -> None:
    kinds: tuple[type[msgspec.Struct], ...] = (Profile, *PARTS.values())
    known = {name for kind in kinds for name in kind.__struct_fields__} - PARTS.keys()
    known |= {"like", "unset", "owned_by", "hosts", "in_responses"}
    rows = read_rows("adapters/engine_profiles.toml")

    assert [name for name, row in rows.items() if not {*row, *row.get("unset", ())} <= known] == []


def test_rows_are_found_by_what_engines_call_themselves() -> None:
    assert profiles.engine_by_owner([None, "llamacpp"]) is profiles.LLAMA_CPP
    assert profiles.engine_by_owner(["vllm"]) is profiles.VLLM
    assert profiles.engine_by_owner(["someone", None]) is None


# --- families of models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_changes_fields_that_are_there_to_values_of_their_types(family: Family) -> None:
    all_kinds: tuple[type[msgspec.Struct], ...] = (Profile, *PARTS.values())
    kinds = {name: kind for kind in all_kinds for name in kind.__struct_fields__}
    for kind in {kinds[name] for name in family.changes}:
        changes = {name: value for name, value in family.changes.items() if kinds[name] is kind}
        required = {"name": "", "evidence": ""} if kind is Profile else {}
        msgspec.convert(required | changes, kind, strict=True)
    assert not set(family.changes) & {"name", "evidence", *PARTS}
    assert set(family.engines) <= {row.name for row in ROWS}


REASONS = {"refuses": ("temperature", "top_p")}

EXAMPLES: list[tuple[Profile, str, dict[str, Any]]] = [
    (profiles.OPENAI, "o3", REASONS | {"effort_levels": LEVELS, "has_parallel_switch": False}),
    (profiles.OPENAI, "openai/o4-mini-2025-04-16", REASONS | {"has_parallel_switch": False}),
    (profiles.OPENAI, "GPT-5", REASONS | {"effort_levels": ("minimal", *LEVELS), "has_parallel_switch": True}),
    (profiles.OPENAI, "gpt-5-mini-2025-08-07", {"effort_levels": ("minimal", *LEVELS)}),
    (profiles.OPENAI, "gpt-5.1", {"effort_levels": ("none", *LEVELS), "thinks_unasked": False}),
    (
        profiles.OPENAI,
        "gpt-5.4-mini",
        {"effort_beside_tools": "none", "effort_levels": ("none", *LEVELS, "xhigh")},
    ),
    (profiles.OPENAI, "gpt-5.10", {"effort_beside_tools": "none"}),
    (profiles.OPENAI, "gpt-5-chat-latest", {"effort_levels": (), "refuses": ()}),
    (profiles.OPENAI, "gpt-5.2-chat-latest", {"effort_levels": (), "refuses": (), "effort_beside_tools": None}),
    (profiles.OPENAI, "gpt-4o", {"effort_levels": (), "refuses": (), "has_parallel_switch": True}),
    (
        profiles.OPENROUTER,
        "openai/gpt-5.4",
        REASONS | {"thinking_switch": "reasoning", "effort_place": "reasoning"},
    ),
    (profiles.OPENROUTER, "openai/gpt-5", REASONS | {"thinking_switch": None}),
    (profiles.OPENROUTER, "openai/gpt-5-chat", {"refuses": (), "thinking_switch": "reasoning"}),
    (profiles.OPENROUTER, "openai/gpt-oss-120b", {"effort_levels": LEVELS, "effort_place": "reasoning"}),
    (
        profiles.OPENROUTER,
        "anthropic/claude-sonnet-4.6",
        {"asks_for_cache": True, "thinking_switch": "reasoning"},
    ),
    (profiles.OPENROUTER, "deepseek/deepseek-r1-0528", {"thinking_switch": None, "asks_for_cache": False}),
    (profiles.OPENROUTER, "qwen/qwen3-coder", {"thinking_switch": "reasoning"}),
    (profiles.OPENROUTER, "mistralai/devstral-medium", {"tool_id_length": 9, "user_follows_tool": False}),
    (profiles.OPENROUTER, "meta-llama/llama-4-maverick", {"thinking_switch": None, "effort_levels": ()}),
    (profiles.GROQ, "openai/gpt-oss-20b", {"effort_levels": LEVELS, "effort_place": "reasoning_effort"}),
    (profiles.GROQ, "qwen/qwen3-32b", {"effort_levels": ("none", "default"), "reasoning_field": "reasoning"}),
    (profiles.GROQ, "llama-3.3-70b-versatile", {"effort_levels": ()}),
    (profiles.DEEPSEEK, "deepseek-v4-pro", {"thinking_switch": "thinking", "effort_levels": ("high", "max")}),
    (profiles.DEEPSEEK, "deepseek-reasoner", {"thinking_switch": None, "tool_choices": (), "effort_levels": ()}),
    (profiles.DEEPSEEK, "deepseek-chat", {"thinking_switch": None, "tool_choices": ("required", "named")}),
    (profiles.MISTRAL, "mistral-small-latest", {"effort_levels": ("none", "high"), "thinks_unasked": False}),
    (profiles.MISTRAL, "mistral-small-2603", {"effort_levels": ("none", "high")}),
    (profiles.MISTRAL, "mistral-small-2506", {"effort_levels": ()}),
    (profiles.MISTRAL, "codestral-latest", {"effort_levels": (), "tool_id_length": 9}),
    (profiles.GEMINI, "gemini-2.5-flash", {"effort_levels": ("none", *LEVELS)}),
    (profiles.GEMINI, "gemini-3-pro-preview", {"effort_levels": LEVELS}),
    (profiles.GEMINI, "gemini-2.0-flash", {"effort_levels": ()}),
    (profiles.XAI, "grok-4.3", {"effort_levels": ("none", *LEVELS)}),
    (profiles.XAI, "grok-4.5", {"effort_levels": LEVELS}),
    (profiles.XAI, "grok-4.20-0309-reasoning", {"effort_levels": ()}),
    (profiles.MISTRAL, "magistral-medium-latest", {"effort_levels": ()}),
    (profiles.MOONSHOT, "kimi-k2.7-code-highspeed", {"thinking_switch": None, "tool_choices": ()}),
    (profiles.MOONSHOT, "kimi-k3", REASONS | {"effort_levels": ("low", "high", "max"), "thinking_switch": None}),
    (profiles.XAI, "grok-4-0709", {"effort_levels": ()}),
    (profiles.XAI, "grok-3-mini-fast", {"effort_levels": ("low", "high")}),
    (profiles.TOGETHER, "openai/gpt-oss-120b", {"thinking_switch": None, "effort_levels": LEVELS}),
    (profiles.TOGETHER, "moonshotai/Kimi-K2.6", {"thinking_switch": "reasoning"}),
    (profiles.FIREWORKS, "accounts/fireworks/models/gpt-oss-120b", {"effort_levels": LEVELS}),
    (profiles.FIREWORKS, "accounts/fireworks/models/llama-v3p1-8b-instruct", {}),
    (profiles.ZAI, "glm-4.7", {"thinking_switch": "thinking"}),
    (profiles.MOONSHOT, "kimi-k2.6", REASONS | {"thinking_switch": "thinking", "forces_while_thinking": False}),
    (profiles.MOONSHOT, "kimi-k2-thinking", {"thinking_switch": None, "tool_choices": (), "refuses": ()}),
    (
        profiles.LLAMA_CPP,
        "gpt-oss-20b-mxfp4.gguf",
        {"effort_place": "chat_template_kwargs", "thinking_switch": None},
    ),
    (profiles.LLAMA_CPP, "Qwen3-8B-Q4_K_M.gguf", {"switch_name": "enable_thinking", "opens_in_thinking": False}),
    (profiles.LLAMA_CPP, "Qwen3-Coder-30B-A3B-Instruct", {"thinking_switch": None, "budget_place": None}),
    (profiles.LLAMA_CPP, "DeepSeek-V3.1-Q2", {"switch_name": "thinking"}),
    (profiles.LLAMA_CPP, "gemma-3-27b-it", {"thinking_switch": None}),
    (profiles.LLAMA_CPP, "gemma-4-31b-it", {"thinking_switch": "chat_template_kwargs"}),
    (profiles.LLAMA_CPP, "Llama-3.3-Nemotron-Super-49B", {"thinking_switch": "chat_template_kwargs"}),
    (profiles.LLAMA_CPP, "Devstral-Small-2507", {"tool_id_length": 9, "thinking_switch": None}),
    (profiles.VLLM, "Qwen/Qwen3-235B-A22B-Thinking-2507", {"thinking_switch": None, "opens_in_thinking": True}),
    (profiles.VLLM, "Qwen/Qwen3.5-9B", {"thinking_switch": "chat_template_kwargs", "opens_in_thinking": True}),
    (profiles.VLLM, "Qwen/Qwen3.8-27B", {"effort_place": "chat_template_kwargs"}),
    (
        profiles.VLLM,
        "deepseek-ai/DeepSeek-R1-0528",
        {"opens_in_thinking": True, "always_thinks": True, "thinking_switch": None},
    ),
    (profiles.UNKNOWN, "deepseek-r1", {"opens_in_thinking": True, "always_thinks": False}),
    (profiles.UNKNOWN, "deepseek-ai/DeepSeek-V3.2", {"call_format": "DSML"}),
    (profiles.UNKNOWN, "qwen3.6-plus", {"opens_in_thinking": True, "always_thinks": False}),
    (profiles.UNKNOWN, "MiniMax-M3", {"opens_in_thinking": False, "always_thinks": False}),
    (
        profiles.LLAMA_CPP,
        "MiniMax-M3-Q2_K.gguf",
        {"switch_name": "thinking_mode", "thinking_switch": "chat_template_kwargs"},
    ),
    (profiles.VLLM, "openai/gpt-oss-20b", {"speaks_harmony": True}),
    (profiles.MINIMAX, "MiniMax-M3", {"thinking_switch": "thinking", "switch_values": ("disabled", "adaptive")}),
    (profiles.MINIMAX, "MiniMax-M2.7", {"thinking_switch": None}),
    (profiles.VLLM, "microsoft/Phi-4-mini-instruct", {"call_format": "Phi-4-mini"}),
    (profiles.VLLM, "moonshotai/Kimi-K2.5", {"switch_name": "thinking"}),
    (profiles.VLLM, "MiniMaxAI/MiniMax-M2.7", {"opens_in_thinking": True, "always_thinks": True}),
    (profiles.VLLM, "MiniMaxAI/MiniMax-M3", {"think_tags": (("<mm:think>", "</mm:think>"), THINK)}),
    (
        profiles.VLLM,
        "ByteDance-Seed/Seed-OSS-36B-Instruct",
        {"think_tags": (("<seed:think>", "</seed:think>"), THINK)},
    ),
    (profiles.VLLM, "google/gemma-4-26b-a4b-it", {"think_tags": (("<|channel>thought\n", "<channel|>"), THINK)}),
    (profiles.VLLM, "mistralai/Magistral-Small-2509", {"think_tags": (("[THINK]", "[/THINK]"), THINK)}),
    (profiles.LM_STUDIO, "mistralai/mixtral-8x7b", {"tool_id_length": 9}),
    (profiles.UNKNOWN, "qwq-32b", {"opens_in_thinking": True, "always_thinks": True}),
    (
        profiles.UNKNOWN,
        "azure/gpt-5-mini",
        REASONS | {"max_tokens_field": "max_completion_tokens", "effort_levels": ("minimal", *LEVELS)},
    ),
    (profiles.UNKNOWN, "o3-mini", REASONS | {"max_tokens_field": "max_completion_tokens", "effort_levels": LEVELS}),
    (profiles.UNKNOWN, "gpt-5.4", REASONS | {"effort_levels": ("none", *LEVELS, "xhigh"), "effort_beside_tools": None}),
    (profiles.UNKNOWN, "gpt-5-chat", {"max_tokens_field": "max_completion_tokens", "effort_levels": (), "refuses": ()}),
    (profiles.UNKNOWN, "gpt-4o", {"max_tokens_field": "max_tokens", "refuses": ()}),
    (profiles.UNKNOWN, "deepseek/deepseek-reasoner", {"tool_choices": ()}),
    (profiles.UNKNOWN, "foo3", {}),
]
"""Engine, model, and fields that this model has there."""


def _fact(profile: Profile, name: str) -> Any:
    holders = (profile, *(getattr(profile, part) for part in PARTS))
    return next(getattr(holder, name) for holder in holders if name in holder.__struct_fields__)


def test_a_fact_that_no_profile_has_can_not_be_changed() -> None:
    with pytest.raises(TypeError):
        profiles.UNKNOWN.with_changes({"has_top_q": True})


def test_a_family_refines_the_row_of_an_engine() -> None:
    for engine, model, facts in EXAMPLES:
        refined = profiles.profile_for(engine, model)
        assert {name: _fact(refined, name) for name in facts} == facts, f"{engine.name} {model}"


def test_every_family_has_an_example() -> None:
    def fits(family: Family, engine: Profile, model: str) -> bool:
        is_at_home = not family.engines or engine.name in family.engines
        return is_at_home and re.search(family.matches, model.lower()) is not None

    without = [family.name for family in FAMILIES if not any(fits(family, *example[:2]) for example in EXAMPLES)]
    assert without == []


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1", "foo3", "", "gpt-50"])
def test_another_model_leaves_the_row_as_it_is(model: str) -> None:
    assert profiles.profile_for(profiles.OPENAI, model) is profiles.OPENAI


def test_a_family_changes_nothing_at_engines_that_it_does_not_name() -> None:
    assert profiles.profile_for(profiles.VLLM, "gpt-5") is profiles.VLLM


@pytest.mark.parametrize(
    ("capabilities", "family", "row"),
    [
        (["completion", "tools", "thinking", "vision"], "qwen3", profiles.OLLAMA_THINKING),
        (["completion", "tools", "thinking", "vision"], "gptoss", profiles.OLLAMA_GPT_OSS),
        (["completion", "tools", "thinking"], "gptoss", replace(profiles.OLLAMA_GPT_OSS, sees_images=False)),
        (["completion", "vision"], "gemma3", profiles.OLLAMA),
        (["completion"], None, profiles.OLLAMA_BLIND),
        (None, "qwen3", profiles.OLLAMA),
    ],
    ids=["thinks and sees", "gpt-oss", "gpt-oss without eyes", "sees", "neither", "not told"],
)
def test_a_model_at_ollama_gets_its_row_by_its_capabilities(
    capabilities: list[str] | None, family: str | None, row: Profile
) -> None:
    assert profiles.ollama_profile(capabilities, family) == row


def test_the_registry_knows_each_adapter_by_its_kind() -> None:
    assert {kind: adapter.kind for kind, adapter in ADAPTERS.items()} == {
        "openai-chat": "openai-chat",
        "ollama-chat": "ollama-chat",
        "anthropic-messages": "anthropic-messages",
        "openai-responses": "openai-responses",
    }
