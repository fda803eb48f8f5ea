"""Each side of every flag of a profile, by what goes upstream."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import fields, replace

from claude_bridge.adapters import ADAPTERS, profiles
from claude_bridge.adapters.families import FAMILIES
from claude_bridge.conversion.profile import Family, Profile
from claude_bridge.wire.anthropic import MessagesRequest
from tests.dialogues import OLLAMA_CHAT, a_request, sent, sent_body

ROWS = [row for row in vars(profiles).values() if isinstance(row, Profile)]

TOOL = {"name": "Read", "input_schema": {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}}
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Read", "input": {}}]}


def _with(**flags: Any) -> Profile:
    return replace(profiles.UNKNOWN, **flags)


def _both(request: MessagesRequest, **flags: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what goes upstream without and with the flags."""
    return sent_body(request), sent_body(request, _with(**flags))


def _losses(request: MessagesRequest, **flags: Any) -> list[str]:
    return [loss.path for loss in sent(request, _with(**flags))[1]]


def _to_ollama(request: MessagesRequest, **flags: Any) -> dict[str, Any]:
    return sent_body(request, replace(profiles.OLLAMA, **flags), kind=OLLAMA_CHAT)


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
    request = a_request(messages=[{"role": "assistant", "content": thought}, {"role": "user", "content": "b"}])
    without, having = _both(request, reasoning_field=field)
    assert without["messages"][0] == {"role": "assistant", "content": "a"}
    assert having["messages"][0] == {"role": "assistant", "content": "a", field: "hm"}


def test_effort_levels() -> None:
    request = a_request(thinking={"type": "adaptive"}, output_config={"effort": "max"})
    without, having = _both(request, effort_levels=("low", "medium"))
    assert "reasoning_effort" not in without
    assert having["reasoning_effort"] == "medium"
    assert _losses(request) == ["$.output_config.effort"]
    assert _losses(request, effort_levels=("low",)) == []


def test_effort_levels_are_not_sent_where_the_engine_decides() -> None:
    assert "reasoning_effort" not in sent_body(a_request(thinking={"type": "adaptive"}), _with(effort_levels=("low",)))


@pytest.mark.parametrize(
    ("thinking", "enabled"), [({"type": "adaptive"}, True), ({"type": "disabled"}, False), (None, False)]
)
def test_thinking_switch(thinking: Any, enabled: bool) -> None:
    without, having = _both(a_request(thinking=thinking), thinking_switch=True)
    assert "chat_template_kwargs" not in without
    assert having["chat_template_kwargs"] == {"enable_thinking": enabled}


def test_a_budget_without_any_switch_is_a_loss() -> None:
    request = a_request(thinking={"type": "enabled", "budget_tokens": 2048})
    assert _losses(request) == ["$.thinking.budget_tokens"]
    assert _losses(request, thinking_switch=True) == []


@pytest.mark.parametrize(
    ("thinking", "told"), [({"type": "adaptive"}, True), ({"type": "disabled"}, False), (None, False)]
)
def test_thinks(thinking: Any, told: bool) -> None:
    request = a_request(thinking=thinking)
    assert "think" not in _to_ollama(request)
    assert _to_ollama(request, thinks=True)["think"] is told


@pytest.mark.parametrize(
    ("thinking", "told"),
    [
        ({"type": "adaptive"}, "medium"),
        ({"type": "disabled"}, "low"),
        (None, "low"),
        ({"type": "enabled", "budget_tokens": 2048}, "low"),
        ({"type": "enabled", "budget_tokens": 30_000}, "high"),
    ],
)
def test_think_levels(thinking: Any, told: str) -> None:
    levels = ("low", "medium", "high")
    request = a_request(thinking=thinking)
    assert _to_ollama(request, thinks=True, think_levels=levels)["think"] == told
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
    without, having = _both(a_request(messages=[CALL, result]), images_in_tool_results=True)
    assert [message["role"] for message in without["messages"]] == ["assistant", "tool", "user"]
    assert isinstance(without["messages"][1]["content"], str)
    assert [message["role"] for message in having["messages"]] == ["assistant", "tool"]
    assert having["messages"][1]["content"][0]["type"] == "image_url"


def test_continues_prefill() -> None:
    request = a_request(messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    without, having = _both(request, continues_prefill=True)
    assert [message["role"] for message in without["messages"]] == ["user"]
    assert [message["role"] for message in having["messages"]] == ["user", "assistant"]


def test_has_top_k() -> None:
    request = a_request(top_k=4)
    without, having = _both(request, has_top_k=True)
    assert "top_k" not in without
    assert having["top_k"] == 4
    assert (_losses(request), _losses(request, has_top_k=True)) == (["$.top_k"], [])


def test_has_strict() -> None:
    request = a_request(tools=[TOOL | {"strict": True}])
    without, having = _both(request, has_strict=True)
    assert "strict" not in without["tools"][0]["function"]
    assert having["tools"][0]["function"]["strict"] is True
    assert (_losses(request), _losses(request, has_strict=True)) == (["$.tools"], [])


def test_has_parallel_switch() -> None:
    request = a_request(tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    without, having = _both(request, has_parallel_switch=True)
    assert "parallel_tool_calls" not in without
    assert having["parallel_tool_calls"] is False
    assert (_losses(request), _losses(request, has_parallel_switch=True)) == (
        ["$.tool_choice.disable_parallel_tool_use"],
        [],
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
def test_has_user(user_id: str, fields: set[str]) -> None:
    without, having = _both(a_request(metadata={"user_id": user_id}), has_user=True)
    assert not {"user", "prompt_cache_key"} & set(without)
    assert {"user", "prompt_cache_key"} & set(having) == fields
    if "d1" in user_id:
        assert not any(secret in str(having) for secret in ("d1", "a1", "s1'")), "only a hash of the session"
    elif fields:
        assert having["user"] == user_id


def test_compiles_grammar() -> None:
    schema = {"type": "json_schema", "schema": {"type": "string", "pattern": "x"}}
    request = a_request(tools=[TOOL], output_config={"format": schema})
    without, having = _both(request, compiles_grammar=True)
    assert "pattern" in str(without["tools"][0]["function"]["parameters"]["properties"]["a"].keys())
    assert "pattern" not in having["tools"][0]["function"]["parameters"]["properties"]["a"]
    assert "pattern" in without["response_format"]["json_schema"]["schema"]
    assert "pattern" not in having["response_format"]["json_schema"]["schema"]


def test_every_flag_has_its_test_here() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    elsewhere = {"name", "evidence", "ignores_model_name", "messages"}  # the last two are for routing and relays
    assert {field.name for field in fields(Profile)} - elsewhere <= tested


@pytest.mark.parametrize("row", [*ROWS, *FAMILIES], ids=lambda row: row.name)
def test_every_row_has_its_evidence(row: Profile | Family) -> None:
    assert row.evidence


def test_rows_are_found_by_what_engines_call_themselves() -> None:
    assert profiles.engine_by_owner([None, "llamacpp"]) is profiles.LLAMA_CPP
    assert profiles.engine_by_owner(["vllm"]) is profiles.VLLM
    assert profiles.engine_by_owner(["someone", None]) is None


# --- families of models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_changes_fields_that_are_there_to_values_of_their_types(family: Family) -> None:
    msgspec.convert({"name": "", "evidence": "", **family.changes}, Profile, strict=True)
    assert set(family.changes) <= set(Profile.__struct_fields__) - {"name", "evidence"}
    assert set(family.engines) <= {row.name for row in ROWS}


@pytest.mark.parametrize("model", ["o3", "o4-mini", "gpt-5", "gpt-5.1", "gpt-5-mini", "openai/gpt-5", "GPT-5"])
def test_a_family_refines_the_row_of_an_engine(model: str) -> None:
    refined = profiles.profile_for(profiles.OPENAI, model)
    assert refined == replace(profiles.OPENAI, effort_levels=("low", "medium", "high"))


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
    }
