"""What is found out of llama.cpp and LM Studio beyond their lists of models."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bridge.providers import PROVIDERS, Upstream, upstream_of
from claude_bridge.upstream.engines.discover import discover
from claude_bridge.upstream.engines.engine import Engine
from claude_bridge.upstream.engines.report import CAN_ONLY_CHAT
from tests.fake_upstream import FakeUpstream, Reply, document, json_document, model_list

pytestmark = pytest.mark.anyio


async def found(engine: FakeUpstream) -> Upstream:
    return await discover(Engine(upstream=upstream_of(PROVIDERS["openai"], base_url=engine.base_url, model="m")))


def llama_cpp(props: Reply) -> FakeUpstream:
    listed = model_list("m", owner="llamacpp", meta={"n_ctx": 16_384})
    return FakeUpstream(documents={"/v1/models": listed, "/props": props})


def reported(**fields: Any) -> Reply:
    return json_document(
        {
            "default_generation_settings": {"n_ctx": 8_192},
            "total_slots": 2,
            "modalities": {"vision": False},
            "chat_template_caps": {"supports_tools": True},
            **fields,
        }
    )


async def test_llama_cpp_reports_the_window_and_number_of_its_slots() -> None:
    async with llama_cpp(reported()) as engine:
        upstream = await found(engine)
    assert (upstream.window_tokens, upstream.slots) == (8_192, 2)
    assert upstream.notes == ("calls tools, sees no images",)


@pytest.mark.parametrize("sees", [True, False])
async def test_llama_cpp_reports_whether_its_model_sees(sees: bool) -> None:
    async with llama_cpp(reported(modalities={"vision": sees})) as engine:
        assert (await found(engine)).profile.sees_images is sees


async def test_a_template_without_tools_is_reported() -> None:
    async with llama_cpp(reported(chat_template_caps={"supports_tools": False})) as engine:
        assert CAN_ONLY_CHAT in (await found(engine)).notes


@pytest.mark.parametrize(
    "props",
    [
        pytest.param(document(b"<html>", content_type="text/html"), id="no JSON"),
        pytest.param(json_document({"error": {"code": 501}}, status=501), id="switched off"),
        pytest.param(json_document({"role": "router", "default_generation_settings": {"n_ctx": 0}}), id="a router"),
    ],
)
async def test_where_llama_cpp_reports_no_more_its_list_is_used(props: Reply) -> None:
    async with llama_cpp(props) as engine:
        upstream = await found(engine)
    assert (upstream.window_tokens, upstream.slots, upstream.notes) == (16_384, None, ())
    assert upstream.profile.sees_images


def lm_studio(path: str, models: Any) -> FakeUpstream:
    listed = model_list("m", owner="organization_owner")
    return FakeUpstream(documents={"/v1/models": listed, path: json_document(models)})


def studio_model(**fields: Any) -> dict[str, Any]:
    abilities = {"vision": False, "trained_for_tool_use": True, "reasoning": False}
    loaded = [{"id": "m", "config": {"context_length": 20_000}}]
    return {
        "key": "m",
        "type": "llm",
        "max_context_length": 40_960,
        "loaded_instances": loaded,
        "capabilities": abilities,
        **fields,
    }


async def test_lm_studio_reports_the_loaded_window_and_what_its_model_can_do() -> None:
    models = {"models": [studio_model(key="other"), studio_model()]}
    async with lm_studio("/api/v1/models", models) as engine:
        upstream = await found(engine)
    assert upstream.window_tokens == 20_000
    assert (upstream.profile.sees_images, upstream.profile.chat.effort_levels) == (False, ())
    assert upstream.notes == ("calls tools, sees no images",)


async def test_a_model_that_lm_studio_has_not_loaded_has_no_window_yet() -> None:
    async with lm_studio("/api/v1/models", {"models": [studio_model(loaded_instances=[])]}) as engine:
        assert (await found(engine)).window_tokens is None


async def test_an_older_lm_studio_reports_it_in_its_own_way() -> None:
    old = {"id": "m", "state": "loaded", "type": "vlm", "max_context_length": 40_960, "loaded_context_length": 9_000}
    async with lm_studio("/api/v0/models", {"data": [{**old, "capabilities": ["tool_use"]}]}) as engine:
        upstream = await found(engine)
    assert (upstream.window_tokens, upstream.profile.sees_images) == (9_000, True)
    assert upstream.notes == ("calls tools, sees images",)
