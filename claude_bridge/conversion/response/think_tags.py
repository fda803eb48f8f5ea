"""Thoughts that an engine leaves in the text, between ``<think>`` tags or those of another family."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from claude_bridge.conversion.deltas import (
    Delta,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallStart,
    UsageReport,
)

Tags = Sequence[tuple[str, str]]
"""Opening and closing tags."""


_MAX_HELD_CHARS = 1_000
"""Of white space that may belong to a tag: models that lose their way write it without end."""

_MAX_UNPROVEN_CHARS = 500_000
"""Of a thought that may turn out to be the answer; what is longer is believed to be a thought."""


class _Place(Enum):
    START = auto()
    INSIDE = auto()
    BEHIND = auto()  # after the closing tag, before the first letter of the answer
    ANSWER = auto()


class ThinkTagSplitter:
    """Turns leading ``<think>…</think>`` of the answer text into thinking, wherever the text is cut.

    Only tags at the very start count, or right behind a tool call: later ones may be what the answer is about.

    Where the prompt has opened the thoughts (``opened``) the text begins inside them. That is an assumption: an
    engine that separates them itself proves it wrong by its first thought, and an answer that ends without the
    closing tag was no thought, and is given once more as text.
    """

    def __init__(self, tags: Tags, *, opened: bool = False) -> None:
        self._tags = tags
        self._close = tags[0][1]
        self._opened = opened
        self._place = _Place.START
        self._held = ""
        self._unproven: list[str] | None = None
        """The thought so far, while only the assumption makes it one."""
        self._unproven_chars = 0

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """Return the deltas with tagged text as thinking."""
        if self._place is _Place.ANSWER and ToolCallStart not in map(type, deltas):
            return deltas
        out: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, TextDelta):
                self._take_text(delta.text, out)
                continue
            # Some engines report usage with every chunk: it ends no text.
            if isinstance(delta, ThinkingDelta):
                self._opened = False
            elif not isinstance(delta, UsageReport):
                self._end_text(out, was_cut=isinstance(delta, Finish) and delta.reason is FinishReason.LENGTH)
            if isinstance(delta, ToolCallStart):
                self._place, self._opened = _Place.START, False
            out.append(delta)
        return out

    def close(self) -> list[Delta]:
        """Return the text that was held back."""
        out: list[Delta] = []
        self._end_text(out, was_cut=True)
        return out

    def _end_text(self, out: list[Delta], *, was_cut: bool) -> None:
        held, self._held = self._held, ""
        if self._place is _Place.INSIDE:
            self._think(held, out)
            unproven, self._unproven = self._unproven, None
            if unproven is not None and not was_cut:
                out.append(TextDelta("".join(unproven)))
        elif held:
            if held.strip():
                self._place = _Place.ANSWER
            out.append(TextDelta(held))

    def _take_text(self, text: str, out: list[Delta]) -> None:
        text = self._held + text
        self._held = ""
        if self._place is _Place.START:
            text = self._enter(text)
        if self._place is _Place.INSIDE:
            text = self._take_thought(text, out)
        if self._place is _Place.BEHIND:
            text = text.lstrip("\n")
            if text:
                self._place = _Place.ANSWER
        if text and self._place is _Place.ANSWER:
            out.append(TextDelta(text))

    def _enter(self, text: str) -> str:
        """Find out whether the text begins inside a thought; return what is to be read on, empty if that is held."""
        start = text.lstrip()
        for opening, closing in self._tags:
            if start.startswith(opening):
                self._place, self._close = _Place.INSIDE, closing
                return start.removeprefix(opening)
        if len(text) <= _MAX_HELD_CHARS and any(opening.startswith(start) for opening, _ in self._tags):
            self._held = text
            return ""
        if self._opened:
            self._place, self._unproven = _Place.INSIDE, []
        else:
            self._place = _Place.ANSWER
        return text

    def _take_thought(self, text: str, out: list[Delta]) -> str:
        """Take the thought and return what follows its closing tag."""
        thought, close, rest = text.partition(self._close)
        if close:
            self._place, self._unproven = _Place.BEHIND, None
            thought = thought.rstrip("\n")
        else:
            keep = min(_held_length(thought, self._close), _MAX_HELD_CHARS)
            thought, self._held = thought[: len(thought) - keep], thought[len(thought) - keep :]
        self._think(thought, out)
        return rest

    def _think(self, thought: str, out: list[Delta]) -> None:
        if thought:
            out.append(ThinkingDelta(thought))
            if self._unproven is not None:
                self._unproven.append(thought)
                self._unproven_chars += len(thought)
                if self._unproven_chars > _MAX_UNPROVEN_CHARS:
                    self._unproven = None


def _held_length(text: str, close: str) -> int:
    """Return how many characters at the end of ``text`` may belong to the closing tag or to line ends before it."""
    for length in range(min(len(text), len(close) - 1), 0, -1):
        if text.endswith(close[:length]):
            before = text[: len(text) - length]
            return length + len(before) - len(before.rstrip("\n"))
    return len(text) - len(text.rstrip("\n"))
