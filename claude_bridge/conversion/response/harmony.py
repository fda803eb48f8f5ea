"""Harmony: the channels in which gpt-oss answers, where an engine without a parser for them leaves them in the text.

A message is ``<|start|>assistant<|channel|>CHANNEL to=RECIPIENT <|constrain|>json<|message|>…`` and ends in
``<|end|>``, ``<|return|>`` or ``<|call|>``. The prompt already has the first ``<|start|>assistant``, and engines strip
the last token. Engines that decode without special tokens leave ``analysisWe list.assistantfinalfour``. Sources:
OpenAI's guide to the harmony response format; llama.cpp's common/parsers/gpt-oss.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto

from claude_bridge.conversion.deltas import (
    Delta,
    Stage,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.loss import PRINTED_CALL, Repair
from claude_bridge.conversion.reasoning import TextOpening
from claude_bridge.conversion.tool_calls.buffer import CUT_BEFORE_ARGUMENTS
from claude_bridge.conversion.tool_calls.text_source import Marks
from claude_bridge.conversion.tool_names import DeclaredTools
from claude_bridge.wire.anthropic import Tool

HARMONY_OPENINGS = ("<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>analysis<|message|>")
"""How a text begins that has harmony's channels, whatever the name of its model."""

_TOKENS = Marks(("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"))
_MAX_HEADER_CHARS = 500

_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_HEADER = re.compile(
    r"(?:<\|start\|>\s*+[\w.:-]*+|\s*+assistant)?+\s*+(?:to=[^\s<]*+\s*+)?+"
    r"(?:<\|channel\|>\s*+\w*+\s*+(?:to=[^\s<]*+\s*+)?+)*+(?:<\|constrain\|>\s*+)?+(?:json|code)?+\s*+"
)
"""A header, complete or cut off; other text between such tokens is an answer that writes about them."""
_PEOPLE = frozenset(("assistant", "user", "all"))
"""Recipients that are no tools."""
_QUOTES = ("`", '"', "'")


_ROLE = "assistant"
_ROLE_MARK = Marks((_ROLE,))
_STRIPPED_HEADER = re.compile(
    rf"{_ROLE}(?:(?P<to>(?:analysis|commentary) ?to=[\w.:-]+?)\s*(?:code|json)?\s*(?=\{{)"
    r"|(?P<channel>analysis|final)(?=[^\s:.,;'-])|commentary(?=[A-Z]))"
)
"""What is left of a header whose special tokens were stripped, with the role before it."""
_HALF_HEADER = re.compile(rf"{_ROLE}(?:[a-z]{{0,10}}|(?:analysis|commentary) ?[\w=.:-]{{0,200}}\s?[a-z]{{0,4}}\s?)\Z")


class _TokenRestorer:
    """Writes the special tokens of a text that has lost them, wherever it is cut; any other text stays as it is."""

    def __init__(self) -> None:
        self._held = ""
        self._is_stripped: bool | None = None

    def feed(self, text: str) -> str:
        """Return the text as far as it is decided."""
        if self._is_stripped is False:
            return text
        text, self._held = self._held + text, ""
        if self._is_stripped is None:
            start = text.lstrip()
            if re.match(r"final[a-z]", start):  # finally
                self._is_stripped = False
                return text
            first = start if start.startswith(_ROLE) else _ROLE + start
            if _HALF_HEADER.match(first) or _ROLE.startswith(start):
                self._held = text
                return ""
            self._is_stripped = _STRIPPED_HEADER.match(first) is not None
            if not self._is_stripped:
                return text
            text = first
        text = _STRIPPED_HEADER.sub(_with_tokens, text)
        kept = len(text) - _ROLE_MARK.overlap(text)
        if (last := text.rfind(_ROLE)) >= 0 and _HALF_HEADER.match(text, last):
            kept = last
        self._held = text[kept:]
        return text[:kept]

    def close(self) -> str:
        """Return the text that was held back."""
        text, self._held = self._held, ""
        return text


def _with_tokens(header: re.Match[str]) -> str:
    channel = header["to"] or header["channel"] or "commentary"
    return f"<|end|><|start|>{_ROLE}<|channel|>{channel}<|message|>"


class _Message(Enum):
    """What a message is to the client."""

    TEXT = auto()
    THOUGHT = auto()
    CALL = auto()


class HarmonyReader(Stage):
    """Turns the messages of an answer's text into thinking, text and tool calls, wherever the text is cut.

    Text before the first token is text: the engine may have taken the header of the last message itself.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        """``tools`` are those that may be called; without any, what goes to a tool is text."""
        self.learned: TextOpening | None = None
        self._tools = DeclaredTools(tools)
        self._message = _Message.TEXT
        self._header: str | None = None  # what has come of it, while one is read
        self._held = ""
        self._last_char = ""
        self._calls = 0
        self._begun_call: list[Delta] = []  # its start, as long as none of its arguments has come
        self._restorer = _TokenRestorer()

    def take(self, delta: Delta) -> list[Delta]:
        """Return the delta with the messages in its text as what they are."""
        if isinstance(delta, TextDelta):
            return self._take_tokens(self._restorer.feed(delta.text))
        # Some engines report usage with every chunk: it ends no text.
        return [delta] if isinstance(delta, UsageReport) else [*self.close(), delta]

    def close(self) -> list[Delta]:
        """Return what was held back; a header without its message says nothing."""
        out = self._take_tokens(self._restorer.close())
        if self._begun_call and not self._held:
            out += [
                Repair(delta.name, CUT_BEFORE_ARGUMENTS)
                for delta in self._begun_call
                if isinstance(delta, ToolCallStart)
            ]
            self._begun_call, self._message = [], _Message.TEXT
        text, header, self._held, self._header = self._held, self._header, "", None
        if header is None:
            return out + self._emit(text)
        self._message = _Message.TEXT
        return out if _HEADER.fullmatch(header + text) else out + self._emit(header + text)

    def _take_tokens(self, text: str) -> list[Delta]:
        text, self._held = self._held + text, ""
        if "<" not in text and self._header is None:
            return self._emit(text)
        out: list[Delta] = []
        at = 0
        for token in _TOKENS.pattern.finditer(text):
            out += self._take_plain(text[at : token.start()])
            out += self._take_token(token[0])
            at = token.end()
        kept = len(text) - _TOKENS.overlap(text, at)
        self._held = text[kept:]
        return out + self._take_plain(text[at:kept])

    def _take_plain(self, text: str) -> list[Delta]:
        if self._header is None:
            return self._emit(text)
        header = self._header + text
        if len(header) <= _MAX_HEADER_CHARS:
            self._header = header
            return []
        self._header, self._message = None, _Message.TEXT  # no header is as long
        return self._emit(header)

    def _take_token(self, token: str) -> list[Delta]:
        if self._header is None and self._message is _Message.TEXT and self._last_char in _QUOTES:
            return self._emit(token)  # the answer is about it
        match token:
            case "<|start|>":
                return self._end_message(header=token)
            case "<|channel|>":
                return self._take_plain(token) if self._header is not None else self._end_message(header=token)
            case "<|message|>":
                return self._begin_message()
            case "<|constrain|>":
                return self._take_plain(token)
            case _:
                return self._end_message(header="")

    def _end_message(self, *, header: str) -> list[Delta]:
        ended = [*self._begun_call, ToolCallEnd(self._calls - 1)] if self._message is _Message.CALL else []
        self._header, self._message, self._last_char, self._begun_call = header, _Message.TEXT, "", []
        return ended

    def _begin_message(self) -> list[Delta]:
        header, self._header = self._header or "", None
        if not _HEADER.fullmatch(header):
            return self._emit(header + "<|message|>")
        recipient = _RECIPIENT.search(header)
        if recipient is not None and recipient[1] not in _PEOPLE and self._tools.names:
            self._begin_call(recipient[1].removeprefix("functions."))
            return []
        channels = _CHANNEL.findall(header)  # gpt-oss-20b writes a stray one before at times
        self._message = _Message.THOUGHT if channels[-1:] == ["analysis"] else _Message.TEXT
        return []

    def _begin_call(self, name: str) -> None:
        self._message = _Message.CALL
        key, self._calls = self._calls, self._calls + 1
        tool = self._tools.find(name)
        note = Repair(tool.name if tool else name, PRINTED_CALL)
        self._begun_call = [note, ToolCallStart(key, name)]

    def _emit(self, text: str) -> list[Delta]:
        if not text:
            return []
        self._last_char = text[-1]
        match self._message:
            case _Message.THOUGHT:
                return [ThinkingDelta(text)]
            case _Message.CALL:
                begun, self._begun_call = self._begun_call, []
                return [*begun, ToolCallArguments(self._calls - 1, text)]
            case _Message.TEXT:
                return [TextDelta(text)]
