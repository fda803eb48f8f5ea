"""Harmony: the channels in which gpt-oss answers, where an engine without a parser for them leaves them in the text.

A message is ``<|start|>assistant<|channel|>CHANNEL to=RECIPIENT <|constrain|>json<|message|>…`` and ends in
``<|end|>``, ``<|return|>`` or ``<|call|>``. The prompt already has the first ``<|start|>assistant``, and engines strip
the last token. Sources: OpenAI's guide to the harmony response format; llama.cpp's common/parsers/gpt-oss.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto

from claude_bridge.conversion.deltas import (
    Delta,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.reasoning import TextOpening
from claude_bridge.conversion.tool_names import DeclaredTools
from claude_bridge.wire.anthropic import Tool

HARMONY_OPENINGS = ("<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>analysis<|message|>")
"""How a text begins that has harmony's channels, whatever the name of its model."""

_TOKENS = ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>")
_TOKEN = re.compile("|".join(map(re.escape, _TOKENS)))
_TOKEN_BEGINNINGS = frozenset(token[:length] for token in _TOKENS for length in range(1, len(token)))
_MAX_TOKEN_CHARS = max(map(len, _TOKENS))
_MAX_HEADER_CHARS = 500

_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_PEOPLE = frozenset(("assistant", "user", "all"))
"""Recipients that are no tools."""
_QUOTES = ("`", '"', "'")


class _Message(Enum):
    """What a message is to the client."""

    TEXT = auto()
    THOUGHT = auto()
    CALL = auto()


class HarmonyReader:
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

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """Return the deltas with the messages in the text as what they are."""
        out: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, TextDelta):
                out += self._take_text(delta.text)
                continue
            if not isinstance(delta, UsageReport):  # some engines report usage with every chunk: it ends no text
                out += self.close()
            out.append(delta)
        return out

    def close(self) -> list[Delta]:
        """Return what was held back; a header without its message says nothing."""
        text, header, self._held, self._header = self._held, self._header, "", None
        if header is None:
            return self._say(text)
        is_header = "<|" in header or not header.strip().removeprefix("assistant")
        self._message = _Message.TEXT
        return [] if is_header else self._say(header + text)

    def _take_text(self, text: str) -> list[Delta]:
        text, self._held = self._held + text, ""
        if "<" not in text and self._header is None:
            return self._say(text)
        out: list[Delta] = []
        at = 0
        for token in _TOKEN.finditer(text):
            out += self._take_plain(text[at : token.start()])
            out += self._take_token(token[0])
            at = token.end()
        start = max(at, len(text) - _MAX_TOKEN_CHARS)
        kept = next((place for place in range(start, len(text)) if text[place:] in _TOKEN_BEGINNINGS), len(text))
        self._held = text[kept:]
        return out + self._take_plain(text[at:kept])

    def _take_plain(self, text: str) -> list[Delta]:
        if self._header is None:
            return self._say(text)
        header = self._header + text
        if len(header) <= _MAX_HEADER_CHARS:
            self._header = header
            return []
        self._header, self._message = None, _Message.TEXT  # no header is as long
        return self._say(header)

    def _take_token(self, token: str) -> list[Delta]:
        if self._header is None and self._message is _Message.TEXT and self._last_char in _QUOTES:
            return self._say(token)  # the answer is about it
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
        is_call = self._message is _Message.CALL
        self._header, self._message, self._last_char = header, _Message.TEXT, ""
        return [ToolCallEnd(self._calls - 1)] if is_call else []

    def _begin_message(self) -> list[Delta]:
        header, self._header = self._header or "", None
        recipient = _RECIPIENT.search(header)
        if recipient is not None and recipient[1] not in _PEOPLE and self._tools.names:
            return self._begin_call(recipient[1].removeprefix("functions."))
        channels = _CHANNEL.findall(header)  # gpt-oss-20b writes a stray one before at times
        self._message = _Message.THOUGHT if channels[-1:] == ["analysis"] else _Message.TEXT
        return []

    def _begin_call(self, name: str) -> list[Delta]:
        self._message = _Message.CALL
        key, self._calls = self._calls, self._calls + 1
        tool = self._tools.find(name)
        return [Repair(tool.name if tool else name, "a call that was printed as text"), ToolCallStart(key, name)]

    def _say(self, text: str) -> list[Delta]:
        if not text:
            return []
        self._last_char = text[-1]
        match self._message:
            case _Message.THOUGHT:
                return [ThinkingDelta(text)]
            case _Message.CALL:
                return [ToolCallArguments(self._calls - 1, text)]
            case _Message.TEXT:
                return [TextDelta(text)]
