"""What the handlers share: the bridge once it is there, the trace, who may ask, and what is running."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio

from claude_bridge.adapters.base import ClientRequest
from claude_bridge.conversion.request.history import MAX_KEPT_BYTES, KnownHistory, RequestMemo
from claude_bridge.errors import BridgeError
from claude_bridge.page.live import LivePage
from claude_bridge.router import AnyBridge
from claude_bridge.server.access import AccessRules
from claude_bridge.server.http1 import LOOK_EVERY_S, HttpRequest, Responder
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.recorder import Recorder
from claude_bridge.trace.stats import Stats
from claude_bridge.upstream.request_queue import RequestQueues
from claude_bridge.wire.anthropic import MessagesRequest
from claude_bridge.wire.anthropic_codec import parse_outline

_NOT_FOR_ENGINES = frozenset(
    {"accept-encoding", "connection", "content-length", "cookie", "expect", "forwarded", "host", "keep-alive", "origin"}
    | {"referer", "te", "trailer", "transfer-encoding", "upgrade", "via"}
)
_NOT_FOR_ENGINES_PREFIXES = ("proxy-", "sec-", "x-forwarded-", "x-real-")


class RunningAnswer:
    """An answer that is being written."""

    def __init__(self, recorder: Recorder, responder: Responder) -> None:
        self.recorder = recorder
        self.responder = responder
        self.scope = anyio.CancelScope()
        self.bridge: AnyBridge | None = None
        """What carries it; None: that is not known yet."""
        self.stopped_by: BridgeError | None = None
        """Why it was ended before it was whole, if it was."""

    def stop(self, reason: BridgeError) -> None:
        """End the answer now."""
        self.stopped_by = reason
        self.scope.cancel()

    def end_if_client_left(self) -> None:
        """End the answer where nobody waits for it any more."""
        if self.responder.has_client_left():
            self.recorder.client_left()
            self.scope.cancel()


class Service:
    """The server's side of a bridge that may still be looking for its engine."""

    def __init__(
        self,
        bus: Bus,
        *,
        auth_token: str | None,
        loopback_only: bool,
        queues: RequestQueues | None = None,
        page: LivePage | None = None,
        client_settings: Callable[[AnyBridge], dict[str, str]] | None = None,
    ) -> None:
        """``auth_token`` is what clients must send (None: nothing); ``loopback_only`` says where we listen.

        ``page`` None: there is none. ``client_settings`` returns what points clients at this bridge, by its form.
        """
        self.bus = bus
        self.queues = queues or RequestQueues(None)
        """Where requests wait that engines can't take yet."""
        self.access = AccessRules(auth_token=auth_token, loopback_only=loopback_only)
        self.memo = RequestMemo(secrets.token_hex())
        """What earlier requests were made into, for the bridge that serves now."""
        self.stats = Stats()
        """What all exchanges came to."""
        self.page = page
        self.client_settings = client_settings
        self.web_search: str | None = None
        """Who searches the web, for those who ask what is served."""
        self.is_stopping = False
        """Whether the server takes no more, so that viewers of the page must go."""
        self.answers: set[RunningAnswer] = set()
        """The answers that are being written."""
        self._is_running = anyio.Event()
        """Set when an answer runs, for those who wait for one."""
        self.bridge_if_known: AnyBridge | None = None
        """The bridge; None: it is not known yet what its engine is."""
        self._ready = anyio.Event()

    def provide(self, bridge: AnyBridge, *, keeps_histories: bool = True) -> None:
        """Give the bridge to all who wait for it, and to all requests that come from now on.

        ``keeps_histories`` False: each request is decoded and converted as a whole.
        """
        self.memo = RequestMemo(secrets.token_hex(), max_bytes=MAX_KEPT_BYTES if keeps_histories else 0)
        self.bridge_if_known = bridge
        self._ready.set()

    async def bridge(self) -> AnyBridge:
        """Return the bridge, as soon as it is known what its engine is."""
        while self.bridge_if_known is None:
            await self._ready.wait()
        return self.bridge_if_known

    @property
    def running(self) -> int:
        """How many answers are being written."""
        return len(self.answers)

    @contextmanager
    def running_answer(self, recorder: Recorder, responder: Responder) -> Iterator[RunningAnswer]:
        """Yield an answer that counts as running while the context lasts; it ends early where its client leaves."""
        answer = RunningAnswer(recorder, responder)
        if not self.answers:
            self._is_running.set()
        self.answers.add(answer)
        try:
            with answer.scope:
                yield answer
        finally:
            self.answers.discard(answer)

    async def watch_clients(self) -> None:
        """End the answers whose clients leave; runs until it is cancelled."""
        while True:
            if not self.answers:
                self._is_running = anyio.Event()
                await self._is_running.wait()
            await anyio.sleep(LOOK_EVERY_S)
            for answer in list(self.answers):
                answer.end_if_client_left()

    def stop_answers(self, reason: BridgeError) -> None:
        """End all answers that are being written; their clients get the reason."""
        for answer in list(self.answers):
            answer.stop(reason)

    def check(self, request: HttpRequest) -> None:
        """Check that this client may ask; see AccessRules.check."""
        self.access.check(request.head)

    def client_request(self, request: HttpRequest, body: bytes, history: KnownHistory | None) -> ClientRequest:
        """Return the request as an engine of Anthropic's API may get it: without what is meant for the bridge.

        The bridge's own token stays here, and so do headers of this one connection (RFC 9110, section 7.6.1) and of
        browsers.
        """
        named = request.headers.get("connection", "").lower().split(",")
        left_out = _NOT_FOR_ENGINES | {name.strip() for name in named}
        headers = {
            name: value
            for name, value in request.headers.items()
            if name not in left_out
            and not name.startswith(_NOT_FOR_ENGINES_PREFIXES)
            and not self.access.is_token(value)
        }
        return ClientRequest(body=body, query=request.query, headers=headers, history=history)

    def outline(self, body: bytes) -> MessagesRequest | None:
        """Return what can be read of a request that this version does not understand, if it is passed on unchanged."""
        is_passthrough = self.bridge_if_known is not None and self.bridge_if_known.is_passthrough
        return parse_outline(body) if is_passthrough else None
