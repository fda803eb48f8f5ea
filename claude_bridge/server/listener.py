"""Listeners, signals, and a shutdown that lets running answers finish."""

from __future__ import annotations

import errno
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskGroup
from anyio.streams.stapled import MultiListener

from claude_bridge.bridge import new_id
from claude_bridge.errors import SetupError
from claude_bridge.server.app import Service
from claude_bridge.server.http1 import Connection, HttpRequest, Limits, Responder
from claude_bridge.server.port_owner import describe_port_owner
from claude_bridge.server.routes import dispatch

SHUTDOWN_GRACE_S = 30.0
ACCEPT_PAUSE_S = 0.1

Say = Callable[[str], None]


async def open_listener(host: str, port: int) -> tuple[MultiListener[SocketStream], int]:
    """Return a listener and its port; ``port`` 0 takes a free one.

    Raises:
        SetupError: the address can't be had; the hint says who has it and what to do.
    """
    try:
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port, backlog=1024)
    except OSError as error:
        raise _explain_bind_error(error, host, port) from error
    return listener, int(listener.extra(SocketAttribute.local_port))  # noqa: S610 - anyio's name for socket facts, not Django's


def open_stop_signals() -> AbstractContextManager[AsyncIterator[signal.Signals]]:
    """Return a context in which SIGINT and SIGTERM do not end the process, but come out of an iterator."""
    return anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM)


async def serve(
    listener: MultiListener[SocketStream],
    service: Service,
    signals: AsyncIterator[object],
    *,
    say: Say,
    limits: Limits | None = None,
    shutdown_grace_s: float = SHUTDOWN_GRACE_S,
) -> None:
    """Serve until one of the ``signals`` comes; a second one stops at once. ``say`` tells a person what is waited for.

    New connections are refused from then on; answers that are on their way have ``shutdown_grace_s`` to finish.
    """
    server = _Server(service, limits or Limits())
    async with anyio.create_task_group() as connections:
        accepting = anyio.CancelScope()
        connections.start_soon(server.accept, listener, accepting)
        await anext(signals)
        accepting.cancel()
        await server.refusing.wait()  # before anybody is told: who comes now must go elsewhere, not be cut off
        server.close_idle()
        if service.running:
            answers = "1 answer" if len(service.running) == 1 else f"{len(service.running)} answers"
            say(f"Waiting up to {shutdown_grace_s:.0f} s for {answers} to finish; press Ctrl-C again to stop now.")
            await _until_done_or_told_again(server, signals, shutdown_grace_s)
            if service.running:
                say(f"Stopped with {len(service.running)} unfinished.")
        connections.cancel_scope.cancel()


async def accept_connections(
    listener: MultiListener[SocketStream], service: Service, *, limits: Limits | None = None
) -> None:
    """Serve until cancelled: for a bridge inside another program, which has signals of its own."""
    await _Server(service, limits or Limits()).accept(listener, anyio.CancelScope())


async def _until_done_or_told_again(server: _Server, signals: AsyncIterator[object], grace_s: float) -> None:
    with anyio.move_on_after(grace_s):
        async with anyio.create_task_group() as tasks:

            async def wait_for_signal() -> None:
                await anext(signals)
                tasks.cancel_scope.cancel()

            tasks.start_soon(wait_for_signal)
            await server.until_empty()
            tasks.cancel_scope.cancel()


class _Server:
    """The connections that are open."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self.refusing = anyio.Event()
        """Set once new connections are refused."""
        self._service = service
        self._limits = limits
        self._connections: set[Connection] = set()
        self._changed = anyio.Event()

    async def accept(self, listener: MultiListener[SocketStream], scope: anyio.CancelScope) -> None:
        """Take connections until the scope is cancelled, and close the listener; connections that are open go on."""
        # The listener is closed when nobody waits for connections any more: before, trio would raise.
        async with anyio.create_task_group() as tasks:
            async with listener:
                with scope:
                    while True:
                        await self._accept_until_error(listener, tasks)
            self.refusing.set()

    async def _accept_until_error(self, listener: MultiListener[SocketStream], tasks: TaskGroup) -> None:
        try:
            await listener.serve(self._run_connection, tasks)
        except* OSError:
            # Out of file descriptors, or the client was gone already: it passes as connections end.
            await anyio.sleep(ACCEPT_PAUSE_S)

    def close_idle(self) -> None:
        """Close the connections that wait for a request, and the others after their answer."""
        for connection in list(self._connections):
            connection.close_when_idle()

    async def until_empty(self) -> None:
        """Wait until the last connection is closed."""
        while self._connections:
            self._changed = anyio.Event()
            await self._changed.wait()

    async def _run_connection(self, stream: SocketStream) -> None:
        connection = Connection(stream, self._handle, limits=self._limits, new_request_id=lambda: new_id("req_"))
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self._changed.set()

    async def _handle(self, request: HttpRequest, responder: Responder) -> None:
        await dispatch(self._service, request, responder)


def _explain_bind_error(error: OSError, host: str, port: int) -> SetupError:
    causes = [error, *getattr(error.__cause__, "exceptions", [error.__cause__])]
    codes = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if errno.EADDRINUSE in codes:
        return SetupError(
            f"Port {port} on {host} is taken{describe_port_owner(port)}.",
            f"Stop that program, or choose another port: --port {port + 1}, or --port 0 for any free one.",
        )
    if errno.EACCES in codes:
        return SetupError(f"Port {port} needs administrator rights.", "Choose one above 1023, such as --port 8765.")
    if errno.EADDRNOTAVAIL in codes:
        return SetupError(f"{host} is not an address of this machine.", "Use --host 127.0.0.1, or 0.0.0.0 for all.")
    return SetupError(f"The bridge can't listen on {host}:{port}: {error}", "Check --host and --port.")
