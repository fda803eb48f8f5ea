"""A bridge on a free loopback port, in the test's own event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import UNKNOWN
from claude_bridge.bridge import ModelBridge
from claude_bridge.conversion.profile import Profile
from claude_bridge.providers import Upstream
from claude_bridge.server.app import Service
from claude_bridge.server.http1 import HttpRequest
from claude_bridge.server.listener import accept_connections, open_listener
from claude_bridge.server_tools.tools import WebTools
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.delivery import Sink
from claude_bridge.upstream.client import client_for
from tests.fake_upstream import MODEL


class _ListeningService(Service):
    """A service that keeps what clients ask, as it came: the trace has no secrets in it."""

    def __init__(self, bus: Bus, received: list[HttpRequest] | None) -> None:
        super().__init__(bus, auth_token=None, loopback_only=True)
        self._received = received

    def check(self, request: HttpRequest) -> None:
        """Keep the request; its body is there as soon as a handler has read it."""
        if self._received is not None:
            self._received.append(request)
        super().check(request)


@asynccontextmanager
async def open_bridge(
    upstream: Upstream,
    *sinks: Sink,
    received: list[HttpRequest] | None = None,
    web_tools: WebTools | None = None,
    keeps_histories: bool = True,
) -> AsyncIterator[str]:
    """Serve before an upstream while the context lasts; yields the bridge's address.

    Sinks get the trace, and ``received`` every request of a client that comes to a known path.
    """
    bus = Bus(sinks)
    service = _ListeningService(bus, received)
    listener, port = await open_listener("127.0.0.1", 0)
    async with (
        client_for(upstream, None) as client,
        anyio.create_task_group() as tasks,
    ):
        service.provide(ModelBridge(upstream, client, bus=bus, web_tools=web_tools), keeps_histories=keeps_histories)
        tasks.start_soon(accept_connections, listener, service)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


def scripted_upstream(base_url: str, *, profile: Profile = UNKNOWN, **known: Any) -> Upstream:
    """Return the fake upstream as the bridge sees it; ``known`` are more fields of it."""
    return Upstream(
        name="The engine",
        base_url=base_url,
        model=MODEL,
        adapter=ADAPTERS["openai-chat"],
        profile=profile,
        **known,
    )
