"""What engines accept as a request: the ``openai`` SDK's types, Ollama's documented ones, and strict chat templates.

Types are read strictly: a key that the type does not have is a fault, but for the extensions that are listed here with
the engines that read them.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import (
    Any,
    Literal,
    NotRequired,
    Required,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import msgspec
import typing_extensions
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses import (
    EasyInputMessageParam,
    ResponseConfigurationUpdateItemParamParam,
    ResponseFunctionToolCallParam,
    ResponseFunctionWebSearchParam,
    ResponseReasoningItemParam,
)
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from openai.types.responses.response_input_item_param import (
    AdditionalTools,
    FunctionCallOutput,
)

from tests.dialogues import OLLAMA_CHAT, OPENAI_CHAT, RESPONSES

EXTENSIONS = {
    "$.top_k": "llama.cpp, vLLM, OpenRouter",
    "$.chat_template_kwargs": "llama.cpp, vLLM, SGLang",
    "$.thinking_budget_tokens": "llama.cpp",
    "$.return_progress": "llama.cpp",
    "$.thinking": "DeepSeek, Z.AI, Moonshot",
    "$.reasoning": "OpenRouter, Together",
    "$.cache_control": "OpenRouter",
    "$.extra_body": "Gemini",
    "$.session_id": "OpenRouter",
    "$.tools[].filters.blocked_domains": "OpenAI, by its documentation",
    "$.tools[].filters.excluded_domains": "xAI",
    "$.messages[].reasoning_content": "llama.cpp, SGLang, DeepSeek, Z.AI, Moonshot, Fireworks",
    "$.messages[].reasoning_details": "OpenRouter",
    "$.messages[].tool_calls[].extra_content": "Gemini",
    "$.messages[].reasoning": "OpenRouter, vLLM",
}
"""What is in no type of the SDK: where, and who reads it."""

EXTRA_VALUES = {("$.reasoning_effort", "default"): "Groq"}
"""What is among no type's words: where, which, and who reads it."""

PLAIN: dict[Any, Any] = {str: str, int: int, float: (int, float), bool: bool, type(None): type(None)}


# --- Ollama: api/types.go of 0.32.15 --------------------------------------------------------------------------

JsonObject = dict[str, object]


class OllamaProperty(TypedDict, total=False):
    """ToolProperty: all else in a schema is dropped when Ollama reads it."""

    anyOf: list[OllamaProperty]
    type: str | list[str]
    items: object
    description: str
    enum: list[object]
    properties: dict[str, OllamaProperty]
    required: list[str]


class OllamaParameters(TypedDict):
    """ToolFunctionParameters."""

    type: Literal["object"]
    properties: dict[str, OllamaProperty]
    required: NotRequired[list[str]]


class OllamaFunction(TypedDict):
    """ToolFunction."""

    name: str
    description: NotRequired[str]
    parameters: OllamaParameters


class OllamaTool(TypedDict):
    """Tool."""

    type: Literal["function"]
    function: OllamaFunction


class OllamaCalled(TypedDict):
    """ToolCallFunction."""

    name: str
    arguments: JsonObject


class OllamaCall(TypedDict):
    """ToolCall."""

    id: str
    function: OllamaCalled


class OllamaMessage(TypedDict):
    """Message."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    thinking: NotRequired[str]
    images: NotRequired[list[str]]
    tool_calls: NotRequired[list[OllamaCall]]
    tool_name: NotRequired[str]
    tool_call_id: NotRequired[str]


class OllamaOptions(TypedDict, total=False):
    """Options, as far as a bridge has a use for them."""

    num_ctx: int
    num_predict: int
    temperature: float
    top_p: float
    top_k: int


class OllamaChat(TypedDict):
    """ChatRequest."""

    model: str
    messages: list[OllamaMessage]
    stream: Literal[True]
    format: NotRequired[JsonObject]
    keep_alive: NotRequired[str]
    tools: NotRequired[list[OllamaTool]]
    options: NotRequired[OllamaOptions]
    think: NotRequired[bool | str]
    truncate: Literal[False]
    shift: Literal[False]


REQUEST_TYPES: dict[str, Any] = {OPENAI_CHAT: CompletionCreateParamsStreaming, OLLAMA_CHAT: OllamaChat}

ITEM_TYPES: dict[str, Any] = {
    "message": EasyInputMessageParam,
    "reasoning": ResponseReasoningItemParam,
    "function_call": ResponseFunctionToolCallParam,
    "function_call_output": FunctionCallOutput,
    "web_search_call": ResponseFunctionWebSearchParam,
    "additional_tools": AdditionalTools,
    "configuration_update": ResponseConfigurationUpdateItemParamParam,
}
"""Of the union of all items those that we send: the union as a whole gives faults that say nothing."""

NEED_NOT_BE = {"$.input[]: 'id' is missing"}
"""The types of thoughts and searches require an id. The API looks it up, and finds nothing where nothing is stored."""


# --- judging --------------------------------------------------------------------------------------------------


def assert_accepted(kind: str, body: bytes) -> None:
    """Assert that an engine of that kind takes the request, and that strict chat templates take its messages."""
    request = msgspec.json.decode(body)
    if kind == RESPONSES:
        _assert_responses_request(request)
        return
    request["messages"] = [_without_images(message) for message in request["messages"]]
    assert sorted(faults(request, REQUEST_TYPES[kind])) == []
    assert_strict(request["messages"])


def _assert_responses_request(request: dict[str, Any]) -> None:
    items = request["input"]
    assert sorted(faults(request | {"input": []}, ResponseCreateParamsStreaming)) == []
    found = [fault for item in items for fault in faults(item, ITEM_TYPES[item["type"]], "$.input[]")]
    assert sorted({*found} - NEED_NOT_BE) == []
    assert request["store"] is False
    declared = [request, *(item for item in items if item["type"] == "additional_tools")]
    functions = [tool for declaring in declared for tool in declaring.get("tools", ()) if tool["type"] == "function"]
    assert all("strict" in tool for tool in functions)
    waiting: list[str] = []
    for item in items:
        if item["type"] == "function_call":
            waiting.append(item["call_id"])
        elif item["type"] == "function_call_output":
            waiting.remove(item["call_id"])
        elif item.get("role") == "user":
            assert not waiting
    assert items
    assert not waiting


def _without_images(message: dict[str, Any]) -> dict[str, Any]:
    """Return a tool message without its images: an extension that a row may say an engine has."""
    if message["role"] != "tool" or not isinstance(message["content"], list):
        return message
    return message | {"content": [part for part in message["content"] if part["type"] != "image_url"]}


def assert_strict(messages: list[dict[str, Any]]) -> None:
    """Assert what strict chat templates want: alternation, and each call's result right after it, in order."""
    assert messages
    waiting: list[tuple[str, str]] = []
    previous = ""
    for at, message in enumerate(messages):
        role = message["role"]
        if role == "system":
            assert at == 0
            assert message["content"] != ""
            continue
        if role == "tool":
            call_id, name = waiting.pop(0)
            assert message["tool_call_id"] == call_id
            assert message.get("tool_name", name) == name
            assert message["content"] != ""
        else:
            assert not waiting
            assert role != previous
            waiting = [(call["id"], call["function"]["name"]) for call in message.get("tool_calls", ())]
        previous = role
    assert not waiting


def faults(value: Any, kind: Any, path: str = "$") -> Iterator[str]:
    """Yield what of a JSON value is not as an annotation says, by its path; ``[]`` stands for any place in a list."""
    if kind in (Any, object):
        return
    origin = get_origin(kind)
    if is_typeddict(kind) or typing_extensions.is_typeddict(kind):
        yield from _faults_of_object(value, kind, path)
    elif origin in (Union, types.UnionType):
        yield from _faults_of_union(value, get_args(kind), path)
    elif origin is Literal or origin is typing_extensions.Literal:
        if isinstance(value, str) and (path, value) in EXTRA_VALUES:
            return
        if value not in get_args(kind) or isinstance(value, bool) is not isinstance(get_args(kind)[0], bool):
            yield f"{path}: {value!r} is none of {get_args(kind)}"
    elif origin is dict:
        if not isinstance(value, dict):
            yield f"{path}: no object"
            return
        for key, inner in value.items():
            yield from faults(inner, get_args(kind)[1], f"{path}.{key}")
    elif kind in PLAIN:
        if not isinstance(value, PLAIN[kind]) or (isinstance(value, bool) and kind is not bool):
            yield f"{path}: {value!r} is no {kind.__name__}"
    else:  # list, Iterable, and the SDK's own name for a sequence that is no text
        if not isinstance(value, list):
            yield f"{path}: no list"
            return
        for inner in value:
            yield from faults(inner, get_args(kind)[0], f"{path}[]")


@cache
def _hints(kind: Any) -> tuple[Mapping[str, Any], set[str]]:
    """Return the types of an object's keys, and the keys that it must have."""
    marked = get_type_hints(kind, include_extras=True)
    # A class can't see marks in annotations that are text, as these all are; its bases may be less strict than it.
    required = {key for key, hint in marked.items() if get_origin(hint) is Required}
    required |= {key for key in kind.__required_keys__ if get_origin(marked[key]) is not NotRequired}
    return get_type_hints(kind), required


def _faults_of_object(value: Any, kind: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: no object"
        return
    hints, required = _hints(kind)
    yield from (f"{path}: {key!r} is missing" for key in required - set(value))
    for key, inner in value.items():
        if key in hints:
            yield from faults(inner, hints[key], f"{path}.{key}")
        elif f"{path}.{key}" not in EXTENSIONS:
            yield f"{path}: {kind.__name__} has no {key!r}"


def _faults_of_union(value: Any, members: Iterable[Any], path: str) -> Iterator[str]:
    """Yield the faults of the member that fits best: one with the same tag, and the same kind of value."""
    found = [list(faults(value, member, path)) for member in members]
    if all(found):
        yield from min(found, key=lambda member: (sum(_is_another(fault, path) for fault in member), len(member)))


def _is_another(fault: str, path: str) -> bool:
    return "is none of" in fault or fault.startswith(f"{path}: ")
