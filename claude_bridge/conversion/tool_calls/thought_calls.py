"""Tool calls inside the thinking: models sometimes forget to end their thinking before a call.

The engine's parser then finds no call, and the turn ends with neither text nor a call (vllm#35687 for Qwen 3.5,
vllm#33646 for Kimi K2, vllm#53246 for Kimi K3; omlx#3796).
"""

from __future__ import annotations

from collections.abc import Sequence

from claude_bridge.conversion.deltas import (
    Delta,
    Finish,
    Stage,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallStart,
)
from claude_bridge.conversion.tool_calls.text_detector import TextToolCallDetector
from claude_bridge.wire.anthropic import Tool


class ThoughtCallFinder(Stage):
    """Makes tool calls of the calls at the end of the thinking, if the answer has nothing else.

    Text that may be a call is held back until that is known; it is thinking if anything else follows.
    """

    def __init__(self, tools: Sequence[Tool], own_format: str | None = None) -> None:
        """``tools`` and ``own_format`` are as for TextToolCallDetector."""
        self._detector = TextToolCallDetector(tools, own_format)
        self._has_thoughts = self._is_over = False
        self._blank: list[Delta] = []
        """Blank text after the thinking."""

    def passes(self, text: str) -> bool:
        """Return whether text passes unchanged: the answer has begun, or no thinking yet."""
        self._is_over = self._is_over or (not self._has_thoughts and bool(text.strip()))
        return not self._has_thoughts or self._is_over

    def take(self, delta: Delta) -> list[Delta]:
        """Return the delta, with what was held back before it."""
        if self._is_over:
            return [delta]
        match delta:
            case ThinkingDelta(text) if text:
                self._has_thoughts = True
                if not self._blank and self._detector.passes(text):  # nearly always
                    return [delta]
                return [*self._take_blank(), *_as_thoughts(self._detector.feed([TextDelta(text)]))]
            case TextDelta(text) if not text.strip():
                self._blank.append(delta)
                return []
            case Finish():
                self._is_over = True
                *found, finish = _as_thoughts(self._detector.feed([delta]))
                blank = self._take_blank()
                has_calls = any(isinstance(one, ToolCallStart) for one in found)
                return [*found, finish] if has_calls else [*found, *blank, finish]
            case TextDelta() | ToolCallStart() | ToolCallArguments():
                return [*self.close(), delta]
            case _:
                return [delta]

    def close(self) -> list[Delta]:
        """Return what was held back, as thinking."""
        self._is_over = True
        return [*_as_thoughts(self._detector.close()), *self._take_blank()]

    def _take_blank(self) -> list[Delta]:
        blank, self._blank = self._blank, []
        return blank


def _as_thoughts(deltas: Sequence[Delta]) -> list[Delta]:
    return [ThinkingDelta(delta.text) if isinstance(delta, TextDelta) else delta for delta in deltas]
