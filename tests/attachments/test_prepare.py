"""What becomes of attachments before the conversion: fetched, read, described; once, and never in silence."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from claude_bridge.adapters import engine_profiles
from claude_bridge.attachments.pdf.reader import INSTALL_HINT, PdfPage, PdfReader, PdfReading
from claude_bridge.attachments.prepare import MAX_ATTACHMENTS, Attachments, ReadyRequest
from claude_bridge.attachments.public_web import FetchError, WebDocument
from claude_bridge.attachments.vision import PROMPT, Describer
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.errors import InvalidRequestError, UpstreamTimeoutError
from claude_bridge.wire.anthropic import (
    Block,
    ContentSource,
    DocumentBlock,
    ImageBlock,
    MessagesRequest,
    TextBlock,
    ToolResultBlock,
)
from claude_bridge.wire.anthropic_answers import Message, Usage
from tests.dialogues import a_request
from tests.pdfs import OnceReader, Scan, as_base64, pdf
from tests.requests import conversations

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n"
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": as_base64(PNG)}}
SEES, BLIND = engine_profiles.UNKNOWN, replace(engine_profiles.UNKNOWN, sees_images=False)
URL = "https://e.example/a"


def web_image(url: str = URL) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "url", "url": url}}


def web_document(url: str = URL, **fields: str) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "url", "url": url}} | fields


def pdf_block(file: bytes, **fields: str) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "application/pdf", "data": as_base64(file)}
    return {"type": "document", "source": source} | fields


def asking(*content: dict[str, Any]) -> MessagesRequest:
    return a_request(messages=[{"role": "user", "content": list(content)}])


def blocks_of(done: ReadyRequest[MessagesRequest]) -> list[Block]:
    content = done.request.messages[0].content
    assert isinstance(content, list)
    return content


class FakeWeb:
    """A web of few documents: (media type, body), or an error."""

    def __init__(self, **documents: tuple[str, bytes] | FetchError) -> None:
        self.fetched: list[str] = []
        self._documents = {f"https://e.example/{name}": found for name, found in documents.items()}

    async def fetch(self, url: str) -> WebDocument:
        self.fetched.append(url)
        await anyio.lowlevel.checkpoint()
        found = self._documents[url]
        if isinstance(found, FetchError):
            raise found
        media_type, _, charset = found[0].partition("; ")
        return WebDocument(url=url, media_type=media_type, charset=charset or None, body=found[1])


class FakeReader(PdfReader):
    """Gives one reading for every PDF, and counts."""

    def __init__(self, reading: PdfReading) -> None:
        super().__init__()
        self.read_with_images: list[bool] = []
        self._reading = reading

    async def read(self, base64_data: str, *, with_images: bool) -> PdfReading:
        assert base64_data
        self.read_with_images.append(with_images)
        return self._reading


class FakeModel:
    """A model that sees, and says always the same, or fails."""

    def __init__(self, *says: str | Exception) -> None:
        self.requested: list[MessagesRequest] = []
        self._says = list(says)

    async def __call__(self, request: MessagesRequest) -> Message:
        self.requested.append(request)
        description = self._says.pop(0) if len(self._says) > 1 else self._says[0]
        if isinstance(description, Exception):
            raise description
        content = [TextBlock(description)] if description else []
        return Message(id="m", model="m", content=list(content), stop_reason="end_turn", usage=Usage())

    @property
    def describer(self) -> Describer:
        return Describer("seer", self)


async def prepared(
    request: MessagesRequest, profile: Profile = SEES, window_tokens: int | None = None, **parts: Any
) -> ReadyRequest[MessagesRequest]:
    with anyio.fail_after(30):
        return await Attachments(**({"pdf_reader": OnceReader()} | parts)).prepare(request, profile, window_tokens)


async def block_of(*content: dict[str, Any], profile: Profile = SEES, **parts: Any) -> tuple[Any, list[str]]:
    """Return what the first block became, and the reasons of losses."""
    found = await prepared(asking(*content), profile, **parts)
    return found.request.messages[0].content[0], [loss.reason for loss in found.losses]


# --- nothing to do --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        a_request(),
        asking({"type": "text", "text": "a"}),
        asking({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "a"}]}),
        asking(IMAGE),
        asking({"type": "document", "source": {"type": "text", "data": "a"}}),
        asking({"type": "image", "source": {"type": "file", "file_id": "f"}}),
    ],
    ids=["plain", "text", "tool result", "image", "text document", "file"],
)
async def test_a_request_without_work_is_the_same_object(request_: MessagesRequest) -> None:
    found = await prepared(request_)
    assert found.request is request_
    assert (found.losses, found.descriptions, found.warnings) == ([], (), [])


async def test_an_engine_that_fetches_and_reads_by_itself_gets_all_as_it_is() -> None:
    able = replace(SEES, fetches_images=True, reads_pdfs=True, fetches_pdfs=True)
    request = asking(web_image(), web_document(), pdf_block(pdf("a")))
    assert (await prepared(request, able, web=FakeWeb())).request is request


async def test_an_image_by_url_is_not_fetched_for_a_model_that_sees_none() -> None:
    request = asking(web_image())
    assert (await prepared(request, BLIND, web=FakeWeb())).request is request


# --- by URL ---------------------------------------------------------------------------------------------------


async def test_an_image_by_url_comes_with_the_type_that_its_bytes_have() -> None:
    block, losses = await block_of(web_image(), web=FakeWeb(a=("text/plain", PNG)))
    assert block == asking(IMAGE).messages[0].content[0]
    assert losses == []


FETCHES: dict[str, tuple[dict[str, Any], tuple[str, bytes] | FetchError, str]] = {
    "image that is none": (web_image(), ("image/png", b"what?"), f"[image at {URL} omitted: it is neither an image"),
    "image that is a page": (web_image(), ("text/html", b"<p>"), f"[image at {URL} omitted: it is no image]"),
    "image that is a pdf": (web_image(), ("image/png", b"%PDF-1"), f"[image at {URL} omitted: it is no image]"),
    "missing": (
        web_image(),
        FetchError("answers with status 404"),
        f"[image at {URL} omitted: it answers with status 404]",
    ),
    "missing document": (
        web_document(),
        FetchError("answers with status 404"),
        f"[document at {URL} omitted: it answers with status 404]",
    ),
    "program": (
        web_document(title="T"),
        ("application/zip", b"PK"),
        f"[document 'T' at {URL} omitted: it is neither an image, nor a PDF, nor text",
    ),
}


@pytest.mark.parametrize(("block", "found", "text"), FETCHES.values(), ids=FETCHES.keys())
async def test_what_can_not_be_fetched_is_seen_and_lost(
    block: dict[str, Any], found: tuple[str, bytes] | FetchError, text: str
) -> None:
    request = asking({"type": "text", "text": "see:"}, block)
    done = await prepared(request, web=FakeWeb(a=found))
    _, placeholder = blocks_of(done)
    assert isinstance(placeholder, TextBlock)
    assert placeholder.text.startswith(text)
    assert [loss.path for loss in done.losses] == ["$.messages[0].content[1]"]


async def test_a_text_by_url_is_read_in_its_character_set_and_named() -> None:
    web = FakeWeb(a=("text/plain; latin-1", "Grüße".encode("latin-1")), b=("application/json; nonsense", b"{}"))
    block, losses = await block_of(web_document(), web=web)
    assert (block.source.data, block.title, losses) == ("Grüße", URL, [])
    block, _ = await block_of(web_document("https://e.example/b", title="T"), web=web)
    assert (block.source.data, block.title) == ("{}", "T")


async def test_a_text_by_url_that_is_too_long_for_the_window_is_cut() -> None:
    done = await prepared(asking(web_document()), SEES, 100, web=FakeWeb(a=("text/plain", b"a" * 1000)))
    (block,) = blocks_of(done)
    assert isinstance(block, DocumentBlock)
    assert "a" * 200 + "\n\n[the rest is left out: the document is too long]" in repr(block.source).replace("\\n", "\n")


async def test_an_image_in_place_of_a_document_is_an_image_with_a_name() -> None:
    block, _ = await block_of(web_document(), web=FakeWeb(a=("application/pdf", PNG)))
    assert block.title == URL
    assert isinstance(block.source, ContentSource)
    assert isinstance(block.source.content[0], ImageBlock)


async def test_a_pdf_by_url_is_read_or_goes_as_a_file() -> None:
    web = FakeWeb(a=("application/octet-stream", pdf("Hello")))
    block, _ = await block_of(web_document(), web=web)
    assert block.source == ContentSource([TextBlock("[page 1 of 1]\nHello")])
    block, _ = await block_of(web_document(), profile=replace(SEES, reads_pdfs=True), web=web)
    assert block.source.media_type == "application/pdf"


# --- PDFs -----------------------------------------------------------------------------------------------------


async def test_a_pdf_is_its_pages_under_its_title() -> None:
    block, losses = await block_of(pdf_block(pdf("Hello", title="Inner")))
    assert block == DocumentBlock(ContentSource([TextBlock("[page 1 of 1]\nHello")]), title="Inner")
    block, _ = await block_of(pdf_block(pdf("Hello", title="Inner"), title="Outer", context="C"))
    assert (block.title, block.context) == ("Outer", "C")
    assert losses == []


async def test_a_pdf_is_known_by_its_bytes() -> None:
    block = pdf_block(pdf("Hello"))
    block["source"]["media_type"] = "application/octet-stream"
    found, _ = await block_of(block)
    assert "Hello" in repr(found)


async def test_a_pdf_inside_a_tool_result_is_read_too() -> None:
    result = {
        "type": "tool_result",
        "tool_use_id": "t",
        "content": [{"type": "text", "text": "a"}, pdf_block(pdf("b"))],
    }
    done = await prepared(asking(result))
    (block,) = blocks_of(done)
    assert isinstance(block, ToolResultBlock)
    assert "[page 1 of 1]\\nb" in repr(block)


async def test_a_pdf_in_an_assistants_message_is_read_even_for_an_engine_that_reads_by_itself() -> None:
    reads = replace(SEES, reads_pdfs=True, fetches_pdfs=True)
    fetched = {"type": "web_fetch_result", "url": URL, "content": pdf_block(pdf("Hello"))}
    fetch_result = {"type": "web_fetch_tool_result", "tool_use_id": "s", "content": fetched}
    request = a_request(messages=[{"role": "assistant", "content": [fetch_result, web_document()]}])
    done = await prepared(request, reads, web=FakeWeb(a=("text/plain", b"words")))
    assert "[page 1 of 1]" in repr(done.request)
    assert "words" in repr(done.request)


async def test_a_scan_is_pictures_for_a_model_that_sees_and_a_reason_for_one_that_does_not() -> None:
    block, losses = await block_of(pdf_block(pdf(Scan())))
    assert [type(part) for part in block.source.content] == [TextBlock, ImageBlock]
    assert losses == []
    block, losses = await block_of(pdf_block(pdf(Scan()), title="T"), profile=BLIND)
    assert block.text.startswith("[document 'T' (application/pdf) omitted: its page holds no text, only pictures")
    assert len(losses) == 1


async def test_a_small_window_gets_less_of_a_pdf() -> None:
    reading = PdfReading(all_pages=9, pages=tuple(PdfPage(number, "", "JPEG") for number in range(1, 10)))
    done = await prepared(asking(pdf_block(b"x")), SEES, 8192, pdf_reader=FakeReader(reading))
    assert repr(done.request).count("ImageBlock") == 2, "half of the window, at 1,600 tokens each"
    assert [loss.reason for loss in done.losses] == ["7 of 9 pages hold no text, and are not shown as pictures"]


async def test_a_missing_library_is_named_in_the_prompt_the_losses_and_to_the_user() -> None:
    done = await prepared(asking(pdf_block(b"x")), pdf_reader=FakeReader(PdfReading(trouble="missing")))
    (block,) = blocks_of(done)
    assert isinstance(block, TextBlock)
    assert INSTALL_HINT in block.text
    assert INSTALL_HINT in done.losses[0].reason
    assert INSTALL_HINT in done.warnings[0]


# --- descriptions ---------------------------------------------------------------------------------------------


async def test_an_image_is_described_for_a_model_that_sees_none() -> None:
    model = FakeModel(" A cat. ")
    done = await prepared(asking(IMAGE), BLIND, describer=model.describer)
    assert done.request.messages[0].content == [TextBlock("[image described by seer: A cat.]")]
    assert done.losses == []
    ((path, description),) = done.descriptions
    assert (path, description.model, description.text) == ("$.messages[0].content[0]", "seer", "A cat.")
    (requested,) = model.requested
    assert (requested.temperature, requested.model) == (0.0, "seer")
    assert [type(block) for block in requested.messages[0].content] == [ImageBlock, TextBlock]
    assert PROMPT in repr(requested)


async def test_nothing_is_described_for_a_model_that_sees() -> None:
    model = FakeModel("A cat.")
    request = asking(IMAGE)
    assert (await prepared(request, describer=model.describer)).request is request
    assert model.requested == []


@pytest.mark.parametrize(
    ("says", "reason"),
    [(UpstreamTimeoutError("too slow"), "too slow"), ("", "its answer was empty")],
    ids=["error", "empty"],
)
async def test_an_image_that_was_not_described_stays_for_the_placeholder_and_is_lost(
    says: str | Exception, reason: str
) -> None:
    request = asking(IMAGE)
    done = await prepared(request, BLIND, describer=FakeModel(says).describer)
    assert done.request == request
    assert done.losses == [Loss("$.messages[0].content[0]", f"seer did not describe the image: {reason}")]
    assert done.descriptions[0][1].trouble == reason


async def test_pictures_of_pages_and_of_the_web_are_described_too() -> None:
    web = FakeWeb(a=("image/png", PNG))
    done = await prepared(
        asking(web_image(), pdf_block(pdf(Scan()))), BLIND, web=web, describer=FakeModel("X").describer
    )
    assert repr(done.request).count("[image described by seer: X]") == 2
    assert "ImageBlock" not in repr(done.request)


# --- once -----------------------------------------------------------------------------------------------------


async def test_each_thing_is_made_once_and_gives_the_same_at_every_turn() -> None:
    web, model = FakeWeb(a=("image/png", PNG), b=("application/pdf", b"%PDF-x")), FakeModel("one", "two")
    reader = FakeReader(PdfReading(all_pages=1, pages=(PdfPage(1, "text"),)))
    attachments = Attachments(web=web, pdf_reader=reader, describer=model.describer)
    request = asking(web_image(), web_image(), web_document("https://e.example/b"), pdf_block(b"%PDF-y"), IMAGE)
    first = await attachments.prepare(request, BLIND, None)
    again = await attachments.prepare(request, BLIND, None)
    assert first.request == again.request
    assert sorted(web.fetched) == ["https://e.example/a", "https://e.example/b"]
    assert len(reader.read_with_images) == 2
    assert len(model.requested) == 1, "all three images are the same"
    assert (len(first.descriptions), len(again.descriptions)) == (1, 0)


async def test_a_failure_that_may_pass_is_tried_again_after_a_while() -> None:
    web = FakeWeb(a=FetchError("is down", is_passing=True), b=FetchError("is missing"))
    attachments = Attachments(web=web)
    for _ in range(3):
        await attachments.prepare(asking(web_image(), web_image("https://e.example/b")), SEES, None)
    assert len(web.fetched) == 2


async def test_what_is_not_ready_in_time_is_left_out_and_lost() -> None:
    class Slow(FakeWeb):
        async def fetch(self, url: str) -> WebDocument:
            if url == URL:
                await anyio.sleep_forever()
            return await super().fetch(url)

    request = asking(web_image(), web_image("https://e.example/b"))
    attachments = Attachments(web=Slow(b=("image/png", PNG)), limit_s=0.2)
    done = await attachments.prepare(request, SEES, None)
    assert [type(block) for block in done.request.messages[0].content] == [TextBlock, ImageBlock]
    assert done.losses == [Loss("$.messages[0].content[0]", "it was not ready in time")]


async def test_all_addresses_of_a_request_have_one_budget_of_time() -> None:
    class Dead:
        async def fetch(self, url: str) -> WebDocument:
            await anyio.sleep_forever()
            raise AssertionError(url)

    request = asking(*[web_image(f"https://e.example/{number}") for number in range(100)])
    done = await Attachments(web=Dead(), fetch_limit_s=0.2).prepare(request, SEES, None)
    assert {type(block) for block in done.request.messages[0].content} == {TextBlock}
    lost = "it was not fetched: the addresses of a request have 0.2 s together"
    assert [loss.reason for loss in done.losses] == [lost] * 100


async def test_a_request_has_only_so_many_attachments_that_take_work() -> None:
    request = asking(*[web_image()] * (MAX_ATTACHMENTS + 1))
    with pytest.raises(InvalidRequestError, match="at most 600 images and documents are fetched"):
        await Attachments(web=FakeWeb()).prepare(request, SEES, None)


# --- laws -----------------------------------------------------------------------------------------------------


def _anything_attached() -> Attachments:
    """Return attachments for which every URL is an image, every PDF two pages, and every image a cat."""

    class AnyWeb:
        async def fetch(self, url: str) -> WebDocument:
            return WebDocument(url=url, media_type="", charset=None, body=PNG)

    reading = PdfReading(all_pages=2, pages=(PdfPage(1, "one"), PdfPage(2, "", "SlBFRw==")))
    return Attachments(web=AnyWeb(), pdf_reader=FakeReader(reading), describer=FakeModel("A cat.").describer)


@given(conversations, st.integers(1, 8), st.sampled_from([SEES, BLIND, replace(SEES, reads_pdfs=True)]))
def test_an_attachment_becomes_the_same_at_every_turn_and_for_every_bridge(
    messages: list[dict[str, Any]], shorter: int, profile: Profile
) -> None:
    whole, beginning = a_request(messages=messages), a_request(messages=messages[:shorter])

    async def prepare() -> None:
        attachments = _anything_attached()
        before = repr(whole)
        short = await attachments.prepare(beginning, profile, None)
        long = await attachments.prepare(whole, profile, None)
        fresh = await _anything_attached().prepare(whole, profile, None)
        assert long.request == fresh.request
        assert long.losses == fresh.losses
        assert long.request.messages[: len(short.request.messages)] == short.request.messages
        assert repr(whole) == before, "nothing that was given is changed"

    anyio.run(prepare)
