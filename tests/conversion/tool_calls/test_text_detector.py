"""Calls printed as text: each format is read, however it is cut, and nothing else is ever taken for a call."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given
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
from claude_bridge.conversion.tool_calls.text_detector import MAX_CALLS, MAX_HELD_CHARS, TextToolCallDetector
from claude_bridge.errors import UpstreamBrokenError
from claude_bridge.wire.anthropic import Tool
from tests.examples import examples
from tests.growth import assert_linear

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


def _deltas(*deltas: Delta, own_format: str | None = None) -> list[Delta]:
    """Return what goes on."""
    finder = TextToolCallDetector(TOOLS, own_format)
    out: list[Delta] = []
    for delta in deltas:
        passes = isinstance(delta, TextDelta) and delta.text and finder.passes(delta.text)
        out += [delta] if passes else finder.feed([delta])
    return out + finder.close()


def _found(*deltas: Delta, own_format: str | None = None) -> tuple[str, Calls]:
    """Return the text and the calls that go on."""
    out = _deltas(*deltas, own_format=own_format)
    text = "".join(delta.text for delta in out if isinstance(delta, TextDelta))
    names = [delta.name for delta in out if isinstance(delta, ToolCallStart)]
    inputs = [json.loads(delta.fragment) for delta in out if isinstance(delta, ToolCallArguments)]
    return text, list(zip(names, inputs, strict=True))


def _in_pieces(text: str, piece: int | None) -> list[str]:
    return [text[at : at + piece] for at in range(0, len(text), piece)] if piece else [text]


def _detected(
    text: str, *, piece: int | None = None, end: Delta = STOP, own_format: str | None = None
) -> tuple[str, Calls]:
    return _found(*map(TextDelta, _in_pieces(text, piece)), end, own_format=own_format)


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
    "Qwen3-Coder, block never closed": (
        "<tool_call>\n<function=Bash>\n<parameter=command>\nls\n</parameter>\n</function>",
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
    "Llama 3.1, on lines": ('<function=Read>\n{"file_path": "a.txt"}\n</function>', [A]),
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
    "several in one block": (f"<tool_call>{READ}\n{LIST}</tool_call>", [A, LS]),
    "another format inside the block": (
        '<tool_call>\n<invoke name="Bash">\n<parameter name="command">ls</parameter>\n</invoke>\n</tool_call>',
        [LS],
    ),
    **{
        f"DSML {bar} {block}": (
            (
                f'<{bar}DSML{bar}{block}>\n<{bar}DSML{bar}invoke name="Read">\n'
                f'<{bar}DSML{bar}parameter name="file_path" string="true">a.txt</{bar}DSML{bar}parameter>\n'
                f'<{bar}DSML{bar}parameter name="limit" string="false">5</{bar}DSML{bar}parameter>\n'
                f'</{bar}DSML{bar}invoke>\n<{bar}DSML{bar}invoke name="CronList">\n</{bar}DSML{bar}invoke>\n'
                f"</{bar}DSML{bar}{block}>"
            ),
            [("Read", {"file_path": "a.txt", "limit": 5}), ("CronList", {})],
        )
        for bar in ("｜", "|", "｜｜", "||")
        for block in ("function_calls", "tool_calls")
    },
    "DeepSeek V4.1": (
        (
            '<｜DSML｜ calls>\n<｜DSML｜ invoke name="Bash">\n<｜DSML｜ parameter name="command" string="true">ls'
            "</｜DSML｜ parameter>\n</｜DSML｜ invoke>\n</｜DSML｜ calls>"
        ),
        [LS],
    ),
    "DSML, half a closing tag": (
        (
            '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="Bash">\n<｜DSML｜parameter name="command" string="true">'
            "echo hi 2>&1</｜DSML｜parameter\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>"
        ),
        [("Bash", {"command": "echo hi 2>&1"})],
    ),
    "DeepSeek V3 with tokens in ASCII": (
        (
            "<|tool_calls_begin|><|tool_call_begin|>function<|tool_sep|>Read\n```json\n"
            '{"file_path": "a.txt"}\n```<|tool_call_end|><|tool_calls_end|>'
        ),
        [A],
    ),
    "Gemma 4": (
        '<|tool_call>call:Read{file_path:<|"|>a.txt<|"|>,limit:5}<tool_call|>',
        [("Read", A[1] | {"limit": 5})],
    ),
    "Gemma 4, two": (
        '<|tool_call>call:Bash{command:<|"|>ls<|"|>}<tool_call|><|tool_call>call:CronList{}<tool_call|>',
        [LS, ("CronList", {})],
    ),
    "Gemma 4, never closed": (
        '<|tool_call>call:Bash{command:<|"|>ls<|"|>}\n<|tool_call>call:CronList{}',
        [LS, ("CronList", {})],
    ),
    "Gemma 4, braces in a value": (
        '<|tool_call>call:Bash{command:<|"|>f() { echo "a, b: c"; }<|"|>}<tool_call|>',
        [("Bash", {"command": 'f() { echo "a, b: c"; }'})],
    ),
    "FunctionGemma": ("<start_function_call>call:Bash{command:<escape>ls<escape>}<end_function_call>", [LS]),
    "MiniMax M3": (
        (
            ']<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name="Read">]<]minimax[>[<file_path>a.txt'
            "]<]minimax[>[</file_path>]<]minimax[>[</invoke>\n"
            ']<]minimax[>[<invoke name="CronList">\n]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>'
        ),
        [A, ("CronList", {})],
    ),
    "MiniMax M3, elements in a value": (
        (
            ']<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name="Write">]<]minimax[>[<content>'
            "]<]minimax[>[<item>]<]minimax[>[<a>1]<]minimax[>[</a>]<]minimax[>[<b>2]<]minimax[>[</b>]<]minimax[>[</item>"
            "]<]minimax[>[<item>x]<]minimax[>[</item>]<]minimax[>[</content>]<]minimax[>[</invoke>]<]minimax[>[</tool_call>"
        ),
        [("Write", {"content": [{"a": "1", "b": "2"}, "x"]})],
    ),
    "Seed-OSS": (
        "<seed:tool_call>\n<function=Bash>\n<parameter=command>ls</parameter>\n</function>\n</seed:tool_call>",
        [LS],
    ),
    "LFM2": ('<|tool_call_start|>[Bash(command="ls")]<|tool_call_end|>', [LS]),
    "LFM2, two": ("<|tool_call_start|>[Read(file_path='a.txt'), CronList()]<|tool_call_end|>", [A, ("CronList", {})]),
    "LFM2, lines and quotes in a value": (
        '<|tool_call_start|>[Bash(command="echo \\"a\\"\n(b)", timeout=5)]<|tool_call_end|>',
        [("Bash", {"command": 'echo "a"\n(b)', "timeout": 5})],
    ),
    "Llama 4": ('<|python_start|>[Bash(command="ls")]<|python_end|>', [LS]),
    "OLMo 3": ('<function_calls>\nBash(command="ls")\nCronList()\n</function_calls>', [LS, ("CronList", {})]),
    "Hunyuan": (f"<tool_calls>[{LIST}]</tool_calls>", [LS]),
    "Hunyuan V3": (
        (
            "<tool_calls><tool_call>Bash<tool_sep><arg_key>command</arg_key><arg_value>ls</arg_value></tool_call>"
            "</tool_calls>"
        ),
        [LS],
    ),
    "Chat Completions": (f'{{"tool_calls": [{LIST}]}}', [LS]),
    "GLM, a key without its opening": (
        "<tool_call>Bash\ncommand</arg_key>\n<arg_value>ls</arg_value>\n</tool_call>",
        [LS],
    ),
    "GLM, a key glued to the name": ("<tool_call>Bashcommand</arg_key><arg_value>ls</arg_value></tool_call>", [LS]),
    "GLM, another tag before the key": (
        "<tool_call>Bash<tool_call>command</arg_key><arg_value>ls</arg_value></tool_call>",
        [LS],
    ),
    "GLM, a value without its opening": ("<tool_call>Bash<arg_key>command</arg_key>ls</arg_value></tool_call>", [LS]),
    "GLM, a key closed twice": (
        "<tool_call>Bash<arg_key>command</arg_key></arg_key><arg_value>ls</arg_value></tool_call>",
        [LS],
    ),
    "GLM, a token left on the name": ("<tool_call>CronList</arg_value></tool_call>", [("CronList", {})]),
    "Kimi K3": (
        (
            '<|open|>tools<|sep|><|open|>call tool="Read" index="1"<|sep|><|open|>argument key="file_path" '
            'type="string"<|sep|>a.txt<|close|>argument<|sep|><|open|>argument key="limit" type="number"<|sep|>5'
            "<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|><|end_of_msg|>"
        ),
        [("Read", A[1] | {"limit": 5})],
    ),
    "Nemotron": (f"<TOOLCALL>[{LIST}]</TOOLCALL>", [LS]),
    "LongCat": (f"<longcat_tool_call>{LIST}</longcat_tool_call>", [LS]),
    "Command": (
        (
            '<|START_ACTION|>[\n {"tool_call_id": "0", "tool_name": "Bash", "parameters": {"command": "ls"}}\n]'
            "<|END_ACTION|>"
        ),
        [LS],
    ),
    "InternLM": ('<|action_start|><|plugin|>{"name": "Bash", "parameters": {"command": "ls"}}<|action_end|>', [LS]),
    "Granite": (f"<|tool_call|>[{READ}]", [A]),
    "Phi-4-mini, with tokens": (f"<|tool_calls|>[{READ}]<|/tool_calls|>", [A]),
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
    **{f"a fence of {kind}": (f"```{kind}\n{READ}\n```", [A]) for kind in ("tool_call", "text", "plaintext")},
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
    "a list under its name": (f'{{\n  "tool_calls": [{LIST}]\n}}', [LS]),
    "what an API answered": (
        '{"tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "Bash", "arguments": "{}"}}]}',
        [],
    ),
    "Python's notation": ('[Bash(command="ls"), CronList()]', [LS, ("CronList", {})]),
    "Python's notation, an undeclared property": ('[Bash(cmd="ls")]', []),
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


PHI = f"functools[{READ}, {LIST}]"

each_format = pytest.mark.parametrize(("text", "calls"), FORMATS.values(), ids=FORMATS)


@each_format
def test_a_call_is_read_in_each_format(text: str, calls: Calls) -> None:
    """It may follow text, and it does not matter how the text is cut."""
    assert _detected(text) == ("", calls)
    assert _detected(f"I'll have a look.\n\n{text}") == ("I'll have a look.\n\n", calls)
    assert _detected(f"I'll have a look.{text}") == ("I'll have a look.", calls)
    for piece in (1, 2, 3, 7):
        assert _detected(f"Now:\n{text}\n", piece=piece) == ("Now:\n", calls), f"in pieces of {piece}"


@pytest.mark.parametrize(("text", "calls"), BARE.values(), ids=BARE)
def test_json_that_is_the_whole_answer_is_read_by_its_shape(text: str, calls: Calls) -> None:
    for piece in (None, 1, 5):
        left, found = _detected(text, piece=piece)
        assert found == calls, f"in pieces of {piece}"
        assert left.strip() == ("" if calls else text)


def test_a_call_printed_as_text_is_reported() -> None:
    out = TextToolCallDetector(TOOLS).feed([TextDelta(READ), STOP])
    assert Repair("Read", "a call that was printed as text") in out


def test_calls_and_their_ends_come_before_the_finish() -> None:
    out = TextToolCallDetector(TOOLS).feed([TextDelta(READ), UsageReport(output_tokens=9), STOP])
    made = [type(delta) for delta in out if not isinstance(delta, Repair)]
    assert made == [UsageReport, ToolCallStart, ToolCallArguments, ToolCallEnd, Finish]


# --- what is no call --------------------------------------------------------------------------------------------


def _lines(text: str, before: str) -> str:
    return "\n".join(before + line for line in text.split("\n"))


SHOWN: dict[str, Callable[[str], str]] = {
    "in a fence": lambda text: f"It prints.\n\n```\n{text}\n```",
    "in a fence that names its language": lambda text: f"A call:\n```xml\n{text}\n```\nis a call.",
    "in a fence of tildes": lambda text: f"It prints.\n\n~~~\n{text}\n~~~",
    "in a fence inside a longer one": lambda text: f"It prints.\n\n````\n```\n{text}\n```\n````",
    "indented": lambda text: "It prints.\n\n" + _lines(text, "    "),
    "quoted": lambda text: "He wrote.\n\n" + _lines(text, "> "),
    "in a difference": lambda text: "diff --git a/x b/x\n@@ -1 +1 @@\n" + _lines(text, "+"),
    "inline code": lambda text: f"Models print `{text}`",
    "in quotation marks": lambda text: f'x = "{text}"',
    "in JSON": lambda text: json.dumps({"text": text}),
    "in a sentence": lambda text: f"They print {text}",
    "in a sentence that goes on": lambda text: f"They print {text} at the end.",
    "the beginning of a sentence": lambda text: f"{text} is how it prints.",
    "behind a colon and a blank line": lambda text: f"Write it like this:\n\n{text}",
    "behind a colon and a space": lambda text: f"So: {text}",
    "behind a full-width colon and a blank line": lambda text: f"このように書きます\uff1a\n\n{text}",
    "an item of a list": lambda text: f"1. {text}",
    "an item without a number": lambda text: f"- {text}",
    "a comment": lambda text: f"# {text}",
    "a cell of a table": lambda text: f"| a | {text} |",
    "a line of a log": lambda text: f"10:04 model: {text}",
    "in a transcript": lambda text: f"User: list the files\nAssistant: {text}",
    "in HTML": lambda text: f"<pre>{text}</pre>",
}


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_what_is_shown_is_no_call(show: Callable[[str], str]) -> None:
    for text, _ in FORMATS.values():
        for piece in (None, 3):
            assert _detected(show(text), piece=piece) == (show(text), [])


FOLLOWED = {name for name in FORMATS if name.startswith("LFM2")}


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - FOLLOWED))
def test_a_call_with_text_behind_it_is_no_call(name: str) -> None:
    for text in (f"{FORMATS[name][0]}\n\nThat is how it is done.", f"So.\n{FORMATS[name][0]}\nThat is it."):
        for piece in (None, 3):
            assert _detected(text, piece=piece) == (text, [])


@pytest.mark.parametrize("name", sorted(FOLLOWED))
@pytest.mark.parametrize("behind", ["I look.", "\n\nI look.\n"])
def test_a_model_that_goes_on_behind_its_calls_means_them(name: str, behind: str) -> None:
    text, calls = FORMATS[name]
    for piece in (None, 1, 7):
        left, found = _detected(f"So.\n{text}{behind}", piece=piece)
        assert (left.split(), found) == (["So.", "I", "look."], calls)


NO_CALLS = [
    *("A call:\n\n```json\n" + text + "\n```\n" for text, _ in BARE.values()),
    *(text + "\nDone." for text, _ in BARE.values()),
    *("So: " + text for text, _ in BARE.values()),
    f"{READ}\n[",
    *(_with_unknown_names(text) for text, _ in FORMATS.values()),
    f"Models print `<tool_call>{READ}</tool_call>`",
    f"They print <tool_call>{READ}</tool_call>",
    f'The token "[TOOL_CALLS]" comes first, then `[TOOL_CALLS][{READ}]',
    FORMATS["DeepSeek V3"][0].replace('{"file_path": "a.txt"}', '["a.txt"]'),
]


@pytest.mark.parametrize("piece", [None, 3])
def test_what_is_no_call_comes_out_as_it_came(piece: int | None) -> None:
    for text in NO_CALLS:
        assert _detected(text, piece=piece) == (text, [])


# --- calls between text -----------------------------------------------------------------------------------------

TAGGED, OTHER = f"<tool_call>{READ}</tool_call>", f"<tool_call>{LIST}</tool_call>"


@pytest.mark.parametrize("piece", [None, 1, 3, 7])
def test_text_may_stand_between_the_calls_with_which_an_answer_ends(piece: int | None) -> None:
    output = f"First this.\n{TAGGED}\nThen the other:\n{OTHER}\n"
    out = _deltas(*(TextDelta(part) for part in _in_pieces(output, piece)), STOP)
    kinds = [delta.name if isinstance(delta, ToolCallStart) else type(delta) for delta in out]
    assert [kind for kind, _ in groupby(kinds) if isinstance(kind, str) or kind is TextDelta] == [
        TextDelta,
        "Read",
        TextDelta,
        "Bash",
    ]
    assert "".join(delta.text for delta in out if isinstance(delta, TextDelta)).split() == [
        *("First", "this.", "Then", "the", "other:")
    ]
    assert [delta.key for delta in out if isinstance(delta, ToolCallStart)] == [0, 1]


@pytest.mark.parametrize(
    ("output", "calls"),
    [
        (f"{TAGGED}\nThen.\n{OTHER}\nDone.", []),
        (f"{TAGGED} is one,\n{OTHER} the other.", []),
        (f"{TAGGED} is one.\n{OTHER}", [LS]),
        (f"{TAGGED}\nOr, in a fence:\n```\n{OTHER}\n```", []),
        (f"{TAGGED}\nThen half a call.\n{OTHER[:40]}", []),
        (f"{TAGGED}\n{'So. ' * 600}\n{OTHER}", [LS]),
        (f"```xml\n{TAGGED}\n```\nThen.\n{OTHER}", [LS]),
        (f"Models print `So. {TAGGED}`.\n{OTHER}", []),
        (f"In a fence:\n````\n```\n{TAGGED}\n````\n{OTHER}", []),
    ],
    ids=[
        *("text at the end", "a sentence", "half a sentence", "shown", "half a call at the end", "much text between"),
        *("a fence around the first", "shown in a sentence", "shown in a fence inside a longer one"),
    ],
)
def test_calls_between_text_count_only_where_the_answer_ends_with_one(output: str, calls: Calls) -> None:
    for piece in (None, 3):
        left, found = _detected(output, piece=piece)
        assert found == calls
        assert left.strip() == (output.removesuffix(OTHER).strip() if calls else output)


@pytest.mark.parametrize(
    "before",
    [
        *(
            "Let me see:\n",
            "Let me see.\n\n",
            "Ich sehe nach\n",
            *(f"Hm{end} " for end in ".!?…\u3002\uff01\uff1f\u0964\u061f"),
        ),
        *("So:\n```\nx\n```\n", "So:\n```\nx\n  ```\n", '{ "a" } and {"tool_calls": 1} are JSON.\n'),
    ],
)
def test_a_call_may_stand_on_the_next_line_behind_a_sentence_or_a_colon(before: str) -> None:
    assert _detected(before + TAGGED) == (before, [A])


def test_a_token_may_stand_right_behind_a_word_or_a_colon() -> None:
    for before in ("I look", "I look:", "I look:\n"):
        assert _detected(f"{before}[TOOL_CALLS][{READ}]") == (before, [A])


def test_a_blank_line_behind_a_colon_is_meant_by_a_model_whose_template_puts_it_there() -> None:
    output = f"I look:\n\n{FORMATS['DSML ｜ tool_calls'][0]}"
    assert _detected(output) == (output, [])
    assert _detected(output, own_format="DSML") == ("I look:\n\n", FORMATS["DSML ｜ tool_calls"][1])
    for own_format in ("DSML", "Hermes"):
        assert _detected(f"I look:\n\n{TAGGED}", own_format=own_format) == (f"I look:\n\n{TAGGED}", [])


@pytest.mark.parametrize(
    "call",
    [
        "<function=Bash>\n<parameter=command>\nls\n</parameter>\n</function>",
        '<invoke name="Bash">\n<parameter name="command">ls</parameter>\n</invoke>',
    ],
)
def test_parameters_whose_block_was_neither_opened_nor_closed_are_a_call_only_without_text(call: str) -> None:
    assert _detected(call) == ("", [LS])
    assert _detected(f"So it is.\n{call}") == (f"So it is.\n{call}", [])


# --- calls that were cut off ------------------------------------------------------------------------------------


@each_format
def test_half_a_call_is_text_again(text: str, calls: Calls) -> None:
    for length in range(1, len(text)):
        left, found = _detected(text[:length])
        assert found in ([], calls[: len(found)]), "never one that was not whole"
        assert left == text[:length] if not found else left == ""


@pytest.mark.parametrize("end", [Finish(FinishReason.LENGTH), Finish(FinishReason.REFUSAL)])
def test_a_call_in_an_answer_that_was_cut_off_stays_text(end: Delta) -> None:
    text, _ = FORMATS["Hermes"]
    assert _detected(text, end=end) == (text, [])


def test_a_call_in_an_answer_that_broke_off_stays_text() -> None:
    text, _ = FORMATS["Hermes"]
    assert _found(TextDelta(text)) == (text, [])
    assert _found(TextDelta(text), Failure(UpstreamBrokenError("gone"))) == (text, [])


@pytest.mark.parametrize(
    "cut",
    [
        '<tool_call>{"name": "Bash", "arguments": {"command": "rm -rf /home/me/project/bui',
        '<tool_call>{"name": "Bash", "arguments": {"command": "rm -rf /home/me/project/bui</tool_call>',
        "<tool_call>\n<function=Bash>\n<parameter=command>\nrm -rf /home/me/project/bui",
        "<tool_call>\n<function=Bash>\n<parameter=command>\nrm -rf /home/me/project/bui\n</parameter>",
        "<tool_call>Bash<arg_key>command</arg_key><arg_value>rm -rf /home/me/project/bui",
        '<｜DSML｜tool_calls><｜DSML｜invoke name="Bash"><｜DSML｜parameter name="command" string="true">rm -rf /bui',
        '<|tool_call>call:Bash{command:<|"|>rm -rf /home/me/project/bui',
        '<|tool_call>call:Bash{command:<|"|>rm -rf /home/me/project/bui<tool_call|>',
        '<|tool_call_start|>[Bash(command="rm -rf /home/me/project/bui',
        '<|tool_call_start|>[Bash(command="rm -rf /home/me/project/bui)]<|tool_call_end|>',
        '{"name": "Bash", "arguments": {"command": "rm -rf /home/me/project/bui',
        '{"name": "Bash", "arguments": {"command": "rm -rf /home/me/project/bui}}',
    ],
)
def test_a_call_whose_text_is_open_is_never_made_whole(cut: str) -> None:
    for piece in (None, 3):
        assert _detected(cut, piece=piece) == (cut, [])
        for mark in ("<tool_call>", "<|tool_call>", "<|tool_call_start|>", "<｜DSML｜tool_calls>"):
            again = next((text for text, _ in FORMATS.values() if text.startswith(mark) and cut.startswith(mark)), "")
            left, found = _detected(f"{cut}\n{again}", piece=piece)
            assert "rm -rf" in left, "what was cut off stays text"
            assert not any("rm" in str(given) for _, given in found)


def test_a_second_try_behind_a_call_that_was_cut_off_is_found() -> None:
    for cut in (
        '<tool_call>{"name": "Bash", "arguments": {"command": "rm -rf /bui\n',
        "<tool_call>{'name': 'Bash', 'arguments': {'timeout': 5\n",
        "<tool_call>\n<function=Bash>\n<parameter=command>\nrm -rf /bui\n",
        "<tool_call>Bash<arg_key>command</arg_key><arg_value>rm -rf /bui\n",
    ):
        for piece in (None, 1):
            assert _detected(cut + TAGGED, piece=piece) == (cut, [A])
    cut = '<|tool_call_start|>[Bash(command="rm -rf /bui\n'
    assert _detected(cut + FORMATS["LFM2"][0]) == (cut, [LS])


def test_a_file_that_is_written_may_hold_marks() -> None:
    content = "Use `<tool_call>` and </tool_call>, or <parameter=x>."
    output = f"<tool_call>\n<function=Write>\n<parameter=content>\n{content}\n</parameter>\n</function>\n</tool_call>"
    assert _detected(output) == ("", [("Write", {"content": content})])


# --- limits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [None, 50_000])
def test_text_that_is_too_long_for_a_call_goes_out_as_text_and_is_reported(piece: int | None) -> None:
    output = '<tool_call>{"name": "Write", "arguments": {"content": "' + "é" * MAX_HELD_CHARS
    out = _deltas(*map(TextDelta, _in_pieces(output, piece)), TextDelta(f"\n{TAGGED}"), STOP)
    assert "".join(delta.text for delta in out if isinstance(delta, TextDelta)) == f"{output}\n{TAGGED}"
    (repair,) = [delta for delta in out if isinstance(delta, Repair)]
    assert "524,288 characters" in repair.what
    assert not any(isinstance(delta, ToolCallStart) for delta in out), "no call begins in such an answer"


def test_text_goes_out_as_soon_as_it_is_too_long() -> None:
    finder = TextToolCallDetector(TOOLS)
    begun = '<tool_call>{"name": "Write", "arguments": {"content": "'
    assert finder.feed([TextDelta(begun + "a" * (MAX_HELD_CHARS - len(begun)))]) == []
    assert [type(delta) for delta in finder.feed([TextDelta("b")])] == [Repair, TextDelta, TextDelta]


def test_an_answer_of_more_calls_than_anybody_makes_is_text() -> None:
    call = '<tool_call>{"name": "CronList"}</tool_call>'
    assert len(_detected(call * MAX_CALLS)[1]) == MAX_CALLS
    assert _detected(call * (MAX_CALLS + 1)) == (call * (MAX_CALLS + 1), [])


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
        ("Now.\n[TOOL_CALLS]Grep{a", ""),
        ("Now.\n[TOOL_CALLS]Read[ARGS]{'", ""),
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
        ("a\n```json\n{", ""),
        ("Now.\n{", "{"),
        ('Now.\n{"tool_calls": [', '{"tool_calls": ['),
        ('Now.\n{"name', ""),
        ("a ]<", "]<"),
        ("a ] ", ""),
        (f"{READ}\nSo", ""),
    ],
)
def test_text_is_held_back_no_longer_than_needed_to_decide(text: str, held: str) -> None:
    finder = TextToolCallDetector(TOOLS)
    out = [delta for letter in text for delta in finder.feed([TextDelta(letter)])]
    output = "".join(delta.text for delta in out if isinstance(delta, TextDelta))
    assert output == text.removesuffix(held)


_words = st.sampled_from([
    "<tool_call>", "</tool_call>", READ, LIST, "<function=Bash>", "<parameter=command>", "ls", "</parameter>", "`",
    "</function>", "[TOOL_CALLS]", "[", "{", "}", "]", '"name"', ":", "\n", " ", "So.", "```", "json", "Read", "<",
    "<|python_tag|>", "<|channel|>", "commentary to=functions.Read", "<|message|>", '{"file_path": "a"}', ";", "é",
    "<|tool_call_begin|>", "functions.Bash:1", "<|tool_call_argument_begin|>", "<|tool_call_end|>", "<invoke",
    ' name="Read">', "</invoke>", "<arg_key>command</arg_key>", "<arg_value>ls</arg_value>", "<｜tool▁sep｜>",
])  # fmt: skip
_texts = st.lists(_words, max_size=14).map("".join)


@given(_texts, st.lists(st.integers(0, 400), max_size=8))
@examples(500)
def test_any_text_is_read_alike_however_it_is_cut(text: str, places: list[int]) -> None:
    cuts = sorted({0, *(place % (len(text) + 1) for place in places), len(text)})
    pieces = [TextDelta(text[start:end]) for start, end in pairwise(cuts)]
    assert _found(*pieces, STOP) == _detected(text)


@given(_texts)
@examples(500)
def test_no_text_gets_lost_where_no_call_was_found(text: str) -> None:
    left, calls = _detected(text, piece=2)
    assert text.startswith(left)
    assert left == text or calls
    assert _found(TextDelta(text)) == (text, [])


BOMBS: dict[str, Callable[[int], str]] = {
    "openings": lambda n: "<tool_call>" * (n // 11),
    "calls in sentences": lambda n: f"<tool_call>{READ}</tool_call> x\n" * (n // 70),
    "calls that are never closed": lambda n: f"<tool_call>{READ}" * (n // 60) + "x",
    "calls between text": lambda n: f"<tool_call>{READ}</tool_call>\nAnd.\n" * (n // 75),
    "closings": lambda n: f"<tool_call>{READ}" + "</tool_call>" * (n // 12),
    "malformed, with closings": lambda n: '<tool_call>{"name": "Read", "a": "a"b' + "</tool_call>" * 4 + "}" * n,
    "malformed, with closings without end": lambda n: (
        '<tool_call>{"name": "Read", "a": "a"b' + "}</tool_call>" * (n // 13)
    ),
    "malformed": lambda n: '<tool_call>{"name":"Read","arguments":{"file_path":"a"b' + "}" * n,
    "single quotes": lambda n: "<tool_call>{'name': 'Read', 'arguments': {'a': 'a</tool_call>" + "'b" * (n // 2),
    "numbers": lambda n: '<tool_call>{"name":"Read","arguments":{"file_path":[' + "0," * (n // 2),
    "backslashes": lambda n: '<tool_call>{"name":"Read","arguments":{"file_path":"' + "\\" * n,
    "brackets": lambda n: "[" * n,
    "brackets in an input": lambda n: '{"name": "Read", "arguments": ' + "[" * n,
    "a text that may be JSON": lambda n: '{"name": "Read", "arguments": {"file_path": "' + "x}" * (n // 2),
    "fences": lambda n: "```\n" * (n // 4),
    "marks of Mistral": lambda n: "[TOOL_CALLS][" * (n // 13),
    "marks of harmony": lambda n: "<|channel|>" * (n // 11),
    "marks of MiniMax M3": lambda n: "]<]minimax[>[" * (n // 13),
    "marks of Kimi": lambda n: "<|tool_call_begin|>functions.Read:0<|tool_call_argument_begin|>" * (n // 60),
    "functions": lambda n: "<function=Read>" * (n // 15),
    "invocations": lambda n: '<invoke name="Read"><parameter name="a">' * (n // 40),
    "half marks": lambda n: "<" * n,
    "ends of a value": lambda n: "<tool_call>\n<function=Bash>\n<parameter=command>\n" + "</parameter>\n" * (n // 13),
    "parameters": lambda n: "<tool_call>\n<function=Bash>\n" + "<parameter=a>\nls\n</parameter>\n" * (n // 30),
    "GLM's pairs": lambda n: "<tool_call>Bash" + "<arg_key>a</arg_key><arg_value>ls</arg_value>" * (n // 45),
    "GLM's closings": lambda n: "<tool_call>Bash" + "</arg_key>" * (n // 10),
    "elements in elements": lambda n: (
        ']<]minimax[>[<tool_call>]<]minimax[>[<invoke name="Read">' + "]<]minimax[>[<a>" * (n // 16)
    ),
    "calls in Python": lambda n: '<|tool_call_start|>[Bash(command="' * (n // 34),
    "backslashes in Python": lambda n: "<|tool_call_start|>[Bash(command=" + '\\"' * (n // 2) + "<|tool_call_end|>",
    "quotes in Python": lambda n: "<|tool_call_start|>[Bash(command=" + "'\"" * (n // 2) + "<|tool_call_end|>",
    "strings of Gemma": lambda n: "<|tool_call>call:Read{file_path:" + '<|"|>' * (n // 5) + "<tool_call|>",
    "words of Gemma": lambda n: "<|tool_call>call:Read{" + "a " * (n // 2) + "<tool_call|>",
    "white space": lambda n: "<tool_call>" + " " * n,
    "a name without end": lambda n: "<tool_call>" + "R" * n,
    "lists": lambda n: '{"tool_calls":' * (n // 14),
    "lists in one line": lambda n: "So `" + 'x.{"tool_calls":' * (n // 16),
    "code": lambda n: "if (a < b) { c[0] = d; }\n" * (n // 24),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("piece", [8, None], ids=["in pieces", "at once"])
def test_time_grows_no_faster_than_the_text(bomb: Callable[[int], str], piece: int | None) -> None:
    def work(size: int) -> Callable[[], object]:
        pieces: list[list[Delta]] = [[TextDelta(part)] for part in _in_pieces(bomb(size), piece)]
        detector = TextToolCallDetector(TOOLS)
        pieces.append([STOP])
        return lambda: [detector.feed(deltas) for deltas in pieces]

    assert_linear(work, 80_000)


@pytest.mark.parametrize("piece", [None, 1, 3])
def test_a_word_opens_calls_where_the_answer_begins_or_the_model_writes_so(piece: int | None) -> None:
    assert _detected(PHI, piece=piece) == ("", [A, LS])
    for text in ("I look.\n", "I look. ", "Of it:\nf\n"):
        assert _detected(text + PHI, piece=piece, own_format="Phi-4-mini") == (text, [A, LS])
        assert _detected(text + PHI, piece=piece) == (text + PHI, [])
    for text in ("functools is a module.", "It calls functools[0] of functools.", "See `" + PHI + "`."):
        assert _detected(text, piece=piece, own_format="Phi-4-mini") == (text, [])
