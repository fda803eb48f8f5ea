"""The formats in which models print tool calls as text: each is read where it stands, as far as it has come.

The formats are those of the chat templates; vLLM's and SGLang's tool parsers and llama.cpp's chat parser read them
too. Here they are read where an engine did not: its parser is switched off, or the model forgot a token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from claude_bridge.conversion.tool_calls.text_json import (
    NO_CALL,
    UNFINISHED,
    PrintedCall,
    Read,
    Verdict,
    json_at,
    read_objects,
)
from claude_bridge.conversion.tool_json.text import Json
from claude_bridge.conversion.tool_names import called_tool
from claude_bridge.wire.anthropic import Tool

Reader = Callable[[str, int, Sequence[Tool]], Read | Verdict]
"""Reads the call that should stand at a place of the text, behind what opens it; knows the declared tools."""

_MAX_HEADER_CHARS = 200

_SPACE = re.compile(r"\s*")
_FENCE = re.compile(r"```(?:json)?\s*")
_NAME = re.compile(r"[\w.:/-]+")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_CALL_ID = re.compile(r"\[CALL_ID\][^\[{]*")
_INVOKE_NAME = re.compile(r"""\s*name=["']([^"'>\n]+)["']\s*>""")
_QWEN_PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>")
_INVOKE_PARAMETER = re.compile(r"""\s*<parameter name=["']([^"'>\n]+)["'][^>\n]*>""")
_PARAMETER_END = re.compile(r"</parameter>(?=\s*(?:<parameter[= ]|</function>|</invoke>|</tool_call>))")
_GLM_PAIR = re.compile(r"\s*<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)


# --- the formats ----------------------------------------------------------------------------------------------


def _read_tagged(text: str, at: int, tools: Sequence[Tool], *, closer: str) -> Read | Verdict:
    """Hermes, Qwen: ``<tool_call>{"name": …}``; Qwen3-Coder: a function inside; GLM: ``<tool_call>name<arg_key>``."""
    at = _skip_space(text, at)
    if text[at : at + 1] in ("{", "["):
        return read_objects(text, at, tools, closer)
    for opening, reader in (("<function=", _read_function), ("<invoke", _read_invoke)):
        if text.startswith(opening, at):
            return reader(text, at + len(opening), tools)
        if opening.startswith(text[at:]):
            return UNFINISHED
    return _read_glm(text, at, tools)


def _read_function(text: str, at: int, tools: Sequence[Tool]) -> Read | Verdict:
    """Llama 3.1: ``<function=name>{…}</function>``; Qwen3-Coder: parameters in place of the JSON."""
    name = _name_at(text, at, tools)
    if isinstance(name, Verdict):
        return name
    at = _skip_space(text, at + len(name.said))
    is_closed = text[at : at + 1] == ">"
    at = _skip_space(text, at + is_closed)
    if text[at : at + 1] == "{":
        return _read_input(text, at, name, closer="</function>")  # Groq's models leave the bracket out
    if not is_closed:
        return NO_CALL if text[at:] else UNFINISHED
    return _read_parameters(text, at, name, _QWEN_PARAMETER, "<parameter=")


def _read_invoke(text: str, at: int, tools: Sequence[Tool]) -> Read | Verdict:
    """MiniMax, and Anthropic's old prompts: ``<invoke name="…"><parameter name="…">…``."""
    head = _INVOKE_NAME.match(text, at)
    if head is None:
        return UNFINISHED if ">" not in text[at:] and len(text) - at < _MAX_HEADER_CHARS else NO_CALL
    tool = called_tool(head[1], tools)
    if tool is None:
        return NO_CALL
    return _read_parameters(text, head.end(), _Name(tool.name, head[1]), _INVOKE_PARAMETER, "<parameter name=")


def _read_glm(text: str, at: int, tools: Sequence[Tool]) -> Read | Verdict:
    name = _name_at(text, at, tools)
    if isinstance(name, Verdict):
        return name
    at += len(name.said)
    given: dict[str, Json] = {}
    while pair := _GLM_PAIR.match(text, at):
        given[pair[1].strip()] = pair[2]
        at = pair.end()
    at = _skip_space(text, at)
    if text.startswith("</tool_call>", at):
        return Read([PrintedCall(name.declared, given)], at)
    return _expected(text, at, "</tool_call>", "<arg_key>")


def _read_mistral(text: str, at: int, tools: Sequence[Tool]) -> Read | Verdict:
    """``[TOOL_CALLS][{"name": …}]``; since v11 ``[TOOL_CALLS]name[ARGS]{…}``, with or without ids between."""
    at = _skip_space(text, at)
    if text[at : at + 1] in ("{", "["):
        return read_objects(text, at, tools)
    name = _name_at(text, at, tools)
    if isinstance(name, Verdict):
        return name
    at += len(name.said)
    if call_id := _CALL_ID.match(text, at):
        at = call_id.end()
    if text.startswith("[ARGS]", at):
        at += len("[ARGS]")
    at = _skip_space(text, at)
    return _read_input(text, at, name) if text[at : at + 1] == "{" else _expected(text, at, "[ARGS]", "[CALL_ID]")


def read_marked_objects(text: str, at: int, tools: Sequence[Tool]) -> Read | Verdict:
    """Llama 3: ``<|python_tag|>{"name": …, "parameters": {…}}``; Granite, Phi-4: ``<|tool_call|>[{"name": …}]``."""
    at = _skip_space(text, at)
    return read_objects(text, at, tools) if text[at : at + 1] in ("{", "[") else _expected(text, at)


def _read_harmony(text: str, at: int, tools: Sequence[Tool]) -> Read | Verdict:
    """gpt-oss: ``<|channel|>commentary to=functions.name <|constrain|>json<|message|>{…}<|call|>``."""
    header, message, _ = text[at : at + _MAX_HEADER_CHARS].partition("<|message|>")
    recipient = _RECIPIENT.search(header)
    if not message:
        return UNFINISHED if len(header) < _MAX_HEADER_CHARS and "\n" not in header else NO_CALL
    tool = called_tool(recipient[1], tools) if recipient else None
    if tool is None or recipient is None:
        return NO_CALL
    at = _skip_space(text, at + len(header) + len(message))
    return _read_input(text, at, _Name(tool.name, recipient[1]), closer="<|call|>")


def _read_kimi(text: str, at: int, tools: Sequence[Tool]) -> Read | Verdict:
    """Kimi K2: ``<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{…}<|tool_call_end|>``."""
    return _read_named(text, at, tools, "<|tool_call_argument_begin|>", "<|tool_call_end|>")


def _read_deepseek(text: str, at: int, tools: Sequence[Tool]) -> Read | Verdict:
    """DeepSeek V3: ``function<｜tool▁sep｜>name`` and fenced JSON; since V3.1 ``name<｜tool▁sep｜>{…}``."""
    before_name = "function<｜tool▁sep｜>"
    if text.startswith(before_name, at):
        found = _read_named(text, at + len(before_name), tools, "\n", "<｜tool▁call▁end｜>")
    elif before_name.startswith(text[at:]):
        return UNFINISHED
    else:
        found = _read_named(text, at, tools, "<｜tool▁sep｜>", "<｜tool▁call▁end｜>")
    return found


def _read_named(text: str, at: int, tools: Sequence[Tool], separator: str, closer: str) -> Read | Verdict:
    at = _skip_space(text, at)
    name = _name_at(text, at, tools)
    if isinstance(name, Verdict):
        return name
    at += len(name.said)
    at = at if separator == "\n" else _skip_space(text, at)
    if not text.startswith(separator, at):
        return _expected(text, at, separator)
    at = _skip_space(text, at + len(separator))
    if "```json".startswith(text[at:]):
        return UNFINISHED
    fence = _FENCE.match(text, at)
    found = _read_input(text, fence.end() if fence else at, name, closer="```" if fence else closer)
    if fence is None or isinstance(found, Verdict):
        return found
    at = _skip_space(text, found.end)
    return Read(found.calls, at + 3) if text.startswith("```", at) else _expected(text, at, "```")


OPENINGS: dict[str, Reader] = {
    "<tool_call>": partial(_read_tagged, closer="</tool_call>"),
    "<function_call>": partial(_read_tagged, closer="</function_call>"),
    "<tools>": partial(_read_tagged, closer="</tools>"),  # Qwen2.5-Coder confuses it with <tool_call>
    "<function=": _read_function,
    "<invoke": _read_invoke,
    "[TOOL_CALLS]": _read_mistral,
    "<|python_tag|>": read_marked_objects,
    "<|tool_call|>": read_marked_objects,
    "<|channel|>": _read_harmony,
    "<|start|>assistant": _read_harmony,
    "<|tool_call_begin|>": _read_kimi,
    "<｜tool▁call▁begin｜>": _read_deepseek,
}
"""What opens a call, and who reads it."""

WRAPPERS_BEFORE = (
    "<|tool_calls_section_begin|>",
    "<｜tool▁calls▁begin｜>",
    "<function_calls>",
    "<minimax:tool_call>",
)
"""What may stand before the first call of several, and says nothing by itself."""

WRAPPERS_BEHIND = (
    "</tool_call>",
    "</function_call>",
    "</tools>",
    "</function>",
    "</invoke>",
    "</function_calls>",
    "</minimax:tool_call>",
    "[/TOOL_CALLS]",
    "<|/tool_call|>",
    "<|tool_call_end|>",
    "<|tool_calls_section_end|>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
    "<｜end▁of▁sentence｜>",
    "<|call|>",
    "<|end|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "</s>",
)
"""What may stand behind a call, and says nothing by itself."""


# --- what all of them are made of -------------------------------------------------------------------------------


class _Name(NamedTuple):
    declared: str
    said: str


def _name_at(text: str, at: int, tools: Sequence[Tool]) -> _Name | Verdict:
    """Return the declared tool whose name stands there, behind which something else stands."""
    match = _NAME.match(text, at)
    if match is None:
        return UNFINISHED if at == len(text) else NO_CALL
    if match.end() == len(text):  # perhaps only half of it
        return UNFINISHED if len(match[0]) < _MAX_HEADER_CHARS else NO_CALL
    tool = called_tool(match[0], tools)
    return NO_CALL if tool is None else _Name(tool.name, match[0])


def _read_parameters(text: str, at: int, name: _Name, opening: re.Pattern[str], literal: str) -> Read | Verdict:
    """Read parameters one by one; their values are text, and stand on lines of their own."""
    given: dict[str, Json] = {}
    while parameter := opening.match(text, at):
        end = _PARAMETER_END.search(text, parameter.end())
        if end is None:
            return UNFINISHED
        value = text[parameter.end() : end.start()]
        given[parameter[1].strip()] = value.removeprefix("\n").removesuffix("\n")
        at = end.end()
    at = _skip_space(text, at)
    if text.startswith(("</function>", "</invoke>", "</tool_call>"), at):
        return Read([PrintedCall(name.declared, given)], at)
    return _expected(text, at, "</function>", "</invoke>", "</tool_call>", literal)


def _read_input(text: str, at: int, name: _Name, *, closer: str | None = None) -> Read | Verdict:
    """Read the JSON of an input."""
    found = json_at(text, at, closer)
    if isinstance(found, Verdict):
        return found
    given, end = found
    return Read([PrintedCall(name.declared, given)], end) if isinstance(given, dict) else NO_CALL


def _expected(text: str, at: int, *literals: str) -> Verdict:
    """Return whether one of the literals may still come, or has only begun what it opens."""
    rest = text[at : at + _MAX_HEADER_CHARS]
    if not rest:
        return UNFINISHED
    return UNFINISHED if any(literal.startswith(rest) or rest.startswith(literal) for literal in literals) else NO_CALL


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None, "it matches nothing at least"
    return found.end()
