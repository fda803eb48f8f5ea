"""The example of the documentation, run by Node.js with Anthropic's SDK for TypeScript."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest

from tests.fake_upstream import FakeUpstream, answer
from tests.running_bridge import open_bridge, scripted_upstream

pytestmark = [pytest.mark.anyio, pytest.mark.typescript]

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "use-the-sdks.md"


async def test_the_example_for_typescript_prints_the_answer(typescript_sdk: Path) -> None:
    found = re.search(r"```(?:typescript|ts)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None, "the page has an example"
    upstream = FakeUpstream([answer("Hello from the engine.")])
    async with upstream, open_bridge(scripted_upstream(upstream.base_url)) as url:
        example = found[1].replace("http://127.0.0.1:8765", url)
        assert example != found[1]
        command = ["node", "--input-type=module", "--eval", example]
        done = await anyio.run_process(command, cwd=typescript_sdk, check=False)
    assert (done.returncode, done.stdout.decode()) == (0, "Hello from the engine."), done.stderr.decode()
    assert upstream.requests[0].json["messages"] == [{"role": "user", "content": "Say hello."}]
