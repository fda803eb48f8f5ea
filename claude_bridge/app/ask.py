"""One question of ``bridge try``: through a real bridge on a real socket, as an Anthropic client asks."""

from __future__ import annotations

import sys
from functools import partial

import anyio
import msgspec

from claude_bridge.adapters.base import OutgoingRequest
from claude_bridge.app import terminal as output
from claude_bridge.bridge import Bridge
from claude_bridge.conversion.upstream_errors.translate import explain_refusal
from claude_bridge.errors import SetupError
from claude_bridge.providers import Upstream
from claude_bridge.server.app import Service
from claude_bridge.server.listener import accept_connections, open_listener
from claude_bridge.trace.bus import Bus, Sink
from claude_bridge.trace.events import ExchangeEnded, RequestSent, TraceEvent
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.wire.anthropic import BlockTextDelta, ContentBlockDelta, ErrorEvent
from claude_bridge.wire.anthropic_codec import parse_stream_event
from claude_bridge.wire.sse import SseDecoder

MAX_TOKENS = 200


async def ask(upstream: Upstream, prompt: str, debug: bool) -> None:
    """Ask, show the answer as it comes, and say what was translated.

    Raises:
        SetupError: there was no whole answer.
    """
    notes = _Notes()
    sinks: list[Sink] = [notes]
    if debug:
        from claude_bridge.trace.console.sink import ConsoleSink

        sinks.append(ConsoleSink())
    bus = Bus(sinks)
    service = Service(bus, auth_token=None, loopback_only=True)
    listener, port = await open_listener("127.0.0.1", 0)
    async with (
        UpstreamClient(upstream.base_url, api_key=None, name=upstream.name) as client,
        UpstreamClient(f"http://127.0.0.1:{port}", api_key=None, name="The bridge") as anthropic_client,
        anyio.create_task_group() as tasks,
    ):
        service.provide(Bridge(upstream, client, bus=bus))
        tasks.start_soon(partial(accept_connections, listener, service))
        output.say(output.faint(f"you → http://127.0.0.1:{port}/v1/messages → {upstream.base_url}: {prompt}\n"))
        await _show_answer(anthropic_client, upstream.model, prompt)
        tasks.cancel_scope.cancel()
    bus.close()
    notes.print()


async def _show_answer(client: UpstreamClient, model: str, prompt: str) -> None:
    question = {
        "model": model,
        "max_tokens": MAX_TOKENS,
        "stream": True,
        "messages": [{"role": "user", "content": prompt}],
    }
    request = OutgoingRequest(method="POST", path="/v1/messages", body=msgspec.json.encode(question))
    decoder = SseDecoder()
    async with client.open(request, explain_refusal, idle_s=60.0) as call:
        while (data := await call.receive()) != b"":
            for frame in decoder.feed(data or b""):
                match parse_stream_event(frame.data):
                    case ContentBlockDelta(_, BlockTextDelta(text)):
                        sys.stdout.write(text)
                        sys.stdout.flush()
                    case ErrorEvent(error):
                        raise SetupError(error.message, "Run it again with --debug to see the traffic.")
                    case _:
                        pass
    sys.stdout.write("\n")


class _Notes:
    """A sink that keeps what is worth telling a newcomer."""

    def __init__(self) -> None:
        self._sent: RequestSent | None = None
        self._ended: ExchangeEnded | None = None

    def take(self, event: TraceEvent) -> None:
        """Keep the event if it tells something."""
        if isinstance(event, RequestSent):
            self._sent = event
        elif isinstance(event, ExchangeEnded):
            self._ended = event

    def close(self) -> None:
        """Nothing is held."""

    def print(self) -> None:
        """Print what was translated."""
        if self._sent is None or self._ended is None:
            return
        ended, usage = self._ended, self._ended.message.usage
        seconds = (ended.output_ms or 0) / 1000
        speed = f" · {usage.output_tokens / seconds:.0f} tokens/s" if seconds else ""
        output.say()
        output.say(
            f"{output.strong('It works.')} Anthropic Messages → {self._sent.url.rpartition('/v1')[2]} "
            "→ Anthropic events"
        )
        output.say(
            f"{usage.input_tokens + usage.cache_read_input_tokens} tokens in, {usage.output_tokens} out"
            f" · first token after {ended.first_token_s or 0:.2f} s{speed} · stop reason {ended.message.stop_reason}"
        )
        output.say(
            output.faint("Next: `bridge serve local`, or `bridge serve openai MODEL --base-url URL` for your engine.")
        )
