"""UpstreamCall: one answer of an engine, read as it comes; a silent engine is reported and does not block."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress

import anyio

from claude_bridge.errors import BridgeError, UpstreamTimeoutError
from claude_bridge.upstream.network import NetworkError
from claude_bridge.upstream.transport import HttpExchange

SILENCE_LIMIT_S = 2 * 3600.0
"""A prompt of a large model on a small machine may take an hour to read."""

MAX_REFUSAL_BYTES = 64 * 1024
REFUSAL_S = 1.0
"""How long the text of a refusal is waited for; its status says the most."""

WATCHED_AFTER_S = 0.5
"""A longer answer has a task that watches for silence, since a timer for each read would cost half a read. In a shorter
one there are few reads, and the task would cost more."""

DRAIN_S = 0.1
"""How long an answer's last bytes are waited for, so that the connection can be used again."""


class UpstreamCall:
    """One answer that is on its way; made by UpstreamClient.open."""

    def __init__(
        self,
        exchange: HttpExchange,
        *,
        idle_s: float,
        where: str,
        explain_refusal: Callable[[int, Mapping[str, str], bytes], BridgeError],
        explain_failure: Callable[[NetworkError], BridgeError],
    ) -> None:
        self._exchange = exchange
        self._idle_s = idle_s
        self._where = where
        self._explain_refusal = explain_refusal
        self._explain_failure = explain_failure
        self.refusal = b""
        """The body of an answer that is a refusal."""
        self._receive_more: Callable[[], Awaitable[bytes]] | None = None
        """Returns what has come of the answer, ``b""`` at its end; None: nothing of it has come."""
        self._waiting: anyio.CancelScope | None = None
        """Around the read that waits; None: silence has cancelled it."""
        self._is_shared = False
        """Whether that scope is around all reads."""
        self._waiting_since = math.inf
        """Since when a read waits; infinite: none does."""
        self._silent_since = time.monotonic()
        self._was_silent = False
        self._watched_from = self._silent_since + WATCHED_AFTER_S
        """When a task begins to watch for silence; infinite: it has begun."""
        self._has_begun: anyio.Event | None = None
        """Set once a turn has come, or has failed to come; None: none is waited for."""
        self._has_ended: anyio.Event | None = None
        """Set at the end of the answer, which gives the turn back."""
        self._failure: Exception | None = None

    @property
    def status(self) -> int | None:
        """The HTTP status, once it has come."""
        return self._exchange.status or None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that came with it, by lower-case name."""
        return self._exchange.headers

    @property
    def retried(self) -> str | None:
        """Why something was tried for a second time, the connection or the request; None: nothing was."""
        return self._exchange.retried and f"{self._where} {self._exchange.retried}"

    async def receive(self) -> bytes | None:
        """Return all bytes that have come: ``b""`` at the end, None after ``idle_s`` seconds of silence.

        It may be cancelled and called again: no byte is lost.

        Raises:
            UpstreamError: the answer broke off, or never came.
            ClientError: the engine refused the request as the client's fault.
        """
        now = self._waiting_since = time.monotonic()
        if not self._was_silent:
            self._silent_since = now
        if self._is_shared and self._waiting is not None:
            return await self._receive_data()
        if now >= self._watched_from:
            self._watched_from = math.inf
            self._exchange.start_soon(self._watch_silence)
        if not self._is_shared:
            deadline = math.inf if self.is_watched else anyio.current_time() + self._idle_s
            with anyio.CancelScope(deadline=deadline) as self._waiting:
                return await self._receive_data()
        self._is_shared, self._was_silent = False, True
        if time.monotonic() - self._silent_since > SILENCE_LIMIT_S:
            raise UpstreamTimeoutError(f"{self._where} was silent for more than {SILENCE_LIMIT_S / 3600:g} hours.")
        return None

    @property
    def is_watched(self) -> bool:
        """Whether ``until_silent`` may be used: the answer takes so long that a task watches for silence."""
        return self._watched_from == math.inf

    def until_silent(self) -> anyio.CancelScope:
        """Return a scope for all reads until ``idle_s`` seconds of silence cancel it; the next one returns None then.

        A read may bring data though the scope has just been cancelled; what is done with them must be done outside.
        """
        self._is_shared, self._waiting = True, anyio.CancelScope()
        return self._waiting

    async def _receive_data(self) -> bytes:
        try:
            data = await (self._receive_more or self._receive_first)()
        except NetworkError as error:
            raise self._explain_failure(error) from error
        self._waiting_since = math.inf
        self._was_silent = False
        if not data and self._has_ended is not None:
            self._has_ended.set()
        return data

    def wait_for_turn(self, turn: AbstractAsyncContextManager[None]) -> None:
        """Begin the exchange when its turn comes; ``receive`` waits for that."""
        self._has_begun, self._has_ended = anyio.Event(), anyio.Event()
        self._exchange.start_soon(self._begin_in_turn, turn, self._has_begun, self._has_ended)

    async def _begin_in_turn(
        self, turn: AbstractAsyncContextManager[None], has_begun: anyio.Event, has_ended: anyio.Event
    ) -> None:
        """Keep the turn until the answer has come to its end, or this is cancelled."""
        try:
            async with turn:
                await self._exchange.begin()
                has_begun.set()
                await has_ended.wait()
        except (NetworkError, BridgeError) as error:
            self._failure = error
            has_begun.set()

    async def _watch_silence(self) -> None:
        """Wake the receiver after each ``idle_s`` seconds without bytes; runs beside it until it is cancelled."""
        while True:
            due_in_s = self._waiting_since + self._idle_s - time.monotonic()
            if due_in_s <= 0 and self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None
            await anyio.sleep(due_in_s if 0 < due_in_s <= self._idle_s else self._idle_s)

    async def drain(self) -> None:
        """Wait a moment for the end of an answer that has said its last word."""
        if self._exchange.status and not self._exchange.has_ended:
            with anyio.move_on_after(DRAIN_S), suppress(NetworkError):
                while await self._exchange.receive():
                    pass

    async def _receive_first(self) -> bytes:
        exchange = self._exchange
        if self._has_begun is not None:
            await self._has_begun.wait()
            if self._failure is not None:
                raise self._failure
        if not exchange.status:
            await exchange.receive_head()
        if 200 <= exchange.status < 300:
            assert exchange.connection is not None, "the head has come"
            self._receive_more = exchange.connection.receive_body
            return await exchange.connection.receive_body()
        with anyio.move_on_after(REFUSAL_S), suppress(NetworkError):
            while len(self.refusal) <= MAX_REFUSAL_BYTES and (piece := await exchange.receive()):
                self.refusal += piece
        raise self._explain_refusal(exchange.status, exchange.headers, self.refusal)
