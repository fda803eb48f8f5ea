"""PDFs read in another process: text, pictures of pages, and whatever is sent in the name of a PDF."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import textwrap
import warnings
from io import BytesIO, StringIO
from typing import Any

import anyio
import pypdf
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.attachments.pdf import worker as pdf_worker
from claude_bridge.attachments.pdf.reader import MAX_CONCURRENT, PdfLimits, PdfPage, PdfReader, PdfReading
from claude_bridge.conversion.media_types import media_type_of
from tests.examples import examples
from tests.pdfs import Blank, Bomb, Scan, as_base64, pdf

pytestmark = pytest.mark.anyio


async def read(file: bytes, *, with_images: bool = False, **limits: int | float) -> PdfReading:
    with anyio.fail_after(60):
        return await PdfReader(PdfLimits(**limits)).read(as_base64(file), with_images=with_images)  # type: ignore[arg-type]  # each limit has its own type


def locked(password: str, file: bytes) -> bytes:
    writer = pypdf.PdfWriter(clone_from=BytesIO(file))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def findings(file: bytes) -> list[dict[str, Any]]:
    """Return what the worker finds in a file, without starting a process for it."""
    order = {"max_pages": 9, "max_chars": 999, "max_images": 0, "image_side": 50}
    with warnings.catch_warnings(), contextlib.redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")  # the worker's go nowhere
        return list(pdf_worker._findings(file, order))


one_loop_is_enough = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""For what a PDF has in it: how its worker runs on each loop is shown by others."""


def acting(program: str, *, max_s: float = 60.0) -> PdfReader:
    """Return a reader whose worker is another program."""
    limits = PdfLimits(max_s=max_s, max_output_bytes=100_000)
    return PdfReader(limits, command=(sys.executable, "-c", textwrap.dedent(program)))


@one_loop_is_enough
async def test_text_comes_page_by_page() -> None:
    reading = await read(pdf("Hello (world)", "Second page", title="A title"))
    assert reading == PdfReading(
        title="A title", all_pages=2, pages=(PdfPage(1, "Hello (world)"), PdfPage(2, "Second page"))
    )


@one_loop_is_enough
async def test_a_page_without_text_becomes_a_picture_and_a_blank_one_does_not() -> None:
    reading = await read(pdf("text", Scan(), Blank()), with_images=True)
    text, scan, blank = reading.pages
    assert (text.text, text.jpeg) == ("text", None)
    assert scan.jpeg is not None
    assert media_type_of(base64.b64decode(scan.jpeg)) == "image/jpeg"
    assert blank.jpeg == ""


async def test_pictures_are_made_only_for_a_model_that_sees() -> None:
    reading = await read(pdf(Scan()))
    assert reading.pages == (PdfPage(1, ""),)


@one_loop_is_enough
async def test_the_same_file_gives_the_same_picture() -> None:
    assert await read(pdf(Scan()), with_images=True) == await read(pdf(Scan()), with_images=True)


@one_loop_is_enough
async def test_a_picture_is_as_large_as_asked_for() -> None:
    small = await read(pdf(Scan()), with_images=True, image_side=100)
    large = await read(pdf(Scan()), with_images=True)
    assert len(small.pages[0].jpeg or "") < len(large.pages[0].jpeg or "") / 4


@one_loop_is_enough
async def test_no_more_is_read_than_the_limits_allow() -> None:
    pages = await read(pdf(*(f"page {number}" for number in range(500))), max_pages=3)
    assert (pages.all_pages, len(pages.pages), pages.is_cut) == (500, 3, False)
    chars = await read(pdf("a" * 60, "b" * 60, "c"), max_chars=100)
    assert [page.text for page in chars.pages] == ["a" * 60, "b" * 40]
    images = await read(pdf(Scan(), Scan(), Scan()), with_images=True, max_images=2)
    assert [page.jpeg is not None for page in images.pages] == [True, True, False]


TROUBLES = {
    "locked": (locked("secret", pdf("a")), "encrypted"),
    "no pdf": (b"not a PDF", "broken"),
    "nothing": (b"", "broken"),
    "cut short": (pdf("some text")[:200], "broken"),
    "only the head": (b"%PDF-1.4\n", "broken"),
}


@pytest.mark.parametrize(("file", "trouble"), TROUBLES.values(), ids=TROUBLES.keys())
def test_a_pdf_that_can_not_be_read_says_why(file: bytes, trouble: str) -> None:
    assert findings(file) == [{"trouble": trouble}]


@one_loop_is_enough
async def test_a_pdf_without_pages_says_so() -> None:
    assert (await read(pdf())).trouble == "empty"  # not in this process: its pdfium may know an error of another file


@one_loop_is_enough
async def test_a_pdf_that_is_locked_only_against_changes_is_read() -> None:
    assert (await read(locked("", pdf("open to all")))).pages == (PdfPage(1, "open to all"),)


@one_loop_is_enough
async def test_base64_that_is_none_is_a_broken_pdf() -> None:
    reading = await PdfReader().read("%%%", with_images=False)
    assert reading.trouble == "broken"


@one_loop_is_enough
async def test_a_page_that_unpacks_without_end_costs_no_more_than_the_limits() -> None:
    bomb = pdf("before", Bomb(200_000_000))
    assert len(bomb) < 300_000
    with anyio.fail_after(30):
        reading = await read(bomb, max_s=12.0, max_memory=400 * 2**20)
    assert reading.pages[0] == PdfPage(1, "before")


async def test_what_was_found_before_time_was_up_is_used() -> None:
    worker = """
        import time
        print('{"pages": 9, "title": "T"}', flush=True)
        print('{"page": 1, "text": "found"}', flush=True)
        print('{"page": 2, "te', end="", flush=True)
        time.sleep(60)
    """
    for max_s in (1.5, 6.0, 20.0):  # a busy machine may need more than the least to start a process
        reading = await acting(worker, max_s=max_s).read("", with_images=False)
        if reading.pages:
            break
    assert reading == PdfReading(title="T", all_pages=9, pages=(PdfPage(1, "found"),), is_cut=True)


async def test_a_worker_that_never_ends_and_says_nothing_is_ended() -> None:
    with anyio.fail_after(30):
        reading = await acting("import time; time.sleep(60)", max_s=0.3).read("a" * 10_000_000, with_images=False)
    assert reading.pages == ()


async def test_a_worker_that_says_too_much_is_ended() -> None:
    worker = """
        print('{"pages": 1}', flush=True)
        while True:
            print('{"page": 1, "text": "%s"}' % ("a" * 1000), flush=True)
    """
    with anyio.fail_after(30):  # it was not time that ended it
        reading = await acting(worker).read("", with_images=False)
    assert reading.is_cut


@pytest.mark.parametrize("program", ["raise SystemExit(1)", "import os; os.abort()", "print('no JSON')", "print('[]')"])
async def test_a_worker_that_breaks_down_gives_a_broken_pdf(program: str) -> None:
    assert (await acting(program).read("", with_images=False)).trouble == "broken"


async def test_slow_pdfs_do_not_keep_the_next_one_waiting() -> None:
    worker = """
        import sys, time
        sys.stdin.readline()
        if sys.stdin.read() == "slow":
            time.sleep(60)
        print('{"pages": 1}', flush=True)
        print('{"page": 1, "text": "quick"}', flush=True)
    """
    limits = PdfLimits(quick_s=0.1)
    reader = PdfReader(limits, command=(sys.executable, "-c", textwrap.dedent(worker)))

    async def read_slow_one() -> None:
        await reader.read("slow", with_images=False)

    with anyio.fail_after(50):
        async with anyio.create_task_group() as tasks:
            for _ in range(MAX_CONCURRENT):
                tasks.start_soon(read_slow_one)
            await anyio.wait_all_tasks_blocked()
            for _ in range(2 * MAX_CONCURRENT):
                (page,) = (await reader.read("quick", with_images=False)).pages
                assert page.text == "quick"
            tasks.cancel_scope.cancel()
        for _ in range(2 * MAX_CONCURRENT):
            assert (await reader.read("quick", with_images=False)).pages, "all places are free again"


async def test_a_worker_that_can_not_be_started_is_a_passing_trouble() -> None:
    reading = await PdfReader(command=("/nowhere/python",)).read("", with_images=False)
    assert (reading.pages, reading.trouble) == ((), "slow")


async def test_the_worker_gets_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-key")
    worker = """
        import json, os
        print(json.dumps({"pages": 1}))
        print(json.dumps({"page": 1, "text": " ".join(os.environ)}))
    """
    (page,) = (await acting(worker).read("", with_images=False)).pages
    assert "PATH" in page.text
    assert "OPENAI_API_KEY" not in page.text


@given(st.data())
@examples(60)
def test_no_damage_to_a_file_is_more_than_a_finding(data: st.DataObject) -> None:
    whole = bytearray(pdf("Hello", Scan(4), Blank(), "Bye", title="T"))
    for _ in range(data.draw(st.integers(1, 12))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    file = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    found = findings(file)
    assert found
    assert json.loads(json.dumps(found)) == found


async def test_the_worker_is_ended_with_the_request() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    worker = f"""
        import socket, time
        line = socket.create_connection(("127.0.0.1", {port}))
        time.sleep(60)
    """
    began, ended = anyio.Event(), anyio.Event()

    async def watch(stream: SocketStream) -> None:
        began.set()
        async with stream:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.receive()
        ended.set()

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, watch)
        reading = anyio.CancelScope()

        async def read() -> None:
            with reading:
                await acting(worker, max_s=50).read("", with_images=False)

        tasks.start_soon(read)
        with anyio.fail_after(40):
            await began.wait()
            reading.cancel()
            await ended.wait()
        tasks.cancel_scope.cancel()
