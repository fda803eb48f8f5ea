"""The live page: who may see it, what it shows, and that it costs nothing while nobody looks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from claude_bridge.page.live import LivePage
from claude_bridge.page.live_trace import LiveTrace
from claude_bridge.trace.events import EventsDropped
from claude_bridge.trace.jsonl import JsonlSink, encode_event, path_of_older
from claude_bridge.wire.sse import SseDecoder
from tests.fake_upstream import (
    DONE,
    WAIT_S,
    FakeUpstream,
    Head,
    Reply,
    Send,
    Wait,
    answer,
    finish,
    refusal,
    text,
    usage,
)
from tests.server.served import BridgeServer, Response, Wire, get, streamed, until
from tests.trace.samples import NOON, ended, received, sent

pytestmark = pytest.mark.anyio

UNUSED = "http://127.0.0.1:9/v1"
KEY = "the-key-of-this-run"
HTML = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
HOST = "localhost:8765"
COOKIE_NAME = "claude-bridge-8765"


def page_server(upstream: FakeUpstream | str, **more: Any) -> BridgeServer:
    return BridgeServer(upstream, **{"page": LivePage(KEY), **more})


async def open_page(server: BridgeServer, query: str = f"?key={KEY}", **headers: str) -> Response:
    return await server.ask(get(f"/{query}", accept=HTML, **{"host": HOST, **headers}))


async def cookie_of(server: BridgeServer) -> str:
    return (await open_page(server)).headers["set-cookie"].partition(";")[0]


class Events:
    """The page's events, as its script gets them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._decoder = SseDecoder()
        self.exchanges: dict[str, Any] = {}
        self.status: dict[str, Any] = {}

    async def until(self, *states: str) -> None:
        """Read on until the exchanges have these states."""
        with anyio.fail_after(WAIT_S):
            while [one.get("state", "preparing") for one in self.exchanges.values()] != list(states) or not self.status:
                for frame in self._decoder.feed(await self._wire.chunk()):
                    if frame.event == b"exchanges":
                        self.exchanges |= {one["exchange"]: one for one in json.loads(frame.data)}
                    elif frame.event == b"status":
                        self.status = json.loads(frame.data)


@asynccontextmanager
async def looking_at(server: BridgeServer) -> AsyncIterator[Events]:
    cookie = await cookie_of(server)
    async with server.connect() as wire:
        await wire.send(get("/page/events", host=HOST, cookie=cookie, sec_fetch_site="same-origin"))
        head = await wire.head()
        assert (head.status, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        yield Events(wire)


# --- who may see it -------------------------------------------------------------------------------------------


async def test_the_key_becomes_a_strict_cookie_and_leaves_the_address() -> None:
    async with page_server(UNUSED) as server:
        response = await open_page(server)
        assert (response.status, response.headers["location"]) == (303, "/")
        cookie, *attributes = response.headers["set-cookie"].split("; ")
        assert cookie.startswith(f"{COOKIE_NAME}=")
        assert attributes == ["HttpOnly", "SameSite=Strict", "Path=/"]
        assert KEY not in response.headers["set-cookie"]
        page = await open_page(server, "", cookie=cookie)
        assert page.status == 200
        assert b'<script src="/page/page.js" defer>' in page.body
        for name in ("page.css", "views.js", "page.js", "live.js"):
            file = await server.ask(get(f"/page/{name}", host=HOST, cookie=cookie, sec_fetch_site="same-origin"))
            assert file.status == 200


async def test_the_page_runs_no_script_but_its_own_and_is_kept_by_nobody() -> None:
    async with page_server(UNUSED) as server:
        headers = (await open_page(server, "", cookie=await cookie_of(server))).headers
        policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
        assert (policy["default-src"], policy["script-src"], policy["frame-ancestors"]) == (
            "'none'",
            "'self'",
            "'none'",
        )
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("query", ["", "?key=", "?key=wrong", "?key=the-key-of-this-ru", "?other=the-key-of-this-run"])
async def test_without_the_key_a_browser_is_asked_for_it(query: str) -> None:
    async with page_server(UNUSED) as server:
        response = await open_page(server, query)
        assert (response.status, "set-cookie" in response.headers) == (401, False)
        assert b'name="key"' in response.body
        assert b"page.js" not in response.body


@pytest.mark.parametrize("path", ["/page/events", "/page/settings", "/page/page.js", "/page/exchange/req_1"])
async def test_nothing_of_the_page_is_given_away_without_its_cookie(path: str) -> None:
    async with page_server(UNUSED) as server:
        for headers in (
            {},
            {"cookie": f"{COOKIE_NAME}=wrong"},
            {"cookie": f"other={KEY}"},
            {"cookie": 'a="; b=\x7f'[:6]},
        ):
            assert (await server.ask(get(path, host=HOST, **headers))).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"origin": "https://evil.example"}, id="origin"),
        pytest.param({"origin": "null"}, id="null origin"),
        pytest.param({"sec_fetch_site": "cross-site"}, id="cross-site"),
        pytest.param({"sec_fetch_site": "same-site"}, id="another port"),
        pytest.param({"host": "evil.example"}, id="rebound name"),
    ],
)
async def test_pages_of_other_origins_get_nothing_even_with_the_key(headers: dict[str, str]) -> None:
    async with page_server(UNUSED, auth_token="s3cret-token") as server:
        cookie = await cookie_of(server)
        for path in (f"/?key={KEY}", "/", "/page/events", "/page/settings", "/page/page.js"):
            requested = get(path, accept=HTML, **{"host": HOST, "cookie": cookie, **headers})
            assert (await server.ask(requested)).status == 403


async def test_the_token_of_the_bridge_serves_as_well() -> None:
    async with page_server(UNUSED, auth_token="s3cret-token") as server:
        for query in ("?key=s3cret-token", "?token=s3cret-token"):
            assert (await open_page(server, query)).status == 303
        assert (await open_page(server, "", authorization="Bearer s3cret-token")).status == 200
        assert (await open_page(server, "?key=s3cret-toke")).status == 401


async def test_the_cookie_opens_the_page_and_not_the_bridge() -> None:
    async with page_server(UNUSED, auth_token="s3cret-token") as server:
        cookie = await cookie_of(server)
        assert (await server.ask(get("/v1/models", host=HOST, cookie=cookie))).status == 401
        assert (await server.ask(get("/stats", host=HOST, cookie=cookie))).status == 401


@pytest.mark.parametrize("accept", ["", "*/*", "application/json"])
async def test_a_program_gets_the_plain_line(accept: str) -> None:
    async with page_server(UNUSED) as server:
        response = await server.ask(get(f"/?key={KEY}", host=HOST, **({"accept": accept} if accept else {})))
        assert (response.status, response.body) == (200, b"claude-bridge is running\n")


async def test_a_bridge_without_a_page_gives_everyone_the_plain_line() -> None:
    async with BridgeServer(UNUSED) as server:
        assert (await open_page(server)).body == b"claude-bridge is running\n"
        assert (await server.ask(get("/page/events"))).status == 404


# --- what it shows --------------------------------------------------------------------------------------------


async def test_an_exchange_is_shown_from_its_beginning_to_its_end() -> None:
    may_go_on = anyio.Event()
    reply: Reply = [
        Head(),
        Send(text("Hel")),
        Wait(may_go_on),
        Send(text("lo")),
        Send(finish()),
        Send(usage()),
        Send(DONE),
    ]
    async with FakeUpstream([reply]) as upstream, page_server(upstream) as server, looking_at(server) as events:
        async with server.connect() as wire:
            await wire.send(streamed(system="Be brief."))
            await wire.head()
            await events.until("writing")
            assert (events.status["running"], events.status["ready"], events.status["model"]) == (1, True, "scripted")
            may_go_on.set()
            await events.until("answered")
            ((name, one),) = events.exchanges.items()
            assert (one["prompt_tokens"], one["output_tokens"], one["stop_reason"]) == (10, 5, "end_turn")
            while await wire.chunk():
                pass
            await until(lambda: not server.service.running)
            detail = await _exchange(server, name)
        document = detail.json
        answered = [document["values"][number]["text"] for number in document["detail"]["answer"]]
        assert answered == ["Hello"]
        assert [row[0] for row in document["detail"]["rows"][:2]] == ["same", "same"]
        assert "".join(text for _, text in document["detail"]["client_stream"]).startswith("event: message_start")
        assert document["detail"]["curl"].startswith("curl ")
        assert (await _exchange(server, "req_unknown")).status == 404


async def _exchange(server: BridgeServer, name: str) -> Response:
    return await server.ask(get(f"/page/exchange/{name}", host=HOST, cookie=await cookie_of(server)))


async def test_a_request_that_ran_before_anybody_looked_is_shown_with_its_bodies() -> None:
    may_go_on = anyio.Event()
    reply: Reply = [Head(), Send(text("Hello")), Wait(may_go_on), Send(finish()), Send(usage()), Send(DONE)]
    async with FakeUpstream([reply]) as upstream, page_server(upstream) as server, server.connect() as wire:
        await wire.send(streamed())
        await wire.head()
        while b"Hello" not in await wire.chunk():
            pass
        async with looking_at(server) as events:
            await events.until("writing")
            (one,) = events.exchanges.values()
            assert (one["messages"], one["client_model"], one["model"]) == (1, "m", "scripted")
            may_go_on.set()
            await events.until("answered")


@pytest.mark.parametrize("in_threads", [True, False])
async def test_with_a_trace_the_page_begins_with_what_came_before(tmp_path: Path, in_threads: bool) -> None:
    path, may_go_on = tmp_path / "trace.jsonl", anyio.Event()
    path.write_bytes(b'f"}\n' + b"".join(encode_event(event) + b"\n" for event in (received(), sent())))  # killed then
    reply: Reply = [Head(), Send(text("Hel")), Wait(may_go_on), Send(text("lo")), Send(finish()), Send(DONE)]
    async with FakeUpstream([answer("one"), refusal(400, "two"), reply, answer("four")]) as upstream:
        page = LivePage(KEY, trace_file=path)
        server = page_server(upstream, page=page, sinks=[JsonlSink(path)], sinks_in_threads=in_threads)
        async with server, server.connect() as wire:
            await server.messages()
            await server.messages()
            await wire.send(streamed())
            await wire.head()
            while b"Hel" not in await wire.chunk():
                pass
            for _ in range(2):  # a page that is loaded anew begins anew
                async with looking_at(server) as events:
                    await events.until("answered", "failed", "writing")
                    assert [one["number"] for one in events.exchanges.values()] == [1, 2, 3]
                    (first, *_) = events.exchanges
                    document = (await _exchange(server, first)).json
                    assert "one" in "".join(text for _, text in document["detail"]["client_stream"])
                await until(lambda: page.viewers == 0)
            async with looking_at(server) as events:
                may_go_on.set()
                await events.until("answered", "failed", "answered")
                await server.messages()
                await events.until("answered", "failed", "answered", "answered")


async def test_a_trace_that_is_no_file_or_cut_has_no_past(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("/dev/null")):
        trace = LiveTrace(has_past=True)
        trace.take(received())
        assert trace.changes(0) == ([], 0)
        trace.begin(path)
        assert len(trace.changes(0)[0]) == 1


@pytest.mark.parametrize("max_file_bytes", [1_000_000, 4_000], ids=["one file", "begun anew"])
async def test_of_a_long_trace_the_page_takes_the_end_within_its_budget(tmp_path: Path, max_file_bytes: int) -> None:
    path = tmp_path / "trace.jsonl"
    sink = JsonlSink(path, max_bytes=max_file_bytes)
    for number in range(100):
        for event in (received(exchange=f"req_{number}"), ended(exchange=f"req_{number}")):
            sink.take(event)
    sink.close()
    sizes = [file.stat().st_size for file in (path, path_of_older(path)) if file.exists()]
    trace = LiveTrace(max_bytes=10_000, has_past=True)
    trace.begin(path)
    assert min(sum(sizes), 10_000) * 0.8 < trace.kept_bytes <= 10_000
    assert trace.detail("req_99") is not None
    assert trace.detail("req_1") is None
    assert 3 < len(trace.changes(0)[0]) < 50


async def test_errors_from_before_are_shown_without_secrets() -> None:
    words = "no such key: AKIAIOSFODNN7EXAMPLE"
    async with FakeUpstream([refusal(400, words)]) as upstream, page_server(upstream) as server:
        await server.messages()
        async with looking_at(server) as events:
            await events.until()
            (failure,) = events.status["failures"]
            assert (failure["status"], failure["error_type"]) == (424, "invalid_request_error")
            assert "no such key: [redacted]" in failure["message"]


async def test_settings_for_every_shell_are_given() -> None:
    settings = {"bash": "export ANTHROPIC_BASE_URL=http://x"}
    async with page_server(UNUSED, client_settings=lambda _bridge: settings) as server:
        response = await server.ask(get("/page/settings", host=HOST, cookie=await cookie_of(server)))
        assert response.json == settings


async def test_viewers_go_when_the_bridge_stops() -> None:
    async with page_server(UNUSED) as server, looking_at(server) as events:
        await events.until()
        server.service.is_stopping = True
        with anyio.fail_after(WAIT_S):
            while await events._wire.chunk():
                pass


# --- what it costs --------------------------------------------------------------------------------------------


async def test_a_bridge_that_nobody_looks_at_does_no_work_for_the_page() -> None:
    async with FakeUpstream([answer("Hello")] * 3) as upstream, page_server(upstream) as server:
        page = server.service.page
        assert page is not None
        await server.messages()
        assert (server.service.bus.active, page.trace.kept_bytes) == (False, 0)
        async with looking_at(server) as events:
            await events.until()
            assert server.service.bus.active
            await server.messages()
            await events.until("answered")
        await until(lambda: page.viewers == 0 and not server.service.bus.active)
        kept = page.trace.kept_bytes
        await server.messages()
        assert page.trace.kept_bytes == kept > 0


async def test_what_the_page_keeps_has_a_budget() -> None:
    trace = LiveTrace(max_bytes=20_000, max_summaries=50)
    for number in range(200):
        messages = [{"role": "user", "content": "x" * 1_000}]
        for event in (received(messages, exchange=f"req_{number}"), sent(exchange=f"req_{number}")):
            trace.take(event)
        trace.take(ended(exchange=f"req_{number}"))
        assert trace.kept_bytes <= 20_000
    trace.take(EventsDropped(exchange="", at_s=NOON, count=1))
    changed, revision = trace.changes(0)
    assert len(changed) == 50
    assert trace.changes(revision) == ([], revision)
    assert trace.detail("req_199") is not None
    assert trace.detail("req_150") is None
