"""The prompt cache is kept: ten turns on a real engine, through each kind of upstream, as the benchmark plays them."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RUN_LIMIT_S = 115.0
TURNS, DIRECT_TURNS = 10, 2


@pytest.fixture(scope="module")
def measured(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run of the benchmark has measured, printed and drawn."""
    folder = tmp_path_factory.mktemp("prompt-cache")
    size = ("--turns", str(TURNS), "--direct-turns", str(DIRECT_TURNS), "--prompt-tokens", "600")
    files = ("--json", str(folder / "figures.json"), "--plot", str(folder / "plot.svg"))
    command = [sys.executable, str(BENCHMARKS / "prompt_cache.py"), "--model-file", str(model_path), *size, *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            printed, errors = process.communicate(timeout=RUN_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.terminate()  # it ends what it has started
            raise
    assert process.returncode == 0, errors
    turns = json.loads((folder / "figures.json").read_bytes())
    return {"turns": turns, "printed": printed, "plot": (folder / "plot.svg").read_text("utf-8")}


@pytest.mark.engine
@pytest.mark.parametrize("way", ["pass-through", "openai-chat"])
def test_after_the_first_turn_nearly_all_of_a_prompt_comes_from_the_cache(measured: dict[str, Any], way: str) -> None:
    turns = measured["turns"][way]
    assert len(turns) == TURNS
    assert [turn["read_tokens"] <= 0.05 * turn["prompt_tokens"] for turn in turns[1:]] == [True] * (TURNS - 1)
    sizes = [turn["prompt_tokens"] for turn in turns]
    assert sizes == sorted(set(sizes)), "the session grows with each turn"


@pytest.mark.engine
def test_without_a_bridge_a_volatile_header_costs_all_of_it(measured: dict[str, Any]) -> None:
    turns = measured["turns"]["direct"]
    assert len(turns) == DIRECT_TURNS
    assert all(turn["read_tokens"] > 0.9 * turn["prompt_tokens"] for turn in turns)
    later = [measured["turns"][way][1:] for way in ("pass-through", "openai-chat")]
    slowest_s = max(sorted(turn["first_token_s"] for turn in turns)[len(turns) // 2] for turns in later)
    assert turns[1]["first_token_s"] > 3 * slowest_s


@pytest.mark.engine
def test_the_run_is_reported_as_a_table_and_a_plot(measured: dict[str, Any]) -> None:
    table, _, summary = measured["printed"].partition("\n\n")
    assert len(table.splitlines()) == 2 + TURNS
    assert [line.partition(" ")[0] for line in summary.splitlines()] == ["direct", "pass-through", "openai-chat"]
    assert "times as soon as direct" in summary
    lines = ET.fromstring(measured["plot"]).findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [DIRECT_TURNS, TURNS, TURNS]


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of this name: a script's folder is no package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("sessions")


def test_a_session_grows_and_only_its_header_changes(sessions: Any) -> None:
    session = sessions.Session("a", prompt_tokens=800)
    first = json.loads(json.dumps(session.ask()))
    session.answer("Seven.")
    second = json.loads(json.dumps(session.ask()))
    assert second["messages"][:1] == first["messages"]
    assert second["messages"][1] == {"role": "assistant", "content": "Seven."}
    headers = [body["system"].pop(0)["text"] for body in (first, second)]
    assert headers[0] != headers[1]
    assert [header.partition("cch=")[0] for header in headers] == [headers[0].partition("cch=")[0]] * 2
    assert (first["system"], first["tools"]) == (second["system"], second["tools"])
