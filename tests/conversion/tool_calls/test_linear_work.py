"""The work on tool calls grows with their size and not faster, and none of them holds up the event loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_bridge.conversion.deltas import Delta, Finish, FinishReason, TextDelta, ToolCallArguments, ToolCallStart
from claude_bridge.conversion.tool_calls.arguments import repair_arguments
from claude_bridge.conversion.tool_calls.buffer import ToolCallBuffer
from claude_bridge.conversion.tool_calls.index import ToolCallIndex
from claude_bridge.conversion.tool_calls.text_detector import TextToolCallDetector
from claude_bridge.wire.anthropic import Tool
from tests.examples import examples
from tests.growth import assert_linear

pytestmark = pytest.mark.timing

MAX_S = 0.25
"""For the largest of each kind, here beside other programs; on a machine of its own a third of it."""

Made = tuple[str, Any]
"""Arguments and a schema."""

WRITE = {"type": "object", "properties": {"file_path": {"type": "string"}, "content": {"type": "string"}}}
LINE = 'print("hello", {"a": "b"}["a"])  # it\'s "quoted"\n'


def _list_of(items: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": {"type": "array", "items": items}}}


def _content(text: str) -> str:
    return '{"file_path": "/a/b.py", "content": "' + text + '"}'


BOMBS: dict[str, Callable[[int], Made]] = {
    "keys and values without quotes": lambda n: ("{" + "a:b," * n + "}", {}),
    "braces": lambda n: ('{"a":' + "{" * n, {}),
    "backslashes": lambda n: ('{"a":"' + "\\" * n + "}", {}),
    "a file with quotes": lambda n: (_content(LINE.replace("\n", "\\n") * (n // 50)), WRITE),
    "a file with quotes and line ends": lambda n: (_content(LINE * (n // 50)), WRITE),
    "a file with quotes, cut off": lambda n: (_content(LINE * (n // 50))[:-2], WRITE),
    "nothing but quotes": lambda n: (_content('"' * n), WRITE),
    "quotes and spaces": lambda n: (_content('" ' * n), WRITE),
    "quotes and keys": lambda n: (_content('", "x": ' * (n // 8)), WRITE),
    "quotes and braces": lambda n: ('{"a":"' + '"}' * n, {}),
    "members": lambda n: ("{" + ",".join(f"'k{at}': 'v'" for at in range(n // 10)) + "}", {}),
    "items": lambda n: ('{"a": [' + "1," * n + "],}", {}),
    "empty objects": lambda n: ("{}" * n, {}),
    "objects": lambda n: ('{"a":1}' * (n // 7) + "x", {}),
    "different objects": lambda n: ("".join(f'{{"a":{at}}}' for at in range(n // 8)), {}),
    "commas": lambda n: ('{"a":1' + "," * n + "x", {}),
    "fences": lambda n: ('{"a":1}' + "```" * n, {}),
    "escapes": lambda n: ('{"a":"' + "\\n\\q" * (n // 4) + '",}', {}),
    "spaces": lambda n: ('{"a":1' + " " * n + "x", {}),
    "options": lambda n: (
        json.dumps({"a": [f"x{at}" for at in range(n // 40)]}),
        _list_of({"enum": [f"y{at}" for at in range(n // 40)]}),
    ),
    "strange keys": lambda n: (
        json.dumps({f"Key{at}": 1 for at in range(n // 40)}),
        {"properties": {f"name{at}": {} for at in range(n // 40)}, "additionalProperties": False},
    ),
    "near keys": lambda n: (
        json.dumps({f"Key_{at}": 1 for at in range(n // 40)}),
        {"properties": {f"key{at}": {} for at in range(n // 40)}, "additionalProperties": False},
    ),
    "required": lambda n: (
        json.dumps({"a": [{}] * (n // 40)}),
        _list_of({"type": "object", "required": [f"r{at}" for at in range(n // 40)]}),
    ),
    "alternatives": lambda n: (
        json.dumps({"a": ["x"] * (n // 40)}),
        _list_of({"anyOf": [{"type": "integer"}] * (n // 40)}),
    ),
    "references": lambda n: (
        json.dumps({"a": ["x"] * (n // 40)}),
        _list_of({"$ref": "#/$defs/0"}) | {"$defs": {str(at): {"$ref": f"#/$defs/{at + 1}"} for at in range(n // 40)}},
    ),
    "numbers as text": lambda n: (json.dumps({"a": ["1"] * (n // 5)}), _list_of({"type": "integer"})),
    "text as numbers": lambda n: (
        json.dumps({f"k{at}": at for at in range(n // 12)}),
        {"type": "object", "additionalProperties": {"type": "string"}},
    ),
    "a pattern": lambda n: ('{"a":""}', {"properties": {"a": {"pattern": "(a|b)" * n}}}),
    "a pattern of repetitions": lambda n: (
        "{" + " " * n + '"a":""}',
        {"properties": {"a": {"pattern": "(?:" * 9 + "){99}" * 9}}},
    ),
    "a large text for alternatives": lambda n: (
        json.dumps({"a": "{'x': '" + "y" * n + "',}"}),
        {"properties": {"a": {"anyOf": [{"type": "object", "required": ["z"]}] * 200}}},
    ),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_eight_times_the_arguments_take_eight_times_as_long(bomb: Callable[[int], Made]) -> None:
    def work(size: int) -> Callable[[], object]:
        text, schema = bomb(size)
        document = json.dumps(schema).encode()
        return lambda: repair_arguments(text, document, "Write")

    assert_linear(work, 190_000, MAX_S)


TOKENS = [
    '"',
    "'",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\\",
    "\\n",
    "\n",
    " ",
    "a",
    "1",
    "“",
    "//",
    "```",
    "null",
    '":"',
    '"}',
]


@given(
    st.sampled_from(["", '{"a":"', '{"a":', '{"a":["', "{'a':'", '{"b":1,"a":"']),
    st.lists(st.sampled_from(TOKENS), min_size=1, max_size=6),
)
@examples(60)
def test_any_pattern_takes_no_more_than_its_length(beginning: str, pattern: list[str]) -> None:
    unit = "".join(pattern)

    def work(size: int) -> Callable[[], object]:
        text = beginning + unit * (size // len(unit))
        return lambda: repair_arguments(text, b"{}", "Write")

    assert_linear(work, 100_000, MAX_S)


OPENINGS = [
    "",
    "[",
    "[Write(",
    "[Write(content=",
    "<tool_call>",
    '<tool_call>{"name": "Write", "arguments": {',
    "<tool_call>Write\n<arg_key>",
    "<function=Write>",
    "<function=Write><parameter=content>",
    "<|tool_call>call:Write{",
    "<|tool_call>call:Write{content:",
    "[TOOL_CALLS]",
    "functools[",
    "```json\n",
    "<think>",
    "<|channel|>commentary to=functions.Write<|message|>",
]
PRINTED_TOKENS = [*TOKENS, "<", ">", "=", "(", ")", "|", "`", ".", "-", "_", "a.", "</", "<|", "write", '<|"|>', "True"]


@given(st.sampled_from(OPENINGS), st.lists(st.sampled_from(PRINTED_TOKENS), min_size=1, max_size=4))
@example("[Write(", ["a"])
@example("[Write(", ["a."])
@example("<|tool_call>call:Write{", ["a"])
@example("", ["<"])
@examples(20)
def test_any_printed_text_takes_no_more_than_its_length(opening: str, pattern: list[str]) -> None:
    unit = "".join(pattern)

    def work(size: int) -> Callable[[], object]:
        text = opening + unit * (size // len(unit))

        def read() -> None:
            detector = TextToolCallDetector([Tool("Write")])
            detector.feed([TextDelta(text), Finish(FinishReason.STOP)])
            detector.close()

        return read

    assert_linear(work, 60_000, MAX_S)


def _released(deltas: list[list[Delta]]) -> Iterator[Delta]:
    buffer = ToolCallBuffer([Tool(f"tool_{at}") for at in range(1_000)], lambda: "toolu_1", one_only=False)
    for read in deltas:
        yield from buffer.feed(read)
    yield from buffer.feed([Finish(FinishReason.STOP)])


def _one_read(*deltas: Delta) -> list[Delta]:
    return [*deltas]


ANSWERS: dict[str, Callable[[int], list[list[Delta]]]] = {
    "text between the pieces of a call": lambda n: [
        _one_read(ToolCallStart(0, "Write"), ToolCallArguments(0, '{"a":"')),
        *(_one_read(ToolCallArguments(0, "x}"), TextDelta("y")) for _ in range(n // 20)),
    ],
    "text between the calls in one call": lambda n: [
        _one_read(ToolCallStart(0, "Write")),
        *(_one_read(ToolCallArguments(0, "{}"), TextDelta("y")) for _ in range(n // 20)),
    ],
    "brackets too many, one by one behind a large call": lambda n: [
        _one_read(ToolCallStart(0, "Write"), ToolCallArguments(0, '{"a":[' + "1," * (n // 2) + "1]}}")),
        *(_one_read(ToolCallArguments(0, "}"), TextDelta("y")) for _ in range(n // 50)),
    ],
    "calls of tools that nobody declared": lambda n: [
        _one_read(ToolCallStart(at, f"functions.Nobody{at}"), ToolCallArguments(at, "{'a': 1"))
        for at in range(n // 200)
    ],
    "malformed calls, each of them large": lambda n: [
        _one_read(ToolCallStart(at, "Write"), ToolCallArguments(at, "{'a': '" + "x'y" * 3_000 + "',}"))
        for at in range(n // 200)
    ],
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_eight_times_the_answer_takes_eight_times_as_long(answer: Callable[[int], list[list[Delta]]]) -> None:
    def work(size: int) -> Callable[[], object]:
        deltas = answer(size)
        return lambda: list(_released(deltas))

    assert_linear(work, 190_000, MAX_S)


def test_eight_times_the_fragments_take_eight_times_as_long() -> None:
    def work(size: int) -> Callable[[], object]:
        def add() -> None:
            calls = ToolCallIndex()
            for at in range(size):
                calls.add(0, f"call_{at}", "Write", '{"' if at == 0 else "}")

        return add

    assert_linear(work, 8_000, MAX_S)
