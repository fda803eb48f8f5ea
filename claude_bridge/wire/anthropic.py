"""The Messages API, what clients send: content blocks and requests; ``anthropic_answers`` has what they get.

Shapes follow the types of the ``anthropic`` SDK; ``anthropic_codec`` reads and writes them. Clients ship new fields
and block types monthly, so unknown fields are ignored and an unknown block becomes an UnknownBlock.

``gc=False``: no value here can hold itself, so that the garbage collector need not look at a long history's.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Raw, Struct, UnsetType

# --- content blocks -----------------------------------------------------------------------------------------


class TextBlock(Struct, frozen=True, gc=False, tag_field="type", tag="text"):
    """Text; ``citations`` only where a server tool or a document gave some."""

    text: str
    citations: Raw | UnsetType = UNSET


class Base64Source(Struct, frozen=True, gc=False, tag_field="type", tag="base64"):
    """Bytes in the request itself."""

    media_type: str
    data: str


class UrlSource(Struct, frozen=True, gc=False, tag_field="type", tag="url"):
    """Bytes that whoever reads the block must fetch."""

    url: str


class FileSource(Struct, frozen=True, gc=False, tag_field="type", tag="file"):
    """A file kept at Anthropic; no other engine can read it."""

    file_id: str


class PlainTextSource(Struct, frozen=True, gc=False, tag_field="type", tag="text"):
    """A document given as text."""

    data: str
    media_type: str = "text/plain"


class ContentSource(Struct, frozen=True, gc=False, tag_field="type", tag="content"):
    """A document given as content blocks, or as one string."""

    content: str | list[Block]


class ImageBlock(Struct, frozen=True, gc=False, tag_field="type", tag="image"):
    """A picture."""

    source: Base64Source | UrlSource | FileSource


class DocumentBlock(Struct, frozen=True, gc=False, tag_field="type", tag="document", omit_defaults=True):
    """A PDF or a text document."""

    source: Base64Source | UrlSource | FileSource | PlainTextSource | ContentSource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(Struct, frozen=True, gc=False, tag_field="type", tag="search_result"):
    """A passage that the client found for the model."""

    source: str
    title: str
    content: list[TextBlock]


class ThinkingBlock(Struct, frozen=True, gc=False, tag_field="type", tag="thinking"):
    """Reasoning; ``signature`` is opaque and empty for most engines."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(Struct, frozen=True, gc=False, tag_field="type", tag="redacted_thinking"):
    """Reasoning that only Anthropic can read."""

    data: str = ""


class ToolUseBlock(Struct, frozen=True, gc=False, tag_field="type", tag="tool_use"):
    """A call of a client's tool; ``input`` is kept as the bytes it came in: its key order is part of the prompt."""

    id: str
    name: str
    input: Raw = Raw(b"{}")


class ToolReferenceBlock(Struct, frozen=True, gc=False, tag_field="type", tag="tool_reference"):
    """Names a deferred tool that the client's tool search has loaded."""

    tool_name: str


class ToolResultBlock(Struct, frozen=True, gc=False, tag_field="type", tag="tool_result", omit_defaults=True):
    """What a tool call gave."""

    tool_use_id: str
    content: str | list[Block] | None = None
    is_error: bool | None = None


class ServerToolUseBlock(Struct, frozen=True, gc=False, tag_field="type", tag="server_tool_use"):
    """A tool call that the API itself answered, such as web_search."""

    id: str
    name: str
    input: Raw = Raw(b"{}")


class WebSearchToolResultBlock(Struct, frozen=True, gc=False, tag_field="type", tag="web_search_tool_result"):
    """Results of web_search, or its error object."""

    tool_use_id: str
    content: Raw = Raw(b"[]")


class WebFetchResult(Struct, frozen=True, gc=False):
    """What web_fetch gave: a document, or an error's code."""

    url: str | None = None
    content: DocumentBlock | None = None
    error_code: str | None = None


class WebFetchToolResultBlock(Struct, frozen=True, gc=False, tag_field="type", tag="web_fetch_tool_result"):
    """A page or a file that the API fetched."""

    tool_use_id: str
    content: WebFetchResult


class ToolSearchResult(Struct, frozen=True, gc=False):
    """What a tool search gave: references, or an error's code."""

    tool_references: list[ToolReferenceBlock] = []
    error_code: str | None = None


class ToolSearchToolResultBlock(Struct, frozen=True, gc=False, tag_field="type", tag="tool_search_tool_result"):
    """Deferred tools that the API's own tool search has loaded."""

    tool_use_id: str
    content: ToolSearchResult


class ChangedTool(Struct, frozen=True, gc=False, omit_defaults=True):
    """Which tool changes: a ``tool_reference`` by its name, or a ``tool_definition``; others are of MCP servers."""

    type: str
    name: str = ""
    server_name: str = ""
    definition: Tool | None = None


class ToolAdditionBlock(Struct, frozen=True, gc=False, tag_field="type", tag="tool_addition"):
    """Offers the model one more tool from here on."""

    tool: ChangedTool


class ToolRemovalBlock(Struct, frozen=True, gc=False, tag_field="type", tag="tool_removal"):
    """Withdraws a tool from here on."""

    tool: ChangedTool


class UnknownBlock(Struct, frozen=True, gc=False, tag_field="type", tag="~unknown"):
    """A block of a type that has no shape here; ``raw`` is the whole block."""

    block_type: str
    raw: Raw


Block = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolReferenceBlock
    | ToolResultBlock
    | ServerToolUseBlock
    | WebSearchToolResultBlock
    | WebFetchToolResultBlock
    | ToolSearchToolResultBlock
    | ToolAdditionBlock
    | ToolRemovalBlock
    | UnknownBlock
)


def block_type(block: Block) -> str:
    """Return the type of a block, as it is on the wire."""
    return block.block_type if isinstance(block, UnknownBlock) else str(block.__struct_config__.tag)


# --- requests -----------------------------------------------------------------------------------------------


class InputMessage(Struct, frozen=True, gc=False):
    """One message of the request. ``role`` may be other than user and assistant: clients send "system"."""

    role: str
    content: str | list[Block]
    output_config: OutputConfig | None = None
    """Of a system turn: how hard the model is to try from here on."""


class Tool(Struct, frozen=True, gc=False, omit_defaults=True):
    """A tool declaration. ``type`` is None or "custom" for the client's own tools; others are known to the API.

    Sets of tools have no name, and those of an MCP server the server's.
    """

    name: str = ""
    type: str | None = None
    description: str = ""
    input_schema: Raw | UnsetType = UNSET
    defer_loading: bool | None = None
    strict: bool | None = None
    mcp_server_name: str | None = None
    max_uses: int | None = None
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    user_location: dict[str, object] | None = None


class ToolChoice(Struct, frozen=True, gc=False, omit_defaults=True):
    """Which tool the model must use; ``name`` goes with type "tool"."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct, frozen=True, gc=False, omit_defaults=True):
    """Whether the model reasons first: "enabled" (with a budget in tokens), "adaptive" or "disabled"."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None
    """"omitted" where the client does not show thoughts."""


class OutputFormat(Struct, frozen=True, gc=False):
    """The shape that the answer must have; ``schema`` goes with type "json_schema"."""

    type: str
    schema: Raw | UnsetType = UNSET


class OutputConfig(Struct, frozen=True, gc=False, omit_defaults=True):
    """How hard the model tries, and in what shape it answers."""

    effort: str | None = None
    format: OutputFormat | None = None


class Metadata(Struct, frozen=True, gc=False, omit_defaults=True):
    """Who asks: ``user_id`` is opaque, and a JSON document in Claude Code's case."""

    user_id: str | None = None


class DiagnosticsRequest(Struct, frozen=True, gc=False, omit_defaults=True):
    """Asks why the prompt could not be reused since an earlier answer (None: this is the first)."""

    previous_message_id: str | None = None


class Thread(Struct, frozen=True, gc=False, omit_defaults=True):
    """Whether the API should keep this conversation ("create"), or the messages continue one that it keeps."""

    type: str = "create"
    previous_message_id: str | None = None


class CountTokensRequest(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """POST /v1/messages/count_tokens, and what it has in common with a Messages request."""

    model: str
    messages: list[InputMessage]
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    """Where clients of the beta of 2025-11-13 put what is now ``output_config.format``."""

    @property
    def answer_format(self) -> OutputFormat | None:
        """The shape that the answer must have, from whichever field holds it."""
        current = self.output_config.format if self.output_config else None
        return current or self.output_format


class MessagesRequest(CountTokensRequest, frozen=True, kw_only=True, omit_defaults=True):
    """POST /v1/messages."""

    max_tokens: int
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: Metadata | None = None
    diagnostics: DiagnosticsRequest | None = None
    thread: Thread | None = None
