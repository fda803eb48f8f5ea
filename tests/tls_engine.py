"""An engine that speaks TLS, with a certificate that only those trust who name its authority."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import trustme
from anyio.abc import AnyByteStream, ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

AUTHORITY = trustme.CA()
"""No process of the tests trusts it for good: what does that uses an authority of its own."""


@asynccontextmanager
async def tls_engine(*names: str, body: bytes = b"hi", authority: trustme.CA = AUTHORITY) -> AsyncIterator[int]:
    """Yield the port of an engine that has a certificate for these names, and one answer to everything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)

    async def answer(stream: ByteStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.receive()
                await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(_QuietListener(listener, context, standard_compatible=False).serve, answer)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


class _QuietListener(TLSListener):
    @staticmethod
    async def handle_handshake_error(exc: BaseException, stream: AnyByteStream) -> None:  # noqa: ARG004 - called by name
        await anyio.aclose_forcefully(stream)
