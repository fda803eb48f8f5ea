"""``bridge try``: one question to a small model that comes with the bridge."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.cli import terminal

if TYPE_CHECKING:
    from claude_bridge.app.running import RunningBridge
    from claude_bridge.providers import Upstream
    from claude_bridge.trace.events import ExchangeEnded, RequestSent, TraceEvent

DEFAULT_PROMPT = "Explain in three short sentences what a bridge is."
MAX_TOKENS = 200
IDLE_S = 60.0

MAX_WORD = 24
"""Of a longer word the beginning is shown before its end is there: some languages have no spaces."""

EXAMPLES = (
    "bridge try",
    'bridge try "Write a haiku about rivers"',
    "bridge try --model-file qwen3-1.7b.gguf",
)


def try_(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to ask the model.")] = DEFAULT_PROMPT,
    model_file: Annotated[
        Path | None, typer.Option(help="A GGUF file of your own, in place of the small model.", metavar="FILE")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the translated traffic.")] = False,
) -> None:
    """Ask a small model through the bridge, with nothing else installed.

    Starts the embedded engine and a bridge, asks as an Anthropic client would, and shows the answer as it comes. It
    shows that the pipeline works; don't expect good answers. The first time it downloads the model (93 MB).
    """
    from claude_bridge.app.build import build_plan
    from claude_bridge.app.options import Options
    from claude_bridge.app.serve import run, serve_beside
    from claude_bridge.cli.notices import TerminalNotices
    from claude_bridge.config.schema import Config

    notices = TerminalNotices()
    plan = build_plan(Config(), Options(provider="local", page=False, model_file=model_file, debug=debug), notices)
    notes = _ExchangeNotes()
    run(partial(serve_beside, plan, partial(_ask, prompt, None if debug else notes), notices, sinks=[notes]))
    notes.print()


async def _ask(prompt: str, notes: _ExchangeNotes | None, bridge: RunningBridge, upstream: Upstream) -> None:
    """Ask as an Anthropic client does, and print the answer as it comes.

    While the model reads, the ``notes`` show how far it is (None: something else does).

    Raises:
        SetupError: there was no whole answer.
    """
    import msgspec

    from claude_bridge.adapters.base import OutgoingRequest
    from claude_bridge.conversion.upstream_errors.translate import explain_refusal
    from claude_bridge.errors import SetupError
    from claude_bridge.upstream.client import UpstreamClient
    from claude_bridge.wire.anthropic_answers import BlockTextDelta, ContentBlockDelta, ErrorEvent
    from claude_bridge.wire.anthropic_codec import parse_stream_event
    from claude_bridge.wire.sse import SseDecoder

    url = bridge.listening.url
    terminal.say(terminal.faint(f"you → {url}/v1/messages → {upstream.base_url}: {prompt}\n"))
    question = {
        "model": upstream.model,
        "max_tokens": MAX_TOKENS,
        "stream": True,
        "messages": [{"role": "user", "content": prompt}],
    }
    request = OutgoingRequest(method="POST", path="/v1/messages", body=msgspec.json.encode(question))
    decoder = SseDecoder()
    flow = Flow()
    async with AsyncExitStack() as reading, UpstreamClient(url, api_key=None, name="The bridge") as client:
        if notes is not None:
            notes.show_reading = reading.enter_context(terminal.spinner("The model reads the question"))
        async with client.open(request, explain_refusal, idle_s=IDLE_S) as call:
            while (data := await call.receive()) != b"":
                for frame in decoder.feed(data or b""):
                    match parse_stream_event(frame.data):
                        case ContentBlockDelta(_, BlockTextDelta(text)) if text:
                            await reading.aclose()
                            flow.write(text)
                        case ErrorEvent(error):
                            raise SetupError(error.message, "Run it again with --debug to see the traffic.")
                        case _:
                            pass
    flow.close()


class Flow:
    """Writes text to stdout as it comes, with no word broken at the edge of a terminal."""

    def __init__(self, width: int | None = None) -> None:
        """``width`` None means that of the terminal, or none where there is no terminal."""
        self._width = width or (terminal.screen_width() if sys.stdout.isatty() else sys.maxsize)
        self._column = 0
        self._word = ""

    def write(self, text: str) -> None:
        """Write what is whole of the text; of a word that is not, the beginning waits for its end."""
        for letter in text:
            if not letter.isspace():
                self._word += letter
                if len(self._word) > MAX_WORD:
                    self._end_word()
                continue
            self._end_word()
            if letter == "\n" or self._column < self._width:
                sys.stdout.write(letter)
                self._column = 0 if letter == "\n" else self._column + 1
        sys.stdout.flush()

    def close(self) -> None:
        """Write the last word, and end the line."""
        self._end_word()
        sys.stdout.write("\n")
        sys.stdout.flush()

    def _end_word(self) -> None:
        if self._column and self._column + len(self._word) > self._width and len(self._word) <= MAX_WORD:
            sys.stdout.write("\n")
            self._column = 0
        sys.stdout.write(self._word)
        self._column += len(self._word)
        self._word = ""


class _ExchangeNotes:
    """A sink that keeps what a newcomer may want to know of the exchange."""

    name = "record of the answer"

    def __init__(self) -> None:
        self._sent: RequestSent | None = None
        self._ended: ExchangeEnded | None = None
        self.show_reading: Callable[[str], None] | None = None

    def take(self, event: TraceEvent) -> None:
        """Keep the event if it is of interest."""
        from claude_bridge.trace.console.entries import read_text
        from claude_bridge.trace.events import ExchangeEnded, PromptRead, RequestSent

        if isinstance(event, RequestSent):
            self._sent = event
        elif isinstance(event, ExchangeEnded):
            self._ended = event
        elif isinstance(event, PromptRead) and self.show_reading is not None:
            self.show_reading(f"The model is {read_text(event)}")

    def close(self) -> None:
        """Nothing is held."""

    def print(self) -> None:
        """Print what was translated, and the next step."""
        if self._sent is None or self._ended is None:
            return
        ended, usage = self._ended, self._ended.message.usage
        seconds = (ended.output_ms or 0) / 1000
        speed = f" · {usage.output_tokens / seconds:.0f} tokens/s" if seconds else ""
        path = self._sent.url.rpartition("/v1")[2]
        terminal.say()
        terminal.say(f"{terminal.strong('It works.')} Anthropic Messages → {path} → Anthropic events")
        terminal.say(
            f"{usage.input_tokens + usage.cache_read_input_tokens} tokens in, {usage.output_tokens} out"
            f" · first token after {ended.first_token_s or 0:.2f} s{speed} · stop reason {ended.message.stop_reason}"
        )
        own = f"{terminal.program()} serve openai --base-url URL"
        terminal.say(f"Next, with your own engine:\n  {own}\nor with this model:\n  {terminal.program()} serve local")
