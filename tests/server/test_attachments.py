"""Images and PDFs on their whole way: what an engine gets, what a count says, and that leaving ends the work."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from claude_bridge.attachments.pdf.reader import PdfReader, PdfReading
from claude_bridge.attachments.prepare import Attachments
from claude_bridge.trace.events import RequestSent
from tests.fake_upstream import MODEL, WAIT_S, FakeUpstream, answer, document, model_list
from tests.kept_events import KeptEvents
from tests.pdfs import as_base64, pdf
from tests.server.served import BridgeServer, post

pytestmark = pytest.mark.anyio


def asking(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": list(blocks)}]}


def pdf_block(file: bytes) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "application/pdf", "data": as_base64(file)}
    return {"type": "document", "source": source}


async def test_a_pdf_reaches_the_engine_as_text_at_each_turn() -> None:
    request = asking(pdf_block(pdf("Water boils at 100 degrees.")))
    async with FakeUpstream([answer("Yes"), answer("Yes")]) as upstream, BridgeServer(upstream) as server:
        for number in range(2):
            assert (await server.post("/v1/messages", request)).status == 200
            requested = await upstream.request(number)
            assert requested.json["messages"][0]["content"] == "[page 1 of 1]\nWater boils at 100 degrees."


async def test_a_count_counts_what_a_pdf_says_and_not_its_bytes() -> None:
    async with FakeUpstream() as upstream, BridgeServer(upstream) as server:
        small = await server.post("/v1/messages/count_tokens", asking(pdf_block(pdf("a"))))
        large = await server.post("/v1/messages/count_tokens", asking(pdf_block(pdf("word " * 2_000))))
    assert small.json["input_tokens"] < 40
    assert 1_500 < large.json["input_tokens"] < 4_000


async def test_an_image_at_an_address_inside_is_not_asked_for_and_the_answer_comes_all_the_same() -> None:
    documents = {"/secret.png": document(b"\x89PNG\r\n\x1a\n"), "/v1/models": model_list(MODEL)}
    notes = KeptEvents()
    async with (
        FakeUpstream([answer("No")], documents=documents) as upstream,
        BridgeServer(upstream, sinks=[notes]) as server,
    ):
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            url = f"http://{host}:{upstream.port}/secret.png"
            image = {"type": "image", "source": {"type": "url", "url": url}}
            await server.post("/v1/messages", asking(image, {"type": "text", "text": "What is it?"}))
        assert upstream.probes == []
        (requested, *_) = upstream.requests
        assert "which is not on the public internet]\n\nWhat is it?" in requested.json["messages"][0]["content"]
    (sent, *_) = [event for event in notes.events if isinstance(event, RequestSent)]
    assert [loss.path for loss in sent.losses] == ["$.messages[0].content[0]"]


async def test_a_missing_library_is_reported_to_the_user_once() -> None:
    class Missing(PdfReader):
        async def read(self, base64_data: str, *, with_images: bool) -> PdfReading:
            assert base64_data or with_images
            return PdfReading(trouble="missing")

    warnings: list[str] = []
    request = asking(pdf_block(b"%PDF-"))
    async with (
        FakeUpstream([answer("No"), answer("No")]) as upstream,
        BridgeServer(upstream, warn=warnings.append, attachments=Attachments(pdf_reader=Missing())) as server,
    ):
        for _ in range(2):
            assert (await server.post("/v1/messages", request)).status == 200
    assert len(warnings) == 1
    assert "pypdf pypdfium2 pillow" in warnings[0]


class Endless(PdfReader):
    """Never comes to an end, and tells when it was left."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.left = anyio.Event(), anyio.Event()

    async def read(self, base64_data: str, *, with_images: bool) -> PdfReading:
        self.began.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.left.set()
        raise AssertionError(base64_data, with_images)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_a_client_that_leaves_ends_the_reading_of_its_pdf(path: str) -> None:
    reader = Endless()
    async with (
        FakeUpstream() as upstream,
        BridgeServer(upstream, attachments=Attachments(pdf_reader=reader)) as server,
    ):
        with anyio.fail_after(WAIT_S):
            async with server.connect() as wire:
                await wire.send(post(path, asking(pdf_block(b"%PDF-"))))
                await reader.began.wait()
            await reader.left.wait()
        assert upstream.requests == []
