"""The public library: open a bridge to a model, and ask it in the shapes of Anthropic's Messages API."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec.structs import replace

from claude_bridge.adapters.base import ClientRequest
from claude_bridge.bridge import ModelBridge, new_id
from claude_bridge.conversion.reasoning import ThinkMode
from claude_bridge.errors import BridgeError, InvalidRequestError, SetupError
from claude_bridge.providers import PROVIDERS, Upstream, upstream_of, with_api
from claude_bridge.server_tools.pages import PageReader
from claude_bridge.server_tools.searching import searcher_for
from claude_bridge.server_tools.tools import WebTools
from claude_bridge.server_tools.turn import enter_task_group
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.recorder import Recorder
from claude_bridge.upstream.client import client_for
from claude_bridge.upstream.engines.discover import discover
from claude_bridge.upstream.engines.engine import Engine
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest
from claude_bridge.wire.anthropic_answers import ErrorEvent, Message, StreamEvent
from claude_bridge.wire.anthropic_codec import parse_count_tokens_request, parse_messages_request

Request = MessagesRequest | Mapping[str, Any]
"""A Messages request: typed, or as the JSON object of the API."""


@asynccontextmanager
async def open_bridge(
    engine: str,
    model: str = "",
    *,
    api_key: str | None = None,
    api: str | None = None,
    context_window: int | None = None,
    max_output_tokens: int | None = None,
    think: ThinkMode = "auto",
    web_search: str = "auto",
    web_search_key: str | None = None,
    web_fetch: bool = False,
    check: bool = True,
    warn: Callable[[str], None] | None = None,
) -> AsyncIterator[Bridge]:
    """Open a bridge to one model; leaving the context ends its answers and closes its connections.

    ``engine`` is an address such as ``http://localhost:11434``, with or without ``/v1``, or the name of a provider
    such as ``openrouter``. An empty ``model`` stands for the only one that the engine has. ``api`` keeps to an
    upstream kind such as ``openai-chat``; None: what the engine turns out to speak. ``context_window`` and
    ``max_output_tokens`` are in tokens; None: what the engine reports. ``think`` is ``auto`` (as requests ask),
    ``on`` or ``off``. ``web_search`` names who searches for models that call the API's web_search tool, to which
    their queries go: ``off``, ``duckduckgo``, ``searxng:URL``, ``brave``, ``tavily``, ``exa`` or ``ollama``, with
    its key in ``web_search_key``; ``auto`` leaves it to OpenAI and xAI for their own models. ``web_fetch`` lets models
    read public pages by the API's web_fetch tool. ``check`` false asks the engine nothing beforehand. ``warn`` takes
    what a person should know, such as that the engine has cut a prompt; None: the logger ``claude_bridge`` gets it.

    No environment variable and no configuration file is read.

    Raises:
        SetupError: there is no such provider, engine, model or search service, or the key is wrong; ``hint`` is the
            next step.
        UpstreamError: the engine does not answer, or not yet.
    """
    upstream = await discover(
        Engine(
            upstream=replace(_named(engine, model, api), think=think),
            api_key=api_key,
            key_hint="Give api_key.",
            check=check,
            may_upgrade=api is None,
            window_tokens=context_window,
            max_output_tokens=max_output_tokens,
        )
    )
    bus = Bus(warn=warn or logging.getLogger("claude_bridge").warning)
    searcher = searcher_for(web_search, web_search_key)
    web_tools = WebTools(searcher=searcher, hosted=web_search == "auto", pages=PageReader() if web_fetch else None)
    async with client_for(upstream, api_key) as client, AsyncExitStack() as stack:
        if searcher is not None:
            stack.push_async_callback(searcher.aclose)
        tasks = await enter_task_group(stack)
        yield Bridge(ModelBridge(upstream, client, bus=bus, web_tools=web_tools), tasks)


class Bridge:
    """One model behind the Messages API; made by ``open_bridge``. Any number of requests may run side by side.

    A request is a MessagesRequest, or a mapping in the shape of the API's JSON; in a mapping ``model`` may be left
    out. What is asked is the model of the bridge, whichever a request names.
    """

    def __init__(self, bridge: ModelBridge, tasks: TaskGroup) -> None:
        self._bridge = bridge
        self._tasks = tasks

    @property
    def upstream(self) -> Upstream:
        """What is known of the engine: its ``name``, ``base_url``, ``model``, ``window_tokens`` and the like."""
        return self._bridge.upstream

    def stream(self, request: Request) -> EventStream:
        """Return the events of the answer, for ``async for``; they are legal streams of the Messages API.

        The request is sent at once. A loop that may be left early should use ``async with bridge.stream(...) as
        events``, so that the engine stops too.

        Raises:
            InvalidRequestError: the request has a wrong field; the message names its path.
            BridgeError: from the iteration, whatever ended the answer; see ``message``.
        """
        typed, raw = self._read(request)
        answer = _SharedAnswer()
        # In a task of the bridge, so that the stream need not be read, nor left, in one scope.
        self._tasks.start_soon(answer.receive, self._bridge, typed, raw)
        return EventStream(answer)

    async def message(self, request: Request) -> Message:
        """Return the whole answer.

        Raises:
            ClientError: the request can't be served as it is; PromptTooLongError if the prompt exceeds the window.
            UpstreamError: the engine failed, refused, or broke off its answer.
        """
        return await self._bridge.complete(*self._read(request))

    async def count_tokens(self, request: CountTokensRequest | Mapping[str, Any]) -> int:
        """Return the tokens of the prompt, tools included: exact where the engine can count, else an estimate.

        Raises:
            ClientError: the request can't be served as it is.
        """
        if isinstance(request, CountTokensRequest):
            return await self._bridge.count_tokens(request)
        body = _json({"model": self.upstream.model, **request})
        return await self._bridge.count_tokens(parse_count_tokens_request(body), ClientRequest(body=body))

    def _read(self, request: Request) -> tuple[MessagesRequest, ClientRequest | None]:
        if isinstance(request, MessagesRequest):
            return request, None
        # A whole message is put together from the events.
        body = _json({"model": self.upstream.model, **request, "stream": True})
        return parse_messages_request(body), ClientRequest(body=body)


class _SharedAnswer:
    """What the task that reads an answer shares with its EventStream, which it must not keep alive."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.events: deque[StreamEvent] = deque()
        self.arrived = anyio.Event()
        self.taken = anyio.Event()
        self.is_over = False
        self.error: Exception | None = BridgeError("The stream was closed before the answer was whole.")
        """Why the answer is not whole."""

    async def receive(self, bridge: ModelBridge, request: MessagesRequest, raw: ClientRequest | None) -> None:
        """Ask, and hand on what comes as fast as it is taken."""
        recorder = Recorder(bridge.bus, new_id("req_"))
        try:
            with self.scope:
                async with AsyncExitStack() as stack:
                    answer = await bridge.begin(request, recorder, raw, stack)
                    await answer.send_events_to(self._hand_on)
                self.error = answer.error
        except Exception as error:  # noqa: BLE001 - it is raised where the stream is read
            self.error = error
        finally:
            self.is_over = True
            self.arrived.set()

    async def _hand_on(self, events: Sequence[StreamEvent]) -> None:
        self.events += (event for event in events if not isinstance(event, ErrorEvent))
        self.arrived.set()
        while self.events:
            self.taken = anyio.Event()
            await self.taken.wait()


class EventStream:
    """The events of one answer as they come; made by ``Bridge.stream``.

    Iterate it once. Closing it, or dropping it, stops the engine.
    """

    def __init__(self, answer: _SharedAnswer) -> None:
        self._answer = answer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        answer = self._answer
        while not answer.events:
            if answer.is_over:
                if answer.error is None:
                    raise StopAsyncIteration
                raise answer.error
            answer.arrived = anyio.Event()
            await answer.arrived.wait()
        event = answer.events.popleft()
        if not answer.events:
            answer.taken.set()
        return event

    def close(self) -> None:
        """Stop the answer, if it is not over."""
        if not self._answer.is_over:
            self._answer.scope.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _named(engine: str, model: str, api: str | None) -> Upstream:
    """Return the upstream that an address or the name of a provider means; raises SetupError."""
    is_address = "://" in engine
    if not is_address and engine not in PROVIDERS:
        raise SetupError(
            f"{engine!r} is neither an address nor a provider.",
            f"Give an address such as http://localhost:11434, or one of: {', '.join(PROVIDERS)}.",
        )
    row = PROVIDERS["openai" if is_address else engine]
    if not is_address and not row.base_url:
        raise SetupError(f"{row.display_name} has no address of its own.", "Give that of your resource.")
    upstream = upstream_of(row, base_url=engine if is_address else None, model=model)
    return upstream if api is None else with_api(upstream, api)


def _json(request: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(request)
    except (TypeError, UnicodeEncodeError) as error:
        raise InvalidRequestError(f"The request is no JSON: {error}") from error
