"""The judge of requests finds what is wrong with one, and nothing wrong with what the SDK itself would send."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.dialogues import OLLAMA_CHAT, OPENAI_CHAT
from tests.sdk_validation import EXTENSIONS, REQUEST_TYPES, assert_strict, faults

CALL = {"id": "c", "type": "function", "function": {"name": "Read", "arguments": "{}"}}
ASKED = {"role": "user", "content": "a"}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "b"}


def found(kind: str = OPENAI_CHAT, **fields: Any) -> list[str]:
    small: dict[str, Any] = {"model": "m", "stream": True, "messages": [ASKED]}
    if kind == OLLAMA_CHAT:
        small |= {"truncate": False, "shift": False}
    return sorted(faults(small | fields, REQUEST_TYPES[kind]))


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"colour": 1}, "$: CompletionCreateParamsStreaming has no 'colour'"),
        ({"stream": 1}, "$.stream: 1 is none of (True,)"),
        ({"max_tokens": "5"}, "$.max_tokens: '5' is no int"),
        ({"temperature": True}, "$.temperature: True is no float"),
        ({"messages": {}}, "$.messages: no list"),
        ({"messages": [{"role": "user"}]}, "$.messages[]: 'content' is missing"),
        (
            {"messages": [{"role": "tool", "content": "a", "tool_call_id": None}]},
            "$.messages[].tool_call_id: None is no str",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "citations": []}]}]},
            "$.messages[].content[]: ChatCompletionContentPartTextParam has no 'citations'",
        ),
        ({"tools": [{"type": "function", "function": {}}]}, "$.tools[].function: 'name' is missing"),
    ],
)
def test_what_the_sdk_has_no_type_for_is_a_fault(fields: dict[str, Any], fault: str) -> None:
    assert found(**fields) == [fault]


def test_a_valid_request_has_no_fault() -> None:
    assert found(messages=[ASKED, CALLED, RESULT], tool_choice="auto", temperature=1, max_tokens=None) == []
    assert found(OLLAMA_CHAT, think="low", options={"top_p": 0.5}) == []


def test_ollamas_types_are_as_strict() -> None:
    call = {"id": "c", "function": {"name": "Read", "arguments": "{}"}}
    assert found(OLLAMA_CHAT, messages=[{"role": "assistant", "content": "", "tool_calls": [call]}]) == [
        "$.messages[].tool_calls[].function.arguments: no object"
    ]
    assert found(OLLAMA_CHAT, truncate=True) == ["$.truncate: True is none of (False,)"]
    assert found(OLLAMA_CHAT, tool_choice="auto") == ["$: OllamaChat has no 'tool_choice'"]


def test_every_extension_is_none_of_the_sdk() -> None:
    known: dict[str, Any] = {"top_k": 1, "chat_template_kwargs": {}}
    assert found(**known) == []
    sent_messages = [{"role": "assistant", "content": "", "reasoning": "a", "reasoning_content": "b"}]
    assert found(messages=sent_messages) == []
    assert {path.rpartition(".")[2] for path in EXTENSIONS} >= {*known, "reasoning", "reasoning_content"}


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [ASKED, ASKED],
        [ASKED, CALLED],
        [ASKED, CALLED, ASKED],
        [ASKED, CALLED, RESULT | {"tool_call_id": "d"}],
        [ASKED, CALLED, RESULT | {"content": ""}],
        [ASKED, {"role": "system", "content": "b"}],
        [ASKED, RESULT],
    ],
    ids=lambda messages: msgspec.json.encode([message["role"] for message in messages]).decode(),
)
def test_strict_templates_refuse(messages: list[dict[str, Any]]) -> None:
    with pytest.raises((AssertionError, IndexError)):
        assert_strict(messages)
