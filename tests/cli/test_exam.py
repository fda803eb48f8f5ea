"""``bridge exam`` as a program: options, exit codes, JSON, what is kept, and Ctrl-C."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from claude_bridge.exam.results import Settings
from tests.cli.process import command, environment, run_bridge
from tests.exam import scripted
from tests.exam.scripted import engine, settings_of
from tests.fake_upstream import FakeUpstream, Reply, Stall, free_port, model_list, refusal
from tests.scripted_ollama import ScriptedOllama, a_model, chat_answer

pytestmark = pytest.mark.anyio

QUICK = settings_of(is_quick=True)
OPTIONS = ("--quick", "--runs", "1")
PRICED = {"/v1/models": model_list("scripted", pricing={"prompt": "0.000003", "completion": "0.000015"})}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment with a data folder of its own."""
    return {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}


def perfect(settings: Settings = QUICK) -> Any:
    return engine(scripted.perfect, settings)


async def test_an_exam_is_taken_shown_kept_and_listed(home: dict[str, str], tmp_path: Path) -> None:
    page = tmp_path / "exam.html"
    async with FakeUpstream(perfect()) as fake:
        base = ("exam", "openai", "--base-url", fake.base_url)
        done = await run_bridge(*base, *OPTIONS, "--json", "--html", str(page), env=home)
        models = await run_bridge("models", "openai", "--base-url", fake.base_url, "--all", env=home)
        models_json = await run_bridge("models", "openai", "--base-url", fake.base_url, "--all", "--json", env=home)
        again = await run_bridge(*base, *OPTIONS, "--resume", env=home)
        requested = len(fake.requests)
    listed = await run_bridge("exam", "--list", env=home)
    listed_json = await run_bridge("exam", "--list", "--json", env=home)

    assert done.code == 0, done.stderr
    (model,) = json.loads(done.stdout)["models"]
    assert (model["model"], model["verdict"]) == ("scripted", "daily work")
    assert (model["passed"], model["total"], model["is_whole"]) == (12, 12, True)
    assert all(group["passed"] == group["total"] == 1 for group in model["groups"].values())
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert "12/12" in models.stdout
    assert json.loads(models_json.stdout)[0]["exam"] == {"verdict": "daily work", "passed": 12, "total": 12}
    assert again.code == 0
    assert "scripted: daily work" in again.stdout
    assert requested == model["answers"]  # nothing was asked again
    assert "daily work" in listed.stdout
    assert json.loads(listed_json.stdout)["models"] == [model]


async def test_models_are_compared_side_by_side(home: dict[str, str]) -> None:
    perfect_one, lazy_one = perfect(), engine(scripted.lazy, QUICK)

    def reply(request: Any) -> Reply:
        return (perfect_one if request.json["model"] == "good" else lazy_one)(request)

    async with FakeUpstream(reply, documents={"/v1/models": model_list("good", "bad")}) as fake:
        done = await run_bridge("exam", "openai", "good", "bad", "--base-url", fake.base_url, *OPTIONS, env=home)
    listed = await run_bridge("exam", "--list", "--json", env=home)

    assert done.code == 0, done.stderr
    rows = {line.split("  ")[0].strip(): line.split()[-2:] for line in done.stdout.splitlines() if line}
    assert rows["passed"] == ["good", "bad"]
    assert rows["edits"] == ["1/1", "0/1"]
    assert "good: daily work" in done.stdout
    assert "bad: questions only" in done.stdout
    assert {model["engine"] for model in json.loads(listed.stdout)["models"]} == {"an OpenAI-compatible engine"}


async def test_a_long_name_breaks_between_its_parts_at_the_head_of_a_comparison(home: dict[str, str]) -> None:
    names = ("long-organisation/with-a-name-without-end", "other")
    script = perfect()
    async with FakeUpstream(script, documents={"/v1/models": model_list(*names)}) as fake:
        base = ("exam", "openai", *names, "--base-url", fake.base_url, *OPTIONS)
        done = await run_bridge(*base, env={**home, "COLUMNS": "60"})

    head = done.stdout.partition("one tool")[0].split()
    assert head == ["Exam", "long-", "organisation/", "with-a-name-", "passed", "without-end", "other"]


async def test_an_engine_that_can_not_be_asked_ends_with_1(home: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    nobody = await run_bridge("exam", "openai", "m", "--base-url", url, "--json", env=home)
    async with FakeUpstream() as fake:
        unknown = await run_bridge("exam", "openai", "other", "--base-url", fake.base_url, env=home)

    assert (nobody.code, unknown.code) == (1, 1)
    assert nobody.stdout == ""
    assert "has no model 'other'" in unknown.stderr


async def test_results_are_kept_by_the_digest_of_an_ollamas_model_and_its_version(home: dict[str, str]) -> None:
    models = {"qwen3:1.7b": a_model("tools", "thinking")}
    async with ScriptedOllama(models, chat=lambda _: chat_answer("No.")) as ollama:
        base = ("exam", "ollama", "--base-url", ollama.base_url, *OPTIONS, "--json", "--context-window", "8192")
        done = await run_bridge(*base, env=home)
    model = json.loads(done.stdout)["models"][0]

    assert done.code == 0, done.stderr
    assert (model["model"], model["digest"], model["window_tokens"]) == ("qwen3:1.7b", "63bb", 8_192)
    assert model["engine"].startswith("Ollama 0.")
    assert model["cost_usd"] == 0.0


def _texts_below(folder: Path) -> list[str]:
    return [path.read_text("utf-8") for path in folder.rglob("*") if path.suffix in (".jsonl", ".html")]


async def test_a_key_that_an_engine_quotes_is_not_kept(home: dict[str, str], tmp_path: Path) -> None:
    key = "an-unusual-key-4711"
    async with FakeUpstream(lambda _: refusal(400, f"wrong request by {key}")) as fake:
        base = ("exam", "openai", "--base-url", fake.base_url, "--api-key", key, *OPTIONS, "--json")
        done = await run_bridge(*base, "--html", str(tmp_path / "exam.html"), env=home)
    kept = _texts_below(tmp_path)

    assert done.code == 0
    assert [("wrong request by" in text) for text in kept] == [True, True]
    assert not any(key in text for text in (done.stdout, done.stderr, *kept))


async def test_a_score_of_nothing_ends_with_0(home: dict[str, str]) -> None:
    async with FakeUpstream(engine(scripted.script_of(["No."]), QUICK)) as fake:
        done = await run_bridge("exam", "openai", "--base-url", fake.base_url, *OPTIONS, env=home)

    assert done.code == 0
    assert "scripted: not with tools" in done.stdout


async def test_a_paid_provider_is_not_asked_before_the_cost_is_agreed_to(home: dict[str, str]) -> None:
    async with FakeUpstream(perfect(), documents=PRICED) as fake:
        base = ("exam", "openai", "--base-url", fake.base_url, *OPTIONS)
        refused = await run_bridge(*base, env=home)
        requested = len(fake.requests)
        agreed = await run_bridge(*base, "--yes", "--json", env=home)

    assert (refused.code, requested) == (1, 0)
    assert "12 tasks, about $0." in refused.stderr
    assert "--yes" in refused.stderr
    assert agreed.code == 0
    assert "about $0." in agreed.stderr
    assert json.loads(agreed.stdout)["models"][0]["cost_usd"] > 0


async def test_commands_of_the_model_run_only_where_that_is_allowed(home: dict[str, str]) -> None:
    done = await run_bridge("exam", "ollama", "m", "--client", "claude", env=home)

    assert done.code == 2
    assert "--allow-commands" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a console's Ctrl-C reaches every program of it")
async def test_ctrl_c_keeps_what_is_done_and_resume_goes_on(home: dict[str, str]) -> None:
    good, served = perfect(), 0

    def reply(request: Any) -> Reply:
        nonlocal served
        served += 1
        return [Stall()] if served == 12 else good(request)

    async with FakeUpstream(reply) as fake:
        base = ("exam", "openai", "--base-url", fake.base_url, *OPTIONS, "--json")
        async with await anyio.open_process(command(*base), env=environment(home)) as process:
            await fake.request(11, within_s=30.0)
            process.send_signal(signal.SIGINT)
            assert process.stdout is not None
            printed = b"".join([data async for data in process.stdout])
            code = await process.wait()
        interrupted = json.loads(printed)["models"][0]
        resumed = await run_bridge(*base, "--resume", env=home)
        whole = json.loads(resumed.stdout)["models"][0]

    assert code == 130
    assert 0 < interrupted["total"] < 12
    assert not interrupted["is_whole"]
    assert (whole["passed"], whole["total"]) == (12, 12)
    assert whole["tasks"][: interrupted["total"]] == interrupted["tasks"]
    assert whole["started_at"] == interrupted["started_at"]
