"""Engines of every kind that say what a test scripts, and a search service and sites beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from msgspec import Struct

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import UNKNOWN
from claude_bridge.attachments.public_web import PublicWeb
from claude_bridge.providers import Upstream
from claude_bridge.server_tools.pages import LIMITS, PageReader
from claude_bridge.server_tools.searching import SERVICES, HttpSearcher
from claude_bridge.server_tools.tools import WebTools
from tests.fake_upstream import (
    DONE,
    MODEL,
    FakeUpstream,
    ReceivedRequest,
    Reply,
    document,
    finish,
    frame,
    json_document,
    stream,
    text,
    tool_call,
    usage,
)
from tests.responses_stream import Ending, call, message
from tests.responses_stream import answer as responses_stream

SITE = "bridges.example"
KINDS = ("openai-chat", "ollama-chat", "anthropic-messages", "openai-responses")


class Says(Struct, frozen=True):
    """One answer of a scripted model: words, and calls as (name, arguments)."""

    words: str = ""
    calls: Sequence[tuple[str, Any]] = ()


def _openai(says: Says) -> Reply:
    called = [tool_call(name, given, index=index) for index, (name, given) in enumerate(says.calls)]
    reason = "tool_calls" if called else "stop"
    return stream(*([text(says.words)] if says.words else []), *called, finish(reason), usage(10, 5), DONE)


def _ollama(says: Says) -> Reply:
    called = [{"function": {"name": name, "arguments": given}} for name, given in says.calls]
    message = {"role": "assistant", "content": says.words, **({"tool_calls": called} if called else {})}
    lines = [
        {"model": MODEL, "message": message, "done": False},
        {
            "model": MODEL,
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 10,
            "eval_count": 5,
        },
    ]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return document(body, content_type="application/x-ndjson")


def _anthropic(says: Says) -> Reply:
    blocks: list[tuple[dict[str, Any], dict[str, Any]]] = []
    if says.words:
        blocks.append(({"type": "text", "text": ""}, {"type": "text_delta", "text": says.words}))
    for number, (name, given) in enumerate(says.calls):
        use = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {}}
        blocks.append((use, {"type": "input_json_delta", "partial_json": json.dumps(given)}))
    head: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": []}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**head, "usage": {"input_tokens": 10}}}]
    for index, (block, delta) in enumerate(blocks):
        events += [
            {"type": "content_block_start", "index": index, "content_block": block},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    reason = {"stop_reason": "tool_use" if says.calls else "end_turn"}
    events += [{"type": "message_delta", "delta": reason, "usage": {"output_tokens": 5}}, {"type": "message_stop"}]
    return stream(*(f"event: {event['type']}\n".encode() + frame(event) for event in events))


def _responses(says: Says) -> Reply:
    called = [call(name, given, f"call_{number}") for number, (name, given) in enumerate(says.calls)]
    items = [*([message(says.words)] if says.words else []), *called]
    return stream(responses_stream(*items, ending=Ending(input_tokens=10, output_tokens=5)))


_REPLIES: Mapping[str, Callable[[Says], Reply]] = {
    "openai-chat": _openai,
    "ollama-chat": _ollama,
    "anthropic-messages": _anthropic,
    "openai-responses": _responses,
}


def scripted(kind: str, *answers: Says) -> FakeUpstream:
    """Return an engine of this kind whose model gives these answers, one after the other."""
    return FakeUpstream([_REPLIES[kind](says) for says in answers])


def answering(kind: str, model: Callable[[ReceivedRequest], Says]) -> FakeUpstream:
    """Return an engine of this kind whose model answers each request so."""
    return FakeUpstream(lambda request: _REPLIES[kind](model(request)))


def upstream_of(engine: FakeUpstream, kind: str, **known: Any) -> Upstream:
    """Return the engine as the bridge sees it."""
    base_url = engine.base_url if kind.startswith("openai") else engine.base_url.removesuffix("/v1")
    return Upstream(name="The engine", base_url=base_url, model=MODEL, adapter=ADAPTERS[kind], profile=UNKNOWN, **known)


def results(request: ReceivedRequest) -> list[str]:
    """Return the texts of all tool results that an engine was sent, of any kind."""
    found = []
    for item in conversation(request):
        if item.get("role") == "tool":
            found.append(item["content"])
        elif item.get("type") == "function_call_output":
            found.append(item["output"])
        elif isinstance(item.get("content"), list):
            found += [block["content"] for block in item["content"] if block["type"] == "tool_result"]
    return found


def conversation(request: ReceivedRequest) -> list[dict[str, Any]]:
    """Return the messages that an engine was sent, or the items of the Responses API."""
    return request.json.get("messages") or request.json["input"]  # type: ignore[no-any-return] # JSON


def offered(request: ReceivedRequest) -> list[str]:
    """Return the names of the tools that an engine was sent."""
    return [tool.get("function", tool)["name"] for tool in request.json.get("tools", [])]


def searxng(*hits: Mapping[str, Any]) -> Reply:
    """Return what a SearXNG answers."""
    engines = {"engine": "duckduckgo", "engines": ["duckduckgo"], "score": 1.0, "category": "general"}
    found = [{"content": f"About {hit['title']}.", **engines, **hit} for hit in hits]
    return json_document({"query": "q", "number_of_results": len(hits), "results": found, "unresponsive_engines": []})


ARCH = {"url": f"http://{SITE}/arch", "title": "Arch bridges", "publishedDate": "2026-01-02T00:00:00"}
BEAM = {"url": "https://beams.example/", "title": "Beam bridges"}


class Internet:
    """A SearXNG and a site on this machine, and the web tools that use them."""

    def __init__(
        self,
        search: Reply | None = None,
        pages: Mapping[str, Reply] | None = None,
        *,
        fetches: bool = True,
        **tools: Any,
    ) -> None:
        self.search = FakeUpstream(lambda _: search or searxng(ARCH, BEAM), answers_get=True)
        self.site = FakeUpstream(documents=pages or {})
        self._tools = tools if fetches else {**tools, "pages": None}
        self._stack = AsyncExitStack()

    @property
    def tools(self) -> WebTools:
        """The web tools; in them every name of a host is the site, and this machine counts as public."""

        async def resolve(_host: str, _port: int) -> Sequence[str]:
            return ["127.0.0.1"]

        web = PublicWeb(LIMITS, resolve=resolve, is_allowed=lambda address: address.is_loopback)
        address = self.search.base_url.removesuffix("/v1")
        searcher = HttpSearcher(SERVICES["searxng"], address, None)
        self._stack.push_async_callback(searcher.aclose)
        return WebTools(**{"searcher": searcher, "pages": PageReader(web), **self._tools})

    def url(self, path: str, host: str = SITE) -> str:
        """Return the address of a page of the site."""
        return f"http://{host}:{self.site.port}{path}"

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.search)
        await self._stack.enter_async_context(self.site)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


def html(body: str, title: str = "A page", content_type: str = "text/html; charset=utf-8") -> Reply:
    """Return a web page."""
    page = f"<!doctype html><html><head><title>{title}</title></head><body>{body}</body></html>"
    return document(page.encode(), content_type=content_type)
