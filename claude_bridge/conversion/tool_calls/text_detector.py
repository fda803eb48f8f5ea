"""Tool calls that arrive as text: found at the end of an answer, and nowhere else.

A call counts only where all that follows it, up to the answer's end, is calls too. So an example inside an
explanation is never taken for a call, and neither is what stands in a fenced block or in a sentence. Without its
format's marks, JSON counts only where it is the whole answer. Which place is the first one of the calls depends on
the text alone, not on how it was cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from claude_bridge.conversion.deltas import (
    Delta,
    Finish,
    FinishReason,
    TextDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.tool_calls.text_formats import (
    OPENINGS,
    WRAPPERS_BEFORE,
    WRAPPERS_BEHIND,
    read_marked_objects,
)
from claude_bridge.conversion.tool_calls.text_json import (
    NO_CALL,
    UNFINISHED,
    PrintedCall,
    Read,
    Verdict,
    mended_calls,
    read_bare_objects,
)
from claude_bridge.wire.anthropic import Tool


class _Marks:
    """Some of the marks of calls."""

    def __init__(self, *marks: str) -> None:
        self.whole = marks
        self._beginnings = frozenset(mark[:length] for mark in marks for length in range(1, len(mark)))

    def begin(self, text: str) -> bool:
        """Return whether one of the marks stands at the beginning of the text, or as much of it as there is."""
        return text.startswith(self.whole) or text in self._beginnings


_FIRST_MARKS = _Marks(*OPENINGS, *WRAPPERS_BEFORE)
_LATER_MARKS = _Marks(*OPENINGS, *WRAPPERS_BEFORE, *WRAPPERS_BEHIND)

_MAX_MARK_CHARS = max(map(len, _FIRST_MARKS.whole))
_MARK_STARTS = re.compile(r"[<\[]")
_MAY_END_A_CALL = re.compile(r"[}\]>`]")
_SURELY_BEGUN_CHARS = 400
"""So much of a call says whether it can be one at all; of a longer one only its end is waited for."""

_FENCE = re.compile(r"```([\w-]*)[ \t]*(\n?)")
_FENCES = ("", "json", "tool_call", "xml", "text", "plaintext")
_SPACE = re.compile(r"\s*")

_AN_EXAMPLE = re.compile(
    r"\b(?:for example|for instance|e\.g\.|examples?(?![./_-])|looks? like|like this|as follows|such as|syntax"
    r"|formats?(?![./_-])|would (?:be|look|write|call|print)"
    r"|zum beispiel|por ejemplo|par exemple|por exemplo|ad esempio|per esempio|например)\b"
    r"|例えば|たとえば|例如|比如|예를 들어",
    re.IGNORECASE,
)
"""In the line before a call: it is shown, not meant."""
_MAX_LINE_CHARS = 500
_SENTENCE_ENDS = (".", "!", "?", ":", "…", "。")
_QUOTES = ("`", '"', "'")


class CallsReader:
    """Reads what should be nothing but calls, as it comes.

    ``verdict`` is UNFINISHED as long as it may be, and NO_CALL once it can't be any more; ``at`` is the place up to
    which it was.
    """

    def __init__(self, tools: Sequence[Tool], *, is_whole_answer: bool) -> None:
        """``is_whole_answer`` says that nothing stands before it: then JSON counts without any marks."""
        self.text = ""
        self.at = 0
        self.verdict: Verdict = UNFINISHED
        self._calls: list[PrintedCall] = []
        self._tools = tools
        self._is_whole_answer = is_whole_answer
        self._is_fenced = False

    def feed(self, text: str) -> None:
        """Take more of the text."""
        self.text += text
        if len(self.text) - self.at > _SURELY_BEGUN_CHARS + len(text) and not _MAY_END_A_CALL.search(text):
            return
        while self.verdict is UNFINISHED:
            self.at = _skip_space(self.text, self.at)
            found = self._next() if self.at < len(self.text) else UNFINISHED
            if isinstance(found, Verdict):
                self.verdict = found
                break
            self._calls += found.calls
            self.at = found.end

    def close(self) -> list[PrintedCall]:
        """Return the calls that the whole text is; none if it is something else, or not whole."""
        rest = self.text[self.at :].strip()
        if rest and self._is_whole_answer and not self._calls:
            return mended_calls(rest.removesuffix("```").rstrip() if self._is_fenced else rest, self._tools)
        return [] if rest else self._calls

    def _next(self) -> Read | Verdict:
        """Return the next call, or what stands around calls as no calls."""
        text, at = self.text, self.at
        if self._is_whole_answer and text[at] == "`":
            return self._fence()
        if self._calls and text[at] == ";":  # Llama's, between two calls
            return read_marked_objects(text, at + 1, self._tools)
        for wrapper in (*WRAPPERS_BEFORE, *WRAPPERS_BEHIND) if self._calls else WRAPPERS_BEFORE:
            if text.startswith(wrapper, at):
                return Read([], at + len(wrapper))
        for opening, reader in OPENINGS.items():
            if text.startswith(opening, at):
                return reader(text, at + len(opening), self._tools)
        if (_LATER_MARKS if self._calls else _FIRST_MARKS).begin(text[at : at + _MAX_MARK_CHARS]):
            return UNFINISHED
        return read_bare_objects(text, at, self._tools) if self._is_whole_answer and text[at] in "{[" else NO_CALL

    def _fence(self) -> Read | Verdict:
        fence = _FENCE.match(self.text, self.at)
        if fence is None:
            return UNFINISHED if "```".startswith(self.text[self.at :]) else NO_CALL
        kind, line_end = fence.groups()
        is_at_end = fence.end() == len(self.text)
        if self._is_fenced:
            fits = not kind
        elif line_end:
            fits = kind in _FENCES
        else:
            fits = is_at_end and any(known.startswith(kind) for known in _FENCES)
        if not fits:
            return NO_CALL
        if not self._is_fenced and not line_end:
            return UNFINISHED
        self._is_fenced = not self._is_fenced
        return Read([], fence.end())


class _Place:
    """Where in an answer the text stands, as far as it matters for a call that may follow."""

    def __init__(self) -> None:
        self._line = ""
        self._last_line = ""
        self._is_in_fence = False

    def move(self, text: str) -> None:
        """Go on behind more text."""
        *lines, last = text.split("\n")
        for end in lines:
            line, self._line = self._line + end, ""
            self._is_in_fence ^= line.lstrip().startswith("```")
            self._last_line = line if line.strip() else self._last_line
        self._line = (self._line + last)[-_MAX_LINE_CHARS:]

    def may_precede(self, mark: str) -> bool:
        """Return whether a call may begin here: on its own line or behind a sentence, neither shown nor quoted."""
        line = self._line.rstrip(" \t")
        if self._is_in_fence or line.lstrip().startswith(">") or _AN_EXAMPLE.search(line or self._last_line):
            return False
        if mark.startswith(("<|", "<｜", "[")):  # tokens of which models know that they are no text
            return not line.endswith(_QUOTES)
        return not line or (line.endswith(_SENTENCE_ENDS) and line.count("`") % 2 == 0)


class TextToolCallDetector:
    """Turns the calls with which an answer's text ends into calls; all other text passes as it came.

    Text that may become a call is held back until that is decided. Where the engine gives a call of its own, or the
    text shows how calls are written, all text is text.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        """``tools`` are those that the client declared."""
        self._tools = tools
        self._half_mark = ""
        self._reader: CallsReader | None = None
        self._said: list[str] = []  # since the place was last asked for
        self._place = _Place()
        self._has_begun = False
        self._is_placed = False
        self._is_over = False

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """Return the deltas with the calls in the text as calls."""
        if self._is_over:
            return deltas
        if len(deltas) == 1 and self._has_begun and self._reader is None and not self._half_mark:
            # Nearly every delta of a long answer comes this way.
            (delta,) = deltas
            if type(delta) is TextDelta and "<" not in delta.text and "[" not in delta.text:
                self._said.append(delta.text)
                return deltas
        out: list[Delta] = []
        for delta in deltas:
            match delta:
                case TextDelta(text) if not self._is_over:
                    self._take_text(text, out)
                case Finish(reason):
                    self._end(out, has_stopped=reason in (FinishReason.STOP, FinishReason.TOOL_CALLS))
                    out.append(delta)
                case UsageReport():
                    out.append(delta)  # some engines report usage with every chunk: it ends no text
                case _:
                    self._give_up(out)
                    self._is_over = self._is_over or isinstance(delta, ToolCallStart)
                    out.append(delta)
        return out

    def close(self) -> list[Delta]:
        """Return the text that was held back."""
        out: list[Delta] = []
        self._give_up(out)
        return out

    def _take_text(self, text: str, out: list[Delta]) -> None:
        text, self._half_mark = self._half_mark + text, ""
        while text:
            if self._reader is None:
                start = self._start_in(text)
                self._say(text[:start], out)
                text = text[start:]
                if not text:
                    break
                if self._has_begun and not text.startswith(_FIRST_MARKS.whole):
                    self._half_mark = text
                    break
                self._reader = CallsReader(self._tools, is_whole_answer=not self._has_begun)
                self._is_placed = not self._has_begun
                self._has_begun = True
            self._reader.feed(text)
            if not self._is_placed and not self._may_stand_here(self._reader.text):
                # Where calls are shown, none is made: an example may go on for long, and have parts.
                self._give_up(out)
                self._is_over = True
                break
            if self._reader.verdict is UNFINISHED:
                break
            # What was read as calls so far has something else behind it: no call begins in there.
            passed, refused, self._reader = max(self._reader.at, 1), self._reader.text, None
            self._say(refused[:passed], out)
            text = refused[passed:]

    def _start_in(self, text: str) -> int:
        """Return where a call may begin, or the length of the text."""
        if not self._has_begun:
            start = _skip_space(text, 0)
            if start == len(text) or text[start] in "{[`" or _FIRST_MARKS.begin(text[start:]):
                return start
            self._has_begun = True
        for found in _MARK_STARTS.finditer(text):
            if _FIRST_MARKS.begin(text[found.start() : found.start() + _MAX_MARK_CHARS]):
                return found.start()
        return len(text)

    def _may_stand_here(self, text: str) -> bool:
        """Return whether a call that begins with this text may follow what was said."""
        mark = next(mark for mark in _FIRST_MARKS.whole if text.startswith(mark))
        self._place.move("".join(self._said))
        self._said.clear()
        self._is_placed = self._place.may_precede(mark)
        return self._is_placed

    def _end(self, out: list[Delta], *, has_stopped: bool) -> None:
        """Say what was held back: as calls, if that is what the answer ends with."""
        calls = self._reader.close() if self._reader and self._is_placed and has_stopped else []
        if not calls:
            self._give_up(out)
        self._reader = None
        self._is_over = True
        for key, call in enumerate(calls):
            out.append(Repair(call.name, "a call that was printed as text"))
            out.append(ToolCallStart(key, call.name))
            out.append(ToolCallArguments(key, json.dumps(call.input, ensure_ascii=False, separators=(",", ":"))))
            out.append(ToolCallEnd(key))

    def _give_up(self, out: list[Delta]) -> None:
        held = self._reader.text if self._reader else self._half_mark
        self._reader, self._half_mark = None, ""
        self._say(held, out)

    def _say(self, text: str, out: list[Delta]) -> None:
        if text:
            self._said.append(text)
            out.append(TextDelta(text))


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None, "it matches nothing at least"
    return found.end()
