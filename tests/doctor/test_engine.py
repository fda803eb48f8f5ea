"""Each planted fault of an engine is found, and named with its remedy; a healthy one has none."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from claude_bridge.doctor.examine import examine_engine
from claude_bridge.doctor.finding import Finding, Severity, Subject
from claude_bridge.providers import PROVIDERS, upstream_of
from claude_bridge.upstream.engines.catalog import list_models
from claude_bridge.upstream.engines.discover import discover
from claude_bridge.upstream.engines.engine import Engine
from tests.fake_upstream import (
    Close,
    FakeUpstream,
    Head,
    Raw,
    ReceivedRequest,
    Reply,
    Reset,
    Send,
    document,
    json_document,
    model_list,
    refusal,
)
from tests.scripted_ollama import ScriptedOllama, a_model

pytestmark = pytest.mark.anyio

QWEN = {"qwen3:1.7b": a_model("tools", "thinking")}
PAGE = document(b"<html>Welcome to nginx</html>", content_type="text/html")
PROPS = {
    "default_generation_settings": {"n_ctx": 32_768},
    "chat_template_caps": {"supports_tools": True},
    "modalities": {"vision": False},
    "build_info": "b11549",
}
KEY = "sk-very-secret-key"
TELLS_OWNERS = Path("/proc/net/tcp").exists()
"""Whether the system says who listens on a port."""


async def findings(
    base_url: str,
    model: str = "",
    *,
    provider: str = "ollama",
    key: str | None = None,
    usual_ports: Sequence[int] = (),
) -> dict[str, Finding]:
    """Return what is found about an engine, without what is found about this machine."""
    upstream = upstream_of(PROVIDERS[provider], base_url=base_url, model=model)
    engine = Engine(upstream=upstream, api_key=key, key_hint="Set OPENAI_API_KEY, or give --api-key.")
    subject = Subject(provider=provider, engine=engine)
    places = (f"http://127.0.0.1:{port}/v1" for port in usual_ports)
    usual = [
        Engine(provider="openai", upstream=upstream_of(PROVIDERS["openai"], base_url=place, model=""))
        for place in places
    ]
    _, found = await examine_engine(subject, usual=usual)
    assert len({finding.name for finding in found}) == len(found)
    assert KEY not in str(found)
    return {finding.name: finding for finding in found}


def bad(found: Mapping[str, Finding]) -> list[str]:
    return [finding.name for finding in found.values() if finding.severity is Severity.FAIL]


def doubtful(found: Mapping[str, Finding]) -> list[str]:
    return [finding.name for finding in found.values() if finding.severity is Severity.WARN]


def remedy(finding: Finding) -> str:
    assert finding.remedy is not None
    return finding.remedy


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def llama_cpp(*, props: Any = None, owner: str = "llamacpp") -> FakeUpstream:
    return FakeUpstream(
        documents={
            "/v1/models": model_list("qwen.gguf", owner=owner, meta={"n_ctx": 32_768, "n_ctx_train": 40_960}),
            "/props": json_document(PROPS if props is None else props),
        }
    )


# --- healthy --------------------------------------------------------------------------------------------------


async def test_a_healthy_ollama_has_no_fault() -> None:
    async with ScriptedOllama(QWEN) as ollama:
        found = await findings(ollama.root_url, "qwen3:1.7b")

    assert {finding.severity for finding in found.values()} == {Severity.OK}
    assert {"reachable", "engine", "version", "key", "model", "tools", "context window", "memory"} <= set(found)
    assert found["engine"].seen == "Ollama 0.32.15"
    assert "32,768 tokens" in found["context window"].seen
    assert "3.5 GiB of KV cache" in found["memory"].seen


async def test_the_only_model_with_tools_is_looked_at_without_its_name() -> None:
    async with ScriptedOllama({"talker": a_model(), **QWEN}) as ollama:
        found = await findings(ollama.root_url)

    assert {finding.severity for finding in found.values()} == {Severity.OK}
    assert found["model"].seen == "qwen3:1.7b is installed"


async def test_a_healthy_llama_cpp_has_no_fault() -> None:
    async with llama_cpp() as engine:
        found = await findings(engine.base_url, provider="openai")

    assert {finding.severity for finding in found.values()} == {Severity.OK}
    assert found["engine"].seen == "llama.cpp b11549"


async def test_an_ollama_behind_its_other_address_is_reported() -> None:
    async with ScriptedOllama(QWEN) as ollama:
        found = await findings(ollama.base_url, "qwen3:1.7b", provider="openai")

    assert {finding.severity for finding in found.values()} == {Severity.OK}
    assert "its own API" in found["engine"].seen


# --- the way to the engine ------------------------------------------------------------------------------------


async def test_an_engine_that_is_not_running_is_to_be_started() -> None:
    found = await findings(f"http://127.0.0.1:{closed_port()}")

    assert bad(found) == ["reachable"]
    assert "refused the connection" in found["reachable"].seen
    assert found["reachable"].remedy == "ollama serve"


async def test_a_wrong_port_is_reported_with_the_right_one() -> None:
    async with ScriptedOllama(QWEN) as ollama:
        found = await findings(f"http://127.0.0.1:{closed_port()}", usual_ports=[ollama.port])

    assert found["reachable"].remedy == f"bridge doctor ollama --base-url {ollama.root_url}"


async def test_a_stranger_on_the_port_is_reported_with_who_it_is_and_where_the_engine_is() -> None:
    async with FakeUpstream(documents={"/": PAGE, "/v1/models": PAGE}) as stranger, llama_cpp() as engine:
        found = await findings(
            f"http://127.0.0.1:{stranger.port}",
            usual_ports=[engine.port],
        )

    assert bad(found) == ["engine"]
    assert "web page" in found["engine"].seen
    assert (f"(process {os.getpid()})" in found["engine"].seen) is TELLS_OWNERS
    assert found["engine"].remedy == f"bridge doctor openai --base-url {engine.base_url}"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        pytest.param(PAGE, "answers with a web page, not with JSON", id="web page"),
        pytest.param(document(b"<html>no</html>", status=404), "answers with a web page", id="web page, 404"),
        pytest.param(json_document({"status": "ok"}), "no model list", id="other JSON"),
        pytest.param(refusal(404, "no"), "answers 404", id="nothing"),
        pytest.param(refusal(503, "Loading model"), "is still loading its model", id="loading"),
        pytest.param(refusal(500, "oops"), "answered 500: oops", id="broken"),
        pytest.param(
            [*document(b"", status=301, headers={"location": "https://u:p@h.example:8443/x"})],
            "redirects to https://h.example:8443",
            id="redirect",
        ),
    ],
)
async def test_what_is_no_engine_is_distinguished(reply: Reply, words: str) -> None:
    async with FakeUpstream(documents={"/v1/models": reply}) as stranger:
        found = await findings(stranger.base_url, provider="openai")

    assert bad(found) == ["engine"]
    assert words in found["engine"].seen
    assert found["engine"].remedy


@pytest.mark.usefixtures("without_proxies")
async def test_an_unknown_host_is_reported() -> None:
    found = await findings("http://no-such-host.invalid:11434")

    assert bad(found) == ["reachable"]
    assert "no-such-host.invalid:11434 can't be found: the host name is unknown" in found["reachable"].seen


async def test_tls_where_there_is_none_is_reported_with_the_other_scheme() -> None:
    async with FakeUpstream() as upstream:
        found = await findings(f"https://127.0.0.1:{upstream.port}/v1", provider="openai")

    assert bad(found) == ["reachable"]
    assert "does not use TLS" in found["reachable"].seen
    assert found["reachable"].remedy == f"bridge doctor openai --base-url http://127.0.0.1:{upstream.port}/v1"


async def test_a_port_that_does_not_speak_http_is_reported() -> None:
    silent = {path: [Close()] for path in ("/api/version", "/v1/models", "/models")}
    async with FakeUpstream(documents=silent) as upstream:
        found = await findings(f"http://127.0.0.1:{upstream.port}")

    assert "closed the connection without an answer" in found["reachable"].seen
    assert "https://" in remedy(found["reachable"])


async def test_another_engine_is_no_ollama() -> None:
    async with llama_cpp() as engine:
        found = await findings(f"http://127.0.0.1:{engine.port}")

        assert bad(found) == ["engine"]
        assert f"There is no Ollama at http://127.0.0.1:{engine.port}, but llama.cpp b11549" in found["engine"].seen
        assert found["engine"].remedy == f"Use that engine: `bridge serve openai --base-url {engine.base_url}`"


@pytest.mark.parametrize("given", ["/v1/v1", "/v1/chat/completions"], ids=["doubled", "too much"])
async def test_a_v1_that_the_bridge_can_fix_is_reported_with_the_right_address(given: str) -> None:
    async with llama_cpp() as engine:
        found = await findings(f"http://127.0.0.1:{engine.port}{given}", provider="openai")

    assert (bad(found), doubtful(found)) == ([], ["address"])
    assert found["address"].remedy == f"bridge doctor openai --base-url {engine.base_url}"


async def test_an_address_without_v1_is_fine_as_the_help_says() -> None:
    async with llama_cpp() as engine:
        found = await findings(f"http://127.0.0.1:{engine.port}", provider="openai")

    assert (bad(found), doubtful(found)) == ([], [])
    assert found["address"].seen == f"the API is at {engine.base_url}; the bridge adds /v1"


async def test_a_v1_too_many_is_reported_with_the_right_address() -> None:
    async with FakeUpstream(documents={"/models": model_list("m")}) as engine:
        found = await findings(engine.base_url, "m", provider="openai")

        assert bad(found) == []
        assert found["address"].severity is Severity.WARN
        assert found["address"].remedy == f"bridge doctor openai m --base-url http://127.0.0.1:{engine.port}"


@pytest.mark.parametrize(
    ("key", "words", "advice"),
    [
        (KEY, "does not accept the key (401", "Check the key, or use another one. "),
        (None, "asks for a key, and none was given (401", ""),
    ],
)
async def test_a_bad_key_is_reported_and_not_shown(key: str | None, words: str, advice: str) -> None:
    refused = refusal(401, f"Incorrect API key provided: {KEY}")
    async with FakeUpstream(documents={"/v1/models": refused, "/models": refused}) as engine:
        found = await findings(engine.base_url, "m", provider="openai", key=key)

    assert bad(found) == ["key"]
    assert words in found["key"].seen
    assert found["key"].remedy == f"{advice}Set OPENAI_API_KEY, or give --api-key."


async def test_an_old_ollama_is_to_be_updated() -> None:
    async with ScriptedOllama(QWEN, version="0.12.9") as ollama:
        found = await findings(ollama.root_url, "qwen3:1.7b")

    assert bad(found) == ["version"]
    assert "0.12.10" in found["version"].seen
    assert "install.sh" in remedy(found["version"])


STRANGE: dict[str, Reply] = {
    "reset": [Reset()],
    "garbage": [Raw(b"\x00\x01\x02 garbage\r\n\r\n"), Close()],
    "no JSON": document(b"{"),
    "deep JSON": document(b"[" * 100_000),
    "no UTF-8": document(b'{"models": [{"name": "\xff"}], "data": [{"id": "\xff"}]}'),
    "a number": json_document(7),
    "null": json_document({"models": None, "data": None, "capabilities": None, "version": None}),
    "wrong types": json_document({"models": [1, {"name": []}], "data": [{"id": {}}], "capabilities": "tools"}),
    "a redirect to nowhere": document(b"", status=302, headers={"location": "http://[half"}),
    "a broken body": [Head(200, {"content-type": "application/json", "content-length": "99"}), Send(b"{"), Close()],
}


@pytest.mark.parametrize("reply", STRANGE.values(), ids=STRANGE)
async def test_strange_answers_are_findings_and_never_errors(reply: Reply) -> None:
    paths = ["/v1/models", "/models", "/api/version", "/props", "/version", "/api/v0/models"]
    async with FakeUpstream(lambda _: reply, documents=dict.fromkeys(paths, reply)) as upstream:
        found = await findings(upstream.base_url, "m")

    assert bad(found)


@pytest.mark.parametrize("reply", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("model", ["", "m"])
async def test_strange_answers_of_an_ollama_are_findings_too(reply: Reply, model: str) -> None:
    paths = ["/api/tags", "/api/ps", "/api/status"]
    documents = {**dict.fromkeys(paths, reply), "/api/version": json_document({"version": "0.32.15"})}
    async with FakeUpstream(lambda _: reply, documents=documents) as upstream:
        found = await findings(f"http://127.0.0.1:{upstream.port}", model)

    assert found["engine"].seen == "Ollama 0.32.15"
    assert "model" in found


async def test_a_name_that_an_engine_made_up_cannot_become_a_command() -> None:
    async with FakeUpstream(documents={"/v1/models": model_list("m; rm -rf ~")}) as engine:
        found = await findings(engine.base_url, "m; rm -rf", provider="openai")

    assert remedy(found["model"]).startswith("bridge doctor openai 'm; rm -rf ~' ")


# --- the model ------------------------------------------------------------------------------------------------


async def test_a_missing_model_is_to_be_pulled() -> None:
    async with ScriptedOllama(QWEN) as ollama:
        found = await findings(ollama.root_url, "llama3.2:3b")

    assert bad(found) == ["model"]
    assert found["model"].remedy == "ollama pull llama3.2:3b"


async def test_a_near_miss_is_reported_with_the_nearest_name() -> None:
    async with ScriptedOllama(QWEN) as ollama:
        found = await findings(ollama.root_url, "qwen3:1.8b")

    assert bad(found) == ["model"]
    assert "nearest: qwen3:1.7b" in found["model"].seen
    command = f"bridge doctor ollama qwen3:1.7b --base-url {ollama.root_url}"
    assert found["model"].remedy == f"{command}  (or: ollama pull qwen3:1.8b)"


async def test_an_ollama_without_models_needs_one() -> None:
    async with ScriptedOllama({}) as ollama:
        found = await findings(ollama.root_url)

    assert found["model"].seen == "no model is installed"
    assert found["model"].remedy == "ollama pull qwen3"


async def test_of_several_models_one_is_to_be_named() -> None:
    async with ScriptedOllama({"a": a_model("tools"), "b": a_model("tools"), "c": a_model()}) as ollama:
        found = await findings(ollama.root_url)

    assert (bad(found), doubtful(found)) == ([], ["model"])
    assert found["model"].seen == "no model was named; available: a, b"


async def test_a_model_that_another_engine_lacks_is_reported_with_the_nearest_name() -> None:
    async with FakeUpstream(documents={"/v1/models": model_list("gpt-5", "gpt-5-mini")}) as engine:
        found = await findings(engine.base_url, "gpt-5-nini", provider="openai")

    assert bad(found) == ["model"]
    assert "nearest: gpt-5-mini" in found["model"].seen
    assert found["model"].remedy == f"bridge doctor openai gpt-5-mini --base-url {engine.base_url}"


async def test_a_model_without_tools_is_reported_with_one_that_has_them() -> None:
    async with ScriptedOllama({"talker": a_model(), **QWEN}) as ollama:
        found = await findings(ollama.root_url, "talker")

    assert bad(found) == ["tools"]
    assert "can't call tools" in found["tools"].seen
    assert found["tools"].remedy == f"bridge doctor ollama qwen3:1.7b --base-url {ollama.root_url}"


async def test_an_embedding_model_is_no_model_to_talk_to() -> None:
    async with ScriptedOllama({"embed": {**a_model(), "capabilities": ["embedding"]}}) as ollama:
        found = await findings(ollama.root_url, "embed")

    assert bad(found) == ["purpose"]
    assert "embed is an embedding model" in found["purpose"].seen
    assert found["purpose"].remedy == "ollama pull qwen3"


async def test_a_template_without_tools_is_reported_with_how_to_change_it() -> None:
    async with llama_cpp(props={**PROPS, "chat_template_caps": {"supports_tools": False}}) as engine:
        found = await findings(engine.base_url, provider="openai")

    assert bad(found) == ["tools"]
    assert "--jinja" in remedy(found["tools"])


async def test_what_an_engine_does_not_report_is_left_open() -> None:
    async with FakeUpstream(documents={"/v1/models": model_list("m", owner="vllm")}) as engine:
        found = await findings(engine.base_url, provider="openai")

    assert found["engine"].seen == "vLLM"
    assert (bad(found), doubtful(found)) == ([], ["tools", "context window"])
    assert "--tool-call-parser" in remedy(found["tools"])


async def test_an_lm_studio_reports_what_its_model_can_do() -> None:
    row = {"id": "m", "type": "vlm", "state": "loaded", "capabilities": [], "loaded_context_length": 4096}
    documents = {"/v1/models": model_list("m"), "/api/v0/models": json_document({"data": [row]})}
    async with FakeUpstream(documents=documents) as engine:
        found = await findings(engine.base_url, provider="openai")

    assert found["engine"].seen == "LM Studio"
    assert found["images"].seen == "yes"
    assert bad(found) == ["tools", "context window"]
    assert "lms load" in remedy(found["context window"])


@pytest.mark.parametrize(
    "fields",
    [
        {"meta": {"n_ctx": 131_072}},
        {"max_model_len": 131_072},
        {"context_length": 131_072},
        {"context_window": 131_072},
        {"max_context_length": 131_072},
    ],
    ids=lambda fields: next(iter(fields)),
)
@pytest.mark.parametrize("owner", ["someone", "vllm"])
async def test_serve_models_and_doctor_read_the_same_window(fields: dict[str, Any], owner: str) -> None:
    async with FakeUpstream(documents={"/v1/models": model_list("m", owner=owner, **fields)}) as engine:
        upstream = upstream_of(PROVIDERS["openai"], base_url=engine.base_url, model="m")
        found = await findings(engine.base_url, "m", provider="openai")
        served = await discover(Engine(upstream=upstream))
        listing = await list_models(Engine(provider="openai", upstream=upstream))

    assert served.window_tokens == listing.models[0].context_window == 131_072
    assert found["context window"].seen == "131,072 tokens"


async def test_the_only_model_that_chats_need_not_be_named() -> None:
    studio = {"models": [{"key": "talker", "type": "llm"}, {"key": "embedder", "type": "embedding"}]}
    listed = {"data": [{"id": "talker"}, {"id": "embedder"}]}
    documents = {"/v1/models": json_document(listed), "/api/v1/models": json_document(studio)}
    async with FakeUpstream(documents=documents) as engine:
        found = await findings(engine.base_url, provider="openai")
        served = await discover(Engine(upstream=upstream_of(PROVIDERS["openai"], base_url=engine.base_url, model="")))

    assert found["model"].seen == "talker is offered"
    assert served.model == "talker"


async def test_what_a_list_reports_about_a_models_abilities_is_used() -> None:
    fields: dict[str, Any] = {"supported_parameters": ["tools"], "architecture": {"input_modalities": ["text"]}}
    async with FakeUpstream(documents={"/v1/models": model_list("m", **fields)}) as engine:
        found = await findings(engine.base_url, "m", provider="openai")

    assert (found["tools"].severity, found["images"].severity) == (Severity.OK, Severity.OK)
    assert found["images"].seen.startswith("no;")


# --- cloud ----------------------------------------------------------------------------------------------------


class CloudOllama(ScriptedOllama):
    """An Ollama whose model runs at ollama.com; ``me`` is what it says to who is signed in."""

    def __init__(self, me: Reply, *, disabled: bool = False) -> None:
        super().__init__({"glm:cloud": a_model("tools", remote_host="https://ollama.com:443")})
        self._me = me
        self._documents = {**self._documents, "/api/status": json_document({"cloud": {"disabled": disabled}})}

    def _answer(self, request: ReceivedRequest) -> Reply:
        return self._me if request.path == "/api/me" else super()._answer(request)


async def test_a_cloud_model_without_sign_in_is_reported() -> None:
    async with CloudOllama(json_document({"error": "unauthorized", "signin_url": KEY}, status=401)) as ollama:
        found = await findings(ollama.root_url, "glm:cloud")

    assert bad(found) == ["cloud"]
    assert "not signed in" in found["cloud"].seen
    assert found["cloud"].remedy == "ollama signin"


async def test_a_cloud_model_of_one_who_is_signed_in_is_fine() -> None:
    async with CloudOllama(json_document({"name": "me"})) as ollama:
        found = await findings(ollama.root_url, "glm:cloud")

    assert {finding.severity for finding in found.values()} == {Severity.OK}
    assert "not on this machine" in found["cloud"].seen


async def test_a_cloud_that_is_switched_off_is_reported() -> None:
    async with CloudOllama(json_document({"name": "me"}), disabled=True) as ollama:
        found = await findings(ollama.root_url, "glm:cloud")

    assert bad(found) == ["cloud"]
    assert "OLLAMA_NO_CLOUD" in remedy(found["cloud"])


# --- window and memory ----------------------------------------------------------------------------------------


async def test_a_modelfile_with_4096_tokens_is_reported_with_the_option_that_helps() -> None:
    async with ScriptedOllama({"m": a_model("tools", parameters="num_ctx  4096")}) as ollama:
        found = await findings(ollama.root_url, "m")

    assert bad(found) == ["context window"]
    assert "Modelfile 4,096" in found["context window"].seen
    command = f"bridge serve ollama m --base-url {ollama.root_url} --context-window 32768"
    assert found["context window"].remedy == command


async def test_a_model_that_is_loaded_with_4096_tokens_is_reported_with_the_variable_that_helps() -> None:
    async with ScriptedOllama(QWEN, loaded=[{"name": "qwen3:1.7b", "context_length": 4096}]) as ollama:
        found = await findings(ollama.root_url, "qwen3:1.7b")

    assert (bad(found), doubtful(found)) == ([], ["loaded window"])
    assert "4,096" in found["loaded window"].seen
    assert found["loaded window"].remedy == "OLLAMA_CONTEXT_LENGTH=32768 ollama serve"


async def test_a_llama_cpp_with_4096_tokens_is_reported_with_how_to_start_it() -> None:
    async with llama_cpp(props={**PROPS, "default_generation_settings": {"n_ctx": 4096}}) as engine:
        found = await findings(engine.base_url, provider="openai")

    assert bad(found) == ["context window"]
    assert "llama-server -c 32768" in remedy(found["context window"])


async def test_a_model_that_is_partly_on_the_cpu_is_reported() -> None:
    loaded = [{"name": "qwen3:1.7b", "context_length": 32_768, "size": 4 * 2**30, "size_vram": 2**30}]
    async with ScriptedOllama(QWEN, loaded=loaded) as ollama:
        found = await findings(ollama.root_url, "qwen3:1.7b")

    assert (bad(found), doubtful(found)) == ([], ["processor"])
    assert "75% of qwen3:1.7b (4.0 GiB) is on the CPU" in found["processor"].seen
    assert "OLLAMA_KV_CACHE_TYPE=q8_0" in remedy(found["processor"])
