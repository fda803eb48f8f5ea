"""``bridge serve``: a bridge in the foreground. Typer is not needed here, since it takes 100 ms to load."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_bridge.app.options import Options, ServerOptions
from claude_bridge.cli import terminal
from claude_bridge.cli.loading import config_of, load_reading_if_any
from claude_bridge.cli.notices import TerminalNotices, facts_of
from claude_bridge.cli.plain_serve import DEFAULT_PORT
from claude_bridge.server.early_port import EarlyPort

if TYPE_CHECKING:
    from claude_bridge.app.plan import Listening, Plan
    from claude_bridge.config.schema import Config
    from claude_bridge.providers import Upstream


EXAMPLES = (
    "bridge serve ollama qwen3:1.7b",
    "bridge serve openai --base-url http://localhost:8080/v1 --debug",
    "bridge serve openrouter qwen/qwen3-coder",
    "bridge serve local",
)


def serve(options: Options, server: ServerOptions, *, early: EarlyPort | None = None) -> None:
    """Serve until a signal comes. ``early`` is the port, where it is open already.

    Raises:
        SetupError: the options or the configuration do not fit.
    """
    reading = load_reading_if_any(options.config_file)
    config = config_of(reading)
    from claude_bridge.app import serve as app
    from claude_bridge.app.build import build_plan
    from claude_bridge.server.http1 import ServerLimits

    file = options.config_file
    is_configured = server.auth_token is None and config.server.auth_token is not None
    notices = ServeNotices(["--config", str(file)] * (file is not None) if is_configured else None)
    plan = build_plan(config, options, notices)
    limits = ServerLimits(max_memory_bytes=None if server.max_memory is None else server.max_memory * 1024**2)
    source = None
    if reading is not None and reading.file.is_file():
        from claude_bridge.app.reload import ConfigurationSource

        source = ConfigurationSource(reading, options)
    listening = listening_of(config, server)
    if early is not None and not early.is_at(listening.host, listening.port):
        early.close()
        early = None
    app.serve(plan, listening, notices, limits, source, early)


def listening_of(config: Config, server: ServerOptions) -> Listening:
    """Return where to listen, and what clients must send: as the options say, or else the configuration."""
    import secrets

    from claude_bridge.app.keys import configured_token
    from claude_bridge.app.plan import Listening

    listening = Listening(
        host=server.host or config.server.host,
        port=config.server.port if server.port is None else server.port,
        auth_token=server.auth_token or configured_token(config),
    )
    if listening.auth_token is None and not listening.is_loopback:
        listening = Listening(host=listening.host, port=listening.port, auth_token=secrets.token_urlsafe(24))
    return listening


class ServeNotices(TerminalNotices):
    """Prints where the bridge listens, on stdout for programs that wait for it, and how to use it."""

    def __init__(self, token_words: list[str] | None = None) -> None:
        """``token_words`` let `bridge env` read the token from the configuration (None: it is not there; show it)."""
        self._token_words = token_words

    def listening(self, listening: Listening) -> None:
        """Print the line that programs wait for."""
        terminal.print_line(f"listening on {listening.url}")
        sys.stdout.flush()
        if listening.page_url is not None:
            terminal.say(f"See what happens in a browser: {listening.page_url}")
        if not listening.is_loopback:
            addresses = " or ".join(_addresses_for_others(listening))
            token = listening.auth_token if self._token_words is None else "of your configuration"
            terminal.say(f"From other machines: {addresses} with the token {token}")

    def serving(self, plan: Plan, listening: Listening, upstream: Upstream) -> None:
        """Print what was found out about the engine, and how to use the bridge."""
        from claude_bridge.app.shells import this_shell
        from claude_bridge.app.targets import image_note
        from claude_bridge.app.web import search_note
        from claude_bridge.providers import engine_words

        model = upstream.model or "any model that a client names,"
        engine = engine_words(upstream.name, upstream.adapter.kind)
        terminal.say(f"Ready: {terminal.strong(model)} on {engine} at {upstream.base_url}")
        for note in (*facts_of(upstream), image_note(plan, upstream), search_note(plan.web, upstream)):
            if note is not None:
                terminal.say(f"  · {note}")
        self._advise_on_window(upstream)
        shell = this_shell()
        place = [] if listening.port == DEFAULT_PORT else ["--url", listening.url]
        if listening.auth_token:
            place += ["--auth-token", listening.auth_token] if self._token_words is None else self._token_words
        words = ["claude", "--model", upstream.model] if upstream.model else ["claude"]
        env = " ".join([terminal.program(), "env", *map(shell.quote, place)])
        terminal.say("Start Claude Code in another terminal:")
        terminal.say(f"  {shell.evaluate(env)}; {' '.join(map(shell.quote, words))}")
        if plan.trace_file is not None:
            terminal.say(terminal.faint(f"All traffic is written to {plan.trace_file}."))

    def _advise_on_window(self, upstream: Upstream) -> None:
        from claude_bridge.clients.claude_code import COMFORTABLE_TOKENS, FULL_PROMPT, LITE_TOOLS

        window = upstream.window_tokens or COMFORTABLE_TOKENS
        if window < FULL_PROMPT.needs_window_tokens:
            terminal.say(
                terminal.warning(
                    f"Claude Code's first request takes {FULL_PROMPT} tokens: give the engine a larger window, or "
                    f"start Claude Code with fewer tools: `claude --tools {LITE_TOOLS}`"
                )
            )
        elif window < COMFORTABLE_TOKENS:
            terminal.say(
                "  · a small window for Claude Code: if it stops with “Autocompact is thrashing”, give the engine a "
                f"larger one, or start it with fewer tools: `claude --tools {LITE_TOOLS}`"
            )


def _addresses_for_others(listening: Listening) -> list[str]:
    """Return under which addresses other machines probably reach the bridge."""
    import socket

    from msgspec.structs import replace

    if listening.host not in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not bound
        return [listening.url]
    addresses = []
    for family, far_away in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far_away, 9))  # of a datagram socket this only chooses the way out; nothing is sent
            addresses.append(replace(listening, host=probe.getsockname()[0]).url)
    return addresses or [f"http://{socket.gethostname()}:{listening.port}"]
