"""The list of commands."""

from __future__ import annotations

import os
import sys
from io import StringIO
from typing import Annotated, Any

import typer

from claude_bridge.app.options import Options, ServerOptions
from claude_bridge.cli import (
    config,
    doctor,
    env,
    exam,
    models,
    run,
    serve,
    service,
    stats,
    statusline,
    terminal,
    trace,
    try_,
)
from claude_bridge.cli.help import Command, Group, WrongCommandLine
from claude_bridge.cli.options import takes_options
from claude_bridge.version import __version__

ALIASES = {"baseURL": "base-url", "apiKey": "api-key", "maxOutputTokens": "max-tokens", "google": "gemini"}
"""What the npm tool of the same name calls options, and a provider."""


class Root(Group):
    """The program itself, with two forms that people type though they are not listed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's, which typer hides
        """Parse the command line; ``help COMMAND`` means ``COMMAND --help``, ``PROVIDER …`` means ``serve PROVIDER …``.

        The second is how the npm tool of the same name is called.
        """
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        elif args and args[0] not in self.commands and not args[0].startswith("-"):
            provider = ALIASES.get(args[0], args[0])
            if _is_provider(provider):
                note = f"This means `bridge serve {provider} …`; `bridge run {provider} …` starts Claude Code too."
                terminal.say(terminal.faint(terminal.with_program(note)))
                args = ["serve", provider, *args[1:]]
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 - click's, which typer hides
        """Run a command, and exit; what is wrong with a command line breaks between words, as other messages do."""
        try:
            sys.exit(super().main(*args, **{**extra, "standalone_mode": False}))
        except typer.Abort:
            terminal.say("Aborted!")
            sys.exit(1)
        except WrongCommandLine as error:
            error.show(file=(text := StringIO()))
            terminal.say(text.getvalue().rstrip("\n"))
            sys.exit(error.exit_code)


app = typer.Typer(
    name="bridge",
    cls=Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # our own help needs no Rich, which takes 250 ms to load
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: ALIASES.get(token, token),
    },
    help="Run Claude Code and the Anthropic SDKs on any model: Ollama, llama.cpp, LM Studio, vLLM, OpenRouter, OpenAI.",
    epilog="bridge try\nbridge run ollama qwen3:1.7b\nbridge serve openai --base-url http://localhost:8080/v1",
)

RUN, LOOK, SETUP = "Run", "Find out", "Set up"


def _add(panel: str, name: str, command: Any, examples: tuple[str, ...], cls: type[Command] = Command) -> None:  # noqa: ANN401 - any signature
    app.command(name, cls=cls, epilog="\n".join(examples), rich_help_panel=panel)(command)


@takes_options
def _serve(options: Options, server: ServerOptions) -> None:
    """Serve Anthropic's Messages API in front of an engine, in the foreground.

    Point a client at the address that is printed. A changed configuration file is used without a restart. Ctrl-C lets
    running answers finish.
    """
    serve.serve(options, server)


_add(RUN, "run", run.run, run.EXAMPLES, run.RunCommand)
_add(RUN, "serve", _serve, serve.EXAMPLES)
_add(RUN, "try", try_.try_, try_.EXAMPLES)
_add(LOOK, "doctor", doctor.doctor, doctor.EXAMPLES)
_add(LOOK, "exam", exam.exam, exam.EXAMPLES)
_add(LOOK, "models", models.models, models.EXAMPLES)
_add(LOOK, "stats", stats.stats, stats.EXAMPLES)
app.add_typer(trace.app, name="trace", rich_help_panel=LOOK)
_add(SETUP, "env", env.env, env.EXAMPLES)
app.add_typer(config.app, name="config", rich_help_panel=SETUP)
app.add_typer(service.app, name="service", rich_help_panel=SETUP)
_add(SETUP, "statusline", statusline.statusline, statusline.EXAMPLES)


def _print_version(wanted: bool) -> None:
    if wanted:
        terminal.print_line(__version__)
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[  # read by its callback, before a command is looked for
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that go before any command."""


def _is_provider(word: str) -> bool:
    from claude_bridge.app.build import provider_and_model
    from claude_bridge.config.load import read_config
    from claude_bridge.config.providers import configured_rows
    from claude_bridge.providers import LOCAL

    config = read_config(None, os.environ).config
    return provider_and_model(config, word, "")[0] in (*configured_rows(config), LOCAL)
