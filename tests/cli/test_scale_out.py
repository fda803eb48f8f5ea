"""Two bridges behind nginx: when one dies, only what it was answering breaks off."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest

from tests.cli.process import LIMIT_S, serving
from tests.fake_upstream import DONE, FakeUpstream, Head, ReceivedRequest, Reply, Send, Wait, finish, text
from tests.real_parts import missing

pytestmark = pytest.mark.anyio

STREAMS = 12
DOCUMENTED = Path("docs/how-to/scale-out.md")
QUESTION = {"model": "m", "max_tokens": 99, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


def documented_configuration(port: int, bridges: list[str]) -> str:
    """Return nginx's configuration as the documentation gives it, with the test's own ports."""
    blocks = re.findall(r"```nginx\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    assert len(blocks) == 1
    configuration = str(blocks[0]).replace("listen 8800", f"listen 127.0.0.1:{port}")
    for number, url in enumerate(bridges):
        reported = f"127.0.0.1:{8765 + number}"
        assert reported in configuration
        configuration = configuration.replace(reported, url.removeprefix("http://"))
    return configuration


@asynccontextmanager
async def open_nginx(folder: Path, bridges: list[str]) -> AsyncIterator[str]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/opt/homebrew/bin")
    if program is None:
        missing("nginx is not installed.")
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as free:
        port = int(free.extra(anyio.abc.SocketAttribute.local_port))
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr warn;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{documented_configuration(port, bridges)}}}\n"
    )
    command = [program, "-c", str(configuration), "-p", str(folder), "-e", "stderr"]
    async with await anyio.open_process(command, stdout=None, stderr=None) as process:
        try:
            await _until_it_listens(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


async def _until_it_listens(port: int) -> None:
    with anyio.fail_after(LIMIT_S):
        while True:
            try:
                stream = await anyio.connect_tcp("127.0.0.1", port)
            except OSError:
                await anyio.sleep(0.02)
            else:
                await stream.aclose()
                return


async def test_when_one_of_two_bridges_dies_only_its_running_streams_break_off(tmp_path: Path) -> None:
    going_on = anyio.Event()
    began = 0
    all_began = anyio.Event()

    def script(_: ReceivedRequest) -> Reply:
        return [Head(), Send(text("It begins")), Wait(going_on), Send(text(" and ends.") + finish() + DONE)]

    async def stream(client: httpx.AsyncClient, url: str) -> str:
        nonlocal began
        reported = ""
        try:
            async with client.stream("POST", f"{url}/v1/messages", json=QUESTION) as response:
                assert response.status_code == 200
                async for line in response.aiter_lines():
                    if "It begins" in line:
                        began += 1
                        if began == STREAMS:
                            all_began.set()
                    reported += line
        except httpx.HTTPError:
            pass
        return "whole" if "message_stop" in reported else "broken"

    async def gather(client: httpx.AsyncClient, url: str) -> None:
        await results.send(await stream(client, url))

    results, ended = anyio.create_memory_object_stream[str](STREAMS)
    async with (
        FakeUpstream(script) as upstream,
        serving("openai", "m", "--no-check", "--base-url", f"http://127.0.0.1:{upstream.port}/one/v1") as one,
        serving("openai", "m", "--no-check", "--base-url", f"http://127.0.0.1:{upstream.port}/two/v1") as two,
        open_nginx(tmp_path, [one.url, two.url]) as url,
        httpx.AsyncClient(timeout=LIMIT_S, limits=httpx.Limits(max_connections=None)) as client,
    ):
        async with results, ended, anyio.create_task_group() as tasks:
            for _ in range(STREAMS):
                tasks.start_soon(gather, client, url)
            with anyio.fail_after(LIMIT_S):
                await all_began.wait()
                through_one = sum(request.path.startswith("/one/") for request in upstream.requests)
                assert 0 < through_one < STREAMS, "both have something to do"
                one.signal(signal.SIGKILL)
                assert [await ended.receive() for _ in range(through_one)] == ["broken"] * through_one
                going_on.set()
                through_two = STREAMS - through_one
                assert [await ended.receive() for _ in range(through_two)] == ["whole"] * through_two
        await one.end()  # until then it may still take connections
        afterwards = [await stream(client, url) for _ in range(STREAMS)]
        assert afterwards == ["whole"] * STREAMS
        assert len(upstream.requests) == 2 * STREAMS, "nothing was asked twice"
