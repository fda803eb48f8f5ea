"""Content blocks made fit for an engine that knows text and perhaps images: nothing is dropped without a trace.

After ``fit_blocks`` only text, images, thinking, tool uses and tool results are left. What can't be carried
becomes a visible placeholder, so that the model knows that something was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import msgspec

from claude_bridge.conversion.json_text import compact_json
from claude_bridge.conversion.losses import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.wire.anthropic import (
    Base64Source,
    Block,
    ContentSource,
    DocumentBlock,
    FileSource,
    ImageBlock,
    PlainTextSource,
    RedactedThinkingBlock,
    SearchResultBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
    UnknownBlock,
    UrlSource,
    WebSearchToolResultBlock,
)

FitBlock = TextBlock | ImageBlock | ThinkingBlock | ToolUseBlock | ToolResultBlock

NO_OUTPUT = "(no output)"
ERROR_PREFIX = "Error: "


def as_blocks(content: str | list[Block] | None) -> list[Block]:
    """Return the content as blocks, without empty text."""
    if isinstance(content, str):
        return [TextBlock(content)] if content else []
    return [block for block in content or () if type(block) is not TextBlock or block.text]


_FIT_FOR_ALL = frozenset({TextBlock, ToolUseBlock})
"""What every engine takes: nearly all of a long history."""


def fit_blocks(blocks: Sequence[Block], profile: Profile, path: str, losses: list[Loss]) -> list[FitBlock]:
    """Return the blocks in forms that the engine can take; what is lost is added to ``losses``.

    ``path`` is the JSON path of the list. Tool results keep their images only where the profile says so.
    """
    if _FIT_FOR_ALL.issuperset(map(type, blocks)):
        return cast("list[FitBlock]", list(blocks))
    fit: list[FitBlock] = []
    for index, block in enumerate(blocks):
        where = f"{path}[{index}]"
        match block:
            case TextBlock() | ThinkingBlock() | ToolUseBlock():
                fit.append(block)
            case ImageBlock():
                fit.append(_fit_image(block, profile, where, losses))
            case ToolResultBlock():
                fit.append(_fit_tool_result(block, profile, where, losses))
            case DocumentBlock():
                fit += _fit_document(block, profile, where, losses)
            case SearchResultBlock():
                passages = "\n".join(part.text for part in block.content)
                fit.append(TextBlock(f"{block.title}\n{block.source}\n\n{passages}"))
            case RedactedThinkingBlock():
                losses.append(Loss(where, "redacted thinking can only be read by Anthropic"))
            case ToolReferenceBlock():
                fit.append(TextBlock(f"Loaded tools: {block.tool_name}"))
            case ServerToolUseBlock():
                fit.append(TextBlock(f"[{block.name} was called with {compact_json(block.input)}]"))
            case WebSearchToolResultBlock():
                fit.append(TextBlock(_search_results_text(block)))
            case UnknownBlock():
                fit.append(_omitted(f"{block.block_type} block", where, losses, "a block of an unknown type"))
    return fit


def text_of(blocks: Iterable[Block], separator: str = "\n\n") -> str:
    """Return the text blocks joined; other blocks are passed over."""
    return separator.join(block.text for block in blocks if isinstance(block, TextBlock))


def image_url(image: ImageBlock) -> str:
    """Return the image as a URL, with its bytes inside where the client sent bytes."""
    source = image.source
    if isinstance(source, UrlSource):
        return source.url
    assert isinstance(source, Base64Source), "fit_blocks leaves no other source"
    return f"data:{source.media_type};base64,{source.data}"


def _omitted(what: str, path: str, losses: list[Loss], reason: str) -> TextBlock:
    losses.append(Loss(path, reason))
    return TextBlock(f"[{what} omitted]")


def _fit_image(image: ImageBlock, profile: Profile, path: str, losses: list[Loss]) -> TextBlock | ImageBlock:
    if isinstance(image.source, FileSource):
        return _omitted("image", path, losses, "a file kept at Anthropic can't be read from here")
    if not profile.sees_images:
        losses.append(Loss(path, "the model cannot see images"))
        return TextBlock("[image omitted: the model cannot see images]")
    return image


def _fit_document(document: DocumentBlock, profile: Profile, path: str, losses: list[Loss]) -> list[FitBlock]:
    heading = "\n".join(line for line in (document.title, document.context) if line)
    named = f"document {document.title!r}" if document.title else "document"
    match document.source:
        case PlainTextSource(data):
            body: list[FitBlock] = [TextBlock(data)]
        case ContentSource(content):
            body = fit_blocks(as_blocks(content), profile, f"{path}.source.content", losses)
        case Base64Source(media_type):
            body = [_omitted(f"{named} ({media_type})", path, losses, "the engine reads no documents")]
        case UrlSource(url):
            body = [_omitted(f"{named} at {url}", path, losses, "the engine fetches no documents")]
        case FileSource():
            body = [_omitted(named, path, losses, "a file kept at Anthropic can't be read from here")]
    return [TextBlock(heading), *body] if heading else body


def _fit_tool_result(result: ToolResultBlock, profile: Profile, path: str, losses: list[Loss]) -> ToolResultBlock:
    if isinstance(result.content, str) and result.content and not result.is_error:
        return result
    blocks = as_blocks(result.content)
    loaded = [block.tool_name for block in blocks if isinstance(block, ToolReferenceBlock)]
    others = [block for block in blocks if not isinstance(block, ToolReferenceBlock)]
    fit = fit_blocks(others, profile, f"{path}.content", losses)
    if loaded:
        fit.insert(0, TextBlock(f"Loaded tools: {', '.join(loaded)}"))
    fit = [_inside_result(block, f"{path}.content", losses) for block in fit]
    text = text_of(fit, "\n") or ("" if fit else NO_OUTPUT)
    if result.is_error and not text.startswith(ERROR_PREFIX):
        text = ERROR_PREFIX + text
    images: list[Block] = [block for block in fit if isinstance(block, ImageBlock)]
    content: str | list[Block] = [TextBlock(text), *images] if text else images
    return ToolResultBlock(result.tool_use_id, content if images else text, result.is_error)


def _inside_result(block: FitBlock, path: str, losses: list[Loss]) -> TextBlock | ImageBlock:
    """Return a block that a tool result may hold: text and images, and a placeholder for what belongs to turns."""
    if isinstance(block, TextBlock | ImageBlock):
        return block
    kind = str(block.__struct_config__.tag)
    return _omitted(f"{kind} block", path, losses, f"a {kind} block inside a tool result")


def _search_results_text(block: WebSearchToolResultBlock) -> str:
    found = msgspec.json.decode(block.content)
    if isinstance(found, dict):
        return f"[web search failed: {found.get('error_code', 'unknown')}]"
    results = [result for result in found if isinstance(result, dict)] if isinstance(found, list) else []
    lines = [f"- {result.get('title') or ''} {result.get('url') or ''}".rstrip() for result in results]
    return "\n".join(["Web search results:", *lines])
