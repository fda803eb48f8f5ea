"""Every kind of request that Claude Code makes: a scripted model leads it into each, behind a bridge that listens.

Three short sessions are enough: one by itself with all tools, one on a screen, and one whose answer breaks off.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import msgspec
import trustme
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener
from msgspec import Struct

from claude_bridge.conversion.loss import Loss
from claude_bridge.server.http1 import HttpRequest
from claude_bridge.trace.events import ExchangeFailed, RequestReceived, RequestSent
from tests.claude_code.client import ClaudeCode
from tests.claude_code.terminal import open_terminal
from tests.documents import a_pdf, a_png
from tests.fake_upstream import (
    DONE,
    MODEL,
    FakeUpstream,
    Head,
    Pause,
    ReceivedRequest,
    Reply,
    Send,
    answer,
    calls,
    finish,
    frame,
    refusal,
    stream,
    text,
    thinking,
    tool_call,
    usage,
)
from tests.kept_events import KeptEvents
from tests.running_bridge import open_bridge, scripted_upstream

IN_GENERAL, TO_EXPLORE = "Look around in general.", "Explore all of it."
PDF_WORDS, PAGE_WORDS = "What the PDF says", "What the page says"
SUMMARY = "<summary>" + "Much was looked at, and nothing was new. " * 40 + "</summary>"


class Asked(Struct, frozen=True, kw_only=True):
    """One request of the client, and what the bridge made of it at once: a body with losses, or a refusal."""

    path: str
    headers: dict[str, str]
    raw: bytes
    body: dict[str, Any]
    sent: bytes | None = None
    losses: list[Loss] = []
    refused: str | None = None

    @property
    def last_words(self) -> str:
        """What was said last, as text."""
        return str(self.body["messages"][-1]["content"])

    def has(self, kind: str, *, role: str = "user", inside: str | None = None) -> bool:
        """Return whether a message of that role holds a block of that kind, itself or inside a block of a kind."""
        blocks = [
            block
            for message in self.body["messages"]
            if message["role"] == role and isinstance(message["content"], list)
            for block in message["content"]
        ]
        if inside is not None:
            held = [block.get("content") for block in blocks if block["type"] == inside]
            blocks = [block for content in held if isinstance(content, list) for block in content]
        return any(block["type"] == kind for block in blocks)


FILES = {base64.b64encode(a_pdf(words)).decode(): words for words in (PDF_WORDS, PDF_WORDS + "!")}
"""The text in each PDF of the sessions, by its base64."""

Situation = Callable[[Asked], bool]

SITUATIONS: dict[str, Situation] = {
    "main, by itself": lambda requested: _is_main(requested) and "sdk-cli" in requested.headers["user-agent"],
    "main, on a screen": lambda requested: _is_main(requested) and "safeguards" in requested.body,
    "sub-agent, general": lambda requested: _is_of_agent(requested) and IN_GENERAL in str(requested.body["messages"]),
    "sub-agent, Explore": lambda requested: _is_of_agent(requested) and TO_EXPLORE in str(requested.body["messages"]),
    "title": lambda requested: "format" in requested.body.get("output_config", {}),
    "WebSearch helper": lambda requested: _tool_types(requested)[:1] == ["web_search_20250305"],
    "WebFetch helper": lambda requested: requested.body.get("tools") == [] and PAGE_WORDS in requested.last_words,
    "compaction": lambda requested: "<summary>" in requested.last_words and "tools" in requested.body,
    "count of tokens": lambda requested: requested.path.endswith("/count_tokens"),
    "not streamed": lambda requested: _is_main(requested) and not requested.body.get("stream"),
    "tool search: names only": lambda requested: (
        _is_main(requested) and _deferred(requested) == ["DeferredToolPlaceholder"]
    ),
    "tool search: loaded tools": lambda requested: {"WebFetch", "WebSearch"} <= {*_deferred(requested)},
    "parallel results, one of them an error": lambda requested: "'is_error': True" in requested.last_words,
    "thinking in the history": lambda requested: requested.has("thinking", role="assistant"),
    "image in a user's turn": lambda requested: requested.has("image"),
    "image in a tool result": lambda requested: requested.has("image", inside="tool_result"),
    "PDF in a user's turn": lambda requested: requested.has("document"),
    "PDF in a tool result": lambda requested: requested.has("document", inside="tool_result"),
    "list and string for one system message": lambda requested: requested.has("text", role="system"),
}
"""By name, how each is known."""


def _is_main(requested: Asked) -> bool:
    return "Agent" in _tool_names(requested) and not _is_of_agent(requested) and "system" in requested.body


def _is_of_agent(requested: Asked) -> bool:
    return "x-claude-code-agent-id" in requested.headers


def _tool_names(requested: Asked) -> list[str]:
    return [tool["name"] for tool in requested.body.get("tools") or []]


def _tool_types(requested: Asked) -> list[str]:
    return [tool.get("type", "custom") for tool in requested.body.get("tools") or []]


def _deferred(requested: Asked) -> list[str]:
    return [tool["name"] for tool in requested.body.get("tools") or [] if tool.get("defer_loading")]


# --- the sessions ---------------------------------------------------------------------------------------------


async def all_requests(new_claude_code: Callable[[], ClaudeCode]) -> list[Asked]:
    """Return every request of the sessions, in the order in which they came."""
    requested: list[Asked] = []
    for play in (_by_itself, _on_a_screen, _with_an_answer_that_breaks):
        requested += await play(new_claude_code())
    return requested


async def _by_itself(claude_code: ClaudeCode) -> list[Asked]:
    """Tools of every kind, sub-agents, a conversation that gets too long, and pictures of the user's own."""
    project = claude_code.project
    (project / "picture.png").write_bytes(a_png())
    (project / "paper.pdf").write_bytes(a_pdf(PDF_WORDS))
    async with _page(PAGE_WORDS, project / "authority.pem") as page:
        turns = iter(_tour(project, page))

        def script(request: ReceivedRequest) -> Reply:
            output_text = str(request.json["messages"])
            if "Web page content" in output_text and "tools" not in request.json:
                return answer("It is a page.")
            if "web search" in output_text and len(request.json["messages"]) <= 2:
                return answer("Nothing was found.")
            if "<summary>" in str(request.json["messages"][-1]):
                return answer(SUMMARY)
            for prompt, name in ((IN_GENERAL, "general-purpose"), (TO_EXPLORE, "Explore")):
                if prompt in output_text and f'"subagent_type":"{name}"' not in output_text.replace('": "', '":"'):
                    return answer("I looked.")
            return next(turns)

        async with _listening(script) as (url, heard):
            prompts = [
                [{"type": "text", "text": "Use all that you have."}],
                [{"type": "text", "text": "And what is this?"}, _file("image", "image/png", a_png(3, 3))],
                [{"type": "text", "text": "And this?"}, _file("document", "application/pdf", a_pdf(PDF_WORDS + "!"))],
            ]
            await claude_code.converse(
                url,
                prompts,
                "--model",
                MODEL,
                "--settings",
                '{"skipWebFetchPreflight":true}',
                environment={
                    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
                    "NODE_EXTRA_CA_CERTS": str(project / "authority.pem"),
                },
            )
            return heard()


def _tour(project: Path, page: str) -> list[Reply]:
    look = {"description": "Look", "prompt": IN_GENERAL, "subagent_type": "general-purpose"}
    explore = {"description": "Explore", "prompt": TO_EXPLORE, "subagent_type": "Explore"}
    search = tool_call("ToolSearch", {"query": "select:WebFetch,WebSearch", "max_results": 5})
    return [
        stream(thinking("A plan."), text("First the tools."), search, finish("tool_calls"), usage(), DONE),
        calls(
            ("Read", {"file_path": str(project / "picture.png")}),
            ("Read", {"file_path": str(project / "paper.pdf")}),
            ("Read", {"file_path": str(project / "missing.txt")}),
            ("Bash", {"command": "echo 'words \"and\" more'", "description": "Say something"}),
        ),
        calls(("WebSearch", {"query": "bridges"})),
        calls(("WebFetch", {"url": page, "prompt": "What does it say?"})),
        calls(("Agent", look), ("Agent", explore)),
        refusal(400, "prompt is too long: 250000 tokens > 200000 maximum"),
        answer("All was used."),
        answer("A picture."),
        answer("A paper."),
    ]


async def _on_a_screen(claude_code: ClaudeCode) -> list[Asked]:
    """The auto mode, the title of a session, and what /context counts."""

    def script(request: ReceivedRequest) -> Reply:
        return answer('{"title": "What is here"}') if "response_format" in request.json else answer("Nothing is here.")

    async with _listening(script) as (url, heard):
        environment = claude_code.environment(url)
        del environment["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"]  # else no title is asked for
        command = [str(claude_code.binary), "--model", MODEL]
        with TemporaryDirectory() as folder:  # pytest's own path is too long for a socket
            screen = open_terminal(
                command, environment=environment, project=claude_code.project, socket=Path(folder) / "tmux"
            )
            async with screen as terminal:
                await terminal.wait_for("auto mode on")
                await terminal.ask("Please tell me in a few words what is in this folder")
                await terminal.wait_for("Nothing is here.")
                await terminal.ask("/context")
                await terminal.wait_for("Free space")
        return heard()


async def _with_an_answer_that_breaks(claude_code: ClaudeCode) -> list[Asked]:
    """What is asked again, and not streamed then."""
    error = frame({"error": {"message": "out of memory", "code": 500}})
    broken: Reply = [Head(), Send(text("I begin ")), Pause(0.2), Send(error)]
    replies: Iterator[Reply] = iter([broken, answer("I am whole.")])
    async with _listening(lambda _: next(replies)) as (url, heard):
        session = await claude_code.ask(url, "Say something.", "--model", MODEL)
        assert session.result["result"] == "I am whole."
        return heard()


def _file(kind: str, media_type: str, data: bytes) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    return {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": encoded}}


# --- the ends of the bridge -----------------------------------------------------------------------------------


@asynccontextmanager
async def _listening(
    script: Callable[[ReceivedRequest], Reply],
) -> AsyncIterator[tuple[str, Callable[[], list[Asked]]]]:
    """Yield a bridge before a scripted model, and a function that returns what it has heard so far."""
    received: list[HttpRequest] = []
    trace = KeptEvents()
    async with (
        FakeUpstream(script) as upstream,
        open_bridge(scripted_upstream(upstream.base_url), trace, received=received) as url,
    ):
        yield url, lambda: list(_requested(received, trace))


def _requested(received: list[HttpRequest], trace: KeptEvents) -> list[Asked]:
    exchanges = iter([event.exchange for event in trace.events if isinstance(event, RequestReceived)])
    sent = {event.exchange: event for event in trace.events if isinstance(event, RequestSent)}
    refused = {
        event.exchange: event.message
        for event in trace.events
        if isinstance(event, ExchangeFailed) and event.exchange not in sent
    }
    out: list[Asked] = []
    for request in received:
        if not request.body:
            continue
        # The trace tells of messages only, in the order in which they came.
        exchange = next(exchanges) if request.path == "/v1/messages" else ""
        out.append(
            Asked(
                path=request.path,
                headers=dict(request.headers),
                raw=request.body,
                body=msgspec.json.decode(request.body),
                sent=bytes(sent[exchange].body) if exchange in sent else None,
                losses=sent[exchange].losses if exchange in sent else [],
                refused=refused.get(exchange),
            )
        )
    return out


@asynccontextmanager
async def _page(words: str, authority_file: Path) -> AsyncIterator[str]:
    """Serve one web page by https, as Claude Code fetches no other; yields its address."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(authority_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    document = f"<html><body><p>{words}</p></body></html>".encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(document)}\r\nconnection: close\r\n\r\n"

    async def serve(stream: ByteStream) -> None:
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive()
            await stream.send(head.encode() + (b"" if request.startswith(b"HEAD") else document))

    port = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with TLSListener(port, context, standard_compatible=False) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"https://127.0.0.1:{port.extra(SocketAttribute.local_port)}/"
        tasks.cancel_scope.cancel()
