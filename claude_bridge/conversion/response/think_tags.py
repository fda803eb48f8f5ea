"""Thoughts that an engine leaves in the text: between ``<think>`` tags or those of another family, or closed only.

Whether a text without an opening tag begins with a thought is learned from the answers; a model's name is only the
first guess. A wrong guess holds text back for a while; it never makes the client get anything twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from itertools import chain

from claude_bridge.conversion.deltas import (
    Aside,
    Delta,
    Finish,
    FinishReason,
    OpaqueReasoning,
    RedactedReasoning,
    Stage,
    TextDelta,
    ThinkingDelta,
    ToolCallStart,
    as_deltas,
)
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.reasoning import TextOpening
from claude_bridge.conversion.response.harmony import HARMONY_OPENINGS, HarmonyReader
from claude_bridge.conversion.tool_calls.text_source import marks_of
from claude_bridge.wire.anthropic import Tool

Tags = Sequence[tuple[str, str]]
"""Opening and closing tags."""

_MAX_HELD_CHARS = 1_000
"""Of white space that may belong to a tag: broken models write it without end."""

_MAX_UNDECIDED_CHARS = 4_000
"""Of a text that should begin with a thought, before it is taken for one though nothing has shown it yet."""

_MAX_REMEMBERED_CHARS = 500_000
"""Of a text that a closing tag may show to be a thought: what is longer stays text."""

_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_QUOTES = ("`", '"', "'")


_NO_THOUGHT = ThinkingDelta("")
"""The engine has a field for thoughts, and nothing in it: that is all it says."""


class _Position(Enum):
    START = auto()
    UNDECIDED = auto()  # held back: a thought that the prompt opened, or an answer without one
    THOUGHT = auto()
    BEHIND = auto()  # after the closing tag, before the first letter of the answer
    WATCHED = auto()  # given as the answer; a closing tag would show that it was a thought
    ANSWER = auto()


_WATCHED, _ANSWER = _Position.WATCHED, _Position.ANSWER  # looked up at every delta


class ThinkTagSplitter(Stage):
    """Turns leading ``<think>…</think>`` of the answer text into thinking, wherever the text is cut.

    Only tags at the very start count, or right behind a tool call: later ones may be what the answer is about. A
    closing tag that was never opened counts too, where ``opening`` does not rule it out. ``learned`` is what the answer
    shows of its model: ANSWER or THOUGHT, or None.
    """

    def __init__(self, tags: Tags, opening: TextOpening = TextOpening.ANSWER, *, tools: Sequence[Tool] = ()) -> None:
        """``tools`` are for a text that turns out to have harmony's channels: calls in it may go to these."""
        self.learned: TextOpening | None = None
        self._tags = tags
        self._opening = opening
        self._tools = tools
        self._place = _Position.START
        self._close = tags[0][1]
        self._closings = marks_of(*(close for _, close in tags))
        self._beginnings = marks_of(*chain.from_iterable(tags), *HARMONY_OPENINGS).beginnings
        self._first_char = self._close[0]
        self._has_other_first_chars = any(close[0] != self._first_char for _, close in tags)
        self._held = ""
        self._undecided: list[str] = []
        self._is_assumed = False
        """Whether the text is taken for a thought though no tag has shown that yet."""
        self._remembered: list[str] | None = None
        """The text since the beginning, where a closing tag may show that it is a thought."""
        self._remembered_chars = 0
        self._harmony: HarmonyReader | None = None

    def passes(self, text: str) -> bool:
        """Take text that passes unchanged, and return True; else return False, and ``feed`` gets it."""
        if self._place is _ANSWER:
            return True
        if self._place is not _WATCHED or self._held or self._first_char in text or self._has_other_first_chars:
            return False
        self._remember(text)
        return True

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """Return the deltas with tagged text as thinking."""
        is_answer = self._place is _ANSWER and ToolCallStart not in map(type, deltas)
        return deltas if is_answer else super().feed(deltas)

    def take(self, delta: Delta) -> list[Delta]:
        """Return the delta with tagged text as thinking."""
        if self._harmony is not None:
            return self._harmony.take(delta)
        if isinstance(delta, TextDelta):
            return self._take_text(delta.text)
        if isinstance(delta, ThinkingDelta | RedactedReasoning | OpaqueReasoning):
            return [*self._expect_answer(), *([] if delta == _NO_THOUGHT else [delta])]
        if isinstance(delta, Aside):
            return [delta]
        ended = self._end_text(delta.reason if isinstance(delta, Finish) else None)
        if isinstance(delta, ToolCallStart):
            self._place, self._opening = _Position.START, TextOpening.ANSWER
        return [*ended, delta]

    def close(self) -> list[Delta]:
        """Return the text that was held back."""
        return self._harmony.close() if self._harmony is not None else self._end_text(None)

    def _remember(self, text: str) -> None:
        if self._remembered is None:
            return
        self._remembered.append(text)
        self._remembered_chars += len(text)
        if self._remembered_chars > _MAX_REMEMBERED_CHARS:
            self._remembered, self._place = None, _Position.ANSWER

    def _expect_answer(self) -> list[Delta]:
        """Return the text that was held back: the engine gives thoughts apart, so that all text is the answer."""
        self.learned = self._opening = TextOpening.ANSWER
        if self._place is not _Position.UNDECIDED and not self._is_assumed:
            return []
        pieces = [*self._undecided, self._held]
        self._undecided, self._held, self._is_assumed, self._place = [], "", False, _Position.ANSWER
        return [TextDelta(piece) for piece in pieces if piece]

    def _end_text(self, reason: FinishReason | None) -> list[Delta]:
        """Return what was held back; ``reason`` is that of the answer's end, None where it continues or broke off."""
        is_whole = reason is FinishReason.STOP
        if self._place is _Position.UNDECIDED:
            pieces, self._undecided, self._place = self._undecided, [], _Position.ANSWER
            is_learned = self._opening is TextOpening.THOUGHT
            if is_whole and is_learned:
                self.learned = TextOpening.ANSWER
            is_thought = reason is FinishReason.LENGTH or (is_learned and not is_whole)
            return [ThinkingDelta(piece) if is_thought else TextDelta(piece) for piece in pieces]
        held, self._held = self._held, ""
        if self._place is not _Position.THOUGHT:
            return as_deltas(held)
        if self._is_assumed and is_whole:
            self._is_assumed, self.learned = False, TextOpening.ANSWER
            return [*_thinking(held), Repair("", "a text without a closing tag was taken for thinking")]
        return _thinking(held)

    def _take_text(self, text: str) -> list[Delta]:
        text, self._held = self._held + text, ""
        out: list[Delta] = []
        if self._place is _Position.START:
            text = self._enter(text)
            if self._harmony is not None:
                return self._harmony.take(TextDelta(text))
        if self._place is _Position.UNDECIDED and text:
            return self._decide(text)
        if self._place is _Position.WATCHED:
            out, text = self._watch(text)
        if self._place is _Position.THOUGHT:
            out, text = self._take_thought(text)
        if self._place is _Position.BEHIND:
            text = text.lstrip("\n")
            if text:
                self._place = _Position.ANSWER
        if text and self._place is _Position.ANSWER:
            out.append(TextDelta(text))
        return out

    def _enter(self, text: str) -> str:
        """Find out how the text begins; return what is to be read on, empty if all of it is held."""
        start = text.lstrip()
        for opening, closing in self._tags:
            if start.startswith(opening):
                self.learned, self._place, self._close = TextOpening.ANSWER, _Position.THOUGHT, closing
                return start.removeprefix(opening)
            if start.startswith(closing):  # a template's own sign that there is no thought
                self._place = _Position.BEHIND
                return start.removeprefix(closing)
        if start.startswith(HARMONY_OPENINGS):
            self._harmony = HarmonyReader(self._tools)
            return start
        if len(text) <= _MAX_HELD_CHARS and start in self._beginnings:
            self._held = text
            return ""
        match self._opening:
            case TextOpening.THOUGHT | TextOpening.PROBABLY_THOUGHT:
                self._place = _Position.UNDECIDED
            case TextOpening.PERHAPS_THOUGHT | TextOpening.UNKNOWN:
                self._place, self._remembered = _Position.WATCHED, []
            case TextOpening.ANSWER:
                self._place = _Position.ANSWER
        return text

    def _decide(self, text: str) -> list[Delta]:
        """Return what the text is once its closing tag or its length shows it; hold it until then."""
        self._undecided.append(text)
        so_far = "".join(self._undecided)
        closing = self._closings.pattern.search(so_far)
        if closing is None and len(so_far) <= _MAX_UNDECIDED_CHARS:
            return []
        self._is_assumed = closing is None
        self._close = closing[0] if closing else self._close
        pieces, self._undecided, self._place = self._undecided, [], _Position.THOUGHT
        return [delta for piece in pieces for delta in self._take_text(piece)]

    def _watch(self, text: str) -> tuple[list[Delta], str]:
        """Return the text as the answer; behind a closing tag that shows it was a thought, the rest of it."""
        remembered = self._remembered
        assert remembered is not None, "it is what is watched"
        found = self._closings.pattern.search(text)
        if found is None:
            keep = self._closings.overlap(text)
            text, self._held = text[: len(text) - keep], text[len(text) - keep :]
            self._remember(text)
            return as_deltas(text), ""
        before = "".join((*remembered, text[: found.start()]))
        self._remembered = None
        if not self._is_closed_thought(before):
            self._place = _Position.ANSWER
            return [], text
        if before.strip():
            self.learned = TextOpening.THOUGHT
        self._place = _Position.BEHIND
        thought, rest = text[: found.start()], text[found.end() :]
        if self._opening is TextOpening.UNKNOWN or "".join(remembered).strip():
            return as_deltas(thought), rest
        return _thinking(thought.rstrip("\n")), rest  # it all came at once

    def _is_closed_thought(self, before: str) -> bool:
        """Return whether a closing tag behind this text closes a thought, and is not what the text is about."""
        line = before.rpartition("\n")[2]
        is_shown = (
            any(opening in before for opening, _ in self._tags)
            or len(_FENCE.findall(before)) % 2 == 1
            or line.count("`") % 2 == 1
            or before.endswith(_QUOTES)
        )
        # Of a model that is not known to think, the tag must stand on a line of its own.
        return not is_shown and (self._opening is TextOpening.PERHAPS_THOUGHT or not line.strip())

    def _take_thought(self, text: str) -> tuple[list[Delta], str]:
        """Return the thought, and the text behind its closing tag."""
        thought, close, rest = text.partition(self._close)
        if close:
            if self._opening is TextOpening.PROBABLY_THOUGHT and self.learned is None:
                self.learned = TextOpening.THOUGHT
            self._place, self._is_assumed = _Position.BEHIND, False
            thought = thought.rstrip("\n")
        else:
            before = thought[: len(thought) - self._closings.overlap(thought)].rstrip("\n")
            keep = min(len(thought) - len(before), _MAX_HELD_CHARS)  # of a closing tag, or of line ends before it
            thought, self._held = thought[: len(thought) - keep], thought[len(thought) - keep :]
        return _thinking(thought), rest


def _thinking(text: str) -> list[Delta]:
    return [ThinkingDelta(text)] if text else []
