"""TranslatedAnswer: the answer of an engine that speaks another API, through its decoder and the way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from claude_bridge.adapters.base import AnswerTerms, StreamDecoder
from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.response.pipeline import ResponsePipeline
from claude_bridge.errors import BridgeError
from claude_bridge.wire.anthropic import MessagesRequest, ResponseItem


class TranslatedAnswer:
    """One answer: an engine's bytes become deltas, and these the events of a legal stream; see Answer."""

    emits_before_upstream = True
    mends: Sequence[str] = ()

    def __init__(self, request: MessagesRequest, decoder: StreamDecoder, profile: Profile, terms: AnswerTerms) -> None:
        self.begun = False
        self._message_id = terms.message_id
        self._decoder = decoder
        self._stream = ResponsePipeline(
            request,
            message_id=terms.message_id,
            request_id=terms.request_id,
            prompt_tokens=terms.prompt_tokens,
            window_tokens=terms.window_tokens,
            new_tool_id=terms.new_tool_id,
            profile=profile,
            diagnostics=terms.diagnostics,
        )

    @property
    def message_id(self) -> str:
        """The id that the client knows the answer by."""
        return self._message_id

    @property
    def done(self) -> bool:
        """Whether the engine said its last word, or the client has all it asked for."""
        return self._decoder.done or self._stream.done

    @property
    def finished(self) -> bool:
        """Whether the engine said why it stopped."""
        return self._decoder.finished

    @property
    def error(self) -> BridgeError | None:
        """What ended the stream too early, if anything did."""
        return self._stream.error

    @property
    def usage(self) -> UsageReport:
        """What the engine has reported so far."""
        return self._stream.usage

    @property
    def repairs(self) -> Sequence[Repair]:
        """The tool calls that were mended so far."""
        return self._stream.repairs

    def kept_headers(self, headers: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002 - see Answer
        """Return none: what another API says in its headers is not for Anthropic's clients."""
        return {}

    def start(self) -> Sequence[ResponseItem]:
        """Return the opening event."""
        return self._stream.start()

    def feed(self, data: bytes) -> Sequence[ResponseItem]:
        """Return the events that ``data`` calls for."""
        deltas = self._decoder.feed(data)
        self.begun = self.begun or bool(deltas)
        return self._stream.feed(deltas)

    def keep_alive(self) -> Sequence[ResponseItem]:
        """Return events that carry nothing but life."""
        return self._stream.keep_alive()

    def fail(self, error: BridgeError) -> Sequence[ResponseItem]:
        """Return what was held back, and the error event that ends the stream."""
        return self._stream.fail(error)

    def close(self) -> Sequence[ResponseItem]:
        """Return what was waiting for more, and the end of the stream."""
        deltas = [] if self.done else self._decoder.close()
        self.begun = self.begun or bool(deltas)
        return self._stream.feed(deltas) + self._stream.close()
