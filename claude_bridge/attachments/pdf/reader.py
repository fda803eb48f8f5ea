"""A PDF as a model can take it: text page by page, and a picture of each page that has none.

The libraries run in another process (``pdf_worker``), which is stopped when it takes too long, too much memory or
gives too much: what it had found by then is used, and what is missing is named.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import anyio
import msgspec
from anyio.abc import Process
from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.extras import how_to_install
from claude_bridge.wire.anthropic import Base64Source, Block, ImageBlock, TextBlock

MAX_CONCURRENT = 2
"""How many PDFs are read side by side, and how many slow ones beside those."""

_KEPT_VARIABLES = (
    "APPDATA", "HOME", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE", "SYSTEMROOT",
    "TEMP", "TMP", "TMPDIR", "USERPROFILE", "VIRTUAL_ENV",
)  # fmt: skip

INSTALL_HINT = how_to_install("pdf")

_TROUBLES = {
    "missing": f"to read PDFs, claude-bridge needs its extra `pdf`: {INSTALL_HINT}",
    "encrypted": "it is protected with a password",
    "broken": "it is damaged or not a PDF",
    "empty": "it has no pages",
    "slow": "it could not be read in time",
}


class PdfLimits(Struct, frozen=True, kw_only=True):
    """How much of one PDF is read, and what that may take."""

    max_pages: int = 100
    max_chars: int = 400_001
    """One more than any share of a prompt, so that a cut is seen."""
    max_images: int = 20
    """Pictures of pages without text; 0 for a model that sees none."""
    image_side: int = 1568
    """The longer side of such a picture in pixels: the most that Anthropic's models use."""
    max_s: float = 60.0
    quick_s: float = 5.0
    """After this it is a slow one, which no longer keeps the next PDF waiting."""
    max_memory: int = 2 * 2**30
    max_output_bytes: int = 48 * 2**20


class PdfPage(Struct, frozen=True):
    """One page that was read; ``jpeg`` is in base64 (None: not requested, or it is blank)."""

    number: int
    text: str
    jpeg: str | None = None


class PdfReading(Struct, frozen=True, kw_only=True):
    """What was read of a PDF.

    ``trouble`` says why a page or all of it could not be read ("": nothing of the kind), ``all_pages`` how many there
    are, ``is_cut`` that time or another limit ended the reading early.
    """

    title: str = ""
    all_pages: int = 0
    pages: tuple[PdfPage, ...] = ()
    trouble: str = ""
    is_cut: bool = False

    @property
    def size_bytes(self) -> int:
        """About what it takes to keep."""
        return 1_000 + sum(200 + 2 * len(page.text) + len(page.jpeg or "") for page in self.pages)


class _Finding(Struct, frozen=True):
    """One line of the worker's."""

    pages: int | None = None
    title: str = ""
    page: int = 0
    text: str | None = None
    jpeg: str | None = None
    trouble: str = ""
    done: bool = False


_finding_decoder = msgspec.json.Decoder(_Finding)


class PdfReader:
    """Reads PDFs, a few at a time."""

    def __init__(self, limits: PdfLimits | None = None, *, command: Sequence[str] = ()) -> None:
        """``command`` starts the worker; empty: this package's."""
        self.limits = limits or PdfLimits()
        self._command = command or (sys.executable, "-P", "-m", "claude_bridge.attachments.pdf.worker")
        self._quick = anyio.CapacityLimiter(MAX_CONCURRENT)
        self._slow = anyio.CapacityLimiter(MAX_CONCURRENT)

    async def read(self, base64_data: str, *, with_images: bool) -> PdfReading:
        """Return what can be read within the limits; a PDF that can't be read gives a ``trouble``."""
        if not any(find_spec(name) for name in ("pypdf", "pypdfium2")):
            return PdfReading(trouble="missing")
        order = self.limits if with_images else replace(self.limits, max_images=0)
        output: bytes | None = None
        holder = object()
        await self._quick.acquire_on_behalf_of(holder)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._make_room, holder)
                output = await self._work(msgspec.json.encode(order) + b"\n" + base64_data.encode())
                tasks.cancel_scope.cancel()
        finally:
            for places in (self._quick, self._slow):
                with suppress(RuntimeError):  # it holds a place in one of the two
                    places.release_on_behalf_of(holder)
        return PdfReading(trouble="slow") if output is None else _reading(output)

    async def _make_room(self, holder: object) -> None:
        """Give a PDF that takes long another place, as soon as one is free for slow ones."""
        await anyio.sleep(self.limits.quick_s)
        await self._slow.acquire_on_behalf_of(holder)
        self._quick.release_on_behalf_of(holder)

    async def _work(self, order: bytes) -> bytes | None:
        """Return what the worker wrote until it ended or was ended; None if it could not be started."""
        try:
            process = await anyio.open_process(self._command, stderr=subprocess.DEVNULL, env=_environment())
        except OSError:  # no descriptor or no memory is left at the moment
            return None
        output = bytearray()
        try:
            with anyio.move_on_after(self.limits.max_s):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_write, process, order)
                    assert process.stdout is not None, "open_process makes a pipe"
                    async for chunk in process.stdout:
                        output += chunk
                        if len(output) > self.limits.max_output_bytes:
                            tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.aclose()
        return bytes(output)


def _environment() -> dict[str, str]:
    """Return what Python needs to start, and no more: keys of engines are none of a PDF's business."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    root = str(Path(__file__).parents[3])
    return {**kept, "PYTHONPATH": os.pathsep.join(part for part in (root, kept.get("PYTHONPATH")) if part)}


async def _write(process: Process, order: bytes) -> None:
    assert process.stdin is not None, "open_process makes a pipe"
    try:
        await process.stdin.send(order)
        await process.stdin.aclose()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass  # it ended before it had read all, and its output says why


def _reading(output: bytes) -> PdfReading:
    """Return what the worker's lines say; the last one may be cut."""
    title, all_pages, trouble, is_done = "", 0, "", False
    pages: dict[int, PdfPage] = {}
    for line in output.splitlines():
        try:
            found = _finding_decoder.decode(line)
        except msgspec.DecodeError:
            break
        if found.pages is not None:
            all_pages, title = found.pages, found.title
        elif found.text is not None:
            pages[found.page] = PdfPage(found.page, found.text)
        elif found.jpeg is not None:
            pages[found.page] = PdfPage(found.page, "", found.jpeg)
        trouble = found.trouble or trouble
        is_done = is_done or found.done
    if not all_pages and not trouble:
        trouble = "broken"
    return PdfReading(
        title=title, all_pages=all_pages, pages=tuple(pages.values()), trouble=trouble, is_cut=not is_done
    )


class Share(Struct, frozen=True, kw_only=True):
    """How much of the prompt one document may take."""

    chars: int
    images: int


def why_unreadable(reading: PdfReading) -> str | None:
    """Return why nothing at all can be shown, or None."""
    if not reading.pages:
        return _TROUBLES[reading.trouble or "slow"]
    if any(page.text or page.jpeg for page in reading.pages):
        return None
    pages = "its page holds" if reading.all_pages == 1 else f"its {reading.all_pages} pages hold"
    missing = f"; to show pictures of them: {INSTALL_HINT}" if reading.trouble == "missing" else ""
    return f"{pages} no text, only pictures, and the model can't be shown them{missing}"


def shown_pages(reading: PdfReading, share: Share) -> tuple[list[Block], str | None]:
    """Return the pages as blocks, neighbouring texts in one, and what of the document does not reach the model.

    What does not fit the share is named at the end of the blocks too; None: nothing is lost.
    """
    blocks: list[Block] = []
    texts: list[str] = []
    chars, images, wordless = share.chars, share.images, 0
    shown = 0
    for page in reading.pages:
        if chars <= 0:
            break
        shown = page.number
        heading = f"[page {page.number} of {reading.all_pages}]"
        if page.jpeg and images > 0:
            images -= 1
            picture = ImageBlock(Base64Source("image/jpeg", page.jpeg))
            blocks += [TextBlock("\n\n".join([*texts, heading])), picture]
            texts = []
        elif page.text:
            texts.append(f"{heading}\n{page.text[:chars]}")
            chars -= len(page.text)
        elif page.jpeg == "":
            texts.append(f"{heading}\n(empty)")
        else:
            wordless += 1
            texts.append(f"{heading}\n(no text; a picture of it is not shown)")
    lost = _what_is_missing(reading, shown, is_cut=chars < 0)
    if lost:
        texts.append(f"[{lost}]")
    if wordless and lost is None:
        lost = f"{wordless} of {reading.all_pages} pages hold no text, and are not shown as pictures"
    if texts:
        blocks.append(TextBlock("\n\n".join(texts)))
    return blocks, lost


def _what_is_missing(reading: PdfReading, shown: int, *, is_cut: bool) -> str | None:
    if shown < reading.all_pages:
        first = shown + 1
        which = f"page {first} is" if first == reading.all_pages else f"pages {first} to {reading.all_pages} are"
        reason = "reading took too long" if reading.is_cut else "the document is too long"
        return f"{which} left out: {reason}"
    return f"the rest of page {shown} is left out: the document is too long" if is_cut else None
