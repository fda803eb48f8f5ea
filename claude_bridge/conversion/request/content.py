"""Content blocks in the few forms that adapters encode: nothing is dropped without a trace.

After ``BlockNormalizer`` only text, images, documents that go as files, thinking, tool uses and tool results are left.
What can't be carried becomes a visible placeholder, so that the model knows that something was there.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Sequence
from typing import cast

import msgspec

from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.media_types import is_pdf, media_type_of_base64
from claude_bridge.conversion.opaque_reasoning import hosted_call_id, is_ours, reasoning_digest, unseal_block
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.offered_tools import ToolAt, ToolChange
from claude_bridge.conversion.request.server_tool_history import (
    call_text,
    search_results_text,
    text_of_block,
    tool_changes_in,
)
from claude_bridge.wire.anthropic import (
    Base64Source,
    Block,
    ChangedTool,
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
    Tool,
    ToolAdditionBlock,
    ToolReferenceBlock,
    ToolRemovalBlock,
    ToolResultBlock,
    ToolSearchToolResultBlock,
    ToolUseBlock,
    UnknownBlock,
    UrlSource,
    WebFetchToolResultBlock,
    WebSearchToolResultBlock,
)

NormalizedBlock = (
    TextBlock | ImageBlock | DocumentBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock
)

_OfServerTool = ServerToolUseBlock | WebSearchToolResultBlock | WebFetchToolResultBlock | ToolSearchToolResultBlock

Media = ImageBlock | DocumentBlock
"""Normalized blocks that are neither text nor structure."""

_KEPT_AT_ANTHROPIC = "a file stored at Anthropic can't be read from here"
_UNREADABLE = {"container_upload": _KEPT_AT_ANTHROPIC}

NO_OUTPUT = "(no output)"
ERROR_PREFIX = "Error: "

_TAKEN_BY_ALL = frozenset({TextBlock, ToolUseBlock})
"""What every engine takes: nearly all of a long history, beside tool results of mere text."""


def as_blocks(content: str | list[Block] | None) -> list[Block]:
    """Return the content as blocks."""
    if isinstance(content, str):
        return [TextBlock(content)]
    return content or []


def text_of(blocks: Iterable[Block], separator: str = "\n\n") -> str:
    """Return the text blocks joined, except empty ones; other blocks are skipped."""
    return separator.join(block.text for block in blocks if isinstance(block, TextBlock) and block.text)


def image_url(image: ImageBlock) -> str:
    """Return the image as a URL: a data URL where the client sent bytes."""
    source = image.source
    if isinstance(source, UrlSource):
        return source.url
    assert isinstance(source, Base64Source), "normalization leaves no other source"
    return f"data:{source.media_type};base64,{source.data}"


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


class BlockNormalizer:
    """Turns content blocks into those that one engine takes, and collects what is lost on the way."""

    def __init__(self, profile: Profile, refused_reasoning: Collection[bytes] = ()) -> None:
        """``refused_reasoning`` are the digests of sealed blocks that the service does not take back."""
        self._refused_reasoning = refused_reasoning
        self.losses: list[Loss] = []
        """What could not be carried so far."""
        self.tool_changes: list[ToolChange] = []
        """What the blocks so far did to the tools that the model is offered."""
        self._profile = profile
        self._sealed_searches: set[str] = set()
        """The calls of searches that the service ran itself, and that the message's sealed blocks hold."""

    def content(self, content: str | list[Block], index: int) -> list[NormalizedBlock]:
        """Return the normalized content of the message with this number."""
        if type(content) is str:
            return [TextBlock(content)] if content else []
        blocks = cast("list[Block]", content)
        if self._profile.responses.web_search is not None:
            sealed = (one for one in blocks if isinstance(one, RedactedThinkingBlock) and not self._is_refused(one))
            self._sealed_searches = {hosted_call_id(item) for block in sealed for item in unseal_block(block).items}
        return self.blocks(blocks, f"$.messages[{index}].content")

    def _is_refused(self, block: RedactedThinkingBlock) -> bool:
        return bool(self._refused_reasoning) and reasoning_digest(block) in self._refused_reasoning

    def blocks(self, blocks: Sequence[Block], path: str) -> list[NormalizedBlock]:
        """Return the normalized blocks, without empty text; ``path`` is the JSON path of the list.

        Tool results keep their images only where the profile allows them.
        """
        if _TAKEN_BY_ALL.issuperset(map(type, blocks)):
            taken = cast("Sequence[NormalizedBlock]", blocks)
            return [block for block in taken if type(block) is not TextBlock or block.text]
        normalized: list[NormalizedBlock] = []
        for index, block in enumerate(blocks):
            if type(block) is ToolResultBlock and type(block.content) is str and block.content and not block.is_error:
                normalized.append(block)
            else:
                normalized += self._block(block, f"{path}[{index}]")
        return normalized

    def _block(self, block: Block, path: str) -> Sequence[NormalizedBlock]:
        match block:
            case TextBlock(text):
                return [block] if text else []
            case ThinkingBlock() | ToolUseBlock():
                return [block]
            case ToolResultBlock():
                return [self._tool_result(block, path)]
            case ImageBlock():
                return [self._image(block, path)]
            case DocumentBlock():
                return self._document(block, path)
            case SearchResultBlock():
                passages = "\n".join(part.text for part in block.content)
                return [TextBlock(f"{block.title}\n{block.source}\n\n{passages}")]
            case RedactedThinkingBlock():
                return self._redacted_thinking(block, path)
            case ToolReferenceBlock():
                return [self._loaded([block])]
            case ToolAdditionBlock() | ToolRemovalBlock():
                return [self._changed(block, path)]
            case UnknownBlock():
                return self._unknown(block, path)
            case _:
                return self._of_server_tool(block, path)

    def _of_server_tool(self, block: _OfServerTool, path: str) -> Sequence[NormalizedBlock]:
        match block:
            case ServerToolUseBlock(call_id) | WebSearchToolResultBlock(call_id) if call_id in self._sealed_searches:
                return []
            case ServerToolUseBlock(_, name, tool_input):
                return [TextBlock(call_text(name, tool_input))]
            case WebSearchToolResultBlock():
                return [TextBlock(search_results_text(block.content))]
            case ToolSearchToolResultBlock(_, found):
                if found.error_code is not None:
                    return [TextBlock(f"[tool search failed: {found.error_code}]")]
                return [self._loaded(found.tool_references)]
            case WebFetchToolResultBlock(_, fetched):
                if fetched.content is None:
                    return [TextBlock(f"[web fetch failed: {fetched.error_code or 'unknown'}]")]
                heading = TextBlock(f"Fetched from {fetched.url}:")
                return [heading, *self._document(fetched.content, f"{path}.content.content")]

    def _omitted(self, what: str, path: str, reason: str) -> TextBlock:
        self.losses.append(Loss(path, reason))
        return TextBlock(f"[{what} omitted]")

    def _image(self, image: ImageBlock, path: str) -> TextBlock | ImageBlock:
        source = image.source
        if isinstance(source, FileSource):
            return self._omitted("image", path, _KEPT_AT_ANTHROPIC)
        if not self._profile.sees_images:
            self.losses.append(Loss(path, "the model cannot see images"))
            return TextBlock("[image omitted: the model cannot see images]")
        if isinstance(source, UrlSource):
            return image
        media_type = media_type_of_base64(source.data) or source.media_type
        if media_type in self._profile.unread_images:
            self.losses.append(Loss(path, f"the engine can't read {media_type}"))
            return TextBlock(f"[image omitted: the engine can't read {media_type}]")
        return image if media_type == source.media_type else ImageBlock(Base64Source(media_type, source.data))

    def _document(self, document: DocumentBlock, path: str) -> Sequence[NormalizedBlock]:
        source, profile = document.source, self._profile
        goes_as_file = profile.fetches_pdfs if isinstance(source, UrlSource) else profile.reads_pdfs and is_pdf(source)
        if goes_as_file:  # the title becomes the name of the file
            return [TextBlock(document.context), document] if document.context else [document]
        heading = "\n".join(line for line in (document.title, document.context) if line)
        match source:
            case PlainTextSource(data):
                body: list[NormalizedBlock] = [TextBlock(data)] if data else []
            case ContentSource(content):
                body = self.blocks(as_blocks(content), f"{path}.source.content")
            case Base64Source(media_type) if (media_type_of_base64(source.data) or media_type).startswith("image/"):
                body = [self._image(ImageBlock(source), path)]
            case Base64Source(media_type, data) if media_type.startswith("text/"):
                body = [TextBlock(_decoded(data))]
            case Base64Source():
                body = [self._omitted(document_name(document), path, "the engine reads no documents")]
            case UrlSource():
                body = [self._omitted(document_name(document), path, "the engine fetches no documents")]
            case FileSource():
                body = [self._omitted(document_name(document), path, _KEPT_AT_ANTHROPIC)]
        return [TextBlock(heading), *body] if heading else body

    def _redacted_thinking(self, block: RedactedThinkingBlock, path: str) -> Sequence[NormalizedBlock]:
        if not is_ours(block):
            self.losses.append(Loss(path, "redacted thinking can only be read by Anthropic"))
        elif self._is_refused(block):
            self.losses.append(Loss(path, "the service refused this reasoning before"))
        elif self._profile.opaque_reasoning is not None:
            return [block]
        else:
            self.losses.append(Loss(path, "this reasoning can only be read by the service that made it"))
        return []

    def _unknown(self, block: UnknownBlock, path: str) -> Sequence[NormalizedBlock]:
        text = text_of_block(block)
        if text is None:
            reason = _UNREADABLE.get(block.block_type, "a block of an unknown type")
            return [self._omitted(f"{block.block_type} block", path, reason)]
        summary = [TextBlock(text)] if text else []
        try:
            changes = tool_changes_in(block)
        except msgspec.DecodeError:
            self.losses.append(Loss(f"{path}.tool_changes", "they can't be read"))
            return summary
        return summary + [self._changed(change, f"{path}.tool_changes[{at}]") for at, change in enumerate(changes)]

    def _loaded(self, references: Sequence[ToolReferenceBlock]) -> TextBlock:
        names = [reference.tool_name for reference in references]
        self.tool_changes += map(ToolChange, names)
        return TextBlock(f"Loaded tools: {', '.join(names) or 'none'}")

    def _changed(self, block: ToolAdditionBlock | ToolRemovalBlock, path: str) -> TextBlock:
        tool, is_removal = block.tool, isinstance(block, ToolRemovalBlock)
        match tool:
            case ChangedTool(type="tool_reference", name=name):
                self.tool_changes.append(ToolChange(name, is_removal=is_removal))
            case ChangedTool(type="tool_definition", definition=Tool() as definition) if not is_removal:
                name = definition.name
                self.tool_changes.append(ToolChange(name, ToolAt(definition, f"{path}.tool.definition")))
            case _:
                what = f"{'removal' if is_removal else 'addition'} of {_title(tool)}"
                return self._omitted(what, path, "only Anthropic can call the tools of an MCP server")
        return TextBlock(f"{'Removed' if is_removal else 'Loaded'} tools: {name}")

    def _tool_result(self, result: ToolResultBlock, path: str) -> ToolResultBlock:
        blocks = as_blocks(result.content)
        references = [block for block in blocks if isinstance(block, ToolReferenceBlock)]
        # Nothing is taken out, so that indices in the paths of losses are those of the client's list.
        others = [TextBlock("") if isinstance(block, ToolReferenceBlock) else block for block in blocks]
        content = self.blocks(others, f"{path}.content")
        if references:
            content.insert(0, self._loaded(references))
        inside = [self._inside_result(block, f"{path}.content") for block in content]
        text = text_of(inside, "\n") or ("" if inside else NO_OUTPUT)
        if result.is_error and not text.startswith(ERROR_PREFIX):
            text = ERROR_PREFIX + text
        media: list[Block] = [block for block in inside if isinstance(block, Media)]
        with_media: list[Block] = [TextBlock(text), *media] if text else media
        return ToolResultBlock(result.tool_use_id, with_media if media else text, result.is_error)

    def _inside_result(self, block: NormalizedBlock, path: str) -> TextBlock | ImageBlock | DocumentBlock:
        """Return a block that a tool result may hold, and a placeholder for what belongs to turns."""
        if isinstance(block, TextBlock | Media):
            return block
        kind = str(block.__struct_config__.tag)
        return self._omitted(f"{kind} block", path, f"a {kind} block inside a tool result")


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data).decode("utf-8", "replace")
    except ValueError:
        return data


def _title(tool: ChangedTool) -> str:
    if not tool.server_name:
        return f"a {tool.type}"
    server = f"the MCP server {tool.server_name!r}"
    return f"the tool {tool.name!r} of {server}" if tool.name else f"the tools of {server}"
