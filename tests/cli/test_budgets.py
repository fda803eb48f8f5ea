"""A budget that ends, through a running bridge and over a restart."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.cli.process import serving
from tests.fake_upstream import FakeUpstream, ReceivedRequest, Reply, answer

pytestmark = pytest.mark.anyio

QUESTION = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
SETTINGS = """
[limits]
day_usd = 3.0
[providers.work]
kind = "openai-chat"
base_url = "{base_url}"
[[providers.work.models]]
id = "m"
cost = {{ input = 100000.0, output = 200000.0 }}
"""


async def test_a_budget_holds_over_a_restart_and_its_error_is_not_repeated(tmp_path: Path) -> None:
    def reply(_: ReceivedRequest) -> Reply:
        return answer("Hello", prompt_tokens=10, completion_tokens=5)  # 2 dollars

    file = tmp_path / "config.toml"
    responses = []
    async with FakeUpstream(reply) as upstream:
        file.write_text(SETTINGS.format(base_url=upstream.base_url))
        env = {"XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path)}
        for _ in range(3):
            async with (
                serving("work", "m", "--no-check", "--config", str(file), env=env) as bridge,
                httpx.AsyncClient(base_url=bridge.url) as client,
            ):
                responses.append(await client.post("/v1/messages", json=QUESTION))

    assert [response.status_code for response in responses] == [200, 200, 402]
    assert responses[-1].headers["x-should-retry"] == "false"
    assert responses[-1].json()["error"] == {
        "type": "billing_error",
        "message": "The budget for today is used: $4.00 of $3.00. It begins anew at midnight, or raise day_usd in "
        "[limits] of the bridge's configuration.",
    }
    assert len(upstream.requests) == 2
