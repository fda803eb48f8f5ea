"""Content blocks made fit for an engine that knows text and perhaps images and PDFs: nothing is dropped unseen.

After ``fit_blocks`` only text, images, documents that go as files, thinking, tool uses and tool results are left.
What can't be carried becomes a visible placeholder, so that the model knows that something was there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import cast

from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.media_types import is_pdf, media_type_of_base64
from claude_bridge.conversion.opaque_reasoning import is_ours
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.server_tool_history import call_text, search_results_text, text_of_block
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
    ToolSearchToolResultBlock,
    ToolUseBlock,
    UnknownBlock,
    UrlSource,
    WebFetchToolResultBlock,
    WebSearchToolResultBlock,
)

FitBlock = (
    TextBlock | ImageBlock | DocumentBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock
)

_OfServerTool = ServerToolUseBlock | WebSearchToolResultBlock | WebFetchToolResultBlock | ToolSearchToolResultBlock

Media = ImageBlock | DocumentBlock
"""What is neither text nor structure, once it is fit."""

_KEPT_AT_ANTHROPIC = "a file kept at Anthropic can't be read from here"
_UNREADABLE = {"container_upload": _KEPT_AT_ANTHROPIC}

NO_OUTPUT = "(no output)"
ERROR_PREFIX = "Error: "


def as_blocks(content: str | list[Block] | None) -> list[Block]:
    """Return the content as blocks."""
    if isinstance(content, str):
        return [TextBlock(content)]
    return content or []


_FIT_FOR_ALL = frozenset({TextBlock, ToolUseBlock})
"""What every engine takes: nearly all of a long history."""


def fit_blocks(blocks: Sequence[Block], profile: Profile, path: str, losses: list[Loss]) -> list[FitBlock]:
    """Return the blocks in forms that the engine can take, without empty text; what is lost is added to ``losses``.

    ``path`` is the JSON path of the list. Tool results keep their images only where the profile says so.
    """
    if _FIT_FOR_ALL.issuperset(map(type, blocks)):
        return [block for block in cast("Sequence[FitBlock]", blocks) if type(block) is not TextBlock or block.text]
    fit: list[FitBlock] = []
    for index, block in enumerate(blocks):
        where = f"{path}[{index}]"
        match block:
            case TextBlock(""):
                pass
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
            case RedactedThinkingBlock() if is_ours(block):
                if profile.sealed_thoughts is not None:
                    fit.append(block)
                else:
                    losses.append(Loss(where, "these thoughts can only be read by the service that made them"))
            case RedactedThinkingBlock():
                losses.append(Loss(where, "redacted thinking can only be read by Anthropic"))
            case ToolReferenceBlock():
                fit.append(TextBlock(_loaded([block])))
            case UnknownBlock():
                fit += _fit_unknown(block, where, losses)
            case _:
                fit += _fit_of_server_tool(block, profile, where, losses)
    return fit


def text_of(blocks: Iterable[Block], separator: str = "\n\n") -> str:
    """Return the text blocks joined, but for empty ones; other blocks are passed over."""
    return separator.join(block.text for block in blocks if isinstance(block, TextBlock) and block.text)


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
    source = image.source
    if isinstance(source, FileSource):
        return _omitted("image", path, losses, _KEPT_AT_ANTHROPIC)
    if not profile.sees_images:
        losses.append(Loss(path, "the model cannot see images"))
        return TextBlock("[image omitted: the model cannot see images]")
    if isinstance(source, UrlSource):
        return image
    media_type = media_type_of_base64(source.data) or source.media_type
    if media_type in profile.unread_images:
        losses.append(Loss(path, f"the engine can't read {media_type}"))
        return TextBlock(f"[image omitted: the engine can't read {media_type}]")
    return image if media_type == source.media_type else ImageBlock(Base64Source(media_type, source.data))


def document_name(document: DocumentBlock) -> str:
    """Return how a placeholder calls the document."""
    name = f"document {document.title!r}" if document.title else "document"
    match document.source:
        case Base64Source(media_type):
            return f"{name} ({media_type})"
        case UrlSource(url) if url != document.title:
            return f"{name} at {url}"
        case _:
            return name


def _fit_document(document: DocumentBlock, profile: Profile, path: str, losses: list[Loss]) -> list[FitBlock]:
    source = document.source
    goes_as_file = profile.fetches_pdfs if isinstance(source, UrlSource) else profile.reads_pdfs and is_pdf(source)
    if goes_as_file:
        context: list[FitBlock] = [TextBlock(document.context)] if document.context else []
        return [*context, document]  # the title becomes the name of the file
    heading = "\n".join(line for line in (document.title, document.context) if line)
    match source:
        case PlainTextSource(data):
            body: list[FitBlock] = [TextBlock(data)] if data else []
        case ContentSource(content):
            body = fit_blocks(as_blocks(content), profile, f"{path}.source.content", losses)
        case Base64Source(media_type) if (media_type_of_base64(source.data) or media_type).startswith("image/"):
            body = [_fit_image(ImageBlock(source), profile, path, losses)]
        case Base64Source(media_type, data) if media_type.startswith("text/"):
            body = [TextBlock(_decoded(data))]
        case Base64Source():
            body = [_omitted(document_name(document), path, losses, "the engine reads no documents")]
        case UrlSource():
            body = [_omitted(document_name(document), path, losses, "the engine fetches no documents")]
        case FileSource():
            body = [_omitted(document_name(document), path, losses, _KEPT_AT_ANTHROPIC)]
    return [TextBlock(heading), *body] if heading else body


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data).decode("utf-8", "replace")
    except ValueError:
        return data


def _fit_of_server_tool(block: _OfServerTool, profile: Profile, path: str, losses: list[Loss]) -> list[FitBlock]:
    match block:
        case ServerToolUseBlock(_, name, tool_input):
            return [TextBlock(call_text(name, tool_input))]
        case WebSearchToolResultBlock():
            return [TextBlock(search_results_text(block))]
        case ToolSearchToolResultBlock(_, found):
            return [TextBlock(_loaded(found.tool_references, found.error_code))]
        case WebFetchToolResultBlock(_, fetched) if fetched.content is None:
            return [TextBlock(f"[web fetch failed: {fetched.error_code or 'unknown'}]")]
        case WebFetchToolResultBlock(_, fetched):
            assert fetched.content is not None, "the case before"
            heading = TextBlock(f"Fetched from {fetched.url}:")
            return [heading, *_fit_document(fetched.content, profile, f"{path}.content.content", losses)]


def _loaded(references: Sequence[ToolReferenceBlock], error_code: str | None = None) -> str:
    if error_code is not None:
        return f"[tool search failed: {error_code}]"
    return f"Loaded tools: {', '.join(reference.tool_name for reference in references) or 'none'}"


def _fit_unknown(block: UnknownBlock, path: str, losses: list[Loss]) -> list[FitBlock]:
    text = text_of_block(block)
    if text is None:
        reason = _UNREADABLE.get(block.block_type, "a block of an unknown type")
        return [_omitted(f"{block.block_type} block", path, losses, reason)]
    return [TextBlock(text)] if text else []


def _fit_tool_result(result: ToolResultBlock, profile: Profile, path: str, losses: list[Loss]) -> ToolResultBlock:
    if isinstance(result.content, str) and result.content and not result.is_error:
        return result
    blocks = as_blocks(result.content)
    loaded = [block for block in blocks if isinstance(block, ToolReferenceBlock)]
    # Nothing is taken out, so that the places in the paths of losses are those of the client's list.
    others = [TextBlock("") if isinstance(block, ToolReferenceBlock) else block for block in blocks]
    fit = fit_blocks(others, profile, f"{path}.content", losses)
    if loaded:
        fit.insert(0, TextBlock(_loaded(loaded)))
    fit = [_inside_result(block, f"{path}.content", losses) for block in fit]
    text = text_of(fit, "\n") or ("" if fit else NO_OUTPUT)
    if result.is_error and not text.startswith(ERROR_PREFIX):
        text = ERROR_PREFIX + text
    media: list[Block] = [block for block in fit if isinstance(block, Media)]
    content: str | list[Block] = [TextBlock(text), *media] if text else media
    return ToolResultBlock(result.tool_use_id, content if media else text, result.is_error)


def _inside_result(block: FitBlock, path: str, losses: list[Loss]) -> TextBlock | ImageBlock | DocumentBlock:
    """Return a block that a tool result may hold, and a placeholder for what belongs to turns."""
    if isinstance(block, TextBlock | Media):
        return block
    kind = str(block.__struct_config__.tag)
    return _omitted(f"{kind} block", path, losses, f"a {kind} block inside a tool result")
