"""Where attachments are found, at any depth that the API allows, and how others are put in their places."""

from __future__ import annotations

from typing import Any

from claude_bridge.attachments.prepare import attachments_in, with_replaced
from claude_bridge.wire.anthropic import (
    Block,
    PlainTextSource,
    TextBlock,
)
from tests.dialogues import a_request

IMAGE = {"type": "image", "source": {"type": "url", "url": "https://e.com/a.png"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
TEXT = {"type": "text", "text": "a"}
DOCUMENT_OF_BLOCKS = {"type": "document", "source": {"type": "content", "content": [TEXT, IMAGE]}}
FETCHED = {
    "type": "web_fetch_tool_result",
    "tool_use_id": "s",
    "content": {"type": "web_fetch_result", "url": "https://e.com", "content": PDF},
}


def _result(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t", "content": list(content)}


REQUEST = a_request(
    messages=[
        {"role": "user", "content": "go"},
        {"role": "user", "content": [TEXT, IMAGE, PDF]},
        {"role": "assistant", "content": [FETCHED]},
        {"role": "user", "content": [_result(TEXT, PDF), _result(DOCUMENT_OF_BLOCKS), DOCUMENT_OF_BLOCKS]},
    ]
)
PATHS = [
    "$.messages[1].content[1]",
    "$.messages[1].content[2]",
    "$.messages[2].content[0].content.content",
    "$.messages[3].content[0].content[1]",
    "$.messages[3].content[1].content[0].source.content[1]",
    "$.messages[3].content[2].source.content[1]",
]


def test_each_attachment_is_found_with_its_path() -> None:
    assert [path for path, _, _ in attachments_in(REQUEST.messages)] == PATHS
    assert [path for path, _, is_assistants in attachments_in(REQUEST.messages) if is_assistants] == [PATHS[2]]


def test_each_can_be_replaced_and_nothing_that_was_given_changes() -> None:
    before = repr(REQUEST)
    new: dict[str, Block] = {path: TextBlock(path) for path in PATHS}
    replaced = with_replaced(REQUEST.messages, new)
    left = [block.source for _, block, _ in attachments_in(replaced)]
    assert left == [PlainTextSource(PATHS[2])], "where only a document may stand, a text stands in one"
    assert all(path in repr(replaced) for path in PATHS)
    assert repr(REQUEST) == before


def test_a_message_without_any_stays_the_same_object() -> None:
    replaced = with_replaced(REQUEST.messages, {PATHS[0]: TextBlock("")})
    assert [ours is theirs for ours, theirs in zip(replaced, REQUEST.messages, strict=True)] == [
        True,
        False,
        True,
        True,
    ]
