"""The Delta vocabulary: what any engine's stream says, one increment at a time.

An adapter's decoder emits deltas in the order of the engine's stream. A tool call is a ToolCallStart, any
number of ToolCallArguments and a ToolCallEnd, all with the ``key`` of the call; calls may interleave
until ``ToolCallBuffer`` has gathered them. After a Finish only usage may come; after a Failure nothing does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import groupby
from typing import Any, Protocol

from msgspec import Struct

from claude_bridge.conversion.loss import Repair
from claude_bridge.errors import BridgeError


class FinishReason(Enum):
    """Why an engine stopped, in one vocabulary for all engines."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    REFUSAL = "refusal"
    STOP_SEQUENCE = "stop_sequence"
    WINDOW_FULL = "window_full"
    MALFORMED_CALL = "malformed_call"
    """The engine could not read the model's tool call, and dropped it."""
    BROKEN = "broken"
    """The engine broke down."""
    UNKNOWN = "unknown"
    """A word that nobody knows, or none."""


class TextDelta(Struct, frozen=True):
    """More answer text."""

    text: str


class TextStart(Struct, frozen=True):
    """A message begins, whose text is a block of its own; ``phase`` is the engine's own word for what it is."""

    phase: str = ""


class TextEnd(Struct, frozen=True):
    """The text so far is complete, and its block can close: clients show a block's last line only then."""


class ThinkingDelta(Struct, frozen=True):
    """More reasoning."""

    text: str


class OpaqueReasoning(Struct, frozen=True):
    """A piece of thought that only its maker can read: a detail, a whole item, or the signature of the next call."""

    detail: dict[str, Any] | None = None
    call_signature: str = ""
    item: dict[str, Any] | None = None


class RedactedReasoning(Struct, frozen=True):
    """Sealed thoughts as a block that the client keeps, and gives back."""

    data: str


class ToolCallStart(Struct, frozen=True):
    """A tool call begins; ``id`` is the engine's own and may be empty or repeated."""

    key: int
    name: str
    id: str = ""


class ToolCallArguments(Struct, frozen=True):
    """More of a call's arguments: JSON text, cut anywhere."""

    key: int
    fragment: str


class ToolCallEnd(Struct, frozen=True):
    """The engine ended the call."""

    key: int


class HostedSearch(Struct, frozen=True):
    """A search of the web that the service ran itself: the pages that it found; None: it failed."""

    id: str
    query: str
    urls: Sequence[str] | None


class UrlCitation(Struct, frozen=True):
    """The text so far rests on a page of the web."""

    url: str
    title: str


class UsageReport(Struct, frozen=True, kw_only=True):
    """Token counts as far as the engine reported them; None: not reported.

    ``prompt_tokens`` counts the whole prompt, with what came from the cache and what was written to it at a price of
    its own (``cache_written_tokens``); ``output_tokens`` includes thinking. A later
    report replaces an earlier one field by field. ``prompt_ms``, ``output_ms`` and ``load_ms`` are the engine's own
    times for the prompt, the answer, and loading the model first; ``cost_usd`` is what it charged. While the
    engine reads, ``read_tokens`` is how much of the prompt it has read so far, cached part included.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    cache_written_tokens: int | None = None
    output_tokens: int | None = None
    thinking_tokens: int | None = None
    prompt_ms: float | None = None
    output_ms: float | None = None
    load_ms: float | None = None
    cost_usd: float | None = None
    read_tokens: int | None = None


class Finish(Struct, frozen=True):
    """The engine ended its answer; ``stop_sequence`` is the one that was reached, if any.

    ``word`` is the engine's own, where the reason alone does not explain it. ``at_limit`` says that the answer is as
    long as it may be, whatever the reason.
    """

    reason: FinishReason
    stop_sequence: str | None = None
    word: str = ""
    at_limit: bool = False


class Failure(Struct, frozen=True):
    """The engine reported an error in place of the rest."""

    error: BridgeError


Delta = (
    TextDelta
    | TextStart
    | TextEnd
    | ThinkingDelta
    | OpaqueReasoning
    | RedactedReasoning
    | ToolCallStart
    | ToolCallArguments
    | ToolCallEnd
    | HostedSearch
    | UrlCitation
    | UsageReport
    | Repair
    | Finish
    | Failure
)


Aside = UsageReport | UrlCitation
"""What ends no text: some engines report usage with every chunk, and pages are named in the midst of a sentence."""


class StreamDecoder(Protocol):
    """Turns the bytes of one upstream response into deltas, wherever the reads happen to end.

    Raises UpstreamBrokenError only for what exceeds a limit; anything else that makes no sense is a Failure.
    """

    done: bool
    """Whether the upstream's last record has come; what follows need not be waited for."""

    @property
    def finished(self) -> bool:
        """Whether the upstream gave its finish reason; only usage may follow, and silence means that none does."""

    def feed(self, data: bytes) -> list[Delta]:
        """Return the deltas that ``data`` completes."""

    def close(self) -> list[Delta]:
        """Return the deltas that were waiting for more."""


class Stage(ABC):
    """One step between a decoder and the assembler."""

    def passes(self, text: str) -> bool:  # noqa: ARG002 - for those that look at it
        """Take text that passes unchanged, and return True; else return False, and ``feed`` gets it."""
        return False

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """Return what becomes of the deltas."""
        return [passed for delta in deltas for passed in self.take(delta)]

    @abstractmethod
    def take(self, delta: Delta) -> Iterable[Delta]:
        """Return what becomes of one delta, with what was held back before it."""

    def close(self) -> list[Delta]:
        """Return what was held back."""
        return []


def as_deltas(text: str) -> list[Delta]:
    """Return a text, which may be empty, as deltas."""
    return [TextDelta(text)] if text else []


def whole_call(key: int, name: str, arguments: str, *, call_id: str = "") -> list[Delta]:
    """Return a call of which nothing is missing."""
    return [ToolCallStart(key, name, call_id), ToolCallArguments(key, arguments), ToolCallEnd(key)]


def text_of(deltas: Sequence[Delta]) -> str:
    """Return the text of the deltas where they are nothing but text, else nothing."""
    if len(deltas) == 1:
        return deltas[0].text if type(deltas[0]) is TextDelta else ""
    texts = [delta.text for delta in deltas if type(delta) is TextDelta]
    return "".join(texts) if len(texts) == len(deltas) else ""


def joined_texts(deltas: Sequence[Delta]) -> list[Delta]:
    """Return the deltas with one text in place of several in a row."""
    joined: list[Delta] = []
    for is_text, run in groupby(deltas, lambda delta: type(delta) is TextDelta):
        joined += [TextDelta(text_of([*run]))] if is_text else run  # noqa: B031 - once in either case
    return joined
