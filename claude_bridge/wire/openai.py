"""Chat Completions: request, response and chunk shapes, as the ``openai`` SDK types them and engines vary them.

What we send is exact. What we read is lenient: every field may be missing or null, and text that some engines
send in other forms (a list of parts, an object instead of a string) is accepted by type.

``gc=False``: no value here can hold itself, so that the garbage collector need not look at a long history's.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType

from claude_bridge.wire.lenient_json import parser_of

# --- what we send -------------------------------------------------------------------------------------------


class TextPart(Struct, frozen=True, gc=False, tag_field="type", tag="text"):
    """Text among other content parts."""

    text: str


class ImageUrl(Struct, frozen=True, gc=False):
    """An https: or data: URL of a picture."""

    url: str


class ImagePart(Struct, frozen=True, gc=False, tag_field="type", tag="image_url"):
    """A picture among other content parts."""

    image_url: ImageUrl


class FileData(Struct, frozen=True, gc=False):
    """A PDF; ``file_data`` is a data: URL, and for OpenRouter any."""

    filename: str
    file_data: str


class FilePart(Struct, frozen=True, gc=False, tag_field="type", tag="file"):
    """A document among other content parts."""

    file: FileData


ContentPart = TextPart | ImagePart | FilePart


class Function(Struct, frozen=True, gc=False):
    """A called function; ``arguments`` is JSON text."""

    name: str
    arguments: str


class ToolCall(Struct, frozen=True, gc=False, kw_only=True):
    """A tool call of an assistant message. ``extra_content`` is Gemini's, with the signature of the thought."""

    id: str
    type: Literal["function"] = "function"
    function: Function
    extra_content: dict[str, Any] | UnsetType = UNSET


class ChatMessage(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One message. ``content`` may be None only beside tool calls; ``reasoning_details`` is OpenRouter's."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    reasoning_details: list[Any] | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


class FunctionDeclaration(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A function that the model may call."""

    name: str
    description: str | UnsetType = UNSET
    parameters: Raw
    strict: bool | UnsetType = UNSET


class ToolDeclaration(Struct, frozen=True, gc=False, kw_only=True):
    """A tool; always a function."""

    type: Literal["function"] = "function"
    function: FunctionDeclaration


class NamedFunction(Struct, frozen=True, gc=False):
    """Names a function."""

    name: str


class NamedToolChoice(Struct, frozen=True, gc=False, kw_only=True):
    """Makes the model call one function."""

    type: Literal["function"] = "function"
    function: NamedFunction


class JsonSchema(Struct, frozen=True, gc=False, kw_only=True):
    """A schema that the answer must match."""

    name: str = "answer"
    schema: Raw


class ResponseFormat(Struct, frozen=True, gc=False, kw_only=True):
    """The shape of the answer; ``json_schema`` goes with the type of that name."""

    type: Literal["json_schema", "json_object"]
    json_schema: JsonSchema | UnsetType = UNSET


class StreamOptions(Struct, frozen=True, gc=False):
    """Without include_usage most engines report no tokens in a stream."""

    include_usage: bool = True


class ChatRequest(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """POST /chat/completions. ``messages`` comes last but for tools: the field order is part of our bytes.

    ``reasoning`` is OpenRouter's, ``thinking`` that of DeepSeek, GLM and Kimi, ``thinking_budget_tokens`` and
    ``return_progress`` llama.cpp's,
    ``chat_template_kwargs`` of engines that render a model's own template, ``cache_control`` Anthropic's,
    ``extra_body`` Gemini's.
    """

    model: str
    stream: Literal[True]
    stream_options: StreamOptions | UnsetType = UNSET
    max_tokens: int | UnsetType = UNSET
    max_completion_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    reasoning_effort: str | UnsetType = UNSET
    reasoning: dict[str, bool | int | str] | UnsetType = UNSET
    thinking: dict[str, str] | UnsetType = UNSET
    thinking_budget_tokens: int | UnsetType = UNSET
    extra_body: dict[str, Any] | UnsetType = UNSET
    return_progress: bool | UnsetType = UNSET
    chat_template_kwargs: dict[str, bool | str] | UnsetType = UNSET
    response_format: ResponseFormat | UnsetType = UNSET
    tool_choice: Literal["auto", "required", "none"] | NamedToolChoice | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    cache_control: dict[str, str] | UnsetType = UNSET
    prompt_cache_key: str | UnsetType = UNSET
    session_id: str | UnsetType = UNSET
    safety_identifier: str | UnsetType = UNSET
    user: str | UnsetType = UNSET
    tools: list[ToolDeclaration] | UnsetType = UNSET
    messages: list[ChatMessage]


# --- what we read -------------------------------------------------------------------------------------------


class FunctionFragment(Struct, frozen=True, gc=False):
    """Part of a call; ``arguments`` is a JSON string, an object, or null, as the engine likes."""

    name: str | None = None
    arguments: Raw = Raw(b"")


class GoogleContent(Struct, frozen=True, gc=False):
    """What Gemini adds: to a call the signature of the thought that led to it, to text whether it is a thought."""

    thought_signature: str | None = None
    thought: bool | None = None


class ExtraContent(Struct, frozen=True, gc=False):
    """What a service adds to a call."""

    google: GoogleContent | None = None


class ToolCallFragment(Struct, frozen=True, gc=False):
    """Part of a call in one chunk, or a whole call."""

    index: int | None = None
    id: str | None = None
    function: FunctionFragment | None = None
    extra_content: ExtraContent | None = None


Reasoning = str | list[Any] | dict[str, Any] | None
"""A thought: text nearly everywhere, and parts with text in them at some gateways."""


class AnswerDelta(Struct, frozen=True, gc=False):
    """What a chunk adds, or a whole message: the fields are the same. ``reasoning_text`` is GitHub Copilot's."""

    content: str | list[Any] | None = None
    reasoning_content: Reasoning = None
    reasoning: Reasoning = None
    thinking: Reasoning = None
    reasoning_text: Reasoning = None
    reasoning_details: list[Any] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallFragment] | None = None
    function_call: FunctionFragment | None = None
    extra_content: ExtraContent | None = None


class Choice(Struct, frozen=True, gc=False):
    """One alternative of the answer; we only ask for one.

    ``usage`` is where Moonshot puts it in a stream, ``error`` where OpenRouter may report why an answer broke off.
    """

    index: int | None = None
    delta: AnswerDelta | None = None
    message: AnswerDelta | None = None
    text: str | None = None
    finish_reason: str | None = None
    usage: CompletionUsage | None = None
    error: Any = None


class PromptTokensDetails(Struct, frozen=True, gc=False):
    """How much of the prompt came from the engine's cache, and how much was written to it at a price of its own."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionTokensDetails(Struct, frozen=True, gc=False):
    """How much of the answer was reasoning."""

    reasoning_tokens: int | None = None


class CostDetails(Struct, frozen=True, gc=False):
    """What the provider behind OpenRouter charges."""

    upstream_inference_cost: float | None = None


class CompletionUsage(Struct, frozen=True, gc=False):
    """Token counts; ``prompt_tokens`` includes cached ones.

    ``prompt_cache_hit_tokens`` is DeepSeek's, ``cached_tokens`` Moonshot's and Together's.
    ``total_tokens`` counts reasoning that xAI and Gemini leave out of ``completion_tokens``.

    The cost in US dollars: ``cost`` is OpenRouter's, ``estimated_cost`` DeepInfra's; xAI gives it in ticks, of which
    ten thousand million are one dollar.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None
    cost: float | None = None
    is_byok: bool | None = None
    """Whether the user's own key at the provider was used: then the provider sends a bill of its own."""
    cost_details: CostDetails | None = None
    estimated_cost: float | None = None
    cost_in_usd_ticks: int | None = None


class Timings(Struct, frozen=True, gc=False):
    """llama.cpp's own figures of one answer: tokens from the cache, read, and written, with milliseconds."""

    cache_n: int | None = None
    prompt_n: int | None = None
    prompt_ms: float | None = None
    predicted_n: int | None = None
    predicted_ms: float | None = None


class PromptProgress(Struct, frozen=True, gc=False):
    """How much of the prompt llama.cpp has read: ``processed`` of ``total`` tokens, ``cache`` of them from cache."""

    total: int | None = None
    cache: int | None = None
    processed: int | None = None
    time_ms: float | None = None


class GroqNotes(Struct, frozen=True, gc=False):
    """What Groq adds to the first and to the last chunk of a stream; ``error`` is why it stopped early."""

    usage: CompletionUsage | None = None
    error: Any = None


class Chunk(Struct, frozen=True, gc=False):
    """One chunk of a stream, or a whole response; ``error`` in place of an answer ends it."""

    choices: list[Choice] | None = None
    usage: CompletionUsage | None = None
    timings: Timings | None = None
    prompt_progress: PromptProgress | None = None
    x_groq: GroqNotes | None = None
    error: Any = None
    message: str | None = None
    object: str | None = None


parse_chunk = parser_of(Chunk)
"""Return the typed chunk or response; raises msgspec.DecodeError where it is no JSON object."""
