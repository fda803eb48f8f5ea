"""Tool calls that arrive as text: found where an answer ends with them, and nowhere else.

A call counts only where all that follows it, up to the answer's end, is calls too, and text between these. So an
example inside an explanation is never taken for a call, and neither is what stands in a fenced block, in a sentence or
behind the colon that announces it. Without its format's marks, a call counts only where it is the whole answer. Which
place is the first one of the calls depends on the text alone, not on how it was cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from copy import copy
from itertools import groupby
from typing import NamedTuple

from claude_bridge.conversion.deltas import (
    Delta,
    Finish,
    Stage,
    TextDelta,
    ToolCallStart,
    UrlCitation,
    UsageReport,
    as_deltas,
    whole_call,
)
from claude_bridge.conversion.ending import ended_by_itself
from claude_bridge.conversion.loss import PRINTED_CALL, Repair
from claude_bridge.conversion.tool_calls.text_formats import FORMATS, FORMATS_BY_MARK, OPENINGS, CallFormat
from claude_bridge.conversion.tool_calls.text_json import PrintedCall
from claude_bridge.conversion.tool_calls.text_reader import CallReader
from claude_bridge.conversion.tool_calls.text_source import fold
from claude_bridge.conversion.tool_json.repair import whole_characters
from claude_bridge.conversion.tool_names import DeclaredTools
from claude_bridge.wire.anthropic import Tool

MAX_HELD_CHARS = 512 * 1024
"""Of text that may be calls: models stop long before, at 32,000 to 128,000 tokens."""
MAX_CALLS = 1_000
_MAX_TEXT_BEHIND_CHARS = 2_000
"""Of text behind calls that is held back until more of them come."""

_JSON_LISTS = tuple(row for row in FORMATS if row.opening.startswith("{"))
_MAY_OPEN = re.compile(r'[<\[]|\](?:<|\Z)|\{(?:"|\Z)')
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_MAX_LINE_CHARS = 500
_SENTENCE_ENDS = (".", "!", "?", "…", "\u3002", "\uff01", "\uff1f", "\u0964", "\u061f")
"""Those of Chinese and Japanese, Hindi and Arabic too."""
_COLONS = (":", "\uff1a")
_LIST_MARK = re.compile(r"\s*(?:\d{1,3}|[A-Za-z])\.")
_INDENTED = re.compile(r" {4,}|\s*\t")


class _TextContext:
    """Where in an answer the text stands, as far as it matters for a call that may follow: Markdown, and line ends."""

    def __init__(self) -> None:
        self._line = ""
        self._last_line = ""
        self._blank_lines = 0
        self._fence = ""

    def move(self, text: str) -> None:
        """Go on behind more text."""
        *lines, last = text.split("\n")
        for end in lines:
            self._end_line(self._line + end)
            self._line = ""
        self._line = (self._line + last)[-_MAX_LINE_CHARS:]

    def may_precede(self, formats: Sequence[CallFormat], own_format: str | None) -> bool:
        """Return whether a call may begin here: on a line of its own or behind a sentence, neither shown nor quoted.

        A colon announces what is meant as well as what is shown. Only before what is shown stands a space or a blank
        line, which no template puts there, but for that of a format that is known to be the model's own.
        """
        line, is_token = self._line.rstrip(" \t"), formats[0].is_token
        if self._fence or line.lstrip().startswith(">") or (not line and _INDENTED.match(self._line)):
            return False
        if not line:
            is_own = any(row.follows_blank_line and row.name == own_format for row in formats)
            return not self._blank_lines or not self._last_line.endswith(_COLONS) or is_own
        if line.endswith(_SENTENCE_ENDS):
            return not _LIST_MARK.fullmatch(line) and (is_token or line.count("`") % 2 == 0)
        # Of a token a model knows that it is no text: it stands right behind a word too.
        return is_token and line == self._line and (line[-1].isalnum() or line.endswith(_COLONS))

    def _end_line(self, line: str) -> None:
        fence = _FENCE.match(line)
        if fence is not None and not self._fence:
            self._fence = fence[1]
        elif fence is not None and fence[1].startswith(self._fence) and not line[fence.end() :].strip():
            self._fence = ""
        if line.strip():
            self._last_line, self._blank_lines = line.rstrip()[-_MAX_LINE_CHARS:], 0
        else:
            self._blank_lines += 1


class _Segment(NamedTuple):
    """Text that is held back, and the calls that it is; text between calls is none."""

    text: str
    calls: Sequence[PrintedCall] = ()


class TextToolCallDetector(Stage):
    """Turns the calls with which an answer's text ends into calls; all other text passes as it came.

    Text that may become a call is held back until that is decided, within limits. Where the engine gives a call of its
    own, or the text shows how calls are written, all text is text.
    """

    def __init__(self, tools: Sequence[Tool], own_format: str | None = None) -> None:
        """``tools`` are those that the client declared; ``own_format`` names the row that is the model's own."""
        self._tools = DeclaredTools(tools)
        self._own_format = own_format
        own_openings = [row.opening for row in FORMATS if row.name == own_format]
        self._may_open = _MAY_OPEN
        self._has_own_word = any(opening.isalpha() for opening in own_openings)
        """Whether a call may begin with a letter: that is only looked for where the model is known to write so."""
        if self._has_own_word:
            self._may_open = re.compile(rf"{_MAY_OPEN.pattern}|\b{own_openings[0][0]}")
        self._half_mark = ""
        self._reader: CallReader | None = None
        self._held: list[_Segment] = []
        """Calls that are whole, and text between them."""
        self._behind_chars = 0
        """Of text behind the last of these calls."""
        self._unplaced: list[str] = []
        """Text since the place was last needed."""
        self._place = _TextContext()
        self._calls = 0
        self._has_begun = False
        self._is_over = False

    def passes(self, text: str) -> bool:
        """Take text that passes unchanged, and return True; else return False, and ``feed`` gets it."""
        if self._is_over:
            return True
        if not self._has_begun or self._has_own_word or self._reader is not None or self._half_mark or self._held:
            return False
        if "<" in text or "[" in text or "{" in text or "]" in text:
            return False
        self._unplaced.append(text)
        return True

    def take(self, delta: Delta) -> list[Delta]:
        """Return the delta with the calls in its text as calls."""
        if self._is_over:
            return [delta]
        match delta:
            case TextDelta(text):
                return self._take_text(text)
            case Finish():
                return [*self._end(has_stopped=ended_by_itself(delta)), delta]
            case UsageReport() | Repair() | UrlCitation():
                return [delta]
            case _:
                self._is_over = isinstance(delta, ToolCallStart)
                return [*self._give_up(), delta]

    def close(self) -> list[Delta]:
        """Return the text that was held back."""
        return self._give_up()

    # --- text ---------------------------------------------------------------------------------------------------

    def _take_text(self, text: str) -> list[Delta]:
        out: list[Delta] = []
        text, self._half_mark = self._half_mark + text, ""
        while text and not self._is_over:
            if self._reader is None:
                start = self._start_in(text)
                out += self._pass(text[:start])
                text = text[start:]
                mark = OPENINGS.at(_folded(text), 0)
                if mark is None and self._has_begun:
                    self._half_mark = text
                    break
                if not text:
                    break
                if self._has_begun and mark is not None and not self._may_stand_here(mark):
                    self._is_over = True  # where calls are shown, none is made: an example may have parts
                    break
                self._reader = CallReader(self._tools, is_whole_answer=not self._has_begun)
                self._has_begun = True
            read, text = self._read_on(self._reader, text)
            out += read
        if self._is_over:
            out += [*self._give_up(), *as_deltas(text)]
        return out

    def _read_on(self, reader: CallReader, text: str) -> tuple[list[Delta], str]:
        """Give the reader more text; return what is decided by it, and the text that was not read."""
        room = MAX_HELD_CHARS - reader.chars
        rest = text[room:]
        reader.feed(text[:room])
        if reader.refused_at is None and not rest and len(reader.calls) <= MAX_CALLS:
            return [], ""
        if reader.refused_at is None:
            name = reader.calls[-1].name if reader.calls else "unknown tool"
            self._is_over = True
            return [Repair(name, f"what may be a printed call stays text beyond {MAX_HELD_CHARS:,} characters")], rest
        self._reader, text = None, reader.text + rest
        if self._may_be_meant(reader, text[reader.end :]):
            out = self._hold(_Segment(text[: reader.end], reader.calls))
            if reader.formats[0].may_be_followed:
                out += self._release()
            return out, text[reader.end :]
        passed = max(reader.refused_at, 1)
        return self._pass(text[:passed]), text[passed:]

    def _may_be_meant(self, reader: CallReader, behind: str) -> bool:
        """Return whether the reader's calls may be meant though text stands behind them: on lines of its own."""
        if not reader.calls or reader.is_only_the_whole_answer or reader.lacks_block:
            return False
        line = behind.partition("\n")[0]
        return not line.strip() or (reader.formats[0].may_be_followed and not line[0].isspace())

    def _start_in(self, text: str) -> int:
        """Return where a call may begin, or the length of the text."""
        if not self._has_begun:
            start = len(text) - len(text.lstrip())
            if start == len(text) or text[start] in "{[`" or OPENINGS.may_begin(_folded(text, start)):
                return start
            self._has_begun = True
        place, moved = None, 0
        for found in self._may_open.finditer(text):
            start = found.start()
            if not OPENINGS.may_begin(_folded(text, start)):
                continue
            if text[start] == "{":  # which code is full of: it is held only where a call may stand
                place = place or copy(self._moved_place())
                place.move(text[moved:start])
                moved = start
                if not place.may_precede(_JSON_LISTS, self._own_format):
                    continue
            return start
        return len(text)

    def _may_stand_here(self, mark: str) -> bool:
        """Return whether a call that begins with this mark may follow the text so far."""
        return self._moved_place().may_precede(FORMATS_BY_MARK[mark], self._own_format)

    def _moved_place(self) -> _TextContext:
        """Return the place behind all text so far."""
        self._place.move("".join(self._unplaced))
        self._unplaced.clear()
        return self._place

    # --- what is held -------------------------------------------------------------------------------------------

    def _pass(self, text: str) -> list[Delta]:
        """Return the text, unless it stands behind calls: then it is held as long as more may follow."""
        if not text:
            return []
        if self._held:
            return self._hold(_Segment(text))
        self._unplaced.append(text)
        return [TextDelta(text)]

    def _hold(self, segment: _Segment) -> list[Delta]:
        self._unplaced.append(segment.text)
        self._held.append(segment)
        self._behind_chars = 0 if segment.calls else self._behind_chars + len(segment.text)
        if self._behind_chars <= _MAX_TEXT_BEHIND_CHARS:
            return []
        held, self._held = self._held, []
        return [TextDelta(one.text) for one in held]

    def _release(self) -> list[Delta]:
        """Return what is held, with the calls as calls."""
        out: list[Delta] = []
        for has_calls, group in groupby(self._held, key=lambda segment: bool(segment.calls)):
            segments = list(group)
            text = "".join(segment.text for segment in segments)
            if not has_calls and text.strip():
                out.append(TextDelta(text))
            for call in (call for segment in segments for call in segment.calls):
                key, self._calls = self._calls, self._calls + 1
                arguments = whole_characters(json.dumps(call.input, ensure_ascii=False, separators=(",", ":")))
                out += [Repair(call.name, PRINTED_CALL), *whole_call(key, call.name, arguments)]
        self._held = []
        return out

    def _give_up(self) -> list[Delta]:
        """Return all that is held as text."""
        texts = [*(segment.text for segment in self._held), self._reader.text if self._reader else self._half_mark]
        self._held, self._reader, self._half_mark = [], None, ""
        self._unplaced += texts
        return [delta for text in texts for delta in as_deltas(text)]

    def _end(self, *, has_stopped: bool) -> list[Delta]:
        """Return what was held back: with its calls, if the answer ends with them and came to its end."""
        out: list[Delta] = []
        while has_stopped and self._reader is not None:
            reader, self._reader = self._reader, None
            calls, text = reader.close(), reader.text
            if calls and not reader.lacks_block:
                out += self._hold(_Segment(text, calls))
                break
            passed = len(text) if reader.refused_at is None else max(reader.refused_at, 1)
            out += self._pass(text[:passed])
            out += self._take_text(text[passed:])
        if has_stopped and self._held and self._held[-1].calls:
            out += self._release()
        out += self._give_up()
        self._is_over = True
        return out


def _folded(text: str, start: int = 0) -> str:
    """Return as much of the text as a mark may have, in ASCII where marks are."""
    return fold(text[start : start + OPENINGS.max_chars])
