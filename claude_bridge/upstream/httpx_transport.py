"""What goes through httpx: TLS, proxies, and connections to an address that was checked.

httpx makes the connection and speaks HTTP. Here are the bridge's own rules: which authorities and proxies, limits in
time, no cookies, no redirects, and failures in words. Connections are not kept: httpx would take bytes that a host
sends behind an answer for the next answer, which may be another client's.
"""

from __future__ import annotations

import importlib
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import anyio
from anyio import to_thread
from anyio.abc import AsyncResource

from claude_bridge.upstream.network import (
    CONNECT_TIMEOUT_S,
    NetworkError,
    NoConnectionError,
    authorities,
    no_connection,
    no_tls,
)
from claude_bridge.upstream.plain_http import speaks_plain_http
from claude_bridge.upstream.proxies import Proxy
from claude_bridge.upstream.transport import (
    WRITE_BYTES,
    BrokenAnswerError,
    CompressedAnswerError,
    HostRequest,
    HttpTransport,
    NoAnswerError,
    StartSoon,
)
from claude_bridge.wire.response_head import Fields
from claude_bridge.wire.urls import Url

if TYPE_CHECKING:
    import httpx

MAX_PIECES = 64
"""How many pieces of an answer wait to be read: 64 KiB each, where they are not unpacked."""

WRITE_TIMEOUT_S = 60.0
"""How long a host may take none of a request."""

PLAIN_HTTP_PROBE_AFTER_S = 1.0
"""How long a TLS handshake may be silent before the port is asked whether it speaks plain HTTP."""


class HttpxTransport(HttpTransport):
    """Speaks to the host of one URL by httpx, which is imported (150 ms) at the first request."""

    def __init__(
        self,
        url: Url,
        headers: Mapping[str, str],
        proxy: Proxy | None = None,
        *,
        address: str | None = None,
        tls: ssl.SSLContext | None = None,
        connect_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        """With ``address``, an IP address, the connection or the proxy's tunnel goes there, and no name is looked up.

        ``tls`` None means the authorities of the system.
        """
        super().__init__(url.authority, headers)
        self.decodes = tuple(re.findall("gzip|deflate", headers.get("accept-encoding", "")))
        self._url = url
        self._proxy = proxy
        self._address = address
        self._tls = tls
        self._connect_s = connect_s
        self._httpx: httpx.AsyncHTTPTransport | None = None

    async def send(self, request: HostRequest, start_soon: StartSoon) -> _HttpxConnection:
        """Send it by httpx; each connection is a new one."""
        if self._httpx is None:
            self._httpx = await self._opened()
        connection = _HttpxConnection(self._proxy, decodes=bool(self.decodes))
        start_soon(connection.carry_out, self._httpx, self._httpx_request(request, connection))
        try:
            with anyio.fail_after(self._connect_s):
                await self._until_connected(connection)
        except TimeoutError:
            await connection.close()
            through = f" through the proxy {self._proxy}" if self._proxy else ""
            raise NoConnectionError(f"did not answer within {self._connect_s:g} s{through}. Is it running?") from None
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _opened(self) -> httpx.AsyncHTTPTransport:
        for module in ("httpx", "httpcore"):  # takes up to a second on a slow machine, and others would wait for it
            await to_thread.run_sync(importlib.import_module, module)
        import httpx

        tls = self._tls or await authorities()
        return httpx.AsyncHTTPTransport(
            verify=tls if self._address is None else cast("ssl.SSLContext", _TlsForName(self._url.host, tls)),
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            proxy=None if self._proxy is None else _httpx_proxy(self._proxy, tls),
        )

    def _httpx_request(self, request: HostRequest, connection: _HttpxConnection) -> httpx.Request:
        import httpx

        url, target = self._url, request.target.encode("latin-1")
        return httpx.Request(
            request.method,
            httpx.URL(scheme=url.scheme, host=self._address or url.host, port=url.port, raw_path=target),
            headers=self._fields(request),
            content=_pieces_of(request.body) if request.body else None,
            extensions={"timeout": {"write": WRITE_TIMEOUT_S}, "trace": connection.follow},
        )

    async def _until_connected(self, connection: _HttpxConnection) -> None:
        with anyio.move_on_after(PLAIN_HTTP_PROBE_AFTER_S) as wait:
            await connection.is_connected.wait()
        is_silent = wait.cancelled_caught and connection.step == "connection.start_tls" and self._proxy is None
        if is_silent and await speaks_plain_http(self._url):
            raise NoConnectionError("does not speak TLS: it answers in plain HTTP. Use http:// in its address.")
        await connection.is_connected.wait()
        if isinstance(connection.failure, NoConnectionError):
            raise connection.failure


class _HttpxConnection:
    """A task sends the request and hands on the answer, so that whoever waits for it may stop at any time."""

    def __init__(self, proxy: Proxy | None, *, decodes: bool) -> None:
        self.is_connected = anyio.Event()
        """Set when the request is about to be sent, or can't be."""
        self.step = ""
        """What httpx does, in the words of its trace, such as ``connection.start_tls``."""
        self.failure: NetworkError | None = None
        self._proxy = proxy
        self._decodes = decodes
        self._stream: AsyncResource | None = None
        self._is_heard = False
        self._head, self._next_head = anyio.create_memory_object_stream[tuple[int, Fields]](1)
        self._body, self._next_piece = anyio.create_memory_object_stream[bytes](MAX_PIECES)

    async def receive_head(self) -> tuple[int, Fields]:
        with suppress(anyio.EndOfStream):
            return await self._next_head.receive()
        raise self.failure or NoAnswerError("closed the connection without an answer.")

    async def receive_body(self) -> bytes:
        with suppress(anyio.EndOfStream):
            pieces = [await self._next_piece.receive()]
            with suppress(anyio.WouldBlock, anyio.EndOfStream):
                while True:
                    pieces.append(self._next_piece.receive_nowait())
            return b"".join(pieces)
        if self.failure is not None:
            raise self.failure
        return b""

    @property
    def has_ended(self) -> bool:
        return False  # only a read finds it out

    async def close(self) -> None:
        for end in (self._head, self._body, self._next_head, self._next_piece):
            end.close()

    async def carry_out(self, transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> None:
        """Send the request and hand on the answer, until its end or until this is cancelled."""
        import httpx
        import socksio

        try:
            response = await transport.handle_async_request(request)
            try:
                await self._hand_on(response)
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        except httpx.DecodingError as error:
            self.failure = CompressedAnswerError(f"sent a compressed answer that can't be unpacked ({error}).")
        except (httpx.TransportError, socksio.SOCKSError) as error:
            self.failure = self._explain(error)
        finally:
            if self._stream is not None and not self._is_heard:  # httpx forgets it where a SOCKS proxy refuses
                with anyio.CancelScope(shield=True):
                    await self._stream.aclose()
            self._head.close()
            self._body.close()
            self.is_connected.set()

    async def follow(self, event: str, info: Mapping[str, Any]) -> None:
        """Take an event of httpx's trace."""
        step, _, phase = event.rpartition(".")
        if phase == "complete" and step.endswith("connect_tcp"):
            self._stream = info["return_value"]
        elif phase == "started":
            self.step = step
            if step == "http11.send_request_headers" and info["request"].method != b"CONNECT":
                self.is_connected.set()

    async def _hand_on(self, response: httpx.Response) -> None:
        self._is_heard = True
        if response.status_code == 407 and self._proxy is not None:
            self.failure = _no_tunnel(self._proxy, "407")
            return
        self._head.send_nowait((response.status_code, response.headers.raw))
        async for piece in response.aiter_bytes() if self._decodes else response.aiter_raw():
            try:
                self._body.send_nowait(piece)
            except anyio.WouldBlock:
                await self._body.send(piece)

    def _explain(self, error: Exception) -> NetworkError:
        import httpx

        what = str(error).removesuffix(".") or "the connection was reset"
        if self.is_connected.is_set():
            is_closed = what.startswith("Server disconnected")
            if self._is_heard or (isinstance(error, httpx.RemoteProtocolError) and not is_closed):
                return BrokenAnswerError(f"broke off its answer: {what}.")
            if isinstance(error, httpx.WriteTimeout):
                return NoAnswerError(f"took nothing of the request for {WRITE_TIMEOUT_S:g} s.")
            return NoAnswerError(f"{'closed' if is_closed else 'reset'} the connection without an answer.")
        proxy, is_tls = self._proxy, self.step.endswith("start_tls")
        if proxy is not None and (self.step.endswith("connect_tcp") or self.step == "connection.start_tls"):
            reason = no_tls(error) if is_tls else no_connection(error)
            words = f"can't be reached: the proxy {proxy} {reason.reason.removesuffix(' Is it running?')}"
            return NoConnectionError(words, is_overload=reason.is_overload)
        if is_tls:
            return no_tls(error)
        return no_connection(error) if proxy is None else _no_tunnel(proxy, what)


def _no_tunnel(proxy: Proxy, what: str) -> NoConnectionError:
    if what.startswith("407") or "from proxy server, but got" in what:
        what = f"it needs a login. Put it into {proxy.source}: {proxy.url.scheme}://USER:PASSWORD@HOST:PORT"
    elif what.startswith("Invalid username"):
        what = f"it does not accept the login in {proxy.source}"
    elif what[:3].isdecimal():
        what = f"it answered with status {what[:3]}"
    what = what.removeprefix("Proxy Server could not connect: ")
    return NoConnectionError(f"can't be reached: the proxy {proxy} gives no connection to it: {what}.")


def _httpx_proxy(proxy: Proxy, tls: ssl.SSLContext) -> httpx.Proxy:
    import httpx

    user, _, password = map(unquote, proxy.url.userinfo.partition(":"))
    login = (user, password) if proxy.url.userinfo else None
    return httpx.Proxy(proxy.url.origin, auth=login, ssl_context=tls if proxy.url.scheme == "https" else None)


class _TlsForName:
    """TLS settings that ask for a name's certificate, though the connection goes to an address.

    httpx has an extension for that, which counts for nothing in the tunnel of an HTTP proxy.
    """

    def __init__(self, name: str, tls: ssl.SSLContext) -> None:
        self._name = name
        self._tls = tls

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *_: object, **__: object) -> ssl.SSLObject:
        return self._tls.wrap_bio(incoming, outgoing, server_hostname=self._name)

    def set_alpn_protocols(self, protocols: list[str]) -> None:
        self._tls.set_alpn_protocols(protocols)


async def _pieces_of(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), WRITE_BYTES):
        yield body[start : start + WRITE_BYTES]
