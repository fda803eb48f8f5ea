"""What stands behind a URL, in the form in which a request could have brought it itself."""

from __future__ import annotations

import base64
from typing import Protocol

import anyio
from anyio import to_thread

from claude_bridge.attachments.cache import Memo, MemoEntry
from claude_bridge.attachments.public_web import FetchError, PublicWeb, WebDocument
from claude_bridge.conversion.media_types import media_type_of
from claude_bridge.wire.anthropic import Base64Source, PlainTextSource

MAX_CONCURRENT = 4
PASSING_KEPT_S = 60.0
"""How long a failure that may pass is remembered: a dead host must not cost its time limit at every turn."""

Fetched = Base64Source | PlainTextSource | str
"""A source, or the reason why there is none: the end of a sentence that begins with the URL."""


class WebFetcher(Protocol):
    """What fetches documents: a PublicWeb, or a test's."""

    async def fetch(self, url: str) -> WebDocument:
        """Return the document; raises FetchError."""
        ...


class FetchedSources:
    """Fetches each URL once, as long as there is room to keep what it gave."""

    def __init__(self, memo: Memo[Fetched], web: WebFetcher | None = None) -> None:
        """``web`` None: the public one."""
        self._memo = memo
        self._web = web or PublicWeb()
        self._at_once = anyio.CapacityLimiter(MAX_CONCURRENT)

    async def get(self, url: str) -> Fetched:
        """Return what is at the URL; a failure is the text that explains it."""
        return await self._memo.get(url, lambda: self._entry(url))

    async def _entry(self, url: str) -> MemoEntry[Fetched]:
        try:
            async with self._at_once:
                document = await self._web.fetch(url)
        except FetchError as error:
            return MemoEntry(
                value=error.reason,
                size_bytes=len(url) + 200,
                keep_s=PASSING_KEPT_S if error.is_passing else None,
            )
        source = await to_thread.run_sync(_source, document)
        return MemoEntry(value=source, size_bytes=len(url) + 200 + len(document.body) * 4 // 3)


def _source(document: WebDocument) -> Fetched:
    """Return the document as what it is, whatever its server calls it."""
    media_type = media_type_of(document.body)
    if media_type is not None:
        return Base64Source(media_type, base64.b64encode(document.body).decode("ascii"))
    if document.is_text:
        return PlainTextSource(_decoded(document))
    return f"is neither an image, nor a PDF, nor text (its server calls it {document.media_type or 'nothing'!r})"


def _decoded(document: WebDocument) -> str:
    try:
        return document.body.decode(document.charset or "utf-8", "replace")
    except LookupError:  # a character set that nobody knows
        return document.body.decode("utf-8", "replace")
