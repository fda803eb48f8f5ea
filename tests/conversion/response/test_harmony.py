"""Harmony's channels as gpt-oss prints them: thinking, text and calls, wherever the text is cut."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from claude_bridge.adapters.engine_profiles import UNKNOWN, profile_for
from claude_bridge.conversion.deltas import (
    Delta,
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
from claude_bridge.conversion.response.harmony import HarmonyReader
from claude_bridge.wire.anthropic import (
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolUseBlock,
)
from tests.dialogues import a_request, answer_to, chunk, folded, sse

TOOLS = [Tool(name, input_schema=Raw(b"{}")) for name in ("Bash", "Read", "mcp__git__log")]
STOP = Finish(FinishReason.STOP)

START = "<|start|>assistant"
LIST = '<|channel|>commentary to=functions.Bash <|constrain|>json<|message|>{"command":"ls"}'

ModelOutput = list[tuple[str, str]]
"""What comes out, in its order: the kind, and the text of it."""


def _output_text(*deltas: Delta, tools: list[Tool] = TOOLS) -> ModelOutput:
    reader = HarmonyReader(tools)
    out = [one for delta in deltas for one in reader.feed([delta])] + reader.close()
    out = [one for one in out if not isinstance(one, UsageReport | Repair)]
    return [(kind, "".join(text for _, text in group)) for kind, group in groupby(map(_kind, out), lambda one: one[0])]


def _kind(delta: Delta) -> tuple[str, str]:
    match delta:
        case TextDelta(text):
            return "text", text
        case ThinkingDelta(text):
            return "thought", text
        case ToolCallStart(key, name):
            return "call", f"{key} {name}"
        case ToolCallArguments(_, fragment):
            return "input", fragment
        case ToolCallEnd(key):
            return "end", str(key)
        case _:
            return type(delta).__name__, ""


ANSWERS: dict[str, tuple[str, ModelOutput]] = {
    "a thought and a call": (
        f"<|channel|>analysis<|message|>We need to list.<|end|>{START}{LIST}<|call|>",
        [("thought", "We need to list."), ("call", "0 Bash"), ("input", '{"command":"ls"}'), ("end", "0")],
    ),
    "a call whose end the engine keeps": (LIST, [("call", "0 Bash"), ("input", '{"command":"ls"}')]),
    "the answer": ("<|channel|>final<|message|>four", [("text", "four")]),
    "a last token that was left": ("four<|return|>", [("text", "four")]),
    "an engine that took the first header": (
        f"four<|end|>{START}<|channel|>final<|message|>five",
        [("text", "fourfive")],
    ),
    "a second analysis": (
        (
            f"<|channel|>analysis<|message|>One.<|end|>{START}<|channel|>analysis<|message|>Two.<|end|>"
            f"{START}<|channel|>final<|message|>four<|return|>"
        ),
        [("thought", "One.Two."), ("text", "four")],
    ),
    "a preamble": (
        f"<|channel|>commentary<|message|>I look.<|end|>{START}{LIST}<|call|>",
        [("text", "I look."), ("call", "0 Bash"), ("input", '{"command":"ls"}'), ("end", "0")],
    ),
    "a recipient in the role": (
        f'{START} to=functions.Read<|channel|>commentary json<|message|>{{"file_path":"a"}}<|call|>',
        [("call", "0 Read"), ("input", '{"file_path":"a"}'), ("end", "0")],
    ),
    "a call in the channel of thoughts": (
        '<|channel|>analysis to=functions.Read code<|message|>{"file_path":"a"}<|call|>',
        [("call", "0 Read"), ("input", '{"file_path":"a"}'), ("end", "0")],
    ),
    "a recipient without its namespace": (
        "<|channel|>commentary to=Bash<|message|>{}<|call|>",
        [("call", "0 Bash"), ("input", "{}"), ("end", "0")],
    ),
    "two calls": (
        f"{LIST}<|call|>{START}{LIST}<|call|>",
        [
            *[("call", "0 Bash"), ("input", '{"command":"ls"}'), ("end", "0")],
            *[("call", "1 Bash"), ("input", '{"command":"ls"}'), ("end", "1")],
        ],
    ),
    "a channel behind an end, without a start": (
        "<|channel|>analysis<|message|>Hm.<|end|><|channel|>final<|message|>four",
        [("thought", "Hm."), ("text", "four")],
    ),
    "a role whose start the engine keeps": (
        "<|channel|>analysis<|message|>Hm.<|end|>assistant<|channel|>final<|message|>four",
        [("thought", "Hm."), ("text", "four")],
    ),
    "a stray channel before": (
        "<|channel|>commentary to=assistant<|channel|>analysis<|message|>Hm.<|end|>",
        [("thought", "Hm.")],
    ),
    "a constrained answer": ('<|channel|>final <|constrain|>json<|message|>{"a":1}<|return|>', [("text", '{"a":1}')]),
    "a tool that nobody declared": (
        "<|channel|>commentary to=python<|message|>{}<|call|>",
        [("call", "0 python"), ("input", "{}"), ("end", "0")],
    ),
    "plain text": ("a < b, and <|this|> too", [("text", "a < b, and <|this|> too")]),
    "a token that the answer is about": (
        '<|channel|>final<|message|>The token `<|channel|>` opens a channel, "<|end|>" ends it.',
        [("text", 'The token `<|channel|>` opens a channel, "<|end|>" ends it.')],
    ),
    "an answer about the tokens": (
        "The <|channel|> token comes before the <|message|> token; <|start|> is first of all.",
        [("text", "The <|channel|> token comes before the <|message|> token; <|start|> is first of all.")],
    ),
    "an answer that ends with a token": ("It ends with <|channel|>", [("text", "It ends with ")]),
    "half a token at the end": ("four<|ret", [("text", "four<|ret")]),
    "half a header at the end": (f"four<|end|>{START}<|channel|>fin", [("text", "four")]),
    "a call without arguments": (
        "<|channel|>commentary to=functions.Bash<|message|><|call|>",
        [("call", "0 Bash"), ("end", "0")],
    ),
    "a call that was cut off before its arguments": (
        "four<|end|><|channel|>commentary to=Bash<|message|>",
        [("text", "four")],
    ),
    "no tokens": (
        "analysisWe need to list.assistantfinalfour",
        [("thought", "We need to list."), ("text", "four")],
    ),
    "no tokens, a call": (
        'analysisWe list.assistantcommentary to=functions.Bash json{"command":"ls"}',
        [("thought", "We list."), ("call", "0 Bash"), ("input", '{"command":"ls"}')],
    ),
    "no tokens, a call behind a preamble": (
        'assistantcommentaryI look.assistantcommentary to=functions.Bash code{"command":"ls"}',
        [("text", "I look."), ("call", "0 Bash"), ("input", '{"command":"ls"}')],
    ),
    "no tokens, a call first": (
        'commentary to=Read json{"file_path":"assistant"}',
        [("call", "0 Read"), ("input", '{"file_path":"assistant"}')],
    ),
    "no tokens, nothing but the answer": ("finalFour is the answer.", [("text", "Four is the answer.")]),
    "no tokens, the role at the end": ("analysisHm, the assistant", [("thought", "Hm, the assistant")]),
    "words that headers begin with": ("finally, the assistant ends.", [("text", "finally, the assistant ends.")]),
    "a word of a header": ("analysis of the log: all is well.", [("text", "analysis of the log: all is well.")]),
    "a role that ends a text": ("I am your assistantfinal", [("text", "I am your assistantfinal")]),
    "text behind the end": ("four<|end|> five", [("text", "four five")]),
    "a header without end": ("<|channel|>" + "a" * 600, [("text", "<|channel|>" + "a" * 600)]),
}

each_answer = pytest.mark.parametrize(("text", "output"), ANSWERS.values(), ids=ANSWERS)


@each_answer
def test_each_message_is_what_its_channel_says(text: str, output: ModelOutput) -> None:
    assert _output_text(TextDelta(text)) == output


@each_answer
def test_how_the_text_is_cut_changes_nothing(text: str, output: ModelOutput) -> None:
    assert _output_text(*map(TextDelta, text)) == output
    for at in range(len(text)):
        assert _output_text(TextDelta(text[:at]), UsageReport(), TextDelta(text[at:])) == output


def test_calls_are_reported() -> None:
    assert Repair("Bash", "a call that was printed as text") in HarmonyReader(TOOLS).feed([TextDelta(LIST)])


def test_a_call_that_was_cut_off_before_its_arguments_is_reported() -> None:
    reader = HarmonyReader(TOOLS)
    assert reader.feed([TextDelta("<|channel|>commentary to=Bash<|message|>")]) == []
    assert reader.close() == [Repair("Bash", "a call that was cut off before its arguments was left out")]


def test_where_no_tool_may_be_called_a_message_to_one_is_text() -> None:
    assert _output_text(TextDelta(LIST + "<|call|>"), tools=[]) == [("text", '{"command":"ls"}')]


def test_thoughts_and_calls_of_the_engine_itself_pass() -> None:
    deltas: list[Delta] = [ThinkingDelta("Hm."), TextDelta("four"), ToolCallStart(0, "Bash"), STOP]
    reader = HarmonyReader(TOOLS)
    assert reader.feed(deltas) == deltas


@given(st.lists(st.sampled_from(["<|start|>", "assistant", "<|channel|>", "final", "analysis", "<|message|>", "Hm.",
    "<|end|>", "<|call|>", " to=functions.Bash", "{}", "<|", "|>", "`", "\n"]), max_size=12))  # fmt: skip
def test_any_text_is_read_alike_however_it_is_cut(words: list[str]) -> None:
    text = "".join(words)
    assert _output_text(*map(TextDelta, text), STOP) == _output_text(TextDelta(text), STOP)


# --- through the whole answer -----------------------------------------------------------------------------------

GPT_OSS = profile_for(UNKNOWN, "openai/gpt-oss-20b")
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
REQUEST = a_request(tools=[{"name": "Bash", "input_schema": SCHEMA}])


def _content(text: str, finish: str = "stop") -> list[Any]:
    pieces = [chunk(content=text[at : at + 3]) for at in range(0, len(text), 3)]
    message = folded(answer_to([sse(*pieces, chunk(finish))], REQUEST, profile=GPT_OSS).events)
    content: list[Any] = []
    for block in message.content:
        match block:
            case ThinkingBlock(text):
                content.append(("thought", text))
            case TextBlock(text):
                content.append(text)
            case ToolUseBlock():
                content.append((block.name, msgspec.json.decode(block.input)))
    return content


def test_gpt_oss_without_a_parser_thinks_and_calls() -> None:
    output = f"<|channel|>analysis<|message|>We need to list.<|end|>{START}{LIST}<|call|>"
    assert _content(output) == [("thought", "We need to list."), ("Bash", {"command": "ls"})]


def test_a_call_that_the_limit_cut_is_never_made_whole() -> None:
    half = '{"command":"rm -rf /home/me/bui'
    for reason in ("length", "stop"):
        content = _content("<|channel|>commentary to=functions.Bash <|constrain|>json<|message|>" + half, reason)
        assert content == [("Bash", {"__unparsedToolInput": {"raw": half, "len": len(half)}})]
