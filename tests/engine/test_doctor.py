"""``bridge doctor`` before a real llama.cpp with a small model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from claude_bridge.bridge import ModelBridge
from claude_bridge.doctor.finding import Finding, Severity
from claude_bridge.doctor.probing import has_busy_slot, probe_bridge
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.embedded.engine import EmbeddedEngine

pytestmark = pytest.mark.engine

LIMIT_S = 60.0


def test_a_real_engine_is_known_with_its_window(engine: EmbeddedEngine, tmp_path: Path) -> None:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "claude_bridge", "doctor", "openai", "--json"),
            "--base-url",
            engine.upstream.base_url,
        ],
        check=False,
        env={**kept, "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}

    assert done.returncode == 1
    assert found["engine"]["seen"].startswith("llama.cpp")
    assert found["tools"]["mark"] == "ok"  # its template has tools
    assert found["context window"]["mark"] == "bad"  # not enough for Claude Code


@pytest.mark.anyio
async def test_a_real_model_is_asked_and_nothing_of_its_prompt_is_cut(engine: EmbeddedEngine) -> None:
    upstream = replace(engine.upstream, window_tokens=2_048)  # a short prompt: this machine may be slow
    root_url = upstream.base_url.removesuffix("/v1")
    async with (
        UpstreamClient(upstream.base_url, api_key=None, name=upstream.name) as client,
        UpstreamClient(root_url, api_key=None, name=upstream.name) as root,
    ):
        probes = probe_bridge(ModelBridge(upstream, client), is_busy=partial(has_busy_slot, root))
        findings = [item async for item in probes if isinstance(item, Finding)]
        assert await has_busy_slot(root) is False
    found = {finding.name: finding for finding in findings}

    assert "first token after" in found["speed"].seen
    assert found["long prompt"].severity is not Severity.FAIL, found["long prompt"].seen
    assert "tokens reused" in found["prompt cache"].seen
    assert found["stop"].severity is Severity.OK, found["stop"].seen
