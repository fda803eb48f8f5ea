"""What engines offer: each engine's own way to tell, and what stays unknown."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import anyio
import pytest
from msgspec.structs import replace
from pytest_httpx import HTTPXMock

from claude_bridge.conversion.pricing import FREE, Prices
from claude_bridge.errors import SetupError, UpstreamBrokenError, UpstreamUnreachableError
from claude_bridge.providers import PROVIDERS, upstream_of
from claude_bridge.upstream.engines.catalog import (
    LOCAL_ENGINES,
    Listing,
    list_everywhere,
    list_models,
    local_engines,
    with_tools,
)
from claude_bridge.upstream.engines.engine import Engine
from claude_bridge.upstream.engines.report import OfferedModel
from tests.fake_upstream import FakeUpstream, Pause, ReceivedRequest, Reply, Stall, document, json_document, refusal
from tests.scripted_ollama import ScriptedOllama, a_model

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret-key"
TOOLS = {"supports_tools": True}


def place(base_url: str, *, provider: str = "openai", key: str | None = None) -> Engine:
    upstream = upstream_of(PROVIDERS[provider], base_url=base_url, model="")
    return Engine(provider=provider, upstream=upstream, api_key=key, key_hint="Set the key.")


async def offered(base_url: str, **options: Any) -> Listing:
    """Return what an engine offers, without what only other commands need."""
    listing = await list_models(place(base_url, **options))
    hidden: dict[str, Any] = dict.fromkeys(("chats", "trained_window", "reasoning", "ollama", "problem"))
    return replace(listing, models=tuple(replace(model, **hidden) for model in listing.models))


async def only_model(base_url: str, **options: Any) -> OfferedModel:
    (model,) = (await offered(base_url, **options)).models
    return model


def engine(models: Any, **documents: Any) -> FakeUpstream:
    """Return an engine with this model list, and JSON at other paths: ``props`` stands for /props."""
    paths = {f"/{path.replace('__', '/')}": json_document(payload) for path, payload in documents.items()}
    return FakeUpstream(documents={"/v1/models": json_document(models), **paths})


def listed(**fields: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": "m", "object": "model", **fields}]}


class OllamaOf(FakeUpstream):
    """An Ollama whose documents are told one by one, and which may take its time to describe a model."""

    def __init__(
        self,
        tags: list[dict[str, Any]],
        shown: Mapping[str, Any],
        *,
        loaded: Any = None,
        delay_s: float = 0.0,
    ) -> None:
        self._shown, self._delay_s = shown, delay_s
        self.asked_at_once = 0
        self._shows: list[ReceivedRequest] = []
        documents = {
            "/api/version": json_document({"version": "0.32.15"}),
            "/api/tags": json_document({"models": tags}),
        }
        if loaded is not None:
            documents["/api/ps"] = json_document(loaded)
        super().__init__(self._describe, documents=documents)

    def _describe(self, request: ReceivedRequest) -> Reply:
        self._shows.append(request)
        unanswered = sum(not requested.replied.is_set() for requested in self._shows)
        self.asked_at_once = max(self.asked_at_once, unanswered)
        reply = self._shown[request.json["model"]]
        return [Pause(self._delay_s), *(reply if isinstance(reply, list) else json_document(reply))]


# --- Ollama ---------------------------------------------------------------------------------------------------


async def test_an_ollama_reports_all_details_of_a_model() -> None:
    tags = [{"name": "qwen3:1.7b", "model": "qwen3:1.7b", "size": 1_400_000_000}]
    running = {"models": [{"name": "qwen3:1.7b"}]}
    async with OllamaOf(tags, {"qwen3:1.7b": a_model("tools", "thinking")}, loaded=running) as ollama:
        found = await offered(ollama.base_url, provider="ollama")

    assert found == Listing(
        provider="ollama",
        engine="Ollama 0.32.15",
        base_url=f"http://127.0.0.1:{ollama.port}",
        models=(
            OfferedModel(
                id="qwen3:1.7b",
                tools=True,
                thinking=True,
                images=False,
                context_window=40_960,
                max_output_tokens=409_600,
                size_bytes=1_400_000_000,
                cost=FREE,
                loaded=True,
            ),
        ),
    )


async def test_a_window_that_is_not_reported_counts_as_8192() -> None:
    async with ScriptedOllama({"m": a_model("tools", info={"general.architecture": "qwen3"})}) as ollama:
        model = await only_model(ollama.root_url, provider="ollama")
    assert (model.context_window, model.max_output_tokens) == (8_192, 81_920)


async def test_the_window_is_that_of_the_models_own_architecture() -> None:
    info = {"general.architecture": "gemma3", "gemma3.context_length": 131_072, "clip.context_length": 77}
    async with ScriptedOllama({"m": a_model("tools", "vision", info=info)}) as ollama:
        model = await only_model(ollama.root_url, provider="ollama")
    assert (model.context_window, model.images) == (131_072, True)


@pytest.mark.parametrize("where", ["tags", "show"])
async def test_a_cloud_model_is_marked_and_the_size_of_its_stub_is_not_reported(where: str) -> None:
    host: dict[str, Any] = {"remote_host": "https://ollama.com:443"}
    tag = {"name": "big:cloud", "size": 384, **(host if where == "tags" else {})}
    async with OllamaOf([tag], {"big:cloud": a_model("tools", **(host if where == "show" else {}))}) as ollama:
        model = await only_model(ollama.base_url, provider="ollama")
    assert (model.remote_host, model.size_bytes) == ("https://ollama.com:443", None)


async def test_models_without_tools_are_distinguished() -> None:
    models = {"able": a_model("tools"), "talker": a_model("vision"), "old": {**a_model(), "capabilities": None}}
    async with ScriptedOllama(models) as ollama:
        found = await offered(ollama.root_url, provider="ollama")
    assert [(model.id, model.tools) for model in found.models] == [("able", True), ("talker", False), ("old", None)]
    assert [model.id for model in with_tools(found)] == ["able"]


async def test_what_the_list_says_is_used_where_the_model_itself_is_silent() -> None:
    tag = {"name": "m", "capabilities": ["completion", "tools"]}
    async with OllamaOf([tag], {"m": {"model_info": {}}}) as ollama:
        model = await only_model(ollama.base_url, provider="ollama")
    assert (model.tools, model.thinking) == (True, False)


async def test_one_broken_model_does_not_cost_the_list() -> None:
    shown = {
        "good": a_model("tools"),
        "broken": refusal(500, "unexpected EOF"),
        "garbage": document(b"<html>"),
        "gone": json_document({"error": "model 'gone' not found"}, status=404),
    }
    tags = [{"name": name, "capabilities": ["tools"]} for name in shown]
    async with OllamaOf(tags, shown) as ollama:
        found = await offered(ollama.base_url, provider="ollama")
    assert [(model.id, model.context_window) for model in found.models] == [
        ("good", 40_960),
        ("broken", None),
        ("garbage", None),
    ]


async def test_without_a_list_of_what_is_loaded_that_stays_unknown() -> None:
    async with OllamaOf([{"name": "m"}], {"m": a_model()}) as ollama:
        assert (await only_model(ollama.base_url, provider="ollama")).loaded is None


@pytest.mark.timing
async def test_fifty_models_that_take_100_ms_each_are_reported_side_by_side() -> None:
    names = [f"m{number}" for number in range(50)]
    shown = {name: a_model("tools") for name in names}
    async with OllamaOf([{"name": name} for name in names], shown, delay_s=0.1) as ollama:
        started_at = time.perf_counter()
        found = await offered(ollama.base_url, provider="ollama")
        took_s = time.perf_counter() - started_at

    assert [model.id for model in found.models] == names
    assert took_s < 4, "one after the other they take 5 s"
    assert 1 < ollama.asked_at_once <= 8


@pytest.mark.parametrize("path", ["", "/v1"])
async def test_an_ollama_at_an_openai_address_is_asked_in_its_own_way(path: str) -> None:
    async with ScriptedOllama({"m": a_model("tools")}) as ollama:
        found = await offered(ollama.root_url + path)
    assert (found.provider, found.base_url) == ("ollama", ollama.root_url)
    assert found.models[0].tools is True


async def test_an_ollama_gets_its_key() -> None:
    async with ScriptedOllama({"m": a_model("tools")}) as ollama:
        await offered(ollama.root_url, provider="ollama", key=KEY)
    requested = [*ollama.probes, *ollama.requests]
    assert {request.path for request in requested} == {"/api/version", "/api/tags", "/api/ps", "/api/show"}
    assert {request.headers["authorization"] for request in requested} == {f"Bearer {KEY}"}


async def test_another_engine_is_no_ollama() -> None:
    async with FakeUpstream() as upstream:
        with pytest.raises(SetupError, match="There is no Ollama at"):
            await offered(f"http://127.0.0.1:{upstream.port}", provider="ollama")


async def test_an_ollama_whose_list_makes_no_sense_is_reported() -> None:
    documents = {"/api/version": json_document({"version": "1.0.0"}), "/api/tags": document(b"[]")}
    async with FakeUpstream(documents=documents) as upstream:
        with pytest.raises(UpstreamBrokenError, match="list of models can't be read"):
            await offered(upstream.base_url, provider="ollama")


# --- other engines --------------------------------------------------------------------------------------------

LLAMA_CPP_META = {"n_ctx_train": 8192, "size": 96_576_768}
LLAMA_CPP = listed(owned_by="llamacpp", meta=LLAMA_CPP_META)


def props(**fields: Any) -> dict[str, Any]:
    return {"default_generation_settings": {"n_ctx": 4096}, "modalities": {"vision": True}, **fields}


async def test_llama_cpp_reports_its_window_images_tools_and_size() -> None:
    async with engine(LLAMA_CPP, props=props(chat_template_caps=TOOLS)) as upstream:
        found = await offered(upstream.base_url)
    assert found.engine == "llama.cpp"
    assert found.models == (
        OfferedModel(
            id="m", tools=True, images=True, context_window=4096, size_bytes=96_576_768, cost=FREE, loaded=True
        ),
    )


@pytest.mark.parametrize(
    ("abilities", "thinking"),
    [
        ({"supports_preserve_reasoning": True}, True),
        ({"supports_reasoning_effort": True}, True),
        ({"supports_preserve_reasoning": False, "supports_reasoning_effort": False}, None),
        ({}, None),
    ],
)
async def test_a_template_with_a_place_for_thoughts_is_that_of_a_thinking_model(
    abilities: dict[str, bool], *, thinking: bool | None
) -> None:
    async with engine(LLAMA_CPP, props=props(chat_template_caps=abilities)) as upstream:
        assert (await only_model(upstream.base_url)).thinking is thinking


async def test_a_llama_cpp_whose_template_has_no_tools_is_left_out() -> None:
    async with engine(LLAMA_CPP, props=props(chat_template_caps={"supports_tools": False})) as upstream:
        assert with_tools(await offered(upstream.base_url)) == ()


@pytest.mark.parametrize("answer", [refusal(501, "props are off"), document(b"<html>")], ids=["off", "web page"])
async def test_a_llama_cpp_without_props_is_shown_as_its_list_reports(answer: Reply) -> None:
    documents = {"/v1/models": json_document(LLAMA_CPP), "/props": answer}
    async with FakeUpstream(documents=documents) as upstream:
        model = await only_model(upstream.base_url)
    assert (model.tools, model.images, model.context_window, model.size_bytes) == (None, None, None, 96_576_768)


async def test_a_llama_cpp_with_several_models_reports_each_as_its_list_does() -> None:
    rows = [
        {"id": "a", "status": {"value": "loaded"}, "architecture": {"input_modalities": ["image"]}},
        {"id": "b", "status": {"value": "unloaded"}},
    ]
    rows = [{"owned_by": "llamacpp", **row} for row in rows]
    async with engine({"data": rows}, props=props(chat_template_caps=TOOLS)) as upstream:
        found = await offered(upstream.base_url)
    assert [(model.id, model.loaded, model.images, model.tools) for model in found.models] == [
        ("a", True, True, None),
        ("b", False, None, None),
    ]


async def test_vllm_reports_its_window_and_nothing_else() -> None:
    async with engine(listed(owned_by="vllm", max_model_len=32_768)) as upstream:
        found = await offered(upstream.base_url)
    assert found.engine == "vLLM"
    assert found.models == (OfferedModel(id="m", context_window=32_768, cost=FREE),)
    assert with_tools(found) == found.models


STUDIO_MODEL: dict[str, Any] = {
    "type": "llm",
    "key": "qwen/qwen3.5-9b",
    "size_bytes": 6_548_927_017,
    "max_context_length": 262_144,
    "loaded_instances": [{"id": "qwen/qwen3.5-9b", "config": {"context_length": 4096}}],
    "capabilities": {"vision": True, "trained_for_tool_use": True, "reasoning": {"allowed_options": ["off", "on"]}},
}


async def test_lm_studio_reports_what_is_loaded_and_with_which_window() -> None:
    models = listed(owned_by="organization_owner", id="qwen/qwen3.5-9b")
    async with engine(models, api__v1__models={"models": [STUDIO_MODEL]}) as upstream:
        found = await offered(upstream.base_url)
    assert found.engine == "LM Studio"
    assert found.models == (
        OfferedModel(
            id="qwen/qwen3.5-9b",
            tools=True,
            thinking=True,
            images=True,
            context_window=4096,
            size_bytes=6_548_927_017,
            cost=FREE,
            loaded=True,
        ),
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"loaded_instances": []}, {"context_window": 262_144, "loaded": False}, id="not loaded"),
        pytest.param({"capabilities": {}}, {"tools": None, "thinking": None, "images": None}, id="not told"),
        pytest.param({"capabilities": {"reasoning": False}}, {"thinking": False}, id="no thinking"),
        pytest.param({"capabilities": {"reasoning": {"allowed_options": ["off"]}}}, {"thinking": False}, id="off only"),
        pytest.param({"type": "embedding", "capabilities": None}, {"tools": False}, id="embedding"),
    ],
)
async def test_what_lm_studio_does_not_report_stays_unknown(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    models = {"models": [{**STUDIO_MODEL, **changes}]}
    async with engine(listed(id=STUDIO_MODEL["key"]), api__v1__models=models) as upstream:
        model = await only_model(upstream.base_url)
    assert {name: getattr(model, name) for name in expected} == expected


async def test_an_older_lm_studio_reports_less() -> None:
    rows = [
        {"id": "a", "type": "vlm", "state": "loaded", "max_context_length": 32_768, "loaded_context_length": 8192},
        {"id": "b", "type": "llm", "state": "not-loaded", "max_context_length": 131_072, "capabilities": ["tool_use"]},
        {"id": "c", "type": "embeddings", "state": "not-loaded", "max_context_length": 2048},
    ]
    async with engine(listed(id="a"), api__v0__models={"data": rows}) as upstream:
        found = await offered(upstream.base_url)
    assert found.models == (
        OfferedModel(id="a", images=True, context_window=8192, cost=FREE, loaded=True),
        OfferedModel(id="b", tools=True, images=False, context_window=131_072, cost=FREE, loaded=False),
        OfferedModel(id="c", tools=False, images=False, context_window=2048, cost=FREE, loaded=False),
    )


async def test_an_older_lm_studio_that_answers_strange_paths_with_200_is_known_all_the_same() -> None:
    strange = {"error": "Unexpected endpoint or method. Returning 200 anyway"}
    rows = {"data": [{"id": "a", "type": "llm", "state": "loaded"}]}
    async with engine(listed(), api__version=strange, api__v1__models=strange, api__v0__models=rows) as upstream:
        assert (await offered(upstream.base_url)).engine == "LM Studio"


async def test_what_an_engine_elsewhere_costs_is_not_guessed(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(url="https://gpu.example/v1/models", json=listed(owned_by="vllm"))
    httpx_mock.add_response(url="https://gpu.example/version", status_code=404)
    assert (await only_model("https://gpu.example/v1")).cost is None


OPENROUTER_MODEL: dict[str, Any] = {
    "context_length": 400_000,
    "architecture": {"input_modalities": ["text", "image"]},
    "pricing": {"prompt": "0.00000125", "completion": "0.00001"},
    "supported_parameters": ["tools", "reasoning"],
    "top_provider": {"max_completion_tokens": 128_000},
}


async def test_openrouter_reports_abilities_limits_and_prices() -> None:
    async with engine(listed(**OPENROUTER_MODEL)) as upstream:
        model = await only_model(upstream.base_url)
        assert [probe.path for probe in upstream.probes] == ["/v1/models"], "it was asked what only others answer"
    assert model == OfferedModel(
        id="m",
        tools=True,
        thinking=True,
        images=True,
        context_window=400_000,
        max_output_tokens=128_000,
        cost=Prices(input=1.25, output=10),
    )


@pytest.mark.parametrize(
    ("pricing", "cost"),
    [
        ({"prompt": "0", "completion": "0"}, FREE),
        ({"prompt": "-1", "completion": "-1"}, None),
        ({"prompt": "cheap", "completion": "0"}, None),
        ({"prompt": "0.1"}, None),
        ({"prompt": 0.000001, "completion": 0.000002}, Prices(input=1, output=2)),
    ],
    ids=["free", "it depends", "no number", "half", "numbers"],
)
async def test_a_price_that_makes_no_sense_is_unknown(pricing: dict[str, Any], cost: Prices | None) -> None:
    async with engine(listed(**{**OPENROUTER_MODEL, "pricing": pricing})) as upstream:
        assert (await only_model(upstream.base_url)).cost == cost


async def test_a_model_without_tools_among_its_parameters_is_left_out() -> None:
    async with engine(listed(**{**OPENROUTER_MODEL, "supported_parameters": ["temperature"]})) as upstream:
        found = await offered(upstream.base_url)
    assert (found.models[0].tools, found.models[0].thinking, with_tools(found)) == (False, False, ())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {"context_window": 131_072, "max_completion_tokens": 32_768},
            OfferedModel(id="m", context_window=131_072, max_output_tokens=32_768),
            id="Groq",
        ),
        pytest.param(
            {"max_context_length": 131_072, "capabilities": {"function_calling": True, "vision": False}},
            OfferedModel(id="m", tools=True, images=False, context_window=131_072),
            id="Mistral",
        ),
        pytest.param({"owned_by": "system"}, OfferedModel(id="m"), id="OpenAI"),
        pytest.param(
            {"context_length": 0, "pricing": [], "capabilities": "all", "meta": 3, "architecture": "llama"},
            OfferedModel(id="m"),
            id="nonsense",
        ),
    ],
)
async def test_any_model_list_is_read_for_the_fields_it_has(fields: dict[str, Any], expected: OfferedModel) -> None:
    async with engine(listed(**fields)) as upstream:
        found = await offered(upstream.base_url)
    assert found.models == (expected,)
    assert found.engine == "The engine"


async def test_an_engine_that_drops_strange_questions_is_listed_all_the_same() -> None:
    def drop(path: str) -> Reply:
        return document(b"no", content_type="text/html") if "version" in path else refusal(500, "no")

    paths = ("/api/version", "/api/v1/models", "/api/v0/models")
    documents = {"/v1/models": json_document(listed()), **{path: drop(path) for path in paths}}
    async with FakeUpstream(documents=documents) as upstream:
        assert (await offered(upstream.base_url)).models == (OfferedModel(id="m"),)


async def test_a_wrong_key_is_reported_and_not_shown() -> None:
    async with FakeUpstream(documents={"/v1/models": refusal(401, f"Incorrect key {KEY}")}) as upstream:
        with pytest.raises(SetupError) as caught:
            await offered(upstream.base_url, key=KEY)
    assert "does not accept the key" in caught.value.what
    assert KEY not in caught.value.what
    assert caught.value.hint == "Check the key, or use another one. Set the key."


async def test_an_engine_that_is_not_running_is_reported() -> None:
    with pytest.raises(UpstreamUnreachableError, match="refused the connection"):
        await offered("http://127.0.0.1:1/v1")


# --- everywhere -----------------------------------------------------------------------------------------------


async def test_all_places_are_asked_and_those_that_are_silent_are_reported() -> None:
    async with (
        ScriptedOllama({"m": a_model("tools")}) as ollama,
        engine(LLAMA_CPP, props=props()) as llama_cpp,
    ):
        places = [
            place(ollama.root_url, provider="ollama"),
            place("http://127.0.0.1:1/v1"),
            place(llama_cpp.base_url),
        ]
        listings, silences = await list_everywhere(places)
    assert [found.engine for found in listings] == ["Ollama 0.32.15", "llama.cpp"]
    assert [silence.engine for silence in silences] == [places[1]]
    assert "http://127.0.0.1:1 refused the connection" in silences[0].reason


async def test_a_place_that_does_not_take_the_key_is_reported_with_what_to_do() -> None:
    async with FakeUpstream(documents={"/v1/models": refusal(401, "no")}) as upstream:
        listings, (silence,) = await list_everywhere([place(upstream.base_url, key=KEY)])
    assert listings == []
    assert "does not accept the key" in silence.reason
    assert silence.hint == "Check the key, or use another one. Set the key."


async def test_a_place_that_hangs_is_not_waited_for() -> None:
    async with (
        FakeUpstream(documents={"/v1/models": [Stall()]}) as hanging,
        ScriptedOllama({"m": a_model("tools")}) as ollama,
    ):
        with anyio.fail_after(20):
            listings, silences = await list_everywhere([place(hanging.base_url), place(ollama.root_url)], limit_s=1.5)
    assert [found.engine for found in listings] == ["Ollama 0.32.15"]
    assert silences[0].reason == f"The engine at {hanging.base_url} did not answer within 1.5 seconds."


def test_the_usual_local_engines_are_asked_but_none_twice() -> None:
    names = [place.upstream.name for place in local_engines([])]
    assert names == list(LOCAL_ENGINES) == ["LM Studio", "llama.cpp", "vLLM", "SGLang", "LiteLLM"]
    taken = place("http://127.0.0.1:8080", provider="ollama")
    assert [place.upstream.name for place in local_engines([taken])] == ["LM Studio", "vLLM", "SGLang", "LiteLLM"]


def test_no_key_goes_to_the_usual_local_engines() -> None:
    assert {place.api_key for place in local_engines([])} == {None}
