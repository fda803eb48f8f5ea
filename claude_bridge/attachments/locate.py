"""Where images and documents stand in a conversation, and the conversation with others in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from claude_bridge.wire.anthropic import (
    Block,
    ContentSource,
    DocumentBlock,
    ImageBlock,
    InputMessage,
    PlainTextSource,
    TextBlock,
    ToolResultBlock,
    WebFetchToolResultBlock,
)

_PLACES = frozenset({ImageBlock, DocumentBlock, ToolResultBlock, WebFetchToolResultBlock})

Attachment = ImageBlock | DocumentBlock


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
