"""What is found out about an engine, as far as an HTTP client sees it."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from pytest_httpx import HTTPXMock

from claude_bridge.adapters.engine_profiles import (
    LLAMA_CPP,
    LM_STUDIO,
    OPENAI_RESPONSES,
    OPENROUTER,
    SGLANG,
    UNKNOWN,
    VLLM,
    profile_for,
)
from claude_bridge.conversion.pricing import FREE, Prices
from claude_bridge.conversion.profile import Profile
from claude_bridge.errors import SetupError, UpstreamError, UpstreamLoadingError, UpstreamUnreachableError
from claude_bridge.providers import PROVIDERS, Upstream, upstream_of
from claude_bridge.upstream.engines.discover import assumed, discover
from claude_bridge.upstream.engines.engine import Engine
from claude_bridge.upstream.engines.openai_compatible import base_url_candidates
from tests.fake_upstream import FakeUpstream, model_list

pytestmark = pytest.mark.anyio

HOST = "https://localhost:8000"
BASE_URL = f"{HOST}/v1"
KEY = "sk-very-secret-key"
HTML = "<!DOCTYPE html><html>Welcome</html>"


@pytest.fixture
def web(httpx_mock: HTTPXMock) -> HTTPXMock:
    """An unknown engine is asked whether it is an Ollama, LM Studio or llama.cpp; vLLM for its version."""
    others = ("/version", "/props", "/api/v1/models", "/api/v0/models")
    for path in (".*/api/version", *(f"https?://[^/]+{path}" for path in others)):
        httpx_mock.add_response(url=re.compile(f"{path}$"), status_code=404, is_optional=True, is_reusable=True)
    return httpx_mock


def models(*names: str, **fields: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model", **fields} for name in names]}


async def found(base_url: str = BASE_URL, *, model: str = "m", key: str | None = None) -> Upstream:
    upstream = upstream_of(PROVIDERS["openai"], base_url=base_url, model=model)
    return await discover(Engine(upstream=upstream, api_key=key, key_hint="Set OPENAI_API_KEY."))


async def mistake(base_url: str = BASE_URL, *, model: str = "m", key: str | None = None) -> SetupError:
    with pytest.raises(SetupError) as caught:
        await found(base_url, model=model, key=key)
    return caught.value


# --- the base URL ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "candidates"),
    [
        ("http://h", ["http://h/v1", "http://h"]),
        ("http://h/", ["http://h/v1", "http://h"]),
        ("http://h/v1", ["http://h/v1", "http://h"]),
        ("http://h/v1/", ["http://h/v1", "http://h"]),
        ("http://h/v1/v1", ["http://h/v1", "http://h"]),
        ("http://h/v1/chat/completions", ["http://h/v1", "http://h"]),
        ("http://h/v1/models", ["http://h/v1", "http://h"]),
        ("http://h/openai?api-version=1", ["http://h/openai?api-version=1", "http://h/openai/v1?api-version=1"]),
        ("https://h/api/paas/v4", ["https://h/api/paas/v4", "https://h/api/paas/v4/v1"]),
    ],
)
def test_a_base_url_may_be_meant_in_several_ways(given: str, candidates: list[str]) -> None:
    assert base_url_candidates(given) == candidates


@pytest.mark.parametrize("given", [HOST, f"{HOST}/", BASE_URL, f"{BASE_URL}/v1", f"{BASE_URL}/chat/completions"])
async def test_the_true_base_url_is_found(web: HTTPXMock, given: str) -> None:
    web.add_response(url=f"{BASE_URL}/models", json=models("m"))
    assert (await found(given)).base_url == BASE_URL


async def test_an_api_without_v1_is_found(web: HTTPXMock) -> None:
    web.add_response(url=f"{BASE_URL}/models", status_code=404, text="nothing")
    web.add_response(url=f"{HOST}/models", json=models("m"))
    assert (await found(HOST)).base_url == HOST


@pytest.mark.parametrize("path", ["/openai", "/openai/v1"])
async def test_a_query_stays_behind_the_path(path: str) -> None:
    async with FakeUpstream(documents={"/openai/v1/models?api-version=1": model_list("m")}) as engine:
        root = f"http://127.0.0.1:{engine.port}"
        upstream = await found(f"{root}{path}?api-version=1")
    assert upstream.base_url == f"{root}/openai/v1?api-version=1"


async def test_the_key_goes_along(web: HTTPXMock) -> None:
    web.add_response(json=models("m"), match_headers={"authorization": f"Bearer {KEY}"})
    assert (await found(key=KEY)).model == "m"


# --- what is wrong, and what to do ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param({"html": HTML}, "answers with a web page", id="web page"),
        pytest.param({"html": HTML, "status_code": 404}, "answers with a web page", id="web page, 404"),
        pytest.param({"json": {"status": "ok"}}, "no model list", id="other JSON"),
        pytest.param({"json": ["a"]}, "no model list", id="a list"),
        pytest.param({"text": "Ollama is running"}, "no model list", id="text"),
        pytest.param({"content": b"\xff\xfe"}, "no model list", id="bytes"),
        pytest.param({"status_code": 404, "text": "no"}, "answers 404", id="404"),
        pytest.param({"status_code": 405}, "answers 405", id="405"),
        pytest.param(
            {"status_code": 301, "headers": {"location": "https://localhost:8443/v1/models"}},
            "redirects to https://localhost:8443/v1/models", id="redirect",
        ),
    ],
)  # fmt: skip
async def test_what_is_no_api_is_reported(web: HTTPXMock, answer: dict[str, Any], words: str) -> None:
    web.add_response(url=f"{BASE_URL}/models", **answer)
    web.add_response(url=f"{HOST}/models", status_code=404)
    error = await mistake()
    assert error.what.startswith(f"{BASE_URL}/models ")
    assert words in error.what
    assert "--base-url" in error.hint
    assert ("http://localhost:11434 for Ollama" in error.hint) is ("redirects" not in words)


async def test_elsewhere_other_hints_are_given(web: HTTPXMock) -> None:
    web.add_response(url="https://engine.example/v1/models", html=HTML)
    web.add_response(url="https://engine.example/models", html=HTML)
    error = await mistake("https://engine.example/v1")
    assert error.hint == "Check --base-url. It usually ends in /v1."


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("key", "words"), [(KEY, "does not accept the key"), (None, "asks for a key, and none was given")]
)
async def test_a_wrong_key_is_reported_and_not_shown(web: HTTPXMock, status: int, key: str | None, words: str) -> None:
    web.add_response(status_code=status, json={"error": {"message": f"Incorrect API key: {KEY}"}})
    error = await mistake(key=key)
    assert words in error.what
    assert error.hint == ("Check the key, or use another one. Set OPENAI_API_KEY." if key else "Set OPENAI_API_KEY.")
    assert KEY not in error.what


async def test_a_wrong_key_without_a_common_form_is_not_shown_either(web: HTTPXMock) -> None:
    web.add_response(status_code=401, json={"error": {"message": "Incorrect API key: an-odd~key"}})
    assert "an-odd~key" not in (await mistake(key="an-odd~key")).what


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (503, {"error": {"message": "Loading model"}}, UpstreamLoadingError),
        (500, {"error": {"message": "oops"}}, UpstreamError),
        (429, {"error": {"message": "slow down"}}, UpstreamError),
    ],
)
async def test_a_passing_trouble_is_no_mistake_of_the_user(
    web: HTTPXMock, status: int, body: object, error: type[UpstreamError]
) -> None:
    web.add_response(status_code=status, json=body)
    with pytest.raises(error):
        await found()


async def test_an_engine_that_is_not_there_is_no_mistake_of_the_user(web: HTTPXMock) -> None:
    web.add_exception(httpx.ConnectError("refused"), is_reusable=True)
    with pytest.raises(UpstreamUnreachableError):
        await found()


# --- the model ------------------------------------------------------------------------------------------------


async def test_a_missing_model_is_reported_with_the_nearest_names(web: HTTPXMock) -> None:
    web.add_response(json=models("qwen3:1.7b", "qwen3:8b", "llama3.2:3b"))
    error = await mistake(model="qwen3:1.8b")
    assert error.what == f"The engine at {BASE_URL} has no model 'qwen3:1.8b'."
    assert error.hint.startswith("Nearest: qwen3:1.7b, qwen3:8b.")
    assert "--no-check" in error.hint


async def test_a_model_with_no_near_name_is_reported_what_there_is(web: HTTPXMock) -> None:
    web.add_response(json=models("qwen3:1.7b", "llama3.2:3b"))
    assert "It offers: qwen3:1.7b, llama3.2:3b." in (await mistake(model="zzz")).hint


async def test_the_only_model_is_chosen(web: HTTPXMock) -> None:
    web.add_response(json=models("only"))
    assert (await found(model="")).model == "only"


async def test_of_several_models_none_is_guessed(web: HTTPXMock) -> None:
    web.add_response(json=models("a", "b"))
    error = await mistake(model="")
    assert error.what == "No model was given."
    assert "The engine offers: a, b." in error.hint


async def test_an_engine_that_lists_nothing_has_no_model_to_guess(web: HTTPXMock) -> None:
    web.add_response(json=models())
    assert (await mistake(model="")).what.endswith(" lists no model.")


async def test_an_engine_that_lists_nothing_is_believed(web: HTTPXMock) -> None:
    web.add_response(json=models())
    assert (await found()).model == "m"


async def test_an_engine_that_ignores_names_takes_any(web: HTTPXMock) -> None:
    web.add_response(json=models("file.gguf", owned_by="llamacpp", meta={"n_ctx": 4096}))
    upstream = await found(model="any")
    assert (upstream.model, upstream.window_tokens) == ("any", 4096)


# --- the engine -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "name", "profile"),
    [
        ("llamacpp", "llama.cpp", LLAMA_CPP),
        ("vllm", "vLLM", VLLM),
        ("sglang", "SGLang", SGLANG),
        ("organization_owner", "LM Studio", LM_STUDIO),
        ("someone", "The engine", UNKNOWN),
    ],
)
async def test_an_engine_is_known_by_what_it_calls_itself(
    web: HTTPXMock, owner: str, name: str, profile: Profile
) -> None:
    web.add_response(json=models("m", owned_by=owner))
    upstream = await found()
    assert (upstream.name, upstream.profile) == (name, profile)


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("https://api.openai.com/v1/", "OpenAI"),
        ("https://api.openai.com", "OpenAI"),
        ("https://api.groq.com/openai/v1", "Groq"),
        ("https://api.z.ai/api/coding/paas/v4", "Z.AI"),
        ("https://api.moonshot.cn/v1", "Moonshot"),
        ("https://other.example/v1", None),
        ("http://localhost:8000/v1", None),
    ],
)
def test_a_service_is_known_by_its_host(base_url: str, name: str | None) -> None:
    upstream = upstream_of(PROVIDERS["openai"], base_url=base_url, model="m")
    assert upstream.name == (name or "The engine")
    assert upstream.profile.name == (name or "unknown")


def test_a_provider_is_itself_at_any_address() -> None:
    upstream = upstream_of(PROVIDERS["vllm"], base_url="http://gpu:9/v1", model="m")
    assert (upstream.name, upstream.profile) == ("vLLM", VLLM)


async def test_what_a_service_lists_does_not_rename_it(web: HTTPXMock) -> None:
    web.add_response(json=models("m", owned_by="vllm"))
    assert (await found("https://openrouter.ai/api/v1")).name == "OpenRouter"


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("gemini-2.5-flash", "models/gemini-2.5-flash"),
        ("deepseek/deepseek-v4:nitro", "deepseek/deepseek-v4"),
        ("deepseek/deepseek-v4:free", "deepseek/deepseek-v4:free"),
    ],
)
async def test_a_model_may_be_listed_under_another_form_of_its_name(web: HTTPXMock, name: str, listed: str) -> None:
    web.add_response(json=models(listed, context_length=1000))
    upstream = await found("https://openrouter.ai/api/v1", model=name)
    assert (upstream.model, upstream.window_tokens) == (name, 1000)


async def test_another_tag_is_another_model(web: HTTPXMock) -> None:
    web.add_response(json=models("qwen3"))
    assert "has no model 'qwen3:8b'" in (await mistake(model="qwen3:8b")).what


async def test_a_list_may_be_an_array(web: HTTPXMock) -> None:
    web.add_response(json=models("m", context_length=1000)["data"])
    assert (await found("https://api.together.xyz/v1")).window_tokens == 1000


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"top_provider": {"max_completion_tokens": 8192}}, 8192),
        ({"max_completion_tokens": 4096}, 4096),
        ({"top_provider": {"max_completion_tokens": None}}, None),
        ({}, None),
    ],
)
async def test_the_longest_answer_is_what_the_engine_reports(
    web: HTTPXMock, fields: dict[str, Any], limit: int | None
) -> None:
    web.add_response(json=models("m", **fields))
    assert (await found()).max_output_tokens == limit


@pytest.mark.parametrize(
    ("model", "reasoning", "switch", "levels"),
    [
        ("new/model", {"mandatory": True}, None, OPENROUTER.chat.effort_levels),
        ("new/model", {"mandatory": False}, "reasoning", OPENROUTER.chat.effort_levels),
        ("deepseek/deepseek-r1", {"mandatory": False}, "reasoning", OPENROUTER.chat.effort_levels),
        ("new/model", {"mandatory": True, "supported_efforts": ["high", "odd", "low"]}, None, ("low", "high")),
        ("new/model", {"supported_efforts": []}, "reasoning", ()),
        ("new/model", None, "reasoning", OPENROUTER.chat.effort_levels),
    ],
)
async def test_what_openrouter_reports_of_thinking_is_surer_than_a_name(
    web: HTTPXMock, model: str, reasoning: Any, switch: str | None, levels: tuple[str, ...]
) -> None:
    web.add_response(json=models(model, reasoning=reasoning))
    profile = (await found("https://openrouter.ai/api/v1", model=model)).profile
    assert (profile.chat.thinking_switch, profile.chat.effort_levels) == (switch, levels)


@pytest.mark.parametrize(
    ("fields", "sees", "switch"),
    [
        ({"architecture": {"input_modalities": ["text", "image"]}}, True, "reasoning"),
        ({"architecture": {"input_modalities": ["text"]}}, False, "reasoning"),
        ({"supported_parameters": ["tools", "reasoning"]}, True, "reasoning"),
        ({"supported_parameters": ["tools"]}, True, None),
        ({}, True, "reasoning"),
    ],
)
async def test_what_a_model_can_do_is_what_the_list_reports(
    web: HTTPXMock, fields: dict[str, Any], sees: bool, switch: str | None
) -> None:
    web.add_response(json=models("new/model", **fields))
    profile = (await found("https://openrouter.ai/api/v1", model="new/model")).profile
    assert (profile.sees_images, profile.chat.thinking_switch) == (sees, switch)


async def test_many_models_are_not_all_reported(web: HTTPXMock) -> None:
    web.add_response(json=models(*(f"m{number}" for number in range(30))))
    assert "m19 and 10 more (bridge models lists all)" in (await mistake(model="")).hint


async def test_the_model_refines_the_profile(web: HTTPXMock) -> None:
    web.add_response(json=models("gpt-5"))
    upstream = await found("https://api.openai.com/v1", model="gpt-5")
    assert upstream.profile == profile_for(OPENAI_RESPONSES, "gpt-5") != OPENAI_RESPONSES


def test_the_model_refines_the_profile_where_nothing_was_asked() -> None:
    upstream = assumed(Engine(upstream=upstream_of(PROVIDERS["openai"], base_url=None, model="gpt-5")))
    assert upstream.profile == profile_for(OPENAI_RESPONSES, "gpt-5")


SEEING = {"architecture": {"input_modalities": ["text", "image"]}}
BLIND = {"architecture": {"input_modalities": ["text"]}}


@pytest.mark.parametrize(
    ("fields", "sees_images"),
    [
        (SEEING, True),
        (BLIND, False),
        ({"capabilities": {"vision": False}}, False),
        ({"capabilities": {"vision": True}}, True),
        ({"capabilities": ["completion"], "architecture": "x"}, True),
        ({}, True),
    ],
    ids=["OpenRouter sees", "OpenRouter is blind", "Mistral is blind", "Mistral sees", "odd", "not told"],
)
async def test_whether_the_model_sees_images_is_read_from_the_list(
    web: HTTPXMock, fields: dict[str, Any], *, sees_images: bool
) -> None:
    web.add_response(url=f"{BASE_URL}/models", json=models("m", "other", **fields))
    assert (await found()).profile.sees_images == sees_images


@pytest.mark.parametrize(
    ("fields", "window_tokens"),
    [
        pytest.param({"meta": {"n_ctx": 8192, "n_ctx_train": 40960}}, 8192, id="llama.cpp"),
        pytest.param({"max_model_len": 32768}, 32768, id="vLLM"),
        pytest.param({"context_length": 131072}, 131072, id="OpenRouter"),
        pytest.param({"context_window": 131072}, 131072, id="Groq"),
        pytest.param({"max_context_length": 131072}, 131072, id="Mistral"),
        pytest.param({"meta": None, "max_model_len": None}, None, id="null"),
        pytest.param({"meta": {"n_ctx": "8192"}, "max_model_len": 0}, None, id="no numbers"),
        pytest.param({}, None, id="not told"),
    ],
)
async def test_the_window_is_what_the_engine_reports(
    web: HTTPXMock, fields: dict[str, Any], window_tokens: int | None
) -> None:
    web.add_response(json=models("m", **fields))
    assert (await found()).window_tokens == window_tokens


@pytest.mark.parametrize(
    ("base_url", "fields", "prices"),
    [
        pytest.param(BASE_URL, {"owned_by": "vllm"}, FREE, id="an engine of the user's own"),
        pytest.param("https://gpu.example/v1", {"owned_by": "vllm"}, None, id="somebody else's engine"),
        pytest.param(BASE_URL, {}, None, id="an engine that nobody knows"),
        pytest.param(
            "https://a.example/v1",
            {"pricing": {"prompt": "0.000003", "completion": "0.000015"}},
            Prices(input=3, output=15),
            id="OpenRouter",
        ),
    ],
)
async def test_what_tokens_cost_is_known_or_left_out(
    web: HTTPXMock, base_url: str, fields: dict[str, Any], prices: Prices | None
) -> None:
    web.add_response(json=models("m", **fields))
    assert (await found(base_url)).prices == prices
