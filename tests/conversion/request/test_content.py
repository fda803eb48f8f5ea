"""Content blocks in forms that an engine can take; what can't be carried is seen and recorded."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bridge.adapters import engine_profiles
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.content import BlockNormalizer, as_blocks, image_url, text_of
from claude_bridge.wire.anthropic import (
    Block,
    ImageBlock,
    TextBlock,
    ToolResultBlock,
)
from tests.dialogues import a_request

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
URL_IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
FILE_IMAGE = {"type": "image", "source": {"type": "file", "file_id": "f"}}


def _normalized(*blocks: dict[str, Any], profile: Profile = engine_profiles.UNKNOWN) -> tuple[list[Any], list[Loss]]:
    content = a_request(messages=[{"role": "user", "content": list(blocks)}]).messages[0].content
    normalizer = BlockNormalizer(profile)
    return list(normalizer.blocks(as_blocks(content), "$.c")), normalizer.losses


def _document(media_type: str, data: str) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "base64", "media_type": media_type, "data": data}}


def _tool_search(**found: Any) -> dict[str, Any]:
    return {"type": "tool_search_tool_result", "tool_use_id": "s", "content": found}


TEXTS: dict[str, tuple[dict[str, Any], str, int]] = {
    "text": ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, "a", 0),
    "text document": ({"type": "document", "source": {"type": "text", "data": "a"}}, "a", 0),
    "named document": (
        {"type": "document", "title": "T", "context": "C", "source": {"type": "text", "data": "a"}},
        "T\nC\n\na",
        0,
    ),
    "document of a string": ({"type": "document", "source": {"type": "content", "content": "a"}}, "a", 0),
    "document of blocks": (
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a"}, {"type": "x"}]}},
        "a\n\n[x block omitted]",
        1,
    ),
    "pdf": (
        _document("application/pdf", "a"),
        "[document (application/pdf) omitted]",
        1,
    ),
    "document by url": (
        {"type": "document", "source": {"type": "url", "url": "https://e.com/a.pdf"}},
        "[document at https://e.com/a.pdf omitted]",
        1,
    ),
    "document by url that is its title": (
        {"type": "document", "title": "https://e.com/a", "source": {"type": "url", "url": "https://e.com/a"}},
        "https://e.com/a\n\n[document 'https://e.com/a' omitted]",
        1,
    ),
    "document of a file": ({"type": "document", "source": {"type": "file", "file_id": "f"}}, "[document omitted]", 1),
    "search result": (
        {"type": "search_result", "source": "S", "title": "T", "content": [{"type": "text", "text": "a"}]},
        "T\nS\n\na",
        0,
    ),
    "tool reference": ({"type": "tool_reference", "tool_name": "Cron"}, "Loaded tools: Cron", 0),
    "server tool use": (
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        '[web_search was called with {"query":"q"}]',
        0,
    ),
    "search results": (
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s",
            "content": [{"title": "A", "url": "https://a"}, {"title": None, "url": "https://b"}, 3],
        },
        "Web search results:\n- A https://a\n- https://b",
        0,
    ),
    "search error": (
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": {"error_code": "unavailable"}},
        "[web search failed: unavailable]",
        0,
    ),
    "search results of nothing": (
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": None},
        "Web search results:",
        0,
    ),
    "tool search that failed": (_tool_search(error_code="unavailable"), "[tool search failed: unavailable]", 0),
    "tool search that found nothing": (_tool_search(tool_references=[]), "Loaded tools: none", 0),
    "fetch that failed": (
        {"type": "web_fetch_tool_result", "tool_use_id": "s", "content": {}},
        "[web fetch failed: unknown]",
        0,
    ),
    "text document in bytes": (_document("text/plain", "w6k="), "é", 0),
    "text document in bytes that are none": (_document("text/plain", "a"), "a", 0),
    "unknown": ({"type": "hologram"}, "[hologram block omitted]", 1),
    "image of a file": (FILE_IMAGE, "[image omitted]", 1),
}


@pytest.mark.parametrize(("block", "text", "lost"), TEXTS.values(), ids=TEXTS.keys())
def test_a_block_becomes_text_that_says_what_it_was(block: dict[str, Any], text: str, lost: int) -> None:
    normalized, losses = _normalized(block)
    assert text_of(normalized) == text
    assert len(losses) == lost
    assert all(loss.path.startswith("$.c[0]") for loss in losses)


def test_redacted_thinking_goes_and_is_a_loss() -> None:
    normalized, losses = _normalized({"type": "redacted_thinking", "data": "x"})
    assert normalized == []
    assert [loss.path for loss in losses] == ["$.c[0]"]


@pytest.mark.parametrize(
    ("image", "url"),
    [
        (IMAGE, "data:image/png;base64,aGk="),
        (URL_IMAGE, "https://example.com/a.png"),
        (_document("image/png", "aGk="), "data:image/png;base64,aGk="),
        (_document("application/octet-stream", "iVBORw0KGgo="), "data:image/png;base64,iVBORw0KGgo="),
    ],
    ids=["bytes", "url", "document", "document of another type"],
)
def test_an_image_is_a_url(image: dict[str, Any], url: str) -> None:
    ((block,), losses) = _normalized(image)
    assert isinstance(block, ImageBlock)
    assert image_url(block) == url
    assert losses == []


def test_an_image_for_a_blind_model_is_a_placeholder_and_a_loss() -> None:
    normalized, losses = _normalized(IMAGE, profile=engine_profiles.EMBEDDED)
    assert normalized == [TextBlock("[image omitted: the model cannot see images]")]
    assert losses == [Loss("$.c[0]", "the model cannot see images")]


RESULTS: dict[str, tuple[dict[str, Any], str]] = {
    "string": ({"content": "a"}, "a"),
    "blocks": ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb"),
    "missing": ({}, "(no output)"),
    "null": ({"content": None}, "(no output)"),
    "empty string": ({"content": ""}, "(no output)"),
    "empty list": ({"content": []}, "(no output)"),
    "empty text": ({"content": [{"type": "text", "text": ""}]}, "(no output)"),
    "redacted": ({"content": [{"type": "redacted_thinking"}]}, "(no output)"),
    "error": ({"content": "no", "is_error": True}, "Error: no"),
    "error that says so": ({"content": "Error: no", "is_error": True}, "Error: no"),
    "empty error": ({"is_error": True}, "Error: (no output)"),
    "no error": ({"content": "a", "is_error": False}, "a"),
    "references": (
        {"content": [{"type": "tool_reference", "tool_name": "A"}, {"type": "tool_reference", "tool_name": "B"}]},
        "Loaded tools: A, B",
    ),
    "text and a reference": (
        {"content": [{"type": "text", "text": "a"}, {"type": "tool_reference", "tool_name": "A"}]},
        "Loaded tools: A\na",
    ),
    "document": ({"content": [{"type": "document", "source": {"type": "text", "data": "a"}, "title": "T"}]}, "T\na"),
    "unknown": ({"content": [{"type": "hologram"}]}, "[hologram block omitted]"),
    "call inside": ({"content": [{"type": "tool_use", "id": "t", "name": "n"}]}, "[tool_use block omitted]"),
    "result inside": ({"content": [{"type": "tool_result", "tool_use_id": "t"}]}, "[tool_result block omitted]"),
}


@pytest.mark.parametrize(("fields", "text"), RESULTS.values(), ids=RESULTS.keys())
def test_a_result_is_text_that_is_never_empty(fields: dict[str, Any], text: str) -> None:
    ((result,), _) = _normalized({"type": "tool_result", "tool_use_id": "t"} | fields)
    assert isinstance(result, ToolResultBlock)
    assert result.content == text


def test_a_result_keeps_its_images_behind_its_text() -> None:
    ((result,), losses) = _normalized(
        {"type": "tool_result", "tool_use_id": "t", "content": [IMAGE, {"type": "text", "text": "a"}]}
    )
    assert isinstance(result.content, list)
    assert [type(block) for block in result.content] == [TextBlock, ImageBlock]
    assert losses == []


def test_empty_text_is_left_out() -> None:
    nothing: list[str | list[Block] | None] = ["", None, [], [TextBlock("")]]
    assert [BlockNormalizer(engine_profiles.UNKNOWN).blocks(as_blocks(content), "$") for content in nothing] == [[]] * 4
    assert text_of([TextBlock("a"), TextBlock(""), TextBlock("b")]) == "a\n\nb"


def test_a_loss_names_the_place_in_the_clients_own_list() -> None:
    empty, lost = {"type": "text", "text": ""}, {"type": "redacted_thinking"}
    reference = {"type": "tool_reference", "tool_name": "Read"}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [reference, empty, lost]}
    _, losses = _normalized(empty, lost, result)
    assert [loss.path for loss in losses] == ["$.c[1]", "$.c[2].content[2]"]
    assert as_blocks("a") == [TextBlock("a")]
