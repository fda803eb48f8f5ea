"""Checks of the model's answers to test requests: its speed, what it can do, and whether it can be stopped."""

from __future__ import annotations

from msgspec import Struct

from claude_bridge.conversion.upstream_errors.translate import quote
from claude_bridge.doctor.finding import Finding, fail, ok, warn
from claude_bridge.trace.console.printable import shortened
from claude_bridge.wire.anthropic import TextBlock, ToolUseBlock
from claude_bridge.wire.anthropic_answers import AnswerBlock, Usage
from claude_bridge.wire.lenient_json import parse_any

SPEED, TOOL_CALL, LONG_PROMPT, CACHE = "speed", "tool call", "long prompt", "prompt cache"
PICTURE, STOP = "picture", "stop"

SLOW_TOKENS_PER_S = 5.0
SLOW_FIRST_S = 30.0
CUT_SHARE = 0.6
"""A prompt of which the engine counts less than this share of our own estimate was cut: tokenizers differ by less."""

TOO_QUICK_S = 0.3
"""Below it, a time says nothing about a cache."""

FREE_WITHIN_S = 3.0
"""How soon a stopped engine should be free: llama.cpp looks each second whether it is still listened to."""


class Probed(Struct, frozen=True, kw_only=True):
    """One answer of the model, or why there was none; times in seconds since the request."""

    content: tuple[AnswerBlock, ...] = ()
    usage: Usage = Usage()
    first_token_s: float | None = None
    end_s: float = 0.0
    estimated_tokens: int = 0
    """How long we take the prompt for."""
    error: str | None = None
    is_late: bool = False
    """Whether there was none because it took too long."""

    @property
    def text(self) -> str:
        """All its text."""
        return "".join(block.text for block in self.content if isinstance(block, TextBlock))

    @property
    def tokens_per_s(self) -> float | None:
        """How fast the answer was written once it had begun; None: it was too short to tell."""
        if self.first_token_s is None:
            return None
        seconds = self.end_s - self.first_token_s
        return self.usage.output_tokens / seconds if seconds > 0.05 and self.usage.output_tokens > 1 else None

    @property
    def prompt_tokens(self) -> int:
        """The whole prompt, cached part included, as the engine counted it; 0: it did not tell."""
        return self.usage.input_tokens + self.usage.cache_read_input_tokens + self.usage.cache_creation_input_tokens


def check_speed(probed: Probed) -> Finding:
    """Judge how soon and how fast the model answers."""
    if probed.error is not None or probed.first_token_s is None:
        return fail(SPEED, probed.error or "the model answered nothing", "Look at the engine's log.")
    tokens_per_s = probed.tokens_per_s
    speed = f"first token after {probed.first_token_s:.1f} s"
    if tokens_per_s is not None:
        speed += f", then {tokens_per_s:.0f} tokens/s"
    if tokens_per_s is not None and tokens_per_s < SLOW_TOKENS_PER_S:
        return warn(SPEED, f"{speed}: too slow to work with", "Use a smaller model, or one that fits on the GPU.")
    if probed.first_token_s > SLOW_FIRST_S:
        return warn(SPEED, f"{speed}: it may have been loading", "Run it again: a loaded model answers sooner.")
    return ok(SPEED, speed)


def check_tool_call(probed: Probed, *, tool: str, field: str) -> Finding:
    """Judge whether the model called the requested tool, with a field that makes sense."""
    if probed.error is not None:
        return _late(TOOL_CALL, probed) or fail(TOOL_CALL, probed.error, "Use a model that can call tools.")
    calls = [block for block in probed.content if isinstance(block, ToolUseBlock)]
    if not calls:
        answer = f"; it answered: {shortened(quote(probed.text), 80)}" if probed.text else ""
        return fail(TOOL_CALL, f"the model called no tool when asked to{answer}", "Use a model made for tools.")
    call = calls[0]
    arguments = parse_any(bytes(call.input))
    if call.name != tool or not isinstance(arguments, dict) or not isinstance(arguments.get(field), str):
        return fail(TOOL_CALL, f"the model called {call.name} with {quote(bytes(call.input).decode())[:80]}",
                      "Use a model made for tools.")  # fmt: skip
    return ok(TOOL_CALL, f"a streamed call of {tool} came back valid")


def check_long_prompt(probed: Probed, *, canary: str) -> Finding:
    """Judge whether a word at the front of a long prompt survived, or the prompt was cut in silence."""
    if probed.error is not None:
        return _late(LONG_PROMPT, probed) or fail(LONG_PROMPT, probed.error, "Give the engine a larger context window.")
    size = f"{probed.estimated_tokens:,} tokens"
    if canary.lower() in probed.text.lower():
        return ok(LONG_PROMPT, f"the beginning of about {size} arrived")
    if 0 < probed.prompt_tokens < CUT_SHARE * probed.estimated_tokens:
        return fail(
            LONG_PROMPT,
            f"of about {size} the engine read {probed.prompt_tokens:,}: it cuts prompts in silence",
            "Give the engine a larger context window, and ask an Ollama through its own API: bridge serve ollama",
        )
    if probed.prompt_tokens:
        seen = f"all of about {size} was read, but the model did not find a word at its beginning"
        return warn(LONG_PROMPT, seen, "The model is weak with long prompts: use a larger one.")
    seen = f"the model did not find a word at the beginning of about {size}; the engine does not report what it read"
    return warn(LONG_PROMPT, seen, "Check the engine's context window.")


def check_cache(first: Probed, second: Probed) -> Finding | None:
    """Judge whether the beginning that two prompts share is read only once; None: there is nothing to compare."""
    if first.first_token_s is None or second.first_token_s is None:
        return None
    times = f"{first.first_token_s:.1f} s, then {second.first_token_s:.1f} s"
    cached = second.usage.cache_read_input_tokens
    if cached * 2 > second.prompt_tokens > 0:
        return ok(CACHE, f"{cached:,} of {second.prompt_tokens:,} tokens reused ({times})")
    if first.first_token_s < TOO_QUICK_S:
        return ok(CACHE, f"too quick to tell ({times})")
    if second.first_token_s < first.first_token_s / 2:
        return ok(CACHE, f"the second prompt with the same beginning was read sooner ({times})")
    remedy = "Without it every turn reads the whole conversation again. Switch on the engine's prefix cache."
    return warn(CACHE, f"the same beginning was read twice ({times})", remedy)


def check_picture(probed: Probed, *, colour: str) -> Finding:
    """Judge whether a model that reports vision saw the colour of a picture."""
    if probed.error is not None:
        remedy = "Claude Code can do without images: list the model in the configuration, with vision = false."
        return warn(PICTURE, f"a {colour} picture was refused: {probed.error}", remedy)
    if colour in probed.text.lower():
        return ok(PICTURE, f"a {colour} picture was seen as {colour}")
    answer = quote(probed.text)[:80] or "nothing"
    remedy = "Don't rely on what it sees: take another model for images."
    return warn(PICTURE, f"the model was shown a {colour} picture, and gave as its colour: {answer}", remedy)


class Stopped(Struct, frozen=True, kw_only=True):
    """What came of stopping a long answer after its first token."""

    busy_s: float | None = None
    """How long the engine was busy all the same, at most; None: for longer than the wait."""
    left_s: float = 0.0
    """About how long the rest of the answer would have taken."""
    error: str | None = None


def check_stop(stopped: Stopped) -> Finding | None:
    """Judge whether a stopped answer sets the engine free; None: there is nothing to judge."""
    if stopped.error is not None:
        return None
    if stopped.busy_s is not None and stopped.busy_s <= FREE_WITHIN_S:
        if stopped.left_s <= FREE_WITHIN_S:
            return ok(STOP, "too quick to tell whether a stopped answer goes on")
        return ok(STOP, f"free {stopped.busy_s:.1f} s after an answer was stopped")
    busy = "never became free" if stopped.busy_s is None else f"was busy for another {stopped.busy_s:.0f} s"
    remedy = "Update the engine; if there is a proxy before it, bypass it: a stopped answer goes on there."
    return warn(STOP, f"an answer was stopped, and the engine {busy}", remedy)


def _late(name: str, probed: Probed) -> Finding | None:
    """Return that an answer did not come in time, which says nothing about the check; None: it came."""
    if not probed.is_late:
        return None
    return warn(name, str(probed.error), "Use a smaller model, or one that fits on the GPU; then ask again.")
