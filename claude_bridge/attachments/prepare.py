"""Attachments: the one step before the pure conversion, for what it can't do without I/O or heavy libraries.

The same history comes back at every turn: what was made of an attachment is kept by its content, so that it costs
only once, and stands in the prompt with the same bytes the next time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import anyio
from anyio import to_thread
from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.attachments.cache import Memo, MemoEntry
from claude_bridge.attachments.fetch import Fetched, WebFetcher, source_of
from claude_bridge.attachments.pdf.reader import INSTALL_HINT, PdfReader, PdfReading, Share, shown_pages, why_unreadable
from claude_bridge.attachments.public_web import FetchError, PublicWeb
from claude_bridge.attachments.vision import Describer, Description
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.media_types import PDF, is_pdf
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.prompt.token_estimate import IMAGE_TOKENS
from claude_bridge.conversion.request.content import document_name
from claude_bridge.conversion.request.history import CHANGED_MESSAGES, KnownHistory
from claude_bridge.errors import InvalidRequestError
from claude_bridge.off_loop import run_off_loop_if_large
from claude_bridge.wire.anthropic import (
    Base64Source,
    Block,
    ContentSource,
    CountTokensRequest,
    DocumentBlock,
    ImageBlock,
    InputMessage,
    PlainTextSource,
    TextBlock,
    ToolResultBlock,
    UrlSource,
    WebFetchToolResultBlock,
)

LIMIT_S = 120.0
"""How long all attachments of one request together may take; clients give up after 300 s of silence."""

MAX_CONCURRENT = 4
"""How many addresses of all requests are fetched side by side."""

PASSING_KEPT_S = 60.0
"""How long a failure that may pass is remembered: a dead host must not cost its time limit at every turn."""

FETCH_LIMIT_S = 30.0
"""How long the addresses among them may take together."""

MAX_ATTACHMENTS = 600
"""How many of one request are fetched, read or described; Anthropic takes as many images."""

KEPT_BYTES = 64 * 2**20
"""For each kind of thing that is kept."""

MAX_CHARS = 400_000
"""About 100,000 tokens: the most that a document takes of any prompt."""

MAX_IMAGES = 20
_CHARS_PER_TOKEN = 4

_FREE = "attachments"
"""Of a conversation: how many of its first messages are known to hold none."""

_PLACES = frozenset({ImageBlock, DocumentBlock, ToolResultBlock, WebFetchToolResultBlock})
"""Blocks that are or hold attachments."""

Attachment = ImageBlock | DocumentBlock
_Request = TypeVar("_Request", bound=CountTokensRequest)


class ReadyRequest(Struct, Generic[_Request], frozen=True, kw_only=True):
    """A request with nothing left in it that takes I/O to convert.

    ``losses`` are as in conversion; ``descriptions`` are the new ones, by the paths of their images.
    """

    request: _Request
    losses: list[Loss]
    descriptions: tuple[tuple[str, Description], ...] = ()

    @property
    def warnings(self) -> list[str]:
        """What the user should see without a trace: that something is not installed."""
        return [
            f"A PDF is not shown to the model: {loss.reason}" for loss in self.losses if INSTALL_HINT in loss.reason
        ]


class Ready(NamedTuple):
    """What replaces an attachment. ``lost`` is what of it does not reach the model (None: nothing is lost)."""

    block: Block
    lost: str | None = None
    description: Description | None = None
    """What a model has just written of an image."""


Work = Mapping[str, tuple[Attachment, Callable[[], Awaitable[Ready]]]]
"""By the paths of attachments: each one, and how to make what replaces it."""


class Attachments:
    """Prepares requests for one engine, and keeps what it made for the turns to come."""

    def __init__(
        self,
        *,
        web: WebFetcher | None = None,
        pdf_reader: PdfReader | None = None,
        describer: Describer | None = None,
        limit_s: float = LIMIT_S,
        fetch_limit_s: float = FETCH_LIMIT_S,
    ) -> None:
        """``web`` None: the public one; ``describer`` None: images for a model that sees none stay out."""
        self._limit_s, self._fetch_limit_s = limit_s, fetch_limit_s
        self._web = web or PublicWeb()
        self._fetched = Memo[Fetched](KEPT_BYTES)
        self._side_by_side = anyio.CapacityLimiter(MAX_CONCURRENT)
        self._pdf_reader = pdf_reader or PdfReader()
        self._readings = Memo[PdfReading](KEPT_BYTES)
        self._describer = describer
        self._descriptions = Memo[Description](KEPT_BYTES)

    async def prepare(
        self,
        request: _Request,
        profile: Profile,
        window_tokens: int | None,
        *,
        history: KnownHistory | None = None,
        new_bytes: int = 0,
    ) -> ReadyRequest[_Request]:
        """Return the request with all attachments in a form that the conversion for this profile can carry.

        An attachment that can't be fetched or read raises nothing: a text that says so replaces it. ``history`` is
        what is known of the request's messages, ``new_bytes`` how large those are that are not known.

        Raises:
            InvalidRequestError: there are too many attachments.
        """
        free = (history and history.latest(_FREE)) or 0
        found = await run_off_loop_if_large(new_bytes, lambda: list(attachments_in(request.messages, free)))
        if not found:
            if history is not None:
                free = max(0, len(request.messages) - CHANGED_MESSAGES)
                history.keep(_FREE, free, free)
            return ReadyRequest(request=request, losses=[])
        now = anyio.current_time()
        deadline, fetch_by = now + self._limit_s, now + self._fetch_limit_s
        shows_images = profile.sees_images or self._describer is not None
        share = _share(window_tokens, shows_images=shows_images)
        text_only = replace(profile, fetches_images=False, reads_pdfs=False, fetches_pdfs=False)

        def work() -> Work:
            return {
                path: (block, partial(self._ready, block, text_only if is_assistants else profile, share, fetch_by))
                for path, block, is_assistants in found
                if _takes_work(block, text_only if is_assistants else profile, shows_images=shows_images)
            }

        ready = await _do_in_time(await run_off_loop_if_large(new_bytes, work), deadline)
        request = await run_off_loop_if_large(new_bytes, _with_ready, request, ready)
        described: dict[str, Ready] = {}
        if self._describer is not None and not profile.sees_images:
            images = {
                path: (block, partial(self._described, block, self._describer))
                for path, block, _ in attachments_in(request.messages)
                if isinstance(block, ImageBlock)
            }
            described = await _do_in_time(images, deadline)
            request = await run_off_loop_if_large(new_bytes, _with_ready, request, described)
        return ReadyRequest(
            request=request,
            losses=[Loss(path, one.lost) for path, one in (*ready.items(), *described.items()) if one.lost is not None],
            descriptions=tuple((path, one.description) for path, one in described.items() if one.description),
        )

    async def _ready(self, block: Attachment, profile: Profile, share: Share, fetch_by: float) -> Ready:
        if isinstance(block.source, UrlSource):
            url = block.source.url
            source: Fetched = f"was not fetched: the addresses of a request have {self._fetch_limit_s:g} s together"
            with anyio.CancelScope(deadline=fetch_by):
                source = await self._fetched.get(url, partial(self._fetch, url))
            if isinstance(source, str):
                return _omitted(_name(block), f"it {source}")
            if (fetched := _of_source(block, source, url, share)) is None:
                return _omitted(_name(block), "it is no image")
            block = fetched
        if isinstance(block, DocumentBlock) and not profile.reads_pdfs and is_pdf(block.source):
            return await self._read(block, block.source.data, share)
        return Ready(block)

    async def _fetch(self, url: str) -> MemoEntry[Fetched]:
        try:
            async with self._side_by_side:
                document = await self._web.fetch(url)
        except FetchError as error:
            keep_s = PASSING_KEPT_S if error.is_passing else None
            return MemoEntry(value=error.reason, size_bytes=len(url) + 200, keep_s=keep_s)
        source = await to_thread.run_sync(source_of, document)
        return MemoEntry(value=source, size_bytes=len(url) + 200 + len(document.body) * 4 // 3)

    async def _read(self, document: DocumentBlock, data: str, share: Share) -> Ready:
        async def read() -> MemoEntry[PdfReading]:
            reading = await self._pdf_reader.read(data, with_images=share.images > 0)
            is_final = bool(reading.pages) or reading.trouble in ("encrypted", "broken", "empty")
            return MemoEntry(value=reading, size_bytes=reading.size_bytes, keep_s=None if is_final else PASSING_KEPT_S)

        reading = await self._readings.get((await _digest(data), share.images > 0), read)
        trouble = why_unreadable(reading)
        if trouble is not None:
            return _omitted(document_name(document), trouble)
        blocks, lost = shown_pages(reading, share)
        title = document.title or reading.title or None
        return Ready(replace(document, title=title, source=ContentSource(blocks)), lost)

    async def _described(self, image: ImageBlock, describer: Describer) -> Ready:
        new: Description | None = None

        async def describe() -> MemoEntry[Description]:
            nonlocal new
            new = await describer.describe(image)
            keep_s = PASSING_KEPT_S if new.text is None else None
            return MemoEntry(value=new, size_bytes=200 + 2 * len(new.text or ""), keep_s=keep_s)

        if not isinstance(image.source, Base64Source):
            return Ready(image)  # the conversion says what becomes of it
        description = await self._descriptions.get(await _digest(image.source.data), describe)
        if description.text is None:
            lost = f"{describer.model} did not describe the image: {description.trouble}"
            return Ready(image, lost, description=new)
        return Ready(TextBlock(f"[image described by {describer.model}: {description.text}]"), description=new)


async def _do_in_time(work: Work, deadline: float) -> dict[str, Ready]:
    """Return what replaces each attachment, made side by side; what is not ready by the deadline is omitted.

    Raises:
        InvalidRequestError: there are too many.
    """
    if len(work) > MAX_ATTACHMENTS:
        raise InvalidRequestError(
            f"messages: at most {MAX_ATTACHMENTS} images and documents are fetched, read or described for one request, "
            f"not {len(work):,}"
        )
    done: dict[str, Ready] = {}

    async def do(path: str, make: Callable[[], Awaitable[Ready]]) -> None:
        done[path] = await make()

    with anyio.CancelScope(deadline=deadline):
        async with anyio.create_task_group() as tasks:
            for path, (_, make) in work.items():
                tasks.start_soon(do, path, make)
    return {
        path: done.get(path) or _omitted(_name(block), "it was not ready in time") for path, (block, _) in work.items()
    }


def _with_ready(request: _Request, ready: Mapping[str, Ready]) -> _Request:
    new = {path: one.block for path, one in ready.items()}
    return replace(request, messages=with_replaced(request.messages, new)) if new else request


def _takes_work(block: Attachment, profile: Profile, *, shows_images: bool) -> bool:
    match block:
        case ImageBlock(UrlSource()):
            return shows_images and not (profile.sees_images and profile.fetches_images)
        case DocumentBlock(UrlSource()):
            return not profile.fetches_pdfs
        case DocumentBlock(source):
            return not profile.reads_pdfs and is_pdf(source)
        case _:
            return False


def _of_source(block: Attachment, source: Base64Source | PlainTextSource, url: str, share: Share) -> Attachment | None:
    """Return the block with what was fetched for it; None if an image was meant and it is none."""
    is_image = isinstance(source, Base64Source) and source.media_type != PDF
    if isinstance(block, ImageBlock):
        return ImageBlock(source) if is_image and isinstance(source, Base64Source) else None
    shown: Base64Source | PlainTextSource | ContentSource = source
    if is_image and isinstance(source, Base64Source):
        shown = ContentSource([ImageBlock(source)])
    elif isinstance(source, PlainTextSource) and len(source.data) > share.chars:
        shown = PlainTextSource(f"{source.data[: share.chars]}\n\n[the rest is left out: the document is too long]")
    return replace(block, title=block.title or url, source=shown)


def _omitted(what: str, reason: str) -> Ready:
    return Ready(TextBlock(f"[{what} omitted: {reason}]"), reason)


def _name(block: Attachment) -> str:
    if isinstance(block, DocumentBlock):
        return document_name(block)
    return f"image at {block.source.url}" if isinstance(block.source, UrlSource) else "image"


def _share(window_tokens: int | None, *, shows_images: bool) -> Share:
    """Return how much of the prompt one document may take: at most half of a small window."""
    half = window_tokens // 2 if window_tokens else MAX_CHARS
    images = min(MAX_IMAGES, max(1, half // IMAGE_TOKENS)) if shows_images else 0
    return Share(chars=min(MAX_CHARS, half * _CHARS_PER_TOKEN), images=images)


async def _digest(data: str) -> bytes:
    return await run_off_loop_if_large(len(data), lambda: hashlib.sha256(data.encode()).digest())


# --- where images and documents stand in a conversation, and the conversation with others in their place ------------


class Attached(NamedTuple):
    """An attachment, its JSON path, and whether it stands in an assistant's message, which can only hold text."""

    path: str
    block: Attachment
    is_assistants: bool


def attachments_in(messages: Sequence[InputMessage], first: int = 0) -> Iterator[Attached]:
    """Yield each image and document from the ``first`` message on; one of blocks stands for the images in it."""
    for index, message in enumerate(messages[first:], first):
        if not isinstance(message.content, str):
            for path, block in _in_blocks(message.content, f"$.messages[{index}].content"):
                yield Attached(path, block, message.role == "assistant")


def with_replaced(messages: Sequence[InputMessage], new: Mapping[str, Block]) -> list[InputMessage]:
    """Return the messages with other blocks at some paths; what holds none of them is the same object."""
    replaced = list(messages)
    for path in {where[: where.index("]") + 1] for where in new}:
        index = int(path[len("$.messages[") : -1])
        message = messages[index]
        if not isinstance(message.content, str):
            replaced[index] = replace(message, content=_replaced(message.content, f"{path}.content", new))
    return replaced


def _in_blocks(blocks: Sequence[Block], path: str) -> Iterator[tuple[str, Attachment]]:
    if _PLACES.isdisjoint(map(type, blocks)):
        return
    for index, block in enumerate(blocks):
        where = f"{path}[{index}]"
        match block:
            case ImageBlock():
                yield where, block
            case DocumentBlock():
                yield from _in_document(block, where)
            case ToolResultBlock(_, content) if isinstance(content, list):
                yield from _in_blocks(content, f"{where}.content")
            case WebFetchToolResultBlock(_, content) if content.content is not None:
                yield from _in_document(content.content, f"{where}.content.content")
            case _:
                pass


def _in_document(document: DocumentBlock, where: str) -> Iterator[tuple[str, Attachment]]:
    if not isinstance(document.source, ContentSource):
        yield where, document
    elif not isinstance(document.source.content, str):
        yield from _in_blocks(document.source.content, f"{where}.source.content")


def _replaced(blocks: Sequence[Block], path: str, new: Mapping[str, Block]) -> list[Block]:
    return [_replaced_block(block, f"{path}[{index}]", new) for index, block in enumerate(blocks)]


def _replaced_block(block: Block, where: str, new: Mapping[str, Block]) -> Block:
    match block:
        case ImageBlock() | DocumentBlock() if where in new:
            return new[where]
        case DocumentBlock(ContentSource(content)) if isinstance(content, list):
            return replace(block, source=ContentSource(_replaced(content, f"{where}.source.content", new)))
        case ToolResultBlock(_, content) if isinstance(content, list):
            return replace(block, content=_replaced(content, f"{where}.content", new))
        case WebFetchToolResultBlock(_, content) if content.content is not None:
            inner = _replaced_block(content.content, f"{where}.content.content", new)
            return replace(block, content=replace(content, content=_as_document(inner)))
        case _:
            return block


def _as_document(block: Block) -> DocumentBlock:
    """Return what stands in place of a document where only a document may stand."""
    if isinstance(block, DocumentBlock):
        return block
    return DocumentBlock(PlainTextSource(block.text if isinstance(block, TextBlock) else ""))
