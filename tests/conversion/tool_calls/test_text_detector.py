"""Calls printed as text: each format is read, however it is cut, and nothing else is ever taken for a call."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.tool_calls.text_detector import TextToolCallDetector
from claude_bridge.errors import UpstreamBrokenError
from claude_bridge.wire.anthropic import Tool

Calls = list[tuple[str, Any]]

STOP = Finish(FinishReason.STOP)


def _tool(name: str, **properties: Any) -> Tool:
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return Tool(name, input_schema=Raw(json.dumps(schema).encode()))


STRING = {"type": "string"}
TOOLS = [
    _tool("Read", file_path=STRING, limit={"type": "integer"}),
    _tool("Bash", command=STRING, timeout={"type": "number"}),
    _tool("Write", file_path=STRING, content=STRING),
    _tool("CronList"),
    _tool("mcp__git__log", path=STRING),
]


def _found(*deltas: Delta) -> tuple[str, Calls]:
    """Return the text and the calls that go on."""
    finder = TextToolCallDetector(TOOLS)
    out = [one for delta in deltas for one in finder.feed([delta])] + finder.close()
    text = "".join(delta.text for delta in out if isinstance(delta, TextDelta))
    names = [delta.name for delta in out if isinstance(delta, ToolCallStart)]
    inputs = [json.loads(delta.fragment) for delta in out if isinstance(delta, ToolCallArguments)]
    return text, list(zip(names, inputs, strict=True))


def _said(text: str, *, piece: int | None = None, end: Delta = STOP) -> tuple[str, Calls]:
    pieces = [text[at : at + piece] for at in range(0, len(text), piece)] if piece else [text]
    return _found(*map(TextDelta, pieces), end)


READ = '{"name": "Read", "arguments": {"file_path": "a.txt"}}'
LIST = '{"name": "Bash", "arguments": {"command": "ls"}}'
A, LS = ("Read", {"file_path": "a.txt"}), ("Bash", {"command": "ls"})

FORMATS: dict[str, tuple[str, Calls]] = {
    "Hermes": (f"<tool_call>\n{READ}\n</tool_call>", [A]),
    "Hermes, two": (f"<tool_call>{READ}</tool_call>\n<tool_call>\n{LIST}\n</tool_call><|im_end|>", [A, LS]),
    "Hermes, never closed": (f"<tool_call>{READ}", [A]),
    "Hermes, malformed": (
        "<tool_call>{'name': 'Read', 'arguments': {'file_path': 'a.txt'}}</tool_call>",
        [A],
    ),
    "Hermes, another spelling": ('<tool_call>{"name": "bash", "arguments": {"command": "ls"}}</tool_call>', [LS]),
    "Hermes, no arguments": ('<tool_call>{"name": "CronList"}</tool_call>', [("CronList", {})]),
    "Hermes, line ends in a string": (
        '<tool_call>{"name": "Write", "arguments": {"file_path": "a", "content": "b\nc"}}</tool_call>',
        [("Write", {"file_path": "a", "content": "b\nc"})],
    ),
    "Hermes, its own mark in a string": (
        '<tool_call>{"name": "Write", "arguments": {"content": "</tool_call> <tool_call>"}}</tool_call>',
        [("Write", {"content": "</tool_call> <tool_call>"})],
    ),
    "Qwen2.5-Coder's other tag": (f"<tools>\n{READ}\n</tools>", [A]),
    "function_call": (f"<function_call>{READ}</function_call>", [A]),
    "Qwen3-Coder": (
        (
            "<tool_call>\n<function=Bash>\n<parameter=command>\nls\n</parameter>\n<parameter=timeout>\n5\n</parameter>\n"
            "</function>\n</tool_call>"
        ),
        [("Bash", {"command": "ls", "timeout": "5"})],
    ),
    "Qwen3-Coder, first tag forgotten": (
        "<function=Bash>\n<parameter=command>\nls\n</parameter>\n</function>\n</tool_call>",
        [LS],
    ),
    "Qwen3-Coder, function never closed": (
        "<tool_call>\n<function=Bash>\n<parameter=command>\nls\n</parameter>\n</tool_call>",
        [LS],
    ),
    "Qwen3-Coder, lines and tags in a value": (
        (
            "<tool_call>\n<function=Write>\n<parameter=content>\n\n<b>\n</parameter> and </function>\n\n</parameter>\n"
            "</function>\n</tool_call>"
        ),
        [("Write", {"content": "\n<b>\n</parameter> and </function>\n"})],
    ),
    "Llama 3.1": ('<function=Read>{"file_path": "a.txt"}</function>', [A]),
    "Llama 3.1 at Groq": ('<function=Read{"file_path": "a.txt"}</function>', [A]),
    "Llama 3": ('<|python_tag|>{"name": "Read", "parameters": {"file_path": "a.txt"}}<|eom_id|>', [A]),
    "Llama 3, two": (
        (
            '<|python_tag|>{"name": "Read", "parameters": {"file_path": "a.txt"}}; '
            '{"name": "Bash", "parameters": {"command": "ls"}}'
        ),
        [A, LS],
    ),
    "Mistral": (f"[TOOL_CALLS][{READ}, {LIST}]", [A, LS]),
    "Mistral since v11": ('[TOOL_CALLS]Read[ARGS]{"file_path": "a.txt"}[TOOL_CALLS]Bash{"command": "ls"}</s>', [A, LS]),
    "Mistral with an id": ('[TOOL_CALLS]Read[CALL_ID]aB3dE6gH9[ARGS]{"file_path": "a.txt"}', [A]),
    "gpt-oss": (
        '<|channel|>commentary to=functions.Read <|constrain|>json<|message|>{"file_path": "a.txt"}<|call|>',
        [A],
    ),
    "gpt-oss, role first": (
        '<|start|>assistant<|channel|>commentary to=functions.Read<|message|>{"file_path": "a.txt"}',
        [A],
    ),
    "gpt-oss, recipient first": (
        '<|start|>assistant to=functions.Read<|channel|>commentary json<|message|>{"file_path": "a.txt"}<|call|>',
        [A],
    ),
    "Kimi K2": (
        (
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.Read:0<|tool_call_argument_begin|>"
            '{"file_path": "a.txt"}<|tool_call_end|><|tool_call_begin|>functions.Bash:1<|tool_call_argument_begin|>'
            '{"command": "ls"}<|tool_call_end|><|tool_calls_section_end|>'
        ),
        [A, LS],
    ),
    "GLM": (
        (
            "<tool_call>Read\n<arg_key>file_path</arg_key>\n<arg_value>a.txt</arg_value>\n"
            "<arg_key>limit</arg_key>\n<arg_value>5</arg_value>\n</tool_call>"
        ),
        [("Read", {"file_path": "a.txt", "limit": "5"})],
    ),
    "GLM since 4.7": ("<tool_call>Bash<arg_key>command</arg_key><arg_value>ls</arg_value></tool_call>", [LS]),
    "GLM, no arguments": ("<tool_call>CronList\n</tool_call>", [("CronList", {})]),
    "DeepSeek V3": (
        (
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>Read\n```json\n"
            '{"file_path": "a.txt"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
        ),
        [A],
    ),
    "DeepSeek since V3.1": (
        (
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>Read<｜tool▁sep｜>{"file_path": "a.txt"}<｜tool▁call▁end｜>'
            '<｜tool▁call▁begin｜>Bash<｜tool▁sep｜>{"command": "ls"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
        ),
        [A, LS],
    ),
    "MiniMax": (
        (
            '<minimax:tool_call>\n<invoke name="Bash">\n<parameter name="command">ls</parameter>\n</invoke>\n'
            "</minimax:tool_call>"
        ),
        [LS],
    ),
    "Anthropic's old prompts": (
        '<function_calls><invoke name="Bash">\n<parameter name="command">ls</parameter>\n</invoke></function_calls>',
        [LS],
    ),
    "Granite": (f"<|tool_call|>[{READ}]", [A]),
    "Phi-4": (f"<|tool_call|>[{LIST}]<|/tool_call|>", [LS]),
}
"""Formats in which models print calls, with marks of their own."""

BARE: dict[str, tuple[str, Calls]] = {
    "an object": (READ, [A]),
    "white space around it": (f"\n {READ}\n", [A]),
    "parameters": ('{"name": "Read", "parameters": {"file_path": "a.txt"}}', [A]),
    "input": ('{"name": "Read", "input": {"file_path": "a.txt"}}', [A]),
    "the name last": ('{"arguments": {"file_path": "a.txt"}, "name": "Read"}', [A]),
    "a list": (f"[{READ}, {LIST}]", [A, LS]),
    "one behind the other": (f"{READ}\n{LIST}", [A, LS]),
    "a fence": (f"```json\n{READ}\n```", [A]),
    "a fence of no language": (f"```\n{READ}\n```\n", [A]),
    "a fence that is never closed": (f"```json\n{READ}", [A]),
    "a fence around marks": (f"```xml\n<tool_call>{READ}</tool_call>\n```", [A]),
    "OpenAI's shape": (
        f'{{"id": "call_1", "type": "function", "function": {READ}}}',
        [],  # an id comes first in other documents too
    ),
    "OpenAI's shape, type first": (
        '{"type": "function", "function": {"name": "Read", "arguments": "{\\"file_path\\": \\"a.txt\\"}"}}',
        [A],
    ),
    "Anthropic's shape": ('{"type": "tool_use", "id": "t", "name": "Read", "input": {"file_path": "a.txt"}}', [A]),
    "malformed": (
        '{"name": "Write", "arguments": {"file_path": "a", "content": "<b class="x">"}}',
        [("Write", {"file_path": "a", "content": '<b class="x">'})],
    ),
}
"""JSON that is the whole answer."""


def _with_unknown_names(text: str) -> str:
    for tool in TOOLS:
        text = text.replace(tool.name, f"Unknown{tool.name}")
    return text.replace('"bash"', '"sh"')


each_format = pytest.mark.parametrize(("text", "calls"), FORMATS.values(), ids=FORMATS)


@each_format
def test_a_call_is_read_in_each_format(text: str, calls: Calls) -> None:
    assert _said(text) == ("", calls)


@each_format
def test_a_call_may_follow_text(text: str, calls: Calls) -> None:
    assert _said(f"I'll have a look.\n\n{text}") == ("I'll have a look.\n\n", calls)
    assert _said(f"I'll have a look.{text}") == ("I'll have a look.", calls)


@each_format
@pytest.mark.parametrize("piece", [1, 2, 3, 7])
def test_how_the_text_is_cut_changes_nothing(text: str, calls: Calls, piece: int) -> None:
    assert _said(f"Now:\n{text}\n", piece=piece) == ("Now:\n", calls)


@pytest.mark.parametrize(("text", "calls"), BARE.values(), ids=BARE)
@pytest.mark.parametrize("piece", [None, 1, 5])
def test_json_that_is_the_whole_answer_is_read_by_its_shape(text: str, calls: Calls, piece: int | None) -> None:
    left, found = _said(text, piece=piece)
    assert found == calls
    assert left.strip() == ("" if calls else text)


def test_a_call_printed_as_text_is_told() -> None:
    out = TextToolCallDetector(TOOLS).feed([TextDelta(READ), STOP])
    assert Repair("Read", "a call that was printed as text") in out


def test_calls_and_their_ends_come_before_the_finish() -> None:
    out = TextToolCallDetector(TOOLS).feed([TextDelta(READ), UsageReport(output_tokens=9), STOP])
    made = [type(delta) for delta in out if not isinstance(delta, Repair)]
    assert made == [UsageReport, ToolCallStart, ToolCallArguments, ToolCallEnd, Finish]


@pytest.mark.parametrize(
    "text",
    [
        *(text + "\n\nThat is how it is done." for text, _ in FORMATS.values()),
        *("Write it like this:\n" + text for text, _ in FORMATS.values()),
        *("```\n" + text + "\n```\nis a call." for text, _ in FORMATS.values()),
        *("A call:\n```\n" + text + "\n```" for text, _ in FORMATS.values()),
        *("A call:\n\n```json\n" + text + "\n```\n" for text, _ in BARE.values()),
        *(text + "\nDone." for text, _ in BARE.values()),
        *("So: " + text for text, _ in BARE.values()),
        *(_with_unknown_names(text) for text, _ in FORMATS.values()),
        f"Models print `<tool_call>{READ}</tool_call>`",
        f"They print <tool_call>{READ}</tool_call>",
        f'The token "[TOOL_CALLS]" comes first, then `[TOOL_CALLS][{READ}]',
    ],
)
def test_what_is_no_call_comes_out_as_it_came(text: str) -> None:
    for piece in (None, 3):
        assert _said(text, piece=piece) == (text, [])


@each_format
def test_half_a_call_is_text_again(text: str, calls: Calls) -> None:
    for length in range(1, len(text)):
        left, found = _said(text[:length])
        assert found in ([], calls[: len(found)]), "never one that was not whole"
        assert left == text[:length] if not found else left == ""


@pytest.mark.parametrize("end", [Finish(FinishReason.LENGTH), Finish(FinishReason.REFUSAL)])
def test_a_call_in_an_answer_that_was_cut_off_stays_text(end: Delta) -> None:
    text, _ = FORMATS["Hermes"]
    assert _said(text, end=end) == (text, [])


def test_a_call_in_an_answer_that_broke_off_stays_text() -> None:
    text, _ = FORMATS["Hermes"]
    assert _found(TextDelta(text)) == (text, [])
    assert _found(TextDelta(text), Failure(UpstreamBrokenError("gone"))) == (text, [])


@pytest.mark.parametrize("structured_first", [True, False])
def test_a_call_beside_one_of_the_engines_own_stays_text(structured_first: bool) -> None:
    structured: list[Delta] = [ToolCallStart(0, "Bash"), ToolCallArguments(0, "{}"), ToolCallEnd(0)]
    text = TextDelta(f"<tool_call>{READ}</tool_call>")
    deltas: list[Delta] = [*structured, text] if structured_first else [text, *structured]
    assert _found(*deltas, STOP) == (text.text, [("Bash", {})])


def test_a_call_inside_thinking_is_no_call() -> None:
    finder = TextToolCallDetector(TOOLS)
    thought: list[Delta] = [ThinkingDelta(f"<tool_call>{READ}</tool_call>")]
    assert finder.feed(thought) == thought
    assert finder.feed([STOP]) == [STOP]


def test_a_call_after_thinking_is_the_whole_answer() -> None:
    assert _found(ThinkingDelta("Hm."), TextDelta(READ), STOP) == ("", [A])


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("Nothing of it is held.", ""),
        ("a <", "<"),
        ("a <b", ""),
        ("a [", "["),
        ("a [1", ""),
        ("Now.\n<tool_call>", "<tool_call>"),
        ("Now.\n<tool_call> is", "<tool_call> is"),
        ("Now.\n<tool_call> is a", ""),
        ('Now.\n<tool_call>{"name": "Grep"', ""),
        ('Now.\n<tool_call>{"name": "Read"', '<tool_call>{"name": "Read"'),
        ("Now.\n<function=Grep>", ""),
        ("Now.\n[TOOL_CALLS]Grep{", ""),
        ("Now.\n<|channel|>final<|message|>", ""),
        ("{", "{"),
        ('{"na', '{"na'),
        ('{"title', ""),
        ('{"name": "R', '{"name": "R'),
        ('{"name": "Al', ""),
        ('{"name": 5', ""),
        ('{"type": "object', ""),
        ("[", "["),
        ("[1", ""),
        ("[{", "[{"),
        ("`", "`"),
        ("```js", "```js"),
        ("```py", ""),
        ("```json\n[", "```json\n["),
        ("```json\n[1", ""),
        ("a {", ""),
        ("a ```json\n{", ""),
        (f"{READ}\nSo", ""),
    ],
)
def test_text_is_held_back_no_longer_than_needed_to_decide(text: str, held: str) -> None:
    finder = TextToolCallDetector(TOOLS)
    out = [delta for letter in text for delta in finder.feed([TextDelta(letter)])]
    said = "".join(delta.text for delta in out if isinstance(delta, TextDelta))
    assert said == text.removesuffix(held)


_words = st.sampled_from([
    "<tool_call>", "</tool_call>", READ, LIST, "<function=Bash>", "<parameter=command>", "ls", "</parameter>", "`",
    "</function>", "[TOOL_CALLS]", "[", "{", "}", "]", '"name"', ":", "\n", " ", "So.", "```", "json", "Read", "<",
    "<|python_tag|>", "<|channel|>", "commentary to=functions.Read", "<|message|>", '{"file_path": "a"}', ";", "é",
    "<|tool_call_begin|>", "functions.Bash:1", "<|tool_call_argument_begin|>", "<|tool_call_end|>", "<invoke",
    ' name="Read">', "</invoke>", "<arg_key>command</arg_key>", "<arg_value>ls</arg_value>", "<｜tool▁sep｜>",
])  # fmt: skip
_texts = st.lists(_words, max_size=14).map("".join)


@given(_texts, st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=500)
def test_any_text_is_read_alike_however_it_is_cut(text: str, places: list[int]) -> None:
    cuts = sorted({0, *(place % (len(text) + 1) for place in places), len(text)})
    pieces = [TextDelta(text[start:end]) for start, end in pairwise(cuts)]
    assert _found(*pieces, STOP) == _said(text)


@given(_texts)
@settings(max_examples=500)
def test_no_text_gets_lost_where_no_call_was_found(text: str) -> None:
    left, calls = _said(text, piece=2)
    assert text.startswith(left)
    assert left == text or calls
    assert _found(TextDelta(text)) == (text, [])


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>" * 5_000,
        f"<tool_call>{READ}</tool_call> x\n" * 800,
        f"<tool_call>{READ}" * 800 + "x",
        "<" * 30_000,
        "[TOOL_CALLS][" * 3_000,
        "<|channel|>" * 3_000,
        "<function=Read>" * 3_000,
        '<invoke name="Read"><parameter name="a">' * 1_000,
        "```\n" * 5_000,
        '{"name": "Read", "arguments": {"file_path": "' + "x}" * 15_000,
        "[" * 30_000,
        '{"name": "Read", "arguments": ' + "[" * 30_000,
    ],
    ids=lambda text: str(text[:12]),
)
def test_absurd_text_takes_no_time(text: str) -> None:
    started_at = time.perf_counter()
    assert _said(text, piece=4) == (text, [])
    assert time.perf_counter() - started_at < 20, "a fraction of a second is what it takes"
