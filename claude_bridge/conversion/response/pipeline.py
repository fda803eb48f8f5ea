"""The response of an upstream that speaks another API: bytes to deltas, through a few stages, to stream events."""

from __future__ import annotations

from collections.abc import Mapping

from claude_bridge.conversion.deltas import (
    Delta,
    Stage,
    StreamDecoder,
    ThinkingDelta,
    UsageReport,
    joined_texts,
    text_of,
)
from claude_bridge.conversion.ending import EndingJudge
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.opaque_reasoning import ReasoningSealer
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import TextOpening, text_opening
from claude_bridge.conversion.request.prefill import PrefillEchoCutter, echoed_prefill
from claude_bridge.conversion.response.assembler import MessageAssembler
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.conversion.response.harmony import HarmonyReader
from claude_bridge.conversion.response.stop_sequences import StopSequenceCutter
from claude_bridge.conversion.response.think_tags import ThinkTagSplitter
from claude_bridge.conversion.tool_calls.buffer import ToolCallBuffer
from claude_bridge.conversion.tool_calls.text_detector import TextToolCallDetector
from claude_bridge.conversion.tool_calls.thought_calls import ThoughtCallFinder
from claude_bridge.errors import BridgeError
from claude_bridge.wire.anthropic import MessagesRequest
from claude_bridge.wire.anthropic_answers import StreamEvent

_NO_THOUGHT = ThinkingDelta("")


class ResponsePipeline:
    """One response on its way to the client: the bytes that ``decoder`` reads in, legal stream events out.

    The methods are those of ``Response`` in adapters/base.py.
    """

    emits_before_upstream = True

    def __init__(
        self,
        request: MessagesRequest,
        decoder: StreamDecoder,
        profile: Profile,
        context: ResponseContext,
        *,
        maker: str = "",
        upstream: str = "The engine",
    ) -> None:
        """``maker`` is the service and model that alone can read the reasoning that it has encrypted.

        ``upstream`` is what messages call the engine.
        """
        self.message_id = context.message_id
        self.begun = False
        self._decoder = decoder
        self._context = context
        self._cutter = StopSequenceCutter(request.stop_sequences) if request.stop_sequences else None
        echo = echoed_prefill(request, profile)
        tools, choice = request.tools or (), request.tool_choice
        may_print_calls = _may_print_calls(request)
        looks_for_calls = profile.prints_calls and may_print_calls
        callable_tools = tools if may_print_calls else ()
        opening = text_opening(request, profile, context.learned_opening)
        self._splitter = (
            HarmonyReader(callable_tools)
            if profile.speaks_harmony
            else ThinkTagSplitter(profile.think_tags, opening, tools=callable_tools)
        )
        stages: list[Stage | None] = [
            EndingJudge(context.max_tokens, upstream),
            ReasoningSealer(maker, context.prompt_digest) if profile.opaque_reasoning is not None else None,
            self._splitter,
            PrefillEchoCutter(echo) if echo is not None else None,
            ThoughtCallFinder(tools, profile.call_format) if looks_for_calls else None,
            TextToolCallDetector(tools, profile.call_format) if looks_for_calls else None,
            self._cutter,
            ToolCallBuffer(tools, context.new_tool_id, one_only=bool(choice and choice.disable_parallel_tool_use)),
        ]
        self._stages: list[Stage] = [stage for stage in stages if stage is not None]
        drops_calls = profile.empty_is_dropped_call and may_print_calls
        self._assembler = MessageAssembler(context, request.model, empty_is_dropped_call=drops_calls)

    @property
    def done(self) -> bool:
        """Whether the client has the whole answer, and the engine may be stopped."""
        if self._decoder.done or self._assembler.ended:
            return True
        return self._cutter is not None and self._cutter.found is not None

    @property
    def finished(self) -> bool:
        """Whether the engine gave its finish reason."""
        return self._decoder.finished

    @property
    def error(self) -> BridgeError | None:
        """What ended the stream too early, if anything did."""
        return self._assembler.error

    @property
    def repairs(self) -> list[Repair]:
        """What was repaired so far."""
        return self._assembler.repairs

    @property
    def learned_opening(self) -> TextOpening | None:
        """What the answer has shown of how its model's text begins; None: nothing."""
        return self._splitter.learned

    @property
    def usage(self) -> UsageReport:
        """What the engine has reported so far."""
        return self._assembler.usage

    def kept_headers(self, headers: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002 - see Response
        """Return none: headers of another API mean nothing to Anthropic's clients."""
        return {}

    def start(self) -> list[StreamEvent]:
        """Return the opening event."""
        return self._assembler.start()

    def feed(self, data: bytes) -> list[StreamEvent]:
        """Return the events that ``data`` completes."""
        return self._convert(self._decoder.feed(data))

    def keep_alive(self) -> list[StreamEvent]:
        """Return events that add nothing."""
        return self._assembler.keep_alive()

    def fail(self, error: BridgeError) -> list[StreamEvent]:
        """Return what was held back, and the error that ends the stream."""
        return [*self._drain(), *self._assembler.fail(error)]

    def close(self) -> list[StreamEvent]:
        """Return what was waiting for more, and the end of the stream."""
        events = [] if self.done else self._convert(self._decoder.close())
        events += self._drain()
        return events + self._assembler.close()

    def _convert(self, deltas: list[Delta]) -> list[StreamEvent]:
        self.begun = self.begun or any(map(_is_content, deltas))
        if self._context.is_whole:
            deltas = joined_texts(deltas)
        text = text_of(deltas)
        for stage in self._stages:
            if not text or not stage.passes(text):
                deltas = stage.feed(deltas)
                text = text_of(deltas)
        return self._assembler.feed(deltas)

    def _drain(self) -> list[StreamEvent]:
        deltas: list[Delta] = []
        for stage in self._stages:
            deltas = stage.feed(deltas) + stage.close()
        return self._assembler.feed(deltas)


def _is_content(delta: Delta) -> bool:
    return type(delta) is not UsageReport and delta != _NO_THOUGHT


def _may_print_calls(request: MessagesRequest) -> bool:
    """Return whether JSON in an answer can be meant as a call, and not as the requested answer."""
    is_none = request.tool_choice is not None and request.tool_choice.type == "none"
    return bool(request.tools) and not is_none and not (request.output_config and request.output_config.format)
