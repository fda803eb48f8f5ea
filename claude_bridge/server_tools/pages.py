"""PageReader: what stands at a URL, as text that a model can read: web pages as Markdown, PDFs page by page."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from importlib.util import find_spec
from posixpath import normpath
from typing import TYPE_CHECKING
from urllib.parse import unquote

import anyio
from anyio import to_thread
from msgspec import Struct

from claude_bridge.attachments.cache import Memo, MemoEntry
from claude_bridge.attachments.fetch import WebFetcher, decoded
from claude_bridge.attachments.pdf.reader import PdfReader, Share, shown_pages, why_unreadable
from claude_bridge.attachments.public_web import FetchError, PublicWeb, WebDocument, WebLimits
from claude_bridge.conversion.media_types import PDF, media_type_of
from claude_bridge.extras import how_to_install
from claude_bridge.server_tools.result_texts import ToolError
from claude_bridge.wire.anthropic import TextBlock
from claude_bridge.wire.urls import InvalidUrlError, parse_url

if TYPE_CHECKING:
    from urllib.robotparser import RobotFileParser

MAX_PAGE_CHARS = 200_000
"""About 50,000 tokens."""

MAX_HTML_BYTES = 2**20
"""Of a longer page the beginning is read, which is more than a model gets of it as Markdown. Hostile markup of this
length takes up to three seconds and 400 MB to convert."""

MAX_CONVERSIONS = 2
"""How many pages are converted side by side."""

KEPT_S = 15 * 60.0
"""How long a page that was fetched is used again."""

KEPT_BYTES = 16 * 2**20
LIMITS = WebLimits(max_bytes=10 * 2**20)
ROBOT = "claude-bridge"

_HTML = ("text/html", "application/xhtml+xml")
_LOOKS_LIKE_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,1000})", re.IGNORECASE)
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset=[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_LEFT_OUT = [
    *("nav", "header", "footer", "aside", "script", "style", "noscript", "iframe", "svg"),
    *("[role=navigation]", "[role=banner]", "[role=contentinfo]", "[aria-hidden=true]"),
]


class Page(Struct, frozen=True, kw_only=True):
    """A page as text; ``url`` is where it was found in the end."""

    url: str
    title: str
    text: str
    size_bytes: int
    retrieved_at: str


class PageReader:
    """Fetches pages, and keeps them for a while."""

    def __init__(self, web: WebFetcher | None = None, pdf_reader: PdfReader | None = None) -> None:
        """``web`` None: the public one."""
        self._web = web or PublicWeb(LIMITS)
        self._pdf_reader = pdf_reader or PdfReader()
        self._pages = Memo[Page](KEPT_BYTES)
        self._at_once = anyio.CapacityLimiter(MAX_CONVERSIONS)
        self._robots: Memo[RobotFileParser] = Memo(2**20)

    async def read(self, url: str, *, use_cache: bool = True) -> Page:
        """Return the page; raises ToolError."""
        if not use_cache:
            return (await self._fetch(url)).value
        return await self._pages.get(url.partition("#")[0], lambda: self._fetch(url))

    async def _fetch(self, url: str) -> MemoEntry[Page]:
        document = await self._document(url)
        title, text = await self._text(document)
        page = Page(
            url=document.url,
            title=title,
            text=text,
            size_bytes=len(document.body),
            retrieved_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        )
        return MemoEntry(value=page, size_bytes=500 + 2 * len(text), keep_s=KEPT_S)

    async def _document(self, url: str) -> WebDocument:
        try:
            parts = parse_url(url)
        except InvalidUrlError as error:
            raise ToolError("invalid_tool_input", f"The address can't be used: {error}.") from error
        origin = parts.origin
        robots = await self._robots.get(origin, lambda: self._rules(origin))
        path = normpath("/" + unquote(parts.path).lstrip("/"))
        if parts.path.endswith("/") and path != "/":
            path += "/"
        if not robots.can_fetch(ROBOT, f"{origin}{path}{parts.query}"):
            raise ToolError("url_not_allowed", "The site's robots.txt forbids programs to fetch this page.")
        try:
            return await self._web.fetch(url)
        except FetchError as error:
            code = "url_not_allowed" if error.is_forbidden else "url_not_accessible"
            raise ToolError(code, f"The page {error.reason}.") from error

    async def _rules(self, origin: str) -> MemoEntry[RobotFileParser]:
        """Return what a site allows programs; where that can't be had, the page itself will say why."""
        from urllib.robotparser import RobotFileParser  # brings urllib's own HTTP client

        rules, lines = RobotFileParser(), list[str]()
        try:
            document = await self._web.fetch(f"{origin}/robots.txt")
            lines = document.body[:500_000].decode("utf-8", "replace").splitlines()
        except FetchError as error:
            if error.status is not None and error.status >= 500:
                lines = ["User-agent: *", "Disallow: /"]  # as RFC 9309 has it
        await to_thread.run_sync(rules.parse, lines)  # which takes long for long ones
        return MemoEntry(value=rules, size_bytes=1_000 + sum(map(len, lines)), keep_s=KEPT_S)

    async def _text(self, document: WebDocument) -> tuple[str, str]:
        """Return the title and the text of a document; raises ToolError."""
        body, declared = document.body, document.media_type
        found = media_type_of(body)
        if found == PDF:
            return await self._pdf(body)
        if found is None and (declared in _HTML or _LOOKS_LIKE_HTML.match(body[:4_096])):
            return await to_thread.run_sync(
                html_as_markdown, body, document.charset, abandon_on_cancel=True, limiter=self._at_once
            )
        if found is None and (document.is_text or (not declared and b"\0" not in body)):
            most = 4 * MAX_PAGE_CHARS
            return "", decoded(body[:most], [document.charset], is_cut=len(body) > most)
        raise ToolError("unsupported_content_type", f"The page is of type {found or declared or 'unknown'!r}.")

    async def _pdf(self, body: bytes) -> tuple[str, str]:
        reading = await self._pdf_reader.read(base64.b64encode(body).decode("ascii"), with_images=False)
        trouble = why_unreadable(reading)
        if trouble is not None:
            raise ToolError("unsupported_content_type", f"The page is a PDF, and {trouble}.")
        blocks, _ = shown_pages(reading, Share(chars=MAX_PAGE_CHARS, images=0))
        return reading.title, "\n\n".join(block.text for block in blocks if isinstance(block, TextBlock))


def html_as_markdown(body: bytes, charset: str | None) -> tuple[str, str]:
    """Return the title and the content of a web page, without what stands around it.

    Raises:
        ToolError: the library that does it is missing, or can't read the page.
    """
    if find_spec("html_to_markdown") is None:
        raise ToolError(
            "unavailable", f"To read web pages, claude-bridge needs its extra `web`: {how_to_install('web')}"
        )
    import html_to_markdown
    from html_to_markdown.options import ConversionOptions, PreprocessingOptions

    meta = _META_CHARSET.search(body[:4_096])
    is_cut = len(body) > MAX_HTML_BYTES
    html = decoded(body[:MAX_HTML_BYTES], [charset, meta[1].decode("ascii") if meta else None], is_cut=is_cut)
    options = ConversionOptions(
        preprocessing=PreprocessingOptions(preset="aggressive", remove_forms=False),
        exclude_selectors=_LEFT_OUT,
        skip_images=True,
        extract_metadata=False,
    )
    try:
        result = html_to_markdown.convert(html, options)
    except html_to_markdown.ConversionError as error:
        raise ToolError("unsupported_content_type", f"The page can't be read: {error}") from error
    title = _TITLE.search(html[:100_000])
    content = (result.content or "").strip()
    if is_cut:
        content += f"\n\n[only the first {MAX_HTML_BYTES >> 20} MiB of the page were read]"
    from html import unescape  # loads all names of characters

    return unescape(" ".join(title[1].split())) if title else "", content
