"""Listeners, and a shutdown that lets running answers finish."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import SocketAttribute, TaskGroup

from claude_bridge.bridge import new_id
from claude_bridge.errors import SetupError, StoppingError
from claude_bridge.server.app import Service
from claude_bridge.server.early_port import BACKLOG
from claude_bridge.server.http1 import ClientConnection, ServerLimits
from claude_bridge.server.memory import MemoryBudget, default_max_memory_bytes
from claude_bridge.server.routes import dispatch
from claude_bridge.stream_socket import StreamSocket

SHUTDOWN_GRACE_S = 30.0
ACCEPT_PAUSE_S = 0.1
"""How long nobody is accepted after the system had no resources for a connection."""

REPORT_EVERY_S = 60.0
"""How often the same trouble with connections is reported."""

LAST_WORDS_S = 2.0
"""How long stopped answers have to say so to their clients."""

_FULL = (
    b"HTTP/1.1 529 \r\ncontent-type: application/json\r\nretry-after: 5\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b"
)
_FULL_BODY = b'{"type":"error","error":{"type":"overloaded_error","message":"The bridge has too many connections."}}'

SEND_BUFFER_BYTES = 256 * 1024
"""What may pile up in the system for a client that does not read; by itself Linux grows this to megabytes."""

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_LISTENING = "0A"
"""In Linux's tables of sockets."""

Say = Callable[[str], None]


async def open_listener(host: str, port: int) -> tuple[list[socket.socket], int]:
    """Return the sockets that listen, one for each address of the host, and their port; ``port`` 0 takes a free one.

    Raises:
        SetupError: the address is not available; the hint says which program uses it, and what to do.
    """
    try:
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port, backlog=BACKLOG)
    except OSError as error:
        raise _explain_bind_error(error, host, port) from error
    sockets = [one.extra(SocketAttribute.raw_socket) for one in listener.listeners]  # noqa: S610 - not Django's
    return sockets, sockets[0].getsockname()[1]


async def serve(
    listening: Sequence[socket.socket],
    service: Service,
    signals: AsyncIterator[object],
    *,
    say: Say,
    limits: ServerLimits | None = None,
    shutdown_grace_s: float = SHUTDOWN_GRACE_S,
    waiting: Iterable[socket.socket] = (),
) -> None:
    """Serve until one of the ``signals`` comes; a second one stops at once. ``say`` informs the person who waits.

    New connections are refused from then on; answers that are being written have ``shutdown_grace_s`` to finish. Those
    that have not are ended with an error for their clients. ``waiting`` are connections from before.
    """
    server = _Server(service, limits or ServerLimits(), say)
    async with anyio.create_task_group() as connections:
        accepting = anyio.CancelScope()
        connections.start_soon(server.accept, listening, accepting, waiting)
        await anext(signals)
        accepting.cancel()
        service.is_stopping = True
        await server.refusing.wait()  # before any answer is ended: who comes now must go elsewhere, not be cut off
        server.close_idle()
        if service.running:
            answers = "1 answer" if service.running == 1 else f"{service.running} answers"
            say(f"Waiting up to {shutdown_grace_s:.0f} s for {answers} to finish; press Ctrl-C again to stop now.")
            await _until_done_or_next_signal(server, signals, shutdown_grace_s)
            if service.running:
                say(f"Stopped with {service.running} unfinished.")
                service.stop_answers(StoppingError("The bridge was stopped before the answer was whole."))
                with anyio.move_on_after(LAST_WORDS_S):
                    await server.until_empty()
        connections.cancel_scope.cancel()


async def accept_connections(
    listening: Sequence[socket.socket],
    service: Service,
    *,
    limits: ServerLimits | None = None,
    say: Say = lambda _: None,
) -> None:
    """Serve until cancelled: for a bridge inside another program, which has signals of its own."""
    await _Server(service, limits or ServerLimits(), say).accept(listening, anyio.CancelScope())


async def _until_done_or_next_signal(server: _Server, signals: AsyncIterator[object], grace_s: float) -> None:
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

    def __init__(self, service: Service, limits: ServerLimits, say: Say) -> None:
        self.refusing = anyio.Event()
        """Set once new connections are refused."""
        self._service = service
        self._limits = limits
        self._say = say
        self._memory = MemoryBudget(limits.max_memory_bytes or default_max_memory_bytes())
        self._connections: dict[ClientConnection, None] = {}  # in the order in which they came
        self._changed = anyio.Event()
        self._reported_at = -REPORT_EVERY_S

    async def accept(
        self, listening: Sequence[socket.socket], scope: anyio.CancelScope, waiting: Iterable[socket.socket] = ()
    ) -> None:
        """Accept connections until the scope is cancelled, then stop listening; open connections continue."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._service.watch_clients)
            for connected in waiting:
                self._take(connected, tasks)
            try:
                with scope:
                    async with anyio.create_task_group() as accepting:
                        for one in listening:
                            accepting.start_soon(self._accept_at, one, tasks)
            finally:
                for one in listening:
                    one.close()
            self.refusing.set()

    def close_idle(self) -> None:
        """Close the connections that wait for a request, and the others after their answer."""
        for connection in list(self._connections):
            connection.close_when_idle()

    async def until_empty(self) -> None:
        """Wait until the last connection is closed."""
        while self._connections:
            self._changed = anyio.Event()
            await self._changed.wait()

    async def _accept_at(self, listening: socket.socket, tasks: TaskGroup) -> None:
        while True:
            try:
                async with aclosing(accept_sockets(listening)) as accepted:
                    async for connected in accepted:
                        self._take(connected, tasks)
            except OSError as error:
                self._report(f"No new connections for now: {error.strerror}. Raise the limit (ulimit -n).")
                await anyio.sleep(ACCEPT_PAUSE_S)  # it passes as connections end

    def _take(self, connected: socket.socket, tasks: TaskGroup) -> None:
        if len(self._connections) >= self._limits.max_connections:
            idle = next((one for one in self._connections if one.idle_scope is not None), None)
            if idle is None:
                self._report(f"{len(self._connections)} connections are open: more are refused.")
                _refuse(connected)
                return
            idle.close_when_idle()
        connection = ClientConnection(
            StreamSocket(connected),
            partial(dispatch, self._service),
            limits=self._limits,
            memory=self._memory,
            new_request_id=lambda: new_id("req_"),
        )
        self._connections[connection] = None
        tasks.start_soon(connection.run, self._forget)

    def _forget(self, connection: ClientConnection) -> None:
        del self._connections[connection]
        self._changed.set()

    def _report(self, trouble: str) -> None:
        now = time.monotonic()
        if now - self._reported_at >= REPORT_EVERY_S:
            self._reported_at = now
            self._say(trouble)


async def accept_sockets(listener: socket.socket) -> AsyncGenerator[socket.socket, None]:
    """Yield each new connection.

    Raises:
        OSError: with a code of OUT_OF_RESOURCES, if one can't be taken for now.
    """
    while True:
        try:
            connected, _ = listener.accept()
        except (BlockingIOError, InterruptedError):
            await anyio.wait_readable(listener)
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                raise
            # The client was gone before its turn came: accept() reports that as an error of many names.
        else:
            with suppress(OSError):  # it may be gone already
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            yield connected
            await anyio.lowlevel.checkpoint()


def _refuse(connected: socket.socket) -> None:
    """Answer a connection that is one too many, without waiting for its request."""
    connected.setblocking(False)
    with suppress(OSError):
        connected.send(_FULL % (len(_FULL_BODY), _FULL_BODY))
        connected.shutdown(socket.SHUT_WR)
        connected.recv(64 * 1024)  # closed with unread bytes, it would be reset, and the answer perhaps lost
    connected.close()


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
    why = error.strerror or error
    hint = "Give --host an address alone, such as 127.0.0.1, and --port the port."
    return SetupError(f"The bridge can't listen on {host}:{port}: {why}.", hint)


def describe_port_owner(port: int) -> str:
    """Return " by NAME (process PID)" of who listens on a port, or an empty text where the system does not tell."""
    try:
        inodes = _listening_inodes(port)
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and inodes & _socket_inodes(process):
                name = (process / "comm").read_text().strip()
                return f" by {name} (process {process.name})"
    except OSError:
        pass
    return ""


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in (Path("/proc/net") / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _socket_inodes(process: Path) -> set[str]:
    inodes = set()
    with suppress(OSError):  # another user's process, or one that has just ended
        for link in (process / "fd").iterdir():
            with suppress(OSError):  # a file that has just been closed
                target = str(link.readlink())
                if target.startswith("socket:["):
                    inodes.add(target[len("socket:[") : -1])
    return inodes
