"""The Responses API: requests, events and items, as the ``openai`` SDK types them and other servers vary them.

What we send is exact. What we read is lenient: nothing but ``type`` is certain to be there; every other field may be
missing, null or of another type.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType

from claude_bridge.wire.lenient_json import parser_of
from claude_bridge.wire.openai import CompletionTokensDetails, PromptTokensDetails

# --- what we send -------------------------------------------------------------------------------------------


class CacheMark(Struct, frozen=True, gc=False):
    """Marks an end of what later requests have in common."""

    mode: Literal["explicit"] = "explicit"


class InputText(Struct, frozen=True, gc=False, tag_field="type", tag="input_text", omit_defaults=True):
    """Text among other content parts."""

    text: str
    prompt_cache_breakpoint: CacheMark | UnsetType = UNSET


class InputImage(Struct, frozen=True, gc=False, tag_field="type", tag="input_image"):
    """A picture; ``image_url`` is an https: or data: URL."""

    image_url: str
    detail: Literal["auto"] = "auto"


class InputFile(Struct, frozen=True, gc=False, tag_field="type", tag="input_file", omit_defaults=True):
    """A document; ``file_data`` is a data: URL."""

    filename: str | UnsetType = UNSET
    file_data: str | UnsetType = UNSET
    file_url: str | UnsetType = UNSET


ContentPart = InputText | InputImage | InputFile
Content = str | list[ContentPart]


class MessageItem(Struct, frozen=True, gc=False, kw_only=True, tag_field="type", tag="message", omit_defaults=True):
    """A message. ``phase`` says what an assistant's text was: a word on the way, or the answer."""

    role: Literal["developer", "system", "user", "assistant"]
    content: Content
    phase: str | UnsetType = UNSET


class ReasoningText(Struct, frozen=True, gc=False, tag_field="type", tag="reasoning_text"):
    """A thought in clear."""

    text: str


class ReasoningItem(Struct, frozen=True, gc=False, kw_only=True, tag_field="type", tag="reasoning"):
    """A thought that goes back in clear; one with a cipher goes back as it came."""

    summary: tuple[()] = ()
    content: list[ReasoningText]


class CallItem(Struct, frozen=True, gc=False, kw_only=True, tag_field="type", tag="function_call"):
    """A tool call; ``arguments`` is JSON text."""

    call_id: str
    name: str
    arguments: str


class ResultItem(Struct, frozen=True, gc=False, kw_only=True, tag_field="type", tag="function_call_output"):
    """The result of a tool call."""

    call_id: str
    output: Content


class FunctionTool(Struct, frozen=True, gc=False, kw_only=True, tag_field="type", tag="function", omit_defaults=True):
    """A function that the model may call. Where ``strict`` is missing OpenAI makes every optional property required."""

    name: str
    description: str | UnsetType = UNSET
    parameters: Raw
    strict: bool


class WebSearchTool(Struct, frozen=True, kw_only=True, tag_field="type", tag="web_search", omit_defaults=True):
    """The search that the service runs itself."""

    filters: dict[str, list[str]] | UnsetType = UNSET
    user_location: dict[str, object] | UnsetType = UNSET


Tool = FunctionTool | WebSearchTool


class MoreToolsItem(Struct, frozen=True, gc=False, kw_only=True, tag_field="type", tag="additional_tools"):
    """Tools that the model may call from here on."""

    role: Literal["developer"] = "developer"
    tools: list[Tool]


class Effort(Struct, frozen=True, gc=False):
    """How hard the model thinks."""

    effort: str


class ConfigurationItem(Struct, frozen=True, gc=False, kw_only=True, tag_field="type", tag="configuration_update"):
    """How hard the model thinks from here on."""

    reasoning: Effort


Item = MessageItem | ReasoningItem | CallItem | ResultItem | MoreToolsItem | ConfigurationItem | dict[str, Any]
"""One item of the input; an object as it is stands for a thought or a search that its maker gave."""


class Reasoning(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """How hard the model thinks, and whether it shows a summary of its thoughts."""

    effort: str | UnsetType = UNSET
    summary: Literal["auto"] | UnsetType = UNSET


class JsonSchemaFormat(Struct, frozen=True, gc=False, kw_only=True, tag_field="type", tag="json_schema"):
    """The schema that the answer must match."""

    name: str = "answer"
    schema: Raw
    strict: bool


class TextOptions(Struct, frozen=True, gc=False):
    """The shape of the answer's text."""

    format: JsonSchemaFormat


class StreamOptions(Struct, frozen=True, gc=False):
    """Without this each delta of OpenAI carries random padding."""

    include_obfuscation: bool = False


class NamedToolChoice(Struct, frozen=True, gc=False, tag_field="type", tag="function"):
    """Makes the model call one function."""

    name: str


class ResponsesRequest(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """POST /responses. ``tools`` and ``input`` come last: the field order is part of our bytes.

    ``store`` has no default, so that it is always written: what is not false is kept for a month.
    """

    model: str
    stream: Literal[True]
    store: Literal[False]
    include: list[str] | UnsetType = UNSET
    stream_options: StreamOptions | UnsetType = UNSET
    reasoning: Reasoning | UnsetType = UNSET
    text: TextOptions | UnsetType = UNSET
    max_output_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    tool_choice: Literal["auto", "required", "none"] | NamedToolChoice | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    max_tool_calls: int | UnsetType = UNSET
    prompt_cache_key: str | UnsetType = UNSET
    session_id: str | UnsetType = UNSET
    safety_identifier: str | UnsetType = UNSET
    user: str | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    tools: list[Tool] | UnsetType = UNSET
    input: list[Item]


# --- what we read -------------------------------------------------------------------------------------------


class OutputItem(Struct, frozen=True):
    """One item of an answer, as far as it is known; ``arguments`` is JSON text or, at some servers, an object."""

    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: Raw = Raw(b"")
    status: str | None = None
    phase: str | None = None
    content: list[Any] | str | None = None
    summary: list[Any] | str | None = None


class ResponsesUsage(Struct, frozen=True):
    """Token counts; ``cost`` is OpenRouter's, ``cost_in_usd_ticks`` xAI's: ten thousand million are one dollar."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: PromptTokensDetails | None = None
    output_tokens_details: CompletionTokensDetails | None = None
    cost: float | None = None
    cost_in_usd_ticks: int | None = None


class IncompleteDetails(Struct, frozen=True):
    """Why an answer ended too early."""

    reason: str | None = None


class InputTransformation(Struct, frozen=True):
    """What the service did to an item of the input before the model got it."""

    type: str | None = None
    action: str | None = None
    reason: str | None = None


class ResponseObject(Struct, frozen=True):
    """A whole response, or its beginning."""

    status: str | None = None
    output: list[Raw] | None = None
    usage: ResponsesUsage | None = None
    incomplete_details: IncompleteDetails | None = None
    input_transformations: list[InputTransformation] | None = None
    error: Any = None


class Event(Struct, frozen=True):
    """One event of a stream."""

    type: str = ""
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    delta: Any = None
    annotation: Any = None
    text: str | None = None
    refusal: str | None = None
    arguments: Raw = Raw(b"")
    name: str | None = None
    item: Raw = Raw(b"")
    response: ResponseObject | None = None
    error: Any = None


parse_event = parser_of(Event)
parse_item = parser_of(OutputItem)
parse_response = parser_of(ResponseObject)
"""Each returns what a JSON object spells; they raise msgspec.DecodeError where it is none."""
