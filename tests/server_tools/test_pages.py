"""Pages as models read them: what becomes of each kind of document, what is not fetched, and what hostile ones cost."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from claude_bridge.attachments.fetch import decoded
from claude_bridge.attachments.public_web import PublicWeb
from claude_bridge.server_tools.pages import LIMITS, MAX_HTML_BYTES, Page, PageReader, html_as_markdown
from claude_bridge.server_tools.result_texts import ToolError
from tests.fake_upstream import FakeUpstream, Reply, document, refusal
from tests.pdfs import pdf
from tests.server_tools.engines import SITE, html

pytestmark = pytest.mark.anyio

Pages = Mapping[str, Reply]


async def to_this_machine(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def reader(**settings: Any) -> PageReader:
    """Return a reader for which every name is this machine, which counts as public."""
    given = {"resolve": to_this_machine, "is_allowed": lambda address: address.is_loopback, **settings}
    return PageReader(PublicWeb(LIMITS, **given))


async def read(path: str, documents: Pages) -> Page:
    async with FakeUpstream(documents=documents) as site:
        return await reader().read(f"http://{SITE}:{site.port}{path}")


async def why_not(path: str, documents: Pages, **settings: Any) -> ToolError:
    async with FakeUpstream(documents=documents) as site:
        with pytest.raises(ToolError) as caught:
            await reader(**settings).read(f"http://{SITE}:{site.port}{path}")
        return caught.value


# --- what a model reads -----------------------------------------------------------------------------------------


async def test_a_web_page_is_markdown_without_what_stands_around_it() -> None:
    body = (
        "<nav><a href='/menu'>Menu</a></nav><header>Logo</header><main><h1>Bridges</h1><p>An <a href='/arch'>arch</a> "
        "<b>carries</b>.</p><pre><code>x = 1\n  y</code></pre><table><tr><th>a</th></tr><tr><td>1</td></tr></table>"
        "<script>alert(1)</script><form><p>In a form.</p></form></main><footer>Imprint</footer>"
    )
    page = await read("/", {"/": html(body, "Bridges &amp; more")})
    assert page.title == "Bridges & more"
    for kept in ("# Bridges", "An [arch](/arch) **carries**.", "x = 1\n  y", "| 1", "In a form."):
        assert kept in page.text
    for left_out in ("Menu", "Logo", "alert", "Imprint"):
        assert left_out not in page.text


async def test_json_and_text_stay_as_they_are() -> None:
    page = await read("/a", {"/a": document(b'{"a": [1]}')})
    assert page.text == '{"a": [1]}'
    page = await read("/a", {"/a": document("Grüße\n".encode("latin-1"), content_type="text/plain; charset=latin-1")})
    assert page.text == "Grüße\n"


async def test_a_pdf_is_text_page_by_page() -> None:
    page = await read("/a.pdf", {"/a.pdf": document(pdf("First page.", "Second page."), content_type="text/html")})
    assert page.text == "[page 1 of 2]\nFirst page.\n\n[page 2 of 2]\nSecond page."


async def test_what_is_no_text_is_refused() -> None:
    for body, declared, named in (
        (b"\x89PNG\r\n\x1a\n rest", "image/png", "image/png"),
        (b"a\0b", "text/plain", "text/plain"),
        (b"a\0b", "", "unknown"),
    ):
        error = await why_not("/a", {"/a": document(body, content_type=declared)})
        assert (error.code, named in error.reason) == ("unsupported_content_type", True)
    assert (await read("/a", {"/a": document(b"a b", content_type="")})).text == "a b"


@pytest.mark.parametrize(
    ("body", "declared", "text"),
    [
        ("ä€".encode(), None, "ä€"),
        ("ä€".encode("cp1252"), "utf-8", "ä€"),
        ("ä".encode("latin-1"), "no-such-charset", "ä"),
        ("ä".encode(), "rot13", "ä"),
        ("ä".encode(), "idna", "ä"),
        (b"\xff\xfea\0", "utf-8", "a"),
        ("日本".encode("shift-jis"), "shift-jis", "日本"),
        (b"\x81\x8d", "utf-8", "\ufffd\ufffd"),
    ],
)
def test_a_wrong_charset_is_seen_through(body: bytes, declared: str | None, text: str) -> None:
    assert decoded(body, [declared]) == text


def test_a_character_that_was_cut_is_left_out() -> None:
    assert decoded("aä".encode()[:-1], ["utf-8"], is_cut=True) == "a"


def test_a_page_names_its_own_charset() -> None:
    page = '<meta charset="iso-8859-15"><title>€</title><p>Grüße für 5 €</p>'.encode("iso-8859-15")
    assert html_as_markdown(page, None) == ("€", "Grüße für 5 €")


# --- what is not fetched ----------------------------------------------------------------------------------------


async def test_robots_are_obeyed() -> None:
    rules = document(b"User-agent: *\nDisallow: /private\nDisallow: /folder/\n", content_type="text/plain")
    error = await why_not("/private/a", {"/robots.txt": rules, "/private/a": html("x")})
    assert error.code == "url_not_allowed"
    assert "robots.txt" in error.reason
    for path in ("/public/%2e%2e/private/a", "/folder/", "//private"):
        error = await why_not(path, {"/robots.txt": rules})
        assert "robots.txt" in error.reason, "however the path is written"
    assert (await read("/public", {"/robots.txt": rules, "/public": html("<p>x</p>")})).text == "x"
    error = await why_not("/a", {"/robots.txt": refusal(503, "later"), "/a": html("x")})
    assert error.code == "url_not_allowed", "as RFC 9309 has it"


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "10.0.0.1", "0.0.0.0"),
        *("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "[fd00::1]", "[64:ff9b::7f00:1]"),
    ],
)
async def test_addresses_inside_are_refused_in_every_form(host: str) -> None:
    async with FakeUpstream(documents={"/": html("secret")}) as site:
        with pytest.raises(ToolError) as caught:
            await PageReader(PublicWeb(LIMITS)).read(f"http://{host}:{site.port}/")
        assert not site.probes
    assert caught.value.code in ("url_not_allowed", "url_not_accessible")


async def test_a_name_that_leads_inside_is_refused_and_so_is_a_redirect_to_one() -> None:
    addresses = {SITE: ["127.0.0.1"], "inside.example": ["10.0.0.7"], "both.example": ["127.0.0.1", "10.0.0.7"]}

    async def resolve(host: str, _port: int) -> Sequence[str]:
        return addresses[host]

    for host in ("inside.example", "both.example"):
        moved = document(b"", status=302, headers={"location": f"http://{host}/"})
        error = await why_not("/", {"/": moved}, resolve=resolve)
        assert (error.code, host in error.reason) == ("url_not_allowed", True)


async def test_a_name_that_changes_its_address_after_the_check_gains_nothing() -> None:
    resolved = []

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        resolved.append(_host)
        return ["127.0.0.1"] if len(resolved) <= 2 else ["10.0.0.7"]

    async with FakeUpstream(documents={"/": html("<p>x</p>")}) as site:
        page = await reader(resolve=resolve).read(f"http://{SITE}:{site.port}/")
    assert page.text == "x"
    assert len(resolved) == 2, "once for robots.txt and once for the page: the checked address is the one that is used"


async def test_a_configured_host_may_be_inside_but_leads_nowhere_else() -> None:
    moved = {"/": html("<p>wiki</p>"), "/moved": document(b"", status=302, headers={"location": "http://[::1]:9/"})}
    async with FakeUpstream(documents=moved) as site:
        host = f"wiki.example:{site.port}"
        trusting = PageReader(PublicWeb(LIMITS, resolve=to_this_machine, trusted_hosts=[host]))
        assert (await trusting.read(f"http://{host}/")).text == "wiki"
        with pytest.raises(ToolError):
            await trusting.read(f"http://{host}/moved")
        with pytest.raises(ToolError):
            await trusting.read(f"http://other.example:{site.port}/")


# --- what is kept -----------------------------------------------------------------------------------------------


async def test_a_page_is_fetched_once_unless_a_fresh_one_is_wanted() -> None:
    async with FakeUpstream(documents={"/a": html("<p>x</p>")}) as site:
        url, by = f"http://{SITE}:{site.port}/a", reader()
        for fragment in ("", "#part"):
            await by.read(url + fragment)
        assert [probe.path for probe in site.probes] == ["/robots.txt", "/a"]
        await by.read(url, use_cache=False)
        assert [probe.path for probe in site.probes] == ["/robots.txt", "/a", "/a"]


# --- hostile pages ----------------------------------------------------------------------------------------------


async def test_ten_megabytes_of_tags_are_read_to_a_point() -> None:
    tags = b"<!doctype html>" + b"<p>" * (10 * 2**20 // 3 - 100)
    page = await read("/", {"/": document(tags, content_type="text/html")})
    assert page.size_bytes > 4 * MAX_HTML_BYTES
    assert page.text.endswith("[only the first 1 MiB of the page were read]")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (document(b"x" * (LIMITS.max_bytes + 1), content_type="text/plain"), "larger than"),
        (document(b"", status=302, headers={"location": "/"}), "redirects more than"),
        (
            document(gzip.compress(b"\0" * 2**24), content_type="text/html", headers={"content-encoding": "gzip"}),
            "larger than",
        ),
    ],
    ids=["endless", "redirects", "bomb"],
)
async def test_what_has_no_end_is_given_up(reply: Reply, why: str) -> None:
    error = await why_not("/", {"/": reply})
    assert error.code == "url_not_accessible"
    assert why in error.reason


async def test_without_the_library_the_model_and_the_user_hear_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "html_to_markdown", None)
    error = await why_not("/", {"/": html("x")})
    assert "html-to-markdown`" in error.reason
