"""What is found out about an engine that speaks Anthropic's API itself."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from pytest_httpx import HTTPXMock

from claude_bridge.adapters.engine_profiles import ANTHROPIC, LLAMA_CPP, OLLAMA, SGLANG, VLLM
from claude_bridge.conversion.profile import Profile
from claude_bridge.errors import SetupError, UpstreamError, UpstreamUnreachableError
from claude_bridge.providers import PROVIDERS, Upstream, upstream_of
from claude_bridge.upstream.engines.discover import anthropic_root, discover
from claude_bridge.upstream.engines.engine import Engine

pytestmark = pytest.mark.anyio

HOST = "https://localhost:8000"
HINT = "Set ANTHROPIC_API_KEY."


def models(*names: str, **fields: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model", **fields} for name in names]}


async def found(base_url: str | None = HOST, *, model: str = "", key: str | None = None) -> Upstream:
    row = PROVIDERS["anthropic"]
    upstream = upstream_of(row, base_url=base_url or row.base_url, model=model)
    return await discover(Engine(upstream=upstream, api_key=key, key_hint=HINT))


@pytest.mark.parametrize("given", [HOST, f"{HOST}/", f"{HOST}/v1", f"{HOST}/v1/", f"{HOST}/v1/messages"])
def test_the_address_may_be_given_with_its_path(given: str) -> None:
    assert anthropic_root(given) == HOST


async def test_anthropic_is_not_asked(httpx_mock: HTTPXMock) -> None:
    upstream = await found(None)
    assert upstream.profile is ANTHROPIC
    assert upstream.forwards_client_auth
    assert upstream.notes == ("requests are passed through unchanged, with the client's own login",)
    assert (await found(None, key="sk-ant-mine")).notes == ("requests are passed through unchanged, with your key",)
    assert (await found("http://api.anthropic.com")).notes == ("requests are passed through unchanged, with no key",)
    assert httpx_mock.get_requests() == []


async def test_an_ollama_is_recognised_by_its_version(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(url=f"{HOST}/api/version", json={"version": "0.33.0"})
    httpx_mock.add_response(url=re.compile(r".*/api/(tags|ps)$"), json={"models": []}, is_reusable=True)
    upstream = await found()
    assert (upstream.name, upstream.profile, upstream.model) == ("Ollama 0.33.0", OLLAMA, "")


@pytest.mark.parametrize(
    ("owner", "profile"),
    [("llamacpp", LLAMA_CPP), ("vllm", VLLM), ("sglang", SGLANG)],
    ids=["llama.cpp", "vLLM", "SGLang"],
)
async def test_other_engines_are_recognised_by_the_owner_of_their_models(
    httpx_mock: HTTPXMock, owner: str, profile: Profile
) -> None:
    httpx_mock.add_response(url=f"{HOST}/api/version", status_code=404)
    httpx_mock.add_response(url=f"{HOST}/v1/models", json=models("m", owned_by=owner))
    httpx_mock.add_response(url=re.compile(r".*:8000/(props|version)$"), status_code=404, is_optional=True)
    assert (await found()).profile is profile


async def test_a_window_is_that_of_the_named_model(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(url=f"{HOST}/api/version", status_code=404)
    httpx_mock.add_response(url=f"{HOST}/v1/models", json=models("m", owned_by="vllm", max_model_len=32768))
    httpx_mock.add_response(url=f"{HOST}/version", status_code=404)
    assert (await found(model="m")).window_tokens == 32768


@pytest.mark.parametrize("key", [None, "wrong"])
async def test_a_wrong_key_is_a_mistake_of_the_setup(httpx_mock: HTTPXMock, key: str | None) -> None:
    httpx_mock.add_response(url=f"{HOST}/api/version", status_code=404)
    httpx_mock.add_response(url=f"{HOST}/v1/models", status_code=401, json={"error": {"message": "no"}})
    with pytest.raises(SetupError) as caught:
        await found(key=key)
    assert caught.value.hint == (f"Check the key, or use another one. {HINT}" if key else HINT)


async def test_an_engine_without_a_list_is_taken_as_it_is(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(url=f"{HOST}/api/version", status_code=404)
    httpx_mock.add_response(url=f"{HOST}/v1/models", status_code=404, text="<html>")
    httpx_mock.add_response(url=f"{HOST}/models", status_code=404, text="<html>")
    upstream = await found(model="m")
    assert (upstream.model, upstream.window_tokens) == ("m", None)
    assert not upstream.profile.messages.is_anthropic


async def test_an_engine_that_fails_is_asked_again_later(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(url=f"{HOST}/api/version", status_code=404)
    httpx_mock.add_response(url=f"{HOST}/v1/models", status_code=503, text="loading")
    with pytest.raises(UpstreamError):
        await found()


async def test_an_engine_that_is_not_there_is_reported(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_exception(httpx.ConnectError("refused"), is_reusable=True)
    with pytest.raises(UpstreamUnreachableError):
        await found()
