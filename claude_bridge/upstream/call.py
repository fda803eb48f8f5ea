"""UpstreamCall: one answer on its way, between the task that reads it and the one that passes it on.

Not every HTTP client tells where one socket read ends and the next begins. With a task of its own to read the answer,
``receive`` hands over all that has come since the last time: one write to the client for each read.
"""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from claude_bridge.errors import BridgeError, UpstreamTimeoutError

SILENCE_LIMIT_S = 2 * 3600.0
"""A prompt of a large model on a small machine may take an hour to read."""

MAX_BUFFERED_BYTES = 256 * 1024
"""Past this the upstream is not read until the client has taken more."""

DRAIN_S = 0.1
"""How long an answer's last bytes are waited for, so that the connection can be used again."""


class UpstreamCall:
    """One answer that is on its way; made by UpstreamClient.open."""

    def __init__(self, idle_s: float) -> None:
        self.status: int | None = None
        """The HTTP status, once it has come."""
        self.headers: Mapping[str, str] = {}
        """The headers that came with it, by lower-case name."""
        self.retried: str | None = None
        """Why the request was sent twice; None: it was not."""
        self._idle_s = idle_s
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._error: BridgeError | None = None
        self._ended = anyio.Event()
        self._arrived: anyio.Event | None = None
        self._taken: anyio.Event | None = None
        self._last_at = anyio.current_time()
        self._idle_since = self._last_at
        self._is_idle = False

    async def receive(self) -> bytes | None:
        """Return all bytes that have come: ``b""`` at the end, None after ``idle_s`` seconds of silence.

        Raises:
            UpstreamError: the answer broke off, or never came.
            ClientError: the engine refused the request as the client's fault.
        """
        while not self._chunks and not self._is_idle:
            if self._ended.is_set():
                if self._error is not None:
                    raise self._error
                return b""
            self._arrived = anyio.Event()
            await self._arrived.wait()
        if self._is_idle and not self._chunks:
            self._is_idle = False
            return None
        self._last_at = anyio.current_time()
        chunks, self._chunks, self._buffered_bytes, self._is_idle = self._chunks, [], 0, False
        if self._taken is not None:
            self._taken.set()
            self._taken = None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def put(self, chunk: bytes) -> None:
        """Take bytes from the upstream; waits while too many are waiting for the client."""
        self._chunks.append(chunk)
        self._buffered_bytes += len(chunk)
        self._wake()
        if self._buffered_bytes > MAX_BUFFERED_BYTES:
            self._taken = anyio.Event()
            await self._taken.wait()

    def end(self, error: BridgeError | None = None) -> None:
        """Say that nothing more comes, and why."""
        self._error = error
        self._ended.set()
        self._wake()

    async def watch_silence(self, where: str) -> None:
        """Wake the receiver after each ``idle_s`` seconds without bytes, and end an answer that is silent too long."""
        while not self._ended.is_set():
            now = anyio.current_time()
            due_in_s = max(self._last_at, self._idle_since) + self._idle_s - now
            if now - self._last_at > SILENCE_LIMIT_S:
                self.end(UpstreamTimeoutError(f"{where} was silent for more than {SILENCE_LIMIT_S / 3600:.0f} hours."))
            elif due_in_s > 0:
                with anyio.move_on_after(due_in_s):
                    await self._ended.wait()
            else:
                self._is_idle = True
                self._idle_since = now
                self._wake()

    async def drain(self) -> None:
        """Wait a moment for the end of an answer that has said its last word."""
        self._chunks.clear()
        if self._ended.is_set():
            return
        with anyio.move_on_after(DRAIN_S):
            await self._ended.wait()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None
