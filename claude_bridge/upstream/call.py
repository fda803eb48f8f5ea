"""UpstreamCall: one answer of an engine, read as it comes; a silent engine is reported and does not block."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from types import TracebackType

import anyio

from claude_bridge.errors import BridgeError, UpstreamTimeoutError
from claude_bridge.upstream.network import NetworkError
from claude_bridge.upstream.transport import HostRequest, HttpExchange, HttpTransport

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


class UpstreamCall(HttpExchange):
    """One answer that is on its way; made by UpstreamClient.open, and entered to send the request."""

    def __init__(
        self,
        transport: HttpTransport,
        request: HostRequest,
        *,
        idle_s: float,
        where: str,
        explain_refusal: Callable[[int, Mapping[str, str], bytes], BridgeError],
        explain_failure: Callable[[NetworkError], BridgeError],
        turn: AbstractAsyncContextManager[None] | None,
    ) -> None:
        super().__init__(transport, request)
        self._idle_s = idle_s
        self.where = where
        self._explain_refusal = explain_refusal
        self._explain_failure = explain_failure
        self._turn = turn
        self.refusal = b""
        """The body of an answer that is a refusal."""
        self._receive_more = self._receive_first
        """Returns what has come of the answer, ``b""`` at its end."""
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
        self._has_begun = anyio.Event() if turn is not None else None
        """Set once the turn has come, or has failed to come."""
        self._has_ended = anyio.Event() if turn is not None else None
        """Set at the end of the answer, which gives the turn back."""
        self._failure: Exception | None = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        is_unread = self.connection is not None and self.status and not self.connection.has_ended
        if error is None and is_unread:  # its last word may have come before its end
            with anyio.move_on_after(DRAIN_S, shield=True), suppress(NetworkError):
                while await self.receive_body():
                    pass
        return await super().__aexit__(kind, error, traceback)

    async def begin(self) -> None:
        """Connect and begin to send the request, at once or when its turn comes; raises UpstreamError."""
        if self._turn is not None:
            self.start_soon(self._begin_in_turn, self._turn)
            return
        try:
            await super().begin()
        except NetworkError as error:
            raise self._explain_failure(error) from error

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
        if now >= self._watched_from:
            self._watched_from = math.inf
            self.start_soon(self._watch_silence)
        if not self._is_shared:
            deadline = math.inf if self.is_watched else anyio.current_time() + self._idle_s
            self._waiting = anyio.CancelScope(deadline=deadline)
        if self._waiting is not None:
            with nullcontext() if self._is_shared else self._waiting:
                try:
                    data = await self._receive_more()
                except NetworkError as error:
                    raise self._explain_failure(error) from error
                self._waiting_since = math.inf
                self._was_silent = False
                if not data and self._has_ended is not None:
                    self._has_ended.set()
                return data
        self._is_shared, self._was_silent = False, True
        if time.monotonic() - self._silent_since > SILENCE_LIMIT_S:
            raise UpstreamTimeoutError(f"{self.where} was silent for more than {SILENCE_LIMIT_S / 3600:g} hours.")
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

    async def _begin_in_turn(self, turn: AbstractAsyncContextManager[None]) -> None:
        """Keep the turn until the answer has come to its end, or this is cancelled."""
        assert self._has_begun is not None, "there is a turn"
        assert self._has_ended is not None, "there is a turn"
        try:
            async with turn:
                await super().begin()
                self._has_begun.set()
                await self._has_ended.wait()
        except (NetworkError, BridgeError) as error:
            self._failure = error
            self._has_begun.set()

    async def _watch_silence(self) -> None:
        """Wake the receiver after each ``idle_s`` seconds without bytes; runs beside it until it is cancelled."""
        while True:
            due_in_s = self._waiting_since + self._idle_s - time.monotonic()
            if due_in_s <= 0 and self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None
            await anyio.sleep(due_in_s if 0 < due_in_s <= self._idle_s else self._idle_s)

    async def _receive_first(self) -> bytes:
        if self._has_begun is not None:
            await self._has_begun.wait()
            if self._failure is not None:
                raise self._failure
        if not self.status:
            await self.receive_head()
        if 200 <= self.status < 300:
            assert self.connection is not None, "the head has come"
            self._receive_more = self.connection.receive_body
            return await self._receive_more()
        with anyio.move_on_after(REFUSAL_S), suppress(NetworkError):
            while len(self.refusal) <= MAX_REFUSAL_BYTES and (piece := await self.receive_body()):
                self.refusal += piece
        raise self._explain_refusal(self.status, self.headers, self.refusal)
