"""Measure what the prompt cache saves: ``python benchmarks/prompt_cache.py``.

See docs/how-to/measure-the-prompt-cache.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import zip_longest
from pathlib import Path

import anyio
import httpx
import msgspec
from processes import HERE, open_process
from sessions import Session
from svg_plot import render_plot

from claude_bridge.wire.anthropic_answers import (
    BlockTextDelta,
    ContentBlockDelta,
    ErrorEvent,
    MessageDelta,
    MessageStart,
    Usage,
)
from claude_bridge.wire.anthropic_codec import parse_stream_event
from claude_bridge.wire.sse import SseDecoder

TURN_LIMIT_S = 600.0
DIRECT, PASSED, TRANSLATED = "direct", "pass-through", "openai-chat"
WAYS = {
    DIRECT: "the engine's own /v1/messages, with no bridge",
    PASSED: "bridge serve anthropic",
    TRANSLATED: "bridge serve openai",
}


class Turn(msgspec.Struct, frozen=True):
    """What one turn cost: its prompt, how much of it the engine read again, and when the first token came."""

    prompt_tokens: int
    read_tokens: int
    first_token_s: float

    @property
    def cached_share(self) -> float:
        """How much of the prompt came from the cache."""
        return 1 - self.read_tokens / self.prompt_tokens


Figures = dict[str, list[Turn]]


class BrokenTurnError(Exception):
    """An answer that was refused or broke off."""


async def run(
    *, turns: int, direct_turns: int, prompt_tokens: int, cch_digits: int, model_file: Path | None
) -> Figures:
    """Play the same session each way, one after the other, on one engine."""
    figures: Figures = {}
    async with open_ways(model_file) as ways:
        for way, url in ways.items():
            session = Session(way, prompt_tokens=prompt_tokens, cch_digits=cch_digits)
            figures[way] = []
            for number in range(1, (direct_turns if way == DIRECT else turns) + 1):
                figures[way].append(await play(session, url))
                print(f"{way}: turn {number}, {figures[way][-1]}", file=sys.stderr, flush=True)
    return figures


@asynccontextmanager
async def open_ways(model_file: Path | None) -> AsyncIterator[dict[str, str]]:
    """Start the engine and the bridges before it; yields where each way begins."""
    engine_command = [sys.executable, str(HERE / "local_engine.py"), *([str(model_file)] if model_file else [])]
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(open_process(engine_command, None))
        ways = {DIRECT: f"http://127.0.0.1:{engine.port}"}
        for way, provider in ((PASSED, "anthropic"), (TRANSLATED, "openai")):
            command = [
                sys.executable,
                "-m",
                "claude_bridge",
                "serve",
                provider,
                "--base-url",
                ways[DIRECT],
                "--port",
                "0",
            ]
            bridge = await stack.enter_async_context(open_process(command, None))
            ways[way] = f"http://127.0.0.1:{bridge.port}"
        yield ways


async def play(session: Session, url: str) -> Turn:
    """Ask once more, and give the session its answer.

    Raises:
        BrokenTurnError: there was no whole answer.
    """
    first_token_s, text, usage = 0.0, "", Usage()
    body = msgspec.json.encode(session.ask())
    async with httpx.AsyncClient(trust_env=False, timeout=TURN_LIMIT_S) as client:
        asked_at = time.monotonic()
        async with client.stream("POST", f"{url}/v1/messages", content=body) as response:
            decoder = SseDecoder()
            async for data in response.aiter_raw():
                for frame in decoder.feed(data):
                    match parse_stream_event(frame.data):
                        case MessageStart(message):
                            usage = message.usage
                        case ContentBlockDelta(_, BlockTextDelta(added)) if added:
                            first_token_s = first_token_s or time.monotonic() - asked_at
                            text += added
                        case MessageDelta(_, told):
                            usage = told if told.input_tokens or told.cache_read_input_tokens else usage
                        case ErrorEvent(error):
                            raise BrokenTurnError(error.message)
                        case _:
                            pass
    if not first_token_s:
        raise BrokenTurnError(f"{url} answered {response.status_code} without a word.")
    session.answer(text)
    return Turn(usage.input_tokens + usage.cache_read_input_tokens, usage.input_tokens, first_token_s)


def render_table(figures: Figures) -> str:
    """Return a Markdown table: for each turn and way the tokens read again, of all, and the time to the first one."""
    heads = [f"{way}: {what}" for what in ("read again", "first token") for way in figures]
    lines = [f"| turn | {' | '.join(heads)} |", f"|---:|{'---:|' * len(heads)}"]
    for number, turns in enumerate(zip_longest(*figures.values()), start=1):
        read = [f"{turn.read_tokens:,} of {turn.prompt_tokens:,}" if turn else "" for turn in turns]
        first = [f"{turn.first_token_s:.2f} s" if turn else "" for turn in turns]
        lines.append(f"| {number} | {' | '.join([*read, *first])} |")
    return "\n".join(lines)


def render_summary(figures: Figures) -> str:
    """Return what the turns after the first one say: how much came from the cache, and how much sooner they began."""
    direct_s = statistics.median(turn.first_token_s for turn in figures[DIRECT][1:])
    lines = []
    for way, turns in figures.items():
        later = turns[1:]
        shares = [turn.cached_share for turn in later]
        first_s = statistics.median(turn.first_token_s for turn in later)
        cached = f"{min(shares):.1%} to {max(shares):.1%} of each prompt after the first from the cache"
        first = f"first token after {first_s:.2f} s (median), {direct_s / first_s:.1f} times as soon as direct"
        lines.append(f"{way} ({WAYS[way]}): {cached}, {first}")
    return "\n".join(lines)


def render_svg(figures: Figures) -> str:
    """Return the times to the first token as a plot."""
    lines = {way: [turn.first_token_s for turn in turns] for way, turns in figures.items()}
    return render_plot("Time to the first token, with a header that changes at every turn", "turn", "seconds", lines)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what the prompt cache saves in a session that grows.")
    parser.add_argument("--turns", type=int, default=10, metavar="N", help="how many turns the session has (10)")
    parser.add_argument(
        "--direct-turns", type=int, metavar="N", help="how many of them directly, where each is slow (all)"
    )
    parser.add_argument(
        "--prompt-tokens", type=int, default=2000, metavar="N", help="of the first prompt, about (2000)"
    )
    parser.add_argument(
        "--cch-digits", type=int, default=6, metavar="N", help="of the volatile value (6); new llama.cpp pins 5 itself"
    )
    parser.add_argument("--model-file", type=Path, metavar="FILE", help="a GGUF file in place of the small model")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the first-token times as SVG")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every turn's figures")
    arguments = parser.parse_args()
    if arguments.turns < 2 or arguments.direct_turns == 1:
        parser.error("at least 2 turns: the first one has nothing to take from the cache")
    return arguments


def main() -> int:
    """Run and print; the exit status is 0 if every answer was whole."""
    arguments = _parse_arguments()

    async def measured() -> Figures:
        return await run(
            turns=arguments.turns,
            direct_turns=min(arguments.direct_turns or arguments.turns, arguments.turns),
            prompt_tokens=arguments.prompt_tokens,
            cch_digits=arguments.cch_digits,
            model_file=arguments.model_file,
        )

    try:
        figures = anyio.run(measured)
    except (BrokenTurnError, RuntimeError, OSError, httpx.HTTPError) as error:
        print(f"The run failed: {error}", file=sys.stderr)
        return 1
    print(render_table(figures))
    print()
    print(render_summary(figures))
    if arguments.plot is not None:
        arguments.plot.write_text(render_svg(figures), encoding="utf-8")
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
