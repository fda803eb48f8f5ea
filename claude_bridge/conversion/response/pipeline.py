"""The way out: an engine's deltas, through thinking, stop sequences and tool calls, into the event stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import UNSET, UnsetType

from claude_bridge.conversion.deltas import Delta, UsageReport
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.opaque_reasoning import OpaqueReasoningCollector
from claude_bridge.conversion.prefill import EchoCutter, echoed_prefill
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import preferred_thinking
from claude_bridge.conversion.response.assembler import MessageAssembler
from claude_bridge.conversion.response.stop_reasons import StopSequenceCutter
from claude_bridge.conversion.response.think_tags import ThinkTagSplitter
from claude_bridge.conversion.tool_calls.buffer import ToolCallBuffer
from claude_bridge.conversion.tool_calls.text_detector import TextToolCallDetector
from claude_bridge.errors import BridgeError
from claude_bridge.wire.anthropic import Diagnostics, MessagesRequest, StreamEvent


class _Stage(Protocol):
    """One step between the decoder and the assembler."""

    def feed(self, deltas: list[Delta]) -> list[Delta]: ...

    def close(self) -> list[Delta]: ...


class ResponsePipeline:
    """One answer on its way to the client: deltas in, legal stream events out.

    ``start`` comes first, ``close`` last. ``done`` says that the client has all it asked for and the engine may be
    stopped. ``repairs`` grows as tool calls are mended.
    """

    def __init__(
        self,
        request: MessagesRequest,
        *,
        message_id: str,
        request_id: str,
        prompt_tokens: int,
        window_tokens: int | None,
        new_tool_id: Callable[[], str],
        profile: Profile,
        diagnostics: Diagnostics | UnsetType | None = UNSET,
    ) -> None:
        """``prompt_tokens`` is an estimate; ``window_tokens`` the engine's context window (None: not known)."""
        self.repairs: list[Repair] = []
        self._window_tokens = window_tokens
        self._cutter = StopSequenceCutter(request.stop_sequences) if request.stop_sequences else None
        tools, choice = request.tools or (), request.tool_choice
        one_only = bool(choice and choice.disable_parallel_tool_use)
        gatherer = ToolCallBuffer(tools, new_tool_id, self.repairs, one_only=one_only)
        opened = profile.opens_in_thinking and (
            preferred_thinking(request).thinks or not profile.chat.can_stop_thinking
        )
        echo = echoed_prefill(request, profile)
        stages: list[_Stage | None] = [
            OpaqueReasoningCollector() if profile.sealed_thoughts is not None else None,
            ThinkTagSplitter(profile.think_tags, opened=opened),
            EchoCutter(echo) if echo is not None else None,
            TextToolCallDetector(tools, self.repairs) if profile.prints_calls and _may_print_calls(request) else None,
            self._cutter,
            gatherer,
        ]
        self._stages: list[_Stage] = [stage for stage in stages if stage is not None]
        self._assembler = MessageAssembler(
            message_id=message_id,
            request_id=request_id,
            model=request.model,
            prompt_tokens=prompt_tokens,
            diagnostics=diagnostics,
        )

    @property
    def done(self) -> bool:
        """Whether nothing more of the engine's answer is wanted."""
        return self._assembler.ended or (self._cutter is not None and self._cutter.met is not None)

    @property
    def error(self) -> BridgeError | None:
        """What ended the stream too early, if anything did."""
        return self._assembler.error

    @property
    def usage(self) -> UsageReport:
        """What the engine has reported so far."""
        return self._assembler.usage

    def start(self) -> list[StreamEvent]:
        """Return the opening event."""
        return self._assembler.start()

    def feed(self, deltas: list[Delta]) -> list[StreamEvent]:
        """Return the events that the deltas call for."""
        for stage in self._stages:
            deltas = stage.feed(deltas)
        return self._assembler.feed(deltas)

    def keep_alive(self) -> list[StreamEvent]:
        """Return events that carry nothing but life."""
        return self._assembler.keep_alive()

    def fail(self, error: BridgeError) -> list[StreamEvent]:
        """Return what was held back, and the error that ends the stream."""
        return [*self._drain(), *self._assembler.fail(error)]

    def close(self) -> list[StreamEvent]:
        """Return the end of the stream."""
        events = self._drain()
        usage = self._assembler.usage
        window_full = False
        if self._window_tokens is not None and usage.prompt_tokens and usage.output_tokens:
            # "length" may mean the client's limit or the end of the window, and clients act differently on the two.
            window_full = usage.prompt_tokens + usage.output_tokens >= self._window_tokens
        return events + self._assembler.close(window_full=window_full)

    def _drain(self) -> list[StreamEvent]:
        deltas: list[Delta] = []
        for stage in self._stages:
            deltas = stage.feed(deltas) + stage.close()
        return self._assembler.feed(deltas)


def _may_print_calls(request: MessagesRequest) -> bool:
    """Return whether JSON in an answer can be meant as a call, and not as the answer that was asked for."""
    is_none = request.tool_choice is not None and request.tool_choice.type == "none"
    return bool(request.tools) and not is_none and not (request.output_config and request.output_config.format)
