"""Reads a text that should be nothing but tool calls, as it comes: by the rows of the formats, or by its shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from claude_bridge.conversion.tool_calls.text_formats import (
    BLOCK_ENDS,
    CLOSINGS,
    FORMATS_BY_MARK,
    OPENINGS,
    CallFormat,
    Notation,
    Parameters,
)
from claude_bridge.conversion.tool_calls.text_json import (
    HEAD_CHARS,
    PrintedCall,
    calls_in,
    gemma_input,
    may_be_bare_call,
    may_be_named_so,
    may_be_python_calls,
    python_calls,
    repaired_calls,
)
from claude_bridge.conversion.tool_calls.text_parameters import MAX_HEADER_CHARS, ParameterReader, beginnings, name_in
from claude_bridge.conversion.tool_calls.text_source import (
    NeedMoreError,
    NotACallError,
    TextSource,
    marks_of,
    read_json,
)
from claude_bridge.conversion.tool_json.repair import repair_object
from claude_bridge.conversion.tool_json.text import Json, loose_decoder
from claude_bridge.conversion.tool_names import DeclaredTools
from claude_bridge.wire.anthropic import Tool

_MAX_CLOSERS_TRIED = 4
"""Of malformed JSON that holds what may close it: a file that is written may hold such text."""

_NAME = re.compile(r"[\w.:/-]{0,200}")
_FENCE_KINDS = ("", "json", "tool_call", "xml", "text", "plaintext")

_ALWAYS_READ_CHARS = 100
_PART_TO_WAIT_FOR = 8
"""A long call that is not whole is read again once it is an eighth longer."""

_FENCE = marks_of("```")
_JSON_FENCE = marks_of("```json", "```")
_LINE_END = marks_of("\n")
_NO_MARK = marks_of()

_WHOLE_CALLS = (Notation.JSON_CALLS, Notation.PYTHON_CALLS)


class CallReader:
    """Reads what should be nothing but calls, as it comes.

    ``refused_at`` is None as long as it may be that; then it is the offset at which a call may begin again. ``calls``
    are those that are whole, and ``end`` is the offset behind the last of them and what closes it.
    """

    def __init__(self, tools: DeclaredTools, *, is_whole_answer: bool) -> None:
        """``is_whole_answer`` says that nothing stands before it: then calls count without any marks."""
        self.calls: list[PrintedCall] = []
        self.end = 0
        self.refused_at: int | None = None
        self.mark: str | None = None
        """What opened the first call; None: nothing but its shape says that it is one."""
        self.formats: tuple[CallFormat, ...] = ()
        """The rows that begin with that mark."""
        self.lacks_block = False
        """Whether parameters stand in tags whose block was neither opened nor closed, behind other text."""
        self.is_whole_answer = is_whole_answer
        self._tools = tools
        self._is_fenced = self._has_fence = False
        self.chars = 0
        """How many came."""
        self._enough_chars = 0
        """How many must have come before it is worth reading on."""
        self._pieces: list[str] = []
        self._read_pieces = 0
        self._source = TextSource()
        self._block: tuple[CallFormat, ...] = ()
        """The rows by which more calls may follow in the block that is open."""
        self._is_over = False

    @property
    def text(self) -> str:
        """All the text that came."""
        return "".join(self._pieces)

    @property
    def is_only_the_whole_answer(self) -> bool:
        """Whether its calls count only where no other text stands beside them."""
        return self.mark is None or self._has_fence

    def feed(self, text: str) -> None:
        """Take more of the text."""
        self._pieces.append(text)
        self.chars += len(text)
        if self.chars >= self._enough_chars:
            self._go_on()

    def close(self) -> list[PrintedCall]:
        """Return the calls that the whole text is; none if it is something else, or not whole."""
        self._source.is_closed = True
        self._go_on()
        return self.calls if self.refused_at is None else []

    def _go_on(self) -> None:
        """Read what has come; what is not whole is read again when enough more has come, so that the work is linear."""
        source = self._source
        source.feed("".join(self._pieces[self._read_pieces :]))
        self._read_pieces = len(self._pieces)
        while not self._is_over:
            start = source.at
            try:
                self._read_next()
            except NeedMoreError:
                source.at = start
                waiting = len(source.text) - start
                self._enough_chars = self.chars + (waiting // _PART_TO_WAIT_FOR if waiting > _ALWAYS_READ_CHARS else 0)
                return
            except NotACallError as error:
                self._is_over, self.refused_at = True, error.offset

    def _read_next(self) -> None:
        """Read a call, or what may stand between calls; nothing is kept of one that is not whole."""
        source = self._source
        source.space()
        character, start = source.peek(), source.offset
        if not character:
            self._is_over = True
            return
        if self.calls and (closing := source.mark(CLOSINGS)):
            self._block, self.lacks_block = (), self.lacks_block and closing not in BLOCK_ENDS
        elif opening := source.mark(OPENINGS):
            if self.mark is None:
                if self.calls:
                    raise NotACallError(start)  # so far, only its shape showed that it is a call
                self.mark, self.formats = opening, FORMATS_BY_MARK[opening]
            self._block = self._read_block(opening)
        elif self._block and character in "{[;":
            if character == ";":  # Llama's, between two calls
                source.at += 1
            self._read_calls(self._block)
        elif self.is_whole_answer and character == "`":
            self._read_fence()
        elif self.mark is None and character in "{[":
            self.calls += self._bare_calls()
        else:
            raise NotACallError(start)
        self.end = source.offset

    # --- calls with marks ---------------------------------------------------------------------------------------

    def _read_block(self, opening: str) -> tuple[CallFormat, ...]:
        """Read the first call behind an opening; return the rows by which more may follow in the same block."""
        source, formats = self._source, FORMATS_BY_MARK[opening]
        if formats[0].opening != opening:
            source.at -= len(opening)  # it opens one call, and no block
            had_parameters = self._read_calls(formats)
            self.lacks_block = had_parameters and not formats[0].is_token and not self.is_whole_answer
            return ()
        source.space()
        inner = source.mark(OPENINGS, keep=True)
        if inner not in (None, opening) and not any(row.before_name.startswith(inner or "") for row in formats):
            return ()  # the block of another format, in this one
        self._read_calls(formats)
        return formats

    def _read_calls(self, formats: Sequence[CallFormat]) -> bool:
        """Read one call, or several that are written as one value; return whether its parameters stood in tags."""
        source = self._source
        source.space()
        character, start = source.peek(), source.offset
        rows = {row.input: row for row in formats}
        if Notation.JSON_CALLS in rows and character and character in "{[":
            self.calls += self._json_calls(rows[Notation.JSON_CALLS])
            return False
        if Notation.PYTHON_CALLS in rows and character != "<":
            self.calls += self._python_calls(rows[Notation.PYTHON_CALLS])
            return False
        named = [row for row in formats if row.input not in _WHOLE_CALLS]
        before = source.mark(marks_of(*(row.before_name for row in named))) or ""
        named = [row for row in named if row.before_name == before]
        if not named:
            raise NotACallError(start)
        tool, named = self._read_name(named)
        source.space()
        had_parameters, start = source.peek() not in ("{", "`"), source.offset
        value = self._read_parameters(tool, named) if had_parameters else self._read_input(named)
        if not isinstance(value, dict):
            raise NotACallError(start)
        self.calls.append(PrintedCall(tool.name, value))
        return had_parameters

    def _json_calls(self, row: CallFormat) -> list[PrintedCall]:
        start, is_exact = self._source.offset, row.closing == "}"
        value = self._read_json([row], may_be_named_so)
        return _found(calls_in({"tool_calls": value} if is_exact else value, self._tools, exactly=is_exact), start)

    def _python_calls(self, row: CallFormat | None) -> list[PrintedCall]:
        """Read calls in Python's notation up to what closes them, or up to the end of the answer."""
        source, start = self._source, self._source.offset
        self._check_head(may_be_python_calls)
        text, mark = source.until(marks_of(row.closing, row.opening) if row else _NO_MARK, may_end=True)
        if row and mark == row.opening:
            raise NotACallError(source.offset - len(mark))
        return _found(python_calls(text, self._tools, exactly=row is None), start)

    def _read_name(self, formats: list[CallFormat]) -> tuple[Tool, list[CallFormat]]:
        """Read the name of a declared tool and what stands behind it; return the tool, and the rows that may go on."""
        source, start = self._source, self._source.offset
        behind = marks_of(*(row.behind_name for row in formats))
        if formats[0].before_name:
            # Groq's models leave out the bracket behind a function's name.
            header, mark = source.until(marks_of(*behind.marks, "{"), MAX_HEADER_CHARS)
            source.at -= mark == "{"
            tool = self._tools.find(name_in(header))
            formats = [row for row in formats if mark in (row.behind_name, "{")]
        else:
            tool = self._read_plain_name()
            if source.mark(marks_of("[CALL_ID]")):  # Mistral's
                source.until(marks_of("[ARGS]"), MAX_HEADER_CHARS)
            source.mark(behind)
        if tool is None:
            raise NotACallError(start)
        return tool, formats

    def _read_plain_name(self) -> Tool | None:
        """Read a name that nothing but its letters delimits; of one that is glued to a key only the name."""
        source = self._source
        found = _NAME.match(source.text, source.at)
        assert found is not None, "it matches nothing at least"
        name = found[0]
        if found.end() == len(source.text) and not source.is_closed:
            raise NeedMoreError
        tool = self._tools.find(name)
        if tool is None:
            name = max(filter(name.startswith, self._tools.names), key=len, default="")
            tool = self._tools.find(name)
        source.at += len(name)
        return tool

    def _read_parameters(self, tool: Tool, formats: Sequence[CallFormat]) -> Json:
        rows = [row for row in formats if isinstance(row.input, Parameters)]
        if not rows:
            raise NotACallError(self._source.offset)
        return ParameterReader(self._source, rows).read(tool)

    def _read_input(self, formats: Sequence[CallFormat]) -> Json:
        """Read an input that is one value: in Gemma's notation, or as JSON, perhaps in a fence."""
        source, start = self._source, self._source.offset
        row = formats[0]
        if row.input is Notation.GEMMA:
            text, mark = source.until(marks_of(row.closing, row.opening), may_end=True)
            source.at -= len(mark)
            try:
                return gemma_input(text)
            except (ValueError, RecursionError):
                raise NotACallError(start) from None
        if not source.mark(_JSON_FENCE):
            return self._read_json(formats)
        source.space()
        value = self._read_json(formats)
        source.space()
        if not source.mark(_FENCE):
            raise NotACallError(source.offset)
        return value

    # --- JSON ---------------------------------------------------------------------------------------------------

    def _read_json(
        self, formats: Sequence[CallFormat], may_go_on: Callable[[str, DeclaredTools], bool] | None = None
    ) -> Json:
        """Read an object or a list as JSON; malformed JSON up to what closes the call, if it can be repaired."""
        source, start = self._source, self._source.offset
        if source.peek() not in ("{", "["):
            raise NotACallError(start)
        if may_go_on is not None:
            self._check_head(may_go_on)
        text, value = read_json(source)
        if value is not None:
            return value
        closers = [end for row in formats for end in (row.behind_call, row.closing) if end]
        openings = beginnings(tuple(formats))
        inner = openings.pattern.search(text)
        if inner is not None:
            # The text of the call before was cut off inside a string, which this one's own quotes seem to close.
            raise NotACallError(start + inner.start())
        for _ in range(_MAX_CLOSERS_TRIED if closers else 0):
            part, mark = source.until(marks_of(*closers, *openings.marks))
            if mark in openings.marks:
                raise NotACallError(source.offset - len(mark))
            text += part
            repaired = repair_object(text)
            if repaired is not None:
                source.at -= len(mark)
                return loose_decoder.decode(repaired)
            text += mark
        raise NotACallError(start)

    def _check_head(self, may_go_on: Callable[[str, DeclaredTools], bool]) -> None:
        """Check that the beginning of what is read may be a call, as far as it has come."""
        source = self._source
        if not may_go_on(source.text[source.at : source.at + HEAD_CHARS], self._tools):
            raise NotACallError(source.offset)

    # --- calls without marks ------------------------------------------------------------------------------------

    def _read_fence(self) -> None:
        source, start = self._source, self._source.offset
        if source.mark(_FENCE) is None:
            raise NotACallError(start)
        kinds = ("",) if self._is_fenced else _FENCE_KINDS
        self._check_head(lambda head, _: _may_be_fence(head, kinds))
        source.until(_LINE_END, may_end=True)
        self._is_fenced, self._has_fence = not self._is_fenced, True

    def _bare_calls(self) -> list[PrintedCall]:
        """Read calls of which nothing but their shape says what they are."""
        source, start = self._source, self._source.offset
        if source.peek() == "[":
            first = source.text[source.at + 1 : source.at + MAX_HEADER_CHARS].lstrip()[:1]
            if not first and not source.is_closed:
                raise NeedMoreError
            if first.isalpha():
                return self._python_calls(None)
        self._check_head(may_be_bare_call)
        text, value = read_json(source)
        if value is not None:
            return _found(calls_in(value, self._tools, exactly=True), start)
        rest = (text + source.until(_NO_MARK, may_end=True)[0]).strip().removesuffix("```").rstrip()
        return _found(repaired_calls(rest, self._tools), start)


def _found(calls: list[PrintedCall], start: int) -> list[PrintedCall]:
    """Return the calls; raises NotACallError where there are none."""
    if not calls:
        raise NotACallError(start)
    return calls


def _may_be_fence(head: str, kinds: Sequence[str]) -> bool:
    kind, end, _ = head.partition("\n")
    return kind.strip() in kinds if end else any(known.startswith(kind.rstrip()) for known in kinds)
