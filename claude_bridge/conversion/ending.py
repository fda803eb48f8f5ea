"""How an answer ended: judged by the finish reason, by the tokens against the limit that was sent, and by what came.

A finish reason is a claim. Routers say ``tool_calls``, and some services ``stop``, where a limit cut the arguments;
hence half a call is known by its text, and only an answer that ended of its own accord may have its calls repaired.
"""

from __future__ import annotations

from functools import cache

from msgspec.structs import replace

from claude_bridge.conversion.deltas import Delta, Failure, Finish, FinishReason, Stage, UsageReport
from claude_bridge.conversion.loss import Repair
from claude_bridge.data_files import read_rows
from claude_bridge.errors import BridgeError, DroppedCallError, UpstreamBrokenError
from claude_bridge.wire.anthropic_answers import StopReason

_NO_WORDS = frozenset(("", "null", "none"))
"""What Alibaba's DashScope sends while an answer continues."""

_PREFIX = "finish_reason_"
"""Of the names in Google's enumerations."""

_TOLD_BY_WORD = (FinishReason.UNKNOWN, FinishReason.MALFORMED_CALL, FinishReason.BROKEN)

_STOP_REASONS: dict[FinishReason, StopReason] = {
    FinishReason.LENGTH: "max_tokens",
    FinishReason.WINDOW_FULL: "model_context_window_exceeded",
    FinishReason.REFUSAL: "refusal",
    FinishReason.STOP_SEQUENCE: "stop_sequence",
}
"""All others mean the end of a turn."""

_SWALLOWED_TOKENS = 8
"""More than this, without a character of them to be seen, are no empty answer: the engine's parser swallowed a call."""


def parse_finish(word: str) -> Finish | None:
    """Return what an engine's finish reason means; None for one that means that the answer continues.

    Reasons come in any case, with hyphens (Vercel's AI SDK: ``tool-calls``), and with details before or after a
    colon: ``content_filter: PROHIBITED_CONTENT``.
    """
    plain = word.strip().lower().replace("-", "_").removeprefix(_PREFIX)
    if plain in _NO_WORDS:
        return None
    head, _, tail = (part.strip() for part in plain.partition(":"))
    reasons = _reasons()
    reason = next((reasons[one] for one in (plain, tail, head) if one in reasons), FinishReason.UNKNOWN)
    return Finish(reason, word=word if reason in _TOLD_BY_WORD else "")


@cache
def _reasons() -> dict[str, FinishReason]:
    """Return what each word means."""
    rows = read_rows("conversion/finish_reasons.toml")
    return {word: FinishReason[name.upper()] for name, words in rows.items() for word in words}


def ended_by_itself(finish: Finish) -> bool:
    """Return whether a model ended its answer as it wanted to, so that nothing of it is missing."""
    return finish.reason in (FinishReason.STOP, FinishReason.TOOL_CALLS) and not finish.at_limit


def cut_off(finish: Finish) -> Finish:
    """Return the finish of an answer that proved to be cut off: at the limit, unless its reason says where else."""
    own_reason = finish.reason in _STOP_REASONS
    return finish if own_reason else replace(finish, reason=FinishReason.LENGTH)


def convert_finish_reason(finish: Finish, *, has_tool_use: bool, window_full: bool) -> StopReason:
    """Return the stop reason.

    Engines say "stop" after tool calls and "tool_calls" with none given: what was in fact given decides. "length" may
    mean the client's limit or the end of the window, and clients act differently on the two.
    """
    reason = finish.reason
    if finish.at_limit and not has_tool_use:
        reason = cut_off(finish).reason
    if reason is FinishReason.LENGTH and window_full:
        reason = FinishReason.WINDOW_FULL
    return _STOP_REASONS.get(reason, "tool_use" if has_tool_use else "end_turn")


def explain_broken(finish: Finish, upstream: str) -> BridgeError | None:
    """Return the error for an answer whose engine broke down; None: it did not."""
    if finish.reason is not FinishReason.BROKEN:
        return None
    return UpstreamBrokenError(f"{upstream} broke off its answer (finish reason: {finish.word}).")


class EndingJudge(Stage):
    """Judges the Finish of one answer, by the limit that was sent and the tokens that were reported.

    If the engine broke down, the result is a Failure.
    """

    def __init__(self, max_tokens: int | None, upstream: str = "The engine") -> None:
        """``max_tokens`` is the limit that the engine was given; None: not known."""
        self._max_tokens = max_tokens
        self._upstream = upstream
        self._output_tokens = 0

    def passes(self, _: str) -> bool:
        """Return True: text passes unchanged."""
        return True

    def take(self, delta: Delta) -> list[Delta]:
        """Return the delta, a Finish judged."""
        if isinstance(delta, UsageReport):
            self._output_tokens = max(self._output_tokens, delta.output_tokens or 0)
        if not isinstance(delta, Finish):
            return [delta]
        if (error := explain_broken(delta, self._upstream)) is not None:
            return [Failure(error)]
        at_limit = self._max_tokens is not None and self._output_tokens >= self._max_tokens
        note = finish_note(delta)
        return [replace(delta, at_limit=at_limit), *([Repair("", note)] if note else [])]


def finish_note(finish: Finish) -> str:
    """Return what the log says of a finish reason; empty: nothing."""
    if finish.reason is FinishReason.MALFORMED_CALL:
        return f"the engine dropped malformed output of the model ({finish.word})"
    if finish.reason is FinishReason.UNKNOWN:
        return f"the engine gave {_unknown_reason(finish)}: malformed tool calls are not repaired"
    return ""


def _unknown_reason(finish: Finish) -> str:
    return f"an unknown finish reason ({finish.word})" if finish.word else "no finish reason"


def explain_missing(
    finish: Finish, usage: UsageReport, *, has_text: bool, has_thinking: bool, empty_is_dropped_call: bool = False
) -> BridgeError | None:
    """Return the error for an answer without a tool use that lacks what its end speaks of; None: it lacks nothing."""
    if finish.reason is FinishReason.MALFORMED_CALL:
        return DroppedCallError(
            f"The engine dropped malformed output of the model, probably a tool call (finish reason: {finish.word})."
        )
    if has_text:
        return None
    if finish.reason is FinishReason.UNKNOWN:
        return UpstreamBrokenError(f"The engine ended its answer with {_unknown_reason(finish)} and wrote nothing.")
    if finish.reason is FinishReason.TOOL_CALLS and not finish.at_limit:
        return DroppedCallError(
            "The finish reason is a tool call, but the answer has none: the engine's parser probably dropped it."
        )
    if empty_is_dropped_call and ended_by_itself(finish):
        return DroppedCallError(
            "The engine ended its answer without a word. It does so when the model writes a tool call that the engine "
            "can't read."
        )
    unseen = (usage.output_tokens or 0) - (usage.thinking_tokens or 0)
    if ended_by_itself(finish) and not has_thinking and unseen > _SWALLOWED_TOKENS:
        return DroppedCallError(
            f"The engine reports {unseen} tokens of output, and sent none of them: its parser probably dropped a tool "
            "call that it could not read."
        )
    return None
