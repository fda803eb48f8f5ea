"""The way out: a stream of bytes to a host, straight or through a proxy, with TLS where the URL asks for it."""

from __future__ import annotations

import base64
import errno
import os
import socket
import ssl
import sys
from contextlib import suppress
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import unquote

import anyio
import h11
from anyio import to_thread
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from claude_bridge import __version__
from claude_bridge.errors import SetupError
from claude_bridge.upstream.proxies import Proxy
from claude_bridge.wire.addresses import ip_address_of
from claude_bridge.wire.urls import Url

CONNECT_TIMEOUT_S = 10.0
"""For all that comes before the request: name, connection, proxy, TLS."""

PLAIN_HTTP_PROBE_AFTER_S = 1.0
"""How long a TLS handshake may be silent before the port is asked whether it speaks plain HTTP."""

USER_AGENT = f"claude-bridge/{__version__}"

_EXTRA_AUTHORITIES_VARIABLES = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
"""Files with authorities to trust beside the system's: OpenSSL's own variable, and the one that Claude Code reads."""

_UNIX_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

_SOCKS_REFUSALS = {
    2: "its rules forbid it",
    3: "the network can't be reached",
    4: "the host can't be reached",
    5: "the host refused the connection",
    6: "the host did not answer",
}


class NetworkError(Exception):
    """A host gave no answer, or no whole one. ``reason`` ends a sentence that begins with its name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoConnectionError(NetworkError):
    """There is no connection to a host, and nothing was sent."""

    def __init__(self, reason: str, *, is_overload: bool = False) -> None:
        super().__init__(reason)
        self.is_overload = is_overload
        """Whether it is this process that has no room for another connection at the moment."""


def is_forwarded(url: Url, proxy: Proxy | None) -> bool:
    """Return whether requests go to the proxy itself, which is told the whole URL, and not through a tunnel."""
    return proxy is not None and url.scheme == "http" and not proxy.is_socks


def proxy_headers(proxy: Proxy) -> list[tuple[bytes, bytes]]:
    """Return the headers that an HTTP proxy asks for: its login, if the variable has one."""
    if not proxy.url.userinfo:
        return []
    login = base64.b64encode(unquote(proxy.url.userinfo).encode()).decode()
    return [(b"proxy-authorization", f"Basic {login}".encode())]


async def open_stream(
    url: Url,
    proxy: Proxy | None,
    *,
    address: str | None = None,
    tls: ssl.SSLContext | None = None,
    timeout_s: float = CONNECT_TIMEOUT_S,
) -> ByteStream:
    """Return a stream to the URL's host, or to the proxy where requests are forwarded.

    With ``address``, an IP address, the name is not looked up again: the connection, or the proxy's tunnel, goes
    there. ``tls`` None means the authorities of the system.

    Raises:
        NoConnectionError: there is none, and why.
    """
    try:
        with anyio.fail_after(timeout_s):
            if proxy is None:
                stream = await _connect(address or url.host, url.port)
            else:
                stream = await _open_to_proxy(proxy)
                if address is not None or not is_forwarded(url, proxy):
                    await _open_tunnel(stream, proxy, address or url.host, url.port)
            if url.scheme != "https":
                return stream
            return await _start_tls(stream, url, tls or await authorities(), probes_plain_http=proxy is None)
    except TimeoutError:
        through = f" through the proxy {proxy}" if proxy else ""
        raise NoConnectionError(f"did not answer within {timeout_s:g} s{through}. Is it running?") from None


async def _connect(host: str, port: int) -> ByteStream:
    try:
        return await anyio.connect_tcp(host, port)
    except OSError as error:
        raise _no_connection(error) from error


def _no_connection(error: OSError) -> NoConnectionError:
    causes: list[BaseException] = [error]
    for cause in causes:  # grows while it is walked: anyio wraps what the system reported
        causes += [inner for inner in (cause.__cause__, cause.__context__) if inner is not None and inner not in causes]
        causes += [inner for inner in getattr(cause, "exceptions", ()) if inner not in causes]
    if any(isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE) for cause in causes):
        return NoConnectionError(
            "can't be connected to: the bridge has no file descriptor left. Raise the limit (ulimit -n), or lower "
            "the number of requests at a time.",
            is_overload=True,
        )
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return NoConnectionError("can't be found: the host name is unknown.")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return NoConnectionError("refused the connection. Is it running?")
    return NoConnectionError(f"can't be reached: {error}")


# --- proxies --------------------------------------------------------------------------------------------------


async def _open_to_proxy(proxy: Proxy) -> ByteStream:
    try:
        stream = await _connect(proxy.url.host, proxy.url.port)
        if proxy.url.scheme == "https":
            stream = await _start_tls(stream, proxy.url, await authorities(), probes_plain_http=False)
    except NoConnectionError as error:
        reason = error.reason.removesuffix(" Is it running?")
        raise NoConnectionError(
            f"can't be reached: the proxy {proxy} {reason}", is_overload=error.is_overload
        ) from error
    return stream


async def _open_tunnel(stream: ByteStream, proxy: Proxy, host: str, port: int) -> None:
    try:
        await (_ask_socks_proxy if proxy.is_socks else _ask_http_proxy)(stream, proxy, host, port)
    except (anyio.EndOfStream, anyio.BrokenResourceError, h11.RemoteProtocolError) as error:
        await anyio.aclose_forcefully(stream)
        raise _no_tunnel(proxy, "it broke off") from error
    except BaseException:
        await anyio.aclose_forcefully(stream)
        raise


def _no_tunnel(proxy: Proxy, reason: str) -> NoConnectionError:
    return NoConnectionError(f"can't be reached: the proxy {proxy} gives no connection to it: {reason}.")


async def _ask_http_proxy(stream: ByteStream, proxy: Proxy, host: str, port: int) -> None:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = [(b"host", target.encode()), (b"user-agent", USER_AGENT.encode()), *proxy_headers(proxy)]
    connection = h11.Connection(h11.CLIENT)
    request = connection.send(h11.Request(method="CONNECT", target=target, headers=headers)) or b""
    await stream.send(request + (connection.send(h11.EndOfMessage()) or b""))
    while not isinstance(event := connection.next_event(), h11.Response):
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive())
    if event.status_code == 407:
        raise _no_tunnel(proxy, f"it wants a login. Put it into {proxy.source}: http://USER:PASSWORD@HOST:PORT")
    if not 200 <= event.status_code < 300 or connection.trailing_data[0]:
        raise _no_tunnel(proxy, f"it answered with status {event.status_code}")


async def _ask_socks_proxy(stream: ByteStream, proxy: Proxy, host: str, port: int) -> None:
    """Open a tunnel by SOCKS version 5 (RFC 1928), with user name and password (RFC 1929) where there are some."""
    user, _, password = (unquote(part).encode() for part in proxy.url.userinfo.partition(":"))
    await stream.send(b"\x05\x02\x00\x02" if user else b"\x05\x01\x00")
    version, method = await _receive_exactly(stream, 2)
    if version != 5:
        raise _no_tunnel(proxy, "it does not speak SOCKS5")
    if method == 2 and user and max(len(user), len(password)) < 256:
        await stream.send(bytes([1, len(user), *user, len(password), *password]))
        if (await _receive_exactly(stream, 2))[1] != 0:
            raise _no_tunnel(proxy, f"it does not accept the login in {proxy.source}")
    elif method != 0:
        raise _no_tunnel(proxy, f"it wants a login. Put it into {proxy.source}: socks5://USER:PASSWORD@HOST:PORT")
    address = ip_address_of(host)
    if address is None:
        target = bytes([3, len(host), *host.encode()])
    else:
        target = (b"\x01" if isinstance(address, IPv4Address) else b"\x04") + address.packed
    await stream.send(b"\x05\x01\x00" + target + port.to_bytes(2, "big"))
    _, reply, _, kind = await _receive_exactly(stream, 4)
    if reply:
        raise _no_tunnel(proxy, _SOCKS_REFUSALS.get(reply, f"it answered with code {reply}"))
    length = {1: 4, 4: 16}.get(kind) or (await _receive_exactly(stream, 1))[0]
    await _receive_exactly(stream, length + 2)


async def _receive_exactly(stream: ByteStream, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += await stream.receive(length - len(data))
    return data


# --- TLS ------------------------------------------------------------------------------------------------------


async def _start_tls(stream: ByteStream, url: Url, context: ssl.SSLContext, *, probes_plain_http: bool) -> ByteStream:
    """Return the stream with TLS on it; a port that speaks plain HTTP is recognised even if it waits in silence."""
    secured: ByteStream | None = None
    failure: Exception | None = None
    speaks_plain_http = False

    async def probe(scope: anyio.CancelScope) -> None:
        nonlocal speaks_plain_http
        await anyio.sleep(PLAIN_HTTP_PROBE_AFTER_S)
        speaks_plain_http = await _speaks_plain_http(url)
        if speaks_plain_http:
            scope.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            if probes_plain_http:
                tasks.start_soon(probe, tasks.cancel_scope)
            try:
                secured = await TLSStream.wrap(
                    stream, hostname=url.host, ssl_context=context, standard_compatible=False, server_side=False
                )
            except (ssl.SSLError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
                failure = error
            tasks.cancel_scope.cancel()
    finally:
        if secured is None:
            await anyio.aclose_forcefully(stream)
    if secured is not None:
        return secured
    if speaks_plain_http:
        raise NoConnectionError("does not speak TLS as asked: it answers in plain HTTP. Use http:// in its address.")
    raise NoConnectionError(_why_no_tls(failure)) from failure


def _why_no_tls(failure: Exception | None) -> str:
    match failure:
        case ssl.SSLCertVerificationError():
            return (
                f"has a certificate that can't be verified ({failure.verify_message}). If you trust it: "
                "--ca-file FILE, with the certificate of its authority."
            )
        case ssl.SSLError():
            what = failure.reason or "handshake failed"
        case _:
            what = "it closed the connection"
    return f"does not speak TLS as asked ({what}). Is it http:// or https://?"


async def _speaks_plain_http(url: Url) -> bool:
    """Return whether a plain request gets an answer; 400 is none, as TLS servers say so in plain HTTP."""
    try:
        async with await anyio.connect_tcp(url.host, url.port) as stream:
            await stream.send(f"GET / HTTP/1.1\r\nhost: {url.authority}\r\nconnection: close\r\n\r\n".encode())
            status_line = await _receive_exactly(stream, len("HTTP/1.1 200"))
    except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
        return False
    return status_line.startswith(b"HTTP/1.") and not status_line.endswith(b" 400")


_trusted_files: list[Path] = []


def trust(ca_file: Path) -> None:
    """Trust the authorities in a PEM file too, in all connections of this process from now on.

    Raises:
        SetupError: the file can't be read, or holds no certificate.
    """
    try:
        ssl.create_default_context().load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SetupError(
            f"The certificates in {ca_file} can't be used: {error}.", "The file must hold certificates in PEM form."
        ) from error
    _trusted_files.append(ca_file)
    _authorities.cache_clear()


async def authorities() -> ssl.SSLContext:
    """Return the TLS settings that verify a host against the system's authorities, and those of ``trust``."""
    return await to_thread.run_sync(_authorities)  # reads them from disk: 20 ms


@cache
def _authorities() -> ssl.SSLContext:
    context = _system_authorities()
    context.set_alpn_protocols(["http/1.1"])
    for trusted in _trusted_files:
        context.load_verify_locations(cafile=trusted)
    for file in filter(None, map(os.environ.get, _EXTRA_AUTHORITIES_VARIABLES)):
        with suppress(OSError, ssl.SSLError):  # OpenSSL and Node.js pass over files that they can't use, too
            context.load_verify_locations(cafile=file)
    return context


def _system_authorities() -> ssl.SSLContext:
    if sys.platform in ("darwin", "win32"):
        import truststore  # the system's own verification; OpenSSL knows only a part of these stores, or none

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and not any(Path(paths.capath or "/nowhere").glob("*.0")):
        # A Python that was built for another distribution looks where there is nothing.
        for file in filter(os.path.isfile, _UNIX_AUTHORITIES):
            context.load_verify_locations(cafile=file)
            break
    return context
