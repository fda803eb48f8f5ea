"""Reasoning: ``<think>`` tags in the text, and how hard a model is asked to think."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from claude_bridge.conversion.deltas import Delta, TextDelta, ThinkingDelta, UsageReport
from claude_bridge.wire.anthropic import CountTokensRequest

_OPEN, _CLOSE = "<think>", "</think>"

LOW_BUDGET_TOKENS = 4_096
MEDIUM_BUDGET_TOKENS = 16_384


_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def wanted_effort(request: CountTokensRequest) -> str | None:
    """Return how hard to think, in the words of ``_EFFORTS``, or None for the engine's own default.

    No thinking asked for means "none". Else an explicit effort wins, then a thinking budget.
    """
    thinking = request.thinking
    if thinking is None or thinking.type == "disabled":
        return "none"
    effort = request.output_config.effort if request.output_config else None
    if effort is not None:
        return effort if effort in _EFFORTS else "high"
    if thinking.budget_tokens is None:
        return None
    if thinking.budget_tokens < LOW_BUDGET_TOKENS:
        return "low"
    return "medium" if thinking.budget_tokens < MEDIUM_BUDGET_TOKENS else "high"


def nearest_effort(effort: str, levels: Sequence[str]) -> str:
    """Return the highest of an engine's ``levels``, lowest first, that is not above ``effort``, else the lowest."""
    rank = {level: place for place, level in enumerate(_EFFORTS)}
    low_enough = [level for level in levels if rank.get(level, len(rank)) <= rank[effort]]
    return low_enough[-1] if low_enough else levels[0]


_MAX_HELD_CHARS = 1_000
"""Of white space that may belong to a tag: models that lose their way write it without end."""


class _Place(Enum):
    START = auto()
    INSIDE = auto()
    BEHIND = auto()  # after the closing tag, before the first letter of the answer
    ANSWER = auto()


class ThinkTagSplitter:
    """Turns a leading ``<think>…</think>`` of the answer text into thinking, wherever the text is cut.

    Only tags at the very start count: later ones may be what the answer is about.
    """

    def __init__(self) -> None:
        self._place = _Place.START
        self._held = ""

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """Return the deltas with tagged text as thinking."""
        if self._place is _Place.ANSWER:
            return deltas
        out: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, TextDelta):
                self._take_text(delta.text, out)
            else:
                # Some engines report usage with every chunk: it ends no text.
                if not isinstance(delta, ThinkingDelta | UsageReport):
                    out += self.close()
                out.append(delta)
        return out

    def close(self) -> list[Delta]:
        """Return the text that was held back."""
        held, self._held = self._held, ""
        if not held:
            return []
        if self._place is _Place.INSIDE:
            return [ThinkingDelta(held)]
        if held.strip():
            self._place = _Place.ANSWER
        return [TextDelta(held)]

    def _take_text(self, text: str, out: list[Delta]) -> None:
        text = self._held + text
        self._held = ""
        if self._place is _Place.START:
            start = text.lstrip()
            if len(start) < len(_OPEN) and _OPEN.startswith(start) and len(text) <= _MAX_HELD_CHARS:
                self._held = text
            elif start.startswith(_OPEN):
                self._place = _Place.INSIDE
                text = start.removeprefix(_OPEN)
            else:
                self._place = _Place.ANSWER
        if self._place is _Place.INSIDE:
            text = self._take_thought(text, out)
        if self._place is _Place.BEHIND:
            text = text.lstrip("\n")
            if text:
                self._place = _Place.ANSWER
        if text and self._place is _Place.ANSWER:
            out.append(TextDelta(text))

    def _take_thought(self, text: str, out: list[Delta]) -> str:
        """Take the thought and return what follows its closing tag."""
        thought, close, rest = text.partition(_CLOSE)
        if close:
            self._place = _Place.BEHIND
            thought = thought.rstrip("\n")
        else:
            keep = min(_held_length(thought), _MAX_HELD_CHARS)
            thought, self._held = thought[: len(thought) - keep], thought[len(thought) - keep :]
        if thought:
            out.append(ThinkingDelta(thought))
        return rest


def _held_length(text: str) -> int:
    """Return how many characters at the end of ``text`` may belong to the closing tag or to line ends before it."""
    for length in range(min(len(text), len(_CLOSE) - 1), 0, -1):
        if text.endswith(_CLOSE[:length]):
            before = text[: len(text) - length]
            return length + len(before) - len(before.rstrip("\n"))
    return len(text) - len(text.rstrip("\n"))
