"""The way out, on real sockets: proxies, tunnels, TLS, and what is said when there is none."""

from __future__ import annotations

import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import anyio
import pytest
import trustme
from anyio.abc import ByteStream, SocketAttribute

from claude_bridge.errors import SetupError, UpstreamBrokenError, UpstreamOverloadedError, UpstreamUnreachableError
from claude_bridge.upstream import network
from claude_bridge.upstream.client import UpstreamClient
from tests.fake_upstream import FakeUpstream, free_port, json_document
from tests.tls_engine import AUTHORITY, tls_engine

pytestmark = pytest.mark.anyio

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


class FakeProxy:
    """A proxy that speaks SOCKS5 and HTTP, and leads every tunnel to one port of this machine."""

    def __init__(self, port: int, *, login: str = "", reply: int = 0) -> None:
        self.targets: list[str] = []
        self.port = 0
        self._leads_to = port
        self._login = login
        self._reply = reply

    async def serve(self, stream: ByteStream) -> None:
        async with stream:
            first = await stream.receive(1)
            is_open = await (self._greet_socks(stream) if first == b"\x05" else self._greet_http(stream, first))
            if is_open:
                async with (
                    await anyio.connect_tcp("127.0.0.1", self._leads_to) as target,
                    anyio.create_task_group() as tasks,
                ):
                    tasks.start_soon(self._copy, stream, target)
                    await self._copy(target, stream)
                    tasks.cancel_scope.cancel()

    async def _greet_http(self, stream: ByteStream, head: bytes) -> bool:
        while b"\r\n\r\n" not in head:
            head += await stream.receive()
        method, target, _ = head.decode().split(" ", 2)
        self.targets.append(f"{method} {target}")
        if self._login and f"Basic {self._login}" not in head.decode():
            await stream.send(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n")
        elif self._reply:
            await stream.send(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % self._reply)
        elif method != "CONNECT":
            await stream.send(HELLO)
        else:
            await stream.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            return True
        return False

    async def _greet_socks(self, stream: ByteStream) -> bool:
        methods = await self._exactly(stream, (await stream.receive(1))[0])
        wants_login = bool(self._login) or 2 in methods
        await stream.send(b"\x05\x02" if wants_login else b"\x05\x00")
        if wants_login:
            await self._exactly(stream, 1)
            user, password = [await self._exactly(stream, (await stream.receive(1))[0]) for _ in range(2)]
            is_right = self._login in ("", f"{user.decode()}:{password.decode()}")
            await stream.send(b"\x01\x00" if is_right else b"\x01\x01")
            if not is_right:
                return False
        *_, kind = await self._exactly(stream, 4)
        length = {1: 4, 4: 16}.get(kind) or (await stream.receive(1))[0]
        host = await self._exactly(stream, length)
        port = int.from_bytes(await self._exactly(stream, 2), "big")
        self.targets.append(f"{host.decode() if kind == 3 else host.hex()}:{port}")
        await stream.send(bytes([5, self._reply, 0, 3, 4, *b"name", 0, 0]))
        return not self._reply

    async def _exactly(self, stream: ByteStream, length: int) -> bytes:
        data = b""
        while len(data) < length:
            data += await stream.receive(length - len(data))
        return data

    async def _copy(self, source: ByteStream, target: ByteStream) -> None:
        async for data in source:
            await target.send(data)


@asynccontextmanager
async def proxy_to(port: int, *, login: str = "", reply: int = 0) -> AsyncIterator[FakeProxy]:
    proxy = FakeProxy(port, login=login, reply=reply)

    async def serve(stream: ByteStream) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            await proxy.serve(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    proxy.port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield proxy
        tasks.cancel_scope.cancel()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a file with the authority of ``tls_engine``, which the variable of Claude Code names."""
    file = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(file))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(file))
    network._authorities.cache_clear()
    yield file
    network._authorities.cache_clear()


async def ask(base_url: str) -> bytes:
    async with UpstreamClient(base_url, api_key=None, name="It") as client:
        return (await client.fetch("/models", timeout_s=30)).body


async def why_not(base_url: str) -> str:
    """Return the reason that follows the name and the address."""
    with pytest.raises(UpstreamUnreachableError) as caught:
        await ask(base_url)
    start = f"It at {base_url} "
    assert caught.value.message.startswith(start)
    return caught.value.message.removeprefix(start)


# --- proxies --------------------------------------------------------------------------------------------------


async def test_http_is_forwarded_by_an_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy_to(1, login="bWU6czpjJHJldA==") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:s%3Ac$ret@127.0.0.1:{proxy.port}")
        assert await ask("http://engine.example:8000/v1") == b"hi"
        assert proxy.targets == ["GET http://engine.example:8000/v1/models"]


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
@pytest.mark.parametrize("login", ["", "me:secret"])
async def test_https_goes_through_a_tunnel(
    monkeypatch: pytest.MonkeyPatch, trusted: Path, scheme: str, login: str
) -> None:
    expected = "bWU6c2VjcmV0" if login and scheme == "http" else login
    async with tls_engine("engine.example") as port, proxy_to(port, login=expected) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://{login}{'@' if login else ''}127.0.0.1:{proxy.port}")
        assert await ask("https://engine.example/v1") == b"hi"
        assert proxy.targets == ["CONNECT engine.example:443" if scheme == "http" else "engine.example:443"]


@pytest.mark.parametrize(("host", "target"), [("10.1.2.3", "0a010203"), ("[2001:db8::1]", "20010db8" + "0" * 23 + "1")])
async def test_a_socks_proxy_is_given_addresses_as_such(
    monkeypatch: pytest.MonkeyPatch, host: str, target: str
) -> None:
    async with FakeUpstream(documents={"/v1/models": json_document({})}) as upstream, proxy_to(upstream.port) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{proxy.port}")
        assert await ask(f"http://{host}:8000/v1") == b"{}"
        assert proxy.targets == [f"{target}:8000"]


async def test_an_https_proxy_is_spoken_to_in_tls(monkeypatch: pytest.MonkeyPatch, trusted: Path) -> None:
    async with tls_engine("localhost", "engine.example") as port:
        monkeypatch.setenv("HTTP_PROXY", f"https://localhost:{port}")
        assert await ask("http://engine.example/v1") == b"hi"


@pytest.mark.parametrize(
    ("scheme", "login", "reply", "words"),
    [
        ("http", "other", 0, "it needs a login. Put it into ALL_PROXY: http://USER:PASSWORD@HOST:PORT."),
        ("http", "", 403, "it answered with status 403."),
        ("socks5", "other:x", 0, "it does not accept the login in ALL_PROXY."),
        ("socks5", "", 5, "Connection refused."),
        ("socks5", "", 77, "Malformed reply."),
    ],
)
async def test_a_proxy_that_gives_no_connection_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, scheme: str, login: str, reply: int, words: str
) -> None:
    async with proxy_to(1, login=login, reply=reply) as proxy:
        address = f"127.0.0.1:{proxy.port}"
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://me:secret@{address}")
        reason = await why_not("https://engine.example/v1")
        named = f"the proxy {scheme}://{address} (from ALL_PROXY)"
        assert reason == f"can't be reached: {named} gives no connection to it: {words}"


async def test_a_dead_proxy_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{port}")
    reason = await why_not("https://engine.example/v1")
    assert reason == f"can't be reached: the proxy http://127.0.0.1:{port} (from HTTPS_PROXY) refused the connection."


async def test_a_proxy_of_another_kind_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://x")
    assert "HTTPS_PROXY names a proxy of the kind nonsense://" in await why_not("https://engine.example/v1")


async def test_a_proxy_that_wants_a_login_for_http_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy_to(1, login="other") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert "needs a login" in await why_not("http://engine.example/v1")


# --- TLS ------------------------------------------------------------------------------------------------------


async def test_an_authority_of_ones_own_is_trusted_if_it_is_named(trusted: Path) -> None:
    async with tls_engine("localhost") as port:
        assert await ask(f"https://localhost:{port}/v1") == b"hi"


async def test_a_certificate_of_an_unknown_authority_is_refused() -> None:
    async with tls_engine("localhost") as port:
        reason = await why_not(f"https://localhost:{port}/v1")
    assert reason.startswith("has a certificate that can't be verified (")
    assert "--ca-file FILE" in reason


async def test_a_certificate_for_another_name_is_refused(trusted: Path) -> None:
    async with tls_engine("other.example") as port:
        assert "localhost" in await why_not(f"https://localhost:{port}/v1")


async def test_a_file_with_authorities_is_checked_when_it_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for file in (empty, tmp_path / "missing.pem"):
        with pytest.raises(SetupError) as caught:
            network.trust(file)
        assert str(file) in caught.value.what


async def test_a_named_file_is_trusted_beside_the_system(tmp_path: Path) -> None:
    file, authority = tmp_path / "authority.pem", trustme.CA()
    authority.cert_pem.write_to_path(str(file))
    async with tls_engine("localhost", authority=authority) as port:
        assert "can't be verified" in await why_not(f"https://localhost:{port}/v1")
        network.trust(file)
        assert await ask(f"https://localhost:{port}/v1") == b"hi"


@pytest.mark.parametrize("is_silent", [True, False], ids=["waits for a line", "closes"])
async def test_a_port_without_tls_is_recognised_soon(*, is_silent: bool) -> None:
    async def serve(stream: ByteStream) -> None:
        async with stream:
            data = await stream.receive()
            if data.startswith(b"GET"):
                await stream.send(HELLO)
            elif is_silent:
                await anyio.sleep_forever()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        reason = await why_not(f"https://127.0.0.1:{port}/v1")  # else it would be a timeout of the connection
        tasks.cancel_scope.cancel()
    assert reason.startswith("does not speak TLS")
    assert ("it answers in plain HTTP" in reason) is is_silent


async def test_a_port_with_tls_that_was_asked_without_is_recognised(trusted: Path) -> None:
    async with (
        tls_engine("localhost") as port,
        UpstreamClient(f"http://localhost:{port}/v1", api_key=None, name="It") as client,
    ):
        with pytest.raises(UpstreamBrokenError, match=r"speaks TLS, but its address begins|closed the connection"):
            await client.fetch("/models", timeout_s=5)


# --- no descriptor left ---------------------------------------------------------------------------------------


@contextmanager
def few_descriptors() -> Iterator[None]:
    """Take all descriptors but those that are open, for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    with suppress(OSError):
        while True:
            taken.append(Path("/dev/null").open("rb"))  # noqa: SIM115 - until there are no more
    try:
        yield
    finally:
        for file in taken:
            file.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_lack_of_descriptors_is_reported_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        async with UpstreamClient(base_url, api_key=None, name="It") as client:
            with few_descriptors(), pytest.raises(UpstreamOverloadedError, match="no file descriptor left"):
                await client.fetch("/models", timeout_s=5)
