"""Documents from the public web: what is fetched, what is refused before a connection, and what is given up."""

from __future__ import annotations

import gzip
import ssl
import zlib
from collections.abc import Sequence
from ipaddress import ip_address

import anyio
import pytest
import trustme
from anyio.streams.tls import TLSListener, TLSStream
from msgspec.structs import replace

from claude_bridge.attachments.public_web import (
    FetchError,
    PublicWeb,
    WebDocument,
    WebLimits,
    is_public,
)
from tests.fake_upstream import Close, FakeUpstream, Head, Reply, Send, Stall, document, refusal

# httpx leaves generators behind when an answer is given up; asyncio closes them, trio says so.
pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:Async generator '(httpx|httpcore):ResourceWarning")]

HOST = "pictures.example"
PNG = b"\x89PNG\r\n\x1a\n rest"


class Names:
    """A resolver that knows some names, and remembers what it was asked."""

    def __init__(self, **addresses: Sequence[str]) -> None:
        self.requested: list[tuple[str, int]] = []
        self._addresses = {name.replace("_", "."): found for name, found in addresses.items()}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.requested.append((host, port))
        if host not in self._addresses:
            raise OSError(f"no {host}")
        return self._addresses[host]


def web(limits: WebLimits | None = None, **addresses: Sequence[str]) -> PublicWeb:
    """Return a web in which HOST is this machine, and loopback counts as public."""
    names = Names(**({"pictures_example": ["127.0.0.1"]} | addresses))
    return PublicWeb(limits, resolve=names, is_allowed=lambda address: address.is_loopback)


def at(server: FakeUpstream, path: str, host: str = HOST) -> str:
    return f"http://{host}:{server.port}{path}"


def redirect(location: str, status: int = 302) -> Reply:
    return document(b"moved", status=status, headers={"location": location})


async def why_not(url: str, by: PublicWeb) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await by.fetch(url)
    return caught.value


# --- what is fetched ------------------------------------------------------------------------------------------


async def test_a_document_comes_with_what_its_server_says_of_it() -> None:
    reply = document(PNG, content_type="Image/PNG; charset=utf-8")
    async with FakeUpstream(documents={"/a.png?b=c": reply}) as server:
        found = await web().fetch(at(server, "/a.png?b=c"))
        assert found == WebDocument(url=at(server, "/a.png?b=c"), media_type="image/png", charset="utf-8", body=PNG)
        (requested,) = server.probes
    assert requested.headers["host"] == f"{HOST}:{server.port}", "the name, though the connection went to an address"
    assert requested.headers["accept-encoding"] == "gzip, deflate"
    assert not {"cookie", "authorization", "referer"} & set(requested.headers)


async def test_a_redirect_is_followed_relative_ones_too() -> None:
    documents = {"/a": redirect("/b", 301), "/b": redirect("//other.example:PORT/c", 308), "/c": document(PNG)}
    async with FakeUpstream(documents=documents) as server:
        documents["/b"] = redirect(f"//other.example:{server.port}/c", 308)
        found = await web(other_example=["127.0.0.1"]).fetch(at(server, "/a"))
        assert (found.url, found.body) == (at(server, "/c", "other.example"), PNG)
        assert server.probes[-1].headers["host"] == f"other.example:{server.port}"


@pytest.mark.parametrize(
    ("encoding", "packed"), [("gzip", gzip.compress(PNG, mtime=0)), ("deflate", zlib.compress(PNG)), ("identity", PNG)]
)
async def test_a_body_that_is_packed_is_unpacked(encoding: str, packed: bytes) -> None:
    reply = document(packed, headers={"content-encoding": encoding})
    async with FakeUpstream(documents={"/a": reply}) as server:
        assert (await web().fetch(at(server, "/a"))).body == PNG


async def test_another_address_of_the_name_is_tried() -> None:
    async with FakeUpstream(documents={"/a": document(PNG)}) as server:
        by = web(pictures_example=["127.0.0.99", "127.0.0.1"])
        assert (await by.fetch(at(server, "/a"))).body == PNG


async def test_the_host_name_is_verified_by_tls_and_sent_to_the_server() -> None:
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(serving)
    asked_for: list[str | None] = []
    serving.sni_callback = lambda _, name, __: asked_for.append(name)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def answer(stream: TLSStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(TLSListener(listener, serving, standard_compatible=False).serve, answer)
        names = Names(pictures_example=["127.0.0.1"], other_example=["127.0.0.1"])
        by = PublicWeb(resolve=names, is_allowed=lambda _: True, tls=trusting)
        assert (await by.fetch(f"https://{HOST}:{port}/a")).body == b"hi"
        assert asked_for == [HOST]
        assert "a certificate that can't be verified" in (await why_not(f"https://other.example:{port}/a", by)).reason
        tasks.cancel_scope.cancel()


# --- what is refused ------------------------------------------------------------------------------------------

INSIDE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1",
    "::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
]  # fmt: skip

OUTSIDE = ["1.1.1.1", "93.184.216.34", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_outside_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", INSIDE)
async def test_no_connection_is_made_to_an_address_inside(address: str) -> None:
    async with FakeUpstream(documents={"/a": document(PNG)}) as server:
        by = PublicWeb(resolve=Names(pictures_example=[address]))
        assert "not on the public internet" in (await why_not(at(server, "/a"), by)).reason
        assert server.connections == 0


async def test_a_name_with_one_address_inside_is_refused_as_a_whole() -> None:
    by = PublicWeb(resolve=Names(pictures_example=["1.1.1.1", "127.0.0.1"]))
    assert "not on the public internet" in (await why_not(f"http://{HOST}/a", by)).reason


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::1]", "localhost", "[::ffff:7f00:1]"]
)
async def test_this_machine_is_refused_however_it_is_written(host: str) -> None:
    async with FakeUpstream(documents={"/a": document(PNG)}) as server:
        error = await why_not(at(server, "/a", host), PublicWeb())
        assert "not on the public internet" in error.reason or "unknown host" in error.reason
        assert server.connections == 0


async def test_a_redirect_to_an_address_inside_is_refused() -> None:
    documents = {"/a": redirect("http://inside.example/secret")}
    async with FakeUpstream(documents=documents) as server:
        by = PublicWeb(
            resolve=Names(pictures_example=["127.0.0.1"], inside_example=["10.0.0.1"]),
            is_allowed=lambda address: str(address) == "127.0.0.1",
        )
        error = await why_not(at(server, "/a"), by)
        assert "'inside.example', which is not on the public internet" in error.reason


async def test_a_name_is_looked_up_once_and_its_address_is_the_one_connected_to() -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return next(answers)

    async with FakeUpstream(documents={"/a": document(PNG)}) as server:
        by = PublicWeb(resolve=rebinding, is_allowed=lambda address: str(address) == "127.0.0.1")
        assert (await by.fetch(at(server, "/a"))).body == PNG
    assert next(answers) == ["127.0.0.2"], "nobody asked again"


URLS = {
    "file:///etc/passwd": "not at an http: or https: address",
    "ftp://a.example/a": "not at an http: or https: address",
    "a.png": "not at an http: or https: address",
    "http://": "an invalid address",
    "http://user:secret@a.example/": "a password in it",
    "http://a.example:99999/": "an invalid address",
    "http://[::1/": "an invalid address",
    "http://a.example/" + "a" * 9000: "more than 8000 characters",
    "": "not at an http: or https: address",
}


@pytest.mark.parametrize(("url", "reason"), URLS.items(), ids=[url[:30] for url in URLS])
async def test_a_url_that_may_not_be_asked_for_is_refused(url: str, reason: str) -> None:
    error = await why_not(url, web())
    assert reason in error.reason
    assert not error.is_passing


async def test_a_redirect_to_a_file_is_refused() -> None:
    async with FakeUpstream(documents={"/a": redirect("file:///etc/passwd")}) as server:
        assert "not at an http: or https: address" in (await why_not(at(server, "/a"), web())).reason


# --- what is given up -----------------------------------------------------------------------------------------

SMALL = WebLimits(max_bytes=1000, total_s=0.4, connect_s=0.3, max_redirects=2)
PATIENT = replace(SMALL, total_s=60.0, connect_s=30.0)
HUGE = b"\0" * 5_000_000

FAILURES: dict[str, tuple[Reply, str, bool]] = {
    "missing": (refusal(404, "no"), "answers with status 404", False),
    "broken server": (refusal(503, "no"), "answers with status 503", True),
    "busy server": (refusal(429, "no"), "answers with status 429", True),
    "redirect to nowhere": ([Head(302, {"content-length": "0"})], "answers with status 302", False),
    "told to be too large": ([Head(200, {"content-length": "1001"}), Stall()], "larger than", False),
    "too large": ([Head(), Send(b"a" * 600), Send(b"a" * 600), Stall()], "larger than", False),
    "small but huge": (document(gzip.compress(HUGE), headers={"content-encoding": "gzip"}), "larger than", False),
    "badly packed": (
        document(b"nope", headers={"content-encoding": "gzip"}),
        "can't be unpacked",
        False,
    ),
    "packed unknown": (document(b"nope", headers={"content-encoding": "br"}), "compressed answer (br)", False),
    "silent": ([Stall()], "longer than 0.4 seconds", True),
    "drips": ([Head(), Send(b"a"), Stall()], "longer than 0.4 seconds", True),
    "cut": ([Head(200, {"content-length": "9"}), Send(b"a"), Close()], "broke off its answer", True),
    "no answer": ([Close()], "without an answer", True),
}


@pytest.mark.parametrize(("reply", "reason", "is_passing"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_document_that_can_not_be_had_is_given_up(reply: Reply, reason: str, *, is_passing: bool) -> None:
    async with FakeUpstream(documents={"/a": reply}) as server:
        error = await why_not(at(server, "/a"), web(SMALL if "longer than" in reason else PATIENT))
    assert reason in error.reason
    assert error.is_passing == is_passing


async def test_redirects_without_end_are_given_up() -> None:
    async with FakeUpstream(documents={"/a": redirect("/a")}) as server:
        assert "more than 2 times" in (await why_not(at(server, "/a"), web(PATIENT))).reason
        assert len(server.probes) == 3


async def test_a_host_that_is_not_there_may_be_there_another_time() -> None:
    error = await why_not("http://unknown.example/a", web())
    assert "unknown host" in error.reason
    assert error.is_passing
    nobody = await why_not(f"http://{HOST}:1/a", web())
    assert nobody.reason == "refused the connection"
    assert nobody.is_passing


async def test_the_connection_is_closed_when_the_fetch_is_given_up() -> None:
    async with FakeUpstream(documents={"/a": [Head(), Send(b"a"), Stall()]}) as server:
        await why_not(at(server, "/a"), web(SMALL))
        await server.probes[0].wait_until_closed_by_peer()
