"""What is configured holds for every command: option before variable before file before default."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from claude_bridge.app.build import build_plan
from claude_bridge.app.notices import Notices
from claude_bridge.app.options import Options, ServerOptions
from claude_bridge.app.plan import Listening, Plan
from claude_bridge.cli.loading import load_config
from claude_bridge.cli.serve import listening_of
from claude_bridge.errors import UsageError
from tests.cli.process import Finished, run_bridge, run_process, serving
from tests.fake_upstream import FakeUpstream, answer, model_list
from tests.scripted_ollama import ScriptedOllama, a_model

KEY = "sk-very-secret-key"
QUESTION = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def configure(file: Path, text: str, *, mode: int = 0o600) -> dict[str, str]:
    """Write the file, and return the variable that names it."""
    file.write_text(text)
    file.chmod(mode)
    return {"BRIDGE_CONFIG": str(file)}


def own(base_url: str, *models: str, kind: str = "openai-chat", **settings: str) -> str:
    """Return a provider `work` of the user's own; models are TOML tables without their header."""
    lines = [f'kind = "{kind}"', f'base_url = "{base_url}"', *(f'{name} = "{to}"' for name, to in settings.items())]
    return "\n".join(["[providers.work]", *lines, *(f"[[providers.work.models]]\n{model}" for model in models), ""])


# --- what goes before what, for each setting ------------------------------------------------------------------


def planned(file: Path, **options: Any) -> Plan:
    return build_plan(load_config(file), Options(**options), Notices())


def test_a_route_of_the_command_line_replaces_the_configured_one(file: Path) -> None:
    file.write_text('[routes]\n"a" = "openrouter/x"\n')
    plan = planned(file, provider="ollama", model="m", route=["a=ollama/other"])
    assert (set(plan.engines), len(plan.routing.routes)) == ({"ollama"}, 1)


def listening(file: Path, **options: Any) -> Listening:
    return listening_of(load_config(file), ServerOptions(**options))


@pytest.mark.parametrize(
    ("name", "option", "variable", "in_file", "default"),
    [
        ("host", "127.0.0.2", "127.0.0.3", '"127.0.0.4"', "127.0.0.1"),
        ("port", 0, "3", "4", 8765),
        ("auth_token", "option", "variable", '"file"', None),
    ],
)
def test_where_to_listen(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    option: Any,
    variable: str,
    in_file: str,
    default: Any,
) -> None:
    for set_outside in ("BRIDGE_HOST", "BRIDGE_PORT", "BRIDGE_AUTH_TOKEN"):
        monkeypatch.delenv(set_outside, raising=False)
    configure(file, "")
    assert getattr(listening(file), name) == default

    configure(file, f"[server]\n{name} = {in_file}\n")
    assert str(getattr(listening(file), name)) == in_file.strip('"')

    monkeypatch.setenv(f"BRIDGE_{name.upper()}", variable)
    assert str(getattr(listening(file), name)) == variable

    assert getattr(listening(file, **{name: option}), name) == option


@pytest.mark.parametrize(
    ("name", "field", "option", "variable", "in_file"),
    [
        ("context_window", "window_tokens", 1_000, "2000", "3000"),
        ("max_tokens", "max_output_tokens", 10, "20", "30"),
        ("max_concurrent", "max_concurrent", 1, "2", "3"),
    ],
)
def test_limits(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    field: str,
    option: int,
    variable: str,
    in_file: str,
) -> None:
    def limit(**options: Any) -> Any:
        plan = planned(file, provider="ollama", model="m", **options)
        return getattr(plan if field == "max_concurrent" else plan.main, field)

    configure(file, "")
    assert limit() is None

    configure(file, f"[defaults]\n{name} = {in_file}\n")
    assert limit() == int(in_file)

    monkeypatch.setenv(f"BRIDGE_{name.upper()}", variable)
    assert limit() == int(variable)

    assert limit(**{name: option}) == option


def test_limits_that_options_give_are_those_of_the_main_model(file: Path) -> None:
    configure(file, "")
    plan = planned(file, provider="ollama", model="m", context_window=1_000, max_tokens=10, fallback=["ollama/other"])

    assert (plan.main.window_tokens, plan.main.max_output_tokens) == (1_000, 10)
    assert (plan.engines["ollama"].window_tokens, plan.engines["ollama"].max_output_tokens) == (None, None)


def test_a_fallback_is_inspected_where_the_main_engine_is_the_bridges_own(file: Path) -> None:
    configure(file, "")
    before = planned(file, provider="ollama", model="m")
    running = replace(before, embedded=SimpleNamespace(upstream=before.main.upstream))
    options = Options(provider="local", fallback=["ollama/other"])
    plan = build_plan(load_config(file), options, Notices(), running=running)

    assert (plan.main.check, plan.engines["ollama"].check) == (False, True)


def test_whether_to_think(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def think(**options: Any) -> str:
        return planned(file, provider="ollama", model="m", **options).main.upstream.think

    configure(file, "")
    assert think() == "auto"

    configure(file, '[defaults]\nthink = "on"\n')
    assert think() == "on"

    monkeypatch.setenv("BRIDGE_THINK", "off")
    assert think() == "off"
    assert think(think="on") == "on"


def test_the_model_that_describes_images(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def described_by(**options: Any) -> str | None:
        return planned(file, provider="ollama", model="m", **options).vision_model

    configure(file, "")
    assert described_by() is None

    configure(file, '[defaults]\nvision_model = "file"\n')
    assert described_by() == "file"

    monkeypatch.setenv("BRIDGE_VISION_MODEL", "variable")
    assert described_by() == "variable"

    assert described_by(vision_model="option") == "option"


def test_the_model(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def served(**options: Any) -> tuple[str, str]:
        upstream = planned(file, **options).main.upstream
        return upstream.name, upstream.model

    configure(file, "")
    with pytest.raises(UsageError, match="No PROVIDER is given"):
        planned(file)

    configure(file, f'[defaults]\nmodel = "work/some/model"\n{own("http://h")}')
    assert served() == ("work", "some/model")

    monkeypatch.setenv("BRIDGE_MODEL", "ollama/b")
    assert served() == ("Ollama", "b")

    assert served(provider="work", model="c") == ("work", "c")
    assert served(provider="work") == ("work", "")


@pytest.mark.parametrize("provider", ["work", "ollama"])
def test_the_address_and_the_key(file: Path, monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    def engine(**options: Any) -> tuple[str, str | None]:
        plan = planned(file, provider=provider, model="m", **options)
        return plan.main.upstream.base_url, plan.main.api_key

    monkeypatch.setenv(f"{provider.upper()}_API_KEY", "own-variable")
    monkeypatch.setenv("OLLAMA_HOST", "own-variable:1")
    if provider == "ollama":
        configure(file, "")
        assert engine() == ("http://own-variable:1", "own-variable")

    text = own("http://file").replace("work", provider)
    configure(file, text.replace("openai-chat", "ollama-chat" if provider == "ollama" else "openai-chat"))
    assert engine() == ("http://file", "own-variable")

    monkeypatch.setenv("KEPT", "kept")
    configure(file, f'{text}api_key = "env:KEPT"\n')
    assert engine() == ("http://file", "kept")

    assert engine(base_url="http://option", api_key="option") == ("http://option", "option")


def test_a_models_own_limits_go_before_the_defaults_and_options_before_both(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_model = own("http://h", 'id = "m"\ncontext_window = 2000')
    configure(file, f"[defaults]\ncontext_window = 1000\n{of_model}")

    def windows(**options: Any) -> tuple[int | None, int | None]:
        """Return the window of the option, and that of the model where there is no option."""
        plan = planned(file, provider="work", **options)
        return plan.main.window_tokens, plan.main.models[0].context_window

    assert windows() == (None, 2_000)
    monkeypatch.setenv("BRIDGE_CONTEXT_WINDOW", "3000")
    assert windows() == (None, 3_000)
    assert windows(context_window=4_000) == (4_000, 3_000)


@pytest.mark.anyio
async def test_variables_stand_for_the_options_that_name_an_engine() -> None:
    async with FakeUpstream() as upstream:
        env = {"BRIDGE_BASE_URL": upstream.base_url, "BRIDGE_API_KEY": KEY, "OPENAI_API_KEY": "other"}
        async with serving("openai", env=env) as bridge:
            await bridge.says("claude --model scripted")
        assert upstream.probes[0].headers["authorization"] == f"Bearer {KEY}"
        async with serving("openai", "--api-key", "option", env=env) as bridge:
            await bridge.says("claude --model scripted")
        assert upstream.probes[-1].headers["authorization"] == "Bearer option"


@pytest.mark.anyio
async def test_a_variable_that_is_wrong_is_reported_by_its_name() -> None:
    done = await run_bridge("serve", "openai", "m", env={"BRIDGE_BASE_URL": "localhost"})
    assert_panel(done, "BRIDGE_BASE_URL 'localhost' is not a valid address")


# --- mistakes -------------------------------------------------------------------------------------------------


def assert_panel(done: Finished, *words: str) -> None:
    """Assert that the command failed with one panel."""
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.count("Error") == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.anyio
@pytest.mark.parametrize(
    "arguments",
    [["serve", "ollama"], ["run", "ollama"], ["models"], ["env"]],
    ids=lambda arguments: arguments[0],
)
async def test_nothing_is_started_while_there_are_mistakes(file: Path, tmp_path: Path, arguments: list[str]) -> None:
    configure(file, "[server]\nprot = 1\n[defaults]\nmodel = 3\n")
    claude = tmp_path / "claude"
    claude.write_text("#!/bin/sh\n")
    claude.chmod(0o755)
    done = await run_bridge(*arguments, "--config", str(file), env={"PATH": str(tmp_path)})

    assert_panel(done, f"{file}:2: server.prot is not a setting; nearest: port", f"{file}:4: defaults.model must be")


@pytest.mark.anyio
async def test_a_key_that_can_not_be_had_is_reported_by_its_setting(file: Path) -> None:
    provider = own(NOBODY, 'id = "m"', api_key="env:UNSET")
    env = configure(file, f'[server]\nauth_token = "file:nothing"\n{provider}')

    assert_panel(await run_bridge("serve", "work", env=env), "providers.work.api_key is env:UNSET, and that variable")
    assert_panel(await run_bridge("env", env=env), "server.auth_token is file:nothing, and that file can't be read")


@pytest.mark.anyio
async def test_a_key_that_others_can_read_is_warned_of_and_not_shown(file: Path) -> None:
    async with FakeUpstream() as upstream:
        env = configure(file, own(upstream.base_url, api_key=KEY), mode=0o644)
        done = await run_bridge("models", "work", env=env)

    assert done.code == 0
    assert "providers.work.api_key is a key in a file that others can read: chmod 600" in done.stderr
    assert upstream.probes[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in done.stdout + done.stderr


@pytest.mark.anyio
async def test_unknown_providers_are_reported_with_ones_own_among_those_that_are_known(file: Path) -> None:
    done = await run_bridge("serve", "wrok", env=configure(file, own(NOBODY)))
    assert_panel(done, "There is no provider 'wrok'", "work")


# --- explicit models ------------------------------------------------------------------------------------------

CODER = 'id = "coder"\ncontext_window = 20000\nmax_tokens = 500\ntools = true\nvision = false\n'
CODER += "cost = { input = 1, output = 2, cached = 0.5 }"


@pytest.mark.anyio
async def test_a_listed_model_is_served_without_asking_for_any(file: Path) -> None:
    async with FakeUpstream([answer("Hello")]) as upstream, httpx.AsyncClient() as client:
        env = configure(file, f'[defaults]\nmodel = "work"\n{own(upstream.base_url, CODER)}')
        async with serving(env=env) as bridge:
            await bridge.says("claude --model coder")
            assert "context window 20,000 tokens" in bridge.reported
            question = {**QUESTION, "max_tokens": 9_000}
            assert (await client.post(f"{bridge.url}/v1/messages", json=question)).status_code == 200
        assert upstream.probes == []
        assert upstream.requests[0].json["model"] == "coder"
        assert upstream.requests[0].json["max_tokens"] == 500


@pytest.mark.anyio
async def test_a_listed_model_of_an_ollama_gets_its_window_and_stays_loaded_as_configured(file: Path) -> None:
    async with ScriptedOllama({"llama3.3": a_model("tools")}) as ollama, httpx.AsyncClient() as client:
        models = '[[providers.ollama.models]]\nid = "llama3.3"\ncontext_window = 20000\nthinking = true\n'
        text = f'[providers.ollama]\nbase_url = "{ollama.root_url}"\nkeep_alive = "2h"\n{models}'
        async with serving("ollama", env=configure(file, text)) as bridge:
            await bridge.says("claude --model llama3.3")
            await client.post(f"{bridge.url}/v1/messages", json=QUESTION)
        assert ollama.probes == []
        assert [request.path for request in ollama.requests] == ["/api/chat"]
        sent = ollama.chats[0].json
        assert (sent["options"]["num_ctx"], sent["keep_alive"], "think" in sent) == (20_000, "2h", True)


@pytest.mark.anyio
async def test_a_discovered_model_stays_loaded_as_configured(file: Path) -> None:
    async with ScriptedOllama({"llama3.3": a_model("tools")}) as ollama, httpx.AsyncClient() as client:
        text = f'[providers.ollama]\nbase_url = "{ollama.root_url}"\nkeep_alive = "2h"\n'
        async with serving("ollama", env=configure(file, text)) as bridge:
            await bridge.says("claude --model llama3.3")
            await client.post(f"{bridge.url}/v1/messages", json=QUESTION)
        assert ollama.chats[0].json["keep_alive"] == "2h"


@pytest.mark.anyio
async def test_a_model_that_is_not_listed_is_refused(file: Path) -> None:
    async with FakeUpstream(documents={"/v1/models": model_list("other")}) as upstream:
        env = configure(file, own(upstream.base_url, CODER))
        done = await run_process("serve", "work", "other", "--port", "0", env=env)
    assert done.code == 1
    assert "The configuration lists no model 'other' of this provider." in done.stderr


@pytest.mark.anyio
async def test_listed_models_are_shown_as_they_are_written(file: Path) -> None:
    env = configure(file, own(f"{NOBODY}/v1", CODER, 'id = "plain"', 'id = "talker"\ntools = false'))
    table = await run_bridge("models", "work", env=env)
    listed = await run_bridge("models", "work", "--json", env=env)

    rows = [line.split() for line in table.stdout.splitlines()]
    assert ["coder", "yes", "?", "no", "20,000", "500", "?", "1", "/", "2"] in rows
    assert ["plain", *["?"] * 7] in rows
    assert "talker" not in table.stdout
    assert "?: not in the configuration" in table.stderr
    assert json.loads(listed.stdout)[0] == {
        "provider": "work",
        "engine": "work",
        "base_url": f"{NOBODY}/v1",
        "id": "coder",
        "tools": True,
        "thinking": None,
        "images": False,
        "context_window": 20_000,
        "max_output_tokens": 500,
        "size_bytes": None,
        "cost": {"input": 1, "output": 2, "cached": 0.5},
        "remote_host": None,
        "loaded": None,
    }


@pytest.mark.anyio
async def test_an_ollamas_listed_model_is_shown_though_its_tool_support_is_unknown(file: Path) -> None:
    env = configure(file, '[[providers.ollama.models]]\nid = "mine"\n')
    done = await run_bridge("models", "ollama", "--json", env=env)
    model = json.loads(done.stdout)[0]
    assert (model["id"], model["context_window"], model["max_output_tokens"]) == ("mine", 8_192, 81_920)


@pytest.mark.anyio
async def test_without_a_provider_all_that_are_configured_are_listed(file: Path) -> None:
    async with FakeUpstream(documents={"/v1/models": model_list("discovered")}) as upstream:
        text = own(upstream.base_url).replace("work", "asked") + own(NOBODY, CODER)
        text += own(NOBODY).replace("work", "silent")
        done = await run_bridge("models", "--json", env={**configure(file, text), "OLLAMA_HOST": NOBODY})

    found = {(model["provider"], model["id"]) for model in json.loads(done.stdout)}
    assert {("asked", "discovered"), ("work", "coder")} <= found
    assert f"silent at {NOBODY}" in done.stderr, "the user means to use it"
    assert "Ollama at" not in done.stderr, "nobody need be there"


@pytest.mark.anyio
async def test_an_address_without_a_provider_is_that_of_the_default_model(file: Path) -> None:
    async with FakeUpstream(documents={"/v1/models": model_list("m")}) as upstream:
        env = configure(file, f'[defaults]\nmodel = "work/m"\n{own(NOBODY)}')
        done = await run_bridge("models", "--base-url", upstream.base_url, "--json", env=env)
    assert [model["provider"] for model in json.loads(done.stdout)] == ["work"]


# --- doctor, env, run -----------------------------------------------------------------------------------------


async def checks(env: Mapping[str, str], *arguments: str) -> dict[str, dict[str, Any]]:
    done = await run_bridge("doctor", *arguments, "--json", env=env)
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


@pytest.mark.anyio
async def test_doctor_looks_at_the_default_model_with_what_is_configured_of_it(file: Path) -> None:
    models = model_list("coder", owner="llamacpp", meta={"n_ctx": 32_768})
    async with FakeUpstream(documents={"/v1/models": models}) as upstream:
        env = configure(file, f'[defaults]\nmodel = "work/coder"\n{own(upstream.base_url, CODER)}')
        found = await checks(env)

    assert found["configuration"] == {"name": "configuration", "mark": "ok", "seen": str(file), "remedy": None}
    assert found["model"]["seen"].startswith("coder")
    assert found["tools"]["mark"] == "ok"
    assert found["images"]["seen"].startswith("no")
    assert found["context window"]["seen"].startswith("20,000 tokens, as configured")


@pytest.mark.anyio
async def test_doctor_asks_an_ollama_for_the_window_that_is_configured_for_any_model(file: Path) -> None:
    async with ScriptedOllama({"m": a_model("tools")}) as ollama:
        env = configure(file, "[defaults]\ncontext_window = 20000\n")
        found = await checks(env, "ollama", "m", "--base-url", ollama.root_url, "--probe")

        assert "asks for 20,000 tokens (configured 20,000" in found["context window"]["seen"]
        assert {chat.json["options"]["num_ctx"] for chat in ollama.chats} == {20_000}


@pytest.mark.anyio
async def test_doctor_probes_a_listed_model_as_it_would_be_served(file: Path) -> None:
    async with ScriptedOllama({"m": a_model("tools")}) as ollama:
        text = f'[providers.ollama]\nbase_url = "{ollama.root_url}"\nkeep_alive = "2h"\n'
        env = configure(file, f'{text}[[providers.ollama.models]]\nid = "m"\ncontext_window = 20000\n')
        await checks(env, "ollama", "--probe")

        sent = {(chat.json["options"]["num_ctx"], chat.json["keep_alive"]) for chat in ollama.chats}
        assert sent == {(20_000, "2h")}


@pytest.mark.anyio
async def test_doctor_finds_a_model_that_is_not_listed(file: Path) -> None:
    async with FakeUpstream(documents={"/v1/models": model_list("other")}) as upstream:
        found = await checks(configure(file, own(upstream.base_url, CODER)), "work", "other")
    assert found["model"]["mark"] == "bad"
    assert "the configuration does not list 'other'" in found["model"]["seen"]


@pytest.mark.anyio
async def test_doctor_reports_mistakes_and_checks_the_rest_without_them(file: Path) -> None:
    async with ScriptedOllama({"m": a_model("tools")}) as ollama:
        env = configure(file, "[server]\nprot = 1\n")
        found = await checks({**env, "OLLAMA_HOST": ollama.root_url})
    assert found["configuration"]["mark"] == "bad"
    assert f"{file}:2: server.prot" in found["configuration"]["seen"]
    assert found["model"]["mark"] == "ok"


@pytest.mark.anyio
async def test_doctor_reports_mistakes_that_hide_the_provider(file: Path) -> None:
    env = configure(file, own(NOBODY, kind="nonsense"))
    assert_panel(await run_bridge("doctor", "work", env=env), f"{file}:2: providers.work.kind")


@pytest.mark.anyio
async def test_doctor_looks_at_the_port_that_is_configured(file: Path) -> None:
    async with FakeUpstream() as taken:
        found = await checks(configure(file, f"[server]\nport = {taken.port}\n"), "ollama", "--base-url", NOBODY)
    assert found["bridge port"]["seen"].startswith(str(taken.port))


@pytest.mark.anyio
async def test_env_points_at_the_bridge_that_is_configured(file: Path) -> None:
    env = configure(file, '[server]\nhost = "0.0.0.0"\nport = 1\nauth_token = "s3cret"\n')
    done = await run_bridge("env", "--shell", "json", env=env)

    reported = json.loads(done.stdout)
    assert reported["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:1"
    assert reported["ANTHROPIC_AUTH_TOKEN"] == "s3cret"


@pytest.mark.anyio
async def test_env_asks_for_the_url_where_the_port_is_another_each_time(file: Path) -> None:
    assert_panel(await run_bridge("env", env=configure(file, "[server]\nport = 0\n")), "--url URL")


@pytest.mark.anyio
async def test_run_takes_the_default_model_as_it_is_configured(file: Path, tmp_path: Path) -> None:
    claude = tmp_path / "bin" / "claude"
    claude.parent.mkdir()
    claude.write_text("#!/bin/sh\necho model $ANTHROPIC_MODEL window $CLAUDE_CODE_MAX_CONTEXT_TOKENS\n")
    claude.chmod(0o755)
    async with FakeUpstream() as upstream:
        env = configure(file, f'[defaults]\nmodel = "work/coder"\n{own(upstream.base_url, CODER)}')
        done = await run_process("run", env={**env, "PATH": f"{claude.parent}:/usr/bin:/bin"})
        assert upstream.probes == []

    assert done.code == 0, done
    assert "model coder window 28500" in done.stdout
